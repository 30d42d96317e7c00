"""The domain transform against our dense CRF and OpenCV's filter: time, and what both make of coarse labels.

    PIXELWISE_DATA=… python benchmarks/domain_transform.py [--repeats 5] [--pictures 8]

Time: 21 labels, 500 × 375, a smooth picture with noise, the CRF's settings b1 (67 pixels, 3 colors, reward 4, and a
Gaussian of 3 pixels and reward 3), 10 steps, all processors; medians. OpenCV's `ximgproc.dtFilter` (in
opencv-contrib-python-headless, one label at a time) must give the same values.

Labels, where PIXELWISE_DATA is set: masks of VOC 2012 made coarse, a mean of 16 × 16 pixels stretched again, stand for
a network's probabilities. Prints the mean IoU of these, of the domain transform with some sigmas, and of the CRF.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pixelwise.crf import CRFParameters, dense_crf, domain_transform
from pixelwise.metrics import ConfusionMatrix

Floats = NDArray[np.float32]
B1 = CRFParameters(bilateral_weight=4, bilateral_sigma_pixels=67, bilateral_sigma_color=3)
COARSE = 16  # pixels of the mask in one of the coarse map
SIGMAS = [(sigma_pixels, sigma_color) for sigma_pixels in (25, 50, 100) for sigma_color in (5, 25, 50, 100, 200)]


def drawn() -> tuple[Floats, NDArray[np.uint8]]:
    """Probabilities (21, 375, 500) and a picture."""
    rng = np.random.default_rng(0)
    rows, columns = np.indices((375, 500))
    waves = [128 + 60 * np.sin(columns / 30 + k) + 50 * np.cos(rows / (20 + 5 * k)) for k in range(3)]
    image = (np.stack(waves, -1) + rng.normal(0, 4, (375, 500, 3))).clip(0, 255).astype(np.uint8)
    image[rows > columns] //= 2
    scores = np.stack([cv2.resize(plane, (500, 375)) for plane in rng.normal(0, 2, (21, 47, 63)).astype(np.float32)])
    powers = np.exp(scores)
    return powers / powers.sum(0), image


def median(work: Callable[[], Floats], repeats: int) -> tuple[Floats, float]:
    """The result and the median seconds of a call, after one that compiles."""
    result = work()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return result, statistics.median(seconds)


def by_opencv(probabilities: Floats, image: NDArray[np.uint8]) -> Floats:
    """The same with OpenCV, with its default sigmas."""
    planes = [cv2.ximgproc.dtFilter(image, plane, 50, 100, mode=cv2.ximgproc.DTF_RF) for plane in probabilities]
    return np.stack(planes)


def times(repeats: int) -> None:
    """Print the times and their ratios."""
    probabilities, image = drawn()
    ours, seconds = median(lambda: domain_transform(probabilities, image), repeats)
    _, crf = median(lambda: dense_crf(probabilities, image, B1), repeats)
    print(f"domain transform {seconds * 1e3:.0f} ms, dense CRF (b1) {crf * 1e3:.0f} ms: {crf / seconds:.1f}×")
    if not hasattr(cv2, "ximgproc"):
        print("OpenCV has no ximgproc: pip install opencv-contrib-python-headless")
        return
    theirs, opencv = median(lambda: by_opencv(probabilities, image), repeats)
    difference = float(np.abs(ours - theirs).max())
    print(f"OpenCV's dtFilter {opencv * 1e3:.0f} ms: {opencv / seconds:.1f}×; largest difference {difference:.0e}")
    if difference > 1e-4:
        raise SystemExit("the results differ")


def coarse(labels: NDArray[np.uint8]) -> Floats:
    """(H, W) → (21, H, W): shares of the labels in squares, stretched."""
    height, width = labels.shape
    planes = (labels == np.arange(21)[:, None, None]).astype(np.float32)
    small = -(-width // COARSE), -(-height // COARSE)
    shares = [cv2.resize(cv2.resize(plane, small, interpolation=cv2.INTER_AREA), (width, height)) for plane in planes]
    stacked = np.stack(shares) + 1e-4
    return stacked / stacked.sum(0)


def scores(root: Path, pictures: int) -> None:
    """Print the mean IoU of each way."""
    masks = sorted((root / "SegmentationClass").glob("*.png"))[:pictures]
    matrices: dict[str, ConfusionMatrix] = {}
    for path in masks:
        target = np.asarray(Image.open(path))
        image = np.asarray(Image.open(root / "JPEGImages" / f"{path.stem}.jpg").convert("RGB"))
        probabilities = coarse(np.where(target == 255, 0, target).astype(np.uint8))
        ways = {"as they are": probabilities, "dense CRF, b1": dense_crf(probabilities, image, B1)}
        for sigma_pixels, sigma_color in SIGMAS:
            ways[f"domain transform, σs {sigma_pixels}, σr {sigma_color}"] = domain_transform(
                probabilities, image, sigma_pixels=sigma_pixels, sigma_color=sigma_color
            )
        for way, refined in ways.items():
            matrices.setdefault(way, ConfusionMatrix(21)).update(refined.argmax(0).astype(np.uint8), target)
    for way, matrix in matrices.items():
        print(f"{len(masks)} pictures, {way}: mean IoU {matrix.scores().mean_iou:.4f}")


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--pictures", type=int, default=8)
    arguments = parser.parse_args()
    times(arguments.repeats)
    if data := os.environ.get("PIXELWISE_DATA"):
        scores(Path(data) / "voc-mini" / "VOCdevkit" / "VOC2012", arguments.pictures)


if __name__ == "__main__":
    main()
