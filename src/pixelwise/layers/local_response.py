"""Local response normalization across channels, of AlexNet, GoogLeNet and SegNet-Basic."""

import torch.nn.functional as F
from torch import Tensor, nn


class LocalResponseNorm(nn.Module):
    """y = x / (1 + α/n · Σ x²)^β over n neighboring channels, zeros beyond the first and last: Caffe's LRN.

    Krizhevsky, Sutskever, Hinton 2012, §3.3, in Caffe's form (α divided by n, constant 1), with its values n = 5,
    α = 1e-4, β = 0.75. Equal to `torch.nn.LocalResponseNorm(5)`, whose pooling in three dimensions has no
    deterministic gradient on a GPU; a sum of n shifted maps has.
    """

    def __init__(self, size: int = 5, *, alpha: float = 1e-4, beta: float = 0.75) -> None:
        super().__init__()
        self.size, self.alpha, self.beta = size, alpha, beta

    def forward(self, values: Tensor) -> Tensor:
        """(N, C, H, W) → (N, C, H, W)."""
        channels, before = values.shape[1], self.size // 2
        squares = F.pad(values.square(), (0, 0, 0, 0, before, self.size - 1 - before))
        total = squares[:, :channels]
        for shift in range(1, self.size):
            total = total + squares[:, shift : shift + channels]
        return values * (1 + self.alpha / self.size * total) ** -self.beta

    def extra_repr(self) -> str:
        """What `print(network)` shows."""
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}"
