"""`pixelwise evaluate` and `predict` with protocols, views, comparisons and result files: what they print."""

import json
import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pixelwise.cli.main import main
from pixelwise.data.sets.voc import LABELS
from pixelwise.inference.measures import MEASURES
from pixelwise.inference.views import PAPERS, Views
from pixelwise.layers.normalization import Normalization
from pixelwise.models import build
from pixelwise.protocols import PROTOCOLS
from pixelwise.segmenter import Segmenter, load

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "evaluate-by-a-protocol.md"


def save_model(path, labels, seed=0):
    torch.manual_seed(seed)
    options = {"num_classes": labels.num_classes, "width": 0.0625, "depth": 2}
    network = build("unet", **options)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, 0, 0.3)
    architecture = {"builder": "unet", "options": options}
    Segmenter(network.eval(), Normalization((120.0,) * 3, (60.0,) * 3), labels, architecture).save(path)


@pytest.fixture
def place(tmp_path, monkeypatch, caplog):
    """Two models and a small VOC in the current folder."""
    caplog.set_level(logging.ERROR, "pixelwise")  # of the counts
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate(("one", "two")):
        save_model(tmp_path / f"{name}.safetensors", LABELS, seed)
    home, random = tmp_path / "voc/VOC2012", np.random.default_rng(0)
    for part in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (home / part).mkdir(parents=True)
    names = [f"2008_{i:06}" for i in range(6)]
    for i, name in enumerate(names):
        image = random.integers(0, 255, (30, 40, 3)).astype(np.uint8)
        Image.fromarray(image).save(home / "JPEGImages" / f"{name}.jpg")
        if i < 4:
            mask = random.integers(0, 21, (6, 8)).repeat(5, 0).repeat(5, 1).astype(np.uint8)
            mask[::7] = 255
            Image.fromarray(mask).save(home / "SegmentationClass" / f"{name}.png")
    (home / "ImageSets/Segmentation/val.txt").write_text("\n".join(names[:4]) + "\n")
    (home / "ImageSets/Segmentation/test.txt").write_text("\n".join(names[4:]) + "\n")
    return tmp_path


def run(capsys, *arguments):
    with pytest.raises(SystemExit) as ended:
        main([str(a) for a in arguments])
    out, err = capsys.readouterr()
    return ended.value.code, out, err


def told(text):
    """A text without its line ends."""
    return " ".join(text.split())


VOC = ("voc", "--dataset", "voc2012")


def test_every_figure_stands_with_its_protocol(place, capsys):
    code, out, _ = run(
        capsys, "evaluate", "one.safetensors", *VOC, "--protocol", "voc,trimap_void,boundary_davis,upper_bound",
        "--scales", "0.5,1", "--flip", "--fusion", "max", "--plot", "curve.svg",
    )  # fmt: skip
    assert code == 0
    said = told(out)
    assert "on 4 pictures (val), by voc 95 % interval" in said
    for note in (
        "trimap, pixels within Chebyshev distance w of void; means by protocol voc, over 4 pictures.",
        "boundary F (davis): outlines match by dilation with a disc within 0.008 of the diagonal",
        "targets resampled nearest, void filled with the nearest class (UNVERIFIED), scored by voc.",
        "scored by voc: void pixels are not counted;",
        "; scores are the largest over scales 0.5, 1 and mirrored pictures.",
    ):
        assert note in said
    assert max(map(len, out.splitlines())) <= 80
    assert (place / "curve.svg").read_text().startswith("<svg")


def test_json_holds_the_protocol_the_interval_and_the_measures(place, capsys):
    _, out, _ = run(capsys, "evaluate", "one.safetensors", *VOC, "--protocol", "upper_bound", "--json")
    found = json.loads(out)
    assert (found["split"], found["protocol_name"], found["pictures"], found["crf"]) == ("val", "fcn", 4, None)
    assert found["mean_iou_interval"]["value"] == pytest.approx(found["mean_iou"], abs=1e-6)
    assert list(found["measures"]["upper_bound"]["mean_iou"]) == ["128", "64", "32", "16", "8", "4"]
    assert found["protocol"].startswith("one confusion matrix over 4 pictures at the masks' own sizes, scored by fcn: ")


def test_json_holds_null_for_a_bound_that_is_none(place, capsys):
    """VOC's mean over classes of which some occur nowhere."""
    (place / "voc/VOC2012/ImageSets/Segmentation/val.txt").write_text("2008_000000\n")
    _, out, _ = run(capsys, "evaluate", "one.safetensors", *VOC, "--protocol", "voc,upper_bound", "--json")
    assert "NaN" not in out
    assert set(json.loads(out)["measures"]["upper_bound"]["mean_iou"].values()) == {None}


def test_a_protocol_without_a_mean_says_which_has_one(place, capsys):
    (place / "voc/VOC2012/ImageSets/Segmentation/val.txt").write_text("2008_000000\n")
    Image.fromarray(np.zeros((30, 40), np.uint8)).save(place / "voc/VOC2012/SegmentationClass/2008_000000.png")
    _, out, _ = run(capsys, "evaluate", "one.safetensors", *VOC, "--protocol", "voc")
    assert "Mean IoU nan on 1 picture (val), by voc" in out
    assert "classes occur nowhere here, so that voc has no mean; --protocol fcn leaves them out." in told(out)


def test_two_models_are_compared(place, capsys):
    arguments = ("evaluate", "one.safetensors", *VOC, "--compare", "two.safetensors")
    code, out, _ = run(capsys, *arguments, "--protocol", "trimap_void", "--plot", "curves.svg")
    assert code == 0
    assert "Mean IoU on 4 pictures (val), by fcn" in out
    assert "two is better in" in out and "of 2000 bootstrap samples." in told(out)
    (row,) = (line for line in out.splitlines() if line.startswith("difference"))
    assert "95 % interval" in row
    assert max(map(len, out.splitlines())) <= 80
    assert ">two</text>" in (place / "curves.svg").read_text()
    found = json.loads(run(capsys, *arguments, "--json")[1])
    assert found["mean_iou_difference"]["value"] == pytest.approx(
        found["compared"]["mean_iou"] - found["mean_iou"], abs=2e-6
    )


def test_result_files_need_no_masks(place, capsys):
    arguments = ("evaluate", "one.safetensors", *VOC, "--split", "test", "--save-results", "out")
    code, out, _ = run(capsys, *arguments)
    assert code == 0
    assert out == "2 result files of test written to out/; no picture has a mask, so that nothing was scored\n"
    assert len(list((place / "out/results/VOC2012/Segmentation/comp6_test_cls").iterdir())) == 2
    code, _, err = run(capsys, *arguments)
    assert code == 2
    assert "out exists already" in err
    assert run(capsys, *arguments[:-1], "alone", "--competition", "comp5")[0] == 0
    assert len(list((place / "alone/results/VOC2012/Segmentation/comp5_test_cls").iterdir())) == 2


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--protocol", "voc,camvid"], 2, "one protocol at a time, got voc and camvid"),
        (["--protocol", "trimap"], 2, "no protocol is called 'trimap'; did you mean 'trimap_void'?"),
        (["--scales", "deeplab"], 2, "no test of a paper is called 'deeplab'; did you mean 'deeplab_v"),
        (["--window", "a"], 2, "--window is one number or height,width, as 713 or 512,1024, got 'a'"),
        (["--plot", "a.svg"], 2, "--plot draws the curve of one of trimap_void and trimap_labels, got neither"),
        (["--compare", "two.safetensors", "--save-results", "o"], 2, "result files are of one model"),
        (["--competition", "comp5"], 2, "give --save-results, too"),
        (
            ["--dataset", "cityscapes", "--save-results", "o", "--competition", "comp5"],
            2,
            "comp5 names a folder of VOC's result files; give --save-results and a VOC data set",
        ),
        (["--protocol", "camvid"], 1, "protocol camvid is for 11 classes, got 21"),
        (["--dataset", "voc2012,x=1"], 2, "the data set voc2012 has no option 'x'; it takes sbd"),
    ],
)
def test_what_cannot_be_is_one_line(place, capsys, options, code, message):
    found, _, err = run(capsys, "evaluate", "one.safetensors", *VOC, *options)
    assert found == code
    assert message in told(err) and len(err.splitlines()) == 1


def test_predict_sees_several_views(place, capsys):
    code, _, _ = run(
        capsys, "predict", "one.safetensors", "voc/VOC2012/JPEGImages", "--out", "p", "--save", "mask",
        "--scales", "0.5,1", "--flip", "--window", "24,32",
    )  # fmt: skip
    assert code == 0
    name = "2008_000000"
    segmenter = load(place / "one.safetensors")
    views = Views((0.5, 1.0), flip=True, window=(24, 32))
    expected = segmenter.predict(place / f"voc/VOC2012/JPEGImages/{name}.jpg", scales=views).labels
    assert (np.array(Image.open(place / f"p/mask/{name}.png")) == expected).all()


def test_the_page_names_every_protocol_measure_and_paper():
    text = PAGE.read_text(encoding="utf-8")
    assert [name for name in (*PROTOCOLS, *MEASURES, *PAPERS) if f"`{name}`" not in text] == []
