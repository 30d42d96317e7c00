"""The commands. Each imports what it needs when it runs, so that `--help` does not import torch.

Exit codes: 0 fine, 1 a problem in the user's input or data, 2 wrong usage, 130 interrupted.
"""

import contextlib
import json
import os
import sys
import time
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from pixelwise import __version__
from pixelwise.errors import BadOption, DataError, DataQuestion, PixelwiseError, UnknownName, unknown_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from pixelwise.flow.events import Tell
    from pixelwise.inference.classify import Classification
    from pixelwise.inference.evaluate import Evaluation
    from pixelwise.inference.views import Views
    from pixelwise.segmenter import Segmenter

STARTED = time.monotonic()
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


class Form(StrEnum):
    """What `convert` writes."""

    folder = "folder"
    voc = "voc"


class Competition(StrEnum):
    """What `evaluate` writes results for."""

    comp5 = "comp5"
    comp6 = "comp6"


class Kind(StrEnum):
    """What `list` lists."""

    models = "models"
    datasets = "datasets"
    recipes = "recipes"
    weights = "weights"


class PredictionPrecision(StrEnum):
    """What `predict` and `evaluate` compute in."""

    auto = "auto"
    fp32 = "fp32"
    bf16 = "bf16"


class LabelsFrom(StrEnum):
    """What tells the classes of a folder."""

    masks = "masks"
    folders = "folders"


class Fusion(StrEnum):
    """How what is seen at several scales becomes one answer."""

    mean = "mean"
    max = "max"


FolderArgument = Annotated[Path, typer.Argument(help="Folder with pictures and masks.", show_default=False)]
ModelArgument = Annotated[
    Path, typer.Argument(help="A model.safetensors, or a name of `pixelwise list weights`.", show_default=False)
]
AsOption = Annotated[
    list[str] | None,
    typer.Option("--as", metavar="ANSWER", help="Answer what the folder leaves open, as 255=void, masks=labels, snap."),
]
ClassesOption = Annotated[
    Path | None, typer.Option(metavar="FILE", help="A classes.yaml or .txt instead of the one near the masks.")
]
DatasetOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Read it as one of `pixelwise list datasets`, with options as NAME,key=value; found if left out.",
    ),
]
LabelsOption = Annotated[
    LabelsFrom,
    typer.Option("--labels", help="What tells the classes: masks, or a folder for each class of whole pictures."),
]
CRFOption = Annotated[
    bool | None,
    typer.Option(
        "--crf/--no-crf",
        help="Refine the labels with a dense CRF; with the model's own, where it has one, if left out.",
        show_default=False,
    ),
]
ScalesOption = Annotated[
    str | None,
    typer.Option(
        "--scales",
        metavar="S,S,…",
        help="Fuse what is seen at these scales, as 0.5,1,1.5; or a paper's whole test, as deeplab_v3 or pspnet.",
    ),
]
FlipOption = Annotated[bool, typer.Option("--flip", help="Fuse with the mirrored picture, too.")]
FusionOption = Annotated[
    Fusion | None, typer.Option("--fusion", help="Mean of probabilities, or max of scores; mean if left out.")
]
WindowOption = Annotated[
    str | None,
    typer.Option(
        metavar="SIZE",
        help="Slide windows of this size over the picture, as 713 or 512,1024, at strides of two thirds.",
    ),
]
PrecisionOption = Annotated[
    PredictionPrecision,
    typer.Option(help="auto is bf16 where the machine has it and the model's validation found the same labels."),
]
EngineOption = Annotated[str, typer.Option(help="What runs the network: torch, openvino or onnxruntime.")]
TrackOption = Annotated[
    str | None, typer.Option("--track", metavar="PROGRAM", help="Draw curves as it trains: tensorboard.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]


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


@app.command()
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
    from pixelwise.cli.show import FitDisplay

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
                sizes=_counts(sizes),
                repeats=repeats,
                minutes=minutes,
                steps=steps,
                seed=seed,
                unlabelled=unlabelled,
                resume=resume,
                settings=_settings(set_ or []),
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
            settings=_settings(set_ or []),
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


@app.command()
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
    settings = _settings(set_ or [])
    if show:
        from pixelwise.flow.train_recipe import resolved

        typer.echo(resolved(recipe, settings, pretrained=not no_pretrained).to_yaml(), nl=False)
        return
    if data is None:
        raise BadOption("train needs the folder with the recipe's data sets: --data ROOT; or --show to see the recipe")
    from pixelwise.cli.show import FitDisplay, print_trained

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


@app.command()
def check(
    folder: FolderArgument,
    dataset: DatasetOption = None,
    as_: AsOption = None,
    classes: ClassesOption = None,
    labels: LabelsOption = LabelsFrom.masks,
    write_classes: Annotated[
        Path | None, typer.Option("--write-classes", metavar="FILE", help="Write the classes to edit: classes.yaml.")
    ] = None,
    fix: Annotated[Path | None, typer.Option(metavar="OUT", help="Write a clean copy into this new folder.")] = None,
    page: Annotated[Path | None, typer.Option(metavar="FILE", help="The page; NAME-check.html if left out.")] = None,
    no_page: Annotated[bool, typer.Option("--no-page", help="Write no page.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Say what a folder is understood to be: layout, classes, colors, shares, sizes, splits, faults."""
    from pixelwise.cli.show import print_understanding, progress_bar
    from pixelwise.flow.check import check_folder

    console = Console(highlight=False)
    try:
        with progress_bar("reading files", quiet=as_json) as progress:
            checked = check_folder(
                folder,
                dataset=dataset,
                read_as=as_ or (),
                classes=classes,
                labels=labels.value,
                write_classes=write_classes,
                fix=fix,
                page=page,
                make_page=not no_page,
                progress=progress,
            )
    except DataError as error:
        if as_json:
            question = {"answers": list(error.answers)} if isinstance(error, DataQuestion) else {}
            typer.echo(json.dumps({"error": str(error)} | question, ensure_ascii=False))
        raise
    if as_json:
        typer.echo(json.dumps(checked.to_record(), ensure_ascii=False))
    else:
        print_understanding(console, checked.understanding)
        for line in checked.written:
            console.print(line, markup=False, soft_wrap=True)
    if checked.understanding.errors:
        raise typer.Exit(1)


@app.command()
def convert(
    root: FolderArgument,
    out: Annotated[Path, typer.Argument(help="A new folder.", show_default=False)],
    to: Annotated[Form, typer.Option(help="A plain folder, or PASCAL VOC's form.")] = Form.folder,
    dataset: DatasetOption = None,
    as_: AsOption = None,
    classes: ClassesOption = None,
) -> None:
    """Write any folder that is understood as a plain one: images/, masks/ and classes.yaml."""
    from pixelwise.cli.show import progress_bar
    from pixelwise.flow.check import look_at
    from pixelwise.flow.convert import convert as run_convert

    with progress_bar("reading files") as progress:
        understanding = look_at(root, dataset=dataset, read_as=as_ or (), classes=classes, progress=progress)
    with progress_bar("writing") as progress:
        done = run_convert(understanding, out, to="voc" if to is Form.voc else "folder", progress=progress)
    count = ", ".join(f"{n} {split}" if split != "all" else str(n) for split, n in done.splits.items())
    Console(highlight=False).print(f"{count} pictures with masks written to {done.out}/", markup=False, soft_wrap=True)


@app.command()
def predict(
    model: ModelArgument,
    inputs: Annotated[list[str], typer.Argument(help="Pictures, videos, folders or globs.", show_default=False)],
    out: Annotated[Path, typer.Option(help="Where the results go.", show_default=False)],
    save: Annotated[
        str | None,
        typer.Option(
            help="Any of mask,overlay,confidence,entropy,uncertainty,polygons,coco,areas; mask,overlay if left out, of "
            "videos overlay.",
            metavar="KINDS",
        ),
    ] = None,
    with_: Annotated[
        list[Path] | None,
        typer.Option("--with", metavar="MODEL", help="Average with this model, too; may be given several times."),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace results that exist.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Skip files whose results exist.")] = False,
    precision: PrecisionOption = PredictionPrecision.auto,
    engine: EngineOption = "torch",
    scales: ScalesOption = None,
    fusion: FusionOption = None,
    flip: FlipOption = False,
    window: WindowOption = None,
    crf: CRFOption = None,
    samples: Annotated[
        int | None, typer.Option(metavar="T", help="Samples of Monte-Carlo dropout, for uncertainty.")
    ] = None,
    tile: Annotated[
        str,
        typer.Option(
            metavar="SIZE",
            help="Side of the tiles of large pictures, in pixels. At 1024, which auto mostly is, a map of 64 channels "
            "takes 256 MiB, and a U-Net holds about four; at 512 a quarter.",
        ),
    ] = "auto",
    max_pixels: Annotated[
        int | None,
        typer.Option("--max-pixels", metavar="N", help="Refuse larger pictures; 178 956 970 if left out."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Segment pictures and videos with a model: palette PNGs and overlays, names kept."""
    from pixelwise.cli.predicted import print_predicted, segmenting_bar
    from pixelwise.cli.show import print_preset
    from pixelwise.flow.predicting.predict import find_pictures, predict_files

    console = Console(highlight=False)
    try:
        if tile != "auto" and not (tile.isdecimal() and int(tile)):
            raise BadOption(f"--tile is auto or a number of pixels, as 1024, got {tile!r}")
        if max_pixels is not None and max_pixels < 1:
            raise BadOption(f"--max-pixels is at least 1, got {max_pixels}")
        views = _views(scales, fusion, flip, window)
        segmenter, *others = (_opened(path, lambda: find_pictures(inputs, out)) for path in (model, *(with_ or ())))
        pictures = find_pictures(inputs, out)
        if not as_json:
            print_preset(console, segmenter, model, crf)
        with segmenting_bar(quiet=as_json) as progress:
            done = predict_files(
                segmenter,
                pictures,
                out,
                kinds=save,
                overwrite=overwrite,
                resume=resume,
                precision=precision.value,
                engine=engine,
                scales=views,
                crf=crf,
                samples=samples,
                tile=None if tile == "auto" else int(tile),
                max_pixels=max_pixels,
                others=others,
                progress=progress,
            )
    except PixelwiseError as error:
        if as_json:
            typer.echo(json.dumps({"error": str(error)}, ensure_ascii=False))
        raise
    except KeyboardInterrupt as error:
        typer.echo(f"interrupted; the results in {out}/ are whole, and --resume goes on from there", err=True)
        raise typer.Exit(130) from error
    if as_json:
        typer.echo(json.dumps(done.to_record(), ensure_ascii=False))
    else:
        print_predicted(console, done, out, crf=segmenter.refinement is not None and crf is not False)
    for fault in done.faults:
        _complain(fault)
    if done.faults:
        raise typer.Exit(1)


@app.command()
def evaluate(
    model: ModelArgument,
    data: Annotated[Path, typer.Argument(help="Folder with pictures and masks.", show_default=False)],
    dataset: DatasetOption = None,
    split: Annotated[str | None, typer.Option(help="Which part; test, else val, else all.")] = None,
    protocol: Annotated[
        str | None,
        typer.Option(
            metavar="P,P,…",
            help="How scores are counted, as fcn, voc or cityscapes, and what is measured beside them, as trimap_void; "
            "the data set's usual one if left out.",
        ),
    ] = None,
    scales: ScalesOption = None,
    fusion: FusionOption = None,
    flip: FlipOption = False,
    window: WindowOption = None,
    crf: CRFOption = None,
    compare: Annotated[
        Path | None, typer.Option(metavar="MODEL2", help="Another model: the paired difference, with its interval.")
    ] = None,
    save_results: Annotated[
        Path | None,
        typer.Option(metavar="OUT", help="Write files for the test server of VOC or Cityscapes; no masks needed."),
    ] = None,
    competition: Annotated[
        Competition | None,
        typer.Option(help="Of VOC's server: comp5 for a model trained on VOC alone; comp6 if left out."),
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE.svg", help="Draw the curve of trimap_void or trimap_labels.")
    ] = None,
    as_: AsOption = None,
    classes: ClassesOption = None,
    labels: Annotated[
        LabelsFrom | None, typer.Option("--labels", help="What tells the classes; as in training if left out.")
    ] = None,
    precision: PrecisionOption = PredictionPrecision.auto,
    engine: EngineOption = "torch",
    as_json: JsonOption = False,
) -> None:
    """Measure a model on pictures with masks, by a protocol, at the masks' own sizes; or on class folders."""
    from pixelwise.cli.show import print_comparison, print_preset, print_results, print_scores, progress_bar
    from pixelwise.data.answers import Answers
    from pixelwise.flow.evaluate import check_plot, compare_on_folder, evaluate_folder, plot_trimaps, record_of

    views = _views(scales, fusion, flip, window)
    if plot is not None:
        check_plot(protocol, plot)
    if competition is not None and save_results is None:
        raise BadOption("--competition names a folder of VOC's result files; give --save-results, too")
    if compare is not None and save_results is not None:
        raise BadOption("result files are of one model; leave out one of --compare and --save-results")
    segmenter = _opened(model, lambda: _check_there(data))
    other = None if compare is None else _opened(compare)
    answers = Answers.of(as_ or ())
    console = Console(highlight=False)
    if not as_json and labels is not LabelsFrom.folders:
        print_preset(console, segmenter, model, crf)
    with progress_bar("evaluating", quiet=as_json) as progress:
        if other is not None and compare is not None:
            compared = compare_on_folder(
                segmenter,
                other,
                data,
                dataset=dataset,
                split=split,
                protocol=protocol,
                scales=views,
                crf=crf,
                answers=answers,
                classes=classes,
                labels=None if labels is None else labels.value,
                precision=precision.value,
                engine=engine,
                progress=progress,
            )
            part, record = compared.part, compared.to_record()
            first, second = (model.stem, compare.stem) if model.stem != compare.stem else (str(model), str(compare))
            curves: Mapping[str, Evaluation | Classification] = {first: compared.first, second: compared.second}
        else:
            part, found = evaluate_folder(
                segmenter,
                data,
                dataset=dataset,
                split=split,
                protocol=protocol,
                scales=views,
                crf=crf,
                results=save_results,
                competition=None if competition is None else competition.value,
                answers=answers,
                classes=classes,
                labels=None if labels is None else labels.value,
                precision=precision.value,
                engine=engine,
                progress=progress,
            )
            record, curves = record_of(found), {model.stem: found}
    if plot is not None and record["pictures"]:
        plot_trimaps(curves, plot)
    if as_json:
        typer.echo(json.dumps({"split": part} | record, ensure_ascii=False))
        return
    if other is not None:
        print_comparison(console, compared, first, second)
    elif found.pictures:
        print_scores(console, part, found)
    if save_results is not None:
        print_results(console, save_results, part, found)
    if plot is not None and record["pictures"]:
        console.print(f"Plot: {plot}", markup=False, soft_wrap=True)


@app.command(name="tune-crf")
def tune_crf(
    model: ModelArgument,
    data: FolderArgument,
    dataset: DatasetOption = None,
    split: Annotated[
        str | None, typer.Option(help="Which part; val, else what the model was not trained on.", show_default=False)
    ] = None,
    pictures: Annotated[int, typer.Option(help="At most so many of it.")] = 100,
    as_: AsOption = None,
    classes: ClassesOption = None,
    out: Annotated[
        Path | None, typer.Option(metavar="MODEL2", help="A new model file; MODEL itself if left out.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Search the settings of a dense CRF behind a model, and store them in the model if they help."""
    from pixelwise.cli.show import print_tuned, progress_bar
    from pixelwise.data.answers import Answers
    from pixelwise.flow.tune_crf import tune_crf as run_tune_crf

    try:
        with progress_bar("tuning the CRF", quiet=as_json) as progress:
            tuned = run_tune_crf(
                model,
                data,
                dataset=dataset,
                split=split,
                pictures=pictures,
                answers=Answers.of(as_ or ()),
                classes=classes,
                out=out,
                progress=progress,
            )
    except KeyboardInterrupt as error:
        typer.echo(f"interrupted; {model} is unchanged", err=True)
        raise typer.Exit(130) from error
    if as_json:
        typer.echo(json.dumps(tuned.to_record(), ensure_ascii=False))
    else:
        print_tuned(Console(highlight=False), tuned, model, out)
    if tuned.fault:
        _complain(tuned.fault)
        raise typer.Exit(1)


@app.command(name="import-weights")
def import_weights(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE…",
            help="A .caffemodel, .pth, .pt or .safetensors; a Caffe network's deploy.prototxt, too.",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option(metavar="MODEL", help="The model file to write.", show_default=False)],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace it if it exists.")] = False,
    model: Annotated[
        str | None, typer.Option(metavar="NAME", help="The network; found by the file's layers if left out.")
    ] = None,
    format_: Annotated[
        str | None,
        typer.Option("--format", metavar="NAME", help="Whose file it is; found by its layers if left out."),
    ] = None,
    classes: Annotated[
        str | None,
        typer.Option(metavar="FILE|a,b,c", help="The classes' names, or a data set's; its own if left out."),
    ] = None,
    mean: Annotated[
        str | None, typer.Option(metavar="R,G,B", help="Taken from pictures, 0–255; the release's if left out.")
    ] = None,
    scale: Annotated[
        float | None, typer.Option(metavar="S", help="Pictures are multiplied by it then, as 0.00390625.")
    ] = None,
    size: Annotated[
        str | None, typer.Option(metavar="HxW", help="Pictures are resized to it; a classifier's window.")
    ] = None,
    partial: Annotated[bool, typer.Option("--partial", help="Take what fits, where not all does.")] = False,
) -> None:
    """Make a model of published weights: Caffe's with or without a prototxt, or PyTorch's."""
    from pixelwise.cli.show import print_imported
    from pixelwise.weights.import_files import import_weights as run_import

    if out.exists() and not overwrite:
        raise DataError(f"{out} exists already; choose another --out, or --overwrite")
    segmenter, report = run_import(
        *files,
        model=model,
        format=format_,
        classes=classes,
        mean=_numbers("--mean", mean, "R,G,B"),
        scale=scale,
        size=_size(size),
        partial=partial,
    )
    print_imported(Console(highlight=False), segmenter, report, segmenter.save(out))


@app.command()
def heatmap(
    classifier: ModelArgument,
    image: Annotated[Path, typer.Argument(help="A picture.", show_default=False)],
    name: Annotated[str, typer.Option("--class", metavar="NAME", help="Of which class.", show_default=False)],
    out: Annotated[Path | None, typer.Option(help="A .png or .jpg; PICTURE-CLASS.png here if left out.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace it if it exists.")] = False,
) -> None:
    """Draw where in a picture a class is likely: the picture, and the class's probability over it."""
    from pixelwise.cli.show import print_heatmap
    from pixelwise.flow.heatmap import draw_heatmap

    segmenter = _opened(classifier, lambda: _check_there(image))
    drawn = draw_heatmap(segmenter, image, name, out=out, overwrite=overwrite)
    print_heatmap(Console(highlight=False), drawn)


@app.command()
def export(
    model: ModelArgument,
    out: Annotated[
        Path,
        typer.Argument(help="A new .onnx, .pt2 or .xml (OpenVINO); a folder with --bundle.", show_default=False),
    ],
    confidence: Annotated[
        bool, typer.Option("--confidence", help="A second output: the probability of each label.")
    ] = False,
    check_on: Annotated[
        Path | None, typer.Option("--check", metavar="FOLDER", help="Compare the labels on these pictures, too.")
    ] = None,
    bundle: Annotated[
        bool, typer.Option("--bundle", help="A folder with model.onnx and a predict.py that needs no torch.")
    ] = False,
    int8: Annotated[bool, typer.Option("--int8", help="Convolutions in eight bits; needs --calibrate.")] = False,
    calibrate: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Pictures to measure ranges on, best with masks.")
    ] = None,
    least_equal: Annotated[
        float | None,
        typer.Option(
            "--least-equal",
            metavar="SHARE",
            help="Write nothing where fewer labels are the model's; 0.999, and 0.97 with --int8, if left out.",
        ),
    ] = None,
    bits: Annotated[int, typer.Option(help="Of the pictures' values: 8 or 16.")] = 8,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier export.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Write a model for programs without pixelwise, pixels in and classes out, and compare its labels."""
    from pixelwise.cli.show import print_exported
    from pixelwise.flow.export import export as run_export

    segmenter = _opened(model)
    exported = run_export(
        segmenter,
        out,
        confidence=confidence,
        check=check_on,
        bundle=bundle,
        int8=int8,
        calibrate=calibrate,
        least_equal=least_equal,
        overwrite=overwrite,
        bits=bits,
        source=model.name,
    )
    if as_json:
        typer.echo(json.dumps(exported.to_record(), ensure_ascii=False))
        return
    print_exported(Console(highlight=False), exported, bundle=bundle)


@app.command()
def report(run: Annotated[Path, typer.Argument(help="A run folder.", show_default=False)]) -> None:
    """Write RUN/report.html again from what the run holds."""
    from pixelwise.report.page import write_report

    typer.echo(f"{write_report(run)}")


@app.command(name="list")
def list_(
    kind: Annotated[Kind, typer.Argument(help="What to list.", show_default=False)], as_json: JsonOption = False
) -> None:
    """List names that commands take: networks with their papers; data sets with classes and splits; recipes; weights.

    Recipes are what `pixelwise train` takes, each with the score that its paper has. Published weights are MODEL for
    every command: downloaded once, or brought, as their line says.
    """
    if kind is Kind.recipes:
        from pixelwise.cli.show import print_recipes, recipes_table

        if as_json:
            typer.echo(json.dumps({"recipes": recipes_table()}, ensure_ascii=False))
        else:
            print_recipes(Console(highlight=False), recipes_table())
        return
    if kind is Kind.weights:
        from pixelwise.cli.show import print_weights, weights_table

        if as_json:
            typer.echo(json.dumps({"weights": weights_table()}, ensure_ascii=False))
        else:
            print_weights(Console(highlight=False), weights_table())
        return
    if kind is Kind.models:
        from pixelwise.cli.show import models_table, print_models

        if as_json:
            typer.echo(json.dumps({"models": models_table()}, ensure_ascii=False))
        else:
            print_models(Console(highlight=False), models_table())
        return
    from pixelwise.cli.show import print_datasets
    from pixelwise.data import list_datasets
    from pixelwise.flow.data_sets import facts

    if as_json:
        known = {name: facts(name) for name in list_datasets()}
        details = {name: None if found is None else found.to_record() for name, found in known.items()}
        typer.echo(json.dumps({"datasets": list_datasets(), "details": details}, ensure_ascii=False))
    else:
        print_datasets(Console(highlight=False))


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Where everything goes.")] = Path("pixelwise-demo"),
    minutes: Annotated[float, typer.Option(help="Time for the fit.")] = 2.5,
) -> None:
    """Draw a small data set, learn it, segment new pictures, and say where everything is."""
    from pixelwise.cli.show import FitDisplay

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


@app.command()
def serve(
    models: Annotated[
        list[Path] | None,
        typer.Argument(help="Model files, or names of `pixelwise list weights`; the demo model if left out."),
    ] = None,
    host: Annotated[str, typer.Option(help="Where to listen; 0.0.0.0 for other machines, too.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0 takes a free one.")] = 8000,
    token: Annotated[
        str | None, typer.Option(envvar="PIXELWISE_TOKEN", help="What clients must show.", show_envvar=True)
    ] = None,
    read_only: Annotated[bool, typer.Option("--read-only", help="Save no corrections.")] = False,
    corrections: Annotated[
        Path, typer.Option(metavar="FOLDER", help="Where corrected pictures go, for `pixelwise fit`.")
    ] = Path("corrections"),
    max_bytes: Annotated[int, typer.Option(help="Of a file.")] = 32 * 2**20,
    max_pixels: Annotated[int, typer.Option(help="Height × width of a picture.")] = 25_000_000,
    queue: Annotated[int, typer.Option(help="Pictures that may wait.")] = 32,
    timeout: Annotated[float, typer.Option(help="Seconds a picture may wait and take.")] = 60.0,
    threads: Annotated[int | None, typer.Option(help="To compute with; all cores if left out.")] = None,
    batch: Annotated[
        int | None,
        typer.Option(help="Pictures of one size at a time; 8 on a GPU and 1 without if left out.", show_default=False),
    ] = None,
) -> None:
    """Serve models: a web page and REST. Ctrl-C or SIGTERM finishes what is under way, and ends."""
    from pixelwise.server.settings import Settings, check_installed

    check_installed()
    settings = Settings(
        host=host,
        port=port,
        token=token or None,
        read_only=read_only,
        corrections=corrections,
        max_bytes=max_bytes,
        max_pixels=max_pixels,
        queue=queue,
        timeout=timeout,
        threads=threads,
        batch=batch,
    )
    from pixelwise.cli.show import print_serving, request_log
    from pixelwise.server.app import create_app
    from pixelwise.server.models import open_models
    from pixelwise.server.running import serve as run_server

    console = Console(highlight=False)
    served = open_models(models or (), open_one=_opened)
    request_log()
    run_server(create_app(served, settings), lambda url: print_serving(console, served, settings, url))


def _opened(model: Path, first: "Callable[[], object]" = lambda: None) -> "Segmenter":
    """The model of a file, or of published weights, which are downloaded where they are not here yet.

    Args:
        first: what is checked before anything is downloaded.
    """
    from pixelwise.cli.show import download_bar
    from pixelwise.weights.catalogue import CATALOGUE
    from pixelwise.weights.opening import open_model

    if str(model) in CATALOGUE and not model.is_file():
        first()
    with download_bar(str(model)) as progress:
        return open_model(model, progress=progress)


def _check_there(path: Path) -> None:
    if not path.exists():
        raise DataError(f"there is no {path}; check the path")


def _tracked(tell: "Tell", name: str | None) -> "Tell":
    """What tells a run's events to the display, and to the program of `--track`, too."""
    if name is None:
        return tell
    from pixelwise.flow.tracking import TRACKERS, told_to

    if name not in TRACKERS:
        raise unknown_name("program to track with", name, TRACKERS)
    return told_to(tell, TRACKERS[name]())


def _views(scales: str | None, fusion: Fusion | None, flip: bool, window: str | None) -> "Views":
    """How often and how a picture is seen, from the options."""
    from pixelwise.inference.views import views_of

    sides = None
    if window is not None:
        try:
            numbers = [int(part) for part in window.split(",")]
        except ValueError:
            numbers = []
        if len(numbers) not in (1, 2):
            raise BadOption(f"--window is one number or height,width, as 713 or 512,1024, got {window!r}")
        sides = numbers[0], numbers[-1]
    return views_of(scales, flip=flip, fusion=None if fusion is None else fusion.value, window=sides)


def _numbers(option: str, given: str | None, form: str) -> tuple[float, ...] | None:
    """`--mean 1,2,3` as numbers."""
    if given is None:
        return None
    try:
        return tuple(float(part) for part in given.split(","))
    except ValueError as error:
        raise BadOption(f"{option} is {form}, as 123.68,116.78,103.94, got {given!r}") from error


def _counts(given: str | None) -> list[int] | None:
    """`--sizes 5,10,20` as numbers."""
    if given is None:
        return None
    parts = given.split(",")
    if not all(part.strip().isdecimal() for part in parts):
        raise BadOption(f"--sizes is N,N,…, as 5,10,20,40, got {given!r}")
    return [int(part) for part in parts]


def _size(given: str | None) -> tuple[int, int] | None:
    """`--size 512x1024` as height and width."""
    if given is None:
        return None
    height, _, width = given.lower().partition("x")
    if not (height.isdecimal() and width.isdecimal() and int(height) and int(width)):
        raise BadOption(f"--size is height x width in pixels, as 512x1024, got {given!r}")
    return int(height), int(width)


def _settings(pairs: list[str]) -> dict[str, Any]:
    """`--set key=value` as {key: value}, the value read as YAML."""
    import yaml

    settings = {}
    for pair in pairs:
        key, sign, value = pair.partition("=")
        if not sign or not key:
            raise BadOption(f"--set takes KEY=VALUE, got {pair!r}")
        try:
            parsed = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise BadOption(f"--set {key}: {value!r} is no YAML value") from error
        if isinstance(parsed, str):
            try:
                parsed = float(parsed)  # YAML takes 1e-3 for a text
            except ValueError:
                pass
        settings[key] = parsed
    return settings


def _complain(message: object) -> None:
    rank = os.environ.get("RANK", "0") if _several() else "0"
    who = "pixelwise" if rank == "0" else f"pixelwise, process {rank}"
    Console(stderr=True, highlight=False, soft_wrap=True).print(f"[bold red]{who}:[/bold red] ", end="")
    typer.echo(str(message), err=True)


def _several() -> bool:
    """Whether `torchrun` started this process beside others."""
    return os.environ.get("WORLD_SIZE", "1") not in ("", "1")


@contextmanager
def _joined(arguments: list[str]) -> "Iterator[None]":
    """Join the processes that `torchrun` started, of which the first one speaks."""
    if not _several():
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
        _complain(error)
        code = 2 if isinstance(error, BadOption | UnknownName) else 1
    except OSError as error:
        if debug:
            raise
        place = f" ({error.filename})" if error.filename else ""
        _complain(f"{error.strerror or error}{place}")
        code = 1
    raise SystemExit(code if isinstance(code, int) else 0)


if __name__ == "__main__":
    main()
