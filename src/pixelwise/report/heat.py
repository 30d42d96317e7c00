"""The colors of heat maps, and how they lie over a picture."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixelwise.inference.pictures import displayable

# probability 0, 1/8 … 1: lightness L* 14, 24 … 94 in steps of 10, the hue from blue over red to yellow (CIE LCh)
COLORS = (
    (20, 31, 82),
    (67, 43, 114),
    (118, 50, 140),
    (179, 53, 136),
    (226, 70, 122),
    (254, 108, 101),
    (255, 158, 102),
    (255, 200, 125),
    (255, 239, 155),
)
OPACITY = 0.6  # of the colors over the gray picture
GRAY, CONTRAST = 128, 0.35  # the picture's own grays are drawn towards this one, so that the color tells probability


def colored(probability: NDArray[Any]) -> NDArray[np.float32]:
    """(…) probabilities 0–1 as (…, 3) colors 0–255, linear between those of `COLORS`."""
    at = np.linspace(0, 1, len(COLORS))
    channels = [np.interp(probability, at, channel) for channel in np.transpose(COLORS)]
    return np.stack(channels, -1).astype(np.float32)


def blended(image: NDArray[Any], probability: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The colors of a heat map (H, W) over its picture (H, W, C) in faint gray: (H, W, 3) uint8."""
    gray = GRAY + CONTRAST * (displayable(image).mean(axis=2, keepdims=True, dtype=np.float32) - GRAY)
    mixed = (1 - OPACITY) * gray + OPACITY * colored(probability)
    shown: NDArray[np.uint8] = (mixed + 0.5).astype(np.uint8)
    return shown


def bar_colors(probability: NDArray[Any]) -> NDArray[np.uint8]:
    """(…) probabilities 0–1 as (…, 3) colors of the color bar: those that a gray picture has under its heat map."""
    shown: NDArray[np.uint8] = ((1 - OPACITY) * GRAY + OPACITY * colored(probability) + 0.5).astype(np.uint8)
    return shown
