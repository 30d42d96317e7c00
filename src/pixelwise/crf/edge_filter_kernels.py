"""The recursions of the domain transform on CPUs, compiled by numba at first use and cached.

A picture is (H, W, L) floats, flat, L a multiple of 8: labels side by side. It is filtered along *lines*, its rows or
its columns; `steps` says by how many floats lines and the pixels of a line are apart in the values, and in the weights
(H, W). Weight i of a line is that between its pixels i − 1 and i.

Some lines are done together, so that a pixel need not wait for the one before it, and columns beside each other share
cache lines.
"""

import numpy as np
from numpy.typing import NDArray

from pixelwise.crf.vectors import (
    WIDTH,
    add,
    compiled,
    fill,
    load,
    multiply,
    multiply_add,
    store,
    subtract,
    total,
    zeros,
)

Floats = NDArray[np.float32]
Steps = tuple[int, int, int, int]  # of values from line to line and from pixel to pixel, and of weights

TOGETHER = 8  # lines
ONE_REGISTER = (0,)


@compiled
def sweep(values: Floats, weights: Floats, length: int, width: int, steps: Steps, start: int, stop: int) -> None:
    """Filter lines start…stop − 1 forth and back, in place.

    Args:
        values: of one picture, flat.
        weights: of one picture, flat.
        length: pixels of a line.
        width: floats of a pixel.
    """
    for first in range(start, stop, TOGETHER):
        last = min(first + TOGETHER, stop)
        recurse(values, weights, length, width, steps, False, first, last)
        recurse(values, weights, length, width, steps, True, first, last)


@compiled
def recurse(
    values: Floats, weights: Floats, length: int, width: int, steps: Steps, back: bool, start: int, stop: int
) -> None:
    """One direction of `sweep`: y_i = x_i + w·(y_before − x_i), where the first pixel stays as it is."""
    like = zeros(ONE_REGISTER)
    line_step, step, weight_line_step, weight_step = steps
    for first in range(start, stop, TOGETHER):
        last = min(first + TOGETHER, stop)
        for i in range(1, length):
            pixel, before, gap = (length - 1 - i, length - i, length - i) if back else (i, i - 1, i)
            for line in range(first, last):
                weight = fill(weights[line * weight_line_step + gap * weight_step], like)
                own, other = line * line_step + pixel * step, line * line_step + before * step
                for column in range(0, width, WIDTH):
                    value = load(values, own + column, like)
                    change = subtract(load(values, other + column, like), value)
                    store(values, own + column, multiply_add(weight, change, value))


@compiled
def reverse(
    gradient: Floats,
    weight_gradient: Floats,
    inputs: Floats,
    outputs: Floats,
    weights: Floats,
    length: int,
    width: int,
    steps: Steps,
    back: bool,
    start: int,
    stop: int,
) -> None:
    """Turn the gradient by the outputs of `recurse` into that by its inputs, in place, and add that by the weights.

    The recursion runs from the last pixel to the first: what a pixel's value changes is its own output, and w times
    what the output of the next pixel changes.
    """
    like = zeros(ONE_REGISTER)
    line_step, step, weight_line_step, weight_step = steps
    for first in range(start, stop, TOGETHER):
        last = min(first + TOGETHER, stop)
        for i in range(length - 1, 0, -1):
            pixel, before, gap = (length - 1 - i, length - i, length - i) if back else (i, i - 1, i)
            for line in range(first, last):
                place = line * weight_line_step + gap * weight_step
                weight, rest = fill(weights[place], like), fill(np.float32(1) - weights[place], like)
                own, other = line * line_step + pixel * step, line * line_step + before * step
                by_weight = zeros(ONE_REGISTER)
                for column in range(0, width, WIDTH):
                    whole = load(gradient, own + column, like)
                    change = subtract(load(outputs, other + column, like), load(inputs, own + column, like))
                    by_weight = add(by_weight, multiply(whole, change))
                    passed_on = multiply_add(weight, whole, load(gradient, other + column, like))
                    store(gradient, other + column, passed_on)
                    store(gradient, own + column, multiply(whole, rest))
                weight_gradient[place] += total(by_weight)
