"""Real sets are understood without any option: classes, counts, void."""

import os
from pathlib import Path

import numpy as np
import pytest

from pixelwise.flow.doctor import understand

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif("PIXELWISE_DATA" not in os.environ, reason="PIXELWISE_DATA is not set"),
]

BINARY = ("background", "foreground")


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("PIXELWISE_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.mark.parametrize(
    "name, splits, num_classes, some_names, void",
    [
        ("science/em-membranes", {"all": 30}, 2, BINARY, False),
        ("science/nuclei", {"all": 56}, 2, BINARY, False),
        ("science/cracks", {"all": 118}, 2, BINARY, False),
        ("camvid", {"train": 367, "val": 101, "test": 233}, 11, ("Sky", "Building", "Pole", "Road"), True),
        ("voc-mini", {"train": 8, "val": 8}, 21, ("background", "aeroplane"), True),
        ("cityscapes-mini", {"train": 3, "val": 2}, 19, ("road", "sidewalk", "building"), True),
    ],
)
def test_sets(name, splits, num_classes, some_names, void):
    found = understand(Path(os.environ["PIXELWISE_DATA"]) / name)
    assert not found.faults
    assert {split: len(pairs) for split, pairs in found.splits.items()} == splits
    assert found.labels.num_classes == num_classes and found.labels.names[: len(some_names)] == some_names
    assert (found.void_pixels > 0) == void
    pixels = sum(height * width * count for (height, width), count in found.sizes.items())
    assert found.pixel_counts.sum() + found.void_pixels == pixels
    for data in found.datasets().values():
        sample = data[len(data) - 1]
        assert set(np.unique(sample.targets["labels"])) <= {*range(num_classes), 255}
        assert sample.image.shape == (*sample.targets["labels"].shape, found.channels)
