"""What `evaluate` shows: scores, measures beside them, two models compared."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from pixelwise.flow.evaluate import Comparison
    from pixelwise.inference.classify import Classification
    from pixelwise.inference.evaluate import Evaluation
    from pixelwise.labels import LabelSet

SHOWN_WIDTHS = (1, 2, 3, 5, 7, 10, 15, 20, 30, 40)  # of a trimap


def print_scores(console: Console, part: str, evaluation: "Evaluation | Classification") -> None:
    """The scores of an evaluation with their protocol."""
    scores: Any = evaluation.scores
    if not hasattr(scores, "mean_iou"):
        console.print(
            f"[bold]Accuracy {scores.accuracy:.4f}[/bold] by picture, on {len(evaluation.pictures)} pictures "
            f"({escape(part)}); mean over the classes {scores.mean_accuracy:.4f}"
        )
        console.print(picture_table(scores, None))
        if scores.classes_left_out:
            console.print(f"{scores.classes_left_out} classes have no picture here and are left out of the mean.")
        console.print(f"Protocol: {evaluation.protocol}.", style="dim")
        return
    measured: Any = evaluation
    console.print(
        f"[bold]Mean IoU {scores.mean_iou:.4f}[/bold] on {_pictures(measured)} ({escape(part)}), by {scores.protocol}"
        f"{_interval_told(measured)}"
    )
    console.print(
        f"pixel accuracy {scores.pixel_accuracy:.4f}, mean accuracy {scores.mean_accuracy:.4f}, "
        f"frequency-weighted IoU {scores.frequency_weighted_iou:.4f}"
    )
    for name, value in scores.extra.items():
        console.print(f"{spoken(name)} {'–' if math.isnan(value) else f'{value:.4f}'}")
    console.print(score_table(scores, None))
    for table, values in scores.tables.items():
        console.print(_value_table(spoken(table), values))
    if math.isnan(scores.mean_iou) and scores.classes_left_out:
        console.print(
            f"{scores.classes_left_out} class{'es occur' if scores.classes_left_out != 1 else ' occurs'} nowhere here, "
            f"so that {scores.protocol} has no mean; "
            "--protocol fcn leaves them out.",
            style="yellow",
        )
    elif scores.classes_left_out:
        rule = measured.accumulator.protocol
        own = f", or not scored by {rule.name}," if rule.left_out or rule.ignored else ""
        be = "classes are" if scores.classes_left_out != 1 else "class is"
        console.print(
            f"{scores.classes_left_out} {be} in neither masks nor predictions{own} and {be.split()[1]} left out."
        )
    for name, found in measured.measures.items():
        _print_measure(console, name, found)
    console.print(f"Protocol: {evaluation.protocol}.", style="dim")


def _pictures(evaluation: "Evaluation") -> str:
    count = len(evaluation.pictures)
    return f"{count} picture{'s' if count != 1 else ''}"


def _interval_told(evaluation: "Evaluation") -> str:
    found = evaluation.interval
    if found is None or math.isnan(found.low):
        return ""
    return f"\n95 % interval {found.low:.4f} to {found.high:.4f}, by bootstrap over pictures"


def spoken(name: str) -> str:
    """A measure's name in words."""
    return name.replace("_", " ").replace("iou", "IoU")


def _value_table(heading: str, values: Mapping[str, float]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("")
    table.add_column(heading.removesuffix(" IoU"))
    table.add_column("IoU", justify="right")
    for name, value in values.items():
        table.add_row("", escape(name), "–" if math.isnan(value) else f"{value:.3f}")
    return table


def _print_measure(console: Console, name: str, found: Any) -> None:
    """A measure beside the scores: a few figures, and what they mean."""
    table = Table(box=None, pad_edge=False, header_style="dim", title=name, title_justify="left", title_style="bold")
    if isinstance(found, tuple):
        for heading in ("factor", "mean IoU"):
            table.add_column(heading, justify="right")
        for bound in found:
            table.add_row(str(bound.factor), f"{bound.scores.mean_iou:.4f}")
        note = found[0].one_line.partition("; ")[2]
    elif hasattr(found, "widths"):
        for heading in ("width", "mean IoU", "pixel accuracy", "of pixels"):
            table.add_column(heading, justify="right")
        total = max(found.pixels[-1], 1)
        for i, width in enumerate(found.widths):
            if width in SHOWN_WIDTHS:
                cells = (found.mean_iou[i], found.pixel_accuracy[i])
                share = f"{found.pixels[i] / total:.0%}"
                table.add_row(str(width), *("–" if math.isnan(v) else f"{v:.4f}" for v in cells), share)
        table.columns[-1].header = f"of the pixels at {found.widths[-1]}"
        note = found.one_line
    else:
        table.add_column("class")
        table.add_column("boundary F", justify="right")
        for cls, value in found.per_class.items():
            table.add_row(escape(cls), "–" if math.isnan(value) else f"{value:.3f}")
        table.add_row("mean over pictures", f"{found.mean:.4f}")
        note = found.note
    console.print(table)
    console.print(f"{escape(note)}.", style="dim")


def print_comparison(console: Console, compared: "Comparison", first: str, second: str) -> None:
    """Two models on the same pictures: both means, the paired difference, and the IoU of each class."""
    found = compared.difference
    scores = compared.first.scores
    table = Table(box=None, pad_edge=False, show_header=False)
    for model, evaluation in ((first, compared.first), (second, compared.second)):
        interval = _interval_told(evaluation).strip().partition(",")[0]
        table.add_row(escape(model), f"[bold]{evaluation.scores.mean_iou:.4f}[/bold]", interval)
    if found is not None and not math.isnan(found.low):
        table.add_row(
            "difference", f"[bold]{found.value:+.4f}[/bold]", f"95 % interval {found.low:+.4f} to {found.high:+.4f}"
        )
    console.print(f"Mean IoU on {_pictures(compared.first)} ({escape(compared.part)}), by {scores.protocol}")
    console.print(table)
    if found is not None and not math.isnan(found.low):
        console.print(
            f"{second} is better in {found.above_zero:.0%} of {found.samples} bootstrap samples.", markup=False
        )
    classes = Table(box=None, pad_edge=False, header_style="dim")
    classes.add_column("IoU of")
    for heading in (first, second, "difference"):
        classes.add_column(escape(heading), justify="right", overflow="fold")
    for one, other in zip(scores.per_class, compared.second.scores.per_class, strict=True):
        cells = (f"{one.iou:.3f}", f"{other.iou:.3f}", f"{other.iou - one.iou:+.3f}")
        classes.add_row(escape(one.name), *(cell if "nan" not in cell else "–" for cell in cells))
    console.print(classes)
    for model, evaluation in ((first, compared.first), (second, compared.second)):
        for name, measure in evaluation.measures.items():
            _print_measure(console, f"{model}: {name}", measure)
    console.print(f"Protocol: {compared.first.protocol}.", style="dim")
    if compared.second.refinement != compared.first.refinement:
        own = compared.second.refinement
        told = "no CRF" if own is None else own.describe()
        console.print(f"{second} has {told}.", style="dim", markup=False)


def print_results(console: Console, out: Path, part: str, evaluation: "Evaluation | Classification") -> None:
    """Where the files for a test server are."""
    count = sum(1 for _ in out.rglob("*.png"))
    nothing = "" if evaluation.pictures else "; no picture has a mask, so that nothing was scored"
    console.print(
        f"{count} result file{'s' if count != 1 else ''} of {part} written to {out}/{nothing}",
        markup=False,
        soft_wrap=True,
    )


def score_of(scores: Any) -> float:
    """The score that a run is followed by: mean IoU, or mean accuracy by picture."""
    return float(scores.mean_iou if hasattr(scores, "mean_iou") else scores.mean_accuracy)


def picture_table(scores: Any, labels: "LabelSet | None") -> Table:
    """Pictures, precision and recall of each class, by picture."""
    return _class_table(scores, labels, ("pictures", "precision", "recall"))


def score_table(scores: Any, labels: "LabelSet | None") -> Table:
    """IoU, precision and recall of each class, by pixel."""
    return _class_table(scores, labels, ("IoU", "precision", "recall"))


def _class_table(scores: Any, labels: "LabelSet | None", columns: Sequence[str]) -> Table:
    """A row a class: its color, its name, and what it has under each column's name."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("")
    table.add_column("class")
    for name in columns:
        table.add_column(name, justify="right")
    for i, row in enumerate(scores.per_class):
        red, green, blue = labels.palette[i] if labels is not None else (0, 0, 0)
        swatch = Text("  ", style=f"on rgb({red},{green},{blue})") if labels is not None else Text("")
        values = (getattr(row, name.lower()) for name in columns)
        cells = (str(v) if isinstance(v, int) else "–" if math.isnan(v) else f"{v:.3f}" for v in values)
        table.add_row(swatch, escape(row.name), *cells)
    return table
