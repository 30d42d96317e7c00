"""FCN on VGG-16 and AlexNet: networks-2014-2016 §1.5, §2.1, §2.7."""

import numpy as np
import pytest
import torch

from pixelwise.models.fcn import fcn8s_atonce_vgg16, fcn8s_vgg16, fcn16s_vgg16, fcn32s_alexnet, fcn32s_vgg16
from pixelwise.models.fcn_nyud import fcn32s_rgb_hha

from .caffe import run
from .compare import WIDTH, K, agree, bilinear, conv_blobs, convolutions_by_leaf, narrow, pictures, randomized
from .fcn import ALEXNET, AT_ONCE, FCN8S, FCN16S, FCN32S, TOWERS


@pytest.mark.parametrize("size", [(43, 70), (97, 50)])
@pytest.mark.parametrize(
    ("build", "layers", "kernels"),
    [
        (fcn32s_vgg16, FCN32S, {"upscore": 64}),
        (fcn16s_vgg16, FCN16S, {"upscore2": 4, "upscore16": 32}),
        (fcn8s_vgg16, FCN8S, {"upscore2": 4, "upscore_pool4": 4, "upscore8": 16}),
        (fcn8s_atonce_vgg16, AT_ONCE, {"upscore2": 4, "upscore_pool4": 4, "upscore8": 16}),
        (fcn32s_alexnet, ALEXNET, {"upscore": 63}),
    ],
)
def test_fcn(build, layers, kernels, size):
    network = randomized(build(num_classes=K, width=WIDTH))
    if build is fcn8s_atonce_vgg16:  # each stream counts
        network.score_pool4.weight *= 100
        network.score_pool3.weight *= 10000
    weights = convolutions_by_leaf(network) | {name: [bilinear(K, kernel)] for name, kernel in kernels.items()}
    weights |= {"scale_pool4": [constant(512, 0.01)], "scale_pool3": [constant(256, 0.0001)]}
    images = pictures(*size)
    agree(network(images), run(layers, weights, images.numpy(), "score"))


def constant(channels, value):
    return np.full(narrow(channels), value, np.float32)


@pytest.mark.parametrize("size", [(43, 70), (97, 50)])
def test_two_towers(size):
    network = randomized(fcn32s_rgb_hha(num_classes=K, width=WIDTH))
    weights = {"upscore": [bilinear(K, 64)]}
    for end, trunk, score_fr in (
        ("color", network.color, network.score_frcolor),
        ("hha", network.hha, network.score_frhha),
    ):
        blobs = convolutions_by_leaf(trunk) | {"score_fr": conv_blobs(score_fr)}
        weights |= {name + end: blob for name, blob in blobs.items()}
    images = torch.cat([pictures(*size), pictures(*size)], 1)
    agree(network(images), run(TOWERS, weights, images.numpy(), "score"))
