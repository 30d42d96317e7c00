"""What the explanation pages and the papers' pages print, quote and draw is what the code gives."""

import contextlib
import importlib
import io
import re
import sys
from pathlib import Path

import pytest

from pixelwise.models import MODELS
from pixelwise.recipes import RECIPES

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.glob("explanation/*.md"), *DOCS.glob("papers/*.md")])
NAMES = [str(page.relative_to(DOCS)) for page in PAGES]
# drawn in a second or so each; of the networks two are, and of other figures their numbers or their quick parts
QUICK = ("mean_iou", "which_network")


@pytest.fixture(autouse=True)
def figures_can_be_imported(monkeypatch):
    monkeypatch.syspath_prepend(str(DOCS / "figures"))
    monkeypatch.syspath_prepend(str(DOCS / "generate"))
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if (getattr(sys.modules[name], "__file__", None) or "").startswith(str(DOCS)):
            del sys.modules[name]


def text_of(name):
    return (DOCS / name).read_text(encoding="utf-8")


def drawn(name):
    return (DOCS / "images" / name).read_text(encoding="utf-8")


def with_output(text):
    """(code, what the page says it prints) of each block of Python that runs; None where it says nothing."""
    found = re.findall(r"(?<!-->\n)```python\n(.*?)```(?:\n\n```text\n(.*?)```)?", text, re.S)
    return [(code, printed or None) for code, printed in found]


@pytest.mark.parametrize("name", [name for name in NAMES if "```text" in text_of(name)])
def test_blocks_print_what_stands_under_them(name):
    names = {}
    for code, expected in with_output(text_of(name)):
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            exec(compile(code, name, "exec"), names)
        if expected is not None:
            assert printed.getvalue() == expected


def test_the_papers_pages_are_those_of_the_code():
    pages = importlib.import_module("papers_pages")
    for page in DOCS.glob("papers/*.md"):
        text = page.read_text(encoding="utf-8")
        assert pages.filled(text) == text, f"run `python docs/generate/papers_pages.py`: {page.name} is old"


def test_scores_that_were_reached_are_in_the_results():
    pages = importlib.import_module("papers_pages")
    results = pages.RESULTS.read_text(encoding="utf-8")
    for recipe, score in pages.REACHED.items():
        assert recipe in RECIPES
        assert recipe in results
        assert f"{score:.2f}" in results or f"{score:.1f}" in results


def test_every_network_and_recipe_of_a_paper_is_on_a_page():
    told = "\n".join(text_of(name) for name in NAMES if name.startswith("papers/"))
    assert [name for name in (*MODELS, *RECIPES) if f"`{name}`" not in told] == []


def test_all_that_is_unverified_is_on_a_papers_page():
    told = "\n".join(text_of(name) for name in NAMES if name.startswith("papers/"))
    for folder in ("models", "recipes"):
        for path in sorted((ROOT / "src" / "pixelwise" / folder).glob("*.py")):
            module = importlib.import_module(f"pixelwise.{folder}.{path.stem}".removesuffix(".__init__"))
            for line in (module.__doc__ or "").splitlines():
                if "UNVERIFIED" in line and path.name != "__init__.py":
                    assert line in told, f"{path.name}: {line}"
    for name, build in RECIPES.items():
        for note in build().notes:
            assert note in told, name


def test_names_that_look_like_ours_exist():
    """Networks, recipes, files and scripts that the pages name."""
    known = {*MODELS, *RECIPES}
    starts = tuple({name.split("_")[0] for name in MODELS} - {"torchvision"})
    for name in NAMES:
        text = re.sub(r"<!-- generated:.*?<!-- end -->", "", text_of(name), flags=re.S)
        for path in re.findall(r"\b((?:src|docs|benchmarks|examples|tests)/[\w/.-]+\.(?:py|md|json))", text):
            assert (ROOT / path).is_file(), f"{name}: {path}"
        for code in re.findall(r"`(\w+)`", text):
            is_model = code.startswith(starts) and code not in known and "_" in code
            assert not is_model or any(known_one.startswith(code) for known_one in known) or _is_ours(code), (
                f"{name}: {code}"
            )
        for command in re.findall(r"^pixelwise train (\w+)", text, re.M):
            assert command in RECIPES


def _is_ours(word):
    from pixelwise.crf import PRESETS
    from pixelwise.weights.catalogue import CATALOGUE

    return word in PRESETS or word in CATALOGUE or (ROOT / "src" / "pixelwise" / "models" / f"{word}.py").is_file()


def test_numbers_of_results_are_quoted_as_they_stand():
    """Times and scores beside which a page names a script of benchmarks/ are in RESULTS.md."""
    results = (ROOT / "benchmarks" / "RESULTS.md").read_text(encoding="utf-8")
    quoted = {
        "explanation/fully-convolutional.md": ("12.6", "20.91 s", "3.12 s", "6.7", "3.5"),
        "explanation/upsampling.md": ("56.8",),
        "explanation/which-network.md": ("407 ms", "480"),
        "papers/fcn.md": ("1.00 : 5.85 : 0.76", "1.00 : 4.20 : 1.18"),
        "papers/deeplab-v1.md": ("1.00 : 1.72 : 2.05 : 5.19", "1.00 : 2.01 : 2.01 : 3.36"),
        "papers/segnet.md": ("80.3", "56.7", "42.5", "81.8", "55.4", "43.3", "47.7", "27.7"),
        "papers/unet.md": ("0.806", "0.923", "0.786", "0.727", "0.916", "0.698"),
        "papers/dense-crf.md": ("2645 ms", "839 ms", "568 ms", "861 ms", "278 ms", "175 ms"),
    }
    for name, numbers in quoted.items():
        for number in numbers:
            assert number in results, f"{name}: {number} is no longer in RESULTS.md"
            for part in number.split(" : "):
                assert part in text_of(name), f"{name}: {part}"


@pytest.mark.parametrize("name", QUICK)
def test_quick_figures_are_those_of_the_code(name):
    for file, text in importlib.import_module(name).figures().items():
        assert text == drawn(file), f"run `python docs/figures/{name}.py`"


@pytest.mark.parametrize("paper", ["fcn", "segnet"])
def test_networks_are_drawn_as_they_are(paper):
    papers = importlib.import_module("papers")
    assert papers.draw(papers.FIGURES[paper]) == drawn(f"paper-{paper}.svg"), "run `python docs/figures/papers.py`"


def test_windows_and_stitched_maps_are_drawn_as_they_are():
    script = importlib.import_module("fully_convolutional")
    assert script.windows() == drawn("fully-convolutional-windows.svg")
    assert script.stitch() == drawn("fully-convolutional-stitch.svg")
    maps = script.stitched()
    assert maps["stitched"] == maps["dense"]
    assert maps["stitched"][::2] == maps["as it is"]


def test_conventions_are_drawn_as_they_are():
    script = importlib.import_module("upsampling")
    assert script.convention_figure() == drawn("upsampling-conventions.svg")
    assert script.tap_figure() == drawn("upsampling-taps.svg")


def test_what_half_a_pixel_costs_is_what_the_page_says():
    script = importlib.import_module("upsampling")
    rows = re.findall(
        r"^\| (\d+) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|$", text_of("explanation/upsampling.md"), re.M
    )
    told = {int(stride): [float(value) for value in values] for stride, *values in rows}
    for stride, scores in script.cost().items():
        assert list(scores.values()) == pytest.approx(told[stride], abs=0.11)


def test_the_steps_of_the_crf_are_those_of_the_picture():
    script = importlib.import_module("dense_crf")
    beliefs = script.beliefs()
    told = [float(score) for score in re.findall(r">(0\.\d{3})</text>", drawn("dense-crf-steps.svg"))]
    assert told == pytest.approx([script.mean_iou(belief) for belief in beliefs.values()], abs=2e-3)
    page = text_of("explanation/dense-crf.md")
    for step in (0, 10):
        assert f"{beliefs[step].max(0).mean():.3f}" in page


def test_the_table_of_which_network_is_that_of_the_code():
    assert importlib.import_module("which_network").table() in text_of("explanation/which-network.md")


def test_pictures_are_small_and_each_is_shown():
    told = "\n".join(text_of(name) for name in NAMES)
    ours = [
        p for p in (DOCS / "images").glob("*.svg") if re.match("paper-|fully-|upsampling-|mean-|dense-|which-", p.name)
    ]
    assert ours
    for path in ours:
        assert path.stat().st_size < 150 * 1024
        assert f"../images/{path.name}" in told, path.name
