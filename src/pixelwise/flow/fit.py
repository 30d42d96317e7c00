"""Fit: a folder of pictures and masks → checked, planned, trained, evaluated, reported, and one model file."""

import json
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from pixelwise.data.answers import Answers
from pixelwise.data.archive import archive_stem, is_archive
from pixelwise.data.batch import Batches, MemoryDataset
from pixelwise.data.duplicates import groups_of
from pixelwise.data.folder import PairDataset
from pixelwise.data.layout import read_text
from pixelwise.errors import BadOption, DataError, PixelwiseError, TrainingError
from pixelwise.files import write_text
from pixelwise.flow import planner
from pixelwise.flow.doctor import Understanding, understand
from pixelwise.flow.machine import Machine, this_machine
from pixelwise.flow.plan import Plan
from pixelwise.flow.result import (
    Outcome,
    best_and_worst,
    examples,
    settle_precision,
    spread,
    summary,
    write_result,
)
from pixelwise.inference.evaluate import evaluate_network
from pixelwise.labels import LabelSet
from pixelwise.layers.normalization import Normalization
from pixelwise.metrics import Scores
from pixelwise.models import build
from pixelwise.report.page import write_report
from pixelwise.segmenter import Segmenter
from pixelwise.training.loop import Ended, StepLogged, Validated, train
from pixelwise.training.recipe import Recipe

if sys.platform != "win32":
    import fcntl

DEFAULT_MINUTES = 10.0
MODEL, PLAN, LOG, RESULT, STATE = "model.safetensors", "plan.yaml", "log.jsonl", "result.json", "state.pt"
LOCK = ".lock"


@dataclass(frozen=True)
class Started:
    """Work begins: what will be read, where the run goes, and the time it has."""

    folder: Path
    run: Path
    minutes: float | None


@dataclass(frozen=True)
class Understood:
    """The folder was read."""

    understanding: Understanding


@dataclass(frozen=True)
class Planned:
    """The plan is fixed and stored; training comes next."""

    plan: Plan
    resumed: bool


@dataclass(frozen=True)
class Progressed:
    """Something counted goes on: `done` of `total` of `what`."""

    what: str
    done: int
    total: int


FitEvent = Started | Understood | Planned | Progressed | StepLogged | Validated | Ended
Tell = Callable[[FitEvent], None]


@dataclass(frozen=True)
class FitResult:
    """What a fit leaves.

    Attributes:
        segmenter: the best network of the run.
        scores: on the pictures that `split` names: the folder's own test part, else the validation part.
        run: the run folder.
        outcome: "finished", "plateau", "budget" or "interrupted".
        report: the page, or None where only a plan was asked for.
    """

    segmenter: Segmenter | None
    scores: Scores | None
    split: str
    run: Path
    outcome: str
    report: Path | None


@dataclass
class Clock:
    """Seconds of each part of a run, and of the whole."""

    start: float = field(default_factory=time.monotonic)
    parts: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Count the block under this name."""
        began = time.monotonic()
        try:
            yield
        finally:
            self.parts[name] = self.parts.get(name, 0.0) + time.monotonic() - began

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.monotonic() - self.start


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
    tell: Tell = lambda event: None,
    started_at: float | None = None,
) -> FitResult:
    """Train a segmenter on a folder of pictures and masks.

    Args:
        out: the run folder; runs/NAME, or the next free NAME-2, NAME-3 …, if left out.
        minutes: for everything, evaluation and report included; 10 if neither this nor `steps` is given.
        steps: of training, whatever time they take; then no clock influences the result.
        seed: 0 if left out; the same data, plan and seed give the same model.
        model: a name in MODELS instead of the planner's choice.
        resume: go on with the run in `out` (or the newest of this folder) where it was stopped.
        plan_only: write plan.yaml and stop; `resume` then trains by it, edited or not.
        plan: a plan.yaml to follow instead of making one.
        settings: settings of the recipe that replace the planner's, as {"crop_size": [128, 128]}.
        read_as: answers to what the folder leaves open, as `--as` takes them (`pixelwise.data.answers`).
        classes: a file of class names instead of the one near the masks, as classes.yaml.
        tell: receives what happens, as it happens.
        started_at: `time.monotonic()` when the work began, if that was before this call.

    Raises:
        DataError: the folder is missing or has faults; nothing is trained.
        BadOption, UnknownName: an option or setting does not fit.
        TrainingError: training cannot go on; the last good state and model are kept.
    """
    folder = Path(folder)
    settings = dict(settings or {})
    clock = Clock() if started_at is None else Clock(started_at)
    seed = settings.pop("seed", seed)
    _check_options(minutes, steps, model, seed, resume, plan)
    if (resume or plan is not None) and (read_as or classes is not None):
        raise BadOption("a stored plan holds its own answers and classes; leave out --as and --classes")
    answers = Answers.of(read_as)
    follow = resume or plan is not None
    recipe = None if follow else _checked_settings(model, settings)
    run = _run_folder(folder, out, resume)
    budget = minutes if minutes is not None else None if steps or follow else DEFAULT_MINUTES
    with _alone_in(run, fresh=not resume):
        stored = _stored_plan(run, plan, settings) if follow else None
        tell(Started(folder, run, budget))
        machine = this_machine()
        with clock.part("reading"):
            if stored is not None:
                answers = Answers.of(stored.data.get("read_as", ()))
                classes = _kept_classes(stored, run if plan is None else Path(plan).parent)
            understanding = understand(
                folder,
                answers=answers,
                classes=classes,
                progress=lambda d, n: tell(Progressed("reading files", d, n)),
            )
            if understanding.errors:
                raise DataError(_faults(understanding))
            tell(Understood(understanding))
        _check_lengths(stored.recipe if stored is not None else recipe, understanding.labels)
        if stored is not None:
            made, parts = stored, _parts_of_plan(understanding, stored, machine)
        else:
            made, parts = _make_plan(
                understanding, machine, clock, budget, steps, model, seed or 0, settings, tell, folder, run
            )
        _check_crop_shares(made, parts)
        if classes is not None and not (run / _classes_copy(Path(classes))).exists():
            write_text(read_text(Path(classes)), run / _classes_copy(Path(classes)))
        tell(Planned(made, resumed=resume))
        made.save(run / PLAN)
        if plan_only:
            return FitResult(None, None, "", run, "planned", None)
        with interruptible() as interrupted:
            return _train_and_report(folder, run, understanding, made, parts, machine, clock, resume, tell, interrupted)


@dataclass(frozen=True)
class Parts:
    """The pictures of a run. `test` is None where the folder names none; `presence` (n, K) is of the training part."""

    train: MemoryDataset
    validation: MemoryDataset
    test: PairDataset | None
    presence: NDArray[np.bool_]


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


def _checked_settings(model: str | None, settings: dict[str, Any]) -> Recipe:
    """Any recipe with these settings, so that a bad one is refused before anything is read."""
    plain: dict[str, Any] = {"crop_size": [1, 1], "batch_size": 1, "steps": 1, "rate": 1.0, "validate_every": 1}
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


def _check_counted(understanding: Understanding, parts: dict[str, PairDataset | None]) -> None:
    """Refuse a part of which nothing counts, before it is trained or measured on."""
    for part, data in parts.items():
        if data is not None and not _counts(understanding, data).any():
            raise DataError(
                f"all {len(data)} masks of the {part} part are void, so that nothing of it counts; complete them, or "
                "remove the part"
            )


def _run_folder(folder: Path, out: str | Path | None, resume: bool) -> Path:
    """Where the run goes, made if it is new; never one that exists, but to resume it."""
    if out is not None:
        run = Path(out)
        if not resume:
            if run.exists() and (not run.is_dir() or any(p.name != LOCK for p in run.iterdir())):
                raise DataError(
                    f"{run} already exists and is not empty; choose another --out, or --resume to go on with it"
                )
            run.mkdir(parents=True, exist_ok=True)
        elif not (run / PLAN).exists():
            raise DataError(f"there is no run in {run} to resume: it has no {PLAN}")
        return run
    base = Path("runs")
    name = (archive_stem(folder) if is_archive(folder) else folder.resolve().name) or "run"
    candidates = (base / (name if i == 1 else f"{name}-{i}") for i in range(1, 10_000))
    if resume:
        existing = [run for run in candidates if (run / PLAN).exists()]
        if not existing:
            raise DataError(f"there is no run of {folder} under {base}/ to resume; name it with --out")
        return max(existing, key=lambda run: (run / PLAN).stat().st_mtime)
    base.mkdir(exist_ok=True)
    for run in candidates:
        try:
            run.mkdir()
        except FileExistsError:
            continue
        return run
    raise DataError(f"all names from {base / name} to {base / name}-9999 are taken; choose one with --out")


@contextmanager
def _alone_in(run: Path, *, fresh: bool = False) -> Iterator[None]:
    """Hold the run folder against other processes; the lock ends with this one, however it ends.

    A folder that got no plan is removed again, so that the corrected command can use its name.

    Args:
        fresh: the folder must hold no plan yet.
    """
    with (run / LOCK).open("a") as lock:
        if not _locked(lock, run / LOCK) or (fresh and (run / PLAN).exists()):
            raise DataError(f"another fit is at work in {run}; wait for it, or choose another --out")
        try:
            for left in run.rglob(".*.part"):
                left.unlink(missing_ok=True)  # of a process that was killed while writing
            yield
        finally:
            if run.is_dir() and {p.name for p in run.iterdir()} == {LOCK}:
                (run / LOCK).unlink()
                run.rmdir()


def _locked(lock: IO[str], path: Path) -> bool:
    """Take the lock; False where another process holds it, or has just removed the folder."""
    if sys.platform != "win32":
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:
            return True  # a file system without locks
    return path.exists() and os.path.samestat(os.fstat(lock.fileno()), path.stat())


def _stored_plan(run: Path, plan: str | Path | None, settings: dict[str, Any]) -> Plan:
    """The plan of the run, or of a file, with settings where no training has begun by it."""
    made = Plan.load(run / PLAN if plan is None else Path(plan))
    if settings:
        if (run / STATE).exists():
            raise BadOption(
                f"training in {run} has begun by its plan; start a new run to change {next(iter(settings))}"
            )
        options = settings.get("model_options")
        if isinstance(options, dict):
            settings = settings | {"model_options": made.recipe.model_options | options}
        made = _with_settings(made, settings)
    _check_model(made.recipe.model, made.recipe.model_options)
    return made


def _faults(understanding: Understanding) -> str:
    errors = understanding.errors
    more = f" (and {len(errors) - 1} more: see `pixelwise check`)" if len(errors) > 1 else ""
    return f"{errors[0]}{more}"


def _with_settings(plan: Plan, settings: dict[str, Any]) -> Plan:
    changed = ("model" if key == "model_options" else key.partition(".")[0] for key in settings)
    reasons = plan.reasons | dict.fromkeys(changed, "as you set it")
    return replace(plan, recipe=plan.recipe.with_settings(settings), reasons=reasons)


def _classes_copy(path: Path) -> str:
    """The name under which a run keeps the file of class names that was asked for."""
    return f"classes{path.suffix.lower()}"


def _kept_classes(plan: Plan, home: Path) -> Path | None:
    """The file of class names that a stored plan was made with: the run's own copy."""
    asked = plan.data.get("classes_file")
    return None if asked is None else home / _classes_copy(Path(asked))


def _datasets(understanding: Understanding) -> dict[str, PairDataset]:
    return {
        split: data.subset([i for i, pair in enumerate(data.pairs) if pair.mask is not None])
        for split, data in understanding.datasets().items()
    }


def _make_plan(
    understanding: Understanding,
    machine: Machine,
    clock: Clock,
    budget: float | None,
    steps: int | None,
    model: str | None,
    seed: int,
    settings: dict[str, Any],
    tell: Tell,
    folder: Path,
    run: Path,
) -> tuple[Plan, Parts]:
    datasets = _datasets(understanding)
    labels = understanding.labels

    def progress(what: str, done: int, total: int) -> None:
        tell(Progressed(what, done, total))

    pool = datasets.get("train") or datasets.get("all")
    if pool is None or len(pool) == 0:
        raise DataError(f"{folder} has no training pictures with masks (its splits: {', '.join(datasets) or 'none'})")
    limit = int(machine.memory_bytes * planner.MEMORY_SHARE)
    test = datasets.get("test") or None
    with clock.part("reading"):
        counts = _counts(understanding, pool)
        given = datasets.get("val")
        if given:
            inside, chosen = list(range(len(pool))), given
            reason = f"the folder's own validation part, {len(given)} pictures"
        else:
            groups = _groups(understanding, pool)
            inside, held = planner.split_validation(counts, seed, groups)
            chosen = pool.subset(held)
            reason = (
                f"{len(held)} of {len(pool)} pictures, kept from training; chosen so that every class is on both sides "
                "where that is possible"
                + (", and that pictures that look the same are on one side" if len(set(groups)) < len(pool) else "")
                if len(pool) > 1
                else "there is one picture: it trains and validates, so the scores say nothing of other pictures"
            )
        train = pool.subset(inside)
        _check_counted(understanding, {"training": train, "validation": chosen, "test": test})
        memory = MemoryDataset(train, limit_bytes=limit)
        statistics = planner.measure(memory, counts[inside], progress)
        parts = Parts(memory, MemoryDataset(chosen, limit_bytes=limit), test, statistics.presence)
        normalization = Normalization(statistics.mean, statistics.deviation, per_picture=True)
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
    )
    return made, parts


def _counts(understanding: Understanding, data: PairDataset) -> NDArray[np.int64]:
    """(n, K) pixels of each class in each picture of a data set."""
    rows = [understanding.mask_counts[pair.mask] for pair in data.pairs if pair.mask is not None]
    return np.stack(rows)


def _groups(understanding: Understanding, data: PairDataset) -> list[int]:
    """The group of pictures that look the same, for each picture of a data set."""
    pairs = understanding.pairs
    groups = groups_of(len(pairs), list(understanding.alike))
    place = {pair: int(group) for pair, group in zip(pairs, groups, strict=True)}
    return [place[pair] for pair in data.pairs]


def _parts_of_plan(understanding: Understanding, plan: Plan, machine: Machine) -> Parts:
    """The pictures that a stored plan names, from the folder as it is now."""
    if understanding.labels != plan.labels:
        raise DataError("the classes of the folder are no longer those of the plan; make a new plan with a new fit")
    datasets = _datasets(understanding)
    place = {(split, p.name): i for split, data in datasets.items() for i, p in enumerate(data.pairs)}
    limit = int(machine.memory_bytes * planner.MEMORY_SHARE)

    def find(names: tuple[str, ...], splits: tuple[str, ...], part: str) -> PairDataset | None:
        for split in splits:
            if split in datasets and all((split, name) in place for name in names):
                return datasets[split].subset([place[split, name] for name in names])
        missing = [n for n in names if not any((s, n) in place for s in splits)]
        if missing:
            raise DataError(f"{missing[0]} of the plan's {part} part is no longer in the folder; put it back")
        return None

    train = find(plan.split["train"], ("train", "all"), "training")
    validation = find(plan.split["validation"], ("val", "train", "all"), "validation")
    test = find(plan.split["test"], ("test",), "test") if plan.split["test"] else None
    if train is None or validation is None:
        raise DataError("the folder's parts are no longer those of the plan; make a new plan with a new fit")
    _check_counted(understanding, {"training": train, "validation": validation, "test": test})
    presence = _counts(understanding, train) > 0
    return Parts(MemoryDataset(train, limit_bytes=limit), MemoryDataset(validation, limit_bytes=limit), test, presence)


@contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Within the block the first Ctrl-C (or SIGTERM) is remembered instead of raised; a second one is raised.

    Training ends at the next logged step; the final evaluation and the report are short and are finished.
    """
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked.is_set
        return

    def handle(number: int, frame: Any) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _train_and_report(
    folder: Path,
    run: Path,
    understanding: Understanding,
    plan: Plan,
    parts: Parts,
    machine: Machine,
    clock: Clock,
    resume: bool,
    tell: Tell,
    interrupted: Callable[[], bool],
) -> FitResult:
    recipe = plan.recipe
    torch.manual_seed(recipe.seed)
    network = build(recipe.model, **recipe.model_options).to(machine.device)
    batches = Batches(
        parts.train,
        crop_size=recipe.crop_size,
        batch_size=recipe.batch_size,
        augmentation=recipe.augmentation,
        fill=plan.normalization.fill,
        seed=recipe.seed,
        class_crops=recipe.class_crops,
        class_shares=recipe.class_crop_shares,
        presence=parts.presence,
    )

    looked_at = parts.validation.subset(spread(len(parts.validation), plan.validate_on))

    def validate(candidate: nn.Module) -> Scores:
        return evaluate_network(
            candidate,
            plan.normalization,
            looked_at,
            precision=recipe.precision,
            rank_pictures=False,
        ).scores

    segmenter = Segmenter(
        network,
        plan.normalization,
        plan.labels,
        {"builder": recipe.model, "options": recipe.model_options},
        recipe=recipe.to_record(),
        precision=recipe.precision,
        trained_on=plan.split["train"],
    )
    outcome, speeds, step = "finished", [], 0
    with clock.part("training"), _log_file(run / LOG) as log:

        def should_stop(seconds: float) -> str | None:
            if interrupted():
                return "interrupted"
            return "budget" if plan.training_seconds is not None and seconds > plan.training_seconds else None

        _log(log, {"event": "start", "resumed": resume})
        for event in train(
            network,
            plan.normalization,
            batches,
            recipe,
            validate=validate,
            state_file=run / STATE,
            resume=resume,
            should_stop=should_stop,
        ):
            if isinstance(event, Validated):
                if event.best:
                    segmenter.network = event.network
                    segmenter.scores = {"split": "validation"} | summary(event.scores)
                    _save_model(segmenter, run / MODEL)
                _log(
                    log,
                    {
                        "event": "validation",
                        "step": event.step,
                        "mean_iou": _finite(event.scores.mean_iou),
                        "pixel_accuracy": _finite(event.scores.pixel_accuracy),
                        "best": event.best,
                        "seconds": round(event.seconds, 2),
                    },
                )
            elif isinstance(event, StepLogged):
                speeds.append(event.images_per_second)
                _log(
                    log,
                    {
                        "event": "step",
                        "step": event.step,
                        "loss": round(event.loss, 6),
                        "rate": event.rate,
                        "seconds": round(event.seconds, 2),
                        "images_per_second": round(event.images_per_second, 2),
                    },
                )
            else:
                outcome, step = event.reason, event.step
                _log(log, {"event": "end", "reason": outcome, "step": step, "seconds": round(event.seconds, 2)})
            tell(event)
    if not (run / MODEL).exists():
        raise TrainingError(f"no model was kept in {run}: no validation was reached; give the run more time or steps")
    best = Segmenter.load(run / MODEL)
    best.network.to(machine.device)
    with clock.part("evaluating"):
        # after an interruption someone is waiting: the validation part is read already
        tested = parts.test if outcome != "interrupted" else None
        split, whole = ("test", tested) if tested is not None else ("validation", parts.validation)
        data = whole.subset(spread(len(whole), plan.evaluate_on))
        settle_precision(best, parts.validation)
        evaluation = evaluate_network(
            best.network,
            best.normalization,
            data,
            precision=best.precision,
            progress=lambda done, total: tell(Progressed("evaluating", done, total)),
        )
        protocol = evaluation.protocol
        if len(data) < len(whole):
            protocol += f"; the pictures are spread evenly over the {len(whole)} of this part"
        best.scores = {"split": split, "protocol": protocol, "pictures": len(data)} | summary(evaluation.scores)
        _save_model(best, run / MODEL)
    write_result(
        run / RESULT,
        Outcome(folder, run, outcome, step, speeds, split, protocol),
        understanding,
        plan,
        best,
        evaluation,
        best_and_worst(best, evaluation, data, run) + examples(best.labels, parts.train, run),
        machine.describe(),
        clock.parts,
    )
    with clock.part("report"):
        report = write_report(run)
    return FitResult(best, evaluation.scores, split, run, outcome, report)


@contextmanager
def _log_file(path: Path) -> Iterator[IO[str]]:
    """The log to append to; a line that a kill cut short is ended first."""
    torn = path.exists() and path.stat().st_size > 0 and path.read_bytes()[-1:] != b"\n"
    with path.open("a", encoding="utf-8") as log:
        if torn:
            log.write("\n")
        yield log


def _save_model(segmenter: Segmenter, path: Path) -> None:
    try:
        segmenter.save(path)
    except OSError as error:
        raise TrainingError(
            f"the model could not be written to {path} ({error.strerror or error}); the one before it is kept: make "
            "room and run again with --resume"
        ) from error


def _log(file: IO[str], record: dict[str, Any]) -> None:
    file.write(json.dumps(record) + "\n")
    file.flush()


def _finite(value: float) -> float | None:
    return round(value, 6) if math.isfinite(value) else None
