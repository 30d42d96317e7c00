"""PASCAL-Person-Part: six parts of people and background, on pictures of VOC 2010.

    JPEGImages/<id>.jpg
    pascal_person_part_gt/<id>.png                            0 background, 1 head … 6 lower legs
    pascal_person_part_trainval_list/{train,val}.txt          one id a line: 1 716 and 1 817

The parts were merged from PASCAL-Part, whose Annotations_Part/<id>.mat hold a mask for each object and each of its
parts; these are no masks of classes and are not read. Source: Chen et al. 2014, 2016; Xia et al. 2017.
"""

from pathlib import Path

from pixelwise.data.answers import NOTHING, Answers
from pixelwise.data.layout import Layout, directories
from pixelwise.data.lists import files_by_id, lists_in, pairs_by_lists, told_lists
from pixelwise.errors import DataError
from pixelwise.labels import LabelSet

LABELS = LabelSet(("background", "head", "torso", "upper arms", "lower arms", "upper legs", "lower legs"))

_MASKS = "pascal_person_part_gt"
_LISTS = "pascal_person_part_trainval_list"
_PARTS = "Annotations_Part"


def person_part_layout(root: Path, answers: Answers = NOTHING) -> Layout | None:
    """The layout of a folder with PASCAL-Person-Part's masks; None where it does not hold them.

    Raises:
        DataError: there are only PASCAL-Part's masks of objects and parts, or no pictures.
    """
    places = directories(root, 2)
    home = next((d for d in places if (d / _MASKS).is_dir()), None)
    parts = next((d / _PARTS for d in places if (d / _PARTS).is_dir()), None)
    if home is None:
        if parts is None or next(parts.glob("*.mat"), None) is None:
            return None
        raise DataError(
            f"{parts} holds PASCAL-Part's masks of single objects and parts, not one mask for each picture; "
            f"expected {_MASKS}/<id>.png: merge the parts into classes and save them so"
        )
    beside = (home, *(d for d in directories(root, 3) if d.name != "pascal_part"))
    images = next((d / "JPEGImages" for d in beside if (d / "JPEGImages").is_dir()), None)
    if images is None:
        raise DataError(
            f"{home / _MASKS} holds masks, but there is no JPEGImages with VOC 2010's pictures under {root}; "
            "pass the folder that holds both"
        )
    lists = {split: paths[0] for split, paths in lists_in(home / _LISTS).items()} if (home / _LISTS).is_dir() else {}
    splits, faults = pairs_by_lists(lists, files_by_id(images), files_by_id(home / _MASKS))
    notes = () if parts is None else (f"{parts} holds masks of single objects and parts and is passed over",)
    top = home if home in images.parents else root
    return Layout(
        root=top,
        name="PASCAL-Person-Part",
        rule=f"{images.relative_to(top)}/<id> with {(home / _MASKS).relative_to(top)}/<id>{told_lists(lists)}",
        splits=splits,
        faults=tuple(faults),
        notes=notes,
        labels=(LABELS,),
    )
