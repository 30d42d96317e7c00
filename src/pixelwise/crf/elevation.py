"""Where a permutohedral lattice's vertices are, and the numbers that name them; for the lattices of both engines.

A vertex of the D-dimensional lattice has D + 1 whole coordinates that add up to 0, so D of them name it. Its *key* is
their product with fixed multipliers, one int64; moving along axis i adds a constant to the key.
"""

import math

import numpy as np
from numpy.typing import NDArray

from pixelwise.errors import BadOption

FARTHEST = 2.0**20  # an elevated coordinate's largest absolute value: float32 still tells 1/16 there
LARGEST_KEY = 2**62


def elevation(dimensions: int) -> NDArray[np.float32]:
    """(D,): the diagonal of the map onto the plane, where the blur has standard deviation 1 (Adams et al., p. 5)."""
    deviation = np.float32(math.sqrt(2 / 3) * (dimensions + 1))
    return np.array([1 / math.sqrt((i + 2) * (i + 1)) * float(deviation) for i in range(dimensions)], np.float32)


def key_multipliers(
    lowest: NDArray[np.float32], highest: NDArray[np.float32], pictures: int = 1
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Multipliers (D + 1,) of the D coordinates and the picture's number, and what a move along each axis adds.

    Where the coordinates' ranges, neighbors included, fit into 62 bits, keys are exact: digits of mixed radix. Where
    not, multipliers are random odd numbers modulo 2⁶⁴; that two of a million vertices meet is less likely than 1e-6.

    Args:
        lowest: (D,) the points' smallest coordinates, of all pictures.
        highest: (D,) the largest.
        pictures: whose vertices have different keys.

    Raises:
        BadOption: a coordinate is not finite, or lies farther from 0 than float32 can resolve.
    """
    if not (np.isfinite(lowest).all() and np.isfinite(highest).all()):
        raise BadOption("features hold values that are not finite; check the image and the widths of the Gaussians")
    dimensions = len(lowest)
    scale = elevation(dimensions).astype(float)
    low, high = lowest * scale, highest * scale
    # elevated coordinate j is Σ_{i > j} s_i f_i − j s_j f_j, features counted from 1; intervals add up
    above = np.array([[low[j:].sum(), high[j:].sum()] for j in range(dimensions)])
    below = np.array([[-j * high[j - 1], -j * low[j - 1]] if j else [0.0, 0.0] for j in range(dimensions)])
    interval = above + below
    farthest = max(float(np.abs(interval).max()), dimensions * float(np.abs([low[-1], high[-1]]).max()))
    if farthest > FARTHEST:
        raise BadOption(
            f"features reach {farthest:.3g} lattice units, more than {FARTHEST:.0f}: "
            "a Gaussian is too narrow for the range of its image or positions; widen it"
        )
    # a vertex is at most 2.5(D + 1) from its point, a neighbor D farther
    ranges = [math.ceil(top - bottom) + 8 * (dimensions + 1) for bottom, top in interval.tolist()]
    if math.prod(ranges) * pictures < LARGEST_KEY:
        multipliers = [math.prod(ranges[:i]) for i in range(dimensions + 1)]
    else:
        random = np.random.default_rng(0)
        multipliers = [int(value) | 1 for value in random.integers(-(2**63), 2**63 - 1, dimensions + 1)]
    with np.errstate(over="ignore"):
        whole = np.array(multipliers, np.int64)
        along = np.full(dimensions + 1, whole[:-1].sum(), np.int64)
        along[:-1] -= (dimensions + 1) * whole[:-1]
    return whole, along
