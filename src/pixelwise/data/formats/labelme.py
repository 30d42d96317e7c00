"""LabelMe: one JSON for each picture, with outlines of all kinds.

    <name>.jpg  <name>.json       side by side, or the JSON files in a folder of their own; with train, val, test or not

A JSON holds shapes (label, points, shape_type), imagePath, imageHeight, imageWidth and perhaps the picture itself in
imageData. Shapes are drawn in their order, later ones on top; what none covers is background. Where the picture is not
there but imageData is, the picture is written into the cache (PIXELWISE_CACHE, or ~/.cache/pixelwise).

Source: the files that LabelMe (github.com/wkentaro/labelme) writes.
"""

import base64
import binascii
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from pixelwise.data.answers import NOTHING, Answers
from pixelwise.data.decode import IMAGE_EXTENSIONS, image_info
from pixelwise.data.formats.finding import (
    Pictures,
    counted,
    fault_of,
    files_ending,
    head,
    into_splits,
    is_background,
    is_void,
    read_json,
    shape_fault,
    size_of,
    split_of_directory,
    unique_names,
)
from pixelwise.data.formats.shapes import Drawing, Shape, bitmap, circle, discs, flaw, line, polygon, rectangle
from pixelwise.data.layout import Fault, Layout, normal
from pixelwise.data.sample import Pair
from pixelwise.data.values.classnames import ClassNames, find_class_names
from pixelwise.errors import DataError
from pixelwise.files import cache_folder, replacing
from pixelwise.labels import VOID, VOID_16, LabelSet

_MARKS = (b'"shapes"', b'"imagePath"', b'"imageData"')
_KINDS = frozenset("polygon rectangle oriented_rectangle circle line linestrip point points mask".split())


@dataclass(frozen=True)
class _Annotation:
    """One JSON and its picture."""

    path: Path
    image: Path
    size: tuple[int, int]
    shapes: tuple[Any, ...]


@dataclass(frozen=True)
class _Classes:
    """The numbers of the labels."""

    labels: LabelSet
    values: dict[str, int]
    background: int
    source: str


def labelme_layout(root: Path, answers: Answers = NOTHING) -> Layout | None:
    """The layout of a folder with LabelMe's JSON files; None where there are none.

    Raises:
        DataError: none of the JSON files can be read, or none has a picture.
    """
    files = files_ending(root, ".json")
    marked = [path for path in files if any(mark in head(path)[:4096] for mark in _MARKS)]
    if answers.masks is not None:
        marked = [path for path in marked if _is_in(path, root, answers.masks)]
    if not marked:
        return None
    pictures = Pictures(root)
    found, faults = _annotations(marked, pictures, root)
    if not found:
        raise DataError(
            f"none of the {counted(len(marked), 'JSON file')} under {root} can be used: {faults[0].message}"
        )
    classes = _classes(found, root)
    names = unique_names([annotation.image for annotation in found], root)
    listed = []
    unlisted = 0  # pictures with a class that the list lacks
    for annotation in found:
        shapes, wrong = _shapes(annotation, classes)
        faults += wrong
        unlisted += any(fault.kind == "value" for fault in wrong)
        mask = Drawing(
            annotation.path,
            (annotation.path,),
            annotation.path.stem,
            annotation.size,
            shapes,
            background=classes.background,
            void=classes.labels.void,
        )
        split = split_of_directory(annotation.path, root) or split_of_directory(annotation.image, root)
        listed.append((split, Pair(annotation.image, mask, names[annotation.image])))
    if unlisted == len(found):
        first = next(fault for fault in faults if fault.kind == "value")
        raise DataError(f"none of the {counted(len(found), 'JSON file')} under {root} can be used: {first.message}")
    used = {annotation.image for annotation in found}
    for image in pictures.left_over(used):
        reason = f"{image} has no JSON and is left out"
        faults.append(
            Fault("warning", "orphan", image, reason, "label it, or save an empty JSON if it is all background")
        )
    notes = [f"classes in the order of {classes.source}"] if classes.source else []
    empty = sum(not annotation.shapes for annotation in found)
    if empty:
        notes.append(f"{counted(empty, 'JSON file has', 'JSON files have')} no shapes: all background")
    others = len(files) - len(marked)
    if others:
        notes.append(f"{counted(others, 'other JSON file')} passed over")
    return Layout(
        root=root,
        name="LabelMe (a JSON with outlines for each picture)",
        rule="each JSON belongs to the picture that its imagePath names, or else to the one with its own name; shapes "
        "are drawn in their order, later ones on top, and the rest is background",
        splits=into_splits(listed, root),
        faults=tuple(faults),
        notes=tuple(notes),
        labels=(classes.labels,),
    )


def _is_in(path: Path, root: Path, place: str) -> bool:
    """Whether a file is in the directory that was answered: a path below the root, or a directory's name."""
    below = path.parent.relative_to(root)
    return place in below.parts or below.is_relative_to(place.strip("/")) or place == "."


def _annotations(files: list[Path], pictures: Pictures, root: Path) -> tuple[list[_Annotation], list[Fault]]:
    found: dict[Path, _Annotation] = {}
    faults: list[Fault] = []
    for path in files:
        try:
            record = read_json(path)
            shapes = record.get("shapes") if isinstance(record, dict) else None
            if not isinstance(shapes, list):
                raise DataError(
                    f'{path} is no JSON of LabelMe; expected "shapes", a list: remove it or export it again'
                )
        except DataError as error:
            faults.append(fault_of(error, path))
            continue
        try:
            image = _picture(record, path, pictures, root)
            if image is None:
                reason = f"{path} is for {_image_name(record, path)}, which is not there, and holds no imageData"
                faults.append(Fault("error", "missing", path, reason, "add the picture or remove the JSON"))
                continue
            size = size_of(record, "imageHeight", "imageWidth") or image_info(image).size
        except DataError as error:
            faults.append(fault_of(error, path))
            continue
        if image in found:
            reason = f"{found[image].path} and {path} are both for {image}; the second is left out"
            faults.append(Fault("error", "twin", path, reason, "remove one, or correct its imagePath"))
            continue
        found[image] = _Annotation(path, image, size, tuple(shapes))
    return list(found.values()), faults


def _image_name(record: dict[str, Any], path: Path) -> str:
    written = record.get("imagePath")
    return written if isinstance(written, str) and written else f"{path.stem}.*"


def _picture(record: dict[str, Any], path: Path, pictures: Pictures, root: Path) -> Path | None:
    written = record.get("imagePath")
    split = split_of_directory(path, root)
    image = pictures.written(written, path, split) if isinstance(written, str) else None
    image = image or pictures.named(path.stem, path, split)
    if image is None and isinstance(record.get("imageData"), str) and record["imageData"]:
        return _embedded(record, path)
    return image


def _embedded(record: dict[str, Any], path: Path) -> Path:
    """The picture that a JSON holds, as a file in the cache.

    Raises:
        DataError: it is no picture, or the cache cannot be written to.
    """
    data = record["imageData"]
    try:
        content = base64.b64decode(data.partition(",")[2] if data.startswith("data:") else data)
    except (binascii.Error, ValueError) as error:
        raise DataError(f"{path} has imageData that is not base64 ({error}); add the picture itself") from error
    if not content:
        raise DataError(f"{path} has imageData that is empty; add the picture itself")
    written = PurePosixPath(_image_name(record, path).replace("\\", "/"))
    suffix = written.suffix if written.suffix.lower() in IMAGE_EXTENSIONS else ".png"
    digest = hashlib.blake2b(content, digest_size=12).hexdigest()
    image = cache_folder() / "embedded" / digest / f"{path.stem}{suffix}"
    try:
        if not image.is_file() or image.stat().st_size != len(content):
            with replacing(image) as beside:
                beside.write_bytes(content)
    except OSError as error:
        raise DataError(
            f"{path} holds its picture in imageData, but it cannot be written to {image} ({error.strerror}); "
            "add the picture itself, or name a folder in PIXELWISE_CACHE that can be written to"
        ) from error
    return image


def _label(shape: Any) -> str | None:
    label = shape.get("label") if isinstance(shape, dict) else None
    return normal(label.strip()) if isinstance(label, str) and label.strip() else None


def _classes(found: list[_Annotation], root: Path) -> _Classes:
    """Background first, then the file's order, or the names in sorted order."""
    present = sorted({label for annotation in found for shape in annotation.shapes if (label := _label(shape))})
    listed = find_class_names({annotation.path.parent for annotation in found}, root, tables=False)
    palette = {}
    if listed is None:
        ordered = [label for label in present if not is_background(label) and not is_void(label)]
    else:
        ordered = [normal(listed.names[i]) for i in listed.classes]
        palette = _palette(listed)
    if any(is_background(label) for label in ordered):
        names = tuple(ordered)  # it stands where the file has it
    else:
        names = (next((label for label in present if is_background(label)), "background"), *ordered)
    void = VOID if len(names) <= VOID else VOID_16
    values = {label: void for label in present if is_void(label)}
    if listed is not None:
        values |= {normal(name): void for i, name in enumerate(listed.names) if i not in listed.classes}
    values |= {name: i for i, name in enumerate(names)}
    base = next(i for i, name in enumerate(names) if is_background(name))
    values |= {label: base for label in present if is_background(label)}
    names = tuple("background" if is_background(name) else name for name in names)
    colors = tuple(palette.get(name, (0, 0, 0)) for name in names) if palette else ()
    return _Classes(LabelSet(names, colors), values, base, listed.path.name if listed is not None else "")


def _palette(listed: ClassNames) -> dict[str, tuple[int, int, int]]:
    if listed.colors is None:
        return {}
    return {normal(listed.names[i]): listed.colors[i] for i in listed.classes}


def _shapes(annotation: _Annotation, classes: _Classes) -> tuple[tuple[Shape, ...], list[Fault]]:
    """The shapes of one JSON, without those that cannot be drawn."""
    shapes: list[Shape] = []
    faults: list[Fault] = []
    for number, raw in enumerate(annotation.shapes, 1):
        label = _label(raw)
        told = f"{annotation.path}, shape {number}" + (f" ({label})" if label else "")
        if label is not None and label not in classes.values:
            faults.append(
                Fault(
                    "error",
                    "value",
                    annotation.path,
                    f"{told}, is of a class that {classes.source} does not list, so that {annotation.image.name} is "
                    "left out",
                    "correct the label or add the class",
                    annotation.image,
                )
            )
            continue
        lost: Path | None = annotation.image
        try:
            if label is None:
                raise DataError("has no label; expected the name of a class")
            shape = _shape(classes.values[label], raw)
            reason, lost = flaw(shape, annotation.size), None
        except DataError as error:
            reason = str(error)
        if reason is None:
            shapes.append(shape)
        else:
            faults.append(shape_fault(annotation.path, told, reason, lost))
    return tuple(shapes), faults


def _shape(value: int, raw: dict[str, Any]) -> Shape:
    kind = str(raw.get("shape_type") or "polygon")
    points: Iterable[Any] = raw.get("points") or []
    if kind == "rectangle":
        return rectangle(value, points)
    if kind == "circle":
        return circle(value, points)
    if kind in ("line", "linestrip"):
        return line(value, points)
    if kind in ("point", "points"):
        return discs(value, points)
    if kind == "mask":
        return bitmap(value, points, raw.get("mask"))
    if kind not in _KINDS:
        raise DataError(f"is a {kind}; expected {', '.join(sorted(_KINDS))}")
    return polygon(value, [points])
