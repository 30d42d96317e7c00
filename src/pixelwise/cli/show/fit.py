"""What `fit`, `train` and `demo` show: a live line on a terminal, plain lines elsewhere, and the result."""

import shlex
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from rich.console import Console
from rich.filesize import decimal
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.table import Table

from pixelwise.cli.show.folder import MOST_CLASSES, print_understanding
from pixelwise.cli.show.progress import DOWNLOADING, PLAIN_EVERY, duration, new_bar
from pixelwise.cli.show.scores import picture_table, print_scores, score_of, score_table, spoken
from pixelwise.report.outcome import crf_told, ended, next_commands, stage_told

if TYPE_CHECKING:
    from pixelwise.flow.events import CRFTried, FitEvent
    from pixelwise.flow.fit import FitResult
    from pixelwise.flow.learning_curve import CurveResult
    from pixelwise.flow.recipe_result import TrainResult
    from pixelwise.labels import LabelSet

CAVEAT = (
    "no label of a pixel was seen. The maps that this model gives say roughly where in a picture a class is, not where "
    "it ends, and how good they are was not measured; each place gets one of these classes, also where there is none."
)


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
                self.console.print(f"{ended(reason, step)} ({duration(seconds)} of training).")
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
            self.console.print(picture_table(scores, labels))
            self.console.print(f"[yellow]Coarse maps:[/yellow] {CAVEAT}")
            return
        self.console.print(
            f"[bold]Mean IoU {scores.mean_iou:.3f} on the {split} pictures[/bold], "
            f"pixel accuracy {scores.pixel_accuracy:.3f}"
        )
        self.console.print(score_table(scores, labels))

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
            self._bar = new_bar(self.console, what)
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
                    f"{event.images_per_second:.1f} images/s  {duration(left)} left"
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
            f"val {'mIoU' if self._score == 'mean IoU' else 'accuracy'} {quality}{best}  {duration(left)} left"
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
            table.add_row(spoken(measure), f"{found:.1f}", f"{expected:g}")
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
