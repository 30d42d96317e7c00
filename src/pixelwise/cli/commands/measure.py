"""Commands that measure a model on pictures with masks: `evaluate` and `tune-crf`."""

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from pixelwise.cli.options import (
    AsOption,
    ClassesOption,
    CRFOption,
    DatasetOption,
    EngineOption,
    FlipOption,
    FolderArgument,
    FusionOption,
    JsonOption,
    LabelsFrom,
    ModelArgument,
    PrecisionOption,
    PredictionPrecision,
    ScalesOption,
    WindowOption,
    check_there,
    opened,
    views_from,
)
from pixelwise.cli.speaker import complain
from pixelwise.errors import BadOption

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pixelwise.inference.classify import Classification
    from pixelwise.inference.evaluate import Evaluation


class Competition(StrEnum):
    """What `evaluate` writes results for."""

    comp5 = "comp5"
    comp6 = "comp6"


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
    from pixelwise.cli.show.progress import progress_bar
    from pixelwise.cli.show.refinement import print_preset
    from pixelwise.cli.show.scores import print_comparison, print_results, print_scores
    from pixelwise.data.answers import Answers
    from pixelwise.flow.evaluate import check_plot, compare_on_folder, evaluate_folder, plot_trimaps, record_of

    views = views_from(scales, fusion, flip, window)
    if plot is not None:
        check_plot(protocol, plot)
    if competition is not None and save_results is None:
        raise BadOption("--competition names a folder of VOC's result files; give --save-results, too")
    if compare is not None and save_results is not None:
        raise BadOption("result files are of one model; leave out one of --compare and --save-results")
    segmenter = opened(model, lambda: check_there(data))
    other = None if compare is None else opened(compare)
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
    from pixelwise.cli.show.progress import progress_bar
    from pixelwise.cli.show.refinement import print_tuned
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
        complain(tuned.fault)
        raise typer.Exit(1)
