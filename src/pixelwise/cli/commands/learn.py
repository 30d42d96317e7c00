"""Commands that train: `fit`, `train`, `demo`; and `report`, which writes a run's page again."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from pixelwise.cli.options import (
    AsOption,
    ClassesOption,
    FolderArgument,
    LabelsFrom,
    LabelsOption,
    TrackOption,
    counts_from,
    settings_from,
)
from pixelwise.errors import BadOption, unknown_name

if TYPE_CHECKING:
    from pixelwise.flow.events import Tell

STARTED = time.monotonic()


def fit(
    folder: FolderArgument,
    out: Annotated[Path | None, typer.Option(help="Run folder; runs/NAME if left out.")] = None,
    minutes: Annotated[float | None, typer.Option(help="Time for everything; 10 if left out, 30 for a curve.")] = None,
    steps: Annotated[int | None, typer.Option(help="Training steps instead of a time.")] = None,
    model: Annotated[str | None, typer.Option(help="A network of `pixelwise list models`.")] = None,
    seed: Annotated[int | None, typer.Option(help="0 if left out; same data, plan and seed: same model.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a run that was stopped.")] = False,
    plan_only: Annotated[bool, typer.Option("--plan-only", help="Write plan.yaml and stop.")] = False,
    plan: Annotated[Path | None, typer.Option(help="Follow this plan.yaml.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a choice of the plan.")
    ] = None,
    as_: AsOption = None,
    classes: ClassesOption = None,
    labels: LabelsOption = LabelsFrom.masks,
    start: Annotated[
        Path | None,
        typer.Option(metavar="MODEL", help="Begin with the weights of this model.safetensors or published name."),
    ] = None,
    staged: Annotated[
        bool, typer.Option("--staged", help="Train FCN-32s, 16s and 8s one after the other, each from the last.")
    ] = False,
    no_pretrained: Annotated[
        bool, typer.Option("--no-pretrained", help="Start from random weights, and download none.")
    ] = False,
    track: TrackOption = None,
    curve: Annotated[
        bool,
        typer.Option("--learning-curve", help="Train on subsets: would more pictures help, which masks look wrong?"),
    ] = False,
    sizes: Annotated[
        str | None, typer.Option(metavar="N,N,…", help="Of a learning curve: numbers of training pictures.")
    ] = None,
    repeats: Annotated[
        int | None, typer.Option(help="Of a learning curve: trainings of each size; 3 if left out.")
    ] = None,
    unlabelled: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Of a learning curve: pictures to rank, which to label next."),
    ] = None,
) -> None:
    """Learn a segmenter from a folder of pictures and masks: check, plan, train, evaluate, report."""
    from pixelwise.cli.show.fit import FitDisplay

    if not curve and (sizes is not None or repeats is not None or unlabelled is not None):
        raise BadOption("--sizes, --repeats and --unlabelled are for a learning curve; add --learning-curve")
    display = FitDisplay(Console(highlight=False))
    display.hello(folder)
    from pixelwise.flow.fit import fit as run_fit

    tell = _tracked(display.tell, track)
    curve = curve or (resume and out is not None and (out / "curve.json").is_file())
    if curve:
        from pixelwise.flow.learning_curve import learning_curve

        if plan_only:
            raise BadOption("--plan-only writes a plan for one training; leave out --learning-curve, or --plan-only")
        with display:
            measured = learning_curve(
                folder,
                out=out,
                sizes=counts_from(sizes),
                repeats=repeats,
                minutes=minutes,
                steps=steps,
                seed=seed,
                unlabelled=unlabelled,
                resume=resume,
                settings=settings_from(set_ or []),
                model=model,
                plan=plan,
                read_as=as_ or (),
                classes=classes,
                labels=labels.value,
                start=start,
                staged=staged,
                pretrained=not no_pretrained,
                tell=tell,
                started_at=STARTED,
            )
        display.curve(measured)
        if measured.outcome == "interrupted":
            raise typer.Exit(130)
        return
    with display:
        result = run_fit(
            folder,
            out=out,
            minutes=minutes,
            steps=steps,
            model=model,
            seed=seed,
            resume=resume,
            plan_only=plan_only,
            plan=plan,
            settings=settings_from(set_ or []),
            read_as=as_ or (),
            classes=classes,
            labels=labels.value,
            start=start,
            staged=staged,
            pretrained=not no_pretrained,
            tell=tell,
            started_at=STARTED,
        )
    display.result(result, folder)
    if result.outcome == "interrupted":
        raise typer.Exit(130)


def train(
    recipe: Annotated[
        str, typer.Argument(help="A name of `pixelwise list recipes`, or a recipe.yaml.", show_default=False)
    ],
    data: Annotated[
        Path | None, typer.Option(metavar="ROOT", help="The folder that holds its data sets.", show_default=False)
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Override a setting of all stages, or of one, as fcn16s_vgg16.steps=100."
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Run folder; runs/RECIPE if left out.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a run that was stopped.")] = False,
    no_pretrained: Annotated[
        bool, typer.Option("--no-pretrained", help="Start from random weights, and download none.")
    ] = False,
    show: Annotated[bool, typer.Option("--show", help="Print the recipe as YAML, to edit, and train nothing.")] = False,
    track: TrackOption = None,
) -> None:
    """Train as a paper did: its network, data, settings and stages; the score is compared with the paper's."""
    settings = settings_from(set_ or [])
    if show:
        from pixelwise.flow.recipe_of_run import resolved

        typer.echo(resolved(recipe, settings, pretrained=not no_pretrained).to_yaml(), nl=False)
        return
    if data is None:
        raise BadOption("train needs the folder with the recipe's data sets: --data ROOT; or --show to see the recipe")
    from pixelwise.cli.show.fit import FitDisplay, print_trained

    console = Console(highlight=False)
    display = FitDisplay(console)
    display.hello(data)
    from pixelwise.flow.train_recipe import train_recipe

    tell = _tracked(display.tell, track)
    with display:
        result = train_recipe(
            recipe,
            data,
            out=out,
            resume=resume,
            settings=settings,
            pretrained=not no_pretrained,
            tell=tell,
        )
    print_trained(console, result, data)
    if result.outcome == "interrupted":
        raise typer.Exit(130)


def demo(
    out: Annotated[Path, typer.Option(help="Where everything goes.")] = Path("pixelwise-demo"),
    minutes: Annotated[float, typer.Option(help="Time for the fit.")] = 2.5,
) -> None:
    """Draw a small data set, learn it, segment new pictures, and say where everything is."""
    from pixelwise.cli.show.fit import FitDisplay

    console = Console(highlight=False)
    display = FitDisplay(console)
    display.hello(out / "data")
    from pixelwise.flow.demo import draw_demo, draw_new_pictures
    from pixelwise.flow.fit import fit as run_fit
    from pixelwise.flow.predicting.predict import find_pictures, predict_files

    for part in ("data", "new-pictures", "run", "predictions"):
        if (out / part).exists():
            raise BadOption(f"{out / part} exists already; choose another --out or remove it")
    draw_demo(out / "data")
    draw_new_pictures(out / "new-pictures")
    console.print(
        f"A small data set was drawn into {out / 'data'}/: pictures of garden beds, and their masks.",
        markup=False,
        soft_wrap=True,
    )
    with display:
        result = run_fit(out / "data", out=out / "run", minutes=minutes, tell=display.tell)
    if result.segmenter is None or result.outcome == "interrupted":
        display.result(result, out / "data")
        raise typer.Exit(130)
    predict_files(result.segmenter, find_pictures([str(out / "new-pictures")]), out / "predictions")
    display.result(result, out / "data")
    console.print(f"New pictures, segmented: {out / 'predictions' / 'overlay'}/", markup=False, soft_wrap=True)
    console.print("Your own data: [bold]pixelwise fit FOLDER[/bold], with images/ and masks/ in it.")


def report(run: Annotated[Path, typer.Argument(help="A run folder.", show_default=False)]) -> None:
    """Write RUN/report.html again from what the run holds."""
    from pixelwise.report.page import write_report

    typer.echo(f"{write_report(run)}")


def _tracked(tell: "Tell", name: str | None) -> "Tell":
    """What tells a run's events to the display, and to the program of `--track`, too."""
    if name is None:
        return tell
    from pixelwise.flow.tracking import TRACKERS, told_to

    if name not in TRACKERS:
        raise unknown_name("program to track with", name, TRACKERS)
    return told_to(tell, TRACKERS[name]())
