"""FCNs for color and depth: FCN-32s on four channels, and two towers for color and HHA at 32s and 16s.

Long, Shelhamer, Darrell: Fully Convolutional Networks for Semantic Segmentation, CVPR 2015 (arXiv 1411.4038),
§5 (NYUDv2), Table 4. Reference code: fcn.berkeleyvision.org, `nyud-fcn32s-color-d`, `nyud-fcn32s-color-hha`
(`net.py`, `solve.py`). Backbone: `backbones/vgg.py`; no ResNet. NYUDv2 has 40 classes.

Early fusion takes blue, green, red and the logarithm of depth in one tensor of 4 channels; late fusion takes blue,
green, red and HHA (disparity, height, angle) in one tensor of 6. The table's networks of color alone and of HHA alone
are `fcn32s_vgg16` with other means: 116.190, 97.203, 92.318 and 132.431, 94.076, 118.477.

**Differences:**
- the scores of the towers are averaged, as in the released files; the paper says summed.
- the 16s network of two towers was not released. Here each tower scores its pool4, the towers are averaged at both
  depths, and the rest is FCN-16s: UNVERIFIED.
- the layers of a tower stand in `color` and `hha` under VGG's own names, conv1_1 for `conv1_1color`.
- the published networks start from trained ones: `start_from_color`, `start_from_towers`. Everything else as in
  `fcn.py`.
"""

from collections import OrderedDict

from torch import Tensor, nn

from pixelwise.backbones.vgg import VGG16
from pixelwise.errors import BadOption
from pixelwise.layers.channels import check_channels
from pixelwise.layers.head import Head, full_size
from pixelwise.models.fcn import PAPER as PAPER
from pixelwise.models.fcn import FCN32s
from pixelwise.models.fcn_streams import Alignment, Padding, fuse, padded_vgg16, score, upsampling
from pixelwise.surgery import transplant

COLOR = 3  # channels of the first tower; HHA's are the rest


class FCN32sTowers(nn.Module):
    """Two towers, their scores averaged, stride 32: (N, 6, H, W) → (N, K, H, W) logits."""

    def __init__(self, color: VGG16, hha: VGG16, alignment: Alignment, num_classes: int) -> None:
        super().__init__()
        self.alignment = alignment
        self.color = color
        self.hha = hha
        self.score_frcolor = score(color.channels.fc7, num_classes)
        self.score_frhha = score(hha.channels.fc7, num_classes)

    def heads(self, images: Tensor) -> dict[str, Head]:
        """One head on the grid of fc7, 1/32."""
        color, hha = self.color(images[:, :COLOR]), self.hha(images[:, COLOR:])
        score_fused = average(self.score_frcolor(color.fc7), self.score_frhha(hha.fc7))
        return {"logits": self.alignment.upscore(score_fused, images)}

    def forward(self, images: Tensor) -> Tensor:
        """(N, 6, H, W) → (N, K, H, W) float32 logits, for every H and W from 1 up."""
        return full_size(self.heads(images))


class FCN16sTowers(nn.Module):
    """Two towers, averaged at fc7 and at pool4, two streams, stride 16: (N, 6, H, W) → (N, K, H, W) logits."""

    def __init__(
        self, color: VGG16, hha: VGG16, alignment: Alignment, num_classes: int, *, learn_upsampling: bool = False
    ) -> None:
        super().__init__()
        self.alignment = alignment
        self.color = color
        self.hha = hha
        self.score_frcolor = score(color.channels.fc7, num_classes)
        self.score_frhha = score(hha.channels.fc7, num_classes)
        self.upscore2 = upsampling(num_classes, learned=learn_upsampling)
        self.score_pool4color = score(color.channels.pool4, num_classes)
        self.score_pool4hha = score(hha.channels.pool4, num_classes)

    def heads(self, images: Tensor) -> dict[str, Head]:
        """One head on the grid of the fused scores, 1/16."""
        color, hha = self.color(images[:, :COLOR]), self.hha(images[:, COLOR:])
        score_fused = average(self.score_frcolor(color.fc7), self.score_frhha(hha.fc7))  # 1/32
        score_pool4 = average(self.score_pool4color(color.pool4), self.score_pool4hha(hha.pool4))  # 1/16
        fuse_pool4 = fuse(self.upscore2(score_fused), score_pool4, self.alignment.fuse_pool4)
        return {"logits": self.alignment.upscore16(fuse_pool4, images)}

    def forward(self, images: Tensor) -> Tensor:
        """(N, 6, H, W) → (N, K, H, W) float32 logits, for every H and W from 1 up."""
        return full_size(self.heads(images))


def average(color: Tensor, hha: Tensor) -> Tensor:
    """Half of each, `score_fused` of the released files."""
    return 0.5 * color + 0.5 * hha


def start_from_color(network: FCN32s, color: VGG16) -> None:
    """Give an `fcn32s_rgbd` the layers of a VGG-16 for color, as the released `solve.py` does.

    conv1_1_bgrd has conv1_1's weights for blue, green and red, their mean for depth, and its bias. The score layer
    stays as it is.
    """
    transplant(color, network.backbone, rename={"conv1.conv1_1_bgrd": "conv1.conv1_1"}, quiet=True)


def start_from_towers(network: FCN32sTowers | FCN16sTowers, color: FCN32s, hha: FCN32s) -> None:
    """Give a network of two towers the layers of FCN-32s on color and on HHA, as the released `solve.py` does.

    It then gives the average of their scores; scores of pool4 stay as they are, zero in a new network.
    """
    network.color.load_state_dict(color.backbone.state_dict())
    network.hha.load_state_dict(hha.backbone.state_dict())
    network.score_frcolor.load_state_dict(color.score_fr.state_dict())
    network.score_frhha.load_state_dict(hha.score_fr.state_dict())


def fcn32s_rgbd(*, num_classes: int, in_channels: int = 4, width: float = 1.0, padding: Padding = "released") -> FCN32s:
    """FCN-32s on color and depth, fused at the input; 134 425 000 parameters for 40 classes.

    Args:
        in_channels: 4, no other.
        width: times VGG-16's channels.
        padding: "released", conv1_1 pads 100; or "same", conv1_1 pads 1 and fc6 pads 3.

    Raises:
        BadOption: a number or a word that no network can have.
    """
    check_channels(num_classes=num_classes, in_channels=in_channels, width=width)
    check_exactly(4, in_channels, "blue, green, red, depth")
    backbone, alignment = padded_vgg16(padding, in_channels=in_channels, width=width)
    backbone.conv1 = nn.Sequential(
        OrderedDict((name.replace("conv1_1", "conv1_1_bgrd"), layer) for name, layer in backbone.conv1.named_children())
    )
    return FCN32s(backbone, num_classes, alignment.upscore)


def fcn32s_rgb_hha(
    *, num_classes: int, in_channels: int = 6, width: float = 1.0, padding: Padding = "released"
) -> FCN32sTowers:
    """FCN-32s on color and HHA, fused at the scores; 268 848 848 parameters for 40 classes.

    Args:
        in_channels: 6, no other.
        width: times VGG-16's channels.
        padding: "released", conv1_1 pads 100; or "same", conv1_1 pads 1 and fc6 pads 3.

    Raises:
        BadOption: a number or a word that no network can have.
    """
    return FCN32sTowers(*towers(num_classes, in_channels, width, padding), num_classes)


def fcn16s_rgb_hha(
    *,
    num_classes: int,
    in_channels: int = 6,
    width: float = 1.0,
    padding: Padding = "released",
    learn_upsampling: bool = False,
) -> FCN16sTowers:
    """FCN-16s on color and HHA; 268 889 888 parameters for 40 classes.

    Args:
        in_channels: 6, no other.
        width: times VGG-16's channels.
        padding: "released", conv1_1 pads 100; or "same", conv1_1 pads 1 and fc6 pads 3.
        learn_upsampling: the 2× upsampling is a learned layer (the paper) and not fixed (the released files).

    Raises:
        BadOption: a number or a word that no network can have.
    """
    backbones = towers(num_classes, in_channels, width, padding)
    return FCN16sTowers(*backbones, num_classes, learn_upsampling=learn_upsampling)


def towers(num_classes: int, in_channels: int, width: float, padding: Padding) -> tuple[VGG16, VGG16, Alignment]:
    """A VGG-16 for color and one for HHA, and how their streams lie.

    Raises:
        BadOption: a number or a word that no network can have.
    """
    check_channels(num_classes=num_classes, in_channels=in_channels, width=width)
    check_exactly(6, in_channels, "blue, green, red, disparity, height, angle")
    color, alignment = padded_vgg16(padding, in_channels=COLOR, width=width)
    hha, _ = padded_vgg16(padding, in_channels=in_channels - COLOR, width=width)
    return color, hha, alignment


def check_exactly(channels: int, in_channels: int, names: str) -> None:
    """Refuse another number of channels.

    Raises:
        BadOption: naming the channels.
    """
    if in_channels != channels:
        raise BadOption(f"in_channels must be {channels} here ({names}), got {in_channels}")
