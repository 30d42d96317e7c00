"""Upsampling with argmax in one pass, against `torch.nn.functional.interpolate(...).argmax(1)`."""

from collections.abc import Iterator
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from pixelwise.benchmark.turns import Ratio, ratio_of, share, take_turns, versioned
from pixelwise.layers.resample import Resampling

NAME = "argmax"
CASES = ((21, (1024, 2048)), (150, (1024, 2048)), (21, (500, 500)))
"""(classes, height and width of the labels); scores are on a grid eight times as coarse"""
QUICK = CASES[2:]
STRIDE = 8
LEAST_EQUAL = 0.9999  # the others are ties of float32


def interpolated(scores: Tensor, size: tuple[int, int]) -> Tensor:
    """The peer's labels (N, H, W)."""
    return F.interpolate(scores, size, mode="bilinear").argmax(1)


def measure(*, quick: bool = False) -> Iterator[Ratio]:
    """A ratio for each number of classes and size."""
    torch.manual_seed(0)
    for classes, size in QUICK if quick else CASES:
        coarse = -(-size[0] // STRIDE), -(-size[1] // STRIDE)
        scores = torch.randn(1, classes, *coarse)
        resampling = Resampling.half_pixel(coarse, size)
        ways = {"ours": partial(resampling.argmax, scores), "peer": partial(interpolated, scores, size)}
        found, seconds = take_turns(ways, 3 if quick else 7)
        equal = float((found["ours"] == found["peer"]).double().mean())
        yield ratio_of(
            NAME,
            f"{classes} classes, {size[0]} × {size[1]}",
            f"{versioned('torch')}: interpolate, argmax",
            seconds["ours"],
            seconds["peer"],
            equal=equal >= LEAST_EQUAL,
            answers=f"{share(equal)} equal labels",
        )
