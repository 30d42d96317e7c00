"""Batches: pictures of one size go through the network together, and then each its own way.

A picture's labels are those that it has alone, up to the rounding of a convolution that is computed for several.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pixelwise.data.sample import adapt_channels
from pixelwise.inference.engine import Engine, Precision
from pixelwise.inference.predict import predict_image
from pixelwise.inference.prediction import Prediction
from pixelwise.inference.tiles import windows_of
from pixelwise.layers.head import Head
from pixelwise.segmenter import Segmenter


class _Known:
    """An engine that gives heads that are known already, of the one picture it is asked for."""

    def __init__(self, engine: Engine, heads: Mapping[str, Head]) -> None:
        self.device, self.tiling, self._heads = engine.device, engine.tiling, heads

    def heads(self, images: Tensor) -> Mapping[str, Head]:
        """Those."""
        return self._heads


def fit_together(segmenter: Segmenter, size: tuple[int, int]) -> bool:
    """Whether pictures of a size can share a pass: they are neither cut into tiles nor brought to another size."""
    engine = segmenter.engine()
    whole = len(list(windows_of(engine, segmenter.normalization, size))) == 1
    return whole and segmenter.normalization.size_of(*size) == size


def predict_together(
    segmenter: Segmenter,
    pictures: Sequence[NDArray[Any]],
    *,
    precision: Precision | None = None,
    confidence: bool = True,
    crf: bool | None = None,
) -> list[Prediction]:
    """As `Segmenter.predict` of each, at its own size and not mirrored, by one pass of the network.

    Args:
        pictures: (H, W, C) of one size and type; see `fit_together`.
    """
    engine, own = segmenter.engine(precision), segmenter.normalization
    adapted = [adapt_channels(picture, own.channels, name="image") for picture in pictures]
    heads = engine.heads(own(np.stack(adapted)))
    found = []
    for index, (picture, image) in enumerate(zip(pictures, adapted, strict=True)):
        with torch.inference_mode():
            part = {name: Head(h.scores[index : index + 1], h.resampling, h.kind) for name, h in heads.items()}
        dense = predict_image(
            _Known(engine, part), own, image, confidence=confidence, refinement=segmenter.refinement_for(crf)
        )
        found.append(Prediction(dense.labels, dense.confidence, picture, segmenter.labels))
    return found
