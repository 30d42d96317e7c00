"""FCN on VGG-16 and AlexNet: networks-2014-2016 §1.5, §2.1, §2.7."""

import re

import numpy as np
import pytest
import torch

from pixelwise.models.fcn import fcn8s_atonce_vgg16, fcn8s_vgg16, fcn16s_vgg16, fcn32s_alexnet, fcn32s_vgg16
from pixelwise.models.fcn_nyud import fcn32s_rgb_hha

from .caffe import add, conv, conv_relu, convs, crop, deconv, layer, lrn, pool, run, scale
from .compare import WIDTH, K, agree, bilinear, conv_blobs, convolutions_by_leaf, narrow, pictures, randomized

VGG16 = "".join(
    [
        conv_relu("conv1_1", "data", narrow(64), 3, pad=100),
        conv_relu("conv1_2", "conv1_1", narrow(64), 3, pad=1),
        pool("pool1", "conv1_2", 2, stride=2),
        convs("conv2", 2, "pool1", narrow(128), 3, pad=1),
        pool("pool2", "conv2_2", 2, stride=2),
        convs("conv3", 3, "pool2", narrow(256), 3, pad=1),
        pool("pool3", "conv3_3", 2, stride=2),
        convs("conv4", 3, "pool3", narrow(512), 3, pad=1),
        pool("pool4", "conv4_3", 2, stride=2),
        convs("conv5", 3, "pool4", narrow(512), 3, pad=1),
        pool("pool5", "conv5_3", 2, stride=2),
        conv_relu("fc6", "pool5", narrow(4096), 7),
        conv_relu("fc7", "fc6", narrow(4096), 1),
        conv("score_fr", "fc7", K, 1),
    ]
)
FCN32S = "".join(
    [
        VGG16,
        deconv("upscore", "score_fr", K, 64, stride=32),
        crop("score", "upscore", "data", 19),
    ]
)


def fuse_pool4(skip="pool4"):
    return "".join(
        [
            deconv("upscore2", "score_fr", K, 4, stride=2),
            conv("score_pool4", skip, K, 1),
            crop("score_pool4c", "score_pool4", "upscore2", 5),
            add("fuse_pool4", "upscore2", "score_pool4c"),
        ]
    )


def fuse_pool3(skip="pool3"):
    return "".join(
        [
            deconv("upscore_pool4", "fuse_pool4", K, 4, stride=2),
            conv("score_pool3", skip, K, 1),
            crop("score_pool3c", "score_pool3", "upscore_pool4", 9),
            add("fuse_pool3", "upscore_pool4", "score_pool3c"),
            deconv("upscore8", "fuse_pool3", K, 16, stride=8),
            crop("score", "upscore8", "data", 31),
        ]
    )


FCN16S = "".join(
    [
        VGG16,
        fuse_pool4(),
        deconv("upscore16", "fuse_pool4", K, 32, stride=16),
        crop("score", "upscore16", "data", 27),
    ]
)
FCN8S = VGG16 + fuse_pool4() + fuse_pool3()
AT_ONCE = "".join(
    [
        VGG16,
        scale("scale_pool4", "pool4", bias_term=False),
        fuse_pool4("scale_pool4"),
        scale("scale_pool3", "pool3", bias_term=False),
        fuse_pool3("scale_pool3"),
    ]
)
ALEXNET = "".join(
    [
        conv_relu("conv1", "data", narrow(96), 11, stride=4, pad=100),
        pool("pool1", "conv1", 3, stride=2),
        lrn("norm1", "pool1", 5, 1e-4, 0.75),
        conv_relu("conv2", "norm1", narrow(256), 5, pad=2, group=2),
        pool("pool2", "conv2", 3, stride=2),
        lrn("norm2", "pool2", 5, 1e-4, 0.75),
        conv_relu("conv3", "norm2", narrow(384), 3, pad=1),
        conv_relu("conv4", "conv3", narrow(384), 3, pad=1, group=2),
        conv_relu("conv5", "conv4", narrow(256), 3, pad=1, group=2),
        pool("pool5", "conv5", 3, stride=2),
        conv_relu("fc6", "pool5", narrow(4096), 6),
        conv_relu("fc7", "fc6", narrow(4096), 1),
        conv("score_fr", "fc7", K, 1),
        deconv("upscore", "score_fr", K, 63, stride=32),
        crop("score", "upscore", "data", 18),
    ]
)


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


def tower(name):
    """VGG16 with the name at the end of all others."""
    return re.sub(r'(name|bottom|top): "(\w+)"', rf'\1: "\2{name}"', VGG16)


TOWERS = "".join(
    [
        layer("Slice", "slice", "data", "slice_param", top=["datacolor", "datahha"], axis=1, slice_point=3),
        tower("color"),
        tower("hha"),
        add("score_fused", "score_frcolor", "score_frhha", coeff=[0.5, 0.5]),
        deconv("upscore", "score_fused", K, 64, stride=32),
        crop("score", "upscore", "data", 19),
    ]
)


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
