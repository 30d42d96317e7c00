"""Options of a request to segment, as query parameters or fields of a form."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, WithJsonSchema, field_validator

from pixelwise.errors import PixelwiseError
from pixelwise.inference.views import PAPERS, Views, views_of
from pixelwise.server.refusals import Refusal

VIEWS = 8  # scales at a time
MOST_LETTERS = 200
_SCALE = r"(0?\.[0-9]{0,19}[1-9][0-9]{0,19}|[1-7](\.[0-9]{0,19})?|8(\.0{0,19})?)"  # above 0 and up to views.MOST
SCALES = f"^({_SCALE}(,{_SCALE}){{0,{VIEWS - 1}}}|{'|'.join(PAPERS)})$"
"""What `scales` may be, as a regular expression for the description."""

Output = Literal["mask", "overlay", "confidence", "json"]
INCLUDED = ("polygons", "mask", "overlay", "confidence", "indices")


class Options(BaseModel):
    """What is wanted of a picture."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str | None = Field(None, description="A name of /v1/models; the first if left out.", max_length=200)
    output: Output | None = Field(None, description="If left out: json where Accept names application/json, else mask.")
    include: str = Field(
        "polygons",
        description=f"Parts of the JSON: any of {', '.join(INCLUDED)}, separated by commas.",
        pattern=f"^(({'|'.join(INCLUDED)})(,({'|'.join(INCLUDED)})){{0,8}})?$",
    )
    scales: Annotated[str, WithJsonSchema({"type": "string", "pattern": SCALES, "maxLength": MOST_LETTERS})] | None = (
        Field(
            None,
            description="Fuse what is seen at these scales, as 0.5,1,1.5 (at most 8); or a paper's test, as "
            "deeplab_v3. What stands there twice counts once.",
            max_length=MOST_LETTERS,
            examples=["0.5,1,1.5"],
        )
    )
    flip: bool = Field(False, description="Fuse with the mirrored picture, too.")
    crf: bool | None = Field(None, description="Refine with a dense CRF; the model's own if left out.")
    precision: Literal["auto", "fp32", "bf16"] = Field("auto", description="auto is the model's own.")
    opacity: float = Field(0.5, ge=0, le=1, description="Of the overlay's colors.")

    @field_validator("scales")
    @classmethod
    def _known(cls, scales: str | None) -> str | None:
        if scales is None:
            return None
        once = ",".join(dict.fromkeys(_plain(part) for part in scales.split(",")))
        try:
            views_of(once)
        except PixelwiseError as error:
            raise ValueError(str(error)) from error
        return once

    @property
    def included(self) -> tuple[str, ...]:
        """The names in `include`."""
        return tuple(name for name in self.include.split(",") if name)

    @property
    def views(self) -> Views:
        """How the picture is seen."""
        return views_of(self.scales, flip=self.flip)

    def check(self, size: tuple[int, int], max_pixels: int) -> None:
        """Refuse views that are much larger than pictures may be."""
        views = self.views
        if len(views.scales) > VIEWS:
            raise Refusal("bad_option", f"scales are at most {VIEWS} numbers, got {len(views.scales)}")
        height, width = views.size_of(size, max(views.scales))
        if height * width > max_pixels:
            raise Refusal(
                "too_many_pixels",
                f"at its largest scale the picture has {height * width:,} pixels; at most {max_pixels:,} are taken: "
                "leave out the large scales, or make it smaller",
            )

    def with_fields(self, fields: Mapping[str, str]) -> "Options":
        """These options, and those of a form.

        Raises:
            Refusal: bad_option; or one stands in both.
        """
        both = sorted(self.model_fields_set & fields.keys())
        if both:
            raise Refusal("bad_option", f"{both[0]} stands in the address and in the form; give it once")
        try:
            return Options.model_validate(self.model_dump(include=self.model_fields_set) | dict(fields))
        except ValidationError as error:
            raise refused(error.errors()) from None


def _plain(scale: str) -> str:
    """One way to write a number: 0.5 of .50."""
    try:
        return repr(float(scale))
    except ValueError:
        return scale.strip()


def refused(errors: object) -> Refusal:
    """The refusal of what pydantic or FastAPI found, in one sentence."""
    first = errors[0] if isinstance(errors, list | tuple) and errors else {}
    name = ".".join(str(part) for part in first.get("loc", ()) if part not in ("query", "body"))
    message = " ".join(str(first.get("msg", "is not possible")).split()).removeprefix("Value error, ")[:300]
    return Refusal("bad_option", f"{name[:60] or 'the request'}: {message}")
