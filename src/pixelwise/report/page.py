"""A run folder read, and written as one page.

The page shows what there is. A run that was interrupted early has a plan and a log but no scores; each part that is
missing is replaced by a sentence that says why.
"""

import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml
from markupsafe import Markup
from PIL import Image
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from pixelwise.errors import DataError
from pixelwise.report.html import as_uri, count, encoded, figure, plain, render, write_page
from pixelwise.report.plots import Point, line_plot

FORMAT = 1  # of plan.yaml
LONGEST_SIDE = 1100  # pixels of an inlined picture: more than a page shows
MOST_CELLS = 48  # classes up to which the confusion matrix is a table; above it is a picture
MOST_LISTED = 12  # notes, faults and sizes shown before "and n more"

PLAN_ORDER = (
    *("model", "model_options", "start", "budget", "validation", "steps"),
    *("crop_size", "batch_size", "optimizer", "rate", "loss", "class_weights"),
)
OUTCOMES = {
    "finished": "Finished",
    "plateau": "Stopped early: no more progress",
    "budget": "Ended with its time budget",
    "interrupted": "Interrupted",
}


def _none_if_not_finite(value: object) -> object:
    return None if isinstance(value, float) and not math.isfinite(value) else value


_Share = Annotated[float | None, BeforeValidator(_none_if_not_finite)]
_Byte = Annotated[int, Field(ge=0, le=255)]


class _Record(BaseModel):
    model_config = ConfigDict(extra="ignore", protected_namespaces=(), frozen=True)


_AnyRecord = TypeVar("_AnyRecord", bound=_Record)


class ClassScore(_Record):
    """One class on the validation pictures; a score is None where its denominator is empty."""

    name: str
    color: tuple[_Byte, _Byte, _Byte] = (128, 128, 128)
    iou: _Share = None
    precision: _Share = None
    recall: _Share = None
    pixels: int = 0


class Scores(_Record):
    """What result.json says under "scores"."""

    split: str = "validation"
    protocol: str = ""
    pictures: int | None = None
    mean_iou: _Share = None
    pixel_accuracy: _Share = None
    mean_accuracy: _Share = None
    frequency_weighted_iou: _Share = None
    classes_left_out: int = 0
    per_class: list[ClassScore] = []
    confusion: list[list[int]] = []


class DataClass(_Record):
    """One class of the data set."""

    name: str
    color: tuple[_Byte, _Byte, _Byte] = (128, 128, 128)
    pixels: int | None = None
    share: _Share = None
    pictures: int | None = None


class Data(_Record):
    """What result.json says under "data"."""

    classes: list[DataClass] = []
    void_share: _Share = None
    sizes: list[tuple[int, int, int]] = []
    layout: str | None = None
    rule: str | None = None
    encoding: str | None = None
    channels: int | None = None
    dtype: str | None = None
    notes: list[str] = []
    faults: list[str] = []
    splits: dict[str, int] = {}


class Picture(_Record):
    """One entry of "pictures": kind "data" has a file; "best" and "worst" have four."""

    kind: str
    name: str = ""
    file: str | None = None
    mean_iou: _Share = None
    image: str | None = None
    target: str | None = None
    prediction: str | None = None
    errors: str | None = None


class Speed(_Record):
    """What result.json says under "speed"."""

    training_images_per_second: _Share = None
    predict_seconds_per_megapixel: _Share = None
    peak_memory_mib: _Share = None
    machine: str | None = None
    precision: str | None = None
    seconds: dict[str, _Share] = {}


class Result(_Record):
    """result.json; every part may be missing."""

    name: str | None = None
    version: str | None = None
    outcome: str | None = None
    outcome_text: str | None = None
    scores: Scores | None = None
    data: Data | None = None
    pictures: list[Picture] = []
    speed: Speed | None = None
    model_file: str | None = None
    parameters: int | None = None
    commands: dict[str, str] = {}


class Plan(_Record):
    """plan.yaml, as far as the page shows it."""

    format: int = FORMAT
    data: Any = None
    split: dict[str, list[str]] = {}
    budget_minutes: float | None = None
    recipe: dict[str, Any] = {}
    reasons: dict[str, str] = {}


@dataclass
class Log:
    """log.jsonl: what was measured, over steps; where a step occurs twice the later one counts."""

    steps: dict[int, dict[str, Any]] = field(default_factory=dict)
    validations: dict[int, dict[str, Any]] = field(default_factory=dict)
    resumed: list[float] = field(default_factory=list)
    end: dict[str, Any] | None = None

    def curve(self, events: str, key: str) -> list[Point]:
        """(step, value) in the order of the steps; a missing or unusual value is not-a-number."""
        records: dict[int, dict[str, Any]] = getattr(self, events)
        found = [(step, _number(record.get(key))) for step, record in sorted(records.items()) if key in record]
        return [(float(step), math.nan if value is None else value) for step, value in found]


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
    if not any((run / name).is_file() for name in ("plan.yaml", "log.jsonl", "result.json")):
        raise DataError(f"{run} holds none of plan.yaml, log.jsonl and result.json; pass the folder that fit wrote")
    page = _render(run, _read_plan(run / "plan.yaml"), _read_log(run / "log.jsonl"), _read_result(run / "result.json"))
    path = run / "report.html"
    write_page(page, path)
    return path


def _read_plan(path: Path) -> Plan | None:
    if not path.is_file():
        return None
    try:
        content = yaml.safe_load(_text(path))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f" at line {mark.line + 1}" if mark else ""
        raise DataError(
            f"{path} is expected to be YAML, but it cannot be read{place}; restore the file or fit again"
        ) from error
    plan = _validated(Plan, content, path)
    if plan.format > FORMAT:
        raise DataError(f"{path} has format {plan.format}, this pixelwise reads up to {FORMAT}; update pixelwise")
    return plan


def _read_result(path: Path) -> Result | None:
    if not path.is_file():
        return None
    try:
        content = json.loads(_text(path))
    except json.JSONDecodeError as error:
        raise DataError(
            f"{path} is expected to be JSON, but it cannot be read at line {error.lineno}; restore it or fit again"
        ) from error
    result = _validated(Result, content, path)
    if result.scores is not None:
        wide = len(result.scores.per_class)
        matrix = result.scores.confusion
        if matrix and (len(matrix) != wide or any(len(row) != wide for row in matrix)):
            lengths = ", ".join(sorted({str(len(row)) for row in matrix}))
            raise DataError(
                f"{path} has {wide} classes, so a {wide} × {wide} confusion matrix is expected, "
                f"but it has {len(matrix)} rows of {lengths}; evaluate the model again"
            )
    return result


def _read_log(path: Path) -> Log:
    log = Log()
    if not path.is_file():
        return log
    started = pending = False
    for line in _text(path).splitlines():
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            continue  # a run that is killed leaves half a line
        if not isinstance(record, dict):
            continue
        event, step = record.get("event"), record.get("step")
        if event == "start":
            pending, started, log.end = started, True, None
        elif event == "end":
            log.end = record
        elif event in ("step", "validation") and isinstance(step, int):
            for series in (log.steps, log.validations):  # what came after this step before a resume did not last
                for later in [known for known in series if known > step]:
                    del series[later]
            if pending:
                log.resumed.append(float(max([0, *log.steps, *log.validations])))
                pending = False
            (log.steps if event == "step" else log.validations)[step] = record
    return log


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} is expected to be text in UTF-8, but byte {error.start} is not; restore the file or fit again"
        ) from error
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}; allow reading it") from error


def _validated(kind: type[_AnyRecord], content: object, path: Path) -> _AnyRecord:
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the whole file"
        found = repr(first["input"])
        found = found if len(found) < 60 else f"{found[:57]}…"
        message = f"{first['msg'][0].lower()}{first['msg'][1:]}"
        raise DataError(f"{path}, {place}: {message}, got {found}; restore the file or fit again") from error


def _render(run: Path, plan: Plan | None, log: Log, result: Result | None) -> str:
    result = result or Result()
    scores = result.scores
    best = _best_validation(log)
    outcome = result.outcome or str((log.end or {}).get("reason", "interrupted"))
    return render(
        "page.html",
        run=str(run),
        name=result.name or run.resolve().name,
        result=result,
        scores=scores,
        outcome=outcome,
        outcome_label=OUTCOMES.get(outcome, outcome),
        outcome_text=result.outcome_text or _outcome_text(log),
        best=best,
        mean_iou=scores.mean_iou if scores and scores.mean_iou is not None else (best[1] if best else None),
        extremes=_extremes(scores),
        data=result.data,
        data_pictures=[(p.name, uri) for p in result.pictures if p.kind == "data" if (uri := picture_uri(run, p.file))],
        comparisons=[_comparison(run, p) for p in result.pictures if p.kind in ("best", "worst")],
        plan=plan,
        plan_rows=_plan_rows(plan),
        plots=_plots(log, plan, best),
        resumed=len(log.resumed),
        matrix=_matrix(scores),
        speed=result.speed,
        phases=_phases(result.speed),
        commands=_commands(result.commands),
        first_command=_first_command(result, outcome),
        most_listed=MOST_LISTED,
    )


def _best_validation(log: Log) -> tuple[int, float] | None:
    """The step with the highest validation mean IoU, and that; the earliest of equals."""
    known = [(step, value) for step, value in log.curve("validations", "mean_iou") if math.isfinite(value)]
    if not known:
        return None
    step, value = max(known, key=lambda point: (point[1], -point[0]))
    return int(step), value


def _outcome_text(log: Log) -> str:
    done = max([0, *log.steps, *log.validations])
    if log.end is None:
        return (
            f"The run stopped without saying why, after step {count(done)}."
            if done
            else "The run has not come to its first step."
        )
    return f"The run ended at step {count(done)}."


def _extremes(scores: Scores | None) -> tuple[ClassScore, ClassScore] | None:
    """The classes with the lowest and the highest IoU, where there are two."""
    known = [entry for entry in (scores.per_class if scores else []) if entry.iou is not None]
    if len(known) < 2:
        return None
    return min(known, key=lambda entry: entry.iou or 0), max(known, key=lambda entry: entry.iou or 0)


def _comparison(run: Path, picture: Picture) -> dict[str, Any]:
    titles = {"image": "Picture", "target": "Your mask", "prediction": "Prediction", "errors": "Where they differ"}
    panels = [(key, title, picture_uri(run, getattr(picture, key))) for key, title in titles.items()]
    shown = [panel for panel in panels if panel[2]]
    return {"kind": picture.kind, "name": picture.name, "mean_iou": picture.mean_iou, "panels": shown}


def _plan_rows(plan: Plan | None) -> dict[str, list[tuple[str, str, str]]]:
    """(key, value, reason): first what was decided for a reason, then the rest of the recipe."""
    if plan is None:
        return {"chosen": [], "rest": []}
    known: dict[str, Any] = dict(plan.recipe)
    known["budget"] = "none" if plan.budget_minutes is None else f"{plan.budget_minutes:g} minutes"
    if plan.split:
        known["validation"] = ", ".join(f"{count(len(names))} {split}" for split, names in plan.split.items() if names)
    keys = sorted(plan.reasons, key=lambda key: PLAN_ORDER.index(key) if key in PLAN_ORDER else len(PLAN_ORDER))
    chosen = [(plain(key), plan_value(known.get(key), key), plan.reasons[key]) for key in keys]
    rest = [(plain(key), plan_value(value, key), "") for key, value in plan.recipe.items() if key not in plan.reasons]
    return {"chosen": chosen, "rest": rest}


def _plots(log: Log, plan: Plan | None, best: tuple[int, float] | None) -> list[tuple[str, str, Markup]]:
    """(title, explanation, SVG) of each curve that has a point."""
    last = max([0, *log.steps, *log.validations])
    shared: dict[str, Any] = {"end_step": float(last), "resumed": log.resumed}
    curves = [
        (
            "Validation mean IoU",
            "Higher is better. The ring marks the model that was kept.",
            line_plot(
                "Validation mean IoU",
                log.curve("validations", "mean_iou"),
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


def _first_command(result: Result, outcome: str) -> tuple[str, str] | None:
    """What most people want to do next: continue an interrupted run, otherwise predict."""
    order = ("resume", "predict") if outcome == "interrupted" else ("predict", "resume")
    return next(((COMMAND_TITLES[key], result.commands[key]) for key in order if result.commands.get(key)), None)


def picture_uri(run: Path, name: str | None) -> str | None:
    """A picture of the run folder as a data URI; None where it is missing, unreadable or outside the folder.

    Pictures longer than LONGEST_SIDE are reduced: masks (PNG) by nearest, so that no color is invented.
    """
    if not name:
        return None
    path = run / name
    try:
        if not path.resolve().is_relative_to(run.resolve()):
            return None
        content = path.read_bytes()
        with Image.open(io.BytesIO(content)) as image:
            kind = image.format or ""
            if kind not in ("PNG", "JPEG", "WEBP", "GIF"):
                return None
            if max(image.size) > LONGEST_SIDE:
                ratio = LONGEST_SIDE / max(image.size)
                size = (max(1, round(image.width * ratio)), max(1, round(image.height * ratio)))
                exact = kind == "PNG"
                reduced = image.resize(size, Image.Resampling.NEAREST if exact else Image.Resampling.LANCZOS)
                content = encoded(reduced, kind)
            else:
                image.verify()
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    return as_uri(content, f"image/{kind.lower()}")


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


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
