import numpy as np
import pytest

from pixelwise.crf import lattice, lattice_kernels, reference
from pixelwise.crf.features import colors, positions
from pixelwise.crf.lattice import Lattice
from pixelwise.errors import BadOption, ShapeError


def naive_filter(points: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Adams et al., §3, one point and one vertex at a time, float32 as in the authors' code."""
    dimensions = len(points)
    f32 = np.float32
    deviation = f32(np.sqrt(2 / 3) * (dimensions + 1))
    scale = [f32(1 / np.sqrt((i + 2) * (i + 1)) * float(deviation)) for i in range(dimensions)]
    rows: dict[tuple[int, ...], int] = {}
    corners = []
    for point in points.T.astype(f32):
        elevated, total = np.zeros(dimensions + 1, f32), f32(0)
        for j in range(dimensions, 0, -1):
            scaled = point[j - 1] * scale[j - 1]
            elevated[j] = total - f32(j) * scaled
            total += scaled
        elevated[0] = total
        down = f32(1) / f32(dimensions + 1)
        rounded = np.rint(elevated * down)
        nearest = rounded * f32(dimensions + 1)
        rest = elevated - nearest
        order = sorted(range(dimensions + 1), key=lambda i: (-rest[i], i))
        rank = np.argsort(order) + int(rounded.sum())
        nearest = np.where(
            rank < 0, nearest + dimensions + 1, np.where(rank > dimensions, nearest - dimensions - 1, nearest)
        )
        rank %= dimensions + 1
        by_rank = np.zeros(dimensions + 2, f32)
        by_rank[rank] = (elevated - nearest.astype(f32)) * down
        weights = [by_rank[dimensions] + (f32(1) - by_rank[0])]
        weights += [by_rank[dimensions - r] - by_rank[dimensions + 1 - r] for r in range(1, dimensions + 1)]
        for r in range(dimensions + 1):
            key = tuple(
                int(n) + r - (dimensions + 1) * (k > dimensions - r) for n, k in zip(nearest, rank, strict=True)
            )
            assert sum(key) == 0
            corners.append((rows.setdefault(key, len(rows)), weights[r]))
    sums = np.zeros((len(rows), values.shape[1]))
    for i, (row, weight) in enumerate(corners):
        sums[row] += float(weight) * values[i // (dimensions + 1)]
    for axis in range(dimensions + 1):
        blurred = sums.copy()
        for key, row in rows.items():
            for sign in (1, -1):
                neighbor = tuple(k + sign * (1 - (dimensions + 1) * (i == axis)) for i, k in enumerate(key))
                if neighbor in rows:
                    blurred[row] += 0.5 * sums[rows[neighbor]]
        sums = blurred
    result = np.zeros(values.shape)
    for i, (row, weight) in enumerate(corners):
        result[i // (dimensions + 1)] += float(weight) * sums[row]
    return result / (1 + 2.0**-dimensions)


@pytest.mark.parametrize("dimensions", [1, 2, 3, 5, 7])
def test_it_is_the_papers_lattice(dimensions):
    rng = np.random.default_rng(dimensions)
    points = rng.normal(size=(dimensions, 101)).astype(np.float32) * 2
    points[:, 50:60] = points[:, 40:50]  # points of equal simplices
    points[:, 0] = 0  # ties of all coordinates
    values = rng.random((101, 3))
    built = Lattice(points)
    np.testing.assert_allclose(built.filter(values), naive_filter(points, values), rtol=2e-5, atol=1e-5)
    np.testing.assert_allclose(built.weights.sum(1), 1, atol=1e-6)
    assert built.weights.min() > -1e-5


def test_photos_grids_have_many_ties():
    image = np.random.default_rng(0).integers(0, 256, (9, 13, 3))
    points = np.concatenate([positions((9, 13), 3), colors(image, (9, 13), 16)])
    values = np.random.default_rng(1).random((117, 2))
    np.testing.assert_allclose(Lattice(points).filter(values), naive_filter(points, values), rtol=2e-5, atol=1e-5)


def test_vertices_are_numbered_in_order_of_first_use():
    built = Lattice(np.random.default_rng(0).normal(size=(3, 200)))
    first = np.unique(built.offsets.ravel(), return_index=True)[1]
    assert (np.diff(first) > 0).all()
    assert built.num_vertices == built.num_rows == built.offsets.max() + 1
    for block, (start, stop) in enumerate(zip(built.reach, built.reach[1:], strict=False)):
        own = built.offsets[block * lattice_kernels.BLOCK : (block + 1) * lattice_kernels.BLOCK]
        assert own.max() < stop
        assert set(range(start, stop)) <= set(own.ravel().tolist())


@pytest.mark.parametrize(("sigma", "error"), [((3, None), 0.015), ((20, 20), 0.08)])
def test_how_near_it_is_to_the_gaussian(sigma, error):
    """Normalized filters of random values; the figures are the lattice's own error, which the docs state."""
    rng = np.random.default_rng(0)
    points = positions((20, 28), sigma[0])
    if sigma[1]:
        image = np.cumsum(np.cumsum(rng.normal(size=(20, 28, 3)), 0), 1) * 3 + 128
        points = np.concatenate([points, colors(image, (20, 28), sigma[1])])
    values = rng.random((560, 2))
    built = Lattice(points)
    ours = built.filter(values) / built.mass[:, None]
    exact = reference.gaussian_kernel(points, "after") @ values
    assert np.abs(ours - exact).max() < error
    assert np.abs(ours - exact).mean() < error / 4


def test_reversed_is_transposed():
    points = np.random.default_rng(0).normal(size=(3, 40)).astype(np.float32)
    built, identity = Lattice(points), np.eye(40)
    forward, backward = built.filter(identity), built.filter(identity, reverse=True)
    np.testing.assert_allclose(backward, forward.T, atol=1e-6)
    assert np.abs(forward - forward.T).max() > 1e-4  # the blur's axes do not commute where vertices are missing


def test_the_mass_is_the_filter_of_ones():
    built = Lattice(np.random.default_rng(0).normal(size=(2, 90)))
    np.testing.assert_allclose(built.mass, built.filter(np.ones((90, 1)))[:, 0], rtol=1e-5)


def test_threads_change_rounding_alone(monkeypatch):
    monkeypatch.setattr(lattice, "POINTS_PER_THREAD", 64)
    image = np.random.default_rng(0).integers(0, 256, (20, 31, 3))
    points = np.concatenate([positions((20, 31), 9), colors(image, (20, 31), 40)])
    values = np.random.default_rng(1).random((620, 9))
    alone = Lattice(points, threads=1)
    for threads in (2, 3, 8):
        together = Lattice(points, threads=threads)
        assert together.num_vertices == alone.num_vertices < together.num_rows
        np.testing.assert_array_equal(together.weights, alone.weights)
        np.testing.assert_allclose(together.filter(values), alone.filter(values), rtol=1e-5)
        np.testing.assert_allclose(together.mass, alone.mass)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_a_vertex_of_many_points_has_a_row_for_every_few(monkeypatch, threads):
    monkeypatch.setattr(lattice, "POINTS_PER_THREAD", 6400)
    times = 400
    points = np.random.default_rng(0).normal(size=(3, 50)).astype(np.float32)
    values = np.random.default_rng(1).random((50, 2))
    built = Lattice(np.repeat(points, times, axis=1), threads=threads)
    assert len(built.bands) == threads + 1
    assert np.bincount(built.offsets.ravel()).max() == lattice_kernels.LONGEST_SUM
    assert built.num_vertices == Lattice(points).num_vertices < built.num_rows
    expected = np.repeat(times * naive_filter(points, values), times, axis=0)
    np.testing.assert_allclose(built.filter(np.repeat(values, times, axis=0)), expected, rtol=2e-5, atol=1e-5)
    np.testing.assert_allclose(built.mass, built.filter(np.ones((50 * times, 1)))[:, 0], rtol=1e-5)


@pytest.mark.parametrize("threads", [1, 2])
def test_sums_of_many_points_keep_their_precision(threads):
    """Equal points: the normalized filter is the mean."""
    values = np.random.default_rng(0).random((40_000, 3))
    built = Lattice(np.full((2, 40_000), 0.3), threads=threads)
    assert np.abs(built.filter(values) / built.mass[:, None] - values.mean(0)).max() < 5e-7


def test_keys_that_do_not_fit_are_as_good(monkeypatch):
    points = np.random.default_rng(0).normal(size=(5, 300)) * 3
    values = np.random.default_rng(1).random((300, 2))
    exact = Lattice(points)
    monkeypatch.setattr("pixelwise.crf.elevation.LARGEST_KEY", 1)
    hashed = Lattice(points)
    np.testing.assert_array_equal(hashed.offsets, exact.offsets)
    np.testing.assert_array_equal(hashed.filter(values), exact.filter(values))


def test_wide_ranges_and_many_dimensions():
    rng = np.random.default_rng(0)
    values = rng.random((50, 1))
    for points in (rng.normal(size=(5, 50)) * 10_000, rng.normal(size=(20, 50))):
        np.testing.assert_allclose(
            Lattice(points).filter(values), naive_filter(points.astype(np.float32), values), rtol=1e-3, atol=1e-5
        )


def test_a_point_alone():
    built = Lattice(np.array([[0.3], [0.1]]))
    assert built.num_vertices == 3
    assert built.filter(np.array([[2.0]])).shape == (1, 1)


@pytest.mark.parametrize(
    ("points", "error", "message"),
    [
        (np.zeros(4), ShapeError, r"features are \(4,\) of float64: expected \(D, N\) numbers"),
        (np.zeros((1, 4), complex), ShapeError, r"features are \(1, 4\) of complex128"),
        (np.array([["a", "b"]]), ShapeError, r"features are \(1, 2\) of <U1"),
        (np.zeros((2, 0)), ShapeError, r"features are \(2, 0\)"),
        (np.array([[0.0, np.nan]]), BadOption, "not finite"),
        (np.array([[0.0, np.inf]]), BadOption, "not finite"),
        (np.array([[0.0, 1e9]]), BadOption, "too narrow"),
        (np.array([[0.0, 3e38]]), BadOption, "too narrow"),
        (np.array([[1, 2, 3], [0, 0, -1e7]]), BadOption, "too narrow"),
    ],
)
def test_bad_points(points, error, message):
    with pytest.raises(error, match=message):
        Lattice(points)


def test_values_that_do_not_fit():
    with pytest.raises(ShapeError, match=r"values are \(3, 1\): expected \(2, L\)"):
        Lattice(np.zeros((1, 2))).filter(np.zeros((3, 1)))


@pytest.mark.parametrize("threads", [0, -1, 1.5, True])
def test_bad_threads(threads):
    with pytest.raises(BadOption, match="expected a whole number from 1 up"):
        Lattice(np.zeros((1, 2)), threads=threads)


@pytest.mark.parametrize(("dimensions", "share"), [(1, 0.91), (2, 0.88), (3, 0.81), (5, 0.61)])
def test_raw_sums_are_the_gaussians_up_to_a_constant_of_the_dimension(dimensions, share):
    """The figures that the docs name. The more dimensions, the more points differ."""
    points = np.random.default_rng(0).random((dimensions, 1000)) * 4
    if dimensions == 2:
        points = positions((32, 40), 3)
    ratio = Lattice(points).mass / reference.gaussian_kernel(points, "none").sum(1)
    assert ratio.mean() == pytest.approx(share, abs=0.012)
    assert ratio.std() < 0.1 * ratio.mean()


def test_read_only_and_unaligned_features_compile_nothing_anew():
    points = np.random.default_rng(0).normal(size=(3, 50)).astype(np.float32)
    expected = Lattice(points).mass
    compiled = len(lattice_kernels.simplices.signatures)
    fixed = points.copy()
    fixed.flags.writeable = False
    shifted = np.frombuffer(bytearray(points.nbytes + 1), np.float32, points.size, 1).reshape(points.shape)
    shifted[:] = points
    for given in (fixed, shifted):
        np.testing.assert_array_equal(Lattice(given).mass, expected)
    assert len(lattice_kernels.simplices.signatures) == compiled
