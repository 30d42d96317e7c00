"""What operations need that leave the cells of denser maps as they are: cuts, reductions, other shapes, joins.

Cell by cell, and along other dimensions than rows and columns, nothing is needed. Maps that are joined may come by
ways whose borders differ, so that a map of n cells has others between its last and the end than its twin; the longer
one is cropped, which takes no original cell.
"""

import operator
from collections.abc import Hashable, Iterable, Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor, fx

from pixelwise.surgery.dilation_nodes import (
    STATISTICS,
    WHOLE,
    arguments,
    dims_of,
    holds_node,
    name_of,
    refuse,
    shape_of,
)
from pixelwise.surgery.dilation_plan import Change, Plan, Side, length_of
from pixelwise.surgery.graph import Step, module_of, value


def same(plan: Plan, node: fx.Node) -> tuple[Side, ...]:
    """Cell by cell."""
    return plan.of(node.args[0] if node.args else next(iter(node.kwargs.values())))


def batch_norm(plan: Plan, node: fx.Node) -> tuple[Side, ...]:
    """A batch norm: nothing, if it has statistics of its training."""
    layer: Any = module_of(node)
    own = layer.running_mean is None if layer else arguments(node, ("input", "mean")).get("mean") is None
    return _along(plan, node, range(len(plan.of(node.args[0]))) if own else (), STATISTICS)


def _along(plan: Plan, node: fx.Node, dims: Iterable[int], reason: str = "") -> tuple[Side, ...]:
    """Works along these dimensions, which must be no rows and columns of a denser map."""
    sides = same(plan, node)
    if any(sides[dim].factor > 1 for dim in dims):
        refuse(node, reason)
    return sides


def along_dim(plan: Plan, node: fx.Node) -> tuple[Side, ...]:
    """A softmax and its kind, along one dimension."""
    layer: Any = module_of(node)
    if layer is None:
        position = {"normalize": 2}.get(name_of(node), 1)
        default = {"normalize": 1, "glu": -1}.get(name_of(node))
        dim = arguments(node, [*map(str, range(position)), "dim"]).get("dim", default)
    else:
        dim = layer.dim
    return _along(plan, node, dims_of(node, dim, len(same(plan, node))))


def last(plan: Plan, node: fx.Node) -> tuple[Side, ...]:
    """A layer norm, a linear layer."""
    layer: Any = module_of(node)
    norm = "norm" in name_of(node)
    shape = (layer.normalized_shape if layer else arguments(node, ("input", "shape"))["shape"]) if norm else (1,)
    return _along(plan, node, range(-len(shape), 0), STATISTICS if norm else WHOLE)


def reduce(plan: Plan, node: fx.Node) -> tuple[Side, ...]:
    """mean, sum, max … over dimensions, which stay or go."""
    call = arguments(node, ("input", "p", "dim") if name_of(node) == "norm" else ("input", "dim"))
    if isinstance(call.get("dim", call.get("other")), fx.Node):
        return join(plan, node)
    sides = plan.of(call["input"])
    dims = dims_of(node, call.get("dim"), len(sides))
    if any(sides[dim].factor > 1 for dim in dims):
        refuse(node, WHOLE)
    if len(shape_of(node) or ()) == len(sides):
        return sides
    return tuple(side for dim, side in enumerate(sides) if dim not in dims)


def indexing(plan: Plan, node: fx.Node) -> tuple[Side, ...]:
    """values[…, 1:-1, ::2]; an element of a tuple."""
    source, index = node.args
    assert isinstance(source, fx.Node)
    given = value(source)
    if not isinstance(given, Tensor):
        return element(plan, node)
    items = list(index) if isinstance(index, tuple) else [index]
    if any(isinstance(item, fx.Node | list) for item in items):
        refuse(node)
    missing = given.ndim - sum(item is not None and item is not ... for item in items)
    place = next((place for place, item in enumerate(items) if item is ...), len(items))
    items[place : place + 1] = [slice(None)] * missing
    goals = dict(zip((2, 3), plan.wanted.get(node, ()), strict=False))
    sides: list[Side] = []
    rest = iter(plan.of(source))
    for place, item in enumerate(items):
        if item is None:
            sides.append(Side(1, (node, len(sides))))
            continue
        side = next(rest)
        if item == slice(None):
            sides.append(side)
        elif isinstance(item, slice):
            goal = goals.get(len(sides), side.factor)
            like = plan.sizes.get(item.stop) if isinstance(item.stop, fx.Node) else None
            if like is not None and (item.start, item.step, side.factor) == (None, None, like.factor):
                sides.append(Side(side.factor, (frozenset((side.length, like.length)), 0)))
                continue
            items[place], length = _denser_slice(node, item, side, goal)
            sides.append(Side(goal, length))
        elif side.factor > 1:
            refuse(node)
    before = [slice(None), *(index if isinstance(index, tuple) else [index])]
    if any(item not in before for item in items):
        plan.changes[node] = Change(operator.getitem, (source, tuple(items)), {})
    return tuple(sides)


def _denser_slice(node: fx.Node, taken: slice, side: Side, goal: int) -> tuple[slice, tuple[Hashable, int]]:
    """The slice of a denser dimension, and its length."""
    if side.factor == goal == 1:
        return taken, ((side.length, str(taken)), 0)
    start, stop, step = taken.start or 0, taken.stop, taken.step or 1
    if holds_node([start, stop, step]):
        refuse(node, "cuts a map that would become denser at a computed row or column")
    left, rest = divmod(side.factor * step, goal)
    if rest or start < 0 or (stop is not None and stop >= 0):
        refuse(node, "cuts a map that would become denser at a fixed row or column")
    start, stop = start * side.factor, None if stop is None else stop * side.factor
    return slice(start, stop, left), length_of(side, -start + (stop or 0), left)


def element(plan: Plan, node: fx.Node) -> tuple[Side, ...]:
    """Of a tuple that an operation gave, or that was made of maps."""
    source = node.args[0]
    assert isinstance(source, fx.Node)
    if isinstance(value(source), Tensor):  # values.T, values.real
        refuse(node)
    if source in plan.sides:
        return plan.sides[source]
    return next((plan.of(part) for part in source.all_input_nodes if value(part) is value(node)), ())


def split(plan: Plan, node: fx.Node) -> tuple[Side, ...]:
    """chunk, split, unbind: tuples, whose elements have the sides of the node."""
    unbind = name_of(node) == "unbind"
    call = arguments(node, ("input", "dim") if unbind else ("input", "sizes", "dim"))
    sides = plan.of(call["input"])
    (dim,) = dims_of(node, call.get("dim", 0), len(sides))
    if sides[dim].factor > 1:
        refuse(node)
    return (*sides[:dim], *([] if unbind else [Side(1, (node, dim))]), *sides[dim + 1 :])


def permute(plan: Plan, node: fx.Node) -> tuple[Side, ...]:
    """permute, transpose …: tried on a tensor whose sizes tell its dimensions."""
    source, *args = node.args
    sides = plan.of(source)
    name, sizes = name_of(node), range(2, 2 + len(sides))
    moved: Tensor = getattr(torch.empty(*sizes, device="meta"), name)(*args, **node.kwargs)
    return tuple(sides[size - 2] for size in moved.shape)


def reshape(plan: Plan, node: fx.Node) -> tuple[Side, ...]:
    """view, reshape, flatten, squeeze …: denser dimensions stay, the others may be made new."""
    source = node.args[0]
    sides, before, after = plan.of(source), shape_of(source), shape_of(node)
    assert before is not None and after is not None
    given: Any = None
    if name_of(node) in ("view", "reshape"):
        given = [*node.args[1:], *node.kwargs.values()]
        given = given[0] if len(given) == 1 and isinstance(given[0], fx.Node | list | tuple) else given
    found = [Side(1, (node, dim)) for dim in range(len(after))]
    for dim, side in enumerate(sides):
        fits = [
            other
            for other in range(len(after))
            if prod(before[:dim]) == prod(after[:other]) and after[other] == before[dim] > 1
        ]
        if side.factor == 1 and not fits:
            continue
        if not fits:
            refuse(node, WHOLE)
        if side.factor > 1 and given is not None:
            size = given if isinstance(given, fx.Node) else given[fits[0]]
            if size != -1 and size not in plan.sizes:
                refuse(node, "asks for the size that a map has now")
        found[fits[0]] = side
    return tuple(found)


def join(plan: Plan, node: fx.Node) -> tuple[Side, ...]:
    """Cell by cell from several tensors, which may be spread along dimensions where they have one cell."""
    return _joined(plan, node, node.all_input_nodes, None)


def cat(plan: Plan, node: fx.Node) -> tuple[Side, ...]:
    """Along a dimension that does not become denser."""
    call = arguments(node, ("tensors", "dim"))
    (dim,) = dims_of(node, call.get("dim", call.get("axis", 0)), len(shape_of(node) or ()))
    return _joined(plan, node, call["tensors"], dim)


def stack(plan: Plan, node: fx.Node) -> tuple[Side, ...]:
    """Along a new dimension."""
    call = arguments(node, ("tensors", "dim"))
    (dim,) = dims_of(node, call.get("dim", 0), len(shape_of(node) or ()))
    sides = [*_joined(plan, node, call["tensors"], None, len(shape_of(node) or ()) - 1)]
    sides.insert(dim, Side(1, (node, dim)))
    return tuple(sides)


def _joined(
    plan: Plan, node: fx.Node, parts: Sequence[Any], along: int | None, ndim: int | None = None
) -> tuple[Side, ...]:
    ndim = len(shape_of(node) or ()) if ndim is None else ndim
    sides = []
    for dim in range(-ndim, 0):
        met = [
            plan.sides[part][dim]
            for part in parts
            if part in plan.sides and len(plan.sides[part]) >= -dim and not _spreads(plan, part, dim)
        ]
        factors = {side.factor for side in met} or {1}
        if len(factors) > 1 or (along == ndim + dim and factors != {1}):
            refuse(node, "joins a map that would become denser with one that would not")
        if along == ndim + dim or not met:
            sides.append(Side(1, (node, dim)))
        elif factors != {1} and len(set(met)) > 1:
            plan.crops.setdefault(node, []).append(dim)
            sides.append(Side(met[0].factor, ((node, dim), 0)))
        else:
            sides.append(met[0])
    return tuple(sides)


def _spreads(plan: Plan, part: fx.Node, dim: int) -> bool:
    """Has one cell there, which torch spreads over the other's."""
    return plan.sides[part][dim].factor == 1 and (shape_of(part) or ())[dim] == 1


def crop(plan: Plan, node: fx.Node) -> tuple[Side, ...]:
    """What `Cropped` gives: as many cells as the shortest has."""
    layer = module_of(node)
    assert isinstance(layer, Cropped)
    sides = list(same(plan, node))
    for dim in layer.dims:
        lengths = frozenset(plan.of(part)[dim].length for part in node.all_input_nodes)
        sides[dim] = Side(sides[dim].factor, (lengths, 0))
    return tuple(sides)


class Cropped(Step):
    """The first cells of a tensor, along some dimensions as many as the shortest of all tensors has."""

    def __init__(self, dims: Sequence[int]) -> None:
        super().__init__()
        self.dims = tuple(dims)

    def forward(self, values: Tensor, *others: Tensor) -> Tensor:
        """The cells of `values`."""
        for dim in self.dims:
            values = values.narrow(dim, 0, min(one.shape[dim] for one in (values, *others)))
        return values
