"""`TorchLattice` against `Lattice`: the same simplices, the same filter."""

import numpy as np
import pytest
import torch

from pixelwise.crf import torch_lattice
from pixelwise.crf.features import colors, positions
from pixelwise.crf.lattice import Lattice
from pixelwise.crf.torch_lattice import TorchLattice
from pixelwise.errors import BadOption, ShapeError


def assert_same(points: np.ndarray, built: TorchLattice, width: int = 3) -> None:
    expected = Lattice(points, threads=1)
    assert built.num_vertices == expected.num_vertices
    np.testing.assert_array_equal(built.weights, expected.weights)
    values = np.random.default_rng(1).random((points.shape[1], width), np.float32)
    for reverse in (False, True):
        ours = built.filter(torch.from_numpy(values), reverse=reverse)
        np.testing.assert_allclose(ours, expected.filter(values, reverse=reverse), rtol=2e-6)
    np.testing.assert_allclose(built.mass, expected.mass, rtol=1e-12)


@pytest.mark.parametrize("dimensions", [1, 2, 3, 5, 6, 11])
def test_random_points_have_the_same_simplices(dimensions):
    points = np.random.default_rng(dimensions).normal(size=(dimensions, 700)).astype(np.float32) * 2
    points[:, 50:60] = points[:, 40:50]
    points[:, 0] = 0  # ties of all coordinates
    assert_same(points, TorchLattice(torch.from_numpy(points)))


@pytest.mark.parametrize("sigmas", [(3, 16), (67, 3), (20, 40), (1, 1)])
def test_images_have_the_same_simplices(sigmas):
    """Whole numbers divided by a width, which have many ties."""
    image = np.random.default_rng(0).integers(0, 256, (19, 23, 3)) // 8 * 8
    points = np.concatenate([positions((19, 23), sigmas[0]), colors(image, (19, 23), sigmas[1])])
    assert_same(points, TorchLattice(torch.from_numpy(points)))


def test_long_sums_in_two_rounds_are_the_same_sums(monkeypatch):
    points = positions((40, 40), 15)
    longest = torch.bincount(TorchLattice(torch.from_numpy(points)).offsets.flatten()).max()
    assert longest > 2 * torch_lattice.LONGEST_SUM
    assert_same(points, TorchLattice(torch.from_numpy(points)))
    monkeypatch.setattr(torch_lattice, "LONGEST_SUM", 10_000)
    assert_same(points, TorchLattice(torch.from_numpy(points)))


def test_pictures_of_a_batch_do_not_see_each_other():
    batch = np.random.default_rng(0).normal(size=(3, 2, 150)).astype(np.float32)
    batch[2] = batch[0]
    values = torch.rand(450, 4)
    together = TorchLattice(torch.from_numpy(batch))
    filtered = together.filter(values)
    assert together.num_points == 450
    for i in range(3):
        alone = TorchLattice(torch.from_numpy(batch[i]))
        own = slice(150 * i, 150 * (i + 1))
        torch.testing.assert_close(filtered[own], alone.filter(values[own]), rtol=0, atol=0)
        torch.testing.assert_close(together.mass[own], alone.mass, rtol=0, atol=0)


@pytest.mark.parametrize("pictures", [1, 3])
def test_keys_that_do_not_fit_are_as_good(monkeypatch, pictures):
    points = torch.from_numpy(np.random.default_rng(0).normal(size=(pictures, 5, 200)).astype(np.float32) * 3)
    values = torch.rand(200 * pictures, 2)
    exact = TorchLattice(points)
    monkeypatch.setattr("pixelwise.crf.elevation.LARGEST_KEY", 1)
    hashed = TorchLattice(points)
    assert hashed.num_vertices == exact.num_vertices
    torch.testing.assert_close(hashed.filter(values), exact.filter(values))


def test_wide_ranges_and_many_dimensions():
    rng = np.random.default_rng(0)
    for points in (rng.normal(size=(5, 50)) * 10_000, rng.normal(size=(20, 50))):
        assert_same(points.astype(np.float32), TorchLattice(torch.from_numpy(points)))


def test_a_point_alone():
    points = np.array([[0.3], [0.1]], np.float32)
    assert_same(points, TorchLattice(torch.from_numpy(points)))


def test_the_same_points_give_the_same_bits():
    points, values = torch.randn(3, 500), torch.rand(500, 5)
    assert torch.equal(TorchLattice(points).filter(values), TorchLattice(points).filter(values))


def test_surroundings_do_not_matter():
    """Half precision, another default type, deterministic algorithms, inference mode."""
    points, values = torch.randn(3, 200), torch.rand(200, 2)
    expected, mass = TorchLattice(points).filter(values), TorchLattice(points).mass
    with torch.autocast("cpu", torch.bfloat16), torch.inference_mode():
        built = TorchLattice(points)
        assert torch.equal(built.filter(values), expected)
    assert torch.equal(built.filter(values.double().requires_grad_()), expected)
    torch.set_default_dtype(torch.float64)
    torch.use_deterministic_algorithms(True)
    try:
        built = TorchLattice(points)
        assert torch.equal(built.filter(values), expected)
        assert torch.equal(built.mass, mass)
    finally:
        torch.set_default_dtype(torch.float32)
        torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize(
    ("points", "error", "message"),
    [
        (torch.zeros(4), ShapeError, r"features are \(4,\) of float32: expected \(B, D, N\)"),
        (torch.zeros(2, 0), ShapeError, r"features are \(2, 0\)"),
        (torch.zeros(2, 3, dtype=torch.int64), ShapeError, "of int64: expected .* floats"),
        (torch.tensor([[0.0, torch.nan]]), BadOption, "not finite"),
        (torch.tensor([[0.0, torch.inf]]), BadOption, "not finite"),
        (torch.tensor([[0.0, 1e300]], dtype=torch.float64), BadOption, "not finite"),
        (torch.tensor([[0.0, 1e9]]), BadOption, "too narrow"),
        (torch.tensor([[[0.0, 1.0]], [[0.0, 3e38]]]), BadOption, "too narrow"),
    ],
)
def test_bad_points(points, error, message):
    with pytest.raises(error, match=message):
        TorchLattice(points)


def test_values_that_do_not_fit():
    with pytest.raises(ShapeError, match=r"values are \(3, 1\): expected \(2, L\)"):
        TorchLattice(torch.zeros(1, 2)).filter(torch.zeros(3, 1))
