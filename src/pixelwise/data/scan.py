"""Read every picture and every mask once, on a few threads, and remember what was found.

The memory is one file a folder in the cache: the folder named by PIXELWISE_CACHE, or ~/.cache/pixelwise. A file is read
again when its size or time of change differs. Without a writable cache everything works, and is read anew each time.
"""

import hashlib
import json
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from pixelwise.data.decode import array_info, decode_mask, mask_orientation, mask_palette, read_image, read_info
from pixelwise.data.decoding.files import ImageInfo
from pixelwise.data.sample import DrawnImage, DrawnMask, ImageSource, MaskSource, Pair, files_of, path_of
from pixelwise.errors import DataError
from pixelwise.files import cache_folder, write_text
from pixelwise.labels import pack_color

_FORMAT = 3  # of the cache's files; another number is not read
MAX_VALUES = 2048
"""So many different values of one mask are kept; no mask of classes has more."""

THUMBNAIL = 16
"""Rows and columns of the small gray picture that near-duplicates are told by."""


@dataclass(frozen=True)
class ImageStatistics:
    """What one picture holds.

    Attributes:
        info: what its header says.
        digest: the same for two files with the same bytes.
        thumbnail: the picture in gray, (16, 16) uint8, stretched to its own darkest and brightest; zeros where it has
            one color.
        not_finite: (row, column) of the first value that is not a number or infinite.
    """

    info: ImageInfo
    digest: str
    thumbnail: NDArray[np.uint8]
    not_finite: tuple[int, int] | None = None

    def to_record(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {
            "info": asdict(self.info) | {"size": list(self.info.size)},
            "digest": self.digest,
            "thumbnail": self.thumbnail.tobytes().hex(),
            "not_finite": None if self.not_finite is None else list(self.not_finite),
        }

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> Self:
        """What `to_record` described."""
        place = record["not_finite"]
        return cls(
            info=ImageInfo(**record["info"] | {"size": tuple(record["info"]["size"])}),
            digest=str(record["digest"]),
            thumbnail=np.frombuffer(bytes.fromhex(record["thumbnail"]), np.uint8).reshape(THUMBNAIL, THUMBNAIL),
            not_finite=None if place is None else (int(place[0]), int(place[1])),
        )


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
        rim: the value of all pixels at the four edges, where the pixels next to them are not all of that value.
        shared: pixels that several objects claim, as `DrawnMask.draw` counts them.
    """

    size: tuple[int, int]
    colors: bool
    distinct: int
    values: NDArray[np.int64]
    counts: NDArray[np.int64]
    solid: NDArray[np.int64]
    palette: dict[int, int] | None
    orientation: int
    rim: int | None = None
    shared: int = 0

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
            "rim": self.rim,
            "shared": self.shared,
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
            rim=None if record["rim"] is None else int(record["rim"]),
            shared=int(record["shared"]),
        )


@dataclass(frozen=True)
class Scan:
    """What the files of some pairs hold; an error in place of what cannot be read."""

    images: dict[ImageSource, ImageStatistics | DataError]
    masks: dict[MaskSource, MaskStatistics | DataError]


def scan(
    pairs: Iterable[Pair],
    root: Path,
    *,
    workers: int = 2,
    lossy: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Scan:
    """Read the pictures and masks of pairs.

    Args:
        root: the folder, under which the cache remembers.
        workers: threads.
        lossy: read lossy masks, too.
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
    kind = "lossy mask" if lossy else "mask"
    with ThreadPoolExecutor(max_workers=max(1, workers)) as pool:

        def image_job(source: ImageSource) -> tuple[Any, ImageStatistics | DataError]:
            return _look(source, known.get(f"image {source}"), ImageStatistics, image_statistics)

        def mask_job(source: MaskSource) -> tuple[Any, MaskStatistics | DataError]:
            before = known.get(f"{kind} {_key(source)}")
            return _look(source, before, MaskStatistics, lambda mask: mask_statistics(mask, lossy=lossy))

        # files that are remembered cost less than a thread's turn
        run = map if len(known) >= total else pool.map
        try:
            done = 0
            for source, (entry, seen) in zip(images, run(image_job, images), strict=True):
                result.images[source] = seen
                if entry is not None:
                    new[f"image {source}"] = entry
                done += 1
                if progress is not None:
                    progress(done, total)
            for target, (entry, found) in zip(masks, run(mask_job, masks), strict=True):
                result.masks[target] = found
                if entry is not None:
                    new[f"{kind} {_key(target)}"] = entry
                done += 1
                if progress is not None:
                    progress(done, total)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    if any(known.get(key) is not entry for key, entry in new.items()):
        _write_cache(cache_file, new)
    return result


def image_statistics(source: ImageSource) -> ImageStatistics:
    """Decode a picture.

    Raises:
        DataError: it cannot be read.
    """
    image: NDArray[Any] = read_image(source)
    info = array_info(image) if isinstance(source, DrawnImage) else read_info(source)
    not_finite = None
    if image.dtype.kind == "f" and not np.isfinite(image).all():
        row, column = np.argwhere(~np.isfinite(image))[0][:2]
        not_finite = int(row), int(column)
        image = np.nan_to_num(image, posinf=0, neginf=0)
    digest = hashlib.blake2b(digest_size=16)
    if isinstance(source, DrawnImage):  # its file may hold many others
        digest.update(image.tobytes())
    else:
        for file in files_of(source):
            digest.update(file.read_bytes())
    return ImageStatistics(info, digest.hexdigest(), thumbnail(image), not_finite)


def thumbnail(image: NDArray[Any]) -> NDArray[np.uint8]:
    """(16, 16) uint8: the mean of each sixteenth of a picture (H, W, C) in gray, stretched to 0–255."""
    step = max(min(image.shape[:2]) // 256, 1)
    small = image[::step, ::step].astype(np.float32)
    if small.shape[2] > 1:
        small = small.mean(axis=2, keepdims=True)
    gray: NDArray[Any] = cv2.resize(small[:, :, 0], (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA)
    low, high = float(gray.min()), float(gray.max())
    if high - low <= 1e-6 * max(abs(high), 1):
        return np.zeros((THUMBNAIL, THUMBNAIL), np.uint8)
    stretched: NDArray[np.uint8] = np.rint((gray - low) * (255 / (high - low))).astype(np.uint8)
    return stretched


def mask_statistics(source: MaskSource, *, lossy: bool = False) -> MaskStatistics:
    """Decode or draw a mask and count its values.

    Raises:
        DataError: it cannot be read as a mask.
    """
    colors, orientation, shared = None, 1, 0
    if isinstance(source, DrawnMask):
        mask, shared = source.draw()
    else:
        mask = decode_mask(source, lossy=lossy)
        colors, orientation = mask_palette(source), mask_orientation(source)
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
        orientation=orientation,
        rim=_rim(mask),
        shared=shared,
    )


def _rim(mask: NDArray[Any]) -> int | None:
    """The one value of the outermost pixels, unless the next ones have it everywhere, too."""
    if min(mask.shape) < 5:
        return None
    value = mask[0, 0]
    outer, inner = (
        all(
            (edge == value).all()
            for edge in (
                mask[i, i : -i or None],
                mask[-1 - i, i : -i or None],
                mask[i : -i or None, i],
                mask[i : -i or None, -1 - i],
            )
        )
        for i in (0, 1)
    )
    return int(value) if outer and not inner else None


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


Source = TypeVar("Source", ImageSource, MaskSource)
Found = TypeVar("Found", ImageStatistics, MaskStatistics)


def _key(source: MaskSource) -> str:
    return source.key if isinstance(source, DrawnMask) else str(source)


def _look(
    source: Source, before: Any, kind: type[Found], read: Callable[[Source], Found]
) -> tuple[Any, Found | DataError]:
    """(the entry to remember, or none; what was found): as before, if no file's size or time changed."""
    try:
        stamp = []
        for file in files_of(source):
            status = file.stat()
            stamp += [status.st_size, status.st_mtime_ns]
        try:
            if before is not None and before[0] == stamp:
                return before, kind.from_record(before[1])
        except (KeyError, TypeError, ValueError, IndexError):
            pass  # the cache was damaged
        found = read(source)
        return [stamp, found.to_record()], found
    except DataError as error:
        return None, error
    except OSError as error:
        return None, DataError(f"{path_of(source)} cannot be read ({error.strerror}); check the file")


def _cache_file(root: Path) -> Path:
    digest = hashlib.sha256(str(root.resolve()).encode(errors="surrogateescape")).hexdigest()[:24]
    return cache_folder() / "folders" / f"{digest}.json"


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
