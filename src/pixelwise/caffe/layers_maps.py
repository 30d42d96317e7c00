"""Caffe's layers that look at the neighbors of a cell: convolutions, pools, unpooling, Interp, Crop, LRN.

Sizes and borders are Caffe's (spec networks-2014-2016 §1.1, §1.2, §1.7):

| layer | length of the output for H |
| --- | --- |
| Convolution | ⌊(H + 2p − (d(k − 1) + 1))/s⌋ + 1 |
| Pooling | ⌈(H + 2p − k)/s⌉ + 1, less one where the last window would begin beyond H + p |
| Deconvolution | (H − 1)s + d(k − 1) + 1 − 2p |
| Interp | (H − 1)z + 1 for a zoom z, ⌊(H − 1)/s⌋ + 1 for a shrinking s; shrink first where both are given |

**Differences:** where a pool's stride is larger than its kernel, Caffe can begin a last window beyond the map, which
holds nothing; it is left out here.
"""

from collections.abc import Sequence
from fractions import Fraction

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pixelwise.caffe.layers_text import (
    SAME,
    Affine,
    Blob,
    Built,
    LayerText,
    Moves,
    Pair,
    Stateless,
    check_map,
    filled,
    times,
)
from pixelwise.caffe.prototxt import Symbol
from pixelwise.errors import ShapeError
from pixelwise.layers.local_response import LocalResponseNorm

KERNEL = ("kernel_size", "kernel_h", "kernel_w")
STRIDE = ("stride", "stride_h", "stride_w")
PAD = ("pad", "pad_h", "pad_w")
DILATION = ("dilation", "dilation_h", "dilation_w")
LARGEST_WINDOW = 1 << 12  # of LRN, which pads by half of it
HOLE = ("hole", "hole_h", "hole_w")  # DeepLab's fork


def convolution(layer: LayerText, bottoms: Sequence[Blob]) -> Built:
    """Convolution, with `hole` for `dilation` where DeepLab's fork wrote it."""
    settings = _Windows(layer, bottoms[0])
    channels, num_output, group = settings.channels, settings.num_output, settings.group
    module = nn.Conv2d(
        channels,
        num_output,
        settings.kernel,
        settings.stride,
        settings.pad,
        settings.dilation,
        group,
        settings.bias,
    )
    return Built(module, settings.blobs, fill=settings.fill, moves=settings.moves)


def deconvolution(layer: LayerText, bottoms: Sequence[Blob]) -> Built:
    """Deconvolution: `torch.nn.ConvTranspose2d`, whose weight is stored as Caffe's, in × out/group."""
    settings = _Windows(layer, bottoms[0])
    module = nn.ConvTranspose2d(
        settings.channels,
        settings.num_output,
        settings.kernel,
        settings.stride,
        settings.pad,
        0,
        settings.group,
        settings.bias,
        settings.dilation,
    )
    rows, columns = (
        (Fraction(s), Fraction(d * (k - 1), 2) - p)
        for k, s, p, d in zip(settings.kernel, settings.stride, settings.pad, settings.dilation, strict=True)
    )
    return Built(module, settings.blobs, fill=settings.fill, moves=(rows, columns))


class _Windows:
    """What a convolution and a deconvolution are told in the same words."""

    def __init__(self, layer: LayerText, bottom: Blob) -> None:
        param = layer.param("convolution_param")
        check_map(layer, bottom)
        if param.get("axis", 1) not in (1, -3):
            raise layer.refused(f"has axis: {param.get('axis')}; only axis 1, the channels, is run here")
        self.channels = bottom.shape[1]
        self.num_output = layer.whole(param, "num_output", 0, least=1)
        self.group = layer.whole(param, "group", 1, least=1)
        if self.channels % self.group or self.num_output % self.group:
            raise layer.refused(
                f"has {self.group} groups, which divide not both its {self.channels} channels and its num_output "
                f"{self.num_output}"
            )
        self.kernel = layer.pair(param, KERNEL, None, least=1)
        self.stride = layer.pair(param, STRIDE, 1, least=1)
        self.pad = layer.pair(param, PAD, 0)
        self.dilation = layer.pair(param, HOLE if any(name in param for name in HOLE) else DILATION, 1, least=1)
        self.bias = param.get("bias_term", True)
        self.blobs = ("weight", "bias") if self.bias else ("weight",)
        self.fill = {"weight": filled(param, "weight_filler")}
        if self.bias:
            self.fill["bias"] = filled(param, "bias_filler")

    @property
    def moves(self) -> Moves:
        """Of a convolution: x → (x + p − d(k − 1)/2)/s."""
        rows, columns = (
            _window(d * (k - 1) + 1, s, p)
            for k, s, p, d in zip(self.kernel, self.stride, self.pad, self.dilation, strict=True)
        )
        return rows, columns


def _window(extent: int, stride: int, pad: int) -> Affine:
    return Fraction(1, stride), (pad - Fraction(extent - 1, 2)) / stride


def pooling(layer: LayerText, bottoms: Sequence[Blob]) -> Built:
    """MAX and AVE, rounded up; a second top of a MAX pool has the flat index y·W + x of each maximum in the bottom.

    An average's divisor is its window's size with the padding, but without what lies beyond the padding.
    """
    param = layer.param("pooling_param")
    check_map(layer, bottoms[0])
    method = param.get("pool", Symbol("MAX"))
    if method not in ("MAX", "AVE", "0", "1"):
        raise layer.refused(f"pools by {method}; MAX and AVE are run here")
    largest, mask = method in ("MAX", "0"), len(layer.tops) > 1
    if mask and not largest:
        raise layer.refused("has a second top, which only a MAX pool gives")
    if param.get("global_pooling", False):
        if mask:
            return Built(nn.AdaptiveMaxPool2d(1, return_indices=True))
        return Built(nn.AdaptiveMaxPool2d(1) if largest else nn.AdaptiveAvgPool2d(1))
    kernel = layer.pair(param, KERNEL, None, least=1)
    stride = layer.pair(param, STRIDE, 1, least=1)
    pad = layer.pair(param, PAD, 0)
    if any(p > k // 2 for p, k in zip(pad, kernel, strict=True)):
        raise layer.refused(f"pads by {times(pad)}, more than half of its window {times(kernel)}")
    # Caffe's round_mode; ceil_mode is that of forks
    up = param.get("round_mode", Symbol("CEIL")) in ("CEIL", "0") and param.get("ceil_mode", True)
    rows, columns = (_window(*axis) for axis in zip(kernel, stride, pad, strict=True))
    if largest:
        return Built(nn.MaxPool2d(kernel, stride, pad, return_indices=mask, ceil_mode=up), moves=(rows, columns))
    return Built(nn.AvgPool2d(kernel, stride, pad, ceil_mode=up, count_include_pad=True), moves=(rows, columns))


def padding(layer: LayerText, bottoms: Sequence[Blob]) -> Built:
    """The zero border that was a layer of its own in V0."""
    check_map(layer, bottoms[0])
    pad = layer.whole(layer.param("convolution_param"), "pad", 0)
    move = (Fraction(1), Fraction(pad))
    return Built(nn.ZeroPad2d(pad), moves=(move, move))


def upsample(layer: LayerText, bottoms: Sequence[Blob]) -> Built:
    """SegNet's and ENet's Upsample: each value goes back to where its pool's mask found it, zeros elsewhere.

    The indices are taken in the plane of the output: where that has other columns than the pool's bottom, values get
    to other places, as in Caffe.
    """
    param = layer.param("upsample_param")
    _check_mask(layer, bottoms)
    scale = layer.pair(param, ("scale", "scale_h", "scale_w"), 2, least=1)
    less = (int(param.get("pad_out_h", False)), int(param.get("pad_out_w", False)))
    given = (layer.whole(param, "upsample_h", 0), layer.whole(param, "upsample_w", 0))
    rows, columns = ((Fraction(s), Fraction(s - 1, 2)) for s in scale)
    return Built(Stateless(unpooled, scale=scale, less=less, size=given), moves=None if any(given) else (rows, columns))


def unpooling(layer: LayerText, bottoms: Sequence[Blob]) -> Built:
    """DeconvNet's Unpooling by a mask, to `unpool_size` or as far as the pool's windows reach."""
    param = layer.param("unpooling_param")
    _check_mask(layer, bottoms)
    method = param.get("unpool", Symbol("MAX"))
    if method not in ("MAX", "0"):
        raise layer.refused(f"unpools by {method}; MAX, with a mask, is run here")
    size = layer.pair(param, ("unpool_size", "unpool_h", "unpool_w"), 0)
    if all(size):
        return Built(Stateless(unpooled, scale=(1, 1), less=(0, 0), size=size))
    kernel = layer.pair(param, KERNEL, None, least=1)
    stride = layer.pair(param, STRIDE, 1, least=1)
    less = (stride[0] - kernel[0], stride[1] - kernel[1])
    return Built(Stateless(unpooled, scale=stride, less=less, size=(0, 0)))


def _check_mask(layer: LayerText, bottoms: Sequence[Blob]) -> None:
    if len(bottoms) != 2:
        raise layer.refused(f"takes a map and its pool's mask, two bottoms, got {len(bottoms)}")
    check_map(layer, bottoms[0])


def unpooled(values: Tensor, mask: Tensor, *, scale: Pair, less: Pair, size: Pair) -> Tensor:
    """Values (N, C, h, w) at the flat indices of a mask of the same shape: (N, C, H, W), zeros elsewhere.

    Args:
        less: taken off H and W after scaling.
        size: H and W themselves; 0 where they are scaled.
    """
    if mask.shape != values.shape:
        raise ShapeError(f"the values are {times(values.shape)}, their mask {times(mask.shape)}")
    if mask.dtype != torch.int64:
        raise ShapeError("the second bottom is no mask of a pool")
    n, c = values.shape[:2]
    rows, columns = unpooled_size(values, scale=scale, less=less, size=size)
    flat = values.new_zeros(n, c, rows * columns)
    return flat.scatter(2, mask.flatten(2), values.flatten(2)).view(n, c, rows, columns)


def unpooled_size(values: Tensor, *, scale: Pair, less: Pair, size: Pair) -> Pair:
    """(H, W) of `unpooled`."""
    height, width = values.shape[2:]
    return size[0] or height * scale[0] - less[0], size[1] or width * scale[1] - less[1]


def interp(layer: LayerText, bottoms: Sequence[Blob]) -> Built:
    """Interp of DeepLab's and PSPNet's forks: bilinear, the corner cells are the corner pixels."""
    param = layer.param("interp_param")
    check_map(layer, bottoms[0])
    size = (layer.whole(param, "height", 0), layer.whole(param, "width", 0))
    zoom, shrink = (layer.whole(param, name, 0) for name in ("zoom_factor", "shrink_factor"))
    pads = (param.get("pad_beg", 0), param.get("pad_end", 0))
    if max(pads) > 0:
        raise layer.refused(f"has pad_beg, pad_end {pads}; they can only crop, so expected 0 or less")
    if not (zoom or shrink or all(size)):
        raise layer.refused("needs height and width, a zoom_factor, or a shrink_factor")
    move = (Fraction(zoom), Fraction(zoom * pads[0]))
    module = Stateless(interpolated, size=size, zoom=zoom, shrink=shrink, crops=(-pads[0], -pads[1]))
    return Built(module, moves=(move, move) if zoom and not shrink else None)


def interpolated(values: Tensor, *, size: Pair, zoom: int, shrink: int, crops: Pair) -> Tensor:
    """(N, C, h, w) → (N, C, H, W), align-corners.

    Args:
        size: H and W where there is neither zoom nor shrink.
        crops: cells taken off at the beginning and the end of both axes.
    """
    if any(crops):
        rows, columns = (side - sum(crops) for side in values.shape[2:])
        if min(rows, columns) < 1:
            raise ShapeError(f"nothing is left of {times(values.shape)} without {sum(crops)} cells of each axis")
        values = values[:, :, crops[0] : crops[0] + rows, crops[0] : crops[0] + columns]
    if zoom or shrink:
        sides = [(side - 1) // shrink + 1 if shrink else side for side in values.shape[2:]]
        size = tuple((side - 1) * zoom + 1 if zoom else side for side in sides)  # type: ignore[assignment]  # a pair, as sides is
    return F.interpolate(values, size, mode="bilinear", align_corners=True)


def crop(layer: LayerText, bottoms: Sequence[Blob]) -> Built:
    """The first bottom cut to the size of the second, from `axis` on, at `offset`.

    Without both, as in the forks for FCN, HED and CRF-RNN, the offsets are those at which cells of both bottoms lie on
    the same pixels (spec networks-2014-2016 §2.3).
    """
    param = layer.param("crop_param")
    if len(bottoms) != 2:
        raise layer.refused(f"takes a blob and one of the size wanted, two bottoms, got {len(bottoms)}")
    axes = len(bottoms[0].shape)
    first = layer.axis(param, "axis", 2, axes)
    offsets: Sequence[int] = layer.wholes(param, "offset")
    if "axis" not in param and not offsets:
        offsets = _offsets(layer, bottoms)
    if len(offsets) not in (0, 1, axes - first):
        raise layer.refused(f"crops {axes - first} axes and has {len(offsets)} offsets")
    if len(offsets) <= 1:
        offsets = list(offsets or [0]) * (axes - first)
    starts = dict(zip(range(first, axes), offsets, strict=True))
    rows, columns = ((Fraction(1), Fraction(-starts.get(axis, 0))) for axis in (2, 3))
    return Built(Stateless(cropped, starts=starts), moves=(rows, columns))


def _offsets(layer: LayerText, bottoms: Sequence[Blob]) -> Sequence[int]:
    """The shifts of the first bottom against the second."""
    for bottom in bottoms:
        check_map(layer, bottom)
    grids = [bottom.grid for bottom in bottoms]
    if grids[0].root != grids[1].root:
        between = next(grid.root for grid in grids if grid.root)
        raise layer.refused(
            f"has no offset, and none can be told: layer {between!r} has no fixed grid; write crop_param "
            "{ axis: 2 offset: … }"
        )
    offsets = []
    for (scale, shift), (wanted, place) in zip(grids[0].moves, grids[1].moves, strict=True):
        offset = shift - place
        if scale != wanted or offset.denominator != 1 or offset < 0:
            raise layer.refused(
                f"has no offset, and none fits: cell x of the pictures is {float(scale):g}·x + {float(shift):g} of its "
                f"first bottom and {float(wanted):g}·x + {float(place):g} of its second; the scales must be equal and "
                "the shift of the first whole cells larger"
            )
        offsets.append(int(offset))
    return offsets


def cropped(values: Tensor, like: Tensor, *, starts: dict[int, int]) -> Tensor:
    """A part of the values, as long as `like` in the axes of `starts`."""
    for axis, start in starts.items():
        length = like.shape[axis]
        if start + length > values.shape[axis]:
            raise ShapeError(
                f"axis {axis} has {values.shape[axis]} cells, too few for a crop of {length} at offset {start}"
            )
        values = values.narrow(axis, start, length)
    return values


def lrn(layer: LayerText, bottoms: Sequence[Blob]) -> Built:
    """Local response normalization over channels or over places."""
    param = layer.param("lrn_param")
    check_map(layer, bottoms[0])
    size = layer.whole(param, "local_size", 5, least=1)
    alpha, beta, k = param.get("alpha", 1.0), param.get("beta", 0.75), param.get("k", 1.0)
    if size % 2 == 0 or size > LARGEST_WINDOW:
        raise layer.refused(f"has local_size: {size}; expected an odd number below {LARGEST_WINDOW}")
    region = param.get("norm_region", Symbol("ACROSS_CHANNELS"))
    if region in ("WITHIN_CHANNEL", "1"):
        return Built(Stateless(normalized_within, size=size, alpha=alpha, beta=beta), moves=SAME, alike=True)
    if region not in ("ACROSS_CHANNELS", "0"):
        raise layer.refused(f"has norm_region: {region}; expected ACROSS_CHANNELS or WITHIN_CHANNEL")
    if k <= 0:
        raise layer.refused(f"has k: {k:g}; expected more than 0")
    if k == 1:
        return Built(LocalResponseNorm(size, alpha=alpha, beta=beta), moves=SAME, alike=True)
    # (k + t)^−β = k^−β (1 + t/k)^−β
    return Built(_ScaledResponseNorm(size, alpha=alpha / k, beta=beta, factor=k**-beta), moves=SAME, alike=True)


class _ScaledResponseNorm(LocalResponseNorm):
    """LRN with another constant than 1 beside the sum."""

    def __init__(self, size: int, *, alpha: float, beta: float, factor: float) -> None:
        super().__init__(size, alpha=alpha, beta=beta)
        self.factor = factor

    def forward(self, values: Tensor) -> Tensor:
        return self.factor * super().forward(values)


def normalized_within(values: Tensor, *, size: int, alpha: float, beta: float) -> Tensor:
    """Values over their neighborhood: x·(1 + α·(mean of x² over size × size places, zeros beyond the border))^−β."""
    squares = F.avg_pool2d(values.square(), size, 1, size // 2)
    return values * (1 + alpha * squares) ** -beta
