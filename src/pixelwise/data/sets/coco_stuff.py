"""COCO-Stuff: things and stuff on COCO's pictures, as pixel maps.

    images/{train,val}2017/<12 digits>.jpg
    annotations/{train,val}2017/<12 digits>.png       0–181 (the class's number in labels.txt less one), 255 void

A plain folder, known by its stems of twelve digits under train2017 or val2017. labels.txt ("0: unlabeled", "1: person"
… "182: wood"), as the data set's authors give it out, names the classes; without it they are the numbers that occur.
Source: Caesar et al. 2018.
"""

import re
from dataclasses import replace

from pixelwise.data.layout import Layout, directories
from pixelwise.data.sample import path_of
from pixelwise.data.values.classnames import read_class_names
from pixelwise.labels import VOID, LabelSet

_STEM = re.compile(r"\d{12}")
_FOLDER = re.compile(r"(train|val)20\d\d")


def coco_stuff_named(layout: Layout) -> Layout:
    """A plain layout with what is known of COCO-Stuff's masks where these are its masks."""
    masks = [path_of(pair.mask) for pairs in layout.splits.values() for pair in pairs if pair.mask is not None]
    if not masks or not all(_STEM.fullmatch(mask.stem) and _FOLDER.fullmatch(mask.parent.name) for mask in masks):
        return layout
    return replace(
        layout, name=f"COCO-Stuff: {layout.name}", labels=_labels(layout), values={**layout.values, VOID: "void"}
    )


def _labels(layout: Layout) -> tuple[LabelSet, ...]:
    """The classes of the authors' labels.txt, where it is there and begins with 0 for unlabelled."""
    for home in directories(layout.root, 1):
        path = home / "labels.txt"
        if path.is_file():
            found = read_class_names(path)
            if found.ids is not None and found.ids[0] == 0 and found.names[0].startswith("unlabel"):
                rows = list(zip(found.ids[1:], found.names[1:], strict=True))
                table = {VOID: VOID} | {value - 1: i for i, (value, _) in enumerate(rows)}
                return (LabelSet(tuple(name for _, name in rows), table=table),)
    return ()
