"""The dense CRF against pydensecrf: same energies, same settings, alternating in one process.

    PIXELWISE_DATA=… python benchmarks/bench_crf.py [--quick] [--repeats 5] [IMAGE]

pydensecrf compiles at install time and needs its build tools first:

    pip install "cython<3" numpy setuptools wheel && pip install --no-build-isolation pydensecrf2

Prints, for each case, the median time of both with one and with all threads, the median of the ratios taken pair by
pair, the share of equal labels, the largest difference of probabilities, the time of each phase, and the peak of
working memory. Settings: 10 steps, a Gaussian of 3 pixels and reward 3, and a bilateral term: b1 of 67 pixels, 3
colors, reward 4 (DeepLab v2), b2 of 80, 13, 10 (pydensecrf's example).
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pixelwise.benchmark.crf import HOW_TO_INSTALL, PEER, SETTINGS, STEPS, energies, installed, ours, pydensecrf
from pixelwise.crf.model import DenseCRF
from pixelwise.crf.numba_engine import position_lattice
from pixelwise.crf.threads import Team, available_threads


def photo(path: Path, size: tuple[int, int] | None) -> NDArray[np.uint8]:
    """The picture, or a mosaic of it at native detail, (H, W, 3)."""
    image = np.asarray(Image.open(path).convert("RGB"))
    if size is None:
        return image
    mosaic = np.concatenate([image, image[:, ::-1]], 1)
    mosaic = np.concatenate([mosaic, mosaic[::-1]], 0)
    repeats = [-(-wanted // have) for wanted, have in zip(size, mosaic.shape, strict=False)]
    return np.ascontiguousarray(np.tile(mosaic, (*repeats, 1))[: size[0], : size[1]])


def timed(work: Callable[[], NDArray[np.float32]]) -> tuple[NDArray[np.float32], float]:
    """The result and the seconds of one call."""
    start = time.perf_counter()
    result = work()
    return result, time.perf_counter() - start


def phases(unary: NDArray[np.float32], image: NDArray[np.uint8], name: str, threads: int) -> str:
    """Milliseconds of each phase of one call."""
    marks = [time.perf_counter()]
    position_lattice.cache_clear()
    crf = DenseCRF(unary, threads=threads)
    marks.append(time.perf_counter())
    crf.add_gaussian(3, 3)
    marks.append(time.perf_counter())
    sigma_pixels, sigma_color, reward = SETTINGS[name]
    crf.add_bilateral(image, sigma_pixels, sigma_color, reward)
    marks.append(time.perf_counter())
    plan = crf._planned()
    marks.append(time.perf_counter())
    spent = {"start": 0.0, "update": 0.0, "blur": 0.0, "end": 0.0}
    messages, sums, marginals = plan.new_rows(), plan.new_rows(), plan.empty()
    with Team(plan.threads) as team:
        for step in range(STEPS + 1):
            begin = time.perf_counter()
            plan.update(team, messages, sums, marginals, receives=step > 0, sends=step < STEPS)
            middle = time.perf_counter()
            if step < STEPS:
                messages, sums = sums, messages
                plan.blur(team, messages)
            spent["start" if step == 0 else "end" if step == STEPS else "update"] += middle - begin
            spent["blur"] += time.perf_counter() - middle
    lattices = zip(("checks", "position lattice", "bilateral lattice", "weights"), pairwise(marks), strict=True)
    parts = {what: stop - start for what, (start, stop) in lattices} | spent
    vertices = " + ".join(str(term.lattice.num_vertices) for term in crf.terms)
    return ", ".join(f"{what} {seconds * 1e3:.0f}" for what, seconds in parts.items()) + f" ms; {vertices} vertices"


def peak_memory(engine: str, arguments: argparse.Namespace, case: tuple[int, str, str]) -> float:
    """MiB that one call adds to a process of its own; not-a-number where /proc does not tell."""
    command = [sys.executable, __file__, str(arguments.image), "--memory", engine, *map(str, case)]
    answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return float(answer.split()[-1])


def measure_memory(arguments: argparse.Namespace) -> None:
    """What `peak_memory` runs."""
    engine, num_labels, size, name = arguments.memory
    image = photo(arguments.image, parsed(size))
    unary = energies(image, int(num_labels))
    call = pydensecrf if engine == PEER else lambda *case: ours(*case, available_threads())
    call(np.ascontiguousarray(unary[:, :64, :64]), image[:64, :64], name)  # code loaded
    status, clear = Path("/proc/self/status"), Path("/proc/self/clear_refs")
    if not clear.exists():
        print("nan")
        return
    clear.write_text("5")  # the peak is what is used now
    before = int(status.read_text().split("VmRSS:")[1].split()[0])
    result = call(unary, image, name)
    after = int(status.read_text().split("VmHWM:")[1].split()[0])
    print(result.shape, (after - before) / 1024)


def parsed(size: str) -> tuple[int, int] | None:
    """Height and width of "750x1000", None of "photo"."""
    return None if size == "photo" else tuple(int(n) for n in size.split("x"))


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser()
    default = Path(os.environ.get("PIXELWISE_DATA", ".")) / "fcn-demo" / "image.jpg"
    parser.add_argument(
        "image", type=Path, nargs="?", default=default, help="a photo at native detail, about 500 × 375"
    )
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="21 labels on the photo alone")
    parser.add_argument("--only", nargs=2, metavar=("LABELS", "SIZE"), help="one case alone, as 21 1024x2048")
    parser.add_argument("--memory", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.memory:
        measure_memory(arguments)
        return
    if not arguments.image.exists():
        raise SystemExit(f"no {arguments.image}: give a photo, or set PIXELWISE_DATA")
    has_peer = installed()
    if not has_peer:
        print(f"{PEER} is not installed: {HOW_TO_INSTALL}")
    cases = [(21, "photo"), (2, "photo"), (150, "photo"), (21, "750x1000"), (21, "1024x2048")]
    processors = available_threads()
    if arguments.only:
        cases = [(int(arguments.only[0]), arguments.only[1])]
    for num_labels, size in cases[:1] if arguments.quick else cases:
        image = photo(arguments.image, parsed(size))
        unary = energies(image, num_labels)
        ours(unary, image, "b1", processors)  # compiles
        for name in SETTINGS:
            print(f"{num_labels} labels, {image.shape[1]} × {image.shape[0]}, {name}:")
            engines = {
                "one thread": lambda u=unary, i=image, n=name: ours(u, i, n, 1),
                f"{processors} threads": lambda u=unary, i=image, n=name: ours(u, i, n, processors),
                f"{processors} threads, position lattice kept": lambda u=unary, i=image, n=name: ours(
                    u, i, n, processors, keep=True
                ),
            }
            if has_peer:
                engines = {PEER: lambda u=unary, i=image, n=name: pydensecrf(u, i, n)} | engines
            seconds: dict[str, list[float]] = {engine: [] for engine in engines}
            results = {}
            for _ in range(arguments.repeats):
                for engine, call in engines.items():
                    results[engine], spent = timed(call)
                    seconds[engine].append(spent)
            for engine, spent in seconds.items():
                line = f"  {engine}: {statistics.median(spent) * 1e3:.0f} ms"
                if has_peer and engine != PEER:
                    ratio = statistics.median(b / a for a, b in zip(spent, seconds[PEER], strict=True))
                    equal = float((results[engine].argmax(0) == results[PEER].argmax(0)).mean())
                    farthest = float(np.abs(results[engine] - results[PEER]).max())
                    line += f", {ratio:.2f}×, labels {equal:.4%} equal, probabilities within {farthest:.0e}"
                    if equal < 0.9999:
                        raise SystemExit(line + ": the labels differ")
                print(line)
            del results
            print(f"  phases, {processors} threads: {phases(unary, image, name, processors)}")
            case = num_labels, size, name
            memory = {
                engine: peak_memory(engine, arguments, case) for engine in ([PEER] if has_peer else []) + ["ours"]
            }
            print("  peak working memory: " + ", ".join(f"{engine} {mib:.0f} MiB" for engine, mib in memory.items()))


if __name__ == "__main__":
    main()
