"""A network's graph: the same function, with the modules' names, decided where it asks for sizes."""

import math
from collections import OrderedDict

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from pixelwise.backbones import CLASSIFIERS
from pixelwise.errors import ShapeError, SurgeryError
from pixelwise.surgery.graph import add_layer, described, far_of, first_channels, module_of, strides, trace, value


class Careful(nn.Module):
    """Asks for sizes in all the ways that networks do."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, stride=2)
        self.drop = 0.5

    def forward(self, images):
        if min(images.shape[-2:]) < 8:
            raise ShapeError("too small")
        for side in images.shape[-2:]:
            assert int(side) == side and float(side) == side
        height, width = images.shape[2], images.size(3)
        values = self.conv(images)
        for _ in range(height // 16):
            values = values.relu()
        assert len(values.shape) == 4
        values = F.dropout(values, self.drop, self.training)
        values = F.dropout2d(values, 0.25, training=self.training)
        values = F.dropout(values, 0.0)  # in both modes, as it is written
        values.add_(1)
        return values.view(values.size(0), -1, values.shape[2] * values.shape[3]) * (2 if width > height else 1)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_the_same_scores(name):
    network = CLASSIFIERS[name](num_classes=5, width=1 / 16)
    size = 227 if name == "alexnet" else 224
    traced = trace(network, (size, size))
    images = torch.randn(2, 3, size, size)
    assert traced.training
    with torch.no_grad():
        assert torch.equal(traced.eval()(images), network.eval()(images))
    assert traced.state_dict().keys() == network.state_dict().keys()
    own = dict(network.named_parameters())
    assert all(parameter is own[path] for path, parameter in traced.named_parameters())


def test_decisions_are_those_of_the_size():
    network = Careful()
    traced = trace(network, (32, 40)).eval()
    images = torch.randn(1, 3, 32, 40)
    assert torch.equal(traced(images), network.eval()(images))
    assert traced(torch.randn(2, 3, 5, 9)).shape == (2, 4, 2 * 4)  # the check is gone, sizes are not
    assert [node.target for node in traced.graph.nodes if node.op == "call_method"].count("relu") == 2
    with pytest.raises(ShapeError, match="too small"):
        trace(network, (7, 40))


def test_values_are_those_of_the_size():
    traced = trace(Careful(), (32, 40))
    (conv,) = (node for node in traced.graph.nodes if node.op == "call_module" and node.target == "conv")
    assert value(conv).shape == (1, 4, 15, 19)
    assert value(conv).device.type == "meta"
    assert module_of(conv) is traced.conv
    assert described(conv) == "layer conv (Conv2d)"
    assert module_of(conv.args[0]) is None


def test_no_mode_changes():
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), Careful(), nn.BatchNorm2d(4))
    network[2].conv = nn.Conv2d(4, 4, 3)
    network[1].eval()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with pytest.raises(SurgeryError):  # the last norm gets three axes
        trace(network, (32, 32))
    assert [module.training for module in network] == [True, False, True, True]
    assert all(torch.equal(tensor, network.state_dict()[name]) for name, tensor in before.items())
    traced = trace(network[:3].eval(), (32, 32))
    assert not any(module.training for module in traced.modules())


def test_dropout_by_a_function_follows_the_mode():
    traced = trace(Careful(), (32, 40))
    layers = [module for module in traced.modules() if isinstance(module, nn.Dropout | nn.Dropout2d)]
    assert [(type(layer), layer.p) for layer in layers] == [(nn.Dropout, 0.5), (nn.Dropout2d, 0.25)]
    images = torch.randn(1, 3, 32, 40)
    traced.train()
    assert not torch.equal(traced(images), traced(images))
    traced.eval()
    assert torch.equal(traced(images), traced(images))


def test_names_beside_those_that_are_taken():
    traced = trace(nn.Sequential(OrderedDict(pad=nn.Conv2d(3, 2, 1))), (4, 4))
    assert [add_layer(traced, "pad", nn.Identity()) for _ in range(2)] == ["pad_1", "pad_2"]
    assert isinstance(traced.pad, nn.Conv2d)


def test_strides_of_all_maps():
    network = nn.Sequential(
        nn.Conv2d(3, 4, (3, 5), stride=(2, 1)),
        nn.MaxPool2d(3, stride=(1, 7), ceil_mode=True),
        nn.Upsample(scale_factor=4),
        nn.Flatten(),
        nn.LazyLinear(2),
    )
    network(torch.randn(1, 3, 30, 40))
    found = {node.target: tuple(map(str, pair)) for node, pair in strides(trace(network, (30, 40))).items()}
    assert found == {"input": ("1", "1"), "0": ("2", "1"), "1": ("2", "7"), "2": ("1/2", "7/4")}


def test_the_first_convolution_says_the_channels():
    assert first_channels(nn.Sequential(nn.ReLU(), nn.Conv2d(5, 4, 1), nn.Conv2d(4, 4, 1))) == 5
    assert first_channels(nn.ReLU()) == 3
    assert value(next(iter(trace(nn.ReLU(), (4, 6), in_channels=2).graph.nodes))).shape == (1, 2, 4, 6)


class ByValue(nn.Module):
    def forward(self, images):
        return images.relu() if images.sum() > 0 else images


class ByArray(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)

    def forward(self, images):
        return images + torch.from_numpy(np.asarray(self.conv(images))).mean()


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (ByValue(), "ByValue cannot be followed on a picture"),
        (ByArray(), r"hands a tensor to NumPy; pass the part of it that makes the map \(its parts: conv\)$"),
        (nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(7, 2)), "same reduction dim.*pass another size"),
        (nn.Sequential(nn.Conv2d(3, 4, 30)), "Kernel size can't be greater than actual input size"),
    ],
)
def test_refuses_in_one_line(network, message):
    with pytest.raises(SurgeryError, match=message) as caught:
        trace(network, (8, 8))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_no_pictures_at_all(dtype):
    network = nn.Sequential(
        nn.Conv2d(4, 6, (3, 5), stride=(2, 1), padding=(1, 0), dilation=(1, 2), groups=2),
        nn.Conv2d(6, 4, 3, padding="same"),
        nn.Conv2d(4, 4, 3, padding="valid", bias=False),
        nn.BatchNorm2d(4),
        nn.MaxPool2d(2),
        nn.Upsample(scale_factor=8),
        nn.Flatten(),
    ).to(dtype)
    with_one, with_none = (trace(network, (30, 40), empty=empty) for empty in (False, True))
    shapes = [[tuple(value(node).shape[1:]) for node in traced.graph.nodes] for traced in (with_one, with_none)]
    assert (
        shapes[0] == shapes[1] == [shapes[0][0], *(tuple(t.shape[1:]) for t in steps(network, 30, 40)), shapes[0][-1]]
    )
    assert [value(node).shape[0] for node in with_none.graph.nodes] == [0] * len(shapes[1])
    found = [{node.name: sides for node, sides in strides(traced).items()} for traced in (with_one, with_none)]
    assert found[0] == found[1]
    with pytest.raises(SurgeryError, match="groups cannot take"):
        trace(network, (9, 8), empty=True)
    with pytest.raises(SurgeryError, match="groups cannot take"):
        trace(network, (30, 40), in_channels=3, empty=True)
    with pytest.raises(SurgeryError, match="cannot be told from 2304 pixels"):
        strides(trace(nn.MaxPool2d(7), (30, 40), empty=True))


def steps(network, height, width):
    """What each layer gives."""
    values = torch.zeros(1, 4, height, width, dtype=network[0].weight.dtype)
    for layer in network.eval():
        values = layer(values)
        yield values


class Switched(nn.Module):
    """Arguments behind the pictures, dropout by functions of several kinds."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.register_buffer("mean", torch.zeros(4))
        self.register_buffer("var", torch.ones(4))

    def forward(self, images, target=None, *, return_all=False):
        values = F.dropout(self.conv(images), 0.5, training=False)  # as it is written: never
        values = F.batch_norm(values, self.mean, self.var, training=self.training)
        values = F.max_pool2d(values, 2)
        return values if target is None and not return_all else (values, target)


def test_arguments_behind_the_pictures_have_their_defaults(tmp_path):
    network = Switched().train()
    traced = trace(network, (16, 16))
    images = torch.randn(2, 3, 16, 16)
    assert [node.name for node in traced.graph.nodes if node.op == "placeholder"] == ["images"]
    assert not any(isinstance(layer, nn.Dropout) for layer in traced.modules())
    assert torch.equal(traced(images), network.eval()(images))  # a norm by a function keeps evaluation's statistics
    torch.save(traced, tmp_path / "graph.pt")
    assert torch.equal(torch.load(tmp_path / "graph.pt", weights_only=False)(images), traced(images))


class Stem(nn.Module):
    """Strides that divide no usual number of pixels."""

    def __init__(self, *sides):
        super().__init__()
        self.pools = nn.ModuleList(nn.AvgPool2d(side) for side in sides)

    def forward(self, images):
        for pool in self.pools:
            images = pool(images)
        return images


@pytest.mark.parametrize("sides", [(3, 3, 3), (11,), (2, 11), (5, 5), (13, 17), (512,)])
def test_strides_of_unusual_sizes(sides):
    traced = trace(Stem(*sides), (512, 512))
    found = [down for down, _ in strides(traced).values()]
    assert found[:-1] == [math.prod(sides[:count]) for count in range(len(sides) + 1)]  # the last is the output
    assert all(far_of(traced) % stride == 0 for stride in found)


class ByThreshold(nn.Module):
    def forward(self, images):
        return F.max_pool2d(images * 2 if (images > 0).any() else images, 2)


def test_no_pictures_decide_nothing():
    for empty in (True, False):
        with pytest.raises(SurgeryError, match="ByThreshold cannot be followed"):
            trace(ByThreshold(), (8, 8), empty=empty)


class Centered(nn.Identity):
    def forward(self, values):
        return values - values.mean((2, 3), keepdim=True)


class ChannelsLast(nn.LayerNorm):
    def forward(self, values):
        return super().forward(values.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def test_classes_made_from_simple_layers_are_followed():
    traced = trace(nn.Sequential(nn.Conv2d(3, 4, 1), Centered(), ChannelsLast(4)), (8, 8))
    names = [str(node.target) for node in traced.graph.nodes if node.op in ("call_method", "call_function")]
    assert names[0] == "mean"
    assert "permute" in names
    images = torch.randn(1, 3, 8, 8)
    network = nn.Sequential(traced)
    assert torch.equal(traced(images), network(images))


def test_hooks_of_weights_leave_nothing_behind():
    with pytest.warns(FutureWarning):
        layer = torch.nn.utils.weight_norm(nn.Conv2d(3, 4, 3))
    before = layer.weight.clone()
    trace(nn.Sequential(layer), (8, 8))
    assert torch.equal(layer.weight, before)
