"""Who speaks, of one process or several: complaints go to standard error, and the rest is told by the first."""

import os

import typer
from rich.console import Console


def complain(message: object) -> None:
    """Print what went wrong to standard error, after the name of who says it."""
    rank = os.environ.get("RANK", "0") if several() else "0"
    who = "pixelwise" if rank == "0" else f"pixelwise, process {rank}"
    Console(stderr=True, highlight=False, soft_wrap=True).print(f"[bold red]{who}:[/bold red] ", end="")
    typer.echo(str(message), err=True)


def several() -> bool:
    """Whether `torchrun` started this process beside others."""
    return os.environ.get("WORLD_SIZE", "1") not in ("", "1")


def leads() -> bool:
    """Whether this process is the first of those that `torchrun` started, or the only one."""
    return not several() or os.environ.get("RANK", "0") == "0"
