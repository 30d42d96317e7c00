"""The picture of the README: drawn garden beds, their masks, and what a model says of them.

    python docs/figures/readme.py --out docs/images/readme.png

The model is the one that comes with pixelwise for `pixelwise serve`, trained by `benchmarks/demo_model.py` on other
pictures of the same drawing. Prints the mean IoU over the pictures that are shown.
"""

import argparse
from importlib.resources import files
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

import pixelwise as pw
from pixelwise.flow.demo import CLASSES, PALETTE, draw_scene

STREAM = 3  # random numbers of their own: none of the pictures is among those that the model learned from
SEEDS = (3, 8)  # of the rows
SIZE = (240, 360)  # of a panel; (height, width)
GAP, TITLE, LEGEND = 12, 30, 34  # pixels
TITLES = ("a picture", "its mask, as drawn", "what the model says")
INK, PAPER = (30, 30, 30), (255, 255, 255)


def colored(labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Classes (H, W) in their colors."""
    return np.array(PALETTE, np.uint8)[labels]


def sheet(rows: list[tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]]) -> Image.Image:
    """Rows of (picture, mask, prediction), under titles, above the names of the classes."""
    height, width = SIZE
    page = Image.new("RGB", (3 * (width + GAP) + GAP, TITLE + len(rows) * (height + GAP) + LEGEND), PAPER)
    pen, font = ImageDraw.Draw(page), ImageFont.load_default(17)
    for column, title in enumerate(TITLES):
        left = GAP + column * (width + GAP)
        pen.text((left, TITLE / 2), title, INK, font, "lm")
        for row, (image, target, labels) in enumerate(rows):
            panel = (image, colored(target), colored(labels))[column]
            page.paste(Image.fromarray(panel), (left, TITLE + row * (height + GAP)))
    left, middle = GAP, page.height - LEGEND / 2 - 2
    for name, color in zip(CLASSES, PALETTE, strict=True):
        pen.rectangle((left, middle - 9, left + 18, middle + 9), color)
        pen.text((left + 26, middle), name, INK, font, "lm")
        left += 46 + int(pen.textlength(name, font))
    return page


def main() -> None:
    """Draw, predict, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("readme.png"))
    out = parser.parse_args().out
    segmenter = pw.load(str(files("pixelwise.server") / "demo_model.safetensors"))
    matrix, rows = pw.ConfusionMatrix(len(CLASSES)), []
    for seed in SEEDS:
        image, target = draw_scene(np.random.default_rng([STREAM, seed]), SIZE)
        labels = segmenter.predict(image, confidence=False).labels
        matrix.update(labels, target)
        rows.append((image, target, labels))
    sheet(rows).save(out, optimize=True)
    print(f"{out}: mean IoU {matrix.scores().mean_iou:.3f}")


if __name__ == "__main__":
    main()
