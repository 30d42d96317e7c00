"""Numbers as classes: by the lines of a file of names, or each different number one; and which of them is void."""

from collections.abc import Mapping
from dataclasses import dataclass

from pixelwise.data.answers import Asked
from pixelwise.data.layout import Fault
from pixelwise.data.sample import MaskSource
from pixelwise.data.scan import MaskStatistics
from pixelwise.data.values.blends import CREAM, ID_LIMIT, Total, beyond_rows, check_count, snapped, unblended
from pixelwise.data.values.classnames import ClassNames
from pixelwise.data.values.objects import check_objects
from pixelwise.data.values.reading import Encoding, in_all, perhaps_inverted, source_told, table_told
from pixelwise.errors import DataError, DataQuestion
from pixelwise.labels import VOID, VOID_16, Color, LabelSet, unpack_color, voc_color


@dataclass(frozen=True)
class _Reading:
    """Numbers as classes."""

    table: dict[int, int]
    names: tuple[str, ...]
    palette: tuple[Color, ...] = ()
    inverts: bool = False  # the order of the two classes is ours, not a file's


def read_numbers(total: Total, names: ClassNames | None, asked: Asked) -> Encoding:
    """Numbers by their file of names, or without one; asked about where they may be objects."""
    if names is None:
        check_objects(total, asked)
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
            notes = perhaps_inverted(total, table)
    table = {total.stored(value): cls for value, cls in table.items() if total.kind == "numbers" or 0 <= value <= 255}
    labels = LabelSet(reading.names, palette, table, total.kind == "grays", snap)
    return Encoding(labels, table_told(labels) + source_told(names), faults, notes)


def _tried(total: Total, names: ClassNames, asked: Asked) -> _Reading | None:
    """The reading that names without numbers give to all values, if there is one."""
    try:
        return _named_numbers(total, names, asked)
    except DataError:
        return None


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
        if beyond and in_all(total, beyond):
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
