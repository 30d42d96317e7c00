"""Each example runs in an empty folder, prints what its header says, and is short."""

import ast
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pixelwise.models import MODELS

EXAMPLES = Path(__file__).parents[2] / "examples"
NAMES = sorted(path.stem for path in EXAMPLES.glob("*.py"))
LONGEST = 60  # lines


@pytest.fixture
def run(tmp_path, monkeypatch, capfd):
    """Run an example in an empty folder; gives the lines that it printed."""

    def lines(name, *arguments):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *arguments])
        runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
        return capfd.readouterr().out.splitlines()

    return lines


def numbers(line):
    """The numbers of a line, its percentages as shares."""
    words = (word.strip("(),") for word in line.split())
    return [float(word.rstrip("%")) / (100 if word.endswith("%") else 1) for word in words if word[:1].isdigit()]


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def opened(path):
    """The pixels of a picture."""
    with Image.open(path) as picture:
        return np.asarray(picture)


@pytest.mark.parametrize("name", NAMES)
def test_an_example_is_short_and_its_header_says_how_to_run_it_and_what_it_prints(name):
    text = (EXAMPLES / f"{name}.py").read_text(encoding="utf-8")
    header = ast.get_docstring(ast.parse(text))
    assert len(text.splitlines()) <= LONGEST
    assert f"python examples/{name}.py" in header
    assert "Prints" in header
    assert f"test_{name}_" in Path(__file__).read_text(encoding="utf-8")


def test_predict_writes_a_mask_and_an_overlay(run):
    *shares, sure, _ = run("predict")
    assert sum(numbers(line)[0] for line in shares) == pytest.approx(1, abs=0.003)
    assert numbers(sure)[1] > 0.7
    assert set(np.unique(opened("mask.png"))) <= set(range(5))
    assert opened("overlay.png").shape == (*opened("mask.png").shape, 3)


def test_fit_leaves_a_model_and_a_report(run):
    score, *classes, files = run("fit")
    assert 0 < numbers(score)[0] < 1
    assert len(classes) == 5
    assert all(Path(file).stat().st_size > 10_000 for file in files.split())


def test_convolutionalize_gives_at_a_cell_what_the_classifier_says_of_its_window(run):
    window, picture, difference = run("convolutionalize")
    assert window.endswith("(1, 10)")
    assert picture.endswith("(1, 10, 19, 29)")
    assert numbers(difference)[-1] < 1e-5


def test_output_stride_keeps_the_values_and_the_receptive_field(run):
    coarse, dense, difference, field, same = run("output_stride")
    assert coarse.endswith("(1, 256, 7, 10)")
    assert dense.endswith("(1, 256, 28, 40)")
    assert numbers(difference)[0] < 1e-4
    assert numbers(field)[1] == numbers(same)[1] == 427


def test_crf_raises_the_mean_iou_of_coarse_labels(run):
    before, after = (numbers(line)[0] for line in run("crf"))
    assert before < 0.92 < 0.97 < after
    assert opened("crf.png").shape == (192, 3 * 256, 3)


def test_import_caffe_sees_the_water(run):
    counts, layer, shares = run("import_caffe")
    assert counts.startswith("1 copied, 0 reshaped, 0 left at start, 0 unused")
    assert layer.split()[:2] == ["copied", "score"]
    assert ast.literal_eval(shares) == {"ground": "75%", "water": "25%"}


def test_own_network_is_trained_saved_and_loaded(run, monkeypatch):
    monkeypatch.setitem(MODELS, "context", None)  # taken away again
    score, same = run("own_network")
    assert 0 < numbers(score)[0] < 1
    assert same.endswith("True")


def test_own_data_set_is_learned_from(run):
    loss, *classes = run("own_data_set")
    assert numbers(loss)[0] < 0.3
    assert min(numbers(line)[0] for line in classes) > 0.6


def test_export_without_torch_gives_the_same_labels(run):
    pytest.importorskip("onnxruntime")
    files, equal = (line for line in run("export_without_torch") if ":" in line)
    assert files == "segment: README.txt, classes.json, model.onnx, predict.py"
    assert numbers(equal)[0] > 0.999
    assert Path("masks/new_000.png").is_file()


def test_two_processes_take_the_steps_of_one(run, several, tmp_path):
    alone = run("two_processes", "one")
    path = str(EXAMPLES / "two_processes.py")
    code = f"import os, runpy, sys; os.chdir({str(tmp_path)!r}); sys.argv[1:] = ['two']; "
    first, second = several([], code=code + f"runpy.run_path({path!r}, run_name='__main__')")
    assert (first.code, second.code) == (0, 0), first.error + second.error
    assert second.out == ""
    assert [line.split(":")[0] for line in first.out.splitlines()] == [line.split(":")[0] for line in alone]
    for mine, theirs in zip(alone, first.out.splitlines(), strict=True):
        assert numbers(mine.split(": ")[-1])[-1:] == pytest.approx(numbers(theirs.split(": ")[-1])[-1:], abs=1e-3)
    assert names_in(tmp_path / "one") == names_in(tmp_path / "two")
