"""From pictures and masks to a model, a score and a report.

    python examples/fit.py

Draws 12 pictures with masks, and learns them for 20 steps, which teaches little: for your own folder leave `steps` and
`settings` out, and give the minutes that you have. Prints what was reached on pictures that were kept from training,
and where the model is, and the report, one page to read in a browser.
"""

from pathlib import Path

import pixelwise as pw
from pixelwise.flow.demo import draw_demo

draw_demo(Path("garden"), count=12, size=(96, 128))

small = {"model_options": {"width": 1 / 8, "depth": 2}, "crop_size": [48, 48], "batch_size": 4, "crf_pictures": 0}
result = pw.fit("garden", out="runs/garden", steps=20, model="unet", settings=small)

print(f"mean IoU {result.scores.mean_iou:.2f} on pictures kept from training")
for score in result.scores.per_class:
    print(f"{score.name}: IoU {score.iou:.2f}")
print(result.run / "model.safetensors", result.run / "report.html")
