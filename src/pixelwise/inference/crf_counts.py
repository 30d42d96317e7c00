"""Counts of a dense CRF's settings on pictures: the network sees each picture once, each setting refines its scores.

A count is of hit, target and predicted pixels of each class, of which mean IoU is made.
"""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from pixelwise.crf.parameters import CRFParameters
from pixelwise.data.levels import to_levels
from pixelwise.data.sample import Dataset, adapt_channels, spread
from pixelwise.errors import BadOption, DataError
from pixelwise.inference.engine import Engine
from pixelwise.inference.predict import (
    REFINED,
    full_probabilities,
    label_type,
    predict_head,
)
from pixelwise.inference.refine import picture_digest
from pixelwise.inference.tiles import Window, windows_of
from pixelwise.labels import LabelSet
from pixelwise.layers.head import Head
from pixelwise.layers.normalization import Normalization
from pixelwise.metrics import ConfusionMatrix

Counts = NDArray[np.int64]
"""(…, 3, K): pixels of each class that are hit, in the target, and predicted; all that IoU is made of."""

PER_CLASS, PER_PIXEL = 28, 600  # bytes that a CRF on one thread works with: per pixel and class, per pixel


class _Part(NamedTuple):
    """A window of a picture that goes through the network at once, with what the network says of it."""

    head: Head
    window: Window
    inner: Window
    place: Window


class Seen(NamedTuple):
    """A picture that the network has seen.

    Attributes:
        image: (H, W, C) with the network's channels.
        without: (3, K) counts of the network alone.
    """

    name: str
    image: NDArray[Any]
    target: NDArray[Any]
    parts: tuple[_Part, ...]
    without: Counts
    digest: str

    @property
    def bytes(self) -> int:
        """What it takes."""
        return self.image.nbytes + self.target.nbytes + sum(4 * part.head.scores.numel() for part in self.parts)


class Meter:
    """How many of all measurements are done."""

    def __init__(self, tell: Callable[[int, int], None], total: int) -> None:
        self._tell = tell
        self.done = 0
        self.total = total

    def add(self, count: int) -> None:
        """So many more are done."""
        self.done += count
        self._tell(self.done, max(self.total, self.done))


class Table:
    """Counts of settings on pictures, measured when asked for, each once."""

    def __init__(self, seen: Sequence[Seen], labels: LabelSet, steps: int, workers: int, meter: Meter) -> None:
        self.seen = seen
        self._labels = labels
        self._steps = steps
        self._workers = workers
        self._meter = meter
        self._counts: dict[tuple[CRFParameters, int], Counts] = {}

    def measure(self, settings: Sequence[CRFParameters], pictures: Sequence[int]) -> None:
        """Every setting on every picture. Those of equal widths share a picture's lattices."""
        jobs: dict[tuple[int, float, float], list[CRFParameters]] = {}
        for index, setting in itertools.product(pictures, settings):
            if (setting, index) not in self._counts:  # else measured in an earlier step
                widths = setting.bilateral_sigma_pixels, setting.bilateral_sigma_color
                jobs.setdefault((index, *widths), []).append(setting)
        pool = ThreadPoolExecutor(self._workers)
        with _one_thread():
            try:
                futures = {
                    pool.submit(_counts, self.seen[index], together, self._labels, self._steps): (index, together)
                    for (index, *_), together in jobs.items()
                }
                for future in as_completed(futures):
                    index, together = futures[future]
                    for setting, counts in zip(together, future.result(), strict=True):
                        self._counts[setting, index] = counts
                    self._meter.add(len(together))
            finally:
                pool.shutdown(cancel_futures=True)

    def counts(self, setting: CRFParameters, pictures: Sequence[int]) -> Counts:
        """(pictures, 3, K) of what was measured."""
        return np.stack([self._counts[setting, index] for index in pictures])

    def mean_iou(self, setting: CRFParameters, pictures: Sequence[int]) -> float:
        """Of one confusion matrix over the pictures."""
        return float(mean_iou(self.counts(setting, pictures).sum(0)))

    def best(self, settings: Sequence[CRFParameters], pictures: Sequence[int]) -> CRFParameters:
        """The setting with the highest mean IoU; of equals the first."""
        return max(settings, key=lambda setting: self.mean_iou(setting, pictures))


def mean_iou(counts: NDArray[Any]) -> NDArray[np.float64]:
    """(…, 3, K) → (…): the mean over the classes in targets or predictions, as `metrics` has it."""
    hit, target, predicted = np.moveaxis(counts.astype(np.float64), -2, 0)
    union = target + predicted - hit
    iou = np.divide(hit, union, out=np.zeros_like(hit), where=union > 0)
    classes = (union > 0).sum(-1)
    total = iou.sum(-1)
    mean: NDArray[np.float64] = np.divide(total, classes, out=np.full_like(total, np.nan), where=classes > 0)
    return mean


def see(
    engine: Engine,
    normalization: Normalization,
    dataset: Dataset,
    wanted: int,
    memory_bytes: int,
    meter: Meter,
) -> tuple[list[Seen], int]:
    """So many pictures, spread evenly; or every second, fourth, … of them where memory holds no more.

    Returns:
        Those with labeled pixels, and how many were looked at that have none.
    """
    labels = dataset.labels["labels"]
    seen: list[Seen] = []
    stride, place, void = 1, 0, 0
    for index in spread(len(dataset), wanted):
        if place % stride:
            place += 1
            meter.add(1)
            continue
        sample = dataset[index]
        target = sample.targets.get("labels")
        if target is None:
            raise DataError(f"{sample.name} has no mask; tuning a CRF needs one for every picture")
        if bool((target == labels.void).all()):
            void += 1
        else:
            place += 1
            seen.append(_see_picture(engine, normalization, sample.image, target, labels, sample.name))
            while len(seen) > 1 and sum(picture.bytes for picture in seen) > memory_bytes:
                stride *= 2
                seen = seen[::2]
        meter.add(1)
    return seen, void


def _see_picture(
    engine: Engine,
    normalization: Normalization,
    image: NDArray[Any],
    target: NDArray[Any],
    labels: LabelSet,
    name: str,
) -> Seen:
    image = adapt_channels(image, normalization.channels, name=name)
    if not np.isfinite(image).all():
        raise DataError(f"{name} has pixels that are no numbers, whose colors a CRF cannot compare; mend or remove it")
    fixed = normalization.of(image)
    prediction = np.empty(image.shape[:2], label_type(labels.num_classes))
    parts = []
    for window, inner, place in windows_of(engine, fixed, (image.shape[0], image.shape[1])):
        found = predict_head(engine, fixed, image[window])
        head = Head(found.scores.float().cpu(), found.resampling, found.kind)
        prediction[place] = head.resampling.argmax(head.scores)[0].numpy()[inner]
        parts.append(_Part(head, window, inner, place))
    return Seen(name, image, target, tuple(parts), _count(prediction, target, labels, name), picture_digest(image))


def _counts(picture: Seen, settings: Sequence[CRFParameters], labels: LabelSet, steps: int) -> list[Counts]:
    """Counts (3, K) of each of some settings with equal widths on a picture, on one thread.

    The labels are those of `predict_image`, but for rounding, which depends on the number of threads.
    """
    from pixelwise.crf.features import colors, positions
    from pixelwise.crf.lattice import Lattice
    from pixelwise.crf.model import DenseCRF

    predictions = np.empty((len(settings), *picture.image.shape[:2]), label_type(labels.num_classes))
    for part in picture.parts:
        image = picture.image[part.window]
        found = np.empty((len(settings), *image.shape[:2]), predictions.dtype)
        for probabilities, window, inner, place in full_probabilities(part.head, name=picture.name):
            shape, p = tuple(probabilities.shape[1:]), settings[0]
            unary = DenseCRF.from_probabilities(probabilities.numpy(), threads=1).unary.reshape(probabilities.shape)
            near = Lattice(positions(shape, p.spatial_sigma_pixels), threads=1)
            levels = colors(to_levels(image[window]), shape, p.bilateral_sigma_color)
            try:
                alike = Lattice(np.concatenate([positions(shape, p.bilateral_sigma_pixels), levels]), threads=1)
            except BadOption as error:
                raise BadOption(f"{picture.name} cannot be refined: {error}") from error
            for i, setting in enumerate(settings):
                crf = DenseCRF(unary, threads=1)
                crf.add_pairwise(near, setting.spatial_weight, normalization=setting.normalization)
                crf.add_pairwise(alike, setting.bilateral_weight, normalization=setting.normalization)
                best = torch.from_numpy(crf.infer(steps)).argmax(0).numpy()
                found[(i, *place)] = best[inner]
        predictions[(slice(None), *part.place)] = found[(slice(None), *part.inner)]
    return [_count(prediction, picture.target, labels, picture.name) for prediction in predictions]


def _count(prediction: NDArray[Any], target: NDArray[Any], labels: LabelSet, name: str) -> Counts:
    """(3, K) of a picture."""
    matrix = ConfusionMatrix(labels.num_classes, void=labels.void)
    matrix.update(prediction, target, name=name)
    return np.stack([matrix.counts.diagonal(), matrix.counts.sum(1), matrix.counts.sum(0)])


def affordable(threads: int, seen: Sequence[Seen], memory_bytes: int) -> int:
    """How many CRFs fit into memory at a time."""
    heads = [part.head for picture in seen for part in picture.parts]
    classes = int(heads[0].scores.shape[1])
    pixels: int = min(max(math.prod(head.resampling.image_size) for head in heads), REFINED // classes)
    largest = pixels * (PER_CLASS * classes + PER_PIXEL)
    return max(1, min(threads, memory_bytes // largest))


@contextmanager
def _one_thread() -> Iterator[None]:
    """Torch's own threads would only stand in each other's way."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
