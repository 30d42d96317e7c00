"""Head: what a network gives for one task, on its own grid, and how that grid lies on the picture."""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from pixelwise.layers.resample import Resampling


@dataclass(frozen=True)
class Head:
    """One output of a network.

    Attributes:
        scores: (N, K, h, w) on the network's own grid.
        resampling: from (h, w) to the picture's (H, W).
        kind: "logits" before softmax, or "probabilities" that add up to 1 over K.
    """

    scores: Tensor
    resampling: Resampling
    kind: Literal["logits", "probabilities"] = "logits"

    def full_size(self) -> Tensor:
        """(N, K, H, W) float32."""
        return self.resampling.apply(self.scores)


def full_size(heads: dict[str, Head]) -> Tensor:
    """The prediction, which is the first head, at the picture's size: (N, K, H, W) float32."""
    return next(iter(heads.values())).full_size()
