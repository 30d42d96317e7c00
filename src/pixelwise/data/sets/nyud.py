"""NYUDv2: rooms in 40 classes, with depth. The labelled file; FCN's packaging; RefineNet's authors' files in PyTorch.

    nyu_depth_v2_labeled.mat               images, depths, rawDepths, labels (894 classes), names; 1 449 of 480 × 640
    splits.mat                             trainNdxs, testNdxs, counted from 1; 795 to train, 654 to test

    nyud/data/images/img_5001.png          560 × 425, rgb
    nyud/data/{depth,hha}/img_5001.png     millimeters in 16 bits, HHA; `--as images=hha` takes these for pictures
    nyud/segmentation/img_5001.mat         segmentation: 0 void, 1–40
    nyud/{train,val,trainval,test}.txt     one number a line; 381 and 414 to train and validate, 654 to test
    nyud/classes.txt                       40 names

    <id>_rgb.png with <id>_labels40.png, or <id>.png with <id>_mask.png      0–39, 255 void

The number of a picture is its place in the labelled file, counted from 1, and 5 000. The last form is a plain folder
with its files side by side. It is NYUD where the masks are called labels40; or where stems are six digits, the folder
or the one above has nyu in its name, and no file of class names is there.
Source: Silberman et al. 2012; Gupta et al. 2013 (40 classes); Long et al. 2015; spec, datasets-and-protocols §2.6.
"""

import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np

from pixelwise.data.answers import NOTHING, Answers
from pixelwise.data.folder import PairDataset, compare_counts
from pixelwise.data.layout import ARRAY_EXTENSIONS, Layout, checked_folder, directories, read_text
from pixelwise.data.lists import files_by_id, lists_in, pairs_by_lists, split_by_ids, told_lists
from pixelwise.data.matlab import INSTALL
from pixelwise.data.plain import plain_layout
from pixelwise.data.sample import Channels, ImageSource, Pair, path_of
from pixelwise.data.sets.nyud_pictures import (
    FIRST,
    LABELED,
    ColorAndDepth,
    EncodedDepth,
    Kind,
    LabeledMask,
    LabeledPicture,
    opened,
)
from pixelwise.data.sets.voc import listed_pairs
from pixelwise.data.values.classnames import FILES
from pixelwise.errors import BadOption, DataError, MissingSplit
from pixelwise.labels import VOID, VOID_16, LabelSet

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

NAMES_13 = tuple(
    "bed, books, ceiling, chair, floor, furniture, objects, picture, sofa, table, tv, wall, window".split(", ")
)
NAMES_4 = ("floor", "structure", "furniture", "prop")  # UNVERIFIED: the file of numbers names none

# 40 to fewer, all counted from 1; source: ankurhanda/nyuv2-meta-data
_TO_13 = "12 5 6 1 4 9 10 12 13 6 8 6 13 10 6 13 6 7 7 5 7 3 2 6 11 7 7 7 7 7 7 6 7 7 7 7 7 7 6 7"
_TO_4 = "2 1 3 3 3 3 3 2 2 3 4 2 2 3 3 2 3 4 4 4 4 2 4 3 4 4 4 2 4 2 4 3 3 4 4 3 4 2 3 4"

# the numbers among 894 of Gupta's classMapping40.mat: each of the classes 1–37 is one; all in no list are 40
_SINGLE = (
    "21 11 3 157 5 83 19 28 59 88 64 7 80 36 42 89 169 119 122 143 141 4 85 17 172 15 135 123 26 45 331 158 124 24 144 "
    "136 55"
)
_OTHERSTRUCTURE = (
    "8 25 33 38 51 53 57 58 62 65 79 94 104 112 134 153 215 216 223 225 238 241 242 256 295 301 339 342 354 363 372 "
    "380 392 408 412 453 456 463 477 497 541 550 553 567 573 582 591 609 612 615 642 645 657 658 659 663 667 668 686 "
    "700 702 777 778 782 850 861 868 874"
)
_OTHERFURNITURE = (
    "12 43 48 50 87 106 111 161 163 174 183 204 214 219 221 224 236 262 278 291 298 313 343 344 356 359 373 393 401 "
    "414 418 419 430 443 444 447 448 457 458 460 462 475 479 485 486 493 494 498 499 509 510 515 521 524 540 549 551 "
    "554 556 558 576 580 608 625 703 734 770 772 797 800 803 804 813 814 815 820 829 835 858 863 882 892"
)
OF_894 = 894


_COUNTS = {"train": 381, "val": 414, "trainval": 795, "test": 654, "all": 1449}
_SITE = "https://cs.nyu.edu/~silberman/datasets/nyu_depth_v2.html"

_READ: dict[Kind, tuple[str, ...]] = {  # of the labelled file
    "rgb": ("images",),
    "depth": ("depths",),
    "hha": ("depths", "rawDepths"),
    "rgbd": ("images", "depths"),
    "rgb_hha": ("images", "depths", "rawDepths"),
}
_TOLD = {
    "depth": "pictures are depth in millimeters, 16 bits",
    "hha": "pictures are HHA: disparity, height, angle",
    "rgbd": "pictures are red, green, blue as 0–1 and the natural logarithm of depth in millimeters divided by 255",
    "rgb_hha": "pictures are red, green, blue, and HHA: disparity, height, angle",
}


def nyud_v2(
    root: str | Path, split: str = "train", *, channels: Kind = "rgb", classes: int = 40, crop: bool = False
) -> PairDataset:
    """NYUDv2 from the labelled file, in FCN's packaging, or as files side by side.

    Args:
        root: the folder that holds nyu_depth_v2_labeled.mat and splits.mat, or the file itself; or FCN's nyud, or the
            folder above; or a folder of <id>_rgb.png with <id>_labels40.png.
        split: of the labelled file "train" (795, also called "trainval"), "test" or "all"; in FCN's packaging "train"
            (381), "val", "trainval" or "test".
        channels: what a picture holds.
            "rgb": (H, W, 3) uint8.
            "depth": (H, W, 1) uint16, millimeters, holes filled, 0 where nothing is known.
            "hha": (H, W, 3) uint8, `pixelwise.data.hha`; from the labelled file, and from data/depth of FCN's packaging
            where there is no data/hha, computed when asked for, and kept in the cache. data/depth does not tell where
            it was filled in, so that normals are estimated from filled depth, too.
            "rgbd": (H, W, 4) float32, red, green, blue / 255 and ln(millimeters) / 255; on the scale 0–255 that
            normalizations have, depth is FCN's ln(millimeters), with mean 7.844.
            "rgb_hha": (H, W, 6) uint8.
        classes: 40; 13 or 4, merged from them; 894 of the labelled file. Void is what is unlabelled.
        crop: of the labelled file, the 425 × 560 pixels within the white frame, as Gupta and FCN have them, with HHA of
            these alone. FCN's packaging is always so.

    Raises:
        DataError: none of them is there, a file is missing or damaged, or its names are not numbered as they should be.
        BadOption: no such channels or classes, or not in this form.
    """
    if channels not in get_args(Kind):
        raise BadOption(f"channels is one of {', '.join(get_args(Kind))}, got {channels!r}")
    if classes not in (4, 13, 40, OF_894):
        raise BadOption(f"classes is 40, 13, 4 or 894, got {classes!r}")
    if Path(root).is_file() and Path(root).suffix.lower() == ".mat":
        return _labeled(Path(root), split, channels, classes, crop)
    folder = checked_folder(root)
    labeled = _labeled_file(folder)
    if labeled is not None:
        return _labeled(labeled, split, channels, classes, crop)
    if classes == OF_894:
        raise BadOption(f"classes=894 are in {LABELED} alone, which is not under {root}; choose 40, 13 or 4")
    homes = _fcn_homes(folder)
    if homes:
        return _fcn(homes[0], split, channels, classes)
    layout = _side_by_side(folder)
    if layout is None:
        raise DataError(
            f"no {LABELED}, no data/images with segmentation/*.mat, and no <id>_rgb.png with <id>_labels40.png under "
            f"{root}; pass the folder that holds one of them (download: {_SITE})"
        )
    if channels != "rgb" or crop:
        asked = f"channels={channels!r}" if channels != "rgb" else "crop=True"
        raise BadOption(f"{layout.root} holds files side by side, of which rgb is read as it is, not {asked}")
    if split not in layout.splits:
        raise MissingSplit(f"{layout.root} has no split {split!r}; it has {', '.join(layout.splits)}: pass one of them")
    return PairDataset(layout.splits[split], label_set(classes, first=0), layout.root, split)


def label_set(classes: int, *, first: int | None = None) -> LabelSet:
    """The classes 40, 13 or 4, and the table from the numbers of a file.

    Args:
        first: the number of the first of 40 classes in the file, 0 (255 is void) or 1 (0 is void); the file has the 894
            classes if left out (0 is void).
    """
    forty: dict[int, int]  # number in the file: class 0–39
    if first is None:
        forty = dict.fromkeys(range(1, OF_894 + 1), 39)
        forty |= dict.fromkeys(_numbers(_OTHERFURNITURE), 38) | dict.fromkeys(_numbers(_OTHERSTRUCTURE), 37)
        forty |= {number: i for i, number in enumerate(_numbers(_SINGLE))}
    else:
        forty = {i + first: i for i in range(40)}
    void = {VOID if first == 0 else 0: VOID}
    if classes == 40:
        return LabelSet(NAMES, table=void | forty)
    names, merged = (NAMES_13, _numbers(_TO_13)) if classes == 13 else (NAMES_4, _numbers(_TO_4))
    return LabelSet(names, table=void | {number: merged[i] - 1 for number, i in forty.items()})


def nyud_layout(root: Path, answers: Answers = NOTHING) -> Layout | None:
    """The layout of a folder that holds the labelled file or FCN's packaging, or whose one folder does; else None.

    Raises:
        DataError: the labelled file cannot be read, no picture has a mask, or there are no such pictures as wanted.
    """
    labeled = _labeled_file(root)
    if labeled is not None:
        return _labeled_layout(labeled)
    homes = _fcn_homes(root)
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


def _numbers(written: str) -> list[int]:
    return [int(word) for word in written.split()]


def _labeled_file(root: Path) -> Path | None:
    """The labelled file at `root` or one below."""
    return next((home / LABELED for home in directories(root, 1) if (home / LABELED).is_file()), None)


def _fcn_homes(root: Path) -> list[Path]:
    """The folders of FCN's packaging at `root` or one below."""
    return [
        home
        for home in directories(root, 1)
        if (home / "data" / "images").is_dir()
        and (home / "segmentation").is_dir()
        and next((home / "segmentation").glob("*.mat"), None) is not None
    ]


def _side_by_side(root: Path) -> Layout | None:
    """The layout of a plain folder whose masks are NYUD's."""
    try:
        layout = nyud_named(split_by_ids(plain_layout(root)))
    except DataError:
        return None
    return layout if layout.name.startswith("NYUDv2") else None


def _fcn(home: Path, split: str, channels: Kind, classes: int) -> PairDataset:
    """A split of FCN's packaging."""
    lists = [home / f"{split}.txt"]
    if split == "trainval" and not lists[0].is_file():
        lists = [home / "train.txt", home / "val.txt"]
    images, masks = files_by_id(home / "data" / "images"), files_by_id(home / "segmentation", ARRAY_EXTENSIONS)
    for path in lists:
        if not path.is_file():
            raise MissingSplit(f"there is no {path}; expected a list with the number of a picture on each line")
    pairs = listed_pairs(lists, images, masks, start="img_")
    labels = _labels(home) if classes == 40 else label_set(classes, first=1)
    pairs = tuple(replace(pair, image=_fcn_picture(home, pair, channels)) for pair in pairs)
    notes = compare_counts(f"{split} of NYUDv2 in {home}", len(pairs), _COUNTS.get(split, len(pairs)))
    if "hha" in channels and not (home / "data" / "hha").is_dir():
        notes = (*notes, "HHA is made of data/depth, which does not tell where depth was filled in")
    return PairDataset(pairs, labels, home, split, notes=(*notes, *_told(channels)))


def _fcn_picture(home: Path, pair: Pair, channels: Kind) -> ImageSource:
    color = path_of(pair.image)
    if channels == "rgb":
        return color
    part = "hha" if "hha" in channels else "depth"
    file = home / "data" / part / f"{color.stem}.png"
    depth = home / "data" / "depth" / file.name
    if part == "hha" and not file.parent.is_dir() and depth.is_file():
        return EncodedDepth(depth, (color, depth) if channels == "rgb_hha" else (depth,))
    if not file.is_file():
        remedy = (
            "make them with pixelwise.data.hha.encode_folder from data/depth, camera COLOR_CAMERA.cropped(45, 40)"
            if part == "hha"
            else "unpack FCN's nyud.tar.gz whole"
        )
        raise DataError(f"there is no {file} for {color}; {remedy}")
    if channels == "rgbd":
        return ColorAndDepth(file, (color, file))
    return Channels((color, file)) if channels == "rgb_hha" else file


def _labeled(path: Path, split: str, channels: Kind, classes: int, crop: bool) -> PairDataset:
    """A split of the labelled file."""
    count, labels = _looked_at(path, channels, classes)
    pairs = _labeled_pairs(path, split, count, channels, crop)
    official = _COUNTS["trainval" if split == "train" else split]
    notes = compare_counts(f"{split} of NYUDv2 in {path}", len(pairs), official)
    return PairDataset(pairs, labels, path.parent, split, notes=(*notes, *_told(channels)))


def _looked_at(path: Path, channels: Kind, classes: int) -> tuple[int, LabelSet]:
    """The number of pictures that the labelled file holds, and what its labels mean."""
    with opened(path) as file:
        count = int(file["labels"].shape[0])
        for name in _READ[channels]:
            if name not in file or file[name].shape[0] != count:
                found = f"{file[name].shape[0]} of them" if name in file else "none"
                raise DataError(
                    f"{path} holds {count} labels, expected as many {name}, found {found}; download it again"
                )
        if classes == OF_894:
            names = tuple(_names(file, path, range(1, OF_894 + 1)))
            return count, LabelSet(names, table={0: VOID_16} | {i + 1: i for i in range(OF_894)})
        if "names" in file:
            _check_names(file, path)
        return count, label_set(classes)


def _labeled_layout(path: Path) -> Layout:
    """The layout of the labelled file: color in 40 classes."""
    count, labels = _looked_at(path, "rgb", 40)
    parts = ("train", "test") if (path.parent / "splits.mat").is_file() else ("all",)
    return Layout(
        root=path.parent,
        name="NYUDv2's labelled file",
        rule=f"the pictures and labels of {path.name}" + (", parts as splits.mat says" if len(parts) > 1 else ""),
        splits={part: _labeled_pairs(path, part, count, "rgb", False) for part in parts},
        notes=() if len(parts) > 1 else (f"splits.mat ({_SITE}) beside it would tell what is to train and to test",),
        labels=(labels,),
    )


def _labeled_pairs(path: Path, split: str, count: int, channels: Kind, crop: bool) -> tuple[Pair, ...]:
    """The pictures of a split of the labelled file, which holds `count`."""
    return tuple(
        Pair(
            LabeledPicture(path, (path,), place, channels, crop),
            LabeledMask(path, (path,), place, crop),
            f"img_{place + FIRST}",
        )
        for place in (range(count) if split == "all" else _split(path, split, count))
    )


def _told(channels: Kind) -> tuple[str, ...]:
    return (_TOLD[channels],) if channels in _TOLD else ()


def _split(path: Path, split: str, count: int) -> list[int]:
    """The places, from 0, of a split in the labelled file."""
    variable = {"train": "trainNdxs", "trainval": "trainNdxs", "test": "testNdxs"}.get(split)
    if variable is None:
        raise MissingSplit(f"{path} has no split {split!r}; it has train, test and all: pass one of them")
    splits = path.parent / "splits.mat"
    if not splits.is_file():
        raise MissingSplit(f"no splits.mat beside {path}; download it ({_SITE}) or take the split all")
    try:
        from scipy.io import loadmat
    except ImportError as error:
        raise DataError(f"{splits} is a MATLAB file, which SciPy reads; install it: {INSTALL}") from error
    try:
        numbers = np.asarray(loadmat(str(splits))[variable]).ravel().astype(np.int64)
    except KeyError as error:
        raise DataError(f"{splits} holds no {variable}; expected trainNdxs and testNdxs: download it again") from error
    except Exception as error:  # SciPy raises of every kind where a file is damaged
        raise DataError(f"{splits} is truncated or damaged ({error}); download it again") from error
    wrong = numbers[(numbers < 1) | (numbers > count)]
    if wrong.size:
        raise DataError(
            f"{splits} names picture {wrong[0]} in {variable}, but {path} holds 1–{count}; download both again"
        )
    once, counts = np.unique(numbers, return_counts=True)
    if not numbers.size or counts.max() > 1:
        told = f"names picture {once[counts.argmax()]} twice" if numbers.size else "names no picture"
        raise DataError(f"{splits} {told} in {variable}; expected each picture once: download it again")
    return [int(number) - 1 for number in numbers]


def _names(file: Any, path: Path, numbers: Iterable[int]) -> list[str]:
    """The names of some of the 894 classes: cells, which are references to arrays of letters."""
    cells = file["names"][()].ravel() if "names" in file else ()
    if len(cells) != OF_894:
        raise DataError(f"{path} holds {len(cells)} names, expected {OF_894}; download it again")
    return ["".join(chr(letter) for letter in file[cells[number - 1]][()].ravel()) for number in numbers]


def _check_names(file: Any, path: Path) -> None:
    """Make sure that the 37 names that are classes by themselves have the numbers that they should have."""
    numbers = _numbers(_SINGLE)
    for name, number, found in zip(NAMES, numbers, _names(file, path, numbers), strict=False):
        if found != name:
            raise DataError(
                f"{path} calls class {number} {found!r}, expected {name!r}; its classes are numbered otherwise than "
                f"in the official file, so the 40 cannot be told: download it again ({_SITE})"
            )
