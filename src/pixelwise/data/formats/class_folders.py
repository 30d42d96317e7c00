"""Class folders: a folder of pictures for each class, named after it; no mask, and so no label of any pixel.

    cats/*.jpg  dogs/*.jpg                  or below each of train/, val/, test/

What a sample shows is told by the folder it lies in, at any depth: cats/siamese/1.jpg is of cats. Its target is a mask
full of its class, so that it goes through the same code as a picture with a mask; it says what is somewhere in the
picture, not where. A folder train/, val/ or test/ is a part of the set if it holds folders of pictures, else a class.
`--labels folders` asks for this reading; it is never taken by itself.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixelwise.data.decode import image_info
from pixelwise.data.formats.finding import counted, into_splits, is_background, unique_names
from pixelwise.data.layout import Fault, Layout, directories, foreign_files, listed_once, normal, pictures_below
from pixelwise.data.sample import DrawnMask, Pair
from pixelwise.data.words import says_mask, words_of
from pixelwise.errors import DataError
from pixelwise.labels import Color, LabelSet, voc_color


@dataclass(frozen=True)
class FullMask(DrawnMask):
    """The mask of a picture that is all of one class, as large as the picture.

    Attributes:
        value: of every pixel: the class.
        of: how many classes there are.
    """

    path: Path
    files: tuple[Path, ...]
    value: int
    of: int

    @property
    def key(self) -> str:
        """A new class folder moves the numbers of the others, and no file changes."""
        return f"{self.path} all {self.value} of {self.of}"

    def draw(self) -> tuple[NDArray[Any], int]:
        """(values, 0).

        Raises:
            DataError: the picture's header cannot be read.
        """
        kind = np.uint8 if self.of <= 255 else np.uint16
        return np.full(image_info(self.path).size, self.value, kind), 0


def class_folders_layout(root: Path, *, fewest: int = 2) -> Layout:
    """The layout of a folder of class folders.

    Args:
        fewest: classes.

    Raises:
        DataError: there are fewer, or pictures beside train/, val/ and test/.
    """
    with listed_once():
        return _layout(_unwrapped(root), fewest)


def class_folders(root: Path) -> tuple[str, ...]:
    """The classes of a folder that may well be meant as class folders; none where it may not."""
    try:
        with listed_once():
            layout = class_folders_layout(root)
            inside = {part for place in pictures_below(layout.root) for part in place.relative_to(layout.root).parts}
    except DataError:
        return ()
    names = layout.labels[0].names
    if any(says_mask(part) or words_of(part)[0] is not None for part in inside):
        return ()
    return names


def _layout(root: Path, fewest: int) -> Layout:
    found = _pictures(root)
    parts = _parts(root, found)
    homes: list[tuple[Path, str | None]] = [*parts.items()] or [(root, None)]
    folders = [(split, folder) for home, split in homes for folder in _folders(home)]
    pictures = {folder: _below(folder, found) for _, folder in folders}
    names = tuple(sorted({normal(folder.name) for _, folder in folders if pictures[folder]}, key=_order))
    _check_classes(root, names, found, fewest)
    called = unique_names([file for files in pictures.values() for file in files], root)
    listed = []
    for split, folder in folders:
        for file in pictures[folder]:
            mask = FullMask(file, (file,), names.index(normal(folder.name)), len(names))
            listed.append((split, Pair(file, mask, called[file])))
    faults = [fault for split, folder in folders if (fault := _empty(split, folder, pictures[folder], names))]
    faults += _left_out(root, found, [home for home, _ in homes], list(parts))
    deep = next((p for _, folder in folders for p in found if folder in p.parents), None)
    shown = ", ".join(f"{name}/" for name in names[:3]) + (" …" if len(names) > 3 else "")
    return Layout(
        root=root,
        name=f"class folders ({shown})" + (f" in {', '.join(p.name + '/' for p in parts)}" if parts else ""),
        rule="a picture is of the class whose folder it lies in",
        splits=into_splits(listed, root),
        faults=tuple(faults),
        notes=() if deep is None else (f"pictures in folders of a class folder are of its class, as in {deep}/",),
        labels=(LabelSet(names, _palette(names)),),
    )


def _order(name: str) -> tuple[str, str]:
    return name.casefold(), name


def _palette(names: tuple[str, ...]) -> tuple[Color, ...]:
    """VOC's colors from the second on: black is for a background."""
    return tuple((0, 0, 0) if is_background(name) else voc_color(1 + i % 254) for i, name in enumerate(names))


def _unwrapped(root: Path) -> Path:
    """The folder itself, or the one folder in it where there is nothing else and it holds the class folders."""
    for _ in range(8):
        found = _pictures(root)
        below = {root / place.relative_to(root).parts[0] for place in found if place != root}
        if root in found or len(below) != 1:
            return root
        (only,) = below
        if only in found or words_of(only.name) != (None, None):
            return root
        root = only
    return root


def _folders(root: Path) -> list[Path]:
    """The folders right below, but for those that a fit wrote: its runs may well lie beside the classes."""
    return [
        folder for folder in directories(root, 1)[1:] if not any(_is_run(place) for place in directories(folder, 1))
    ]


def _is_run(folder: Path) -> bool:
    return any((folder / name).is_file() for name in ("plan.yaml", ".lock"))


def _pictures(root: Path) -> dict[Path, tuple[Path, ...]]:
    """{directory: its pictures}, without those of runs."""
    folders = set(_folders(root))
    found = pictures_below(root)
    return {place: files for place, files in found.items() if place == root or folders & {place, *place.parents}}


def _below(folder: Path, found: Mapping[Path, tuple[Path, ...]]) -> list[Path]:
    return [file for place, files in found.items() if place == folder or folder in place.parents for file in files]


def _parts(root: Path, found: Mapping[Path, tuple[Path, ...]]) -> dict[Path, str]:
    """{folder: split} of the folders right below that are parts of the set, and not classes.

    Raises:
        DataError: other folders with pictures stand beside them.
    """
    below = _folders(root)
    splits = {folder: split for folder in below if (split := words_of(folder.name)[1]) is not None}
    parts = {folder: split for folder, split in splits.items() if any(folder in place.parents for place in found)}
    other = next((folder for folder in below if parts and folder not in splits and _below(folder, found)), None)
    if other is not None:
        named = ", ".join(f"{folder.name}/" for folder in parts)
        raise DataError(
            f"{root} has class folders in {named} and pictures beside, in {other.name}/; which are they for? Move them "
            "into a class folder of a part, or elsewhere"
        )
    return parts


def _check_classes(root: Path, names: tuple[str, ...], found: Mapping[Path, tuple[Path, ...]], fewest: int) -> None:
    """So many classes at least, and no masks among them.

    Raises:
        DataError: it is not so.
    """
    expected = "expected two class folders or more, as cats/ and dogs/ with pictures in each"
    if not found:
        raise DataError(f"no pictures in {root}; {foreign_files(root) or expected}")
    if not names:
        count = sum(len(files) for files in found.values())
        raise DataError(f"{root} holds {counted(count, 'picture')} but no class folders; {expected}: sort them so")
    roles = {words_of(name)[0]: name for name in names}
    if "mask" in roles and "image" in roles:
        raise DataError(
            f"{root} has {roles['image']}/ and {roles['mask']}/, which are pictures and their masks, no classes; "
            "leave out --labels folders"
        )
    if len(names) < fewest:
        raise DataError(f"{root} has one class folder with pictures only, {names[0]}/; {expected}: add the others")


def _empty(split: str | None, folder: Path, files: list[Path], names: tuple[str, ...]) -> Fault | None:
    """The fault that a class folder holds no picture; where only a part lacks a known class, the doctor says so."""
    if files or (split in ("val", "test") and normal(folder.name) in names):
        return None
    foreign = foreign_files(folder)
    reason = f"the class folder {folder} holds no picture"
    remedy = "add pictures of the class, or remove the folder"
    if foreign:  # pictures that nobody would want to be left out silently
        return Fault("error", "classes", folder, f"{reason} that can be read ({foreign})", remedy)
    left_out = "" if normal(folder.name) in names else ", and is left out"
    return Fault("warning", "classes", folder, f"{reason}{left_out}", remedy)


def _left_out(root: Path, found: Mapping[Path, tuple[Path, ...]], homes: list[Path], parts: list[Path]) -> list[Fault]:
    """A warning for each place with pictures in no class folder."""
    below = [folder for folder in _folders(root) if parts and folder not in parts]
    loose = {place: found[place] for place in (*homes, *([root] if parts else ()), *below) if place in found}
    return [
        Fault(
            "warning",
            "orphan",
            place,
            f"{counted(len(files), 'picture')} in {place}, as {files[0].name}, "
            f"{'lies' if len(files) == 1 else 'lie'} in no class folder, and {'is' if len(files) == 1 else 'are'} "
            "left out",
            "sort them into the class folders",
        )
        for place, files in loose.items()
    ]
