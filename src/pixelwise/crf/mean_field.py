"""MeanField: the fully connected CRF as layers of a network, with everything but its Gaussians learned.

Zheng, Jayasumana, Romera-Paredes, Vineet, Su, Du, Huang, Torr: Conditional Random Fields as Recurrent Neural Networks,
ICCV 2015 (arXiv 1502.03240), §4. Reference code: torrvision/caffe, `multi_stage_meanfield.cpp`,
`meanfield_iteration.cpp`. With scores U, X = U to begin with, and filters F that are divided by what they make of ones,
a step is

    P = softmax(X),   M = W_s·F_s[P] + W_b·F_b[P],   X ← U − μ·M

with the same matrices (K, K) in all steps. At their start the result is that of `reference.mean_field` with Potts
energies, rewards 3 and 5, and normalization "after".

A filter is linear, and its gradient is its transpose: the same lattice, blurred along the axes in reverse order.

**Differences:** the reference code gets pictures that are filled up with zeros to 500 × 500, and the filled pixels take
part; here there are none. It has the sizes of the Gaussians in its code's settings and 10 steps in training, too; the
paper has 5, and so has this.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, fx, nn
from torch.autograd.function import once_differentiable

from pixelwise.crf.arrays import is_real, is_whole, shown
from pixelwise.crf.engines import choose
from pixelwise.crf.features import positions
from pixelwise.errors import BadOption, ShapeError

if TYPE_CHECKING:  # loaded when first used: numba takes a while
    from pixelwise.crf.lattice import Lattice
    from pixelwise.crf.torch_lattice import TorchLattice

Filter = Callable[[Tensor], Tensor]
SMALLEST_MASS = 1e-20  # added before the division, as in the reference code


class MeanField(nn.Module):
    """Scores (N, K, H, W) and pictures (N, C, H, W) → (N, K, H, W) logits after the last step, with no softmax.

    Computed in float32, in float64 for scores of float64, whatever autocast says; the filters are always float32. On
    CPUs, the results are the same bits for the same `torch.get_num_threads()`.

    Args:
        num_classes: K.
        spatial_sigma: θγ of the filter of positions, in pixels.
        position_sigma, color_sigma: θα in pixels and θβ in levels of 0–255, of the filter of positions and colors.
        training_steps, steps: in training, and in evaluation.

    Attributes:
        spatial, bilateral: (K, K) W_s and W_b, 3 and 5 times the identity at the start.
        compatibility: (K, K) μ, the negative identity at the start; μ[l, l'] is what l pays for l'.

    Raises:
        BadOption: a width is not above 0, or there are not as many steps or classes.

    >>> scores = torch.zeros(1, 2, 4, 6)
    >>> scores[0, 0] = 0.5
    >>> scores[0, 1, 1, 2] = 1
    >>> MeanField(2)(scores, torch.zeros(1, 3, 4, 6)).argmax(1).unique()
    tensor([0])
    """

    def __init__(
        self,
        num_classes: int,
        *,
        spatial_sigma: float = 3.0,
        position_sigma: float = 160.0,
        color_sigma: float = 3.0,
        training_steps: int = 5,
        steps: int = 10,
    ) -> None:
        super().__init__()
        for name, count, least in (
            ("num_classes", num_classes, 1),
            ("training_steps", training_steps, 0),
            ("steps", steps, 0),
        ):
            if not is_whole(count) or count < least:
                raise BadOption(f"{name} must be a whole number from {least} up, got {shown(count)}")
        sigmas = spatial_sigma, position_sigma, color_sigma
        for name, sigma in zip(("spatial_sigma", "position_sigma", "color_sigma"), sigmas, strict=True):
            if not is_real(sigma) or sigma <= 0:
                raise BadOption(f"{name} must be a number above 0, got {shown(sigma)}")
        self.sigmas = float(spatial_sigma), float(position_sigma), float(color_sigma)
        self.training_steps, self.steps = int(training_steps), int(steps)
        num_classes = int(num_classes)
        self.spatial = nn.Parameter(3 * torch.eye(num_classes))
        self.bilateral = nn.Parameter(5 * torch.eye(num_classes))
        self.compatibility = nn.Parameter(-torch.eye(num_classes))

    def forward(self, scores: Tensor, images: Tensor) -> Tensor:
        """Refine the scores; gradients go to them and to the matrices, none to the pictures.

        Args:
            images: with values as far apart as in 0–255: a mean may be taken away, but nothing divided. Give them in
                float32 or uint8: levels less a mean are rounded in bfloat16, to steps of ½ from 64 up and 1 from 128.

        Raises:
            ShapeError: scores or pictures have other shapes.
            BadOption: a picture holds a value that is not finite, or the call is traced or exported: the filters are
                made anew for each picture, and a graph would keep the first one's. `torch.compile` works.
        """
        steps = self.training_steps if self.training else self.steps
        return refined(scores, images, self.spatial, self.bilateral, self.compatibility, self.sigmas, steps)

    def extra_repr(self) -> str:
        """What `print(network)` shows."""
        spatial, position, color = self.sigmas
        return (
            f"{len(self.spatial)}, spatial_sigma={spatial}, position_sigma={position}, color_sigma={color}, "
            f"training_steps={self.training_steps}, steps={self.steps}"
        )


@fx.wrap  # one step of a graph: torch.fx cannot see what becomes of the pictures
def refined(
    scores: Tensor,
    images: Tensor,
    spatial: Tensor,
    bilateral: Tensor,
    compatibility: Tensor,
    sigmas: tuple[float, float, float],
    steps: int,
) -> Tensor:
    """`MeanField` as a function of its parameters.

    Raises:
        ShapeError: scores or pictures have other shapes.
        BadOption: the call is traced or exported.
    """
    if images.ndim != 4 or scores.shape != (len(images), len(spatial), *images.shape[2:]):
        raise ShapeError(
            f"scores are {tuple(scores.shape)} and pictures {tuple(images.shape)}: expected (N, {len(spatial)}, H, W) "
            "and (N, C, H, W)"
        )
    dtype = torch.promote_types(scores.dtype, torch.float32)
    if not scores.numel():
        return scores.to(dtype)
    if scores.device.type == "meta":  # shapes alone; every pixel sees the whole picture
        return scores.to(dtype) - scores.mean((2, 3), keepdim=True)
    tracing = torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]  # untyped in torch
    if tracing or torch.compiler.is_exporting():
        raise BadOption(
            "MeanField cannot be traced or exported: a graph would keep the filters of the first picture; export the "
            "network without it, and call it on the scores"
        )
    # torch.compile would go into numba's own code and fail there. Not as a decorator: it takes a second to load.
    run: Callable[..., Tensor] = _run
    if torch.compiler.is_compiling():
        run = torch.compiler.disable(_run)  # type: ignore[no-untyped-call]  # untyped in torch
    return run(scores.to(dtype), images, (spatial, bilateral, compatibility), sigmas, steps)


def _run(
    scores: Tensor, images: Tensor, matrices: Sequence[Tensor], sigmas: tuple[float, float, float], steps: int
) -> Tensor:
    """`refined`, of what is checked, in the type of the scores."""
    with torch.autocast(scores.device.type, enabled=False):
        filters = _filters(images.detach().float(), sigmas)
        unary = scores.permute(0, 2, 3, 1).contiguous()  # (N, H, W, K)
        spatial, bilateral, compatibility = (matrix.to(scores.dtype) for matrix in matrices)
        return unrolled(unary, filters, spatial, bilateral, compatibility, steps).permute(0, 3, 1, 2)


def unrolled(
    unary: Tensor, filters: Sequence[Filter], spatial: Tensor, bilateral: Tensor, compatibility: Tensor, steps: int
) -> Tensor:
    """(N, H, W, K) scores → (N, H, W, K) after so many steps.

    Args:
        filters: F_s and F_b, from (N, H, W, K) to (N, H, W, K), normalized.
    """
    energies = [compatibility @ weights for weights in (spatial, bilateral)]  # μ·(W·S) is (μ·W)·S
    values = unary
    for _ in range(steps):
        marginals = values.softmax(-1)
        values = unary
        for filtered, energy in zip(filters, energies, strict=True):
            values = values - filtered(marginals) @ energy.T
    return values


class _LatticeFilter(torch.autograd.Function):
    """(N·H·W, K) → (N·H·W, K): the filter of a lattice, divided by what it makes of ones."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, lattice: "_Lattices | TorchLattice", norm: Tensor) -> Tensor:
        """Filter, then divide."""
        ctx.lattice, ctx.norm = lattice, norm
        return (lattice.filter(values) * norm).to(values.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        """Divide, then filter transposed."""
        return ctx.lattice.filter(gradient * ctx.norm, reverse=True).to(gradient.dtype), None, None


class _Lattices:
    """The lattices of a batch's pictures, where the engine has one for each, with the face of `TorchLattice`.

    Attributes:
        mass: (N·H·W,) float64.
    """

    def __init__(self, lattices: Sequence["Lattice"]) -> None:
        self.lattices = lattices
        self.mass = torch.cat([torch.from_numpy(lattice.mass) for lattice in lattices])

    def filter(self, values: Tensor, *, reverse: bool = False) -> Tensor:
        """`Lattice.filter` of each picture's rows."""
        parts = values.numpy().reshape(len(self.lattices), -1, values.shape[1])
        filtered = [
            torch.from_numpy(lattice.filter(part, reverse=reverse))
            for lattice, part in zip(self.lattices, parts, strict=True)
        ]
        return torch.cat(filtered)


def _filters(images: Tensor, sigmas: tuple[float, float, float]) -> list[Filter]:
    """F_s and F_b of pictures (N, C, H, W)."""
    count, _, *size = images.shape
    spatial_sigma, position_sigma, color_sigma = sigmas
    places = torch.from_numpy(positions(size, position_sigma)).to(images.device)
    width = torch.tensor(color_sigma, dtype=torch.float32, device=images.device)  # by a number, CUDA rounds otherwise
    colors = images.flatten(2) / width
    features = torch.cat([places.expand(count, -1, -1), colors], 1)
    engine = choose("auto", None, images, torch.get_num_threads())
    near = engine.positions(size, (spatial_sigma,) * 2, count if engine.takes_batches else 1)
    if engine.takes_batches:
        return [_filter_of(near), _filter_of(engine.lattice(features))]
    return [
        _filter_of(_Lattices([near] * count)),
        _filter_of(_Lattices([engine.lattice(points[None]) for points in features])),
    ]


def _filter_of(lattice: "_Lattices | TorchLattice") -> Filter:
    norm = (1 / (lattice.mass + SMALLEST_MASS)).float()[:, None]

    def apply(values: Tensor) -> Tensor:
        rows: Tensor = _LatticeFilter.apply(values.flatten(0, 2), lattice, norm)  # type: ignore[no-untyped-call]  # untyped in torch
        return rows.reshape(values.shape)

    return apply
