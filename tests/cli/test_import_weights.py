"""`pixelwise import-weights`: published files made into a model, and what it prints and refuses."""

import numpy as np
import pytest
from PIL import Image

import pixelwise as pw
from pixelwise.caffe.caffemodel import CaffeLayer, write_caffemodel
from pixelwise.cli.main import main

TEXT = """
input: "data" input_dim: 1 input_dim: 3 input_dim: 8 input_dim: 8
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" convolution_param { num_output: 2 kernel_size: 1 } }
"""


@pytest.fixture
def tiny(tmp_path):
    """A net that calls a pixel blue where blue is above red; and a layer for training in its file."""
    weight = np.array([[0, 0, 1], [1, 0, 0]], np.float32).reshape(2, 3, 1, 1)  # of blue, green, red
    layers = [
        CaffeLayer("conv", "Convolution", (weight, np.zeros(2, np.float32))),
        CaffeLayer("loss_conv", "Convolution", (weight,)),
    ]
    write_caffemodel(tmp_path / "tiny.caffemodel", layers)
    (tmp_path / "deploy.prototxt").write_text(TEXT)
    return [str(tmp_path / name) for name in ("deploy.prototxt", "tiny.caffemodel")]


def ran(*arguments):
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return ended.value.code


def test_a_caffe_network_becomes_a_model_that_predicts(tiny, tmp_path, capsys):
    model = tmp_path / "model.safetensors"
    assert ran("import-weights", *tiny, "--classes", "reddish,blueish", "--mean", "3,2,1", "--out", model) == 0
    assert capsys.readouterr().out.splitlines() == [
        "1 copied, 0 reshaped, 0 left at start, 1 unused",
        "copied         conv       as it is",
        "unused         loss_conv  the prototxt has no such layer",
        "Format: caffe_network",
        "Network: caffe_network, 2 classes: reddish, blueish",
        "Pictures: BGR, less 1, 2, 3, divided by 1, 1, 1",
        f"Model: {model}",
    ]
    picture = np.zeros((4, 6, 3), np.uint8)
    picture[:, :3, 0], picture[:, 3:, 2] = 200, 200  # red left, blue right
    Image.fromarray(picture).save(tmp_path / "a.png")
    assert ran("predict", model, tmp_path / "a.png", "--out", tmp_path / "out", "--save", "mask") == 0
    (mask,) = (tmp_path / "out").rglob("a.png")
    assert np.array_equal(np.array(Image.open(mask)), [[0, 0, 0, 1, 1, 1]] * 4)


def test_a_model_that_exists_is_not_overwritten(tiny, tmp_path, capsys):
    model = tmp_path / "model.safetensors"
    model.write_text("mine")
    more = ("--classes", "a,b", "--mean", "0", "--out", model)
    assert ran("import-weights", *tiny, *more) == 1
    assert capsys.readouterr().err.strip().endswith(f"{model} exists already; choose another --out, or --overwrite")
    assert model.read_text() == "mine"
    assert ran("import-weights", *tiny, *more, "--overwrite") == 0
    assert pw.load(model).labels.names == ("a", "b")


def test_classes_of_a_file_a_scale_and_a_size(tiny, tmp_path, capsys):
    (tmp_path / "names.txt").write_text("reddish\nblueish\n")
    model = tmp_path / "model.safetensors"
    more = ("--classes", tmp_path / "names.txt", "--mean", "0", "--scale", "0.5", "--size", "8x16", "--out", model)
    assert ran("import-weights", *tiny, *more) == 0
    assert "Pictures: resized to 8 × 16, BGR, less 0, 0, 0, divided by 2, 2, 2" in capsys.readouterr().out
    segmenter = pw.load(model)
    assert segmenter.labels.names == ("reddish", "blueish")
    assert segmenter.normalization.mean == (0, 0, 0) and segmenter.normalization.deviation == (2, 2, 2)
    assert segmenter.normalization.size == (8, 16)
    assert list(segmenter.recipe["imported"]["files"]) == ["deploy.prototxt", "tiny.caffemodel"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["no.caffemodel"], 1, "no file at no.caffemodel"),
        (["{1}", "--format", "berkeley_fcn8"], 2, "no weight format is called 'berkeley_fcn8'; did you mean 'berk"),
        (["{1}", "--format", "torchvision_vgg16"], 1, "is a format of .pth, .pt or .safetensors files"),
        (["{1}"], 1, "tiny.caffemodel: the file's layers are of no format that is known: conv, loss_conv;"),
        (["{0}", "{1}", "--mean", "0"], 1, "scores 2 classes, and their names are not known; give their names"),
        (["{0}", "{1}", "--classes", "a,b"], 1, "does not say which mean its pictures are less"),
        (["{0}", "{1}", "--mean", "a"], 2, "--mean is R,G,B, as 123.68,116.78,103.94, got 'a'"),
        (["{0}", "{1}", "--size", "512"], 2, "--size is height x width in pixels, as 512x1024, got '512'"),
        (["{0}", "{1}", "--model", "unet"], 2, "with a .prototxt the network is run as it is"),
    ],
)
def test_what_cannot_be_imported_is_refused_in_one_line_and_nothing_is_written(
    arguments, code, message, tiny, tmp_path, capsys
):
    filled = [argument.format(*tiny) for argument in arguments]
    assert ran("import-weights", *filled, "--out", tmp_path / "model.safetensors") == code
    complaint = capsys.readouterr().err
    assert message in complaint and len(complaint.splitlines()) == 1
    assert not (tmp_path / "model.safetensors").exists()


def test_a_file_that_lacks_a_layer_is_taken_only_if_told(tiny, tmp_path, capsys):
    text = TEXT + 'layer { name: "more" type: "Convolution" bottom: "conv" top: "more" convolution_param { '
    (tmp_path / "deploy.prototxt").write_text(text + "num_output: 2 kernel_size: 1 } }")
    more = ("--classes", "a,b", "--mean", "0", "--out", tmp_path / "model.safetensors")
    assert ran("import-weights", *tiny, *more) == 1
    assert "1 missing" in capsys.readouterr().err
    assert ran("import-weights", *tiny, *more, "--partial") == 0
    assert "left at start  more" in capsys.readouterr().out
