"""What was compiled is kept where it can be, is never used for other sources, and no disk can make a call fail."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from pixelwise.crf import vectors

LINE = "compiling the CRF for this machine, once: some seconds"
ADD = """
import numpy as np
from pixelwise.crf.lattice_kernels import add_rows
rows = np.arange(16, dtype=np.float32)
add_rows(rows, 8, np.array([1], np.int32), np.array([0], np.int32), 0, 1)
print(rows[:2].tolist())
"""


@pytest.fixture
def package(tmp_path):
    """A copy of what kernels need, with a home of its own; a `__pycache__` that is a file stands for a read-only
    folder, which root could write to."""
    folder = tmp_path / "lib" / "pixelwise" / "crf"
    folder.mkdir(parents=True)
    source = Path(vectors.__file__).parents[1]
    crf = ("crf/__init__.py", "crf/collection.py", "crf/vectors.py", "crf/lattice_kernels.py")
    for name in ("__init__.py", "version.py", *crf):
        shutil.copy(source / name, folder.parent / name)
    (folder / "__pycache__").touch()
    return folder


def run(package, code=ADD, **environment):
    home = package.parents[2] / "home"
    own = {"PYTHONPATH": str(package.parents[1]), "HOME": str(home), "XDG_CACHE_HOME": str(home / "cache")}
    rest = {name: value for name, value in os.environ.items() if not name.startswith(("NUMBA_", "COV_"))}
    return subprocess.run(
        [sys.executable, "-c", code], env=rest | own | environment, capture_output=True, text=True, check=True
    )


def test_a_read_only_package_is_compiled_once_for_each_state_of_its_sources(package):
    """The line that says so is seen, though nobody has set up logging.

    numba looks at the kernel's own file alone; here another one changes, and nothing of the kernel's does.
    """
    first, second = run(package), run(package)
    assert first.stdout == second.stdout == "[8.0, 10.0]\n"
    assert first.stderr.splitlines() == [LINE]
    assert second.stderr == ""
    assert list((package.parents[2] / "home").glob("**/*.nbi"))
    source = package / "vectors.py"
    kept = source.read_text()
    before, after = kept.split("@intrinsic\ndef subtract")
    changed = "fsub".join(before.rsplit("fadd", 1)) + "@intrinsic\ndef subtract" + after
    assert changed != kept
    source.write_text(changed)
    third = run(package)
    assert (third.stdout, third.stderr.splitlines()) == ("[-8.0, -8.0]\n", [LINE])


def test_a_later_process_imports_little(package):
    """What is kept is run without what compiling needs, such as linear algebra: 0.3 s."""
    run(package)
    later = run(package, ADD + "import sys; print('numba.np.linalg' in sys.modules)")
    assert later.stdout == "[8.0, 10.0]\nFalse\n"


def test_where_nothing_can_be_written_each_process_compiles(package):
    (package.parents[2] / "home").touch()
    ended = run(package)
    assert ended.stdout == "[8.0, 10.0]\n"
    assert "as in every process, since no folder for NUMBA_CACHE_DIR can be written" in ended.stderr


def test_a_full_disk_stops_no_call(package):
    """No file may grow beyond 100 bytes."""
    limited = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))\n" + ADD
    assert run(package, limited).stdout == "[8.0, 10.0]\n"
    assert not list((package.parents[2] / "home").glob("**/*.nbc"))


def test_damaged_files_are_compiled_anew(package):
    run(package)
    for kind in ("nbi", "nbc"):
        files = list((package.parents[2] / "home").glob(f"**/*.{kind}"))
        assert files
        for file in files:
            file.write_bytes(file.read_bytes()[:50])
        again = run(package)
        assert (again.stdout, again.stderr.splitlines()) == ("[8.0, 10.0]\n", [LINE])


def test_a_file_of_another_signature_is_compiled_anew(package):
    """As two processes that compile at once can leave it: the list of files is the one's, the file the other's."""
    wide = ADD.replace("int32", "int64")
    run(package, ADD + wide)
    files = sorted((package.parents[2] / "home").glob("**/add_rows*.nbc")) or sorted(
        (package.parents[2] / "home").glob("**/*.nbc")
    )
    assert len(files) == 2
    contents = [file.read_bytes() for file in files]
    for file, content in zip(files, reversed(contents), strict=True):
        file.write_bytes(content)
    first, second = run(package, wide), run(package, wide)
    assert first.stdout == second.stdout == "[8.0, 10.0]\n"
    assert first.stderr.splitlines() == [LINE]
    assert second.stderr == ""


def test_one_line_says_that_it_compiles(caplog):
    announcement = vectors._Announcement()
    kernel = SimpleNamespace(py_func=vectors.compiled, _cache=vectors._Cache.__new__(vectors._Cache))
    others = SimpleNamespace(py_func=np.sum, _cache=None)
    for dispatcher in (others, kernel, kernel):
        announcement.on_start(SimpleNamespace(data={"dispatcher": dispatcher}))
    assert [record.getMessage() for record in caplog.records] == [LINE]


def test_kernels_work_where_nothing_can_be_cached(monkeypatch):
    """numba refuses to make a caching kernel where no folder can be written; then it is made without."""
    real = vectors._njit

    def refusing(cache=False, **options):
        if cache:
            raise RuntimeError("cannot cache function 'f': no locator available for file 'f.py'")
        return real(**options)

    monkeypatch.setattr(vectors, "_njit", refusing)
    assert vectors.compiled(lambda x: x + 1)(2) == 3
