"""One integer confusion matrix over a whole set, and every score that is read off it.

Scores follow Long et al. 2015, §5, with n_ij the pixels of class i predicted as j and t_i = Σ_j n_ij:

    pixel accuracy          Σ_i n_ii / Σ_i t_i
    mean accuracy           (1/K) Σ_i n_ii / t_i
    mean IoU                (1/K) Σ_i n_ii / (t_i + Σ_j n_ji − n_ii)
    frequency-weighted IoU  (Σ_k t_k)⁻¹ Σ_i t_i·n_ii / (t_i + Σ_j n_ji − n_ii)

Void pixels are never counted. A class's score is not-a-number where its denominator is empty, and is then left out of
the mean (their number is `Scores.classes_left_out`); a class absent from the targets but predicted somewhere has IoU 0.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixelwise.errors import LabelError, ShapeError
from pixelwise.labels import VOID, VOID_16

Counts = NDArray[np.int64]


@dataclass(frozen=True)
class ClassScore:
    """What one class reached; each score 0–1, or not-a-number where its denominator is empty.

    Attributes:
        pixels: t_i, pixels of the class in the targets.
    """

    name: str
    iou: float
    precision: float
    recall: float
    pixels: int


@dataclass(frozen=True)
class Scores:
    """The scores of one confusion matrix, 0–1; see the module for the formulas.

    Attributes:
        classes_left_out: classes in neither targets nor predictions, left out of mean IoU.
        confusion: (K, K) int64, rows are targets, columns predictions.
    """

    pixel_accuracy: float
    mean_accuracy: float
    mean_iou: float
    frequency_weighted_iou: float
    per_class: tuple[ClassScore, ...]
    classes_left_out: int
    confusion: Counts

    @property
    def quality(self) -> float:
        """What the best model of a run is chosen by: mean IoU."""
        return self.mean_iou

    def to_record(self) -> dict[str, Any]:
        """Plain numbers for JSON, with None for not-a-number."""
        return {
            "mean_iou": rounded(self.mean_iou),
            "pixel_accuracy": rounded(self.pixel_accuracy),
            "mean_accuracy": rounded(self.mean_accuracy),
            "frequency_weighted_iou": rounded(self.frequency_weighted_iou),
            "classes_left_out": self.classes_left_out,
            "per_class": [
                {
                    "name": c.name,
                    "iou": rounded(c.iou),
                    "precision": rounded(c.precision),
                    "recall": rounded(c.recall),
                    "pixels": c.pixels,
                }
                for c in self.per_class
            ],
            "confusion": self.confusion.tolist(),
        }


class ConfusionMatrix:
    """Counts of (target, prediction) over any number of pictures.

    >>> m = ConfusionMatrix(2)
    >>> m.update(np.array([[0, 1], [1, 1]]), np.array([[0, 1], [0, 255]]))
    >>> m.counts
    array([[1, 1],
           [0, 1]])
    >>> round(m.scores().mean_iou, 3)
    0.5

    Args:
        num_classes: K.
        void: value of targets that is not counted; 255, or 65 535 with more than 255 classes, if left out.
        names: of the classes, for `scores`.
    """

    def __init__(self, num_classes: int, *, void: int | None = None, names: Sequence[str] | None = None) -> None:
        self.num_classes = num_classes
        self.void = void if void is not None else (VOID if num_classes <= VOID else VOID_16)
        self.names = tuple(names) if names is not None else tuple(f"class {i}" for i in range(num_classes))
        self.counts: Counts = np.zeros((num_classes, num_classes), np.int64)

    def update(self, prediction: NDArray[Any], target: NDArray[Any], *, name: str = "target") -> None:
        """Count a prediction against a target of the same shape, any integer types.

        Raises:
            ShapeError: the shapes differ.
            LabelError: a target is neither a class nor void, or a prediction no class; `name` is in the message.
        """
        prediction, target = np.asarray(prediction), np.asarray(target)
        if prediction.shape != target.shape:
            raise ShapeError(
                f"{name}: prediction is {prediction.shape} but target is {target.shape}; predict at the target's size"
            )
        if target.size == 0:
            return
        k = self.num_classes
        if prediction.dtype == target.dtype == np.uint8 and self.void < 256:
            from pixelwise.metrics_kernels import count_pairs  # numba takes a while to load

            whole = count_pairs(target.ravel(), prediction.ravel())
            if whole[:k, :k].sum() + whole[self.void, :k].sum() == target.size:
                self.counts += whole[:k, :k]
                return
        if int(prediction.min()) < 0 or int(prediction.max()) >= k:
            raise LabelError(f"{name}: a prediction holds {int(prediction.max())}, but classes are 0–{k - 1}")
        low, high = int(target.min()), int(target.max())
        if low < 0 or high > VOID_16:
            self._refuse(target, name)
        # No masking: void is row K of a histogram with K + 2 rows, any other value row K + 1.
        row = np.full(max(high, self.void) + 1, (k + 1) * k, np.int64)
        row[:k] = np.arange(k) * k
        row[self.void] = k * k
        histogram = np.bincount((row[target] + prediction).ravel(), minlength=(k + 2) * k)
        if histogram[(k + 1) * k :].any():
            self._refuse(target, name)
        self.counts += histogram[: k * k].reshape(k, k)

    def _refuse(self, target: NDArray[Any], name: str) -> None:
        values = target.astype(np.int64)
        wrong = ((values < 0) | (values >= self.num_classes)) & (values != self.void)
        place = tuple(int(i) for i in np.argwhere(wrong)[0])
        raise LabelError(
            f"{name} holds {int(values[place])} at row {place[0]}, column {place[-1]}; "
            f"classes are 0–{self.num_classes - 1} and void is {self.void}"
        )

    def scores(self) -> Scores:
        """All scores of what was counted so far."""
        n = self.counts.astype(np.float64)
        hit, target, predicted = n.diagonal(), n.sum(1), n.sum(0)
        union = target + predicted - hit
        recall, precision, iou = _ratio(hit, target), _ratio(hit, predicted), _ratio(hit, union)
        total = target.sum()
        present = target > 0
        return Scores(
            pixel_accuracy=float(hit.sum() / total) if total else float("nan"),
            mean_accuracy=_mean(recall),
            mean_iou=_mean(iou),
            frequency_weighted_iou=float((target * iou)[present].sum() / total) if total else float("nan"),
            per_class=tuple(
                ClassScore(name, float(iou[i]), float(precision[i]), float(recall[i]), int(target[i]))
                for i, name in enumerate(self.names)
            ),
            classes_left_out=int(np.isnan(iou).sum()),
            confusion=self.counts.copy(),
        )


def mean_iou_of_picture(prediction: NDArray[Any], target: NDArray[Any], num_classes: int, void: int) -> float:
    """The mean IoU of a single picture, over the classes in it or predicted; for ranking, not a set's score.

    Args:
        prediction, target: (H, W) classes; in the target also void, which is not counted.
    """
    matrix = ConfusionMatrix(num_classes, void=void)
    matrix.update(prediction, target)
    return matrix.scores().mean_iou


def _ratio(above: NDArray[np.float64], below: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.divide(above, below, out=np.full_like(above, np.nan), where=below > 0)


def _mean(values: NDArray[np.float64]) -> float:
    counted = values[~np.isnan(values)]
    return float(counted.mean()) if counted.size else float("nan")


def rounded(value: float) -> float | None:
    """A measure as a record has it: six digits after the point, None for not-a-number."""
    return None if np.isnan(value) else round(float(value), 6)
