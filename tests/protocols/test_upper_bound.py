"""The upper bound against cells computed one by one, and against the paper's table on real masks."""

from pathlib import Path

import numpy as np
import pytest

from pixelwise.errors import BadOption
from pixelwise.protocols.upper_bound import FACTORS, PAPER, coarse, filled, upper_bounds


@pytest.mark.parametrize("factor", [1, 2, 3, 4, 16])
@pytest.mark.parametrize("size", [(8, 12), (7, 10), (1, 5)])
def test_nearest_gives_each_cell_the_class_at_its_center(factor, size):
    target = np.random.default_rng(0).integers(0, 5, size).astype(np.uint8)
    found = coarse(target, factor, void=255)
    for y in range(size[0]):
        for x in range(size[1]):
            row = min(y // factor * factor + factor // 2, size[0] - 1)
            column = min(x // factor * factor + factor // 2, size[1] - 1)
            assert found[y, x] == target[row, column]


@pytest.mark.parametrize("factor", [1, 2, 3, 5])
def test_bilinear_gives_the_class_of_the_largest_share_between_cells(factor):
    size = (9, 11)
    target = np.random.default_rng(1).integers(0, 3, size).astype(np.uint8)
    found = coarse(target, factor, void=255, interpolation="bilinear")
    cells = [[slice(i, min(i + factor, n)) for i in range(0, n, factor)] for n in size]
    centers = [[(c.start + c.stop - 1) / 2 for c in along] for along in cells]
    shares = np.array([[[(target[r, c] == k).mean() for c in cells[1]] for r in cells[0]] for k in range(3)])
    for y in range(size[0]):
        for x in range(size[1]):
            between = [np.interp(y, centers[0], [np.interp(x, centers[1], row) for row in shares[k]]) for k in range(3)]
            assert between[found[y, x]] == pytest.approx(max(between), abs=1e-6)


def test_factor_one_loses_nothing_and_void_takes_the_nearest_class():
    target = np.array([[0, 255, 255, 2, 2]], np.uint8)
    assert filled(target, target != 255).tolist() == [[0, 0, 2, 2, 2]]
    for interpolation in ("nearest", "bilinear"):
        assert coarse(target, 1, void=255, interpolation=interpolation).tolist() == [[0, 0, 2, 2, 2]]
    nothing = np.full((2, 2), 255, np.uint8)
    assert coarse(nothing, 4, void=255) is nothing


def test_bounds_are_scored_over_the_set_and_say_that_they_are_unverified():
    random = np.random.default_rng(2)
    masks = [np.kron(random.integers(0, 3, (3, 4)), np.ones((8, 8), int)).astype(np.uint8) for _ in range(3)]
    masks.append(np.full((4, 4), 255, np.uint8))
    bounds = upper_bounds([(str(i), mask) for i, mask in enumerate(masks)], 3, factors=(8, 32))
    assert bounds[0].scores.mean_iou == 1
    assert bounds[1].scores.mean_iou < 0.8
    assert bounds[1].scores.pictures == 4
    assert "factor 32" in bounds[1].one_line
    assert "(paper: 86.1)" in bounds[1].one_line
    assert "UNVERIFIED" in bounds[1].one_line
    with pytest.raises(BadOption, match="expected a factor of at least 1, got 0"):
        coarse(masks[0], 0, void=255)


@pytest.mark.real
@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
def test_sixteen_masks_of_voc_give_bounds_near_the_papers_at_fine_factors_and_below_at_coarse_ones(
    real_data: Path, interpolation
):
    """Most classes stand in one or two of these pictures, so that one lost object costs several points."""
    from PIL import Image

    folder = real_data / "voc-mini" / "VOCdevkit" / "VOC2012" / "SegmentationClass"
    masks = [(file.stem, np.asarray(Image.open(file))) for file in sorted(folder.glob("*.png"))]
    assert len(masks) == 16
    bounds = upper_bounds(masks, 21, interpolation=interpolation)
    values = [bound.scores.mean_iou for bound in bounds]
    assert values == sorted(values)
    bound = dict(zip(FACTORS, values, strict=True))
    assert bound[8] == pytest.approx(PAPER[8], abs=0.03)
    assert bound[4] == pytest.approx(PAPER[4], abs=0.02)
    for factor in (128, 64, 32):
        assert bound[factor] < PAPER[factor]
    measured = {
        "nearest": (0.326, 0.483, 0.644, 0.811, 0.960, 0.996),
        "bilinear": (0.212, 0.498, 0.769, 0.889, 0.989, 1.000),
    }
    assert values == pytest.approx(measured[interpolation], abs=6e-4)
