"""Cityscapes: 19 classes of street scenes in 30 kinds of labels; the others are void.

    leftImg8bit/{train,val,test}/<city>/<city>_<seq>_<frame>_leftImg8bit.png
    gtFine/{train,val,test}/<city>/<city>_<seq>_<frame>_gtFine_{labelIds,labelTrainIds,instanceIds,color}.png

With gtCoarse in place of gtFine (`--as masks=gtCoarse` where both are there), train_extra belongs to train.
2 975, 500 and 1 525 pictures of 1024 × 2048; the masks of the test set are dummies. The published masks are labelIds
(−1…33); labelTrainIds (0…18, 255) are made from them by cityscapesScripts, whose labels.py is the table below.
color is read where there is nothing else; there polegroup cannot be told from pole, nor a license plate from a car.
Source: Cordts et al. 2016.
"""

from dataclasses import replace
from pathlib import Path
from typing import Literal

from pixelwise.data.answers import NOTHING, Answers
from pixelwise.data.folder import PairDataset
from pixelwise.data.layout import Fault, Layout, checked_folder, directories
from pixelwise.data.sample import Pair
from pixelwise.errors import DataError
from pixelwise.labels import VOID, Color, LabelSet, pack_color

_CLASSES: tuple[tuple[int, str, Color], ...] = (  # id in the file, name, color; the order is the trainId
    (7, "road", (128, 64, 128)),
    (8, "sidewalk", (244, 35, 232)),
    (11, "building", (70, 70, 70)),
    (12, "wall", (102, 102, 156)),
    (13, "fence", (190, 153, 153)),
    (17, "pole", (153, 153, 153)),
    (19, "traffic light", (250, 170, 30)),
    (20, "traffic sign", (220, 220, 0)),
    (21, "vegetation", (107, 142, 35)),
    (22, "terrain", (152, 251, 152)),
    (23, "sky", (70, 130, 180)),
    (24, "person", (220, 20, 60)),
    (25, "rider", (255, 0, 0)),
    (26, "car", (0, 0, 142)),
    (27, "truck", (0, 0, 70)),
    (28, "bus", (0, 60, 100)),
    (31, "train", (0, 80, 100)),
    (32, "motorcycle", (0, 0, 230)),
    (33, "bicycle", (119, 11, 32)),
)
_NAMES = tuple(name for _, name, _ in _CLASSES)
_PALETTE = tuple(color for _, _, color in _CLASSES)
LABELS = LabelSet(  # −1 (license plate) stands as 255 in 8-bit files
    _NAMES,
    _PALETTE,
    {i: VOID for i in (*range(-1, 34), VOID)} | {value: i for i, (value, _, _) in enumerate(_CLASSES)},
)
TRAIN_ID_LABELS = LabelSet(_NAMES, _PALETTE, {i: i for i in range(19)} | {-1: VOID, VOID: VOID})
_VOID_COLORS: tuple[Color, ...] = (
    (0, 0, 0),
    (111, 74, 0),
    (81, 0, 81),
    (250, 170, 160),
    (230, 150, 140),
    (180, 165, 180),
    (150, 100, 100),
    (150, 120, 90),
    (0, 0, 90),
    (0, 0, 110),
)
COLOR_LABELS = LabelSet(
    _NAMES,
    _PALETTE,
    {pack_color(color): VOID for color in _VOID_COLORS} | {pack_color(color): i for i, color in enumerate(_PALETTE)},
    colors=True,
)

_SPLITS = ("train", "val", "test")
_KINDS = {"labelIds": LABELS, "labelTrainIds": TRAIN_ID_LABELS, "color": COLOR_LABELS}


def cityscapes(root: str | Path, split: str = "train") -> PairDataset:
    """Cityscapes with its 19 classes; labelIds, or labelTrainIds where a split has only these.

    Args:
        root: the folder that holds leftImg8bit and gtFine.
        split: "train", "val" or "test".

    Raises:
        DataError: there is no such split, or a picture has no mask.
    """
    layout = cityscapes_layout(checked_folder(root))
    if layout is None or split not in layout.splits:
        raise DataError(f"no leftImg8bit/{split} with gtFine/{split} under {root}; pass the folder that holds both")
    for fault in layout.faults:
        if fault.path is not None and split in fault.path.parts:
            raise DataError(fault.message)
    return PairDataset(layout.splits[split], layout.labels[0], layout.root, split)


def cityscapes_layout(root: Path, answers: Answers = NOTHING) -> Layout | None:
    """The layout of a folder that holds leftImg8bit and gtFine (or gtCoarse), or whose only folder does.

    Raises:
        DataError: none of its pictures has a mask.
    """
    for home in directories(root, 1):
        truths = [truth for truth in ("gtFine", "gtCoarse") if (home / truth).is_dir()]
        if truths and (home / "leftImg8bit").is_dir():
            wanted = (answers.masks or "").lower().rsplit("/", 1)[-1]
            truth = next((truth for truth in truths if truth.lower() == wanted), truths[0])
            layout = _layout(home, truth)
            if len(truths) == 2:
                other = truths[truth == truths[0]]
                return replace(layout, notes=(*layout.notes, f"{other} is there, too; --as masks={other} takes it"))
            return layout
    return None


def _layout(home: Path, truth: str) -> Layout:
    images: dict[str, list[tuple[Path, Path]]] = {}  # with the folder of their masks
    for split in (*_SPLITS, "train_extra"):
        for file in sorted((home / "leftImg8bit" / split).glob("*/*_leftImg8bit.*")):
            masks = home / truth / split / file.parent.name
            if file.name[0] != "." and (split != "train_extra" or truth == "gtCoarse"):
                images.setdefault("train" if split == "train_extra" else split, []).append((file, masks))
    for kind, labels in _KINDS.items():  # the whole set is read in one way
        splits: dict[str, tuple[Pair, ...]] = {}
        faults: list[Fault] = []
        notes: list[str] = []
        for split in (split for split in _SPLITS if split in images):
            pairs, lone = [], []
            for image, masks in images[split]:
                name = image.name.rsplit("_leftImg8bit", 1)[0]
                mask = masks / f"{name}_{truth}_{kind}.png"
                if mask.is_file():
                    pairs.append(Pair(image, mask, name))
                else:
                    lone.append((image, mask))
            if pairs:
                splits[split] = tuple(pairs)
            elif split == "test":
                notes.append(f"the {len(lone)} pictures of test have no masks and are left out")
                continue
            for image, mask in lone:
                reason = f"{image} has no mask {mask.name} in {mask.parent}"
                severity: Literal["error", "warning"] = "warning" if split == "test" else "error"
                faults.append(Fault(severity, "orphan", image, reason, "add it or remove the picture"))
        if splits:
            if kind == "color":
                notes.append("of Cityscapes' masks only the colors are there: polegroup counts as pole, plates as car")
            return Layout(
                root=home,
                name=f"Cityscapes (leftImg8bit and {truth})",
                rule=f"<city>_<seq>_<frame>_leftImg8bit with <city>_<seq>_<frame>_{truth}_{kind}",
                splits=splits,
                faults=tuple(faults),
                notes=tuple(notes),
                labels=(labels,),
            )
    raise DataError(
        f"no picture of {home / 'leftImg8bit'} has a mask *_{truth}_labelIds.png in {home / truth}; "
        "expected the same <split>/<city>/ on both sides: put them there"
    )
