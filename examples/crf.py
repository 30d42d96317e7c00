"""A dense CRF moves coarse labels to the edges of the picture.

    python examples/crf.py

Draws a disk on a shaded ground. What stands for a network knows only blocks of 16 × 16 pixels, with errors at random.
The CRF sees the picture, too: pixels that are near and alike in color most likely have the same label. Prints the mean
IoU before and after, and writes picture, labels before, and labels after side by side. What it takes to help, and when
it hurts: docs/how-to/refine-with-a-crf.md.
"""

import numpy as np
from PIL import Image

import pixelwise as pw
from pixelwise.crf import CRFParameters, dense_crf

BLOCK = 16
random = np.random.default_rng(0)
rows, columns = np.mgrid[:192, :256]
target = (np.hypot(rows - 96, columns - 128) < 60).astype(np.uint8)
image = np.array([(120, 150, 90), (140, 130, 85)])[target] + columns[..., None] // 8
image = (image + random.normal(0, 12, image.shape)).clip(0, 255).astype(np.uint8)

blocks = target.reshape(192 // BLOCK, BLOCK, 256 // BLOCK, BLOCK).mean((1, 3))
disk = (blocks + random.normal(0, 0.1, blocks.shape)).clip(0.05, 0.95).repeat(BLOCK, 0).repeat(BLOCK, 1)
probabilities = np.stack([1 - disk, disk]).astype(np.float32)  # (K, H, W)

parameters = CRFParameters(bilateral_weight=4, bilateral_sigma_pixels=40, bilateral_sigma_color=10, spatial_weight=3)
refined = dense_crf(probabilities, image, parameters)  # (K, H, W), adds up to 1 at each pixel

panels = [image]
for name, given in (("before", probabilities), ("after", refined)):
    labels = given.argmax(0).astype(np.uint8)
    matrix = pw.ConfusionMatrix(2)
    matrix.update(labels, target)
    print(f"{name}: mean IoU {matrix.scores().mean_iou:.3f}")
    panels.append(np.repeat(labels[..., None] * np.uint8(255), 3, 2))
Image.fromarray(np.concatenate(panels, 1)).save("crf.png")
