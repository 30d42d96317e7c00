"""PASCAL VOC 2012: 20 kinds of objects and background, palette masks, 255 void at the outlines.

    VOCdevkit/VOC2012/JPEGImages/<id>.jpg
                      SegmentationClass/<id>.png
                      ImageSets/Segmentation/{train,val,trainval,test}.txt      one id a line

The layout is also that of others: of later years, of CVAT's and datumaro's exports ("segmentation mask 1.1", lists
named after their subsets, as default.txt; labelmap.txt beside; perhaps sub-folders, or pictures elsewhere); and with
SegmentationClassAug, the masks of SBD added: SegmentationClass counts, `--as masks=SegmentationClassAug` takes the
other, with train_aug.txt for training where it is there.

Source: Everingham et al., The PASCAL Visual Object Classes Challenge; 1 464 pictures to train, 1 449 to validate.
"""

import re
from pathlib import Path

from pixelwise.data.answers import NOTHING, Answers
from pixelwise.data.folder import PairDataset
from pixelwise.data.layout import Fault, Layout, checked_folder, directories, normal, pictures_below
from pixelwise.data.lists import FilesById, files_by_id, lists_in, pairs_by_id
from pixelwise.data.sample import Pair
from pixelwise.errors import DataError
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
_MASKS = ("SegmentationClass", "SegmentationClassAug")


def voc2012(root: str | Path, split: str = "train") -> PairDataset:
    """PASCAL VOC 2012's segmentation part.

    Args:
        root: VOCdevkit/VOC2012, VOCdevkit, or the folder that contains it.
        split: a list in ImageSets/Segmentation: "train", "val", "trainval", …

    Raises:
        DataError: there is no VOC2012 or no such list, or a file that the list names is missing.
    """
    homes = [home for home in voc_homes(checked_folder(root)) if home.name == "VOC2012"] or voc_homes(Path(root))
    if not homes:
        raise DataError(f"no VOC2012 with JPEGImages and {_LISTS} under {root}; pass the folder that holds VOCdevkit")
    pairs, faults = pairs_by_id(
        homes[0] / _LISTS / f"{split}.txt", files_by_id(homes[0] / "JPEGImages"), _masks(homes[0], None)
    )
    if faults:
        raise DataError(faults[0].message)
    return PairDataset(pairs, LABELS, homes[0], split)


def voc_homes(root: Path) -> list[Path]:
    """The folders of VOC's layout at `root`, one below (VOCdevkit) or two below."""
    return [
        home
        for home in directories(root, 2)
        if (home / _LISTS).is_dir()
        and any((home / part).is_dir() for part in ("JPEGImages", *_MASKS))
        and any((home / _LISTS).glob("*.txt"))
    ]


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
    official = re.fullmatch(r"VOC20\d\d", home.name) is not None
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
    tried = [
        files_by_id(place)
        for place in places
        if home.parent != place and place != home and not place.name.startswith("Segmentation")
    ]
    direct = {normal(file.stem): file for file in pictures_below(home).get(home, ())}
    best = max([*tried, FilesById(home, direct)], key=lambda files: len(files.files.keys() & masks.files.keys()))
    if not best.files.keys() & masks.files.keys():
        raise DataError(
            f"{home} holds {len(masks.files)} masks but no pictures for them; expected JPEGImages/<id>.jpg: "
            "export again with the pictures (CVAT: 'save images'), or put them there"
        )
    return best
