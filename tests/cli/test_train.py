"""`pixelwise train` and `pixelwise list recipes` as they are typed."""

import json
import subprocess
import sys

import numpy as np
import pytest
import yaml
from PIL import Image

import pixelwise as pw
from pixelwise.cli.main import main
from pixelwise.recipes import PublishedRecipe, published_recipe

SMALL = [
    *("--set", "model_options={width: 0.0625}", "--set", "crop_size=[24, 24]", "--set", "batch_size=2"),
    *("--set", "recompute=2", "--set", "validate_on=1", "--set", "steps=2", "--set", "threads=1"),
]


def run(*arguments):
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return ended.value.code


@pytest.fixture
def camvid(tmp_path):
    """CamVid's packaging, with two pictures a split."""
    random = np.random.default_rng(0)
    root = tmp_path / "CamVid"
    for split in ("train", "val", "test"):
        lines = []
        for i in range(2):
            for folder, values in (
                (split, random.integers(0, 256, (24, 32, 3))),
                (f"{split}annot", np.arange(32) % 12),
            ):
                (root / folder).mkdir(parents=True, exist_ok=True)
                picture = values if values.ndim == 3 else np.broadcast_to(values, (24, 32))
                Image.fromarray(picture.astype(np.uint8)).save(root / folder / f"{split}{i}.png")
            lines.append(f"/SegNet/CamVid/{split}/{split}{i}.png /SegNet/CamVid/{split}annot/{split}{i}.png")
        (root / f"{split}.txt").write_text("\n".join(lines) + "\n")
    return root


def test_found_and_expected_scores_stand_side_by_side(camvid, tmp_path, capsys):
    assert run("train", "segnet_basic_camvid", "--data", camvid, "--out", tmp_path / "run", *SMALL) == 0
    told = capsys.readouterr().out
    rows = [line.split() for line in told.splitlines()]
    (row,) = (row for row in rows if row[:2] == ["mean", "IoU"] and len(row) == 4)
    assert row[3] == "47.7"
    assert "Expected: Table 1, SegNet-Basic, median frequency" in told
    assert "Began with: random weights" in told
    assert pw.load(tmp_path / "run" / "model.safetensors").labels.num_classes == 11
    # the run is evaluated again as its own page says
    record = json.loads((tmp_path / "run" / "result.json").read_text())
    assert record["commands"]["evaluate"].endswith("--dataset camvid --split test")
    assert run(*record["commands"]["evaluate"].split()[1:]) == 0
    assert f"Mean IoU {record['scores']['mean_iou']:.4f}" in capsys.readouterr().out
    assert run("train", "segnet_basic_camvid", "--data", camvid, "--out", tmp_path / "run", *SMALL) == 1
    assert "already exists" in capsys.readouterr().err


def test_show_prints_a_recipe_that_can_be_trained_by(tmp_path, capsys):
    assert run("train", "fcn16s_vgg16_voc", "--show", "--set", "fcn16s_vgg16.steps=5", "--set", "threads=1") == 0
    record = yaml.safe_load(capsys.readouterr().out)
    made = PublishedRecipe.from_record(record)
    wanted = {"fcn16s_vgg16.steps": 5, "threads": 1}
    assert made == published_recipe("fcn16s_vgg16_voc").with_settings(wanted)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["segnet_basic_camvit", "--data", "x"], "no recipe is called 'segnet_basic_camvit'; did you mean"),
        (["segnet_basic_camvid", "--data", "x", "--set", "bach_size=1"], "did you mean 'batch_size'"),
        (["segnet_basic_camvid"], "--data ROOT"),
    ],
)
def test_a_wrong_word_is_answered_in_one_line(arguments, told, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run("train", *arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert told in line
    assert not list(tmp_path.iterdir())


def test_data_that_is_not_there_is_answered_in_one_line(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    assert run("train", "segnet_basic_camvid", "--data", "empty") == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "train.txt" in line
    assert [path.name for path in tmp_path.iterdir() if path.name != "runs"] == ["empty"]


def test_the_list_has_a_line_for_each_recipe(capsys):
    assert run("list", "recipes") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == pw.list_recipes()
    (basic,) = (line for line in lines if line.startswith("segnet_basic_camvid "))
    assert basic.split()[1:3] == ["47.70", "10k"]
    assert run("list", "recipes", "--json") == 0
    records = json.loads(capsys.readouterr().out)["recipes"]
    found = next(record for record in records if record["name"] == "segnet_basic_camvid")
    assert found["expected"]["mean_accuracy"] == 62.0
    assert found["command"] == "pixelwise train segnet_basic_camvid --data ROOT"


def test_the_list_needs_no_torch():
    code = (
        "import sys\n"
        "from pixelwise.cli.main import main\n"
        "try:\n    main(['list', 'recipes'])\nexcept SystemExit as e:\n    assert e.code == 0, e.code\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
