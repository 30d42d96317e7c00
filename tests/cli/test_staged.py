"""`fit --start` and `fit --staged` as they are typed."""

import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

import pixelwise as pw
from pixelwise.cli.main import main
from pixelwise.cli.show.fit import FitDisplay
from pixelwise.flow.events import StageBegan
from pixelwise.flow.train import FitResult

SMALL = ["--set", "crop_size=[32,32]", "--set", "batch_size=2", "--set", "threads=1"]
NARROW = ["--set", "model_options={width: 0.03, padding: same}"]


def run(capsys, *arguments):
    """(exit code, stdout in one line, stderr in one line) of a command in this process."""
    with pytest.raises(SystemExit) as ended:
        main([str(a) for a in arguments])
    out = capsys.readouterr()
    return ended.value.code, re.sub(r"\s+", " ", out.out), re.sub(r"\s+", " ", out.err)


@pytest.fixture(scope="module")
def staged(tmp_path_factory):
    """A folder, and a staged run of it with what was printed."""
    root = tmp_path_factory.mktemp("staged")
    random = np.random.default_rng(0)
    for part in ("images", "masks"):
        (root / "data" / part).mkdir(parents=True)
    for i in range(4):
        Image.fromarray(random.integers(0, 255, (32, 40, 3)).astype(np.uint8)).save(root / f"data/images/{i}.png")
        Image.fromarray(((random.random((32, 40)) > 0.5) * 255).astype(np.uint8)).save(root / f"data/masks/{i}.png")
    with pytest.raises(SystemExit) as ended:
        main(["fit", str(root / "data"), "--out", str(root / "run"), "--staged", "--steps", "5", *SMALL, *NARROW])
    assert ended.value.code == 0
    return root / "data", root / "run"


def test_staged_tells_the_stages_and_leaves_the_last_network(staged, tmp_path, capsys):
    data, made = staged
    assert pw.load(made / "model.safetensors").architecture["builder"] == "fcn8s_vgg16"
    code, out, _ = run(capsys, "fit", data, "--plan", made / "plan.yaml", "--out", tmp_path / "again")
    assert code == 0
    for words in (
        "5 in all (fcn32s_vgg16 3, fcn16s_vgg16 1, fcn8s_vgg16 1)",
        "fcn8s_vgg16 width=0.03 padding=same",
        "Stage 1 of 3: fcn32s_vgg16, 3 steps",
        "Stage 2 of 3: fcn16s_vgg16, 1 step",
        "Weights of ../fcn32s_vgg16/model.safetensors (fcn32s_vgg16): 16 layers copied, 0 reshaped, 1 left at start",
        "Stage 3 of 3: fcn8s_vgg16, 1 step",
        "Mean IoU",
    ):
        assert words in out, words
    places = [out.index(f"Stage {number} of 3") for number in (1, 2, 3)]
    assert places == sorted(places)
    assert (tmp_path / "again" / "model.safetensors").read_bytes() == (made / "model.safetensors").read_bytes()


def test_resume_and_report_know_the_stages(staged, tmp_path, capsys):
    data, made = staged
    again = shutil.copytree(made, tmp_path / "copy")
    (again / "report.html").unlink()
    code, _, _ = run(capsys, "report", again)
    assert code == 0
    assert "fcn16s_vgg16" in (again / "report.html").read_text()
    code, out, _ = run(capsys, "fit", data, "--resume", "--out", again)
    assert code == 0
    assert "Stage 3 of 3" in out and "Stage 2 of 3" not in out
    assert (again / "model.safetensors").read_bytes() == (made / "model.safetensors").read_bytes()


def test_after_ctrl_c_it_says_which_network_this_is_and_how_to_go_on(tmp_path, capsys, monkeypatch):
    display = FitDisplay(Console(highlight=False))
    monkeypatch.setattr(display, "_scores", lambda *_: None)
    segmenter, run = SimpleNamespace(labels=None), tmp_path / "a run"
    display.tell(StageBegan(2, 3, "fcn16s_vgg16", 4))
    display.result(
        FitResult(segmenter, object(), "validation", run, "interrupted", run / "report.html"), Path("my data")
    )
    told = capsys.readouterr().out.splitlines()
    assert told[-2:] == [
        "It is the best network so far of fcn16s_vgg16, stage 2 of 3.",
        f"Go on:   pixelwise fit 'my data' --resume --out '{run}'",
    ]


def test_start_tells_what_it_takes(staged, tmp_path, capsys):
    data, made = staged
    model = made / "stages" / "fcn32s_vgg16" / "model.safetensors"
    code, out, _ = run(capsys, "fit", data, "--start", model, "--steps", "1", "--out", tmp_path / "run", *SMALL)
    assert code == 0
    line = f"{model} (fcn32s_vgg16): 16 layers copied, 0 reshaped, 0 left at start, 0 unused"
    assert f"Weights of {line}" in out
    assert pw.load(tmp_path / "run" / "model.safetensors").architecture["options"]["width"] == 0.03


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--staged", "--model", "unet"], 2, "unet is not trained in stages; take --model fcn8s_vgg16, fcn16s_vgg16"),
        (["--staged", "--steps", "2"], 2, "steps must be as many, got 2"),
        (["--start", "gone.safetensors"], 1, "no model file at gone.safetensors"),
        (["--staged", "--resume"], 2, "leave out --start and --staged"),
    ],
)
def test_mistakes_are_one_line(staged, tmp_path, monkeypatch, capsys, options, code, message):
    monkeypatch.chdir(tmp_path)
    found, _, err = run(capsys, "fit", staged[0], *options)
    assert (found, "Traceback" in err) == (code, False)
    assert message in err
    assert not (tmp_path / "runs" / "data").exists()
