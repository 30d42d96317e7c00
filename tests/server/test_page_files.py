"""The page's own files, without a browser: nothing from outside, nothing inline, every word in both languages."""

import importlib.util
import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

from pixelwise.data.decode import decode_image
from pixelwise.flow.demo import CLASSES, draw_scene
from pixelwise.metrics import ConfusionMatrix
from pixelwise.segmenter import Segmenter

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "src" / "pixelwise" / "server" / "page"
MODEL = PAGE.with_name("demo_model.safetensors")


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("demo_model_script", ROOT / "benchmarks" / "demo_model.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_no_file_of_the_page_names_another_host():
    for file in PAGE.iterdir():
        if file.suffix in {".html", ".css", ".js", ".svg"}:
            text = file.read_text("utf-8").replace("http://www.w3.org/2000/svg", "")
            assert not re.search(r"https?:|@import|url\(|src=\"//", text), file.name


def test_the_page_has_nothing_inline_that_its_policy_forbids():
    text = (PAGE / "index.html").read_text("utf-8")
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]* src=)", text)
    for file in PAGE.glob("*.js"):
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|\beval\(|new Function|setAttribute\(\"style",
            file.read_text("utf-8"),
        )


def test_every_file_that_the_page_names_is_there():
    named = set()
    for file in PAGE.iterdir():
        if file.is_file():
            text = file.read_text("utf-8")
            named |= {PAGE / path for path in re.findall(r'"page/([^"`$]+)"', text)}
            named |= {PAGE / path for path in re.findall(r'from "\./([^"]+)"', text)}
            named |= {PAGE / "examples" / path for path in re.findall(r'"(garden-\d\.jpg)"', text)}
    assert len(named) > 10
    assert [path.name for path in named if not path.is_file()] == []


def test_every_word_is_there_in_both_languages_with_the_same_gaps():
    text = (PAGE / "words.js").read_text("utf-8")
    tables = [
        dict(re.findall(r'^  (\w+): "(.*)",$', block, re.M))
        for block in re.findall(r"= \{\n(.*?)\n\};", text, re.S)[:2]
    ]
    english, chinese = tables
    assert list(english) == list(chinese)
    gaps = re.compile(r"\{(\w+)\}")
    assert {key for key in english if sorted(gaps.findall(english[key])) != sorted(gaps.findall(chinese[key]))} == set()
    scripts = "".join(file.read_text("utf-8") for file in [*PAGE.glob("*.js"), PAGE / "index.html"])
    wanted = set(re.findall(r'words\("(\w+)"', scripts)) | set(
        re.findall(r'data-(?:words|hint|label)="(\w+)"', scripts)
    )
    assert wanted <= set(english)


def test_the_examples_are_what_the_script_draws(script, tmp_path):
    """One of them; with PIXELWISE_SOAK all, which take a second each."""
    shipped = sorted((PAGE / "examples").iterdir())
    assert [file.name for file in shipped] == [f"garden-{k}.jpg" for k in range(1, len(script.EXAMPLES) + 1)]
    assert all(file.stat().st_size < 100_000 for file in shipped)
    script.draw_examples(tmp_path, script.EXAMPLES if os.environ.get("PIXELWISE_SOAK") == "1" else script.EXAMPLES[:1])
    for file in tmp_path.iterdir():
        drawn, own = decode_image(file).astype(int), decode_image(PAGE / "examples" / file.name).astype(int)
        assert drawn.shape == own.shape
        assert np.abs(drawn - own).mean() < 0.1  # another processor's last bit may move a pixel by one


def test_the_demo_model_segments_the_examples_well(script):
    """What people see first; the scenes' masks are drawn with them, and here from the shipped picture's seed."""
    seed, size = script.EXAMPLES[0]
    _, target = draw_scene(np.random.default_rng([script.EXAMPLE, seed]), size)
    matrix = ConfusionMatrix(len(CLASSES))
    matrix.update(Segmenter.load(MODEL).predict(PAGE / "examples" / "garden-1.jpg", confidence=False).labels, target)
    assert matrix.scores().mean_iou > 0.7


def test_the_demo_model_is_small_and_is_the_scripts(script):
    assert MODEL.stat().st_size < 1_000_000
    with safe_open(MODEL, "np") as file:
        record = json.loads(file.metadata()["pixelwise"])
        weights = sum(int(np.prod(file.get_slice(name).get_shape())) for name in file.keys())
    assert weights < 200_000
    recipe = record["recipe"]
    assert record["architecture"]["builder"] == "unet"
    assert {key: recipe[key] for key in script.SETTINGS if key in recipe and key != "model_options"} == {
        key: value for key, value in script.SETTINGS.items() if key in recipe and key != "model_options"
    }
    assert recipe["steps"] == script.STEPS
    assert record["labels"]["names"] == list(CLASSES)


def test_the_demo_model_knows_gardens_that_it_has_not_seen():
    segmenter, matrix = Segmenter.load(MODEL), ConfusionMatrix(len(CLASSES))
    for k in range(4):
        image, target = draw_scene(np.random.default_rng([3, k]), (192, 256))
        matrix.update(segmenter.predict(image, confidence=False).labels, target)
    assert matrix.scores().mean_iou > 0.6


def test_the_script_makes_the_same_bytes_again(script, tmp_path):
    made = [script.make(tmp_path / f"{k}.safetensors", pictures=5, steps=2, size=(96, 128)) for k in range(2)]
    assert made[0] == made[1]
    assert (tmp_path / "0.safetensors").read_bytes() == (tmp_path / "1.safetensors").read_bytes()
