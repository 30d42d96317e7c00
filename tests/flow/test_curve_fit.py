"""A learning curve in numbers: scores as the metrics define them, the law, and intervals that hold the truth."""

import numpy as np
import pytest

from pixelwise.flow.curve_fit import Curve, power_law, scores_of
from pixelwise.metrics import ConfusionMatrix


def made(random, sizes, repeats, *, top=0.8, drop=0.8, power=0.5, chance=0.02, pictures=10, pixels=10_000):
    """Sums (M, T, 3, 1) of one class whose IoU follows the law, with chance in trainings and in pictures."""
    hard = random.normal(0, 0.05, pictures)
    sums = []
    for size in [size for size in sizes for _ in range(repeats)]:
        iou = np.clip(top - drop * size**-power + random.normal(0, chance) + hard, 0.01, 0.99)
        hit = (iou * pixels).astype(np.int64)
        sums.append(np.stack([hit, np.full(pictures, pixels), hit], 1)[:, :, None])
    return np.array(sums), [size for size in sizes for _ in range(repeats)]


def test_scores_are_those_of_the_confusion_matrix():
    random = np.random.default_rng(0)
    matrix = ConfusionMatrix(4)
    target = random.integers(0, 3, 500)  # class 3 is only predicted
    matrix.update(random.integers(0, 4, 500), target)
    n = matrix.counts
    found = scores_of(np.stack([n.diagonal(), n.sum(1), n.sum(0)]))
    scores = matrix.scores()
    assert float(found["mean_iou"]) == pytest.approx(scores.mean_iou)
    for k, entry in enumerate(scores.per_class):
        for name in ("iou", "precision", "recall"):
            assert float(found[name][k]) == pytest.approx(getattr(entry, name), nan_ok=True)


@pytest.mark.parametrize(("top", "drop", "power"), [(0.8, 0.6, 0.5), (0.95, 2.0, 1.0), (0.6, 0.0, 0.5)])
def test_the_law_is_found_again_and_never_falls_or_passes_one(top, drop, power):
    sizes, at = [4, 8, 16, 32], np.array([4.0, 32.0, 64.0, 1e9])
    exact = np.array([[top - drop * s**-power for s in sizes]])
    expected = [top - drop * s**-power for s in at]
    np.testing.assert_allclose(power_law(sizes, exact, at)[0], expected, atol=1e-6)
    wild = np.random.default_rng(0).uniform(0, 1, (200, 4))
    found = power_law(sizes, wild, at)
    assert (np.diff(found, axis=1) >= -1e-12).all()
    assert (found <= 1 + 1e-12).all()


def test_no_other_law_of_the_grid_is_nearer():
    """Brute force over a, b and c for a noisy curve."""
    sizes = np.array([5.0, 10, 20, 40])
    scores = np.array([0.42, 0.55, 0.56, 0.63])
    a, b, c = np.meshgrid(np.linspace(0.5, 1, 51), np.linspace(0, 2, 101), np.linspace(0.05, 2, 40), indexing="ij")
    error = sum((y - a + b * s**-c) ** 2 for s, y in zip(sizes, scores, strict=True))
    place = np.unravel_index(error.argmin(), error.shape)
    best = error[place], (a - b * 80**-c)[place]
    found = power_law(sizes.astype(int).tolist(), scores[None], np.append(sizes, 80.0))[0]
    assert ((scores - found[:4]) ** 2).sum() <= best[0] + 1e-12
    assert found[4] == pytest.approx(best[1], abs=0.02)


def test_the_forecasts_interval_holds_the_true_gain_about_nine_times_in_ten():
    random = np.random.default_rng(1)
    sizes, true = [5, 11, 22, 34], 0.8 * (34**-0.5 - 68**-0.5)
    forecasts = [Curve(*made(random, sizes, 3)).forecast() for _ in range(40)]
    held = sum(f.gain.low <= true <= f.gain.high for f in forecasts)
    assert held >= 33
    assert sum(f.verdict == "gain" for f in forecasts) >= 36


def test_where_more_pictures_bring_nothing_no_gain_is_claimed():
    random = np.random.default_rng(2)
    found = [Curve(*made(random, [5, 11, 22, 34], 3, drop=0.0)).forecast().verdict for _ in range(20)]
    assert found.count("gain") <= 1
    assert "hardly" in found


def test_one_repeat_or_two_sizes_carry_no_forecast_and_one_repeat_no_interval():
    random = np.random.default_rng(3)
    alone = Curve(*made(random, [5, 10, 20], 1))
    assert alone.forecast().verdict == "unknown"
    assert np.isnan(alone.at("mean_iou")[0].low)
    assert alone.at("mean_iou")[0].value == pytest.approx(0.8 - 0.8 * 5**-0.5, abs=0.1)
    assert Curve(*made(random, [5, 10], 3)).forecast().verdict == "unknown"


def test_a_class_in_no_measured_picture_has_no_score_and_no_forecast():
    sums, sizes = made(np.random.default_rng(4), [5, 10, 20], 2)
    both = np.concatenate([sums, np.zeros_like(sums)], 3)
    curve = Curve(both, sizes)
    assert np.isnan(curve.at("iou", 1)[0].value)
    assert curve.forecast(1).verdict == "unknown"
    assert curve.at("mean_iou")[0] == curve.at("iou", 0)[0]
