"""Freed memory is kept: what comes again in the same size asks the system for no further pages."""

import platform
import subprocess
import sys

import pytest

PROGRAM = """
import resource
import numpy as np
from pixelwise.data.memory import keep_freed

{call}
for turn in range(20):
    if turn == 10:
        start = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    batch = [np.ones(1_000_000, np.uint8) for _ in range(8)]
    del batch
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - start)
"""


def faults(call):
    ran = subprocess.run([sys.executable, "-c", PROGRAM.format(call=call)], capture_output=True, text=True, check=True)
    return int(ran.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="what other C libraries do is left to them")
def test_pages_are_asked_for_once():
    assert faults("keep_freed()") < 200 < 2000 < faults("")


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_it_takes_no_memory():
    resident = "int(open('/proc/self/statm').read().split()[1])"
    call = f"before = {resident}; keep_freed(); assert {resident} - before < 256, 'pages'"
    faults(call)
