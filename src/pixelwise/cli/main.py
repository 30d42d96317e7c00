"""The command line: its commands, and what becomes of their errors.

Each command imports what it needs when it runs, so that `--help` does not import torch.

Exit codes: 0 fine, 1 a problem in the user's input or data, 2 wrong usage, 130 interrupted.
"""

import contextlib
import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from pixelwise import __version__
from pixelwise.cli.commands import benchmark, folders, learn, measure, models, use
from pixelwise.cli.speaker import complain, several
from pixelwise.errors import BadOption, PixelwiseError, UnknownName

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SHARED = ("train", "evaluate", "predict")  # commands that several processes of torchrun share
# newer versions of typer carry their own copy of click; both raise subclasses of this one
UsageError: type[Exception] = typer.BadParameter.__bases__[0]
app = typer.Typer(
    name="pixelwise",
    help="Semantic segmentation for people: from a folder of pictures and masks to a working segmenter.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"pixelwise {__version__}")
        raise typer.Exit


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the whole traceback of an error.")] = False,
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
) -> None:
    """Semantic segmentation for people."""


COMMANDS: "dict[str, Callable[..., None]]" = {  # in the order of --help
    "fit": learn.fit,
    "train": learn.train,
    "check": folders.check,
    "convert": folders.convert,
    "predict": use.predict,
    "evaluate": measure.evaluate,
    "tune-crf": measure.tune_crf,
    "import-weights": models.import_weights,
    "heatmap": use.heatmap,
    "export": models.export,
    "report": learn.report,
    "list": models.list_,
    "demo": learn.demo,
    "serve": use.serve,
    "benchmark": benchmark.benchmark,
}
for _name, _command in COMMANDS.items():
    app.command(_name)(_command)


@contextmanager
def _joined(arguments: list[str]) -> "Iterator[None]":
    """Join the processes that `torchrun` started, of which the first one speaks."""
    if not several():
        yield
        return
    verb = next((argument for argument in arguments if not argument.startswith("-")), "")
    if verb not in SHARED:
        raise BadOption(
            f"{verb or 'this'} runs in one process; leave out torchrun, which is for {', '.join(SHARED[:-1])} and "
            f"{SHARED[-1]}"
        )
    from pixelwise.processes import joined

    with joined() as processes, open(os.devnull, "w", encoding="utf-8") as silence:  # noqa: PTH123 – no file
        with contextlib.nullcontext() if processes.leads else contextlib.redirect_stdout(silence):
            yield


def main(arguments: list[str] | None = None) -> None:
    """Run a command; the process ends with its exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in arguments
    arguments = [a for a in arguments if a != "--debug"]
    try:
        with _joined(arguments):
            code = app(arguments, standalone_mode=False, prog_name="pixelwise")
    except (typer.Abort, KeyboardInterrupt):
        typer.echo("interrupted", err=True)
        code = 130
    except UsageError as error:
        error.show()  # type: ignore[attr-defined]  # typer does not export the class that has it
        code = 2
    except PixelwiseError as error:
        if debug:
            raise
        complain(error)
        code = 2 if isinstance(error, BadOption | UnknownName) else 1
    except OSError as error:
        if debug:
            raise
        place = f" ({error.filename})" if error.filename else ""
        complain(f"{error.strerror or error}{place}")
        code = 1
    code = code if isinstance(code, int) else 0
    if several():
        from pixelwise.processes import end

        end(code)
    raise SystemExit(code)
