"""A part of a folder as a segmenter is measured on it: its pairs, read with the model's own table of classes.

A model that was trained on class folders has no table of masks' values, and a file of class names that was asked for
goes before any: then the masks are read as a fit would read them, and their classes are the model's of the same names.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from pixelwise.data.answers import NOTHING, Answers
from pixelwise.data.find import find_layout
from pixelwise.data.folder import PairDataset
from pixelwise.data.formats.class_folders import class_folders_layout
from pixelwise.data.layout import Fault, Layout, checked_folder
from pixelwise.data.sample import DrawnMask, MaskSource, Pair, path_of
from pixelwise.data.scan import MaskStatistics, Scan, scan
from pixelwise.data.values.classnames import find_class_names, read_class_names
from pixelwise.data.values.encoding import outlines_by_name
from pixelwise.errors import BadOption, DataError, LabelError
from pixelwise.flow.data_sets import evaluated_split, open_named
from pixelwise.flow.doctor import encoding_of
from pixelwise.flow.trained_pictures import TrainedPictures
from pixelwise.flow.understanding import LabelsFrom, check_command
from pixelwise.labels import LabelSet
from pixelwise.segmenter import Segmenter

PARTS = ("test", "val", "all", "train")
"""The parts of a folder, in the order in which an evaluation looks for one."""


@dataclass(frozen=True)
class OpenedPart:
    """A part of a folder, read as a segmenter is measured on it.

    Attributes:
        split: its name in the folder.
        name: what to call it, with what is said of pictures that were left out.
        data: its pictures, in the segmenter's classes.
        by_folder: class folders, whose pictures are counted whole.
        note: what the protocol of scores on it has to add.
        trained_on: the segmenter was trained on all of it, so that nothing could be left out.
    """

    split: str
    name: str
    data: PairDataset
    by_folder: bool = False
    note: str = ""
    trained_on: bool = False


def open_part(
    segmenter: Segmenter,
    folder: Path,
    *,
    dataset: str | None = None,
    split: str | None = None,
    order: tuple[str, ...] = PARTS,
    answers: Answers = NOTHING,
    classes: Path | None = None,
    labels: LabelsFrom | None = None,
    also: Segmenter | None = None,
) -> OpenedPart:
    """A part of a folder in a segmenter's classes, every file of it looked at.

    Args:
        dataset: a name in DATASETS, with options as NAME,key=value, to be taken as it is; the layout is found if left
            out. Its split is "val" if none is named, or "test" where that is what is measured.
        split: which part; if left out the first of `order` that the folder has, of "all" and "train" without the
            pictures that the segmenter was trained on, by their files' bytes; a model file of an older version knows
            their names alone.
        answers: which directories are meant, where the folder leaves it open; and what the values mean, where the
            model does not know.
        classes: a file of class names; the masks' classes are then matched with the model's by name, and others are
            void. For outlines a classes.yaml that tells which of the model's classes a name means; the one in the
            folder if left out, else the names themselves.
        labels: "masks", or "folders" for class folders; as the segmenter was trained if left out.
        also: another segmenter of the same classes, whose training pictures are left out, too.

    Raises:
        DataError: no such split, a file of it cannot be read, or the folder's layout is not understood.
        BadOption: class folders, and an option about masks.
        LabelError, ShapeError: a mask holds a value that the model's classes do not know, or has not its picture's
            size. Nothing is left out silently: scores on the rest would be of another set.
    """
    by_folder = (labels or trained_with(segmenter)) == "folders"
    if by_folder and (dataset is not None or answers.words or classes is not None):
        raise BadOption(
            "class folders have no masks to be read in some way; leave out --dataset, --as and --classes, or give "
            "--labels masks"
        )
    if dataset is not None and classes is not None:
        raise BadOption(f"the data set {dataset} has its own classes; leave out one of --dataset and --classes")
    if dataset is not None:
        part = split or evaluated_split(dataset)
        return OpenedPart(part, part, open_named(dataset, folder, part))
    root = checked_folder(folder)
    layout = class_folders_layout(root, fewest=1) if by_folder else find_layout(root, answers)
    splits = layout.splits
    part = split or next((name for name in order if splits.get(name)), "")
    if part not in splits:
        nothing = "no pictures in class folders" if by_folder else "no pictures with masks"
        raise DataError(f"{folder} has no part {part!r}; it has {', '.join(splits) or nothing}")
    pairs = splits[part]
    if by_folder:  # other classes than the model's are the first thing to know of a folder
        _labels_for(segmenter.labels, layout, None, by_folder)
    for fault in layout.faults:
        if fault.severity == "error" and _concerns(fault, part, layout):
            raise DataError(_pointed(fault.message, folder, by_folder))
    drawn = any(isinstance(pair.mask, DrawnMask) for pair in pairs)
    note = ""
    if not by_folder and (trained_with(segmenter) == "folders" or (classes is not None and not drawn)):
        table, note = _matched_by_name(segmenter.labels, layout, classes, answers)
    else:
        table = _labels_for(segmenter.labels, layout, classes, by_folder)
    try:
        found = _check_pairs(pairs, table, layout.root, part)
    except DataError as error:
        raise DataError(_pointed(str(error), folder, by_folder)) from error
    name, trained_on = part, False
    # a folder's own test or val part was never trained on, whatever its pictures are called
    if split is None and part in ("all", "train"):
        trained = (*segmenter.trained_pictures, *(() if also is None else also.trained_pictures))
        pairs, name, trained_on = _unseen(pairs, found, TrainedPictures(trained), part)
    data = PairDataset(pairs, table, folder, name, channels=segmenter.normalization.channels)
    return OpenedPart(part, name, data, by_folder, note, trained_on)


def _pointed(message: str, folder: Path, by_folder: bool) -> str:
    """An error of a folder, and where class folders have one the command that lists them all."""
    return f"{message}; `{check_command(folder, 'folders')}` lists all faults" if by_folder else message


def _unseen(
    pairs: tuple[Pair, ...], found: Scan, seen: TrainedPictures, part: str
) -> tuple[tuple[Pair, ...], str, bool]:
    """The pairs that a model was not trained on, what to call them, and whether there are none, so that all stay."""
    same = {pair for pair in pairs if getattr(found.images[pair.image], "digest", "") in seen.digests}
    named = {pair for pair in pairs if pair.name in seen.names} - same
    unseen = tuple(pair for pair in pairs if pair not in same and pair not in named)
    if not same and not named:
        return pairs, part, False
    if not named:
        told = f"{len(unseen)} of {len(pairs)} pictures that it was not trained on"
        return (unseen, f"the {told}", False) if unseen else (pairs, f"{part}, on which it was trained", True)
    how = "have names that it was trained on" if not same else "were trained on, or have names that it was trained on"
    if unseen:
        others = f"{len(unseen)} of {len(pairs)} pictures; the others {how}, and --split all counts them, too"
        return unseen, others, False
    return pairs, f"{part}, of which all pictures {how}", True


def trained_with(segmenter: Segmenter) -> LabelsFrom:
    """What told the classes when a segmenter was trained, by the scores in its file."""
    return "folders" if segmenter.scores.get("counted") == "pictures" else "masks"


def _concerns(fault: Fault, part: str, layout: Layout) -> bool:
    """Whether a fault may be of this part: it is, unless its file lies where only other parts have files."""
    if fault.path is None:
        return True
    homes = {
        name: {path_of(file).parent for pair in pairs for file in (pair.image, pair.mask) if file is not None}
        for name, pairs in layout.splits.items()
    }
    places = {fault.path, fault.path.parent}
    return bool(places & homes[part]) or not any(places & folders for folders in homes.values())


def _labels_for(labels: LabelSet, layout: Layout, classes: Path | None, by_folder: bool) -> LabelSet:
    """The model's classes with the table that this folder's masks need.

    The values in files mean what the model's table says. The values of drawn outlines are numbered in each folder by
    the names that occur there, so these are matched by name.

    Raises:
        LabelError: an outline's name is none of the model's classes.
    """
    drawn = layout.labels[0] if layout.labels else None
    masks = [pair.mask for pairs in layout.splits.values() for pair in pairs if isinstance(pair.mask, DrawnMask)]
    if drawn is None or not masks:
        return labels
    names = (
        None
        if by_folder
        else read_class_names(classes)
        if classes is not None
        else find_class_names({path_of(mask).parent for mask in masks}, layout.root)
    )
    if names is not None and names.groups and names.labels is not None:
        if names.names != labels.names:
            raise LabelError(
                f"{names.path} has the classes {', '.join(names.names)}, the model {', '.join(labels.names)}; "
                "give them the same names in the same order"
            )
        return replace(outlines_by_name(names, names.labels, layout.labels), palette=labels.palette)
    if classes is not None and not by_folder:
        raise LabelError(
            f"{classes} does not tell which class an outline's name means; give a classes.yaml with 'masks: names'"
        )
    place = {name: i for i, name in enumerate(labels.names)}
    unknown = [name for name in drawn.names if name not in place]
    if unknown and by_folder:
        raise LabelError(
            f"{layout.root} has class folders {', '.join(unknown)}, which the model does not know; its classes are "
            f"{', '.join(labels.names)}: rename or remove them"
        )
    if unknown:
        raise LabelError(
            f"the outlines in {layout.root} are of {', '.join(unknown)}, too, which the model does not know; its "
            f"classes are {', '.join(labels.names)}: rename them, or evaluate on masks of these"
        )
    table = {v: labels.void if cls == drawn.void else place[drawn.names[cls]] for v, cls in drawn.table.items()}
    return replace(labels, table=table, colors=False, snap=False)


def _matched_by_name(labels: LabelSet, layout: Layout, classes: Path | None, answers: Answers) -> tuple[LabelSet, str]:
    """The model's classes with the table of masks that are read as a fit reads them; and what does not count.

    Raises:
        LabelError: the masks' classes have no names, or none of the model's.
        DataError, DataQuestion: the masks are not understood.
    """
    listed = [pair for pairs in layout.splits.values() for pair in pairs]
    scanned = scan(listed, layout.root, lossy=answers.snap).masks
    masks = {source: mask for source, mask in scanned.items() if isinstance(mask, MaskStatistics)}
    if not masks:
        raise next(error for error in scanned.values() if isinstance(error, DataError))
    theirs = encoding_of(layout, masks, answers, classes).labels
    if classes is None and _names_invented(theirs, layout, masks):
        values = "; ".join(theirs.values_of(cls) for cls in range(theirs.num_classes))
        raise LabelError(
            f"the masks in {layout.root} hold {values}, and nothing names their classes; the model's are "
            f"{', '.join(labels.names)}: write {layout.root / 'classes.txt'} with a name a line for each of these "
            "values, as background, or give such a file with --classes"
        )
    place = {_plain(name): cls for cls, name in enumerate(labels.names)}
    same = {cls: place[_plain(name)] for cls, name in enumerate(theirs.names) if _plain(name) in place}
    if not same:
        raise LabelError(
            f"the masks in {layout.root} have the classes {', '.join(theirs.names)}, of which the model knows none; "
            f"its classes are {', '.join(labels.names)}: name them so in {classes or layout.root / 'classes.yaml'}"
        )
    table = {value: same.get(cls, labels.void) for value, cls in theirs.table.items()}
    void = [name for cls, name in enumerate(theirs.names) if cls not in same]
    note = "classes are matched by name"
    if void:
        note += f"; {', '.join(void)}: the model has no such class, so that these pixels are void"
    return replace(labels, table=table, colors=theirs.colors, snap=theirs.snap), note


def _plain(name: str) -> str:
    return name.strip().casefold()


def _names_invented(labels: LabelSet, layout: Layout, masks: Mapping[MaskSource, MaskStatistics]) -> bool:
    """Whether a reading named the classes itself, as no file and no palette did."""
    if find_class_names({path_of(mask).parent for mask in masks}, layout.root) is not None:
        return False
    ours = all(name in ("background", "foreground") or re.fullmatch(r"class -?\d+", name) for name in labels.names)
    return ours and all(known.names != labels.names for known in layout.labels)


def _check_pairs(pairs: tuple[Pair, ...], labels: LabelSet, root: Path, part: str) -> Scan:
    """Refuse a broken pair before the first prediction; the data set itself says what is wrong with it."""
    data = PairDataset(pairs, labels, root, part)
    found = scan(pairs, root, lossy=labels.snap)
    for index, pair in enumerate(pairs):
        image = found.images[pair.image]
        mask = found.masks[pair.mask] if pair.mask is not None else None
        if isinstance(image, DataError):
            raise image
        if isinstance(mask, DataError):
            raise mask
        if mask is not None and (
            image.info.size != mask.size
            or mask.colors != labels.colors
            or (not labels.snap and any(value not in labels.table for value in mask.values.tolist()))
        ):
            data[index]
    return found
