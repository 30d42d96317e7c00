"""The objective of a recipe: which heads are judged on which grid, by which losses, and what is added up."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from pixelwise.errors import BadOption
from pixelwise.layers.head import Head
from pixelwise.processes import ALONE, Processes
from pixelwise.training.losses import (
    cross_entropy,
    cross_entropy_of_cell,
    focal,
    hardest,
    lovasz_softmax,
    normalized,
    pixel_weights,
    sampled,
    soft_dice,
)
from pixelwise.training.recipe import HeadLoss, Recipe

PARTS: dict[str, tuple[str, ...]] = {
    "cross_entropy": ("cross_entropy",),
    "dice": ("dice",),
    "focal": ("focal",),
    "lovasz": ("lovasz",),
    "cross_entropy_dice": ("cross_entropy", "dice"),
    "cross_entropy_lovasz": ("cross_entropy", "lovasz"),
}
"""{name in a recipe: the losses that it adds}"""


@dataclass(frozen=True)
class Targets:
    """What a batch is judged by.

    Attributes:
        labels: {head of the data set: (N, H, W) int64}, "labels" first.
        void: {head of the data set: its void}.
        weights: (N, H, W) float32 of single pixels of "labels", or all ones.
        generator: draws which positions count, where a recipe samples them.
        processes: which have the other parts of the batch.
    """

    labels: Mapping[str, Tensor]
    void: Mapping[str, int]
    weights: Tensor | None = None
    generator: torch.Generator | None = None
    processes: Processes = ALONE


Objective = Callable[[Mapping[str, Head], Targets], Tensor]


def objective_of(recipe: Recipe, class_weights: Tensor | None = None) -> Objective:
    """Σ over the recipe's heads of weight · loss; of the first head alone where the recipe names none.

    Args:
        class_weights: (K,) on the network's device, of the data set's first head.
    """

    def compute(heads: Mapping[str, Head], targets: Targets) -> Tensor:
        terms = recipe.heads or {next(iter(heads)): HeadLoss()}
        missing = sorted(set(terms) - set(heads))
        if missing:
            raise BadOption(
                f"heads: {recipe.model} gives {', '.join(heads)} in training, the recipe weighs {missing[0]!r}; "
                "set heads to what is there, or the model's option that makes it"
            )
        losses = [term.weight * _of_head(heads[name], _target_of(name, targets), term) for name, term in terms.items()]
        return torch.stack(losses).sum() if len(losses) > 1 else losses[0]

    def _of_head(head: Head, judged: "_Judged", term: HeadLoss) -> Tensor:
        target, void, weights = judged.target, judged.void, judged.weights
        own = class_weights if judged.first else None
        plain = weights is None and recipe.keep == 1 and recipe.hard_share == 1
        if plain and recipe.loss == "cross_entropy" and recipe.loss_normalization == "weights" and _is_one_cell(head):
            return cross_entropy_of_cell(head.scores, target, void=void, class_weights=own, processes=judged.processes)
        if term.grid == "own":
            scores = head.scores
            target = on_grid(target, (scores.shape[-2], scores.shape[-1]), term, fill=void)
            weights = None if weights is None else on_grid(weights, (scores.shape[-2], scores.shape[-1]), term, fill=0)
        else:
            scores = head.full_size()
        logits = scores.float()
        if head.kind == "probabilities":
            logits = logits.clamp_min(torch.finfo(logits.dtype).tiny).log()
        if recipe.keep < 1:
            target = sampled(target, recipe.keep, void=void, generator=judged.generator, processes=judged.processes)
        last = replace(judged, target=target, weights=weights)
        parts = [LOSSES[part](logits, last, own, recipe) for part in PARTS[recipe.loss]]
        return parts[0] if len(parts) == 1 else torch.stack(parts).sum()

    return compute


@dataclass(frozen=True)
class _Judged:
    """What one head of a network is judged by."""

    target: Tensor
    void: int
    weights: Tensor | None
    first: bool
    generator: torch.Generator | None
    processes: Processes


def _target_of(name: str, targets: Targets) -> _Judged:
    """A head with a target of its own name, as SIFT Flow's "geometric", is judged by that, any other by the first."""
    first = next(iter(targets.labels))
    key = name if name in targets.labels else first
    weights = targets.weights if key == first else None
    return _Judged(targets.labels[key], targets.void[key], weights, key == first, targets.generator, targets.processes)


def on_grid(target: Tensor, size: tuple[int, int], term: HeadLoss, *, fill: float) -> Tensor:
    """(N, H, W) at the cells of a grid (h, w): (N, h, w), by nearest.

    With a stride cell i is pixel offset + i·stride, `fill` beyond the picture; without one the picture is brought to
    the grid, cell i being pixel ⌊(i + 0.5)·H/h⌋.
    """
    found = target
    for axis, cells in zip((1, 2), size, strict=True):
        length = target.shape[axis]
        index = torch.arange(cells, device=target.device)
        if term.stride is None:
            found = found.index_select(axis, ((2 * index + 1) * length).div(2 * cells, rounding_mode="floor"))
            continue
        place = term.offset + index * term.stride
        inside = (place >= 0) & (place < length)
        found = found.index_select(axis, place.clamp(0, length - 1))
        shape = [1, 1, 1]
        shape[axis] = cells
        found = torch.where(inside.reshape(shape), found, torch.as_tensor(fill, dtype=found.dtype, device=found.device))
    return found


def _cross_entropy(logits: Tensor, judged: _Judged, class_weights: Tensor | None, recipe: Recipe) -> Tensor:
    target, void, processes = judged.target, judged.void, judged.processes
    if recipe.hard_share == 1:
        return cross_entropy(
            logits,
            target,
            void=void,
            class_weights=class_weights,
            weights=judged.weights,
            normalization=recipe.loss_normalization,
            processes=processes,
        )
    surprise = F.cross_entropy(logits, target, ignore_index=void, reduction="none")
    kept = hardest(surprise, target != void, recipe.hard_share, recipe.hard_probability, processes)
    mass = pixel_weights(target, void=void, class_weights=class_weights, weights=judged.weights) * kept
    return normalized((mass * surprise).sum(), mass, kept, recipe.loss_normalization, processes)


def _focal(logits: Tensor, judged: _Judged, class_weights: Tensor | None, recipe: Recipe) -> Tensor:
    weights = pixel_weights(judged.target, void=judged.void, class_weights=class_weights, weights=judged.weights)
    return focal(
        logits,
        judged.target,
        void=judged.void,
        gamma=recipe.focal_gamma,
        weights=weights,
        processes=judged.processes,
    )


def _dice(logits: Tensor, judged: _Judged, class_weights: Tensor | None, recipe: Recipe) -> Tensor:
    return soft_dice(logits, judged.target, void=judged.void, processes=judged.processes)


def _lovasz(logits: Tensor, judged: _Judged, class_weights: Tensor | None, recipe: Recipe) -> Tensor:
    return lovasz_softmax(logits, judged.target, void=judged.void, processes=judged.processes)


LOSSES: dict[str, Callable[[Tensor, _Judged, Tensor | None, Recipe], Tensor]] = {
    "cross_entropy": _cross_entropy,
    "focal": _focal,
    "dice": _dice,
    "lovasz": _lovasz,
}
"""{part of a loss: its function of (logits (N, K, h, w), what they are judged by, class weights, recipe)}"""


def _is_one_cell(head: Head) -> bool:
    """Whether every pixel takes the scores of one cell as they are."""
    axes = (head.resampling.rows, head.resampling.columns)
    return all(taps.coarse == 1 and bool((taps.weights[:, 0] == 1).all()) for taps in axes)
