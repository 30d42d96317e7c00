"""Staged training: each network starts with the scores of the last; a run ends the same however often it is killed."""

import itertools
import json
import os
import re
import shutil
import signal
from dataclasses import replace

import pytest
import torch
from torch.nn.functional import conv_transpose2d

import pixelwise as pw
from pixelwise.errors import BadOption, CheckpointError, DataError, UnknownName
from pixelwise.flow import train as train_module
from pixelwise.flow.events import Planned, Progressed, StageBegan, WeightsTaken
from pixelwise.flow.plan import Plan
from pixelwise.flow.staged import STAGES, in_stages, shares, stage_runs
from pixelwise.flow.start import begin_from
from pixelwise.labels import LabelSet
from pixelwise.layers.normalization import Normalization
from pixelwise.training.loop import Ended, StepLogged, Validated
from pixelwise.training.recipe import Recipe
from pixelwise.training.state import load_state

NARROW = {"width": 0.03, "padding": "same"}
SHORT = {"crop_size": [32, 32], "batch_size": 2, "threads": 1, "log_every": 1, "patience": 0, "model_options": NARROW}
LEAST = {"crop_size": (1, 1), "batch_size": 1, "steps": 1, "rate": 1.0, "validate_every": 1}
MODEL = "model.safetensors"
COARSE, MIDDLE, FINE = STAGES["fcn8s_vgg16"]
CROPS = {"released": {16: (0, 5), 8: (0, 9)}, "same": {16: (1, 0), 8: (1, 0)}}  # of voc-fcn8s/net.py; half a cell


class Killed(BaseException):
    """The end of the process, at an event."""


def plan_of(tmp_path, folder, steps=10, **options):
    """The plan of a staged fit."""
    settings = {key: value for key, value in SHORT.items() if key != "patience"} | options.pop("settings", {})
    run = pw.fit(folder, out=tmp_path, steps=steps, staged=True, settings=settings, plan_only=True, **options).run
    return Plan.load(run / "plan.yaml")


@pytest.fixture(scope="module")
def whole(tmp_path_factory, make_folder):
    """A folder, and an uninterrupted staged run of it with its events."""
    root = tmp_path_factory.mktemp("whole")
    make_folder(root / "data")
    torch.set_num_threads(1)
    told = []
    result = pw.fit(root / "data", out=root / "run", steps=10, staged=True, settings=SHORT, tell=told.append)
    return root / "data", result, told


def upscored(scores):
    """Bilinear upsampling by 2 as a deconvolution of kernel 4, written out."""
    taps = torch.tensor([0.25, 0.75, 0.75, 0.25])
    kernel = (taps[:, None] * taps).expand(scores.shape[1], 1, 4, 4)
    return conv_transpose2d(scores, kernel, stride=2, groups=scores.shape[1])


@pytest.mark.parametrize("padding", ["released", "same"])
@pytest.mark.parametrize("learned", [False, True])
@pytest.mark.parametrize("final", STAGES)
def test_each_network_starts_with_the_fused_scores_of_the_last(final, padding, learned):
    """On its own finer grid they are the last one's, upsampled and cropped; the new stream adds nothing."""
    options = {"num_classes": 3, "in_channels": 6 if "hha" in final else 3, "width": 0.03, "padding": padding}
    labels, still = LabelSet(("a", "b", "c")), Normalization((0.0,), (1.0,))
    images = torch.randn(1, options["in_channels"], 70, 41)
    names = STAGES[final]
    coarse = pw.build(names[0], **options).eval()
    for name, parameter in coarse.named_parameters():
        if name.startswith("score"):
            torch.nn.init.normal_(parameter)
    for (before, after), stride in zip(itertools.pairwise(names), (16, 8), strict=False):
        fine_options = options | {"learn_upsampling": learned}
        fine = pw.build(after, **fine_options).eval()
        recipe = Recipe(model=after, model_options=fine_options, **LEAST)
        plan = Plan(recipe, {}, {}, labels, still, 1, 1)
        begin_from(fine, pw.Segmenter(coarse, still, labels, {"builder": before, "options": {}}), plan, "file")
        heads = zip(coarse.heads(images).items(), fine.heads(images).items(), strict=True)
        for (head, last), (again, fused) in heads:
            assert head == again
            first = CROPS[padding][stride][0]
            expected = upscored(last.scores)[..., first:, first:]
            height, width = fused.scores.shape[-2:]
            assert height > last.scores.shape[-2] and width > last.scores.shape[-1]
            assert torch.allclose(fused.scores, expected[..., :height, :width], atol=1e-4)
            assert fused.scores.std() > 0.1
        coarse = fine


def test_steps_are_shared_as_the_papers_days():
    for total in range(3, 200):
        parts = shares(total, 3)
        assert sum(parts) == total and min(parts) >= 1
        assert all(abs(part - total * day / 5) < 1 for part, day in zip(parts, (3, 1, 1), strict=True))
        parts = shares(total, 2)
        assert sum(parts) == total and abs(parts[0] - total * 3 / 4) < 1 <= min(parts)


def test_a_run_has_a_folder_for_each_stage(whole):
    _, result, told = whole
    run = result.run
    folders = {COARSE: run / "stages" / COARSE, MIDDLE: run / "stages" / MIDDLE, FINE: run}
    for (name, folder), steps in zip(folders.items(), (6, 2, 2), strict=True):
        for file in (MODEL, "plan.yaml", "log.jsonl", "result.json", "report.html", "state.pt"):
            assert (folder / file).is_file(), (name, file)
        model = pw.load(folder / MODEL)
        assert model.architecture["builder"] == name
        assert model.recipe["steps"] == steps
        assert model.recipe["rate"] == 0.003
        assert json.loads((folder / "result.json").read_text())["steps"] == steps
    assert result.segmenter.architecture["builder"] == FINE
    began = [(event.number, event.total, event.model, event.steps) for event in told if isinstance(event, StageBegan)]
    assert began == [(1, 3, COARSE, 6), (2, 3, MIDDLE, 2), (3, 3, FINE, 2)]
    taken = [event.begun for event in told if isinstance(event, WeightsTaken)]
    assert [begun.model for begun in taken] == [COARSE, MIDDLE]
    assert [[entry.target for entry in begun.transplant.left] for begun in taken] == [["score_pool4"], ["score_pool3"]]
    assert not any(begun.transplant.unused for begun in taken)
    assert [type(event) for event in told].index(Planned) < [type(event) for event in told].index(StageBegan)


def test_a_stage_begins_with_the_best_network_of_the_last(whole, tmp_path):
    """With a rate of nothing it stays at it, but for the new scores."""
    data, _, _ = whole
    settings = SHORT | {"average": 0.0}
    run = pw.fit(data, out=tmp_path / "run", steps=10, staged=True, settings=settings, plan_only=True).run
    text = (run / "plan.yaml").read_text()
    assert text.count("rate: 0.003") == 1
    text = text.replace("rate: 0.003", "rate: 1.0e-30").replace("steps: 6", "steps: 6\n      rate: 0.003")
    (run / "plan.yaml").write_text(text)
    pw.fit(data, out=run, resume=True)
    states = [pw.load(folder / MODEL).network.state_dict() for folder in (run / "stages" / COARSE, run)]
    assert states[0].keys() < states[1].keys()
    for name, tensor in states[0].items():
        assert torch.allclose(tensor, states[1][name], rtol=0, atol=1e-20), name
    assert states[0]["score_fr.weight"].abs().max() > 0


def test_the_plan_says_how_it_is_shared_and_why(whole):
    _, result, _ = whole
    plan = Plan.load(result.run / "plan.yaml")
    assert [stage.model for stage in plan.stages] == [COARSE, MIDDLE]
    assert "each starts from the best of the last with new scores at zero" in plan.reasons["stages"]
    assert plan.reasons["steps"].startswith(f"10 in all ({COARSE} 6, {MIDDLE} 2, {FINE} 2): 60%, 20%, 20% of the steps")
    assert plan.reasons["rate"].endswith("; the same in each stage, which has its own warm-up and decay")
    first, second, last = stage_runs(plan)
    assert "of stage 1 of 3, which leads to fcn8s_vgg16" in first.plan.reasons["steps"]
    assert first.plan.reasons["start"].startswith("random weights") and "stages" not in first.plan.reasons
    assert second.plan.reasons["start"] == f"the best network of {COARSE}, the stage before"
    assert (first.plan.start, second.plan.start) == (None, f"../{COARSE}/{MODEL}")
    assert last.plan.start == f"stages/{MIDDLE}/{MODEL}"
    assert [str(stage.folder) for stage in (first, second, last)] == [f"stages/{COARSE}", f"stages/{MIDDLE}", "."]


def test_time_is_shared_when_minutes_are_asked_for(tmp_path, folder):
    """Each stage evaluates and reports at its end, so that its time is set aside three times."""
    plan = replace(plan_of(tmp_path / "a", folder), stages=(), training_seconds=500.0)
    plan = replace(plan, recipe=plan.recipe.with_settings({"steps": 1000, "rate": 0.01, "validate_every": 40}))
    made = in_stages(plan, {}, 530.0)  # 30 s of evaluation and report
    seconds = [stage.training_seconds for stage in made.stages] + [made.training_seconds]
    assert seconds == pytest.approx([0.6 * 440, 0.2 * 440, 0.2 * 440])
    steps = [stage.settings["steps"] for stage in made.stages] + [made.recipe.steps]
    assert steps == shares(880, 3)
    assert [stage.plan.recipe.rate for stage in stage_runs(made)] == [0.01] * 3
    assert [stage.settings["validate_every"] for stage in made.stages] == [40, 40]
    assert "60%, 20%, 20% of the time" in made.reasons["steps"]
    assert in_stages(plan, {"steps": 1000}, 530.0).recipe.steps == 200
    assert in_stages(plan, {}, 501.0).training_seconds == pytest.approx(0.2 * 498)
    hurried = in_stages(replace(plan, training_seconds=5.0), {}, 20.0)
    assert hurried.training_seconds == pytest.approx(3) and hurried.recipe.steps == 600


def test_every_stage_validates_a_few_times_and_keeps_what_was_set_by_hand(tmp_path, folder):
    plan = plan_of(tmp_path / "a", folder, steps=1000)
    assert [stage.settings["validate_every"] for stage in plan.stages] == [50, 50]
    assert plan.recipe.validate_every == 50 and plan.recipe.warmup == 20
    for stage in stage_runs(plan):
        assert stage.plan.recipe.patience == 0 and "all are trained" in stage.plan.reasons["patience"]
    timed = replace(plan, stages=(), recipe=plan.recipe.with_settings({"steps": 1000, "patience": 9}))
    made = in_stages(timed, {}, None)
    assert (made.stages[0].settings["patience"], made.recipe.patience) == (6, 4)
    assert made.reasons["patience"].startswith("a stage ends early after half")
    plan = plan_of(tmp_path / "b", folder, steps=40, settings={"validate_every": 30, "log_every": 4, "warmup": 9})
    for stage in stage_runs(plan):
        recipe = stage.plan.recipe
        assert (recipe.validate_every, recipe.log_every, recipe.warmup) == (30, 4, 9)
    plan = plan_of(tmp_path / "c", folder, steps=40, settings={"validate_every": 20, "log_every": 6})
    short = replace(plan, stages=(), recipe=plan.recipe.with_settings({"steps": 40}))
    made = in_stages(short, {}, None)
    for stage in stage_runs(made):  # validations fall on logged steps
        assert stage.plan.recipe.validate_every % stage.plan.recipe.log_every == 0
        assert stage.plan.recipe.steps >= 2 * stage.plan.recipe.validate_every


def test_a_stage_takes_the_options_that_its_network_knows(tmp_path, folder):
    settings = {"model_options": NARROW | {"learn_upsampling": True}}
    first, second, last = stage_runs(plan_of(tmp_path / "a", folder, settings=settings))
    known = NARROW | {"num_classes": 2, "in_channels": 3}
    assert first.plan.recipe.model_options == known
    assert second.plan.recipe.model_options == last.plan.recipe.model_options == known | {"learn_upsampling": True}


def test_a_shorter_chain_and_another_model(tmp_path, folder):
    plan = plan_of(tmp_path / "a", folder, steps=8, model="fcn16s_two_headed")
    assert [stage.model for stage in stage_runs(plan)] == ["fcn32s_two_headed", "fcn16s_two_headed"]
    assert [stage.plan.recipe.steps for stage in stage_runs(plan)] == [6, 2]
    result = pw.fit(folder, out=tmp_path / "a", resume=True)
    assert result.segmenter.architecture["builder"] == "fcn16s_two_headed"


KILLS = [
    (StageBegan, 2),
    (Validated, 7),
    (Ended, 1),
    (Progressed, 2),
    (Ended, 3),
]


def counting(kind, number, act):
    """`tell` that acts at the `number`-th event of a kind; of progress, that of evaluations alone."""
    left = number

    def tell(event):
        nonlocal left
        if isinstance(event, kind) and getattr(event, "what", "evaluating") == "evaluating":
            left -= 1
            if left == 0:
                act()

    return tell


def kill():
    raise Killed


@pytest.mark.parametrize(("kind", "number"), KILLS)
def test_a_run_killed_anywhere_ends_byte_equal(whole, tmp_path, kind, number):
    """Every model file and the last weights of each stage are those of the run that nothing ended."""
    data, result, _ = whole
    run = tmp_path / "run"
    options = {"steps": 10, "staged": True, "settings": SHORT}
    with pytest.raises(Killed):
        pw.fit(data, out=run, tell=counting(kind, number, kill), **options)
    again = pw.fit(data, out=run, resume=True)
    assert again.outcome == "finished"
    same_models(run, result.run)


def same_models(run, other):
    for place in (f"stages/{COARSE}", f"stages/{MIDDLE}", "."):
        assert (run / place / MODEL).read_bytes() == (other / place / MODEL).read_bytes(), place
        states = [load_state(folder / place / "state.pt") for folder in (run, other)]
        assert states[0]["step"] == states[1]["step"]
        for kind in ("network", "average"):
            assert states[0][kind].keys() == states[1][kind].keys()
            assert all(torch.equal(states[0][kind][name], states[1][kind][name]) for name in states[0][kind]), place


def test_a_run_killed_at_every_stage_in_turn_ends_byte_equal(whole, tmp_path):
    data, result, _ = whole
    run, kills = tmp_path / "run", 0
    options = {"steps": 10, "staged": True, "settings": SHORT}
    while options:
        try:
            pw.fit(data, out=run, tell=counting(StepLogged, 3, kill), **options)
            options = {}
        except Killed:
            options = {"resume": True}
            kills += 1
    assert kills >= 4
    same_models(run, result.run)


def test_a_stage_without_its_report_is_ended_again_and_one_with_it_is_not(whole, tmp_path, monkeypatch):
    data, result, _ = whole
    run = tmp_path / "run"
    write = train_module.write_report

    def die(folder):
        if folder.name == MIDDLE:
            raise Killed
        return write(folder)

    monkeypatch.setattr(train_module, "write_report", die)
    with pytest.raises(Killed):
        pw.fit(data, out=run, steps=10, staged=True, settings=SHORT)
    monkeypatch.undo()
    told = []
    pw.fit(data, out=run, resume=True, tell=told.append)
    assert [event.number for event in told if isinstance(event, StageBegan)] == [2, 3]
    assert [event.step for event in told if isinstance(event, StepLogged)] == [1, 2]  # of the last stage
    assert (run / "stages" / MIDDLE / "report.html").is_file()
    same_models(run, result.run)


def test_ctrl_c_in_a_stage_leaves_its_model_and_a_report_and_resume_goes_on(whole, tmp_path):
    data, result, _ = whole
    run = tmp_path / "run"
    stop = counting(StepLogged, 7, lambda: os.kill(os.getpid(), signal.SIGINT))
    stopped = pw.fit(data, out=run, steps=10, staged=True, settings=SHORT, tell=stop)
    assert (stopped.outcome, stopped.run, stopped.report) == ("interrupted", run, run / "report.html")
    assert pw.load(run / MODEL).architecture["builder"] == MIDDLE
    page = " ".join((run / "report.html").read_text().split())
    assert f"{stopped.scores.mean_iou * 100:.1f}<small>%" in page
    assert len(re.findall(r'<img src="data:', page)) > 4  # the stage's pictures, from its folder
    assert "--resume" in page.replace("</span> <span>", " ")
    assert "stages" not in json.loads((run / "result.json").read_text())["commands"]["resume"]
    assert f"Training of {MIDDLE}, stage 2 of 3, was interrupted after" in page
    assert f"The curves below are of {MIDDLE}, stage 2 of 3" in page
    assert stages_shown(page)[MIDDLE][-1] == "Interrupted"
    assert stages_shown(page)[FINE] == ["–", "–", "–", "Not yet"]
    again = pw.fit(data, out=run, resume=True)
    assert again.outcome == "finished"
    same_models(run, result.run)


def stages_shown(page):
    """{network: cells} of the report's table of stages."""
    table = page[page.index("<th>Stage</th>") :]
    rows = re.findall(r"<tr><td class=\"name\">(.*?)</tr>", table[: table.index("</table>")])
    cells = [re.sub(r"<[^>]+>", "|", row).split("|") for row in rows]
    return {row[1]: [cell.strip() for cell in row[2:] if cell.strip()] for row in cells}


def test_the_report_names_the_stages_and_their_scores(whole):
    _, result, _ = whole
    shown = stages_shown(" ".join((result.run / "report.html").read_text().split()))
    assert list(shown) == [COARSE, MIDDLE, FINE]
    for name, steps in ((COARSE, 6), (MIDDLE, 2), (FINE, 2)):
        folder = result.run if name == FINE else result.run / "stages" / name
        log = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
        best = max(record["mean_iou"] for record in log if record["event"] == "validation")
        end = json.loads((folder / "result.json").read_text())["scores"]["mean_iou"]
        assert shown[name] == [str(steps), f"{best:.3f}", f"{end:.3f}", "(validation)", "Finished"]
    stage = (result.run / "stages" / MIDDLE / "report.html").read_text()
    assert "<th>Stage</th>" not in stage
    assert f"Started from <bdi>../{COARSE}/{MODEL}</bdi>" in stage
    assert f"fit {result.run.parent / 'data'} --resume --out {result.run}" in re.sub(r"</?span>", "", stage)


def test_the_plan_reproduces_the_run_and_a_stages_plan_its_stage(whole, tmp_path):
    data, result, _ = whole
    again = pw.fit(data, out=tmp_path / "again", plan=result.run / "plan.yaml").run
    same_models(again, result.run)
    stage = pw.fit(data, out=tmp_path / "stage", plan=result.run / "stages" / MIDDLE / "plan.yaml").run
    assert (stage / MODEL).read_bytes() == (result.run / "stages" / MIDDLE / MODEL).read_bytes()
    assert not (stage / "stages").exists()


def test_a_staged_run_can_start_from_a_model(whole, tmp_path):
    """Its weights go into the first stage; resume and the plan do without the file."""
    data, result, _ = whole
    model = shutil.copy(result.run / "stages" / COARSE / MODEL, tmp_path / "copy.safetensors")
    settings = {key: value for key, value in SHORT.items() if key != "model_options"}
    told = []
    first = pw.fit(data, out=tmp_path / "a", steps=5, staged=True, start=model, settings=settings, tell=told.append).run
    taken = [event.begun for event in told if isinstance(event, WeightsTaken)]
    assert [begun.file for begun in taken] == [str(model), f"../{COARSE}/{MODEL}", f"stages/{MIDDLE}/{MODEL}"]
    assert taken[0].transplant.complete
    plan = Plan.load(first / "plan.yaml")
    assert plan.recipe.model == FINE and plan.recipe.model_options["width"] == NARROW["width"]
    assert plan.reasons["start"].startswith(f"{model} ({COARSE}): 16 layers copied")
    second = tmp_path / "b"
    with pytest.raises(Killed):
        pw.fit(
            data,
            out=second,
            steps=5,
            staged=True,
            start=model,
            settings=settings,
            tell=counting(StageBegan, 1, kill),
        )
    model.unlink()
    pw.fit(data, out=second, resume=True)
    same_models(second, first)


def test_settings_of_a_plan_hold_until_a_stage_has_begun(whole, tmp_path):
    data, _, _ = whole
    run = tmp_path / "run"
    assert plan_of(run, data).recipe.batch_size == 2
    with pytest.raises(Killed):
        pw.fit(data, out=run, resume=True, settings={"batch_size": 1}, tell=counting(StageBegan, 1, kill))
    assert [stage.plan.recipe.batch_size for stage in stage_runs(Plan.load(run / "plan.yaml"))] == [1, 1, 1]
    with pytest.raises(Killed):
        pw.fit(data, out=run, resume=True, tell=counting(StepLogged, 1, kill))
    with pytest.raises(BadOption, match="training in .* has begun by its plan; start a new run to change batch_size"):
        pw.fit(data, out=run, resume=True, settings={"batch_size": 2})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": "unet"}, f"unet is not trained in stages; take --model {', '.join(STAGES)}, or leave out --staged"),
        ({"model": "fcn32s_vgg16"}, "fcn32s_vgg16 is not trained in stages"),
        ({"settings": {"model": "unet"}}, "unet is not trained in stages"),
        ({"steps": 2}, "fcn8s_vgg16 is trained in 3 stages, so steps must be as many, got 2"),
        ({"settings": {"steps": 1}}, "so steps must be as many, got 1"),
        (
            {"model": "fcn16s_vgg16", "settings": {"model_options": {"fusion": "max"}}},
            "not with fusion='max'; leave out one of fusion and --staged",
        ),
    ],
)
def test_what_cannot_be_staged_is_refused_before_reading(folder, tmp_path, options, message):
    events = []
    with pytest.raises(BadOption, match=re.escape(message)):
        pw.fit(folder, out=tmp_path / "run", **({"steps": 10} | options), staged=True, tell=events.append)
    assert not events and not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("old", "new", "error", "message"),
    [
        (f"  {MIDDLE}:\n", "  fcn16s_two_headed:\n", CheckpointError, "before it come fcn32s_vgg16, fcn16s_vgg16"),
        ("model: fcn8s_vgg16", "model: fcn16s_vgg16", CheckpointError, "before it come fcn32s_vgg16: correct it"),
        ("model: fcn8s_vgg16", "model: unet", CheckpointError, "before unet; it is not trained in stages"),
        ("      steps: 6", "      stepps: 6", UnknownName, "did you mean 'steps'"),
        ("      steps: 6", "      steps: 0", BadOption, "steps: .*greater than or equal to 1, got 0"),
        ("\nstages:", "\nstages: 5\nrest:", CheckpointError, "has a wrong entry 'stages'"),
        (
            f"  {COARSE}:\n    training_seconds",
            f"  {COARSE}:\n    seconds",
            CheckpointError,
            "misses 'training_seconds'",
        ),
    ],
)
def test_stages_damaged_by_hand_are_one_line(folder, tmp_path, old, new, error, message):
    plan_of(tmp_path / "run", folder)
    text = (tmp_path / "run" / "plan.yaml").read_text()
    assert old in text
    (tmp_path / "run" / "plan.yaml").write_text(text.replace(old, new, 1))
    with pytest.raises(error, match=message):
        pw.fit(folder, out=tmp_path / "run", resume=True)


def test_a_plan_without_stages_is_written_and_read_as_before(folder, tmp_path, tiny):
    run = pw.fit(folder, out=tmp_path / "run", steps=2, settings=tiny, plan_only=True).run
    keys = [line.partition(":")[0] for line in (run / "plan.yaml").read_text().splitlines() if line[0].isalpha()]
    assert "stages" not in keys and "start" not in keys
    plan = Plan.load(run / "plan.yaml")
    assert plan.start is None and plan.stages == ()
    (only,) = stage_runs(plan)
    assert only.plan == plan


def test_a_run_of_a_stage_is_locked_with_the_whole(whole, tmp_path):
    data, _, _ = whole
    run = tmp_path / "run"

    def second():
        with pytest.raises(DataError, match="another fit is at work"):
            pw.fit(data, out=run, resume=True)
        raise Killed

    with pytest.raises(Killed):
        pw.fit(data, out=run, steps=3, staged=True, settings=SHORT, tell=counting(StepLogged, 1, second))
