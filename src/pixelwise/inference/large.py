"""Huge pictures: a TIFF goes in window by window, and what is told of it goes out tile by tile.

Nothing has the size of the picture but the files. In memory are, beside the network and one tile (`inference.tiles`):
the decoded pieces of the picture that overlapping windows share (at most 192 MiB), a band of rows of each result, and,
where tiles are blended, what the lower edges of a row of tiles are made of.

The statistics that a picture is normalized by, where the network wants each picture's own, are read in a pass before:
the same pixels as `Normalization.of` takes of the whole picture, so the same numbers. Where the file declares that
pixels are no data, these are left out of the statistics, the network sees the picture's mean there, and the label is
void.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from pixelwise.data.large_tiff import LargeTiff, TiledWriter, writing
from pixelwise.data.levels import level_scale, statistics_of
from pixelwise.data.sample import adapt_channels
from pixelwise.errors import BadOption, DataError
from pixelwise.inference.engine import Engine
from pixelwise.inference.fusion import Sampling, Seen, Voice
from pixelwise.inference.pictures import (
    confidence_png,
    displayable,
    entropy_png,
    overlay,
    uncertainty_png,
    write_picture,
)
from pixelwise.inference.predict import Answer, label_type, plan_for, tell
from pixelwise.inference.refine import Refinement
from pixelwise.inference.tiles import Window
from pixelwise.inference.views import ONCE, Views
from pixelwise.labels import LabelSet
from pixelwise.layers.normalization import Normalization

REDUCED = 4096  # pixels of the longer side of an overlay
KINDS = ("mask", "confidence", "entropy", "uncertainty", "overlay")
"""What can be made of a picture that is streamed."""

_GREYS: Mapping[str, Callable[[NDArray[np.float32], int], PillowImage.Image]] = {
    "confidence": lambda values, classes: confidence_png(values),
    "entropy": entropy_png,
    "uncertainty": uncertainty_png,
}


@dataclass(frozen=True)
class Streamed:
    """What was told of a picture that was streamed.

    Attributes:
        size: (height, width).
        areas: (K,) pixels of each class.
        void: pixels of no data.
        notes: sentences about what a reader would not expect.
    """

    size: tuple[int, int]
    areas: NDArray[np.int64]
    void: int
    notes: tuple[str, ...]


def predict_tiff(
    engines: Sequence[Engine],
    normalizations: Sequence[Normalization],
    path: Path,
    files: Mapping[str, Path],
    label_set: LabelSet,
    *,
    views: Views = ONCE,
    sampling: Sampling | None = None,
    refinement: Refinement | None = None,
    tile: int | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Streamed:
    """Segment a TIFF of any size into files, each whole or not at all.

    The mask is a tiled TIFF with the label set's colors (16-bit grey above 255 classes), confidence, entropy and
    uncertainty are tiled TIFFs of grey 0–255 as the PNGs of these kinds; all have the picture's georeference. The
    overlay is a PNG, reduced to 4096 pixels on its longer side.

    Args:
        engines, normalizations: one, or several whose probabilities are averaged.
        files: {kind: file}, the kinds of `KINDS`.
        views, sampling, refinement, tile: see `predict_image`.
        progress: called with the tiles done, and all.

    Raises:
        DataError: the picture cannot be read in windows, or has pixels that are no numbers before a CRF; or a file
            cannot be written.
        BadOption: a kind cannot be made of a streamed picture; or the model brings whole pictures to a size.
        ShapeError: the picture's channels are not the network's.
    """
    wrong = [kind for kind in files if kind not in KINDS]
    if wrong:
        raise BadOption(f"{path} is streamed in tiles, of which {wrong[0]} cannot be made; expected {', '.join(KINDS)}")
    if any(normalization.size is not None for normalization in normalizations):
        raise BadOption(
            f"the model brings pictures to one size before it sees them, which {path} is too large for; reduce it, or "
            "cut it, first"
        )
    with LargeTiff(path) as tiff:
        grid = adapt_channels(tiff.grid()[None], normalizations[0].channels, name=str(path))[0]
        statistics = statistics_of(grid)
        voices = [
            Voice(engine, own.of_statistics(statistics)) for engine, own in zip(engines, normalizations, strict=True)
        ]
        plan = plan_for(voices, tiff.size, tile, views, sampling)
        rows = max(window[0].stop - window[0].start for window, _, _ in plan.tiles) + plan.ramp
        with ExitStack() as stack:
            answer = _Files(tiff, files, label_set, rows, stack)
            fill = _fill(statistics[0], tiff.dtype)

            def read(window: Window) -> NDArray[Any]:
                pixels, void = tiff.read_with_void(*window)
                pixels = adapt_channels(pixels, len(fill), name=str(path))
                if void is not None:
                    answer.mark(window, void)
                    pixels[void] = fill
                if refinement is not None and not np.isfinite(pixels).all():
                    raise DataError(
                        f"{path} has pixels that are no numbers, whose colors a CRF cannot compare; mend it, or leave "
                        "the CRF out with --no-crf (crf=False)"
                    )
                return pixels

            def reached(row: int, number: int) -> None:
                answer.done(row)
                if number:
                    progress(number, len(plan.tiles))

            tell(
                answer,
                plan,
                voices,
                read,
                views=views,
                sampling=sampling,
                refinement=refinement,
                name=str(path),
                reached=reached,
            )
            answer.done(tiff.size[0])
            if "overlay" in files:
                write_picture(overlay(_reduced(tiff, answer.factor), answer.reduced, label_set), files["overlay"])
        progress(len(plan.tiles), len(plan.tiles))
        notes = list(tiff.notes)
        if "overlay" in files and answer.factor > 1:
            notes.append(
                f"the overlay of {path} is reduced to {answer.reduced.shape[1]} × {answer.reduced.shape[0]} pixels, "
                f"1 of {answer.factor} × {answer.factor}"
            )
        return Streamed(tiff.size, answer.areas, answer.void, tuple(notes))


def _fill(mean: NDArray[np.float32], dtype: np.dtype[Any]) -> NDArray[Any]:
    """(C,) what the network sees where there is no data: the picture's mean."""
    values = mean / np.float32(level_scale(dtype))
    return (np.rint(values) if dtype.kind == "u" else values).astype(dtype)


def _reduced(tiff: LargeTiff, factor: int) -> NDArray[np.uint8]:
    """The picture for the eye, each pixel the mean of factor × factor; what is left over at the ends is cut off."""
    height, width = (side // factor for side in tiff.size)
    bands = []
    step = max(1, 256 // factor)
    for top in range(0, height, step):
        bottom = min(top + step, height)
        pixels = tiff.read(slice(top * factor, bottom * factor), slice(0, width * factor))[..., :3]
        small = [
            cv2.resize(pixels[..., c], (width, bottom - top), interpolation=cv2.INTER_AREA)
            for c in range(pixels.shape[2])
        ]
        bands.append(np.stack(small, 2))
    return displayable(np.concatenate(bands))


class _Files(Answer):
    """An answer that is written as soon as it is told."""

    def __init__(
        self, tiff: LargeTiff, files: Mapping[str, Path], label_set: LabelSet, rows: int, stack: ExitStack
    ) -> None:
        super().__init__((0, 0), "confidence" in files, "entropy" in files)
        self.size = tiff.size
        self.factor = -(-max(tiff.size) // REDUCED)
        self.reduced = np.zeros([side // self.factor for side in tiff.size], label_set.dtype)
        self.areas = np.zeros(label_set.num_classes, np.int64)
        self.void = 0
        self._label_set = label_set
        self._writers: list[TiledWriter] = []
        self._void: list[tuple[Window, NDArray[np.bool_]]] = []
        self._kinds = [kind for kind in files if kind in _GREYS]
        classes, void = label_set.num_classes, label_set.void
        index = np.arange(256)
        known = (index < classes) | (index == void)
        colors = np.zeros((256, 3), np.uint8)
        colors[known] = label_set.colored(index[known])
        declared = tiff.nodata is not None
        told = ", ".join(f"{number} {name}" for number, name in enumerate(label_set.names))
        opening: dict[str, Any] = {"rows": rows, "like": tiff}
        self._labels: Any = _Sink(tiff.size, label_type(classes), rows, self._finished)
        if "mask" in files:
            self._labels = stack.enter_context(
                writing(
                    files["mask"],
                    tiff.size,
                    label_type(classes),
                    palette=colors if classes <= 256 else None,
                    nodata=void if declared else None,
                    description=f"classes: {told}",
                    finished=self._finished,
                    **opening,
                )
            )
        self._writers.append(self._labels)
        self._greys: dict[str, _Grey] = {}
        for kind in self._kinds:
            writer = stack.enter_context(writing(files[kind], tiff.size, np.uint8, finished=self._blanked, **opening))
            self._writers.append(writer)
            self._greys[kind] = _Grey(writer, kind, classes)

    def open(self, seen: Seen) -> None:
        """Put the files where the arrays of a whole picture would be."""
        if self.classes:
            return
        self.classes = {"labels": seen.classes["labels"]}
        self.labels = {"labels": self._labels}
        greys: Any = self._greys  # they take what an array takes
        self.confidence, self.entropy = greys.get("confidence"), greys.get("entropy")
        self.uncertainty = greys.get("uncertainty", _Nowhere()) if seen.uncertainty else None

    def mark(self, window: Window, void: NDArray[np.bool_]) -> None:
        """Pixels of a window are no data."""
        self._void.append((window, void))

    def done(self, row: int) -> None:
        """Everything above a row is told."""
        for writer in self._writers:
            writer.done(row)
        self._void = [(window, void) for window, void in self._void if window[0].stop > row - 512]

    def _finished(self, top: int, band: NDArray[Any]) -> None:
        """Void, areas and the reduced labels of a band of rows."""
        self._blank(top, band, self._label_set.void)
        counts = np.bincount(band.ravel(), minlength=self._label_set.void + 1)
        self.areas += counts[: len(self.areas)]
        self.void += int(counts[self._label_set.void])
        half = self.factor // 2
        first, last = -(-(top - half) // self.factor), -(-(top + len(band) - half) // self.factor)
        first, last = max(first, 0), min(last, self.reduced.shape[0])
        if first < last:
            rows = np.arange(first, last) * self.factor + half - top
            columns = np.arange(self.reduced.shape[1]) * self.factor + half
            self.reduced[first:last] = band[rows[:, None], columns]

    def _blanked(self, top: int, band: NDArray[Any]) -> None:
        self._blank(top, band, 0)

    def _blank(self, top: int, band: NDArray[Any], value: int) -> None:
        for (rows, columns), void in self._void:
            low, high = max(rows.start, top), min(rows.stop, top + len(band))
            if low < high:
                band[low - top : high - top, columns][void[low - rows.start : high - rows.start]] = value


class _Grey:
    """A file of grey that takes values of one kind."""

    def __init__(self, writer: TiledWriter, kind: str, classes: int) -> None:
        self._writer, self._kind, self._classes = writer, kind, classes

    def __setitem__(self, place: Window, values: NDArray[np.float32]) -> None:
        self._writer[place] = np.asarray(_GREYS[self._kind](values, self._classes))


class _Nowhere:
    """Takes values that nobody asked for."""

    def __setitem__(self, place: Window, values: NDArray[np.float32]) -> None:
        pass


class _Sink(TiledWriter):
    """Labels that are counted and reduced, and not written."""

    def __init__(
        self, size: tuple[int, int], dtype: type[np.generic], rows: int, finished: Callable[[int, NDArray[Any]], None]
    ) -> None:
        super().__init__(size, np.dtype(dtype), rows, finished)
