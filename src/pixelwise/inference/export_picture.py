"""The whole way from a picture's pixels to its classes as one graph, as `inference.predict` goes it for one view."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from pixelwise.data.levels import GRID, level_scale
from pixelwise.layers import resample_graph
from pixelwise.layers.head import Head
from pixelwise.layers.normalization import FLOOR, Normalization
from pixelwise.layers.resample import Resampling
from pixelwise.layers.resample_graph import places, smaller, whole

Size = tuple[int, int]
PIXELS = {8: "uint8", 16: "uint16"}  # the type of a picture's values, by their bits


class PictureClasses(nn.Module):
    """Pictures (N, H, W, C) uint8 or uint16 → labels (N, H, W), uint8 or int32 with more than 255 classes.

    Args:
        network: on the CPU, in evaluation.
        normalization: of its pictures, with the size that they are brought to.
        confidence: give the probability of each label (N, H, W) float32, too.
        bits: of the pictures' values, 8 or 16.
    """

    def __init__(
        self, network: nn.Module, normalization: Normalization, *, confidence: bool = False, bits: int = 8
    ) -> None:
        super().__init__()
        self.network = network
        self.normalized = Normalized(normalization, bits=bits)
        self.size = normalization.size
        self.confidence = confidence

    def forward(self, pictures: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """The labels, and the probabilities where they are asked for."""
        own = pictures.shape[1], pictures.shape[2]
        levels = self.normalized(pictures)  # (N, H, W, C), which is (N, C, H, W) in channels-last memory
        images = levels.permute(0, 3, 1, 2)
        wanted = size_in_graph(self.size, own)
        if self.size is not None:
            images = resized(images, own, wanted)
        heads: Mapping[str, Head] = self.network.heads(images)  # type: ignore[operator]  # nn.Module says Tensor | Module
        head = next(iter(heads.values()))
        scores = head.full_size()
        if self.size is not None:
            scores = Resampling.half_pixel(wanted, own).apply(scores)
        labels = scores.argmax(1).to(torch.uint8 if scores.shape[1] <= 255 else torch.int32)
        if not self.confidence:
            return labels
        return labels, (scores.softmax(1) if head.kind == "logits" else scores).amax(1)


class Normalized(nn.Module):
    """Pixels (N, H, W, C) uint8 or uint16 → what the network takes, (N, H, W, C) float32, as `Normalization`."""

    mean: Tensor
    deviation: Tensor
    order: Tensor

    def __init__(self, normalization: Normalization, *, bits: int = 8) -> None:
        super().__init__()
        self.scale = level_scale(np.dtype(PIXELS[bits]))
        channels = range(normalization.channels)
        bgr = normalization.channel_order == "bgr"
        order = [*list(channels)[2::-1], *list(channels)[3:]] if bgr else list(channels)
        self.per_picture = normalization.per_picture
        self.reorders = bgr
        self.register_buffer("order", torch.tensor(order))
        self.register_buffer("mean", torch.tensor(normalization.mean))
        self.register_buffer("deviation", torch.tensor(normalization.deviation))

    def forward(self, pictures: Tensor) -> Tensor:
        """(x − mean) / deviation, with the picture's own where the normalization is per picture."""
        levels = pictures.float()
        if self.scale != 1:
            levels = levels * self.scale
        if self.reorders:
            levels = levels.index_select(3, self.order)
        if not self.per_picture:
            return (levels - self.mean) / self.deviation
        mean, deviation = own_statistics(levels)
        return (levels - mean) / (deviation + FLOOR * self.deviation)


def own_statistics(levels: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation (N, 1, 1, C) of the grid of `data.levels.grid_of`: at most 64 rows and columns."""
    weight = torch.ones(1, 1, 1, 1)
    grid = levels
    for axis in (1, 2):
        length = levels.shape[axis]
        step = (length + GRID - 1) // GRID
        at = step // 2 + step * places(GRID)
        inside = (at < whole(length)).float()
        shape = [1, -1, 1, 1] if axis == 1 else [1, 1, -1, 1]
        weight = weight * inside.reshape(shape)
        grid = grid.index_select(axis, torch.minimum(at, whole(length - 1)))
    count = weight.sum()
    mean = (grid * weight).sum((1, 2), keepdim=True) / count
    square = ((grid - mean).square() * weight).sum((1, 2), keepdim=True) / count
    return mean, square.sqrt()


def size_in_graph(size: Size | int | None, own: Size) -> Size:
    """`Normalization.size_of` with whole numbers alone, for sides that are symbols."""
    if size is None:
        return own
    if isinstance(size, tuple):
        return size
    shorter = smaller(*own)
    height, width = (_rounded(side * size, shorter) for side in own)
    return height, width


def _rounded(numerator: int, denominator: int) -> int:
    """The fraction rounded, halves to the even number, as Python rounds."""
    twice = 2 * numerator + denominator
    up = twice // (2 * denominator)
    half = 1 - smaller(twice % (2 * denominator), 1)
    return up - half * (up % 2)


def resized(images: Tensor, own: Size, wanted: Size) -> Tensor:
    """As `inference.views.resized`: (N, C, H, W) → (N, C, h, w), by means of areas where both sides shrink below half.

    Two matrix products, whose matrices hold either the taps of a bilinear resampling or the shares of areas.
    """
    both = [whole(have) > 2 * whole(want) for have, want in zip(own, wanted, strict=True)]
    shrinks = (both[0] & both[1]).reshape(1, 1)
    rows, columns = (
        torch.where(shrinks, _areas(have, want), _linear(have, want)) for have, want in zip(own, wanted, strict=True)
    )
    return torch.matmul(torch.matmul(rows, images), columns.T)


def _areas(have: int, want: int) -> Tensor:
    """(want, have): the share of each of `have` cells in the area of each of `want`."""
    outputs, cells = places(want)[:, None], places(have)[None]
    stop = torch.minimum((outputs + 1) * have, (cells + 1) * want)
    start = torch.maximum(outputs * have, cells * want)
    return (stop - start).clamp(min=0).float() / whole(have).float()


def _linear(have: int, want: int) -> Tensor:
    """(want, have): two taps a row."""
    taps = resample_graph.taps_at((2 * places(want) + 1) * have - want, 2 * want, have)
    cells = places(have)[None]
    first, second = taps.weights
    return (cells == taps.first[:, None]).float() * first[:, None] + (cells == taps.second[:, None]).float() * second[
        :, None
    ]
