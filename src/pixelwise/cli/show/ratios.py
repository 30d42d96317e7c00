"""What `benchmark` shows: the machine, a table of ratios, and what is not installed."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table

if TYPE_CHECKING:
    from pixelwise.benchmark.turns import Missing, Ratio

LABEL_WIDTH, TIME, RATIO = 40, 10, 8  # characters
INDENT = 2


def print_ratios(
    console: Console, machine: Mapping[str, Any], found: "Sequence[Ratio | Missing]", *, quick: bool = False
) -> None:
    """Tables on a terminal, a line for each ratio elsewhere; what is missing after it, a line each."""
    from pixelwise.benchmark.turns import Ratio

    ratios = [one for one in found if isinstance(one, Ratio)]
    console.print(told(machine), markup=False, soft_wrap=True)
    if console.is_terminal and ratios:
        _print_tables(console, ratios)
    else:
        for one in ratios:
            console.print(f"{one.name}: {one.told}", markup=False, soft_wrap=True)
    for one in ratios:
        if not one.equal:
            console.print(f"{one.name}: the answers differ: {one.answers}", style="bold red", soft_wrap=True)
    for other in found:
        if not isinstance(other, Ratio):
            console.print(f"{other.name}: {other.told}", markup=False, soft_wrap=True)
    console.print(
        "Times are medians of turns taken one after the other; a ratio above 1: pixelwise is faster."
        + (" Quick cases are small and turns few, so that these ratios say little." if quick else ""),
        style="dim",
        soft_wrap=True,
    )


def told(machine: Mapping[str, Any]) -> str:
    """The machine in one line."""
    cores = f"{machine['cores']} core{'s' if machine['cores'] != 1 else ''}"
    threads = f"{machine['threads']} thread{'s' if machine['threads'] != 1 else ''}"
    return (
        f"{machine['processor']} ({machine['instructions']}), {cores}, {machine['memory_gib']:g} GiB, "
        f"{machine['gpu'] or 'no GPU'}; {machine['system']}, Python {machine['python']}, torch {machine['torch']} with "
        f"{threads}, pixelwise {machine['pixelwise']}"
    )


def _print_tables(console: Console, ratios: "Sequence[Ratio]") -> None:
    """One table for each peer of each comparison, all with the same columns."""
    from pixelwise.benchmark.turns import milliseconds, times

    width = min(max(len(_label(one)) for one in ratios) + INDENT, LABEL_WIDTH)
    console.print(f"{'':{width}}{'pixelwise':>{TIME}}{'peer':>{TIME}}{'ratio':>{RATIO}}", style="dim")
    for (name, peer), group in groupby(ratios, key=lambda one: (one.name, one.peer)):
        console.print(f"[bold]{name}[/bold], peer: {escape(peer)}", soft_wrap=True)
        table = Table(box=None, show_header=False, padding=0)
        table.add_column(width=width, overflow="fold")
        for column in (TIME, TIME, RATIO):
            table.add_column(width=column, justify="right", no_wrap=True)
        table.add_column()
        for one in group:
            spent = milliseconds(one.seconds), milliseconds(one.peer_seconds)
            table.add_row(
                Padding(escape(_label(one)), (0, 0, 0, INDENT)),
                *spent,
                f"[bold]{times(one.ratio)}[/bold]",
                f"  {escape(one.answers)}",
            )
        console.print(table)


def _label(one: "Ratio") -> str:
    return f"{one.case}{f', {one.way}' if one.way else ''}"
