"""The values of all masks together, and which of them are no class's: smoothed edges, lossy files.

Smoothed edges: three values or more, and more than there are classes, that are hardly ever solid
(`MaskStatistics.solid`), lie between the classes' and stand between them in the picture, too. Up to `MAX_BLENDED` of
all pixels they are taken for the nearest class, with a warning. Above it one is asked, and so where values wobble
around the classes' as in lossy files; where such values do not stand between classes; and where there are only one or
two of them beside two or three classes. Beside small class numbers nothing is snapped unasked: a blend of two is a
third class. One is asked where at least three of them, and as many as there are others, are never solid and stand
between a smaller and a larger one in the picture, as no object does.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from pixelwise.data.answers import Asked
from pixelwise.data.decode import is_lossy, read_mask
from pixelwise.data.layout import Fault
from pixelwise.data.sample import MaskSource, path_of
from pixelwise.data.scan import MAX_VALUES, MaskStatistics
from pixelwise.errors import DataError, DataQuestion
from pixelwise.labels import NEAR, VOID, VOID_16, pack_color, unpack_color, voc_color

MAX_COLORS = 64
"""More different colors than this are taken for a photograph or blended edges."""

MAX_NUMBERS = 200
"""8-bit masks with more different values and no class names are taken for a photograph or probabilities."""

MAX_BLENDED = 0.15
"""Smoothed edges on more than this share of the pixels are asked for."""

ID_LIMIT = 64  # numbers below are class numbers, so that 255 beside them is void
_RARER = 20  # so many times rarer than the class that it wobbles around; and so much of a class's pixels is solid
_LOOKED = 200  # so many pixels of a value are looked at, and of so many masks
_MOST_MASKS = 24
_FEW = 8  # fewer values than this, with only one solid one beside them, may be thin classes
CREAM = pack_color(voc_color(VOID))  # VOC's color for void


Kind = Literal["numbers", "grays", "colors"]


@dataclass(frozen=True)
class Total:
    """All masks together.

    Attributes:
        kind: numbers; grays, which are numbers that stand as colors in the files; or packed colors.
        values: ascending.
        pixels: of all masks, those of other values among them.
    """

    masks: Mapping[MaskSource, MaskStatistics]
    kind: Kind
    values: tuple[int, ...]
    counts: dict[int, int]
    solid: dict[int, int]
    pixels: int

    def stored(self, value: int) -> int:
        """A value as it stands in the files."""
        return pack_color((value, value, value)) if self.kind == "grays" and 0 <= value <= 255 else value

    def shown(self, value: int) -> str:
        """A value in words."""
        if self.kind == "numbers":
            return f"the value {value}"
        return f"the color {unpack_color(self.stored(value))}"

    def place(self, value: int) -> str:
        """Where a value is first found, in words."""
        path = next(path for path, mask in self.masks.items() if self.stored(value) in mask.values)
        row, column = first_place(path, self.stored(value))
        return f"{path} holds {self.shown(value)} at row {row}, column {column}"

    def only(self, values: Iterable[int]) -> "Total":
        """The same with these values alone."""
        return replace(self, values=tuple(sorted({*values} & self.counts.keys())))

    @cached_property
    def solid_values(self) -> list[int]:
        """Those that are solid in more than a chance place: lossy files have such."""
        return [value for value in self.values if self.solid[value] * _RARER >= self.counts[value]]

    def beside(self, values: Iterable[int]) -> int:
        """The pixels of all other values."""
        return self.pixels - sum(self.counts[value] for value in values)


def sum_up(masks: Mapping[MaskSource, MaskStatistics], snap: bool) -> Total:
    """All masks together.

    Raises:
        DataError: some hold colors and some numbers.
    """
    first = {mask.colors: path for path, mask in reversed(list(masks.items()))}
    if len(first) == 2:
        raise DataError(
            f"the masks are in two encodings: {first[True]} holds colors, {first[False]} numbers; "
            "which one is meant? Save all masks in one way"
        )
    counts: dict[int, int] = {}
    solid: dict[int, int] = {}
    for mask in masks.values():
        for value, count, inner in zip(mask.values.tolist(), mask.counts.tolist(), mask.solid.tolist(), strict=True):
            counts[value] = counts.get(value, 0) + count
            solid[value] = solid.get(value, 0) + inner
    pixels = sum(mask.size[0] * mask.size[1] for mask in masks.values())
    total = Total(masks, "colors" if True in first else "numbers", tuple(sorted(counts)), counts, solid, pixels)
    if total.kind == "numbers":
        return total
    gray = [value for value in total.values if is_gray(value)]
    share = sum(counts[value] for value in gray) / pixels
    if len(gray) < len(counts) and not (snap and share > 0.99):
        return total
    return Total(
        masks,
        "grays",
        tuple(value & 255 for value in gray),
        {value & 255: counts[value] for value in gray},
        {value & 255: solid[value] for value in gray},
        pixels,
    )


def raw(total: Total) -> Total:
    """The same, with grays as the colors that stand in the files."""
    if total.kind != "grays":
        return total
    return Total(
        total.masks,
        "colors",
        tuple(total.stored(value) for value in total.values),
        {total.stored(value): count for value, count in total.counts.items()},
        {total.stored(value): count for value, count in total.solid.items()},
        total.pixels,
    )


def first_place(mask: MaskSource, value: int) -> tuple[int, int]:
    """(row, column) of the first pixel of a mask that has a value."""
    row, column = np.argwhere(read_mask(mask, lossy=True).astype(np.int64) == value)[0]
    return int(row), int(column)


def beyond_rows(total: Total, rows: Collection[int], asked: Asked) -> tuple[bool, tuple[Fault, ...]]:
    """Whether values outside the known rows are snapped to them, and the warning.

    Args:
        rows: values as those of `total`.

    Raises:
        DataQuestion: they are too many, or wobble.
    """
    strays = [value for value in total.values if value not in rows]
    if asked.answers.snap:
        asked.use("snap")
        return True, warned(total, [total.stored(value) for value in rows])
    anchors = [value for value in total.values if value in rows]
    small = [value for value in anchors if value not in (-1, VOID, VOID_16)]
    if not strays or not anchors or (total.kind != "colors" and len(small) > 1 and max(small) < ID_LIMIT):
        return False, ()
    near = _wobbling(total, anchors, strays)
    solid = {*total.solid_values}
    between = [value for value in strays if value not in solid and _lies_between(value, anchors, total.kind)]
    if {*near, *between} != {*strays}:
        return False, ()  # there are others, which no snapping explains
    if len(near) >= 3 and 2 * _pixels(total, near) > _pixels(total, strays):
        raise _wobbles(total, near)
    if total.beside(anchors) > MAX_BLENDED * total.pixels:
        raise _smoothed(total, strays, total.beside(anchors))
    return True, warned(total, [total.stored(value) for value in rows])


def unblended(total: Total, asked: Asked) -> tuple[Total, tuple[Fault, ...]]:
    """The values without those of smoothed edges, and the warning; all of them where edges are sharp.

    Raises:
        DataError: they are too many, or wobble around the classes'.
    """
    said = [value for value in total.values if asked.answers.values.get(value) is not None]
    if _are_class_numbers(total):
        _ask_invented(total, asked)
        return total, ()
    solid = total.solid_values
    near = _wobbling(total, solid, [value for value in total.values if value not in said])
    anchors = sorted({*solid, *said} - {*near})
    if len(anchors) == 1:
        anchors = sorted({*anchors, _farthest(total, anchors[0])})
    elif not anchors:
        anchors = [total.values[0], total.values[-1]]
    thin = [value for value in total.values if value not in anchors and value not in solid]
    between = [value for value in thin if _lies_between(value, anchors, total.kind)]
    strays = {*near, *between}
    rest = len({*total.values} - strays)
    if len(strays) > rest and 2 * _pixels(total, near) > _pixels(total, strays):
        if len(near) >= 3:
            raise _wobbles(total, near)
    if 2 * _pixels(total, between) >= _pixels(total, thin):  # the rest of the thin ones is more of the same
        strays |= {value for value in thin if total.counts[value] < 1e-3 * total.pixels}
        rest = len({*total.values} - strays)
    word = "colors" if total.kind == "colors" else "numbers"
    if len(between) < 3 or len(between) <= rest:
        if between and len(between) < 3 and len(anchors) <= 3 and _stand_between(total, between, anchors):
            _ask_thin(total, between, word, asked)
        return total, ()
    kept = [value for value in total.values if value not in strays]
    if not solid:
        check_count(total)
        raise _smoothed(total, between, total.beside(kept))
    if (len(solid) == 1 and len(between) < _FEW) or not _stand_between(total, between, anchors):
        _ask_thin(total, between, word, asked)
        return total, ()
    if total.kind != "colors" and len(small := [v for v in anchors if v != VOID]) > 1 and _are_small(small):
        raise DataError(
            f"the masks have smoothed edges: {len(between)} values occur only along edges, as "
            f"{total.place(between[0])}; a blend of two class numbers is a third one: export the masks again as PNG "
            "without smoothing"
        )
    if total.beside(kept) > MAX_BLENDED * total.pixels:
        raise _smoothed(total, between, total.beside(kept))
    return total.only(kept), warned(total, [total.stored(value) for value in kept])


def _ask_thin(total: Total, values: list[int], word: str, asked: Asked) -> None:
    """Ask whether values that are never solid are classes; return where they are."""
    if asked.answers.counts != word:
        one = len(values) == 1
        raise DataQuestion(
            f"{len(values)} of {len(total.values)} {word} {'occurs' if one else 'occur'} only in thin places, as "
            f"{total.place(values[0])}; {'is it a smoothed edge' if one else 'are they smoothed edges'} or the work of "
            f"a lossy file, or do all {word} count?",
            ("snap", word),
        )
    asked.use(word)


def _ask_invented(total: Total, asked: Asked) -> None:
    """Ask whether small numbers that seem to be blends are classes; return where they are, or there are none.

    Raises:
        DataQuestion: they may be both.
    """
    values = _invented(total)
    if not values:
        return
    if asked.answers.counts != "numbers":
        raise DataQuestion(
            f"{len(values)} of {len(total.values)} numbers are nowhere solid and stand only between a smaller and a "
            f"larger one, as {total.place(values[0])}; the masks seem to have been resized with smoothing, and a blend "
            "of two class numbers is a third one, so that they are best exported again without; else, is the nearest "
            "class good enough, or do all numbers count?",
            ("snap", "numbers"),
        )
    asked.use("numbers")


def _invented(total: Total) -> list[int]:
    """The small numbers that are never solid and have, within three pixels, smaller and larger solid ones about them.

    Nothing where they are fewer than three, or fewer than the solid ones: these may be thin classes.
    """
    if total.kind == "colors":
        return []
    small = [value for value in total.values if value not in (-1, VOID, VOID_16)]
    thin = [value for value in small if not total.solid[value]]
    known = np.array([total.stored(value) for value in small if total.solid[value]])
    least = max(3, len(known))
    if len(known) < 2 or len(thin) < least:
        return []
    looked, inside, masks = dict.fromkeys(thin, 0), dict.fromkeys(thin, 0), 0
    window = np.ones((7, 7), np.uint8)
    for path, statistics in total.masks.items():
        fresh = [v for v in thin if looked[v] < _LOOKED and total.stored(v) in statistics.values]
        if not fresh or masks == _MOST_MASKS:
            continue
        masks += 1
        mask = read_mask(path, lossy=True).astype(np.int64)
        level = mask.astype(np.float32)  # of grays, too: their packed numbers are in the same order
        classes = np.isin(mask, known)
        low = cv2.erode(np.where(classes, level, np.float32(1e9)), window)
        high = cv2.dilate(np.where(classes, level, np.float32(-1e9)), window)
        between = (low < level) & (level < high)
        for value in fresh:
            there = mask == total.stored(value)
            looked[value] += int(there.sum())
            inside[value] += int((there & between).sum())
    found = [value for value in thin if looked[value] and inside[value] >= 0.9 * looked[value]]
    return found if len(found) >= least else []


def snapped(total: Total, asked: Asked) -> tuple[Total, tuple[Fault, ...]]:
    """The values that seem to be classes where all others are to be snapped: solid ones, none near a commoner one."""
    asked.use("snap")
    if _are_class_numbers(total) and (blends := _invented(total)):
        kept = [value for value in total.values if value not in blends or value in asked.answers.values]
        return total.only(kept), warned(total, [total.stored(value) for value in kept])
    small = {value for value in total.values if 0 <= value < ID_LIMIT}
    if _are_class_numbers(total) and (
        len(small & {*total.solid_values}) > 2 or {*total.values} <= {*total.solid_values}
    ):
        return total, ()
    said = {value for value in total.values if asked.answers.values.get(value) is not None}
    kept = sorted(said)
    places = {value: np.array(_point(value, total.kind)) for value in total.values}
    for value in sorted(total.solid_values, key=lambda value: (-total.solid[value], value)):
        apart = min((int(np.abs(places[value] - places[other]).max()) for other in kept), default=VOID_16)
        if apart > NEAR and total.counts[value] >= 1e-4 * total.pixels:
            kept.append(value)
    kept = kept or [max(total.values, key=lambda value: total.counts[value])]
    if len(kept) == 1 and len(total.values) > 1:
        kept.append(_farthest(total, kept[0]))
    if total.kind != "colors" and ID_LIMIT <= max(kept) <= VOID:  # black and white, as they were before
        for end in (0, VOID):
            near_end = [value for value in kept if abs(value - end) <= NEAR and value not in said]
            if len(near_end) == 1 and end in total.values:
                kept[kept.index(near_end[0])] = end
    return total.only(kept), warned(total, [total.stored(value) for value in kept])


def _wobbling(total: Total, anchors: Collection[int], values: Iterable[int]) -> list[int]:
    """The values that are hardly ever solid and within `NEAR` levels of a much commoner anchor."""
    if not anchors:
        return []
    common = list(anchors)
    points = np.array([_point(value, total.kind) for value in common])
    counts = np.array([total.counts[value] for value in common])
    found = []
    for value in values:
        if total.solid[value] * 10 >= total.counts[value]:
            continue
        near = np.abs(points - _point(value, total.kind)).max(1) <= NEAR
        if (near & (counts >= _RARER * total.counts[value])).any():
            found.append(value)
    return found


def _farthest(total: Total, value: int) -> int:
    """The value that is least like another one."""
    here = np.array(_point(value, total.kind))
    return max(total.values, key=lambda v: (int(((np.array(_point(v, total.kind)) - here) ** 2).sum()), v))


def _point(value: int, kind: Kind) -> tuple[int, ...]:
    return unpack_color(value) if kind == "colors" else (value,)


def _pixels(total: Total, values: Iterable[int]) -> int:
    return sum(total.counts[value] for value in values)


def _are_small(values: Collection[int]) -> bool:
    """Whether numbers are small and dense, as class numbers are."""
    return bool(values) and max(values) < ID_LIMIT and 2 * len(values) > max(values)


def _are_class_numbers(total: Total) -> bool:
    """Whether the numbers are small and dense, or dense and so often solid that they are no blends."""
    if total.kind == "colors":
        return {*total.values} <= voc_colors()
    small = [value for value in total.values if value not in (-1, VOID, VOID_16)]
    solid = len({*small} & {*total.solid_values})
    return _are_small(small) or (bool(small) and 2 * len(small) > small[-1] and 2 * solid >= len(small))


def _lies_between(value: int, others: Collection[int], kind: Kind) -> bool:
    """Whether a number is inside the others' range; or a color within 2 of a line or a triangle between others.

    A tenth beyond the range counts, too: cubic resampling overshoots.
    """
    if kind != "colors":
        slack = (max(others) - min(others)) / 10
        return value not in others and min(others) - slack < value < max(others) + slack
    color = np.array(unpack_color(value), float)
    points = np.array([unpack_color(v) for v in others if v != value], float)
    for i, start in enumerate(points):
        ways = points[i + 1 :] - start
        lengths = (ways**2).sum(1)
        t = ways @ (color - start) / np.maximum(lengths, 1)
        near = np.abs(start + t[:, None] * ways - color).max(1, initial=0) <= 2
        if (near & (t > -0.1) & (t < 1.1)).any():
            return True
    return any(_in_triangle(color, points, i) for i in range(min(len(points), 24)))


def _in_triangle(color: NDArray[np.float64], points: NDArray[np.float64], first: int) -> bool:
    """Whether a color is within 2 of a triangle of point `first` and two later ones."""
    start, ways = points[first], points[first + 1 : 24] - points[first]
    if len(ways) < 2:
        return False
    one, two = np.triu_indices(len(ways), 1)
    aa, bb, ab = (ways[one] ** 2).sum(1), (ways[two] ** 2).sum(1), (ways[one] * ways[two]).sum(1)
    ca, cb = ways[one] @ (color - start), ways[two] @ (color - start)
    area = np.maximum(aa * bb - ab**2, 1)
    s, t = (bb * ca - ab * cb) / area, (aa * cb - ab * ca) / area
    near = np.abs(start + s[:, None] * ways[one] + t[:, None] * ways[two] - color).max(1) <= 2
    return bool((near & (s >= 0) & (t >= 0) & (s + t <= 1)).any())


def _stand_between(total: Total, values: Collection[int], anchors: Collection[int]) -> bool:
    """Whether in the first masks that hold such values most of their pixels stand between pixels of the anchors.

    A blend has values below and above it within three pixels, in each channel; an object's number has not.
    """
    strange = np.array([total.stored(value) for value in values])
    known = np.array([total.stored(value) for value in anchors])
    inside, looked = 0, 0
    holding = [path for path, mask in total.masks.items() if np.isin(mask.values, strange).any()]
    window = np.ones((7, 7), np.uint8)
    for path in holding[:3]:
        mask = read_mask(path, lossy=True).astype(np.int64)
        blends, classes = np.isin(mask, strange), np.isin(mask, known)
        for shift in (0, 8, 16) if total.kind == "colors" else (0,):
            level = (mask >> shift & 255 if total.kind != "numbers" else mask).astype(np.float32)
            low = cv2.erode(np.where(classes, level, np.float32(1e9)), window)
            high = cv2.dilate(np.where(classes, level, np.float32(-1e9)), window)
            slack = np.maximum(high - low, 0) / 10 + 2
            there = blends & (low <= high)
            looked += int(there.sum())
            inside += int((there & (level >= low - slack) & (level <= high + slack)).sum())
    return inside >= 0.8 * looked


def warned(total: Total, rows: Collection[int]) -> tuple[Fault, ...]:
    """The warning about pixels whose values, as they stand in the files, are in none of these rows."""
    first, masks, pixels = None, 0, 0
    strange: set[int] = set()
    many = False
    known = np.array([*rows], np.int64)
    for path, mask in total.masks.items():
        stays = np.isin(mask.values, known)
        here = mask.size[0] * mask.size[1] - int(mask.counts[stays].sum())
        if here:
            first, masks, pixels = first or path, masks + 1, pixels + here
            strange.update(mask.values[~stays].tolist())
            many |= mask.distinct > len(mask.values)
    if first is None:
        return ()
    share = 100 * pixels / total.pixels
    reason = (
        f"{first} has smoothed edges or was lossy: {len(strange)}{' or more' if many else ''} "
        f"{'values' if total.kind == 'numbers' else 'colors'} that are no class's, in {pixels:,} pixels "
        f"({f'{share:.1f}' if share >= 0.05 else 'less than 0.1'} %) of {masks} of {len(total.masks)} masks, "
        "are taken for the nearest class"
    )
    remedy = "to be exact, export the masks again as PNG without smoothing (anti-aliasing, resizing, JPEG)"
    return (Fault("warning", "blended", path_of(first), reason, remedy),)


def _smoothed(total: Total, values: Collection[int], pixels: int) -> DataQuestion:
    share = 100 * pixels / total.pixels
    return DataQuestion(
        f"the masks have smoothed edges: {len(values)} {'colors' if total.kind == 'colors' else 'values'} between the "
        f"classes, {share:.0f} % of the pixels, occur only along edges, as {total.place(min(values))}; a blend of two "
        "classes is neither: export the masks again as PNG without smoothing (anti-aliasing, resizing, JPEG), or is "
        "the nearest class good enough?",
        ("snap",),
    )


def _wobbles(total: Total, values: Collection[int]) -> DataQuestion:
    return DataQuestion(
        f"the masks seem to have been lossy files, JPEG for instance: {len(values)} "
        f"{'colors' if total.kind == 'colors' else 'values'} are within {NEAR} levels of a much commoner one, as "
        f"{total.place(min(values))}; export the masks again as PNG from the program that made them, or is the nearest "
        "class good enough?",
        ("snap",),
    )


def check_count(total: Total) -> None:
    """Refuse more values than classes could be."""
    count = len(total.values)
    limit = MAX_COLORS if total.kind == "colors" else MAX_NUMBERS if total.values[-1] <= 255 else MAX_VALUES // 2
    if count <= limit:
        return
    place = total.place(min(total.values, key=lambda value: total.counts[value]))
    solid = total.solid_values
    if total.kind == "colors" and 2 <= len(solid) <= MAX_COLORS and 2 * total.beside(solid) < total.pixels:
        raise _smoothed(total, {*total.values} - {*solid}, total.beside(solid))
    if total.kind == "colors":
        raise DataError(
            f"the masks hold {count}{'' if count < MAX_VALUES else ' or more'} different colors, expected at most "
            f"{MAX_COLORS}: {place}; photographs, smoothed edges or lossy files are no masks: export them again as PNG "
            "without smoothing"
        )
    raise DataQuestion(
        f"the masks hold {count} different values: {place}; are they classes? Then name them in classes.txt. "
        "Photographs and probabilities are no masks. Or are they numbers of objects?",
        ("objects",),
    )


def check_lossy(total: Total) -> None:
    """Refuse lossy colors without a list of the true ones: such files hold them nearly, and small classes not at all.

    Raises:
        DataError: a file is lossy, or colors wobble around others.
    """
    near = _wobbling(total, total.solid_values, total.values)
    wobbles = len(near) >= 3 and 2 * _pixels(total, near) > total.beside(total.solid_values)
    lossy = next((path for path in total.masks if isinstance(path, Path) and is_lossy(path)), None)
    if wobbles or lossy is not None:
        raise DataError(
            (f"{lossy} is" if lossy else f"{total.place(near[0])}: the masks were")
            + " lossy, so that its colors are only near the classes', and nothing tells these; write classes.txt with "
            "lines 'name red green blue'"
        )


def voc_colors() -> set[int]:
    """The colors of VOC's 21 classes and of its void, packed."""
    return {pack_color(voc_color(i)) for i in (*range(21), VOID)}


def is_gray(value: int) -> bool:
    """Whether a packed color has three equal parts."""
    red, green, blue = unpack_color(value)
    return red == green == blue
