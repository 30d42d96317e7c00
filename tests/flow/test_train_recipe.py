"""Train by a recipe: on small folders, from start to end, and a clear outcome for what can go wrong."""

import errno
import json
import os
import shutil
import signal

import numpy as np
import pytest
import torch

import pixelwise as pw
from pixelwise.data.augmentation import Augmentation
from pixelwise.errors import BadOption, DataError, LabelError, TrainingError, UnknownName
from pixelwise.files import replacing
from pixelwise.flow import train_recipe as module
from pixelwise.flow.recipe_data import JoinedDataset, open_data
from pixelwise.flow.recipe_of_run import resolved
from pixelwise.flow.stage_network import of_data
from pixelwise.flow.train_recipe import train_recipe
from pixelwise.labels import LabelSet
from pixelwise.layers.normalization import Normalization
from pixelwise.models import build
from pixelwise.processes import ALONE
from pixelwise.recipes import PublishedRecipe, published_recipe
from pixelwise.recipes.published import Data, Levels, Score, Stage, caffe_sgd
from pixelwise.segmenter import SAME_LABELS, Segmenter
from pixelwise.training import loop
from pixelwise.training.loop import StepLogged
from pixelwise.weights.cache import NotHere

FOLDER = Data(dataset="folder", split="all")
MEAN = Levels(mean=(100.0, 100.0, 100.0), deviation=(60.0, 60.0, 60.0), channel_order="rgb")
SMALL = {"num_classes": 2, "in_channels": 3, "width": 1 / 16, "depth": 2}


def recipe_of(*stages, **more):
    plain = {
        "name": "squares",
        "paper": "Nobody 2026, Table 1",
        "normalization": MEAN,
        "validation": FOLDER,
        "evaluation": FOLDER,
        "protocol": "fcn",
        "validate_on": 3,
    }
    return PublishedRecipe(stages=stages, **(plain | more))


def stage(name="unet", steps=4, **more):
    own = {key: more.pop(key) for key in ("weights", "after", "train", "border_weights") if key in more}
    settings = {
        "rate": 0.02,
        "validate_every": 2,
        "log_every": 1,
        "model_options": {"width": 1 / 16, "depth": 2},
    } | more
    recipe = caffe_sgd("unet", steps=steps, crop_size=32, batch_size=2, rates=(), **settings)
    return Stage(name=name, recipe=recipe, **({"train": (FOLDER,)} | own))


def lines(run):
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def test_a_recipe_leaves_what_a_run_has(folder, tmp_path):
    expected = Score(mean_iou=90.0, pixel_accuracy=95.0, source="Table 1")
    made = recipe_of(stage(augmentation=Augmentation(flip_vertical=True)), expected=expected)
    result = train_recipe(made, folder, out=tmp_path / "run")
    run = result.run
    for name in ("model.safetensors", "recipe.yaml", "log.jsonl", "result.json", "report.html"):
        assert (run / name).stat().st_size > 0, name
    assert PublishedRecipe.load(run / "recipe.yaml") == made
    assert (result.outcome, result.start) == ("finished", "random weights")
    model = pw.load(run / "model.safetensors")
    assert model.recipe["published"] == "squares"
    assert model.recipe["steps"] == 4
    assert (model.normalization, model.labels.names) == (MEAN.made(), ("background", "foreground"))
    assert len(model.trained_on) == 6
    assert [e["step"] for e in lines(run) if e["event"] == "validation"] == [2, 4]
    assert lines(run)[0]["recipe"]["name"] == "squares"
    found = pw.evaluate(model, open_data(FOLDER, folder, 3), protocol="fcn")
    assert result.compared == {
        "mean_iou": (pytest.approx(100 * found.mean_iou), 90.0),
        "pixel_accuracy": (pytest.approx(100 * found.pixel_accuracy), 95.0),
    }
    record = json.loads((run / "result.json").read_text())
    assert record["expected"]["mean_iou"] == 90.0
    page = (run / "report.html").read_text()
    assert "Nobody 2026, Table 1" in page
    assert "expected 90" in page


def weights_of(run):
    return (run / "model.safetensors").read_bytes()


def table_of(run):
    return (run / "log.csv").read_text()


class Stop(Exception):
    """Stands for a kill."""


def killed_at(step):
    def tell(event):
        if isinstance(event, StepLogged) and event.step >= step:
            raise Stop

    return tell


@pytest.mark.parametrize("fast", [True, False])
def test_where_bfloat16_is_fast_the_model_says_how_many_labels_it_keeps(folder, tmp_path, monkeypatch, fast):
    monkeypatch.setattr(module, "fast_bfloat16", lambda device: fast)
    model = train_recipe(recipe_of(stage(steps=1)), folder, out=tmp_path / "run").segmenter
    stored = pw.load(tmp_path / "run" / "model.safetensors")
    assert (stored.precision, stored.same_labels) == (model.precision, model.same_labels)
    if fast:
        assert stored.precision == ("bf16" if stored.same_labels >= SAME_LABELS else "fp32")
    else:
        assert (stored.precision, stored.same_labels) == ("fp32", None)


def test_a_killed_run_goes_on_to_the_same_bytes(folder, tmp_path):
    """Model, and table of losses and scores."""
    made = recipe_of(stage("first"), stage("second", after=("first",), momentum=0.5))
    whole = train_recipe(made, folder, out=tmp_path / "whole").run
    run = tmp_path / "run"
    for step in (3, 1, 3):  # in the first stage twice, before and after its only state; then in the second
        with pytest.raises(Stop):
            train_recipe(made, folder, out=run, resume=run.exists(), tell=killed_at(step))
    result = train_recipe(made, folder, out=run, resume=True)
    assert result.outcome == "finished"
    assert weights_of(run) == weights_of(whole)
    assert weights_of(run / "stages" / "first") == weights_of(whole / "stages" / "first")
    for place in (".", "stages/first"):
        assert table_of(run / place) == table_of(whole / place)
    assert json.loads((run / "start.json").read_text())["file"] == "the stage first"


def test_an_interrupted_run_leaves_its_model_and_goes_on(folder, tmp_path):
    def tell(event):
        if isinstance(event, StepLogged) and event.step == 2:
            os.kill(os.getpid(), signal.SIGINT)

    made = recipe_of(stage())
    whole = train_recipe(made, folder, out=tmp_path / "whole").run
    stopped = train_recipe(made, folder, out=tmp_path / "run", tell=tell)
    assert (stopped.outcome, stopped.evaluation) == ("interrupted", None)
    assert "Interrupted" in (stopped.run / "report.html").read_text()
    assert pw.load(stopped.run / "model.safetensors").scores["split"] == "folder all"
    result = train_recipe(made, folder, out=stopped.run, resume=True)
    assert (result.outcome, weights_of(result.run)) == ("finished", weights_of(whole))


def test_the_table_has_the_log_s_numbers_once_each(folder, tmp_path):
    """Stopped in the middle of a logged mean, and after a validation that is not due; the last row torn."""
    made = recipe_of(stage(steps=9, validate_every=5, log_every=3, batch_norm="affine"))
    whole = train_recipe(made, folder, out=tmp_path / "whole").run
    rows = [",".join("" if value is None else f"{value}" for value in row) for row in _logged(whole)]
    assert table_of(whole).splitlines() == ["step,loss,rate,mean_iou,pixel_accuracy,best", *rows]
    assert [row.split(",")[0] for row in rows] == ["3", "5", "6", "9", "9"]

    run = tmp_path / "run"
    train_recipe(made, folder, out=run, tell=_interrupt_at(3))
    for step in (6, 9):
        with pytest.raises(Stop):
            train_recipe(made, folder, out=run, resume=True, tell=killed_at(step))
        with (run / "log.csv").open("a") as table:
            table.write("9,0.1")
    train_recipe(made, folder, out=run, resume=True)
    assert table_of(run) == table_of(whole)
    train_recipe(made, folder, out=run, resume=True)
    assert table_of(run) == table_of(whole)


def _logged(run):
    for line in lines(run):
        if line["event"] == "step":
            yield line["step"], line["loss"], line["rate"], None, None, None
        elif line["event"] == "validation":
            yield line["step"], None, None, line["mean_iou"], line["pixel_accuracy"], int(line["best"])


def _interrupt_at(step):
    def tell(event):
        if isinstance(event, StepLogged) and event.step == step:
            os.kill(os.getpid(), signal.SIGINT)

    return tell


def test_a_second_stage_starts_from_the_last_network_of_the_first(folder, tmp_path):
    made = recipe_of(stage("first", steps=2), stage("second", steps=1, after=("first",), rate=1e-12, momentum=0.0))
    run = train_recipe(made, folder, out=tmp_path / "run").run
    first = Segmenter.load(run / "stages" / "first" / "model.safetensors").network.state_dict()
    second = Segmenter.load(run / "model.safetensors").network.state_dict()
    for name, value in first.items():
        if "running" not in name and "num_batches" not in name:
            assert torch.allclose(value, second[name], atol=1e-6), name


def test_the_last_network_or_the_best_is_kept(folder, tmp_path, monkeypatch):
    scores = iter([0.9, 0.2] * 2)
    real = module.evaluate_network

    def scored(*arguments, **options):
        found = real(*arguments, **options)
        object.__setattr__(found, "scores", _Quality(found.scores, next(scores)))
        return found

    monkeypatch.setattr(module, "evaluate_network", scored)
    last = train_recipe(recipe_of(stage()), folder, out=tmp_path / "last").run
    best = train_recipe(recipe_of(stage(), choose="best"), folder, out=tmp_path / "best").run
    assert weights_of(last) != weights_of(best)


class _Quality:
    def __init__(self, scores, quality):
        self._scores, self.quality = scores, quality

    def __getattr__(self, name):
        return getattr(self._scores, name)


def test_a_changed_recipe_is_not_resumed_and_the_first_changed_key_is_named(folder, tmp_path):
    made, run = recipe_of(stage()), tmp_path / "run"
    with pytest.raises(Stop):
        train_recipe(made, folder, out=run, tell=killed_at(2))
    other = made.with_settings({"rate": 0.5})
    with pytest.raises(
        BadOption, match=r"not that of the run: stages\.unet\.recipe\.rate was 0\.02 and is 0\.5; put it"
    ):
        train_recipe(other, folder, out=run, resume=True)
    with pytest.raises(BadOption, match=r"stages\.unet\.recipe\.steps was 4 and is 9"):
        train_recipe(made, folder, out=run, resume=True, settings={"steps": 9})
    other.save(run / "recipe.yaml")
    with pytest.raises(
        BadOption, match=r"recipe\.yaml was changed since the run began: stages\.unet\.recipe\.rate was"
    ):
        train_recipe(run / "recipe.yaml", folder, out=run, resume=True)
    with pytest.raises(BadOption, match="the run in .* is of the recipe squares, not of segnet_basic_camvid"):
        made.save(run / "recipe.yaml")
        train_recipe("segnet_basic_camvid", folder, out=run, resume=True)


def test_a_run_needs_a_new_folder_and_a_resume_an_old_one(folder, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "notes.txt").write_text("mine")
    with pytest.raises(DataError, match="already exists and is not empty"):
        train_recipe(recipe_of(stage()), folder, out=tmp_path / "run")
    with pytest.raises(DataError, match=r"no run in .* to resume: it has no recipe\.yaml"):
        train_recipe(recipe_of(stage()), folder, out=tmp_path / "run", resume=True)


def test_a_loss_that_is_not_a_number_stops_with_step_and_pictures(folder, tmp_path):
    made = recipe_of(stage(rate=1e30, momentum=0.0, steps=10))
    with pytest.raises(TrainingError, match=r"is not a finite number at step \d+ .*on the pictures .*img_0\d"):
        train_recipe(made, folder, out=tmp_path / "run")


def test_after_a_loss_that_is_not_a_number_the_last_good_state_goes_on(folder, tmp_path, monkeypatch):
    take = loop.train_step

    def poisoned(judge, *arguments):
        if arguments[4] == 3:
            next(judge.parameters()).data.fill_(float("nan"))
        return take(judge, *arguments)

    made, run = recipe_of(stage()), tmp_path / "run"
    whole = train_recipe(made, folder, out=tmp_path / "whole").run
    with monkeypatch.context() as patch:
        patch.setattr(loop, "train_step", poisoned)
        with pytest.raises(TrainingError, match=r"not a finite number at step 3 .*the last good state is kept"):
            train_recipe(made, folder, out=run)
    train_recipe(made, folder, out=run, resume=True)
    assert (weights_of(run), table_of(run)) == (weights_of(whole), table_of(whole))


def test_a_picture_that_is_deleted_while_training_is_named(folder, tmp_path):
    def tell(event):
        if isinstance(event, StepLogged):
            for path in (folder / "images").iterdir():
                path.unlink(missing_ok=True)

    made = recipe_of(stage(steps=40, validate_every=40))
    with pytest.raises(DataError, match=r"img_0\d\.png"):
        train_recipe(made, folder, out=tmp_path / "run", tell=tell)
    with pytest.raises(DataError, match="images"):
        train_recipe(made, folder, out=tmp_path / "run", resume=True)


def full(*_, **__):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_keeps_what_was_written(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "pixelwise.training.state.replacing", lambda path: full() if path.name == "state.pt" else replacing(path)
    )
    with pytest.raises(TrainingError, match=r"could not be written to .*state\.pt \(No space left on device\)"):
        train_recipe(recipe_of(stage()), folder, out=tmp_path / "run")
    assert (tmp_path / "run" / "model.safetensors").exists()


def test_a_full_disk_is_told_of_the_model_and_of_the_files_around_it(folder, tmp_path, monkeypatch):
    made, run = recipe_of(stage()), tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(Segmenter, "save", full)
        with pytest.raises(TrainingError, match=r"model could not be written to .*the one before it is kept"):
            train_recipe(made, folder, out=run)
    with monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.write_text", full)
        with pytest.raises(OSError, match=r"No space left on device: .*recipe\.yaml"):
            train_recipe(made, folder, out=run, resume=True)
    assert train_recipe(made, folder, out=run, resume=True).outcome == "finished"


def test_a_log_that_finds_no_room_is_told_and_ends_at_a_whole_line_later(folder, tmp_path):
    """By a real limit on the size of files, which the log is the first to reach."""
    resource = pytest.importorskip("resource")
    made, run = recipe_of(stage()), tmp_path / "run"
    whole = train_recipe(made, folder, out=tmp_path / "whole").run
    with pytest.raises(Stop):
        train_recipe(made, folder, out=run, tell=killed_at(3))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, ((run / "log.jsonl").stat().st_size + 40, before[1]))
    try:
        with pytest.raises(TrainingError, match=r"log\.jsonl could not be written \(.*\); the last state and model"):
            train_recipe(made, folder, out=run, resume=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    train_recipe(made, folder, out=run, resume=True)
    torn = [line for line in (run / "log.jsonl").read_text().splitlines() if not line.endswith("}")]
    assert len(torn) == 1
    assert (weights_of(run), table_of(run)) == (weights_of(whole), table_of(whole))


def test_weights_that_are_not_here_are_one_line_that_says_what_to_bring(folder, tmp_path):
    published = published_recipe("fcn32s_vgg16_voc_heavy")
    one = published.stages[0].model_copy(update={"train": (FOLDER,)})
    made = published.model_copy(update={"stages": (one,), "validation": FOLDER, "evaluation": FOLDER})
    with pytest.raises(NotHere, match=r"VGG_ILSVRC_16_layers\.caffemodel.*or start from random weights with --no-pre"):
        train_recipe(made, folder, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
    with pytest.raises(BadOption, match=r"model_options\.width: vgg16_ilsvrc fits networks of width 1, got 0\.25; add"):
        train_recipe(made, folder, out=tmp_path / "run", settings={"model_options.width": 0.25})
    small = {"model_options.width": 1 / 32, "steps": 1, "validate_on": 1, "model_options.padding": "same"}
    result = train_recipe(made, folder, out=tmp_path / "run", settings=small, pretrained=False)
    assert result.start == "random weights"
    assert result.recipe.stages[0].weights == ()


def test_a_model_file_can_be_begun_with(folder, tmp_path):
    labels = LabelSet(("background", "foreground"), table={0: 0, 255: 1})
    network = build("unet", **SMALL)
    begin = Segmenter(network, Normalization((0.0,) * 3, (1.0,) * 3), labels, {"builder": "unet", "options": SMALL})
    begin.save(tmp_path / "begin.safetensors")
    made = recipe_of(stage(steps=1))
    result = train_recipe(made, folder, out=tmp_path / "run", settings={"weights": str(tmp_path / "begin.safetensors")})
    assert "begin.safetensors (unet)" in result.start
    with pytest.raises(UnknownName, match="no model file or published weights is called 'vgg16_imagenett'"):
        train_recipe(made, folder, out=tmp_path / "x", settings={"weights": "vgg16_imagenett"})


def test_two_towers_begin_with_a_network_of_each(tmp_path):
    options = {"num_classes": 2, "width": 1 / 32, "padding": "same"}
    home = tmp_path / "run"
    labels = LabelSet(("a", "b"))
    published = published_recipe("fcn32s_rgb_hha_nyud_heavy")
    training = module._Training(published, tmp_path, home, None, ALONE, lambda event: None)
    towers = []
    for one in published.stages[:2]:
        network = build("fcn32s_vgg16", in_channels=3, **options)
        torch.nn.init.normal_(network.score_fr.weight)
        towers.append(network)
        levels = training.normalization(one)
        about = {"builder": "fcn32s_vgg16", "options": {"in_channels": 3} | options}
        Segmenter(network, levels, labels, about).save(training.home(one) / "model.safetensors")
    last = published.stages[-1]
    recipe = of_data(last.recipe.with_settings({"model_options": options}), {"labels": labels}, 6)
    network = build("fcn32s_rgb_hha", **recipe.model_options)
    start, _ = training.begin(last, network, recipe, labels, training.normalization(last))
    assert start == "a tower each of the stages color and hha"
    assert torch.equal(network.score_frcolor.weight, towers[0].score_fr.weight)
    assert torch.equal(network.score_frhha.weight, towers[1].score_fr.weight)


def test_data_sets_are_joined_and_pictures_left_out(make_folder, tmp_path):
    one, other = make_folder(tmp_path / "one", count=3), make_folder(tmp_path / "other", count=2)
    parts = [open_data(FOLDER, root, 3) for root in (one, other)]
    both = JoinedDataset(parts)
    assert len(both) == 5
    assert both[3].name == "img_00"
    assert np.array_equal(both[4].image, parts[1][1].image)
    strange = make_folder(tmp_path / "strange", values=(0, 7, 9))
    with pytest.raises(LabelError, match="other classes"):
        JoinedDataset([parts[0], open_data(FOLDER, strange, 3)])


def test_what_does_not_fit_is_refused_before_anything_is_written(folder, tmp_path):
    for settings, told in (
        ({"class_weights": [1, 2, 3]}, "class_weights: the data set has 2 classes, got 3 values"),
        ({"model_options.widht": 1}, "no option 'widht'; did you mean 'width'"),
        ({"crop_size": None}, "set batch_size=1 and accumulate=2"),
        ({"rates": [{"parameters": "score_fr.*"}]}, "no parameter of unet is called 'score_fr"),
        ({"class_crops": 0.5}, "set class_from=picture, too, for stage unet"),
    ):
        with pytest.raises(BadOption, match=told):
            train_recipe(recipe_of(stage()), folder, out=tmp_path / "run", settings=settings)
        assert not (tmp_path / "run").exists()
    with pytest.raises(DataError, match="nowhere"):
        train_recipe(recipe_of(stage()), tmp_path / "nowhere", out=tmp_path / "run")


def test_an_edited_file_is_trained_by(folder, tmp_path):
    recipe_of(stage(border_weights=True)).save(tmp_path / "mine.yaml")
    text = (tmp_path / "mine.yaml").read_text().replace("steps: 4", "steps: 2")
    (tmp_path / "mine.yaml").write_text(text)
    assert resolved(tmp_path / "mine.yaml").stages[0].recipe.steps == 2
    result = train_recipe(tmp_path / "mine.yaml", folder, out=tmp_path / "run")
    assert lines(result.run)[-1]["step"] == 2
    shutil.copy(tmp_path / "mine.yaml", tmp_path / "again.yaml")
    again = train_recipe(tmp_path / "again.yaml", folder, out=tmp_path / "again")
    assert weights_of(again.run) == weights_of(result.run)
