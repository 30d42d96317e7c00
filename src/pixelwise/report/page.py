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

import numpy as np
import yaml
from markupsafe import Markup
from PIL import Image
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from pixelwise.errors import DataError
from pixelwise.report.heat import bar_colors
from pixelwise.report.html import as_uri, count, encoded, figure, plain, render, write_page
from pixelwise.report.learning_curve import CURVE, write_curve_report
from pixelwise.report.outcome import LABELS, crf_told, stage_told
from pixelwise.report.plots import Point, line_plot

FORMAT = 1  # of plan.yaml
LONGEST_SIDE = 1100  # pixels of an inlined picture: more than a page shows
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


def _none_if_not_finite(value: object) -> object:
    return None if isinstance(value, float) and not math.isfinite(value) else value


_Share = Annotated[float | None, BeforeValidator(_none_if_not_finite)]
_Byte = Annotated[int, Field(ge=0, le=255)]


class _Record(BaseModel):
    model_config = ConfigDict(extra="ignore", protected_namespaces=(), frozen=True)


_AnyRecord = TypeVar("_AnyRecord", bound=_Record)


class ClassScore(_Record):
    """One class on the validation pictures; a score is None where its denominator is empty.

    Where pictures are counted, there are `pictures`, and neither IoU nor pixels.
    """

    name: str
    color: tuple[_Byte, _Byte, _Byte] = (128, 128, 128)
    iou: _Share = None
    precision: _Share = None
    recall: _Share = None
    pixels: int = 0
    pictures: int = 0

    @property
    def number(self) -> int:
        """How many there are of it: pixels or pictures, whichever are counted."""
        return self.pixels or self.pictures


class Scores(_Record):
    """What result.json says under "scores"."""

    split: str = "validation"
    protocol: str = ""
    pictures: int | None = None
    counted: str = "pixels"
    picture_accuracy: _Share = None
    mean_picture_accuracy: _Share = None
    mean_probability: _Share = None
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
    labels_from: str = "masks"
    notes: list[str] = []
    faults: list[str] = []
    splits: dict[str, int] = {}


class Picture(_Record):
    """One entry of "pictures": kind "data" has a file; those of `EXAMPLES` four, or the picture and heat maps."""

    kind: str
    name: str = ""
    file: str | None = None
    mean_iou: _Share = None
    image: str | None = None
    target: str | None = None
    prediction: str | None = None
    errors: str | None = None
    own_class: str | None = None
    taken_for: str | None = None
    probability: _Share = None
    own_probability: _Share = None
    map: str | None = None
    own_map: str | None = None


class Speed(_Record):
    """What result.json says under "speed"."""

    training_images_per_second: _Share = None
    predict_seconds_per_megapixel: _Share = None
    peak_memory_mib: _Share = None
    machine: str | None = None
    precision: str | None = None
    seconds: dict[str, _Share] = {}


class CRFSettings(_Record):
    """The settings of a dense CRF."""

    bilateral_weight: float
    bilateral_sigma_pixels: float
    bilateral_sigma_color: float
    spatial_weight: float
    spatial_sigma_pixels: float


class CRFTried(CRFSettings):
    """One entry of "tried": settings, and their mean IoU on all pictures of the trial."""

    mean_iou: _Share = None


class CRF(_Record):
    """What result.json says under "crf": the trial of a dense CRF; where it did not end, a note alone."""

    helped: bool = False
    parameters: CRFSettings | None = None
    steps: int = 0
    pictures: int = 0
    mean_iou_without: _Share = None
    mean_iou_with: _Share = None
    interval: tuple[_Share, _Share] = (None, None)
    tried: list[CRFTried] = []
    note: str = ""
    instead: str = ""

    @property
    def told(self) -> str:
        """What was found, as the terminal says it."""
        known = (self.mean_iou_without, self.mean_iou_with, *self.interval)
        without, refined, low, high = (math.nan if value is None else value for value in known)
        return crf_told(without, refined, (low, high), self.pictures, kept=self.helped)


class InStage(_Record):
    """What result.json says under "stage": the stage that a staged run was in."""

    model: str
    number: int
    total: int


class Result(_Record):
    """result.json; every part may be missing."""

    name: str | None = None
    version: str | None = None
    outcome: str | None = None
    outcome_text: str | None = None
    steps: int | None = None
    stage: InStage | None = None
    scores: Scores | None = None
    data: Data | None = None
    pictures: list[Picture] = []
    crf: CRF | None = None
    speed: Speed | None = None
    model_file: str | None = None
    parameters: int | None = None
    commands: dict[str, str] = {}


class Layer(_Record):
    """A layer in start.json: its paths in the new network and in the one it was taken from, and what was done."""

    target: str = ""
    source: str = ""
    how: str = ""


class Start(_Record):
    """start.json: the model file that the network began with, and what became of each layer."""

    file: str
    model: str = ""
    copied: list[Layer] = []
    reshaped: list[Layer] = []
    left: list[Layer] = []
    unused: list[Layer] = []

    @property
    def counts(self) -> list[tuple[str, list[Layer]]]:
        """(what was done, layers), where there are some."""
        parts = (
            ("copied", self.copied),
            ("reshaped", self.reshaped),
            ("left at start", self.left),
            ("unused", self.unused),
        )
        return [(what, layers) for what, layers in parts if layers]


class Plan(_Record):
    """plan.yaml, as far as the page shows it."""

    format: int = FORMAT
    data: Any = None
    split: dict[str, list[str]] = {}
    budget_minutes: float | None = None
    recipe: dict[str, Any] = {}
    reasons: dict[str, str] = {}
    stages: dict[str, Any] = {}
    crf_pictures: int = 0


@dataclass
class Log:
    """log.jsonl: what was measured, over steps; where a step occurs twice the later one counts."""

    steps: dict[int, dict[str, Any]] = field(default_factory=dict)
    validations: dict[int, dict[str, Any]] = field(default_factory=dict)
    resumed: list[float] = field(default_factory=list)
    end: dict[str, Any] | None = None

    @property
    def last(self) -> int:
        """The last step that is known; 0 before the first."""
        return max([0, *self.steps, *self.validations])

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
    if (run / CURVE).is_file():
        return write_curve_report(run)
    if not any((run / name).is_file() for name in ("plan.yaml", "recipe.yaml", "log.jsonl", "result.json")):
        raise DataError(f"{run} holds none of plan.yaml, log.jsonl and result.json; pass the folder that fit wrote")
    plan = _read_plan(run / "plan.yaml") or _read_recipe(run / "recipe.yaml")
    stages = _stages(run, plan)
    current = next((stage for stage in reversed(stages) if stage.began), None)
    home = run if current is None else current.folder
    page = _render(
        run,
        plan,
        _read_log(home / "log.jsonl"),
        _checked(_read_record(Result, run / "result.json"), run / "result.json"),
        start=_read_record(Start, home / "start.json"),
        stages=stages,
        current=current,
    )
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


def _read_recipe(path: Path) -> Plan | None:
    """recipe.yaml, which `pixelwise train` leaves in place of a plan: its last stage, and the names of the others."""
    if not path.is_file():
        return None
    try:
        content = yaml.safe_load(_text(path))
        *stages, last = content["stages"]
        record = {
            "recipe": last["recipe"],
            "reasons": {"model": content["paper"], "steps": f"as in the recipe {content['name']}"},
            "stages": {stage["name"]: {} for stage in stages},
        }
    except (yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{path} is expected to be a recipe, but it cannot be read ({' '.join(str(error).split())}); restore it"
        ) from error
    return _validated(Plan, record, path)


def _read_record(kind: type[_AnyRecord], path: Path) -> _AnyRecord | None:
    """A JSON file of the run; None where it is missing."""
    if not path.is_file():
        return None
    try:
        content = json.loads(_text(path))
    except json.JSONDecodeError as error:
        raise DataError(
            f"{path} is expected to be JSON, but it cannot be read at line {error.lineno}; restore it or fit again"
        ) from error
    return _validated(kind, content, path)


def _checked(result: Result | None, path: Path) -> Result | None:
    """The result, if its confusion matrix has a row and a column for each class."""
    if result is not None and result.scores is not None:
        wide = len(result.scores.per_class)
        matrix = result.scores.confusion
        if matrix and (len(matrix) != wide or any(len(row) != wide for row in matrix)):
            lengths = ", ".join(sorted({str(len(row)) for row in matrix}))
            raise DataError(
                f"{path} has {wide} classes, so a {wide} × {wide} confusion matrix is expected, "
                f"but it has {len(matrix)} rows of {lengths}; evaluate the model again"
            )
    return result


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
        log = _read_log(folder / "log.jsonl")
        result = _read_record(Result, folder / "result.json") or Result()
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
