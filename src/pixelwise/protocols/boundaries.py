"""Trimap scores: how well a prediction does near boundaries, over the width of a band around them.

Two bands are in use, and give different figures:

    "void"     DeepLab's released code: void pixels, dilated by a square of side 2w + 1, without themselves. The
               boundary is VOC's ring of void around objects; blobs of void within (difficult objects) count, too.
    "labels"   for masks without such rings: a boundary pixel has a neighbor of another class; the band holds the pixels
               within distance w of one. A neighbor that is void makes no boundary.

Distance is Chebyshev's (a square of side 2w + 1) or Euclid's (a disc). Void pixels are in no band. One distance
transform and one histogram serve all widths: a pixel falls into the ring of the smallest width that holds it, and the
confusion matrix of a width is the sum over its rings. What no width holds is the interior.

Source: Chen et al. 2018 (DeepLab v2), §4.1.2 and figure 10, and MyVOCevalsegBoundary of their code; Krähenbühl and
Koltun 2011, §5; Peng et al. 2017 (GCN) for boundary against interior at 7 pixels; specification §3.3.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from pixelwise.errors import BadOption
from pixelwise.protocols.accumulate import Classes, Protocol, Sums
from pixelwise.protocols.plot import write_plot
from pixelwise.protocols.rules import PROTOCOLS

Around = Literal["void", "labels"]
Shape = Literal["square", "disc"]

DEEPLAB_WIDTHS = tuple(range(1, 41))
GCN_WIDTHS = (7,)


def label_boundaries(
    labels: NDArray[Any], void: NDArray[np.bool_] | None = None, *, neighbors: Literal[4, 8] = 4
) -> NDArray[np.bool_]:
    """(H, W): pixels that have a neighbor of another class, on both sides of a change.

    >>> label_boundaries(np.array([[0, 0, 1, 1]]))
    array([[False,  True,  True, False]])

    Args:
        labels: classes (H, W), any integers.
        void: pixels that have no class; a change to or from them is no boundary.
        neighbors: 4, or 8 with the diagonal ones.
    """
    labels = np.asarray(labels)
    known = np.ones(labels.shape, bool) if void is None else ~void
    found = np.zeros(labels.shape, bool)
    steps = ((0, 1), (1, 0)) if neighbors == 4 else ((0, 1), (1, 0), (1, 1), (1, -1))
    height, width = labels.shape
    for down, right in steps:
        here = (slice(0, height - down), slice(max(0, -right), width - max(0, right)))
        there = (slice(down, height), slice(max(0, right), width + min(0, right)))
        change = (labels[here] != labels[there]) & known[here] & known[there]
        found[here] |= change
        found[there] |= change
    return found


def distance_to(pixels: NDArray[np.bool_], shape: Shape) -> NDArray[np.float32]:
    """(H, W): the distance in pixels to the nearest of some pixels, 0 on them; infinite where there are none.

    Args:
        shape: "disc", Euclidean distances; "square", the larger one of rows and columns.
    """
    if not pixels.any():
        return np.full(pixels.shape, np.inf, np.float32)
    kind, mask = (cv2.DIST_C, 3) if shape == "square" else (cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return cv2.distanceTransform((~pixels).astype(np.uint8), kind, mask).astype(np.float32, copy=False)


@dataclass(frozen=True)
class TrimapCurve:
    """Scores within the band of each width, and outside it; 0–1, not-a-number where no pixel is.

    Attributes:
        widths: in pixels, ascending.
        mean_iou, pixel_accuracy: within the band.
        pixels: in the band, over all pictures.
        inner_mean_iou, inner_pixel_accuracy: of the pixels that are neither in the band nor void.
        confusions: (W, K, C), within the band.
        band: which band it is, in words.
        protocol: by which means are taken.
        pictures: how many were counted.
    """

    widths: tuple[int, ...]
    mean_iou: tuple[float, ...]
    pixel_accuracy: tuple[float, ...]
    pixels: tuple[int, ...]
    inner_mean_iou: tuple[float, ...]
    inner_pixel_accuracy: tuple[float, ...]
    confusions: NDArray[np.int64]
    band: str
    protocol: str
    pictures: int

    @property
    def one_line(self) -> str:
        """What the figures mean, to be printed beside them."""
        return f"trimap, {self.band}; means by protocol {self.protocol}, over {self.pictures} pictures"

    def to_record(self) -> dict[str, Any]:
        """Plain numbers for JSON, with None for not-a-number."""
        columns = {
            "mean_iou": self.mean_iou,
            "pixel_accuracy": self.pixel_accuracy,
            "inner_mean_iou": self.inner_mean_iou,
            "inner_pixel_accuracy": self.inner_pixel_accuracy,
        }
        return {
            "note": self.one_line,
            "widths": list(self.widths),
            "pixels": list(self.pixels),
            **{name: [None if np.isnan(v) else round(v, 6) for v in values] for name, values in columns.items()},
        }

    def plot(self, path: Path | str, *, name: str = "mean IoU") -> None:
        """Write mean IoU over the width, as figure 10 of DeepLab v2 draws it, as SVG; `name` is the curve's."""
        plot_curves({name: self}, path)


def plot_curves(curves: Mapping[str, TrimapCurve], path: Path | str) -> None:
    """Write the mean IoU of several models over the band's width into one plot, as SVG.

    Args:
        curves: {name: curve}, all with one kind of band.

    Raises:
        BadOption: there is none, they have different bands, or the path does not end in .svg.
    """
    notes = {curve.band for curve in curves.values()}
    if len(notes) != 1:
        raise BadOption(
            f"expected curves of one kind of band, got {' and '.join(sorted(notes)) or 'none'}: draw them apart"
        )
    write_plot(
        {name: list(zip(c.widths, (100 * v for v in c.mean_iou), strict=True)) for name, c in curves.items()},
        path,
        title=next(iter(curves.values())).one_line,
        across="width of the band in pixels",
        up="mean IoU in %",
    )


class TrimapAccumulator:
    """Counts pictures within the bands of several widths at once.

    Args:
        classes: the label set, `dataset.labels`, or a number of classes.
        widths: in pixels, at least 1; DeepLab's 1–40 if left out.
        around: "void" or "labels", see the module.
        shape: "square" (Chebyshev distance, DeepLab's) or "disc" (Euclidean).
        neighbors: which neighbors make a boundary of labels.
        protocol: by which values are checked and means are taken.

    Raises:
        BadOption: a width below 1, or none.
    """

    def __init__(
        self,
        classes: Classes,
        *,
        widths: Sequence[int] = DEEPLAB_WIDTHS,
        around: Around = "void",
        shape: Shape = "square",
        neighbors: Literal[4, 8] = 4,
        protocol: Protocol = PROTOCOLS["fcn"],
    ) -> None:
        if not widths or min(widths) < 1:
            raise BadOption(f"expected widths of at least 1 pixel, got {list(widths)}")
        self.widths = tuple(sorted(set(widths)))
        self.around, self.shape, self.neighbors = around, shape, neighbors
        self.accumulator = protocol.accumulator(classes)
        rows, columns = self.accumulator.num_classes, self.accumulator.columns
        self.rings: NDArray[np.int64] = np.zeros((len(self.widths) + 1, rows, columns), np.int64)
        self.pictures = 0

    @property
    def band(self) -> str:
        """Which band it is, in words."""
        distance = "Chebyshev" if self.shape == "square" else "Euclidean"
        if self.around == "void":
            return f"pixels within {distance} distance w of void"
        return f"pixels within {distance} distance w of a pixel with one of {self.neighbors} neighbors of another class"

    def update(self, prediction: NDArray[Any], target: NDArray[Any], *, name: str = "target") -> None:
        """Count a prediction against a target, both (H, W).

        Raises:
            ShapeError: the shapes differ.
            LabelError: a value that the protocol refuses; `name` is in the message.
        """
        counter = self.accumulator
        prediction, target = counter.encoded(prediction, target, name=name)
        counter.count(prediction, target, name=name)  # for what it refuses
        void = counter.uncounted(target)
        boundary = void if self.around == "void" else label_boundaries(target, void, neighbors=self.neighbors)
        distance = distance_to(boundary, self.shape)
        rings, k, c = self.rings.shape
        ring = np.searchsorted(self.widths, distance[~void])
        pair = target[~void].astype(np.int64) * c + prediction[~void]
        self.rings += np.bincount(ring * (k * c) + pair, minlength=rings * k * c).reshape(rings, k, c)
        self.pictures += 1

    def curve(self) -> TrimapCurve:
        """The scores of what was counted so far."""
        within = self.rings.cumsum(0)[:-1]
        inside = self._measures(within)
        outside = self._measures(self.rings.sum(0) - within)
        return TrimapCurve(
            widths=self.widths,
            mean_iou=tuple(inside["mean_iou"].tolist()),
            pixel_accuracy=tuple(inside["pixel_accuracy"].tolist()),
            pixels=tuple(within.sum((1, 2)).tolist()),
            inner_mean_iou=tuple(outside["mean_iou"].tolist()),
            inner_pixel_accuracy=tuple(outside["pixel_accuracy"].tolist()),
            confusions=within,
            band=self.band,
            protocol=self.accumulator.protocol.name,
            pictures=self.pictures,
        )

    def _measures(self, counts: NDArray[np.int64]) -> dict[str, Sums]:
        states = np.zeros((len(counts), self.accumulator.state_size))
        states[:, : counts[0].size] = counts.reshape(len(counts), -1)
        return self.accumulator.measures(states)
