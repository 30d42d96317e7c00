"""The planner: from the data, the machine and the time to one recipe, with a reason for each choice.

The choices and the measurements behind them are in docs/explanation/planning.md.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixelwise.data.augmentation import Augmentation
from pixelwise.data.batch import MemoryDataset
from pixelwise.data.formats.finding import counted
from pixelwise.data.levels import grid_of, statistics_of
from pixelwise.data.sample import Dataset
from pixelwise.flow import class_folders
from pixelwise.flow.class_folders import Window
from pixelwise.flow.crf_trial import Trial, plan_trial
from pixelwise.flow.machine import Machine, fast_bfloat16
from pixelwise.flow.network_choice import Progress, choose_network, time_prediction
from pixelwise.flow.subsets import runs_of
from pixelwise.labels import LabelSet
from pixelwise.layers.normalization import Normalization
from pixelwise.models import takes_levels
from pixelwise.training.recipe import Precision, Recipe

LOOKED_AT = 200  # pictures whose colors and sizes are measured
RESERVE = 6.0  # seconds for the report and the files, besides the measured evaluation
VALIDATION_SHARE = 0.08  # of the training time
EVALUATION_SHARE = 0.15  # of what is left when training is planned
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
    runs = runs_of(range(n) if groups is None else groups, max(size // 2, 1))
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
    network = choose_network(
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
            in_the_end = time_prediction(recipe, recipe.model_options, normalization, whole, machine)
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
