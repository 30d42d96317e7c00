"""Any size, whole or in tiles, with confidence where it is asked for."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from pixelwise.errors import ShapeError
from pixelwise.inference.predict import predict_image
from pixelwise.inference.tiles import tiles
from pixelwise.layers.head import Head
from pixelwise.layers.normalization import Normalization
from pixelwise.layers.resample import Resampling
from pixelwise.models import build

NORMALIZATION = Normalization((120.0,) * 3, (60.0,) * 3)


class Pointwise(nn.Module):
    """A network that sees one pixel: a tile can change nothing."""

    def __init__(self, classes=4):
        super().__init__()
        self.score = nn.Conv2d(3, classes, 1)

    def heads(self, images):
        return {"logits": Head(self.score(images), Resampling.identity(tuple(images.shape[-2:])))}


def picture(height, width):
    return np.random.default_rng(0).integers(0, 255, (height, width, 3)).astype(np.uint8)


@settings(max_examples=60, deadline=None)
@given(size=st.tuples(st.integers(1, 90), st.integers(1, 90)), tile=st.integers(8, 40), margin=st.integers(0, 3))
def test_tiles_cover_every_pixel_once_with_their_margin(size, tile, margin):
    seen = np.zeros(size, int)
    source = np.arange(size[0] * size[1]).reshape(size)
    for window, inner, place in tiles(size, tile, margin):
        seen[place] += 1
        part = source[window]
        assert max(part.shape) <= tile
        assert (part[inner] == source[place]).all()
        for axis in range(2):
            low, high = place[axis].start - window[axis].start, window[axis].stop - place[axis].stop
            assert low >= margin or window[axis].start == 0
            assert high >= margin or window[axis].stop == size[axis]
    assert (seen == 1).all()


@pytest.mark.parametrize("size", [(1, 1), (37, 300), (300, 290)])
def test_tiles_change_nothing_for_a_network_that_sees_a_pixel(size):
    network = Pointwise().eval()
    image = picture(*size)
    whole = predict_image(network, NORMALIZATION, image, confidence=True, tile=10_000)
    tiled = predict_image(network, NORMALIZATION, image, confidence=True, tile=270)
    assert (whole.labels == tiled.labels).all()
    np.testing.assert_allclose(whole.confidence, tiled.confidence, atol=1e-6)


def test_confidence_is_the_softmax_of_the_chosen_class():
    network = Pointwise().eval()
    image = picture(20, 30)
    found = predict_image(network, NORMALIZATION, image, confidence=True)
    with torch.no_grad():
        probabilities = network.heads(NORMALIZATION(image[None]))["logits"].scores.softmax(1)[0].numpy()
    assert (found.labels == probabilities.argmax(0)).all()
    np.testing.assert_allclose(found.confidence, probabilities.max(0), atol=1e-6)
    assert predict_image(network, NORMALIZATION, image).confidence is None


@pytest.mark.parametrize("size", [(1, 1), (2, 7), (33, 65)])
def test_a_network_predicts_every_size_and_flip_averages(size):
    network = build("unet", num_classes=3, width=0.0625, depth=3).eval()
    image = picture(*size)
    plain = predict_image(network, NORMALIZATION, image)
    assert plain.labels.shape == size
    assert plain.labels.dtype == np.uint8
    flipped = predict_image(network, NORMALIZATION, image, flip=True, confidence=True)
    with torch.no_grad():
        a = network(NORMALIZATION(image[None])).softmax(1)
        b = network(NORMALIZATION(image[None, :, ::-1])).softmax(1).flip(-1)
    best = ((a + b) / 2)[0].max(0).values.numpy()
    np.testing.assert_allclose(flipped.confidence, best, atol=1e-5)


def test_a_grey_picture_serves_a_color_model_and_others_are_refused():
    network = Pointwise().eval()
    assert predict_image(network, NORMALIZATION, picture(5, 6)[..., :1]).labels.shape == (5, 6)
    with pytest.raises(ShapeError, match="scan.tif has 5 channels, the model takes 3"):
        predict_image(network, NORMALIZATION, np.zeros((4, 4, 5), np.uint8), name="scan.tif")


def test_more_than_255_classes_are_16_bit():
    network = Pointwise(300).eval()
    with torch.no_grad():
        network.score.weight.zero_()
        network.score.bias.zero_()
        network.score.bias[299] = 1
    assert predict_image(network, NORMALIZATION, picture(3, 3)).labels.dtype == np.uint16
    assert (predict_image(network, NORMALIZATION, picture(3, 3), confidence=True).labels == 299).all()
