"""What is told of a model's dense CRF: where settings stand in for its own, and what `tune-crf` found."""

import math
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pixelwise.cli.show.progress import duration

if TYPE_CHECKING:
    from pixelwise.flow.tune_crf import Tuned
    from pixelwise.inference.crf_search import CRFSearch
    from pixelwise.segmenter import Segmenter

FEW_PICTURES = 20  # up to which more of them may show that a CRF helps


def print_preset(console: Console, segmenter: "Segmenter", model: Path, crf: bool | None) -> None:
    """Where a CRF was asked for that the model does not have: which settings stand in, and how to get its own."""
    if segmenter.refinement is not None or not crf:
        return
    refinement = segmenter.refinement_for(crf)
    assert refinement is not None
    console.print(
        f"CRF: {refinement.origin}; pixelwise tune-crf {shlex.quote(str(model))} DATA tunes it to yours",
        markup=False,
        soft_wrap=True,
    )


def _unhelpful(search: "CRFSearch") -> str:
    """Why a CRF is not stored."""
    from pixelwise.inference.crf_search import LEAST_PICTURES

    if not search.judged:
        return f"It is not judged on {search.pictures}, as {LEAST_PICTURES} pictures with labeled pixels are needed"
    if not search.gain > 0:
        return "It did not help"
    more = "; more pictures may tell" if search.pictures < FEW_PICTURES else ""
    return f"It was not shown to help, as the interval reaches below 0{more}"


def print_tuned(console: Console, tuned: "Tuned", model: Path, out: Path | None = None) -> None:
    """The settings that a search found, what they gain, and where they are; `out` was asked for as a new model file."""
    unwritten = f"{model} is unchanged" if out is None else f"{out} was not written"
    search, p = tuned.search, tuned.search.parameters
    low, high = search.interval
    interval = "" if math.isnan(low) else f" (95 % interval {low:+.4f} to {high:+.4f})"
    found = (
        f"w1 {p.bilateral_weight:g}, σα {p.bilateral_sigma_pixels:g}, σβ {p.bilateral_sigma_color:g}; "
        f"fixed: w2 {p.spatial_weight:g}, σγ {p.spatial_sigma_pixels:g}, {search.steps} steps, "
        f"normalization {p.normalization}"
    )
    scores = (
        f"{search.mean_iou_without:.4f} without the CRF, {search.mean_iou_with:.4f} with it, cross-validated on "
        f"{search.pictures} picture{'s' if search.pictures != 1 else ''} "
        f"{'of the folder' if tuned.part == 'all' else f'(from {tuned.part})'}"
    )
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row("Best settings", escape(found))
    table.add_row("Mean IoU", escape(scores))
    table.add_row("Gain", f"{search.gain:+.4f}{interval}")
    table.add_row("Tried", f"{len(search.tried)} settings on all of them; {duration(tuned.seconds)} in all")
    if search.note:
        table.add_row("Note", escape(search.note))
    console.print(table)
    if tuned.stored is not None:
        console.print(
            f"It helped: stored in {tuned.stored}; predict and evaluate use it from now on.",
            style="bold",
            markup=False,
            soft_wrap=True,
        )
        if tuned.earlier is not None and tuned.stored == model:
            console.print(f"It replaces the one that was there ({tuned.earlier.origin}).", markup=False, soft_wrap=True)
        return
    if tuned.fault:
        console.print("It helped, but is not stored.", style="bold", markup=False, soft_wrap=True)
        return
    console.print(f"{_unhelpful(search)}: {unwritten}.", style="bold", markup=False, soft_wrap=True)
    if tuned.earlier is not None:
        console.print(
            f"The CRF that it has stays ({tuned.earlier.origin}); predict and evaluate leave it out with --no-crf.",
            markup=False,
            soft_wrap=True,
        )
