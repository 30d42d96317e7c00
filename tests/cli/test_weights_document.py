"""What the page on published weights tells to type works as it stands there, with narrow networks as their files."""

import os
import re
import shlex
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import torch
from PIL import Image

import pixelwise as pw
from pixelwise.caffe.caffemodel import CaffeLayer, read_caffemodel, write_caffemodel
from pixelwise.cli.main import main
from pixelwise.flow.plan import Plan
from pixelwise.weights.all_formats import WEIGHT_FORMATS
from pixelwise.weights.catalogue import CATALOGUE
from pixelwise.weights.detection import network_of
from pixelwise.weights.export import export_caffemodel
from pixelwise.weights.importing import foreign_tensors
from pixelwise.weights.label_sets import LABEL_SETS

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "how-to" / "use-published-weights.md"
WIDTH = 1 / 64
FORMATS = (
    "torchvision_deeplab_v3_resnet101",
    "torchvision_fcn_resnet50",
    "berkeley_fcn8s_vgg16",
    "berkeley_fcn8s_atonce_vgg16",
)
SCORE = 'type: "Convolution" bottom: "data" top: "score" convolution_param { num_output: 3 kernel_size: 1 }'
DEPLOY = f'input: "data" input_shape {{ dim: 1 dim: 3 dim: 32 dim: 32 }} layer {{ name: "score" {SCORE} }}'


def narrow(monkeypatch, name, **options):
    """A published file's record, without its checksum, and a narrow network, which its format takes from now on."""
    record = replace(CATALOGUE[name], digest=None, size=None)
    usual = WEIGHT_FORMATS[record.format]
    made = replace(usual, options=lambda tensors: usual.options(tensors) | {"width": WIDTH})
    monkeypatch.setitem(CATALOGUE, name, record)
    monkeypatch.setitem(WEIGHT_FORMATS, record.format, made)
    classes = 1000 if record.classifier else 21
    return record, network_of(record.network, num_classes=classes, width=WIDTH, **options)


def write_pictures(folder, masks, names):
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True)
    (folder / "classes.txt").write_text("\n".join(names) + "\n")
    for number, value in enumerate(masks):
        picture = np.random.default_rng(number).integers(0, 256, (40, 44, 3)).astype(np.uint8)
        Image.fromarray(picture).save(folder / "images" / f"{number}.png")
        Image.fromarray(np.full((40, 44), value, np.uint8)).save(folder / "masks" / f"{number}.png")


@pytest.fixture
def all_formats():
    """Puts them back in their order, which monkeypatch would not."""
    with patch.dict(WEIGHT_FORMATS):
        yield


@pytest.fixture
def prepared(tmp_path, all_formats, monkeypatch):
    """The files that the page uses, here and in the cache."""
    monkeypatch.chdir(tmp_path)
    cached = Path(os.environ["PIXELWISE_CACHE"]) / "weights"
    cached.mkdir()
    for name, place in (("torchvision_deeplab_v3_resnet101_voc", cached), ("torchvision_fcn_resnet50_voc", tmp_path)):
        record, network = narrow(monkeypatch, name, auxiliary=True)
        torch.save(dict(foreign_tensors(network, WEIGHT_FORMATS[record.format])), place / record.file)
    record, network = narrow(monkeypatch, "fcn8s_vgg16_voc")
    export_caffemodel(network, record.format, record.file)
    (cached / record.file).write_bytes(Path(record.file).read_bytes())
    for name in set(WEIGHT_FORMATS) - set(FORMATS):
        del WEIGHT_FORMATS[name]  # a search through all is tested elsewhere
    Path("deploy.prototxt").write_text(DEPLOY)
    score = CaffeLayer("score", "Convolution", (np.ones((3, 3, 1, 1), np.float32), np.zeros(3, np.float32)))
    write_caffemodel("net.caffemodel", [score])
    write_pictures(Path("voc-pictures"), [8], LABEL_SETS["voc2012"].names)
    write_pictures(Path("cells"), [0, 1, 0, 1], ["cat", "ground"])
    Image.open("voc-pictures/images/0.png").save("photo.jpg")


def test_every_command_and_the_python_of_the_page_run_in_their_order(prepared, capsys):
    """A fit stops at its plan, which tells what it would begin with."""
    text = PAGE.read_text(encoding="utf-8")
    found = re.findall(r"^pixelwise (.+)$", text, re.M)
    assert len(found) == 12
    starts = []
    for number, line in enumerate(found):
        words = shlex.split(line)
        if words[0] == "fit":
            words += ["--plan-only", "--steps", "1", "--set", "batch_size=1", "--out", f"run-{number}"]
        with pytest.raises(SystemExit) as ended:
            main(words)
        assert not ended.value.code, (line, capsys.readouterr())
        if words[0] == "fit":
            starts.append(Plan.load(Path(f"run-{number}/plan.yaml")).reasons.get("start", ""))
    assert "/fcn8s_vgg16_voc-" in starts[0] and starts[1].startswith("fcn8s.safetensors")
    assert starts[2].startswith("random weights: resnet50_imagenet is not on this machine") and not starts[3]
    names = {}
    for block in re.findall(r"```python\n(.*?)```", text, re.S):
        exec(block, names)
    assert names["labels"].shape == (40, 44)
    written, theirs = read_caffemodel("fcn8s-mine.caffemodel"), read_caffemodel("fcn8s-heavy-pascal.caffemodel")
    for name, layer in theirs.by_name.items():
        for blob, other in zip(layer.blobs, written.by_name[name].blobs, strict=True):
            np.testing.assert_array_equal(blob, other)


def test_the_readmes_commands_are_the_pages():
    """So they are run above."""
    page = PAGE.read_text(encoding="utf-8")
    (block,) = re.findall(r"## Published weights\n\n```\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.S)
    assert all(f"\n{line}\n" in page for line in block.splitlines())
    assert pw.list_weights()
