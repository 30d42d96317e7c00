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

Works on any tree of modules with ResNet's names: a stem, stages `layer1` to `layer4`, and more behind them where a
network has them (DeepLab v3's cascade), units with `conv1`, `conv2`, … and `downsample`. Below the stem's stride, the
stem's pool loses its own and is not dilated, with either word; where it rounds up, values are kept on sizes of whole
strides plus 1, which leave nothing to round. A ResNet's finest grid is so 1/2: what comes before the pool keeps its
stride, as a pool that is dilated needs a wider border than torch gives to pools.
"""

from collections.abc import Sequence
from math import prod
from typing import Literal, TypeVar

from torch import nn

from pixelwise.errors import BadOption, ShapeError

Network = TypeVar("Network", bound=nn.Module)
Layer = nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d  # what can have a stride


def set_output_stride(network: Network, stride: int, first_unit: Literal["exact", "dilated"] = "exact") -> Network:
    """The network, changed in place, whose last stage's grid is 1/stride of the picture's.

    Strides are taken from the last stage backwards, at last from the stem's pool; each convolution behind a stride
    that is taken is dilated by it.

    Args:
        network: holds the stages anywhere in its tree, at its present output stride or already at a lower one.
        stride: the present output stride, or it without its last strides: 32, 16, 8, 4 or 2 for ResNets.
        first_unit: see the module.

    Raises:
        BadOption: the network never is at this stride, or `first_unit` is neither word.
        ShapeError: the network has no such stages.
    """
    if first_unit not in ("exact", "dilated"):
        raise BadOption(f'first_unit must be "exact" or "dilated", got {first_unit!r}')
    for trunk in _trunks(network):
        kept, own = _stem(trunk)
        parts: list[Sequence[nn.Module]] = [[layer] for layer in own]
        parts += _stages(trunk).values()
        reached = [prod(_unit_stride(layer) for layer in kept)]
        for units in parts:
            reached.append(reached[-1] * prod(_unit_stride(unit) for unit in units))
        if not isinstance(stride, int) or isinstance(stride, bool) or stride not in reached:
            possible = ", ".join(str(s) for s in sorted(set(reached), reverse=True))
            raise BadOption(f"an output stride of {stride!r} is not possible; this network can have {possible}")
        for first in range(reached.index(stride), len(parts)):
            _take_strides(parts[first:], first_unit)
    return network


def set_multi_grid(network: Network, grid: Sequence[int]) -> Network:
    """The network, changed in place, whose layer4 units have their dilations multiplied by the grid.

    So have those of each stage behind layer4, where there are any.

    Args:
        network: as for `set_output_stride`, which comes first.
        grid: a whole number from 1 up for each unit of layer4, (1, 2, 4) in DeepLab v3.

    Raises:
        BadOption: a number of the grid is not possible, or there is not one for each unit.
        ShapeError: the network has no such stages.

    Source: Chen et al. 2017 (arXiv 1706.05587), §4.2.1: "final atrous rate = multi-grid rate × base rate".
    """
    if not isinstance(grid, Sequence) or any(type(rate) is not int or rate < 1 for rate in grid):
        raise BadOption(f"a multi-grid holds whole numbers from 1 up, got {grid!r}")
    for trunk in _trunks(network):
        for name, units in _stages(trunk).items():
            if int(name.removeprefix("layer")) < 4:
                continue
            if len(units) != len(grid):
                raise BadOption(f"a multi-grid needs one number for each of the {len(units)} units, got {tuple(grid)}")
            for unit, rate in zip(units, grid, strict=True):
                for layer in _main_path(unit):
                    _dilate(layer, rate)
    return network


def _trunks(network: nn.Module) -> list[nn.Module]:
    trunks = [m for m in network.modules() if hasattr(m, "layer3") and hasattr(m, "layer4")]
    if not trunks:
        raise ShapeError(
            f"dilation needs a network with ResNet's stages layer3 and layer4, {type(network).__name__} has none; "
            "pass the network that holds them"
        )
    return trunks


def _stages(trunk: nn.Module) -> dict[str, list[nn.Module]]:
    """The units of layer1, layer2 …; each must have conv2."""
    stages = {}
    for name, stage in trunk.named_children():
        if not (name.startswith("layer") and name[5:].isdigit()):
            continue
        units = list(stage.children())
        if not units or not all(isinstance(getattr(unit, "conv2", None), nn.Conv2d) for unit in units):
            raise ShapeError(f"dilation needs stages of units with a convolution conv2; {name} has others")
        stages[name] = units
    return stages


def _stem(trunk: nn.Module) -> tuple[list[Layer], list[Layer]]:
    """What comes before layer1 and can have a stride, in order: all before the last pool, and from it on."""
    layers: list[Layer] = []
    for name, child in trunk.named_children():
        if name.startswith("layer"):
            break
        layers += [module for module in child.modules() if isinstance(module, Layer)]
    first = max((index for index, layer in enumerate(layers) if not isinstance(layer, nn.Conv2d)), default=0)
    return layers[:first], layers[first:]


def _main_path(unit: nn.Module) -> list[Layer]:
    """conv1, conv2, … in order, without the downsample; a layer of the stem is its own path."""
    if isinstance(unit, Layer):
        return [unit]
    return [conv for name, conv in unit.named_children() if name.startswith("conv") and isinstance(conv, nn.Conv2d)]


def _unit_stride(unit: nn.Module) -> int:
    return prod(_stride(layer) for layer in _main_path(unit))


def _take_strides(parts: Sequence[Sequence[nn.Module]], first_unit: str) -> None:
    """Take the strides of the first of these parts, and dilate what comes behind each."""
    units = [unit for part in parts for unit in part]
    for index, unit in enumerate(parts[0]):
        factor = _unit_stride(unit)
        if factor == 1:
            continue
        # the stride stands in conv2 (torchvision) or in the 1 x 1 conv1 (the first release); only what comes behind
        # it reaches too short, unless the whole unit is to be dilated
        behind = first_unit == "dilated" and not isinstance(unit, Layer)
        for layer in _main_path(unit):
            if behind:
                _dilate(layer, factor)
            behind = behind or _stride(layer) > 1
            layer.stride = (1, 1)
        for module in getattr(unit, "downsample", None) or ():
            if hasattr(module, "stride"):
                module.stride = (1, 1)
        for layer in (layer for other in units[index + 1 :] for layer in _main_path(other)):
            _dilate(layer, factor)


def _dilate(layer: Layer, factor: int) -> None:
    """Multiply dilation and padding, which keeps the size; a side of length 1 has nothing to dilate."""
    assert isinstance(layer, nn.Conv2d)  # nothing stands before a pool that could lose its stride
    factors = [factor if side > 1 else 1 for side in layer.kernel_size]
    layer.dilation = (layer.dilation[0] * factors[0], layer.dilation[1] * factors[1])
    if not isinstance(layer.padding, str):
        layer.padding = (layer.padding[0] * factors[0], layer.padding[1] * factors[1])


def _stride(layer: Layer) -> int:
    return layer.stride if isinstance(layer.stride, int) else layer.stride[0]
