"""Doubted labels: the rule in ten naive lines, and what it must and must not find."""

from types import MappingProxyType

import numpy as np
import pytest
import torch

from pixelwise.data.sample import Sample
from pixelwise.flow.doubted import doubted_pixels, judge, reliability, standing_out, thresholds, uncertainty
from pixelwise.inference.predict import DensePrediction
from pixelwise.labels import LabelSet
from pixelwise.layers.normalization import Normalization
from pixelwise.models import build
from pixelwise.segmenter import Segmenter

LABELS = LabelSet(("ground", "cell", "edge"))


class Told:
    """A segmenter that says what it is told, by the level of the picture's first pixel."""

    labels = LABELS

    def __init__(self, answers):
        self.answers = answers

    def predict_dense(self, pixels, *, confidence, crf, name):
        labels, sure = self.answers[int(pixels[0, 0, 0])]
        return DensePrediction(labels, sure)


class Listed(list):
    """A data set of samples."""

    labels = MappingProxyType({"labels": LABELS})


def naive(pictures):
    """Confident learning with reliabilities, pixel by pixel: the doubt of each (target, labels, sure)."""
    k = 3
    pixels = [list(zip(*(values.ravel() for values in picture), strict=True)) for picture in pictures]
    every = [pixel for own in pixels for pixel in own if pixel[0] < k]
    t = []
    for j in range(k):
        own = [(sure if says == j else 0) for label, says, sure in every if label == j]
        t.append(max(np.mean(own), 0.5) if own else 0.5)
    found = []
    for i, mine in enumerate(pixels):
        others = [pixel for n, own in enumerate(pixels) if n != i for pixel in own if pixel[0] < k]
        surely = [(label, says) for label, says, sure in others if sure >= t[says] - 1e-6]
        whole = np.mean([label == says for label, says in surely])
        right = [[label == says for label, says in surely if says == j] for j in range(k)]
        r = [np.mean(one) if one else whole for one in right]
        counted = [pixel for pixel in mine if pixel[0] < k]
        doubted = [sure * r[says] for label, says, sure in counted if says != label and sure >= t[says] - 1e-6]
        found.append(sum(doubted) / len(counted))
    return found


def some(seed, count=5, size=(6, 7)):
    random = np.random.default_rng(seed)
    pictures = []
    for _ in range(count):
        target = random.integers(0, 3, size).astype(np.uint8)
        labels = np.where(random.random(size) < 0.7, target, random.integers(0, 3, size)).astype(np.uint8)
        target[random.random(size) < 0.1] = 255
        sure = (random.integers(100, 256, size) / np.float32(255)).astype(np.float32)
        pictures.append((target, labels, sure))
    return pictures


@pytest.mark.parametrize("seed", range(4))
def test_the_doubt_is_that_of_the_naive_rule(seed, tmp_path):
    pictures = some(seed)
    data = Listed(
        Sample(np.full((6, 7, 3), i, np.uint8), {"labels": target}, f"p{i}")
        for i, (target, _, _) in enumerate(pictures)
    )
    found = judge(Told([(labels, sure) for _, labels, sure in pictures]), data, tmp_path)
    expected = {f"p{i}": value for i, value in enumerate(naive(pictures))}
    assert {doubt.name: doubt.doubt for doubt in found} == pytest.approx(expected, abs=1e-5)
    assert [doubt.doubt for doubt in found] == sorted((doubt.doubt for doubt in found), reverse=True)
    for name in found[0].files.values():
        assert (tmp_path / name).stat().st_size > 0


def test_an_unsure_model_and_void_make_no_doubt():
    target, labels = np.array([[0, 0, 255]]), np.array([[1, 1, 1]])
    limits = np.array([0.5, 0.8, 0.5])
    assert doubted_pixels(target, labels, np.array([[0.7, 0.9, 1.0]]), limits).tolist() == [[0.0, np.float32(0.9), 0.0]]


def test_a_class_is_doubted_by_the_confidence_that_is_usual_in_it():
    target = np.array([[0, 0, 1, 1]])
    labels = np.array([[0, 0, 1, 0]])
    sure = np.array([[0.9, 0.7, 0.6, 0.9]])
    assert thresholds([(target, labels, sure)], 3) == pytest.approx([0.8, 0.5, 0.5])  # 0.6 / 2 is below a half
    assert reliability(np.array([[2, 0, 0], [4, 0, 1]])) == pytest.approx([0.5, 0.4, 0.0])


def test_few_or_even_doubts_do_not_stand_out():
    assert standing_out([0.9, 0.1, 0.1]) == 0
    assert standing_out([0.004, 0.0, 0.0, 0.0, 0.0]) == 0
    assert standing_out([0.3] + [0.1 - 0.005 * i for i in range(12)]) == 1


def test_uncertainty_is_the_entropy_of_the_mean_probabilities():
    """Of networks that give every pixel of a picture the same probabilities, whatever it shows."""

    def says(share):
        network = build("unet", num_classes=2, width=0.0625, depth=2)
        for parameter in network.parameters():
            parameter.data.zero_()
        *_, bias = (p for p in network.parameters() if p.shape == (2,))
        bias.data = torch.tensor([share, 1 - share]).log()
        labels = LabelSet(("ground", "cell"))
        return Segmenter(network.eval(), Normalization((0.0,) * 3, (1.0,) * 3), labels, {"builder": "unet"})

    p = (0.9 + 0.4) / 2
    expected = -(p * np.log(p) + (1 - p) * np.log(1 - p)) / np.log(2)
    picture = np.zeros((32, 32, 3), np.uint8)
    assert uncertainty([says(0.9), says(0.4)], picture, "a") == pytest.approx(expected, abs=1e-5)
