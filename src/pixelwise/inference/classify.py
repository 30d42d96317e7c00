"""Classify: whole pictures by the mean of their probability maps, and the scores of a set, counted by picture.

A picture is taken for the class whose probability has the largest mean over the cells of the network's map. With n_ij
the pictures of class i that are taken for j, and t_i = Σ_j n_ij:

    accuracy        Σ_i n_ii / Σ_i t_i
    mean accuracy   the mean of n_ii / t_i over the classes with t_i > 0

Nothing here says how good the maps are: there is no label of a pixel to measure them with.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pixelwise.data.sample import Dataset, Sample, adapt_channels
from pixelwise.errors import DataError
from pixelwise.inference.engine import Engine, Predictor, engine_of
from pixelwise.inference.predict import predict_head
from pixelwise.inference.tiles import plan_of
from pixelwise.layers.normalization import Normalization
from pixelwise.metrics import rounded


@dataclass(frozen=True)
class ClassOfPictures:
    """What one class reached, 0–1, or not-a-number where its denominator is empty.

    Attributes:
        precision: of the pictures that were taken for it, how many are of it.
        recall: of the pictures that are of it, how many were taken for it.
        pictures: t_i, pictures of the class.
    """

    name: str
    precision: float
    recall: float
    pictures: int


@dataclass(frozen=True)
class PictureScores:
    """The scores of a set of whole pictures; see the module for the formulas.

    Attributes:
        mean_probability: of each picture's own class, the mean over the pictures.
        classes_left_out: classes without a picture, left out of the mean accuracy.
        confusion: (K, K) int64 pictures, rows are true classes, columns predictions.
    """

    accuracy: float
    mean_accuracy: float
    mean_probability: float
    per_class: tuple[ClassOfPictures, ...]
    classes_left_out: int
    confusion: NDArray[np.int64]

    @property
    def quality(self) -> float:
        """What the best model is chosen by: mean accuracy, and of equals the surer one."""
        return self.mean_accuracy + 1e-6 * self.mean_probability

    def to_record(self) -> dict[str, Any]:
        """Plain numbers for JSON, with None for not-a-number; "counted" tells them from scores of pixels."""
        return {
            "counted": "pictures",
            "picture_accuracy": rounded(self.accuracy),
            "mean_picture_accuracy": rounded(self.mean_accuracy),
            "mean_probability": rounded(self.mean_probability),
            "classes_left_out": self.classes_left_out,
            "per_class": [
                {
                    "name": c.name,
                    "precision": rounded(c.precision),
                    "recall": rounded(c.recall),
                    "pictures": c.pictures,
                }
                for c in self.per_class
            ],
            "confusion": self.confusion.tolist(),
        }

    @classmethod
    def of(
        cls, targets: Sequence[int], probabilities: NDArray[np.floating[Any]], names: Sequence[str]
    ) -> "PictureScores":
        """The scores of n pictures.

        Args:
            targets: (n,) class of each.
            probabilities: (n, K) of each picture, adding up to 1.

        >>> scores = PictureScores.of([0, 0, 1], np.array([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8]]), ("cat", "dog"))
        >>> round(scores.accuracy, 3), scores.mean_accuracy, scores.confusion.tolist()
        (0.667, 0.75, [[1, 1], [0, 1]])
        """
        confusion = np.zeros((len(names), len(names)), np.int64)
        np.add.at(confusion, (np.asarray(targets), probabilities.argmax(1)), 1)
        hit, of, taken = confusion.diagonal(), confusion.sum(1), confusion.sum(0)
        nothing = np.full(len(names), np.nan)
        recall = np.divide(hit, of, out=nothing.copy(), where=of > 0)
        precision = np.divide(hit, taken, out=nothing.copy(), where=taken > 0)
        return cls(
            accuracy=float(hit.sum() / len(targets)),
            mean_accuracy=float(recall[of > 0].mean()),
            mean_probability=float(probabilities[np.arange(len(targets)), np.asarray(targets)].mean()),
            per_class=tuple(
                ClassOfPictures(name, float(precision[i]), float(recall[i]), int(of[i])) for i, name in enumerate(names)
            ),
            classes_left_out=int((of == 0).sum()),
            confusion=confusion,
        )


@dataclass(frozen=True)
class ClassifiedPicture:
    """How one picture went.

    Attributes:
        target, prediction: classes.
        probability: of the predicted class, 0–1.
        true_probability: of the picture's own class, 0–1; for ranking.
    """

    index: int
    name: str
    target: int
    prediction: int
    probability: float
    true_probability: float


@dataclass(frozen=True)
class Classification:
    """Scores of a whole set, how each picture went, and the time per million pixels in seconds."""

    scores: PictureScores
    pictures: tuple[ClassifiedPicture, ...]
    seconds_per_megapixel: float
    flip: bool = False

    @property
    def protocol(self) -> str:
        """What the numbers mean, in one sentence."""
        mirrored = "; probabilities are averaged with those of the mirrored pictures" if self.flip else ""
        return (
            f"by whole pictures, {len(self.pictures)} of them: each is taken for the class with the largest mean "
            "probability over its map; where in a picture a class is, was not measured" + mirrored
        )


def classify_image(
    predictor: Predictor,
    normalization: Normalization,
    image: NDArray[Any],
    *,
    flip: bool = False,
    name: str = "image",
) -> NDArray[np.float64]:
    """(K,) mean probabilities over the cells of the map of a picture (H, W, C).

    Of a picture too large to go through whole, the mean over its tiles, by their areas.

    Raises:
        ShapeError: the picture's channels are not the network's.
    """
    engine = engine_of(predictor)
    image = adapt_channels(image, normalization.channels, name=name)
    normalization = normalization.of(image)
    plan = plan_of(engine, normalization, (image.shape[0], image.shape[1]))
    if len(plan.tiles) > 1:
        areas, parts = [], []
        for window, inner, _ in plan.tiles:
            areas.append(math.prod(span.stop - span.start for span in inner))
            parts.append(_mean(engine, normalization, image[window], flip))
        return np.average(parts, 0, areas)
    return _mean(engine, normalization, image, flip)


def _mean(engine: Engine, normalization: Normalization, image: NDArray[Any], flip: bool) -> NDArray[np.float64]:
    """(K,) mean probabilities over the cells of one view, or of it and its mirror image."""
    views = [image, image[:, ::-1]] if flip else [image]
    means = []
    for view in views:
        head = predict_head(engine, normalization, view)
        with torch.inference_mode():
            scores = head.scores.double()
            probabilities = scores.softmax(1) if head.kind == "logits" else scores
        means.append(probabilities[0].mean((1, 2)).cpu().numpy())
    mean: NDArray[np.float64] = np.mean(means, 0)
    return mean


def classify_pictures(
    predictor: Predictor,
    normalization: Normalization,
    dataset: Dataset,
    *,
    flip: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Classification:
    """Classify every picture of a data set whose targets are full of one class each.

    Args:
        predictor: an engine, or a network in evaluation mode.
        progress: called with (done, all) after each picture.

    Raises:
        DataError: the data set is empty, or a picture has no class or several.
    """
    if len(dataset) == 0:
        raise DataError("there is nothing to evaluate on: the data set has no pictures")
    engine = engine_of(predictor)
    pictures, targets, rows = [], [], []
    seconds, pixels = 0.0, 0
    for index in range(len(dataset)):
        sample = dataset[index]
        target = class_of(sample)
        start = time.perf_counter()
        mean = classify_image(engine, normalization, sample.image, flip=flip, name=sample.name)
        seconds += time.perf_counter() - start
        pixels += sample.image.shape[0] * sample.image.shape[1]
        best = int(mean.argmax())
        pictures.append(ClassifiedPicture(index, sample.name, target, best, float(mean[best]), float(mean[target])))
        targets.append(target)
        rows.append(mean)
        if progress is not None:
            progress(index + 1, len(dataset))
    scores = PictureScores.of(targets, np.stack(rows), dataset.labels["labels"].names)
    return Classification(scores, tuple(pictures), seconds / max(pixels, 1) * 1e6, flip)


def class_of(sample: Sample) -> int:
    """The one class of a picture.

    Raises:
        DataError: its target is missing, or holds several.
    """
    target = sample.targets.get("labels")
    if target is None:
        raise DataError(f"{sample.name} has no class; lay it in a class folder")
    value = int(target[0, 0])
    if (target != value).any():
        raise DataError(
            f"{sample.name} has a mask of several classes; whole pictures are of one: evaluate it by its mask"
        )
    return value
