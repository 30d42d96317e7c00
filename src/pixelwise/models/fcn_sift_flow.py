"""FCN-32s, FCN-16s and FCN-8s with two heads: what a pixel shows, and how its surface lies.

Long, Shelhamer, Darrell: Fully Convolutional Networks for Semantic Segmentation, CVPR 2015 (arXiv 1411.4038),
§5 (SIFT Flow), Table 5. Reference code: fcn.berkeleyvision.org, `siftflow-fcn32s`, `siftflow-fcn16s`,
`siftflow-fcn8s` (`net.py`), whose names stand here. Backbone: `backbones/vgg.py`; no ResNet.

SIFT Flow has 33 semantic and 3 geometric classes: sky, horizontal, vertical. Both heads' losses have weight 1. All
layers up to fc7 are shared; each head has its own score layers.

**Differences:** none but those of `fcn.py`. The paper trains 16s alone, the released files are all three.
"""

from torch import Tensor, nn

from pixelwise.backbones.vgg import VGG16, VGGFeatures
from pixelwise.layers.channels import check_channels, check_count
from pixelwise.layers.head import Head, full_size
from pixelwise.models.fcn import PAPER as PAPER
from pixelwise.models.fcn_streams import (
    Alignment,
    Padding,
    padded_vgg16,
    score,
    three_streams,
    two_streams,
    upsampling,
)


class FCN32sTwoHeaded(nn.Module):
    """One stream, two heads, prediction stride 32: (N, C, H, W) → (N, K, H, W) semantic logits."""

    def __init__(self, backbone: VGG16, alignment: Alignment, num_classes: int, geometric_classes: int) -> None:
        super().__init__()
        self.alignment = alignment
        self.backbone = backbone
        self.score_fr_sem = score(backbone.channels.fc7, num_classes)
        self.score_fr_geo = score(backbone.channels.fc7, geometric_classes)

    def heads(self, images: Tensor) -> dict[str, Head]:
        """Two heads on the grid of fc7, 1/32."""
        fc7 = self.backbone(images).fc7
        return {
            "logits": self.alignment.upscore(self.score_fr_sem(fc7), images),
            "geometric": self.alignment.upscore(self.score_fr_geo(fc7), images),
        }

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) → (N, K, H, W) float32 semantic logits, for every H and W from 1 up."""
        return full_size(self.heads(images))


class FCN16sTwoHeaded(nn.Module):
    """Two streams, two heads, prediction stride 16: (N, C, H, W) → (N, K, H, W) semantic logits."""

    def __init__(
        self,
        backbone: VGG16,
        alignment: Alignment,
        num_classes: int,
        geometric_classes: int,
        *,
        learn_upsampling: bool = False,
    ) -> None:
        super().__init__()
        self.alignment = alignment
        _, pool4, fc7 = backbone.channels
        self.backbone = backbone
        self.score_fr_sem = score(fc7, num_classes)
        self.score_fr_geo = score(fc7, geometric_classes)
        self.upscore2_sem = upsampling(num_classes, learned=learn_upsampling)
        self.upscore2_geo = upsampling(geometric_classes, learned=learn_upsampling)
        self.score_pool4_sem = score(pool4, num_classes)
        self.score_pool4_geo = score(pool4, geometric_classes)

    def heads(self, images: Tensor) -> dict[str, Head]:
        """Two heads on the grid of the fused scores, 1/16."""
        features: VGGFeatures = self.backbone(images)
        alignment = self.alignment
        sem = two_streams(features, self.score_fr_sem, self.upscore2_sem, self.score_pool4_sem, alignment)
        geo = two_streams(features, self.score_fr_geo, self.upscore2_geo, self.score_pool4_geo, alignment)
        return {"logits": alignment.upscore16(sem, images), "geometric": alignment.upscore16(geo, images)}

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) → (N, K, H, W) float32 semantic logits, for every H and W from 1 up."""
        return full_size(self.heads(images))


class FCN8sTwoHeaded(nn.Module):
    """Three streams, two heads, prediction stride 8: (N, C, H, W) → (N, K, H, W) semantic logits."""

    def __init__(
        self,
        backbone: VGG16,
        alignment: Alignment,
        num_classes: int,
        geometric_classes: int,
        *,
        learn_upsampling: bool = False,
    ) -> None:
        super().__init__()
        self.alignment = alignment
        pool3, pool4, fc7 = backbone.channels
        self.backbone = backbone
        self.score_fr_sem = score(fc7, num_classes)
        self.score_fr_geo = score(fc7, geometric_classes)
        self.upscore2_sem = upsampling(num_classes, learned=learn_upsampling)
        self.upscore2_geo = upsampling(geometric_classes, learned=learn_upsampling)
        self.score_pool4_sem = score(pool4, num_classes)
        self.score_pool4_geo = score(pool4, geometric_classes)
        self.upscore_pool4_sem = upsampling(num_classes, learned=learn_upsampling)
        self.upscore_pool4_geo = upsampling(geometric_classes, learned=learn_upsampling)
        self.score_pool3_sem = score(pool3, num_classes)
        self.score_pool3_geo = score(pool3, geometric_classes)

    def heads(self, images: Tensor) -> dict[str, Head]:
        """Two heads on the grid of the fused scores, 1/8."""
        features: VGGFeatures = self.backbone(images)
        alignment = self.alignment
        sem = three_streams(
            features,
            self.score_fr_sem,
            self.upscore2_sem,
            self.score_pool4_sem,
            self.upscore_pool4_sem,
            self.score_pool3_sem,
            alignment,
        )
        geo = three_streams(
            features,
            self.score_fr_geo,
            self.upscore2_geo,
            self.score_pool4_geo,
            self.upscore_pool4_geo,
            self.score_pool3_geo,
            alignment,
        )
        return {"logits": alignment.upscore8(sem, images), "geometric": alignment.upscore8(geo, images)}

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) → (N, K, H, W) float32 semantic logits, for every H and W from 1 up."""
        return full_size(self.heads(images))


def fcn32s_two_headed(
    *,
    num_classes: int,
    in_channels: int = 3,
    width: float = 1.0,
    geometric_classes: int = 3,
    padding: Padding = "released",
) -> FCN32sTwoHeaded:
    """Two-headed FCN-32s; 134 408 036 parameters for 33 and 3 classes.

    Args:
        num_classes: semantic ones.
        geometric_classes: of the second head.
        width: times VGG-16's channels.
        padding: "released", conv1_1 pads 100; or "same", conv1_1 pads 1 and fc6 pads 3.

    Raises:
        BadOption: a number or a word that no network can have.
    """
    check_channels(num_classes=num_classes, in_channels=in_channels, width=width)
    check_count("geometric_classes", geometric_classes)
    backbone, alignment = padded_vgg16(padding, in_channels=in_channels, width=width)
    return FCN32sTwoHeaded(backbone, alignment, num_classes, geometric_classes)


def fcn16s_two_headed(
    *,
    num_classes: int,
    in_channels: int = 3,
    width: float = 1.0,
    geometric_classes: int = 3,
    padding: Padding = "released",
    learn_upsampling: bool = False,
) -> FCN16sTwoHeaded:
    """Two-headed FCN-16s; 134 426 504 parameters for 33 and 3 classes.

    Options as for `fcn32s_two_headed`, and learn_upsampling: the 2× upsampling is a learned layer (the paper) and not
    fixed (the released files).
    """
    check_channels(num_classes=num_classes, in_channels=in_channels, width=width)
    check_count("geometric_classes", geometric_classes)
    backbone, alignment = padded_vgg16(padding, in_channels=in_channels, width=width)
    return FCN16sTwoHeaded(backbone, alignment, num_classes, geometric_classes, learn_upsampling=learn_upsampling)


def fcn8s_two_headed(
    *,
    num_classes: int,
    in_channels: int = 3,
    width: float = 1.0,
    geometric_classes: int = 3,
    padding: Padding = "released",
    learn_upsampling: bool = False,
) -> FCN8sTwoHeaded:
    """Two-headed FCN-8s; 134 435 756 parameters for 33 and 3 classes.

    Options as for `fcn32s_two_headed`, and learn_upsampling: the 2× upsampling is a learned layer (the paper) and not
    fixed (the released files).
    """
    check_channels(num_classes=num_classes, in_channels=in_channels, width=width)
    check_count("geometric_classes", geometric_classes)
    backbone, alignment = padded_vgg16(padding, in_channels=in_channels, width=width)
    return FCN8sTwoHeaded(backbone, alignment, num_classes, geometric_classes, learn_upsampling=learn_upsampling)
