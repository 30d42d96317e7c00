"""What became of each layer in a transplant, for programs and as a table to read."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from pixelwise.surgery.transplant_layers import moved

WIDTH = 60  # of a report's column; longer names push their line to the right


@dataclass(frozen=True)
class Entry:
    """One layer of a report.

    Attributes:
        target: its path in the target; "" for a layer of the source that nothing took.
        source: the path of the layer that it was paired with; "" for none.
        how: what was done, or why nothing.
    """

    target: str
    source: str
    how: str


@dataclass(frozen=True)
class Transplant:
    """What became of each layer: of the target in `copied`, `reshaped` and `left`, of the source in `unused`.

    Attributes:
        copied: has the source's numbers in the same places.
        reshaped: has them in another shape or order, or some of them; `how` says which.
        left: stays as it was; `source` names the layer that did not fit, if there was one.
        unused: layers of the source that no layer of the target was paired with.
    """

    copied: tuple[Entry, ...]
    reshaped: tuple[Entry, ...]
    left: tuple[Entry, ...]
    unused: tuple[Entry, ...]

    @property
    def complete(self) -> bool:
        """No layer of the target stayed as it was."""
        return not self.left

    def __str__(self) -> str:
        """A table; neighbors with one fate share a line."""
        parts = {"copied": self.copied, "reshaped": self.reshaped, "left at start": self.left, "unused": self.unused}
        lines = [", ".join(f"{len(entries)} {name}" for name, entries in parts.items())]
        rows = [(name, *row) for name, entries in parts.items() for row in _rows(entries)]
        width = max((len(where) for _, where, _ in rows if len(where) <= WIDTH), default=0)
        lines += [f"{name:<13}  {where:<{width}}  {how}" for name, where, how in rows]
        return "\n".join(lines)


def _rows(entries: Sequence[Entry]) -> list[tuple[str, str]]:
    """(where, how) of neighbors that have all but their names in common."""

    def fate(entry: Entry) -> tuple[str, ...]:
        return (entry.how, *(moved(entry.target, entry.source)[:2] if entry.target and entry.source else ()))

    rows = []
    for _, alike in groupby(entries, key=fate):
        group = [*alike]
        ours, theirs = (_span([name for name in names if name]) for names in zip(*_names(group), strict=True))
        where = ours if ours == theirs or not theirs else f"{ours} ← {theirs}" if ours else theirs
        rows.append((f"{where} ({len(group)} layers)" if len(group) > 1 else where, group[0].how))
    return rows


def _names(group: Sequence[Entry]) -> list[tuple[str, str]]:
    return [(entry.target, entry.source) for entry in group]


def _span(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} … {names[-1]}" if names else ""
