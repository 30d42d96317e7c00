"""SegNet under its released names, narrow: networks-2014-2016 §3.1–3.4.

OpenCV lacks two of caffe-segnet's layers: Upsample, which Python defines, and BN, which is a Scale in testing: y =
scale·x + shift.
"""

import re

import cv2
import numpy as np
import pytest
import torch

from pixelwise.models import MODELS
from pixelwise.weights.all_formats import WEIGHT_FORMATS
from pixelwise.weights.importing import foreign_tensors, load_weights

from .caffe import conv, relu, run, scale
from .compare import WIDTH, K, agree, conv_blobs, narrow, pictures, randomized
from .segnet import BASIC_DECODER, BASIC_ENCODER, DECODER, ENCODER, Upsample
from .twins import imported


@pytest.fixture(autouse=True)
def _upsample():
    cv2.dnn_registerLayer("Upsample", Upsample)
    yield
    cv2.dnn_unregisterLayer("Upsample")


def in_testing(layers):
    """The layers with each BatchNorm and its Scale as one Scale `…_bn`: BN in testing."""
    without = re.sub(r'layer \{ name: "\w+_bn" type: "BatchNorm".*?\} \}\n', "", layers)
    assert without != layers
    return re.sub(r'name: "(\w+)_scale"', r'name: "\1_bn"', without)


FULL = in_testing(ENCODER + DECODER)
BASIC = in_testing(BASIC_ENCODER + BASIC_DECODER)
CAMVID = "".join(
    [
        FULL.replace(conv("conv1_1_D", "conv1_2_D", K, 3, pad=1), conv("conv1_1_D", "conv1_2_D", narrow(64), 3, pad=1)),
        scale("conv1_1_D_bn", "conv1_1_D", top="conv1_1_D", bias_term=True),
        relu("conv1_1_D"),
        conv("camvid", "conv1_1_D", K, 3, pad=1),
    ]
)
RELEASED_BASIC = BASIC.replace("conv_classifier", "dense_softmax_inner_prod")
TWINS = {
    "segnet": (FULL, "conv1_1_D", {}),
    "segnet_camvid": (FULL, "conv1_1_D", {}),
    "segnet_basic_camvid": (RELEASED_BASIC, "dense_softmax_inner_prod", {}),
    "bayesian_segnet": (FULL, "conv1_1_D", {"release": "tutorial"}),
    "bayesian_segnet_camvid": (CAMVID, "camvid", {"release": "camvid"}),
    "bayesian_segnet_pascal": (FULL, "conv1_1_D", {"release": "pascal"}),
    "bayesian_segnet_basic_camvid": (RELEASED_BASIC, "dense_softmax_inner_prod", {"release": "basic"}),
}


def blobs_of(network):
    """Convolutions, and for each batch norm a scale and a shift of four axes with its statistics folded in (§3.4)."""
    blobs = {}
    for path, module in network.named_modules():
        leaf = path.rpartition(".")[2]
        if leaf.endswith("_bn"):
            factor = module.weight / (module.running_var + 1e-9).sqrt()
            shift = module.bias - factor * module.running_mean
            blobs[leaf] = [values.reshape(1, -1, 1, 1).numpy() for values in (factor, shift)]
        elif isinstance(module, torch.nn.Conv2d):
            blobs[leaf] = conv_blobs(module)
    return blobs


def flat(blobs):
    """As OpenCV takes a Scale's: of one axis."""
    return {name: [np.ravel(b) if name.endswith("_bn") else b for b in two] for name, two in blobs.items()}


def twin(name):
    """A random network of the format, narrow, its blobs under the released names, and a fresh network."""
    _, last, options = TWINS[name]
    build = MODELS[WEIGHT_FORMATS[name].model]
    random = randomized(build(num_classes=K, width=WIDTH, **options))
    blobs = blobs_of(random)
    if "conv_classifier" in blobs:
        blobs["dense_softmax_inner_prod"] = blobs.pop("conv_classifier")
    assert last in blobs
    return random, blobs, build(num_classes=K, width=WIDTH, **options)


@pytest.mark.parametrize("name", TWINS)
def test_a_network_runs_as_its_file_does(name, tmp_path):
    layers, last, _ = TWINS[name]
    random, blobs, network = twin(name)
    network = imported(tmp_path, blobs, name, network)
    images = (100 if "basic" in name else 1) * pictures(45, 60)  # `norm` acts on raw pictures
    theirs = run(layers, flat(blobs), images.numpy(), last)
    agree(network(images.flip(1)), theirs)
    agree(random(images), theirs)  # the network whose statistics were folded in


@pytest.mark.parametrize("name", ["segnet", "bayesian_segnet_basic_camvid"])
def test_a_network_written_in_the_release_s_names_has_its_statistics_folded_in(name):
    random, _, network = twin(name)
    format = WEIGHT_FORMATS[name]
    tensors = foreign_tensors(random, format)
    assert not any("running" in part for part in tensors)
    load_weights(network, tensors, format)
    images = pictures(20, 33)
    agree(network.eval().requires_grad_(False)(images), random(images).numpy())
