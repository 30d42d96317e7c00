"""Mean field in numba, on CPUs.

A step slices the messages of the step before, takes the softmax and splats it into the next sums, for all terms in
one pass over the pixels (`mean_field_kernels.update`); the marginals are stored after the last step alone. Weights of
the pairwise terms and normalizations stand in the weights of slice and splat. Compatibilities that are no single
weight are applied to the blurred vertices, which is the same, as slicing is linear.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixelwise.crf import features
from pixelwise.crf import mean_field_kernels as kernels
from pixelwise.crf.arrays import is_tensor
from pixelwise.crf.engines import Term
from pixelwise.crf.features import Sigma, colors
from pixelwise.crf.lattice import Lattice, bands, row_layout
from pixelwise.crf.lattice_kernels import BLOCK, slice_, splat
from pixelwise.crf.threads import Team
from pixelwise.errors import BadOption, ShapeError

Floats = NDArray[np.float32]


class NumbaEngine:
    """Computes with so many threads.

    Args:
        threads: from 1 up.
        moves: whether tensors on other devices are moved to the CPU, or refused.
    """

    takes_batches = False

    def __init__(self, threads: int, *, moves: bool) -> None:
        self.threads = threads
        self.moves = moves

    def floats(self, given: Any) -> Floats:
        """An array, (…) float32, contiguous, writable and aligned: for others, numba would compile the kernels anew."""
        with np.errstate(over="ignore"):
            return np.require(self._array(given), np.float32, ["C", "W", "A"])

    def energies(self, probabilities: Floats, smallest: float) -> Floats:
        """The array −log max(p, smallest)."""
        energies = np.maximum(probabilities, np.float32(smallest))
        bands = np.array_split(energies, min(self.threads, len(energies)))

        def take_logarithm(band: Floats) -> None:
            np.log(band, out=band)
            np.negative(band, out=band)

        with Team(len(bands)) as team:
            team.run(take_logarithm, bands)
        return energies

    def positions(self, shape: Sequence[int], deviations: tuple[float, ...], pictures: int) -> Lattice:
        """The lattice of positions, kept for the next images of this shape."""
        assert pictures == 1
        return position_lattice(tuple(shape), deviations, self.threads)

    def bilateral(
        self, image: Any, shape: Sequence[int], sigma_pixels: Sigma, sigma_color: Sigma, pictures: int
    ) -> Lattice:
        """The lattice of positions and colors."""
        assert pictures == 1
        places = features.positions(shape, sigma_pixels)
        return Lattice(np.concatenate([places, colors(self._array(image), shape, sigma_color)]), threads=self.threads)

    def lattice(self, points: Any) -> Lattice:
        """The lattice of features (1, D, N)."""
        return Lattice(self.floats(points)[0], threads=self.threads)

    def has_built(self, given: Any, num_points: int, pictures: int) -> bool:
        """Whether it is a lattice already."""
        if not isinstance(given, Lattice):
            return False
        assert pictures == 1
        if given.num_points != num_points or given.bands != bands(num_points, self.threads):
            raise ShapeError(
                f"the lattice has {given.num_points} points in {len(given.bands) - 1} bands: expected one of "
                f"{num_points} points, built with {self.threads} threads"
            )
        return True

    def largest_row_sum(self, term: Term) -> float:
        """Of the term's normalized filter."""
        before, after = _factors(term)
        return float((term.lattice.filter(before[:, None])[:, 0] * after).max())

    def plan(self, unary: Floats, terms: Sequence[Term], kept: NDArray[np.intp]) -> "NumbaPlan":
        """Of unary (K, N) and the labels kept."""
        return NumbaPlan(unary, terms, kept, self.threads)

    def whole(self, marginals: Floats, kept: NDArray[np.intp], num_labels: int) -> Floats:
        """(K kept, N) → (K, N), zeros for the labels left out."""
        whole = np.zeros((num_labels, marginals.shape[1]), np.float32)
        whole[kept] = marginals
        return whole

    def _array(self, given: Any) -> NDArray[Any]:
        if not is_tensor(given):
            return np.asarray(given)
        if given.device.type != "cpu" and (given.is_meta or not self.moves):
            raise BadOption(f"a tensor is on {given.device}, the unary on the CPU: move it, or pass device=")
        tensor = given.detach().cpu()
        return np.asarray(tensor.float() if tensor.is_floating_point() else tensor)


class NumbaPlan:
    """The arrays of an inference: the pixels' energies, and all terms' lattices side by side.

    Attributes:
        width: floats in a row, L.
        registers: how many vectors are computed with at a time, as a tuple's length.
        energies: (N·L,) −U.
        offsets: (N, R) int32.
        slice_weights, splat_weights: (N, R), one array where all terms are symmetric.
        bases: the first row of each lattice, and the number of rows.
        reach: (lattices, blocks + 1) int32.
    """

    def __init__(self, unary: Floats, terms: Sequence[Term], kept: NDArray[np.intp], threads: int) -> None:
        lattices = [term.lattice for term in terms]
        num_points = unary.shape[1]
        self.num_labels, self.num_points = len(kept), num_points
        bands = lattices[0].bands if lattices else [0, num_points]
        assert all(lattice.bands == bands for lattice in lattices)  # a thread's points use its own rows alone
        self.spans = list(pairwise(bands))
        self.threads = len(self.spans)
        self.terms = terms
        self.bases = [0, *np.cumsum([lattice.num_rows for lattice in lattices], dtype=np.int64).tolist()]
        if self.bases[-1] >= 2**31:
            raise ShapeError(f"the lattices have {self.bases[-1]} vertices, more than 2³¹: filter the image in tiles")
        self.width, self.registers = row_layout(len(kept))
        self.nothing = np.empty(0, np.float32)
        self.compatibilities = [_padded(term.compatibility, kept, self.width) for term in terms]

        corners = [0, *np.cumsum([lattice.dimensions + 1 for lattice in lattices], dtype=np.int64).tolist()]
        symmetric = all(term.normalization == "symmetric" for term in terms)
        self.offsets = np.empty((num_points, corners[-1]), np.int32)
        self.slice_weights = np.empty((num_points, corners[-1]), np.float32)
        self.splat_weights = self.slice_weights if symmetric else np.empty_like(self.slice_weights)
        blocks = -(-num_points // BLOCK) + 1
        self.reach = np.empty((len(lattices), blocks), np.int32)
        with Team(self.threads) as team:
            chosen = unary if len(kept) == len(unary) else unary[kept]
            self.energies = self.pack(team, chosen, -1, kernels.ABSENT)
            for k, term in enumerate(terms):
                self.reach[k] = term.lattice.reach + self.bases[k]
                before, after = _factors(term)
                weight = float(term.compatibility) if term.compatibility.ndim == 0 else 1.0
                place = self.bases[k], corners[k]
                # In float64: a factor that is rounded errs alike at all pixels, and ten steps make much of that.
                if symmetric:  # the same before and after the filter
                    root = before * math.sqrt(weight * term.lattice.scale)
                    self._combine(team, term.lattice, root, place, self.slice_weights)
                else:
                    after = after * (weight * term.lattice.scale)
                    self._combine(team, term.lattice, after, place, self.slice_weights)
                    self._combine(team, term.lattice, before, place, self.splat_weights)

    def infer(self, steps: int) -> Floats:
        """The marginals (K, N) after so many steps."""
        marginals = self.empty()
        messages, sums = (self.new_rows(), self.new_rows()) if steps else (self.nothing, self.nothing)
        with Team(self.threads) as team:
            for step in range(steps + 1):
                self.update(team, messages, sums, marginals, receives=step > 0, sends=step < steps)
                if step < steps:
                    messages, sums = sums, messages
                    self.blur(team, messages)
        return marginals

    def step(self, marginals: Floats) -> Floats:
        """The marginals (K, N) after one step more."""
        result = self.empty()
        with Team(self.threads) as team:
            self.update(team, self._messages(team, marginals), self.nothing, result, receives=True, sends=False)
        return result

    def kl_divergence(self, marginals: Floats) -> float:
        """As in `reference.py`."""
        divergence = float((marginals * np.log(np.maximum(marginals, np.float32(1e-20)))).sum(dtype=np.float64))
        energies = self.energies.reshape(-1, self.width)[:, : len(marginals)]
        divergence -= float((marginals * energies.T).sum(dtype=np.float64))
        with Team(self.threads) as team:
            received = self.slice(team, self._messages(team, marginals))
        received = received.reshape(-1, self.width)[:, : len(marginals)]
        return divergence - 0.5 * float((marginals * received.T).sum(dtype=np.float64))

    def empty(self) -> Floats:
        """Room for marginals."""
        return np.empty((self.num_labels, self.num_points), np.float32)

    def _messages(self, team: Team, marginals: Floats) -> Floats:
        """The blurred rows of marginals (K, N)."""
        points = self.pack(team, marginals, 1, np.float32(0))
        rows = self.new_rows()
        rows[:] = 0
        team.run(lambda band: splat(points, self.offsets, self.splat_weights, rows, self.width, *band), self.spans)
        self.blur(team, rows)
        return rows

    def _combine(
        self, team: Team, lattice: Lattice, factors: NDArray[np.float64], place: tuple[int, int], weights: Floats
    ) -> None:
        team.run(
            lambda band: kernels.combine(
                lattice.offsets, lattice.weights, factors, *place, self.offsets, weights, *band
            ),
            self.spans,
        )

    def pack(self, team: Team, values: Floats, factor: int, padding: np.float32) -> Floats:
        """(K, N) → (N·L,)."""
        rows = _aligned(values.shape[1] * self.width)
        numbers = np.float32(factor), padding
        team.run(lambda band: kernels.pack(values, *numbers, rows, self.width, band[0], band[1]), self.spans)
        return rows

    def new_rows(self) -> Floats:
        """Room for the rows of all lattices."""
        return _aligned(self.bases[-1] * self.width)

    def update(
        self, team: Team, messages: Floats, sums: Floats, marginals: Floats, *, receives: bool, sends: bool
    ) -> None:
        """`mean_field_kernels.update` for all points."""
        team.run(
            lambda band: kernels.update(
                self.energies,
                self.offsets,
                self.slice_weights,
                self.splat_weights,
                messages,
                sums,
                self.reach,
                marginals,
                self.width,
                receives,
                sends,
                self.registers,
                *band,
            ),
            self.spans,
        )

    def blur(self, team: Team, rows: Floats) -> None:
        """Blur the rows of all lattices and apply the compatibilities, in place."""
        for k, term in enumerate(self.terms):
            own = rows[self.bases[k] * self.width : self.bases[k + 1] * self.width]
            term.lattice.blur(own, self.width, self.registers, team)
            energies = self.compatibilities[k]
            table = own.reshape(-1, self.width)
            if energies.ndim == 1:
                table *= -energies
            elif energies.ndim == 2:
                table[:] = table @ -energies.T

    def slice(self, team: Team, messages: Floats) -> Floats:
        """(N·L,): what the points receive."""
        points = _aligned(len(self.energies))
        points[:] = 0
        team.run(lambda band: slice_(points, self.offsets, self.slice_weights, messages, self.width, *band), self.spans)
        return points


@lru_cache(maxsize=2)
def position_lattice(shape: tuple[int, ...], sigma: tuple[float, ...], threads: int) -> Lattice:
    """The lattice of positions, which all images of a shape share."""
    return Lattice(features.positions(shape, sigma), threads=threads)


def _factors(term: Term) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(N,) what the normalization multiplies by before and after the filter."""
    mass = term.lattice.mass
    if term.normalization == "symmetric":
        root = 1 / np.sqrt(mass)
        return root, root
    ones = np.ones_like(mass)
    if term.normalization == "none":
        return ones, ones
    inverse = 1 / mass
    return (ones, inverse) if term.normalization == "after" else (inverse, ones)


def _padded(compatibility: NDArray[np.float64], kept: NDArray[np.intp], width: int) -> Floats:
    """Energies of the kept labels, zeros for the labels that pad a row; a single weight as it is."""
    if compatibility.ndim == 0:
        return compatibility.astype(np.float32)
    padded = np.zeros((width,) * compatibility.ndim, np.float32)
    inside = (slice(len(kept)),) * compatibility.ndim
    padded[inside] = compatibility[np.ix_(*[kept] * compatibility.ndim)]
    return padded


def _aligned(count: int) -> Floats:
    """(count,) float32 that begin at a cache line: vectors that straddle two lines cost a third of the passes' time."""
    room = np.empty(count + 16, np.float32)
    skipped: int = -room.ctypes.data % 64 // 4
    return room[skipped : skipped + count]
