"""The dense CRF of DeepLab in one call: probabilities and image in, refined probabilities out."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pixelwise.crf.model import DenseCRF
from pixelwise.crf.parameters import CRFParameters
from pixelwise.errors import ShapeError


def dense_crf(
    probabilities: ArrayLike,
    image: ArrayLike,
    parameters: CRFParameters | None = None,
    steps: int = 10,
    *,
    threads: int | None = None,
    prune: float = 0.0,
) -> NDArray[np.float32]:
    """(K, H, W) probabilities, (H, W, C) image → (K, H, W) float32 marginals, which add up to 1.

    The unary energy is −log max(p, 1e-5).

    Args:
        probabilities: floats from 0 to 1 that add up to 1 over K.
        image: 0–255, as `parameters.bilateral_sigma_color` is; any number of channels, or (H, W).
        parameters: `CRFParameters()` if None; `PRESETS` has the released ones.
        steps: of mean field; the papers' figures are after 10.
        threads: all processors if None.
        prune: see `DenseCRF`.

    Raises:
        ShapeError: a shape or type does not fit, or the image has another size.
        BadOption: probabilities are not probabilities, or an option is impossible.

    >>> probabilities = np.full((2, 3, 4), 0.5, np.float32)
    >>> dense_crf(probabilities, np.zeros((3, 4, 3), np.uint8), steps=1)[:, 0, 0]
    array([0.5, 0.5], dtype=float32)
    """
    settings = CRFParameters() if parameters is None else parameters
    given = np.asarray(probabilities)
    if given.ndim != 3:
        raise ShapeError(f"probabilities are {given.shape}: expected (K, H, W)")
    crf = DenseCRF.from_probabilities(given, threads=threads, prune=prune)
    normalization = settings.normalization
    if settings.spatial_weight:
        crf.add_gaussian(settings.spatial_sigma_pixels, settings.spatial_weight, normalization=normalization)
    if settings.bilateral_weight:
        crf.add_bilateral(
            image,
            settings.bilateral_sigma_pixels,
            settings.bilateral_sigma_color,
            settings.bilateral_weight,
            normalization=normalization,
        )
    return crf.infer(steps)
