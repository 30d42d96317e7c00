import numpy as np
import pytest

from pixelwise.crf import lattice, numba_engine, reference
from pixelwise.crf.lattice import row_layout
from pixelwise.crf.model import DenseCRF

SHAPE = (12, 17)


def two_terms(num_labels: int, **options) -> DenseCRF:
    rng = np.random.default_rng(0)
    crf = DenseCRF(rng.gamma(1.0, 2.0, (num_labels, *SHAPE)), engine="numba", **options)
    crf.add_gaussian(3, 3)
    crf.add_bilateral(rng.integers(0, 256, (*SHAPE, 3)), 20, 60, 4)
    return crf


@pytest.mark.parametrize("threads", [2, 3])
def test_threads_change_rounding_alone(monkeypatch, threads):
    alone = two_terms(5, threads=1).infer(5)
    monkeypatch.setattr(lattice, "POINTS_PER_THREAD", 32)
    numba_engine.position_lattice.cache_clear()
    together = two_terms(5, threads=threads)
    numba_engine.position_lattice.cache_clear()
    assert len(together.terms[0].lattice.bands) == threads + 1
    np.testing.assert_allclose(together.infer(5), alone, atol=1e-5)


@pytest.mark.parametrize("threads", [1, 2])
def test_many_points_of_one_vertex_cost_no_precision(threads):
    """Equal points, float64: each receives the mean of all. Sums of so many in float32 alone were off by 1.4e-5."""
    unary = np.random.default_rng(0).gamma(1.0, 2.0, (5, 20_000))
    exact = reference.start(unary)
    for _ in range(10):
        exact = reference.start(unary - 8 * exact.mean(1, keepdims=True))
    crf = DenseCRF(unary, engine="numba", threads=threads)
    crf.add_pairwise(np.full((2, 20_000), 0.3), 8)
    np.testing.assert_allclose(crf.infer(10), exact, atol=4e-6)


@pytest.mark.parametrize("num_labels", range(1, 200))
def test_rows_hold_all_labels_and_little_else(num_labels):
    width, registers = row_layout(num_labels)
    assert num_labels <= width < num_labels + 32
    assert width % (8 * len(registers)) == 0


def test_lattices_of_positions_are_shared():
    numba_engine.position_lattice.cache_clear()
    for _ in range(2):
        two_terms(2)
    assert numba_engine.position_lattice.cache_info().hits == 1
