"""One file that carries everything."""

import json
import struct

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file

import pixelwise
from pixelwise.crf import PRESETS, CRFParameters
from pixelwise.data.sample import Sample
from pixelwise.errors import BadOption, CheckpointError, DataError, LabelError, ShapeError
from pixelwise.flow.trained_pictures import TrainedPictures
from pixelwise.inference.predict import predict_image
from pixelwise.inference.refine import Refinement
from pixelwise.labels import LabelSet
from pixelwise.layers.normalization import Normalization
from pixelwise.models import build
from pixelwise.segmenter import Segmenter, evaluate_pictures

OPTIONS = {"num_classes": 3, "width": 0.0625, "depth": 3}


@pytest.fixture
def segmenter():
    torch.manual_seed(0)
    return Segmenter(
        build("unet", **OPTIONS).eval(),
        Normalization((100.0, 110.0, 120.0), (50.0, 51.0, 52.0)),
        LabelSet(("soil", "leaf", "früit"), ((0, 0, 0), (0, 255, 0), (255, 0, 0)), {0: 0, 128: 1, 255: 2}),
        {"builder": "unet", "options": OPTIONS},
        recipe={"steps": 3},
        scores={"mean_iou": 0.5},
    )


@pytest.fixture
def photo(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (37, 50, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    return tmp_path / "photo.png", pixels


def test_a_loaded_file_predicts_the_same(segmenter, photo, tmp_path):
    segmenter.save(tmp_path / "model.safetensors")
    again = pixelwise.load(tmp_path / "model.safetensors")
    assert again.labels == segmenter.labels
    assert again.normalization == segmenter.normalization
    assert (again.recipe, again.scores, again.precision) == ({"steps": 3}, {"mean_iou": 0.5}, "fp32")
    path, pixels = photo
    a, b = segmenter.predict(pixels), again.predict(path)
    assert (a.labels == b.labels).all()
    np.testing.assert_allclose(a.confidence, b.confidence, atol=1e-5)
    assert b.name == "photo"
    assert sum(b.areas().values()) == 37 * 50
    assert b.heads["labels"] is b.labels
    assert b.overlay().size == (50, 37)


def test_saving_twice_gives_the_same_bytes(segmenter, tmp_path):
    a = segmenter.save(tmp_path / "a.safetensors").read_bytes()
    assert a == segmenter.save(tmp_path / "b.safetensors").read_bytes()
    assert a == pixelwise.load(tmp_path / "a.safetensors").save(tmp_path / "c.safetensors").read_bytes()


def test_the_header_is_json_that_anyone_can_read(segmenter, tmp_path):
    raw = segmenter.save(tmp_path / "m.safetensors").read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    record = json.loads(json.loads(raw[8 : 8 + length])["__metadata__"]["pixelwise"])
    assert record["labels"]["names"] == ["soil", "leaf", "früit"]
    assert record["architecture"]["builder"] == "unet"
    assert record["format"] == 1
    assert set(record["versions"]) == {"pixelwise", "torch", "numpy"}


def test_files_that_are_not_ours_are_refused(segmenter, tmp_path):
    with pytest.raises(CheckpointError, match="no model file at .*missing"):
        pixelwise.load(tmp_path / "missing.safetensors")
    good = segmenter.save(tmp_path / "m.safetensors").read_bytes()
    (tmp_path / "short.safetensors").write_bytes(good[:-100])
    with pytest.raises(CheckpointError, match="short.safetensors is no readable .safetensors file"):
        pixelwise.load(tmp_path / "short.safetensors")
    (tmp_path / "text.safetensors").write_text("hello")
    with pytest.raises(CheckpointError, match="is no readable"):
        pixelwise.load(tmp_path / "text.safetensors")
    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(CheckpointError, match="holds weights but no pixelwise record"):
        pixelwise.load(tmp_path / "other.safetensors")


def test_a_newer_format_and_missing_weights_are_named(segmenter, tmp_path, monkeypatch):
    monkeypatch.setattr("pixelwise.segmenter.FORMAT", 2)
    segmenter.save(tmp_path / "new.safetensors")
    monkeypatch.setattr("pixelwise.segmenter.FORMAT", 1)
    with pytest.raises(CheckpointError, match="has format 2, this pixelwise reads up to 1; upgrade"):
        pixelwise.load(tmp_path / "new.safetensors")
    segmenter.architecture = {"builder": "unet", "options": OPTIONS | {"depth": 4}}
    segmenter.save(tmp_path / "odd.safetensors")
    with pytest.raises(CheckpointError, match="does not fit its own record .*Missing key"):
        pixelwise.load(tmp_path / "odd.safetensors")


@pytest.mark.parametrize("damage", ["labels", "architecture", "normalization", "trained_on", "everything"])
def test_a_damaged_record_is_one_line(segmenter, tmp_path, damage):
    path = segmenter.save(tmp_path / "m.safetensors")
    with safe_open(path, "pt") as file:
        record = json.loads(file.metadata()["pixelwise"])
    tensors = segmenter.network.state_dict()
    if damage == "everything":
        record = ["not", "a", "record"]
    else:
        del record[damage]
    save_file(dict(tensors), path, metadata={"pixelwise": json.dumps(record)})
    with pytest.raises(CheckpointError, match=f"{damage}|has format None"):
        pixelwise.load(path)


def test_pictures_that_do_not_fit_are_refused(segmenter, tmp_path):
    with pytest.raises(ShapeError, match=r"or \(H, W\) and not empty, got \(1, 2, 3, 4\)"):
        segmenter.predict(np.zeros((1, 2, 3, 4), np.uint8))
    with pytest.raises(ShapeError, match=r"not empty, got \(0, 5, 3\)"):
        segmenter.predict(np.zeros((0, 5, 3), np.uint8))
    with pytest.raises(DataError, match="nothing.png"):
        segmenter.predict(tmp_path / "nothing.png")


def test_evaluating_on_other_classes_is_refused(segmenter):
    class Other:
        labels = {"labels": LabelSet(("soil", "leaf"))}  # noqa: RUF012

    with pytest.raises(LabelError, match="the model has the classes soil, leaf, früit, the data soil, leaf; eval"):
        pixelwise.evaluate(segmenter, Other())


def test_pictures_that_were_trained_on_are_told_by_digest_or_name(tmp_path):
    """A file of an older version knows names alone; one that began with such a file knows both."""
    network = build("unet", num_classes=2, width=0.0625, depth=2)
    architecture = {"builder": "unet", "options": {"num_classes": 2, "width": 0.0625, "depth": 2}}
    plain = Normalization((0.0,) * 3, (1.0,) * 3)
    segmenter = Segmenter(network, plain, LabelSet(("a", "b")), architecture, trained_on=("x", "y"), digests=("12", ""))
    found = Segmenter.load(segmenter.save(tmp_path / "model.safetensors"))
    assert found.trained_pictures == (("x", "12"), ("y", ""))
    seen = TrainedPictures(found.trained_pictures)
    assert (seen.digests, seen.names) == ({"12"}, {"y"})
    found.digests = ()
    assert found.trained_pictures == (("x", ""), ("y", ""))


TUNED = Refinement(
    CRFParameters(bilateral_sigma_pixels=10, bilateral_sigma_color=40, normalization="after"),
    steps=3,
    origin="tuned on 20 pictures of val: mean IoU +0.012 (95 % interval +0.004 to +0.019)",
)


def test_a_crf_is_stored_only_where_there_is_one(segmenter, tmp_path):
    plain = segmenter.save(tmp_path / "plain.safetensors").read_bytes()
    assert b"crf" not in plain
    assert pixelwise.load(tmp_path / "plain.safetensors").refinement is None
    segmenter.refinement = TUNED
    segmenter.save(tmp_path / "tuned.safetensors")
    again = pixelwise.load(tmp_path / "tuned.safetensors")
    assert again.refinement == TUNED
    again.refinement = None
    assert again.save(tmp_path / "again.safetensors").read_bytes() == plain


@pytest.mark.parametrize(
    ("crf", "match"),
    [
        (None, "NoneType"),
        ({"steps": 10, "origin": ""}, "parameters"),
        (TUNED.to_record() | {"steps": "many"}, "steps is 'many'"),
        (TUNED.to_record() | {"parameters": {"bilateral_weight": -1}}, "bilateral_weight is -1"),
        (TUNED.to_record() | {"parameters": {"bilateral_weight": 10**400}}, "its CRF is damaged"),
        (TUNED.to_record() | {"step": 3}, "a CRF has no 'step'"),
        (TUNED.to_record() | {"tuned_on": [3]}, "tuned_on is no list of digests"),
    ],
)
def test_a_damaged_crf_is_one_line(segmenter, tmp_path, crf, match):
    path = segmenter.save(tmp_path / "m.safetensors")
    with safe_open(path, "pt") as file:
        record = json.loads(file.metadata()["pixelwise"])
    save_file(dict(segmenter.network.state_dict()), path, metadata={"pixelwise": json.dumps(record | {"crf": crf})})
    with pytest.raises(
        CheckpointError, match=f"m.safetensors does not fit its own record .*{match}.*correct the entry"
    ):
        pixelwise.load(path)


def test_a_picture_that_no_crf_can_refine_is_named_with_the_way_out(segmenter, photo):
    pixels = photo[1].astype(np.float32) / 255
    for value, match in ((np.nan, "image has pixels that are no numbers"), (1e9, "image cannot be refined: ")):
        pixels[2, 3, 0] = value
        with pytest.raises((DataError, BadOption), match=rf"{match}.*leave the CRF out with --no-crf"):
            segmenter.predict(pixels, crf=True)


def test_the_stored_crf_is_used_unless_it_is_left_out(segmenter, photo):
    _, pixels = photo
    alone, preset = segmenter.predict(pixels), segmenter.predict(pixels, crf=True)
    assert segmenter.refinement_for(None) is None
    assert segmenter.refinement_for(True).parameters == PRESETS["deeplab_code"]
    assert segmenter.refinement_for(True).origin == "preset deeplab_code, not tuned on this data"
    segmenter.refinement = TUNED
    assert segmenter.refinement_for(None) is segmenter.refinement_for(True) is TUNED
    assert segmenter.refinement_for(False) is None
    own = predict_image(segmenter.engine(), segmenter.normalization, pixels, confidence=True, refinement=TUNED)
    for crf in (None, True):
        found = segmenter.predict(pixels, crf=crf)
        assert (found.labels == own.labels).all()
        assert (found.confidence == own.confidence).all()
        assert (segmenter.predict_dense(pixels, crf=crf).labels == own.labels).all()
    assert (segmenter.predict(pixels, crf=False).confidence == alone.confidence).all()
    assert (preset.confidence != alone.confidence).any()
    assert (preset.confidence != own.confidence).any()


def test_an_evaluation_uses_the_stored_crf_and_names_it(segmenter, photo):
    _, pixels = photo

    class One:
        labels = {"labels": segmenter.labels}  # noqa: RUF012

        def __len__(self):
            return 1

        def __getitem__(self, index):
            return Sample(pixels, {"labels": (pixels[..., 0] // 86).astype(np.uint8)}, "photo")

    plain = evaluate_pictures(segmenter, One())
    assert "CRF" not in plain.protocol
    assert "preset deeplab_code, not tuned on this data" in evaluate_pictures(segmenter, One(), crf=True).protocol
    segmenter.refinement = TUNED
    own = evaluate_pictures(segmenter, One())
    assert own.protocol.endswith(TUNED.describe())
    assert (own.scores.confusion != plain.scores.confusion).any()
    assert (evaluate_pictures(segmenter, One(), crf=False).scores.confusion == plain.scores.confusion).all()
    assert pixelwise.evaluate(segmenter, One()).mean_iou == own.scores.mean_iou
    assert pixelwise.evaluate(segmenter, One(), crf=False).mean_iou == plain.scores.mean_iou
