"""A classifier that never saw a mask finds digits in a picture, and outlines them.

    python docs/figures/digits.py --out digits.png

A small network learns from scikit-learn's handwritten digits to tell what stands at the middle of a window of 27 × 27
pixels: one of ten digits, or none. Then, with the same weights:

1. `convolutionalize` makes it a network for pictures of any size. One pass over a canvas gives its scores at every
   fourth pixel; each patch of cells is a digit, named by all its cells.
2. `set_output_stride` takes its strides: scores at every pixel, which outline the digits.

Prints what was found where, and draws it. Takes some seconds, and needs scikit-learn and SciPy.
"""

import argparse
import copy
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage
from sklearn.datasets import load_digits
from torch import Tensor, nn

from pixelwise.surgery import convolutionalize, set_output_stride

SIDE = 16  # of a digit in pixels: scikit-learn's 8 × 8, twice as large
WINDOW = 27  # pixels a side; a digit is seen whole wherever on it the middle lies, but for its far corners
HALF = WINDOW // 2
STRIDE = 4  # of the classifier
NONE = 10  # the class of a window whose middle lies on no digit
LEARNED = 1500  # digits to learn from; the other 297 are for the canvas
STEPS = 300

Picture = NDArray[np.float32]
Classes = NDArray[np.int64]


@dataclass(frozen=True)
class Place:
    """A digit and the pixel at its middle."""

    digit: int
    row: float
    column: float


def classifier() -> nn.Sequential:
    """(N, 1, 27, 27) → (N, 11); nothing pads, and two strides of 2 make one of 4."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 5, stride=2, bias=False),  # 12 × 12
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.MaxPool2d(2),  # 6 × 6
        nn.Conv2d(16, 48, 3, bias=False),  # 4 × 4
        nn.BatchNorm2d(48),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(48 * 4 * 4, 128, bias=False),
        nn.BatchNorm1d(128),
        nn.ReLU(),
        nn.Linear(128, NONE + 1),
    )


def digits(random: np.random.Generator) -> tuple[Picture, Classes]:
    """All 1797 digits in any order, (N, 16, 16) from 0 to 1, and what they are."""
    data = load_digits()
    small = [Image.fromarray((picture * (255 / 16)).astype(np.uint8)) for picture in data.images]
    large = [np.asarray(picture.resize((SIDE, SIDE), Image.Resampling.BICUBIC)) for picture in small]
    order = random.permutation(len(large))
    return np.stack(large)[order].astype(np.float32) / 255, data.target[order]


def draw(
    pictures: Picture, known: Classes, size: tuple[int, int], pitch: int, gap: int, random: np.random.Generator
) -> tuple[Picture, Classes, list[Place]]:
    """A canvas from 0 to 1 with a digit in each square of `pitch` pixels, what stands at each pixel, and the digits.

    Args:
        gap: least number of pixels between digits.
    """
    canvas = np.zeros(size, np.float32)
    classes = np.full(size, NONE)
    places: list[Place] = []
    order = random.permutation(10)  # each digit in its turn
    for top in range(0, size[0] - pitch + 1, pitch):
        for left in range(0, size[1] - pitch + 1, pitch):
            index = random.choice(np.flatnonzero(known == order[len(places) % 10]))
            row, column = np.array((top, left)) + random.integers(pitch - gap - SIDE + 1, size=2)
            square = (slice(row, row + SIDE), slice(column, column + SIDE))
            canvas[square] = pictures[index]
            ink = ndimage.binary_dilation(pictures[index] > 0.4, iterations=2)
            classes[square] = np.where(ink, known[index], NONE)
            places.append(Place(int(known[index]), row + (SIDE - 1) / 2, column + (SIDE - 1) / 2))
    noise = random.normal(0, 0.06, size).astype(np.float32)
    return (canvas + noise).clip(0, 1), classes, places


def windows(pictures: Picture, known: Classes, canvases: int, random: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Windows from crowded canvases, as many on digits as on none, and what stands at their middles."""
    images, labels = [], []
    for _ in range(canvases):
        canvas, classes, _ = draw(pictures, known, (144, 144), int(random.integers(17, 25)), 0, random)
        cut = sliding_window_view(canvas, (WINDOW, WINDOW))
        middles = classes[HALF:-HALF, HALF:-HALF]
        for wanted in (middles == NONE, middles != NONE):
            rows, columns = random.permutation(np.argwhere(wanted))[:150].T
            images.append(cut[rows, columns])
            labels.append(middles[rows, columns])
    return torch.from_numpy(np.concatenate(images))[:, None], torch.from_numpy(np.concatenate(labels))


def learn(images: Tensor, labels: Tensor, steps: int) -> nn.Sequential:
    """The classifier after so many batches of 128 windows."""
    network = classifier()
    optimizer = torch.optim.AdamW(network.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.01, total_steps=steps)
    for _ in range(steps):
        batch = torch.randint(len(images), (128,))
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(images[batch]), labels[batch]).backward()
        optimizer.step()
        schedule.step()
    return network.eval()


def probabilities(network: nn.Module, canvas: Picture) -> Picture:
    """(11, h, w) from a canvas that is continued by black, so that the first window's middle is the first pixel."""
    images = torch.from_numpy(np.pad(canvas, HALF))[None, None]
    with torch.inference_mode():
        found: Picture = network(images).softmax(1)[0].numpy()
    return found


def find(cells: Picture) -> list[Place]:
    """The digits of a coarse map: patches of cells where "none" is not likeliest, each named by its sums."""
    patches, count = ndimage.label(cells.argmax(0) != NONE)
    places = []
    for patch in range(1, count + 1):
        inside = patches == patch
        if inside.sum() < 3:  # cells at the edge of a digit
            continue
        digit = int(cells[:NONE, inside].sum(1).argmax())
        row, column = ndimage.center_of_mass(np.where(inside, 1 - cells[NONE], 0))
        places.append(Place(digit, STRIDE * row, STRIDE * column))
    return places


@dataclass(frozen=True)
class Result:
    """What the example shows."""

    canvas: Picture
    classes: Classes
    places: list[Place]
    coarse: Picture
    found: list[Place]
    dense: Picture


def run(seed: int = 1) -> Result:
    """Learn, convert, and look at a canvas of digits that were not learned from."""
    torch.manual_seed(seed)
    random = np.random.default_rng(seed)
    pictures, known = digits(random)
    images, labels = windows(pictures[:LEARNED], known[:LEARNED], 60, random)
    network = learn(images, labels, STEPS)
    canvas, classes, places = draw(pictures[LEARNED:], known[LEARNED:], (96, 160), 32, 9, random)
    convolutional = convolutionalize(network, WINDOW)
    coarse = probabilities(convolutional, canvas)
    dense = probabilities(set_output_stride(copy.deepcopy(convolutional), 1), canvas)
    return Result(canvas, classes, places, coarse, find(coarse), dense)


SCALE = 4  # of the drawing
MARGIN, TITLE, LEGEND = 24, 44, 60  # pixels of the drawing
PAPER, TEXT = (255, 255, 255), (40, 40, 40)
COLORS = np.array(
    [
        (214, 39, 40),
        (255, 127, 14),
        (240, 200, 0),
        (60, 160, 60),
        (23, 190, 207),
        (50, 100, 220),
        (148, 80, 200),
        (227, 80, 180),
        (140, 90, 60),
        (130, 140, 40),
    ],
    np.float32,
)


def picture(result: Result) -> Image.Image:
    """Three panels and a legend: the canvas, the coarse map with what was found, the dense map's outlines."""
    height, width = (side * SCALE for side in result.canvas.shape)
    sheet = Image.new("RGB", (3 * width + 4 * MARGIN, height + 2 * MARGIN + TITLE + LEGEND), PAPER)
    pen = ImageDraw.Draw(sheet)
    small, large = ImageFont.load_default(22), ImageFont.load_default(30)
    panels = {
        "a canvas of new digits": _gray(result.canvas),
        f"classifier made convolutional: a score every {STRIDE} pixels": _cells(result.canvas, result.coarse),
        "its strides taken: a score every pixel": _outlines(result.canvas, result.dense),
    }
    for index, (title, panel) in enumerate(panels.items()):
        left = MARGIN + index * (width + MARGIN)
        pen.text((left, MARGIN), title, TEXT, small)
        sheet.paste(Image.fromarray(panel.astype(np.uint8)), (left, MARGIN + TITLE))
        if index == 1:
            for place in result.found:
                middle = left + (place.column + 0.5) * SCALE, MARGIN + TITLE + (place.row + 0.5) * SCALE
                pen.text(middle, str(place.digit), "white", large, "mm", stroke_width=3, stroke_fill="black")
    for digit, color in enumerate(COLORS):
        left, top = MARGIN + digit * 80, sheet.height - MARGIN - 28
        pen.rectangle((left, top, left + 28, top + 28), tuple(int(part) for part in color))
        pen.text((left + 40, top + 14), str(digit), TEXT, small, "lm")
    return sheet


def _large(values: NDArray[np.generic], times: int) -> NDArray[np.generic]:
    return values.repeat(times, 0).repeat(times, 1)


def _gray(canvas: Picture) -> Picture:
    return np.repeat(_large(canvas, SCALE)[..., None] * 255, 3, 2)


def _cells(canvas: Picture, coarse: Picture) -> Picture:
    """Each cell as a square around its window's middle, the denser in its digit's color the surer it is."""
    digit = coarse[:NONE].argmax(0)
    sure = np.where(coarse.argmax(0) == NONE, 0, 1 - coarse[NONE])[..., None] * 0.8
    squares = [_large(layer, SCALE * STRIDE) for layer in (COLORS[digit], sure)]
    half = STRIDE * SCALE // 2 - SCALE // 2  # cell 0 is at the first pixel's middle
    height, width = (side * SCALE for side in canvas.shape)
    color, alpha = (
        np.pad(s, ((0, half), (0, half), (0, 0)), "edge")[half:][:, half:][:height, :width] for s in squares
    )
    return (1 - alpha) * _gray(canvas) + alpha * color


def _outlines(canvas: Picture, dense: Picture) -> Picture:
    """Each region of one class, with a line around it."""
    classes = _large(dense.argmax(0), SCALE)
    inner = ndimage.minimum_filter(classes, 5) == ndimage.maximum_filter(classes, 5)
    alpha = np.where(classes == NONE, 0, np.where(inner, 0.35, 1))[..., None]
    return (1 - alpha) * _gray(canvas) + alpha * COLORS[np.minimum(classes, NONE - 1)]


def main() -> None:
    """Run, print, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("digits.png"))
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(1)  # maps this small gain nothing by more
    start = time.perf_counter()
    result = run(options.seed)
    seconds = time.perf_counter() - start
    for place in result.found:
        print(f"{place.digit} at row {place.row:.0f}, column {place.column:.0f}")
    right = sum(any(same(place, found) for found in result.found) for place in result.places)
    equal = float((result.dense.argmax(0) == result.classes).mean())
    print(
        f"{right} of {len(result.places)} digits found at their places, {len(result.found) - right} elsewhere; at "
        f"stride 1, {equal:.1%} of the pixels are right ({seconds:.0f} s)"
    )
    picture(result).save(options.out)
    print(f"drawn in {options.out}")


def same(one: Place, other: Place) -> bool:
    """The same digit, middles not farther apart than a cell."""
    near = max(abs(one.row - other.row), abs(one.column - other.column)) <= STRIDE
    return near and one.digit == other.digit


if __name__ == "__main__":
    main()
