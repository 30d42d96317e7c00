import pytest
import torch
from torch import nn

from pixelwise.errors import BadOption
from pixelwise.layers.channels import check_channels, scaled
from pixelwise.layers.small_batch import BatchNorm2d


def test_is_torchs_batch_norm_wherever_that_works():
    ours, theirs = BatchNorm2d(3), nn.BatchNorm2d(3)
    for shape in ((2, 3, 1, 1), (1, 3, 4, 5), (2, 3, 4, 5)):
        values = torch.randn(shape)
        assert torch.equal(ours(values), theirs(values))
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    assert torch.equal(ours.eval()(values), theirs.eval()(values))


def test_single_values_are_normalized_as_in_evaluation():
    layer = BatchNorm2d(3)
    layer(torch.randn(8, 3, 2, 2))
    state = {name: value.clone() for name, value in layer.state_dict().items()}
    value = torch.randn(1, 3, 1, 1)
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        nn.BatchNorm2d(3)(value)
    trained = layer.train()(value)
    assert all(torch.equal(layer.state_dict()[name], kept) for name, kept in state.items())
    assert torch.equal(trained, layer.eval()(value))


def test_channels():
    assert [scaled(64, width) for width in (1, 0.5, 0.001)] == [64, 32, 1]
    with pytest.raises(BadOption, match="num_classes must be a whole number from 1 up, got True"):
        check_channels(num_classes=True)
