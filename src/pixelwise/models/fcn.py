"""FCN-32s, FCN-16s and FCN-8s on VGG-16, FCN-8s at once, and FCN-32s on AlexNet and GoogLeNet.

Long, Shelhamer, Darrell: Fully Convolutional Networks for Semantic Segmentation, CVPR 2015 (arXiv 1411.4038),
Figure 3, Tables 1 and 2, §4. Reference code: fcn.berkeleyvision.org, `voc-fcn32s`, `voc-fcn16s`, `voc-fcn8s`,
`voc-fcn8s-atonce`, `voc-fcn-alexnet` (`net.py`, `train.prototxt`), whose names stand here; PASCAL-Context's networks
are the same with 60 classes. Backbones: `backbones/vgg.py`, `alexnet.py`, `googlenet.py`; no ResNet.

The first convolution of VGG-16 and of AlexNet pads 100. The crops 19 (32s), 5 and 27 (16s), 5, 9 and 31 (8s), and
AlexNet's 18, bring the streams back into line and give exactly the picture's size, for every size from 1 × 1 up.
They follow from kernels, strides and paddings, see `tests/models/test_fcn.py`.

**Differences:**
- the fixed deconvolutions are no parameters: a bilinear `Resampling` does the same sums in float32. So networks have
  the convolutions' parameters alone: 134 346 581, 134 357 354, 134 362 751 for 21 classes.
- the 2× upsampling between streams is fixed, as in the reference code; `learn_upsampling=True` learns it from the
  bilinear kernel on, as the paper says (Caffe's form: all classes to all classes, no bias).
- the last upsampling is fixed in the paper and in the code, and here.
- score layers start at zero as in both; the backbone of a new network starts at He's initialization, not at VGG's.
- `padding="same"` is neither in the paper nor in the code: conv1_1 pads 1 and fc6 3, for 38 % of the multiply-adds
  at 256 × 256, 60 % at 500 × 500, 76 % at 1000 × 1000. The last upsampling repeats the outermost cells, where a
  deconvolution fades out; that by 2 fades.
- GoogLeNet's FCN was never released: padding, crop (1) and kernel (63) are derived as AlexNet's; dropout 0.4 is
  Caffe's GoogLeNet's. All of it is UNVERIFIED.
- the paper's comparisons are options: `fusion="max"` and `fusion="pool4"` of FCN-16s; `pool5_stride=1` (14 × 14 taps
  in fc6) and `fixed=True` (only score_fr is trained, FCN-32s-fixed) of FCN-32s. Their files were not released: pool5
  pads 1 and the crop is 11 at stride 1, the crop of pool4 alone is 107, both derived; UNVERIFIED.
"""

from collections import OrderedDict
from typing import Literal

from torch import Tensor, nn

from pixelwise.backbones.alexnet import AlexNet
from pixelwise.backbones.googlenet import GoogLeNet
from pixelwise.backbones.vgg import VGG16, VGGFeatures
from pixelwise.errors import BadOption
from pixelwise.layers.channels import check_channels
from pixelwise.layers.head import Head, full_size
from pixelwise.models.fcn_streams import (
    Alignment,
    Padding,
    Scale,
    Upscore,
    padded_vgg16,
    score,
    three_streams,
    two_streams,
    upsampling,
)
from pixelwise.models.paper import Paper

PAPER = Paper(
    "Long, Shelhamer, Darrell", "Fully Convolutional Networks for Semantic Segmentation", 2015, "arXiv 1411.4038"
)

Fusion = Literal["sum", "max", "pool4"]


class FCN32s(nn.Module):
    """One stream, prediction stride 32: (N, C, H, W) → (N, K, H, W) logits (Figure 3, solid line).

    Args:
        backbone: whose last map is scored.
        upscore: for the grid of that map.
        dropout: before the score layer; VGG and AlexNet have their own after fc6 and fc7.
    """

    def __init__(
        self, backbone: VGG16 | AlexNet | GoogLeNet, num_classes: int, upscore: Upscore, *, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.drop = nn.Dropout(dropout)
        self.score_fr = score(backbone.channels[-1], num_classes)
        self.upscore = upscore

    def heads(self, images: Tensor) -> dict[str, Head]:
        """One head on the backbone's last grid, 1/32."""
        features: Tensor = self.backbone(images)[-1]
        return {"logits": self.upscore(self.score_fr(self.drop(features)), images)}

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) → (N, K, H, W) float32 logits, for every H and W from 1 up."""
        return full_size(self.heads(images))


class FCN16s(nn.Module):
    """Two streams, prediction stride 16: (N, C, H, W) → (N, K, H, W) logits (Figure 3, dashed line)."""

    def __init__(
        self,
        backbone: VGG16,
        num_classes: int,
        alignment: Alignment,
        *,
        learn_upsampling: bool = False,
        fusion: Literal["sum", "max"] = "sum",
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.score_fr = score(backbone.channels.fc7, num_classes)
        self.upscore2 = upsampling(num_classes, learned=learn_upsampling)
        self.score_pool4 = score(backbone.channels.pool4, num_classes)
        self.alignment = alignment
        self.fusion = fusion

    def heads(self, images: Tensor) -> dict[str, Head]:
        """One head on the grid of the fused scores, 1/16."""
        features: VGGFeatures = self.backbone(images)
        fuse_pool4 = two_streams(
            features, self.score_fr, self.upscore2, self.score_pool4, self.alignment, fusion=self.fusion
        )
        return {"logits": self.alignment.upscore16(fuse_pool4, images)}

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) → (N, K, H, W) float32 logits, for every H and W from 1 up."""
        return full_size(self.heads(images))


class FCN8s(nn.Module):
    """Three streams, prediction stride 8: (N, C, H, W) → (N, K, H, W) logits (Figure 3, dotted line).

    Args:
        at_once: pool4 and pool3 are scaled down before they are scored, so that all streams can be trained together.
    """

    def __init__(
        self,
        backbone: VGG16,
        num_classes: int,
        alignment: Alignment,
        *,
        learn_upsampling: bool = False,
        at_once: bool = False,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.score_fr = score(backbone.channels.fc7, num_classes)
        self.upscore2 = upsampling(num_classes, learned=learn_upsampling)
        self.scale_pool4 = Scale(backbone.channels.pool4, 0.01) if at_once else nn.Identity()
        self.score_pool4 = score(backbone.channels.pool4, num_classes)
        self.upscore_pool4 = upsampling(num_classes, learned=learn_upsampling)
        self.scale_pool3 = Scale(backbone.channels.pool3, 0.0001) if at_once else nn.Identity()
        self.score_pool3 = score(backbone.channels.pool3, num_classes)
        self.alignment = alignment

    def heads(self, images: Tensor) -> dict[str, Head]:
        """One head on the grid of the fused scores, 1/8."""
        pool3, pool4, fc7 = self.backbone(images)
        fuse_pool3 = three_streams(
            VGGFeatures(self.scale_pool3(pool3), self.scale_pool4(pool4), fc7),
            self.score_fr,
            self.upscore2,
            self.score_pool4,
            self.upscore_pool4,
            self.score_pool3,
            self.alignment,
        )
        return {"logits": self.alignment.upscore8(fuse_pool3, images)}

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) → (N, K, H, W) float32 logits, for every H and W from 1 up."""
        return full_size(self.heads(images))


class Pool4Alone(nn.Module):
    """The stream of pool4 without fc7's, prediction stride 16: (N, C, H, W) → (N, K, H, W) logits (§4.2).

    Args:
        backbone: of which conv1 to pool4 are kept.
    """

    def __init__(self, backbone: VGG16, num_classes: int, upscore: Upscore) -> None:
        super().__init__()
        groups = {"conv1": backbone.conv1, "conv2": backbone.conv2, "conv3": backbone.conv3, "conv4": backbone.conv4}
        self.backbone = nn.Sequential(OrderedDict(groups))
        self.score_pool4 = score(backbone.channels.pool4, num_classes)
        self.upscore = upscore

    def heads(self, images: Tensor) -> dict[str, Head]:
        """One head on the grid of pool4, 1/16."""
        return {"logits": self.upscore(self.score_pool4(self.backbone(images)), images)}

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) → (N, K, H, W) float32 logits, for every H and W from 1 up."""
        return full_size(self.heads(images))


def fcn32s_alexnet(*, num_classes: int, in_channels: int = 3, width: float = 1.0) -> FCN32s:
    """FCN-AlexNet; 56 954 261 parameters for 21 classes.

    Args:
        width: times AlexNet's channels.

    Raises:
        BadOption: a number that no network can have.
    """
    check_channels(num_classes=num_classes, in_channels=in_channels, width=width)
    # an even kernel would need the crop 18.5
    return FCN32s(AlexNet(in_channels=in_channels, width=width), num_classes, Upscore(32, crop=18, kernel=63))


def fcn32s_googlenet(*, num_classes: int, in_channels: int = 3, width: float = 1.0) -> FCN32s:
    """FCN-GoogLeNet; 5 995 077 parameters for 21 classes. Options as for `fcn32s_alexnet`."""
    check_channels(num_classes=num_classes, in_channels=in_channels, width=width)
    backbone = GoogLeNet(in_channels=in_channels, width=width)
    return FCN32s(backbone, num_classes, Upscore(32, crop=1, kernel=63), dropout=0.4)


def fcn32s_vgg16(
    *,
    num_classes: int,
    in_channels: int = 3,
    width: float = 1.0,
    padding: Padding = "released",
    pool5_stride: Literal[1, 2] = 2,
    fixed: bool = False,
) -> FCN32s:
    """FCN-32s; 134 346 581 parameters for 21 classes.

    Args:
        width: times VGG-16's channels.
        padding: "released", conv1_1 pads 100; or "same", conv1_1 pads 1 and fc6 pads 3.
        pool5_stride: 1 gives scores at stride 16; fc6 then has 14 × 14 taps (442 627 925 parameters).
        fixed: only score_fr is trained, on the backbone as it is (FCN-32s-fixed, Table 2).

    Raises:
        BadOption: a number or a word that no network can have.
    """
    check_channels(num_classes=num_classes, in_channels=in_channels, width=width)
    if type(pool5_stride) is not int or pool5_stride not in (1, 2):
        raise BadOption(f"pool5_stride must be 1 or 2, got {pool5_stride!r}")
    backbone, alignment = padded_vgg16(padding, in_channels=in_channels, width=width, pool5_stride=pool5_stride)
    backbone.requires_grad_(not fixed)
    return FCN32s(backbone, num_classes, alignment.upscore if pool5_stride == 2 else alignment.pool5_stride1)


def fcn16s_vgg16(
    *,
    num_classes: int,
    in_channels: int = 3,
    width: float = 1.0,
    padding: Padding = "released",
    learn_upsampling: bool = False,
    fusion: Fusion = "sum",
) -> FCN16s | Pool4Alone:
    """FCN-16s; 134 357 354 parameters for 21 classes.

    Args:
        width: times VGG-16's channels.
        padding: "released", conv1_1 pads 100; or "same", conv1_1 pads 1 and fc6 pads 3.
        learn_upsampling: the 2× upsampling is a learned layer (the paper) and not fixed (the released files).
        fusion: of the streams: their "sum", their "max", which the paper found difficult to learn, or the stream of
            "pool4" alone, which it found poor.

    Raises:
        BadOption: a number or a word that no network can have.
    """
    check_channels(num_classes=num_classes, in_channels=in_channels, width=width)
    if fusion not in ("sum", "max", "pool4"):
        raise BadOption(f'fusion must be "sum", "max" or "pool4", got {fusion!r}')
    backbone, alignment = padded_vgg16(padding, in_channels=in_channels, width=width)
    if fusion != "pool4":
        return FCN16s(backbone, num_classes, alignment, learn_upsampling=learn_upsampling, fusion=fusion)
    if learn_upsampling:
        raise BadOption('fusion="pool4" has no 2× upsampling that learn_upsampling could learn; leave one out')
    return Pool4Alone(backbone, num_classes, alignment.pool4_alone)


def fcn8s_vgg16(
    *,
    num_classes: int,
    in_channels: int = 3,
    width: float = 1.0,
    padding: Padding = "released",
    learn_upsampling: bool = False,
) -> FCN8s:
    """FCN-8s; 134 362 751 parameters for 21 classes. Options as for `fcn16s_vgg16`."""
    check_channels(num_classes=num_classes, in_channels=in_channels, width=width)
    backbone, alignment = padded_vgg16(padding, in_channels=in_channels, width=width)
    return FCN8s(backbone, num_classes, alignment, learn_upsampling=learn_upsampling)


def fcn8s_atonce_vgg16(
    *,
    num_classes: int,
    in_channels: int = 3,
    width: float = 1.0,
    padding: Padding = "released",
    learn_upsampling: bool = False,
) -> FCN8s:
    """FCN-8s trained in one stage: pool4 times 0.01, pool3 times 0.0001; options as for `fcn16s_vgg16`.

    134 362 751 parameters for 21 classes, and 768 fixed factors.
    """
    check_channels(num_classes=num_classes, in_channels=in_channels, width=width)
    backbone, alignment = padded_vgg16(padding, in_channels=in_channels, width=width)
    return FCN8s(backbone, num_classes, alignment, learn_upsampling=learn_upsampling, at_once=True)
