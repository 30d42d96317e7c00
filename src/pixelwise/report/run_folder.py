"""What a run folder holds – plan, log, scores, start – read, and checked as far as the page relies on it."""

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from pixelwise.errors import DataError
from pixelwise.report.outcome import crf_told
from pixelwise.report.plots import Point

FORMAT = 1  # of plan.yaml


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


def read_plan(path: Path) -> Plan | None:
    """plan.yaml; None where it is missing.

    Raises:
        DataError: it cannot be read, or is of a newer pixelwise.
    """
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


def read_recipe(path: Path) -> Plan | None:
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


def read_record(kind: type[_AnyRecord], path: Path) -> _AnyRecord | None:
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


def read_result(path: Path) -> Result | None:
    """result.json; None where it is missing.

    Raises:
        DataError: it cannot be read, or its confusion matrix has not a row and a column for each class.
    """
    result = read_record(Result, path)
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


def read_log(path: Path) -> Log:
    """log.jsonl, without lines that are not whole; empty where it is missing."""
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


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
