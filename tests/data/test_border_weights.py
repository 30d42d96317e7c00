"""U-Net's border weights, against their definition by brute force."""

import cv2
import numpy as np
import pytest

from pixelwise.data.border_weights import BorderWeights, border_term, connected_objects
from pixelwise.data.sample import Sample
from pixelwise.errors import ShapeError


def cells(seed, size=(60, 70), count=7):
    """(H, W): round objects, numbered, with gaps and touching."""
    random = np.random.default_rng(seed)
    objects = np.zeros(size, np.int32)
    for number in range(1, count + 1):
        center = (int(random.integers(size[1])), int(random.integers(size[0])))
        cv2.circle(objects, center, int(random.integers(2, 9)), number, -1)
    return objects


def naive(objects, w0, sigma):
    """The formula, pixel by pixel and object by object."""
    term = np.zeros(objects.shape)
    places = [np.argwhere(objects == number) for number in np.unique(objects) if number]
    for y, x in np.argwhere(objects == 0):
        distances = sorted(float(np.hypot(*(place - (y, x)).T).min()) for place in places)
        if len(distances) > 1:
            term[y, x] = w0 * np.exp(-((distances[0] + distances[1]) ** 2) / (2 * sigma**2))
    return term


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("w0", "sigma"), [(10.0, 5.0), (3.0, 1.5)])
def test_the_term_is_the_formula(seed, w0, sigma):
    objects = cells(seed)
    np.testing.assert_allclose(border_term(objects, w0=w0, sigma=sigma), naive(objects, w0, sigma), atol=1e-5)


def test_one_object_or_none_has_no_border():
    assert (border_term(cells(0, count=1)) == 0).all()
    assert (border_term(np.zeros((8, 9), np.int32)) == 0).all()


def test_objects_are_the_components_of_each_class():
    target = np.array([[1, 0, 2, 2], [0, 1, 0, 0], [255, 0, 0, 1], [1, 2, 2, 0]], np.uint8)
    objects = connected_objects(target)
    assert ((objects > 0) == np.isin(target, (1, 2))).all()
    parts = {(int(target[objects == n][0]), int((objects == n).sum())) for n in range(1, objects.max() + 1)}
    assert objects.max() == 5
    assert parts == {(1, 2), (1, 1), (2, 2)}
    assert objects[0, 0] == objects[1, 1]  # by the corner
    assert objects[0, 2] != objects[3, 2]


def test_a_samples_weights_are_class_weight_and_border_and_0_at_void():
    objects = cells(2)
    target = (objects > 0).astype(np.uint8)
    target[:, :5] = 255
    sample = Sample(np.zeros((60, 70, 3), np.uint8), {"labels": target, "cells": objects.astype(np.uint16)}, "a")
    found = BorderWeights(class_weights=(0.5, 2.0), instances="cells")(sample)
    expected = np.where(target == 0, naive(objects, 10, 5) + 0.5, 2.0)
    expected[target == 255] = 0
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_without_instances_touching_objects_are_one():
    target = np.zeros((30, 40), np.uint8)
    target[10:20, 5:12] = target[10:20, 14:22] = 1  # a gap of two pixels
    sample = Sample(np.zeros((30, 40, 3), np.uint8), {"labels": target}, "a")
    weights = BorderWeights()(sample)
    assert weights[15, 12] == pytest.approx(1 + 10 * np.exp(-((1 + 2) ** 2) / 50))
    target[15, 12:14] = 1  # a bridge
    assert (BorderWeights()(sample) == 1).all()


def test_a_class_without_a_weight_is_refused():
    sample = Sample(np.zeros((4, 4, 3), np.uint8), {"labels": np.full((4, 4), 2, np.uint8)}, "p7")
    with pytest.raises(ShapeError, match="p7 holds class 2, and there are 2 class weights"):
        BorderWeights(class_weights=(1.0, 1.0))(sample)
    wrong = Sample(
        np.zeros((4, 4, 3), np.uint8), {"labels": np.zeros((4, 4), np.uint8), "cells": np.zeros((4, 5))}, "p8"
    )
    with pytest.raises(ShapeError, match="p8: the target is"):
        BorderWeights(instances="cells")(wrong)
