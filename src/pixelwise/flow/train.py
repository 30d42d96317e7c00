"""Train what a plan names, evaluate it, and leave model, result and report in the run folder."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pixelwise.data.batch import Batches
from pixelwise.data.sample import Dataset, spread
from pixelwise.errors import CheckpointError, TrainingError
from pixelwise.flow.class_folders import as_trained
from pixelwise.flow.crf_trial import is_of_trial, try_crf
from pixelwise.flow.events import CRFTried, Progressed, StageBegan, Tell, WeightsTaken
from pixelwise.flow.machine import Machine
from pixelwise.flow.parts import Parts, pictures_of
from pixelwise.flow.plan import Plan
from pixelwise.flow.result import (
    Outcome,
    adopt_result,
    best_and_worst,
    coarse_maps,
    examples,
    settle_precision,
    summary,
    write_result,
)
from pixelwise.flow.run import LOG, MODEL, PLAN, RESULT, STATE, Clock, log_file, log_line
from pixelwise.flow.staged import is_done, stage_runs
from pixelwise.flow.start import START, START_RECORD, begin_from, load_start
from pixelwise.flow.table import OF_PICTURES, OF_PIXELS, TABLE, table_file
from pixelwise.flow.understanding import Understanding
from pixelwise.inference.classify import Classification, PictureScores, classify_pictures
from pixelwise.inference.crf_search import CRFSearch
from pixelwise.inference.engine import TorchEngine
from pixelwise.inference.evaluate import Evaluation, evaluate_network
from pixelwise.inference.refine import Refinement
from pixelwise.metrics import Scores
from pixelwise.models import build
from pixelwise.report.page import write_report
from pixelwise.segmenter import Segmenter
from pixelwise.training.loop import Event, StepLogged, Validated, train


@dataclass(frozen=True)
class FitResult:
    """What a fit leaves.

    Attributes:
        segmenter: the best network of the run.
        scores: on the pictures that `split` names: the folder's own test part, else the validation part; counted by
            picture where folders told the classes.
        run: the run folder.
        outcome: "finished", "plateau", "budget" or "interrupted".
        report: the page, or None where only a plan was asked for.
        crf: what the trial of a dense CRF found, or None where there was none.
    """

    segmenter: Segmenter | None
    scores: Scores | PictureScores | None
    split: str
    run: Path
    outcome: str
    report: Path | None
    crf: CRFSearch | None = None


def train_stages(
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
    """Train what the plan names, each stage in its own folder and the last one in the run's."""
    *stages, last = stage_runs(plan)
    total = len(stages) + 1
    for number, stage in enumerate(stages, 1):
        home = run / stage.folder
        if is_done(home):
            continue
        tell(StageBegan(number, total, stage.model, stage.plan.recipe.steps))
        home.mkdir(parents=True, exist_ok=True)
        stage.plan.save(home / PLAN)
        own = Clock()
        going_on = resume and (home / LOG).exists()
        result = _train_and_report(
            folder, home, understanding, stage.plan, parts, machine, own, going_on, tell, interrupted, stage_of=run
        )
        clock.add(own)
        if result.outcome == "interrupted":
            assert result.segmenter is not None
            save_model(result.segmenter, run / MODEL)
            adopt_result(home, run, folder, number, total)
            return replace(result, run=run, report=write_report(run))
    if stages:
        tell(StageBegan(total, total, last.model, last.plan.recipe.steps))
    going_on = resume and (not stages or (run / LOG).exists())
    return _train_and_report(folder, run, understanding, last.plan, parts, machine, clock, going_on, tell, interrupted)


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
    stage_of: Path | None = None,
) -> FitResult:
    recipe = plan.recipe
    torch.manual_seed(recipe.seed)
    by_folder = understanding.by_folder
    network = build(recipe.model, **as_trained(recipe.model_options, by_folder=by_folder))
    trained_on = pictures_of(understanding, plan, "train")
    if plan.start is not None:
        kept = run / plan.start
        file = plan.data.get("start_file", plan.start) if kept.name == START else plan.start
        begun = begin_from(network, load_start(kept), plan, str(file))
        begun.save(run / START_RECORD)
        trained_on = tuple(dict.fromkeys((*trained_on, *begun.trained_on)))
        if not resume:
            tell(WeightsTaken(begun))
    network = network.to(machine.device)
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

    def validate(candidate: nn.Module) -> Scores | PictureScores:
        engine = TorchEngine(candidate, recipe.precision)
        if by_folder:
            return classify_pictures(engine, plan.normalization, looked_at).scores
        return evaluate_network(engine, plan.normalization, looked_at, rank_pictures=False).scores

    segmenter = Segmenter(
        network,
        plan.normalization,
        plan.labels,
        {"builder": recipe.model, "options": recipe.model_options},
        recipe=recipe.to_record(),
        precision=recipe.precision,
        trained_on=tuple(name for name, _ in trained_on),
        digests=tuple(digest for _, digest in trained_on),
    )
    tuned = _stored_by_hand(run / MODEL) if resume else None
    outcome, speeds, step = "finished", [], 0
    measures = OF_PICTURES if by_folder else OF_PIXELS
    with (
        clock.part("training"),
        log_file(run / LOG) as log,
        table_file(run / TABLE, recipe, resume=resume, measures=measures) as add_row,
    ):

        def should_stop(seconds: float) -> str | None:
            if interrupted():
                return "interrupted"
            return "budget" if plan.training_seconds is not None and seconds > plan.training_seconds else None

        log_line(log, {"event": "start", "resumed": resume})
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
                    save_model(segmenter, run / MODEL)
            elif isinstance(event, StepLogged):
                speeds.append(event.images_per_second)
            else:
                outcome, step = event.reason, event.step
            record = log_record(event)
            log_line(log, record)
            add_row(record)
            tell(event)
    if not (run / MODEL).exists():
        raise TrainingError(f"no model was kept in {run}: no validation was reached; give the run more time or steps")
    best = Segmenter.load(run / MODEL)
    best.network.to(machine.device)
    stays, best.refinement = _tuned_by_hand(best), None  # the trial's own is tried again
    settle_precision(best, parts.whole_validation)
    trial = None
    if tuned is not None and stays is None:
        tell(
            CRFTried(None, instead=f"the one that was stored ({tuned.origin}) is gone with its network; tune it again")
        )
    if stays is not None:
        best.refinement = stays
        trial = CRFTried(None, instead=f"the model's own stays ({stays.origin}), and none is tried")
        tell(trial)
    elif plan.crf_pictures and outcome != "interrupted":
        with clock.part("dense CRF"):
            trial = try_crf(best, parts.whole_validation, plan, tell, interrupted)
        outcome = "interrupted" if interrupted() else outcome
    with clock.part("evaluating"):
        # after an interruption someone is waiting: the validation part is read already
        tested = parts.test if outcome != "interrupted" else None
        split, whole = ("test", tested) if tested is not None else ("validation", parts.whole_validation)
        data = whole.subset(spread(len(whole), plan.evaluate_on))
        measure: Callable[..., Evaluation | Classification] = (
            classify_pictures if by_folder else partial(evaluate_network, refinement=best.refinement)
        )
        evaluation = measure(
            best.engine(),
            best.normalization,
            data,
            progress=lambda done, total: tell(Progressed("evaluating", done, total)),
        )
        protocol = evaluation.protocol
        if len(data) < len(whole):
            protocol += f"; the pictures are spread evenly over the {len(whole)} of this part"
        best.scores = {"split": split, "protocol": protocol, "pictures": len(data)} | summary(evaluation.scores)
        save_model(best, run / MODEL)
    write_result(
        run / RESULT,
        Outcome(folder, run, outcome, step, speeds, split, protocol, stage_of),
        understanding,
        plan,
        best,
        evaluation,
        _pictures(best, evaluation, data, run) + examples(best.labels, parts.train, run, by_folder=by_folder),
        machine.describe(),
        clock.parts,
        trial,
    )
    with clock.part("report"):
        report = write_report(run)
    return FitResult(best, evaluation.scores, split, run, outcome, report, None if trial is None else trial.search)


def _tuned_by_hand(segmenter: Segmenter) -> Refinement | None:
    """The CRF that `pixelwise tune-crf` stored, if there is one."""
    return None if segmenter.refinement is None or is_of_trial(segmenter.refinement) else segmenter.refinement


def _stored_by_hand(path: Path) -> Refinement | None:
    """The same of a file; of one that is not there, or broken, so that training writes it anew, none."""
    try:
        return _tuned_by_hand(Segmenter.load(path))
    except CheckpointError:
        return None


def log_record(event: Event) -> dict[str, Any]:
    """What the log keeps of an event of training."""
    seconds = round(event.seconds, 2)
    if isinstance(event, Validated):
        about = {"event": "validation", "step": event.step}
        return about | _measured(event.scores) | {"best": event.best, "seconds": seconds}
    if isinstance(event, StepLogged):
        return {
            "event": "step",
            "step": event.step,
            "loss": round(event.loss, 6),
            "rate": event.rate,
            "seconds": seconds,
            "images_per_second": round(event.images_per_second, 2),
        }
    return {"event": "end", "reason": event.reason, "step": event.step, "seconds": seconds}


def save_model(segmenter: Segmenter, path: Path) -> None:
    """Write a model of a run, whole or not at all.

    Raises:
        TrainingError: the disk is full or cannot be written; the model before stays.
    """
    try:
        segmenter.save(path)
    except OSError as error:
        raise TrainingError(
            f"the model could not be written to {path} ({error.strerror or error}); the one before it is kept: make "
            "room and run again with --resume"
        ) from error


def _pictures(
    best: Segmenter, evaluation: Evaluation | Classification, data: Dataset, run: Path
) -> list[dict[str, Any]]:
    if isinstance(evaluation, Classification):
        return coarse_maps(best, evaluation, data, run)
    return best_and_worst(best, evaluation, data, run)


def _measured(scores: Scores | PictureScores) -> dict[str, float | None]:
    """What the log keeps of a validation."""
    if isinstance(scores, PictureScores):
        return {
            "mean_picture_accuracy": _finite(scores.mean_accuracy),
            "picture_accuracy": _finite(scores.accuracy),
            "mean_probability": _finite(scores.mean_probability),
        }
    return {"mean_iou": _finite(scores.mean_iou), "pixel_accuracy": _finite(scores.pixel_accuracy)}


def _finite(value: float) -> float | None:
    return round(value, 6) if math.isfinite(value) else None
