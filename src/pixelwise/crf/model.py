"""The fully connected CRF on CPUs: mean-field inference with permutohedral lattices.

Krähenbühl, Koltun: Efficient Inference in Fully Connected CRFs with Gaussian Edge Potentials, NIPS 2011. What is
computed is defined in `reference.py`; only the Gaussian filter is approximate (`lattice.py`). With labels at random,
the hardest case, five steps then differ from the definition by 0.01 on average, and 5 % of the labels differ.

A step slices the messages of the step before, takes the softmax and splats it into the next sums, for all terms in
one pass over the pixels (`mean_field_kernels.update`); the marginals are stored after the last step alone. Weights of
the pairwise terms and normalizations stand in the weights of slice and splat. Compatibilities that are no single
weight are applied to the blurred vertices, which is the same, as slicing is linear.

**Differences:** from pydensecrf: a compatibility (K, K) is not made symmetric; `kl_divergence` has the ½ of each pair;
probabilities below 4e-31 are that.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pixelwise.crf import mean_field_kernels as kernels
from pixelwise.crf.features import Sigma, colors, deviations_of, positions
from pixelwise.crf.lattice import Lattice, Team, available_threads
from pixelwise.crf.lattice_kernels import BLOCK, slice_, splat
from pixelwise.crf.parameters import check_normalization
from pixelwise.crf.reference import Normalization
from pixelwise.crf.vectors import WIDTH
from pixelwise.errors import BadOption, LabelError, ShapeError

Floats = NDArray[np.float32]

LARGEST_ENERGY = 1e20
SMALLEST_PROBABILITY = 1e-5  # pydensecrf's unary_from_softmax clips there, too


class Term(NamedTuple):
    """A pairwise term: a lattice, its normalization, and a reward w or the energies μ, (K,) or (K, K)."""

    lattice: Lattice
    normalization: Normalization
    compatibility: NDArray[np.float64]


class DenseCRF:
    """A fully connected CRF over K labels and the pixels of an image, or any points.

    Args:
        unary: (K, *shape) energies, finite: −log probability, or −score. A constant for all labels of a pixel does
            not matter.
        threads: all processors this process may use if None. Another number changes results by rounding.
        prune: labels whose probability softmax(−U) is below this at every pixel are left out, and get 0. Let n be
            their number and W `largest_message()`. Left in, they would have at most n·prune·e^W of any pixel, all
            together and after any step; where that is below 1/K, none of them would win a pixel. Probabilities of
            the labels kept change by at most as much in the first step; later steps can add to it.

    Raises:
        ShapeError: unary is not (K, *shape) numbers, or empty.
        BadOption: an energy is not finite or beyond 1e20, or an option is impossible.

    >>> probabilities = np.full((2, 4, 6), 0.5, np.float32)
    >>> probabilities[0, 0, 0], probabilities[1, 0, 0] = 0.9, 0.1
    >>> crf = DenseCRF.from_probabilities(probabilities)
    >>> crf.add_gaussian(3, 2.0)
    >>> bool(crf.infer(5)[0, 3, 5] > 0.5)
    True
    """

    def __init__(self, unary: ArrayLike, *, threads: int | None = None, prune: float = 0.0) -> None:
        given = np.asarray(unary)
        if given.ndim < 2 or not given.size or given.dtype.kind not in "fiu":
            raise ShapeError(f"unary is {given.shape} of {given.dtype}: expected (K, *shape) numbers, K labels first")
        self.shape: tuple[int, ...] = given.shape[1:]
        self.num_labels = len(given)
        with np.errstate(over="ignore"):
            self.unary: Floats = np.ascontiguousarray(given.reshape(len(given), -1), np.float32)
        if not max(-self.unary.min(), self.unary.max()) < LARGEST_ENERGY:  # false for not-a-number, too
            raise BadOption(f"unary holds energies that are not finite or beyond {LARGEST_ENERGY:.0e}; clip them")
        self.num_points = self.unary.shape[1]
        self.threads = available_threads(threads)
        self.terms: list[Term] = []
        self._plan: _Plan | None = None
        self.kept = np.arange(self.num_labels)
        if not (isinstance(prune, (int, float)) and 0 <= prune < 1):
            raise BadOption(f"prune is {prune!r}: expected a probability from 0 (off) to below 1")
        if prune:
            likely = self.start().reshape(self.num_labels, -1).max(1) >= prune
            likely[self.unary.min(1).argmin()] = True
            self.kept = np.flatnonzero(likely)
            self._plan = None

    @classmethod
    def from_probabilities(
        cls,
        probabilities: ArrayLike,
        *,
        smallest: float = SMALLEST_PROBABILITY,
        threads: int | None = None,
        prune: float = 0.0,
    ) -> Self:
        """Energies −log max(p, smallest) of probabilities (K, *shape).

        Raises:
            ShapeError: they are not (K, *shape) floats.
            BadOption: one is negative or not a number, or those of a pixel do not add up to 1 within 0.001.
        """
        given = np.asarray(probabilities)
        if given.ndim < 2 or not given.size or given.dtype.kind != "f":
            raise ShapeError(f"probabilities are {given.shape} of {given.dtype}: expected (K, *shape) floats")
        if not 0 < smallest < 1:
            raise BadOption(f"smallest is {smallest!r}: expected a probability above 0")
        sums = given.sum(0, dtype=np.float32)
        if not given.min() >= 0:
            raise BadOption(
                f"probabilities hold {given.min():g}: expected 0–1; take the softmax of scores, or from_scores"
            )
        if not np.abs(sums - 1).max() <= 1e-3:
            raise BadOption(
                f"the probabilities of a pixel add up to {sums.min():.4g}–{sums.max():.4g}: expected 1; "
                "take the softmax of scores, or divide by the sum"
            )
        energies = np.maximum(given, smallest, dtype=np.float32)
        bands = np.array_split(energies, min(available_threads(threads), len(energies)))

        def take_logarithm(band: Floats) -> None:
            np.log(band, out=band)
            np.negative(band, out=band)

        with Team(len(bands)) as team:
            team.run(take_logarithm, bands)
        return cls(energies, threads=threads, prune=prune)

    @classmethod
    def from_scores(cls, scores: ArrayLike, *, threads: int | None = None, prune: float = 0.0) -> Self:
        """Energies −s of a network's scores before the softmax, (K, *shape); DeepLab's."""
        given = np.asarray(scores)
        return cls(-given.astype(float) if given.dtype.kind in "iu" else -given, threads=threads, prune=prune)

    @classmethod
    def from_labels(
        cls,
        labels: ArrayLike,
        num_labels: int,
        confidence: float,
        *,
        unsure: int | None = None,
        threads: int | None = None,
    ) -> Self:
        """Energies of a label map (*shape): each label has this confidence, the others share the rest.

        Args:
            confidence: probability of the label, between 0 and 1.
            unsure: pixels of this label are equally likely of every class.

        Raises:
            ShapeError: labels are not whole numbers.
            LabelError: a label is neither 0…num_labels − 1 nor `unsure`.
            BadOption: the confidence is not between 0 and 1.
        """
        given = np.asarray(labels)
        if given.dtype.kind not in "iu" or not given.size or not given.ndim:
            raise ShapeError(f"labels are {given.shape} of {given.dtype}: expected whole numbers, one a pixel")
        if not 0 < confidence < 1:
            raise BadOption(f"confidence is {confidence!r}: expected a probability between 0 and 1")
        if isinstance(num_labels, bool) or not isinstance(num_labels, (int, np.integer)) or num_labels < 1:
            raise BadOption(f"num_labels is {num_labels!r}: expected a whole number from 1 up")
        sure = np.ones(given.shape, bool) if unsure is None else given != unsure
        wrong = sure & ((given < 0) | (given >= num_labels))
        if wrong.any():
            place = tuple(int(i) for i in np.argwhere(wrong)[0])
            also = "" if unsure is None else f" and {unsure} for unsure"
            raise LabelError(f"labels hold {given[place]} at {place}: expected 0–{num_labels - 1}{also}")
        energies = np.full((num_labels, *given.shape), -np.log((1 - confidence) / max(num_labels - 1, 1)), np.float32)
        np.put_along_axis(energies, np.where(sure, given, 0).astype(np.intp)[None], np.float32(-np.log(confidence)), 0)
        energies[:, ~sure] = np.log(num_labels)
        return cls(energies, threads=threads)

    def add_gaussian(
        self, sigma: Sigma, compatibility: ArrayLike, *, normalization: Normalization = "symmetric"
    ) -> None:
        """Add a term between near pixels; see `add_pairwise`. Its lattice is kept for other images of this size.

        Args:
            sigma: in pixels, one for all axes or one for each in the order of the shape: (rows, columns).
        """
        deviations = tuple(deviations_of(sigma, len(self.shape), "sigma in pixels", "axes").tolist())
        self._add(_position_lattice(self.shape, deviations, self.threads), compatibility, normalization)

    def add_bilateral(
        self,
        image: ArrayLike,
        sigma_pixels: Sigma,
        sigma_color: Sigma,
        compatibility: ArrayLike,
        *,
        normalization: Normalization = "symmetric",
    ) -> None:
        """Add a term between near pixels of like color; see `add_pairwise`.

        Args:
            image: (*shape, C), any C, or (*shape).
            sigma_pixels: as in `add_gaussian`.
            sigma_color: in units of the image's values, one for all channels or one for each.
        """
        points = np.concatenate([positions(self.shape, sigma_pixels), colors(image, self.shape, sigma_color)])
        self._add(Lattice(points, threads=self.threads), compatibility, normalization)

    def add_pairwise(
        self, features: ArrayLike, compatibility: ArrayLike, *, normalization: Normalization = "symmetric"
    ) -> None:
        """Add a term Σ_{i<j} μ(x_i, x_j)·exp(−|f_i − f_j|²/2).

        Args:
            features: (D, N) or (D, *shape), in units of standard deviations.
            compatibility: one number w ≥ 0: the reward of equal labels, Potts' model, energy −w on the diagonal.
                (K,) or (K, K): the energies μ(l, l) or μ(l, l') themselves, so that rewards are negative, as in
                pydensecrf. μ[l, l'] is what l pays for l' at the other pixel.
            normalization: see `reference.gaussian_kernel`.

        Raises:
            ShapeError: a shape does not fit.
            BadOption: a value is not finite, w is negative, or no such normalization.
        """
        given = np.asarray(features)
        if given.ndim < 2 or given.shape[1:] not in (self.shape, (self.num_points,)) or given.dtype.kind not in "fiu":
            raise ShapeError(f"features are {given.shape} of {given.dtype}: expected (D, {self.num_points}) numbers")
        self._add(Lattice(given.reshape(len(given), -1), threads=self.threads), compatibility, normalization)

    def infer(self, steps: int) -> Floats:
        """(K, *shape) float32 marginals after so many steps; they add up to 1 over K.

        Raises:
            BadOption: steps is not a whole number from 0 up.
        """
        if isinstance(steps, bool) or not isinstance(steps, (int, np.integer)) or steps < 0:
            raise BadOption(f"steps is {steps!r}: expected a whole number from 0 up")
        plan, marginals = self._planned(), self._empty()
        steps = int(steps) if self.terms else 0
        messages, sums = (plan.new_rows(), plan.new_rows()) if steps else (plan.nothing, plan.nothing)
        with Team(plan.threads) as team:
            for step in range(steps + 1):
                plan.update(team, messages, sums, marginals, receives=step > 0, sends=step < steps)
                if step < steps:
                    messages, sums = sums, messages
                    plan.blur(team, messages)
        return self._whole(marginals)

    def start(self) -> Floats:
        """(K, *shape) float32: softmax(−U), before the first step."""
        return self.infer(0)

    def step(self, marginals: ArrayLike) -> Floats:
        """(K, *shape) marginals → (K, *shape) after one step; `infer(n)` gives what n steps from `start` give.

        Raises:
            ShapeError: marginals have another shape.
        """
        given, plan, result = self._checked(marginals), self._planned(), self._empty()
        with Team(plan.threads) as team:
            messages = self._messages(team, plan, given)
            plan.update(team, messages, plan.nothing, result, receives=True, sends=False)
        return self._whole(result)

    def kl_divergence(self, marginals: ArrayLike) -> float:
        """KL(Q ‖ P) + log Z of marginals (K, *shape); see `reference.kl_divergence`. The steps mostly lower it.

        Raises:
            ShapeError: marginals have another shape.
        """
        given, plan = self._checked(marginals), self._planned()
        divergence = float((given * np.log(np.maximum(given, np.float32(1e-20)))).sum(dtype=np.float64))
        divergence += float((given * self.unary[self.kept]).sum(dtype=np.float64))
        with Team(plan.threads) as team:
            rows = plan.slice(team, self._messages(team, plan, given))
        received = rows.reshape(self.num_points, -1)[:, : len(given)]
        return divergence - 0.5 * float((given * received.T).sum(dtype=np.float64))

    def largest_message(self) -> float:
        """W of `prune`'s bound: the largest difference of two labels' messages that marginals can bring about."""
        largest = 0.0
        for term in self.terms:
            before, after = _factors(term)
            rows = np.zeros((self.num_points, 1), np.float32)
            rows[:, 0] = before
            row_sums = term.lattice.filter(rows)[:, 0] * after
            largest += float(np.abs(term.compatibility).max() * (1 + (term.compatibility.ndim > 0)) * row_sums.max())
        return largest

    def _add(self, lattice: Lattice, compatibility: ArrayLike, normalization: Normalization) -> None:
        check_normalization(normalization)
        try:
            energies = np.asarray(compatibility, float)
        except (TypeError, ValueError):
            raise BadOption(f"compatibility is {compatibility!r}: expected numbers") from None
        if energies.shape not in ((), (self.num_labels,), (self.num_labels,) * 2):
            raise ShapeError(
                f"compatibility is {energies.shape}: expected one number, ({self.num_labels},) "
                f"or ({self.num_labels}, {self.num_labels})"
            )
        if not np.isfinite(energies).all():
            raise BadOption("compatibility holds values that are not finite")
        if energies.ndim == 0 and energies < 0:
            raise BadOption(f"compatibility is {energies:g}: expected a reward from 0 up; penalties are (K,) or (K, K)")
        if energies.any():
            self.terms.append(Term(lattice, normalization, energies))
            self._plan = None

    def _planned(self) -> "_Plan":
        if self._plan is None:
            self._plan = _Plan(self.unary, self.terms, self.kept, self.threads)
        return self._plan

    def _empty(self) -> Floats:
        return np.empty((len(self.kept), self.num_points), np.float32)

    def _whole(self, marginals: Floats) -> Floats:
        """(K kept, N) → (K, *shape), zeros for the labels left out."""
        if len(self.kept) < self.num_labels:
            whole = np.zeros((self.num_labels, self.num_points), np.float32)
            whole[self.kept] = marginals
            marginals = whole
        return marginals.reshape(self.num_labels, *self.shape)

    def _checked(self, marginals: ArrayLike) -> Floats:
        """(K kept, N) of marginals (K, *shape)."""
        given = np.asarray(marginals)
        if given.shape != (self.num_labels, *self.shape) or given.dtype.kind != "f":
            expected = (self.num_labels, *self.shape)
            raise ShapeError(f"marginals are {given.shape} of {given.dtype}: expected {expected} floats")
        if not np.isfinite(given).all():
            raise BadOption("marginals hold values that are not finite")
        return np.ascontiguousarray(given.reshape(self.num_labels, -1)[self.kept], np.float32)

    def _messages(self, team: Team, plan: "_Plan", marginals: Floats) -> Floats:
        """The blurred rows of marginals (K kept, N)."""
        points = plan.pack(team, marginals, 1, np.float32(0))
        rows = plan.new_rows()
        rows[:] = 0
        team.run(lambda band: splat(points, plan.offsets, plan.splat_weights, rows, plan.width, *band), plan.spans)
        plan.blur(team, rows)
        return rows


class _Plan:
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


def row_layout(num_labels: int) -> tuple[int, tuple[int, ...]]:
    """Floats in a row of so many labels, and the registers to compute with at a time.

    A row is padded to a multiple of all registers; a second and third turn cost about half a register each.

    >>> row_layout(2), row_layout(21), row_layout(150)
    ((8, (0,)), (24, (0, 0, 0)), (160, (0, 0, 0, 0)))
    """
    turns = {n: -(-num_labels // (n * WIDTH)) for n in (1, 2, 3, 4)}
    registers = min(turns, key=lambda n: (turns[n] * (n + 0.5), -n))
    return turns[registers] * registers * WIDTH, (0,) * registers


@lru_cache(maxsize=2)
def _position_lattice(shape: tuple[int, ...], sigma: tuple[float, ...], threads: int) -> Lattice:
    return Lattice(positions(shape, sigma), threads=threads)


def _factors(term: Term) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(N,) what the normalization multiplies by before and after the filter."""
    mass = term.lattice.mass
    if term.normalization == "symmetric":
        root = 1 / np.sqrt(mass)
        return root, root
    ones = np.ones_like(mass)
    if term.normalization == "none":
        return ones, ones / mass.mean()
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
