"""The domain transform: a recursive filter that stops at edges, the cheap alternative to the dense CRF.

Gastal, Oliveira: Domain Transform for Edge-Aware Image and Video Processing, SIGGRAPH 2011, §4.3 (recursive filter).
Chen, Barron, Papandreou, Murphy, Yuille: Semantic Image Segmentation with Task-Specific Edge Detection Using CNNs and
a Discriminatively Trained Domain Transform, CVPR 2016 (DeepLab-DT). Spec: networks-2015-2017 §1.6.

Neighbors are d = 1 + g·σs/σr apart, g ≥ 0 the strength of an edge between them. Iteration k = 1…K goes over each row
from left to right and from right to left, then over each column down and up, with

    y_i = (1 − w_i)·x_i + w_i·y_{i−1},  w_i = exp(−√2·d_i/σ_k),  σ_k = σs·√3·2^(K−k)/√(4^K − 1)

where the way back has w_{i+1}, the weight between the same two pixels. Every label has the same weights: what is equal
in a whole picture stays, and probabilities still add up to 1.

**Differences:** none known from DeepLab's layer, whose g is one map for rows and columns, at the later of two pixels.
`domain_transform` takes g from the picture as Gastal and Oliveira do. Both go right before left and rows before
columns, so a mirrored picture does not give quite the mirrored result.
"""

import importlib.util
import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, TypeVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from pixelwise.crf.arrays import array_of, is_real, is_tensor, is_whole, kind_of, shown
from pixelwise.errors import BadOption, ShapeError

Values = TypeVar("Values", NDArray[Any], Tensor)

LANES = 8  # labels are padded to a multiple of it for the kernels
FLOATS_PER_PART = 1 << 16
LARGEST_FACTOR = 1e30  # σs/σr that float32 can multiply with


def domain_transform(
    values: Values,
    image: NDArray[Any] | Tensor,
    *,
    sigma_pixels: float = 50.0,
    sigma_color: float = 100.0,
    iterations: int = 3,
) -> Values:
    """(K, H, W) probabilities or scores, (H, W, C) image → (K, H, W) float32, smoothed within the image's edges.

    Between neighbors g = Σ_c |I_c(p) − I_c(p − 1)|: differences along rows where rows are filtered, along columns where
    columns are. Differentiable by the values; batches are (N, K, H, W) with (N, H, W, C). CPUs use as many threads as
    torch.

    Args:
        values: floats, of any range; a tensor gives a tensor on its device.
        image: any number of channels, or (H, W).
        sigma_pixels: σs, how far it smooths where there is no edge.
        sigma_color: σr, in the image's values: where g adds up to this, neighbors are σs farther apart. DeepLab-DT's 5
            is for edges that are learned; among 5–200, 100 was best for coarse labels of VOC's photos
            (benchmarks/domain_transform.py).
        iterations: K; more leave fewer streaks along rows and columns.

    Raises:
        ShapeError: values are not (K, H, W) or (N, K, H, W) floats, or the image has another size.
        BadOption: values or image are not finite, or an option is impossible.

    >>> domain_transform(np.array([[[0.0, 0.2, 1.0, 0.8]]]), np.array([[20, 22, 920, 910]])).round(2)
    array([[[0.01, 0.01, 0.97, 0.97]]], dtype=float32)
    """
    settings = _Settings(sigma_pixels, sigma_color, iterations, "sigma_color")
    given = _floats(values)
    batch = given if given.ndim == 4 else given[None]
    pixels = _pixels(image, given).to(batch.device)
    across, down = pixels.new_zeros(pixels.shape[:3]), pixels.new_zeros(pixels.shape[:3])
    across[:, :, 1:] = pixels.diff(dim=2).abs().sum(-1)
    down[:, 1:] = pixels.diff(dim=1).abs().sum(-1)
    result = _filtered(batch, across, down, settings).reshape(given.shape)
    return result if isinstance(values, Tensor) else result.numpy()


class DomainTransform(nn.Module):
    """Scores (N, K, H, W), edges (N, H, W) → (N, K, H, W): DeepLab-DT's layer, differentiable by both.

    Half precision is computed in float32.

    Args:
        sigma_pixels: σs, how far it smooths where there is no edge.
        sigma_edge: σr, the strength of an edge that adds σs to a distance.
        iterations: K.
        min_weight: weights below it become it, and no gradient goes to their edges.

    Raises:
        BadOption: an option is impossible.

    >>> scores, edges = torch.rand(2, 3, 5, 7), torch.rand(2, 5, 7)
    >>> DomainTransform()(scores, edges).shape
    torch.Size([2, 3, 5, 7])
    """

    def __init__(
        self,
        *,
        sigma_pixels: float = 50.0,  # these four are the released layer's defaults
        sigma_edge: float = 5.0,
        iterations: int = 3,
        min_weight: float = 0.0,
    ) -> None:
        super().__init__()
        self.settings = _Settings(sigma_pixels, sigma_edge, iterations, "sigma_edge", min_weight)

    def forward(self, scores: Tensor, edges: Tensor) -> Tensor:
        """Filter the scores.

        Args:
            edges: ≥ 0; that of a pixel stands between it and the pixels on its left and above. Values are not looked
                at: below 0, neighbors are nearer than without an edge, down to −σr/σs, from where on the weight is 1;
                one that is not a number makes its row and column so, and then the picture.

        Raises:
            ShapeError: scores are not (N, K, H, W) floats, or edges are not (N, H, W) floats.
            BadOption: edges and scores are on two devices.
        """
        if scores.ndim != 4 or not scores.numel() or not scores.is_floating_point():
            raise ShapeError(f"scores are {tuple(scores.shape)} of {scores.dtype}: expected (N, K, H, W) floats")
        expected = (len(scores), *scores.shape[2:])
        if tuple(edges.shape) != expected or not edges.is_floating_point():
            raise ShapeError(f"edges are {tuple(edges.shape)} of {edges.dtype}: expected {expected} floats ≥ 0")
        if edges.device != scores.device:
            raise BadOption(f"edges are on {edges.device}, the scores on {scores.device}: move them")
        precision = torch.float64 if scores.dtype == torch.float64 else torch.float32
        with torch.autocast(scores.device.type, enabled=False):
            strengths = edges.to(precision)
            return _filtered(scores.to(precision), strengths, strengths, self.settings).to(scores.dtype)

    def extra_repr(self) -> str:
        """The settings."""
        return repr(self.settings)


class _Settings:
    """Checked settings, and what follows from them."""

    def __init__(
        self, sigma_pixels: float, sigma_range: float, iterations: int, name: str, min_weight: float = 0.0
    ) -> None:
        for what, sigma in (("sigma_pixels", sigma_pixels), (name, sigma_range)):
            if not (is_real(sigma) and sigma > 0):
                raise BadOption(f"{what} is {shown(sigma)}: expected a number above 0")
        if not (is_whole(iterations) and 1 <= iterations <= 100):
            raise BadOption(f"iterations is {shown(iterations)}: expected a whole number from 1 to 100")
        if not (is_real(min_weight) and 0 <= min_weight <= 1):
            raise BadOption(f"min_weight is {shown(min_weight)}: expected a number from 0 to 1")
        sigma_pixels, sigma_range, min_weight = float(sigma_pixels), float(sigma_range), float(min_weight)
        iterations = int(iterations)
        self.edge_factor = sigma_pixels / sigma_range
        if self.edge_factor > LARGEST_FACTOR:
            raise BadOption(f"{name} is {sigma_range!r}: too narrow for sigma_pixels {sigma_pixels!r}; widen it")
        self.min_weight = min_weight
        # 2^(K−k)/√(4^K − 1) = 2^−k/√(1 − 4^−K)
        whole = sigma_pixels * math.sqrt(3 / (1 - 4.0**-iterations))
        self.sigmas = [whole / 2**k for k in range(1, iterations + 1)]
        self._text = f"sigma_pixels={sigma_pixels}, {name}={sigma_range}, iterations={iterations}, {min_weight=}"

    def __repr__(self) -> str:
        return self._text

    def weights(self, edges: Tensor, sigma: float) -> Tensor:
        """The weights w of one iteration."""
        return torch.exp((1 + edges * self.edge_factor) * (-math.sqrt(2) / sigma)).clamp(self.min_weight, 1)


def _filtered(values: Tensor, across: Tensor, down: Tensor, settings: _Settings) -> Tensor:
    """(N, K, H, W), edges before each pixel of a row and of a column (N, H, W) → (N, K, H, W)."""
    num_labels = values.shape[1]
    rows = nn.functional.pad(values.permute(0, 2, 3, 1), (0, -num_labels % LANES)).contiguous()
    if rows.data_ptr() == values.data_ptr():
        rows = rows.clone()  # sweeps are in place
    differentiable = torch.is_grad_enabled() and (rows.requires_grad or across.requires_grad or down.requires_grad)
    for sigma in settings.sigmas:
        weights = settings.weights(across, sigma)
        for dim in (2, 1):
            if dim == 1 and down is not across:
                weights = settings.weights(down, sigma)
            if differentiable:
                rows = cast(Tensor, _Sweep.apply(rows, weights, dim))  # type: ignore[no-untyped-call]  # untyped in torch
            else:
                _sweep(rows, weights, dim)
    return rows[..., :num_labels].permute(0, 3, 1, 2).contiguous()


class _Sweep(torch.autograd.Function):
    """Both directions along rows (dim 2) or columns (dim 1), differentiable: (N, H, W, L), (N, H, W) → (N, H, W, L)."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, weights: Tensor, dim: int) -> Tensor:
        weights = weights.contiguous()
        middle = values.clone()
        _recurse(middle, weights, dim, back=False)
        result = middle.clone()
        _recurse(result, weights, dim, back=True)
        ctx.save_for_backward(values, middle, result, weights)
        ctx.dim = dim
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        values, middle, result, weights = ctx.saved_tensors
        gradient = gradients[0].clone(memory_format=torch.contiguous_format)
        by_weights = torch.zeros_like(weights)
        _reverse(gradient, by_weights, middle, result, weights, ctx.dim, back=True)
        _reverse(gradient, by_weights, values, middle, weights, ctx.dim, back=False)
        return gradient, by_weights, None


def _has_kernels(values: Tensor) -> bool:
    return (
        values.device.type == "cpu" and values.dtype == torch.float32 and importlib.util.find_spec("numba") is not None
    )


def _sweep(values: Tensor, weights: Tensor, dim: int) -> None:
    """Both directions in place."""
    if _has_kernels(values):
        _run("sweep", [values], [weights.contiguous()], dim)
    else:
        _recurse(values, weights, dim, back=False)
        _recurse(values, weights, dim, back=True)


def _recurse(values: Tensor, weights: Tensor, dim: int, *, back: bool) -> None:
    """One direction in place."""
    if _has_kernels(values):
        _run("recurse", [values], [weights], dim, back)
        return
    for pixel, before, gap in _walk(values.shape[dim], back):
        own = values.select(dim, pixel)
        own.lerp_(values.select(dim, before), weights.select(dim, gap)[..., None])


def _reverse(
    gradient: Tensor, by_weights: Tensor, inputs: Tensor, outputs: Tensor, weights: Tensor, dim: int, *, back: bool
) -> None:
    """The gradient by the outputs of `_recurse` becomes that by its inputs; that by the weights is added."""
    if _has_kernels(gradient):
        _run("reverse", [gradient, by_weights, inputs, outputs], [weights], dim, back)
        return
    for pixel, before, gap in reversed(_walk(gradient.shape[dim], back)):
        weight = weights.select(dim, gap)[..., None]
        whole = gradient.select(dim, pixel)
        change = outputs.select(dim, before) - inputs.select(dim, pixel)
        by_weights.select(dim, gap).add_((whole * change).sum(-1))
        gradient.select(dim, before).addcmul_(weight, whole)
        whole.mul_(1 - weight)


def _walk(length: int, back: bool) -> list[tuple[int, int, int]]:
    """Each pixel with the one before it on the way, and the place of the weight between them."""
    forth = [(i, i - 1, i) for i in range(1, length)]
    return [(i - 1, i, i) for i, _, _ in reversed(forth)] if back else forth


def _run(name: str, arrays: Sequence[Tensor], weights: Sequence[Tensor], dim: int, *way: bool) -> None:
    """Run a kernel over all lines of all pictures, some to each thread."""
    from pixelwise.crf import edge_filter_kernels as kernels
    from pixelwise.crf.threads import Team

    kernel = getattr(kernels, name)
    num_pictures, height, width, lanes = arrays[0].shape
    if dim == 2:
        lines, length, steps = height, width, (width * lanes, lanes, width, 1)
    else:
        lines, length, steps = width, height, (lanes, width * lanes, 1, width)
    parts = max(1, min(4 * torch.get_num_threads(), lines * length * lanes // FLOATS_PER_PART, lines))
    cuts = [lines * i // parts for i in range(parts + 1)]
    flat = [tensor.view(num_pictures, -1).numpy() for tensor in (*arrays, *weights)]
    jobs = [(n, *span) for n in range(num_pictures) for span in pairwise(cuts)]
    with Team(min(torch.get_num_threads(), len(jobs))) as team:
        team.run(
            lambda job: kernel(*(array[job[0]] for array in flat), length, lanes, steps, *way, job[1], job[2]), jobs
        )


def _floats(values: NDArray[Any] | Tensor) -> Tensor:
    """Values (K, H, W) or (N, K, H, W), checked, as float32."""
    given = _held(values, "values")
    if isinstance(values, Tensor):
        given = values  # with its gradient
    if given.ndim not in (3, 4) or 0 in given.shape or kind_of(given) != "f":
        raise ShapeError(f"values are {tuple(given.shape)} of {given.dtype}: expected (K, H, W) floats")
    floats = given.to(torch.float32) if isinstance(given, Tensor) else torch.from_numpy(_own(given))
    if not all(math.isfinite(extreme) for extreme in floats.detach().aminmax()):
        raise BadOption("values hold numbers that are not finite")
    return floats


def _held(given: Any, name: str) -> Any:
    """`array_of`, of what holds values."""
    array = array_of(given)
    if is_tensor(array) and array.is_meta:
        raise BadOption(f"{name}: a tensor on the device meta holds no values; move the data to another")
    return array


def _own(array: NDArray[Any]) -> NDArray[np.float32]:
    """The array as torch takes it: contiguous and writable, copied where it is not."""
    with np.errstate(over="ignore"):  # what is not finite is refused
        return np.require(array, np.float32, ["C", "W", "A"])


def _pixels(image: NDArray[Any] | Tensor, values: Tensor) -> Tensor:
    """The image as (N, H, W, C) float32, checked against values (K, H, W) or (N, K, H, W)."""
    given = _held(image, "image")
    if kind_of(given) not in "uif":
        raise ShapeError(f"image is of {given.dtype}: expected whole numbers or floats")
    image = given if isinstance(given, Tensor) else torch.from_numpy(_own(given))
    size = values.shape[-2:] if values.ndim == 3 else (values.shape[0], *values.shape[-2:])
    if tuple(image.shape[: len(size)]) != tuple(size) or image.ndim > len(size) + 1 or not image.numel():
        raise ShapeError(
            f"image is {tuple(image.shape)}: expected {tuple(size)} and channels last, as the labels' values have"
        )
    pixels = image.detach().to(torch.float32)
    if not pixels.isfinite().all():
        raise BadOption("image holds values that are not finite")
    return pixels.reshape(-1, *values.shape[-2:], 1 if image.ndim == len(size) else image.shape[-1])
