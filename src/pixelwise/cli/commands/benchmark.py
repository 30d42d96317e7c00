"""The command that compares this machine's pixelwise with its peers: `benchmark`."""

import json
from typing import Annotated

import typer
from rich.console import Console

from pixelwise.cli.options import JsonOption


def benchmark(
    only: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="One of argmax, confusion, crf, predict, data, import; may be given several times.",
        ),
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Smaller cases, few turns: see that all runs; the ratios say little.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Measure on this machine how fast pixelwise is beside the peers that are installed, in a minute or two.

    Both sides take turns in one process and must give the same answer. A ratio above 1 means that pixelwise is faster.
    """
    from pixelwise.cli.show.progress import progress_bar

    with progress_bar("measuring", quiet=as_json) as progress:
        from pixelwise.benchmark.comparisons import compare
        from pixelwise.benchmark.machine import described
        from pixelwise.benchmark.turns import Ratio

        found = compare(only or (), quick=quick, progress=progress)
    machine = described()
    ratios = [one for one in found if isinstance(one, Ratio)]
    if as_json:
        missing = [one.to_record() for one in found if not isinstance(one, Ratio)]
        record = {"machine": machine, "quick": quick, "ratios": [one.to_record() for one in ratios], "missing": missing}
        typer.echo(json.dumps(record, ensure_ascii=False))
    else:
        from pixelwise.cli.show.ratios import print_ratios

        print_ratios(Console(highlight=False), machine, found, quick=quick)
    if not all(one.equal for one in ratios):
        raise typer.Exit(1)
