"""PASCAL-Context: every pixel of 10 103 pictures of VOC 2010 labelled, in 459 classes or the 59 most frequent.

    VOCdevkit/VOC2010/JPEGImages/<id>.jpg
    VOCdevkit/VOC2010/ImageSets/Main/{train,val}.txt   one id a line: 4 998 and 5 105
    pascal-context/trainval/<id>.mat                   LabelMap: 1–459, named by labels.txt ("n: name" a line)
    pascal-context/59_class_png/<id>.png               0 background, 1–59, named by 59_labels.txt

The 59 classes are those of the papers; all other of the 459 are background there. They are found among the 459 by their
names, of which three differ (`OTHER_NAMES`). Where both are, the doctor asks which; `pascal_context` takes the 459,
from which all others follow. There is no test set.
Source: Mottaghi et al. 2014; fcn.berkeleyvision.org, pascalcontext_layers.py; spec, data sets §2.3.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pixelwise.data.answers import NOTHING, Answers
from pixelwise.data.decode import MASK_EXTENSIONS
from pixelwise.data.folder import PairDataset, compare_counts
from pixelwise.data.layout import Layout, checked_folder, directories
from pixelwise.data.lists import files_by_id, lists_in, pairs_by_lists, told_lists
from pixelwise.data.sets.voc import listed_pairs, pictures_of_year
from pixelwise.data.values.classnames import read_class_names
from pixelwise.errors import BadOption, DataError, DataQuestion, MissingSplit
from pixelwise.labels import VOID, VOID_16, LabelSet

NAMES_59 = (
    "background aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse motorbike person "
    "pottedplant sheep sofa train tvmonitor bag bed bench book building cabinet ceiling clothes computer cup door "
    "fence floor flower food grass ground keyboard light mountain mouse curtain platform sign plate road rock "
    "shelves sidewalk sky snow bedcloth track tree truck wall water window wood"
)
LABELS = LabelSet(tuple(NAMES_59.split()))

NAMES_33 = (  # of the 59: VOC's objects, and what is most frequent beside them
    *LABELS.names[1:21],
    *"sky grass ground road building tree water mountain wall floor track keyboard ceiling".split(),
)
OTHER_NAMES = {"diningtable": "table", "bedcloth": "bedclothes", "clothes": "cloth"}
"""{name among the 59: name among the 459}, where they differ."""

_FOLDERS = {"59_class_png": "59 classes and background", "trainval": "459 classes"}
_COUNTS = {"train": 4998, "val": 5105, "trainval": 10_103}
_SITE = "https://cs.stanford.edu/~roozbeh/pascal-context"


def pascal_context(root: str | Path, split: str = "train", *, classes: Literal[60, 59, 33, 459] = 60) -> PairDataset:
    """PASCAL-Context on VOC 2010's pictures.

    Args:
        root: the folder that holds PASCAL-Context's masks (trainval/*.mat with labels.txt, or 59_class_png) and VOC
            2010, each up to three below.
        split: "train" (4 998), "val" (5 105), "trainval"; VOC 2010's lists in ImageSets/Main.
        classes: 60: background, which is all that the others are not, and 59.
            59: without background, which is void.
            33: all others are void, which is UNVERIFIED.
            459: all; of trainval/*.mat alone.

    Raises:
        DataError: masks, names, pictures or lists are missing; or a list is empty, names a picture twice, or one that
            is not there.
        BadOption: no such number of classes, or not in these files.
    """
    if classes not in (60, 59, 33, 459):
        raise BadOption(f"classes is 60, 59, 33 or 459, got {classes!r}")
    folder = checked_folder(root)
    home = next((d for d in directories(folder, 3) if _is_home(d)), None)
    if home is None:
        raise DataError(
            f"no trainval/*.mat with labels.txt and no 59_class_png under {folder} or up to three folders below; pass "
            f"the folder that holds PASCAL-Context and VOC 2010 (download: {_SITE})"
        )
    if split not in _COUNTS:
        raise MissingSplit(f"pascal_context has no split {split!r}; it has {', '.join(_COUNTS)}: pass one of them")
    matlab = (home / "labels.txt").is_file() and _any_mat(home / "trainval")
    if classes == 459 and not matlab:
        raise BadOption(f"classes=459 are in trainval/*.mat alone, which {home} lacks; choose 60, 59 or 33")
    masks = home / ("trainval" if matlab else "59_class_png")
    names = home / ("labels.txt" if matlab else "59_labels.txt")
    labels = _labels_459(home) if classes == 459 else label_set(classes, _numbers(names))
    pictures = pictures_of_year(folder, 2010)
    pairs = listed_pairs(
        _official_lists(pictures, split), files_by_id(pictures / "JPEGImages"), files_by_id(masks, MASK_EXTENSIONS)
    )
    notes = compare_counts(f"{split} of PASCAL-Context in {home}", len(pairs), _COUNTS[split])
    return PairDataset(pairs, labels, home, split, notes=notes)


def label_set(classes: int, numbers: Mapping[str, int]) -> LabelSet:
    """The classes 60, 59 or 33, by name.

    Args:
        numbers: {name: value in the masks} of 459 or of 59 classes.

    Raises:
        DataError: a name is missing.
    """
    names = {60: LABELS.names[1:], 59: LABELS.names[1:], 33: NAMES_33}[classes]
    found = [numbers.get(name, numbers.get(OTHER_NAMES.get(name, name), -1)) for name in names]
    missing = [name for name, number in zip(names, found, strict=True) if number < 0]
    if missing:
        raise DataError(
            f"the list of classes lacks {', '.join(missing)}, by which the {classes} classes are found; download the "
            f"data set again ({_SITE})"
        )
    rest = 0 if classes == 60 else VOID
    first = 1 if classes == 60 else 0
    table = {0: rest} | dict.fromkeys(numbers.values(), rest)
    table |= {number: i for i, number in enumerate(found, first)}
    return LabelSet(LABELS.names[:first] + names, table=table)


def pascal_context_layout(root: Path, answers: Answers = NOTHING) -> Layout | None:
    """The layout of a folder with pascal-context's masks and VOC 2010's pictures; None where it does not hold them.

    Raises:
        DataQuestion: there are masks of 59 and of 459 classes.
        DataError: there are masks but not their pictures, or no such masks as were wanted.
    """
    home = next((d for d in directories(root, 2) if _is_home(d)), None)
    if home is None:
        return None
    images = next((d / "JPEGImages" for d in directories(root, 3) if (d / "JPEGImages").is_dir()), None)
    if images is None:
        raise DataError(
            f"{home} holds PASCAL-Context's masks, but there is no JPEGImages with VOC 2010's pictures under {root}; "
            "pass the folder that holds both"
        )
    there = [name for name in _FOLDERS if (home / name).is_dir()]
    if answers.masks is not None:
        wanted = answers.masks.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1].lower()
        if wanted not in there:
            raise DataError(f"there is no folder of masks {answers.masks} in {home}; there are {', '.join(there)}")
        there = [wanted]
    if len(there) > 1:
        raise DataQuestion(
            f"{home} holds PASCAL-Context's masks twice, "
            + " and ".join(f"{name} with {_FOLDERS[name]}" for name in there)
            + "; which are meant?",
            [f"masks={name}" for name in there],
        )
    lists = _lists(images.parent)
    splits, faults = pairs_by_lists(lists, files_by_id(images), files_by_id(home / there[0], MASK_EXTENSIONS))
    return Layout(
        root=root,
        name=f"PASCAL-Context, {_FOLDERS[there[0]]}",
        rule=f"{images.relative_to(root)}/<id> with {(home / there[0]).relative_to(root)}/<id>{told_lists(lists)}",
        splits=splits,
        faults=tuple(faults),
        labels=(LABELS if there[0] == "59_class_png" else _labels_459(home),),
    )


def _is_home(directory: Path) -> bool:
    return (directory / "59_class_png").is_dir() or (
        (directory / "trainval").is_dir() and (directory / "labels.txt").is_file() and _any_mat(directory / "trainval")
    )


def _any_mat(directory: Path) -> bool:
    """Whether a directory holds a MATLAB file."""
    return next(directory.glob("*.mat"), None) is not None


def _lists(home: Path) -> dict[str, Path]:
    for place in ("ImageSets/SegmentationContext", "ImageSets/Main", "ImageSets/Segmentation"):
        if (home / place).is_dir():
            return {split: paths[0] for split, paths in lists_in(home / place).items() if split != "test"}
    return {}


def _numbers(path: Path) -> dict[str, int]:
    """{name: value in the masks} of a list of classes; of the 59 without one."""
    if not path.is_file():
        return {name: i for i, name in enumerate(LABELS.names)}
    named = read_class_names(path)
    ids = named.ids or tuple(range(1, len(named.names) + 1))
    return {name.strip(): value for name, value in zip(named.names, ids, strict=True)}


def _official_lists(pictures: Path, split: str) -> list[Path]:
    """VOC 2010's lists of a split; of trainval both where there is no own one.

    Raises:
        MissingSplit: there is none.
    """
    places = [pictures / "ImageSets" / name for name in ("Main", "SegmentationContext")]
    for names in ([split], ["train", "val"]) if split == "trainval" else ([split],):
        for place in places:
            paths = [place / f"{name}.txt" for name in names]
            if all(path.is_file() for path in paths):
                return paths
    raise MissingSplit(
        f"no {split}.txt in {places[0]}, the list of VOC 2010's pictures to {split}; unpack VOC 2010 whole, with "
        "ImageSets"
    )


def _labels_459(home: Path) -> LabelSet:
    """The classes of labels.txt; 0, which should not occur, is void."""
    names = read_class_names(home / "labels.txt")
    ids = names.ids or tuple(range(1, len(names.names) + 1))
    void = VOID if len(ids) <= VOID else VOID_16
    return LabelSet(names.names, table={0: void} | {value: i for i, value in enumerate(ids)})
