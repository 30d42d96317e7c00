"""A classifier as a segmenter: made convolutional, slid over the picture, its scores spread over the pixels.

Long, Shelhamer, Darrell: Fully Convolutional Networks for Semantic Segmentation, CVPR 2015 (arXiv 1411.4038), §3.1,
Figure 2: the fully connected layers become convolutions, and the classifier gives a heat map. Nothing here has seen a
label of a pixel: a cell's scores are those of a whole window, so the maps are coarse and say where a class is, not
where it ends.

Pictures are mirrored at the bottom and the right, up to one window, and then until the last window reaches their end;
nothing is added on the other sides. Windows that would reach further, which networks with borders give at a lower
output stride, are left out. Cell (i, j) is the window whose first pixel is (i·stride, j·stride), and its place
is the middle of that window. Between these the scores are interpolated linearly; outside the outermost ones each pixel
takes the nearest cell. `shrink` averages blocks of pixels first, so that large pictures show their objects at the size
that the classifier knows; a window and a stride are then `shrink` times as large.

**Differences:** the figure's map has no upsampling; the paper's own networks are in `pixelwise.models.fcn`. Where the
classifier pads inside, a window's scores are not quite those of the same pixels cut out (`convolutionalize` says why).
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from pixelwise.backbones import CLASSIFIERS
from pixelwise.errors import BadOption, ShapeError, unknown_name
from pixelwise.layers.channels import check_count
from pixelwise.layers.head import Head, full_size
from pixelwise.layers.mirror import mirror_to_at_least
from pixelwise.layers.resample import Resampling, Taps
from pixelwise.surgery.convolutional import convolutionalize
from pixelwise.surgery.dilation import set_output_stride
from pixelwise.surgery.graph import FAR

Size = tuple[int, int]

TILE = 1024  # shrunk pixels


class ConvolutionalClassifier(nn.Module):
    """A classifier slid over the picture: (N, C, H, W) → (N, K, H, W) logits.

    Args:
        network: a classifier made convolutional, (N, C, h, w) → a map (N, K, h', w'), from `input_size` up.
        input_size: (height, width) of its window.
        in_channels: C.
        shrink: pictures are averaged over shrink × shrink pixels first.

    Attributes:
        stride: (down, right), shrunk pixels from a window to the next.
        tiling: for pictures too large to go through whole: the side of a tile, its margin, and what its first row and
            column are multiples of, in pixels; with these the tiles' windows are those of the whole picture.

    Raises:
        ShapeError: the network gives no map at `input_size`.
    """

    def __init__(self, network: nn.Module, input_size: Size, *, in_channels: int = 3, shrink: int = 1) -> None:
        super().__init__()
        self.network = network
        self.input_size = input_size
        self.shrink = shrink
        self.stride = _stride(network, input_size, in_channels)
        step = math.lcm(*self.stride)
        margin = max(input_size) // 2 + 1 + max(self.stride)
        self.tiling = (shrink * max(TILE, 4 * margin), shrink * margin, shrink * step)

    def heads(self, images: Tensor) -> dict[str, Head]:
        """The scores of each window, and how they lie on the picture: the middles of windows."""
        pictures = images
        if self.shrink > 1:
            pictures = functional.avg_pool2d(pictures, self.shrink, ceil_mode=True)  # the rest of a block alone
        rows, columns = (
            1 + math.ceil(max(0, side - window) / stride)
            for side, window, stride in zip(pictures.shape[-2:], self.input_size, self.stride, strict=True)
        )
        height, width = (
            window + (cells - 1) * stride
            for window, cells, stride in zip(self.input_size, (rows, columns), self.stride, strict=True)
        )
        scores = self.network(mirror_to_at_least(pictures, (height, width)))[:, :, :rows, :columns]
        axes = zip(images.shape[-2:], scores.shape[-2:], self.input_size, self.stride, strict=True)
        return {"logits": Head(scores, Resampling(*(self._taps(*axis) for axis in axes)))}

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) → (N, K, H, W) float32 logits, for every H and W from 1 up."""
        return full_size(self.heads(images))

    def _taps(self, pixels: int, cells: int, window: int, stride: int) -> Taps:
        """Cell i is the middle of the pixels shrink·stride·i … shrink·(stride·i + window) − 1."""
        first = (self.shrink * window - 1) / 2
        return Taps.at((np.arange(pixels) - first) / (self.shrink * stride), cells)


def convolutional_classifier(
    *,
    classifier: str,
    input_size: int | Sequence[int],
    num_classes: int,
    in_channels: int = 3,
    width: float = 1.0,
    shrink: int = 1,
    output_stride: int | None = None,
    **options: Any,
) -> ConvolutionalClassifier:
    """One of `pixelwise.backbones.CLASSIFIERS`, made convolutional.

    Args:
        classifier: its name there.
        input_size: the side of its square window, or (height, width), in pixels after shrinking.
        width: times the published channels.
        shrink: pictures are averaged over shrink × shrink pixels first.
        output_stride: of the map, in pixels after shrinking; less than the classifier's own gives more windows with
            the same weights (`set_output_stride`, "exact").
        options: what else the classifier's builder takes.

    Raises:
        UnknownName: there is no such classifier.
        BadOption: a number that no network can have, or an option that the classifier does not take.
        ShapeError: the classifier does not take pictures of this size.
    """
    if classifier not in CLASSIFIERS:
        raise unknown_name("classifier", classifier, CLASSIFIERS)
    check_count("shrink", shrink)
    size = _checked_size(input_size)
    try:
        whole = CLASSIFIERS[classifier](num_classes=num_classes, in_channels=in_channels, width=width, **options)
    except BadOption:
        raise
    except TypeError as error:
        raise BadOption(f"{classifier}: {error}") from None
    network: nn.Module = convolutionalize(whole, size, in_channels=in_channels)
    if output_stride is not None:
        network = set_output_stride(network, output_stride, size=size, in_channels=in_channels)
    return ConvolutionalClassifier(network, size, in_channels=in_channels, shrink=shrink)


def _checked_size(input_size: int | Sequence[int]) -> Size:
    sides = [input_size, input_size] if isinstance(input_size, int) else input_size
    if not isinstance(sides, Sequence) or len(sides) != 2 or any(type(side) is not int or side < 1 for side in sides):
        raise BadOption(
            f"input_size must be a whole number from 1 up, or two of them, height and width; got {input_size!r}"
        )
    height, width = sides
    return height, width


def _stride(network: nn.Module, window: Size, in_channels: int) -> Size:
    """Pixels from a cell of the network's map to the next, (down, right), counted on the meta device."""
    state = {name: t.to("meta") for name, t in [*network.named_parameters(), *network.named_buffers()]}

    def cells(more: int) -> tuple[int, ...]:
        # two pictures, since some batch norms refuse a single value
        pictures = torch.empty(2, in_channels, window[0] + more, window[1] + more, device="meta")
        with torch.no_grad():
            return tuple(torch.func.functional_call(network, state, (pictures,)).shape)

    one = cells(0)
    if len(one) != 4:
        raise ShapeError(
            f"a classifier made convolutional gives a map (N, K, h, w) of its window of {window[0]} × {window[1]}, got "
            f"(N, {', '.join(str(n) for n in one[1:])}); make it with pixelwise.surgery.convolutionalize"
        )
    down, right = (round(FAR / (far - near)) for far, near in zip(cells(FAR)[2:], one[2:], strict=True))
    return down, right
