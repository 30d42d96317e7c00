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
from pixelwise.data.augmentation import Augmentation
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
        input_size: side of its window in reduced pixels, or (height, width).
        shrink: pixels of a picture to a reduced one, along each axis.
        reason: why.
    """

    input_size: int | tuple[int, int]
    shrink: int
    reason: str

    @property
    def crop_size(self) -> tuple[int, int]:
        """(height, width) of what one step sees: a crop is one window."""
        return window_size(self.input_size)


def window_size(input_size: int | Sequence[int]) -> tuple[int, int]:
    """(height, width) of a window, from the network's option.

    >>> window_size(32), window_size([64, 96])
    ((32, 32), (64, 96))
    """
    if isinstance(input_size, int):
        return input_size, input_size
    height, width = input_size
    return height, width


def choose_window(
    sizes: Counter[tuple[int, int]],
    classifier: str = CLASSIFIER,
    options: Mapping[str, Any] | None = None,
    origins: Mapping[str, str] | None = None,
) -> Window:
    """The window for pictures of these sizes, {(height, width): pictures}.

    The pictures are reduced until the median one's shorter side is about `SHORTER_SIDE` pixels, or the window that the
    classifier was made for; else the window is the largest multiple of 32 that fits into that.

    Args:
        options: of the network; its `input_size` and `shrink` go before ours.
        origins: where each of the options is from, for the reason: "as you set it" if left out.

    >>> [(w.input_size, w.shrink) for side in (24, 100, 375, 3000) if (w := choose_window(Counter({(side, 4000): 1})))]
    [(32, 1), (96, 1), (160, 2), (128, 19)]
    """
    sides = sorted(min(size) for size in sizes.elements())
    side = sides[len(sides) // 2]
    given = options or {}
    shrink = given.get("shrink", max(1, round(side / FIXED.get(classifier, SHORTER_SIDE))))
    ours = FIXED.get(classifier) or max(CELL, side // shrink // CELL * CELL)
    size: int | Sequence[int] = given.get("input_size", ours)
    height, width = window_size(size)
    reduced = f"reduced {shrink} times, " if shrink > 1 else ""
    set_by = {key: (origins or {}).get(key, "as you set it") for key in ("shrink", "input_size") if key in given}
    if "shrink" in set_by:
        reduced = f"{reduced or 'not reduced, '}{set_by['shrink']}, "
    shown = f"a window of {height} × {width}"
    shown += f", {set_by['input_size']}" if "input_size" in set_by else " shows most of a picture"
    return Window(
        size if isinstance(size, int) else (height, width),
        shrink,
        f"the pictures' shorter side is about {side} pixels; {reduced}{shown}, and slid over a larger one gives a "
        "coarse map",
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
    options = settings.get("model_options", {})
    if "model" in settings or (isinstance(options, dict) and "classifier" in options):
        raise BadOption("with class folders the model is a classifier; name it with --model, as --model resnet18")
    if model is not None and model not in CLASSIFIERS:
        if model == BUILDER:
            return CLASSIFIER
        raise unknown_name("classifier", model, CLASSIFIERS)
    return model or CLASSIFIER


def check_crop_size(crop_size: Sequence[int] | None, input_size: int | Sequence[int]) -> None:
    """Refuse crops that are not one window: their loss would not be the classifier's.

    Raises:
        BadOption: they are not.
    """
    height, width = window_size(input_size)
    if crop_size is None or tuple(crop_size) != (height, width):
        given = "none" if crop_size is None else " × ".join(map(str, crop_size))
        raise BadOption(
            f"with class folders a crop is the classifier's window, {height} × {width}, and crop_size is {given}; "
            "leave it out, and for another window set model_options.input_size"
        )


def as_trained(options: Mapping[str, Any], *, by_folder: bool) -> dict[str, Any]:
    """A network's options in training: where folders tell the classes, pictures are reduced already."""
    return {key: value for key, value in options.items() if key != "shrink" or not by_folder}


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
