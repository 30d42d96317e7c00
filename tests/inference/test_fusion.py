"""Fusion in bands of rows: equal to the formulas at full size, however the views are held; samples of dropouts."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from pixelwise.crf import CRFParameters, dense_crf
from pixelwise.data.sample import Sample
from pixelwise.errors import BadOption
from pixelwise.inference import fusion
from pixelwise.inference.engine import TorchEngine
from pixelwise.inference.evaluate import evaluate_network
from pixelwise.inference.folding import folded
from pixelwise.inference.fusion import Sampling
from pixelwise.inference.predict import predict_image
from pixelwise.inference.refine import Refinement
from pixelwise.inference.views import Views
from pixelwise.labels import LabelSet
from pixelwise.layers.head import Head
from pixelwise.layers.normalization import Normalization
from pixelwise.layers.resample import Resampling
from pixelwise.metrics import ConfusionMatrix
from pixelwise.models.bayesian_segnet import bayesian_segnet, monte_carlo

PLAIN = Normalization((100.0, 110.0, 120.0), (50.0, 60.0, 70.0))
OTHER = Normalization((90.0, 90.0, 90.0), (40.0, 40.0, 40.0), "bgr")


class Coarse(nn.Module):
    """Scores on a grid of 4, or of 1, a second head of 3 classes, and dropout before the scores."""

    def __init__(self, seed=0, classes=5, stride=4):
        super().__init__()
        torch.manual_seed(seed)
        self.stride = stride
        self.features = nn.Conv2d(3, 8, max(stride, 3), stride, padding=0 if stride > 1 else 1)
        self.drop = nn.Dropout(0.5)
        self.score, self.surface = nn.Conv2d(8, classes, 1), nn.Conv2d(8, 3, 1)

    def heads(self, images):
        features = self.drop(self.features(images).relu())
        size = tuple(images.shape[-2:])
        coarse = tuple(features.shape[-2:])
        resampling = Resampling.half_pixel(coarse, size)
        return {
            "labels": Head(4 * self.score(features), resampling),
            "surface": Head(self.surface(features), resampling),
        }


def picture(height=44, width=61, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)


def whole(network, image, normalization=PLAIN, head="labels"):
    """(K, H, W) probabilities of a picture at once."""
    with torch.inference_mode():
        return network.heads(normalization(image[None]))[head].full_size().softmax(1)[0]


def flipped(network, image, normalization=PLAIN):
    return (whole(network, image, normalization) + whole(network, image[:, ::-1], normalization).flip(-1)) / 2


def by_hand(probabilities):
    """Labels, confidence and entropy, pixel by pixel."""
    p = probabilities.numpy().astype(np.float64)
    entropy = np.zeros(p.shape[1:])
    for row, column in np.ndindex(entropy.shape):
        entropy[row, column] = -sum(v * math.log(v) for v in p[:, row, column]) / math.log(len(p))
    return p.argmax(0), p.max(0), entropy


@pytest.fixture(params=["kept", "added"])
def held(request, monkeypatch):
    """The views' scores on their grids, or added up at the picture's size; bands of a few rows."""
    monkeypatch.setattr(fusion, "_keeps", lambda *_: request.param == "kept")
    monkeypatch.setattr(fusion, "VALUES", 5 * 61 * 3)
    return request.param


@pytest.mark.parametrize("flip", [False, True])
def test_confidence_and_entropy_are_those_of_the_probabilities(flip, held):
    network, image = Coarse().eval(), picture()
    found = predict_image(network, PLAIN, image, flip=flip, confidence=True, entropy=True)
    labels, confidence, entropy = by_hand((flipped if flip else whole)(network, image))
    assert (found.labels == labels).mean() > 0.999
    np.testing.assert_allclose(found.confidence, confidence, atol=1e-6)
    np.testing.assert_allclose(found.entropy, entropy, atol=1e-5)
    assert found.uncertainty is None


VIEWS = [
    Views((0.5, 1.0, 1.5), flip=True),
    Views((0.5, 1.0), fusion="max", flip=True),
    Views((0.75, 1.25), window=(24, 24)),
    Views(flip=True, mirrored="sum"),
]


@pytest.mark.parametrize("views", VIEWS)
@pytest.mark.parametrize("stride", [1, 4])
def test_views_kept_on_their_grids_and_added_up_are_the_same(views, stride, monkeypatch):
    network, image = Coarse(stride=stride).eval(), picture()
    found = []
    for keeps in (True, False):
        monkeypatch.setattr(fusion, "_keeps", lambda *_, keeps=keeps: keeps)
        found.append(
            predict_image(network, PLAIN, image, views=views, confidence=True, entropy=True, more=("surface",))
        )
    np.testing.assert_allclose(found[0].confidence, found[1].confidence, atol=1e-6)
    np.testing.assert_allclose(found[0].entropy, found[1].entropy, atol=1e-5)
    assert (found[0].more["surface"] == found[1].more["surface"]).mean() > 0.999


@pytest.mark.parametrize(
    ("views", "size"),  # a network that brings pictures to one size sees them once
    [
        *((views, None) for views in (Views(), Views(flip=True), *VIEWS)),
        *((Views(flip=flip), (40, 52)) for flip in (False, True)),
    ],
)
@pytest.mark.parametrize("stride", [1, 4])
@pytest.mark.parametrize("sampling", [None, Sampling(3)])
def test_an_edge_has_the_values_of_its_rows_when_the_rest_is_gone(views, stride, sampling, size, held):
    network, normalization = Coarse(stride=stride).eval(), replace(PLAIN, size=size)
    voices = [fusion.Voice(TorchEngine(one), normalization) for one in (network, Coarse(7, stride=stride).eval())]
    seen = fusion.see(voices[: 1 if sampling else 2], picture(), views, more=("surface",), sampling=sampling)
    whole = torch.cat([values for _, values in seen.bands()], 1)
    assert whole.shape == (seen.channels, 44, 61) and seen.channels == 8 + (sampling is not None)
    for first, last in ((0, 7), (13, 30), (36, 44)):
        edge = seen.edge(first, last)
        for rows in (slice(0, last - first), slice(2, 5)):
            torch.testing.assert_close(edge(rows), whole[:, first:last][:, rows], atol=1e-6, rtol=0)
    if held == "kept" and views.once:
        kept = sum(look.bytes for looks in edge.__self__._kept for look in looks)
        assert kept < 0.4 * sum(look.bytes for looks in seen._kept for look in looks)


def test_the_smaller_of_the_kept_scores_and_the_pictures_is_held():
    def keeps(stride, views, voices=1):
        network, image = Coarse(stride=stride).eval(), picture(64, 64)
        voice = fusion.Voice(TorchEngine(network), PLAIN)
        first = next(fusion._looks(voice, image, views, ["labels"]))
        return fusion._keeps(first, 5, (64, 64), views, PLAIN, voices)

    assert keeps(4, Views((0.5, 1.0, 1.5), flip=True))  # 3.5 times 1/16, twice
    assert keeps(1, Views(flip=True)) and not keeps(1, Views((0.5, 1.0, 1.5), flip=True))  # two against three; 7
    assert not keeps(1, Views(), voices=8) and keeps(4, Views(), voices=8)


def test_the_probabilities_of_several_networks_are_averaged_each_with_its_normalization(held):
    first, second, image = Coarse(1).eval(), Coarse(2).eval(), picture()
    found = predict_image([first, folded(second)], [PLAIN, OTHER], image, flip=True, confidence=True, entropy=True)
    labels, confidence, entropy = by_hand((flipped(first, image) + flipped(second, image, OTHER)) / 2)
    assert (found.labels == labels).mean() > 0.999
    np.testing.assert_allclose(found.confidence, confidence, atol=1e-5)
    np.testing.assert_allclose(found.entropy, entropy, atol=1e-5)


def test_networks_of_other_numbers_of_classes_are_not_averaged():
    with pytest.raises(BadOption, match="Coarse has 5 classes, Coarse 4 classes: only networks of the same classes"):
        predict_image([Coarse().eval(), Coarse(classes=4).eval()], PLAIN, picture())


def test_samples_are_those_of_monte_carlo(held):
    network = bayesian_segnet(num_classes=5, width=1 / 16, release="basic").eval()
    image = picture(48, 64)
    found = predict_image(network, PLAIN, image, sampling=Sampling(6, seed=3), confidence=True)
    wanted = monte_carlo(network, PLAIN(image[None]), samples=6, seed=3)
    np.testing.assert_allclose(found.confidence, wanted.probabilities[0].max(0).values, atol=1e-5)
    np.testing.assert_allclose(found.uncertainty, wanted.uncertainty[0], atol=1e-6)
    assert found.uncertainty.max() > 1e-4


def test_samples_are_the_mean_and_the_variance_over_distributions_of_all_views(held):
    network, image = Coarse().eval(), picture()
    before = torch.random.get_rng_state()
    found, again = (
        predict_image(network, PLAIN, image, flip=True, sampling=Sampling(5, 7), confidence=True) for _ in range(2)
    )
    assert torch.equal(before, torch.random.get_rng_state()) and not network.drop.training
    np.testing.assert_array_equal(found.uncertainty, again.uncertainty)
    network.drop.train()
    torch.manual_seed(7)
    samples = np.stack([flipped(network, image).numpy() for _ in range(5)])
    np.testing.assert_allclose(found.confidence, samples.mean(0).max(0), atol=1e-5)
    np.testing.assert_allclose(found.uncertainty, samples.var(0).mean(0), atol=1e-6)


def test_one_sample_is_certain_and_a_network_without_dropout_has_none():
    network, image = Coarse().eval(), picture()
    assert not predict_image(network, PLAIN, image, sampling=Sampling(1)).uncertainty.any()
    network.drop = nn.Identity()
    with pytest.raises(BadOption, match="Coarse has no dropout: its samples would all be the same"):
        predict_image(network, PLAIN, image, sampling=Sampling(2))
    with pytest.raises(BadOption, match="samples is 0: expected a whole number from 1 up"):
        Sampling(0)


def test_a_crf_behind_samples_leaves_their_uncertainty():
    network, image = Coarse().eval(), picture()
    settings = CRFParameters(bilateral_sigma_pixels=12, bilateral_sigma_color=20, normalization="after")
    sampling = Sampling(3)
    plain = predict_image(network, PLAIN, image, sampling=sampling)
    found = predict_image(
        network,
        PLAIN,
        image,
        sampling=sampling,
        confidence=True,
        entropy=True,
        refinement=Refinement(settings, steps=2),
    )
    np.testing.assert_array_equal(found.uncertainty, plain.uncertainty)
    mean = monte_carlo_of(network, image, 3)
    labels, confidence, entropy = by_hand(torch.from_numpy(dense_crf(mean, image, settings, 2)).clamp_min(1e-30))
    np.testing.assert_allclose(found.confidence, confidence, atol=1e-4)
    np.testing.assert_allclose(found.entropy, entropy, atol=1e-3)
    assert (found.labels == labels).mean() > 0.999


def monte_carlo_of(network, image, count):
    network.drop.train()
    torch.manual_seed(0)
    mean = np.mean([whole(network, image).numpy() for _ in range(count)], 0)
    network.drop.eval()
    return mean


class Pictures:
    labels = {"labels": LabelSet(tuple("abcde"))}  # noqa: RUF012

    def __len__(self):
        return 3

    def __getitem__(self, index):
        image = picture(30, 41, seed=index)
        return Sample(image, {"labels": image[..., 0] // 52}, f"picture {index}")


@pytest.mark.parametrize("views", [Views(), Views(flip=True), Views((0.5, 1.0))])
def test_an_evaluation_counts_what_full_size_probabilities_give(views, held):
    network, data = Coarse().eval(), Pictures()
    found = evaluate_network(network, PLAIN, data, views=views).scores.mean_iou
    matrix = ConfusionMatrix(5)
    for index in range(3):
        image = data[index].image
        if views.scales == (1.0,):
            labels = (flipped if views.flip else whole)(network, image).argmax(0).numpy()
        else:
            labels = predict_image(network, PLAIN, image, views=views).labels
        matrix.update(labels.astype(np.uint8), data[index].targets["labels"])
    assert found == pytest.approx(matrix.scores().mean_iou, abs=1e-6)
