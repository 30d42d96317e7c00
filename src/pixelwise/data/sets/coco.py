"""COCO's objects: as VOC's 20 classes, the way they train networks for VOC, or as its own 80.

    annotations/instances_{train,val}2017.json      train2017/*.jpg, val2017/*.jpg, or images/train2017/*.jpg …
    annotations/instances_{train,val}2014.json      train2014/COCO_train2014_*.jpg …
    annotations/image_info_test{2014,2017}.json     test2017/*.jpg; a list without annotations

118 287, 5 000 and 40 670 pictures in 2017; 82 783, 40 504 and 40 775 in 2014 (all UNVERIFIED). A JSON is parsed once
(`pixelwise.data.formats.coco_index`).

A pixel belongs to a polygon where its center does (`pixelwise.data.formats.shapes`). torchvision's reference asks
cocoapi, which walks along a five times finer outline; the two differ at edges, by at most a pixel. Run lengths are
the same.

Source: Lin et al. 2014; torchvision, references/segmentation/coco_utils.py; Chen et al. 2017 (DeepLab v3), §4.1; spec,
data sets §2.8.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from pixelwise.data.decoding.files import MAX_PIXELS
from pixelwise.data.folder import PairDataset, compare_counts
from pixelwise.data.formats.coco_index import CocoIndex, coco_index
from pixelwise.data.formats.finding import counted
from pixelwise.data.formats.shapes import Drawing, area, pixels
from pixelwise.data.layout import checked_folder, directories, normal
from pixelwise.data.sample import DrawnMask, Pair
from pixelwise.data.sets.voc import LABELS as VOC_LABELS
from pixelwise.errors import BadOption, DataError, MissingSplit
from pixelwise.labels import VOID, VOID_16, LabelSet

VOC_CLASSES: dict[int, str] = {
    5: "airplane",
    2: "bicycle",
    16: "bird",
    9: "boat",
    44: "bottle",
    6: "bus",
    3: "car",
    17: "cat",
    62: "chair",
    21: "cow",
    67: "dining table",
    18: "dog",
    19: "horse",
    4: "motorcycle",
    1: "person",
    64: "potted plant",
    20: "sheep",
    63: "couch",
    7: "train",
    72: "tv",
}
"""{category id: COCO's name} in the order of VOC's classes 1–20; torchvision's CAT_LIST."""

LEAST_AREA = 1000
"""Pixels of VOC's classes that a picture must have more of to be trained on."""

Classes = Literal["voc", "own"]

_YEARS = (2017, 2014)
_COUNTS = {  # UNVERIFIED
    ("train", 2017): 118_287,
    ("val", 2017): 5_000,
    ("test", 2017): 40_670,
    ("train", 2014): 82_783,
    ("val", 2014): 40_504,
    ("test", 2014): 40_775,
}
_LISTS = {"train": "instances_train", "val": "instances_val", "test": "image_info_test"}
_PACKAGES = {"train": "annotations_trainval", "val": "annotations_trainval", "test": "image_info_test"}
_SITE = "https://cocodataset.org/#download"


def coco(
    root: str | Path, split: str = "train", *, classes: Classes = "voc", year: Literal[2014, 2017] | None = None
) -> PairDataset:
    """COCO's objects as masks, drawn when a picture is asked for; pictures in the order of their ids, color.

    Args:
        root: the folder that holds annotations and the folders of pictures, or the one above.
        split: "train", "val", or "test" (samples without targets).
        classes: "voc": VOC's 21; all other categories are background, and pixels of two or more instances of VOC's
            classes are void. Of train, only pictures with more than `LEAST_AREA` pixels of these classes, by the areas
            that the file gives. Or "own": background, then the categories in the order of their ids; where objects
            overlap, the smaller lies on top. Crowds are of their category in both.
        year: 2017 where both are there, if left out.

    Raises:
        BadOption: no such classes or year.
        MissingSplit: there is no such split, or not its JSON or folder of pictures.
        DataError: a picture is missing, or the JSON is damaged or holds an object without outline.
    """
    if classes not in get_args(Classes):
        raise BadOption(f"classes is one of {', '.join(get_args(Classes))}, got {classes!r}")
    if year is not None and year not in _YEARS:
        raise BadOption(f"year is 2017 or 2014, got {year!r}")
    if split not in _LISTS:
        raise MissingSplit(f"coco has no split {split!r}; it has {', '.join(_LISTS)}: pass one of them")
    home, chosen_year = _home(checked_folder(root), split, year)
    path = home / "annotations" / f"{_LISTS[split]}{chosen_year}.json"
    index = coco_index(path)
    labels = VOC_LABELS if classes == "voc" else _own_labels(index)
    if classes == "voc" and split != "test":
        _check_voc(index)
    folder = _pictures(home, f"{split}{chosen_year}", index)
    what = f"{split} of COCO {chosen_year} in {home}"
    notes = [*compare_counts(what, len(index.names), _COUNTS[split, chosen_year]), *_notes(index, split)]
    chosen = np.arange(len(index.names))
    if (classes, split) == ("voc", "train"):
        chosen = np.flatnonzero(_voc_areas(index) > LEAST_AREA)
        notes.append(
            f"{len(chosen)} of {counted(len(index.names), 'picture')} have more than {LEAST_AREA} pixels of VOC's "
            "classes; the others are left out"
        )
    pairs = []
    for row in chosen.tolist():
        image = folder / _base(index.names[row])
        mask = None if split == "test" else CocoMask(path, (path,), row, index.names[row], classes)
        pairs.append(Pair(image, mask, image.stem))
    return PairDataset(pairs, labels, home, split, channels=3, notes=notes)


@dataclass(frozen=True)
class CocoMask(DrawnMask):
    """The objects of one picture of a COCO JSON.

    Args:
        row: the picture's place in the index.
        name: its file_name.
        classes: as `coco` takes them.
    """

    path: Path
    files: tuple[Path, ...]
    row: int
    name: str
    classes: Classes

    def draw(self) -> tuple[NDArray[Any], int]:
        """(classes (H, W), and with "own" the pixels that objects of different classes share).

        Raises:
            DataError: the file cannot be read, or is another than when the data set was opened.
        """
        index = coco_index(self.path)
        if self.row >= len(index.names) or index.names[self.row] != self.name:
            raise DataError(f"{self.path} has changed since it was opened; open the data set again")
        return _draw_voc(index, self.row) if self.classes == "voc" else _draw_own(index, self.row, self.name)

    @property
    def key(self) -> str:
        """The file, the picture and the classes."""
        return f"{self.path}#{self.name}#{self.classes}"

    def __str__(self) -> str:
        return f"{self.path} ({self.name})"


def _draw_voc(index: CocoIndex, row: int) -> tuple[NDArray[np.uint8], int]:
    """VOC's classes (H, W), void where two or more instances are; and nothing shared."""
    size = index.size(row)
    _check_size(size, index, row)
    values, covered = np.zeros(size, np.uint8), np.zeros(size, bool)
    several = np.zeros(size, bool)
    numbers = {category: i for i, category in enumerate(VOC_CLASSES, 1)}
    for place in index.objects_of(row):
        value = numbers.get(int(index.category[place]))
        if value is None:
            continue
        instance = np.zeros(size, bool)
        for shape in index.outline(place, size, value):
            top, left, inside = pixels(shape, size)
            instance[top : top + inside.shape[0], left : left + inside.shape[1]] |= inside
        several |= covered & instance
        covered |= instance
        values[instance] = value
    values[several] = VOID
    return values, 0


def _draw_own(index: CocoIndex, row: int, name: str) -> tuple[NDArray[Any], int]:
    """The classes in the order of the categories' ids, smaller objects on top; and the pixels that they share."""
    size = index.size(row)
    numbers = {category: i for i, category in enumerate(index.categories, 1)}
    objects = []
    for place in index.objects_of(row):
        shapes = index.outline(place, size, numbers[int(index.category[place])])
        objects.append((sum(area(shape, size) for shape in shapes), shapes))
    objects.sort(key=lambda one: -one[0])
    ordered = tuple(shape for _, shapes in objects for shape in shapes)
    return Drawing(index.path, (index.path,), name, size, ordered).draw()


def _check_size(size: tuple[int, int], index: CocoIndex, row: int) -> None:
    if size[0] * size[1] > MAX_PIXELS:
        raise DataError(
            f"{index.path} says of {index.names[row]} that it has {size[0]} × {size[1]} pixels; check height and width"
        )


def _own_labels(index: CocoIndex) -> LabelSet:
    names = [normal(name) for name in index.categories.values()]
    if not names:
        raise DataError(f"{index.path} lists no categories; expected COCO's 80: download it again")
    twice = next((name for name in ("background", *names) if ["background", *names].count(name) > 1), None)
    if twice is not None:
        raise DataError(f"{index.path} calls two categories {twice}; rename one, or open it as `folder`")
    void = VOID if len(names) < VOID else VOID_16
    return LabelSet(("background", *names), table={i: i for i in range(len(names) + 1)} | {void: void})


def _check_voc(index: CocoIndex) -> None:
    """Make sure that the categories are numbered as COCO's.

    Raises:
        DataError: they are not.
    """
    for number, name in VOC_CLASSES.items():
        found = index.categories.get(number)
        if found != name:
            told = "lists no category" if found is None else f"calls {found!r} the category"
            raise DataError(
                f"{index.path} {told} {number}, which is {name} in COCO; its categories are not COCO's, so that VOC's "
                "classes cannot be told: take classes='own'"
            )


def _voc_areas(index: CocoIndex) -> NDArray[np.float64]:
    """(N,) the area of the objects of VOC's classes in each picture, by the file.

    Raises:
        DataError: an object has no area.
    """
    pictures = np.repeat(np.arange(len(index.names)), np.diff(index.objects))
    voc = np.isin(index.category, list(VOC_CLASSES))
    unknown = pictures[voc & np.isnan(index.area)]
    if unknown.size:
        picture = index.names[unknown[0]]
        raise DataError(
            f"{index.path} gives no area for an object in {picture}, by which pictures to train on are chosen; "
            "add it, or take classes='own'"
        )
    return np.asarray(np.bincount(pictures[voc], index.area[voc], len(index.names)), np.float64)


def _notes(index: CocoIndex, split: str) -> list[str]:
    if split == "test":
        return ["the annotations of the test set are not published"]
    notes = []
    empty = int(np.count_nonzero(np.diff(index.objects) == 0))
    if empty:
        notes.append(f"{counted(empty, 'picture has', 'pictures have')} no annotations: all background")
    crowds = int(np.count_nonzero(index.crowd))
    if crowds:
        notes.append(f"{counted(crowds, 'region')} of crowds (iscrowd) are taken as their category")
    if index.specks:
        notes.append(f"{counted(index.specks, 'polygon')} of fewer than three points are left out")
    if index.strays:
        notes.append(f"{counted(index.strays, 'annotation')} of pictures that are not listed are left out")
    return notes


def _home(folder: Path, split: str, year: int | None) -> tuple[Path, int]:
    """(the folder that holds annotations, the year).

    Raises:
        MissingSplit: there is no JSON for the split.
    """
    years = _YEARS if year is None else (year,)
    for home in directories(folder, 1):
        for one in years:
            if (home / "annotations" / f"{_LISTS[split]}{one}.json").is_file():
                return home, one
    expected = " or ".join(f"annotations/{_LISTS[split]}{one}.json" for one in years)
    raise MissingSplit(
        f"no {expected} under {folder}; pass the folder that holds annotations (it is in {_PACKAGES[split]}{years[0]}"
        f".zip, download: {_SITE}), or open other COCO JSON files as `folder`"
    )


def _pictures(home: Path, name: str, index: CocoIndex) -> Path:
    """The folder of a split's pictures, all of which are there.

    Raises:
        MissingSplit: there is no such folder.
        DataError: a picture is missing in it.
    """
    folder = next((place for place in (home / name, home / "images" / name) if place.is_dir()), None)
    if folder is None:
        raise MissingSplit(f"no {name} or images/{name} in {home}; unpack {name}.zip there (download: {_SITE})")
    with os.scandir(folder) as entries:
        there = {entry.name for entry in entries}
    missing = [written for written in index.names if _base(written) not in there]
    if missing:
        raise DataError(
            f"{folder} lacks {len(missing)} of the {len(index.names)} pictures that {index.path} lists, the first is "
            f"{_base(missing[0])}; unpack {name}.zip whole, or take the others out of the JSON"
        )
    return folder


def _base(written: str) -> str:
    return written.replace("\\", "/").rpartition("/")[2]
