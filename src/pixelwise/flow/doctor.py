"""The doctor: what is this folder, which classes do its masks hold, and what is wrong with it?

`understand` finds the layout (`data.plain`), reads every mask once (`data.scan`), decides what the values mean
(`data.encoding`) and lists the faults. What cannot be understood is refused in one line; what is understood but broken
is a list of faults, and the pairs without fault are the splits. An error among the faults stops a fit: silently
training on the rest would hide it.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pixelwise.data.classnames import find_class_names
from pixelwise.data.decode import ImageInfo
from pixelwise.data.encoding import decide, first_place
from pixelwise.data.folder import PairDataset
from pixelwise.data.layout import Fault, checked_folder
from pixelwise.data.plain import find_layout
from pixelwise.data.sample import Pair
from pixelwise.data.scan import MaskStatistics, Scan, scan
from pixelwise.errors import BadOption, DataError
from pixelwise.labels import LabelSet, unpack_color

__all__ = ["Fault", "Understanding", "understand"]


@dataclass(frozen=True)
class Understanding:
    """What a folder is.

    Attributes:
        root: the folder that the layout starts at.
        layout: the layout in one phrase.
        rule: how the files were paired, in a sentence.
        splits: {"train", "val", "test", or "all" where the folder names none: its pairs without fault}.
        labels: the classes.
        encoding: how the values of the masks were read, in a sentence.
        pixel_counts: pixels of each class over all splits, (K,) int64.
        void_pixels: pixels that never count.
        image_counts: pictures that hold the class, (K,) int64.
        mask_counts: {mask: pixels of each class in it, (K,) int64}.
        sizes: {(height, width): pictures}.
        channels: of the pictures; 3 where gray and color ones are mixed.
        dtype: "uint8", "uint16" or "float32".
        faults: what is wrong.
        notes: what else a person would want to know.
    """

    root: Path
    layout: str
    rule: str
    splits: Mapping[str, tuple[Pair, ...]]
    labels: LabelSet
    encoding: str
    pixel_counts: NDArray[np.int64]
    void_pixels: int
    image_counts: NDArray[np.int64]
    mask_counts: Mapping[Path, NDArray[np.int64]]
    sizes: Counter[tuple[int, int]]
    channels: int
    dtype: str
    faults: tuple[Fault, ...] = ()
    notes: tuple[str, ...] = field(default=())

    @cached_property
    def errors(self) -> tuple[Fault, ...]:
        """The faults that stop a fit."""
        return tuple(fault for fault in self.faults if fault.severity == "error")

    def datasets(self) -> dict[str, PairDataset]:
        """{split: its pairs as a data set}, all pictures with the same channels."""
        return {
            split: PairDataset(pairs, self.labels, self.root, split, channels=self.channels)
            for split, pairs in self.splits.items()
        }

    def to_record(self) -> dict[str, Any]:
        """All of it as JSON can hold it; the pairs as counts."""
        return {
            "root": str(self.root),
            "layout": self.layout,
            "rule": self.rule,
            "splits": {split: len(pairs) for split, pairs in self.splits.items()},
            "labels": self.labels.to_record(),
            "encoding": self.encoding,
            "pixel_counts": [int(n) for n in self.pixel_counts],
            "void_pixels": self.void_pixels,
            "image_counts": [int(n) for n in self.image_counts],
            "sizes": [[height, width, count] for (height, width), count in self.sizes.most_common()],
            "channels": self.channels,
            "dtype": self.dtype,
            "faults": [
                {
                    "severity": fault.severity,
                    "path": None if fault.path is None else str(fault.path),
                    "message": fault.message,
                }
                for fault in self.faults
            ],
            "notes": list(self.notes),
        }


def understand(
    folder: str | Path,
    *,
    workers: int = 2,
    progress: Callable[[int, int], None] | None = None,
    labels: Literal["masks", "folders"] | None = None,
) -> Understanding:
    """Find out what a folder holds.

    Args:
        folder: with pictures and masks in a layout that is recognized.
        workers: threads that read.
        progress: called with (files read, files) from this thread.
        labels: "masks", or None, which finds out; there is nothing else to find yet.

    Raises:
        DataError: the folder cannot be understood, or could be in two ways; the message is one line.
        BadOption: `labels` is anything else.
    """
    if labels not in (None, "masks"):
        raise BadOption(f"labels is {labels!r}; only 'masks' can be read: leave it out")
    layout = find_layout(checked_folder(folder))
    pairs = [pair for pairs in layout.splits.values() for pair in pairs]
    found = scan(pairs, layout.root, workers=workers, progress=progress)
    masks = {path: mask for path, mask in found.masks.items() if isinstance(mask, MaskStatistics)}
    if not masks:
        first = next(error for error in found.masks.values() if isinstance(error, DataError))
        raise DataError(f"none of the {len(found.masks)} masks can be read: {first}")
    names = find_class_names({path.parent for path in masks}, layout.root)
    encoding = decide(masks, names=names, known=layout.labels)
    faults = [*layout.faults]
    splits: dict[str, tuple[Pair, ...]] = {}
    for split, listed in layout.splits.items():
        sound = []
        for pair in listed:
            wrong = _pair_faults(pair, found, encoding.labels)
            faults += wrong
            if not wrong:
                sound.append(pair)
        if sound:
            splits[split] = tuple(sound)
    if not splits:
        first_fault = faults[len(layout.faults)].message
        raise DataError(f"none of the {len(pairs)} pairs in {layout.root} can be used: {first_fault}")
    used = [pair for pairs in splits.values() for pair in pairs]
    infos = [info for pair in used if isinstance(info := found.images[pair.image], ImageInfo)]
    channels, dtype, mixed = _kind(used, infos)
    faults += mixed
    if mixed:
        odd = {fault.path for fault in mixed}
        splits = {split: tuple(p for p in sound if p.image not in odd) for split, sound in splits.items()}
        splits = {split: sound for split, sound in splits.items() if sound}
        used = [pair for pairs in splits.values() for pair in pairs]
        infos = [info for pair in used if isinstance(info := found.images[pair.image], ImageInfo)]
    mask_counts, void_pixels = _count(used, masks, encoding.labels)
    counts = np.sum(list(mask_counts.values()), 0)
    faults += _class_faults(used, masks, encoding.labels, counts)
    return Understanding(
        root=layout.root,
        layout=layout.name,
        rule=layout.rule,
        splits=splits,
        labels=encoding.labels,
        encoding=encoding.sentence,
        pixel_counts=counts,
        void_pixels=void_pixels,
        image_counts=np.sum([here > 0 for here in mask_counts.values()], 0),
        mask_counts=mask_counts,
        sizes=Counter(info.size for info in infos),
        channels=channels,
        dtype=dtype,
        faults=tuple(sorted(faults, key=lambda fault: fault.severity)),
        notes=(*layout.notes, *_notes(infos, [masks[pair.mask] for pair in used if pair.mask is not None])),
    )


def _pair_faults(pair: Pair, found: Scan, labels: LabelSet) -> list[Fault]:
    """What is wrong with the files of one pair."""
    assert pair.mask is not None  # layouts give pairs
    image, mask = found.images[pair.image], found.masks[pair.mask]
    faults = []
    if isinstance(image, DataError):
        faults.append(Fault("error", pair.image, str(image)))
    if isinstance(mask, DataError):
        faults.append(Fault("error", pair.mask, str(mask)))
        return faults
    if isinstance(image, ImageInfo) and image.size != mask.size:
        faults.append(Fault("error", pair.mask, _size_message(pair, image, mask)))
    if mask.colors != labels.colors:
        kinds = ("colors", "numbers") if mask.colors else ("numbers", "colors")
        message = f"{pair.mask} holds {kinds[0]}, the others {kinds[1]}; save all masks in one way"
        return [*faults, Fault("error", pair.mask, message)]
    unknown = [value for value in mask.values.tolist() if value not in labels.table]
    if unknown:
        row, column = first_place(pair.mask, unknown[0])
        shown = f"the color {unpack_color(unknown[0])}" if labels.colors else f"the value {unknown[0]}"
        more = f" (and {len(unknown) - 1} more such)" if len(unknown) > 1 else ""
        faults.append(
            Fault(
                "error",
                pair.mask,
                f"{pair.mask} holds {shown} at row {row}, column {column}{more}; expected the {labels.num_classes} "
                "classes' values or void: correct the mask or add the class",
            )
        )
    return faults


def _size_message(pair: Pair, image: ImageInfo, mask: MaskStatistics) -> str:
    (height, width), (mask_height, mask_width) = image.size, mask.size
    if (mask_height, mask_width) == (width, height):
        rotated = image.orientation >= 5 and mask.orientation == 1
        guess = (
            "the picture has an EXIF rotation that the mask was drawn without: turn the mask"
            if rotated
            else "height and width are swapped: turn the mask"
        )
    elif max(abs(mask_height - height), abs(mask_width - width)) == 1:
        guess = "off by one: export the mask at the picture's size"
    elif mask_height * 2 in range(height - 1, height + 2) and mask_width * 2 in range(width - 1, width + 2):
        guess = "half the size: export the mask at full size"
    else:
        guess = "export the mask at the picture's size"
    return (
        f"{pair.mask} is {mask_height} × {mask_width} but {pair.image} is {height} × {width} (height × width); {guess}"
    )


def _count(
    pairs: list[Pair], masks: Mapping[Path, MaskStatistics], labels: LabelSet
) -> tuple[dict[Path, NDArray[np.int64]], int]:
    """Pixels of each class in each mask, and of void in all."""
    counts: dict[Path, NDArray[np.int64]] = {}
    void_pixels = 0
    for pair in pairs:
        assert pair.mask is not None
        mask = masks[pair.mask]
        here = np.zeros(labels.num_classes, np.int64)
        for value, count in zip(mask.values.tolist(), mask.counts.tolist(), strict=True):
            cls = labels.table[value]
            if cls == labels.void:
                void_pixels += count
            else:
                here[cls] += count
        counts[pair.mask] = here
    return counts, void_pixels


def _kind(pairs: list[Pair], infos: list[ImageInfo]) -> tuple[int, str, list[Fault]]:
    """(channels, dtype, faults) of all pictures; gray among color is fine, other mixtures are not."""
    faults = []
    channels = Counter(info.channels for info in infos)
    dtypes = Counter(info.dtype for info in infos)
    most = max(channels) if set(channels) <= {1, 3} else channels.most_common(1)[0][0]
    usual = dtypes.most_common(1)[0][0]
    for pair, info in zip(pairs, infos, strict=True):
        if info.channels != most and not (most == 3 and info.channels == 1):
            message = f"{pair.image} has {info.channels} channels, most pictures {most}; save all with the same"
            faults.append(Fault("error", pair.image, message))
        if info.dtype != usual:
            message = f"{pair.image} is {info.dtype}, most pictures {usual}; save all with the same number of bits"
            faults.append(Fault("error", pair.image, message))
    return most, usual, faults


def _class_faults(
    pairs: list[Pair], masks: Mapping[Path, MaskStatistics], labels: LabelSet, counts: NDArray[np.int64]
) -> list[Fault]:
    """Masks without any pixel that counts, and sets with fewer than two classes."""
    faults = []
    for pair in pairs:
        assert pair.mask is not None
        if all(labels.table[value] == labels.void for value in masks[pair.mask].values.tolist()):
            message = f"{pair.mask} is void everywhere, so that nothing of it counts; complete or remove it"
            faults.append(Fault("warning", pair.mask, message))
    present = [labels.names[i] for i in np.flatnonzero(counts)]
    if not present:
        faults.append(
            Fault("error", None, f"all {len(pairs)} masks are void everywhere; expected classes: export them again")
        )
    elif len(present) == 1:
        faults.append(
            Fault(
                "error",
                None,
                f"all {len(pairs)} masks hold only one class, {present[0]}; expected two or more: "
                "check that the masks were exported with their classes",
            )
        )
    return faults


def _notes(infos: list[ImageInfo], masks: list[MaskStatistics]) -> list[str]:
    notes = []
    rotated = sum(info.orientation != 1 for info in infos), sum(mask.orientation != 1 for mask in masks)
    if any(rotated):
        notes.append(f"{rotated[0]} pictures and {rotated[1]} masks have an EXIF rotation; it is applied")
    alphas = sum(info.alpha for info in infos)
    if alphas:
        notes.append(f"{alphas} pictures have an alpha channel; it is dropped")
    if {info.channels for info in infos} == {1, 3}:
        gray = sum(info.channels == 1 for info in infos)
        notes.append(f"{gray} of {len(infos)} pictures are gray and are read as color")
    return notes
