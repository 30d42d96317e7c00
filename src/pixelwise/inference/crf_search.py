"""Search a dense CRF's settings on pictures with masks; tell whether it helps, by how much and how surely.

Chen et al.: Semantic Image Segmentation with Deep Convolutional Nets and Fully Connected CRFs, ICLR 2015, §5: w2 = 3,
σγ = 3 and 10 steps are fixed, w1, σα and σβ are sought from coarse to fine on 100 validation pictures.

1. The network sees each picture once. Its scores are kept on their own grid.
2. Every setting of the grid is measured on at most 25 of the pictures, spread evenly.
3. A round measures, on these, all settings around the best so far: w1, σα and σβ each as it is, or a step less or
   more. The step is half the grid's at first, and half of that in each further round.
4. The best are measured on all pictures: the grid's best, the three best of all, and for each of the five parts that
   the pictures are cut into, the three best on the few that lie in other parts. Of these one is the best.

A grid of at most ten settings without rounds is measured on all pictures at once; and with at most 25 pictures steps 2
and 3 were on all. Then step 4 adds nothing.

What is best is so by mean IoU of one confusion matrix over the pictures, as in an evaluation. The gain is measured by
cross-validation: each part is counted with the setting that is best on all other parts, among the three of step 4, or
among all settings where there was none. A part is of neighboring pictures, as those of one film are alike. With fewer
than five pictures each is a part. The interval of the gain is of 2000 resamplings of the pictures, each counted with
the CRF and without. Its ends are widened around the gain by

    1.2 · t₀.₉₇₅(n − 1) / z₀.₉₇₅ · √(n / (n − 1)),

1.90 for 5 pictures, 1.55 for 8, 1.31 for 20. Student's part is there because resampling few pictures varies too little;
1.2 because the parts' gains hang together through the choice, which each part has a say in for all others. Where the
CRF does nothing but noise, the interval then lies above 0 in at most 4 % of searches (simulated for 5, 8 and 20
pictures; without it in up to 14 %). With fewer than five pictures there is no interval, and nothing is judged.

Pictures without a labeled pixel are left out, and count for nothing.

Only the place of the finer settings of step 3 is chosen on pictures that are then counted.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixelwise.crf.parameters import CRFParameters
from pixelwise.data.sample import Dataset, spread
from pixelwise.errors import BadOption, DataError
from pixelwise.inference.crf_counts import Counts, Meter, Table, affordable, mean_iou, see
from pixelwise.inference.engine import Predictor, engine_of
from pixelwise.inference.refine import Refinement
from pixelwise.layers.normalization import Normalization
from pixelwise.metrics import rounded
from pixelwise.protocols.intervals import difference

FEW = 25  # pictures that the grid and the rounds are measured on
SMALL = 10  # settings of a grid that is measured on all pictures at once
KEPT = 3  # settings of each ranking that are then measured on all pictures
FOLDS = 5
LEAST_PICTURES = 5  # with labeled pixels, from which a gain is judged
CHOSEN = 1.2  # the interval of a gain with settings that were chosen on the pictures of other parts is so much wider
RESAMPLES = 2000
MEMORY = 2 * 2**30


@dataclass(frozen=True)
class Grid:
    """Values of w1, σα and σβ, each combined with each.

    Attributes:
        bilateral_weights: w1.
        sigmas_pixels: σα.
        sigmas_color: σβ, in levels 0–255.

    Raises:
        BadOption: one of them is empty.
    """

    bilateral_weights: tuple[float, ...]
    sigmas_pixels: tuple[float, ...]
    sigmas_color: tuple[float, ...]

    def __post_init__(self) -> None:
        if not (self.bilateral_weights and self.sigmas_pixels and self.sigmas_color):
            raise BadOption(f"a grid needs at least one w1, σα and σβ: got {self}")

    @property
    def axes(self) -> tuple[tuple[float, ...], ...]:
        """The values of w1, σα and σβ."""
        return self.bilateral_weights, self.sigmas_pixels, self.sigmas_color

    @property
    def settings(self) -> tuple[CRFParameters, ...]:
        """All combinations, w1 changing last."""
        return tuple(_setting(w1, alpha, beta) for alpha, beta, w1 in itertools.product(*self.axes[1:], self.axes[0]))


PAPER_GRID = Grid((5, 10), (50, 60, 70, 80, 90, 100), (3, 4, 5, 6, 7, 8, 9, 10))  # DeepLab v1
TRIAL_GRID = Grid((4,), (5, 15, 50), (5, 10))  # small things, larger ones, and near the released settings


@dataclass(frozen=True)
class CRFSearch:
    """What a search found.

    Attributes:
        parameters: the best settings on all pictures.
        steps: of mean field.
        pictures: how many were used; each has labeled pixels.
        mean_iou_without: of the network alone.
        mean_iou_with: cross-validated: each picture with the settings that are best on other pictures.
        interval: 95 % interval of the gain; not-a-number for fewer than `LEAST_PICTURES`.
        tried: each setting that was measured on all pictures, and its mean IoU; the best first.
        note: what limits the result, as too little memory for all pictures; "" for nothing.
        tuned_on: `picture_digest` of the pictures, sorted.
    """

    parameters: CRFParameters
    steps: int
    pictures: int
    mean_iou_without: float
    mean_iou_with: float
    interval: tuple[float, float]
    tried: tuple[tuple[CRFParameters, float], ...]
    note: str = ""
    tuned_on: tuple[str, ...] = ()

    @property
    def gain(self) -> float:
        """Mean IoU with the CRF, cross-validated, less that without."""
        return self.mean_iou_with - self.mean_iou_without

    @property
    def helped(self) -> bool:
        """Whether there are `LEAST_PICTURES` or more, and the whole interval of the gain is above 0."""
        return self.judged and self.interval[0] > 0

    @property
    def judged(self) -> bool:
        """Whether there are enough pictures to tell whether it helps."""
        return self.pictures >= LEAST_PICTURES

    def refinement(self, part: str) -> Refinement:
        """The CRF with the best settings, to stand behind the network.

        Args:
            part: what the pictures are of, as "val".
        """
        low, high = self.interval
        interval = f" (95 % interval {low:+.3f} to {high:+.3f})" if not math.isnan(low) else ""
        return Refinement(
            self.parameters,
            self.steps,
            f"tuned on {self.pictures} picture{'s' if self.pictures != 1 else ''} of {part}: "
            f"mean IoU {self.gain:+.3f}{interval}",
            self.tuned_on,
        )

    def to_record(self) -> dict[str, Any]:
        """Plain numbers for JSON, with None for not-a-number."""
        return {
            "parameters": self.parameters.to_record(),
            "steps": self.steps,
            "pictures": self.pictures,
            "mean_iou_without": rounded(self.mean_iou_without),
            "mean_iou_with": rounded(self.mean_iou_with),
            "gain": rounded(self.gain),
            "interval": [rounded(edge) for edge in self.interval],
            "helped": self.helped,
            "tried": [{**setting.to_record(), "mean_iou": rounded(value)} for setting, value in self.tried],
            "note": self.note,
        }


def search_crf(
    predictor: Predictor,
    normalization: Normalization,
    dataset: Dataset,
    *,
    pictures: int = 100,
    grid: Grid = PAPER_GRID,
    refine_rounds: int = 2,
    steps: int = 10,
    seed: int = 0,
    threads: int | None = None,
    memory_bytes: int = MEMORY,
    progress: Callable[[int, int], None] | None = None,
) -> CRFSearch:
    """The best settings of a dense CRF behind a network; see the module for how they are found.

    Args:
        predictor: an engine, or a network in evaluation mode.
        dataset: pictures with masks that the network was not trained on.
        pictures: at most so many, spread evenly over the data set.
        refine_rounds: around the grid's best; an axis of the grid with a single value is left as it is.
        steps: of mean field.
        seed: of the resampling.
        threads: how many pictures are worked on at a time, each by one; all processors if None, fewer where
            `memory_bytes` does not hold their CRFs. The result does not depend on it.
        memory_bytes: what pictures and scores may take; where that is too little fewer pictures are taken, still
            spread evenly, and `note` says so. What the CRFs of all threads work with may take as much again.
        progress: called with (done, all) measurements of a setting, or of none, on a picture. All may become less.

    Raises:
        DataError: the data set is empty, has pictures without masks, or no labeled pixel; or a pixel is no number.
        WeightsError: the network gives probabilities that are no numbers.
        BadOption: a number is impossible, or a picture's levels have too wide a range for a width of the grid.
    """
    for name, number, least in (("pictures", pictures, 1), ("refine_rounds", refine_rounds, 0), ("steps", steps, 1)):
        if isinstance(number, bool) or not isinstance(number, int) or number < least:
            raise BadOption(f"{name} is {number!r}: expected a whole number from {least} up")
    if len(dataset) == 0:
        raise DataError("there is nothing to tune a CRF on: the data set has no pictures")
    from pixelwise.crf.threads import available_threads

    workers = available_threads(threads)
    wanted = min(pictures, len(dataset))
    meter = Meter(progress or (lambda done, total: None), _total(wanted, grid, refine_rounds))
    seen, void = see(engine_of(predictor), normalization, dataset, wanted, memory_bytes, meter)
    if not seen:
        raise DataError(
            f"no labeled pixel is in the {void} picture{'s' if void != 1 else ''} that a CRF was to be tuned on: all "
            "are void; give pictures whose masks are drawn"
        )
    table = Table(seen, dataset.labels["labels"], steps, affordable(workers, seen, memory_bytes), meter)
    meter.total = _total(len(seen), grid, refine_rounds)
    tried, by_fold = _tried(table, grid, refine_rounds, meter)

    everything = list(range(len(seen)))
    reached = [table.mean_iou(setting, everything) for setting in tried]
    order = sorted(range(len(tried)), key=lambda place: -reached[place])  # of equals the first
    without = np.stack([picture.without for picture in seen])
    behind = _cross_validated(table, by_fold)
    notes = []
    if void:
        notes.append(f"{void} picture{'s' if void != 1 else ''} without a labeled pixel left out")
    if len(seen) < wanted - void:
        notes.append(
            f"the scores of {wanted - void} pictures would take more than {memory_bytes / 2**30:.1f} GiB of memory, so "
            f"that {len(seen)} were taken"
        )
    if len(seen) < LEAST_PICTURES:
        counted = f"{len(seen)} picture{'s are' if len(seen) != 1 else ' is'}"
        notes.append(f"{counted} too few to tell whether it helps, {LEAST_PICTURES} are needed")
    return CRFSearch(
        tried[order[0]],
        steps,
        len(seen),
        float(mean_iou(without.sum(0))),
        float(mean_iou(behind.sum(0))),
        _interval(without, behind, seed),
        tuple((tried[place], reached[place]) for place in order),
        "; ".join(notes),
        tuple(sorted(picture.digest for picture in seen)),
    )


def _tried(
    table: Table, grid: Grid, refine_rounds: int, meter: Meter
) -> tuple[list[CRFParameters], list[tuple[NDArray[np.intp], list[CRFParameters]]]]:
    """Measures all there is to measure.

    Returns:
        The settings that were measured on all pictures, in the order in which they came up; and each part's pictures,
        with those of the settings that were chosen without it.
    """
    everything = list(range(len(table.seen)))
    settings = list(dict.fromkeys(grid.settings))
    folds = np.array_split(np.arange(len(everything)), min(FOLDS, len(everything)))
    few = spread(len(everything), FEW) if len(settings) > SMALL or refine_rounds else everything
    table.measure(settings, few)
    coarse = table.best(settings, few)
    for number in range(refine_rounds):
        around = _around(table.best(settings, few), grid, 0.5 ** (number + 1))
        table.measure(around, few)
        settings = list(dict.fromkeys([*settings, *around]))
    if len(few) == len(everything):
        return settings, [(fold, settings) for fold in folds]

    def kept(pictures: list[int]) -> list[CRFParameters]:
        return sorted(settings, key=lambda setting: -table.mean_iou(setting, pictures))[:KEPT]

    by_fold = [(fold, kept([index for index in few if index not in fold])) for fold in folds]
    chosen = {coarse, *kept(few), *itertools.chain.from_iterable(own for _, own in by_fold)}
    tried = [setting for setting in settings if setting in chosen]
    meter.total = meter.done + len(tried) * (len(everything) - len(few))
    table.measure(tried, everything)
    return tried, by_fold


def _around(best: CRFParameters, grid: Grid, share: float) -> list[CRFParameters]:
    """The settings with w1, σα and σβ each as it is, or a share of the grid's step less or more, never below half."""
    values = best.bilateral_weight, best.bilateral_sigma_pixels, best.bilateral_sigma_color
    axes = []
    for value, axis in zip(values, grid.axes, strict=True):
        step = share * (max(axis) - min(axis)) / max(len(axis) - 1, 1)
        axes.append((max(value - step, value / 2), value, value + step) if step else (value,))
    around = Grid(*axes).settings
    return [setting for setting in around if setting != best]


def _total(pictures: int, grid: Grid, refine_rounds: int) -> int:
    """How many measurements a search of so many pictures makes, at most."""
    settings = len(dict.fromkeys(grid.settings))
    axes = sum(len(set(axis)) > 1 for axis in grid.axes)
    rounds: int = refine_rounds * (3**axes - 1)
    few = min(pictures, FEW) if settings > SMALL or refine_rounds else pictures
    last = min(settings + rounds, KEPT * (FOLDS + 1) + 1) * (pictures - few)
    return pictures + (settings + rounds) * few + last


def _cross_validated(table: Table, by_fold: Sequence[tuple[NDArray[np.intp], list[CRFParameters]]]) -> Counts:
    """(pictures, 3, K), each with the setting that is best on the other parts; a single picture with its own best."""
    count = len(table.seen)
    rows = []
    for fold, settings in by_fold:
        others = [index for index in range(count) if index not in fold] or [0]
        rows.append(table.counts(table.best(settings, others), fold.tolist()))
    return np.concatenate(rows)


def _interval(without: Counts, behind: Counts, seed: int) -> tuple[float, float]:
    """The middle 95 % of the gain over resamplings of the pictures, widened for few; see the module."""
    if len(without) < LEAST_PICTURES:
        return math.nan, math.nan

    def measure(sums: NDArray[np.float64]) -> NDArray[np.float64]:
        return mean_iou(sums.reshape(-1, *without.shape[1:]))

    first, second = (counts.reshape(len(counts), -1).astype(np.float64) for counts in (without, behind))
    found = difference(first, second, measure, samples=RESAMPLES, seed=seed)
    wider = CHOSEN * _student(len(without))
    return found.value - wider * (found.value - found.low), found.value + wider * (found.high - found.value)


def _student(count: int) -> float:
    """What an interval that was resampled from so many pictures, 5 or more, is widened by.

    The quantile of Student's t by its expansion in 1 / (n − 1) (Abramowitz & Stegun 26.7.5), within 0.3 %.

    >>> round(_student(5), 2), round(_student(20), 2), round(_student(1000), 2)
    (1.58, 1.1, 1.0)
    """
    z, freedom = 1.959964, count - 1
    t = z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
    t += (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * freedom**3)
    return float(t / z * math.sqrt(count / freedom))


def _setting(w1: float, alpha: float, beta: float) -> CRFParameters:
    return CRFParameters(
        bilateral_weight=w1,
        bilateral_sigma_pixels=alpha,
        bilateral_sigma_color=beta,
        spatial_weight=3,
        spatial_sigma_pixels=3,
        normalization="after",
    )
