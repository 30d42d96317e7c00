"""Recipes: validated, frozen, and with errors that name the setting."""

import math

import pytest

from pixelwise.errors import BadOption, UnknownName
from pixelwise.training.optimizers import rate_at
from pixelwise.training.recipe import Recipe

RECORD = {
    "model": "unet",
    "crop_size": [64, 96],
    "batch_size": 2,
    "steps": 100,
    "rate": 0.01,
    "validate_every": 10,
}


def test_a_recipe_survives_its_record():
    recipe = Recipe.from_record(RECORD | {"augmentation": {"scale": [0.5, 2.0]}, "class_weights": [1, 2]})
    assert Recipe.from_record(recipe.to_record()) == recipe


def test_a_misspelt_setting_gets_the_nearest_name():
    with pytest.raises(UnknownName, match="no setting of a recipe is called 'batchsize'; did you mean 'batch_size'"):
        Recipe.from_record(RECORD | {"batchsize": 3})
    with pytest.raises(UnknownName, match="no setting of the augmentation is called 'flips'"):
        Recipe.from_record(RECORD).with_settings({"augmentation.flips": True})
    with pytest.raises(UnknownName, match="no setting of a recipe is called 'rate.x'"):
        Recipe.from_record(RECORD).with_settings({"rate.x": 1})


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("rate", 0, r"rate: input should be greater than 0, got 0"),
        ("optimizer", "lamb", r"optimizer: input should be 'adamw' or 'sgd', got 'lamb'"),
        ("batch_size", "many", r"batch_size: .*valid integer.*, got 'many'"),
        ("crop_size", [0, 5], r"crop_size: must be at least 1 × 1, got \[0, 5\]"),
        ("rate", math.inf, r"rate: .*finite number, got inf"),
        ("seed", 2**31, r"seed: .*less than 2147483648"),
        ("class_weights", [-1, 2], r"class_weights: values must be 0 or more.*got \[-1, 2\]"),
        ("class_crop_shares", [0, 0], r"class_crop_shares: .*one of them above 0, got \[0, 0\]"),
        ("augmentation", 5, r"augmentation: .*got 5"),
        ("augmentation.scale", [2, 1], r"augmentation: scale is a low and a high factor above 0, got \(2\.0, 1\.0\)$"),
        ("model_options", 5, r"model_options: .*valid dictionary, got 5"),
    ],
)
def test_a_wrong_value_is_named(setting, value, message):
    with pytest.raises(BadOption, match=message):
        Recipe.from_record(RECORD).with_settings({setting: value})


def test_settings_are_not_changed_by_a_setting_inside_of_them():
    options = {"width": 0.5}
    made = Recipe.from_record(RECORD).with_settings({"model_options": options, "model_options.depth": 3})
    assert made.model_options == {"width": 0.5, "depth": 3}
    assert options == {"width": 0.5}


def test_schedules_are_their_formulas():
    cosine = Recipe.from_record(RECORD | {"warmup": 4})
    assert [rate_at(cosine, s) for s in range(4)] == pytest.approx([0.0025, 0.005, 0.0075, 0.01])
    assert rate_at(cosine, 52) == pytest.approx(0.01 * (1 + math.cos(math.pi / 2)) / 2)
    assert rate_at(cosine, 100) == pytest.approx(0)
    poly = Recipe.from_record(RECORD | {"schedule": "poly"})
    assert rate_at(poly, 30) == pytest.approx(0.01 * 0.7**0.9)
