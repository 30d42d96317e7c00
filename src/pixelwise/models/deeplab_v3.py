"""DeepLab v3: atrous spatial pyramid pooling with image-level features, on a dilated ResNet.

Chen, Papandreou, Schroff, Adam: Rethinking Atrous Convolution for Semantic Image Segmentation, 2017
(arXiv 1706.05587), Figure 5, §3.3; Table 5 for the defaults. Reference code: TensorFlow models, `research/deeplab`.

ResNet flavor: torchvision's ("v1.5", 7 × 7 stem, RGB/255), so that its ImageNet files load; dilated with
`first_unit="dilated"`, the rates the paper prints: layer4 2, 4, 8 at output stride 16 with multi-grid (1, 2, 4),
and layer3 2, layer4 4, 8, 16 at 8.

**Differences:**
- from the release: its ResNet ("beta") has a stem of three 3 × 3 convolutions, takes pictures as 2/255·x − 1, and has
  the stride in the last unit of a stage; with the 7 × 7 stem, R-101 has 58 040 661 parameters here, there 58 164 437.
- from the release: image pooling takes the whole map at every size; the release pools a window of the training crop.
- batch norms have momentum 0.1; the paper's decay of 0.9997 (0.0003 in torch's sense) belongs to its recipe.
- from the paper, as in the release: the concatenation starts with image pooling, dropout 0.1 follows the projection,
  the logits start at a truncated Gaussian of deviation 0.01, and the last upsampling is align-corners.
- rates at other output strides than 8 and 16 follow the same rule, rate·16/stride; the paper names none.
- the pyramid is initialized as the backbone; the release's own initialization of it is UNVERIFIED.
- from torchvision's `deeplabv3_*`: those have rates 12, 24, 36, no multi-grid, another first unit, one more 3 × 3
  convolution, dropout 0.5, and half-pixel upsampling.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pixelwise.backbones.resnet import ResNet, resnet50, resnet101
from pixelwise.layers.channels import check_channels, check_count, scaled
from pixelwise.layers.conv import conv_bn_relu
from pixelwise.layers.head import Head, full_size
from pixelwise.layers.resample import Resampling
from pixelwise.surgery.dilation import set_multi_grid, set_output_stride


class DeepLabV3(nn.Module):
    """Backbone, pyramid, classifier: (N, C, H, W) → (N, K, H, W) logits (Figure 5).

    Args:
        backbone: already dilated.
        pyramid: gives `channels` channels.
    """

    def __init__(self, backbone: ResNet, pyramid: "ASPP", *, num_classes: int, dropout: float = 0.1) -> None:
        super().__init__()
        self.backbone = backbone
        self.aspp = pyramid
        self.dropout = nn.Dropout(dropout)
        self.logits = nn.Conv2d(pyramid.channels, num_classes, 1)
        nn.init.trunc_normal_(self.logits.weight, std=0.01, a=-0.02, b=0.02)  # TensorFlow cuts at two deviations
        if self.logits.bias is not None:
            nn.init.zeros_(self.logits.bias)

    def heads(self, images: Tensor) -> dict[str, Head]:
        """One head on the backbone's grid."""
        features: Tensor = self.backbone(images).res5
        scores = self.logits(self.dropout(self.aspp(features)))
        resampling = Resampling.align_corners(
            (scores.shape[-2], scores.shape[-1]), (images.shape[-2], images.shape[-1])
        )
        return {"logits": Head(scores, resampling)}

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) → (N, K, H, W) float32 logits, for every H and W from 1 up."""
        return full_size(self.heads(images))


class ASPP(nn.Module):
    """Image pooling, 1 × 1 and dilated 3 × 3 branches, concatenated and projected: (N, C, h, w) → (N, 256, h, w).

    Args:
        rates: dilation of each 3 × 3 branch.
        channels: of each branch and of the output; 256 in the paper.
    """

    def __init__(self, in_channels: int, rates: Sequence[int], channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.image_pooling = nn.Sequential(*conv_bn_relu(in_channels, channels, 1))
        self.aspp0 = nn.Sequential(*conv_bn_relu(in_channels, channels, 1))
        self.rates = nn.ModuleList(
            nn.Sequential(*conv_bn_relu(in_channels, channels, 3, dilation=rate)) for rate in rates
        )
        self.projection = nn.Sequential(*conv_bn_relu((2 + len(rates)) * channels, channels, 1))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, features: Tensor) -> Tensor:
        """The pyramid; the pooled branch is the same at every position, as bilinear upsampling of one cell is."""
        pooled = self.image_pooling(features.mean((-2, -1), keepdim=True))
        branches = [pooled.expand(-1, -1, *features.shape[-2:]), self.aspp0(features)]
        branches += [branch(features) for branch in self.rates]
        projected: Tensor = self.projection(torch.cat(branches, 1))
        return projected


def deeplab_v3_resnet50(
    *,
    num_classes: int,
    in_channels: int = 3,
    width: float = 1.0,
    output_stride: int = 16,
    multi_grid: Sequence[int] = (1, 2, 4),
    rates: Sequence[int] = (6, 12, 18),
) -> DeepLabV3:
    """DeepLab v3 on ResNet-50; 39 048 533 parameters for 21 classes. Options as for `deeplab_v3_resnet101`."""
    check_channels(num_classes=num_classes, in_channels=in_channels, width=width)
    return _deeplab_v3(
        resnet50(in_channels=in_channels, width=width), num_classes, width, output_stride, multi_grid, rates
    )


def deeplab_v3_resnet101(
    *,
    num_classes: int,
    in_channels: int = 3,
    width: float = 1.0,
    output_stride: int = 16,
    multi_grid: Sequence[int] = (1, 2, 4),
    rates: Sequence[int] = (6, 12, 18),
) -> DeepLabV3:
    """DeepLab v3 on ResNet-101; 58 040 661 parameters for 21 classes.

    Args:
        width: times the published channels, of the backbone and of the pyramid.
        output_stride: 32, 16, 8 or 4; the paper trains at 16 and also tests at 8.
        multi_grid: factor on the dilation of each unit of layer4.
        rates: of the pyramid at output stride 16; at 8 they are doubled.

    Raises:
        BadOption: a number that no network can have.
    """
    check_channels(num_classes=num_classes, in_channels=in_channels, width=width)
    return _deeplab_v3(
        resnet101(in_channels=in_channels, width=width), num_classes, width, output_stride, multi_grid, rates
    )


def _deeplab_v3(
    backbone: ResNet,
    num_classes: int,
    width: float,
    output_stride: int,
    multi_grid: Sequence[int],
    rates: Sequence[int],
) -> DeepLabV3:
    set_multi_grid(set_output_stride(backbone, output_stride, first_unit="dilated"), multi_grid)
    for rate in rates:
        check_count("each of rates", rate)
    scaled_rates = [max(1, rate * 16 // output_stride) for rate in rates]
    pyramid = ASPP(backbone.channels.res5, scaled_rates, scaled(256, width))
    return DeepLabV3(backbone, pyramid, num_classes=num_classes)
