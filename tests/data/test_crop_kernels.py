"""A crop by the nearest pixel, against its definition pixel by pixel."""

import numpy as np
import pytest

from pixelwise.data.augment import random_crop
from pixelwise.data.augmentation import Augmentation
from pixelwise.data.crop_kernels import nearest


def naive(values, rows, columns, fill, size):
    def place(pixel, before, count, first, factor, start, stop, mirrored):
        number = pixel - before
        if not 0 <= number < count:
            return None
        number = count - 1 - number if mirrored else number
        return start + min(int((first + number + 0.5) / factor), stop - start - 1)

    crop = np.full(size, fill, values.dtype)
    for y in range(size[0]):
        for x in range(size[1]):
            source = place(y, *rows), place(x, *columns)
            if None not in source:
                crop[y, x] = values[source]
    return crop


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("seed", range(20))
def test_it_is_what_each_pixel_asks_for(seed, dtype):
    random = np.random.default_rng(seed)
    values = random.integers(0, 200, (13, 17)).astype(dtype)
    axes = []
    for length, side in zip(values.shape, (9, 30), strict=True):
        start = int(random.integers(length))
        stop = int(random.integers(start + 1, length + 1))
        factor = float(random.choice([0.5, 0.8, 1.0, 1.7, 4.0]))
        first = int(random.integers(3))
        count = max(min(side, round((stop - start) * factor) - first), 0)
        before = int(random.integers(side - count + 1))
        axes.append((before, count, first, factor, start, stop, bool(random.integers(2))))
    crop = np.empty((9, 30), dtype)
    nearest(values, *axes, dtype(255), crop)
    assert np.array_equal(crop, naive(values, *axes, 255, crop.shape))


def test_a_crop_that_shows_nothing_of_the_picture_is_all_padding():
    still = Augmentation(flip_horizontal=False, jitter=400)
    random = np.random.default_rng(0)
    crops = [
        random_crop(np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8), np.uint8), (5, 5), still, random, void=255)
        for _ in range(30)
    ]
    assert sum(bool((crop.target == 255).all()) for crop in crops) > 20
    assert all(crop.target.shape == (5, 5) for crop in crops)
