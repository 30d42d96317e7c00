"""The CRF on coarse labels: what helps and what hurts, and its picture is the one in the docs."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def example():
    spec = importlib.util.spec_from_file_location("coarse_labels", REPOSITORY / "docs" / "figures" / "coarse_labels.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def test_it_helps_with_shapes_hurts_with_hairlines_and_draws_the_picture_of_the_docs(
    example, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(sys, "argv", ["coarse_labels.py", "--out", str(tmp_path / "crf.png")])
    example.main()
    lines = capsys.readouterr().out.splitlines()
    scores = [float(line.split()[-1]) for line in lines if "mean IoU" in line]
    network, crf, transform, sure_network, sure_crf, _ = scores
    assert network < transform < crf
    assert crf > network + 0.05
    assert sure_network == 1
    assert sure_crf < 0.6
    text = (REPOSITORY / "docs" / "explanation" / "dense-crf.md").read_text(encoding="utf-8")
    assert f"{network:.3f} to {crf:.3f}" in text
    assert f"to {transform:.3f}" in text
    assert f"to {sure_crf:.3f}" in text
    with (
        Image.open(tmp_path / "crf.png") as drawn,
        Image.open(REPOSITORY / "docs" / "images" / "crf.png") as stored,
    ):
        assert drawn.size == stored.size
        differs = (np.abs(np.asarray(drawn, int) - np.asarray(stored, int)) > 40).any(-1).mean()
    assert differs < 0.01
