"""Heat maps: the probability of one class at every pixel of a picture of any size."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixelwise.data.sample import adapt_channels
from pixelwise.errors import WeightsError
from pixelwise.inference.engine import Predictor, engine_of
from pixelwise.inference.fusion import probabilities_of
from pixelwise.inference.predict import predict_head
from pixelwise.inference.tiles import windows_of
from pixelwise.layers.normalization import Normalization

BAND = 2**23  # probabilities that are held at a time


@dataclass(frozen=True)
class Heatmap:
    """Where a class is.

    Attributes:
        probability: (H, W) float32, 0–1, of the class.
        peaks: (K,) float32, the highest probability of each class anywhere in the picture.
    """

    probability: NDArray[np.float32]
    peaks: NDArray[np.float32]

    @property
    def place(self) -> tuple[int, int]:
        """(row, column) where the class is most likely; of pixels that are equally likely, nearest to their middle."""
        highest = np.argwhere(self.probability >= self.probability.max() - 1e-6)
        row, column = highest[((highest - highest.mean(0)) ** 2).sum(1).argmin()].tolist()
        return row, column


def class_heatmap(
    predictor: Predictor,
    normalization: Normalization,
    image: NDArray[Any],
    index: int,
    *,
    tile: int | None = None,
    name: str = "image",
) -> Heatmap:
    """The probability of a class at every pixel of a picture (H, W, C).

    Args:
        predictor: an engine, or a network in evaluation mode.
        index: of the class.
        tile: pictures with more than tile² pixels are cut into tiles of this size; `tiling` if left out.
        name: of the picture, for errors.

    Raises:
        ShapeError: the picture's channels are not the network's.
        WeightsError: a probability is no number.
    """
    engine = engine_of(predictor)
    image = adapt_channels(image, normalization.channels, name=name)
    normalization = normalization.of(image)
    height, width = image.shape[:2]
    probability = np.empty((height, width), np.float32)
    peaks: NDArray[np.float32] = np.zeros(1, np.float32)
    for window, inner, place in windows_of(engine, normalization, (height, width), tile):
        head = predict_head(engine, normalization, image[window])
        rows, columns = inner
        band = max(1, BAND // (head.scores.shape[1] * head.resampling.image_size[1]))
        for top in range(rows.start, rows.stop, band):
            bottom = min(top + band, rows.stop)
            part = probabilities_of(head, slice(top, bottom))[0, :, :, columns].float().cpu().numpy()
            start = place[0].start - rows.start
            probability[start + top : start + bottom, place[1]] = part[index]
            peaks = np.maximum(peaks, part.max((1, 2)))
    if not np.isfinite(peaks).all():
        raise WeightsError(
            f"the network gives probabilities of {name} that are no numbers: its weights are broken, or it was trained "
            "on pictures of other values; train it again"
        )
    return Heatmap(probability, peaks)
