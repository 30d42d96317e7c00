"""DeepLab v1 and v2: networks-2014-2016 §5.1, §5.2, §5.5, §5.6."""

import re

import pytest

from pixelwise.models.deeplab_v1 import deeplab_4x4, deeplab_largefov
from pixelwise.models.deeplab_v2 import deeplab_v2_resnet101_aspp, deeplab_v2_vgg16_aspp_l, deeplab_v2_vgg16_aspp_s

from .caffe import add, conv, conv_relu, convs, crop, layer, pool, run, zoom
from .compare import WIDTH, K, agree, convolutions_by_leaf, narrow, pictures, randomized
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


# sizes 8n + 1, and 8n + 2 as the 514 of `vgg128_noup`; more than 24 cells, so that taps of each rate lie on the grid
@pytest.mark.parametrize(
    ("build", "layers", "last", "size"),
    [
        (deeplab_largefov, LARGE_FOV, "fc8_interp", (209, 145)),
        (deeplab_largefov, LARGE_FOV, "fc8_interp", (153, 217)),
        (deeplab_v2_vgg16_aspp_s, vgg16_aspp(2, 4, 8, 12), "fc8_interp", (145, 121)),
        (deeplab_v2_vgg16_aspp_s, vgg16_aspp(2, 4, 8, 12), "fc8_interp", (73, 113)),
        (deeplab_v2_vgg16_aspp_l, vgg16_aspp(6, 12, 18, 24), "fc8_interp", (209, 145)),
        (deeplab_v2_vgg16_aspp_l, vgg16_aspp(6, 12, 18, 24), "fc8_interp", (153, 217)),
        (deeplab_4x4, FOUR_BY_FOUR, "fc8_crop", (98, 146)),
        (deeplab_4x4, FOUR_BY_FOUR, "fc8_crop", (74, 50)),
    ],
)
def test_vgg(build, layers, last, size):
    network = randomized(build(num_classes=K, width=WIDTH))
    images = pictures(*size)
    agree(network(images), run(layers, convolutions_by_leaf(network), images.numpy(), last))


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


@pytest.mark.parametrize("size", [(209, 145), (153, 217)])
def test_resnet101_aspp(size):
    network = randomized(deeplab_v2_resnet101_aspp(num_classes=K, width=WIDTH))
    images = pictures(*size)
    layers = RESNET101_ASPP + zoom("fc1_interp", "fc1_voc12", 8)
    agree(network(images), run(layers, resnet_blobs(network), images.numpy(), "fc1_interp"))


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


@pytest.mark.parametrize("size", [(97, 161), (129, 65)])
def test_three_scales(size):
    network = randomized(deeplab_v2_resnet101_aspp(num_classes=K, width=WIDTH, multi_scale=True))
    blobs = {name + scale: blob for name, blob in resnet_blobs(network).items() for scale in ("", "_res075", "_res05")}
    images = pictures(*size)
    agree(network(images), run(multi_scale(*size), blobs, images.numpy(), "upscaled"))
