"""Fit: the whole flow on small folders, and a clear outcome for everything that can go wrong."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

import pixelwise as pw
from pixelwise.errors import BadOption, CheckpointError, DataError, LabelError, TrainingError, UnknownName
from pixelwise.flow import train as train_module
from pixelwise.flow.evaluate import evaluate_folder
from pixelwise.flow.plan import Plan
from pixelwise.flow.run import alone_in
from pixelwise.segmenter import Segmenter
from pixelwise.training.loop import StepLogged


def events_of(run):
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def test_a_folder_becomes_model_plan_log_and_report(folder, tmp_path, tiny):
    result = pw.fit(folder, out=tmp_path / "run", steps=20, settings=tiny)
    run = result.run
    for name in ("model.safetensors", "plan.yaml", "log.jsonl", "result.json", "report.html"):
        assert (run / name).stat().st_size > 0, name
    assert result.outcome == "finished"
    assert result.split == "validation"
    assert result.segmenter.labels.names == ("background", "foreground")
    assert result.scores.mean_iou == pytest.approx(json.loads((run / "result.json").read_text())["scores"]["mean_iou"])
    kinds = [e["event"] for e in events_of(run)]
    assert kinds[0] == "start"
    assert kinds[-1] == "end"
    assert "step" in kinds
    assert "validation" in kinds
    again = pw.load(run / "model.safetensors").predict(folder / "images" / "img_00.png")
    assert again.labels.shape == (32, 40)
    assert not [p for p in run.rglob("*") if p.name.endswith(".part")]


def test_it_learns_a_bright_square(folder, tmp_path, tiny):
    result = pw.fit(folder, out=tmp_path / "run", steps=80, settings=tiny | {"rate": 0.01})
    assert result.scores.mean_iou > 0.85


def test_every_choice_has_a_reason_and_can_be_overridden(folder, tmp_path, tiny):
    made = pw.fit(folder, out=tmp_path / "a", steps=5, plan_only=True).run / "plan.yaml"
    plan = Plan.load(made)
    for choice in (
        "model",
        "crop_size",
        "steps",
        "rate",
        "loss",
        "augmentation",
        "class_weights",
        "precision",
        "validation",
    ):
        assert plan.reasons[choice], choice
    changes = {"rate": 0.123, "batch_size": 3, "loss": "cross_entropy", "augmentation.rotation": 33.0, "patience": 7}
    other = Plan.load(
        pw.fit(folder, out=tmp_path / "b", steps=5, plan_only=True, settings=tiny | changes).run / "plan.yaml"
    )
    assert other.recipe.rate == 0.123
    assert other.recipe.augmentation.rotation == 33
    assert other.recipe.patience == 7
    assert other.reasons["rate"] == other.reasons["patience"] == "as you set it"
    assert other.recipe.model_options["width"] == 0.0625
    assert not (tmp_path / "b" / "model.safetensors").exists()


def test_a_plan_can_be_edited_and_trained_by(folder, tmp_path, tiny):
    run = pw.fit(folder, out=tmp_path / "run", steps=50, plan_only=True, settings=tiny).run
    text = (run / "plan.yaml").read_text()
    assert "steps: 50" in text
    (run / "plan.yaml").write_text(text.replace("steps: 50", "steps: 4"))
    result = pw.fit(folder, out=run, resume=True)
    assert events_of(run)[-1]["step"] == 4
    assert result.outcome == "finished"


def test_the_same_seed_gives_the_same_bytes_and_the_plan_reproduces_them(folder, tmp_path, tiny):
    files = [
        pw.fit(folder, out=tmp_path / name, steps=6, settings=tiny).run / "model.safetensors" for name in ("a", "b")
    ]
    followed = pw.fit(folder, out=tmp_path / "c", plan=tmp_path / "a" / "plan.yaml").run / "model.safetensors"
    other = pw.fit(folder, out=tmp_path / "d", steps=6, seed=5, settings=tiny).run / "model.safetensors"
    assert files[0].read_bytes() == files[1].read_bytes() == followed.read_bytes()
    assert files[0].read_bytes() != other.read_bytes()


def test_a_folders_own_parts_are_kept(tmp_path, make_folder, tiny):
    for seed, part in enumerate(("train", "val", "test")):
        make_folder(tmp_path / "data" / part, count=3, seed=seed)
    result = pw.fit(tmp_path / "data", out=tmp_path / "run", steps=4, settings=tiny)
    plan = Plan.load(result.run / "plan.yaml")
    assert [len(plan.split[p]) for p in ("train", "validation", "test")] == [3, 3, 3]
    assert result.split == "test"
    assert json.loads((result.run / "result.json").read_text())["scores"]["pictures"] == 3


def test_one_picture_trains_and_says_what_its_score_is_worth(tmp_path, make_folder, tiny):
    make_folder(tmp_path / "one", count=1)
    result = pw.fit(tmp_path / "one", out=tmp_path / "run", steps=3, settings=tiny)
    assert "the scores say nothing of other pictures" in Plan.load(result.run / "plan.yaml").reasons["validation"]


def test_rare_classes_of_many_count_more(tmp_path, make_folder):
    """The square root of the median frequency over the class's own, from 1/3 to 3; only with three classes or more."""
    make_folder(tmp_path / "many", count=8, size=(96, 96), values=(0, 1, 2))
    for file in sorted((tmp_path / "many" / "masks").iterdir()):
        mask = np.zeros((96, 96), np.uint8)
        mask[:16, :60] = 1
        mask[-4:, :15] = 2
        Image.fromarray(mask).save(file)
    plan = Plan.load(pw.fit(tmp_path / "many", out=tmp_path / "a", steps=3, plan_only=True).run / "plan.yaml")
    frequencies = np.array([9216 - 960 - 60, 960, 60])
    assert plan.recipe.class_weights == pytest.approx(np.clip(np.sqrt(960 / frequencies), 1 / 3, 3), abs=1e-3)
    assert "(class 2 3)" in plan.reasons["class_weights"]
    make_folder(tmp_path / "two", count=8, size=(96, 96))
    plan = Plan.load(pw.fit(tmp_path / "two", out=tmp_path / "b", steps=3, plan_only=True).run / "plan.yaml")
    assert plan.recipe.class_weights is None and plan.recipe.class_crops == 0


def test_scores_are_at_the_masks_own_size(tmp_path, make_folder, tiny):
    make_folder(tmp_path / "data", count=4, size=(37, 61))
    result = pw.fit(tmp_path / "data", out=tmp_path / "run", steps=3, settings=tiny)
    validation = len(Plan.load(result.run / "plan.yaml").split["validation"])
    assert result.scores.confusion.sum() == validation * 37 * 61


def test_a_run_is_never_written_over(folder, tmp_path, tiny, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first = pw.fit(folder, steps=2, settings=tiny).run
    before = {p: p.read_bytes() for p in first.iterdir() if p.is_file()}
    second = pw.fit(folder, steps=2, settings=tiny).run
    assert (first.name, second.name) == ("squares", "squares-2")
    with pytest.raises(DataError, match="already exists and is not empty; choose another --out, or --resume"):
        pw.fit(folder, out=first, steps=2)
    assert before == {p: p.read_bytes() for p in first.iterdir() if p.is_file()}


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"minutes": 0}, BadOption, "minutes must be above 0, got 0"),
        ({"steps": 0}, BadOption, "steps must be at least 1, got 0"),
        ({"steps": 5, "minutes": 1}, BadOption, "give either minutes or steps, not both"),
        ({"resume": True, "minutes": 1}, BadOption, "a stored plan holds its own length, model and seed"),
        ({"steps": 1, "model": "unett"}, UnknownName, "no model is called 'unett'; did you mean 'unet'"),
        ({"steps": 1, "settings": {"crop_sise": 1}}, UnknownName, "did you mean 'crop_size'"),
        ({"steps": 1, "settings": {"rate": -1}}, BadOption, "rate: .*greater than 0, got -1"),
        (
            {"steps": 1, "settings": {"class_weights": [1, 2, 3]}},
            BadOption,
            "one value for each of the 2 classes, got 3",
        ),
        ({"steps": 1, "settings": {"class_crop_shares": [1]}}, BadOption, "one value for each of the 2 classes, got 1"),
        (
            {"steps": 1, "settings": {"augmentation.scale": [0, 1]}},
            BadOption,
            "scale is a low and a high factor above 0",
        ),
        ({"steps": 1, "settings": {"augmentation": 5}}, BadOption, "augmentation: .*, got 5"),
        (
            {"steps": 1, "settings": {"model_options": {"widht": 1}}},
            BadOption,
            "unet has no option 'widht'; did you mean 'width'",
        ),
        ({"steps": 1, "settings": {"model_options": 5}}, BadOption, "model_options: .*valid dictionary, got 5"),
        ({"steps": 1, "settings": {"model": 5}}, BadOption, "model: .*valid string, got 5"),
        ({"steps": 1, "settings": {"model_options.width": "x"}}, BadOption, "width must be a number above 0"),
        (
            {"steps": 1, "settings": {"class_crop_shares": [1, -1], "class_crops": 0.5}},
            BadOption,
            "class_crop_shares: values must be 0 or more",
        ),
        ({"resume": True, "settings": {"seed": 1}}, BadOption, "leave out minutes, steps, model and seed"),
        ({"steps": 1, "seed": -1}, BadOption, "seed must be a whole number from 0 to 2147483647, got -1"),
        ({"steps": 1, "settings": {"seed": 2**31}}, BadOption, "seed must be a whole number"),
        ({"resume": True, "seed": 1}, BadOption, "leave out minutes, steps, model and seed"),
        ({"resume": True, "plan": "p.yaml"}, BadOption, "leave out one of resume and plan"),
    ],
)
def test_bad_options_are_refused_before_training(folder, tmp_path, options, error, message):
    with pytest.raises(error, match=message):
        pw.fit(folder, out=tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()  # the corrected command can use the name


def test_a_broken_folder_is_refused_before_training(folder, tmp_path):
    (folder / "masks" / "img_03.png").write_bytes(b"junk")
    with pytest.raises(DataError, match=r"img_03\.png"):
        pw.fit(folder, out=tmp_path / "run", steps=2)
    assert not (tmp_path / "run").exists()


def test_resume_needs_the_plans_pictures_and_classes(folder, tmp_path, tiny, make_folder):
    run = pw.fit(folder, out=tmp_path / "run", steps=2, settings=tiny).run
    name = Plan.load(run / "plan.yaml").split["train"][0]
    for part in ("images", "masks"):
        (folder / part / f"{name}.png").rename(tmp_path / f"{part}-{name}.png")
    with pytest.raises(DataError, match=f"{name} of the plan's training part is no longer in the folder"):
        pw.fit(folder, out=run, resume=True)
    make_folder(folder, values=(0, 1, 2))
    with pytest.raises(DataError, match="the classes of the folder are no longer those of the plan"):
        pw.fit(folder, out=run, resume=True)
    with pytest.raises(DataError, match="there is no run of .* to resume"):
        pw.fit(folder, resume=True)


class Stopwatch:
    """`tell` that interrupts at a step, as Ctrl-C would."""

    def __init__(self, at):
        self.at = at

    def __call__(self, event):
        if isinstance(event, StepLogged) and event.step >= self.at:
            self.at = 10**9
            os.kill(os.getpid(), signal.SIGINT)


def test_ctrl_c_ends_with_the_best_model_and_a_report_and_resume_goes_on(folder, tmp_path, tiny):
    settings = tiny | {"log_every": 1, "validate_every": 2}
    whole = pw.fit(folder, out=tmp_path / "whole", steps=12, settings=settings)
    stopped = pw.fit(folder, out=tmp_path / "run", steps=12, settings=settings, tell=Stopwatch(5))
    assert stopped.outcome == "interrupted"
    assert stopped.report.exists()
    assert (stopped.run / "model.safetensors").exists()
    resumed = pw.fit(folder, out=tmp_path / "run", resume=True)
    assert resumed.outcome == "finished"
    model = "model.safetensors"
    assert (resumed.run / model).read_bytes() == (whole.run / model).read_bytes()


def test_ctrl_c_before_the_first_validation_still_leaves_a_model(folder, tmp_path, tiny):
    settings = tiny | {"log_every": 1, "validate_every": 10}
    stopped = pw.fit(folder, out=tmp_path / "run", steps=20, settings=settings, tell=Stopwatch(2))
    assert stopped.outcome == "interrupted"
    assert pw.load(stopped.run / "model.safetensors").scores["mean_iou"] == pytest.approx(
        stopped.scores.mean_iou, abs=1e-6
    )


def test_minutes_are_held(folder, tmp_path, tiny):
    """The clock ends the run at a logged step; how well it is held is measured in benchmarks."""
    result = pw.fit(folder, out=tmp_path / "run", minutes=0.2, settings=tiny | {"steps": 100_000, "log_every": 1})
    assert result.outcome == "budget"
    assert result.report.exists()


def test_two_fits_never_share_a_folder(folder, tmp_path, tiny, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "squares").mkdir(parents=True)
    assert pw.fit(folder, steps=1, settings=tiny).run.name == "squares-2"
    run = pw.fit(folder, out=tmp_path / "run", steps=1, settings=tiny).run
    with alone_in(run), pytest.raises(DataError, match="another fit is at work in .*run; wait for it"):
        pw.fit(folder, out=run, resume=True)
    reading = tmp_path / "reading"  # the first one has no plan yet; the second must not remove its folder
    reading.mkdir()
    with alone_in(reading, fresh=True):
        with pytest.raises(DataError, match="another fit is at work"):
            pw.fit(folder, out=reading, steps=1, settings=tiny)
        assert (reading / ".lock").exists()
    assert not reading.exists()
    with pytest.raises(DataError, match="another fit is at work"), alone_in(run, fresh=True):
        pass  # it was made between the look at the folder and the lock
    assert (run / "plan.yaml").exists()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("reasons:", "raisons:", "misses the entry 'reasons'"),
        ("validate_on: 1", "validate_on: 0", "numbers of pictures, at least 1"),
        ("validate_on: 1", "validate_on: many", "has a wrong entry 'validate_on' .*many"),
        ("\nnormalization:", "\nnormalization: 5\nrest:", "has a wrong entry 'normalization'"),
        ("labels:", "labels: {names: [a, b]}\nrest:", "has a wrong entry 'labels' .it misses 'palette'"),
        ("split:", "split: {train: img_00}\nrest:", "has a wrong entry 'split' .expected a list of pictures"),
        ("format: 1", "format: x", "has format 'x'"),
        ("format: 1", "format: 99", "has format 99, this pixelwise reads up to 1"),
        ("recipe:", "recipe: 3\nrest:", "is no plan of pixelwise: it has no recipe"),
        ("split:", "split: {train: [], validation: [a], test: []}\nrest:", "names no pictures for the train part"),
        ("format: 1", "format: [", "is not YAML"),
    ],
)
def test_a_plan_damaged_by_hand_is_one_line(folder, tmp_path, tiny, old, new, message):
    run = pw.fit(folder, out=tmp_path / "run", steps=2, plan_only=True, settings=tiny).run
    text = (run / "plan.yaml").read_text()
    assert old in text
    (run / "plan.yaml").write_text(text.replace(old, new, 1))
    with pytest.raises(CheckpointError, match=message):
        pw.fit(folder, out=run, resume=True)


def test_a_plan_with_a_model_that_cannot_be_built_is_refused_before_reading(folder, tmp_path, tiny):
    made = pw.fit(folder, out=tmp_path / "made", steps=2, plan_only=True, settings=tiny).run / "plan.yaml"
    made.write_text(made.read_text().replace("model: unet", "model: unett"))
    for options in ({"out": tmp_path / "made", "resume": True}, {"out": tmp_path / "new", "plan": made}):
        events = []
        with pytest.raises(UnknownName, match="no model is called 'unett'"):
            pw.fit(folder, tell=events.append, **options)
        assert not events
    assert not (tmp_path / "new").exists()


def test_crops_are_not_placed_on_a_class_that_no_training_picture_has(tmp_path, make_folder, tiny):
    make_folder(tmp_path / "data" / "train", values=(0, 1))
    make_folder(tmp_path / "data" / "val", values=(0, 1, 2))
    shares = {"class_crops": 0.5, "class_crop_shares": [1, 1, 1]}
    with pytest.raises(BadOption, match="class_crop_shares draws .*, which no training picture has; give it the share"):
        pw.fit(tmp_path / "data", out=tmp_path / "run", steps=1, settings=tiny | shares)


def test_settings_can_change_a_plan_only_before_training(folder, tmp_path, tiny):
    run = pw.fit(folder, out=tmp_path / "run", steps=2, plan_only=True, settings=tiny).run
    pw.fit(folder, out=run, resume=True, settings={"steps": 3, "model_options": {"depth": 2}})
    stored = Plan.load(run / "plan.yaml")
    assert stored.recipe.steps == 3
    assert stored.recipe.model_options == {"num_classes": 2, "in_channels": 3, "width": 0.0625, "depth": 2}
    with pytest.raises(BadOption, match="training in .* has begun by its plan; start a new run to change steps"):
        pw.fit(folder, out=run, resume=True, settings={"steps": 4})


def test_the_seed_is_the_same_however_it_is_set(folder, tmp_path, tiny):
    plans = [
        Plan.load(pw.fit(folder, out=tmp_path / name, steps=1, plan_only=True, **options).run / "plan.yaml")
        for name, options in (("a", {"seed": 9}), ("b", {"settings": {"seed": 9}}))
    ]
    assert plans[0].split == plans[1].split
    assert plans[0].recipe.seed == plans[1].recipe.seed == 9


def test_a_void_validation_part_is_refused_before_training(tmp_path, make_folder, tiny):
    make_folder(tmp_path / "data" / "train", values=(0, 1))
    make_folder(tmp_path / "data" / "val", values=(0, 1))
    make_folder(tmp_path / "data" / "test", values=(0, 1))
    mask = np.zeros((32, 40), np.uint8)
    mask[0, :2] = 1, 255  # so that void is one of the values from the start
    Image.fromarray(mask).save(tmp_path / "data" / "train" / "masks" / "img_00.png")
    run = pw.fit(tmp_path / "data", out=tmp_path / "run", steps=1, settings=tiny, plan_only=True).run
    for part, name in (("val", "validation"), ("test", "test")):
        make_folder(tmp_path / "data" / part, values=(255,))
        with pytest.raises(DataError, match=f"all 6 masks of the {name} part are void"):
            pw.fit(tmp_path / "data", out=tmp_path / "new", steps=1, settings=tiny)
        with pytest.raises(DataError, match=f"all 6 masks of the {name} part are void"):
            pw.fit(tmp_path / "data", out=run, resume=True)
        make_folder(tmp_path / "data" / part, values=(0, 1))


def test_a_torn_log_line_swallows_nothing(folder, tmp_path, tiny):
    run = pw.fit(folder, out=tmp_path / "run", steps=2, settings=tiny).run
    with (run / "log.jsonl").open("a") as log:
        log.write('{"event": "st')
    (run / ".model.safetensors.999.part").write_bytes(b"left by a kill")
    pw.fit(folder, out=run, resume=True)
    lines = (run / "log.jsonl").read_text().splitlines()
    assert '{"event": "start", "resumed": true}' in lines
    assert not list(run.glob(".*.part"))


def test_steps_that_were_asked_for_are_all_trained(folder, tmp_path, tiny):
    """No patience ends them, and a few steps are not validated one by one."""
    still = tiny | {"rate": 1e-30, "average": 0.0, "class_weights": None}
    result = pw.fit(folder, out=tmp_path / "run", steps=32, settings=still)
    plan = Plan.load(result.run / "plan.yaml")
    assert (plan.recipe.patience, plan.recipe.validate_every) == (0, 5)
    assert plan.reasons["patience"].startswith("steps were asked for, and all are trained")
    log = [json.loads(line) for line in (result.run / "log.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in log if entry["event"] == "validation"] == [5, 10, 15, 20, 25, 30, 32]
    assert result.outcome == "finished"
    for steps, every in ((3, 5), (2000, 100)):
        run = pw.fit(folder, out=tmp_path / f"{steps}", steps=steps, settings=tiny, plan_only=True).run
        assert Plan.load(run / "plan.yaml").recipe.validate_every == every
    run = pw.fit(folder, out=tmp_path / "by hand", steps=50, settings=tiny | {"patience": 3}, plan_only=True).run
    plan = Plan.load(run / "plan.yaml")
    assert plan.recipe.patience == 3 and plan.reasons["patience"] == "as you set it"


@pytest.mark.parametrize("key", ["model_options.num_classes", "model_options.in_channels"])
def test_what_the_folder_has_is_no_option(folder, tmp_path, key):
    name = key.partition(".")[2]
    for settings in ({key: 7}, {"model_options": {name: 7}}):
        with pytest.raises(BadOption, match=f"^{key} is what the folder has, its classes and channels; leave it out$"):
            pw.fit(folder, out=tmp_path / "run", steps=1, settings=settings)
    assert not (tmp_path / "run").exists()


def test_options_with_a_dot_and_without_add_up(folder, tmp_path, tiny):
    settings = tiny | {"model_options.depth": 2}
    run = pw.fit(folder, out=tmp_path / "run", steps=1, settings=settings, plan_only=True).run
    plan = Plan.load(run / "plan.yaml")
    assert plan.recipe.model_options == {"num_classes": 2, "in_channels": 3, "width": 0.0625, "depth": 2}
    assert plan.reasons["model"] == "as you set it" and "model_options" not in plan.reasons


def test_evaluate_reads_the_masks_by_a_file_of_names_that_is_given(folder, tmp_path, tiny):
    """Numbers that mean other classes than in training: the file says so, and is not passed over."""
    (folder / "classes.txt").write_text("ground\nsquare\n")
    model = pw.fit(folder, out=tmp_path / "run", steps=2, settings=tiny).segmenter
    _, plain = evaluate_folder(model, folder, split="all")
    (tmp_path / "swapped.txt").write_text("square\nhole\n")
    _, named = evaluate_folder(model, folder, split="all", classes=tmp_path / "swapped.txt")
    ground = plain.scores.confusion[0]
    assert named.scores.confusion.tolist() == [[0, 0], ground.tolist()]
    assert named.protocol.endswith(
        "; classes are matched by name; hole: the model has no such class, so that these pixels are void"
    )
    assert "matched by name" not in plain.protocol
    (tmp_path / "strange.txt").write_text("a\nb\n")
    with pytest.raises(
        LabelError, match=r"have the classes a, b, of which the model knows none; .* in .*strange\.txt$"
    ):
        evaluate_folder(model, folder, classes=tmp_path / "strange.txt")
    with pytest.raises(BadOption, match="the data set voc has its own classes; leave out one of --dataset and --class"):
        evaluate_folder(model, folder, dataset="voc", classes=tmp_path / "swapped.txt")


def test_new_pictures_with_old_names_are_measured_on(folder, tmp_path, tiny, make_folder):
    model = pw.fit(folder, out=tmp_path / "run", steps=2, settings=tiny).segmenter
    make_folder(tmp_path / "new", seed=1)
    part, found = evaluate_folder(model, tmp_path / "new")
    assert part == "all" and len(found.pictures) == 6
    images = tmp_path / "new" / "images"
    again = folder / "images" / f"{model.trained_on[0]}.png"
    (images / "img_00.png").write_bytes(again.read_bytes())  # under another name, perhaps
    part, found = evaluate_folder(model, tmp_path / "new")
    assert part == "the 5 of 6 pictures that it was not trained on" and len(found.pictures) == 5
    model.digests = ()  # of an older version
    part, found = evaluate_folder(model, tmp_path / "new")
    assert len(found.pictures) == 1
    assert part == "1 of 6 pictures; the others have names that it was trained on, and --split all counts them, too"
    for place in ("images", "masks"):
        (tmp_path / "new" / place / f"{found.pictures[0].name}.png").unlink()
    part, found = evaluate_folder(model, tmp_path / "new")
    assert part == "all, of which all pictures have names that it was trained on" and len(found.pictures) == 5


def test_evaluate_leaves_out_what_was_trained_on(folder, tmp_path, tiny):
    result = pw.fit(folder, out=tmp_path / "run", steps=2, settings=tiny)
    part, evaluation = evaluate_folder(pw.load(result.run / "model.safetensors"), folder)
    validation = Plan.load(result.run / "plan.yaml").split["validation"]
    assert [p.name for p in evaluation.pictures] == list(validation)
    assert part == f"the {len(validation)} of 6 pictures that it was not trained on"
    assert evaluation.scores.mean_iou == pytest.approx(result.scores.mean_iou)
    assert len(evaluate_folder(result.segmenter, folder, split="all")[1].pictures) == 6
    (folder / "masks" / "img_02.png").write_bytes(b"junk")
    with pytest.raises(DataError, match=r"img_02\.png"):
        evaluate_folder(result.segmenter, folder)


def test_a_full_disk_keeps_the_last_model(folder, tmp_path, tiny, monkeypatch):
    save = Segmenter.save
    calls = []

    def full(self, path):
        calls.append(path)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        return save(self, path)

    monkeypatch.setattr(Segmenter, "save", full)
    monkeypatch.setattr(train_module, "evaluate_network", _improving(train_module.evaluate_network))
    with pytest.raises(TrainingError, match="could not be written to .*No space left.*the one before it is kept"):
        pw.fit(folder, out=tmp_path / "run", steps=10, settings=tiny | {"validate_every": 2})
    assert pw.load(tmp_path / "run" / "model.safetensors")


def _improving(evaluate):
    """Each validation a little better than the one before."""
    from dataclasses import replace

    count = 0

    def better(*arguments, **options):
        nonlocal count
        count += 1
        found = evaluate(*arguments, **options)
        return replace(found, scores=replace(found.scores, mean_iou=count / 1000))

    return better


def test_16_bit_and_grey_pictures_and_many_channels(tmp_path, tiny):
    import tifffile

    random = np.random.default_rng(0)
    for kind, shape, dtype in (("grey16", (40, 40), np.uint16), ("five", (40, 40, 5), np.uint8)):
        root = tmp_path / kind
        for part in ("images", "masks"):
            (root / part).mkdir(parents=True)
        for i in range(4):
            image = random.integers(0, 4000 if dtype is np.uint16 else 255, shape).astype(dtype)
            planar = {} if len(shape) == 2 else {"planarconfig": "contig"}
            tifffile.imwrite(root / "images" / f"{i}.tif", image, photometric="minisblack", **planar)
            Image.fromarray((random.random((40, 40)) > 0.5).astype(np.uint8)).save(root / "masks" / f"{i}.png")
        result = pw.fit(root, out=tmp_path / f"run-{kind}", steps=2, settings=tiny)
        assert result.segmenter.normalization.channels == (1 if kind == "grey16" else 5)
        assert result.segmenter.predict(root / "images" / "0.tif").labels.shape == (40, 40)


def _fit_command(folder, run, steps, *more):
    settings = [
        "crop_size=[32,32]",
        "batch_size=2",
        "threads=1",
        "model_options={width: 0.0625, depth: 3}",
        "log_every=1",
        "validate_every=2",
    ]
    options = [part for setting in settings for part in ("--set", setting)]
    start = ["--steps", str(steps), *options] if not more else list(more)
    return [sys.executable, "-m", "pixelwise", "fit", str(folder), "--out", str(run), *start]


def test_a_run_killed_at_random_moments_ends_byte_equal(folder, tmp_path):
    """SIGKILL, wherever it falls; after each one every file that is there is whole."""
    wanted, steps = (50, 400) if os.environ.get("PIXELWISE_SOAK") else (3, 60)
    subprocess.run(_fit_command(folder, tmp_path / "whole", steps), check=True, capture_output=True)
    random = np.random.default_rng(7)
    run = tmp_path / "run"
    command = _fit_command(folder, run, steps)
    kills = 0
    while True:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if kills < wanted:
            _wait_for_log(run, process, random.integers(1, 2 + 2 * steps // wanted))
            time.sleep(random.uniform(0, 0.1))
            process.kill()
            process.wait()
            process.stdout.close()
            kills += 1
            if (run / "model.safetensors").exists():
                pw.load(run / "model.safetensors")
            command = _fit_command(folder, run, steps, "--resume")
            continue
        output = process.communicate()[0]
        assert process.returncode == 0, output.decode()
        break
    assert (run / "model.safetensors").read_bytes() == (tmp_path / "whole" / "model.safetensors").read_bytes()
    assert (run / "log.csv").read_bytes() == (tmp_path / "whole" / "log.csv").read_bytes()
    assert not [p for p in run.rglob("*.part")]


def _wait_for_log(run, process, lines):
    """Until this process has logged so many lines, or has ended; on a slow machine, too, not all before the first."""
    log = run / "log.jsonl"

    def logged():
        return log.read_bytes().count(b"\n") if log.exists() else 0

    before = logged()
    while process.poll() is None and logged() < before + lines:
        time.sleep(0.01)
