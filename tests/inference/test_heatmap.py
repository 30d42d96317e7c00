"""Heat maps of a class: probabilities of every pixel, and the same in tiles."""

import numpy as np
import pytest
import torch
from torch import nn

from pixelwise.errors import ShapeError
from pixelwise.inference.heatmap import Heatmap, class_heatmap
from pixelwise.inference.predict import predict_image
from pixelwise.inference.tiles import tiles
from pixelwise.layers.normalization import Normalization
from pixelwise.models import build
from pixelwise.models.convolutional_classifier import ConvolutionalClassifier

NORMALIZATION = Normalization((120.0,) * 3, (60.0,) * 3)


def noise(height, width):
    return np.random.default_rng(0).integers(0, 255, (height, width, 3)).astype(np.uint8)


def slid(shrink):
    """Without padding: a window of 15, a stride of 4."""
    layers = nn.Conv2d(3, 4, 5, stride=2), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 3, 3)
    return ConvolutionalClassifier(nn.Sequential(*layers).eval(), (15, 15), shrink=shrink)


@pytest.mark.parametrize("index", [0, 2])
def test_it_is_the_softmax_of_the_scores_at_full_size(index, monkeypatch):
    monkeypatch.setattr("pixelwise.inference.heatmap.BAND", 3 * 48 * 5)  # five rows at a time
    network = build("unet", num_classes=3, width=1 / 16, depth=3).eval()
    picture = noise(37, 48)
    found = class_heatmap(network, NORMALIZATION, picture, index)
    with torch.no_grad():
        probabilities = network(NORMALIZATION(picture[None])).softmax(1)[0].numpy()
    assert found.probability.dtype == np.float32
    np.testing.assert_allclose(found.probability, probabilities[index], atol=1e-5)
    np.testing.assert_allclose(found.peaks, probabilities.max((1, 2)), atol=1e-5)


def test_probabilities_are_taken_as_they_are():
    network = build("deeplab_msc_largefov", num_classes=3, width=1 / 32).eval()
    network.heads, heads = lambda images: {"p": _as_probabilities(heads(images)["logits"])}, network.heads
    picture = noise(20, 25)
    with torch.no_grad():
        logits = heads(NORMALIZATION(picture[None]))["logits"]
        expected = logits.resampling.apply(logits.scores.softmax(1))[0, 1].numpy()
    np.testing.assert_allclose(class_heatmap(network, NORMALIZATION, picture, 1).probability, expected, atol=1e-5)


def _as_probabilities(head):
    return type(head)(head.scores.softmax(1), head.resampling, "probabilities")


@pytest.mark.parametrize(("shrink", "size"), [(1, (300, 61)), (1, (205, 215)), (2, (60, 311)), (2, (205, 215))])
def test_the_windows_of_tiles_are_those_of_the_whole_picture(shrink, size):
    network = slid(shrink)
    picture = noise(*size)
    whole = class_heatmap(network, NORMALIZATION, picture, 1, tile=1000)
    parts = class_heatmap(network, NORMALIZATION, picture, 1, tile=97)
    np.testing.assert_allclose(parts.probability, whole.probability, atol=1e-5)
    np.testing.assert_allclose(parts.peaks, whole.peaks, atol=1e-5)
    sure = [
        predict_image(network, NORMALIZATION, picture, confidence=True, tile=tile).confidence for tile in (97, 1000)
    ]
    np.testing.assert_allclose(sure[0], sure[1], atol=1e-5)


def test_a_tile_is_seen_in_the_light_of_its_picture():
    own = Normalization((120.0,) * 3, (60.0,) * 3, per_picture=True)
    network, picture = slid(1), noise(120, 110) // np.linspace(1, 4, 110)[:, None]
    whole, parts = (class_heatmap(network, own, picture.astype(np.uint8), 1, tile=tile) for tile in (1000, 97))
    np.testing.assert_allclose(parts.probability, whole.probability, atol=1e-5)


def test_the_networks_own_tiling_is_used(monkeypatch):
    network = slid(2)
    assert network.tiling == (2048, 24, 8)  # twice 1024, twice (15 // 2 + 1 + 4), twice 4
    seen = []
    monkeypatch.setattr(network, "tiling", (64, 24, 8))
    heads = network.heads
    monkeypatch.setattr(network, "heads", lambda images: seen.append(tuple(images.shape[2:])) or heads(images))
    class_heatmap(network, NORMALIZATION, noise(30, 200), 0)
    assert len(seen) > 1
    assert max(width for _, width in seen) < 64 + 8
    seen.clear()
    class_heatmap(network, NORMALIZATION, noise(8, 400), 0)  # fewer than 64² pixels
    assert seen == [(8, 400)]
    seen.clear()
    predict_image(network, NORMALIZATION, noise(30, 200))
    assert len(seen) > 1


@pytest.mark.parametrize("step", [1, 8, 24])
def test_tiles_begin_at_multiples_of_a_step_and_cover_once(step):
    size, tile, margin = (300, 111), 96, 20
    covered = np.zeros(size, int)
    for window, inner, place in tiles(size, tile, margin, step):
        assert all(part.start % step == 0 and part.stop - part.start < tile + step for part in window)
        covered[place] += 1
        for outer, kept, put, length in zip(window, inner, place, size, strict=True):
            assert (outer.start + kept.start, outer.start + kept.stop) == (put.start, put.stop)
            assert outer.start == 0 or put.start - outer.start >= margin
            assert outer.stop == length or outer.stop - put.stop >= margin
    assert (covered == 1).all()


@pytest.mark.parametrize(
    ("rows", "place"),
    [
        ([[0.1, 0.2, 0.9], [0.1, 0.2, 0.3]], (0, 2)),
        ([[0.5] * 5] * 3, (1, 2)),
        ([[0.8, 0.8, 0.8, 0.1], [0.1, 0.1, 0.1, 0.1]], (0, 1)),
        ([[0.9, 0.1, 0.1, 0.9, 0.9]], (0, 3)),
        ([[0.1, 0.5000001, 0.5, 0.5, 0.1]], (0, 2)),
    ],
)
def test_the_place_is_in_the_middle_of_what_is_most_likely(rows, place):
    assert Heatmap(np.float32(rows), np.zeros(1, np.float32)).place == place


def test_other_channels_are_refused():
    with pytest.raises(ShapeError, match=r"pond\.png .* channels"):
        class_heatmap(slid(1), NORMALIZATION, np.zeros((8, 8, 6), np.uint8), 0, name="pond.png")
