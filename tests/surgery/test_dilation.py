"""Dilation changes density, not values."""

import copy
from typing import NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import fx, nn
from torch.nn import functional

from pixelwise.backbones import CLASSIFIERS
from pixelwise.backbones.resnet import resnet50, resnet101
from pixelwise.errors import BadOption, ShapeError, SurgeryError
from pixelwise.models import build
from pixelwise.surgery import receptive_field, set_multi_grid, set_output_stride
from pixelwise.surgery.convolutional import convolutionalize
from pixelwise.surgery.dilated_pools import DilatedAvgPool2d, DilatedMaxPool2d
from pixelwise.surgery.graph import strides, trace


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


@pytest.mark.parametrize("size", [(65, 17), (34, 40), (1, 40)])
@pytest.mark.parametrize("make", [narrow, first_flavor, deep_stem, plain])
def test_exact_keeps_the_values(make, size):
    whole = 16 if make is plain else 32
    images = torch.randn(2, 3, *size, dtype=torch.float64)
    with torch.no_grad():
        coarse = last_map(make(), images)
        for stride in (whole // 2, whole // 8, 1):
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


@pytest.mark.parametrize("size", [(65, 33), (64, 50), (39, 7)])
@pytest.mark.parametrize("pool", ["padded_ceil", "unpadded"])
def test_pools_that_round_up_are_exact(pool, size):
    torch.manual_seed(5)
    coarse_net, dense_net = (settled(resnet50(width=1 / 16, stem_pool=pool)) for _ in range(2))
    dense_net.load_state_dict(coarse_net.state_dict())
    images = torch.randn(1, 3, *size, dtype=torch.float64)
    with torch.no_grad():
        coarse = last_map(coarse_net, images)
        dense = last_map(set_output_stride(dense_net, 2), images)
    torch.testing.assert_close(dense[..., ::16, ::16], coarse, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("first_unit", ["exact", "dilated"])
def test_the_pool_loses_its_stride_at_2(first_unit):
    network = set_output_stride(resnet50(width=1 / 16), 2, first_unit)
    assert (network.conv1.stride, network.conv1.dilation) == ((2, 2), (1, 1))
    assert (network.maxpool.stride, network.maxpool.dilation, network.maxpool.padding) == (1, 1, 1)
    first = 4 if first_unit == "dilated" else 2
    assert [unit.conv2.dilation[0] for unit in network.layer1] == [2, 2, 2]
    assert [unit.conv2.dilation[0] for unit in network.layer2] == [first, 4, 4, 4]


@pytest.mark.parametrize("stride", [64, 12, 0, -8, "16", 8.0, True])
def test_impossible_strides(stride):
    message = f"an output stride of {stride!r} is not possible; this network can have 32, 16, 8, 4, 2, 1$"
    with pytest.raises(BadOption, match=message):
        set_output_stride(resnet50(width=1 / 16), stride)


def test_a_stride_does_not_come_back():
    network = set_output_stride(resnet50(width=1 / 16), 8)
    with pytest.raises(BadOption, match="an output stride of 16 is not possible; this network can have 8, 4, 2, 1$"):
        set_output_stride(network, 16)


def test_multi_grids_need_a_resnet():
    with pytest.raises(ShapeError, match="stages layer3 and layer4, Sequential has none; pass the network that holds"):
        set_multi_grid(nn.Sequential(nn.Conv2d(3, 4, 3)), (1, 2, 4))
    odd = resnet50(width=1 / 16)
    odd.layer4 = nn.Sequential(nn.Conv2d(64, 64, 3))
    with pytest.raises(ShapeError, match="stages of units with a convolution conv2; layer4 has others"):
        set_multi_grid(odd, (1,))


def test_first_unit_is_one_of_two_words():
    with pytest.raises(BadOption, match='first_unit must be "exact" or "dilated", got \'first\''):
        set_output_stride(resnet50(width=1 / 16), 16, first_unit="first")


# any graph


class Pooled(nn.Module):
    """A pool by a function."""

    def __init__(self, pool, *options):
        super().__init__()
        self.pool, self.options = pool, options

    def forward(self, values):
        return self.pool(values, *self.options)

    def extra_repr(self):
        return f"{self.pool.__name__}, {self.options}"


class Called(nn.Module):
    """A function of a map."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, values):
        return self.function(values)


class ByFunction(nn.Module):
    """A convolution by a function."""

    def __init__(self, convolution):
        super().__init__()
        self.held = nn.ModuleList([convolution])
        self.options = (convolution.stride, convolution.padding, convolution.dilation, convolution.groups)

    def forward(self, values):
        return functional.conv2d(values, self.held[0].weight, self.held[0].bias, *self.options)


class Branches(nn.Module):
    """Maps of two ways, added or concatenated."""

    def __init__(self, first, second, join):
        super().__init__()
        self.first, self.second, self.join = first, second, join

    def forward(self, values):
        one, other = self.first(values), self.second(values)
        if self.join == "cat":
            return torch.cat((one, other), 1)
        if self.join == "cut":
            return one[:, :, : other.shape[2], : other.size(3)] * other
        one += other
        return one

    def extra_repr(self):
        return self.join


def pairs(least, most):
    return st.tuples(st.integers(least, most), st.integers(least, most))


@st.composite
def layers(draw, depth=0):
    """4 channels to 4."""
    kind = draw(st.sampled_from(["conv", "conv", "max", "average", "border", "cell", "slice", "residual", "joined"]))
    kernel, stride = draw(pairs(1, 4)), draw(st.sampled_from([(1, 1), (2, 2), (2, 1), (1, 3), (3, 2), (4, 4)]))
    by_function = draw(st.booleans())
    if kind == "conv":
        options = {"padding": draw(pairs(0, 2)), "dilation": draw(pairs(1, 2)), "groups": draw(st.sampled_from([1, 2]))}
        convolution = nn.Conv2d(4, 4, kernel, stride, **options)
        return ByFunction(convolution) if by_function else convolution
    if kind in ("max", "average"):
        padding = tuple(draw(st.integers(0, side // 2)) for side in kernel)
        last = [draw(st.booleans()), draw(st.booleans()), draw(st.sampled_from([None, 3]))]
        if kind == "max":
            options = (kernel, stride, padding, draw(st.integers(1, 2)))
            if by_function:
                return Pooled(functional.max_pool2d, *options, last[0])
            return nn.MaxPool2d(*options, ceil_mode=last[0])
        options = (kernel, stride, padding, *last)
        return Pooled(functional.avg_pool2d, *options) if by_function else nn.AvgPool2d(*options)
    if kind == "border":
        border = [draw(st.integers(0, 2)) for _ in range(4)]
        return Pooled(functional.pad, border) if by_function else nn.ConstantPad2d(border, 0.7)
    if kind == "cell":
        return draw(st.sampled_from([nn.Tanh(), nn.BatchNorm2d(4), nn.Softmax(1), nn.LocalResponseNorm(3)]))
    if kind == "slice" or depth:
        step = draw(st.sampled_from([1, 2]))
        return Called(lambda values: values[:, :, 1:, ::step].clone())
    number = draw(st.sampled_from([1, 2, 3]))
    if kind == "residual":
        main = nn.Sequential(nn.Conv2d(4, 4, (3, 5), number, (1, 2)), nn.Tanh(), draw(layers(depth=1)))
        convolution, *_, last = main
        shortcut = nn.Sequential(draw(st.sampled_from([nn.Conv2d(4, 4, 1, number), nn.AvgPool2d(1, number)])), last)
        return Branches(main, shortcut, draw(st.sampled_from(["add", "cut"])))
    pool = draw(st.sampled_from([nn.MaxPool2d(2, 2, ceil_mode=True), nn.AvgPool2d(2, 2, ceil_mode=True)]))
    return Branches(nn.Conv2d(4, 2, 3, 2, 1), nn.Sequential(pool, nn.Conv2d(4, 2, 1)), "cat")


@st.composite
def networks(draw):
    network = nn.Sequential(*(draw(layers()) for _ in range(draw(st.integers(1, 5)))))
    torch.manual_seed(draw(st.integers(0, 9)))
    return settled(network)


def last_strides(network):
    """(down, right) by two sizes, and the deepest of all."""
    traced = trace(network, (96, 96), in_channels=4)
    found = strides(traced)
    (output,) = next(node for node in traced.graph.nodes if node.op == "output").args
    return found[output], int(max(side for both in found.values() for side in both))


def steps(before, stride):
    return [int(side / stride) if side > stride else 1 for side in before]


@given(networks(), st.lists(pairs(1, 50), min_size=3, max_size=3), st.sampled_from([1, 1, 2, 3, 4]))
@settings(max_examples=60, deadline=None, derandomize=True, database=None)
def test_dense_at_the_original_positions_is_the_original(network, sizes, stride):
    before, deepest = last_strides(network)
    try:
        dense = set_output_stride(copy.deepcopy(network), stride, size=(96, 96), in_channels=4)
    except BadOption:
        assert 1 < stride != deepest
        return
    step = steps(before, stride)
    for size in sizes:
        images = torch.randn(2, 4, *size, dtype=torch.float64)
        with torch.no_grad():
            try:
                coarse = network(images)
            except RuntimeError:
                continue  # too small for it
            found = dense(images)
        for few, many, factor in zip(coarse.shape[2:], found.shape[2:], step, strict=True):
            assert (few - 1) * factor + 1 <= many <= few * factor
        same(found[..., :: step[0], :: step[1]], coarse)


def same(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9, equal_nan=True)


def denser(network, stride, images, **options):
    """What the network gives, and what it gives at the stride; a copy is changed."""
    dense = set_output_stride(copy.deepcopy(network), stride, **options)
    with torch.no_grad():
        return network(images), dense(images), dense


def test_maps_with_other_borders_are_cropped_where_they_meet():
    """At even sizes both ways give n/2 cells; without strides the pool gives n - 1 and the convolution n."""
    network = settled(Branches(nn.Conv2d(4, 4, 3, 2, 1), nn.AvgPool2d(2, 2), "add"))
    network = nn.Sequential(network, settled(Branches(nn.Conv2d(4, 4, 3, 2, 1), nn.MaxPool2d(2), "cat")))
    network.insert(1, Called(lambda values: values * values.size(1)))
    images = torch.randn(1, 4, 36, 20, dtype=torch.float64)
    coarse, dense, graph = denser(network, 1, images)
    assert isinstance(graph, fx.GraphModule)
    same(dense[..., ::4, ::4], coarse)
    again = set_output_stride(set_output_stride(network, 2), 1)
    with torch.no_grad():
        same(again(images), dense)


class Functions(nn.Module):
    """Everything by functions, with names for the numbers or without."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 4, 3, 3))

    def forward(self, values):
        values = functional.pad(values, (1, 2, 0, 1), value=0.3)
        values = functional.max_pool2d(values, kernel_size=3, stride=2, padding=1, ceil_mode=True)
        values = functional.conv2d(values, self.weight, stride=2, padding=1).relu_()
        values = functional.avg_pool2d(functional.pad(values, (1, 1, 1, 1), "constant"), 3, (2, 1), 0)
        return functional.conv2d(values, self.weight, None, 1, "same")


def test_calls_of_functions_change_in_a_graph_that_shares_the_weights():
    network = Functions().double().train()
    images = torch.randn(2, 4, 61, 40, dtype=torch.float64)
    coarse, dense, _ = denser(network, 1, images, in_channels=4)
    same(dense[..., ::8, ::4], coarse)
    graph = set_output_stride(network, 1, in_channels=4)
    assert isinstance(graph, fx.GraphModule)
    assert graph.training
    assert graph.weight is network.weight
    with torch.no_grad():
        same(network(images), coarse)
    assert set_output_stride(network, 8, in_channels=4) is network


class OnePool(nn.Module):
    """One layer for all pools, as people write it."""

    def __init__(self):
        super().__init__()
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.conv1, self.conv2, self.conv3 = (nn.Conv2d(4, 4, 3, padding=1) for _ in range(3))

    def forward(self, values):
        values = self.pool(self.conv1(values))
        return self.pool(self.conv3(self.pool(self.conv2(values))))


def test_one_pool_on_several_grids_becomes_several():
    network = settled(OnePool())
    images = torch.randn(1, 4, 45, 30, dtype=torch.float64)
    for stride in (4, 2, 1):
        coarse, dense, graph = denser(network, stride, images)
        same(dense[..., :: 8 // stride, :: 8 // stride], coarse)
        assert isinstance(graph, fx.GraphModule)
    assert network.pool.stride == 2
    graph = set_output_stride(network, 1)
    assert graph.conv3 is not network.conv3
    assert graph.conv3.weight is network.conv3.weight
    assert (network.conv3.dilation, graph.conv3.dilation) == ((1, 1), (4, 4))
    assert dict(graph.named_parameters()).keys() == dict(network.named_parameters()).keys()


def test_a_layer_with_weights_on_several_grids_is_refused():
    conv = nn.Conv2d(4, 4, 3, padding=1)
    network = nn.Sequential(conv, nn.MaxPool2d(2), conv)
    with pytest.raises(SurgeryError, match=r"layer 0 \(Conv2d\) is used on several grids, which need other dilations"):
        set_output_stride(network, 1)
    assert (conv.dilation, network[1].stride) == ((1, 1), 2)
    twice = settled(nn.Sequential(nn.MaxPool2d(2), conv, conv))
    coarse, dense, _ = denser(twice, 1, torch.randn(1, 4, 20, 21, dtype=torch.float64))
    same(dense[..., ::2, ::2], coarse)


def test_pools_keep_their_names_and_become_ours_only_where_torch_has_none():
    network = nn.Sequential(
        nn.AvgPool2d(3, 2, 1), nn.MaxPool2d(3, 2, 1), nn.Conv2d(4, 4, 1), nn.MaxPool2d(2, 2), nn.AvgPool2d(5, 1, 2)
    )
    dense = set_output_stride(copy.deepcopy(network), 1)
    kinds = [nn.AvgPool2d, DilatedMaxPool2d, nn.Conv2d, nn.MaxPool2d, DilatedAvgPool2d]
    assert [type(layer) for layer in dense] == kinds
    assert (dense[0].stride, dense[0].padding) == (1, 1)
    assert (dense[1].dilation, dense[1].padding, dense[1].extra) == ((2, 2), 2, (0, 0))
    assert (dense[3].dilation, dense[3].padding) == (4, 0)
    assert (dense[4].dilation, dense[4].padding) == ((8, 8), 16)
    images = torch.randn(1, 4, 50, 33)
    torch.testing.assert_close(dense(images)[..., ::8, ::8], network(images))
    before, after = receptive_field(network).height, receptive_field(dense).height
    assert (before.size, before.stride, after.size, after.stride) == (after.size, 8, before.size, 1)


@pytest.mark.parametrize("counted", [True, False])
def test_pools_in_two_steps_as_in_one(counted):
    pools = nn.AvgPool2d(3, 2, 1, ceil_mode=True, count_include_pad=counted), nn.MaxPool2d(3, 4, 1, ceil_mode=True)
    network = nn.Sequential(nn.Conv2d(4, 4, 3, 2), *pools, nn.AvgPool2d(2, 1, 1, count_include_pad=counted)).double()
    for size in ((64, 50), (33, 39), (40, 7)):
        images = torch.randn(1, 4, *size, dtype=torch.float64)
        coarse, dense, once = denser(network, 1, images)
        same(dense[..., ::16, ::16], coarse)
        twice = copy.deepcopy(network)
        for stride in (8, 4, 2, 1):
            assert set_output_stride(twice, stride) is twice
        with torch.no_grad():
            same(twice(images), dense)
    assert str(twice) == str(once)


@pytest.mark.parametrize("pool", [nn.MaxPool2d(2, 1, 1), nn.AvgPool2d(2, 1, 1, count_include_pad=False)])
def test_windows_without_a_cell_give_zero(pool):
    """A map of one cell with a border of 4 and windows of each fourth cell."""
    network = nn.Sequential(nn.Conv2d(1, 1, 1, 4), pool)
    images = torch.rand(1, 1, 3, 3) + 1
    nn.init.constant_(network[0].weight, 1.0)
    nn.init.zeros_(network[0].bias)
    expected = functional.pad(images, (0, 1, 0, 1)).tile(2, 2)[..., :7, :7]
    coarse, dense, _ = denser(network, 1, images)
    torch.testing.assert_close(dense, expected)
    torch.testing.assert_close(dense[..., ::4, ::4], coarse)


def test_a_stride_of_four_can_lose_half():
    network = nn.Sequential(nn.Conv2d(4, 4, 4, 4), nn.MaxPool2d(2, 2), nn.Conv2d(4, 4, 3)).double()
    images = torch.randn(1, 4, 50, 61, dtype=torch.float64)
    coarse, dense, changed = denser(network, 2, images)
    assert [layer.stride for layer in changed] == [(2, 2), 1, (1, 1)]
    assert [layer.dilation for layer in changed] == [(1, 1), 2, (4, 4)]
    same(dense[..., ::4, ::4], coarse)


def test_rows_and_columns_for_themselves():
    network = nn.Sequential(nn.Conv2d(4, 4, 3, (2, 1)), nn.MaxPool2d((2, 3)), nn.Conv2d(4, 4, (1, 3), (2, 1))).double()
    images = torch.randn(1, 4, 50, 61, dtype=torch.float64)
    for stride, step in ((8, (1, 1)), (4, (2, 1)), (3, None), (2, None), (1, (8, 3))):
        if step is None:
            with pytest.raises(BadOption, match=f"an output stride of {stride} is not possible; .* can have 8, 4, 1$"):
                set_output_stride(copy.deepcopy(network), stride)
            continue
        coarse, dense, _ = denser(network, stride, images)
        same(dense[..., :: step[0], :: step[1]], coarse)


class Last(nn.Module):
    """ConvNeXt's unit: channels last for a norm and linear layers."""

    def __init__(self):
        super().__init__()
        self.depthwise = nn.Conv2d(4, 4, 7, padding=3, groups=4)
        self.norm = nn.LayerNorm(4)
        self.wide, self.narrow = nn.Linear(4, 8), nn.Linear(8, 4)
        self.gamma = nn.Parameter(torch.rand(4))

    def forward(self, values):
        inner = self.norm(self.depthwise(values).permute(0, 2, 3, 1))
        inner = self.gamma * self.narrow(functional.gelu(self.wide(inner)))
        return values + inner.movedim(-1, 1)


class Shuffled(nn.Module):
    """ShuffleNet's unit."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 2, 3, padding=1, groups=2)

    def forward(self, values):
        kept, changed = values.chunk(2, dim=1)
        values = torch.cat([kept, functional.relu(self.conv(changed))], dim=1)
        batch, channels, height, width = values.shape
        values = values.view(batch, 2, channels // 2, height, width).transpose(1, 2).contiguous()
        return values.view(batch, -1, height, width)


class OptionA(nn.Module):
    """The shortcut without weights of the small ResNets."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(4, 8, 3, 2, 1)

    def forward(self, values):
        return self.conv(values) + functional.pad(values[:, :, ::2, ::2], (0, 0, 0, 0, 2, 2))


class Maps(NamedTuple):
    """Two maps."""

    early: torch.Tensor
    late: torch.Tensor


class Named(nn.Module):
    """Passes its maps as a named tuple."""

    def __init__(self):
        super().__init__()
        self.stem, self.conv = nn.Conv2d(4, 4, 3, 2, 1), nn.Conv2d(4, 4, 3, 1, 1)

    def forward(self, values):
        stem = self.stem(values)
        maps = Maps(stem, self.conv(stem))
        return maps.late * maps[0] / functional.normalize(maps.late, dim=1).amax(1, keepdim=True).clamp(min=0.1)


class AlongChannels(nn.Module):
    """Softmax, split, reductions, borders cut: 4 channels to 4."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(16, 4, 1)

    def forward(self, values):
        stacked = torch.stack([values, -values], 2).softmax(1).flatten(1, 2).unsqueeze(1).squeeze(1)
        largest = values.max(dim=1, keepdim=True).values + values.mean(1).unsqueeze(1) + values.sum((1,), keepdim=True)
        split = sum(values.split(2, 1)) + values.unbind(1)[0][:, None] + values[:, 1:3].cumsum(1) * values.size(1)
        normed = functional.layer_norm(values.transpose(1, 3), (4,)).transpose(1, 3)
        joined = torch.cat([stacked, torch.maximum(largest, split.clamp_(-1, 1)), normed, stacked[:, ::4]], 1)
        return self.conv(joined)[..., 1:, :-1]


@pytest.mark.parametrize("unit", [Last, Shuffled, OptionA, Named, AlongChannels])
def test_units_of_other_families(unit):
    torch.manual_seed(5)
    channels = {OptionA: 8}.get(unit, 4)
    network = nn.Sequential(nn.Conv2d(4, 4, 4, 4), unit(), nn.Conv2d(channels, 4, 3, 2, 1), nn.ReLU(), unit())
    for size in ((75, 61), (56, 40)):
        images = torch.randn(2, 4, *size, dtype=torch.float64)
        coarse, dense, _ = denser(settled(network), 1, images)
        step = int(last_strides(network)[0][0])
        assert step == (32 if unit in (OptionA, Named) else 8)
        same(dense[..., ::step, ::step], coarse)


class Weighted(nn.Conv2d):
    """Weight standardization; follows its options."""

    def forward(self, values):
        weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        return functional.conv2d(values, weight, self.bias, self.stride, self.padding, self.dilation, self.groups)


class SameAsTensorFlow(nn.Conv2d):
    """Borders by the picture's size."""

    def forward(self, values):
        stride = self.stride[0]
        needs = [max((-(-side // stride) - 1) * stride + 3 - side, 0) for side in values.shape[2:]]
        values = functional.pad(values, (needs[1] // 2, -(-needs[1] // 2), needs[0] // 2, -(-needs[0] // 2)))
        return functional.conv2d(values, self.weight, self.bias, self.stride)


def test_convolutions_with_a_forward_of_their_own_are_tried():
    network = nn.Sequential(
        Weighted(4, 4, 3, 2, 1), nn.utils.parametrizations.weight_norm(Weighted(4, 4, 3, 2))
    ).double()
    network.append(nn.utils.parametrizations.weight_norm(nn.Conv2d(4, 4, 3)).double())
    coarse, dense, changed = denser(network, 1, torch.randn(1, 4, 50, 61, dtype=torch.float64))
    same(dense[..., ::4, ::4], coarse)
    assert changed[2].dilation == (4, 4)
    with pytest.raises(
        SurgeryError, match=r"layer 0 \(SameAsTensorFlow\) has a forward of its own that does not follow"
    ):
        set_output_stride(nn.Sequential(SameAsTensorFlow(4, 4, 3, 2)), 1)
    with torch.device("meta"):
        assert set_output_stride(nn.Sequential(nn.Conv2d(4, 4, 3, 2)), 1)[0].stride == (1, 1)
        with pytest.raises(SurgeryError, match="which cannot be tried on the meta device; pass it with weights"):
            set_output_stride(nn.Sequential(Weighted(4, 4, 3, 2)), 1)


@pytest.mark.parametrize(("mode", "whole"), [("zeros", 0), ("reflect", 1), ("replicate", 1), ("circular", 0)])
def test_other_borders_are_exact_on_their_sizes(mode, whole):
    borders = {"zeros": nn.ZeroPad2d, "reflect": nn.ReflectionPad2d, "replicate": nn.ReplicationPad2d}
    border = borders.get(mode, nn.CircularPad2d)((1, 2, 0, 1))
    network = nn.Sequential(
        nn.Conv2d(4, 4, 1, 4), border, nn.Conv2d(4, 4, (3, 5), 1, "same", padding_mode=mode)
    ).double()
    network.append(nn.Conv2d(4, 4, 5, 1, (2, 1), padding_mode=mode).double())
    images = torch.randn(1, 4, 32 + whole, 48 + whole, dtype=torch.float64)
    coarse, dense, _ = denser(network, 1, images)
    same(dense[..., ::4, ::4], coarse)


def test_only_convolutions_are_dilated_with_their_stride():
    network = nn.Sequential(nn.Conv2d(4, 4, (3, 1), 2, (1, 0)), nn.MaxPool2d(3, 2, 1), nn.Conv2d(4, 4, 3, padding=1))
    set_output_stride(network, 1, "dilated")
    assert (network[0].dilation, network[0].padding) == ((2, 1), (2, 0))
    assert (network[1].dilation, network[1].padding) == ((2, 2), 2)
    assert (network[2].dilation, network[2].padding) == ((4, 4), (4, 4))


def global_scale(values):
    return values * values.mean((2, 3), keepdim=True)


class Rolling(nn.Identity):
    """Is no identity."""

    def forward(self, values):
        return values.roll(1, 3)


REFUSED = {
    "roll() in 2 has no rule": Rolling(),
    "layer 2 (Linear) takes a map that would become denser as a whole": nn.Linear(56, 3),
    "layer 2 (ConvTranspose2d) makes a grid of its own": nn.ConvTranspose2d(4, 4, 2, 2),
    "layer 2 (Upsample) makes a grid of its own": nn.Upsample(scale_factor=2),
    "layer 2 (PixelShuffle) makes a grid of its own": nn.PixelShuffle(2),
    "interpolate() in 2 makes a grid of its own": Called(lambda v: functional.interpolate(v, scale_factor=2)),
    "layer 2 (AdaptiveAvgPool2d) takes a map that would become denser as a whole; make the network convolutional "
    "first (convolutionalize), or pass the part before it": nn.AdaptiveAvgPool2d(1),
    "mean() in 2 takes a map that would become denser as a whole": Called(global_scale),
    "max() in 2 takes a map": Called(torch.max),
    "layer 2 (Flatten) takes a map": nn.Flatten(),
    "view() in 2 asks for the size that a map has now": Called(lambda v: v.view(1, 2, 2, 56, -1)),
    "reshape() in 2 takes a map": Called(lambda v: v.reshape(v.shape[0], -1)),
    "avg_pool2d() in 2 takes a map": Called(lambda v: functional.avg_pool2d(v, v.shape[2:])),
    "layer 2 (GroupNorm) takes its statistics from all cells": nn.GroupNorm(2, 4),
    "layer 2 (BatchNorm2d) takes its statistics": nn.BatchNorm2d(4, track_running_stats=False),
    "layer 2 (LayerNorm) takes its statistics": nn.LayerNorm((4, 56, 56)),
    "batch_norm() in 2 takes its statistics": Called(lambda v: functional.batch_norm(v, None, None, training=True)),
    'layer 2 (Conv2d) pads "same" with an even kernel': nn.Conv2d(4, 4, 2, padding="same"),
    "layer 2 (MaxPool2d) gives indices": nn.MaxPool2d(2, return_indices=True),
    "max_pool2d_with_indices() in 2 has no rule": Called(lambda v: functional.max_pool2d_with_indices(v, 2)),
    "layer 2 (LPPool2d) has no rule for a denser map; pass the part before it": nn.LPPool2d(2, 2),
    "getitem() in 2 cuts a map that would become denser at a fixed row": Called(lambda v: v[:, :, :9]),
    "getitem() in 2 cuts a map that would become denser at a computed row": Called(
        lambda v: v[:, :, v.shape[3] // 2 :]
    ),
    "getitem() in 2 has no rule": Called(lambda v: v[:, :, 3]),
    "mul() in 2 has no rule": Called(lambda v: v * v.shape[2]),
    "add() in 2 joins a map that would become denser with one that would not": Called(lambda v: v + torch.ones(56, 56)),
    "softmax() in 2 has no rule": Called(lambda v: v.softmax(3)),
    "cat() in 2 joins": Called(lambda v: torch.cat([v, v], 2)),
    "getattr() has no rule": Called(lambda v: v.mT),
    "flip() in 2 has no rule": Called(lambda v: v.flip(3)),
    "pad() in 2 has no rule": Called(lambda v: functional.pad(v, (0, v.shape[2] % 3))),
}


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize("message", REFUSED)
def test_refuses_what_has_no_rule_and_changes_nothing(message):
    network = nn.Sequential(nn.Conv2d(4, 4, 3, 2, 1), nn.MaxPool2d(2), REFUSED[message])
    before = str(network)
    with pytest.raises(SurgeryError) as refused:
        set_output_stride(network, 1)
    assert str(refused.value).startswith(f"the output stride cannot be changed: {message}")
    assert str(network) == before
    if "LPPool2d" not in message and "computed row" not in message:  # which would be at 8
        assert set_output_stride(network, 4) is network


def test_what_becomes_no_denser_needs_no_rule():
    network = settled(
        nn.Sequential(
            nn.GroupNorm(2, 4), nn.Conv2d(4, 8, 2, 2), nn.PixelShuffle(2), nn.Conv2d(2, 4, 3, 2, 1), nn.AvgPool2d(2)
        )
    )
    network.append(nn.Conv2d(4, 4, 3))
    images = torch.randn(1, 4, 40, 60, dtype=torch.float64)
    coarse, dense, changed = denser(network.double(), 2, images)
    same(dense[..., ::2, ::2], coarse)
    assert changed[5].dilation == (2, 2)


def test_a_size_that_fits_is_found_or_given():
    class Picky(nn.Module):
        """Takes pictures of 32 pixels and no others."""

        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(1, 4, 3, 2, 1)

        def forward(self, images):
            if images.shape[-1] % 80 or images.shape[1] != 1:
                raise ShapeError("80 pixels, please")
            return self.conv(images)

    with pytest.raises(ShapeError, match="80 pixels, please"):
        set_output_stride(Picky(), 1)
    assert set_output_stride(Picky(), 1, size=(32, 80)).conv.stride == (1, 1)
    with pytest.raises(ShapeError, match="80 pixels, please"):
        set_output_stride(Picky(), 1, size=(32, 80), in_channels=3)
    deep = nn.Sequential(*(nn.Conv2d(3, 3, 9, 2) for _ in range(5)))  # needs 249 pixels
    assert set_output_stride(deep, 8)[4].dilation == (2, 2)
    with pytest.raises(SurgeryError, match=r"Sequential cannot be followed on a picture \(1, 3, 40, 40\)"):
        set_output_stride(deep, 8, size=(40, 40))


def test_a_segmenter_that_hands_sizes_to_numpy_is_refused_with_its_parts():
    with pytest.raises(
        SurgeryError,
        match=r"^UNet cannot be followed: expected steps of torch alone, found that it hands the size of a map to "
        r"NumPy; pass the part of it that makes the map \(its parts: encoder, pool, upconv, decoder, score\)$",
    ):
        set_output_stride(build("unet", num_classes=2, width=1 / 16), 3)


@pytest.mark.parametrize("name", ["alexnet", "vgg16", "googlenet", "resnet18"])
def test_convolutional_classifiers(name):
    torch.manual_seed(5)
    network = settled(
        convolutionalize(CLASSIFIERS[name](num_classes=3, width=1 / 16), 227 if name == "alexnet" else 224)
    )
    images = torch.randn(1, 3, 262, 230, dtype=torch.float64)
    coarse, dense, _ = denser(network, 16, images)
    same(dense[..., ::2, ::2], coarse)
