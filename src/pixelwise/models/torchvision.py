"""torchvision's own FCN and DeepLab v3 on ResNet, key for key, so that its published weights load as they are.

Long, Shelhamer, Darrell 2015 (arXiv 1411.4038) and Chen et al. 2017 (arXiv 1706.05587), as torchvision 0.3 and later
builds them; it is a library, not a paper, and neither network is that of its paper. Reference code: pytorch/vision,
`models/segmentation/fcn.py`, `deeplabv3.py`, `_utils.py`.

ResNet flavor: torchvision's ("v1.5", stride in the 3 × 3, 7 × 7 stem), at output stride 8 with
`first_unit="exact"`: layer3 1, 2, 2 … and layer4 2, 4, 4. Pictures are RGB/255, mean .485 .456 .406, deviation .229
.224 .225.

| parameters, 21 classes           | with the auxiliary classifier | without    |
| -------------------------------- | ----------------------------- | ---------- |
| `torchvision_fcn_resnet50`       | 35 322 218                    | 32 957 013 |
| `torchvision_fcn_resnet101`      | 54 314 346                    | 51 949 141 |
| `torchvision_deeplab_v3_resnet50`  | 42 004 074                  | 39 638 869 |
| `torchvision_deeplab_v3_resnet101` | 60 996 202                  | 58 630 997 |

Its recipe counts the auxiliary head's loss half, and trains that head ten times as fast.

**Differences:**
- from torchvision: the heads are called `logits` and `auxiliary`, there `out` and `aux`, and the auxiliary one is
  computed in training alone; a batch norm that sees one value per channel in training uses its running statistics,
  where torchvision raises an error.
- from FCN: a dilated ResNet with a 3 × 3 convolution before the scores, one stream, no skips, half-pixel upsampling.
- from DeepLab v3: rates 12, 24, 36, no multi-grid, another first unit in a dilated stage, image pooling last in the
  concatenation, one more 3 × 3 convolution, dropout 0.5, half-pixel upsampling.
- without its published files, the backbone starts at He's initialization and not at ImageNet's weights.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pixelwise.backbones.resnet import ResNet, resnet50, resnet101
from pixelwise.layers.channels import check_channels, scaled
from pixelwise.layers.conv import conv_bn_relu
from pixelwise.layers.head import Head, full_size
from pixelwise.layers.resample import Resampling
from pixelwise.models.paper import Paper
from pixelwise.surgery.dilation import set_output_stride

PAPER = Paper("torchvision", "torchvision 0.3: models.segmentation", 2019, "https://github.com/pytorch/vision")


class TorchvisionSegmentation(nn.Module):
    """A classifier on layer4 and one on layer3: (N, C, H, W) → (N, K, H, W) logits.

    Args:
        backbone: already dilated.
        classifier: on the maps of layer4.
        aux_classifier: on those of layer3, in training alone; None leaves it out.
    """

    def __init__(self, backbone: ResNet, classifier: nn.Module, aux_classifier: nn.Module | None) -> None:
        super().__init__()
        self.backbone = backbone
        self.classifier = classifier
        self.aux_classifier = aux_classifier

    def heads(self, images: Tensor) -> dict[str, Head]:
        """The prediction at 1/8, and in training the auxiliary scores at 1/8."""
        features = self.backbone(images)
        heads = {"logits": _half_pixel(self.classifier(features.res5), images)}
        if self.aux_classifier is not None and self.training:
            heads["auxiliary"] = _half_pixel(self.aux_classifier(features.res4), images)
        return heads

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) → (N, K, H, W) float32 logits, for every H and W from 1 up."""
        return full_size(self.heads(images))


class FCNHead(nn.Sequential):
    """3 × 3 to a quarter of the channels, 1 × 1 to the classes: (N, C, h, w) → (N, K, h, w)."""

    def __init__(self, in_channels: int, num_classes: int) -> None:
        inner = in_channels // 4
        super().__init__(*conv_bn_relu(in_channels, inner, 3), nn.Dropout(0.1), nn.Conv2d(inner, num_classes, 1))


class DeepLabHead(nn.Sequential):
    """Pyramid, 3 × 3, 1 × 1 to the classes: (N, C, h, w) → (N, K, h, w).

    Args:
        channels: between them; 256 in torchvision.
    """

    def __init__(self, in_channels: int, num_classes: int, channels: int) -> None:
        super().__init__(
            ASPP(in_channels, (12, 24, 36), channels),
            *conv_bn_relu(channels, channels, 3),
            nn.Conv2d(channels, num_classes, 1),
        )


class ASPP(nn.Module):
    """1 × 1, dilated 3 × 3 branches, image pooling, concatenated and projected: (N, C, h, w) → (N, `channels`, h, w).

    Args:
        rates: dilation of each 3 × 3 branch.
    """

    def __init__(self, in_channels: int, rates: Sequence[int], channels: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            [
                nn.Sequential(*conv_bn_relu(in_channels, channels, 1)),
                *(nn.Sequential(*conv_bn_relu(in_channels, channels, 3, dilation=rate)) for rate in rates),
                nn.Sequential(GlobalAverage(), *conv_bn_relu(in_channels, channels, 1)),
            ]
        )
        self.project = nn.Sequential(*conv_bn_relu(len(self.convs) * channels, channels, 1), nn.Dropout(0.5))

    def forward(self, features: Tensor) -> Tensor:
        """The pyramid; the pooled branch is the same at every position, as bilinear upsampling of one cell is."""
        size = features.shape[-2:]
        projected: Tensor = self.project(
            torch.cat([branch(features).expand(-1, -1, *size) for branch in self.convs], 1)
        )
        return projected


class GlobalAverage(nn.Module):
    """(N, C, h, w) → (N, C, 1, 1)."""

    def forward(self, features: Tensor) -> Tensor:
        """The mean over all positions."""
        return features.mean((-2, -1), keepdim=True)


def torchvision_fcn_resnet50(
    *, num_classes: int, in_channels: int = 3, width: float = 1.0, auxiliary: bool = True
) -> TorchvisionSegmentation:
    """The `fcn_resnet50` of torchvision; 35 322 218 parameters for 21 classes.

    Args:
        width: times the published channels, of the backbone and of the heads.
        auxiliary: with the second classifier on layer3, as all published files have it.

    Raises:
        BadOption: a number that no network can have.
    """
    check_channels(num_classes=num_classes, in_channels=in_channels, width=width)
    backbone = resnet50(in_channels=in_channels, width=width)
    classifier = FCNHead(backbone.channels.res5, num_classes)
    return _segmentation(backbone, classifier, num_classes, auxiliary)


def torchvision_fcn_resnet101(
    *, num_classes: int, in_channels: int = 3, width: float = 1.0, auxiliary: bool = True
) -> TorchvisionSegmentation:
    """The `fcn_resnet101` of torchvision; 54 314 346 parameters for 21 classes.

    Options as for `torchvision_fcn_resnet50`.
    """
    check_channels(num_classes=num_classes, in_channels=in_channels, width=width)
    backbone = resnet101(in_channels=in_channels, width=width)
    classifier = FCNHead(backbone.channels.res5, num_classes)
    return _segmentation(backbone, classifier, num_classes, auxiliary)


def torchvision_deeplab_v3_resnet50(
    *, num_classes: int, in_channels: int = 3, width: float = 1.0, auxiliary: bool = True
) -> TorchvisionSegmentation:
    """The `deeplabv3_resnet50` of torchvision; 42 004 074 parameters for 21 classes.

    Options as for `torchvision_fcn_resnet50`.
    """
    check_channels(num_classes=num_classes, in_channels=in_channels, width=width)
    backbone = resnet50(in_channels=in_channels, width=width)
    classifier = DeepLabHead(backbone.channels.res5, num_classes, scaled(256, width))
    return _segmentation(backbone, classifier, num_classes, auxiliary)


def torchvision_deeplab_v3_resnet101(
    *, num_classes: int, in_channels: int = 3, width: float = 1.0, auxiliary: bool = True
) -> TorchvisionSegmentation:
    """The `deeplabv3_resnet101` of torchvision; 60 996 202 parameters for 21 classes.

    Options as for `torchvision_fcn_resnet50`.
    """
    check_channels(num_classes=num_classes, in_channels=in_channels, width=width)
    backbone = resnet101(in_channels=in_channels, width=width)
    classifier = DeepLabHead(backbone.channels.res5, num_classes, scaled(256, width))
    return _segmentation(backbone, classifier, num_classes, auxiliary)


def _segmentation(
    backbone: ResNet, classifier: nn.Module, num_classes: int, auxiliary: bool
) -> TorchvisionSegmentation:
    aux_classifier = FCNHead(backbone.channels.res4, num_classes) if auxiliary else None
    return TorchvisionSegmentation(set_output_stride(backbone, 8, first_unit="exact"), classifier, aux_classifier)


def _half_pixel(scores: Tensor, images: Tensor) -> Head:
    return Head(
        scores,
        Resampling.half_pixel((scores.shape[-2], scores.shape[-1]), (images.shape[-2], images.shape[-1])),
    )
