"""SegNet and SegNet-Basic: a decoder that puts each value back where the encoder's pool found its maximum.

Badrinarayanan, Kendall, Cipolla: SegNet, PAMI 2017 (arXiv 1511.00561), Figures 2 and 3, §3, §3.1. Reference code:
alexgkendall/SegNet-Tutorial, `Models/segnet_train.prototxt` and `segnet_basic_train.prototxt`. No ResNet: the encoder
of SegNet is VGG-16's thirteen convolutions with batch norm. Pictures are BGR, 0–255, nothing subtracted; the local
response normalization before SegNet-Basic's first layer expects that range.

**Differences:**
- SegNet-Basic has 1 416 587 parameters for 11 classes, as the prototxt has; the paper says 1.425 M, and "no biases",
  which the prototxt has. SegNet has the prototxt's 29 449 355, with biases, too.
- an unpooled map has the size that was pooled, at every size; the prototxts name the sizes of 360 × 480 where a pool
  rounded up, and are twice as large elsewhere.
- caffe-segnet keeps no running statistics and averages those of all batches in one pass over the training set
  afterwards (`torch.optim.swa_utils.update_bn` is that pass, but for its unbiased variance); here they are PyTorch's
  running averages (momentum 0.1, unbiased variance) from the start. eps is its 1e-9.
- He et al.'s initialization ("msra") is everywhere; the release then loads VGG-16's weights into SegNet's encoder.
- the paper normalizes the pictures' local contrast; the prototxts do not, and SegNet-Basic's has the layer `norm`.
"""

from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from pixelwise.layers.channels import check_channels, scaled
from pixelwise.layers.crop import crop
from pixelwise.layers.head import Head, full_size
from pixelwise.layers.initialization import he_initialize
from pixelwise.layers.local_response import LocalResponseNorm
from pixelwise.layers.resample import Resampling, Size
from pixelwise.layers.small_batch import BatchNorm2d
from pixelwise.models.paper import Paper

PAPER = Paper(
    "Badrinarayanan, Kendall, Cipolla",
    "SegNet: A Deep Convolutional Encoder-Decoder Architecture for Image Segmentation",
    2015,
    "arXiv 1511.00561",
)

Layers = dict[str, nn.Module]

_CORNERS = ((0, 0), (0, 1), (1, 0), (1, 1))
"""Rows down and columns right of the pixels of a window, in the order of their places."""


class SegNet(nn.Module):
    """Encoders with pools, decoders with unpoolings: (N, C, H, W) → (N, K, H, W) logits (Figure 2).

    Args:
        encoder: the layers before each pool, by name, from the picture down.
        decoder: the layers after each unpooling, from the deepest up; the last gives the classes.
        dropout: names of the layers that dropout follows, here those of the pools, `pool1` …
        shift: what the batch norms' shifts start at.
    """

    def __init__(
        self, encoder: Sequence[Layers], decoder: Sequence[Layers], *, dropout: Collection[str] = (), shift: float
    ) -> None:
        super().__init__()
        self.encoder = nn.ModuleList(nn.Sequential(OrderedDict(layers)) for layers in encoder)
        self.pool = nn.ModuleList(Pool(dropout=f"pool{1 + index}" in dropout) for index in range(len(encoder)))
        self.decoder = nn.ModuleList(nn.Sequential(OrderedDict(layers)) for layers in decoder)
        he_initialize(self)
        for module in self.modules():
            if isinstance(module, BatchNorm2d):
                nn.init.constant_(module.bias, shift)

    def heads(self, images: Tensor) -> dict[str, Head]:
        """One head on the picture's own grid."""
        values = images
        pooled_at: list[tuple[Tensor, Size]] = []
        for encoder, pool in zip(self.encoder, self.pool, strict=True):
            values = encoder(values)
            size = (values.shape[-2], values.shape[-1])
            values, places = pool(values)  # 1/2, 1/4, …, rounded up
            pooled_at.append((places, size))
        for decoder in self.decoder:
            values = decoder(max_unpool(values, *pooled_at.pop()))
        return {"logits": Head(values, Resampling.identity((images.shape[-2], images.shape[-1])))}

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) → (N, K, H, W) float32 logits, for every H and W from 1 up."""
        return full_size(self.heads(images))


class Pool(nn.Module):
    """`max_pool`, and dropout on the maxima where it is asked for."""

    def __init__(self, *, dropout: bool) -> None:
        super().__init__()
        self.drop = nn.Dropout(0.5) if dropout else nn.Identity()

    def forward(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """(N, C, H, W) → maxima and places, each (N, C, ⌈H/2⌉, ⌈W/2⌉)."""
        pooled, places = max_pool(values)
        return self.drop(pooled), places


def max_pool(values: Tensor) -> tuple[Tensor, Tensor]:
    """The maxima of 2 × 2 windows, (N, C, ⌈H/2⌉, ⌈W/2⌉), and their places y·W + x in (H, W)."""
    if torch.compiler.is_exporting():
        return _max_pool_in_graph(values)
    pooled, places = functional.max_pool2d(values, 2, ceil_mode=True, return_indices=True)
    return pooled, places


def _max_pool_in_graph(values: Tensor) -> tuple[Tensor, Tensor]:
    """The same, but the places are 0…3 in each window; ONNX's runtimes differ from torch in the places of their pools.

    Rows and columns are picked by number, the last one twice where its window is cut: while a picture's size is open,
    padding and y·W + x make each size a comparison of nested divisions, which takes torch minutes to follow.
    """
    height, width = values.shape[-2:]
    rows, columns = (2 * torch.arange((length + 1) // 2, device=values.device) for length in (height, width))

    def corner(down: int, right: int) -> Tensor:
        picked = values.index_select(-2, (rows + down).clamp(max=height - 1))
        return picked.index_select(-1, (columns + right).clamp(max=width - 1))

    pooled = corner(0, 0)
    places = torch.zeros_like(pooled, dtype=torch.int64)
    for place, (down, right) in enumerate(_CORNERS[1:], 1):
        here = corner(down, right)
        places = torch.where(here > pooled, place, places)
        pooled = torch.maximum(pooled, here)
    return pooled, places


def _max_unpool_in_graph(pooled: Tensor, places: Tensor, size: Size) -> Tensor:
    """`max_unpool` for the places of `_max_pool_in_graph`."""
    rows, columns = (torch.arange(length, device=places.device) for length in size)

    def fill(cells: Tensor) -> Tensor:
        return cells.index_select(-2, rows // 2).index_select(-1, columns // 2)

    return torch.where(fill(places) == 2 * (rows % 2)[:, None] + columns % 2, fill(pooled), 0)


def max_unpool(pooled: Tensor, places: Tensor, size: Size) -> Tensor:
    """Zeros (N, C, H, W) of the `size` that was pooled, (H, W), with each value at its place.

    `torch.nn.MaxUnpool2d` is not deterministic by torch's own account; windows of 2 × 2 do not overlap, so copying
    each value to its window and keeping it at its place alone gives the same with no scattered write.
    """
    if torch.compiler.is_exporting():
        return _max_unpool_in_graph(pooled, places, size)
    height, width = size
    grid = torch.arange(height * width, device=places.device).reshape(height, width)
    return torch.where(_fill_windows(places, height, width) == grid, _fill_windows(pooled, height, width), 0)


def _fill_windows(cells: Tensor, height: int, width: int) -> Tensor:
    n, c, h, w = cells.shape
    filled = cells[:, :, :, None, :, None].expand(n, c, h, 2, w, 2).reshape(n, c, 2 * h, 2 * w)
    return crop(filled, (height, width))


def convolutions(
    in_channels: int,
    channels: Mapping[str, int],
    *,
    kernel: int = 3,
    relu: bool = True,
    dropout: Collection[str] = (),
) -> Layers:
    """Convolutions that keep the size, each with its batch norm and ReLU: `conv1_1`, `conv1_1_bn`, `relu1_1`.

    Args:
        channels: the names of the convolutions and how many channels each gives.
        dropout: names of the convolutions that end with dropout, `conv1_1_drop`.
    """
    layers: Layers = {}
    for name, out_channels in channels.items():
        layers[name] = nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2)
        layers[f"{name}_bn"] = BatchNorm2d(out_channels, eps=1e-9)  # caffe-segnet's
        if relu:
            layers[name.replace("conv", "relu")] = nn.ReLU(inplace=True)
        if name in dropout:
            layers[f"{name}_drop"] = nn.Dropout(0.5)
        in_channels = out_channels
    return layers


def vgg16_segnet(
    num_classes: int,
    in_channels: int,
    width: float,
    *,
    dropout: Collection[str] = (),
    shift: float = 0.001,
    camvid: bool = False,
) -> SegNet:
    """Thirteen convolutions down, thirteen up; a decoder changes the channels in its last convolution.

    Args:
        camvid: conv1_1_D is a layer as the others are, and one more, `camvid`, gives the classes.
    """

    def block(in_channels: int, **channels: int) -> Layers:
        return convolutions(in_channels, channels, dropout=dropout)

    c1, c2, c3, c4, c5 = (scaled(channels, width) for channels in (64, 128, 256, 512, 512))
    classifier = nn.Conv2d(c1, num_classes, 3, padding=1)
    if camvid:
        last = block(c1, conv1_2_D=c1, conv1_1_D=c1) | {"camvid": classifier}
    else:
        last = block(c1, conv1_2_D=c1) | {"conv1_1_D": classifier}
    return SegNet(
        encoder=(
            block(in_channels, conv1_1=c1, conv1_2=c1),
            block(c1, conv2_1=c2, conv2_2=c2),
            block(c2, conv3_1=c3, conv3_2=c3, conv3_3=c3),
            block(c3, conv4_1=c4, conv4_2=c4, conv4_3=c4),
            block(c4, conv5_1=c5, conv5_2=c5, conv5_3=c5),
        ),
        decoder=(
            block(c5, conv5_3_D=c5, conv5_2_D=c5, conv5_1_D=c4),
            block(c4, conv4_3_D=c4, conv4_2_D=c4, conv4_1_D=c3),
            block(c3, conv3_3_D=c3, conv3_2_D=c3, conv3_1_D=c2),
            block(c2, conv2_2_D=c2, conv2_1_D=c1),
            last,
        ),
        dropout=dropout,
        shift=shift,
    )


def basic_segnet(
    num_classes: int, in_channels: int, width: float, *, dropout: Collection[str] = (), classifier: str
) -> SegNet:
    """Four convolutions of 7 × 7 down and four up, which have no ReLU (Figure 3, §3.1).

    Args:
        classifier: the name of the last layer, 1 × 1.
    """
    c = scaled(64, width)

    def encoder(in_channels: int, **channels: int) -> Layers:
        return convolutions(in_channels, channels, kernel=7, dropout=dropout)

    def decoder(**channels: int) -> Layers:
        return convolutions(c, channels, kernel=7, relu=False, dropout=dropout)

    return SegNet(
        encoder=(
            {"norm": LocalResponseNorm()} | encoder(in_channels, conv1=c),
            encoder(c, conv2=c),
            encoder(c, conv3=c),
            encoder(c, conv4=c),
        ),
        decoder=(
            decoder(conv_decode4=c),
            decoder(conv_decode3=c),
            decoder(conv_decode2=c),
            decoder(conv_decode1=c) | {classifier: nn.Conv2d(c, num_classes, 1)},
        ),
        dropout=dropout,
        shift=0.001,
    )


def segnet(*, num_classes: int, in_channels: int = 3, width: float = 1.0) -> SegNet:
    """SegNet on VGG-16; 29 449 355 parameters for 11 classes.

    Args:
        width: times VGG-16's channels.

    Raises:
        BadOption: a number that no network can have.
    """
    check_channels(num_classes=num_classes, in_channels=in_channels, width=width)
    return vgg16_segnet(num_classes, in_channels, width)


def segnet_basic(*, num_classes: int, in_channels: int = 3, width: float = 1.0) -> SegNet:
    """SegNet-Basic; 1 416 587 parameters for 11 classes.

    Args:
        width: times the release's 64 channels.

    Raises:
        BadOption: a number that no network can have.
    """
    check_channels(num_classes=num_classes, in_channels=in_channels, width=width)
    return basic_segnet(num_classes, in_channels, width, classifier="conv_classifier")
