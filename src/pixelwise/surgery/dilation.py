"""Dilation instead of stride: the same features, on a denser grid.

A convolution or a pool that loses a stride of 2 gives four times as many positions, and every window after it must
reach twice as far to see what it saw: filter rarefaction (Long et al. 2015, §3.2), à trous (Chen et al. 2015, DeepLab,
arXiv 1412.7062; Yu and Koltun 2016, arXiv 1511.07122). What each operation needs stands in `dilation_rules.py`.

In a ResNet the stride stands in the first unit of a stage, and there are two conventions for that unit:

| `first_unit` | the convolution that loses its stride | layer3 and layer4 at 8 (R-50)   | who                  |
| ------------ | ------------------------------------- | ------------------------------- | -------------------- |
| "exact"      | keeps its dilation                    | 1, 2, 2, 2, 2, 2 and 2, 4, 4    | torchvision          |
| "dilated"    | is dilated as the rest of its stage   | 2, 2, 2, 2, 2, 2 and 4, 4, 4    | PSPNet, DeepLab v3   |

(TensorFlow slim has the stride in a stage's last unit; all of the next stage is dilated there, and it is exact.)

"exact" changes density, not values: `dense[..., ::4, ::4]` at output stride 8 is the map at 32, to the rounding of
sums, on pictures of every size. "dilated" does not keep the values; it is what was trained and published.
"""

import math
from collections.abc import Sequence
from contextlib import suppress
from fractions import Fraction
from typing import Literal, TypeVar

from torch import fx, nn

from pixelwise.errors import BadOption, ShapeError, SurgeryError
from pixelwise.surgery.dilation_cells import Cropped
from pixelwise.surgery.dilation_plan import Change, Plan, changed, changed_copy
from pixelwise.surgery.dilation_rules import plan_of
from pixelwise.surgery.graph import add_layer, described, module_of, strides, trace

Network = TypeVar("Network", bound=nn.Module)
SIZES = (224, 512, 1024, 64, 32)  # of pictures, tried in turn


def set_output_stride(
    network: Network,
    stride: int,
    first_unit: Literal["exact", "dilated"] = "exact",
    *,
    size: int | tuple[int, int] | None = None,
    in_channels: int | None = None,
) -> Network:
    """The network with its coarsest maps at 1/stride of the picture, and the same weights.

    Strides are taken from the deepest convolutions and pools first; windows behind a stride that was taken are spread
    by it, with their borders. Pools with borders that torch's do not have become `DilatedMaxPool2d` and
    `DilatedAvgPool2d`. A network whose rows and columns have other strides changes where one is above `stride`.

    The network is changed in place and returned, if all that must change are settings of layers. Where a call of a
    function must change (`F.max_pool2d(x, 2)`), one pool without weights is used on several grids, or maps of other
    borders meet, a graph (`torch.fx.GraphModule`) is returned: it shares the weights under the same names, holds for
    pictures no smaller than `size`, and the network is as before; they share the layers that did not change, so that
    the mode of one is that of the other.

    Borders that are not constant ("reflect", "replicate": on sizes of whole strides plus 1; "circular": on whole
    strides) keep the values on those sizes only.

    Args:
        network: any that gives maps (N, C, h, w) from pictures (N, C, H, W), at its own output stride or already at a
            lower one.
        stride: the present output stride, or a lower one that leaves whole strides: 32, 16, 8, 4, 2 or 1 for ResNets.
        first_unit: see the module; "dilated" dilates each convolution that loses a stride by it, and no pool.
        size: of the pictures at which the network is followed, the side or (height, width); several are tried if left
            out.
        in_channels: C; those of the first convolution if left out.

    Raises:
        BadOption: the network cannot be at this stride, or `first_unit` is neither word.
        SurgeryError: the network cannot be followed, or something that must change has no rule: it sees a map as a
            whole (global pooling), makes a finer grid from it, or is used on several grids.

    >>> network = nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(3, 8, 3))
    >>> set_output_stride(network, 1)[1]
    Conv2d(3, 8, kernel_size=(3, 3), stride=(1, 1), dilation=(2, 2))
    """
    if first_unit not in ("exact", "dilated"):
        raise BadOption(f'first_unit must be "exact" or "dilated", got {first_unit!r}')
    traced, plan = _planned(network, stride, first_unit, size, in_channels)
    return _applied(network, traced, plan)  # type: ignore[return-value]  # a graph takes and gives what it did


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


def _main_path(unit: nn.Module) -> list[nn.Conv2d]:
    """conv1, conv2, … in order, without the downsample."""
    return [conv for name, conv in unit.named_children() if name.startswith("conv") and isinstance(conv, nn.Conv2d)]


def _dilate(layer: nn.Conv2d, factor: int) -> None:
    """Multiply dilation and padding, which keeps the size; a side of length 1 has nothing to dilate."""
    factors = [factor if side > 1 else 1 for side in layer.kernel_size]
    layer.dilation = (layer.dilation[0] * factors[0], layer.dilation[1] * factors[1])
    if not isinstance(layer.padding, str):
        layer.padding = (layer.padding[0] * factors[0], layer.padding[1] * factors[1])


def _planned(
    network: nn.Module, stride: int, first_unit: str, size: int | tuple[int, int] | None, in_channels: int | None
) -> tuple[fx.GraphModule, Plan]:
    """The graph and what must change in it; the network is as it was."""
    sides = SIZES if size is None else (size,)
    sizes = [(side, side) if isinstance(side, int) else side for side in sides]
    with suppress(SurgeryError):
        traced = trace(network, sizes[0], in_channels=in_channels, empty=True)
        return traced, _changes(traced, stride, first_unit)
    traced = _followed(network, sizes, in_channels)
    return traced, _changes(traced, stride, first_unit)


def _followed(network: nn.Module, sizes: Sequence[tuple[int, int]], in_channels: int | None) -> fx.GraphModule:
    first: SurgeryError | None = None
    for size in sizes:
        try:
            return trace(network, size, in_channels=in_channels)
        except SurgeryError as error:
            first = first or error
    assert first is not None
    raise first


def _changes(traced: fx.GraphModule, stride: int, first_unit: str) -> Plan:
    found = strides(traced)
    axes = [set(sides) for sides in zip(*found.values(), strict=True)]  # of rows and of columns
    deepest = math.ceil(max(map(max, axes)))
    possible = [number for number in range(deepest, 0, -1) if all(_possible(number, sides) for sides in axes)]
    if type(stride) is not int or stride not in possible:
        numbers = ", ".join(map(str, possible))
        raise BadOption(f"an output stride of {stride!r} is not possible; this network can have {numbers}")
    wanted = {node: (_denser(down, stride), _denser(right, stride)) for node, (down, right) in found.items()}
    return plan_of(traced, wanted, dilate_first=first_unit == "dilated")


def _possible(stride: int, sides: set[Fraction]) -> bool:
    """Whether maps of these strides can have this one at most, along one axis."""
    return stride >= max(sides) or all((stride / s).denominator == 1 or (s / stride).denominator == 1 for s in sides)


def _denser(side: Fraction, stride: int) -> int:
    """New cells for each cell of a map at 1/side."""
    return int(side / stride) if side > stride else 1


def _applied(network: nn.Module, traced: fx.GraphModule, plan: Plan) -> nn.Module:
    """Changes all that was planned, at the end, so that an error leaves the network as it was."""
    calls: dict[int, list[fx.Node]] = {}  # of each layer
    for node in plan.settings:
        calls.setdefault(id(module_of(node)), []).append(node)
    in_place, apart = [], []
    for nodes in calls.values():
        if all(plan.settings[node] == plan.settings[nodes[0]] for node in nodes):
            in_place.append(nodes[0])
        elif not list(_layer(nodes[0]).parameters()):
            apart += nodes
        else:
            raise SurgeryError(
                f"the output stride cannot be changed: {described(nodes[0])} is used on several grids, which need "
                "other dilations; give each its own layer"
            )
    if not (plan.changes or plan.crops or apart):
        for node in in_place:
            changed(_layer(node), plan.settings[node])
        return network
    return _rewritten(traced, plan, in_place, apart)


def _rewritten(
    traced: fx.GraphModule, plan: Plan, in_place: Sequence[fx.Node], apart: Sequence[fx.Node]
) -> fx.GraphModule:
    """The graph with its changes; layers that change are copies that share their weights."""
    for node in in_place:
        first = _layer(node)
        layer = changed_copy(first, plan.settings[node])
        for path, other in list(traced.named_modules(remove_duplicate=False)):
            if plan.settings[node] and other is first:
                traced.set_submodule(path, layer)
    for node, dims in plan.crops.items():
        parts = [part for part in node.all_input_nodes if any(side.factor > 1 for side in plan.sides.get(part, ()))]
        name = add_layer(traced, "cropped", Cropped(dims))
        with traced.graph.inserting_before(node):
            for part in parts:
                crop = traced.graph.call_module(name, (part, *(other for other in parts if other is not part)))
                crop.meta = dict(part.meta)
                node.replace_input_with(part, crop)
    replaced: dict[fx.Node, fx.Node] = {}
    for node in list(traced.graph.nodes):
        change = plan.changes.get(node)
        if node in apart and plan.settings[node]:
            change = Change(changed_copy(_layer(node), plan.settings[node]), node.args, dict(node.kwargs))
        if change is None:
            continue
        args, kwargs = fx.node.map_arg((change.args, change.kwargs), lambda source: replaced.get(source, source))
        with traced.graph.inserting_before(node):
            if isinstance(change.target, nn.Module):
                name = str(node.target) if node.op == "call_module" else type(change.target).__name__.lower()
                new = traced.graph.call_module(add_layer(traced, name.replace(".", "_"), change.target), args, kwargs)
            else:
                new = traced.graph.call_function(change.target, args, kwargs)
        new.meta = dict(node.meta)
        node.replace_all_uses_with(new)
        traced.graph.erase_node(node)
        replaced[node] = new
    traced.delete_all_unused_submodules()
    traced.graph.lint()
    traced.recompile()
    return traced


def _layer(node: fx.Node) -> nn.Module:
    layer = module_of(node)
    assert layer is not None
    return layer
