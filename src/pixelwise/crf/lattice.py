"""The permutohedral lattice: Gaussian filters over points of any dimension, in time linear in their number.

Adams, Baek, Davis: Fast High-Dimensional Filtering Using the Permutohedral Lattice, Eurographics 2010. Values are
*splatted* with barycentric weights to the D + 1 vertices around each point, *blurred* with (½, 1, ½) along each of the
D + 1 axes in turn, and *sliced* with the same weights. The result approximates Σ_j exp(−|f_i − f_j|²/2)·v_j, j = i
included, up to a constant that any normalization takes away. Normalized filters of random values in 0–1 differ from
the Gaussian's by 0.002 on average, at most 0.014, for positions at 3 pixels; with colors by 0.003–0.02, at most 0.22.

Simplices and order of vertices are those of the CRF authors' code and pydensecrf, in float32.

**Differences:** pydensecrf holds coordinates in 16 bits, which wrap around beyond ±32767; here they are exact to ±2²⁰,
and more is an error. It may add up to three points of zeros where N is no multiple of four; here it does not.
"""

import math
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from itertools import pairwise
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pixelwise.crf import lattice_kernels as kernels
from pixelwise.crf.vectors import WIDTH
from pixelwise.errors import BadOption, ShapeError

Floats = NDArray[np.float32]
Result = TypeVar("Result")
POINTS_PER_THREAD = 8192  # fewer are not worth a thread
PARTS_PER_THREAD = 4  # so that a thread that was held up does not hold up the others
FLOATS_PER_PART = 1 << 15
FARTHEST = 2.0**20  # an elevated coordinate's largest absolute value: float32 still tells 1/16 there
LARGEST_KEY = 2**62


class Team:
    """Threads that work through a list together, the caller among them.

    The kernels have one thread each and let go of Python's lock, as in `layers/resample_kernels.py`.
    """

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._pool = ThreadPoolExecutor(threads - 1) if threads > 1 else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        if self._pool is not None:
            self._pool.shutdown()

    def run(self, job: Callable[..., Result], items: Sequence[Any]) -> list[Result]:
        """The job's results, one item each, in their order; each thread takes the next item that is left."""
        if self._pool is None or len(items) < 2:
            return [job(item) for item in items]
        results: dict[int, Result] = {}
        left = iter(range(len(items)))

        def work() -> None:
            for i in left:
                results[i] = job(items[i])

        others = [self._pool.submit(work) for _ in range(min(self.threads, len(items)) - 1)]
        work()
        for other in others:
            other.result()
        return [results[i] for i in range(len(items))]

    def parts(self, count: int, width: int, together: Callable[[int], bool]) -> list[tuple[int, int]]:
        """Spans that cover 0…count − 1 rows of so many floats, for `run`: a few for each thread, none too small.

        Args:
            together: whether item i must be in one span with item i − 1.
        """
        wanted = min(PARTS_PER_THREAD * self.threads, count * width // FLOATS_PER_PART) if self.threads > 1 else 1
        cuts = [0]
        for part in range(1, wanted):
            cut = max(count * part // wanted, cuts[-1])
            while 0 < cut < count and together(cut):
                cut += 1
            cuts.append(cut)
        return [span for span in pairwise([*cuts, count]) if span[0] < span[1]]


def available_threads(threads: int | None = None) -> int:
    """The number asked for, or that of the processors this process may use.

    Raises:
        BadOption: less than 1.
    """
    if threads is None:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if isinstance(threads, bool) or not isinstance(threads, int) or threads < 1:
        raise BadOption(f"threads is {threads!r}: expected a whole number from 1 up, or None for all processors")
    return threads


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
        num_rows: M and the copies: each band of points has rows of its own, and those of an earlier band's vertices
            are added to that band's before the blur.
        offsets: (N, D + 1) int32, the rows of each point's vertices.
        weights: (N, D + 1) float32, the barycentric weights; they add up to 1.
        shared: (2, num_rows − M) int32, the copies and the rows that they are copies of, in order of these.
        chains: for each axis, the rows of neighboring vertices (`lattice_kernels.axis_chains`).
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
        scale = _elevation(self.dimensions)
        multipliers, steps = _keys(points, scale)

        def find_simplices(band: tuple[int, int]) -> tuple[NDArray[np.int32], int, NDArray[np.int64], int]:
            return kernels.simplices(points, scale, multipliers, steps, self.offsets, self.weights, self.reach, *band)

        with Team(len(self.bands) - 1) as team:
            parts = team.run(find_simplices, list(pairwise(self.bands)))
            counts = [count for *_, count in parts]
            self.first_rows: list[int] = [0, *np.cumsum(counts).tolist()]
            keys = np.concatenate([keys[:count] for _, _, keys, count in parts])
            table, bits = parts[0][:2]
            del parts
            table, bits, self.shared = self._merge(table, bits, keys)
            team.run(self._renumber, range(len(self.bands) - 1))
            self.chains = team.run(
                lambda step: kernels.axis_chains(table, bits, keys, self.shared[0], step).copy(), steps.tolist()
            )
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
        width = max(1, -(-given.shape[1] // WIDTH)) * WIDTH
        padded = np.zeros((self.num_points, width), np.float32)
        padded[:, : given.shape[1]] = given
        flat, rows = padded.ravel(), np.zeros(self.num_rows * width, np.float32)
        with Team(len(self.bands) - 1) as team:
            spans = list(pairwise(self.bands))
            team.run(lambda band: kernels.splat(flat, self.offsets, self.weights, rows, width, *band), spans)
            self.blur(rows, width, kernels.ONE_REGISTER, team, reverse=reverse)
            weights = self.weights * np.float32(self.scale)
            team.run(lambda band: kernels.slice_(flat, self.offsets, weights, rows, width, *band), spans)
        return padded[:, : given.shape[1]].copy()

    def blur(self, rows: Floats, width: int, registers: tuple[int, ...], team: Team, *, reverse: bool = False) -> None:
        """Blur rows (num_rows·width,) along all axes, in place; copies are added up before and set after."""
        copies, originals = self.shared
        shared = team.parts(len(copies), width, lambda i: bool(originals[i - 1] == originals[i]))
        team.run(lambda part: kernels.add_rows(rows, width, copies, originals, *part), shared)
        for chains in reversed(self.chains) if reverse else self.chains:
            _blur_axis(rows, width, chains, registers, team)
        team.run(lambda part: kernels.copy_rows(rows, width, originals, copies, *part), shared)

    @cached_property
    def mass(self) -> NDArray[np.float64]:
        """(N,): the filter of ones, what normalizations divide by."""
        rows = np.zeros(self.num_rows)
        mass = np.empty(self.num_points)
        spans = list(pairwise(self.bands))
        with Team(len(spans)) as team:
            team.run(lambda band: kernels.masses(self.offsets, self.weights, rows, mass, True, *band), spans)
            np.add.at(rows, self.shared[1], rows[self.shared[0]])
            for chains in self.chains:
                kernels.blur_masses(rows, chains)
            rows[self.shared[0]] = rows[self.shared[1]]
            team.run(lambda band: kernels.masses(self.offsets, self.weights, rows, mass, False, *band), spans)
        mass *= self.scale
        return mass

    def _merge(
        self, table: NDArray[np.int32], bits: int, keys: NDArray[np.int64]
    ) -> tuple[NDArray[np.int32], int, NDArray[np.int32]]:
        """The first band's table with the other bands' vertices, and what is shared."""
        if len(self.first_rows) > 2 and 2 * len(keys) > 1 << bits:
            bits = math.ceil(math.log2(2 * len(keys)))
            table = kernels.table_of(keys, self.first_rows[1], bits)
        shared = np.empty((2, len(keys) - self.first_rows[1]), np.int32)
        count = 0
        for first, last in pairwise(self.first_rows[1:]):
            count = kernels.merge(table, bits, keys, first, last, shared, count)
        order = np.argsort(shared[1, :count], kind="stable")  # copies of one row together, in the order of bands
        return table, bits, np.ascontiguousarray(shared[:, :count][:, order])

    def _renumber(self, band: int) -> None:
        """Rows of a band to rows of the lattice."""
        start, stop, first = self.bands[band], self.bands[band + 1], self.first_rows[band]
        if first:
            self.offsets[start:stop] += first
            self.reach[start // kernels.BLOCK : -(-stop // kernels.BLOCK)] += first


def _points(features: ArrayLike) -> Floats:
    """Features as (D, N) float32, checked."""
    with np.errstate(over="ignore"):
        points = np.ascontiguousarray(features, np.float32)
    if points.ndim != 2 or not points.size:
        raise ShapeError(f"features are {points.shape}: expected (D, N), a column for each point, D and N from 1 up")
    if not np.isfinite(points).all():
        raise BadOption("features hold values that are not finite; check the image and the widths of the Gaussians")
    return points


def _elevation(dimensions: int) -> Floats:
    """(D,): the diagonal of the map onto the plane, where the blur has standard deviation 1 (Adams et al., p. 5)."""
    deviation = np.float32(math.sqrt(2 / 3) * (dimensions + 1))
    return np.array([1 / math.sqrt((i + 2) * (i + 1)) * float(deviation) for i in range(dimensions)], np.float32)


def _keys(points: Floats, scale: Floats) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Multipliers (D,) that turn coordinates into keys, and what a move along each of the D + 1 axes adds.

    Where the coordinates' ranges, neighbors included, fit into 62 bits, keys are exact: digits of mixed radix. Where
    not, multipliers are random odd numbers modulo 2⁶⁴; that two of a million vertices meet is less likely than 1e-6.
    """
    dimensions = len(points)
    low, high = points.min(1) * scale.astype(float), points.max(1) * scale.astype(float)
    # elevated coordinate j is Σ_{i > j} s_i f_i − j s_j f_j, features counted from 1; intervals add up
    above = np.array([[low[j:].sum(), high[j:].sum()] for j in range(dimensions)])
    below = np.array([[-j * high[j - 1], -j * low[j - 1]] if j else [0.0, 0.0] for j in range(dimensions)])
    interval = above + below
    farthest = max(float(np.abs(interval).max()), dimensions * float(np.abs([low[-1], high[-1]]).max()))
    if farthest > FARTHEST:
        raise BadOption(
            f"features reach {farthest:.3g} lattice units, more than {FARTHEST:.0f}: "
            "a Gaussian is too narrow for the range of its image or positions; widen it"
        )
    # a vertex is at most 2.5(D + 1) from its point, a neighbor D farther
    ranges = [math.ceil(top - bottom) + 8 * (dimensions + 1) for bottom, top in interval.tolist()]
    if math.prod(ranges) < LARGEST_KEY:
        multipliers = [math.prod(ranges[:i]) for i in range(dimensions)]
    else:
        random = np.random.default_rng(0)
        multipliers = [int(value) | 1 for value in random.integers(-(2**63), 2**63 - 1, dimensions)]
    with np.errstate(over="ignore"):
        whole = np.array(multipliers, np.int64)
        along = np.full(dimensions + 1, whole.sum(), np.int64)
        along[:-1] -= (dimensions + 1) * whole
    return whole, along


def _blur_axis(rows: Floats, width: int, chains: NDArray[np.int32], registers: tuple[int, ...], team: Team) -> None:
    parts = team.parts(len(chains), width, lambda i: bool(chains[i - 1] >= 0))
    team.run(lambda part: kernels.blur(rows, width, chains, registers, *part), parts)
