"""Does a rule of the planner help? The same fit with and without it, on real sets, scored on untouched pictures.

    PIXELWISE_DATA=… python benchmarks/planner_rules.py [SET …] [--steps 250] [--seeds 2]

Every fit has the same number of steps of the same size, so that nothing depends on the machine's speed; the networks
are narrow (16 channels at the top) to keep it short. One line a choice: the mean IoU of each seed, and the mean
difference to the fits without it on the same pictures. Needs the real data.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pixelwise.data.decode import decode_mask
from pixelwise.data.sets.camvid import LABELS

SMALL = ["model_options={width: 0.25}", "crop_size=[128, 128]", "batch_size=8", "validate_every=125"]

Data = Callable[[Path], tuple[Path, Path]]
Settings = list[str] | Callable[[Path], list[str]]


@dataclass(frozen=True)
class Trial:
    """A set, what all its fits share, and the choices that are compared with it."""

    data: Data
    base: list[str]
    choices: dict[str, Settings]


def copied(images: list[Path], masks: list[Path], to: Path) -> Path:
    """A plain folder of these files."""
    for part, files in (("images", images), ("masks", masks)):
        (to / part).mkdir(parents=True)
        for file in files:
            shutil.copy(file, to / part / file.name)
    return to


def science(name: str, count: int | None = None) -> Data:
    """(to learn from, untouched fifth) of a scientific set; `count` pictures to learn from."""

    def make(box: Path) -> tuple[Path, Path]:
        home = Path(os.environ["PIXELWISE_DATA"]) / "science" / name
        masks = sorted((home / "masks").glob("*.png"))
        images = [next((home / "images").glob(f"{mask.stem}.*")) for mask in masks]
        order = np.random.default_rng(0).permutation(len(masks))
        held, rest = order[: len(masks) // 5], order[len(masks) // 5 :][:count]
        parts = []
        for part, chosen in (("train", rest), ("test", held)):
            parts.append(copied([images[i] for i in chosen], [masks[i] for i in chosen], box / part))
        return parts[0], parts[1]

    return make


def camvid(box: Path) -> tuple[Path, Path]:
    """CamVid's training part, and every third picture of its test part."""
    home = Path(os.environ["PIXELWISE_DATA"]) / "camvid" / "CamVid"
    parts = []
    for part, step in (("train", 1), ("test", 3)):
        masks = sorted((home / f"{part}annot").iterdir())[::step]
        images = [next((home / part).glob(f"{mask.stem}.*")) for mask in masks]
        folder = copied(images, masks, box / part)
        lines = [f"{i} {name}" for i, name in enumerate(LABELS.names)] + ["11 void"]
        (folder / "classes.txt").write_text("\n".join(lines))
        parts.append(folder)
    return parts[0], parts[1]


def median_frequency(folder: Path) -> list[str]:
    """Class weights: the square root of the median frequency over the class's, between a third and three."""
    masks = [decode_mask(mask) for mask in sorted((folder / "masks").iterdir())]
    counts = sum(np.bincount(np.minimum(mask.ravel(), 255), minlength=256).astype(float) for mask in masks)
    frequencies = counts[[0, 255]] if counts[255] else counts[:11]
    weights = np.clip(np.sqrt(np.median(frequencies) / frequencies), 1 / 3, 3)
    return [f"class_weights={[round(float(w), 3) for w in weights]}"]


STRONG = [
    "augmentation.scale=[0.6, 1.6]",
    "augmentation.rotation=30",
    "augmentation.stretch=1.3",
    "augmentation.gamma=2.0",
    "augmentation.noise=0.1",
    "augmentation.blur=1.0",
]

TRIALS = {
    "camvid": Trial(
        camvid,
        ["class_crops=0"],
        {
            "class-aware crops": ["class_crops=0.5", f"class_crop_shares={[0, 0, 1, 0, 0, 0, 1, 1, 0, 1, 1]}"],
            "class weights": median_frequency,
        },
    ),
    "cracks": Trial(
        science("cracks"),
        ["class_crops=0"],
        {"class weights": median_frequency, "small crops": ["crop_size=[96, 96]", "batch_size=14"]},
    ),
    "em-membranes, 5 pictures": Trial(science("em-membranes", 5), [], {"strong views": STRONG}),
    "nuclei, 6 pictures": Trial(science("nuclei", 6), [], {"strong views": STRONG}),
}


def score(train: Path, test: Path, run: Path, steps: int, seed: int, settings: list[str]) -> float:
    """Mean IoU on the untouched pictures."""
    command = [sys.executable, "-m", "pixelwise"]
    options = [word for setting in [*SMALL, *settings] for word in ("--set", setting)]
    subprocess.run(
        [*command, "fit", train, "--steps", str(steps), "--seed", str(seed), "--out", run, *options],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    out = subprocess.run(
        [*command, "evaluate", run / "model.safetensors", test, "--json"], check=True, capture_output=True
    )
    return float(json.loads(out.stdout)["mean_iou"])


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="*", default=list(TRIALS), help=", ".join(TRIALS))
    parser.add_argument("--steps", type=int, default=250)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="set in all fits")
    options = parser.parse_args()
    for name in options.sets:
        trial = TRIALS[name]
        with tempfile.TemporaryDirectory() as box:
            train, test = trial.data(Path(box))
            scores: dict[str, list[float]] = {}
            for choice, settings in {"without": [], **trial.choices}.items():
                chosen = settings if isinstance(settings, list) else settings(train)
                for seed in range(options.seeds):
                    run = Path(box) / f"run-{choice}-{seed}"
                    every = [*trial.base, *options.set, *chosen]
                    scores.setdefault(choice, []).append(score(train, test, run, options.steps, seed, every))
                gains = np.subtract(scores[choice], scores["without"])
                told = ", ".join(f"{value:.4f}" for value in scores[choice])
                print(f"{name}: {choice}: {told}; against without: {gains.mean():+.4f}", flush=True)


if __name__ == "__main__":
    main()
