"""A decided reading of the values of masks: its classes, its sentence, and what else a person would want to know."""

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from pixelwise.data.layout import Fault
from pixelwise.data.sample import path_of
from pixelwise.data.values.blends import Total, is_gray
from pixelwise.data.values.classnames import ClassNames
from pixelwise.labels import LabelSet, unpack_color

INVERTED = 1 / 3
"""Where 0 covers less than this share of a binary mask, it may be the object."""

_INVERTED_NAME = re.compile(
    r"invert|inverse|negativ|^(?!.*foreground).*(background|(?<![a-z])bg(?![a-z]))", re.IGNORECASE
)


@dataclass(frozen=True)
class Encoding:
    """A decided reading.

    Attributes:
        labels: the classes.
        sentence: the reading in a sentence.
        faults: warnings: values that were snapped, and in how many pixels.
        notes: what else a person would want to know, as that 0 seems to be the object.
    """

    labels: LabelSet
    sentence: str
    faults: tuple[Fault, ...] = ()
    notes: tuple[str, ...] = ()


def perhaps_inverted(total: Total, table: Mapping[int, int]) -> tuple[str, ...]:
    """A note where 0 of a binary mask seems to be the object: it is the rarer, or the directory's name says so."""
    other = next(value for value, cls in table.items() if cls == 1)
    zeros, ones = total.counts.get(0, 0), total.counts.get(other, 0)
    share = zeros / max(zeros + ones, 1)
    place = next((name for path in total.masks if _INVERTED_NAME.search(name := path_of(path).parent.name)), "")
    if share >= INVERTED and not place:
        return ()
    zero, one = (str(unpack_color(v)) if total.kind == "colors" else str(v) for v in (0, other))
    return (
        f"{zero} covers {100 * share:.0f} % of the pixels and {one} {100 * (1 - share):.0f} %"
        + (f", and the folder is called {place}" if place else "")
        + f": perhaps {zero} is the object; --as inverted names it so",
    )


def in_all(total: Total, beyond: Collection[int]) -> bool:
    """Whether each mask holds a value that its table misses: then the table is wrong, and else the mask."""
    return all(not {*beyond}.isdisjoint(mask.values.tolist()) for mask in total.masks.values())


def table_told(labels: LabelSet) -> str:
    """The table in words: "0 → background, 255 → foreground"."""
    if not labels.colors:
        show: Callable[[int], str] = str
    elif all(is_gray(value) for value in labels.table):  # numbers that were saved as RGB
        show = _gray
    else:
        show = _color
    void = [show(value) for value, cls in sorted(labels.table.items()) if cls == labels.void]
    order = sorted(
        (cls, f"{show(value)} → {labels.names[cls]}") for value, cls in labels.table.items() if cls != labels.void
    )
    rows = [row for _, row in order]
    told = ", ".join(rows[:24]) + (f", … {len(rows) - 24} more" if len(rows) > 24 else "")
    if void:
        told += "; " + ", ".join(void[:8]) + (" …" if len(void) > 8 else "") + " → void"
    return told


def _gray(value: int) -> str:
    return str(value & 255)


def _color(value: int) -> str:
    return str(unpack_color(value))


def source_told(names: ClassNames | None) -> str:
    """The file of names in words."""
    return f", named by {names.path.name}" if names is not None else ""


def and_more(values: Collection[int]) -> str:
    """The further ones in words: " (and 2 more)"."""
    return f" (and {len(values) - 1} more)" if len(values) > 1 else ""
