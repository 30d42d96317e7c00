"""The prototxts of the FCNs on VGG-16 and AlexNet, narrow: networks-2014-2016 §1.5, §2.1, §2.7."""

import re

from .caffe import add, conv, conv_relu, convs, crop, deconv, layer, lrn, pool, scale
from .compare import K, narrow

TRUNK = "".join(
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
    ]
)
VGG16 = TRUNK + conv("score_fr", "fc7", K, 1)
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


def two_headed(layers, classes):
    """The network with its scores twice, `_sem` with its classes and `_geo` with others."""
    heads = layers.removeprefix(TRUNK)
    ended = [
        re.sub(r'(name|bottom|top): "((?:score|upscore|fuse)\w*)"', rf'\1: "\2_{end}"', heads).replace(
            f"num_output: {K}", f"num_output: {count}"
        )
        for end, count in (("sem", K), ("geo", classes))
    ]
    return TRUNK + "".join(ended)


CRF_RNN_UNARY = "".join(  # TVG_CRFRNN_new_deploy's names, up to where the mean field begins (§7.2)
    [
        TRUNK,
        conv("score-fr", "fc7", K, 1),
        layer("Deconvolution", "score2", "score-fr", "convolution_param", num_output=K, kernel_size=4, stride=2),
        conv("score-pool4", "pool4", K, 1),
        crop("crop", "score-pool4", "score2", 5),
        add("score-fused", "score2", "crop"),
        deconv("score4", "score-fused", K, 4, stride=2),
        conv("score-pool3", "pool3", K, 1),
        crop("crop1", "score-pool3", "score4", 9),
        add("score-final", "score4", "crop1"),
        deconv("upsample", "score-final", K, 16, stride=8),
        crop("coarse", "upsample", "data", 31),
    ]
)
