"""The file of class names that lies near the masks: classes.txt, labels.txt and their kin.

One class a line: `name`, `id name`, `name r g b`, `r g b name`, or CVAT's `name:r,g,b::`. Lines that are empty or begin
with # do not count. A line called void, ignore or unlabeled is not a class: its pixels are never counted.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pixelwise.data.layout import read_text
from pixelwise.errors import DataError
from pixelwise.labels import Color

FILES = ("classes.txt", "labels.txt", "class_names.txt", "labelmap.txt", "codes.txt")
_VOID_NAMES = frozenset(("void", "ignore", "ignored", "unlabeled", "unlabelled", "__ignore__"))

_CVAT = re.compile(r"([^:]+):(\d{1,3}),(\d{1,3}),(\d{1,3})(?::.*)?")
_COLOR_LAST = re.compile(r"(.*?\S)[\s,;:]+(\d{1,3})[\s,;]+(\d{1,3})[\s,;]+(\d{1,3})")
_COLOR_FIRST = re.compile(r"(\d{1,3})[\s,;]+(\d{1,3})[\s,;]+(\d{1,3})[\s,;:]+(\S.*)")
_ID_FIRST = re.compile(r"(-?\d+)[\s,;:]+(\S.*)")


@dataclass(frozen=True)
class ClassNames:
    """What a file of class names says, line by line.

    Attributes:
        path: the file.
        names: of all lines, void's among them.
        ids: the values in the masks, where the lines begin with them.
        colors: the colors, where the lines have them.
    """

    path: Path
    names: tuple[str, ...]
    ids: tuple[int, ...] | None
    colors: tuple[Color, ...] | None

    @property
    def classes(self) -> list[int]:
        """The lines that are classes, not void."""
        return [i for i, name in enumerate(self.names) if name.lower() not in _VOID_NAMES]


def find_class_names(folders: Iterable[Path], root: Path) -> ClassNames | None:
    """The file of class names in any of the folders or above them, up to `root`; the nearest one.

    Raises:
        DataError: two of them, equally near, say different things; or one cannot be read.
    """
    level = set(folders)
    while level:
        files = sorted(
            file for folder in level for file in folder.iterdir() if file.name.lower() in FILES and file.is_file()
        )
        found = [read_class_names(file) for file in files]
        for other in found[1:]:
            if (other.names, other.ids, other.colors) != (found[0].names, found[0].ids, found[0].colors):
                raise DataError(
                    f"{found[0].path} and {other.path} name different classes; which one is right? Remove the other"
                )
        if found:
            return found[0]
        level = {folder.parent for folder in level if folder != root and root in folder.parents}
    return None


def read_class_names(path: Path) -> ClassNames:
    """The classes of one file.

    Raises:
        DataError: it is empty, mixes formats, or names a class twice.
    """
    lines = [line.strip() for line in read_text(path).splitlines()]
    lines = [line for line in lines if line and not line.startswith("#")]
    if not lines:
        raise DataError(f"{path} is empty; expected one class name a line: fill or remove it")
    names, colors = lines, None
    for pattern, name_at in ((_CVAT, 1), (_COLOR_LAST, 1), (_COLOR_FIRST, 4)):
        matches = [pattern.fullmatch(line) for line in lines]
        if any(matches):
            wrong = next((line for line, match in zip(lines, matches, strict=True) if match is None), None)
            if wrong is not None:
                raise DataError(f"{path} has colors on some lines but not on {wrong!r}; give every class one or none")
            groups = [match.groups() for match in matches if match is not None]
            first = 0 if name_at == 4 else 1
            names = [group[name_at - 1].strip() for group in groups]
            colors = tuple((int(g[first]), int(g[first + 1]), int(g[first + 2])) for g in groups)
            if max(max(color) for color in colors) > 255:
                raise DataError(f"{path} has a color above 255; expected red, green and blue from 0 to 255")
            break
    ids = None
    matches = [_ID_FIRST.fullmatch(name) for name in names]
    if all(matches):
        ids = tuple(int(match[1]) for match in matches if match is not None)
        names = [match[2].strip() for match in matches if match is not None]
        if len(set(ids)) < len(ids):
            raise DataError(f"{path} gives the number {max(ids, key=ids.count)} twice; give every class its own")
    names = [name.rstrip(":").strip() for name in names]
    names = ["background" if name == "_background_" else name for name in names]
    if len(set(names)) < len(names):
        raise DataError(f"{path} names {max(names, key=names.count)!r} twice; give every class its own name")
    if names[0] == "__ignore__" and ids is None and colors is None:
        names = names[1:]  # LabelMe's first line stands for −1
    result = ClassNames(path, tuple(names), ids, colors)
    if not result.classes:
        raise DataError(f"{path} names no class besides void; expected one class name a line")
    return result
