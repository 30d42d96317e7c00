"""Pools with holes, and with borders that torch's pools do not take.

What `set_output_stride` makes of a pool behind a stride that was taken: its window takes each f-th cell, its border is
f times as wide, and where it rounded up (`ceil_mode`), a border of its own stands behind the map, `extra`. Torch gives
a pool at most half a window of border, and no holes to an average.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class DilatedMaxPool2d(nn.MaxPool2d):
    """(N, C, H, W) → (N, C, h, w), h = ⌊(H + 2·padding + extra − dilation·(kernel − 1) − 1)/stride⌋ + 1.

    Kernel, stride, padding and dilation are numbers, or pairs (down, right), as in torch.

    Attributes:
        extra: (down, right), cells of −∞ behind the map, more than its padding.
    """

    extra: tuple[int, int]

    def forward(self, values: Tensor) -> Tensor:
        """The greatest cell of each window; 0 where a window between the original cells of a tiny map holds none."""
        padded = F.pad(values, _border(self.padding, self.extra), value=float("-inf"))
        largest = F.max_pool2d(padded, self.kernel_size, self.stride, 0, self.dilation)
        if any(side < apart for side, apart in zip(values.shape[-2:], pair(self.dilation), strict=True)):
            largest = largest.masked_fill(largest == float("-inf"), 0)
        return largest


class DilatedAvgPool2d(nn.AvgPool2d):
    """(N, C, H, W) → (N, C, h, w), sizes as of `DilatedMaxPool2d`; divides as torch's own average pools do.

    That is by the cells of the window in the map, or in the map and its padding (`count_include_pad`), not by those in
    `extra`; or by `divisor_override`.

    Attributes:
        dilation: (down, right), from a cell of a window to the next.
        extra: (down, right), cells of 0 behind the map, more than its padding.
    """

    dilation: tuple[int, int]
    extra: tuple[int, int]

    def forward(self, values: Tensor) -> Tensor:
        """The mean of each window."""
        sums = F.pad(values, _border(self.padding, self.extra))
        options = zip(*map(pair, (self.kernel_size, self.stride, self.padding, self.dilation)), strict=True)
        for dim, (kernel, stride, padding, dilation) in zip((-2, -1), options, strict=True):
            starts = torch.arange(0, sums.shape[dim] - dilation * (kernel - 1), stride, device=values.device)
            span = (len(starts) - 1) * stride + 1
            shifted = (sums.narrow(dim, tap * dilation, span) for tap in range(kernel))
            parts = [part[..., ::stride, :] if dim == -2 else part[..., ::stride] for part in shifted]
            sums = sum(parts[1:], start=parts[0])
            if self.divisor_override:
                continue
            taken = starts[:, None] + torch.arange(kernel, device=values.device) * dilation - padding
            if self.count_include_pad:
                counted = (taken < values.shape[dim] + padding).sum(1)
            else:
                counted = ((taken >= 0) & (taken < values.shape[dim])).sum(1).clamp(min=1)  # none: 0/1
            sums = sums / (counted[:, None] if dim == -2 else counted)
        return sums / self.divisor_override if self.divisor_override else sums


def pair(option: int | tuple[int, ...]) -> tuple[int, int]:
    """An option of a layer for (down, right)."""
    if isinstance(option, int):
        return option, option
    return option[0], option[-1]


def _border(padding: int | tuple[int, ...], extra: tuple[int, int]) -> tuple[int, int, int, int]:
    """As `F.pad` takes it: left, right, top, bottom."""
    (down, right), (below, behind) = pair(padding), extra
    return right, right + behind, down, down + below
