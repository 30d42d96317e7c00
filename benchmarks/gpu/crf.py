"""The dense CRF on a GPU: milliseconds for an image, beside numba's labels in the same run.

    python benchmarks/gpu/crf.py [IMAGE] [--device cuda] [--size 375x500] [--batch 8]

IMAGE is a photo at native detail, about 500 × 375; without one a picture is drawn, of smooth regions, edges and noise.
Prints the GPU's name and, for settings b1 and b2 of `benchmarks/bench_crf.py`: the median time of an inference from
tensors on the device to marginals there, position lattice kept, as for all images of a size; the same from and to
numpy's arrays; the time of the lattice of positions and colors, and of 10 steps; the time for an image of a batch; the
share of labels that are the engine numba's. Says at the end whether b1 takes at most 10 ms.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[1]))
from bench_crf import parsed, photo

from pixelwise.benchmark.crf import SETTINGS, STEPS, drawn, energies
from pixelwise.crf.model import DenseCRF

GOAL = 10.0  # ms, b1


def built(unary: object, image: object, name: str, device: torch.device, *, batched: bool = False) -> DenseCRF:
    """The CRF before its inference."""
    sigma_pixels, sigma_color, reward = SETTINGS[name]
    crf = DenseCRF(unary, engine="torch", device=device, batched=batched)
    crf.add_gaussian(3, 3)
    crf.add_bilateral(image, sigma_pixels, sigma_color, reward)
    return crf


def milliseconds(work: Callable[[], object], device: torch.device, repeats: int) -> float:
    """Median of the repeats, after two that do not count."""
    spent = []
    for repeat in range(repeats + 2):
        start = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize()
        if repeat > 1:
            spent.append((time.perf_counter() - start) * 1e3)
    return statistics.median(spent)


def measure(
    image: NDArray[np.uint8], unary: NDArray[np.float32], name: str, options: argparse.Namespace
) -> tuple[float, float]:
    """Print one setting's line; the time from tensor to tensor, and the share of equal labels."""
    device, repeats = options.device, options.repeats
    scores, picture = torch.from_numpy(unary).to(device), torch.from_numpy(image).to(device)
    crf = built(scores, picture, name, device)
    sigma_pixels, sigma_color, reward = SETTINGS[name]
    numba = DenseCRF(unary, engine="numba")
    numba.add_gaussian(3, 3)
    numba.add_bilateral(image, sigma_pixels, sigma_color, reward)
    expected = numba.infer(STEPS)
    result = crf.infer(STEPS).cpu().numpy()
    equal = float((result.argmax(0) == expected.argmax(0)).mean())
    steady = torch.equal(crf.infer(STEPS), built(scores, picture, name, device).infer(STEPS))

    whole = milliseconds(lambda: built(scores, picture, name, device).infer(STEPS), device, repeats)
    host = milliseconds(lambda: built(unary, image, name, device).infer(STEPS), device, repeats)
    engine, grid = crf._engine, image.shape[:2]
    lattice = milliseconds(lambda: engine.bilateral(picture, grid, sigma_pixels, sigma_color, 1), device, repeats)
    plan = crf._planned()
    steps = milliseconds(lambda: plan.infer(STEPS), device, repeats)
    vertices = " + ".join(str(term.lattice.num_vertices) for term in crf.terms)
    print(
        f"{name}: {whole:.2f} ms an image, from and to the host {host:.2f} ms; lattice {lattice:.2f}, {STEPS} steps "
        f"{steps:.2f} ms; {vertices} vertices; labels {equal:.4%} numba's, probabilities within "
        f"{np.abs(result - expected).max():.0e}, {'the same' if steady else 'DIFFERENT'} bits twice",
        flush=True,
    )
    turns = [(i // 2 * grid[0] // options.batch, i % 2) for i in range(options.batch)]  # rolled, every second mirrored
    many = torch.stack([scores.roll(rows, 1).flip([2][:mirror]) for rows, mirror in turns], 1)
    pictures = torch.stack([picture.roll(rows, 0).flip([1][:mirror]) for rows, mirror in turns])
    batch = milliseconds(
        lambda: built(many, pictures, name, device, batched=True).infer(STEPS), device, max(repeats // 3, 1)
    )
    print(f"{name}: {batch / options.batch:.2f} ms an image in a batch of {options.batch}", flush=True)
    return whole, equal


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("image", type=Path, nargs="?", help="a photo at native detail, about 500 × 375")
    parser.add_argument("--device", type=torch.device, default=torch.device("cuda"))
    parser.add_argument("--size", type=parsed, default=(375, 500), help="of the picture that is drawn, HxW")
    parser.add_argument("--labels", type=int, default=21)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=15)
    options = parser.parse_args()
    print(torch.cuda.get_device_name(options.device) if options.device.type == "cuda" else "CPU", torch.__version__)
    image = photo(options.image, None) if options.image else drawn(*options.size)
    unary = energies(image, options.labels)
    print(f"{options.labels} labels, {image.shape[1]} × {image.shape[0]}, {STEPS} steps")
    times, shares = zip(*(measure(image, unary, name, options) for name in SETTINGS), strict=True)
    if min(shares) < 0.9999:
        raise SystemExit(f"only {min(shares):.4%} of the labels are numba's: expected 99.99 %")
    print(f"b1 takes {times[0]:.2f} ms: {'within' if times[0] <= GOAL else 'NOT within'} the goal of {GOAL:.0f} ms")


if __name__ == "__main__":
    main()
