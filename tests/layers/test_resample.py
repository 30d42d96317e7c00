"""Resampling against naive transcriptions of each convention, torch's own operators, and itself."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from pixelwise.errors import ShapeError
from pixelwise.layers.resample import Resampling
from pixelwise.metrics import ConfusionMatrix

sizes = st.tuples(st.integers(1, 9), st.integers(1, 9))
images = st.tuples(st.integers(1, 40), st.integers(1, 40))


def scores_for(size, classes=3, batch=2):
    return torch.randn(batch, classes, *size, generator=torch.Generator().manual_seed(0))


def naive(scores, image, coordinate):
    """Bilinear interpolation at coordinate(i, h, H) per axis, pixel by pixel, in float64."""
    n, k, h, w = scores.shape
    out = torch.zeros(n, k, *image, dtype=torch.float64)
    for y in range(image[0]):
        for x in range(image[1]):
            v = min(max(coordinate(y, h, image[0]), 0.0), h - 1)
            u = min(max(coordinate(x, w, image[1]), 0.0), w - 1)
            y0, x0 = int(v), int(u)
            y1, x1 = min(y0 + 1, h - 1), min(x0 + 1, w - 1)
            a, b = v - y0, u - x0
            top = scores[..., y0, x0] * (1 - b) + scores[..., y0, x1] * b
            bottom = scores[..., y1, x0] * (1 - b) + scores[..., y1, x1] * b
            out[..., y, x] = top * (1 - a) + bottom * a
    return out


CONVENTIONS = {
    "half_pixel": (Resampling.half_pixel, lambda i, h, n: (i + 0.5) * h / n - 0.5),
    "align_corners": (Resampling.align_corners, lambda i, h, n: i * (h - 1) / (n - 1) if n > 1 else 0.0),
    "zoom": (lambda c, i: Resampling.zoom(c, i, factor=8), lambda i, h, n: i / 8),
    "blocks": (lambda c, i: Resampling.blocks(c, i, factor=8), lambda i, h, n: (i + 0.5) / 8 - 0.5),
    "zoom, cropped": (lambda c, i: Resampling.zoom(c, i, factor=8, offset=7), lambda i, h, n: (i + 7) / 8),
}


@pytest.mark.parametrize("name", CONVENTIONS)
@settings(max_examples=15, deadline=None)
@given(coarse=sizes, image=images)
def test_a_convention_is_its_coordinate_formula(name, coarse, image):
    make, coordinate = CONVENTIONS[name]
    scores = scores_for(coarse)
    expected = naive(scores.double(), image, coordinate)
    torch.testing.assert_close(make(coarse, image).apply(scores).double(), expected, atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("coarse", "image"), [((5, 7), (40, 51)), ((1, 1), (3, 4)), ((9, 4), (3, 2)), ((6, 6), (6, 6))]
)
@pytest.mark.parametrize("align", [False, True])
def test_torch_interpolates_the_same_forward_and_backward(coarse, image, align):
    scores = scores_for(coarse).requires_grad_()
    make = Resampling.align_corners if align else Resampling.half_pixel
    ours = make(coarse, image).apply(scores)
    theirs = F.interpolate(scores, image, mode="bilinear", align_corners=align)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    weight = torch.randn_like(theirs)
    (mine,) = torch.autograd.grad(ours, scores, weight)
    (other,) = torch.autograd.grad(theirs, scores, weight)
    torch.testing.assert_close(mine, other, atol=1e-4, rtol=1e-4)


def test_blocks_are_half_pixels_of_a_whole_factor():
    scores = scores_for((5, 7))
    whole = Resampling.half_pixel((5, 7), (40, 56)).apply(scores)
    torch.testing.assert_close(Resampling.blocks((5, 7), (37, 50), factor=8).apply(scores), whole[..., :37, :50])


@pytest.mark.parametrize(
    ("factor", "offset", "kernel"), [(32, 19, 64), (16, 27, 32), (8, 31, 16), (2, 5, 4), (32, 18, 63), (32, 1, 63)]
)
@pytest.mark.parametrize("image", [(1, 1), (40, 33), (65, 130)])
def test_a_deconvolution_is_a_cropped_transposed_convolution(factor, offset, kernel, image):
    coarse = tuple((n + offset - kernel + factor - 1) // factor + 2 for n in image)
    f = (kernel + 1) // 2
    center = f - 1 if kernel % 2 else f - 0.5
    taps = 1 - (torch.arange(kernel) - center).abs() / f
    weight = torch.zeros(3, 3, kernel, kernel)
    for c in range(3):
        weight[c, c] = taps[:, None] * taps[None, :]
    scores = scores_for(coarse)
    whole = F.conv_transpose2d(scores, weight, stride=factor)
    expected = whole[..., offset : offset + image[0], offset : offset + image[1]]
    ours = Resampling.deconvolution(coarse, image, factor=factor, offset=offset, kernel=kernel).apply(scores)
    torch.testing.assert_close(ours, expected, atol=1e-5, rtol=1e-5)


def test_a_deconvolution_that_does_not_cover_the_picture_is_refused():
    with pytest.raises(ShapeError, match=r"a deconvolution of 2 cells by 8 gives 24 pixels, too few for a crop of 30"):
        Resampling.deconvolution((2, 2), (30, 30), factor=8, offset=31)


def test_scores_of_another_size_are_refused():
    with pytest.raises(ShapeError, match=r"takes scores \(N, K, 4, 5\), got \(1, 2, 5, 4\)"):
        Resampling.half_pixel((4, 5), (8, 8)).apply(torch.zeros(1, 2, 5, 4))
    with pytest.raises(ShapeError, match="at least 1 × 1"):
        Resampling.half_pixel((0, 5), (8, 8))


def test_the_identity_changes_nothing():
    scores = scores_for((5, 6))
    resampling = Resampling.identity((5, 6))
    assert resampling.is_identity
    assert torch.equal(resampling.apply(scores), scores)
    assert not Resampling.half_pixel((5, 6), (5, 7)).is_identity


@settings(max_examples=20, deadline=None)
@given(coarse=sizes, image=images, classes=st.integers(1, 6))
def test_the_fused_argmax_is_the_argmax_of_apply(coarse, image, classes):
    scores = scores_for(coarse, classes)
    resampling = Resampling.align_corners(coarse, image)
    full = resampling.apply(scores)
    for labels in (resampling.argmax(scores), resampling._running_argmax(scores)):
        chosen = full.gather(1, labels.long().unsqueeze(1))[:, 0]
        torch.testing.assert_close(chosen, full.max(1).values, atol=1e-5, rtol=1e-5)


def test_the_first_of_equal_scores_wins():
    scores = torch.zeros(1, 4, 3, 3)
    resampling = Resampling.half_pixel((3, 3), (10, 10))
    assert resampling.argmax(scores).max() == 0
    assert resampling._running_argmax(scores).max() == 0


def test_more_than_255_classes_have_a_wider_type():
    scores = torch.zeros(1, 300, 2, 2)
    scores[:, 299] = 1
    labels = Resampling.half_pixel((2, 2), (4, 4)).argmax(scores)
    assert labels.dtype == torch.int32
    assert (labels == 299).all()


def test_count_is_argmax_into_the_matrix():
    scores = scores_for((4, 5), 3)
    target = torch.randint(0, 3, (2, 17, 19), generator=torch.Generator().manual_seed(1))
    target[0, :3] = 255
    resampling = Resampling.half_pixel((4, 5), (17, 19))
    ours, expected = ConfusionMatrix(3), ConfusionMatrix(3)
    resampling.count(scores, target, ours)
    expected.update(resampling.apply(scores).argmax(1).numpy(), target.numpy())
    assert (ours.counts == expected.counts).all()
    assert ours.counts.sum() == (target != 255).sum()


def test_forward_and_backward_give_the_same_bits_each_time():
    scores = scores_for((7, 9), 5).requires_grad_()
    resampling = Resampling.half_pixel((7, 9), (50, 61))
    weight = torch.randn(2, 5, 50, 61)
    first = resampling.apply(scores)
    (gradient,) = torch.autograd.grad(first, scores, weight)
    for _ in range(5):
        again = resampling.apply(scores)
        (same,) = torch.autograd.grad(again, scores, weight)
        assert torch.equal(first, again)
        assert torch.equal(gradient, same)


def test_a_constant_stays_constant_where_weights_add_up_to_one():
    for make in (Resampling.half_pixel, Resampling.align_corners):
        out = make((3, 4), (20, 30)).apply(torch.full((1, 1, 3, 4), 2.5))
        np.testing.assert_allclose(out.numpy(), 2.5, rtol=1e-6)


@pytest.mark.parametrize("name", CONVENTIONS)
def test_a_band_is_the_same_of_the_coarse_rows_that_it_needs(name):
    scores = scores_for((40, 5))
    resampling = CONVENTIONS[name][0]((40, 5), (300, 40))
    whole = resampling.apply(scores)
    for start in range(0, 300, 20):
        needed, band = resampling.band(slice(start, start + 20))
        assert torch.equal(band.apply(scores[:, :, needed]), whole[:, :, start : start + 20])
        assert needed.stop - needed.start <= 5
