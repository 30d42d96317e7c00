"""Write the parts of the papers' pages that come from the code: `python docs/generate/papers_pages.py`.

The pages `docs/papers/*.md` are written by hand, but for what stands between `<!-- generated: KIND MODULE … -->` and
`<!-- end -->`:

| kind | what is written |
| --- | --- |
| `code MODULE NAME` | the source of a class, function or method |
| `networks MODULE …` | the networks of these files, in numbers |
| `recipes MODULE [PREFIX]` | recipes, the published score, and what was reached here |
| `differences MODULE …` | what the headers of these files say of differences, and of what is UNVERIFIED |
| `notes MODULE [PREFIX]` | the same of recipes: their file's header, and the notes of each |
"""

import importlib
import inspect
import re
import textwrap
from collections.abc import Callable
from pathlib import Path

from recipes_table import published

from pixelwise.models import MODELS
from pixelwise.models.facts import stored
from pixelwise.recipes import RECIPES, PublishedRecipe

ROOT = Path(__file__).parents[2]
PAGES = ROOT / "docs" / "papers"
RESULTS = ROOT / "benchmarks" / "RESULTS.md"
PART = re.compile(r"<!-- generated: (?P<kind>\w+) (?P<words>[^>]*?) -->\n.*?<!-- end -->", re.S)

# mean IoU in percent that a recipe reached, in a run that benchmarks/RESULTS.md tells of; none was run to its end
REACHED: dict[str, float] = {}
NOT_YET = "not reproduced here yet"


def link(module: str) -> str:
    """A link from a paper's page to a module's file."""
    path = "src/" + module.replace(".", "/") + ".py"
    return f"[{path}](../../{path})"


def header(module: str) -> str:
    """The docstring of a file."""
    return inspect.cleandoc(importlib.import_module(module).__doc__ or "")


def code(module: str, name: str) -> str:
    """The source of something in a module."""
    found: object = importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    source = textwrap.dedent(inspect.getsource(found)).rstrip()  # type: ignore[arg-type]
    return f"`{name}` in {link(module)}:\n\n<!-- not run: a part of a file -->\n```python\n{source}\n```"


def milliseconds() -> dict[str, str]:
    """The times that `benchmarks/networks.py` measured, as `benchmarks/RESULTS.md` has them."""
    text = RESULTS.read_text(encoding="utf-8")
    return dict(re.findall(r"^\| `(\w+)` \| (\d+) \| [\d.]+ \| \d+ \|$", text, re.M))


def networks(*modules: str) -> str:
    """A table of their networks."""
    times, known = milliseconds(), {one.name: one for one in stored()}
    rows = [
        "| network | parameters | multiply-adds | output stride | sees | time |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, builder in MODELS.items():
        if builder.__module__ not in modules:
            continue
        one = known[name]
        field = "whole picture" if one.receptive_field is None else f"{one.receptive_field} pixels"
        time = f"{times[name]} ms" if name in times else "–"
        rows.append(
            f"| `{name}` | {one.parameters:,} | {one.multiply_adds / 1e9:.1f} G | {one.output_stride} | {field} "
            f"| {time} |".replace(",", " ")
        )
    return "\n".join(rows)


def recipes(module: str, prefix: str = "") -> str:
    """A table of recipes."""
    rows = ["| recipe | of | published | evaluated on | here |", "| --- | --- | --- | --- | --- |"]
    for name, recipe in _recipes(module, prefix).items():
        here = f"{REACHED[name]:.2f}" if name in REACHED else NOT_YET
        rows.append(f"| `{name}` | {recipe.paper} | {published(recipe)} | {recipe.evaluation} | {here} |")
    return "\n".join(rows)


def differences(*modules: str) -> str:
    """What headers say from their first **Differences** on."""
    parts = []
    for module in modules:
        _, mark, told = header(module).partition("**Differences")
        assert mark, f"{module} says nothing of differences"
        parts.append(f"{link(module)}. {mark}{told}")
    return "\n\n".join(parts)


def notes(module: str, prefix: str = "") -> str:
    """What a file of recipes says, and the notes of single ones."""
    parts = [differences(module)]
    by_note: dict[str, list[str]] = {}
    for name, recipe in _recipes(module, prefix).items():
        for note in recipe.notes:
            by_note.setdefault(note, []).append(name)
    if by_note:
        parts.append("Of single recipes:")
        parts.append("\n".join(f"- {', '.join(f'`{n}`' for n in names)}: {note}." for note, names in by_note.items()))
    return "\n\n".join(parts)


def _recipes(module: str, prefix: str) -> dict[str, PublishedRecipe]:
    builders = {name: builder for name, builder in RECIPES.items() if builder.__module__ == module}
    return {name: builder() for name, builder in builders.items() if name.startswith(prefix)}


KINDS: dict[str, Callable[..., str]] = {
    "code": code,
    "networks": networks,
    "recipes": recipes,
    "differences": differences,
    "notes": notes,
}


def filled(text: str) -> str:
    """A page with its generated parts written anew."""

    def write(part: re.Match[str]) -> str:
        written = KINDS[part["kind"]](*part["words"].split())
        return f"<!-- generated: {part['kind']} {part['words']} -->\n\n{written}\n\n<!-- end -->"

    return PART.sub(write, text)


def main() -> None:
    """Write all pages."""
    for path in sorted(PAGES.glob("*.md")):
        text = path.read_text(encoding="utf-8")
        new = filled(text)
        if new != text:
            path.write_text(new, encoding="utf-8")
            print(f"written: {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
