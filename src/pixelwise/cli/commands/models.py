"""Commands on model files and names: `import-weights`, `export`, `list`."""

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from pixelwise.cli.options import JsonOption, ModelArgument, numbers_from, opened, size_from
from pixelwise.errors import DataError


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
    from pixelwise.cli.show.models import print_imported
    from pixelwise.weights.import_files import import_weights as run_import

    if out.exists() and not overwrite:
        raise DataError(f"{out} exists already; choose another --out, or --overwrite")
    segmenter, report = run_import(
        *files,
        model=model,
        format=format_,
        classes=classes,
        mean=numbers_from("--mean", mean, "R,G,B"),
        scale=scale,
        size=size_from(size),
        partial=partial,
    )
    print_imported(Console(highlight=False), segmenter, report, segmenter.save(out))


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
            help="Write nothing where fewer labels are the model's; 0.999, and 0.99 with --int8, if left out.",
        ),
    ] = None,
    bits: Annotated[int, typer.Option(help="Of the pictures' values: 8 or 16.")] = 8,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier export.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Write a model for programs without pixelwise, pixels in and classes out, and compare its labels."""
    from pixelwise.cli.show.models import print_exported
    from pixelwise.flow.export import export as run_export

    segmenter = opened(model)
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


class Kind(StrEnum):
    """What `list` lists."""

    models = "models"
    datasets = "datasets"
    recipes = "recipes"
    weights = "weights"


def list_(
    kind: Annotated[Kind, typer.Argument(help="What to list.", show_default=False)], as_json: JsonOption = False
) -> None:
    """List names that commands take: networks with their papers; data sets with classes and splits; recipes; weights.

    Recipes are what `pixelwise train` takes, each with the score that its paper has. Published weights are MODEL for
    every command: downloaded once, or brought, as their line says.
    """
    if kind is Kind.recipes:
        from pixelwise.cli.show.lists import print_recipes, recipes_table

        if as_json:
            typer.echo(json.dumps({"recipes": recipes_table()}, ensure_ascii=False))
        else:
            print_recipes(Console(highlight=False), recipes_table())
        return
    if kind is Kind.weights:
        from pixelwise.cli.show.lists import print_weights, weights_table

        if as_json:
            typer.echo(json.dumps({"weights": weights_table()}, ensure_ascii=False))
        else:
            print_weights(Console(highlight=False), weights_table())
        return
    if kind is Kind.models:
        from pixelwise.cli.show.lists import models_table, print_models

        if as_json:
            typer.echo(json.dumps({"models": models_table()}, ensure_ascii=False))
        else:
            print_models(Console(highlight=False), models_table())
        return
    from pixelwise.cli.show.lists import print_datasets
    from pixelwise.data import list_datasets
    from pixelwise.flow.data_sets import facts

    if as_json:
        known = {name: facts(name) for name in list_datasets()}
        details = {name: None if found is None else found.to_record() for name, found in known.items()}
        typer.echo(json.dumps({"datasets": list_datasets(), "details": details}, ensure_ascii=False))
    else:
        print_datasets(Console(highlight=False))
