"""Any folder that is understood, written as a plain one: for people, for other tools, and as a clean copy.

    OUT/images/[SPLIT/]NAME.EXT        the picture's own bytes; upright PNG where it had an EXIF rotation
    OUT/masks/[SPLIT/]NAME.png         palette PNG of classes 0…K−1 and 255 for void; 16-bit gray above 255 classes
    OUT/classes.yaml                   names, colors, and what the numbers mean
    OUT/CHANGES.txt                    with repair: what is not as it was, a line each

or, with `to="voc"`, JPEGImages/, SegmentationClass/, ImageSets/Segmentation/{train,val,test,trainval}.txt, labelmap.txt
and classes.yaml. A picture keeps its own kind (a PNG in JPEGImages stays a PNG: as JPEG it would lose). Pictures whose
channels lie in several files become one TIFF. Files are written beside and renamed as a whole: OUT is there when it is
complete.
"""

import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image as PillowImage

from pixelwise.data.decode import read_image, read_mask
from pixelwise.data.decoding.numbers import upright
from pixelwise.data.folder import read_classes
from pixelwise.data.formats.finding import counted
from pixelwise.data.sample import MaskSource, Pair, path_of
from pixelwise.data.scan import ImageStatistics, MaskStatistics
from pixelwise.data.values.classnames import write_classes
from pixelwise.errors import BadOption, DataError
from pixelwise.flow.understanding import Understanding
from pixelwise.labels import LabelSet, voc_color

Form = Literal["folder", "voc"]
STRAY_SHARE = 0.1
"""A mask with a larger share of pixels that no class has is left out of a clean copy; up to it, they become void."""

MAX_FACTOR = 4.5
"""A mask that is smaller or larger than its picture by more than this is of another picture."""


@dataclass(frozen=True)
class Conversion:
    """What was written.

    Attributes:
        out: the folder.
        splits: {split: pictures}.
        changes: what is not as it was, a line each; empty without repair.
    """

    out: Path
    splits: dict[str, int]
    changes: tuple[str, ...]


def convert(
    understanding: Understanding,
    out: str | Path,
    *,
    to: Form = "folder",
    repair: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Conversion:
    """Write a folder that is understood as a plain one.

    Args:
        out: a folder that does not exist, or is empty.
        to: "folder" or "voc"; see this module's first lines.
        repair: write what is sound and what can be repaired, instead of refusing a folder with errors. Repaired are
            masks of another size with the picture's proportions (nearest pixel), masks that miss their picture's EXIF
            rotation, and stray values in up to a tenth of a mask (void). Left out are all other pairs with an error,
            masks that are void everywhere, and of pictures that are in two parts the one to train on; of the same
            picture twice in one part the second, and both where their masks differ.
        progress: called with (pairs done, pairs).

    Raises:
        BadOption: `out` is not empty.
        DataError: the folder has errors, and `repair` is not asked for.
    """
    out = Path(out)
    place = out.resolve()
    if understanding.root.resolve() in place.parents:
        raise BadOption(f"{out} lies inside {understanding.root}; choose a folder outside, which is not read with it")
    if to not in ("folder", "voc"):
        raise BadOption(f"to is 'folder' or 'voc', got {to!r}")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise BadOption(f"{out} exists already; choose a new folder, so that nothing is overwritten")
    if understanding.errors and not repair:
        raise DataError(
            f"{understanding.errors[0].message} ({counted(len(understanding.errors), 'error')} in all); mend them, or "
            "let `pixelwise check FOLDER --fix OUT` write a clean copy"
        )
    kept, changes = _chosen(understanding) if repair else (understanding.splits, [])
    total = sum(len(pairs) for pairs in kept.values())
    if not total:
        raise DataError(f"nothing of {understanding.root} is left for a clean copy; see `pixelwise check`")
    beside = place.with_name(f".{place.name}.part")
    shutil.rmtree(beside, ignore_errors=True)  # of a run that was killed
    beside.mkdir(parents=True)
    try:
        writer = _Writer(beside, to, understanding, changes)
        for number, (split, pair) in enumerate(((s, p) for s, pairs in kept.items() for p in pairs), 1):
            writer.write(split, pair)
            if progress is not None:
                progress(number, total)
        writer.finish(repair)
        if place.is_dir():
            place.rmdir()
        beside.rename(place)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise
    return Conversion(out, {split: len(pairs) for split, pairs in kept.items()}, tuple(changes))


def _chosen(understanding: Understanding) -> tuple[dict[str, tuple[Pair, ...]], list[str]]:
    """The pairs of a clean copy, and why others are not in it."""
    changes = []
    left_out: set[Pair] = set()
    pairs = understanding.pairs
    split_of = [split for split, part in understanding.splits.items() for _ in part]
    for first, second, likeness in understanding.alike:
        one, other = pairs[first], pairs[second]
        if split_of[first] == split_of[second]:
            if likeness == 2 and not left_out & {one, other}:
                left_out.add(other)
                told = f"{other.image} is left out: the same picture as {one.image}"
                if not _same_masks(one, other, understanding):
                    left_out.add(one)
                    told = f"{one.image} and {other.image} are left out: the same picture with different masks"
                changes.append(told)
            continue
        gone, stays = (one, other) if split_of[first] in ("train", "all") else (other, one)
        if split_of[second] in ("train", "all"):
            gone, stays = other, one
        if gone not in left_out and stays not in left_out:
            left_out.add(gone)
            changes.append(f"{gone.image} is left out: {stays.image} of another part shows (nearly) the same")
    for pair in pairs:
        if pair.mask is not None and not understanding.mask_counts[pair.mask].any():
            left_out.add(pair)
            changes.append(f"{pair.image} is left out: its mask {pair.mask} is void everywhere")
    chosen: dict[str, tuple[Pair, ...]] = {}
    for split in ("train", "val", "test", "all"):
        sound = [pair for pair in understanding.splits.get(split, ()) if pair not in left_out]
        for pair in understanding.broken.get(split, ()):
            if _can_be_repaired(pair, understanding):
                sound.append(pair)
            else:
                reason = next(
                    fault.reason
                    for fault in understanding.errors
                    if fault.path in (path_of(pair.image), None if pair.mask is None else path_of(pair.mask))
                )
                changes.append(f"{pair.image} is left out: {reason}")
        if sound:
            chosen[split] = tuple(sorted(sound, key=lambda pair: pair.name))
    paired = {
        path_of(p.image) for pairs in (*understanding.splits.values(), *understanding.broken.values()) for p in pairs
    }
    for fault in understanding.faults:
        if fault.kind in ("orphan", "twin", "missing") and fault.path not in paired:
            changes.append(fault.reason if "left out" in fault.reason else f"left out: {fault.reason}")
    return chosen, changes


def _same_masks(one: Pair, other: Pair, understanding: Understanding) -> bool:
    labels = understanding.labels
    first, second = (read_classes(pair.mask, labels) for pair in (one, other) if pair.mask is not None)
    return np.array_equal(first, second)


def _can_be_repaired(pair: Pair, understanding: Understanding) -> bool:
    image = understanding.images.get(pair.image)
    mask = understanding.masks.get(pair.mask) if pair.mask is not None else None
    if any(fault.picture == path_of(pair.image) for fault in understanding.errors):
        return False
    if image is None or mask is None or image.not_finite is not None or mask.colors != understanding.labels.colors:
        return False
    info = image.info
    if info.dtype != understanding.dtype or info.channels not in (understanding.channels, 1):
        return False
    if info.channels != understanding.channels and understanding.channels != 3:
        return False
    known = understanding.labels.table
    stray = sum(
        count for value, count in zip(mask.values.tolist(), mask.counts.tolist(), strict=True) if value not in known
    )
    if not understanding.labels.snap and stray > STRAY_SHARE * mask.counts.sum():
        return False
    return image.info.size == mask.size or _turned(image, mask) or _same_proportions(info.size, mask.size)


def _turned(image: ImageStatistics, mask: MaskStatistics) -> bool:
    """The picture's EXIF rotation explains why the mask lies on its side."""
    return image.info.orientation >= 5 and mask.orientation == 1 and image.info.size == mask.size[::-1]


def _same_proportions(size: tuple[int, int], other: tuple[int, int]) -> bool:
    """Whether one size is a scale of the other, up to `MAX_FACTOR`, to a pixel."""
    factor = max(size) / max(other)
    if not 1 / MAX_FACTOR <= factor <= MAX_FACTOR:
        return False
    return all(abs(a - b * factor) <= max(1.0, factor) for a, b in zip(size, other, strict=True))


class _Writer:
    """Writes pairs into a folder of a form."""

    def __init__(self, root: Path, form: Form, understanding: Understanding, changes: list[str]) -> None:
        self.root = root
        self.form = form
        self.understanding = understanding
        self.changes = changes
        labels = understanding.labels
        identity = {i: i for i in range(labels.num_classes)} | {labels.void: labels.void}
        self.labels = LabelSet(labels.names, labels.palette, identity)
        self.taken: set[str] = set()
        self.names: dict[str, list[str]] = {}

    def write(self, split: str, pair: Pair) -> None:
        """One pair."""
        assert pair.mask is not None
        name = self._name(split, pair)
        if self.form == "voc":
            images, masks = self.root / "JPEGImages", self.root / "SegmentationClass"
        else:
            below = "" if split == "all" else split
            images, masks = self.root / "images" / below, self.root / "masks" / below
        images.mkdir(parents=True, exist_ok=True)
        masks.mkdir(parents=True, exist_ok=True)
        self._write_image(pair, images, name)
        self._write_mask(pair.mask, pair, masks / f"{name}.png")
        self.names.setdefault(split, []).append(name)

    def finish(self, repaired: bool) -> None:
        """The lists, the classes, and what was changed."""
        write_classes(self.labels, self.root / "classes.yaml")
        if self.form == "voc":
            lists = self.root / "ImageSets" / "Segmentation"
            lists.mkdir(parents=True)
            trainval: list[str] = []
            for split, names in self.names.items():
                if split != "all":
                    _write_lines(lists / f"{split}.txt", names)
                if split != "test":
                    trainval += names
            _write_lines(lists / "trainval.txt", sorted(trainval))
            rows = zip(self.labels.names, self.labels.palette, strict=True)
            _write_lines(
                self.root / "labelmap.txt",
                ["# label:color_rgb:parts:actions", *(f"{name}:{r},{g},{b}::" for name, (r, g, b) in rows)],
            )
        if repaired:
            _write_lines(self.root / "CHANGES.txt", self.changes or ["nothing was changed"])

    def _name(self, split: str, pair: Pair) -> str:
        """The pair's name, with its split in front where the form keeps all pictures in one place and it is taken."""
        name = re.sub(r"[\x00-\x1f/\\\x7f]", "_", os.fsencode(pair.name).decode(errors="replace")).strip()
        place = "" if self.form == "voc" else split
        if f"{place}/{name}".lower() in self.taken:
            number = 2
            name = f"{split}_{name}" if self.form == "voc" and f"/{split}_{name}".lower() not in self.taken else name
            start = name
            while f"{place}/{name}".lower() in self.taken:
                name, number = f"{start}_{number}", number + 1
        self.taken.add(f"{place}/{name}".lower())
        return name

    def _write_image(self, pair: Pair, folder: Path, name: str) -> None:
        info = self.understanding.images[pair.image].info
        if isinstance(pair.image, Path) and info.orientation == 1:
            shutil.copyfile(pair.image, folder / f"{name}{pair.image.suffix.lower()}")
            return
        image = read_image(pair.image)
        if isinstance(pair.image, Path):
            self.changes.append(f"{pair.image} is written upright: it had the EXIF rotation {info.orientation}")
        if image.dtype == np.float32 or image.shape[2] not in (1, 3):
            planes = np.moveaxis(image, 2, 0)
            tifffile.imwrite(folder / f"{name}.tif", planes, photometric="minisblack", compression="zlib")
        else:
            written = image[:, :, ::-1] if image.shape[2] == 3 else image
            _encoded(np.ascontiguousarray(written), folder / f"{name}.png")

    def _classes(self, mask: MaskSource) -> NDArray[Any]:
        """The classes of a mask, (H, W); values that no class has are void, or snapped, and told."""
        labels = self.understanding.labels
        values = read_mask(mask, lossy=labels.snap)
        stray = ~np.isin(values, np.array(list(labels.table), np.int64))
        if labels.snap or not stray.any():
            if stray.any():
                count = int(stray.sum())
                self.changes.append(f"{mask}: {count:,} pixels between the classes are the nearest class now")
            return labels.to_classes(values, name=str(mask))
        classes: NDArray[Any] = np.full(values.shape, labels.void, labels.dtype)
        classes[~stray] = labels.to_classes(values[~stray][None])[0]
        row, column = (int(i) for i in np.argwhere(stray)[0])
        self.changes.append(
            f"{mask}: {int(stray.sum()):,} pixels with values that no class has are void now "
            f"(the first at row {row}, column {column})"
        )
        return classes

    def _write_mask(self, mask: MaskSource, pair: Pair, place: Path) -> None:
        labels = self.understanding.labels
        classes = self._classes(mask)
        image, seen = self.understanding.images[pair.image], self.understanding.masks[mask]
        if _turned(image, seen):
            classes = upright(classes, image.info.orientation)
            self.changes.append(f"{mask} is turned as its picture is")
        elif image.info.size != seen.size:
            classes = _resampled(classes, image.info.size)
            (height, width), (before, across) = image.info.size, seen.size
            self.changes.append(
                f"{mask} is resampled from {before} × {across} to {height} × {width}, to the nearest pixel"
            )
        if classes.dtype == np.uint8:
            picture = PillowImage.fromarray(np.ascontiguousarray(classes))
            colors = np.zeros((256, 3), np.uint8)
            colors[: labels.num_classes] = labels.palette
            colors[labels.void] = voc_color(255)
            picture.putpalette(colors.tobytes())
            picture.save(place)
        else:
            _encoded(np.ascontiguousarray(classes), place)


def _resampled(classes: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    """Classes at another (height, width): each pixel takes the one that its center lies in."""
    rows, columns = (
        np.minimum(((np.arange(new) + 0.5) * old / new).astype(int), old - 1)
        for new, old in zip(size, (len(classes), len(classes[0])), strict=True)
    )
    resampled: NDArray[Any] = classes[rows[:, None], columns[None]]
    return resampled


def _encoded(array: NDArray[Any], place: Path) -> None:
    done, data = cv2.imencode(".png", array)
    if not done:
        raise DataError(f"{place} cannot be written as PNG; expected 8 or 16 bits, found {array.dtype}")
    place.write_bytes(data.tobytes())


def _write_lines(path: Path, lines: list[str]) -> None:
    # names in no known encoding are written as the bytes that they are
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", errors="surrogateescape")
