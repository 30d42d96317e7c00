"""What a dense CRF and the domain transform make of a network's coarse labels, on a drawn picture.

    python docs/figures/coarse_labels.py --out crf.png

Disks and bars on a shaded ground, with noise. What stands for a network sees only the mean of 16 × 16 pixels and errs
at random, so it knows what is where, but not where it ends. Both refinements move its labels to the picture's edges.
Then the same for hairlines in nearly the color of the ground, which the network has right: both take them away.

Prints the mean IoU of each, and draws the first. Takes some seconds.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from pixelwise.crf import CRFParameters, dense_crf, domain_transform
from pixelwise.metrics import ConfusionMatrix

HEIGHT, WIDTH = 192, 256
COARSE = 16  # pixels of the picture in one of the network's map
PARAMETERS = CRFParameters(bilateral_weight=4, bilateral_sigma_pixels=40, bilateral_sigma_color=10, spatial_weight=3)
COLORS = np.array([(235, 235, 230), (214, 96, 77), (67, 147, 195)])  # of the labels: ground, disks, bars
MARGIN, TITLE = 12, 26

Floats = NDArray[np.float32]
Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Scene:
    """A picture (H, W, 3), what stands where (H, W), and what a network says (K, H, W)."""

    image: NDArray[np.uint8]
    labels: Labels
    probabilities: Floats


def shapes(random: np.random.Generator) -> Scene:
    """Disks and bars, and a network that sees them coarsely."""
    canvas = Image.new("L", (WIDTH, HEIGHT))
    pen = ImageDraw.Draw(canvas)
    for row, column, radius in ((48, 52, 30), (140, 96, 36), (60, 200, 24)):
        pen.ellipse((column - radius, row - radius, column + radius, row + radius), 1)
    for left, top, right, bottom in ((110, 20, 128, 90), (160, 120, 246, 138), (20, 150, 36, 186)):
        pen.rectangle((left, top, right, bottom), 2)
    labels = np.asarray(canvas).astype(np.int64)
    image = colored(labels, np.array([(120, 150, 90), (190, 110, 80), (80, 100, 160)]), random)
    planes = (labels == np.arange(3)[:, None, None]).astype(np.float32)
    cells = planes.reshape(3, HEIGHT // COARSE, COARSE, WIDTH // COARSE, COARSE).mean((2, 4))
    noisy = cells + random.normal(0, 0.12, cells.shape).astype(np.float32)
    stretched = [
        np.asarray(Image.fromarray(plane).resize((WIDTH, HEIGHT), Image.Resampling.BILINEAR)) for plane in noisy
    ]
    return Scene(image, labels, softmax(6 * np.stack(stretched)))


def hairlines(random: np.random.Generator) -> Scene:
    """Lines one pixel wide and 5 levels darker than the ground, and a network that gives them 70 %."""
    canvas = Image.new("L", (WIDTH, HEIGHT))
    pen = ImageDraw.Draw(canvas)
    for start in range(-HEIGHT, WIDTH, 24):
        pen.line((start, 0, start + HEIGHT, HEIGHT), 1)
    labels = np.asarray(canvas).astype(np.int64)
    image = colored(labels, np.array([(120, 150, 90), (115, 145, 85)]), random)
    likely = np.where(labels == 1, 0.7, 0.1).astype(np.float32)
    return Scene(image, labels, np.stack([1 - likely, likely]))


def colored(labels: Labels, colors: NDArray[np.int64], random: np.random.Generator) -> NDArray[np.uint8]:
    """The labels in their colors, lighter to the right, with noise."""
    light = np.linspace(-15, 15, WIDTH)[:, None]
    return (colors[labels] + light + random.normal(0, 6, (*labels.shape, 3))).clip(0, 255).astype(np.uint8)


def softmax(scores: Floats) -> Floats:
    """(K, H, W) scores → probabilities."""
    powers = np.exp(scores - scores.max(0))
    return powers / powers.sum(0)


def ways(scene: Scene) -> dict[str, Floats]:
    """The network's probabilities, and both refinements of them."""
    return {
        "the network": scene.probabilities,
        "with the dense CRF": dense_crf(scene.probabilities, scene.image, PARAMETERS),
        "with the domain transform": domain_transform(scene.probabilities, scene.image, sigma_pixels=20),
    }


def mean_iou(probabilities: Floats, labels: Labels) -> float:
    """Of the likeliest labels."""
    matrix = ConfusionMatrix(len(probabilities))
    matrix.update(probabilities.argmax(0), labels)
    return matrix.scores().mean_iou


def picture(scene: Scene, refined: dict[str, Floats]) -> Image.Image:
    """The picture and the labels of each way."""
    panels = {"the picture": scene.image} | {way: COLORS[q.argmax(0)].astype(np.uint8) for way, q in refined.items()}
    sheet = Image.new("RGB", (len(panels) * (WIDTH + MARGIN) + MARGIN, HEIGHT + TITLE + 2 * MARGIN), "white")
    pen = ImageDraw.Draw(sheet)
    for place, (title, panel) in enumerate(panels.items()):
        left = MARGIN + place * (WIDTH + MARGIN)
        pen.text((left, MARGIN), title, "black", ImageFont.load_default(16))
        sheet.paste(Image.fromarray(panel), (left, MARGIN + TITLE))
    return sheet


def main() -> None:
    """Run, print, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("crf.png"))
    options = parser.parse_args()
    for scene, name in (
        (shapes(np.random.default_rng(0)), "shapes"),
        (hairlines(np.random.default_rng(0)), "hairlines"),
    ):
        refined = ways(scene)
        for way, probabilities in refined.items():
            print(f"{name}, {way}: mean IoU {mean_iou(probabilities, scene.labels):.3f}")
        if name == "shapes":
            picture(scene, refined).save(options.out)
    print(f"drawn in {options.out}")


if __name__ == "__main__":
    main()
