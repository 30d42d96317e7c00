"""What computes the mean field: numba on CPUs, torch on GPUs and where numba cannot be imported.

An engine has arrays of its own kind, numpy's or tensors on one device. What comes in may be either; what goes out is
what came in. Neither library is imported before it is needed.
"""

import sys
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from pixelwise.crf.arrays import is_tensor, is_whole, shown
from pixelwise.crf.collection import keeping_all
from pixelwise.crf.features import Sigma
from pixelwise.crf.reference import Normalization
from pixelwise.crf.threads import available_threads
from pixelwise.errors import BadOption

EngineName = Literal["auto", "numba", "torch"]


class Term(NamedTuple):
    """A pairwise term: a lattice of the engine, its normalization, and a reward w or the energies μ, (K,) or (K, K)."""

    lattice: Any
    normalization: Normalization
    compatibility: NDArray[np.float64]


class Plan(Protocol):
    """The arrays of an inference. Marginals are (K kept, N) float32."""

    def infer(self, steps: int) -> Any:
        """The marginals after so many steps."""

    def step(self, marginals: Any) -> Any:
        """The marginals after one step more."""

    def kl_divergence(self, marginals: Any) -> float:
        """As in `reference.py`."""


class Engine(Protocol):
    """Arrays, lattices and plans of one kind.

    Attributes:
        takes_batches: whether a lattice can be of several pictures.
    """

    takes_batches: bool

    def floats(self, given: Any) -> Any:
        """The array as float32 of the engine's own kind, contiguous, and writable; itself where it is so already.

        Raises:
            BadOption: it is a tensor on another device.
        """

    def energies(self, probabilities: Any, smallest: float) -> Any:
        """The array −log max(p, smallest)."""

    def positions(self, shape: Sequence[int], deviations: tuple[float, ...], pictures: int) -> Any:
        """The lattice of positions, kept for the next image of this shape."""

    def bilateral(
        self, image: Any, shape: Sequence[int], sigma_pixels: Sigma, sigma_color: Sigma, pictures: int
    ) -> Any:
        """The lattice of positions and colors of an image (pictures·shape, C)."""

    def lattice(self, features: Any) -> Any:
        """The lattice of features (B, D, N)."""

    def has_built(self, given: Any, num_points: int, pictures: int) -> bool:
        """Whether it is a lattice of this kind already.

        Raises:
            ShapeError: it is one that does not fit.
        """

    def largest_row_sum(self, term: Term) -> float:
        """Of the term's normalized filter."""

    def plan(self, unary: Any, terms: Sequence[Term], kept: NDArray[np.intp]) -> Plan:
        """Of unary (K, N) and the labels kept."""

    def whole(self, marginals: Any, kept: NDArray[np.intp], num_labels: int) -> Any:
        """(K kept, N) → (K, N), zeros for the labels left out."""


def choose(name: EngineName | Engine, device: Any, given: Any, threads: int | None) -> Engine:
    """The engine of this name for an array; an engine is itself.

    "auto" is torch where a device other than the CPU is named or the array is a tensor on one, and where numba cannot
    be imported; else numba.

    Args:
        device: as torch names it, or the number of a CUDA device; None for that of the array.

    Raises:
        BadOption: no such engine or device, or the engine cannot compute there.
    """
    if not isinstance(name, str) and hasattr(name, "takes_batches"):
        return name
    if name not in get_args(EngineName):
        raise BadOption(f"engine is {shown(name)}: expected one of {', '.join(get_args(EngineName))}")
    place = _place(device, given)
    available = available_threads(threads)
    on_cpu = place in ("cpu", "cpu:0")
    if name == "numba" and not on_cpu:
        raise BadOption(f"the engine numba computes on the CPU, not on {place}: pass engine='torch', or move the data")
    if name == "numba" or (name == "auto" and on_cpu):
        try:
            with keeping_all():
                from pixelwise.crf.numba_engine import NumbaEngine
            return NumbaEngine(available, moves=device is not None)
        except ImportError:
            if name == "numba":
                raise
    from pixelwise.crf.torch_engine import TorchEngine

    return TorchEngine(place, moves=device is not None)


def _place(device: Any, given: Any) -> str:
    """The device's name, or that of the array's."""
    if device is None:
        place = str(given.device) if is_tensor(given) else "cpu"
    elif is_whole(device):
        place = f"cuda:{device}"
    elif isinstance(device, (str, getattr(sys.modules.get("torch"), "device", str))):
        place = str(device)
    else:
        raise BadOption(f"device is {shown(device)}: expected a name such as 'cuda', or a CUDA device's number")
    if place.split(":")[0] == "meta":
        raise BadOption("device is 'meta', which holds no values: name another, or move the data")
    return place
