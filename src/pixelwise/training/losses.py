"""Losses. Void pixels count in none; a batch without a counted pixel has loss 0 and no gradient.

| loss          | definition                                           | source                                      |
| ------------- | ---------------------------------------------------- | ------------------------------------------- |
| cross entropy | −w[y]·log p[y] of each pixel, summed and normalized  | every paper here                            |
| focal         | −(1 − p[y])^γ·log p[y]                               | Lin et al. 2017, arXiv 1708.02002, eq. 4    |
| soft Dice     | 1 − mean over classes of 2·Σ p·t / (Σ p + Σ t)       | Milletari et al. 2016; Drozdzal et al. 2016 |
| Lovász        | mean over classes of the Lovász extension of 1 − IoU | Berman et al. 2018, arXiv 1705.08790, eq. 8 |

`NORMALIZATIONS` says by what a sum over pixels is divided; the papers differ in it (spec, networks-2014-2016 §1.6 and
§3.5).
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from pixelwise.processes import ALONE, Processes

NORMALIZATIONS: dict[str, str] = {
    "weights": "the weights of the counted pixels, which is their number without weights",
    "counted": "the number of counted pixels, whatever their weights (SegNet; Caffe's normalize: true)",
    "pixels": "the number of all pixels, void ones too",
    "images": "the number of pictures in the batch (Caffe's normalize: false)",
    "sum": "nothing",
}
"""{name: what the sum over pixels is divided by}. FCN's released loss is "images" with one picture, a plain sum."""


def pixel_weights(
    target: Tensor, *, void: int, class_weights: Tensor | None = None, weights: Tensor | None = None
) -> Tensor:
    """(N, H, W) float32: what each pixel counts, its class's weight times its own; 0 at void.

    Args:
        target: (N, H, W) int64.
        class_weights: (K,), or all ones.
        weights: (N, H, W), or all ones.
    """
    counted = target != void
    found = counted.float()
    if class_weights is not None:
        found = found * class_weights.float()[torch.where(counted, target, 0)]
    return found if weights is None else found * weights


def cross_entropy(
    logits: Tensor,
    target: Tensor,
    *,
    void: int,
    class_weights: Tensor | None = None,
    weights: Tensor | None = None,
    normalization: str = "weights",
    processes: Processes = ALONE,
) -> Tensor:
    """Σ_x w[x]·(−log p_x[y_x]) over the pixels x that are not void, divided as `normalization` says.

    Args:
        logits: (N, K, H, W).
        target: (N, H, W) int64.
        class_weights: (K,), or all ones.
        weights: (N, H, W) of single pixels, or all ones; w is the product of both.
        normalization: a name in `NORMALIZATIONS`.
        processes: whose pixels are summed; here as in all losses, the value is that of the whole batch.
    """
    counted = target != void
    if weights is None:
        total = F.cross_entropy(logits, target, weight=class_weights, ignore_index=void, reduction="sum")
        mass = counted if class_weights is None else class_weights[torch.where(counted, target, 0)].mul(counted)
    else:
        mass = pixel_weights(target, void=void, class_weights=class_weights, weights=weights)
        total = (mass * F.cross_entropy(logits, target, ignore_index=void, reduction="none")).sum()
    return normalized(total, mass, counted, normalization, processes)


def normalized(
    total: Tensor, mass: Tensor, counted: Tensor, normalization: str, processes: Processes = ALONE
) -> Tensor:
    """A sum over pixels, divided as a name in `NORMALIZATIONS` says.

    Args:
        mass: (N, H, W) the weights of the pixels, or where they count if all weigh 1.
        counted: (N, H, W) bool.
    """
    total = processes.total(total)
    if normalization == "sum":
        return total
    if normalization == "weights":
        return total / processes.total(mass.sum().to(total.dtype)).clamp(min=1e-12)
    number = {"counted": counted.sum(), "pixels": counted.numel(), "images": counted.shape[0]}[normalization]
    return total / processes.total(torch.as_tensor(number, dtype=total.dtype, device=total.device)).clamp(min=1)


def cross_entropy_of_cell(
    logits: Tensor,
    target: Tensor,
    *,
    void: int,
    class_weights: Tensor | None = None,
    processes: Processes = ALONE,
) -> Tensor:
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
    return -processes.total((mass * logarithms).sum()) / processes.total(mass.sum()).clamp(min=1e-12)


def focal(
    logits: Tensor,
    target: Tensor,
    *,
    void: int,
    gamma: float = 2.0,
    weights: Tensor | None = None,
    processes: Processes = ALONE,
) -> Tensor:
    """Σ_x w[x]·(1 − p_x[y_x])^γ·(−log p_x[y_x]) / Σ_x w[x] over the pixels that are not void.

    Lin et al. sum over anchors and divide by those with an object; over pixels it is the mean.

    γ is `gamma`; logits (N, K, H, W), target (N, H, W), and all else as for `cross_entropy`.
    """
    mass = pixel_weights(target, void=void, weights=weights)
    surprise = F.cross_entropy(logits, target, ignore_index=void, reduction="none")
    # exp(−surprise) may round to a little above 1, of which no root is taken
    far = (1 - (-surprise).exp()).clamp(min=1e-6)
    return processes.total((mass * far**gamma * surprise).sum()) / processes.total(mass.sum()).clamp(min=1e-12)


def soft_dice(logits: Tensor, target: Tensor, *, void: int, processes: Processes = ALONE) -> Tensor:
    """1 − mean over classes of 2·Σ p·t / (Σ p + Σ t), sums over all counted pixels of the batch.

    Classes that no counted pixel of the batch has are left out: their overlap says nothing. Source: Milletari et al.
    2016 (V-Net), with plain sums below as in Drozdzal et al. 2016.

    Logits (N, K, H, W), target (N, H, W), and all else as for `cross_entropy`.
    """
    counted = (target != void).unsqueeze(1)
    probabilities = logits.softmax(1) * counted
    classes = logits.shape[1]
    truth = (
        torch.zeros_like(probabilities).scatter_(1, torch.where(target == void, 0, target).unsqueeze(1), 1.0) * counted
    )
    overlap = processes.total((probabilities * truth).sum((0, 2, 3)))
    mass = processes.total(truth.sum((0, 2, 3)))
    present = mass > 0
    dice = 2 * overlap / (processes.total(probabilities.sum((0, 2, 3))) + mass).clamp(min=1e-12)
    number = present.sum().clamp(min=1)
    assert dice.shape == (classes,)
    return ((1 - dice) * present).sum() / number


def lovasz_softmax(logits: Tensor, target: Tensor, *, void: int, processes: Processes = ALONE) -> Tensor:
    """The Lovász-Softmax loss, over all counted pixels of the batch and the classes that are among them.

    Of a class c the error of a pixel is 1 − p[c] where it is c, else p[c]. Sorted from the largest, the error of rank i
    weighs J_i − J_{i−1}, where J_i is 1 − IoU if the first i pixels were wrong and all others right.

    Logits (N, K, H, W), target (N, H, W), and all else as for `cross_entropy`.
    """
    counted = target != void
    probabilities = logits.permute(0, 2, 3, 1)[counted].float().softmax(1)
    truth, _ = processes.collected(target[counted])
    present = torch.bincount(truth, minlength=logits.shape[1]) > 0
    losses = []
    for c in present.nonzero().flatten().tolist():
        mine = truth == c
        errors = ((target[counted] == c).float() - probabilities[:, c]).abs()
        errors, order = processes.collected(errors)[0].sort(descending=True, stable=True)
        losses.append((errors * _jaccard_steps(mine[order])).sum())
    return torch.stack(losses).mean() if losses else logits.sum() * 0


def _jaccard_steps(mine: Tensor) -> Tensor:
    """(P,) float32 J_i − J_{i−1}; `mine` (P,) is true where a pixel is of the class, in the order of the errors."""
    found = mine.cumsum(0)  # integers, whose sums are the same on every device
    total = found[-1]
    union = total + torch.arange(1, len(mine) + 1, device=mine.device) - found
    jaccard = 1 - (total - found) / union
    return torch.diff(jaccard, prepend=jaccard.new_zeros(1))


def sampled(
    target: Tensor,
    keep: float,
    *,
    void: int,
    generator: torch.Generator | None = None,
    processes: Processes = ALONE,
) -> Tensor:
    """The target with each pixel kept with probability `keep`, else void (FCN, §3.4: patches by loss sampling).

    The paper takes 1/keep times as many pictures in a batch, so that as many pixels count. Each of several processes
    draws for the whole batch.

    Target (N, H, W); the draws are those of `generator`, or of torch's own if left out.
    """
    numbers = processes.gathered(len(target))
    start = sum(numbers[: processes.rank])
    drawn = torch.rand((sum(numbers), *target.shape[1:]), generator=generator)[start : start + len(target)]
    kept = drawn < keep
    return torch.where(kept.to(target.device), target, void)


def hardest(
    surprise: Tensor, counted: Tensor, share: float, probability: float = 0.0, processes: Processes = ALONE
) -> Tensor:
    """(N, H, W) bool: the counted pixels that a share of the batch finds hardest, and all below a probability.

    Args:
        surprise: (N, H, W) −log p of the true class.
        counted: (N, H, W) bool, of which the share is.
        share: 0–1; the ⌈share · counted⌉ pixels with the largest loss (Wu et al. 2016, bootstrapping).
        probability: pixels whose true class has less than this count, too.
        processes: as for `cross_entropy`.
    """
    flat, own = processes.collected(surprise.detach().masked_fill(~counted, -1.0).flatten())
    number = math.ceil(share * int((flat >= 0).sum()))
    kept = torch.zeros_like(flat, dtype=torch.bool)
    kept[flat.argsort(descending=True, stable=True)[:number]] = True
    if probability > 0:
        kept |= (-flat).exp() < probability
    return kept[own].reshape(counted.shape) & counted
