"""The published recipes: their numbers against a second table, their names against networks, data and protocols."""

import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

import pixelwise as pw
from pixelwise.backbones.resnet import resnet50
from pixelwise.data import DATASETS
from pixelwise.data.batch import Batches
from pixelwise.data.sample import Sample
from pixelwise.errors import BadOption, CheckpointError, UnknownName
from pixelwise.flow.data_sets import facts, named
from pixelwise.flow.stage_network import check_network, of_data
from pixelwise.inference.views import PAPERS
from pixelwise.labels import LabelSet
from pixelwise.models import build, deeplab_v2, deeplab_v3, gcn, pspnet, refinenet
from pixelwise.protocols import PROTOCOLS
from pixelwise.recipes import RECIPES, PublishedRecipe, list_recipes, published_recipe
from pixelwise.training.loop import Judge, set_training, train_step
from pixelwise.training.objective import objective_of
from pixelwise.training.optimizers import make_optimizer
from pixelwise.weights.catalogue import CATALOGUE

ROOT = Path(__file__).parents[2]
ALL = {name: make() for name, make in RECIPES.items()}

# specification, networks 2014–2016 §2.6, §3.6, §4.4, §5.7, §7.2; networks 2015–2017 §1.2.4, §1.3.3, §1.4.2, §1.5.4
# rate, momentum, decay, pictures a step (batch · accumulate), steps, crop, schedule, of the last stage
SPEC = {
    "fcn32s_vgg16_voc_heavy": (1e-10, 0.99, 5e-4, 1, 100_000, None, "fixed"),
    "fcn16s_vgg16_voc_heavy": (1e-12, 0.99, 5e-4, 1, 100_000, None, "fixed"),
    "fcn8s_vgg16_voc_heavy": (1e-14, 0.99, 5e-4, 1, 100_000, None, "fixed"),
    "fcn8s_atonce_vgg16_voc_heavy": (1e-10, 0.99, 5e-4, 1, 300_000, None, "fixed"),
    "fcn32s_alexnet_voc_heavy": (1e-4, 0.9, 5e-4, 20, 100_000, None, "fixed"),
    "fcn32s_vgg16_nyud_heavy": (1e-10, 0.99, 5e-4, 1, 100_000, None, "fixed"),
    "fcn32s_vgg16_nyud_hha_heavy": (1e-10, 0.99, 5e-4, 1, 100_000, None, "fixed"),
    "fcn32s_rgbd_nyud_heavy": (1e-10, 0.99, 5e-4, 1, 100_000, None, "fixed"),
    "fcn32s_rgb_hha_nyud_heavy": (1e-12, 0.99, 5e-4, 1, 100_000, None, "fixed"),
    "fcn32s_two_headed_sift_flow_heavy": (1e-10, 0.99, 5e-4, 1, 100_000, None, "fixed"),
    "fcn16s_two_headed_sift_flow_heavy": (1e-12, 0.99, 5e-4, 1, 100_000, None, "fixed"),
    "fcn8s_two_headed_sift_flow_heavy": (1e-12, 0.99, 5e-4, 1, 100_000, None, "fixed"),
    "fcn32s_vgg16_context_heavy": (1e-10, 0.99, 5e-4, 1, 400_000, None, "fixed"),
    "fcn16s_vgg16_context_heavy": (1e-12, 0.99, 5e-4, 1, 400_000, None, "fixed"),
    "fcn8s_vgg16_context_heavy": (1e-14, 0.99, 5e-4, 1, 400_000, None, "fixed"),
    "fcn32s_alexnet_voc2011": (1e-3, 0.9, 5e-4, 20, 9730, None, "fixed"),  # 175 · 1112 / 20
    "fcn32s_vgg16_voc2011": (1e-4, 0.9, 5e-4, 20, 9730, None, "fixed"),
    "fcn32s_googlenet_voc2011": (5e-5, 0.9, 5e-4, 20, 9730, None, "fixed"),
    "fcn32s_vgg16_voc": (1e-4, 0.9, 5e-4, 20, 74_358, None, "fixed"),  # 175 · 8498 / 20
    "fcn16s_vgg16_voc": (1e-6, 0.9, 5e-4, 20, 74_358, None, "fixed"),
    "segnet_basic_camvid": (0.1, 0.9, 5e-4, 4, 10_000, (360, 480), "fixed"),
    "segnet_camvid": (1e-3, 0.9, 5e-4, 4, 40_000, (360, 480), "fixed"),
    "bayesian_segnet_basic_camvid": (0.1, 0.9, 5e-4, 4, 10_000, (360, 480), "fixed"),
    "bayesian_segnet_camvid": (1e-3, 0.9, 5e-4, 4, 60_000, (360, 480), "fixed"),
    "dilation_frontend_voc": (1e-3, 0.9, 5e-4, 14, 60_000, (128, 128), "fixed"),  # 500 less 2 · 186
    "dilation_frontend_camvid": (1e-4, 0.99, 5e-4, 8, 20_000, (256, 256), "fixed"),
    "dilation10_cityscapes": (1e-5, 0.99, 5e-4, 1, 60_000, (1024, 1024), "fixed"),
    "deeplab_4x4_voc": (1e-3, 0.9, 5e-4, 20, 6000, (306, 306), "step"),
    "deeplab_largefov_voc": (1e-3, 0.9, 5e-4, 20, 6000, (321, 321), "step"),
    "deeplab_largefov_voc_release": (1e-3, 0.9, 5e-4, 30, 8000, (321, 321), "step"),
    "deeplab_v2_vgg16_largefov_voc_step_30_6k": (1e-3, 0.9, 5e-4, 30, 6000, (321, 321), "step"),
    "deeplab_v2_vgg16_largefov_voc_poly_30_6k": (1e-3, 0.9, 5e-4, 30, 6000, (321, 321), "poly"),
    "deeplab_v2_vgg16_largefov_voc_poly_30_10k": (1e-3, 0.9, 5e-4, 30, 10_000, (321, 321), "poly"),
    "deeplab_v2_vgg16_largefov_voc_poly_10_10k": (1e-3, 0.9, 5e-4, 10, 10_000, (321, 321), "poly"),
    "deeplab_v2_vgg16_largefov_voc_poly_10_20k": (1e-3, 0.9, 5e-4, 10, 20_000, (321, 321), "poly"),
    "deeplab_v2_resnet101_aspp_voc": (2.5e-4, 0.9, 5e-4, 10, 20_000, (321, 321), "poly"),
    "refinenet_resnet101_cityscapes": (5e-4, 0.9, 5e-4, 1, 446_250, (600, 600), "step"),
    "pspnet_resnet50_ade20k": (0.01, 0.9, 1e-4, 16, 150_000, (473, 473), "poly"),
    "pspnet_resnet101_voc": (0.01, 0.9, 1e-4, 16, 30_000, (473, 473), "poly"),
    "pspnet_resnet101_cityscapes": (0.01, 0.9, 1e-4, 16, 90_000, (713, 713), "poly"),
    "gcn_resnet152_voc": (1e-10, 0.99, 5e-4, 1, 100_000, (512, 512), "fixed"),
    "deeplab_v3_resnet101_voc": (0.007, 0.9, 1e-4, 16, 30_000, (513, 513), "poly"),
    "deeplab_v3_resnet101_voc_two_phases": (0.001, 0.9, 1e-4, 16, 30_000, (513, 513), "poly"),
    "deeplab_v3_resnet101_cityscapes": (0.007, 0.9, 1e-4, 16, 90_000, (769, 769), "poly"),
    "crfrnn_fcn8s_voc": (1e-13, 0.99, 5e-4, 1, 100_000, None, "fixed"),
}


@pytest.mark.parametrize("name", SPEC)
def test_the_numbers_are_those_of_the_specification(name):
    r = ALL[name].stages[-1].recipe
    found = (r.rate, r.momentum, r.weight_decay, r.batch_size * r.accumulate, r.steps, r.crop_size, r.schedule)
    assert found == SPEC[name]
    assert (r.optimizer, r.nesterov, r.clip, r.warmup, r.average, r.patience) == ("sgd", False, 0, 0, 0, 0)


def test_what_the_papers_say_in_words():
    heavy = ALL["fcn8s_vgg16_voc_heavy"]
    assert [stage.recipe.rate for stage in heavy.stages] == [1e-10, 1e-12, 1e-14]
    assert all((s.recipe.loss_normalization, s.recipe.order) == ("sum", "drawn") for s in heavy.stages)
    basic = ALL["segnet_basic_camvid"].stages[0].recipe
    assert (basic.loss_normalization, basic.recompute, len(basic.class_weights)) == ("counted", 94, 11)
    assert basic.class_weights[3] == 0.1417  # road
    assert ALL["segnet_basic_camvid_natural"].stages[0].recipe.class_weights is None
    assert ALL["deeplab_v2_resnet101_aspp_voc"].stages[-1].recipe.batch_norm == "frozen"
    first, second = (stage.recipe for stage in ALL["deeplab_v3_resnet101_voc_two_phases"].stages)
    assert (first.batch_norm, second.batch_norm) == ("trained", "affine")
    assert (first.heads, second.model_options["output_stride"]) == ({}, 8)  # no head named: at the pictures' size
    assert ALL["pspnet_resnet50_ade20k"].stages[0].recipe.heads["auxiliary"].weight == 0.4
    crf = {rate.parameters: rate.rate for rate in ALL["crfrnn_fcn8s_voc"].stages[-1].recipe.rates}
    assert crf["mean_field.spatial"] == crf["mean_field.bilateral"] == 1e4
    assert crf["mean_field.compatibility"] == 1e3
    assert [stage.recipe.steps for stage in ALL["dilation8_voc_coco"].stages[:3]] == [100_000, 40_000, 50_000]
    largefov = {rate.parameters: (rate.rate, rate.decay) for rate in ALL["deeplab_largefov_voc"].stages[0].recipe.rates}
    assert largefov["fc8_voc12.weight"] == (10, 1)
    assert largefov["fc8_voc12.bias"] == (20, 0)


@pytest.mark.parametrize("name", ALL)
def test_a_docstring_names_the_command_and_the_expected_score(name):
    told, recipe = RECIPES[name].__doc__, ALL[name]
    assert (recipe.name, RECIPES[name].__name__) == (name, name)
    assert f"\n    {recipe.command}\n" in told
    if recipe.expected is not None:
        numbers = [float(number) for number in re.findall(r"\d+\.\d+", told)]
        assert recipe.expected.mean_iou in numbers
        assert recipe.expected.source
    else:
        assert "not read" in told or "by the paper's recipe" in told or "no mean IoU" in told or "Table 4 has" in told


@pytest.mark.parametrize("name", ALL)
def test_data_sets_splits_protocols_views_and_weights_exist(name):
    recipe = ALL[name]
    data = [recipe.validation, recipe.evaluation]
    for stage in recipe.stages:
        data += [*stage.train, *([stage.validation] if stage.validation else [])]
        assert bool(stage.weights) or bool(stage.after) or recipe.model.startswith(("segnet_b", "b", "psp", "unet"))
        assert set(stage.weights) <= set(CATALOGUE)
    for one in data:
        title, options = named(one.dataset)
        known = facts(title)
        assert title in DATASETS
        assert known is None or one.split in known.splits
        for key, value in options.items():
            assert value is True or str(value) in known.options[key]
    assert recipe.protocol in PROTOCOLS
    assert not recipe.views or recipe.views in PAPERS
    # the pictures that a network is chosen on are no others' than those that it is measured on, or it is the last
    assert recipe.choose == "last" or recipe.validation != recipe.evaluation or recipe.name == "unet_valid_folder"


def classes_of(data):
    known = facts(named(data.dataset)[0])
    return {"labels": LabelSet(("a", "b"))} if known is None else dict(known.classes)


DEEPER = ("output_stride", "kernel", "multi_scale")


def test_every_stage_fits_its_network(monkeypatch):
    """Patterns of names, options, class weights; on no device. What changes no kind of parameter's name is left out."""
    for home in (deeplab_v2, deeplab_v3, gcn, pspnet, refinenet):
        for deep in ("resnet101", "resnet152"):
            if hasattr(home, deep):
                monkeypatch.setattr(home, deep, resnet50)
    seen = set()
    for recipe in ALL.values():
        for stage in recipe.stages:
            known = {k: v for k, v in stage.recipe.model_options.items() if k not in DEEPER}
            family = re.sub(r"resnet\d+", "resnet", stage.recipe.model)
            key = (family, str(known), str(stage.recipe.rates), stage.recipe.batch_norm)
            if key in seen:
                continue
            seen.add(key)
            narrow = stage.recipe.with_settings({"model_options": known | {"width": 1 / 16}})
            levels = stage.normalization or recipe.normalization
            check_network(narrow, classes_of(stage.train[0]), len(levels.mean))


@pytest.mark.parametrize(
    "name",
    ["fcn16s_two_headed_sift_flow", "deeplab_v2_resnet101_largefov_voc", "pspnet_resnet50_ade20k"],
)
def test_the_heads_that_are_weighed_are_there(name, monkeypatch):
    monkeypatch.setattr(deeplab_v2, "resnet101", resnet50)
    recipe = ALL[name].stages[-1].recipe
    with torch.device("meta"):
        network = build(recipe.model, num_classes=3, width=1 / 16, **recipe.model_options).train()
        assert set(network.heads(torch.zeros(2, 3, 33, 33))) == set(recipe.heads)


class Drawn:
    """Pictures of noise, half of each of a class."""

    def __init__(self, labels, size, channels=3, count=2):
        random = np.random.default_rng(0)
        self.labels = labels
        self.samples = []
        for i in range(count):
            image = random.integers(0, 256, (*size, channels)).astype(np.uint8)
            targets = {}
            for head, its in labels.items():
                target = np.zeros(size, np.uint8)
                target[:, size[1] // 2 :] = 1
                target[0] = its.void
                targets[head] = target
            self.samples.append(Sample(image, targets, f"drawn {i}"))

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, index, /):
        return self.samples[index]


@pytest.mark.parametrize(
    ("name", "side"),
    [
        ("fcn32s_vgg16_voc_heavy", 40),
        ("fcn16s_two_headed_sift_flow_heavy", 40),
        ("segnet_basic_camvid", 48),
        ("deeplab_4x4_voc", 66),
        ("deeplab_v2_vgg16_aspp_s_voc", 65),
        ("refinenet_resnet50_voc", 64),
        ("pspnet_resnet50_ade20k", 65),
    ],
)
def test_one_step_changes_the_weights_that_learn(name, side):
    published = ALL[name]
    stage = published.stages[-1]
    labels = classes_of(stage.train[0])
    small = {"model_options": stage.recipe.model_options | {"width": 1 / 16}, "threads": 1}
    if stage.recipe.crop_size is not None:
        small |= {"crop_size": [side, side], "batch_size": 2}
    recipe = of_data(stage.recipe.with_settings(small), labels, 3)
    batches = Batches(
        Drawn(labels, (side, side + 4)),
        crop_size=recipe.crop_size,
        batch_size=recipe.batch_size,
        augmentation=recipe.augmentation,
        fill=published.normalization.made().fill,
        seed=0,
        order=recipe.order,
        class_crops=recipe.class_crops,
        class_from=stage.class_from,
    )
    network = build(recipe.model, **recipe.model_options)
    set_training(network, recipe)
    optimizer = make_optimizer(network, recipe)
    before = {key: value.clone() for key, value in network.named_parameters() if value.requires_grad}
    weights = None if recipe.class_weights is None else torch.tensor(recipe.class_weights)
    judge = Judge(network, objective_of(recipe, weights))
    loss = train_step(judge, published.normalization.made(), optimizer, [batches[0]], recipe, 0, batches.voids)
    assert np.isfinite(loss)
    assert loss > 0
    scores = next(key for key in reversed(before) if "bias" in key)
    assert not torch.equal(before[scores], dict(network.named_parameters())[scores])


def test_a_recipe_is_the_same_after_its_file(tmp_path):
    for name in ("fcn16s_rgb_hha_nyud", "crfrnn_fcn8s_voc", "deeplab_v2_resnet101_aspp_person_part"):
        ALL[name].save(tmp_path / "recipe.yaml")
        assert PublishedRecipe.load(tmp_path / "recipe.yaml") == ALL[name]


def test_settings_reach_all_stages_or_one():
    made = ALL["fcn8s_vgg16_voc"].with_settings(
        {
            "steps": 7,
            "fcn16s_vgg16.steps": 9,
            "model_options.width": 0.25,
            "validate_on": 3,
            "normalization.mean": [1, 2, 3],
        }
    )
    assert [stage.recipe.steps for stage in made.stages] == [7, 9, 7]
    assert {stage.recipe.model_options["width"] for stage in made.stages} == {0.25}
    assert (made.validate_on, made.normalization.mean) == (3, (1, 2, 3))
    assert ALL["fcn8s_vgg16_voc"].with_settings({"weights": "vgg16_imagenet"}).stages[0].weights == ("vgg16_imagenet",)


@pytest.mark.parametrize(
    ("settings", "error", "told"),
    [
        (
            {"stepps": 1},
            UnknownName,
            "no setting of the recipe fcn16s_vgg16_voc is called 'stepps'; did you mean 'steps'",
        ),
        ({"fcn16s_vgg16.rte": 1}, UnknownName, "'rte'; did you mean 'rate'"),
        ({"model_options.num_classes": 3}, BadOption, "model_options.num_classes is what the data set has"),
        ({"rate": -1}, BadOption, "rate: input should be greater than 0, got -1"),
        ({"paper": "mine"}, BadOption, "paper is no setting that --set takes"),
    ],
)
def test_a_wrong_setting_is_named(settings, error, told):
    with pytest.raises(error, match=re.escape(told)):
        ALL["fcn16s_vgg16_voc"].with_settings(settings)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda r: r.update(protocoll="fcn"), "no entry of a recipe is called 'protocoll'; did you mean 'protocol'"),
        (
            lambda r: r["stages"][0].update(wieghts=[]),
            "no entry of a stage is called 'wieghts'; did you mean 'weights'",
        ),
        (lambda r: r["stages"][0]["recipe"].update(stps=1), "no setting of a recipe is called 'stps'; did you mean"),
        (lambda r: r["stages"][0].update(after=["x"]), "follows x, which is no stage before it"),
        (lambda r: r.update(choose="first"), "choose: input should be 'last' or 'best', got 'first'"),
    ],
)
def test_a_wrong_entry_of_a_file_is_named_with_the_file(change, told, tmp_path):
    record = ALL["segnet_camvid"].to_record()
    change(record)
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(record))
    with pytest.raises((UnknownName, BadOption), match=re.escape(told)) as raised:
        PublishedRecipe.load(tmp_path / "mine.yaml")
    assert str(tmp_path / "mine.yaml") in str(raised.value)


def test_a_file_that_is_no_recipe_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="no recipe at"):
        PublishedRecipe.load(tmp_path / "none.yaml")
    (tmp_path / "plan.yaml").write_text("recipe: {}\n")
    with pytest.raises(CheckpointError, match="it has no stages"):
        PublishedRecipe.load(tmp_path / "plan.yaml")


def test_the_list_is_that_of_the_package():
    assert pw.list_recipes() == list_recipes() == list(ALL)
    with pytest.raises(UnknownName, match="did you mean 'segnet_basic_camvid'"):
        published_recipe("segnet_basic_camvit")


def test_the_page_of_the_recipes_is_that_of_the_table():
    place = importlib.util.spec_from_file_location("recipes_table", ROOT / "docs" / "generate" / "recipes_table.py")
    script = importlib.util.module_from_spec(place)
    place.loader.exec_module(script)
    stored = (ROOT / "docs" / "reference" / "recipes.md").read_text(encoding="utf-8")
    assert stored == script.page(), "run `python docs/generate/recipes_table.py`"
