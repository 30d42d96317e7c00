"""What a folder is: the layout that fits it, found in a fixed order.

A known data set by its structure; an annotation format by its files; lists of pairs; a known set one folder below; one
mask for each object; a plain folder, whose names may tell a known set, too. A folder with nothing but one folder in it
is that folder; one that holds several sets is refused with their names.
"""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from pixelwise.data.answers import NOTHING, Answers
from pixelwise.data.folder import PairDataset, chosen_split
from pixelwise.data.formats.ade20k_full import ade20k_full_layout
from pixelwise.data.formats.coco import coco_layout
from pixelwise.data.formats.labelme import labelme_layout
from pixelwise.data.formats.labelme_export import labelme_export_layout
from pixelwise.data.formats.nnunet import nnunet_layout
from pixelwise.data.formats.objects import objects_layout
from pixelwise.data.formats.yolo import yolo_layout
from pixelwise.data.layout import Layout, checked_folder, directories, listed_once, pictures_below
from pixelwise.data.lists import split_by_ids
from pixelwise.data.plain import MOST_SETS, SeveralSets, plain_layout, several_sets
from pixelwise.data.sample import MaskSource, files_of, path_of
from pixelwise.data.scan import MaskStatistics, scan
from pixelwise.data.sets.ade20k import ade20k_named
from pixelwise.data.sets.camvid import camvid_layout
from pixelwise.data.sets.cityscapes import cityscapes_layout
from pixelwise.data.sets.coco_stuff import coco_stuff_named
from pixelwise.data.sets.nyud import nyud_layout, nyud_named
from pixelwise.data.sets.pascal_context import pascal_context_layout
from pixelwise.data.sets.person_part import person_part_layout
from pixelwise.data.sets.sbd import sbd_layout
from pixelwise.data.sets.sift_flow import sift_flow_layout
from pixelwise.data.sets.voc import voc_layout
from pixelwise.data.values.classnames import find_class_names
from pixelwise.data.values.encoding import decide
from pixelwise.data.words import words_of
from pixelwise.errors import DataError, DataQuestion

_Finder = Callable[[Path, Answers], Layout | None]

_KNOWN: tuple[_Finder, ...] = (  # data sets with a structure of their own
    cityscapes_layout,
    sbd_layout,
    pascal_context_layout,
    person_part_layout,
    nyud_layout,
    sift_flow_layout,
    voc_layout,
)
_ANNOTATIONS: tuple[_Finder, ...] = (  # formats recognized by their files
    nnunet_layout,
    coco_layout,
    yolo_layout,
    ade20k_full_layout,
    labelme_layout,
    labelme_export_layout,
)
_LISTS: tuple[_Finder, ...] = (camvid_layout,)
_OBJECTS: tuple[_Finder, ...] = (objects_layout,)  # plain folders with one mask for each object
_NAMED: tuple[Callable[[Layout], Layout], ...] = (
    ade20k_named,
    coco_stuff_named,
    nyud_named,
)  # data sets in plain folders


def folder(root: str | Path, split: str | None = None) -> PairDataset:
    """The pictures of a folder in any layout that is recognized, with the classes that its masks tell.

    Every mask is read once, and what it holds is remembered (`pixelwise.data.scan`).

    Args:
        root: the folder.
        split: "train", "val" or "test" as the folder names them; "all" or None where it names none.

    Raises:
        DataError: the folder is not understood, a mask cannot be read, or there is no such split.
    """
    layout = find_layout(checked_folder(root))
    pairs = [pair for pairs in layout.splits.values() for pair in pairs]
    found = scan(pairs, layout.root)
    masks: dict[MaskSource, MaskStatistics] = {}
    for path, mask in found.masks.items():
        if isinstance(mask, DataError):
            raise mask
        masks[path] = mask
    names = find_class_names({path_of(mask).parent for mask in masks}, layout.root)
    labels = decide(masks, names=names, known=layout.labels, answers=replace(NOTHING, values=layout.values)).labels
    datasets = {name: PairDataset(pairs, labels, layout.root, name) for name, pairs in layout.splits.items()}
    return chosen_split(datasets, split, layout.root)


def find_layout(root: Path, answers: Answers = NOTHING) -> Layout:
    """The layout of a folder, from names alone.

    In this order: a known data set by its structure, annotation files, lists of pairs, a plain folder. A folder with
    nothing but one folder in it is that folder; one that holds several sets is refused with their names.

    Raises:
        DataError: no layout is recognized, or two are equally likely; one line says what was found instead.
    """
    with listed_once():
        return _found(_unwrapped(root), answers)


def _found(root: Path, answers: Answers) -> Layout:
    for find in (*_KNOWN, *_ANNOTATIONS, *_LISTS):
        layout = find(root, answers)
        if layout is not None:
            _check_alone(root, layout.root)
            return _with_masks_told(layout) if find in _ANNOTATIONS else layout
    inside = _known_inside(root)
    if len(inside) > 1:
        raise several_sets(root, inside)
    if inside:
        return find_layout(inside[0], answers)
    for find in _OBJECTS:
        layout = find(root, answers)
        if layout is not None:
            return layout
    layout = split_by_ids(plain_layout(root, answers))
    for named in _NAMED:
        layout = named(layout)
    return layout


def _with_masks_told(layout: Layout) -> Layout:
    """A layout of outlines, with a note where masks lie beside them: these may be meant."""
    used = {file.parent for pairs in layout.splits.values() for pair in pairs for file in files_of(pair.image)}
    used |= {
        file.parent
        for pairs in layout.splits.values()
        for pair in pairs
        if pair.mask is not None
        for file in files_of(pair.mask)
    }
    masks = [d for d in pictures_below(layout.root) if d not in used and words_of(d.name)[0] == "mask"]
    if not masks:
        return layout
    place = masks[0].relative_to(layout.root).as_posix()
    note = f"the masks in {place}/ are passed over, since there are outlines; --as masks={place} takes them"
    return replace(layout, notes=(*layout.notes, note))


def _unwrapped(root: Path) -> Path:
    """The folder itself, or the one folder in it where there is nothing else and its name says nothing."""
    for _ in range(8):
        with os.scandir(root) as entries:
            names = [entry.name for entry in entries if not entry.name.startswith(".")]
        below = directories(root, 1)[1:]
        if len(below) != 1 or any((root / name).is_file() for name in names) or words_of(below[0].name) != (None, None):
            return root
        if len(directories(below[0], 1)) == 1:
            return root
        root = below[0]
    return root


def _known_inside(root: Path) -> list[Path]:
    """The folders right below that each are a set by themselves, where one at least is known and `root` is no set."""
    below = directories(root, 1)[1:]
    if len(below) > MOST_SETS or any(words_of(child.name) != (None, None) for child in below):
        return []
    known = [child for child in below if _is_known(child)]
    if not known:
        return []
    return [child for child in below if child in known or _is_plain(child)]


def _check_alone(root: Path, home: Path) -> None:
    """A known data set that was found below `root` must be the only set there.

    Raises:
        SeveralSets: it is not.
    """
    if home != root and root in home.parents:
        own = root / home.relative_to(root).parts[0]
        beside = [d for d in directories(root, 1)[1:] if d != own and words_of(d.name) == (None, None)]
        sets = [d for d in beside if _is_known(d) or _is_plain(d)]
        if sets:
            raise several_sets(root, [own, *sets])


def _is_known(child: Path) -> bool:
    try:
        return any(find(child, NOTHING) is not None for find in (*_KNOWN, *_ANNOTATIONS, *_LISTS))
    except DataError as error:
        return isinstance(error, DataQuestion)


def _is_plain(child: Path) -> bool:
    try:
        if any(find(child, NOTHING) is not None for find in _KNOWN):
            return False
        return bool(plain_layout(child).splits)
    except DataQuestion:
        return True
    except DataError as error:
        return isinstance(error, SeveralSets)
