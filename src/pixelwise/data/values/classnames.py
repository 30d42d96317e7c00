"""The file of class names that lies near the masks: classes.yaml, classes.txt, labels.txt and their kin.

classes.yaml is the whole table from values to classes, and the last word; `pixelwise check` writes it:

    masks: numbers              # what the masks hold; or: colors; or, for drawn outlines: names
    snap: false                 # true: other values are taken for the nearest class; may be left out
    classes:                    # in this order
      - name: background
        color: [0, 0, 0]        # to show it in; may be left out
        values: [0]             # several are one class; colors are [red, green, blue], names as the outlines have them
      - name: road
        values: [7, 8]
    void: [255]                 # values that are never counted; may be left out

The others have one class a line: `name`, `id name`, `name r g b`, `r g b name`, or CVAT's `name:r,g,b::`. Lines that
are empty or begin with # do not count. A line called void, ignore or unlabeled is not a class: its pixels are never
counted. A first line like `name,r,g,b` or `id,name` tells what the columns are. id2label.json holds {"0": "name", …}.
classes.json holds the same, or names with colors: a list of {"name": …, "color": "#50E3C2"}, by itself or under
"classes"; of other forms it is passed over, and so is a _classes.csv without the line that tells its columns.
"""

import csv
import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from pixelwise.data.layout import read_text
from pixelwise.errors import DataError
from pixelwise.files import write_text
from pixelwise.labels import VOID, VOID_16, Color, LabelSet, pack_color, unpack_color, voc_color

TABLES = ("classes.yaml", "classes.yml")
FILES = (
    "classes.txt",
    "labels.txt",
    "class_names.txt",
    "labelmap.txt",
    "codes.txt",
    "label_colors.txt",
    "classes.csv",
    "class_dict.csv",
    "id2label.json",
    "label_names.txt",
    "_classes.csv",
    "classes.json",
)
_PERHAPS = frozenset(("_classes.csv", "classes.json"))  # others, too, call files so that mean something else
_DICTIONARY = re.compile(r".*class_dict.*\.csv")  # class_dict_seg.csv, label_class_dict.csv
_LIKE = re.compile(
    r".*(class|label|categor|legend|palette|color|colour).*\.(txt|csv|tsv|json|yaml|yml|xml|xlsx?|names)"
)
VOID_NAMES = frozenset(
    (
        *("void", "ignore", "ignored", "unlabeled", "unlabelled", "__ignore__", "unknown", "conflicting"),
        *("nodata", "no-data", "no_data", "no data"),
    )
)

_CVAT = re.compile(r"([^:]+):(\d{1,3}),(\d{1,3}),(\d{1,3})(?::.*)?")
_COLOR_LAST = re.compile(r"(.*?\S)[\s,;:]+(\d{1,3})[\s,;]+(\d{1,3})[\s,;]+(\d{1,3})")
_COLOR_FIRST = re.compile(r"(\d{1,3})[\s,;]+(\d{1,3})[\s,;]+(\d{1,3})[\s,;:]+(\S.*)")
_ID_FIRST = re.compile(r"(-?\d+)[\s,;:]+(\S.*)")
_HEX = re.compile(r"#[0-9a-fA-F]{6}")
_COLUMNS = {
    **dict.fromkeys(("name", "class", "classname", "class_name", "label", "class name"), "name"),
    **dict.fromkeys(("id", "index", "value", "idx", "class_id", "classid", "number", "label_id"), "id"),
    **dict.fromkeys(("pixel value", "pixel_value"), "id"),
    "r": "red",
    "red": "red",
    "g": "green",
    "green": "green",
    "b": "blue",
    "blue": "blue",
}


@dataclass(frozen=True)
class ClassNames:
    """What a file of class names says, line by line.

    Attributes:
        path: the file.
        names: of all lines, void's among them.
        ids: the values in the masks, where the lines begin with them.
        colors: the colors, where the lines have them.
        labels: the whole table, where the file is a classes.yaml.
        groups: of a classes.yaml for drawn outlines: the outlines' names that each class of `labels` has, void's last;
            the table of `labels` is of no use then.
    """

    path: Path
    names: tuple[str, ...]
    ids: tuple[int, ...] | None
    colors: tuple[Color, ...] | None
    labels: LabelSet | None = None
    groups: tuple[tuple[str, ...], ...] = ()

    @property
    def classes(self) -> list[int]:
        """The lines that are classes, not void."""
        if self.labels is not None:
            return list(range(len(self.names)))
        return [i for i, name in enumerate(self.names) if name.lower() not in VOID_NAMES]


def find_class_names(folders: Iterable[Path], root: Path, *, tables: bool = True) -> ClassNames | None:
    """The file of class names in any of the folders or above them, up to `root`: the nearest one.

    A classes.yaml counts before all others, however near these are; without `tables`, none does.

    Raises:
        DataError: two of them, equally near, say different things; or one cannot be read.
    """
    folders = set(folders)
    for kinds in (TABLES, FILES) if tables else (FILES,):
        level = folders
        while level:
            files = sorted(
                file
                for folder in level
                for file in folder.iterdir()
                if (file.name.lower() in kinds or (kinds is FILES and _DICTIONARY.fullmatch(file.name.lower())))
                and file.is_file()
            )
            found = [read_class_names(file) for file in files if _is_readable(file)]
            for other in found[1:]:
                if replace(other, path=found[0].path) != found[0]:
                    raise DataError(
                        f"{found[0].path} and {other.path} name different classes; which one is right? Remove the other"
                    )
            if found:
                return found[0]
            level = {folder.parent for folder in level if folder != root and root in folder.parents}
    return None


def unread_lists(folders: Iterable[Path]) -> list[Path]:
    """The files in any of the folders that are called like a list of classes but are not read as one."""
    return sorted(
        file
        for folder in set(folders)
        for file in (folder.iterdir() if os.access(folder, os.R_OK | os.X_OK) and folder.is_dir() else ())
        if _LIKE.fullmatch(file.name.lower())
        and file.is_file()
        and (not _is_known(file) or not _is_readable(file))
        and not file.name.startswith(".")
    )


def _is_known(path: Path) -> bool:
    name = path.name.lower()
    return name in TABLES or name in FILES or _DICTIONARY.fullmatch(name) is not None


def _is_readable(path: Path) -> bool:
    """Whether a file of class names is one, where its name does not make sure of it."""
    if path.name.lower() not in _PERHAPS:
        return True
    try:
        if path.suffix.lower() == ".csv":
            lines = read_text(path).splitlines()
            cells = [_COLUMNS.get(cell.strip().strip('"').lower()) for cell in lines[0].split(",")] if lines else []
            return len(cells) > 1 and "name" in cells and None not in cells
        _json(path)
    except DataError:
        return False
    return True


def read_class_names(path: Path) -> ClassNames:
    """The classes of one file.

    Raises:
        DataError: it is empty, mixes formats, or names a class twice.
    """
    if path.suffix.lower() in (".yaml", ".yml"):
        labels, outlines = _table(path)
        return ClassNames(path, labels.names, None, None, labels, outlines)
    if path.suffix.lower() == ".json":
        return _checked(path, *_json(path))
    lines = [line.strip() for line in read_text(path).splitlines()]
    lines = [line for line in lines if line and not line.startswith("#")]
    if not lines:
        raise DataError(f"{path} is empty; expected one class name a line: fill or remove it")
    columns = [_COLUMNS.get(cell.strip().strip('"').lower()) for cell in re.split(r"[,;\t]", lines[0])]
    if len(columns) > 1 and "name" in columns and None not in columns and len(lines) > 1:
        return _checked(path, *_columns(path, lines, [str(column) for column in columns]))
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
            break
    ids = None
    matches = [_ID_FIRST.fullmatch(name) for name in names]
    if all(matches):
        ids = tuple(int(match[1]) for match in matches if match is not None)
        names = [match[2].strip() for match in matches if match is not None]
    names = [name.rstrip(":").strip() for name in names]
    if names[0] == "__ignore__" and ids is None and colors is None:
        names = names[1:]  # LabelMe's first line stands for −1
    return _checked(path, names, ids, colors)


def _checked(path: Path, names: list[str], ids: tuple[int, ...] | None, colors: tuple[Color, ...] | None) -> ClassNames:
    if ids is not None and len(set(ids)) < len(ids):
        raise DataError(f"{path} gives the number {max(ids, key=ids.count)} twice; give every class its own")
    if colors is not None and max(max(color) for color in colors) > 255:
        raise DataError(f"{path} has a color above 255; expected red, green and blue from 0 to 255")
    names = ["background" if name == "_background_" else name for name in names]
    if len(set(names)) < len(names):
        raise DataError(f"{path} names {max(names, key=names.count)!r} twice; give every class its own name")
    result = ClassNames(path, tuple(names), ids, colors)
    if not result.classes:
        raise DataError(f"{path} names no class besides void; expected one class name a line")
    return result


def _columns(
    path: Path, lines: list[str], columns: list[str]
) -> tuple[list[str], tuple[int, ...] | None, tuple[Color, ...] | None]:
    """(names, ids, colors) of lines below a line that tells the columns."""
    separator = next(sign for sign in ",;\t" if sign in lines[0])
    names, ids, colors = [], [], []
    for cells in csv.reader(lines[1:], delimiter=separator, skipinitialspace=True):
        row = dict(zip(columns, (cell.strip() for cell in cells), strict=False))
        numbers = {key: value for key, value in row.items() if key != "name"}
        if len(row) < len(set(columns)) or not row["name"] or not all(_is_number(n) for n in numbers.values()):
            raise DataError(f"{path} has the line {separator.join(cells)!r}; expected {separator.join(columns)}")
        names.append(row["name"])
        ids.append(int(row.get("id", 0)))
        colors.append((int(row.get("red", 0)), int(row.get("green", 0)), int(row.get("blue", 0))))
    return (
        names,
        tuple(ids) if "id" in columns else None,
        tuple(colors) if {"red", "green", "blue"} <= {*columns} else None,
    )


def _is_number(text: str) -> bool:
    return re.fullmatch(r"-?\d{1,9}", text) is not None


def _json(path: Path) -> tuple[list[str], tuple[int, ...] | None, tuple[Color, ...] | None]:
    """(names, ids, colors) of {"0": "name"}, of {"name": 0}, or of a list of names with their colors."""
    try:
        record = json.loads(read_text(path))
    except ValueError as error:
        raise DataError(f"{path} is no JSON ({error}); write it anew") from error
    rows = record.items() if isinstance(record, dict) else ()
    if rows and all(_is_number(key) and isinstance(value, str) and value.strip() for key, value in rows):
        return [value.strip() for _, value in rows], tuple(int(key) for key, _ in rows), None
    if rows and all(type(value) is int for _, value in rows):
        return [key.strip() for key, _ in rows], tuple(value for _, value in rows), None
    listed = record.get("classes") if isinstance(record, dict) else record
    if isinstance(listed, list) and listed and all(isinstance(row, dict) for row in listed):
        names = [row.get("name", row.get("title")) for row in listed]
        colors = [_json_color(row.get("color")) for row in listed]
        if all(isinstance(name, str) and name.strip() for name in names) and None not in colors:
            told = tuple(color for color in colors if color is not None)
            return [name.strip() for name in names], None, told
    raise DataError(
        f'{path} does not tell names by number; expected {{"0": "name", …}} or, with colors, [{{"name": "cat", '
        '"color": "#50E3C2"}, …]'
    )


def _json_color(value: Any) -> Color | None:
    """The color in "#50E3C2" or [80, 227, 194]; None where it is neither."""
    if isinstance(value, str) and _HEX.fullmatch(value):
        return unpack_color(int(value[1:], 16))
    return (value[0], value[1], value[2]) if _is_color(value) else None


def write_classes(labels: LabelSet, path: Path, *, drawn: LabelSet | None = None) -> None:
    """Write the table as a classes.yaml, to be read by `read_class_names` or edited.

    Args:
        drawn: the classes of drawn outlines, whose names then stand in place of the values: these depend on which
            names occur.
    """
    values: dict[int, list[str]] = {}
    for value, cls in sorted(labels.table.items()):
        shown = str(list(unpack_color(value))) if labels.colors else str(value)
        if drawn is not None:
            own = drawn.table.get(value, drawn.void)
            shown = _scalar("void" if own == drawn.void else drawn.names[own])
        if shown not in values.setdefault(cls, []):
            values[cls].append(shown)
    kind = "names" if drawn is not None else "colors" if labels.colors else "numbers"
    lines = [
        f"# What the {kind} in the masks mean. Those in one list are one class; those under void are never counted.",
        f"masks: {kind}",
        *(["snap: true  # other values are taken for the nearest class"] if labels.snap else []),
        "classes:",
    ]
    for i, (name, color) in enumerate(zip(labels.names, labels.palette, strict=True)):
        lines += [
            f"  - name: {_scalar(name)}",
            f"    color: {list(color)}",
            f"    values: [{', '.join(values.get(i, []))}]",
        ]
    lines.append(f"void: [{', '.join(values.get(labels.void, []))}]")
    write_text("\n".join(lines) + "\n", path)


def _scalar(name: str) -> str:
    """A name as YAML writes it: bare where that is read as the same text, in a list, too; else in quotes."""
    try:
        if yaml.safe_load(f"name: {name}") == {"name": name} and yaml.safe_load(f"[{name}]") == [name]:
            return name
    except yaml.YAMLError:
        pass
    return str(yaml.safe_dump(name, default_style='"', allow_unicode=True, width=1 << 30)).strip()


def _table(path: Path) -> tuple[LabelSet, tuple[tuple[str, ...], ...]]:
    """The label set of a classes.yaml; and the names of outlines that each class has, void's last, or nothing.

    Raises:
        DataError: it is no such table; the message names the key.
    """
    try:
        record = yaml.load(read_text(path), _StrictLoader)
    except yaml.YAMLError as error:
        raise DataError(f"{path} is no YAML ({' '.join(str(error).split())}); correct it") from error
    _check_keys(path, "the file", record, {"masks", "snap", "classes", "void"}, {"classes"})
    kind, snap = record.get("masks", "numbers"), record.get("snap", False)
    if kind not in ("numbers", "colors", "names"):
        raise DataError(f"{path}: masks is {kind!r}; expected numbers, colors or names")
    if not isinstance(snap, bool):
        raise DataError(f"{path}: snap is {snap!r}; expected true or false")
    rows = record["classes"]
    if not isinstance(rows, list) or not 0 < len(rows) <= VOID_16:
        raise DataError(f"{path}: classes is {_short(rows)}; expected a list of classes, each with name and values")
    void = VOID if len(rows) <= VOID else VOID_16
    names: list[str] = []
    palette: list[Color] = []
    table: dict[int, int] = {}
    owners: dict[int | str, str] = {}
    groups: list[tuple[str, ...]] = []

    def take(key: str, owner: str, listed: Any, cls: int) -> None:
        values = _outlines(path, key, listed) if kind == "names" else _values(path, key, listed, kind == "colors")
        for value in values:
            if value in owners:
                shown = list(unpack_color(value)) if kind == "colors" and isinstance(value, int) else value
                raise DataError(f"{path}: {key} holds {shown}, which {owners[value]} has already; give it to one")
            owners[value] = owner
            if isinstance(value, int):
                table[value] = cls
        groups.append(tuple(value for value in values if isinstance(value, str)))

    for i, row in enumerate(rows):
        key = f"classes, {i + 1}"
        _check_keys(path, key, row, {"name", "color", "values"}, {"name", "values"})
        name = row["name"]
        if not isinstance(name, str) or not name.strip():
            raise DataError(f"{path}: {key}: name is {_short(name)}; expected text, in quotes where it is a number")
        if name in names:
            raise DataError(f"{path}: {key}: name is {name!r}, which was there before; give every class its own name")
        color = row.get("color", list(voc_color(i % 255)))
        if not _is_color(color):
            raise DataError(f"{path}: {key} ({name}): color is {_short(color)}; expected [red, green, blue], 0 to 255")
        names.append(name)
        palette.append((color[0], color[1], color[2]))
        take(f"{key} ({name}): values", name, row["values"], i)
    take("void", "void", record.get("void") or [], void)
    if not any(groups[:-1]) and not any(cls != void for cls in table.values()):
        raise DataError(f"{path}: no class has values; expected the values in the masks that are each class")
    labels = LabelSet(tuple(names), tuple(palette), table, kind == "colors", snap)
    return labels, tuple(groups) if kind == "names" else ()


class _StrictLoader(yaml.SafeLoader):
    """YAML that refuses a key that stands twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"the key {key.value} stands twice", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def _check_keys(path: Path, what: str, record: Any, known: set[str], needed: set[str]) -> None:
    if not isinstance(record, Mapping):
        raise DataError(f"{path}: {what} is {_short(record)}; expected {', '.join(sorted(known))}")
    strange = [key for key in record if key not in known]
    if strange:
        raise DataError(f"{path}: {what} has the unknown key {strange[0]!r}; expected {', '.join(sorted(known))}")
    missing = sorted(needed - set(record))
    if missing:
        raise DataError(f"{path}: {what} has no {missing[0]}; expected {', '.join(sorted(needed))}")


def _values(path: Path, key: str, listed: Any, colors: bool) -> list[int]:
    what = "a list of colors [red, green, blue], 0 to 255" if colors else "a list of whole numbers"
    if not isinstance(listed, list):
        raise DataError(f"{path}: {key} is {_short(listed)}; expected {what}")
    for value in listed:
        if not (_is_color(value) if colors else type(value) is int):
            hint = "; for colors write 'masks: colors'" if not colors and _is_color(value) else ""
            raise DataError(f"{path}: {key} holds {_short(value)}; expected {what}{hint}")
    return [pack_color((value[0], value[1], value[2])) if colors else value for value in listed]


def _outlines(path: Path, key: str, listed: Any) -> list[str]:
    what = "a list of the names that the outlines have, in quotes where they are numbers"
    if not isinstance(listed, list):
        raise DataError(f"{path}: {key} is {_short(listed)}; expected {what}")
    for value in listed:
        if not isinstance(value, str):
            raise DataError(f"{path}: {key} holds {_short(value)}; expected {what}")
    return listed


def _is_color(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 3 and all(type(n) is int and 0 <= n <= 255 for n in value)


def _short(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else shown[:57] + "…"
