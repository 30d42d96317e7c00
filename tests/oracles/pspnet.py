"""PSPNet as a prototxt, its own batch norm as BatchNorm and Scale: networks-2015-2017 §0.1, §0.2, §1.3.1."""

from .caffe import concat, conv, layer, pool, zoom
from .compare import K, conv_blobs, narrow
from .resnet import conv_bn_blobs, conv_bn_relu, stage, stages_blobs


def pspnet(units, stride_in, height, width):
    """Its pools are as large as bins of a grid of `height` × `width` cells."""
    return "".join(
        [
            conv_bn_relu("conv1_1", "data", narrow(64), 3, stride=2, pad=1),
            conv_bn_relu("conv1_2", "conv1_1", narrow(64), 3, pad=1),
            conv_bn_relu("conv1_3", "conv1_2", narrow(128), 3, pad=1),
            pool("pool1", "conv1_3", 3, stride=2, pad=1),
            stage(2, units[0], "pool1", 64, stride_in=stride_in),
            stage(3, units[1], f"res2{units[0][-1]}", 128, stride_in=stride_in, stride=2),
            stage(4, units[2], f"res3{units[1][-1]}", 256, stride_in=stride_in, dilation=2),
            stage(5, units[3], f"res4{units[2][-1]}", 512, stride_in=stride_in, dilation=4),
            *(pyramid_level(bins, height, width) for bins in (1, 2, 3, 6)),
            concat("concat", "res5c", "interp6", "interp3", "interp2", "interp1"),
            conv_bn_relu("conv5_4", "concat", narrow(512), 3, pad=1),
            conv("conv6", "conv5_4", K, 1),
            zoom("conv6_interp", "conv6", 8),
        ]
    )


def pyramid_level(bins, height, width):
    sizes = {
        "kernel_h": height // bins,
        "kernel_w": width // bins,
        "stride_h": height // bins,
        "stride_w": width // bins,
    }
    return "".join(
        [
            layer("Pooling", f"conv5_3_pool{bins}", "res5c", "pooling_param", pool="AVE", **sizes),
            conv_bn_relu(f"conv5_3_pool{bins}_conv", f"conv5_3_pool{bins}", narrow(512), 1),
            layer("Interp", f"interp{bins}", f"conv5_3_pool{bins}_conv", "interp_param", height=height, width=width),
        ]
    )


def pspnet_blobs(units, network):
    """The blobs of a network of ours under those names."""
    backbone = network.backbone
    blobs = {
        **stages_blobs(units, backbone),
        **conv_bn_blobs("conv1_1", backbone.conv1.conv1_1, backbone.conv1.bn1_1),
        **conv_bn_blobs("conv1_2", backbone.conv1.conv1_2, backbone.conv1.bn1_2),
        **conv_bn_blobs("conv1_3", backbone.conv1.conv1_3, backbone.bn1),
        **conv_bn_blobs("conv5_4", *network.conv5_4[:2]),
        "conv6": conv_blobs(network.conv6),
    }
    for name, level in network.pyramid_pooling.levels.items():
        blobs |= conv_bn_blobs(f"conv5_3_{name}_conv", *level[:2])
    return blobs
