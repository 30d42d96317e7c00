"""Evaluate a segmenter on a folder: the folder's pairs, read with the model's own table of classes."""

from collections.abc import Callable
from pathlib import Path

from pixelwise.data import open_dataset
from pixelwise.data.folder import PairDataset
from pixelwise.errors import DataError
from pixelwise.flow.doctor import understand
from pixelwise.flow.machine import this_machine
from pixelwise.inference.evaluate import Evaluation
from pixelwise.segmenter import Segmenter, evaluate_pictures


def evaluate_folder(
    segmenter: Segmenter,
    folder: Path,
    *,
    dataset: str | None = None,
    split: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[str, Evaluation]:
    """(name of the part, evaluation) of a folder.

    Args:
        dataset: a name in DATASETS, to be taken as it is; found by the doctor if left out.
        split: which part; if left out the folder's test part, else its validation part, else all of it, but for
            pictures that the segmenter was trained on, by their names.

    Raises:
        DataError: no such split, a broken pair, or the folder is not understood.
        LabelError: a mask holds a value that the model's classes do not know.
    """
    segmenter.network.to(this_machine().device)
    if dataset is not None:
        opened = open_dataset(dataset, folder, split or "val")
        return split or "val", evaluate_pictures(segmenter, opened, progress=progress)
    understanding = understand(folder)
    splits = understanding.splits
    broken = [fault for fault in understanding.errors if fault.path is not None]
    if broken:
        raise DataError(str(broken[0]))  # scores on the rest would be of another set
    part = split or next((name for name in ("test", "val", "all", "train") if splits.get(name)), "")
    if part not in splits:
        raise DataError(f"{folder} has no part {part!r}; it has {', '.join(splits) or 'no pictures with masks'}")
    pairs = [pair for pair in splits[part] if pair.mask is not None]
    trained = set(segmenter.trained_on)
    unseen = [pair for pair in pairs if pair.name not in trained]
    if len(unseen) < len(pairs) and split is None:
        if unseen:
            part = f"the {len(unseen)} of {len(pairs)} pictures that it was not trained on"
            pairs = unseen
        else:
            part = f"{part}, on which it was trained"
    data = PairDataset(pairs, segmenter.labels, folder, part, channels=understanding.channels)
    return part, evaluate_pictures(segmenter, data, progress=progress)
