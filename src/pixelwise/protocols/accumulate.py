"""Protocol, and the accumulator that counts and scores by it; the table of published ones is in `rules`.

Of every picture a state is kept, a vector of sums: its confusion matrix, row by row, and what else the protocol sums.
States of pictures are added up, and every score is a function of such a sum. So scores of a subset, or of a resampled
set (`intervals`), need no second pass over pictures.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from pixelwise.errors import BadOption, LabelError, ShapeError
from pixelwise.labels import VOID, VOID_16, LabelSet
from pixelwise.metrics import ClassScore, ConfusionMatrix, Scores, rounded

Sums = NDArray[np.float64]
Maps = NDArray[Any] | Mapping[str, NDArray[Any]]
Classes = LabelSet | Mapping[str, LabelSet] | int

FIRST_HEAD = "labels"


@dataclass(frozen=True)
class Protocol:
    """How a published figure was computed: what is counted, and how means are taken.

    With n_ij the pixels of class i predicted as j: IoU is n_ii / (t_i + p_i − n_ii), accuracy n_ii / t_i, where t_i is
    the sum of row i and p_i that of column i over the counted rows.

    Attributes:
        source: the paper or program, and the section of the specification.
        counts: which pixels count, in words.
        means: how means are taken, in words.
        extra: further measures, beside those of `Scores`.
        num_classes: so many classes it is for, without those of `ignored`; any number if None.
        heads: further heads that are counted, with their numbers of classes.
        strange_targets: a target that is neither a class nor void is refused, or void.
        strange_predictions: a prediction that is no class is refused; a miss of the target's class; or vanishes, so
            that its pixel stays in the denominator of the pixel accuracy alone.
        absent: a class in neither targets nor predictions is left out of mean IoU; counts as 0; or makes it
            not-a-number. With "needs target" a class that is in no target is left out, even if it is predicted.
        epsilon: added to the denominators of IoU and accuracy.
        ignored: names of classes whose target pixels are void, and that are in no mean.
        left_out: names of classes that are counted but in no mean; frequency-weighted IoU is of the others, by their
            pixels.
        accumulator_type: what counts; an `Accumulator`.
    """

    name: str
    source: str
    counts: str
    means: str
    extra: tuple[str, ...] = ()
    num_classes: int | None = None
    heads: tuple[tuple[str, int], ...] = ()
    strange_targets: Literal["refused", "dropped"] = "refused"
    strange_predictions: Literal["refused", "missed", "vanish"] = "refused"
    absent: Literal["left out", "zero", "not a number", "needs target"] = "left out"
    epsilon: float = 0.0
    ignored: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    accumulator_type: "type[Accumulator] | None" = None

    @property
    def one_line(self) -> str:
        """What a figure by this protocol means, to be printed beside it."""
        return f"{self.name}: {self.counts}; {self.means} ({self.source})"

    def accumulator(self, classes: Classes) -> "Accumulator":
        """What counts pictures by this protocol.

        Args:
            classes: the label set, `dataset.labels`, or a number of classes that have no names.

        Raises:
            LabelError: the protocol is for another number of classes, or for classes with other names.
        """
        return (self.accumulator_type or Accumulator)(self, classes)


@dataclass(frozen=True)
class ProtocolScores(Scores):
    """The scores of one confusion matrix by a protocol; see `Protocol` for what each means.

    Attributes:
        protocol: its name.
        note: its `one_line`.
        pictures: how many were counted.
        extra: {measure: value} beyond the four, 0–1.
        tables: {measure: {name: value}}, such as the IoU of each category, 0–1.
    """

    protocol: str
    note: str
    pictures: int
    extra: Mapping[str, float]
    tables: Mapping[str, Mapping[str, float]]

    def to_record(self) -> dict[str, Any]:
        """Plain numbers for JSON, with None for not-a-number."""
        return {
            "protocol": self.protocol,
            "note": self.note,
            "pictures": self.pictures,
            **super().to_record(),
            **{name: rounded(value) for name, value in self.extra.items()},
            **{
                table: {name: rounded(value) for name, value in values.items()} for table, values in self.tables.items()
            },
        }


@dataclass(frozen=True)
class PerClass:
    """Arrays (…, K) of what each class reached, read off confusion matrices (…, K, C); not-a-number where undefined."""

    iou: Sums
    recall: Sums
    precision: Sums
    pixels: Sums


class Accumulator:
    """Counts pictures by a protocol.

    >>> from pixelwise.protocols.rules import PROTOCOLS
    >>> accumulator = PROTOCOLS["fcn"].accumulator(2)
    >>> accumulator.update(np.array([[0, 1], [0, 1]]), np.array([[0, 1], [1, 255]]), name="a")
    >>> accumulator.scores().mean_iou
    0.5

    Attributes:
        protocol: by which it counts.
        labels: {head: label set}, the protocol's further heads included, made of `classes`.
        names: of the pictures, in the order in which they were counted.
        num_classes: K, rows of the confusion matrix.
        columns: C, its columns: K, and one more where predictions may be no class.
        void: value of `encoded` targets that is not counted.
    """

    def __init__(self, protocol: Protocol, classes: Classes) -> None:
        self.protocol = protocol
        self.labels = _labels(protocol, classes)
        first = self.labels[FIRST_HEAD]
        self._check_classes(first)
        self.num_classes = first.num_classes
        self.columns = self.num_classes + (protocol.strange_predictions != "refused")
        self.void = VOID if self.columns <= VOID else VOID_16
        self.names: list[str] = []
        self._in_mean = ~np.isin(first.names, (*protocol.ignored, *protocol.left_out))
        self._ignored = tuple(i for i, name in enumerate(first.names) if name in protocol.ignored)
        self._pictures: list[tuple[NDArray[np.int64], Sums]] = []  # where a state is not zero, and what it is there

    def _check_classes(self, labels: LabelSet) -> None:
        protocol = self.protocol
        number = sum(name not in protocol.ignored for name in labels.names)
        if protocol.num_classes is not None and number != protocol.num_classes:
            raise LabelError(
                f"protocol {protocol.name} is for {protocol.num_classes} classes, got {number}: evaluate by fcn, "
                "or with that data set's classes"
            )
        missing = [name for name in protocol.left_out if name not in labels.names]
        if missing:
            raise LabelError(
                f"protocol {protocol.name} leaves the classes {', '.join(protocol.left_out)} out of its means, "
                f"but none is called {missing[0]}: give the label set with the data set's names"
            )

    def update(
        self, prediction: Maps, target: Maps, *, name: str = "target", instances: NDArray[Any] | None = None
    ) -> None:
        """Count a prediction against a target of the same shape, any integer types.

        Args:
            prediction: classes (H, W); or {head: classes}, where the protocol has further heads.
            target: classes and void (H, W), or {head: them}.
            name: of the picture; stands in errors.
            instances: (H, W) as `CityscapesAccumulator` takes them; others refuse them.

        Raises:
            ShapeError: the shapes differ.
            LabelError: a value that the protocol refuses; `name` is in the message.
            BadOption: instances, or a further head, are missing or too many.
        """
        self._remember(name, self._state(prediction, target, name, instances))

    def merge(self, other: Self) -> None:
        """Add the pictures that another accumulator of the same protocol and classes has counted."""
        self.names += other.names
        self._pictures += other._pictures

    @property
    def state_size(self) -> int:
        """S, the length of a picture's state."""
        return self.num_classes * self.columns + sum(k * k for _, k in self.protocol.heads)

    @property
    def states(self) -> Sums:
        """(pictures, S): each picture's sums. Any sum of rows can be given to `measures`."""
        states = np.zeros((len(self._pictures), self.state_size))
        for row, (places, values) in zip(states, self._pictures, strict=True):
            row[places] = values
        return states

    @property
    def total(self) -> Sums:
        """(S,): the sums over all pictures."""
        total = np.zeros(self.state_size)
        for places, values in self._pictures:
            total[places] += values
        return total

    @property
    def confusions(self) -> NDArray[np.int64]:
        """(pictures, K, C): each picture's confusion matrix; a column beyond K holds predictions that are no class."""
        found: NDArray[np.int64] = self._matrices(self.states).astype(np.int64)
        return found

    def encoded(
        self, prediction: NDArray[Any], target: NDArray[Any], *, name: str = "target"
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """(prediction, target) of the first head as they are counted: columns 0…C−1, and rows 0…K−1 or `void`.

        Maps are (H, W), or {head: map} of a protocol with further heads. Values that the protocol refuses are
        left as they are.
        """
        k = self.num_classes
        prediction, target = np.asarray(prediction), np.asarray(target)
        if self.columns > k:
            small = np.uint8 if self.columns <= VOID else np.uint16
            prediction = np.where((prediction >= 0) & (prediction < k), prediction.astype(small), small(k))
        own_void = self.labels[FIRST_HEAD].void
        if self.protocol.strange_targets == "dropped":
            counted = (target >= 0) & (target < k)
        elif self._ignored or own_void != self.void:
            counted = target != own_void
        else:
            return prediction, target
        for ignored in self._ignored:
            counted &= target != ignored
        kind = np.promote_types(target.dtype, np.uint8 if self.void == VOID else np.uint16)
        return prediction, np.where(counted, target.astype(kind), kind.type(self.void))

    def uncounted(self, target: NDArray[Any]) -> NDArray[np.bool_]:
        """(H, W) bool: where an `encoded` target is not counted."""
        void: NDArray[np.bool_] = target == self.void
        return void

    def count(self, prediction: NDArray[Any], target: NDArray[Any], *, name: str) -> NDArray[np.int64]:
        """(K, C): the confusion matrix of one picture whose maps (H, W) are `encoded`.

        Raises:
            ShapeError: the shapes differ.
            LabelError: a value that the protocol refuses.
        """
        if prediction.shape != target.shape:
            raise ShapeError(
                f"{name}: prediction is {prediction.shape} but target is {target.shape}; predict at the target's size"
            )
        matrix = ConfusionMatrix(self.columns, void=self.void)
        matrix.update(prediction, target, name=name)
        if matrix.counts[self.num_classes :].any():
            raise LabelError(f"{name} holds {self.num_classes}, but classes are 0–{self.num_classes - 1}")
        return matrix.counts[: self.num_classes]

    def measures(self, states: Sums) -> dict[str, Sums]:
        """{measure: (…)} for sums of states (…, S): the four of `Scores`, and the protocol's further ones.

        Every figure of `scores` that is one number is here under the same name.
        """
        matrices = self._matrices(states)
        classes = self.per_class(matrices)
        hit = np.diagonal(matrices[..., : self.num_classes], axis1=-2, axis2=-1)
        counted = matrices.sum((-1, -2))
        weights = np.where(self._in_mean, classes.pixels, 0)  # a class without IoU would count as 0
        return {
            "mean_iou": self._mean(classes.iou, self.protocol.absent),
            "mean_accuracy": self._mean(classes.recall, "zero" if self.protocol.absent == "zero" else "left out"),
            "pixel_accuracy": ratio(hit.sum(-1), counted, self.protocol.epsilon),
            "frequency_weighted_iou": ratio(
                np.where(weights > 0, weights * np.nan_to_num(classes.iou), 0).sum(-1), weights.sum(-1)
            ),
            **self._further(states),
        }

    def per_class(self, matrices: Sums) -> PerClass:
        """What each class reached, from confusion matrices (…, K, C)."""
        k, rule = self.num_classes, self.protocol
        hit = np.diagonal(matrices[..., :k], axis1=-2, axis2=-1)
        pixels = (matrices[..., :k] if rule.strange_predictions == "vanish" else matrices).sum(-1)
        predicted = matrices[..., :k].sum(-2)
        union = pixels + predicted - hit
        iou, recall = ratio(hit, union, rule.epsilon), ratio(hit, pixels, rule.epsilon)
        if rule.absent == "needs target":
            iou = np.where(pixels > 0, iou, np.nan)
        if rule.absent == "zero":
            iou, recall = np.nan_to_num(iou), np.nan_to_num(recall)
        iou = np.where(self._in_mean, iou, np.nan)
        recall = np.where(self._in_mean, recall, np.nan)
        return PerClass(iou, recall, ratio(hit, predicted), pixels)

    def scores(self) -> ProtocolScores:
        """All scores of what was counted so far."""
        total = self.total
        matrix = self._matrices(total)
        classes = self.per_class(matrix)
        values = {name: float(value) for name, value in self.measures(total).items()}
        return ProtocolScores(
            pixel_accuracy=values.pop("pixel_accuracy"),
            mean_accuracy=values.pop("mean_accuracy"),
            mean_iou=values.pop("mean_iou"),
            frequency_weighted_iou=values.pop("frequency_weighted_iou"),
            per_class=tuple(
                ClassScore(
                    name,
                    float(classes.iou[i]),
                    float(classes.precision[i]),
                    float(classes.recall[i]),
                    int(classes.pixels[i]),
                )
                for i, name in enumerate(self._class_names())
            ),
            classes_left_out=int(np.isnan(classes.iou).sum()),
            confusion=self._square(matrix).astype(np.int64),
            protocol=self.protocol.name,
            note=self.protocol.one_line,
            pictures=len(self.names),
            extra=values,
            tables=self._tables(total),
        )

    def _state(self, prediction: Maps, target: Maps, name: str, instances: NDArray[Any] | None) -> Sums:
        if instances is not None:
            raise BadOption(
                f"protocol {self.protocol.name} takes no instances; leave them out or evaluate by cityscapes"
            )
        counts = self.count(*self.encoded(self._head(prediction), self._head(target), name=name), name=name)
        parts = [counts.ravel()]
        for head, k in self.protocol.heads:
            matrix = ConfusionMatrix(k, void=self.labels[head].void)
            matrix.update(self._head(prediction, head), self._head(target, head), name=f"{name} ({head})")
            parts.append(matrix.counts.ravel())
        return np.concatenate(parts).astype(np.float64)

    def _head(self, maps: Maps, head: str = FIRST_HEAD) -> NDArray[Any]:
        if isinstance(maps, Mapping):
            if head not in maps:
                raise BadOption(
                    f"protocol {self.protocol.name} counts the head {head}, but got only {', '.join(maps) or 'none'}"
                )
            return maps[head]
        if head != FIRST_HEAD:
            raise BadOption(
                f"protocol {self.protocol.name} counts the heads {', '.join(self.labels)}, but got one map: "
                "give {head: map}"
            )
        return maps

    def _remember(self, name: str, state: Sums) -> None:
        places = np.flatnonzero(state)
        self._pictures.append((places, state[places]))
        self.names.append(name)

    def _matrices(self, states: Sums) -> Sums:
        """(…, K, C) from (…, S)."""
        k, c = self.num_classes, self.columns
        return states[..., : k * c].reshape(*states.shape[:-1], k, c)

    def _square(self, matrix: Sums) -> Sums:
        """The confusion matrix that `scores` shows."""
        return matrix[:, : self.num_classes]

    def _class_names(self) -> Sequence[str]:
        return self.labels[FIRST_HEAD].names

    def _mean(self, values: Sums, absent: str) -> Sums:
        values = values[..., self._in_mean]
        if absent == "not a number":
            return np.asarray(values.mean(-1))
        known = ~np.isnan(values)
        number = known.sum(-1) if absent != "zero" else np.full(values.shape[:-1], values.shape[-1])
        return ratio(np.where(known, values, 0).sum(-1), number.astype(np.float64))

    def _further(self, states: Sums) -> dict[str, Sums]:
        """The protocol's further measures, (…) each."""
        further: dict[str, Sums] = {}
        start = self.num_classes * self.columns
        for head, k in self.protocol.heads:
            counts = states[..., start : start + k * k].reshape(*states.shape[:-1], k, k)
            start += k * k
            right = np.trace(counts, axis1=-2, axis2=-1)
            further[f"{head}_pixel_accuracy"] = ratio(right, counts.sum((-1, -2)))
        return further

    def _tables(self, total: Sums) -> dict[str, dict[str, float]]:
        return {}


class ChallengeAccumulator(Accumulator):
    """With the score of MIT's scene parsing challenge: (mean IoU + pixel accuracy) / 2."""

    def measures(self, states: Sums) -> dict[str, Sums]:
        """As everywhere, and the challenge's score."""
        found = super().measures(states)
        return found | {"challenge_score": (found["mean_iou"] + found["pixel_accuracy"]) / 2}


def _labels(protocol: Protocol, classes: Classes) -> dict[str, LabelSet]:
    """{head: label set}, with sets without names where none is given."""
    if isinstance(classes, int):
        classes = LabelSet(tuple(f"class {i}" for i in range(classes)))
    if isinstance(classes, LabelSet):
        classes = {FIRST_HEAD: classes}
    if FIRST_HEAD not in classes:
        raise BadOption(f"expected the label set of the head {FIRST_HEAD}, got {', '.join(classes) or 'none'}")
    found = {FIRST_HEAD: classes[FIRST_HEAD]}
    for head, number in protocol.heads:
        found[head] = classes.get(head) or LabelSet(tuple(f"class {i}" for i in range(number)))
        if found[head].num_classes != number:
            raise LabelError(
                f"protocol {protocol.name} is for {number} classes of the head {head}, got {found[head].num_classes}"
            )
    return found


def ratio(above: Sums, below: Sums, epsilon: float = 0.0) -> Sums:
    """Above / (below + epsilon), not-a-number where that denominator is empty."""
    above, below = np.asarray(above, np.float64), np.asarray(below, np.float64) + epsilon
    found: Sums = np.full(np.broadcast(above, below).shape, np.nan)
    np.divide(above, below, out=found, where=below > 0)
    return found
