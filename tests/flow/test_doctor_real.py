"""Real sets are understood without any option: classes, counts, void."""

import os
from pathlib import Path

import numpy as np
import pytest

from pixelwise.data.answers import Answers
from pixelwise.errors import DataError
from pixelwise.flow.doctor import understand

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif("PIXELWISE_DATA" not in os.environ, reason="PIXELWISE_DATA is not set"),
]

BINARY = ("background", "foreground")


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("PIXELWISE_CACHE", str(tmp_path_factory.mktemp("cache")))


VOC = ("background", "aeroplane", "bicycle")

SETS = [
    # folder, answers, splits, number of classes, the first names, whether there is void
    ("science/em-membranes", (), {"all": 30}, 2, BINARY, False),
    ("science/nuclei", (), {"all": 56}, 2, BINARY, False),
    ("science/nuclei", ("masks=instances16", "objects"), {"all": 56}, 2, BINARY, False),
    ("science/cracks", (), {"all": 118}, 2, BINARY, False),
    ("science/cracks", ("masks=groundTruth",), {"all": 118}, 4, ("class 1", "class 2"), False),  # 3 and 4 are rare
    ("camvid", (), {"train": 367, "val": 101, "test": 233}, 11, ("Sky", "Building", "Pole", "Road"), True),
    ("voc-mini", (), {"train": 8, "val": 8}, 21, VOC, True),
    ("voc-mini", ("masks=SegmentationClassAug",), {"train": 40, "val": 8}, 21, VOC, True),
    ("sbd-mini", (), {"train": 24, "val": 8}, 21, VOC, False),
    ("context-mini", ("masks=59_class_png",), None, 60, VOC, False),
    ("context-mini", ("masks=trainval",), None, 459, ("accordion", "aeroplane"), True),
    ("personpart-mini", (), None, 7, ("background", "head", "torso"), False),
    ("personpart-mini/pascal_person_part", (), None, 7, ("background", "head", "torso"), False),
    ("cityscapes-mini", (), {"train": 3, "val": 2}, 19, ("road", "sidewalk", "building"), True),
    ("nyud-mini/nyud", (), {"train": 2, "val": 1}, 40, ("wall", "floor", "cabinet"), True),
    ("nyud-mini/drsleep_625x468", (), {"all": 5}, 40, ("wall", "floor", "cabinet"), True),
    ("nyud-mini/drsleep_640x480", (), {"all": 2}, 40, ("wall", "floor", "cabinet"), True),
    ("ade20k-mini", (), {"val": 3}, 150, ("wall", "building", "sky"), True),
    ("coco-stuff-mini", (), {"train": 13, "val": 8}, None, (), True),
]


@pytest.mark.parametrize("name, answers, splits, num_classes, some_names, void", SETS)
def test_sets(name, answers, splits, num_classes, some_names, void):
    found = understand(Path(os.environ["PIXELWISE_DATA"]) / name, answers=Answers.of(answers))
    assert not found.errors and {fault.kind for fault in found.faults} <= {"classes"}
    if splits is not None:
        assert {split: len(pairs) for split, pairs in found.splits.items()} == splits
    if num_classes is not None:
        assert found.labels.num_classes == num_classes
    assert found.labels.names[: len(some_names)] == some_names
    assert (found.void_pixels > 0) == void
    pixels = sum(height * width * count for (height, width), count in found.sizes.items())
    assert found.pixel_counts.sum() + found.void_pixels == pixels
    for data in found.datasets().values():
        sample = data[len(data) - 1]
        target = sample.targets["labels"]
        assert set(np.unique(target)) <= {*range(found.labels.num_classes), found.labels.void}
        assert sample.image.shape == (*target.shape, found.channels)


@pytest.mark.parametrize(
    ("name", "answers"),
    [("context-mini", ("masks=59_class_png", "masks=trainval")), ("nyud-mini", ()), ("science", ())],
)
def test_what_is_open_is_asked(name, answers):
    with pytest.raises(DataError, match=r"which (one is|are) meant\?") as refused:
        understand(Path(os.environ["PIXELWISE_DATA"]) / name)
    assert getattr(refused.value, "answers", ()) == answers
