"""The planner: from the data, the machine and the time to one recipe, with a reason for each choice.

The choices and the measurements behind them are in docs/explanation/planning.md.
"""

import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from pixelwise.data.augment import Augmentation
from pixelwise.data.batch import Batches, MemoryDataset
from pixelwise.data.sample import Dataset
from pixelwise.errors import DataError, TrainingError
from pixelwise.flow.machine import Machine, fast_bfloat16
from pixelwise.inference.predict import predict_image
from pixelwise.labels import LabelSet
from pixelwise.layers.normalization import Normalization
from pixelwise.models import build
from pixelwise.training.loop import train_step
from pixelwise.training.losses import loss_named
from pixelwise.training.optimizers import make_optimizer
from pixelwise.training.recipe import Precision, Recipe

Progress = Callable[[str, int, int], None]

TRIAL_STEPS = 6
RESERVE = 6.0  # seconds for the report and the files, besides the measured evaluation
VALIDATION_SHARE = 0.08  # of the training time
MEMORY_SHARE = 0.25  # of the machine's memory for decoded pictures


@dataclass(frozen=True)
class Statistics:
    """What the planner measures on the training pictures.

    Attributes:
        counts: (n, K) pixels of each class in each picture.
        void: share of void pixels, 0–1.
        mean, deviation: per channel, 0–255.
        median_size: (height, width).
        upright: whether classes or brightness lie differently at top and bottom, over the pictures.
    """

    counts: NDArray[np.int64]
    void: float
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

    def of(self, indices: Sequence[int]) -> "Statistics":
        """The same with the counts of some of the pictures alone."""
        return replace(self, counts=self.counts[list(indices)])


def measure(dataset: Dataset, labels: LabelSet, progress: Progress) -> Statistics:
    """Read every training picture once; those that fit stay in memory."""
    n, k = len(dataset), labels.num_classes
    counts = np.zeros((n, k), np.int64)
    void = pixels = 0
    sums: list[NDArray[np.float64]] = []
    sizes = []
    profiles: list[NDArray[np.float64]] = []
    with ThreadPoolExecutor(2) as pool:
        for i, sample in enumerate(pool.map(dataset.__getitem__, range(n))):
            target = sample.targets["labels"]
            histogram = np.bincount(target.ravel(), minlength=k)
            counts[i] = histogram[:k]
            void += int(target.size - counts[i].sum())
            pixels += target.size
            sizes.append(target.shape)
            if i % max(n // 200, 1) == 0:
                step = max(target.shape[0] // 256, 1)
                sums.append(_moments(sample.image[::step, ::step]))
                profiles.append(_profile(sample.image, target, k))
            progress("reading pictures", i + 1, n)
    moments = np.mean(sums, 0)
    deviation = np.sqrt(np.maximum(moments[1] - moments[0] ** 2, 1.0))
    height, width = (int(np.median([s[axis] for s in sizes])) for axis in (0, 1))
    return Statistics(
        counts,
        void / max(pixels, 1),
        tuple(round(float(v), 3) for v in moments[0]),
        tuple(round(float(v), 3) for v in deviation),
        (height, width),
        _is_upright(np.array(profiles)),
    )


def _moments(image: NDArray[Any]) -> NDArray[np.float64]:
    """(2, C): mean and mean square per channel, on the scale 0–255."""
    scale = {"uint8": 1.0, "uint16": 255 / 65_535}.get(image.dtype.name, 255.0)
    values = image.reshape(-1, image.shape[2]).astype(np.float64) * scale
    return np.stack([values.mean(0), (values**2).mean(0)])


def _profile(image: NDArray[Any], target: NDArray[Any], num_classes: int) -> NDArray[np.float64]:
    """(1 + K,): bottom half minus top half, of the brightness (in deviations) and of each class's share."""
    middle = target.shape[0] // 2
    grey = image.mean(axis=2)
    spread = max(float(grey.std()), 1e-9)
    values = [float(grey[middle:].mean() - grey[:middle].mean()) / spread if middle else 0.0]
    values += [
        float((target[middle:] == c).mean() - (target[:middle] == c).mean()) if middle else 0.0
        for c in range(num_classes)
    ]
    return np.array(values)


def _is_upright(profiles: NDArray[np.float64]) -> bool:
    """Whether some difference between bottom and top is large and steady: a mean above 0.1 and 3 standard errors."""
    if len(profiles) < 4:
        return True  # too few pictures to say: keep them as they are
    mean = np.abs(profiles.mean(0))
    error = profiles.std(0, ddof=1) / math.sqrt(len(profiles))
    limit = np.concatenate([[0.25], np.full(profiles.shape[1] - 1, 0.1)])
    return bool(((mean > limit) & (mean > 3 * error)).any())


def split_validation(counts: NDArray[np.int64], seed: int) -> tuple[list[int], list[int]]:
    """Indices (train, validation): about a sixth, at least 1 and at most 200.

    Of 64 random splits the one is taken that leaves most classes on both sides, then has the most similar shares.
    A single picture is both.
    """
    n = len(counts)
    if n == 1:
        return [0], [0]
    size = min(max(round(n * 0.16), 1), 200, n - 1)
    total = counts.sum(0) / max(counts.sum(), 1)
    best: tuple[tuple[float, ...], list[int]] | None = None
    for trial in range(64):
        order = np.random.default_rng((seed, 2, trial)).permutation(n)
        inside, outside = counts[order[:size]].sum(0), counts[order[size:]].sum(0)
        missing = float((outside[total > 0] == 0).sum() * 2 + (inside[total > 0] == 0).sum())
        distance = float(np.abs(inside / max(inside.sum(), 1) - total).sum())
        if best is None or (missing, distance) < best[0]:
            best = (missing, distance), sorted(int(i) for i in order[:size])
    assert best is not None
    chosen = set(best[1])
    return [i for i in range(n) if i not in chosen], best[1]


@dataclass(frozen=True)
class Trial:
    """Seconds per training step of a network, or none where memory ran out."""

    options: dict[str, Any]
    seconds: float | None


def plan_recipe(
    train: MemoryDataset,
    validation: Dataset,
    statistics: Statistics,
    labels: LabelSet,
    normalization: Normalization,
    *,
    machine: Machine,
    seconds_left: float | None,
    steps: int | None,
    model: str | None,
    seed: int,
    settings: dict[str, Any],
    num_test_pictures: int = 0,
    progress: Progress = lambda what, done, total: None,
) -> tuple[Recipe, dict[str, str], float | None]:
    """The recipe, a reason for each of its choices, and the seconds left for training.

    Args:
        seconds_left: of the budget; None with `steps`, and then nothing is timed.
        settings: overrides, by name; they are taken before anything else is chosen.
    """
    reasons: dict[str, str] = {}
    height, width = statistics.median_size
    crop = _crop_size(statistics.median_size)
    batch = max(1, min(round(8 * 192 * 192 / (crop[0] * crop[1])), 16))
    reasons["crop_size"] = (
        f"pictures are about {height} × {width}; crops of {crop[0]} × {crop[1]} show enough surroundings and many "
        "different views"
    )
    precision: Precision = "bf16" if fast_bfloat16(machine) else "fp32"
    reasons["precision"] = (
        "this machine computes bfloat16 in hardware, which about halves the time of a step"
        if precision == "bf16"
        else "this machine has no fast bfloat16"
    )
    augmentation, reasons["augmentation"] = _augmentation(statistics, len(train))
    imbalance = _rare(statistics)
    draft: dict[str, Any] = {
        "model": model or "unet",
        "model_options": {},
        "crop_size": crop,
        "batch_size": batch,
        "steps": steps or 1000,
        "optimizer": "adamw",
        "rate": 3e-3,
        "momentum": 0.9,
        "weight_decay": 1e-2,
        "schedule": "cosine",
        "warmup": 20,
        "loss": "cross_entropy_dice",
        "augmentation": augmentation.model_dump(mode="json"),
        "average": 0.99,
        "precision": precision,
        "validate_every": 100,
        "seed": seed,
        "threads": machine.cores,
    } | imbalance
    known = Recipe.from_record(draft).with_settings(settings)  # refuses bad settings before any work
    reasons["rate"] = "AdamW with a short warm-up and a cosine to zero: robust over the sets that we measured"
    reasons["loss"] = "cross-entropy plus soft Dice: the second follows the IoU that is reported"
    if imbalance:
        rare = [labels.names[i] for i in np.argsort(statistics.shares)[:3] if 0 < statistics.shares[i] < 0.05]
        reasons["class_crops"] = (
            f"rare classes ({', '.join(rare)}) would be missing from most crops: "
            f"{imbalance['class_crops']:.0%} of the crops are placed on a class drawn evenly"
        )
    else:
        reasons["class_crops"] = "no class is rare: crops are placed anywhere"
    reasons["average"] = "a running mean of the weights scores better than the last ones"
    chosen, reason, per_step, per_picture = _choose_network(
        train, validation, statistics, labels, normalization, known, machine, seconds_left, settings, progress
    )
    reasons["model"] = reason
    record = known.with_settings({"model_options": chosen})
    training_seconds: float | None = None
    if seconds_left is not None and per_step is not None and per_picture is not None:
        evaluation = per_picture * (len(validation) + num_test_pictures)
        training_seconds = max(seconds_left - evaluation - RESERVE, 5.0)
        if steps is None and "steps" not in settings:
            validating = min(VALIDATION_SHARE * training_seconds, 25 * per_picture * len(validation))
            record = record.with_settings({"steps": max(int((training_seconds * 0.95 - validating) / per_step), 10)})
        reasons["steps"] = (
            f"a step takes {per_step:.2f} s here: {record.steps} steps fill the {training_seconds / 60:.1f} minutes "
            "that are left for training"
        )
        count = VALIDATION_SHARE * training_seconds / max(per_picture * len(validation), 1e-3)
        rounds = int(min(max(count, 3), 25))
        log_every = max(1, round(2.0 / per_step))
    else:
        reasons["steps"] = "as asked"
        rounds, log_every = 20, 10
    every = max(record.steps // rounds, 1)
    log_every = min(log_every, every)
    every -= every % log_every  # validations fall on logged steps
    timing = {"validate_every": max(every, 1), "log_every": log_every, "warmup": min(20, record.steps // 5 + 1)}
    timing["patience"] = max(rounds // 2, 4)
    reasons["patience"] = f"the run ends early after {timing['patience']} validations without a better mean IoU"
    record = record.with_settings({k: v for k, v in timing.items() if k not in settings})
    for key in settings:
        reasons[key.partition(".")[0]] = "as you set it"
    return record, reasons, training_seconds


def _crop_size(size: tuple[int, int]) -> tuple[int, int]:
    """Multiples of 32 up to 256 per side, no larger than the typical picture rounded up."""
    return (min(-(-size[0] // 32) * 32, 256), min(-(-size[1] // 32) * 32, 256))


def _augmentation(statistics: Statistics, count: int) -> tuple[Augmentation, str]:
    strong = Augmentation(
        flip_horizontal=True,
        flip_vertical=not statistics.upright,
        quarter_turns=not statistics.upright,
        scale=(0.7, 1.4),
        stretch=1.15,
        rotation=10.0,
        brightness=0.12,
        contrast=0.25,
        gamma=1.25,
        color=0.08,
    )
    turned = (
        "top and bottom differ in these pictures, so they are only mirrored left to right"
        if statistics.upright
        else "top and bottom look alike in these pictures, so they are mirrored and turned freely"
    )
    return strong, f"{turned}; size, angle, light and color vary a little, as {count} pictures are not many"


def _rare(statistics: Statistics) -> dict[str, Any]:
    """Settings of class-aware crops where a class has less than 5 % of the pixels; none otherwise."""
    shares = statistics.shares
    present = shares > 0
    if present.sum() < 2 or shares[present].min() >= 0.05:
        return {}
    drawn = np.where(present, 1.0, 0.0)
    return {"class_crops": 0.5, "class_crop_shares": tuple(float(v) for v in np.round(drawn / drawn.sum(), 6))}


def _choose_network(
    train: MemoryDataset,
    validation: Dataset,
    statistics: Statistics,
    labels: LabelSet,
    normalization: Normalization,
    recipe: Recipe,
    machine: Machine,
    seconds_left: float | None,
    settings: dict[str, Any],
    progress: Progress,
) -> tuple[dict[str, Any], str, float | None, float | None]:
    """(model options, reason, seconds per step, seconds per predicted picture) of the network to train."""
    base = {"num_classes": labels.num_classes, "in_channels": normalization.channels}
    given = {k: v for k, v in recipe.model_options.items() if k not in base}
    if given or "model_options" in settings:
        widths: Sequence[dict[str, Any]] = [given]
    elif recipe.model == "unet":
        widths = [{"width": 0.5}, {"width": 0.375}, {"width": 0.25}]
    else:
        widths = [{"width": 1.0}, {"width": 0.5}, {"width": 0.25}]
    if seconds_left is None:
        options = widths[-1] if recipe.model != "unet" else widths[len(widths) // 2]
        return base | options, f"{_title(recipe.model, options)}: the standard choice where steps are given", None, None
    shown = []
    for number, options in enumerate(widths):
        progress("timing networks", number, len(widths))
        trial = time_step(train, normalization, labels, recipe, base | options, machine)
        if trial.seconds is None:
            shown.append(f"{_title(recipe.model, options)} does not fit in memory")
            continue
        views = 0.85 * seconds_left / trial.seconds * recipe.batch_size
        shown.append(f"{_title(recipe.model, options)} {trial.seconds:.2f} s")
        enough = _views_wanted(len(train), statistics, recipe)
        if views >= enough or options is widths[-1]:
            network = build(recipe.model, **(base | options))
            per_picture = _time_prediction(network, normalization, validation, recipe, machine)
            progress("timing networks", len(widths), len(widths))
            reason = (
                f"{_title(recipe.model, options)}: the largest that sees at least {enough:.0f} crops in the time "
                f"(a step takes: {', '.join(shown)})"
            )
            return base | options, reason, trial.seconds, per_picture
    raise TrainingError(f"{'; '.join(shown)}: run again with --set batch_size=1 or a smaller --set crop_size=[128,128]")


def _views_wanted(count: int, statistics: Statistics, recipe: Recipe) -> float:
    """How many crops a network should see before a wider one pays."""
    return 6000.0


def _title(model: str, options: dict[str, Any]) -> str:
    if model == "unet" and "width" in options:
        return f"U-Net with {round(64 * options['width'])} channels at the top"
    return f"{model} at width {options['width']}" if "width" in options else model


def time_step(
    train: MemoryDataset,
    normalization: Normalization,
    labels: LabelSet,
    recipe: Recipe,
    options: dict[str, Any],
    machine: Machine,
) -> Trial:
    """The mean time of a few training steps, after two that warm up."""
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
    network = build(recipe.model, **options).to(machine.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    network.train()
    optimizer = make_optimizer(network, trial)
    loss = loss_named(trial.loss, void=labels.void)
    times = []
    try:
        with closing(batches.starting_at(0)) as stream:  # prepared beside the steps, as in training
            for k in range(2 + TRIAL_STEPS):
                start = time.perf_counter()
                train_step(network, normalization, optimizer, next(stream), trial, loss, k, labels.void)
                times.append(time.perf_counter() - start)
    except TrainingError as error:
        if "memory" in str(error):
            return Trial(options, None)
        raise
    return Trial(options, float(np.mean(times[2:])))


def _time_prediction(
    network: nn.Module, normalization: Normalization, validation: Dataset, recipe: Recipe, machine: Machine
) -> float:
    """Seconds to read and predict a validation picture."""
    network.to(machine.device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    times = []
    for index in range(min(len(validation), 3)):
        start = time.perf_counter()
        sample = validation[index]
        predict_image(network, normalization, sample.image, precision=recipe.precision)
        times.append(time.perf_counter() - start)
    if not times:
        raise DataError("there is no picture to validate on")
    return min(times)
