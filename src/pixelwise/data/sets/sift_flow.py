"""SIFT Flow: 2 688 outdoor scenes of 256 × 256, each pixel with one of 33 semantic and one of 3 geometric classes.

    SiftFlowDataset/Images/spatial_envelope_256x256_static_8outdoorcategories/<id>.jpg
    SiftFlowDataset/SemanticLabels/<the same>/<id>.mat      S: 0 void, 1–33
    SiftFlowDataset/GeoLabels/<the same>/<id>.mat           S: −1 void, 1 sky, 2 horizontal, 3 vertical
    trainval.txt, test.txt                                  one id a line, in the folder or the one above

The lists are FCN's: 2 486 pictures to train, 200 to test; highway_bost181 and street_urb506 are not annotated and in
neither. Without trainval.txt, all annotated pictures that test.txt does not name are for training. Cow, desert and moon
are in no picture of the test set, so that means over classes are over 30.

Source: Liu et al. 2011; Tighe and Lazebnik 2010 (geometric classes); Long et al. 2015; spec, data sets §2.7.
"""

from dataclasses import replace
from pathlib import Path

from pixelwise.data.answers import NOTHING, Answers
from pixelwise.data.folder import PairDataset, compare_counts
from pixelwise.data.layout import ARRAY_EXTENSIONS, Fault, Layout, checked_folder, directories
from pixelwise.data.lists import FilesById, files_by_id, pairs_by_id, read_ids
from pixelwise.data.sample import Pair
from pixelwise.data.sets.voc import check_once
from pixelwise.errors import DataError, MissingSplit
from pixelwise.labels import VOID, LabelSet

_NAMES = (
    "awning balcony bird boat bridge building bus car cow crosswalk desert door fence field grass moon mountain person "
    "plant pole river road rock sand sea sidewalk sign sky staircase streetlight sun tree window"
)
LABELS = LabelSet(tuple(_NAMES.split()), table={0: VOID} | {i + 1: i for i in range(33)})
GEOMETRIC_LABELS = LabelSet(  # FCN sets −1 to 0 first, so both are void
    ("sky", "horizontal", "vertical"), table={-1: VOID, 0: VOID, 1: 0, 2: 1, 3: 2}
)
ABSENT = ("cow", "desert", "moon")
"""The semantic classes that no picture of the test set has."""

NOT_ANNOTATED = ("highway_bost181", "street_urb506")

_BELOW = "spatial_envelope_256x256_static_8outdoorcategories"
_FOLDERS = {"SemanticLabels": LABELS, "GeoLabels": GEOMETRIC_LABELS}
_LISTS = {"trainval": ("trainval.txt", "train.txt"), "test": ("test.txt",)}
_COUNTS = {"trainval": 2486, "test": 200, "all": 2686}
_SITE = "http://www.cs.unc.edu/~jtighe/Papers/ECCV10/siftflow/SiftFlowDataset.zip"
_LISTED = "data/sift-flow of github.com/shelhamer/fcn.berkeleyvision.org"


def sift_flow(root: str | Path, split: str = "trainval") -> PairDataset:
    """SIFT Flow with two heads: "labels", 33 semantic classes, and "geometric", 3.

    Args:
        root: the folder with Images, SemanticLabels and GeoLabels, or the one above.
        split: "trainval" (2 486, also called "train"), "test" (200), or "all" that are annotated.

    Raises:
        DataError: a folder, a list, or a file that it names is missing.
    """
    folder = checked_folder(root)
    home = _home(folder)
    if home is None or not (home / "GeoLabels").is_dir():
        raise DataError(
            f"no Images with SemanticLabels and GeoLabels under {root}; pass the folder that holds them "
            f"(download: {_SITE})"
        )
    split = "trainval" if split == "train" else split
    if split not in _COUNTS:
        raise MissingSplit(f"sift_flow has no split {split!r}; it has trainval, test and all: pass one of them")
    pairs, faults, notes = _pairs(home, split, "SemanticLabels")
    if faults:
        raise DataError(faults[0].message)
    if not pairs:
        raise DataError(f"the list of {split} in {home} or above names no picture; expected one id a line: mend it")
    check_once([pair.name for pair in pairs], f"the list of {split} in {home} or above")
    geometric = _masks(home, "GeoLabels")
    both = []
    for pair in pairs:
        if pair.name not in geometric.files:
            raise DataError(f"{geometric.folder} has no {pair.name}.mat; unpack the data set again")
        both.append(replace(pair, more={"geometric": geometric.files[pair.name]}))
    return PairDataset(
        both,
        {"labels": LABELS, "geometric": GEOMETRIC_LABELS},
        home,
        split,
        notes=(*notes, *compare_counts(f"{split} of SIFT Flow in {home}", len(both), _COUNTS[split])),
        absent={"labels": ABSENT} if split == "test" else {},
    )


def sift_flow_layout(root: Path, answers: Answers = NOTHING) -> Layout | None:
    """The layout of a folder that holds SIFT Flow, with its semantic labels; None where it does not.

    Raises:
        DataError: no picture has a mask, or there are no such masks as were wanted.
    """
    home = _home(root)
    if home is None:
        return None
    there = [name for name in _FOLDERS if (home / name).is_dir()]
    wanted = (answers.masks or there[0]).replace("\\", "/").rstrip("/").rsplit("/", 1)[-1]
    name = next((name for name in there if name.lower() == wanted.lower()), None)
    if name is None:
        raise DataError(f"there is no folder of masks {answers.masks} in {home}; there are {', '.join(there)}")
    splits: dict[str, tuple[Pair, ...]] = {}
    faults: list[Fault] = []
    listed = _list(home, "test") is not None
    for split, part in (("trainval", "train"), ("test", "test")) if listed else (("all", "all"),):
        pairs, missing, _ = _pairs(home, split, name)
        splits[part] = tuple(pairs)
        faults += missing
    if not any(splits.values()):
        raise DataError(f"no picture of {home / 'Images'} has a mask in {home / name}; unpack the data set again")
    return Layout(
        root=home,
        name=f"SIFT Flow, {_FOLDERS[name].num_classes} classes",
        rule=f"Images/{_BELOW}/<id> with {name}/{_BELOW}/<id>",
        splits=splits,
        faults=tuple(faults),
        notes=tuple(f"{other} is there, too; --as masks={other} takes it" for other in there if other != name),
        labels=(_FOLDERS[name],),
    )


def _home(root: Path) -> Path | None:
    """The nearest folder, `root` or one below, that holds pictures and semantic labels."""
    return next((d for d in directories(root, 1) if (d / "Images").is_dir() and (d / "SemanticLabels").is_dir()), None)


def _masks(home: Path, part: str) -> FilesById:
    return files_by_id(_inner(home / part), ARRAY_EXTENSIONS)


def _inner(folder: Path) -> Path:
    return folder / _BELOW if (folder / _BELOW).is_dir() else folder


def _list(home: Path, split: str) -> Path | None:
    """The list of a split, in the folder or the one above."""
    places = [place / name for place in (home, home.parent) for name in _LISTS[split]]
    return next((path for path in places if path.is_file()), None)


def _pairs(home: Path, split: str, part: str) -> tuple[list[Pair], list[Fault], list[str]]:
    """The pairs of a split, an error for each line of its list that leads nowhere, and notes.

    Raises:
        MissingSplit: there is no list for it.
    """
    images, masks = files_by_id(_inner(home / "Images")), _masks(home, part)
    path = None if split == "all" else _list(home, split)
    if path is not None:
        pairs, faults = pairs_by_id(path, images, masks)
        return list(pairs), faults, []
    test: set[str] = set()
    if split != "all":
        listed = _list(home, "test")
        if listed is None:
            raise MissingSplit(
                f"no test.txt in {home} or above, the list of the 200 pictures to test; take it from {_LISTED}"
            )
        test = {written.rsplit("/", 1)[-1] for _, written in read_ids(listed)}
    chosen = [name for name in images.files if name not in test and name not in NOT_ANNOTATED]
    bare = [name for name in chosen if name not in masks.files]
    notes = [f"{len(bare)} pictures have no labels, as {images.files[bare[0]]}, and are left out"] if bare else []
    return [Pair(images.files[name], masks.files[name], name) for name in chosen if name in masks.files], [], notes
