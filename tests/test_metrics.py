"""Scores against a pixel-by-pixel transcription of their formulas, and against scikit-learn."""

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pixelwise.errors import LabelError, ShapeError
from pixelwise.metrics import ConfusionMatrix, mean_iou_of_picture


def naive_scores(prediction, target, k, void):
    """Long et al. 2015, §5, by loops."""
    n = [[0] * k for _ in range(k)]
    for p, t in zip(prediction.ravel(), target.ravel(), strict=True):
        if t != void:
            n[t][p] += 1
    t = [sum(row) for row in n]
    total = sum(t)
    ious, recalls = {}, {}
    for i in range(k):
        union = t[i] + sum(n[j][i] for j in range(k)) - n[i][i]
        if union:
            ious[i] = n[i][i] / union
        if t[i]:
            recalls[i] = n[i][i] / t[i]
    return {
        "pixel_accuracy": sum(n[i][i] for i in range(k)) / total if total else math.nan,
        "mean_accuracy": sum(recalls.values()) / len(recalls) if recalls else math.nan,
        "mean_iou": sum(ious.values()) / len(ious) if ious else math.nan,
        "frequency_weighted_iou": sum(t[i] * ious[i] for i in ious) / total if total else math.nan,
    }


@settings(max_examples=60, deadline=None)
@given(k=st.integers(1, 7), seed=st.integers(0, 10_000), void_share=st.sampled_from([0.0, 0.3, 1.0]))
def test_scores_are_their_formulas(k, seed, void_share):
    random = np.random.default_rng(seed)
    prediction = random.integers(0, k, (6, 9)).astype(np.uint8)
    target = random.integers(0, k, (6, 9)).astype(np.uint8)
    target[random.random((6, 9)) < void_share] = 255
    matrix = ConfusionMatrix(k)
    matrix.update(prediction[:3], target[:3])
    matrix.update(prediction[3:], target[3:])
    scores = matrix.scores()
    for name, value in naive_scores(prediction, target, k, 255).items():
        assert getattr(scores, name) == pytest.approx(value, nan_ok=True), name


def test_scikit_learn_agrees():
    from sklearn.metrics import confusion_matrix, jaccard_score, precision_score

    random = np.random.default_rng(1)
    target, prediction = random.integers(0, 5, 4000), random.integers(0, 5, 4000)
    matrix = ConfusionMatrix(5)
    matrix.update(prediction, target)
    assert (matrix.counts == confusion_matrix(target, prediction)).all()
    scores = matrix.scores()
    assert scores.mean_iou == pytest.approx(jaccard_score(target, prediction, average="macro"))
    precision = [c.precision for c in scores.per_class]
    assert precision == pytest.approx(precision_score(target, prediction, average=None))


def test_one_matrix_over_the_set_is_not_the_mean_over_pictures():
    easy = np.zeros((10, 10), np.uint8), np.zeros((10, 10), np.uint8)
    hard_target = np.zeros((10, 10), np.uint8)
    hard_target[0, 0] = 1
    hard = np.zeros((10, 10), np.uint8), hard_target
    matrix = ConfusionMatrix(2)
    for prediction, target in (easy, hard):
        matrix.update(prediction, target)
    over_pictures = np.mean([mean_iou_of_picture(*pair, 2, 255) for pair in (easy, hard)])
    assert matrix.scores().mean_iou == pytest.approx((199 / 200 + 0) / 2)
    assert over_pictures == pytest.approx((1 + 0.99 / 2) / 2)


def test_a_class_absent_from_both_is_left_out_and_counted():
    matrix = ConfusionMatrix(3, names=("a", "b", "c"))
    matrix.update(np.array([0, 1]), np.array([0, 1]))
    scores = matrix.scores()
    assert scores.mean_iou == 1
    assert scores.classes_left_out == 1
    assert math.isnan(scores.per_class[2].iou)
    assert scores.to_record()["per_class"][2]["iou"] is None


def test_a_class_predicted_but_absent_has_iou_zero():
    matrix = ConfusionMatrix(2)
    matrix.update(np.array([0, 1]), np.array([0, 0]))
    assert matrix.scores().per_class[1].iou == 0
    assert matrix.scores().mean_iou == pytest.approx(0.25)


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.uint16, np.int64])
def test_any_integer_type_counts_the_same(dtype):
    target = np.array([[0, 1, 255], [1, 1, 0]]).astype(dtype)
    matrix = ConfusionMatrix(2)
    matrix.update(np.array([[0, 1, 1], [0, 1, 0]], np.uint8), target)
    assert matrix.counts.tolist() == [[2, 0], [1, 2]]


def test_more_than_255_classes_have_void_65535():
    matrix = ConfusionMatrix(300)
    matrix.update(np.array([299, 255, 3]), np.array([299, 255, 65_535], np.uint16))
    assert matrix.counts[299, 299] == matrix.counts[255, 255] == 1
    assert matrix.counts.sum() == 2


def test_wrong_values_and_shapes_are_refused_by_name():
    matrix = ConfusionMatrix(3)
    with pytest.raises(LabelError, match="img_7 holds 34 at row 1, column 0; classes are 0–2 and void is 255"):
        matrix.update(np.zeros((2, 2), int), np.array([[0, 0], [34, 0]]), name="img_7")
    with pytest.raises(LabelError, match="holds -1 at row 0, column 1"):
        matrix.update(np.zeros((1, 2), int), np.array([[0, -1]]))
    with pytest.raises(LabelError, match="a prediction holds 3, but classes are 0–2"):
        matrix.update(np.array([3]), np.array([0]))
    with pytest.raises(ShapeError, match=r"prediction is \(2, 2\) but target is \(2, 3\)"):
        matrix.update(np.zeros((2, 2), int), np.zeros((2, 3), int))
    assert matrix.counts.sum() == 0


def test_an_empty_matrix_has_no_scores():
    scores = ConfusionMatrix(2).scores()
    assert math.isnan(scores.mean_iou)
    assert scores.classes_left_out == 2


@pytest.mark.real
def test_published_pictures_give_the_reference_figures(real_data: Path):
    """Three VOC crops of another project: 0.99067 / 0.99428 / 0.95535 / 0.98184, measured independently."""
    from PIL import Image

    from pixelwise.labels import LabelSet, pack_color, voc_color

    table = {pack_color(voc_color(i)): i for i in range(21)} | {pack_color((224, 224, 192)): 255}
    labels = LabelSet(tuple(map(str, range(21))), table=table, colors=True)
    matrix = ConfusionMatrix(21)
    files = sorted((real_data / "deeplab-results").glob("*target*"))
    assert files
    for file in files:
        classes = []
        for path in (Path(str(file).replace("target", "pred")), file):
            rgb = np.asarray(Image.open(path).convert("RGB")).astype(np.uint32)
            classes.append(labels.to_classes(rgb[..., 0] << 16 | rgb[..., 1] << 8 | rgb[..., 2]))
        matrix.update(*classes)
    scores = matrix.scores()
    found = scores.pixel_accuracy, scores.mean_accuracy, scores.mean_iou, scores.frequency_weighted_iou
    assert found == pytest.approx((0.99067, 0.99428, 0.95535, 0.98184), abs=5e-6)


@pytest.mark.parametrize("pixels", [1, 2, 3, 4, 5, 7, 1001])
def test_bytes_are_counted_as_any_other_integers(pixels):
    """In fours, and what is left over; 254 classes and void."""
    random = np.random.default_rng(pixels)
    target, prediction = random.integers(0, 256, pixels), random.integers(0, 254, pixels)
    target[target == 254] = 255
    quick, plain = ConfusionMatrix(254), ConfusionMatrix(254)
    quick.update(prediction.astype(np.uint8), target.astype(np.uint8))
    plain.update(prediction, target)
    assert (quick.counts == plain.counts).all()
    assert quick.counts.sum() == (target != 255).sum()
