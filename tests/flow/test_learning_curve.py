"""A learning curve on small folders: whole, the same bytes, resumed, and what it must find."""

import csv
import json
import shutil
from contextlib import contextmanager

import numpy as np
import pytest
from PIL import Image

from pixelwise.cli.main import main
from pixelwise.errors import BadOption, DataError
from pixelwise.flow import learning_curve as module
from pixelwise.flow.learning_curve import Setup, learning_curve, member_folder
from pixelwise.metrics import ConfusionMatrix
from pixelwise.segmenter import Segmenter

SMALL = {"crop_size": [32, 32], "batch_size": 2, "threads": 1, "model_options": {"width": 0.0625, "depth": 2}}
TABLES = ("learning_curve.json", "learning_curve.csv", "doubted.csv")


@pytest.fixture(scope="module")
def squares(tmp_path_factory, make_folder):
    """Ten pictures of a bright square."""
    return make_folder(tmp_path_factory.mktemp("curve") / "squares", count=10)


@pytest.fixture(scope="module")
def curve(tmp_path_factory, squares):
    """A finished curve of 2 × 2 trainings, with pictures ranked."""
    out = tmp_path_factory.mktemp("curve") / "run"
    return learning_curve(
        squares, out=out, sizes=[4, 8], repeats=2, steps=3, settings=SMALL, unlabelled=squares / "images"
    )


def test_a_folder_becomes_tables_drawings_models_and_a_page(curve):
    run, record = curve.run, curve.record
    assert curve.outcome == "finished"
    for name in (*TABLES, "unlabelled.csv", "report.html", "plan.yaml", "model.safetensors"):
        assert (run / name).stat().st_size > 0, name
    assert [(t["pictures"], t["repeat"]) for t in record["trainings"]] == [(4, 1), (8, 1), (4, 2), (8, 2)]
    assert json.loads((run / "learning_curve.json").read_text()) == record
    rows = list(csv.DictReader((run / "learning_curve.csv").read_text().splitlines()))
    assert [float(row["mean_iou"]) for row in rows] == [t["mean_iou"] for t in record["trainings"]]
    assert float(rows[0]["recall foreground"]) == record["trainings"][0]["per_class"][1]["recall"]
    ranked = [picture["uncertainty"] for picture in record["unlabelled"]]
    assert len(ranked) == 10
    assert ranked == sorted(ranked, reverse=True)
    assert not [p for p in run.rglob("*") if p.name.endswith(".part")]
    assert record["forecast"]["mean_iou"]["verdict"] == "unknown"  # two sizes carry no law
    assert "cannot be told" in record["answers"][0]


def test_the_scores_are_those_of_the_model_file_on_the_pictures_that_none_learned(curve, squares):
    setup = Setup.load(curve.run / "curve.json")
    best = Segmenter.load(curve.run / "model.safetensors")
    held_out = sorted({f"img_{i:02}" for i in range(10)} - set(setup.orders[0]))
    assert set(best.trained_on) == set(setup.orders[0])
    matrix = ConfusionMatrix(2)
    for name in held_out:
        target = np.asarray(Image.open(squares / "masks" / f"{name}.png")) // 255
        matrix.update(best.predict(squares / "images" / f"{name}.png").labels, target.astype(np.uint8))
    assert curve.record["trainings"][1]["mean_iou"] == pytest.approx(matrix.scores().mean_iou, abs=1e-6)
    assert curve.record["data"]["measured"] == len(held_out)


def test_every_training_picture_is_judged_by_a_training_that_did_not_learn_it(curve):
    setup = Setup.load(curve.run / "curve.json")
    for order in setup.orders:
        assert set(order[:4]) <= set(order[:8])
    for (size, repeat), names in setup.judged.items():
        assert not set(names) & set(setup.orders[repeat][:size])
        member = json.loads((member_folder(curve.run, size, repeat) / "member.json").read_text())
        assert sorted(doubt["name"] for doubt in member["doubts"]) == sorted(names)
    assert sorted(d["name"] for d in curve.record["doubted"]["pictures"]) == sorted(setup.orders[0])


def test_killed_and_resumed_the_tables_are_byte_equal_and_finished_trainings_are_kept(
    curve, squares, tmp_path, monkeypatch
):
    whole = {name: (curve.run / name).read_bytes() for name in (*TABLES, "model.safetensors", "curve.json")}
    out = tmp_path / "run"
    real, done = module._measured, []

    def killed(segmenter, held_out, tell):
        done.append(1)
        if len(done) == 3:
            raise KeyboardInterrupt
        return real(segmenter, held_out, tell)

    monkeypatch.setattr(module, "_measured", killed)
    asked = {"sizes": [4, 8], "repeats": 2, "steps": 3, "settings": SMALL, "unlabelled": squares / "images"}
    with pytest.raises(KeyboardInterrupt):
        learning_curve(squares, out=out, **asked)
    kept = member_folder(out, 8, 0) / "member.json"
    before = kept.stat().st_mtime_ns
    result = learning_curve(squares, out=out, resume=True)
    assert result.outcome == "finished"
    assert len(done) == 5  # the training that was killed while measured, and one more
    assert kept.stat().st_mtime_ns == before
    changed = {name: (out / name).read_bytes().replace(str(out).encode(), str(curve.run).encode()) for name in whole}
    assert changed == whole


def test_an_interruption_within_a_training_keeps_what_was_finished(squares, tmp_path, monkeypatch):
    began = []

    @contextmanager
    def interruptible():
        yield lambda: len(began) > 1

    monkeypatch.setattr(module, "interruptible", interruptible)
    result = learning_curve(
        squares,
        out=tmp_path / "run",
        sizes=[4, 8],
        repeats=1,
        steps=10,
        settings=SMALL,
        tell=lambda event: began.append(event) if isinstance(event, module.MemberBegan) else None,
    )
    assert result.outcome == "interrupted"
    assert len(result.record["trainings"]) == 1
    assert "--learning-curve --resume" in result.record["commands"]["resume"]
    assert (member_folder(result.run, 8, 0) / "state.pt").exists()
    began.clear()
    assert learning_curve(squares, out=tmp_path / "run", resume=True).outcome == "finished"


def test_where_the_time_does_not_suffice_whole_repeats_are_left_out(squares, tmp_path, monkeypatch):
    seconds = iter([0.0] * 4 + [1e6] * 50)
    monkeypatch.setattr(module.Clock, "seconds", property(lambda clock: next(seconds)))
    result = learning_curve(
        squares, out=tmp_path / "run", sizes=[4, 8], repeats=2, minutes=3, settings=SMALL | {"steps": 2}
    )
    assert result.outcome == "budget"
    assert [(t["pictures"], t["repeat"]) for t in result.record["trainings"]] == [(4, 1), (8, 1)]
    assert "2 of 4 trainings were made" in result.record["answers"][0]


def test_two_wrong_masks_of_twenty_are_doubted_most(make_folder, tmp_path):
    folder = make_folder(tmp_path / "squares", count=20, seed=5)
    first, second, masks = "img_03", "img_11", folder / "masks"
    shutil.copyfile(masks / f"{second}.png", masks / f"{first}.png")  # another picture's mask
    Image.fromarray(np.zeros((32, 40), np.uint8)).save(masks / f"{second}.png")  # nothing drawn
    result = learning_curve(
        folder, out=tmp_path / "run", sizes=[11], repeats=3, steps=40, settings=SMALL | {"rate": 0.02}
    )
    assert {first, second} <= set(Setup.load(result.run / "curve.json").orders[0])
    names = [doubt["name"] for doubt in result.record["doubted"]["pictures"]]
    assert {first, second} <= set(names[:3])
    assert first in result.record["answers"][1]
    assert (result.run / result.record["doubted"]["pictures"][0]["files"]["where"]).is_file()


def test_what_does_not_go_together_is_refused_in_one_line(squares, curve, tmp_path, make_folder):
    with pytest.raises(BadOption, match="a learning curve trains each network once"):
        learning_curve(squares, staged=True)
    with pytest.raises(BadOption, match="of masks; with class folders leave out --learning-curve"):
        learning_curve(squares, labels="folders")
    with pytest.raises(BadOption, match="--repeats is at least 1, got 0"):
        learning_curve(squares, repeats=0)
    with pytest.raises(BadOption, match="follows its own sizes, repeats, steps and seed"):
        learning_curve(squares, out=curve.run, resume=True, repeats=2)
    with pytest.raises(BadOption, match="follows its own plan"):
        learning_curve(squares, out=curve.run, resume=True, model="unet")
    with pytest.raises(BadOption, match=r"9 trainings share 0\.1 minutes, 0 seconds each.*give --minutes 3"):
        learning_curve(squares, out=tmp_path / "a", minutes=0.1)
    with pytest.raises(DataError, match=r"no run in .* to resume: it has no curve\.json"):
        learning_curve(squares, out=tmp_path / "b", resume=True)
    make_folder(tmp_path / "few", count=4)
    with pytest.raises(DataError, match="at least 4 pictures to train on and 2 to measure on, there are 3 and 1"):
        learning_curve(tmp_path / "few", out=tmp_path / "c", steps=1, settings=SMALL)


def test_the_command_prints_the_table_and_the_answers(squares, curve, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    with pytest.raises(SystemExit) as ended:
        main(["fit", str(squares), "--resume", "--out", str(curve.run)])
    assert ended.value.code == 0
    printed = capsys.readouterr().out
    for text in ("twice", "mean IoU", "precision · recall", *curve.record["answers"], "report.html"):
        assert text in printed, text
    with pytest.raises(SystemExit) as ended:
        main(["fit", str(squares), "--sizes", "5,x", "--learning-curve"])
    assert ended.value.code == 2
    assert "--sizes is N,N,…, as 5,10,20,40, got '5,x'" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["fit", str(squares), "--repeats", "2"])
    assert "add --learning-curve" in capsys.readouterr().err
