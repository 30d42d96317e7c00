"""The table of the networks: paper, parameters, multiply-adds, output stride, receptive field.

All is computed from the networks themselves and stored in `facts.json` beside this file, which `pixelwise list models`
prints without importing torch; `docs/generate/models_table.py` writes it anew, and a test compares the two.

Multiply-adds are those of the convolutions, in evaluation, for one picture of 500 × 500, from the picture to the
scores; the papers' and the released files' configurations, 21 classes. FCN's borders of 100 pixels and Dilation's of
186 are part of the network and count.
"""

import inspect
import json
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from importlib.resources import files

import torch
from torch.utils.flop_counter import FlopCounterMode

from pixelwise.models import MODELS
from pixelwise.models.paper import Paper
from pixelwise.surgery.receptive_field import receptive_field

NUM_CLASSES = 21
SIZE = 500


@dataclass(frozen=True)
class Facts:
    """One network in numbers.

    Attributes:
        authors: in short, "Long et al.".
        link: as in `Paper`.
        parameters: trainable ones.
        multiply_adds: see the module.
        output_stride: pixels of the picture between two cells of the scores.
        receptive_field: side of the square that a cell of the scores sees, in pixels; None is the whole picture.
    """

    name: str
    authors: str
    title: str
    year: int
    link: str
    parameters: int
    multiply_adds: int
    output_stride: int
    receptive_field: int | None


def compute(name: str) -> Facts:
    """The facts of one of `MODELS`, from the network itself; a second or so, on the meta device."""
    builder = MODELS[name]
    paper: Paper = sys.modules[builder.__module__].PAPER
    channels = inspect.signature(builder).parameters["in_channels"].default
    with torch.device("meta"):
        network = builder(num_classes=NUM_CLASSES).eval()
        images = torch.empty(1, channels, SIZE, SIZE)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network.heads(images)
    operations = counter.get_flop_counts()["Global"]
    height = receptive_field(network, in_channels=channels).height
    assert height.stride is not None and height.stride.denominator == 1, name
    return Facts(
        name=name,
        authors=paper.citation.removesuffix(f" {paper.year}"),
        title=paper.title,
        year=paper.year,
        link=paper.link,
        parameters=sum(p.numel() for p in network.parameters()),
        multiply_adds=operations[torch.ops.aten.convolution] // 2,
        output_stride=int(height.stride),
        receptive_field=height.size,
    )


def stored() -> list[Facts]:
    """What the file says, in the order of `MODELS`."""
    text = files("pixelwise").joinpath("models", "facts.json").read_text(encoding="utf-8")
    return [Facts(**record) for record in json.loads(text)]


def to_json(facts: Iterable[Facts]) -> str:
    """The file's text, a line each network."""
    lines = ",\n".join(json.dumps(asdict(one), ensure_ascii=False) for one in facts)
    return f"[\n{lines}\n]\n"
