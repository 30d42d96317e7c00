"""Normalization against its formula."""

import numpy as np
import pytest
import torch

from pixelwise.data.sample import adapt_channels
from pixelwise.errors import BadOption, ShapeError
from pixelwise.layers.normalization import Normalization


@pytest.mark.parametrize(("dtype", "unit"), [(np.uint8, 1.0), (np.uint16, 1 / 257), (np.float32, 255.0)])
def test_it_is_its_formula_for_every_type(dtype, unit):
    mean, deviation = (10.0, 20.0, 30.0), (2.0, 4.0, 8.0)
    image = (np.random.default_rng(0).random((1, 4, 5, 3)) * 200 / unit).astype(dtype)
    values = Normalization(mean, deviation)(image)
    for c in range(3):
        expected = (image[..., c].astype(np.float64) * unit - mean[c]) / deviation[c]
        np.testing.assert_allclose(values[:, c].numpy(), expected, rtol=1e-4, atol=1e-3)
    assert values.shape == (1, 3, 4, 5)
    assert values.is_contiguous(memory_format=torch.channels_last)


def test_bgr_reverses_the_channels_and_fill_is_in_the_files_order():
    caffe = Normalization((104.0, 117.0, 123.0), (1.0, 1.0, 1.0), "bgr")
    image = np.zeros((1, 1, 1, 3), np.uint8)
    image[..., 0] = 200  # red
    assert caffe(image)[0, :, 0, 0].tolist() == [-104.0, -117.0, 77.0]
    assert caffe.fill == (123.0, 117.0, 104.0)


def test_by_picture_takes_each_ones_own_mean_and_deviation():
    random = np.random.default_rng(0)
    dark = random.normal(20, 5, (50, 60, 3)).clip(0, 255).astype(np.uint8)
    bright = random.normal(200, 30, (50, 60, 3)).clip(0, 255).astype(np.uint8)
    normalization = Normalization((110.0,) * 3, (50.0,) * 3, per_picture=True)
    both = normalization(np.stack([dark, bright]))
    for image, values in zip((dark, bright), both, strict=True):
        grid = image.reshape(-1, 3).astype(float)  # the picture is smaller than the grid
        expected = (image - grid.mean(0)) / (grid.std(0) + 0.04 * 50)
        np.testing.assert_allclose(values.permute(1, 2, 0).numpy(), expected, atol=1e-3)
        part = normalization.of(image)(image[None, :20, :20])[0]
        torch.testing.assert_close(part, values[:, :20, :20], atol=1e-5, rtol=1e-5)
    assert normalization.fill is None
    assert torch.isfinite(normalization(np.zeros((1, 5, 5, 3), np.uint8))).all()


def test_a_record_gives_the_same_back():
    normalization = Normalization((1.0, 2.0), (3.0, 4.0), per_picture=True)
    assert Normalization.from_record(normalization.to_record()) == normalization


def test_what_makes_no_sense_is_refused():
    with pytest.raises(BadOption, match="a deviation must be above 0"):
        Normalization((1.0,), (0.0,))
    with pytest.raises(BadOption, match="one value per channel"):
        Normalization((1.0,), (1.0, 2.0))
    with pytest.raises(ShapeError, match=r"takes images with 1 channels \(H, W, C\), got \(2, 2, 3\)"):
        Normalization((1.0,), (1.0,))(np.zeros((1, 2, 2, 3), np.uint8))
    with pytest.raises(ShapeError, match="uint8, uint16 or float32, got int64"):
        Normalization((1.0,), (1.0,))(np.zeros((1, 2, 2, 1), np.int64))


def test_channels_are_adapted_only_where_nothing_is_guessed():
    grey = np.arange(4, dtype=np.uint8).reshape(2, 2, 1)
    assert adapt_channels(grey, 3).shape == (2, 2, 3)
    assert (adapt_channels(np.repeat(grey, 3, 2), 1) == grey).all()
    colored = np.dstack([grey, grey, grey + 1])
    with pytest.raises(ShapeError, match="photo.png has 3 channels, the model takes 1"):
        adapt_channels(colored, 1, name="photo.png")
    with pytest.raises(ShapeError, match="has 4 channels, the model takes 3"):
        adapt_channels(np.zeros((2, 2, 4), np.uint8), 3)


def test_bgr_leaves_what_stands_behind_three_channels():
    """RGB with depth, RGB with HHA: blue, green, red, and the rest as stored."""
    mean = (104.0, 116.0, 122.0, 7.0)
    normalization = Normalization(mean, (1.0, 2.0, 4.0, 8.0), "bgr")
    pixel = np.array([[[[130, 120, 110, 23]]]], np.uint8)
    assert normalization(pixel)[0, :, 0, 0].tolist() == [6, 2, 2, 2]
    assert normalization.fill == (122.0, 116.0, 104.0, 7.0)
    two = Normalization((1.0, 2.0), (1.0, 1.0), "bgr")
    assert two(np.array([[[[5, 9]]]], np.uint8))[0, :, 0, 0].tolist() == [8, 3]
