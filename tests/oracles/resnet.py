"""Caffe's ResNets in the names of its release (res4b22_branch2a, bn4b22_branch2a, scale4b22_branch2a)."""

from .caffe import add, batch_norm, conv, relu, scale
from .compare import batch_norm_blobs, conv_blobs, narrow, scale_blobs

R50 = (("a", "b", "c"), ("a", "b", "c", "d"), ("a", "b", "c", "d", "e", "f"), ("a", "b", "c"))
R101 = (("a", "b", "c"), ("a", "b1", "b2", "b3"), ("a", *(f"b{i}" for i in range(1, 23))), ("a", "b", "c"))


def conv_bn(name, bottom, num_output, kernel_size, **fields):
    """A convolution `name` without bias, BatchNorm `bn…` and Scale `scale…` in place; "res" gives way to both."""
    end = name.removeprefix("res")
    return "".join(
        [
            conv(name, bottom, num_output, kernel_size, bias_term=False, **fields),
            batch_norm(f"bn{end}", name, top=name),
            scale(f"scale{end}", name, bias_term=True, top=name),
        ]
    )


def conv_bn_relu(name, bottom, num_output, kernel_size, **fields):
    """The same and ReLU."""
    return conv_bn(name, bottom, num_output, kernel_size, **fields) + relu(name)


def stage(number, units, bottom, inner, *, stride=1, stride_in, dilation=1):
    """Units `res{number}{unit}`; the stride stands in the first 1 × 1 of the first unit, or in its 3 × 3."""
    first, second = (stride, 1) if stride_in == "1x1" else (1, stride)
    text = ""
    for unit in units:
        res = f"res{number}{unit}"
        shortcut = bottom
        if unit == "a":
            shortcut = f"{res}_branch1"
            text += conv_bn(shortcut, bottom, narrow(4 * inner), 1, stride=stride)
        text += "".join(
            [
                conv_bn_relu(f"{res}_branch2a", bottom, narrow(inner), 1, stride=first),
                conv_bn_relu(
                    f"{res}_branch2b",
                    f"{res}_branch2a",
                    narrow(inner),
                    3,
                    pad=dilation,
                    dilation=dilation,
                    stride=second,
                ),
                conv_bn(f"{res}_branch2c", f"{res}_branch2b", narrow(4 * inner), 1),
                add(res, shortcut, f"{res}_branch2c"),
                relu(res),
            ]
        )
        bottom, first, second = res, 1, 1
    return text


def stages_blobs(units, backbone):
    """The blobs of our four stages under those names."""
    modules = [*backbone.layer1, *backbone.layer2, *backbone.layer3, *backbone.layer4]
    names = [f"res{number}{unit}" for number, letters in enumerate(units, 2) for unit in letters]
    blobs = {}
    for res, module in zip(names, modules, strict=True):
        blobs |= conv_bn_blobs(f"{res}_branch2a", module.conv1, module.bn1)
        blobs |= conv_bn_blobs(f"{res}_branch2b", module.conv2, module.bn2)
        blobs |= conv_bn_blobs(f"{res}_branch2c", module.conv3, module.bn3)
        if module.downsample is not None:
            blobs |= conv_bn_blobs(f"{res}_branch1", *module.downsample)
    return blobs


def conv_bn_blobs(name, conv, bn):
    """The blobs of `conv_bn`'s three layers."""
    end = name.removeprefix("res")
    return {name: conv_blobs(conv), f"bn{end}": batch_norm_blobs(bn), f"scale{end}": scale_blobs(bn)}
