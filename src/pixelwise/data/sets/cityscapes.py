"""Cityscapes: 34 kinds of labels in street scenes, of which 19 are evaluated; the others are void then.

    leftImg8bit/{train,val,test}/<city>/<city>_<seq>_<frame>_leftImg8bit.png
    gtFine/{train,val,test}/<city>/<city>_<seq>_<frame>_gtFine_{labelIds,labelTrainIds,instanceIds,color}.png
                                   <city>_<seq>_<frame>_gtFine_polygons.json
    gtCoarse/{train,val,train_extra}/…                       the same with gtCoarse; train_extra has no others

2 975, 500, 1 525 and 19 998 pictures of 1024 × 2048. The published masks are labelIds (0…33; a license plate, −1, is
never drawn); labelTrainIds (0…18, 255) are made from them by cityscapesScripts, whose labels.py is `TABLE`. Where there
are neither, masks are drawn from the polygons; color is read where there is nothing else, and there polegroup cannot be
told from pole, nor a license plate from a car. The masks of the test set are dummies and are not read.

The doctor takes gtFine, or gtCoarse by `--as masks=gtCoarse`, with train_extra as part of train.
Source: Cordts et al. 2016; cityscapesScripts (labels.py, json2labelImg, json2instanceImg); spec, data sets §2.5.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL import ImageDraw

from pixelwise.data.answers import NOTHING, Answers
from pixelwise.data.decode import decode_mask
from pixelwise.data.decoding.files import MAX_PIXELS
from pixelwise.data.folder import PairDataset, compare_counts
from pixelwise.data.formats.finding import read_json, size_of
from pixelwise.data.layout import Fault, Layout, checked_folder, directories
from pixelwise.data.sample import DrawnMask, MaskSource, Pair, path_of
from pixelwise.errors import BadOption, DataError, MissingSplit
from pixelwise.labels import VOID, Color, LabelSet, pack_color


class Label(NamedTuple):
    """A row of the table; `train_id` is 255 for what is not evaluated."""

    id: int
    name: str
    train_id: int
    color: Color
    category: str
    has_instances: bool = False


TABLE: tuple[Label, ...] = (
    Label(0, "unlabeled", VOID, (0, 0, 0), "void"),
    Label(1, "ego vehicle", VOID, (0, 0, 0), "void"),
    Label(2, "rectification border", VOID, (0, 0, 0), "void"),
    Label(3, "out of roi", VOID, (0, 0, 0), "void"),
    Label(4, "static", VOID, (0, 0, 0), "void"),
    Label(5, "dynamic", VOID, (111, 74, 0), "void"),
    Label(6, "ground", VOID, (81, 0, 81), "void"),
    Label(7, "road", 0, (128, 64, 128), "flat"),
    Label(8, "sidewalk", 1, (244, 35, 232), "flat"),
    Label(9, "parking", VOID, (250, 170, 160), "flat"),
    Label(10, "rail track", VOID, (230, 150, 140), "flat"),
    Label(11, "building", 2, (70, 70, 70), "construction"),
    Label(12, "wall", 3, (102, 102, 156), "construction"),
    Label(13, "fence", 4, (190, 153, 153), "construction"),
    Label(14, "guard rail", VOID, (180, 165, 180), "construction"),
    Label(15, "bridge", VOID, (150, 100, 100), "construction"),
    Label(16, "tunnel", VOID, (150, 120, 90), "construction"),
    Label(17, "pole", 5, (153, 153, 153), "object"),
    Label(18, "polegroup", VOID, (153, 153, 153), "object"),
    Label(19, "traffic light", 6, (250, 170, 30), "object"),
    Label(20, "traffic sign", 7, (220, 220, 0), "object"),
    Label(21, "vegetation", 8, (107, 142, 35), "nature"),
    Label(22, "terrain", 9, (152, 251, 152), "nature"),
    Label(23, "sky", 10, (70, 130, 180), "sky"),
    Label(24, "person", 11, (220, 20, 60), "human", True),
    Label(25, "rider", 12, (255, 0, 0), "human", True),
    Label(26, "car", 13, (0, 0, 142), "vehicle", True),
    Label(27, "truck", 14, (0, 0, 70), "vehicle", True),
    Label(28, "bus", 15, (0, 60, 100), "vehicle", True),
    Label(29, "caravan", VOID, (0, 0, 90), "vehicle", True),
    Label(30, "trailer", VOID, (0, 0, 110), "vehicle", True),
    Label(31, "train", 16, (0, 80, 100), "vehicle", True),
    Label(32, "motorcycle", 17, (0, 0, 230), "vehicle", True),
    Label(33, "bicycle", 18, (119, 11, 32), "vehicle", True),
    Label(-1, "license plate", VOID, (0, 0, 142), "vehicle"),
)
"""labels.py of cityscapesScripts, in its order; the trainId of a license plate is −1 there, which is void, too."""

_EVALUATED = tuple(row for row in TABLE if row.train_id != VOID)
_WITH_ID = tuple(row for row in TABLE if row.id >= 0)
_BY_NAME = {row.name: row for row in TABLE}

TRAIN_IDS_TO_IDS: tuple[int, ...] = tuple(row.id for row in _EVALUATED)
"""The label id of each trainId 0…18: what the files for the test server hold."""

CATEGORIES: dict[str, tuple[int, ...]] = {
    category: tuple(row.id for row in _EVALUATED if row.category == category)
    for category in dict.fromkeys(row.category for row in _EVALUATED)
}
"""{category: label ids of its evaluated classes}, the 7 of the category score."""

INSTANCE_CLASSES: dict[int, str] = {row.id: row.name for row in TABLE if row.has_instances}
"""{label id: name} of the 10 classes whose objects are told apart."""

_NAMES = tuple(row.name for row in _EVALUATED)
_PALETTE = tuple(row.color for row in _EVALUATED)
LABELS = LabelSet(_NAMES, _PALETTE, {row.id: row.train_id for row in TABLE} | {VOID: VOID})  # −1 is 255 in 8-bit files
TRAIN_ID_LABELS = LabelSet(_NAMES, _PALETTE, {i: i for i in range(19)} | {-1: VOID, VOID: VOID})
ID_LABELS = LabelSet(
    tuple(row.name for row in _WITH_ID),
    tuple(row.color for row in _WITH_ID),
    {row.id: row.id for row in _WITH_ID} | {-1: VOID, VOID: VOID},
)
COLOR_LABELS = LabelSet(
    _NAMES,
    _PALETTE,
    # an evaluated class has a color before all others
    {pack_color(row.color): row.train_id for row in sorted(TABLE, key=lambda row: row.train_id != VOID)},
    colors=True,
)

Masks = Literal["fine", "coarse"]
Classes = Literal["train", "ids"]

_SPLITS = ("train", "val", "test")
_KINDS = {  # the ending of a mask's name: its classes; the first that is there is taken
    "labelIds.png": LABELS,
    "labelTrainIds.png": TRAIN_ID_LABELS,
    "polygons.json": LABELS,
    "color.png": COLOR_LABELS,
}
_ID_KINDS = {"labelIds.png": ID_LABELS, "polygons.json": ID_LABELS}
_TOLD = {
    "polygons.json": "masks are drawn from polygons.json, as cityscapesScripts draws them",
    "color.png": "of Cityscapes' masks only the colors are there: polegroup counts as pole, plates as car",
}
_TRUTHS: dict[Masks, str] = {"fine": "gtFine", "coarse": "gtCoarse"}
_COUNTS = {"train": 2975, "val": 500, "test": 1525, "train_extra": 19998}
_PACKAGES = {
    "leftImg8bit": "leftImg8bit_trainvaltest.zip",
    "gtFine": "gtFine_trainvaltest.zip",
    "gtCoarse": "gtCoarse.zip",
}
_SITE = "https://www.cityscapes-dataset.com/downloads"
_LEFT = "_leftImg8bit"


class CityscapesDataset(PairDataset):
    """Cityscapes' pictures and masks, and its instances beside them."""

    def instances(self, index: int, /) -> NDArray[np.int32]:
        """The instances of a picture, (H, W): label id · 1000 + number for a single object, the label id elsewhere.

        They are read from instanceIds.png beside the mask, else drawn from polygons.json. iIoU takes them:
        `accumulator.update(prediction, target, name=name, instances=dataset.instances(i))` of the protocol cityscapes.

        Raises:
            DataError: the picture has none, or the file cannot be read.
        """
        pair = self.pairs[index]
        if pair.mask is None:
            raise DataError(f"{pair.image} has no instances: the labels of the test set are not published")
        mask = path_of(pair.mask)
        frame = mask.name.rpartition("_")[0]
        drawn, polygons = (mask.with_name(f"{frame}_{end}") for end in ("instanceIds.png", "polygons.json"))
        if drawn.is_file():
            return decode_mask(drawn).astype(np.int32)
        if polygons.is_file():
            return draw_polygons(polygons, instances=True)
        raise DataError(f"there is neither {drawn} nor {polygons.name} beside it; unpack the data set again")


@dataclass(frozen=True)
class PolygonMask(DrawnMask):
    """The label ids of one polygons.json."""

    path: Path
    files: tuple[Path, ...]

    def draw(self) -> tuple[NDArray[Any], int]:
        """(H, W) uint8, and nothing shared: what lies on top is meant to."""
        return draw_polygons(self.path).astype(np.uint8), 0


def cityscapes(
    root: str | Path, split: str = "train", *, masks: Masks = "fine", classes: Classes = "train"
) -> CityscapesDataset:
    """Cityscapes with its 19 classes, or with all ids.

    Args:
        root: the folder that holds leftImg8bit and gtFine, or the one above the folders of the unpacked archives.
        split: "train" (2 975), "val" (500), "test" (1 525, samples without targets), or "train_extra" (19 998, coarse).
        masks: "fine" or "coarse".
        classes: "train": the 19 that are evaluated, in the order of their trainIds; or "ids": the 34 label ids 0…33,
            where void is the license plate alone.

    Raises:
        BadOption: no such masks or classes, or fine masks of train_extra.
        MissingSplit: there is no such split, or not its pictures.
        DataError: the masks of a split are missing, or a picture has none.
    """
    if masks not in get_args(Masks) or classes not in get_args(Classes):
        wrong, values = ("masks", get_args(Masks)) if masks not in get_args(Masks) else ("classes", get_args(Classes))
        got = masks if wrong == "masks" else classes
        raise BadOption(f"{wrong} is one of {', '.join(values)}, got {got!r}")
    if split not in _COUNTS:
        raise MissingSplit(f"cityscapes has no split {split!r}; it has {', '.join(_COUNTS)}: pass one of them")
    if split == "train_extra" and masks == "fine":
        raise BadOption("train_extra has coarse masks alone; pass masks='coarse'")
    truth = _TRUTHS[masks]
    images, truths = _places(checked_folder(root), split, truth)
    kinds = _ID_KINDS if classes == "ids" else _KINDS
    pictures = [Pair(image, None, name) for image, name in _pictures(images)]
    pairs, labels = pictures, next(iter(kinds.values()))
    notes = compare_counts(f"{split} of Cityscapes in {images.parent.parent}", len(pictures), _COUNTS[split])
    if truths is None:
        notes += ("the labels of the test set are not published; its masks are dummies and are not read",)
    else:
        kind, pairs = _with_masks(pictures, truths, truth, kinds)
        labels = kinds[kind]
        notes += (_TOLD[kind],) if kind in _TOLD else ()
    return CityscapesDataset(pairs, labels, images.parent.parent, split, notes=notes)


def draw_polygons(path: Path, *, instances: bool = False) -> NDArray[np.int32]:
    """The label ids of a polygons.json, (H, W); with `instances` as in instanceIds.png.

    Objects are drawn in the file's order, later ones on top, on "unlabeled". A name that is not in the table and ends
    in "group" means several objects of the class before it; deleted objects and negative ids are not drawn. Pillow
    fills the polygons as for cityscapesScripts, so that the pixels are the same with the same Pillow.

    Raises:
        DataError: the file is no such JSON, or an object of it has an unknown label or is no polygon.
    """
    record = read_json(path)
    size = size_of(record, "imgHeight", "imgWidth") if isinstance(record, dict) else None
    if size is None or not isinstance(record.get("objects"), list):
        raise DataError(f"{path} is no annotation of Cityscapes; expected imgHeight, imgWidth and objects")
    if size[0] * size[1] > MAX_PIXELS:
        raise DataError(f"{path} says that it has {size[0]} × {size[1]} pixels; check imgHeight and imgWidth")
    picture = PillowImage.new("I", (size[1], size[0]), 0)
    draw = ImageDraw.Draw(picture)
    numbers = dict.fromkeys(INSTANCE_CLASSES, 0)
    for place, thing in enumerate(record["objects"], 1):
        if isinstance(thing, dict) and thing.get("deleted"):
            continue
        label, group = _label(thing, f"{path}, object {place},")
        value = label.id
        if instances and label.has_instances and not group:
            value = label.id * 1000 + numbers[label.id]
            numbers[label.id] += 1
        if label.id < 0:
            continue
        try:
            draw.polygon([(x, y) for x, y in thing["polygon"]], fill=value)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise DataError(
                f"{path}, object {place} ({label.name}), has no polygon ({error}); expected a list of [x, y]: "
                "download it again"
            ) from error
    return np.array(picture, np.int32)


def cityscapes_layout(root: Path, answers: Answers = NOTHING) -> Layout | None:
    """The layout of a folder that holds leftImg8bit and gtFine (or gtCoarse), or whose only folder does.

    Raises:
        DataError: none of its pictures has a mask.
    """
    for home in directories(root, 1):
        truths = [truth for truth in ("gtFine", "gtCoarse") if (home / truth).is_dir()]
        if truths and (home / "leftImg8bit").is_dir():
            wanted = (answers.masks or "").lower().rsplit("/", 1)[-1]
            truth = next((truth for truth in truths if truth.lower() == wanted), truths[0])
            layout = _layout(home, truth)
            if len(truths) == 2:
                other = truths[truth == truths[0]]
                return replace(layout, notes=(*layout.notes, f"{other} is there, too; --as masks={other} takes it"))
            return layout
    return None


def _label(thing: Any, told: str) -> tuple[Label, bool]:
    """(the row of an object, whether it is a group of several).

    Raises:
        DataError: it has no label, or one that is not in the table.
    """
    name = thing.get("label") if isinstance(thing, dict) else None
    if name in _BY_NAME:
        return _BY_NAME[name], False
    if isinstance(name, str) and name.removesuffix("group") in _BY_NAME:
        return _BY_NAME[name.removesuffix("group")], True
    raise DataError(f"{told} has the label {name!r}; expected one of Cityscapes', as car, or cargroup: correct it")


def _places(folder: Path, split: str, truth: str) -> tuple[Path, Path | None]:
    """(the folder of a split's pictures, that of its masks or None for the test set), at `folder` or one below.

    Raises:
        MissingSplit: there are no pictures.
        DataError: there are pictures, but no masks.
    """
    homes = directories(folder, 1)
    images = next((home / "leftImg8bit" / split for home in homes if (home / "leftImg8bit" / split).is_dir()), None)
    truths = next((home / truth / split for home in homes if (home / truth / split).is_dir()), None)
    if images is not None and (truths is not None or split == "test"):
        return images, None if split == "test" else truths
    missing = "leftImg8bit" if images is None else truth
    package = "leftImg8bit_trainextra.zip" if (missing, split) == ("leftImg8bit", "train_extra") else _PACKAGES[missing]
    both = f"leftImg8bit/{split}" + (f" with {truth}/{split}" if split != "test" else "")
    raise (MissingSplit if images is None else DataError)(
        f"no {both} under {folder}; pass the folder that holds both ({missing} is in {package}, download: {_SITE})"
    )


def _pictures(images: Path) -> list[tuple[Path, str]]:
    """(picture, its frame's name) of a split, by city and name."""
    return [
        (file, file.name.rsplit(_LEFT, 1)[0])
        for file in sorted(images.glob(f"*/*{_LEFT}.*"))
        if not file.name.startswith(".")
    ]


def _with_masks(pictures: list[Pair], truths: Path, truth: str, kinds: dict[str, LabelSet]) -> tuple[str, list[Pair]]:
    """(the kind of mask that most pictures have, the pictures with their masks).

    Raises:
        DataError: no picture has a mask of these kinds, or some have one and others do not.
    """
    there = {city.name: {file.name for file in city.iterdir()} for city in truths.iterdir() if city.is_dir()}

    def has(pair: Pair, kind: str) -> bool:
        return f"{pair.name}_{truth}_{kind}" in there.get(path_of(pair.image).parent.name, ())

    if not pictures:
        raise DataError(f"leftImg8bit/{truths.name} holds no <city>/*{_LEFT}.png; unpack it again (download: {_SITE})")
    counts = {kind: sum(has(pair, kind) for pair in pictures) for kind in kinds}
    kind = max(counts, key=lambda kind: counts[kind])
    if not counts[kind]:
        expected = " or ".join(f"*_{truth}_{kind}" for kind in kinds)
        hint = "; take classes='train' for labelTrainIds or color" if kinds is _ID_KINDS else ""
        raise DataError(
            f"no picture of {truths.name} has a mask in {truths}; expected {expected}: unpack it again{hint}"
        )
    pairs = []
    for pair in pictures:
        image = path_of(pair.image)
        mask = truths / image.parent.name / f"{pair.name}_{truth}_{kind}"
        if not has(pair, kind):
            raise DataError(f"{image} has no mask {mask.name} in {mask.parent}; add it or remove the picture")
        pairs.append(replace(pair, mask=_source(mask)))
    return kind, pairs


def _source(mask: Path) -> MaskSource:
    return PolygonMask(mask, (mask,)) if mask.suffix == ".json" else mask


def _layout(home: Path, truth: str) -> Layout:
    images: dict[str, list[tuple[Path, str, Path]]] = {}  # with the frame's name and the folder of their masks
    for split in (*_SPLITS, "train_extra"):
        if split != "train_extra" or truth == "gtCoarse":
            for file, name in _pictures(home / "leftImg8bit" / split):
                masks = home / truth / split / file.parent.name
                images.setdefault("train" if split == "train_extra" else split, []).append((file, name, masks))
    for kind, labels in _KINDS.items():  # the whole set is read in one way
        splits: dict[str, tuple[Pair, ...]] = {}
        faults: list[Fault] = []
        notes: list[str] = []
        for split in (split for split in _SPLITS if split in images):
            pairs, lone = [], []
            for image, name, masks in images[split]:
                mask = masks / f"{name}_{truth}_{kind}"
                if mask.is_file():
                    pairs.append(Pair(image, _source(mask), name))
                else:
                    lone.append((image, mask))
            if pairs:
                splits[split] = tuple(pairs)
            elif split == "test":
                notes.append(f"the {len(lone)} pictures of test have no masks and are left out")
                continue
            for image, mask in lone:
                reason = f"{image} has no mask {mask.name} in {mask.parent}"
                severity: Literal["error", "warning"] = "warning" if split == "test" else "error"
                faults.append(Fault(severity, "orphan", image, reason, "add it or remove the picture"))
        if splits:
            if kind in _TOLD:
                notes.append(_TOLD[kind])
            return Layout(
                root=home,
                name=f"Cityscapes (leftImg8bit and {truth})",
                rule=f"<city>_<seq>_<frame>_leftImg8bit with <city>_<seq>_<frame>_{truth}_{kind.partition('.')[0]}",
                splits=splits,
                faults=tuple(faults),
                notes=tuple(notes),
                labels=(labels,),
            )
    raise DataError(
        f"no picture of {home / 'leftImg8bit'} has a mask *_{truth}_labelIds.png in {home / truth}; "
        "expected the same <split>/<city>/ on both sides: put them there"
    )
