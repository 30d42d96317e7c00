"""What each function of a classifier becomes when it is slid; those that layers have too are in `sliding_layers`.

Allowed on maps is what treats all places alike and looks at a neighborhood of fixed size.
"""

import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, fx

from pixelwise.errors import SurgeryError
from pixelwise.surgery.graph import described, value
from pixelwise.surgery.sliding import Axis, Cell, Fixed, Form, Map, Several, Slide, Window
from pixelwise.surgery.sliding_steps import (
    argument,
    at_each_place,
    copied,
    first,
    function_name,
    given,
    item,
    items,
    literal,
    places_of,
)

Rule = Callable[[Slide, fx.Node], Form]

ELEMENTWISE = (
    "add sub rsub subtract mul multiply truediv div divide true_divide pow neg negative pos abs exp exp2 expm1 log "
    "log2 log10 log1p sqrt rsqrt square reciprocal sign floor ceil round trunc sin cos tan sinh cosh asin acos atan "
    "erf relu relu6 leaky_relu elu selu celu gelu silu mish hardswish hardtanh hardsigmoid hardshrink softshrink "
    "sigmoid tanh softplus softsign logsigmoid tanhshrink threshold clamp clip clamp_min clamp_max minimum maximum "
    "where lerp addcmul addcdiv eq ne gt ge lt le logical_and logical_or logical_not and_ or_ invert masked_fill "
    "dropout alpha_dropout rrelu contiguous clone detach float double half bfloat16 to type type_as zeros_like "
    "ones_like nan_to_num"
)
REDUCTIONS = {"mean": "mean", "sum": "sum", "amax": "max", "max": "max"}  # to the pool
OTHER_REDUCTIONS = "amin min std var prod norm linalg_norm linalg_vector_norm logsumexp any all"
STATISTICS = ("dim", "unbiased", "keepdim")


def elementwise(slide: Slide, node: fx.Node) -> Form:
    """What treats each value alone, of one or several inputs."""
    forms = {before: slide.forms[before] for before in node.all_input_nodes}
    moving = [form for form in forms.values() if not isinstance(form, Fixed)]
    maps = [form for form in moving if isinstance(form, Map)]
    if maps:
        return _elementwise_on_maps(slide, node, maps, moving)
    tensors = [form for form in forms.values() if isinstance(form, Fixed) and _dimensions(form)]
    windows = [form for form in moving if isinstance(form, Window)]
    if len(windows) == len(moving) and not tensors and len({form.axes for form in windows}) == 1:
        aligned = {slide.stride(form.node) for form in windows}
        if len(aligned) == 1:
            return Window(copied(slide, node), windows[0].axes)
    cells = {before: slide.as_cell(node, form) for before, form in forms.items() if not isinstance(form, Fixed)}
    nodes = dict(zip(cells, slide.aligned(node, [cell.node for cell in cells.values()]), strict=True))
    for before, form in forms.items():
        if isinstance(form, Fixed) and _dimensions(form):
            nodes[before] = slide.method(node, "__getitem__", form.held, (Ellipsis, None, None))
    most = max(len(cell.shape) for cell in cells.values())
    if any(len(cell.shape) < most for cell in cells.values()):
        shapes = " and ".join(str(cell.shape) for cell in cells.values())
        raise SurgeryError(f"{described(node)} combines values of {shapes}; give all the same number of axes")
    return Cell(copied(slide, node, nodes), tuple(value(node).shape))


def _elementwise_on_maps(slide: Slide, node: fx.Node, maps: list[Map], moving: Sequence[Form]) -> Form:
    largest = max(maps, key=lambda form: form.window[0] * form.window[1])
    if len(maps) < len(moving) or len({form.window for form in maps}) > 1:
        raise SurgeryError(
            f"{described(node)} combines a map of {largest.window[0]} × {largest.window[1]} places with values of the "
            "whole window (as squeeze-and-excitation does); slid, each place lies in many windows. Convert the part "
            "of the network before it"
        )
    places = [axis - len(largest.axes) for axis in places_of(largest)]
    for before in node.all_input_nodes:
        form = slide.forms[before]
        held = value(before)
        if isinstance(form, Fixed) and isinstance(held, Tensor):
            if any(held.ndim >= -axis and held.shape[axis] > 1 for axis in places):
                raise SurgeryError(
                    f"{described(node)} combines a map with a weight for each place (a positional embedding), which "
                    "larger pictures have more places than"
                )
    if len({form.letters.replace("1", "c") for form in maps}) > 1:
        raise SurgeryError(f"{described(node)} combines maps of axes {' and '.join(form.letters for form in maps)}")
    shape = value(node).shape
    axes = tuple(
        axis if axis and axis[0][0] in "nhw" else (("c", int(shape[place])),) for place, axis in enumerate(largest.axes)
    )
    if len(axes) != len(shape):
        raise SurgeryError(f"{described(node)} gives a map more axes")
    nodes = None
    if largest.window == (1, 1) and len(maps) > 1 and all(form.letters == "nchw" for form in maps):
        nodes = _aligned_maps(slide, node)
    return Map(copied(slide, node, nodes), axes)


def _aligned_maps(slide: Slide, node: fx.Node) -> dict[fx.Node, fx.Node]:
    sources = [before for before in node.all_input_nodes if isinstance(slide.forms[before], Map)]
    return dict(zip(sources, slide.aligned(node, [slide.forms[source].node for source in sources]), strict=True))  # type: ignore[union-attr]


def linear_function(slide: Slide, node: fx.Node) -> Form:
    """F.linear, and a product with a weight: at each place."""
    if function_name(node) == "addmm":
        return _product_and_sum(slide, node)
    form = first(slide, node)
    if isinstance(form, Map) and form.window != (1, 1) and form.letters[-1] == "c" and _rest_is_fixed(slide, node):
        return Map(copied(slide, node), (*form.axes[:-1], (("c", value(node).shape[-1]),)))
    if not _rest_is_fixed(slide, node):
        raise SurgeryError(f"{described(node)} multiplies what both come from the picture, as attention does")
    return at_each_place(slide, node, slide.as_cell(node, form))


def _product_and_sum(slide: Slide, node: fx.Node) -> Form:
    """torch.addmm(bias, cells, weight)."""
    source = node.args[1] if len(node.args) > 1 else node.kwargs["mat1"]
    assert isinstance(source, fx.Node)
    if any(not isinstance(slide.forms[before], Fixed) for before in node.all_input_nodes if before is not source):
        raise SurgeryError(f"{described(node)} multiplies or adds what all comes from the picture, which has no rule")
    return at_each_place(slide, node, slide.as_cell(node, slide.forms[source]), source)


def reshaping(slide: Slide, node: fx.Node) -> Form:
    """Flattening and its kind, told by the sizes before and after."""
    return slide.reshaped(node, first(slide, node), tuple(value(node).shape))


def permuting(slide: Slide, node: fx.Node) -> Form:
    """Axes in another order."""
    form = first(slide, node)
    before = value(node.all_input_nodes[0])
    sizes = [size + 2 for size in range(before.ndim)]  # no two alike
    args = [torch.empty(sizes, device="meta"), *(literal(held) for held in node.args[1:])]
    kwargs = {name: literal(held) for name, held in node.kwargs.items() if name != "input"}
    call = getattr(args[0], node.target) if isinstance(node.target, str) else None
    moved = call(*args[1:], **kwargs) if call else node.target(*args, **kwargs)  # type: ignore[operator]
    order = [size - 2 for size in moved.shape]
    if isinstance(form, Cell):
        shape = tuple(form.shape[axis] for axis in order)
        return Cell(slide.method(node, "permute", form.node, *order, len(order), len(order) + 1), shape)
    assert isinstance(form, Map | Window)
    axes = tuple(form.axes[axis] for axis in order)
    return Window(form.node, axes) if isinstance(form, Window) else Map(copied(slide, node), axes)


def reducing(slide: Slide, node: fx.Node) -> Form:
    """A mean, sum or maximum: of channels at each place, or of the places of a window, which is a pool."""
    form, name = first(slide, node), function_name(node)
    if len(node.all_input_nodes) > 1 and isinstance(value(node.all_input_nodes[1]), Tensor):
        return elementwise(slide, node)  # torch.max of two
    dims = _reduction(node).get("dim")
    axes = value(node.all_input_nodes[0]).ndim
    if dims is None:
        raise SurgeryError(f"{described(node)} reduces the whole batch; name the axes")
    gone = sorted(dim % axes for dim in ([dims] if isinstance(dims, int) else dims))
    pairs = not isinstance(value(node), Tensor)  # values and their places
    result = reduced(slide, node, form, gone, keep=bool(_reduction(node).get("keepdim")), how=REDUCTIONS.get(name))
    return Several((result, None)) if pairs and not isinstance(result, Several) else result


def _reduction(node: fx.Node) -> dict[str, Any]:
    """The arguments of a reduction by their names."""
    name = function_name(node)
    names: tuple[str, ...] = ("dim", "keepdim")
    if name in ("std", "var"):
        names = STATISTICS
    elif "norm" in name:
        names = ("ord" if name.startswith("linalg") else "p", *names)
    held = [literal(one) for one in node.args[1:]]
    if names is STATISTICS and held and isinstance(held[0], bool):
        names = names[1:]
    options = dict(zip(names, held, strict=False))
    for key, one in node.kwargs.items():
        if key not in ("input", "self", "x", "A"):
            options["dim" if key == "axis" else key] = literal(one)
    return options


def reduced(slide: Slide, node: fx.Node, form: Form, gone: list[int], *, keep: bool, how: str | None) -> Form:
    """The form without some axes, or with ones in their place."""
    result = value(node)
    shape = tuple(result.shape if isinstance(result, Tensor) else result[0].shape)
    if 0 in gone:
        raise SurgeryError(f"{described(node)} reduces the batch")
    if isinstance(form, Map | Window):
        letters = {letter for axis in gone for letter, _ in form.axes[axis]}
        if letters <= {"h", "w"}:
            return _over_places(slide, node, form, gone, keep=keep, how=how)
        if isinstance(form, Map) and letters <= {"c"}:
            axes = tuple(
                (("c", 1),) if at in gone else axis for at, axis in enumerate(form.axes) if keep or at not in gone
            )
            called = copied(slide, node)
            return Map(called, axes) if isinstance(result, Tensor) else items(slide, node, called, Map, axes)
    cell = slide.as_cell(node, form)
    dims = gone if function_name(node) not in ("max", "min", "prod", "any", "all") else gone[0]
    options = _reduction(node) | {"dim": dims, "keepdim": keep}
    called = slide.put(node, node.op, node.target, cell.node, **options)
    return Cell(called, shape) if isinstance(result, Tensor) else items(slide, node, called, Cell, shape)


def _over_places(
    slide: Slide, node: fx.Node, form: Map | Window, gone: list[int], *, keep: bool, how: str | None
) -> Form:
    letters = {letter for axis in gone for letter, _ in form.axes[axis]}
    if how is None:
        raise SurgeryError(f"{described(node)} over the places of a window has no rule; a mean, sum or maximum has")
    source, _ = slide.canonical(node, form)
    sizes = value(source).shape[-2:]
    kernel = (int(sizes[0]) if "h" in letters else 1, int(sizes[1]) if "w" in letters else 1)
    axes: list[Axis] = []
    rest: Axis = ()  # so that the axes still name rows and columns
    for at, axis in enumerate(form.axes):
        ones = tuple((letter, 1) for letter, _ in axis)
        if at not in gone:
            axes.append(axis)
        elif keep:
            axes.append(ones)
        else:
            rest += ones
    axes[-1] += rest
    pooled = slide.pooled(node, source, kernel, how)
    if tuple(value(pooled).shape[-2:]) == (1, 1):
        shape = tuple(math.prod(size for _, size in axis) for axis in axes)
        return slide.reshaped(node, Cell(pooled, tuple(value(pooled).shape[:2])), shape)
    return slide.classified(node, Window(pooled, tuple(axes)), tuple(axes))


def joining(slide: Slide, node: fx.Node) -> Form:
    """Concatenation or stacking along channels."""
    stacked = function_name(node) == "stack"
    join = torch.stack if stacked else torch.cat
    dim = 1 if function_name(node) == "hstack" else int(given(node, 1, "dim", "axis", default=0)) % value(node).ndim
    pieces: Any = node.args[0] if node.args else node.kwargs["tensors"]
    several = slide.forms[pieces] if isinstance(pieces, fx.Node) else Several(tuple(slide.forms[one] for one in pieces))
    assert isinstance(several, Several)
    forms = [form for form in several.items if form is not None]
    if any(isinstance(form, Fixed) for form in forms):
        raise SurgeryError(f"{described(node)} joins values of the picture with a weight, which has no rule")
    if dim == 0:
        raise SurgeryError(f"{described(node)} joins pictures of the batch")
    maps = [form for form in forms if isinstance(form, Map)]
    if len(maps) == len(forms) and len({form.window for form in maps}) == 1:
        letters, axes = maps[0].letters, maps[0].axes
        if not stacked and (letters[dim] not in "c1" or len({form.letters.replace("1", "c") for form in maps}) > 1):
            raise SurgeryError(f"{described(node)} joins maps along places; channels alone can be joined")
        nodes = [form.node for form in maps]
        if maps[0].window == (1, 1) and letters == "nchw":
            nodes = slide.aligned(node, nodes)
        joined = (*axes[:dim], (("c", int(value(node).shape[dim])),), *axes[dim if stacked else dim + 1 :])
        return Map(slide.put(node, "call_function", join, nodes, dim), joined)
    nodes = slide.aligned(node, [slide.as_cell(node, form).node for form in forms])
    return Cell(slide.put(node, "call_function", join, nodes, dim), tuple(value(node).shape))


def splitting(slide: Slide, node: fx.Node) -> Form:
    """Pieces along channels."""
    form = first(slide, node)
    unbound = function_name(node) == "unbind"
    axis = int(given(node, 1 if unbound else 2, "dim", default=0)) % value(node.all_input_nodes[0]).ndim
    if isinstance(form, Map) and form.letters[axis] == "c":
        kept = form.axes[:axis] + form.axes[axis + 1 :]
        called = copied(slide, node)
        if unbound:
            return items(slide, node, called, Map, kept)
        pieces = []
        for index, piece in enumerate(value(node)):
            axes = (*form.axes[:axis], (("c", int(piece.shape[axis])),), *form.axes[axis + 1 :])
            pieces.append(Map(slide.put(node, "call_function", operator.getitem, called, index), axes))
        return Several(tuple(pieces))
    cell = slide.as_cell(node, form)
    if axis == 0:
        raise SurgeryError(f"{described(node)} splits the batch")
    rest = () if unbound else (given(node, 1, "chunks", "split_size_or_sections", "split_size"),)
    called = slide.put(node, "call_method", function_name(node), cell.node, *rest, dim=axis)
    parts = [slide.put(node, "call_function", operator.getitem, called, at) for at in range(len(value(node)))]
    return Several(tuple(Cell(part, tuple(own.shape)) for part, own in zip(parts, value(node), strict=True)))


def indexing(slide: Slide, node: fx.Node) -> Form:
    """An item of a tuple; slices and lists of channels; a cut or a step of rows and columns."""
    form = first(slide, node)
    index = argument(slide, node.args[1])
    if isinstance(form, Several):
        return Several(form.items[index]) if isinstance(index, slice) else item(node, form, int(index))
    sides = value(node.all_input_nodes[0]).shape
    parts = _by_axis(index, len(sides))
    lists = [part for part in parts if _picks(part)]
    if len(lists) > 1 or any(isinstance(part, bool) for part in parts) or (lists and not _is_list(lists[0])):
        raise SurgeryError(f"{described(node)} picks by a mask or several lists; use slices, or one list of channels")
    taken = [part for part in parts if part is not None]
    cuts = isinstance(form, Map) and any(_picks(part) or part not in (slice(None), 0, -1) for part in taken)
    whole = not lists and all(
        _is_all(part, side) or (part in (0, -1) and side == 1) for part, side in zip(taken, sides, strict=True)
    )
    if whole and not cuts:
        return reshaping(slide, node)
    if not _is_all(taken[0], 1):
        raise SurgeryError(f"{described(node)} picks a picture of the batch")
    if isinstance(form, Map) and form.window != (1, 1):
        return _cut(slide, node, form, parts)
    cell = slide.as_cell(node, form)
    return Cell(slide.method(node, "__getitem__", cell.node, tuple(parts)), tuple(value(node).shape))


def _by_axis(index: Any, axes: int) -> list[Any]:
    """The parts of an index, one for each axis, and None for a new one."""
    parts = list(index) if isinstance(index, tuple) else [index]
    missing = [slice(None)] * (axes - sum(part is not None and part is not Ellipsis for part in parts))
    at = next((place for place, part in enumerate(parts) if part is Ellipsis), None)
    return parts + missing if at is None else parts[:at] + missing + parts[at + 1 :]


def _picks(part: Any) -> bool:
    return isinstance(part, list | Tensor | fx.Node)


def _is_list(part: Any) -> bool:
    """Whether a part of an index picks channels by their numbers, not by a mask."""
    if isinstance(part, fx.Node):
        return bool(value(part).ndim == 1 and value(part).dtype != torch.bool)
    return isinstance(part, list) and all(isinstance(one, int) and not isinstance(one, bool) for one in part)


def _cut(slide: Slide, node: fx.Node, form: Map, parts: list[Any]) -> Form:
    raw = fx.node.map_arg(node.args[1], lambda before: slide.forms[before].held)  # type: ignore[union-attr]
    larger = _by_axis(raw, len(form.axes))
    axes = []
    at = 0
    shape = list(value(node).shape)
    for place, part in enumerate(parts):
        if part is None:
            axes.append((("c", 1),))
            shape.pop(0)
            continue
        axis = form.axes[at]
        at += 1
        places = bool(axis) and axis[0][0] in "hw"
        if places and not isinstance(part, slice):
            raise SurgeryError(
                f"{described(node)} picks single places of a map, which a larger picture has more of; pool instead"
            )
        if isinstance(part, int):
            continue
        if places and part != slice(None):
            _check_cut(slide, node, form, at - 1, larger[place])
        axes.append(((axis[0][0] if axis else "c", int(shape.pop(0))),))
    return Map(copied(slide, node, sizes_follow=True), tuple(axes))


def _check_cut(slide: Slide, node: fx.Node, form: Map, axis: int, raw: slice) -> None:
    """A cut takes away as many rows or columns from each border at all sizes of the picture.

    Args:
        raw: with the slid network's values.
    """
    side = value(form.node).shape[axis]
    growths = slide.growths(form.node, places_of(form))
    sizes = [(side, fx.node.map_arg(raw, value).indices(side))]
    for more in growths:
        larger = slide.at(form.node, more).shape[axis]
        sizes.append((larger, slide.at(raw, more).indices(larger)))
    if len({(start, step, side - stop) for side, (start, stop, step) in sizes}) > 1:
        raise SurgeryError(
            f"{described(node)} cuts a part that depends on the size: slid, windows would be cut at other places than "
            "the classifier's; cut a fixed number of rows or columns from the borders"
        )


def rearranging(slide: Slide, node: fx.Node) -> Form:
    """Channels picked, narrowed, repeated, expanded or turned around."""
    form, name = first(slide, node), function_name(node)
    axes = value(node.all_input_nodes[0]).ndim
    if not isinstance(form, Map) or form.window == (1, 1):
        form = slide.as_cell(node, form)
    args = [argument(slide, held) for held in node.args[1:]]
    kwargs = {key: argument(slide, held) for key, held in node.kwargs.items() if key not in ("input", "self")}
    if name in ("narrow", "index_select"):
        dim = int(kwargs.pop("dim") if "dim" in kwargs else args.pop(0)) % axes
        touched = {dim}
        args = [dim, *args]
    else:
        (given_sizes,) = kwargs.values() or [args[0] if isinstance(args[0], list | tuple) else args]
        numbers = [int(number) for number in given_sizes]
        kwargs = {}
        if name == "flip":
            touched = {number % axes for number in numbers}
            args = sorted(touched)
        else:
            still = [1 if name == "repeat" else -1] * (axes + 2)
            sides = value(node.all_input_nodes[0]).shape
            if len(numbers) != axes:
                raise SurgeryError(f"{described(node)} adds axes in front; unsqueeze a named one")
            touched = {
                axis
                for axis, (number, side) in enumerate(zip(numbers, sides, strict=True))
                if number != still[0] and not (name == "expand" and number == side)
            }
            args = [numbers[axis] if axis in touched else still[axis] for axis in range(axes)]
            if isinstance(form, Cell):
                args += still[axes:]
    if 0 in touched or (isinstance(form, Map) and any(form.letters[axis] not in "c1" for axis in touched)):
        raise SurgeryError(
            f"{described(node)} picks, turns or repeats rows, columns or pictures; with channels alone it can be slid"
        )
    if name == "flip":
        args = [args]
    called = slide.method(node, name, form.node, *args, **kwargs)
    if isinstance(form, Cell):
        return Cell(called, tuple(value(node).shape))
    kept = tuple((("c", int(value(node).shape[at])),) if at in touched else axis for at, axis in enumerate(form.axes))
    return Map(called, kept)


def attribute(slide: Slide, node: fx.Node) -> Form:
    """`.values` of a maximum, `.data`."""
    name = node.args[1]
    form = first(slide, node)
    if isinstance(form, Several):
        return item(node, form, 0 if name == "values" else 1)
    if name == "data":
        return form
    raise SurgeryError(f"{described(node)} has no rule for .{name}; use permute")


def _dimensions(form: Fixed) -> int:
    held = value(form.held) if isinstance(form.held, fx.Node) else form.held
    return held.ndim if isinstance(held, Tensor) else 0


def _rest_is_fixed(slide: Slide, node: fx.Node) -> bool:
    return all(isinstance(slide.forms[before], Fixed) for before in node.all_input_nodes[1:])


def _is_all(part: Any, side: int) -> bool:
    return isinstance(part, slice) and part.indices(side) == (0, side, 1)


def _each(names: str, rule: Rule) -> dict[str, Rule]:
    return dict.fromkeys(names.split(), rule)


FUNCTION_RULES: dict[str, Rule] = {
    **_each("getitem __getitem__", indexing),
    "getattr": attribute,
    **_each("flatten view reshape squeeze unsqueeze unflatten view_as reshape_as ravel", reshaping),
    **_each("permute transpose swapaxes swapdims movedim moveaxis t", permuting),
    **_each(ELEMENTWISE, elementwise),
    **_each("linear matmul mm addmm", linear_function),
    **dict.fromkeys(REDUCTIONS, reducing),
    **_each(OTHER_REDUCTIONS, reducing),
    **_each("cat concat concatenate stack hstack", joining),
    **_each("chunk split unbind tensor_split", splitting),
    **_each("narrow index_select flip repeat expand", rearranging),
}
