"""What the site needs beyond its plugins.

- Markdown as GitHub takes it; GitHub shows the same pages.
- Links to files of the repository, such as `../../src/pixelwise/models/fcn.py`, lead to a page with the file's text.
- Docstrings whose examples are code, and whose arguments may stand together, as "first, second: …".

mkdocs calls the functions `on_…` (`hooks` in mkdocs.yml), and mkdocstrings uses `Docstrings` (`extensions` there).
"""

import posixpath
import re
from pathlib import Path
from typing import Any

import griffe
from mkdocs.structure.files import File, InclusionLevel

ROOT = Path(__file__).parents[2]
ALREADY = {
    "CONTRIBUTING.md": "contributing/index.md",
    "SECURITY.md": "contributing/security.md",
    "CHANGELOG.md": "contributing/changelog.md",
    "benchmarks/RESULTS.md": "reference/measurements.md",
}
"""{file of the repository: the page that shows it}."""
LANGUAGES = {".py": "python", ".toml": "toml", ".yaml": "yaml", ".yml": "yaml", ".sh": "sh"}

_FENCE = re.compile(r"^\s*(```|~~~)")
_ITEM = re.compile(r"^\s*(?:[-*+]|\d+\.)\s")
_INDENTED = re.compile(r"^(?: {4}|\t)")
_SEVERAL = re.compile(r"^    (\w+(?:, \w+)+): (.*)$")
_OUTSIDE = re.compile(r"\]\((?P<place>(?:\.\./)+[^)#\s]*)(?P<anchor>#[^)\s]*)?\)")


def blank_before_lists(text: str) -> str:
    r"""A blank line before each list: GitHub needs none after a paragraph, Python-Markdown does.

    >>> blank_before_lists("Either\n- this\n- or that").splitlines()
    ['Either', '', '- this', '- or that']
    """
    lines: list[str] = []
    fenced = inside = False  # in a fence; in a list
    for line in text.split("\n"):
        if _FENCE.match(line):
            fenced = not fenced
        item = not fenced and _ITEM.match(line) is not None and not _INDENTED.match(line)
        if item and not inside and lines and lines[-1].strip():
            lines.append("")
        if not fenced:
            inside = item or (inside and line.startswith(" ") and bool(line.strip()))
        lines.append(line)
    return "\n".join(lines)


def bars_in_code(text: str) -> str:
    r"""Bars in the code of a table's cells without the backslash that GitHub wants and Python-Markdown would show.

    >>> bars_in_code(r"| `--to a\|b` | of two |")
    '| `--to a|b` | of two |'
    """
    rows = (
        re.sub(r"`[^`]*`", lambda code: code[0].replace(r"\|", "|"), line) if line.startswith("|") else line
        for line in text.split("\n")
    )
    return "\n".join(rows)


def examples_as_code(text: str) -> str:
    r"""Examples with `>>>` as fenced code; Markdown would take them for quotations of quotations.

    >>> examples_as_code("Adds.\n\n>>> 1 + 1\n2").split("\n")
    ['Adds.', '', '```pycon', '>>> 1 + 1', '2', '```']
    """
    lines: list[str] = []
    example = fenced = False
    for line in text.split("\n"):
        if _FENCE.match(line):
            fenced = not fenced
        if not fenced and not example and line.startswith(">>> "):
            lines.append("```pycon")
            example = True
        elif example and not line.strip():
            lines.append("```")
            example = False
        lines.append(line)
    return "\n".join([*lines, "```"] if example else lines)


def one_name_each(text: str) -> str:
    r"""Arguments that stand together, one by one.

    >>> print(one_name_each("Adds.\n\nArgs:\n    a, b: numbers,\n        both.\n    c: another."))
    Adds.
    <BLANKLINE>
    Args:
        a: numbers,
            both.
        b: numbers,
            both.
        c: another.
    """
    lines = text.split("\n")
    written: list[str] = []
    number = 0
    while number < len(lines):
        found = _SEVERAL.match(lines[number])
        number += 1
        if found is None:
            written.append(lines[number - 1])
            continue
        rest = []
        while number < len(lines) and lines[number].startswith(" " * 8):
            rest.append(lines[number])
            number += 1
        for name in found[1].split(", "):
            written += [f"    {name}: {found[2]}", *rest]
    return "\n".join(written)


class Docstrings(griffe.Extension):
    """Docstrings as Markdown."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Change an object's docstring before it is parsed."""
        if obj.docstring is not None:
            before, arguments, behind = obj.docstring.value.partition("\nArgs:\n")
            text = before + arguments + (one_name_each(behind) if arguments else behind)
            obj.docstring.value = blank_before_lists(examples_as_code(text))


def shown(place: str) -> str:
    """The page that shows a file of the repository."""
    return ALREADY.get(place) or f"source/{place}.md"


def outside(page: str, place: str) -> str | None:
    """The file of the repository that a link of a page leads to; None where it stays in the documentation."""
    where = posixpath.normpath(posixpath.join("docs", posixpath.dirname(page), place))
    if where.startswith(("docs/", "..")) and not where.startswith(("docs/generate/", "docs/figures/")):
        return None
    return where if (ROOT / where).is_file() else None


def on_files(files: Any, *, config: Any) -> Any:
    """Add a page for each file of the repository that a page leads to."""
    wanted = {
        place
        for file in files.documentation_pages()
        for link in _OUTSIDE.finditer(file.content_string)
        if (place := outside(file.src_uri, link["place"])) and place not in ALREADY
    }
    for place in sorted(wanted):
        text = (ROOT / place).read_text(encoding="utf-8")
        language = LANGUAGES.get(Path(place).suffix, "text")
        content = f"# {Path(place).name}\n\n`{place}`\n\n````{language}\n{text}````\n"
        added = File.generated(config, shown(place), content=content, inclusion=InclusionLevel.NOT_IN_NAV)
        files.append(added)
    return files


def on_page_markdown(markdown: str, *, page: Any, **kwargs: Any) -> str:
    """A page's text; the first page has no list of pages beside it, and that of a source file stays as it is."""
    here = page.file.src_uri
    if here.startswith("source/"):
        return markdown
    if page.is_homepage:
        page.meta["hide"] = ["navigation"]

    def within(link: re.Match[str]) -> str:
        place = outside(here, link["place"])
        return link[0] if place is None else f"]({posixpath.relpath(shown(place), posixpath.dirname(here) or '.')})"

    return bars_in_code(blank_before_lists(_OUTSIDE.sub(within, markdown)))


def on_page_content(html: str, **kwargs: Any) -> str:
    """A page's HTML, with short pieces of code marked, which are not broken."""
    return re.sub(r"<code>([^<\n]{1,28})</code>", r'<code class="short">\1</code>', html)
