"""Data sets: one file each, all of them plain sequences of samples."""

from collections.abc import Callable
from pathlib import Path

from pixelwise.data.find import folder
from pixelwise.data.folder import PairDataset
from pixelwise.data.sets.camvid import camvid
from pixelwise.data.sets.cityscapes import cityscapes
from pixelwise.data.sets.voc import voc2012
from pixelwise.errors import unknown_name

DATASETS: dict[str, Callable[..., PairDataset]] = {
    "camvid": camvid,
    "cityscapes": cityscapes,
    "folder": folder,
    "voc2012": voc2012,
}
"""{name: function(root, split)}."""


def open_dataset(name: str, root: str | Path, split: str | None = None) -> PairDataset:
    """A data set by name; nothing is decoded, and only `folder` reads masks once to learn their values.

    Args:
        name: one of `list_datasets()`.
        root: the folder that holds it, or the one above.
        split: "train", "val", "test"; the data set's first one if left out.

    Raises:
        UnknownName: no data set is called `name`.
        DataError: the folder does not hold it.
    """
    if name not in DATASETS:
        raise unknown_name("data set", name, DATASETS)
    return DATASETS[name](root) if split is None else DATASETS[name](root, split)


def list_datasets() -> list[str]:
    """The names that `open_dataset` takes."""
    return sorted(DATASETS)
