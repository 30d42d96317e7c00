"""Predict: a picture of any size → classes, with confidence where it is asked for.

A picture that fits goes through the network whole. A larger one goes in overlapping tiles, of which only the inner
part is kept, so memory is bounded by the tile and not by the picture.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pixelwise.data.sample import adapt_channels
from pixelwise.labels import VOID
from pixelwise.layers.head import Head
from pixelwise.layers.normalization import Normalization

Precision = Literal["fp32", "bf16"]

# A tile of 1024² at 64 channels in float32 is 256 MiB for the widest map of a U-Net: a few of them fit anywhere.
TILE = 1024
BAND = 128  # rows whose probabilities are held at a time
MARGIN = 128  # pixels of context around the kept part of a tile


@dataclass(frozen=True)
class DensePrediction:
    """What a network says of every pixel of one picture.

    Attributes:
        labels: (H, W) uint8 classes, or uint16 with more than 255.
        confidence: (H, W) float32 probability 0–1 of that class, or None where it was not asked for.
    """

    labels: NDArray[Any]
    confidence: NDArray[np.float32] | None


def precision_context(device: torch.device, precision: Precision) -> AbstractContextManager[Any]:
    """Automatic mixed precision in bfloat16, or nothing."""
    return torch.autocast(device.type, torch.bfloat16) if precision == "bf16" else nullcontext()


def predict_image(
    network: nn.Module,
    normalization: Normalization,
    image: NDArray[Any],
    *,
    precision: Precision = "fp32",
    flip: bool = False,
    confidence: bool = False,
    tile: int | None = None,
    name: str = "image",
) -> DensePrediction:
    """The classes of a picture (H, W, C) at its own size.

    Args:
        network: in evaluation mode.
        precision: "bf16" runs convolutions in bfloat16.
        flip: average the probabilities with those of the mirrored picture.
        confidence: give the probability of the chosen class, too.
        tile: pictures with more than tile² pixels are cut into tiles of this size; `tiling` if left out.
        name: of the picture, for errors.

    Raises:
        ShapeError: the picture's channels are not the network's.
    """
    image = adapt_channels(image, normalization.channels, name=name)
    normalization = normalization.of(image)  # a tile is seen in the light of its picture
    height, width = image.shape[:2]
    largest, margin, step = tiling(network)
    tile = tile or largest
    if height * width <= tile * tile:
        return _whole(network, normalization, image, precision, flip, confidence)
    labels: NDArray[Any] | None = None
    sure = np.empty((height, width), np.float32) if confidence else None
    for window, inner, place in tiles((height, width), tile, margin, step):
        part = _whole(network, normalization, image[window], precision, flip, confidence)
        if labels is None:
            labels = np.empty((height, width), part.labels.dtype)
        labels[place] = part.labels[inner]
        if sure is not None and part.confidence is not None:
            sure[place] = part.confidence[inner]
    assert labels is not None
    return DensePrediction(labels, sure)


Window = tuple[slice, slice]


def tiling(network: nn.Module) -> tuple[int, int, int]:
    """The side of a tile, its margin, and what its first row and column are multiples of: the network's, or ours."""
    own: tuple[int, int, int] | None = getattr(network, "tiling", None)
    return own or (TILE, MARGIN, 1)


def tiles(size: tuple[int, int], tile: int, margin: int, step: int = 1) -> Iterator[tuple[Window, Window, Window]]:
    """(window in the picture, kept part in the window, its place in the picture) of tiles that cover a picture once.

    Args:
        step: windows begin at multiples of it, and are as much larger.

    >>> [place for _, _, place in tiles((4, 10), 6, 1)]
    [(slice(0, 4, None), slice(0, 5, None)), (slice(0, 4, None), slice(5, 10, None))]
    """
    for rows in _spans(size[0], tile, margin, step):
        for columns in _spans(size[1], tile, margin, step):
            window, inner, place = zip(rows, columns, strict=True)
            yield window, inner, place


def _spans(length: int, tile: int, margin: int, step: int) -> Iterator[tuple[slice, slice, slice]]:
    """The same along one axis: equal steps, each window of the same length."""
    if length <= tile:
        yield slice(0, length), slice(0, length), slice(0, length)
        return
    count = -(-(length - 2 * margin) // (tile - 2 * margin))
    edges = [round(margin + i * (length - 2 * margin) / count) for i in range(count + 1)]
    edges[0], edges[-1] = 0, length
    for start, stop in pairwise(edges):
        end = min(max(start - margin, 0), length - tile) + tile
        low = (end - tile) // step * step
        yield slice(low, end), slice(start - low, stop - low), slice(start, stop)


def predict_head(
    network: nn.Module, normalization: Normalization, image: NDArray[Any], *, precision: Precision = "fp32"
) -> Head:
    """The first head for one picture (H, W, C), scores (1, K, h, w)."""
    device = next(network.parameters()).device
    with torch.inference_mode(), precision_context(device, precision):
        heads: dict[str, Head] = network.heads(normalization(image[None]).to(device))  # type: ignore[operator]  # a Module
        return next(iter(heads.values()))


def _whole(
    network: nn.Module,
    normalization: Normalization,
    image: NDArray[Any],
    precision: Precision,
    flip: bool,
    confidence: bool,
) -> DensePrediction:
    head = predict_head(network, normalization, image, precision=precision)
    dtype = np.uint8 if head.scores.shape[1] <= VOID else np.uint16
    if not flip and not confidence:
        return DensePrediction(head.resampling.argmax(head.scores)[0].cpu().numpy().astype(dtype, copy=False), None)
    mirrored = predict_head(network, normalization, image[:, ::-1], precision=precision) if flip else None
    height, width = image.shape[:2]
    labels, sure = np.empty((height, width), dtype), np.empty((height, width), np.float32)
    for top in range(0, height, BAND):  # in bands, so that the full-size scores of all classes are never held
        rows = slice(top, min(top + BAND, height))
        probabilities = probabilities_of(head, rows)
        if mirrored is not None:
            probabilities = (probabilities + probabilities_of(mirrored, rows).flip(-1)) / 2
        best = probabilities.max(1)
        labels[rows] = best.indices[0].cpu().numpy()
        sure[rows] = best.values[0].cpu().numpy()
    return DensePrediction(labels, sure if confidence else None)


def probabilities_of(head: Head, rows: slice) -> Tensor:
    """(1, K, rows, W): a head's probabilities in some rows of the picture."""
    with torch.inference_mode():
        scores = head.resampling.band(rows.start, rows.stop).apply(head.scores)
        return scores.softmax(1) if head.kind == "logits" else scores
