"""What the commands show: a live line on a terminal, plain lines elsewhere."""

import json
import logging
import math
import os
import re
import shlex
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from rich.console import Console
from rich.filesize import decimal
from rich.markup import escape
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
from rich.table import Table
from rich.text import Text

from pixelwise.report.outcome import crf_told, ended, next_commands, stage_told

if TYPE_CHECKING:
    from pixelwise.data.layout import Fault
    from pixelwise.flow.doctor import Understanding
    from pixelwise.flow.evaluate import Comparison
    from pixelwise.flow.events import CRFTried, FitEvent
    from pixelwise.flow.export import Exported
    from pixelwise.flow.fit import FitResult
    from pixelwise.flow.heatmap import Drawn
    from pixelwise.flow.learning_curve import CurveResult
    from pixelwise.flow.train_recipe import TrainResult
    from pixelwise.flow.tune_crf import Tuned
    from pixelwise.inference.classify import Classification
    from pixelwise.inference.crf_search import CRFSearch
    from pixelwise.inference.evaluate import Evaluation
    from pixelwise.labels import LabelSet
    from pixelwise.segmenter import Segmenter
    from pixelwise.server.models import ServedModel
    from pixelwise.server.settings import Settings
    from pixelwise.surgery.transplant import Transplant

IMPORTED_CLASSES = 8  # that are named after an import
MOST_CLASSES = 40  # rows of the table of classes
FEW_PICTURES = 20  # up to which more of them may show that a CRF helps
SHOWN_WIDTHS = (1, 2, 3, 5, 7, 10, 15, 20, 30, 40)  # of a trimap
DOWNLOADING = "downloading"  # what is counted in bytes
SEGMENTING = "segmenting"  # what is counted in images
PLAIN_EVERY = 10.0  # seconds between plain lines
CAVEAT = (
    "no label of a pixel was seen. The maps that this model gives say roughly where in a picture a class is, not where "
    "it ends, and how good they are was not measured; each place gets one of these classes, also where there is none."
)


@contextmanager
def progress_bar(what: str, *, quiet: bool = False) -> Iterator[Callable[[int, int], None]]:
    """A callback (done, all) that moves a bar on a terminal and prints a line now and then elsewhere.

    A download is counted in bytes, all of them 0 where nobody knows. Of several processes the first one shows it.
    """
    console = Console(stderr=True, highlight=False)
    if quiet or not _leads():
        yield lambda done, total: None
    elif console.is_terminal:
        with _bar(console, what) as bar:
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
                left = f", {_duration((total - done) / speed)} left" if speed and total else ""
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

    console = Console(stderr=True, highlight=False, quiet=not _leads())
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


def _leads() -> bool:
    """Whether this process is the first of those that `torchrun` started, or the only one."""
    return os.environ.get("WORLD_SIZE", "1") in ("", "1") or os.environ.get("RANK", "0") == "0"


def _bar(console: Console, what: str) -> Progress:
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


class FitDisplay:
    """Shows a fit as it happens; `tell` takes its events."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._what = ""
        self._plain = 0.0
        self._steps = 0
        self._score = "mean IoU"
        self._stage = ""
        self._mean_iou: float | None = None
        self._best: float | None = None

    def hello(self, folder: Path) -> None:
        """The first sign of life, before anything slow is imported."""
        from pixelwise import __version__

        self.console.print(f"[bold]pixelwise {__version__}[/bold]  {escape(str(folder))}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop_bar()

    def tell(self, event: "FitEvent") -> None:
        """Show one event."""
        from pixelwise.flow import events
        from pixelwise.training import loop

        match event:
            case events.Started(minutes=minutes, run=run):
                if minutes is not None:
                    self.console.print(
                        f"This will take about {minutes:g} minutes, everything included. Results go to "
                        f"{escape(str(run))}/. Ctrl-C ends it early with what was learned."
                    )
                else:
                    self.console.print(
                        f"Results go to {escape(str(run))}/. Ctrl-C ends it early with what was learned."
                    )
            case events.Understood(understanding=understanding):
                self._stop_bar()
                print_understanding(self.console, understanding, short=True)
            case events.Planned(plan=plan, resumed=resumed):
                self._stop_bar()
                self._steps = plan.recipe.steps
                if plan.data.get("labels_from") == "folders":
                    self._score = "accuracy of pictures"
                if resumed:
                    self.console.print("Going on with the stored plan.")
                else:
                    self._plan(plan)
            case events.MemberBegan():
                self._stop_bar()
                self._steps, self._mean_iou, self._best = event.steps, None, None
                self.console.print(f"[bold]Training {event.number} of {event.total}[/bold]: {event.model}")
            case events.MemberMeasured(mean_iou=mean_iou):
                self._stop_bar()
                self.console.print(f"  mean IoU {mean_iou:.3f}")
            case events.StageBegan():
                self._stop_bar()
                self._steps, self._mean_iou, self._best = event.steps, None, None
                steps = f"{event.steps} step{'s' if event.steps != 1 else ''}"
                self._stage = stage_told(event.model, event.number, event.total)
                self.console.print(f"[bold]Stage {event.number} of {event.total}: {event.model}[/bold], {steps}")
            case events.WeightsTaken(begun=begun):
                self._stop_bar()
                self.console.print(f"Weights of {begun}", markup=False, soft_wrap=True)
            case events.Progressed(what=what, done=done, total=total):
                self._count(what, done, total)
            case loop.StepLogged():
                self._step(event)
            case loop.Validated(step=step, scores=scores, best=best):
                self._mean_iou = score_of(scores)
                self._best = self._mean_iou if best else self._best
                if not self.console.is_terminal:
                    note = "  (best so far)" if best else ""
                    self.console.print(f"step {step}: validation {self._score} {self._mean_iou:.3f}{note}")
            case loop.Ended(reason=reason, step=step, seconds=seconds):
                self._stop_bar()
                self.console.print(f"{ended(reason, step)} ({_duration(seconds)} of training).")
            case events.CRFTried():
                self._stop_bar()
                self.console.print(f"dense CRF: {_trial(event)}", markup=False, soft_wrap=True)

    def result(self, result: "FitResult", folder: Path) -> None:
        """Scores, and what to do next."""
        run, commands = result.run, next_commands(folder, result.run)
        if result.scores is None:
            self.console.print(
                f"The plan is in {run / 'plan.yaml'}. Edit it or not, then train by it:", markup=False, soft_wrap=True
            )
            self.console.print(f"  {commands['resume']}", soft_wrap=True, markup=False)
            return
        self.console.print()
        assert result.segmenter is not None
        self._scores(result.scores, result.split, result.segmenter.labels)
        self.console.print(f"Report:  {result.report}", soft_wrap=True, markup=False)
        self.console.print(f"Model:   {run / 'model.safetensors'}", soft_wrap=True, markup=False)
        self.console.print(f"Use it:  {commands['predict']}", soft_wrap=True, markup=False)
        if result.outcome == "interrupted":
            if self._stage:
                self.console.print(f"It is the best network so far of {self._stage}.", soft_wrap=True, markup=False)
            self.console.print(f"Go on:   {commands['resume']}", soft_wrap=True, markup=False)

    def curve(self, result: "CurveResult") -> None:
        """The table of a learning curve, and its answers."""
        record = result.record
        self.console.print()
        self.console.print(_curve_table(record))
        for answer in record["answers"]:
            self.console.print(answer, markup=False, soft_wrap=True)
        self.console.print(f"Report:  {result.report}", soft_wrap=True, markup=False)
        self.console.print(f"Tables:  {result.run / 'learning_curve.csv'}, doubted.csv", soft_wrap=True, markup=False)
        if "resume" in record["commands"]:
            self.console.print(f"Go on:   {record['commands']['resume']}", soft_wrap=True, markup=False)

    def _scores(self, scores: Any, split: str, labels: "LabelSet") -> None:
        if not hasattr(scores, "mean_iou"):
            right = int(scores.confusion.diagonal().sum())
            self.console.print(
                f"[bold]{right} of {int(scores.confusion.sum())} {split} pictures are taken for their own class"
                f"[/bold], accuracy {scores.accuracy:.3f}, mean over the classes {scores.mean_accuracy:.3f}"
            )
            self.console.print(_picture_table(scores, labels))
            self.console.print(f"[yellow]Coarse maps:[/yellow] {CAVEAT}")
            return
        self.console.print(
            f"[bold]Mean IoU {scores.mean_iou:.3f} on the {split} pictures[/bold], "
            f"pixel accuracy {scores.pixel_accuracy:.3f}"
        )
        self.console.print(_score_table(scores, labels))

    def _plan(self, plan: Any) -> None:
        recipe = plan.recipe.to_record()
        table = Table(
            title="Plan", title_justify="left", title_style="bold", box=None, show_header=False, pad_edge=False
        )
        table.add_column(no_wrap=True, style="cyan")
        table.add_column(overflow="fold")
        for key, reason in plan.reasons.items():
            if key == "model_options":
                continue  # they stand beside the model
            value = escape(_short(recipe.get(key), plan, key))
            table.add_row(key, f"[bold]{value}[/bold]{': ' if value else ''}{escape(reason)}")
        self.console.print(table)

    def _count(self, what: str, done: int, total: int) -> None:
        if not self.console.is_terminal:
            if what != self._what or time.monotonic() - self._plain > PLAIN_EVERY:
                self._what, self._plain = what, time.monotonic()
                size = (decimal(total) if total else "size unknown") if what == DOWNLOADING else f"{total}"
                self.console.print(f"{what} ({size}) …")
            return
        if self._bar is None or what != self._what:
            self._stop_bar()
            self._what = what
            self._bar = _bar(self.console, what)
            self._bar.start()
            self._task = self._bar.add_task(what, total=total or None, completed=done)
        assert self._task is not None
        self._bar.update(self._task, completed=done, total=total or None)
        if done >= total > 0:
            self._stop_bar()

    def _step(self, event: Any) -> None:
        left = (self._steps - event.step) * event.seconds / max(event.step, 1)
        quality = f"{self._mean_iou:.3f}" if self._mean_iou is not None else "–"
        if not self.console.is_terminal:
            if time.monotonic() - self._plain > PLAIN_EVERY:
                self._plain = time.monotonic()
                self.console.print(
                    f"step {event.step}/{self._steps}  loss {event.loss:.3f}  rate {event.rate:.2g}  "
                    f"{event.images_per_second:.1f} images/s  {_duration(left)} left"
                )
            return
        if self._bar is None or self._what != "training":
            self._stop_bar()
            self._what = "training"
            self._bar = Progress(
                TextColumn("training"),
                BarColumn(bar_width=20),
                TextColumn("{task.fields[text]}"),
                console=self.console,
                transient=True,
            )
            self._bar.start()
            self._task = self._bar.add_task("training", total=self._steps, text="")
        best = f" (best {self._best:.3f})" if self._best is not None else ""
        text = (
            f"{event.step}/{self._steps}  loss {event.loss:.3f}  rate {event.rate:.1e}  "
            f"val {'mIoU' if self._score == 'mean IoU' else 'accuracy'} {quality}{best}  {_duration(left)} left"
        )
        assert self._task is not None
        self._bar.update(self._task, completed=event.step, text=text)

    def _stop_bar(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def _curve_table(record: Mapping[str, Any]) -> Table:
    """Mean IoU, and IoU, precision and recall of each class, over training pictures; and what twice as many add."""
    from pixelwise.report.learning_curve import gain_told, points

    table = Table(box=None, pad_edge=False, title="In hundredths", title_justify="left", title_style="bold")
    table.add_column("pictures", overflow="fold")
    for size in record["sizes"]:
        table.add_column(str(size["pictures"]), justify="right")
    table.add_column("twice", justify="right")
    forecast = record["forecast"]

    def told(gain: Mapping[str, Any]) -> str:
        return gain_told(gain) if gain["verdict"] in ("gain", "hardly") else "–"

    whole = [points(size["mean_iou"]["value"]) for size in record["sizes"]]
    ends = [size["mean_iou"] for size in record["sizes"]]
    table.add_row("mean IoU", *whole, told(forecast["mean_iou"]), style="bold")
    table.add_row(
        "  95 % interval", *("–" if e["low"] is None else f"{points(e['low'])}–{points(e['high'])}" for e in ends), ""
    )
    for index, entry in enumerate(record["classes"][:MOST_CLASSES]):
        own = [size["per_class"][index] for size in record["sizes"]]
        iou = (points(scores["iou"]["value"]) for scores in own)
        both = (f"{points(s['precision']['value'])} · {points(s['recall']['value'])}" for s in own)
        table.add_row(f"{escape(entry['name'])} IoU", *iou, told(forecast["per_class"][index]))
        table.add_row("  precision · recall", *both, "", style="dim")
    return table


def _trial(tried: "CRFTried") -> str:
    """What became of the dense CRF that a fit tried."""
    search = tried.search
    if search is None:
        return tried.instead or f"not tried to the end, and not kept: {tried.why}"
    told = crf_told(search.mean_iou_without, search.mean_iou_with, search.interval, search.pictures, kept=tried.kept)
    return f"{told}{f' ({search.note})' if search.note else ''}"


def _short(value: Any, plan: Any, key: str) -> str:
    if key == "model":
        options = {k: v for k, v in plan.recipe.model_options.items() if k not in ("num_classes", "in_channels")}
        return f"{value} {' '.join(f'{k}={_option(v)}' for k, v in options.items())}".strip()
    if key == "budget":
        return f"{plan.budget_minutes:g} min"
    if key == "crop_size":
        return f"{value[0]} × {value[1]}, {plan.recipe.batch_size} a step"
    if key == "augmentation":
        return "varied views"
    if key == "crf":
        return f"{plan.crf_pictures} validation pictures" if plan.crf_pictures else ""
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _option(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def print_understanding(console: Console, understanding: "Understanding", *, short: bool = False) -> None:
    """What was found in a paragraph, a summary of the faults, the classes, notes, and the faults one by one."""
    u = understanding
    console.print(escape(u.told))
    if u.faults:
        console.print(f"[bold]{escape(fault_summary(u))}[/bold]")
    elif not short:
        console.print("No faults found.")
    _print_classes(console, u)
    for note in u.notes:
        console.print(f"Note: {escape(note)}", soft_wrap=True)
    faults = u.faults if not short else [f for f in u.faults if f.severity == "warning"]
    limit = 20 if not short else 5
    for fault in faults[:limit]:
        style = "bold red" if fault.severity == "error" else "yellow"
        console.print(f"[{style}]{fault.severity}[/{style}]: {escape(fault.message)}", soft_wrap=True)
    if len(faults) > limit:
        console.print(f"… and {len(faults) - limit} more", style="dim")


_KINDS = {
    "orphan": "without partner",
    "twin": "same name twice",
    "missing": "listed but missing",
    "unreadable": "cannot be read",
    "size": "size differs",
    "value": "wrong values",
    "blended": "smoothed edges",
    "kind": "other channels or bits",
    "void": "void",
    "classes": "classes missing or rare",
    "duplicate": "duplicates",
    "object": "outlines",
}


_FOLDER_KINDS = {
    "orphan": "in no class folder",
    "empty": "empty class folder",
    "value": "values that are no numbers",
}


def _kind_told(fault: "Fault", by_folder: bool) -> str:
    if not by_folder:
        return _KINDS[fault.kind]
    kind = "empty" if fault.kind == "classes" and fault.path is not None else fault.kind
    return _FOLDER_KINDS.get(kind, _KINDS.get(kind, kind))


def fault_summary(understanding: "Understanding") -> str:
    """How many errors and warnings of which kinds: "2 errors (size differs: 1, cannot be read: 1) and 1 warning …"."""
    parts = []
    for severity in ("error", "warning"):
        by_folder = understanding.labels_from == "folders"
        kinds = Counter(_kind_told(fault, by_folder) for fault in understanding.faults if fault.severity == severity)
        if kinds:
            total = kinds.total()
            listed = ", ".join(f"{kind}: {count}" for kind, count in kinds.most_common())
            parts.append(f"{total} {severity}{'s' if total != 1 else ''} ({listed})")
    return " and ".join(parts)


def _print_classes(console: Console, u: "Understanding") -> None:
    if u.labels_from == "folders":
        _print_folders(console, u)
        return
    total = max(int(u.pixel_counts.sum()), 1)
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("")
    table.add_column("class")
    table.add_column("in the masks", justify="right")
    table.add_column("pixels", justify="right")
    table.add_column("pictures", justify="right")
    shown = sorted(sorted(range(u.labels.num_classes), key=lambda i: -int(u.pixel_counts[i]))[:MOST_CLASSES])
    for i in shown:
        red, green, blue = u.labels.palette[i]
        share = u.pixel_counts[i] / total
        table.add_row(
            Text("  ", style=f"on rgb({red},{green},{blue})"),
            escape(u.labels.names[i]),
            u.labels.values_of(i),
            _percent(share),
            str(int(u.image_counts[i])),
        )
    if u.void_pixels:
        share = u.void_pixels / (total + u.void_pixels)
        table.add_row("", "void (not counted)", u.labels.values_of(u.labels.void), _percent(share), "", style="dim")
    console.print(table)
    if u.labels.num_classes > len(shown):
        console.print(f"… and {u.labels.num_classes - len(shown)} classes with fewer pixels", style="dim")


def _print_folders(console: Console, u: "Understanding") -> None:
    """The classes of class folders, with the pictures of each in each part."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("")
    table.add_column("class")
    parts = list(u.class_splits) if len(u.class_splits) > 1 else []
    for name in ("pictures", *parts):
        table.add_column(name, justify="right")
    shown = sorted(sorted(range(u.labels.num_classes), key=lambda i: -int(u.image_counts[i]))[:MOST_CLASSES])
    for i in shown:
        red, green, blue = u.labels.palette[i]
        counts = (u.image_counts, *(u.class_splits[part] for part in parts))
        swatch = Text("  ", style=f"on rgb({red},{green},{blue})")
        table.add_row(swatch, escape(u.labels.names[i]), *(str(int(count[i])) for count in counts))
    console.print(table)
    if u.labels.num_classes > len(shown):
        console.print(f"… and {u.labels.num_classes - len(shown)} classes with fewer pictures", style="dim")


def _percent(share: float) -> str:
    """A share in percent, with two digits that matter."""
    if share == 0:
        return "0"
    return f"{share:.1%}" if share >= 0.001 else f"{share * 100:.2g}%"


def print_scores(console: Console, part: str, evaluation: "Evaluation | Classification") -> None:
    """The scores of an evaluation with their protocol."""
    scores: Any = evaluation.scores
    if not hasattr(scores, "mean_iou"):
        console.print(
            f"[bold]Accuracy {scores.accuracy:.4f}[/bold] by picture, on {len(evaluation.pictures)} pictures "
            f"({escape(part)}); mean over the classes {scores.mean_accuracy:.4f}"
        )
        console.print(_picture_table(scores, None))
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
        console.print(f"{_spoken(name)} {'–' if math.isnan(value) else f'{value:.4f}'}")
    console.print(_score_table(scores, None))
    for table, values in scores.tables.items():
        console.print(_value_table(_spoken(table), values))
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


def _spoken(name: str) -> str:
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


def dataset_lines() -> list[tuple[str, str, str]]:
    """(name, number of classes, splits with their official numbers of pictures) of each data set."""
    from pixelwise.data import list_datasets
    from pixelwise.flow.data_sets import facts

    lines = []
    for name in list_datasets():
        known = facts(name)
        if known is None:
            lines.append((name, "any", "any folder that `pixelwise check` understands"))
            continue
        classes = "+".join(str(labels.num_classes) for labels in known.classes.values())
        # trainval is train and val together; the page of the documentation has it
        both = known.splits.get("train", 0) + known.splits.get("val", 0)
        shown = [f"{split} {n}" for split, n in known.splits.items() if (split, n) != ("trainval", both)]
        lines.append((name, classes, ", ".join(shown)))
    return lines


def print_datasets(console: Console) -> None:
    """One line each, which begins with the name: classes, splits."""
    for name, classes, splits in dataset_lines():
        console.print(f"{name:17}{classes:>4}  {splits}", markup=False, soft_wrap=True)


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
    table.add_row("Tried", f"{len(search.tried)} settings on all of them; {_duration(tuned.seconds)} in all")
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


def score_of(scores: Any) -> float:
    """The score that a run is followed by: mean IoU, or mean accuracy by picture."""
    return float(scores.mean_iou if hasattr(scores, "mean_iou") else scores.mean_accuracy)


def _picture_table(scores: Any, labels: "LabelSet | None") -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("")
    table.add_column("class")
    for name in ("pictures", "precision", "recall"):
        table.add_column(name, justify="right")
    for i, row in enumerate(scores.per_class):
        red, green, blue = labels.palette[i] if labels is not None else (0, 0, 0)
        swatch = Text("  ", style=f"on rgb({red},{green},{blue})") if labels is not None else Text("")
        cells = ("–" if math.isnan(v) else f"{v:.3f}" for v in (row.precision, row.recall))
        table.add_row(swatch, escape(row.name), str(row.pictures), *cells)
    return table


def _score_table(scores: Any, labels: "LabelSet | None") -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("")
    table.add_column("class")
    for name in ("IoU", "precision", "recall"):
        table.add_column(name, justify="right")
    for i, row in enumerate(scores.per_class):
        red, green, blue = labels.palette[i] if labels is not None else (0, 0, 0)
        swatch = Text("  ", style=f"on rgb({red},{green},{blue})") if labels is not None else Text("")
        cells = ("–" if math.isnan(v) else f"{v:.3f}" for v in (row.iou, row.precision, row.recall))
        table.add_row(swatch, escape(row.name), *cells)
    return table


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


def request_log() -> None:
    """The server's lines of log, one a request, to standard error."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%Y-%m-%d %H:%M:%S"))
    logger = logging.getLogger("pixelwise.server")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    for parser in ("tifffile", "python_multipart"):
        logging.getLogger(parser).setLevel(logging.CRITICAL)  # a refused upload has one line, ours


def print_serving(console: Console, served: Sequence["ServedModel"], settings: "Settings", url: str) -> None:
    """What is served, where, and what happens to corrections."""
    for model in served:
        names = model.segmenter.labels.names
        shown = ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
        console.print(f"{model.name}: {shown}", markup=False, soft_wrap=True)
    kept = "are not saved (--read-only)" if settings.read_only else f"go to {settings.corrections}/"
    console.print(f"Corrections {kept}.", markup=False, soft_wrap=True)
    if not settings.local and settings.token is None:
        console.print("Anyone who reaches this machine can use it; --token asks for one.", soft_wrap=True)
    console.print(f"Open {url}/ – Ctrl-C ends.", markup=False, soft_wrap=True)


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


def models_table() -> list[dict[str, Any]]:
    """The stored facts of all networks, oldest first; read without importing them, and so without torch."""
    text = files("pixelwise").joinpath("models", "facts.json").read_text(encoding="utf-8")
    records: list[dict[str, Any]] = json.loads(text)
    return records


def print_models(console: Console, records: list[dict[str, Any]]) -> None:
    """On a terminal under their papers, elsewhere one line each that begins with the name and has no heading."""
    width = max(len(r["name"]) for r in records)

    def numbers(record: dict[str, Any]) -> list[str]:
        field = record["receptive_field"]
        return [
            f"{record['parameters'] / 1e6:.1f} M".rjust(10),
            f"{record['multiply_adds'] / 1e9:.1f} G".rjust(13),
            f"{record['output_stride']}".rjust(6),
            ("whole" if field is None else f"{field}").rjust(5),
        ]

    if not console.is_terminal:
        authors = max(len(r["authors"]) for r in records)
        for r in records:
            paper = f"{r['authors']:{authors}}  {r['year']}"
            console.print(f"{r['name']:{width}}  {paper}", *numbers(r), markup=False, soft_wrap=True)
        return
    console.print(f"  {'':{width}}", "parameters", "multiply-adds", "stride", "field", style="dim", no_wrap=True)
    heading = ""
    for r in records:
        if heading != f"{r['authors']} {r['year']}":
            heading = f"{r['authors']} {r['year']}"
            title = Text.assemble((heading, "bold"), f"  {r['title']}")
            console.print(title, no_wrap=True, overflow="ellipsis")
        console.print(f"  {r['name']:{width}}", *numbers(r), markup=False, no_wrap=True)
    console.print(
        "Parameters for 21 classes; multiply-adds of the convolutions at 500 × 500; output stride and receptive field "
        "of the scores in pixels.",
        style="dim",
    )


def weights_table() -> list[dict[str, Any]]:
    """The records of all published weights, and whether their files are on this machine; read without torch."""
    from pixelwise.weights.cache import place_of
    from pixelwise.weights.catalogue import CATALOGUE

    return [
        record.to_record() | {"place": str(place_of(record)), "here": place_of(record).is_file()}
        for record in CATALOGUE.values()
    ]


def print_weights(console: Console, records: list[dict[str, Any]]) -> None:
    """One line each: name, megabytes, how to get it, and what it reached; on a terminal as much of it as fits."""
    from pixelwise.weights.catalogue import megabytes

    width = max(len(r["name"]) for r in records)
    if console.is_terminal:
        console.print(f"{'':{width}}  {'size':>7}  {'file':8}  score", style="dim", no_wrap=True, overflow="ellipsis")
    for r in records:
        size = "unknown" if r["size"] is None else f"{megabytes(r['size'])} MB"
        how = "here" if r["here"] else "download" if r["addresses"] else "bring"
        score = r["score"] or "unknown"
        line = f"{r['name']:{width}}  {size:>7}  {how:8}  "
        if not console.is_terminal:
            console.print(f"{line}{score}", markup=False, soft_wrap=True)
        elif len(line) + len(score) <= console.width:
            console.print(f"{line}{score}", markup=False, no_wrap=True)
        else:  # the first number; the name tells the data
            first = re.split(", | on | of ", score)[0]
            console.print(f"{line}{first}", markup=False, no_wrap=True, overflow="ellipsis")
    if console.is_terminal:
        console.print(
            "Each name is a MODEL of every command. A file to bring has no address that a program could ask: the "
            "command says which it is and where to put it. --json tells addresses, checksums, licenses and networks.",
            style="dim",
        )


def recipes_table() -> list[dict[str, Any]]:
    """All recipes: name, paper, network, data, steps, what they should reach, command."""
    from pixelwise.recipes import RECIPES

    found = []
    for make in RECIPES.values():
        recipe = make()
        expected = recipe.expected
        found.append(
            {
                "name": recipe.name,
                "paper": recipe.paper,
                "network": recipe.model,
                "stages": [stage.name for stage in recipe.stages],
                "train": [str(data) for stage in recipe.stages for data in stage.train],
                "evaluation": str(recipe.evaluation),
                "protocol": recipe.protocol,
                "steps": recipe.steps,
                "mean_iou": None if expected is None else expected.mean_iou,
                "expected": None if expected is None else expected.model_dump(),
                "notes": list(recipe.notes),
                "command": recipe.command,
            }
        )
    return found


def print_recipes(console: Console, records: list[dict[str, Any]]) -> None:
    """A line each: name, the paper's mean IoU in percent, steps in thousands, paper."""
    name = max(len(record["name"]) for record in records)
    for record in records:
        score = "unknown" if record["mean_iou"] is None else f"{record['mean_iou']:.2f}"
        steps = f"{record['steps'] / 1000:.0f}k"
        console.print(
            f"{record['name']:<{name}}  {score:>7}  {steps:>5}  {record['paper']}", markup=False, soft_wrap=True
        )


def print_trained(console: Console, result: "TrainResult", data: Path) -> None:
    """What a recipe reached beside what its paper has, and what to do next."""
    if result.outcome == "interrupted":
        recipe, place = shlex.quote(result.recipe.name), shlex.quote(str(result.run))
        go_on = f"pixelwise train {recipe} --data {shlex.quote(str(data))} --resume --out {place}"
        console.print(f"Go on:   {go_on}", markup=False, soft_wrap=True)
        return
    evaluation = result.evaluation
    if evaluation is None:
        return
    console.print()
    print_scores(console, str(result.recipe.evaluation), evaluation)
    if result.compared:
        table = Table(box=None, pad_edge=False)
        table.add_column("in percent", no_wrap=True)
        table.add_column("found", justify="right")
        table.add_column("expected", justify="right")
        for measure, (found, expected) in result.compared.items():
            table.add_row(_spoken(measure), f"{found:.1f}", f"{expected:g}")
        console.print(table)
        assert result.recipe.expected is not None
        console.print(f"Expected: {result.recipe.expected.source}", markup=False, soft_wrap=True)
    else:
        console.print(f"No score to compare with was read for {result.recipe.paper}.", markup=False, soft_wrap=True)
    console.print(f"Began with: {result.start}", markup=False, soft_wrap=True)
    for note in result.recipe.notes:
        console.print(f"Note: {note}", markup=False, soft_wrap=True)
    console.print(f"Report:  {result.report}", markup=False, soft_wrap=True)
    console.print(f"Model:   {result.run / 'model.safetensors'}", markup=False, soft_wrap=True)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"
