"""A search of a CRF's settings, recomputed naively; on scenes where a CRF must help and where it must not."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from pixelwise.crf import CRFParameters, dense_crf
from pixelwise.data.sample import Sample
from pixelwise.errors import BadOption, DataError
from pixelwise.inference import crf_search
from pixelwise.inference.crf_counts import mean_iou
from pixelwise.inference.crf_search import PAPER_GRID, TRIAL_GRID, Grid, search_crf
from pixelwise.inference.evaluate import evaluate_network
from pixelwise.labels import LabelSet
from pixelwise.layers.head import Head
from pixelwise.layers.normalization import Normalization
from pixelwise.layers.resample import Resampling
from pixelwise.metrics import ConfusionMatrix

PLAIN = Normalization((0.0,) * 4, (1.0,) * 4)
GRID = Grid((2, 6), (4, 12), (10,))
COLORS = np.array([[40, 60, 200], [200, 80, 40], [60, 200, 90]])
VOID = 255


class Scored(nn.Module):
    """A network whose scores of class k are high where the picture's last channel is k."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def heads(self, images):
        # nearly (…, 1 of 3) scores; the channel is a class, disturbed by the scene itself
        distance = (images[:, 3:] - torch.arange(3.0).view(1, 3, 1, 1)) ** 2
        return {"labels": Head(-2 * distance * self.weight, Resampling.identity(tuple(images.shape[-2:])))}


class Scenes:
    """Pictures of four channels: colors, and the class that the network takes a pixel for.

    Args:
        helpful: regions of clear colors, and mistakes of single pixels; else thin lines in a picture of noise.
    """

    labels = {"labels": LabelSet(("a", "b", "c"))}  # noqa: RUF012

    def __init__(self, count, helpful=True, seed=0, size=(30, 36)):
        rng = np.random.default_rng(seed)
        self.samples = []
        for i in range(count):
            if helpful:
                target = rng.integers(0, 3, (-(-size[0] // 9), -(-size[1] // 9))).repeat(9, 0).repeat(9, 1)
                target = target[: size[0], : size[1]].astype(np.uint8)
                colors = COLORS[target] + rng.integers(-12, 13, (*size, 3))
                wrong = rng.random(size) < rng.uniform(0.1, 0.35)
            else:
                target = np.zeros(size, np.uint8)
                target[:, i % 4 :: 5], target[i % 3 :: 7] = 1, 2
                colors = rng.integers(0, 256, (*size, 3))
                wrong = rng.random(size) < 0.02
            seen = np.where(wrong, rng.integers(0, 3, size), target)
            target = np.where(rng.random(size) < 0.02, VOID, target).astype(np.uint8)
            image = np.concatenate([colors, seen[..., None]], 2).astype(np.uint8)
            self.samples.append(Sample(image, {"labels": target}, f"scene {i}"))

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, index):
        return self.samples[index]


def search(data, **options):
    return search_crf(Scored().eval(), PLAIN, data, **{"grid": GRID, "refine_rounds": 0, "steps": 3} | options)


def confusion(prediction, target):
    matrix = np.zeros((3, 3), int)
    for found, true in zip(prediction.ravel(), target.ravel(), strict=True):
        if true != VOID:
            matrix[true, found] += 1
    return matrix


def iou(matrices):
    """Mean IoU of summed matrices, class by class."""
    whole = sum(matrices)
    values = []
    for k in range(3):
        union = whole[k].sum() + whole[:, k].sum() - whole[k, k]
        if union:
            values.append(whole[k, k] / union)
    return sum(values) / len(values) if values else math.nan


def measured(data, settings, steps=3):
    """Confusion matrices [setting][picture] by `dense_crf`, and those without."""
    network, found, without = Scored(), {setting: [] for setting in settings}, []
    for sample in data.samples:
        with torch.no_grad():
            probabilities = network.heads(PLAIN(sample.image[None]))["labels"].scores.softmax(1)[0].numpy()
        without.append(confusion(probabilities.argmax(0), sample.targets["labels"]))
        for setting in settings:
            marginals = dense_crf(probabilities, sample.image, setting, steps, threads=1)
            found[setting].append(confusion(marginals.argmax(0), sample.targets["labels"]))
    return found, without


@pytest.mark.parametrize("count", [2, 7, 10])
def test_the_gain_is_that_of_a_naive_cross_validation(count):
    data = Scenes(count)
    found = search(data)
    settings = GRID.settings
    matrices, without = measured(data, settings)
    assert dict(found.tried) == pytest.approx({setting: iou(matrices[setting]) for setting in settings})
    assert found.parameters == max(settings, key=lambda setting: iou(matrices[setting]))
    behind = []
    for fold in np.array_split(range(count), min(5, count)):
        others = [i for i in range(count) if i not in fold]
        best = max(settings, key=lambda setting: iou([matrices[setting][i] for i in others]))
        behind += [matrices[best][i] for i in fold]
    assert found.mean_iou_without == pytest.approx(iou(without))
    assert found.mean_iou_with == pytest.approx(iou(behind))
    assert found.gain == pytest.approx(iou(behind) - iou(without))
    gains = []
    for times in np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), 2000):
        drawn = [i for i in range(count) for _ in range(times[i])]
        gains.append(iou([behind[i] for i in drawn]) - iou([without[i] for i in drawn]))
    if count >= 5:
        wider = 1.2 * stats.t.ppf(0.975, count - 1) / stats.norm.ppf(0.975) * math.sqrt(count / (count - 1))
        ends = [found.gain + wider * (end - found.gain) for end in np.percentile(gains, [2.5, 97.5])]
        assert found.interval == pytest.approx(ends, rel=0.01)
    assert math.isnan(found.interval[0]) == ("too few to tell whether it helps, 5 are needed" in found.note)
    assert found.judged == (count >= 5) == (not math.isnan(found.interval[0]))
    assert found.pictures == count


@pytest.mark.parametrize("count", [5, 8, 20])
def test_noise_is_seldom_taken_for_help(count):
    """Six settings with noise like the network's own, chosen as the search chooses: low > 0 in at most 5 %."""
    rng, searches, above = np.random.default_rng(count), 400, 0
    folds = np.array_split(np.arange(count), 5)
    for seed in range(searches):
        target = rng.integers(200, 1000, (count, 1, 3)).astype(float)
        share = np.clip(rng.uniform(0.6, 0.9, (count, 1, 3)) + rng.normal(0, 0.03, (count, 7, 1)), 0, 1)
        hit = target * share
        counts = np.stack([hit, target + 0 * hit, hit + np.roll(target - hit, 1, -1)], 2)
        without, settings = counts[:, 0], counts[:, 1:]
        behind = np.empty_like(without)
        for fold in folds:
            others = np.setdiff1d(np.arange(count), fold)
            behind[fold] = settings[fold, mean_iou(settings[others].sum(0)).argmax()]
        above += crf_search._interval(without, behind, seed)[0] > 0
    assert above <= 0.05 * searches


def test_pictures_without_labeled_pixels_are_no_evidence():
    data, some = Scenes(9), Scenes(9)
    some.samples = [sample for i, sample in enumerate(some.samples) if i not in (0, 4, 8)]
    for i in (0, 4, 8):
        data.samples[i].targets["labels"][:] = VOID
    found = search(data)
    assert found.pictures == 6 and found.note == "3 pictures without a labeled pixel left out"
    assert replace(found, note="") == search(some)
    for i in (1, 2):
        data.samples[i].targets["labels"][:] = VOID
    assert not search(data).judged and "4 pictures are too few" in search(data).note


def test_where_regions_have_colors_and_mistakes_are_single_it_helps():
    data = Scenes(8)
    found = search(data)
    assert found.helped
    assert found.gain > 0.1
    assert found.interval[0] < found.gain < found.interval[1]
    stored = found.refinement("val")
    assert stored.parameters == found.parameters
    assert stored.steps == 3
    low, high = found.interval
    assert stored.origin == (
        f"tuned on 8 pictures of val: mean IoU +{found.gain:.3f} (95 % interval +{low:.3f} to +{high:.3f})"
    )
    assert evaluate_network(Scored(), PLAIN, data, refinement=stored).scores.mean_iou == pytest.approx(
        found.tried[0][1], abs=1e-3
    )


def test_where_lines_are_thin_and_colors_are_noise_it_does_not():
    found = search(Scenes(8, helpful=False))
    assert not found.helped
    assert found.gain < 0


def test_threads_change_nothing_to_the_bit():
    data = Scenes(6)
    one, two = (search(data, threads=threads, refine_rounds=1) for threads in (1, 2))
    assert one == two
    assert one.to_record() == two.to_record()


def test_rounds_go_around_the_best_with_halved_steps():
    data = Scenes(4)
    found = search(data, refine_rounds=2)
    settings = list(GRID.settings)
    matrices, _ = measured(data, settings)
    for share in (0.5, 0.25):
        best = max(settings, key=lambda setting: iou(matrices[setting]))
        w1, alpha = best.bilateral_weight, best.bilateral_sigma_pixels
        for a, w in itertools.product(
            (max(alpha - 8 * share, alpha / 2), alpha, alpha + 8 * share),
            (max(w1 - 4 * share, w1 / 2), w1, w1 + 4 * share),
        ):
            setting = CRFParameters(
                bilateral_weight=w,
                bilateral_sigma_pixels=a,
                bilateral_sigma_color=10,
                spatial_weight=3,
                spatial_sigma_pixels=3,
                normalization="after",
            )
            if setting not in settings:
                settings.append(setting)
                matrices |= measured(data, [setting])[0]
    assert dict(found.tried) == pytest.approx({setting: iou(matrices[setting]) for setting in settings})
    assert found.parameters == max(settings, key=lambda setting: iou(matrices[setting]))


def test_of_many_pictures_few_choose_and_all_decide(monkeypatch):
    """The grid and the rounds on the few; on all the best of these, and each part's own choice without it."""
    monkeypatch.setattr(crf_search, "FEW", 3)
    monkeypatch.setattr(crf_search, "KEPT", 1)  # of each ranking one
    data, told = Scenes(7, size=(18, 20)), []
    found = search(data, refine_rounds=1, progress=lambda done, total: told.append((done, total)))
    chosen, settings = [0, 2, 4], list(GRID.settings)
    matrices, without = measured(data, settings)

    def best(pictures, among=settings):
        return max(among, key=lambda setting: iou([matrices[setting][i] for i in pictures]))

    around = crf_search._around(best(chosen), GRID, 0.5)
    assert len(around) == 8
    settings += around
    matrices |= measured(data, around)[0]
    folds = np.array_split(range(7), 5)
    by_fold = [best([i for i in chosen if i not in fold]) for fold in folds]
    tried = {best(chosen, settings[:4]), best(chosen), *by_fold}
    assert dict(found.tried) == pytest.approx({setting: iou(matrices[setting]) for setting in tried})
    assert found.parameters == best(range(7), sorted(tried, key=settings.index))
    behind = [matrices[setting][i] for setting, fold in zip(by_fold, folds, strict=True) for i in fold]
    assert found.gain == pytest.approx(iou(behind) - iou(without))
    done = [first for first, _ in told]
    assert done == sorted(done)
    assert told[0] == (1, 7 + 12 * 3 + 7 * 4)  # at most seven rankings
    assert told[-1] == (7 + 12 * 3 + len(tried) * 4,) * 2


def test_pictures_are_spread_over_the_set():
    data = Scenes(9)
    some = Scenes(9)
    some.samples = [data.samples[0], data.samples[3], data.samples[6]]
    assert search(data, pictures=3) == search(some)


def test_where_memory_is_short_fewer_pictures_are_taken_and_it_is_said():
    data = Scenes(8)
    each = 30 * 36 * (4 + 1 + 3 * 4)
    found = search(data, memory_bytes=5 * each)
    some = Scenes(8)
    some.samples = data.samples[::2]
    assert found.pictures == 4
    assert found.note.startswith(
        "the scores of 8 pictures would take more than 0.0 GiB of memory, so that 4 were taken"
    )
    assert found.tried == search(some).tried
    assert search(data, memory_bytes=8 * each).note == ""


def test_a_single_picture_is_not_judged():
    found = search(Scenes(1))
    assert not found.helped
    assert math.isnan(found.interval[0])
    assert found.note == "1 picture is too few to tell whether it helps, 5 are needed"
    assert found.to_record()["interval"] == [None, None]
    assert found.refinement("val").origin.startswith("tuned on 1 picture of val: mean IoU +")


def test_pictures_larger_than_a_tile_are_searched_in_tiles():
    network = Scored().eval()
    network.tiling = (24, 6, 1)
    data = Scenes(2)
    found = search_crf(network, PLAIN, data, grid=Grid((6,), (4,), (10,)), refine_rounds=0, steps=2)
    evaluation = evaluate_network(network, PLAIN, data, refinement=found.refinement("val"))
    assert evaluation.scores.mean_iou == pytest.approx(found.tried[0][1], abs=1e-4)
    assert evaluate_network(network, PLAIN, data).scores.mean_iou == found.mean_iou_without


def test_void_everywhere_judges_nothing():
    data = Scenes(3)
    for sample in data.samples:
        sample.targets["labels"][:] = VOID
    with pytest.raises(DataError, match="no labeled pixel is in the 3 pictures that a CRF was to be tuned on"):
        search(data)


def test_counts_give_the_mean_iou_of_the_metrics():
    rng = np.random.default_rng(0)
    for _ in range(20):
        matrix = ConfusionMatrix(5)
        matrix.counts[:] = rng.integers(0, 4, (5, 5)) * (rng.random((5, 5)) < 0.3)
        counts = np.stack([matrix.counts.diagonal(), matrix.counts.sum(1), matrix.counts.sum(0)])
        assert mean_iou(counts) == pytest.approx(matrix.scores().mean_iou, nan_ok=True)


def test_a_search_can_be_stopped_by_its_progress():
    class Stop(Exception):
        pass

    def stop(done, total):
        if done > 7:
            raise Stop

    threads = torch.get_num_threads()
    with pytest.raises(Stop):
        search(Scenes(6), progress=stop)
    assert torch.get_num_threads() == threads


def test_what_cannot_be_searched_is_refused():
    data = Scenes(2)
    with pytest.raises(BadOption, match="pictures is 0: expected a whole number from 1 up"):
        search(data, pictures=0)
    with pytest.raises(BadOption, match="refine_rounds is -1"):
        search(data, refine_rounds=-1)
    with pytest.raises(BadOption, match="a grid needs at least one w1, σα and σβ"):
        Grid((), (1,), (2,))
    with pytest.raises(DataError, match="nothing to tune a CRF on"):
        search(Scenes(0))
    data.samples[1] = Sample(data.samples[1].image, {}, "bare")
    with pytest.raises(DataError, match="bare has no mask"):
        search(data)


def test_the_grids_are_the_papers_and_a_small_one():
    assert len(PAPER_GRID.settings) == 2 * 6 * 8
    assert {setting.normalization for setting in PAPER_GRID.settings} == {"after"}
    assert {(s.spatial_weight, s.spatial_sigma_pixels) for s in PAPER_GRID.settings} == {(3.0, 3.0)}
    assert 6 <= len(TRIAL_GRID.settings) <= 9


def test_a_picture_with_a_pixel_that_is_no_number_is_named():
    data = Scenes(2)
    first = data.samples[1]
    image = first.image.astype(np.float32) / 255
    image[3, 4, 0] = np.nan
    data.samples[1] = Sample(image, first.targets, first.name)
    with pytest.raises(DataError, match="scene 1 has pixels that are no numbers, .*; mend or remove it"):
        search(data)


def test_a_picture_with_too_wide_a_range_is_named():
    data = Scenes(2)
    first = data.samples[1]
    data.samples[1] = Sample(first.image.astype(np.float32) * 100, first.targets, first.name)
    with pytest.raises(BadOption, match="scene 1 cannot be refined: features reach .* a Gaussian is too narrow"):
        search(data, grid=Grid((4,), (10,), (3,)))
