"""Cropping a map to a height and a width, which may be symbols of a graph that is being exported."""

import torch
from torch import Tensor


def crop(values: Tensor, size: tuple[int, int], *, start: tuple[int, int] = (0, 0)) -> Tensor:
    """(…, H, W) → (…, h, w): `size` rows and columns from `start` on; a view, but a copy in an exported graph.

    A slice whose end is a symbol has the size min(end, H); picking the rows has the size that is asked for, which
    `torch.export` can prove to be that of another map.
    """
    (height, width), (top, left) = size, start
    if torch.compiler.is_exporting():
        rows, columns = (torch.arange(length, dtype=torch.int64) for length in (height, width))
        return values.index_select(-2, rows + top).index_select(-1, columns + left)
    return values[..., top : top + height, left : left + width]
