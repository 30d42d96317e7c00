"""Bands against their definitions: dilation by a square, distances one by one, scikit-image's boundaries."""

import math
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pixelwise.errors import BadOption, LabelError
from pixelwise.metrics import ConfusionMatrix
from pixelwise.protocols import PROTOCOLS
from pixelwise.protocols.boundaries import (
    DEEPLAB_WIDTHS,
    GCN_WIDTHS,
    TrimapAccumulator,
    distance_to,
    label_boundaries,
    plot_curves,
)


def scene(random, shape=(23, 31), void=True):
    """Blocks of classes, with void lines and blobs."""
    target = np.kron(random.integers(0, 4, (4, 5)), np.ones((8, 8), int))[: shape[0], : shape[1]].astype(np.uint8)
    if void:
        target[random.random(shape) < 0.03] = 255
        target[:, 10] = 255
    prediction = np.where(random.random(shape) < 0.3, random.integers(0, 4, shape), np.where(target == 255, 0, target))
    return prediction.astype(np.uint8), target


def released(pairs, width):
    """DeepLab's code: void dilated by a square of side 2w + 1, without void itself."""
    matrix = ConfusionMatrix(4)
    for prediction, target in pairs:
        void = (target == 255).astype(np.uint8)
        band = (cv2.dilate(void, np.ones((2 * width + 1, 2 * width + 1), np.uint8)) == 1) & (void == 0)
        matrix.update(prediction, np.where(band, target, 255).astype(np.uint8))
    return matrix


def test_the_band_around_void_is_that_of_the_released_code_at_every_width():
    random = np.random.default_rng(0)
    pairs = [scene(random) for _ in range(3)]
    trimap = TrimapAccumulator(4)
    for prediction, target in pairs:
        trimap.update(prediction, target)
    curve = trimap.curve()
    assert curve.widths == DEEPLAB_WIDTHS
    for place, width in enumerate(curve.widths):
        expected = released(pairs, width)
        assert (curve.confusions[place] == expected.counts).all()
        assert curve.mean_iou[place] == pytest.approx(expected.scores().mean_iou)
        assert curve.pixel_accuracy[place] == pytest.approx(expected.scores().pixel_accuracy)
        assert curve.pixels[place] == expected.counts.sum()


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 9999),
    neighbors=st.sampled_from([4, 8]),
    shape=st.sampled_from(["square", "disc"]),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
)
def test_the_band_around_labels_holds_the_pixels_within_a_distance_of_a_change(seed, neighbors, shape, height, width):
    random = np.random.default_rng(seed)
    target = np.repeat(random.integers(0, 3, (height, width)), 2, 0).astype(np.uint8)
    target[random.random(target.shape) < 0.15] = 255
    prediction = random.integers(0, 3, target.shape).astype(np.uint8)
    trimap = TrimapAccumulator(3, widths=(1, 2, 4), around="labels", shape=shape, neighbors=neighbors)
    trimap.update(prediction, target)
    curve = trimap.curve()
    pixels = [(y, x) for y in range(target.shape[0]) for x in range(target.shape[1]) if target[y, x] != 255]

    def touch(a, b):
        dy, dx = abs(a[0] - b[0]), abs(a[1] - b[1])
        return max(dy, dx) == 1 and (neighbors == 8 or dy + dx == 1)

    boundary = [a for a in pixels if any(touch(a, b) and target[a] != target[b] for b in pixels)]
    for place, reach in enumerate(curve.widths):
        expected, inner = ConfusionMatrix(3), ConfusionMatrix(3)
        for a in pixels:
            apart = [(abs(a[0] - b[0]), abs(a[1] - b[1])) for b in boundary]
            near = any(max(d) <= reach if shape == "square" else math.hypot(*d) <= reach for d in apart)
            (expected if near else inner).update(prediction[a][None], target[a][None])
        assert (curve.confusions[place] == expected.counts).all()
        assert curve.mean_iou[place] == pytest.approx(expected.scores().mean_iou, nan_ok=True)
        assert curve.inner_mean_iou[place] == pytest.approx(inner.scores().mean_iou, nan_ok=True)
        assert curve.inner_pixel_accuracy[place] == pytest.approx(inner.scores().pixel_accuracy, nan_ok=True)


@pytest.mark.parametrize("neighbors", [4, 8])
def test_scikit_image_finds_the_same_boundaries(neighbors):
    from skimage.segmentation import find_boundaries

    labels = np.random.default_rng(1).integers(0, 3, (40, 50))
    expected = find_boundaries(labels, connectivity=1 if neighbors == 4 else 2, mode="thick")
    assert (label_boundaries(labels, neighbors=neighbors) == expected).all()


@pytest.mark.parametrize("shape", ["square", "disc"])
def test_scipy_finds_the_same_distances(shape):
    from scipy.ndimage import distance_transform_cdt, distance_transform_edt

    pixels = np.random.default_rng(2).random((90, 120)) < 0.002
    expected = distance_transform_cdt(~pixels, "chessboard") if shape == "square" else distance_transform_edt(~pixels)
    assert np.abs(distance_to(pixels, shape) - expected).max() < 1e-4


def test_a_picture_without_a_boundary_is_all_interior():
    trimap = TrimapAccumulator(2, widths=GCN_WIDTHS, around="labels")
    trimap.update(np.array([[0, 1]]), np.array([[0, 0]]))
    curve = trimap.curve()
    assert curve.pixels == (0,)
    assert math.isnan(curve.mean_iou[0])
    assert curve.inner_pixel_accuracy == (0.5,)
    assert curve.to_record()["mean_iou"] == [None]


def test_boundary_and_interior_at_seven_pixels_split_the_picture():
    random = np.random.default_rng(3)
    prediction, target = scene(random, void=False)
    trimap = TrimapAccumulator(4, widths=GCN_WIDTHS, around="labels")
    trimap.update(prediction, target)
    whole = PROTOCOLS["fcn"].accumulator(4)
    whole.update(prediction, target)
    curve = trimap.curve()
    inside = curve.pixels[0]
    right = curve.pixel_accuracy[0] * inside
    rest = target.size - inside
    if rest:
        right += curve.inner_pixel_accuracy[0] * rest
    assert right / target.size == pytest.approx(whole.scores().pixel_accuracy)


def test_cityscapes_bands_lie_around_ignored_ids_and_score_by_its_rule():
    random = np.random.default_rng(4)
    prediction, target = random.integers(0, 19, (2, 20, 30)).astype(np.uint8)
    target[5:7] = 255
    trimap = TrimapAccumulator(19, widths=(3, 50), protocol=PROTOCOLS["cityscapes"])
    trimap.update(prediction, target)
    whole = PROTOCOLS["cityscapes"].accumulator(19)
    whole.update(prediction, target)
    curve = trimap.curve()
    assert curve.mean_iou[1] == pytest.approx(whole.scores().mean_iou)
    assert curve.pixels == (6 * 30, 18 * 30)


def test_widths_and_values_are_checked():
    with pytest.raises(BadOption, match=r"expected widths of at least 1 pixel, got \[0, 3\]"):
        TrimapAccumulator(4, widths=(0, 3))
    with pytest.raises(LabelError, match="p: a prediction holds 4, but classes are 0–3"):
        TrimapAccumulator(4).update(np.full((2, 2), 4), np.zeros((2, 2), int), name="p")


def test_a_curve_is_drawn_as_svg_and_names_its_band(tmp_path: Path):
    random = np.random.default_rng(5)
    curves = {}
    for name in ("before <CRF>", "after"):
        trimap = TrimapAccumulator(4)
        trimap.update(*scene(random))
        curves[name] = trimap.curve()
    plot_curves(curves, tmp_path / "trimap.svg")
    text = (tmp_path / "trimap.svg").read_text(encoding="utf-8")
    assert "trimap, pixels within Chebyshev distance w of void; means by protocol fcn, over 1 pictures" in text
    assert "before &lt;CRF&gt;" in text
    assert text.count('fill="none" stroke="#') == 1 + 2 * len(curves)
    curves["after"].plot(tmp_path / "one.svg")
    with pytest.raises(BadOption, match="plots are written as SVG; got .*trimap.png"):
        curves["after"].plot(tmp_path / "trimap.png")
    other = TrimapAccumulator(4, around="labels")
    other.update(*scene(random))
    with pytest.raises(BadOption, match="expected curves of one kind of band"):
        plot_curves({**curves, "other": other.curve()}, tmp_path / "x.svg")
    empty = TrimapAccumulator(4)
    with pytest.raises(BadOption, match="there is nothing to draw in .*: no score is a number"):
        empty.curve().plot(tmp_path / "x.svg")
