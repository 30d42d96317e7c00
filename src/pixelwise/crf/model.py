"""The fully connected CRF: mean-field inference with permutohedral lattices.

Krähenbühl, Koltun: Efficient Inference in Fully Connected CRFs with Gaussian Edge Potentials, NIPS 2011. What is
computed is defined in `reference.py`; only the Gaussian filter is approximate (`lattice.py`). With labels at random,
the hardest case, five steps with a normalized filter then differ from the definition by 0.004 on average, and 2 % of
the labels differ (benchmarks/crf_accuracy.py).

The steps are `numba_engine.py`'s or `torch_engine.py`'s.

**Differences:** from pydensecrf: a compatibility (K, K) is not made symmetric; `kl_divergence` has the ½ of each pair;
probabilities below 4e-31 are that.
"""

import math
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from pixelwise.crf.arrays import (
    address,
    array_of,
    described,
    doubles,
    given_back,
    is_empty,
    is_real,
    is_tensor,
    is_whole,
    kind_of,
    place_of,
    resolution,
    shown,
)
from pixelwise.crf.engines import Engine, EngineName, Plan, Term, choose
from pixelwise.crf.features import Sigma, check_image, deviations_of
from pixelwise.crf.parameters import check_normalization
from pixelwise.crf.reference import Normalization
from pixelwise.errors import BadOption, LabelError, ShapeError

LARGEST_ENERGY = 1e20
SMALLEST_PROBABILITY = 1e-5  # pydensecrf's unary_from_softmax clips there, too


class DenseCRF:
    """A fully connected CRF over K labels and the pixels of an image, or any points.

    Args:
        unary: (K, *shape) energies, finite: −log probability, or −score. A constant for all labels of a pixel does
            not matter. Results are what this is: numpy's arrays, or tensors on its device, without gradients. It is
            copied.
        threads: all processors this process may use if None. Another number changes results by rounding. The engine
            torch has its own (`torch.set_num_threads`).
        prune: labels whose probability softmax(−U) is below this at every pixel are left out, and get 0. Let n be
            their number and W `largest_message()`. Left in, they would have at most n·prune·e^W of any pixel, all
            together and after any step; where that is below 1/K, none of them would win a pixel. Probabilities of
            the labels kept change by at most as much in the first step; later steps can add to it.
        engine: "numba" on CPUs, "torch" on any device. "auto" is torch on other devices than the CPU and where numba
            cannot be imported, else numba. They differ by rounding. An `Engine` itself takes `unary` without a copy
            where it is the engine's own kind of array.
        device: where torch computes, such as "cuda" or the number of a CUDA device; tensors on others are moved. That
            of `unary` if None.
        batched: the first axis of the shape counts pictures of one size, which do not see each other: (K, B, H, W).
            For the engine torch.

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

    def __init__(
        self,
        unary: Any,
        *,
        threads: int | None = None,
        prune: float = 0.0,
        engine: EngineName | Engine = "auto",
        device: Any = None,
        batched: bool = False,
    ) -> None:
        given = array_of(unary)
        if given.ndim < 2 + batched or is_empty(given) or kind_of(given) not in "fiu":
            shape = "(K, B, *shape)" if batched else "(K, *shape)"
            raise ShapeError(f"unary is {described(given)}: expected {shape} numbers, K labels first")
        self.shape: tuple[int, ...] = tuple(given.shape[1:])
        self.num_labels = len(given)
        self.num_points = math.prod(self.shape)
        self.pictures = self.shape[0] if batched else 1
        self._grid = self.shape[1:] if batched else self.shape
        self._place = place_of(given)
        self._engine = choose(engine, device, given, threads)
        if self.pictures > 1 and not self._engine.takes_batches:
            raise BadOption("the engine numba takes one picture at a time: pass engine='torch', or call dense_crf")
        self.unary: Any = self._engine.floats(given.reshape(len(given), -1))
        if isinstance(engine, str) and address(self.unary) == address(given):
            self.unary = self.unary.clone() if is_tensor(self.unary) else self.unary.copy()
        if not max(-float(self.unary.min()), float(self.unary.max())) < LARGEST_ENERGY:  # false for not-a-number, too
            raise BadOption(f"unary holds energies that are not finite or beyond {LARGEST_ENERGY:.0e}; clip them")
        self.terms: list[Term] = []
        self._plan: Plan | None = None
        self.kept = np.arange(self.num_labels)
        if not (is_real(prune) and 0 <= prune < 1):
            raise BadOption(f"prune is {shown(prune)}: expected a probability from 0 (off) to below 1")
        if prune:
            likely = np.array([float(marginal.max()) >= prune for marginal in self.start()])
            likely[np.argmin([float(energies.min()) for energies in self.unary])] = True
            self.kept = np.flatnonzero(likely)
            self._plan = None

    @classmethod
    def from_probabilities(
        cls,
        probabilities: Any,
        *,
        smallest: float = SMALLEST_PROBABILITY,
        threads: int | None = None,
        prune: float = 0.0,
        engine: EngineName | Engine = "auto",
        device: Any = None,
        batched: bool = False,
    ) -> Self:
        """Energies −log max(p, smallest) of probabilities (K, *shape).

        Raises:
            ShapeError: they are not (K, *shape) floats.
            BadOption: one is negative or not a number, or those of a pixel do not add up to 1 within 0.001 and the
                distance of 1 to the type's next float: 0.002 in float16, 0.009 in bfloat16.
        """
        given = array_of(probabilities)
        if given.ndim < 2 or is_empty(given) or kind_of(given) != "f":
            raise ShapeError(f"probabilities are {described(given)}: expected (K, *shape) floats")
        if not (is_real(smallest) and 0 < smallest < 1):
            raise BadOption(f"smallest is {shown(smallest)}: expected a probability above 0")
        chosen = choose(engine, device, given, threads)
        floats = chosen.floats(given)
        sums = floats.sum(0)
        lowest, least, most = float(floats.min()), float(sums.min()), float(sums.max())
        if not lowest >= 0:
            raise BadOption(f"probabilities hold {lowest:g}: expected 0–1; take the softmax of scores, or from_scores")
        if not max(1 - least, most - 1) <= 1e-3 + resolution(given):
            raise BadOption(
                f"the probabilities of a pixel add up to {least:.4g}–{most:.4g}: expected 1; "
                "take the softmax of scores, or divide by the sum"
            )
        crf = cls(
            chosen.energies(floats, float(smallest)), threads=threads, prune=prune, engine=chosen, batched=batched
        )
        crf._place = place_of(given)
        return crf

    @classmethod
    def from_scores(
        cls,
        scores: Any,
        *,
        threads: int | None = None,
        prune: float = 0.0,
        engine: EngineName | Engine = "auto",
        device: Any = None,
        batched: bool = False,
    ) -> Self:
        """Energies −s of a network's scores before the softmax, (K, *shape); DeepLab's."""
        given = array_of(scores)
        chosen = choose(engine, device, given, threads)
        negative = -given if kind_of(given) == "f" else -(1.0 * given) if kind_of(given) in "iu" else given
        return cls(negative, threads=threads, prune=prune, engine=chosen, batched=batched)

    @classmethod
    def from_labels(
        cls,
        labels: Any,
        num_labels: int,
        confidence: float,
        *,
        unsure: int | None = None,
        threads: int | None = None,
        engine: EngineName | Engine = "auto",
        device: Any = None,
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
        chosen = choose(engine, device, array_of(labels), threads)
        given = given_back(array_of(labels), None)
        if given.dtype.kind not in "iu" or not given.size or not given.ndim:
            raise ShapeError(f"labels are {given.shape} of {given.dtype}: expected whole numbers, one a pixel")
        if not (is_real(confidence) and 0 < confidence < 1):
            raise BadOption(f"confidence is {shown(confidence)}: expected a probability between 0 and 1")
        if not is_whole(num_labels) or num_labels < 1:
            raise BadOption(f"num_labels is {shown(num_labels)}: expected a whole number from 1 up")
        if unsure is not None and not is_whole(unsure):
            raise BadOption(f"unsure is {shown(unsure)}: expected a whole number, or None")
        sure = np.ones(given.shape, bool) if unsure is None else given != unsure
        wrong = sure & ((given < 0) | (given >= num_labels))
        if wrong.any():
            place = tuple(int(i) for i in np.argwhere(wrong)[0])
            also = "" if unsure is None else f" and {unsure} for unsure"
            raise LabelError(f"labels hold {given[place]} at {place}: expected 0–{num_labels - 1}{also}")
        energies = np.full((num_labels, *given.shape), -np.log((1 - confidence) / max(num_labels - 1, 1)), np.float32)
        np.put_along_axis(energies, np.where(sure, given, 0).astype(np.intp)[None], np.float32(-np.log(confidence)), 0)
        energies[:, ~sure] = np.log(num_labels)
        return cls(given_back(energies, place_of(labels)), threads=threads, engine=chosen)

    def add_gaussian(
        self, sigma: Sigma, compatibility: ArrayLike, *, normalization: Normalization = "symmetric"
    ) -> None:
        """Add a term between near pixels; see `add_pairwise`. Its lattice is kept for other images of this size.

        Args:
            sigma: in pixels, one for all axes or one for each in the order of the shape: (rows, columns).
        """
        deviations = tuple(deviations_of(sigma, len(self._grid), "sigma in pixels", "axes").tolist())
        self._add(self._engine.positions(self._grid, deviations, self.pictures), compatibility, normalization)

    def add_bilateral(
        self,
        image: Any,
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
        given = array_of(image)
        deviations_of(sigma_pixels, len(self._grid), "sigma in pixels", "axes")
        check_image(given, self.shape)
        lattice = self._engine.bilateral(given, self._grid, sigma_pixels, sigma_color, self.pictures)
        self._add(lattice, compatibility, normalization)

    def add_pairwise(
        self, features: Any, compatibility: ArrayLike, *, normalization: Normalization = "symmetric"
    ) -> None:
        """Add a term Σ_{i<j} μ(x_i, x_j)·exp(−|f_i − f_j|²/2).

        Args:
            features: (D, N) or (D, *shape), in units of standard deviations; or their lattice, the engine's own and
                built with as many threads, so that several models share it.
            compatibility: one number w ≥ 0: the reward of equal labels, Potts' model, energy −w on the diagonal.
                (K,) or (K, K): the energies μ(l, l) or μ(l, l') themselves, so that rewards are negative, as in
                pydensecrf. μ[l, l'] is what l pays for l' at the other pixel.
            normalization: see `reference.gaussian_kernel`. With "none", the sums are the lattice's, about 0.88 of the
                Gaussian's for positions and 0.5–0.65 for positions and colors, as in pydensecrf.

        Raises:
            ShapeError: a shape does not fit.
            BadOption: a value is not finite, w is negative, or no such normalization.
        """
        if self._engine.has_built(features, self.num_points, self.pictures):
            return self._add(features, compatibility, normalization)
        given = array_of(features)
        fits = given.ndim > 1 and tuple(given.shape[1:]) in (self.shape, (self.num_points,))
        if not fits or is_empty(given) or kind_of(given) not in "fiu":
            raise ShapeError(f"features are {described(given)}: expected (D, {self.num_points}) numbers")
        points = given.reshape(len(given), self.pictures, -1).swapaxes(0, 1)
        self._add(self._engine.lattice(points), compatibility, normalization)

    def infer(self, steps: int) -> Any:
        """(K, *shape) float32 marginals after so many steps; they add up to 1 over K.

        Raises:
            BadOption: steps is not a whole number from 0 up.
        """
        if not is_whole(steps) or steps < 0:
            raise BadOption(f"steps is {shown(steps)}: expected a whole number from 0 up")
        return self._whole(self._planned().infer(int(steps) if self.terms else 0))

    def start(self) -> Any:
        """(K, *shape) float32: softmax(−U), before the first step."""
        return self.infer(0)

    def step(self, marginals: Any) -> Any:
        """(K, *shape) marginals → (K, *shape) after one step; `infer(n)` gives what n steps from `start` give.

        Raises:
            ShapeError: marginals have another shape.
        """
        return self._whole(self._planned().step(self._checked(marginals)))

    def kl_divergence(self, marginals: Any) -> float:
        """KL(Q ‖ P) + log Z of marginals (K, *shape); see `reference.kl_divergence`. The steps mostly lower it.

        Raises:
            ShapeError: marginals have another shape.
        """
        return self._planned().kl_divergence(self._checked(marginals))

    def largest_message(self) -> float:
        """W of `prune`'s bound: the largest difference of two labels' messages that marginals can bring about."""
        largest = 0.0
        for term in self.terms:
            energies = term.compatibility
            largest += float(np.abs(energies).max()) * (1 + (energies.ndim > 0)) * self._engine.largest_row_sum(term)
        return largest

    def _add(self, lattice: Any, compatibility: ArrayLike, normalization: Normalization) -> None:
        check_normalization(normalization)
        energies = doubles(compatibility, "compatibility", "numbers")
        if energies.shape not in ((), (self.num_labels,), (self.num_labels,) * 2):
            raise ShapeError(
                f"compatibility is {energies.shape}: expected one number, ({self.num_labels},) "
                f"or ({self.num_labels}, {self.num_labels})"
            )
        if not np.abs(energies).max(initial=0) < LARGEST_ENERGY:  # false for not-a-number, too
            raise BadOption(f"compatibility holds values that are not finite or beyond {LARGEST_ENERGY:.0e}")
        if energies.ndim == 0 and energies < 0:
            raise BadOption(f"compatibility is {energies:g}: expected a reward from 0 up; penalties are (K,) or (K, K)")
        if energies.any():
            self.terms.append(Term(lattice, normalization, energies))
            self._plan = None

    def _planned(self) -> Plan:
        if self._plan is None:
            self._plan = self._engine.plan(self.unary, self.terms, self.kept)
        return self._plan

    def _whole(self, marginals: Any) -> Any:
        """(K kept, N) of the engine → (K, *shape) as the unary was given, zeros for the labels left out."""
        if len(self.kept) < self.num_labels:
            marginals = self._engine.whole(marginals, self.kept, self.num_labels)
        return given_back(marginals.reshape(self.num_labels, *self.shape), self._place)

    def _checked(self, marginals: Any) -> Any:
        """(K kept, N) of marginals (K, *shape), of the engine."""
        given = array_of(marginals)
        expected = (self.num_labels, *self.shape)
        if tuple(given.shape) != expected or kind_of(given) != "f":
            raise ShapeError(f"marginals are {described(given)}: expected {expected} floats")
        floats = self._engine.floats(given.reshape(self.num_labels, -1)[self.kept])
        if not (math.isfinite(float(floats.min())) and math.isfinite(float(floats.max()))):
            raise BadOption("marginals hold values that are not finite")
        return floats
