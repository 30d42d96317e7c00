"""Processes: one run on several of them, on one machine or more, started by `torchrun`.

A batch is that of the whole run: each process takes its part of the crops, and what a loss sums over pixels is summed
over all parts. So the gradient is that of one process with the same batch, whatever part has how many valid pixels.
Processes speak through torch.distributed: NCCL between GPUs, Gloo between CPUs.
"""

import atexit
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import NoReturn, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from pixelwise.errors import BadOption, TrainingError

PATIENCE = timedelta(minutes=30)  # that others wait for the first process, which validates and writes files

T = TypeVar("T")


@dataclass(frozen=True)
class Processes:
    """This process among those of a run.

    >>> Processes(1, 3).share(10), Processes().share(10)
    (slice(3, 6, None), slice(0, 10, None))

    Attributes:
        rank: its number, 0…count − 1; process 0 leads: it writes files and speaks.
        count: of all processes.
    """

    rank: int = 0
    count: int = 1

    @property
    def leads(self) -> bool:
        """Whether it is the one that writes files and speaks."""
        return self.rank == 0

    def share(self, length: int) -> slice:
        """Which of some things are its own: as many as others have, or one less."""
        return slice(length * self.rank // self.count, length * (self.rank + 1) // self.count)

    def total(self, value: Tensor) -> Tensor:
        """The sum over all processes; its gradient is that of this process's own part."""
        if self.count == 1:
            return value
        whole = value.detach().clone()
        dist.all_reduce(whole)
        return value + (whole - value.detach())

    def collected(self, values: Tensor) -> tuple[Tensor, slice]:
        """(P,) of each process, one after the other, and where its own are; these alone have a gradient."""
        if self.count == 1:
            return values, slice(0, len(values))
        lengths = self.gathered(len(values))
        padded = values.new_zeros(max(lengths))
        padded[: len(values)] = values.detach()
        parts = [torch.empty_like(padded) for _ in lengths]
        dist.all_gather(parts, padded)
        parts = [part[:length] for part, length in zip(parts, lengths, strict=True)]
        parts[self.rank] = values
        start = sum(lengths[: self.rank])
        return torch.cat(parts), slice(start, start + len(values))

    def gathered(self, value: T) -> list[T]:
        """What each process has, in their order; plain values and arrays."""
        if self.count == 1:
            return [value]
        found: list[T | None] = [None] * self.count
        dist.all_gather_object(found, value)
        return found  # type: ignore[return-value]  # all places are filled

    def told(self, value: T) -> T:
        """What the first process has."""
        if self.count == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box)
        return box[0]

    def any(self, flag: bool) -> bool:
        """Whether it is so in one of them."""
        return any(self.gathered(flag))


ALONE = Processes()


def current() -> Processes:
    """This process among those of the run, where several were joined."""
    if not (dist.is_available() and dist.is_initialized()):
        return ALONE
    return Processes(dist.get_rank(), dist.get_world_size())


@contextmanager
def joined() -> Iterator[Processes]:
    """The processes that `torchrun` started; this one alone where it did not.

    After an error this process must end by `end`, as `pixelwise.cli.main` does.

    Raises:
        BadOption: what torchrun says of them is not complete.
        TrainingError: another process ended, or cannot be reached.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield ALONE
        return
    missing = [name for name in ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT") if name not in os.environ]
    if missing:
        raise BadOption(f"WORLD_SIZE is set, but not {', '.join(missing)}: start several processes with torchrun")
    gpu = torch.cuda.is_available()
    if gpu:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    with explained():
        dist.init_process_group("nccl" if gpu else "gloo", timeout=PATIENCE)
    try:
        with explained():
            yield current()
    except BaseException as error:
        _FAILED.append(error)
        atexit.register(end, 1)  # where the error goes on to the top, as a fault of ours or with --debug
        raise
    dist.destroy_process_group()


_FAILED: list[BaseException] = []
"""Errors that ended the work of several processes, kept for ever.

Their frames hold the group of processes. Freed with them, it would wait, with Python's lock, for its threads, one of
which may wait for that lock: seen in gloo of torch 2.13, once in many runs that another process had ended.
"""


def end(code: int) -> NoReturn:
    """End this process, without freeing anything where several processes failed."""
    if _FAILED:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    raise SystemExit(code)


@contextmanager
def explained() -> Iterator[None]:
    """Turn what torch.distributed raises when another process is gone into one error."""
    try:
        yield
    except RuntimeError as error:
        text = str(error)
        if not (isinstance(error, dist.DistError) or "gloo" in text.lower() or "nccl" in text.lower()):
            raise
        first = text.splitlines()[0][:200]
        raise TrainingError(
            f"another process of this run ended or cannot be reached ({first}); look at its own message; the last "
            "state is kept: run again with --resume, on as many processes as you like"
        ) from error
