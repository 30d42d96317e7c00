"""COCO's JSON: one file for many pictures, with polygons or run lengths for each object.

    annotations/instances_train2017.json   train2017/*.jpg            COCO itself
    train/_annotations.coco.json           train/*.jpg                Roboflow; valid/ and test/ alike
    annotations.json, result.json          images/*.jpg               CVAT, Label Studio and others

The numbers of categories may have gaps: the classes are background and the categories in the order of their ids. Where
objects of different classes overlap, the smaller lies on top, so that nothing is hidden. A region of a crowd is of its
category. Ids are matched by their text: 7 and "7" are one.

Source: Lin et al. 2014, Microsoft COCO, and the format of its annotation files.
"""

from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixelwise.data.answers import NOTHING, Answers
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
    split_of,
    split_of_directory,
    unique_names,
)
from pixelwise.data.formats.shapes import Drawing, Shape, area, flaw, polygon, runs
from pixelwise.data.layout import Fault, Layout, normal
from pixelwise.data.sample import Pair
from pixelwise.errors import DataError
from pixelwise.labels import VOID, VOID_16, LabelSet

_FARTHEST = 1e7  # a coordinate beyond is no coordinate
_MARKS = (b'"file_name"', b'"image_id"', b'"supercategory"', b'"categories"')
_OTHER_TASKS = ("captions_", "person_keypoints_", "image_info_", "stuff_", "panoptic_")


@dataclass(frozen=True)
class CocoFile:
    """One JSON.

    Attributes:
        images: {id: entry}.
        categories: {id: entry}.
    """

    path: Path
    images: dict[int | str, dict[str, Any]]
    categories: dict[int | str | None, dict[str, Any]]
    annotations: list[dict[str, Any]]


@dataclass(frozen=True)
class _Classes:
    labels: LabelSet
    values: dict[int | str | None, int]
    """{category id: value in the drawing}"""


def coco_layout(root: Path, answers: Answers = NOTHING) -> Layout | None:
    """The layout of a folder with COCO's JSON files; None where there are none.

    Raises:
        DataError: they hold boxes or panoptic segments only, contradict each other, or have no pictures here.
    """
    candidates = [path for path in files_ending(root, ".json") if any(mark in head(path) for mark in _MARKS)]
    if answers.masks is not None:
        candidates = [path for path in candidates if answers.masks in (*path.relative_to(root).parts, path.stem)]
    if any(path.name.startswith("instances_") for path in candidates):
        candidates = [path for path in candidates if not path.name.startswith(_OTHER_TASKS)]
    files, faults = _read(candidates)
    if not files:
        return None
    boxes = next((file for file in files if file.annotations), None)
    if boxes is not None and not any(_has_outline(a) for file in files for a in file.annotations):
        raise DataError(
            f"{boxes.path} holds boxes only; expected a segmentation with each annotation: boxes are not masks, "
            "draw outlines or export them too"
        )
    pictures = Pictures(root)
    classes = _classes(files)
    drawn: dict[Path, tuple[CocoFile, dict[str, Any]]] = {}
    notes: list[str] = []
    for file in files:
        found, wrong = _images(file, pictures, root)
        if not found and len(files) > 1:
            notes.append(f"{file.path.name} is passed over: none of its {counted(len(file.images), 'picture')} is here")
            continue
        faults += wrong
        for path, image in found.items():
            if path in drawn:
                reason = f"{drawn[path][0].path} and {file.path} both hold {path}; the second is left out"
                faults.append(Fault("error", "twin", path, reason, "remove the picture from one"))
            else:
                drawn[path] = file, image
    if not drawn:
        first = faults[0].message if faults else f"{files[0].path} lists no pictures"
        raise DataError(f"none of the pictures of {files[0].path} can be used: {first}")
    names = unique_names(drawn, root)
    by_image = {file.path: _by_image(file) for file in files}
    sound = {file.path: _SoundPolygons(file) for file in files}
    listed = []
    for path, (file, image) in drawn.items():
        split = split_of(file.path, root) or split_of_directory(path, root)
        annotations = by_image[file.path].get(id_of(image, "id"), [])
        shapes, wrong = _shapes(annotations, _size(image), classes, file, path, sound[file.path])
        faults += wrong
        name = str(image["file_name"])
        listed.append((split, Pair(path, _drawing(file, name, _size(image), shapes, classes), names[path])))
    for file in files:
        faults += _strays(file)
    for image_path in pictures.left_over(drawn):
        reason = f"{image_path} is in no JSON and is left out"
        faults.append(Fault("warning", "orphan", image_path, reason, "label it"))
    return Layout(
        root=root,
        name="COCO (" + ", ".join(file.path.name for file in files[:3]) + (", …)" if len(files) > 3 else ")"),
        rule="each picture by the file_name that the JSON gives it; the classes are background and the categories in "
        "the order of their ids; where objects overlap, the smaller lies on top",
        splits=into_splits(listed, root),
        faults=tuple(faults),
        notes=(*notes, *_notes(files, {(file.path, id_of(image, "id")) for file, image in drawn.values()})),
        labels=(classes.labels,),
    )


def _read(paths: list[Path]) -> tuple[list[CocoFile], list[Fault]]:
    """The files that are COCO's.

    Raises:
        DataError: the only ones are damaged, or hold panoptic segments.
    """
    files, faults = [], []
    panoptic = None
    damaged = []
    for path in paths:
        try:
            record = read_json(path)
        except DataError as error:
            damaged.append(error)
            faults.append(fault_of(error, path))
            continue
        if not isinstance(record, dict) or not all(isinstance(record.get(k), list) for k in ("images", "annotations")):
            continue
        if any(isinstance(a, dict) and "segments_info" in a for a in record["annotations"][:100]):
            panoptic = path
        elif isinstance(record.get("categories"), list):
            files.append(coco_file(path, record))
    if not files and panoptic is not None:
        raise DataError(
            f"{panoptic} is a panoptic JSON, whose segments lie in PNG files of its own code; expected polygons or run "
            "lengths: use instances_*.json, or write the classes of the segments into masks and pass images/ and masks/"
        )
    if not files and damaged:
        raise damaged[0]
    return files, faults


def coco_file(path: Path, record: dict[str, Any]) -> CocoFile:
    """What a JSON holds, its images and categories by their ids.

    Raises:
        DataError: an image or a category has no id or no name, or an id stands twice.
    """
    images: dict[Any, dict[str, Any]] = {}
    for number, image in enumerate(record["images"], 1):
        if not isinstance(image, dict) or not isinstance(image.get("file_name"), str) or id_of(image, "id") is None:
            raise DataError(f'{path}, image {number}, has no "id" or "file_name"; expected both: export it again')
        own = id_of(image, "id")
        if own in images:
            raise DataError(f"{path} gives the image id {image['id']} twice; expected one for each: export it again")
        images[own] = image
    categories: dict[int | str | None, dict[str, Any]] = {}
    for number, category in enumerate(record["categories"], 1):
        known = isinstance(category, dict) and isinstance(id_of(category, "id"), int)
        if not known or not isinstance(category.get("name"), str):
            raise DataError(
                f'{path}, category {number}, has no whole "id" or no "name"; expected both: export it again'
            )
        own = id_of(category, "id")
        if own in categories:
            raise DataError(f"{path} gives the category id {category['id']} twice; expected one for each: correct it")
        categories[own] = category
    return CocoFile(path, images, categories, [a for a in record["annotations"] if isinstance(a, dict)])


def _has_outline(annotation: dict[str, Any]) -> bool:
    outline = annotation.get("segmentation")
    return bool(outline.get("counts")) if isinstance(outline, dict) else bool(outline)


def _classes(files: list[CocoFile]) -> _Classes:
    """Background 0, then the categories in the order of their ids, but for placeholders.

    Raises:
        DataError: two files disagree about an id.
    """
    categories: dict[int, tuple[dict[str, Any], Path]] = {}
    for file in files:
        for number, category in file.categories.items():
            assert isinstance(number, int)  # `coco_file` took no other
            before, path = categories.setdefault(number, (category, file.path))
            if before["name"] != category["name"]:
                raise DataError(
                    f"{path} calls the category {number} {before['name']}, {file.path} calls it {category['name']}; "
                    "which is right? Pass the folder of one, or correct the other"
                )
    used = {id_of(a, "category_id") for file in files for a in file.annotations}
    groups = [c.get("supercategory") for c, _ in categories.values() if c.get("supercategory") != c["name"]]
    above = {group for group in groups if isinstance(group, str)}
    values: dict[int | str | None, int] = {}
    names = ["background"]
    voids: list[int | str | None] = []
    for number in sorted(categories):
        name = normal(categories[number][0]["name"].strip())
        if number not in used and name in above:
            continue  # the group's name, which Roboflow lists as a category
        if is_background(name):
            values[number] = 0
        elif is_void(name):
            voids.append(number)
        else:
            values[number] = len(names)
            names.append(name)
    twice = {name for name in names if names.count(name) > 1}
    told = {value: number for number, value in values.items()}
    unique = [f"{name} ({told.get(i, 0)})" if name in twice else name for i, name in enumerate(names)]
    void = VOID if len(unique) <= VOID else VOID_16
    return _Classes(LabelSet(tuple(unique)), values | dict.fromkeys(voids, void))


def _images(file: CocoFile, pictures: Pictures, root: Path) -> tuple[dict[Path, dict[str, Any]], list[Fault]]:
    """{picture: its entry}, and the entries without picture or size."""
    found: dict[Path, dict[str, Any]] = {}
    faults = []
    split = split_of(file.path, root)
    for image in file.images.values():
        name = image["file_name"]
        try:
            path = pictures.written(name, file.path, split)
        except DataError as error:
            faults.append(fault_of(error, file.path, "twin"))
            continue
        if path is None:
            reason = f"{file.path} lists {name}, but there is no such file under {root}"
            faults.append(Fault("error", "missing", file.path, reason, "add it or take it out of the JSON"))
        elif _size(image) == (0, 0):
            reason = f"{file.path} gives no height and width for {name}"
            faults.append(Fault("error", "size", path, reason, "export the JSON again"))
        elif path in found:
            reason = f"{file.path} lists {name} twice, as the images {found[path]['id']} and {image['id']}"
            faults.append(Fault("error", "twin", path, reason, "take one out"))
        else:
            found[path] = image
    return found, faults


def _size(image: dict[str, Any]) -> tuple[int, int]:
    """(height, width); (0, 0) where the JSON has none."""
    return size_of(image, "height", "width") or (0, 0)


def id_of(record: dict[str, Any], key: str) -> int | str | None:
    """A number or word that something else is found by, "7" as 7; None where there is neither."""
    value = record.get(key)
    if type(value) is int:
        return value
    if isinstance(value, str) and value.isascii() and value.isdigit() and str(int(value)) == value:
        return int(value)
    return value if isinstance(value, int | str) else None


def _by_image(file: CocoFile) -> dict[Any, list[tuple[int, dict[str, Any]]]]:
    """{image id: its annotations with their numbers}."""
    found: dict[Any, list[tuple[int, dict[str, Any]]]] = {}
    for number, annotation in enumerate(file.annotations, 1):
        found.setdefault(id_of(annotation, "image_id"), []).append((number, annotation))
    return found


def _drawing(file: CocoFile, name: str, size: tuple[int, int], shapes: Iterable[Shape], classes: _Classes) -> Drawing:
    return Drawing(file.path, (file.path,), name, size, tuple(shapes), void=classes.labels.void)


def _shapes(
    annotations: list[tuple[int, dict[str, Any]]],
    size: tuple[int, int],
    classes: _Classes,
    file: CocoFile,
    picture: Path,
    sound: "_SoundPolygons",
) -> tuple[list[Shape], list[Fault]]:
    """The shapes of one picture, the largest object first, and what cannot be drawn."""
    objects: list[tuple[float, list[Shape]]] = []
    faults = []
    for number, annotation in annotations:
        told = f"{file.path}, annotation {annotation.get('id', number)}"
        value = classes.values.get(id_of(annotation, "category_id"))
        if value is None:
            reason = (
                f"{told}, is of the category id {annotation.get('category_id')}, which the file does not list, so that "
                f"{picture.name} is left out"
            )
            faults.append(Fault("error", "value", file.path, reason, "add the category, or remove it", picture))
            continue
        told += f" ({_name(annotation, file)})"
        shapes, broken, unseen = _outline(value, annotation.get("segmentation"), size, sound)
        faults += [shape_fault(file.path, told, reason, picture) for reason in broken]
        faults += [shape_fault(file.path, told, reason) for reason in unseen]
        if shapes:
            objects.append((sum(pixels for pixels, _ in shapes), [shape for _, shape in shapes]))
    objects.sort(key=lambda one: -one[0])
    return [shape for _, shapes in objects for shape in shapes], faults


def _name(annotation: dict[str, Any], file: CocoFile) -> str:
    category = file.categories.get(id_of(annotation, "category_id"))
    return str(category["name"]) if category else "?"


def _outline(
    value: int, segmentation: Any, size: tuple[int, int], sound: "_SoundPolygons"
) -> tuple[list[tuple[float, Shape]], list[str], list[str]]:
    """([(area, shape)] of one object, why parts of it are lost, why the whole of it draws nothing).

    Small parts of a larger object are no fault.
    """
    if not segmentation:
        return [], ["has no segmentation; a box is no mask"], []
    shapes: list[tuple[float, Shape]] = []
    broken: list[str] = []
    unseen: list[str] = []
    if isinstance(segmentation, dict):
        parts: list[Any] = [segmentation]
    elif not isinstance(segmentation, list):
        return [], ["has a segmentation that is neither polygons nor run lengths"], []
    elif isinstance(segmentation[0], int | float):
        parts = [segmentation]
    else:
        parts = segmentation
    for part in parts:
        ring = sound.ring(part, size)
        if ring is not None:
            shapes.append((ring[0], Shape(value, "polygon", (ring[1],))))
            continue
        try:
            if isinstance(part, dict):
                shape = runs(value, part.get("counts"), _run_size(part, size))
            else:
                shape = polygon(value, [_in_turn(part)])
            reason = flaw(shape, size)
        except DataError as error:
            broken.append(str(error))
            continue
        if reason is None:
            shapes.append((area(shape, size), shape))
        else:
            unseen.append(reason)
    return shapes, broken, [] if shapes or broken else unseen[:1]


class _SoundPolygons:
    """The polygons of a file that nothing is wrong with, looked at all at once; large files hold nearly no others.

    They have three points or more, an area of a pixel or more, and a box that holds a pixel's center. What is here is
    what `polygon`, `flaw` and `area` say of each; what is not is left to them.
    """

    def __init__(self, file: CocoFile) -> None:
        numbers = array("d")
        parts: list[Any] = []
        starts = array("q", (0,))
        for annotation in file.annotations:
            segmentation = annotation.get("segmentation")
            for part in segmentation if isinstance(segmentation, list) else ():
                if not isinstance(part, list) or len(part) < 6 or len(part) % 2:
                    continue
                try:
                    numbers.extend(part)
                except (TypeError, OverflowError):
                    del numbers[starts[-1] :]
                    continue
                parts.append(part)
                starts.append(len(numbers))
        self._rows = {id(part): row for row, part in enumerate(parts)}
        self._parts = parts  # alive, so that no other list gets one of their ids
        with np.errstate(over="ignore"):
            self._points = np.frombuffer(numbers, np.float64).reshape(-1, 2).astype(np.float32)
        first = np.array(starts, np.int64)[:-1] // 2
        last = np.array(starts, np.int64)[1:] // 2 - 1
        if not parts:
            return
        closed = (self._points[first] == self._points[last]).all(1)
        self._ends = [(int(a), int(b)) for a, b in zip(first, last + 1 - closed, strict=True)]
        points = self._points.astype(np.float64)
        following = np.arange(1, len(points) + 1)
        following[last] = first
        with np.errstate(invalid="ignore", over="ignore"):
            self._low, self._high = np.minimum.reduceat(points, first), np.maximum.reduceat(points, first)
            relative = points - np.repeat(points[first], last - first + 1, axis=0)
            across = relative[:, 0] * relative[following, 1] - relative[:, 1] * relative[following, 0]
            self._areas = np.abs(np.add.reduceat(across, first)) / 2
            near = (np.maximum(np.abs(self._low), np.abs(self._high)) <= _FARTHEST).all(1)
            holds = (np.ceil(self._low - 0.5) <= np.floor(self._high - 0.5)).all(1)
            whole = near & holds & (self._areas >= 1) & (last - first - closed >= 2)
        self._whole = whole.tolist()

    def ring(self, part: Any, size: tuple[int, int]) -> tuple[float, NDArray[np.float32]] | None:
        """(area, (n, 2) points) of a polygon in a picture (height, width); None where it is to be looked at."""
        row = self._rows.get(id(part))
        if row is None or not self._whole[row]:
            return None
        (left, top), (right, bottom) = self._low[row].tolist(), self._high[row].tolist()
        if left >= size[1] or top >= size[0] or right <= 0 or bottom <= 0:
            return None
        start, stop = self._ends[row]
        return float(self._areas[row]), self._points[start:stop]


def _in_turn(part: Any) -> Any:
    """(n, 2) from x and y in turn."""
    if not isinstance(part, list) or len(part) % 2:
        raise DataError("has a polygon that is no list of x and y in turn")
    try:
        return np.array(part, float).reshape(-1, 2)
    except (TypeError, ValueError, OverflowError) as error:
        raise DataError("has a polygon that is no list of x and y in turn") from error


def _run_size(part: dict[str, Any], size: tuple[int, int]) -> tuple[int, int]:
    said = part.get("size")
    if said is not None and said != [*size]:
        told = " × ".join(map(str, said)) if isinstance(said, list) else str(said)
        raise DataError(f"has run lengths for {told} pixels; expected {size[0]} × {size[1]}")
    return size


def _strays(file: CocoFile) -> list[Fault]:
    """Annotations of pictures that the file does not list."""
    faults = []
    lost = [a for a in file.annotations if id_of(a, "image_id") not in file.images]
    if lost:
        reason = (
            f"{file.path} has {counted(len(lost), 'annotation')} of pictures that it does not list, the first "
            f"(id {lost[0].get('id')}) of the image id {lost[0].get('image_id')}; they are left out"
        )
        faults.append(Fault("warning", "orphan", file.path, reason, "add the images to the JSON or remove them"))
    return faults


def _notes(files: list[CocoFile], used: set[tuple[Path, Any]]) -> list[str]:
    notes = []
    for file in files:
        for what, listed, key in (("image", file.images, "image_id"), ("category", file.categories, "category_id")):
            kinds = {type(entry["id"]) for entry in listed.values()} | {type(a.get(key)) for a in file.annotations}
            if {int, str} <= kinds:
                notes.append(f"{file.path.name} has {what} ids as numbers and as text; they are matched by their text")
    annotated = {(file.path, id_of(a, "image_id")) for file in files for a in file.annotations}
    empty = len(used - annotated)
    if empty:
        notes.append(f"{counted(empty, 'picture has', 'pictures have')} no annotations: all background")
    crowds = sum(bool(a.get("iscrowd")) for file in files for a in file.annotations)
    if crowds:
        notes.append(f"{counted(crowds, 'region')} of crowds (iscrowd) are taken as their category")
    return notes
