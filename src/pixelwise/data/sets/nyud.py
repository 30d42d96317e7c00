"""NYUDv2: rooms in 40 classes, with depth. In FCN's packaging, and as RefineNet's authors' files in PyTorch have it.

    nyud/data/images/img_5001.png          560 × 425, rgb
    nyud/data/{depth,hha}/img_5001.png     `--as images=hha` takes these for pictures
    nyud/segmentation/img_5001.mat         segmentation: 0 void, 1–40
    nyud/{train,val,trainval,test}.txt     one number a line; 795 to train and validate, 654 to test
    nyud/classes.txt                       40 names

    <id>_rgb.png with <id>_labels40.png, or <id>.png with <id>_mask.png      0–39, 255 void

The second form is a plain folder with its files side by side. It is NYUD where the masks are called labels40; or where
stems are six digits, the folder or the one above has nyu in its name, and no file of class names is there.
Source: Silberman et al. 2012; Gupta et al. 2013 (40 classes); Long et al. 2015.
"""

import re
from dataclasses import replace
from pathlib import Path

from pixelwise.data.answers import NOTHING, Answers
from pixelwise.data.layout import ARRAY_EXTENSIONS, Layout, directories, read_text
from pixelwise.data.lists import files_by_id, lists_in, pairs_by_lists, told_lists
from pixelwise.data.sample import path_of
from pixelwise.data.values.classnames import FILES
from pixelwise.errors import DataError
from pixelwise.labels import VOID, LabelSet

_NAMES = (
    "wall, floor, cabinet, bed, chair, sofa, table, door, window, bookshelf, picture, counter, blinds, desk, shelves, "
    "curtain, dresser, pillow, mirror, floor mat, clothes, ceiling, books, refridgerator, television, paper, towel, "
    "shower curtain, box, whiteboard, person, night stand, toilet, sink, lamp, bathtub, bag, otherstructure, "
    "otherfurniture, otherprop"
)
NAMES = tuple(_NAMES.split(", "))
LABELS = LabelSet(NAMES, table={0: VOID} | {i + 1: i for i in range(40)})
SHIFTED_LABELS = LabelSet(NAMES)  # 0–39, 255 void

_IMAGES = ("images", "hha", "depth")


def nyud_layout(root: Path, answers: Answers = NOTHING) -> Layout | None:
    """The layout of a folder that is NYUD in FCN's packaging, or whose one folder is; None where it is not.

    Raises:
        DataError: no picture has a mask, or there are no such pictures as were wanted.
    """
    homes = [
        home
        for home in directories(root, 1)
        if (home / "data" / "images").is_dir()
        and (home / "segmentation").is_dir()
        and next((home / "segmentation").glob("*.mat"), None) is not None
    ]
    if not homes:
        return None
    home = homes[0]
    wanted = (answers.images or "images").replace("\\", "/").rstrip("/").rsplit("/", 1)[-1].lower()
    there = [name for name in _IMAGES if (home / "data" / name).is_dir()]
    if wanted not in there:
        raise DataError(
            f"there are no pictures {answers.images} in {home / 'data'}; there are {', '.join(there)}: "
            "answer with one of them"
        )
    lists = {split: paths[0] for split, paths in lists_in(home).items()}
    notes = [f"data/{name} is passed over; --as images={name} takes it" for name in there if name != wanted]
    if {"val", "test"} <= lists.keys() and read_text(lists["val"]).split() == read_text(lists["test"]).split():
        notes.append(f"{lists['test'].name} lists the same as {lists['val'].name} and is passed over")
        del lists["test"]
    images = files_by_id(home / "data" / wanted)
    masks = files_by_id(home / "segmentation", ARRAY_EXTENSIONS)
    splits, faults = pairs_by_lists(lists, images, masks, "img_")
    return Layout(
        root=home,
        name="NYUDv2 as FCN's authors pack it",
        rule=f"data/{wanted}/img_<number> with segmentation/img_<number>.mat{told_lists(lists)}",
        splits=splits,
        faults=tuple(faults),
        notes=tuple(notes),
        labels=(_labels(home),),
    )


def nyud_named(layout: Layout) -> Layout:
    """A plain layout with NYUD's names where its masks are NYUD's; see this module's first lines."""
    pairs = [pair for pairs in layout.splits.values() for pair in pairs if pair.mask is not None]
    stems = [path_of(pair.mask).stem for pair in pairs if pair.mask is not None]
    if stems and all(stem.endswith("_labels40") for stem in stems):
        return replace(layout, name=f"NYUDv2: {layout.name}", labels=(SHIFTED_LABELS, LABELS))
    says_nyu = any("nyu" in part.lower() for part in layout.root.resolve().parts[-2:])
    if not (says_nyu and stems and all(re.fullmatch(r"\d{6}_mask", stem) for stem in stems)):
        return layout
    if any(path.name.lower() in FILES for path in layout.root.iterdir()):
        return layout
    note = "the classes are taken for NYUD's 40, since the folder is called so; classes.txt would say otherwise"
    return replace(layout, name=f"NYUDv2: {layout.name}", labels=(SHIFTED_LABELS,), notes=(*layout.notes, note))


def _labels(home: Path) -> LabelSet:
    """The 40 names of classes.txt, which a remark follows there; without it the usual ones."""
    path = home / "classes.txt"
    if not path.is_file():
        return LABELS
    names = [line.strip() for line in read_text(path).strip().split("\n\n")[0].splitlines()]
    return LabelSet(tuple(names), table=LABELS.table) if len(set(names)) == 40 else LABELS
