"""What the doctor has understood of a folder, as a value, in words and as a record."""

import shlex
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pixelwise.data.answers import NOTHING, Answers
from pixelwise.data.duplicates import Alike
from pixelwise.data.folder import PairDataset
from pixelwise.data.layout import Fault
from pixelwise.data.sample import ImageSource, MaskSource, Pair
from pixelwise.data.scan import ImageStatistics, MaskStatistics
from pixelwise.labels import LabelSet

LabelsFrom = Literal["masks", "folders"]
"""What tells the classes: the values of masks, for each pixel; or the folders, for each picture."""

_PARTS = {"train": "to train", "val": "to validate", "test": "to test", "all": "in one part"}


@dataclass(frozen=True)
class Understanding:
    """What a folder is.

    Attributes:
        root: the folder that the layout starts at.
        layout: the layout in one phrase.
        rule: how the files were paired, in a sentence.
        splits: {"train", "val", "test", or "all" where the folder names none: its pairs without fault}.
        broken: {split: the pairs with a fault that stops a fit}.
        labels: the classes.
        encoding: how the values of the masks were read, in a sentence.
        void_pixels: pixels that never count.
        mask_counts: {mask: pixels of each class in it, (K,) int64}, of the pairs without fault.
        images, masks: what each readable picture and mask holds.
        alike: pairs of pictures, by their places among all pairs of `splits` in order, that are or look the same.
        sizes: {(height, width): pictures}.
        channels: of the pictures; 3 where gray and color ones are mixed.
        channel_names: one per channel.
        dtype: "uint8", "uint16" or "float32".
        faults: what is wrong, errors first.
        notes: what else a person would want to know.
        answers: what was answered.
        classes_file: the file of class names that was asked for, if one.
        drawn: the classes of the outlines that the masks are drawn from, where they are.
        labels_from: what tells the classes; with "folders" each picture counts 1 where masks count their pixels.
    """

    root: Path
    layout: str
    rule: str
    splits: Mapping[str, tuple[Pair, ...]]
    broken: Mapping[str, tuple[Pair, ...]]
    labels: LabelSet
    encoding: str
    void_pixels: int
    mask_counts: Mapping[MaskSource, NDArray[np.int64]]
    images: Mapping[ImageSource, ImageStatistics]
    masks: Mapping[MaskSource, MaskStatistics]
    alike: tuple[Alike, ...]
    sizes: Counter[tuple[int, int]]
    channels: int
    channel_names: tuple[str, ...]
    dtype: str
    faults: tuple[Fault, ...] = ()
    notes: tuple[str, ...] = ()
    answers: Answers = NOTHING
    classes_file: Path | None = None
    drawn: LabelSet | None = None
    labels_from: LabelsFrom = "masks"

    @property
    def by_folder(self) -> bool:
        """Whether the folders tell the classes, of whole pictures."""
        return self.labels_from == "folders"

    @cached_property
    def errors(self) -> tuple[Fault, ...]:
        """The faults that stop a fit."""
        return tuple(fault for fault in self.faults if fault.severity == "error")

    @property
    def pairs(self) -> list[Pair]:
        """The pairs of all splits, in order."""
        return [pair for pairs in self.splits.values() for pair in pairs]

    @cached_property
    def pixel_counts(self) -> NDArray[np.int64]:
        """Pixels of each class over all splits, (K,) int64."""
        none = np.zeros(self.labels.num_classes, np.int64)
        total: NDArray[np.int64] = np.sum([none, *self.mask_counts.values()], 0)
        return total

    @cached_property
    def image_counts(self) -> NDArray[np.int64]:
        """Pictures that hold each class, (K,) int64."""
        none = np.zeros(self.labels.num_classes, np.int64)
        total: NDArray[np.int64] = np.sum([none, *self.class_splits.values()], 0)
        return total

    @cached_property
    def class_splits(self) -> dict[str, NDArray[np.int64]]:
        """{split: pictures that hold each class, (K,) int64}."""
        return {
            split: np.sum([self.mask_counts[p.mask] > 0 for p in pairs if p.mask is not None], 0).astype(np.int64)
            for split, pairs in self.splits.items()
        }

    @property
    def told(self) -> str:
        """What was found, in a paragraph for people."""
        parts = ", ".join(f"{len(pairs)} {_PARTS[split]}" for split, pairs in self.splits.items())
        count = len(self.pairs)
        of = "" if self.by_folder else " with masks"
        if not count:
            broken = sum(len(pairs) for pairs in self.broken.values())
            return (
                f"{broken} pictures{of}, none of which can be used as it is: {self.layout}. {self._rule_told()}. "
                f"{self._masks_told()}."
            )
        sizes = sorted(self.sizes, key=lambda size: size[0] * size[1])
        size = size_told(sizes[0]) if len(sizes) == 1 else f"{size_told(sizes[0])} to {size_told(sizes[-1])}"
        kind = {1: "gray", 3: "color"}.get(self.channels, f"{self.channels}-channel")
        bits = {"uint8": "8 bits", "uint16": "16 bits", "float32": "floating point"}[self.dtype]
        return (
            f"{count} picture{'s' if count != 1 else ''}{of} ({parts}): {self.layout}. "
            f"{self._rule_told()}. {self._masks_told()}. "
            f"The pictures are {size} pixels (height × width), {kind}, {bits}"
            + (f", channels {', '.join(self.channel_names)}" if self.channels not in (1, 3) else "")
            + "."
        )

    def _rule_told(self) -> str:
        if self.by_folder:
            return f"The rule: {self.rule}"
        return f"Paired by this rule: {self.rule}"

    def _masks_told(self) -> str:
        """How the masks were read; with many classes only the first ones, since the table lists them."""
        if self.by_folder:
            return self.encoding[0].upper() + self.encoding[1:]
        if self.labels.num_classes <= 6:
            return f"The masks were read so: {self.encoding}"
        source, colon, _ = self.encoding.partition(": ")
        what = "colors" if self.labels.colors else "numbers"
        void = self.labels.values_of(self.labels.void)
        return (
            f"The masks hold {what} of {self.labels.num_classes} classes ({', '.join(self.labels.names[:3])} …)"
            + (f", with {void} for void" if void else "")
            + (f"; read by {source}" if colon and "→" not in source else "")
        )

    def check_command(self, folder: str | Path) -> str:
        """The command that lists all faults of the folder, as it was read."""
        return check_command(folder, self.labels_from, self.answers, self.classes_file)

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
            "labels_from": self.labels_from,
            "layout": self.layout,
            "rule": self.rule,
            "told": self.told,
            "splits": {split: len(pairs) for split, pairs in self.splits.items()},
            "labels": self.labels.to_record(),
            "encoding": self.encoding,
            "pixel_counts": [int(n) for n in self.pixel_counts],
            "void_pixels": self.void_pixels,
            "image_counts": [int(n) for n in self.image_counts],
            "class_splits": {split: [int(n) for n in counts] for split, counts in self.class_splits.items()},
            "sizes": [[height, width, count] for (height, width), count in self.sizes.most_common()],
            "channels": self.channels,
            "channel_names": list(self.channel_names),
            "dtype": self.dtype,
            "faults": [
                {
                    "severity": fault.severity,
                    "kind": fault.kind,
                    "path": None if fault.path is None else str(fault.path),
                    "reason": fault.reason,
                    "remedy": fault.remedy,
                    "message": fault.message,
                }
                for fault in self.faults
            ],
            "notes": list(self.notes),
            "read_as": list(self.answers.words),
            "classes_file": None if self.classes_file is None else str(self.classes_file),
        }


def check_command(
    folder: str | Path, labels_from: LabelsFrom, answers: Answers = NOTHING, classes: str | Path | None = None
) -> str:
    """`pixelwise check` for a folder with the options that it is read with, as a shell takes it."""
    words = ["pixelwise", "check", str(folder), *(["--labels", "folders"] if labels_from == "folders" else [])]
    words += [word for answer in answers.words for word in ("--as", answer)]
    words += [] if classes is None else ["--classes", str(classes)]
    return shlex.join(words)


def size_told(size: tuple[int, int]) -> str:
    """A size (height, width) as it is written."""
    return f"{size[0]} × {size[1]}"
