"""FCN on GoogLeNet: networks-2014-2016 §2.1. Its crop is the specification's proposal; no prototxt was published."""

import pytest

from pixelwise.models.fcn import fcn32s_googlenet

from .caffe import run
from .compare import K, agree, bilinear, convolutions_by_leaf, pictures, randomized
from .googlenet import GOOGLENET


@pytest.mark.parametrize("size", [(101, 64), (75, 130)])
def test_googlenet(size):
    network = randomized(fcn32s_googlenet(num_classes=K, width=1 / 8))
    layers = GOOGLENET.replace("/", "_")  # as our layers are called
    weights = convolutions_by_leaf(network) | {"upscore": [bilinear(K, 63)]}
    images = pictures(*size)
    agree(network(images), run(layers, weights, images.numpy(), "score"))
