"""What is written for the eye and for other programs."""

import cv2
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


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000))
def test_filled_polygons_are_the_labels_again(seed):
    random = np.random.default_rng(seed)
    labels = cv2.resize(random.integers(0, 3, (5, 6)).astype(np.uint8), (30, 25), interpolation=cv2.INTER_NEAREST)
    again = np.zeros_like(labels)
    features = polygons(labels, LABELS)["features"]
    assert {f["properties"]["class"] for f in features} <= {"leaf", "fruit"}
    for feature in features:
        rings = [np.array(ring, np.int32) for ring in feature["geometry"]["coordinates"]]
        assert all((ring[0] == ring[-1]).all() for ring in rings)
        filled = np.zeros_like(labels)
        cv2.fillPoly(filled, [rings[0]], 1)
        for hole in rings[1:]:
            inside = np.zeros_like(labels)
            cv2.fillPoly(inside, [hole], 1)
            cv2.polylines(inside, [hole], True, 0)  # a hole's ring runs on the area's own pixels
            filled[inside == 1] = 0
        again[filled == 1] = feature["properties"]["class_index"]
    assert (again == labels).all()


def test_a_failed_write_leaves_the_old_file(tmp_path):
    file = tmp_path / "m.png"
    write_picture(np.zeros((2, 2, 3), np.uint8), file)
    before = file.read_bytes()
    with pytest.raises(TypeError):
        write_picture(Image.new("L", (2, 2)), file, compress_level="wrong")
    assert file.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["m.png"]
