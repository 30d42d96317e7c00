"""The planner: from the data, the machine and the time to one recipe, with a reason for each choice.

The choices and the measurements behind them are in docs/explanation/planning.md.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from pixelwise.data.augmentation import Augmentation
from pixelwise.data.batch import Batches, MemoryDataset
from pixelwise.data.formats.finding import counted
from pixelwise.data.levels import grid_of, statistics_of
from pixelwise.data.sample import Dataset
from pixelwise.errors import TrainingError
from pixelwise.flow import class_folders
from pixelwise.flow.class_folders import Window, as_trained
from pixelwise.flow.crf_trial import Trial, plan_trial
from pixelwise.flow.machine import Machine, fast_bfloat16
from pixelwise.inference.engine import TorchEngine
from pixelwise.inference.predict import predict_image
from pixelwise.labels import LabelSet
from pixelwise.layers.normalization import Normalization
from pixelwise.models import build, takes_levels
from pixelwise.training.loop import Judge, OutOfMemory, memory_explained, train_step
from pixelwise.training.objective import objective_of
from pixelwise.training.optimizers import make_optimizer
from pixelwise.training.recipe import Precision, Recipe

Progress = Callable[[str, int, int], None]

TRIAL_STEPS = 6
TRIAL_SHARE = 0.03  # of the time, for each network
LOOKED_AT = 200  # pictures whose colors and sizes are measured
RESERVE = 6.0  # seconds for the report and the files, besides the measured evaluation
VALIDATION_SHARE = 0.08  # of the training time
EVALUATION_SHARE = 0.15  # of what is left when training is planned
VIEWS_WANTED = 6000  # crops that a network should see before a wider one pays; docs/explanation/planning.md
RARE_RATIO = 4  # the commonest class over the rarest, above which the loss is weighted
MEMORY_SHARE = 0.25  # of the machine's memory for decoded pictures
LEAST_EVERY = 5  # steps from a validation to the next where steps were asked for


@dataclass(frozen=True)
class Statistics:
    """What the planner measures on the training pictures.

    Attributes:
        counts: (n, K) pixels of each class in each picture.
        mean, deviation: per channel, 0–255.
        median_size: (height, width).
        upright: whether classes or brightness lie differently at top and bottom, over the pictures.
    """

    counts: NDArray[np.int64]
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    median_size: tuple[int, int]
    upright: bool

    @property
    def shares(self) -> NDArray[np.float64]:
        """(K,) share of each class among the counted pixels."""
        total = self.counts.sum(0)
        shares: NDArray[np.float64] = total / max(total.sum(), 1)
        return shares

    @property
    def presence(self) -> NDArray[np.bool_]:
        """(n, K) which picture has which class."""
        return self.counts > 0


def measure(dataset: Dataset, counts: NDArray[np.int64], progress: Progress) -> Statistics:
    """Look at up to 200 training pictures, evenly over the set.

    Args:
        counts: (n, K) pixels of each class in each picture, which the doctor knows.
    """
    n, k = counts.shape
    looked_at = np.unique(np.linspace(0, n - 1, min(n, LOOKED_AT)).astype(int))
    moments, sizes, profiles = [], [], []
    with ThreadPoolExecutor(2) as pool:
        for i, sample in enumerate(pool.map(dataset.__getitem__, looked_at.tolist())):
            target = sample.targets["labels"]
            sizes.append(target.shape)
            mean, deviation = statistics_of(grid_of(sample.image))
            moments.append(np.stack([mean, mean**2 + deviation**2]))
            profiles.append(_profile(sample.image, target, k))
            progress("looking at pictures", i + 1, len(looked_at))
    mean, square = np.mean(np.asarray(moments, np.float64), 0)
    deviation = np.sqrt(np.maximum(square - mean**2, 1e-6))
    height, width = (int(np.median([s[axis] for s in sizes])) for axis in (0, 1))
    return Statistics(
        counts,
        tuple(float(f"{v:.6g}") for v in mean),
        tuple(float(f"{v:.6g}") for v in deviation),
        (height, width),
        _is_upright(np.array(profiles)),
    )


def normalization_of(statistics: Statistics, model: str, *, by_folder: bool) -> Normalization:
    """Each picture's own mean and deviation; where folders tell the classes, or a network takes levels, fixed ones."""
    if takes_levels(model):
        return Normalization(statistics.mean, (1.0,) * len(statistics.mean))
    # a part of a picture must look to a classifier as it does in a whole one
    return Normalization(statistics.mean, statistics.deviation, per_picture=not by_folder)


def _profile(image: NDArray[Any], target: NDArray[Any], num_classes: int) -> NDArray[np.float64]:
    """(1 + K,): bottom half minus top half, of the brightness (in deviations) and of each class's share."""
    step = max(-(-max(target.shape) // 256), 1)
    image, target = image[::step, ::step], target[::step, ::step]
    middle = target.shape[0] // 2
    if not middle:
        return np.zeros(1 + num_classes)
    grey = image.mean(axis=2)
    top, bottom = (
        np.bincount(part.ravel(), minlength=num_classes)[:num_classes] / part.size
        for part in (target[:middle], target[middle:])
    )
    brightness = (grey[middle:].mean() - grey[:middle].mean()) / max(float(grey.std()), 1e-9)
    return np.concatenate([[brightness], bottom - top])


def _is_upright(profiles: NDArray[np.float64]) -> bool:
    """Whether some difference between bottom and top is large and steady: a mean above 0.1 and 3 standard errors."""
    if len(profiles) < 4:
        return True  # too few pictures to say: keep them as they are
    mean = np.abs(profiles.mean(0))
    error = profiles.std(0, ddof=1) / math.sqrt(len(profiles))
    limit = np.concatenate([[0.25], np.full(profiles.shape[1] - 1, 0.1)])
    return bool(((mean > limit) & (mean > 3 * error)).any())


def split_validation(
    counts: NDArray[np.int64], seed: int, groups: Sequence[int] | None = None
) -> tuple[list[int], list[int]]:
    """Indices (train, validation): about a sixth, at least 1 and at most 200.

    Of 64 random splits the one is taken that leaves most classes on both sides, then has the most similar shares.
    A single picture is both.

    Args:
        counts: (n, K) pixels of each class in each picture.
        groups: for each picture a number; pictures of one number are alike, and stay on one side. A group of more
            pictures than the smaller side may have, as the frames of a video, is cut into runs of neighbors.
    """
    n = len(counts)
    if n == 1:
        return [0], [0]
    size = min(max(round(n * 0.16), 1), 200, n - 1)
    runs = _runs(range(n) if groups is None else groups, max(size // 2, 1))
    total = counts.sum(0) / max(counts.sum(), 1)
    best: tuple[tuple[float, ...], list[int]] | None = None
    for trial in range(64):
        held = _held([runs[i] for i in np.random.default_rng((seed, 2, trial)).permutation(len(runs))], size, n)
        inside = counts[held].sum(0)
        outside = counts.sum(0) - inside
        missing = float((outside[total > 0] == 0).sum() * 2 + (inside[total > 0] == 0).sum())
        distance = float(np.abs(inside / max(inside.sum(), 1) - total).sum())
        if best is None or (missing, distance) < best[0]:
            best = (missing, distance), sorted(held)
    assert best is not None
    chosen = set(best[1])
    return [i for i in range(n) if i not in chosen], best[1]


def _runs(groups: Sequence[int], longest: int) -> list[list[int]]:
    """The pictures of each group, in order; groups of more than `longest` cut into runs."""
    members: dict[int, list[int]] = {}
    for index, group in enumerate(groups):
        members.setdefault(group, []).append(index)
    return [m[i : i + longest] for m in members.values() for i in range(0, len(m), longest)]


def _held(runs: list[list[int]], size: int, n: int) -> list[int]:
    """The first runs that make up `size` pictures, but never all `n`."""
    held: list[int] = []
    for run in runs:
        if len(held) + len(run) < n and len(held) < size:
            held += run
    return held


@dataclass(frozen=True)
class Decision:
    """What the planner decided.

    Attributes:
        reasons: one line for each choice, by the setting's name.
        training_seconds: what is left of the budget for training; None where steps were asked for.
        validate_on, evaluate_on: how many pictures each validation and the final evaluation take.
        trial: of the dense CRF.
    """

    recipe: Recipe
    reasons: dict[str, str]
    training_seconds: float | None
    validate_on: int
    evaluate_on: int
    trial: Trial


def decide(
    train: MemoryDataset,
    validation: Dataset,
    statistics: Statistics,
    labels: LabelSet,
    normalization: Normalization,
    *,
    machine: Machine,
    seconds_left: Callable[[], float] | None,
    steps: int | None,
    model: str | None,
    seed: int,
    settings: dict[str, Any],
    num_final: int,
    crf_pictures: int | None = None,
    window: Window | None = None,
    whole: Dataset | None = None,
    origins: Mapping[str, str] | None = None,
    progress: Progress = lambda what, done, total: None,
) -> Decision:
    """Choose everything.

    Args:
        seconds_left: of the budget, when asked; None with `steps`, and then nothing is timed.
        settings: overrides, by name; they are taken before anything else is chosen.
        num_final: pictures of the part that is evaluated in the end.
        crf_pictures: on how many validation pictures the dense CRF is tried, if that was asked for.
        window: of the classifier, where folders tell the classes of whole pictures; then the model is a classifier's
            name.
        whole: the validation pictures as they are in the end, where `validation` has them reduced.
        origins: where each of the settings' `model_options` is from; "as you set it" if left out.
    """
    recipe, reasons = _draft(statistics, labels, len(train), machine, steps, model, seed, settings, window)
    if takes_levels(recipe.model):
        reasons["normalization"] = f"{recipe.model} compares colors in levels: their mean is taken away, nothing more"
    network = _choose_network(
        train,
        validation,
        labels,
        normalization,
        recipe,
        machine,
        seconds_left() if seconds_left is not None else None,
        settings,
        progress,
        by_folder=window is not None,
    )
    reasons["model"] = network.reason
    recipe = recipe.with_settings({"model_options": network.options})
    trial = plan_trial(
        validation,
        labels.num_classes,
        recipe.model,
        by_folder=window is not None,
        asked=crf_pictures,
        seconds_left=seconds_left() if seconds_left is not None else None,
        prediction=network.picture or 0.0,
        threads=recipe.threads,
        progress=progress,
    )
    if seconds_left is None or network.step is None or network.picture is None:
        recipe = recipe.with_settings(_rhythm(recipe.steps, 20, 10, settings, by_steps=True))
        reasons["steps"] = "as asked"
        made = Decision(recipe, reasons, None, len(validation), num_final, trial)
    else:
        in_the_end = network.picture + trial.a_picture
        if whole is not None:
            in_the_end = _time_prediction(recipe, recipe.model_options, normalization, whole, machine)
        left = seconds_left()
        evaluate_on = _affordable(num_final, EVALUATION_SHARE * left, in_the_end)
        # the report predicts its best and worst pictures once more
        ending = (evaluate_on + min(evaluate_on, 6)) * in_the_end + trial.seconds + RESERVE
        training = max(left - ending, 5.0)
        validating = VALIDATION_SHARE * training
        validate_on = _affordable(len(validation), validating / 12, network.picture)
        rounds = int(min(max(validating / (network.picture * validate_on), 1), 25))
        if "steps" not in settings:
            training_alone = training * 0.95 - rounds * network.picture * validate_on
            recipe = recipe.with_settings({"steps": max(int(training_alone / network.step), 10)})
        log_every = max(1, round(2 / network.step))
        recipe = recipe.with_settings(_rhythm(recipe.steps, rounds, log_every, settings, by_steps="steps" in settings))
        reasons["steps"] = (
            f"a step takes {network.step:.2f} s here: {recipe.steps} steps fill the {training / 60:.1f} minutes "
            "that are left for training"
        )
        made = Decision(recipe, reasons, training, validate_on, evaluate_on, trial)
    if made.validate_on < len(validation):
        reasons["validate_on"] = (
            f"{made.validate_on} of the {len(validation)} validation pictures, evenly spread: all of them would take "
            f"more than {VALIDATION_SHARE:.0%} of the time"
        )
    if made.evaluate_on < num_final:
        reasons["evaluate_on"] = (
            f"{made.evaluate_on} of {num_final} pictures, evenly spread, for the final scores: all of them would take "
            f"more than {EVALUATION_SHARE:.0%} of the time; `pixelwise evaluate` takes all"
        )
    better = "mean IoU" if window is None else "accuracy"
    reasons["patience"] = (
        f"the run ends early after {made.recipe.patience} validations without a better {better}"
        if made.recipe.patience
        else "steps were asked for, and all are trained: the run does not end early, whatever the validations say"
    )
    reasons["crf"] = trial.reason
    planned = reasons["model"] if window is not None and "width" not in settings.get("model_options", {}) else ""
    for key in settings:
        reasons["model" if key == "model_options" else key.partition(".")[0]] = "as you set it"
    if "model_options" in settings:
        reasons["model"] = _options_told(settings["model_options"], origins or {}, planned)
    return made


def _options_told(options: Mapping[str, Any], origins: Mapping[str, str], planned: str) -> str:
    """Where a network's options are from, after why the others are as they are."""
    by_origin: dict[str, list[str]] = {}
    for key in options:
        by_origin.setdefault(origins.get(key, "as you set it"), []).append(key)
    if len(by_origin) <= 1 and not planned:
        return next(iter(by_origin), "as you set it")
    told = [f"{', '.join(keys)} {origin}" for origin, keys in by_origin.items()]
    return "; ".join([planned, *told] if planned else told)


def _affordable(count: int, seconds: float, each: float) -> int:
    """How many of `count` pictures fit into the seconds; at least one."""
    return max(min(count, int(seconds / max(each, 1e-6))), 1)


def _rhythm(
    steps: int, rounds: int, log_every: int, settings: dict[str, Any], *, by_steps: bool = False
) -> dict[str, int]:
    """When to log, to validate, and to give up; validations fall on logged steps.

    Args:
        by_steps: a person asked for so many steps: all are trained, and a few of them cost no validation.
    """
    every = max(steps // rounds, LEAST_EVERY if by_steps else 1)
    log_every = min(log_every, every)
    rhythm = {
        "validate_every": every - every % log_every,
        "log_every": log_every,
        "warmup": min(20, steps // 5 + 1),
        "patience": 0 if by_steps else max(rounds // 2, 4),
    }
    return {key: value for key, value in rhythm.items() if key not in settings}


def _draft(
    statistics: Statistics,
    labels: LabelSet,
    count: int,
    machine: Machine,
    steps: int | None,
    model: str | None,
    seed: int,
    settings: dict[str, Any],
    window: Window | None,
) -> tuple[Recipe, dict[str, str]]:
    """All that needs no clock. Bad settings are refused here, before any work."""
    height, width = statistics.median_size
    crop = _crop_size(statistics.median_size)
    batch = max(1, min(round(8 * 192 * 192 / (crop[0] * crop[1])), 16))
    precision: Precision = "bf16" if fast_bfloat16(machine) else "fp32"
    augmentation, augmentation_reason = _augmentation(statistics, count)
    class_weights, class_weights_reason = _class_weights(statistics, labels)
    record = {
        "model": model or "unet",
        "crop_size": crop,
        "batch_size": batch,
        "steps": steps or 1000,
        "optimizer": "adamw",
        "rate": 3e-3,
        "momentum": 0.9,
        "weight_decay": 1e-2,
        "schedule": "cosine",
        "loss": "cross_entropy_dice",
        "augmentation": augmentation.model_dump(mode="json"),
        "average": 0.99,
        "precision": precision,
        "validate_every": 100,
        "seed": seed,
        "threads": machine.cores,
        "class_weights": class_weights,
    }
    reasons = {
        "crop_size": (
            f"pictures are about {height} × {width}; crops of {crop[0]} × {crop[1]} show enough surroundings and many "
            "different views"
        ),
        "rate": "AdamW with a short warm-up and a cosine to zero: robust over the sets that we measured",
        "loss": "cross-entropy plus soft Dice: the second follows the IoU that is reported",
        "class_weights": class_weights_reason,
        "augmentation": augmentation_reason,
        "average": "a running mean of the weights gives steadier validations than the last ones",
        "precision": (
            "this machine computes bfloat16 in hardware, which about halves the time of a step"
            if precision == "bf16"
            else "this machine has no fast bfloat16"
        ),
    }
    if window is not None:
        options: dict[str, Any] = {"classifier": model, "input_size": window.input_size, "shrink": window.shrink}
        options = settings.get("model_options", {}) | options
        crop = window.crop_size
        augmentation, reasons["augmentation"] = class_folders.augmentation()
        reasons |= {
            "crop_size": window.reason,
            "loss": "a classifier's: a crop is one window of it, and all of that is of the picture's class",
        }
        record |= {
            "model": class_folders.BUILDER,
            "crop_size": crop,
            "batch_size": max(4, min(round(16 * 160 * 160 / (crop[0] * crop[1])), 32)),
            "loss": "cross_entropy",
            "augmentation": augmentation.model_dump(mode="json"),
        }
        settings = settings | {"model_options": options}
    return Recipe.from_record(record).with_settings(settings), reasons


def _crop_size(size: tuple[int, int]) -> tuple[int, int]:
    """Multiples of 32 up to 256 per side, no larger than the typical picture rounded up."""
    return (min(-(-size[0] // 32) * 32, 256), min(-(-size[1] // 32) * 32, 256))


def _augmentation(statistics: Statistics, count: int) -> tuple[Augmentation, str]:
    strong = Augmentation(
        flip_horizontal=True,
        flip_vertical=not statistics.upright,
        quarter_turns=not statistics.upright,
        scale=(0.8, 1.25),
        stretch=1.15,
        rotation=10.0,
        gamma=1.5,
        contrast=1.25,
        brightness=0.15,
        color=0.05,
        grey=0.1,
    )
    turned = (
        "top and bottom differ in these pictures, so they are only mirrored left to right"
        if statistics.upright
        else "top and bottom look alike in these pictures, so they are mirrored and turned freely"
    )
    few = f"{counted(count, 'picture')} {'is' if count == 1 else 'are'} not many"
    return strong, f"{turned}; size, angle, light and color vary a little, as {few}"


def _class_weights(statistics: Statistics, labels: LabelSet) -> tuple[list[float] | None, str]:
    """The cross-entropy's weights where there are many classes and some are rare; and the reason.

    The square root of the median frequency over the class's own, from ⅓ to 3; 1 for classes that do not occur.
    """
    shares = statistics.shares
    present = shares > 0
    if present.sum() < 3 or shares[present].max() < RARE_RATIO * shares[present].min():
        return None, "none: they help where there are many classes and some are rare"
    weights = np.ones(len(shares))
    weights[present] = np.clip(np.sqrt(np.median(shares[present]) / shares[present]), 1 / 3, 3)
    rare = [i for i in np.argsort(shares) if present[i] and weights[i] > 1][:3]
    listed = ", ".join(f"{labels.names[i]} {weights[i]:.2g}" for i in rare)
    return (
        [round(float(weight), 3) for weight in weights],
        f"rare classes count more in the loss ({listed}) and common ones less: the square root of the median "
        "frequency over the class's, from 1/3 to 3",
    )


@dataclass(frozen=True)
class Network:
    """The network to train: its options, why, and seconds per step and per predicted picture where timed."""

    options: dict[str, Any]
    reason: str
    step: float | None = None
    picture: float | None = None


def _choose_network(
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
            picture = _time_prediction(recipe, trained, normalization, validation, machine)
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


_WIDTHS: dict[str, list[dict[str, Any]]] = {
    "unet": [{"width": 0.5}, {"width": 0.375}, {"width": 0.25}],
    class_folders.BUILDER: [{"width": 0.5}, {"width": 0.25}],
}
_OTHER_WIDTHS: list[dict[str, Any]] = [{"width": 1.0}, {"width": 0.5}, {"width": 0.25}]


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


def _time_prediction(
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
