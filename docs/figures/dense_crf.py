"""Scores and beliefs of a dense CRF, step after step: `python docs/figures/dense_crf.py`.

Draws `docs/images/dense-crf-steps.svg` and prints the mean IoU of each step. The picture is drawn here; what stands for
a network sees means of 8 × 8 pixels and errs at random, so it knows what is where and not where it ends.
"""

import numpy as np
from drawing import INK, PALE, Sheet, write
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from pixelwise.crf import CRFParameters, DenseCRF
from pixelwise.metrics import ConfusionMatrix

HEIGHT, WIDTH, COARSE = 96, 128, 8
STEPS = (0, 1, 2, 5, 10)
PARAMETERS = CRFParameters(bilateral_weight=4, bilateral_sigma_pixels=30, bilateral_sigma_color=12, spatial_weight=3)
COLORS = np.array([(235, 235, 230), (214, 96, 77), (67, 147, 195)], np.uint8)
NAMES = ("ground", "disk", "leaf")

Floats = NDArray[np.float32]


def drawn() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The picture (H, W, 3) and its labels (H, W)."""
    random = np.random.default_rng(0)
    canvas = Image.new("L", (WIDTH * 4, HEIGHT * 4))
    pen = ImageDraw.Draw(canvas)
    for left, top, right, bottom in ((40, 40, 200, 200), (300, 180, 470, 350)):
        pen.ellipse((left, top, right, bottom), 1)
    for points in (
        [(250, 30), (480, 90), (330, 150), (260, 130)],
        [(30, 350), (110, 230), (230, 290), (150, 360)],
        [(250, 380), (262, 170), (280, 170), (280, 380)],
    ):
        pen.polygon(points, 2)
    labels = np.asarray(canvas)[2::4, 2::4].copy()
    colors = np.array([(150, 140, 110), (190, 90, 70), (80, 140, 80)])
    light = np.linspace(-14, 14, WIDTH)[:, None]
    noise = random.normal(0, 7, (HEIGHT, WIDTH, 3))
    return (colors[labels] + light + noise).clip(0, 255).astype(np.uint8), labels


def network(labels: NDArray[np.uint8]) -> tuple[Floats, Floats]:
    """Scores and probabilities (K, H, W) of what stands for one."""
    random = np.random.default_rng(1)
    planes = (labels == np.arange(3)[:, None, None]).astype(np.float32)
    cells = planes.reshape(3, HEIGHT // COARSE, COARSE, WIDTH // COARSE, COARSE).mean((2, 4))
    noisy = cells + random.normal(0, 0.12, cells.shape).astype(np.float32)
    stretched = [np.asarray(Image.fromarray(p).resize((WIDTH, HEIGHT), Image.Resampling.BILINEAR)) for p in noisy]
    scores: Floats = 6 * np.stack(stretched)
    powers = np.exp(scores - scores.max(0))
    return scores, powers / powers.sum(0)


def beliefs() -> dict[int, Floats]:
    """The marginals after each of `STEPS`."""
    image, labels = drawn()
    _, probabilities = network(labels)
    crf = DenseCRF.from_probabilities(probabilities, engine="torch")
    crf.add_gaussian(PARAMETERS.spatial_sigma_pixels, PARAMETERS.spatial_weight, normalization="symmetric")
    crf.add_bilateral(
        image,
        PARAMETERS.bilateral_sigma_pixels,
        PARAMETERS.bilateral_sigma_color,
        PARAMETERS.bilateral_weight,
        normalization="symmetric",
    )
    return {step: crf.infer(step) if step else probabilities for step in STEPS}


def mean_iou(marginals: Floats) -> float:
    """Of the likeliest labels."""
    matrix = ConfusionMatrix(3)
    matrix.update(marginals.argmax(0), drawn()[1])
    return matrix.scores().mean_iou


def gray(values: Floats, low: float, high: float) -> NDArray[np.uint8]:
    """Low is white, high is black; in 16 levels, which keeps the file small."""
    level = ((values - low) / (high - low)).clip(0, 1)
    return (255 - 17 * np.round(15 * level)).astype(np.uint8)


def figure(found: dict[int, Floats]) -> str:
    """A row a step: the beliefs of two labels, and the likeliest label."""
    image, labels = drawn()
    scores, _ = network(labels)
    wide, high, gap, first = 108, 81, 10, 64
    left = [10 + first + place * (wide + gap) for place in range(3)]
    sheet = Sheet(34 + (2 + len(STEPS)) * (high + 22) + 4, "Scores and beliefs of a dense CRF after 0 to 10 steps", 432)
    top = 34.0
    plane = (image // 8 * 8).astype(np.uint8)
    for x, title, raster in ((left[0], "the picture", plane), (left[2], "what stands there", COLORS[labels])):
        sheet.words(x, top - 8, title, size=12)
        sheet.raster(raster, x, top, wide, high)
        sheet.box(x, top, wide, high, stroke=PALE)
    top += high + 22
    for x, title in zip(left, (f"score of {NAMES[1]}", f"score of {NAMES[2]}", "largest score"), strict=True):
        sheet.words(x, top - 8, title, size=12)
    _row(sheet, left, top, wide, high, [gray(scores[1], -1, 7), gray(scores[2], -1, 7), COLORS[scores.argmax(0)]])
    sheet.words(10, top + 16, "network", size=12, bold=True)
    for step, marginals in found.items():
        top += high + 22
        sheet.words(10, top + 16, f"step {step}", size=12, bold=True)
        sheet.words(10, top + 36, "mean IoU", size=11, fill=PALE)
        sheet.words(10, top + 52, f"{mean_iou(marginals):.3f}", size=13, fill=INK)
        for x, title in zip(left, (f"belief in {NAMES[1]}", f"belief in {NAMES[2]}", "likeliest"), strict=True):
            sheet.words(x, top - 8, title, size=12)
        panels = [gray(marginals[1], 0, 1), gray(marginals[2], 0, 1), COLORS[marginals.argmax(0)]]
        _row(sheet, left, top, wide, high, panels)
    return sheet.text()


def _row(sheet: Sheet, left: list[int], top: float, wide: float, high: float, panels: list[NDArray[np.uint8]]) -> None:
    for x, panel in zip(left, panels, strict=True):
        sheet.raster(panel, x, top, wide, high)
        sheet.box(x, top, wide, high, stroke=PALE)


def figures() -> dict[str, str]:
    """The one."""
    return {"dense-crf-steps.svg": figure(beliefs())}


if __name__ == "__main__":
    write(figures())
    for step, marginals in beliefs().items():
        print(f"step {step}: mean IoU {mean_iou(marginals):.3f}, mean belief {marginals.max(0).mean():.3f}")
