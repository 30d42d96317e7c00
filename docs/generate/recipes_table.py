"""Write the page of the recipes, `docs/reference/recipes.md`: `python docs/generate/recipes_table.py`."""

import inspect
from itertools import groupby
from pathlib import Path

from pixelwise.recipes import RECIPES, PublishedRecipe

ROOT = Path(__file__).parents[2]
HEAD = """\
# Recipes

Written by `docs/generate/recipes_table.py`; on the terminal: `pixelwise list recipes`, or with `--json`.

Each name is what `pixelwise train NAME --data ROOT` takes: [how](../how-to/train-a-published-recipe.md). Scores are
the paper's mean IoU in percent, on the pictures that the recipe is evaluated on or on those in brackets; "–" where none
was read. Steps are those of all stages. What is not known
for certain is marked UNVERIFIED in the recipe's notes, which `pixelwise train NAME --show` prints.

"""


def published(recipe: PublishedRecipe) -> str:
    """The published mean IoU; with its place where that of the recipe's own pictures was not read."""
    if recipe.expected is None:
        return "–"
    place, _, unread = recipe.expected.source.partition("; that of ")
    return f"{recipe.expected.mean_iou:.2f}" + (f" ({place})" if unread else "")


def row(recipe: PublishedRecipe) -> str:
    """A recipe's line."""
    stages = ", ".join(f"`{stage.name}`" for stage in recipe.stages)
    steps = f"{recipe.steps:,}".replace(",", " ")
    return f"| `{recipe.name}` | {recipe.paper} | {published(recipe)} | {recipe.evaluation} | {stages} | {steps} |"


def page() -> str:
    """The page of the documentation."""
    parts = [HEAD]
    for module, names in groupby(RECIPES, key=lambda name: inspect.getmodule(RECIPES[name])):
        told = inspect.cleandoc(module.__doc__ or "")
        title, _, rest = told.partition("\n\n")
        parts.append(f"## {title.rstrip('.')}\n\n{rest}\n\n")
        parts.append("| name | of | score | evaluated on | stages | steps |\n| --- | --- | ---: | --- | --- | ---: |\n")
        parts.append("\n".join(row(RECIPES[name]()) for name in names) + "\n\n")
    return "".join(parts).rstrip() + "\n"


def main() -> None:
    """Write the page."""
    (ROOT / "docs" / "reference" / "recipes.md").write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
