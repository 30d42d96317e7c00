"""Threads that share the work of numba's kernels."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Self, TypeVar

from pixelwise.crf.arrays import is_whole, shown
from pixelwise.errors import BadOption

Result = TypeVar("Result")


class Team:
    """Threads that work through a list together, the caller among them.

    The kernels have one thread each and let go of Python's lock, as in `layers/resample_kernels.py`.
    """

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._pool = ThreadPoolExecutor(threads - 1) if threads > 1 else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        if self._pool is not None:
            self._pool.shutdown()

    def run(self, job: Callable[..., Result], items: Sequence[Any]) -> list[Result]:
        """The job's results, one item each, in their order; each thread takes the next item that is left."""
        if self._pool is None or len(items) < 2:
            return [job(item) for item in items]
        results: dict[int, Result] = {}
        left = iter(range(len(items)))

        def work() -> None:
            for i in left:
                results[i] = job(items[i])

        others = [self._pool.submit(work) for _ in range(min(self.threads, len(items)) - 1)]
        work()
        for other in others:
            if not other.cancel():  # where it has begun
                other.result()
        return [results[i] for i in range(len(items))]


def available_threads(threads: int | None = None) -> int:
    """The number asked for, or that of the processors this process may use.

    Raises:
        BadOption: less than 1.
    """
    if threads is None:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if not is_whole(threads) or threads < 1:
        raise BadOption(f"threads is {shown(threads)}: expected a whole number from 1 up, or None for all processors")
    return int(threads)
