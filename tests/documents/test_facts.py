"""Facts that stand in pages and in the code are the same."""

import contextlib
import io
import re

import numpy as np
import pytest

import pixelwise as pw
from pixelwise.crf import PRESETS

from .before import crf_names
from .blocks import blocks, text_of

CRF = "docs/how-to/refine-with-a-crf.md"


def test_the_crf_pages_presets_are_the_codes():
    rows = re.findall(r"^\| `(\w+)` ((?:\| \d+ ){5})\|", text_of("docs/explanation/dense-crf.md"), re.M)
    written = {name: tuple(float(number) for number in numbers.split("|")[1:]) for name, numbers in rows}
    assert written == {
        name: (
            preset.bilateral_weight,
            preset.bilateral_sigma_pixels,
            preset.bilateral_sigma_color,
            preset.spatial_weight,
            preset.spatial_sigma_pixels,
        )
        for name, preset in PRESETS.items()
    }
    assert all((preset.normalization == "after") == name.startswith("deeplab") for name, preset in PRESETS.items())


def test_the_crf_page_gives_pydensecrfs_result():
    """Where pydensecrf is installed."""
    names = crf_names() | {"np": np, "dcrf": pytest.importorskip("pydensecrf.densecrf")}
    code = [block.text for block in blocks(CRF) if block.language == "python"]
    (theirs,) = (text for text in code if "dcrf." in text)
    exec(theirs, names)
    expected = names["marginals"]
    (ours,) = (text for text in code if "threads=1" in text)
    with contextlib.redirect_stdout(io.StringIO()):
        exec("from pixelwise.crf import DenseCRF\n" + ours, names)
    np.testing.assert_allclose(names["marginals"], expected, atol=1e-4)


@pytest.mark.parametrize("page", ["README.md", "README.zh.md"])
def test_the_readmes_know_how_many_recipes_and_networks_there_are(page):
    numbers = {int(number) for number in re.findall(r"\d+", text_of(page))}
    assert {len(pw.list_recipes()), len(pw.list_models())} <= numbers
