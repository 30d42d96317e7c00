"""LabelSet: what the numbers of a mask mean.

Inside pixelwise a target holds the classes 0…K−1 and one value `void` for pixels that are never counted: 255 in
uint8, or 65 535 in uint16 when there are more than 255 classes. Files hold anything: 0 and 255, palette indices,
colors. A LabelSet carries the one explicit table from the values of the files to classes, and is saved with a model.
"""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from pixelwise.errors import LabelError

VOID = 255
VOID_16 = 65_535

NEAR = 8
"""So many levels, in each channel, lossy files move the value of a class where it is flat."""

Color = tuple[int, int, int]
ClassMap = NDArray[np.uint8] | NDArray[np.uint16]


def voc_color(index: int) -> Color:
    """The color that PASCAL VOC's map gives to a class index, 0–255 each.

    >>> voc_color(15), voc_color(255)
    ((192, 128, 128), (224, 224, 192))
    """
    red = green = blue = 0
    for bit in range(7, -1, -1):  # bits 0, 1, 2 of the index go to the top bits of red, green, blue, then 3, 4, 5 …
        red |= (index & 1) << bit
        green |= (index >> 1 & 1) << bit
        blue |= (index >> 2 & 1) << bit
        index >>= 3
    return red, green, blue


def pack_color(color: Color) -> int:
    """One number for a color: red·65536 + green·256 + blue.

    >>> pack_color((1, 2, 3))
    66051
    """
    return color[0] << 16 | color[1] << 8 | color[2]


def unpack_color(value: int) -> Color:
    """The color of a packed number.

    >>> unpack_color(66051)
    (1, 2, 3)
    """
    return value >> 16 & 255, value >> 8 & 255, value & 255


@dataclass(frozen=True)
class LabelSet:
    """Names, colors and the table from file values to classes.

    Args:
        names: one per class, in class order; background is a class.
        palette: one RGB color (0–255) per class; VOC's colors if left out.
        table: {value in the file: class or void}; the identity and void itself if left out. With `colors`
            the value is a packed color (`pack_color`).
        colors: the files hold colors, not numbers.
        snap: values outside the table, which smoothed edges and lossy files have, are taken for the nearest class.
    """

    names: tuple[str, ...]
    palette: tuple[Color, ...] = ()
    table: Mapping[int, int] = field(default_factory=dict)
    colors: bool = False
    snap: bool = False

    def __post_init__(self) -> None:
        if not self.names:
            raise LabelError("a label set needs at least one class, got none")
        if len(self.names) > VOID_16:
            raise LabelError(f"a label set holds at most {VOID_16} classes, got {len(self.names)}")
        if not self.palette:
            object.__setattr__(self, "palette", tuple(voc_color(i % 255) for i in range(len(self.names))))
        if len(self.palette) != len(self.names):
            raise LabelError(f"{len(self.names)} classes need as many colors, got {len(self.palette)}")
        if not self.table:
            identity = {i: i for i in range(len(self.names))}
            object.__setattr__(self, "table", identity | {self.void: self.void})
        wrong = [c for c in self.table.values() if c != self.void and not 0 <= c < len(self.names)]
        if wrong:
            raise LabelError(f"the table names class {wrong[0]}, but there are classes 0–{len(self.names) - 1}")

    @property
    def num_classes(self) -> int:
        """K, void excluded."""
        return len(self.names)

    @property
    def void(self) -> int:
        """The value of a target that is never counted: 255, or 65 535 with more than 255 classes."""
        return VOID if len(self.names) <= VOID else VOID_16

    @property
    def dtype(self) -> type[np.uint8] | type[np.uint16]:
        """The type of a target with these classes."""
        return np.uint8 if len(self.names) <= VOID else np.uint16

    def to_classes(self, values: NDArray[Any], *, name: str = "mask") -> ClassMap:
        """Turn the values of a file, (H, W), into classes and void, (H, W).

        With `snap`, a value outside the table is taken for one of its rows: the one row within `NEAR` levels of it,
        where there is just one; else the nearest of the rows that stand so, exactly or nearly, within two pixels
        (5 × 5); else the nearest of all rows. Near is by the difference of numbers, or the distance in RGB; of equals
        the smaller value counts.

        Args:
            values: integers as `decode_mask` returns them; packed colors when `colors`.
            name: what to call the mask in an error.

        Raises:
            LabelError: a value stands in no row of the table; names the first such pixel.
        """
        if values.dtype == np.uint8 and values.size and self.num_classes < VOID:
            quick = self._classes_of_bytes(values)
            if quick is not None:
                return quick
        low, high = int(values.min(initial=0)), int(values.max(initial=0))
        if low >= 0 and high < 1 << 17:
            lookup = np.full(high + 1, -1, np.int32)
            inside = [key for key in self.table if 0 <= key <= high]
            lookup[inside] = [self.table[key] for key in inside]
            classes = lookup[values]
        else:
            keys, targets = self._rows()
            place = np.searchsorted(keys, values).clip(0, len(keys) - 1)
            classes = np.where(keys[place] == values, targets[place], -1)
        if classes.min(initial=0) < 0 and self.snap:
            classes = self._snapped(values, classes < 0)
        elif classes.min(initial=0) < 0:
            row, column = (int(i) for i in np.argwhere(classes < 0)[0])
            raise LabelError(self._unknown_value(int(values[row, column]), name, row, column))
        found: ClassMap = classes.astype(self.dtype)
        return found

    def _classes_of_bytes(self, values: NDArray[np.uint8]) -> ClassMap | None:
        """`to_classes` of fewer than 255 classes, in one pass; None where a value stands in no row."""
        if self._stands_for_itself and values.ndim == 2:
            # void, 255, becomes 0
            following: NDArray[np.uint8] = values + np.uint8(1) if VOID in self.table else values
            return None if following.max() > self.num_classes - (VOID not in self.table) else values.copy()
        import cv2  # loaded with the decoder in any case; the label sets alone do without

        classes = np.asarray(cv2.LUT(values, self._byte_table), np.uint8)
        return None if bytes([VOID - 1]) in classes.tobytes() else classes

    @cached_property
    def _stands_for_itself(self) -> bool:
        """Each class's number is its value in the file, 255 is void or nothing, and there is no other value."""
        return {**self.table, VOID: VOID} == {**{cls: cls for cls in range(self.num_classes)}, VOID: VOID}

    @cached_property
    def _byte_table(self) -> NDArray[np.uint8]:
        """(256,) classes and void of each byte; 254 where it stands in no row."""
        table = np.full(256, VOID - 1, np.uint8)
        for key, cls in self.table.items():
            if 0 <= key < len(table):
                table[key] = cls
        return table

    def nearest(self, values: NDArray[Any]) -> NDArray[np.int32]:
        """(V,) values of a file as classes and void, each by itself: the row that it stands in, or the nearest one."""
        keys, targets = self._rows()
        found: NDArray[np.int32] = targets[self._nearest_rows(values.astype(np.int64), keys)[1]]
        return found

    def _snapped(self, values: NDArray[Any], unknown: NDArray[np.bool_]) -> NDArray[np.int32]:
        """(H, W): the classes of values of which some stand in no row."""
        keys, targets = self._rows()
        points = self._points(keys)
        wide = values.astype(np.int64)
        rows = np.searchsorted(keys, wide).clip(0, len(keys) - 1).astype(np.int32)
        strange, inverse = np.unique(wide[unknown], return_inverse=True)
        near, nearest = self._nearest_rows(strange, keys)
        rows[unknown] = near[inverse]
        y, x = np.nonzero(rows < 0)
        bordered = np.pad(rows, 2, constant_values=-1)
        here = self._points(wide[y, x])
        best = np.full(len(y), len(keys), np.int32)
        least = np.full(len(y), np.iinfo(np.int64).max)
        for dy, dx in itertools.product(range(5), range(5)):
            row = bordered[y + dy, x + dx]
            distance = ((here - points[row]) ** 2).sum(1)
            better = (row >= 0) & ((distance < least) | ((distance == least) & (row < best)))
            best[better], least[better] = row[better], distance[better]
        alone = best == len(keys)
        best[alone] = nearest[np.searchsorted(strange, wide[y[alone], x[alone]])]
        rows[y, x] = best
        found: NDArray[np.int32] = targets[rows]
        return found

    def _rows(self) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """The table's values, ascending, and their classes."""
        keys = np.array(sorted(self.table), np.int64)
        return keys, np.array([self.table[int(key)] for key in keys], np.int32)

    def _nearest_rows(
        self, values: NDArray[np.int64], keys: NDArray[np.int64]
    ) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """(V,) for each value: the one row within `NEAR`, −1 where there is none or several; and the nearest row."""
        points, places = self._points(keys), self._points(values)
        near = np.full(len(values), -1, np.int32)
        nearest = np.zeros(len(values), np.int32)
        step = max(1, (1 << 21) // len(keys))  # values at a time: bounded memory
        for i in range(0, len(values), step):
            apart = np.abs(places[i : i + step, None] - points)
            inside = apart.max(2) <= NEAR
            near[i : i + step] = np.where(inside.sum(1) == 1, inside.argmax(1), -1)
            nearest[i : i + step] = (apart**2).sum(2).argmin(1)
        return near, nearest

    def _points(self, values: NDArray[np.int64]) -> NDArray[np.int64]:
        """(V,) values as points between which there are distances: (V, 3) colors, or (V, 1) numbers."""
        if not self.colors:
            return values[:, None]
        return np.stack([values >> 16 & 255, values >> 8 & 255, values & 255], axis=1)

    def _unknown_value(self, value: int, name: str, row: int, column: int) -> str:
        known = sorted(self.table)
        show = (lambda v: str(unpack_color(v))) if self.colors else str
        listed = ", ".join(show(v) for v in known[:12]) + (" …" if len(known) > 12 else "")
        what = "color" if self.colors else "value"
        return (
            f"{name} holds the {what} {show(value)} at row {row}, column {column}; "
            f"known are {listed}: correct the mask or add the {what} to the classes"
        )

    def colored(self, classes: NDArray[Any]) -> NDArray[np.uint8]:
        """Classes (H, W) as a picture (H, W, 3) in the palette's colors; void is VOC's cream (224, 224, 192)."""
        table = np.zeros((self.void + 1, 3), np.uint8)
        table[: self.num_classes] = self.palette
        table[self.void] = voc_color(VOID)
        picture: NDArray[np.uint8] = table[classes]
        return picture

    def values_of(self, cls: int) -> str:
        """The values in the files that mean a class (or void), for people: "3, 7", "(128, 0, 0)", "255".

        Where the table holds nothing but grays, these are numbers that were saved as RGB: (1, 1, 1) is "1".
        """
        values = [value for value, to in sorted(self.table.items()) if to == cls]
        grays = self.colors and all(value == (value & 255) * 0x010101 for value in self.table)
        shown = [str(unpack_color(v)) if self.colors and not grays else str(v & 255 if grays else v) for v in values]
        return ", ".join(shown[:4]) + (" …" if len(shown) > 4 else "")

    def to_record(self) -> dict[str, Any]:
        """What is written into a model file and a plan."""
        return {
            "names": list(self.names),
            "palette": [list(c) for c in self.palette],
            "table": [[int(k), int(v)] for k, v in sorted(self.table.items())],
            "colors": self.colors,
            "snap": self.snap,
        }

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Self:
        """The label set that `to_record` described."""
        return cls(
            names=tuple(record["names"]),
            palette=tuple((int(r), int(g), int(b)) for r, g, b in record["palette"]),
            table={int(k): int(v) for k, v in record["table"]},
            colors=bool(record["colors"]),
            snap=bool(record.get("snap", False)),
        )
