"""DeepLab v1: VGG-16 with holes, at stride 8: fc6 of 7 × 7, of 4 × 4, with a large field of view, with side branches.

Chen, Papandreou, Kokkinos, Murphy, Yuille: Semantic Image Segmentation with Deep Convolutional Nets and Fully Connected
CRFs, ICLR 2015 (arXiv 1412.7062), Figure 1, Table 2, §3.1–3.2, §4.3. Reference code: the authors' Caffe release,
`voc12/vgg128_noup` (4 × 4) and `voc12/config/deeplab_largeFOV`, whose names stand here. No ResNet. Pictures are BGR,
0–255 minus the mean 104.008, 116.669, 122.675.

| network                | pools 1–3 | fc6, rate, channels | score layer | cell j is at pixel | map of 321, 513, 514 |
| ---------------------- | --------- | ------------------- | ----------- | ------------------ | -------------------- |
| `deeplab_4x4`          | 2/2/1     | 4 × 4, 4, 4096      | fc8_pascal  | 8j − 7.5           | 42, 66, 67           |
| `deeplab_4x4_rate8`    | 2/2/1     | 4 × 4, 8, 4096      | fc8_pascal  | 8j − 7.5           | 42, 66, 67           |
| `deeplab_7x7`          | 2/2/1     | 7 × 7, 4, 4096      | fc8_pascal  | 8j − 7.5           | 42, 66, 67           |
| `deeplab_largefov`     | 3/2/1     | 3 × 3, 12, 1024     | fc8_voc12   | 8j                 | 41, 65, 66           |
| `deeplab_msc_largefov` | 3/2/1     | 3 × 3, 12, 1024     | fc8_voc12   | 8j                 | 41, 65, 66           |

Scores are zoomed by 8, cell j to pixel 8j; the networks with pools of 2 × 2 then crop 7 rows and columns, as their
test file does (514 → 67 → 529 → 514), which leaves half a pixel.

What the recipe does, not the network: the loss stands on the map of scores, labels taken at every eighth pixel; fc8
learns ten times as fast; `deeplab_msc_largefov` trains its side branches alone, all else fixed at LargeFOV.

**Differences:**
- from the files: they pad every picture to 321 or 306 for training and to 513 or 514 for testing, with the mean. Here
  a picture keeps its size, and the grid ends behind its last pixel.
- `deeplab_4x4` pads pool4 by 1, as the test file does. The training file pads nothing: its map is that without the
  outermost cells, and its labels start at pixel 1, where the cells are at 8j + 0.5.
- no file of `deeplab_7x7` and `deeplab_4x4_rate8` is known: their trunk is that of `deeplab_4x4`, with which the
  paper's convolutional receptive field of 404 is met, and fc6 pads 12, which keeps the size. UNVERIFIED.
- `deeplab_msc_largefov` has its side branches at strides 8, 4, 2, 1, 1, as the release's training file has them. The
  test file has them at stride 1 and zooms each score by itself: the scores are the same at each eighth pixel, and ours
  are linear between them. The release calls the branches after what they read (`data_conv`, `data_fc`, `data_ms`;
  `pool1_conv` … `pool4_ms`; `weights/deeplab_formats.py` has the table). UNVERIFIED: that they start from a Gaussian of
  deviation 0.001, which is one port's.
- a new network starts at He's initialization, where the paper starts from VGG-16 and thins out its fc6 to 4 × 4 or
  3 × 3 taps and to 1024 filters. Which were kept is UNVERIFIED; `transplant(…, decimate=True)` of
  `surgery/transplant.py` keeps evenly spaced ones.
"""

from collections import OrderedDict
from typing import NamedTuple

from torch import Tensor, nn
from torch.nn import functional

from pixelwise.backbones.vgg import vgg_group
from pixelwise.layers.channels import check_channels, scaled
from pixelwise.layers.head import Head, full_size
from pixelwise.layers.initialization import he_initialize
from pixelwise.layers.resample import Resampling
from pixelwise.models.paper import Paper

PAPER = Paper(
    "Chen, Papandreou, Kokkinos, Murphy, Yuille",
    "Semantic Image Segmentation with Deep Convolutional Nets and Fully Connected CRFs",
    2015,
    "arXiv 1412.7062",
)


class DeepLab(nn.Module):
    """The paper's first networks, pools of 2 × 2: (N, C, H, W) → (N, K, H, W) logits (§3.1).

    Args:
        backbone: with `pool=2`.
        fc: on the backbone's pool5.
    """

    def __init__(self, backbone: "DeepLabVGG16", fc: "FullyConnected", num_classes: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.fc = fc
        self.fc8_pascal = gaussian(nn.Conv2d(fc.channels, num_classes, 1), 0.01)

    def heads(self, images: Tensor) -> dict[str, Head]:
        """One head at 1/8."""
        scores = self.fc8_pascal(self.fc(self.backbone(images).pool5))
        return {"logits": Head(scores, _zoom(scores, images, offset=7))}

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) → (N, K, H, W) float32 logits, for every H and W from 1 up."""
        return full_size(self.heads(images))


class LargeFOV(nn.Module):
    """Pools of 3 × 3 and few weights far apart in fc6: (N, C, H, W) → (N, K, H, W) logits (Table 2, last line).

    Args:
        fc: on the backbone's pool5.
    """

    def __init__(self, backbone: "DeepLabVGG16", fc: "FullyConnected", num_classes: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.fc = fc
        self.fc8_voc12 = gaussian(nn.Conv2d(fc.channels, num_classes, 1), 0.01)

    def heads(self, images: Tensor) -> dict[str, Head]:
        """One head at 1/8."""
        scores = self.fc8_voc12(self.fc(self.backbone(images).pool5))
        return {"logits": Head(scores, _zoom(scores, images))}

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) → (N, K, H, W) float32 logits, for every H and W from 1 up."""
        return full_size(self.heads(images))


class MScLargeFOV(nn.Module):
    """LargeFOV, and scores from the picture and the first four pools added: (N, C, H, W) → (N, K, H, W) logits (§4.3).

    Args:
        fc: on the backbone's pool5.
        branch_channels: of the two layers in each side branch; 128 in the paper.
    """

    def __init__(
        self,
        backbone: "DeepLabVGG16",
        fc: "FullyConnected",
        num_classes: int,
        *,
        in_channels: int,
        branch_channels: int,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.fc = fc
        self.fc8_voc12 = gaussian(nn.Conv2d(fc.channels, num_classes, 1), 0.01)
        pool1, pool2, pool3, pool4, _ = backbone.channels
        self.image_branch = SideBranch(in_channels, branch_channels, num_classes, stride=8)
        self.pool1_branch = SideBranch(pool1, branch_channels, num_classes, stride=4)
        self.pool2_branch = SideBranch(pool2, branch_channels, num_classes, stride=2)
        self.pool3_branch = SideBranch(pool3, branch_channels, num_classes, stride=1)
        self.pool4_branch = SideBranch(pool4, branch_channels, num_classes, stride=1)

    def heads(self, images: Tensor) -> dict[str, Head]:
        """One head at 1/8, the sum of six maps of scores."""
        pool1, pool2, pool3, pool4, pool5 = self.backbone(images)
        scores = self.fc8_voc12(self.fc(pool5))
        size = (scores.shape[-2], scores.shape[-1])
        scores = scores + self.image_branch(images, size) + self.pool1_branch(pool1, size)
        scores = scores + self.pool2_branch(pool2, size) + self.pool3_branch(pool3, size)
        scores = scores + self.pool4_branch(pool4, size)
        return {"logits": Head(scores, _zoom(scores, images))}

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) → (N, K, H, W) float32 logits, for every H and W from 1 up."""
        return full_size(self.heads(images))


class SideBranch(nn.Module):
    """3 × 3, 1 × 1, and 1 × 1 to the classes: (N, C, H, W) → (N, K, h, w)."""

    def __init__(self, in_channels: int, channels: int, num_classes: int, *, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.conv1 = gaussian(nn.Conv2d(in_channels, channels, 3, stride=stride, padding=1), 0.001)
        self.conv2 = gaussian(nn.Conv2d(channels, channels, 1), 0.001)
        self.drop = nn.Dropout(0.5)
        self.score = gaussian(nn.Conv2d(channels, num_classes, 1), 0.01)

    def forward(self, features: Tensor, size: tuple[int, int]) -> Tensor:
        """Scores on a grid of `size`, whose cell j lies at stride·j of the features.

        The trunk's pools round up: its last cell can lie beyond the picture. There the features are zeros: in the
        picture itself the mean color, with which the files pad to 8n + 1; the pools of such a padded picture hold
        what the trunk makes of that color.
        """
        bottom, right = (
            (cells - 1) * self.stride + 1 - here for cells, here in zip(size, features.shape[-2:], strict=True)
        )
        features = functional.pad(features, (0, right, 0, bottom))
        features = self.drop(functional.relu(self.conv1(features)))
        features = self.drop(functional.relu(self.conv2(features)))
        scores: Tensor = self.score(features)
        return scores


class FullyConnected(nn.Sequential):
    """fc6 with holes, and fc7: (N, C, h, w) → (N, `channels`, h, w).

    Args:
        kernel, rate: of fc6. The rate is even where the kernel is, so that the padding is the same on both sides and
            the taps lie around their cell.
    """

    def __init__(self, in_channels: int, channels: int, *, kernel: int, rate: int) -> None:
        layers: OrderedDict[str, nn.Module] = OrderedDict(
            fc6=nn.Conv2d(in_channels, channels, kernel, padding=rate * (kernel - 1) // 2, dilation=rate),
            relu6=nn.ReLU(inplace=True),
            drop6=nn.Dropout(0.5),
            fc7=nn.Conv2d(channels, channels, 1),
            relu7=nn.ReLU(inplace=True),
            drop7=nn.Dropout(0.5),
        )
        super().__init__(layers)
        self.channels = channels
        he_initialize(self)


class DeepLabFeatures(NamedTuple):
    """The maps after the five pools, at 1/2, 1/4 and three times 1/8."""

    pool1: Tensor
    pool2: Tensor
    pool3: Tensor
    pool4: Tensor
    pool5: Tensor


class DeepLabChannels(NamedTuple):
    """The channels of `DeepLabFeatures`; 64, 128, 256, 512, 512 at width 1."""

    pool1: int
    pool2: int
    pool3: int
    pool4: int
    pool5: int


class DeepLabVGG16(nn.Module):
    """VGG-16's thirteen convolutions at stride 8, conv5 with holes: (N, C, H, W) → `DeepLabFeatures`.

    Args:
        width: times the published channels.
        pool: size of the first four pools, all padded by 1: 3 in LargeFOV and DeepLab v2, whose cell j lies at
            pixel 8j; 2 in the paper's first networks, whose pool4 gives one cell more and cell j lies at 8j − 7.5.
        pool5a: average 3 × 3 after pool5, borders counted, as LargeFOV does.
    """

    def __init__(self, *, in_channels: int = 3, width: float = 1.0, pool: int = 3, pool5a: bool = False) -> None:
        super().__init__()
        check_channels(in_channels=in_channels, width=width)
        c1, c2, c3, c4, c5 = (scaled(channels, width) for channels in (64, 128, 256, 512, 512))
        self.channels = DeepLabChannels(c1, c2, c3, c4, c5)
        # ceil_mode changes nothing for pools of 2; what is exported must know the size without asking whether it is odd
        pool1, pool2, pool3 = (nn.MaxPool2d(pool, 2, padding=1, ceil_mode=pool > 2) for _ in range(3))
        self.conv1 = vgg_group(1, in_channels, c1, convolutions=2, pool=pool1)
        self.conv2 = vgg_group(2, c1, c2, convolutions=2, pool=pool2)
        self.conv3 = vgg_group(3, c2, c3, convolutions=3, pool=pool3)
        self.conv4 = vgg_group(4, c3, c4, convolutions=3, pool=nn.MaxPool2d(pool, 1, padding=1))
        self.conv5 = vgg_group(5, c4, c5, convolutions=3, padding=2, dilation=2, pool=nn.MaxPool2d(3, 1, padding=1))
        self.pool5a = nn.AvgPool2d(3, 1, padding=1) if pool5a else nn.Identity()
        he_initialize(self)

    def forward(self, images: Tensor) -> DeepLabFeatures:
        """The five maps, for every H and W from 1 up; each of the first three pools gives ⌊H/2⌋ + 1 for H."""
        pool1 = self.conv1(images)  # 1/2
        pool2 = self.conv2(pool1)  # 1/4
        pool3 = self.conv3(pool2)  # 1/8
        pool4 = self.conv4(pool3)  # 1/8, and so is pool5
        return DeepLabFeatures(pool1, pool2, pool3, pool4, self.pool5a(self.conv5(pool4)))


def gaussian(layer: nn.Conv2d, deviation: float) -> nn.Conv2d:
    """The layer with Gaussian weights of this deviation, and its bias 0."""
    nn.init.normal_(layer.weight, std=deviation)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def deeplab_7x7(*, num_classes: int, in_channels: int = 3, width: float = 1.0) -> DeepLab:
    """DeepLab with VGG's own 7 × 7 taps in fc6, rate 4; 134 346 581 parameters for 21 classes.

    Args:
        width: times the published channels.

    Raises:
        BadOption: a number that no network can have.
    """
    return _deeplab(num_classes, in_channels, width, kernel=7, rate=4)


def deeplab_4x4(*, num_classes: int, in_channels: int = 3, width: float = 1.0) -> DeepLab:
    """The paper's first DeepLab, fc6 of 4 × 4 taps at rate 4; 65 140 565 parameters for 21 classes.

    Args:
        width: times the published channels.

    Raises:
        BadOption: a number that no network can have.
    """
    return _deeplab(num_classes, in_channels, width, kernel=4, rate=4)


def deeplab_4x4_rate8(*, num_classes: int, in_channels: int = 3, width: float = 1.0) -> DeepLab:
    """DeepLab with fc6 of 4 × 4 taps at rate 8; 65 140 565 parameters for 21 classes. Options as for `deeplab_4x4`."""
    return _deeplab(num_classes, in_channels, width, kernel=4, rate=8)


def deeplab_largefov(*, num_classes: int, in_channels: int = 3, width: float = 1.0) -> LargeFOV:
    """DeepLab-LargeFOV, fc6 of 3 × 3 taps at rate 12; 20 505 429 parameters for 21 classes.

    Args:
        width: times the published channels.

    Raises:
        BadOption: a number that no network can have.
    """
    check_channels(num_classes=num_classes, in_channels=in_channels, width=width)
    backbone = DeepLabVGG16(in_channels=in_channels, width=width, pool5a=True)
    fc = FullyConnected(backbone.channels.pool5, scaled(1024, width), kernel=3, rate=12)
    return LargeFOV(backbone, fc, num_classes)


def deeplab_msc_largefov(*, num_classes: int, in_channels: int = 3, width: float = 1.0) -> MScLargeFOV:
    """DeepLab-MSc-LargeFOV; 21 711 550 parameters for 21 classes, 1 206 121 of them in the side branches.

    Args:
        width: times the published channels.

    Raises:
        BadOption: a number that no network can have.
    """
    check_channels(num_classes=num_classes, in_channels=in_channels, width=width)
    backbone = DeepLabVGG16(in_channels=in_channels, width=width, pool5a=True)
    fc = FullyConnected(backbone.channels.pool5, scaled(1024, width), kernel=3, rate=12)
    return MScLargeFOV(backbone, fc, num_classes, in_channels=in_channels, branch_channels=scaled(128, width))


def _deeplab(num_classes: int, in_channels: int, width: float, *, kernel: int, rate: int) -> DeepLab:
    check_channels(num_classes=num_classes, in_channels=in_channels, width=width)
    backbone = DeepLabVGG16(in_channels=in_channels, width=width, pool=2)
    fc = FullyConnected(backbone.channels.pool5, scaled(4096, width), kernel=kernel, rate=rate)
    return DeepLab(backbone, fc, num_classes)


def _zoom(scores: Tensor, images: Tensor, *, offset: int = 0) -> Resampling:
    """The last upsampling, from the grid of the scores to the pictures' size."""
    return Resampling.zoom(
        (scores.shape[-2], scores.shape[-1]), (images.shape[-2], images.shape[-1]), factor=8, offset=offset
    )
