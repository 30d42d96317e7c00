"""ADE20K's full set: thousands of classes, coded in the colors of *_seg.png.

    images/ADE/training/<scene>/…/ADE_train_<id>.jpg     and beside it, for each picture:
    ADE_train_<id>_seg.png                               class = R // 10 · 256 + G, instance = B, class 0 unlabelled
    ADE_train_<id>_parts_1.png, …                        parts of objects; passed over
    ADE_train_<id>.json or ADE_train_<id>_atr.txt        the objects' names

The classes are those that occur, by their numbers. Names come from the JSON, which gives numbers with them, or from the
text, which gives instances: the color says which class an instance is of. The challenge's 150 classes are another set.

Source: Zhou et al. 2019, Semantic understanding of scenes through the ADE20K dataset, and the set's own description.
"""

import re
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixelwise.data.answers import NOTHING, Answers
from pixelwise.data.decode import decode_mask
from pixelwise.data.formats.finding import (
    counted,
    fault_of,
    files_ending,
    into_splits,
    read_json,
    split_of_directory,
    unique_names,
)
from pixelwise.data.layout import Fault, Layout, normal, read_text
from pixelwise.data.sample import DrawnMask, Pair
from pixelwise.errors import DataError
from pixelwise.labels import VOID, VOID_16, LabelSet

_PICTURE = re.compile(r"ADE_(train|val|test|frame)_[^/]*", re.IGNORECASE)
_WORKERS = 2


@dataclass(frozen=True, eq=False)
class SegMask(DrawnMask):
    """The classes in a *_seg.png: the set's own numbers, 0 where nothing is labelled."""

    path: Path

    @property
    def files(self) -> tuple[Path, ...]:  # type: ignore[override]  # one file, always
        """The one file."""
        return (self.path,)

    def draw(self) -> tuple[NDArray[np.uint16], int]:
        """(class numbers (H, W), 0).

        Raises:
            DataError: the file cannot be read, or holds no colors.
        """
        return _split_colors(self.path)[0], 0

    @property
    def key(self) -> str:
        """The file, and that it is read by this code."""
        return f"{self.path}#ADE20K"


def ade20k_full_layout(root: Path, answers: Answers = NOTHING) -> Layout | None:
    """The layout of ADE20K's full set; None for any other folder.

    Where pictures have no JSON, their masks are read once to learn which classes occur; that takes its time.

    Raises:
        DataError: no picture has a mask, or none of the masks can be read.
    """
    masks = {
        path.with_name(path.name[: -len("_seg.png")]): path
        for path in files_ending(root, "_seg.png")
        if _PICTURE.fullmatch(path.name)
    }
    if not masks:
        return None
    images = {path.with_suffix(""): path for path in files_ending(root, ".jpg") if _PICTURE.fullmatch(path.stem)}
    both = [place for place in masks if place in images]
    if not both:
        first = next(iter(masks.values()))
        raise DataError(f"{first} has no picture beside it; expected {first.name[:-8]}.jpg there: add it")
    faults = [
        Fault("warning", "orphan", path, f"{path} has no {partner} and is left out", f"add the {partner}")
        for partner, mine, theirs in (("mask *_seg.png", images, masks), ("picture", masks, images))
        for place, path in mine.items()
        if place not in theirs
    ]
    names, wrong = _class_names([(images[place], masks[place]) for place in both])
    faults += wrong
    labels = _labels(names)
    unique = unique_names([images[place] for place in both], root)
    listed = [
        (_split(images[place], root), Pair(images[place], SegMask(masks[place]), unique[images[place]]))
        for place in both
    ]
    unnamed = sum(not found for found in names.values())
    notes = [f"{counted(labels.num_classes, 'class occurs', 'classes occur')}; what is unlabelled is void"]
    if unnamed:
        notes.append(f"{counted(unnamed, 'class has', 'classes have')} no name in a JSON or text beside the pictures")
    return Layout(
        root=root,
        name="ADE20K, the full set",
        rule="ADE_…jpg with ADE_…_seg.png, whose red and green are the class: R // 10 · 256 + G",
        splits=into_splits(listed, root),
        faults=tuple(faults),
        notes=tuple(notes),
        labels=(labels,),
    )


def _split(image: Path, root: Path) -> str | None:
    named = {"train": "train", "val": "val", "test": "test"}.get(image.name.split("_")[1].lower())
    return named or split_of_directory(image, root)


def _split_colors(path: Path) -> tuple[NDArray[np.uint16], NDArray[np.uint8]]:
    """(class numbers, instances), (H, W) each."""
    packed = decode_mask(path)
    if packed.dtype != np.uint32:
        raise DataError(f"{path} holds no colors; expected class and instance in red, green and blue: get it anew")
    classes = ((packed >> 16) // 10 << 8 | (packed >> 8 & 255)).astype(np.uint16)
    return classes, (packed & 255).astype(np.uint8)


@lru_cache(maxsize=1 << 16)
def _occurring(path: Path, modified: int) -> tuple[tuple[int, int], ...]:
    """(class, instance) of all that is in a mask."""
    classes, instances = _split_colors(path)
    both = np.unique(classes.astype(np.uint32) << 8 | instances)
    return tuple((int(value) >> 8, int(value) & 255) for value in both)


def _class_names(files: list[tuple[Path, Path]]) -> tuple[dict[int, str], list[Fault]]:
    """{class that occurs: its most frequent name, or nothing}."""
    found: dict[int, Counter[str]] = {}
    faults: list[Fault] = []
    unknown: list[tuple[Path, Path]] = []
    for image, mask in files:
        try:
            told = _json_names(image.with_suffix(".json"))
        except DataError as error:
            faults.append(replace(fault_of(error, image.with_suffix(".json")), severity="warning"))
            told = None
        if told is None:
            unknown.append((image, mask))
        for number, name in told or ():
            found.setdefault(number, Counter())[name] += 1
    with ThreadPoolExecutor(_WORKERS) as pool:
        for (image, _), result in zip(unknown, pool.map(_look, [mask for _, mask in unknown]), strict=True):
            instances = _text_names(image.with_name(f"{image.stem}_atr.txt")) if result else {}
            for number, instance in result:
                names = found.setdefault(number, Counter())
                if instance in instances:
                    names[instances[instance]] += 1
    found.pop(0, None)
    if not found:
        raise DataError(
            f"none of the {counted(len(files), 'mask')} holds a class, the first is {files[0][1]}; expected colors of "
            "ADE20K's full set: get it anew"
        )
    return {number: (found[number].most_common(1)[0][0] if found[number] else "") for number in sorted(found)}, faults


def _look(mask: Path) -> tuple[tuple[int, int], ...]:
    try:
        return _occurring(mask, mask.stat().st_mtime_ns)
    except (DataError, OSError):
        return ()  # the doctor tells of it when it draws the mask


def _json_names(path: Path) -> list[tuple[int, str]] | None:
    """(class, name) of each object, not part; None where there is no JSON.

    Raises:
        DataError: it is damaged, or another's.
    """
    if not path.is_file():
        return None
    record = read_json(path)
    annotation = record.get("annotation") if isinstance(record, dict) else None
    objects = annotation.get("object") if isinstance(annotation, dict) else None
    if not isinstance(objects, list):
        raise DataError(f"{path} has no annotation with objects; get it anew")
    return [
        (thing["name_ndx"], normal(str(thing.get("name", "")).strip()))
        for thing in objects
        if isinstance(thing, dict) and isinstance(thing.get("name_ndx"), int) and not _is_part(thing)
    ]


def _is_part(thing: dict[str, Any]) -> bool:
    parts = thing.get("parts")
    level = parts.get("part_level", 0) if isinstance(parts, dict) else 0
    return level not in (0, "0", [])


def _text_names(path: Path) -> dict[int, str]:
    """{instance: name} of the objects in a *_atr.txt.

    A line is: instance # part level # occluded # name # raw name # attributes.
    """
    if not path.is_file():
        return {}
    try:
        lines = read_text(path).splitlines()
    except DataError:
        return {}
    names = {}
    for line in lines:
        fields = [field.strip() for field in line.split("#")]
        if len(fields) >= 4 and fields[0].isdigit() and fields[1] == "0":
            names[int(fields[0])] = normal(fields[3])
    return names


def _labels(names: dict[int, str]) -> LabelSet:
    """The classes by their numbers; a name that several have gets the number behind it."""
    often = Counter(names.values())
    told = tuple(
        f"class {number}" if not name else f"{name} ({number})" if often[name] > 1 else name
        for number, name in names.items()
    )
    void = VOID if len(told) <= VOID else VOID_16
    return LabelSet(told, table={number: i for i, number in enumerate(names)} | {0: void})
