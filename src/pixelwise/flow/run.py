"""The run folder: its files, the lock that holds it, its log and clock, and how a run is interrupted."""

import errno
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from pixelwise.data.archive import archive_stem, is_archive
from pixelwise.errors import DataError, TrainingError

if sys.platform != "win32":
    import fcntl

MODEL, PLAN, LOG, RESULT, STATE = "model.safetensors", "plan.yaml", "log.jsonl", "result.json", "state.pt"
LOCK = ".lock"


@dataclass
class Clock:
    """Seconds of each part of a run, and of the whole."""

    start: float = field(default_factory=time.monotonic)
    parts: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Count the block under this name."""
        began = time.monotonic()
        try:
            yield
        finally:
            self.parts[name] = self.parts.get(name, 0.0) + time.monotonic() - began

    def add(self, other: "Clock") -> None:
        """Count the parts of another clock, too."""
        for name, seconds in other.parts.items():
            self.parts[name] = self.parts.get(name, 0.0) + seconds

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.monotonic() - self.start


def run_folder(folder: Path, out: str | Path | None, resume: bool, marker: str = PLAN) -> Path:
    """Where the run goes, made if it is new; never one that exists, but to resume it.

    Args:
        folder: whose name the run has, where `out` does not name it.
        marker: the file that every run of this kind has.
    """
    if out is not None:
        run = Path(out)
        if not resume:
            if run.exists() and (not run.is_dir() or any(p.name != LOCK for p in run.iterdir())):
                raise DataError(
                    f"{run} already exists and is not empty; choose another --out, or --resume to go on with it"
                )
            run.mkdir(parents=True, exist_ok=True)
        elif not (run / marker).exists():
            raise DataError(f"there is no run in {run} to resume: it has no {marker}")
        return run
    base = Path("runs")
    name = (archive_stem(folder) if is_archive(folder) else folder.resolve().name) or "run"
    candidates = (base / (name if i == 1 else f"{name}-{i}") for i in range(1, 10_000))
    if resume:
        existing = [run for run in candidates if (run / marker).exists()]
        if not existing:
            raise DataError(f"there is no run of {folder} under {base}/ to resume; name it with --out")
        return max(existing, key=lambda run: (run / marker).stat().st_mtime)
    base.mkdir(exist_ok=True)
    for run in candidates:
        try:
            run.mkdir()
        except FileExistsError:
            continue
        return run
    raise DataError(f"all names from {base / name} to {base / name}-9999 are taken; choose one with --out")


@contextmanager
def alone_in(run: Path, *, fresh: bool = False, marker: str = PLAN) -> Iterator[None]:
    """Hold the run folder against other processes; the lock ends with this one, however it ends.

    A folder that got no plan is removed again, so that the corrected command can use its name.

    Args:
        fresh: the folder must hold no plan yet.
        marker: the file that is a run's plan.
    """
    with (run / LOCK).open("a") as lock:
        if not _locked(lock, run / LOCK) or (fresh and (run / marker).exists()):
            raise DataError(
                f"another {'fit' if marker == PLAN else 'training'} is at work in {run}; wait for it, or choose "
                "another --out"
            )
        try:
            for left in run.rglob(".*.part"):
                left.unlink(missing_ok=True)  # of a process that was killed while writing
            yield
        finally:
            if run.is_dir() and {p.name for p in run.iterdir()} == {LOCK}:
                (run / LOCK).unlink()
                run.rmdir()


def _locked(lock: IO[str], path: Path) -> bool:
    """Take the lock; False where another process holds it, or has just removed the folder."""
    if sys.platform != "win32":
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:
            return True  # a file system without locks
    return path.exists() and os.path.samestat(os.fstat(lock.fileno()), path.stat())


@contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Within the block the first Ctrl-C (or SIGTERM) is remembered instead of raised; a second one is raised.

    Training ends at the next logged step; the final evaluation and the report are short and are finished.
    """
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked.is_set
        return

    def handle(number: int, frame: Any) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def log_file(path: Path) -> Iterator[IO[bytes]]:
    """The log to append to; a line that a kill cut short is ended first."""
    torn = path.is_file() and path.stat().st_size > 0 and path.read_bytes()[-1:] != b"\n"
    with path.open("ab", buffering=0) as log:
        if torn:
            explained_write(log, "\n", path)
        yield log


def log_line(file: IO[bytes], record: dict[str, Any]) -> None:
    """Add one JSON object to the log.

    Raises:
        TrainingError: the disk is full.
    """
    explained_write(file, json.dumps(record) + "\n", Path(file.name))


def explained_write(file: IO[bytes], line: str, path: Path) -> None:
    """Add a line to a file of a run, without a buffer.

    Raises:
        TrainingError: the disk is full.
    """
    content = line.encode()
    try:
        if file.write(content) < len(content):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    except OSError as error:
        raise TrainingError(
            f"{path} could not be written ({error.strerror or error}); the last state and model are kept: make room "
            "and run again with --resume"
        ) from error
