"""SegNet-Basic: a decoder that puts each value back where the encoder's pool found its maximum.

Badrinarayanan, Kendall, Cipolla: SegNet, PAMI 2017 (arXiv 1511.00561), Figures 2 and 3, §3.1. Reference code:
alexgkendall/SegNet-Tutorial, `Models/segnet_basic_train.prototxt`. No ResNet. Pictures are BGR, 0–255, nothing
subtracted; the local response normalization of the first layer expects that range.

**Differences:**
- 1 416 587 parameters for 11 classes, as the prototxt has; the paper says 1.425 M, and "no biases", which the
  prototxt has.
- caffe-segnet keeps no running statistics and computes them in one pass over the training set afterwards; here they
  are PyTorch's running averages (momentum 0.1, unbiased variance). eps is its 1e-9.
- the shift of batch norms starts at 0.001 as in the other prototxts of the release; for this one UNVERIFIED.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from pixelwise.layers.channels import check_channels, scaled
from pixelwise.layers.head import Head, full_size
from pixelwise.layers.local_response import LocalResponseNorm
from pixelwise.layers.resample import Resampling
from pixelwise.layers.small_batch import BatchNorm2d


class SegNetBasic(nn.Module):
    """Four encoders, four decoders: (N, C, H, W) → (N, K, H, W) logits, for every size from 1 × 1 up.

    Args:
        channels: of every layer; 64 in the release.
    """

    def __init__(self, in_channels: int, channels: int, num_classes: int) -> None:
        super().__init__()
        self.norm = LocalResponseNorm()
        self.conv1 = _conv_bn(in_channels, channels, nn.ReLU(inplace=True))
        self.conv2 = _conv_bn(channels, channels, nn.ReLU(inplace=True))
        self.conv3 = _conv_bn(channels, channels, nn.ReLU(inplace=True))
        self.conv4 = _conv_bn(channels, channels, nn.ReLU(inplace=True))
        self.conv_decode4 = _conv_bn(channels, channels)
        self.conv_decode3 = _conv_bn(channels, channels)
        self.conv_decode2 = _conv_bn(channels, channels)
        self.conv_decode1 = _conv_bn(channels, channels)
        self.conv_classifier = nn.Conv2d(channels, num_classes, 1)
        self.apply(_initialize)

    def heads(self, images: Tensor) -> dict[str, Head]:
        """One head on the picture's own grid."""
        pool1, mask1 = max_pool(conv1 := self.conv1(self.norm(images)))  # 1/2, rounded up
        pool2, mask2 = max_pool(conv2 := self.conv2(pool1))  # 1/4
        pool3, mask3 = max_pool(conv3 := self.conv3(pool2))  # 1/8
        pool4, mask4 = max_pool(conv4 := self.conv4(pool3))  # 1/16
        decode4 = self.conv_decode4(max_unpool(pool4, mask4, like=conv4))  # 1/8
        decode3 = self.conv_decode3(max_unpool(decode4, mask3, like=conv3))  # 1/4
        decode2 = self.conv_decode2(max_unpool(decode3, mask2, like=conv2))  # 1/2
        decode1 = self.conv_decode1(max_unpool(decode2, mask1, like=conv1))
        resampling = Resampling.identity((images.shape[-2], images.shape[-1]))
        return {"logits": Head(self.conv_classifier(decode1), resampling)}

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) → (N, K, H, W) float32 logits."""
        return full_size(self.heads(images))


def max_pool(values: Tensor) -> tuple[Tensor, Tensor]:
    """The maxima of 2 × 2 windows, (N, C, ⌈H/2⌉, ⌈W/2⌉), and their places y·W + x in (H, W)."""
    pooled, places = functional.max_pool2d(values, 2, ceil_mode=True, return_indices=True)
    return pooled, places


def max_unpool(pooled: Tensor, places: Tensor, *, like: Tensor) -> Tensor:
    """Zeros of the shape of `like`, with each pooled value at its place.

    `torch.nn.MaxUnpool2d` is not deterministic by torch's own account; windows of 2 × 2 do not overlap, so copying
    each value to its window and keeping it at its place alone gives the same with no scattered write.
    """
    height, width = like.shape[-2:]
    grid = torch.arange(height * width, device=places.device).reshape(height, width)
    return torch.where(_fill_windows(places, height, width) == grid, _fill_windows(pooled, height, width), 0)


def _fill_windows(cells: Tensor, height: int, width: int) -> Tensor:
    n, c, h, w = cells.shape
    filled = cells[:, :, :, None, :, None].expand(n, c, h, 2, w, 2).reshape(n, c, 2 * h, 2 * w)
    return filled[..., :height, :width]


def segnet_basic(*, num_classes: int, in_channels: int = 3, width: float = 1.0) -> SegNetBasic:
    """SegNet-Basic; 1 416 587 parameters for 11 classes.

    Args:
        width: times the release's 64 channels.

    Raises:
        BadOption: a number that no network can have.
    """
    check_channels(num_classes=num_classes, in_channels=in_channels, width=width)
    return SegNetBasic(in_channels, scaled(64, width), num_classes)


def _conv_bn(in_channels: int, channels: int, *activation: nn.Module) -> nn.Sequential:
    conv = nn.Conv2d(in_channels, channels, 7, padding=3)
    return nn.Sequential(conv, BatchNorm2d(channels, eps=1e-9), *activation)


def _initialize(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        nn.init.normal_(module.weight, std=math.sqrt(2 / (module.in_channels * math.prod(module.kernel_size))))  # msra
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, BatchNorm2d):
        nn.init.constant_(module.bias, 0.001)
