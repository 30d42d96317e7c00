"""`pixelwise heatmap`: what it prints and writes."""

import numpy as np
import pytest
import torch
from PIL import Image

from pixelwise.cli.main import main
from pixelwise.labels import LabelSet
from pixelwise.layers.normalization import Normalization
from pixelwise.models import build
from pixelwise.segmenter import Segmenter, load

OPTIONS = {"num_classes": 3, "width": 1 / 16, "depth": 3}


@pytest.fixture(autouse=True)
def _files(tmp_path, monkeypatch):
    """A model and a picture where the commands run."""
    monkeypatch.chdir(tmp_path)
    labels = LabelSet(("soil", "wet [b]leaf", "fruit"))
    network = build("unet", **OPTIONS).eval()
    record = {"builder": "unet", "options": OPTIONS}
    Segmenter(network, Normalization((120.0,) * 3, (60.0,) * 3), labels, record).save("model.safetensors")
    pixels = np.random.default_rng(0).integers(0, 255, (40, 56, 3)).astype(np.uint8)
    Image.fromarray(pixels).save("photo.png")


def run(capsys, *arguments):
    """(exit code, stdout, stderr) of a command in this process."""
    with pytest.raises(SystemExit) as ended:
        main(["heatmap", *arguments])
    out = capsys.readouterr()
    return ended.value.code, out.out, out.err


def test_it_says_where_the_class_is_and_what_else(capsys, tmp_path):
    code, out, _ = run(capsys, "model.safetensors", "photo.png", "--class", "Wet [b]leaf")
    assert code == 0
    segmenter = load("model.safetensors")
    probability = segmenter.heatmap("photo.png", "wet [b]leaf")
    row, column = np.unravel_index(probability.argmax(), probability.shape)
    lines = out.splitlines()
    assert lines[0] == (
        f"wet [b]leaf is most likely at row {row}, column {column}: probability {probability.max():.3f}"
    )
    assert lines[1] == "The highest probabilities anywhere in the picture:"
    peaks = {name: segmenter.heatmap("photo.png", name).max() for name in segmenter.labels.names}
    expected = [
        f"  {name:11}  {peaks[name]:.3f}{'  (this class)' if 'leaf' in name else ''}"
        for name in sorted(peaks, key=peaks.get, reverse=True)
    ]
    assert lines[2:5] == expected
    assert lines[5:] == ["Heat map: photo-wet_b_leaf.png"]
    assert (tmp_path / "photo-wet_b_leaf.png").exists()


def test_a_converted_classifier_is_a_model_file(capsys):
    options = {"classifier": "resnet18", "input_size": 32, "num_classes": 2, "width": 1 / 32}
    torch.manual_seed(1)
    network = build("convolutional_classifier", **options).eval()
    record = {"builder": "convolutional_classifier", "options": options}
    normalization = Normalization((120.0,) * 3, (60.0,) * 3)
    Segmenter(network, normalization, LabelSet(("cat", "dog")), record).save("classifier.safetensors")
    code, out, _ = run(capsys, "classifier.safetensors", "photo.png", "--class", "dog", "--out", "sub/map.jpg")
    assert code == 0
    assert out.startswith("dog is most likely at row ")
    with Image.open("sub/map.jpg") as picture:
        assert picture.format == "JPEG"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["photo.png", "--class", "friut"], 2, "no class is called 'friut'; did you mean 'fruit'? The model knows"),
        (["none.png", "--class", "soil"], 1, "none.png"),
        (["photo.png"], 2, "--class"),
        (["photo.png", "--class", "soil", "--out", "photo.png", "--overwrite"], 2, "photo.png is the picture itself"),
        (["photo.png", "--class", "soil", "--out", "model.safetensors"], 2, "written as .png, .jpg, .jpeg, got model"),
    ],
)
def test_mistakes_are_one_line(capsys, arguments, code, message):
    got, out, err = run(capsys, "model.safetensors", *arguments)
    assert (got, out) == (code, "")
    assert message in err
    assert "Traceback" not in err


def test_a_file_that_exists_stays_without_overwrite(capsys):
    assert run(capsys, "model.safetensors", "photo.png", "--class", "soil")[0] == 0
    code, _, err = run(capsys, "model.safetensors", "photo.png", "--class", "soil")
    assert (code, "photo-soil.png exists already; choose another --out, or --overwrite" in err) == (1, True)
    assert run(capsys, "model.safetensors", "photo.png", "--class", "soil", "--overwrite")[0] == 0
