"""How wide a network the time allows: each width is trained for a few steps, until one would see enough crops."""

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from pixelwise.data.batch import Batches, MemoryDataset
from pixelwise.data.sample import Dataset
from pixelwise.errors import TrainingError
from pixelwise.flow import class_folders
from pixelwise.flow.class_folders import as_trained
from pixelwise.flow.machine import Machine
from pixelwise.inference.engine import TorchEngine
from pixelwise.inference.predict import predict_image
from pixelwise.labels import LabelSet
from pixelwise.layers.normalization import Normalization
from pixelwise.models import build
from pixelwise.training.loop import Judge, OutOfMemory, memory_explained, train_step
from pixelwise.training.objective import objective_of
from pixelwise.training.optimizers import make_optimizer
from pixelwise.training.recipe import Recipe

Progress = Callable[[str, int, int], None]
TRIAL_STEPS = 6
TRIAL_SHARE = 0.03  # of the time, for each network
VIEWS_WANTED = 6000  # crops that a network should see before a wider one pays; docs/explanation/planning.md


_WIDTHS: dict[str, list[dict[str, Any]]] = {
    "unet": [{"width": 0.5}, {"width": 0.375}, {"width": 0.25}],
    class_folders.BUILDER: [{"width": 0.5}, {"width": 0.25}],
}

_OTHER_WIDTHS: list[dict[str, Any]] = [{"width": 1.0}, {"width": 0.5}, {"width": 0.25}]


@dataclass(frozen=True)
class Network:
    """The network to train: its options, why, and seconds per step and per predicted picture where timed."""

    options: dict[str, Any]
    reason: str
    step: float | None = None
    picture: float | None = None


def choose_network(
    train: MemoryDataset,
    validation: Dataset,
    labels: LabelSet,
    normalization: Normalization,
    recipe: Recipe,
    machine: Machine,
    seconds_left: float | None,
    settings: dict[str, Any],
    progress: Progress,
    *,
    by_folder: bool,
) -> Network:
    """The largest network that sees enough crops in the time; the usual one where there is no time to end in.

    Args:
        seconds_left: to train in; None where steps were asked for.
        settings: as they were set by hand.
        by_folder: the recipe is a classifier's, of class folders.

    Raises:
        TrainingError: none fits in memory.
    """
    base = {"num_classes": labels.num_classes, "in_channels": normalization.channels}
    given = {key: value for key, value in recipe.model_options.items() if key not in base}
    candidates = [given] if given or "model_options" in settings else _WIDTHS.get(recipe.model, _OTHER_WIDTHS)
    if recipe.model == class_folders.BUILDER and "width" not in given:
        candidates = [given | options for options in _WIDTHS[recipe.model]]
    if seconds_left is None:
        options = candidates[min(1, len(candidates) - 1)]
        return Network(base | options, f"{_title(recipe.model, options)}: the usual one where steps are asked for")
    shown = []
    for number, options in enumerate(candidates):
        progress("timing networks", number, len(candidates))
        seconds = time_step(
            train,
            normalization,
            recipe,
            as_trained(base | options, by_folder=by_folder),
            machine,
            limit=TRIAL_SHARE * seconds_left,
        )
        if seconds is None:
            shown.append(f"{_title(recipe.model, options)} does not fit in memory")
            continue
        shown.append(f"{_title(recipe.model, options)} {seconds:.2f} s")
        views = 0.85 * seconds_left / seconds * recipe.batch_size
        if views >= VIEWS_WANTED or options is candidates[-1]:
            trained = as_trained(base | options, by_folder=by_folder)
            picture = time_prediction(recipe, trained, normalization, validation, machine)
            progress("timing networks", len(candidates), len(candidates))
            why = (
                f"the largest that sees {VIEWS_WANTED} crops in the time"
                if views >= VIEWS_WANTED
                else f"the smallest, since the time is enough for {views:.0f} crops only"
            )
            reason = f"{_title(recipe.model, options)}, {why} (a step takes: {', '.join(shown)})"
            return Network(base | options, reason, seconds, picture)
    raise TrainingError(
        f"{'; '.join(shown)}: run again with --set batch_size=1 or a smaller crop, --set crop_size=[128,128]"
    )


def _title(model: str, options: dict[str, Any]) -> str:
    if model == "unet" and "width" in options:
        return f"U-Net with {round(64 * options['width'])} channels at the top"
    model = options.get("classifier", model)
    return f"{model} at width {options['width']}" if "width" in options else model


def time_step(
    train: MemoryDataset,
    normalization: Normalization,
    recipe: Recipe,
    options: dict[str, Any],
    machine: Machine,
    *,
    limit: float,
) -> float | None:
    """The mean seconds of a few training steps, after one or two that warm up; None where memory runs out.

    Args:
        limit: seconds after which no further step is begun, once there is one to count.
    """
    torch.set_num_threads(recipe.threads)
    batches = Batches(
        train,
        crop_size=recipe.crop_size,
        batch_size=recipe.batch_size,
        augmentation=recipe.augmentation,
        fill=normalization.fill,
        seed=recipe.seed,
    )
    trial = recipe.with_settings({"model_options": options})
    torch.manual_seed(recipe.seed)
    network = _on(machine, build(recipe.model, **options))
    network.train()
    optimizer = make_optimizer(network, trial)
    judge = Judge(network, objective_of(trial))
    times: list[float] = []
    try:
        with closing(batches.starting_at(0)) as stream:  # prepared beside the steps, as in training
            for k in range(2 + TRIAL_STEPS):
                if k > 1 and sum(times) > limit:
                    break
                start = time.perf_counter()
                with memory_explained(recipe, k):
                    train_step(judge, normalization, optimizer, [next(stream)], trial, k, batches.voids)
                times.append(time.perf_counter() - start)
    except OutOfMemory:
        return None
    return float(np.mean(times[2:] or times[1:]))


def time_prediction(
    recipe: Recipe, options: dict[str, Any], normalization: Normalization, validation: Dataset, machine: Machine
) -> float:
    """Seconds to read and predict a validation picture, after a small one that warms up."""
    engine = TorchEngine(_on(machine, build(recipe.model, **options)).eval(), recipe.precision)
    times: list[float] = []
    for index in np.unique([0, len(validation) // 2]).tolist():
        start = time.perf_counter()
        image = validation[index].image
        if not times:
            predict_image(engine, normalization, image[:64, :64])
            start = time.perf_counter()
        predict_image(engine, normalization, image)
        times.append(time.perf_counter() - start)
        if times[0] > 2:
            break
    return float(np.mean(times))


def _on(machine: Machine, network: nn.Module) -> nn.Module:
    """The network on the machine's device, as training and prediction lay it out."""
    network.to(machine.device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # not in torch's stubs
    return network
