"""Shift and stitch: dense scores from a coarse network that stays as it is.

The picture is moved to the right and down by 0, 1, … pixels, the network looks at each of these pictures, and its maps
are put into each other (Sermanet et al. 2014, OverFeat, arXiv 1312.6229; Long et al. 2015, FCN, §3.2). A network at
stride f becomes dense in f² passes. `set_output_stride` makes the same map in one pass of a changed network ("filter
rarefaction" in FCN's words).
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import product

import torch
from torch import Tensor, nn

from pixelwise.errors import BadOption, ShapeError, SurgeryError

CELLS = 840  # by which a picture grows to measure a stride: 1 to 8 divide it


def shift_and_stitch(
    network: nn.Module, images: Tensor, factor: int | tuple[int, int], *, step: int | tuple[int, int] = 1
) -> Tensor:
    """Scores at every `step`-th pixel from a network with scores at every `factor`-th: (N, C, H, W) → (N, K, h, w).

    `result[..., i, j]` has its window `i·step` rows below and `j·step` columns right of that of `result[..., 0, 0]`,
    which is the network's first. Where the network pads nothing, these are all the windows that fit into the picture,
    each with the score of that window alone. Where it pads, windows that reach over the left or the upper border see
    zeros of the moved picture, not of each layer's padding: there the scores differ from those of a network whose
    strides were taken. Elsewhere they are equal.

    The network is called (factor/step)² times, as it is: in evaluation mode if nothing else is meant. Gradients flow.

    Args:
        network: gives a map (N, K, h', w') for any size of pictures.
        images: (N, C, H, W), at least as large as the network needs.
        factor: the network's stride in pixels, or (down, right).
        step: of the result, in pixels, or (down, right); it divides the factor. 16 gives a network at stride 32 the
            half-way points by 4 passes.

    Raises:
        BadOption: the network is no module of torch, factor or step is no whole number from 1 up, or the factor is no
            multiple of the step.
        SurgeryError: the network's stride is not the factor, or it gives no map that grows with the picture.
        ShapeError: the images are no batch of pictures.

    >>> pool = nn.MaxPool2d(2)
    >>> shift_and_stitch(pool, torch.tensor([[[[1., 2., 0., 3.], [0., 0., 5., 0.]]]]), 2)
    tensor([[[[2., 5., 5.]]]])
    """
    if not isinstance(network, nn.Module):
        raise BadOption(f"network must be a module of torch, got {type(network).__name__}; put a function into one")
    factors, steps = _sides("factor", factor), _sides("step", step)
    for whole, part in zip(factors, steps, strict=True):
        if whole % part:
            raise BadOption(
                f"factor must be a multiple of step, got factor={factor!r} and step={step!r}; "
                f"steps for {whole} are {', '.join(str(n) for n in range(1, whole + 1) if whole % n == 0)}"
            )
    if images.ndim != 4:
        raise ShapeError(f"images must be (N, C, H, W), got {tuple(images.shape)}")
    _check_stride(network, images, factors)
    (down, right), (rows, columns) = steps, (whole // part for whole, part in zip(factors, steps, strict=True))
    stitched: Tensor | None = None
    height = width = 0
    for y, x in product(range(rows), range(columns)):
        scores = _map(network, network(nn.functional.pad(images, (x * right, 0, y * down, 0))))
        ends = scores.shape[-2] * rows - y, scores.shape[-1] * columns - x  # the first place that this pass lacks
        if stitched is None:
            stitched = scores.new_empty(*scores.shape[:2], *ends)
            height, width = ends
        height, width = min(height, ends[0]), min(width, ends[1])
        # a window of a moved picture that begins before the picture does is none of the picture's
        scores = scores[..., min(y, 1) :, min(x, 1) :]
        places = stitched[..., -y % rows :: rows, -x % columns :: columns]
        common = [min(sides) for sides in zip(places.shape[-2:], scores.shape[-2:], strict=True)]
        places[..., : common[0], : common[1]] = scores[..., : common[0], : common[1]]
    assert stitched is not None
    return stitched[..., :height, :width]


def _sides(name: str, given: int | tuple[int, int]) -> tuple[int, int]:
    sides = given if isinstance(given, tuple | list) else (given, given)
    if len(sides) != 2 or any(type(side) is not int or side < 1 for side in sides):
        raise BadOption(f"{name} must be a whole number from 1 up, or two: (down, right); got {given!r}")
    return sides[0], sides[1]


def _map(network: nn.Module, scores: object) -> Tensor:
    """What the network gave, which must be a map."""
    if isinstance(scores, Tensor) and scores.ndim == 4:
        return scores
    what = tuple(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
    raise SurgeryError(
        f"shift_and_stitch needs a network that gives a map (N, K, h, w); {type(network).__name__} gives {what}. Make "
        "a classifier convolutional first, with convolutionalize"
    )


def _check_stride(network: nn.Module, images: Tensor, factors: tuple[int, int]) -> None:
    """The map must have a row more for each `factor` rows more of the picture, and so the columns."""
    held = dict(network.named_parameters()) | dict(network.named_buffers())
    blank = {name: tensor.to("meta") for name, tensor in held.items()}

    def on_meta(pictures: Tensor) -> object:
        return torch.func.functional_call(network, blank, (pictures,))

    with torch.no_grad(), _unchanged(network):
        try:
            cells = [CELLS, CELLS]
            more = _growth(network, on_meta, images.to("meta"), factors, cells)
        except (RuntimeError, TypeError, ValueError):
            # it computes with values, or holds tensors that it does not list
            cells = [factor + 1 for factor in factors]  # of which a stride of factor ± 1 has one more or less
            more = _growth(network, network, images, factors, cells)
    if min(more) < 1:
        raise SurgeryError(
            f"the map of {type(network).__name__} does not grow with the picture, so that there is nothing to stitch; "
            "make a classifier convolutional first, with convolutionalize"
        )
    if more != cells:
        strides = " × ".join(
            f"{factor * count / found:.3g}" for factor, count, found in zip(factors, cells, more, strict=True)
        )
        raise SurgeryError(
            f"{type(network).__name__} has a score for each {strides} pixels, not for each "
            f"{factors[0]} × {factors[1]}; pass its stride as factor"
        )


def _growth(
    network: nn.Module, called: Callable[[Tensor], object], images: Tensor, factors: tuple[int, int], cells: list[int]
) -> list[int]:
    """By how many rows the map grows for `cells · factor` rows more of the picture, and by how many columns."""
    height, width = images.shape[-2:]
    sizes = [(height, width), (height + cells[0] * factors[0], width), (height, width + cells[1] * factors[1])]
    own, taller, wider = (_map(network, called(images.new_zeros(1, images.shape[1], *size))) for size in sizes)
    return [taller.shape[-2] - own.shape[-2], wider.shape[-1] - own.shape[-1]]


@contextmanager
def _unchanged(network: nn.Module) -> Iterator[None]:
    """While it lasts, the network is in evaluation mode; then its modes and tensors are what they were.

    Some layers keep a tensor that they compute as a plain attribute: old norms of weights, grids made once.
    """
    before = [(module, module.training, dict(vars(module))) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, training, attributes in before:
            module.training = training
            now = vars(module)
            for name in [name for name, held in now.items() if isinstance(held, Tensor)]:
                if name in attributes:
                    now[name] = attributes[name]
                else:
                    del now[name]
