"""The fully connected CRF by its definition: all N² pairs in float64. Everything else in this folder is tested on it.

Krähenbühl, Koltun: Efficient Inference in Fully Connected CRFs with Gaussian Edge Potentials, NIPS 2011, §2–3.

    E(x) = Σ_i U_i(x_i) + Σ_{i<j} Σ_m μ_m(x_i, x_j)·k_m(f_i, f_j),  k(f_i, f_j) = exp(−|f_i − f_j|²/2)

Mean field starts at Q = softmax(−U) and repeats

    Q_i(l) ← softmax_l(−U_i(l) − Σ_m Σ_l' μ_m(l, l') Σ_j k_m(i, j) Q_j(l'))

**Differences** from the paper, as all implementations have them: k is normalized unless one asks for "none", and its
sum has the term j = i.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Normalization = Literal["symmetric", "after", "before", "none"]
Array = NDArray[np.float64]


class Term(NamedTuple):
    """One pairwise term.

    Attributes:
        kernel: (N, N) of `gaussian_kernel`.
        compatibility: a reward w for equal labels, or the energies μ as (K,), its diagonal, or (K, K).
    """

    kernel: Array
    compatibility: ArrayLike


def gaussian_kernel(features: ArrayLike, normalization: Normalization = "symmetric") -> Array:
    """(D, N) → (N, N): k(f_i, f_j), normalized with the row sums s_i.

    | normalization | k_ij becomes        | used by            |
    | ------------- | ------------------- | ------------------ |
    | symmetric     | k_ij / √(s_i s_j)   | pydensecrf         |
    | after         | k_ij / s_i          | DeepLab, CRF-RNN   |
    | before        | k_ij / s_j          |                    |
    | none          | k_ij                | pydensecrf         |

    pydensecrf's NO_NORMALIZATION is "none": its code takes the mean of s and never divides by it.
    """
    points = np.asarray(features, float)
    kernel = np.exp(-0.5 * ((points[:, :, None] - points[:, None, :]) ** 2).sum(0))
    sums = kernel.sum(1)
    if normalization == "symmetric":
        return np.asarray(kernel / np.sqrt(np.outer(sums, sums)))
    if normalization == "after":
        return np.asarray(kernel / sums[:, None])
    return np.asarray(kernel / sums[None, :] if normalization == "before" else kernel)


def penalties(compatibility: ArrayLike, num_labels: int) -> Array:
    """(K, K) energies μ(l, l') of a compatibility: a reward w is −w on the diagonal."""
    given = np.asarray(compatibility, float)
    if given.ndim == 0:
        return np.asarray(-given * np.eye(num_labels))
    return np.diag(given) if given.ndim == 1 else given


def start(unary: ArrayLike) -> Array:
    """(K, N) energies → (K, N) softmax(−U)."""
    return _softmax(-np.asarray(unary, float))


def step(unary: ArrayLike, terms: Sequence[Term], marginals: Array) -> Array:
    """(K, N) marginals → (K, N) after one parallel update."""
    logits = -np.asarray(unary, float)
    for term in terms:
        logits = logits - penalties(term.compatibility, len(logits)) @ (marginals @ term.kernel.T)
    return _softmax(logits)


def mean_field(unary: ArrayLike, terms: Sequence[Term], steps: int) -> Array:
    """(K, N) energies → (K, N) marginals after so many steps."""
    marginals = start(unary)
    for _ in range(steps):
        marginals = step(unary, terms, marginals)
    return marginals


def kl_divergence(unary: ArrayLike, terms: Sequence[Term], marginals: Array) -> float:
    """KL(Q ‖ P) up to the constant log Z: Σ Q log Q + Σ U Q + ½ Σ_m Σ Q μ_m k_m Q.

    Its stationary points are those of `step` where μ and k are symmetric.

    **Differences:** pydensecrf leaves the ½ out, and so counts each pair twice.
    """
    divergence = (marginals * np.log(np.maximum(marginals, 1e-20))).sum() + (np.asarray(unary, float) * marginals).sum()
    for term in terms:
        divergence += (
            0.5 * (marginals * (penalties(term.compatibility, len(marginals)) @ (marginals @ term.kernel.T))).sum()
        )
    return float(divergence)


def _softmax(logits: Array) -> Array:
    powers = np.exp(logits - logits.max(0))
    return np.asarray(powers / powers.sum(0))
