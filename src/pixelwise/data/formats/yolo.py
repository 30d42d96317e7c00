"""YOLO's segmentation labels: a text file for each picture, with a polygon on each line.

    data.yaml                      names: the classes; train, val, test: folders of pictures or lists of them
    images/train/<name>.jpg        labels/train/<name>.txt      lines "class x1 y1 x2 y2 …", x and y from 0 to 1

The text of a picture stands where "images" in its path is "labels", or beside it. A picture without text, or with an
empty one, is all background. YOLO's class 0 is class 1 here, since 0 is the background.

Source: the data format of Ultralytics' YOLO for segmentation.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from pixelwise.data.answers import NOTHING, Answers
from pixelwise.data.decode import IMAGE_EXTENSIONS, read_info
from pixelwise.data.formats.finding import (
    Pictures,
    counted,
    fault_of,
    files_ending,
    head,
    into_splits,
    is_background,
    is_void,
    shape_fault,
    split_of_directory,
    unique_names,
)
from pixelwise.data.formats.shapes import Drawing, Shape, flaw, polygon
from pixelwise.data.layout import Fault, Layout, normal, read_text
from pixelwise.data.sample import Pair
from pixelwise.data.values.classnames import find_class_names
from pixelwise.errors import DataError
from pixelwise.labels import VOID, VOID_16, LabelSet

_SLACK = 0.02  # a polygon may leave its picture by so much of its size
_TOLD_BY_NAME = frozenset(("classes.txt", "labels.txt", "names.txt", "train.txt", "val.txt", "test.txt", "readme.txt"))


@dataclass(frozen=True)
class _Line:
    """One line of a text."""

    number: int
    cls: int
    numbers: tuple[float, ...]


@dataclass(frozen=True)
class _Text:
    """The lines of one picture, and the faults of those that cannot be read."""

    path: Path | None
    lines: tuple[_Line, ...]
    faults: tuple[Fault, ...]


def yolo_layout(root: Path, answers: Answers = NOTHING) -> Layout | None:
    """The layout of a folder with YOLO's polygons; None where there are none.

    Raises:
        DataError: all lines are boxes, or in pixels; data.yaml is damaged, or names folders that are not there.
    """
    settings = _settings(root)
    if settings is None and not _looks_like_yolo(root):
        return None
    if answers.masks is not None and answers.masks.lower() not in ("labels", "txt"):
        return None
    pictures = Pictures(root)
    if settings is None:
        images = [(split_of_directory(f, root), f) for files in pictures.by_directory.values() for f in files]
    else:
        images = _listed(*settings, pictures)
    texts = {image: _read(_text_of(image), image) for _, image in images}
    read = [line for text in texts.values() for line in text.lines]
    if settings is None or not any(text.path for text in texts.values()):
        homes = {image.parent for image, text in texts.items() if text.path is not None}
        images = [(split, image) for split, image in images if image.parent in homes]
        if not images:
            return None
    if not read and all(not text.faults for text in texts.values()) and settings is None:
        return None
    if read and all(len(line.numbers) == 4 for line in read) and _has_masks(images, pictures):
        return None  # boxes beside masks: the masks count
    _check(read, [text for text in texts.values() if text.path is not None], root)
    classes, values = _classes(settings, read, [t.path.parent for t in texts.values() if t.path is not None], root)
    names = unique_names([image for _, image in images], root)
    faults: list[Fault] = []
    listed = []
    for split, image in images:
        text = texts[image]
        faults += text.faults
        try:
            size = read_info(image).size
        except DataError as error:
            faults.append(fault_of(error, image))
            continue
        shapes, wrong = _shapes(text, size, values, image)
        faults += wrong
        path = text.path or image
        listed.append(
            (split, Pair(image, Drawing(path, (path,), image.stem, size, shapes, void=classes.void), names[image]))
        )
    used = {text.path for text in texts.values() if text.path is not None}
    homes_of_texts = {path.parent for path in used}
    for path in _label_files(root):
        if path.parent in homes_of_texts and path not in used:
            faults.append(Fault("warning", "orphan", path, f"{path} has no picture and is left out", "add the picture"))
    empty = sum(not texts[image].lines and not texts[image].faults for _, image in images)
    notes = []
    if empty:
        notes.append(f"{counted(empty, 'picture has', 'pictures have')} no lines of text: all background")
    told = "data.yaml" if settings is None else settings[0].name
    return Layout(
        root=root,
        name="YOLO polygons (" + ("images and labels)" if settings is None else f"{told})"),
        rule="each picture with the text of its name, where its path has labels in place of images, or beside it; the "
        "polygons are drawn in the order of the lines, later ones on top, and the rest is background",
        splits=into_splits(listed, root),
        faults=tuple(faults),
        notes=tuple(notes),
        labels=(classes,),
    )


def _settings(root: Path) -> tuple[Path, dict[str, Any]] | None:
    """The file that names classes and folders, `data.yaml` or whatever it is called, and what it says.

    Raises:
        DataError: a data.yaml is damaged, or two say different things.
    """
    found = []
    for path in sorted([*files_ending(root, ".yaml"), *files_ending(root, ".yml")]):
        if b"names" not in head(path):
            continue
        try:
            record = yaml.safe_load(read_text(path))
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            where = f" at line {mark.line + 1}, column {mark.column + 1}" if mark is not None else ""
            if path.stem != "data":
                continue
            raise DataError(f"{path} is no YAML{where}; expected names and train, val: correct it") from error
        if isinstance(record, dict) and "names" in record and ("train" in record or "val" in record):
            found.append((path, record))
    for path, record in found[1:]:
        if record != found[0][1]:
            raise DataError(f"{found[0][0]} and {path} say different things; which one is meant? Remove the other")
    return found[0] if found else None


def _looks_like_yolo(root: Path) -> bool:
    """Whether one of the first text files that are no lists holds lines of a class and numbers from 0 to 1."""
    for path in _label_files(root)[:50]:
        for raw in head(path).decode("utf-8", errors="replace").splitlines()[:1]:
            line = _line(1, raw)
            if isinstance(line, _Line) and all(-_SLACK <= number <= 1 + _SLACK for number in line.numbers):
                return True
    return False


def _label_files(root: Path) -> list[Path]:
    return [path for path in files_ending(root, ".txt") if path.name.lower() not in _TOLD_BY_NAME]


def _listed(path: Path, record: Mapping[str, Any], pictures: Pictures) -> list[tuple[str | None, Path]]:
    """The pictures that data.yaml names, each with its split.

    Raises:
        DataError: none of its folders is there.
    """
    base = record.get("path")
    found: dict[Path, str] = {}
    missing = []
    for key, split in (("train", "train"), ("val", "val"), ("valid", "val"), ("test", "test")):
        entries = record.get(key)
        for entry in entries if isinstance(entries, list) else [entries]:
            if not isinstance(entry, str) or not entry.strip():
                continue
            place = _place(path, base if isinstance(base, str) else "", entry)
            if place is None:
                missing.append(f"{key}: {entry}")
                continue
            for file in _pictures_at(place, pictures):
                found.setdefault(file, split)
    if not found:
        raise DataError(
            f"{path} names {', '.join(missing) or 'no folders'}, but there are no such pictures beside it; "
            "expected folders of pictures, relative to it: correct train and val"
        )
    return [(split, file) for file, split in found.items()]


def _place(path: Path, base: str, entry: str) -> Path | None:
    """The folder or list that an entry means; paths of other machines are taken by their ends."""
    home = path.parent
    written = entry.strip().replace("\\", "/")
    for candidate in (home / base.replace("\\", "/") / written, home / written):
        if candidate.exists():
            return candidate
    parts = [part for part in written.split("/") if part not in ("", ".", "..")]
    for start in range(len(parts)):
        if home.joinpath(*parts[start:]).exists():
            return home.joinpath(*parts[start:])
    return None


def _pictures_at(place: Path, pictures: Pictures) -> list[Path]:
    if place.is_dir():
        inside = place.resolve()
        return [
            file
            for directory, files in pictures.by_directory.items()
            if directory.resolve().is_relative_to(inside)
            for file in files
        ]
    if place.suffix.lower() in IMAGE_EXTENSIONS:
        return [place]
    written = [line.strip() for line in read_text(place).splitlines() if line.strip()]
    return [file for line in written if (file := pictures.written(line, place)) is not None]


def _text_of(image: Path) -> Path | None:
    parts = list(image.parts)
    for place in range(len(parts) - 2, -1, -1):
        if parts[place].lower() == "images":
            for word in ("labels", "Labels", "LABELS"):
                text = Path(*parts[:place], word, *parts[place + 1 :]).with_suffix(".txt")
                if text.is_file():
                    return text
            break
    beside = image.with_suffix(".txt")
    return beside if beside.is_file() and beside.name.lower() not in _TOLD_BY_NAME else None


def _read(path: Path | None, image: Path) -> _Text:
    if path is None:
        return _Text(None, (), ())
    try:
        raw = read_text(path)
    except DataError as error:
        return _Text(path, (), (replace(fault_of(error, path), picture=image),))
    lines: list[_Line] = []
    faults = []
    for number, text in enumerate(raw.splitlines(), 1):
        if not text.strip():
            continue
        line = _line(number, text)
        if isinstance(line, _Line):
            lines.append(line)
        else:
            faults.append(shape_fault(path, f"{path}, line {number}", line, image))
    return _Text(path, tuple(lines), tuple(faults))


def _line(number: int, text: str) -> _Line | str:
    """A line's class and numbers; or what is wrong with it."""
    words = text.replace(",", " ").split()
    try:
        numbers = [float(word) for word in words]
    except ValueError:
        return "holds words; expected a class and x y in turn"
    if len(numbers) < 5 or len(numbers) % 2 == 0:
        return f"holds {len(numbers)} numbers; expected a class and at least 3 pairs of x and y"
    if not numbers[0].is_integer() or numbers[0] < 0:
        return f"begins with {words[0]}; expected the number of a class"
    return _Line(number, int(numbers[0]), tuple(numbers[1:]))


def _has_masks(images: list[tuple[str | None, Path]], pictures: Pictures) -> bool:
    """Whether the names of pictures come again in directories that hold none of them."""
    homes = {image.parent for _, image in images}
    stems = {normal(image.stem) for _, image in images}
    return any(
        normal(file.stem) in stems
        for directory, files in pictures.by_directory.items()
        if directory not in homes
        for file in files
    )


def _check(lines: list[_Line], texts: list[_Text], root: Path) -> None:
    """Make sure that there are polygons, from 0 to 1.

    Raises:
        DataError: there are none.
    """
    if not lines:
        wrong = next((fault for text in texts for fault in text.faults), None)
        if wrong is not None:
            raise DataError(f"no line of the texts under {root} is a polygon: {wrong.message}")
        return
    path = next(text.path for text in texts if text.lines)
    if all(len(line.numbers) == 4 for line in lines):
        raise DataError(
            f"{path} and all others hold boxes (a class and 4 numbers a line); expected polygons, since boxes are not "
            "masks: draw outlines, or export them as segmentation"
        )
    polygons = [line for line in lines if len(line.numbers) > 4]
    if all(max(line.numbers) > 2 for line in polygons):
        raise DataError(
            f"{path} and all others hold coordinates in pixels, as {max(polygons[0].numbers):g}; expected x and y from "
            "0 to 1: divide them by the picture's width and height"
        )


def _classes(
    settings: tuple[Path, dict[str, Any]] | None, lines: list[_Line], folders: list[Path], root: Path
) -> tuple[LabelSet, dict[int, int]]:
    """(the classes, {YOLO's number: value in the drawing}).

    Raises:
        DataError: data.yaml's names are neither a list nor numbered.
    """
    told: dict[int, str] = {}
    if settings is not None:
        told = _told_names(*settings)
    else:
        listed = find_class_names(folders, root, tables=False)
        if listed is not None:
            numbers = listed.ids if listed.ids is not None else range(len(listed.names))
            told = {number: normal(name) for number, name in zip(numbers, listed.names, strict=True)}
        else:
            told = {number: f"class {number}" for number in sorted({line.cls for line in lines})}
    names = ["background"]
    values: dict[int, int] = {}
    voids = []
    for number in sorted(told):
        if is_background(told[number]):
            values[number] = 0
        elif is_void(told[number]):
            voids.append(number)
        else:
            values[number] = len(names)
            names.append(told[number])
    void = VOID if len(names) <= VOID else VOID_16
    return LabelSet(tuple(names)), values | dict.fromkeys(voids, void)


def _told_names(path: Path, record: Mapping[str, Any]) -> dict[int, str]:
    names = record["names"]
    if isinstance(names, dict) and all(isinstance(key, int) for key in names):
        told = {key: normal(str(name).strip()) for key, name in names.items()}
    elif isinstance(names, list):
        told = {number: normal(str(name).strip()) for number, name in enumerate(names)}
    else:
        raise DataError(
            f"{path} has names that are neither a list nor numbered; expected names: [cat, dog]: correct it"
        )
    twice = [name for name in told.values() if list(told.values()).count(name) > 1]
    if twice:
        raise DataError(f"{path} names {twice[0]!r} twice; give every class its own name")
    if not told:
        raise DataError(f"{path} names no class; expected names: [cat, dog]: fill it in")
    return told


def _shapes(
    text: _Text, size: tuple[int, int], values: Mapping[int, int], image: Path
) -> tuple[tuple[Shape, ...], list[Fault]]:
    assert text.path is not None or not text.lines
    shapes: list[Shape] = []
    faults = []
    for line in text.lines:
        assert text.path is not None
        if line.cls not in values:
            known = f"{min(values)}–{max(values)}" if values else "none"
            reason = (
                f"{text.path}, line {line.number}, is of the class {line.cls} (named are {known}), so that "
                f"{image.name} is left out"
            )
            faults.append(Fault("error", "value", text.path, reason, "correct it or name the class", image))
            continue
        problem: str | None
        lost: Path | None = image
        if len(line.numbers) == 4:
            problem = "is a box; expected a polygon of 3 points or more"
        elif not all(-_SLACK <= number <= 1 + _SLACK for number in line.numbers):
            odd = next(number for number in line.numbers if not -_SLACK <= number <= 1 + _SLACK)
            problem = f"holds {odd:g}; expected x and y from 0 to 1"
        else:
            points: NDArray[Any] = np.array(line.numbers).reshape(-1, 2) * (size[1], size[0])
            try:
                shape = polygon(values[line.cls], [points])
                problem, lost = flaw(shape, size), None
            except DataError as error:
                problem = str(error)
            else:
                if problem is None:
                    shapes.append(shape)
        if problem is not None:
            faults.append(shape_fault(text.path, f"{text.path}, line {line.number}", problem, lost))
    return tuple(shapes), faults
