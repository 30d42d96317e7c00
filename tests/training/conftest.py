"""A data set in memory, small enough for a test."""

import numpy as np
import pytest

from pixelwise.data.sample import Sample
from pixelwise.labels import LabelSet


class Arrays:
    """Pictures with a bright square, whose mask is the square."""

    def __init__(self, count=6, size=(40, 48), void_rows=0):
        self.labels = {"labels": LabelSet(("background", "square"))}
        random = np.random.default_rng(0)
        self.samples = []
        for i in range(count):
            image = random.integers(0, 90, (*size, 3)).astype(np.uint8)
            target = np.zeros(size, np.uint8)
            y, x = random.integers(2, 20, 2)
            image[y : y + 14, x : x + 14] += 120
            target[y : y + 14, x : x + 14] = 1
            target[:void_rows] = 255
            self.samples.append(Sample(image, {"labels": target}, f"picture-{i}"))

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, index):
        return self.samples[index]

    def describe(self):
        return "squares"


@pytest.fixture
def arrays():
    return Arrays
