"""PASCAL VOC 2011 and 2012: 20 kinds of objects and background, palette masks, 255 void at the outlines; with SBD.

    VOCdevkit/VOC2012/JPEGImages/<id>.jpg
                      SegmentationClass/<id>.png
                      ImageSets/Segmentation/{train,val,trainval,test}.txt      one id a line; or DeepLab's two paths
                      SegmentationClassAug/<id>.png                             SBD's masks and VOC's own, gray

The pictures of test have no masks. `SPLITS` holds the official numbers. Three sets are made of VOC's and SBD's files:

- voc2012_trainaug: all that VOC 2012 has for training and all of SBD, without what VOC 2012 has for validation: 10 582.
- seg11valid: what VOC 2011 has for validation without what SBD has for training: 736. FCN's scores are on it.
- seg12valid, a split of voc2012: the same of VOC 2012, 346. CRF-RNN's "reduced validation set".

The layout is also that of others: of later years, of CVAT's and datumaro's exports ("segmentation mask 1.1", lists
named after their subsets, as default.txt; labelmap.txt beside; perhaps sub-folders, or pictures elsewhere); and with
SegmentationClassAug, the masks of SBD added: SegmentationClass counts, `--as masks=SegmentationClassAug` takes the
other, with train_aug.txt for training where it is there.

Source: Everingham et al., The PASCAL Visual Object Classes Challenge; Hariharan et al. 2011; Long et al. 2015; Zheng et
al. 2015; spec, data sets §2.1, §2.2.
"""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from pixelwise.data.answers import NOTHING, Answers
from pixelwise.data.folder import PairDataset, compare_counts
from pixelwise.data.layout import ARRAY_EXTENSIONS, Fault, Layout, checked_folder, directories, normal, pictures_below
from pixelwise.data.lists import FilesById, files_by_id, lists_in, pairs_by_id, read_ids
from pixelwise.data.sample import Pair
from pixelwise.errors import BadOption, DataError, MissingSplit
from pixelwise.labels import VOID, LabelSet, pack_color, voc_color

_NAMES = (
    "background aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse motorbike person "
    "pottedplant sheep sofa train tvmonitor"
)
LABELS = LabelSet(tuple(_NAMES.split()))
COLOR_LABELS = LabelSet(  # the same for masks that were exported as RGB
    LABELS.names, table={pack_color(voc_color(i)): i for i in (*range(21), VOID)}, colors=True
)

_LISTS = Path("ImageSets", "Segmentation")
_YEAR = re.compile(r"VOC20\d\d")
_MASKS = ("SegmentationClass", "SegmentationClassAug")

SPLITS: dict[str, dict[str, int]] = {  # data set: {split: number of pictures}
    "voc2011": {"train": 1112, "val": 1111, "trainval": 2223, "test": 1111},  # all but train UNVERIFIED
    "voc2012": {"train": 1464, "val": 1449, "trainval": 2913, "test": 1456, "seg12valid": 346},
    "voc2012_trainaug": {"train": 10_582, "val": 1449, "trainval": 12_031, "test": 1456},
    "seg11valid": {"val": 736},
}

_SITE = "http://host.robots.ox.ac.uk/pascal/VOC"
_TARS = {
    2010: f"{_SITE}/voc2010/VOCtrainval_03-May-2010.tar",
    2011: f"{_SITE}/voc2011/VOCtrainval_25-May-2011.tar",
    2012: f"{_SITE}/voc2012/VOCtrainval_11-May-2012.tar",
}
SBD_SITE = "http://www.eecs.berkeley.edu/Research/Projects/CS/vision/grouping/semantic_contours/benchmark.tgz"
_FCN_LIST = "data/pascal/seg11valid.txt of github.com/shelhamer/fcn.berkeleyvision.org"


def voc2011(root: str | Path, split: str = "train") -> PairDataset:
    """PASCAL VOC 2011's segmentation part.

    Args:
        root: VOCdevkit/VOC2011, VOCdevkit, or a folder up to three above VOC2011.
        split: a list in ImageSets/Segmentation: "train" (1 112), "val", "trainval"; "test", which has no masks; …

    Raises:
        DataError: there is no VOC2011 or no such list, it is empty or names a picture twice, or a file that it names
            is missing.
    """
    home = _home(checked_folder(root), 2011)
    return _published(home, "voc2011", split)


def voc2012(root: str | Path, split: str = "train", *, sbd: str | Path | None = None) -> PairDataset:
    """PASCAL VOC 2012's segmentation part.

    Args:
        root: VOCdevkit/VOC2012, VOCdevkit, or a folder up to three above VOC2012.
        split: a list in ImageSets/Segmentation: "train" (1 464), "val" (1 449), "trainval"; "test" (1 456), which has
            no masks; …; or "seg12valid" (346), val without what SBD has for training.
        sbd: for seg12valid, the folder of SBD, of which train.txt is read; found beside `root` if left out.

    Raises:
        DataError: there is no VOC2012 or no such list, it is empty or names a picture twice, or a file that it names
            is missing; or there is no SBD for seg12valid.
        BadOption: SBD for another split.
    """
    folder = checked_folder(root)
    home = _home(folder, 2012)
    if split == "seg12valid":
        return _without_sbd(home, folder, "voc2012", split, sbd)
    if sbd is not None:
        raise BadOption(f"sbd is for the split seg12valid, got it for {split}; voc2012_trainaug trains on SBD, too")
    return _published(home, "voc2012", split)


def seg11valid(root: str | Path, split: str = "val", *, sbd: str | Path | None = None) -> PairDataset:
    """FCN's validation set: VOC 2011's without the pictures that SBD has for training, 736.

    Args:
        root: the folder of VOC 2011, as `voc2011` takes it; or one of VOC 2012 with FCN's list seg11valid.txt, whose
            masks are then those of 2012.
        split: "val".
        sbd: the folder of SBD, of which train.txt is read; if left out, seg11valid.txt in ImageSets/Segmentation is
            taken where it is, else SBD beside `root`.

    Raises:
        DataError: there is no VOC 2011, or no list and no SBD; or as `voc2011`.
    """
    if split != "val":
        raise MissingSplit(f"seg11valid has no split {split!r}; it has val: pass it")
    folder = checked_folder(root)
    later = _of_year(voc_homes(folder, 3), 2012)
    if sbd is None and later is not None and _of_year(voc_homes(folder, 3), 2011) is None:
        path = later / _LISTS / "seg11valid.txt"
        if path.is_file():
            pairs = listed_pairs([path], files_by_id(later / "JPEGImages"), _masks(later, None))
            counted = compare_counts(f"seg11valid in {later}", len(pairs), SPLITS["seg11valid"]["val"])
            told = (f"ids of {path}", "the masks are VOC 2012's; FCN's scores are on those of 2011", *counted)
            return PairDataset(pairs, LABELS, later, split, notes=told)
    return _without_sbd(_home(folder, 2011), folder, "seg11valid", split, sbd)


def voc2012_trainaug(root: str | Path, split: str = "train", *, sbd: str | Path | None = None) -> PairDataset:
    """VOC 2012 with SBD's masks added for training. Where VOC has a mask, it counts, with its void; SBD has none.

    The masks that are added are those of SegmentationClassAug in the folder of VOC or beside it, else SBD's own. The
    ids are those of a list train_aug.txt or trainaug.txt in ImageSets/Segmentation, ImageSets/SegmentationAug, list, or
    beside them, DeepLab's with paths, too; without one, all for training and SBD's without VOC's for validation.

    Args:
        root: the folder of VOC 2012, as `voc2012` takes it.
        split: "train" (10 582), "val" (VOC's, 1 449), "trainval" (both, 12 031); "test" (1 456), which has no masks.
        sbd: the folder of SBD, whose masks are then read; found beside `root` if left out.

    Raises:
        DataError: there is no VOC2012, neither SegmentationClassAug nor SBD, or a file is missing.
    """
    name = "voc2012_trainaug"
    folder = checked_folder(root)
    home = _home(folder, 2012)
    if split in ("val", "test"):
        return _published(home, name, split)
    if split not in SPLITS[name]:
        raise MissingSplit(f"{name} has no split {split!r}; it has {', '.join(SPLITS[name])}: pass one of them")
    places = list(dict.fromkeys((home, home.parent, home.parent.parent, folder)))
    aug = next((place / _MASKS[1] for place in places if (place / _MASKS[1]).is_dir()), None)
    images, own = files_by_id(home / "JPEGImages"), files_by_id(home / _MASKS[0])
    if sbd is None and aug is not None:
        added = files_by_id(aug)
        ids = list(added.files)
    else:
        other = sbd_home(folder, home, sbd, instead="or put SegmentationClassAug with its 12 031 masks there")
        added = files_by_id(other / "cls", ARRAY_EXTENSIONS)
        ids = [*list_ids(other / "train.txt"), *list_ids(other / "val.txt")]
        images = FilesById(images.folder, {**files_by_id(other / "img").files, **images.files})
    masks = FilesById(added.folder, {**added.files, **own.files})
    val = home / _LISTS / "val.txt"
    lists = [path for place in places for path in _aug_lists(place)]
    if lists:
        pairs = listed_pairs(lists[:1], images, masks)
        notes = [f"ids of {lists[0]}"]
    else:
        held = {*list_ids(val)}
        ids = [i for i in dict.fromkeys((*list_ids(home / _LISTS / "train.txt"), *ids)) if i not in held]
        pairs = _paired(ids, images, masks)
        notes = [f"ids of {home / _LISTS / 'train.txt'} and of {masks.folder}, without those of {val}"]
    if split == "trainval":
        pairs = (*pairs, *listed_pairs([val], images, masks))
        check_once([pair.name for pair in pairs], str(val))
    notes += compare_counts(f"{split} of {name} in {home}", len(pairs), SPLITS[name][split])
    return PairDataset(pairs, LABELS, home, split, notes=notes)


def voc_homes(root: Path, depth: int = 2) -> list[Path]:
    """The folders of VOC's layout at `root`, one below (VOCdevkit), two below, … down to `depth`."""
    return [
        home
        for home in directories(root, depth)
        if (home / _LISTS).is_dir()
        and any((home / part).is_dir() for part in ("JPEGImages", *_MASKS))
        and any((home / _LISTS).glob("*.txt"))
    ]


def pictures_of_year(root: Path, year: int) -> Path:
    """The folder under `root` with JPEGImages of a year: VOC2010, or one that is named after no year.

    Raises:
        DataError: there is none.
    """
    found = [home for home in directories(root, 3) if (home / "JPEGImages").is_dir()]
    home = _of_year(found, year)
    if home is None:
        raise DataError(
            f"no JPEGImages with VOC {year}'s pictures under {root}{_told_years(found)}; pass the folder that holds "
            f"both (download: {_TARS[year]})"
        )
    return home


def sbd_home(folder: Path, home: Path, told: str | Path | None, *, instead: str) -> Path:
    """The folder of SBD that holds train.txt, cls and img.

    Args:
        folder: what was opened; SBD is looked for there and beside it.
        home: the folder of VOC in it; SBD is looked for up to two above it.
        told: where it is, or above; looked for if left out.
        instead: what else would do, for the error.

    Raises:
        DataError: it is not there.
    """
    if told is not None:
        within = checked_folder(told)
        places = directories(within, 2)
        looked = str(within)
    else:
        bases = dict.fromkeys((folder, folder.absolute().parent, home, home.parent, home.parent.parent))
        named = [d for base in bases for d in directories(base, 1) if re.match(r"sbd|benchmark", d.name.lower())]
        places = [place for d in named for place in directories(d, 2)]
        looked = f"a folder sbd or benchmark_RELEASE in {', '.join(str(base) for base in bases)}"
    found = next((place for place in places if (place / "train.txt").is_file() and (place / "cls").is_dir()), None)
    if found is None:
        raise DataError(
            f"no SBD, a folder with train.txt and cls, in {looked}; download it ({SBD_SITE}) and pass it as sbd, "
            f"{instead}"
        )
    return found


def list_ids(path: Path) -> list[str]:
    """The ids of a list, the last parts of its paths where it has paths.

    Raises:
        DataError: it is missing, empty, or no UTF-8.
    """
    ids = [line.split()[-1].rsplit("/", 1)[-1] for _, line in read_ids(path)]
    if not ids:
        raise DataError(f"{path} is empty; expected one id a line: download it again")
    return ids


def listed_pairs(
    paths: Iterable[Path], images: FilesById, masks: FilesById, *, unlabelled: bool = False, start: str = ""
) -> tuple[Pair, ...]:
    """The pairs of one or more official lists of ids, each picture once.

    Args:
        unlabelled: a picture may have no mask.
        start: what the files' names begin with and the ids do not.

    Raises:
        DataError: a list is missing, empty, no UTF-8, or names a picture twice; or a file that it names is missing.
    """
    pairs: list[Pair] = []
    for path in paths:
        list_ids(path)
        found, faults = pairs_by_id(path, images, images if unlabelled else masks, start)
        if faults:
            raise DataError(faults[0].message)
        if unlabelled:
            found = tuple(replace(pair, mask=masks.files.get(pair.name)) for pair in found)
        pairs += found
        check_once([pair.name for pair in pairs], str(path))
    return tuple(pairs)


def check_once(names: Sequence[str], path: str) -> None:
    """Make sure that no picture stands twice in what was listed.

    Raises:
        DataError: one does.
    """
    name, count = Counter(names).most_common(1)[0]
    if count > 1:
        raise DataError(f"{path} lists {name}, which is listed before; expected each picture once: take the line out")


def _paired(ids: Collection[str], images: FilesById, masks: FilesById) -> tuple[Pair, ...]:
    """The pairs of ids.

    Raises:
        DataError: a file is missing.
    """
    for name in ids:
        for found in (images, masks):
            if name not in found.files:
                raise DataError(f"{found.folder} has no file for {name}; unpack the data set again, whole")
    return tuple(Pair(images.files[name], masks.files[name], name) for name in ids)


def _aug_lists(place: Path) -> list[Path]:
    """The lists for training with SBD's masks in the folders where they are put."""
    folders = (place / _LISTS, place / "ImageSets" / "SegmentationAug", place / "list", place)
    named = [folder / name for folder in folders for name in ("train_aug.txt", "trainaug.txt")]
    return [path for path in named if path.is_file()]


def _published(home: Path, name: str, split: str) -> PairDataset:
    """A split by its list in ImageSets/Segmentation; trainval by those of train and val where it has none.

    Raises:
        MissingSplit: there is no such list.
    """
    paths = [home / _LISTS / f"{split}.txt"]
    halves = [home / _LISTS / f"{half}.txt" for half in ("train", "val")]
    if split == "trainval" and not paths[0].is_file() and all(half.is_file() for half in halves):
        paths = halves
    if not paths[0].is_file():
        there = ", ".join(sorted(file.stem for file in (home / _LISTS).glob("*.txt")))
        test = f"; the test set is a download of its own ({_SITE})" if split == "test" else ""
        raise MissingSplit(f"there is no file {paths[0]}; there are lists for {there}: pass one of them{test}")
    hidden = split == "test"
    masks = files_by_id(home / _MASKS[0]) if hidden else _masks(home, None)
    pairs = listed_pairs(paths, files_by_id(home / "JPEGImages"), masks, unlabelled=hidden)
    notes = compare_counts(f"{split} of {name} in {home}", len(pairs), SPLITS[name].get(split, len(pairs)))
    if hidden and all(pair.mask is None for pair in pairs):
        notes = ("the masks of the test set are not published", *notes)
    return PairDataset(pairs, LABELS, home, split, notes=notes)


def _without_sbd(home: Path, folder: Path, name: str, split: str, sbd: str | Path | None) -> PairDataset:
    """What VOC has for validation and SBD does not have for training."""
    called = "seg12valid" if name == "voc2012" else name
    path, val = home / _LISTS / f"{called}.txt", home / _LISTS / "val.txt"
    images, masks = files_by_id(home / "JPEGImages"), _masks(home, None)
    if sbd is None and path.is_file():
        pairs, told = listed_pairs([path], images, masks), f"ids of {path}"
    else:
        fcn = f" ({_FCN_LIST})" if called == "seg11valid" else ""
        train = (
            sbd_home(folder, home, sbd, instead=f"or put the list {path.name} into {path.parent}{fcn}") / "train.txt"
        )
        trained = {*list_ids(train)}
        pairs = tuple(pair for pair in listed_pairs([val], images, masks) if pair.name not in trained)
        told = f"ids of {val} that {train} does not list"
    counted = compare_counts(f"{called} in {home}", len(pairs), SPLITS[name][split])
    return PairDataset(pairs, LABELS, home, split, notes=(told, *counted))


def _home(root: Path, year: int) -> Path:
    """The folder of VOC's layout of a year under `root`, or of no year.

    Raises:
        DataError: there is none.
    """
    found = voc_homes(root, 3)
    home = _of_year(found, year)
    if home is None:
        raise DataError(
            f"no VOC{year} with JPEGImages and {_LISTS} under {root}{_told_years(found)}; pass the folder that holds "
            f"VOCdevkit (download: {_TARS[year]})"
        )
    return home


def _of_year(homes: Sequence[Path], year: int) -> Path | None:
    """The first folder that is named after a year, else the first that is named after none."""
    named = [home for home in homes if home.name == f"VOC{year}"]
    return next(iter((*named, *(home for home in homes if not _YEAR.fullmatch(home.name)))), None)


def _told_years(homes: Sequence[Path]) -> str:
    """Which other years there are, in words."""
    return f" (there is {', '.join(home.name for home in homes)})" if homes else " or up to three folders below"


def voc_layout(root: Path, answers: Answers = NOTHING) -> Layout | None:
    """The layout of a folder that is, or holds, one VOC devkit; None where it does not.

    train.txt and val.txt are taken, test.txt too where its masks exist; without them trainval.txt, or a single list of
    another name for all (default.txt), as "all".

    Raises:
        DataError: it holds two devkits, none of the lists, no masks, or no pictures.
    """
    homes = voc_homes(root)
    if not homes:
        return None
    if len(homes) > 1:
        raise DataError(
            f"{root} holds {len(homes)} sets in VOC's layout, {homes[0].name} and {homes[1].name}; "
            f"which one is meant? Pass {homes[0]} or {homes[1]}"
        )
    home = homes[0]
    masks = _masks(home, answers.masks)
    images = _images(home, root, masks)
    notes: list[str] = []
    found = {split: paths[0] for split, paths in lists_in(home / _LISTS).items()}
    if masks.folder.name == "SegmentationClassAug":
        aug = next((p for p in sorted((home / _LISTS).glob("train*aug.txt")) if "val" not in p.name), None)
        if aug is not None:
            found["train"] = aug
            notes.append(f"{aug.name} is the list for training")
    elif (home / "SegmentationClassAug").is_dir():
        count = sum(len(files) for files in pictures_below(home / "SegmentationClassAug").values())
        notes.append(
            f"SegmentationClassAug holds {count} masks, too; --as masks=SegmentationClassAug takes them instead"
        )
    if "train" in found:
        found.pop("all", None)
    elif "all" in found:
        found = {"all": found["all"]}
    splits: dict[str, tuple[Pair, ...]] = {}
    faults: list[Fault] = []
    for split, path in found.items():
        pairs, missing = pairs_by_id(path, images, masks)
        if split == "test" and len(missing) == len(pairs) + len(missing):
            continue  # the test set's masks are not published
        splits[split] = pairs
        faults += missing
    if not splits:
        raise DataError(f"no train.txt, val.txt or trainval.txt in {home / _LISTS}; expected lists of ids: write them")
    if not any(splits.values()):
        raise DataError(f"none of the pictures listed in {home / _LISTS} has both files: {faults[0].message}")
    official = _YEAR.fullmatch(home.name) is not None
    exported = (home / "labelmap.txt").is_file()
    what = "VOC's layout with labelmap.txt, as CVAT exports it" if exported else "PASCAL VOC devkit"
    return Layout(
        root=home,
        name=f"{what} ({home.name})",
        rule=f"ids of {_LISTS}: {images.folder.name}/<id> with {masks.folder.name}/<id>",
        splits={split: pairs for split, pairs in splits.items() if pairs},
        faults=tuple(faults),
        notes=tuple(notes),
        labels=(LABELS, COLOR_LABELS) if official and not exported else (),
    )


def _masks(home: Path, wanted: str | None) -> FilesById:
    """The masks of the folder that is wanted, else of SegmentationClass; where that is …Aug, what it lacks from there.

    Raises:
        DataError: there is no such folder.
    """
    names = [name for name in _MASKS if (home / name).is_dir()]
    if wanted is not None:
        name = wanted.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1].lower()
        chosen = [path for path in directories(home, 1)[1:] if path.name.lower() == name]
        if not chosen:
            raise DataError(
                f"there is no folder of masks {wanted} in {home}; there are {', '.join(names)}: answer with one of them"
            )
        masks = files_by_id(chosen[0])
        if name == "segmentationclassaug":
            return FilesById(masks.folder, {**files_by_id(home / "SegmentationClass").files, **masks.files})
        return masks
    if not names:
        raise DataError(f"no SegmentationClass in {home}; expected a mask <id>.png there for each listed picture")
    return files_by_id(home / names[0])


def _images(home: Path, root: Path, masks: FilesById) -> FilesById:
    """The pictures of JPEGImages; where there is none, of the folder beside the masks that holds most of their ids.

    Raises:
        DataError: there is no such folder.
    """
    images = files_by_id(home / "JPEGImages")
    if images.files:
        return images
    places = dict.fromkeys([*directories(home, 1), *(directories(home.parent, 1) if home != root else ())])
    tried = []
    for place in places:
        if home.parent != place and place != home and not place.name.startswith("Segmentation"):
            with suppress(DataError):  # a folder with two files of one name is none of pictures by ids
                tried.append(files_by_id(place))
    direct = {normal(file.stem): file for file in pictures_below(home).get(home, ())}
    best = max([*tried, FilesById(home, direct)], key=lambda files: len(files.files.keys() & masks.files.keys()))
    if not best.files.keys() & masks.files.keys():
        raise DataError(
            f"{home} holds {len(masks.files)} masks but no pictures for them; expected JPEGImages/<id>.jpg: "
            "export again with the pictures (CVAT: 'save images'), or put them there"
        )
    return best
