"""Bootstrap intervals against resampling picture by picture, and against the normal interval of a plain mean."""

import numpy as np
import pytest

from pixelwise.errors import BadOption, DataError
from pixelwise.metrics import ConfusionMatrix
from pixelwise.protocols import PROTOCOLS
from pixelwise.protocols.intervals import difference, interval, score_difference, score_interval


def counted(seed, right=0.7, count=8, rule="fcn"):
    random = np.random.default_rng(100)
    guess = np.random.default_rng(seed)
    accumulator, pairs = PROTOCOLS[rule].accumulator(4), []
    for i in range(count):
        target = random.integers(0, 4, (6, 7)).astype(np.uint8)
        prediction = np.where(guess.random((6, 7)) < right, target, guess.integers(0, 4, (6, 7))).astype(np.uint8)
        target[0, random.integers(0, 7)] = 255
        accumulator.update(prediction, target, name=str(i))
        pairs.append((prediction, target))
    return accumulator, pairs


def test_samples_are_scores_of_pictures_drawn_with_replacement():
    accumulator, pairs = counted(1)
    found = score_interval(accumulator, samples=200, level=0.9, seed=3)
    weights = np.random.default_rng(3).multinomial(8, np.full(8, 1 / 8), size=200)
    values = []
    for times in weights:
        matrix = ConfusionMatrix(4)
        for (prediction, target), number in zip(pairs, times, strict=True):
            for _ in range(number):
                matrix.update(prediction, target)
        values.append(matrix.scores().mean_iou)
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(values, [0.05, 0.95])))
    assert found.value == accumulator.scores().mean_iou
    assert (found.samples, found.pictures, found.seed, found.level) == (200, 8, 3, 0.9)


def test_the_same_seed_gives_the_same_interval_however_samples_are_batched(monkeypatch):
    from pixelwise.protocols import intervals

    accumulator, _ = counted(2)
    whole = score_interval(accumulator, samples=300)
    assert score_interval(accumulator, samples=300) == whole
    assert score_interval(accumulator, samples=300, seed=1) != whole
    monkeypatch.setattr(intervals, "_BYTES", 8 * accumulator.state_size * 7)
    batched = score_interval(accumulator, samples=300)
    assert (batched.low, batched.high) == pytest.approx((whole.low, whole.high))


def test_the_interval_of_a_mean_is_about_the_normal_one():
    values = np.random.default_rng(4).normal(5, 2, 400)
    states = np.stack([values, np.ones(400)], 1)
    found = interval(states, lambda sums: sums[..., 0] / sums[..., 1], samples=4000)
    error = values.std() / 20
    assert found.low == pytest.approx(values.mean() - 1.96 * error, abs=0.15 * error)
    assert found.high == pytest.approx(values.mean() + 1.96 * error, abs=0.15 * error)


def test_a_paired_difference_is_narrower_than_its_parts_and_sure_where_one_is_better_everywhere():
    random = np.random.default_rng(5)
    hard = random.normal(0, 1, 60)
    first = np.stack([hard, np.ones(60)], 1)
    second = np.stack([hard + 0.1 + random.normal(0, 0.05, 60), np.ones(60)], 1)

    def mean(sums):
        return sums[..., 0] / sums[..., 1]

    found = difference(first, second, mean)
    alone = interval(first, mean)
    assert found.low > 0
    assert found.above_zero == 1
    assert found.high - found.low < 0.1 * (alone.high - alone.low)


def test_models_are_paired_by_the_names_of_their_pictures():
    (first, _), (second, pairs) = counted(6), counted(7, right=0.9)
    shuffled = PROTOCOLS["fcn"].accumulator(4)
    for i in (3, 1, 0, 7, 6, 2, 5, 4):
        shuffled.update(*pairs[i], name=str(i))
    expected = score_difference(first, second, "pixel_accuracy", samples=200)
    assert score_difference(first, shuffled, "pixel_accuracy", samples=200) == expected
    assert expected.value == pytest.approx(second.scores().pixel_accuracy - first.scores().pixel_accuracy)


def test_samples_whose_score_is_not_a_number_are_left_out_and_counted():
    accumulator = PROTOCOLS["voc"].accumulator(2)
    accumulator.update(np.array([0, 0]), np.array([0, 0]), name="a")
    accumulator.update(np.array([0, 1]), np.array([1, 1]), name="b")
    found = score_interval(accumulator, samples=400)
    assert 150 < found.samples < 400
    assert str(found).endswith(f"{found.samples} bootstrap samples of 2 pictures, seed 0)")


def test_a_single_picture_has_no_interval():
    found = score_interval(counted(8, count=1)[0], samples=10)
    assert np.isnan([found.low, found.high, found.above_zero]).all()
    assert found.to_record()["low"] is None
    assert found.to_record()["value"] == pytest.approx(found.value, abs=1e-6)


def test_what_cannot_be_resampled_is_refused():
    (first, _), (second, _) = counted(9), counted(10, count=7)
    with pytest.raises(DataError, match="needs the same pictures; only one model has 7"):
        score_difference(first, second)
    with pytest.raises(DataError, match="needs the same pictures; got 8 and 7"):
        difference(first.states, second.states, lambda sums: sums[..., 0])
    with pytest.raises(BadOption, match="needs one protocol; got fcn of 4 classes and voc of 4"):
        score_difference(first, counted(9, rule="voc")[0])
    with pytest.raises(BadOption, match="protocol fcn has no measure 'miou'; it has mean_iou, mean_accuracy"):
        score_interval(first, "miou")
    with pytest.raises(DataError, match="there is nothing to resample: no picture was counted"):
        score_interval(PROTOCOLS["fcn"].accumulator(4))
    with pytest.raises(BadOption, match="a level between 0 and 1, got 100 and 95"):
        score_interval(first, samples=100, level=95)
    twice, other = counted(9)[0], counted(9)[0]
    twice.update(np.zeros((2, 2), int), np.zeros((2, 2), int), name="0")
    with pytest.raises(DataError, match="needs names that stand once"):
        score_difference(twice, other)
