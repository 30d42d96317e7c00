"""What a cell sees is what changes it."""

import copy
import random
from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from pixelwise.backbones.alexnet import AlexNet
from pixelwise.backbones.googlenet import GoogLeNet
from pixelwise.backbones.vgg import VGG16
from pixelwise.errors import ShapeError, UnknownName
from pixelwise.layers.mirror import mirror_pad
from pixelwise.layers.resample import Resampling
from pixelwise.models import build
from pixelwise.models.deeplab_v1 import DeepLabVGG16, FullyConnected
from pixelwise.models.deeplab_v2 import deeplab_v2_resnet101_aspp, vgg_branch
from pixelwise.models.dilation import CONTEXT7, CONTEXT8, CONTEXT10, basic_context, dilation_frontend, large_context
from pixelwise.surgery import receptive_field
from pixelwise.surgery.receptive_field import _trace, on_meta

NARROW = {"num_classes": 3, "width": 1 / 64}


class Function(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, values):
        return self.function(values)


class Together(nn.Module):
    """Branches side by side: concatenated, or added, both cropped to the smaller."""

    def __init__(self, *branches, add=False):
        super().__init__()
        self.branches = nn.ModuleList(branches)
        self.add = add

    def forward(self, values):
        maps = [branch(values) for branch in self.branches]
        height, width = (min(m.shape[dim] for m in maps) for dim in (2, 3))
        maps = [m[..., :height, :width] for m in maps]
        return maps[0] + sum(maps[1:]) if self.add else torch.cat(maps, 1)


def seen_by_trying(network, height, width):
    """(cells, pixels) of both axes: lighting a row or column of a black picture changes which rows or columns."""
    network = copy.deepcopy(network).double().eval()
    for parameter in network.parameters():
        parameter.data.abs_().add_(0.01)
    rows, columns = torch.zeros(2, max(height, width), 1, height, width, dtype=torch.float64)
    for i in range(height):
        rows[i, :, i] = 1
    for i in range(width):
        columns[i, ..., i] = 1
    with torch.no_grad():
        by_row, by_column = network(rows[:height]), network(columns[:width])
    return (by_row.sum((1, 3)) > 0).T.numpy(), (by_column.sum((1, 2)) > 0).T.numpy()


def assert_seen_is_what_is_tried(network, height, width):
    map_, field = _trace(on_meta(network), None, 1, (height, width))
    for seen, dim, tried in zip(field, (2, 3), seen_by_trying(network, height, width), strict=True):
        others = tuple(axis for axis in range(1, 5) if axis != dim + 1)
        first, last = np.broadcast_to(seen.bounds.min(others), (2, map_.shape[dim]))
        assert tried.shape == (map_.shape[dim], seen.picture)
        for cell, pixels in enumerate(tried):
            (places,) = pixels.nonzero()
            expected = (places[0], places[-1]) if len(places) else (np.inf, -np.inf)
            assert (first[cell], -last[cell]) == expected, (dim, cell)


def conv(*args, **options):
    return nn.Conv2d(*args, bias=False, **options)


def zoomed(factor):
    def apply(values):
        size = (factor * values.shape[2] - 1, factor * values.shape[3] - 1)
        return Resampling.zoom(tuple(values.shape[2:]), size, factor=factor).apply(values).to(values.dtype)

    return apply


@pytest.mark.parametrize(
    "network",
    [
        nn.Sequential(conv(1, 2, (4, 3), stride=(1, 2), dilation=(2, 1), padding=(5, 0)), nn.AvgPool2d(3, 2, 1, True)),
        nn.Sequential(conv(1, 4, 3, padding=100), nn.ReLU(inplace=True), conv(4, 4, 3, groups=2, padding="same")),
        nn.Sequential(conv(1, 2, 3, stride=2), nn.MaxPool2d(3, 2, 1, dilation=2, ceil_mode=False)),
        nn.Sequential(conv(1, 2, 3, stride=2), nn.ConvTranspose2d(2, 1, 4, 2, padding=1, bias=False)),
        nn.Sequential(conv(1, 2, 3, stride=2), nn.ConvTranspose2d(2, 1, 3, 3, 1, 1, dilation=2, bias=False)),
        nn.Sequential(nn.ReflectionPad2d((2, 1, 3, 4)), conv(1, 2, 3), nn.ReplicationPad2d(2), conv(2, 1, 2)),
        nn.Sequential(nn.ZeroPad2d((1, -2, 3, 0)), conv(1, 2, 2)),
        nn.Sequential(
            conv(1, 2, 3, stride=2), nn.Upsample(scale_factor=2), nn.Upsample((31, 57), mode="nearest-exact")
        ),
        nn.Sequential(conv(1, 2, 3, stride=2), nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)),
        nn.Sequential(conv(1, 2, 3, stride=2), nn.Upsample(scale_factor=3, mode="bilinear", align_corners=True)),
        nn.Sequential(conv(1, 8, 3, stride=2), nn.PixelShuffle(2)),
        nn.Sequential(conv(1, 8, 3), nn.LocalResponseNorm(3), nn.Dropout(), nn.PReLU(), nn.ReLU6(), nn.Dropout2d()),
        Together(conv(1, 2, 3, padding=1), conv(1, 2, (1, 5), padding="same"), nn.Identity(), add=False),
        Together(conv(1, 2, 3, stride=2), conv(1, 2, 6, stride=2), add=True),
        nn.Sequential(conv(1, 2, 3, stride=2), Function(zoomed(4))),
        Function(lambda x: mirror_pad(x, top=50, left=3, right=70)),
        Function(lambda x: x.reshape(len(x), 1, x.shape[2] // 2, 2, x.shape[3] // 2, 2).mean((3, 5))),
        Function(lambda x: x[:, :, :, None, :, None].expand(-1, -1, -1, 2, -1, 2).flatten(2, 3).flatten(3, 4)),
        Function(lambda x: torch.stack([x, x.flip(3)], 2).amax(2)),
        Function(lambda x: x.transpose(2, 3).flip(3).permute(0, 1, 3, 2)),
        Function(lambda x: torch.cat([x[:, :, :4], x], 2)[..., ::3]),
        Function(lambda x: torch.cat(x.chunk(2, 3), 1)),
        Function(lambda x: torch.cat(x.split([2, x.shape[2] - 2], 2)[::-1], 2)),
        Function(lambda x: x.unbind(1)[0].unsqueeze(1).max(1, keepdim=True)[0]),
        Function(lambda x: x[..., torch.tensor([3, 1, 2])] * torch.tensor([0.0, 1.0, 2.0])),
        Function(lambda x: x.index_select(2, torch.arange(5, device=x.device) * 2)),
        Function(lambda x: torch.maximum(x, torch.zeros_like(x)).masked_fill(x < 0, 0)),
        Function(lambda x: torch.einsum("nchw,dc->ndhw", x, torch.ones(2, 1, dtype=x.dtype, device=x.device))),
        Function(lambda x: functional.linear(x.movedim(1, -1), torch.ones(2, 1, dtype=x.dtype)).movedim(-1, 1)),
    ],
    ids=lambda network: "-".join(type(m).__name__ for m in network.modules() if not list(m.children())),
)
def test_every_cell_sees_what_changes_it(network):
    assert_seen_is_what_is_tried(network, 26, 38)


def random_layer(pick, channels):
    kind = pick.choice(["conv", "conv", "pool", "pool", "deconvolution", "pad", "zoom", "branches"])
    k, s, p, d = ((pick.randint(1, n), pick.randint(1, n)) for n in (4, 3, 2, 2))
    if kind == "conv":
        return conv(channels, channels, k, stride=s, padding=p, dilation=d, groups=pick.choice([1, channels]))
    if kind == "pool":
        k = (k[0] + 1, k[1] + 1)
        pool = pick.choice([nn.MaxPool2d, nn.AvgPool2d])
        return pool(k, s, (k[0] // 3, k[1] // 2), ceil_mode=pick.random() < 0.5)
    if kind == "deconvolution":
        return nn.ConvTranspose2d(channels, channels, (k[0] + s[0] - 1, k[1] + s[1] - 1), s, bias=False)
    if kind == "pad":
        return nn.ZeroPad2d([pick.randint(-2, 3) for _ in range(4)])
    if kind == "zoom":
        return Function(zoomed(pick.randint(1, 3)))
    branches = [nn.Sequential(*(random_layer(pick, channels) for _ in range(2))) for _ in range(2)]
    return Together(*branches, add=True)


def test_every_cell_of_random_networks_sees_what_changes_it():
    pick = random.Random(3)
    tried = 0
    while tried < 40:
        layers = [random_layer(pick, 2) for _ in range(pick.randint(1, 5))]
        network = nn.Sequential(conv(1, 2, 1), *layers)
        try:
            size = network(torch.zeros(1, 1, 30, 25)).shape[2:]
        except (RuntimeError, ShapeError):  # the map has shrunk to nothing
            continue
        if min(size) >= 5 and max(size) < 200:  # on a few cells, all can lie in a border of zeros
            assert_seen_is_what_is_tried(network, 30, 25)
            tried += 1


class Tokens(nn.Module):
    def forward(self, values):
        return values.flatten(2).transpose(1, 2)


class StripPool(nn.Module):
    def forward(self, values):
        return values + values.mean(3, keepdim=True)


def test_axes_are_read_from_the_middle():
    network = nn.Sequential(conv(3, 4, (7, 2), stride=2, padding=(3, 0)), nn.MaxPool2d((2, 1)), StripPool())
    field = receptive_field(network)
    assert (field.height.size, field.height.stride, field.height.start, field.height.center) == (9, 4, -3, 1)
    assert (field.width.size, field.width.stride, field.width.center) == (None, 2, Fraction(1, 2))


def test_a_finer_grid_has_a_fraction_for_a_stride():
    field = receptive_field(nn.Sequential(conv(3, 4, 3, stride=2, padding=1), nn.Upsample(scale_factor=8)))
    assert (field.width.size, field.width.stride) == (3, Fraction(1, 4))
    assert field.width.center == Fraction(-7, 8)  # eight cells from −0.875 to 0.875 around pixel 0
    half_pixel = nn.Sequential(conv(3, 4, 2, stride=2), nn.Upsample(scale_factor=2, mode="bilinear"))
    assert receptive_field(half_pixel).height == receptive_field(half_pixel).width
    assert receptive_field(half_pixel).width.center == 0


def test_skips_and_crops_meet_where_they_should():
    trunk = nn.Sequential(conv(3, 2, 3, padding=1), nn.MaxPool2d(2), conv(2, 2, 3))
    alone = receptive_field(trunk).width
    assert (alone.size, alone.stride, alone.start) == (8, 2, -1)
    both = receptive_field(Together(trunk, nn.Sequential(conv(3, 2, 1, stride=2), nn.ZeroPad2d((1, 0, 1, 0))))).width
    assert (both.size, both.start) == (9, -2)  # the second sees pixel −2 at its cell 0


@pytest.mark.parametrize(
    ("network", "center"),
    [
        (nn.AdaptiveAvgPool2d(1), None),
        (nn.Sequential(conv(3, 4, 3, stride=2), nn.Flatten(), nn.Linear(4 * 9 * 9, 5)), None),
        (Function(lambda x: x + x.mean((2, 3), keepdim=True)), 0),
        (Function(lambda x: x.mean((2, 3), keepdim=True).expand_as(x)), None),
        (Function(lambda x: functional.avg_pool2d(x, x.shape[-2:])), None),
        (nn.Sequential(conv(3, 4, 3, padding=1), nn.GroupNorm(2, 4)), 0),
        (nn.Sequential(nn.MaxPool2d(16), Tokens(), nn.TransformerEncoderLayer(3, 1, 4, batch_first=True)), None),
    ],
)
def test_the_whole_picture(network, center):
    fixed = any(isinstance(m, nn.Flatten) for m in network.modules())
    field = receptive_field(network, size=20 if fixed else None)
    for axis in (field.height, field.width):
        assert axis.size is None
        assert axis.start is None
        assert axis.center == center


def test_a_field_larger_than_the_first_picture():
    field = receptive_field(nn.Sequential(*(conv(1, 1, 3, padding=d, dilation=d) for d in (500, 1000, 100))))
    assert (field.width.size, field.width.start) == (3201, -1600)


def test_what_it_takes():
    network = nn.ModuleDict({"trunk": nn.Sequential(conv(5, 2, 3), nn.MaxPool2d(2)), "unused": nn.Identity()})
    network.forward = lambda images: {"out": network["trunk"](images)}
    with pytest.raises(UnknownName, match="the network has no module 'trunk.2'; did you mean 'trunk.[01]'"):
        receptive_field(network, at="trunk.2")
    tuples = Function(lambda x: (x, [functional.max_pool2d(x, 2), functional.max_pool2d(x, 4)]))
    assert receptive_field(tuples).width.size == 4
    assert receptive_field(Function(lambda x: {"out": x, "aux": functional.max_pool2d(x, 2)})).width.size == 1
    late = nn.Sequential(Function(lambda x: torch.cat([x[:, :3], x[:, 3:]], 1)), conv(4, 2, 3))
    assert receptive_field(late, in_channels=4, size=(40, 60)).height.size == 3
    with pytest.raises(RuntimeError, match=r"receptive_field ran it on a picture \(1, 4, 40, 60\); see its options"):
        receptive_field(nn.Sequential(conv(4, 2, 3), conv(3, 2, 3)), size=(40, 60))


def test_a_network_is_not_changed():
    network = build("segnet_basic", **NARROW).train()
    before = copy.deepcopy(network.state_dict())
    receptive_field(network)
    assert network.training
    assert all(p.device.type == "cpu" and torch.equal(p, before[name]) for name, p in network.state_dict().items())


class Unused(nn.Sequential):
    def forward(self, images):
        return self[0](images)


def write_into(values):
    made = torch.zeros_like(values)
    made[..., 1:] = values[..., :-1]
    return made


@pytest.mark.parametrize(
    ("network", "options", "message"),
    [
        (Function(lambda x: functional.unfold(x, 3)), {}, r"uses aten.im2col.default, of which receptive_field"),
        (Function(write_into), {}, r"writes into a part of a map \(aten.copy_"),
        (Function(lambda x: x[..., x[0, 0, 0].long()]), {}, "picks cells by an index that is computed from the pic"),
        (Function(lambda x: torch.ones(1)), {}, "the map does not depend on the picture"),
        (Function(lambda x: "scores"), {}, "needs a tensor, or a dict or tuple of them"),
        (Unused(nn.Identity(), nn.ReLU()), {"at": "1"}, "the module '1' is not called by Unused's forward"),
        (conv(3, 2, 3, stride=64), {"size": 64}, r"reach the border or repeat in no pattern; pass a larger size"),
    ],
)
def test_what_cannot_be_known_is_refused(network, options, message):
    with pytest.raises(ShapeError, match=message):
        receptive_field(network, **options)


# --- the networks, against the specification -------------------------------------------------------------------------


def vgg_columns():
    sizes = {"conv1_1": 3, "conv1_2": 5, "pool1": 6, "conv2_2": 14, "pool2": 16, "conv3_3": 40, "pool3": 44}
    sizes |= {"conv4_3": 92, "pool4": 100, "conv5_3": 196, "pool5": 212, "fc6": 404, "fc7": 404}
    return [(layer, size) for layer, size in sizes.items()]


@pytest.mark.parametrize(("layer", "size"), vgg_columns())
def test_vgg_layer_by_layer(layer, size):  # spec, networks-2014-2016 §2.1
    network = VGG16(width=1 / 64)
    at = layer if layer.startswith("fc") else f"conv{layer.removeprefix('conv').removeprefix('pool')[0]}.{layer}"
    axis = receptive_field(network, at=at).height
    pools = 5 if layer.startswith("fc") else int(layer[4]) - layer.startswith("conv")
    assert (axis.size, axis.stride) == (size, 2**pools)


@pytest.mark.parametrize(
    ("layer", "size", "stride"),
    [
        *[("conv1", 11, 4), ("pool1", 19, 8), ("norm1", 19, 8), ("conv2", 51, 8), ("pool2", 67, 16)],
        *[("conv3", 99, 16), ("conv4", 131, 16), ("conv5", 163, 16), ("pool5", 195, 32)],
    ],
)
def test_alexnet_layer_by_layer(layer, size, stride):  # spec, networks-2014-2016 §2.1
    axis = receptive_field(AlexNet(width=1 / 64), at=f"convolutions.{layer}").width
    assert (axis.size, axis.stride) == (size, stride)


@pytest.mark.parametrize(
    ("name", "at", "stride", "offset"),
    [  # spec, networks-2014-2016 §2.3: input pixel x lies at (x + offset)/stride of the map
        ("fcn8s_vgg16", "backbone.conv3.pool3", 8, 95.5),
        ("fcn8s_vgg16", "backbone.conv4.pool4", 16, 91.5),
        ("fcn8s_vgg16", "backbone.conv5.pool5", 32, 83.5),
        ("fcn8s_vgg16", "score_fr", 32, -12.5),
        ("fcn8s_vgg16", "upscore2", 16, 11.5),
        ("fcn8s_vgg16", "upscore_pool4", 8, 23.5),
        ("fcn32s_alexnet", "backbone.convolutions.pool5", 32, 67),
        ("fcn32s_alexnet", "backbone.fc6", 32, -13),
    ],
)
def test_coordinate_maps(name, at, stride, offset):
    axis = receptive_field(build(name, **NARROW), at=at).height
    assert (axis.stride, axis.center) == (stride, -Fraction(offset))


@pytest.mark.parametrize(
    ("name", "size", "stride"),
    [  # the scores' own grid; the papers count the deepest stream alone, 404, to which fixed upsampling adds a cell
        ("fcn32s_vgg16", 404, 32),
        ("fcn16s_vgg16", 404 + 32, 16),
        ("fcn8s_vgg16", 404 + 32 + 32, 8),
        ("fcn32s_alexnet", 355, 32),
        ("fcn32s_googlenet", 715, 32),
    ],
)
def test_fcn(name, size, stride):
    for axis in vars(receptive_field(build(name, **NARROW))).values():
        assert (axis.size, axis.stride) == (size, stride)


def test_googlenet_of_the_papers_table_has_the_pool_that_its_text_discards():  # spec §2.2: Table 1 says 907
    trunk = GoogLeNet(width=1 / 64)
    network = nn.Sequential(trunk, Function(lambda features: features.inception_5b), nn.AvgPool2d(7, 1))
    assert receptive_field(trunk).width.size == 715
    assert receptive_field(network).width.size == 907


def test_the_last_upsampling_brings_the_streams_back_into_line():
    """Pixel i of the output is centered on pixel i of the picture, as the crops 19, 27, 31 and 18 have it."""
    for name in ("fcn32s_vgg16", "fcn16s_vgg16", "fcn8s_vgg16", "fcn32s_alexnet"):
        network = build(name, **NARROW)
        axis = receptive_field(Forward(network)).height
        assert (axis.stride, axis.center) == (1, 0), name


class Forward(nn.Module):
    """A network without its `heads`, so that its output is measured."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, images):
        return self.network(images)


def test_segnet_basic_sees_106_pixels_after_pool4():  # spec §3.2
    network = build("segnet_basic", **NARROW)
    axis = receptive_field(network, at="pool.3").height
    assert (axis.size, axis.stride) == (106, 16)
    assert receptive_field(network).height.stride == 1


def test_dilation():  # spec §4.1, §4.2
    network = dilation_frontend(**NARROW)
    axis = receptive_field(network).height
    assert (axis.size, axis.stride) == (380, 8)
    assert axis.center == Fraction(7, 2)  # 186 mirrored pixels before the picture; 189.5 of the padded one
    contexts = [(basic_context(2, CONTEXT8), 67), (basic_context(2, CONTEXT7), 35), (basic_context(2, CONTEXT10), 259)]
    for context, size in [*contexts, (large_context(3, width=1 / 64), 67)]:
        assert receptive_field(context).width.size == size
    assert receptive_field(build("dilation8", **NARROW)).height.size == 380 + (67 - 1) * 8


@pytest.mark.parametrize(
    ("name", "kernel", "rate", "fov", "two", "released"),
    [  # spec §5.2: FOV as the papers count it, the field with pools of 2 × 2, and that of the released files
        ("deeplab_7x7", 7, 4, 224, 404, 404),
        ("deeplab_4x4", 4, 4, 128, 308, 308),
        ("deeplab_4x4_rate8", 4, 8, 224, 404, 404),
        ("deeplab_largefov", 3, 12, 224, 404, 435),
    ],
)
def test_deeplab_v1(name, kernel, rate, fov, two, released):
    effective = rate * (kernel - 1) + 1
    assert (effective + 3) * 8 == fov
    backbone = DeepLabVGG16(width=1 / 64, pool=2)
    fc = FullyConnected(backbone.channels.pool5, 4, kernel=kernel, rate=rate)
    axis = receptive_field(nn.Sequential(backbone, Function(lambda features: features.pool5), fc)).height
    assert (axis.size, axis.stride) == (two, 8)
    assert receptive_field(build(name, **NARROW)).height.size == released


@pytest.mark.parametrize(("rate", "size"), [(2, 259), (4, 291), (6, 323), (8, 355), (12, 419), (18, 515), (24, 611)])
def test_deeplab_v2_branches(rate, size):  # spec §5.5, pools of 3 × 3 without pool5a
    backbone = DeepLabVGG16(width=1 / 64)
    branch = vgg_branch(backbone.channels.pool5, 4, 3, rate=rate)
    network = nn.Sequential(backbone, Function(lambda features: features.pool5), branch)
    assert receptive_field(network).height.size == size


def test_deeplab_v2_on_resnet101():  # spec §5.6
    network = deeplab_v2_resnet101_aspp(**NARROW)
    axis = receptive_field(network, at="backbone.layer4").height
    assert (axis.size, axis.stride, axis.center) == (1027, 8, 0)
    sizes = [receptive_field(network, at=f"aspp.{name}").height.size for name, _ in network.aspp.named_children()]
    assert sizes == [1123, 1219, 1315, 1411]
    assert receptive_field(network).height.size == 1411
