"""The options that several commands have, and what is made of their texts."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pixelwise.errors import BadOption, DataError

if TYPE_CHECKING:
    from collections.abc import Callable

    from pixelwise.inference.views import Views
    from pixelwise.segmenter import Segmenter


class PredictionPrecision(StrEnum):
    """What `predict` and `evaluate` compute in."""

    auto = "auto"
    fp32 = "fp32"
    bf16 = "bf16"


class LabelsFrom(StrEnum):
    """What tells the classes of a folder."""

    masks = "masks"
    folders = "folders"


class Fusion(StrEnum):
    """How what is seen at several scales becomes one answer."""

    mean = "mean"
    max = "max"


FolderArgument = Annotated[Path, typer.Argument(help="Folder with pictures and masks.", show_default=False)]
ModelArgument = Annotated[
    Path, typer.Argument(help="A model.safetensors, or a name of `pixelwise list weights`.", show_default=False)
]
AsOption = Annotated[
    list[str] | None,
    typer.Option("--as", metavar="ANSWER", help="Answer what the folder leaves open, as 255=void, masks=labels, snap."),
]
ClassesOption = Annotated[
    Path | None, typer.Option(metavar="FILE", help="A classes.yaml or .txt instead of the one near the masks.")
]
DatasetOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Read it as one of `pixelwise list datasets`, with options as NAME,key=value; found if left out.",
    ),
]
LabelsOption = Annotated[
    LabelsFrom,
    typer.Option("--labels", help="What tells the classes: masks, or a folder for each class of whole pictures."),
]
CRFOption = Annotated[
    bool | None,
    typer.Option(
        "--crf/--no-crf",
        help="Refine the labels with a dense CRF; with the model's own, where it has one, if left out.",
        show_default=False,
    ),
]
ScalesOption = Annotated[
    str | None,
    typer.Option(
        "--scales",
        metavar="S,S,…",
        help="Fuse what is seen at these scales, as 0.5,1,1.5; or a paper's whole test, as deeplab_v3 or pspnet.",
    ),
]
FlipOption = Annotated[bool, typer.Option("--flip", help="Fuse with the mirrored picture, too.")]
FusionOption = Annotated[
    Fusion | None, typer.Option("--fusion", help="Mean of probabilities, or max of scores; mean if left out.")
]
WindowOption = Annotated[
    str | None,
    typer.Option(
        metavar="SIZE",
        help="Slide windows of this size over the picture, as 713 or 512,1024, at strides of two thirds.",
    ),
]
PrecisionOption = Annotated[
    PredictionPrecision,
    typer.Option(help="auto is bf16 where the machine has it and the model's validation found the same labels."),
]
EngineOption = Annotated[str, typer.Option(help="What runs the network: torch, openvino or onnxruntime.")]
TrackOption = Annotated[
    str | None, typer.Option("--track", metavar="PROGRAM", help="Draw curves as it trains: tensorboard.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]


def opened(model: Path, first: "Callable[[], object]" = lambda: None) -> "Segmenter":
    """The model of a file, or of published weights, which are downloaded where they are not here yet.

    Args:
        first: what is checked before anything is downloaded.
    """
    from pixelwise.cli.show.progress import download_bar
    from pixelwise.weights.catalogue import CATALOGUE
    from pixelwise.weights.opening import open_model

    if str(model) in CATALOGUE and not model.is_file():
        first()
    with download_bar(str(model)) as progress:
        return open_model(model, progress=progress)


def check_there(path: Path) -> None:
    """Complain where nothing is."""
    if not path.exists():
        raise DataError(f"there is no {path}; check the path")


def views_from(scales: str | None, fusion: Fusion | None, flip: bool, window: str | None) -> "Views":
    """How often and how a picture is seen, from the options."""
    from pixelwise.inference.views import views_of

    sides = None
    if window is not None:
        try:
            numbers = [int(part) for part in window.split(",")]
        except ValueError:
            numbers = []
        if len(numbers) not in (1, 2):
            raise BadOption(f"--window is one number or height,width, as 713 or 512,1024, got {window!r}")
        sides = numbers[0], numbers[-1]
    return views_of(scales, flip=flip, fusion=None if fusion is None else fusion.value, window=sides)


def numbers_from(option: str, given: str | None, form: str) -> tuple[float, ...] | None:
    """`--mean 1,2,3` as numbers."""
    if given is None:
        return None
    try:
        return tuple(float(part) for part in given.split(","))
    except ValueError as error:
        raise BadOption(f"{option} is {form}, as 123.68,116.78,103.94, got {given!r}") from error


def counts_from(given: str | None) -> list[int] | None:
    """`--sizes 5,10,20` as numbers."""
    if given is None:
        return None
    parts = given.split(",")
    if not all(part.strip().isdecimal() for part in parts):
        raise BadOption(f"--sizes is N,N,…, as 5,10,20,40, got {given!r}")
    return [int(part) for part in parts]


def size_from(given: str | None) -> tuple[int, int] | None:
    """`--size 512x1024` as height and width."""
    if given is None:
        return None
    height, _, width = given.lower().partition("x")
    if not (height.isdecimal() and width.isdecimal() and int(height) and int(width)):
        raise BadOption(f"--size is height x width in pixels, as 512x1024, got {given!r}")
    return int(height), int(width)


def settings_from(pairs: list[str]) -> dict[str, Any]:
    """`--set key=value` as {key: value}, the value read as YAML."""
    import yaml

    settings = {}
    for pair in pairs:
        key, sign, value = pair.partition("=")
        if not sign or not key:
            raise BadOption(f"--set takes KEY=VALUE, got {pair!r}")
        try:
            parsed = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise BadOption(f"--set {key}: {value!r} is no YAML value") from error
        if isinstance(parsed, str):
            try:
                parsed = float(parsed)  # YAML takes 1e-3 for a text
            except ValueError:
                pass
        settings[key] = parsed
    return settings
