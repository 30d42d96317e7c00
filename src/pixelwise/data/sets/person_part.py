"""PASCAL-Person-Part: six parts of people and background, on pictures of VOC 2010.

    JPEGImages/<id>.jpg
    pascal_person_part_gt/<id>.png                            0 background, 1 head … 6 lower legs
    pascal_person_part_trainval_list/{train,val}.txt          one id a line: 1 716 and 1 817

The parts were merged from PASCAL-Part, which `person_part` reads, too:

    Annotations_Part/<id>.mat      anno.objects(i): class, mask, parts(j): part_name, mask

    head            head, eyes, ears, brows, nose, mouth, hair; and neck
    torso           torso; or neck, in some conversions
    upper arms      luarm, ruarm
    lower arms      llarm, rlarm, lhand, rhand
    upper legs      luleg, ruleg
    lower legs      llleg, rlleg, lfoot, rfoot

Parts of a person overlap, most of all the arms and the torso, so the order of painting counts. Which one was used for
the published masks is UNVERIFIED. Persons without parts, which are tiny, and all other objects are background.
Source: Chen et al. 2014, 2016; Xia et al. 2017; spec, data sets §2.4.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from pixelwise.data.answers import NOTHING, Answers
from pixelwise.data.decode import image_info
from pixelwise.data.folder import PairDataset, compare_counts
from pixelwise.data.layout import ARRAY_EXTENSIONS, Layout, checked_folder, directories
from pixelwise.data.lists import files_by_id, lists_in, pairs_by_lists, told_lists
from pixelwise.data.matlab import matlab_variables
from pixelwise.data.sample import DrawnMask, Pair, path_of
from pixelwise.data.sets.voc import listed_pairs, pictures_of_year
from pixelwise.errors import BadOption, DataError, MissingSplit
from pixelwise.labels import LabelSet

LABELS = LabelSet(("background", "head", "torso", "upper arms", "lower arms", "upper legs", "lower legs"))

Neck = Literal["head", "torso"]
Paint = Literal["coarse_first", "as_stored"]

_PARTS_OF: tuple[tuple[str, int], ...] = (  # part, class; from the coarse to the fine
    ("torso", 2),
    ("neck", 1),
    ("luleg", 5),
    ("ruleg", 5),
    ("llleg", 6),
    ("rlleg", 6),
    ("lfoot", 6),
    ("rfoot", 6),
    ("luarm", 3),
    ("ruarm", 3),
    ("llarm", 4),
    ("rlarm", 4),
    ("lhand", 4),
    ("rhand", 4),
    ("head", 1),
    ("hair", 1),
    ("lear", 1),
    ("rear", 1),
    ("lebrow", 1),
    ("rebrow", 1),
    ("leye", 1),
    ("reye", 1),
    ("nose", 1),
    ("mouth", 1),
)
_CLASS = dict(_PARTS_OF)
_RANK = {name: rank for rank, (name, _) in enumerate(_PARTS_OF)}
_NECK: dict[Neck, int] = {"head": 1, "torso": 2}

_MASKS = "pascal_person_part_gt"
_LISTS = "pascal_person_part_trainval_list"
_PARTS = "Annotations_Part"
_COUNTS = {"train": (1716, 1717), "val": (1817, 1818)}  # DeepLab's, RefineNet's
_SITE = "https://roozbehm.info/pascal-parts/trainval.tar.gz"


def person_part(
    root: str | Path, split: str = "train", *, neck: Neck = "head", paint: Paint = "coarse_first"
) -> PairDataset:
    """PASCAL-Person-Part: the published masks of six parts; or PASCAL-Part's, merged, where an option asks for it.

    Args:
        root: the folder that holds pascal_person_part_gt or Annotations_Part, VOC 2010's JPEGImages, and the lists.
        split: "train" (1 716), "val" (1 817), "trainval"; lists in pascal_person_part_trainval_list or beside the
            masks. "all": every picture that has a mask; of PASCAL-Part also those without people.
        neck: the class of the neck; the published masks have it in the head.
        paint: of PASCAL-Part, which parts of a person lie on top: "coarse_first" paints the torso, then the neck, legs
            and feet, arms and hands, the head and what is in it; "as_stored" as the parts follow each other in the
            file. Of two people the later one lies on top.

    Raises:
        DataError: masks, pictures or lists are missing; a list is empty or names a picture twice; from
            `dataset[i]`, a file of PASCAL-Part is damaged or holds something else.
        BadOption: no such neck or paint, or there is no Annotations_Part to merge.
    """
    if neck not in get_args(Neck):
        raise BadOption(f"neck is head or torso, got {neck!r}")
    if paint not in get_args(Paint):
        raise BadOption(f"paint is coarse_first or as_stored, got {paint!r}")
    folder = checked_folder(root)
    places = directories(folder, 3)
    gt = next((d / _MASKS for d in places if (d / _MASKS).is_dir()), None)
    parts = next((d / _PARTS for d in places if (d / _PARTS).is_dir()), None)
    if gt is None and parts is None:
        raise DataError(
            f"no {_MASKS} and no {_PARTS} under {folder} or up to three folders below; pass the folder that holds one "
            f"of them (PASCAL-Part: {_SITE})"
        )
    usual = neck == "head" and paint == "coarse_first"
    if parts is None and not usual:
        asked = "neck='torso'" if neck == "torso" else f"paint={paint!r}"
        raise BadOption(f"{gt} holds masks that are merged already; {asked} needs {_PARTS} ({_SITE})")
    if gt is not None and usual:
        masks, home = files_by_id(gt), gt.parent
        notes = [f"{parts} is passed over; neck and paint are options of it"] if parts is not None else []
    else:
        assert parts is not None
        masks, home = files_by_id(parts, ARRAY_EXTENSIONS), parts.parent
        notes = [f"merged from PASCAL-Part, the neck in the {neck}, painted {paint.replace('_', ' ')}"]
    own = home / "JPEGImages"
    images = files_by_id(own if own.is_dir() else pictures_of_year(folder, 2010) / "JPEGImages")
    if split == "all":
        pairs = tuple(Pair(images.files[name], masks.files[name], name) for name in masks.files if name in images.files)
        if not pairs:
            raise DataError(f"no mask of {masks.folder} has a picture in {images.folder}; unpack both again, whole")
        lone = len(masks.files) - len(pairs)
        notes += [f"{lone} masks without a picture in {images.folder} are left out"] if lone else []
    else:
        pairs = listed_pairs(_official_lists(places, home, split), images, masks)
        official = _COUNTS.get(split, (len(pairs),))
        count = len(pairs) if len(pairs) in official else official[0]
        notes += compare_counts(f"{split} of PASCAL-Person-Part in {home}", len(pairs), count)
    if masks.folder == parts:
        pairs = tuple(_merged(pair, neck, paint) for pair in pairs)
    return PairDataset(pairs, LABELS, home, split, notes=notes)


@dataclass(frozen=True)
class MergedParts(DrawnMask):
    """The six parts of all people in a file of PASCAL-Part, painted over each other.

    Args:
        files: the file, and the picture, whose size counts where the file holds no object.
        neck, paint: see `person_part`.
    """

    path: Path
    files: tuple[Path, ...]
    neck: Neck
    paint: Paint

    def draw(self) -> tuple[NDArray[Any], int]:
        """(H, W) uint8, 0 background, 1–6; and nothing shared, since parts overlap by design."""
        objects = _objects(self.path)
        size = _mask(objects[0], self.path).shape if objects else image_info(self.files[1]).size
        values = np.zeros(size, np.uint8)
        for person in objects:
            if _text(person, "class", self.path) != "person":
                continue
            parts = [
                (_text(part, "part_name", self.path), _mask(part, self.path))
                for part in _structures(person, "parts", self.path)
            ]
            for name, mask in parts:
                if name not in _CLASS:
                    raise DataError(f"{self.path} holds a person's part {name!r}; expected {', '.join(_CLASS)}")
                if mask.shape != size:
                    raise DataError(
                        f"{self.path} holds a mask of {mask.shape[0]} × {mask.shape[1]} for {name}, others of "
                        f"{size[0]} × {size[1]}; expected one size: download it again"
                    )
            if self.paint == "coarse_first":
                parts.sort(key=lambda part: _RANK[part[0]])
            for name, mask in parts:
                values[mask] = _NECK[self.neck] if name == "neck" else _CLASS[name]
        return values, 0

    @property
    def key(self) -> str:
        """The file and how it is merged."""
        return f"{self.path} neck={self.neck} paint={self.paint}"


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
            f"expected {_MASKS}/<id>.png: the data set person_part merges them (--dataset person_part)"
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


def _official_lists(places: list[Path], home: Path, split: str) -> list[Path]:
    """The lists of a split; of trainval both where there is no own one.

    Raises:
        MissingSplit: there is none.
    """
    folders = [*(d / _LISTS for d in places if (d / _LISTS).is_dir()), home / "ImageSets" / "Person", home]
    for names in ([split], ["train", "val"]) if split == "trainval" else ([split],):
        for folder in folders:
            found = [folder / f"{name}.txt" for name in names]
            if all(path.is_file() for path in found):
                return found
    raise MissingSplit(
        f"no {split}.txt in {_LISTS} under {places[0]} or in {home}; put the lists of PASCAL-Person-Part's authors "
        "there, or take the split all"
    )


def _merged(pair: Pair, neck: Neck, paint: Paint) -> Pair:
    assert pair.mask is not None
    path, picture = path_of(pair.mask), path_of(pair.image)
    return Pair(picture, MergedParts(path, (path, picture), neck, paint), pair.name)


def _objects(path: Path) -> list[Any]:
    """The structures of anno.objects."""
    variables = matlab_variables(path)
    anno = variables.get("anno")
    if not isinstance(anno, np.ndarray) or anno.dtype.names is None or anno.size != 1:
        held = ", ".join(variables) or "nothing"
        raise DataError(f"{path} holds {held}; expected PASCAL-Part's structure anno: download it again")
    return _structures(anno.ravel()[0], "objects", path)


def _field(structure: Any, name: str, path: Path) -> NDArray[Any]:
    if name not in (structure.dtype.names or ()):
        raise DataError(f"{path} lacks the field {name}; expected PASCAL-Part's structures: download it again")
    return np.asarray(structure[name])


def _structures(structure: Any, name: str, path: Path) -> list[Any]:
    """A field that is an array of structures; of none, it may be an array of numbers."""
    held = _field(structure, name, path)
    if held.size and held.dtype.names is None:
        raise DataError(f"{path} holds no structures in {name}; expected PASCAL-Part's: download it again")
    return list(held.ravel())


def _text(structure: Any, name: str, path: Path) -> str:
    return "".join(str(letters) for letters in _field(structure, name, path).ravel())


def _mask(structure: Any, path: Path) -> NDArray[np.bool_]:
    """(H, W): what is not 0."""
    held = _field(structure, "mask", path)
    if held.ndim != 2 or held.dtype.kind not in "uibf":
        raise DataError(f"{path} holds a mask that is no (H, W) array of numbers; download it again")
    inside: NDArray[np.bool_] = held != 0
    return inside
