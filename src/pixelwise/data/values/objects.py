"""Masks whose numbers, or colors, tell objects from each other: background and foreground."""

from pixelwise.data.answers import Asked
from pixelwise.data.sample import MaskSource
from pixelwise.data.scan import MAX_VALUES
from pixelwise.data.values.blends import Total
from pixelwise.data.values.classnames import ClassNames
from pixelwise.data.values.reading import Encoding, source_told
from pixelwise.errors import DataError, DataQuestion
from pixelwise.labels import VOID, VOID_16, LabelSet

MIN_OBJECTS = 10
"""Masks that hold 1…n, each to its own n, and one to at least this, seem to number objects."""


def check_objects(total: Total, asked: Asked) -> None:
    """Ask where the masks seem to number objects: each holds 1…n, and n differs."""
    tops: dict[int, MaskSource] = {}
    for path, mask in total.masks.items():
        values = [value for value in mask.values.tolist() if value != -1]
        found = [value & 255 for value in values] if total.kind == "grays" else values
        if found[:1] == [0]:
            found = found[1:]
        if found and found != list(range(1, len(found) + 1)):
            return
        tops.setdefault(len(found), path)
    if len(tops) < 2 or max(tops) < MIN_OBJECTS or len({*tops} - {0}) < 2:
        return
    if asked.answers.counts == "numbers":
        asked.use("numbers")
        return
    low, high = min({*tops} - {0}), max(tops)
    raise DataQuestion(
        f"each mask holds the numbers from 1 up, {tops[low]} to {low} and {tops[high]} to {high}; are they numbers of "
        "objects, or of classes?",
        ("objects", "numbers"),
    )


def read_objects(total: Total, names: ClassNames | None, asked: Asked) -> Encoding:
    """Each number, or color, is an object: 0 or black is background, all others foreground."""
    asked.use("objects")
    said = {value: asked.value(value) for value in total.values} if total.kind != "colors" else {}
    voids = {value for value in total.values if said.get(value) == "void" or (value < 0 and said.get(value) is None)}
    top = max(total.values[-1], 0)
    cut = any(mask.distinct > len(mask.values) for mask in total.masks.values())
    if cut and (total.kind != "numbers" or top > VOID_16):
        raise DataError(f"a mask holds more than {MAX_VALUES} values; expected fewer objects: save them as 0 and 1")
    # other masks may number more objects
    every = (
        range(1, (VOID_16 if cut else max(top, VOID)) + 1)
        if total.kind != "colors" and top <= VOID_16
        else total.values
    )
    table = {total.stored(value): 1 for value in every if value not in voids}
    table |= {0: 0} | {total.stored(value): VOID for value in voids}
    two = ("background", "foreground")
    if names is not None and len(names.classes) in (1, 2):
        named = tuple(names.names[line] for line in names.classes)
        two = (
            (named[0], named[1]) if len(named) == 2 else ("background" if named[0] != "background" else "no", named[0])
        )
    labels = LabelSet(two, table=table, colors=total.kind != "numbers")
    zero = "(0, 0, 0)" if labels.colors else "0"
    sentence = f"{zero} → {two[0]}, every other {'color' if labels.colors else 'number'}, an object's → {two[1]}"
    if voids:
        sentence += f"; {', '.join(str(value) for value in sorted(voids))} → void"
    return Encoding(labels, sentence + source_told(names))
