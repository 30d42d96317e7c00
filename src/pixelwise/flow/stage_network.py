"""The network of a recipe's stage: whether it can be built and trained, and the weights that it begins with.

What does not fit is refused before the first stage begins, and nothing is allocated for that.
"""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pixelwise.backbones.vgg import VGG16
from pixelwise.errors import BadOption, PixelwiseError, unknown_name
from pixelwise.flow.events import Progressed, Tell
from pixelwise.flow.plan import Plan
from pixelwise.flow.pretrained import SECONDS
from pixelwise.flow.start import begin_from
from pixelwise.labels import LabelSet
from pixelwise.layers.normalization import Normalization
from pixelwise.models import MODELS, build
from pixelwise.models.fcn import FCN32s
from pixelwise.models.fcn_nyud import start_from_color
from pixelwise.recipes.published import Stage
from pixelwise.segmenter import Segmenter
from pixelwise.training.loop import set_training
from pixelwise.training.optimizers import make_optimizer
from pixelwise.training.recipe import Recipe
from pixelwise.weights.cache import NotHere, is_to_be_had, not_here
from pixelwise.weights.catalogue import CATALOGUE
from pixelwise.weights.opening import imported


def of_data(recipe: Recipe, labels: Mapping[str, LabelSet], channels: int) -> Recipe:
    """A stage's recipe with the network's classes and channels, which the data decides."""
    options: dict[str, Any] = {"num_classes": labels["labels"].num_classes, "in_channels": channels}
    takes = inspect.signature(MODELS[recipe.model]).parameters if recipe.model in MODELS else {}
    if "geometric_classes" in takes and "geometric" in labels:
        options["geometric_classes"] = labels["geometric"].num_classes
    return recipe.with_settings({"model_options": dict(recipe.model_options) | options})


def check_network(recipe: Recipe, labels: Mapping[str, LabelSet], channels: int) -> None:
    """Refuse a stage's recipe that does not fit its network or its classes; nothing is allocated.

    Raises:
        UnknownName, BadOption: the network, an option or a pattern of names is misspelt, or a number does not fit.
    """
    made = of_data(recipe, labels, channels)
    count = labels["labels"].num_classes
    for key in ("class_weights", "class_crop_shares"):
        values = getattr(made, key)
        if values is not None and len(values) != count:
            raise BadOption(f"{key}: the data set has {count} classes, got {len(values)} values")
    if made.crop_size is None and made.batch_size > 1:
        raise BadOption(
            f"whole pictures of their own sizes make no batch of {made.batch_size}; set batch_size=1 and "
            f"accumulate={made.batch_size}"
        )
    with torch.device("meta"):
        try:
            network: nn.Module = build(made.model, **made.model_options)
        except (TypeError, ValueError, RuntimeError) as error:
            if isinstance(error, PixelwiseError):
                raise
            raise BadOption(f"{made.model} cannot be built with {made.model_options}: {error}") from error
        set_training(network, made)
        make_optimizer(network, made)


def check_stage(stage: Stage, network: str) -> None:
    """Refuse a stage whose network cannot begin with what it asks for.

    Raises:
        BadOption: it follows too many stages, crops or has a width that do not fit.
        NotHere, UnknownName: its weights are not to be had.
    """
    towers = ("fcn32s_rgb_hha", "fcn16s_rgb_hha")
    if len(stage.after) > 1 and (len(stage.after) != 2 or network not in towers):
        raise BadOption(f"stage {stage.name} follows {len(stage.after)} stages; a network of two towers alone can")
    if stage.recipe.class_crops and stage.class_from == "set":
        raise BadOption(f"class_crops: set class_from=picture, too, for stage {stage.name}; or class_crops=0")
    if stage.after or not stage.weights:
        return
    width = stage.recipe.model_options.get("width", 1)
    if width != 1 and any(name in CATALOGUE for name in stage.weights):
        raise BadOption(
            f"model_options.width: {stage.weights[0]} fits networks of width 1, got {width}; add --no-pretrained to "
            "start from random weights"
        )
    _found(stage.weights)


def _found(names: Sequence[str]) -> str:
    """The first of some weights that can be had.

    Raises:
        NotHere: none can; says which file to bring for the first.
        UnknownName: one is neither a file nor in the catalogue.
    """
    faults = []
    for name in names:
        if Path(name).is_file():
            return name
        if name not in CATALOGUE:
            raise unknown_name("model file or published weights", name, CATALOGUE)
        why = is_to_be_had(CATALOGUE[name], SECONDS)
        if not why:
            return name
        faults.append(not_here(CATALOGUE[name], why))
    raise NotHere(f"{faults[0]}; or start from random weights with --no-pretrained")


def published_file(names: Sequence[str], tell: Tell) -> tuple[str, Path]:
    """What the weights are called, and a model file with them."""
    name = _found(names)
    if name not in CATALOGUE:
        return name, Path(name)

    def progress(done: int, total: int) -> None:
        tell(Progressed("downloading", done, total))

    return name, imported(name, progress=progress)


def begin_from_color(network: FCN32s, source: Segmenter, plan: Plan, name: str) -> str:
    """Color's weights for color, and their mean for depth (`start_from_color`)."""
    options = dict(plan.recipe.model_options) | {"in_channels": 3}
    color = build("fcn32s_vgg16", **options)
    levels = replace(plan.normalization, mean=plan.normalization.mean[:3], deviation=plan.normalization.deviation[:3])
    recipe = plan.recipe.with_settings({"model": "fcn32s_vgg16", "model_options": options})
    begun = begin_from(color, source, replace(plan, recipe=recipe, normalization=levels), name)
    assert isinstance(color, FCN32s) and isinstance(color.backbone, VGG16)
    start_from_color(network, color.backbone)
    return f"{begun}; depth has the mean of the color channels' first weights"


def as_plan(recipe: Recipe, labels: LabelSet, normalization: Normalization) -> Plan:
    """As much of a plan as the start of a network asks for."""
    return Plan(recipe, {}, {}, labels, normalization, validate_on=1, evaluate_on=1)
