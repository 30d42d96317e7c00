"""Whole pictures are taken for the class with the largest mean probability; scores count pictures."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from pixelwise.data.sample import Sample
from pixelwise.errors import DataError
from pixelwise.inference.classify import PictureScores, class_of, classify_image, classify_pictures
from pixelwise.labels import LabelSet
from pixelwise.layers.head import Head
from pixelwise.layers.normalization import Normalization
from pixelwise.layers.resample import Resampling

PLAIN = Normalization((0.0,) * 3, (1.0,) * 3)


class Blocks(nn.Module):
    """The scores of a cell are the first two channels' means over 4 × 4 pixels, times 0.01."""

    def __init__(self, tiling=None, kind="logits"):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.kind = kind
        self.seen = []
        if tiling is not None:
            self.tiling = tiling

    def heads(self, images):
        self.seen.append(tuple(images.shape[2:]))
        scores = nn.functional.avg_pool2d(images[:, :2], 4) * 0.01 * self.weight
        if self.kind == "probabilities":
            scores = scores.softmax(1)
        resampling = Resampling.half_pixel(tuple(scores.shape[2:]), tuple(images.shape[2:]))
        return {"logits": Head(scores, resampling, self.kind)}


class Pictures:
    def __init__(self, samples, names=("a", "b")):
        self.samples = samples
        self.labels = {"labels": LabelSet(names)}

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, index):
        return self.samples[index]


def picture(seed, cls=0, size=(8, 12), brighter=None):
    image = np.random.default_rng(seed).integers(0, 200, (*size, 3)).astype(np.uint8)
    if brighter is not None:
        image[..., brighter] += 55
    return Sample(image, {"labels": np.full(size, cls, np.uint8)}, f"p{seed}")


def naive_mean(image):
    """The mean over all 4 × 4 blocks of their softmax."""
    found = []
    for top in range(0, image.shape[0] - 3, 4):
        for left in range(0, image.shape[1] - 3, 4):
            block = image[top : top + 4, left : left + 4, :2].reshape(-1, 2).mean(0) * 0.01
            found.append(np.exp(block) / np.exp(block).sum())
    return np.mean(found, 0)


@pytest.mark.parametrize("kind", ["logits", "probabilities"])
def test_a_pictures_probabilities_are_the_mean_over_the_maps_cells(kind):
    image = picture(0).image
    assert classify_image(Blocks(kind=kind), PLAIN, image) == pytest.approx(naive_mean(image), abs=1e-6)


def test_a_large_picture_is_the_mean_of_its_tiles_by_area():
    image = picture(1, size=(8, 40)).image
    image[:, :12] //= 3
    network = Blocks(tiling=(16, 4, 4))
    found = classify_image(network, PLAIN, image)
    assert len(network.seen) > 1 and all(side <= 20 for size in network.seen for side in size)
    parts, areas = [], []
    from pixelwise.inference.tiles import tiles

    for window, inner, place in tiles((8, 40), 16, 4, 4):
        parts.append(naive_mean(image[window]))
        areas.append((place[0].stop - place[0].start) * (inner[1].stop - inner[1].start))
    assert sum(areas) == 8 * 40 and len(set(areas)) > 1
    assert found == pytest.approx(sum(p * a for p, a in zip(parts, areas, strict=True)) / 320, abs=1e-6)


def test_flip_averages_with_the_mirrored_picture():
    image = picture(2, size=(4, 6)).image  # the last two columns are in no block
    both = (naive_mean(image) + naive_mean(image[:, ::-1])) / 2
    assert classify_image(Blocks(), PLAIN, image, flip=True) == pytest.approx(both, abs=1e-6)
    assert naive_mean(image) != pytest.approx(both, abs=1e-6)


def test_scores_by_their_definition():
    """Against sums over pictures one by one."""
    random = np.random.default_rng(0)
    probabilities = random.dirichlet(np.ones(4), 60)
    targets = random.choice([0, 1, 3], 60)
    scores = PictureScores.of(targets.tolist(), probabilities, ("a", "b", "c", "d"))
    guesses = [int(np.argmax(row)) for row in probabilities]
    pairs = list(zip(targets.tolist(), guesses, strict=True))
    assert scores.accuracy == pytest.approx(sum(t == g for t, g in pairs) / 60)
    recalls = {k: sum(t == g == k for t, g in pairs) / sum(t == k for t, _ in pairs) for k in (0, 1, 3)}
    assert scores.mean_accuracy == pytest.approx(sum(recalls.values()) / 3)
    assert scores.mean_probability == pytest.approx(
        sum(row[t] for row, t in zip(probabilities, targets, strict=True)) / 60
    )
    assert scores.classes_left_out == 1
    for k, entry in enumerate(scores.per_class):
        assert entry.pictures == sum(t == k for t, _ in pairs)
        assert entry.precision == pytest.approx(sum(t == g == k for t, g in pairs) / guesses.count(k))
        assert scores.confusion[k].tolist() == [sum(p == (k, j) for p in pairs) for j in range(4)]
    assert scores.per_class[1].recall == pytest.approx(recalls[1]) and math.isnan(scores.per_class[2].recall)
    record = scores.to_record()
    assert record["per_class"][2]["recall"] is None and record["counted"] == "pictures"
    assert "iou" not in str(record)


def test_the_better_model_is_the_more_accurate_and_of_equals_the_surer():
    def quality(first, second):
        return PictureScores.of([0, 1], np.array([[first, 1 - first], [1 - second, second]]), ("a", "b")).quality

    assert quality(0.6, 0.6) > quality(0.99, 0.4)
    assert quality(0.7, 0.6) > quality(0.6, 0.6)


def test_each_picture_is_listed_with_its_class_and_what_it_is_taken_for():
    data = Pictures([picture(0, 0, brighter=0), picture(1, 1, brighter=0), picture(2, 1, brighter=1)])
    told = []
    found = classify_pictures(Blocks(), PLAIN, data, progress=lambda done, total: told.append((done, total)))
    assert [(p.index, p.name, p.target, p.prediction) for p in found.pictures] == [
        (0, "p0", 0, 0),
        (1, "p1", 1, 0),
        (2, "p2", 1, 1),
    ]
    means = [naive_mean(sample.image) for sample in data.samples]
    for mean, one in zip(means, found.pictures, strict=True):
        assert one.probability == pytest.approx(mean.max(), abs=1e-6)
        assert one.true_probability == pytest.approx(mean[one.target], abs=1e-6)
    assert found.scores.confusion.tolist() == [[1, 0], [1, 1]]
    assert told == [(1, 3), (2, 3), (3, 3)]
    assert found.seconds_per_megapixel > 0
    assert "by whole pictures, 3 of them" in found.protocol and "mirrored" not in found.protocol
    assert "mirrored" in classify_pictures(Blocks(), PLAIN, data, flip=True).protocol


def test_what_has_no_class_or_several_is_refused():
    with pytest.raises(DataError, match="nothing to evaluate on"):
        classify_pictures(Blocks(), PLAIN, Pictures([]))
    sample = picture(0)
    with pytest.raises(DataError, match="p0 has no class; lay it in a class folder"):
        class_of(Sample(sample.image, {}, "p0"))
    sample.targets["labels"][3, 4] = 1
    with pytest.raises(DataError, match="p0 has a mask of several classes"):
        class_of(sample)
