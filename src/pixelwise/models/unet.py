"""U-Net, padded and batch-normalized: the form that most people train today.

Ronneberger, Fischer, Brox: U-Net: Convolutional Networks for Biomedical Image Segmentation, MICCAI 2015
(arXiv 1505.04597), Figure 1. Reference code: the authors' Caffe release (`phseg_v5`), read through ports; the padded
form has no paper, the best known one is milesial/Pytorch-UNet.

**Differences:**
- from the figure: 3 × 3 convolutions are padded by 1, have no bias and are batch-normalized, so the output has the
  input's size and nothing is cropped from the skips; no dropout; the network as printed is `unet_valid`.
- from the release: no ReLU after an up-convolution, and the last one halves its channels, both as in the figure.
  The order in a concatenation is the release's: up-convolution, then skip (milesial's is the reverse).
- from the other padded U-Nets: pooling rounds up and the up-convolution is cropped to its skip, where they round down
  and pad it with zeros. Both are the same where the size is a multiple of 2^(depth − 1); on others no row is lost
  and no zeros are made up, and every size from 1 × 1 up is possible.
- initialization is the paper's, Gaussian of deviation √(2/N), N the number of inputs of a unit; biases 0.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from pixelwise.layers.channels import check_channels, check_count, scaled
from pixelwise.layers.conv import conv_bn_relu
from pixelwise.layers.head import Head, full_size
from pixelwise.layers.resample import Resampling


class UNet(nn.Module):
    """A contracting and an expanding path: (N, C, H, W) → (N, K, H, W) logits (Figure 1).

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
            height, width = skip.shape[-2:]
            up = upconv(values)[..., :height, :width]  # a view: only the concatenation copies
            values = convolutions(torch.cat((up, skip), 1))
        return {"logits": Head(self.score(values), Resampling.identity((images.shape[-2], images.shape[-1])))}

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) → (N, K, H, W) float32 logits, for every H and W from 1 up."""
        return full_size(self.heads(images))


def two_convolutions(in_channels: int, out_channels: int) -> nn.Sequential:
    """The pair of 3 × 3 convolutions of a level, each with batch norm and ReLU."""
    return nn.Sequential(*conv_bn_relu(in_channels, out_channels, 3), *conv_bn_relu(out_channels, out_channels, 3))


def unet(*, num_classes: int, in_channels: int = 3, width: float = 1.0, depth: int = 5) -> UNet:
    """The padded, batch-normalized U-Net; 31 038 933 parameters for 3 channels in and 21 classes.

    Args:
        width: times the figure's channels (64 at the top); 0.5 is the 32-channel network.
        depth: levels, the one at the picture's size included; each next has half the size and twice the channels.

    Raises:
        BadOption: a number that no network can have.
    """
    check_channels(num_classes=num_classes, in_channels=in_channels, width=width)
    check_count("depth", depth)
    top = scaled(64, width)
    return UNet(in_channels, [top << level for level in range(depth)], num_classes)


def _initialize(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        # a pixel of an up-convolution of kernel 2 and stride 2 has one input per channel
        taps = 1 if isinstance(module, nn.ConvTranspose2d) else math.prod(module.kernel_size)
        nn.init.normal_(module.weight, std=math.sqrt(2 / (module.in_channels * taps)))
        if module.bias is not None:
            nn.init.zeros_(module.bias)
