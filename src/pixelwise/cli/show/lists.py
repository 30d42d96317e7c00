"""What `list` shows, read without torch: networks, data sets, recipes, published weights."""

import json
import re
from importlib.resources import files
from typing import Any

from rich.console import Console
from rich.text import Text


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
