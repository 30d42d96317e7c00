"""LabelSet: what the numbers of a mask mean.

Inside pixelwise a target holds the classes 0…K−1 and one value `void` for pixels that are never counted: 255 in
uint8, or 65 535 in uint16 when there are more than 255 classes. Files hold anything: 0 and 255, palette indices,
colors. A LabelSet carries the one explicit table from the values of the files to classes, and is saved with a model.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from pixelwise.errors import LabelError

VOID = 255
VOID_16 = 65_535

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
    """

    names: tuple[str, ...]
    palette: tuple[Color, ...] = ()
    table: Mapping[int, int] = field(default_factory=dict)
    colors: bool = False

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

        Args:
            values: integers as `decode_mask` returns them; packed colors when `colors`.
            name: what to call the mask in an error.

        Raises:
            LabelError: a value stands in no row of the table; names the first such pixel.
        """
        low, high = int(values.min(initial=0)), int(values.max(initial=0))
        if low >= 0 and high < 1 << 17:
            lookup = np.full(high + 1, -1, np.int32)
            inside = [key for key in self.table if 0 <= key <= high]
            lookup[inside] = [self.table[key] for key in inside]
            classes = lookup[values]
        else:
            keys = np.array(sorted(self.table), np.int64)
            targets = np.array([self.table[int(key)] for key in keys], np.int32)
            place = np.searchsorted(keys, values).clip(0, len(keys) - 1)
            classes = np.where(keys[place] == values, targets[place], -1)
        if classes.min(initial=0) < 0:
            row, column = (int(i) for i in np.argwhere(classes < 0)[0])
            raise LabelError(self._unknown_value(int(values[row, column]), name, row, column))
        found: ClassMap = classes.astype(self.dtype)
        return found

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

    def to_record(self) -> dict[str, Any]:
        """What is written into a model file and a plan."""
        return {
            "names": list(self.names),
            "palette": [list(c) for c in self.palette],
            "table": [[int(k), int(v)] for k, v in sorted(self.table.items())],
            "colors": self.colors,
        }

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Self:
        """The label set that `to_record` described."""
        return cls(
            names=tuple(record["names"]),
            palette=tuple((int(r), int(g), int(b)) for r, g, b in record["palette"]),
            table={int(k): int(v) for k, v in record["table"]},
            colors=bool(record["colors"]),
        )
