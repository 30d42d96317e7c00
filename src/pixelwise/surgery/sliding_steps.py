"""How the rules of sliding read a step of the classifier, and write it down again on the slid network's values."""

import operator
from typing import Any

import torch
from torch import Tensor, fx

from pixelwise.errors import SurgeryError
from pixelwise.surgery.graph import described, value
from pixelwise.surgery.sliding import Cell, Fixed, Form, Map, Pair, Several, Slide


def first(slide: Slide, node: fx.Node) -> Form:
    """The form of the first input, which is the picture's."""
    given = node.args[0] if node.args else node.kwargs.get("input", None)
    form = slide.forms[given] if isinstance(given, fx.Node) else None
    if form is None or isinstance(form, Fixed):
        raise SurgeryError(f"{described(node)} takes a weight for its first input and the picture for another; no rule")
    return form


def function_name(node: fx.Node) -> str:
    """Of a function or method, without what tells that it is done in place."""
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
    assert isinstance(name, str)
    if getattr(operator, name, None) is node.target and name.startswith("i") and hasattr(operator, name[1:]):
        return name[1:]  # iadd, imul, …
    return name if name in ("and_", "or_") or name.endswith("__") else name.removesuffix("_")


def given(node: fx.Node, place: int, *names: str, default: Any = None) -> Any:
    """An argument of a function or method, by its place or one of its names."""
    for name in names:
        if name in node.kwargs:
            return literal(node.kwargs[name])
    return literal(node.args[place]) if len(node.args) > place else default


def literal(held: Any) -> Any:
    """An argument with the numbers that the classifier has."""
    number = value(held) if isinstance(held, fx.Node) else fx.node.map_arg(held, value)
    return tuple(number) if isinstance(number, torch.Size) else number


def argument(slide: Slide, held: Any) -> Any:
    """An argument with the numbers that the classifier has, and the slid network's weights."""

    def mapped(before: fx.Node) -> Any:
        form = slide.forms[before]
        return form.held if isinstance(form, Fixed) and has_tensor(value(before)) else literal(before)

    return fx.node.map_arg(held, mapped)


def has_tensor(held: Any) -> bool:
    """Whether a value is a tensor or a tuple with one."""
    return isinstance(held, Tensor) or (isinstance(held, list | tuple) and any(has_tensor(one) for one in held))


def places_of(form: Map) -> Pair:
    """The axes of rows and columns."""
    return form.letters.index("h"), form.letters.index("w")


def copied(
    slide: Slide, node: fx.Node, nodes: dict[fx.Node, Any] | None = None, *, sizes_follow: bool = False
) -> fx.Node:
    """The step itself, on the slid network's values, or on those given.

    Args:
        sizes_follow: sizes that were taken from maps are those of the larger maps, not the classifier's.
    """

    def mapped(before: fx.Node) -> Any:
        if nodes is not None and before in nodes:
            return nodes[before]
        form = slide.forms[before]
        assert not isinstance(form, Several)
        if not isinstance(form, Fixed):
            return form.node
        return form.held if sizes_follow or has_tensor(value(before)) else literal(before)

    args, kwargs = fx.node.map_arg((node.args, node.kwargs), mapped)
    if node.op == "call_module":
        return slide.layer(node, "as it is", None, *args, **kwargs)
    return slide.put(node, node.op, node.target, *args, **kwargs)


def at_each_place(slide: Slide, node: fx.Node, cell: Cell, source: fx.Node | None = None) -> Cell:
    """The step as it is, the places of all pictures as its batch.

    Args:
        source: the input that the cell stands for, the first if left out.
    """
    rows, columns = (slide.method(node, "size", cell.node, axis) for axis in (-2, -1))
    moved = slide.method(node, "movedim", cell.node, (-2, -1), (1, 2))
    batch = slide.method(node, "flatten", moved, 0, 2)
    called = copied(slide, node, {source or node.all_input_nodes[0]: batch})
    apart = slide.method(node, "unflatten", called, 0, (-1, rows, columns))
    return Cell(slide.method(node, "movedim", apart, (1, 2), (-2, -1)), tuple(value(node).shape))


def items(slide: Slide, node: fx.Node, called: fx.Node, kind: Any, axes: Any) -> Several:
    """The items of a tuple that a step gives, each a `kind` of these axes."""
    return Several(
        tuple(
            kind(slide.put(node, "call_function", operator.getitem, called, index), axes)
            for index in range(len(value(node)))
        )
    )


def item(node: fx.Node, form: Several, index: int) -> Form:
    """One form of several."""
    held = form.items[index]
    if held is None:
        raise SurgeryError(f"{described(node)} takes places of maxima, which a larger picture numbers otherwise")
    return held
