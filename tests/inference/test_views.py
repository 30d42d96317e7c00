"""Several views of a picture, held to full-size averages that torch's own resizing makes."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.functional import interpolate, pad

from pixelwise.crf import CRFParameters, dense_crf
from pixelwise.errors import BadOption, UnknownName
from pixelwise.inference import predict
from pixelwise.inference.predict import predict_image
from pixelwise.inference.refine import Refinement
from pixelwise.inference.views import PAPERS, Views, views_of, window_starts
from pixelwise.layers.head import Head
from pixelwise.layers.normalization import Normalization
from pixelwise.layers.resample import Resampling

NORMALIZATION = Normalization((120.0, 110.0, 100.0), (60.0,) * 3)


class Coarse(nn.Module):
    """Scores on a quarter of the rows and columns, and a second head with other classes."""

    def __init__(self, kind="logits"):
        super().__init__()
        torch.manual_seed(5)
        self.score = nn.Conv2d(3, 5, 4, 4)
        self.kind = kind

    def heads(self, images):
        size = tuple(images.shape[-2:])
        scores = 3 * self.score(pad(images, (0, -size[1] % 4, 0, -size[0] % 4)))
        first, second = scores[:, :3], scores[:, 3:]
        if self.kind == "probabilities":
            first, second = first.softmax(1), second.softmax(1)
        zoom = Resampling.zoom(tuple(scores.shape[-2:]), size, factor=4)
        return {"logits": Head(first, zoom, self.kind), "surface": Head(second, zoom, self.kind)}


class Pointwise(nn.Module):
    """A network that sees one pixel: a tile or a window can change nothing."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.score = nn.Conv2d(3, 4, 1)

    def heads(self, images):
        return {"logits": Head(self.score(images), Resampling.identity(tuple(images.shape[-2:])))}


def picture(height=37, width=52):
    random = np.random.default_rng(0)
    return random.integers(0, 255, (height, width, 3)).astype(np.uint8)


def scores_of(network, images, head="logits"):
    """(1, K, H, W) scores of normalized images."""
    with torch.no_grad():
        found = network.heads(images)[head]
        full = found.full_size()
    return full if found.kind == "logits" else full.log()


def naive(network, image, views, head="logits"):
    """(K, H, W) probabilities by whole arrays and torch's own functions."""
    corners = views.sizes == "corners"
    images = NORMALIZATION(image[None])
    size = image.shape[:2]
    per_scale = []
    for scale in views.scales:
        to = views.size_of(size, scale)
        scaled = interpolate(images, to, mode="bilinear", align_corners=corners)
        window = views.window or to
        total = torch.zeros(1, 1, *to)
        counts = torch.zeros(to)
        for top in window_starts(to[0], window[0], views.stride):
            for left in window_starts(to[1], window[1], views.stride):
                part = scaled[:, :, top : top + window[0], left : left + window[1]]
                h, w = part.shape[-2:]
                down, right = window[0] - h, window[1] - w
                above, before = (down // 2, right // 2) if views.padding == "both" else (0, 0)
                part = pad(part, (before, right - before, above, down - above))  # 0 is the mean, normalized
                a = scores_of(network, part, head)
                b = scores_of(network, part.flip(-1), head).flip(-1) if views.flip else None
                if views.fusion == "max":
                    values = a if b is None else torch.maximum(a, b)
                elif b is None:
                    values = a.softmax(1)
                else:
                    values = (a + b).softmax(1) if views.mirrored == "sum" else (a.softmax(1) + b.softmax(1)) / 2
                total = total + torch.zeros(1, values.shape[1], *to).index_put_(
                    (
                        torch.tensor(0),
                        torch.arange(values.shape[1])[:, None, None],
                        torch.arange(top, top + h)[:, None],
                        torch.arange(left, left + w)[None],
                    ),
                    values[0, :, above : above + h, before : before + w],
                )
                counts[top : top + h, left : left + w] += 1
        per_scale.append(interpolate(total / counts, size, mode="bilinear", align_corners=corners))
    stacked = torch.cat(per_scale)
    fused = stacked.max(0).values.softmax(0) if views.fusion == "max" else stacked.mean(0)
    return fused.numpy()


def check(network, image, views, **options):
    found = predict_image(network, NORMALIZATION, image, views=views, confidence=True, **options)
    probabilities = naive(network, image, views)
    np.testing.assert_allclose(found.confidence, probabilities.max(0), atol=2e-5)
    first, second = np.sort(probabilities, axis=0)[[-1, -2]]
    clear = first - second > 1e-4
    assert clear.mean() > 0.9
    assert (found.labels == probabilities.argmax(0))[clear].all()
    return found, probabilities


@pytest.mark.parametrize("size", [(37, 52), (1, 9), (130, 7)])
@pytest.mark.parametrize(
    "views",
    [
        Views((0.5, 1.0, 1.7)),
        Views((0.5, 1.0, 1.7), sizes="corners", flip=True),
        Views((0.75,), mirrored="sum", flip=True),
        Views((0.5, 0.75, 1.0), fusion="max", sizes="corners"),
        Views((1.0, 1.25), fusion="max", flip=True),
    ],
)
def test_scales_and_mirrored_pictures_are_fused_as_whole_arrays_are(size, views):
    check(Coarse().eval(), picture(*size), views)


@pytest.mark.parametrize(
    "views",
    [
        Views(window=(16, 20)),
        Views((0.4, 1.0, 1.5), window=(23, 31), flip=True, mirrored="sum", padding="end"),
        Views((0.4, 1.3), window=(24, 40), padding="both", flip=True),
        Views((0.5, 1.0), long_side=60, odd=True, window=(33, 33), fusion="max"),
        Views(window=(16, 16), stride=1 / 3),
    ],
)
def test_overlapping_windows_are_averaged_by_their_counts(views):
    check(Coarse().eval(), picture(), views)


@pytest.mark.parametrize(
    "views", [Views((0.5, 1.0), fusion="max"), Views(flip=True, mirrored="sum"), Views((0.5, 2.0))]
)
def test_probabilities_are_taken_for_scores_by_their_logarithms(views):
    check(Coarse("probabilities").eval(), picture(), views)


@settings(max_examples=150, deadline=None)
@given(length=st.integers(1, 60), window=st.integers(1, 40), stride=st.floats(0.05, 1))
def test_windows_start_at_multiples_of_the_stride_and_the_last_ends_with_the_picture(length, window, stride):
    starts = window_starts(length, window, stride)
    step = max(math.ceil(stride * window - 1e-9), 1)
    if length <= window:
        assert starts == [0]
        return
    assert starts[-1] == length - window
    assert starts[:-1] == [i * step for i in range(len(starts) - 1)]
    assert len(starts) == math.ceil((length - window) / step) + 1
    assert set().union(*(range(start, start + window) for start in starts)) == set(range(length))


def test_pspnets_windows_are_those_of_its_code():
    assert window_starts(1536, 713, 2 / 3) == [0, 476, 823]
    assert window_starts(2048, 1024, 1 / 3) == [0, 342, 684, 1024]  # GCN: four


@pytest.mark.parametrize("size", [(37, 300), (300, 290)])
def test_tiles_change_nothing_for_a_network_that_sees_a_pixel(size):
    network, image, views = Pointwise().eval(), picture(*size), Views((1.0, 2.0), flip=True)
    whole = predict_image(network, NORMALIZATION, image, views=views, confidence=True, tile=10_000)
    tiled = predict_image(network, NORMALIZATION, image, views=views, confidence=True, tile=270)
    np.testing.assert_allclose(whole.confidence, tiled.confidence, atol=1e-5)
    assert (whole.labels == tiled.labels).mean() > 0.999


def test_too_many_probabilities_are_fused_in_tiles(monkeypatch):
    network, image, views = Pointwise().eval(), picture(300, 1100), Views((1.0, 2.0))
    whole = predict_image(network, NORMALIZATION, image, views=views, confidence=True)
    asked = []
    see = predict.see
    monkeypatch.setattr(
        predict, "see", lambda run, part, *more, **options: asked.append(part.shape) or see(run, part, *more, **options)
    )
    monkeypatch.setattr(predict, "REFINED", 4 * 512 * 512)
    parts = predict_image(network, NORMALIZATION, image, views=views, confidence=True)
    assert asked == [(300, 512, 3)] * 3
    np.testing.assert_allclose(whole.confidence, parts.confidence, atol=1e-5)


def test_a_crf_refines_what_is_fused():
    settings_ = CRFParameters(bilateral_sigma_pixels=12, bilateral_sigma_color=20, normalization="after")
    network, image, views = Coarse().eval(), picture(), Views((0.5, 1.0), flip=True)
    found = predict_image(
        network, NORMALIZATION, image, views=views, confidence=True, refinement=Refinement(settings_, steps=4)
    )
    marginals = dense_crf(naive(network, image, views), image, settings_, 4)
    np.testing.assert_allclose(found.confidence, marginals.max(0), atol=1e-4)


@pytest.mark.parametrize("views", [Views(), Views(flip=True), Views((0.5, 1.0)), Views(window=(16, 20))])
@pytest.mark.parametrize("tile", [None, 40])
def test_further_heads_are_seen_in_the_same_way(views, tile):
    network, image = Coarse().eval(), picture()
    found = predict_image(network, NORMALIZATION, image, views=views, more=("surface",), tile=tile)
    assert set(found.more) == {"surface"}
    assert found.more["surface"].dtype == np.uint8
    expected = naive(network, image, views, "surface")
    if tile is None:
        assert (found.more["surface"] == expected.argmax(0)).mean() > 0.999
    assert found.more["surface"].shape == image.shape[:2]


def test_a_single_view_is_the_plain_prediction_bit_for_bit():
    network, image = Coarse().eval(), picture()
    for flip in (False, True):
        plain = predict_image(network, NORMALIZATION, image, flip=flip, confidence=True)
        same = predict_image(network, NORMALIZATION, image, views=Views(flip=flip), confidence=True)
        assert (plain.labels == same.labels).all() and (plain.confidence == same.confidence).all()
    assert not Views(flip=True, mirrored="sum").once and not Views(flip=True, fusion="max").once


def test_pictures_of_one_and_of_many_channels_are_seen_in_many_views():
    for channels in (1, 6):
        torch.manual_seed(0)
        network = Pointwise()
        network.score = nn.Conv2d(channels, 3, 1)
        levels = Normalization((100.0,) * channels, (50.0,) * channels, per_picture=True)
        image = np.random.default_rng(0).integers(0, 60_000, (20, 30, channels)).astype(np.uint16)
        found = predict_image(network.eval(), levels, image, views=Views((0.5, 1.0), window=(24, 24)), confidence=True)
        assert found.labels.shape == (20, 30)
        assert (found.confidence > 1 / 3 - 1e-6).all()


def test_the_papers_views_are_theirs():
    six = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)
    assert PAPERS["deeplab_v3"].scales == PAPERS["pspnet"].scales == six
    assert (PAPERS["deeplab_v2"].scales, PAPERS["deeplab_v2"].fusion) == ((0.5, 0.75, 1.0), "max")
    assert (PAPERS["refinenet"].scales, PAPERS["refinenet"].flip) == ((0.4, 0.6, 0.8, 1.0, 1.2), False)
    assert (PAPERS["pspnet"].mirrored, PAPERS["semseg"].mirrored) == ("sum", "mean")
    assert PAPERS["semseg_cityscapes"].size_of((1024, 2048), 0.5) == (512, 1024)
    assert PAPERS["pspnet_cityscapes"].size_of((1024, 2048), 0.5) == (512, 1025)
    assert PAPERS["deeplab_v3"].size_of((513, 513), 0.5) == (257, 257)  # int((d − 1)·s + 1)
    assert Views((0.75,)).size_of((10, 3), 0.75) == (8, 2)  # round
    said = PAPERS["pspnet"].describe()
    assert said == (
        "probabilities are averaged over scales 0.5, 0.75, 1, 1.25, 1.5, 1.75 of a longer side of 512 and windows of "
        "473 × 473 at strides of 0.667 of their sides and mirrored pictures (scores added) as in PSPNet (Caffe)"
    )
    assert Views().describe() == ""
    assert PAPERS["deeplab_v2"].describe() == "scores are the largest over scales 0.5, 0.75, 1 as in DeepLab v2"
    assert Views((0.5, 1.0), flip=True, fusion="max", window=(24, 32)).describe() == (
        "scores are the largest over scales 0.5, 1 and mirrored pictures, in windows of 24 × 32 at strides of 0.667 of "
        "their sides, whose scores are averaged where they overlap"
    )
    assert Views(fusion="max", window=(24, 32)).describe() == (
        "scores are averaged over windows of 24 × 32 at strides of 0.667 of their sides"
    )


def test_views_are_given_in_words():
    assert views_of(None) == Views() and views_of(None, flip=True) == Views(flip=True)
    assert views_of(" 0.5, 1,") == views_of([0.5, 1]) == Views((0.5, 1.0))
    assert views_of("refinenet", fusion="max").fusion == "max"
    assert views_of(Views((2.0,)), window=(3, 4)) == Views((2.0,), window=(3, 4))
    with pytest.raises(UnknownName, match="no test of a paper is called 'deeplab_v4'; did you mean 'deeplab_v3'"):
        views_of("deeplab_v4")
    with pytest.raises(BadOption, match="scales are numbers separated by commas, as 0.5,1,1.5, got '0.5,x'"):
        views_of("0.5,x")
    with pytest.raises(BadOption, match="scales are different numbers above 0 and up to 8, got 0.5, 0.5"):
        views_of("0.5,0.5")
    for wrong in ("0", "-1", "9", "nan", ","):
        with pytest.raises(BadOption, match="scales are different numbers above 0 and up to 8"):
            views_of(wrong)
    with pytest.raises(BadOption, match="fusion is mean or max, got 'median'"):
        views_of(None, fusion="median")
    with pytest.raises(BadOption, match="a window has at least one row and column, got 0 × 5"):
        views_of(None, window=(0, 5))
    with pytest.raises(BadOption, match="the stride of windows is a share of their sides, above 0 and up to 1, got 0"):
        Views(window=(4, 4), stride=0)
