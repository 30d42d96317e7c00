"""Batch normalization that also trains where a channel has a single value.

A 1 × 1 map in a batch of one – the image pooling of DeepLab v3 with a last batch of one picture, a deep layer on a
tiny picture – has no variance, and `torch.nn.BatchNorm2d` raises there (pytorch/vision#2151). Here such a batch is
normalized with the running statistics, which it leaves as they are, and a warning is logged, once in a process.
"""

import functools
import logging

from torch import Tensor, nn
from torch.nn import functional

_log = logging.getLogger(__name__)


class BatchNorm2d(nn.BatchNorm2d):
    """`torch.nn.BatchNorm2d`, (N, C, H, W) → (N, C, H, W), that takes N·H·W = 1 in training as in evaluation."""

    def forward(self, values: Tensor) -> Tensor:
        """Normalize; with the running statistics where each channel holds one value."""
        if self.training and self.track_running_stats and values.numel() == values.shape[1]:
            warn_once()
            return functional.batch_norm(
                values, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps
            )
        return super().forward(values)


@functools.cache  # so that a network of a hundred layers says it once
def warn_once() -> None:
    """Log that a batch was too small for its own statistics."""
    _log.warning(
        "a batch norm saw one value per channel in training and used its running statistics; "
        "a batch of at least 2 pictures, or larger pictures, avoids this"
    )
