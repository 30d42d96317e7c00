"""Fit: a folder of pictures and masks → checked, planned, trained, evaluated, reported, and one model file."""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pixelwise.data.answers import Answers
from pixelwise.data.layout import read_text
from pixelwise.errors import BadOption, DataError, PixelwiseError
from pixelwise.files import write_text
from pixelwise.flow import class_folders, planner
from pixelwise.flow.class_folders import (
    check_crop_size,
    checked_classifier,
    choose_window,
    split_by_class,
    window_size,
)
from pixelwise.flow.crf_trial import check_asked
from pixelwise.flow.doctor import understand
from pixelwise.flow.events import Planned, Progressed, Started, Tell, Understood
from pixelwise.flow.machine import Machine, this_machine
from pixelwise.flow.parts import (
    Parts,
    check_counted,
    datasets_of,
    in_memory,
    look_alikes,
    parts_of_plan,
    pictures_of,
    pixel_counts,
)
from pixelwise.flow.plan import Plan
from pixelwise.flow.pretrained import LEAST_VIEWS, find_trunk, too_slow, with_trunk
from pixelwise.flow.run import PLAN, STATE, Clock, alone_in, interruptible, run_folder
from pixelwise.flow.staged import DEFAULT as STAGED_MODEL
from pixelwise.flow.staged import FOLDER as STAGES
from pixelwise.flow.staged import check_staged, in_stages, stage_runs
from pixelwise.flow.start import (
    START,
    adopted,
    adopted_by_classifier,
    begin_from,
    keep_start,
    load_start,
    network_of,
    seen_before,
    with_start_options,
)
from pixelwise.flow.train import FitResult as FitResult
from pixelwise.flow.train import train_stages
from pixelwise.flow.understanding import LabelsFrom, Understanding
from pixelwise.labels import LabelSet
from pixelwise.models import build
from pixelwise.segmenter import Segmenter
from pixelwise.training.recipe import FIXED_BY_DATA, Recipe
from pixelwise.weights.opening import file_of

DEFAULT_MINUTES = 10.0


def fit(
    folder: str | Path,
    *,
    out: str | Path | None = None,
    minutes: float | None = None,
    steps: int | None = None,
    model: str | None = None,
    seed: int | None = None,
    resume: bool = False,
    plan_only: bool = False,
    plan: str | Path | None = None,
    settings: dict[str, Any] | None = None,
    read_as: Sequence[str] = (),
    classes: str | Path | None = None,
    labels: LabelsFrom = "masks",
    start: str | Path | None = None,
    staged: bool = False,
    pretrained: bool = True,
    tell: Tell = lambda event: None,
    started_at: float | None = None,
) -> FitResult:
    """Train a segmenter on a folder of pictures and masks.

    Args:
        out: the run folder; runs/NAME, or the next free NAME-2, NAME-3 …, if left out.
        minutes: for everything, evaluation and report included; 10 if neither this nor `steps` is given.
        steps: of training, whatever time they take; then no clock influences the result.
        seed: 0 if left out; the same data, plan and seed give the same model.
        model: a name in MODELS instead of the planner's choice; with class folders a classifier's.
        resume: go on with the run in `out` (or the newest of this folder) where it was stopped.
        plan_only: write plan.yaml and stop; `resume` then trains by it, edited or not.
        plan: a plan.yaml to follow instead of making one.
        settings: settings of the recipe that replace the planner's, as {"crop_size": [128, 128]}; also
            "crf_pictures", the validation pictures on which a dense CRF is tried after training, 0 for none.
        read_as: answers to what the folder leaves open, as `--as` takes them (`pixelwise.data.answers`).
        classes: a file of class names instead of the one near the masks, as classes.yaml.
        labels: "folders" where there are no masks, but a folder of pictures for each class: then a classifier is
            trained and made convolutional, and its maps are coarse.
        start: a model file whose weights the network begins with, as far as layers and class names fit, or a name in
            the catalogue; its network and options are taken, too, where no others are asked for.
        staged: train FCN-32s, FCN-16s and FCN-8s one after the other, each from the last, or the stages that lead to
            `model` (`pixelwise.flow.staged`).
        pretrained: without `start`, begin a network with published ImageNet weights of its trunk, where there are any
            and they are in the cache or can be downloaded (`pixelwise.flow.pretrained`).
        tell: receives what happens, as it happens.
        started_at: `time.monotonic()` when the work began, if that was before this call.

    Raises:
        DataError: the folder is missing or has faults; nothing is trained.
        BadOption, UnknownName: an option or setting does not fit.
        CheckpointError, WeightsError: `start` is no model file, or nothing of it fits.
        TrainingError: training cannot go on; the last good state and model are kept.
    """
    folder = Path(folder)
    settings = _nested(settings or {})
    clock = Clock() if started_at is None else Clock(started_at)
    seed = settings.pop("seed", seed)
    crf_pictures = settings.pop("crf_pictures", None)
    if crf_pictures is not None:
        check_asked(crf_pictures)
    _check_options(minutes, steps, model, seed, resume, plan)
    if (resume or plan is not None) and (read_as or classes is not None):
        raise BadOption("a stored plan holds its own answers and classes; leave out --as and --classes")
    answers = Answers.of(read_as)
    follow = resume or plan is not None
    if follow and (start is not None or staged):
        raise BadOption("a stored plan holds its own start and stages; leave out --start and --staged")
    if labels == "folders":
        _check_for_folders(staged, read_as, classes, crf_pictures)
    if start is not None:
        start = file_of(start, progress=_bytes_told(tell))
    source = None if start is None else load_start(start)
    if staged and model is None and "model" not in settings:
        model = STAGED_MODEL
    origins: dict[str, str] = {}
    if source is not None:
        model, taken = _taken_from(source, model, settings, labels)
        origins = dict.fromkeys(taken, f"as in {start}") | dict.fromkeys(_given(settings), "as you set it")
        settings = with_start_options(settings, taken)
    recipe = None if follow else _checked_settings(model, settings, labels)
    if staged and recipe is not None:
        check_staged(recipe.model, recipe.model_options, settings.get("steps", steps))
    run = run_folder(folder, out, resume)
    budget = minutes if minutes is not None else None if steps or follow else DEFAULT_MINUTES
    with alone_in(run, fresh=not resume):
        stored = _stored_plan(run, plan, settings, crf_pictures) if follow else None
        tell(Started(folder, run, budget))
        machine = this_machine()
        with clock.part("reading"):
            if stored is not None:
                answers = Answers.of(stored.data.get("read_as", ()))
                classes = _kept_classes(stored, run if plan is None else Path(plan).parent)
                labels = _kept_labels(stored, labels)
            understanding = understand(
                folder,
                answers=answers,
                classes=classes,
                labels_from=labels,
                progress=lambda d, n: tell(Progressed("reading files", d, n)),
            )
            if understanding.errors:
                raise DataError(_faults(understanding, folder))
            tell(Understood(understanding))
        _check_lengths(stored.recipe if stored is not None else recipe, understanding.labels)
        trunk, first = None, None
        if stored is not None:
            made, parts, trying = stored, parts_of_plan(understanding, stored, machine), 0.0
        else:
            plans = partial(_make_plan, understanding, machine, clock, budget, steps, model, seed or 0)
            if source is None and recipe is not None and pretrained and labels == "masks":
                with clock.part("reading"):
                    trunk = find_trunk(recipe.model, recipe.model_options, _bytes_told(tell), budget)
            if trunk is not None and trunk.file is not None:
                first = load_start(trunk.file)
                taken = {"width": first.architecture["options"].get("width", 1.0)}
                made, parts, trying = plans(
                    with_start_options(settings, taken),
                    crf_pictures,
                    origins | {"width": f"as in {trunk.name}"},
                    tell,
                    folder,
                )
                views = made.recipe.steps * made.recipe.batch_size
                if steps is None and views < LEAST_VIEWS and "width" not in _given(settings):
                    trunk = too_slow(trunk, views)
            if trunk is None or trunk.file is None:
                made, parts, trying = plans(settings, crf_pictures, origins, tell, folder)
        if staged:
            made = in_stages(made, settings, None if budget is None else budget * 60 - clock.seconds, trying)
        if source is not None:
            made = _with_start(made, source, Path(str(start)), understanding)
        elif trunk is not None and trunk.file is not None and first is not None:
            start = trunk.file
            made = with_trunk(_with_start(made, first, Path(trunk.name), understanding), trunk)
        elif trunk is not None:
            made = with_trunk(made, trunk)
        elif plan is not None and made.start is not None:
            start = Path(plan).parent / made.start
            made = replace(made, start=START, data=made.data | {"start_file": str(start)})
        _check_crop_shares(made, parts)
        if classes is not None and not (run / _classes_copy(Path(classes))).exists():
            write_text(read_text(Path(classes)), run / _classes_copy(Path(classes)))
        if start is not None:
            keep_start(Path(start), run)
        tell(Planned(made, resumed=resume))
        made.save(run / PLAN)
        if plan_only:
            return FitResult(None, None, "", run, "planned", None)
        with interruptible() as interrupted:
            return train_stages(folder, run, understanding, made, parts, machine, clock, resume, tell, interrupted)


def _bytes_told(tell: Tell) -> Callable[[int, int], None]:
    return lambda done, total: tell(Progressed("downloading", done, total))


def _check_options(
    minutes: float | None,
    steps: int | None,
    model: str | None,
    seed: int | None,
    resume: bool,
    plan: str | Path | None,
) -> None:
    if minutes is not None and not (minutes > 0 and math.isfinite(minutes)):
        raise BadOption(f"minutes must be above 0, got {minutes}")
    if steps is not None and steps < 1:
        raise BadOption(f"steps must be at least 1, got {steps}")
    if minutes is not None and steps is not None:
        raise BadOption("give either minutes or steps, not both: one of them ends the run")
    if resume and plan is not None:
        raise BadOption("a run that is resumed follows its own plan; leave out one of resume and plan")
    if (resume or plan is not None) and any(option is not None for option in (minutes, steps, model, seed)):
        raise BadOption("a stored plan holds its own length, model and seed; leave out minutes, steps, model and seed")
    if seed is not None and (not isinstance(seed, int) or not 0 <= seed < 2**31):
        raise BadOption(f"seed must be a whole number from 0 to 2147483647, got {seed!r}")


def _check_for_folders(
    staged: bool, read_as: Sequence[str], classes: str | Path | None, crf_pictures: int | None
) -> None:
    """Refuse what makes no sense without masks."""
    if crf_pictures:
        raise BadOption("class folders have no mask that tells whether a CRF helps; leave out crf_pictures")
    if staged:
        raise BadOption("--staged trains segmenters, which need masks; with class folders leave it out")
    if read_as or classes is not None:
        raise BadOption("class folders have no masks to be read in some way; leave out --as and --classes")


def _nested(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings with each "model_options.KEY" among the "model_options".

    Raises:
        BadOption: one of these is the folder's own.
    """
    nested: dict[str, Any] = {}
    for key, value in settings.items():
        place, _, inner = key.partition(".")
        options = nested.get("model_options", {})
        if place != "model_options" or not isinstance(options, dict):
            nested[key] = value
        elif inner:
            nested[place] = options | {inner: value}
        else:
            nested[place] = options | value if isinstance(value, dict) else value
    fixed = next((key for key in FIXED_BY_DATA if key in _given(nested)), None)
    if fixed is not None:
        raise BadOption(f"model_options.{fixed} is what the folder has, its classes and channels; leave it out")
    return nested


def _given(settings: dict[str, Any]) -> dict[str, Any]:
    """The network's options among the settings; what is no mapping is refused by the recipe."""
    options = settings.get("model_options", {})
    return options if isinstance(options, dict) else {}


def _taken_from(
    source: Segmenter, model: str | None, settings: dict[str, Any], labels: LabelsFrom
) -> tuple[str | None, dict[str, Any]]:
    """The network to begin with a model file's weights: the one asked for, else the file's; and its options there."""
    builder = str(source.architecture["builder"])
    if labels == "folders":
        if builder == class_folders.BUILDER and model in (None, class_folders.BUILDER):
            model = network_of(source)
        return model, adopted_by_classifier(source, model or class_folders.CLASSIFIER)
    if model is None and "model" not in settings:
        model = builder
    return model, adopted(source, str(settings.get("model", model)))


def _checked_settings(model: str | None, settings: dict[str, Any], labels: LabelsFrom) -> Recipe:
    """Any recipe with these settings, so that a bad one is refused before anything is read."""
    plain: dict[str, Any] = {"crop_size": [1, 1], "batch_size": 1, "steps": 1, "rate": 1.0, "validate_every": 1}
    if labels == "folders":
        classifier = checked_classifier(model, settings)
        options = {"classifier": classifier, "input_size": choose_window(Counter({(64, 64): 1}), classifier).input_size}
        recipe = Recipe.from_record(plain | {"model": class_folders.BUILDER}).with_settings(settings)
        _check_model(recipe.model, {"num_classes": 2, "in_channels": 3} | options | recipe.model_options)
        if "crop_size" in settings and "input_size" in recipe.model_options:
            check_crop_size(recipe.crop_size, recipe.model_options["input_size"])
        return recipe
    recipe = Recipe.from_record(plain | {"model": model or "unet"}).with_settings(settings)
    _check_model(recipe.model, {"num_classes": 2, "in_channels": 3} | recipe.model_options)
    return recipe


def _check_model(model: str, options: dict[str, Any]) -> None:
    """Refuse a misspelt model or option; on the meta device nothing is allocated."""
    with torch.device("meta"):
        try:
            build(model, **options)
        except (TypeError, ValueError, RuntimeError) as error:
            if isinstance(error, PixelwiseError):
                raise
            raise BadOption(f"{model} cannot be built with {options}: {error}") from error


def _check_lengths(recipe: Recipe | None, labels: LabelSet) -> None:
    """Refuse class weights and shares that are not one per class."""
    for key in ("class_weights", "class_crop_shares"):
        values = getattr(recipe, key)
        if values is not None and len(values) != labels.num_classes:
            raise BadOption(f"{key} needs one value for each of the {labels.num_classes} classes, got {len(values)}")


def _check_crop_shares(plan: Plan, parts: Parts) -> None:
    """Refuse to place crops on a class that no training picture has."""
    shares = plan.recipe.class_crop_shares
    if plan.recipe.class_crops and shares is not None:
        absent = np.flatnonzero((np.asarray(shares) > 0) & ~parts.presence.any(0))
        if absent.size:
            name = plan.labels.names[absent[0]]
            raise BadOption(f"class_crop_shares draws {name}, which no training picture has; give it the share 0")


def _stored_plan(run: Path, plan: str | Path | None, settings: dict[str, Any], crf_pictures: int | None) -> Plan:
    """The plan of the run, or of a file, with settings where no training has begun by it."""
    made = Plan.load(run / PLAN if plan is None else Path(plan))
    changed = [*settings, *(["crf_pictures"] if crf_pictures is not None else [])]
    if changed:
        if (run / STATE).exists() or (run / STAGES).exists():
            raise BadOption(f"training in {run} has begun by its plan; start a new run to change {changed[0]}")
        options = _given(settings)
        if options:
            settings = settings | {"model_options": made.recipe.model_options | options}
        if "input_size" in options and "crop_size" not in settings and made.by_folder:
            _check_model(made.recipe.model, made.recipe.model_options | options)
            settings = settings | {"crop_size": window_size(options["input_size"])}
        made = _with_settings(made, settings, crf_pictures)
    for stage in stage_runs(made):
        _check_model(stage.model, stage.plan.recipe.model_options)
    if made.by_folder:
        check_crop_size(made.recipe.crop_size, made.recipe.model_options["input_size"])
    return made


def _with_start(plan: Plan, source: Segmenter, path: Path, understanding: Understanding) -> Plan:
    """The plan of a network that begins with the weights of a model file.

    Raises:
        WeightsError: nothing of it fits.
    """
    first = stage_runs(plan)[0].plan
    network = build(first.recipe.model, **first.recipe.model_options)
    begun = begin_from(network, source, first, str(path))
    part = "test" if plan.split["test"] else "validation"
    seen = seen_before(begun, part, pictures_of(understanding, plan, part))
    return replace(
        plan,
        start=START,
        reasons=plan.reasons | {"start": f"{begun}{seen}"},
        data=plan.data | {"start_file": str(path)},
    )


def _faults(understanding: Understanding, folder: Path) -> str:
    errors = understanding.errors
    more = f" (and {len(errors) - 1} more: see `{understanding.check_command(folder)}`)" if len(errors) > 1 else ""
    return f"{errors[0]}{more}"


def _with_settings(plan: Plan, settings: dict[str, Any], crf_pictures: int | None) -> Plan:
    changed = ["model" if key == "model_options" else key.partition(".")[0] for key in settings]
    if crf_pictures is not None:
        plan = replace(plan, crf_pictures=crf_pictures)
        changed.append("crf")
        if plan.crf_fault:
            raise BadOption(plan.crf_fault)
    reasons = plan.reasons | dict.fromkeys(changed, "as you set it")
    return replace(plan, recipe=plan.recipe.with_settings(settings), reasons=reasons)


def _classes_copy(path: Path) -> str:
    """The name under which a run keeps the file of class names that was asked for."""
    return f"classes{path.suffix.lower()}"


def _kept_classes(plan: Plan, home: Path) -> Path | None:
    """The file of class names that a stored plan was made with: the run's own copy."""
    asked = plan.data.get("classes_file")
    return None if asked is None else home / _classes_copy(Path(asked))


def _kept_labels(plan: Plan, asked: LabelsFrom) -> LabelsFrom:
    """What told the classes when a stored plan was made."""
    kept: LabelsFrom = "folders" if plan.by_folder else "masks"
    if asked == "folders" and kept == "masks":
        raise BadOption("the stored plan is for masks; leave out --labels folders, or make a new plan with a new fit")
    return kept


def _make_plan(
    understanding: Understanding,
    machine: Machine,
    clock: Clock,
    budget: float | None,
    steps: int | None,
    model: str | None,
    seed: int,
    settings: dict[str, Any],
    crf_pictures: int | None,
    origins: dict[str, str],
    tell: Tell,
    folder: Path,
) -> tuple[Plan, Parts, float]:
    """The plan, its pictures, and the seconds that the trial of the dense CRF takes."""
    datasets = datasets_of(understanding)
    labels = understanding.labels
    window, shrink = None, 1
    if understanding.by_folder:
        model = checked_classifier(model, settings)
        window = choose_window(understanding.sizes, model, _given(settings), origins)
        shrink = window.shrink
        check_crop_size(settings.get("crop_size", window.crop_size), window.input_size)

    def progress(what: str, done: int, total: int) -> None:
        tell(Progressed(what, done, total))

    pool = datasets.get("train") or datasets.get("all")
    if pool is None or len(pool) == 0:
        kind = "with masks " if window is None else ""
        raise DataError(f"{folder} has no training pictures {kind}(its splits: {', '.join(datasets) or 'none'})")
    limit = int(machine.memory_bytes * planner.MEMORY_SHARE)
    test = datasets.get("test") or None
    with clock.part("reading"):
        counts = pixel_counts(understanding, pool)
        given = datasets.get("val")
        if given:
            inside, chosen = list(range(len(pool))), given
            reason = f"the folder's own validation part, {len(given)} pictures"
        else:
            groups = look_alikes(understanding, pool)
            by_class = None if window is None else split_by_class(counts.argmax(1).tolist(), seed, groups)
            inside, held = by_class or planner.split_validation(counts, seed, groups)
            chosen = pool.subset(held)
            reason = (
                f"{len(held)} of {len(pool)} pictures, kept from training; chosen so that every class is on both sides "
                "where that is possible"
                + (", and that pictures that look the same are on one side" if len(set(groups)) < len(pool) else "")
                if len(pool) > 1
                else "there is one picture: it trains and validates, so the scores say nothing of other pictures"
            )
        train = pool.subset(inside)
        check_counted(understanding, {"training": train, "validation": chosen, "test": test})
        memory = in_memory(train, limit, window is not None, shrink)
        statistics = planner.measure(memory, counts[inside], progress)
        held_back = in_memory(chosen, limit, window is not None, shrink)
        parts = Parts(memory, held_back, held_back if window is None else chosen, test, statistics.presence)
        named = str(settings.get("model", model))
        normalization = planner.normalization_of(statistics, named, by_folder=window is not None)
    with clock.part("trials"):
        decision = planner.decide(
            parts.train,
            parts.validation,
            statistics,
            labels,
            normalization,
            machine=machine,
            seconds_left=(lambda: budget * 60 - clock.seconds) if budget is not None else None,
            steps=steps,
            model=model,
            seed=seed,
            settings=settings,
            num_final=len(test) if test else len(chosen),
            crf_pictures=crf_pictures,
            window=window,
            whole=chosen if window is not None else None,
            origins=origins,
            progress=progress,
        )
    reasons = {"validation": reason}
    if budget is not None and decision.training_seconds is not None:
        minutes = decision.training_seconds / 60
        reasons["budget"] = f"{budget:g} minutes for everything: {minutes:.1f} of them are for training"
    made = Plan(
        recipe=decision.recipe,
        reasons=reasons | decision.reasons,
        split={
            "train": tuple(pool.pairs[i].name for i in inside),
            "validation": tuple(pair.name for pair in chosen.pairs),
            "test": tuple(pair.name for pair in test.pairs) if test else (),
        },
        labels=labels,
        normalization=normalization,
        validate_on=decision.validate_on,
        evaluate_on=decision.evaluate_on,
        data=understanding.to_record(),
        budget_minutes=budget,
        training_seconds=decision.training_seconds,
        crf_pictures=decision.trial.pictures,
    )
    return made, parts, decision.trial.seconds
