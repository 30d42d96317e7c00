"""Exports: files that run without pixelwise and give the model's labels, or nothing at all."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pixelwise.cli.main import main
from pixelwise.errors import BadOption, DataError
from pixelwise.flow import bundle_predict
from pixelwise.flow.demo import draw_scene
from pixelwise.flow.export import BUNDLE, export
from pixelwise.inference import export as graphs
from pixelwise.inference.export_files import read_graph
from pixelwise.inference.predict import DensePrediction
from pixelwise.inference.refine import preset_for
from pixelwise.labels import LabelSet
from pixelwise.layers.normalization import Normalization
from pixelwise.models import build
from pixelwise.segmenter import Segmenter

pytest.importorskip("onnxruntime", reason="the extra export is not installed")
pytest.importorskip("onnxscript", reason="the extra export is not installed")

NAMES = ("soil", "leaf", "fruit", "flower", "stone")
WITHOUT = "import sys, runpy; sys.modules.update(torch=None, pixelwise=None); sys.argv = sys.argv[1:]; "
RUN = WITHOUT + "runpy.run_path(sys.argv[0], run_name='__main__')"


@pytest.fixture(scope="module")
def segmenter():
    torch.manual_seed(0)
    options = {"num_classes": len(NAMES), "width": 1 / 16, "depth": 1}
    network = build("unet", **options).eval()
    normalization = Normalization((110.0, 100.0, 90.0), (50.0, 55.0, 60.0), per_picture=True)
    return Segmenter(network, normalization, LabelSet(NAMES), {"builder": "unet", "options": options})


@pytest.fixture(scope="module", autouse=True)
def _followed_once():
    """Following the one network and bringing it to ONNX take seconds; the exports of this file share both."""
    known = {}

    def traced(module, example, *, sides):
        key = module.confidence, example.dtype
        if key not in known:
            known[key] = graphs.traced(module, example, sides=sides)
        return known[key]

    def onnx_model(program, image, outputs):
        if id(program) not in known:
            known[id(program)] = graphs.onnx_model(program, image, outputs)
        return known[id(program)]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pixelwise.flow.export.traced", traced)
        for module in ("pixelwise.flow.export", "pixelwise.inference.export_files"):
            patch.setattr(f"{module}.onnx_model", onnx_model)
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three pictures with masks."""
    root = tmp_path_factory.mktemp("garden")
    for kind in ("images", "masks"):
        (root / kind).mkdir()
    for index in range(3):
        image, target = draw_scene(np.random.default_rng(index + 10), (48, 64))
        Image.fromarray(image).save(root / "images" / f"{index}.png")
        Image.fromarray(target).save(root / "masks" / f"{index}.png")
    (root / "classes.txt").write_text("\n".join(NAMES))
    return root


def scene(size=(50, 70)):
    return draw_scene(np.random.default_rng(3), size)[0]


def metadata_of(path):
    if path.suffix == ".onnx":
        import onnx

        return {entry.key: entry.value for entry in onnx.load(path).metadata_props}
    if path.suffix == ".xml":
        import openvino

        return {
            f"pixelwise.{name}": str(getattr(value, "value", value))
            for name, value in openvino.Core().read_model(path).get_rt_info("pixelwise").value.items()
        }
    extra = {"pixelwise.json": ""}
    torch.export.load(path, extra_files=extra)
    return {
        f"pixelwise.{k}": v if isinstance(v, str) else json.dumps(v)
        for k, v in json.loads(extra["pixelwise.json"]).items()
    }


@pytest.mark.parametrize("suffix", [".onnx", ".pt2", ".xml"])
def test_a_file_of_each_format_gives_the_models_labels_and_names_its_classes(segmenter, tmp_path, suffix):
    if suffix == ".xml":
        pytest.importorskip("openvino", reason="the extra openvino is not installed")
    exported = export(segmenter, tmp_path / f"model{suffix}", confidence=True, source="model.safetensors")
    assert [one.equal for one in exported.compared] == [pytest.approx(1, abs=1e-4)]
    expected = segmenter.predict_dense(scene(), confidence=True)
    labels, sure = read_graph(exported.out)(scene()[None])
    assert np.mean(labels[0] == expected.labels) > 0.9995
    np.testing.assert_allclose(sure[0], expected.confidence, atol=1e-3)
    found = metadata_of(exported.out)
    assert json.loads(found["pixelwise.classes"]) == list(NAMES)
    assert json.loads(found["pixelwise.normalization"])["per_picture"] is True
    assert found["pixelwise.source"] == "model.safetensors"
    beside = {".xml": ["model.bin", "model.xml"]}.get(suffix, [f"model{suffix}"])
    assert sorted(file.name for file in tmp_path.iterdir()) == beside


def test_a_graph_whose_labels_differ_is_not_written(segmenter, folder, tmp_path, monkeypatch):
    monkeypatch.setattr(
        Segmenter, "predict_dense", lambda self, pixels, **_: DensePrediction(np.full(pixels.shape[:2], 9), None)
    )
    with pytest.raises(DataError, match=r"model\.pt2 was not written: on drawn pictures .* 0\.000% .* at least 99\.9%"):
        export(segmenter, tmp_path / "model.pt2", check=folder, confidence=True)
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_stays_without_overwrite(segmenter, tmp_path):
    out = tmp_path / "model.pt2"
    out.write_text("mine")
    with pytest.raises(DataError, match=r"model\.pt2 exists; choose another name, or --overwrite"):
        export(segmenter, out)
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "diary.txt").write_text("mine")
    with pytest.raises(DataError, match=r"notes holds diary\.txt, which is of no bundle"):
        export(segmenter, tmp_path / "notes", bundle=True, overwrite=True)
    (tmp_path / "other.bin").write_text("mine")
    with pytest.raises(DataError, match=r"other\.bin exists"):
        export(segmenter, tmp_path / "other.xml")
    assert out.read_text() == "mine"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"out": "a.pt2", "int8": True, "calibrate": "x"}, "int8 is for .onnx and .xml"),
        ({"out": "a.onnx", "int8": True}, "--int8 --calibrate FOLDER, both or none"),
        ({"out": "a.onnx", "calibrate": "x"}, "--int8 --calibrate FOLDER, both or none"),
        ({"out": "a.onnx", "bundle": True}, "a bundle is a folder"),
        ({"out": "a.onnx", "least_equal": 99.9}, "a share of equal labels is 0 to 1, got 99.9"),
    ],
)
def test_options_that_do_not_go_together_are_refused(segmenter, tmp_path, options, message):
    with pytest.raises(BadOption, match=message):
        export(segmenter, tmp_path / options.pop("out"), **options)


def test_a_bundle_segments_pictures_without_torch_and_without_pixelwise(segmenter, folder, tmp_path):
    pictures = tmp_path / "pictures"
    (pictures / "more").mkdir(parents=True)
    turned = Image.Exif()
    turned[274] = 6
    Image.fromarray(scene()).save(pictures / "turned.jpg", exif=turned, quality=95)
    Image.fromarray(scene()[..., 0]).save(pictures / "more" / "gray.png")
    Image.fromarray(scene()).quantize(16).save(pictures / "palette.png")
    Image.fromarray(scene((1, 1))).save(pictures / "palette.bmp")
    (pictures / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    exported = export(segmenter, tmp_path / "bundle", bundle=True, check=folder, confidence=True)
    assert sorted(file.name for file in exported.out.iterdir()) == sorted(BUNDLE)
    assert len((exported.out / "predict.py").read_text().splitlines()) <= 100
    command = [
        sys.executable,
        "-c",
        RUN,
        str(exported.out / "predict.py"),
        str(pictures),
        "--out",
        "masks",
        "--overlay",
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "broken.png: cannot identify" in done.stderr
    assert "4 pictures written to masks, 1 could not be read" in done.stdout
    masks = tmp_path / "masks"
    results = {"turned": "turned.jpg", "more/gray": "more/gray.png", "palette": "palette.bmp"}
    results["palette.png"] = "palette.png"
    for name, picture in results.items():
        with Image.open(masks / f"{name}.png") as mask:
            labels = np.asarray(mask)
            assert mask.getpalette()[:6] == [value for color in segmenter.labels.palette[:2] for value in color]
        expected = segmenter.predict(pictures / picture).labels
        assert labels.shape == expected.shape
        assert np.mean(labels == expected) >= 0.999
        assert (masks / f"{name}-overlay.png").is_file()


def test_int8_tells_its_loss_and_is_refused_below_the_users_limit(segmenter, folder, tmp_path):
    exported = export(segmenter, tmp_path / "model.onnx", int8=True, calibrate=folder, least_equal=0.5, confidence=True)
    whole, small = exported.mean_iou
    assert 0 <= small <= 1 and 0 <= whole <= 1
    assert exported.compared[1].pictures == 3
    import onnx

    operations = [node.op_type for node in onnx.load(exported.out).graph.node]
    assert operations.count("QuantizeLinear") >= 1
    scales = [t for t in onnx.load(exported.out).graph.initializer if t.name.endswith("weight_scale")]
    assert scales and all(len(t.dims) == 1 and t.dims[0] > 1 for t in scales)  # one for each output channel
    with pytest.raises(DataError, match=r"3 pictures of .* were expected; calibrate on more pictures"):
        export(segmenter, tmp_path / "second.onnx", int8=True, calibrate=folder, least_equal=1, confidence=True)
    assert not (tmp_path / "second.onnx").exists()


def test_a_crf_behind_the_model_is_said_to_be_left_out(segmenter, tmp_path):
    from dataclasses import replace

    refined = replace(segmenter, refinement=preset_for("unet"))
    assert "dense CRF is not in the graph" in export(refined, tmp_path / "model.pt2", confidence=True).notes[0]


@pytest.fixture
def deep(tmp_path):
    """A folder with a gray picture of 16 bits and one of 8."""
    root = tmp_path / "deep"
    root.mkdir()
    values = scene()[..., 0].astype(np.uint16) * 257 + np.arange(70, dtype=np.uint16)
    Image.fromarray(values).save(root / "a.png")
    Image.fromarray(scene()).save(root / "b.png")
    return root


def test_pictures_of_16_bits_are_refused_by_a_graph_of_8(segmenter, deep, tmp_path):
    with pytest.raises(DataError, match=r"a\.png has pixels of uint16, the graph takes uint8; --bits 16 makes"):
        export(segmenter, tmp_path / "model.pt2", check=deep)
    with pytest.raises(BadOption, match="of 8 or of 16 bits a channel, got 12"):
        export(segmenter, tmp_path / "model.pt2", bits=12)


def test_a_graph_of_16_bits_takes_pictures_of_16_and_of_8(segmenter, deep, tmp_path):
    exported = export(segmenter, tmp_path / "model.pt2", bits=16, check=deep)
    assert [one.equal for one in exported.compared] == [pytest.approx(1, abs=1e-3)] * 2
    run = read_graph(exported.out)
    for name in ("a.png", "b.png"):
        pixels = bundle_predict.read(deep / name, 3, 16)  # as a bundle's predict.py reads them
        assert pixels.dtype == np.uint16
        assert np.mean(run(pixels[None])[0][0] == segmenter.predict(deep / name).labels) >= 0.999


def test_the_command_prints_one_json_object(segmenter, folder, tmp_path, capsys):
    model, out = segmenter.save(tmp_path / "model.safetensors"), tmp_path / "model.pt2"
    with pytest.raises(SystemExit) as ended:
        main(["export", str(model), str(out), "--json", "--check", str(folder), "--confidence"])
    assert not ended.value.code
    record = json.loads(capsys.readouterr().out)
    assert (record["out"], record["size"], record["mean_iou"]) == (str(out), out.stat().st_size, None)
    assert [(one["pictures"], round(one["equal"], 3)) for one in record["compared"]] == [(3, 1.0), (3, 1.0)]


def test_the_command_prints_the_share_of_equal_labels(segmenter, folder, tmp_path, capsys):
    model = segmenter.save(tmp_path / "model.safetensors")
    with pytest.raises(SystemExit) as ended:
        main(["export", str(model), str(tmp_path / "model.pt2"), "--check", str(folder), "--confidence"])
    assert not ended.value.code
    told = capsys.readouterr().out
    assert "Equal labels: 100.000 % on drawn pictures of 96 × 128, 97 × 131, 45 × 150" in told
    assert "Equal labels: 100.000 % on 3 pictures of" in told
    assert f"Exported: {tmp_path / 'model.pt2'}" in told.replace("\n", "")
    assert Path(tmp_path / "model.pt2").is_file()
