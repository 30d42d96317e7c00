"""U-Net as printed, with unpadded convolutions, and padded with batch norm: the form that most people train today.

Ronneberger, Fischer, Brox: U-Net: Convolutional Networks for Biomedical Image Segmentation, MICCAI 2015
(arXiv 1505.04597), Figures 1 and 2, §2, §3. Reference code: the authors' Caffe release (`phseg_v5`), read through
ports; the padded form has no paper, the best known one is milesial/Pytorch-UNet.

**Differences** of both:
- the order in a concatenation is the release's: up-convolution, then skip (milesial's is the reverse).
- initialization is the paper's, Gaussian of deviation √(2/N), N the number of inputs of a unit; biases 0. The
  release's is Caffe's "xavier".

**Differences** of `unet_valid`:
- pictures are mirrored by the network itself, and its output is the picture's size: Figure 2's overlap-tile, on the
  whole picture at once. `valid` is the figure's network alone, 572 → 388. That mirroring takes the pixel centers of
  the edge as its axis, not the edge: UNVERIFIED.
- "drop-out at the end of the contracting path" (§3.1) has no rate and no place in the paper. It is the release's, and
  comes with `released=True`, as do its ReLU after each up-convolution and its last up-convolution, which keeps
  128 channels. The default is the figure.

**Differences** of `unet`:
- from the figure: 3 × 3 convolutions are padded by 1, have no bias and are batch-normalized, so the output has the
  input's size and nothing is cropped from the skips; no dropout.
- from the release: no ReLU after an up-convolution, and the last one halves its channels, both as in the figure.
- from the other padded U-Nets: pooling rounds up and the up-convolution is cropped to its skip, where they round down
  and pad it with zeros. Both are the same where the size is a multiple of 2^(depth − 1); on others no row is lost
  and no zeros are made up, and every size from 1 × 1 up is possible.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from pixelwise.errors import BadOption, ShapeError
from pixelwise.layers.channels import check_channels, check_count, scaled
from pixelwise.layers.conv import conv_bn_relu
from pixelwise.layers.crop import crop
from pixelwise.layers.head import Head, full_size
from pixelwise.layers.mirror import mirror_pad
from pixelwise.layers.resample import Resampling
from pixelwise.models.paper import Paper

PAPER = Paper(
    "Ronneberger, Fischer, Brox",
    "U-Net: Convolutional Networks for Biomedical Image Segmentation",
    2015,
    "arXiv 1505.04597",
)


class UNetValid(nn.Module):
    """A contracting and an expanding path, without padding: (N, C, H, W) → (N, K, H, W) logits (Figure 1).

    Args:
        channels: of each level from the picture's size down; 64, 128, 256, 512, 1024 in the figure.
        released: as the Caffe release, with ReLU after each up-convolution, dropout 0.5 after the two deepest levels
            of the contracting path, and a last up-convolution that keeps its channels.

    Attributes:
        stride: of the deepest level, 16 in the figure; tiles that start at its multiples fit together without a seam.
        context: how much smaller than the picture the output is on each side, 92 in the figure.
    """

    def __init__(self, in_channels: int, channels: Sequence[int], num_classes: int, *, released: bool = False) -> None:
        super().__init__()
        self.stride = 1 << (len(channels) - 1)
        self.context = 6 * self.stride - 4  # 2 pixels a level and path, times the level's stride
        ups = list(channels[:-1])
        if released and len(channels) > 1:
            ups[0] = channels[1]
        dropouts = [released and level >= len(channels) - 2 for level in range(len(channels))]
        self.encoder = nn.ModuleList(
            valid_convolutions(above, here, dropout=dropout)
            for above, here, dropout in zip((in_channels, *channels[:-1]), channels, dropouts, strict=True)
        )
        self.pool = nn.MaxPool2d(2)
        self.upconv = nn.ModuleList(
            up_convolution(below, up, relu=released) for below, up in zip(channels[1:], ups, strict=True)
        )
        self.decoder = nn.ModuleList(
            valid_convolutions(up + here, here) for up, here in zip(ups, channels[:-1], strict=True)
        )
        self.score = nn.Conv2d(channels[0], num_classes, 1)
        self.apply(_initialize)

    def heads(self, images: Tensor) -> dict[str, Head]:
        """One head on the picture's own grid: the picture is mirrored, at the bottom and right to a valid size."""
        height, width = images.shape[-2:]
        mirrored = mirror_pad(
            images,
            top=self.context,
            bottom=self.context + self._missing(height),
            left=self.context,
            right=self.context + self._missing(width),
        )
        scores = crop(self.valid(mirrored), (height, width))
        return {"logits": Head(scores, Resampling.identity((height, width)))}

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) → (N, K, H, W) float32 logits, for every H and W from 1 up."""
        return full_size(self.heads(images))

    def valid(self, images: Tensor) -> Tensor:
        """The figure alone, (N, C, H, W) → (N, K, H − 184, W − 184) logits of the picture's inner part.

        Raises:
            ShapeError: with H or W some pooled map would be odd, or nothing would be left.
        """
        for size in () if torch.compiler.is_exporting() else images.shape[-2:]:
            inner = size - 2 * self.context
            if inner < 1 or self._missing(inner):
                fits = max(inner, 1) + self._missing(max(inner, 1)) + 2 * self.context
                raise ShapeError(
                    f"without padding, a height or width of {size} does not fit a U-Net of {len(self.encoder)} levels; "
                    f"the next that does is {fits}, and each {self.stride} more"
                )
        skips: list[Tensor] = []
        values = images
        for level, convolutions in enumerate(self.encoder):
            if level:
                values = self.pool(values)  # 284, 140, 68, 32
            values = convolutions(values)  # 568, 280, 136, 64, 28
            skips.append(values)
        skips.pop()
        for upconv, convolutions in zip(reversed(self.upconv), reversed(self.decoder), strict=True):
            up = upconv(values)  # 56, 104, 200, 392
            values = convolutions(torch.cat((up, center(skips.pop(), like=up)), 1))  # 52, 100, 196, 388
        scores: Tensor = self.score(values)
        return scores

    def _missing(self, size: int) -> int:
        """How many rows the next possible output has more: 4, 20, 36, … of them are possible in the figure."""
        return (4 - size) % self.stride


class UNet(nn.Module):
    """A contracting and an expanding path: (N, C, H, W) → (N, K, H, W) logits (Figure 1, padded).

    Args:
        channels: of each level from the picture's size down; 64, 128, 256, 512, 1024 in the figure.
    """

    def __init__(self, in_channels: int, channels: Sequence[int], num_classes: int) -> None:
        super().__init__()
        self.encoder = nn.ModuleList(two_convolutions(i, o) for i, o in pairwise((in_channels, *channels)))
        self.pool = nn.MaxPool2d(2, ceil_mode=True)
        self.upconv = nn.ModuleList(nn.ConvTranspose2d(below, here, 2, stride=2) for here, below in pairwise(channels))
        self.decoder = nn.ModuleList(two_convolutions(2 * here, here) for here in channels[:-1])
        self.score = nn.Conv2d(channels[0], num_classes, 1)
        self.apply(_initialize)

    def heads(self, images: Tensor) -> dict[str, Head]:
        """One head on the picture's own grid."""
        skips: list[Tensor] = []
        values = images
        for level, convolutions in enumerate(self.encoder):
            if level:
                values = self.pool(values)  # (N, C, ⌈H/2⌉, ⌈W/2⌉)
            values = convolutions(values)  # (N, 2C, H, W) of this level
            skips.append(values)
        skips.pop()
        for upconv, convolutions in zip(reversed(self.upconv), reversed(self.decoder), strict=True):
            skip = skips.pop()
            up = crop(upconv(values), (skip.shape[-2], skip.shape[-1]))  # a view: only the concatenation copies
            values = convolutions(torch.cat((up, skip), 1))
        return {"logits": Head(self.score(values), Resampling.identity((images.shape[-2], images.shape[-1])))}

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) → (N, K, H, W) float32 logits, for every H and W from 1 up."""
        return full_size(self.heads(images))


def valid_convolutions(in_channels: int, out_channels: int, *, dropout: bool = False) -> nn.Sequential:
    """The figure's pair of unpadded 3 × 3 convolutions with ReLU: (N, C, H, W) → (N, C′, H − 4, W − 4)."""
    layers: list[nn.Module] = []
    for channels in (in_channels, out_channels):
        layers += [nn.Conv2d(channels, out_channels, 3), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers, nn.Dropout(0.5)) if dropout else nn.Sequential(*layers)


def up_convolution(in_channels: int, out_channels: int, *, relu: bool) -> nn.Sequential:
    """The figure's "up-conv 2 × 2": (N, C, H, W) → (N, C′, 2H, 2W)."""
    layer = nn.ConvTranspose2d(in_channels, out_channels, 2, stride=2)
    return nn.Sequential(layer, nn.ReLU(inplace=True)) if relu else nn.Sequential(layer)


def center(values: Tensor, *, like: Tensor) -> Tensor:
    """The middle rows and columns, as many as `like` has."""
    height, width = like.shape[-2:]
    top, left = (values.shape[-2] - height) // 2, (values.shape[-1] - width) // 2
    return crop(values, (height, width), start=(top, left))


def two_convolutions(in_channels: int, out_channels: int) -> nn.Sequential:
    """The pair of 3 × 3 convolutions of a level, each with batch norm and ReLU."""
    return nn.Sequential(*conv_bn_relu(in_channels, out_channels, 3), *conv_bn_relu(out_channels, out_channels, 3))


def unet_valid(
    *, num_classes: int, in_channels: int = 3, width: float = 1.0, depth: int = 5, released: bool = False
) -> UNetValid:
    """U-Net as printed; 31 030 658 parameters for 1 channel in and 2 classes, the paper's.

    Args:
        width: times the figure's channels (64 at the top).
        depth: levels, the one at the picture's size included; each next has half the size and twice the channels.
        released: the network of the authors' Caffe release instead of the figure's (31 100 354).

    Raises:
        BadOption: a number that no network can have.
    """
    check_channels(num_classes=num_classes, in_channels=in_channels, width=width)
    check_depth(depth)
    top = scaled(64, width)
    return UNetValid(in_channels, [top << level for level in range(depth)], num_classes, released=released)


def unet(*, num_classes: int, in_channels: int = 3, width: float = 1.0, depth: int = 5) -> UNet:
    """The padded, batch-normalized U-Net; 31 038 933 parameters for 3 channels in and 21 classes.

    Args:
        width: times the figure's channels (64 at the top); 0.5 is the 32-channel network.
        depth: levels, the one at the picture's size included; each next has half the size and twice the channels.

    Raises:
        BadOption: a number that no network can have.
    """
    check_channels(num_classes=num_classes, in_channels=in_channels, width=width)
    check_depth(depth)
    top = scaled(64, width)
    return UNet(in_channels, [top << level for level in range(depth)], num_classes)


def _initialize(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        # a pixel of an up-convolution of kernel 2 and stride 2 has one input per channel
        taps = 1 if isinstance(module, nn.ConvTranspose2d) else math.prod(module.kernel_size)
        nn.init.normal_(module.weight, std=math.sqrt(2 / (module.in_channels * taps)))
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def check_depth(depth: int) -> None:
    """Refuse a number of levels that no picture could have.

    Raises:
        BadOption: naming it.
    """
    check_count("depth", depth)
    if depth > 10:
        raise BadOption(f"depth must be 1 to 10 levels, each with twice the channels of the one above, got {depth}")
