"""Dilation instead of stride: the same features, on a denser grid.

A convolution that loses a stride of 2 gives four times as many positions, and every convolution after it must reach
twice as far to see what it saw (à trous: Chen et al. 2015, DeepLab, arXiv 1412.7062; Yu and Koltun 2016, arXiv
1511.07122). In a ResNet the stride stands in the first unit of a stage, and there are two conventions for that unit:

| `first_unit` | the convolution that loses its stride | layer3 and layer4 at 8 (R-50)   | who                  |
| ------------ | ------------------------------------- | ------------------------------- | -------------------- |
| "exact"      | keeps its dilation                    | 1, 2, 2, 2, 2, 2 and 2, 4, 4    | torchvision          |
| "dilated"    | is dilated as the rest of its stage   | 2, 2, 2, 2, 2, 2 and 4, 4, 4    | PSPNet, DeepLab v3   |

(TensorFlow slim has the stride in a stage's last unit; all of the next stage is dilated there, and it is exact.)

"exact" changes density, not values: `dense[..., ::4, ::4]` at output stride 8 is the map at 32, bit for bit but for
the order of sums. "dilated" does not keep the values; it is what was trained and published.

Works on any tree of modules with ResNet's names: stages `layer1` to `layer4`, units with `conv1`, `conv2`, … and
`downsample`.
"""

from collections.abc import Iterator, Sequence
from math import prod
from typing import Literal, TypeVar

from torch import nn

from pixelwise.errors import BadOption, ShapeError

Network = TypeVar("Network", bound=nn.Module)


def set_output_stride(network: Network, stride: int, first_unit: Literal["exact", "dilated"] = "exact") -> Network:
    """The network, changed in place, whose last stage's grid is 1/stride of the picture's.

    Strides are taken from the last stage backwards; each convolution behind a stride that is taken is dilated by it.

    Args:
        network: holds the stages anywhere in its tree, at its present output stride or already at a lower one.
        stride: the present output stride, or it without the strides of its last stages: 32, 16, 8 or 4 for ResNets.
        first_unit: see the module.

    Raises:
        BadOption: no stage boundary has this stride, or `first_unit` is neither word.
        ShapeError: the network has no such stages.
    """
    if first_unit not in ("exact", "dilated"):
        raise BadOption(f'first_unit must be "exact" or "dilated", got {first_unit!r}')
    for trunk in _trunks(network):
        stages = _stages(trunk)
        reached = [_stem_stride(trunk)]
        for units in stages:
            reached.append(reached[-1] * prod(_unit_stride(unit) for unit in units))
        if stride not in reached[1:]:
            possible = ", ".join(str(s) for s in sorted(set(reached[1:]), reverse=True))
            raise BadOption(f"an output stride of {stride!r} is not possible; this network can have {possible}")
        for first in range(reached.index(stride, 1), len(stages)):
            _take_strides(stages[first:], first_unit)
    return network


def set_multi_grid(network: Network, grid: Sequence[int]) -> Network:
    """The network, changed in place, whose layer4 units have their dilations multiplied by the grid.

    Args:
        network: as for `set_output_stride`, which comes first.
        grid: a whole number from 1 up for each unit of layer4, (1, 2, 4) in DeepLab v3.

    Raises:
        BadOption: a number of the grid is not possible, or there is not one for each unit.
        ShapeError: the network has no such stages.

    Source: Chen et al. 2017 (arXiv 1706.05587), §4.2.1: "final atrous rate = multi-grid rate × base rate".
    """
    if any(isinstance(rate, bool) or not isinstance(rate, int) or rate < 1 for rate in grid):
        raise BadOption(f"a multi-grid holds whole numbers from 1 up, got {tuple(grid)}")
    for trunk in _trunks(network):
        units = _stages(trunk)[-1]
        if len(units) != len(grid):
            raise BadOption(f"a multi-grid needs one number for each of the {len(units)} units, got {tuple(grid)}")
        for unit, rate in zip(units, grid, strict=True):
            for conv in _main_path(unit):
                _dilate(conv, rate)
    return network


def _trunks(network: nn.Module) -> list[nn.Module]:
    trunks = [m for m in network.modules() if hasattr(m, "layer3") and hasattr(m, "layer4")]
    if not trunks:
        raise ShapeError(
            f"dilation needs a network with ResNet's stages layer3 and layer4, {type(network).__name__} has none; "
            "pass the network that holds them"
        )
    return trunks


def _stages(trunk: nn.Module) -> list[list[nn.Module]]:
    """The units of layer1, layer2 …; each must have conv2."""
    stages = []
    for name, stage in trunk.named_children():
        if not (name.startswith("layer") and name[5:].isdigit()):
            continue
        units = list(stage.children())
        if not units or not all(isinstance(getattr(unit, "conv2", None), nn.Conv2d) for unit in units):
            raise ShapeError(f"dilation needs stages of units with a convolution conv2; {name} has others")
        stages.append(units)
    return stages


def _stem_stride(trunk: nn.Module) -> int:
    """The stride of all that comes before layer1: convolution and pooling."""
    total = 1
    for name, child in trunk.named_children():
        if name.startswith("layer"):
            break
        for module in child.modules():
            if isinstance(module, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d):
                total *= _first(module.stride)
    return total


def _main_path(unit: nn.Module) -> Iterator[nn.Conv2d]:
    """conv1, conv2, … in order, without the downsample."""
    for name, child in unit.named_children():
        if name.startswith("conv") and isinstance(child, nn.Conv2d):
            yield child


def _unit_stride(unit: nn.Module) -> int:
    return prod(_first(conv.stride) for conv in _main_path(unit))


def _take_strides(stages: list[list[nn.Module]], first_unit: str) -> None:
    """Take the strides of the first of these stages, and dilate what comes behind each."""
    units = [unit for stage in stages for unit in stage]
    for index, unit in enumerate(stages[0]):
        factor = _unit_stride(unit)
        if factor == 1:
            continue
        # the stride stands in conv2 (torchvision) or in the 1 x 1 conv1 (the first release); only what comes behind
        # it reaches too short, unless the whole unit is to be dilated
        behind = first_unit == "dilated"
        for conv in _main_path(unit):
            if behind:
                _dilate(conv, factor)
            behind = behind or _first(conv.stride) > 1
            conv.stride = (1, 1)
        for module in getattr(unit, "downsample", None) or ():
            if hasattr(module, "stride"):
                module.stride = (1, 1)
        for conv in (conv for other in units[index + 1 :] for conv in _main_path(other)):
            _dilate(conv, factor)


def _dilate(conv: nn.Conv2d, factor: int) -> None:
    """Multiply dilation and padding, which keeps the size; a side of length 1 has nothing to dilate."""
    factors = [factor if side > 1 else 1 for side in conv.kernel_size]
    conv.dilation = (conv.dilation[0] * factors[0], conv.dilation[1] * factors[1])
    if not isinstance(conv.padding, str):
        conv.padding = (conv.padding[0] * factors[0], conv.padding[1] * factors[1])


def _first(value: int | tuple[int, ...] | None) -> int:
    if value is None:
        return 1
    return value if isinstance(value, int) else value[0]
