"""What a fit does in another way where folders tell the classes: the window, the pictures as they are trained on.

The network is a classifier made convolutional (`models.convolutional_classifier`). Its window is a crop of the reduced
pictures, and gives one cell of the map; so the loss over the pixels of a crop, which all have its class, is the
classifier's loss. Pictures are reduced once, when they are read, and the network is trained without `shrink`; the model
that is saved has the same weights and shrinks pictures itself.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pixelwise.backbones import CLASSIFIERS
from pixelwise.data.augment import Augmentation
from pixelwise.data.sample import Dataset, Image, Sample
from pixelwise.errors import BadOption, unknown_name
from pixelwise.labels import LabelSet

BUILDER = "convolutional_classifier"
CLASSIFIER = "resnet18"
SHORTER_SIDE = 160  # pixels to which the median picture's shorter side is about reduced
CELL = 32  # pixels from a window to the next: the classifiers' own stride
HELD_SHARE = 0.16  # of each class's pictures, to validate on
MOST_HELD = 200  # pictures
FIXED = {"alexnet": 227, "vgg16": 224, "googlenet": 224}  # the windows of classifiers that take no smaller ones


@dataclass(frozen=True)
class Window:
    """What the classifier looks at.

    Attributes:
        input_size: side of its window in reduced pixels.
        shrink: pixels of a picture to a reduced one, along each axis.
        reason: why.
    """

    input_size: int
    shrink: int
    reason: str


def choose_window(sizes: Counter[tuple[int, int]], classifier: str = CLASSIFIER) -> Window:
    """The window for pictures of these sizes, {(height, width): pictures}.

    The pictures are reduced until the median one's shorter side is about `SHORTER_SIDE` pixels, or the window that the
    classifier was made for; else the window is the largest multiple of 32 that fits into that.

    >>> [(w.input_size, w.shrink) for side in (24, 100, 375, 3000) if (w := choose_window(Counter({(side, 4000): 1})))]
    [(32, 1), (96, 1), (160, 2), (128, 19)]
    """
    sides = sorted(min(size) for size in sizes.elements())
    side = sides[len(sides) // 2]
    shrink = max(1, round(side / FIXED.get(classifier, SHORTER_SIDE)))
    size = FIXED.get(classifier) or max(CELL, side // shrink // CELL * CELL)
    reduced = f"reduced {shrink} times, " if shrink > 1 else ""
    return Window(
        size,
        shrink,
        f"the pictures' shorter side is about {side} pixels; {reduced}a window of {size} × {size} shows most of a "
        "picture, and slid over a larger one gives a coarse map",
    )


def split_by_class(classes: Sequence[int], seed: int, groups: Sequence[int]) -> tuple[list[int], list[int]] | None:
    """Indices (train, validation): about a sixth of each class, at least one where it has two.

    Pictures of one group are alike and stay on one side; a group with more of a class than are wanted is trained on.
    None where nothing is left to validate on.

    Args:
        classes: of each picture.
        groups: for each picture a number.
    """
    counts = Counter(classes)
    most = {cls: max(MOST_HELD * number // len(classes), 1) for cls, number in counts.items()}
    wanted = {cls: min(max(round(HELD_SHARE * n), 1), most[cls], n - 1) for cls, n in counts.items()}
    members: dict[int, list[int]] = {}
    for index, group in enumerate(groups):
        members.setdefault(group, []).append(index)
    alike = list(members.values())
    held: list[int] = []
    for number in np.random.default_rng((seed, 2)).permutation(len(alike)).tolist():
        inside = Counter(classes[index] for index in alike[number])
        if all(wanted[cls] >= count for cls, count in inside.items()):
            held += alike[number]
            for cls, count in inside.items():
                wanted[cls] -= count
    chosen = set(held)
    return ([i for i in range(len(classes)) if i not in chosen], sorted(held)) if held else None


def checked_classifier(model: str | None, settings: Mapping[str, Any]) -> str:
    """The classifier that was asked for, or ours.

    Raises:
        UnknownName, BadOption: it is none.
    """
    if "model" in settings:
        raise BadOption("with class folders the model is a classifier; name it with --model, as --model resnet18")
    if model is not None and model not in CLASSIFIERS:
        if model == BUILDER:
            return CLASSIFIER
        raise unknown_name("classifier", model, CLASSIFIERS)
    return model or CLASSIFIER


def as_trained(options: Mapping[str, Any]) -> dict[str, Any]:
    """A network's options for pictures that are reduced already."""
    return {key: value for key, value in options.items() if key != "shrink"}


def augmentation() -> tuple[Augmentation, str]:
    """How views of the pictures vary, and why."""
    return (
        Augmentation(
            flip_horizontal=True,
            scale=(0.8, 1.4),
            stretch=1.15,
            rotation=10.0,
            gamma=1.5,
            contrast=1.25,
            brightness=0.15,
            color=0.05,
            grey=0.1,
        ),
        "mirrored left to right, never upside down, since classes may differ by which way is up; size, angle, light "
        "and color vary a little",
    )


class ReducedDataset:
    """Pictures averaged over blocks of shrink × shrink pixels, their targets full of the one class that they have.

    Args:
        dataset: whose targets are full of one class each.
        shrink: 1 leaves the pictures as they are.
    """

    def __init__(self, dataset: Dataset, shrink: int) -> None:
        self._dataset = dataset
        self.shrink = shrink

    @property
    def labels(self) -> Mapping[str, LabelSet]:
        """Those of the data set."""
        return self._dataset.labels

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, index: int, /) -> Sample:
        sample = self._dataset[index]
        image = reduced(sample.image, self.shrink)
        targets = {
            head: np.full(image.shape[:2], target[0, 0], target.dtype) for head, target in sample.targets.items()
        }
        return Sample(image, targets, sample.name)

    def describe(self) -> str:
        """What the data set says."""
        return self._dataset.describe()


def reduced(image: Image, shrink: int) -> Image:
    """(H, W, C) → (⌊H/shrink⌋, ⌊W/shrink⌋, C), the means of blocks, same dtype; at least one pixel a side."""
    if shrink == 1:
        return image
    height, width, channels = image.shape
    rows, columns = max(height // shrink, 1), max(width // shrink, 1)
    whole: NDArray[Any] = image[: rows * shrink, : columns * shrink]
    planes: list[NDArray[Any]] = [
        cv2.resize(np.ascontiguousarray(whole[..., channel]), (columns, rows), interpolation=cv2.INTER_AREA)
        for channel in range(channels)
    ]
    return np.stack(planes, 2)
