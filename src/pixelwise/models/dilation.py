"""Dilation: a VGG-16 front end without padding, and a context module of dilated convolutions that starts as identity.

Yu, Koltun: Multi-Scale Context Aggregation by Dilated Convolutions, ICLR 2016 (arXiv 1511.07122), Table 1, Eqs. 4–5,
§3–4, appendix A. Reference code: fyu/dilation, `network.py` and `models/*_deploy.prototxt`, whose names stand here. No
ResNet. Pictures are BGR, 0–255 minus the data set's mean.

Every picture is mirrored by 186 pixels on each side, and at the bottom and the right to the next multiple of 8 beyond
that; no convolution of the front end pads. So H pixels give ⌈H/8⌉ cells, and h = (H_padded − 372)/8.

| network                      | data       | context                                                | classes |
| ---------------------------- | ---------- | ------------------------------------------------------ | ------- |
| `dilation_frontend`          | all        | none                                                   | any     |
| `dilation8`                  | VOC        | large: widths 2, 2, 4, 8, 16, 32, 32 times the classes | 21      |
| `dilation8(context="basic")` | CamVid     | basic: as many channels as classes                     | 11      |
| `dilation7`                  | KITTI      | basic, without dilation 16                             | 11      |
| `dilation10`                 | Cityscapes | basic, with dilations 32 and 64                        | 19      |

Where cells lie: the center of cell j is pixel 8j + 3.5. The reference code trains with the label of pixel 8j and zooms
with cell j at pixel 8j, 3.5 pixels off, and so do the networks here; `dilation10` ends in a deconvolution that puts
cells where they are.

**Differences:**
- the code's tests of VOC, CamVid and KITTI take the softmax first and zoom probabilities; here logits are zoomed.
- the code cuts pictures into tiles of one size (900 × 900 padded in VOC) and trains on crops of the mirrored picture,
  whose border is picture; here a picture of any size is one tile, and a crop is mirrored as a picture is. The context
  module's zeros then begin behind the picture, not behind the tile.
- a context module starts as in the code: beside the identity stands Gaussian noise of deviation 0.01 over the width
  factor, in modules of one width, too, where Eq. 4 has zeros. That the factor is the one of a layer's output is
  UNVERIFIED. As its ReLUs cut scores below zero, what passes unchanged is the positive part.
- the front end of a new network starts at He's initialization, where the paper starts from VGG-16, its scores at a
  Gaussian of deviation 0.001, as in the code. The paper trains the front end first and the context module after it.
- the front end's last layer is `fc_final` in `dilation_frontend` and in `dilation8` with the large context
  (`fc-final` in VOC's two files), and `final` in the others, as in theirs.
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from pixelwise.backbones.vgg import pool2, vgg_group
from pixelwise.errors import BadOption, ShapeError
from pixelwise.layers.channels import check_channels, scaled
from pixelwise.layers.head import Head, full_size
from pixelwise.layers.initialization import he_initialize
from pixelwise.layers.mirror import mirror_pad
from pixelwise.layers.resample import Resampling
from pixelwise.models.paper import Paper

PAPER = Paper("Yu, Koltun", "Multi-Scale Context Aggregation by Dilated Convolutions", 2016, "arXiv 1511.07122")

MARGIN = 186  # half of what the front end's convolutions take away: (380 − 8)/2
RECEPTIVE_FIELD = 380


class Dilation(nn.Module):
    """Mirrored border, front end, context: (N, C, H, W) → (N, K, H, W) logits.

    Args:
        context: (N, K, h, w) → (N, K, h, w); an identity for the front end alone.
        upsampling: "zoom" as the code does outside of its networks, or Dilation10's "deconvolution".
    """

    def __init__(
        self,
        frontend: "FrontEnd",
        context: nn.Module,
        *,
        upsampling: Literal["zoom", "deconvolution"] = "zoom",
    ) -> None:
        super().__init__()
        self.frontend = frontend
        self.context = context
        self.upsampling = upsampling

    def heads(self, images: Tensor) -> dict[str, Head]:
        """One head at 1/8."""
        height, width = images.shape[-2:]
        bottom, right = MARGIN + -height % 8, MARGIN + -width % 8
        padded = mirror_pad(images, top=MARGIN, bottom=bottom, left=MARGIN, right=right)
        scores = self.context(self.frontend(padded))
        grid = (scores.shape[-2], scores.shape[-1])
        if self.upsampling == "zoom":
            return {"logits": Head(scores, Resampling.zoom(grid, (height, width), factor=8))}
        return {"logits": Head(scores, Resampling.deconvolution(grid, (height, width), factor=8, offset=4))}

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) → (N, K, H, W) float32 logits, for every H and W from 1 up."""
        return full_size(self.heads(images))


class FrontEnd(nn.Module):
    """VGG-16 without padding and without its last two pools: (N, C, H, W) → (N, K, (H − 372)/8, (W − 372)/8).

    Args:
        width: times the published channels.
        final: name of the last layer; VOC's files call it `fc-final`.
    """

    def __init__(self, num_classes: int, *, in_channels: int = 3, width: float = 1.0, final: str = "final") -> None:
        super().__init__()
        c1, c2, c3, c4, c5, fc = (scaled(channels, width) for channels in (64, 128, 256, 512, 512, 4096))
        self.conv1 = vgg_group(1, in_channels, c1, convolutions=2, padding=0, pool=pool2())
        self.conv2 = vgg_group(2, c1, c2, convolutions=2, padding=0, pool=pool2())
        self.conv3 = vgg_group(3, c2, c3, convolutions=3, padding=0, pool=pool2())
        self.conv4 = vgg_group(4, c3, c4, convolutions=3, padding=0)
        self.conv5 = vgg_group(5, c4, c5, convolutions=3, padding=0, dilation=2)
        self.fc6 = nn.Conv2d(c5, fc, 7, dilation=4)
        self.relu6 = nn.ReLU(inplace=True)
        self.drop6 = nn.Dropout(0.5)
        self.fc7 = nn.Conv2d(fc, fc, 1)
        self.relu7 = nn.ReLU(inplace=True)
        self.drop7 = nn.Dropout(0.5)
        he_initialize(self)
        scores = nn.Conv2d(fc, num_classes, 1)
        nn.init.normal_(scores.weight, std=0.001)
        if scores.bias is not None:
            nn.init.zeros_(scores.bias)
        self.score = nn.Sequential(OrderedDict({final: scores}))

    def forward(self, padded: Tensor) -> Tensor:
        """Scores of the mirrored picture.

        Raises:
            ShapeError: it is smaller than the receptive field.
        """
        if not torch.compiler.is_exporting() and min(padded.shape[-2:]) < RECEPTIVE_FIELD:
            raise ShapeError(
                f"the front end takes pictures of at least {RECEPTIVE_FIELD} × {RECEPTIVE_FIELD}, {MARGIN} mirrored "
                f"pixels on each side included, got {tuple(padded.shape[-2:])}; mirror the picture first"
            )
        conv5 = self.conv5(self.conv4(self.conv3(self.conv2(self.conv1(padded)))))  # 1/8
        fc6 = self.drop6(self.relu6(self.fc6(conv5)))
        fc7 = self.drop7(self.relu7(self.fc7(fc6)))
        scores: Tensor = self.score(fc7)
        return scores


# the 3 × 3 convolutions of the context modules, and their dilations (Table 1; appendix A)
CONTEXT7 = {"conv1_1": 1, "conv1_2": 1, "conv2_1": 2, "conv3_1": 4, "conv4_1": 8, "fc1": 1}
CONTEXT8 = {"conv1_1": 1, "conv1_2": 1, "conv2_1": 2, "conv3_1": 4, "conv4_1": 8, "conv5_1": 16, "fc1": 1}
CONTEXT10 = {
    "conv1_1": 1,
    "conv1_2": 1,
    "conv2_1": 2,
    "conv3_1": 4,
    "conv4_1": 8,
    "conv5_1": 16,
    "conv6_1": 32,
    "conv7_1": 64,
    "fc1": 1,
}


class Context(nn.Sequential):
    """The context module (Table 1): (N, C, h, w) → (N, C, h, w), for any map of C channels.

    Args:
        dilations: of each 3 × 3 convolution, by its name.
        factors: output channels of each, times C; all 1 in the basic module.
        prefix: of the names, `ctx_` in the basic files and `ct_` in the large one.
        pad_once: the first pads with zeros what all will take away, as in the large one's file.
    """

    def __init__(
        self,
        channels: int,
        dilations: Mapping[str, int],
        factors: Sequence[int] | None = None,
        *,
        prefix: str = "ctx_",
        pad_once: bool = False,
    ) -> None:
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        here = channels
        for (name, dilation), factor in zip(dilations.items(), factors or [1] * len(dilations), strict=True):
            padding = dilation
            if pad_once:
                padding = 0 if layers else sum(dilations.values())
            conv = nn.Conv2d(here, channels * factor, 3, padding=padding, dilation=dilation)
            layers[f"{prefix}{name}"] = identity_initialize(conv, channels, deviation=0.01 / factor)
            layers[f"relu_{name}"] = nn.ReLU(inplace=True)
            here = channels * factor
        layers[f"{prefix}final"] = identity_initialize(nn.Conv2d(here, channels, 1), channels, deviation=0.01)
        super().__init__(layers)


def identity_initialize(conv: nn.Conv2d, groups: int, *, deviation: float) -> nn.Conv2d:
    """The convolution as one that passes `groups` channels on (Eqs. 4 and 5); its bias is 0.

    Input channels a and output channels b are cut into `groups` equal runs. Where a and b are in the same run, the
    center tap is groups/outputs; all else is Gaussian noise. So the sum over a run passes through unchanged, and
    with as many channels as groups, each channel.

    >>> identity_initialize(nn.Conv2d(2, 4, 1), 2, deviation=0.0).weight[..., 0, 0].detach()
    tensor([[0.5000, 0.0000],
            [0.5000, 0.0000],
            [0.0000, 0.5000],
            [0.0000, 0.5000]])
    """
    outputs, inputs = conv.weight.shape[:2]
    center = conv.kernel_size[0] // 2
    run_of_output = torch.arange(outputs, device=conv.weight.device) * groups // outputs
    run_of_input = torch.arange(inputs, device=conv.weight.device) * groups // inputs
    same = run_of_output[:, None] == run_of_input
    nn.init.normal_(conv.weight, std=deviation)
    with torch.no_grad():
        taps = conv.weight[:, :, center, center]
        taps.copy_(torch.where(same, groups / outputs, taps))
        if conv.bias is not None:
            conv.bias.zero_()
    return conv


def basic_context(channels: int, dilations: Mapping[str, int] = CONTEXT8) -> Context:
    """As many channels as come in, each layer padded by its dilation; 64 C² weights with 8 layers (Table 1)."""
    return Context(channels, dilations)


def large_context(channels: int, *, width: float = 1.0) -> Context:
    """Wider and wider, padded once; 6 803 139 parameters for 21 channels (Table 1, "Large").

    Args:
        width: times the factors 2, 2, 4, 8, 16, 32, 32.
    """
    factors = [scaled(factor, width) for factor in (2, 2, 4, 8, 16, 32, 32)]
    return Context(channels, CONTEXT8, factors, prefix="ct_", pad_once=True)


def dilation_frontend(*, num_classes: int, in_channels: int = 3, width: float = 1.0) -> Dilation:
    """The front end alone; 134 346 581 parameters for 21 classes.

    Args:
        width: times VGG-16's channels.

    Raises:
        BadOption: a number that no network can have.
    """
    check_channels(num_classes=num_classes, in_channels=in_channels, width=width)
    frontend = FrontEnd(num_classes, in_channels=in_channels, width=width, final="fc_final")
    return Dilation(frontend, nn.Identity())


def dilation7(*, num_classes: int, in_channels: int = 3, width: float = 1.0) -> Dilation:
    """Dilation7, KITTI's: 134 312 343 parameters for 11 classes. Options as for `dilation_frontend`."""
    check_channels(num_classes=num_classes, in_channels=in_channels, width=width)
    return Dilation(FrontEnd(num_classes, in_channels=in_channels, width=width), basic_context(num_classes, CONTEXT7))


def dilation8(
    *,
    num_classes: int,
    in_channels: int = 3,
    width: float = 1.0,
    context: Literal["large", "basic"] = "large",
) -> Dilation:
    """Dilation8: 141 149 720 parameters for VOC's 21 classes; 134 313 443 for CamVid's 11, with the basic context.

    Args:
        width: times VGG-16's channels, and times the large context's factors.
        context: "large" is VOC's, and grows with the square of the classes; "basic" is CamVid's.

    Raises:
        BadOption: a number that no network can have, or another context.
    """
    check_channels(num_classes=num_classes, in_channels=in_channels, width=width)
    if context == "large":
        frontend = FrontEnd(num_classes, in_channels=in_channels, width=width, final="fc_final")
        return Dilation(frontend, large_context(num_classes, width=width))
    if context == "basic":
        return Dilation(FrontEnd(num_classes, in_channels=in_channels, width=width), basic_context(num_classes))
    raise BadOption(f"context must be 'large' or 'basic', got {context!r}")


def dilation10(*, num_classes: int, in_channels: int = 3, width: float = 1.0) -> Dilation:
    """Dilation10, Cityscapes': 134 368 179 parameters for 19 classes. Options as for `dilation_frontend`."""
    check_channels(num_classes=num_classes, in_channels=in_channels, width=width)
    frontend = FrontEnd(num_classes, in_channels=in_channels, width=width)
    return Dilation(frontend, basic_context(num_classes, CONTEXT10), upsampling="deconvolution")
