"""Resampling: from the scores on a network's own grid to the picture's pixels.

Every last upsampling of this field – FCN's bilinear deconvolution with its crop, Caffe's Interp, align-corners,
half-pixel – is linear, separable, and takes at most two coarse cells per axis. So one class serves them all: it
holds, for each axis, the index of the first tap and the weights of the first and the next cell, and it applies them,
takes the argmax, or counts a confusion matrix, the last two in row bands without a full-size array of scores.

Conventions, with i the output index (spec, networks-2015-2017 §0.3; networks-2014-2016 §1.5, §1.7, §2.3):

| maker           | coarse coordinate of output i                      | used by                                |
| --------------- | -------------------------------------------------- | -------------------------------------- |
| `identity`      | i                                                  | U-Net, SegNet, GCN                     |
| `half_pixel`    | (i + 0.5)·h/H − 0.5, clamped                       | torchvision                            |
| `align_corners` | i·(h − 1)/(H − 1), 0 where H = 1                   | maps inside PSPNet, RefineNet; scales  |
| `zoom`          | (i + offset)/factor, clamped; Caffe's Interp       | DeepLab, PSPNet, Dilation, RefineNet   |
| `blocks`        | (i + 0.5)/factor − 0.5, clamped: a cell is a block | FCN with `padding="same"`              |
| `deconvolution` | two taps of the bilinear kernel at i + offset      | FCN (kernels 2·factor, 63), Dilation10 |

Align-corners and zoom are the same on sizes (h − 1)·factor + 1; Interp is defined there.

**Differences:** a deconvolution here has the taps of the float64 formula rounded to float32 once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pixelwise.errors import ShapeError
from pixelwise.layers import resample_graph

Size = tuple[int, int]


@dataclass(frozen=True)
class Taps:
    """One axis: output i is `weights[i, 0]·x[first[i]] + weights[i, 1]·x[first[i] + 1]`.

    Attributes:
        coarse: number of coarse cells h.
        first: (H,) int64 in 0…h−1; where it is h − 1 the second weight is 0.
        weights: (H, 2) float32. They add up to 1 but where a deconvolution has a single tap near the border.
    """

    coarse: int
    first: NDArray[np.int64]
    weights: NDArray[np.float32]

    @classmethod
    def at(cls, coordinates: NDArray[np.floating[Any]], coarse: int) -> Self:
        """Linear interpolation at coordinates, clamped to 0…coarse − 1."""
        inside = coordinates.clip(0, coarse - 1)
        first = np.minimum(np.floor(inside).astype(np.int64), max(coarse - 2, 0))
        second = inside - first
        return cls(coarse, first, np.stack([1 - second, second], 1).astype(np.float32))

    def matrix(self) -> NDArray[np.float32]:
        """The same as a dense (H, h) matrix."""
        dense = np.zeros((len(self.first), self.coarse), np.float32)
        rows = np.arange(len(self.first))
        dense[rows, self.first] += self.weights[:, 0]
        np.add.at(dense, (rows, self.second()), self.weights[:, 1])
        return dense

    def second(self) -> NDArray[np.int64]:
        """(H,) index of the second tap, kept inside."""
        return np.minimum(self.first + 1, self.coarse - 1)

    def is_identity(self) -> bool:
        """Each output is the cell of the same index."""
        length = len(self.first)
        if length != self.coarse:
            return False
        at_second = self.first + 1 == np.arange(length)
        weight = np.where(at_second, self.weights[:, 1], self.weights[:, 0])
        other = np.where(at_second, self.weights[:, 0], self.weights[:, 1])
        near = at_second | (self.first == np.arange(length))
        return bool(near.all() and (weight == 1).all() and (other == 0).all())


def deconvolution_taps(coarse: int, length: int, factor: int, offset: int, kernel: int) -> Taps:
    """The taps of a bilinear transposed convolution of stride `factor`, cropped at `offset`.

    It leads from `coarse` cells to `length` outputs. The kernel is FCN's: f = (kernel + 1)//2, center f − 1 (odd) or
    f − 0.5 (even), 1 − |j − center|/f. At most 2·factor long, it meets an output from two cells: the last that starts
    at or before it, and the one before that.
    """
    f = (kernel + 1) // 2
    center = f - 1 if kernel % 2 else f - 0.5
    place = np.arange(length) + offset
    first = np.clip(place // factor - 1, 0, max(coarse - 2, 0))
    cells = np.stack([first, first + 1], 1)
    tap = place[:, None] - factor * cells
    weights = np.where((tap >= 0) & (tap < kernel) & (cells < coarse), 1 - np.abs(tap - center) / f, 0.0)
    return Taps(coarse, first, weights.astype(np.float32))


class Resampling:
    """A linear map (N, K, h, w) → (N, K, H, W) with two taps per axis; see the module for the conventions.

    Each maker takes `coarse`, the (h, w) of the scores, and `image`, the (H, W) of the picture; `rows` and `columns`
    are the taps of both axes.

    >>> Resampling.align_corners((2, 2), (3, 3)).apply(torch.tensor([[[[0., 2.], [4., 6.]]]]))[0, 0]
    tensor([[0., 1., 2.],
            [2., 3., 4.],
            [4., 5., 6.]])
    """

    def __init__(self, rows: Taps, columns: Taps) -> None:
        self.rows = rows
        self.columns = columns

    @property
    def coarse_size(self) -> Size:
        """(h, w) of the scores it takes."""
        return self.rows.coarse, self.columns.coarse

    @property
    def image_size(self) -> Size:
        """(H, W) of what it gives."""
        return len(self.rows.first), len(self.columns.first)

    @property
    def is_identity(self) -> bool:
        """It changes nothing."""
        return self.rows.is_identity() and self.columns.is_identity()

    @classmethod
    def identity(cls, size: Size) -> Self:
        """The network ends at the picture's own size."""
        if torch.compiler.is_exporting():
            return cast(Self, resample_graph.identity(size))
        return cls.align_corners(size, size)

    @classmethod
    def half_pixel(cls, coarse: Size, image: Size) -> Self:
        """Torch's bilinear with align_corners=False: cells are areas, edges are clamped."""
        if torch.compiler.is_exporting():
            return cls.in_graph(coarse, image, lambda i, h, n: ((2 * i + 1) * h - n, 2 * n))
        _check(coarse, image)
        return cls(*(Taps.at((np.arange(n) + 0.5) * h / n - 0.5, h) for h, n in zip(coarse, image, strict=True)))

    @classmethod
    def align_corners(cls, coarse: Size, image: Size) -> Self:
        """Caffe's Interp: the corner cells are the corner pixels."""
        if torch.compiler.is_exporting():
            return cls.in_graph(coarse, image, lambda i, h, n: (i * (h - 1), resample_graph.larger(n - 1, 1)))
        _check(coarse, image)
        return cls(
            *(
                Taps.at(np.arange(n) * ((h - 1) / (n - 1) if n > 1 else 0.0), h)
                for h, n in zip(coarse, image, strict=True)
            )
        )

    @classmethod
    def zoom(cls, coarse: Size, image: Size, *, factor: int, offset: int = 0) -> Self:
        """Align-corners to (h − 1)·factor + 1, then cropped (or its last cell repeated) to the picture.

        Args:
            offset: first row and column that the crop keeps; negative where cell 0 lies that far inside the picture.
        """
        if torch.compiler.is_exporting():
            return cls.in_graph(coarse, image, lambda i, h, n: (i + offset, factor))
        _check(coarse, image)
        return cls(*(Taps.at((np.arange(n) + offset) / factor, h) for h, n in zip(coarse, image, strict=True)))

    @classmethod
    def blocks(cls, coarse: Size, image: Size, *, factor: int) -> Self:
        """Half-pixel to h·factor, then cropped (or its last cell repeated) to the picture.

        Cell j is the middle of the pixels factor·j … factor·(j + 1) − 1, as after 2 × 2 pools of stride 2.
        """
        if torch.compiler.is_exporting():
            return cls.in_graph(coarse, image, lambda i, h, n: (2 * i + 1 - factor, 2 * factor))
        _check(coarse, image)
        return cls(*(Taps.at((np.arange(n) + 0.5) / factor - 0.5, h) for h, n in zip(coarse, image, strict=True)))

    @classmethod
    def deconvolution(cls, coarse: Size, image: Size, *, factor: int, offset: int, kernel: int | None = None) -> Self:
        """FCN's fixed bilinear transposed convolution, cropped at `offset` rows and columns.

        Args:
            factor: stride of the deconvolution.
            offset: first row and column that the crop keeps.
            kernel: its size; 2·factor if left out (AlexNet's is 63 for 32).

        Raises:
            ShapeError: the deconvolution does not reach over the picture.
        """
        size = kernel or 2 * factor
        if torch.compiler.is_exporting():
            taps = [
                resample_graph.deconvolution_taps(h, n, factor, offset, size)
                for h, n in zip(coarse, image, strict=True)
            ]
            return cast(Self, resample_graph.GraphResampling(taps, coarse, image))
        _check(coarse, image)
        for h, n in zip(coarse, image, strict=True):
            if (h - 1) * factor + size < n + offset:
                raise ShapeError(
                    f"a deconvolution of {h} cells by {factor} gives {(h - 1) * factor + size} pixels, "
                    f"too few for a crop of {n} at offset {offset}"
                )
        return cls(*(deconvolution_taps(h, n, factor, offset, size) for h, n in zip(coarse, image, strict=True)))

    @classmethod
    def in_graph(cls, coarse: Size, image: Size, at: resample_graph.Places | Sequence[resample_graph.Places]) -> Self:
        """Linear interpolation in a graph that is being exported, see `pixelwise.layers.resample_graph`.

        Args:
            at: from (outputs i, h, n) their coordinates, as numerators and their denominator; or one for each axis.
        """
        return cast(Self, resample_graph.linear(coarse, image, at))  # with the same methods

    def band(self, rows: slice) -> tuple[slice, "Resampling"]:
        """What some rows of the picture need: rows of the scores, and the resampling of those to these."""
        taps = self.rows
        top, bottom = int(taps.first[rows].min()), int(taps.second()[rows].max()) + 1
        needed = Taps(bottom - top, taps.first[rows] - top, taps.weights[rows])
        return slice(top, bottom), Resampling(needed, self.columns)

    def apply(self, scores: Tensor) -> Tensor:
        """Scores (N, K, h, w) at the picture's size (N, K, H, W), float32; the same bits at every call.

        Scores in double precision stay in it.

        The backward pass is the transposed map as a matrix product, so it is deterministic on every device.
        """
        self._check_scores(scores)
        if self.is_identity:
            return _precise(scores)
        resampled: Tensor = _Apply.apply(_precise(scores), self)  # type: ignore[no-untyped-call]  # untyped in torch
        return resampled

    def argmax(self, scores: Tensor) -> Tensor:
        """The class of the largest resampled score, (N, H, W) uint8, or int32 with more than 255 classes.

        The first of equal scores wins. On a CPU one fused pass in row bands; elsewhere a running maximum over the
        classes. Neither makes the full-size scores.
        """
        self._check_scores(scores)
        n, k = scores.shape[:2]
        dtype = torch.uint8 if k <= 255 else torch.int32
        if scores.device.type == "cpu":
            from pixelwise.layers import resample_kernels as kernels

            labels = np.empty((n, *self.image_size), np.uint8 if k <= 255 else np.int32)
            for scores_n, labels_n in zip(_channels_first(scores), labels, strict=True):
                kernels.argmax(scores_n, self._arrays(), labels_n, torch.get_num_threads())
            return torch.from_numpy(labels)
        return self._running_argmax(scores).to(dtype)

    def count(self, scores: Tensor, target: Tensor, matrix: Any) -> None:
        """Count argmax of scores (N, K, h, w) against a target (N, H, W) into a matrix, a `ConfusionMatrix`."""
        for index in range(scores.shape[0]):
            matrix.update(self.argmax(scores[index : index + 1])[0].cpu().numpy(), target[index].cpu().numpy())

    def _running_argmax(self, scores: Tensor) -> Tensor:
        best = self.apply(scores[:, :1])[:, 0]
        labels = torch.zeros_like(best, dtype=torch.int32)
        for k in range(1, scores.shape[1]):
            candidate = self.apply(scores[:, k : k + 1])[:, 0]
            labels = torch.where(candidate > best, k, labels)
            best = torch.maximum(best, candidate)
        return labels

    def _arrays(self) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.int64], NDArray[np.float32]]:
        return self.rows.first, self.rows.weights, self.columns.first, self.columns.weights

    def _check_scores(self, scores: Tensor) -> None:
        if scores.ndim != 4 or tuple(scores.shape[-2:]) != self.coarse_size:
            raise ShapeError(
                f"this resampling takes scores (N, K, {self.coarse_size[0]}, {self.coarse_size[1]}), "
                f"got {tuple(scores.shape)}"
            )


class _Apply(torch.autograd.Function):
    """Two gathers and two lerps forward; the dense transposes backward."""

    @staticmethod
    def forward(ctx: Any, scores: Tensor, resampling: Resampling) -> Tensor:
        ctx.resampling = resampling
        return _lerp(_lerp(scores, resampling.columns, -1), resampling.rows, -2)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (gradient,) = gradients
        rows, columns = (
            torch.from_numpy(taps.matrix()).to(gradient) for taps in (ctx.resampling.rows, ctx.resampling.columns)
        )
        with torch.autocast(gradient.device.type, enabled=False):
            return torch.matmul(torch.matmul(rows.T, gradient), columns), None


def _precise(scores: Tensor) -> Tensor:
    return scores if scores.dtype == torch.float64 else scores.float()


def _lerp(values: Tensor, taps: Taps, axis: int) -> Tensor:
    first = torch.from_numpy(taps.first).to(values.device)
    second = torch.from_numpy(taps.second()).to(values.device)
    weights = torch.from_numpy(taps.weights).to(values.device)
    shape = [1] * values.ndim
    shape[axis] = -1
    left = values.index_select(axis, first) * weights[:, 0].reshape(shape)
    return left + values.index_select(axis, second) * weights[:, 1].reshape(shape)


def _channels_first(scores: Tensor) -> NDArray[np.float32]:
    array: NDArray[np.float32] = scores.detach().float().contiguous().numpy()
    return array


def _check(coarse: Size, image: Size) -> None:
    if min(*coarse, *image) < 1:
        raise ShapeError(f"sizes must be at least 1 × 1, got scores {coarse} for an image {image}")
