"""A classifier made convolutional is the classifier slid over the picture."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from torch import nn

from pixelwise.backbones import CLASSIFIERS
from pixelwise.errors import BadOption, ShapeError, SurgeryError
from pixelwise.layers.small_batch import BatchNorm2d
from pixelwise.surgery import convolutionalize

from .random_graphs import classifiers


def slid(classifier, images, size, stride):
    """The definition: the scores of each window that lies in the picture."""
    rows = range(0, images.shape[2] - size[0] + 1, stride[0])
    columns = range(0, images.shape[3] - size[1] + 1, stride[1])
    with torch.no_grad():
        scores = [[classifier(images[:, :, i : i + size[0], j : j + size[1]]) for j in columns] for i in rows]
    return torch.stack([torch.stack(row, -1) for row in scores], -2)


def settled(network):
    """In double precision and evaluation, with norms that are not the initial ones."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d | nn.LayerNorm | nn.GroupNorm):
            for held in (*module.parameters(), *module.buffers()):
                if held.is_floating_point():
                    nn.init.uniform_(held, 0.5, 1.5)
    return network.double().eval()


def assert_slid(network, size=(9, 8), stride=(1, 1), extra=(3, 4)):
    """The converted network on a larger picture is the definition."""
    size = (size, size) if isinstance(size, int) else size
    settled(network)
    dense = convolutionalize(network, size)
    images = torch.randn(2, 3, size[0] + extra[0], size[1] + extra[1], dtype=torch.double)
    torch.testing.assert_close(dense(images), slid(network, images, size, stride))
    return dense


class Function(nn.Module):
    """Layers, and a function of them and the pictures."""

    def __init__(self, function, **layers):
        super().__init__()
        self.function = function
        for name, layer in layers.items():
            setattr(self, name, layer)

    def forward(self, images):
        return self.function(self, images)


def flattening(*layers, size=(7, 6)):
    """A convolution whose map has this size for pictures of 9 × 8, flattened, and layers on it."""
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), *layers)


def averaging(*layers):
    """A convolution averaged over its map, and layers on the cell (N, 4)."""
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), *layers)


@settings(max_examples=35, deadline=None, derandomize=True, database=None)
@given(classifiers(padded=False))
def test_without_padding_the_map_is_the_scores_of_each_window(drawn):
    dense = convolutionalize(drawn.network, drawn.size)
    sides = (side + 2 * step + 1 for side, step in zip(drawn.size, drawn.stride, strict=True))
    images = torch.randn(2, 3, *sides, dtype=torch.double)
    expected = slid(drawn.network, images, drawn.size, drawn.stride)
    rows, columns = expected.shape[2:]
    torch.testing.assert_close(dense(images)[:, :, :rows, :columns], expected)


@settings(max_examples=20, deadline=None, derandomize=True, database=None)
@given(classifiers(padded=True))
def test_at_the_classifiers_size_the_scores_are_its_own_and_larger_pictures_give_a_map(drawn):
    dense = convolutionalize(drawn.network, drawn.size)
    images = torch.randn(2, 3, *drawn.size, dtype=torch.double)
    torch.testing.assert_close(dense(images)[:, :, 0, 0], drawn.network(images))
    larger = dense(
        images.new_zeros(1, 3, *(side + 3 * step for side, step in zip(drawn.size, drawn.stride, strict=True)))
    )
    assert larger.shape[2:] == (4, 4)
    assert dense(images.new_zeros(1, 3, *(side + 5 for side in drawn.size))).ndim == 4


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_each_classifier_keeps_its_scores_names_and_mode(name):
    size = 227 if name == "alexnet" else 224 if name in ("vgg16", "googlenet") else 96
    classifier = CLASSIFIERS[name](num_classes=5, width=1 / 32)
    before = {key: tensor.clone() for key, tensor in classifier.state_dict().items()}
    dense = convolutionalize(classifier, size)
    assert dense.training and all(layer.training for layer in dense.modules())
    images = torch.randn(1, 3, size, size)
    torch.testing.assert_close(dense.eval()(images)[:, :, 0, 0], classifier.eval()(images), rtol=1e-4, atol=1e-4)
    assert dense(torch.zeros(1, 3, size + 64, size + 32)).shape == (1, 5, 3, 2)
    after = classifier.state_dict()
    assert all(torch.equal(after[key], tensor) for key, tensor in before.items())
    held = dense.state_dict()
    assert held.keys() == before.keys()
    assert all(torch.equal(held[key].flatten(), tensor.flatten()) for key, tensor in before.items())
    own = {tensor.data_ptr() for tensor in after.values()}
    assert not own & {tensor.data_ptr() for tensor in held.values()}


def test_a_vgg_without_padding_on_564_pixels_gives_its_36_windows_of_404():
    classifier = CLASSIFIERS["vgg16"](num_classes=3, width=1 / 64)
    for layer in classifier.modules():
        if isinstance(layer, nn.Conv2d):
            layer.padding = (0, 0)
    classifier.double().eval()
    dense = convolutionalize(classifier, 404)
    images = torch.randn(1, 3, 564, 564, dtype=torch.double)
    with torch.no_grad():
        scores = dense(images)
    assert scores.shape == (1, 3, 6, 6)
    torch.testing.assert_close(scores, slid(classifier, images, (404, 404), (32, 32)))


@pytest.mark.parametrize(
    ("name", "size", "larger", "cells", "equal"),
    [("vgg16", 224, 384, 6, slice(3, 4)), ("alexnet", 227, 500, 10, slice(2, 4))],
)
def test_padding_changes_the_border_of_each_window(name, size, larger, cells, equal):
    classifier = CLASSIFIERS[name](num_classes=3, width=1 / 32).double().eval()
    images = torch.randn(1, 3, larger, larger, dtype=torch.double)
    dense = convolutionalize(classifier, size)
    last = "convolutions.pool5" if name == "alexnet" else "conv5.pool5"
    maps = []
    for network in (classifier, dense):
        network.get_submodule(last).register_forward_hook(lambda layer, given, pooled: maps.append(pooled))
    with torch.no_grad():
        assert dense(images).shape == (1, 3, cells, cells)
        classifier(images[:, :, 64 : 64 + size, 64 : 64 + size])
    whole, window = maps
    slid = whole[:, :, 2 : 2 + window.shape[2], 2 : 2 + window.shape[3]]
    torch.testing.assert_close(slid[:, :, equal, equal], window[:, :, equal, equal])
    differing = (slid - window).abs().amax((0, 1)) > 1e-9
    assert differing[0].any() and differing[-1].any() and differing[:, 0].any() and differing[:, -1].any()


def test_a_window_may_be_wide_and_the_batch_of_any_size():
    dense = assert_slid(flattening(nn.Linear(4 * 7 * 6, 5), nn.ReLU(), nn.Linear(5, 2)))
    assert dense.get_submodule("3").kernel_size == (7, 6)
    assert dense.get_submodule("5").kernel_size == (1, 1)
    assert dense(torch.randn(3, 3, 9, 8, dtype=torch.double)).shape == (3, 2, 1, 1)


@pytest.mark.parametrize(
    "layers",
    [
        (nn.BatchNorm1d(4), nn.Linear(4, 3)),
        (nn.LayerNorm(4), nn.Linear(4, 3)),
        (nn.RMSNorm(4), nn.Linear(4, 3)),
        (nn.GroupNorm(2, 4), nn.Linear(4, 3)),
        (nn.PReLU(4), nn.Linear(4, 3)),
        (nn.GLU(), nn.Linear(2, 3)),
        (nn.Linear(4, 3), nn.Softmax(-1)),
        (nn.Linear(4, 3, bias=False), nn.LogSoftmax(1)),
        (nn.Linear(4, 6), nn.Unflatten(1, (3, 2)), nn.Linear(2, 2), nn.Flatten(), nn.Linear(6, 3)),
        (nn.Unflatten(1, (4, 1, 1)), nn.Conv2d(4, 3, 1), nn.BatchNorm2d(3), nn.Flatten()),
        (nn.Unflatten(1, (4, 1, 1)), nn.GroupNorm(2, 4), nn.Flatten(2), nn.Flatten()),
    ],
    ids=lambda layers: type(layers[0]).__name__,
)
def test_layers_on_cells(layers):
    assert_slid(averaging(*layers))


@pytest.mark.parametrize(
    "layers",
    [
        (nn.BatchNorm1d(168), nn.Linear(168, 3)),
        (nn.LayerNorm(168), nn.Linear(168, 3)),
        (nn.PReLU(168), nn.Linear(168, 3)),
        (nn.Softmax(1), nn.Linear(168, 3)),
        (nn.Dropout(), nn.Tanh(), nn.Linear(168, 3)),
        (nn.Unflatten(1, (4, 7, 6)), nn.Conv2d(4, 2, 3), nn.Flatten(), nn.Linear(40, 3)),
        (nn.Unflatten(1, (4, 42)), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(4, 3)),
        (nn.Unflatten(1, (4, 42)), nn.Linear(42, 2), nn.Flatten(), nn.Linear(8, 3)),
    ],
    ids=lambda layers: type(layers[0]).__name__,
)
def test_layers_on_flattened_windows(layers):
    assert_slid(flattening(*layers))


def cell(net, x):
    return net.map(x).mean((2, 3))


def changed(values, change, then):
    """What is returned by the change is not used."""
    change(values)
    return then(values)


def both(net, values):
    flat = values.flatten(1)
    values.relu_()
    return net.wide2(flat) + net.fc(values.mean((2, 3)))


WEIGHT = nn.Parameter(torch.randn(4, 3, generator=torch.Generator().manual_seed(3)))
FUNCTIONS = {
    "fixed pool squeezed": lambda net, x: net.fc(F.avg_pool2d(net.map(x), (7, 6)).squeeze(-1).squeeze(-1)),
    "linear": lambda net, x: F.linear(net.map(x).mean((2, 3)), net.weight.t()),
    "cosine": lambda net, x: F.linear(F.normalize(net.map(x).mean((2, 3)), dim=1), F.normalize(net.weight.t())),
    "matmul": lambda net, x: net.map(x).amax((2, 3)) @ net.weight,
    "bias": lambda net, x: net.fc(net.map(x).mean((2, 3)) * net.scale + net.scale[None]),
    "weight first": lambda net, x: net.fc(torch.mul(net.scale, net.map(x).mean((2, 3)))),
    "keepdim": lambda net, x: net.fc(net.map(x).mean((-2, -1), keepdim=True)[:, :, 0, 0]),
    "unsqueezed": lambda net, x: net.conv(net.map(x).mean((2, 3))[:, :, None, None]).squeeze(3).squeeze(2),
    "one axis kept": lambda net, x: net.fc(net.map(x).mean(2, keepdim=True).mean(3).flatten(1)),
    "sum of channels": lambda net, x: net.fc(net.map(x).mean((2, 3)) / net.map(x).mean((2, 3)).sum(1, keepdim=True)),
    "chunks": lambda net, x: net.fc(torch.cat(net.map(x).mean((2, 3)).chunk(2, dim=1)[::-1], -1)),
    "split maps": lambda net, x: net.fc(torch.cat(net.map(x).split([1, 3], dim=1), 1).mean((2, 3))),
    "unbound": lambda net, x: torch.stack(net.map(x).mean((2, 3)).unbind(1)[:3], dim=-1),
    "sliced": lambda net, x: net.map(x).mean((2, 3))[:, 1:],
    "last": lambda net, x: net.fc(net.map(x).permute(0, 2, 3, 1).mul(net.scale).mean((1, 2))),
    "linear on maps": lambda net, x: net.fc(net.map(x).permute(0, 2, 3, 1)).mean((1, 2)),
    "norm on maps": lambda net, x: net.fc(F.layer_norm(net.map(x).permute(0, 2, 3, 1), (4,)).amax((1, 2))),
    "tokens": lambda net, x: net.fc(net.map(x).flatten(2).transpose(1, 2)).mean(1),
    "layer scale": lambda net, x: net.fc((net.map(x) * net.scale[:, None, None]).mean((2, 3))),
    "channel attention of a place": lambda net, x: net.fc(
        (net.map(x) * net.map(x).mean(1, True).sigmoid()).mean((2, 3))
    ),
    "GeM": lambda net, x: net.fc(
        F.avg_pool2d(net.map(x).clamp(min=1e-3).pow(3), net.map(x).shape[-2:]).pow(1 / 3)[..., 0, 0]
    ),
    "in place": lambda net, x: net.fc(net.map(x).mul_(2).add_(1).relu_().mean((2, 3))),
    "two windows": lambda net, x: net.wide(torch.cat([net.map(x).flatten(1), net.map(x)[:, :1].flatten(1)], 1)),
    "max": lambda net, x: net.fc(net.map(x).max(-1)[0].max(dim=-1).values),
    "same sum": lambda net, x: net.wide2(net.map(x).flatten(1) + net.map(-x).flatten(1)),
    "softmax": lambda net, x: F.softmax(net.fc(net.map(x).mean((2, 3))), 1),
    "norm of a cell": lambda net, x: net.fc(net.map(x).mean((2, 3)) / net.map(x).mean((2, 3)).norm(2, 1, True)),
    "variance of a cell": lambda net, x: net.fc(net.map(x).mean((2, 3)) * net.map(x).mean((2, 3)).var(1, keepdim=True)),
    "norms by name": lambda net, x: net.fc(cell(net, x) / cell(net, x).norm(p=2, dim=1, keepdim=True)),
    "norms of torch": lambda net, x: net.fc(cell(net, x) / torch.norm(cell(net, x), dim=1, keepdim=True)),
    "norms without p": lambda net, x: net.fc(cell(net, x) / cell(net, x).norm(dim=1, keepdim=True)),
    "norms of linalg": lambda net, x: net.fc(
        cell(net, x) / torch.linalg.vector_norm(cell(net, x), dim=-1, keepdim=True)
    ),
    "normalized": lambda net, x: net.fc(F.normalize(cell(net, x))),
    "deviation by places": lambda net, x: net.fc(cell(net, x) / cell(net, x).std(1, False, True)),
    "variance without a mean": lambda net, x: torch.stack([cell(net, x).var(1, False), cell(net, x).var(1)], 1),
    "norm of a window": lambda net, x: net.wide2(
        net.map(x).flatten(1) / net.map(x).flatten(1).norm(dim=1, keepdim=True)
    ),
    "rows of columns": lambda net, x: net.rows(net.map(x).permute(0, 3, 1, 2).flatten(2).mean(1)),
    "columns of rows": lambda net, x: net.columns(net.map(x).permute(0, 2, 3, 1).flatten(2).mean(1)),
    "picked channels": lambda net, x: net.fc(net.map(x[:, [2, 1, 0]])[:, [3, 0, 0, 1]].mean((2, 3))[:, [1, 0, 3, 2]]),
    "turned channels": lambda net, x: net.fc(net.map(x.flip(1)).mean((2, 3)).flip(-1)),
    "selected channels": lambda net, x: net.fc(net.map(x.index_select(1, net.order)).mean((2, 3))),
    "channels by a tensor": lambda net, x: net.fc(net.map(x[:, net.order]).mean((2, 3))),
    "narrow": lambda net, x: net.fc(
        net.map(torch.cat([x.narrow(1, 1, 2), x.narrow(dim=1, start=0, length=1)], 1)).amax((2, 3))
    ),
    "repeated": lambda net, x: net.fc(net.map(x[:, :1].repeat(1, 3, 1, 1)).mean((2, 3))[:, :2].repeat(1, 2)),
    "expanded": lambda net, x: net.fc(
        net.map(x[:, :1].expand(-1, 3, -1, x.shape[3])).mean((2, 3))[:, :1].expand(-1, 4)
    ),
    "stacked side by side": lambda net, x: net.fc(torch.hstack([net.map(x)[:, :2], net.map(x)[:, 2:]]).mean((2, 3))),
    "single channels joined": lambda net, x: net.fc(
        net.map(torch.cat([x[:, 2].unsqueeze(1), x[:, :2]], 1)).mean((2, 3))
    ),
    "one channel": lambda net, x: net.fc(net.map(net.one(x[:, 1].unsqueeze(1))).mean((2, 3))),
    "rounded": lambda net, x: net.fc((net.map(x).abs() + 1).log2().mul(9).floor().add(0.3).round().mean((2, 3))),
    "product and sum": lambda net, x: torch.addmm(net.scale[:3], cell(net, x), net.weight, alpha=2),
    "cut at borders": lambda net, x: net.fc(net.map(x)[:, :, 1:-1, 2 : net.map(x).shape[3] - 1].mean((2, 3))),
    "padded by a difference": lambda net, x: net.fc(
        (net.map(x)[:, :, 1:] + F.pad(net.map(x), (0, 0, 0, net.map(x).shape[2] - x.shape[2] + 1))).mean((2, 3))
    ),
    "changed and forgotten": lambda net, x: changed(net.map(x).flatten(1), lambda flat: flat.sub_(net.long), net.wide2),
    "changed cells": lambda net, x: changed(cell(net, x), lambda flat: flat.mul_(net.scale), net.fc),
    "changed by a layer": lambda net, x: changed(net.map(x).flatten(1), net.tanh, net.wide2),
    "changed by a function": lambda net, x: changed(
        net.map(x).flatten(1), lambda flat: F.relu(flat.sub_(net.long), True), net.wide2
    ),
    "a changed map is seen in its window": lambda net, x: both(net, net.map(x)),
    "batch norm": lambda net, x: net.fc(
        F.batch_norm(net.map(x).mean((2, 3)), net.scale.detach(), net.scale.detach() ** 2)
    ),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions(name):
    network = Function(
        FUNCTIONS[name],
        map=nn.Conv2d(3, 4, 3),
        fc=nn.Linear(4, 3),
        conv=nn.Conv2d(4, 3, 1),
        wide=nn.Linear(5 * 42, 3),
        wide2=nn.Linear(4 * 42, 3),
        weight=nn.Parameter(WEIGHT.detach().clone()),
        scale=nn.Parameter(torch.tensor([0.5, -1, 2, 3])),
        rows=nn.Linear(28, 3),
        columns=nn.Linear(24, 3),
        one=nn.Conv2d(1, 3, 1),
        long=nn.Parameter(torch.linspace(-1, 1, 168)),
        tanh=nn.ELU(inplace=True),
    )
    network.register_buffer("order", torch.tensor([1, 2, 0]))
    assert_slid(network)


def test_adaptive_pools_become_pools_of_their_windows():
    trunk = [nn.Conv2d(3, 4, 2), nn.Tanh()]
    dense = assert_slid(
        nn.Sequential(*trunk, nn.AdaptiveAvgPool2d((4, 7)), nn.Flatten(), nn.Linear(4 * 4 * 7, 3)), stride=(2, 1)
    )
    pool = dense.get_submodule("2")
    assert (pool.kernel_size, pool.stride) == ((2, 1), (2, 1))
    dense = assert_slid(
        nn.Sequential(*trunk, nn.AdaptiveMaxPool2d((None, 1)), nn.Flatten(), nn.Linear(4 * 8, 3)), stride=(1, 1)
    )
    assert dense.get_submodule("2").kernel_size == (1, 7)
    same = nn.Sequential(*trunk, nn.AdaptiveAvgPool2d((8, 7)), nn.Flatten(), nn.Linear(4 * 56, 3))
    assert not any(isinstance(layer, nn.AvgPool2d) for layer in assert_slid(same).modules())


def test_overlapping_adaptive_windows_of_one_size():
    network = nn.Sequential(nn.Conv2d(3, 4, 5), nn.AdaptiveAvgPool2d((2, 4)), nn.Flatten(), nn.Linear(32, 3))
    dense = assert_slid(network, stride=(2, 1))
    assert (dense.get_submodule("1").kernel_size, dense.get_submodule("1").stride) == ((3, 1), (2, 1))


def test_an_average_over_the_whole_map_is_taken_at_each_place():
    network = nn.Sequential(nn.Conv2d(3, 4, 2), nn.AvgPool2d((8, 7), divisor_override=5), nn.Flatten(), nn.Linear(4, 2))
    assert assert_slid(network).get_submodule("1").stride == (1, 1)
    part = nn.Sequential(nn.Conv2d(3, 4, 2), nn.AvgPool2d((4, 7)), nn.Flatten(), nn.Linear(8, 2))
    assert assert_slid(part, stride=(4, 1), extra=(8, 7)).get_submodule("1").stride == (4, 1)


@pytest.mark.parametrize(
    ("pool", "left"),
    [
        (nn.MaxPool2d((8, 7)), 4),
        (nn.MaxPool2d((8, 1)), 28),
        (nn.AvgPool2d((1, 7), stride=(1, 7)), 32),
        (nn.MaxPool2d((8, 4), dilation=(1, 2)), 4),
        (nn.LPPool2d(2, (8, 7)), 4),
        (Function(lambda net, x: F.max_pool2d(x, x.shape[2:])), 4),
        (Function(lambda net, x: F.lp_pool2d(x, 2.0, kernel_size=(8, 7))), 4),
    ],
    ids=["max", "by rows", "by columns", "dilated", "power", "max function", "power function"],
)
def test_other_pools_over_the_whole_map_are_taken_at_each_place(pool, left):
    assert_slid(nn.Sequential(nn.Conv2d(3, 4, 2), pool, nn.Flatten(), nn.Linear(left, 2)))


class Halved(nn.BatchNorm2d):
    """Of its own, and as local as it should be."""

    def forward(self, values):
        return super().forward(values) / 2


def test_layers_with_a_forward_of_their_own_that_see_their_window():
    class Standardized(nn.Conv2d):
        def forward(self, values):
            return F.conv2d(values, self.weight / self.weight.norm(), self.bias, self.stride)

    network = nn.Sequential(
        Standardized(3, 4, (3, 2), stride=(2, 1)), Halved(4), BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(112, 2)
    )
    assert_slid(network, stride=(2, 1), extra=(4, 3))


@pytest.mark.parametrize("step", [3, 11, 13])
def test_two_depths_at_any_stride(step):
    network = Function(
        lambda net, x: net.fc(torch.cat([net.a(x).mean((2, 3)), net.b(net.a(x)).mean((2, 3))], 1)),
        a=nn.Conv2d(3, 4, step, step),
        b=nn.Conv2d(4, 2, 2, 2),
        fc=nn.Linear(6, 3),
    )
    assert_slid(network, size=4 * step, stride=(2 * step, 2 * step), extra=(2 * step, 4 * step + 1))


def test_the_check_takes_pictures_one_by_one():
    network = Function(lambda net, x: net.fc(net.map(x).reshape(1, -1)), map=nn.Conv2d(3, 4, 3), fc=nn.Linear(168, 2))
    assert convolutionalize(network, (9, 8))(torch.zeros(2, 3, 9, 9)).shape == (2, 2, 1, 2)


def test_finer_windows_take_the_stride_of_the_coarsest():
    network = Function(
        lambda net, x: net.fc(torch.cat([net.a(x).mean((2, 3)), net.b(net.a(x)).flatten(1)], 1)),
        a=nn.Conv2d(3, 4, 3, (2, 1)),
        b=nn.Conv2d(4, 2, (2, 3), (1, 3)),
        fc=nn.Linear(4 + 2 * 3 * 2, 3),
    )
    dense = assert_slid(network, stride=(2, 3), extra=(4, 6))
    assert dense.get_submodule("pool").stride == (1, 3)


def test_one_pool_for_maps_of_two_depths():
    network = Function(
        lambda net, x: net.fc(torch.cat([net.pool(net.a(x)), net.pool(net.b(net.a(x)))], 1).flatten(1)),
        a=nn.Conv2d(3, 4, 3),
        b=nn.Conv2d(4, 2, 3, 2),
        pool=nn.AdaptiveAvgPool2d(1),
        fc=nn.Linear(6, 3),
    )
    assert_slid(network, stride=(2, 2), extra=(5, 4))


def test_sizes_where_one_of_two_depths_rounds_up():
    network = Function(
        lambda net, x: net.fc(net.a(x).mean((2, 3)) + net.b(net.a(x)).mean((2, 3))),
        a=nn.Conv2d(3, 4, 3),
        b=nn.MaxPool2d(3, 2, ceil_mode=True),
        fc=nn.Linear(4, 3),
    )
    settled(network)
    dense = convolutionalize(network, 9)
    images = torch.randn(1, 3, 14, 12, dtype=torch.double)
    torch.testing.assert_close(dense(images), slid(network, images, (9, 9), (2, 2)))


def test_gradients_reach_the_weights_and_frozen_layers_stay_frozen():
    network = settled(flattening(nn.Linear(168, 5), nn.ReLU(), nn.Linear(5, 2)))
    network[3].weight.requires_grad_(False)
    dense = convolutionalize(network, (9, 8))
    images = torch.randn(1, 3, 10, 8, dtype=torch.double)
    dense(images).square().sum().backward()
    (network(images[:, :, :9]).square().sum() + network(images[:, :, 1:]).square().sum()).backward()
    held = dict(dense.named_parameters())
    assert not held["3.weight"].requires_grad and held["3.bias"].requires_grad
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            torch.testing.assert_close(held[name].grad.flatten(), parameter.grad.flatten())


def test_each_layer_keeps_its_mode_and_dropout_follows_it():
    network = averaging(nn.BatchNorm1d(4), nn.Dropout(), nn.Linear(4, 2))
    network.train()
    network[4].eval()
    dense = convolutionalize(network, 9)
    assert dense.training and not dense.get_submodule("4").training and dense.get_submodule("5").training
    assert [layer.training for layer in network.modules()] == [True, True, True, True, True, False, True, True]
    assert isinstance(dense.get_submodule("4"), nn.BatchNorm2d)
    assert torch.equal(dense.get_submodule("4").running_var, network[4].running_var)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_other_precisions(dtype):
    dense = convolutionalize(averaging(nn.BatchNorm1d(4), nn.Linear(4, 2)).to(dtype), 9)
    assert dense(torch.zeros(1, 3, 11, 9, dtype=dtype)).dtype == dtype


def test_random_numbers_outside_are_left_alone():
    torch.manual_seed(4)
    expected = torch.rand(3)
    torch.manual_seed(4)
    network = averaging(nn.Linear(4, 2))
    torch.manual_seed(4)
    convolutionalize(network, 9)
    assert torch.equal(torch.rand(3), expected)


def test_other_channels_and_weights_that_are_nowhere():
    network = Function(lambda net, x: net.fc(x.flatten(1)), fc=nn.Linear(2 * 9 * 8, 3))
    assert convolutionalize(network, (9, 8), in_channels=2)(torch.zeros(1, 2, 10, 10)).shape == (1, 3, 2, 3)
    with torch.device("meta"):
        network = averaging(nn.Linear(4, 2))
    assert convolutionalize(network, 9)(torch.zeros(1, 3, 10, 9, device="meta")).shape == (1, 2, 2, 1)


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.map = nn.Conv2d(3, 4, 3)
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)

    def forward(self, images):
        tokens = self.map(images).flatten(2).transpose(1, 2)
        return self.attention(tokens, tokens, tokens)[0].mean(1)


class OwnLinear(nn.Linear):
    def forward(self, values):
        return super().forward(values) * 2


class Forgetful(nn.BatchNorm1d):
    """Of torch's norms by its class, but not by what it does."""

    def forward(self, values):
        return values - values.mean(-1, keepdim=True)


def head(function, **layers):
    return Function(function, map=nn.Conv2d(3, 4, 3), **layers)


class OwnConvolution(nn.Conv2d):
    def forward(self, values):
        return F.instance_norm(super().forward(values))


class OwnNorm(nn.BatchNorm2d):
    def forward(self, values):
        return super().forward(values - values.mean((2, 3), keepdim=True))


class OwnPlaces(nn.MaxPool2d):
    def forward(self, values):
        values = super().forward(values)
        return values * torch.linspace(0, 1, values.shape[3]).to(values)


def after(function):
    """The map, changed by a function, averaged and scored."""
    return head(lambda net, x: net.fc(function(net.map(x)).mean((2, 3))), fc=nn.Linear(4, 2))


def transposed_change(net, x):
    values = net.map(x)
    flat = values.transpose(2, 3).flatten(1)
    flat.relu_()
    return net.fc(flat) + net.fc(values.flatten(1))


def changed_copy(net, x):
    values = net.map(x)
    flat = values.flatten(1)
    flat.mul_(net.scale)
    return net.fc(flat) + net.fc(values.flatten(1))


OF_THE_SIZE = r"getitem\(\) cuts a part that depends on the size"
REFUSED = {
    "upper half": (after(lambda y: y[:, :, : y.shape[2] // 2]), OF_THE_SIZE),
    "lower half": (after(lambda y: y[:, :, y.shape[2] // 2 :]), OF_THE_SIZE),
    "center": (after(lambda y: y[:, :, y.shape[2] // 4 : -(y.shape[2] // 4)]), OF_THE_SIZE),
    "last rows": (after(lambda y: y[..., -3:, :]), OF_THE_SIZE),
    "first rows": (after(lambda y: y[..., :3, :]), OF_THE_SIZE),
    "all but a remainder": (after(lambda y: y[..., y.shape[3] % 4 :]), OF_THE_SIZE),
    "padded to a multiple": (
        after(lambda y: F.pad(y, (0, y.shape[3] % 4))),
        r"pad\(\) adds a border that depends on the size",
    ),
    "changed in another order": (
        head(transposed_change, fc=nn.Linear(168, 2)),
        r"relu_\(\) changes its input in place, and conv2d|relu_\(\) changes its input in place, and layer map",
    ),
    "changed and seen by a view": (
        head(changed_copy, fc=nn.Linear(168, 2), scale=nn.Parameter(torch.ones(168))),
        r"mul_\(\) changes its input in place, and layer map \(Conv2d\), another view of it, is used later",
    ),
    "own convolution": (
        nn.Sequential(OwnConvolution(3, 4, 3), nn.Flatten(), nn.Linear(168, 2)),
        r"layer 0 \(OwnConvolution\) has a forward of its own that sees more than its window",
    ),
    "own batch norm": (
        nn.Sequential(nn.Conv2d(3, 4, 3), OwnNorm(4), nn.Flatten(), nn.Linear(168, 2)),
        r"layer 1 \(OwnNorm\) has a forward of its own that sees more",
    ),
    "own pool of places": (
        nn.Sequential(OwnPlaces(3, 1), nn.Flatten(), nn.Linear(126, 2)),
        r"layer 0 \(OwnPlaces\) has a forward of its own that sees more",
    ),
    "batch norm without statistics": (
        nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False), nn.Flatten(), nn.Linear(168, 2)
        ),
        r"layer 1 \(BatchNorm2d\) normalizes by the statistics of the pictures that it is given",
    ),
    "batch norm function": (
        after(lambda y: F.batch_norm(y, None, None, training=True)),
        r"batch_norm\(\) normalizes by the statistics of the pictures",
    ),
    "batch norm function in training": (
        after(lambda y: F.batch_norm(y, torch.zeros(4, device="meta"), torch.ones(4, device="meta"), None, None, True)),
        r"batch_norm\(\) normalizes by the statistics of the pictures",
    ),
    "aligned corners": (
        after(lambda y: F.interpolate(y, scale_factor=2, mode="bilinear", align_corners=True)),
        r"interpolate\(\) has align_corners=True",
    ),
    "layer of aligned corners": (
        nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.UpsamplingBilinear2d(scale_factor=2), nn.AdaptiveAvgPool2d(1), nn.Flatten()
        ),
        r"layer 1 \(UpsamplingBilinear2d\) has align_corners=True",
    ),
    "resized by no whole factor": (
        after(lambda y: F.interpolate(y, scale_factor=1.5)),
        r"interpolate\(\) makes 10 places of 7, .* resize by a whole factor",
    ),
    "turned": (after(lambda y: y.flip(3)), r"flip\(\) picks, turns or repeats rows"),
    "narrow rows": (after(lambda y: y.narrow(2, 0, 3)), r"narrow\(\) picks, turns or repeats rows"),
    "picked rows": (after(lambda y: y[:, :, [0, 1]]), r"getitem\(\) picks single places of a map"),
    "several lists": (
        head(lambda net, x: net.map(x)[:, [0, 1], [0, 1]].mean(2)),
        r"getitem\(\) picks by a mask or several lists",
    ),
    "random in evaluation": (
        head(lambda net, x: net.fc(F.dropout(net.map(x).flatten(1))), fc=nn.Linear(168, 2)),
        r"dropout\(\) is random in evaluation, too, .* give it training=self.training",
    ),
    "squeeze and excitation": (
        head(lambda net, x: (net.map(x) * net.map(x).mean((2, 3), keepdim=True).sigmoid()).mean((2, 3))),
        r"mul\(\) combines a map of 7 × 6 places with values of the whole window .as squeeze",
    ),
    "squeeze and excitation by layers": (
        head(
            lambda net, x: net.fc((net.map(x) * net.gate(net.map(x))).flatten(1)),
            fc=nn.Linear(168, 2),
            gate=nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(4, 4, 1), nn.Sigmoid()),
        ),
        r"squeeze-and-excitation",
    ),
    "attention": (Attention(), r"layer attention \(MultiheadAttention\) has no rule"),
    "product of places": (
        head(lambda net, x: torch.matmul(net.map(x).flatten(2), net.map(x).flatten(2).transpose(1, 2)).flatten(1)),
        r"matmul\(\) multiplies what both come from the picture, as attention does",
    ),
    "softmax over places": (
        head(lambda net, x: net.map(x).softmax(-1).mean((2, 3))),
        r"softmax\(\) goes over the places of a map",
    ),
    "positional embedding": (
        head(lambda net, x: (net.map(x) + net.place).mean((2, 3)), place=nn.Parameter(torch.zeros(1, 4, 7, 6))),
        r"add\(\) combines a map with a weight for each place",
    ),
    "group norm": (
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.GroupNorm(2, 4), nn.Flatten(), nn.Linear(168, 2)),
        r"layer 1 \(GroupNorm\) normalizes by the statistics of the whole map",
    ),
    "instance norm": (
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.InstanceNorm2d(4), nn.Flatten(), nn.Linear(168, 2)),
        r"layer 1 \(InstanceNorm2d\) normalizes by the statistics",
    ),
    "layer norm of a map": (
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.LayerNorm((4, 7, 6)), nn.Flatten(), nn.Linear(168, 2)),
        r"layer 1 \(LayerNorm\) normalizes over the places of a map",
    ),
    "uneven pool": (
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d((4, 3)), nn.Flatten(), nn.Linear(48, 2)),
        r"layer 1 \(AdaptiveAvgPool2d\) makes 4 × 3 of 7 × 6 places, .* choose an input_size",
    ),
    "a map": (nn.Conv2d(3, 4, 3), r"a classifier gives one tensor \(N, K\) of scores, this gives \(1, 4, 7, 6\)"),
    "two outputs": (head(lambda net, x: (net.map(x).mean((2, 3)), 1)), r"this gives a tuple for one picture"),
    "one number": (head(lambda net, x: net.map(x).mean((1, 2, 3))), r"ties values to them"),
    "the batch": (head(lambda net, x: net.map(x).mean((0, 2, 3))[None]), r"mean\(\) reduces the batch"),
    "squeezed batch": (
        head(lambda net, x: net.fc(net.map(x).mean((2, 3)).squeeze())[None], fc=nn.Linear(4, 2)),
        r"squeeze\(\) takes the batch away",
    ),
    "a corner": (head(lambda net, x: net.map(x)[:, :, 0, 0]), r"getitem\(\) picks single places of a map"),
    "linear on columns": (
        head(lambda net, x: net.fc(net.map(x)).flatten(1), fc=nn.Linear(6, 2)),
        r"layer fc \(Linear\) mixes the columns of a map",
    ),
    "own linear": (
        nn.Sequential(nn.Flatten(), OwnLinear(216, 2)),
        r"layer 1 \(OwnLinear\) is a linear layer with a forward of its",
    ),
    "own norm of cells": (averaging(Forgetful(4)), r"differs from the classifier by .* of the largest score"),
    "fixed size": (
        head(lambda net, x: F.interpolate(net.map(x), size=(3, 3)).mean((2, 3))),
        r"interpolate\(\) gives \(1, 4, 3, 3\) at every size",
    ),
    "spread again": (
        head(lambda net, x: F.interpolate(net.map(x).mean((2, 3), True), size=net.map(x).shape[2:]).mean((2, 3))),
        r"interpolate\(\) spreads 1 places over 7",
    ),
    "one layer for two windows": (
        head(
            lambda net, x: (
                net.fc(net.map(x).flatten(1)) + net.fc(net.map(x).mean(3, True).expand(-1, -1, -1, 6).flatten(1))
            ),
            fc=nn.Linear(168, 2),
        ),
        r"expand\(\) picks, turns or repeats rows, columns or pictures",
    ),
    "places of maxima": (
        head(lambda net, x: net.map(x).flatten(2).max(2)[1]),
        r"getitem\(\) takes places of maxima",
    ),
    "indices of a pool": (
        head(lambda net, x: net.pool(net.map(x))[0].mean((2, 3)), pool=nn.MaxPool2d(2, return_indices=True)),
        r"layer pool \(MaxPool2d\) gives indices of places",
    ),
    "rows apart": (
        head(lambda net, x: net.map(x).reshape(1, -1, 3).mean(2)),
        r"reshape\(\) takes rows or columns of a",
    ),
    "standard deviation": (head(lambda net, x: net.map(x).std((2, 3))), r"std\(\) over the places of a window has no"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_slid_is_refused_by_name(name):
    network, message = REFUSED[name]
    with pytest.raises(SurgeryError, match=message):
        convolutionalize(network, (9, 8))


@pytest.mark.parametrize("size", [0, True, (9,), (9, 8.0), "9", 3.5, None])
def test_sizes_that_are_none(size):
    with pytest.raises(BadOption, match="input_size is the side of the classifier's pictures or"):
        convolutionalize(averaging(), size)


@pytest.mark.parametrize("channels", [0, "3", 1.5])
def test_channels_that_are_none(channels):
    with pytest.raises(BadOption, match="in_channels is the number of channels of the pictures, got"):
        convolutionalize(averaging(), 9, in_channels=channels)


def test_another_number_of_channels():
    with pytest.raises(SurgeryError, match="in_channels"):
        convolutionalize(averaging(nn.Linear(4, 2)), 9, in_channels=4)


@pytest.mark.filterwarnings("ignore:.*weight_norm.*deprecated:FutureWarning")
@pytest.mark.parametrize("place", [0, 3])
@pytest.mark.parametrize("norm", [nn.utils.weight_norm, nn.utils.spectral_norm])
def test_weights_that_a_hook_computes_are_refused_and_parametrizations_are_taken(norm, place):
    network = flattening(nn.Linear(168, 2))
    norm(network[place])
    with pytest.raises(
        SurgeryError, match=rf"layer {place} \(.*\) has a weight that a hook computes .*parametrizations"
    ):
        convolutionalize(network, (9, 8))
    network = flattening(nn.Linear(168, 2))
    getattr(nn.utils.parametrizations, norm.__name__)(network[place])
    assert_slid(network)


def test_a_size_that_the_classifier_refuses():
    with pytest.raises(ShapeError, match="6 × 6"):
        convolutionalize(CLASSIFIERS["alexnet"](num_classes=3, width=1 / 32), 100)
    with pytest.raises(SurgeryError, match="cannot be followed on a picture"):
        convolutionalize(flattening(nn.Linear(3, 2)), 9)
