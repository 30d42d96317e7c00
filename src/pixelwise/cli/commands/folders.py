"""Commands on folders of pictures and masks: `check` and `convert`."""

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from pixelwise.cli.options import (
    AsOption,
    ClassesOption,
    DatasetOption,
    FolderArgument,
    JsonOption,
    LabelsFrom,
    LabelsOption,
)
from pixelwise.errors import DataError, DataQuestion


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
    from pixelwise.cli.show.folder import print_understanding
    from pixelwise.cli.show.progress import progress_bar
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


class Form(StrEnum):
    """What `convert` writes."""

    folder = "folder"
    voc = "voc"


def convert(
    root: FolderArgument,
    out: Annotated[Path, typer.Argument(help="A new folder.", show_default=False)],
    to: Annotated[Form, typer.Option(help="A plain folder, or PASCAL VOC's form.")] = Form.folder,
    dataset: DatasetOption = None,
    as_: AsOption = None,
    classes: ClassesOption = None,
) -> None:
    """Write any folder that is understood as a plain one: images/, masks/ and classes.yaml."""
    from pixelwise.cli.show.progress import progress_bar
    from pixelwise.flow.check import look_at
    from pixelwise.flow.convert import convert as run_convert

    with progress_bar("reading files") as progress:
        understanding = look_at(root, dataset=dataset, read_as=as_ or (), classes=classes, progress=progress)
    with progress_bar("writing") as progress:
        done = run_convert(understanding, out, to="voc" if to is Form.voc else "folder", progress=progress)
    count = ", ".join(f"{n} {split}" if split != "all" else str(n) for split, n in done.splits.items())
    Console(highlight=False).print(f"{count} pictures with masks written to {done.out}/", markup=False, soft_wrap=True)
