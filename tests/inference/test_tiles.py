"""Tiles with their network's context are the whole; others go over into each other; a ramp and a constant stay."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from pixelwise.errors import BadOption
from pixelwise.inference import tiles as module
from pixelwise.inference.engine import TorchEngine
from pixelwise.inference.predict import predict_image
from pixelwise.inference.tiles import MARGIN, UNKNOWN, Plan, Tiling, blended, measured, plan_of, tiles, tiling
from pixelwise.layers.head import Head
from pixelwise.layers.normalization import Normalization
from pixelwise.layers.resample import Resampling
from pixelwise.models import build

NORMALIZATION = Normalization((120.0,) * 3, (60.0,) * 3)


def network_of(name, **options):
    torch.manual_seed(0)
    network = build(name, num_classes=4, **options).eval()
    with torch.no_grad():
        for part in network.modules():  # scores that differ from pixel to pixel
            if isinstance(part, nn.Conv2d) and part.out_channels == 4:
                part.weight.normal_(0, 1)
    return network


def picture(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 255, (height, width, 3)).astype(np.uint8)


def probabilities(network, image):
    with torch.no_grad():
        return network(NORMALIZATION(image[None])).softmax(1)[0].numpy()


FINITE = {
    "unet": ("unet", {"width": 0.0625, "depth": 3}),
    "unet_valid": ("unet_valid", {"width": 0.0625, "depth": 3}),
    "segnet_basic": ("segnet_basic", {"width": 0.125}),
    "fcn8s": ("fcn8s_vgg16", {"width": 0.02}),
    "deeplab_largefov": ("deeplab_largefov", {"width": 0.02}),
}


@pytest.mark.parametrize("name", FINITE)
def test_tiles_of_a_network_of_finite_reach_are_the_whole_away_from_the_borders(name, monkeypatch):
    builder, options = FINITE[name]
    network = network_of(builder, **options)
    monkeypatch.setattr(module, "MARGIN", 400)  # every reach counts as small
    found = measured(network)
    assert found.ramp == 0
    side = 2 * found.margin + 4 * found.step + found.extra
    size = side + 3 * found.step, side + 5 * found.step
    image = picture(*size)
    whole = probabilities(network, image)
    cut = list(tiles(size, side, found.margin, found.step, found.extra))
    assert len(cut) >= 4
    inside = np.zeros(size, bool)
    inside[found.margin : size[0] - found.margin, found.margin : size[1] - found.margin] = True
    assert inside.any()
    told = np.zeros_like(whole)
    for window, inner, place in cut:
        assert all(span.start % found.step == 0 for span in window)
        told[(slice(None), *place)] = probabilities(network, image[window])[(slice(None), *inner)]
    np.testing.assert_allclose(told[:, inside], whole[:, inside], atol=1e-5)
    assert (told.argmax(0) == whole.argmax(0))[inside].all()


def test_a_margin_a_step_smaller_would_not_do():
    network = network_of("unet", width=0.0625, depth=3)
    found = measured(network)
    size = (160, 160)
    image = picture(*size)
    other = image.copy()
    other[:, :40] = 255 - other[:, :40]
    changed = np.abs(probabilities(network, image) - probabilities(network, other)).max((0, 1)) > 0
    reach = np.flatnonzero(changed).max() - 39
    assert reach <= found.margin < reach + 2 * found.step


@pytest.mark.parametrize(
    ("builder", "options", "expected"),
    [
        ("unet", {"width": 0.0625}, Tiling(1024, 118, 16, 0, 0)),
        ("segnet_basic", {"width": 0.1}, Tiling(1024, 117, 16, 0, 0)),
        ("fcn8s_vgg16", {"width": 0.02}, Tiling(1024, MARGIN, 32, 0, MARGIN)),  # sees 404 pixels
        ("deeplab_v3_resnet50", {"width": 0.05}, Tiling(1024, MARGIN, 16, 0, MARGIN)),  # all of the picture
        ("pspnet_resnet50", {"width": 0.05}, Tiling(713, 118, 8, 0, 118)),  # its paper's window on Cityscapes
    ],
)
def test_tiling_is_read_off_the_network(builder, options, expected):
    network = network_of(builder, **options)
    assert tiling(TorchEngine(network)) == expected
    assert tiling(TorchEngine(network)) is tiling(TorchEngine(network))  # once


def test_a_network_that_tells_nothing_is_blended():
    class Odd(nn.Module):
        def heads(self, images):
            return {"logits": Head(images[:, : int(images.sum())], Resampling.identity((2, 2)))}

    assert measured(Odd()) == UNKNOWN

    class Graph:
        device, tiling = torch.device("cpu"), None

    assert tiling(Graph()) == UNKNOWN
    Graph.tiling = (64, 8, 4)
    assert tiling(Graph()) == Tiling(64, 8, 4)


class Known:
    """What is told of a window: values that are known."""

    def __init__(self, values, band):
        self._values, self._band, self.channels = values, band, len(values)

    def bands(self, first, last):
        for top in range(first, last, self._band):
            yield slice(top, min(top + self._band, last)), self._values[:, top : min(top + self._band, last)]

    def edge(self, first, last):
        return lambda rows: self._values[:, first:last][:, rows]


@pytest.mark.parametrize("seed", range(4))
def test_a_constant_and_a_ramp_and_noise_reassemble(seed):
    rng = np.random.default_rng(seed)
    for _ in range(12):
        size = tuple(int(side) for side in rng.integers(1, 150, 2))
        margin = int(rng.integers(0, 9))
        tile, step, extra = int(rng.integers(4 * margin + 8, 60)), int(rng.choice([1, 4])), int(rng.integers(0, 2))
        plan = Plan(size, tuple(tiles(size, tile, margin, step, extra)), int(rng.integers(0, margin + 1)))
        rows, columns = np.mgrid[0 : size[0], 0 : size[1]].astype(np.float32)
        whole = torch.from_numpy(np.stack([np.full(size, 0.25), rows / 150, columns / 150, rng.random(size)]))
        band = int(rng.integers(1, 40))

        told, times = torch.zeros_like(whole), torch.zeros(size)
        for place, values in blended(plan, lambda window, whole=whole, band=band: Known(whole[:, *window], band)):
            told[(slice(None), *place)] = values
            times[place] += 1
        assert (times == 1).all()
        torch.testing.assert_close(told, whole, rtol=0, atol=1e-12)


def test_blending_is_the_weighted_mean_of_the_windows(monkeypatch):
    size, margin, ramp = (90, 130), 12, 8
    plan = Plan(size, tuple(tiles(size, 50, margin)), ramp)
    numbers = {(window[0].start, window[1].start): number for number, (window, _, _) in enumerate(plan.tiles)}

    def see(window):
        height, width = (span.stop - span.start for span in window)
        return Known(torch.full((1, height, width), float(numbers[window[0].start, window[1].start])), 7)

    told = torch.zeros(size)
    for place, values in blended(plan, see):
        told[place] = values[0]

    def weight(pixel, place, length):  # the definition, pixel by pixel
        up = 1.0 if place.start == 0 else min(max((pixel - place.start + ramp / 2 + 0.5) / ramp, 0), 1)
        down = 1.0 if place.stop == length else min(max((place.stop - pixel + ramp / 2 - 0.5) / ramp, 0), 1)
        return up * down

    expected, total = np.zeros(size), np.zeros(size)
    for number, (_, _, place) in enumerate(plan.tiles):
        own = np.outer(
            [weight(row, place[0], size[0]) for row in range(size[0])],
            [weight(column, place[1], size[1]) for column in range(size[1])],
        )
        expected, total = expected + number * own, total + own
    np.testing.assert_allclose(total, 1)
    np.testing.assert_allclose(told, expected / total, atol=1e-5)


class Pooled(nn.Module):
    """Random weights of a pixel's surroundings and of the mean over all of what it is given."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.near, self.far = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)

    def heads(self, images):
        near = self.near(functional.avg_pool2d(images, 9, 1, 4))
        scores = near + 2 * self.far(functional.adaptive_avg_pool2d(images, 1))
        return {"logits": Head(scores, Resampling.identity(tuple(images.shape[-2:])))}


def test_no_seam_is_seen_where_windows_differ():
    network = Pooled().eval()
    engine = TorchEngine(network)
    size = 320, 420
    light = np.linspace(0, 150, size[1])[None, :, None] + np.linspace(0, 60, size[0])[:, None, None]
    image = (light + np.random.default_rng(0).normal(0, 9, (*size, 3))).clip(0, 255).astype(np.uint8)
    plan = plan_of(engine, NORMALIZATION, size, 256)
    assert plan.ramp
    soft = predict_image(engine, NORMALIZATION, image, confidence=True, tile=256).confidence
    hard = np.zeros(size)
    for window, inner, place in plan.tiles:
        with torch.no_grad():
            scores = network.heads(NORMALIZATION(image[window][None]))["logits"].scores
        hard[place] = scores.softmax(1)[0].max(0).values.numpy()[inner]
    for axis in (0, 1):
        edges = [edge - 1 for edge in {place[axis].stop for _, _, place in plan.tiles} - {size[axis]}]
        for values, seam in ((soft, False), (hard, True)):
            jumps = np.abs(np.diff(values, axis=axis)).mean(1 - axis)
            assert bool(jumps[edges].max() > np.delete(jumps, edges).max()) == seam


def test_a_tile_too_small_for_the_network_is_refused():
    network = network_of("unet", width=0.0625)
    engine = TorchEngine(network)
    with pytest.raises(
        BadOption, match="a tile of 128 pixels is too small: this network sees 118 pixels .* at least 268"
    ):
        plan_of(engine, NORMALIZATION, (2000, 2000), 128)
    assert plan_of(engine, NORMALIZATION, (100, 100), 128).tiles[0][0] == (slice(0, 100), slice(0, 100))
    with pytest.raises(BadOption, match="at least 32 pixels wide, got 8"):
        plan_of(engine, NORMALIZATION, (2000, 2000), 8)
