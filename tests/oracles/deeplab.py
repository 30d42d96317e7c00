"""DeepLab v1 and v2 as prototxts: networks-2014-2016 §5.1, §5.2, §5.5, §5.6."""

import re

from .caffe import add, conv, conv_relu, convs, crop, layer, pool, zoom
from .compare import K, convolutions_by_leaf, narrow
from .resnet import R101, conv_bn_blobs, conv_bn_relu, stage, stages_blobs

TRUNK = "".join(
    [
        convs("conv1", 2, "data", narrow(64), 3, pad=1),
        pool("pool1", "conv1_2", 3, stride=2, pad=1),
        convs("conv2", 2, "pool1", narrow(128), 3, pad=1),
        pool("pool2", "conv2_2", 3, stride=2, pad=1),
        convs("conv3", 3, "pool2", narrow(256), 3, pad=1),
        pool("pool3", "conv3_3", 3, stride=2, pad=1),
        convs("conv4", 3, "pool3", narrow(512), 3, pad=1),
        pool("pool4", "conv4_3", 3, stride=1, pad=1),
        convs("conv5", 3, "pool4", narrow(512), 3, pad=2, dilation=2),
        pool("pool5", "conv5_3", 3, stride=1, pad=1),
    ]
)
LARGE_FOV = "".join(
    [
        TRUNK,
        pool("pool5a", "pool5", 3, pool="AVE", stride=1, pad=1),
        conv_relu("fc6", "pool5a", narrow(1024), 3, pad=12, dilation=12),
        conv_relu("fc7", "fc6", narrow(1024), 1),
        conv("fc8_voc12", "fc7", K, 1),
        zoom("fc8_interp", "fc8_voc12", 8),
    ]
)


def branch(number, rate):
    return "".join(
        [
            conv_relu(f"fc6_{number}", "pool5", narrow(1024), 3, pad=rate, dilation=rate),
            conv_relu(f"fc7_{number}", f"fc6_{number}", narrow(1024), 1),
            conv(f"fc8_voc12_{number}", f"fc7_{number}", K, 1),
        ]
    )


def vgg16_aspp(*rates):
    return "".join(
        [
            TRUNK,
            *(branch(number, rate) for number, rate in enumerate(rates, 1)),
            add("fc8_voc12", "fc8_voc12_1", "fc8_voc12_2", "fc8_voc12_3", "fc8_voc12_4"),
            zoom("fc8_interp", "fc8_voc12", 8),
        ]
    )


# vgg128_noup: every pool but the last is 2 × 2
FOUR_BY_FOUR = "".join(
    [
        convs("conv1", 2, "data", narrow(64), 3, pad=1),
        pool("pool1", "conv1_2", 2, stride=2, pad=1),
        convs("conv2", 2, "pool1", narrow(128), 3, pad=1),
        pool("pool2", "conv2_2", 2, stride=2, pad=1),
        convs("conv3", 3, "pool2", narrow(256), 3, pad=1),
        pool("pool3", "conv3_3", 2, stride=2, pad=1),
        convs("conv4", 3, "pool3", narrow(512), 3, pad=1),
        pool("pool4", "conv4_3", 2, stride=1, pad=1),
        convs("conv5", 3, "pool4", narrow(512), 3, pad=2, dilation=2),
        pool("pool5", "conv5_3", 3, stride=1, pad=1),
        conv_relu("fc6", "pool5", narrow(4096), 4, pad=6, dilation=4),
        conv_relu("fc7", "fc6", narrow(4096), 1),
        conv("fc8_pascal", "fc7", K, 1),
        zoom("fc8_interp", "fc8_pascal", 8),
        crop("fc8_crop", "fc8_interp", "data", 7),
    ]
)


RESNET101_ASPP = "".join(
    [
        conv_bn_relu("conv1", "data", narrow(64), 7, stride=2, pad=3),
        pool("pool1", "conv1", 3, stride=2, pad=1),
        stage(2, R101[0], "pool1", 64, stride_in="1x1"),
        stage(3, R101[1], "res2c", 128, stride_in="1x1", stride=2),
        stage(4, R101[2], "res3b3", 256, stride_in="1x1", dilation=2),
        stage(5, R101[3], "res4b22", 512, stride_in="1x1", dilation=4),
        conv("fc1_voc12_c0", "res5c", K, 3, pad=6, dilation=6),
        conv("fc1_voc12_c1", "res5c", K, 3, pad=12, dilation=12),
        conv("fc1_voc12_c2", "res5c", K, 3, pad=18, dilation=18),
        conv("fc1_voc12_c3", "res5c", K, 3, pad=24, dilation=24),
        add("fc1_voc12", "fc1_voc12_c0", "fc1_voc12_c1", "fc1_voc12_c2", "fc1_voc12_c3"),
    ]
)


def resnet_blobs(network):
    backbone = network.backbone
    blobs = convolutions_by_leaf(network.aspp) | conv_bn_blobs("conv1", backbone.conv1, backbone.bn1)
    return blobs | stages_blobs(R101, backbone)


def at(scale):
    """The network with the scale's name at the end of all others."""
    return re.sub(r'(name|bottom|top): "(\w+)"', rf'\1: "\2{scale}"', RESNET101_ASPP)


def multi_scale(height, width):
    """Pictures of 32k + 1 pixels. OpenCV's Interp does not shrink, so it gets the sizes that shrinking gives."""

    def interp(name, bottom, shrink, zoom, height, width):
        sizes = {"height": (height - 1) // shrink * zoom + 1, "width": (width - 1) // shrink * zoom + 1}
        return layer("Interp", name, bottom, "interp_param", **sizes)

    return "".join(
        [
            RESNET101_ASPP,
            interp("data_res075", "data", 4, 3, height, width),
            at("_res075"),
            interp("data_res05", "data", 2, 1, height, width),
            at("_res05"),
            interp("fc1_voc12_res075_interp", "fc1_voc12_res075", 3, 4, height // 32 * 3 + 1, width // 32 * 3 + 1),
            zoom("fc1_voc12_res05_interp", "fc1_voc12_res05", 2),
            layer(
                "Eltwise",
                "fc_fusion",
                ["fc1_voc12", "fc1_voc12_res075_interp", "fc1_voc12_res05_interp"],
                "eltwise_param",
                operation="MAX",
            ),
            zoom("upscaled", "fc_fusion", 8),
        ]
    )
