"""Evaluate a segmenter on a folder: the folder's pairs, read with the model's own table of classes."""

from collections.abc import Callable
from pathlib import Path

from pixelwise.data import open_dataset
from pixelwise.data.folder import PairDataset
from pixelwise.errors import DataError
from pixelwise.flow.doctor import understand
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
        split: which part; the folder's test part, else its validation part, else all of it, if left out.

    Raises:
        DataError: no such split, or the folder is not understood.
        LabelError: a mask holds a value that the model's classes do not know.
    """
    if dataset is not None:
        opened = open_dataset(dataset, folder, split or "val")
        return split or "val", evaluate_pictures(segmenter, opened, progress=progress)
    understanding = understand(folder)
    splits = understanding.splits
    part = split or next((name for name in ("test", "val", "all", "train") if splits.get(name)), "")
    if part not in splits:
        raise DataError(f"{folder} has no part {part!r}; it has {', '.join(splits) or 'no pictures with masks'}")
    pairs = [pair for pair in splits[part] if pair.mask is not None]
    data = PairDataset(pairs, segmenter.labels, folder, part)
    return part, evaluate_pictures(segmenter, data, progress=progress)
