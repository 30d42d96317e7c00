"""DeepLab v3: atrous spatial pyramid pooling with image-level features, or more blocks, on a dilated ResNet.

Chen, Papandreou, Schroff, Adam: Rethinking Atrous Convolution for Semantic Image Segmentation, 2017
(arXiv 1706.05587): the pyramid of Figure 5, §3.3, with Table 5's best row for defaults; the cascade of Figure 3 (b),
§3.2, with Table 4's. Reference code: TensorFlow models, `research/deeplab`.

ResNet flavor: torchvision's ("v1.5", 7 × 7 stem, RGB/255), so that its ImageNet files load; dilated with
`first_unit="dilated"`, the rates the paper prints. Dilations of the stages, times the multi-grid from layer4 on:

| output stride | layer2 | layer3 | layer4 | layer5 | layer6 | layer7 | rates of the pyramid |
| ------------- | ------ | ------ | ------ | ------ | ------ | ------ | -------------------- |
| 256           | 1      | 1      | 1      | 1      | 1      | 1      |                      |
| 32            | 1      | 1      | 1      | 2      | 4      | 8      | 3, 6, 9              |
| 16            | 1      | 1      | 2      | 4      | 8      | 16     | 6, 12, 18            |
| 8             | 1      | 2      | 4      | 8      | 16     | 32     | 12, 24, 36           |
| 4             | 2      | 4      | 8      | 16     | 32     | 64     | 24, 48, 72           |

Every power of two is possible, up to 32, 64, 128 or 256 with blocks up to 4, 5, 6 or 7. At 2 the stem's pool has lost
its stride, too, at 1 its convolution.

Cell j of the scores lies at pixel j·stride; the last upsampling is bilinear between cells, which is align-corners on
sizes k·stride + 1, as are the crops of 513 and 769.

Its recipe upsamples the scores for the loss, and freezes the batch norms' statistics in the second phase.

**Differences:**
- from the release: its ResNet ("beta") has a stem of three 3 × 3 convolutions (`deep_stem=True`; R-101 then has its
  58 164 437 parameters), takes pictures as 2/255·x − 1, and has the stride in the last unit of a stage.
- from the release: image pooling takes the whole map at every size; the release pools a window of the training crop.
- from the align-corners of both, on sizes other than k·stride + 1: that stretches the grid there, by up to a cell.
- batch norms have momentum 0.1; the paper's decay of 0.9997 (0.0003 in torch's sense) belongs to its recipe.
- from the paper, as in the release: the concatenation starts with image pooling, dropout 0.1 follows the projection,
  and the logits start at a truncated Gaussian of deviation 0.01.
- rates at other output strides than 8 and 16 follow the same rule, rate·16/stride; the paper names none.
- the pyramid is initialized as the backbone; the release's own initialization of it is UNVERIFIED.
- from the paper, a block of the cascade has its stride in the first unit, as layer4 has, and not in the last; it has
  no projection, so the shortcut of a unit with a stride takes every other cell.
- no code of the cascade is known to us: scores straight from the last block, without dropout, and new blocks as random
  as a new layer4 are UNVERIFIED.
- from torchvision's `deeplabv3_*` (`models/torchvision.py`): those have rates 12, 24, 36, no multi-grid, another first
  unit, one more 3 × 3 convolution, dropout 0.5, and half-pixel upsampling.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pixelwise.backbones.resnet import Bottleneck, ResNet, ResNetStages, resnet50, resnet101
from pixelwise.errors import BadOption
from pixelwise.layers.channels import check_channels, check_counts, scaled
from pixelwise.layers.conv import conv_bn_relu
from pixelwise.layers.head import Head, full_size
from pixelwise.layers.initialization import he_initialize
from pixelwise.layers.resample import Resampling
from pixelwise.models.paper import Paper
from pixelwise.surgery.dilation import set_multi_grid, set_output_stride

PAPER = Paper(
    "Chen, Papandreou, Schroff, Adam",
    "Rethinking Atrous Convolution for Semantic Image Segmentation",
    2017,
    "arXiv 1706.05587",
)


class DeepLabV3(nn.Module):
    """Backbone, pyramid, classifier: (N, C, H, W) → (N, K, H, W) logits (Figure 5).

    Args:
        backbone: already dilated.
        pyramid: gives `channels` channels.
        output_stride: of the backbone.
    """

    def __init__(
        self, backbone: ResNet, pyramid: "ASPP", *, num_classes: int, output_stride: int, dropout: float = 0.1
    ) -> None:
        super().__init__()
        self.output_stride = output_stride
        self.backbone = backbone
        self.aspp = pyramid
        self.dropout = nn.Dropout(dropout)
        self.logits = _classifier(pyramid.channels, num_classes)

    def heads(self, images: Tensor) -> dict[str, Head]:
        """One head on the backbone's grid."""
        scores = self.logits(self.dropout(self.aspp(self.backbone(images).res5)))
        return {"logits": Head(scores, _zoom(scores, images, self.output_stride))}

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) → (N, K, H, W) float32 logits, for every H and W from 1 up."""
        return full_size(self.heads(images))


class DeepLabV3Cascade(nn.Module):
    """Backbone with more blocks, classifier: (N, C, H, W) → (N, K, H, W) logits (Figure 3 (b)).

    Args:
        backbone: already dilated.
        output_stride: of the backbone.
    """

    def __init__(self, backbone: "CascadedResNet", *, num_classes: int, output_stride: int) -> None:
        super().__init__()
        self.output_stride = output_stride
        self.backbone = backbone
        self.logits = _classifier(backbone.channels.res5, num_classes)

    def heads(self, images: Tensor) -> dict[str, Head]:
        """One head on the backbone's grid."""
        scores = self.logits(self.backbone(images))
        return {"logits": Head(scores, _zoom(scores, images, self.output_stride))}

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) → (N, K, H, W) float32 logits, for every H and W from 1 up."""
        return full_size(self.heads(images))


class ASPP(nn.Module):
    """Image pooling, 1 × 1 and dilated 3 × 3 branches, concatenated and projected: (N, C, h, w) → (N, 256, h, w).

    Args:
        rates: dilation of each 3 × 3 branch.
        channels: of each branch and of the output; 256 in the paper.
        image_pooling: with that branch; Table 5 has rows without.
    """

    def __init__(self, in_channels: int, rates: Sequence[int], channels: int, *, image_pooling: bool = True) -> None:
        super().__init__()
        self.channels = channels
        self.image_pooling = nn.Sequential(*conv_bn_relu(in_channels, channels, 1)) if image_pooling else None
        self.aspp0 = nn.Sequential(*conv_bn_relu(in_channels, channels, 1))
        self.rates = nn.ModuleList(
            nn.Sequential(*conv_bn_relu(in_channels, channels, 3, dilation=rate)) for rate in rates
        )
        branches = int(image_pooling) + 1 + len(rates)
        self.projection = nn.Sequential(*conv_bn_relu(branches * channels, channels, 1))
        he_initialize(self, "fan_out")

    def forward(self, features: Tensor) -> Tensor:
        """The pyramid; the pooled branch is the same at every position, as bilinear upsampling of one cell is."""
        branches = [self.aspp0(features), *(branch(features) for branch in self.rates)]
        if self.image_pooling is not None:
            pooled = self.image_pooling(features.mean((-2, -1), keepdim=True))
            branches.insert(0, pooled.expand(-1, -1, *features.shape[-2:]))
        projected: Tensor = self.projection(torch.cat(branches, 1))
        return projected


class CascadedResNet(ResNetStages):
    """ResNet, and behind it copies of its last block: (N, C, H, W) → (N, 2048, h, w).

    The copies are `layer5`, `layer6` …, and each halves the grid before any surgery, as layer2 to layer4 do. Each adds
    13 387 776 parameters at width 1.

    Args:
        units: how many in each of the first four stages.
        copies: how many blocks come behind them.
    """

    def __init__(
        self,
        units: tuple[int, int, int, int],
        *,
        copies: int,
        in_channels: int = 3,
        width: float = 1.0,
        deep_stem: bool = False,
    ) -> None:
        super().__init__(Bottleneck, units, in_channels=in_channels, width=width, deep_stem=deep_stem)
        self.copies = [f"layer{number}" for number in range(5, 5 + copies)]
        for name in self.copies:
            self.add_module(name, _block(self.channels.res5, units[3]))

    def forward(self, images: Tensor) -> Tensor:
        """The map of the last block."""
        values = self.stages(images).res5
        for name in self.copies:
            values = self.get_submodule(name)(values)
        return values


def _block(channels: int, units: int) -> nn.Sequential:
    """A block with stride 2 that keeps the channels; its shortcuts have no projection."""
    first, *others = (Bottleneck(channels, channels // Bottleneck.expansion) for _ in range(units))
    first.conv2.stride = (2, 2)
    first.downsample = nn.Sequential(nn.AvgPool2d(1, stride=2))  # averages of one cell: every other cell
    block = nn.Sequential(first, *others)
    he_initialize(block, "fan_out")
    return block


def _classifier(channels: int, num_classes: int) -> nn.Conv2d:
    layer = nn.Conv2d(channels, num_classes, 1)
    nn.init.trunc_normal_(layer.weight, std=0.01, a=-0.02, b=0.02)  # TensorFlow cuts at two deviations
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def _zoom(scores: Tensor, images: Tensor, output_stride: int) -> Resampling:
    """The last upsampling, from the grid of the scores to the pictures' size."""
    return Resampling.zoom(
        (scores.shape[-2], scores.shape[-1]), (images.shape[-2], images.shape[-1]), factor=output_stride
    )


def deeplab_v3_resnet50(
    *,
    num_classes: int,
    in_channels: int = 3,
    width: float = 1.0,
    output_stride: int = 16,
    multi_grid: Sequence[int] = (1, 2, 4),
    rates: Sequence[int] = (6, 12, 18),
    image_pooling: bool = True,
    deep_stem: bool = False,
) -> DeepLabV3:
    """DeepLab v3 on ResNet-50; 39 048 533 parameters for 21 classes. Options as for `deeplab_v3_resnet101`."""
    check_channels(num_classes=num_classes, in_channels=in_channels, width=width)
    backbone = resnet50(in_channels=in_channels, width=width, deep_stem=deep_stem)
    return _deeplab_v3(backbone, num_classes, width, output_stride, multi_grid, rates, image_pooling)


def deeplab_v3_resnet101(
    *,
    num_classes: int,
    in_channels: int = 3,
    width: float = 1.0,
    output_stride: int = 16,
    multi_grid: Sequence[int] = (1, 2, 4),
    rates: Sequence[int] = (6, 12, 18),
    image_pooling: bool = True,
    deep_stem: bool = False,
) -> DeepLabV3:
    """DeepLab v3 on ResNet-101; 58 040 661 parameters for 21 classes.

    Args:
        width: times the published channels, of the backbone and of the pyramid.
        output_stride: 32, 16, 8, 4, 2 or 1; the paper trains at 16 and also tests at 8.
        multi_grid: factor on the dilation of each unit of layer4.
        rates: of the pyramid at output stride 16; at 8 they are doubled.
        image_pooling: with the image-level branch.
        deep_stem: three 3 × 3 convolutions as in the release, and not one of 7 × 7; 58 164 437 parameters.

    Raises:
        BadOption: a number that no network can have.
    """
    check_channels(num_classes=num_classes, in_channels=in_channels, width=width)
    backbone = resnet101(in_channels=in_channels, width=width, deep_stem=deep_stem)
    return _deeplab_v3(backbone, num_classes, width, output_stride, multi_grid, rates, image_pooling)


def deeplab_v3_cascade_resnet50(
    *,
    num_classes: int,
    in_channels: int = 3,
    width: float = 1.0,
    blocks: int = 7,
    output_stride: int = 16,
    multi_grid: Sequence[int] = (1, 2, 1),
    deep_stem: bool = False,
) -> DeepLabV3Cascade:
    """The cascade on ResNet-50; 63 714 389 parameters for 21 classes. Options as for `deeplab_v3_cascade_resnet101`."""
    check_channels(num_classes=num_classes, in_channels=in_channels, width=width)
    backbone = CascadedResNet(
        (3, 4, 6, 3), copies=_copies(blocks), in_channels=in_channels, width=width, deep_stem=deep_stem
    )
    return _cascade(backbone, num_classes, output_stride, multi_grid)


def deeplab_v3_cascade_resnet101(
    *,
    num_classes: int,
    in_channels: int = 3,
    width: float = 1.0,
    blocks: int = 7,
    output_stride: int = 16,
    multi_grid: Sequence[int] = (1, 2, 1),
    deep_stem: bool = False,
) -> DeepLabV3Cascade:
    """The cascade on ResNet-101; 82 706 517 parameters for 21 classes.

    Args:
        width: times the published channels.
        blocks: the last one, 4 (no cascade) to 7.
        output_stride: a power of two up to 32, 64, 128 or 256 with blocks up to 4, 5, 6 or 7; the paper trains
            at 16 and also tests at 8.
        multi_grid: factor on the dilation of each unit of layer4 and of each block behind it.
        deep_stem: three 3 × 3 convolutions as in the release, and not one of 7 × 7.

    Raises:
        BadOption: a number that no network can have.
    """
    check_channels(num_classes=num_classes, in_channels=in_channels, width=width)
    backbone = CascadedResNet(
        (3, 4, 23, 3), copies=_copies(blocks), in_channels=in_channels, width=width, deep_stem=deep_stem
    )
    return _cascade(backbone, num_classes, output_stride, multi_grid)


def _deeplab_v3(
    backbone: ResNet,
    num_classes: int,
    width: float,
    output_stride: int,
    multi_grid: Sequence[int],
    rates: Sequence[int],
    image_pooling: bool,
) -> DeepLabV3:
    check_counts("rates", rates)
    set_multi_grid(set_output_stride(backbone, output_stride, first_unit="dilated"), multi_grid)
    if any(rate * 16 % output_stride for rate in rates):
        raise BadOption(
            f"rates are for output stride 16; at {output_stride} they are times {16 / output_stride:g}, which "
            f"{tuple(rates)} does not allow; choose multiples of {output_stride // 16}"
        )
    scaled_rates = [rate * 16 // output_stride for rate in rates]
    pyramid = ASPP(backbone.channels.res5, scaled_rates, scaled(256, width), image_pooling=image_pooling)
    return DeepLabV3(backbone, pyramid, num_classes=num_classes, output_stride=output_stride)


def _copies(blocks: int) -> int:
    if not isinstance(blocks, int) or blocks not in (4, 5, 6, 7):
        raise BadOption(f"blocks must be 4, 5, 6 or 7, the number of the last one, got {blocks!r}")
    return blocks - 4


def _cascade(
    backbone: CascadedResNet, num_classes: int, output_stride: int, multi_grid: Sequence[int]
) -> DeepLabV3Cascade:
    set_multi_grid(set_output_stride(backbone, output_stride, first_unit="dilated"), multi_grid)
    return DeepLabV3Cascade(backbone, num_classes=num_classes, output_stride=output_stride)
