"""Predict: a picture of any size → classes, with confidence where it is asked for.

A picture that fits goes through the network whole. A larger one goes in overlapping tiles, of which only the inner
part is kept, so memory is bounded by the tile and not by the picture. A CRF works on the same tiles, and so do several
views of a picture (`inference.views`). Where the normalization has a size, the picture is brought to it whole, and its
scores are brought back to the picture's pixels linearly.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pixelwise.data.sample import adapt_channels
from pixelwise.errors import BadOption, DataError, WeightsError
from pixelwise.inference.refine import Refinement, refine
from pixelwise.inference.views import BAND, ONCE, Run, Views, resized, see
from pixelwise.inference.views import probabilities_of as probabilities_of
from pixelwise.labels import VOID
from pixelwise.layers.head import Head
from pixelwise.layers.normalization import Normalization
from pixelwise.layers.resample import Resampling

Precision = Literal["fp32", "bf16"]

# A tile of 1024² at 64 channels in float32 is 256 MiB for the widest map of a U-Net: a few of them fit anywhere.
TILE = 1024
MARGIN = 128  # pixels of context around the kept part of a tile
REFINED = 2**27  # probabilities that a CRF gets at a time, 512 MiB; it works with about six times as much
LARGEST_SCALE = 2.0  # up to here a tile goes through the network at its whole size


@dataclass(frozen=True)
class DensePrediction:
    """What a network says of every pixel of one picture.

    Attributes:
        labels: (H, W) uint8 classes, or uint16 with more than 255.
        confidence: (H, W) float32 probability 0–1 of that class, behind a CRF its marginal; or None where it was not
            asked for.
        more: {head: (H, W) classes} of further heads that were asked for.
    """

    labels: NDArray[Any]
    confidence: NDArray[np.float32] | None
    more: Mapping[str, NDArray[Any]] = field(default_factory=dict)


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
    views: Views = ONCE,
    confidence: bool = False,
    tile: int | None = None,
    refinement: Refinement | None = None,
    more: Sequence[str] = (),
    name: str = "image",
) -> DensePrediction:
    """The classes of a picture (H, W, C) at its own size.

    A CRF sees each tile for itself. Of pixels farther away than the tile's margin, 128 pixels or the network's own, a
    pixel near the border of the kept part may receive nothing; with σα below the margin that is little.

    Args:
        network: in evaluation mode.
        precision: "bf16" runs convolutions in bfloat16.
        flip: average the probabilities with those of the mirrored picture.
        views: scales, mirrored pictures and windows whose scores or probabilities are fused; with windows a picture is
            only cut into tiles where its probabilities are more than 2²⁷.
        confidence: give the probability of the chosen class, too.
        tile: pictures with more than tile² pixels are cut into tiles of this size; `tiling` if left out.
        refinement: a CRF behind the network; the labels are those of the largest marginals. With so many classes that
            a tile has more than 2²⁷ probabilities it works on smaller ones.
        more: names of further heads of the network whose classes are wanted, without the CRF.
        name: of the picture, for errors.

    Raises:
        ShapeError: the picture's channels are not the network's.
        DataError: there is a CRF, and a pixel is no number.
        WeightsError: there is a CRF, and the network gives probabilities that are no numbers.
        BadOption: there is a CRF, and its widths are too narrow for the range of the picture's levels.
    """
    image = adapt_channels(image, normalization.channels, name=name)
    if refinement is not None and not np.isfinite(image).all():
        raise DataError(
            f"{name} has pixels that are no numbers, whose colors a CRF cannot compare; mend it, or leave the CRF out "
            "with --no-crf (crf=False)"
        )
    normalization = normalization.of(image)  # a tile is seen in the light of its picture
    height, width = image.shape[:2]
    views = replace(views, flip=True) if flip and not views.flip else views
    run = Run(network, normalization, partial(precision_context, next(network.parameters()).device, precision))

    def predict(part: NDArray[Any]) -> DensePrediction:
        if not views.once:
            probabilities = see(run, part, normalization, views, more=more)
            return _fused(probabilities, part, refinement, confidence, name)
        heads = predict_heads(network, normalization, part, precision=precision)
        mirrored = predict_heads(network, normalization, part[:, ::-1], precision=precision) if views.flip else None
        head, other = _first(heads), None if mirrored is None else _first(mirrored)
        others = {key: _best(heads[key], None if mirrored is None else mirrored[key], False).labels for key in more}
        if refinement is not None:
            return replace(_refined(head, other, part, refinement, confidence, name), more=others)
        return replace(_best(head, other, confidence), more=others)

    windows = list(_windows(run, normalization, (height, width), tile, views))
    if len(windows) == 1:
        return predict(image)
    labels: dict[str, NDArray[Any]] = {}
    sure = np.empty((height, width), np.float32) if confidence else None
    for window, inner, place in windows:
        part = predict(image[window])
        for key, found in {"": part.labels, **part.more}.items():
            labels.setdefault(key, np.empty((height, width), found.dtype))[place] = found[inner]
        if sure is not None and part.confidence is not None:
            sure[place] = part.confidence[inner]
    return DensePrediction(labels.pop(""), sure, labels)


Window = tuple[slice, slice]


def tiling(network: nn.Module) -> tuple[int, int, int]:
    """The side of a tile, its margin, and what its first row and column are multiples of: the network's, or ours."""
    own: tuple[int, int, int] | None = getattr(network, "tiling", None)
    return own or (TILE, MARGIN, 1)


def windows_of(
    network: nn.Module, normalization: Normalization, size: tuple[int, int], tile: int | None = None
) -> Iterator[tuple[Window, Window, Window]]:
    """As `tiles`, of a picture of a size as the network takes it: a single one if that has at most tile² pixels.

    One that is brought to the normalization's size is never cut.
    """
    largest, margin, step = tiling(network)
    if normalization.size is not None:
        tile = max(size)
    side = tile or largest
    yield from tiles(size, max(size) if size[0] * size[1] <= side * side else side, margin, step)


def _windows(
    run: Run, normalization: Normalization, size: tuple[int, int], tile: int | None, views: Views
) -> Iterator[tuple[Window, Window, Window]]:
    """The tiles of a picture that is seen in some way; of several views the fused values must fit, too."""
    if views.once:
        yield from windows_of(run.network, normalization, size, tile)
        return
    if normalization.size is not None:
        yield from tiles(size, max(size), 0)
        return
    largest, margin, step = tiling(run.network)
    side = int((tile or largest) * min(1.0, LARGEST_SCALE / views.growth))
    if views.window is not None and tile is None:
        side = max(size)
    pixels = math.prod(size)
    if pixels * VOID > REFINED:
        count = sum(head.scores.shape[1] for head in run(torch.zeros(1, run.normalization.channels, 64, 64)).values())
        if count * min(pixels, side * side) > REFINED:
            side = max(math.isqrt(REFINED // count), 4 * margin)
    yield from tiles(size, max(size) if pixels <= side * side else side, min(margin, side // 4), step)


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
    return _first(predict_heads(network, normalization, image, precision=precision))


def predict_heads(
    network: nn.Module, normalization: Normalization, image: NDArray[Any], *, precision: Precision = "fp32"
) -> Mapping[str, Head]:
    """All heads for one picture (H, W, C), scores (1, K, h, w) each."""
    device = next(network.parameters()).device
    own = image.shape[0], image.shape[1]
    size = normalization.size_of(*own)
    images = (
        normalization(image[None]) if size == own else normalization.of(image).normalize(resized(image, size)[None])
    )
    with torch.inference_mode(), precision_context(device, precision):
        heads: Mapping[str, Head] = network.heads(images.to(device))  # type: ignore[operator]  # nn.Module says Tensor | Module
        return heads if size == own else {name: _brought_to(head, own) for name, head in heads.items()}


def _brought_to(head: Head, size: tuple[int, int]) -> Head:
    """The same scores with a resampling to a picture of another size."""
    at = head.resampling.image_size
    return Head(head.full_size(), Resampling.half_pixel(at, size), head.kind)


def _first(heads: Mapping[str, Head]) -> Head:
    return next(iter(heads.values()))


def label_type(num_classes: int) -> type[np.uint8] | type[np.uint16]:
    """The smallest type that holds the classes and void."""
    return np.uint8 if num_classes <= VOID else np.uint16


def _best(head: Head, mirrored: Head | None, confidence: bool) -> DensePrediction:
    """The classes by the network alone."""
    dtype = label_type(head.scores.shape[1])
    if mirrored is None and not confidence:
        return DensePrediction(head.resampling.argmax(head.scores)[0].cpu().numpy().astype(dtype, copy=False), None)
    height, width = head.resampling.image_size
    labels, sure = np.empty((height, width), dtype), np.empty((height, width), np.float32)
    for top in range(0, height, BAND):  # in bands, so that the full-size scores of all classes are never held
        rows = slice(top, min(top + BAND, height))
        best = _averaged(head, mirrored, rows).max(1)
        labels[rows] = best.indices[0].cpu().numpy()
        sure[rows] = best.values[0].cpu().numpy()
    return DensePrediction(labels, sure if confidence else None)


def _refined(
    head: Head, mirrored: Head | None, image: NDArray[Any], refinement: Refinement, confidence: bool, name: str
) -> DensePrediction:
    """The classes by a CRF."""
    height, width = head.resampling.image_size
    labels = np.empty((height, width), label_type(head.scores.shape[1]))
    sure = np.empty((height, width), np.float32) if confidence else None
    for probabilities, window, inner, place in full_probabilities(head, mirrored, name=name):
        best = _marginals(probabilities, image[window], refinement, name).max(0)
        labels[place] = best.indices.cpu().numpy()[inner]
        if sure is not None:
            sure[place] = best.values.cpu().numpy()[inner]
    return DensePrediction(labels, sure)


def _fused(
    probabilities: dict[str, Tensor],
    image: NDArray[Any],
    refinement: Refinement | None,
    confidence: bool,
    name: str,
) -> DensePrediction:
    """The classes of fused probabilities (K, H, W) of one or more heads."""
    first = probabilities.pop("labels")
    if refinement is not None:
        _check_finite(first, name)
        first = _marginals(first, image, refinement, name)
    best = first.max(0)
    labels = best.indices.cpu().numpy().astype(label_type(len(first)))
    more = {key: other.argmax(0).cpu().numpy().astype(label_type(len(other))) for key, other in probabilities.items()}
    return DensePrediction(labels, best.values.cpu().numpy() if confidence else None, more)


def _marginals(probabilities: Tensor, image: NDArray[Any], refinement: Refinement, name: str) -> Tensor:
    try:
        return refine(probabilities, image, refinement)
    except BadOption as error:  # the widths of the Gaussians and the picture
        raise BadOption(f"{name} cannot be refined: {error}; or leave the CRF out with --no-crf (crf=False)") from error


def _check_finite(probabilities: Tensor, name: str) -> None:
    if not bool(probabilities.isfinite().all()):
        raise WeightsError(
            f"the network gives probabilities of {name} that are no numbers: its weights are broken, or it was "
            "trained on pictures of other values; train it again"
        )


def full_probabilities(
    head: Head, mirrored: Head | None = None, *, name: str = "image"
) -> Iterator[tuple[Tensor, Window, Window, Window]]:
    """((K, h, w) probabilities, window, kept part in it, its place) for a CRF; one window if 2²⁷ values hold it.

    They are float32 and stay on the head's device.

    Args:
        mirrored: of the mirrored picture, to average with.
        name: of the picture, for errors.

    Raises:
        WeightsError: a probability is no number.
    """
    size, count = head.resampling.image_size, head.scores.shape[1]
    side = max(size) if count * math.prod(size) <= REFINED else max(math.isqrt(REFINED // count), 4 * MARGIN)
    for window, inner, place in tiles(size, side, MARGIN):
        rows, columns = window
        shape = count, rows.stop - rows.start, columns.stop - columns.start
        probabilities = torch.empty(shape, device=head.scores.device)
        for top in range(rows.start, rows.stop, BAND):
            band = slice(top, min(top + BAND, rows.stop))
            part = _averaged(head, mirrored, band)[0, :, :, columns]
            if head.kind == "probabilities":  # rounded to bfloat16, or single taps at a border: not quite 1 together
                part = part / part.sum(0)
            probabilities[:, top - rows.start : band.stop - rows.start] = part
        _check_finite(probabilities, name)
        yield probabilities, window, inner, place


def _averaged(head: Head, mirrored: Head | None, rows: slice) -> Tensor:
    """(1, K, rows, W): probabilities in some rows of the picture, averaged with the mirrored picture's."""
    probabilities = probabilities_of(head, rows)
    return probabilities if mirrored is None else (probabilities + probabilities_of(mirrored, rows).flip(-1)) / 2
