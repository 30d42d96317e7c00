"""A data set of one's own: samples from wherever they are, to train on and to measure with.

    python examples/own_data_set.py

A data set is a plain sequence: `len`, `dataset[i]` a `Sample`, `labels` what the numbers mean. This one draws disks and
squares. A U-Net learns 32 of them in a loop of plain torch; 8 others measure it. Prints the loss, and each class's IoU.
"""

import numpy as np
import torch

import pixelwise as pw
from pixelwise.data.augmentation import Augmentation
from pixelwise.data.batch import Batches
from pixelwise.data.sample import Sample
from pixelwise.layers.normalization import Normalization

LABELS, SIDE = pw.LabelSet(("ground", "disk", "square")), 40


class Shapes:
    """Pictures of 40 × 40, each a function of its number."""

    def __init__(self, numbers: range) -> None:
        self.numbers = numbers
        self.labels = {"labels": LABELS}  # of each head; most often there is this one

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: int) -> Sample:
        random = np.random.default_rng(self.numbers[index])
        target = np.zeros((SIDE, SIDE), np.uint8)  # (H, W): classes, or 255 where nobody knows
        for shape in (1, 2):
            away = np.abs(np.mgrid[:SIDE, :SIDE] - random.integers(8, SIDE - 8, (2, 1, 1)))
            target[(np.hypot(*away) if shape == 1 else away.max(0)) < 8] = shape
        image = 90 + 60 * (target > 0)[..., None] + random.normal(0, 10, (SIDE, SIDE, 3))
        return Sample(image.clip(0, 255).astype(np.uint8), {"labels": target}, f"shapes-{self.numbers[index]}")


torch.manual_seed(0)
options = {"num_classes": 3, "width": 1 / 8, "depth": 3}
network = pw.build("unet", **options)
levels = Normalization((110.0,) * 3, (40.0,) * 3)
views = {"crop_size": (SIDE, SIDE), "augmentation": Augmentation(flip_horizontal=True), "fill": levels.fill}
batches = Batches(Shapes(range(32)), batch_size=8, seed=0, **views)
optimizer = torch.optim.AdamW(network.parameters(), lr=0.01)
for step in range(80):
    scores, targets = network(levels.of_crops(batches[step].crops)), torch.from_numpy(batches[step].targets)
    loss = torch.nn.functional.cross_entropy(scores, targets, ignore_index=LABELS.void)
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
print(f"loss {loss.item():.2f}")

segmenter = pw.Segmenter(network.eval(), levels, LABELS, {"builder": "unet", "options": options})
for score in pw.evaluate(segmenter, Shapes(range(32, 40))).per_class:
    print(f"{score.name}: IoU {score.iou:.2f}")
