"""Mean field in torch: the steps of `numba_engine.py` as gathers and weighted sums, on any device.

A step of one term is the splat, D + 1 blurs and the slice of `torch_lattice.py`; weights and normalizations stand in
the weights of splat and slice. Nothing in it waits for the device.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pixelwise.crf.arrays import array_of, is_tensor
from pixelwise.crf.engines import Term
from pixelwise.crf.features import Sigma, deviations_of
from pixelwise.crf.torch_lattice import Sums, TorchLattice, exact_type
from pixelwise.errors import BadOption, ShapeError


class TorchEngine:
    """Computes on one device.

    Args:
        device: as torch names it.
        moves: whether tensors on other devices are moved there, or refused.

    Raises:
        BadOption: there is no such device.
    """

    takes_batches = True

    def __init__(self, device: str, *, moves: bool) -> None:
        try:
            self.device = torch.empty(0, device=device).device
        except (RuntimeError, AssertionError, ImportError) as error:
            raise BadOption(f"device is {device!r}: {' '.join(str(error).splitlines()[:1])}") from None
        self.moves = moves

    def floats(self, given: Any) -> Tensor:
        """A tensor, (…) float32, contiguous, on the device."""
        return self._tensor(given).float().contiguous()

    def energies(self, probabilities: Tensor, smallest: float) -> Tensor:
        """The tensor −log max(p, smallest)."""
        return probabilities.clamp(min=smallest).log_().neg_()

    def positions(self, shape: Sequence[int], deviations: tuple[float, ...], pictures: int) -> TorchLattice:
        """The lattice of positions, kept for the next images of this shape."""
        return position_lattice(tuple(shape), deviations, pictures, self.device)

    def bilateral(
        self, image: Any, shape: Sequence[int], sigma_pixels: Sigma, sigma_color: Sigma, pictures: int
    ) -> TorchLattice:
        """The lattice of positions and colors."""
        given = array_of(image)
        deviations = deviations_of(sigma_pixels, len(shape), "sigma in pixels", "axes")
        places = positions(shape, deviations.tolist(), self.device).expand(pictures, -1, -1)
        channels = math.prod(given.shape) // (pictures * math.prod(shape))
        deviations = deviations_of(sigma_color, channels, "sigma of colors", "channels")
        colors = self._tensor(given).reshape(pictures, -1, channels).float() / _on(self.device, deviations)
        return TorchLattice(torch.cat([places, colors.transpose(1, 2)], 1))

    def lattice(self, features: Any) -> TorchLattice:
        """The lattice of features (B, D, N)."""
        return TorchLattice(self.floats(features))

    def has_built(self, given: Any, num_points: int, pictures: int) -> bool:
        """Whether it is a lattice already."""
        if not isinstance(given, TorchLattice):
            return False
        found = given.num_points, given.pictures, given.weights.device
        if found != (num_points, pictures, self.device):
            raise ShapeError(
                f"the lattice has {given.num_points} points of {given.pictures} pictures on {given.weights.device}: "
                f"expected one of {num_points} points of {pictures} on {self.device}"
            )
        return True

    @torch.no_grad()
    def largest_row_sum(self, term: Term) -> float:
        """Of the term's normalized filter."""
        before, after = _factors(term)
        return float((term.lattice.filter(before[:, None])[:, 0] * after).max())

    def plan(self, unary: Tensor, terms: Sequence[Term], kept: NDArray[np.intp]) -> "TorchPlan":
        """Of unary (K, N) and the labels kept."""
        return TorchPlan(unary, terms, kept)

    def whole(self, marginals: Tensor, kept: NDArray[np.intp], num_labels: int) -> Tensor:
        """(K kept, N) → (K, N), zeros for the labels left out."""
        whole = marginals.new_zeros(num_labels, marginals.shape[1])
        whole[_on(self.device, kept)] = marginals
        return whole

    def _tensor(self, given: Any) -> Tensor:
        """The array as a tensor on the device; numpy's whole numbers of one byte stay what they are, for the way."""
        if is_tensor(given):
            tensor: Tensor = given.detach()
            if tensor.device != self.device and (tensor.is_meta or not self.moves):
                raise BadOption(f"a tensor is on {tensor.device}, the unary on {self.device}: move it, or pass device=")
        else:
            with np.errstate(over="ignore"):
                kind = np.uint8 if np.asarray(given).dtype == np.uint8 else np.float32
                tensor = torch.from_numpy(np.require(given, kind, ["C", "W", "A"]))
        return tensor.to(self.device)


class TorchPlan:
    """The tensors of an inference, rows of K labels for each point.

    Attributes:
        energies: (N, K) −U.
        lattices: of the terms.
        splats, slices: of the terms, with the normalization in their weights, and the slice with a single weight w.
        penalties: of the terms: None for a single weight, else μ, (K,) or (K, K), float64.
    """

    @torch.no_grad()
    def __init__(self, unary: Tensor, terms: Sequence[Term], kept: NDArray[np.intp]) -> None:
        chosen = unary if len(kept) == len(unary) else unary[_on(unary.device, kept)]
        self.energies = -chosen.T.contiguous()
        self.lattices: list[TorchLattice] = [term.lattice for term in terms]
        self.splats: list[list[Sums]] = []
        self.slices: list[Sums] = []
        self.penalties: list[Tensor | None] = []
        for term in terms:
            before, after = _factors(term)
            energies = term.compatibility
            # In float64: a factor that is rounded errs alike at all pixels, and ten steps make much of that.
            splat, slice_ = term.lattice.weighted(before, after * (float(energies) if energies.ndim == 0 else 1.0))
            self.splats.append(splat)
            self.slices.append(slice_)
            inside = np.ix_(*[kept] * energies.ndim)
            penalties = torch.from_numpy(energies[inside]).to(before.dtype).to(unary.device) if energies.ndim else None
            self.penalties.append(penalties)

    @torch.no_grad()
    def infer(self, steps: int) -> Tensor:
        """The marginals (K, N) after so many steps."""
        marginals = self.energies.softmax(1)
        for _ in range(steps):
            marginals = self._received(marginals, self.energies).softmax(1)
        return marginals.T.contiguous()

    @torch.no_grad()
    def step(self, marginals: Tensor) -> Tensor:
        """The marginals (K, N) after one step more."""
        return self._received(marginals.T.contiguous(), self.energies).softmax(1).T.contiguous()

    @torch.no_grad()
    def kl_divergence(self, marginals: Tensor) -> float:
        """As in `reference.py`."""
        rows = marginals.T.contiguous()
        logits = self.energies + 0.5 * self._received(rows, torch.zeros_like(rows))
        return float((rows * (rows.clamp(min=1e-20).log() - logits)).sum(dtype=exact_type(rows.device)))

    def _received(self, marginals: Tensor, logits: Tensor) -> Tensor:
        """(N, K) → (N, K): the logits and the messages of all terms."""
        for lattice, splat, slice_, penalties in zip(
            self.lattices, self.splats, self.slices, self.penalties, strict=True
        ):
            rows = marginals
            for sums in (*splat, *lattice.blurs, slice_):
                rows = sums.of(rows)
            if penalties is None:
                logits = logits + rows
            elif penalties.ndim == 1:
                logits = logits - (rows * penalties).float()
            else:  # in float64, which no setting of the user's rounds to fewer bits
                logits = logits - (rows.to(penalties.dtype) @ penalties.T).float()
        return logits


def positions(shape: Sequence[int], deviations: Sequence[float], device: torch.device) -> Tensor:
    """(D, N) float32 on the device: what `features.positions` gives."""
    points = torch.empty(len(shape), *shape, device=device, dtype=torch.float32)
    for axis, length in enumerate(shape):
        # Divided by a tensor of the device: by a number, CUDA would multiply with its rounded reciprocal.
        deviation = torch.tensor(deviations[axis], device=device, dtype=torch.float32)
        along = torch.arange(length, device=device, dtype=torch.float32) / deviation
        points[len(shape) - 1 - axis] = along.reshape([-1 if a == axis else 1 for a in range(len(shape))])
    return points.reshape(len(shape), -1)


@lru_cache(maxsize=2)
def position_lattice(
    shape: tuple[int, ...], deviations: tuple[float, ...], pictures: int, device: torch.device
) -> TorchLattice:
    """The lattice of positions, which all images of a shape share."""
    return TorchLattice(positions(shape, deviations, device).expand(pictures, -1, -1))


def _on(device: torch.device, array: NDArray[Any]) -> Tensor:
    return torch.from_numpy(array.copy()).to(device)


def _factors(term: Term) -> tuple[Tensor, Tensor]:
    """(N,) what the normalization multiplies by before and after the filter."""
    mass: Tensor = term.lattice.mass
    if term.normalization == "symmetric":
        root = mass.rsqrt()
        return root, root
    ones = torch.ones_like(mass)
    if term.normalization == "none":
        return ones, ones
    inverse = 1 / mass
    return (ones, inverse) if term.normalization == "after" else (inverse, ones)
