"""Tiles: a picture too large to go through a network whole is cut into overlapping windows, and put together again.

How large the overlap must be is read off the network:

- **A network that sees little** of the picture around a pixel gives every pixel its scores from a window that holds
  all of what it sees: a margin around the kept part of each window is thrown away. Windows begin at multiples of the
  network's stride, so the tiles are the whole, but for rounding, and but for the picture's borders.
- **A network that sees more** than `MARGIN` on a side, or all of the picture (global pooling), gives other scores in
  another window. The outer half of the margin is thrown away, and over what is left of the overlap the probabilities
  of one window go over into the next one's by linear weights, which add up to 1: no line is seen where windows meet.

Memory: one window goes through the network at a time, so it is bounded by the window and not by the picture. A map of
64 channels of 1024 × 1024 is 256 MiB in float32, and a U-Net holds about four such at its widest, where a skip is
joined; half the side takes a quarter (`benchmarks/gigapixel.py` measures the peak). A picture of at most `WHOLE`
pixels, twice those of a window, is not cut; a tile that is asked for is kept to. Where windows are blended, the right
edge of a window is kept until the next one, at most `HELD` values, and the scores that the lower edges of a row of
windows are made of, on the network's own grid, until the next row.
"""

import math
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from pixelwise.errors import BadOption, PixelwiseError
from pixelwise.inference.engine import Engine
from pixelwise.layers.head import Head
from pixelwise.layers.normalization import Normalization
from pixelwise.layers.resample import Taps
from pixelwise.surgery.graph import first_channels
from pixelwise.surgery.receptive_field import Axis, on_meta, receptive_field

TILE = 1024  # a window's side
WHOLE = 2**21  # pixels up to which a picture goes through whole: 1024 × 2048, as Cityscapes has them
MARGIN = 128  # pixels of context around the kept part of a window; what a network sees beyond is blended
STEP = 32  # the stride of most networks; windows of one that is not known begin at its multiples
HELD = 2**22  # probabilities of the right edge of a window, 16 MiB
PROBE = 960  # pixels, a multiple of all usual strides, by which two pictures differ that a stride is read off

WINDOWS = {"PSPNet": 713}
"""{network: side of its paper's windows}: PSPNet tests Cityscapes so, the only pictures of the paper that are large."""

Window = tuple[slice, slice]
Tile = tuple[Window, Window, Window]
"""(window in the picture, kept part in the window, its place in the picture)."""


@dataclass(frozen=True)
class Tiling:
    """How pictures are cut for a network.

    Attributes:
        side: of the windows.
        margin: pixels of a window around its kept part.
        step: windows begin at multiples of it: the network's stride.
        extra: a window's side is a multiple of `step` plus this, 0 or 1: sizes where the network's grid lies on the
            picture as in every other window.
        ramp: pixels over which the probabilities of two windows go over into each other; 0 where they are the same.
    """

    side: int
    margin: int
    step: int = 1
    extra: int = 0
    ramp: int = 0

    def of_side(self, side: int | None) -> "Tiling":
        """The same with windows of another side; what is blended has a smaller margin in a small window.

        Raises:
            BadOption: such a window cannot hold the margin.
        """
        if side is None or side == self.side:
            return self
        margin = min(self.margin, side // 4) if self.ramp else self.margin
        least = 2 * margin + 2 * self.step + self.extra
        if side < least:
            why = "" if self.ramp else f"this network sees {self.margin} pixels on each side of a pixel, and "
            raise BadOption(f"a tile of {side} pixels is too small: {why}its windows are at least {least}; give more")
        return replace(self, side=side, margin=margin, ramp=min(self.ramp, margin))


UNKNOWN = Tiling(TILE, MARGIN, STEP, 0, MARGIN)
"""For a network of which nothing is known: its windows are blended."""


@dataclass(frozen=True)
class Plan:
    """The tiles of one picture, row after row, each row from the left.

    Attributes:
        ramp: see `Tiling`.
    """

    size: tuple[int, int]
    tiles: tuple[Tile, ...]
    ramp: int = 0


_known: "weakref.WeakKeyDictionary[nn.Module, Tiling]" = weakref.WeakKeyDictionary()


def tiling(engine: Engine) -> Tiling:
    """The engine's own tiling; that of its network in torch, measured once; or `UNKNOWN`."""
    if engine.tiling is not None:
        return Tiling(*engine.tiling)
    network = getattr(engine, "network", None)
    if not isinstance(network, nn.Module):
        return UNKNOWN
    if network not in _known:
        _known[network] = measured(network)
    return _known[network]


def plan_of(engine: Engine, normalization: Normalization, size: tuple[int, int], tile: int | None = None) -> Plan:
    """The tiles of a picture of a size as the network takes it: a single one up to tile², or `WHOLE`, pixels.

    One that is brought to the normalization's size is never cut.

    Args:
        tile: side of the windows; the tiling's own if left out.

    Raises:
        BadOption: the tile is too small for the network.
    """
    check_tile(tile)
    own = None if engine.tiling is None else engine.tiling[0]
    largest = WHOLE if (side := tile or own) is None else side**2
    if normalization.size is not None or size[0] * size[1] <= largest:
        return Plan(size, tuple(tiles(size, max(size), 0)))
    chosen = tiling(engine).of_side(tile)
    return Plan(size, tuple(tiles(size, chosen.side, chosen.margin, chosen.step, chosen.extra)), chosen.ramp)


def windows_of(
    engine: Engine, normalization: Normalization, size: tuple[int, int], tile: int | None = None
) -> Iterator[Tile]:
    """The tiles of `plan_of`, for what does without blending."""
    yield from plan_of(engine, normalization, size, tile).tiles


def tiles(size: tuple[int, int], tile: int, margin: int, step: int = 1, extra: int = 0) -> Iterator[Tile]:
    """(window in the picture, kept part in the window, its place in the picture) of tiles that cover a picture once.

    Args:
        step: windows begin at multiples of it; their sides are multiples, plus `extra`, and the last one's is larger
            by what is left.

    >>> [place for _, _, place in tiles((4, 10), 6, 1)]
    [(slice(0, 4, None), slice(0, 5, None)), (slice(0, 4, None), slice(5, 10, None))]
    """
    across = list(_spans(size[1], tile, margin, step, extra))
    for rows in _spans(size[0], tile, margin, step, extra):
        for columns in across:
            window, inner, place = zip(rows, columns, strict=True)
            yield window, inner, place


def _spans(length: int, tile: int, margin: int, step: int, extra: int) -> Iterator[tuple[slice, slice, slice]]:
    """The same along one axis: the fewest windows of one length, evenly spread, that overlap by twice the margin."""
    if length <= tile:
        yield slice(0, length), slice(0, length), slice(0, length)
        return
    side = max((tile - extra) // step * step + extra, 2 * margin + 2 * step + extra)
    if length <= side:
        yield slice(0, length), slice(0, length), slice(0, length)
        return
    gap = side - 2 * margin
    count = -(-(length - side) // gap) + 1
    while True:
        starts = [(length - side) * i // (count - 1) // step * step for i in range(count)]
        if max(after - before for before, after in pairwise(starts)) <= gap:
            break
        count += 1
    stops = [start + side for start in starts[:-1]] + [length]
    edges = [0, *((after + stop) // 2 for after, stop in zip(starts[1:], stops[:-1], strict=True)), length]
    for low, high, (start, stop) in zip(starts, stops, pairwise(edges), strict=True):
        yield slice(low, high), slice(start - low, stop - low), slice(start, stop)


def measured(network: nn.Module) -> Tiling:
    """What a network's own form says: nothing of its weights is read, and it does not run.

    A network whose reach cannot be told, or is larger than `MARGIN`, is blended.
    """
    try:
        twin = on_meta(network)
        step, everywhere = _stride(twin)
        extra, taps = _grid(twin, step)
    except (PixelwiseError, RuntimeError):  # torch's, of an operation that has no form without values
        return UNKNOWN
    side = WINDOWS.get(type(network).__name__, TILE)
    margin = min(MARGIN, side // 6)  # a stride of 2/3, as PSPNet's
    blended = Tiling(side, margin, step, extra, margin)
    if taps is None or everywhere or side != TILE:
        return blended
    try:
        field = receptive_field(network)
    except (PixelwiseError, RuntimeError):
        return blended
    reach = [_reach(axis, own, step) for axis, own in zip((field.height, field.width), taps, strict=True)]
    if None in reach or max(r for r in reach if r is not None) > MARGIN:
        return blended
    return Tiling(TILE, max(r for r in reach if r is not None), step, extra)


def _first_head(twin: nn.Module, height: int) -> Head:
    images = torch.empty(1, first_channels(twin), height, height, device="meta")
    with torch.no_grad():
        heads: dict[str, Head] = twin.heads(images)  # type: ignore[operator]  # nn.Module says Tensor | Module
    return next(iter(heads.values()))


def _stride(twin: nn.Module) -> tuple[int, bool]:
    """The pixels by which a picture must move for every map to move by whole cells.

    It is read off two pictures: the larger one's maps have `PROBE` / stride rows more. A map that is as large for both
    is one of the whole picture, and whether there is one is given, too.
    """
    heights: list[int] = []

    def look(module: nn.Module, inputs: object, output: object) -> None:
        if isinstance(output, Tensor) and output.ndim == 4:
            heights.append(output.shape[2])

    hooks = [module.register_forward_hook(look) for module in twin.modules()]
    try:
        found: list[list[int]] = []
        for height in (2 * PROBE, 3 * PROBE):
            heights.clear()
            _first_head(twin, height)
            found.append(list(heights))
    finally:
        for hook in hooks:
            hook.remove()
    step, everywhere = 1, False
    for small, large in zip(*found, strict=True):
        if large > small:
            step = math.lcm(step, PROBE // math.gcd(PROBE, large - small))
        else:
            everywhere = True
    return step, everywhere


def _grid(twin: nn.Module, step: int) -> tuple[int, tuple[Taps, Taps] | None]:
    """What the sides of windows are beyond multiples of the stride, and there how scores reach pixels.

    Without an answer the grid lies differently on every size.
    """
    for extra in (0, 1):
        head = _first_head(twin, 64 * step + extra)
        rows, columns = head.resampling.rows, head.resampling.columns
        if _repeats(rows, step) and _repeats(columns, step):
            return extra, (rows, columns)
    return 0, None


def _middle(taps: Taps) -> slice:
    return slice(len(taps.first) // 3, 2 * len(taps.first) // 3)


def _repeats(taps: Taps, step: int) -> bool:
    """Whether what a pixel takes is what the pixel a step before it took, as many cells further on."""
    middle = _middle(taps)
    first, weights = taps.first[middle], taps.weights[middle]
    moved = first[step:] - first[:-step]
    return bool((moved == moved[0]).all() and abs(weights[step:] - weights[:-step]).max() < 1e-6)


def _reach(axis: Axis, taps: Taps, step: int) -> int | None:
    """The farthest pixel that a pixel's scores depend on, on either side."""
    if axis.size is None or axis.stride is None or axis.center is None:
        return None
    farthest = 0
    middle = _middle(taps)
    for pixel in range(middle.start, middle.start + step):
        used = [int(taps.first[pixel]) + i for i in range(2) if taps.weights[pixel, i]]
        for cell in used:
            center = axis.center + axis.stride * cell
            farthest = max(farthest, math.ceil(abs(center - pixel) + (axis.size - 1) / 2))
    # of cells finer than another grid in the network only the mean place is known
    return farthest + (step if axis.stride < step else 0)


class Values(Protocol):
    """What is told of a window."""

    @property
    def channels(self) -> int:
        """K of the values."""

    def bands(self, first: int, last: int) -> Iterator[tuple[slice, Tensor]]:
        """(rows of the window, values (K, rows, width)) from row `first` to the one before `last`."""

    def edge(self, first: int, last: int) -> Callable[[slice], Tensor]:
        """From some of these rows, counted from `first`, to their values, when the window is gone."""


class _Edge(NamedTuple):
    """The lower edge of a tile, which the tiles below go over into.

    Attributes:
        rows, columns: of the picture, to which the tile gives there.
        place: of the tile, for its weights.
        skipped: columns of the window before these.
        values: from rows of the edge to (K, rows, width of the window).
    """

    rows: slice
    columns: slice
    place: Window
    skipped: int
    values: Callable[[slice], Tensor]

    def add_to(self, values: Tensor, rows: slice, columns: slice, plan: "Plan", half: int) -> None:
        """Add what it gives to a part (K, rows, columns) of the picture."""
        first, last = max(rows.start, self.rows.start), min(rows.stop, self.rows.stop)
        left, right = max(columns.start, self.columns.start), min(columns.stop, self.columns.stop)
        if first >= last or left >= right:
            return
        own = self.values(slice(first - self.rows.start, last - self.rows.start))
        skipped = self.skipped + left - self.columns.start
        part = own[:, :, skipped : skipped + right - left].clone()
        _weigh(part, 1, first, self.place[0], plan.size[0], half)
        _weigh(part, 2, left, self.place[1], plan.size[1], half)
        values[:, first - rows.start : last - rows.start, left - columns.start : right - columns.start] += part


def blended(plan: Plan, see: Callable[[Window], Values]) -> Iterator[tuple[Window, Tensor]]:
    """(place, values (K, h, w)) of a picture, each pixel once; a row of tiles is done before the next begins.

    Where two windows meet, the weight of the new one grows linearly from 0 to 1 over `plan.ramp` pixels, fewer where
    `HELD` values would not hold them on the right edge of a tile; the old one has the rest. In a corner of four the
    weights are products. Of a lower edge is kept what gives its values again.

    Args:
        see: from a window, as in `Plan.tiles`, to what is told of it.
    """
    ramp = min(plan.ramp, *(s.stop - s.start for _, _, place in plan.tiles for s in place)) // 2 * 2
    above: list[_Edge] = []
    below: list[_Edge] = []
    aside: Tensor | None = None  # (K, rows, ramp): what the tile to the left gives around its right edge
    sized = False
    for window, _, place in plan.tiles:
        rows, columns = place
        if columns.start == 0:
            above, below, aside = below, [], None
        beside, aside = aside, None
        found = see(window)
        if not sized:
            tallest = max(rows.stop - rows.start for _, _, (rows, _) in plan.tiles) + ramp
            ramp = min(ramp, max(HELD // (found.channels * tallest), 8) // 2 * 2)
            sized = True
        half = ramp // 2
        top, bottom, left, right = _with_ramps(rows, plan.size[0], half) + _with_ramps(columns, plan.size[1], half)
        down, skipped = window[0].start, left - window[1].start
        if bottom > rows.stop:
            edge = found.edge(bottom - ramp - down, bottom - down)
            below.append(_Edge(slice(bottom - ramp, bottom), slice(left, right), place, skipped, edge))
            bottom -= ramp
        for band, given in found.bands(top - down, bottom - down):
            first, last = band.start + down, band.stop + down
            values = given[:, :, skipped : skipped + right - left].clone()
            _weigh(values, 1, first, rows, plan.size[0], half)
            _weigh(values, 2, left, columns, plan.size[1], half)
            if beside is not None and half:
                values[:, :, :ramp] += beside[:, first - top : last - top]
            if right > columns.stop:
                if aside is None:
                    aside = values.new_empty(values.shape[0], bottom - top, ramp)
                aside[:, first - top : last - top] = values[:, :, -ramp:]
                values = values[:, :, :-ramp]
            where = slice(first, last), slice(left, left + values.shape[2])
            for upper in above:
                upper.add_to(values, *where, plan, half)
            yield where, values


def _with_ramps(place: slice, length: int, half: int) -> tuple[int, int]:
    """The first pixel that a tile gives to, and the one after the last, along an axis."""
    return place.start - half * (place.start > 0), place.stop + half * (place.stop < length)


def _weigh(values: Tensor, dim: int, first: int, place: slice, length: int, half: int) -> None:
    """Multiply values from pixel `first` on by a tile's weights along an axis, in place."""
    if not half:
        return
    grow = (torch.arange(2 * half, device=values.device, dtype=values.dtype) + 0.5) / (2 * half)
    last = first + values.shape[dim]
    for edge, weights, wanted in (
        (place.start, grow, place.start > 0),
        (place.stop, 1 - grow, place.stop < length),
    ):
        low, high = max(first, edge - half), min(last, edge + half)
        if wanted and low < high:
            part = weights[low - edge + half : high - edge + half]
            values.narrow(dim, low - first, high - low).mul_(part if dim == 2 else part[:, None])


def check_tile(tile: int | None) -> None:
    """Refuse a side that is none.

    Raises:
        BadOption: it is below 32.
    """
    if tile is not None and tile < STEP:
        raise BadOption(f"a tile is at least {STEP} pixels wide, got {tile}; leave it out for {TILE}")
