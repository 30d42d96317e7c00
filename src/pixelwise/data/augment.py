"""Augmentation: a random crop of a sample, with image and target moved together.

The geometry is one affine map: the picture is read by bilinear interpolation and padded with the mean color, the
target by nearest and padded with void. A crop that needs neither scaling nor rotation is a plain slice.
"""

import math
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from pixelwise.data.sample import Image
from pixelwise.labels import ClassMap

Size = tuple[int, int]


class Augmentation(BaseModel):
    """What may vary from one view of a picture to the next.

    Attributes:
        flip_horizontal, flip_vertical: mirror with probability ½.
        quarter_turns: turn by a random multiple of 90°, for pictures without an up and down.
        scale: (low, high) factor of the size, drawn log-uniformly; 1 leaves it.
        stretch: the two axes may differ by up to this factor; 1 keeps the aspect.
        rotation: largest angle in degrees.
        brightness, contrast: largest change, as a share of the range 0–255 and of the deviation from the mean.
        gamma: largest factor of the exponent; 1 leaves it.
        color: largest relative change of each channel against the others.
        invert: probability of the negative.
        noise, blur: largest deviation of added noise (0–255), and of a Gaussian blur (pixels).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    flip_horizontal: bool = True
    flip_vertical: bool = False
    quarter_turns: bool = False
    scale: tuple[float, float] = (1.0, 1.0)
    stretch: float = Field(1.0, ge=1)
    rotation: float = Field(0.0, ge=0, le=180)
    brightness: float = Field(0.0, ge=0, le=1)
    contrast: float = Field(0.0, ge=0, lt=1)
    gamma: float = Field(1.0, ge=1)
    color: float = Field(0.0, ge=0, lt=1)
    invert: float = Field(0.0, ge=0, le=1)
    noise: float = Field(0.0, ge=0)
    blur: float = Field(0.0, ge=0)


def random_crop(
    image: Image,
    target: ClassMap,
    size: Size,
    augmentation: Augmentation,
    random: np.random.Generator,
    *,
    fill: tuple[float, ...],
    void: int,
    focus: tuple[int, int] | None = None,
) -> tuple[Image, ClassMap]:
    """A crop of exactly `size` (height, width) from image (H, W, C) and target (H, W).

    Args:
        fill: the mean color, 0–255 per channel; pads the picture.
        void: pads the target.
        focus: (row, column) of a pixel that must lie within the crop, at a random place in it; any crop if left out.
    """
    height, width = target.shape
    a = augmentation
    factor = math.exp(random.uniform(math.log(a.scale[0]), math.log(a.scale[1])))
    stretch = math.exp(random.uniform(-1, 1) * math.log(a.stretch) / 2)
    turn = int(random.integers(4)) * 90 if a.quarter_turns else 0
    angle = turn + (random.uniform(-a.rotation, a.rotation) if a.rotation else 0.0)
    mirror = (
        -1.0 if a.flip_horizontal and random.random() < 0.5 else 1.0,
        -1.0 if a.flip_vertical and random.random() < 0.5 else 1.0,
    )
    # forward: source (x, y) → crop (x, y), around the source point `center` that lands on the crop's middle
    radians = math.radians(angle)
    cos, sin = math.cos(radians), math.sin(radians)
    linear = np.array([[cos, -sin], [sin, cos]]) @ np.diag([factor * stretch * mirror[0], factor / stretch * mirror[1]])
    center = _center(linear, (height, width), size, focus, random)
    middle = np.array([(size[1] - 1) / 2, (size[0] - 1) / 2])
    matrix = np.column_stack([linear, middle - linear @ center])
    pad = tuple(value * _range(image) / 255 for value in fill)
    crop_image = _warp(image, matrix, size, cv2.INTER_LINEAR, pad)
    crop_target = _warp(target, matrix, size, cv2.INTER_NEAREST, (float(void),))
    return _photometric(crop_image, a, random), crop_target


def _center(
    linear: NDArray[np.float64], source: Size, size: Size, focus: tuple[int, int] | None, random: np.random.Generator
) -> NDArray[np.float64]:
    """The source point (x, y) under the crop's middle: uniform where the crop stays inside, else the middle."""
    inverse = np.linalg.inv(linear)
    half = np.abs(inverse) @ np.array([size[1] / 2, size[0] / 2])  # the crop's half extents in the source
    extent = np.array([source[1], source[0]], float)
    if focus is not None:
        place = np.array([random.uniform(-0.4, 0.4) * size[1], random.uniform(-0.4, 0.4) * size[0]])
        center = np.array([focus[1], focus[0]], float) - inverse @ place
    else:
        center = random.uniform(0, 1, 2) * np.maximum(extent - 2 * half, 0) + half - 0.5
    low, high = half - 0.5, extent - half - 0.5
    center = np.where(low <= high, np.clip(center, low, high), (extent - 1) / 2)
    # a shift to the pixel grid keeps an unscaled, unrotated crop an exact copy
    offset = linear @ center - np.array([(size[1] - 1) / 2, (size[0] - 1) / 2])
    shifted: NDArray[np.float64] = center - inverse @ (offset - np.round(offset))
    return shifted


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


def _photometric(image: NDArray[Any], a: Augmentation, random: np.random.Generator) -> NDArray[Any]:
    """Brightness, contrast, gamma, color, negative, blur and noise; the geometry stays."""
    if not (a.brightness or a.contrast or a.gamma > 1 or a.color or a.invert or a.noise or a.blur):
        return image
    top = _range(image)
    channels = image.shape[2]
    exponent = math.exp(random.uniform(-1, 1) * math.log(a.gamma))
    gain = 1 + random.uniform(-a.contrast, a.contrast)
    tint = 1 + np.asarray(random.uniform(-a.color, a.color, channels))
    shift = random.uniform(-a.brightness, a.brightness)
    negative = random.random() < a.invert
    if image.dtype == np.uint8:
        # every pointwise step at once, as a table of 256 values per channel
        level = np.arange(256, dtype=np.float32)[:, None] / 255
        middle = np.asarray(image.mean(axis=(0, 1)) / 255)
        table = _tone(level, exponent, gain, tint, shift, middle, negative)
        rows = (table * 255 + 0.5).astype(np.uint8)
        out = np.empty_like(image)
        for c in range(channels):
            out[..., c] = rows[:, c][image[..., c]]
    else:
        levels = image.astype(np.float32) / top
        toned = _tone(levels, exponent, gain, tint, shift, np.asarray(levels.mean(axis=(0, 1))), negative)
        out = (toned * top).astype(image.dtype)
    if a.blur:
        sigma = random.uniform(0, a.blur)
        if sigma > 0.3:
            out = cv2.GaussianBlur(out, (0, 0), sigma).reshape(image.shape)
    if a.noise:
        amount = random.uniform(0, a.noise) * top / 255
        noisy = out + random.standard_normal(out.shape, np.float32) * np.float32(amount)
        out = np.clip(noisy, 0, top).astype(image.dtype)
    return out


def _tone(
    level: NDArray[np.floating[Any]],
    exponent: float,
    gain: float,
    tint: NDArray[np.floating[Any]],
    shift: float,
    middle: NDArray[np.floating[Any]],
    negative: bool,
) -> NDArray[np.float32]:
    curved = level**exponent
    toned = ((curved - middle**exponent) * gain + middle**exponent + shift) * tint
    if negative:
        toned = 1 - toned
    return np.clip(toned, 0, 1).astype(np.float32)


def _range(image: NDArray[Any]) -> float:
    """The value that stands for white: 255, 65 535, or 1 for float."""
    return {np.dtype(np.uint8): 255.0, np.dtype(np.uint16): 65_535.0}.get(image.dtype, 1.0)
