"""A run folder written as one page.

The page shows what there is. A run that was interrupted early has a plan and a log but no scores; each part that is
missing is replaced by a sentence that says why.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from PIL import Image

from pixelwise.errors import DataError
from pixelwise.report.heat import bar_colors
from pixelwise.report.html import as_uri, count, encoded, figure, plain, render, write_page
from pixelwise.report.learning_curve import CURVE, write_curve_report
from pixelwise.report.outcome import LABELS, stage_told
from pixelwise.report.plots import line_plot
from pixelwise.report.run_folder import (
    ClassScore,
    Log,
    Picture,
    Plan,
    Result,
    Scores,
    Speed,
    Start,
    read_log,
    read_plan,
    read_recipe,
    read_record,
    read_result,
)
from pixelwise.report.thumbnails import picture_uri

MOST_CELLS = 48  # classes up to which the confusion matrix is a table; above it is a picture
MOST_LISTED = 12  # notes, faults and sizes shown before "and n more"

PLAN_ORDER = (
    *("model", "model_options", "stages", "start", "budget", "validation", "steps"),
    *("crop_size", "batch_size", "optimizer", "rate", "loss", "class_weights"),
)
EXAMPLES = {  # kinds of pictures with a comparison, in the order of the page
    "worst": "Where it fails most",
    "unsure": "Where it is least sure",
    "best": "Where it works best",
}


def write_report(run: Path) -> Path:
    """Write RUN/report.html from what is in the run folder, and return its path.

    Args:
        run: a folder with at least one of plan.yaml, log.jsonl and result.json, as `fit` leaves it, finished or not.

    Raises:
        DataError: it is no run folder, or one of its files cannot be read; the old report, if any, is left alone.
    """
    run = Path(run)
    if not run.is_dir():
        found = "a file" if run.exists() else "not there"
        raise DataError(f"a run folder is expected, but {run} is {found}; pass the folder that fit wrote")
    if (run / CURVE).is_file():
        return write_curve_report(run)
    if not any((run / name).is_file() for name in ("plan.yaml", "recipe.yaml", "log.jsonl", "result.json")):
        raise DataError(f"{run} holds none of plan.yaml, log.jsonl and result.json; pass the folder that fit wrote")
    plan = read_plan(run / "plan.yaml") or read_recipe(run / "recipe.yaml")
    stages = _stages(run, plan)
    current = next((stage for stage in reversed(stages) if stage.began), None)
    home = run if current is None else current.folder
    page = _render(
        run,
        plan,
        read_log(home / "log.jsonl"),
        read_result(run / "result.json"),
        start=read_record(Start, home / "start.json"),
        stages=stages,
        current=current,
    )
    path = run / "report.html"
    write_page(page, path)
    return path


@dataclass(frozen=True)
class StageRow:
    """A network of a staged run, with its steps, outcome and scores as far as it got."""

    name: str
    folder: Path
    told: str
    began: bool
    steps: int
    best: float | None
    outcome: str
    split: str | None
    mean_iou: float | None


def _stages(run: Path, plan: Plan | None) -> list[StageRow]:
    """The networks of a staged run in order."""
    if plan is None or not plan.stages:
        return []
    places = [(name, run / "stages" / name) for name in plan.stages] + [(str(plan.recipe.get("model", "")), run)]
    listed = []
    for number, (name, folder) in enumerate(places, 1):
        log = read_log(folder / "log.jsonl")
        result = read_record(Result, folder / "result.json") or Result()
        own = log.last > 0 and result.stage is None and not _older(result, log)  # not that of a stage before
        scores = result.scores if own else None
        best = _best_validation(log)
        listed.append(
            StageRow(
                name,
                folder,
                stage_told(name, number, len(places)),
                log.last > 0,
                log.last,
                best[1] if best else None,
                LABELS.get(result.outcome or "", "Begun") if scores is not None else "Begun" if log.last else "Not yet",
                scores.split if scores else None,
                scores.mean_iou if scores else None,
            )
        )
    return listed


def _older(result: Result, log: Log) -> bool:
    """Whether training has gone on since the result was written."""
    return result.steps is not None and log.last > result.steps


def _render(
    run: Path,
    plan: Plan | None,
    log: Log,
    result: Result | None,
    *,
    start: Start | None = None,
    stages: Sequence[StageRow] = (),
    current: StageRow | None = None,
) -> str:
    result = result or Result()
    measured = result.stage.model if result.stage else current.name if current else ""
    stale = _older(result, log) or (result.stage is not None and current is not None and current.name != measured)
    scores = result.scores
    best = _best_validation(log)
    by_picture = _by_picture(log, plan, scores)
    reached = (scores.picture_accuracy if by_picture else scores.mean_iou) if scores else None
    outcome = "interrupted" if stale else result.outcome or str((log.end or {}).get("reason", "interrupted"))
    return render(
        "page.html",
        run=str(run),
        name=result.name or run.resolve().name,
        result=result,
        scores=scores,
        outcome=outcome,
        outcome_label=LABELS.get(outcome, outcome),
        outcome_text=_stale_text(result, log, current) if stale else result.outcome_text or _outcome_text(log, current),
        stale=stale,
        best=best,
        reached=reached,
        headline=reached if reached is not None else (best[1] if best else None),
        by_picture=by_picture,
        window=_window(plan),
        unit="pictures" if by_picture else "pixels",
        extremes=_extremes(scores, by_picture),
        data=result.data,
        data_pictures=[(p.name, uri) for p in result.pictures if p.kind == "data" if (uri := picture_uri(run, p.file))],
        right=sum(row[i] for i, row in enumerate(scores.confusion)) if scores and scores.confusion else None,
        comparisons=[_comparison(run, p) for p in result.pictures if p.kind in EXAMPLES],
        examples=EXAMPLES,
        heat_bar=_heat_bar(),
        plan=plan,
        plan_rows=_plan_rows(plan),
        start=start,
        stages=stages,
        current=current,
        plots=_plots(log, best),
        crf=None if stale else result.crf,
        crf_planned=plan is not None and plan.crf_pictures > 0,
        resumed=len(log.resumed),
        matrix=_matrix(scores),
        speed=result.speed,
        phases=_phases(result.speed),
        commands=_commands(result.commands),
        first_commands=_first_commands(result, outcome),
        most_listed=MOST_LISTED,
    )


def _best_validation(log: Log) -> tuple[int, float] | None:
    """The step with the highest validation score, and that; of equals the surer one, then the earliest."""
    known = [(step, value) for step, value in log.curve("validations", _followed(log)) if math.isfinite(value)]
    if not known:
        return None
    sure = {step: value for step, value in log.curve("validations", "mean_probability") if math.isfinite(value)}
    step, value = max(known, key=lambda point: (point[1], sure.get(point[0], 0.0), -point[0]))
    return int(step), value


def _followed(log: Log) -> str:
    """The score by which the run was followed."""
    by_picture = any("mean_picture_accuracy" in record for record in log.validations.values())
    return "mean_picture_accuracy" if by_picture else "mean_iou"


def _by_picture(log: Log, plan: Plan | None, scores: Scores | None) -> bool:
    """Whether folders told the classes, so that pictures are counted, and no pixels."""
    if scores is not None:
        return scores.counted == "pictures"
    planned = plan is not None and isinstance(plan.data, dict) and plan.data.get("labels_from") == "folders"
    return planned or _followed(log) == "mean_picture_accuracy"


def _outcome_text(log: Log, current: StageRow | None) -> str:
    of = f" of {current.told}" if current else ""
    if log.end is None:
        return (
            f"The run stopped without saying why, after step {count(log.last)}{of}."
            if log.last
            else "The run has not come to its first step."
        )
    return f"The run ended at step {count(log.last)}{of}."


def _stale_text(result: Result, log: Log, current: StageRow | None) -> str:
    """That training has gone on since the scores were measured."""
    of = f" of {current.told}" if current else ""
    then = f" of {result.stage.model}" if result.stage else ""
    return (
        f"These scores and pictures are old: they were measured at step {count(result.steps)}{then}, and training has "
        f"gone on to step {count(log.last)}{of}, without a new evaluation. The model file may be newer than they are; "
        "--resume goes on and measures again."
    )


def _window(plan: Plan | None) -> str:
    """The classifier's window in pixels of the pictures, "320 × 320"; nothing where there is none.

    >>> _window(Plan(recipe={"model_options": {"input_size": [128, 160], "shrink": 2}}))
    '256 × 320'
    """
    options = plan.recipe.get("model_options") if plan is not None else None
    size = options.get("input_size") if isinstance(options, dict) else None
    sides = [size, size] if isinstance(size, int) else size
    shrink = options.get("shrink", 1) if isinstance(options, dict) else 1
    if not isinstance(sides, list) or not isinstance(shrink, int) or not all(isinstance(side, int) for side in sides):
        return ""
    return " × ".join(str(side * shrink) for side in sides)


def _extremes(scores: Scores | None, by_picture: bool) -> list[tuple[ClassScore, float]]:
    """The classes with the lowest and the highest IoU, or recall of pictures, where these differ."""
    found = [(entry, entry.recall if by_picture else entry.iou) for entry in (scores.per_class if scores else [])]
    known = [(entry, value) for entry, value in found if value is not None]
    lowest, highest = (pick(known, key=lambda one: one[1], default=None) for pick in (min, max))
    return [lowest, highest] if lowest and highest and lowest[1] < highest[1] else []


def _heat_bar() -> str:
    """The heat maps' colors from probability 0 to 1, as a CSS gradient."""
    colors = ", ".join(f"rgb({r} {g} {b})" for r, g, b in bar_colors(np.linspace(0, 1, 17)).tolist())
    return f"linear-gradient(90deg, {colors})"


def _comparison(run: Path, picture: Picture) -> dict[str, Any]:
    titles = {"image": "Picture", "target": "Your mask", "prediction": "Prediction", "errors": "Where they differ"}
    if picture.taken_for is not None:
        titles = {"image": "Picture", "map": f"Where it sees {picture.taken_for}"}
        if picture.taken_for != picture.own_class:
            titles["own_map"] = f"Where it sees {picture.own_class}"
    panels = [(key, title, picture_uri(run, getattr(picture, key))) for key, title in titles.items()]
    shown = [panel for panel in panels if panel[2]]
    about: dict[str, Any] = {"own_class": picture.own_class, "taken_for": picture.taken_for}
    about |= {"probability": picture.probability, "own_probability": picture.own_probability}
    score = {"kind": picture.kind, "name": picture.name, "mean_iou": picture.mean_iou}
    return score | about | {"panels": shown, "missing": len(shown) < len(titles)}


def _plan_rows(plan: Plan | None) -> dict[str, list[tuple[str, str, str]]]:
    """(key, value, reason): first what was decided for a reason, then the rest of the recipe."""
    if plan is None:
        return {"chosen": [], "rest": []}
    known: dict[str, Any] = dict(plan.recipe)
    known["budget"] = "none" if plan.budget_minutes is None else f"{plan.budget_minutes:g} minutes"
    if plan.stages:
        known["stages"] = len(plan.stages) + 1
    known["crf"] = f"{count(plan.crf_pictures)} pictures" if plan.crf_pictures else None
    if plan.split:
        known["validation"] = ", ".join(f"{count(len(names))} {split}" for split, names in plan.split.items() if names)
    keys = sorted(plan.reasons, key=lambda key: PLAN_ORDER.index(key) if key in PLAN_ORDER else len(PLAN_ORDER))
    chosen = [(plain(key), plan_value(known.get(key), key), plan.reasons[key]) for key in keys]
    rest = [(plain(key), plan_value(value, key), "") for key, value in plan.recipe.items() if key not in plan.reasons]
    return {"chosen": chosen, "rest": rest}


def _plots(log: Log, best: tuple[int, float] | None) -> list[tuple[str, str, Markup]]:
    """(title, explanation, SVG) of each curve that has a point."""
    last = log.last
    followed = "Validation mean IoU" if _followed(log) == "mean_iou" else "Validation accuracy by picture"
    shared: dict[str, Any] = {"end_step": float(last), "resumed": log.resumed}
    curves = [
        (
            followed,
            "Higher is better. The ring marks the model that was kept.",
            line_plot(
                followed,
                log.curve("validations", _followed(log)),
                color="var(--accent)",
                values=lambda v: f"{v:.3f}" if round(v, 2) != round(v, 4) else f"{v:.2f}",
                dots=True,
                marked=(float(best[0]), best[1]) if best else None,
                ceiling=1.0,
                **shared,
            ),
        ),
        (
            "Training loss",
            "Lower is better. Faint: each measurement; strong: their running mean.",
            line_plot(
                "Training loss",
                log.curve("steps", "loss"),
                color="var(--warm)",
                values=figure,
                smooth=True,
                floor=0.0,
                **shared,
            ),
        ),
        (
            "Learning rate",
            "How far each step may move the weights.",
            line_plot(
                "Learning rate", log.curve("steps", "rate"), color="var(--cool)", values=figure, floor=0.0, **shared
            ),
        ),
    ]
    return [(title, text, svg) for title, text, svg in curves if svg is not None]


def _matrix(scores: Scores | None) -> dict[str, Any] | None:
    """The confusion matrix by rows, each divided by its sum, and its largest confusions."""
    if scores is None or not scores.confusion:
        return None
    wide = len(scores.per_class)
    shares = [[value / max(sum(row), 1) for value in row] for row in scores.confusion]
    beside = [(v, i, j) for i, row in enumerate(scores.confusion) for j, v in enumerate(row) if i != j and v]
    mistakes = [
        {"truth": scores.per_class[i], "prediction": scores.per_class[j], "share": shares[i][j], "pixels": pixels}
        for pixels, i, j in sorted(beside, reverse=True)[:5]
    ]
    return {
        "classes": scores.per_class,
        "rows": [list(zip(s, row, strict=True)) for s, row in zip(shares, scores.confusion, strict=True)],
        "size": "small" if wide <= 8 else "large",
        "picture": _matrix_picture(shares) if wide > MOST_CELLS else None,
        "mistakes": mistakes,
    }


def _matrix_picture(shares: list[list[float]]) -> str:
    """A PNG with one block a cell, teal on the diagonal and red beside it, as a data URI."""
    side = len(shares)
    block = max(2, 900 // side)
    small = Image.new("RGB", (side, side))
    for i, row in enumerate(shares):
        for j, share in enumerate(row):
            full = (13, 124, 116) if i == j else (214, 69, 52)
            strength = share**0.5  # a few per cent must be visible too
            small.putpixel((j, i), tuple(round(246 + (f - 246) * strength) for f in full))
    return as_uri(encoded(small.resize((side * block, side * block), Image.Resampling.NEAREST), "PNG"), "image/png")


def _phases(speed: Speed | None) -> list[tuple[str, float, float]]:
    """(phase, seconds, share of the whole), in the order they were done."""
    seconds = speed.seconds if speed else {}
    known = [(name, value) for name, value in seconds.items() if value is not None and value >= 0]
    total = sum(value for _, value in known)
    return [(name, value, value / total) for name, value in known] if total > 0 else []


COMMAND_TITLES = {
    "predict": "Use it on new pictures",
    "resume": "Continue this run",
    "reproduce": "Train the same model again",
    "evaluate": "Measure it on other labeled pictures",
    "report": "Write this page again",
}


def _commands(commands: Mapping[str, str]) -> list[tuple[str, str]]:
    known = [key for key in COMMAND_TITLES if commands.get(key)]
    rest = [key for key in commands if key not in COMMAND_TITLES and commands[key]]
    return [(COMMAND_TITLES.get(key, plain(key).capitalize()), commands[key]) for key in [*known, *rest]]


def _first_commands(result: Result, outcome: str) -> list[tuple[str, str]]:
    """What most people want to do next: predict; of an interrupted run first to continue it."""
    keys = ("resume", "predict") if outcome == "interrupted" else ("predict",)
    return [(COMMAND_TITLES[key], result.commands[key]) for key in keys if result.commands.get(key)]


def plan_value(value: object, key: str = "") -> str:
    """A value of the plan as a person writes it.

    >>> plan_value([192, 256], "crop_size"), plan_value({"width": 0.5}), plan_value(None), plan_value(True)
    ('192 × 256', 'width 0.5', 'none', 'yes')
    """
    if value is None or value == {} or value == []:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return figure(value)
    if isinstance(value, int):
        return count(value) if abs(value) >= 10_000 and key != "seed" else str(value)
    if isinstance(value, Mapping):
        return ", ".join(f"{plain(str(k))} {plan_value(v, str(k))}" for k, v in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return (" × " if key.endswith("size") else ", ").join(plan_value(v) for v in value)
    return str(value)
