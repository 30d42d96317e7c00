"""README.md and README.zh.md say the same, and each of their numbers is printed somewhere."""

import importlib.util
import re
from collections import Counter

import numpy as np
import pytest
from PIL import Image

import pixelwise as pw
from pixelwise.recipes import RECIPES

from .blocks import ROOT, blocks, text_of

READMES = ("README.md", "README.zh.md")
LONGEST = 230  # lines, 48 of them networks
RESULTS = (ROOT / "benchmarks" / "RESULTS.md").read_text(encoding="utf-8")
CODE = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\]\(([^)\s]+)\)")
NUMBER = re.compile(r"\d+(?:\.\d+)*")


def sections(page):
    """The text of a page from each head to the next, blocks left out."""
    return re.split(r"^## .*$", re.sub(r"^```.*?^```$", "", text_of(page), flags=re.S | re.M), flags=re.M)


def tables(text):
    """The rows of each table, as lists of cells."""
    found = re.findall(r"(?:^\|.*\n)+", text, re.M)
    return [[[cell.strip() for cell in row[1:-1].split("|")] for row in table.splitlines()] for table in found]


def paragraph_of(script):
    """What RESULTS.md has under a script's name: up to the next script."""
    parts = re.split(r"^(?=\*\*`)", RESULTS, flags=re.M)
    return "\n".join(part for part in parts if script in part.partition("`**")[0])


def loaded(path):
    """A script, as a module."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def pairs():
    """The sections of both, side by side."""
    english, chinese = (sections(page) for page in READMES)
    assert len(english) == len(chinese)
    return list(zip(english, chinese, strict=True))


def test_both_have_the_same_blocks():
    english, chinese = (
        [(block.language, block.text, block.reason) for block in blocks(page) if block.text] for page in READMES
    )
    assert english == chinese


def test_both_have_the_same_links_numbers_and_code_in_each_section(pairs):
    for english, chinese in pairs:
        links = [[link for link in LINK.findall(text) if link not in READMES] for text in (english, chinese)]
        assert links[0] == links[1]
        assert Counter(CODE.findall(english)) == Counter(CODE.findall(chinese))
        assert Counter(NUMBER.findall(english)) == Counter(NUMBER.findall(chinese)), english[:200]


def test_both_have_the_same_rows(pairs):
    for english, chinese in pairs:
        for one, other in zip(tables(english), tables(chinese), strict=True):
            assert len(one) == len(other)
            for row, same in zip(one, other, strict=True):
                assert [(CODE.findall(cell), sorted(NUMBER.findall(cell))) for cell in row] == [
                    (CODE.findall(cell), sorted(NUMBER.findall(cell))) for cell in same
                ]


@pytest.mark.parametrize("page", READMES)
def test_the_table_of_networks_is_that_of_the_code(page):
    module = loaded(ROOT / "docs" / "generate" / "readme_table.py")
    text = text_of(page)
    assert module.with_table(text, page) == text


def test_what_was_reached_stands_in_the_results():
    (sentence,) = re.findall(r"The nearest is .*?\.py`", text_of("README.md"), re.S)
    script = CODE.findall(sentence)[-1]
    assert set(NUMBER.findall(sentence)) <= set(NUMBER.findall(paragraph_of(script)))


def test_each_measured_number_stands_under_its_script_in_the_results():
    rows = [row for table in tables(text_of("README.md")) for row in table if "benchmarks/" in row[-1]]
    assert len(rows) > 10
    for row in rows:
        (script,) = CODE.findall(row[-1])
        assert (ROOT / script).is_file()
        under = paragraph_of(script)
        printed = set(NUMBER.findall(under))
        percent = {f"{float(number) / 100:.3f}" for number in printed if "." in number}
        for number in NUMBER.findall(" ".join(row[1:-1])):
            assert number in printed | percent, f"{row}: {number} is not under {script} in RESULTS.md"


def test_the_counts_in_the_text_are_those_of_the_code():
    text = text_of("README.md")
    assert f"{len(pw.list_models())} networks" in text
    assert f"{len(RECIPES)} recipes" in text
    assert f"A name of the {len(pw.list_weights())} in the catalogue" in text
    examples = list((ROOT / "examples").glob("*.py"))
    assert len(examples) == 10
    assert "[examples/](examples) has ten scripts of at most 60 lines" in text


@pytest.mark.parametrize("page", READMES)
def test_what_a_readme_points_to_is_there_and_it_is_short(page):
    text = text_of(page)
    for link in LINK.findall(text):
        assert link.startswith("https://") or (ROOT / link).exists(), link
    for path in re.findall(r"`((?:docs|benchmarks|tests|examples)/[^`]*)`", text):
        assert (ROOT / path).exists(), path
    assert len(text.splitlines()) <= LONGEST


def test_the_picture_is_what_its_script_draws(tmp_path, monkeypatch):
    module = loaded(ROOT / "docs" / "figures" / "readme.py")
    monkeypatch.setattr("sys.argv", ["readme.py", "--out", str(tmp_path / "readme.png")])
    module.main()
    with Image.open(tmp_path / "readme.png") as drawn, Image.open(ROOT / "docs/images/readme.png") as kept:
        assert drawn.size == kept.size
        differs = (np.abs(np.asarray(drawn, int) - np.asarray(kept, int)) > 40).any(-1).mean()
    assert differs < 0.01
