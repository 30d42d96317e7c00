"""What each layer and function of a classifier becomes when it is slid; what has no rule is refused.

Allowed on maps is what treats all places alike and looks at a neighborhood of fixed size. A layer that pads does so at
the border of the picture alone, no longer at that of each window.
"""

import copy
import itertools
import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn

from pixelwise.errors import SurgeryError
from pixelwise.surgery.graph import described, value
from pixelwise.surgery.sliding import Cell, Fixed, Form, Map, Pair, Several, Slide, Window

Rule = Callable[[Slide, fx.Node], Form]

LOCAL_LAYERS = (
    nn.Conv2d,
    nn.ConvTranspose2d,
    nn.MaxPool2d,
    nn.AvgPool2d,
    nn.LPPool2d,
    nn.BatchNorm2d,
    nn.LocalResponseNorm,
    nn.Upsample,
    nn.ZeroPad2d,
    nn.ConstantPad2d,
    nn.ReflectionPad2d,
    nn.ReplicationPad2d,
    nn.PixelShuffle,
    nn.PixelUnshuffle,
    nn.ChannelShuffle,
    nn.Dropout2d,
    nn.FeatureAlphaDropout,
    nn.Softmax2d,
)
LOCAL_FUNCTIONS = set(
    "conv2d conv_transpose2d max_pool2d avg_pool2d lp_pool2d batch_norm local_response_norm pad interpolate upsample "
    "pixel_shuffle pixel_unshuffle channel_shuffle dropout2d".split()
)
ELEMENTWISE_LAYERS = (nn.Identity, nn.Dropout, nn.AlphaDropout)
NOT_ELEMENTWISE = (nn.MultiheadAttention, nn.Softmax, nn.LogSoftmax, nn.Softmin, nn.Softmax2d, nn.GLU, nn.PReLU)
ELEMENTWISE_FUNCTIONS = set(
    "add sub rsub subtract mul multiply truediv div divide true_divide pow neg negative pos abs exp expm1 log log1p "
    "sqrt rsqrt square reciprocal sign sin cos erf relu relu6 leaky_relu elu selu celu gelu silu mish hardswish "
    "hardtanh hardsigmoid hardshrink softshrink sigmoid tanh softplus softsign logsigmoid tanhshrink threshold clamp "
    "clip clamp_min clamp_max minimum maximum where lerp addcmul addcdiv eq ne gt ge lt le logical_and logical_or "
    "logical_not and_ or_ invert masked_fill dropout alpha_dropout rrelu contiguous clone detach float double half "
    "bfloat16 to type type_as zeros_like ones_like nan_to_num".split()
)
BY_CHANNEL_FUNCTIONS = {"softmax", "log_softmax", "softmin", "glu", "normalize", "cumsum", "argmax", "argsort"}
RESHAPING_FUNCTIONS = set("flatten view reshape squeeze unsqueeze unflatten view_as reshape_as ravel".split())
PERMUTING_FUNCTIONS = set("permute transpose swapaxes swapdims movedim moveaxis t".split())
REDUCTIONS = {"mean": "mean", "sum": "sum", "amax": "max", "max": "max"}  # to the pool
OTHER_REDUCTIONS = {"amin", "min", "std", "var", "prod", "norm", "logsumexp", "any", "all"}


def form_of(slide: Slide, node: fx.Node) -> Form:
    """The form in the slid network of what a step of the classifier gives.

    Raises:
        SurgeryError: it has none.
    """
    inputs = [slide.forms[before] for before in node.all_input_nodes]
    if not _has_tensor(value(node)):
        if any(isinstance(form, Window | Cell | Several) for form in inputs):
            return Fixed(_literal(node))
        return Fixed(_copied(slide, node, sizes_follow=True))
    if all(isinstance(form, Fixed) for form in inputs):
        return Fixed(_copied(slide, node))
    rule = _layer_rule(slide.layer_of(node)) if node.op == "call_module" else _function_rule(node)
    if rule is None:
        raise SurgeryError(
            f"{described(node)} has no rule: what it does to a window of a larger picture is not known; convert the "
            "part of the network before it, or write it in operations that treat all places alike"
        )
    form = rule(slide, node)
    if isinstance(form, Cell) and len(form.shape) == 4:
        form = slide.reshaped(node, form, form.shape)
    _check(slide, node, form)
    return form


def _layer_rule(layer: nn.Module | None) -> Rule | None:
    for kinds, rule in LAYER_RULES:
        if isinstance(layer, kinds):
            return rule
    if _is_activation(layer):
        return elementwise
    return local if isinstance(layer, LOCAL_LAYERS) else None


def _function_rule(node: fx.Node) -> Rule | None:
    name = function_name(node)
    for names, rule in FUNCTION_RULES:
        if name in names:
            return rule
    return None


def function_name(node: fx.Node) -> str:
    """Of a function or method, without what tells that it is done in place."""
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
    assert isinstance(name, str)
    if getattr(operator, name, None) is node.target and name.startswith("i") and hasattr(operator, name[1:]):
        return name[1:]  # iadd, imul, …
    return name if name in ("and_", "or_") else name.removesuffix("_")


def linear(slide: Slide, node: fx.Node) -> Form:
    """A linear layer: on a window, the convolution with the same numbers."""
    form, layer = _first(slide, node), slide.layer_of(node)
    assert isinstance(layer, nn.Linear)
    if isinstance(form, Map) and form.window != (1, 1):
        if form.letters[-1] == "c":
            return Map(slide.layer(node, "as it is", None, form.node), (*form.axes[:-1], (("c", layer.out_features),)))
        raise SurgeryError(f"{described(node)} mixes the columns of a map, which a larger picture has more of")
    if type(layer).forward is not nn.Linear.forward:
        raise SurgeryError(f"{described(node)} is a linear layer with a forward of its own; make it an nn.Linear")
    if isinstance(form, Window) and len(form.axes) == 2:
        source, order = slide.canonical(node, form)
        kernel = tuple(value(source).shape[-2:])
        channels = int(value(source).shape[1])
    else:
        cell = slide.as_cell(node, form)
        if len(cell.shape) > 2:
            return _at_each_place(slide, node, cell)
        source, kernel, order, channels = cell.node, (1, 1), "chw", cell.shape[1]
    steps = slide.steps(source, kernel)
    made = nn.Conv2d(channels, layer.out_features, kernel, steps, bias=layer.bias is not None, device="meta")
    made.to(layer.weight.dtype)
    called = slide.layer(node, (kernel, steps, order), made, source)
    if slide.traced.get_submodule(str(called.target)) is made:
        slide.fills.append(lambda: _as_convolution(layer, made, order))
    return Cell(called, (1, layer.out_features))


def _as_convolution(layer: nn.Linear, made: nn.Conv2d, order: str) -> None:
    sizes = dict(zip("chw", made.weight.shape[1:], strict=True))
    weight = layer.weight.detach().reshape(-1, *(sizes[letter] for letter in order))
    weight = weight.permute(0, *(1 + order.index(letter) for letter in "chw"))
    made.weight = nn.Parameter(weight.contiguous(), layer.weight.requires_grad)
    if layer.bias is not None:
        made.bias = nn.Parameter(layer.bias.detach(), layer.bias.requires_grad)


def linear_function(slide: Slide, node: fx.Node) -> Form:
    """F.linear, and a product with a weight: at each place."""
    form = _first(slide, node)
    if isinstance(form, Map) and form.window != (1, 1) and form.letters[-1] == "c" and _rest_is_fixed(slide, node):
        return Map(_copied(slide, node), (*form.axes[:-1], (("c", value(node).shape[-1]),)))
    if not _rest_is_fixed(slide, node):
        raise SurgeryError(f"{described(node)} multiplies what both come from the picture, as attention does")
    return _at_each_place(slide, node, slide.as_cell(node, form))


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
            return Window(_copied(slide, node), windows[0].axes)
    cells = {before: slide.as_cell(node, form) for before, form in forms.items() if not isinstance(form, Fixed)}
    nodes = dict(zip(cells, slide.aligned(node, [cell.node for cell in cells.values()]), strict=True))
    for before, form in forms.items():
        if isinstance(form, Fixed) and _dimensions(form):
            nodes[before] = slide.method(node, "__getitem__", form.held, (Ellipsis, None, None))
    most = max(len(cell.shape) for cell in cells.values())
    if any(len(cell.shape) < most for cell in cells.values()):
        shapes = " and ".join(str(cell.shape) for cell in cells.values())
        raise SurgeryError(f"{described(node)} combines values of {shapes}; give all the same number of axes")
    return Cell(_copied(slide, node, nodes), tuple(value(node).shape))


def _elementwise_on_maps(slide: Slide, node: fx.Node, maps: list[Map], moving: Sequence[Form]) -> Form:
    largest = max(maps, key=lambda form: form.window[0] * form.window[1])
    if len(maps) < len(moving) or len({form.window for form in maps}) > 1:
        raise SurgeryError(
            f"{described(node)} combines a map of {largest.window[0]} × {largest.window[1]} places with values of the "
            "whole window (as squeeze-and-excitation does); slid, each place lies in many windows. Convert the part "
            "of the network before it"
        )
    places = [axis - len(largest.axes) for axis in _places_of(largest)]
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
    return Map(_copied(slide, node, nodes), axes)


def _aligned_maps(slide: Slide, node: fx.Node) -> dict[fx.Node, fx.Node]:
    sources = [before for before in node.all_input_nodes if isinstance(slide.forms[before], Map)]
    return dict(zip(sources, slide.aligned(node, [slide.forms[source].node for source in sources]), strict=True))  # type: ignore[union-attr]


def prelu(slide: Slide, node: fx.Node) -> Form:
    """One slope for each channel, axis 1, or one for all."""
    form = _first(slide, node)
    if isinstance(form, Map) and form.letters[1] == "c":
        return Map(_copied(slide, node), form.axes)
    cell = slide.as_cell(node, form)
    return Cell(_copied(slide, node, {node.all_input_nodes[0]: cell.node}), cell.shape)


def local(slide: Slide, node: fx.Node) -> Form:
    """A neighborhood of each place of a map (N, C, H, W)."""
    form = _first(slide, node)
    if not isinstance(form, Map) or form.letters != "nchw":
        if node.op != "call_module" and function_name(node) == "batch_norm":
            cell = slide.as_cell(node, form)
            return Cell(_copied(slide, node, {node.all_input_nodes[0]: cell.node}), cell.shape)
        raise SurgeryError(f"{described(node)} is given no map (N, C, H, W) whose places are the picture's")
    if any(not isinstance(slide.forms[before], Fixed) for before in node.all_input_nodes[1:]):
        raise SurgeryError(f"{described(node)} has weights that come from the picture")
    result = value(node)
    if not isinstance(result, Tensor):
        raise SurgeryError(f"{described(node)} gives indices of places, which a larger picture numbers otherwise")
    enlarges = isinstance(slide.layer_of(node), nn.Upsample) or function_name(node) in ("interpolate", "upsample")
    called = _copied(slide, node, sizes_follow=enlarges)
    (_, channels, *window) = value(called).shape
    if enlarges and slide.grows(called):
        _check_scale(slide, node, form, called)
    return Map(called, (form.axes[0], (("c", channels),), (("h", window[0]),), (("w", window[1]),)))


def _check_scale(slide: Slide, node: fx.Node, form: Map, called: fx.Node) -> None:
    """What is enlarged has places that are as much finer as they are more."""
    strides = zip(slide.stride(form.node), slide.stride(called), strict=True)
    for (before, after), rows, result in zip(strides, form.window, value(called).shape[-2:], strict=True):
        if result >= (rows + 1) * before / after:
            raise SurgeryError(
                f"{described(node)} spreads {rows} places over {result}, and neighboring windows would do so over each "
                "other; convert the part of the network before it"
            )


def average_pool(slide: Slide, node: fx.Node) -> Form:
    """An average pool; one over the whole map is taken at every place, whatever its stride."""
    form = _first(slide, node)
    whole = None
    if isinstance(form, Map) and form.letters == "nchw":
        whole = _whole_map(slide, node, form.window)
    if whole is None:
        return local(slide, node)
    assert isinstance(form, Map)
    steps = slide.steps(form.node, form.window)
    made = nn.AvgPool2d(form.window, steps, divisor_override=whole.divisor_override)
    if node.op == "call_module":
        called = slide.layer(node, (form.window, steps), made, form.node)
    else:
        called = slide.new_layer(node, "pool", made, form.node)
    return Map(called, (*form.axes[:2], (("h", 1),), (("w", 1),)))


def _whole_map(slide: Slide, node: fx.Node, window: Pair) -> nn.AvgPool2d | None:
    layer = slide.layer_of(node)
    if layer is None:
        given = [_literal(before) for before in (*node.args[1:],)]
        layer = nn.AvgPool2d(*given, **{name: _literal(held) for name, held in node.kwargs.items() if name != "input"})
    assert isinstance(layer, nn.AvgPool2d)
    unpadded = _pair(layer.padding) == (0, 0)
    return layer if _pair(layer.kernel_size) == window and unpadded and window != (1, 1) else None


def adaptive_pool(slide: Slide, node: fx.Node) -> Form:
    """An adaptive pool: the pool of the windows that it has at the size of the classifier."""
    form, layer = _first(slide, node), slide.layer_of(node)
    name = type(layer).__name__ if layer is not None else function_name(node)
    how = "max" if "max" in name.lower() else "mean"
    result = value(node)
    if not isinstance(result, Tensor):
        raise SurgeryError(f"{described(node)} gives indices of places, which a larger picture numbers otherwise")
    if isinstance(form, Window) and result.ndim == 3 and result.shape[-1] == 1:
        return _reduced(slide, node, form, [2], keep=True, how=how)
    if not isinstance(form, Map) or form.letters != "nchw" or result.ndim != 4:
        raise SurgeryError(f"{described(node)} is given no map (N, C, H, W) whose places are the picture's")
    after = (int(result.shape[-2]), int(result.shape[-1]))
    windows = [_even_windows(before, cells) for before, cells in zip(form.window, after, strict=True)]
    if None in windows:
        raise SurgeryError(
            f"{described(node)} makes {after[0]} × {after[1]} of {form.window[0]} × {form.window[1]} places, by "
            "windows of different sizes or distances; choose an input_size that gives it a multiple"
        )
    (down, right) = (window for window in windows if window is not None)
    kernel = (down[0], right[0])
    on_grid = slide.steps(form.node, kernel)
    steps = (on_grid[0] if after[0] == 1 else down[1], on_grid[1] if after[1] == 1 else right[1])
    axes = (*form.axes[:2], (("h", after[0]),), (("w", after[1]),))
    if kernel == (1, 1):
        return Map(slide.sampled(node, form.node, steps), axes)
    made = nn.MaxPool2d(kernel, steps) if how == "max" else nn.AvgPool2d(kernel, steps)
    if layer is not None:
        return Map(slide.layer(node, (kernel, steps), made, form.node), axes)
    return Map(slide.new_layer(node, "pool", made, form.node), axes)


def _even_windows(before: int, after: int) -> Pair | None:
    """The size and distance of torch's adaptive windows, ⌊i·b/a⌋ to ⌈(i + 1)·b/a⌉; None where they differ.

    >>> _even_windows(14, 7), _even_windows(5, 2), _even_windows(7, 4)
    ((2, 2), (3, 2), None)
    """
    starts = [place * before // after for place in range(after)]
    sizes = {-(-(place + 1) * before // after) - start for place, start in enumerate(starts)}
    distances = {second - first for first, second in itertools.pairwise(starts)} or {1}
    return (sizes.pop(), distances.pop()) if len(sizes) == len(distances) == 1 and 0 not in distances else None


def reshaping(slide: Slide, node: fx.Node) -> Form:
    """Flattening and its kind, told by the sizes before and after."""
    return slide.reshaped(node, _first(slide, node), tuple(value(node).shape))


def permuting(slide: Slide, node: fx.Node) -> Form:
    """Axes in another order."""
    form = _first(slide, node)
    before = value(node.all_input_nodes[0])
    sizes = [size + 2 for size in range(before.ndim)]  # no two alike
    args = [torch.empty(sizes, device="meta"), *(_literal(held) for held in node.args[1:])]
    kwargs = {name: _literal(held) for name, held in node.kwargs.items() if name != "input"}
    call = getattr(args[0], node.target) if isinstance(node.target, str) else None
    moved = call(*args[1:], **kwargs) if call else node.target(*args, **kwargs)  # type: ignore[operator]
    order = [size - 2 for size in moved.shape]
    if isinstance(form, Cell):
        shape = tuple(form.shape[axis] for axis in order)
        return Cell(slide.method(node, "permute", form.node, *order, len(order), len(order) + 1), shape)
    assert isinstance(form, Map | Window)
    axes = tuple(form.axes[axis] for axis in order)
    return Window(form.node, axes) if isinstance(form, Window) else Map(_copied(slide, node), axes)


def reducing(slide: Slide, node: fx.Node) -> Form:
    """A mean, sum or maximum: of channels at each place, or of the places of a window, which is a pool."""
    form, name = _first(slide, node), function_name(node)
    if len(node.all_input_nodes) > 1 and isinstance(value(node.all_input_nodes[1]), Tensor):
        return elementwise(slide, node)  # torch.max of two
    at = 2 if name == "norm" else 1
    dims = _given(node, at, "dim", "axis")
    keep = bool(_given(node, at + 1, "keepdim", default=False))
    axes = value(node.all_input_nodes[0]).ndim
    if dims is None:
        raise SurgeryError(f"{described(node)} reduces the whole batch; name the axes")
    reduced = sorted(dim % axes for dim in ([dims] if isinstance(dims, int) else dims))
    pairs = not isinstance(value(node), Tensor)  # values and their places
    how = REDUCTIONS.get(name) if not (name == "max" and not pairs) else None
    result = _reduced(slide, node, form, reduced, keep=keep, how=how)
    return Several((result, None)) if pairs and not isinstance(result, Several) else result


def _reduced(slide: Slide, node: fx.Node, form: Form, reduced: list[int], *, keep: bool, how: str | None) -> Form:
    result = value(node)
    shape = tuple(result.shape if isinstance(result, Tensor) else result[0].shape)
    if 0 in reduced:
        raise SurgeryError(f"{described(node)} reduces the batch")
    if isinstance(form, Map | Window):
        letters = {letter for axis in reduced for letter, _ in form.axes[axis]}
        if letters <= {"h", "w"}:
            return _over_places(slide, node, form, reduced, keep=keep, how=how)
        if isinstance(form, Map) and letters <= {"c"}:
            axes = tuple(
                (("c", 1),) if at in reduced else axis for at, axis in enumerate(form.axes) if keep or at not in reduced
            )
            called = _copied(slide, node)
            return Map(called, axes) if isinstance(result, Tensor) else _items(slide, node, called, Map, axes)
    cell = slide.as_cell(node, form)
    called = _with_axes(slide, node, cell, reduced, keep)
    return Cell(called, shape) if isinstance(result, Tensor) else _items(slide, node, called, Cell, shape)


def _over_places(
    slide: Slide, node: fx.Node, form: Map | Window, reduced: list[int], *, keep: bool, how: str | None
) -> Form:
    gone = {letter: 1 for axis in reduced for letter, _ in form.axes[axis]}
    if how is None:
        raise SurgeryError(f"{described(node)} over the places of a window has no rule; a mean, sum or maximum has")
    source, _ = slide.canonical(node, form)
    sizes = value(source).shape[-2:]
    kernel = (int(sizes[0]) if "h" in gone else 1, int(sizes[1]) if "w" in gone else 1)
    axes: list[tuple[tuple[str, int], ...]] = []
    for at, axis in enumerate(form.axes):
        ones = tuple((letter, 1) for letter, _ in axis)
        if at not in reduced:
            axes.append(axis)
        elif keep:
            axes.append(ones)
        else:
            axes[-1] += ones
    pooled = slide.pooled(node, source, kernel, how)
    if tuple(value(pooled).shape[-2:]) == (1, 1):
        shape = tuple(math.prod(size for _, size in axis) for axis in axes)
        return slide.reshaped(node, Cell(pooled, tuple(value(pooled).shape[:2])), shape)
    return slide.classified(node, Window(pooled, tuple(axes)), tuple(axes))


def _with_axes(slide: Slide, node: fx.Node, cell: Cell, reduced: list[int], keep: bool) -> fx.Node:
    name = function_name(node)
    first: Any = reduced if name not in ("max", "min", "prod") else reduced[0]
    extra = (_literal(node.args[1]),) if name == "norm" and len(node.args) > 1 else ()
    options = {k: _literal(held) for k, held in node.kwargs.items() if k not in ("input", "dim", "keepdim")}
    return slide.put(node, "call_method", name, cell.node, *extra, first, keepdim=keep, **options)


def joining(slide: Slide, node: fx.Node) -> Form:
    """Concatenation or stacking along channels."""
    stacked = function_name(node) == "stack"
    join = torch.stack if stacked else torch.cat
    dim = int(_given(node, 1, "dim", "axis", default=0)) % value(node).ndim
    given: Any = node.args[0] if node.args else node.kwargs["tensors"]
    several = slide.forms[given] if isinstance(given, fx.Node) else Several(tuple(slide.forms[one] for one in given))
    assert isinstance(several, Several)
    forms = [form for form in several.items if form is not None]
    if any(isinstance(form, Fixed) for form in forms):
        raise SurgeryError(f"{described(node)} joins values of the picture with a weight, which has no rule")
    if dim == 0:
        raise SurgeryError(f"{described(node)} joins pictures of the batch")
    maps = [form for form in forms if isinstance(form, Map)]
    if len(maps) == len(forms) and len({form.window for form in maps}) == 1:
        letters, axes = maps[0].letters, maps[0].axes
        if not stacked and (letters[dim] != "c" or len({form.letters for form in maps}) > 1):
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
    form = _first(slide, node)
    unbound = function_name(node) == "unbind"
    axis = int(_given(node, 1 if unbound else 2, "dim", default=0)) % value(node.all_input_nodes[0]).ndim
    if isinstance(form, Map) and form.letters[axis] == "c":
        kept = form.axes[:axis] + form.axes[axis + 1 :]
        called = _copied(slide, node)
        if unbound:
            return _items(slide, node, called, Map, kept)
        items = []
        for index, piece in enumerate(value(node)):
            axes = (*form.axes[:axis], (("c", int(piece.shape[axis])),), *form.axes[axis + 1 :])
            items.append(Map(slide.put(node, "call_function", operator.getitem, called, index), axes))
        return Several(tuple(items))
    cell = slide.as_cell(node, form)
    if axis == 0:
        raise SurgeryError(f"{described(node)} splits the batch")
    rest = () if unbound else (_given(node, 1, "chunks", "split_size_or_sections", "split_size"),)
    called = slide.put(node, "call_method", function_name(node), cell.node, *rest, dim=axis)
    pieces = [slide.put(node, "call_function", operator.getitem, called, at) for at in range(len(value(node)))]
    return Several(tuple(Cell(piece, tuple(own.shape)) for piece, own in zip(pieces, value(node), strict=True)))


def indexing(slide: Slide, node: fx.Node) -> Form:
    """An item of a tuple; slices of channels; a cut or a step of rows and columns."""
    form, index = _first(slide, node), _literal(node.args[1])
    if isinstance(form, Several):
        return Several(form.items[index]) if isinstance(index, slice) else _item(node, form, int(index))
    parts = list(index) if isinstance(index, tuple) else [index]
    if any(isinstance(part, Tensor | list) or isinstance(part, bool) for part in parts):
        raise SurgeryError(f"{described(node)} picks by a list or tensor; use slices")
    sides = value(node.all_input_nodes[0]).shape
    if Ellipsis in parts:
        at = parts.index(Ellipsis)
        parts[at : at + 1] = [slice(None)] * (len(sides) - sum(part is not None for part in parts) + 1)
    parts += [slice(None)] * (len(sides) - sum(part is not None for part in parts))
    taken = [part for part in parts if part is not None]
    cuts = isinstance(form, Map) and any(part not in (slice(None), 0, -1) for part in taken)
    whole = all(_is_all(part, side) or (part in (0, -1) and side == 1) for part, side in zip(taken, sides, strict=True))
    if whole and not cuts:
        return reshaping(slide, node)
    if not _is_all(taken[0], 1):
        raise SurgeryError(f"{described(node)} picks a picture of the batch")
    if isinstance(form, Map) and form.window != (1, 1):
        return _cut(slide, node, form, parts)
    cell = slide.as_cell(node, form)
    return Cell(slide.method(node, "__getitem__", cell.node, tuple(parts)), tuple(value(node).shape))


def _cut(slide: Slide, node: fx.Node, form: Map, parts: list[Any]) -> Form:
    axes = []
    at = 0
    shape = list(value(node).shape)
    for part in parts:
        if part is None:
            axes.append((("c", 1),))
            shape.pop(0)
            continue
        axis = form.axes[at]
        at += 1
        if isinstance(part, int):
            if axis and axis[0][0] in "hw":
                raise SurgeryError(
                    f"{described(node)} picks one place of a map, which a larger picture has more of; pool instead"
                )
            continue
        axes.append(((axis[0][0] if axis else "c", int(shape.pop(0))),))
    return Map(_copied(slide, node, sizes_follow=True), tuple(axes))


def attribute(slide: Slide, node: fx.Node) -> Form:
    """`.values` of a maximum, `.data`."""
    name = node.args[1]
    form = _first(slide, node)
    if isinstance(form, Several):
        return _item(node, form, 0 if name == "values" else 1)
    if name == "data":
        return form
    raise SurgeryError(f"{described(node)} has no rule for .{name}; use permute")


def by_channel(slide: Slide, node: fx.Node) -> Form:
    """A softmax and its kind, along an axis that is none of places."""
    form, layer = _first(slide, node), slide.layer_of(node)
    axes = value(node.all_input_nodes[0]).ndim
    at = 2 if function_name(node) == "normalize" else 1
    given: Any = layer.dim if layer is not None else _given(node, at, "dim")
    default = -1 if function_name(node) == "glu" else 1
    dim = (default if given is None else int(given)) % axes
    result = value(node).shape
    if isinstance(form, Map):
        if form.letters[dim] == "c":
            kept = tuple((("c", int(result[dim])),) if index == dim else axis for index, axis in enumerate(form.axes))
            return Map(_copied(slide, node), kept)
        if form.letters[dim] in "nhw" and form.window != (1, 1):
            raise SurgeryError(f"{described(node)} goes over the places of a map, as attention does")
    cell = slide.as_cell(node, form)
    if layer is not None:
        made = copy.copy(layer)
        made.dim = dim
        return Cell(slide.layer(node, dim, made, cell.node), tuple(result))
    args = [cell.node, *(_literal(held) for held in node.args[1:at])]
    kwargs = {name: _literal(held) for name, held in node.kwargs.items() if name not in ("input", "dim", "_stacklevel")}
    return Cell(slide.put(node, node.op, node.target, *args, dim=dim, **kwargs), tuple(result))


def norm_of_cells(slide: Slide, node: fx.Node) -> Form:
    """BatchNorm1d: a BatchNorm2d with the same numbers."""
    layer = slide.layer_of(node)
    assert isinstance(layer, nn.BatchNorm1d)
    cell = slide.as_cell(node, _first(slide, node))
    if len(cell.shape) != 2:
        raise SurgeryError(f"{described(node)} is given (N, C, L), which has no rule; (N, C) has")
    made = nn.BatchNorm2d(
        layer.num_features, layer.eps, layer.momentum, layer.affine, layer.track_running_stats, device="meta"
    )
    made.to(value(node).dtype)
    called = slide.layer(node, "cells", made, cell.node)

    def fill() -> None:
        made._parameters.update(layer._parameters)
        made._buffers.update(layer._buffers)

    slide.fills.append(fill)
    return Cell(called, cell.shape)


def norm_of_last_axis(slide: Slide, node: fx.Node) -> Form:
    """LayerNorm and RMSNorm: over channels, when these are last, or over cells."""
    form = _first(slide, node)
    layer = slide.layer_of(node)
    shape = layer.normalized_shape if layer is not None else _given(node, 1, "normalized_shape")
    assert isinstance(shape, Sequence)
    if isinstance(form, Map) and form.window != (1, 1):
        if set(form.letters[-len(shape) :]) == {"c"}:
            return Map(_copied(slide, node), form.axes)
        raise SurgeryError(
            f"{described(node)} normalizes over the places of a map; a larger picture has more, and other statistics"
        )
    return _at_each_place(slide, node, slide.as_cell(node, form))


def norm_of_map(slide: Slide, node: fx.Node) -> Form:
    """GroupNorm and InstanceNorm: of cells alone."""
    form = _first(slide, node)
    if isinstance(form, Map) and form.window != (1, 1):
        raise SurgeryError(
            f"{described(node)} normalizes by the statistics of the whole map, which in a larger picture are not those "
            "of a window; a classifier with batch norm can be converted"
        )
    return _at_each_place(slide, node, slide.as_cell(node, form))


def _at_each_place(slide: Slide, node: fx.Node, cell: Cell) -> Cell:
    """The step as it is, the places of all pictures as its batch."""
    rows, columns = (slide.method(node, "size", cell.node, axis) for axis in (-2, -1))
    moved = slide.method(node, "movedim", cell.node, (-2, -1), (1, 2))
    batch = slide.method(node, "flatten", moved, 0, 2)
    called = _copied(slide, node, {node.all_input_nodes[0]: batch})
    apart = slide.method(node, "unflatten", called, 0, (-1, rows, columns))
    return Cell(slide.method(node, "movedim", apart, (1, 2), (-2, -1)), tuple(value(node).shape))


def _first(slide: Slide, node: fx.Node) -> Form:
    given = node.args[0] if node.args else node.kwargs.get("input", None)
    form = slide.forms[given] if isinstance(given, fx.Node) else None
    if form is None or isinstance(form, Fixed):
        raise SurgeryError(f"{described(node)} takes a weight for its first input and the picture for another; no rule")
    return form


def _copied(
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
        return form.held if sizes_follow or _has_tensor(value(before)) else _literal(before)

    args, kwargs = fx.node.map_arg((node.args, node.kwargs), mapped)
    if node.op == "call_module":
        return slide.layer(node, "as it is", None, *args, **kwargs)
    return slide.put(node, node.op, node.target, *args, **kwargs)


def _items(slide: Slide, node: fx.Node, called: fx.Node, kind: Any, axes: Any) -> Several:
    return Several(
        tuple(
            kind(slide.put(node, "call_function", operator.getitem, called, index), axes)
            for index in range(len(value(node)))
        )
    )


def _item(node: fx.Node, form: Several, index: int) -> Form:
    item = form.items[index]
    if item is None:
        raise SurgeryError(f"{described(node)} takes places of maxima, which a larger picture numbers otherwise")
    return item


def _check(slide: Slide, node: fx.Node, form: Form) -> None:
    """The node of a form has the sizes that it should, and more of them in a larger picture."""
    if isinstance(form, Map):
        places = _places_of(form)
        expected = tuple(value(node).shape) == tuple(value(form.node).shape)
    elif isinstance(form, Cell):
        places = (-2, -1)
        expected = (*value(node).shape, 1, 1) == tuple(value(form.node).shape)
    else:
        return
    if not expected:
        raise SurgeryError(f"{described(node)} cannot be slid: it gives {tuple(value(form.node).shape)} there")
    if not slide.grows(form.node, places):
        raise SurgeryError(
            f"{described(node)} gives {tuple(value(form.node).shape)} at every size of the picture; let it follow the "
            "size of its input, or convert the part of the network before it"
        )


def _places_of(form: Map) -> Pair:
    return form.letters.index("h"), form.letters.index("w")


def _literal(held: Any) -> Any:
    """An argument with the numbers that the classifier has."""
    number = value(held) if isinstance(held, fx.Node) else fx.node.map_arg(held, value)
    return tuple(number) if isinstance(number, torch.Size) else number


def _given(node: fx.Node, place: int, *names: str, default: Any = None) -> Any:
    """An argument of a function or method, by its place or one of its names."""
    for name in names:
        if name in node.kwargs:
            return _literal(node.kwargs[name])
    return _literal(node.args[place]) if len(node.args) > place else default


def _dimensions(form: Fixed) -> int:
    held = value(form.held) if isinstance(form.held, fx.Node) else form.held
    return held.ndim if isinstance(held, Tensor) else 0


def _rest_is_fixed(slide: Slide, node: fx.Node) -> bool:
    return all(isinstance(slide.forms[before], Fixed) for before in node.all_input_nodes[1:])


def _pair(size: Any) -> Pair:
    return (int(size), int(size)) if isinstance(size, int) else (int(size[0]), int(size[1]))


def _is_all(part: Any, side: int) -> bool:
    return isinstance(part, slice) and part.indices(side) == (0, side, 1)


def _has_tensor(held: Any) -> bool:
    return isinstance(held, Tensor) or (isinstance(held, list | tuple) and any(_has_tensor(one) for one in held))


def _is_activation(layer: nn.Module | None) -> bool:
    own = any(base.__module__ == "torch.nn.modules.activation" for base in type(layer).__mro__)
    return isinstance(layer, ELEMENTWISE_LAYERS) or (own and not isinstance(layer, NOT_ELEMENTWISE))


LAYER_RULES: list[tuple[Any, Rule]] = [
    ((nn.Flatten, nn.Unflatten), reshaping),
    (nn.Linear, linear),
    (nn.AvgPool2d, average_pool),
    ((nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d, nn.AdaptiveAvgPool1d, nn.AdaptiveMaxPool1d), adaptive_pool),
    ((nn.Softmax, nn.LogSoftmax, nn.Softmin, nn.GLU), by_channel),
    (nn.PReLU, prelu),
    (nn.BatchNorm1d, norm_of_cells),
    ((nn.LayerNorm, nn.RMSNorm), norm_of_last_axis),
    ((nn.GroupNorm, nn.InstanceNorm2d), norm_of_map),
]
FUNCTION_RULES: list[tuple[set[str], Rule]] = [
    ({"getitem", "__getitem__"}, indexing),
    ({"getattr"}, attribute),
    (RESHAPING_FUNCTIONS, reshaping),
    (PERMUTING_FUNCTIONS, permuting),
    (ELEMENTWISE_FUNCTIONS, elementwise),
    ({"linear", "matmul", "mm"}, linear_function),
    ({"avg_pool2d"}, average_pool),
    ({"adaptive_avg_pool2d", "adaptive_max_pool2d", "adaptive_avg_pool1d", "adaptive_max_pool1d"}, adaptive_pool),
    (set(REDUCTIONS) | OTHER_REDUCTIONS, reducing),
    ({"cat", "concat", "concatenate", "stack"}, joining),
    ({"chunk", "split", "unbind", "tensor_split"}, splitting),
    (BY_CHANNEL_FUNCTIONS, by_channel),
    ({"prelu"}, prelu),
    ({"layer_norm", "rms_norm"}, norm_of_last_axis),
    ({"group_norm", "instance_norm"}, norm_of_map),
    (LOCAL_FUNCTIONS, local),
]
