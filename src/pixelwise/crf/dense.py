"""The dense CRF of DeepLab in one call: probabilities and image in, refined probabilities out."""

from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pixelwise.crf.arrays import array_of, given_back, place_of, shown
from pixelwise.crf.engines import EngineName, choose
from pixelwise.crf.features import check_image
from pixelwise.crf.model import DenseCRF
from pixelwise.crf.parameters import CRFParameters
from pixelwise.errors import BadOption, ShapeError

if TYPE_CHECKING:
    from torch import Tensor


@overload
def dense_crf(
    probabilities: "Tensor",
    image: "ArrayLike | Tensor",
    parameters: CRFParameters | None = None,
    steps: int = 10,
    *,
    threads: int | None = None,
    prune: float = 0.0,
    engine: EngineName = "auto",
    device: Any = None,
) -> "Tensor": ...


@overload
def dense_crf(
    probabilities: ArrayLike,
    image: "ArrayLike | Tensor",
    parameters: CRFParameters | None = None,
    steps: int = 10,
    *,
    threads: int | None = None,
    prune: float = 0.0,
    engine: EngineName = "auto",
    device: Any = None,
) -> NDArray[np.float32]: ...


def dense_crf(
    probabilities: Any,
    image: Any,
    parameters: CRFParameters | None = None,
    steps: int = 10,
    *,
    threads: int | None = None,
    prune: float = 0.0,
    engine: EngineName = "auto",
    device: Any = None,
) -> Any:
    """(K, H, W) probabilities, (H, W, C) image → (K, H, W) float32 marginals, which add up to 1.

    Of B pictures of one size: (B, K, H, W), (B, H, W, C) → (B, K, H, W). The result is numpy's array, or a tensor
    where the probabilities are one, on their device. The unary energy is −log max(p, 1e-5).

    Args:
        probabilities: floats from 0 to 1 that add up to 1 over K, as nearly as their type can hold.
        image: 0–255, as `parameters.bilateral_sigma_color` is; any number of channels, or (H, W).
        parameters: `CRFParameters()` if None; `PRESETS` has the released ones.
        steps: of mean field; the papers' figures are after 10.
        threads: all processors if None.
        prune: see `DenseCRF`; the engine torch leaves out what is unlikely in all pictures of a batch.
        engine: see `DenseCRF`.
        device: see `DenseCRF`.

    Raises:
        ShapeError: a shape or type does not fit, or the image has another size.
        BadOption: probabilities are not probabilities, or an option is impossible.

    >>> probabilities = np.full((2, 3, 4), 0.5, np.float32)
    >>> dense_crf(probabilities, np.zeros((3, 4, 3), np.uint8), steps=1)[:, 0, 0]
    array([0.5, 0.5], dtype=float32)
    """
    settings = CRFParameters() if parameters is None else parameters
    if not isinstance(settings, CRFParameters):
        raise BadOption(f"parameters is {shown(parameters)}: expected CRFParameters, or None for the defaults")
    given, picture = array_of(probabilities), array_of(image)
    if given.ndim not in (3, 4):
        raise ShapeError(f"probabilities are {tuple(given.shape)}: expected (K, H, W), or (B, K, H, W) of B pictures")
    batched = given.ndim == 4
    check_image(picture, (*given.shape[:-3], *given.shape[-2:]))
    chosen = choose(engine, device, given, threads)
    if batched and not chosen.takes_batches:
        results = [
            dense_crf(one, own, settings, steps, threads=threads, prune=prune, engine=engine, device=device)
            for one, own in zip(given, picture, strict=True)
        ]
        return given_back(np.stack([given_back(result, None) for result in results]), place_of(given))
    by_label = given.swapaxes(0, 1) if batched else given
    options: dict[str, Any] = {"threads": threads, "prune": prune, "engine": engine, "device": device}
    crf = DenseCRF.from_probabilities(by_label, **options, batched=batched)
    normalization = settings.normalization
    if settings.spatial_weight:
        crf.add_gaussian(settings.spatial_sigma_pixels, settings.spatial_weight, normalization=normalization)
    if settings.bilateral_weight:
        crf.add_bilateral(
            picture,
            settings.bilateral_sigma_pixels,
            settings.bilateral_sigma_color,
            settings.bilateral_weight,
            normalization=normalization,
        )
    marginals = crf.infer(steps)
    if batched:
        marginals = marginals.swapaxes(0, 1)
        marginals = marginals.copy() if place_of(marginals) is None else marginals.contiguous()
    return marginals
