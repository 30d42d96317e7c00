"""How long a process needs from NumPy loaded to the first result of a dense CRF, its kernels compiled before.

    python benchmarks/crf_start.py [--processes 11]

Each process imports NumPy, then `pixelwise.crf`, and refines probabilities of 21 labels on 60 × 80 pixels; the wall
clock runs from after NumPy. One process before them compiles the kernels, where that was not done.
"""

import argparse
import statistics
import subprocess
import sys

CODE = """
import numpy as np, time
start = time.perf_counter()
from pixelwise.crf import dense_crf
random = np.random.default_rng(0)
probabilities = random.random((21, 60, 80)).astype(np.float32)
dense_crf(probabilities / probabilities.sum(0), random.integers(0, 255, (60, 80, 3), dtype=np.uint8))
print(time.perf_counter() - start)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=11)
    count = parser.parse_args().processes
    found = [
        float(subprocess.run([sys.executable, "-c", CODE], check=True, capture_output=True, text=True).stdout)
        for _ in range(count + 1)
    ][1:]
    told = ", ".join(f"{seconds:.2f}" for seconds in sorted(found))
    print(f"median {statistics.median(found):.2f} s of {count} processes: {told}")


if __name__ == "__main__":
    main()
