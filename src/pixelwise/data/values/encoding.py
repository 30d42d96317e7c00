"""How the values of masks become classes: the one place where a reading is decided, or refused with its question.

The readings, in this order:

1. A classes.yaml: its table, and nothing is asked.
2. A known data set's own table, where the layout says which set it is.
3. A file of class names (classes.txt …): its ids, its colors, or its lines as the numbers 0…N−1; as 1…N where the
   masks hold N and no 0; as the N different values in ascending order where there are exactly N.
4. Two values, 0 and another: background and foreground. 0/255 is binary: 255 is foreground there, not void.
5. Colors that are all in one known palette, at least three of them its classes: that data set's classes.
6. The different values in ascending order, colors with black first. −1 is void. So is 255 (65 535 in 16-bit files)
   beside small or dense numbers, and 253 and 254 beside small ones; beside evenly spaced grays up to 255 it is a class;
   in between it is asked for, and so where some masks hold 1 and others 255, but none both: they may mean the same.

Smoothed edges and lossy files are taken for the nearest class, or asked for, as `data.values.blends` says.

Refused: masks of colors beside masks of numbers; more than 64 colors; values beyond the class names in all masks (in
some, they are these masks' faults). Asked for, by the
words of `data.answers`: all that has two readings.
"""

import re
from collections.abc import Mapping
from dataclasses import replace

from pixelwise.data.answers import NOTHING, Answers, Asked
from pixelwise.data.layout import Fault
from pixelwise.data.sample import MaskSource, path_of
from pixelwise.data.scan import MaskStatistics
from pixelwise.data.values.blends import Total, beyond_rows, raw, sum_up, warned
from pixelwise.data.values.classnames import ClassNames, unread_lists
from pixelwise.data.values.color_classes import read_colors, read_named_colors
from pixelwise.data.values.number_classes import read_numbers
from pixelwise.data.values.objects import read_objects
from pixelwise.data.values.reading import Encoding, and_more, in_all, table_told
from pixelwise.errors import DataError, DataQuestion
from pixelwise.labels import LabelSet, unpack_color

_MASK_FOLDER = re.compile("mask|label|annot|seg|gt|truth", re.IGNORECASE)  # others may be the folder that was passed


def decide(
    masks: Mapping[MaskSource, MaskStatistics],
    *,
    names: ClassNames | None = None,
    known: tuple[LabelSet, ...] = (),
    answers: Answers = NOTHING,
) -> Encoding:
    """Decide what the values of the masks mean.

    Args:
        masks: what each mask holds; at least one.
        names: the file of class names, if there is one.
        known: label sets that the layout is known for; then a value outside is the mask's fault, not this function's.
        answers: to questions; those that do not apply are noted.

    Raises:
        DataError: no reading fits.
        DataQuestion: several do.
    """
    asked = Asked(answers)
    decided = _decided(sum_up(masks, answers.snap), names, known, asked)
    unread = () if names is not None or known else _unread(masks)
    return replace(decided, notes=(*decided.notes, *unread, *asked.notes()))


def _unread(masks: Mapping[MaskSource, MaskStatistics]) -> tuple[str, ...]:
    """A note where a file beside the masks, or beside their folder, is called like a list of classes but is none."""
    homes = {path_of(mask).parent for mask in masks}
    files = unread_lists(homes | {home.parent for home in homes if _MASK_FOLDER.search(home.name)})
    if not files:
        return ()
    more = f" (and {len(files) - 1} more)" if len(files) > 1 else ""
    return (
        f"{files[0]}{more} is called like a list of classes but is not read; if it is one, write classes.txt with a "
        "class a line, or pass it with --classes",
    )


def _decided(total: Total, names: ClassNames | None, known: tuple[LabelSet, ...], asked: Asked) -> Encoding:
    if names is not None and names.labels is not None:
        return _tabled(total, names, outlines_by_name(names, names.labels, known), asked)
    stored = raw(total)
    fitting = [labels for labels in known if labels.colors == (total.kind != "numbers")]
    exact = [labels for labels in fitting if labels.table.keys() >= {*stored.values}]
    if exact or (fitting and names is None):
        labels = (
            exact[0] if exact else max(fitting, key=lambda labels: sum(stored.counts.get(v, 0) for v in labels.table))
        )
        snap, faults = beyond_rows(stored, labels.table, asked)
        labels = replace(labels, snap=labels.snap or snap)
        return Encoding(labels, "the data set's own table: " + table_told(labels), faults)
    _check_palettes(total.masks, asked)
    if names is not None and names.colors is not None and total.kind != "numbers":
        return read_named_colors(stored, names, asked)
    if asked.answers.objects:
        return read_objects(total, names, asked)
    if total.kind == "colors":
        return read_colors(total, names, asked)
    return read_numbers(total, names, asked)


def _check_palettes(masks: Mapping[MaskSource, MaskStatistics], asked: Asked) -> None:
    """An index must have the same color in every palette that uses it; else colors, not indices, may be the classes."""
    seen: dict[int, tuple[int, MaskSource]] = {}
    for path, mask in masks.items():
        for value, color in (mask.palette or {}).items():
            before, first = seen.setdefault(value, (color, path))
            if before == color:
                continue
            told = (
                f"palettes disagree: {value} is {unpack_color(before)} in {first} and {unpack_color(color)} in {path}"
            )
            if asked.answers.counts == "colors":
                raise DataError(f"{told}; where the colors count, a palette is no help: save all masks as RGB")
            if asked.answers.counts is None:
                raise DataQuestion(
                    f"{told}; do the numbers count, or the colors? Where the colors do, save all masks as RGB.",
                    ("numbers",),
                )
            asked.use("numbers")
            return


def outlines_by_name(names: ClassNames, labels: LabelSet, known: tuple[LabelSet, ...]) -> LabelSet:
    """The classes of a classes.yaml, with the values of drawn outlines where it tells these by name.

    Raises:
        DataError: there are no outlines, or one has a name that the file does not list.
    """
    if not names.groups:
        return labels
    if not known:
        raise DataError(f"{names.path} tells outlines by name, but no outlines were found; correct its 'masks:'")
    drawn = known[0]
    owners = {name: i for i, group in enumerate(names.groups[:-1]) for name in group}
    owners |= dict.fromkeys(names.groups[-1], labels.void)
    table = {}
    for value, cls in drawn.table.items():
        name = "void" if cls == drawn.void else drawn.names[cls]
        if name in owners:
            table[value] = owners[name]
        elif cls == drawn.void:
            table[value] = labels.void
        else:
            raise DataError(
                f"the outlines are of {', '.join(drawn.names)}, but {names.path} does not list {name}; add it to the "
                "values of a class, or to void"
            )
    return replace(labels, table=table)


def _tabled(total: Total, names: ClassNames, labels: LabelSet, asked: Asked) -> Encoding:
    """The table of a classes.yaml."""
    stored = raw(total)
    if labels.colors != (stored.kind == "colors"):
        kinds = ("colors", "numbers") if labels.colors else ("numbers", "colors")
        first = next(iter(stored.masks))
        raise DataError(f"{names.path} is for masks of {kinds[0]}, but {first} holds {kinds[1]}; correct its 'masks:'")
    faults: tuple[Fault, ...] = ()
    beyond = [value for value in stored.values if value not in labels.table]
    if labels.snap or (asked.answers.snap and beyond):
        asked.use("snap")
        labels = replace(labels, snap=True)
        faults = warned(stored, labels.table) if beyond else ()
    elif beyond and in_all(stored, beyond):
        raise DataError(
            f"{stored.place(beyond[0])}, which {names.path} does not list{and_more(beyond)}; correct the mask or add "
            "it to a class"
        )
    return Encoding(labels, f"{table_told(labels)}, as {names.path.name} has it", faults)
