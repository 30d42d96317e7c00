"""Refine: a dense CRF behind a network, its settings, and where they come from.

The CRF of `pixelwise.crf` reads the network's probabilities at the picture's size and the picture itself. The unary
energies are −log max(p, 1e-5). DeepLab takes the scores before the softmax with their sign turned, which is the same
up to a constant of each pixel and the clipping; but after averaging, as with mirrored pictures, there are only
probabilities, so that these are taken always.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pixelwise.crf.parameters import PRESETS, CRFParameters
from pixelwise.data.levels import to_levels
from pixelwise.errors import BadOption

Floats = TypeVar("Floats", NDArray[np.float32], Tensor)

DEFAULT_PRESET = "deeplab_code"  # the defaults of the authors' program


@dataclass(frozen=True)
class Refinement:
    """A dense CRF behind a network, and where its settings come from.

    Attributes:
        steps: of mean field.
        origin: "tuned on 100 pictures of val: …" or "preset …, not tuned on this data"; a clause without a stop.
        tuned_on: `picture_digest` of each picture that the settings were chosen on, sorted; empty where unknown.

    Raises:
        BadOption: steps is not a whole number from 0 up.
    """

    parameters: CRFParameters
    steps: int = 10
    origin: str = ""
    tuned_on: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if isinstance(self.steps, bool) or not isinstance(self.steps, int) or self.steps < 0:
            raise BadOption(f"steps is {self.steps!r}: expected a whole number from 0 up")

    def describe(self) -> str:
        """The settings and their origin in one clause."""
        p = self.parameters
        terms = [
            f"w1 {p.bilateral_weight:g}, σα {p.bilateral_sigma_pixels:g} pixels, σβ {p.bilateral_sigma_color:g}"
            if p.bilateral_weight
            else "",
            f"w2 {p.spatial_weight:g}, σγ {p.spatial_sigma_pixels:g} pixels" if p.spatial_weight else "",
            f"normalization {p.normalization}",
            f"{self.steps} step{'s' if self.steps != 1 else ''}",
        ]
        settings = ", ".join(term for term in terms if term)
        return f"a dense CRF ({settings}{'; ' + self.origin if self.origin else ''})"

    def to_record(self) -> dict[str, Any]:
        """What is written into a model file."""
        record = {"parameters": self.parameters.to_record(), "steps": self.steps, "origin": self.origin}
        return record | ({"tuned_on": list(self.tuned_on)} if self.tuned_on else {})

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Self:
        """What `to_record` gave.

        Raises:
            BadOption: a name is unknown or a value impossible.
            KeyError: one is missing.
        """
        known = [field.name for field in fields(cls)]
        for name in record:
            if name not in known:
                raise BadOption(f"a CRF has no {name!r}: expected {', '.join(known)}")
        origin = record["origin"]
        if not isinstance(origin, str):
            raise BadOption(f"origin is {origin!r}: expected words")
        tuned_on = record.get("tuned_on", [])
        if not isinstance(tuned_on, list) or not all(isinstance(digest, str) for digest in tuned_on):
            raise BadOption("tuned_on is no list of digests of pictures")
        return cls(CRFParameters.from_record(record["parameters"]), record["steps"], origin, tuple(tuned_on))


def picture_digest(image: NDArray[Any]) -> str:
    """What tells a picture (H, W, C) from others, by its pixels: 12 hexadecimal digits."""
    return hashlib.blake2b(np.ascontiguousarray(image).tobytes(), digest_size=6).hexdigest()


def preset_for(builder: str) -> Refinement:
    """The settings that were released with a network, or else the defaults of DeepLab's program.

    >>> preset_for("unet").origin
    'preset deeplab_code, not tuned on this data'
    """
    name = builder if builder in PRESETS else DEFAULT_PRESET
    return Refinement(PRESETS[name], origin=f"preset {name}, not tuned on this data")


def refine(probabilities: Floats, image: NDArray[Any], refinement: Refinement, *, threads: int | None = None) -> Floats:
    """(K, H, W) probabilities, (H, W, C) picture → (K, H, W) float32 marginals, which add up to 1.

    An array gives an array, a tensor a tensor on its device, on a GPU computed there. Colors differ by the distance of
    all channels of the picture as levels 0–255 (`data.levels`); the papers' pictures are RGB.

    Args:
        image: uint8, uint16, or float32 from 0 to 1, as networks take it.
        threads: all processors if None.

    Raises:
        ShapeError: the picture has another size than the probabilities.
        BadOption: probabilities are not probabilities, or the picture's levels are not finite.
    """
    from pixelwise.crf import dense_crf  # numba takes a while to load

    return dense_crf(probabilities, to_levels(image), refinement.parameters, refinement.steps, threads=threads)
