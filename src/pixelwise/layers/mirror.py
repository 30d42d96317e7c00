"""Mirrored borders: pictures extended beyond their edges by themselves, as often as it takes."""

import numpy as np
import torch
from torch import Tensor

from pixelwise.layers.resample_graph import larger


def mirror_pad(images: Tensor, *, top: int = 0, bottom: int = 0, left: int = 0, right: int = 0) -> Tensor:
    """(N, C, H, W) → (N, C, top + H + bottom, left + W + right), mirrored at the centers of the edge pixels.

    The border pixel is not repeated (OpenCV's BORDER_REFLECT_101, numpy's "reflect"); a border wider than the picture
    mirrors again and again, and a single row or column is repeated.

    >>> mirror_pad(torch.tensor([[[[1., 2., 3.]]]]), left=3, right=4)[0, 0]
    tensor([[2., 3., 2., 1., 2., 3., 2., 1., 2., 3.]])
    """
    for axis, before, after in ((-2, top, bottom), (-1, left, right)):
        if torch.compiler.is_exporting():  # before or after may be symbols there
            images = images.index_select(axis, _mirrored(images.shape[axis], before, after))
        elif before or after:
            places = np.pad(np.arange(images.shape[axis]), (before, after), mode="reflect")
            images = images.index_select(axis, torch.from_numpy(places).to(images.device))
    return images


def mirror_to_at_least(images: Tensor, size: tuple[int, int]) -> Tensor:
    """The pictures themselves, or extended at the bottom and the right to at least `size`, (height, width)."""
    bottom, right = (larger(0, least - here) for least, here in zip(size, images.shape[-2:], strict=True))
    return mirror_pad(images, bottom=bottom, right=right)


def _mirrored(length: int, before: int, after: int) -> Tensor:
    """What `numpy.pad` makes of 0…length − 1 in mode "reflect", of a length that may be a symbol."""
    last = torch.full((1,), length - 1, dtype=torch.int64)
    places = torch.arange(-before, length + after, dtype=torch.int64)
    return last - (torch.remainder(places, (2 * last).clamp(min=1)) - last).abs()
