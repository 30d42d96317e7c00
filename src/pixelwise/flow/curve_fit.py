"""A learning curve in numbers: scores over sizes with intervals, and what twice the pictures would bring.

The curve is the power law

    score(s) = a − b·s^(−c),   a ≤ 1, b ≥ 0, 0.05 ≤ c ≤ 2,

which test errors over training size follow over a wide range (Cortes et al., Learning curves: asymptotic values and
rate of convergence, NIPS 1993; Hestness et al., Deep learning scaling is predictable, empirically, 2017; that not all
curves do: Viering and Loog, The shape of learning curves: a review, TPAMI 2023). It is fitted by least squares to the
mean score of each size.

Two things make the curve uncertain: which pictures it was measured on, and the chance in each training (which subset
was drawn, which weights it began with). For an interval both are drawn again many times: the measured pictures with
replacement, the same for all trainings, and the deviations of the trainings of one size from their mean, widened by
√(R/(R − 1)) for R trainings since they deviate less from their own mean than from the true one, and by Student's t for
as many degrees of freedom as all sizes have together. Each time the law is fitted anew; the interval holds the middle
95 % of what was found.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]
Verdict = Literal["gain", "hardly", "open", "unknown"]

EXPONENTS = np.linspace(0.05, 2, 40)
SAMPLES = 1000
LEAST_SIZES = 3  # as many as the law has parameters
NOTICED = 0.001  # a gain in IoU above which the lower end of an interval is a gain
SMALL = 0.005  # a gain in IoU that hardly pays for labeling as many pictures again
T_975 = {1: 12.71, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 10: 2.228, 15: 2.131}


@dataclass(frozen=True)
class Estimate:
    """A score or a gain, 0–1, with the ends of its 95 % interval; not-a-number where there is none."""

    value: float
    low: float
    high: float

    def to_record(self) -> dict[str, float | None]:
        """Plain numbers for JSON, None for not-a-number."""
        numbers = {"value": self.value, "low": self.low, "high": self.high}
        return {key: None if np.isnan(number) else round(number, 6) for key, number in numbers.items()}


@dataclass(frozen=True)
class Forecast:
    """What twice the pictures would add to a score.

    Attributes:
        verdict: "gain": more than nothing; "hardly": less than half a point; "open": the interval holds nothing and
            much; "unknown": there is no interval.
        curve: the fitted score at each of `at` numbers of pictures, with its interval, for a plot.
    """

    gain: Estimate
    verdict: Verdict
    curve: tuple[Estimate, ...] = ()
    at: tuple[float, ...] = ()

    def to_record(self) -> dict[str, Any]:
        """Plain values for JSON."""
        curve = [{"pictures": round(x, 2), **y.to_record()} for x, y in zip(self.at, self.curve, strict=True)]
        return self.gain.to_record() | {"verdict": self.verdict, "curve": curve}


def scores_of(sums: Numbers) -> dict[str, Numbers]:
    """IoU, precision and recall of each class (…, K) and their mean IoU (…), of sums (…, 3, K).

    The sums are the pixels that are hit, in the target, and predicted, as `pixelwise.metrics` has them: a score is
    not-a-number where its denominator is 0, and a class whose IoU is that is left out of the mean.
    """
    hit, target, predicted = (np.asarray(sums[..., i, :], np.float64) for i in range(3))
    union = target + predicted - hit
    iou, precision, recall = (
        np.divide(hit, below, out=np.full_like(hit, np.nan), where=below > 0) for below in (union, predicted, target)
    )
    return {"iou": iou, "precision": precision, "recall": recall, "mean_iou": _mean(iou, -1)}


def _mean(values: Numbers, axis: int) -> Numbers:
    """The mean of what is a number."""
    known = ~np.isnan(values)
    count = known.sum(axis)
    total = np.where(known, values, 0.0).sum(axis)
    mean: Numbers = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
    return mean


class Curve:
    """The scores of trainings on subsets, by the subset's size.

    Args:
        sums: (M, T, 3, K) of M trainings on T pictures, as `scores_of` takes them; hits, target and predicted pixels.
        sizes: (M,) how many pictures each training had.
        seed: of what is drawn.
    """

    def __init__(self, sums: NDArray[np.int64], sizes: Sequence[int], *, seed: int = 0) -> None:
        self.of = np.asarray(sizes)
        self.sizes = sorted(set(sizes))
        self.trainings = {size: int((self.of == size).sum()) for size in self.sizes}
        self.plain = scores_of(sums.sum(1))
        random = np.random.default_rng((seed, 6))
        count, pictures = sums.shape[:2]
        flat = sums.reshape(count, pictures, -1).astype(np.float64)
        weights = random.multinomial(pictures, np.full(pictures, 1 / pictures), size=SAMPLES).astype(np.float64)
        drawn = np.stack([weights @ member for member in flat], 1).reshape(SAMPLES, count, *sums.shape[2:])
        self._drawn = scores_of(drawn)
        self._picks = {size: random.integers(0, n, (SAMPLES, n)) for size, n in self.trainings.items()}
        freedom = sum(n - 1 for n in self.trainings.values())
        self._widened = _t(freedom) / 1.96
        self.repeated = min(self.trainings.values()) > 1

    def at(self, score: str, index: int | None = None) -> list[Estimate]:
        """A score at each size: the mean of the trainings, with its interval.

        Args:
            score: "mean_iou", or "iou", "precision" or "recall" of a class.
            index: of the class.
        """
        values, drawn = self._means(score, index)
        return [_estimate(values[i], drawn[:, i], told=self.repeated) for i in range(len(self.sizes))]

    def forecast(self, index: int | None = None) -> Forecast:
        """What twice the largest size would add to mean IoU, or to the IoU of a class."""
        score = "mean_iou" if index is None else "iou"
        values, drawn = self._means(score, index)
        nothing = Estimate(np.nan, np.nan, np.nan)
        usable = drawn[~np.isnan(drawn).any(1)]
        if len(self.sizes) < LEAST_SIZES or not self.repeated or np.isnan(values).any() or len(usable) < SAMPLES // 2:
            return Forecast(nothing, "unknown")
        most = self.sizes[-1]
        at = np.geomspace(self.sizes[0], 2 * most, 25)
        at[np.abs(at - most).argmin()] = most
        whole = power_law(self.sizes, values[None], np.append(at, [most, 2 * most]))[0]
        each = power_law(self.sizes, usable, np.append(at, [most, 2 * most]))
        gain = _estimate(float(whole[-1] - whole[-2]), each[:, -1] - each[:, -2], told=True)
        verdict: Verdict = "hardly" if gain.high < SMALL else "gain" if gain.low > NOTICED else "open"
        curve = tuple(_estimate(float(whole[i]), each[:, i], told=True) for i in range(len(at)))
        return Forecast(gain, verdict, curve, tuple(at.tolist()))

    def _means(self, score: str, index: int | None) -> tuple[Numbers, Numbers]:
        """(S,) mean of the trainings of each size, and (SAMPLES, S) the same of what was drawn."""
        plain, drawn = self.plain[score], self._drawn[score]
        if index is not None:
            plain, drawn = plain[:, index], drawn[:, :, index]
        values, found = [], []
        for size in self.sizes:
            own = self.of == size
            values.append(_mean(plain[own], -1))
            mean = _mean(drawn[:, own], -1)
            n = self.trainings[size]
            if n == 1:
                found.append(mean)
                continue
            picked = np.take_along_axis(drawn[:, own], self._picks[size], 1)
            # a mean of deviations; a class that a draw of pictures has not makes none
            deviation = np.nan_to_num(_mean(picked - mean[:, None], -1))
            found.append(mean + deviation * np.sqrt(n / (n - 1)) * self._widened)
        return np.asarray(values, np.float64), np.stack(found, 1)


def power_law(sizes: Sequence[int], scores: Numbers, at: Numbers) -> Numbers:
    """Scores (B, X) at X numbers of pictures, by the law fitted to each row of scores (B, S) at S sizes.

    >>> s = [5, 10, 20, 40]
    >>> found = power_law(s, np.array([[0.8 - 0.6 * x**-0.5 for x in s]]), np.array([80.0]))
    >>> abs(float(found[0, 0]) - (0.8 - 0.6 * 80**-0.5)) < 1e-9
    True
    """
    scores = np.asarray(scores, np.float64)
    best = np.full(len(scores), np.inf)
    found = np.empty((len(scores), len(at)))
    mean = scores.mean(1)
    for exponent in EXPONENTS:
        x = np.asarray(sizes, np.float64) ** -exponent
        slope = -((scores - mean[:, None]) @ (x - x.mean())) / ((x - x.mean()) ** 2).sum()
        slope = np.maximum(slope, 0.0)
        top = mean + slope * x.mean()
        over = top > 1
        slope = np.where(over, ((1 - scores) @ x) / (x @ x), slope)
        top = np.where(over, 1.0, top)
        error = ((scores - top[:, None] + slope[:, None] * x) ** 2).sum(1)
        better = error < best - 1e-15
        best = np.where(better, error, best)
        found[better] = top[better, None] - slope[better, None] * at**-exponent
    return found


def _estimate(value: float, drawn: Numbers, *, told: bool) -> Estimate:
    known = drawn[~np.isnan(drawn)]
    if not told or len(known) < 2:
        return Estimate(float(value), float("nan"), float("nan"))
    low, high = np.quantile(known, (0.025, 0.975))
    return Estimate(float(value), min(float(low), float(value)), max(float(high), float(value)))


def _t(freedom: int) -> float:
    """Student's t at 97.5 %, of the next smaller tabulated degrees of freedom."""
    return next((T_975[known] for known in sorted(T_975, reverse=True) if known <= freedom), T_975[1])
