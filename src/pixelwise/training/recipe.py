"""Recipe: everything that a training run depends on, as one frozen, validated record."""

from copy import deepcopy
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from pixelwise.data.augmentation import Augmentation
from pixelwise.errors import BadOption, unknown_name

Precision = Literal["fp32", "bf16"]
FIXED_BY_DATA = ("num_classes", "in_channels")  # options of networks that the data and its normalization decide


class HeadLoss(BaseModel):
    """What one head of the network adds to the loss.

    Attributes:
        weight: of its loss.
        grid: its scores are brought to the "image", or the labels to its "own" grid, by nearest.
        stride, offset: on its own grid, cell i is judged by pixel offset + i·stride; a stride of None brings the whole
            picture to the grid.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    weight: float = Field(1.0, ge=0)
    grid: Literal["image", "own"] = "image"
    stride: int | None = Field(None, ge=1)
    offset: int = 0


class Rate(BaseModel):
    """How some parameters learn.

    Attributes:
        parameters: a pattern of their names, as "score_*.bias"; * is any text.
        rate: multiplies the recipe's; 0 leaves them as they start.
        decay: multiplies the recipe's weight decay.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    parameters: str
    rate: float = Field(1.0, ge=0)
    decay: float = Field(1.0, ge=0)


class Recipe(BaseModel):
    """How a network is trained. Sizes are (height, width); schedules count optimizer steps.

    Attributes:
        model, model_options: a name in MODELS and the options of its builder.
        crop_size, batch_size: what one forward pass sees; without a size each picture whole, in batches of one.
        order: of the pictures, "shuffled" passes; or each is "drawn" from all (FCN).
        accumulate: passes that make a step; their gradients are averaged, as Caffe's iter_size does.
        steps: length of the schedule; the run may end earlier, by patience or budget.
        optimizer, rate, momentum, nesterov, weight_decay: "adamw" or "sgd"; the decay spares biases and norms.
        rates: for parameters whose names fit a pattern, multipliers of rate and decay; the first that fits counts, and
            its decay then holds for biases and norms, too.
        schedule: "cosine" or "poly" to zero at `steps`, "step" or "fixed"; after `warmup` steps of linear increase.
        power: of "poly".
        drop_every, drop: "step" multiplies the rate by `drop` each `drop_every` steps.
        loss: a name in `objective.PARTS`: "cross_entropy", "focal", "dice", "lovasz", or two of them added.
        loss_normalization: what the cross-entropy's sum is divided by, a name in `losses.NORMALIZATIONS`.
        class_weights: one per class for cross-entropy and focal loss, or none.
        focal_gamma: γ of the focal loss.
        keep: probability with which a position counts in the loss (FCN, §3.4).
        hard_share, hard_probability: of the counted pixels the cross-entropy takes this share, the hardest ones, and
            those whose true class has a lower probability than this; a share of 1 takes all.
        heads: {head of the network: what it adds to the loss}; the first alone if empty.
        batch_norm: "trained"; "affine": fixed statistics, and learned scale and shift; "frozen": nothing changes.
        batch_norm_momentum: share of each batch in the running statistics, as torch has it: 1 less Caffe's fraction and
            TensorFlow's decay; the network's own, 0.1, if left out.
        recompute: before each validation the statistics of batch norms become the means over so many batches of the
            training pictures (SegNet); 0 to keep the running ones.
        class_crops: share 0–1 of crops placed on a pixel of a class drawn by `class_crop_shares`.
        average: decay of the running mean of the weights that is validated and saved; 0 for none.
        clip: largest norm of the gradient; 0 for any.
        precision: "bf16" runs convolutions in bfloat16, weights stay float32.
        validate_every, patience: steps between validations; validations without a better mean IoU before the end
            (0: never).
        log_every: steps between log lines, and the only steps at which a run can end by the clock.
        seed, threads: part of the recipe, since both decide the bits.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    model: str
    model_options: dict[str, Any] = {}
    crop_size: tuple[int, int] | None
    batch_size: int = Field(ge=1)
    order: Literal["shuffled", "drawn"] = "shuffled"
    steps: int = Field(ge=1)
    accumulate: int = Field(1, ge=1)
    optimizer: Literal["adamw", "sgd"] = "adamw"
    rate: float = Field(gt=0)
    momentum: float = Field(0.9, ge=0, lt=1)
    nesterov: bool = True
    weight_decay: float = Field(0.0, ge=0)
    rates: tuple[Rate, ...] = ()
    schedule: Literal["cosine", "poly", "step", "fixed"] = "cosine"
    power: float = Field(0.9, gt=0)
    drop_every: int = Field(1, ge=1)
    drop: float = Field(0.1, gt=0, le=1)
    warmup: int = Field(0, ge=0)
    loss: Literal["cross_entropy", "focal", "dice", "lovasz", "cross_entropy_dice", "cross_entropy_lovasz"] = (
        "cross_entropy"
    )
    loss_normalization: Literal["weights", "counted", "pixels", "images", "sum"] = "weights"
    class_weights: tuple[float, ...] | None = None
    focal_gamma: float = Field(2.0, ge=0)
    keep: float = Field(1.0, gt=0, le=1)
    hard_share: float = Field(1.0, ge=0, le=1)
    hard_probability: float = Field(0.0, ge=0, le=1)
    heads: dict[str, HeadLoss] = {}
    batch_norm: Literal["trained", "affine", "frozen"] = "trained"
    batch_norm_momentum: float | None = Field(None, gt=0, le=1)
    recompute: int = Field(0, ge=0)
    class_crops: float = Field(0.0, ge=0, le=1)
    class_crop_shares: tuple[float, ...] | None = None
    augmentation: Augmentation = Augmentation()
    average: float = Field(0.0, ge=0, lt=1)
    clip: float = Field(5.0, ge=0)
    precision: Precision = "fp32"
    validate_every: int = Field(ge=1)
    patience: int = Field(0, ge=0)
    log_every: int = Field(10, ge=1)
    seed: int = Field(0, ge=0, lt=2**31)
    threads: int = Field(1, ge=1)

    @field_validator("crop_size")
    @classmethod
    def _size(cls, size: tuple[int, int] | None) -> tuple[int, int] | None:
        if size is not None and min(size) < 1:
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
        """The same with some settings replaced; "augmentation.scale" reaches inside.

        Raises:
            UnknownName: there is no such setting.
        """
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
