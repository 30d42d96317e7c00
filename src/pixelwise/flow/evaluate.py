"""Evaluate a segmenter on a folder: the folder's pairs, read with the model's own table of classes."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from pixelwise.data import open_dataset
from pixelwise.data.answers import NOTHING, Answers
from pixelwise.data.find import find_layout
from pixelwise.data.folder import PairDataset
from pixelwise.data.formats.class_folders import class_folders_layout
from pixelwise.data.layout import Fault, Layout, checked_folder
from pixelwise.data.sample import DrawnMask, Pair, path_of
from pixelwise.data.scan import scan
from pixelwise.data.values.classnames import find_class_names, read_class_names
from pixelwise.data.values.encoding import outlines_by_name
from pixelwise.errors import BadOption, DataError, LabelError
from pixelwise.flow.doctor import LabelsFrom
from pixelwise.flow.machine import this_machine
from pixelwise.inference.classify import Classification, classify_pictures
from pixelwise.inference.evaluate import Evaluation
from pixelwise.labels import LabelSet
from pixelwise.segmenter import Segmenter, evaluate_pictures


def evaluate_folder(
    segmenter: Segmenter,
    folder: Path,
    *,
    dataset: str | None = None,
    split: str | None = None,
    flip: bool = False,
    answers: Answers = NOTHING,
    classes: Path | None = None,
    labels: LabelsFrom | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[str, Evaluation | Classification]:
    """(name of the part, evaluation) of a folder; of class folders it counts whole pictures.

    Args:
        dataset: a name in DATASETS, to be taken as it is; the layout is found if left out.
        split: which part; if left out the folder's test part, else its validation part, else all of it, but for
            pictures that the segmenter was trained on, by their names.
        flip: average the probabilities with those of the mirrored pictures.
        answers: which directories are meant, where the folder leaves it open; what the values mean, the model knows.
        classes: a classes.yaml that tells which of the model's classes an outline's name means; the one in the folder
            if left out, else the names themselves.
        labels: "masks", or "folders" for class folders; as the segmenter was trained if left out.

    Raises:
        DataError: no such split, a file of it cannot be read, or the folder's layout is not understood.
        BadOption: class folders, and an option about masks.
        LabelError, ShapeError: a mask holds a value that the model's classes do not know, or has not its picture's
            size. Nothing is left out silently: scores on the rest would be of another set.
    """
    segmenter.network.to(this_machine().device)
    by_folder = (labels or trained_with(segmenter)) == "folders"
    if by_folder and (dataset is not None or answers.words or classes is not None):
        raise BadOption(
            "class folders have no masks to be read in some way; leave out --dataset, --as and --classes, or give "
            "--labels masks"
        )
    if dataset is not None:
        opened = open_dataset(dataset, folder, split or "val")
        return split or "val", evaluate_pictures(segmenter, opened, flip=flip, progress=progress)
    root = checked_folder(folder)
    layout = class_folders_layout(root, fewest=1) if by_folder else find_layout(root, answers)
    splits = layout.splits
    part = split or next((name for name in ("test", "val", "all", "train") if splits.get(name)), "")
    if part not in splits:
        nothing = "no pictures in class folders" if by_folder else "no pictures with masks"
        raise DataError(f"{folder} has no part {part!r}; it has {', '.join(splits) or nothing}")
    pairs = splits[part]
    for fault in layout.faults:
        if fault.severity == "error" and _concerns(fault, part, layout):
            raise DataError(fault.message)
    # a folder's own test or val part was never trained on, whatever its pictures are called
    trained = set(segmenter.trained_on) if split is None and part in ("all", "train") else set()
    unseen = tuple(pair for pair in pairs if pair.name not in trained)
    table = _labels_for(segmenter.labels, layout, classes, by_folder)
    _check_pairs(pairs, table, layout.root, part)
    if len(unseen) < len(pairs):
        if unseen:
            part = f"the {len(unseen)} of {len(pairs)} pictures that it was not trained on"
            pairs = unseen
        else:
            part = f"{part}, on which it was trained"
    data = PairDataset(pairs, table, folder, part, channels=segmenter.normalization.channels)
    if by_folder:
        segmenter.network.eval()
        return part, classify_pictures(
            segmenter.network,
            segmenter.normalization,
            data,
            precision=segmenter.precision,
            flip=flip,
            progress=progress,
        )
    return part, evaluate_pictures(segmenter, data, flip=flip, progress=progress)


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


def _check_pairs(pairs: tuple[Pair, ...], labels: LabelSet, root: Path, part: str) -> None:
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
