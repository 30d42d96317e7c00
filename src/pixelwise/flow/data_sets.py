"""The named data sets as commands take them: NAME,key=value opened, as a layout to look at, and facts to list."""

import inspect
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, get_args, get_origin, get_type_hints

import yaml

from pixelwise.data import DATASETS, open_dataset
from pixelwise.data.folder import PairDataset
from pixelwise.data.layout import Layout
from pixelwise.data.sample import Pair
from pixelwise.data.sets import (
    ade20k,
    camvid,
    cityscapes,
    coco,
    nyud,
    pascal_context,
    person_part,
    sbd,
    sift_flow,
    voc,
)
from pixelwise.errors import BadOption, DataError, MissingSplit, unknown_name
from pixelwise.labels import LabelSet
from pixelwise.protocols.rules import USUAL

_SPLITS = ("train", "val", "test")
_EXTRA = "train_extra"  # of Cityscapes, with coarse masks
_HEAD = "labels"


@dataclass(frozen=True)
class Facts:
    """What there is to know of a data set before it is opened.

    Attributes:
        about: the data set in a sentence.
        splits: {split: its official number of pictures}, the first is the one that is opened if none is named.
        classes: {head: label set}, as without options.
        options: {option: its values, the usual one first}.
        protocol: by which the papers score it.
        home: the module that reads it; its docstring says what must lie where.
    """

    name: str
    about: str
    splits: Mapping[str, int]
    classes: Mapping[str, LabelSet]
    options: Mapping[str, tuple[str, ...]]
    protocol: str
    home: ModuleType

    @property
    def layout(self) -> str:
        """Which files must lie where: the first paragraphs that stand indented in the docstring of its module."""
        paragraphs = inspect.cleandoc(self.home.__doc__ or "").split("\n\n")
        return "\n\n".join(textwrap.dedent(text) for text in paragraphs if text.startswith("    "))

    def to_record(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "about": self.about,
            "splits": dict(self.splits),
            "classes": {head: list(labels.names) for head, labels in self.classes.items()},
            "palette": {head: [list(color) for color in labels.palette] for head, labels in self.classes.items()},
            "options": {name: list(values) for name, values in self.options.items()},
            "protocol": self.protocol,
        }


_VOC = {_HEAD: voc.LABELS}
_TOLD = {  # where the signature does not tell the values, or which is the usual one
    ("nyud_v2", "classes"): ("40", "13", "4", "894"),
    ("coco", "year"): ("2017", "2014"),
}
_COCO_COUNTS = {split: count for (split, year), count in coco._COUNTS.items() if year == 2017}

_KNOWN: dict[str, tuple[str, Mapping[str, int], Mapping[str, LabelSet], ModuleType]] = {
    "ade20k": (
        "ADE20K's scene parsing challenge",
        {split: counts[0] for split, counts in ade20k._COUNTS.items()},
        {_HEAD: ade20k.LABELS},
        ade20k,
    ),
    "camvid": ("CamVid as SegNet packs it", camvid._COUNTS, {_HEAD: camvid.LABELS}, camvid),
    "cityscapes": ("Cityscapes, fine or coarse", cityscapes._COUNTS, {_HEAD: cityscapes.LABELS}, cityscapes),
    "coco": ("COCO's objects in VOC's classes, or in its own", _COCO_COUNTS, _VOC, coco),
    "nyud_v2": ("NYUDv2, rooms with depth", nyud._COUNTS, {_HEAD: nyud.LABELS}, nyud),
    "pascal_context": ("PASCAL-Context", pascal_context._COUNTS, {_HEAD: pascal_context.LABELS}, pascal_context),
    "person_part": (
        "PASCAL-Person-Part",
        {split: counts[0] for split, counts in person_part._COUNTS.items()},
        {_HEAD: person_part.LABELS},
        person_part,
    ),
    "sbd": ("SBD, the Semantic Boundaries Dataset", sbd._COUNTS, {_HEAD: sbd.LABELS}, sbd),
    "seg11valid": ("FCN's validation set of VOC 2011", voc.SPLITS["seg11valid"], _VOC, voc),
    "sift_flow": (
        "SIFT Flow, what a pixel shows and how its surface lies",
        sift_flow._COUNTS,
        {_HEAD: sift_flow.LABELS, "geometric": sift_flow.GEOMETRIC_LABELS},
        sift_flow,
    ),
    "voc2011": ("PASCAL VOC 2011", voc.SPLITS["voc2011"], _VOC, voc),
    "voc2012": ("PASCAL VOC 2012", voc.SPLITS["voc2012"], _VOC, voc),
    "voc2012_trainaug": ("PASCAL VOC 2012 with SBD's masks", voc.SPLITS["voc2012_trainaug"], _VOC, voc),
}


def facts(name: str) -> Facts | None:
    """What there is to know of a data set; None of `folder`, which is any.

    Raises:
        UnknownName: no data set has this name.
    """
    if name not in DATASETS:
        raise unknown_name("data set", name, DATASETS)
    if name not in _KNOWN:
        return None
    about, splits, classes, home = _KNOWN[name]
    options = _options(DATASETS[name])
    options |= {option: values for (owner, option), values in _TOLD.items() if owner == name}
    return Facts(name, about, splits, classes, options, USUAL[name], home)


def open_named(text: str, root: str | Path, split: str | None = None) -> PairDataset:
    """A data set as `--dataset` names it: NAME, or NAME,option=value,…, as pascal_context,classes=33.

    Raises:
        UnknownName: no data set is called so.
        BadOption: it does not take such an option.
        DataError: the folder does not hold it, or not this split.
    """
    name, options = named(text)
    options.pop("head", None)
    return open_dataset(name, root, split, **options)


def named(text: str) -> tuple[str, dict[str, Any]]:
    """The name and the options of NAME,option=value,… as people type it.

    >>> named("pascal_context,classes=33")
    ('pascal_context', {'classes': 33})

    Raises:
        BadOption: an option has no value.
    """
    name, *pairs = (part.strip() for part in text.split(","))
    options: dict[str, Any] = {}
    for pair in pairs:
        key, sign, value = pair.partition("=")
        if not sign or not key or not value:
            raise BadOption(f"--dataset takes NAME or NAME,option=value, as pascal_context,classes=33; got {pair!r}")
        options[key] = yaml.safe_load(value)
    return name, options


def evaluated_split(text: str) -> str:
    """The split that a data set is measured on unless another is named: val, or test of those that have no val."""
    known = facts(named(text)[0])
    return "test" if known is not None and (known.name == "nyud_v2" or "val" not in known.splits) else "val"


def layout_of(text: str, root: Path) -> Layout:
    """The pairs with masks of a named data set as a layout.

    `head=NAME` among the options takes the masks of another head than the first. A split whose list or folder is not
    there is left out, with a note where it is one of the official ones; of Cityscapes' coarse masks train_extra is part
    of train. Without any of them, trainval or all is taken.

    Raises:
        DataError: it is not there, a split of it is there but cannot be opened, or no picture has a mask.
        BadOption: it has no such head.
    """
    name, options = named(text)
    head = str(options.pop("head", _HEAD))
    extra = [_EXTRA] if name == "cityscapes" and options.get("masks") == "coarse" else []
    found: dict[str, PairDataset] = {}
    missing: dict[str, MissingSplit] = {}
    for split in (*_SPLITS, *extra, "trainval", "all"):
        if split in ("trainval", "all") and found:
            break
        try:
            found["all" if split == "trainval" else split] = open_dataset(name, root, split, **options)
        except MissingSplit as error:  # what is there but wrong is raised
            missing[split] = error
    if not found:
        raise next(iter(missing.values()))
    first = next(iter(found.values()))
    if head not in first.labels:
        raise BadOption(f"the data set {name} has no head {head!r}; it has {', '.join(first.labels)}")
    splits: dict[str, tuple[Pair, ...]] = {}
    notes = [
        f"{other} is there, too; --dataset {name},head={other} takes it" for other in first.labels if other != head
    ]
    if "all" not in found and name in _KNOWN:
        left = {split: error for split, error in missing.items() if split in _KNOWN[name][1]}
        notes += [f"{split} is left out: {str(error).partition(';')[0]}" for split, error in left.items()]
    for part, data in found.items():
        masked = tuple(pair if head == _HEAD else _of_head(pair, head) for pair in data.pairs if pair.mask is not None)
        bare = len(data) - len(masked)
        if bare:
            notes.append(
                f"{part}: {bare} picture{'s have no masks and are' if bare != 1 else ' has no mask and is'} left out"
            )
        if masked and part == _EXTRA:
            splits["train"] = (*splits.get("train", ()), *masked)
            notes.append(f"{part} is there, too: its pictures ({len(masked)}) are part of train")
        elif masked:
            splits[part] = masked
    if not splits:
        raise DataError(f"no picture of {name} in {root} has a mask; pass the folder that holds the masks, too")
    return Layout(
        root=root,
        name=f"the data set {name}",
        rule="as this data set is published",
        splits=splits,
        notes=tuple(notes),
        labels=(first.labels[head],),
    )


def _of_head(pair: Pair, head: str) -> Pair:
    return replace(pair, mask=pair.more[head], more={})


def _options(opened: Callable[..., Any]) -> dict[str, tuple[str, ...]]:
    """{option: its values, the usual one first}, from a function's signature."""
    hints = get_type_hints(opened)
    found: dict[str, tuple[str, ...]] = {}
    for name, parameter in list(inspect.signature(opened).parameters.items())[2:]:
        values = _values(hints[name])
        usual = parameter.default
        found[name] = tuple(str(v) for v in dict.fromkeys((*([] if usual is None else [usual]), *values)))
    return found


def _values(hint: Any) -> tuple[Any, ...]:
    """What an annotation allows, where it lists values."""
    if get_origin(hint) is Literal:
        return get_args(hint)
    if hint is bool:
        return (False, True)
    if Path in get_args(hint):
        return ("FOLDER",)
    return tuple(value for part in get_args(hint) for value in _values(part))
