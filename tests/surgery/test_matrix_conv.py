"""The same convolution, whichever way it is computed."""

import pytest
import torch
from torch import nn

from pixelwise.surgery import convolutionalize, set_output_stride
from pixelwise.surgery.matrix_conv import MatrixConv2d

OPTIONS = [
    {"kernel_size": 1},
    {"kernel_size": (3, 2)},
    {"kernel_size": 2, "stride": (1, 2), "padding": (1, 0), "bias": False},
    {"kernel_size": (2, 3), "dilation": (2, 1), "padding": 2},
    {"kernel_size": 3, "padding": "same"},
    {"kernel_size": 3, "padding": 1, "padding_mode": "reflect"},
    {"kernel_size": 3, "groups": 2},
]


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("filters", [2, 400])
def test_equals_torchs(options, filters):
    ours = MatrixConv2d(4, filters, **options).double()
    torchs = nn.Conv2d(4, filters, **options).double()
    torchs.load_state_dict(ours.state_dict())
    for values in (torch.randn(2, 4, 7, 9).double(), torch.randn(1, 4, 5, 5).double(), torch.randn(4, 6, 6).double()):
        values.requires_grad_()
        mine, theirs = ours(values), torchs(values)
        torch.testing.assert_close(mine, theirs)
        assert mine.is_contiguous()
        weights = torch.randn_like(mine)
        found = torch.autograd.grad((mine * weights).sum(), [values, *ours.parameters()])
        expected = torch.autograd.grad((theirs * weights).sum(), [values, *torchs.parameters()])
        torch.testing.assert_close(found, expected)


def test_takes_the_product_for_few_places_alone(monkeypatch):
    layer = MatrixConv2d(3, 20, 3)
    called = []
    monkeypatch.setattr(nn.Conv2d, "forward", lambda self, values: called.append(tuple(values.shape)))
    for height, batch in ((3, 1), (6, 1), (8, 1), (3, 20), (3, 21), (3, 0)):
        layer(torch.randn(batch, 3, height, 6))
    layer(torch.randn(1, 3, 3, 6, device="meta"))
    assert called == [(1, 3, 8, 6), (20, 3, 3, 6), (21, 3, 3, 6), (0, 3, 3, 6), (1, 3, 3, 6)]


def test_too_small_a_picture_is_refused_as_by_torch():
    with pytest.raises(RuntimeError, match="Kernel size can't be greater than actual input size"):
        MatrixConv2d(3, 20, 3)(torch.randn(1, 3, 2, 5))


def test_a_slid_linear_layer_is_one_and_stays_one_when_dense():
    classifier = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.Flatten(), nn.Linear(4 * 5 * 5, 9)).double()
    network = convolutionalize(classifier, 11)
    layer = network.get_submodule("2")
    assert isinstance(layer, MatrixConv2d)
    images = torch.randn(1, 3, 21, 25).double()
    coarse = network(images)
    dense = set_output_stride(network, 1)
    assert dense is network
    assert dense.get_submodule("2").dilation == (2, 2)
    torch.testing.assert_close(dense(images)[..., ::2, ::2], coarse)
