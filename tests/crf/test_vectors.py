import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from pixelwise.crf import vectors


@vectors.compiled
def _exponentials(values, out, registers):
    like = vectors.zeros(registers)
    for i in range(0, len(values), 8 * len(registers)):
        vectors.store(out, i, vectors.exponential(vectors.load(values, i, like)))


@vectors.compiled
def _operations(a, b, out, registers):
    like = vectors.zeros(registers)
    n = 8 * len(registers)
    x, y = vectors.load(a, 0, like), vectors.load(b, 0, like)
    vectors.store(out, 0, vectors.add(x, y))
    vectors.store(out, n, vectors.subtract(x, y))
    vectors.store(out, 2 * n, vectors.multiply(x, y))
    vectors.store(out, 3 * n, vectors.multiply_add(x, y, vectors.fill(np.float32(2), like)))
    vectors.store(out, 4 * n, vectors.maximum(x, y))
    vectors.store(out, 5 * n, vectors.nearest(x))
    vectors.store(out, 6 * n, vectors.below(x, y))
    return vectors.largest(x), vectors.total(x)


@vectors.compiled
def _count(counter, times):
    for _ in range(times):
        vectors.fetch_add(counter, 0, 1)
    return vectors.fetch_add(counter, 0, 0)


def test_threads_count_together():
    counter = np.zeros(1, np.int64)
    _count(counter, 0)  # compiles
    with ThreadPoolExecutor(4) as pool:
        seen = list(pool.map(lambda _: _count(counter, 100_000), range(4)))
    assert max(seen) == counter[0] == 400_000


def test_the_exponential_is_within_2e7():
    values = -np.linspace(0, 69.9, 16000, dtype=np.float32)
    out = np.empty_like(values)
    _exponentials(values, out, (0,))
    exact = np.exp(values.astype(float))
    assert np.abs(out / exact - 1).max() < 2e-7


def test_the_exponential_has_a_floor_above_denormals():
    out = np.empty(8, np.float32)
    _exponentials(np.full(8, -1e30, np.float32), out, (0,))
    np.testing.assert_allclose(out, np.exp(-70), rtol=1e-6)


def test_operations_are_numpys():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 24)).astype(np.float32) * 3
    a[:4] = [0.5, 1.5, -0.5, 2.5]
    out = np.empty((7, 24), np.float32)
    largest, total = _operations(a, b, out.ravel(), (0, 0, 0))
    expected = [a + b, a - b, a * b, a * b.astype(float) + 2, np.maximum(a, b), np.rint(a), a < b]
    np.testing.assert_allclose(out, np.array(expected, np.float32), rtol=1e-6, atol=1e-6)
    assert largest == a.max()
    assert total == pytest.approx(float(a.sum()), rel=1e-5)


def test_importing_the_crf_imports_no_torch():
    code = "import sys, pixelwise.crf.dense; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
