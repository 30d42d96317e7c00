"""PASCAL VOC 2012: 20 kinds of objects and background, palette masks, 255 void at the outlines.

    VOCdevkit/VOC2012/JPEGImages/<id>.jpg
                      SegmentationClass/<id>.png
                      ImageSets/Segmentation/{train,val,trainval,test}.txt      one id a line

Source: Everingham et al., The PASCAL Visual Object Classes Challenge; 1 464 pictures to train, 1 449 to validate.
"""

import re
from pathlib import Path

from pixelwise.data.folder import PairDataset
from pixelwise.data.layout import Fault, Layout, checked_folder, directories, normal, read_text
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
    pairs, faults = _listed(homes[0], homes[0] / _LISTS / f"{split}.txt", _mask_folder(homes[0]))
    if faults:
        raise DataError(faults[0].message)
    return PairDataset(pairs, LABELS, homes[0], split)


def voc_homes(root: Path) -> list[Path]:
    """The folders of VOC's layout at `root`, one below (VOCdevkit) or two below."""
    return [
        home
        for home in directories(root, 2)
        if (home / "JPEGImages").is_dir() and (home / _LISTS).is_dir() and any((home / _LISTS).glob("*.txt"))
    ]


def voc_layout(root: Path) -> Layout | None:
    """The layout of a folder that is, or holds, one VOC devkit; None where it does not.

    train.txt and val.txt are taken, test.txt too where its masks exist; without them trainval.txt as "all".

    Raises:
        DataError: it holds two devkits, or none of the lists.
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
    masks = _mask_folder(home)
    splits: dict[str, tuple[Pair, ...]] = {}
    faults: list[Fault] = []
    wanted = {"train": "train", "val": "val", "test": "test"}
    if not (home / _LISTS / "train.txt").is_file():
        wanted = {"all": "trainval"} if (home / _LISTS / "trainval.txt").is_file() else {"val": "val"}
    for split, name in wanted.items():
        path = home / _LISTS / f"{name}.txt"
        if not path.is_file():
            continue
        pairs, missing = _listed(home, path, masks)
        if split == "test" and len(missing) == len(pairs) + len(missing):
            continue  # the test set's masks are not published
        splits[split] = pairs
        faults += missing
    if not splits:
        raise DataError(f"no train.txt, val.txt or trainval.txt in {home / _LISTS}; expected lists of ids: write them")
    if not any(splits.values()):
        raise DataError(f"none of the pictures listed in {home / _LISTS} has both files: {faults[0].message}")
    official = re.fullmatch(r"VOC20\d\d", home.name) is not None
    return Layout(
        root=home,
        name=f"PASCAL VOC devkit ({home.name})",
        rule=f"ids of {_LISTS}: JPEGImages/<id>.jpg with {masks.name}/<id>.png",
        splits=splits,
        faults=tuple(faults),
        labels=(LABELS, COLOR_LABELS) if official else (),
    )


def _mask_folder(home: Path) -> Path:
    for name in ("SegmentationClass", "SegmentationClassAug"):
        if (home / name).is_dir():
            return home / name
    raise DataError(f"no SegmentationClass in {home}; expected a mask <id>.png there for each listed picture")


def _listed(home: Path, path: Path, masks: Path) -> tuple[tuple[Pair, ...], list[Fault]]:
    """The pairs of a list of ids, and an error for each id that misses a file."""
    images = {normal(file.stem): file for file in sorted((home / "JPEGImages").iterdir())}
    targets = {normal(file.stem): file for file in sorted(masks.iterdir())}
    pairs, faults = [], []
    for number, line in enumerate(read_text(path).splitlines(), 1):
        name = normal(line.strip())
        if not name:
            continue
        for folder, files in ((home / "JPEGImages", images), (masks, targets)):
            if name not in files:
                faults.append(
                    Fault(
                        "error",
                        folder,
                        f"{path}, line {number}, lists {name}, but {folder} has no such file; "
                        "add it or take the line out",
                    )
                )
                break
        else:
            pairs.append(Pair(images[name], targets[name], name))
    return tuple(pairs), faults
