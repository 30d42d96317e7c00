"""The garbage collector, out of the way while what stays is loaded."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def keeping_all() -> Iterator[None]:
    """The garbage collector off: what importing numba and loading kernels make stays, and need not be looked through.

    That saves some hundredths of a second of the half that a first result takes (`benchmarks/crf_start.py`).
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
