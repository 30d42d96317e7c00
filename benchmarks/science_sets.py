"""`pixelwise fit --minutes 8` against a random forest on pixel features, on three scientific sets.

The forest is what people use without networks: scikit-learn's RandomForestClassifier on scikit-image's multiscale
basic features. Both get the same pictures; a random fifth of each set is kept untouched and scored once, with one
confusion matrix at the masks' own sizes.

    PIXELWISE_DATA=… python benchmarks/science_sets.py [em-membranes nuclei cracks] [--minutes 8] [--no-forest]

Needs the real data; prints one line a method and set, and the difference in mean IoU.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from skimage.feature import multiscale_basic_features
from sklearn.ensemble import RandomForestClassifier

from pixelwise.data.decode import decode_image, decode_mask
from pixelwise.metrics import ConfusionMatrix

SETS = ("em-membranes", "nuclei", "cracks")
PIXELS_PER_PICTURE = 4000  # for the forest: more changes nothing but its time


def split(folder: Path) -> tuple[list[str], list[str]]:
    """(train and validation, untouched fifth): file names, the same at every call."""
    names = sorted(p.stem for p in (folder / "masks").iterdir() if p.suffix == ".png")
    order = np.random.default_rng(0).permutation(len(names))
    held = {names[i] for i in order[: len(names) // 5]}
    return [n for n in names if n not in held], sorted(held)


def copy(folder: Path, names: list[str], to: Path) -> Path:
    """A folder with images/ and masks/ of these names."""
    for part in ("images", "masks"):
        (to / part).mkdir(parents=True)
        for file in (folder / part).iterdir():
            if file.stem in names:
                shutil.copy(file, to / part / file.name)
    return to


def pairs(folder: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    """(image, 0/1 mask) of a folder."""
    found = []
    for mask in sorted((folder / "masks").iterdir()):
        image = next(p for p in (folder / "images").iterdir() if p.stem == mask.stem)
        found.append((decode_image(image), (decode_mask(mask) > 127).astype(np.uint8)))
    return found


def features(image: np.ndarray) -> np.ndarray:
    """Intensity, edges and texture at scales 1–16: (H, W, F)."""
    axis = -1 if image.shape[2] > 1 else None
    pixels = image if axis is not None else image[..., 0]
    return multiscale_basic_features(pixels, sigma_min=1, sigma_max=16, channel_axis=axis)


def forest(train: Path, test: Path) -> tuple[float, float]:
    """(mean IoU, seconds) of the random forest."""
    start = time.monotonic()
    random = np.random.default_rng(0)
    x, y = [], []
    for image, mask in pairs(train):
        values = features(image).reshape(mask.size, -1)
        chosen = random.choice(mask.size, min(PIXELS_PER_PICTURE, mask.size), replace=False)
        x.append(values[chosen])
        y.append(mask.ravel()[chosen])
    grey = min(v.shape[1] for v in x)
    if any(v.shape[1] != grey for v in x):
        raise SystemExit("the pictures differ in channels")
    model = RandomForestClassifier(100, n_jobs=2, max_samples=0.25, min_samples_leaf=2, random_state=0)
    model.fit(np.concatenate(x), np.concatenate(y))
    matrix = ConfusionMatrix(2)
    for image, mask in pairs(test):
        matrix.update(model.predict(features(image).reshape(mask.size, -1)).reshape(mask.shape), mask)
    return matrix.scores().mean_iou, time.monotonic() - start


def fit(train: Path, test: Path, run: Path, minutes: float, settings: list[str]) -> tuple[float, float]:
    """(mean IoU, seconds) of `pixelwise fit`, with no option but the time and settings under trial."""
    start = time.monotonic()
    command = [sys.executable, "-m", "pixelwise"]
    subprocess.run(
        [
            *command,
            "fit",
            train,
            "--minutes",
            str(minutes),
            "--out",
            run,
            *[word for setting in settings for word in ("--set", setting)],
        ],
        check=True,
        stdout=sys.stderr,
    )
    seconds = time.monotonic() - start
    out = subprocess.run(
        [*command, "evaluate", run / "model.safetensors", test, "--json"], check=True, capture_output=True
    )
    return json.loads(out.stdout)["mean_iou"], seconds


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="*", default=SETS)
    parser.add_argument("--minutes", type=float, default=8)
    parser.add_argument("--no-forest", action="store_true")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="try another choice")
    parser.add_argument("--keep", type=Path, help="keep the runs in this folder")
    options = parser.parse_args()
    data = Path(os.environ["PIXELWISE_DATA"]) / "science"
    with tempfile.TemporaryDirectory() as box:
        for name in options.sets:
            learn, held = split(data / name)
            train = copy(data / name, learn, Path(box) / name / "train")
            test = copy(data / name, held, Path(box) / name / "test")
            run = (options.keep or Path(box)) / f"{name}-run"
            ours, seconds = fit(train, test, run, options.minutes, options.set)
            line = (
                f"{name}: {len(learn)} pictures to learn from, {len(held)} untouched; fit {ours:.3f} in {seconds:.0f} s"
            )
            if not options.no_forest:
                theirs, their_seconds = forest(train, test)
                line += f"; forest {theirs:.3f} in {their_seconds:.0f} s; ratio {ours / theirs:.3f}"
            print(line, flush=True)


if __name__ == "__main__":
    main()
