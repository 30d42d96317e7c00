"""ResNet 50, 101, 152 without the classifier, in torchvision's flavor ("v1.5").

He, Zhang, Ren, Sun: Deep Residual Learning for Image Recognition, CVPR 2016 (arXiv 1512.03385), Table 1.
Reference code: torchvision `models/resnet.py`, whose ImageNet files fit name for name; its pictures are RGB/255,
mean .485 .456 .406, deviation .229 .224 .225.

**Differences:**
- from the paper and its Caffe release ("v1"): the stride of a stage stands in the 3 × 3 `conv2` of its first unit,
  not in the 1 × 1 `conv1`. Shapes are equal, so weights of one load into the other and give wrong features.
- from torchvision: no average pool and no `fc`; a batch norm that sees one value per channel in training uses its
  running statistics; strides become dilations by `surgery.set_output_stride`.
- initialization is torchvision's (He et al. 2015, fan-out), as in the paper but for the side of the fan.
"""

from typing import NamedTuple

from torch import Tensor, nn

from pixelwise.layers.channels import check_channels, scaled
from pixelwise.layers.small_batch import BatchNorm2d


class ResNetFeatures(NamedTuple):
    """The maps after each stage, at 1/4, 1/8, 1/16 and 1/32 of the picture before any surgery."""

    res2: Tensor
    res3: Tensor
    res4: Tensor
    res5: Tensor


class ResNetChannels(NamedTuple):
    """The channels of `ResNetFeatures`; 256, 512, 1024, 2048 at width 1."""

    res2: int
    res3: int
    res4: int
    res5: int


class ResNet(nn.Module):
    """Stem and four stages of bottlenecks: (N, C, H, W) → `ResNetFeatures`.

    A picture of any size from 1 × 1 up: each stride gives ⌈size/2⌉.

    Args:
        units: bottlenecks of each stage.
        width: times the published channels.
    """

    def __init__(self, units: tuple[int, int, int, int], *, in_channels: int = 3, width: float = 1.0) -> None:
        super().__init__()
        check_channels(in_channels=in_channels, width=width)
        inner = [scaled(channels, width) for channels in (64, 128, 256, 512)]
        self.channels = ResNetChannels(*(Bottleneck.expansion * channels for channels in inner))
        self.conv1 = nn.Conv2d(in_channels, inner[0], 7, stride=2, padding=3, bias=False)
        self.bn1 = BatchNorm2d(inner[0])
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.layer1 = _stage(inner[0], inner[0], units[0], stride=1)
        self.layer2 = _stage(self.channels.res2, inner[1], units[1], stride=2)
        self.layer3 = _stage(self.channels.res3, inner[2], units[2], stride=2)
        self.layer4 = _stage(self.channels.res4, inner[3], units[3], stride=2)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> ResNetFeatures:
        """The four maps."""
        stem = self.maxpool(self.relu(self.bn1(self.conv1(images))))  # 1/4
        res2 = self.layer1(stem)
        res3 = self.layer2(res2)  # 1/8
        res4 = self.layer3(res3)  # 1/16
        return ResNetFeatures(res2, res3, res4, self.layer4(res4))  # 1/32


class Bottleneck(nn.Module):
    """1 × 1, 3 × 3, 1 × 1 and a shortcut (Figure 5, right)."""

    expansion = 4

    def __init__(self, in_channels: int, inner: int, *, stride: int) -> None:
        super().__init__()
        out_channels = self.expansion * inner
        self.conv1 = nn.Conv2d(in_channels, inner, 1, bias=False)
        self.bn1 = BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, inner, 3, stride=stride, padding=1, bias=False)
        self.bn2 = BatchNorm2d(inner)
        self.conv3 = nn.Conv2d(inner, out_channels, 1, bias=False)
        self.bn3 = BatchNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=True)
        self.downsample: nn.Sequential | None = None
        if stride != 1 or in_channels != out_channels:
            conv = nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False)
            self.downsample = nn.Sequential(conv, BatchNorm2d(out_channels))

    def forward(self, values: Tensor) -> Tensor:
        """(N, C, H, W) → (N, 4·inner, ⌈H/stride⌉, ⌈W/stride⌉)."""
        shortcut = values if self.downsample is None else self.downsample(values)
        values = self.relu(self.bn1(self.conv1(values)))
        values = self.relu(self.bn2(self.conv2(values)))
        values = self.bn3(self.conv3(values))
        values += shortcut
        summed: Tensor = self.relu(values)
        return summed


def resnet50(*, in_channels: int = 3, width: float = 1.0) -> ResNet:
    """50 layers: 3, 4, 6, 3 units; 23 508 032 parameters."""
    return ResNet((3, 4, 6, 3), in_channels=in_channels, width=width)


def resnet101(*, in_channels: int = 3, width: float = 1.0) -> ResNet:
    """101 layers: 3, 4, 23, 3 units; 42 500 160 parameters."""
    return ResNet((3, 4, 23, 3), in_channels=in_channels, width=width)


def resnet152(*, in_channels: int = 3, width: float = 1.0) -> ResNet:
    """152 layers: 3, 8, 36, 3 units; 58 143 808 parameters."""
    return ResNet((3, 8, 36, 3), in_channels=in_channels, width=width)


def _stage(in_channels: int, inner: int, units: int, *, stride: int) -> nn.Sequential:
    first = Bottleneck(in_channels, inner, stride=stride)
    rest = (Bottleneck(Bottleneck.expansion * inner, inner, stride=1) for _ in range(units - 1))
    return nn.Sequential(first, *rest)
