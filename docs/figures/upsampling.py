"""Where the conventions of upsampling put cells, their two taps, and what half a pixel costs.

`python docs/figures/upsampling.py` draws `docs/images/upsampling-*.svg` and prints the table of
`docs/explanation/upsampling.md`: labels drawn by `pixelwise.flow.demo`, made coarse, and brought back.
"""

from collections.abc import Mapping

import numpy as np
import torch
from drawing import BLUE, FAINT, GREEN, INK, OCHER, PALE, PURPLE, RED, Sheet, write
from numpy.typing import NDArray

from pixelwise.flow.demo import CLASSES, draw_scene
from pixelwise.layers.resample import Resampling, Taps
from pixelwise.metrics import ConfusionMatrix

CELLS, FACTOR = 5, 8
PICTURES, SIZE = 6, (192, 256)
STRIDES = (4, 8, 16, 32)
COLORS = (BLUE, RED, GREEN, PURPLE, OCHER)


def conventions(cells: int = CELLS, length: int = CELLS * FACTOR, factor: int = FACTOR) -> dict[str, Resampling]:
    """The ways of the networks from `cells` cells to `length` pixels."""
    coarse, picture = (cells, cells), (length, length)
    return {
        "half_pixel": Resampling.half_pixel(coarse, picture),
        "align_corners": Resampling.align_corners(coarse, picture),
        f"zoom, factor={factor}": Resampling.zoom(coarse, picture, factor=factor),
        f"zoom, factor={factor}, offset=7": Resampling.zoom(coarse, picture, factor=factor, offset=7),
        f"deconvolution, offset={factor // 2}": Resampling.deconvolution(
            coarse, picture, factor=factor, offset=factor // 2
        ),
    }


def places(taps: Taps) -> list[float | None]:
    """The pixel in whose place each cell lies, where it lies on the picture: there its weight is 1."""
    coordinate = taps.first.astype(np.float64) + taps.weights[:, 1].astype(np.float64)
    inside = np.abs(taps.weights.sum(1) - 1) < 1e-6
    pixels = np.arange(len(coordinate), dtype=np.float64)
    found: list[float | None] = []
    for cell in range(taps.coarse):
        found.append(_place(coordinate, inside, pixels, cell))
    return found


def _place(
    coordinate: NDArray[np.float64], inside: NDArray[np.bool_], pixels: NDArray[np.float64], cell: int
) -> float | None:
    """Between the last pixel below the cell and the first above it, extended by the slope at the ends."""
    usable = inside & (np.gradient(coordinate) > 0)
    x, y = pixels[usable], coordinate[usable]
    slope = (y[len(y) // 2 + 1] - y[len(y) // 2]) / (x[len(y) // 2 + 1] - x[len(y) // 2])
    middle = len(y) // 2
    return float(x[middle] + (cell - y[middle]) / slope)


def convention_figure() -> str:
    """Cells of five conventions over forty pixels."""
    ways = conventions()
    length = CELLS * FACTOR
    sheet = Sheet(50 + 46 * len(ways), f"Where {CELLS} cells lie on {length} pixels")

    def across(pixel: float) -> float:
        return 20 + (pixel + 0.5) * (440 / length)

    sheet.words(20, 20, f"{CELLS} cells, {length} pixels; a pixel's middle has its number", size=12, fill=PALE)
    for number, (name, way) in enumerate(ways.items()):
        y = 52 + 46 * number
        sheet.words(20, y - 8, name, size=12.5)
        for pixel in range(length):
            sheet.box(across(pixel - 0.5), y, 440 / length, 12, stroke=FAINT, fill="#f6f8fa")
        told = []
        for cell, place in enumerate(places(way.columns)):
            if place is None or not -0.5 <= place <= length - 0.5:
                told.append("out")
                continue
            sheet.disk(across(place), y + 6, 5, fill=COLORS[cell])
            told.append(f"{round(place, 3):g}")
        sheet.words(460, y - 8, "cells at " + ", ".join(told), size=12, anchor="end", fill=PALE)
    y = 52 + 46 * len(ways) - 20
    for pixel in (0, 10, 20, 30, 39):
        sheet.words(across(pixel), y, str(pixel), size=12, anchor="middle", fill=PALE)
    return sheet.text()


def tap_figure() -> str:
    """The weights of three cells over twelve pixels, as curves and as numbers of a few pixels."""
    ways = {
        "half_pixel": Resampling.half_pixel((3, 3), (12, 12)),
        "zoom, factor=4": Resampling.zoom((3, 3), (12, 12), factor=4),
        "deconvolution, factor=4, offset=2": Resampling.deconvolution((3, 3), (12, 12), factor=4, offset=2),
    }
    side = 36
    sheet = Sheet(4 + 132 * len(ways), "The two taps of every pixel")
    for number, (name, way) in enumerate(ways.items()):
        top = 34 + 132 * number
        sheet.words(24, top - 12, name, bold=True)
        matrix = way.columns.matrix()
        for pixel, weights in enumerate(matrix):
            left = 24 + side * pixel
            base = top + 70
            bottom = base
            for cell, weight in enumerate(weights):
                if weight > 0:
                    sheet.box(left, bottom - 66 * weight, side - 3, 66 * weight, fill=COLORS[cell], stroke="#fff")
                    if weight > 0.2:
                        sheet.words(
                            left + (side - 3) / 2, bottom - 33 * weight + 4, f"{weight:.3g}".lstrip("0"), size=11,
                            anchor="middle", fill="#fff",
                        )  # fmt: skip
                    bottom -= 66 * weight
            sheet.words(left + (side - 3) / 2, base + 15, str(pixel), size=11, anchor="middle", fill=PALE)
    return sheet.text()


def shifted(length: int, cells: int, stride: int, pixels: float) -> Taps:
    """Cells in the middle of their blocks, and the picture's pixels read `pixels` too far."""
    return Taps.at((np.arange(length) + 0.5 + pixels) / stride - 0.5, cells)


def cost() -> dict[int, dict[str, float]]:
    """Mean IoU in percent for each stride: right, half a pixel off, half a cell less half a pixel off, nearest."""
    targets = [draw_scene(np.random.default_rng([7, number]), SIZE)[1] for number in range(PICTURES)]
    found: dict[int, dict[str, float]] = {}
    for stride in STRIDES:
        height, width = SIZE[0] // stride, SIZE[1] // stride
        ways = {
            "right": Resampling.blocks((height, width), SIZE, factor=stride),
            "half a pixel off": Resampling(shifted(SIZE[0], height, stride, 0.5), shifted(SIZE[1], width, stride, 0.5)),
            "as if cell j were at pixel j·stride": Resampling.zoom((height, width), SIZE, factor=stride),
        }
        matrices = {name: ConfusionMatrix(len(CLASSES)) for name in (*ways, "nearest")}
        for target in targets:
            planes = (target == np.arange(len(CLASSES))[:, None, None]).astype(np.float32)
            cells = planes.reshape(len(CLASSES), height, stride, width, stride).mean((2, 4))
            scores = torch.from_numpy(cells)[None]
            for name, way in ways.items():
                matrices[name].update(way.argmax(scores)[0].numpy(), target)
            nearest = cells.argmax(0).astype(np.uint8).repeat(stride, 0).repeat(stride, 1)
            matrices["nearest"].update(nearest, target)
        found[stride] = {name: 100 * matrix.scores().mean_iou for name, matrix in matrices.items()}
    return found


def table(scores: Mapping[int, Mapping[str, float]]) -> str:
    """The table of the page."""
    names = list(next(iter(scores.values())))
    rows = ["| stride | " + " | ".join(names) + " |", "| ---: |" + " ---: |" * len(names)]
    rows += [
        f"| {stride} | " + " | ".join(f"{row[name]:.1f}" for name in names) + " |" for stride, row in scores.items()
    ]
    return "\n".join(rows)


def cost_figure(scores: Mapping[int, Mapping[str, float]]) -> str:
    """Mean IoU over the stride, a line each way."""
    sheet = Sheet(300, "Mean IoU that drawn labels keep after they were made coarse and brought back")
    low, high = 0.0, 100.0

    def right(index: int) -> float:
        return 60 + index * 125

    def down(value: float) -> float:
        return 260 - (value - low) * 215 / (high - low)

    for value in (0, 20, 40, 60, 80, 100):
        sheet.line([(44, down(value)), (460, down(value))], stroke=FAINT)
        sheet.words(38, down(value) + 4, str(value), size=12, anchor="end", fill=PALE)
    for index, stride in enumerate(STRIDES):
        sheet.words(right(index), 282, str(stride), size=12, anchor="middle", fill=PALE)
    sheet.words(44, 24, "mean IoU, percent, over the stride")
    dashes = ("", "7 4", "2 3", "10 3 2 3")
    for number, name in enumerate(next(iter(scores.values()))):
        points = [(right(index), down(row[name])) for index, row in enumerate(scores.values())]
        sheet.line(points, stroke=COLORS[number], thick=2, dash=dashes[number])
        y = 190 + 19 * number
        sheet.line([(56, y - 4), (84, y - 4)], stroke=COLORS[number], thick=2, dash=dashes[number])
        sheet.words(90, y, name, size=12, fill=INK)
    return sheet.text()


def figures() -> dict[str, str]:
    """All of them."""
    return {
        "upsampling-conventions.svg": convention_figure(),
        "upsampling-taps.svg": tap_figure(),
        "upsampling-cost.svg": cost_figure(cost()),
    }


if __name__ == "__main__":
    write(figures())
    print(table(cost()))
