"""Receptive fields: which pixels of the picture a cell of a network's map is computed from.

The network runs on the meta device, where tensors have shapes and no data, and each operation of torch that it makes
is watched. For every map it is known, along the height and along the width, which pixels each single cell sees, as the
first and the last; a convolution, pool, crop, border, upsampling or concatenation says which cells of its inputs an
output cell takes, and the output cell sees all that they see. Types of modules play no part, so any network of torch
can be measured, with branches, skips, dilation and resampling. The usual way, one size, stride and start for each map,
cannot say what cells see after an upsampling, which do not all see equally many pixels.

What is read off is the middle of a large picture, where borders play no part: mirrored and zero borders count as what
would lie there. Left out of account is where weights happen to be zero, but for fixed interpolation: at a place where
it copies a cell, it sees no other.

**Whole picture:** a mean, a matrix product or a normalization over more than a tenth of the picture, and adaptive
pooling, whose window grows with the picture, see all of it. An operation without a rule raises.
"""

import copy
import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from pixelwise.errors import ShapeError, UnknownName
from pixelwise.surgery.receptive_intervals import Array, Field, Seen
from pixelwise.surgery.receptive_rules import RULES, Call, elementwise, tensors_in

# one after the other: the first for fields up to 2700 pixels, the next for those up to 5400, and the last for grids
# that lie right on multiples of their strides alone, where the others suit align-corners
SIZES = (4097, 8193, 8192)
KNOWN = 100_000  # elements of the largest index whose values are kept


@dataclass(frozen=True)
class Axis:
    """A receptive field along the height or the width, in pixels: cell i sees `size` pixels around center + stride·i.

    Attributes:
        size: how many pixels a cell sees; None is the whole picture. Where cells see different numbers of pixels,
            because their grid is finer than another one in the network, the largest.
        stride: pixels from a cell to the next, the output stride; a fraction where the map is finer than the picture,
            None where there is no grid but one answer for the whole picture.
        center: pixel coordinate of cell 0, 0 the center of the first pixel, the mean where cells differ; None where
            there is no grid, or where a cell has no place of its own.
    """

    size: int | None
    stride: Fraction | None
    center: Fraction | None

    @property
    def start(self) -> Fraction | None:
        """The first pixel that cell 0 sees, negative beyond the border: center − (size − 1)/2."""
        return None if self.size is None or self.center is None else self.center - Fraction(self.size - 1, 2)


@dataclass(frozen=True)
class ReceptiveField:
    """What a cell sees, along both axes."""

    height: Axis
    width: Axis


def receptive_field(
    network: nn.Module,
    *,
    at: str | None = None,
    size: int | tuple[int, int] | None = None,
    in_channels: int | None = None,
) -> ReceptiveField:
    """The receptive field, stride and alignment of a map of a network, in evaluation mode.

    Without `at` the map is the scores of the first head for a network with `heads`, else what `forward` gives: the
    first entry of a dict, the last of a tuple, which in a tuple of features is the deepest.

    Args:
        network: takes pictures (N, C, H, W); it is not changed and none of its weights are read.
        at: a module in it by its dotted name, "backbone.conv5.pool5"; its output at its first call.
        size: of the picture, (height, width) or both at once; large if left out. A network that takes one size
            alone needs it.
        in_channels: C; those of the first convolution if left out.

    Raises:
        ShapeError: it holds an operation of unknown reach, or the picture is too small to see a whole field.
        UnknownName: there is no module `at`.

    >>> receptive_field(nn.Sequential(nn.Conv2d(3, 4, 7, stride=2, padding=3), nn.MaxPool2d(2))).width
    Axis(size=9, stride=Fraction(4, 1), center=Fraction(1, 1))
    """
    twin = on_meta(network)
    channels = in_channels or next((m.in_channels for m in twin.modules() if isinstance(m, nn.Conv2d)), 3)
    sizes = SIZES if size is None else (size,)
    for candidate in sizes:
        height, width = (candidate, candidate) if isinstance(candidate, int) else candidate
        try:
            map_, field = _trace(twin, at, channels, (height, width))
        except RuntimeError as error:
            error.add_note(f"receptive_field ran it on a picture (1, {channels}, {height}, {width}); see its options")
            raise
        axes = [_read(seen, map_, dim) for seen, dim in zip(field, (-2, -1), strict=True)]
        if axes[0] is not None and axes[1] is not None:
            break
    if axes[0] is None or axes[1] is None:
        raise ShapeError(
            f"no receptive field can be read off a map of {tuple(map_.shape)} for a picture of {height} × {width}: "
            "the fields of its cells reach the border or repeat in no pattern; pass a larger size, or one that all "
            "strides divide, or that plus 1"
        )
    return ReceptiveField(axes[0], axes[1])


class _Found(Exception):
    """The module that was asked for has given its output."""


def on_meta(network: nn.Module) -> nn.Module:
    """A copy in evaluation mode that has the shapes of the weights alone; integer buffers may be indices and stay."""
    memo: dict[int, Any] = {}
    for parameter in network.parameters():
        memo[id(parameter)] = nn.Parameter(parameter.detach().to("meta"), requires_grad=False)
    for buffer in network.buffers():
        memo[id(buffer)] = buffer.to("meta") if buffer.is_floating_point() else buffer
    return copy.deepcopy(network, memo).eval()


def _trace(network: nn.Module, at: str | None, in_channels: int, size: tuple[int, int]) -> tuple[Tensor, Field]:
    images = torch.empty(1, in_channels, *size, device="meta")
    found: list[Any] = []
    hook = None
    if at is not None:
        modules = dict(network.named_modules())
        if at not in modules:
            near = difflib.get_close_matches(at, modules, n=1)
            raise UnknownName(f"the network has no module {at!r}" + (f"; did you mean {near[0]!r}?" if near else ""))

        def keep(module: nn.Module, inputs: Any, output: Any) -> None:
            found.append(output)
            raise _Found

        hook = modules[at].register_forward_hook(keep)
    tracer = _Tracer(images)
    try:
        with torch.no_grad(), tracer:
            heads = getattr(network, "heads", None)
            if at is None and callable(heads):
                found.append(next(iter(heads(images).values())).scores)
            else:
                found.append(network(images))
                if at is not None:
                    raise ShapeError(f"the module {at!r} is not called by {type(network).__name__}'s forward")
    except _Found:
        pass
    finally:
        if hook is not None:
            hook.remove()
    map_ = _tensor_of(found[0])
    field = tracer.field(map_)
    if field is None:
        raise ShapeError("the map does not depend on the picture")
    return map_, field


def _tensor_of(output: Any) -> Tensor:
    """The first of a dict, the last of a tuple."""
    if isinstance(output, Tensor):
        return output
    if isinstance(output, Mapping) and output:
        return _tensor_of(next(iter(output.values())))
    if isinstance(output, Sequence) and not isinstance(output, str) and output:
        return _tensor_of(output[-1])
    raise ShapeError(f"a receptive field needs a tensor, or a dict or tuple of them; the network gives {type(output)}")


def _read(seen: Seen, map_: Tensor, dim: int) -> Axis | None:
    """The axis, or None where it cannot be told from a picture of this size.

    Cells in the middle third repeat after `period` cells, four times and more, a whole number of pixels further on.
    """
    grid = map_.ndim == 4 and map_.shape[dim] > 1
    bounds = seen.bounds
    if map_.ndim:
        keep = bounds.ndim + dim if grid else 0
        bounds = bounds.min(axis=tuple(a for a in range(1, bounds.ndim) if a != keep))
    if not grid:
        bounds = bounds.reshape(2, -1).min(1)
        covers = seen.whole or (bounds[0] <= 0 and -bounds[1] >= seen.picture - 1)
        return Axis(None, None, None) if covers else None
    count = map_.shape[dim]
    first, final = np.broadcast_to(bounds.reshape(2, -1), (2, count))
    if not np.isfinite(first).any():  # only what all cells see alike
        return Axis(None, _grid_stride(seen.picture, count), None)
    middle = slice(count // 3, count - count // 3)
    first, final = first[middle], -final[middle]
    if (first <= 0).all() and (final >= seen.picture - 1).all():
        return Axis(None, _grid_stride(seen.picture, count), None)
    length = len(first)
    start = int(np.isfinite(first).argmax())
    for period in range(1, (length - start) // 4 + 1):
        step = first[start + period] - first[start]
        if np.isfinite(step) and step > 0 and _repeats(first, final, period, step):
            stride = Fraction(int(step), period)
            inside = [i for i in range(period) if np.isfinite(first[i])]
            offset = sum(
                (Fraction(int(first[i] + final[i]), 2) - stride * (middle.start + i) for i in inside), Fraction(0)
            )
            size = None if seen.whole else int(max(final[i] - first[i] for i in inside)) + 1
            return Axis(size, stride, offset / len(inside))
    return None


def _repeats(first: Array, final: Array, period: int, step: float) -> bool:
    return all(bool((values[period:] == values[:-period] + step).all()) for values in (first, final))


def _grid_stride(picture: int, cells: int) -> Fraction:
    """Of a grid whose cells have no place of their own, from its size."""
    return Fraction(picture, cells) if picture % cells == 0 else Fraction(picture - 1, cells - 1)


class _Tracer(TorchDispatchMode):
    """Watches the operations and keeps what each tensor's cells see."""

    def __init__(self, images: Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # untyped in torch
        # tensors are kept, so that no two have the same id; on the meta device they weigh nothing
        self._fields: dict[int, tuple[Tensor, Field]] = {}
        self._values: dict[int, tuple[Tensor, Tensor]] = {}
        axes = []
        for dim in (2, 3):
            places = np.arange(images.shape[dim], dtype=np.float64)
            shape = [2, 1, 1, 1, 1]
            shape[dim + 1] = len(places)
            axes.append(Seen(np.stack([places, -places]).reshape(shape), len(places)))
        self._fields[id(images)] = (images, (axes[0], axes[1]))

    def field(self, tensor: Tensor) -> Field | None:
        """What the cells see along the height and the width; None where the tensor does not depend on the picture."""
        return self._fields[id(tensor)][1] if id(tensor) in self._fields else None

    def value(self, tensor: Tensor) -> Tensor | None:
        """The numbers of a tensor that does not depend on the picture, where they are known."""
        if tensor.device.type != "meta":
            return tensor
        return self._values[id(tensor)][1] if id(tensor) in self._values else None

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Do the operation, and find what its outputs see."""
        kwargs = kwargs or {}
        if len({t.device.type for t in tensors_in([args, kwargs])}) > 1:
            args, kwargs = self._all_meta(args), self._all_meta(kwargs)
        before = {id(t): field for t in tensors_in([args, kwargs]) if (field := self.field(t)) is not None}
        out = func(*args, **kwargs)
        name = func._schema.name.removeprefix("aten::")
        if not before:
            self._evaluate(func, name, args, kwargs, out)
            return out
        rule = RULES.get(name) or RULES.get(name.removesuffix("_"))
        if rule is None and torch.Tag.pointwise in func.tags:
            rule = elementwise
        if rule is None:
            raise ShapeError(
                f"the network uses {func}, of which receptive_field does not know what its outputs see; "
                "ask with at= for a map before it"
            )
        named = {a.name: a.default_value for a in func._schema.arguments if a.has_default_value()}
        named |= dict(zip((a.name for a in func._schema.arguments), args, strict=False)) | kwargs
        outputs = list(tensors_in(out))
        fields = rule(Call(named, outputs, self.field, self.value))
        for tensor, field in zip(outputs, fields, strict=True):
            if tensor._is_view() and any(tensor is t for t in tensors_in([args])) and field != before.get(id(tensor)):
                # what is written into a view changes its base, which is not followed
                raise ShapeError(f"the network writes into a part of a map ({func}), which cannot be followed")
            if field is not None:
                self._fields[id(tensor)] = (tensor, field)
        return out

    def _all_meta(self, value: Any) -> Any:
        """The same with numbers on the CPU – constants that were not moved – on the meta device."""
        if isinstance(value, Tensor) and value.device.type != "meta":
            moved = value.to("meta")
            self._values[id(moved)] = (moved, value)
            return moved
        if isinstance(value, list | tuple):
            return type(value)(self._all_meta(v) for v in value)
        if isinstance(value, dict):
            return {k: self._all_meta(v) for k, v in value.items()}
        return value

    def _evaluate(self, func: Any, name: str, args: Any, kwargs: Any, out: Any) -> None:
        """Keep the numbers of small constants: indices, and the weights of interpolation."""
        if not isinstance(out, Tensor) or out.device.type != "meta" or out.numel() > KNOWN:
            return
        tensors = list(tensors_in([args, kwargs]))
        if (not tensors and name != "arange") or any(self.value(t) is None for t in tensors):
            return

        def known(value: Any) -> Any:
            if isinstance(value, Tensor):
                return self.value(value)
            return type(value)(known(v) for v in value) if isinstance(value, list | tuple) else value

        kwargs = {k: torch.device("cpu") if k == "device" else known(v) for k, v in kwargs.items()}
        self._values[id(out)] = (out, func(*known(args), **kwargs))
