"""Elastic deformation: smooth random displacements, as U-Net's training has them."""

import numpy as np
from numpy.typing import NDArray

NODES = 3  # a side of the coarse grid


def displacements(size: tuple[int, int], deviation: float, random: np.random.Generator) -> NDArray[np.float64]:
    """(2, h, w) displacements (x, y) in pixels, interpolated from random vectors on a coarse 3 × 3 grid.

    The outer nodes lie on the corners' and the sides' middle pixels. Between them the interpolation is bicubic, by
    Keys' kernel (a = −½), the grid repeated beyond its edge; which kernel the authors took is UNVERIFIED.

    Args:
        size: (height, width).
        deviation: of the Gaussian that both parts of each vector are drawn from, in pixels.

    Source: Ronneberger et al. 2015, §3.1 (deviation 10 pixels).
    """
    nodes = random.normal(0, deviation, (2, NODES, NODES))
    rows, columns = (_cubic_weights(length) for length in size)
    return rows @ nodes @ columns.T


def _cubic_weights(length: int) -> NDArray[np.float64]:
    """(length, 3): how much each node counts at each of `length` pixels, from the first node to the last."""
    at = np.linspace(0, NODES - 1, length) if length > 1 else np.array([(NODES - 1) / 2])
    places = np.arange(-2, NODES + 2)
    apart = np.abs(at[:, None] - places)
    near = 1.5 * apart**3 - 2.5 * apart**2 + 1
    far = -0.5 * apart**3 + 2.5 * apart**2 - 4 * apart + 2
    kernel = np.where(apart <= 1, near, np.where(apart < 2, far, 0.0))
    weights = np.zeros((length, NODES))
    for column, node in zip(kernel.T, places.clip(0, NODES - 1), strict=True):
        weights[:, node] += column
    return weights
