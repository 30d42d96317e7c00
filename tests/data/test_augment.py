"""Crops: image and target move together, and a mask is only ever resampled by nearest."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pixelwise.data import augment
from pixelwise.data.augment import Augmentation, random_crop
from pixelwise.data.levels import grid_of
from pixelwise.layers.normalization import Normalization

FILL = (120.0, 110.0, 100.0)
STILL = Augmentation(flip_horizontal=False)
WILD = Augmentation(flip_vertical=True, quarter_turns=True, scale=(0.5, 2.0), stretch=1.3, rotation=45.0)
LIGHT = {"gamma": 1.6, "contrast": 1.3, "brightness": 0.2, "color": 0.1, "grey": 0.5, "noise": 0.1, "blur": 1.0}


def crop(image, target, size, augmentation, seed, **options):
    """(levels, target) of a crop."""
    found = random_crop(image, target, size, augmentation, np.random.default_rng(seed), void=255, **options)
    return found.levels, found.target


def coded(size):
    """A picture whose red and green hold the row and the column, and a target that holds the row's parity."""
    rows, columns = np.mgrid[: size[0], : size[1]]
    image = np.stack([rows, columns, np.full(size, 7)], -1).astype(np.uint8)
    return image, (rows % 2).astype(np.uint8)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    size=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    wanted=st.tuples(st.integers(1, 50), st.integers(1, 50)),
)
def test_an_unscaled_crop_is_a_slice_padded_with_mean_and_void(seed, size, wanted):
    image, target = coded(size)
    out, classes = crop(image, target, wanted, STILL, seed, fill=FILL)
    assert out.shape == (*wanted, 3)
    assert out.dtype == np.float32
    inside = classes != 255
    assert (out[~inside] == FILL).all()
    rows, columns = out[..., 0][inside].astype(int), out[..., 1][inside].astype(int)
    assert (classes[inside] == rows % 2).all()
    for axis, (length, side) in enumerate(zip(size, wanted, strict=True)):
        least = length if length < side else side * 0.87 - 2  # an edge is overhung by an eighth of the crop
        assert inside.any(1 - axis).sum() >= min(least, length)
    assert len({*zip(rows, columns, strict=True)}) == len(rows)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_a_mask_holds_no_value_that_was_not_there(seed):
    random = np.random.default_rng(seed)
    target = random.choice([0, 3, 17, 255], (37, 41)).astype(np.uint8)
    image = random.integers(0, 255, (37, 41, 3)).astype(np.uint8)
    _, classes = crop(image, target, (32, 32), WILD, seed)
    assert set(np.unique(classes)) <= {0, 3, 17, 255}


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_image_and_target_stay_on_top_of_each_other(seed):
    target = np.zeros((60, 70), np.uint8)
    target[20:45, 25:50] = 1
    image = np.repeat((target * 200)[..., None], 3, 2)
    out, classes = crop(image, target, (64, 64), WILD, seed, fill=(0.0, 0.0, 0.0))
    counted = classes != 255
    disagree = ((out[..., 0] > 100) != (classes == 1)) & counted
    assert disagree.sum() <= 0.2 * max((classes == 1).sum(), 40) ** 0.5 * 8  # the bilinear rim alone


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), row=st.integers(0, 59), column=st.integers(0, 69))
def test_the_focus_lies_in_the_crop_also_at_corners_and_turned(seed, row, column):
    target = np.zeros((60, 70), np.uint8)
    target[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2] = 1  # more than a pixel: nearest may skip one
    image = np.zeros((60, 70, 3), np.uint8)
    for augmentation in (STILL, WILD):
        _, classes = crop(image, target, (24, 24), augmentation, seed, focus=(row, column))
        assert (classes == 1).any()


def test_the_overhang_shows_edges_more_often(monkeypatch):
    target = np.zeros((128, 128), np.uint8)
    target[:8] = 1
    image = np.zeros((128, 128, 3), np.uint8)
    turning = STILL.model_copy(update={"quarter_turns": True, "rotation": 10.0})

    def seen():
        return sum((crop(image, target, (64, 64), turning, seed)[1] == 1).sum() for seed in range(300))

    with_overhang = seen()
    monkeypatch.setattr(augment, "OVERHANG", 0.0)
    assert with_overhang > 2 * seen()


@pytest.mark.parametrize(("dtype", "top"), [(np.uint8, 255), (np.uint16, 65_535), (np.float32, 1.0)])
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 7])
def test_every_type_and_channel_count_is_kept(dtype, top, channels):
    image = (np.random.default_rng(0).random((30, 40, channels)) * top).astype(dtype)
    target = np.zeros((30, 40), np.uint8)
    out, _ = crop(image, target, (48, 48), WILD.model_copy(update=LIGHT), 1)
    assert out.shape == (48, 48, channels)
    assert np.isfinite(out).all()
    assert out.std() > 10


@pytest.mark.parametrize(("dtype", "low", "high"), [(np.uint16, 0, 4095), (np.float32, 100, 180), (np.float32, -1, 0)])
def test_pictures_of_any_range_keep_their_contrast(dtype, low, high):
    """12 bits in 16, or floats beyond 0–1: after the normalization by picture they look like any other."""
    random = np.random.default_rng(0)
    image = (random.random((64, 64, 1)) * (high - low) + low).astype(dtype)
    normalization = Normalization((100.0,), (float(grid_of(image).std()),), per_picture=True)
    changed = STILL.model_copy(update=LIGHT | {"blur": 0.0})
    for seed in range(20):
        found = random_crop(
            image, np.zeros((64, 64), np.uint8), (64, 64), changed, np.random.default_rng(seed), void=255
        )
        values = normalization.normalize(found.levels[None], found.statistics[None])
        inside = values[0, 0][torch.from_numpy(found.target) != 255]
        assert 0.6 < float(inside.std()) < 1.6
        assert abs(float(inside.mean())) < 0.5


def test_a_still_crop_is_normalized_as_prediction_does():
    image, target = coded((40, 40))
    found = random_crop(image, target, (64, 64), STILL, np.random.default_rng(0), void=255)
    normalization = Normalization((100.0,) * 3, (50.0,) * 3, per_picture=True)
    inside = found.target != 255
    training = normalization.normalize(found.levels[None], found.statistics[None])[0].permute(1, 2, 0)[inside]
    rows, columns = (found.levels[inside][:, i].astype(int) for i in (0, 1))
    whole = normalization(image[None])[0].permute(1, 2, 0)
    torch.testing.assert_close(training, whole[rows, columns])


def test_light_and_color_leave_the_geometry():
    image, target = coded((40, 40))
    plain = crop(image, target, (40, 40), STILL, 3)
    out, classes = crop(image, target, (40, 40), STILL.model_copy(update=LIGHT | {"invert": 0.5}), 3)
    assert (classes == plain[1]).all()
    assert not (out == plain[0]).all()


def test_a_long_picture_is_no_limit():
    """OpenCV maps at most 32 767 pixels a side; a crop needs only its part."""
    image = np.zeros((40, 33_000, 3), np.uint8)
    out, _ = crop(image, np.zeros((40, 33_000), np.uint8), (32, 32), WILD, 0)
    assert out.shape == (32, 32, 3)


def test_a_scale_that_makes_no_sense_is_refused():
    with pytest.raises(ValueError, match="scale is a low and a high factor above 0"):
        Augmentation(scale=(0.0, 1.0))


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), wild=st.booleans())
def test_the_targets_of_other_heads_move_along(seed, wild):
    random = np.random.default_rng(seed)
    image = random.integers(0, 255, (37, 41, 3)).astype(np.uint8)
    target = random.integers(0, 9, (37, 41)).astype(np.uint8)
    options = {"void": 255, "fill": FILL}
    augmentation = WILD if wild else Augmentation()
    other = target.astype(np.uint16) + 1000
    both = random_crop(
        image, target, (32, 32), augmentation, np.random.default_rng(seed), more={"other": (other, 65_535)}, **options
    )
    alone = random_crop(image, target, (32, 32), augmentation, np.random.default_rng(seed), **options)
    assert alone.more == {} and (alone.levels == both.levels).all() and (alone.target == both.target).all()
    moved = both.more["other"]
    assert moved.dtype == np.uint16
    assert (moved == np.where(both.target == 255, 65_535, both.target.astype(int) + 1000)).all()
