"""RefineNet: coarse maps are refined by finer ones, block after block, with short paths for the gradient.

Lin, Milan, Shen, Reid: RefineNet: Multi-Path Refinement Networks for High-Resolution Semantic Segmentation, CVPR 2017
(arXiv 1611.06612), Figures 2 and 3, §3. Reference code: guosheng/refinenet (MATLAB, the authors') and its port with
converted weights, DrSleep/refinenet-pytorch, whose order of operations stands here.

ResNet flavor: MSRA's, 7 × 7 stem with an unpadded pool, the stride in the 1 × 1; no dilation. Pictures are RGB, 0–255,
less 128 in all channels, and 1.2 times their size. The recipe: batches of one picture, the moments of batch norms
frozen (their scales and shifts learn), the loss on the network's own grid of 1/4.

The port's names, i from 1 for the block on res5 to 4 for the one on res2:

| port                                       | here                                      |
| ------------------------------------------ | ----------------------------------------- |
| conv1, bn1, layer1 … layer4                | backbone.…                                |
| p_ims1d2_outl{i}_dimred                    | refine.{i−1}.adapt.0.dimred               |
| adapt_stage{i}_b.0.{u}_conv…               | refine.{i−1}.adapt.0.{u}.conv…            |
| adapt_stage{i}_b2_joint_varout_dimred      | refine.{i−1}.fusion.joint_varout_dimred.1 |
| mflow_conv_g{i−1}_b3_joint_varout_dimred   | refine.{i−1}.fusion.joint_varout_dimred.0 |
| mflow_conv_g{i}_pool.0.{n}_outvar_dimred   | refine.{i−1}.pooling.outvar_dimred.{n−1}  |
| mflow_conv_g{i}_b.0.{u}_conv…              | refine.{i−1}.output.{u−1}.conv…           |
| clf_conv                                   | clf_conv                                  |

**Differences:**
- from the figures: two of the three units at the end of a block are those that the figure draws at the next one's
  coarse input, or before the classifier, and a chain has four pooling blocks where the figure draws two; both as in
  the released weights. `pooling_blocks` gives the figure's two.
- from the authors' present training code: it convolves before it pools; `pooling_order` gives that.
- from the authors' code: coarse maps are resized bilinearly, corners to corners, as in the port; there bicubically.
- from the port: its ResNet has the stride in the 3 × 3 and a padded pool; the weights that it converts are MSRA's,
  which have neither. `stride_in="3x3", stem_pool="padded"` gives the port's, which is torchvision's, too.
- from both: the last upsampling puts cell j where it lies, at pixel 4j + 2, and repeats the outermost cells; there the
  scores are resized to the picture as a whole.
- the 2-cascaded network has blocks (res5, res4) and (res3, res2, the first); its wiring in the paper is UNVERIFIED.
  A network of two image scales is left out, for the same reason.
- the trunk starts at He's initialization, not at ImageNet's weights; new convolutions as the authors', a Gaussian of
  deviation 0.01.
"""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional

from pixelwise.backbones.resnet import ResNet, StemPool, StrideIn, resnet50, resnet101, resnet152
from pixelwise.errors import BadOption
from pixelwise.layers.channels import check_channels, check_count, scaled
from pixelwise.layers.head import Head, full_size
from pixelwise.layers.resample import Resampling
from pixelwise.models.paper import Paper

PAPER = Paper(
    "Lin, Milan, Shen, Reid",
    "RefineNet: Multi-Path Refinement Networks for High-Resolution Semantic Segmentation",
    2017,
    "arXiv 1611.06612",
)

PoolingOrder = Literal["pool_conv", "conv_pool"]


class RefineNet(nn.Module):
    """A cascade of blocks from the coarsest map to the finest: (N, C, H, W) → (N, K, H, W) logits (Figure 2c).

    Args:
        refine: 4, 2 or 1 blocks that share the backbone's four maps, coarsest first.
    """

    def __init__(self, backbone: ResNet, refine: Sequence["RefineNetBlock"], num_classes: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.refine = nn.ModuleList(refine)
        self.dropout = nn.Dropout(0.5)
        self.first_cell = 0 if backbone.maxpool.padding else 2  # the pixel in whose place the cell (0, 0) lies
        self.clf_conv = _conv3x3(refine[-1].channels, num_classes, bias=True)
        for module in (*self.refine.modules(), self.clf_conv):
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, std=0.01)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def heads(self, images: Tensor) -> dict[str, Head]:
        """One head on the grid of 1/4."""
        res2, res3, res4, res5 = self.backbone(images)
        maps = [self.dropout(res5), self.dropout(res4), res3, res2]  # the code drops where there are more than 512
        share = len(maps) // len(self.refine)
        path = None
        for index, block in enumerate(self.refine):
            path = block(maps[index * share : (index + 1) * share], path)
        scores = self.clf_conv(self.dropout(path))
        height, width = images.shape[-2:]
        return {
            "logits": Head(
                scores,
                Resampling.zoom(
                    (scores.shape[-2], scores.shape[-1]), (height, width), factor=4, offset=-self.first_cell
                ),
            )
        }

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) → (N, K, H, W) float32 logits, for every H and W from 1 up."""
        return full_size(self.heads(images))


class RefineNetBlock(nn.Module):
    """Backbone maps adapted, fused with the path from the coarser block, pooled in a chain (Figure 3).

    Args:
        maps: for each of the backbone's, coarsest first, its channels and those it is reduced to.
        path: channels of the block before; None for the first.
        pooling_blocks: in the chain.
        pooling_order: of each of them.
    """

    def __init__(
        self,
        maps: Sequence[tuple[int, int]],
        path: int | None,
        *,
        pooling_blocks: int,
        pooling_order: PoolingOrder,
    ) -> None:
        super().__init__()
        self.adapt = nn.ModuleList(_adaptation(channels, reduced) for channels, reduced in maps)
        self.fusion = MultiResolutionFusion([*([] if path is None else [path]), *(reduced for _, reduced in maps)])
        self.channels = self.fusion.channels
        self.pooling = ChainedResidualPooling(self.channels, pooling_blocks, pooling_order)
        # one of this block, two of the next one's coarse input or of the classifier's
        self.output = nn.Sequential(*(ResidualConvUnit(self.channels) for _ in range(3)))

    def forward(self, maps: Sequence[Tensor], path: Tensor | None) -> Tensor:
        """(N, C, h, w) each, coarsest first, and the coarser path → (N, C′, h, w) on the grid of the last map."""
        adapted = [adapt(values) for adapt, values in zip(self.adapt, maps, strict=True)]
        fused = self.fusion(adapted if path is None else [path, *adapted])
        refined: Tensor = self.output(self.pooling(fused))
        return refined


class ResidualConvUnit(nn.Module):
    """A residual unit without batch norm: (N, C, h, w) → (N, C, h, w) (Figure 3b)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = _conv3x3(channels, channels, bias=True)
        self.conv_relu_varout_dimred = _conv3x3(channels, channels, bias=False)

    def forward(self, values: Tensor) -> Tensor:
        """The sum x + conv(ReLU(conv(ReLU(x))))."""
        residual: Tensor = self.conv_relu_varout_dimred(functional.relu(self.conv(functional.relu(values))))
        return values + residual


class MultiResolutionFusion(nn.Module):
    """Maps convolved to the fewest of their channels, resized to the last one's grid, and summed (Figure 3c).

    A single map passes as it is.

    Args:
        in_channels: of each map, coarsest first.
    """

    def __init__(self, in_channels: Sequence[int]) -> None:
        super().__init__()
        self.channels = min(in_channels)
        self.joint_varout_dimred = nn.ModuleList(
            _conv3x3(channels, self.channels, bias=False) for channels in in_channels if len(in_channels) > 1
        )

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """(N, C, h, w) each, coarsest first → (N, C′, h, w) on the grid of the last."""
        if len(maps) == 1:
            return maps[0]
        convolved = [conv(values) for conv, values in zip(self.joint_varout_dimred, maps, strict=True)]
        fused: Tensor = convolved.pop()
        for values in convolved:
            size, finest = (values.shape[-2], values.shape[-1]), (fused.shape[-2], fused.shape[-1])
            fused = fused + Resampling.align_corners(size, finest).apply(values).to(values.dtype)
        return fused


class ChainedResidualPooling(nn.Module):
    """A chain of 5 × 5 poolings and convolutions, each link added: (N, C, h, w) → (N, C, h, w) (Figure 3d).

    Args:
        blocks: links of the chain.
        order: what comes first in a link.
    """

    def __init__(self, channels: int, blocks: int, order: PoolingOrder) -> None:
        super().__init__()
        self.order = order
        self.pool = nn.MaxPool2d(5, stride=1, padding=2)
        self.outvar_dimred = nn.ModuleList(_conv3x3(channels, channels, bias=False) for _ in range(blocks))

    def forward(self, values: Tensor) -> Tensor:
        """ReLU(x), and the chain's links on it."""
        total = functional.relu(values)  # the only ReLU that no path goes around
        link = total
        for conv in self.outvar_dimred:
            link = conv(self.pool(link)) if self.order == "pool_conv" else self.pool(conv(link))
            total = total + link
        return total


def refinenet_resnet50(
    *,
    num_classes: int,
    in_channels: int = 3,
    width: float = 1.0,
    cascade: int = 4,
    pooling_blocks: int = 4,
    pooling_order: PoolingOrder = "pool_conv",
    stride_in: StrideIn = "1x1",
    stem_pool: StemPool = "unpadded",
) -> RefineNet:
    """RefineNet on ResNet-50; 99 060 309 parameters for 21 classes. Options as for `refinenet_resnet101`."""
    check_channels(num_classes=num_classes, in_channels=in_channels, width=width)
    backbone = resnet50(in_channels=in_channels, width=width, stride_in=stride_in, stem_pool=stem_pool)
    return _refinenet(backbone, num_classes, width, cascade, pooling_blocks, pooling_order)


def refinenet_resnet101(
    *,
    num_classes: int,
    in_channels: int = 3,
    width: float = 1.0,
    cascade: int = 4,
    pooling_blocks: int = 4,
    pooling_order: PoolingOrder = "pool_conv",
    stride_in: StrideIn = "1x1",
    stem_pool: StemPool = "unpadded",
) -> RefineNet:
    """RefineNet on ResNet-101; 118 052 437 parameters for 21 classes.

    Args:
        width: times the published channels, of the backbone and of the blocks.
        cascade: how many blocks share the four maps: 4, 2, or 1 that takes them all.
        pooling_blocks: links of a pooling chain; 4 in the released weights, 2 in the paper's figure.
        pooling_order: "pool_conv" as in the paper and the released weights, or "conv_pool", which the training code
            calls improved.
        stride_in, stem_pool: the flavor of the ResNet (`pixelwise.backbones.resnet`); "3x3" and "padded" to start from
            torchvision's weights.

    Raises:
        BadOption: a number that no network can have.
    """
    check_channels(num_classes=num_classes, in_channels=in_channels, width=width)
    backbone = resnet101(in_channels=in_channels, width=width, stride_in=stride_in, stem_pool=stem_pool)
    return _refinenet(backbone, num_classes, width, cascade, pooling_blocks, pooling_order)


def refinenet_resnet152(
    *,
    num_classes: int,
    in_channels: int = 3,
    width: float = 1.0,
    cascade: int = 4,
    pooling_blocks: int = 4,
    pooling_order: PoolingOrder = "pool_conv",
    stride_in: StrideIn = "1x1",
    stem_pool: StemPool = "unpadded",
) -> RefineNet:
    """RefineNet on ResNet-152; 133 696 085 parameters for 21 classes. Options as for `refinenet_resnet101`."""
    check_channels(num_classes=num_classes, in_channels=in_channels, width=width)
    backbone = resnet152(in_channels=in_channels, width=width, stride_in=stride_in, stem_pool=stem_pool)
    return _refinenet(backbone, num_classes, width, cascade, pooling_blocks, pooling_order)


def _refinenet(
    backbone: ResNet, num_classes: int, width: float, cascade: int, pooling_blocks: int, pooling_order: PoolingOrder
) -> RefineNet:
    check_count("cascade", cascade)
    if cascade not in (1, 2, 4):
        raise BadOption(f"cascade must be 4, 2 or 1 blocks for the four maps, got {cascade}")
    check_count("pooling_blocks", pooling_blocks)
    if pooling_order not in ("pool_conv", "conv_pool"):
        raise BadOption(f'pooling_order must be "pool_conv" or "conv_pool", got {pooling_order!r}')
    reduced = [scaled(channels, width) for channels in (512, 256, 256, 256)]
    maps = list(zip(reversed(backbone.channels), reduced, strict=True))
    blocks: list[RefineNetBlock] = []
    for first in range(0, 4, 4 // cascade):
        path = blocks[-1].channels if blocks else None
        taken = maps[first : first + 4 // cascade]
        blocks.append(RefineNetBlock(taken, path, pooling_blocks=pooling_blocks, pooling_order=pooling_order))
    return RefineNet(backbone, blocks, num_classes)


def _adaptation(in_channels: int, channels: int) -> nn.Sequential:
    """A map reduced to the block's channels, and two units."""
    layers: OrderedDict[str, nn.Module] = OrderedDict(dimred=_conv3x3(in_channels, channels, bias=False))
    layers["1"] = ResidualConvUnit(channels)
    layers["2"] = ResidualConvUnit(channels)
    return nn.Sequential(layers)


def _conv3x3(in_channels: int, out_channels: int, *, bias: bool) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=bias)
