"""A COCO JSON of any size as flat arrays, which the cache keeps: it is parsed once.

The standard parser needs about six times the file's size in memory, which goes back when the arrays are made. They
are a folder in the cache (`pixelwise.files.cache_folder`), one for each JSON, made anew when its size or time of
change differs; coordinates and run lengths stay on the disk until a picture is drawn. Without a writable cache
everything works, and each process parses the file once.
"""

import hashlib
import json
import os
import shutil
from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixelwise.data.formats.coco import CocoFile, coco_file, id_of
from pixelwise.data.formats.finding import read_json, size_of
from pixelwise.data.formats.shapes import Shape, polygon, runs
from pixelwise.errors import DataError
from pixelwise.files import cache_folder

_FORMAT = 1  # of the cache's files; another number is not read
_KEPT = 3  # so many indices stay in the memory of a process
_FARTHEST = 1e7  # a coordinate beyond is no coordinate
_ON_DISK = ("coordinates", "lengths")


@dataclass(frozen=True, eq=False)
class CocoIndex:
    """What a COCO JSON holds, pictures in the order of their ids and the objects of each in the order of the file.

    Attributes:
        path: the JSON.
        categories: {id: name}, by id.
        names: (N,) the file_name of each picture.
        specks: outlines of fewer than three points, which are left out.
        strays: objects of pictures that the file does not list.
        sizes: (N, 2) height, width.
        objects: (N + 1,) picture i has the objects objects[i] … objects[i + 1] − 1.
        category: (A,) id of each object's category.
        area: (A,) as the file says, in pixels; not-a-number where it says none.
        crowd: (A,) bool.
        parts: (A, 2) first part of an object, and the one after its last.
        is_runs: (P,) whether a part is run lengths; else it is a polygon.
        numbers: (P, 2) where a part begins and ends in `lengths`, or in `coordinates`.
        coordinates: x and y in turn, float32.
        lengths: run lengths down the columns, the first of zeros, uint32.
    """

    path: Path
    categories: Mapping[int, str]
    names: tuple[str, ...]
    specks: int
    strays: int
    sizes: NDArray[np.int32]
    objects: NDArray[np.int64]
    category: NDArray[np.int64]
    area: NDArray[np.float64]
    crowd: NDArray[np.bool_]
    parts: NDArray[np.int64]
    is_runs: NDArray[np.bool_]
    numbers: NDArray[np.int64]
    coordinates: NDArray[np.float32]
    lengths: NDArray[np.uint32]

    def size(self, picture: int) -> tuple[int, int]:
        """(height, width)."""
        height, width = self.sizes[picture]
        return int(height), int(width)

    def objects_of(self, picture: int) -> range:
        """The places of a picture's objects."""
        return range(int(self.objects[picture]), int(self.objects[picture + 1]))

    def outline(self, place: int, size: tuple[int, int], value: int) -> list[Shape]:
        """The parts of an object of a picture (height, width), to be drawn as `value`."""
        shapes = []
        for part in range(*self.parts[place]):
            start, stop = self.numbers[part]
            if self.is_runs[part]:
                shapes.append(runs(value, self.lengths[start:stop], size))
            else:
                shapes.append(polygon(value, [np.array(self.coordinates[start:stop]).reshape(-1, 2)]))
        return shapes


_KNOWN: dict[tuple[str, int, int], CocoIndex] = {}


def coco_index(path: Path) -> CocoIndex:
    """The index of a JSON: from this process's memory, from the cache, or made.

    Raises:
        DataError: the file is missing, damaged, or no COCO JSON; or an object has no outline, or a broken one.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); check the file") from error
    stamp = (str(path.resolve()), status.st_size, status.st_mtime_ns)
    index = _KNOWN.get(stamp)
    if index is None:
        folder = _folder(path)
        index = _kept(path, folder, stamp)
        if index is None:
            index = _made(path)
            _keep(index, folder, stamp)
            index = _kept(path, folder, stamp) or index
        for old in [*_KNOWN][: 1 - _KEPT]:
            _KNOWN.pop(old, None)
        _KNOWN[stamp] = index
    return index


def _made(path: Path) -> CocoIndex:
    record = read_json(path)
    if not isinstance(record, dict) or not isinstance(record.get("images"), list):
        raise DataError(f"{path} is no COCO JSON; expected an object with images, annotations and categories")
    for key in ("annotations", "categories"):  # image_info_test….json has no annotations
        if not isinstance(record.setdefault(key, []), list):
            raise DataError(f'{path} holds "{key}" that are no list; expected COCO\'s: download it again')
    file = coco_file(path, record)
    del record
    ids = sorted(file.images, key=lambda own: (isinstance(own, str), own))
    rows = {own: row for row, own in enumerate(ids)}
    images = [file.images[own] for own in ids]
    sizes = [size_of(image, "height", "width") for image in images]
    if None in sizes:
        raise DataError(f"{path} gives no height and width for {images[sizes.index(None)]['file_name']}; correct it")
    kept = [(rows[own], a) for a in file.annotations if (own := id_of(a, "image_id")) in rows]
    place = np.array([row for row, _ in kept], np.int64)
    collected = _Collected(file)
    for row, annotation in kept:
        collected.add(annotation, sizes[row] or (0, 0))
    collected.check(kept)
    order = np.argsort(place, kind="stable")
    return CocoIndex(
        path,
        {number: file.categories[number]["name"] for number in sorted(n for n in file.categories if type(n) is int)},
        tuple(str(image["file_name"]) for image in images),
        collected.specks,
        len(file.annotations) - len(kept),
        np.array(sizes, np.int32).reshape(-1, 2),
        np.concatenate(([0], np.cumsum(np.bincount(place, minlength=len(images)))))[: len(images) + 1],
        np.array(collected.category, np.int64)[order],
        np.array(collected.area, np.float64)[order],
        np.array(collected.crowd, bool)[order],
        np.array(collected.parts, np.int64).reshape(-1, 2)[order],
        np.array(collected.is_runs, bool),
        np.array(collected.numbers, np.int64).reshape(-1, 2),
        np.frombuffer(collected.coordinates, np.float32),
        np.concatenate(collected.lengths) if collected.lengths else np.zeros(0, np.uint32),
    )


class _Collected:
    """The outlines of a file's objects, one after the other."""

    def __init__(self, file: CocoFile) -> None:
        self.file = file
        self.specks = 0
        self.category = array("q")
        self.area = array("d")
        self.crowd = array("b")
        self.parts = array("q")
        self.is_runs = array("b")
        self.numbers = array("q")
        self.coordinates = array("f")
        self.lengths: list[NDArray[np.uint32]] = []
        self._length = 0

    def add(self, annotation: dict[str, Any], size: tuple[int, int]) -> None:
        """One object, of a picture (height, width)."""
        category = id_of(annotation, "category_id")
        if not isinstance(category, int) or category not in self.file.categories:
            raise self._error(annotation, f"is of the category id {category}, which the file does not list; add it")
        first = len(self.is_runs)
        segmentation = annotation.get("segmentation")
        if isinstance(segmentation, dict):
            self._add_runs(annotation, segmentation, size)
        elif isinstance(segmentation, list) and segmentation:
            nested = isinstance(segmentation[0], list)
            for part in segmentation if nested else [segmentation]:
                self._add_polygon(annotation, part)
        else:
            raise self._error(annotation, "has no segmentation; a box is no mask: export the outlines, too")
        area = annotation.get("area")
        self.category.append(category)
        self.area.append(float(area) if isinstance(area, int | float) else float("nan"))
        self.crowd.append(bool(annotation.get("iscrowd")))
        self.parts.extend((first, len(self.is_runs)))

    def check(self, kept: list[tuple[int, dict[str, Any]]]) -> None:
        """Make sure that all coordinates are numbers of pixels."""
        coordinates = np.frombuffer(self.coordinates, np.float32)
        far = ~(np.abs(coordinates) <= _FARTHEST)
        if far.any():
            number = int(np.flatnonzero(far)[0])
            polygons = np.flatnonzero(~np.array(self.is_runs, bool))
            starts = np.array(self.numbers, np.int64).reshape(-1, 2)[polygons, 0]
            part = int(polygons[np.searchsorted(starts, number, "right") - 1])
            stops = np.array(self.parts, np.int64).reshape(-1, 2)[:, 1]
            annotation = kept[int(np.searchsorted(stops, part, "right"))][1]
            raise self._error(annotation, f"has the coordinate {coordinates[number]:g}; expected pixels: correct it")

    def _add_polygon(self, annotation: dict[str, Any], part: Any) -> None:
        if not isinstance(part, list) or len(part) % 2:
            raise self._error(annotation, "has a polygon that is no list of x and y in turn; export it again")
        if len(part) < 6:
            self.specks += 1
            return
        start = len(self.coordinates)
        try:
            self.coordinates.extend(part)
        except (TypeError, OverflowError) as error:
            told = f"has a polygon that is no list of numbers ({error}); export it again"
            raise self._error(annotation, told) from error
        self.is_runs.append(False)
        self.numbers.extend((start, len(self.coordinates)))

    def _add_runs(self, annotation: dict[str, Any], segmentation: dict[str, Any], size: tuple[int, int]) -> None:
        said = segmentation.get("size")
        if said is not None and said != [*size]:
            raise self._error(annotation, f"has run lengths for {said}; expected [{size[0]}, {size[1]}]: correct it")
        try:
            (lengths,) = runs(0, segmentation.get("counts"), size).data
        except DataError as error:
            raise self._error(annotation, f"{error}; export it again") from error
        self.lengths.append(lengths)
        self.is_runs.append(True)
        self.numbers.extend((self._length, self._length + len(lengths)))
        self._length += len(lengths)

    def _error(self, annotation: dict[str, Any], told: str) -> DataError:
        category = self.file.categories.get(id_of(annotation, "category_id"), {"name": "?"})
        return DataError(f"{self.file.path}, annotation {annotation.get('id', '?')} ({category['name']}), {told}")


def _folder(path: Path) -> Path:
    digest = hashlib.sha256(str(path.resolve()).encode(errors="surrogateescape")).hexdigest()[:24]
    return cache_folder() / "coco" / digest


def _arrays(index: CocoIndex) -> dict[str, NDArray[Any]]:
    return {name: value for name, value in vars(index).items() if isinstance(value, np.ndarray)}


def _kept(path: Path, folder: Path, stamp: tuple[str, int, int]) -> CocoIndex | None:
    """What the cache holds of a file that did not change; None where that is nothing, or damaged."""
    try:
        record = json.loads((folder / "index.json").read_text(encoding="utf-8"))
        if record["format"] != _FORMAT or record["stamp"] != [*stamp]:
            return None
        arrays: dict[str, Any] = {}
        for name, length in record["lengths"].items():
            on_disk = name in _ON_DISK and length > 0  # nothing cannot be mapped
            arrays[name] = np.load(folder / f"{name}.npy", mmap_mode="r" if on_disk else None, allow_pickle=False)
            if len(arrays[name]) != length:
                return None
        categories = {int(number): str(name) for number, name in record["categories"]}
        return CocoIndex(path, categories, tuple(record["names"]), record["specks"], record["strays"], **arrays)
    except (OSError, ValueError, KeyError, TypeError, EOFError):
        return None


def _keep(index: CocoIndex, folder: Path, stamp: tuple[str, int, int]) -> None:
    """Put an index into the cache, whole or not at all."""
    beside = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    arrays = _arrays(index)
    record = {
        "format": _FORMAT,
        "stamp": stamp,
        "categories": [*index.categories.items()],
        "names": index.names,
        "specks": index.specks,
        "strays": index.strays,
        "lengths": {name: len(values) for name, values in arrays.items()},
    }
    try:
        beside.mkdir(parents=True, exist_ok=True)
        for name, values in arrays.items():
            np.save(beside / f"{name}.npy", values)
        (beside / "index.json").write_text(json.dumps(record), encoding="utf-8")
        shutil.rmtree(folder, ignore_errors=True)
        beside.rename(folder)
    except (OSError, ValueError):  # a full disk, or none to write on: nothing is lost but time
        shutil.rmtree(beside, ignore_errors=True)
