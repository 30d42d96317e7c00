"""How far long work is: a bar on a terminal, a line now and then elsewhere."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from rich.console import Console
from rich.filesize import decimal
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.text import Text

from pixelwise.cli.speaker import leads

DOWNLOADING = "downloading"  # what is counted in bytes
SEGMENTING = "segmenting"  # what is counted in images
PLAIN_EVERY = 10.0  # seconds between plain lines


@contextmanager
def progress_bar(what: str, *, quiet: bool = False) -> Iterator[Callable[[int, int], None]]:
    """A callback (done, all) that moves a bar on a terminal and prints a line now and then elsewhere.

    A download is counted in bytes, all of them 0 where nobody knows. Of several processes the first one shows it.
    """
    console = Console(stderr=True, highlight=False)
    if quiet or not leads():
        yield lambda done, total: None
    elif console.is_terminal:
        with new_bar(console, what) as bar:
            task: TaskID | None = None

            def move(done: int, total: int) -> None:
                nonlocal task
                if task is None:
                    task = bar.add_task(what, total=total or None, completed=done)
                bar.update(task, completed=done, total=total or None)

            yield move
    else:
        began = last = time.monotonic()
        begun: int | None = None  # it may go on where an earlier one ended
        unit = _unit(what)

        def line(done: int, total: int) -> None:
            nonlocal began, last, begun
            now = time.monotonic()
            if begun is None and what in (DOWNLOADING, SEGMENTING):
                began = last = now  # before was preparation
                begun = done
            begun = begun or 0
            if now - last > PLAIN_EVERY:
                last = now
                speed = (done - begun) / (now - began)
                left = f", {duration((total - done) / speed)} left" if speed and total else ""
                if what == DOWNLOADING:
                    told = f"{decimal(done)}{f' of {decimal(total)}' if total else ''}, {decimal(round(speed))}/s{left}"
                else:
                    told = f"{done} of {total}{f', {_rate(speed, unit)}{left}' if speed else ''}"
                console.print(f"{what}: {told}", soft_wrap=True)

        yield line


@contextmanager
def download_bar(name: str) -> Iterator[Callable[[int, int], None]]:
    """A callback (bytes so far, of the whole file) of published weights, which also says where their file goes."""
    from pixelwise.weights.cache import place_of
    from pixelwise.weights.catalogue import CATALOGUE

    console = Console(stderr=True, highlight=False, quiet=not leads())
    began = False
    with progress_bar(DOWNLOADING) as move:

        def show(done: int, total: int) -> None:
            nonlocal began
            if not began:
                began = True
                place = place_of(CATALOGUE[name])
                console.print(
                    f"Downloading {place.name} into {place.parent}/; after Ctrl-C the next time goes on from there",
                    markup=False,
                    soft_wrap=True,
                )
            move(done, total)

        yield show


def segmenting_bar(*, quiet: bool) -> "AbstractContextManager[Callable[[int, int], None]]":
    """A callback (done, all) of pictures, frames and tiles."""
    return progress_bar(SEGMENTING, quiet=quiet)


def new_bar(console: Console, what: str) -> Progress:
    """A bar that counts bytes, images or steps."""
    of_bytes = what == DOWNLOADING
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        DownloadColumn() if of_bytes else MofNCompleteColumn(),
        TransferSpeedColumn() if of_bytes else _Rate(_unit(what)),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    )


class _Rate(ProgressColumn):
    """How fast it goes."""

    def __init__(self, unit: str) -> None:
        super().__init__()
        self._unit = unit

    def render(self, task: Task) -> Text:
        return Text(_rate(task.speed, self._unit) if task.speed else "")


def _unit(what: str) -> str:
    return " images" if what == SEGMENTING else ""


def _rate(speed: float, unit: str = "") -> str:
    """So many a second, or seconds for each.

    >>> _rate(12.34), _rate(12.34, " images"), _rate(0.25)
    ('12.3/s', '12.3 images/s', '4.0 s each')
    """
    return f"{speed:.1f}{unit}/s" if speed >= 1 else f"{1 / speed:.1f} s each"


def duration(seconds: float) -> str:
    """Minutes and seconds: 90 is 1:30."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"
