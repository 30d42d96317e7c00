"""A fit begins with published ImageNet weights where they can be had, and says when not."""

import hashlib
import threading
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

import pixelwise as pw
from pixelwise.backbones import CLASSIFIERS
from pixelwise.flow import pretrained
from pixelwise.flow.plan import Plan
from pixelwise.flow.pretrained import TRUNKS, find_trunk
from pixelwise.flow.start import begin_from
from pixelwise.layers.normalization import Normalization
from pixelwise.models import MODELS, build
from pixelwise.surgery.transplant import transplant
from pixelwise.weights.all_formats import WEIGHT_FORMATS
from pixelwise.weights.cache import place_of
from pixelwise.weights.catalogue import CATALOGUE, PublishedWeights
from pixelwise.weights.importing import foreign_tensors

MODEL, NAME, FILE = "deeplab_largefov", "vgg16_tiny", "vgg16-tiny.pth"
WIDTH = 1 / 32
SHORT = {"crop_size": [32, 32], "batch_size": 2, "threads": 1, "log_every": 1}
STILL = {"rate": 1e-30, "average": 0.0}


@pytest.fixture(scope="module")
def classifier():
    torch.manual_seed(3)
    return CLASSIFIERS["vgg16"](num_classes=1000, width=WIDTH)


@pytest.fixture
def published(classifier, tmp_path, monkeypatch):
    """A narrow VGG-16 as the only weights for the trunk, and its file in the cache."""
    file = tmp_path / FILE
    usual = WEIGHT_FORMATS["torchvision_vgg16"]
    torch.save(foreign_tensors(classifier, usual), file)
    narrow = replace(usual, name="tiny", options=lambda tensors: usual.options(tensors) | {"width": WIDTH})
    monkeypatch.setitem(WEIGHT_FORMATS, "tiny", narrow)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    record = PublishedWeights(
        NAME,
        FILE,
        "vgg16",
        "tiny",
        addresses=("http://127.0.0.1:9/vgg16-tiny.pth",),
        digest=f"sha256:{digest}",
        classifier=True,
    )
    monkeypatch.setitem(CATALOGUE, NAME, record)
    monkeypatch.setitem(TRUNKS, MODEL, NAME)
    place_of(record).parent.mkdir()
    file.rename(place_of(record))
    return record


def fitted(folder, out, **options):
    return pw.fit(folder, out=out, steps=1, model=MODEL, settings=SHORT | STILL, **options)


def test_the_trunk_begins_with_the_published_weights(classifier, published, folder, tmp_path):
    result = fitted(folder, tmp_path / "run")
    trained = load_file(result.run / "model.safetensors")
    theirs = {name: weight for name, weight in classifier.named_parameters() if ".conv" in name}
    assert len(theirs) == 26
    for name, weight in theirs.items():
        (ours,) = (
            trained[other] for other in trained if other.endswith(name.rpartition("conv")[2]) and "conv" in other
        )
        assert torch.allclose(ours, weight, rtol=0, atol=1e-20), name
    plan = Plan.load(result.run / "plan.yaml")
    assert plan.recipe.model_options["width"] == WIDTH
    assert plan.reasons["model"] == f"as in {NAME}"
    assert plan.reasons["start"] == (
        f"ImageNet weights, {NAME} ({FILE}): 13 layers copied, 0 reshaped, 3 left at start, 1 unused"
    )
    kept = result.run / plan.start
    assert plan.data["pretrained"] == {
        "name": NAME,
        "file": FILE,
        "sha256": hashlib.sha256(kept.read_bytes()).hexdigest(),
    }


def test_weights_for_levels_are_scaled_to_pictures_that_are_divided(
    classifier, published, folder, tmp_path, monkeypatch
):
    """Caffe's networks take levels of 0–255; the same first features need weights as many times larger."""
    levels = Normalization((104.0, 117.0, 123.0), (1.0, 1.0, 1.0))
    monkeypatch.setitem(WEIGHT_FORMATS, "tiny", replace(WEIGHT_FORMATS["tiny"], normalization=levels))
    run = fitted(folder, tmp_path / "run", plan_only=True).run
    plan = Plan.load(run / "plan.yaml")
    network = build(plan.recipe.model, **plan.recipe.model_options)
    begin_from(network, pw.load(run / plan.start), plan, "it")
    (first,) = (weight for name, weight in network.named_parameters() if name.endswith("conv1_1.weight"))
    (theirs,) = (weight for name, weight in classifier.named_parameters() if name.endswith("conv1_1.weight"))
    factors = torch.tensor(plan.normalization.deviation)[:, None, None]
    assert torch.allclose(first, theirs * factors)
    assert float(factors.min()) > 10


def test_a_plan_once_made_needs_neither_the_cache_nor_the_network(classifier, published, folder, tmp_path, monkeypatch):
    """What the first step begins with lies in the run: a later run of the plan gives the same bytes."""
    whole = fitted(folder, tmp_path / "whole").run
    planned = fitted(folder, tmp_path / "planned", plan_only=True).run
    monkeypatch.setattr(pretrained, "imported", None)
    monkeypatch.setenv("PIXELWISE_CACHE", str(tmp_path / "elsewhere"))
    pw.fit(folder, out=planned, resume=True)
    assert (planned / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()


def test_without_the_file_it_starts_from_random_weights_and_says_which_to_bring(published, folder, tmp_path):
    place_of(published).unlink()
    run = fitted(folder, tmp_path / "run", plan_only=True).run
    plan = Plan.load(run / "plan.yaml")
    assert plan.start is None and plan.recipe.model_options["width"] == 0.5
    told = plan.reasons["start"]
    assert told.startswith(
        f"random weights: {NAME} is not on this machine: the network is not used (PIXELWISE_OFFLINE)"
    )
    assert f"bring {FILE} (SHA-256 " in told and told.endswith(f"and put it at {place_of(published)}")


def test_pretrained_weights_can_be_declined(published, folder, tmp_path):
    run = fitted(folder, tmp_path / "run", plan_only=True, pretrained=False).run
    plan = Plan.load(run / "plan.yaml")
    assert plan.start is None and "start" not in plan.reasons


def test_at_a_width_that_is_too_slow_a_narrower_network_starts_from_random_weights(
    published, folder, tmp_path, monkeypatch
):
    """Two images a step and a step to fill the time: the planner chooses as it does without published weights."""
    monkeypatch.setattr("pixelwise.flow.network_choice._OTHER_WIDTHS", [{"width": 1 / 64}])
    monkeypatch.setitem(pretrained._USUAL, "width", WIDTH)

    def planned(run, **settings):
        settings = SHORT | {"steps": 1} | settings
        fitted = pw.fit(folder, out=tmp_path / run, minutes=0.2, model=MODEL, settings=settings, plan_only=True)
        return Plan.load(fitted.run / "plan.yaml")

    plan = planned("run")
    assert plan.start is None and plan.recipe.model_options["width"] == 1 / 64
    assert "at which the time is enough for 2 crops only, and 600 are wanted" in plan.reasons["start"]
    asked = planned("asked", model_options={"width": WIDTH})  # as that line tells a person who wants it all the same
    assert asked.start is not None and asked.reasons["start"].startswith("ImageNet weights")


def test_a_download_that_takes_much_of_the_time_is_left_for_the_next_fit(published, monkeypatch):
    """One of 1 000 bytes in 6 s leaves 100 min for the rest: more than a quarter of 10."""
    place_of(published).unlink()
    clock = iter([0.0, 4.0, 6.0])
    monkeypatch.setattr(pretrained.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(pretrained, "is_to_be_had", lambda record, seconds: "")
    seen = []

    def imported(name, patience, progress):
        for done in (500, 501, 502):
            progress(done, 1500)
        raise AssertionError("it goes on")

    monkeypatch.setattr(pretrained, "imported", imported)
    monkeypatch.setattr(pretrained, "_within", lambda seconds, ask: ask())
    trunk = find_trunk(MODEL, {}, lambda done, total: seen.append(done), 10.0)
    assert seen == [500, 501] and trunk.file is None
    assert trunk.told == (
        "random weights: vgg16-tiny.pth would take about 50 min to download, more than 25% of the time; what came is "
        "kept, and the next fit goes on with it"
    )


@pytest.mark.parametrize(
    ("model", "options", "told"),
    [
        ("unet", {}, "random weights: no published ImageNet weights fit unet"),
        ("pspnet_resnet50", {}, "random weights: no published ImageNet weights fit pspnet_resnet50"),
        ("fcn8s_vgg16", {"width": 0.5}, "random weights: vgg16_imagenet does not fit fcn8s_vgg16 with width=0.5"),
        (
            "deeplab_v3_resnet50",
            {"deep_stem": True},
            "random weights: resnet50_imagenet does not fit deeplab_v3_resnet50 with deep_stem=True",
        ),
    ],
)
def test_networks_and_flavors_without_published_weights_say_so(model, options, told):
    assert find_trunk(model, options, lambda done, total: None).told == told


def test_a_host_that_is_searched_for_too_long_is_not_waited_for(published, monkeypatch):
    done = threading.Event()
    monkeypatch.setattr(pretrained, "SECONDS", -0.9)
    monkeypatch.setattr(pretrained, "is_to_be_had", lambda record, seconds: str(done.wait(5)))
    trunk = find_trunk(MODEL, {}, lambda done, total: None)
    done.set()
    assert trunk.file is None and "nothing answered within 0.1 s" in trunk.told


FEW = ["fcn8s_vgg16", "fcn32s_alexnet", "fcn32s_googlenet", "dilation8", "deeplab_largefov", "segnet"]
FEW += ["deeplab_v3_resnet50", "torchvision_fcn_resnet50", "gcn_resnet50", "refinenet_resnet50"]


@pytest.mark.parametrize("model", FEW)
def test_every_layer_of_a_trunk_gets_weights(model):
    """All convolutions of the classifier go somewhere; of the network none of the trunk stays at its start."""
    record = CATALOGUE[TRUNKS[model]]
    with torch.device("meta"):
        source = CLASSIFIERS[record.network](num_classes=10, width=1 / 16, **record.options)
        network = build(model, num_classes=3, width=1 / 16)
    done = transplant(source, network, quiet=True)
    convolutions = {name for name, layer in source.named_modules() if isinstance(layer, torch.nn.Conv2d)}
    assert not convolutions & {entry.source for entry in done.unused}
    heads = ("score", "fc6", "fc7", "fc8", "fc_final")  # of other shapes than the classifier's own
    left = [entry.target for entry in done.left if entry.target.startswith("backbone.")]
    assert all(path.rpartition(".")[2].startswith(heads) for path in left)


def test_the_table_names_what_exists():
    assert set(TRUNKS) <= set(MODELS)
    assert all(CATALOGUE[name].classifier for name in TRUNKS.values())
