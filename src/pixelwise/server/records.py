"""Records: the shapes of the server's JSON, for its OpenAPI description."""

from typing import Any, Literal

from pydantic import BaseModel, Field


class Problem(BaseModel):
    """Why a request was refused."""

    code: str = Field(examples=["too_large"])
    message: str = Field(
        examples=["at most 33,554,432 bytes are taken for a file; make the picture smaller, or cut it"]
    )


class Refused(BaseModel):
    """The one shape of all errors."""

    error: Problem


class State(BaseModel):
    """Whether the process lives, and takes requests."""

    status: Literal["ok", "ready"]


class Class(BaseModel):
    """A class of a model."""

    index: int = Field(examples=[1])
    name: str = Field(examples=["road"])
    color: tuple[int, int, int] = Field(examples=[[128, 64, 128]])


class Share(Class):
    """A class in a picture."""

    pixels: int
    share: float = Field(description="Of the picture's pixels, 0–1.")
    confidence: float | None = Field(description="Mean over the pixels of the class; null where it has none.")


class Seconds(BaseModel):
    """What a request took, in seconds; uploading and sending are not in it."""

    wait: float
    decode: float
    predict: float
    encode: float


class Segmented(BaseModel):
    """A segmented picture."""

    model: str = Field(examples=["cells"])
    width: int
    height: int = Field(description="Both after the EXIF rotation.")
    classes: list[Share]
    confidence: float | None = Field(description="Mean probability of the chosen class over all pixels, 0–1.")
    seconds: Seconds
    polygons: dict[str, Any] | None = Field(None, description="GeoJSON in pixels; x to the right, y down.")
    mask: str | None = Field(None, description="Base64 of a PNG: class numbers with a palette.")
    overlay: str | None = Field(None, description="Base64 of a PNG.")
    confidence_map: str | None = Field(None, description="Base64 of a gray PNG, 0–255 for 0–1.")
    indices: str | None = Field(
        None, description="Base64 of an RGB PNG: class = red + 256 · green, confidence = blue / 255."
    )


class Model(BaseModel):
    """A model that is served."""

    name: str = Field(examples=["cells"])
    default: bool
    demo: bool
    network: str = Field(examples=["unet"])
    parameters: int
    channels: int
    void: int
    classes: list[Class]
    precision: str
    crf: bool
    scores: dict[str, Any]
    report: str | None = Field(description="A link to the report of its training, relative to the server's root.")


class Limits(BaseModel):
    """What is refused."""

    bytes: int
    pixels: int
    queue: int
    timeout_seconds: float


class Models(BaseModel):
    """What is served, and the limits."""

    version: str
    corrections: bool
    limits: Limits
    models: list[Model]


class SavedPair(BaseModel):
    """A correction that was saved."""

    name: str = Field(examples=["20261122-024512-1"])
    image: str = Field(examples=["images/20261122-024512-1.png"])
    mask: str = Field(examples=["masks/20261122-024512-1.png"])
    pairs: int
    command: str = Field(examples=["pixelwise fit corrections --start runs/cells/model.safetensors"])
