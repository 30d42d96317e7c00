"""Dilation: networks-2014-2016 §4.1, §4.2. The mirrored border is OpenCV's, too."""

import cv2
import numpy as np
import pytest

from pixelwise.models.dilation import dilation7, dilation8, dilation10, dilation_frontend

from .caffe import conv, conv_relu, convs, deconv, pool, run, zoom
from .compare import WIDTH, K, agree, bilinear, convolutions_by_leaf, narrow, pictures, randomized


def frontend(final):
    return "".join(
        [
            convs("conv1", 2, "data", narrow(64), 3),
            pool("pool1", "conv1_2", 2, stride=2),
            convs("conv2", 2, "pool1", narrow(128), 3),
            pool("pool2", "conv2_2", 2, stride=2),
            convs("conv3", 3, "pool2", narrow(256), 3),
            pool("pool3", "conv3_3", 2, stride=2),
            convs("conv4", 3, "pool3", narrow(512), 3),
            convs("conv5", 3, "conv4_3", narrow(512), 3, dilation=2),
            conv_relu("fc6", "conv5_3", narrow(4096), 7, dilation=4),
            conv_relu("fc7", "fc6", narrow(4096), 1),
            conv(final, "fc7", K, 1),
        ]
    )


def context(prefix, *rows, bottom):
    """Rows of name, channels, pad and dilation."""
    text = ""
    for name, channels, pad, dilation in rows:
        text += conv_relu(f"{prefix}{name}", bottom, channels, 3, pad=pad, dilation=dilation)
        bottom = f"{prefix}{name}"
    return text + conv(f"{prefix}final", bottom, K, 1)


FRONTEND = frontend("fc_final") + zoom("zoom", "fc_final", 8)
# the factors 2, 2, 4, 8, 16, 32, 32 at the tests' width are 1, 1, 1, 1, 1, 2, 2
LARGE = "".join(
    [
        frontend("fc_final"),
        context(
            "ct_",
            ("conv1_1", K, 33, 1),
            ("conv1_2", K, 0, 1),
            ("conv2_1", K, 0, 2),
            ("conv3_1", K, 0, 4),
            ("conv4_1", K, 0, 8),
            ("conv5_1", 2 * K, 0, 16),
            ("fc1", 2 * K, 0, 1),
            bottom="fc_final",
        ),
        zoom("zoom", "ct_final", 8),
    ]
)
BASIC = (("conv1_1", K, 1, 1), ("conv1_2", K, 1, 1), ("conv2_1", K, 2, 2), ("conv3_1", K, 4, 4), ("conv4_1", K, 8, 8))
FC1 = ("fc1", K, 1, 1)
KITTI = frontend("final") + context("ctx_", *BASIC, FC1, bottom="final") + zoom("zoom", "ctx_final", 8)
CITYSCAPES = "".join(
    [
        frontend("final"),
        context(
            "ctx_",
            *BASIC,
            ("conv5_1", K, 16, 16),
            ("conv6_1", K, 32, 32),
            ("conv7_1", K, 64, 64),
            FC1,
            bottom="final",
        ),
        deconv("ctx_upsample", "ctx_final", K, 16, stride=8, pad=4, group=K),
    ]
)


@pytest.mark.parametrize("size", [(40, 72), (64, 48)])
@pytest.mark.parametrize(
    ("build", "layers", "last"),
    [
        (dilation_frontend, FRONTEND, "zoom"),
        (dilation7, KITTI, "zoom"),
        (dilation8, LARGE, "zoom"),
        (dilation10, CITYSCAPES, "ctx_upsample"),
    ],
)
def test_dilation(build, layers, last, size):
    network = randomized(build(num_classes=K, width=WIDTH))
    weights = convolutions_by_leaf(network) | {"ctx_upsample": [bilinear(K, 16, group=K)]}
    images = pictures(*size)
    padded = [
        cv2.copyMakeBorder(image.permute(1, 2, 0).numpy(), 186, 186, 186, 186, cv2.BORDER_REFLECT_101)
        for image in images
    ]
    theirs = run(layers, weights, np.stack(padded).transpose(0, 3, 1, 2), last)
    agree(network(images)[..., : theirs.shape[2], : theirs.shape[3]], theirs)  # a zoom ends at the last cell
