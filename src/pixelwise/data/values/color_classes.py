"""Colors as classes: those of a file of names or of a known palette, or each different color one, black first."""

from dataclasses import replace

from pixelwise.data.answers import Asked
from pixelwise.data.layout import Fault
from pixelwise.data.values.blends import (
    CREAM,
    Total,
    beyond_rows,
    check_count,
    check_lossy,
    snapped,
    unblended,
    voc_colors,
)
from pixelwise.data.values.classnames import ClassNames
from pixelwise.data.values.palettes import MIN_CLASSES, PALETTES, WORDS, fitting_palettes, nearly
from pixelwise.data.values.reading import Encoding, and_more, in_all, perhaps_inverted, source_told, table_told
from pixelwise.errors import DataError, DataQuestion
from pixelwise.labels import NEAR, VOID, VOID_16, LabelSet, pack_color, unpack_color


def read_colors(total: Total, names: ClassNames | None, asked: Asked) -> Encoding:
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
        notes = perhaps_inverted(total, table)
    if names is not None:
        class_names = names.names
    else:
        class_names = ("background", "foreground") if binary else tuple(f"class {i}" for i in range(len(classes)))
    labels = LabelSet(class_names, tuple(unpack_color(value) for value in classes), table, colors=True, snap=snap)
    return Encoding(labels, table_told(labels) + source_told(names), faults, notes)


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
                f"{total.place(beyond[0])}, a color that {chosen[0]} does not have{and_more(beyond)}; correct the "
                "mask, or write classes.txt with lines 'name red green blue'"
            )
    labels = replace(labels, snap=snap)
    return Encoding(labels, f"the colors of {chosen[0]}: {table_told(labels)}", faults)


def read_named_colors(total: Total, names: ClassNames, asked: Asked) -> Encoding:
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
    if beyond and not snap and in_all(total, beyond):
        raise DataError(
            f"{total.place(beyond[0])}, a color that {names.path} does not list{and_more(beyond)}; "
            "correct the mask or add the color"
        )
    palette = tuple(names.colors[line] for line in classes)
    labels = LabelSet(tuple(names.names[line] for line in classes), palette, table, colors=True, snap=snap)
    return Encoding(labels, table_told(labels) + source_told(names), faults)
