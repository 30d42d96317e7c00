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
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace

from pixelwise.data.answers import NOTHING, Answers, Asked
from pixelwise.data.layout import Fault
from pixelwise.data.sample import MaskSource, path_of
from pixelwise.data.scan import MAX_VALUES, MaskStatistics
from pixelwise.data.values.blends import (
    CREAM,
    ID_LIMIT,
    Total,
    beyond_rows,
    check_count,
    check_lossy,
    first_place,
    is_gray,
    raw,
    snapped,
    sum_up,
    unblended,
    voc_colors,
    warned,
)
from pixelwise.data.values.classnames import ClassNames, unread_lists
from pixelwise.data.values.palettes import MIN_CLASSES, PALETTES, WORDS, fitting_palettes, nearly
from pixelwise.errors import DataError, DataQuestion
from pixelwise.labels import NEAR, VOID, VOID_16, Color, LabelSet, pack_color, unpack_color, voc_color

MIN_OBJECTS = 10
"""Masks that hold 1…n, each to its own n, and one to at least this, seem to number objects."""

INVERTED = 1 / 3
"""Where 0 covers less than this share of a binary mask, it may be the object."""


__all__ = ["Encoding", "decide", "first_place", "outlines_by_name"]


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
        return Encoding(labels, "the data set's own table: " + _told(labels), faults)
    _check_palettes(total.masks, asked)
    if names is not None and names.colors is not None and total.kind != "numbers":
        return _named_colors(stored, names, asked)
    if asked.answers.objects:
        return _objects(total, names, asked)
    if total.kind == "colors":
        return _colors(total, names, asked)
    return _numbers(total, names, asked)


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
    elif beyond and _in_all(stored, beyond):
        raise DataError(
            f"{stored.place(beyond[0])}, which {names.path} does not list{_more(beyond)}; correct the mask or add "
            "it to a class"
        )
    return Encoding(labels, f"{_told(labels)}, as {names.path.name} has it", faults)


def _in_all(total: Total, beyond: Collection[int]) -> bool:
    """Whether each mask holds a value that its table misses: then the table is wrong, and else the mask."""
    return all(not {*beyond}.isdisjoint(mask.values.tolist()) for mask in total.masks.values())


def _more(values: Collection[int]) -> str:
    return f" (and {len(values) - 1} more)" if len(values) > 1 else ""


# Numbers


@dataclass(frozen=True)
class _Reading:
    """Numbers as classes."""

    table: dict[int, int]
    names: tuple[str, ...]
    palette: tuple[Color, ...] = ()
    inverts: bool = False  # the order of the two classes is ours, not a file's


def _numbers(total: Total, names: ClassNames | None, asked: Asked) -> Encoding:
    if names is None:
        _check_objects(total, asked)
    faults: tuple[Fault, ...] = ()
    snap = asked.answers.snap
    if names is not None and names.ids is not None:
        void = {VOID_16 if total.values[-1] > VOID else VOID, -1, *asked.answers.values}
        snap, faults = beyond_rows(total, {*names.ids, *void}, asked)
        reading = _named_numbers(total.only([*names.ids, *void]) if snap else total, names, asked)
    else:
        whole = None if names is None or snap else _tried(total, names, asked)
        if whole is None:
            total, faults = snapped(total, asked) if snap else unblended(total, asked)
            snap = snap or bool(faults)
            if names is None:
                check_count(total)
        reading = whole or (_unnamed_numbers(total, asked) if names is None else _named_numbers(total, names, asked))
    table, palette = reading.table, reading.palette
    if names is None or names.colors is None:
        palette = _palette(total.masks, table, len(reading.names)) or palette
    notes: tuple[str, ...] = ()
    if reading.inverts and table.get(0) == 0:
        if asked.answers.inverted:
            asked.use("inverted")
            table = {value: 1 - cls if cls in (0, 1) else cls for value, cls in table.items()}
            palette = palette[::-1]
        elif names is None:
            notes = _perhaps_inverted(total, table)
    table = {total.stored(value): cls for value, cls in table.items() if total.kind == "numbers" or 0 <= value <= 255}
    labels = LabelSet(reading.names, palette, table, total.kind == "grays", snap)
    return Encoding(labels, _told(labels) + _source(names), faults, notes)


def _tried(total: Total, names: ClassNames, asked: Asked) -> _Reading | None:
    """The reading that names without numbers give to all values, if there is one."""
    try:
        return _named_numbers(total, names, asked)
    except DataError:
        return None


def _check_objects(total: Total, asked: Asked) -> None:
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


def _unnamed_numbers(total: Total, asked: Asked) -> _Reading:
    """Numbers without names: each different one is a class, but for void."""
    said = {value: asked.value(value) for value in total.values}
    below = [value for value in total.values if value < -1 and said[value] is None]
    if below:
        raise DataQuestion(
            f"{total.place(below[0])}; is it void (never counted), or a class?",
            (f"{below[0]}=void", f"{below[0]}=class"),
        )
    classes = [value for value in total.values if said[value] == "class" or (value != -1 and said[value] is None)]
    top = VOID_16 if classes and classes[-1] > VOID else VOID
    open_ = [value for value in classes if top - 2 <= value <= top and said[value] is None]
    others = [value for value in classes if value not in open_]
    if others and others != [0] and max(others) < ID_LIMIT:
        _ask_apart(total, others, open_, said, ("void", "class"))
        classes = others
    elif top in open_ and _is_void([value for value in classes if value != top], top, total):
        classes.remove(top)
    if not classes:
        raise DataError(
            f"every pixel of the {len(total.masks)} masks is void; expected classes: export the masks again"
        )
    binary = len(classes) == 2 and classes[0] == 0
    if binary:
        names: tuple[str, ...] = ("background", "foreground")
    else:
        names = ("background",) if classes == [0] else tuple(f"class {value}" for value in classes)
    void = VOID if len(classes) <= VOID else VOID_16
    table = {value: void for value in total.values} | {value: i for i, value in enumerate(classes)}
    return _Reading(table, names, inverts=binary)


def _ask_apart(
    total: Total, others: list[int], tops: list[int], said: Mapping[int, str | None], words: tuple[str, ...]
) -> None:
    """Ask where 255 may be what 1 is elsewhere: each mask holds one of them beside 0, none both.

    Args:
        others: the small numbers.
        tops: 255, 254 … that are to be void.
        said: what was answered.
        words: the answers to offer for such a value.

    Raises:
        DataQuestion: so it is.
    """
    small = [value for value in others if value > 0]
    if len(small) != 1:
        return
    for top in tops:
        holding = [path for path, mask in total.masks.items() if total.stored(top) in mask.values]
        about = {value for path in holding for value in total.masks[path].values.tolist()}
        cream = any((total.masks[path].palette or {}).get(top) == CREAM for path in holding)
        if said.get(top) or cream or not holding or about - {total.stored(top), 0, -1}:
            continue
        other = next(path for path, mask in total.masks.items() if total.stored(small[0]) in mask.values)
        raise DataQuestion(
            f"no mask holds both {small[0]} and {top}: {other} has {small[0]}, {holding[0]} has {top}; is {top} void "
            f"(never counted){', or a class of its own' if 'class' in words else ''}? Where the two mean the same, a "
            f"classes.yaml with 'values: [{small[0]}, {top}]' makes one class of them.",
            [f"{top}={word}" for word in words],
        )


def _is_void(others: list[int], top: int, total: Total) -> bool:
    """Whether 255 (or 65 535) beside other numbers is void.

    Raises:
        DataQuestion: both readings are as likely.
    """
    cream = any((mask.palette or {}).get(top) == CREAM for mask in total.masks.values())  # VOC's color of void
    if others in ([], [0]) and not cream:
        return False
    if others and others != [0] and 2 * len(others) > others[-1]:
        return True
    values = [*others, top]
    steps = [round(i * top / max(len(others), 1)) for i in range(len(values))]
    even = all(abs(value - step) <= 1 for value, step in zip(values, steps, strict=True))
    if not cream and (len(others) == 1 or even):
        return False
    shown = ", ".join(str(value) for value in others[:12]) + (" …" if len(others) > 12 else "")
    raise DataQuestion(
        f"the masks hold {shown} and {top}; is {top} a class or void (never counted)? {total.place(top)}.",
        (f"{top}=void", f"{top}=class"),
    )


def _named_numbers(total: Total, names: ClassNames, asked: Asked) -> _Reading:
    """Numbers with a file of names."""
    said = {value: asked.value(value) for value in total.values}
    voids = {value for value in total.values if said[value] == "void" or (value == -1 and said[value] is None)}
    found = [value for value in total.values if value not in voids]
    top = VOID_16 if found and found[-1] > VOID else VOID
    base: tuple[str, ...] = ()
    if names.ids is not None:
        rows = list(names.ids)
        beyond = [value for value in found if value not in rows and (value != top or said[value] == "class")]
        if beyond and _in_all(total, beyond):
            raise DataError(
                f"{total.place(beyond[0])}, which {names.path} does not list; correct the mask or add the line"
            )
        voids -= {*rows}
    else:
        if said.get(0) == "class" and len(found) > len(names.names):
            # a background that the file does not name
            base = ("background" if "background" not in names.names else "class 0",)
            found = [value for value in found if value != 0]
        rows = _rows(found, top if said.get(top) != "class" else None, names, total, bool(base))
    if top in found and top not in rows:
        _ask_apart(total, [value for value in found if value != top], [top], said, ("void",))
        voids.add(top)
    classes = names.classes
    every = (*base, *(names.names[line] for line in classes))
    void = VOID if len(every) <= VOID else VOID_16
    table = dict.fromkeys(voids, void) | dict.fromkeys(rows, void)
    table |= {rows[line]: len(base) + i for i, line in enumerate(classes)}
    if base:
        table[0] = 0
    palette = () if names.colors is None or base else tuple(names.colors[line] for line in classes)
    return _Reading(table, every, palette, inverts=names.ids is None and len(every) == 2)


def _rows(found: list[int], void: int | None, names: ClassNames, total: Total, has_base: bool) -> list[int]:
    """The value that each line of a file of names stands for."""
    count = len(names.names)
    without = [value for value in found if value != void]
    if void is not None and found == [0, void] and count != 2:
        question = (
            f"the masks hold 0 and {void}, but {names.path} has {count} {'name' if count == 1 else 'names'}; "
            "which are they? Expected two lines, for background and foreground"
        )
        if count == 1:
            raise DataQuestion(f"{question}; or is 0 a background that the file does not name?", ("0=class",))
        raise DataQuestion(f"{question}; or is {void} void?", (f"{void}=void",))
    if (void is not None and found == [0, void]) or (has_base and found == [void] and count == 1):
        return found
    if not has_base and (not without or without[-1] < count):
        return list(range(count))
    if not without or (without[0] >= 1 and without[-1] <= count):
        return list(range(1, count + 1))
    if without != list(range(count + 1)):
        for candidate in (found, without):
            if len(candidate) == count:
                return candidate
    told = (
        f"{names.path} has {count} {'name' if count == 1 else 'names'}, but the masks hold {len(found)} values: "
        f"{total.place(without[-1])}"
    )
    if without == list(range(count + 1)):
        raise DataQuestion(f"{told}; is 0 void, or a background that is missing there?", ("0=void", "0=class"))
    raise DataError(f"{told}; correct the mask, or write a line 'value name' for each class")


def _perhaps_inverted(total: Total, table: Mapping[int, int]) -> tuple[str, ...]:
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


_MASK_FOLDER = re.compile("mask|label|annot|seg|gt|truth", re.IGNORECASE)  # others may be the folder that was passed
_INVERTED_NAME = re.compile(
    r"invert|inverse|negativ|^(?!.*foreground).*(background|(?<![a-z])bg(?![a-z]))", re.IGNORECASE
)


def _objects(total: Total, names: ClassNames | None, asked: Asked) -> Encoding:
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
    return Encoding(labels, sentence + _source(names))


# Colors


def _colors(total: Total, names: ClassNames | None, asked: Asked) -> Encoding:
    """Colors without a table: a known palette's; else each is a class, black first, VOC's cream void beside VOC's."""
    if names is None and asked.answers.palette != "none":
        found = _of_palette(total, asked)
        if found is not None:
            return found
    elif asked.answers.palette == "none" and fitting_palettes(total.values):
        asked.use("palette=none")
    snap = asked.answers.snap
    if snap:
        check_lossy(total)
        total, faults = snapped(total, asked)
    else:
        total, faults = unblended(total, asked)
        snap = bool(faults)
    check_count(total)
    if faults and names is None and asked.answers.palette != "none" and fitting_palettes(total.values):
        return _with_palette(fitting_palettes(total.values), total, asked, faults)
    classes = list(total.values)
    if CREAM in classes and {*classes} <= voc_colors():
        classes.remove(CREAM)
    binary = len(classes) == 2 and classes[0] == 0
    if names is not None and not (len(names.names) == 2 and binary):
        shown = ", ".join(str(unpack_color(value)) for value in classes[:12]) + (" …" if len(classes) > 12 else "")
        raise DataError(
            f"the masks hold the colors {shown}, and {names.path} has {len(names.names)} names without colors; "
            "which is which? Write lines 'name red green blue'"
        )
    notes: tuple[str, ...] = ()
    table = {value: VOID for value in total.values} | {value: i for i, value in enumerate(classes)}
    if binary and asked.answers.inverted:
        asked.use("inverted")
        classes.reverse()
        table |= {value: i for i, value in enumerate(classes)}
    elif binary and names is None:
        notes = _perhaps_inverted(total, table)
    if names is not None:
        class_names = names.names
    else:
        class_names = ("background", "foreground") if binary else tuple(f"class {i}" for i in range(len(classes)))
    labels = LabelSet(class_names, tuple(unpack_color(value) for value in classes), table, colors=True, snap=snap)
    return Encoding(labels, _told(labels) + _source(names), faults, notes)


def _of_palette(total: Total, asked: Asked) -> Encoding | None:
    """The reading by a known palette, if one fits or was named."""
    word = asked.answers.palette
    if word is not None:
        return _with_palette([WORDS[word]], total, asked)
    fitting = fitting_palettes(total.values)
    if not fitting and asked.answers.snap:
        fitting = _near_palettes(total)
    return _with_palette(fitting, total, asked) if fitting else None


def _near_palettes(total: Total) -> list[str]:
    """The palettes that nearly all solid pixels but black ones are near, and near three or more of its classes."""
    colored = [value for value in total.solid_values if max(unpack_color(value)) > NEAR]
    shares = {}
    for name, labels in PALETTES.items():
        found: dict[int, int] = {}
        for value, row in nearly(colored, labels, NEAR).items():
            found[row] = found.get(row, 0) + total.solid[value]
        share = sum(found.values()) / max(sum(total.solid[value] for value in colored), 1)
        classes = [row for row, count in found.items() if labels.table[row] != VOID and count >= 1e-4 * total.pixels]
        if share >= 0.9 and len(classes) >= MIN_CLASSES:
            shares[name] = share
    return [name for name, share in shares.items() if share >= max(shares.values()) - 0.02]


def _with_palette(fitting: list[str], total: Total, asked: Asked, faults: tuple[Fault, ...] | None = None) -> Encoding:
    """The reading by a palette that was found.

    Raises:
        DataError: a color is not in it.
        DataQuestion: there are several.
    """
    word = asked.answers.palette
    chosen = [name for name in fitting if word is None or WORDS[word] == name]
    if len(chosen) > 1:
        words = [word for word, name in WORDS.items() if name in chosen]
        raise DataQuestion(
            f"the masks hold {len(total.values)} colors that {' and '.join(chosen)} have, too; whose classes are they?",
            [*(f"palette={word}" for word in words), "palette=none"],
        )
    asked.use(f"palette={word}")
    labels = PALETTES[chosen[0]]
    snap = bool(faults)
    if faults is None:
        snap, faults = beyond_rows(total, labels.table, asked)
        beyond = [value for value in total.values if value not in labels.table]
        if beyond and not snap:
            raise DataError(
                f"{total.place(beyond[0])}, a color that {chosen[0]} does not have{_more(beyond)}; correct the mask, "
                "or write classes.txt with lines 'name red green blue'"
            )
    labels = replace(labels, snap=snap)
    return Encoding(labels, f"the colors of {chosen[0]}: {_told(labels)}", faults)


def _named_colors(total: Total, names: ClassNames, asked: Asked) -> Encoding:
    """Colors that a file of names lists."""
    assert names.colors is not None
    listed = [pack_color(color) for color in names.colors]
    if len(set(listed)) < len(listed):
        twice = max(listed, key=listed.count)
        raise DataError(f"{names.path} gives the color {unpack_color(twice)} twice; give every class its own")
    classes = names.classes
    void = VOID if len(classes) <= VOID else VOID_16
    table = {value: void for value in listed} | {listed[line]: i for i, line in enumerate(classes)}
    if total.solid.get(CREAM) or CREAM in total.values:
        table.setdefault(CREAM, void)
    snap, faults = beyond_rows(total, table, asked)
    beyond = [value for value in total.values if value not in table]
    if beyond and not snap and _in_all(total, beyond):
        raise DataError(
            f"{total.place(beyond[0])}, a color that {names.path} does not list{_more(beyond)}; "
            "correct the mask or add the color"
        )
    palette = tuple(names.colors[line] for line in classes)
    labels = LabelSet(tuple(names.names[line] for line in classes), palette, table, colors=True, snap=snap)
    return Encoding(labels, _told(labels) + _source(names), faults)


def _palette(
    masks: Mapping[MaskSource, MaskStatistics], table: Mapping[int, int], num_classes: int
) -> tuple[Color, ...]:
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


def _source(names: ClassNames | None) -> str:
    return f", named by {names.path.name}" if names is not None else ""


def _gray(value: int) -> str:
    return str(value & 255)


def _color(value: int) -> str:
    return str(unpack_color(value))


def _told(labels: LabelSet) -> str:
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
