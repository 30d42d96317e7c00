"""Cityscapes by the rules of its evaluation script: over label ids, with ignored regions, categories and instances.

    TP   pixels of the class predicted as it
    FN   pixels of the class predicted as anything else, predictions of ignored ids included
    FP   pixels of other evaluated classes predicted as it; pixels of ignored ids are never a false positive
    IoU  TP / (TP + FP + FN); a class where all three are 0 is left out of the mean

A category's IoU is the same with sets of ids: a confusion within it is right. iIoU weights the TP and FN of an instance
by the mean size of its class over its own size; FP stays unweighted; pixels of groups are in neither TP nor FN.
Source: Cordts et al. 2016, §3; cityscapesScripts, evalPixelLevelSemanticLabeling; specification §2.5, §3.2.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixelwise.data.sets.cityscapes import CATEGORIES, TABLE
from pixelwise.errors import BadOption, LabelError, ShapeError
from pixelwise.labels import VOID, LabelSet
from pixelwise.protocols.accumulate import (
    FIRST_HEAD,
    Accumulator,
    Classes,
    Maps,
    PerClass,
    Protocol,
    Sums,
    ratio,
)

CLASSES: tuple[tuple[int, str], ...] = tuple((row.id, row.name) for row in TABLE if row.train_id != VOID)
"""(label id, name) of the evaluated classes; the place is the trainId."""

INSTANCE_SIZES: dict[int, float] = {
    24: 3462.4756337644,
    25: 3930.4788056518,
    26: 12794.0202738185,
    27: 27855.1264367816,
    28: 35732.1511111111,
    31: 67583.7075812274,
    32: 6298.7200839748,
    33: 4672.3249222261,
}
"""{id: mean size of an instance in pixels, of the training set} of the evaluated classes with instances; the script."""

INSTANCE_CATEGORIES: dict[str, tuple[int, ...]] = {"human": (24, 25), "vehicle": tuple(range(26, 34))}
"""{category all of whose classes have instances: its ids}; caravan and trailer (29, 30) are predictions that count."""

IDS = 34
UNLABELED = 0

_EVALUATED = np.array([i for i, _ in CLASSES])
_NAMES = tuple(name for _, name in CLASSES)
_SIZES = np.array(list(INSTANCE_SIZES.values()))
_INSTANCE_IDS = np.array(list(INSTANCE_SIZES))
_PER_INSTANCE = 1000  # an instance is id · 1000 + its number
_SUMS = (
    2 * len(INSTANCE_SIZES) + 2 * len(INSTANCE_CATEGORIES) + 1
)  # weighted TP and FN of both, pictures with instances

_TO_ID = np.full(256, UNLABELED, np.uint8)
_TO_ID[: len(CLASSES)] = _EVALUATED
_COUNTS = np.zeros(256, bool)
_COUNTS[_EVALUATED] = True


def to_ids(train_ids: NDArray[Any], *, name: str = "map") -> NDArray[np.uint8]:
    """TrainIds 0…18 as label ids, of any shape; void (255, −1) is 0, unlabeled.

    >>> to_ids(np.array([0, 18, 255]))
    array([ 7, 33,  0], dtype=uint8)

    Raises:
        LabelError: another value; `name` is in the message.
    """
    train_ids = np.asarray(train_ids)
    wrong = ((train_ids < -1) | (train_ids >= len(CLASSES))) & (train_ids != VOID)
    if wrong.any():
        raise LabelError(f"{name} holds {int(train_ids[wrong][0])}; expected trainIds 0–18 and void 255")
    found: NDArray[np.uint8] = _TO_ID[train_ids.astype(np.int64) & 255]
    return found


class CityscapesAccumulator(Accumulator):
    """Counts label ids, 34 × 34; maps of the 19 trainIds are turned into ids first.

    With 19 classes void is id 0, unlabeled: ignored in targets, a miss in predictions. With 34 classes the maps hold
    label ids, and −1 or 255 (license plate) counts as unlabeled.

    Instances are as in `*_gtFine_instanceIds.png`: id · 1000 + number for a single instance, the id alone elsewhere.
    """

    def __init__(self, protocol: Protocol, classes: Classes) -> None:
        super().__init__(protocol, classes)
        self._train_ids = self.labels[FIRST_HEAD].num_classes == len(CLASSES)
        self.num_classes = self.columns = IDS
        self.void = VOID

    def _check_classes(self, labels: LabelSet) -> None:
        if labels.num_classes not in (len(CLASSES), IDS):
            raise LabelError(
                f"protocol {self.protocol.name} is for 19 classes (trainIds) or 34 (label ids), got "
                f"{labels.num_classes}: evaluate by fcn, or with Cityscapes' classes"
            )
        named = labels.names[0] != "class 0"
        if labels.num_classes == len(CLASSES) and named and labels.names != _NAMES:
            name = next(name for name, own in zip(labels.names, _NAMES, strict=True) if name != own)
            raise LabelError(
                f"protocol {self.protocol.name} is for the classes {', '.join(_NAMES[:3])} … in the order of their "
                f"trainIds, got {name} at {labels.names.index(name)}: evaluate by fcn, or put them in that order"
            )

    @property
    def state_size(self) -> int:
        """S, the length of a picture's state."""
        return IDS * IDS + _SUMS

    def encoded(
        self, prediction: NDArray[Any], target: NDArray[Any], *, name: str = "target"
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """(prediction, target) as label ids 0…33, both.

        Raises:
            LabelError: a value that is no trainId, where the maps hold these.
        """
        if self._train_ids:
            return to_ids(prediction, name=f"{name}: a prediction"), to_ids(target, name=name)
        prediction, target = np.asarray(prediction), np.asarray(target)
        target = np.where((target == -1) | (target == VOID), target.dtype.type(UNLABELED), target)
        return prediction, target

    def uncounted(self, target: NDArray[Any]) -> NDArray[np.bool_]:
        """Where a target holds an ignored id."""
        ignored: NDArray[np.bool_] = ~_COUNTS[target]
        return ignored

    def per_class(self, matrices: Sums) -> PerClass:
        """What each of the 19 classes reached, from confusion matrices (…, 34, 34) of ids."""
        rows = matrices[..., _EVALUATED, :]
        hit = np.diagonal(rows[..., _EVALUATED], axis1=-2, axis2=-1)
        pixels, predicted = rows.sum(-1), rows[..., _EVALUATED].sum(-2)
        return PerClass(ratio(hit, pixels + predicted - hit), ratio(hit, pixels), ratio(hit, predicted), pixels)

    def measures(self, states: Sums) -> dict[str, Sums]:
        """The four over the evaluated classes, and the means over categories and by instances."""
        matrices = self._matrices(states)
        classes = self.per_class(matrices)
        tables = self._all_tables(states)
        weighted = np.nan_to_num(classes.iou) * classes.pixels
        hit = matrices[..., _EVALUATED, _EVALUATED]
        found = {
            "mean_iou": _mean(classes.iou),
            "mean_accuracy": _mean(classes.recall),
            "pixel_accuracy": ratio(hit.sum(-1), classes.pixels.sum(-1)),
            "frequency_weighted_iou": ratio(weighted.sum(-1), classes.pixels.sum(-1)),
        }
        return found | {f"mean_{name}": _mean(values) for name, values in tables.items()}

    def _state(self, prediction: Maps, target: Maps, name: str, instances: NDArray[Any] | None) -> Sums:
        ids, truth = self.encoded(self._head(prediction), self._head(target), name=name)
        counts = self.count(ids, truth, name=name)
        state = np.concatenate([counts.ravel().astype(np.float64), np.zeros(_SUMS)])
        if self._pictures and (instances is not None) != self._has_instances():
            raise BadOption(f"{name}: expected instances for every picture or for none; got them for some")
        if instances is not None:
            state[IDS * IDS :] = _instance_sums(ids, instances, name)
        return state

    def _has_instances(self) -> bool:
        places, _ = self._pictures[0]
        return bool(places.size) and int(places[-1]) == self.state_size - 1

    def _square(self, matrix: Sums) -> Sums:
        square: Sums = matrix[np.ix_(_EVALUATED, _EVALUATED)]
        return square

    def _class_names(self) -> tuple[str, ...]:
        return _NAMES

    def _all_tables(self, states: Sums) -> dict[str, Sums]:
        """{measure: (…, its names)}; those by instances are left out where no picture has any."""
        matrices, sums = self._matrices(states), states[..., IDS * IDS :]
        rows = matrices[..., _EVALUATED, :]
        category = []
        for ids in CATEGORIES.values():
            own = np.isin(_EVALUATED, ids)
            columns = rows[..., list(ids)]
            union = rows[..., own, :].sum((-1, -2)) + columns[..., ~own, :].sum((-1, -2))
            category.append(ratio(columns[..., own, :].sum((-1, -2)), union))
        tables = {"category_iou": np.stack(category, -1)}
        if not sums[..., -1].any():
            return tables
        n, m = len(INSTANCE_SIZES), len(INSTANCE_CATEGORIES)
        hit, missed = sums[..., :n], sums[..., n : 2 * n]
        false = rows[..., _INSTANCE_IDS].sum(-2) - np.diagonal(
            matrices[..., _INSTANCE_IDS, :][..., _INSTANCE_IDS], axis1=-2, axis2=-1
        )
        tables["instance_iou"] = ratio(hit, hit + missed + false)
        hit, missed = sums[..., 2 * n : 2 * n + m], sums[..., 2 * n + m : 2 * n + 2 * m]
        false = np.stack(
            [
                rows[..., ~np.isin(_EVALUATED, ids), :][..., list(ids)].sum((-1, -2))
                for ids in INSTANCE_CATEGORIES.values()
            ],
            -1,
        )
        tables["category_instance_iou"] = ratio(hit, hit + missed + false)
        return tables

    def _tables(self, total: Sums) -> dict[str, dict[str, float]]:
        names = {
            "category_iou": tuple(CATEGORIES),
            "instance_iou": tuple(dict(CLASSES)[i] for i in INSTANCE_SIZES),
            "category_instance_iou": tuple(INSTANCE_CATEGORIES),
        }
        return {
            table: dict(zip(names[table], map(float, values), strict=True))
            for table, values in self._all_tables(total).items()
        }


def _instance_sums(ids: NDArray[Any], instances: NDArray[Any], name: str) -> Sums:
    """The last `_SUMS` numbers of a state: TP and FN of classes, TP and FN of categories, all weighted; and 1."""
    instances = np.asarray(instances)
    if instances.shape != ids.shape:
        raise ShapeError(
            f"{name}: prediction is {ids.shape} but instances are {instances.shape}; read the same frame's"
        )
    most = IDS * _PER_INSTANCE
    if instances.size and (int(instances.min()) < -1 or int(instances.max()) >= most):
        raise LabelError(f"{name}: instances hold {int(instances.max())}; expected ids 0–33, or id · 1000 + number")
    flat, predicted = np.maximum(instances.ravel(), 0).astype(np.int64), ids.ravel()
    classes = np.arange(most) // _PER_INSTANCE
    size = np.bincount(flat, minlength=most).astype(np.float64)
    right = np.bincount(flat[predicted == classes[flat]], minlength=most)
    single = (size > 0) & np.isin(classes, _INSTANCE_IDS)
    own, size, right = classes[single], size[single], right[single].astype(np.float64)
    mean_size = np.zeros(IDS)
    mean_size[_INSTANCE_IDS] = _SIZES
    weight = mean_size[own] / size
    hit = np.bincount(own, weight * right, minlength=IDS)[_INSTANCE_IDS]
    missed = np.bincount(own, weight * (size - right), minlength=IDS)[_INSTANCE_IDS]
    category_hit, category_missed = [], []
    for members in INSTANCE_CATEGORIES.values():
        inside = np.bincount(flat[np.isin(predicted, members)], minlength=most)[single]
        mine = np.isin(own, members)
        category_hit.append((weight * inside)[mine].sum())
        category_missed.append((weight * (size - inside))[mine].sum())
    return np.concatenate([hit, missed, category_hit, category_missed, [1.0]])


def _mean(values: Sums) -> Sums:
    known = ~np.isnan(values)
    return ratio(np.where(known, values, 0).sum(-1), known.sum(-1).astype(np.float64))
