"""The passes of mean-field inference over points, compiled by numba at first use and cached.

Rows of L floats hold the labels of one point or vertex, L = K padded. `registers` – a tuple of 1–4 zeros, whose length
numba knows – says how many vectors are computed with at a time; L is a multiple of 8·len(registers).

The vertices of all lattices stand in one array of rows, and each point has R = Σ (D + 1) of them. So one kernel
serves every list of terms.
"""

import numpy as np
from numpy.typing import NDArray

from pixelwise.crf.lattice_kernels import BLOCK
from pixelwise.crf.vectors import (
    WIDTH,
    add,
    compiled,
    exponential,
    fill,
    largest,
    load,
    maximum,
    multiply,
    multiply_add,
    prefetch,
    store,
    subtract,
    total,
    zeros,
)

Floats = NDArray[np.float32]
Rows = NDArray[np.int32]

AHEAD = 4  # points between a prefetch and its use
ABSENT = np.float32(-1e30)  # the negative energy of the labels that pad a row


@compiled
def pack(
    values: Floats, factor: np.float32, padding: np.float32, rows: Floats, width: int, start: int, stop: int
) -> None:
    """Values (K, N) of points start…stop − 1, times the factor, as rows (N·width,), padded."""
    for first in range(start, stop, BLOCK):
        last = min(first + BLOCK, stop)
        for label in range(width):
            for p in range(first, last):
                rows[p * width + label] = values[label, p] * factor if label < len(values) else padding


@compiled
def combine(
    offsets: Rows,
    weights: Floats,
    factors: NDArray[np.float64],
    base: int,
    corner: int,
    all_offsets: Rows,
    all_weights: Floats,
    start: int,
    stop: int,
) -> None:
    """Put one lattice's offsets + base, and weights times the points' factors (N,), into columns corner… of (N, R)."""
    for p in range(start, stop):
        for r in range(offsets.shape[1]):
            all_offsets[p, corner + r] = offsets[p, r] + base
            all_weights[p, corner + r] = weights[p, r] * factors[p]


@compiled
def update(
    negative_energies: Floats,
    offsets: Rows,
    slice_weights: Floats,
    splat_weights: Floats,
    messages: Floats,
    sums: Floats,
    reach: Rows,
    marginals: Floats,
    width: int,
    receives: bool,
    sends: bool,
    registers: tuple[int, ...],
    start: int,
    stop: int,
) -> None:
    """Points start…stop − 1, start a multiple of BLOCK: slice the messages, softmax, splat the marginals.

    Args:
        negative_energies: (N·L,) −U.
        offsets: (N, R) rows of the points' vertices.
        slice_weights: (N, R), the pairwise weight and normalization in them.
        splat_weights: (N, R).
        messages: (rows·L,) blurred sums of the step before; read where `receives`.
        sums: (rows·L,), where `sends` cleared and filled with the marginals' sums.
        reach: (lattices, blocks + 1): block b is the first to use rows reach[k, b]…reach[k, b + 1] − 1.
        marginals: (K, N), filled where not `sends`.
    """
    like = zeros(registers)
    columns = len(registers) * WIDTH
    corners = offsets.shape[1]
    rows = np.empty(BLOCK * width, np.float32)
    scales = np.empty(BLOCK, np.float32)  # the largest logit, then 1 / the sum of powers
    for first in range(start, stop, BLOCK):
        last = min(first + BLOCK, stop)
        # Each of the three loops has points that do not wait for each other: a softmax in one loop with the rest is
        # a fifth slower.
        for p in range(first, last):
            row = (p - first) * width
            later = min(p + AHEAD, stop - 1)
            top = fill(ABSENT, like)
            for column in range(0, width, columns):
                logits = load(negative_energies, p * width + column, like)
                if receives:
                    for r in range(corners):
                        ahead = np.int64(offsets[later, r]) * width + column
                        for line in range(0, columns, 16):
                            prefetch(messages, ahead + line)
                        place = np.int64(offsets[p, r]) * width + column
                        logits = multiply_add(fill(slice_weights[p, r], like), load(messages, place, like), logits)
                store(rows, row + column, logits)
                top = maximum(top, logits)
            scales[p - first] = largest(top)
        for p in range(first, last):
            row = (p - first) * width
            top = fill(scales[p - first], like)
            powers_sum = zeros(registers)
            for column in range(0, width, columns):
                powers = exponential(subtract(load(rows, row + column, like), top))
                store(rows, row + column, powers)
                powers_sum = add(powers_sum, powers)
            scales[p - first] = np.float32(1) / total(powers_sum)
        if sends:
            block = first // BLOCK
            for k in range(len(reach)):
                for row in range(reach[k, block], reach[k, block + 1]):
                    for column in range(0, width, columns):
                        store(sums, np.int64(row) * width + column, zeros(registers))
            for p in range(first, last):
                share = fill(scales[p - first], like)
                later = min(p + AHEAD, stop - 1)
                for column in range(0, width, columns):
                    own = multiply(load(rows, (p - first) * width + column, like), share)
                    for r in range(corners):
                        ahead = np.int64(offsets[later, r]) * width + column
                        for line in range(0, columns, 16):
                            prefetch(sums, ahead + line)
                        place = np.int64(offsets[p, r]) * width + column
                        weight = fill(splat_weights[p, r], like)
                        store(sums, place, multiply_add(weight, own, load(sums, place, like)))
        else:
            for label in range(len(marginals)):
                for p in range(first, last):
                    marginals[label, p] = rows[(p - first) * width + label] * scales[p - first]
