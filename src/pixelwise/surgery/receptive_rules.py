"""What the outputs of each of torch's operations see; `receptive_field` is made of them.

A rule takes a `Call` and gives what each output sees along the height and the width. Operations that torch marks as
pointwise need none. Height and width are followed apart: a cell that sees nothing along one of them, as in a border of
zeros, may still be said to see something along the other.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import accumulate, chain
from math import floor
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pixelwise.errors import ShapeError
from pixelwise.surgery.receptive_intervals import Field, Seen, reshape, union


def tensors_in(value: Any) -> Iterable[Tensor]:
    """The tensors among an operation's arguments or outputs, in order."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple):
        yield from chain.from_iterable(map(tensors_in, value))
    elif isinstance(value, dict):
        yield from tensors_in(list(value.values()))


@dataclass(frozen=True)
class Call:
    """An operation with its arguments by name and its outputs.

    Attributes:
        field: what a tensor's cells see; None where it does not depend on the picture.
        value: the numbers of a tensor that does not, where they are known.
    """

    arguments: dict[str, Any]
    outputs: list[Tensor]
    field: Callable[[Tensor], Field | None]
    value: Callable[[Tensor], Tensor | None]

    def __getitem__(self, name: str) -> Any:
        return self.arguments[name]

    @property
    def input(self) -> Tensor:
        """The tensor that is worked on; a pool, border or view has only this."""
        tensor: Tensor = self.arguments["self"] if "self" in self.arguments else self.arguments["input"]
        return tensor

    @property
    def out(self) -> Tensor:
        """The first output."""
        return self.outputs[0]

    def dims(self, value: Any) -> list[int]:
        """Dimensions of the input counted from 0; None and () are all."""
        rank = self.input.ndim
        if value is None or (isinstance(value, list | tuple) and not value):
            return list(range(rank))
        values: list[int] = [value] if isinstance(value, int) else list(value)
        return [d % rank for d in values]

    def each(self, change: Callable[[Seen], Seen]) -> list[Field]:
        """All outputs see what the input sees, changed."""
        field = self.field(self.input)
        if field is None:
            raise ShapeError("the picture decides on weights, indices or sizes, which receptive_field cannot follow")
        return [(change(field[0]), change(field[1]))] * len(self.outputs)

    def together(self, tensors: Iterable[Tensor]) -> list[Field]:
        """All outputs see what those of the tensors see that depend on the picture."""
        fields = [field for t in tensors if (field := self.field(t)) is not None]
        height, width = (union((f[axis] for f in fields), self.out.ndim) for axis in (0, 1))
        return [(height, width)] * len(self.outputs)


Rule = Callable[[Call], Sequence[Field | None]]


def elementwise(call: Call) -> list[Field]:
    """Each cell sees what the cells at its place see."""
    return call.together(tensors_in(list(call.arguments.values())))


def _product(call: Call) -> list[Field]:
    """The same, but a known factor of zero – interpolation that copies one of two cells – hides what it stands at."""
    fields = call.together([call["self"], *tensors_in(call["other"])])
    constant = next((t for t in tensors_in([call["self"], call["other"]]) if call.field(t) is None), None)
    factor = call.value(constant) if constant is not None else None
    if constant is None or factor is None:
        return fields
    changing = [d for d in range(-constant.ndim, 0) if constant.shape[d] > 1]
    if len(changing) != 1:
        return fields
    dim = changing[0] + call.out.ndim + 1
    shape = [-1 if axis == dim else 1 for axis in range(call.out.ndim + 1)]
    hidden = (factor == 0).numpy().reshape(shape)

    def hide(seen: Seen) -> Seen:
        return seen.moved(lambda b: np.where(hidden, np.inf, b)) if seen.bounds.shape[dim] > 1 else seen

    return [(hide(height), hide(width)) for height, width in fields]


def _same(call: Call) -> list[Field]:
    return call.each(lambda seen: seen)


def _nothing(call: Call) -> list[None]:
    """New tensors with a shape like the input's."""
    return [None] * len(call.outputs)


def _written(call: Call) -> list[Field]:
    """copy_: what was there is gone."""
    if call.field(call["src"]) is None:
        raise ShapeError("the network overwrites a map with numbers that do not depend on the picture")
    return call.together([call["src"]])


def _per_axis(values: Any, count: int) -> list[int]:
    numbers: list[int] = [values] if isinstance(values, int) else list(values)
    return numbers * count if len(numbers) == 1 else numbers


def _windows(out: int, cells: int, kernel: int, stride: int, padding: int, dilation: int) -> NDArray[np.int64]:
    """(out, kernel): the cells in the window of each output."""
    taken = np.arange(out)[:, None] * stride - padding + np.arange(kernel) * dilation
    return np.where((taken >= 0) & (taken < cells), taken, -1)


def _scattered(out: int, cells: int, kernel: int, stride: int, padding: int, dilation: int) -> NDArray[np.int64]:
    """(out, kernel): the cells whose window of a transposed convolution holds each output."""
    place = np.arange(out)[:, None] + padding - np.arange(kernel) * dilation
    taken = place // stride
    return np.where((place % stride == 0) & (taken >= 0) & (taken < cells), taken, -1)


def _along(call: Call, tables: Sequence[NDArray[np.int64] | None]) -> list[Field]:
    """The last dimensions, each with its table of cells; None is the whole map."""
    dims = range(call.input.ndim - len(tables), call.input.ndim)

    def change(seen: Seen) -> Seen:
        for dim, table in zip(dims, tables, strict=True):
            seen = seen.all_along(dim) if table is None else seen.taking(dim, table)
        return seen

    return call.each(change)


def _convolution(call: Call) -> list[Field]:
    kernel = list(call["weight"].shape[2:])
    count = len(kernel)
    table = _scattered if call["transposed"] else _windows
    options = [_per_axis(call[name], count) for name in ("stride", "padding", "dilation")]
    lengths = zip(call.out.shape[-count:], call.input.shape[-count:], kernel, *options, strict=True)
    return _along(call, [table(*numbers) for numbers in lengths])


def _pool(call: Call) -> list[Field]:
    kernel = list(call["kernel_size"])
    count = 3 if call.input.ndim == 5 else len(kernel) if len(kernel) > 1 else min(2, call.input.ndim - 2)
    kernel = _per_axis(kernel, count)
    stride = _per_axis(call["stride"], count) if call["stride"] else kernel
    padding = _per_axis(call["padding"], count)
    dilation = _per_axis(call.arguments.get("dilation", 1), count)
    inputs = call.input.shape[-count:]
    lengths = zip(call.out.shape[-count:], inputs, kernel, stride, padding, dilation, strict=True)
    tables: list[NDArray[np.int64] | None] = [_windows(*numbers) for numbers in lengths]
    for axis, cells in enumerate(inputs):
        if 2 * kernel[axis] > cells > 32:  # a window made for the map
            tables[axis] = None
    return _along(call, tables)


def _adaptive_pool(call: Call) -> list[Field]:
    size = call["output_size"]
    inputs = call.input.shape[-len(size) :]
    return _along(call, [np.arange(n)[:, None] if n == out else None for n, out in zip(inputs, size, strict=True)])


def _pad(call: Call) -> list[Field]:
    """Zeros or another constant around; negative numbers crop."""
    before = list(reversed(call["pad"][::2]))
    count = len(before)
    lengths = zip(call.out.shape[-count:], call.input.shape[-count:], before, strict=True)
    return _along(call, [_windows(out, cells, 1, 1, pad, 1) for out, cells, pad in lengths])


def _border(mode: Any) -> Rule:
    def rule(call: Call) -> list[Field]:
        pads = list(call["padding"])
        pairs = list(reversed(list(zip(pads[::2], pads[1::2], strict=True))))
        cells = call.input.shape[-len(pairs) :]
        return _along(call, [np.pad(np.arange(n), p, mode=mode)[:, None] for n, p in zip(cells, pairs, strict=True)])

    return rule


def _nearest(shift: float) -> Rule:
    """Nearest interpolation, in torch's single precision."""

    def rule(call: Call) -> list[Field]:
        tables = []
        for axis, option in ((-2, "scales_h"), (-1, "scales_w")):
            out, cells = call.out.shape[axis], call.input.shape[axis]
            scale = np.float32(1 / call[option] if call[option] else cells / out)
            places = np.floor((np.arange(out, dtype=np.float32) + np.float32(shift)) * scale)
            tables.append(places.astype(np.int64).clip(0, cells - 1)[:, None])
        return _along(call, tables)

    return rule


def _interpolate(taps: int) -> Rule:
    """Linear (2 taps) and cubic (4) interpolation; where it copies a cell, it sees no other."""

    def rule(call: Call) -> list[Field]:
        tables = []
        for axis, option in ((-2, "scales_h"), (-1, "scales_w")):
            out, cells = call.out.shape[axis], call.input.shape[axis]
            scale = 1 / Fraction(call[option]).limit_denominator(1000) if call[option] else Fraction(cells, out)
            places = [(i + Fraction(1, 2)) * scale - Fraction(1, 2) for i in range(out)]
            if call["align_corners"]:
                places = [Fraction(i * (cells - 1), max(out - 1, 1)) for i in range(out)]
            left = np.array([floor(place) for place in places])[:, None]
            copied = np.array([place.denominator == 1 for place in places])[:, None]
            around = np.arange(1 - taps // 2, 1 + taps // 2)
            tables.append((left + np.where(copied, 0, around)).clip(0, cells - 1))
        return _along(call, tables)

    return rule


def _shuffle(call: Call) -> list[Field]:
    """pixel_shuffle: channels become places."""
    factor = call["upscale_factor"]
    return _along(call, [(np.arange(n) // factor)[:, None] for n in call.out.shape[-2:]])


def _unpool(call: Call) -> list[Field]:
    """max_unpool2d: each value goes back into its window, taken to be as wide as the sizes say."""
    lengths = zip(call.out.shape[-2:], call.input.shape[-2:], strict=True)
    return _along(call, [(np.arange(out) // -(-out // cells))[:, None] for out, cells in lengths])


def _view(call: Call) -> list[Field]:
    old, new = list(call.input.shape), list(call.out.shape)
    return call.each(lambda seen: seen.moved(lambda b: reshape(b, old, new)))


def _expand(call: Call) -> list[Field]:
    return call.each(lambda seen: union([seen], call.out.ndim))


def _permute(call: Call) -> list[Field]:
    order = call.dims(call["dims"])
    return call.each(lambda seen: seen.moved(lambda b: b.transpose(0, *(1 + d for d in order))))


def _transpose(call: Call) -> list[Field]:
    one, other = (call.dims(call.arguments.get(name, default))[0] for name, default in (("dim0", 0), ("dim1", 1)))
    return call.each(lambda seen: seen.moved(lambda b: b.swapaxes(1 + one, 1 + other)))


def _matrix_transpose(call: Call) -> list[Field]:
    return call.each(lambda seen: seen.moved(lambda b: b.swapaxes(1, 2)) if seen.bounds.ndim > 2 else seen)


def _slice(call: Call) -> list[Field]:
    (dim,) = call.dims(call["dim"])
    cells = call.input.shape[dim]
    taken = np.arange(cells)[slice(call["start"], call["end"], call["step"])][:, None]
    return call.each(lambda seen: seen.taking(dim, taken))


def _select(call: Call) -> list[Field]:
    (dim,) = call.dims(call["dim"])
    taken = np.array([[call["index"] % call.input.shape[dim]]])
    return call.each(lambda seen: seen.taking(dim, taken).moved(lambda b: b.squeeze(dim + 1)))


def _split(call: Call) -> list[Field]:
    """split, split_with_sizes, chunk."""
    (dim,) = call.dims(call["dim"])
    ends = list(accumulate(t.shape[dim] for t in call.outputs))
    height, width = call.each(lambda seen: seen)[0]
    fields = []
    for end, tensor in zip(ends, call.outputs, strict=True):
        taken = np.arange(end - tensor.shape[dim], end)[:, None]
        fields.append((height.taking(dim, taken), width.taking(dim, taken)))
    return fields


def _unbind(call: Call) -> list[Field]:
    (dim,) = call.dims(call["dim"])
    fields = []
    for index in range(len(call.outputs)):
        fields += _select(replace(call, arguments=call.arguments | {"index": index, "dim": dim}, outputs=[call.out]))
    return fields


def _known_index(call: Call, index: Tensor) -> NDArray[np.int64]:
    values = call.value(index)
    if values is None or values.dtype == torch.bool:
        raise ShapeError("the network picks cells by an index that is computed from the picture or from weights")
    return np.asarray(values.numpy(), dtype=np.int64)


def _index_select(call: Call) -> list[Field]:
    (dim,) = call.dims(call["dim"])
    taken = _known_index(call, call["index"]).reshape(-1, 1) % call.input.shape[dim]
    return call.each(lambda seen: seen.taking(dim, taken))


def _index(call: Call) -> list[Field]:
    """values[..., places, :], a single list of places."""
    given = [(dim, index) for dim, index in enumerate(call["indices"]) if index is not None]
    if len(given) != 1 or given[0][1].ndim != 1:
        raise ShapeError("the network picks cells by several indices at once, which receptive_field cannot follow")
    dim, index = given[0]
    taken = _known_index(call, index).reshape(-1, 1) % call.input.shape[dim]
    return call.each(lambda seen: seen.taking(dim, taken))


def _flip(call: Call) -> list[Field]:
    dims = call.dims(call["dims"])
    return call.each(lambda seen: seen.moved(lambda b: np.flip(b, tuple(1 + d for d in dims))))


def _cat(call: Call) -> list[Field]:
    """Along the channels a cell sees what all parts see; along the grid the parts stand beside each other."""
    parts = [t for t in call["tensors"] if t.ndim == call.out.ndim]  # torch lets an empty vector pass
    dim = call["dim"] % call.out.ndim
    blank = Seen(np.full((2,) + (1,) * call.out.ndim, np.inf), 0)
    fields = [call.field(t) or (blank, blank) for t in parts]
    axes = []
    for axis in (0, 1):
        seen = [field[axis] for field in fields]
        picture = max(s.picture for s in seen)
        whole = any(s.whole for s in seen)
        if all(s.bounds.shape[dim + 1] == 1 for s in seen):
            bounds = union(seen, call.out.ndim).bounds
        else:
            shape = np.broadcast_shapes(*((*s.bounds.shape[: dim + 1], 1, *s.bounds.shape[dim + 2 :]) for s in seen))
            bounds = np.concatenate(
                [
                    np.broadcast_to(s.bounds, (*shape[: dim + 1], t.shape[dim], *shape[dim + 2 :]))
                    for s, t in zip(seen, parts, strict=True)
                ],
                dim + 1,
            )
        axes.append(Seen(bounds, picture, whole))
    return [(axes[0], axes[1])]


def _stack(call: Call) -> list[Field]:
    """A new dimension, along which no difference is kept."""
    dim = call["dim"] % call.out.ndim + 1
    fields = [field for t in call["tensors"] if (field := call.field(t)) is not None]
    parts = [[f[axis].moved(lambda b: np.expand_dims(b, dim)) for f in fields] for axis in (0, 1)]
    return [(union(parts[0], call.out.ndim), union(parts[1], call.out.ndim))]


def _reduce(call: Call) -> list[Field]:
    """mean, sum, max … over dimensions, which stay or go."""
    if "other" in call.arguments:  # torch.max of two tensors
        return elementwise(call)
    dims = call.dims(call.arguments.get("dim"))
    kept = call.out.ndim == call.input.ndim

    def change(seen: Seen) -> Seen:
        seen = seen.over(dims)
        return seen if kept else seen.moved(lambda b: b.squeeze(tuple(1 + d for d in dims)))

    return call.each(change)


def _normalize_over(call: Call) -> list[Field]:
    """A softmax or a running sum: each cell sees all along the dimension."""
    dims = call.dims(call["dim"])
    return call.each(lambda seen: union([seen, seen.over(dims)], seen.bounds.ndim - 1))


def _normalized(call: Call, dims: Iterable[int]) -> list[Field | None]:
    """The output of a normalization over these dimensions; the statistics are not followed."""
    (field, *_) = call.each(lambda seen: union([seen, seen.over(dims)], seen.bounds.ndim - 1))
    return [field, *[None] * (len(call.outputs) - 1)]


def _batch_norm(call: Call) -> list[Field | None]:
    own = call.arguments.get("training", False)
    return _normalized(call, [d for d in range(call.input.ndim) if d != 1] if own else [])


def _group_norm(call: Call) -> list[Field | None]:
    return _normalized(call, range(1, call.input.ndim))


def _layer_norm(call: Call) -> list[Field | None]:
    return _normalized(call, range(call.input.ndim - len(call["normalized_shape"]), call.input.ndim))


def _matmul(call: Call) -> list[Field]:
    """mm, bmm, mv, addmm …: rows of the first see all along it, columns of the second too."""
    added = call["self"] if "beta" in call.arguments else None
    one, other = (t for t in tensors_in(list(call.arguments.values())) if t is not added)
    seen = [] if added is None else [call.field(added)]
    for tensor, summed in ((one, one.ndim - 1), (other, max(other.ndim - 2, 0))):
        field = call.field(tensor)
        seen.append(None if field is None else (field[0].over([summed]), field[1].over([summed])))
    fields = [field for field in seen if field is not None]
    height, width = (union((f[axis] for f in fields), call.out.ndim) for axis in (0, 1))
    return [(height, width)]


RULES: dict[str, Rule] = {
    "convolution": _convolution,
    "_convolution": _convolution,
    "max_pool2d_with_indices": _pool,
    "max_pool3d_with_indices": _pool,
    "avg_pool2d": _pool,
    "avg_pool3d": _pool,
    "_adaptive_avg_pool2d": _adaptive_pool,
    "adaptive_avg_pool2d": _adaptive_pool,
    "adaptive_max_pool2d": _adaptive_pool,
    "constant_pad_nd": _pad,
    "reflection_pad2d": _border("reflect"),
    "replication_pad2d": _border("edge"),
    "upsample_nearest2d": _nearest(0),
    "_upsample_nearest_exact2d": _nearest(0.5),
    "upsample_bilinear2d": _interpolate(2),
    "upsample_bicubic2d": _interpolate(4),
    "pixel_shuffle": _shuffle,
    "max_unpool2d": _unpool,
    **dict.fromkeys(("view", "_unsafe_view", "reshape", "_reshape_alias", "unsqueeze", "squeeze"), _view),
    "expand": _expand,
    "permute": _permute,
    "transpose": _transpose,
    "t": _matrix_transpose,
    "slice": _slice,
    "select": _select,
    **dict.fromkeys(("split", "split_with_sizes", "chunk"), _split),
    "unbind": _unbind,
    "index_select": _index_select,
    "index": _index,
    "flip": _flip,
    "cat": _cat,
    "stack": _stack,
    **dict.fromkeys(
        ("mean", "sum", "prod", "amax", "amin", "max", "min", "argmax", "var", "std", "logsumexp"), _reduce
    ),
    **dict.fromkeys(("_softmax", "_log_softmax", "_safe_softmax", "cumsum"), _normalize_over),
    **dict.fromkeys(
        ("native_batch_norm", "_native_batch_norm_legit", "_native_batch_norm_legit_no_training", "batch_norm"),
        _batch_norm,
    ),
    "native_group_norm": _group_norm,
    "native_layer_norm": _layer_norm,
    **dict.fromkeys(("mm", "bmm", "mv", "addmm", "addmv", "baddbmm", "addbmm"), _matmul),
    "mul": _product,
    "copy_": _written,
    **dict.fromkeys(
        (
            "clone",
            "_to_copy",
            "detach",
            "alias",
            "contiguous",
            "lift_fresh",
            "native_dropout",
            "prelu",
            "_prelu_kernel",
        ),
        _same,
    ),
    **dict.fromkeys(
        ("empty_like", "zeros_like", "ones_like", "full_like", "rand_like", "randn_like", "new_empty", "new_zeros"),
        _nothing,
    ),
    **dict.fromkeys(("new_ones", "new_full", "bernoulli", "sym_size", "is_same_size"), _nothing),
}
