import pytest
import torch
from torch import nn

from pixelwise.models.segnet import max_pool, max_unpool, segnet_basic


def naive_pool_and_unpool(values):
    """The first maximum of each window of 2 x 2, alone in a map of zeros."""
    out = torch.zeros_like(values)
    n, c, height, width = values.shape
    for i in range(n):
        for k in range(c):
            for y in range(0, height, 2):
                for x in range(0, width, 2):
                    window = [(v, u) for v in (y, y + 1) for u in (x, x + 1) if v < height and u < width]
                    best = max(window, key=lambda place: values[i, k, place[0], place[1]].item())
                    out[i, k, best[0], best[1]] = values[i, k, best[0], best[1]]
    return out


def test_unpooling_puts_maxima_back():
    for size in ((1, 1), (4, 6), (5, 3), (1, 7)):
        values = torch.randn(2, 3, *size).relu()  # with ties at 0
        pooled, places = max_pool(values)
        assert torch.equal(max_unpool(pooled, places, like=values), naive_pool_and_unpool(values))


def test_unpooling_equals_torch_and_its_gradient():
    values = torch.randn(2, 3, 9, 7)
    pooled, places = max_pool(values)
    ours, theirs = pooled.clone().requires_grad_(), pooled.clone().requires_grad_()
    expected = nn.MaxUnpool2d(2)(theirs, places, output_size=(9, 7))
    found = max_unpool(ours, places, like=values)
    assert torch.equal(found, expected)
    weights = torch.randn(2, 3, 9, 7)
    (found * weights).sum().backward()
    (expected * weights).sum().backward()
    assert torch.equal(ours.grad, theirs.grad)


def test_shapes_along_the_network():
    with torch.device("meta"):
        network = segnet_basic(num_classes=11)
        seen = {}
        for name, module in network.named_children():
            module.register_forward_hook(lambda _m, _i, out, name=name: seen.update({name: tuple(out.shape[1:])}))
        assert network(torch.empty(1, 3, 360, 480)).shape == (1, 11, 360, 480)
    assert [seen[f"conv{i}"] for i in (1, 2, 3, 4)] == [(64, 360, 480), (64, 180, 240), (64, 90, 120), (64, 45, 60)]
    assert seen["conv_decode4"] == (64, 45, 60)  # from 23 x 30: the prototxt pads it to 45 rows
    assert seen["conv_decode3"] == (64, 90, 120)
    assert seen["conv_decode2"] == (64, 180, 240)
    assert seen["conv_decode1"] == (64, 360, 480)


def test_local_response_normalization_is_caffes():
    """y = x / (k + alpha/n * sum of x^2 over 5 channels)^beta, zeros beyond the first and the last channel."""
    network = segnet_basic(num_classes=2, width=1 / 16)
    images = torch.rand(1, 3, 4, 5) * 255
    padded = torch.cat((torch.zeros(1, 2, 4, 5), images, torch.zeros(1, 2, 4, 5)), 1).square()
    total = torch.stack([padded[:, c : c + 5].sum(1) for c in range(3)], 1)
    torch.testing.assert_close(network.norm(images), images * (1 + 1e-4 / 5 * total) ** -0.75)


def test_decoder_has_no_relu():
    network = segnet_basic(num_classes=2, width=1 / 8).train()
    seen = {}
    for name in ("conv4", "conv_decode4", "conv_decode1"):
        network.get_submodule(name).register_forward_hook(
            lambda _m, _i, out, n=name: seen.update({n: out.min().item()})
        )
    network(torch.rand(2, 3, 40, 40) * 255)
    assert seen["conv4"] == 0
    assert seen["conv_decode4"] < 0
    assert seen["conv_decode1"] < 0


def test_constants_of_the_release():
    """Weights of deviation sqrt(2/fan-in), biases 0; batch norms with eps 1e-9 that start at scale 1, shift 0.001."""
    network = segnet_basic(num_classes=11)
    assert network.conv2[0].weight.std().item() == pytest.approx((2 / (64 * 49)) ** 0.5, rel=0.02)
    assert not network.conv_classifier.bias.any()
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    assert len(norms) == 8
    for norm in norms:
        assert norm.eps == 1e-9
        assert (norm.weight == 1).all()
        assert (norm.bias == 0.001).all()
