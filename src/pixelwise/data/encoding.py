"""How the values of masks become classes: the one place where a reading is decided, or refused with its question.

The readings, in this order:

1. A known data set's own table, where the layout says which set it is.
2. A file of class names (classes.txt …): its ids, its colors, or its lines as the numbers 0…N−1; as 1…N where the
   masks hold N and no 0; as the N different values in ascending order where there are exactly N.
3. Two values, 0 and another: background and foreground. 0/255 is binary: 255 is foreground there, not void.
4. The different values in ascending order, colors with black first. −1 is void. So is 255 (65 535 in 16-bit files)
   beside small or dense numbers; beside evenly spaced grays up to 255 it is a class; in between it is asked for.

Refused: masks of colors beside masks of numbers; palettes that disagree; more than 64 colors; values that occur only
at edges and lie between others (smoothed masks); values beyond the class names.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pixelwise.data.classnames import ClassNames
from pixelwise.data.decode import decode_mask
from pixelwise.data.scan import MAX_VALUES, MaskStatistics
from pixelwise.errors import DataError
from pixelwise.labels import VOID, VOID_16, Color, LabelSet, pack_color, unpack_color, voc_color

MAX_COLORS = 64
"""More different colors than this are taken for a photograph or blended edges."""

MAX_NUMBERS = 200
"""8-bit masks with more different values and no class names are taken for a photograph or probabilities."""

_ID_LIMIT = 64  # numbers below are class numbers, so that 255 beside them is void
_CREAM = pack_color(voc_color(VOID))  # VOC's color for void


@dataclass(frozen=True)
class Encoding:
    """A decided reading: the label set, and one sentence that tells it."""

    labels: LabelSet
    sentence: str


@dataclass(frozen=True)
class _Total:
    """All masks together."""

    masks: Mapping[Path, MaskStatistics]
    values: tuple[int, ...]  # ascending
    counts: dict[int, int]
    solid: dict[int, int]

    def first(self, value: int) -> Path:
        """The first mask that holds a value."""
        return next(path for path, mask in self.masks.items() if value in mask.values)

    def place(self, value: int, colors: bool) -> str:
        """Where a value is first found, in words."""
        path = self.first(value)
        row, column = first_place(path, value)
        return f"{path} holds {_shown(value, colors)} at row {row}, column {column}"


def first_place(path: Path, value: int) -> tuple[int, int]:
    """(row, column) of the first pixel of a mask that has a value."""
    row, column = np.argwhere(decode_mask(path).astype(np.int64) == value)[0]
    return int(row), int(column)


def decide(
    masks: Mapping[Path, MaskStatistics], *, names: ClassNames | None = None, known: tuple[LabelSet, ...] = ()
) -> Encoding:
    """Decide what the values of the masks mean.

    Args:
        masks: what each mask holds; at least one.
        names: the file of class names, if there is one.
        known: label sets that the layout is known for; then a value outside is the mask's fault, not this function's.

    Raises:
        DataError: no reading fits, or several do; the message is the question.
    """
    total = _sum(masks)
    colors = _one_kind(masks)
    fitting = [labels for labels in known if labels.colors == colors]
    exact = [labels for labels in fitting if labels.table.keys() >= set(total.values)]
    if exact or (fitting and names is None):
        labels = (exact or fitting)[0]
        return Encoding(labels, "the data set's own: " + _told(labels))
    _check_palettes(masks)
    _check_count(total, colors, names)
    if names is not None and names.colors is not None and colors:
        return _named_colors(total, names)
    _check_blended(total, colors)
    if colors and not all(_is_gray(value) for value in total.values):
        return _colors(total, names)
    # grays saved as RGB are read as the numbers that they are
    gray = {value: value & 255 if colors else value for value in total.values}
    numbers = tuple(sorted(gray.values()))
    table, class_names, palette = (
        _numbers(numbers, total, colors) if names is None else _named_numbers(numbers, total, names, colors)
    )
    if names is None or names.colors is None:
        palette = _palette(masks, table, len(class_names)) or palette
    if colors:
        table = {pack_color((value, value, value)): cls for value, cls in table.items() if 0 <= value <= 255}
    labels = LabelSet(class_names, palette, table, colors)
    return Encoding(labels, _told(labels) + (f", named by {names.path.name}" if names is not None else ""))


def _sum(masks: Mapping[Path, MaskStatistics]) -> _Total:
    counts: dict[int, int] = {}
    solid: dict[int, int] = {}
    for mask in masks.values():
        for value, count, inner in zip(mask.values.tolist(), mask.counts.tolist(), mask.solid.tolist(), strict=True):
            counts[value] = counts.get(value, 0) + count
            solid[value] = solid.get(value, 0) + inner
    return _Total(masks, tuple(sorted(counts)), counts, solid)


def _one_kind(masks: Mapping[Path, MaskStatistics]) -> bool:
    """Whether the masks hold colors."""
    first = {mask.colors: path for path, mask in reversed(list(masks.items()))}
    if len(first) == 2:
        raise DataError(
            f"the masks are in two encodings: {first[True]} holds colors, {first[False]} numbers; "
            "which one is meant? Save all masks in one way"
        )
    return True in first


def _check_palettes(masks: Mapping[Path, MaskStatistics]) -> None:
    """An index must have the same color in every palette that uses it; else colors, not indices, may be the classes."""
    seen: dict[int, tuple[int, Path]] = {}
    for path, mask in masks.items():
        for value, color in (mask.palette or {}).items():
            before, first = seen.setdefault(value, (color, path))
            if before != color:
                raise DataError(
                    f"palettes disagree: {value} is {unpack_color(before)} in {first} and {unpack_color(color)} in "
                    f"{path}; do the numbers count, or the colors? Save all masks with one palette, or as RGB"
                )


def _check_count(total: _Total, colors: bool, names: ClassNames | None) -> None:
    if colors and len(total.values) > MAX_COLORS and (names is None or names.colors is None):
        rare = min(total.values, key=lambda value: total.counts[value])
        raise DataError(
            f"the masks hold {len(total.values)}{'' if len(total.values) < MAX_VALUES else ' or more'} different "
            f"colors, expected at most {MAX_COLORS}: {total.place(rare, colors)}; photographs, smoothed edges or "
            "lossy files are no masks: export them again as PNG without smoothing"
        )
    if not colors and names is None:
        limit = MAX_NUMBERS if total.values[-1] <= 255 else MAX_VALUES // 2
        if len(total.values) > limit:
            rare = min(total.values, key=lambda value: total.counts[value])
            raise DataError(
                f"the masks hold {len(total.values)} different values: {total.place(rare, colors)}; are they classes? "
                "Then name them in classes.txt. Photographs, probabilities and numbers of objects are no masks"
            )


def _check_blended(total: _Total, colors: bool) -> None:
    """Refuse smoothed masks: three values or more, and most of all, that are never solid and lie between others."""
    if not colors:
        small = [value for value in total.values if value not in (-1, VOID, VOID_16)]
        if small and small[-1] < _ID_LIMIT and 2 * len(small) > small[-1]:
            return  # class numbers, thin as they may be
    elif {*total.values} <= _voc_colors():
        return
    solid = [value for value in total.values if total.solid[value]]
    thin = [value for value in total.values if not total.solid[value]]
    thin = [value for value in thin if _lies_between(value, solid or [*total.values], colors)]
    if len(thin) >= 3 and len(thin) > len(solid):
        raise DataError(
            f"the masks have smoothed edges: {len(thin)} {'colors' if colors else 'values'} between the classes occur "
            f"only along edges, as {total.place(thin[0], colors)}; a blend of two classes is neither: export the masks "
            "again as PNG without smoothing (anti-aliasing, resizing, JPEG)"
        )


def _lies_between(value: int, others: list[int], colors: bool) -> bool:
    """Whether a number is inside the others' range; or a color within 2 of the line between two others."""
    if not colors:
        return min(others) < value < max(others)
    color = np.array(unpack_color(value), float)
    points = np.array([unpack_color(v) for v in others if v != value], float)
    for start in points:
        ways = points - start
        lengths = (ways**2).sum(1)
        with np.errstate(invalid="ignore", divide="ignore"):
            t = ways @ (color - start) / lengths
            near = np.abs(start + t[:, None] * ways - color).max(1) <= 2
        if (near & (t > 0) & (t < 1)).any():
            return True
    return False


_Reading = tuple[dict[int, int], tuple[str, ...], tuple[Color, ...]]  # table, names, palette or none


def _numbers(values: tuple[int, ...], total: _Total, colors: bool) -> _Reading:
    """Numbers without names: each different one is a class, but for void."""
    classes = [value for value in values if value != -1]
    void = VOID_16 if classes and classes[-1] > VOID else VOID
    if void in classes and _is_void(classes, void, total, colors):
        classes.remove(void)
    if not classes:
        raise DataError(
            f"every pixel of the {len(total.masks)} masks is void; expected classes: export the masks again"
        )
    if len(classes) == 2 and classes[0] == 0:
        names: tuple[str, ...] = ("background", "foreground")
    elif classes == [0]:
        names = ("background",)
    else:
        names = tuple(f"class {value}" for value in classes)
    inner_void = VOID if len(classes) <= VOID else VOID_16
    table = {value: inner_void for value in values} | {value: i for i, value in enumerate(classes)}
    return table, names, ()


def _is_void(values: list[int], top: int, total: _Total, colors: bool) -> bool:
    """Whether 255 (or 65 535) beside other numbers is void.

    Raises:
        DataError: both readings are as likely.
    """
    others = [value for value in values if value != top]
    cream = any((mask.palette or {}).get(top) == _CREAM for mask in total.masks.values())  # VOC's color of void
    if others in ([], [0]) and not cream:
        return False
    if others and others != [0] and (others[-1] < _ID_LIMIT or 2 * len(others) > others[-1]):
        return True
    steps = [round(i * top / len(others)) for i in range(len(values))]
    if not cream and (
        len(others) == 1 or all(abs(value - step) <= 1 for value, step in zip(values, steps, strict=True))
    ):
        return False
    shown = ", ".join(str(value) for value in others[:12]) + (" …" if len(others) > 12 else "")
    raise DataError(
        f"the masks hold {shown} and {top}; is {top} a class or void (never counted)? "
        f"{total.place(pack_color((top,) * 3) if colors else top, colors)}: write classes.txt beside the masks with a "
        f"line 'value name' for each class, and '{top} void' if it is void"
    )


def _named_numbers(values: tuple[int, ...], total: _Total, names: ClassNames, colors: bool) -> _Reading:
    """Numbers with a file of names."""
    count = len(names.names)
    found = [value for value in values if value != -1]
    void = VOID_16 if found and found[-1] > VOID else VOID
    if names.ids is not None:
        rows = list(names.ids)
        beyond = [value for value in found if value not in rows and value != void]
        if beyond:
            where = total.place(_packed(beyond[0], colors), colors)
            raise DataError(f"{where}, which {names.path} does not list; correct the mask or add the line")
    else:
        rows = _rows(found, void, count, names, total, colors)
    classes = names.classes
    inner_void = VOID if len(classes) <= VOID else VOID_16
    table = {value: inner_void for value in values if value == -1 or (value == void and value not in rows)}
    table |= {row: inner_void for row in rows}
    table |= {rows[line]: i for i, line in enumerate(classes)}
    palette = () if names.colors is None else tuple(names.colors[line] for line in classes)
    return table, tuple(names.names[line] for line in classes), palette


def _rows(found: list[int], void: int, count: int, names: ClassNames, total: _Total, colors: bool) -> list[int]:
    """The value that each line of a file of names stands for."""
    without = [value for value in found if value != void]
    if found == [0, void] and count != 2:
        raise DataError(
            f"the masks hold 0 and {void}, but {names.path} has {count} {'name' if count == 1 else 'names'}; "
            "which are they? Expected two lines, for background and foreground"
        )
    if found == [0, void]:
        return found
    if not without or without[-1] < count:
        return list(range(count))
    if without[0] >= 1 and without[-1] == count:
        return list(range(1, count + 1))
    if without != list(range(count + 1)):
        for candidate in (found, without):
            if len(candidate) == count:
                return candidate
    where = total.place(_packed(without[-1], colors), colors)
    question = (
        "is 0 void, or a background that is missing there? Write lines 'value name', as '0 background' or '0 void'"
        if without == list(range(count + 1))
        else "correct the mask, or write a line 'value name' for each class"
    )
    raise DataError(
        f"{names.path} has {count} {'name' if count == 1 else 'names'}, but the masks hold {len(found)} values: "
        f"{where}; {question}"
    )


def _colors(total: _Total, names: ClassNames | None) -> Encoding:
    """Colors without a table: each is a class, black first, VOC's cream void beside VOC's colors."""
    classes = list(total.values)
    if _CREAM in classes and {*classes} <= _voc_colors():
        classes.remove(_CREAM)
    if names is not None and not (len(names.names) == len(classes) == 2 and classes[0] == 0):
        shown = ", ".join(str(unpack_color(value)) for value in classes[:12]) + (" …" if len(classes) > 12 else "")
        raise DataError(
            f"the masks hold the colors {shown}, and {names.path} has {len(names.names)} names without colors; "
            "which is which? Write lines 'name red green blue'"
        )
    binary = len(classes) == 2 and classes[0] == 0
    if names is not None:
        class_names = names.names
    else:
        class_names = ("background", "foreground") if binary else tuple(f"class {i}" for i in range(len(classes)))
    table = {value: VOID for value in total.values} | {value: i for i, value in enumerate(classes)}
    labels = LabelSet(class_names, tuple(unpack_color(value) for value in classes), table, colors=True)
    return Encoding(labels, _told(labels) + (f", named by {names.path.name}" if names is not None else ""))


def _named_colors(total: _Total, names: ClassNames) -> Encoding:
    """Colors that a file of names lists."""
    assert names.colors is not None
    listed = [pack_color(color) for color in names.colors]
    if len(set(listed)) < len(listed):
        twice = max(listed, key=listed.count)
        raise DataError(f"{names.path} gives the color {unpack_color(twice)} twice; give every class its own")
    classes = names.classes
    table = {value: VOID for value in listed} | {listed[line]: i for i, line in enumerate(classes)}
    table.setdefault(_CREAM, VOID)
    beyond = [value for value in total.values if value not in table]
    if beyond:
        raise DataError(
            f"{total.place(beyond[0], True)}, a color that {names.path} does not list (and {len(beyond) - 1} more); "
            "correct the mask or add the color"
        )
    palette = tuple(names.colors[line] for line in classes)
    labels = LabelSet(tuple(names.names[line] for line in classes), palette, table, colors=True)
    return Encoding(labels, f"{_told(labels)}, named by {names.path.name}")


def _voc_colors() -> set[int]:
    return {pack_color(voc_color(i)) for i in (*range(21), VOID)}


def _is_gray(value: int) -> bool:
    red, green, blue = unpack_color(value)
    return red == green == blue


def _packed(value: int, colors: bool) -> int:
    return pack_color((value, value, value)) if colors else value


def _palette(masks: Mapping[Path, MaskStatistics], table: Mapping[int, int], num_classes: int) -> tuple[Color, ...]:
    """The classes' colors from the masks' palettes; none where these are missing, gray, or the same twice."""
    colors: dict[int, Color] = {}
    for mask in masks.values():
        for value, color in (mask.palette or {}).items():
            if table.get(value, num_classes) < num_classes:
                colors[table[value]] = unpack_color(color)
    if not colors or all(red == green == blue for red, green, blue in colors.values()):
        return ()
    palette = tuple(colors.get(i, voc_color(i % 255)) for i in range(num_classes))
    return palette if len(set(palette)) == num_classes else ()


def _shown(value: int, colors: bool) -> str:
    return f"the color {unpack_color(value)}" if colors else f"the value {value}"


def _told(labels: LabelSet) -> str:
    """The table in words: "0 → background, 255 → foreground"."""
    show = (lambda value: str(unpack_color(value))) if labels.colors else str
    void = [show(value) for value, cls in sorted(labels.table.items()) if cls == labels.void]
    order = sorted(
        (cls, f"{show(value)} → {labels.names[cls]}") for value, cls in labels.table.items() if cls != labels.void
    )
    rows = [row for _, row in order]
    told = ", ".join(rows[:24]) + (f", … {len(rows) - 24} more" if len(rows) > 24 else "")
    if void:
        told += "; " + ", ".join(void[:8]) + (" …" if len(void) > 8 else "") + " → void"
    return told
