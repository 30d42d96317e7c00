"""The trial of a dense CRF in a fit: planned before the first step, done after training, kept only where it helps."""

import json
import math
import os
import signal
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

import pixelwise as pw
from pixelwise.cli.show.fit import FitDisplay
from pixelwise.crf.parameters import CRFParameters
from pixelwise.errors import BadOption, CheckpointError
from pixelwise.flow import crf_trial
from pixelwise.flow import train as train_module
from pixelwise.flow.crf_trial import MOST_PICTURES, OVERHEAD, SETTINGS, SHARE, plan_trial
from pixelwise.flow.events import CRFTried, Progressed
from pixelwise.flow.plan import Plan
from pixelwise.flow.staged import in_stages, stage_runs
from pixelwise.inference.crf_search import CRFSearch
from pixelwise.labels import LabelSet
from pixelwise.layers.normalization import Normalization
from pixelwise.training.loop import Ended
from pixelwise.training.recipe import Recipe

MODEL = "model.safetensors"
TRYING = "trying the dense CRF"
FOUND = CRFParameters(bilateral_weight=4, bilateral_sigma_pixels=9, bilateral_sigma_color=7)


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """Pictures of a bright rectangle with sharp edges; six of them validate."""
    root = tmp_path_factory.mktemp("many") / "rectangles"
    random = np.random.default_rng(3)
    for i, part in enumerate(["train"] * 10 + ["val"] * 6):
        mask = np.zeros((32, 40), np.uint8)
        y, x = random.integers(0, 12, 2)
        mask[y : y + 16, x : x + 20] = 1
        image = 60 + 90 * mask[..., None] + random.normal(0, 2, (32, 40, 3))
        for kind, pixels in (("images", image.astype(np.uint8)), ("masks", mask)):
            (root / part / kind).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(root / part / kind / f"{i:02}.png")
    return root


def found(low, high=0.3, pictures=6):
    """What a search may find, with this interval."""
    return CRFSearch(FOUND, 10, pictures, 0.5, 0.6, (low, high), ((FOUND, 0.61), (CRFParameters(), 0.4)))


def plan_of(run):
    return Plan.load(run / "plan.yaml")


def result_of(run):
    return json.loads((run / "result.json").read_text())


def test_the_plan_says_on_how_many_pictures_and_why(many, folder, tmp_path, tiny):
    run = pw.fit(many, out=tmp_path / "many", steps=5, plan_only=True, settings=tiny).run
    plan = plan_of(run)
    assert plan.crf_pictures == len(plan.split["validation"]) == 6
    assert plan.reasons["crf"].startswith("tried after training: the best of 6 settings")
    text = (run / "plan.yaml").read_text()
    (run / "plan.yaml").write_text(text.replace("crf_pictures: 6\n", ""))
    assert plan_of(run).crf_pictures == 0  # as in plans of before
    few = plan_of(pw.fit(folder, out=tmp_path / "few", steps=5, plan_only=True, settings=tiny).run)
    assert few.crf_pictures == 0
    assert few.reasons["crf"] == ("not tried: 1 validation picture is too few to tell whether it helps, 5 are needed")


def test_people_choose_how_many(many, folder, tmp_path, tiny):
    for asked, pictures, reason in (
        (0, 0, "not tried, as you set it"),
        (5, 5, "as you set it"),
        (50, 6, "as you set it"),
    ):
        settings = tiny | {"crf_pictures": asked}
        run = pw.fit(many, out=tmp_path / f"{asked}", steps=5, plan_only=True, settings=settings).run
        assert (plan_of(run).crf_pictures, plan_of(run).reasons["crf"]) == (pictures, reason)
    for wrong in (True, 4, -1, 5.0, "6"):
        with pytest.raises(BadOption, match=f"at least 5, or 0 to leave the dense CRF out, got {wrong!r}"):
            pw.fit(many, out=tmp_path / "wrong", steps=5, settings={"crf_pictures": wrong})
    with pytest.raises(BadOption, match="class folders have no mask .*; leave out crf_pictures"):
        pw.fit(many, out=tmp_path / "wrong", labels="folders", settings={"crf_pictures": 6})
    assert not (tmp_path / "wrong").exists()


def test_a_stored_plan_is_edited_by_hand_or_by_a_setting(many, folder, tmp_path, tiny, monkeypatch):
    run = pw.fit(many, out=tmp_path / "run", steps=2, plan_only=True, settings=tiny).run
    text = (run / "plan.yaml").read_text()
    for wrong, message in ((3, "crf_pictures is at least 5, or 0 .*, got 3"), ("many", "wrong entry 'crf_pictures'")):
        (run / "plan.yaml").write_text(text.replace("crf_pictures: 6", f"crf_pictures: {wrong}"))
        with pytest.raises(CheckpointError, match=message):
            pw.fit(many, out=run, resume=True)
    (run / "plan.yaml").write_text(text.replace("labels_from: masks", "labels_from: folders"))
    with pytest.raises(CheckpointError, match="folders told the classes, and no mask tells .* set crf_pictures to 0"):
        Plan.load(run / "plan.yaml")
    for wrong in ("5.7", "true", '"6"'):
        (run / "plan.yaml").write_text(text.replace("crf_pictures: 6", f"crf_pictures: {wrong}"))
        with pytest.raises(CheckpointError, match="wrong entry 'crf_pictures' .expected a whole number, got"):
            Plan.load(run / "plan.yaml")
    (run / "plan.yaml").write_text(text.replace("crf_pictures: 6", "crf_pictures: 1000000"))
    assert plan_of(run).crf_pictures == 6
    for nothing in ("0", "null"):
        (run / "plan.yaml").write_text(text.replace("crf_pictures: 6", f"crf_pictures: {nothing}"))
        assert (plan_of(run).crf_pictures, plan_of(run).reasons["crf"]) == (0, "not tried, as the plan says")
    (run / "plan.yaml").write_text(text)
    monkeypatch.setattr(crf_trial, "search_crf", lambda *_, **__: pytest.fail("it was switched off"))
    pw.fit(many, out=run, resume=True, settings={"crf_pictures": 0})
    assert plan_of(run).crf_pictures == 0 and plan_of(run).reasons["crf"] == "as you set it"
    with pytest.raises(BadOption, match="training in .* has begun by its plan; start a new run to change crf_pictures"):
        pw.fit(many, out=run, resume=True, settings={"crf_pictures": 5})
    few = pw.fit(folder, out=tmp_path / "few", steps=2, plan_only=True, settings=tiny).run
    with pytest.raises(BadOption, match="needs 5 validation pictures to tell whether it helps, there are 1"):
        pw.fit(folder, out=few, resume=True, settings={"crf_pictures": 5})


class Pictures:
    """A validation part of so many pictures."""

    def __init__(self, count):
        self.count = count

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        from pixelwise.data.sample import Sample

        return Sample(np.zeros((8, 8, 3), np.uint8), {}, "")


def trial(monkeypatch, count, seconds, a_picture, **options):
    monkeypatch.setattr(crf_trial, "_time", lambda *_: a_picture)
    return plan_trial(Pictures(count), 3, "unet", seconds_left=seconds, prediction=0.1, **options)


def test_as_many_pictures_are_planned_as_fit_into_a_twentieth_of_the_time(monkeypatch):
    for seconds in (60, 150, 600, 3600):
        for a_picture in (0.001, 0.02, 0.1, 1.0):
            each = 0.1 + SETTINGS * OVERHEAD * a_picture
            planned = trial(monkeypatch, 1000, seconds, a_picture)
            fit = min(math.floor(SHARE * seconds / each), MOST_PICTURES)
            assert planned.pictures == (fit if fit >= 5 else 0)
            if planned.pictures:
                assert planned.seconds == pytest.approx(planned.pictures * each) and planned.a_picture == a_picture
                assert f"tried after training, about {math.ceil(planned.seconds)} s" in planned.reason
            else:
                assert planned.seconds == planned.a_picture == 0
                assert f"a picture takes {each:.2g} s, so that fewer than 5 fit into 5%" in planned.reason
    assert trial(monkeypatch, 12, 600, 0.001).pictures == 12
    asked = trial(monkeypatch, 30, 100, 2.0, asked=20)
    assert (asked.pictures, asked.seconds) == (20, pytest.approx(20 * (0.1 + SETTINGS * OVERHEAD * 2)))
    assert asked.reason == "as you set it; about 387 s"


def test_what_has_no_trial_says_why(monkeypatch):
    def reason(count=9, classes=3, model="unet", seconds=None, **options):
        planned = plan_trial(Pictures(count), classes, model, seconds_left=seconds, **options)
        assert planned.pictures == 0
        return planned.reason

    assert "only folders told the classes" in reason(by_folder=True)
    assert reason(classes=1) == "not tried: there is one class"
    assert reason(model="crfrnn_fcn8s") == "not tried: this network ends in one"
    assert "4 validation pictures are too few" in reason(count=4, asked=9)
    assert "less than a minute; `pixelwise tune-crf` tries it" in reason(seconds=59)
    monkeypatch.setattr(crf_trial, "refine", _refused)
    assert reason(seconds=600) == "not tried: colors of an unusual range"


def _refused(*_, **__):
    raise BadOption("colors of an unusual range")


def test_a_crf_that_helped_is_in_the_model_the_scores_and_the_report(many, tmp_path, tiny, monkeypatch):
    searched, measured, told = [], [], []
    evaluate = train_module.evaluate_network

    def search(network, normalization, data, **options):
        searched.append((len(data), options))
        options["progress"](1, 2)
        return found(0.05)

    def spy(*arguments, refinement=None, **options):
        measured.append(refinement)
        return evaluate(*arguments, refinement=refinement, **options)

    monkeypatch.setattr(crf_trial, "search_crf", search)
    monkeypatch.setattr(train_module, "evaluate_network", spy)
    result = pw.fit(many, out=tmp_path / "run", steps=4, settings=tiny, tell=told.append)
    (pictures, options), *more = searched
    assert not more and pictures == options["pictures"] == 6
    assert options["grid"] is crf_trial.TRIAL_GRID and options["refine_rounds"] == 0 and options["threads"] == 1
    loaded = pw.load(result.run / MODEL)
    assert loaded.refinement == result.segmenter.refinement == found(0.05).refinement("validation")
    assert measured[:-1] == [None] * (len(measured) - 1) and measured[-1] == loaded.refinement
    assert result.crf == found(0.05)
    protocol = result_of(result.run)["scores"]["protocol"]
    assert protocol == loaded.scores["protocol"]
    assert "tuned on 6 pictures of validation: mean IoU +0.100 (95 % interval +0.050 to +0.300)" in protocol
    assert result_of(result.run)["crf"] == found(0.05).to_record()
    assert "dense CRF" in result_of(result.run)["speed"]["seconds"]
    kinds = [type(event) for event in told]
    assert kinds.index(Ended) < kinds.index(CRFTried)
    assert [event.kept for event in told if isinstance(event, CRFTried)] == [True]
    assert [(event.done, event.total) for event in told if getattr(event, "what", "") == TRYING] == [(1, 2)]
    page = (result.run / "report.html").read_text()
    assert "mean IoU 0.500 → 0.600 on 6 validation pictures (+0.100, 95 % interval +0.050 to +0.300): kept" in page


@pytest.mark.parametrize("low", [0.0, -0.1, math.nan])
def test_a_crf_that_did_not_surely_help_is_left_out(many, tmp_path, tiny, monkeypatch, low):
    monkeypatch.setattr(crf_trial, "search_crf", lambda *_, **__: found(low))
    with_trial = pw.fit(many, out=tmp_path / "run", steps=4, settings=tiny)
    without = pw.fit(many, out=tmp_path / "none", steps=4, settings=tiny | {"crf_pictures": 0})
    files = [(result.run / MODEL).read_bytes() for result in (with_trial, without)]
    assert files[0] == files[1]
    assert result_of(with_trial.run)["crf"]["helped"] is False
    assert "crf" not in result_of(without.run) and without.crf is None
    assert "): not kept" in (with_trial.run / "report.html").read_text()


def test_where_there_is_a_test_part_the_scores_are_free_of_the_choice(tmp_path, make_folder, tiny, monkeypatch):
    for seed, (part, count) in enumerate((("train", 3), ("val", 5), ("test", 3))):
        make_folder(tmp_path / "data" / part, count=count, seed=seed)
    monkeypatch.setattr(crf_trial, "search_crf", lambda *_, **__: found(0.05, pictures=5))
    result = pw.fit(tmp_path / "data", out=tmp_path / "run", steps=2, settings=tiny)
    protocol = result_of(result.run)["scores"]["protocol"]
    assert result.split == "test" and "tuned on 5 pictures of validation" in protocol
    assert "flatter" not in protocol


def test_a_trial_that_fails_costs_no_run(many, tmp_path, tiny, monkeypatch):
    monkeypatch.setattr(crf_trial, "search_crf", _refused)
    told = []
    result = pw.fit(many, out=tmp_path / "run", steps=2, settings=tiny, tell=told.append)
    assert result.outcome == "finished" and result.segmenter.refinement is None
    assert CRFTried(None, "colors of an unusual range") in told
    assert result_of(result.run)["crf"] == {"helped": False, "note": "colors of an unusual range"}
    assert "Not tried to the end, and not kept: colors of an unusual range" in (result.run / "report.html").read_text()


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (
            CRFTried(found(0.05)),
            "mean IoU 0.500 → 0.600 on 6 validation pictures (+0.100, 95 % interval +0.050 to +0.300): kept",
        ),
        (
            CRFTried(found(-0.02)),
            "mean IoU 0.500 → 0.600 on 6 validation pictures (+0.100, 95 % interval −0.020 to +0.300): not kept",
        ),
        (
            CRFTried(replace(found(math.nan), note="few")),
            "mean IoU 0.500 → 0.600 on 6 validation pictures (+0.100, no interval): not kept (few)",
        ),
        (CRFTried(None, "no room"), "not tried to the end, and not kept: no room"),
    ],
)
def test_the_terminal_tells_it_in_a_line(event, line, capsys):
    FitDisplay(Console(highlight=False)).tell(event)
    assert capsys.readouterr().out == f"dense CRF: {line}\n"


class Killed(BaseException):
    """The end of the process."""


def _at_trial(do):
    """`tell` that does something at the trial's third report."""
    count = 0

    def tell(event):
        nonlocal count
        if isinstance(event, Progressed) and event.what == TRYING:
            count += 1
            if count == 3:
                do()

    return tell


def _kill():
    raise Killed


def test_a_run_stopped_in_the_trial_or_after_it_ends_byte_equal(many, tmp_path, tiny):
    """With the real search: by Ctrl-C, by a kill, and where the finished run is resumed."""
    settings = tiny | {"log_every": 1, "validate_every": 4}
    whole = pw.fit(many, out=tmp_path / "whole", steps=8, settings=settings)
    assert whole.crf is not None and whole.crf.pictures == 6 and len(whole.crf.tried) == SETTINGS
    assert whole.crf.helped and whole.segmenter.refinement is not None
    expected = (whole.run / MODEL).read_bytes()
    stopped = pw.fit(
        many,
        out=tmp_path / "stopped",
        steps=8,
        settings=settings,
        tell=_at_trial(lambda: os.kill(os.getpid(), signal.SIGINT)),
    )
    assert stopped.outcome == "interrupted" and stopped.crf is None and stopped.split == "validation"
    assert result_of(stopped.run)["outcome"] == "interrupted"
    flattered = "the CRF's settings were chosen on these same pictures, so that these scores flatter it a little"
    assert flattered in result_of(whole.run)["scores"]["protocol"]
    assert pw.load(stopped.run / MODEL).refinement is None and stopped.report.exists()
    with pytest.raises(Killed):
        pw.fit(many, out=tmp_path / "killed", steps=8, settings=settings, tell=_at_trial(_kill))
    assert pw.load(tmp_path / "killed" / MODEL).refinement is None
    for run in ("stopped", "killed", "whole"):
        assert (pw.fit(many, out=tmp_path / run, resume=True).run / MODEL).read_bytes() == expected


def test_an_interrupted_trial_keeps_the_test_part_for_later(tmp_path, make_folder, tiny, monkeypatch):
    """Someone waits: the validation part is measured, as after an interrupted training."""
    for seed, (part, count) in enumerate((("train", 3), ("val", 5), ("test", 3))):
        make_folder(tmp_path / "data" / part, count=count, seed=seed)

    def search(*_, progress, **__):
        os.kill(os.getpid(), signal.SIGINT)
        progress(1, 2)

    monkeypatch.setattr(crf_trial, "search_crf", search)
    stopped = pw.fit(tmp_path / "data", out=tmp_path / "run", steps=2, settings=tiny)
    assert (stopped.outcome, stopped.split) == ("interrupted", "validation")
    monkeypatch.setattr(crf_trial, "search_crf", lambda *_, **__: found(0.05, pictures=5))
    again = pw.fit(tmp_path / "data", out=tmp_path / "run", resume=True)
    assert (again.outcome, again.split) == ("finished", "test") and again.segmenter.refinement is not None


def test_a_crf_that_was_tuned_by_hand_stays_when_the_run_is_resumed(many, tmp_path, tiny, monkeypatch):
    """And that of the run's own trial is tried again."""
    monkeypatch.setattr(crf_trial, "search_crf", lambda *_, **__: found(-0.1))
    run = pw.fit(many, out=tmp_path / "run", steps=4, settings=tiny).run
    tuned = pw.load(run / MODEL)
    tuned.refinement = found(0.1, pictures=100).refinement("val")
    tuned.save(run / MODEL)
    told = []
    again = pw.fit(many, out=run, resume=True, tell=told.append)
    assert pw.load(run / MODEL).refinement == again.segmenter.refinement == tuned.refinement
    line = f"the model's own stays ({tuned.refinement.origin}), and none is tried"
    assert [event.instead for event in told if isinstance(event, CRFTried)] == [line]
    assert tuned.refinement.origin in again.segmenter.scores["protocol"]
    assert result_of(run)["crf"] == {"helped": False, "note": "", "instead": line}
    page = (run / "report.html").read_text()
    assert "The model&#39;s own stays (tuned on 100 pictures of val: " in page and "Not tried to the end" not in page
    tuned.refinement = found(0.1).refinement("validation")
    tuned.save(run / MODEL)
    assert pw.fit(many, out=run, resume=True).segmenter.refinement is None


def test_a_crf_of_a_network_that_training_replaced_is_gone_and_it_is_said(many, tmp_path, tiny, monkeypatch):
    from pixelwise.training.loop import StepLogged

    def stop(event):
        if isinstance(event, StepLogged) and event.step == 5:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(crf_trial, "search_crf", lambda *_, **__: found(-0.1))
    settings = tiny | {"log_every": 1, "validate_every": 4, "crf_pictures": 0}
    run = pw.fit(many, out=tmp_path / "run", steps=24, settings=settings, tell=stop).run
    tuned = pw.load(run / MODEL)
    before, tuned.refinement = (run / MODEL).read_bytes(), found(0.1).refinement("val")
    tuned.save(run / MODEL)
    told = []
    again = pw.fit(many, out=run, resume=True, tell=told.append)
    assert again.segmenter.refinement is None and (run / MODEL).read_bytes() != before
    lines = [event.instead for event in told if isinstance(event, CRFTried)]
    assert lines == [f"the one that was stored ({tuned.refinement.origin}) is gone with its network; tune it again"]


def test_an_interrupted_training_has_no_trial(many, tmp_path, tiny, monkeypatch):
    from pixelwise.training.loop import StepLogged

    def stop(event):
        if isinstance(event, StepLogged) and event.step == 3:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(crf_trial, "search_crf", lambda *_, **__: pytest.fail("someone waits"))
    stopped = pw.fit(many, out=tmp_path / "run", steps=9, settings=tiny | {"log_every": 1}, tell=stop)
    assert stopped.outcome == "interrupted"
    assert "One is tried after training; the run did not come to that." in stopped.report.read_text()


def test_of_a_staged_run_the_last_network_alone_has_a_trial():
    recipe = Recipe(model="fcn8s_vgg16", crop_size=(1, 1), batch_size=1, steps=100, rate=1.0, validate_every=1)
    split = {"train": ("a",), "validation": tuple("bcdefg"), "test": ()}
    plan = Plan(
        recipe,
        {"crf": "tried", "rate": "", "patience": ""},
        split,
        LabelSet(("x", "y")),
        Normalization((0.0,), (1.0,)),
        1,
        1,
        training_seconds=500.0,
        crf_pictures=6,
    )
    made = in_stages(plan, {}, 530.0, 20.0)  # 20 s for the trial, once, and 10 s for each stage's end
    assert sum(stage.training_seconds for stage in made.stages) + made.training_seconds == pytest.approx(480, abs=0.2)
    *stages, last = stage_runs(made)
    assert [stage.plan.crf_pictures for stage in stages] == [0, 0] and last.plan.crf_pictures == 6
    assert ["crf" in stage.plan.reasons for stage in (*stages, last)] == [False, False, True]
