"""Views: a picture seen several times, at scales, mirrored, in windows, and what was seen fused into one answer.

For each scale the picture is resized, goes through the network whole or in overlapping windows, as it is and mirrored,
and what the network says is brought back to the picture's size:

    fusion "mean"   the mean over the scales of the probabilities; of a mirrored pair too, or with `mirrored="sum"` the
                    softmax of its summed scores
    fusion "max"    the largest score over scales and mirrored pictures; probabilities are their softmax

Scores reach the scaled picture's pixels by the network's own resampling, and the picture's from there bilinearly.
Overlapping windows are averaged. The probabilities of a pixel add up to 1 at the end. Pictures are resized without a
low-pass filter, as OpenCV, TensorFlow and Caffe do.

`PAPERS` holds what the papers' own tests do; specification, data sets §3.5 and networks 2015–2017 §1.2.4, §1.3.4, §2.
**Differences:**
- MATLAB's imresize, in the first PSPNet and in RefineNet, filters where it shrinks.
- PSPNet's renormalising of each resized map is done once, at the end; a bilinear map keeps sums, so that it changes
  rounding alone.
- RefineNet clamps the short side to 450–800 pixels before; that is left out. Whether its factor of 1.2 comes on top of
  the scales is UNVERIFIED; here it does not.
- DeepLab v2 takes the largest score on the grid of 1/8; so does the option `multi_scale` of its networks.
- DeepLab v3 in TensorFlow enlarges scores at once to the picture's size, here by way of the scaled picture's.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Self

import cv2
import numpy as np
from numpy.typing import NDArray

from pixelwise.data.levels import to_levels
from pixelwise.errors import BadOption, unknown_name
from pixelwise.layers.resample import Resampling, Size, Taps

MOST = 8.0  # times the picture's size; beyond, a scale is a slip of the pen

Fusion = Literal["mean", "max"]


@dataclass(frozen=True)
class Views:
    """How a picture is seen, and how what is seen is fused; see the module.

    Attributes:
        scales: of the picture's sides.
        flip: each view mirrored, too.
        fusion: "mean" of probabilities or "max" of scores.
        mirrored: a mirrored pair is the "mean" of its probabilities, or the softmax of the "sum" of its scores.
        sizes: a side d becomes round(d·s), and pixels are areas; or with "corners" int((d − 1)·s + 1), and the
            corner pixels of both pictures lie on each other, for networks that align corners.
        long_side: the scales are of this number of pixels for the longer side, and not of the picture's own.
        odd: with `long_side`, one pixel more, for networks that take 8k + 1.
        window: (height, width) of the windows; None for the scaled picture whole.
        stride: of windows, as a share of their sides.
        padding: a scaled picture smaller than a window is filled with the mean at the "end", below and to the right,
            or on "both" sides.
        source: what is done so, for people.

    Raises:
        BadOption: a value is impossible.
    """

    scales: tuple[float, ...] = (1.0,)
    flip: bool = False
    fusion: Fusion = "mean"
    mirrored: Literal["mean", "sum"] = "mean"
    sizes: Literal["round", "corners"] = "round"
    long_side: int | None = None
    odd: bool = False
    window: tuple[int, int] | None = None
    stride: float = 2 / 3
    padding: Literal["end", "both"] = "end"
    source: str = ""

    def __post_init__(self) -> None:
        if not self.scales or not all(0 < s <= MOST for s in self.scales) or len(set(self.scales)) < len(self.scales):
            raise BadOption(
                f"scales are different numbers above 0 and up to {MOST:g}, got {', '.join(map(str, self.scales))}"
            )
        if self.fusion not in ("mean", "max"):
            raise BadOption(f"fusion is mean or max, got {self.fusion!r}")
        if self.window is not None and min(self.window) < 1:
            raise BadOption(f"a window has at least one row and column, got {self.window[0]} × {self.window[1]}")
        if not 0 < self.stride <= 1:
            raise BadOption(f"the stride of windows is a share of their sides, above 0 and up to 1, got {self.stride}")

    @property
    def once(self) -> bool:
        """The picture is seen at its own size alone, mirrored or not, and probabilities are averaged."""
        plain = self.scales == (1.0,) and self.long_side is None and self.window is None
        return plain and (not self.flip or (self.fusion, self.mirrored) == ("mean", "mean"))

    def describe(self) -> str:
        """What is fused, in one clause; empty where there is nothing to fuse."""
        seen, within = [], ""
        largest = self.fusion == "max" and (len(self.scales) > 1 or self.flip)
        if self.scales != (1.0,) or self.long_side is not None:
            of = f" of a longer side of {self.long_side}" if self.long_side is not None else ""
            scales = ", ".join(f"{s:g}" for s in self.scales)
            seen.append(f"scale{'s' if len(self.scales) > 1 else ''} {scales}{of}")
        if self.window is not None:
            height, width = self.window
            windows = f"windows of {height} × {width} at strides of {self.stride:.3g} of their sides"
            if largest:
                within = f", in {windows}, whose scores are averaged where they overlap"
            else:
                seen.append(windows)
        if self.fusion == "max":
            how = f"scores are {'the largest' if largest else 'averaged'} over"
            seen += ["mirrored pictures"] if self.flip else []
        else:
            how = "probabilities are averaged over"
            if self.flip:
                seen.append("mirrored pictures" + (" (scores added)" if self.mirrored == "sum" else ""))
        if not seen:
            return ""
        return f"{how} {' and '.join(seen)}{within}" + (f" as in {self.source}" if self.source else "")

    def to_record(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "scales": list(self.scales),
            "flip": self.flip,
            "fusion": self.fusion,
            "window": None if self.window is None else list(self.window),
            "note": self.describe(),
        }

    def size_of(self, size: Size, scale: float) -> Size:
        """(height, width) at a scale of a picture of a size, that of the normalization where it has one.

        >>> Views(scales=(0.5,)).size_of((375, 500), 0.5), Views(sizes="corners").size_of((321, 481), 0.5)
        ((188, 250), (161, 241))
        >>> Views(long_side=512).size_of((375, 500), 0.5)
        (192, 256)
        """
        if self.long_side is not None:
            long = max(round(self.long_side * scale) + self.odd, 1)
            height, width = (max(round(long * side / max(size)), 1) for side in size)
        elif self.sizes == "round":
            height, width = (max(round(side * scale), 1) for side in size)
        else:
            height, width = (max(int((side - 1) * scale + 1), 1) for side in size)
        return height, width

    def resampling(self, size: Size, to: Size) -> Resampling:
        """From pixels of a picture of one size to those of another."""
        return (Resampling.half_pixel if self.sizes == "round" else Resampling.align_corners)(size, to)

    @property
    def growth(self) -> float:
        """The largest scale, at least 1; of `long_side` it is not known before the picture is."""
        return max(1.0, *self.scales)


ONCE = Views()

Scales = Views | str | Sequence[float] | None
"""Views as people give them: numbers, "0.5,1,1.5", or a name in `PAPERS`."""

_SIX = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)

PAPERS: dict[str, Views] = {
    "deeplab_v2": Views((0.5, 0.75, 1.0), fusion="max", sizes="corners", source="DeepLab v2"),
    "deeplab_v3": Views(_SIX, flip=True, sizes="corners", source="DeepLab v3"),
    "deeplab_v3_cityscapes": Views((0.75, 1.0, 1.25), flip=True, sizes="corners", source="DeepLab v3 on Cityscapes"),
    "gcn_cityscapes": Views(window=(1024, 1024), stride=1 / 3, source="GCN on Cityscapes, four windows"),
    "pspnet": Views(
        _SIX, flip=True, mirrored="sum", long_side=512, odd=True, window=(473, 473), source="PSPNet (Caffe)"
    ),
    "pspnet_cityscapes": Views(
        _SIX,
        flip=True,
        mirrored="sum",
        long_side=2048,
        odd=True,
        window=(713, 713),
        source="PSPNet on Cityscapes (Caffe)",
    ),
    "refinenet": Views((0.4, 0.6, 0.8, 1.0, 1.2), source="RefineNet"),
    "semseg": Views(_SIX, flip=True, long_side=512, window=(473, 473), padding="both", source="PSPNet (semseg)"),
    "semseg_cityscapes": Views(
        _SIX, flip=True, long_side=2048, window=(713, 713), padding="both", source="PSPNet on Cityscapes (semseg)"
    ),
}
"""{name that `--scales` takes: how that paper tests with several views}.

Where GCN's four overlapping windows lie is UNVERIFIED; here they are evenly spread over the 2048 columns.
"""


def views_of(
    scales: "Scales", *, flip: bool = False, fusion: str | None = None, window: tuple[int, int] | None = None
) -> Views:
    """Views as people give them.

    >>> views_of("0.5,1", flip=True).scales, views_of("deeplab_v2").fusion
    ((0.5, 1.0), 'max')

    Args:
        scales: numbers, in a text separated by commas; or a name in `PAPERS`; or views; the picture's own size if None.
        flip: mirrored pictures, too.
        fusion: "mean" or "max"; the paper's, or "mean", if None.
        window: (height, width) of windows; the paper's, or none, if None.

    Raises:
        UnknownName: no paper has this name.
        BadOption: a scale is none.
    """
    found = ONCE
    if isinstance(scales, str):
        parts = [part.strip() for part in scales.split(",") if part.strip()]
        try:
            found = Views(tuple(float(part) for part in parts))
        except ValueError:
            if len(parts) != 1:
                raise BadOption(f"scales are numbers separated by commas, as 0.5,1,1.5, got {scales!r}") from None
            if parts[0] not in PAPERS:
                raise unknown_name("test of a paper", parts[0], PAPERS) from None
            found = PAPERS[parts[0]]
    elif isinstance(scales, Views):
        found = scales
    elif scales is not None:
        found = Views(tuple(float(scale) for scale in scales))
    if fusion is not None:
        if fusion not in ("mean", "max"):
            raise BadOption(f"fusion is mean or max, got {fusion!r}")
        found = replace(found, fusion="max" if fusion == "max" else "mean")
    if window is not None:
        found = replace(found, window=window)
    return replace(found, flip=found.flip or flip)


def window_starts(length: int, window: int, stride: float) -> list[int]:
    """The first pixels of windows along an axis, the last one shifted inside.

    >>> window_starts(10, 4, 0.75), window_starts(3, 4, 0.75)
    ([0, 3, 6], [0])

    Args:
        stride: as a share of the window.
    """
    if length <= window:
        return [0]
    step = max(math.ceil(stride * window - 1e-9), 1)
    count = math.ceil((length - window) / step) + 1
    return [min(i * step, length - window) for i in range(count)]


@dataclass(frozen=True)
class Span:
    """A window along one axis, and what it gives to the picture.

    Attributes:
        start, stop: in the scaled picture; beyond its ends it is padded.
        taps: from the window's pixels to some of the picture's, weighted by one over the windows that hold a pixel.
        first: the first of these pixels of the picture.
    """

    start: int
    stop: int
    taps: Taps
    first: int

    @classmethod
    def of(cls, start: int, stop: int, back: Taps, covered: NDArray[np.int64]) -> Self | None:
        """A window start…stop − 1, or None where no pixel of the picture takes from it.

        Args:
            back: from the scaled picture to the picture.
            covered: of each pixel of the scaled picture, how many windows hold it.
        """
        places = np.stack([back.first, back.second()], 1)
        weights = np.where((places >= start) & (places < stop), back.weights / covered[places], 0).astype(np.float32)
        rows = np.flatnonzero(weights.any(1))
        if rows.size == 0:
            return None
        low, high = int(rows[0]), int(rows[-1]) + 1
        first, weights = back.first[low:high] - start, weights[low:high]
        before = first < 0  # its first tap is not in the window, the second is the window's first
        weights[before] = weights[before][:, ::-1]
        return cls(start, stop, Taps(stop - start, np.maximum(first, 0), weights), low)

    @property
    def place(self) -> slice:
        """The pixels of the picture that it gives to."""
        return slice(self.first, self.first + len(self.taps.first))


def spans(length: int, back: Taps, window: int | None, stride: float, padding: str) -> list[Span]:
    """The windows along an axis of a scaled picture; a single one without a window."""
    side = length if window is None else window
    starts = window_starts(length, side, stride)
    if side > length and padding == "both":
        starts = [-((side - length) // 2)]
    covered = np.zeros(length, np.int64)
    for start in starts:
        covered[max(start, 0) : start + side] += 1
    found = (Span.of(start, start + side, back, covered) for start in starts)
    return [span for span in found if span is not None]


def resized(image: NDArray[Any], size: Size) -> NDArray[np.float32]:
    """A picture (H, W, C) as levels (h, w, C): bilinear, by the mean of areas where it shrinks to less than half."""
    levels = to_levels(image)
    if size == image.shape[:2]:
        return levels
    shrinks = min(have / wanted for have, wanted in zip(image.shape[:2], size, strict=True)) > 2
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    planes = [cv2.resize(levels[..., channel], size[::-1], interpolation=how) for channel in range(image.shape[2])]
    return np.stack(planes, 2).astype(np.float32, copy=False)
