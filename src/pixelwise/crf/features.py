"""The points between which the CRF's Gaussians act: positions and colors in units of the standard deviations."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pixelwise.crf.arrays import array_of, doubles, kind_of, shown
from pixelwise.errors import BadOption, ShapeError

Sigma = float | Sequence[float]


def positions(shape: Sequence[int], sigma: Sigma) -> NDArray[np.float32]:
    """(D, N) float32: the D coordinates of N pixels in row-major order, the last axis (x) first, divided by sigma.

    Args:
        shape: of the image without channels.
        sigma: in pixels, one for all axes or one for each in the order of `shape`.

    Raises:
        BadOption: a sigma is not a positive number, or there are not as many as axes.
    """
    deviations = deviations_of(sigma, len(shape), "sigma in pixels", "axes")
    points = np.empty((len(shape), *shape), np.float32)
    for axis, length in enumerate(shape):
        with np.errstate(over="ignore"):
            along = np.arange(length, dtype=np.float32) / deviations[axis]
        points[len(shape) - 1 - axis] = along.reshape([-1 if a == axis else 1 for a in range(len(shape))])
    return points.reshape(len(shape), -1)


def colors(image: ArrayLike, shape: Sequence[int], sigma: Sigma) -> NDArray[np.float32]:
    """(C, N) float32: the channels of the image (*shape, C), or (*shape) for one channel, divided by sigma.

    Args:
        sigma: in units of the image's values, one for all channels or one for each.

    Raises:
        ShapeError: the image has another size, or is not of numbers.
        BadOption: a sigma is not a positive number, or there are not as many as channels.
    """
    given: NDArray[Any] = array_of(image)
    check_image(given, shape)
    channels = given.reshape(math.prod(shape), -1)
    deviations = deviations_of(sigma, channels.shape[1], "sigma of colors", "channels")
    with np.errstate(over="ignore"):  # the lattice refuses what is not finite
        return np.ascontiguousarray((channels.astype(np.float32) / deviations).T)


def check_image(image: Any, shape: Sequence[int]) -> None:
    """Raise ShapeError unless an array or tensor is numbers (*shape, C) or (*shape)."""
    given = tuple(image.shape)
    if given[: len(shape)] != tuple(shape) or len(given) > len(shape) + 1 or not math.prod(given):
        raise ShapeError(f"image is {given}: expected {tuple(shape)} and channels last, as the labels' scores have")
    if kind_of(image) not in "uif":
        raise ShapeError(f"image is of {image.dtype}: expected whole numbers or floats")


def deviations_of(sigma: Sigma, count: int, name: str, of: str) -> NDArray[np.float32]:
    """(count,) positive standard deviations."""
    expected = f"a number above 0, or one for each of the {count} {of}"
    with np.errstate(over="ignore"):
        given = doubles(sigma, name, expected).astype(np.float32)
    if not (np.isfinite(given).all() and (given > 0).all() and given.ndim < 2):
        raise BadOption(f"{name} is {shown(sigma)}: expected {expected}")
    if given.ndim == 1 and len(given) != count:
        raise BadOption(f"{name} has {len(given)} values: expected one, or one for each of the {count} {of}")
    return np.broadcast_to(given, (count,))
