"""Data sets: one file each, all of them plain sequences of samples."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pixelwise.data.find import folder
from pixelwise.data.folder import PairDataset
from pixelwise.data.sets.ade20k import ade20k
from pixelwise.data.sets.camvid import camvid
from pixelwise.data.sets.cityscapes import cityscapes
from pixelwise.data.sets.coco import coco
from pixelwise.data.sets.nyud import nyud_v2
from pixelwise.data.sets.pascal_context import pascal_context
from pixelwise.data.sets.person_part import person_part
from pixelwise.data.sets.sbd import sbd
from pixelwise.data.sets.sift_flow import sift_flow
from pixelwise.data.sets.voc import seg11valid, voc2011, voc2012, voc2012_trainaug
from pixelwise.errors import BadOption, unknown_name

DATASETS: dict[str, Callable[..., PairDataset]] = {
    "ade20k": ade20k,
    "camvid": camvid,
    "cityscapes": cityscapes,
    "coco": coco,
    "folder": folder,
    "nyud_v2": nyud_v2,
    "pascal_context": pascal_context,
    "person_part": person_part,
    "sbd": sbd,
    "seg11valid": seg11valid,
    "sift_flow": sift_flow,
    "voc2011": voc2011,
    "voc2012": voc2012,
    "voc2012_trainaug": voc2012_trainaug,
}
"""{name: function(root, split)}."""


def open_dataset(name: str, root: str | Path, split: str | None = None, **options: Any) -> PairDataset:
    """A data set by name; nothing is decoded, and only `folder` reads masks once to learn their values.

    Args:
        name: one of `list_datasets()`.
        root: the folder that holds it, or the one above.
        split: "train", "val", "test"; the data set's first one if left out.
        options: of the data set's own function.

    Raises:
        UnknownName: no data set is called `name`.
        BadOption: the data set does not take such an option.
        DataError: the folder does not hold it.
    """
    if name not in DATASETS:
        raise unknown_name("data set", name, DATASETS)
    opened = DATASETS[name]
    known = list(inspect.signature(opened).parameters)[2:]
    for option in options:
        if option not in known:
            takes = f"it takes {', '.join(known)}" if known else "it takes none"
            raise BadOption(f"the data set {name} has no option {option!r}; {takes}")
    found = opened(root, **options) if split is None else opened(root, split, **options)
    found.name = name if name != "folder" else ""
    return found


def list_datasets() -> list[str]:
    """The names that `open_dataset` takes."""
    return sorted(DATASETS)
