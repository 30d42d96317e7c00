"""SegNet and SegNet-Basic as prototxts, and caffe-segnet's Upsample: networks-2014-2016 §3.1, §3.2, §3.4."""

import numpy as np

from .caffe import batch_norm, conv, layer, lrn, relu, scale
from .compare import K, narrow


class Upsample:
    """Zeros like the third bottom, with the values of the first at the places y·W + x of the second."""

    def __init__(self, params, blobs):
        pass

    def getMemoryShapes(self, inputs):  # the name is OpenCV's
        return [inputs[2]]

    def forward(self, inputs):
        values, places, like = inputs
        flat = np.zeros((*like.shape[:2], like.shape[2] * like.shape[3]), np.float32)
        rows = (*like.shape[:2], -1)
        np.put_along_axis(flat, places.reshape(rows).astype(int), values.reshape(rows), 2)
        return [flat.reshape(like.shape)]


def conv_bn(name, bottom, num_output, kernel_size, pad):
    return "".join(
        [
            conv(name, bottom, num_output, kernel_size, pad=pad),
            batch_norm(f"{name}_bn", name, top=name, eps=1e-9),
            scale(f"{name}_scale", name, top=name, bias_term=True),
        ]
    )


def conv_bn_relu(name, bottom, num_output, kernel_size, pad):
    return conv_bn(name, bottom, num_output, kernel_size, pad) + relu(name)


def pool(number, bottom):
    tops = [f"pool{number}", f"pool{number}_mask"]
    return layer("Pooling", f"pool{number}", bottom, "pooling_param", top=tops, pool="MAX", kernel_size=2, stride=2)


def upsample(number, bottom, like):
    return layer("Upsample", f"upsample{number}", [bottom, f"pool{number}_mask", like])


ENCODER = "".join(
    [
        conv_bn_relu("conv1_1", "data", narrow(64), 3, 1),
        conv_bn_relu("conv1_2", "conv1_1", narrow(64), 3, 1),
        pool(1, "conv1_2"),
        conv_bn_relu("conv2_1", "pool1", narrow(128), 3, 1),
        conv_bn_relu("conv2_2", "conv2_1", narrow(128), 3, 1),
        pool(2, "conv2_2"),
        conv_bn_relu("conv3_1", "pool2", narrow(256), 3, 1),
        conv_bn_relu("conv3_2", "conv3_1", narrow(256), 3, 1),
        conv_bn_relu("conv3_3", "conv3_2", narrow(256), 3, 1),
        pool(3, "conv3_3"),
        conv_bn_relu("conv4_1", "pool3", narrow(512), 3, 1),
        conv_bn_relu("conv4_2", "conv4_1", narrow(512), 3, 1),
        conv_bn_relu("conv4_3", "conv4_2", narrow(512), 3, 1),
        pool(4, "conv4_3"),
        conv_bn_relu("conv5_1", "pool4", narrow(512), 3, 1),
        conv_bn_relu("conv5_2", "conv5_1", narrow(512), 3, 1),
        conv_bn_relu("conv5_3", "conv5_2", narrow(512), 3, 1),
        pool(5, "conv5_3"),
    ]
)
DECODER = "".join(
    [
        upsample(5, "pool5", "conv5_3"),
        conv_bn_relu("conv5_3_D", "upsample5", narrow(512), 3, 1),
        conv_bn_relu("conv5_2_D", "conv5_3_D", narrow(512), 3, 1),
        conv_bn_relu("conv5_1_D", "conv5_2_D", narrow(512), 3, 1),
        upsample(4, "conv5_1_D", "conv4_3"),
        conv_bn_relu("conv4_3_D", "upsample4", narrow(512), 3, 1),
        conv_bn_relu("conv4_2_D", "conv4_3_D", narrow(512), 3, 1),
        conv_bn_relu("conv4_1_D", "conv4_2_D", narrow(256), 3, 1),
        upsample(3, "conv4_1_D", "conv3_3"),
        conv_bn_relu("conv3_3_D", "upsample3", narrow(256), 3, 1),
        conv_bn_relu("conv3_2_D", "conv3_3_D", narrow(256), 3, 1),
        conv_bn_relu("conv3_1_D", "conv3_2_D", narrow(128), 3, 1),
        upsample(2, "conv3_1_D", "conv2_2"),
        conv_bn_relu("conv2_2_D", "upsample2", narrow(128), 3, 1),
        conv_bn_relu("conv2_1_D", "conv2_2_D", narrow(64), 3, 1),
        upsample(1, "conv2_1_D", "conv1_2"),
        conv_bn_relu("conv1_2_D", "upsample1", narrow(64), 3, 1),
        conv("conv1_1_D", "conv1_2_D", K, 3, pad=1),
    ]
)
BASIC_ENCODER = "".join(
    [
        lrn("norm", "data", 5, 1e-4, 0.75),
        conv_bn_relu("conv1", "norm", narrow(64), 7, 3),
        pool(1, "conv1"),
        conv_bn_relu("conv2", "pool1", narrow(64), 7, 3),
        pool(2, "conv2"),
        conv_bn_relu("conv3", "pool2", narrow(64), 7, 3),
        pool(3, "conv3"),
        conv_bn_relu("conv4", "pool3", narrow(64), 7, 3),
        pool(4, "conv4"),
    ]
)
BASIC_DECODER = "".join(
    [
        upsample(4, "pool4", "conv4"),
        conv_bn("conv_decode4", "upsample4", narrow(64), 7, 3),
        upsample(3, "conv_decode4", "conv3"),
        conv_bn("conv_decode3", "upsample3", narrow(64), 7, 3),
        upsample(2, "conv_decode3", "conv2"),
        conv_bn("conv_decode2", "upsample2", narrow(64), 7, 3),
        upsample(1, "conv_decode2", "conv1"),
        conv_bn("conv_decode1", "upsample1", narrow(64), 7, 3),
        conv("conv_classifier", "conv_decode1", K, 1),
    ]
)
