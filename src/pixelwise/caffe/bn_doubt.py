"""Whether SegNet's BN holds the statistics of the training set, or is as it was trained: told by what it gives."""

import torch
from torch import Tensor, nn

STRAY = 10.0  # of a BN's output on a picture of levels 0–255, root mean square; trained ones are near 1


def drawn_picture(channels: int, height: int, width: int) -> Tensor:
    """A picture of 8 × 8 patches of any levels, 0–255; always the same."""
    drawn = torch.rand(1, channels, 8, 8, generator=torch.Generator().manual_seed(0))
    return 255 * nn.functional.interpolate(drawn, (height, width))


def stray(layer: str, top: Tensor) -> str:
    """Why a BN's output for `drawn_picture` is not what one for use gives; "" where it may be."""
    size = float(top.square().mean().sqrt())
    if size < STRAY:
        return ""
    return (
        f"layer {layer!r} (BN) gives values near ±{size:.3g} on a picture of levels 0–255, where one for use gives "
        "values near ±1: the weights seem to hold BN as it was trained, without the statistics of the training set, "
        "which SegNet's compute_bn_statistics.py folds in; if so, the scores mean nothing"
    )
