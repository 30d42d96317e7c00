"""Augmentation: a random crop of a sample, with image and target moved together.

The geometry is one affine map: the picture is read by bilinear interpolation and padded with its mean color, the
target by nearest and padded with void. A crop that needs neither scaling nor rotation is a plain slice. Light and color
vary in units of the picture's own deviation, so pictures of any range – 8, 12 or 16 bits, float – vary alike.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from pixelwise.data.levels import Statistics, grid_of, level_scale, statistics_of, to_levels
from pixelwise.data.sample import Image
from pixelwise.labels import ClassMap

Size = tuple[int, int]
OVERHANG = 0.25  # of half a crop: so far a crop may reach over the picture's edge, so that edges are seen as often


class Augmentation(BaseModel):
    """What may vary from one view of a picture to the next.

    Attributes:
        flip_horizontal, flip_vertical: mirror with probability ½.
        quarter_turns: turn by a random multiple of 90°, for pictures without an up and down.
        scale: (low, high) factor of the size, drawn log-uniformly; 1 leaves it.
        stretch: the two axes may differ by up to this factor; 1 keeps the aspect.
        rotation: largest angle in degrees.
        gamma: largest factor of the exponent of the tone curve between the picture's darkest and brightest pixel.
        contrast: largest factor of the deviation from the mean; 1 leaves it.
        brightness, color: largest shift of all channels together, and of each alone, in the picture's deviations.
        grey: probability of mixing the channels into one grey.
        invert: probability of the negative.
        noise: largest deviation of added noise, in the picture's deviations.
        blur: largest deviation of a Gaussian blur, in pixels.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    flip_horizontal: bool = True
    flip_vertical: bool = False
    quarter_turns: bool = False
    scale: tuple[float, float] = (1.0, 1.0)
    stretch: float = Field(1.0, ge=1)
    rotation: float = Field(0.0, ge=0, le=180)
    gamma: float = Field(1.0, ge=1)
    contrast: float = Field(1.0, ge=1)
    brightness: float = Field(0.0, ge=0)
    color: float = Field(0.0, ge=0)
    grey: float = Field(0.0, ge=0, le=1)
    invert: float = Field(0.0, ge=0, le=1)
    noise: float = Field(0.0, ge=0)
    blur: float = Field(0.0, ge=0)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not 0 < self.scale[0] <= self.scale[1]:
            raise ValueError(f"scale is a low and a high factor above 0, got {self.scale}")
        return self


@dataclass(frozen=True)
class Crop:
    """A view of a picture.

    Attributes:
        levels: (h, w, C) float32, 0–255 for ordinary pictures.
        target: (h, w) classes and void.
        statistics: (2, C) mean and deviation of the whole picture under the crop's tone curve.
        more: {head: (h, w) classes and void} of the other heads, where there are several.
    """

    levels: NDArray[np.float32]
    target: ClassMap
    statistics: Statistics
    more: Mapping[str, ClassMap] = field(default_factory=dict)


def random_crop(
    image: Image,
    target: ClassMap,
    size: Size,
    augmentation: Augmentation,
    random: np.random.Generator,
    *,
    void: int,
    fill: tuple[float, ...] | None = None,
    focus: tuple[int, int] | None = None,
    more: Mapping[str, tuple[ClassMap, int]] | None = None,
) -> Crop:
    """A crop of exactly `size` (height, width) from image (H, W, C) and target (H, W).

    Args:
        void: pads the target.
        fill: the color that pads the picture, 0–255 per channel; the picture's own mean if left out.
        focus: (row, column) of a pixel that lies within the crop, at a random place in it; any crop if left out.
        more: {head: (target (H, W), its void)} of other heads, which move along.
    """
    a = augmentation
    grid = grid_of(image)
    linear = _linear(a, random)
    matrix = _placed(linear, _center(linear, target.shape, size, focus, random), size)
    if focus is not None and not _inside(matrix @ np.array([focus[1], focus[0], 1.0]), size):
        place = np.array([focus[1], focus[0]], float)
        matrix = _placed(linear, place, size)
    window, matrix = _window(matrix, target.shape, size)
    color = fill if fill is not None else tuple(float(v) for v in grid.mean(0))
    pad = tuple(value / level_scale(image.dtype) for value in color)
    crop = _warp(image[window], matrix, size, cv2.INTER_LINEAR, pad)
    crop_target = _warp(target[window], matrix, size, cv2.INTER_NEAREST, (float(void),))
    others = {
        head: _warp(other[window], matrix, size, cv2.INTER_NEAREST, (float(own_void),))
        for head, (other, own_void) in (more or {}).items()
    }
    levels, statistics = _toned(crop, grid, a, random)
    return Crop(levels, crop_target, statistics, others)


def _linear(a: Augmentation, random: np.random.Generator) -> NDArray[np.float64]:
    """The 2 × 2 part of the map from source (x, y) to crop (x, y)."""
    factor = math.exp(random.uniform(math.log(a.scale[0]), math.log(a.scale[1])))
    stretch = math.exp(random.uniform(-1, 1) * math.log(a.stretch) / 2)
    turn = int(random.integers(4)) * 90 if a.quarter_turns else 0
    radians = math.radians(turn + (random.uniform(-a.rotation, a.rotation) if a.rotation else 0.0))
    mirror = [-1.0 if flip and random.random() < 0.5 else 1.0 for flip in (a.flip_horizontal, a.flip_vertical)]
    cos, sin = math.cos(radians), math.sin(radians)
    turned = np.array([[cos, -sin], [sin, cos]]) @ np.diag([factor * stretch * mirror[0], factor / stretch * mirror[1]])
    turned[np.abs(turned) < 1e-12] = 0  # a quarter turn is exact
    return turned


def _center(
    linear: NDArray[np.float64], source: Size, size: Size, focus: tuple[int, int] | None, random: np.random.Generator
) -> NDArray[np.float64]:
    """The source point (x, y) under the crop's middle; the crop reaches over an edge by `OVERHANG` at most."""
    inverse = np.linalg.inv(linear)
    half = np.abs(inverse) @ np.array([size[1] / 2, size[0] / 2])  # the crop's half extents in the source
    extent = np.array([source[1], source[0]], float)
    low, high = half * (1 - OVERHANG) - 0.5, extent - half * (1 - OVERHANG) - 0.5
    # where the picture is smaller than the crop, it lies anywhere in it
    fits = extent >= 2 * half
    low, high = np.where(fits, low, extent - half - 0.5), np.where(fits, high, half - 0.5)
    if focus is None:
        return np.asarray(random.uniform(low, high))
    place = np.array([random.uniform(-0.4, 0.4) * size[1], random.uniform(-0.4, 0.4) * size[0]])
    return np.asarray(np.clip(np.array([focus[1], focus[0]], float) - inverse @ place, low, high))


def _placed(linear: NDArray[np.float64], center: NDArray[np.float64], size: Size) -> NDArray[np.float64]:
    """(2, 3) map that brings `center` to the crop's middle, on whole pixels: an unscaled crop stays an exact copy."""
    offset = np.array([(size[1] - 1) / 2, (size[0] - 1) / 2]) - linear @ center
    return np.column_stack([linear, np.round(offset)])


def _inside(point: NDArray[np.float64], size: Size) -> bool:
    return bool(0 <= round(point[0]) < size[1] and 0 <= round(point[1]) < size[0])


def _window(matrix: NDArray[np.float64], source: Size, size: Size) -> tuple[tuple[slice, slice], NDArray[np.float64]]:
    """The part of the source that a crop needs, and the map from it: large pictures are not walked through whole."""
    inverse = np.linalg.inv(matrix[:, :2])
    corners = np.array([[0, 0], [size[1], 0], [0, size[0]], [size[1], size[0]]], float)
    inverted = (corners - matrix[:, 2]) @ inverse.T
    low = np.floor(inverted.min(0)).astype(int) - 3
    high = np.ceil(inverted.max(0)).astype(int) + 3
    (left, right), (top, bottom) = (
        (min(max(int(low[axis]), 0), length - 1), max(min(int(high[axis]), length), 1))
        for axis, length in enumerate((source[1], source[0]))
    )
    moved = matrix.copy()
    moved[:, 2] += matrix[:, :2] @ np.array([left, top], float)
    return (slice(top, max(bottom, top + 1)), slice(left, max(right, left + 1))), moved


def _warp(
    array: NDArray[Any], matrix: NDArray[np.float64], size: Size, interpolation: int, fill: tuple[float, ...]
) -> NDArray[Any]:
    """`array` under the affine matrix, (h, w) or (h, w, C), same dtype. OpenCV borders hold at most four channels."""
    channels = 1 if array.ndim == 2 else array.shape[2]
    if channels > 4:
        planes = [_warp(array[..., c], matrix, size, interpolation, (fill[c],)) for c in range(channels)]
        return np.stack(planes, -1)
    warped: NDArray[Any] = cv2.warpAffine(
        array, matrix, (size[1], size[0]), flags=interpolation, borderMode=cv2.BORDER_CONSTANT, borderValue=fill
    )
    return warped.reshape(*size, channels) if array.ndim == 3 else warped


def _toned(
    crop: NDArray[Any], grid: NDArray[np.float32], a: Augmentation, random: np.random.Generator
) -> tuple[NDArray[np.float32], Statistics]:
    """The crop in other light, and the statistics of the picture under its tone curve.

    The curve (gamma, negative) is seen by the statistics, so it survives a normalization by picture only as a change of
    shape; contrast, shifts and noise come after them, and survive it.
    """
    channels = crop.shape[2]
    exponent = math.exp(random.uniform(-1, 1) * math.log(a.gamma))
    negative = random.random() < a.invert
    low, high = grid.min(0), grid.max(0)

    def curve(levels: NDArray[np.float32]) -> NDArray[np.float32]:
        if exponent == 1 and not negative:
            return levels
        span = np.maximum(high - low, 1e-6)
        position = np.maximum((levels - low) / span, 0) ** np.float32(exponent)
        position = 1 - position if negative else position
        return np.asarray(low + position * span, np.float32)

    statistics = statistics_of(curve(grid))
    mean, deviation = statistics
    gain = np.float32(math.exp(random.uniform(-1, 1) * math.log(a.contrast)))
    shift = np.asarray(
        random.uniform(-a.brightness, a.brightness) + random.uniform(-a.color, a.color, channels), np.float32
    )

    def light(levels: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray((curve(levels) - mean) * gain + mean + deviation * shift, np.float32)

    if crop.dtype == np.uint8:
        table = light(np.repeat(np.arange(256, dtype=np.float32)[:, None], channels, 1))
        out = np.stack([table[:, c][crop[..., c]] for c in range(channels)], -1)
    else:
        out = light(to_levels(crop))
    if channels == 3 and random.random() < a.grey:
        # each channel keeps its own mean and deviation, so that the statistics stay true
        weights = random.dirichlet(np.ones(3)).astype(np.float32)
        common = ((out - mean) / (deviation + 1e-3)) @ weights
        out = mean + common[..., None] * deviation
    if a.blur:
        sigma = random.uniform(0, a.blur)
        if sigma > 0.3:
            out = cv2.GaussianBlur(out, (0, 0), sigma).reshape(crop.shape)
    if a.noise:
        amount = (deviation * random.uniform(0, a.noise)).astype(np.float32)
        out = out + random.standard_normal(out.shape, np.float32) * amount
    return np.ascontiguousarray(out, np.float32), statistics
