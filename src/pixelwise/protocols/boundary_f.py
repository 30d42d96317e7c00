"""Boundary F: whether outlines lie where they should, whatever the areas within.

Two measures, with two tolerances. Both take each class of each picture by itself, as a mask of two values, with the
outlines of both maps: pixels that differ from the one to the east, south or south-east.

    segnet   Badrinarayanan et al. 2017, after Csurka et al. 2013: predicted and true outline pixels are matched one to
             one within 0.0075 of the picture's diagonal. Precision is the matched share of the predicted, recall of the
             true pixels, 0 where there are none, and F = 2PR / (P + R), or 0. A class counts in a picture that holds an
             outline of it in either map; a picture's score is the mean F of its classes.
    davis    Perazzi et al. 2016: an outline pixel is right if any pixel of the other outline lies within a disc of
             radius ceil(0.008 · diagonal), or of so many pixels. Void is neither in the object nor in the prediction.

Differences: the SegNet script matches with BSDS' `correspondPixels`, an assignment of least cost in which leaving a
pixel out costs far more than any match, so it finds as many matches as there can be (its random extra edges aside);
here the number is that of a maximum matching. Void is no class in `segnet`, and predictions are not masked where it
stands, as in the script; so a target's outline runs along void. `davis` scores objects; that it is averaged over
classes as `segnet` is, is ours.
Source: computeBFmeasure of SegNet-Tutorial, seg2bdry and correspondPixels of BSDS; davis2017-evaluation;
specification §3.6.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pixelwise.errors import DataError, ShapeError
from pixelwise.protocols.accumulate import FIRST_HEAD, Classes, Protocol
from pixelwise.protocols.boundaries import distance_to
from pixelwise.protocols.rules import PROTOCOLS

Variant = Literal["segnet", "davis"]
Mask = NDArray[np.bool_]

TOLERANCES: dict[str, float] = {"segnet": 0.0075, "davis": 0.008}
"""{variant: tolerance as a share of the picture's diagonal}"""


@dataclass(frozen=True)
class BoundaryMatch:
    """How two outlines agree.

    Attributes:
        predicted, true: pixels of the two outlines.
        matched_predicted, matched_true: those that have a counterpart.
    """

    predicted: int
    true: int
    matched_predicted: int
    matched_true: int

    @property
    def empty(self) -> bool:
        """Neither has an outline."""
        return self.predicted == self.true == 0

    def f(self, variant: Variant) -> float:
        """F, 0–1, by the variant's rule for outlines that are empty."""
        if variant == "davis" and 0 in (self.predicted, self.true):
            return 1.0 if self.empty else 0.0
        if not self.matched_predicted or not self.matched_true:
            return 0.0
        precision, recall = self.matched_predicted / self.predicted, self.matched_true / self.true
        return 2 * precision * recall / (precision + recall)


def outline(mask: NDArray[Any]) -> Mask:
    """(H, W): pixels that differ from the one to the east, south or south-east; it lies half a pixel to the north-west.

    The last row looks only east, the last column only south, and the last pixel is none.

    Args:
        mask: (H, W), not zero inside.

    >>> outline(np.array([[0, 0, 0], [0, 1, 0], [0, 0, 0]])).astype(int)
    array([[1, 1, 0],
           [1, 1, 0],
           [0, 0, 0]])
    """
    mask = np.asarray(mask).astype(bool)
    found = np.zeros(mask.shape, bool)
    found[:, :-1] |= mask[:, :-1] != mask[:, 1:]
    found[:-1] |= mask[:-1] != mask[1:]
    found[:-1, :-1] |= mask[:-1, :-1] != mask[1:, 1:]
    return found


def tolerance_pixels(shape: tuple[int, ...], variant: Variant, tolerance: float | None = None) -> float:
    """The distance in pixels within which outlines agree.

    >>> tolerance_pixels((360, 480), "segnet"), tolerance_pixels((360, 480), "davis")
    (4.5, 5.0)

    Args:
        tolerance: share of the diagonal; the variant's own if left out. With "davis", 1 and more are pixels.
    """
    share = TOLERANCES[variant] if tolerance is None else tolerance
    if variant == "davis":
        return float(share) if share >= 1 else float(math.ceil(share * math.hypot(*shape[:2])))
    return share * math.hypot(*shape[:2])


def match_outlines(predicted: Mask, true: Mask, radius: float, *, one_to_one: bool) -> BoundaryMatch:
    """Compare two outlines (H, W).

    Args:
        predicted, true: pixels of the outlines.
        radius: the largest Euclidean distance of a match, in pixels.
        one_to_one: each pixel serves one match only.

    Raises:
        DataError: matching one to one needs SciPy, which is missing.
    """
    counts = int(predicted.sum()), int(true.sum())
    if 0 in counts:
        return BoundaryMatch(*counts, 0, 0)
    if one_to_one:
        matches = _maximum_matching(predicted, true, radius)
        return BoundaryMatch(*counts, matches, matches)
    near_true = distance_to(true, "disc") <= radius
    near_predicted = distance_to(predicted, "disc") <= radius
    return BoundaryMatch(*counts, int((predicted & near_true).sum()), int((true & near_predicted).sum()))


def boundary_f(
    prediction: NDArray[Any],
    target: NDArray[Any],
    variant: Variant,
    *,
    tolerance: float | None = None,
    void: Mask | None = None,
) -> float:
    """F of one object, 0–1.

    Args:
        prediction, target: masks (H, W), not zero inside.
        tolerance: as `tolerance_pixels` takes it.
        void: pixels that belong to neither; for "davis".
        variant: whose outlines and rule: "segnet" or "davis".

    Raises:
        ShapeError: the shapes differ.
    """
    prediction, target = np.asarray(prediction).astype(bool), np.asarray(target).astype(bool)
    if prediction.shape != target.shape:
        raise ShapeError(f"prediction is {prediction.shape} but target is {target.shape}; predict at the target's size")
    if void is not None:
        prediction, target = prediction & ~void, target & ~void
    radius = tolerance_pixels(target.shape, variant, tolerance)
    return match_outlines(outline(prediction), outline(target), radius, one_to_one=variant == "segnet").f(variant)


@dataclass(frozen=True)
class BoundaryScores:
    """Boundary F over a set, 0–1; not-a-number where nothing has an outline.

    Attributes:
        mean: over the pictures that have any outline.
        over_all_pictures: the sum divided by the number of all pictures, as SegNet's script prints it.
        per_class: {class: mean F over the pictures in which it counts}.
        pictures, pictures_without: counted, and of these without any outline.
        note: which measure it is, with its tolerance.
    """

    mean: float
    over_all_pictures: float
    per_class: Mapping[str, float]
    pictures: int
    pictures_without: int
    note: str

    def to_record(self) -> dict[str, Any]:
        """Plain numbers for JSON, with None for not-a-number."""

        def plain(value: float) -> float | None:
            return None if math.isnan(value) else round(value, 6)

        return {
            "note": self.note,
            "boundary_f": plain(self.mean),
            "boundary_f_over_all_pictures": plain(self.over_all_pictures),
            "pictures": self.pictures,
            "pictures_without": self.pictures_without,
            "per_class": {name: plain(value) for name, value in self.per_class.items()},
        }


class BoundaryFAccumulator:
    """Boundary F of a set, class by class and picture by picture.

    Args:
        classes: the label set, `dataset.labels`, or a number of classes.
        variant: "segnet" or "davis", see the module.
        tolerance: as `tolerance_pixels` takes it.
        protocol: by which values are checked, and which classes there are.

    Attributes:
        scores_of_pictures: {name: mean F}, for intervals; not-a-number without an outline.
    """

    def __init__(
        self,
        classes: Classes,
        *,
        variant: Variant = "segnet",
        tolerance: float | None = None,
        protocol: Protocol = PROTOCOLS["camvid"],
    ) -> None:
        self.variant, self.tolerance = variant, tolerance
        self.accumulator = protocol.accumulator(classes)
        self.names = self.accumulator.labels[FIRST_HEAD].names
        self.scores_of_pictures: dict[str, float] = {}
        self._sums = np.zeros(len(self.names))
        self._counts = np.zeros(len(self.names), np.int64)

    def update(self, prediction: NDArray[Any], target: NDArray[Any], *, name: str = "target") -> None:
        """Count a prediction against a target, both (H, W).

        Raises:
            ShapeError: the shapes differ.
            LabelError: a value that the protocol refuses.
            DataError: a picture of this name was counted before, or SciPy is missing.
        """
        if name in self.scores_of_pictures:
            raise DataError(f"{name} was counted before; expected every picture once, under its own name")
        prediction, target = self.accumulator.encoded(prediction, target, name=name)
        self.accumulator.count(prediction, target, name=name)  # for what it refuses
        void = self.accumulator.uncounted(target)
        radius = tolerance_pixels(target.shape, self.variant, self.tolerance)
        values = []
        for cls in np.union1d(np.unique(prediction), np.unique(target[~void])):
            if cls >= len(self.names):
                continue
            predicted, true = prediction == cls, target == cls
            if self.variant == "davis":
                predicted, true = predicted & ~void, true & ~void
            match = match_outlines(outline(predicted), outline(true), radius, one_to_one=self.variant == "segnet")
            if not match.empty:
                values.append(match.f(self.variant))
                self._sums[cls] += values[-1]
                self._counts[cls] += 1
        self.scores_of_pictures[name] = float(np.mean(values)) if values else math.nan

    def scores(self) -> BoundaryScores:
        """The scores of what was counted so far."""
        values = np.array(list(self.scores_of_pictures.values()))
        known = values[~np.isnan(values)]
        share = TOLERANCES[self.variant] if self.tolerance is None else self.tolerance
        how = "one to one" if self.variant == "segnet" else "by dilation with a disc"
        within = f"{share:g} pixels" if self.variant == "davis" and share >= 1 else f"{share:g} of the diagonal"
        return BoundaryScores(
            mean=float(known.mean()) if known.size else math.nan,
            over_all_pictures=float(known.sum() / len(values)) if len(values) else math.nan,
            per_class={
                name: float(self._sums[i] / self._counts[i]) if self._counts[i] else math.nan
                for i, name in enumerate(self.names)
            },
            pictures=len(values),
            pictures_without=len(values) - len(known),
            note=f"boundary F ({self.variant}): outlines match {how} within {within}; mean over classes, then pictures",
        )


def _maximum_matching(first: Mask, second: Mask, radius: float) -> int:
    """How many pairs of pixels within `radius` there are at most, each pixel in one pair.

    By a maximum flow from the first's pixels to the second's; SciPy's `maximum_bipartite_matching` did not end within
    a minute on an outline of 1 130 pixels of CamVid.
    """
    try:
        from scipy.sparse import csr_array
        from scipy.sparse.csgraph import maximum_flow
    except ImportError:
        raise DataError(
            "SegNet's boundary F needs SciPy: pip install 'pixelwise[datasets]', or take the variant davis"
        ) from None
    reach = int(radius)
    span = np.arange(-reach, reach + 1)
    dy, dx = (d.ravel() for d in np.meshgrid(span, span, indexing="ij"))
    inside = dy**2 + dx**2 <= radius**2
    dy, dx = dy[inside], dx[inside]
    number = np.full((second.shape[0] + 2 * reach, second.shape[1] + 2 * reach), -1, np.int32)
    y, x = np.nonzero(second)
    number[y + reach, x + reach] = np.arange(len(y), dtype=np.int32)
    py, px = np.nonzero(first)
    near = number[py[:, None] + dy + reach, px[:, None] + dx + reach]
    pairs = near >= 0
    a, b = len(py), len(y)
    source, sink = 0, a + b + 1  # pixels of the first are nodes 1…a, those of the second a + 1…a + b
    starts = np.concatenate([np.full(a, source), 1 + np.nonzero(pairs)[0], 1 + a + np.arange(b)])
    ends = np.concatenate([1 + np.arange(a), 1 + a + near[pairs], np.full(b, sink)])
    places = starts.astype(np.int32), ends.astype(np.int32)
    graph = csr_array((np.ones(len(starts), np.int32), places), shape=(sink + 1, sink + 1))
    return int(maximum_flow(graph, source, sink, method="dinic").flow_value)
