"""What this machine has: cores, memory, a GPU; and how much of its memory this process has used."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path

import torch

from pixelwise.inference import engine

if sys.platform != "win32":
    import resource

UNKNOWN_MEMORY = 4 * 2**30  # taken where the system does not tell


@dataclass(frozen=True)
class Machine:
    """Cores this process may use, bytes of memory, and the GPU's name or none."""

    cores: int
    memory_bytes: int
    gpu: str | None

    @property
    def device(self) -> torch.device:
        """Where networks run."""
        return torch.device("cuda" if self.gpu else "cpu")

    def describe(self) -> str:
        """One phrase for plan and report."""
        gpu = self.gpu or "no GPU"
        plural = "s" if self.cores != 1 else ""
        return f"{self.cores} core{plural}, {self.memory_bytes / 2**30:.0f} GiB, {gpu}; torch {torch.__version__}"


def this_machine() -> Machine:
    """The machine as this process sees it, with its container's limits of cores and memory."""
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    quota = Path("/sys/fs/cgroup/cpu.max")
    if quota.exists():
        share, period = quota.read_text().split()
        cores = min(cores, max(1, round(int(share) / int(period)))) if share != "max" else cores
    known = sys.platform != "win32"
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if known else UNKNOWN_MEMORY
    limit = Path("/sys/fs/cgroup/memory.max")
    if limit.exists():
        text = limit.read_text().strip()
        memory = min(memory, int(text)) if text.isdigit() else memory
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return Machine(cores, memory, gpu)


def fast_bfloat16(machine: Machine) -> bool:
    """Whether bfloat16 is computed by the hardware: then convolutions take about half the time."""
    return engine.fast_bfloat16(machine.device)


def peak_memory_mebibytes() -> float:
    """The largest resident size of this process so far; 0 on Windows, which does not tell it this way."""
    if sys.platform == "win32":
        return 0.0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10
