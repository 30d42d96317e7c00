"""Mirrored borders: pictures extended beyond their edges by themselves, as often as it takes."""

import numpy as np
import torch
from torch import Tensor


def mirror_pad(images: Tensor, *, top: int = 0, bottom: int = 0, left: int = 0, right: int = 0) -> Tensor:
    """(N, C, H, W) → (N, C, top + H + bottom, left + W + right), mirrored at the centers of the edge pixels.

    The border pixel is not repeated (OpenCV's BORDER_REFLECT_101, numpy's "reflect"); a border wider than the picture
    mirrors again and again, and a single row or column is repeated.

    >>> mirror_pad(torch.tensor([[[[1., 2., 3.]]]]), left=3, right=4)[0, 0]
    tensor([[2., 3., 2., 1., 2., 3., 2., 1., 2., 3.]])
    """
    for axis, before, after in ((-2, top, bottom), (-1, left, right)):
        if before or after:
            places = np.pad(np.arange(images.shape[axis]), (before, after), mode="reflect")
            images = images.index_select(axis, torch.from_numpy(places).to(images.device))
    return images


def mirror_to_at_least(images: Tensor, size: tuple[int, int]) -> Tensor:
    """The pictures themselves, or extended at the bottom and the right to at least `size`, (height, width)."""
    bottom, right = (max(0, least - here) for least, here in zip(size, images.shape[-2:], strict=True))
    return mirror_pad(images, bottom=bottom, right=right)
