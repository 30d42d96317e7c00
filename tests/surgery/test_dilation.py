"""Dilation changes density, not values."""

import pytest
import torch
from torch import nn

from pixelwise.backbones.resnet import resnet50, resnet101
from pixelwise.errors import BadOption, ShapeError
from pixelwise.surgery import set_multi_grid, set_output_stride


class PlainUnit(nn.Module):
    """Two convolutions and a shortcut, kernels of different height and width."""

    def __init__(self, in_channels, channels, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, (3, 5), stride, padding=(1, 2))
        self.conv2 = nn.Conv2d(channels, channels, (1, 3), padding=(0, 1))
        self.downsample = nn.Sequential(nn.Conv2d(in_channels, channels, 1, stride))

    def forward(self, values):
        return torch.tanh(self.conv2(torch.tanh(self.conv1(values))) + self.downsample(values))


class PlainTrunk(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3, 2, padding=1)
        self.layer1 = nn.Sequential(PlainUnit(4, 4, 1))
        self.layer2 = nn.Sequential(PlainUnit(4, 4, 2))
        self.layer3 = nn.Sequential(PlainUnit(4, 4, 2), PlainUnit(4, 4, 1))
        self.layer4 = nn.Sequential(PlainUnit(4, 4, 2))

    def forward(self, images):
        return self.layer4(self.layer3(self.layer2(self.layer1(self.conv1(images)))))


def settled(network):
    """In double precision and evaluation, with running statistics that are not the initial ones."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.3)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.3)
    return network.double().eval()


def narrow():
    torch.manual_seed(5)
    return settled(resnet50(width=1 / 16))


def first_flavor():
    """The first release's: stride in the 1 x 1 conv1."""
    network = narrow()
    for stage in (network.layer2, network.layer3, network.layer4):
        stage[0].conv1.stride, stage[0].conv2.stride = (2, 2), (1, 1)
    return network


def deep_stem():
    torch.manual_seed(5)
    return settled(resnet50(width=1 / 16, deep_stem=True))


def last_map(network, images):
    features = network(images)
    return features if torch.is_tensor(features) else features.res5


def plain():
    torch.manual_seed(5)
    return PlainTrunk().double()


@pytest.mark.parametrize("size", [(97, 65), (64, 96), (50, 75), (1, 40)])
@pytest.mark.parametrize("make", [narrow, first_flavor, deep_stem, plain])
def test_exact_keeps_the_values(make, size):
    whole = 16 if make is plain else 32
    images = torch.randn(2, 3, *size, dtype=torch.float64)
    with torch.no_grad():
        coarse = last_map(make(), images)
        for stride in (whole, whole // 2, whole // 4, whole // 8, whole // 16):
            dense = last_map(set_output_stride(make(), stride), images)
            assert dense.shape[-2:] == tuple(-(-side // stride) for side in size)
            step = whole // stride
            torch.testing.assert_close(dense[..., ::step, ::step], coarse, rtol=1e-9, atol=1e-9)


def test_in_two_steps_as_in_one():
    images = torch.randn(1, 3, 40, 56, dtype=torch.float64)
    for first_unit in ("exact", "dilated"):
        once = set_output_stride(narrow(), 8, first_unit)
        twice = set_output_stride(set_output_stride(narrow(), 16, first_unit), 8, first_unit)
        with torch.no_grad():
            assert torch.equal(last_map(once, images), last_map(twice, images))
        assert torch.equal(last_map(set_output_stride(once, 8), images), last_map(twice, images))


def test_dilated_does_not():
    images = torch.randn(1, 3, 64, 96, dtype=torch.float64)
    with torch.no_grad():
        coarse = last_map(narrow(), images)
        dense = last_map(set_output_stride(narrow(), 8, first_unit="dilated"), images)
    assert dense.shape[-2:] == (8, 12)
    assert (dense[..., ::4, ::4] - coarse).abs().max() > 0.1 * coarse.abs().max()


@pytest.mark.parametrize(
    ("stride", "first_unit", "layer3", "layer4"),
    [  # spec, networks-2015-2017 §0.2
        (32, "exact", [1] * 6, [1, 1, 1]),
        (16, "exact", [1] * 6, [1, 2, 2]),
        (16, "dilated", [1] * 6, [2, 2, 2]),
        (8, "exact", [1, 2, 2, 2, 2, 2], [2, 4, 4]),
        (8, "dilated", [2] * 6, [4, 4, 4]),
    ],
)
def test_dilations_by_hand(stride, first_unit, layer3, layer4):
    network = resnet50(width=1 / 16)
    assert set_output_stride(network, stride, first_unit=first_unit) is network
    for stage, expected in ((network.layer3, layer3), (network.layer4, layer4)):
        assert [unit.conv2.dilation for unit in stage] == [(d, d) for d in expected]
        assert [unit.conv2.padding for unit in stage] == [(d, d) for d in expected]
        assert all(unit.conv1.dilation == unit.conv3.dilation == (1, 1) for unit in stage)


def test_multi_grid_multiplies():
    network = set_output_stride(resnet101(width=1 / 16), 8, first_unit="dilated")
    assert set_multi_grid(network, (1, 2, 4)) is network
    assert [unit.conv2.dilation[0] for unit in network.layer4] == [4, 8, 16]
    assert [unit.conv2.padding[1] for unit in network.layer4] == [4, 8, 16]
    assert network(torch.randn(1, 3, 33, 17)).res5.shape == (1, 128, 5, 3)


def test_finds_the_stages_anywhere_in_the_tree():
    network = nn.Sequential(nn.Identity(), nn.Sequential(resnet50(width=1 / 16)))
    set_output_stride(network, 16)
    assert network[1][0].layer4[0].conv2.stride == (1, 1)
    assert network[1][0].layer4[0].downsample[0].stride == (1, 1)


def test_pools_that_round_up_are_exact_on_whole_strides_plus_one():
    torch.manual_seed(5)
    coarse_net, dense_net = (settled(resnet50(width=1 / 16, stem_pool="padded_ceil")) for _ in range(2))
    dense_net.load_state_dict(coarse_net.state_dict())
    images = torch.randn(1, 3, 65, 33, dtype=torch.float64)
    with torch.no_grad():
        coarse = last_map(coarse_net, images)
        dense = last_map(set_output_stride(dense_net, 2), images)
    torch.testing.assert_close(dense[..., ::16, ::16], coarse, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("first_unit", ["exact", "dilated"])
def test_the_pool_loses_its_stride_at_2(first_unit):
    network = set_output_stride(resnet50(width=1 / 16), 2, first_unit)
    assert (network.conv1.stride, network.conv1.dilation) == ((2, 2), (1, 1))
    assert (network.maxpool.stride, network.maxpool.dilation, network.maxpool.padding) == ((1, 1), 1, 1)
    first = 4 if first_unit == "dilated" else 2
    assert [unit.conv2.dilation[0] for unit in network.layer1] == [2, 2, 2]
    assert [unit.conv2.dilation[0] for unit in network.layer2] == [first, 4, 4, 4]


@pytest.mark.parametrize("stride", [64, 12, 1, 0, -8, "16", 8.0, True])
def test_impossible_strides(stride):
    message = f"an output stride of {stride!r} is not possible; this network can have 32, 16, 8, 4, 2"
    with pytest.raises(BadOption, match=message):
        set_output_stride(resnet50(width=1 / 16), stride)


def test_a_stride_does_not_come_back():
    network = set_output_stride(resnet50(width=1 / 16), 8)
    with pytest.raises(BadOption, match="an output stride of 16 is not possible; this network can have 8, 4, 2"):
        set_output_stride(network, 16)


def test_refuses_what_is_not_a_resnet():
    with pytest.raises(ShapeError, match="stages layer3 and layer4, Sequential has none; pass the network that holds"):
        set_output_stride(nn.Sequential(nn.Conv2d(3, 4, 3)), 16)
    odd = resnet50(width=1 / 16)
    odd.layer4 = nn.Sequential(nn.Conv2d(64, 64, 3))
    with pytest.raises(ShapeError, match="stages of units with a convolution conv2; layer4 has others"):
        set_multi_grid(odd, (1,))
    averaging = resnet50(width=1 / 16)
    averaging.maxpool = nn.AvgPool2d(3, 2, 1)
    assert set_output_stride(averaging, 2)(torch.randn(1, 3, 8, 6)).res5.shape[-2:] == (4, 3)
    with pytest.raises(BadOption, match='first_unit must be "exact" or "dilated", got \'first\''):
        set_output_stride(resnet50(width=1 / 16), 16, first_unit="first")
