"""What the FCNs of every data set share: the streams of Figure 3, and where they lie on each other.

Long, Shelhamer, Darrell: Fully Convolutional Networks for Semantic Segmentation, CVPR 2015 (arXiv 1411.4038),
Figure 3, §3.3, §4.2. Reference code: fcn.berkeleyvision.org, `voc-fcn8s/net.py`, `surgery.py`, and Caffe's
`coord_map.py`, from which the crops follow. Backbone: `backbones/vgg.py`; no ResNet.

**Differences:** see `fcn.py`.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from pixelwise.backbones.vgg import VGG16, VGGFeatures
from pixelwise.errors import BadOption
from pixelwise.layers.crop import crop
from pixelwise.layers.head import Head
from pixelwise.layers.resample import Resampling
from pixelwise.layers.resample_graph import smaller

Padding = Literal["released", "same"]


def two_streams(
    features: VGGFeatures,
    score_fr: nn.Module,
    upscore2: nn.Module,
    score_pool4: nn.Module,
    alignment: "Alignment",
    *,
    fusion: Literal["sum", "max"] = "sum",
) -> Tensor:
    """The scores of fc7 and of pool4 fused, at 1/16 (Figure 3, dashed line)."""
    upscored: Tensor = upscore2(score_fr(features.fc7))
    return fuse(upscored, score_pool4(features.pool4), alignment.fuse_pool4, fusion)


def three_streams(
    features: VGGFeatures,
    score_fr: nn.Module,
    upscore2: nn.Module,
    score_pool4: nn.Module,
    upscore_pool4: nn.Module,
    score_pool3: nn.Module,
    alignment: "Alignment",
) -> Tensor:
    """The scores of fc7, of pool4 and of pool3 fused, at 1/8 (Figure 3, dotted line)."""
    fuse_pool4 = two_streams(features, score_fr, upscore2, score_pool4, alignment)
    return fuse(upscore_pool4(fuse_pool4), score_pool3(features.pool3), alignment.fuse_pool3)


def fuse(upscored: Tensor, skip: Tensor, starts: tuple[int, int], fusion: Literal["sum", "max"] = "sum") -> Tensor:
    """The sum, or the larger, of both where they lie on each other.

    Args:
        starts: first row and column that is kept of `upscored`, and of `skip`.
    """
    at, skip_at = starts
    height, width = (smaller(a - at, b - skip_at) for a, b in zip(upscored.shape[-2:], skip.shape[-2:], strict=True))
    upscored = crop(upscored, (height, width), start=(at, at))
    skip = crop(skip, (height, width), start=(skip_at, skip_at))
    return torch.maximum(upscored, skip) if fusion == "max" else upscored + skip


@dataclass(frozen=True)
class Upscore:
    """The last upsampling, fixed and bilinear, from the grid of the scores to the picture's pixels.

    Attributes:
        factor: stride of the grid.
        crop: first row and column that is kept of a deconvolution; None where nothing is cropped, as each cell is the
            middle of factor × factor pixels.
        kernel: of the deconvolution; 2·factor if left out.
    """

    factor: int
    crop: int | None = None
    kernel: int | None = None

    def __call__(self, scores: Tensor, images: Tensor) -> Head:
        """The scores and how they lie on the pictures."""
        coarse, size = (scores.shape[-2], scores.shape[-1]), (images.shape[-2], images.shape[-1])
        if self.crop is None:
            return Head(scores, Resampling.blocks(coarse, size, factor=self.factor))
        resampling = Resampling.deconvolution(coarse, size, factor=self.factor, offset=self.crop, kernel=self.kernel)
        return Head(scores, resampling)


class Alignment(NamedTuple):
    """Where the streams of a padded VGG-16 are cropped to lie on each other, and on the picture."""

    fuse_pool4: tuple[int, int]  # first row and column kept of upscore2, of score_pool4
    fuse_pool3: tuple[int, int]  # … of upscore_pool4, of score_pool3
    upscore: Upscore  # of 32s
    upscore16: Upscore  # of 16s
    upscore8: Upscore  # of 8s
    pool4_alone: Upscore
    pool5_stride1: Upscore


ALIGNMENTS: dict[Padding, Alignment] = {
    "released": Alignment(
        fuse_pool4=(0, 5),
        fuse_pool3=(0, 9),
        upscore=Upscore(32, crop=19),
        upscore16=Upscore(16, crop=27),
        upscore8=Upscore(8, crop=31),
        pool4_alone=Upscore(16, crop=107),
        pool5_stride1=Upscore(16, crop=11),
    ),
    "same": Alignment(
        fuse_pool4=(1, 0),
        fuse_pool3=(1, 0),
        upscore=Upscore(32),
        upscore16=Upscore(16),
        upscore8=Upscore(8),
        pool4_alone=Upscore(16),
        pool5_stride1=Upscore(16),
    ),
}


def padded_vgg16(
    padding: Padding, *, in_channels: int, width: float, pool5_stride: Literal[1, 2] = 2
) -> tuple[VGG16, Alignment]:
    """VGG-16 with conv1_1 and fc6 padded, and how its streams then lie.

    Raises:
        BadOption: there is no such padding.
    """
    if padding not in ("released", "same"):
        raise BadOption(f'padding must be "released" or "same", got {padding!r}')
    around = {"padding": 100, "fc6_padding": 0}
    if padding == "same":
        around = {"padding": 1, "fc6_padding": 3 if pool5_stride == 2 else 6}  # fc6 has 7 × 7 or 14 × 14 taps
    backbone = VGG16(in_channels=in_channels, width=width, pool5_stride=pool5_stride, **around)
    return backbone, ALIGNMENTS[padding]


class BilinearUpsampling(nn.Module):
    """The fixed deconvolution of kernel 4 and stride 2: (N, K, h, w) → (N, K, 2h + 2, 2w + 2) float32."""

    def forward(self, scores: Tensor) -> Tensor:
        """Upsample; nothing is cropped."""
        height, width = scores.shape[-2:]
        resampling = Resampling.deconvolution((height, width), (2 * height + 2, 2 * width + 2), factor=2, offset=0)
        return resampling.apply(scores)


class Scale(nn.Module):
    """One fixed factor for each channel, (N, C, h, w) → (N, C, h, w): Caffe's Scale with rate 0 and no bias."""

    def __init__(self, channels: int, factor: float) -> None:
        super().__init__()
        self.weight: Tensor
        self.register_buffer("weight", torch.full((channels,), factor))

    def forward(self, values: Tensor) -> Tensor:
        """Each channel times its factor."""
        return values * self.weight[:, None, None]


def upsampling(num_classes: int, *, learned: bool, bias: bool = False) -> nn.Module:
    """The 2× upsampling between two streams, (N, K, h, w) → (N, K, 2h + 2, 2w + 2); a bias can only be learned."""
    if not learned:
        return BilinearUpsampling()
    layer = nn.ConvTranspose2d(num_classes, num_classes, 4, stride=2, bias=bias)
    taps = torch.tensor((0.25, 0.75, 0.75, 0.25), device=layer.weight.device)  # FCN's surgery.py, kernel 4
    with torch.no_grad():
        layer.weight.zero_()
        layer.weight.diagonal().copy_((taps[:, None] * taps)[:, :, None])
        if layer.bias is not None:
            layer.bias.zero_()
    return layer


def score(channels: int, num_classes: int) -> nn.Conv2d:
    """A 1 × 1 convolution to the classes that starts at zero: Caffe's default filler, and §4.2 of the paper."""
    layer = nn.Conv2d(channels, num_classes, 1)
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer
