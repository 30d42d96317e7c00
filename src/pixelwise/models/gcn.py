"""GCN: classification with large kernels, built from two strips each, and refined boundaries, on a ResNet.

Peng, Zhang, Yu, Luo, Sun: Large Kernel Matters – Improve Semantic Segmentation by Global Convolutional Network,
CVPR 2017 (arXiv 1703.02719), Figure 2, §3. No reference code; the ladder's order and its nine refinements are those of
ZijunDeng/pytorch-semantic-segmentation.

ResNet flavor: MSRA's, 7 × 7 stem with an unpadded pool, the stride in the 1 × 1; no dilation. A picture of 512 has a
last map of 16 × 16, which the kernel of 15 nearly covers (Cityscapes: 25 on crops of 800). Pictures are
BGR, 0–255, less their mean. The recipe has batches of one picture with momentum 0.99.

**Differences:**
- from the paper: the upsamplings by 2 are deconvolutions there; here, as in the ports, they are bilinear and fixed.
  Cell j of a map lies at pixel j·stride + 2, for the stem's pool, and in the last two steps at j·stride, so output i
  takes its value at i/2 (not at FCN's i/2 − 1/4), in the step between at (i − 1)/2, and the sums of the ladder join
  cells that lie on each other, at every size.
- convolutions have biases, as in the port; the paper's own table counts without them (782K for k = 9 on 2048 channels).
- `convolution="stack"`: that the 3 × 3 convolutions keep the input's channels until the last, and that no ReLU stands
  between them, as in the other two kinds, is UNVERIFIED.
- the paper's ResNet-GCN, a backbone with such kernels, is left out: its widths are UNVERIFIED.
- initialization is He's, as in the port; the paper's is UNVERIFIED.
"""

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional

from pixelwise.backbones.resnet import ResNet, resnet50, resnet101, resnet152
from pixelwise.errors import BadOption
from pixelwise.layers.channels import check_channels, check_count
from pixelwise.layers.head import Head, full_size
from pixelwise.layers.initialization import he_initialize
from pixelwise.layers.resample import Resampling
from pixelwise.models.paper import Paper

PAPER = Paper(
    "Peng, Zhang, Yu, Luo, Sun",
    "Large Kernel Matters – Improve Semantic Segmentation by Global Convolutional Network",
    2017,
    "arXiv 1703.02719",
)

Convolution = Literal["global", "trivial", "stack"]


class GCN(nn.Module):
    """Scores of four maps on a ladder up to the picture: (N, C, H, W) → (N, K, H, W) logits (Figure 2A).

    Args:
        classifier: makes the layer from a map's channels to the classes.
        refinement: makes a layer on the scores; `nn.Identity` for none.
    """

    def __init__(
        self,
        backbone: ResNet,
        num_classes: int,
        classifier: Callable[[int, int], nn.Module],
        refinement: Callable[[int], nn.Module],
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.gcn_res5, self.gcn_res4, self.gcn_res3, self.gcn_res2 = (
            nn.Sequential(classifier(channels, num_classes), refinement(num_classes))
            for channels in reversed(backbone.channels)
        )
        self.br_res4, self.br_res3, self.br_res2 = (refinement(num_classes) for _ in range(3))
        self.br_half, self.br_full = refinement(num_classes), refinement(num_classes)
        he_initialize(self)

    def heads(self, images: Tensor) -> dict[str, Head]:
        """One head on the picture's own grid."""
        res2, res3, res4, res5 = self.backbone(images)
        height, width = images.shape[-2:]
        scores = self.gcn_res5(res5)  # 1/32
        scores = self.br_res4(upsample2(scores, _size(res4)) + self.gcn_res4(res4))  # 1/16
        scores = self.br_res3(upsample2(scores, _size(res3)) + self.gcn_res3(res3))  # 1/8
        scores = self.br_res2(upsample2(scores, _size(res2)) + self.gcn_res2(res2))  # 1/4
        scores = self.br_half(upsample2(scores, ((height + 1) // 2, (width + 1) // 2), offset=-1))
        scores = self.br_full(upsample2(scores, (height, width)))
        return {"logits": Head(scores, Resampling.identity((height, width)))}

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) → (N, K, H, W) float32 logits, for every H and W from 1 up."""
        return full_size(self.heads(images))


class GlobalConvolution(nn.Module):
    """k × 1 then 1 × k, and 1 × k then k × 1, summed, with no ReLU: (N, C, h, w) → (N, K, h, w) (Figure 2B).

    Each position sees k × k others for 2k(C + K)K weights instead of k²CK.

    Args:
        kernel: k, odd.
    """

    def __init__(self, in_channels: int, num_classes: int, *, kernel: int, bias: bool = True) -> None:
        super().__init__()
        tall = partial(nn.Conv2d, kernel_size=(kernel, 1), padding=(kernel // 2, 0), bias=bias)
        wide = partial(nn.Conv2d, kernel_size=(1, kernel), padding=(0, kernel // 2), bias=bias)
        self.left = nn.Sequential(tall(in_channels, num_classes), wide(num_classes, num_classes))
        self.right = nn.Sequential(wide(in_channels, num_classes), tall(num_classes, num_classes))

    def forward(self, features: Tensor) -> Tensor:
        """The sum of both branches."""
        scores: Tensor = self.left(features) + self.right(features)
        return scores


class BoundaryRefinement(nn.Module):
    """The scores and what two 3 × 3 convolutions add to them: (N, K, h, w) → (N, K, h, w) (Figure 2C)."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(num_classes, num_classes, 3, padding=1)
        self.conv2 = nn.Conv2d(num_classes, num_classes, 3, padding=1)

    def forward(self, scores: Tensor) -> Tensor:
        """The sum s + conv(ReLU(conv(s)))."""
        residual: Tensor = self.conv2(functional.relu(self.conv1(scores)))
        return scores + residual


def trivial_convolution(in_channels: int, num_classes: int, *, kernel: int, bias: bool = True) -> nn.Conv2d:
    """One k × k convolution (Table 2): the same field of view for k²CK weights."""
    return nn.Conv2d(in_channels, num_classes, kernel, padding=kernel // 2, bias=bias)


def stacked_convolutions(in_channels: int, num_classes: int, *, kernel: int, bias: bool = True) -> nn.Sequential:
    """(k − 1)/2 convolutions of 3 × 3 in a row (Table 3): the same field of view."""
    channels = [in_channels] * (kernel // 2) + [num_classes]
    return nn.Sequential(*(nn.Conv2d(i, o, 3, padding=1, bias=bias) for i, o in pairwise(channels)))


def upsample2(scores: Tensor, size: tuple[int, int], *, offset: int = 0) -> Tensor:
    """Twice the grid, (N, K, ⌈h/2⌉, ⌈w/2⌉) → (N, K, h, w): output i is the value at (i + offset)/2."""
    return Resampling.zoom(_size(scores), size, factor=2, offset=offset).apply(scores).to(scores.dtype)


def gcn_resnet50(
    *,
    num_classes: int,
    in_channels: int = 3,
    width: float = 1.0,
    kernel: int = 15,
    convolution: Convolution = "global",
    boundary_refinement: bool = True,
) -> GCN:
    """GCN on ResNet-50; 26 052 308 parameters for 21 classes. Options as for `gcn_resnet152`."""
    check_channels(num_classes=num_classes, in_channels=in_channels, width=width)
    backbone = resnet50(in_channels=in_channels, width=width, stride_in="1x1", stem_pool="unpadded")
    return _gcn(backbone, num_classes, kernel, convolution, boundary_refinement)


def gcn_resnet101(
    *,
    num_classes: int,
    in_channels: int = 3,
    width: float = 1.0,
    kernel: int = 15,
    convolution: Convolution = "global",
    boundary_refinement: bool = True,
) -> GCN:
    """GCN on ResNet-101; 45 044 436 parameters for 21 classes. Options as for `gcn_resnet152`."""
    check_channels(num_classes=num_classes, in_channels=in_channels, width=width)
    backbone = resnet101(in_channels=in_channels, width=width, stride_in="1x1", stem_pool="unpadded")
    return _gcn(backbone, num_classes, kernel, convolution, boundary_refinement)


def gcn_resnet152(
    *,
    num_classes: int,
    in_channels: int = 3,
    width: float = 1.0,
    kernel: int = 15,
    convolution: Convolution = "global",
    boundary_refinement: bool = True,
) -> GCN:
    """GCN on ResNet-152, the paper's; 60 688 084 parameters for 21 classes.

    Args:
        width: times the backbone's channels; the head has as many as there are classes.
        kernel: side of the kernels, odd; the paper compares 3 to 15 with a base of 1.
        convolution: "global", or what the paper compares it with: a "trivial" k × k or a "stack" of 3 × 3, k from 3 up.
        boundary_refinement: with the residual blocks on the scores, or without.

    Raises:
        BadOption: a number that no network can have.
    """
    check_channels(num_classes=num_classes, in_channels=in_channels, width=width)
    backbone = resnet152(in_channels=in_channels, width=width, stride_in="1x1", stem_pool="unpadded")
    return _gcn(backbone, num_classes, kernel, convolution, boundary_refinement)


def _gcn(backbone: ResNet, num_classes: int, kernel: int, convolution: Convolution, boundary_refinement: bool) -> GCN:
    check_count("kernel", kernel)
    if kernel % 2 == 0:
        raise BadOption(f"kernel must be odd, so that padding keeps the size, got {kernel}")
    kinds: dict[str, Callable[..., nn.Module]] = {
        "global": GlobalConvolution,
        "trivial": trivial_convolution,
        "stack": stacked_convolutions,
    }
    if convolution not in list(kinds):
        raise BadOption(f'convolution must be "global", "trivial" or "stack", got {convolution!r}')
    if convolution == "stack" and kernel == 1:
        raise BadOption("a stack of 3 × 3 convolutions needs a kernel from 3 up, got 1")
    classifier = partial(kinds[convolution], kernel=kernel)
    return GCN(backbone, num_classes, classifier, BoundaryRefinement if boundary_refinement else nn.Identity)


def _size(values: Tensor) -> tuple[int, int]:
    return values.shape[-2], values.shape[-1]
