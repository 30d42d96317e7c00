"""The table of classes on the page of `check`: each class with its values in the files, its share and its pictures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pixelwise.labels import VOID, LabelSet, unpack_color, voc_color


@dataclass(frozen=True)
class ClassRow:
    """One class, or void: what the table says of it."""

    name: str
    color: tuple[int, int, int]
    values: str
    share: float
    pictures: int | None
    splits: tuple[int, ...] = ()


def class_rows(
    record: Mapping[str, Any], labels: LabelSet | None, splits: Mapping[str, int]
) -> tuple[list[ClassRow], list[ClassRow], ClassRow | None]:
    """The classes that occur, those that do not, and void."""
    if labels is None:
        return [], [], None
    pixels = [int(n) for n in record.get("pixel_counts") or [0] * labels.num_classes]
    pictures = [int(n) for n in record.get("image_counts") or [0] * labels.num_classes]
    per_split: Mapping[str, Sequence[int]] = record.get("class_splits") or {}
    unlabeled = int(record.get("void_pixels") or 0)
    total = max(sum(pixels) + unlabeled, 1)
    values = _values_of(labels)
    rows = [
        ClassRow(
            labels.names[i],
            labels.palette[i],
            values.get(i, "–"),
            pixels[i] / total,
            pictures[i],
            tuple(int(per_split[split][i]) for split in splits if split in per_split) if len(splits) > 1 else (),
        )
        for i in range(labels.num_classes)
    ]
    void_value = values.get(labels.void)
    void = None
    if unlabeled or void_value:
        void = ClassRow("void", voc_color(VOID), void_value or "–", unlabeled / total, None)
    return [row for row in rows if row.share], [row for row in rows if not row.share], void


def _values_of(labels: LabelSet) -> dict[int, str]:
    """{class or void: its values in the files, in words}."""
    values: dict[int, list[int]] = {}
    for value, cls in sorted(labels.table.items()):
        values.setdefault(cls, []).append(value)
    return {cls: _colors_told(found) if labels.colors else ranges(found) for cls, found in values.items()}


def _colors_told(values: list[int]) -> str:
    told = [" ".join(str(part) for part in unpack_color(value)) for value in values]
    return ", ".join(told[:4]) + (f" and {len(told) - 4} more" if len(told) > 4 else "")


def ranges(values: Sequence[int]) -> str:
    """Ascending whole numbers with runs drawn together.

    >>> ranges([-1, 0, 1, 2, 7, 9, 10])
    '−1–2, 7, 9, 10'
    """
    runs: list[list[int]] = []
    for value in values:
        if runs and value == runs[-1][-1] + 1:
            runs[-1].append(value)
        else:
            runs.append([value])
    pieces = [f"{run[0]}–{run[-1]}" if len(run) > 2 else ", ".join(str(value) for value in run) for run in runs]
    told = ", ".join(pieces[:8]) + (f" and {len(pieces) - 8} more" if len(pieces) > 8 else "")
    return told.replace("-", "−")
