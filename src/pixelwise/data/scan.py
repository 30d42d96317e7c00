"""Read every mask once and every picture's header, on a few threads, and remember what was found.

The memory is one file a folder in the cache: the folder named by PIXELWISE_CACHE, or ~/.cache/pixelwise. A file is read
again when its size or time of change differs. Without a writable cache everything works, and is read anew each time.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from pixelwise.data.decode import ImageInfo, decode_image, decode_mask, image_info, mask_palette
from pixelwise.data.sample import Pair
from pixelwise.errors import DataError
from pixelwise.files import write_text
from pixelwise.labels import pack_color

_FORMAT = 1  # of the cache's files; another number is not read
MAX_VALUES = 2048
"""So many different values of one mask are kept; no mask of classes has more."""


@dataclass(frozen=True)
class MaskStatistics:
    """What one mask holds.

    Attributes:
        size: (height, width), upright.
        colors: the values are packed colors.
        distinct: number of different values.
        values: the different values, ascending; the `MAX_VALUES` most frequent where there are more. (V,) int64.
        counts: pixels of each. (V,) int64.
        solid: of these pixels, those whose 3 × 3 neighborhood all has the same value. (V,) int64.
        palette: {value: packed color} of a palette mask's values; None for others.
        orientation: the EXIF number that was applied; 1 is upright.
    """

    size: tuple[int, int]
    colors: bool
    distinct: int
    values: NDArray[np.int64]
    counts: NDArray[np.int64]
    solid: NDArray[np.int64]
    palette: dict[int, int] | None
    orientation: int

    def to_record(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {
            "size": list(self.size),
            "colors": self.colors,
            "distinct": self.distinct,
            "values": self.values.tolist(),
            "counts": self.counts.tolist(),
            "solid": self.solid.tolist(),
            "palette": None if self.palette is None else [[k, v] for k, v in self.palette.items()],
            "orientation": self.orientation,
        }

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> Self:
        """What `to_record` described."""
        height, width = record["size"]
        return cls(
            size=(int(height), int(width)),
            colors=bool(record["colors"]),
            distinct=int(record["distinct"]),
            values=np.array(record["values"], np.int64),
            counts=np.array(record["counts"], np.int64),
            solid=np.array(record["solid"], np.int64),
            palette=None if record["palette"] is None else {int(k): int(v) for k, v in record["palette"]},
            orientation=int(record["orientation"]),
        )


@dataclass(frozen=True)
class Scan:
    """What the files of some pairs hold; an error in place of what cannot be read."""

    images: dict[Path, ImageInfo | DataError]
    masks: dict[Path, MaskStatistics | DataError]


def scan(
    pairs: Iterable[Pair], root: Path, *, workers: int = 2, progress: Callable[[int, int], None] | None = None
) -> Scan:
    """Read the masks and the pictures' headers of pairs.

    Args:
        root: the folder, under which the cache remembers.
        workers: threads.
        progress: called from this thread with (files done, files).
    """
    pairs = list(pairs)
    images = list(dict.fromkeys(pair.image for pair in pairs))
    masks = list(dict.fromkeys(pair.mask for pair in pairs if pair.mask is not None))
    cache_file = _cache_file(root)
    known = _read_cache(cache_file)
    result = Scan({}, {})
    new: dict[str, Any] = {}
    total = len(images) + len(masks)
    jobs = [("image", path) for path in images] + [("mask", path) for path in masks]
    with ThreadPoolExecutor(max_workers=max(1, workers)) as pool:
        try:
            answers = pool.map(lambda job: _look(job[0], job[1], known), jobs)
            for done, ((kind, path), (stamp, found)) in enumerate(zip(jobs, answers, strict=True), 1):
                if isinstance(found, MaskStatistics):
                    result.masks[path] = found
                    new[f"mask {path}"] = [stamp, found.to_record()]
                elif isinstance(found, ImageInfo):
                    result.images[path] = found
                    new[f"image {path}"] = [stamp, asdict(found) | {"size": list(found.size)}]
                elif kind == "mask":
                    result.masks[path] = found
                else:
                    result.images[path] = found
                if progress is not None:
                    progress(done, total)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    if new != known:
        _write_cache(cache_file, new)
    return result


def mask_statistics(path: Path) -> MaskStatistics:
    """Decode a mask and count its values.

    Raises:
        DataError: it cannot be read as a mask.
    """
    mask = decode_mask(path)
    values, counts = _counted(mask)
    solid = np.zeros_like(counts)
    if min(mask.shape) >= 3:
        inner = mask[1:-1, 1:-1][_uniform_neighborhoods(mask)]
        inner_values, inner_counts = _counted(inner)
        solid[np.searchsorted(values, inner_values)] = inner_counts
    distinct = len(values)
    if distinct > MAX_VALUES:
        kept = np.sort(np.argsort(-counts, kind="stable")[:MAX_VALUES])
        values, counts, solid = values[kept], counts[kept], solid[kept]
    colors = mask_palette(path)
    palette = None
    if colors is not None:
        palette = {
            int(v): pack_color((int(r), int(g), int(b))) for v, (r, g, b) in zip(values, colors[values], strict=True)
        }
    return MaskStatistics(
        size=(int(mask.shape[0]), int(mask.shape[1])),
        colors=mask.dtype == np.uint32,
        distinct=distinct,
        values=values,
        counts=counts,
        solid=solid,
        palette=palette,
        orientation=image_info(path).orientation,
    )


def _counted(mask: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The different values, ascending, and how often each comes."""
    flat = mask.ravel()
    if mask.dtype == np.uint8:
        counts = np.bincount(flat, minlength=256)
        values = np.flatnonzero(counts)
        return values.astype(np.int64), counts[values].astype(np.int64)
    if flat.size == 0:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    # masks are made of runs: sorting one number a run is much less than one a pixel
    starts = np.concatenate(([0], np.flatnonzero(flat[1:] != flat[:-1]) + 1))
    lengths = np.diff(np.append(starts, flat.size))
    values, run = np.unique(flat[starts].astype(np.int64), return_inverse=True)
    return values, np.bincount(run.ravel(), weights=lengths).astype(np.int64)


def _uniform_neighborhoods(mask: NDArray[Any]) -> NDArray[np.bool_]:
    """(H−2, W−2): whether the 3 × 3 pixels around each inner pixel all have its value."""
    same = mask[:, 1:] == mask[:, :-1]
    rows = same[:, 1:] & same[:, :-1]  # three in a row
    below = mask[1:, 1:-1] == mask[:-1, 1:-1]
    uniform: NDArray[np.bool_] = rows[:-2] & rows[1:-1] & rows[2:] & below[:-1] & below[1:]
    return uniform


def _look(kind: str, path: Path, known: dict[str, Any]) -> tuple[list[int], MaskStatistics | ImageInfo | DataError]:
    """(size and time, what was found) of one file."""
    try:
        status = path.stat()
        stamp = [status.st_size, status.st_mtime_ns]
        before = known.get(f"{kind} {path}")
        try:
            if before is not None and before[0] == stamp:
                if kind == "mask":
                    return stamp, MaskStatistics.from_record(before[1])
                return stamp, ImageInfo(**before[1] | {"size": tuple(before[1]["size"])})
        except (KeyError, TypeError, ValueError, IndexError):
            pass  # the cache was damaged
        return stamp, mask_statistics(path) if kind == "mask" else _checked_info(path)
    except DataError as error:
        return [], error
    except OSError as error:
        return [], DataError(f"{path} cannot be read ({error.strerror}); check the file")


def _checked_info(path: Path) -> ImageInfo:
    """The header of a picture whose end is there, too; a picture without the mark of its format's end is decoded."""
    info = image_info(path)
    end_mark = {"JPEG": b"\xff\xd9", "PNG": b"IEND"}.get(info.format)
    with path.open("rb") as file:
        file.seek(-min(1024, path.stat().st_size), os.SEEK_END)
        tail = file.read()
    if end_mark is None or end_mark not in tail:
        decode_image(path)
    return info


def _cache_file(root: Path) -> Path:
    folder = os.environ.get("PIXELWISE_CACHE") or Path("~/.cache/pixelwise").expanduser()
    digest = hashlib.sha256(str(root.resolve()).encode(errors="surrogateescape")).hexdigest()[:24]
    return Path(folder) / "folders" / f"{digest}.json"


def _read_cache(path: Path) -> dict[str, Any]:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        files = record["files"] if record["format"] == _FORMAT else {}
        return files if isinstance(files, dict) else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _write_cache(path: Path, files: dict[str, Any]) -> None:
    try:
        write_text(json.dumps({"format": _FORMAT, "files": files}), path)
    except (OSError, ValueError):  # a full disk, or none to write on: nothing is lost but time
        pass
