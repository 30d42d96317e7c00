"""How far a score would move on other pictures of the same kind: bootstrap intervals and paired differences.

The n pictures of a set are drawn n times with replacement; the drawn pictures' sums are added, and the score is read
off them; again and again. The interval holds the middle of the scores so found (Efron's percentile interval). For two
models the same pictures are drawn for both, so that what is hard for both cancels.

A state is a vector of sums over one picture, such as its confusion matrix in a row; `Accumulator.states` are such.
Pictures are taken as independent: frames of one video are not, and the interval is then too narrow.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixelwise.errors import BadOption, DataError
from pixelwise.protocols.accumulate import Accumulator

Numbers = NDArray[np.float64]
Measure = Callable[[Numbers], Numbers]
"""Scores (B,) of sums of states (B, S)."""

_BYTES = 1 << 26  # of sums at a time


@dataclass(frozen=True)
class Interval:
    """A score, or a difference of two, with its bootstrap interval.

    Attributes:
        value: on the pictures as they are.
        low, high: ends of the interval; not-a-number for a single picture, which says nothing of others.
        level: share of the resampled values between them.
        samples: how many times pictures were drawn, without the draws whose score is not a number.
        above_zero: share of the resampled values above 0.
    """

    value: float
    low: float
    high: float
    level: float
    samples: int
    pictures: int
    seed: int
    above_zero: float

    def __str__(self) -> str:
        return (
            f"{self.value:.4f} ({100 * self.level:g} % interval {self.low:.4f} – {self.high:.4f}; "
            f"{self.samples} bootstrap samples of {self.pictures} pictures, seed {self.seed})"
        )

    def to_record(self) -> dict[str, Any]:
        """Plain numbers for JSON, with None for not-a-number."""
        numbers = {"value": self.value, "low": self.low, "high": self.high, "above_zero": self.above_zero}
        return {name: None if np.isnan(number) else round(number, 6) for name, number in numbers.items()} | {
            "level": self.level,
            "samples": self.samples,
            "pictures": self.pictures,
            "seed": self.seed,
        }


def interval(states: Numbers, measure: Measure, *, samples: int = 2000, level: float = 0.95, seed: int = 0) -> Interval:
    """The bootstrap interval of a score over pictures.

    >>> right = np.array([[9.0, 10.0], [5.0, 10.0], [7.0, 10.0]])  # hits and pixels of three pictures
    >>> found = interval(right, lambda sums: sums[..., 0] / sums[..., 1], samples=500)
    >>> round(found.value, 3), 0.5 <= found.low < found.value < found.high <= 0.9
    (0.7, True)

    Args:
        states: (n, S), one row per picture.
        measure: gives a score for each row of sums.
        level: 0–1, how often the interval should hold the score of all pictures.
        samples: drawn, each of n pictures with repetitions.
        seed: of the draws.

    Raises:
        DataError: there are no pictures.
        BadOption: fewer than one sample, or a level outside 0–1.
    """
    return _interval([states], lambda sums: measure(sums[0]), samples, level, seed)


def difference(
    first: Numbers, second: Numbers, measure: Measure, *, samples: int = 2000, level: float = 0.95, seed: int = 0
) -> Interval:
    """The interval of score(second) − score(first), two models on the same pictures in the same order.

    Args:
        first, second: (n, S) each; all else as for `interval`.

    Raises:
        DataError: there are no pictures, or not as many of both.
        BadOption: fewer than one sample, or a level outside 0–1.
    """
    if len(first) != len(second):
        raise DataError(f"a paired difference needs the same pictures; got {len(first)} and {len(second)}")
    return _interval([first, second], lambda sums: measure(sums[1]) - measure(sums[0]), samples, level, seed)


def score_interval(
    accumulator: Accumulator, measure: str = "mean_iou", *, samples: int = 2000, level: float = 0.95, seed: int = 0
) -> Interval:
    """The interval of one of an accumulator's measures; all else as for `interval`.

    Raises:
        BadOption: the protocol has no such measure.
        DataError: nothing was counted.
    """
    return interval(accumulator.states, _measure(accumulator, measure), samples=samples, level=level, seed=seed)


def score_difference(
    first: Accumulator,
    second: Accumulator,
    measure: str = "mean_iou",
    *,
    samples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """The paired difference second − first of one measure; pictures are matched by their names.

    All else as for `interval`.

    Raises:
        BadOption: the protocols differ, or have no such measure.
        DataError: the pictures differ, or a name stands twice.
    """
    if first.protocol != second.protocol or first.state_size != second.state_size:
        raise BadOption(
            f"a paired difference needs one protocol; got {first.protocol.name} of {first.num_classes} classes and "
            f"{second.protocol.name} of {second.num_classes}"
        )
    rows = {name: i for i, name in enumerate(second.names)}
    alone = set(first.names) ^ set(second.names)
    if alone:
        raise DataError(f"a paired difference needs the same pictures; only one model has {sorted(alone)[0]}")
    if len(rows) != len(second.names) or len(first.names) != len(second.names):
        raise DataError("a paired difference needs names that stand once; count pictures under different names")
    order = [rows[name] for name in first.names]
    return difference(
        first.states, second.states[order], _measure(first, measure), samples=samples, level=level, seed=seed
    )


def _measure(accumulator: Accumulator, name: str) -> Measure:
    known = accumulator.measures(accumulator.total)
    if name not in known:
        raise BadOption(f"protocol {accumulator.protocol.name} has no measure {name!r}; it has {', '.join(known)}")
    return lambda sums: accumulator.measures(sums)[name]


def _interval(
    states: list[Numbers], measure: Callable[[list[Numbers]], Numbers], samples: int, level: float, seed: int
) -> Interval:
    n = len(states[0])
    if n == 0:
        raise DataError("there is nothing to resample: no picture was counted")
    if samples < 1 or not 0 < level < 1:
        raise BadOption(f"expected at least one sample and a level between 0 and 1, got {samples} and {level}")
    random = np.random.default_rng(seed)
    # Most entries of confusion matrices are zero in every picture; sums are taken over the others.
    used = [np.flatnonzero(s.any(0)) for s in states]
    dense = [np.ascontiguousarray(s[:, places], dtype=np.float64) for s, places in zip(states, used, strict=True)]
    step = max(1, _BYTES // (8 * max(s.shape[1] for s in states)))
    found = []
    for start in range(0, samples, step):
        weights = random.multinomial(n, np.full(n, 1 / n), size=min(step, samples - start)).astype(np.float64)
        sums = []
        for state, places, part in zip(states, used, dense, strict=True):
            whole = np.zeros((len(weights), state.shape[1]))
            whole[:, places] = weights @ part
            sums.append(whole)
        found.append(measure(sums))
    values = np.concatenate(found)
    values = values[~np.isnan(values)]
    value = float(measure([s.sum(0, keepdims=True) for s in states])[0])
    told = n > 1 and len(values) > 0
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2]) if told else (np.nan, np.nan)
    above = float((values > 0).mean()) if told else np.nan
    return Interval(value, float(low), float(high), level, len(values), n, seed, above)
