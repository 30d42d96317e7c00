"""What the C library does with memory that is freed."""

from functools import cache

import numpy as np

LARGEST_LEARNED = 32 << 20
"""Bytes: larger freed blocks teach glibc nothing (DEFAULT_MMAP_THRESHOLD_MAX of a 64-bit system)."""


@cache
def keep_freed() -> None:
    """Let this process keep up to 64 MiB of what it frees, for what it needs next.

    Once a block is freed that came from the system by itself, glibc takes blocks up to its size from the heap, and
    gives the end of the heap back to the system only beyond twice that (mallopt(3), "dynamic mmap threshold"). A
    process that has freed no large block yet gives each batch of crops back and asks for it again, page by page: 272
    faults and 0.8 ms a picture of 4.3 ms (by hand, RESULTS.md under `data_path.py`). The block here is freed untouched,
    so no page of it is ever there. Other C libraries are left as they are.
    """
    np.empty(LARGEST_LEARNED - (64 << 10), np.uint8)
