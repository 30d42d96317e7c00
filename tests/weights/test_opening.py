"""A name of the catalogue is a MODEL like a file: downloaded, imported, kept, and used by every command."""

import hashlib
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

import pixelwise as pw
from pixelwise.cli.main import main
from pixelwise.errors import CheckpointError, UnknownName, WeightsError
from pixelwise.models import build
from pixelwise.weights import opening
from pixelwise.weights.all_formats import WEIGHT_FORMATS
from pixelwise.weights.cache import NotHere, place_of
from pixelwise.weights.catalogue import CATALOGUE, PublishedWeights

from .server import serving

NAME, FILE, FORMAT = "torchvision_fcn_resnet50_tiny", "tiny-fcn.pth", "tiny_fcn"
NETWORK = "torchvision_fcn_resnet50"
WIDTH = 1 / 32


@pytest.fixture(scope="module")
def tiny():
    """A narrow FCN of torchvision's and the bytes of its published file."""
    torch.manual_seed(1)
    network = build(NETWORK, num_classes=21, width=WIDTH, auxiliary=True)
    return network


@pytest.fixture
def published(tiny, tmp_path, monkeypatch):
    """The file, in a catalogue that knows its narrow network."""
    file = tmp_path / FILE
    torch.save(tiny.state_dict(), file)
    usual = WEIGHT_FORMATS[NETWORK]
    narrow = replace(usual, name=FORMAT, options=lambda tensors: usual.options(tensors) | {"width": WIDTH})
    monkeypatch.setitem(WEIGHT_FORMATS, FORMAT, narrow)
    record = PublishedWeights(
        NAME,
        FILE,
        NETWORK,
        FORMAT,
        addresses=("http://127.0.0.1:9/tiny-fcn.pth",),
        digest=f"sha256:{hashlib.sha256(file.read_bytes()).hexdigest()[:8]}",
        labels="voc2012",
    )
    monkeypatch.setitem(CATALOGUE, NAME, record)
    return file


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 56, 3)).astype(np.uint8)).save(path)
    return path


def bring(published):
    place = place_of(CATALOGUE[NAME])
    place.parent.mkdir(exist_ok=True)
    place.write_bytes(published.read_bytes())
    return place


def code_of(arguments):
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return ended.value.code


def test_a_published_network_gives_what_its_tensors_give(tiny, published, photo):
    bring(published)
    segmenter = pw.load(NAME)
    assert segmenter.labels.names[15] == "person" and segmenter.recipe["published"] == NAME
    pixels = np.asarray(Image.open(photo), np.float32)
    normalized = (pixels - (123.675, 116.28, 103.53)) / (58.395, 57.12, 57.375)
    images = torch.from_numpy(normalized.astype(np.float32)).permute(2, 0, 1)[None]
    with torch.no_grad():
        expected = tiny.eval()(images)[0].argmax(0)
    assert (segmenter.predict(photo).labels == expected.numpy()).mean() > 0.999


def test_the_second_start_needs_neither_the_file_nor_the_import(published, monkeypatch):
    place = bring(published)
    first = pw.load(NAME)
    monkeypatch.setattr(opening, "import_weights", None)
    second = pw.load(NAME)
    place.unlink()
    third = pw.load(NAME)
    for other in (second, third):
        for name, tensor in first.network.state_dict().items():
            assert torch.equal(tensor, other.network.state_dict()[name])
        assert other.labels == first.labels and other.normalization == first.normalization


def test_a_newer_file_and_a_damaged_import_are_imported_again(published):
    place = bring(published)
    pw.load(NAME)
    (kept,) = (place.parent.parent / "models").iterdir()
    kept.write_bytes(b"damaged")
    assert pw.load(NAME).parameters
    assert kept.stat().st_size > 1000
    place.write_bytes(b"another file")
    with pytest.raises(WeightsError, match="is not the published file"):
        pw.load(NAME)


def test_a_cache_that_cannot_keep_the_import_costs_time_alone(published):
    place = bring(published)
    (place.parent.parent / "models").write_text("no folder")
    assert pw.load(NAME).labels.num_classes == 21


def test_a_file_goes_before_a_name(published, tmp_path, monkeypatch):
    bring(published)
    path = pw.load(NAME).save(tmp_path / "mine.safetensors")
    monkeypatch.chdir(tmp_path)
    path.rename(NAME)
    assert "published" in pw.load(NAME).recipe
    (tmp_path / NAME).write_bytes(b"no model")
    with pytest.raises(CheckpointError, match="is no readable .safetensors file"):
        pw.load(NAME)


def test_what_is_neither_a_file_nor_a_name_is_answered_with_the_nearest(tmp_path):
    with pytest.raises(UnknownName, match="did you mean 'fcn8s_vgg16_voc'"):
        pw.load("fcn8s_vgg16_vocc")
    for path in (tmp_path / "fcn8s_vgg16_voc", "gone.safetensors"):
        with pytest.raises(CheckpointError, match="no model file at"):
            pw.load(path)


def test_without_a_network_predict_says_in_one_line_which_file_to_bring_and_where_to(
    published, photo, tmp_path, capsys
):
    arguments = ["predict", NAME, photo, "--out", tmp_path / "out"]
    assert code_of(arguments) == 1
    told = capsys.readouterr().err
    place = place_of(CATALOGUE[NAME])
    assert told.count("\n") == 1
    assert f"bring {FILE} (SHA-256 {CATALOGUE[NAME].digest[7:]}…) from http://127.0.0.1:9/{FILE} and put" in told
    assert told.endswith(f" it at {place}\n")
    bring(published)
    assert code_of(arguments) == 0
    assert (tmp_path / "out" / "mask" / "photo.png").is_file()


def test_with_a_network_predict_downloads_once_and_evaluate_takes_the_name_too(
    published, photo, tmp_path, capsys, monkeypatch
):
    monkeypatch.setenv("PIXELWISE_OFFLINE", "0")
    with serving() as server:
        server.files[FILE] = published.read_bytes()
        monkeypatch.setitem(CATALOGUE, NAME, replace(CATALOGUE[NAME], addresses=(server.url(FILE),)))
        assert code_of(["predict", NAME, photo, "--out", tmp_path / "out"]) == 0
        data = tmp_path / "data"
        for part in ("images", "masks"):
            (data / part).mkdir(parents=True)
        Image.open(photo).save(data / "images" / "a.png")
        Image.open(tmp_path / "out" / "mask" / "photo.png").save(data / "masks" / "a.png")
        (data / "classes.txt").write_text("\n".join(pw.load(NAME).labels.names) + "\n")
        capsys.readouterr()
        assert code_of(["evaluate", NAME, data, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["pixel_accuracy"] == 1
        assert len(server.asked) == 1


def test_what_is_missing_is_said_before_anything_is_downloaded(published, tmp_path, capsys):
    gone = tmp_path / "gone.png"
    for arguments in (["predict", NAME, gone, "--out", tmp_path], ["evaluate", NAME, gone]):
        assert code_of(arguments) == 1
        told = capsys.readouterr().err
        assert str(gone) in told and "there is no" in told and FILE not in told
    assert code_of(["heatmap", NAME, gone, "--class", "person"]) == 1
    assert FILE not in capsys.readouterr().err


def test_published_weights_are_not_tuned_in_place(published, tmp_path, capsys):
    assert code_of(["tune-crf", NAME, tmp_path]) == 2
    assert "are published weights, which stay as they are; give a new model file with --out" in capsys.readouterr().err


def test_the_real_catalogue_says_what_to_bring_for_the_command_of_the_readme(photo, tmp_path, capsys):
    name = "torchvision_deeplab_v3_resnet101_voc"
    assert code_of(["predict", name, photo, "--out", tmp_path / "out"]) == 1
    told = capsys.readouterr().err
    assert "bring deeplabv3_resnet101_coco-586e9e4e.pth (245 MB, SHA-256 586e9e4e…) from https://download" in told
    with pytest.raises(NotHere):
        pw.load(name)
