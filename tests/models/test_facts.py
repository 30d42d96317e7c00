"""The table of the networks says what the networks are."""

import importlib.util
import re
from pathlib import Path

import pytest

from pixelwise.models import MODELS
from pixelwise.models.facts import compute, stored, to_json

ROOT = Path(__file__).parents[2]
STORED = {one.name: one for one in stored()}


def test_the_table_has_all_networks_in_their_order():
    assert list(STORED) == list(MODELS)


@pytest.mark.parametrize("name", list(MODELS))
def test_the_table_is_what_is_computed(name):
    assert STORED[name] == compute(name), "run `python docs/generate/models_table.py`"


def test_the_stored_file_and_the_page_are_as_they_are_written():
    place = importlib.util.spec_from_file_location("models_table", ROOT / "docs" / "generate" / "models_table.py")
    script = importlib.util.module_from_spec(place)
    place.loader.exec_module(script)
    facts = stored()
    assert to_json(facts) == (ROOT / "src/pixelwise/models/facts.json").read_text(encoding="utf-8")
    assert script.page(facts) == (ROOT / "docs/reference/models.md").read_text(encoding="utf-8")


def test_the_pages_example_says_what_it_gives():
    from pixelwise import build
    from pixelwise.surgery import receptive_field

    text = (ROOT / "docs" / "reference" / "models.md").read_text(encoding="utf-8")
    code, comment = re.search(r'^(receptive_field\(network, at=".*"\).height)  # (.*)$', text, re.M).groups()
    network = build("fcn8s_vgg16", num_classes=21, width=1 / 64)
    axis = eval(code, {"receptive_field": receptive_field, "network": network})
    assert comment == f"size {axis.size}, stride {axis.stride}, center {float(axis.center)}"


def test_the_readmes_numbers_are_the_tables():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    section = text.partition("\n## Networks\n")[2].partition("\n## ")[0]
    assert f"{len(MODELS)} networks" in section
    rows = [line for line in section.splitlines() if line.startswith("| ") and "`" in line]
    named = []
    for row in rows:
        name, _, count, *_ = (cell.strip() for cell in row.strip("|").split("|"))
        assert count == f"{STORED[name.strip('`')].parameters / 1e6:.1f}", row
        named.append(name.strip("`"))
    assert sorted(named) == sorted(MODELS)


def test_big_relations_of_the_papers():
    cost = {name: one.multiply_adds for name, one in STORED.items()}
    assert cost["fcn32s_googlenet"] < cost["fcn32s_alexnet"] < cost["fcn32s_vgg16"]
    assert cost["deeplab_largefov"] < cost["deeplab_4x4"] < cost["deeplab_7x7"]
