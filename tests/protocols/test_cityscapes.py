"""The Cityscapes rule against a restatement of the script's rule, set by set; and its ids against the data set's."""

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pixelwise.data.sets.cityscapes import CATEGORIES, LABELS
from pixelwise.errors import BadOption, LabelError, ShapeError
from pixelwise.labels import LabelSet
from pixelwise.protocols import PROTOCOLS
from pixelwise.protocols.cityscapes import CLASSES, INSTANCE_SIZES, to_ids
from pixelwise.protocols.intervals import score_interval

EVALUATED = {i for i, _ in CLASSES}
WITH_INSTANCES = {"human": {24, 25}, "vehicle": {26, 27, 28, 29, 30, 31, 32, 33}}  # caravan and trailer, too


def share(hit, missed, false):
    return hit / (hit + missed + false) if hit + missed + false else math.nan


def mean(values):
    known = [v for v in values if not math.isnan(v)]
    return sum(known) / len(known) if known else math.nan


def naive(pictures):
    """{measure: value}; a picture is (predicted ids, true ids, instances), and its pixels are looked at one by one."""
    pixels = [
        tuple(map(int, p)) for predicted, true, _ in pictures for p in zip(predicted.ravel(), true.ravel(), strict=True)
    ]
    # Of a pixel with an ignored id nothing is asked.
    asked = [(p, t) for p, t in pixels if t in EVALUATED]

    def score(ids, falsely=None):
        hit = sum(t in ids and p in ids for p, t in asked)
        missed = sum(t in ids and p not in ids for p, t in asked)
        false = sum(t not in ids and p in (falsely or ids) for p, t in asked)
        return hit, missed, false

    found = {"class": {i: share(*score({i})) for i in EVALUATED}}
    found["category"] = {name: share(*score(set(ids))) for name, ids in CATEGORIES.items()}
    weighted = {i: [0.0, 0.0] for i in INSTANCE_SIZES}
    by_category = {name: [0.0, 0.0] for name in WITH_INSTANCES}
    for predicted, _, instances in pictures:
        for number in set(instances.ravel().tolist()):
            cls = number // 1000
            if number <= 1000 or cls not in INSTANCE_SIZES:
                continue
            inside = predicted[instances == number].tolist()
            weight = INSTANCE_SIZES[cls] / len(inside)
            weighted[cls][0] += weight * sum(p == cls for p in inside)
            weighted[cls][1] += weight * sum(p != cls for p in inside)
            for name, ids in WITH_INSTANCES.items():
                if cls in ids:
                    by_category[name][0] += weight * sum(p in ids for p in inside)
                    by_category[name][1] += weight * sum(p not in ids for p in inside)
    found["instance"] = {i: share(*weighted[i], score({i})[2]) for i in INSTANCE_SIZES}
    found["category instance"] = {
        name: share(*by_category[name], score(set(CATEGORIES[name]), ids)[2]) for name, ids in WITH_INSTANCES.items()
    }
    return found


def picture(random, ids, shape=(9, 11)):
    """(predicted, true, instances): a few ids, groups of them, and instances of different sizes."""
    true = random.choice(ids, shape)
    predicted = np.where(random.random(shape) < 0.5, true, random.choice(ids, shape))
    instances = true.astype(np.int32)
    single = np.isin(true, range(24, 34)) & (random.random(shape) < 0.8)
    instances[single] = true[single] * 1000 + random.integers(0, 4, shape)[single]
    return predicted.astype(np.uint8), true.astype(np.uint8), instances


def check(accumulator, expected):
    scores = accumulator.scores()
    for place, (cls, _) in enumerate(CLASSES):
        assert scores.per_class[place].iou == pytest.approx(expected["class"][cls], nan_ok=True)
    names = dict(CLASSES)
    tables = {table: dict(values) for table, values in scores.tables.items()}
    assert tables["category_iou"] == pytest.approx(expected["category"], nan_ok=True)
    instance = {names[i]: value for i, value in expected["instance"].items()}
    assert tables["instance_iou"] == pytest.approx(instance, nan_ok=True)
    assert tables["category_instance_iou"] == pytest.approx(expected["category instance"], nan_ok=True)
    assert scores.mean_iou == pytest.approx(mean(expected["class"].values()), nan_ok=True)
    assert scores.extra["mean_category_iou"] == pytest.approx(mean(expected["category"].values()), nan_ok=True)
    assert scores.extra["mean_instance_iou"] == pytest.approx(mean(expected["instance"].values()), nan_ok=True)
    assert scores.extra["mean_category_instance_iou"] == pytest.approx(
        mean(expected["category instance"].values()), nan_ok=True
    )


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 99_999), kinds=st.integers(1, 34))
def test_scores_are_those_of_the_script_for_any_ids(seed, kinds):
    random = np.random.default_rng(seed)
    ids = random.choice(34, kinds, replace=False)
    pictures = [picture(random, ids) for _ in range(3)]
    accumulator = PROTOCOLS["cityscapes"].accumulator(34)
    for predicted, true, instances in pictures:
        accumulator.update(predicted, true, instances=instances)
    check(accumulator, naive(pictures))


def test_predictions_of_ignored_ids_are_misses_and_ignored_pixels_never_false():
    road, parking, sky = 7, 9, 23
    accumulator = PROTOCOLS["cityscapes"].accumulator(34)
    accumulator.update(np.array([road, parking, road, sky]), np.array([road, road, parking, sky]))
    scores = accumulator.scores()
    assert scores.per_class[0].iou == 0.5
    assert scores.per_class[10].iou == 1
    assert scores.mean_iou == 0.75
    assert scores.tables["category_iou"]["flat"] == 0.5
    assert scores.classes_left_out == 17
    assert scores.confusion.shape == (19, 19)
    assert "instance_iou" not in scores.tables


def test_a_license_plate_is_ignored_however_it_is_written():
    accumulator = PROTOCOLS["cityscapes"].accumulator(34)
    accumulator.update(np.array([26, 26, 26], np.uint8), np.array([255, 26, 0], np.uint8))
    accumulator.update(np.array([26]), np.array([-1]))
    assert accumulator.scores().per_class[13].iou == 1


def test_train_ids_score_as_their_ids():
    random = np.random.default_rng(2)
    by_train, by_id = PROTOCOLS["cityscapes"].accumulator(19), PROTOCOLS["cityscapes"].accumulator(34)
    for _ in range(3):
        predicted = random.integers(0, 19, (7, 8)).astype(np.uint8)
        target = random.integers(0, 19, (7, 8)).astype(np.uint8)
        target[random.random((7, 8)) < 0.3] = 255
        by_train.update(predicted, target)
        by_id.update(to_ids(predicted), to_ids(target))
    assert (by_train.states == by_id.states).all()
    published = PROTOCOLS["fcn"].accumulator(19)  # what ablations do: trainIds, 255 ignored
    random = np.random.default_rng(2)
    for _ in range(3):
        predicted = random.integers(0, 19, (7, 8)).astype(np.uint8)
        target = random.integers(0, 19, (7, 8)).astype(np.uint8)
        target[random.random((7, 8)) < 0.3] = 255
        published.update(predicted, target)
    assert published.scores().mean_iou == pytest.approx(by_train.scores().mean_iou)
    assert published.scores().pixel_accuracy == pytest.approx(by_train.scores().pixel_accuracy)


def test_ids_and_names_are_the_data_sets():
    assert tuple(name for _, name in CLASSES) == LABELS.names
    assert all(LABELS.table[i] == place for place, (i, _) in enumerate(CLASSES))
    assert to_ids(np.arange(19)).tolist() == [i for i, _ in CLASSES]
    assert sorted(i for ids in CATEGORIES.values() for i in ids) == sorted(EVALUATED)
    sizes = {24: 3462.4756, 25: 3930.4789, 26: 12794.0202, 27: 27855.1264, 28: 35732.1511, 31: 67583.7075}
    sizes |= {32: 6298.7201, 33: 4672.3249}
    assert pytest.approx(sizes, abs=1e-4) == INSTANCE_SIZES


def test_measures_of_many_sums_at_once_are_those_of_each():
    random = np.random.default_rng(3)
    accumulator = PROTOCOLS["cityscapes"].accumulator(34)
    for i in range(4):
        predicted, true, instances = picture(random, np.arange(34))
        accumulator.update(predicted, true, name=str(i), instances=instances)
    every = accumulator.measures(accumulator.states)
    for i, state in enumerate(accumulator.states):
        alone = accumulator.measures(state)
        for name, values in every.items():
            assert values[i] == pytest.approx(float(alone[name])), name
    found = score_interval(accumulator, "mean_instance_iou", samples=100)
    assert found.low <= found.value <= found.high


def test_what_is_no_id_or_not_its_frame_is_refused():
    accumulator = PROTOCOLS["cityscapes"].accumulator(19)
    zero = np.zeros((2, 2), np.uint8)
    with pytest.raises(LabelError, match="frame: a prediction holds 19; expected trainIds 0–18 and void 255"):
        accumulator.update(zero + 19, zero, name="frame")
    with pytest.raises(ShapeError, match=r"frame: prediction is \(2, 2\) but instances are \(3, 3\)"):
        accumulator.update(zero, zero, name="frame", instances=np.zeros((3, 3), int))
    with pytest.raises(LabelError, match="frame: instances hold 34000; expected ids 0–33"):
        accumulator.update(zero, zero, name="frame", instances=np.full((2, 2), 34_000))
    accumulator.update(zero, zero, instances=np.full((2, 2), 26_001))
    with pytest.raises(BadOption, match="frame: expected instances for every picture or for none"):
        accumulator.update(zero, zero, name="frame")
    with pytest.raises(LabelError, match=r"for 19 classes \(trainIds\) or 34 \(label ids\), got 21"):
        PROTOCOLS["cityscapes"].accumulator(21)
    mixed = LabelSet((*LABELS.names[1:], LABELS.names[0]))
    with pytest.raises(LabelError, match="in the order of their trainIds, got sidewalk at 0"):
        PROTOCOLS["cityscapes"].accumulator(mixed)


@pytest.mark.real
def test_a_published_frame_scores_one_against_itself_and_by_the_script_against_a_shifted_one(real_data: Path):
    from PIL import Image

    folder = real_data / "cityscapes-mini" / "gtFine" / "val" / "frankfurt"
    ids = np.asarray(Image.open(folder / "frankfurt_000000_000294_gtFine_labelIds.png"))
    instances = np.asarray(Image.open(folder / "frankfurt_000000_000294_gtFine_instanceIds.png")).astype(np.int32)
    accumulator = PROTOCOLS["cityscapes"].accumulator(34)
    accumulator.update(ids, ids, instances=instances)
    scores = accumulator.scores()
    assert scores.mean_iou == scores.extra["mean_category_iou"] == 1
    shifted = np.roll(ids, 3, 1)
    accumulator = PROTOCOLS["cityscapes"].accumulator(34)
    accumulator.update(shifted, ids, instances=instances)
    check(accumulator, naive([(shifted, ids, instances)]))
