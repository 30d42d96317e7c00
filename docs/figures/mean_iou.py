"""Two small label maps and their confusion matrix: `python docs/figures/mean_iou.py`.

Draws `docs/images/mean-iou.svg`, the first example of `docs/explanation/mean-iou.md`; counts and scores are those of
`pixelwise.metrics.ConfusionMatrix`.
"""

import numpy as np
from drawing import PALE, Sheet, write

from pixelwise.metrics import ConfusionMatrix

VOID = 255
NAMES = ("road", "car", "sky")
FILLS = {0: "#cbd5e1", 1: "#f4a582", 2: "#92c5de", VOID: "#ffffff"}
TARGET = np.array([[2, 2, 2, 2], [2, 1, 1, VOID], [0, 1, 1, 0], [0, 0, 0, 0]], np.uint8)
PREDICTION = np.array([[2, 2, 2, 2], [2, 2, 1, 1], [0, 0, 1, 1], [0, 0, 0, 0]], np.uint8)


def matrix() -> ConfusionMatrix:
    """What the example counts."""
    counted = ConfusionMatrix(3, names=NAMES)
    counted.update(PREDICTION, TARGET)
    return counted


def figure() -> str:
    """Target, prediction, counts, scores."""
    sheet = Sheet(252, "A target, a prediction, their confusion matrix and the IoU of each class")
    side = 26
    for left, title, labels in ((14, "target", TARGET), (136, "prediction", PREDICTION)):
        sheet.words(left, 22, title, bold=True)
        for row, values in enumerate(labels):
            names = ["–" if value == VOID else str(value) for value in values]
            sheet.numbers(names, left, 32 + side * row, side, fills=[FILLS[int(value)] for value in values])
    counted = matrix()
    left, cell = 316, 34
    sheet.words(left, 22, "predicted", bold=True)
    sheet.words(left - 8, 50, "target", size=12, anchor="end", fill=PALE)
    for number, name in enumerate(NAMES):
        sheet.words(left + cell * (number + 0.5), 50, name, size=12, anchor="middle", fill=PALE)
        sheet.words(left - 8, 58 + cell * (number + 0.6), name, size=12, anchor="end", fill=PALE)
        fills = [FILLS[number] if number == other else "#fff" for other in range(3)]
        sheet.numbers(list(counted.counts[number]), left, 58 + cell * number, cell, fills=fills)
    scores = counted.scores()
    for number, score in enumerate(scores.per_class):
        hit = int(counted.counts[number, number])
        union = int(counted.counts[number].sum() + counted.counts[:, number].sum()) - hit
        sheet.box(14, 166 + 24 * number, 14, 14, fill=FILLS[number], stroke=PALE)
        sheet.words(36, 178 + 24 * number, f"{score.name}: {hit} of {union} pixels, IoU {score.iou:.3f}")
    sheet.words(316, 190, f"mean IoU {scores.mean_iou:.3f}", bold=True)
    sheet.words(316, 212, f"pixel accuracy {scores.pixel_accuracy:.3f}")
    sheet.words(14, 244, "– is void: that pixel is counted nowhere", size=12, fill=PALE)
    return sheet.text()


def figures() -> dict[str, str]:
    """The one."""
    return {"mean-iou.svg": figure()}


if __name__ == "__main__":
    write(figures())
