"""Annotations in COCO's form are the mask, whoever decodes them."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pixelwise.inference.coco import annotations, categories
from pixelwise.labels import LabelSet

LABELS = LabelSet(("background", "leaf", "fruit"))


def drawn(seed):
    """Noise at several sizes, with holes, areas that touch by a corner, and void."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 3, (7, 9)).astype(np.uint8)
    labels = labels[: random.integers(1, 8), : random.integers(1, 10)].repeat(seed % 3 + 1, 0).repeat(seed % 2 + 1, 1)
    labels[random.random(labels.shape) < 0.05] = 255
    return labels


def decoded(annotation, size):
    """The pixels (H, W) of an annotation: even-odd along each row, or runs down the columns."""
    segmentation = annotation["segmentation"]
    if isinstance(segmentation, dict):
        values = [i % 2 for i, count in enumerate(segmentation["counts"]) for _ in range(count)]
        return np.array(values, bool).reshape(size[::-1]).T
    corners = np.array(segmentation[0]).reshape(-1, 2)
    inside = np.zeros(size, bool)
    for (x0, y0), (x1, y1) in zip(corners, np.roll(corners, -1, 0), strict=True):
        if x0 == x1:
            inside[min(y0, y1) : max(y0, y1), x0:] ^= True
    return inside


def check(labels, decode):
    found = annotations(labels, LABELS)
    for index in (1, 2):
        mine = [(a, decode(a)) for a in json.loads(json.dumps(found)) if a["category_id"] == index]
        pixels = sum((mask.astype(int) for _, mask in mine), np.zeros(labels.shape, int))
        assert (pixels == (labels == index)).all()  # each once
        for annotation, mask in mine:
            rows, columns = np.nonzero(mask)
            left, top, width, height = annotation["bbox"]
            assert (left, top) == (columns.min(), rows.min())
            assert (left + width, top + height) == (columns.max() + 1, rows.max() + 1)
            assert annotation["area"] == mask.sum()
            assert annotation["iscrowd"] == 0
    assert {a["category_id"] for a in found} <= {c["id"] for c in categories(LABELS)} == {1, 2}


@settings(max_examples=80, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_polygons_and_runs_are_the_mask_to_the_pixel(seed):
    labels = drawn(seed)
    check(labels, lambda annotation: decoded(annotation, labels.shape))


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of its own array
def test_pycocotools_decodes_the_same_mask():
    coco_mask = pytest.importorskip("pycocotools.mask")

    def decode(annotation):
        segmentation = annotation["segmentation"]
        runs = coco_mask.frPyObjects(segmentation, *labels.shape)
        return coco_mask.decode(coco_mask.merge(runs) if isinstance(runs, list) else runs).astype(bool)

    for seed in range(60):
        labels = drawn(seed)
        check(labels, decode)


def test_an_area_with_a_hole_is_given_by_its_runs_and_one_without_by_its_corners():
    labels = np.zeros((4, 5), np.uint8)
    labels[:3, :3] = 1
    labels[1, 1] = 0
    labels[3, 4] = 2
    ring, dot = annotations(labels, LABELS)
    assert ring["segmentation"] == {"size": [4, 5], "counts": [0, 3, 1, 1, 1, 1, 1, 3, 9]}
    assert (ring["area"], ring["bbox"]) == (8, [0, 0, 3, 3])
    assert sorted(zip(dot["segmentation"][0][::2], dot["segmentation"][0][1::2], strict=True)) == [
        (4, 3), (4, 4), (5, 3), (5, 4),
    ]  # fmt: skip
