import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path

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


def test_one_line_says_that_it_compiles(caplog):
    announcement = vectors._Announcement()

    class Event:
        data = {"dispatcher": type("D", (), {"py_func": vectors.compiled})}  # noqa: RUF012

    with caplog.at_level(logging.INFO, "pixelwise"):
        announcement.on_start(Event())
        announcement.on_start(Event())
    assert [record.getMessage() for record in caplog.records] == [
        "compiling the CRF for this machine, once: some seconds"
    ]


def test_kernels_work_where_nothing_can_be_cached(monkeypatch):
    """numba refuses to make a caching kernel where no folder can be written; then it is made without."""
    real = vectors._njit

    def refusing(cache=False, **options):
        if cache:
            raise RuntimeError("cannot cache function 'f': no locator available for file 'f.py'")
        return real(**options)

    monkeypatch.setattr(vectors, "_njit", refusing)
    assert vectors.compiled(lambda x: x + 1)(2) == 3


def test_the_cache_goes_elsewhere_where_the_package_cannot_be_written(tmp_path):
    """A `__pycache__` that is a file stands for a read-only folder, which root could write to."""
    package = tmp_path / "lib" / "pixelwise"
    (package / "crf").mkdir(parents=True)
    source = Path(vectors.__file__).parents[1]
    for name in ("__init__.py", "version.py", "crf/__init__.py", "crf/vectors.py", "crf/lattice_kernels.py"):
        shutil.copy(source / name, package / name)
    (package / "crf" / "__pycache__").touch()
    code = """
import logging
logging.basicConfig(level=logging.INFO)
import numpy as np
from pixelwise.crf.lattice_kernels import blur_masses
blur_masses(np.zeros(2), np.array([0, -2], np.int32))
"""
    environment = {
        **os.environ,
        "PYTHONPATH": str(tmp_path / "lib"),
        "HOME": str(tmp_path),
        "XDG_CACHE_HOME": str(tmp_path),
    }
    environment.pop("NUMBA_CACHE_DIR", None)
    runs = [
        subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
        for _ in range(2)
    ]
    assert list(tmp_path.glob("**/*.nbi"))
    assert ["compiling the CRF" in run.stderr for run in runs] == [True, False]


def test_importing_the_crf_imports_no_torch():
    code = "import sys, pixelwise.crf.dense; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
