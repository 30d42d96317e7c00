"""A folder of small pictures: how long `predict` takes outside the network, beside a straight loop, same engine.

Run: python benchmarks/predict_folder.py [--pictures 1000] [--side 96] [--kinds mask,overlay]

1 000 pictures are drawn as JPEGs, and a narrow U-Net without training segments them. The straight loop decodes a
picture, predicts it, and saves mask and overlay by the same functions, one after the other;
`predict_files` does what the command does. The time in the network is that of the
straight loop's calls of `Segmenter.predict` in both, since it is the same
work; the rest of the total is outside. Loops take turns. All files are compared.
"""

import argparse
import shutil
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from pixelwise.data.decode import decode_image
from pixelwise.flow.predicting.predict import find_pictures, predict_files
from pixelwise.labels import LabelSet
from pixelwise.layers.normalization import Normalization
from pixelwise.models import build
from pixelwise.segmenter import Segmenter


def drawn(root: Path, count: int, side: int) -> None:
    """JPEGs of blurred noise."""
    random = np.random.default_rng(0)
    root.mkdir()
    for i in range(count):
        coarse = random.integers(0, 255, (8, 8, 3)).astype(np.uint8)
        Image.fromarray(coarse).resize((side * 4 // 3, side), Image.Resampling.BICUBIC).save(root / f"{i:04}.jpg")


def straight(segmenter: Segmenter, pictures: Path, out: Path, kinds: list[str]) -> tuple[float, float]:
    """(seconds, of them in predict)."""
    began, inside = time.perf_counter(), 0.0
    for path in sorted(pictures.iterdir()):
        pixels = decode_image(path)
        before = time.perf_counter()
        prediction = segmenter.predict(pixels, confidence="confidence" in kinds)
        inside += time.perf_counter() - before
        for kind in kinds:
            prediction.save_as(kind, out / kind / f"{path.stem}.png")
    return time.perf_counter() - began, inside


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=int, default=1000)
    parser.add_argument("--side", type=int, default=96)
    parser.add_argument("--kinds", default="mask,overlay")
    parser.add_argument("--turns", type=int, default=3)
    options = parser.parse_args()
    torch.manual_seed(0)
    labels = LabelSet(tuple(f"class {i}" for i in range(6)))
    architecture = {"builder": "unet", "options": {"num_classes": 6, "width": 0.25, "depth": 3}}
    network = build(architecture["builder"], **architecture["options"]).eval().to(memory_format=torch.channels_last)
    segmenter = Segmenter(network, Normalization((120.0,) * 3, (60.0,) * 3), labels, architecture)
    kinds = options.kinds.split(",")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        drawn(root / "pictures", options.pictures, options.side)
        found = find_pictures([str(root / "pictures")])
        predict_files(segmenter, found[:20], root / "warm", kinds=options.kinds)
        loops, insides, ours = [], [], []
        for _ in range(options.turns):
            for out in ("straight", "ours"):
                shutil.rmtree(root / out, ignore_errors=True)
            whole, inside = straight(segmenter, root / "pictures", root / "straight", kinds)
            began = time.perf_counter()
            done = predict_files(segmenter, found, root / "ours", kinds=options.kinds)
            ours.append(time.perf_counter() - began)
            assert done.written == options.pictures
            loops.append(whole)
            insides.append(inside)
            for file in (root / "straight").rglob("*.png"):
                other = root / "ours" / file.relative_to(root / "straight")
                assert other.read_bytes() == file.read_bytes(), file
        loop, inside, own = (statistics.median(times) for times in (loops, insides, ours))
        print(
            f"{options.pictures} pictures of {options.side * 4 // 3} × {options.side}, {options.kinds}; files are equal"
        )
        print(f"straight loop: {loop:6.2f} s, {inside:.2f} s in the network, {loop - inside:.2f} s outside")
        print(f"predict_files: {own:6.2f} s, {own - inside:.2f} s outside")
        print(f"outside, ours to the straight loop's: {(own - inside) / (loop - inside):.2f}")


if __name__ == "__main__":
    main()
