"""The pages that are written from the code are those of the code, and none is missing from the site."""

import doctest
import importlib.util
import re
import sys
from itertools import chain
from pathlib import Path

import pytest
import yaml

from pixelwise.version import VERSION

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


def script(name):
    """A script of docs/generate."""
    place = importlib.util.spec_from_file_location(name, DOCS / "generate" / f"{name}.py")
    module = importlib.util.module_from_spec(place)
    sys.modules[name] = module  # dataclasses look there
    place.loader.exec_module(module)
    return module


def text_of(page):
    return (DOCS / page).read_text(encoding="utf-8")


def test_the_pages_of_the_python_names_are_those_of_the_code():
    pages = script("python_pages").pages()
    for page, text in pages.items():
        assert text_of(f"reference/{page}") == text, "run `make pages`"
    written = {f"python/{path.name}" for path in (DOCS / "reference" / "python").glob("*.md")}
    assert written == pages.keys() - {"python.md"}


def test_each_public_name_is_told_once_and_has_a_first_line():
    pages = script("python_pages")
    told = re.findall(r"^::: (\S+)$", "".join(pages.pages().values()), re.M)
    assert len(told) == len(set(told))
    assert len({id(pages.value_of(path)) for path in told}) == len(told)
    assert [path for part in pages.PARTS for path in part.paths if not pages.first_line(path)] == []


def test_the_page_of_the_commands_is_that_of_the_code():
    page = script("commands_page")
    assert text_of("reference/commands.md") == page.page(), "run `make pages`"


def test_exit_codes_of_a_commands_own_are_told():
    page = script("commands_page")
    assert {name: set(codes) for name, codes in page.EXITS.items()} == page.own_exits()


def test_the_page_of_the_errors_has_their_messages_as_they_are():
    assert text_of("reference/errors.md") == script("errors_page").page(), "run `make pages`"


def test_the_page_of_the_errors_has_every_exception():
    page = script("errors_page")
    assert {case.kind for case in page.CASES} == set(page.kinds())


def test_the_pictures_of_the_parts_are_those_of_the_code():
    drawn = script("architecture_picture").pictures()
    for name, text in drawn.items():
        assert text_of(f"images/{name}") == text, "run `make pages`"


def test_no_part_imports_what_a_rule_forbids_or_stands_beside_it():
    picture = script("architecture_picture")
    found = picture.imports()
    rows = picture.rows_of(found)
    height = {part: number for number, row in enumerate(rows) for part in row}
    pairs = {(part, other) for part, others in found.items() for other in others}
    assert all(height[other] > height[part] for part, other in pairs)
    assert not pairs & picture.forbidden(list(found))


def test_the_page_of_the_architecture_names_every_part():
    table = text_of("contributing/architecture.md").partition("| part |")[2].partition("\n\n")[0]
    first_cells = "".join(row.split("|")[1] for row in table.splitlines()[2:])
    assert sorted(re.findall(r"`(\w+)`", first_cells)) == sorted(script("architecture_picture").imports())


def test_the_reading_order_names_files_that_are_there_and_takes_thirty_minutes():
    text = text_of("contributing/reading-order.md")
    places = re.findall(r"\]\((\.\./\.\./[^)]+)\)", text)
    assert len(places) > 12
    assert [place for place in places if not (DOCS / "contributing" / place).is_file()] == []
    assert sum(map(int, re.findall(r"^\| (\d+) \|", text, re.M))) == 30


def test_files_that_the_checklists_name_are_there():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    named = re.findall(r"`([\w./-]+(?:\.py|\.md|/))`", text) + re.findall(r"`python (\S+\.py)", text)
    assert len(named) > 15
    made = {"site/"}
    homes = (ROOT, ROOT / "src" / "pixelwise")
    assert [name for name in named if name not in made and not any((home / name).exists() for home in homes)] == []


def pages_of(entry):
    """The pages of a part of the navigation, in its order."""
    if isinstance(entry, str):
        return [entry]
    return list(chain.from_iterable(map(pages_of, entry.values() if isinstance(entry, dict) else entry)))


def test_every_page_stands_in_the_navigation_once():
    site = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    listed = pages_of(site["nav"])
    assert sorted(listed) == sorted(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md"))


def test_the_site_loads_nothing_from_elsewhere():
    site = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    assert site["theme"]["font"] is False
    assert not re.search(r"https?://", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    assert all((DOCS / place).is_file() for place in (*site["extra"]["polyfills"], *site["extra_css"]))


def test_what_the_site_changes_in_pages_is_as_its_examples_say():
    pytest.importorskip("griffe")
    pytest.importorskip("mkdocs")
    results = doctest.testmod(script("site_hooks"))
    assert results.attempted > 3
    assert not results.failed


def test_the_citation_has_the_version_and_the_license_of_the_package():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == VERSION
    assert citation["license"] == "Apache-2.0"
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()


@pytest.mark.parametrize("name", ["bug", "misread-data", "differs-from-paper"])
def test_the_forms_for_issues_have_what_github_asks_of_them(name):
    form = yaml.safe_load((ROOT / ".github" / "ISSUE_TEMPLATE" / f"{name}.yml").read_text(encoding="utf-8"))
    assert form["name"] and form["description"]
    assert {field["type"] for field in form["body"]} <= {"markdown", "textarea", "input", "dropdown", "checkboxes"}
    assert all(field["attributes"]["label"] for field in form["body"])
    assert len({field["id"] for field in form["body"]}) == len(form["body"])
