"""The class of every pixel of a picture.

    python examples/predict.py

Draws a picture of a garden bed, asks a model what is where, and writes a mask, whose values are classes, and an overlay
to look at. The model is the small one that comes with pixelwise for `pixelwise serve`; it knows such garden beds. Put
your own `model.safetensors` in its place. Prints the share of each class, and how sure the model is of its pixels.
"""

from importlib.resources import files
from pathlib import Path

import pixelwise as pw
from pixelwise.flow.demo import draw_new_pictures

draw_new_pictures(Path("new-pictures"), count=1)
segmenter = pw.load(str(files("pixelwise.server") / "demo_model.safetensors"))

prediction = segmenter.predict("new-pictures/new_000.jpg")  # a path, or an array (H, W, 3) of 0–255
for name, pixels in prediction.areas().items():
    print(f"{name}: {pixels / prediction.labels.size:.1%}")
print(f"surer than 90 %: {(prediction.confidence > 0.9).mean():.0%} of the pixels")

prediction.save("mask.png")
prediction.overlay().save("overlay.png")
print("mask.png, overlay.png")
