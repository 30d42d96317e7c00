"""PublishedRecipe: a paper's training as a record: data, normalization, stages, and the score it should reach.

The record is what `pixelwise train NAME --show` prints, what RUN/recipe.yaml holds, and what an edited file is read
into. Nothing here imports torch.
"""

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from pixelwise.errors import BadOption, CheckpointError, UnknownName, unknown_name
from pixelwise.files import write_text
from pixelwise.training.recipe import FIXED_BY_DATA, Rate, Recipe

if TYPE_CHECKING:
    from pixelwise.layers.normalization import Normalization

FORMAT = 1
BIASES = Rate(parameters="*.bias", rate=2, decay=0)  # Caffe's usual lr_mult 1 and 2, decay_mult 1 and 0


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Data(_Record):
    """Pictures: a split of a named data set.

    Attributes:
        dataset: a name in DATASETS, with options as NAME,key=value.
        split: its name there.
        without: a data set and a split of it, whose pictures are left out, by name.
    """

    dataset: str
    split: str
    without: tuple[str, str] | None = None

    def __str__(self) -> str:
        """As a person reads it."""
        less = f" without {self.without[0]} {self.without[1]}" if self.without else ""
        return f"{self.dataset} {self.split}{less}"


class Score(_Record):
    """What a paper's table has, in percent, as printed.

    Attributes:
        source: table and row, and on which pictures, where they are not those of the recipe's evaluation.
    """

    mean_iou: float | None = None
    pixel_accuracy: float | None = None
    mean_accuracy: float | None = None
    frequency_weighted_iou: float | None = None
    geometric_pixel_accuracy: float | None = None
    source: str = ""

    @property
    def values(self) -> dict[str, float]:
        """{measure: percent}, of those that the table has."""
        return {key: value for key, value in self if key != "source" and value is not None}


class Levels(_Record):
    """What is taken from a picture before the network sees it, as `Normalization` has it.

    Attributes:
        mean, deviation: one per channel, 0–255, in the network's order of channels.
        channel_order: of the network.
        size: (height, width) that whole pictures are brought to when they are predicted; None for their own.
    """

    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    channel_order: Literal["rgb", "bgr"] = "bgr"
    per_picture: bool = False
    size: tuple[int, int] | None = None

    def made(self) -> "Normalization":
        """The normalization itself."""
        from pixelwise.layers.normalization import Normalization

        return Normalization.from_record(self.model_dump())


class Stage(_Record):
    """One training run of a recipe.

    Attributes:
        name: of its folder within the run.
        train: the data sets whose pictures are trained on, one after the other.
        weights: catalogue names or model files, of which the first that can be had gives the weights to begin with.
        after: stages before, whose last networks give them instead: one, or the towers of color and HHA.
        normalization, validation: where they are not the recipe's, as for a tower that sees color alone.
        border_weights: pixels between objects count more, as in U-Net (`data.border_weights`, with its defaults).
        class_from: "picture" places crops on a class that the picture has (RefineNet); see `Batches`.
        note: what else there is to say.
    """

    name: str
    recipe: Recipe
    train: tuple[Data, ...] = Field(min_length=1)
    weights: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    normalization: Levels | None = None
    validation: Data | None = None
    border_weights: bool = False
    class_from: Literal["set", "picture"] = "set"
    note: str = ""


class PublishedRecipe(_Record):
    """How a paper trains a network, and what it reached.

    Attributes:
        name: in RECIPES; of an edited file, what it was made from.
        paper: authors, year, and the table and row.
        expected: the table's numbers; None where none was read.
        notes: what is UNVERIFIED, and what differs from the paper.
        stages: in order; the last one's network is the result.
        validation: looked at while training, `validate_on` pictures of it, evenly spread.
        evaluation: what the final score is measured on.
        protocol: a name in PROTOCOLS.
        views: a name in `inference.views.PAPERS`, or "" for each picture as it is.
        choose: the network that a stage leaves: its "last", or the "best" of its validations.
    """

    name: str
    paper: str
    expected: Score | None = None
    notes: tuple[str, ...] = ()
    normalization: Levels
    stages: tuple[Stage, ...] = Field(min_length=1)
    validation: Data
    evaluation: Data
    protocol: str
    views: str = ""
    choose: Literal["last", "best"] = "last"
    validate_on: int = Field(100, ge=1)

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        known: list[str] = []
        for stage in self.stages:
            if stage.name in known:
                raise ValueError(f"two stages are called {stage.name}")
            if not stage.name or "/" in stage.name or stage.name.startswith("."):
                raise ValueError(f"a stage's name is that of a folder, got {stage.name!r}")
            missing = [name for name in stage.after if name not in known]
            if missing:
                raise ValueError(f"stage {stage.name} follows {missing[0]}, which is no stage before it")
            known.append(stage.name)
        return self

    @property
    def model(self) -> str:
        """The network that comes out, a name in MODELS."""
        return self.stages[-1].recipe.model

    @property
    def steps(self) -> int:
        """Of all stages."""
        return sum(stage.recipe.steps for stage in self.stages)

    @property
    def command(self) -> str:
        """What to type."""
        return f"pixelwise train {self.name} --data ROOT"

    def to_record(self) -> dict[str, Any]:
        """Plain data, from which `from_record` makes the same."""
        return {"format": FORMAT} | self.model_dump(mode="json")

    def save(self, path: Path) -> None:
        """Write it as YAML, whole or not at all."""
        write_text(self.to_yaml(), path)

    def to_yaml(self) -> str:
        """The text of the file."""
        return yaml.dump(self.to_record(), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Self:
        """A recipe from plain data.

        Raises:
            UnknownName: a key is no entry of a recipe or of a stage, or no setting; names the nearest one.
            BadOption: a value does not fit; names key, value and what was expected.
        """
        content = {key: value for key, value in record.items() if key != "format"}
        _known(content, cls, "entry of a recipe")
        stages = content.get("stages")
        made = []
        for number, stage in enumerate(stages if isinstance(stages, list | tuple) else (), 1):
            if not isinstance(stage, Mapping):
                raise BadOption(f"stages.{number}: expected an entry with name, recipe and train, got {stage!r}")
            _known(stage, Stage, "entry of a stage")
            recipe = stage.get("recipe")
            with_recipe = {"recipe": Recipe.from_record(dict(recipe))} if isinstance(recipe, Mapping) else {}
            made.append(dict(stage) | with_recipe)
        if made:
            content["stages"] = made
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"]) or "recipe"
            message = first["msg"].removeprefix("Value error, ")
            got = "" if isinstance(first["input"], dict) else f", got {first['input']!r}"
            raise BadOption(f"{place}: {message[0].lower()}{message[1:]}{got}") from error

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a recipe.yaml, edited by hand or not.

        Raises:
            CheckpointError: there is none, it is not YAML, or of a newer format.
            UnknownName, BadOption: see `from_record`; the file is named.
        """
        try:
            record = yaml.safe_load(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise CheckpointError(f"no recipe at {path} ({error.strerror or error})") from error
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise CheckpointError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
        if not isinstance(record, dict) or "stages" not in record:
            raise CheckpointError(f"{path} is no recipe of pixelwise: it has no stages; --show prints one")
        found = record.get("format", FORMAT)
        if not isinstance(found, int) or found > FORMAT:
            raise CheckpointError(
                f"{path} has format {found!r}, this pixelwise reads up to {FORMAT}; upgrade pixelwise"
            )
        try:
            return cls.from_record(record)
        except UnknownName as error:
            raise UnknownName(f"{path}: {error}") from error
        except BadOption as error:
            raise BadOption(f"{path}: {error}") from error

    def with_settings(self, settings: Mapping[str, Any]) -> Self:
        """The same with some settings replaced.

        Args:
            settings: {key: value}. A key is an entry of the recipe as "validate_on"; a setting of all its stages, as
                "batch_size" or "model_options.width"; or of one, after its name: "fcn16s_vgg16.steps".

        Raises:
            UnknownName: there is no such entry, stage or setting; names the nearest one.
            BadOption: a value does not fit.
        """
        own: dict[str, Any] = {}
        shared: dict[str, Any] = {}
        single: dict[str, dict[str, Any]] = {}
        names = [stage.name for stage in self.stages]
        for key, value in settings.items():
            place, _, inner = key.partition(".")
            if place in names and inner:
                single.setdefault(place, {})[inner] = value
            elif place in ("stages", "name", "paper", "expected", "notes"):
                raise BadOption(f"{key} is no setting that --set takes; print the recipe with --show and edit it")
            elif place in type(self).model_fields:
                own[key] = value
            elif place in Recipe.model_fields or place in Stage.model_fields:
                shared[key] = value
            else:
                known = [*Recipe.model_fields, *type(self).model_fields, *Stage.model_fields, *names]
                near = difflib.get_close_matches(place, known, n=1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                raise UnknownName(
                    f"no setting of the recipe {self.name} is called {key!r}{hint or '.'} `pixelwise train {self.name} "
                    "--show` prints them all"
                )
        record = self.to_record()
        for key, value in own.items():
            place, _, inner = key.partition(".")
            if not inner:
                record[place] = value
            elif isinstance(record[place], dict):
                record[place][inner] = value
            else:
                raise unknown_name("setting of the recipe", key, type(self).model_fields)
        for stage, entry in zip(self.stages, record["stages"], strict=True):
            changed = shared | single.get(stage.name, {})
            recipe = {key: value for key, value in changed.items() if key.partition(".")[0] in Recipe.model_fields}
            rest = {key: value for key, value in changed.items() if key not in recipe}
            fixed = next((key for key in FIXED_BY_DATA if f"model_options.{key}" in recipe), None)
            if fixed is not None:
                raise BadOption(f"model_options.{fixed} is what the data set has; leave it out")
            entry["recipe"] = stage.recipe.with_settings(recipe).to_record()
            for key, value in rest.items():
                if key not in Stage.model_fields or key in ("name", "recipe"):
                    raise unknown_name("setting of a stage", key, [*Recipe.model_fields, *Stage.model_fields])
                if key == "weights" and stage.after and key in shared:
                    continue  # those of the first network
                entry[key] = [value] if key in ("weights", "after") and isinstance(value, str) else value
        return type(self).from_record(record)


def caffe_sgd(
    model: str,
    *,
    rate: float,
    steps: int,
    crop_size: int | tuple[int, int] | None,
    batch_size: int = 1,
    rates: tuple[Rate, ...] = (BIASES,),
    **settings: Any,
) -> Recipe:
    """A recipe of the papers' kind: SGD without Nesterov's step, without warm-up, clipping or early end.

    Unless `settings` say otherwise the rate is fixed, the momentum 0.9, the weight decay 5e-4, biases learn twice as
    fast and do not decay, and pictures are validated on twenty times.
    """
    size = (crop_size, crop_size) if isinstance(crop_size, int) else crop_size
    plain: dict[str, Any] = {
        "optimizer": "sgd",
        "nesterov": False,
        "momentum": 0.9,
        "weight_decay": 5e-4,
        "schedule": "fixed",
        "loss_normalization": "counted",
        "clip": 0.0,
        "validate_every": max(steps // 20, 1),
        "log_every": 20,
    }
    return Recipe(
        model=model, rate=rate, steps=steps, crop_size=size, batch_size=batch_size, rates=rates, **(plain | settings)
    )


def classifier(*patterns: str) -> tuple[Rate, ...]:
    """DeepLab's multipliers: 10 for the classifier's weights, 20 for its biases, which do not decay; 2 for others."""
    rates = [
        rate
        for pattern in patterns
        for rate in (
            Rate(parameters=f"{pattern}.weight", rate=10),
            Rate(parameters=f"{pattern}.bias", rate=20, decay=0),
        )
    ]
    return (*rates, BIASES)


def less(*mean: float, channel_order: Literal["rgb", "bgr"] = "bgr") -> Levels:
    """Caffe's: a mean is taken away, nothing is divided."""
    return Levels(mean=mean, deviation=(1.0,) * len(mean), channel_order=channel_order)


def _known(record: Mapping[str, Any], kind: type[BaseModel], what: str) -> None:
    for key in record:
        if key not in kind.model_fields:
            raise unknown_name(what, str(key), kind.model_fields)


class _Dumper(yaml.SafeDumper):
    """Plain YAML, with lists of plain values in brackets."""


def _list(dumper: yaml.SafeDumper, values: list[Any]) -> yaml.SequenceNode:
    flow = not any(isinstance(value, dict) for value in values)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", values, flow_style=flow)


_Dumper.add_representer(list, _list)
