"""VGG-16 as a fully convolutional network: fc6 and fc7 are convolutions, the maps after pool3 and pool4 come out.

Simonyan, Zisserman: Very Deep Convolutional Networks for Large-Scale Image Recognition, ICLR 2015 (arXiv 1409.1556),
Table 1, column D; made convolutional by Long, Shelhamer, Darrell, CVPR 2015 (arXiv 1411.4038), §3.1, §4.1.
Reference code: fcn.berkeleyvision.org, `voc-fcn8s/train.prototxt`. Pictures are BGR, 0–255 minus the mean
104.007, 116.669, 122.679.

**Differences:**
- from the classifier: no fc8; conv1_1 pads 100 in FCN, so that fc6, which pads nothing, has a map at every size;
  pooling rounds up, as Caffe's does (torchvision's rounds down).
- initialization is He et al. 2015 (fan-in, Caffe's "msra"), biases 0: the paper started from a smaller network,
  FCN from the released weights.
"""

from collections import OrderedDict
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from pixelwise.errors import ShapeError
from pixelwise.layers.channels import check_channels, scaled
from pixelwise.layers.fully_connected import FlattenMap, fully_connected
from pixelwise.layers.initialization import he_initialize

FC6_KERNEL = 7


class VGGFeatures(NamedTuple):
    """The maps that FCN reads, at 1/8, 1/16 and 1/32 of the padded picture."""

    pool3: Tensor
    pool4: Tensor
    fc7: Tensor


class VGGChannels(NamedTuple):
    """The channels of `VGGFeatures`; 256, 512, 4096 at width 1."""

    pool3: int
    pool4: int
    fc7: int


class VGG16(nn.Module):
    """Thirteen 3 × 3 convolutions in five groups, fc6, fc7: (N, C, H, W) → `VGGFeatures`.

    134 260 544 parameters at width 1.

    Args:
        width: times the published channels.
        padding: of conv1_1; 100 in FCN, which makes every size from 1 × 1 up possible, 1 in the classifier.
        fc6_padding: of fc6; 0 in FCN and in the classifier.
        pool5_stride: 2, or 1: then fc7 is at 1/16, fc6 has 14 × 14 taps instead of 7 × 7 to see as far, and pool5
            pads one row and column, so that any map that conv5_3 gives can be pooled (FCN, §4.2).
    """

    def __init__(
        self,
        *,
        in_channels: int = 3,
        width: float = 1.0,
        padding: int = 100,
        fc6_padding: int = 0,
        pool5_stride: Literal[1, 2] = 2,
    ) -> None:
        super().__init__()
        check_channels(in_channels=in_channels, width=width)
        c3, c4, c5, fc = (scaled(channels, width) for channels in (256, 512, 512, 4096))
        self.channels = VGGChannels(pool3=c3, pool4=c4, fc7=fc)
        self.conv1, self.conv2, self.conv3, self.conv4, self.conv5 = vgg16_groups(
            in_channels, width=width, padding=padding
        )
        if pool5_stride == 1:
            self.conv5.pool5 = nn.MaxPool2d(2, stride=1, padding=1)
        self.fc6 = nn.Conv2d(c5, fc, FC6_KERNEL * 2 // pool5_stride, padding=fc6_padding)
        self.relu6 = nn.ReLU(inplace=True)
        self.drop6 = nn.Dropout(0.5)
        self.fc7 = nn.Conv2d(fc, fc, 1)
        self.relu7 = nn.ReLU(inplace=True)
        self.drop7 = nn.Dropout(0.5)
        he_initialize(self)

    def forward(self, images: Tensor) -> VGGFeatures:
        """The three maps.

        Raises:
            ShapeError: with little padding, the picture is too small for fc6.
        """
        pool3 = self.conv3(self.conv2(self.conv1(images)))  # 1/8
        pool4 = self.conv4(pool3)  # 1/16
        pool5 = self.conv5(pool4)  # 1/32
        least = self.fc6.kernel_size[0] - 2 * int(self.fc6.padding[0])
        if not torch.compiler.is_exporting() and min(pool5.shape[-2:]) < least:
            raise ShapeError(
                f"fc6 needs a map of at least {least} × {least}, a picture of {tuple(images.shape[-2:])} "
                f"gives {tuple(pool5.shape[-2:])}; use padding=100, or fc6_padding"
            )
        fc6 = self.drop6(self.relu6(self.fc6(pool5)))
        return VGGFeatures(pool3, pool4, self.drop7(self.relu7(self.fc7(fc6))))


def vgg16_groups(in_channels: int, *, width: float, padding: int) -> list[nn.Sequential]:
    """The groups conv1 … conv5 of column D with their pools, which trunk and classifier share.

    Args:
        padding: of conv1_1.
    """
    c1, c2, c3, c4, c5 = (scaled(channels, width) for channels in (64, 128, 256, 512, 512))
    return [
        vgg_group(1, in_channels, c1, convolutions=2, first_padding=padding, pool=pool2()),
        vgg_group(2, c1, c2, convolutions=2, pool=pool2()),
        vgg_group(3, c2, c3, convolutions=3, pool=pool2()),
        vgg_group(4, c3, c4, convolutions=3, pool=pool2()),
        vgg_group(5, c4, c5, convolutions=3, pool=pool2()),
    ]


def vgg_group(
    number: int,
    in_channels: int,
    channels: int,
    *,
    convolutions: int,
    padding: int = 1,
    first_padding: int | None = None,
    dilation: int = 1,
    pool: nn.Module | None = None,
) -> nn.Sequential:
    """3 × 3 convolutions `conv{number}_1` … with ReLUs `relu{number}_1` …, and `pool{number}` where one is given.

    Args:
        padding: of each convolution; `first_padding` of the first alone, where it differs.
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for index in range(1, convolutions + 1):
        first = index == 1
        layers[f"conv{number}_{index}"] = nn.Conv2d(
            in_channels if first else channels,
            channels,
            3,
            padding=first_padding if first and first_padding is not None else padding,
            dilation=dilation,
        )
        layers[f"relu{number}_{index}"] = nn.ReLU(inplace=True)
    if pool is not None:
        layers[f"pool{number}"] = pool
    return nn.Sequential(layers)


def pool2() -> nn.MaxPool2d:
    """VGG's pool of 2 × 2, which rounds up as Caffe's does."""
    return nn.MaxPool2d(2, ceil_mode=True)


class VGG16Classifier(nn.Module):
    """The classifier of the paper: (N, C, 224, 224) → (N, K) logits.

    Args:
        num_classes: K, 1000 in ImageNet.
        width: times the published channels.
    """

    def __init__(self, num_classes: int, *, in_channels: int = 3, width: float = 1.0) -> None:
        super().__init__()
        check_channels(num_classes=num_classes, in_channels=in_channels, width=width)
        self.conv1, self.conv2, self.conv3, self.conv4, self.conv5 = vgg16_groups(in_channels, width=width, padding=1)
        flatten = FlattenMap((FC6_KERNEL, FC6_KERNEL), pictures=(193, 224, 224))
        self.classifier = fully_connected(scaled(512, width), scaled(4096, width), num_classes, flatten)
        he_initialize(self)

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, 224, 224) → (N, K) logits.

        Raises:
            ShapeError: pool5 has not 7 × 7 cells.
        """
        pool5 = self.conv5(self.conv4(self.conv3(self.conv2(self.conv1(images)))))
        logits: Tensor = self.classifier(pool5)
        return logits


def vgg16_classifier(*, num_classes: int = 1000, in_channels: int = 3, width: float = 1.0) -> VGG16Classifier:
    """VGG-16 for pictures of 224 × 224; 138 357 544 parameters for 1000 classes.

    Raises:
        BadOption: a number that no network can have.
    """
    return VGG16Classifier(num_classes, in_channels=in_channels, width=width)
