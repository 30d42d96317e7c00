"""CamVid as SegNet's tutorial packs it: 11 classes of street scenes, 11 void.

    CamVid/{train,val,test}/<id>.png   CamVid/{train,val,test}annot/<id>.png
    CamVid/{train,val,test}.txt        a line: /SegNet/CamVid/train/<id>.png /SegNet/CamVid/trainannot/<id>.png

The paths in the lists are those of the authors' machine (`data.lists`). 367, 101 and 233 pictures of
360 × 480. Source: Badrinarayanan et al. 2017, SegNet; Brostow et al. 2009.
"""

from dataclasses import replace
from pathlib import Path

from pixelwise.data.answers import NOTHING, Answers
from pixelwise.data.folder import PairDataset
from pixelwise.data.layout import Layout, checked_folder, read_text
from pixelwise.data.lists import list_home, list_layout, listed_pairs, lists_in
from pixelwise.errors import DataError
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


def camvid(root: str | Path, split: str = "train") -> PairDataset:
    """CamVid in SegNet's packaging.

    Args:
        root: the folder with train.txt, or the one above.
        split: "train", "val" or "test".

    Raises:
        DataError: there is no such list, or a file that it names is missing.
    """
    home = list_home(checked_folder(root))
    if home is None or not (home / f"{split}.txt").is_file():
        raise DataError(f"no {split}.txt with a picture and a mask a line under {root}; pass the folder that holds it")
    pairs, faults = listed_pairs(home / f"{split}.txt", home)
    if faults:
        raise DataError(faults[0].message)
    return PairDataset([pair for part in pairs.values() for pair in part], LABELS, home, split)


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
