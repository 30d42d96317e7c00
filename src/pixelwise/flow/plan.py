"""Plan: what will be trained, on which pictures, and why; written to plan.yaml before the first step."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, TypeVar

import yaml

from pixelwise.errors import CheckpointError
from pixelwise.files import write_text
from pixelwise.inference.crf_search import LEAST_PICTURES
from pixelwise.labels import LabelSet
from pixelwise.layers.normalization import Normalization
from pixelwise.training.recipe import Recipe

FORMAT = 1
Entry = TypeVar("Entry")


@dataclass(frozen=True)
class Stage:
    """A network that is trained before the plan's own and gives it its weights.

    Attributes:
        model: a name in MODELS.
        settings: of the recipe, where they are not the plan's: steps, and how often to validate.
        training_seconds: at most, or None where steps were asked for.
    """

    model: str
    settings: dict[str, Any]
    training_seconds: float | None = None


@dataclass(frozen=True)
class Plan:
    """Everything that a run depends on, but the pictures themselves.

    Attributes:
        recipe: how the network is trained.
        reasons: one line for each choice, by the setting's name.
        split: {"train", "validation", "test"} → names of pictures.
        labels, normalization: what goes into the model file.
        data: what was understood of the folder, for the report.
        budget_minutes: the time that was asked for, or None where steps were.
        training_seconds: what is left of it for training, or None.
        validate_on, evaluate_on: how many pictures each validation and the final evaluation take, evenly spread.
        start: the model file whose weights the first network takes, relative to the run folder; None for a new one.
        stages: what is trained before the recipe's own network, in order (`pixelwise.flow.staged`).
        crf_pictures: how many validation pictures, evenly spread, the dense CRF is tried on after training; 0 for none.
    """

    recipe: Recipe
    reasons: dict[str, str]
    split: dict[str, tuple[str, ...]]
    labels: LabelSet
    normalization: Normalization
    validate_on: int
    evaluate_on: int
    data: dict[str, Any] = field(default_factory=dict)
    budget_minutes: float | None = None
    training_seconds: float | None = None
    start: str | None = None
    stages: tuple[Stage, ...] = ()
    crf_pictures: int = 0

    def __post_init__(self) -> None:
        there = len(self.split.get("validation", ()))
        if there >= LEAST_PICTURES:
            object.__setattr__(self, "crf_pictures", min(self.crf_pictures, there))

    @property
    def crf_fault(self) -> str:
        """What is wrong with `crf_pictures`; nothing where it can be followed."""
        count, wanted = len(self.split["validation"]), self.crf_pictures
        if wanted and self.by_folder:
            return "folders told the classes, and no mask tells whether a CRF helps; set crf_pictures to 0"
        if wanted < 0 or 0 < wanted < LEAST_PICTURES:
            return f"crf_pictures is at least {LEAST_PICTURES}, or 0 to leave the dense CRF out, got {wanted}"
        if 0 < count < LEAST_PICTURES <= wanted:
            return (
                f"the CRF needs {LEAST_PICTURES} validation pictures to tell whether it helps, there are {count}; "
                "set crf_pictures to 0"
            )
        return ""

    @property
    def by_folder(self) -> bool:
        """Whether folders told the classes, of whole pictures; else masks did."""
        return bool(self.data.get("labels_from") == "folders")

    def save(self, path: Path) -> None:
        """Write plan.yaml, whole or not at all."""
        record = {
            "format": FORMAT,
            "recipe": self.recipe.to_record(),
            "reasons": self.reasons,
            "budget_minutes": self.budget_minutes,
            "training_seconds": self.training_seconds,
            "validate_on": self.validate_on,
            "evaluate_on": self.evaluate_on,
            "crf_pictures": self.crf_pictures,
            "normalization": self.normalization.to_record(),
            "labels": self.labels.to_record(),
            "split": {part: list(names) for part, names in self.split.items()},
            "data": self.data,
        }
        if self.start is not None:
            record["start"] = self.start
        if self.stages:
            record["stages"] = {
                stage.model: {"training_seconds": stage.training_seconds, "settings": stage.settings}
                for stage in self.stages
            }
        write_text(yaml.dump(record, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110), path)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a plan.yaml, edited by hand or not.

        Raises:
            CheckpointError: there is none, it is not YAML, or not a plan of this format.
            UnknownName, BadOption: a setting of the recipe is misspelt or has a wrong value.
        """
        if not path.is_file():
            raise CheckpointError(f"no plan at {path}; `pixelwise fit FOLDER --plan-only` writes one")
        try:
            record = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise CheckpointError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
        if not isinstance(record, dict) or not isinstance(record.get("recipe"), dict):
            raise CheckpointError(f"{path} is no plan of pixelwise: it has no recipe")
        if not isinstance(record.get("format"), int) or record["format"] > FORMAT:
            raise CheckpointError(
                f"{path} has format {record.get('format')!r}, this pixelwise reads up to {FORMAT}; upgrade pixelwise"
            )

        def entry(key: str, make: Callable[[Any], Entry]) -> Entry:
            if key not in record:
                raise CheckpointError(f"{path} misses the entry {key!r}; add it, or make a new plan with --plan-only")
            try:
                return make(record[key])
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                what = f"it misses {error}" if isinstance(error, KeyError) else " ".join(str(error).split())
                raise CheckpointError(
                    f"{path} has a wrong entry {key!r} ({what}); correct it, or make a new plan with --plan-only"
                ) from error

        pictures = entry("crf_pictures", _whole) if record.get("crf_pictures") is not None else 0
        reasons = entry("reasons", lambda reasons: {str(key): str(reason) for key, reason in reasons.items()})
        if not pictures and reasons.get("crf", "").startswith("tried"):
            reasons["crf"] = "not tried, as the plan says"
        plan = cls(
            recipe=Recipe.from_record(record["recipe"]),
            reasons=reasons,
            split=entry("split", lambda split: {part: _names(names) for part, names in split.items()}),
            labels=entry("labels", LabelSet.from_record),
            normalization=entry("normalization", Normalization.from_record),
            validate_on=entry("validate_on", int),
            evaluate_on=entry("evaluate_on", int),
            data=entry("data", dict),
            budget_minutes=entry("budget_minutes", _number),
            training_seconds=entry("training_seconds", _number),
            start=entry("start", str) if record.get("start") is not None else None,
            stages=entry("stages", _stages) if record.get("stages") else (),
            crf_pictures=pictures,
        )
        for part in ("train", "validation", "test"):
            if part not in plan.split or (part != "test" and not plan.split[part]):
                raise CheckpointError(f"{path} names no pictures for the {part} part; name at least one under split")
        if min(plan.validate_on, plan.evaluate_on) < 1:
            raise CheckpointError(f"{path}: validate_on and evaluate_on are numbers of pictures, at least 1")
        if plan.crf_fault:
            raise CheckpointError(f"{path}: {plan.crf_fault}")
        return plan


def _names(names: Any) -> tuple[str, ...]:
    if not isinstance(names, list):
        raise TypeError(f"expected a list of pictures, got {names!r}")
    return tuple(str(name) for name in names)


def _stages(records: Any) -> tuple[Stage, ...]:
    return tuple(
        Stage(str(model), dict(stage["settings"]), _number(stage["training_seconds"]))
        for model, stage in records.items()
    )


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"expected a whole number, got {value!r}")
    return value


def _number(value: Any) -> float | None:
    return None if value is None else float(value)


class _Dumper(yaml.SafeDumper):
    """Plain YAML with one setting a line and lists in brackets."""


_Dumper.add_representer(list, lambda dumper, value: dumper.represent_sequence(_LIST, value, flow_style=True))
_LIST = "tag:yaml.org,2002:seq"
