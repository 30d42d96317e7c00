"""GoogLeNet as a prototxt, and its FCN: networks-2014-2016 §2.1."""

from .caffe import concat, conv, conv_relu, crop, deconv, lrn, pool
from .compare import K


def inception(name, bottom, *channels):
    """The five columns of the table: 1×1, 3×3 reduce, 3×3, 5×5 reduce, 5×5, pool_proj."""
    name = f"inception_{name}"
    one, three_reduce, three, five_reduce, five, proj = (c // 8 for c in channels)
    return "".join(
        [
            conv_relu(f"{name}/1x1", bottom, one, 1),
            conv_relu(f"{name}/3x3_reduce", bottom, three_reduce, 1),
            conv_relu(f"{name}/3x3", f"{name}/3x3_reduce", three, 3, pad=1),
            conv_relu(f"{name}/5x5_reduce", bottom, five_reduce, 1),
            conv_relu(f"{name}/5x5", f"{name}/5x5_reduce", five, 5, pad=2),
            pool(f"{name}/pool", bottom, 3, stride=1, pad=1),
            conv_relu(f"{name}/pool_proj", f"{name}/pool", proj, 1),
            concat(f"{name}/output", f"{name}/1x1", f"{name}/3x3", f"{name}/5x5", f"{name}/pool_proj"),
        ]
    )


GOOGLENET = "".join(
    [
        conv_relu("conv1/7x7_s2", "data", 64 // 8, 7, stride=2, pad=3),
        pool("pool1/3x3_s2", "conv1/7x7_s2", 3, stride=2),
        lrn("pool1/norm1", "pool1/3x3_s2", 5, 1e-4, 0.75),
        conv_relu("conv2/3x3_reduce", "pool1/norm1", 64 // 8, 1),
        conv_relu("conv2/3x3", "conv2/3x3_reduce", 192 // 8, 3, pad=1),
        lrn("conv2/norm2", "conv2/3x3", 5, 1e-4, 0.75),
        pool("pool2/3x3_s2", "conv2/norm2", 3, stride=2),
        inception("3a", "pool2/3x3_s2", 64, 96, 128, 16, 32, 32),
        inception("3b", "inception_3a/output", 128, 128, 192, 32, 96, 64),
        pool("pool3/3x3_s2", "inception_3b/output", 3, stride=2),
        inception("4a", "pool3/3x3_s2", 192, 96, 208, 16, 48, 64),
        inception("4b", "inception_4a/output", 160, 112, 224, 24, 64, 64),
        inception("4c", "inception_4b/output", 128, 128, 256, 24, 64, 64),
        inception("4d", "inception_4c/output", 112, 144, 288, 32, 64, 64),
        inception("4e", "inception_4d/output", 256, 160, 320, 32, 128, 128),
        pool("pool4/3x3_s2", "inception_4e/output", 3, stride=2),
        inception("5a", "pool4/3x3_s2", 256, 160, 320, 32, 128, 128),
        inception("5b", "inception_5a/output", 384, 192, 384, 48, 128, 128),
        conv("score_fr", "inception_5b/output", K, 1),
        deconv("upscore", "score_fr", K, 63, stride=32),
        crop("score", "upscore", "data", 1),
    ]
)
