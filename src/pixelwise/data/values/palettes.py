"""Whose colors these are: the palettes of known data sets, by which masks that hold colors get their classes.

Masks of numbers are not told by their palette's colors: everyone saves numbers with VOC's colors.

Some colors stand for two classes. Cityscapes: (153, 153, 153) is pole, never polegroup, and (0, 0, 142) car, never the
license plate; both are void in the masks of numbers. ADE20K: (140, 140, 140) is road, never skyscraper, the rarer one.
"""

from collections.abc import Collection, Iterable

from pixelwise.data.sets.ade20k import LABELS as ADE20K
from pixelwise.data.sets.camvid import LABELS as CAMVID
from pixelwise.data.sets.cityscapes import COLOR_LABELS as CITYSCAPES
from pixelwise.data.sets.voc import COLOR_LABELS as VOC
from pixelwise.labels import VOID, Color, LabelSet, pack_color, unpack_color

MIN_CLASSES = 3
"""So many classes, black ones aside, must occur before a palette is believed."""


def _set(names: Iterable[str], palette: Iterable[Color], void: Iterable[Color]) -> LabelSet:
    """The label set of masks in these colors; of two classes with one color the first has it."""
    names, palette = tuple(names), tuple(palette)
    table = {pack_color(color): i for i, color in reversed(list(enumerate(palette)))}
    return LabelSet(names, palette, table | {pack_color(color): VOID for color in void}, colors=True)


PALETTES: dict[str, LabelSet] = {
    "PASCAL VOC": VOC,
    "Cityscapes": CITYSCAPES,
    "CamVid": _set(CAMVID.names, CAMVID.palette, [(0, 0, 0)]),
    "ADE20K": _set(ADE20K.names, ADE20K.palette, [(0, 0, 0)]),
}
WORDS = {"voc": "PASCAL VOC", "cityscapes": "Cityscapes", "camvid": "CamVid", "ade20k": "ADE20K"}
"""{the word after `--as palette=`: the palette}."""


def fitting_palettes(colors: Collection[int]) -> list[str]:
    """The palettes that have all of these colors, packed, and at least `MIN_CLASSES` of them as classes.

    >>> road, sky, car = map(pack_color, [(128, 64, 128), (70, 130, 180), (0, 0, 142)])
    >>> fitting_palettes([0, road, sky, car])
    ['Cityscapes']
    >>> fitting_palettes([0, road, sky])
    []
    """
    return [
        name
        for name, labels in PALETTES.items()
        if set(colors) <= labels.table.keys() and _classes(colors, labels) >= MIN_CLASSES
    ]


def _classes(colors: Iterable[int], labels: LabelSet) -> int:
    """How many of the colors are classes; black, which everyone uses, is none."""
    return sum(labels.table.get(color, VOID) != VOID for color in {*colors} - {0})


def nearly(colors: Collection[int], labels: LabelSet, levels: int) -> dict[int, int]:
    """{color: the color of the label set within so many levels in each channel, if there is just one}."""
    found: dict[int, int] = {}
    known = [(value, unpack_color(value)) for value in labels.table]
    for color in colors:
        here = unpack_color(color)
        near = [value for value, own in known if max(abs(a - b) for a, b in zip(own, here, strict=True)) <= levels]
        if len(near) == 1:
            found[color] = near[0]
    return found
