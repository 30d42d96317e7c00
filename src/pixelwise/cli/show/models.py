"""What is told of a model that was imported or exported, and of a heat map."""

import math
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.filesize import decimal

if TYPE_CHECKING:
    from pixelwise.flow.export import Exported
    from pixelwise.flow.heatmap import Drawn
    from pixelwise.segmenter import Segmenter
    from pixelwise.surgery.transplant import Transplant

IMPORTED_CLASSES = 8  # that are named after an import


def print_imported(console: Console, segmenter: "Segmenter", report: "Transplant", out: Path) -> None:
    """What became of each layer, the network, its classes, what is done to pictures, and the file."""
    names, normalization = segmenter.labels.names, segmenter.normalization
    options = segmenter.architecture["options"]
    network = options.get("classifier", segmenter.architecture["builder"])
    shown = ", ".join(names[:IMPORTED_CLASSES]) + (", …" if len(names) > IMPORTED_CLASSES else "")
    mean, deviation = (", ".join(f"{v:g}" for v in values) for values in (normalization.mean, normalization.deviation))
    size = normalization.size if isinstance(normalization.size, tuple) else None
    resized = f"resized to {size[0]} × {size[1]}, " if size is not None else ""
    lines = [
        str(report),
        f"Format: {segmenter.recipe['imported']['format']}",
        f"Network: {network}, {len(names)} classes: {shown}",
        f"Pictures: {resized}{normalization.channel_order.upper()}, less {mean}, divided by {deviation}",
        *(f"Note: {note}" for note in segmenter.recipe["imported"].get("notes", ())),
        f"Model: {out}",
    ]
    for line in lines:
        console.print(line, markup=False, soft_wrap=True)


def print_heatmap(console: Console, drawn: "Drawn") -> None:
    """Where the class is most likely, which classes are likely somewhere in the picture, and the file."""
    from pixelwise.flow.heatmap import told

    console.print(
        f"{drawn.name} is most likely at row {drawn.row}, column {drawn.column}: probability {told(drawn.probability)}",
        markup=False,
        soft_wrap=True,
    )
    console.print("The highest probabilities anywhere in the picture:")
    width = max(len(name) for name, _ in drawn.top)
    for name, probability in drawn.top:
        mark = "  (this class)" if name == drawn.name else ""
        console.print(f"  {name:{width}}  {told(probability)}{mark}", markup=False, soft_wrap=True)
    console.print(f"Heat map: {drawn.out}", markup=False, soft_wrap=True)


def print_exported(console: Console, exported: "Exported", *, bundle: bool = False) -> None:
    """How a graph's labels agree with the model's, what it leaves out, and where it is."""
    for one in exported.compared:
        # rounded down, so that 100 % is all of them
        share = math.floor(one.equal * 1e5) / 1e3
        console.print(f"Equal labels: {share:7.3f} % on {one.what}", markup=False, soft_wrap=True)
    if exported.mean_iou is not None:
        whole, small = exported.mean_iou
        console.print(
            f"Mean IoU: {100 * whole:.2f} % before, {100 * small:.2f} % in int8 ({100 * (small - whole):+.2f})",
            markup=False,
            soft_wrap=True,
        )
    for note in exported.notes:
        console.print(f"Note: {note}", markup=False, soft_wrap=True)
    console.print(f"Exported: {exported.out} ({decimal(exported.size)})", markup=False, soft_wrap=True)
    if bundle:
        use = f"python {shlex.quote(str(exported.out / 'predict.py'))} PICTURES --out masks"
        console.print(f"Use it:   {use}", markup=False, soft_wrap=True)
