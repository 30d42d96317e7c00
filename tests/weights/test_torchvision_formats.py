"""torchvision's files: names from the specification and from its layout as printed, and torchvision itself where it can
be imported."""

import os
import re
import zipfile

import pytest
import torch
from torch import nn
from torch.nn import functional

from pixelwise.backbones import CLASSIFIERS
from pixelwise.backbones.resnet import resnet18, resnet50
from pixelwise.backbones.vgg import VGG16
from pixelwise.errors import WeightsError
from pixelwise.models import build
from pixelwise.weights.all_formats import WEIGHT_FORMATS
from pixelwise.weights.detection import Unfilled, find_format
from pixelwise.weights.files import read_tensors
from pixelwise.weights.importing import foreign_tensors, load_weights
from pixelwise.weights.torchvision_formats import FORMATS

WIDTH = 1 / 16
BN = r"(weight|bias|running_mean|running_var|num_batches_tracked)"
BACKBONE = (
    rf"backbone\.(conv1\.weight|bn1\.{BN}|layer[1-4]\.\d+\.(conv[123]\.weight|bn[123]\.{BN})"
    rf"|layer[1-4]\.0\.downsample\.(0\.weight|1\.{BN}))"
)
FCN_HEAD = rf"(0\.weight|1\.{BN}|4\.(weight|bias))"
DEEPLAB_HEAD = (
    rf"(0\.convs\.[0-3]\.(0\.weight|1\.{BN})|0\.convs\.4\.(1\.weight|2\.{BN})|0\.project\.(0\.weight|1\.{BN})"
    rf"|1\.weight|2\.{BN}|4\.(weight|bias))"
)
AUXILIARY = rf"aux_classifier\.{FCN_HEAD}"
# spec, networks 2015–2017 §1.5.6: names of the head, parameters, convolutions of trunk and head
SEGMENTERS = {
    "torchvision_fcn_resnet50": (FCN_HEAD, 35_322_218, 53 + 2),
    "torchvision_fcn_resnet101": (FCN_HEAD, 54_314_346, 104 + 2),
    "torchvision_deeplab_v3_resnet50": (DEEPLAB_HEAD, 42_004_074, 53 + 8),
    "torchvision_deeplab_v3_resnet101": (DEEPLAB_HEAD, 60_996_202, 104 + 8),
}
# torchvision's published counts for 1000 classes, and tensors: convolutions (or 7 × 7 stem) with BN, and fc's two
CLASSIFIER_COUNTS = {
    "vgg16": (138_357_544, 2 * 16),
    "resnet18": (11_689_512, 6 * 20 + 2),
    "resnet34": (21_797_672, 6 * 36 + 2),
    "resnet50": (25_557_032, 6 * 53 + 2),
    "resnet101": (44_549_160, 6 * 104 + 2),
    "resnet152": (60_192_808, 6 * 155 + 2),
}
WHOLE = {"semseg_pspnet_resnet50": {"auxiliary": True, "stride_in": "3x3"}}


def make(format, **options):
    """A new network of a format's model."""
    return (CLASSIFIERS[format.model] if format.model in CLASSIFIERS else build_named(format.model))(**options)


def build_named(model):
    return lambda **options: build(model, **options)


def stirred(network):
    """The network with every tensor random, statistics too."""
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if tensor.is_floating_point():
                low = 0.5 if name.endswith(("running_var", "bn1.weight", "bn2.weight", "bn3.weight")) else -0.2
                tensor.uniform_(low, low + 0.7) if tensor.dim() == 1 else tensor
    return network.eval()


def learned(tensors):
    return sum(t.numel() for name, t in tensors.items() if name.rpartition(".")[2] in ("weight", "bias"))


@pytest.mark.parametrize("name", SEGMENTERS)
def test_a_segmenters_names_are_those_of_the_specification(name):
    head, parameters, convolutions = SEGMENTERS[name]
    format = FORMATS[name]
    assert WEIGHT_FORMATS[name] is format and format.name == format.model == name
    with torch.device("meta"), Unfilled():
        network = build(format.model, num_classes=21)
        theirs = foreign_tensors(network, format)
        load_weights(build(format.model, num_classes=21), theirs, format)
    pattern = rf"{BACKBONE}|classifier\.{head}|{AUXILIARY}"
    assert [key for key in theirs if not re.fullmatch(pattern, key)] == []
    assert (learned(theirs), len(theirs)) == (parameters, 6 * (convolutions - 1) + 2 + 6 + 2)
    assert format.options(theirs) == {"num_classes": 21, "auxiliary": True}
    assert format.labels == "voc2012" and format.normalization.mean == (123.675, 116.28, 103.53)


@pytest.mark.parametrize("model", CLASSIFIER_COUNTS)
def test_a_classifiers_names_are_torchvisions(model):
    format = FORMATS[f"torchvision_{model}"]
    with torch.device("meta"), Unfilled():
        theirs = foreign_tensors(CLASSIFIERS[model](), format)
    convolutions = rf"conv1\.weight|bn1\.{BN}|layer[1-4]\.\d+\.(conv[123]\.weight|bn[123]\.{BN})"
    projections = rf"layer[1-4]\.0\.downsample\.(0\.weight|1\.{BN})|fc\.(weight|bias)"
    pattern = rf"{convolutions}|{projections}"
    if model == "vgg16":
        pattern = r"(features\.(0|2|5|7|10|12|14|17|19|21|24|26|28)|classifier\.[036])\.(weight|bias)"
    assert [key for key in theirs if not re.fullmatch(pattern, key)] == []
    assert (learned(theirs), len(theirs)) == CLASSIFIER_COUNTS[model]
    assert format.options(theirs) == {"num_classes": 1000}


def vgg16_as_torchvision_prints_it(num_classes):
    """`features` and `classifier` at a sixteenth of the channels."""
    layers, before = [], 3
    for channels in (4, 4, "pool", 8, 8, "pool", 16, 16, 16, "pool", 32, 32, 32, "pool", 32, 32, 32, "pool"):
        if channels == "pool":
            layers.append(nn.MaxPool2d(2, 2))
        else:
            layers += [nn.Conv2d(before, channels, 3, padding=1), nn.ReLU()]
            before = channels
    hidden = [nn.Linear(32 * 49, 256), nn.ReLU(), nn.Dropout(), nn.Linear(256, 256), nn.ReLU(), nn.Dropout()]
    classifier = nn.Sequential(*hidden, nn.Linear(256, num_classes))
    return nn.ModuleDict({"features": nn.Sequential(*layers), "classifier": classifier}).eval()


def test_vgg16_gives_torchvisions_logits(tmp_path):
    theirs, format = vgg16_as_torchvision_prints_it(6), FORMATS["torchvision_vgg16"]
    torch.save(theirs.state_dict(), tmp_path / "vgg16.pth")
    tensors = read_tensors(tmp_path / "vgg16.pth")
    ours = CLASSIFIERS["vgg16"](width=WIDTH, **format.options(tensors)).eval()
    assert load_weights(ours, tensors, format).complete
    images = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        expected = theirs["classifier"](functional.adaptive_avg_pool2d(theirs["features"](images), 7).flatten(1))
        torch.testing.assert_close(ours(images), expected, rtol=1e-5, atol=1e-5)
    back = foreign_tensors(ours, format)
    assert list(back) == list(tensors) and all(torch.equal(back[key], tensors[key]) for key in tensors)


def test_vgg16_is_the_start_of_an_fcn():
    theirs, format = vgg16_as_torchvision_prints_it(6).state_dict(), FORMATS["torchvision_vgg16"]
    trunk = VGG16(width=WIDTH)
    report = load_weights(trunk, theirs, format)
    assert report.complete and [entry.source for entry in report.unused] == ["classifier.6"]
    assert torch.equal(trunk.fc6.weight, theirs["classifier.0.weight"].reshape(256, 32, 7, 7))
    fcn = build("fcn8s_vgg16", num_classes=3, width=WIDTH)
    with pytest.raises(
        WeightsError, match="3 of our layers are missing from the file: score_fr, score_pool4, score_pool3"
    ):
        load_weights(fcn, theirs, format)
    report = load_weights(fcn, theirs, format, partial=True)
    assert [entry.target for entry in report.left] == ["score_fr", "score_pool4", "score_pool3"]
    assert torch.equal(fcn.backbone.conv4.conv4_2.weight, theirs["features.19.weight"])


def test_a_resnet_is_the_start_of_the_networks_of_its_flavor():
    format = FORMATS["torchvision_resnet50"]
    theirs = stirred(CLASSIFIERS["resnet50"](num_classes=4, width=WIDTH)).state_dict()
    trunk = resnet50(width=WIDTH)
    assert [entry.source for entry in load_weights(trunk, theirs, format).unused] == ["fc"]
    options = {"num_classes": 3, "width": WIDTH}
    for network, own in (
        (build("deeplab_v3_resnet50", **options), {"aspp", "logits"}),
        (build("deeplab_v3_cascade_resnet50", **options), {"backbone", "logits"}),
        (build("torchvision_fcn_resnet50", **options), {"classifier", "aux_classifier"}),
        (build("refinenet_resnet50", **options, stride_in="3x3", stem_pool="padded"), {"refine", "clf_conv"}),
    ):
        report = load_weights(network, theirs, format, partial=True)
        assert {entry.target.partition(".")[0] for entry in report.left} == own
        for name, tensor in trunk.state_dict().items():
            assert torch.equal(network.backbone.state_dict()[name], tensor), name


@pytest.mark.parametrize("name", ["refinenet_resnet50", "gcn_resnet50"])
def test_a_resnet_whose_strides_stand_elsewhere_is_refused(name):
    format = FORMATS["torchvision_resnet50"]
    theirs = CLASSIFIERS["resnet50"](num_classes=4, width=WIDTH).state_dict()
    network = build(name, num_classes=3, width=WIDTH)
    before = network.backbone.conv1.weight.clone()
    with pytest.raises(
        WeightsError, match=r"strides in the 3 × 3 convolutions, this one in the 1 × 1 \(layer2.0.conv1\)"
    ):
        load_weights(network, theirs, format, partial=True)
    assert torch.equal(network.backbone.conv1.weight, before)


def test_a_deep_stem_is_refused():
    format = FORMATS["torchvision_resnet101"]
    theirs = CLASSIFIERS["resnet101"](num_classes=4, width=WIDTH).state_dict()
    network = build("pspnet_resnet101", num_classes=3, width=WIDTH)
    with pytest.raises(WeightsError, match=r"a stem of one 7 × 7, this network has three 3 × 3 \(deep_stem\)"):
        load_weights(network, theirs, format, partial=True)


def test_basic_units_have_their_stride_in_the_first_3_x_3():
    theirs = CLASSIFIERS["resnet18"](num_classes=4, width=WIDTH).state_dict()
    assert load_weights(resnet18(width=WIDTH), theirs, FORMATS["torchvision_resnet18"]).complete


def test_a_segmenter_without_auxiliary_classifier_leaves_the_files():
    format = FORMATS["torchvision_deeplab_v3_resnet50"]
    theirs = build(format.model, num_classes=3, width=WIDTH)
    ours = build(format.model, num_classes=3, width=WIDTH, auxiliary=False)
    report = load_weights(ours, theirs.state_dict(), format)
    assert {entry.source for entry in report.unused} == {f"aux_classifier.{part}" for part in (0, 1, 4)}
    assert format.options(ours.state_dict()) == {"num_classes": 3, "auxiliary": False}
    images = torch.randn(1, 3, 33, 41)
    with torch.no_grad():
        assert torch.equal(ours.eval()(images), theirs.eval()(images))


# files that would run code


class Marks:
    """A pickle that makes a folder when it is read."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


@pytest.mark.parametrize("legacy", [False, True])
def test_a_pickle_is_never_executed(tmp_path, legacy):
    marker, path = tmp_path / "executed", tmp_path / "evil.pth"
    torch.save({"conv1.weight": torch.zeros(1), "x": Marks(marker)}, path, _use_new_zipfile_serialization=not legacy)
    assert zipfile.is_zipfile(path) != legacy
    with pytest.raises(WeightsError, match=r"evil.pth holds more than tensors by name, and is not opened"):
        read_tensors(path)
    assert not marker.exists()
    with pytest.raises(FileExistsError):  # the file does what it says, if it is let
        torch.load(path, weights_only=False)
        torch.load(path, weights_only=False)
    assert marker.exists()


# torchvision itself


@pytest.mark.parametrize("name", ["torchvision_resnet50", "semseg_pspnet_resnet50"])
def test_a_full_size_file_is_told_by_its_names(name):
    format = WEIGHT_FORMATS[name]
    with torch.device("meta"), Unfilled():
        theirs = foreign_tensors(make(format, num_classes=21, **WHOLE.get(name, {})), format)
    of_ours = {other for other, one in WEIGHT_FORMATS.items() if one.kind == "torch"}
    assert {*FORMATS} < of_ours
    assert find_format(theirs, "torch") is format


@pytest.mark.parametrize("model", CLASSIFIER_COUNTS)
def test_classifiers_give_what_torchvision_gives(torchvision, model):
    format = FORMATS[f"torchvision_{model}"]
    theirs = stirred(getattr(torchvision.models, model)(num_classes=10))
    ours = CLASSIFIERS[model](num_classes=10).eval()
    assert load_weights(ours, theirs.state_dict(), format).complete
    images = torch.rand(1, 3, 224, 224)
    with torch.no_grad():
        expected, found = theirs(images), ours(images)
    assert expected.std() > 0
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5 * float(expected.abs().max()))
    _check_back(foreign_tensors(ours, format), theirs.state_dict())


@pytest.mark.parametrize("name", SEGMENTERS)
def test_segmenters_give_what_torchvision_gives(torchvision, name):
    format = FORMATS[name]
    builder = getattr(torchvision.models.segmentation, format.source.partition(";")[0].rpartition(".")[2])
    theirs = stirred(builder(weights=None, weights_backbone=None, num_classes=5, aux_loss=True))
    ours = build(format.model, **format.options(theirs.state_dict())).eval()
    assert load_weights(ours, theirs.state_dict(), format).complete
    images = torch.rand(1, 3, 67, 90)
    with torch.no_grad():
        expected, found = theirs(images), {"out": ours(images)}
        features = ours.backbone(images)
        found["aux"] = functional.interpolate(
            ours.aux_classifier(features.res4), (67, 90), mode="bilinear", align_corners=False
        )
    for head, scores in expected.items():
        assert scores.std() > 0
        torch.testing.assert_close(found[head], scores, rtol=1e-5, atol=1e-5 * float(scores.abs().max()))
    _check_back(foreign_tensors(ours, format), theirs.state_dict())


def _check_back(back, theirs):
    assert list(back) == list(theirs)
    for key, tensor in theirs.items():
        assert torch.equal(back[key], tensor), key


@pytest.mark.parametrize(
    ("model", "theirs"), [("alexnet", "alexnet"), ("googlenet", "googlenet"), ("vgg16", "vgg16_bn")]
)
def test_other_networks_of_the_same_name_are_refused(torchvision, model, theirs):
    with torch.device("meta"), Unfilled():
        more = {"init_weights": False} if theirs == "googlenet" else {}
        tensors = getattr(torchvision.models, theirs)(**more).state_dict()
        ours = CLASSIFIERS[model]()
    of_model = [format for format in WEIGHT_FORMATS.values() if format.model == model]
    assert of_model
    for format in of_model:
        with pytest.raises(WeightsError, match="holds none of the layers|does not fit"):
            load_weights(ours, tensors, format)
