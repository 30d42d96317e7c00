"""Pairs of files as a data set: every layout of folders ends here."""

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from pixelwise.data.decode import read_image, read_mask
from pixelwise.data.formats.finding import counted
from pixelwise.data.sample import Image, MaskSource, Pair, Sample, adapt_channels, path_of
from pixelwise.errors import LabelError, MissingSplit, ShapeError
from pixelwise.labels import ClassMap, LabelSet

_TOLD = 12  # classes that describe() names


class PairDataset:
    """Pictures with their masks, decoded when asked for: `dataset[i]` is a Sample, most often with the head "labels".

    Args:
        pairs: the files; a pair without a mask gives a sample without targets.
        labels: what the values of the masks mean; {head: label set} where there are several heads, "labels" first.
        root: the folder that the pairs come from, for `describe`.
        split: "train", "val", "test", "all" or a list's name.
        channels: C of every picture; a gray one is repeated where 3 are asked for. None takes each as it is.
        notes: what else `describe` tells, a line each.
        absent: {head: names of classes that no picture of this split has}, which means over classes leave out.

    Attributes:
        name: of the data set, by which `open_dataset` opened it; empty for any folder.

    Raises:
        ShapeError: from `dataset[i]`, when picture and mask differ in size, or the picture in channels.
        LabelError: from `dataset[i]`, when a mask holds a value outside the label set's table.
        DataError: from `dataset[i]`, when a file cannot be read.
    """

    def __init__(
        self,
        pairs: Iterable[Pair],
        labels: LabelSet | Mapping[str, LabelSet],
        root: str | Path,
        split: str,
        *,
        channels: int | None = None,
        notes: Iterable[str] = (),
        absent: Mapping[str, tuple[str, ...]] | None = None,
    ) -> None:
        self.pairs = tuple(pairs)
        self.root = Path(root)
        self.split = split
        self.channels = channels
        self.notes = tuple(notes)
        self.absent = dict(absent or {})
        self.name = ""
        self._labels = {"labels": labels} if isinstance(labels, LabelSet) else dict(labels)
        assert next(iter(self._labels)) == "labels"

    @property
    def labels(self) -> Mapping[str, LabelSet]:
        """{head: label set}, "labels" first."""
        return dict(self._labels)

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int, /) -> Sample:
        pair = self.pairs[index]
        image = self._image(pair)
        masks = {} if pair.mask is None else {"labels": pair.mask}
        targets = {}
        for head, mask in (*masks.items(), *pair.more.items()):
            classes = read_classes(mask, self._labels[head])
            if classes.shape != image.shape[:2]:
                raise ShapeError(
                    f"{mask} is {_size(classes)} but {pair.image} is {_size(image)} (height × width); "
                    "a mask has its picture's size: export it again"
                )
            targets[head] = classes
        return Sample(image, targets, pair.name)

    def subset(self, indices: Sequence[int]) -> Self:
        """The data set of the samples with these indices, in this order."""
        chosen = [self.pairs[i] for i in indices]
        found = type(self)(
            chosen,
            self._labels,
            self.root,
            self.split,
            channels=self.channels,
            notes=self.notes,
            absent=self.absent,
        )
        found.name = self.name
        return found

    def describe(self) -> str:
        """Where it looked and what it counted: a line for the whole, one each for folders and heads, and the notes."""
        folders = Counter(
            (path_of(pair.image).parent, path_of(pair.mask).parent if pair.mask is not None else None)
            for pair in self.pairs
        )
        classes = ", ".join(
            f"{labels.num_classes} classes" + (f" ({head})" if len(self._labels) > 1 else "")
            for head, labels in self._labels.items()
        )
        lines = [f"{self.split} of {self.root}: {counted(len(self.pairs), 'picture')}, {classes}"]
        for (images, masks), count in folders.items():
            lines.append(f"  {count} from {images}" + (f" with masks from {masks}" if masks else " without masks"))
        lines += [_told_classes(head, labels) for head, labels in self._labels.items()]
        for head, names in self.absent.items():
            lines.append(f"  no picture has {', '.join(names)} ({head}): left out of means over classes")
        lines += [f"  {note}" for note in self.notes]
        return "\n".join(lines)

    def _image(self, pair: Pair) -> Image:
        image = read_image(pair.image)
        if self.channels is None:
            return image
        return adapt_channels(image, self.channels, name=str(pair.image))


def compare_counts(what: str, found: int, official: int) -> tuple[str, ...]:
    """A note for `describe` where a split holds other than the official number of pictures; it is logged, too.

    Many people use parts of a data set, so this is no error.
    """
    if found == official:
        return ()
    note = f"{what} has {counted(found, 'picture')} here, officially {official}: published scores are on all of them"
    logging.getLogger("pixelwise").warning(note)
    return (note,)


def read_classes(mask: MaskSource, labels: LabelSet) -> ClassMap:
    """The classes of a mask: (H, W), 0…K−1 and void.

    Raises:
        LabelError: a value outside the table, with file, row and column; or a gray mask in a set of colors.
        DataError: the file cannot be read.
    """
    values = read_mask(mask, lossy=labels.snap)
    check_kind(values, labels, path_of(mask))
    return labels.to_classes(values, name=str(mask))


def check_kind(values: NDArray[Any], labels: LabelSet, path: Path) -> None:
    """Make sure that colors meet a table of colors, and numbers one of numbers.

    Raises:
        LabelError: they do not; a gray 128 must not pass for a packed blue.
    """
    if (values.dtype == np.uint32) != labels.colors:
        found, expected = ("numbers", "colors") if labels.colors else ("colors", "numbers")
        raise LabelError(f"{path} holds {found}, the classes are told by {expected}; save all masks in one way")


def chosen_split(datasets: Mapping[str, PairDataset], split: str | None, root: Path) -> PairDataset:
    """One of several splits by name; None takes the only one.

    Raises:
        MissingSplit: there is no such split, or several and no name.
    """
    if split is None and len(datasets) == 1:
        return next(iter(datasets.values()))
    if split is None or split not in datasets:
        asked = "no split was named" if split is None else f"{root} has no split {split!r}"
        raise MissingSplit(f"{asked}; it has {', '.join(datasets)}: pass one of them")
    return datasets[split]


def _told_classes(head: str, labels: LabelSet) -> str:
    """A line: the classes of a head with their colors, the first of many, and where the others are."""
    told = ", ".join(
        f"{name} (#{red:02x}{green:02x}{blue:02x})"
        for name, (red, green, blue) in zip(labels.names[:_TOLD], labels.palette, strict=False)
    )
    rest = labels.num_classes - _TOLD
    more = f" and {rest} more: labels[{head!r}].names, with their colors in .palette" if rest > 0 else ""
    return f"  {head}: {told}{more}"


def _size(array: NDArray[Any]) -> str:
    return f"{array.shape[0]} × {array.shape[1]}"
