"""Each port written here as its repository has it, in its own names, with weights that its forward pass makes up; then
its file in our network, on the same picture."""

import math
import re

import pytest
import torch
from torch.nn import functional

from pixelwise.backbones import CLASSIFIERS
from pixelwise.errors import WeightsError
from pixelwise.models import build
from pixelwise.weights.all_formats import WEIGHT_FORMATS
from pixelwise.weights.detection import Unfilled
from pixelwise.weights.files import read_tensors
from pixelwise.weights.fixed import bilinear_kernel
from pixelwise.weights.importing import foreign_tensors, load_weights
from pixelwise.weights.port_formats import FORMATS

WIDTH = 1 / 16
CLASSES = 5


def ch(published):
    """The channels of the narrow twin."""
    return round(published * WIDTH)


class Port:
    """The layers of a port; one that is called for the first time gets random tensors under its name."""

    def __init__(self):
        self.tensors = {}
        self.random = torch.Generator().manual_seed(7)

    def tensor(self, name, *shape, low=-1.0, high=1.0):
        if name not in self.tensors:
            self.tensors[name] = torch.rand(shape, generator=self.random) * (high - low) + low
        return self.tensors[name]

    def conv(self, name, x, out, kernel, *, bias=False, **options):
        bound = math.sqrt(6 / (x.shape[1] * kernel * kernel))
        weight = self.tensor(f"{name}.weight", out, x.shape[1], kernel, kernel, low=-bound, high=bound)
        return functional.conv2d(x, weight, self.tensor(f"{name}.bias", out) if bias else None, **options)

    def bn(self, name, x):
        parts = [(part, 0.5, 1.5) if part in ("weight", "running_var") else (part, -0.3, 0.3) for part in BN]
        held = {part: self.tensor(f"{name}.{part}", x.shape[1], low=low, high=high) for part, low, high in parts}
        self.tensors[f"{name}.num_batches_tracked"] = torch.tensor(7)
        mean, var, weight, bias = (held[part] for part in ("running_mean", "running_var", "weight", "bias"))
        return functional.batch_norm(x, mean, var, weight, bias, eps=1e-5)

    def up(self, name, x, kernel, stride):
        self.tensors[f"{name}.weight"] = bilinear_kernel((x.shape[1], x.shape[1], kernel, kernel))
        return functional.conv_transpose2d(x, self.tensors[f"{name}.weight"], stride=stride)


BN = ("weight", "bias", "running_mean", "running_var")
relu = functional.relu


def crop(x, start, like):
    return x[:, :, start : start + like.shape[2], start : start + like.shape[3]]


# wkentaro/pytorch-fcn


def vgg(port, x):
    maps = []
    for group, (channels, number) in enumerate(((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)), 1):
        for index in range(1, number + 1):
            padding = 100 if group == index == 1 else 1
            x = relu(port.conv(f"conv{group}_{index}", x, ch(channels), 3, bias=True, padding=padding))
        x = functional.max_pool2d(x, 2, 2, ceil_mode=True)
        maps.append(x)
    x = relu(port.conv("fc6", x, ch(4096), 7, bias=True))
    return maps[2], maps[3], relu(port.conv("fc7", x, ch(4096), 1, bias=True))


def wkentaro_32s(port, x):
    scores = port.conv("score_fr", vgg(port, x)[2], CLASSES, 1, bias=True)
    return crop(port.up("upscore", scores, 64, 32), 19, x)


def wkentaro_16s(port, x):
    _, pool4, fc7 = vgg(port, x)
    upscore2 = port.up("upscore2", port.conv("score_fr", fc7, CLASSES, 1, bias=True), 4, 2)
    fused = upscore2 + crop(port.conv("score_pool4", pool4, CLASSES, 1, bias=True), 5, upscore2)
    return crop(port.up("upscore16", fused, 32, 16), 27, x)


def wkentaro_8s(port, x, factors=(1, 1)):
    pool3, pool4, fc7 = vgg(port, x)
    upscore2 = port.up("upscore2", port.conv("score_fr", fc7, CLASSES, 1, bias=True), 4, 2)
    fused = upscore2 + crop(port.conv("score_pool4", pool4 * factors[0], CLASSES, 1, bias=True), 5, upscore2)
    upscore4 = port.up("upscore_pool4", fused, 4, 2)
    fused = upscore4 + crop(port.conv("score_pool3", pool3 * factors[1], CLASSES, 1, bias=True), 9, upscore4)
    return crop(port.up("upscore8", fused, 16, 8), 31, x)


def wkentaro_8s_atonce(port, x):
    return wkentaro_8s(port, x, factors=(0.01, 0.0001))


# ResNets: what a unit's layers are called, and where its stride stands


def units(port, x, name, channels, number, stride, dilation, names, *, stride_in):
    """One stage: `names` gives (convolution, batch norm) of each step of unit `index`."""
    for index in range(number):
        steps = names(name, index)
        here = stride if index == 0 else 1
        first, second = (here, 1) if stride_in == "1x1" else (1, here)
        h = relu(port.bn(steps["1"][1], port.conv(steps["1"][0], x, channels, 1, stride=first)))
        h = port.conv(steps["2"][0], h, channels, 3, stride=second, padding=dilation, dilation=dilation)
        h = relu(port.bn(steps["2"][1], h))
        h = port.bn(steps["3"][1], port.conv(steps["3"][0], h, 4 * channels, 1))
        if index == 0:
            x = port.bn(steps["0"][1], port.conv(steps["0"][0], x, 4 * channels, 1, stride=here))
        x = relu(x + h)
    return x


def usual(name, index):
    unit = f"{name}.{index}"
    steps = {str(step): (f"{unit}.conv{step}", f"{unit}.bn{step}") for step in (1, 2, 3)}
    return steps | {"0": (f"{unit}.downsample.0", f"{unit}.downsample.1")}


def isht7(port, x):
    x = relu(port.bn("Scale.bn1", port.conv("Scale.conv1", x, ch(64), 7, stride=2, padding=3)))
    x = functional.max_pool2d(x, 3, 2, padding=1, ceil_mode=True)
    for stage, number, stride, dilation in ((1, 3, 1, 1), (2, 4, 2, 1), (3, 23, 1, 2), (4, 3, 1, 4)):
        channels = ch(64 * 2 ** (stage - 1))
        x = units(port, x, f"Scale.layer{stage}", channels, number, stride, dilation, usual, stride_in="1x1")
    branches = [
        port.conv(f"Scale.layer5.conv2d_list.{i}", x, CLASSES, 3, bias=True, padding=rate, dilation=rate)
        for i, rate in enumerate((6, 12, 18, 24))
    ]
    return sum(branches)


def kazuto1011(port, x, top="base", shortcut="shortcut", branch="aspp"):
    def names(name, index):
        words = {"0": shortcut, "1": "reduce", "2": "conv3x3", "3": "increase"}
        return {
            step: [f"{name}.block{index + 1}.{word}.{kind}" for kind in ("conv", "bn")] for step, word in words.items()
        }

    stem = f"{top}.layer1.conv1"
    x = relu(port.bn(f"{stem}.bn", port.conv(f"{stem}.conv", x, ch(64), 7, stride=2, padding=3)))
    x = functional.max_pool2d(x, 3, 2, padding=1, ceil_mode=True)
    for stage, number, stride, dilation in ((2, 3, 1, 1), (3, 4, 2, 1), (4, 23, 1, 2), (5, 3, 1, 4)):
        channels = ch(64 * 2 ** (stage - 2))
        x = units(port, x, f"{top}.layer{stage}", channels, number, stride, dilation, names, stride_in="1x1")
    return sum(
        port.conv(f"{top}.{branch}.c{i}", x, CLASSES, 3, bias=True, padding=rate, dilation=rate)
        for i, rate in enumerate((6, 12, 18, 24))
    )


def kazuto1011_2018(port, x):
    return kazuto1011(port, x, top="scale", shortcut="proj", branch="aspp.stages")


def semseg(port, x, third):
    size = x.shape[2:]
    for place, (channels, stride) in enumerate(((64, 2), (64, 1), (128, 1))):
        x = port.conv(f"layer0.{3 * place}", x, ch(channels), 3, stride=stride, padding=1)
        x = relu(port.bn(f"layer0.{3 * place + 1}", x))
    x = functional.max_pool2d(x, 3, 2, padding=1)
    for stage, number, stride, dilation in ((1, 3, 1, 1), (2, 4, 2, 1), (3, third, 1, 2), (4, 3, 1, 4)):
        channels = ch(64 * 2 ** (stage - 1))
        x = units(port, x, f"layer{stage}", channels, number, stride, dilation, usual, stride_in="3x3")
        if stage == 3:
            aux = relu(port.bn("aux.1", port.conv("aux.0", x, ch(256), 3, padding=1)))
            aux = port.conv("aux.4", aux, CLASSES, 1, bias=True)
    maps = [x]
    for place, bin in enumerate((1, 2, 3, 6)):
        pooled = functional.adaptive_avg_pool2d(x, bin)
        level = relu(port.bn(f"ppm.features.{place}.2", port.conv(f"ppm.features.{place}.1", pooled, ch(512), 1)))
        maps.append(functional.interpolate(level, x.shape[2:], mode="bilinear", align_corners=True))
    x = relu(port.bn("cls.1", port.conv("cls.0", torch.cat(maps, 1), ch(512), 3, padding=1)))
    x = port.conv("cls.4", x, CLASSES, 1, bias=True)
    return [functional.interpolate(s, size, mode="bilinear", align_corners=True) for s in (x, aux)]


def semseg_resnet50(port, x):
    for number, (channels, stride) in enumerate(((64, 2), (64, 1), (128, 1)), 1):
        x = relu(port.bn(f"bn{number}", port.conv(f"conv{number}", x, ch(channels), 3, stride=stride, padding=1)))
    x = functional.max_pool2d(x, 3, 2, padding=1)
    for stage, number, stride in ((1, 3, 1), (2, 4, 2), (3, 6, 2), (4, 3, 2)):
        x = units(port, x, f"layer{stage}", ch(64 * 2 ** (stage - 1)), number, stride, 1, usual, stride_in="3x3")
    x = x.mean((2, 3))
    return functional.linear(x, port.tensor("fc.weight", 9, x.shape[1]), port.tensor("fc.bias", 9))


def drsleep(port, x):
    def conv3x3(name, x, out, bias=False):
        return port.conv(name, x, out, 3, bias=bias, padding=1)

    def residual_units(name, x, number):
        for unit in range(1, number + 1):
            h = conv3x3(f"{name}.0.{unit}_conv", relu(x), x.shape[1], bias=True)
            x = x + conv3x3(f"{name}.0.{unit}_conv_relu_varout_dimred", relu(h), x.shape[1])
        return x

    x = relu(port.bn("bn1", port.conv("conv1", x, ch(64), 7, stride=2, padding=3)))
    x = functional.max_pool2d(x, 3, 2, padding=1)
    maps = []
    for stage, number, stride in ((1, 3, 1), (2, 4, 2), (3, 23, 2), (4, 3, 2)):
        x = units(port, x, f"layer{stage}", ch(64 * 2 ** (stage - 1)), number, stride, 1, usual, stride_in="3x3")
        maps.insert(0, x)
    path = None
    for block, features in enumerate(maps, 1):
        width = ch(512 if block == 1 else 256)
        x = residual_units(f"adapt_stage{block}_b", conv3x3(f"p_ims1d2_outl{block}_dimred", features, width), 2)
        if path is not None:
            path = conv3x3(f"mflow_conv_g{block - 1}_b3_joint_varout_dimred", path, width)
            x = conv3x3(f"adapt_stage{block}_b2_joint_varout_dimred", x, width)
            x = x + functional.interpolate(path, x.shape[2:], mode="bilinear", align_corners=True)
        x = link = relu(x)
        for number in range(1, 5):
            link = functional.max_pool2d(link, 5, 1, padding=2)
            link = conv3x3(f"mflow_conv_g{block}_pool.0.{number}_outvar_dimred", link, width)
            x = x + link
        path = residual_units(f"mflow_conv_g{block}_b", x, 3)
    return conv3x3("clf_conv", path, CLASSES, bias=True)


PORTS = {
    "wkentaro_fcn32s_vgg16": wkentaro_32s,
    "wkentaro_fcn16s_vgg16": wkentaro_16s,
    "wkentaro_fcn8s_vgg16": wkentaro_8s,
    "wkentaro_fcn8s_atonce_vgg16": wkentaro_8s_atonce,
    "isht7_deeplab_v2_resnet101": isht7,
    "kazuto1011_deeplab_v2_resnet101": kazuto1011,
    "kazuto1011_2018_deeplab_v2_resnet101": kazuto1011_2018,
    "semseg_pspnet_resnet50": lambda port, x: semseg(port, x, 6),
    "semseg_pspnet_resnet101": lambda port, x: semseg(port, x, 23),
    "drsleep_refinenet_resnet101": drsleep,
}
ENDS_IN_PIXELS = ("wkentaro", "semseg")
BGR_MEAN = {"wkentaro": (104.00699, 116.66877, 122.67892), "isht7": (104.008, 116.669, 122.675)}
BGR_MEAN["kazuto1011"] = BGR_MEAN["isht7"]


def picture():
    """(1, 41, 57, 3) RGB, 0–255."""
    return torch.randint(0, 256, (1, 41, 57, 3), generator=torch.Generator().manual_seed(3), dtype=torch.uint8)


def as_the_port_takes_it(name, pixels):
    """(1, 3, H, W), as the port's own data loader gives it."""
    values = pixels.double().permute(0, 3, 1, 2)
    maker = name.partition("_")[0]
    if maker in BGR_MEAN:
        return (values.flip(1) - torch.tensor(BGR_MEAN[maker]).double()[:, None, None]).float()
    mean, deviation = (torch.tensor(v).double()[:, None, None] for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    return ((values / 255 - mean) / deviation).float()


def written(name, folder):
    """The port's answer, and its file as torch.save writes it."""
    port = Port()
    with torch.no_grad():
        answer = PORTS[name](port, as_the_port_takes_it(name, picture()))
    path = folder / f"{name}.pth"
    torch.save(port.tensors, path)
    return port, answer, path


@pytest.mark.parametrize("name", PORTS)
def test_a_ports_file_gives_the_ports_scores(name, tmp_path):
    port, answer, path = written(name, tmp_path)
    format = FORMATS[name]
    assert WEIGHT_FORMATS[name] is format and format.name == name
    options = format.options(format.prepare(read_tensors(path)))
    assert options["num_classes"] == CLASSES
    network = build(format.model, width=WIDTH, **options)
    report = load_weights(network, read_tensors(path), format)
    assert report.complete
    images = as_the_port_takes_it(name, picture())
    if format.normalization is not None:
        images = format.normalization(picture().numpy())
    with torch.no_grad():
        heads = network.train().requires_grad_(False).eval().heads(images)
        head = next(iter(heads.values())) if "scale_1" not in heads else heads["scale_1"]
        ours = head.full_size() if name.startswith(ENDS_IN_PIXELS) else head.scores
    expected = answer[0] if isinstance(answer, list) else answer
    assert ours.shape == expected.shape
    assert expected.std() > 1e-3
    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))
    back = foreign_tensors(network, format)
    assert {key: tensor.shape for key, tensor in back.items()} == {k: t.shape for k, t in port.tensors.items()}
    for key, tensor in port.tensors.items():
        assert torch.equal(back[key], tensor), key


def test_semsegs_auxiliary_scores_come_along(tmp_path):
    port, (_, auxiliary), path = written("semseg_pspnet_resnet50", tmp_path)
    format = FORMATS["semseg_pspnet_resnet50"]
    network = build(format.model, width=WIDTH, **format.options(format.prepare(dict(port.tensors))))
    load_weights(network, read_tensors(path), format)
    with torch.no_grad():
        features = network.eval().backbone(format.normalization(picture().numpy()))
        scores = network.auxiliary(features.res4)
    ours = functional.interpolate(scores, auxiliary.shape[2:], mode="bilinear", align_corners=True)
    torch.testing.assert_close(ours, auxiliary, rtol=1e-4, atol=1e-4 * float(auxiliary.abs().max()))
    plain = build("pspnet_resnet50", width=WIDTH, num_classes=CLASSES, stride_in="3x3")
    report = load_weights(plain, read_tensors(path), format)
    assert report.complete and {entry.source for entry in report.unused} == {"aux.0", "aux.1", "aux.4"}


def test_semsegs_resnet_is_a_classifier_and_the_start_of_its_pspnet():
    port, format = Port(), FORMATS["semseg_resnet50"]
    images = torch.randn(2, 3, 65, 65)
    with torch.no_grad():
        expected = semseg_resnet50(port, images)
    options = format.options(port.tensors)
    assert options == {"num_classes": 9, "deep_stem": True}
    network = CLASSIFIERS["resnet50"](width=WIDTH, **options).eval()
    assert load_weights(network, port.tensors, format).complete
    with torch.no_grad():
        torch.testing.assert_close(network(images), expected, rtol=1e-4, atol=1e-4)
    pspnet = build("pspnet_resnet50", num_classes=CLASSES, width=WIDTH, stride_in="3x3")
    report = load_weights(pspnet, port.tensors, format, partial=True)
    assert {entry.target.partition(".")[0] for entry in report.left} == {"pyramid_pooling", "conv5_4", "conv6"}
    assert torch.equal(pspnet.backbone.layer3[2].conv2.weight, port.tensors["layer3.2.conv2.weight"])
    assert torch.equal(pspnet.backbone.conv1.conv1_3.weight, port.tensors["conv3.weight"])


def test_a_network_that_would_take_semsegs_weights_wrongly_is_refused(tmp_path):
    port, format = Port(), FORMATS["semseg_pspnet_resnet50"]
    with torch.no_grad():
        semseg(port, torch.randn(1, 3, 17, 17), 6)
    prototxt = build("pspnet_resnet50", num_classes=CLASSES, width=WIDTH)
    with pytest.raises(
        WeightsError, match=r'strides in the 3 × 3 .* this one in the 1 × 1 \(layer2.0.conv1\).*stride_in="3x3"'
    ):
        load_weights(prototxt, port.tensors, format)
    turned = build("pspnet_resnet50", num_classes=CLASSES, width=WIDTH, stride_in="3x3", bins=(6, 3, 2, 1))
    with pytest.raises(WeightsError, match=r"concatenates bins 1, 2, 3, 6; .* bins in rising order, \(1, 2, 3, 6\)"):
        load_weights(turned, port.tensors, format)


# full size: the names and counts of the repositories' state dicts

STATS = r"(weight|bias|running_mean|running_var|num_batches_tracked)"
USUAL_UNIT = rf"layer[1-4]\.\d+\.(conv[123]\.weight|bn[123]\.{STATS})|layer[1-4]\.0\.downsample\.(0\.weight|1\.{STATS})"
PATTERNS = {
    "isht7_deeplab_v2_resnet101": (
        rf"Scale\.(conv1\.weight|bn1\.{STATS}|{USUAL_UNIT}|layer5\.conv2d_list\.[0-3]\.(weight|bias))"
    ),
    "kazuto1011_deeplab_v2_resnet101": (
        rf"base\.(layer1\.conv1\.(conv\.weight|bn\.{STATS})|aspp\.c[0-3]\.(weight|bias)"
        rf"|layer[2-5]\.block\d+\.(reduce|conv3x3|increase)\.(conv\.weight|bn\.{STATS})"
        rf"|layer[2-5]\.block1\.shortcut\.(conv\.weight|bn\.{STATS}))"
    ),
    "semseg_pspnet_resnet101": (
        rf"layer0\.([036]\.weight|[147]\.{STATS})|{USUAL_UNIT}|ppm\.features\.[0-3]\.(1\.weight|2\.{STATS})"
        rf"|(cls|aux)\.(0\.weight|1\.{STATS}|4\.(weight|bias))"
    ),
    "drsleep_refinenet_resnet101": (
        rf"conv1\.weight|bn1\.{STATS}|{USUAL_UNIT}|p_ims1d2_outl[1-4]_dimred\.weight"
        r"|(adapt_stage[1-4]_b\.0\.[12]|mflow_conv_g[1-4]_b\.0\.[123])_conv(\.weight|\.bias|_relu_varout_dimred\.weight)"
        r"|adapt_stage[234]_b2_joint_varout_dimred\.weight|mflow_conv_g[1-4]_pool\.0\.[1-4]_outvar_dimred\.weight"
        r"|mflow_conv_g[123]_b3_joint_varout_dimred\.weight|clf_conv\.(weight|bias)"
    ),
}
# parameters for 21 classes: spec, networks 2014–2016 §5.6, networks 2015–2017 §1.2.2 and §1.3.2; and tensors
RESNET101 = 6 * (1 + 3 * 33 + 4)  # convolutions with a weight and five tensors of a batch norm each
COUNTS = {
    "isht7_deeplab_v2_resnet101": (44_048_532, RESNET101 + 4 * 2),
    "kazuto1011_deeplab_v2_resnet101": (44_048_532, RESNET101 + 4 * 2),
    "semseg_pspnet_resnet101": (68_073_706, RESNET101 + 6 * 2 + 6 * 4 + 2 * (6 + 2)),
    "drsleep_refinenet_resnet101": (118_052_437, RESNET101 + 4 * (1 + 2 * 3 + 4 + 3 * 3) + 3 + 3 + 2),
}


@pytest.mark.parametrize("name", PATTERNS)
def test_full_size_names_are_those_of_the_repository(name):
    format = FORMATS[name]
    more = {"auxiliary": True} if "semseg" in name else {}
    with torch.device("meta"), Unfilled():
        back = foreign_tensors(build(format.model, num_classes=21, **more), format)
    assert [key for key in back if not re.fullmatch(PATTERNS[name], key)] == []
    learned = [tensor for key, tensor in back.items() if key.rpartition(".")[2] in ("weight", "bias")]
    assert (sum(tensor.numel() for tensor in learned), len(back)) == COUNTS[name]


def test_factors_that_training_changed_are_written_into_the_layer_behind():
    network = build("fcn8s_atonce_vgg16", num_classes=3, width=1 / 32).eval()
    with torch.no_grad():
        for name, part in network.named_modules():
            if name.endswith(("scale_pool4", "scale_pool3")):
                part.weight.mul_(torch.rand_like(part.weight) + 0.5)
    format = WEIGHT_FORMATS["wkentaro_fcn8s_atonce_vgg16"]
    other = build("fcn8s_atonce_vgg16", num_classes=3, width=1 / 32).eval()
    load_weights(other, foreign_tensors(network, format), format)
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.allclose(network(images), other(images), atol=1e-5)
