"""Boundary F against augmenting paths, dilations by scikit-image, and outlines looked up pixel by pixel."""

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pixelwise.errors import DataError, ShapeError
from pixelwise.protocols.boundary_f import (
    BoundaryFAccumulator,
    boundary_f,
    match_outlines,
    outline,
    tolerance_pixels,
)


def naive_outline(mask):
    height, width = mask.shape
    found = np.zeros(mask.shape, bool)
    for y in range(height):
        for x in range(width):
            near = []
            if x + 1 < width:
                near.append((y, x + 1))
            if y + 1 < height:
                near.append((y + 1, x))
            if x + 1 < width and y + 1 < height:
                near.append((y + 1, x + 1))
            found[y, x] = any(mask[place] != mask[y, x] for place in near)
    return found


def naive_matching(first, second, radius):
    """The largest number of pairs, by augmenting paths."""
    a, b = np.argwhere(first).tolist(), np.argwhere(second).tolist()
    partner = [-1] * len(b)

    def augment(i, seen):
        for j, place in enumerate(b):
            if j not in seen and math.dist(a[i], place) <= radius:
                seen.add(j)
                if partner[j] < 0 or augment(partner[j], seen):
                    partner[j] = i
                    return True
        return False

    return sum(augment(i, set()) for i in range(len(a)))


def blob(random, shape=(14, 17)):
    return np.kron(random.random((7, 9)) < 0.4, np.ones((2, 2), bool))[: shape[0], : shape[1]]


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 9999), radius=st.sampled_from([0.0, 1.0, 1.5, 2.3, 4.0]))
def test_matches_are_as_many_as_can_be(seed, radius):
    random = np.random.default_rng(seed)
    first, second = outline(blob(random)), outline(blob(random))
    found = match_outlines(first, second, radius, one_to_one=True)
    assert found.predicted == first.sum()
    assert found.true == second.sum()
    assert found.matched_predicted == found.matched_true == naive_matching(first, second, radius)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 9999), height=st.integers(1, 9), width=st.integers(1, 9))
def test_outlines_are_pixels_that_differ_from_the_east_south_or_south_east(seed, height, width):
    mask = np.random.default_rng(seed).random((height, width)) < 0.5
    assert (outline(mask) == naive_outline(mask)).all()


@pytest.mark.parametrize("radius", [1, 2, 5])
def test_the_davis_variant_is_a_dilation_by_a_disc(radius):
    from skimage.morphology import dilation, disk

    random = np.random.default_rng(radius)
    prediction, target = blob(random, (40, 50)), blob(random, (40, 50))
    first, second = outline(prediction), outline(target)
    precision = (first & dilation(second, disk(radius))).sum() / first.sum()
    recall = (second & dilation(first, disk(radius))).sum() / second.sum()
    expected = 2 * precision * recall / (precision + recall)
    assert boundary_f(prediction, target, "davis", tolerance=radius) == pytest.approx(expected)


def test_tolerances_are_those_of_the_scripts_at_480_by_360():
    assert tolerance_pixels((360, 480), "segnet") == pytest.approx(4.5)
    assert tolerance_pixels((360, 480), "davis") == 5
    assert tolerance_pixels((360, 480), "davis", 3) == 3
    assert tolerance_pixels((360, 480), "segnet", 0.01) == pytest.approx(6)


def test_empty_outlines_score_by_each_scripts_rule():
    none, some = np.zeros((8, 8), bool), np.zeros((8, 8), bool)
    some[2:5, 2:5] = True
    assert boundary_f(none, none, "davis") == 1
    assert boundary_f(some, none, "davis") == boundary_f(none, some, "davis") == 0
    assert boundary_f(some, none, "segnet") == boundary_f(none, some, "segnet") == 0
    assert boundary_f(some, some, "segnet") == boundary_f(some, some, "davis") == 1


def test_a_shift_within_the_tolerance_costs_nothing_and_beyond_it_everything():
    target = np.zeros((60, 80), bool)  # diagonal 100: 0.75 pixels, so a shift by one pixel is too much
    target[:, 40:] = True
    assert boundary_f(target, target, "segnet") == 1
    shifted = np.zeros_like(target)
    shifted[:, 41:] = True
    assert boundary_f(shifted, target, "segnet") == 0
    assert boundary_f(shifted, target, "segnet", tolerance=0.01) == 1
    assert boundary_f(shifted, target, "davis") == 1


def test_a_thick_prediction_is_matched_once_by_segnet_and_wholly_by_davis():
    target = np.zeros((100, 100), bool)
    target[:, 50:] = True
    stripes = target.copy()
    stripes[:, 48] = True  # two more outlines within the tolerance
    one = boundary_f(stripes, target, "segnet", tolerance=0.03)
    assert one == pytest.approx(2 * (1 / 3) / (4 / 3), abs=0.02)
    assert boundary_f(stripes, target, "davis", tolerance=4) == 1


def test_void_belongs_to_neither_mask_of_davis():
    target = np.zeros((20, 20), bool)
    target[5:15, 5:15] = True
    prediction = target.copy()
    prediction[0:3, 0:3] = True
    void = np.zeros_like(target)
    void[0:3, 0:3] = True
    assert boundary_f(prediction, target, "davis") < 1
    assert boundary_f(prediction, target, "davis", void=void) == 1


@pytest.mark.parametrize("variant", ["segnet", "davis"])
def test_a_set_is_scored_by_classes_then_pictures(variant):
    random = np.random.default_rng(7)
    accumulator = BoundaryFAccumulator(11, variant=variant)
    expected, by_class = [], {cls: [] for cls in range(11)}
    for i in range(4):
        target = np.kron(random.integers(0, 4, (3, 4)), np.ones((9, 9), int)).astype(np.uint8)
        target[random.random(target.shape) < 0.02] = 255
        prediction = np.roll(np.where(target == 255, 0, target), i, 1).astype(np.uint8)
        prediction[:2, :2] = 11  # no class: void, as CamVid's twelfth
        values = []
        for cls in range(11):
            void = target == 255 if variant == "davis" else None
            p, t = prediction == cls, target == cls
            if naive_outline(p if void is None else p & ~void).any() or naive_outline(t).any():
                values.append(boundary_f(p, t, variant, void=void))
                by_class[cls].append(values[-1])
        expected.append(np.mean(values))
        accumulator.update(prediction, target, name=str(i))
    flat = np.zeros((27, 36), np.uint8)
    accumulator.update(flat, flat, name="flat")
    scores = accumulator.scores()
    assert scores.mean == pytest.approx(np.mean(expected))
    assert scores.over_all_pictures == pytest.approx(np.sum(expected) / 5)
    assert (scores.pictures, scores.pictures_without) == (5, 1)
    for cls, values in by_class.items():
        assert scores.per_class[f"class {cls}"] == pytest.approx(np.mean(values) if values else math.nan, nan_ok=True)
    assert math.isnan(accumulator.scores_of_pictures["flat"])
    record = scores.to_record()
    assert record["note"].startswith(f"boundary F ({variant}): outlines match ")
    assert record["per_class"]["class 10"] is None


def test_bad_input_is_named():
    with pytest.raises(ShapeError, match=r"prediction is \(2, 2\) but target is \(3, 3\)"):
        boundary_f(np.zeros((2, 2)), np.zeros((3, 3)), "segnet")
    accumulator = BoundaryFAccumulator(11)
    accumulator.update(np.zeros((2, 2), int), np.zeros((2, 2), int), name="a")
    with pytest.raises(DataError, match="a was counted before"):
        accumulator.update(np.zeros((2, 2), int), np.zeros((2, 2), int), name="a")


def test_without_scipy_the_other_variant_is_named(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "scipy.sparse", None)
    mask = np.eye(5, dtype=bool)
    with pytest.raises(DataError, match=r"needs SciPy: pip install 'pixelwise\[datasets\]', or take the variant davis"):
        boundary_f(mask, mask, "segnet")
    assert boundary_f(mask, mask, "davis") == 1


@pytest.mark.real
def test_camvids_masks_agree_with_themselves_and_less_when_shifted(real_data: Path):
    from PIL import Image

    folder = real_data / "camvid" / "CamVid" / "testannot"
    same, moved = BoundaryFAccumulator(11), BoundaryFAccumulator(11)
    for file in sorted(folder.glob("*.png"))[:2]:
        target = np.asarray(Image.open(file))
        target = np.where(target == 11, 255, target).astype(np.uint8)
        same.update(np.where(target == 255, 11, target).astype(np.uint8), target, name=file.stem)
        moved.update(np.roll(np.where(target == 255, 11, target), 8, 0).astype(np.uint8), target, name=file.stem)
    assert same.scores().mean == 1
    assert moved.scores().mean < 0.8
