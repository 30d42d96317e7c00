"""A TIFF that is streamed has the labels of the same picture whole, its georeference, and takes no more memory."""

import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image as PillowImage
from torch import nn

from pixelwise.data import large_tiff
from pixelwise.errors import BadOption, DataError, ShapeError
from pixelwise.inference import large
from pixelwise.inference.engine import TorchEngine
from pixelwise.inference.large import predict_tiff
from pixelwise.inference.pictures import confidence_png, entropy_png
from pixelwise.inference.predict import predict_image
from pixelwise.inference.views import Views
from pixelwise.labels import LabelSet
from pixelwise.layers.head import Head
from pixelwise.layers.normalization import Normalization
from pixelwise.layers.resample import Resampling
from pixelwise.models import build

SIZE = 300, 420
LABELS = LabelSet(("sky", "road", "tree"), ((10, 20, 30), (200, 0, 0), (0, 90, 0)))
NORMALIZATION = Normalization((120.0,) * 3, (60.0,) * 3)
PER_PICTURE = Normalization((120.0,) * 3, (60.0,) * 3, per_picture=True)
SCALE = (33550, 12, 3, (0.5, 0.5, 0.0), True)
TIE = (33922, 12, 6, (0.0, 0.0, 0.0, 440_000.0, 5_400_000.0, 0.0), True)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return build("unet", num_classes=3, width=0.0625, depth=3).eval()


@pytest.fixture(scope="module")
def picture():
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 255, (30, 42, 3)).astype(np.uint8)
    noise = rng.integers(0, 60, (*SIZE, 3))
    return (coarse.repeat(10, 0).repeat(10, 1) * 0.75 + noise).astype(np.uint8)


def written(path, array, **options):
    options = {"tile": (64, 64), "compression": "zlib", "photometric": "rgb", **options}
    tifffile.imwrite(path, array, **options)
    return path


@pytest.mark.parametrize("views", [Views(), Views(flip=True), Views(scales=(0.5, 1.0))], ids=["once", "flip", "scales"])
@pytest.mark.parametrize("normalization", [NORMALIZATION, PER_PICTURE], ids=["fixed", "per picture"])
def test_what_is_streamed_is_what_the_whole_picture_gives(tmp_path, network, picture, views, normalization):
    path = written(tmp_path / "a.tif", picture, extratags=[SCALE, TIE])
    files = {kind: tmp_path / f"{kind}.tif" for kind in ("mask", "confidence", "entropy")}
    engine = TorchEngine(network)
    told = []
    found = predict_tiff(
        [engine], [normalization], path, files, LABELS, views=views, tile=160,
        progress=lambda done, total: told.append((done, total)),
    )  # fmt: skip
    whole = predict_image(engine, normalization, picture, views=views, tile=160, confidence=True, entropy=True)
    np.testing.assert_array_equal(tifffile.imread(files["mask"]), whole.labels)
    np.testing.assert_array_equal(tifffile.imread(files["confidence"]), np.asarray(confidence_png(whole.confidence)))
    np.testing.assert_array_equal(tifffile.imread(files["entropy"]), np.asarray(entropy_png(whole.entropy, 3)))
    np.testing.assert_array_equal(found.areas, np.bincount(whole.labels.ravel(), minlength=3))
    assert found.size == SIZE
    assert found.notes == ()
    assert told == [(number, told[-1][1]) for number in range(1, told[-1][1] + 1)]
    assert len(told) >= 6
    for file in files.values():
        with tifffile.TiffFile(file) as tiff:
            page = tiff.pages[0]
            assert page.tags[33550].value == SCALE[3]
            assert page.tags[33922].value == TIE[3]
            assert (page.tilelength, page.tilewidth, page.compression.name) == (256, 256, "ADOBE_DEFLATE")
    with PillowImage.open(files["mask"]) as mask:
        assert mask.mode == "P"
        assert mask.getpalette()[:9] == [channel for color in LABELS.palette for channel in color]
    assert sorted(tmp_path.iterdir()) == sorted([path, *files.values()])


def test_a_crf_sees_each_tile_as_in_a_whole_picture(tmp_path, network, picture):
    from pixelwise.inference.refine import preset_for

    small = picture[:200, :200]
    path = written(tmp_path / "a.tif", small)
    refinement = preset_for("deeplab_largefov")
    predict_tiff(
        [TorchEngine(network)], [NORMALIZATION], path, {"mask": tmp_path / "m.tif"}, LABELS, tile=160,
        refinement=refinement,
    )  # fmt: skip
    whole = predict_image(network, NORMALIZATION, small, tile=160, refinement=refinement)
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "m.tif"), whole.labels)


def test_the_overlay_is_reduced_and_said(tmp_path, network, picture, monkeypatch):
    monkeypatch.setattr(large, "REDUCED", 140)
    path = written(tmp_path / "a.tif", picture)
    files = {"overlay": tmp_path / "o.png", "mask": tmp_path / "m.tif"}
    found = predict_tiff([TorchEngine(network)], [NORMALIZATION], path, files, LABELS, tile=160)
    assert found.notes == (f"the overlay of {path} is reduced to 140 × 100 pixels, 1 of 3 × 3",)
    mask = tifffile.imread(files["mask"])[1::3, 1::3]
    mean = picture.reshape(100, 3, 140, 3, 3).mean((1, 3))
    shown = np.asarray(PillowImage.open(files["overlay"])).astype(float)
    inner = np.zeros(mask.shape, bool)  # without outlines
    inner[:-1, :-1] = (mask[:-1, :-1] == mask[1:, :-1]) & (mask[:-1, :-1] == mask[:-1, 1:])
    expected = (mean + np.array(LABELS.palette)[mask]) / 2
    assert inner.mean() > 0.05
    assert np.abs(shown - expected)[inner].max() <= 2
    alone = predict_tiff(
        [TorchEngine(network)], [NORMALIZATION], path, {"overlay": tmp_path / "p.png"}, LABELS, tile=160
    )
    assert (tmp_path / "p.png").read_bytes() == files["overlay"].read_bytes()
    np.testing.assert_array_equal(alone.areas, found.areas)


def test_pixels_of_no_data_are_void_and_change_no_statistics(tmp_path, network, picture):
    holed = picture.clip(1)
    hole = np.zeros(SIZE, bool)
    hole[:150, 120:260] = True
    hole[280:, 5:80] = True
    holed[hole] = 0
    path = written(tmp_path / "a.tif", holed, extratags=[(42113, 2, 0, "0", True)])
    files = {kind: tmp_path / f"{kind}.tif" for kind in ("mask", "confidence")}
    found = predict_tiff([TorchEngine(network)], [PER_PICTURE], path, files, LABELS, tile=160)
    mask = tifffile.imread(files["mask"])
    assert (mask[hole] == LABELS.void).all()
    assert (tifffile.imread(files["confidence"])[hole] == 0).all()
    assert (found.void, found.areas.sum()) == (hole.sum(), (~hole).sum())
    with tifffile.TiffFile(files["mask"]) as tiff:
        assert tiff.pages[0].tags[42113].value == "255"
    # far from the holes it is the picture without them, at its own statistics
    rows, columns = (max(-(-side // 64), 1) for side in SIZE)
    grid = (slice(rows // 2, None, rows), slice(columns // 2, None, columns))
    seen = holed[grid][~hole[grid]].astype(np.float64)
    fixed = Normalization(tuple(seen.mean(0)), tuple(seen.std(0) + 0.04 * 60))
    whole = predict_image(
        network, fixed, np.where(hole[..., None], seen.mean(0).round(), holed).astype(np.uint8), tile=160
    )
    assert (whole.labels == mask)[~hole].mean() > 0.9999


@pytest.mark.parametrize(
    ("normalization", "files", "channels", "error", "message"),
    [
        (NORMALIZATION, ("polygons",), 3, BadOption, "streamed in tiles, of which polygons cannot be made"),
        (Normalization((1.0,) * 3, (1.0,) * 3, size=64), ("mask",), 3, BadOption, "brings pictures to one size"),
        (NORMALIZATION, ("mask",), 2, ShapeError, r"a\.tif has 2 channels, the model takes 3"),
    ],
)
def test_what_cannot_be_done_is_said_before_anything_is_written(
    tmp_path, network, picture, normalization, files, channels, error, message
):
    path = written(tmp_path / "a.tif", picture[..., :channels], photometric="minisblack", planarconfig="contig")
    with pytest.raises(error, match=message):
        predict_tiff([TorchEngine(network)], [normalization], path, {k: tmp_path / f"{k}.tif" for k in files}, LABELS)
    assert list(tmp_path.iterdir()) == [path]


def test_a_picture_that_ends_early_leaves_no_results(tmp_path, network, picture):
    path = written(tmp_path / "a.tif", picture)
    with tifffile.TiffFile(path) as tiff:
        middle = tiff.pages[0].dataoffsets[17]
    path.write_bytes(path.read_bytes()[:middle])
    tail = {"mask": tmp_path / "m.tif", "confidence": tmp_path / "c.tif"}
    with pytest.raises(DataError, match=r"a\.tif is truncated"):
        predict_tiff([TorchEngine(network)], [NORMALIZATION], path, tail, LABELS, tile=160)
    assert list(tmp_path.iterdir()) == [path]


class Pointwise(nn.Module):
    def __init__(self):
        super().__init__()
        self.score = nn.Conv2d(3, 3, 1)

    def heads(self, images):
        return {"logits": Head(self.score(images), Resampling.identity(tuple(images.shape[-2:])))}


def test_one_channel_serves_a_color_model(tmp_path, picture):
    network = Pointwise().eval()
    path = written(tmp_path / "a.tif", picture[..., 0], photometric="minisblack")
    predict_tiff([TorchEngine(network)], [NORMALIZATION], path, {"mask": tmp_path / "m.tif"}, LABELS, tile=160)
    whole = predict_image(network, NORMALIZATION, picture[..., :1])
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "m.tif"), whole.labels)


def peak():
    """Bytes of this process at its largest since the last call, and now."""
    status = Path("/proc/self/status").read_text()
    Path("/proc/self/clear_refs").write_text("5")
    return (1024 * int(status.split(field)[1].split()[0]) for field in ("VmHWM:", "VmRSS:"))


@pytest.mark.skipif(sys.platform != "linux", reason="the largest size so far is only forgotten there")
def test_memory_does_not_grow_with_the_picture(tmp_path, monkeypatch):
    monkeypatch.setattr(large_tiff, "CACHE", 2**23)
    tile = np.random.default_rng(0).random((256, 256, 3)) * 255  # eight bytes each, so that the rest is little beside
    grown = []
    for height in (1024, 1024, 3072):  # the first one fills what is kept for good
        path = tmp_path / f"{height}.tif"
        tiles = (tile for _ in range(-(-height // 256) * 4))
        written(path, tiles, shape=(height, 1024, 3), dtype=float, tile=(256, 256), compression=None)
        files = {kind: tmp_path / f"{kind}.tif" for kind in ("mask", "confidence")}
        _, before = peak()
        predict_tiff([TorchEngine(Pointwise().eval())], [PER_PICTURE], path, files, LABELS, tile=512)
        largest, _ = peak()
        grown.append(largest - before)
    assert grown[2] - grown[1] < (3072 - 1024) * 1024 * 3 * 8 / 3
