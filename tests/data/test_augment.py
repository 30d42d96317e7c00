"""Crops: image and target move together, and a mask is only ever resampled by nearest."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pixelwise.data.augment import Augmentation, random_crop

FILL = (120.0, 110.0, 100.0)
STILL = Augmentation(flip_horizontal=False)
WILD = Augmentation(flip_vertical=True, quarter_turns=True, scale=(0.5, 2.0), stretch=1.3, rotation=45.0)


def coded(size):
    """A picture whose red and green hold the row and the column, and a target that holds the row's parity."""
    rows, columns = np.mgrid[: size[0], : size[1]]
    image = np.stack([rows, columns, np.full(size, 7)], -1).astype(np.uint8)
    return image, (rows % 2).astype(np.uint8)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    size=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    crop=st.tuples(st.integers(1, 50), st.integers(1, 50)),
)
def test_an_unscaled_crop_is_a_slice_padded_with_mean_and_void(seed, size, crop):
    image, target = coded(size)
    out, classes = random_crop(image, target, crop, STILL, np.random.default_rng(seed), fill=FILL, void=255)
    assert out.shape == (*crop, 3)
    inside = classes != 255
    assert (out[~inside] == FILL).all()
    rows, columns = out[..., 0][inside].astype(int), out[..., 1][inside].astype(int)
    assert (classes[inside] == rows % 2).all()
    assert inside.sum() == min(size[0], crop[0]) * min(size[1], crop[1])
    assert len({*zip(rows, columns, strict=True)}) == len(rows)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_a_mask_holds_no_value_that_was_not_there(seed):
    random = np.random.default_rng(seed)
    target = random.choice([0, 3, 17, 255], (37, 41)).astype(np.uint8)
    image = random.integers(0, 255, (37, 41, 3)).astype(np.uint8)
    _, classes = random_crop(image, target, (32, 32), WILD, random, fill=FILL, void=255)
    assert set(np.unique(classes)) <= {0, 3, 17, 255}


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_image_and_target_stay_on_top_of_each_other(seed):
    target = np.zeros((60, 70), np.uint8)
    target[20:45, 25:50] = 1
    image = np.repeat((target * 200)[..., None], 3, 2)
    out, classes = random_crop(
        image, target, (64, 64), WILD, np.random.default_rng(seed), fill=(0.0, 0.0, 0.0), void=255
    )
    counted = classes != 255
    disagree = ((out[..., 0] > 100) != (classes == 1)) & counted
    assert disagree.sum() <= 0.2 * max((classes == 1).sum(), 40) ** 0.5 * 8  # the bilinear rim alone


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), row=st.integers(0, 59), column=st.integers(0, 69))
def test_the_focus_lies_in_the_crop(seed, row, column):
    target = np.zeros((60, 70), np.uint8)
    target[row, column] = 1
    image = np.zeros((60, 70, 3), np.uint8)
    random = np.random.default_rng(seed)
    _, classes = random_crop(image, target, (24, 24), STILL, random, fill=FILL, void=255, focus=(row, column))
    assert (classes == 1).any()


@pytest.mark.parametrize(("dtype", "top"), [(np.uint8, 255), (np.uint16, 65_535), (np.float32, 1.0)])
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 7])
def test_every_type_and_channel_count_is_kept(dtype, top, channels):
    image = (np.random.default_rng(0).random((30, 40, channels)) * top).astype(dtype)
    target = np.zeros((30, 40), np.uint8)
    lively = WILD.model_copy(update={"brightness": 0.2, "contrast": 0.3, "gamma": 1.5, "noise": 5.0, "blur": 1.0})
    fill = (100.0,) * channels
    out, _ = random_crop(image, target, (48, 48), lively, np.random.default_rng(1), fill=fill, void=255)
    assert out.dtype == dtype
    assert out.shape == (48, 48, channels)
    assert 0 <= out.min()
    assert out.max() <= top


def test_light_and_color_leave_the_geometry():
    image, target = coded((40, 40))
    changed = STILL.model_copy(update={"brightness": 0.3, "contrast": 0.4, "gamma": 1.5, "color": 0.2, "invert": 0.5})
    out, classes = random_crop(image, target, (40, 40), changed, np.random.default_rng(3), fill=FILL, void=255)
    assert (classes == target).all()
    assert not (out == image).all()
