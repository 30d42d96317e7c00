"""Losses. Void pixels count in none; a batch without a counted pixel has loss 0 and no gradient."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from pixelwise.layers.head import Head

Loss = Callable[[Head, Tensor], Tensor]


def cross_entropy(logits: Tensor, target: Tensor, *, void: int, class_weights: Tensor | None = None) -> Tensor:
    """Σ_x w[y_x]·(−log p_x[y_x]) / Σ_x w[y_x] over the pixels x that are not void.

    Args:
        logits: (N, K, H, W).
        target: (N, H, W) int64.
        class_weights: (K,), or all ones.
    """
    total = F.cross_entropy(logits, target, weight=class_weights, ignore_index=void, reduction="sum")
    counted = target != void
    if class_weights is None:
        mass = counted.sum().to(logits.dtype)
    else:
        mass = class_weights[torch.where(counted, target, 0)].mul(counted).sum()
    return total / mass.clamp(min=1e-12) if bool(counted.any()) else total * 0


def cross_entropy_of_cell(logits: Tensor, target: Tensor, *, void: int, class_weights: Tensor | None = None) -> Tensor:
    """`cross_entropy` where all pixels of a picture have the same scores, without making a score for each.

    Args:
        logits: (N, K, 1, 1).
        target: (N, H, W) int64.
    """
    number, classes = logits.shape[:2]
    row = torch.where(target == void, classes, target).flatten(1)
    first = (classes + 1) * torch.arange(number, device=target.device)
    counts = torch.bincount((row + first[:, None]).flatten(), minlength=number * (classes + 1))
    logarithms = logits.float().flatten(1).log_softmax(1)
    mass = counts.reshape(number, classes + 1)[:, :classes].to(logarithms.dtype)
    if class_weights is not None:
        mass = mass * class_weights
    return -(mass * logarithms).sum() / mass.sum().clamp(min=1e-12)


def _is_one_cell(head: Head) -> bool:
    """Whether every pixel takes the scores of one cell as they are."""
    axes = (head.resampling.rows, head.resampling.columns)
    return all(taps.coarse == 1 and bool((taps.weights[:, 0] == 1).all()) for taps in axes)


def soft_dice(logits: Tensor, target: Tensor, *, void: int) -> Tensor:
    """1 − mean over classes of 2·Σ p·t / (Σ p + Σ t), sums over all counted pixels of the batch.

    Classes that no counted pixel of the batch has are left out: their overlap says nothing. Source: Milletari et al.
    2016 (V-Net), with plain sums below as in Drozdzal et al. 2016.
    """
    counted = (target != void).unsqueeze(1)
    probabilities = logits.softmax(1) * counted
    classes = logits.shape[1]
    truth = (
        torch.zeros_like(probabilities).scatter_(1, torch.where(target == void, 0, target).unsqueeze(1), 1.0) * counted
    )
    overlap = (probabilities * truth).sum((0, 2, 3))
    mass = truth.sum((0, 2, 3))
    present = mass > 0
    dice = 2 * overlap / (probabilities.sum((0, 2, 3)) + mass).clamp(min=1e-12)
    number = present.sum().clamp(min=1)
    assert dice.shape == (classes,)
    return ((1 - dice) * present).sum() / number


def loss_named(name: str, *, void: int, class_weights: Tensor | None = None) -> Loss:
    """The loss of a recipe, on a head at the picture's size."""

    def compute(head: Head, target: Tensor) -> Tensor:
        if name == "cross_entropy" and _is_one_cell(head):
            return cross_entropy_of_cell(head.scores, target, void=void, class_weights=class_weights)
        logits = head.full_size()
        loss = cross_entropy(logits, target, void=void, class_weights=class_weights)
        if name == "cross_entropy_dice":
            loss = loss + soft_dice(logits, target, void=void)
        return loss

    return compute
