"""Resampling inside an exported graph, where the sizes of a picture are not known before it comes.

While `torch.export` runs, the makers of `pixelwise.layers.resample.Resampling` give a `GraphResampling`: the same two
taps per axis, computed in the graph from its own height and width. Coordinates are fractions of whole numbers, so that
they are exact without double precision, which some runtimes do not have.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Size = tuple[int, int]


@dataclass(frozen=True)
class GraphTaps:
    """One axis: output i is `weights[0][i]·x[first[i]] + weights[1][i]·x[second[i]]`.

    Attributes:
        coarse: number of coarse cells h; in a graph a symbol, as the number of outputs is.
        first, second: (H,) int64 in 0…h−1.
        weights: two of (H,) float32.
    """

    coarse: int
    first: Tensor
    second: Tensor
    weights: tuple[Tensor, Tensor]


Places = Callable[[Tensor, int, int], tuple[Tensor, int]]
"""From outputs i (H,), h and n: numerators (H,) int64 of their coordinates, and the common denominator."""


def linear(coarse: Size, image: Size, at: Places | Sequence[Places]) -> "GraphResampling":
    """Linear interpolation, clamped at the outermost cells.

    Args:
        at: the coordinates of both axes, or of each.
    """
    axes = zip((at, at) if callable(at) else at, coarse, image, strict=True)
    return GraphResampling([taps_at(*where(places(n), h, n), h) for where, h, n in axes], coarse, image)


def places(length: int) -> Tensor:
    """0…length − 1, int64."""
    return torch.arange(length, dtype=torch.int64)


def taps_at(numerators: Tensor, denominator: int, coarse: int) -> GraphTaps:
    """Linear interpolation at numerators/denominator, clamped to 0…coarse − 1."""
    inside = torch.minimum(numerators.clamp(min=0), whole((coarse - 1) * denominator))
    first = torch.div(inside, denominator, rounding_mode="floor")
    rest = inside - first * denominator
    scale = whole(denominator).float()
    weights = (denominator - rest).float() / scale, rest.float() / scale
    return GraphTaps(coarse, first, torch.minimum(first + 1, whole(coarse - 1)), weights)


def deconvolution_taps(coarse: int, length: int, factor: int, offset: int, kernel: int) -> GraphTaps:
    """As `pixelwise.layers.resample.deconvolution_taps`; twice the distance to the center is a whole number."""
    f = (kernel + 1) // 2
    center = 2 * f - (2 if kernel % 2 else 1)  # twice
    at = places(length) + offset
    last = whole(coarse - 1)
    first = torch.minimum((torch.div(at, factor, rounding_mode="floor") - 1).clamp(min=0), (last - 1).clamp(min=0))
    cells = first, first + 1
    weights = []
    for cell in cells:
        tap = at - factor * cell
        there = (tap >= 0) & (tap < kernel) & (cell <= last)
        weight = (2 * f - (2 * tap - center).abs()).float() / (2 * f)
        weights.append(torch.where(there, weight, torch.zeros_like(weight)))
    return GraphTaps(coarse, first, torch.minimum(first + 1, last), (weights[0], weights[1]))


def larger(one: int, other: int) -> int:
    """The larger of two sizes; a symbol of the graph where one of them is."""
    size: int = torch.sym_max(one, other)  # type: ignore[no-untyped-call]  # of torch
    return size


def smaller(one: int, other: int) -> int:
    """The smaller of two sizes; a symbol of the graph where one of them is."""
    size: int = torch.sym_min(one, other)  # type: ignore[no-untyped-call]  # of torch
    return size


def whole(number: int) -> Tensor:
    """A number that may be a symbol of the graph, as a tensor (1,) int64."""
    return torch.full((1,), number, dtype=torch.int64)


class GraphResampling:
    """What `Resampling` is, in a graph.

    Args:
        axes: rows and columns; none where the sizes are one.
    """

    def __init__(self, axes: Sequence[GraphTaps], coarse: Size, image: Size, *, identity: bool = False) -> None:
        self.axes = axes
        self.coarse_size, self.image_size = coarse, image
        self.is_identity = identity

    def apply(self, scores: Tensor) -> Tensor:
        """Scores (N, K, h, w) at the picture's size (N, K, H, W), float32."""
        if not self.axes:
            return scores.float()
        rows, columns = self.axes
        return _lerp(_lerp(scores.float(), columns, -1), rows, -2)

    def argmax(self, scores: Tensor) -> Tensor:
        """The class of the largest resampled score, (N, H, W) int64; the first of equal ones."""
        return self.apply(scores).argmax(1)


def _lerp(values: Tensor, taps: GraphTaps, axis: int) -> Tensor:
    shape = [1] * values.ndim
    shape[axis] = -1
    left = values.index_select(axis, taps.first) * taps.weights[0].reshape(shape)
    return left + values.index_select(axis, taps.second) * taps.weights[1].reshape(shape)


def identity(size: Size) -> GraphResampling:
    """The network ends at the picture's own size."""
    return GraphResampling([], size, size, identity=True)
