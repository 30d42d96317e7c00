"""Every protocol against its evaluator, restated by loops over pixels; and against scikit-learn."""

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pixelwise.errors import BadOption, LabelError, ShapeError, UnknownName
from pixelwise.labels import LabelSet
from pixelwise.metrics import ConfusionMatrix, Scores
from pixelwise.protocols import PROTOCOLS, protocol
from pixelwise.protocols.rules import USUAL

VOID = 255
PLAIN = ("fcn", "voc", "refinenet", "semseg", "torchvision")


def counted(pairs, k, *, ignored=(), vanish=False, other=False):
    """n[i][j] by loops, column k holds predictions that are no class."""
    n = [[0] * (k + 1) for _ in range(k)]
    for prediction, target in pairs:
        for p, t in zip(prediction.ravel().tolist(), target.ravel().tolist(), strict=True):
            if t < k and t not in ignored:
                n[t][p if p < k else k] += 1
    return n


def naive(rule, pairs, k, outside=()):
    """{measure: value} as the evaluator of that name computes them; `outside` are classes in no mean."""
    ignored = outside if rule == "context59" else ()
    n = counted(pairs, k, ignored=ignored)
    ious, accuracies, weighted, right, pixels, labelled = [], [], 0.0, 0, 0, 0
    for i in range(k):
        row = sum(n[i][:k]) if rule == "camvid_segnet" else sum(n[i])
        column = sum(n[j][i] for j in range(k))
        hit, union = n[i][i], row + column - n[i][i]
        right, pixels, labelled = right + hit, pixels + sum(n[i]), labelled + row
        iou = hit / union if union else math.nan
        accuracy = hit / row if row else math.nan
        if rule in ("semseg", "ade20k"):
            small = 1e-10 if rule == "semseg" else np.spacing(1.0)
            iou, accuracy = hit / (union + small), hit / (row + small)
        elif rule == "camvid_segnet":
            iou, accuracy = iou if row else 0.0, accuracy if row else 0.0
        elif rule == "refinenet" and not row:
            iou = math.nan
        if row and not math.isnan(iou):
            weighted += row * iou
        if i not in outside:
            ious.append(iou)
            accuracies.append(accuracy)
    strict = rule in ("voc", "torchvision")
    known = ious if strict else [v for v in ious if not math.isnan(v)]
    accuracies = [v for v in accuracies if not math.isnan(v)]
    return {
        "mean_iou": sum(known) / len(known) if known else math.nan,
        "mean_accuracy": sum(accuracies) / len(accuracies) if accuracies else math.nan,
        "pixel_accuracy": right / pixels if pixels else 0.0 if rule in ("semseg", "ade20k") else math.nan,
        "frequency_weighted_iou": weighted / labelled if labelled else math.nan,
    }


def random_pairs(seed, k, void_share, strange, count=3, absent=()):
    """Pairs of maps in which some classes never occur, and some predictions are no class."""
    random = np.random.default_rng(seed)
    present = [i for i in range(k) if i not in absent]
    pairs = []
    for _ in range(count):
        shape = random.integers(1, 9, 2)
        target = random.choice(present, shape).astype(np.uint8)
        prediction = np.where(random.random(shape) < 0.5, target, random.choice(present, shape)).astype(np.uint8)
        target[random.random(shape) < void_share] = VOID
        if strange:
            prediction[random.random(shape) < 0.2] = k
        pairs.append((prediction, target))
    return pairs


def fill(accumulator, pairs):
    for i, (prediction, target) in enumerate(pairs):
        accumulator.update(prediction, target, name=str(i))
    return accumulator


def check(scores, expected):
    for name, value in expected.items():
        assert getattr(scores, name) == pytest.approx(value, nan_ok=True), name


@settings(max_examples=60, deadline=None)
@given(
    rule=st.sampled_from(PLAIN),
    k=st.integers(1, 7),
    seed=st.integers(0, 9999),
    void_share=st.sampled_from([0.0, 0.3, 1.0]),
    absent=st.sampled_from([(), (0,), (1, 3)]),
)
def test_scores_are_those_of_the_evaluator(rule, k, seed, void_share, absent):
    absent = () if k < 5 else absent
    strange = PROTOCOLS[rule].strange_predictions != "refused"
    pairs = random_pairs(seed, k, void_share, strange, absent=absent)
    check(fill(PROTOCOLS[rule].accumulator(k), pairs).scores(), naive(rule, pairs, k))


@settings(max_examples=25, deadline=None)
@given(rule=st.sampled_from(["camvid", "camvid_segnet"]), seed=st.integers(0, 9999), strange=st.booleans())
def test_camvid_counts_a_twelfth_class_as_a_miss_or_not_at_all(rule, seed, strange):
    pairs = random_pairs(seed, 11, 0.2, strange, absent=(2, 7))
    check(fill(PROTOCOLS[rule].accumulator(11), pairs).scores(), naive(rule, pairs, 11))


def test_segnets_script_gives_a_predicted_but_absent_class_zero_and_keeps_vanished_pixels_in_the_accuracy():
    accumulator = PROTOCOLS["camvid_segnet"].accumulator(11)
    accumulator.update(np.array([0, 0, 1, 11]), np.array([0, 0, 0, 0]))
    scores = accumulator.scores()
    assert scores.mean_iou == pytest.approx((2 / 3) / 11)
    assert scores.pixel_accuracy == 0.5
    assert scores.mean_accuracy == pytest.approx((2 / 3) / 11)


def test_the_challenge_of_ade20k_means_over_150_and_adds_the_accuracy():
    pairs = random_pairs(1, 150, 0.2, True, absent=(0, 149))
    scores = fill(PROTOCOLS["ade20k"].accumulator(150), pairs).scores()
    expected = naive("ade20k", pairs, 150)
    check(scores, expected)
    assert scores.extra["challenge_score"] == pytest.approx((expected["mean_iou"] + expected["pixel_accuracy"]) / 2)


def context(names):
    return LabelSet(("background", *(f"c{i}" for i in range(names))))


def test_context_counts_background_or_leaves_it_out():
    pairs = random_pairs(2, 60, 0.1, False, count=4)
    check(fill(PROTOCOLS["context60"].accumulator(context(59)), pairs).scores(), naive("context60", pairs, 60))
    check(fill(PROTOCOLS["context59"].accumulator(context(59)), pairs).scores(), naive("context59", pairs, 60, (0,)))
    small = random_pairs(3, 34, 0.1, False)
    check(fill(PROTOCOLS["context33"].accumulator(context(33)), small).scores(), naive("context59", small, 34, (0,)))


def test_a_network_without_background_is_scored_by_context59_too():
    pairs = random_pairs(4, 59, 0.3, False)
    accumulator = PROTOCOLS["context59"].accumulator(LabelSet(tuple(f"c{i}" for i in range(59))))
    check(fill(accumulator, pairs).scores(), naive("fcn", pairs, 59))


SIFT_FLOW = (
    "awning balcony bird boat bridge building bus car cow crosswalk desert door fence field grass moon mountain person "
    "plant pole river road rock sand sea sidewalk sign sky staircase streetlight sun tree window"
)


def test_sift_flow_means_over_thirty_classes_and_scores_the_geometric_head():
    labels = {"labels": LabelSet(tuple(SIFT_FLOW.split())), "geometric": LabelSet(("sky", "horizontal", "vertical"))}
    random = np.random.default_rng(5)
    pairs = random_pairs(5, 33, 0.2, False, absent=(8, 10, 15))
    for prediction, _ in pairs:
        prediction[0, 0] = 8  # a cow, where none is
    accumulator = PROTOCOLS["sift_flow"].accumulator(labels)
    right = pixels = 0
    for prediction, target in pairs:
        truth = random.integers(0, 3, target.shape).astype(np.uint8)
        guess = random.integers(0, 3, target.shape).astype(np.uint8)
        truth[target == VOID] = VOID
        right, pixels = right + (guess == truth).sum(), pixels + (truth != VOID).sum()
        accumulator.update({"labels": prediction, "geometric": guess}, {"labels": target, "geometric": truth})
    scores = accumulator.scores()
    check(scores, naive("fcn", pairs, 33, (8, 10, 15)))
    assert scores.extra["geometric_pixel_accuracy"] == pytest.approx(right / pixels)
    assert math.isnan(scores.per_class[8].iou)
    assert scores.classes_left_out >= 3


def test_pixels_of_classes_left_out_do_not_weigh():
    rule = dataclasses.replace(PROTOCOLS["fcn"], left_out=("b",))
    accumulator = rule.accumulator(LabelSet(("a", "b", "c")))
    target = np.array([0, 0, 1, 1, 1, 2])
    accumulator.update(target, target)
    assert accumulator.scores().frequency_weighted_iou == 1
    accumulator.update(np.array([0, 2, 1]), np.array([0, 0, 1]))
    # a: 3 of 4 pixels; c: 1 pixel and a false one; b weighs nothing
    assert accumulator.scores().frequency_weighted_iou == pytest.approx((4 * 3 / 4 + 1 * 1 / 2) / 5)
    assert "frequency-weighted IoU by their pixels" in PROTOCOLS["sift_flow"].one_line


def test_sift_flow_asks_for_its_heads_and_names():
    labels = LabelSet(tuple(SIFT_FLOW.split()))
    accumulator = PROTOCOLS["sift_flow"].accumulator(labels)
    with pytest.raises(BadOption, match="counts the heads labels, geometric, but got one map: give {head: map}"):
        accumulator.update(np.zeros((2, 2), int), np.zeros((2, 2), int))
    with pytest.raises(BadOption, match="counts the head geometric, but got only labels"):
        accumulator.update({"labels": np.zeros((2, 2), int)}, {"labels": np.zeros((2, 2), int)})
    with pytest.raises(
        LabelError, match="leaves the classes cow, desert, moon out of its means, but none is called cow"
    ):
        PROTOCOLS["sift_flow"].accumulator(33)
    with pytest.raises(LabelError, match="for 3 classes of the head geometric, got 2"):
        PROTOCOLS["sift_flow"].accumulator({"labels": labels, "geometric": LabelSet(("a", "b"))})


def test_a_class_that_occurs_nowhere_is_left_out_zero_or_makes_the_mean_not_a_number():
    pair = [(np.array([0, 1, 1]), np.array([0, 1, 0]))]
    means = {rule: fill(PROTOCOLS[rule].accumulator(3), pair).scores().mean_iou for rule in PLAIN}
    assert means["fcn"] == means["refinenet"] == pytest.approx(0.5)
    assert means["semseg"] == pytest.approx(1 / 3)
    assert math.isnan(means["voc"])
    assert math.isnan(means["torchvision"])


def test_a_class_predicted_but_in_no_target_counts_except_by_refinenets_rule():
    pair = [(np.array([0, 1]), np.array([0, 0]))]
    means = {rule: fill(PROTOCOLS[rule].accumulator(2), pair).scores().mean_iou for rule in PLAIN}
    assert means["refinenet"] == 0.5
    assert {means[rule] for rule in PLAIN if rule not in ("refinenet", "semseg")} == {0.25}


def test_scikit_learn_agrees_where_every_class_occurs():
    from sklearn.metrics import accuracy_score, balanced_accuracy_score, jaccard_score

    random = np.random.default_rng(6)
    target, prediction = random.integers(0, 5, 3000), random.integers(0, 5, 3000)
    void = random.random(3000) < 0.2
    marked = np.where(void, VOID, target)
    for rule in PLAIN:
        scores = fill(PROTOCOLS[rule].accumulator(5), [(prediction, marked)]).scores()
        assert scores.mean_iou == pytest.approx(jaccard_score(target[~void], prediction[~void], average="macro"))
        assert scores.pixel_accuracy == pytest.approx(accuracy_score(target[~void], prediction[~void]))
        assert scores.mean_accuracy == pytest.approx(balanced_accuracy_score(target[~void], prediction[~void]))
        weights = jaccard_score(target[~void], prediction[~void], average="weighted")
        assert scores.frequency_weighted_iou == pytest.approx(weights)


def test_the_fcn_rule_is_the_projects_own_metric():
    pairs = random_pairs(7, 6, 0.2, False, absent=(4,))
    matrix = ConfusionMatrix(6)
    for prediction, target in pairs:
        matrix.update(prediction, target)
    own, by_rule = matrix.scores(), fill(PROTOCOLS["fcn"].accumulator(6), pairs).scores()
    for field in dataclasses.fields(Scores):
        if field.name not in ("per_class", "confusion"):
            assert getattr(own, field.name) == getattr(by_rule, field.name)
    assert (own.confusion == by_rule.confusion).all()
    assert [c.pixels for c in own.per_class] == [c.pixels for c in by_rule.per_class]


def test_labels_beyond_the_classes_are_dropped_by_fcn_and_refused_by_voc():
    target, prediction = np.array([[0, 34, -1, 255]]), np.array([[0, 1, 1, 1]])
    accumulator = PROTOCOLS["fcn"].accumulator(2)
    accumulator.update(prediction, target)
    assert accumulator.confusions.tolist() == [[[1, 0], [0, 0]]]
    with pytest.raises(LabelError, match="a picture holds 34 at row 0, column 1; classes are 0–1 and void is 255"):
        PROTOCOLS["voc"].accumulator(2).update(prediction, target, name="a picture")


@pytest.mark.parametrize("rule", ["fcn", "voc", "torchvision", "refinenet"])
def test_predictions_of_no_class_are_refused_even_on_void(rule):
    accumulator = PROTOCOLS[rule].accumulator(2)
    with pytest.raises(LabelError, match="b: a prediction holds 255, but classes are 0–1"):
        accumulator.update(np.array([[0, 255]], np.uint8), np.array([[0, 255]], np.uint8), name="b")
    assert accumulator.names == []


@pytest.mark.parametrize("rule", ["fcn", "semseg"])
def test_another_size_is_refused(rule):
    with pytest.raises(ShapeError, match=r"c: prediction is \(2, 2\) but target is \(2, 3\); predict at the target's"):
        PROTOCOLS[rule].accumulator(2).update(np.zeros((2, 2), int), np.zeros((2, 3), int), name="c")


def test_a_target_one_beyond_the_classes_is_refused_where_misses_have_a_column():
    with pytest.raises(LabelError, match="d holds 2, but classes are 0–1"):
        PROTOCOLS["semseg"].accumulator(2).update(np.array([0]), np.array([2]), name="d")


@pytest.mark.parametrize("k", [254, 255, 256, 300])
def test_many_classes_have_a_void_that_is_none_of_them(k):
    for rule in ("fcn", "semseg"):
        accumulator = PROTOCOLS[rule].accumulator(k)
        void = 255 if k <= 255 else 65_535
        wide = np.uint8 if k <= 255 else np.uint16
        accumulator.update(np.array([k - 1, 0, 3], wide), np.array([k - 1, 1, void], wide))
        counts = accumulator.confusions[0]
        assert counts.sum() == 2
        assert counts[k - 1, k - 1] == counts[1, 0] == 1
    missed = PROTOCOLS["semseg"].accumulator(k)
    missed.update(np.array([255 if k <= 255 else 65_535, -1]), np.array([0, 0]))
    assert missed.confusions[0, 0, k] == 2


def test_states_of_pictures_sum_to_the_whole_and_give_the_scores_of_a_part():
    pairs = random_pairs(8, 5, 0.2, False, count=6)
    whole = fill(PROTOCOLS["fcn"].accumulator(5), pairs)
    assert whole.states.shape == (6, whole.state_size)
    assert (whole.states.sum(0) == whole.total).all()
    part = fill(PROTOCOLS["fcn"].accumulator(5), pairs[:2]).scores()
    assert whole.measures(whole.states[:2].sum(0))["mean_iou"] == part.mean_iou
    every = whole.measures(whole.states)
    for i, pair in enumerate(pairs):
        assert every["mean_iou"][i] == fill(PROTOCOLS["fcn"].accumulator(5), [pair]).scores().mean_iou


def test_two_processes_merge_to_one_count():
    pairs = random_pairs(9, 5, 0.2, False, count=4)
    first = fill(PROTOCOLS["fcn"].accumulator(5), pairs[:3])
    first.merge(fill(PROTOCOLS["fcn"].accumulator(5), pairs[3:]))
    assert (first.states == fill(PROTOCOLS["fcn"].accumulator(5), pairs).states).all()
    assert len(first.names) == 4


def test_a_record_names_its_protocol_and_holds_its_own_measures():
    accumulator = PROTOCOLS["ade20k"].accumulator(150)
    accumulator.update(np.zeros((2, 2), int), np.zeros((2, 2), int))
    record = accumulator.scores().to_record()
    assert record["protocol"] == "ade20k"
    assert record["note"].startswith("ade20k: pixels whose target is one of 150 classes")
    assert record["pictures"] == 1
    assert record["challenge_score"] == pytest.approx((1 / 150 + 1) / 2, abs=1e-6)


def test_nothing_counted_has_no_scores():
    scores = PROTOCOLS["fcn"].accumulator(2).scores()
    assert math.isnan(scores.mean_iou)
    assert math.isnan(scores.frequency_weighted_iou)


def test_protocols_are_refused_for_other_classes_instances_and_names():
    with pytest.raises(LabelError, match="protocol ade20k is for 150 classes, got 21: evaluate by fcn"):
        PROTOCOLS["ade20k"].accumulator(21)
    with pytest.raises(BadOption, match="protocol voc takes no instances"):
        PROTOCOLS["voc"].accumulator(2).update(np.zeros(2, int), np.zeros(2, int), instances=np.zeros(2, int))
    with pytest.raises(UnknownName, match="no protocol is called 'vocc'; did you mean 'voc'"):
        protocol("vocc")
    with pytest.raises(BadOption, match="expected the label set of the head labels, got geometric"):
        PROTOCOLS["fcn"].accumulator({"geometric": LabelSet(("a",))})


def test_every_protocol_says_what_it_is_and_gives_the_measures_it_names():
    labels = {
        "sift_flow": LabelSet(tuple(SIFT_FLOW.split())),
        "context60": context(59),
        "context59": context(59),
        "context33": context(33),
        "ade20k": 150,
        "camvid": 11,
        "camvid_segnet": 11,
        "cityscapes": 19,
    }
    for name, rule in PROTOCOLS.items():
        assert name == rule.name
        assert rule.one_line.startswith(f"{name}: ")
        assert rule.source in rule.one_line
        accumulator = rule.accumulator(labels.get(name, 4))
        zero = np.zeros((2, 2), np.uint8)
        maps = {"labels": zero, "geometric": zero} if name == "sift_flow" else zero
        accumulator.update(maps, maps, instances=zero if name == "cityscapes" else None)
        assert set(accumulator.scores().extra) == set(rule.extra)
    assert set(USUAL.values()) <= set(PROTOCOLS)


@pytest.mark.real
def test_the_picture_of_fcns_demo_gives_the_reference_figures(real_data: Path):
    """VOC 2007_000129 with the authors' output: 0.84251 / 0.84546 / 0.71962 / 0.72737, measured independently."""
    from PIL import Image

    from pixelwise.labels import pack_color, voc_color

    table = {pack_color(voc_color(i)): i for i in range(21)} | {pack_color(voc_color(255)): 255}
    labels = LabelSet(tuple(map(str, range(21))), table=table, colors=True)

    def classes(name):
        picture = Image.open(real_data / "fcn-demo" / name)
        if picture.mode == "P":
            return np.asarray(picture)
        rgb = np.asarray(picture.convert("RGB")).astype(np.uint32)
        return labels.to_classes(rgb[..., 0] << 16 | rgb[..., 1] << 8 | rgb[..., 2])

    accumulator = PROTOCOLS["fcn"].accumulator(21)
    accumulator.update(classes("output.png"), classes("label.png"), name="2007_000129")
    scores = accumulator.scores()
    found = scores.pixel_accuracy, scores.mean_accuracy, scores.mean_iou, scores.frequency_weighted_iou
    assert found == pytest.approx((0.84251, 0.84546, 0.71962, 0.72737), abs=5e-6)
