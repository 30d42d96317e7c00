"""Labels that a model doubts, and pictures that it is least sure of.

A mask is judged by a model that learned neither it nor a picture that looks the same. The rule is that of confident
learning (Northcutt, Jiang and Chuang, Confident learning: estimating uncertainty in dataset labels, JAIR 70, 2021): a
label is doubted where the model sees another class with at least the confidence that it usually has in that class.
A pixel is *doubted* where it is labeled i, the model says j ≠ i, and its probability p_j ≥ t_j, the mean of p_j over
all judged pixels labeled j. It counts p_j·r_j, where r_j is how often the model's j, said so surely, is the label in
the other pictures that it judges: what a poor model takes for stone everywhere is no doubt. A picture's doubt is the
mean over its counted pixels, so 0.1 is about a tenth of the picture. Outlines, where models are unsure, count little.

**Differences:** r_j is ours. Where a pixel labeled j is predicted as another class its p_j is taken as 0 in t_j, since
only the probability of the predicted class is known, but t_j is at least a half. Pictures are ranked by this mean, and
not by the softmin of Lad and Mueller (Estimating label quality and errors in semantic segmentation data via any model,
2023), which finds single wrong objects better and needs the probability of every class.

Void is never judged.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixelwise.data.sample import Dataset
from pixelwise.inference.pictures import displayable, overlay, write_picture
from pixelwise.labels import LabelSet
from pixelwise.report.thumbnails import small_classes, small_image
from pixelwise.segmenter import Segmenter

GRID = 1024  # pixels a side that are judged at most; of larger pictures every second, third …
THUMBNAIL = 480  # pixels of a drawn picture's longer side, at most
DRAWN = 12  # pictures of each judge that are drawn
OUTLIER = 3.5  # robust deviations above the median (Iglewicz and Hoaglin 1993) from which a picture stands out
ROUNDING = 1e-6  # of a mean of equal confidences
NOTICED = 0.01  # doubt below which none does


@dataclass(frozen=True)
class Doubt:
    """How much a model doubts the mask of a picture.

    Attributes:
        name: of the picture.
        doubt: see the module; 0–1.
        share: of the counted pixels that are doubted, 0–1.
        given, seen: the label and the class seen instead that make up most of it; empty where nothing is doubted.
        files: {"mask", "model", "where"} → drawn pictures; empty for those that were not drawn.
    """

    name: str
    doubt: float
    share: float
    given: str
    seen: str
    files: dict[str, str] = field(default_factory=dict)

    def to_record(self) -> dict[str, Any]:
        """Plain values for JSON."""
        numbers = {"doubt": round(self.doubt, 6), "share": round(self.share, 6)}
        return {"name": self.name} | numbers | {"given": self.given, "seen": self.seen, "files": self.files}


@dataclass
class _Judged:
    """A picture, thinned: what the mask says, what the model says, and how surely, 0–255."""

    name: str
    target: NDArray[Any]
    labels: NDArray[Any]
    sure: NDArray[np.uint8]


def judge(
    segmenter: Segmenter,
    dataset: Dataset,
    out: Path,
    *,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Doubt]:
    """The doubt in each mask of pictures that a segmenter did not learn, the largest first.

    Args:
        out: a folder for drawings of the pictures with the largest doubt.
        progress: called with (done, all) after each picture.
    """
    labels = segmenter.labels
    judged = []
    for index in range(len(dataset)):
        sample = dataset[index]
        found = segmenter.predict_dense(sample.image, confidence=True, crf=False, name=sample.name)
        assert found.confidence is not None
        step = max(-(-max(sample.size) // GRID), 1)
        sure = (found.confidence[::step, ::step] * 255 + 0.5).astype(np.uint8)
        target = np.ascontiguousarray(sample.targets["labels"][::step, ::step])
        judged.append(_Judged(sample.name, target, np.ascontiguousarray(found.labels[::step, ::step]), sure))
        progress(index + 1, len(dataset))
    limits = thresholds([(j.target, j.labels, j.sure / np.float32(255)) for j in judged], labels.num_classes)
    said = np.stack([_said_surely(j, limits) for j in judged])
    trust = [reliability(said.sum(0) - own) for own in said]
    rated = [(_doubt_of(j, limits, trust[place], labels), place) for place, j in enumerate(judged)]
    rated.sort(key=lambda one: (-one[0].doubt, one[0].name))
    found_doubts = []
    for rank, (doubt, place) in enumerate(rated):
        if rank < DRAWN and doubt.doubt > 0:
            doubt.files.update(_draw(dataset[place].image, judged[place], limits, labels, out, rank))
        found_doubts.append(doubt)
    return found_doubts


def thresholds(
    judged: Sequence[tuple[NDArray[Any], NDArray[Any], NDArray[Any]]], num_classes: int
) -> NDArray[np.float64]:
    """(K,) t of each class: the mean confidence in it over the pixels labeled with it, at least a half.

    Args:
        judged: (target, labels, confidence of these 0–1) of each picture, (H, W) each.
    """
    sums, counts = np.zeros(num_classes), np.zeros(num_classes)
    for target, labels, sure in judged:
        known = target < num_classes
        counts += np.bincount(target[known].ravel(), minlength=num_classes)[:num_classes]
        right = known & (target == labels)
        sums += np.bincount(target[right].ravel(), sure[right].ravel(), minlength=num_classes)[:num_classes]
    found: NDArray[np.float64] = np.maximum(sums / np.maximum(counts, 1), 0.5)
    return found


def doubted_pixels(
    target: NDArray[Any], labels: NDArray[Any], sure: NDArray[Any], limits: NDArray[np.float64]
) -> NDArray[np.float32]:
    """(H, W) the model's confidence 0–1 in another class than the target's, where that is doubted, else 0."""
    known = (target < len(limits)) & (target != labels)
    sure = np.asarray(sure, np.float32)
    return np.where(known & (sure >= limits[labels] - ROUNDING), sure, np.float32(0)).astype(np.float32)


def reliability(said: NDArray[np.int64]) -> NDArray[np.float64]:
    """(K,) how often each class, said surely, is the label, 0–1; of a class that is never said so, that of all.

    Args:
        said: (2, K) pixels: where it is the label, and all.
    """
    right, every = said.astype(np.float64)
    whole = right.sum() / every.sum() if every.sum() else 1.0
    found: NDArray[np.float64] = np.divide(right, every, out=np.full(len(right), whole), where=every > 0)
    return found


def standing_out(doubts: Sequence[float]) -> int:
    """How many of these, the largest first, are far above the others.

    >>> standing_out([0.3, 0.2, 0.02, 0.02, 0.018, 0.017, 0.015, 0.01]), standing_out([0.02, 0.018, 0.017])
    (2, 0)
    """
    if len(doubts) < 4:
        return 0
    values = np.asarray(doubts)
    middle = float(np.median(values))
    spread = float(np.median(np.abs(values - middle))) / 0.6745  # that of a normal distribution
    return int((values > max(middle + OUTLIER * spread, NOTICED)).sum())


def uncertainty(segmenters: Sequence[Segmenter], pixels: NDArray[Any], name: str) -> float:
    """How unsure segmenters are of a picture (H, W, C) together, 0–1.

    It is the mean over the pixels of the entropy −Σ p ln p / ln K of their mean probabilities (the entropy of a
    committee's vote: Settles, Active learning literature survey, 2009, §3.2).
    """
    first, *others = segmenters
    entropy = first.predict_dense(pixels, entropy=True, crf=False, others=others, name=name).entropy
    assert entropy is not None
    return float(entropy.mean(dtype=np.float64))


def _said_surely(judged: _Judged, limits: NDArray[np.float64]) -> NDArray[np.int64]:
    """(2, K) counted pixels that the model surely says are of a class: those labeled so, and all."""
    k = len(limits)
    surely = (judged.target < k) & (judged.sure / np.float32(255) >= limits[judged.labels] - ROUNDING)
    right = surely & (judged.target == judged.labels)
    return np.stack([np.bincount(judged.labels[where].ravel(), minlength=k)[:k] for where in (right, surely)])


def _doubt_of(judged: _Judged, limits: NDArray[np.float64], trust: NDArray[np.float64], labels: LabelSet) -> Doubt:
    k = labels.num_classes
    counted = int((judged.target < k).sum())
    weights = doubted_pixels(judged.target, judged.labels, judged.sure / np.float32(255), limits)
    weights *= trust[judged.labels].astype(np.float32)
    where = weights > 0
    if not where.any():
        return Doubt(judged.name, 0.0, 0.0, "", "")
    pairs = judged.target[where].astype(np.int64) * k + judged.labels[where]
    values, inverse = np.unique(pairs, return_inverse=True)
    given, seen = divmod(int(values[np.bincount(inverse, weights[where]).argmax()]), k)
    total = float(weights.sum(dtype=np.float64))
    return Doubt(judged.name, total / counted, int(where.sum()) / counted, labels.names[given], labels.names[seen])


def _draw(
    image: NDArray[Any], judged: _Judged, limits: NDArray[np.float64], labels: LabelSet, out: Path, rank: int
) -> dict[str, str]:
    """The picture with its mask, with the model's classes, and where they are at odds; their names in `out`."""
    picture = small_image(image, THUMBNAIL)
    size = picture.shape[:2]
    weights = doubted_pixels(judged.target, judged.labels, judged.sure / np.float32(255), limits)
    views = {
        "mask": overlay(picture, _fitted(judged.target, size), labels),
        "model": overlay(picture, _fitted(judged.labels, size), labels),
        "where": _marked(picture, _fitted(weights, size)),
    }
    stem = f"{rank + 1:02}-{re.sub(r'[^A-Za-z0-9_.-]+', '_', judged.name)[-60:]}"
    files = {view: f"{stem}-{view}.jpg" for view in views}
    for view, pixels in views.items():
        write_picture(pixels, out / files[view], quality=88)
    return files


def _fitted(values: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    """A map (h, w) at another size, by nearest."""
    if max(values.shape) > max(size):
        values = small_classes(values, max(size))
    rows, columns = (np.arange(wide) * have // wide for wide, have in zip(size, values.shape, strict=True))
    return values[np.ix_(rows, columns)]


def _marked(picture: NDArray[np.uint8], weights: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The picture in pale gray, with what is doubted in red, the surer the stronger."""
    gray = displayable(picture).mean(axis=2, keepdims=True) * 0.5 + 110
    strength = np.where(weights > 0, 0.35 + 0.65 * weights, 0)[..., None]
    mixed = gray * (1 - strength) + np.array([220, 30, 40]) * strength
    return np.asarray(mixed.clip(0, 255), np.uint8)
