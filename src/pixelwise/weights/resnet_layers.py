"""ResNets in Caffe's names, and Caffe's two layers of a batch norm as one.

The names are those of the first release (ResNet-50/101/152-deploy, MSRA), which DeepLab v2 keeps: our unit `layer3.1`
is `res4b` in ResNet-50 and `res4b1` in the deeper ones, its convolutions are `…_branch2a`, `2b` and `2c`, the
shortcut's is `…_branch1`, and where a convolution is `res4b1_branch2a`, its BatchNorm is `bn4b1_branch2a` and its Scale
`scale4b1_branch2a`. Spec, networks 2014–2016, §5.6; 2015–2017, §0.1.
"""

import re
from collections.abc import Callable

from torch import nn

from pixelwise.backbones.resnet import Bottleneck
from pixelwise.errors import WeightsError
from pixelwise.weights.formats import Tensors, layer_paths

UNITS_NAMED_BY_LETTERS = 6  # ResNet-50's third stage: res4a … res4f; deeper ones have res4a, res4b1, res4b2 …
BRANCHES = {
    "conv1": ("res", "_branch2a"),
    "bn1": ("bn", "_branch2a"),
    "conv2": ("res", "_branch2b"),
    "bn2": ("bn", "_branch2b"),
    "conv3": ("res", "_branch2c"),
    "bn3": ("bn", "_branch2c"),
    "downsample.0": ("res", "_branch1"),
    "downsample.1": ("bn", "_branch1"),
}


def msra_layers(network: nn.Module) -> dict[str, str]:
    """{path of our layer: their layer} of a network with a ResNet of bottlenecks; other layers keep their last word.

    The Scale behind a BatchNorm is part of it (`joined_scales`).

    Raises:
        WeightsError: the network's strides stand elsewhere than in the release.
    """
    refuse_strides_in_3x3(network)
    paths = layer_paths(network)
    third = {found[1] for path in paths if (found := re.search(r"(?:^|\.)layer3\.(\d+)\.", path))}
    return {path: _msra_name(path, letters=len(third) <= UNITS_NAMED_BY_LETTERS) for path in paths}


def _msra_name(path: str, *, letters: bool) -> str:
    found = re.search(r"(?:^|\.)layer([1-4])\.(\d+)\.(.+)$", path)
    if found is None:
        leaf = path.rpartition(".")[2]
        return "bn_conv1" if leaf == "bn1" else leaf
    stage, unit, layer = int(found[1]) + 1, int(found[2]), found[3]
    numbered = not letters and stage in (3, 4) and unit
    before, after = BRANCHES[layer]
    return f"{before}{stage}{f'b{unit}' if numbered else 'abcdef'[unit]}{after}"


def refuse_strides_in_3x3(network: nn.Module) -> None:
    """Refuse a ResNet of bottlenecks whose strides stand in the 3 × 3: weights trained in the 1 × 1 fit its shapes.

    Raises:
        WeightsError: naming the option.
    """
    for path, unit in network.named_modules():
        if isinstance(unit, Bottleneck) and unit.conv2.stride != (1, 1):
            raise WeightsError(
                f"the file's ResNet has its strides in the 1 × 1 convolutions, this one in the 3 × 3 ({path}.conv2); "
                'its weights would fit and give wrong features; build it with stride_in="1x1" if it takes that option'
            )


def scale_of_bn(layer: str) -> str:
    """The Scale behind a BatchNorm of the first release.

    >>> scale_of_bn("bn4b1_branch2a"), scale_of_bn("bn_conv1")
    ('scale4b1_branch2a', 'scale_conv1')
    """
    return f"scale{layer.removeprefix('bn')}"


def joined_scales(tensors: Tensors, scale_of: Callable[[str], str] = scale_of_bn) -> Tensors:
    """Each BatchNorm with the weight and bias of the Scale behind it; without one, a weight of its own is left.

    Args:
        scale_of: the name of the Scale behind a BatchNorm.
    """
    norms = [name.removesuffix(".running_mean") for name in tensors if name.endswith(".running_mean")]
    of = {scale: norm for norm in norms if (scale := scale_of(norm)) != norm and f"{scale}.weight" in tensors}
    joined = {}
    for name, tensor in tensors.items():
        layer, _, part = name.rpartition(".")
        joined[f"{of.get(layer, layer)}.{part}"] = tensor
    return joined


def split_scales(tensors: Tensors, scale_of: Callable[[str], str] = scale_of_bn) -> Tensors:
    """The inverse of `joined_scales`: weight and bias of each batch norm as a Scale of its own."""
    split = {}
    for name, tensor in tensors.items():
        layer, _, part = name.rpartition(".")
        if part in ("weight", "bias") and f"{layer}.running_mean" in tensors:
            layer = scale_of(layer)
        split[f"{layer}.{part}"] = tensor
    return split
