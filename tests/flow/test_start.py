"""Start: a fit begins with the weights of a model file, says which, and needs the file once."""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import pixelwise as pw
from pixelwise.errors import BadOption, CheckpointError, TrainingError, WeightsError
from pixelwise.flow import start as start_module
from pixelwise.flow.events import Understood, WeightsTaken
from pixelwise.flow.plan import Plan
from pixelwise.flow.start import score_layers
from pixelwise.labels import LabelSet
from pixelwise.layers.normalization import Normalization
from pixelwise.training.loop import StepLogged

SHORT = {"crop_size": [32, 32], "batch_size": 2, "threads": 1, "log_every": 1}
STILL = {"rate": 1e-30, "average": 0.0}  # what was trained is then what it began with
MODEL = "model.safetensors"


class Killed(BaseException):
    """The end of the process, at an event."""


@pytest.fixture(scope="module")
def trained(tmp_path_factory, make_folder, tiny):
    """A folder with the classes sky, tree and lake, and a model of it with random scores."""
    root = tmp_path_factory.mktemp("trained")
    make_folder(root / "old", values=(0, 1, 2))
    (root / "old" / "classes.txt").write_text("sky\ntree\nlake\n")
    torch.set_num_threads(1)
    run = pw.fit(root / "old", out=root / "run", steps=2, settings=tiny | {"rate": 0.01, "average": 0.0}).run
    return root / "old", run / MODEL


def named(root, make_folder, names):
    """A folder whose masks hold the classes of these names."""
    make_folder(root, values=tuple(range(len(names))))
    (root / "classes.txt").write_text("\n".join(names) + "\n")
    return root


def test_it_begins_with_every_layer_of_the_model_and_with_its_network(trained, tmp_path):
    """Neither network nor width are named: they are the model's own."""
    folder, model = trained
    told = []
    result = pw.fit(folder, out=tmp_path / "run", steps=1, start=model, settings=SHORT | STILL, tell=told.append)
    old, new = load_file(model), load_file(result.run / MODEL)
    assert old.keys() == new.keys()
    weights = [name for name in old if not name.endswith(("running_mean", "running_var", "num_batches_tracked"))]
    assert all(torch.equal(old[name], new[name]) for name in weights)
    plan = Plan.load(result.run / "plan.yaml")
    assert plan.recipe.model == "unet"
    assert plan.recipe.model_options == {"num_classes": 3, "in_channels": 3, "width": 0.0625, "depth": 3}
    begun = next(event.begun for event in told if isinstance(event, WeightsTaken))
    assert begun.transplant.complete and not begun.transplant.unused
    layers = len({name.rpartition(".")[0] for name in old})
    line = f"{model} (unet): {layers} layers copied, 0 reshaped, 0 left at start, 0 unused"
    assert str(begun) == line
    assert plan.reasons["start"].startswith(line)


def test_what_is_set_by_hand_goes_before_what_the_model_has(trained, tmp_path):
    folder, model = trained
    for settings in ({"model_options": {"depth": 2}}, {"model_options.depth": 2}, {"rate": 0.01}):
        made = pw.fit(folder, out=tmp_path / "a", steps=1, start=model, settings=SHORT | settings, plan_only=True).run
        plan = Plan.load(made / "plan.yaml")
        assert plan.recipe.model_options["depth"] == (3 if "rate" in settings else 2)
        assert plan.recipe.model_options["width"] == 0.0625
        kept = f"as in {model}"
        assert plan.reasons["model"] == (kept if "rate" in settings else f"depth as you set it; width {kept}")
        shutil.rmtree(made)
    with pytest.raises(BadOption, match="model_options: .*valid dictionary, got 5"):
        pw.fit(folder, out=tmp_path / "b", steps=1, start=model, settings={"model_options": 5})


def test_classes_are_matched_by_name(trained, tmp_path, make_folder):
    """Rows of the score layer go where their names stand; a new class keeps the row that it starts with."""
    _, model = trained
    folder = named(tmp_path / "new", make_folder, ("lake", "house", "sky", "tree"))
    old = load_file(model)
    fresh = pw.fit(folder, out=tmp_path / "fresh", steps=1, model="unet", settings=_like(model) | STILL)
    result = pw.fit(folder, out=tmp_path / "run", steps=1, start=model, settings=SHORT | STILL)
    start, new = load_file(fresh.run / MODEL), load_file(result.run / MODEL)
    (score,) = score_layers("unet", result.segmenter.architecture["options"])
    for leaf in ("weight", "bias"):
        rows, before, beginning = (tensors[f"{score}.{leaf}"] for tensors in (new, old, start))
        assert torch.equal(rows[[0, 2, 3]], before[[2, 0, 1]])
        assert torch.allclose(rows[1], beginning[1], rtol=0, atol=1e-20)
    record = json.loads((result.run / "start.json").read_text())
    assert [(entry["target"], entry["how"]) for entry in record["reshaped"]] == [
        (score, "3 of 4 classes by name, at start: house")
    ]


def _like(model):
    """Short settings with the options of a model's network."""
    options = pw.load(model).architecture["options"]
    return SHORT | {"model_options": {k: options[k] for k in ("width", "depth")}}


def test_gray_pictures_can_start_from_color(trained, tmp_path, make_folder):
    folder = named(tmp_path / "gray", make_folder, ("sky", "tree", "lake"))
    for file in (folder / "images").iterdir():
        Image.open(file).convert("L").save(file)
    _, model = trained
    result = pw.fit(folder, out=tmp_path / "run", steps=1, start=model, settings=SHORT | STILL)
    assert result.segmenter.normalization.channels == 1
    first = next(name for name, tensor in load_file(model).items() if tensor.dim() == 4 and tensor.shape[1] == 3)
    expected = load_file(model)[first].sum(1, keepdim=True)
    assert torch.allclose(load_file(result.run / MODEL)[first], expected)


def test_a_killed_run_goes_on_to_the_same_bytes_without_the_model_file(trained, tmp_path):
    folder, model = trained
    settings = SHORT | {"validate_every": 2}
    whole = pw.fit(folder, out=tmp_path / "whole", steps=4, start=model, settings=settings).run
    for moment in (1, 3):  # before and after the first state
        copy = shutil.copy(model, tmp_path / "copy.safetensors")
        run = tmp_path / f"run-{moment}"

        def kill(event, moment=moment):
            if isinstance(event, StepLogged) and event.step == moment:
                raise Killed

        with pytest.raises(Killed):
            pw.fit(folder, out=run, steps=4, start=copy, settings=settings, tell=kill)
        copy.unlink()
        told = []
        pw.fit(folder, out=run, resume=True, tell=told.append)
        assert (run / MODEL).read_bytes() == (whole / MODEL).read_bytes()
        assert not [event for event in told if isinstance(event, WeightsTaken)]


def test_a_plan_reproduces_it_from_the_runs_own_copy(trained, tmp_path):
    folder, model = trained
    copy = shutil.copy(model, tmp_path / "copy.safetensors")
    first = pw.fit(folder, out=tmp_path / "a", steps=2, start=copy, settings=SHORT).run
    copy.unlink()
    second = pw.fit(folder, out=tmp_path / "b", plan=first / "plan.yaml").run
    shutil.rmtree(first / "pictures")
    third = pw.fit(folder, out=tmp_path / "c", plan=second / "plan.yaml").run
    assert (first / MODEL).read_bytes() == (second / MODEL).read_bytes() == (third / MODEL).read_bytes()
    without = pw.fit(folder, out=tmp_path / "d", steps=2, model="unet", settings=_like(model)).run
    assert (first / MODEL).read_bytes() != (without / MODEL).read_bytes()


def test_a_plan_can_be_made_now_and_trained_later(trained, tmp_path):
    folder, model = trained
    once = pw.fit(folder, out=tmp_path / "once", steps=2, start=model, settings=SHORT).run
    copy = shutil.copy(model, tmp_path / "copy.safetensors")
    run = pw.fit(folder, out=tmp_path / "run", steps=2, start=copy, settings=SHORT, plan_only=True).run
    copy.unlink()
    assert not (run / MODEL).exists()
    pw.fit(folder, out=run, resume=True)
    assert (run / MODEL).read_bytes() == (once / MODEL).read_bytes()


def test_the_report_says_what_it_began_with(trained, tmp_path):
    folder, model = trained
    run = pw.fit(folder, out=tmp_path / "run", steps=1, start=model, model="unet", settings=SHORT).run
    record = json.loads((run / "start.json").read_text())
    assert (record["file"], record["model"]) == (str(model), "unet")
    assert record["copied"][0] == {"target": record["copied"][0]["source"], **record["copied"][0]}
    page = (run / "report.html").read_text()
    assert f"Started from <bdi>{model}</bdi> (unet)" in page
    assert f"{len(record['copied'])} layers copied" in " ".join(page.split())
    for entry in record["copied"]:
        assert f"<td>{entry['target']}</td>" in page
    (run / "start.json").write_text("{")
    with pytest.raises(pw.errors.DataError, match=r"start\.json is expected to be JSON"):
        pw.report.page.write_report(run)


def test_pictures_that_the_model_knows_are_named_and_remembered(trained, tmp_path, make_folder):
    folder, model = trained
    known = pw.load(model).trained_on
    run = pw.fit(folder, out=tmp_path / "same", steps=1, start=model, settings=SHORT).run
    assert "names that it was trained on" not in Plan.load(run / "plan.yaml").reasons["start"]
    for part in ("train", "test"):
        named(tmp_path / "data" / part, make_folder, ("sky", "tree", "lake"))
    for file in [*(tmp_path / "data" / "train").rglob("img_*")]:
        file.rename(file.with_name(file.name.replace("img", "new")))
    run = pw.fit(tmp_path / "data", out=tmp_path / "run", steps=1, start=model, settings=SHORT).run
    plan = Plan.load(run / "plan.yaml")
    seen = len(set(known) & set(plan.split["test"]))
    assert seen == len(known) == 5
    assert plan.reasons["start"].endswith(
        "; it was trained on 5 of the 6 test pictures, so that the scores are too good"
    )
    assert pw.load(run / MODEL).trained_on == (*plan.split["train"], *known)
    old = pw.load(model)
    old.digests = ()  # as a file of an older version
    old.save(tmp_path / MODEL)
    run = pw.fit(tmp_path / "data", out=tmp_path / "old", steps=1, start=tmp_path / MODEL, settings=SHORT).run
    told = Plan.load(run / "plan.yaml").reasons["start"]
    assert "; 5 of the 6 test pictures have names that it was trained on: if they are the same pictures" in told
    for number, file in enumerate((tmp_path / "data" / "test" / "images").iterdir()):
        Image.fromarray(np.full((32, 40, 3), 40 * number, np.uint8)).save(file)
    run = pw.fit(tmp_path / "data", out=tmp_path / "new", steps=1, start=model, settings=SHORT).run
    assert "trained on" not in Plan.load(run / "plan.yaml").reasons["start"]


def test_a_model_of_which_nothing_fits_is_refused_before_training(trained, tmp_path):
    folder, model = trained
    with pytest.raises(
        WeightsError,
        match=r"^segnet_basic at width 0.0625 cannot start from .*model\.safetensors, as no layer of it fits: the "
        r"file's is unet at width 0.0625; leave out --model to take the file's, or leave out --start$",
    ):
        pw.fit(folder, out=tmp_path / "run", steps=1, start=model, model="segnet_basic", settings=SHORT)
    assert not (tmp_path / "run").exists()


def test_no_model_file_is_refused_before_the_folder_is_read(trained, tmp_path):
    folder, _ = trained
    events = []
    with pytest.raises(CheckpointError, match=r"no model file at .*gone\.safetensors"):
        pw.fit(folder, out=tmp_path / "run", steps=1, start=tmp_path / "gone.safetensors", tell=events.append)
    assert not events and not (tmp_path / "run").exists()


@pytest.mark.parametrize("follow", [{"resume": True}, {"plan": "p.yaml"}])
@pytest.mark.parametrize("more", [{"start": MODEL}, {"staged": True}])
def test_a_stored_plan_keeps_its_own_start(folder, tmp_path, follow, more):
    with pytest.raises(BadOption, match="a stored plan holds its own start and stages; leave out --start and --staged"):
        pw.fit(folder, out=tmp_path / "run", **follow, **more)


def test_a_full_disk_leaves_no_half_copy(trained, tmp_path, monkeypatch):
    folder, model = trained

    def full(source, target):
        target.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(start_module.shutil, "copyfile", full)
    with pytest.raises(TrainingError, match=r"could not be copied to .*start\.safetensors .No space left on device"):
        pw.fit(folder, out=tmp_path / "run", steps=1, start=model, settings=SHORT)
    assert not (tmp_path / "run").exists()


def test_understanding_comes_before_the_weights(trained, tmp_path):
    folder, model = trained
    told = []
    pw.fit(folder, out=tmp_path / "run", steps=1, start=model, settings=SHORT, tell=told.append)
    kinds = [type(event) for event in told]
    assert kinds.index(Understood) < kinds.index(WeightsTaken) < kinds.index(StepLogged)


@pytest.mark.parametrize(
    "model",
    ["fcn8s_two_headed", "fcn16s_rgb_hha", "unet", "segnet", "deeplab_msc_largefov", "dilation8", "gcn_resnet50"],
)
def test_score_layers_are_those_that_follow_the_number_of_classes(model):
    """Their tensors alone change with it: by what a network with two classes more has."""
    options = {"num_classes": 3, "width": 0.05}
    if model == "fcn16s_rgb_hha":
        options["in_channels"] = 6
    found = score_layers(model, options)
    assert found
    with torch.device("meta"):
        few, more = (pw.build(model, **options | {"num_classes": k}).state_dict() for k in (3, 5))
    for name in few:
        assert (few[name].shape != more[name].shape) == (name.rpartition(".")[0] in found), name


def test_layers_of_other_classes_are_never_taken_for_scores(tmp_path, make_folder):
    """Four classes in a network whose first layers have four channels, too."""
    options = {"width": 0.0625, "padding": "same"}
    network = pw.build("fcn32s_vgg16", num_classes=4, **options)
    torch.nn.init.normal_(network.score_fr.weight)
    labels = LabelSet(("a", "b", "c", "d"))
    architecture = {"builder": "fcn32s_vgg16", "options": {"num_classes": 4, "in_channels": 3} | options}
    old = tmp_path / MODEL
    pw.Segmenter(network, Normalization((0.0,) * 3, (50.0,) * 3), labels, architecture).save(old)
    narrow = [tensor.shape[0] for tensor in load_file(old).values() if tensor.dim() == 4]
    assert narrow.count(4) > 1
    folder = named(tmp_path / "new", make_folder, ("d", "b", "c", "a"))
    new = pw.fit(folder, out=tmp_path / "again", steps=1, settings=SHORT | STILL, start=old).run / MODEL
    before, after = load_file(old), load_file(new)
    for name in before:
        same = before[name][[3, 1, 2, 0]] if name.startswith("score_fr.") else before[name]
        assert torch.allclose(after[name], same, rtol=0, atol=1e-20), name
