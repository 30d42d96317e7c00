"""Batches: the k-th batch of a run is a pure function of (data, plan, seed, k)."""

from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixelwise.data.augment import Augmentation, Crop, random_crop
from pixelwise.data.sample import Dataset, Sample
from pixelwise.errors import DataError
from pixelwise.labels import ClassMap

Size = tuple[int, int]


@dataclass(frozen=True)
class Batch:
    """One step's data.

    Attributes:
        images: (N, H, W, C) float32 levels, 0–255 for ordinary pictures.
        targets: (N, H, W) int64, classes and void.
        more: {head: (N, H, W) int64} of the other heads, where the data set has several.
        statistics: (N, 2, C) mean and deviation of the pictures that the crops are from.
        names: of the N samples.
    """

    images: NDArray[np.float32]
    targets: NDArray[np.int64]
    statistics: NDArray[np.float32]
    names: tuple[str, ...]
    more: Mapping[str, NDArray[np.int64]] = field(default_factory=dict)


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

    The order is a new permutation of the pictures for every pass. A share of the crops is placed on a pixel of a
    class drawn from `class_shares`, in a picture that has it.

    Args:
        dataset: classes are drawn by its head "labels"; the targets of its other heads move along.
        crop_size: (height, width).
        class_crops: share 0–1 of crops that are placed on a pixel of a drawn class.
        class_shares: (K,) how often each class is drawn for those; classes in no picture must have 0. All the same if
            left out.
        presence: (len(dataset), K) bool, which picture has which class; needed with `class_crops`.
        fill: color that pads pictures, 0–255 per channel; each one's own mean if None.
    """

    def __init__(
        self,
        dataset: Dataset,
        *,
        crop_size: Size,
        batch_size: int,
        augmentation: Augmentation,
        fill: tuple[float, ...] | None,
        seed: int,
        class_crops: float = 0.0,
        class_shares: Sequence[float] | None = None,
        presence: NDArray[np.bool_] | None = None,
    ) -> None:
        if len(dataset) == 0:
            raise DataError("training needs at least one picture with a mask, got none")
        self.dataset = dataset
        self.crop_size = crop_size
        self.batch_size = batch_size
        self.augmentation = augmentation
        self.fill = fill
        self.seed = seed
        self.class_crops = class_crops if presence is not None else 0.0
        if class_shares is None and presence is not None:
            class_shares = np.asarray(presence.any(0), float).tolist()
        self.class_shares = None if class_shares is None else np.asarray(class_shares, float)
        self.presence = presence
        self.void = dataset.labels["labels"].void
        self.others = {head: labels for head, labels in dataset.labels.items() if head != "labels"}
        self._order: tuple[int, NDArray[np.int64]] = (-1, np.empty(0, np.int64))

    def __getitem__(self, k: int) -> Batch:
        named = [self._crop(k * self.batch_size + j) for j in range(self.batch_size)]
        return Batch(
            np.stack([crop.levels for crop, _ in named]),
            np.stack([crop.target for crop, _ in named]).astype(np.int64),
            np.stack([crop.statistics for crop, _ in named]),
            tuple(name for _, name in named),
            {head: np.stack([crop.more[head] for crop, _ in named]).astype(np.int64) for head in self.others},
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

    def _crop(self, position: int) -> tuple[Crop, str]:
        random = np.random.default_rng((self.seed, 1, position))
        focus_class = None
        if self.class_crops and self.class_shares is not None and random.random() < self.class_crops:
            focus_class = int(random.choice(len(self.class_shares), p=self.class_shares / self.class_shares.sum()))
        index = self._index(position)
        if focus_class is not None and self.presence is not None and not self.presence[index, focus_class]:
            index = int(random.choice(np.flatnonzero(self.presence[:, focus_class])))
        sample = self.dataset[index]
        target = sample.targets["labels"]
        focus = None
        if focus_class is not None:
            places = np.flatnonzero(target == focus_class)
            if places.size:
                place = int(places[random.integers(places.size)])
                focus = (place // target.shape[1], place % target.shape[1])
        crop = random_crop(
            sample.image,
            target,
            self.crop_size,
            self.augmentation,
            random,
            fill=self.fill,
            void=self.void,
            focus=focus,
            more={head: (self._target(sample, head), labels.void) for head, labels in self.others.items()},
        )
        return crop, sample.name

    def _target(self, sample: Sample, head: str) -> ClassMap:
        """A sample's target of another head; void where it has none."""
        if head in sample.targets:
            return sample.targets[head]
        empty: NDArray[Any] = np.full(sample.size, self.others[head].void, self.others[head].dtype)
        return empty

    def _index(self, position: int) -> int:
        turn, place = divmod(position, len(self.dataset))
        if self._order[0] != turn:
            self._order = (turn, np.random.default_rng((self.seed, 0, turn)).permutation(len(self.dataset)))
        return int(self._order[1][place])
