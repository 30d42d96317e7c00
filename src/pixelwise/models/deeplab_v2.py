"""DeepLab v2: atrous spatial pyramid pooling as a sum of scores, on VGG-16 and on ResNet-101, at up to three scales.

Chen, Papandreou, Kokkinos, Murphy, Yuille: DeepLab: Semantic Image Segmentation with Deep Convolutional Nets, Atrous
Convolution, and Fully Connected CRFs, 2016 (arXiv 1606.00915; PAMI 2018), Figures 4 and 7, §3.1–3.2, Tables 3 and 4.
Reference code: the authors' Caffe files, whose names stand here: the ResNet's test file as two ports keep it, VGG's as
another port's generator writes them. Pictures are BGR, 0–255 minus the mean 104.008, 116.669, 122.675.

| network                         | branches                          | parameters, 21 classes |
| ------------------------------- | --------------------------------- | ---------------------- |
| `deeplab_v2_vgg16_largefov`     | fc6 at rate 12, fc7, fc8_voc12    | 20 505 429             |
| `deeplab_v2_vgg16_aspp_s`       | four of them, rates 2, 4, 8, 12   | 37 877 652             |
| `deeplab_v2_vgg16_aspp_l`       | four of them, rates 6, 12, 18, 24 | 37 877 652             |
| `deeplab_v2_resnet101_largefov` | fc1_voc12 at rate 12              | 42 887 253             |
| `deeplab_v2_resnet101_aspp`     | four of them, rates 6, 12, 18, 24 | 44 048 532             |

VGG-16 is DeepLab v1's with pools of 3 × 3 (`models/deeplab_v1.py`), and pool5a in LargeFOV alone, which is v1's
network under another name.

ResNet flavor: the first release's ("v1", stride in the 1 × 1, 7 × 7 stem whose pool rounds up), at output stride 8
with `first_unit="exact"`; as the stride stands before the 3 × 3, that is dilation 2 in all units of res4 (`layer3`
here) and 4 in all of res5 (`layer4`). 105 344 of the parameters are scales and shifts of batch norms, which the recipe
freezes together with their statistics; with ASPP, 43 943 188 are left to learn.

`multi_scale=True` runs the same weights on the picture at 1, 0.75 and 0.5, as the released test file of the ResNet
does, and takes the largest of the three scores at each cell; each scale is a head of its own, for the losses. The
names of the weights stay the same, so one file serves both.

Cell j of the scores lies at pixel 8j of its picture; the last upsampling is bilinear between cells, which is Caffe's
Interp with zoom 8 on sizes 8k + 1. What the recipe does: the score layers learn ten times as fast; a loss at each scale
and one after fusion, against labels at pixels 0, 8, 16, ….

**Differences:**
- from the files: they pad every picture to 321 for training and to 513 for testing, with the mean. Here a picture keeps
  its size, and the grid ends behind its last pixel.
- the smaller pictures have Interp's lengths at every size, 3·⌊(n − 1)/4⌋ + 1 and ⌊(n − 1)/2⌋ + 1; their scores meet the
  grid of the first as Interp's zooms do on sizes 32k + 1 (321, 513), and on others, which Interp cannot bring together,
  at the pixels where the cells lie.
- whether v2's VGG LargeFOV keeps pool5a as v1's does, and whether the score layers of VGG's ASPP start at a Gaussian of
  deviation 0.01 as the ResNet's do, is UNVERIFIED; so is the name of the score layer in the ResNet's LargeFOV, which
  is only in the paper, and whether the loss at 0.75 is taken on its own grid or on that of the first.
- a new network's fc6 and fc7 start at He's initialization, its ResNet at torchvision's (fan-out), where the paper
  starts from weights of ImageNet.
- this ASPP is a sum of scores; DeepLab v3's, of the same name, concatenates features.
"""

from collections import OrderedDict
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from pixelwise.backbones.resnet import ResNet, resnet101
from pixelwise.layers.channels import check_channels, scaled
from pixelwise.layers.head import Head, full_size
from pixelwise.layers.resample import Resampling, Size, Taps
from pixelwise.layers.resample_graph import larger
from pixelwise.models.deeplab_v1 import DeepLabVGG16, FullyConnected, gaussian
from pixelwise.models.paper import Paper
from pixelwise.surgery.dilation import set_output_stride

PAPER = Paper(
    "Chen, Papandreou, Kokkinos, Murphy, Yuille",
    "DeepLab: Semantic Image Segmentation with Deep Convolutional Nets, Atrous Convolution, and Fully Connected CRFs",
    2016,
    "arXiv 1606.00915",
)
OUTPUT_STRIDE = 8
SMALLER = {"scale_0.75": (4, 3), "scale_0.5": (2, 1)}  # Interp's shrink, then zoom


class DeepLabV2(nn.Module):
    """Backbone and pyramid, on one or three scales: (N, C, H, W) → (N, K, H, W) logits (Figures 4 and 7).

    Args:
        backbone: at 1/8; the last of its maps is read.
        aspp: gives scores.
        multi_scale: three scales, fused by their maximum.
    """

    def __init__(self, backbone: DeepLabVGG16 | ResNet, aspp: "ASPP", *, multi_scale: bool = False) -> None:
        super().__init__()
        self.backbone = backbone
        self.aspp = aspp
        self.multi_scale = multi_scale

    def heads(self, images: Tensor) -> dict[str, Head]:
        """One head at 1/8; with three scales the fused one, then each on its own grid."""
        picture = _size(images)
        scores = self.scores(images)
        zoom = Resampling.zoom(_size(scores), picture, factor=OUTPUT_STRIDE)
        if not self.multi_scale:
            return {"logits": Head(scores, zoom)}
        fused, scales = scores, {"scale_1": Head(scores, zoom)}
        for name, scale in SMALLER.items():
            size = (interp(picture[0], *scale), interp(picture[1], *scale))
            scores = self.scores(Resampling.align_corners(picture, size).apply(images).to(images.dtype))
            fused = torch.maximum(fused, from_scale(scores, size, picture, to=_size(fused)).apply(scores))
            scales[name] = Head(scores, from_scale(scores, size, picture))
        return {"logits": Head(fused, zoom), **scales}

    def scores(self, images: Tensor) -> Tensor:
        """(N, C, H, W) → (N, K, h, w) at 1/8."""
        scores: Tensor = self.aspp(self.backbone(images)[-1])
        return scores

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) → (N, K, H, W) float32 logits, for every H and W from 1 up."""
        return full_size(self.heads(images))


class ASPP(nn.ModuleDict):
    """Branches of different rates side by side, their scores added: (N, C, h, w) → (N, K, h, w); LargeFOV has one."""

    def forward(self, features: Tensor) -> Tensor:
        """The sum."""
        first, *others = self.values()
        scores: Tensor = first(features)
        for branch in others:
            scores = scores + branch(features)
        return scores


def vgg_branch(in_channels: int, channels: int, num_classes: int, *, rate: int, suffix: str = "") -> nn.Sequential:
    """fc6, fc7 and fc8_voc12, their names with a suffix: (N, C, h, w) → (N, K, h, w) (Figure 7)."""
    layers = dict(FullyConnected(in_channels, channels, kernel=3, rate=rate).named_children())
    layers["fc8_voc12"] = gaussian(nn.Conv2d(channels, num_classes, 1), 0.01)
    return nn.Sequential(OrderedDict((name + suffix, layer) for name, layer in layers.items()))


def resnet_branch(in_channels: int, num_classes: int, *, rate: int) -> nn.Conv2d:
    """Scores from a dilated 3 × 3 alone: (N, C, h, w) → (N, K, h, w)."""
    return gaussian(nn.Conv2d(in_channels, num_classes, 3, padding=rate, dilation=rate), 0.01)


def interp(length: int, shrink: int, zoom: int) -> int:
    """The length that Caffe's Interp gives, which shrinks first.

    >>> interp(321, 4, 3), interp(513, 2, 1)
    (241, 257)
    """
    return ((length - 1) // shrink) * zoom + 1


def from_scale(scores: Tensor, size: Size, picture: Size, *, to: Size | None = None) -> Resampling:
    """From the grid of scores of a picture scaled to `size` to the picture's pixels, or to its own grid, of size `to`.

    Pixel i of n is pixel i·(m − 1)/(n − 1) of the m of the scaled picture, and in both pictures cell j is pixel 8j.
    """
    if torch.compiler.is_exporting():
        step = 1 if to is None else OUTPUT_STRIDE
        spans = [(larger(m - 1, 1), larger(n - 1, 1)) for m, n in zip(size, picture, strict=True)]
        at = [partial(_in_scale, step=step, spans=both) for both in spans]
        return Resampling.in_graph(_size(scores), picture if to is None else to, at)
    taps = []
    for axis, cells in enumerate(_size(scores)):
        places = np.arange(picture[axis]) if to is None else OUTPUT_STRIDE * np.arange(to[axis])
        ratio = (size[axis] - 1) / (picture[axis] - 1) if picture[axis] > 1 else 1.0
        taps.append(Taps.at(places * ratio / OUTPUT_STRIDE, cells))
    return Resampling(*taps)


def _in_scale(outputs: Tensor, cells: int, length: int, *, step: int, spans: tuple[int, int]) -> tuple[Tensor, int]:
    """The places of `from_scale` as fractions; spans are (m − 1, n − 1), and pixels are `step` apart."""
    return step * outputs * spans[0], OUTPUT_STRIDE * spans[1]


def _size(values: Tensor) -> Size:
    return values.shape[-2], values.shape[-1]


def deeplab_v2_vgg16_largefov(
    *, num_classes: int, in_channels: int = 3, width: float = 1.0, multi_scale: bool = False
) -> DeepLabV2:
    """DeepLab v2's LargeFOV on VGG-16, which is v1's; 20 505 429 parameters for 21 classes.

    Args:
        width: times the published channels.
        multi_scale: run on the picture at 1, 0.75 and 0.5, and fuse by the maximum.

    Raises:
        BadOption: a number that no network can have.
    """
    check_channels(num_classes=num_classes, in_channels=in_channels, width=width)
    backbone = DeepLabVGG16(in_channels=in_channels, width=width, pool5a=True)
    branch = vgg_branch(backbone.channels.pool5, scaled(1024, width), num_classes, rate=12)
    return DeepLabV2(backbone, ASPP({"largefov": branch}), multi_scale=multi_scale)


def deeplab_v2_vgg16_aspp_s(
    *, num_classes: int, in_channels: int = 3, width: float = 1.0, multi_scale: bool = False
) -> DeepLabV2:
    """DeepLab v2's ASPP-S on VGG-16, rates 2, 4, 8, 12; 37 877 652 parameters for 21 classes.

    Options as for `deeplab_v2_vgg16_largefov`.
    """
    return _vgg16_aspp(num_classes, in_channels, width, (2, 4, 8, 12), multi_scale)


def deeplab_v2_vgg16_aspp_l(
    *, num_classes: int, in_channels: int = 3, width: float = 1.0, multi_scale: bool = False
) -> DeepLabV2:
    """DeepLab v2's ASPP-L on VGG-16, rates 6, 12, 18, 24; 37 877 652 parameters for 21 classes.

    Options as for `deeplab_v2_vgg16_largefov`.
    """
    return _vgg16_aspp(num_classes, in_channels, width, (6, 12, 18, 24), multi_scale)


def deeplab_v2_resnet101_largefov(
    *, num_classes: int, in_channels: int = 3, width: float = 1.0, multi_scale: bool = False
) -> DeepLabV2:
    """DeepLab v2's LargeFOV on ResNet-101, one 3 × 3 at rate 12; 42 887 253 parameters for 21 classes.

    Options as for `deeplab_v2_vgg16_largefov`.
    """
    check_channels(num_classes=num_classes, in_channels=in_channels, width=width)
    backbone = _resnet101(in_channels, width)
    branch = resnet_branch(backbone.channels.res5, num_classes, rate=12)
    return DeepLabV2(backbone, ASPP({"fc1_voc12": branch}), multi_scale=multi_scale)


def deeplab_v2_resnet101_aspp(
    *, num_classes: int, in_channels: int = 3, width: float = 1.0, multi_scale: bool = False
) -> DeepLabV2:
    """DeepLab v2's ASPP on ResNet-101, rates 6, 12, 18, 24; 44 048 532 parameters for 21 classes.

    Options as for `deeplab_v2_vgg16_largefov`.
    """
    check_channels(num_classes=num_classes, in_channels=in_channels, width=width)
    backbone = _resnet101(in_channels, width)
    branches = {
        f"fc1_voc12_c{index}": resnet_branch(backbone.channels.res5, num_classes, rate=rate)
        for index, rate in enumerate((6, 12, 18, 24))
    }
    return DeepLabV2(backbone, ASPP(branches), multi_scale=multi_scale)


def _vgg16_aspp(
    num_classes: int, in_channels: int, width: float, rates: tuple[int, ...], multi_scale: bool
) -> DeepLabV2:
    check_channels(num_classes=num_classes, in_channels=in_channels, width=width)
    backbone = DeepLabVGG16(in_channels=in_channels, width=width)
    branches = {
        f"branch{index}": vgg_branch(
            backbone.channels.pool5, scaled(1024, width), num_classes, rate=rate, suffix=f"_{index}"
        )
        for index, rate in enumerate(rates, 1)
    }
    return DeepLabV2(backbone, ASPP(branches), multi_scale=multi_scale)


def _resnet101(in_channels: int, width: float) -> ResNet:
    backbone = resnet101(in_channels=in_channels, width=width, stride_in="1x1", stem_pool="padded_ceil")
    return set_output_stride(backbone, OUTPUT_STRIDE, first_unit="exact")
