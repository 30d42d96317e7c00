"""FCN-32s, FCN-16s and FCN-8s on VGG-16.

Long, Shelhamer, Darrell: Fully Convolutional Networks for Semantic Segmentation, CVPR 2015 (arXiv 1411.4038),
Figure 3, §4.2. Reference code: fcn.berkeleyvision.org, `voc-fcn32s`, `voc-fcn16s`, `voc-fcn8s` (`net.py`,
`train.prototxt`), whose names stand here. Backbone: `backbones/vgg.py`; no ResNet.

conv1_1 pads 100; the crops 19 (32s), 5 and 27 (16s), 5, 9 and 31 (8s) bring the streams back into line and give
exactly the picture's size, for every size from 1 × 1 up.

**Differences:**
- the fixed deconvolutions are no parameters: a bilinear `Resampling` does the same sums in float32. So networks have
  the convolutions' parameters alone: 134 346 581, 134 357 354, 134 362 751 for 21 classes.
- the 2× upsampling between streams is fixed, as in the reference code; `learn_upsampling=True` learns it from the
  bilinear kernel on, as the paper says (Caffe's form: all classes to all classes, no bias).
- the last upsampling is fixed in the paper and in the code, and here.
- score layers start at zero as in both; the backbone of a new network starts at He's initialization, not at VGG's.
"""

import torch
from torch import Tensor, nn

from pixelwise.backbones.vgg import VGG16
from pixelwise.layers.channels import check_channels
from pixelwise.layers.head import Head, full_size
from pixelwise.layers.resample import Resampling


class FCN32s(nn.Module):
    """One stream, prediction stride 32: (N, C, H, W) → (N, K, H, W) logits (Figure 3, solid line)."""

    def __init__(self, backbone: VGG16, num_classes: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.score_fr = score(backbone.channels.fc7, num_classes)

    def heads(self, images: Tensor) -> dict[str, Head]:
        """One head on the grid of fc7, 1/32."""
        score_fr = self.score_fr(self.backbone(images).fc7)
        return {"logits": Head(score_fr, deconvolution(score_fr, images, factor=32, offset=19))}

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) → (N, K, H, W) float32 logits, for every H and W from 1 up."""
        return full_size(self.heads(images))


class FCN16s(nn.Module):
    """Two streams, prediction stride 16: (N, C, H, W) → (N, K, H, W) logits (Figure 3, dashed line)."""

    def __init__(self, backbone: VGG16, num_classes: int, *, learn_upsampling: bool = False) -> None:
        super().__init__()
        self.backbone = backbone
        self.score_fr = score(backbone.channels.fc7, num_classes)
        self.upscore2 = upsampling(num_classes, learned=learn_upsampling)
        self.score_pool4 = score(backbone.channels.pool4, num_classes)

    def heads(self, images: Tensor) -> dict[str, Head]:
        """One head on the grid of the fused scores, 1/16."""
        features = self.backbone(images)
        upscore2 = self.upscore2(self.score_fr(features.fc7))  # 1/16
        fuse_pool4 = upscore2 + crop(self.score_pool4(features.pool4), 5, like=upscore2)
        return {"logits": Head(fuse_pool4, deconvolution(fuse_pool4, images, factor=16, offset=27))}

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) → (N, K, H, W) float32 logits, for every H and W from 1 up."""
        return full_size(self.heads(images))


class FCN8s(nn.Module):
    """Three streams, prediction stride 8: (N, C, H, W) → (N, K, H, W) logits (Figure 3, dotted line)."""

    def __init__(self, backbone: VGG16, num_classes: int, *, learn_upsampling: bool = False) -> None:
        super().__init__()
        self.backbone = backbone
        self.score_fr = score(backbone.channels.fc7, num_classes)
        self.upscore2 = upsampling(num_classes, learned=learn_upsampling)
        self.score_pool4 = score(backbone.channels.pool4, num_classes)
        self.upscore_pool4 = upsampling(num_classes, learned=learn_upsampling)
        self.score_pool3 = score(backbone.channels.pool3, num_classes)

    def heads(self, images: Tensor) -> dict[str, Head]:
        """One head on the grid of the fused scores, 1/8."""
        features = self.backbone(images)
        upscore2 = self.upscore2(self.score_fr(features.fc7))  # 1/16
        fuse_pool4 = upscore2 + crop(self.score_pool4(features.pool4), 5, like=upscore2)
        upscore_pool4 = self.upscore_pool4(fuse_pool4)  # 1/8
        fuse_pool3 = upscore_pool4 + crop(self.score_pool3(features.pool3), 9, like=upscore_pool4)
        return {"logits": Head(fuse_pool3, deconvolution(fuse_pool3, images, factor=8, offset=31))}

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) → (N, K, H, W) float32 logits, for every H and W from 1 up."""
        return full_size(self.heads(images))


class BilinearUpsampling(nn.Module):
    """The fixed deconvolution of kernel 4 and stride 2: (N, K, h, w) → (N, K, 2h + 2, 2w + 2) float32."""

    def forward(self, scores: Tensor) -> Tensor:
        """Upsample; nothing is cropped."""
        height, width = scores.shape[-2:]
        resampling = Resampling.deconvolution((height, width), (2 * height + 2, 2 * width + 2), factor=2, offset=0)
        return resampling.apply(scores)


def upsampling(num_classes: int, *, learned: bool) -> nn.Module:
    """The 2× upsampling between two streams, (N, K, h, w) → (N, K, 2h + 2, 2w + 2)."""
    if not learned:
        return BilinearUpsampling()
    layer = nn.ConvTranspose2d(num_classes, num_classes, 4, stride=2, bias=False)
    taps = torch.tensor((0.25, 0.75, 0.75, 0.25), device=layer.weight.device)  # FCN's surgery.py, kernel 4
    with torch.no_grad():
        layer.weight.zero_()
        layer.weight.diagonal().copy_((taps[:, None] * taps)[:, :, None])
    return layer


def score(channels: int, num_classes: int) -> nn.Conv2d:
    """A 1 × 1 convolution to the classes that starts at zero: Caffe's default filler, and §4.2 of the paper."""
    layer = nn.Conv2d(channels, num_classes, 1)
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def crop(values: Tensor, offset: int, *, like: Tensor) -> Tensor:
    """The rows and columns from `offset` on, as many as `like` has."""
    height, width = like.shape[-2:]
    return values[..., offset : offset + height, offset : offset + width]


def deconvolution(scores: Tensor, images: Tensor, *, factor: int, offset: int) -> Resampling:
    """The last upsampling, from the grid of the scores to the pictures' size."""
    return Resampling.deconvolution(
        (scores.shape[-2], scores.shape[-1]), (images.shape[-2], images.shape[-1]), factor=factor, offset=offset
    )


def fcn32s_vgg16(*, num_classes: int, in_channels: int = 3, width: float = 1.0) -> FCN32s:
    """FCN-32s; 134 346 581 parameters for 21 classes.

    Args:
        width: times VGG-16's channels.

    Raises:
        BadOption: a number that no network can have.
    """
    check_channels(num_classes=num_classes, in_channels=in_channels, width=width)
    return FCN32s(VGG16(in_channels=in_channels, width=width), num_classes)


def fcn16s_vgg16(
    *, num_classes: int, in_channels: int = 3, width: float = 1.0, learn_upsampling: bool = False
) -> FCN16s:
    """FCN-16s; 134 357 354 parameters for 21 classes.

    Args:
        width: times VGG-16's channels.
        learn_upsampling: the 2× upsampling is a learned layer (the paper) and not fixed (the released files).

    Raises:
        BadOption: a number that no network can have.
    """
    check_channels(num_classes=num_classes, in_channels=in_channels, width=width)
    return FCN16s(VGG16(in_channels=in_channels, width=width), num_classes, learn_upsampling=learn_upsampling)


def fcn8s_vgg16(*, num_classes: int, in_channels: int = 3, width: float = 1.0, learn_upsampling: bool = False) -> FCN8s:
    """FCN-8s; 134 362 751 parameters for 21 classes. Options as for `fcn16s_vgg16`."""
    check_channels(num_classes=num_classes, in_channels=in_channels, width=width)
    return FCN8s(VGG16(in_channels=in_channels, width=width), num_classes, learn_upsampling=learn_upsampling)
