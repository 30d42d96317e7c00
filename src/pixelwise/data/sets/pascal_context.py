"""PASCAL-Context: every pixel of 10 103 pictures of VOC 2010 labelled, in 459 classes or the 59 most frequent.

    VOCdevkit/VOC2010/JPEGImages/<id>.jpg
    VOCdevkit/VOC2010/ImageSets/Main/{train,val}.txt   one id a line: 4 998 and 5 105
    pascal-context/trainval/<id>.mat                   LabelMap: 1–459, named by labels.txt ("n: name" a line)
    pascal-context/59_class_png/<id>.png               0 background, 1–59, named by 59_labels.txt

The 59 classes are those of the papers; all other of the 459 are background there. Where both are, it is asked which.
Source: Mottaghi et al. 2014.
"""

from pathlib import Path

from pixelwise.data.answers import NOTHING, Answers
from pixelwise.data.decode import MASK_EXTENSIONS
from pixelwise.data.layout import Layout, directories
from pixelwise.data.lists import files_by_id, lists_in, pairs_by_lists, told_lists
from pixelwise.data.values.classnames import read_class_names
from pixelwise.errors import DataError, DataQuestion
from pixelwise.labels import VOID, VOID_16, LabelSet

NAMES_59 = (
    "background aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse motorbike person "
    "pottedplant sheep sofa train tvmonitor bag bed bench book building cabinet ceiling clothes computer cup door "
    "fence floor flower food grass ground keyboard light mountain mouse curtain platform sign plate road rock "
    "shelves sidewalk sky snow bedcloth track tree truck wall water window wood"
)
LABELS = LabelSet(tuple(NAMES_59.split()))

_FOLDERS = {"59_class_png": "59 classes and background", "trainval": "459 classes"}


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


def _labels_459(home: Path) -> LabelSet:
    """The classes of labels.txt; 0, which should not occur, is void."""
    names = read_class_names(home / "labels.txt")
    ids = names.ids or tuple(range(1, len(names.names) + 1))
    void = VOID if len(ids) <= VOID else VOID_16
    return LabelSet(names.names, table={0: void} | {value: i for i, value in enumerate(ids)})
