"""The permutohedral lattice: Gaussian filters over points of any dimension, in time linear in their number.

Adams, Baek, Davis: Fast High-Dimensional Filtering Using the Permutohedral Lattice, Eurographics 2010. Values are
*splatted* with barycentric weights to the D + 1 vertices around each point, *blurred* with (½, 1, ½) along each of the
D + 1 axes in turn, and *sliced* with the same weights. The result approximates Σ_j exp(−|f_i − f_j|²/2)·v_j, j = i
included, up to a constant of the dimension that any normalization takes away: the sums of ones are 0.91 of the
Gaussian's in one dimension, 0.88 in two, 0.5–0.65 in five, where points differ by a tenth. Normalized filters of random
values in 0–1 differ from the Gaussian's by 0.002 on average, at most 0.012, for positions at 3 pixels; with colors by
0.001–0.006 on average, at most 0.16 (benchmarks/crf_accuracy.py).

Simplices and order of vertices are those of the CRF authors' code and pydensecrf, in float32.

**Differences:** pydensecrf holds coordinates in 16 bits, which wrap around beyond ±32767; here they are exact to ±2²⁰,
and more is an error. It may add up to three points of zeros where N is no multiple of four; here it does not.
"""

import math
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pixelwise.crf import lattice_kernels as kernels
from pixelwise.crf.arrays import array_of, described, is_tensor
from pixelwise.crf.elevation import elevation, key_multipliers
from pixelwise.crf.threads import Team, available_threads
from pixelwise.crf.vectors import WIDTH
from pixelwise.errors import ShapeError

Floats = NDArray[np.float32]
Rows = NDArray[np.int32]
Keys = NDArray[np.int64]
POINTS_PER_THREAD = 8192  # fewer are not worth a thread
PARTS_PER_THREAD = 4  # so that a thread that was held up does not hold up the others


def bands(num_points: int, threads: int) -> list[int]:
    """Where each thread's points begin, and the end: multiples of BLOCK, not too few points in each."""
    threads = max(1, min(threads, num_points // POINTS_PER_THREAD))
    blocks = -(-num_points // kernels.BLOCK)
    return [min(blocks * i // threads * kernels.BLOCK, num_points) for i in range(threads + 1)]


class Lattice:
    """The lattice of N points, and its filter.

    Args:
        features: (D, N), D ≥ 1, N ≥ 1, finite: the points in units of the Gaussian's standard deviation.
        threads: how many build and filter; all processors if None.

    Raises:
        ShapeError: features are not (D, N) numbers.
        BadOption: features are not finite or lie farther from 0 than float32 can resolve.

    Attributes:
        dimensions: D.
        num_points: N.
        num_vertices: M, of distinct vertices.
        num_rows: M and the copies, which are added up before the blur: each band of points has rows of its own, and a
            vertex has a row for every LONGEST_SUM points that it takes from.
        offsets: (N, D + 1) int32, the rows of each point's vertices.
        weights: (N, D + 1) float32, the barycentric weights; they add up to 1.
        shared: (2, num_rows − M) int32, the copies and the rows that they are copies of, in order of these.
        chains: for each axis, the rows of neighboring vertices (`lattice_kernels.axis_chains`), axis after axis.
        cuts: where the parts of `shared` and of each axis' chains begin that threads take (`lattice_kernels.blur`).
        bands: the first point of each thread's band, and N.
        first_rows: the first row of each band, and `num_rows`.
        reach: (⌈N/BLOCK⌉ + 1,) int32: block b's points are the first to use rows reach[b]…reach[b + 1] − 1.
        scale: 1/(1 + 2^−D), with which the slice is multiplied.

    >>> lattice = Lattice(np.array([[0.0, 0.1, 5.0]]))
    >>> lattice.filter(np.array([[1.0], [1.0], [1.0]])).round(2)
    array([[1.65],
           [1.61],
           [0.77]], dtype=float32)
    """

    def __init__(self, features: ArrayLike, *, threads: int | None = None) -> None:
        points = _points(features)
        self.dimensions, self.num_points = points.shape
        self.scale = 1 / (1 + 2.0**-self.dimensions)
        self.bands = bands(self.num_points, available_threads(threads))
        corners = self.dimensions + 1
        self.offsets = np.empty((self.num_points, corners), np.int32)
        self.weights = np.empty((self.num_points, corners), np.float32)
        self.reach = np.empty(-(-self.num_points // kernels.BLOCK) + 1, np.int32)
        scale = elevation(self.dimensions)
        multipliers, steps = key_multipliers(points.min(1), points.max(1))

        def find_simplices(band: tuple[int, int]) -> tuple[Rows, int, Keys, int, Rows]:
            return kernels.simplices(points, scale, multipliers, steps, self.offsets, self.weights, self.reach, *band)

        with Team(len(self.bands) - 1) as team:
            parts = team.run(find_simplices, list(pairwise(self.bands)))
            counts = [count for _, _, _, count, _ in parts]
            self.first_rows: list[int] = [0, *np.cumsum(counts).tolist()]
            keys = np.concatenate([keys[:count] for _, _, keys, count, _ in parts])
            table, bits, *_, copies = parts[0]
            del parts
            table, bits, self.shared = self._merge(table, bits, keys, copies)
            team.run(self._renumber, range(len(self.bands) - 1))
            chains = team.run(
                lambda step: kernels.axis_chains(table, bits, keys, self.shared[0], step).copy(), steps.tolist()
            )
            self.chains = np.concatenate(chains)
            self.cuts = self._cut(chains)
        self.reach[-1] = self.num_rows

    @property
    def num_rows(self) -> int:
        """M and the copies."""
        return int(self.first_rows[-1])

    @property
    def num_vertices(self) -> int:
        """M."""
        return self.num_rows - len(self.shared[1])

    def filter(self, values: ArrayLike, *, reverse: bool = False) -> Floats:
        """(N, L) → (N, L): splat, blur, slice; not normalized.

        Args:
            reverse: blur along the axes in reverse order, which gives the transposed filter.

        Raises:
            ShapeError: values are not (N, L).
        """
        given = np.asarray(values, np.float32)
        if given.ndim != 2 or len(given) != self.num_points:
            raise ShapeError(f"values are {given.shape}: expected ({self.num_points}, L), a row for each point")
        width, registers = row_layout(max(1, given.shape[1]))
        padded = np.zeros((self.num_points, width), np.float32)
        padded[:, : given.shape[1]] = given
        flat, rows = padded.ravel(), np.zeros(self.num_rows * width, np.float32)
        with Team(len(self.bands) - 1) as team:
            spans = list(pairwise(self.bands))
            team.run(lambda band: kernels.splat(flat, self.offsets, self.weights, rows, width, *band), spans)
            self.blur(rows, width, registers, team, reverse=reverse)
            weights = self.weights * np.float32(self.scale)
            team.run(lambda band: kernels.slice_(flat, self.offsets, weights, rows, width, *band), spans)
        return padded[:, : given.shape[1]].copy()

    def blur(self, rows: Floats, width: int, registers: tuple[int, ...], team: Team, *, reverse: bool = False) -> None:
        """Blur rows (num_rows·width,) along all axes, in place; copies are added up before and set after.

        Args:
            rows: float32, `width` for each row.
            width: floats in a row, with `registers` as `row_layout` gives them.
            team: the threads.
            reverse: from the last axis to the first, which is the transposed filter.
        """
        copies, originals = self.shared
        cuts = self.cuts[::-1].copy() if reverse else self.cuts
        progress = np.zeros(2 * len(cuts), np.int64)
        team.run(
            lambda _: kernels.blur(rows, width, self.chains, copies, originals, cuts, registers, progress),
            range(team.threads),
        )

    @cached_property
    def mass(self) -> NDArray[np.float64]:
        """(N,): the filter of ones, what normalizations divide by."""
        rows = np.zeros(self.num_rows)
        mass = np.empty(self.num_points)
        spans = list(pairwise(self.bands))
        with Team(len(spans)) as team:
            team.run(lambda band: kernels.masses(self.offsets, self.weights, rows, mass, True, *band), spans)
            np.add.at(rows, self.shared[1], rows[self.shared[0]])
            for first, last in self.cuts[1:-1, [0, -1]]:
                kernels.blur_masses(rows, self.chains[first:last])
            rows[self.shared[0]] = rows[self.shared[1]]
            team.run(lambda band: kernels.masses(self.offsets, self.weights, rows, mass, False, *band), spans)
        mass *= self.scale
        return mass

    def _merge(self, table: Rows, bits: int, keys: Keys, copies: Rows) -> tuple[Rows, int, Rows]:
        """The first band's table with the other bands' vertices, and what is shared: also its own copies."""
        if len(self.first_rows) > 2 and 2 * len(keys) > 1 << bits:
            bits = math.ceil(math.log2(2 * len(keys)))
            table = kernels.table_of(keys, self.first_rows[1], bits)
        count = copies.shape[1]
        shared = np.empty((2, count + len(keys) - self.first_rows[1]), np.int32)
        shared[:, :count] = copies
        for first, last in pairwise(self.first_rows[1:]):
            count = kernels.merge(table, bits, keys, first, last, shared, count)
        order = np.argsort(shared[1, :count], kind="stable")  # copies of one row together, in the order of bands
        return table, bits, np.ascontiguousarray(shared[:, :count][:, order])

    def _cut(self, chains: list[Rows]) -> Keys:
        """(D + 3, parts + 1): `cuts`; no chain is in two parts, nor are the copies of one row."""
        threads = len(self.bands) - 1
        parts = 1 if threads == 1 else PARTS_PER_THREAD * threads
        cuts = np.empty((len(chains) + 2, parts + 1), np.int64)
        cuts[[0, -1]] = _cuts(np.diff(self.shared[1], append=-1) != 0, parts)
        first = 0
        for axis, own in enumerate(chains, 1):
            cuts[axis] = first + _cuts(own < 0, parts)
            first += len(own)
        return cuts

    def _renumber(self, band: int) -> None:
        """Rows of a band to rows of the lattice."""
        start, stop, first = self.bands[band], self.bands[band + 1], self.first_rows[band]
        if first:
            self.offsets[start:stop] += first
            self.reach[start // kernels.BLOCK : -(-stop // kernels.BLOCK)] += first


def row_layout(num_labels: int) -> tuple[int, tuple[int, ...]]:
    """Floats in a row of so many labels, and the registers to compute with at a time.

    A row is padded to a multiple of all registers; a second and third turn cost about half a register each.

    >>> row_layout(2), row_layout(21), row_layout(150)
    ((8, (0,)), (24, (0, 0, 0)), (160, (0, 0, 0, 0)))
    """
    turns = {n: -(-num_labels // (n * WIDTH)) for n in (1, 2, 3, 4)}
    registers = min(turns, key=lambda n: (turns[n] * (n + 0.5), -n))
    return turns[registers] * registers * WIDTH, (0,) * registers


def _points(features: ArrayLike) -> Floats:
    """Features as (D, N) float32, checked."""
    given = array_of(features)
    if is_tensor(given) or given.ndim != 2 or not given.size or given.dtype.kind not in "fiu":
        raise ShapeError(
            f"features are {described(given)}: expected (D, N) numbers in numpy's array, a column for each point, "
            "D and N from 1 up"
        )
    with np.errstate(over="ignore"):
        return np.require(given, np.float32, ["C", "W", "A"])  # read-only or unaligned: kernels of their own


def _cuts(ends: NDArray[np.bool_], parts: int) -> NDArray[np.intp]:
    """Where each of so many like parts of a list begins, and its end; the last item of each part is one that ends."""
    possible = np.append(0, np.flatnonzero(ends) + 1)
    return possible[np.searchsorted(possible, len(ends) * np.arange(parts + 1) // parts)]
