"""What each layer of a classifier becomes when it is slid, and the functions that do the same.

Allowed on maps is what treats all places alike and looks at a neighborhood of fixed size. A layer that pads does so at
the border of the picture alone, no longer at that of each window.
"""

import copy
import itertools
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn

from pixelwise.errors import SurgeryError
from pixelwise.surgery.graph import described, value
from pixelwise.surgery.matrix_conv import MatrixConv2d
from pixelwise.surgery.sliding import Cell, Fixed, Form, Map, Pair, Slide, Window
from pixelwise.surgery.sliding_functions import Rule, elementwise, reduced, reshaping
from pixelwise.surgery.sliding_steps import at_each_place, copied, first, function_name, given, literal

POOLS: dict[type[nn.Module], tuple[str, tuple[str, ...]]] = {
    nn.AvgPool2d: (
        "avg_pool2d",
        ("kernel_size", "stride", "padding", "ceil_mode", "count_include_pad", "divisor_override"),
    ),
    nn.MaxPool2d: (
        "max_pool2d",
        ("kernel_size", "stride", "padding", "dilation", "ceil_mode", "return_indices"),
    ),
    nn.LPPool2d: ("lp_pool2d", ("norm_type", "kernel_size", "stride", "ceil_mode")),
}


def linear(slide: Slide, node: fx.Node) -> Form:
    """A linear layer: on a window, the convolution with the same numbers."""
    form, layer = first(slide, node), slide.layer_of(node)
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
            return at_each_place(slide, node, cell)
        source, kernel, order, channels = cell.node, (1, 1), "chw", cell.shape[1]
    steps = slide.steps(node, source, kernel)
    made = MatrixConv2d(channels, layer.out_features, kernel, steps, bias=layer.bias is not None, device="meta")
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


def prelu(slide: Slide, node: fx.Node) -> Form:
    """One slope for each channel, axis 1, or one for all."""
    form = first(slide, node)
    if isinstance(form, Map) and form.letters[1] == "c":
        return Map(copied(slide, node), form.axes)
    cell = slide.as_cell(node, form)
    return Cell(copied(slide, node, {node.all_input_nodes[0]: cell.node}), cell.shape)


def local(slide: Slide, node: fx.Node) -> Form:
    """A neighborhood of each place of a map (N, C, H, W)."""
    form = first(slide, node)
    _check_statistics(slide, node)
    if not isinstance(form, Map) or form.letters != "nchw":
        if node.op != "call_module" and function_name(node) == "batch_norm":
            cell = slide.as_cell(node, form)
            return Cell(copied(slide, node, {node.all_input_nodes[0]: cell.node}), cell.shape)
        raise SurgeryError(f"{described(node)} is given no map (N, C, H, W) whose places are the picture's")
    if any(not isinstance(slide.forms[before], Fixed) for before in node.all_input_nodes[1:]):
        raise SurgeryError(f"{described(node)} has weights that come from the picture")
    result = value(node)
    if not isinstance(result, Tensor):
        raise SurgeryError(f"{described(node)} gives indices of places, which a larger picture numbers otherwise")
    if function_name(node) == "pad":
        _check_padding(slide, node, form)
    enlarges = isinstance(slide.layer_of(node), nn.Upsample) or function_name(node) in ("interpolate", "upsample")
    called = copied(slide, node, sizes_follow=enlarges)
    (_, channels, *window) = value(called).shape
    if enlarges and slide.grows(called):
        _check_scale(slide, node, form, called)
    return Map(called, (form.axes[0], (("c", channels),), (("h", window[0]),), (("w", window[1]),)))


def _check_statistics(slide: Slide, node: fx.Node) -> None:
    """A batch norm has the statistics of its training."""
    layer = slide.layer_of(node)
    if isinstance(layer, nn.BatchNorm2d):
        own = layer.running_mean is not None
    elif layer is None and function_name(node) == "batch_norm":
        own = given(node, 1, "running_mean") is not None and not given(node, 5, "training", default=False)
    else:
        return
    if not own:
        raise SurgeryError(
            f"{described(node)} normalizes by the statistics of the pictures that it is given, which in a larger "
            "picture are not those of a window; give it running statistics"
        )


def _check_padding(slide: Slide, node: fx.Node, form: Map) -> None:
    """F.pad adds as much at all sizes of the picture."""
    amounts = fx.node.map_arg(
        node.args[1] if len(node.args) > 1 else node.kwargs["pad"],
        lambda before: slide.forms[before].held,  # type: ignore[union-attr]
    )
    near = fx.node.map_arg(amounts, value)
    if any(slide.at(amounts, more) != near for more in slide.growths(form.node)):
        raise SurgeryError(
            f"{described(node)} adds a border that depends on the size, at the picture's border another than at a "
            "window's; pad by a fixed number of rows and columns"
        )


def _check_scale(slide: Slide, node: fx.Node, form: Map, called: fx.Node) -> None:
    """What is enlarged has places that are as much finer as they are more, and the same at each place."""
    layer = slide.layer_of(node)
    if getattr(layer, "align_corners", False) if layer is not None else given(node, 4, "align_corners"):
        raise SurgeryError(
            f"{described(node)} has align_corners=True, by which the places of a larger map are spread otherwise; "
            "resize with align_corners=False"
        )
    strides = zip(slide.stride(form.node), slide.stride(called), strict=True)
    for (before, after), rows, result in zip(strides, form.window, value(called).shape[-2:], strict=True):
        if result >= (rows + 1) * before / after:
            raise SurgeryError(
                f"{described(node)} spreads {rows} places over {result}, and neighboring windows would do so over each "
                "other; convert the part of the network before it"
            )
        if result % rows and rows % result:
            raise SurgeryError(
                f"{described(node)} makes {result} places of {rows}, and neighboring windows would do so each by other "
                "weights; resize by a whole factor"
            )


def pool(slide: Slide, node: fx.Node) -> Form:
    """A pool; along an axis where it takes the whole map it is taken at every place, whatever its stride."""
    form = first(slide, node)
    if not isinstance(form, Map) or form.letters != "nchw" or not isinstance(value(node), Tensor):
        return local(slide, node)
    layer = slide.layer_of(node)
    kind, names = _kind_of_pool(layer, node)
    if layer is not None:
        options = {name: getattr(layer, name) for name in names}
    else:
        options = dict(zip(names, (literal(held) for held in node.args[1:]), strict=False))
        options |= {name: literal(held) for name, held in node.kwargs.items() if name != "input"}
    reach = [
        (taps - 1) * apart + 1 if pad == 0 else 0
        for taps, apart, pad in zip(
            _pair(options["kernel_size"]),
            _pair(options.get("dilation", 1)),
            _pair(options.get("padding", 0)),
            strict=True,
        )
    ]
    whole = [taps == rows for taps, rows in zip(reach, form.window, strict=True)]
    if not any(whole):
        return local(slide, node)
    kernel = (reach[0] if whole[0] else 0, reach[1] if whole[1] else 0)
    on_grid = slide.steps(node, form.node, kernel)
    own = _pair(options.get("stride") or options["kernel_size"])
    steps = tuple(grid if all_of_it else step for grid, all_of_it, step in zip(on_grid, whole, own, strict=True))
    options["stride"] = steps
    made = kind(**options)
    if layer is not None:
        called = slide.layer(node, steps, made, form.node)
    else:
        called = slide.new_layer(node, "pool", made, form.node)
    rows, columns = value(called).shape[-2:]
    return Map(called, (*form.axes[:2], (("h", rows),), (("w", columns),)))


def _kind_of_pool(layer: nn.Module | None, node: fx.Node) -> tuple[type[nn.Module], tuple[str, ...]]:
    """Torch's layer for a pool, and the names of the function's arguments, which are the layer's too."""
    for kind, (function, names) in POOLS.items():
        if isinstance(layer, kind) or (layer is None and function_name(node) == function):
            return kind, names
    raise AssertionError(node)


def adaptive_pool(slide: Slide, node: fx.Node) -> Form:
    """An adaptive pool: the pool of the windows that it has at the size of the classifier."""
    form, layer = first(slide, node), slide.layer_of(node)
    name = type(layer).__name__ if layer is not None else function_name(node)
    how = "max" if "max" in name.lower() else "mean"
    result = value(node)
    if not isinstance(result, Tensor):
        raise SurgeryError(f"{described(node)} gives indices of places, which a larger picture numbers otherwise")
    if isinstance(form, Window) and result.ndim == 3 and result.shape[-1] == 1:
        return reduced(slide, node, form, [2], keep=True, how=how)
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
    on_grid = slide.steps(node, form.node, kernel)
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


def by_channel(slide: Slide, node: fx.Node) -> Form:
    """A softmax and its kind, along an axis that is none of places."""
    form, layer = first(slide, node), slide.layer_of(node)
    axes = value(node.all_input_nodes[0]).ndim
    at = 2 if function_name(node) == "normalize" else 1
    default = -1 if function_name(node) == "glu" else 1
    named: Any = layer.dim if layer is not None else given(node, at, "dim")
    dim = (default if named is None else int(named)) % axes
    result = value(node).shape
    if isinstance(form, Map):
        if form.letters[dim] == "c":
            kept = tuple((("c", int(result[dim])),) if index == dim else axis for index, axis in enumerate(form.axes))
            return Map(copied(slide, node), kept)
        if form.letters[dim] in "nhw" and form.window != (1, 1):
            raise SurgeryError(f"{described(node)} goes over the places of a map, as attention does")
    cell = slide.as_cell(node, form)
    if layer is not None:
        made = copy.copy(layer)
        made.dim = dim
        return Cell(slide.layer(node, dim, made, cell.node), tuple(result))
    args = [cell.node, *(literal(held) for held in node.args[1:at])]
    kwargs = {name: literal(held) for name, held in node.kwargs.items() if name not in ("input", "dim", "_stacklevel")}
    return Cell(slide.put(node, node.op, node.target, *args, dim=dim, **kwargs), tuple(result))


def norm_of_cells(slide: Slide, node: fx.Node) -> Form:
    """BatchNorm1d: a BatchNorm2d with the same numbers."""
    layer = slide.layer_of(node)
    assert isinstance(layer, nn.BatchNorm1d)
    cell = slide.as_cell(node, first(slide, node))
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
    form = first(slide, node)
    layer = slide.layer_of(node)
    shape = layer.normalized_shape if layer is not None else given(node, 1, "normalized_shape")
    assert isinstance(shape, Sequence)
    if isinstance(form, Map) and form.window != (1, 1):
        if set(form.letters[-len(shape) :]) == {"c"}:
            return Map(copied(slide, node), form.axes)
        raise SurgeryError(
            f"{described(node)} normalizes over the places of a map; a larger picture has more, and other statistics"
        )
    return at_each_place(slide, node, slide.as_cell(node, form))


def norm_of_map(slide: Slide, node: fx.Node) -> Form:
    """GroupNorm and InstanceNorm: of cells alone."""
    form = first(slide, node)
    if isinstance(form, Map) and form.window != (1, 1):
        raise SurgeryError(
            f"{described(node)} normalizes by the statistics of the whole map, which in a larger picture are not those "
            "of a window; a classifier with batch norm can be converted"
        )
    return at_each_place(slide, node, slide.as_cell(node, form))


def _pair(size: Any) -> Pair:
    return (int(size), int(size)) if isinstance(size, int) else (int(size[0]), int(size[1]))


LOCAL_LAYERS = (
    nn.Conv2d,
    nn.ConvTranspose2d,
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
LOCAL_FUNCTIONS = (
    "conv2d conv_transpose2d batch_norm local_response_norm pad interpolate upsample pixel_shuffle pixel_unshuffle "
    "channel_shuffle dropout2d"
)
LAYER_RULES: list[tuple[Any, Rule]] = [
    ((nn.Flatten, nn.Unflatten), reshaping),
    (nn.Linear, linear),
    (tuple(POOLS), pool),
    ((nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d, nn.AdaptiveAvgPool1d, nn.AdaptiveMaxPool1d), adaptive_pool),
    ((nn.Softmax, nn.LogSoftmax, nn.Softmin, nn.GLU), by_channel),
    (nn.PReLU, prelu),
    (nn.BatchNorm1d, norm_of_cells),
    ((nn.LayerNorm, nn.RMSNorm), norm_of_last_axis),
    ((nn.GroupNorm, nn.InstanceNorm2d), norm_of_map),
    (LOCAL_LAYERS, local),
    ((nn.Identity, nn.Dropout, nn.AlphaDropout), elementwise),
]
LAYER_FUNCTION_RULES: dict[str, Rule] = {
    **dict.fromkeys((function for function, _ in POOLS.values()), pool),
    **dict.fromkeys((f"adaptive_{how}_pool{axes}d" for how in ("avg", "max") for axes in (1, 2)), adaptive_pool),
    **dict.fromkeys("softmax log_softmax softmin glu normalize cumsum argmax argsort".split(), by_channel),
    "prelu": prelu,
    **dict.fromkeys(("layer_norm", "rms_norm"), norm_of_last_axis),
    **dict.fromkeys(("group_norm", "instance_norm"), norm_of_map),
    **dict.fromkeys(LOCAL_FUNCTIONS.split(), local),
}


def layer_rule(layer: nn.Module) -> Rule | None:
    """What a layer becomes; None if it has no rule."""
    for kinds, rule in LAYER_RULES:
        if isinstance(layer, kinds):
            return rule
    activation = any(base.__module__ == "torch.nn.modules.activation" for base in type(layer).__mro__)
    return elementwise if activation and not isinstance(layer, nn.MultiheadAttention) else None


def check_own_layers(traced: fx.GraphModule) -> None:
    """Classes made from torch's layers see no more of a map than these do: tried on random maps, where no rule tells.

    Raises:
        SurgeryError: one does.
    """
    tried: set[str] = set()
    for node in traced.graph.nodes:
        if str(node.target) in tried or not _is_own(traced, node):
            continue
        tried.add(str(node.target))
        layer = traced.get_submodule(str(node.target))
        try:
            same = _sees_its_window(layer, value(node.all_input_nodes[0]))
        except (RuntimeError, TypeError, ValueError, IndexError):
            same = False
        if not same:
            raise SurgeryError(
                f"{described(node)} has a forward of its own that sees more than its window; slid, it would see "
                "more of a larger picture, too"
            )


def _is_own(traced: fx.GraphModule, node: fx.Node) -> bool:
    if node.op != "call_module" or not node.all_input_nodes:
        return False
    layer = traced.get_submodule(str(node.target))
    held = value(node.all_input_nodes[0])
    given = next((held for held in layer.parameters()), None)
    return (
        not type(layer).__module__.startswith("torch.")
        and layer_rule(layer) in (local, pool, elementwise)
        and isinstance(held, Tensor)
        and held.ndim > 1
        and (given is None or not given.is_meta)
    )


def _sees_its_window(layer: nn.Module, like: Tensor) -> bool:
    """Whether a layer gives the same for a crop of a random map, away from the crop's border."""
    reach, step = 2, 1
    for axis in (0, 1):
        taps, apart, own, pad = (
            _pair(getattr(layer, name, 1))[axis] if isinstance(getattr(layer, name, 1), int | tuple) else 1
            for name in ("kernel_size", "dilation", "stride", "padding")
        )
        reach = max(reach, (taps - 1) * apart + 1 + pad, own)
        step = math.lcm(step, own, int(getattr(layer, "downscale_factor", 1)))
    border = -(-reach // step) + 1
    cells = 2 * border + 2
    crop = step * cells
    held = next(layer.parameters(), torch.empty(0))
    noise = torch.randn(1, like.shape[1], crop + step, crop + step, generator=torch.Generator().manual_seed(0))
    noise = noise.to(held.device, like.dtype)
    with torch.no_grad():
        whole, corner, moved = (
            layer(part.clone()) for part in (noise, noise[..., :crop, :crop], noise[..., step:, step:])
        )
    by = [side - less for side, less in zip(whole.shape[-2:], corner.shape[-2:], strict=True)]
    inside = [slice(side * border // cells, side - side * border // cells) for side in corner.shape[-2:]]
    inner = (Ellipsis, *inside)
    expected = whole[inner]
    further = whole[..., by[0] :, by[1] :][inner]
    allowed = max(1e-5, 8 * torch.finfo(like.dtype).eps) * float(whole.abs().max())
    return expected.numel() > 0 and all(
        float((one[inner] - other).abs().max()) <= allowed for one, other in ((corner, expected), (moved, further))
    )
