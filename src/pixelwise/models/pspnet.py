"""PSPNet: a pyramid of averages over the whole picture, on a dilated ResNet.

Zhao, Shi, Qi, Wang, Jia: Pyramid Scene Parsing Network, CVPR 2017 (arXiv 1612.01105), Figure 3, §3.2. Reference code:
hszhao/PSPNet (`pspnet50_ADE20K_473.prototxt`, `pspnet101_VOC2012_473.prototxt`, `pspnet101_cityscapes_713.prototxt`),
whose names stand here, and hszhao/semseg (PyTorch, by the same author).

ResNet flavor: deep stem; the stride stands in the 1 × 1 in PSPNet-50 and in the 3 × 3 in PSPNet-101, as in the
prototxts. Output stride 8, all of layer3 dilated by 2 and all of layer4 by 4 (`first_unit="dilated"`). Pictures are
BGR, 0–255, less 103.939, 116.779, 123.68. Nothing is frozen in training.

**Differences:**
- from the prototxts: the bins are those of adaptive pooling, for a map of any size; they are the same as the fixed
  kernels at the crops of the release, 473 (a map of 60) and 713 (90). The pool of the stem rounds down, Caffe's up;
  they are the same at sizes 8k + 1. At other sizes the last upsampling is the same zoom by 8, cropped.
- batch norms have momentum 0.1; Caffe's 0.95 (0.05 in torch's sense) belongs to the recipe.
- the deploy files have no auxiliary branch; `auxiliary=True` adds semseg's, for training alone, whose loss the paper
  weighs 0.4.
- from semseg: it has the stride in the 3 × 3 in all depths, drops whole maps, and concatenates bins 1, 2, 3, 6 where
  the prototxts, and this file, have 6, 3, 2, 1. `stride_in="3x3"` gives its PSPNet-50; its weights fit once the input
  channels of `conv5_4` are permuted (`pixelwise.weights.port_formats`), or with `bins=(6, 3, 2, 1)`.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from pixelwise.backbones.resnet import ResNet, StrideIn, resnet50, resnet101
from pixelwise.errors import BadOption
from pixelwise.layers.channels import check_channels, check_counts, scaled
from pixelwise.layers.conv import conv_bn_relu
from pixelwise.layers.head import Head, full_size
from pixelwise.layers.initialization import he_initialize
from pixelwise.layers.resample import Resampling
from pixelwise.models.paper import Paper
from pixelwise.surgery.dilation import set_output_stride

PAPER = Paper("Zhao, Shi, Qi, Wang, Jia", "Pyramid Scene Parsing Network", 2017, "arXiv 1612.01105")

Pooling = Literal["average", "max"]


class PSPNet(nn.Module):
    """Backbone, pyramid pooling, classifier: (N, C, H, W) → (N, K, H, W) logits (Figure 3).

    Args:
        backbone: already dilated to output stride 8.
        channels: of `conv5_4`; 512 in the paper.
        auxiliary: gives scores from the maps of layer3, in training mode alone.
    """

    def __init__(
        self,
        backbone: ResNet,
        pyramid_pooling: "PyramidPooling",
        *,
        channels: int,
        num_classes: int,
        auxiliary: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.pyramid_pooling = pyramid_pooling
        self.conv5_4 = nn.Sequential(*conv_bn_relu(pyramid_pooling.channels, channels, 3), nn.Dropout(0.1))
        self.conv6 = nn.Conv2d(channels, num_classes, 1)
        self.auxiliary = auxiliary
        he_initialize(self)  # the prototxts' "msra" filler, of the backbone, too

    def heads(self, images: Tensor) -> dict[str, Head]:
        """The prediction on the grid of 1/8, and in training "auxiliary" on the same, where it was built."""
        features = self.backbone(images)
        scores = self.conv6(self.conv5_4(self.pyramid_pooling(features.res5)))
        height, width = images.shape[-2:]
        conv6_interp = Resampling.zoom((scores.shape[-2], scores.shape[-1]), (height, width), factor=8)
        heads = {"logits": Head(scores, conv6_interp)}
        if self.training and self.auxiliary is not None:
            heads["auxiliary"] = Head(self.auxiliary(features.res4), conv6_interp)
        return heads

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) → (N, K, H, W) float32 logits, for every H and W from 1 up."""
        return full_size(self.heads(images))


class PyramidPooling(nn.Module):
    """A map, and beside it itself pooled to b × b bins for each b: (N, C, h, w) → (N, 2·C, h, w).

    Each of n levels is reduced to C/n channels and stretched to the map's size, corners to corners.

    Args:
        bins: per side, of each level; concatenated in reverse, as in the prototxts.
        pooling: of a bin.
    """

    def __init__(self, in_channels: int, bins: Sequence[int], pooling: Pooling = "average") -> None:
        super().__init__()
        self.pool = average_bins if pooling == "average" else max_bins
        self.bins = tuple(reversed(bins))
        reduced = max(1, in_channels // max(1, len(bins)))
        self.levels = nn.ModuleDict(
            {f"pool{number}": nn.Sequential(*conv_bn_relu(in_channels, reduced, 1)) for number in self.bins}
        )
        self.channels = in_channels + reduced * len(bins)

    def forward(self, features: Tensor) -> Tensor:
        """The concatenation [map, bins 6, 3, 2, 1]."""
        height, width = features.shape[-2:]
        maps, plain = [features], features.contiguous()  # matrix products copy channels-last maps one by one
        for number, level in zip(self.bins, self.levels.values(), strict=True):
            interp = Resampling.align_corners((number, number), (height, width))
            maps.append(interp.apply(level(self.pool(plain, number))).to(features.dtype))
        return torch.cat(maps, 1)


def average_bins(values: Tensor, number: int) -> Tensor:
    """The means over number × number bins: (N, C, h, w) → (N, C, number, number).

    What `torch.nn.functional.adaptive_avg_pool2d` gives, whose gradient is not deterministic on a GPU; that of two
    matrix products is.
    """
    rows, columns = (_bins(size, number).to(values) for size in values.shape[-2:])
    # counts are whole numbers in every precision, where 1/60 in bfloat16 is off by half a percent
    return rows @ (values @ columns.T) / (rows.sum(1)[:, None] * columns.sum(1))


def max_bins(values: Tensor, number: int) -> Tensor:
    """The maxima over number × number bins: (N, C, h, w) → (N, C, number, number)."""
    for axis in (-1, -2):
        maxima = [
            values.narrow(axis, start, stop - start).amax(axis, keepdim=True)
            for start, stop in bin_edges(values.shape[axis], number)
        ]
        values = torch.cat(maxima, axis)
    return values


def bin_edges(size: int, number: int) -> list[tuple[int, int]]:
    """Where each bin of a side of `size` starts and stops; bins overlap where the size is no multiple of the number.

    >>> bin_edges(60, 3), bin_edges(5, 2)
    ([(0, 20), (20, 40), (40, 60)], [(0, 3), (2, 5)])
    """
    return [(i * size // number, -(-(i + 1) * size // number)) for i in range(number)]


def _bins(size: int, number: int) -> Tensor:
    """The (number, size) matrix of ones where a bin has a cell."""
    bins, cells = torch.arange(number, device="cpu")[:, None], torch.arange(size, device="cpu")
    starts = torch.div(bins * size, number, rounding_mode="floor")
    stops = torch.div((bins + 1) * size + number - 1, number, rounding_mode="floor")  # as `bin_edges`
    return ((starts <= cells) & (cells < stops)).float()


def auxiliary_head(in_channels: int, channels: int, num_classes: int) -> nn.Sequential:
    """Scores from the maps of layer3, (N, C, h, w) → (N, K, h, w), in semseg's form."""
    classifier = nn.Conv2d(channels, num_classes, 1)
    return nn.Sequential(*conv_bn_relu(in_channels, channels, 3), nn.Dropout2d(0.1), classifier)


def pspnet_resnet50(
    *,
    num_classes: int,
    in_channels: int = 3,
    width: float = 1.0,
    auxiliary: bool = False,
    bins: Sequence[int] = (1, 2, 3, 6),
    pooling: Pooling = "average",
    stride_in: StrideIn = "1x1",
) -> PSPNet:
    """PSPNet-50; 46 716 373 parameters for 21 classes, 46 782 550 for 150. Options as for `pspnet_resnet101`.

    Args:
        stride_in: "1x1" as in the prototxt; "3x3" for weights of semseg, which has it there in all depths.
    """
    check_channels(num_classes=num_classes, in_channels=in_channels, width=width)
    backbone = resnet50(in_channels=in_channels, width=width, stride_in=stride_in, deep_stem=True)
    return _pspnet(backbone, num_classes, width, auxiliary, bins, pooling)


def pspnet_resnet101(
    *,
    num_classes: int,
    in_channels: int = 3,
    width: float = 1.0,
    auxiliary: bool = False,
    bins: Sequence[int] = (1, 2, 3, 6),
    pooling: Pooling = "average",
) -> PSPNet:
    """PSPNet-101; 65 708 501 parameters for 21 classes, 65 707 475 for 19.

    Args:
        width: times the published channels, of the backbone and of the head.
        auxiliary: train with a second classifier on layer3; 2 365 205 parameters more for 21 classes.
        bins: of the pyramid, per side; (1,) is the paper's global pooling, () its dilated baseline.
        pooling: "average", or the "max" that the paper compares it with.

    Raises:
        BadOption: a number that no network can have.
    """
    check_channels(num_classes=num_classes, in_channels=in_channels, width=width)
    backbone = resnet101(in_channels=in_channels, width=width, stride_in="3x3", deep_stem=True)
    return _pspnet(backbone, num_classes, width, auxiliary, bins, pooling)


def _pspnet(
    backbone: ResNet, num_classes: int, width: float, auxiliary: bool, bins: Sequence[int], pooling: Pooling
) -> PSPNet:
    check_counts("bins", bins)
    if len(set(bins)) < len(bins):
        raise BadOption(f"the bins of a pyramid differ, got {tuple(bins)}")
    if pooling not in ("average", "max"):
        raise BadOption(f'pooling must be "average" or "max", got {pooling!r}')
    channels = backbone.channels
    return PSPNet(
        set_output_stride(backbone, 8, first_unit="dilated"),
        PyramidPooling(channels.res5, bins, pooling),
        channels=scaled(512, width),
        num_classes=num_classes,
        auxiliary=auxiliary_head(channels.res4, scaled(256, width), num_classes) if auxiliary else None,
    )
