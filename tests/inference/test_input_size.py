"""Networks that take pictures of one size, held to resizing by OpenCV and torch."""

import cv2
import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import interpolate, pad

from pixelwise.crf import CRFParameters
from pixelwise.errors import BadOption
from pixelwise.inference import predict
from pixelwise.inference.heatmap import class_heatmap
from pixelwise.inference.predict import predict_heads, predict_image
from pixelwise.inference.refine import Refinement, refine
from pixelwise.inference.views import Views
from pixelwise.layers.head import Head
from pixelwise.layers.normalization import Normalization
from pixelwise.layers.resample import Resampling

SIZES = [(20, 32), (40, 30), 24]
MEAN, DEVIATION = (120.0, 110.0, 100.0), (60.0, 60.0, 60.0)


class Blocks(nn.Module):
    """Scores of 4 × 4 pixels together, and the sizes of the pictures that it saw."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(5)
        self.score = nn.Conv2d(3, 4, 4, 4)
        self.seen = []

    def heads(self, images):
        size = tuple(images.shape[-2:])
        self.seen.append(size)
        scores = 3 * self.score(pad(images, (0, -size[1] % 4, 0, -size[0] % 4)))
        return {"logits": Head(scores, Resampling.zoom(tuple(scores.shape[-2:]), size, factor=4))}


def picture(height=36, width=48):
    random = np.random.default_rng(0)
    coarse = random.integers(0, 255, (height // 4, width // 4, 3)).astype(np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def by_hand(network, image, size, mirror=False):
    """(K, H, W) probabilities."""
    shape = image.shape[:2]
    if isinstance(size, int):
        size = tuple(round(side * size / min(shape)) for side in shape)
    small = cv2.resize(image.astype(np.float32), size[::-1], interpolation=cv2.INTER_LINEAR)
    if mirror:
        small = small[:, ::-1].copy()
    levels = (torch.from_numpy(small).permute(2, 0, 1) - torch.tensor(MEAN)[:, None, None]) / 60
    scores = next(iter(network.heads(levels[None]).values())).full_size()
    scores = scores.flip(-1) if mirror else scores
    return interpolate(scores, shape, mode="bilinear", align_corners=False).softmax(1)[0].detach().numpy()


@pytest.mark.parametrize("size", SIZES)
def test_a_picture_is_brought_to_the_size_and_its_scores_are_brought_back(size):
    network, image = Blocks().eval(), picture()
    found = predict_image(network, Normalization(MEAN, DEVIATION, size=size), image, confidence=True)
    expected = by_hand(network, image, size)
    np.testing.assert_allclose(found.confidence, expected.max(0), atol=1e-5)
    sure = np.ptp(np.sort(expected, 0)[-2:], 0) > 1e-4
    assert (found.labels == expected.argmax(0))[sure].all() and sure.mean() > 0.9


@pytest.mark.parametrize("size", SIZES)
def test_a_mirrored_picture_and_scales_are_seen_at_the_size(size):
    network, image, normalization = Blocks().eval(), picture(), Normalization(MEAN, DEVIATION, size=size)
    both = predict_image(network, normalization, image, flip=True, confidence=True)
    expected = (by_hand(network, image, size) + by_hand(network, image, size, mirror=True)) / 2
    np.testing.assert_allclose(both.confidence, expected.max(0), atol=1e-5)
    network.seen.clear()
    predict_image(network, normalization, image, views=Views((0.5, 1.0)))
    whole = normalization.size_of(36, 48)
    assert network.seen == [tuple(round(side * scale) for side in whole) for scale in (0.5, 1.0)]


def test_a_scale_of_one_in_windows_is_the_same_as_once():
    network, image, normalization = Blocks().eval(), picture(), Normalization(MEAN, DEVIATION, size=(20, 32))
    once = predict_image(network, normalization, image, confidence=True)
    windows = predict_image(network, normalization, image, views=Views(window=(20, 32)), confidence=True)
    assert (once.labels == windows.labels).mean() > 0.97  # logits brought back, or probabilities
    assert abs(once.confidence - windows.confidence).mean() < 0.02


def test_a_large_picture_is_not_cut_into_tiles(monkeypatch):
    monkeypatch.setattr(predict, "TILE", 16)
    network, image, normalization = Blocks().eval(), picture(), Normalization(MEAN, DEVIATION, size=(20, 32))
    for views in (Views(), Views((1.0, 1.5))):
        network.seen.clear()
        predict_image(network, normalization, image, views=views)
        assert network.seen[0] == (20, 32) and len(network.seen) == len(views.scales)
    assert class_heatmap(network, normalization, image, 1).probability.shape == (36, 48)
    assert network.seen[-1] == (20, 32)


def test_a_crf_sees_the_picture_at_its_own_size():
    network, image, normalization = Blocks().eval(), picture(), Normalization(MEAN, DEVIATION, size=24)
    refinement = Refinement(CRFParameters(bilateral_sigma_pixels=20.0, bilateral_sigma_color=10.0), steps=2)
    found = predict_image(network, normalization, image, refinement=refinement)
    probabilities = torch.from_numpy(by_hand(network, image, 24))
    assert (found.labels == refine(probabilities, image, refinement).argmax(0).numpy()).mean() > 0.995


def test_each_picture_s_own_statistics_are_those_before_it_is_resized():
    network, image = Blocks().eval(), picture()
    own = Normalization(MEAN, DEVIATION, per_picture=True, size=(20, 32))
    fixed = own.of(image)
    assert fixed.size == (20, 32)
    for normalization in (own, fixed):
        found = next(iter(predict_heads(network, normalization, image).values()))
        assert found.resampling.image_size == (36, 48)
    a, b = (predict_image(network, n, image, confidence=True).confidence for n in (own, fixed))
    np.testing.assert_array_equal(a, b)


def test_sixteen_bits_and_many_channels_are_resized():
    class Six(Blocks):
        def __init__(self):
            super().__init__()
            self.score = nn.Conv2d(6, 4, 4, 4)

    image = np.random.default_rng(1).integers(0, 65_535, (90, 70, 6)).astype(np.uint16)
    found = predict_image(Six().eval(), Normalization((0.0,) * 6, (60.0,) * 6, size=(20, 32)), image)
    assert found.labels.shape == (90, 70)


def test_a_size_is_kept_in_the_record_and_impossible_ones_are_refused():
    for size in (*SIZES, None):
        normalization = Normalization(MEAN, DEVIATION, "bgr", size=size)
        assert Normalization.from_record(normalization.to_record()) == normalization
    older = {key: value for key, value in normalization.to_record().items() if key != "size"}
    assert Normalization.from_record(older).size is None
    for size in (0, (0, 5)):
        with pytest.raises(BadOption, match="shorter side, in pixels"):
            Normalization(MEAN, DEVIATION, size=size)
