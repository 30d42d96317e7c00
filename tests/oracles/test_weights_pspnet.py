"""PSPNet under its released names, narrow: networks-2015-2017 §1.3.1.

OpenCV lacks the authors' BN of four blobs: it runs the same file with BatchNorm and Scale.
"""

import re

import pytest
import torch

from pixelwise.models import MODELS
from pixelwise.weights.all_formats import WEIGHT_FORMATS

from .compare import WIDTH, K, randomized
from .pspnet import pspnet, pspnet_blobs
from .resnet import R50, R101
from .twins import agree_in_rgb, imported

TWINS = {
    "pspnet_resnet50_ade20k": (R50, "1x1"),
    "pspnet_resnet101_voc": (R101, "3x3"),
}
ENDS = {"branch1": "1x1_proj", "branch2a": "1x1_reduce", "branch2b": "3x3", "branch2c": "1x1_increase"}


def released_names(units):
    """{name of a convolution in the oracle: in the files}; bins and classifier have theirs already."""
    names = {"conv1_1": "conv1_1_3x3_s2", "conv1_2": "conv1_2_3x3", "conv1_3": "conv1_3_3x3"}
    for stage, letters in enumerate(units, 2):
        for number, unit in enumerate(letters, 1):
            names |= {f"res{stage}{unit}_{ours}": f"conv{stage}_{number}_{end}" for ours, end in ENDS.items()}
    return names


def in_release(name, names):
    """The name of any layer of the oracle in the files: `bn3a_branch1` is `conv3_1_1x1_proj/bn`."""
    for start, end in (("bn", "/bn"), ("scale", "/scale")):
        if name.startswith(start):
            rest = name.removeprefix(start)
            rest = rest if rest.startswith("conv") else f"res{rest}"
            return names.get(rest, rest) + end
    return names.get(name, name)


def twin(name):
    """Layers, blobs and a fresh network of a format, for 89 × 97 pixels, of which 6 bins divide the map of 12."""
    units, stride_in = TWINS[name]
    names = released_names(units)
    build = MODELS[WEIGHT_FORMATS[name].model]
    random = randomized(build(num_classes=K, width=WIDTH))
    layers = re.sub(r'"([\w/]+)"', lambda found: f'"{in_release(found[1], names)}"', pspnet(units, stride_in, 12, 12))
    blobs = {in_release(layer, names): blob for layer, blob in pspnet_blobs(units, random).items()}
    return layers, blobs, build(num_classes=K, width=WIDTH)


@pytest.mark.parametrize("name", TWINS)
def test_a_network_runs_as_its_file_does(name, tmp_path):
    layers, blobs, network = twin(name)
    for layer in ("conv3_1_1x1_proj/bn", "conv5_3_pool6_conv/bn", "conv5_4/bn", "conv1_3_3x3/bn"):
        assert f'"{layer}"' in layers
        assert layer in blobs
    agree_in_rgb(imported(tmp_path, blobs, name, network), layers, blobs, "conv6_interp", (89, 89))


def test_the_authors_bn_of_four_blobs_is_batchnorm_and_scale(tmp_path):
    name = "pspnet_resnet50_ade20k"
    _, blobs, network = twin(name)
    joined = {}
    for layer, two in blobs.items():
        if layer.endswith("/bn"):
            slope, bias = blobs[layer.removesuffix("bn") + "scale"]
            mean, variance, factor = two
            two = [values.reshape(1, -1, 1, 1) for values in (slope, bias, mean / factor, variance / factor)]
        if not layer.endswith("/scale"):
            joined[layer] = two
    first = imported(tmp_path, blobs, name, network).state_dict()
    second = imported(tmp_path, joined, name, MODELS["pspnet_resnet50"](num_classes=K, width=WIDTH)).state_dict()
    for path, values in first.items():
        assert torch.equal(values, second[path]), path
