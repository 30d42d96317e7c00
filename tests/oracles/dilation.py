"""Dilation as prototxts: networks-2014-2016 §4.1, §4.2."""

from .caffe import conv, conv_relu, convs, deconv, pool, zoom
from .compare import K, narrow


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
