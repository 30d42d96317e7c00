"""Normalization: from the pixels of a file to what a network takes, and back for padding."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pixelwise.errors import BadOption, ShapeError

IMAGENET_MEAN = (123.675, 116.28, 103.53)  # 255 · (.485, .456, .406), RGB: torchvision's weights
IMAGENET_DEVIATION = (58.395, 57.12, 57.375)  # 255 · (.229, .224, .225)

# What one step of each dtype is worth on the scale 0–255 that means and deviations are given in.
SCALE = {"uint8": 1.0, "uint16": 255 / 65_535, "float32": 255.0}


@dataclass(frozen=True)
class Normalization:
    """(x − mean) / deviation per channel, on the scale 0–255; uint16 is divided by 257, float is taken as 0–1.

    Args:
        mean: one per channel, 0–255, in the network's channel order.
        deviation: one per channel, 0–255, in the same order; 1 for Caffe's networks.
        channel_order: "rgb" leaves the channels as they are, "bgr" reverses three of them (Caffe's networks).
    """

    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    channel_order: Literal["rgb", "bgr"] = "rgb"

    def __post_init__(self) -> None:
        if len(self.mean) != len(self.deviation) or not self.mean:
            raise BadOption(f"mean and deviation need one value per channel, got {self.mean} and {self.deviation}")
        if min(self.deviation) <= 0:
            raise BadOption(f"a deviation must be above 0, got {self.deviation}")
        if self.channel_order not in ("rgb", "bgr"):
            raise BadOption(f"channel_order is 'rgb' or 'bgr', got {self.channel_order!r}")

    @property
    def channels(self) -> int:
        """C of the images it takes."""
        return len(self.mean)

    @property
    def fill(self) -> tuple[float, ...]:
        """The mean color in the file's channel order, 0–255: what pictures are padded with."""
        return self.mean[::-1] if self.channel_order == "bgr" else self.mean

    def __call__(self, images: Sequence[NDArray[Any]] | NDArray[Any]) -> Tensor:
        """Images (N, H, W, C), or a list of (H, W, C), as float32 (N, C, H, W) with channels last in memory."""
        batch = np.stack(images) if not isinstance(images, np.ndarray) else images
        if batch.ndim != 4 or batch.shape[3] != self.channels:
            raise ShapeError(f"the network takes images with {self.channels} channels (H, W, C), got {batch.shape[1:]}")
        scale = SCALE.get(batch.dtype.name)
        if scale is None:
            raise ShapeError(f"images are uint8, uint16 or float32, got {batch.dtype}")
        if self.channel_order == "bgr":
            batch = batch[..., ::-1]
        mean = np.asarray(self.mean, np.float32) / scale
        factor = scale / np.asarray(self.deviation, np.float32)
        values = (batch.astype(np.float32) - mean) * factor.astype(np.float32)
        # (N, H, W, C) seen as (N, C, H, W) is already channels-last memory.
        return torch.from_numpy(values).permute(0, 3, 1, 2)

    def to_record(self) -> dict[str, Any]:
        """What is written into a model file."""
        return {"mean": list(self.mean), "deviation": list(self.deviation), "channel_order": self.channel_order}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Self:
        """The normalization that `to_record` described."""
        return cls(tuple(record["mean"]), tuple(record["deviation"]), record["channel_order"])
