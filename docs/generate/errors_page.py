"""Write the page of the errors, `docs/reference/errors.md`: `python docs/generate/errors_page.py`, a few seconds.

What an error means is its class's docstring; each message is that of an error that is raised here.
"""

import ast
import importlib
import inspect
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn

import pixelwise as pw
from pixelwise.data.decode import decode_image
from pixelwise.data.plain import SeveralSets
from pixelwise.errors import (
    BadOption,
    CheckpointError,
    DataError,
    DataQuestion,
    LabelError,
    MissingSplit,
    PixelwiseError,
    ShapeError,
    SurgeryError,
    TooManyPixels,
    TrainingError,
    UnknownName,
    WeightsError,
)
from pixelwise.server.client import ServerError
from pixelwise.surgery import convolutionalize
from pixelwise.training.loop import OutOfMemory, memory_explained
from pixelwise.training.recipe import Recipe
from pixelwise.weights import import_weights
from pixelwise.weights.cache import NotHere

ROOT = Path(__file__).parents[2]
NEVER_SHOWN = {"NotSent"}  # an address that fails is told within NotHere
HEAD = """\
# Errors

Written by `docs/generate/errors_page.py`: the meanings are the classes' docstrings, each message is of an error that
was raised to write it down.

Everything that pixelwise refuses is a `PixelwiseError`, and mostly also the exception of Python's that one would
expect. A message says what was expected, what was found and where, and what to do. On the command line it is one line
without a traceback (`--debug` shows that), and the [exit code](commands.md#exit-codes) is 1, or 2 for `BadOption` and
`UnknownName`.

```python
import pixelwise as pw

try:
    pw.build("unett", num_classes=2)
except pw.PixelwiseError as error:
    print(error)
```

"""


@dataclass(frozen=True)
class Case:
    """An error of a kind, and what to do about it in general."""

    kind: type[PixelwiseError]
    remedy: str
    raised: Callable[[], object]


def _question() -> None:
    for folder in ("images", "masks", "labels"):
        Path("cells", folder).mkdir(parents=True)
        for number in range(4):
            pixels = np.zeros((16, 16, 3) if folder == "images" else (16, 16), np.uint8)
            Image.fromarray(pixels).save(Path("cells", folder, f"{number}.png"))
    pw.understand("cells")


def _several() -> None:
    for name in ("cells", "cracks"):
        for part, shape in (("images", (16, 16, 3)), ("masks", (16, 16))):
            Path("sets", name, part).mkdir(parents=True)
            for number in range(3):
                Image.fromarray(np.zeros(shape, np.uint8)).save(Path("sets", name, part, f"{name}{number}.png"))
    pw.understand("sets")


def _many_pixels() -> None:
    Image.new("1", (50, 40)).save("scan.png")
    with mock.patch("pixelwise.data.decoding.files.MAX_PIXELS", 1000):
        decode_image(Path("scan.png"))


def _foreign_weights() -> None:
    save_file({"stem.weight": torch.zeros(4, 3, 3, 3)}, "other.safetensors")
    import_weights("other.safetensors")


def _no_model() -> None:
    Path("notes.safetensors").write_text("no model", encoding="utf-8")
    pw.load("notes.safetensors")


def _no_steps() -> None:
    path = Path("cells-masked")
    for part, shape in (("images", (32, 32, 3)), ("masks", (32, 32))):
        (path / part).mkdir(parents=True)
        for number in range(6):
            pixels = np.zeros(shape, np.uint8)
            pixels[:16] = 1
            Image.fromarray(pixels).save(path / part / f"{number}.png")
    settings = {"crop_size": [32, 32], "batch_size": 1, "rate": 1e30, "model_options": {"width": 1 / 16, "depth": 2}}
    pw.fit(path, out="run", steps=6, model="unet", pretrained=False, settings=settings)


def _no_memory() -> None:
    with memory_explained(
        Recipe(model="unet", steps=10, batch_size=16, crop_size=(512, 512), rate=0.1, validate_every=10), 0
    ):
        raise MemoryError


CASES = (
    Case(
        ShapeError,
        "Give both at one size; a mask has the size of its picture.",
        lambda: pw.ConfusionMatrix(2).update(np.zeros((3, 4), int), np.zeros((3, 5), int)),
    ),
    Case(
        LabelError,
        "Look at the place that is named. If the value is a class or void, say so in classes.yaml or with `--as`.",
        lambda: pw.ConfusionMatrix(2).update(np.zeros((3, 4), int), np.full((3, 4), 7)),
    ),
    Case(
        UnknownName,
        "Take the name that is suggested, or one of `pixelwise list`.",
        lambda: pw.list_recipes() and pw.open_dataset("camvit", "."),
    ),
    Case(
        BadOption,
        "The message holds what may be given.",
        lambda: pw.build("unet", num_classes=2, depht=3),
    ),
    Case(
        DataError,
        "Mend what is named; `pixelwise check FOLDER` lists all faults of a folder at once.",
        lambda: pw.understand("cels"),
    ),
    Case(
        DataQuestion,
        "Answer with `--as`, or `read_as=[…]` in Python; the answer is stored in the plan and the model.",
        _question,
    ),
    Case(SeveralSets, "Pass the folder of the one that is meant.", _several),
    Case(
        TooManyPixels,
        "If the file is what you think it is, allow more pixels, or save it as a tiled TIFF, which is read in parts.",
        _many_pixels,
    ),
    Case(
        MissingSplit,
        "Pass the folder that holds the lists, or name another split; `pixelwise list datasets` has them.",
        lambda: Path("CamVid").mkdir() or pw.open_dataset("camvid", "CamVid", "val"),
    ),
    Case(
        NotHere,
        "Allow the network, or bring the file to the place that is named; its checksum is compared.",
        lambda: pw.load("torchvision_fcn_resnet50_voc"),
    ),
    Case(
        ServerError,
        "Start the server, or wait: the client itself tries again where the server is busy.",
        lambda: pw.Client("http://127.0.0.1:9").models(),
    ),
    Case(WeightsError, "Name the format or the network; take what fits with `--partial`.", _foreign_weights),
    Case(
        SurgeryError,
        "Convert the part of the network that stands before the layer that is named.",
        lambda: convolutionalize(nn.Sequential(nn.Conv2d(3, 8, 8, 8), nn.Flatten(2), nn.LSTM(16, 5)), 32),
    ),
    Case(CheckpointError, "Copy or download the file again; newer files need a newer pixelwise.", _no_model),
    Case(
        TrainingError,
        "Mend what is named and go on with `--resume`: the last good state is kept.",
        _no_steps,
    ),
    Case(OutOfMemory, "Smaller batches or crops, with `--set`.", _no_memory),
)


@contextmanager
def _empty_place() -> "Iterator[None]":
    """In an empty folder, without the network or a cache."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            with mock.patch.dict(os.environ, {"PIXELWISE_OFFLINE": "1", "PIXELWISE_CACHE": "cache"}):
                yield
        finally:
            os.chdir(before)


def message(case: Case) -> str:
    """What an error of this kind says."""
    with _empty_place():
        try:
            case.raised()
        except case.kind as error:
            if type(error) is not case.kind:
                raise
            return str(error)
    raise AssertionError(f"no {case.kind.__name__} was raised")


def kinds() -> list[type[PixelwiseError]]:
    """All exceptions of the package, found in its code."""
    found = []
    for file in sorted((ROOT / "src" / "pixelwise").rglob("*.py")):
        text = file.read_text(encoding="utf-8")
        if not re.search(r"^class \w+\(.*\b(PixelwiseError|\w+Error|DataQuestion)\b", text, re.M):
            continue
        module = ".".join(file.relative_to(ROOT / "src").with_suffix("").parts).removesuffix(".__init__")
        for node in ast.parse(text).body:
            if isinstance(node, ast.ClassDef) and node.bases and not node.name.startswith("_"):
                value = getattr(importlib.import_module(module), node.name)
                if issubclass(value, PixelwiseError) and value is not PixelwiseError and node.name not in NEVER_SHOWN:
                    found.append(value)
    return found


def section(case: Case) -> str:
    """What there is to say of a kind."""
    bases = [base.__name__ for base in case.kind.__bases__ if base is not PixelwiseError]
    told = (inspect.getdoc(case.kind) or "").partition("\n\n")[0].replace("\n", " ")
    article = "an" if bases[0][0] in "AEIO" else "a"
    return (
        f"## {case.kind.__name__}\n\n{told} Also {article} `{bases[0]}`; from `{case.kind.__module__}`.\n\n"
        f"```text\n{message(case)}\n```\n\n{case.remedy}\n"
    )


def page() -> str:
    """The page of the documentation."""
    return HEAD + "\n".join(section(case) for case in CASES)


def main() -> None:
    """Write the page."""
    (ROOT / "docs" / "reference" / "errors.md").write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
