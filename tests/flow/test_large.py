"""TIFFs that are streamed: which ones are, the command, and what the how-to says of them."""

import numpy as np
import pytest
import tifffile
import torch
from typer.testing import CliRunner

from pixelwise.cli.main import app
from pixelwise.flow.predicting import large
from pixelwise.flow.predicting.large import predict_large, streams
from pixelwise.labels import LabelSet
from pixelwise.layers.normalization import Normalization
from pixelwise.models import build
from pixelwise.segmenter import Segmenter

rasterio = pytest.importorskip("rasterio")

GEO = [
    (33550, 12, 3, (0.5, 0.5, 0.0), True),
    (33922, 12, 6, (0.0, 0.0, 0.0, 440_000.0, 5_400_000.0, 0.0), True),
    (34735, 3, 16, (1, 1, 0, 3, 1024, 0, 1, 1, 1025, 0, 1, 1, 3072, 0, 1, 32633), True),
]


@pytest.fixture(scope="module")
def segmenter():
    torch.manual_seed(0)
    options = {"num_classes": 2, "width": 0.0625, "depth": 2}
    labels = LabelSet(("field", "house"), ((0, 120, 0), (200, 30, 10)))
    normalization = Normalization((120.0,) * 3, (60.0,) * 3)
    return Segmenter(
        build("unet", **options).eval(), normalization, labels, {"builder": "unet", "options": options}
    )  # fmt: skip


def written(path, size=(200, 260), **options):
    pixels = np.random.default_rng(0).integers(0, 255, (*size, 3)).astype(np.uint8)
    tifffile.imwrite(path, pixels, **{"tile": (64, 64), "photometric": "rgb", **options})
    return path


def test_large_and_georeferenced_tiffs_are_streamed_and_no_others(tmp_path, monkeypatch):
    assert streams(written(tmp_path / "geo.tif", extratags=GEO))
    assert not streams(written(tmp_path / "plain.tif"))
    (tmp_path / "broken.tif").write_bytes(b"II*\0" + bytes(40))
    assert not streams(tmp_path / "broken.tif")
    assert not streams(tmp_path / "missing.tif")
    monkeypatch.setattr(large, "LARGE", 50_000)
    assert streams(tmp_path / "plain.tif")
    assert not streams(written(tmp_path / "small.tif", size=(100, 100)))


def test_the_command_streams_a_geotiff_and_keeps_its_place(tmp_path, segmenter):
    written(tmp_path / "scan.tif", extratags=GEO)
    segmenter.save(tmp_path / "model.safetensors")
    done = CliRunner().invoke(
        app,
        ["predict", str(tmp_path / "model.safetensors"), str(tmp_path / "scan.tif"), "--out", str(tmp_path / "out"),
         "--save", "mask,overlay,confidence,areas", "--tile", "96"],
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    whole = segmenter.predict(tmp_path / "scan.tif")
    with rasterio.open(tmp_path / "scan.tif") as before:
        for kind in ("mask", "confidence"):
            with rasterio.open(tmp_path / "out" / kind / "scan.tif") as after:
                assert after.crs == before.crs
                assert after.transform == before.transform
                if kind == "mask":
                    np.testing.assert_array_equal(after.read(1)[16:-16, 16:-16], whole.labels[16:-16, 16:-16])
                    assert after.colormap(1)[1][:3] == (200, 30, 10)
    assert (tmp_path / "out" / "overlay" / "scan.png").is_file()
    assert "scan,house" in (tmp_path / "out" / "areas.csv").read_text()


def test_a_table_of_areas_alone_needs_no_file(tmp_path, segmenter):
    found = predict_large(segmenter, written(tmp_path / "scan.tif"), {}, tile=96)
    assert sum(found.areas.values()) == 200 * 260
    assert found.size == (200, 260)


def test_the_engine_that_is_asked_for_streams(tmp_path, segmenter, monkeypatch):
    asked, own = [], segmenter.engine()
    monkeypatch.setattr(Segmenter, "engine", lambda self, *given: asked.append(given) or own)
    predict_large(segmenter, written(tmp_path / "scan.tif"), {}, tile=96, precision="fp32", engine="openvino")
    assert asked == [("fp32", "openvino")]
