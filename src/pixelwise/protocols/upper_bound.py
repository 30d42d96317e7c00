"""The best mean IoU that coarse predictions can reach: targets made coarse and enlarged again, scored as predictions.

Long et al. 2015, appendix A, on a subset of VOC 2011 val: 50.9, 73.3, 86.1, 92.8, 96.4, 98.5 at factors 128, 64, 32,
16, 8, 4. UNVERIFIED: the paper says neither how labels are resampled nor what becomes of void. Here are two ways:

    "nearest"   a coarse pixel takes the class at the center of its cell, and gives it to the whole cell
    "bilinear"  the share of each class in a cell (average pooling), enlarged bilinearly between the cells' centers; the
                largest share wins, the lower class of equals

Cells are f × f, those at the lower and right edge smaller. Before this a void pixel takes the class of the nearest
pixel that has one, as a prediction has no void; void is not scored.
Source: specification §3.4.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from pixelwise.errors import BadOption
from pixelwise.protocols.accumulate import FIRST_HEAD, Accumulator, Classes, Protocol, ProtocolScores
from pixelwise.protocols.rules import PROTOCOLS

FACTORS = (128, 64, 32, 16, 8, 4)
PAPER = {128: 0.509, 64: 0.733, 32: 0.861, 16: 0.928, 8: 0.964, 4: 0.985}
"""{factor: mean IoU in the paper}"""

Interpolation = Literal["nearest", "bilinear"]


@dataclass(frozen=True)
class UpperBound:
    """The scores of coarse targets at one factor."""

    factor: int
    interpolation: Interpolation
    scores: ProtocolScores

    @property
    def one_line(self) -> str:
        """The bound and what it means."""
        paper = f" (paper: {100 * PAPER[self.factor]:.1f})" if self.factor in PAPER else ""
        return (
            f"upper bound at factor {self.factor}: mean IoU {100 * self.scores.mean_iou:.1f}{paper}; targets resampled "
            f"{self.interpolation}, void filled with the nearest class (UNVERIFIED), scored by {self.scores.protocol}"
        )


def coarse(target: NDArray[Any], factor: int, *, void: int, interpolation: Interpolation = "nearest") -> NDArray[Any]:
    """A target made coarse by a factor and enlarged again, (H, W) of the same type; it holds no void.

    Args:
        void: the value that is no class; a target of nothing else is returned as it is.
        interpolation: what is enlarged: the class of a cell's middle, "nearest", or each class's share, "bilinear".

    Raises:
        BadOption: a factor below 1.
    """
    if factor < 1:
        raise BadOption(f"expected a factor of at least 1, got {factor}")
    known = target != void
    if not known.any():
        return target
    whole = filled(target, known)
    height, width = whole.shape
    if interpolation == "nearest":
        rows, columns = (np.minimum(np.arange(n) // factor * factor + factor // 2, n - 1) for n in (height, width))
        return whole[np.ix_(rows, columns)]
    best = np.full(whole.shape, -1.0, np.float32)
    found = np.zeros_like(whole)
    for cls in np.unique(whole):
        share = _enlarged(_pooled((whole == cls).astype(np.float32), factor), factor, (height, width))
        better = share > best
        found[better], best[better] = cls, share[better]
    return found


def filled(target: NDArray[Any], known: NDArray[np.bool_]) -> NDArray[Any]:
    """A target whose unknown pixels have the class of the nearest known one, (H, W).

    Nearest by OpenCV's 5 × 5 chamfer distance, which is Euclid's within 2 %.
    """
    if known.all():
        return target
    _, nearest = cv2.distanceTransformWithLabels(
        (~known).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    classes = np.zeros(int(nearest.max()) + 1, target.dtype)
    classes[nearest[known]] = target[known]
    whole: NDArray[Any] = classes[nearest]
    return whole


class UpperBounds:
    """Counts the targets of a set at each factor.

    Args:
        classes: the label set, `dataset.labels`, or a number of classes.
        factors: by which targets are made coarse, see `coarse`; all of them at once.
        protocol: by which the coarse targets are scored.
    """

    def __init__(
        self,
        classes: Classes,
        *,
        factors: Sequence[int] = FACTORS,
        interpolation: Interpolation = "nearest",
        protocol: Protocol = PROTOCOLS["fcn"],
    ) -> None:
        self.interpolation: Interpolation = interpolation
        self.counters: dict[int, Accumulator] = {factor: protocol.accumulator(classes) for factor in factors}

    def update(self, target: NDArray[Any], *, name: str = "target") -> None:
        """Count a target (H, W).

        Raises:
            BadOption: a factor below 1.
            LabelError: a target that the protocol refuses.
        """
        for factor, counter in self.counters.items():
            void = counter.labels[FIRST_HEAD].void
            prediction = coarse(target, factor, void=void, interpolation=self.interpolation)
            counter.update(np.where(prediction == void, prediction.dtype.type(0), prediction), target, name=name)

    def bounds(self) -> list[UpperBound]:
        """The bound at each factor, of what was counted so far."""
        return [UpperBound(factor, self.interpolation, counter.scores()) for factor, counter in self.counters.items()]


def upper_bounds(
    targets: Iterable[tuple[str, NDArray[Any]]],
    classes: Classes,
    *,
    factors: Sequence[int] = FACTORS,
    interpolation: Interpolation = "nearest",
    protocol: Protocol = PROTOCOLS["fcn"],
) -> list[UpperBound]:
    """The bound at each factor, over a set; options as for `UpperBounds` and `coarse`.

    Args:
        targets: (name, classes and void (H, W)).
        classes: the label set, `dataset.labels`, or a number of classes.

    Raises:
        BadOption: a factor below 1.
        LabelError: a target that the protocol refuses.
    """
    counter = UpperBounds(classes, factors=factors, interpolation=interpolation, protocol=protocol)
    for name, target in targets:
        counter.update(target, name=name)
    return counter.bounds()


def _pooled(values: NDArray[np.float32], factor: int) -> NDArray[np.float32]:
    """The mean over each cell, (⌈H/f⌉, ⌈W/f⌉)."""
    for axis in (0, 1):
        n = values.shape[axis]
        starts = np.arange(0, n, factor)
        sizes = np.minimum(starts + factor, n) - starts
        values = (np.add.reduceat(values, starts, axis) / np.expand_dims(sizes, 1 - axis)).astype(np.float32)
    return values


def _enlarged(values: NDArray[np.float32], factor: int, size: tuple[int, int]) -> NDArray[np.float32]:
    """Linear between the centers of cells along both axes, constant beyond the outermost."""
    for axis, n in enumerate(size):
        cells = values.shape[axis]
        starts = np.arange(cells) * factor
        centers = (starts + np.minimum(starts + factor, n) - 1) / 2
        places = np.interp(np.arange(n), centers, np.arange(cells))
        low = places.astype(np.int64)
        weight = np.expand_dims((places - low).astype(np.float32), 1 - axis)
        high = np.minimum(low + 1, cells - 1)
        values = values.take(low, axis) * (1 - weight) + values.take(high, axis) * weight
    return values
