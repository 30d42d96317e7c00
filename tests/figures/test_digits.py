"""The digits of the figure: the script finds each digit at its place, and its picture is the one in the docs."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def digits():
    spec = importlib.util.spec_from_file_location("digits_figure", REPOSITORY / "docs" / "figures" / "digits.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


@pytest.fixture(scope="module")
def result(digits):
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    torch.set_num_threads(1)
    yield digits.run()
    torch.set_num_threads(threads)
    torch.set_rng_state(state)


def test_each_digit_of_the_canvas_is_found_at_its_place_and_nothing_else_is(result):
    assert len(result.found) == len(result.places) == 15
    assert {place.digit for place in result.places} == set(range(10))
    for place in result.places:
        (found,) = (
            other for other in result.found if max(abs(other.row - place.row), abs(other.column - place.column)) <= 4
        )
        assert found.digit == place.digit


def test_places_are_the_middles_of_what_was_drawn(result):
    for place in result.places:
        rows, columns = np.nonzero(result.classes == place.digit)
        near = (abs(rows - place.row) < 8) & (abs(columns - place.column) < 8)
        assert abs(rows[near].mean() - place.row) < 2 and abs(columns[near].mean() - place.column) < 2


def test_without_strides_every_pixel_has_scores_and_every_fourth_has_those_of_before(result):
    assert result.coarse.shape == (11, 24, 40) and result.dense.shape == (11, *result.canvas.shape)
    np.testing.assert_allclose(result.dense[:, ::4, ::4], result.coarse, rtol=0, atol=1e-5)


def test_the_dense_map_outlines_the_digits(result):
    """Two scores on the digits, as the background is most of the canvas."""
    predicted = result.dense.argmax(0)
    assert (predicted == result.classes).mean() > 0.95
    on_digits = result.classes != 10
    assert (predicted[on_digits] == result.classes[on_digits]).mean() > 0.8
    joined = ((predicted != 10) & on_digits).sum() / ((predicted != 10) | on_digits).sum()
    assert joined > 0.8


def test_the_command_prints_what_it_found_and_draws_the_picture_of_the_docs(
    digits, result, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(digits, "run", lambda seed: result)
    monkeypatch.setattr(sys, "argv", ["digits.py", "--out", str(tmp_path / "digits.png")])
    digits.main()
    printed = capsys.readouterr().out
    assert "15 of 15 digits found at their places, 0 elsewhere" in printed
    assert printed.count(" at row ") == 15
    with (
        Image.open(tmp_path / "digits.png") as drawn,
        Image.open(REPOSITORY / "docs" / "images" / "digits.png") as stored,
    ):
        assert drawn.size == stored.size
        # trained elsewhere, cells may differ at the digits' edges
        differs = (np.abs(np.asarray(drawn, int) - np.asarray(stored, int)) > 40).any(-1).mean()
    assert differs < 0.03
