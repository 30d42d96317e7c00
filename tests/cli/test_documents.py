"""What the pages on surgery, on class folders and on the CRF tell to type works as it stands there."""

import contextlib
import io
import re
import shlex
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import pixelwise as pw
from pixelwise.backbones import CLASSIFIERS
from pixelwise.cli.main import main
from pixelwise.crf import PRESETS
from pixelwise.inference.crf_search import Grid
from pixelwise.labels import LabelSet
from pixelwise.layers.normalization import Normalization
from pixelwise.segmenter import Segmenter

ROOT = Path(__file__).parents[2]
SMALL = ["--steps", "2", "--set", "model_options={input_size: 32, width: 0.0625}", "--set", "batch_size=2"]


def python_of(page):
    """The blocks of Python of a page."""
    return re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.S)


def test_the_surgery_pages_python():
    (block,) = python_of("docs/explanation/surgery.md")
    code = block.replace("num_classes=1000", "num_classes=1000, width=1/16")
    names = {}
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(code, names)
    assert int(printed.getvalue()) == 404  # the spec's receptive field of fc6
    images = torch.zeros(1, 3, 384, 384)
    with torch.no_grad():
        assert names["network"](images).shape == (1, 1000, 24, 24)
    assert "(1, 1000, 6, 6)" in block
    assert "(1, 1000, 24, 24)" in block


def test_the_readmes_surgery():
    (block,) = (block for block in python_of("README.md") if "surgery" in block)
    code = block.replace("num_classes=21", "num_classes=21, width=1/16")
    classifier = CLASSIFIERS["vgg16"](num_classes=9, width=1 / 16)
    names = {"classifier": classifier, "pw": pw}
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(code, names)
    assert "fc6" in printed.getvalue()
    assert isinstance(names["network"], nn.Module)


def write_pets(folder, masks=False):
    rng = np.random.default_rng(0)
    for name, color in (("cats", (200, 60, 40)), ("dogs", (40, 80, 210))):
        for number in range(4):
            picture = np.clip(rng.normal(color, 25, (40, 44, 3)), 0, 255).astype(np.uint8)
            place = folder / ("images" if masks else name)
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(place / f"{name}{number}.png")
            if masks:
                (folder / "masks").mkdir(exist_ok=True)
                mask = np.full((40, 44), int(name == "dogs"), np.uint8)
                Image.fromarray(mask).save(folder / "masks" / f"{name}{number}.png")


def test_the_commands_on_locating_run(tmp_path, monkeypatch, capsys):
    """Every command of the page, in its order, on small folders with the names that it uses."""
    monkeypatch.chdir(tmp_path)
    for name in ("pets", "other-pets"):
        write_pets(Path(name))
    write_pets(Path("masked-pets"), masks=True)
    Path("masked-pets/classes.txt").write_text("cats\ndogs\n")
    text = (ROOT / "docs" / "how-to" / "locate-without-masks.md").read_text(encoding="utf-8")
    found = re.findall(r"^pixelwise (.+)$", text, re.M) + re.findall(r"`pixelwise ([a-z][^`]*)`", text)
    assert len(found) == 8
    for number, line in enumerate(found):
        words = shlex.split(line)
        if words[0] == "fit":
            words += [*SMALL, *(["--out", f"run-{number}"] if number > 1 else [])]
        code = run(words)
        assert code == 0, (line, capsys.readouterr())
        if number == 1:
            model = Path("runs/pets/model.safetensors")
            Path("old").mkdir()
            Path("old/model.safetensors").write_bytes(model.read_bytes())
            Path("new-pets").mkdir()
            for picture in ("new.jpg", "new-pets/a.jpg"):
                Image.fromarray(np.full((50, 60, 3), 90, np.uint8)).save(picture)
    assert Path("new-cats.png").is_file()
    (statement,) = re.findall(r"`(result = pw\.fit[^`]*)`", text)
    settings = {"model_options": {"input_size": 32, "width": 0.0625}, "batch_size": 2}
    names = {"pw": SimpleNamespace(fit=partial(pw.fit, steps=2, settings=settings, out="run-python"))}
    exec(statement, names)
    assert 0 <= names["result"].scores.accuracy <= 1
    heat = names["result"].segmenter.heatmap("new.jpg", "cats")
    assert heat.shape == (50, 60)
    assert heat.dtype == np.float32


def crf_names():
    """What the page on the CRF has at hand."""
    rng = np.random.default_rng(0)
    unary = rng.gamma(1.0, 2.0, (3, 20, 30)).astype(np.float32)
    powers = np.exp(-unary)
    sizes = {"num_labels": 3, "height": 20, "width": 30}
    return sizes | {
        "probabilities": powers / powers.sum(0),
        "scores": -unary,
        "unary": unary.reshape(3, -1),
        "features": rng.normal(size=(2, 20, 30)),
        "image": rng.integers(0, 256, (20, 30, 3)).astype(np.uint8),
    }


def test_the_crf_pages_python():
    names = crf_names()
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        for block in [b for b in python_of("README.md") if "dense_crf" in b] + python_of(
            "docs/how-to/refine-with-a-crf.md"
        ):
            exec(block, names)
            for name in ("refined", "cheap", "marginals"):
                if name in names:
                    np.testing.assert_allclose(names[name].sum(0), 1, atol=1e-5)
    assert len(printed.getvalue().split()) == 5  # a divergence a step
    assert names["labels"].shape == (20, 30)


def test_the_crf_page_gives_pydensecrfs_result():
    """Where pydensecrf is installed."""
    names = crf_names() | {"np": np, "dcrf": pytest.importorskip("pydensecrf.densecrf")}
    text = (ROOT / "docs" / "how-to" / "refine-with-a-crf.md").read_text(encoding="utf-8")
    (theirs,) = re.findall(r"```\n(crf = dcrf\..*?)```", text, re.S)
    exec(theirs, names)
    expected = names["marginals"]
    exec("from pixelwise.crf import DenseCRF\n" + python_of("docs/how-to/refine-with-a-crf.md")[-1], names)
    np.testing.assert_allclose(names["marginals"], expected, atol=1e-4)


def test_the_crf_pages_presets_are_the_codes():
    text = (ROOT / "docs" / "explanation" / "dense-crf.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` ((?:\| \d+ ){5})\|", text, re.M)
    written = {name: tuple(float(number) for number in numbers.split("|")[1:]) for name, numbers in rows}
    assert written == {
        name: (
            preset.bilateral_weight,
            preset.bilateral_sigma_pixels,
            preset.bilateral_sigma_color,
            preset.spatial_weight,
            preset.spatial_sigma_pixels,
        )
        for name, preset in PRESETS.items()
    }
    assert all((preset.normalization == "after") == name.startswith("deeplab") for name, preset in PRESETS.items())


def test_the_commands_on_the_crf_run(tmp_path, monkeypatch, capsys):
    """Every command of the page, with a small model, few settings and small pictures."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("pixelwise.flow.tune_crf.PAPER_GRID", Grid((4.0,), (20.0,), (10.0,)))
    write_pets(Path("cells"), masks=True)
    write_pets(Path("new-pictures"))
    Path("cells/classes.txt").write_text("cats\ndogs\n")
    options = {"num_classes": 2, "width": 1 / 16, "depth": 2}
    network = pw.build("unet", **options)
    labels = LabelSet(("cats", "dogs"))
    record = {"builder": "unet", "options": options}
    Path("runs/cells").mkdir(parents=True)
    segmenter = Segmenter(network.eval(), Normalization((120.0,) * 3, (60.0,) * 3), labels, record)
    segmenter.save("runs/cells/model.safetensors")
    text = (ROOT / "docs" / "how-to" / "refine-with-a-crf.md").read_text(encoding="utf-8")
    found = re.findall(r"^pixelwise (.+)$", text, re.M) + re.findall(r"`pixelwise ([a-z][^`]* [^`]*)`", text)
    assert len(found) == 8
    for line in found:
        code = run(shlex.split(line))
        assert code == 0, (line, capsys.readouterr())
    for folder in ("predictions", "plain", "refined"):
        assert len(list(Path(folder).glob("**/dogs*.png"))) >= 4


def run(words):
    """The exit code of a command line."""
    with pytest.raises(SystemExit) as ended:
        main(words)
    return ended.value.code or 0
