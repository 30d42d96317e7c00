"""The permutohedral lattice of `lattice.py` in torch, for GPUs: many pictures at once.

The simplices are those of `lattice_kernels.py`: the same operations on float32 in the same order. Vertices are found
by sorting the keys of all points' vertices once, which also puts together what each vertex gathers; so splat, blur
and slice are all weighted sums of gathered rows (`torch.embedding_bag`), in an order that does not change: no atomic
operations, the same bits each time.

**Differences:** from `lattice.py`: vertices are in the order of their keys, and sums of many points are taken
in parts, which rounds less.
"""

from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from pixelwise.crf.arrays import described
from pixelwise.crf.elevation import elevation, key_multipliers
from pixelwise.errors import ShapeError

LONGEST_SUM = 64  # rows that a thread of a GPU adds up, one after the other; longer sums take two rounds


class Sums(NamedTuple):
    """Weighted sums of rows of a table: sum b is Σ weights[e]·table[rows[e]] over e from first[b] to first[b + 1] − 1.

    Attributes:
        rows: (E,) int32.
        first: (B + 1,) int32.
        weights: (E,), or None where all are 1.
    """

    rows: Tensor
    first: Tensor
    weights: Tensor | None

    def of(self, table: Tensor) -> Tensor:
        """(R, L) → (B, L)."""
        weights = None if self.weights is None else self.weights.to(table.dtype)
        sums: Tensor = torch.embedding_bag(
            table, self.rows, self.first, False, 0, False, weights, include_last_offset=True
        )[0]
        return sums


class TorchLattice:
    """The lattices of B pictures of N points each, and their filter.

    Args:
        features: (B, D, N) or (D, N), floats on any device, finite: the points in units of the Gaussian's standard
            deviation. Pictures do not see each other.

    Raises:
        ShapeError: features are not (B, D, N) floats, or there are too many.
        BadOption: features are not finite or lie farther from 0 than float32 can resolve.

    Attributes:
        dimensions: D.
        pictures: B.
        num_points: B·N, picture after picture.
        num_vertices: M, of distinct vertices.
        offsets: (B·N, D + 1) int32, the rows of each point's vertices.
        weights: (B·N, D + 1) float32, the barycentric weights; they add up to 1.
        scale: 1/(1 + 2^−D), with which the slice is multiplied.
        splat: one or two rounds of sums of the points' rows: (B·N, L) → (M + 1, L), the last row 0.
        blurs: for each axis, (M + 1, L) → (M + 1, L).
        slice: (M + 1, L) → (B·N, L).

    >>> lattice = TorchLattice(torch.tensor([[0.0, 0.1, 5.0]]))
    >>> lattice.filter(torch.ones(3, 1))
    tensor([[1.6474],
            [1.6134],
            [0.7749]])
    """

    def __init__(self, features: Tensor) -> None:
        if features.ndim not in (2, 3) or not features.numel() or not features.is_floating_point():
            raise ShapeError(f"features are {described(features)}: expected (B, D, N) floats")
        with torch.no_grad():
            self._build(features.reshape(-1, *features.shape[-2:]).float())

    def _build(self, features: Tensor) -> None:
        self.pictures, self.dimensions, each = features.shape
        corners = self.dimensions + 1
        self.num_points = self.pictures * each
        self.scale = 1 / (1 + 2.0**-self.dimensions)
        if 3 * (self.num_points * corners + 1) >= 2**31:  # the most entries of `blurs`
            raise ShapeError(f"the pictures have {self.num_points} points: filter fewer at a time, or in tiles")
        points = features.transpose(0, 1).reshape(self.dimensions, -1)
        lowest, highest = torch.stack([points.amin(1), points.amax(1)]).cpu().numpy()  # waits; so do M and its parts
        multipliers, steps = key_multipliers(lowest, highest, self.pictures)

        rest, rank, corner = _simplices(points)
        by_rank = torch.empty_like(rest).scatter_(0, rank, rest)
        weights = torch.empty_like(rest)  # (D + 1, B·N)
        weights[0] = by_rank[-1] + (1 - by_rank[0])
        weights[1:] = by_rank[:-1].flip(0) - by_rank[1:].flip(0)
        self.weights = weights.T.contiguous()

        axis_steps = torch.from_numpy(steps).to(points.device)
        number = torch.arange(self.pictures, device=points.device).repeat_interleave(each)
        key = torch.empty(corners, self.num_points, dtype=torch.int64, device=points.device)
        key[0] = number * int(multipliers[-1])
        for i in range(self.dimensions):
            key[0] += corner[i].long() * int(multipliers[i])
        # from vertex to vertex along the axis of the next smallest rest
        along = torch.empty_like(key).scatter_(0, rank, axis_steps[:, None].expand_as(key))
        key[1:] = along[1:].flip(0)
        self._find_vertices(key.cumsum(0).T.reshape(-1), axis_steps)

    def _find_vertices(self, key: Tensor, axis_steps: Tensor) -> None:
        """Number the vertices whose keys are (B·N·(D + 1),), and list what each of them sums."""
        corners = self.dimensions + 1
        device = key.device
        ordered, order = key.sort(stable=True)
        begins = torch.ones_like(ordered, dtype=torch.bool)
        torch.ne(ordered[1:], ordered[:-1], out=begins[1:])
        first = begins.nonzero()[:, 0]
        vertices = ordered[first]
        self.num_vertices = count = len(vertices)
        offsets = torch.empty(len(key), dtype=torch.int32, device=device)
        offsets.scatter_(0, order, begins.cumsum(0, dtype=torch.int32) - 1)
        self.offsets = offsets.reshape(-1, corners)

        whole = torch.arange(0, len(key) + 1, corners, dtype=torch.int32, device=device)
        self.slice = Sums(offsets, whole, self.weights.flatten())
        # One row more than vertices, of zeros: the neighbor that is not there.
        ends = torch.full((2,), len(key), device=device)
        spans = torch.cat([first, ends])
        rows = (order // corners).int()
        self.splat = [Sums(rows, spans.int(), self.weights.flatten()[order])]
        parts = (spans.diff() + LONGEST_SUM - 1) // LONGEST_SUM
        parts_first = torch.cat([parts.new_zeros(1), parts.cumsum(0)])
        num_parts = int(parts_first[-1])
        if num_parts > count:
            every = torch.arange(num_parts, device=device)
            vertex = torch.repeat_interleave(parts, output_size=num_parts)
            starts = spans[vertex] + (every - parts_first[vertex]) * LONGEST_SUM
            starts = torch.cat([starts, ends[:1]]).int()
            self.splat = [self.splat[0]._replace(first=starts), Sums(every.int(), parts_first.int(), None)]

        thirds = torch.arange(0, 3 * count + 4, 3, dtype=torch.int32, device=device)
        halves = torch.tensor([1.0, 0.5, 0.5], dtype=torch.float32, device=device).repeat(count + 1)
        self.blurs = []
        for step in axis_steps:
            wanted = torch.stack([vertices - step, vertices + step])
            place = torch.searchsorted(vertices, wanted).clamp_(max=count - 1)
            neighbors = torch.full((count + 1, 3), count, dtype=torch.int32, device=device)
            neighbors[:-1, 0] = torch.arange(count, device=device)
            neighbors[:-1, 1:] = torch.where(vertices[place] == wanted, place, count).T
            self.blurs.append(Sums(neighbors.flatten(), thirds, halves))

    @torch.no_grad()
    def filter(self, values: Tensor, *, reverse: bool = False) -> Tensor:
        """(B·N, L) → (B·N, L) float32: splat, blur, slice; not normalized, without a gradient.

        Args:
            reverse: blur along the axes in reverse order, which gives the transposed filter.

        Raises:
            ShapeError: values are not (B·N, L).
        """
        if values.ndim != 2 or len(values) != self.num_points:
            raise ShapeError(f"values are {tuple(values.shape)}: expected ({self.num_points}, L)")
        return self._filter(values.float(), reverse=reverse)

    @cached_property
    def mass(self) -> Tensor:
        """(B·N,) float64, float32 on a device without it: the filter of ones, what normalizations divide by."""
        ones = torch.ones(self.num_points, 1, dtype=exact_type(self.weights.device), device=self.weights.device)
        with torch.no_grad():
            return self._filter(ones)[:, 0]

    def weighted(self, before: Tensor, after: Tensor) -> tuple[list[Sums], Sums]:
        """`splat` and `slice` with factors of the points (B·N,) in their weights, after the filter `scale`, too."""
        splat = self.splat[0]
        assert splat.weights is not None
        sent = (splat.weights * before[splat.rows.long()]).float()
        received = (self.weights * (after * self.scale)[:, None]).float().flatten()
        return [splat._replace(weights=sent), *self.splat[1:]], self.slice._replace(weights=received)

    def _filter(self, values: Tensor, *, reverse: bool = False) -> Tensor:
        rows = values.contiguous()
        for sums in self.splat:
            rows = sums.of(rows)
        for sums in reversed(self.blurs) if reverse else self.blurs:
            rows = sums.of(rows)
        return self.slice.of(rows) * self.scale


def exact_type(device: torch.device) -> torch.dtype:
    """float64, where the device has it."""
    return torch.float32 if device.type == "mps" else torch.float64


def _simplices(points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(D, N) float32 → the simplices, as `lattice_kernels._locate` finds them: rest, rank and corner, (D + 1, N).

    Each product and each sum is a call of its own, so that it is rounded by itself, as in numba: no `alpha=`, and no
    division by a number, which CUDA turns into a product.
    """
    dimensions, num_points = points.shape
    size = dimensions + 1
    scaled = points * torch.from_numpy(elevation(dimensions)).to(points.device)[:, None]
    elevated = points.new_empty(size, num_points)
    total = points.new_zeros(num_points)
    for j in range(dimensions, 0, -1):
        elevated[j] = total - scaled[j - 1] * j
        total = total + scaled[j - 1]
    elevated[0] = total

    down = float(np.float32(1) / np.float32(size))
    rounded = (elevated * down).round()
    total = rounded.sum(0)  # whole numbers: exact
    corner = rounded * size
    rest = elevated - corner
    rank = torch.empty_like(rest)
    for i in range(size):
        above = (rest[:i] >= rest[i]).sum(0) if i else 0  # of equal rests the first is the larger
        rank[i] = above + (rest[i + 1 :] > rest[i]).sum(0)
    place = rank + total
    move = ((place < 0).float() - (place >= size).float()) * size
    corner = corner + move
    return (elevated - corner) * down, (place + move).long(), corner
