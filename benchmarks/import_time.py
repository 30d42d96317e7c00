"""How long `import pixelwise` and `pixelwise --help` take, against `import torch` alone, in fresh processes.

python benchmarks/import_time.py
"""

import statistics
import subprocess
import sys
import time

COMMANDS = {
    "import pixelwise": ["-c", "import pixelwise"],
    "pixelwise --help": ["-m", "pixelwise", "--help"],
    "import pixelwise and what a fit needs": ["-c", "import pixelwise; pixelwise.fit"],
    "import torch": ["-c", "import torch"],
}


def main() -> None:
    """Run and print."""
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(6):
        for name, arguments in COMMANDS.items():
            start = time.perf_counter()
            subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
            times[name].append(time.perf_counter() - start)
    peer = statistics.median(times["import torch"][1:])
    for name, seconds in times.items():
        median = statistics.median(seconds[1:])
        print(f"{name}: {median:.2f} s, {median / peer:.2f}× import torch")


if __name__ == "__main__":
    main()
