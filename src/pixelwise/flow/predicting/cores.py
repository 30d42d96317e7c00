"""Cores: how many threads a network gets while pictures are read and written beside it."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

SMALL = 2**15
"""Pixels of a picture up to which one core is left to reading and writing.

A network's threads wait for each other at the end of each layer. Where one of them has lost its core to a file that is
written, all wait, and a small picture has many short layers: with a thread less it is done sooner (timed by hand, in
benchmarks/RESULTS.md under `predict_folder.py`). Where large pictures begin was chosen, not measured.
"""


@contextmanager
def cores() -> Iterator["Cores"]:
    """Choose torch's threads by the picture, as long as this lasts."""
    every = torch.get_num_threads()
    try:
        yield Cores(every)
    finally:
        torch.set_num_threads(every)


class Cores:
    """The threads of torch, of which there are `every`."""

    def __init__(self, every: int) -> None:
        self._every = every

    def share(self, pixels: int) -> None:
        """Take what a picture of so many pixels is worth."""
        threads = self._every if pixels > SMALL else max(self._every - 1, 1)
        if threads != torch.get_num_threads():
            torch.set_num_threads(threads)
