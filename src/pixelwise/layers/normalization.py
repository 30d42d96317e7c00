"""Normalization: from the pixels of a file to what a network takes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Self, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pixelwise.data.augment import Crop, looked_up, standardized
from pixelwise.data.levels import Statistics, grid_of, statistics_of, to_levels
from pixelwise.errors import BadOption, ShapeError

IMAGENET_MEAN = (123.675, 116.28, 103.53)  # 255 · (.485, .456, .406), RGB: torchvision's weights
IMAGENET_DEVIATION = (58.395, 57.12, 57.375)  # 255 · (.229, .224, .225)

T = TypeVar("T")

FLOOR = 0.04  # of the set's deviation, added to a picture's own: an empty picture must not become pure noise


@dataclass(frozen=True)
class Normalization:
    """(x − mean) / deviation per channel, on the scale 0–255; uint16 is divided by 257, float is taken as 0–1.

    Args:
        mean: one per channel, 0–255, in the network's channel order.
        deviation: one per channel, 0–255, in the same order; 1 for Caffe's networks.
        channel_order: "rgb" leaves the channels as they are, "bgr" reverses the first three (Caffe's networks;
            depth or HHA behind them stay in their places).
        per_picture: take each picture's own mean, and its own deviation plus 4 % of `deviation`, so that dark and
            bright, weak and strong pictures look alike to the network.
        size: whole pictures are brought to this (height, width) first, or until their shorter side has so many pixels;
            None for networks that take them as they are. Predicting does so, and brings the scores back.
    """

    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    channel_order: Literal["rgb", "bgr"] = "rgb"
    per_picture: bool = False
    size: tuple[int, int] | int | None = None

    def __post_init__(self) -> None:
        if len(self.mean) != len(self.deviation) or not self.mean:
            raise BadOption(f"mean and deviation need one value per channel, got {self.mean} and {self.deviation}")
        if min(self.deviation) <= 0:
            raise BadOption(f"a deviation must be above 0, got {self.deviation}")
        if self.channel_order not in ("rgb", "bgr"):
            raise BadOption(f"channel_order is 'rgb' or 'bgr', got {self.channel_order!r}")
        if self.size is not None and min(self.size if isinstance(self.size, tuple) else (self.size,)) < 1:
            raise BadOption(f"a size is (height, width) or the shorter side, in pixels, got {self.size}")

    @property
    def channels(self) -> int:
        """C of the images it takes."""
        return len(self.mean)

    @property
    def fill(self) -> tuple[float, ...] | None:
        """The color that pictures are padded with, 0–255 in the file's channel order; None for each one's own mean."""
        if self.per_picture:
            return None
        return self._ordered(self.mean)

    def size_of(self, height: int, width: int) -> tuple[int, int]:
        """The (height, width) that a picture is brought to first.

        >>> Normalization((0.0,), (1.0,), size=520).size_of(375, 500), Normalization((0.0,), (1.0,)).size_of(375, 500)
        ((520, 693), (375, 500))
        """
        if self.size is None:
            return height, width
        if isinstance(self.size, tuple):
            return self.size
        shorter = min(height, width)
        return round(height * self.size / shorter), round(width * self.size / shorter)

    def of(self, image: NDArray[Any]) -> "Normalization":
        """The fixed normalization of this picture (H, W, C), whole, for its parts: itself but for `per_picture`."""
        if not self.per_picture:
            return self
        return self.of_statistics(statistics_of(grid_of(image)))

    def __call__(self, images: NDArray[Any]) -> Tensor:
        """Whole pictures (N, H, W, C) as float32 (N, C, H, W) with channels last in memory.

        Raises:
            ShapeError: the channels are not the network's, or the dtype is not uint8, uint16 or float32.
        """
        if images.ndim != 4 or images.shape[3] != self.channels:
            raise ShapeError(
                f"the network takes images with {self.channels} channels (H, W, C), got {images.shape[1:]}"
            )
        if images.dtype not in (np.uint8, np.uint16, np.float32):
            raise ShapeError(f"images are uint8, uint16 or float32, got {images.dtype}")
        statistics = np.stack([statistics_of(grid_of(image)) for image in images]) if self.per_picture else None
        return self.normalize(to_levels(images), statistics)

    def normalize(self, levels: NDArray[np.float32], statistics: NDArray[np.float32] | None = None) -> Tensor:
        """Levels (N, H, W, C) as float32 (N, C, H, W).

        Args:
            statistics: (N, 2, C) mean and deviation of the pictures that the levels are parts of; used, and needed,
                with `per_picture`.
        """
        if self.per_picture:
            assert statistics is not None
            parts = [
                self.of_statistics(own).normalize(part[None]) for part, own in zip(levels, statistics, strict=True)
            ]
            return torch.cat(parts).contiguous(memory_format=torch.channels_last)
        if self.channel_order == "bgr":
            levels = levels[..., self._ordered(range(self.channels))]
        _, height, width, channels = levels.shape
        mean, deviation = (np.tile(np.asarray(v, np.float32), width) for v in (self.mean, self.deviation))
        values = np.empty(levels.shape, np.float32)
        # picture by picture and in long rows, which NumPy goes through faster
        for part, own in zip(levels, values, strict=True):
            rows = own.reshape(height, width * channels)
            np.subtract(part.reshape(rows.shape), mean, out=rows)
            rows /= deviation
        # (N, H, W, C) seen as (N, C, H, W) is already channels-last memory
        return torch.from_numpy(values).permute(0, 3, 1, 2)

    def of_crops(self, crops: Sequence[Crop]) -> Tensor:
        """(N, C, H, W), as `normalize` of the crops' levels, bit for bit; a table is normalized if there is one."""
        out = np.empty((len(crops), *crops[0].pixels.shape), np.float32)
        order = list(self._ordered(range(self.channels)))
        for crop, place in zip(crops, out, strict=True):
            own = self.of_statistics(crop.statistics) if self.per_picture else self
            if crop.table is None:
                place[...] = own.normalize(crop.levels[None])[0].permute(1, 2, 0).numpy()
            else:
                pixels = crop.pixels if self.channel_order == "rgb" else np.take(crop.pixels, order, axis=2)
                if crop.untoned:
                    standardized(pixels, own.mean, own.deviation, place)
                else:
                    mean, deviation = (np.asarray(values, np.float32) for values in (own.mean, own.deviation))
                    looked_up((crop.table[:, order] - mean) / deviation, pixels, place)
        return torch.from_numpy(out).permute(0, 3, 1, 2)

    def _ordered(self, values: Sequence[T]) -> tuple[T, ...]:
        """One value per channel, from the file's order to the network's or back: either is the other reversed."""
        if self.channel_order == "rgb":
            return tuple(values)
        return (*tuple(values)[2::-1], *tuple(values)[3:])

    def of_statistics(self, statistics: Statistics) -> "Normalization":
        """The fixed normalization of a picture with these statistics, (2, C): itself but for `per_picture`."""
        if not self.per_picture:
            return self
        mean, deviation = (self._ordered(values) for values in statistics)
        floor = FLOOR * np.asarray(self.deviation)
        return replace(
            self,
            mean=tuple(float(v) for v in mean),
            deviation=tuple(float(v) for v in deviation + floor),
            per_picture=False,
        )

    def to_record(self) -> dict[str, Any]:
        """What is written into a model file."""
        return {
            "mean": list(self.mean),
            "deviation": list(self.deviation),
            "channel_order": self.channel_order,
            "per_picture": self.per_picture,
            "size": list(self.size) if isinstance(self.size, tuple) else self.size,
        }

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Self:
        """The normalization that `to_record` described; older files have no size."""
        size = record.get("size")
        return cls(
            tuple(float(v) for v in record["mean"]),
            tuple(float(v) for v in record["deviation"]),
            record["channel_order"],
            bool(record["per_picture"]),
            (int(size[0]), int(size[1])) if isinstance(size, list | tuple) else size,
        )
