"""The command line: exit codes, one clear line, nothing slow imported for --help."""

import json
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pixelwise.cli.main import main
from pixelwise.cli.show.fit import FitDisplay
from pixelwise.training.loop import StepLogged

ROOT = Path(__file__).parents[2]


def write_folder(root, count=4):
    random = np.random.default_rng(0)
    for part in ("images", "masks"):
        (root / part).mkdir(parents=True)
    for i in range(count):
        Image.fromarray(random.integers(0, 255, (32, 40, 3)).astype(np.uint8)).save(root / "images" / f"{i}.png")
        Image.fromarray(((random.random((32, 40)) > 0.5) * 255).astype(np.uint8)).save(root / "masks" / f"{i}.png")
    return root


SMALL = ["--set", "crop_size=[32,32]", "--set", "batch_size=2", "--set", "threads=1", "--steps", "3"]
SMALL += ["--set", "model_options={width: 0.0625, depth: 3}", "--set", "log_every=1", "--set", "validate_every=1"]


def run(capsys, *arguments):
    """(exit code, stdout, stderr) of a command in this process."""
    with pytest.raises(SystemExit) as ended:
        main([str(a) for a in arguments])
    out = capsys.readouterr()
    return ended.value.code, out.out, out.err


@pytest.fixture(autouse=True)
def _own_place(tmp_path, monkeypatch):
    """What commands write beside the user goes nowhere else."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder and a run of it."""
    root = tmp_path_factory.mktemp("trained")
    write_folder(root / "data")
    with pytest.raises(SystemExit) as ended:
        main(["fit", str(root / "data"), "--out", str(root / "run"), *SMALL])
    assert ended.value.code == 0
    return root / "data", root / "run"


def test_fit_tells_what_it_does_and_what_to_do_next(tmp_path, capsys):
    folder = write_folder(tmp_path / "data")
    code, out, _ = run(capsys, "fit", folder, "--out", tmp_path / "run", *SMALL)
    assert code == 0
    for word in ("pixelwise 0.1.0", "background", "Plan", "validation mean IoU", "report.html", "pixelwise predict"):
        assert word in out, word


def test_check_prints_classes_and_json(trained, capsys):
    folder, _ = trained
    code, out, _ = run(capsys, "check", folder)
    assert code == 0
    assert "background" in out
    assert "4 pictures" in out
    code, out, _ = run(capsys, "check", folder, "--json")
    assert code == 0
    assert json.loads(out)


def test_predict_evaluate_report_and_list(trained, tmp_path, capsys):
    folder, runs = trained
    model = runs / "model.safetensors"
    code, out, _ = run(capsys, "predict", model, folder / "images", "--out", tmp_path / "p", "--save", "mask,areas")
    assert code == 0
    assert "4 pictures segmented" in out
    assert sorted(p.name for p in (tmp_path / "p" / "mask").iterdir()) == [f"{i}.png" for i in range(4)]
    code, _, err = run(capsys, "predict", model, folder / "images", "--out", tmp_path / "p")
    assert code == 1
    assert "exists already" in err
    code, out, _ = run(capsys, "evaluate", model, folder, "--json")
    assert code == 0
    assert json.loads(out)["pictures"] == 1  # the others were trained on
    code, out, _ = run(capsys, "evaluate", model, folder, "--flip")
    assert "Protocol: one confusion matrix" in out.replace("\n", " ")
    (runs / "report.html").unlink()
    code, out, _ = run(capsys, "report", runs)
    assert code == 0
    assert (runs / "report.html").exists()
    code, out, _ = run(capsys, "list", "models")
    assert "deeplab_v3_resnet50" in out.split()
    code, out, _ = run(capsys, "list", "datasets")
    assert "camvid" in out.split()


def test_commands_that_are_printed_can_be_typed(tmp_path, capsys, monkeypatch):
    folder = write_folder(tmp_path / "my data")
    _, out, _ = run(capsys, "fit", "my data", "--out", "a run", "--plan-only", *SMALL)
    resume = "pixelwise fit 'my data' --resume --out 'a run'"
    assert out.splitlines()[-1] == f"  {resume}"
    told = FitDisplay.tell

    def stopped(self, event):
        told(self, event)
        if isinstance(event, StepLogged) and event.step >= 1:
            monkeypatch.setattr(FitDisplay, "tell", told)
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(FitDisplay, "tell", stopped)
    code, out, _ = run(capsys, *shlex.split(resume)[1:])
    assert code == 130
    assert out.splitlines()[-2:] == [
        "Use it:  pixelwise predict 'a run/model.safetensors' NEW_PICTURES --out predictions",
        f"Go on:   {resume}",
    ]
    assert "Training was interrupted after 1 step (" in out
    assert json.loads((tmp_path / "a run" / "result.json").read_text())["commands"]["resume"] == resume
    code, out, _ = run(capsys, *shlex.split(resume)[1:])
    assert code == 0 and "Go on:" not in out and "Training finished after 3 steps (" in out
    assert folder.is_dir()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["fit", "nowhere"], 1, "nowhere"),
        (["check", "nowhere"], 1, "nowhere"),
        (["predict", "none.safetensors", "x.png", "--out", "o"], 1, "no model file at none.safetensors"),
        (["fit"], 2, "Missing argument"),
        (["fit", ".", "--stepps", "3"], 2, "No such option"),
        (["fit", ".", "--steps", "3", "--minutes", "2"], 2, "give either minutes or steps"),
        (["fit", ".", "--set", "rate"], 2, "--set takes KEY=VALUE, got 'rate'"),
        (["list", "networks"], 2, "networks"),
        (["fit", ".", "--set", "model_options=5", "--steps", "1"], 2, "model_options: input should be a valid dict"),
        (["fit", ".", "--seed", "-1", "--steps", "1"], 2, "seed must be a whole number from 0 to 2147483647, got -1"),
        (["fit", "o[-b]", "--steps", "1"], 1, "there is no folder o[-b]"),
        (["predict", "m[/b].safetensors", "x.png", "--out", "o"], 1, "no model file at m[/b].safetensors"),
        (["report", "nowhere"], 1, "nowhere"),
    ],
)
def test_mistakes_are_one_line_and_never_a_traceback(tmp_path, monkeypatch, capsys, arguments, code, message):
    monkeypatch.chdir(tmp_path)
    found, _, err = run(capsys, *arguments)
    assert found == code
    assert message in re.sub(r"\s+", " ", err)
    assert "Traceback" not in err


def test_a_broken_folder_is_refused_by_name_with_exit_code_1(tmp_path, capsys):
    folder = write_folder(tmp_path / "data")
    (folder / "masks" / "2.png").write_bytes(b"junk")
    for command in (["check", folder], ["fit", folder, "--out", tmp_path / "run", *SMALL]):
        code, out, err = run(capsys, *command)
        assert code == 1
        assert "2.png" in out + err
        assert "Traceback" not in out + err


def test_debug_shows_the_traceback(tmp_path):
    with pytest.raises(OSError, match="nowhere"):
        main(["--debug", "check", str(tmp_path / "nowhere")])


def test_help_and_version_do_not_import_torch():
    code = (
        "import sys\n"
        "sys.argv = ['pixelwise', '--help']\n"
        "from pixelwise.cli.main import main\n"
        "try:\n    main()\nexcept SystemExit as e:\n    assert e.code == 0, e.code\n"
        "assert 'torch' not in sys.modules and 'numpy' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "fit" in done.stdout
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys, pixelwise; assert 'torch' not in sys.modules; print(pixelwise.__version__)",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "0.1.0\n"


def test_public_names_are_all_there():
    import pixelwise

    for name in pixelwise.__all__:
        assert getattr(pixelwise, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = pixelwise.nothing
    assert set(pixelwise.__all__) <= set(dir(pixelwise))


def test_the_demo_command_learns_and_predicts(tmp_path, capsys, monkeypatch):
    """The whole demo on a few small pictures; `make demo` runs it at full size."""
    from pixelwise.flow import demo
    from pixelwise.flow import fit as fit_module

    draw, fit = demo.draw_demo, fit_module.fit
    monkeypatch.setattr(demo, "draw_demo", lambda folder: draw(folder, count=4, size=(32, 48)))
    small = {"crop_size": [32, 32], "batch_size": 2, "threads": 1, "model_options": {"width": 0.0625, "depth": 3}}
    monkeypatch.setattr(
        fit_module, "fit", lambda folder, out, minutes, tell: fit(folder, out=out, steps=2, settings=small, tell=tell)
    )
    code, out, _ = run(capsys, "demo", "--out", tmp_path / "demo")
    assert code == 0
    assert "segmented" in out
    assert len(list((tmp_path / "demo" / "predictions" / "overlay").iterdir())) == 3
    code, _, err = run(capsys, "demo", "--out", tmp_path / "demo")
    assert code == 2
    assert "exists already" in err


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (OSError(28, "No space left on device", "runs/cells"), 1, "No space left on device (runs/cells)\n"),
        (OSError("broken"), 1, "broken\n"),
    ],
)
def test_what_the_system_refuses_is_told_in_one_line(monkeypatch, capsys, error, code, told):
    def fails(run):
        raise error

    monkeypatch.setattr("pixelwise.report.page.write_report", fails)
    ended, out, err = run(capsys, "report", "runs/cells")
    assert (ended, out) == (code, "")
    assert err.endswith(told) and err.count("\n") == 1


def test_control_c_ends_a_command_without_a_traceback(monkeypatch, capsys):
    def stopped(run):
        raise KeyboardInterrupt

    monkeypatch.setattr("pixelwise.report.page.write_report", stopped)
    code, out, err = run(capsys, "report", "runs/cells")
    assert (code, out) == (130, "") and "Traceback" not in err


def test_debug_shows_the_traceback_of_the_system_s_errors_too(monkeypatch):
    def fails(run):
        raise OSError("broken")

    monkeypatch.setattr("pixelwise.report.page.write_report", fails)
    with pytest.raises(OSError, match="broken"):
        main(["report", "runs/cells", "--debug"])


def test_torchrun_is_refused_for_commands_of_one_process_and_the_process_is_named(monkeypatch, capsys):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    told = "runs in one process; leave out torchrun, which is for train, evaluate and predict\n"
    code, _, err = run(capsys, "check", "cells")
    assert (code, err) == (2, f"pixelwise, process 1: check {told}")
    monkeypatch.setenv("RANK", "0")
    code, _, err = run(capsys, "--version")
    assert (code, err) == (2, f"pixelwise: this {told}")


def test_the_version_is_printed(capsys):
    import pixelwise

    assert run(capsys, "--version") == (0, f"pixelwise {pixelwise.__version__}\n", "")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--size", "512"], "--size is height x width in pixels, as 512x1024, got '512'"),
        (["--size", "0x4"], "--size is height x width in pixels, as 512x1024, got '0x4'"),
        (["--mean", "a,b,c"], "--mean is R,G,B, as 123.68,116.78,103.94, got 'a,b,c'"),
    ],
)
def test_options_of_an_import_that_cannot_be_read_are_wrong_usage(tmp_path, capsys, arguments, told):
    (tmp_path / "w.pth").touch()
    code, _, err = run(capsys, "import-weights", tmp_path / "w.pth", "--out", tmp_path / "m.safetensors", *arguments)
    assert (code, err) == (2, f"pixelwise: {told}\n")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--window", "a"], "--window is one number or height,width, as 713 or 512,1024, got 'a'"),
        (["--window", "1,2,3"], "--window is one number or height,width, as 713 or 512,1024, got '1,2,3'"),
        (["--tile", "big"], "--tile is auto or a number of pixels, as 1024, got 'big'"),
        (["--max-pixels", "0"], "--max-pixels is at least 1, got 0"),
    ],
)
def test_options_of_predict_that_cannot_be_read_are_wrong_usage(tmp_path, capsys, arguments, told):
    code, _, err = run(capsys, "predict", "m.safetensors", "x.png", "--out", tmp_path / "o", *arguments)
    assert (code, err) == (2, f"pixelwise: {told}\n")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--sizes", "5,10"], "--sizes, --repeats and --unlabelled are for a learning curve; add --learning-curve"),
        (["--learning-curve", "--plan-only"], "--plan-only writes a plan for one training; leave out --learning-curve"),
        (["--learning-curve", "--sizes", "5;10"], "--sizes is N,N,…, as 5,10,20,40, got '5;10'"),
        (["--track", "tensorbord"], "did you mean 'tensorboard'?"),
        (["--set", "rate=[1"], "--set rate: '[1' is no YAML value"),
    ],
)
def test_options_of_fit_that_do_not_fit_are_wrong_usage(tmp_path, capsys, arguments, told):
    code, _, err = run(capsys, "fit", tmp_path, *arguments)
    assert code == 2 and told in err
