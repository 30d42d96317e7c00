"""Steps of a classifier that change their input, also where nothing uses what they return.

A change must be seen by all that share the input's memory in the classifier, and by nothing else. In the slid network
other values share memory than in the classifier: there a flattened map is the map, and a cell may be a copy.
"""

import inspect
from collections.abc import Callable
from typing import Any

import torch.nn.functional as F
from torch import Tensor, fx, nn

from pixelwise.errors import SurgeryError
from pixelwise.surgery.graph import described, value
from pixelwise.surgery.sliding import Fixed, Form, Several, Slide

VIEWS = set(
    "flatten view reshape squeeze unsqueeze unflatten view_as reshape_as ravel permute transpose swapaxes swapdims "
    "movedim moveaxis t getitem __getitem__ getattr narrow expand chunk split unbind tensor_split contiguous detach "
    "float double half bfloat16 to type type_as dropout unfold".split()
)
VIEW_LAYERS = (nn.Flatten, nn.Unflatten, nn.Identity, nn.Dropout, nn.Dropout2d)


def is_in_place(node: fx.Node, layer: nn.Module | None) -> bool:
    """Whether a step changes its first input."""
    if node.op == "call_module":
        return bool(getattr(layer, "inplace", False))
    name = _name(node)
    if name.endswith("_") and not name.endswith("__") and name not in ("and_", "or_"):
        return True
    given: Any = node.kwargs.get("inplace", False)
    if node.op == "call_function" and getattr(F, name, None) is node.target:
        try:
            arguments = inspect.signature(node.target).bind(*node.args, **node.kwargs).arguments
        except (TypeError, ValueError):
            return bool(given)
        given = arguments.get("inplace", given)
    return bool(given)


def change(slide: Slide, node: fx.Node, form: Form) -> None:
    """Let what shares the memory of an input that `node` changed to `form` be changed, too.

    Raises:
        SurgeryError: something that is used later would be changed in one of the two networks alone.
    """
    first = node.args[0] if node.args else node.kwargs["input"]
    assert isinstance(first, fx.Node)
    before, after = slide.forms[first], getattr(form, "node", None)
    order = {step: place for place, step in enumerate(node.graph.nodes)}
    owner = memory(first, slide.layers)
    for other, its in list(slide.forms.items()):
        later = any(order[user] > order[node] for user in other.users)
        if other is node or not later or isinstance(its, Several):
            continue
        held = its.held if isinstance(its, Fixed) else its.node
        shared = isinstance(held, fx.Node) and isinstance(after, fx.Node) and _same(slide, held, after)
        if memory(other, slide.layers) is not owner:
            if shared and not isinstance(before, Fixed):
                raise _lost(node, other)
        elif _alike(value(other), value(first)):
            slide.forms[other] = form
        elif not shared:
            raise _lost(node, other)


def memory(node: fx.Node, layers: dict[str, nn.Module], of: Callable[[fx.Node], Any] = value) -> fx.Node:
    """The step that made the memory in which a step's values lie.

    Args:
        of: gives a step's values.
    """
    while node.op not in ("placeholder", "get_attr", "output") and node.all_input_nodes:
        source = node.all_input_nodes[0]
        layer = layers.get(str(node.target)) if node.op == "call_module" else None
        name = _name(node).removesuffix("_")
        if not (is_in_place(node, layer) or name in VIEWS or isinstance(layer, VIEW_LAYERS)):
            return node
        pair = of(node), of(source)
        if all(isinstance(held, Tensor) for held in pair) and len({held.untyped_storage()._cdata for held in pair}) > 1:
            return node
        node = source
    return node


def _same(slide: Slide, first: fx.Node, second: fx.Node) -> bool:
    layers = dict(slide.traced.named_modules())
    return memory(first, layers, slide.far_value) is memory(second, layers, slide.far_value)


def _alike(first: Any, second: Any) -> bool:
    """Whether two values of one memory are the same."""
    return (
        isinstance(first, Tensor)
        and isinstance(second, Tensor)
        and (first.shape, first.stride(), first.storage_offset())
        == (second.shape, second.stride(), second.storage_offset())
    )


def _lost(node: fx.Node, other: fx.Node) -> SurgeryError:
    return SurgeryError(
        f"{described(node)} changes its input in place, and {described(other)}, another view of it, is used later; "
        "slid they are no views of each other. Do it out of place"
    )


def _name(node: fx.Node) -> str:
    return node.target if isinstance(node.target, str) else str(getattr(node.target, "__name__", ""))
