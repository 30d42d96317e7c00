"""Crops: image and target move together, and a mask is only ever resampled by nearest."""

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pixelwise.data import augment
from pixelwise.data.augment import random_crop
from pixelwise.data.augmentation import PAPER_AUGMENTATIONS, Augmentation
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
    top, left = min(max(row - 1, 0), 57), min(max(column - 1, 0), 67)
    target[top : top + 3, left : left + 3] = 1  # more than a pixel: nearest may skip one
    image = np.zeros((60, 70, 3), np.uint8)
    for augmentation in (STILL, WILD):
        _, classes = crop(image, target, (24, 24), augmentation, seed, focus=(row, column))
        assert (classes == 1).any()


def test_the_overhang_shows_edges_more_often():
    target = np.zeros((128, 128), np.uint8)
    target[:8] = 1
    image = np.zeros((128, 128, 3), np.uint8)
    turning = STILL.model_copy(update={"quarter_turns": True, "rotation": 10.0})

    def seen(augmentation):
        return sum((crop(image, target, (64, 64), augmentation, seed)[1] == 1).sum() for seed in range(300))

    assert seen(turning) > 2 * seen(turning.model_copy(update={"overhang": 0.0}))


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


def painted(seed, size=(90, 110)):
    """A target of rectangles, and a picture that holds its numbers: 40 levels a class."""
    random = np.random.default_rng(seed)
    target = np.zeros(size, np.uint8)
    for cls in range(1, 6):
        top, left = random.integers(0, size[0] - 20), random.integers(0, size[1] - 20)
        target[top : top + random.integers(15, 45), left : left + random.integers(15, 45)] = cls
    return np.repeat((target * 40)[..., None], 3, 2), target


BENT = Augmentation(elastic=4.0, rotation=20.0, scale=(0.7, 1.4))
GEOMETRY = {
    name: a.model_copy(update=dict.fromkeys(("brightness", "blur", "blur_kernel"), 0) | {"contrast": 1.0})
    for name, a in {**PAPER_AUGMENTATIONS, "bent": BENT}.items()
}


@pytest.mark.parametrize("name", GEOMETRY)
def test_the_mask_painted_into_the_picture_moves_as_the_mask(name):
    """Two pixels and more from the edges of classes, where nothing is mixed, each pixel of the picture is its class."""
    seen = 0
    for seed in range(8):
        image, target = painted(seed)
        flat = (cv2.erode(target, np.ones((5, 5))) == cv2.dilate(target, np.ones((5, 5)))).astype(np.uint8)
        flat[[0, 1, -1, -2]] = flat[:, [0, 1, -1, -2]] = 0
        found = random_crop(
            image,
            target,
            (72, 88),
            GEOMETRY[name].model_copy(update={"short_side": None}),
            np.random.default_rng(seed),
            void=255,
            fill=(250.0,) * 3,
            more={"flat": (flat, 0)},
        )
        inside = (found.more["flat"] == 1) & (found.target != 255)
        np.testing.assert_allclose(found.levels[inside], found.target[inside, None] * np.full(3, 40.0), atol=1e-3)
        outside = cv2.erode((found.target == 255).astype(np.uint8), np.ones((5, 5))) == 1
        np.testing.assert_allclose(found.levels[outside], 250, atol=1e-3)
        seen += len(np.unique(found.target[inside]))
    assert seen > 16


@pytest.mark.parametrize("name", PAPER_AUGMENTATIONS)
def test_the_papers_settings_are_valid_and_give_a_crop(name):
    augmentation = PAPER_AUGMENTATIONS[name]
    assert Augmentation.model_validate(augmentation.model_dump(mode="json")) == augmentation
    image, target = painted(1)
    out, classes = crop(image, target, (65, 49), augmentation, 0)
    assert out.shape == (65, 49, 3) and np.isfinite(out).all() and classes.shape == (65, 49)


def factors_of(augmentation, size=(60, 60), count=60):
    """The factor of each crop, from how far neighboring rows of the picture are apart in it."""
    image = np.broadcast_to(np.arange(size[0], dtype=np.float32)[:, None, None] / 255, (*size, 1)).copy()
    found = []
    central = augmentation.model_copy(update={"jitter": 0})
    for seed in range(count):
        out, classes = crop(image, np.zeros(size, np.uint8), (24, 24), central, seed)
        rows = np.flatnonzero((classes == 0).all(1))[1:-1]
        found.append((rows[-1] - rows[0]) / float(out[rows[-1], 12, 0] - out[rows[0], 12, 0]))
    return np.array(found)


def test_scales_are_the_factors_and_no_others():
    found = factors_of(Augmentation(scales=(0.5, 1.0, 1.25), flip_horizontal=False))
    assert set(found.round(2)) == {0.5, 1.0, 1.25}


def test_linear_factors_are_equally_likely():
    linear = factors_of(Augmentation(scale=(0.5, 2.0), scale_drawn="linear", flip_horizontal=False), count=400)
    log = factors_of(Augmentation(scale=(0.5, 2.0), flip_horizontal=False), count=400)
    assert abs(linear.mean() - 1.25) < 0.07 and abs((linear < 1.25).mean() - 0.5) < 0.08
    assert abs((log < 1.0).mean() - 0.5) < 0.08


def test_the_shorter_side_limits_the_factor():
    still = Augmentation(flip_horizontal=False, scales=(0.5, 3.0), short_side=(45, 120))
    assert set(factors_of(still, size=(60, 80)).round(2)) == {0.75, 2.0}


def test_jitter_moves_the_whole_picture_by_up_to_that_many_pixels():
    image, target = coded((31, 41))
    seen = set()
    for seed in range(300):
        out, classes = crop(
            image, target, (51, 61), Augmentation(flip_horizontal=False, jitter=4), seed, fill=(0.0,) * 3
        )
        rows, columns = np.nonzero(classes != 255)
        assert (np.ptp(rows), np.ptp(columns)) == (30, 40)
        seen.add((int(rows.min()) - 10, int(columns.min()) - 10))
        assert (out[rows[0], columns[0], :2] == 0).all() and out[rows[-1], columns[-1], 1] == 40
    assert {y for y, _ in seen} == {x for _, x in seen} == set(range(-4, 5))


def test_without_overhang_a_crop_lies_inside_where_it_fits():
    image, target = coded((50, 60))
    for seed in range(100):
        _, classes = crop(image, target, (33, 60), Augmentation(overhang=0), seed)
        assert (classes != 255).all()


def test_a_centered_focus_lies_in_the_middle():
    target = np.zeros((90, 90), np.uint8)
    target[41, 52] = 1
    image = np.zeros((90, 90, 3), np.uint8)
    centered = Augmentation(focus_spread=0, overhang=0)
    for seed in range(10):
        _, classes = crop(image, target, (31, 25), centered, seed, focus=(41, 52))
        assert classes[15, 12] == 1


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), row=st.integers(0, 59), column=st.integers(0, 69))
def test_the_focus_lies_in_an_elastic_crop(seed, row, column):
    target = np.zeros((60, 70), np.uint8)
    top, left = min(max(row - 1, 0), 57), min(max(column - 1, 0), 67)
    target[top : top + 3, left : left + 3] = 1
    elastic = Augmentation(elastic=10.0, rotation=10.0)
    _, classes = crop(np.zeros((60, 70, 3), np.uint8), target, (24, 24), elastic, seed, focus=(row, column))
    assert (classes == 1).any()


@pytest.mark.parametrize("probability", [0.0, 0.25])
def test_rotation_and_blur_happen_as_often_as_asked(probability):
    image, target = painted(0)
    turning = Augmentation(flip_horizontal=False, rotation=40.0, rotation_probability=probability, jitter=0)
    blurring = Augmentation(flip_horizontal=False, blur_kernel=5, blur_probability=probability, jitter=0)
    plain = crop(image, target, (90, 110), Augmentation(flip_horizontal=False, jitter=0), 0)
    turned = sum(not (crop(image, target, (90, 110), turning, seed)[1] == plain[1]).all() for seed in range(120))
    blurred = 0
    for seed in range(120):
        out, classes = crop(image, target, (90, 110), blurring, seed)
        assert (classes == plain[1]).all()
        if not (out == plain[0]).all():
            weights = np.array([1, 4, 6, 4, 1]) / 16
            np.testing.assert_allclose(out, cv2.sepFilter2D(plain[0], -1, weights, weights), atol=1e-3)
            blurred += 1
    assert abs(turned / 120 - probability) < 0.13 and abs(blurred / 120 - probability) < 0.13


def test_settings_that_are_off_draw_nothing():
    """A seed gives the crops that it gave before these settings were there."""
    image, target = painted(3)
    explicit = Augmentation(
        scales=(), elastic=0.0, jitter=None, short_side=None, blur_kernel=0, rotation_probability=1.0
    )
    random, same = np.random.default_rng(5), np.random.default_rng(5)
    random_crop(image, target, (64, 64), explicit, random, void=255)
    same.uniform(0, 0)  # scale
    same.uniform(-1, 1)  # stretch
    same.random()  # mirror
    same.uniform([0, 0], [1, 1])  # place
    same.uniform(-1, 1)  # gamma
    same.random()  # invert
    same.uniform(-1, 1)  # contrast
    same.uniform(0, 0)  # brightness
    same.uniform(0, 0, 3)  # color
    same.random()  # grey
    assert random.random() == same.random()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"scales": (0.0, 1.0)}, "scales are factors above 0"),
        ({"scales": (1.0,), "scale": (0.5, 2.0)}, "from scale or from scales"),
        ({"short_side": (100, 50)}, "short_side is a low and a high number of pixels"),
        ({"blur_kernel": 4}, "blur_kernel is odd, or 0 for none, got 4"),
        ({"blur_kernel": 5, "blur": 1.0}, "by blur or by blur_kernel"),
    ],
)
def test_settings_that_contradict_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        Augmentation(**wrong)


def test_weights_move_with_the_target_and_are_0_in_the_padding():
    for seed in range(10):
        image, target = painted(seed)
        found = random_crop(
            image,
            target,
            (100, 120),
            WILD,
            np.random.default_rng(seed),
            void=255,
            weights=target.astype(np.float32) + 1,
        )
        assert found.weights.dtype == np.float32
        assert (found.weights == np.where(found.target == 255, 0, found.target.astype(np.float32) + 1)).all()


@pytest.mark.parametrize("channels", [1, 3, 6])
@pytest.mark.parametrize("order", ["rgb", "bgr"])
@pytest.mark.parametrize("per_picture", [False, True])
def test_a_normalized_table_gives_the_normalized_levels_bit_for_bit(channels, order, per_picture):
    random = np.random.default_rng(channels)
    mean, deviation = random.uniform(50, 150, (2, channels))
    normalization = Normalization(tuple(mean), tuple(deviation), order, per_picture)
    light = {"contrast": 1.3, "brightness": 0.2, "gamma": 1.5, "invert": 0.5}
    for augmentation in (STILL, Augmentation(**light), Augmentation(**LIGHT)):
        for dtype in (np.uint8, np.float32):
            image = random.integers(0, 255, (40, 50, channels)).astype(dtype)
            target = np.zeros((40, 50), np.uint8)
            crops = [random_crop(image, target, (32, 40), augmentation, random, void=255) for _ in range(3)]
            found = normalization.of_crops(crops)
            expected = normalization.normalize(
                np.stack([c.levels for c in crops]), np.stack([c.statistics for c in crops])
            )
            assert found.shape == expected.shape == (3, channels, 32, 40)
            assert found.permute(0, 2, 3, 1).is_contiguous()
            assert torch.equal(found, expected)


@pytest.mark.parametrize("scale", [(0.7, -1), (1.3, 1), (-2.0, 1), (3.0, -1), (-0.5, 1)])
def test_a_scaled_crop_shows_the_places_that_its_map_says(scale):
    """Coordinates painted into the picture come back at the crop's pixels, however the crop lies."""
    rows, columns = np.mgrid[:60, :90].astype(np.float32)
    image = np.stack([rows, columns], -1)
    random = np.random.default_rng(3)
    for _ in range(20):
        linear = np.diag([scale[0], abs(scale[0]) * scale[1]])
        matrix, spans = augment._placed(linear, random.uniform([-10, -10], [100, 70]), (60, 90), (40, 50))
        found = augment._warp(image, spans, (40, 50), cv2.INTER_LINEAR, (-1.0, -1.0))
        near = augment._warp(image[..., 1], spans, (40, 50), cv2.INTER_NEAREST, (-1.0,))
        y, x = np.mgrid[:40, :50]
        place = np.linalg.inv(linear) @ (np.stack([x, y]).reshape(2, -1) - matrix[:, 2:])
        inside = ((place >= 0) & (place <= [[89], [59]])).all(0)
        assert np.abs(found.reshape(-1, 2)[inside] - place[::-1].T[inside]).max(initial=0) < 1e-3
        assert np.abs(near.ravel()[inside] - place[0][inside]).max(initial=0) < 0.5 + 1e-3
        half = 0.5 + 0.5 / abs(scale[0]) + 1e-3  # of a pixel, and half a pixel of the crop
        outside = ((place < -half) | (place > np.array([[89], [59]]) + half)).any(0)
        assert (found.reshape(-1, 2)[outside] == -1).all() and (near.ravel()[outside] == -1).all()


def test_a_crop_beside_the_picture_is_padding():
    spans = augment._placed(np.diag([2.0, -2.0]), np.array([500.0, 500.0]), (20, 30), (8, 9))[1]
    image, mask = np.zeros((20, 30, 3), np.uint8), np.zeros((20, 30), np.uint8)
    assert (augment._warp(image, spans, (8, 9), cv2.INTER_LINEAR, (1.0, 2.6, 3.0)) == [1, 3, 3]).all()
    assert (augment._warp(mask, spans, (8, 9), cv2.INTER_NEAREST, (255.0,)) == np.full((8, 9), 255)).all()


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 6])
def test_looking_up_is_indexing_the_table(channels):
    random = np.random.default_rng(channels)
    table = random.random((256, channels)).astype(np.float32)
    pixels = random.integers(0, 256, (7, 9, channels)).astype(np.uint8)
    expected = table[pixels, np.arange(channels)]
    assert (augment.looked_up(table, pixels) == expected).all()
    out = np.empty((7, 9, channels), np.float32)
    assert augment.looked_up(table, pixels[:, ::-1], out) is out and (out == expected[:, ::-1]).all()
