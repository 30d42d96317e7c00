"""AlexNet as Caffe has it (CaffeNet): as a fully convolutional network, and as the classifier it came from.

Krizhevsky, Sutskever, Hinton: ImageNet Classification with Deep Convolutional Neural Networks, NIPS 2012, Figure 2,
§3.3–3.5, in the order convolution, ReLU, pool, norm of Caffe's reference network; made convolutional by Long,
Shelhamer, Darrell, CVPR 2015 (arXiv 1411.4038), §4.1. Reference code: fcn.berkeleyvision.org,
`voc-fcn-alexnet/train.prototxt`, whose names stand here. Pictures are BGR, 0–255 minus the mean 104.007, 116.669,
122.679. No ResNet.

**Differences:**
- from the paper: each norm follows its pool (there it comes first); one tower whose conv2, conv4 and conv5 have two
  groups, where the paper has two GPUs.
- from FCN's file: none in the trunk. Its biases are decayed and learn at the rate of the weights, unlike VGG's there:
  that is the recipe's.
- initialization is He et al. 2015 (fan-in, Caffe's "msra"), biases 0. The paper's Gaussians of deviation 0.01 with
  biases 0 and 1 need ImageNet and weeks; FCN starts from the released weights.
- a narrow twin has even channels, as the groups need them.
"""

from collections import OrderedDict
from typing import NamedTuple

import torch
from torch import Tensor, nn

from pixelwise.errors import ShapeError
from pixelwise.layers.channels import check_channels, scaled
from pixelwise.layers.fully_connected import FlattenMap, fully_connected
from pixelwise.layers.initialization import he_initialize
from pixelwise.layers.local_response import LocalResponseNorm

FC6_KERNEL = 6


class AlexNetFeatures(NamedTuple):
    """The map that FCN-32s reads, at 1/32 of the padded picture."""

    fc7: Tensor


class AlexNetChannels(NamedTuple):
    """The channels of `AlexNetFeatures`; 4096 at width 1."""

    fc7: int


class AlexNet(nn.Module):
    """Five convolutions, fc6 (6 × 6) and fc7 as convolutions: (N, C, H, W) → `AlexNetFeatures`.

    56 868 224 parameters at width 1.

    Args:
        width: times the published channels.
        padding: of conv1; 100 in FCN, which makes every size from 1 × 1 up possible, 0 in the classifier.
    """

    def __init__(self, *, in_channels: int = 3, width: float = 1.0, padding: int = 100) -> None:
        super().__init__()
        check_channels(in_channels=in_channels, width=width)
        fc = scaled(4096, width)
        self.channels = AlexNetChannels(fc7=fc)
        self.convolutions = AlexNetConvolutions(in_channels, width=width, padding=padding)
        self.fc6 = nn.Conv2d(self.convolutions.channels, fc, FC6_KERNEL)
        self.relu6 = nn.ReLU(inplace=True)
        self.drop6 = nn.Dropout(0.5)
        self.fc7 = nn.Conv2d(fc, fc, 1)
        self.relu7 = nn.ReLU(inplace=True)
        self.drop7 = nn.Dropout(0.5)
        he_initialize(self)

    def forward(self, images: Tensor) -> AlexNetFeatures:
        """The map after drop7.

        Raises:
            ShapeError: with a small `padding`, the picture is too small for fc6.
        """
        fc6 = self.drop6(self.relu6(self.fc6(self.convolutions(images))))
        return AlexNetFeatures(self.drop7(self.relu7(self.fc7(fc6))))


class AlexNetClassifier(nn.Module):
    """The classifier of the paper: (N, C, 227, 227) → (N, K) logits.

    Args:
        num_classes: K, 1000 in ImageNet.
        width: times the published channels.
    """

    def __init__(self, num_classes: int, *, in_channels: int = 3, width: float = 1.0) -> None:
        super().__init__()
        check_channels(num_classes=num_classes, in_channels=in_channels, width=width)
        self.convolutions = AlexNetConvolutions(in_channels, width=width, padding=0)
        flatten = FlattenMap((FC6_KERNEL, FC6_KERNEL), pictures=(199, 230, 227))
        self.classifier = fully_connected(self.convolutions.channels, scaled(4096, width), num_classes, flatten)
        he_initialize(self)

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, 227, 227) → (N, K) logits.

        Raises:
            ShapeError: pool5 has not 6 × 6 cells.
        """
        logits: Tensor = self.classifier(self.convolutions(images))
        return logits


class AlexNetConvolutions(nn.Sequential):
    """conv1 to pool5, which trunk and classifier share: (N, C, H, W) → (N, 256, h, w), h = ⌊(H + 2·padding − 7)/32⌋.

    Args:
        padding: of conv1.
    """

    def __init__(self, in_channels: int, *, width: float, padding: int) -> None:
        c1, c2, c3, c4, c5 = (2 * scaled(channels // 2, width) for channels in (96, 256, 384, 384, 256))
        super().__init__(
            OrderedDict(
                conv1=nn.Conv2d(in_channels, c1, 11, stride=4, padding=padding),
                relu1=nn.ReLU(inplace=True),
                pool1=nn.MaxPool2d(3, stride=2, ceil_mode=True),
                norm1=LocalResponseNorm(),
                conv2=nn.Conv2d(c1, c2, 5, padding=2, groups=2),
                relu2=nn.ReLU(inplace=True),
                pool2=nn.MaxPool2d(3, stride=2, ceil_mode=True),
                norm2=LocalResponseNorm(),
                conv3=nn.Conv2d(c2, c3, 3, padding=1),
                relu3=nn.ReLU(inplace=True),
                conv4=nn.Conv2d(c3, c4, 3, padding=1, groups=2),
                relu4=nn.ReLU(inplace=True),
                conv5=nn.Conv2d(c4, c5, 3, padding=1, groups=2),
                relu5=nn.ReLU(inplace=True),
                pool5=nn.MaxPool2d(3, stride=2, ceil_mode=True),
            )
        )
        self.channels = c5
        self.least = max(1, 32 * FC6_KERNEL + 7 - 2 * padding)

    def forward(self, images: Tensor) -> Tensor:
        """The map after pool5.

        Raises:
            ShapeError: it would be too small for fc6.
        """
        if not torch.compiler.is_exporting() and min(images.shape[-2:]) < self.least:
            raise ShapeError(
                f"fc6 needs a map of at least {FC6_KERNEL} × {FC6_KERNEL}, which pictures from "
                f"{self.least} × {self.least} up give, got {images.shape[-2]} × {images.shape[-1]}; "
                "use larger pictures, or the trunk with padding=100"
            )
        pool5: Tensor = super().forward(images)  # type: ignore[no-untyped-call]  # untyped in torch
        return pool5


def alexnet_classifier(*, num_classes: int = 1000, in_channels: int = 3, width: float = 1.0) -> AlexNetClassifier:
    """AlexNet for pictures of 227 × 227; 60 965 224 parameters for 1000 classes.

    Raises:
        BadOption: a number that no network can have.
    """
    return AlexNetClassifier(num_classes, in_channels=in_channels, width=width)
