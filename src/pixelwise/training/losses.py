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

import torch
import torch.nn.functional as F
from torch import Tensor

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
) -> Tensor:
    """Σ_x w[x]·(−log p_x[y_x]) over the pixels x that are not void, divided as `normalization` says.

    Args:
        logits: (N, K, H, W).
        target: (N, H, W) int64.
        class_weights: (K,), or all ones.
        weights: (N, H, W) of single pixels, or all ones; w is the product of both.
        normalization: a name in `NORMALIZATIONS`.
    """
    counted = target != void
    if weights is None:
        total = F.cross_entropy(logits, target, weight=class_weights, ignore_index=void, reduction="sum")
        mass = counted if class_weights is None else class_weights[torch.where(counted, target, 0)].mul(counted)
    else:
        mass = pixel_weights(target, void=void, class_weights=class_weights, weights=weights)
        total = (mass * F.cross_entropy(logits, target, ignore_index=void, reduction="none")).sum()
    if not bool(counted.any()):
        return total * 0
    return normalized(total, mass, counted, normalization)


def normalized(total: Tensor, mass: Tensor, counted: Tensor, normalization: str) -> Tensor:
    """A sum over pixels, divided as a name in `NORMALIZATIONS` says.

    Args:
        mass: (N, H, W) the weights of the pixels, or where they count if all weigh 1.
        counted: (N, H, W) bool.
    """
    if normalization == "weights":
        return total / mass.sum().to(total.dtype).clamp(min=1e-12)
    if normalization == "counted":
        return total / counted.sum().to(total.dtype).clamp(min=1)
    return total / {"pixels": counted.numel(), "images": counted.shape[0], "sum": 1}[normalization]


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


def focal(logits: Tensor, target: Tensor, *, void: int, gamma: float = 2.0, weights: Tensor | None = None) -> Tensor:
    """Σ_x w[x]·(1 − p_x[y_x])^γ·(−log p_x[y_x]) / Σ_x w[x] over the pixels that are not void.

    Lin et al. sum over anchors and divide by those with an object; over pixels it is the mean.
    """
    mass = pixel_weights(target, void=void, weights=weights)
    surprise = F.cross_entropy(logits, target, ignore_index=void, reduction="none")
    # exp(−surprise) may round to a little above 1, of which no root is taken
    far = (1 - (-surprise).exp()).clamp(min=1e-6)
    return (mass * far**gamma * surprise).sum() / mass.sum().clamp(min=1e-12)


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


def lovasz_softmax(logits: Tensor, target: Tensor, *, void: int) -> Tensor:
    """The Lovász-Softmax loss, over all counted pixels of the batch and the classes that are among them.

    Of a class c the error of a pixel is 1 − p[c] where it is c, else p[c]. Sorted from the largest, the error of rank i
    weighs J_i − J_{i−1}, where J_i is 1 − IoU if the first i pixels were wrong and all others right.
    """
    counted = target != void
    truth = target[counted]
    probabilities = logits.permute(0, 2, 3, 1)[counted].float().softmax(1)
    present = torch.bincount(truth, minlength=logits.shape[1]) > 0
    losses = []
    for c in present.nonzero().flatten().tolist():
        mine = truth == c
        errors, order = (mine.float() - probabilities[:, c]).abs().sort(descending=True, stable=True)
        losses.append((errors * _jaccard_steps(mine[order])).sum())
    return torch.stack(losses).mean() if losses else logits.sum() * 0


def _jaccard_steps(mine: Tensor) -> Tensor:
    """(P,) float32 J_i − J_{i−1}; `mine` (P,) is true where a pixel is of the class, in the order of the errors."""
    found = mine.cumsum(0)  # integers, whose sums are the same on every device
    total = found[-1]
    union = total + torch.arange(1, len(mine) + 1, device=mine.device) - found
    jaccard = 1 - (total - found) / union
    return torch.diff(jaccard, prepend=jaccard.new_zeros(1))


def sampled(target: Tensor, keep: float, *, void: int, generator: torch.Generator | None = None) -> Tensor:
    """The target with each pixel kept with probability `keep`, else void (FCN, §3.4: patches by loss sampling).

    The paper takes 1/keep times as many pictures in a batch, so that as many pixels count.
    """
    kept = torch.rand(target.shape, generator=generator) < keep
    return torch.where(kept.to(target.device), target, void)


def hardest(surprise: Tensor, counted: Tensor, share: float, probability: float = 0.0) -> Tensor:
    """(N, H, W) bool: the counted pixels that a share of the batch finds hardest, and all below a probability.

    Args:
        surprise: (N, H, W) −log p of the true class.
        counted: (N, H, W) bool, of which the share is.
        share: 0–1; the ⌈share · counted⌉ pixels with the largest loss (Wu et al. 2016, bootstrapping).
        probability: pixels whose true class has less than this count, too.
    """
    flat = surprise.detach().masked_fill(~counted, -1.0).flatten()
    number = -int(-share * int(counted.sum()) // 1)
    kept = torch.zeros_like(flat, dtype=torch.bool)
    kept[flat.argsort(descending=True, stable=True)[:number]] = True
    if probability > 0:
        kept |= (-flat).exp() < probability
    return kept.reshape(counted.shape) & counted
