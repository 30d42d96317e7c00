"""Caffe's layers that join, cut, reorder and reshape blobs, and those that work value by value."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pixelwise.caffe.layers_text import SAME, Blob, Built, LayerText, Moves, Shape, Stateless, check_map, filled, times
from pixelwise.caffe.prototxt import Symbol
from pixelwise.errors import ShapeError


def inner_product(layer: LayerText, bottoms: Sequence[Blob]) -> Built:
    """InnerProduct: what is behind `axis` is flattened, C-major."""
    param = layer.param("inner_product_param")
    shape = bottoms[0].shape
    axis = layer.axis(param, "axis", 1, len(shape))
    num_output = layer.whole(param, "num_output", 0, least=1)
    features = math.prod(shape[axis:])
    bias = param.get("bias_term", True)
    module = nn.Linear(features, num_output, bias)
    blobs = ("weight", "bias") if bias else ("weight",)
    fill = {name: filled(param, f"{name}_filler") for name in blobs}
    flatten = FlattenMap(axis, shape[axis:]) if len(shape) > axis + 1 else None
    return Built(module, blobs, transposed if param.get("transpose", False) else None, fill, flatten=flatten)


def transposed(blobs: Sequence[Tensor]) -> Sequence[Tensor]:
    """The blobs of an InnerProduct whose weight is in × out."""
    return [blobs[0].reshape(blobs[0].shape[-2:]).T, *blobs[1:]]


class FlattenMap(nn.Flatten):
    """(…, C, h, w) → (…, C·h·w) of the one size that an InnerProduct takes."""

    def __init__(self, axis: int, shape: Shape) -> None:
        super().__init__(axis)
        self.shape = shape

    def forward(self, values: Tensor) -> Tensor:
        """Flatten.

        Raises:
            ShapeError: the map has another size.
        """
        if tuple(values.shape[self.start_dim :]) != self.shape:
            raise ShapeError(f"the layer takes {times(self.shape)}, got {times(values.shape[self.start_dim :])}")
        return super().forward(values)


def batch_norm(layer: LayerText, bottoms: Sequence[Blob]) -> Built:
    """BatchNorm: (x − mean)/√(variance + eps), without scale and shift, which a Scale layer adds."""
    param = layer.param("batch_norm_param")
    shape = bottoms[0].shape
    if len(shape) not in (2, 3, 4):
        raise layer.refused(f"takes (N, C) to (N, C, H, W), and its bottom is {times(shape)}")
    fixed = param.get("use_global_stats", True)
    kind = nn.BatchNorm2d if len(shape) == 4 else nn.BatchNorm1d
    momentum = 1 - param.get("moving_average_fraction", 0.999)  # torch's: the weight of the new value
    module = kind(shape[1], layer.eps(param), momentum, affine=False, track_running_stats=fixed)
    names = ("running_mean", "running_var", "") if fixed else ("", "", "")
    return Built(module, names, divided, {"running_var": 1.0}, SAME, alike=True)


def divided(blobs: Sequence[Tensor]) -> Sequence[Tensor]:
    """BatchNorm's blobs: sums of means and variances, divided by the number in the third; zero where that is zero."""
    mean, variance, factor = blobs
    divisor = float(factor.reshape(-1)[0])
    scale = 0.0 if divisor == 0 else 1 / divisor
    return mean * scale, variance * scale, factor


def fork_bn(layer: LayerText, bottoms: Sequence[Blob]) -> Built:
    """The BN of the forks: SegNet's and ENet's scale and shift, or PSPNet's slope, bias, mean, variance."""
    param = layer.param("bn_param")
    check_map(layer, bottoms[0])
    channels = bottoms[0].shape[1]
    fields = ("slope_filler", "bias_filler", "momentum", "eps", "frozen")
    if any(name in param for name in fields) or len(layer.message.all("param")) > 2:
        module = nn.BatchNorm2d(channels, layer.eps(param), 1 - param.get("momentum", 0.9))
        names = ("weight", "bias", "running_mean", "running_var")
        fill = {"weight": filled(param, "slope_filler", 1.0), "bias": filled(param, "bias_filler"), "running_var": 1.0}
        return Built(module, names, None, fill, SAME, alike=True)
    mode = param.get("bn_mode", Symbol("LEARN"))
    if mode not in ("INFERENCE", "1"):
        raise layer.refused(
            "has no bn_mode: INFERENCE, so it would normalize each picture by its own statistics; take the prototxt "
            "for inference, and weights with the statistics of the training set folded in (SegNet's "
            "compute_bn_statistics.py)"
        )
    fill = {"weight": filled(param, "scale_filler", 1.0), "bias": filled(param, "shift_filler")}
    return Built(InferenceBN((channels,), 1, bias=True), ("weight", "bias"), None, fill, SAME, alike=True)


class AxisScale(nn.Module):
    """y = weight·x + bias along some axes: (N, C, …) → the same shape.

    Args:
        shape: of the weight.
        axis: of the values, the weight's first.
    """

    def __init__(self, shape: Shape, axis: int, *, scale: bool = True, bias: bool) -> None:
        super().__init__()
        self.axis = axis
        self.weight = nn.Parameter(torch.empty(shape)) if scale else None
        self.bias = nn.Parameter(torch.empty(shape)) if bias else None

    def forward(self, values: Tensor) -> Tensor:
        """Scale and shift."""
        if self.weight is not None:
            values = values * along(self.weight, self.axis, values)
        return values if self.bias is None else values + along(self.bias, self.axis, values)


class InferenceBN(AxisScale):
    """SegNet's BN after its statistics were folded in: a scale and a shift of each channel."""


def along(weight: Tensor, axis: int, values: Tensor) -> Tensor:
    """A weight whose first axis is `axis` of the values."""
    after = values.ndim - axis - weight.ndim
    return weight.reshape(*weight.shape, *[1] * after) if after else weight


def scale(layer: LayerText, bottoms: Sequence[Blob]) -> Built:
    """Scale: by a weight, or by the second bottom; with a bias where `bias_term` says so."""
    param = layer.param("scale_param")
    axis, shape = _weighted(layer, bottoms, "scale_param")
    bias = param.get("bias_term", False)
    if len(bottoms) == 2:
        if bias:
            raise layer.refused("has two bottoms and a bias_term; it is not run here with both")
        return Built(Stateless(scaled_by, axis=axis), moves=SAME, alike=True)
    fill = {"weight": filled(param, "filler", 1.0), "bias": filled(param, "bias_filler")}
    return Built(
        AxisScale(shape, axis, bias=bias), ("weight", "bias") if bias else ("weight",), None, fill, SAME, alike=True
    )


def bias(layer: LayerText, bottoms: Sequence[Blob]) -> Built:
    """Bias: a weight, or the second bottom, added."""
    axis, shape = _weighted(layer, bottoms, "bias_param")
    if len(bottoms) == 2:
        return Built(Stateless(shifted_by, axis=axis), moves=SAME, alike=True)
    fill = {"bias": filled(layer.param("bias_param"), "filler")}
    return Built(AxisScale(shape, axis, scale=False, bias=True), ("bias",), None, fill, SAME, alike=True)


def _weighted(layer: LayerText, bottoms: Sequence[Blob], name: str) -> tuple[int, Shape]:
    """The first axis of a weight, and its shape."""
    param, shape = layer.param(name), bottoms[0].shape
    axis = layer.axis(param, "axis", 1, len(shape))
    if len(bottoms) == 2:
        weight = bottoms[1].shape
        if weight != shape[axis : axis + len(weight)]:
            raise layer.refused(
                f"has a second bottom of {times(weight)}, which axes from {axis} of {times(shape)} are not"
            )
        return axis, weight
    count = param.get("num_axes", 1)
    if not -1 <= count <= len(shape) - axis:
        raise layer.refused(f"has num_axes: {count} from axis {axis}, and its bottom has {len(shape)} axes")
    return axis, shape[axis:] if count == -1 else shape[axis : axis + count]


def scaled_by(values: Tensor, weight: Tensor, *, axis: int) -> Tensor:
    """Weight times values."""
    return values * along(weight, axis, values)


def shifted_by(values: Tensor, weight: Tensor, *, axis: int) -> Tensor:
    """Values and weight."""
    return values + along(weight, axis, values)


def eltwise(layer: LayerText, bottoms: Sequence[Blob]) -> Built:
    """Eltwise: SUM, with coefficients, PROD or MAX of blobs of the same shape."""
    param = layer.param("eltwise_param")
    operation = param.get("operation", Symbol("SUM"))
    shapes = {bottom.shape for bottom in bottoms}
    if len(shapes) > 1:
        raise layer.refused(f"joins blobs of different shapes: {', '.join(times(b.shape) for b in bottoms)}")
    coefficients = tuple(float(value) for value in param.all("coeff") if isinstance(value, int | float))
    if coefficients and (operation not in ("SUM", "1") or len(coefficients) != len(bottoms)):
        raise layer.refused(f"has {len(coefficients)} coeff for {operation} of {len(bottoms)} bottoms")
    if operation in ("SUM", "1"):
        plain = all(value == 1 for value in coefficients)
        return Built(Stateless(summed, coefficients=() if plain else coefficients), moves=SAME, alike=True)
    if operation in ("PROD", "0"):
        return Built(Stateless(multiplied), moves=SAME, alike=True)
    if operation in ("MAX", "2"):
        return Built(Stateless(largest_of), moves=SAME, alike=True)
    raise layer.refused(f"has operation: {operation}; expected SUM, PROD or MAX")


def summed(*bottoms: Tensor, coefficients: Sequence[float]) -> Tensor:
    """The sum, each blob times its coefficient where there are some."""
    _check_alike(bottoms)
    if coefficients:
        bottoms = tuple(blob * factor for blob, factor in zip(bottoms, coefficients, strict=True))
    total = bottoms[0]
    for blob in bottoms[1:]:
        total = total + blob
    return total


def multiplied(*bottoms: Tensor) -> Tensor:
    """The product."""
    _check_alike(bottoms)
    total = bottoms[0]
    for blob in bottoms[1:]:
        total = total * blob
    return total


def largest_of(*bottoms: Tensor) -> Tensor:
    """The maximum."""
    _check_alike(bottoms)
    total = bottoms[0]
    for blob in bottoms[1:]:
        total = torch.maximum(total, blob)
    return total


def _check_alike(bottoms: Sequence[Tensor]) -> None:
    for blob in bottoms[1:]:
        if blob.shape != bottoms[0].shape:
            raise ShapeError(f"blobs of {times(bottoms[0].shape)} and {times(blob.shape)} cannot be joined")


def concat(layer: LayerText, bottoms: Sequence[Blob]) -> Built:
    """Concat, along the channels if nothing is said."""
    param = layer.param("concat_param")
    axis = layer.axis(param, "concat_dim" if "concat_dim" in param else "axis", 1, len(bottoms[0].shape))
    return Built(Stateless(concatenated, axis=axis), moves=_kept(axis))


def concatenated(*bottoms: Tensor, axis: int) -> Tensor:
    """All blobs, one behind the other."""
    return torch.cat(bottoms, axis)


def cut(layer: LayerText, bottoms: Sequence[Blob]) -> Built:
    """Slice: at `slice_point`, or into equal parts."""
    param, shape = layer.param("slice_param"), bottoms[0].shape
    axis = layer.axis(param, "slice_dim" if "slice_dim" in param else "axis", 1, len(shape))
    points, parts = layer.wholes(param, "slice_point", least=1), len(layer.tops)
    if points:
        sizes = [end - start for start, end in zip((0, *points), (*points, shape[axis]), strict=True)]
        if len(points) != parts - 1 or min(sizes) < 1:
            raise layer.refused(f"cuts axis {axis} of {times(shape)} at {points} for {parts} tops")
    elif shape[axis] % parts:
        raise layer.refused(f"cuts axis {axis} of {times(shape)} into {parts} equal parts, which it has not")
    return Built(Stateless(sliced, axis=axis, cuts=points or parts), moves=_kept(axis))


def sliced(values: Tensor, *, axis: int, cuts: int | tuple[int, ...]) -> tuple[Tensor, ...]:
    """The parts."""
    return torch.tensor_split(values, cuts, axis)


def split(layer: LayerText, bottoms: Sequence[Blob]) -> Built:
    """Split: the same blob as each top."""
    return Built(Stateless(repeated, times=len(layer.tops)), moves=SAME)


def repeated(values: Tensor, *, times: int) -> tuple[Tensor, ...]:
    """The same values several times."""
    return (values,) * times


def _kept(axis: int) -> Moves | None:
    return SAME if axis < 2 else None


def permute(layer: LayerText, bottoms: Sequence[Blob]) -> Built:
    """Permute: the axes named first, then the others."""
    axes = len(bottoms[0].shape)
    order = layer.wholes(layer.param("permute_param"), "order")
    order += tuple(axis for axis in range(axes) if axis not in order)
    if sorted(order) != list(range(axes)):
        raise layer.refused(f"orders the axes {order}, and its bottom has {axes}")
    return Built(Stateless(permuted, order=order))


def permuted(values: Tensor, *, order: Shape) -> Tensor:
    """Axes in another order."""
    return values.permute(order)


def reshape(layer: LayerText, bottoms: Sequence[Blob]) -> Built:
    """Reshape: 0 keeps an axis, −1 takes what is left, from `axis` on over `num_axes` axes."""
    param = layer.param("reshape_param")
    axes = len(bottoms[0].shape)
    start = param.get("axis", 0)
    if not -axes - 1 <= start <= axes:
        raise layer.refused(f"has axis: {start}, and its bottom has {axes} axes")
    start += axes + 1 if start < 0 else 0
    count = param.get("num_axes", -1)
    if not -1 <= count <= axes - start:
        raise layer.refused(f"has num_axes: {count} from axis {start}, and its bottom has {axes} axes")
    end = axes if count == -1 else start + count
    dims = param.message("shape").all("dim")
    if any(type(dim) is not int or dim < -1 for dim in dims) or dims.count(-1) > 1:
        raise layer.refused(f"reshapes to {dims}; expected whole numbers from 1, 0, and −1 at most once")
    if any(dim == 0 and start + place >= axes for place, dim in enumerate(dims)):
        raise layer.refused(f"keeps axis {axes} of a bottom with {axes} axes (counted from 0)")
    return Built(Stateless(reshaped, dims=dims, start=start, end=end))


def reshaped(values: Tensor, *, dims: Shape, start: int, end: int) -> Tensor:
    """The same values, the axes start…end − 1 as `dims`."""
    inside = [values.shape[start + place] if dim == 0 else dim for place, dim in enumerate(dims)]
    return values.reshape([*values.shape[:start], *inside, *values.shape[end:]])


def flatten(layer: LayerText, bottoms: Sequence[Blob]) -> Built:
    """Flatten: the axes `axis` … `end_axis` become one."""
    param, axes = layer.param("flatten_param"), len(bottoms[0].shape)
    return Built(nn.Flatten(layer.axis(param, "axis", 1, axes), layer.axis(param, "end_axis", -1, axes)))


def softmax(layer: LayerText, bottoms: Sequence[Blob]) -> Built:
    """Softmax along an axis."""
    axis = layer.axis(layer.param("softmax_param"), "axis", 1, len(bottoms[0].shape))
    return Built(nn.Softmax(axis), moves=_kept(axis))


def arg_max(layer: LayerText, bottoms: Sequence[Blob]) -> Built:
    """ArgMax: the place of the largest value, the last of equal ones, as floats."""
    param = layer.param("argmax_param")
    if param.get("top_k", 1) != 1 or param.get("out_max_val", False):
        raise layer.refused("has top_k or out_max_val; the place of the largest value alone is given here")
    if "axis" not in param:
        return Built(Stateless(place_of_largest, axis=None))
    axis = layer.axis(param, "axis", 1, len(bottoms[0].shape))
    return Built(Stateless(place_of_largest, axis=axis), moves=_kept(axis))


def place_of_largest(values: Tensor, *, axis: int | None) -> Tensor:
    """Along an axis, which then has length 1; (N, 1, 1) over all of each picture's values where it is None."""
    if axis is None:
        return place_of_largest(values.flatten(1)[:, None], axis=2)
    return (values.shape[axis] - 1 - values.flip(axis).argmax(axis, keepdim=True)).to(values.dtype)


def prelu(layer: LayerText, bottoms: Sequence[Blob]) -> Built:
    """PReLU: a slope for each channel, or one."""
    param = layer.param("prelu_param")
    count = 1 if param.get("channel_shared", False) else bottoms[0].shape[1]
    return Built(nn.PReLU(count), ("weight",), None, {"weight": filled(param, "filler", 0.25)}, SAME, alike=True)


def relu(layer: LayerText, bottoms: Sequence[Blob]) -> Built:
    """ReLU, leaky where it has a negative_slope."""
    slope = layer.param("relu_param").get("negative_slope", 0.0)
    return Built(nn.LeakyReLU(slope) if slope else nn.ReLU(), moves=SAME, alike=True)


def elu(layer: LayerText, bottoms: Sequence[Blob]) -> Built:
    """ELU."""
    return Built(nn.ELU(layer.param("elu_param").get("alpha", 1.0)), moves=SAME, alike=True)


def dropout(layer: LayerText, bottoms: Sequence[Blob]) -> Built:
    """Dropout: nothing in evaluation."""
    return Built(nn.Dropout(layer.param("dropout_param").get("dropout_ratio", 0.5)), moves=SAME, alike=True)


def sigmoid(layer: LayerText, bottoms: Sequence[Blob]) -> Built:
    """Sigmoid."""
    return Built(nn.Sigmoid(), moves=SAME, alike=True)


def tanh(layer: LayerText, bottoms: Sequence[Blob]) -> Built:
    """TanH."""
    return Built(nn.Tanh(), moves=SAME, alike=True)


def abs_val(layer: LayerText, bottoms: Sequence[Blob]) -> Built:
    """AbsVal."""
    return Built(Stateless(torch.abs), moves=SAME, alike=True)


def power(layer: LayerText, bottoms: Sequence[Blob]) -> Built:
    """Power: (shift + scale·x)^power."""
    param = layer.param("power_param")
    numbers = {"power": param.get("power", 1.0), "scale": param.get("scale", 1.0), "shift": param.get("shift", 0.0)}
    return Built(Stateless(raised, **numbers), moves=SAME, alike=True)


def raised(values: Tensor, *, power: float, scale: float, shift: float) -> Tensor:
    """(shift + scale·x)^power."""
    inside = values * scale + shift
    return inside if power == 1 else inside**power


def exp(layer: LayerText, bottoms: Sequence[Blob]) -> Built:
    """Exp: base^(shift + scale·x), of e if nothing is said."""
    param = layer.param("exp_param")
    factor = _logarithm(layer, param.get("base", -1.0))
    numbers = {"scale": factor * param.get("scale", 1.0), "shift": factor * param.get("shift", 0.0)}
    return Built(Stateless(exponential, **numbers), moves=SAME, alike=True)


def exponential(values: Tensor, *, scale: float, shift: float) -> Tensor:
    """e^(shift + scale·x)."""
    return (values * scale + shift).exp()


def log(layer: LayerText, bottoms: Sequence[Blob]) -> Built:
    """Log: the logarithm of shift + scale·x, natural if nothing is said."""
    param = layer.param("log_param")
    numbers = {"scale": param.get("scale", 1.0), "shift": param.get("shift", 0.0)}
    return Built(
        Stateless(logarithm, factor=1 / _logarithm(layer, param.get("base", -1.0)), **numbers), moves=SAME, alike=True
    )


def logarithm(values: Tensor, *, factor: float, scale: float, shift: float) -> Tensor:
    """factor·ln(shift + scale·x)."""
    return factor * (values * scale + shift).log()


def _logarithm(layer: LayerText, base: float) -> float:
    """ln(base), 1 for Caffe's −1, which means e."""
    if base == -1:
        return 1.0
    if base <= 0 or base == 1:
        raise layer.refused(f"has base: {base:g}; expected −1 for e, or a number above 0 that is not 1")
    return math.log(base)
