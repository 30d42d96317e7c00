"""The classes of a network whose weights are imported: those of its data set, or as the caller gives them."""

from collections.abc import Sequence
from pathlib import Path

from pixelwise.data.sets import ade20k, camvid, cityscapes, nyud, pascal_context, person_part, sift_flow, voc
from pixelwise.data.values.classnames import read_class_names
from pixelwise.errors import DataError, WeightsError
from pixelwise.labels import LabelSet

LABEL_SETS: dict[str, LabelSet] = {
    "ade20k": ade20k.LABELS,
    "camvid": camvid.LABELS,
    "cityscapes": cityscapes.LABELS,
    "nyud_v2": nyud.LABELS,
    "pascal_context": pascal_context.LABELS,
    "person_part": person_part.LABELS,
    "sift_flow": sift_flow.LABELS,
    **dict.fromkeys(("voc2011", "voc2012", "voc2012_trainaug", "seg11valid", "sbd"), voc.LABELS),
}
"""{name in `pixelwise.data.DATASETS`: its classes}, of those that networks were released for."""

Classes = str | Path | Sequence[str] | LabelSet | None


def label_set_of(classes: Classes, count: int, *, data_set: str | None = None) -> LabelSet:
    """The classes of a network that scores `count` of them.

    Args:
        classes: their names; or a file of names; or a name in `LABEL_SETS`; or "a,b,c". If left out, those of
            `data_set`.

    Raises:
        DataError: the file is not there, or cannot be read.
        WeightsError: there are not `count` names, or none are given where none are known.
    """
    if classes is None:
        known = LABEL_SETS.get(data_set) if data_set is not None else None
        if known is not None and known.num_classes == count:
            return known
        why = f"not {data_set}'s {known.num_classes}" if known is not None else "and their names are not known"
        raise WeightsError(
            f"the network scores {count} classes, {why}; give their names with classes (--classes FILE, or "
            f"--classes {','.join(f'name{i}' for i in range(min(count, 2)))}{',…' if count > 2 else ''})"
        )
    labels = classes if isinstance(classes, LabelSet) else _read(classes)
    if labels.num_classes != count:
        raise WeightsError(
            f"the network scores {count} classes, but {labels.num_classes} are named: {', '.join(labels.names[:6])}"
            f"{', …' if labels.num_classes > 6 else ''}; name as many, in the network's order"
        )
    return labels


def _read(classes: str | Path | Sequence[str]) -> LabelSet:
    if isinstance(classes, str) and classes in LABEL_SETS:
        return LABEL_SETS[classes]
    if isinstance(classes, str) and "," in classes and not Path(classes).is_file():
        classes = [name.strip() for name in classes.split(",")]
    if not isinstance(classes, str | Path):
        names = tuple(classes)
        if not names or "" in names or len(set(names)) < len(names):
            raise WeightsError(f"classes must be different names, got {', '.join(names) or 'none'}")
        return LabelSet(names)
    path = Path(classes)
    if not path.is_file():
        raise DataError(f"no file of classes at {path}; give a file with one name a line, or the names as a,b,c")
    found = read_class_names(path)
    if found.labels is not None:
        return found.labels
    palette = tuple(found.colors[i] for i in found.classes) if found.colors is not None else ()
    return LabelSet(tuple(found.names[i] for i in found.classes), palette)
