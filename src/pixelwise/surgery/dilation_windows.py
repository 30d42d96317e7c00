"""What windows and borders need on denser maps: convolutions, pools and pads.

Windows take each f-th cell and borders are f times as wide; the stride is what is left between the grid before it and
the one behind it.
"""

import inspect
from collections.abc import Sequence
from math import prod
from typing import Any, NamedTuple

import torch
from torch import fx, nn

from pixelwise.surgery.dilated_pools import DilatedAvgPool2d, DilatedMaxPool2d, pair
from pixelwise.surgery.dilation_nodes import WHOLE, arguments, holds_node, name_of, refuse, shape_of
from pixelwise.surgery.dilation_plan import Change, Pair, Plan, Settings, Side, changed_copy, length_of
from pixelwise.surgery.graph import module_of

BORDER = "_reversed_padding_repeated_twice"  # torch's border of a convolution that does not pad by zeros


class Window(NamedTuple):
    """Numbers of a convolution or a pool, for rows and columns; `after` is the border behind the map."""

    kernel: Pair
    stride: Pair
    padding: Pair
    dilation: Pair
    after: Pair


def convolution(plan: Plan, node: fx.Node) -> tuple[Side, ...]:
    """A layer."""
    layer = module_of(node)
    assert isinstance(layer, nn.Conv2d)
    options = {name: getattr(layer, name) for name in ("stride", "padding", "dilation")}
    settings, sides = _convolved(plan, node, node.args[0], layer.kernel_size, options, plan.dilate_first)
    if settings and not _is_torchs(layer, nn.Conv2d, "forward", "_conv_forward"):
        exact, _ = _convolved(plan, node, node.args[0], layer.kernel_size, options, False)
        _try(plan, node, layer, exact)
    plan.settings[node] = settings
    return sides


def conv2d(plan: Plan, node: fx.Node) -> tuple[Side, ...]:
    """F.conv2d."""
    call = arguments(node, ("input", "weight", "bias", "stride", "padding", "dilation", "groups"))
    options = {name: call.get(name, default) for name, default in (("stride", 1), ("padding", 0), ("dilation", 1))}
    kernel = shape_of(call["weight"])
    if kernel is None or holds_node(options):
        refuse(node)
    settings, sides = _convolved(plan, node, call["input"], kernel[2:], options, plan.dilate_first)
    if settings:
        settings.pop(BORDER)
        assert callable(node.target)
        plan.changes[node] = Change(node.target, (), call | settings)
    return sides


def _convolved(
    plan: Plan, node: fx.Node, source: Any, kernel: Sequence[int], options: Settings, dilate_first: bool
) -> tuple[Settings, tuple[Side, ...]]:
    sizes, dilation = pair(tuple(kernel)), pair(options["dilation"])
    given = options["padding"]
    spans = (dilation[0] * (sizes[0] - 1), dilation[1] * (sizes[1] - 1))
    if given == "same":
        padding = spans[0] // 2, spans[1] // 2
        after = spans[0] - padding[0], spans[1] - padding[1]
    else:
        padding = after = (0, 0) if given == "valid" else pair(given)
    window = Window(sizes, pair(options["stride"]), padding, dilation, after)
    new, sides = _window(plan, node, source, window, dilate_first)
    if new == window:
        return {}, sides
    if padding != after and (new.padding, new.after) != (padding, after):
        refuse(node, 'pads "same" with an even kernel, which torch cannot do for a denser map')
    (top, left), (below, behind) = new.padding, new.after
    settings = {"stride": new.stride, "dilation": new.dilation, BORDER: [left, behind, top, below]}
    return settings | ({} if isinstance(given, str) else {"padding": new.padding}), sides


def _window(
    plan: Plan, node: fx.Node, source: Any, window: Window, dilate_first: bool = False
) -> tuple[Window, tuple[Side, ...]]:
    """The window on the denser maps, and what comes of it."""
    sides = plan.sides.get(source, ()) if isinstance(source, fx.Node) else ()
    if len(sides) != 4 or sides[0].factor > 1 or sides[1].factor > 1 or node not in plan.wanted:
        refuse(node)
    axes, grown = [], []
    for side, goal, kernel, stride, padding, dilation, after in zip(sides[2:], plan.wanted[node], *window, strict=True):
        left, rest = divmod(side.factor * stride, goal)
        if rest:
            refuse(node)
        spread = goal if dilate_first and left < stride and kernel > 1 else side.factor
        dilation = dilation * spread if kernel > 1 else dilation
        axes.append((kernel, left, padding * spread, dilation, after * spread))
        more = (padding + after) * spread - dilation * (kernel - 1)
        grown.append(Side(goal, length_of(side, more, left)))
    down, right = axes
    return Window(*zip(down, right, strict=True)), (*sides[:1], Side(1, (node, 1)), *grown)


def pool(plan: Plan, node: fx.Node) -> tuple[Side, ...]:
    """A layer."""
    layer = module_of(node)
    assert isinstance(layer, nn.MaxPool2d | nn.AvgPool2d)
    plan.settings[node], sides = _pooled(plan, node, node.args[0], layer)
    return sides


def pool2d(plan: Plan, node: fx.Node) -> tuple[Side, ...]:
    """F.max_pool2d, F.avg_pool2d."""
    kind = nn.MaxPool2d if "max" in name_of(node) else nn.AvgPool2d
    names = [name for name in inspect.signature(kind).parameters if name != "return_indices"]
    call = arguments(node, ("input", *names))
    source = call.pop("input")
    if call.pop("return_indices", False):
        refuse(node, "gives indices, which belong to one grid")
    if holds_node(call):
        refuse(node, WHOLE)
    layer = kind(**call)
    settings, sides = _pooled(plan, node, source, layer)
    if settings:
        plan.changes[node] = Change(changed_copy(layer, settings), (source,), {})
    return sides


def _pooled(
    plan: Plan, node: fx.Node, source: Any, layer: nn.MaxPool2d | nn.AvgPool2d
) -> tuple[Settings, tuple[Side, ...]]:
    kind, own = (
        (nn.MaxPool2d, DilatedMaxPool2d) if isinstance(layer, nn.MaxPool2d) else (nn.AvgPool2d, DilatedAvgPool2d)
    )
    if not (isinstance(layer, own) or _is_torchs(layer, kind, "forward")):
        refuse(node)
    if getattr(layer, "return_indices", False):
        refuse(node, "gives indices, which belong to one grid")
    kernel, stride, padding = pair(layer.kernel_size), pair(layer.stride), pair(layer.padding)
    dilation = pair(getattr(layer, "dilation", 1))
    extra: Pair = getattr(layer, "extra", (0, 0))
    if layer.ceil_mode:  # the last window may be cut by the border, and begins in the map
        down, right = (
            min(s - 1, d * (k - 1) - p) for k, s, p, d in zip(kernel, stride, padding, dilation, strict=True)
        )
        extra = max(down, 0), max(right, 0)
    after = padding[0] + extra[0], padding[1] + extra[1]
    window = Window(kernel, stride, padding, dilation, after)
    new, sides = _window(plan, node, source, window)
    if new == window:
        return {}, sides
    wide = any(2 * border > k for border, k in zip(new.padding, kernel, strict=True))
    holes = kind is nn.AvgPool2d and (new.dilation != (1, 1) or new.padding != padding)
    settings: Settings = {"stride": _short(new.stride), "padding": _short(new.padding)}
    if kind is nn.MaxPool2d or holes:
        settings["dilation"] = _short(new.dilation)
    if isinstance(layer, own) or layer.ceil_mode or wide or holes:
        extra = new.after[0] - new.padding[0], new.after[1] - new.padding[1]
        settings |= {"__class__": own, "dilation": new.dilation, "extra": extra, "ceil_mode": False}
    return settings, sides


def _try(plan: Plan, node: fx.Node, layer: nn.Conv2d, settings: Settings) -> None:
    """A convolution with a forward of its own must follow its stride, padding and dilation."""
    source = node.args[0]
    assert isinstance(source, fx.Node)
    down, right = (side.factor for side in plan.sides[source][2:])
    below, behind = plan.wanted[node]
    if layer.weight.is_meta:
        refuse(node, "has a forward of its own, which cannot be tried on the meta device; pass it with weights")
    dense = changed_copy(layer, settings)
    modes = {module: module.training for module in layer.modules()}
    layer.eval()
    try:
        for more in range(2):
            sides = [
                4 * s + d * (k - 1) + more
                for k, s, d in zip(layer.kernel_size, layer.stride, layer.dilation, strict=True)
            ]
            few = torch.linspace(0, 50, layer.in_channels * prod(sides)).sin().to(layer.weight)
            few = few.reshape(1, layer.in_channels, *sides)
            many = few.new_zeros(1, layer.in_channels, sides[0] * down, sides[1] * right)
            many[..., ::down, ::right] = few
            with torch.no_grad():
                expected, found = layer(few), dense(many)[..., ::below, ::behind]
            if found.shape != expected.shape or not torch.allclose(found, expected, rtol=1e-3, atol=1e-3):
                refuse(node, "has a forward of its own that does not follow its stride, padding and dilation")
    finally:
        for module, training in modes.items():
            module.training = training


def pad_layer(plan: Plan, node: fx.Node) -> tuple[Side, ...]:
    """A layer."""
    layer: Any = module_of(node)
    borders, sides = _padded(plan, node.args[0], list(layer.padding))
    plan.settings[node] = {} if borders == list(layer.padding) else {"padding": tuple(borders)}
    return sides


def pad(plan: Plan, node: fx.Node) -> tuple[Side, ...]:
    """F.pad."""
    call = arguments(node, ("input", "pad", "mode", "value"))
    if holds_node(call["pad"]):
        refuse(node)
    borders, sides = _padded(plan, call["input"], list(call["pad"]))
    if borders != list(call["pad"]):
        assert callable(node.target)
        plan.changes[node] = Change(node.target, (), call | {"pad": borders})
    return sides


def _padded(plan: Plan, source: Any, borders: list[int]) -> tuple[list[int], tuple[Side, ...]]:
    sides = list(plan.of(source))
    for place in range(0, len(borders), 2):
        dim = len(sides) - 1 - place // 2
        factor, (root, cells) = sides[dim]
        borders[place : place + 2] = [factor * border for border in borders[place : place + 2]]
        sides[dim] = Side(factor, (root, cells + sum(borders[place : place + 2])))
    return borders, tuple(sides)


def _short(both: Pair) -> int | Pair:
    return both[0] if both[0] == both[1] else both


def _is_torchs(layer: nn.Module, kind: type[nn.Module], *methods: str) -> bool:
    return all(getattr(type(layer), method) is getattr(kind, method) for method in methods)
