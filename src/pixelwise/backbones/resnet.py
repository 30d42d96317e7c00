"""ResNet 18, 34, 50, 101, 152: the maps of its four stages, and the classifier.

He, Zhang, Ren, Sun: Deep Residual Learning for Image Recognition, CVPR 2016 (arXiv 1512.03385), Table 1, Figure 5.
Reference code: torchvision `models/resnet.py`, whose ImageNet files fit name for name; its pictures are RGB/255,
mean .485 .456 .406, deviation .229 .224 .225.

Several flavors share names and shapes, so that weights of one load silently into another and give wrong features:

- `stride_in`: "3x3", a stage's stride stands in `conv2` of its first unit (torchvision, "v1.5"; PSPNet-101), or "1x1",
  in `conv1`, as in the paper's Caffe release ("v1"; DeepLab v2, RefineNet, GCN; PSPNet-50);
- `deep_stem`: three 3 × 3 convolutions of 64, 64 and 128 channels instead of one 7 × 7 of 64 (PSPNet);
- `stem_pool`, 3 × 3 at stride 2: "padded" by 1, cell j around pixel 4j (torchvision, PSPNet); "padded_ceil", which also
  rounds up, as Caffe's pools do (DeepLab v2); or "unpadded", which rounds up, too, cell j around pixel 4j + 2, as in
  the paper's Caffe release (RefineNet, GCN).

**Differences:**
- from the paper and its release: the default is torchvision's flavor, see above.
- from torchvision: the trunk has no average pool and no `fc`, the classifier has both; a batch norm that sees one
  value per channel in training uses its running statistics; strides become dilations by `surgery.set_output_stride`.
- initialization is torchvision's (He et al. 2015, fan-out), as in the paper but for the side of the fan.
"""

from collections import OrderedDict
from typing import Literal, NamedTuple, TypedDict, Unpack

from torch import Tensor, nn

from pixelwise.errors import BadOption
from pixelwise.layers.channels import check_channels, scaled
from pixelwise.layers.initialization import he_initialize
from pixelwise.layers.mirror import mirror_to_at_least
from pixelwise.layers.small_batch import BatchNorm2d

StrideIn = Literal["1x1", "3x3"]
StemPool = Literal["padded", "padded_ceil", "unpadded"]


class Options(TypedDict, total=False):
    """What the builders take besides the classes: `in_channels`, 3; `width`, 1; and the flavor, see above."""

    in_channels: int
    width: float
    stride_in: StrideIn
    deep_stem: bool
    stem_pool: StemPool


class ResNetFeatures(NamedTuple):
    """The maps after each stage, at 1/4, 1/8, 1/16 and 1/32 of the picture before any surgery."""

    res2: Tensor
    res3: Tensor
    res4: Tensor
    res5: Tensor


class ResNetChannels(NamedTuple):
    """The channels of `ResNetFeatures`; 256, 512, 1024, 2048 at width 1 with bottlenecks, a quarter without."""

    res2: int
    res3: int
    res4: int
    res5: int


class ResNetStages(nn.Module):
    """Stem and four stages of units, which trunk and classifier share.

    A picture of any size from 1 × 1 up: each stride gives ⌈size/2⌉, but a pool that rounds up may give one cell more. A
    side of 1 or 2 pixels, too small for an unpadded pool, is mirrored to 3.

    Args:
        unit: `Bottleneck` or `BasicBlock`.
        units: how many in each stage.
        width: times the published channels.
    """

    def __init__(
        self,
        unit: "type[BasicBlock | Bottleneck]",
        units: tuple[int, int, int, int],
        *,
        in_channels: int = 3,
        width: float = 1.0,
        stride_in: StrideIn = "3x3",
        deep_stem: bool = False,
        stem_pool: StemPool = "padded",
    ) -> None:
        super().__init__()
        check_channels(in_channels=in_channels, width=width)
        if stride_in not in ("1x1", "3x3"):
            raise BadOption(f'stride_in must be "1x1" or "3x3", got {stride_in!r}')
        if stem_pool not in ("padded", "padded_ceil", "unpadded"):
            raise BadOption(f'stem_pool must be "padded", "padded_ceil" or "unpadded", got {stem_pool!r}')
        inner = [scaled(channels, width) for channels in (64, 128, 256, 512)]
        stem = inner[1] if deep_stem else inner[0]
        self.channels = ResNetChannels(*(unit.expansion * channels for channels in inner))
        self.conv1: nn.Module
        if deep_stem:
            self.conv1 = _deep_stem(in_channels, inner[0], stem)
        else:
            self.conv1 = nn.Conv2d(in_channels, stem, 7, stride=2, padding=3, bias=False)
        self.bn1 = BatchNorm2d(stem)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, padding=int(stem_pool != "unpadded"), ceil_mode=stem_pool != "padded")
        stages = zip((stem, *self.channels[:-1]), inner, units, (1, 2, 2, 2), strict=True)
        self.layer1, self.layer2, self.layer3, self.layer4 = (
            nn.Sequential(
                unit(before, channels, stride=stride, stride_in=stride_in),
                *(unit(unit.expansion * channels, channels) for _ in range(number - 1)),
            )
            for before, channels, number, stride in stages
        )
        he_initialize(self, "fan_out")

    def stages(self, images: Tensor) -> ResNetFeatures:
        """The four maps of pictures (N, C, H, W)."""
        if self.maxpool.padding == 0:
            images = mirror_to_at_least(images, (3, 3))
        stem = self.maxpool(self.relu(self.bn1(self.conv1(images))))  # 1/4
        res2 = self.layer1(stem)
        res3 = self.layer2(res2)  # 1/8
        res4 = self.layer3(res3)  # 1/16
        return ResNetFeatures(res2, res3, res4, self.layer4(res4))  # 1/32


class ResNet(ResNetStages):
    """The trunk: (N, C, H, W) → `ResNetFeatures`."""

    def forward(self, images: Tensor) -> ResNetFeatures:
        """The four maps."""
        return self.stages(images)


class BasicBlock(nn.Module):
    """Two 3 × 3 convolutions and a shortcut (Figure 5, left); the stride stands in the first."""

    expansion = 1

    def __init__(self, in_channels: int, inner: int, *, stride: int = 1, stride_in: StrideIn = "3x3") -> None:
        super().__init__()
        if stride_in != "3x3":
            raise BadOption(
                f'units of two 3 × 3 convolutions have no 1 × 1: stride_in must be "3x3", got {stride_in!r}'
            )
        self.conv1 = nn.Conv2d(in_channels, inner, 3, stride=stride, padding=1, bias=False)
        self.bn1 = BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, inner, 3, padding=1, bias=False)
        self.bn2 = BatchNorm2d(inner)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _projection(in_channels, inner, stride)

    def forward(self, values: Tensor) -> Tensor:
        """(N, C, H, W) → (N, inner, ⌈H/stride⌉, ⌈W/stride⌉)."""
        shortcut = values if self.downsample is None else self.downsample(values)
        values = self.relu(self.bn1(self.conv1(values)))
        values = self.bn2(self.conv2(values))
        values += shortcut
        summed: Tensor = self.relu(values)
        return summed


class Bottleneck(nn.Module):
    """1 × 1, 3 × 3, 1 × 1 and a shortcut (Figure 5, right)."""

    expansion = 4

    def __init__(self, in_channels: int, inner: int, *, stride: int = 1, stride_in: StrideIn = "3x3") -> None:
        super().__init__()
        out_channels = self.expansion * inner
        first, second = (stride, 1) if stride_in == "1x1" else (1, stride)
        self.conv1 = nn.Conv2d(in_channels, inner, 1, stride=first, bias=False)
        self.bn1 = BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, inner, 3, stride=second, padding=1, bias=False)
        self.bn2 = BatchNorm2d(inner)
        self.conv3 = nn.Conv2d(inner, out_channels, 1, bias=False)
        self.bn3 = BatchNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _projection(in_channels, out_channels, stride)

    def forward(self, values: Tensor) -> Tensor:
        """(N, C, H, W) → (N, 4·inner, ⌈H/stride⌉, ⌈W/stride⌉)."""
        shortcut = values if self.downsample is None else self.downsample(values)
        values = self.relu(self.bn1(self.conv1(values)))
        values = self.relu(self.bn2(self.conv2(values)))
        values = self.bn3(self.conv3(values))
        values += shortcut
        summed: Tensor = self.relu(values)
        return summed


class ResNetClassifier(ResNetStages):
    """The classifier of the paper: (N, C, H, W) → (N, K) logits; torchvision's names, `fc` included.

    Args:
        num_classes: K, 1000 in ImageNet.
    """

    def __init__(
        self,
        unit: type[BasicBlock | Bottleneck],
        units: tuple[int, int, int, int],
        *,
        num_classes: int = 1000,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(unit, units, **options)
        check_channels(num_classes=num_classes)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(self.channels.res5, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) → (N, K) logits."""
        logits: Tensor = self.fc(self.flatten(self.avgpool(self.stages(images).res5)))
        return logits


def resnet18(**options: Unpack[Options]) -> ResNet:
    """18 layers: 2, 2, 2, 2 basic units; 11 176 512 parameters."""
    return ResNet(BasicBlock, (2, 2, 2, 2), **options)


def resnet34(**options: Unpack[Options]) -> ResNet:
    """34 layers: 3, 4, 6, 3 basic units; 21 284 672 parameters."""
    return ResNet(BasicBlock, (3, 4, 6, 3), **options)


def resnet50(**options: Unpack[Options]) -> ResNet:
    """50 layers: 3, 4, 6, 3 bottlenecks; 23 508 032 parameters, 23 631 808 with the deep stem."""
    return ResNet(Bottleneck, (3, 4, 6, 3), **options)


def resnet101(**options: Unpack[Options]) -> ResNet:
    """101 layers: 3, 4, 23, 3 bottlenecks; 42 500 160 parameters, 42 623 936 with the deep stem."""
    return ResNet(Bottleneck, (3, 4, 23, 3), **options)


def resnet152(**options: Unpack[Options]) -> ResNet:
    """152 layers: 3, 8, 36, 3 bottlenecks; 58 143 808 parameters, 58 267 584 with the deep stem."""
    return ResNet(Bottleneck, (3, 8, 36, 3), **options)


def resnet18_classifier(*, num_classes: int = 1000, **options: Unpack[Options]) -> ResNetClassifier:
    """The classifier of 18 layers; 11 689 512 parameters for 1000 classes."""
    return ResNetClassifier(BasicBlock, (2, 2, 2, 2), num_classes=num_classes, **options)


def resnet34_classifier(*, num_classes: int = 1000, **options: Unpack[Options]) -> ResNetClassifier:
    """The classifier of 34 layers; 21 797 672 parameters for 1000 classes."""
    return ResNetClassifier(BasicBlock, (3, 4, 6, 3), num_classes=num_classes, **options)


def resnet50_classifier(*, num_classes: int = 1000, **options: Unpack[Options]) -> ResNetClassifier:
    """The classifier of 50 layers; 25 557 032 parameters for 1000 classes."""
    return ResNetClassifier(Bottleneck, (3, 4, 6, 3), num_classes=num_classes, **options)


def resnet101_classifier(*, num_classes: int = 1000, **options: Unpack[Options]) -> ResNetClassifier:
    """The classifier of 101 layers; 44 549 160 parameters for 1000 classes."""
    return ResNetClassifier(Bottleneck, (3, 4, 23, 3), num_classes=num_classes, **options)


def resnet152_classifier(*, num_classes: int = 1000, **options: Unpack[Options]) -> ResNetClassifier:
    """The classifier of 152 layers; 60 192 808 parameters for 1000 classes."""
    return ResNetClassifier(Bottleneck, (3, 8, 36, 3), num_classes=num_classes, **options)


def _deep_stem(in_channels: int, inner: int, out_channels: int) -> nn.Sequential:
    """Three 3 × 3 convolutions in PSPNet's names; the batch norm of the last is the network's `bn1`."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    layers["conv1_1"] = nn.Conv2d(in_channels, inner, 3, stride=2, padding=1, bias=False)
    layers["bn1_1"] = BatchNorm2d(inner)
    layers["relu1_1"] = nn.ReLU(inplace=True)
    layers["conv1_2"] = nn.Conv2d(inner, inner, 3, padding=1, bias=False)
    layers["bn1_2"] = BatchNorm2d(inner)
    layers["relu1_2"] = nn.ReLU(inplace=True)
    layers["conv1_3"] = nn.Conv2d(inner, out_channels, 3, padding=1, bias=False)
    return nn.Sequential(layers)


def _projection(in_channels: int, out_channels: int, stride: int) -> nn.Sequential | None:
    """The shortcut's 1 × 1 convolution where shape or channels change."""
    if stride == 1 and in_channels == out_channels:
        return None
    conv = nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False)
    return nn.Sequential(conv, BatchNorm2d(out_channels))
