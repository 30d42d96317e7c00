"""Batches: the k-th batch of a run is a pure function of (data, plan, seed, k)."""

from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pixelwise.data.augment import Crop, random_crop
from pixelwise.data.augmentation import Augmentation
from pixelwise.data.memory import keep_freed
from pixelwise.data.sample import Dataset, Sample
from pixelwise.errors import BadOption, DataError, ShapeError
from pixelwise.labels import ClassMap

Size = tuple[int, int]

WEIGHTS_BYTES = 1 << 28
"""So much of the pixels' weights is kept; those of other pictures are computed each time."""


@dataclass(frozen=True)
class Batch:
    """One step's data.

    Attributes:
        crops: the N views; `Normalization.of_crops` makes the network's input of them.
        targets: (N, H, W) int64, classes and void.
        more: {head: (N, H, W) int64} of the other heads, where the data set has several.
        names: of the N samples.
        weights: (N, H, W) float32, how much each pixel counts in the loss, 0 at void; None where all count alike.
    """

    crops: tuple[Crop, ...]
    targets: NDArray[np.int64]
    names: tuple[str, ...]
    more: Mapping[str, NDArray[np.int64]] = field(default_factory=dict)
    weights: NDArray[np.float32] | None = None

    @property
    def statistics(self) -> NDArray[np.float32]:
        """(N, 2, C) mean and deviation of the pictures that the crops are from."""
        return np.stack([crop.statistics for crop in self.crops])

    @property
    def images(self) -> NDArray[np.float32]:
        """(N, H, W, C) float32 levels, 0–255 for ordinary pictures; made anew each time."""
        return np.stack([crop.levels for crop in self.crops])


class MemoryDataset:
    """A data set whose samples are kept decoded, up to a number of bytes; the others are decoded each time.

    Args:
        indices: the samples to show, in order; all of them if left out. Subsets share what is kept.
    """

    def __init__(self, dataset: Dataset, *, limit_bytes: int, indices: Sequence[int] | None = None) -> None:
        self._dataset = dataset
        self._indices = range(len(dataset)) if indices is None else indices
        self._limit = limit_bytes
        self._kept: dict[int, Sample] = {}
        self._bytes = 0
        self.labels = dataset.labels

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int, /) -> Sample:
        index = self._indices[index]
        kept = self._kept.get(index)
        if kept is not None:
            return kept
        sample = self._dataset[index]
        size = sample.image.nbytes + sum(t.nbytes for t in sample.targets.values())
        if self._bytes + size <= self._limit:
            self._kept[index] = sample
            self._bytes += size
        return sample

    def subset(self, indices: Sequence[int]) -> "MemoryDataset":
        """Some of the samples; what was decoded is shared."""
        part = MemoryDataset(self._dataset, limit_bytes=self._limit, indices=[self._indices[i] for i in indices])
        part._kept, part._bytes = self._kept, self._bytes
        return part

    def describe(self) -> str:
        """What the data set underneath says."""
        return self._dataset.describe()


class Batches:
    """The endless sequence of a run's batches; `batches[k]` is the k-th.

    The order is a new permutation of the pictures for every pass, or each picture is drawn from all. A share of the
    crops is placed on a pixel of a class drawn from `class_shares`, in a picture that has it.

    Args:
        dataset: classes are drawn by its head "labels"; the targets of its other heads move along.
        crop_size: (height, width); None for views of each picture's own size, one in a batch (FCN).
        order: "shuffled" passes, or each picture is "drawn" from all, as FCN's authors do.
        part: (i, n) for the i-th of n parts of each batch, which n processes have.
        class_crops: share 0–1 of crops that are placed on a pixel of a drawn class.
        class_shares: (K,) how often each class is drawn for those; classes in no picture must have 0. All the same if
            left out.
        presence: (len(dataset), K) bool, which picture has which class; needed with `class_crops`.
        class_from: "set": as above; "picture": the picture is the next of the permutation, and the class one of those
            that it has, all the same (RefineNet); `class_shares` and `presence` are then not used.
        fill: color that pads pictures, 0–255 per channel; each one's own mean if None.
        weigh: gives each pixel of a sample its weight, (H, W) float32, such as `BorderWeights`. It is asked for the
            whole picture, as U-Net's authors do, so that a crop's edge separates no objects; what it gives moves
            along with the target, by nearest, and is 0 in the padding.

    Raises:
        DataError: there are no pictures.
        BadOption: a batch has more than one picture of its own size, or fewer than there are parts.
        ShapeError: from `batches[k]`, when two of its pictures differ in channels.
    """

    def __init__(
        self,
        dataset: Dataset,
        *,
        crop_size: Size | None,
        batch_size: int,
        augmentation: Augmentation,
        fill: tuple[float, ...] | None,
        seed: int,
        order: Literal["shuffled", "drawn"] = "shuffled",
        part: tuple[int, int] = (0, 1),
        class_crops: float = 0.0,
        class_shares: Sequence[float] | None = None,
        presence: NDArray[np.bool_] | None = None,
        class_from: Literal["set", "picture"] = "set",
        weigh: Callable[[Sample], NDArray[np.float32]] | None = None,
    ) -> None:
        if len(dataset) == 0:
            raise DataError("training needs at least one picture with a mask, got none")
        if crop_size is None and batch_size > 1:
            raise BadOption(
                f"whole pictures of their own sizes make no batch of {batch_size}; set batch_size=1 and "
                f"accumulate={batch_size}"
            )
        if batch_size < part[1]:
            raise BadOption(f"a batch of {batch_size} has no part for each of {part[1]} processes; start fewer")
        keep_freed()
        self.dataset = dataset
        self.order = order
        self.part = slice(*(batch_size * i // part[1] for i in (part[0], part[0] + 1)))
        self.crop_size = crop_size
        self.batch_size = batch_size
        self.augmentation = augmentation
        self.fill = fill
        self.seed = seed
        self.class_from = class_from
        if class_from == "picture":
            class_shares = presence = None
        self.class_crops = class_crops if presence is not None or class_from == "picture" else 0.0
        if class_shares is None and presence is not None:
            class_shares = np.asarray(presence.any(0), float).tolist()
        self.class_shares = None if class_shares is None else np.asarray(class_shares, float)
        self.presence = presence
        self.void = dataset.labels["labels"].void
        self.others = {head: labels for head, labels in dataset.labels.items() if head != "labels"}
        self.voids = {"labels": self.void} | {head: labels.void for head, labels in self.others.items()}
        self.weigh = weigh
        self._kept_weights: dict[int, NDArray[np.float32]] = {}
        self._order: tuple[int, NDArray[np.int64]] = (-1, np.empty(0, np.int64))

    def __getitem__(self, k: int) -> Batch:
        crops: list[Crop] = []
        names: list[str] = []
        for j in range(self.part.start, self.part.stop):
            index, sample, focus, random = self._drawn(k * self.batch_size + j)
            channels = sample.image.shape[2]
            if crops and channels != (first := crops[0].pixels.shape[2]):
                raise ShapeError(
                    f"{sample.name} has {channels} channels, {names[0]} has {first}; the pictures of a batch have the "
                    "same: convert one of them"
                )
            crops.append(self._crop(index, sample, focus, random))
            names.append(sample.name)
        return Batch(
            tuple(crops),
            _stacked([crop.target for crop in crops]),
            tuple(names),
            {head: _stacked([crop.more[head] for crop in crops]) for head in self.others},
            None if self.weigh is None else np.stack([w for crop in crops if (w := crop.weights) is not None]),
        )

    def starting_at(self, k: int, ahead: int = 2) -> Generator[Batch]:
        """The batches k, k + 1, …, prepared by one thread, at most `ahead` early."""
        with ThreadPoolExecutor(1, thread_name_prefix="batches") as pool:
            waiting = [pool.submit(self.__getitem__, k + i) for i in range(ahead)]
            try:
                while True:
                    k += 1
                    batch = waiting.pop(0).result()
                    waiting.append(pool.submit(self.__getitem__, k + ahead - 1))
                    yield batch
            finally:
                for future in waiting:
                    future.cancel()

    def _drawn(self, position: int) -> tuple[int, Sample, tuple[int, int] | None, np.random.Generator]:
        """What crop number `position` is of: (index, sample, the pixel that it holds, the draws that remain)."""
        random = np.random.default_rng((self.seed, 1, position))
        focus_class = None
        aware = bool(self.class_crops) and random.random() < self.class_crops
        if aware and self.class_shares is not None:
            focus_class = int(random.choice(len(self.class_shares), p=self.class_shares / self.class_shares.sum()))
        index = self._index(position)
        if focus_class is not None and self.presence is not None and not self.presence[index, focus_class]:
            index = int(random.choice(np.flatnonzero(self.presence[:, focus_class])))
        sample = self.dataset[index]
        target = sample.targets["labels"]
        if aware and self.class_from == "picture":
            found = np.flatnonzero(np.bincount(target.ravel(), minlength=self.void + 1)[: self.void])
            focus_class = int(random.choice(found)) if found.size else None
        focus = None
        if focus_class is not None:
            places = np.flatnonzero(target == focus_class)
            if places.size:
                place = int(places[random.integers(places.size)])
                focus = (place // target.shape[1], place % target.shape[1])
        return index, sample, focus, random

    def _crop(self, index: int, sample: Sample, focus: tuple[int, int] | None, random: np.random.Generator) -> Crop:
        return random_crop(
            sample.image,
            sample.targets["labels"],
            self.crop_size or sample.size,
            self.augmentation,
            random,
            fill=self.fill,
            void=self.void,
            focus=focus,
            more={head: (self._target(sample, head), labels.void) for head, labels in self.others.items()},
            weights=self._weights(index, sample),
        )

    def _weights(self, index: int, sample: Sample) -> NDArray[np.float32] | None:
        """What each pixel of a sample counts; kept, as far as `WEIGHTS_BYTES` reach."""
        if self.weigh is None:
            return None
        kept = self._kept_weights.get(index)
        if kept is not None:
            return kept
        weights = self.weigh(sample)
        if sum(w.nbytes for w in self._kept_weights.values()) + weights.nbytes <= WEIGHTS_BYTES:
            self._kept_weights[index] = weights
        return weights

    def _target(self, sample: Sample, head: str) -> ClassMap:
        """A sample's target of another head; void where it has none."""
        if head in sample.targets:
            return sample.targets[head]
        empty: NDArray[Any] = np.full(sample.size, self.others[head].void, self.others[head].dtype)
        return empty

    def _index(self, position: int) -> int:
        if self.order == "drawn":
            return int(np.random.default_rng((self.seed, 2, position)).integers(len(self.dataset)))
        turn, place = divmod(position, len(self.dataset))
        if self._order[0] != turn:
            self._order = (turn, np.random.default_rng((self.seed, 0, turn)).permutation(len(self.dataset)))
        return int(self._order[1][place])


def _stacked(targets: Sequence[ClassMap]) -> NDArray[np.int64]:
    """(N, H, W) int64 of N targets (H, W); NumPy's stack takes three times as long for it."""
    stacked = np.empty((len(targets), *targets[0].shape), np.int64)
    for target, place in zip(targets, stacked, strict=True):
        place[...] = target
    return stacked
