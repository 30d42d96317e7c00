"""How the rules of dilation read a node of a graph, and how they refuse one, with the reason."""

from collections.abc import Sequence
from typing import Any, NoReturn

import torch
from torch import Tensor, fx, nn

from pixelwise.errors import SurgeryError
from pixelwise.surgery.graph import described, module_of, value

GRID = "makes a grid of its own from a map that would become denser; pass the part before it"
WHOLE = (
    "takes a map that would become denser as a whole; make the network convolutional first (convolutionalize), or "
    "pass the part before it"
)
STATISTICS = "takes its statistics from all cells of a map that would become denser"

REASONS: list[tuple[tuple[type[nn.Module], ...], str]] = [
    (
        (
            *(nn.ConvTranspose2d, nn.Upsample, nn.PixelShuffle, nn.PixelUnshuffle, nn.MaxUnpool2d, nn.Fold),
            nn.Unfold,
        ),
        GRID,
    ),
    ((nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d), WHOLE),
    ((nn.GroupNorm, nn.InstanceNorm2d), STATISTICS),
]
FUNCTION_REASONS = {
    **dict.fromkeys(
        (
            *("conv_transpose2d", "interpolate", "upsample", "pixel_shuffle", "pixel_unshuffle", "max_unpool2d"),
            *("grid_sample", "fold", "unfold"),
        ),
        GRID,
    ),
    **dict.fromkeys(("adaptive_avg_pool2d", "adaptive_max_pool2d"), WHOLE),
    **dict.fromkeys(("group_norm", "instance_norm"), STATISTICS),
}


def refuse(node: fx.Node, reason: str = "") -> NoReturn:
    """Raise the error of a node, with the reason of its kind if none is given."""
    if not reason and node.op == "call_module":
        layer = module_of(node)
        reason = next((reason for kinds, reason in REASONS if isinstance(layer, kinds)), "")
    reason = reason or FUNCTION_REASONS.get(name_of(node), "has no rule for a denser map; pass the part before it")
    raise SurgeryError(f"the output stride cannot be changed: {described(node)} {reason}")


def name_of(node: fx.Node) -> str:
    """Of a function, a method or a layer's class, without the mark of those that work in place."""
    if node.op == "call_module":
        return type(module_of(node)).__name__.lower()
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
    return name.rstrip("_")


def shape_of(node: Any) -> tuple[int, ...] | None:
    """Of a tensor, or of the first in a tuple; None of what holds none."""
    held = value(node) if isinstance(node, fx.Node) else None
    while isinstance(held, list | tuple) and not isinstance(held, torch.Size) and held:
        held = held[0]
    return tuple(held.shape) if isinstance(held, Tensor) else None


def arguments(node: fx.Node, names: Sequence[str]) -> dict[str, Any]:
    """The arguments of a call by their names."""
    return dict(zip(names, node.args, strict=False)) | dict(node.kwargs)


def dims_of(node: fx.Node, dim: Any, ndim: int) -> list[int]:
    """Dimensions as an operation is given them, from 0; all for None."""
    if holds_node(dim):
        refuse(node)
    if dim is None:
        return [*range(ndim)]
    return [one % ndim for one in (dim if isinstance(dim, list | tuple) else [dim])]


def holds_node(given: Any) -> bool:
    """Whether a value of the graph is among these."""
    found: list[fx.Node] = []
    fx.node.map_arg(given, found.append)
    return bool(found)
