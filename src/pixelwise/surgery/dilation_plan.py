"""What is known of a graph whose maps become denser, and what must change in it.

A map that becomes denser by f holds the original cells at 0, f, 2f …, and new cells between them. Of n cells at least
(n − 1)·f + 1 and at most n·f come.

How long a map is, is known up to the picture's size: (a root, cells more than it). A window of stride 1 only adds
cells; with a stride it makes a new root.
"""

from collections.abc import Callable, Hashable, Mapping
from typing import Any, NamedTuple

from torch import fx, nn

Pair = tuple[int, int]  # for rows and columns
Settings = dict[str, Any]  # attributes of a layer, with their new values


class Side(NamedTuple):
    """One dimension of a tensor."""

    factor: int  # from an original cell to the next
    length: tuple[Hashable, int]


class Change(NamedTuple):
    """A call that stands in place of a node: of a function, or of a new layer."""

    target: Callable[..., Any] | nn.Module
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


class Plan:
    """What is known while a graph is followed node by node, and what must change; the network is left as it is.

    Args:
        wanted: how much denser each map (N, C, H, W) becomes.
        dilate_first: whether convolutions that lose a stride are dilated by it.
    """

    def __init__(self, wanted: Mapping[fx.Node, Pair], *, dilate_first: bool) -> None:
        self.wanted, self.dilate_first = wanted, dilate_first
        self.sides: dict[fx.Node, tuple[Side, ...]] = {}
        self.sizes: dict[fx.Node, Side | None] = {}  # of what becomes denser; None for other numbers made of them
        self.settings: dict[fx.Node, Settings] = {}  # of each call of a layer that has any
        self.changes: dict[fx.Node, Change] = {}
        self.crops: dict[fx.Node, list[int]] = {}  # joins, with the dimensions in which maps differ

    def of(self, source: Any) -> tuple[Side, ...]:
        """The dimensions of what a node gives; none of what is no tensor."""
        return self.sides.get(source, ()) if isinstance(source, fx.Node) else ()


Rule = Callable[[Plan, fx.Node], tuple[Side, ...]]
"""Gives the dimensions of what a node gives, and notes what must change for it."""


def length_of(side: Side, more: int, step: int) -> tuple[Hashable, int]:
    """Of each step-th of as many cells and `more`."""
    root, cells = side.length
    return (root, cells + more) if step == 1 else ((root, cells + more - 1, step), 0)


def changed(layer: nn.Module, settings: Settings) -> None:
    """Give a layer new settings, in place."""
    for name, setting in settings.items():
        setattr(layer, name, setting)


def changed_copy(layer: nn.Module, settings: Settings) -> nn.Module:
    """A layer with the same weights and other settings."""
    other = layer.__class__.__new__(layer.__class__)  # copy.copy refuses layers with parametrizations
    other.__dict__ = layer.__dict__.copy()
    changed(other, settings)
    return other
