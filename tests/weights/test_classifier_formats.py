"""Caffe's classifiers under their released names: networks-2014-2016 §1.3, §2.1, §8.3; networks-2015-2017 §0.1.

Narrow files are run by OpenCV in `tests/oracles/test_weights_classifiers.py`.
"""

import pytest
import torch

from pixelwise.backbones import CLASSIFIERS
from pixelwise.errors import WeightsError
from pixelwise.models import MODELS
from pixelwise.weights.all_formats import WEIGHT_FORMATS
from pixelwise.weights.classifier_formats import FORMATS
from pixelwise.weights.importing import foreign_tensors, load_weights
from pixelwise.weights.resnet_layers import joined_scales, split_scales

from .full_size import meta, options_of, shapes

K, WIDTH = 5, 1 / 16
MSRA = {"stride_in": "1x1", "stem_pool": "unpadded"}
NARROW = {
    "ilsvrc_vgg16": ("vgg16", {}),
    "bvlc_caffenet": ("alexnet", {}),
    "bvlc_googlenet": ("googlenet", {}),
    "msra_resnet50": ("resnet50", MSRA),
}


def test_full_size_shapes_are_those_of_the_tables():
    vgg = shapes(meta(CLASSIFIERS["vgg16"]), "ilsvrc_vgg16")
    assert vgg["conv1_1"] == [(64, 3, 3, 3), (64,)]
    assert vgg["fc6"] == [(4096, 25088), (4096,)]
    assert vgg["fc8"] == [(1000, 4096), (1000,)]
    assert len(vgg) == 16
    caffenet = shapes(meta(CLASSIFIERS["alexnet"]), "bvlc_caffenet")
    assert caffenet["conv1"] == [(96, 3, 11, 11), (96,)]
    assert [caffenet[name][0] for name in ("conv2", "conv4", "conv5")] == [
        (256, 48, 5, 5),
        (384, 192, 3, 3),
        (256, 192, 3, 3),
    ]
    assert caffenet["fc6"] == [(4096, 9216), (4096,)]
    googlenet = shapes(meta(CLASSIFIERS["googlenet"]), "bvlc_googlenet")
    assert googlenet["conv1/7x7_s2"][0] == (64, 3, 7, 7)
    assert googlenet["conv2/3x3_reduce"][0] == (64, 64, 1, 1)
    assert googlenet["inception_3a/5x5_reduce"][0] == (16, 192, 1, 1)
    assert googlenet["inception_5b/pool_proj"][0] == (128, 832, 1, 1)
    assert googlenet["loss3/classifier"] == [(1000, 1024), (1000,)]
    assert len(googlenet) == 3 + 6 * 9 + 1


@pytest.mark.parametrize(
    ("depth", "last"), [(50, ("res3d", "res4f")), (101, ("res3b3", "res4b22")), (152, ("res3b7", "res4b35"))]
)
def test_the_resnets_units_are_called_as_in_the_release(depth, last):
    found = shapes(meta(CLASSIFIERS[f"resnet{depth}"], **MSRA), f"msra_resnet{depth}")
    assert found["conv1"] == [(64, 3, 7, 7)]
    assert found["bn_conv1"] == [(64,)] * 4
    assert found["fc1000"] == [(1000, 2048), (1000,)]
    for unit in ("res2a", "res2b", "res2c", "res3a", last[0], "res4a", last[1], "res5a", "res5b", "res5c"):
        stage = int(unit[3])
        inner = 64 * 2 ** (stage - 2)
        assert found[f"{unit}_branch2b"] == [(inner, inner, 3, 3)]
        assert found[f"bn{unit[3:]}_branch2c"] == [(4 * inner,)] * 4
        assert (f"{unit}_branch1" in found) == unit.endswith("a")


@pytest.mark.parametrize("name", NARROW)
def test_a_network_written_in_the_release_s_names_loads_again(name):
    model, options = NARROW[name]
    width = 1 / 8 if model == "googlenet" else WIDTH
    network, again = (CLASSIFIERS[model](num_classes=K, width=width, **options) for _ in range(2))
    tensors = foreign_tensors(network, WEIGHT_FORMATS[name])
    load_weights(again, tensors, WEIGHT_FORMATS[name])
    for (path, ours), theirs in zip(network.state_dict().items(), again.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs), path
    if name == "msra_resnet50":
        assert tensors["conv1.bias"].tolist() == [0] * len(tensors["conv1.weight"])  # its deploy file asks for one
        assert tensors["scale2a_branch1.weight"].shape == tensors["bn2a_branch1.running_mean"].shape


STARTS = {
    "fcn8s_vgg16": ("ilsvrc_vgg16", {"score_fr", "score_pool4", "score_pool3"}),
    "dilation_frontend": ("ilsvrc_vgg16", {"frontend.score.fc_final"}),
    "fcn32s_alexnet": ("bvlc_caffenet", {"score_fr"}),
    "fcn32s_googlenet": ("bvlc_googlenet", {"score_fr"}),
    "deeplab_7x7": ("ilsvrc_vgg16", {"fc8_pascal"}),
}


@pytest.mark.parametrize("model", STARTS)
def test_a_classifier_is_the_start_of_a_segmenter(model):
    name, scores = STARTS[model]
    width = 1 / 8 if "googlenet" in model else WIDTH
    format = WEIGHT_FORMATS[name]
    classifier = CLASSIFIERS[format.model](num_classes=K, width=width)
    network = MODELS[model](num_classes=K, width=width)
    report = load_weights(network, foreign_tensors(classifier, format), format, partial=True)
    assert {entry.target for entry in report.left} == scores
    ours = {
        path.rpartition(".")[2]: layer.weight for path, layer in network.named_modules() if hasattr(layer, "weight")
    }
    theirs = {path.rpartition(".")[2]: layer for path, layer in classifier.named_modules() if hasattr(layer, "weight")}
    for layer in set(ours) & set(theirs):
        assert torch.equal(ours[layer].flatten(), theirs[layer].weight.flatten()), layer
    assert len(set(ours) - {path.rpartition(".")[2] for path in scores}) == len(set(ours) & set(theirs))


@pytest.mark.parametrize("model", ["refinenet_resnet50", "gcn_resnet50", "deeplab_v2_resnet101_aspp"])
def test_a_resnet_is_the_start_of_a_segmenter_s_trunk(model):
    depth = "101" if "101" in model else "50"
    format = WEIGHT_FORMATS[f"msra_resnet{depth}"]
    classifier = CLASSIFIERS[f"resnet{depth}"](num_classes=K, width=WIDTH, **MSRA)
    network = MODELS[model](num_classes=K, width=WIDTH)
    load_weights(network, foreign_tensors(classifier, format), format, partial=True)
    trunk = network.backbone.state_dict()
    for path, values in classifier.state_dict().items():
        if not path.startswith("fc.") and values.is_floating_point():
            assert torch.equal(values, trunk[path]), path


def test_a_resnet_with_its_strides_in_the_3x3_is_refused():
    with pytest.raises(WeightsError, match=r"strides in the 1 × 1 convolutions, .* \(layer2.0.conv2\).*stride_in="):
        WEIGHT_FORMATS["msra_resnet50"].layers(meta(CLASSIFIERS["resnet50"]))


def test_batchnorm_and_scale_are_joined_and_split():
    parts = ("bn1a.running_mean", "bn1a.running_var", "scale1a.weight", "scale1a.bias", "conv.weight", "scale2.weight")
    tensors = {name: torch.full((2,), float(place)) for place, name in enumerate(parts)}
    joined = joined_scales(tensors)
    assert list(joined) == [name.replace("scale1a", "bn1a") for name in parts]  # scale2 is behind no BatchNorm
    assert list(split_scales(joined)) == list(parts)


def test_options_means_and_labels():
    fc = torch.zeros(7, 8)
    assert options_of("ilsvrc_vgg16", fc8=fc) == {"num_classes": 7}
    assert options_of("bvlc_googlenet", **{"loss3/classifier": fc}) == {"num_classes": 7}
    assert options_of("msra_resnet101", fc1000=fc) == {"num_classes": 7, **MSRA}
    means = {
        "ilsvrc_vgg16": (123.68, 116.779, 103.939),
        "bvlc_caffenet": (122.679, 116.669, 104.007),
        "bvlc_googlenet": (123, 117, 104),
        "msra_resnet152": (122.7, 116.7, 104.0),
    }
    for name, mean in means.items():
        assert WEIGHT_FORMATS[name].normalization.mean == mean
    assert {WEIGHT_FORMATS[name].labels for name in FORMATS} == {None}
