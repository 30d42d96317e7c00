"""A network of one's own, trained by `fit`, saved and loaded like those of the papers.

    python examples/own_network.py

A network is an `nn.Module` with `heads`: scores on a grid of its own, and how that grid lies on the picture. A builder
makes it from `num_classes`, `in_channels`, `width` and what else it takes. Put into `MODELS`, it has a name that `fit`
takes and a model file tells; whoever loads the file puts it there first. Prints the score, and whether the model that
was loaded predicts the same.
"""

from pathlib import Path

from torch import Tensor, nn

import pixelwise as pw
from pixelwise.flow.demo import draw_demo
from pixelwise.layers.head import Head, full_size
from pixelwise.layers.resample import Resampling
from pixelwise.models import MODELS


class Context(nn.Module):
    """Convolutions at half the size, each dilated twice as far as the last: (N, C, H, W) → (N, K, H, W) logits."""

    def __init__(self, num_classes: int, in_channels: int, channels: int) -> None:
        super().__init__()
        self.down = nn.Conv2d(in_channels, channels, 3, stride=2, padding=1)
        self.context = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=d, dilation=d) for d in (1, 2, 4, 8))
        self.score = nn.Conv2d(channels, num_classes, 1)

    def heads(self, images: Tensor) -> dict[str, Head]:
        """The scores of cells of 2 × 2 pixels."""
        values = self.down(images).relu()  # 1/2, rounded up
        for layer in self.context:
            values = values + layer(values).relu()
        scores, (height, width) = self.score(values), images.shape[-2:]
        return {"logits": Head(scores, Resampling.zoom(tuple(scores.shape[-2:]), (height, width), factor=2))}

    def forward(self, images: Tensor) -> Tensor:
        """At the picture's size."""
        return full_size(self.heads(images))


def context(num_classes: int, in_channels: int = 3, width: float = 1.0) -> Context:
    """The builder; a smaller width makes a narrower network."""
    return Context(num_classes, in_channels, max(1, round(32 * width)))


MODELS["context"] = context
draw_demo(Path("garden"), count=12, size=(96, 128))
small = {"crop_size": [48, 48], "batch_size": 4, "crf_pictures": 0}
result = pw.fit("garden", model="context", steps=20, settings=small)
print(f"mean IoU {result.scores.mean_iou:.2f}")

loaded = pw.load(result.run / "model.safetensors")
before, after = (one.predict("garden/images/garden_000.jpg").labels for one in (result.segmenter, loaded))
print("loaded again, it predicts the same:", (before == after).all())
