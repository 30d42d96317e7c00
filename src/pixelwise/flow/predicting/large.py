"""Predict a TIFF that is too large to hold, with a segmenter: see `inference.large`."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pixelwise.data.large_tiff import LargeTiff
from pixelwise.errors import PixelwiseError
from pixelwise.inference.engine import Wanted
from pixelwise.inference.fusion import Sampling
from pixelwise.inference.large import predict_tiff
from pixelwise.inference.views import Scales, views_of
from pixelwise.segmenter import Segmenter

LARGE = 50_000_000
"""Pixels above which a TIFF is streamed: whole, with an overlay, it would take some 2 GiB."""

SUFFIXES = {"mask": ".tif", "confidence": ".tif", "entropy": ".tif", "uncertainty": ".tif", "overlay": ".png"}
"""{kind: suffix} of what can be made of a TIFF that is streamed."""


@dataclass(frozen=True)
class LargePrediction:
    """What was told of a picture beside its files.

    Attributes:
        size: (height, width).
        areas: {class: pixels}, without void.
        notes: sentences for people, as that the overlay is reduced.
    """

    size: tuple[int, int]
    areas: dict[str, int]
    notes: tuple[str, ...]


def streams(path: Path) -> bool:
    """Whether a file is a TIFF of more than `LARGE` pixels, or with a georeference, that can be read in windows.

    Only its header is read, and one of its tiles. Of a file that is damaged the answer is no: reading it says why.
    """
    try:
        with LargeTiff(path) as tiff:
            return tiff.size[0] * tiff.size[1] > LARGE or bool(tiff.georeference)
    except PixelwiseError:
        return False


def predict_large(
    segmenter: Segmenter,
    path: Path,
    files: Mapping[str, Path],
    *,
    precision: Wanted = None,
    engine: str = "torch",
    scales: Scales = None,
    flip: bool = False,
    crf: bool | None = None,
    samples: int | None = None,
    others: Sequence[Segmenter] = (),
    tile: int | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> LargePrediction:
    """Segment a TIFF of any size into files.

    Memory does not grow with the picture's height, and with its width only by some bands of rows
    (`benchmarks/gigapixel.py`). A smaller tile takes less.

    Args:
        files: {kind: file}, the kinds of `SUFFIXES`.
        precision, engine, scales, flip, crf, samples, others, tile: as for `Segmenter.predict`.
        progress: called with the tiles done, and all.

    Raises:
        PixelwiseError: as `Segmenter.predict`, and as `inference.large.predict_tiff`.
    """
    members = (segmenter, *others)
    found = predict_tiff(
        [member.engine(precision, engine) for member in members],
        [member.normalization for member in members],
        path,
        files,
        segmenter.labels,
        views=views_of(scales, flip=flip),
        sampling=None if samples is None else Sampling(samples),
        refinement=segmenter.refinement_for(crf),
        tile=tile,
        progress=progress,
    )
    areas = {name: int(count) for name, count in zip(segmenter.labels.names, found.areas, strict=True)}
    return LargePrediction(found.size, areas, found.notes)
