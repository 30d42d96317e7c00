"""What is written for the eye and for other programs."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pixelwise.inference.pictures import (
    confidence_png,
    displayable,
    errors_picture,
    overlay,
    palette_png,
    polygons,
    write_picture,
)
from pixelwise.labels import LabelSet

LABELS = LabelSet(("background", "leaf", "fruit"), ((0, 0, 0), (0, 200, 0), (200, 0, 0)))


def test_a_mask_is_an_indexed_png_in_the_sets_colors(tmp_path):
    labels = np.array([[0, 1], [2, 255]], np.uint8)
    write_picture(palette_png(labels, LABELS), tmp_path / "m.png")
    read = Image.open(tmp_path / "m.png")
    assert read.mode == "P"
    assert (np.asarray(read) == labels).all()
    assert np.asarray(read.convert("RGB"))[1].tolist() == [[200, 0, 0], [224, 224, 192]]


def test_a_mask_of_many_classes_is_16_bit_grey(tmp_path):
    labels = np.array([[0, 300]], np.uint16)
    write_picture(palette_png(labels, LABELS), tmp_path / "m.png")
    assert np.asarray(Image.open(tmp_path / "m.png")).tolist() == [[0, 300]]


def test_an_overlay_leaves_background_and_void_as_they_are():
    image = np.full((6, 6, 3), 100, np.uint8)
    labels = np.zeros((6, 6), np.uint8)
    labels[1:5, 1:5] = 1
    labels[0, 0] = 255
    shown = overlay(image, labels, LABELS, opacity=0.5)
    assert shown[0, 0].tolist() == shown[0, 1].tolist() == [100, 100, 100]
    assert shown[2, 2].tolist() == [50, 150, 50]
    assert shown[4, 4].tolist() == [0, 200, 0]  # the outline in full color


@pytest.mark.parametrize("shape", [(5, 6, 1), (5, 6, 2), (5, 6, 3), (5, 6, 7)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_every_image_can_be_shown(shape, dtype):
    image = (np.random.default_rng(0).random(shape) * 200).astype(dtype)
    shown = displayable(image)
    assert shown.shape == (5, 6, 3)
    assert shown.dtype == np.uint8


def test_errors_are_red_and_void_is_no_error():
    image = np.full((2, 2, 3), 50, np.uint8)
    shown = errors_picture(image, np.array([[0, 1], [1, 1]]), np.array([[0, 0], [255, 1]]), 255)
    red = (shown == (220, 30, 40)).all(-1)
    assert red.tolist() == [[False, True], [False, False]]


def test_confidence_is_grey():
    assert np.asarray(confidence_png(np.array([[0.0, 0.5, 1.0]], np.float32))).tolist() == [[0, 128, 255]]


def crossings(ring, x, y):
    """How often a ray from (x, y) to the right crosses a closed ring of corners."""
    return sum((y0 > y) != (y1 > y) and x0 > x for (x0, y0), (x1, y1) in pairwise(ring) if x0 == x1)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 1000), blocks=st.booleans())
def test_polygons_are_the_labels_to_the_pixel(seed, blocks):
    """Even-odd at every pixel's center, and the shoelace area with holes."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 3, (7, 9)).astype(np.uint8)
    if blocks:
        labels = labels[:4, :4].repeat(3, 0).repeat(3, 1)
    features = polygons(labels, LABELS)["features"]
    for index, name in ((1, "leaf"), (2, "fruit")):
        rings = [ring for f in features if f["properties"]["class"] == name for ring in f["geometry"]["coordinates"]]
        for ring in rings:
            assert ring[0] == ring[-1]
            assert len(ring) >= 5
            assert all((x0 == x1) != (y0 == y1) for (x0, y0), (x1, y1) in pairwise(ring))
        for y in range(labels.shape[0]):
            for x in range(labels.shape[1]):
                inside = sum(crossings(ring, x + 0.5, y + 0.5) for ring in rings) % 2
                assert inside == (labels[y, x] == index)
    assert {f["properties"]["class"] for f in features} <= {"leaf", "fruit"}


def test_a_failed_write_leaves_the_old_file(tmp_path):
    file = tmp_path / "m.png"
    write_picture(np.zeros((2, 2, 3), np.uint8), file)
    before = file.read_bytes()
    with pytest.raises(TypeError):
        write_picture(Image.new("L", (2, 2)), file, compress_level="wrong")
    assert file.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["m.png"]
