"""GoogLeNet: the map after its last inception, and the classifier.

Szegedy, Liu, Jia, Sermanet, Reed, Anguelov, Erhan, Vanhoucke, Rabinovich: Going Deeper with Convolutions, CVPR 2015
(arXiv 1409.4842), Table 1, Figures 2b and 3. Reference code: Caffe's `models/bvlc_googlenet/train_val.prototxt`.
Pictures are BGR, 0–255 minus the mean 104, 117, 123. No ResNet, and no batch norm.

A layer's own name, the last part of its path here, is the prototxt's with `_` for `/`: `inception_3a/5x5_reduce` is
`inception3.inception_3a.branch_5x5.inception_3a_5x5_reduce`, `conv1/7x7_s2` is `conv1.conv1_7x7_s2`.

**Differences:**
- no auxiliary classifiers (`loss1`, `loss2`), which serve the training of the classifier alone; FCN keeps only the
  last, too (Long et al. 2015, §4.1).
- a picture too small for a single cell (below 31 pixels a side, at the published padding) is first extended by its
  mirror image at the bottom and the right, so that the grid stays where the picture's first pixel puts it.
- initialization is He et al. 2015 (fan-in, Caffe's "msra"), biases 0, and each filter behind a ReLU less its mean.
  The maps are positive throughout, so that a filter's sum decides its sign everywhere: without the second step about
  one channel in six is dead from the start, and one in eight with the prototxt's ("xavier", biases of 0.2).
"""

from collections import OrderedDict
from typing import NamedTuple

import torch
from torch import Tensor, nn

from pixelwise.errors import ShapeError
from pixelwise.layers.channels import check_channels, scaled
from pixelwise.layers.fully_connected import FlattenMap
from pixelwise.layers.initialization import he_initialize
from pixelwise.layers.local_response import LocalResponseNorm
from pixelwise.layers.mirror import mirror_to_at_least

# Table 1, the output channels of 1x1, 3x3 reduce, 3x3, 5x5 reduce, 5x5, pool proj
INCEPTIONS = {
    "inception_3a": (64, 96, 128, 16, 32, 32),
    "inception_3b": (128, 128, 192, 32, 96, 64),
    "inception_4a": (192, 96, 208, 16, 48, 64),
    "inception_4b": (160, 112, 224, 24, 64, 64),
    "inception_4c": (128, 128, 256, 24, 64, 64),
    "inception_4d": (112, 144, 288, 32, 64, 64),
    "inception_4e": (256, 160, 320, 32, 128, 128),
    "inception_5a": (256, 160, 320, 32, 128, 128),
    "inception_5b": (384, 192, 384, 48, 128, 128),
}

POOL5_KERNEL = 7
LEAST = 32 * POOL5_KERNEL - 1  # the smallest side with 7 cells at the published padding


class GoogLeNetFeatures(NamedTuple):
    """The last map, at 1/32 of the picture."""

    inception_5b: Tensor


class GoogLeNetChannels(NamedTuple):
    """The channels of `GoogLeNetFeatures`; 1024 at width 1."""

    inception_5b: int


class GoogLeNet(nn.Module):
    """Three convolutions and nine inceptions: (N, C, H, W) → `GoogLeNetFeatures`, of ⌊(H + 2·padding − 5)/32⌋ rows.

    Any size from 1 × 1 up. 5 973 552 parameters at width 1.

    Args:
        width: times the published channels.
        padding: of conv1; 3 as published.
    """

    def __init__(self, *, in_channels: int = 3, width: float = 1.0, padding: int = 3) -> None:
        super().__init__()
        check_channels(in_channels=in_channels, width=width)
        stem, reduced, c2 = (scaled(channels, width) for channels in (64, 64, 192))
        self.least = max(1, 37 - 2 * padding)  # of a picture with a single cell
        self.conv1 = nn.Sequential(
            OrderedDict(
                conv1_7x7_s2=nn.Conv2d(in_channels, stem, 7, stride=2, padding=padding),
                conv1_relu_7x7=nn.ReLU(inplace=True),
                pool1_3x3_s2=pool3(),
                pool1_norm1=LocalResponseNorm(),
            )
        )
        self.conv2 = nn.Sequential(
            OrderedDict(
                conv2_3x3_reduce=nn.Conv2d(stem, reduced, 1),
                conv2_relu_3x3_reduce=nn.ReLU(inplace=True),
                conv2_3x3=nn.Conv2d(reduced, c2, 3, padding=1),
                conv2_relu_3x3=nn.ReLU(inplace=True),
                conv2_norm2=LocalResponseNorm(),
                pool2_3x3_s2=pool3(),
            )
        )
        self.inception3, c3 = inceptions("3", c2, width=width, pool=pool3())
        self.inception4, c4 = inceptions("4", c3, width=width, pool=pool3())
        self.inception5, c5 = inceptions("5", c4, width=width)
        self.channels = GoogLeNetChannels(inception_5b=c5)
        _initialize(self)

    def forward(self, images: Tensor) -> GoogLeNetFeatures:
        """The map after inception 5b."""
        pool1 = self.conv1(mirror_to_at_least(images, (self.least, self.least)))  # 1/4
        pool2 = self.conv2(pool1)  # 1/8
        pool3 = self.inception3(pool2)  # 1/16
        pool4 = self.inception4(pool3)  # 1/32
        return GoogLeNetFeatures(self.inception5(pool4))


class Inception(nn.Module):
    """Four branches side by side (Figure 2b): (N, C, H, W) → (N, C′, H, W), in the order 1x1, 3x3, 5x5, pool.

    Args:
        name: before each layer's own.
        widths: the output channels of 1x1, 3x3 reduce, 3x3, 5x5 reduce, 5x5, pool proj.
    """

    def __init__(self, name: str, in_channels: int, widths: list[int]) -> None:
        super().__init__()
        one, three_reduce, three, five_reduce, five, proj = widths
        self.channels = one + three + five + proj
        self.branch_1x1 = _branch(name, {"1x1": nn.Conv2d(in_channels, one, 1)})
        self.branch_3x3 = _branch(
            name,
            {
                "3x3_reduce": nn.Conv2d(in_channels, three_reduce, 1),
                "3x3": nn.Conv2d(three_reduce, three, 3, padding=1),
            },
        )
        self.branch_5x5 = _branch(
            name,
            {
                "5x5_reduce": nn.Conv2d(in_channels, five_reduce, 1),
                "5x5": nn.Conv2d(five_reduce, five, 5, padding=2),
            },
        )
        self.branch_pool = _branch(
            name, {"pool": nn.MaxPool2d(3, stride=1, padding=1), "pool_proj": nn.Conv2d(in_channels, proj, 1)}
        )

    def forward(self, values: Tensor) -> Tensor:
        """The branches' maps, one after the other."""
        branches = (self.branch_1x1, self.branch_3x3, self.branch_5x5, self.branch_pool)
        return torch.cat([branch(values) for branch in branches], 1)


class GoogLeNetClassifier(nn.Module):
    """The classifier of the paper: (N, C, 224, 224) → (N, K) logits.

    Args:
        num_classes: K, 1000 in ImageNet.
    """

    def __init__(self, backbone: GoogLeNet, num_classes: int) -> None:
        super().__init__()
        check_channels(num_classes=num_classes)
        self.backbone = backbone
        self.pool5_7x7_s1 = nn.AvgPool2d(POOL5_KERNEL, stride=1)
        self.pool5_drop_7x7_s1 = nn.Dropout(0.4)
        self.flatten = FlattenMap((1, 1), pictures=(LEAST, LEAST + 31, 224))
        self.loss3_classifier = nn.Linear(backbone.channels.inception_5b, num_classes)
        he_initialize(self.loss3_classifier)

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, 224, 224) → (N, K) logits.

        Raises:
            ShapeError: inception 5b has not 7 × 7 cells.
        """
        if min(images.shape[-2:]) < LEAST:
            raise ShapeError(
                f"pool5 averages 7 × 7 cells, which pictures from {LEAST} × {LEAST} up give, "
                f"got {images.shape[-2]} × {images.shape[-1]}; resize the pictures to 224 × 224"
            )
        pool5 = self.pool5_drop_7x7_s1(self.pool5_7x7_s1(self.backbone(images).inception_5b))
        logits: Tensor = self.loss3_classifier(self.flatten(pool5))
        return logits


def inceptions(
    number: str, in_channels: int, *, width: float, pool: nn.Module | None = None
) -> tuple[nn.Sequential, int]:
    """The inceptions of one size, `inception_{number}a` …, with the pool behind them, and their output channels."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for name, widths in INCEPTIONS.items():
        if name.startswith(f"inception_{number}"):
            inception = Inception(name, in_channels, [scaled(channels, width) for channels in widths])
            layers[name] = inception
            in_channels = inception.channels
    if pool is not None:
        layers[f"pool{number}_3x3_s2"] = pool
    return nn.Sequential(layers), in_channels


def pool3() -> nn.MaxPool2d:
    """The pool of 3 × 3 that halves, rounding up as Caffe's does."""
    return nn.MaxPool2d(3, stride=2, ceil_mode=True)


def googlenet_classifier(*, num_classes: int = 1000, in_channels: int = 3, width: float = 1.0) -> GoogLeNetClassifier:
    """GoogLeNet for pictures of 224 × 224; 6 998 552 parameters for 1000 classes.

    Args:
        width: times the published channels.

    Raises:
        BadOption: a number that no network can have.
    """
    check_channels(num_classes=num_classes, in_channels=in_channels, width=width)
    return GoogLeNetClassifier(GoogLeNet(in_channels=in_channels, width=width), num_classes)


def _branch(name: str, modules: dict[str, nn.Module]) -> nn.Sequential:
    """The modules under the inception's name, a ReLU after each convolution."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for own, module in modules.items():
        layers[f"{name}_{own}"] = module
        if isinstance(module, nn.Conv2d):
            layers[f"{name}_relu_{own}"] = nn.ReLU(inplace=True)
    return nn.Sequential(layers)


def _initialize(network: GoogLeNet) -> None:
    """He's initialization with filters that add up to 0, but for conv1, whose input has both signs."""
    he_initialize(network)
    for name, layer in network.named_modules():
        if isinstance(layer, nn.Conv2d) and not name.startswith("conv1.") and layer.weight[0].numel() > 1:
            with torch.no_grad():
                layer.weight -= layer.weight.mean((1, 2, 3), keepdim=True)
