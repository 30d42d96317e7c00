"""The search of a CRF's settings: what it costs, and which settings help on which data.

    python benchmarks/crf_search.py [--pictures 8] [--size 240 320] [--classes 11]
    python benchmarks/crf_search.py --model MODEL --data FOLDER [--split val] [--pictures 25]

Without a model: made pictures, the scores of a network at stride 8, four lattices with two weights each. Prints the
time of a search with one and with all threads and of the plain way, `refine` for each setting and picture in turn on
all threads, then the time of each phase on one thread. With a model: the mean IoU that each of many settings reaches
on a part of a folder, and what `search_crf` says with the small grid that `fit` tries.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

from pixelwise.crf.features import colors, positions
from pixelwise.crf.lattice import Lattice
from pixelwise.crf.model import DenseCRF
from pixelwise.crf.threads import available_threads
from pixelwise.data.levels import to_levels
from pixelwise.data.sample import Sample
from pixelwise.flow.opened_part import open_part
from pixelwise.inference.crf_search import TRIAL_GRID, CRFSearch, Grid, search_crf
from pixelwise.inference.predict import full_probabilities, predict_head
from pixelwise.inference.refine import Refinement, refine
from pixelwise.labels import LabelSet
from pixelwise.layers.head import Head
from pixelwise.layers.normalization import Normalization
from pixelwise.layers.resample import Resampling
from pixelwise.metrics import ConfusionMatrix
from pixelwise.segmenter import load

COST = Grid((4, 8), (20, 60), (5, 10))
WIDE = Grid((4,), (5, 10, 20, 40, 80), (3, 6, 12, 24))
PLAIN = Normalization((0.0,) * 3, (1.0,) * 3)


class Nearest(nn.Module):
    """Scores at stride 8: nearness to the classes' colors in the middle of each cell."""

    def __init__(self, palette: np.ndarray) -> None:
        super().__init__()
        self.palette = nn.Parameter(torch.from_numpy(palette.astype(np.float32)))

    def heads(self, images: torch.Tensor) -> dict[str, Head]:
        """One head of logits."""
        cells = images[:, :, 4::8, 4::8]
        scores = -((cells[:, None] - self.palette[None, :, :, None, None]) ** 2).sum(2) / 2000
        return {
            "labels": Head(scores, Resampling.half_pixel(tuple(scores.shape[-2:]), tuple(images.shape[-2:])), "logits")
        }


class Scenes:
    """Discs of the classes' colors, with noise."""

    def __init__(self, count: int, size: tuple[int, int], num_classes: int) -> None:
        rng = np.random.default_rng(0)
        self.labels = {"labels": LabelSet(tuple(f"class {k}" for k in range(num_classes)))}
        self.palette = rng.integers(0, 256, (num_classes, 3))
        self.samples = []
        rows, columns = np.mgrid[: size[0], : size[1]]
        for index in range(count):
            target = np.zeros(size, np.uint8)
            for _ in range(30):
                row, column, radius = rng.integers(0, size[0]), rng.integers(0, size[1]), rng.integers(5, 40)
                target[(rows - row) ** 2 + (columns - column) ** 2 < radius**2] = rng.integers(0, num_classes)
            noisy = self.palette[target] + rng.normal(0, 12, (*size, 3))
            self.samples.append(Sample(noisy.clip(0, 255).astype(np.uint8), {"labels": target}, f"scene {index}"))

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Sample:
        return self.samples[index]


def plainly(network: nn.Module, data: Scenes) -> list[float]:
    """Mean IoU of each setting, each picture refined anew for each."""
    reached = []
    for setting in COST.settings:
        matrix = ConfusionMatrix(data.labels["labels"].num_classes)
        for sample in data.samples:
            ((probabilities, *_),) = full_probabilities(predict_head(network, PLAIN, sample.image))
            matrix.update(
                refine(probabilities, sample.image, Refinement(setting)).argmax(0).numpy(), sample.targets["labels"]
            )
        reached.append(matrix.scores().mean_iou)
    return reached


def phases(network: nn.Module, data: Scenes) -> dict[str, float]:
    """Milliseconds of each phase of a measurement on one thread."""
    image, setting = data.samples[0].image, COST.settings[0]
    shape = image.shape[:2]
    head = predict_head(network, PLAIN, image)
    times: dict[str, float] = {}
    for _ in range(2):  # the second counts
        start = time.perf_counter()

        def told(name: str) -> None:
            nonlocal start
            times[name] = 1000 * (time.perf_counter() - start)
            start = time.perf_counter()

        ((probabilities, *_),) = full_probabilities(head)
        told("probabilities")
        unary = DenseCRF.from_probabilities(probabilities.numpy(), threads=1).unary.reshape(probabilities.shape)
        told("energies")
        near = Lattice(positions(shape, setting.spatial_sigma_pixels), threads=1)
        told("lattice of positions")
        levels = colors(to_levels(image), shape, setting.bilateral_sigma_color)
        alike = Lattice(np.concatenate([positions(shape, setting.bilateral_sigma_pixels), levels]), threads=1)
        told("lattice of positions and colors")
        crf = DenseCRF(unary, threads=1)
        crf.add_pairwise(near, setting.spatial_weight, normalization="after")
        crf.add_pairwise(alike, setting.bilateral_weight, normalization="after")
        crf.infer(10)
        told("10 steps, for each weight")
    return times


def cost(pictures: int, size: tuple[int, int], num_classes: int) -> None:
    """Print what a search costs."""
    data = Scenes(pictures, size, num_classes)
    network = Nearest(data.palette).eval()
    seconds: dict[str, float] = {}
    found: CRFSearch | None = None
    for threads in (available_threads(), 1):
        search_crf(network, PLAIN, data, pictures=1, grid=COST, refine_rounds=0, threads=threads)  # compiles
        start = time.perf_counter()
        found = search_crf(network, PLAIN, data, grid=COST, refine_rounds=0, threads=threads)
        seconds[f"search, {threads} threads"] = time.perf_counter() - start
    plainly(network, Scenes(1, size, num_classes))
    start = time.perf_counter()
    reached = plainly(network, data)
    seconds["each setting and picture in turn"] = time.perf_counter() - start
    print(f"{pictures} pictures of {size[0]} × {size[1]}, {num_classes} classes, {len(COST.settings)} settings")
    for name, taken in seconds.items():
        print(f"  {name}: {taken:.2f} s, {1000 * taken / pictures / len(COST.settings):.0f} ms a measurement")
    assert found is not None
    largest = max(abs(dict(found.tried)[s] - r) for s, r in zip(COST.settings, reached, strict=True))
    print(f"  largest difference of a mean IoU to each in turn: {largest:.1e}")
    print(f"  gain {found.gain:+.4f}, 95 % interval {found.interval[0]:+.4f} to {found.interval[1]:+.4f}")
    for name, taken in phases(network, data).items():
        print(f"  {name}: {taken:.1f} ms")


def gains(model: Path, folder: Path, split: str | None, pictures: int) -> None:
    """Print what settings reach."""
    segmenter = load(model)
    data = open_part(segmenter, folder, split=split, order=("test", "val", "all", "train")).data
    for name, grid in (("wide", WIDE), ("trial", TRIAL_GRID)):
        start = time.perf_counter()
        found = search_crf(
            segmenter.network, segmenter.normalization, data, pictures=pictures, grid=grid, refine_rounds=0
        )
        low, high = found.interval
        print(
            f"{name} grid, {found.pictures} pictures: {found.mean_iou_without:.4f} → {found.mean_iou_with:.4f}, gain "
            f"{found.gain:+.4f}, interval {low:+.4f} to {high:+.4f}, {time.perf_counter() - start:.0f} s {found.note}"
        )
        for setting, value in found.tried:
            print(
                f"  w1 {setting.bilateral_weight:g}  σα {setting.bilateral_sigma_pixels:g}  "
                f"σβ {setting.bilateral_sigma_color:g}: {value - found.mean_iou_without:+.4f}"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--split")
    parser.add_argument("--pictures", type=int)
    parser.add_argument("--size", type=int, nargs=2, default=(240, 320))
    parser.add_argument("--classes", type=int, default=11)
    asked = parser.parse_args()
    if (asked.model is None) != (asked.data is None):
        parser.error("give both --model and --data, or neither")
    if asked.model is None:
        cost(asked.pictures or 8, tuple(asked.size), asked.classes)
    else:
        gains(asked.model, asked.data, asked.split, asked.pictures or 25)


if __name__ == "__main__":
    main()
