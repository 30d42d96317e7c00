"""The machine that ratios were measured on."""

import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

from pixelwise import __version__
from pixelwise.flow.machine import this_machine


def described() -> dict[str, Any]:
    """What ratios depend on: processor, cores, memory, threads, versions."""
    machine = this_machine()
    return {
        "processor": processor(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "cores": machine.cores,
        "threads": torch.get_num_threads(),
        "memory_gib": round(machine.memory_bytes / 2**30, 1),
        "gpu": machine.gpu,
        "system": platform.system(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "pixelwise": __version__,
    }


def processor() -> str:
    """Its name as the system tells it; that of its architecture where it does not."""
    listed = Path("/proc/cpuinfo")
    if listed.exists():
        names = [line.partition(":")[2].strip() for line in listed.read_text().splitlines() if "model name" in line]
        if names:
            return names[0]
    if sys.platform == "darwin":
        command = ["sysctl", "-n", "machdep.cpu.brand_string"]
        told = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
        if told:
            return told
    return platform.processor() or platform.machine()
