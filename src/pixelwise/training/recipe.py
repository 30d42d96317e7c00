"""Recipe: everything that a training run depends on, as one frozen, validated record."""

from copy import deepcopy
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from pixelwise.data.augment import Augmentation
from pixelwise.errors import BadOption, unknown_name

Precision = Literal["fp32", "bf16"]


class Recipe(BaseModel):
    """How a network is trained. Sizes are (height, width); schedules count optimizer steps.

    Attributes:
        model, model_options: a name in MODELS and the options of its builder.
        crop_size, batch_size: what one step sees.
        steps: length of the schedule; the run may end earlier, by patience or budget.
        optimizer, rate, momentum, weight_decay: "adamw" or "sgd" (Nesterov); the decay spares biases and norms.
        schedule: "cosine" or "poly" (power 0.9), to zero at `steps`, after `warmup` steps of linear increase.
        loss: mean cross-entropy over counted pixels, alone or plus soft Dice over the classes.
        class_weights: one per class for the cross-entropy, or none.
        class_crops: share 0–1 of crops placed on a pixel of a class drawn by `class_crop_shares`.
        average: decay of the running mean of the weights that is validated and saved; 0 for none.
        clip: largest norm of the gradient.
        precision: "bf16" runs convolutions in bfloat16, weights stay float32.
        validate_every, patience: steps between validations; validations without a better mean IoU before the end
            (0: never).
        log_every: steps between log lines, and the only steps at which a run can end by the clock.
        seed, threads: part of the recipe, since both decide the bits.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    model: str
    model_options: dict[str, Any] = {}
    crop_size: tuple[int, int]
    batch_size: int = Field(ge=1)
    steps: int = Field(ge=1)
    optimizer: Literal["adamw", "sgd"] = "adamw"
    rate: float = Field(gt=0)
    momentum: float = Field(0.9, ge=0, lt=1)
    weight_decay: float = Field(0.0, ge=0)
    schedule: Literal["cosine", "poly"] = "cosine"
    warmup: int = Field(0, ge=0)
    loss: Literal["cross_entropy", "cross_entropy_dice"] = "cross_entropy"
    class_weights: tuple[float, ...] | None = None
    class_crops: float = Field(0.0, ge=0, le=1)
    class_crop_shares: tuple[float, ...] | None = None
    augmentation: Augmentation = Augmentation()
    average: float = Field(0.0, ge=0, lt=1)
    clip: float = Field(5.0, gt=0)
    precision: Precision = "fp32"
    validate_every: int = Field(ge=1)
    patience: int = Field(0, ge=0)
    log_every: int = Field(10, ge=1)
    seed: int = Field(0, ge=0, lt=2**31)
    threads: int = Field(1, ge=1)

    @field_validator("crop_size")
    @classmethod
    def _size(cls, size: tuple[int, int]) -> tuple[int, int]:
        if min(size) < 1:
            raise ValueError("must be at least 1 × 1")
        return size

    @field_validator("class_weights", "class_crop_shares")
    @classmethod
    def _shares(cls, values: tuple[float, ...] | None) -> tuple[float, ...] | None:
        if values is not None and (min(values, default=0) < 0 or sum(values) == 0):
            raise ValueError("values must be 0 or more, and one of them above 0")
        return values

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> Self:
        """A recipe from plain data.

        Raises:
            UnknownName: a key is no setting of a recipe; names the nearest one.
            BadOption: a value does not fit; names key, value and what was expected.
        """
        for key in record:
            if key not in cls.model_fields:
                raise unknown_name("setting of a recipe", key, cls.model_fields)
        augmentation = record.get("augmentation")
        for key in augmentation if isinstance(augmentation, dict) else ():
            if key not in Augmentation.model_fields:
                raise unknown_name("setting of the augmentation", key, Augmentation.model_fields)
        try:
            return cls.model_validate(record)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"]) or "recipe"
            message = first["msg"].removeprefix("Value error, ")
            got = "" if isinstance(first["input"], dict) else f", got {first['input']!r}"
            raise BadOption(f"{place}: {message[0].lower()}{message[1:]}{got}") from error

    def to_record(self) -> dict[str, Any]:
        """Plain data, from which `from_record` makes the same recipe."""
        return self.model_dump(mode="json")

    def with_settings(self, settings: dict[str, Any]) -> Self:
        """The same with some settings replaced; "augmentation.scale" reaches inside."""
        record = self.to_record()
        for key, value in settings.items():
            place, _, inner = key.partition(".")
            if inner:
                if not isinstance(record.get(place), dict):
                    raise unknown_name("setting of a recipe", key, type(self).model_fields)
                record[place][inner] = value
            else:
                record[key] = deepcopy(value)  # a later "model_options.width" must not reach into the caller's
        return type(self).from_record(record)
