"""The contact sheet on the page of `check`: overlays of some pictures, chosen so that every class is seen."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from pixelwise.data.folder import PairDataset
from pixelwise.data.formats.class_folders import FullMask
from pixelwise.data.sample import MaskSource
from pixelwise.errors import PixelwiseError
from pixelwise.inference.pictures import overlay
from pixelwise.labels import LabelSet
from pixelwise.report.thumbnails import TINY, small_classes, small_image, thumbnail_uri

SHEET = 24  # overlays of the contact sheet
SHEET_SIDE = 480  # pixels of a thumbnail's longer side
SHEET_PIXELS = 150_000_000  # to decode at most, about
SHEET_BYTES = 90_000  # of a thumbnail, at most
VISIBLE = 0.004  # share of a picture from which a class is easily seen


@dataclass(frozen=True)
class Overlay:
    """One picture of the contact sheet."""

    name: str
    split: str
    uri: str
    exact: bool
    classes: tuple[int, ...]


def contact_sheet(
    datasets: Mapping[str, PairDataset],
    labels: LabelSet | None,
    mask_counts: Mapping[MaskSource, NDArray[np.int64]],
    sizes: Sequence[tuple[int, int, int]],
) -> list[Overlay]:
    """Overlays of some pictures, in the order of the splits; broken ones are skipped."""
    listed = [(split, index) for split, data in datasets.items() for index in range(len(data))]
    extent = extent_of(sizes)
    typical = extent[1][0] * extent[1][1] if extent else 1
    most = min(max(SHEET_PIXELS // max(typical, 1), 6), SHEET)
    shares = _shares(datasets, mask_counts) if labels is not None else None
    chosen = choose([len(data) for data in datasets.values()], shares, most)
    draw = partial(_overlay, datasets, labels)
    with ThreadPoolExecutor(2) as pool:  # decoders let go of the interpreter
        drawn = list(pool.map(draw, (listed[i] for i in chosen)))
    return [one for one in drawn if one is not None]


def _shares(
    datasets: Mapping[str, PairDataset], mask_counts: Mapping[MaskSource, NDArray[np.int64]]
) -> NDArray[np.float64] | None:
    """(pictures, K) share of each class in each picture; None where it is not known."""
    masks = [pair.mask for data in datasets.values() for pair in data.pairs]
    if not masks or not all(mask is not None and mask in mask_counts for mask in masks):
        return None
    counts = np.stack([mask_counts[mask] for mask in masks if mask is not None]).astype(np.float64)
    shares: NDArray[np.float64] = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    return shares


def choose(lengths: Sequence[int], shares: NDArray[np.float64] | None, most: int) -> list[int]:
    """Which pictures to show, ascending: every class is seen if so many can do it, the rest is evenly spread.

    First, one after another, the picture that shows most of what no other does: a class counts in full where it covers
    VISIBLE of the picture, or as much as it ever does. Then each part of the data is filled up to its share.

    Args:
        lengths: pictures in each part; the indices run through all of them.
        shares: (pictures, K) share of each class in each; None if unknown.
        most: how many at most.

    >>> choose([6, 6], None, 4)
    [1, 4, 7, 10]
    """
    total = sum(lengths)
    if total <= most:
        return list(range(total))
    chosen: list[int] = []
    if shares is not None:
        enough = np.minimum(shares.max(0), VISIBLE)
        visible = np.minimum(shares, enough) / np.where(enough > 0, enough, 1)
        seen = np.zeros(shares.shape[1])
        while len(chosen) < most:
            gain = np.maximum(visible - seen, 0).sum(1)
            best = int(gain.argmax())
            if gain[best] < 0.5:  # every class is seen at least by half
                break
            chosen.append(best)
            seen = np.maximum(seen, visible[best])
    starts = np.cumsum([0, *lengths])
    free = [[i for i in range(a, b) if i not in chosen] for a, b in pairwise(starts)]
    filled = [length - len(left) for length, left in zip(lengths, free, strict=True)]
    wanted = [0] * len(lengths)
    for _ in range(most - len(chosen)):
        part = min((p for p in range(len(lengths)) if wanted[p] < len(free[p])), key=lambda p: filled[p] + wanted[p])
        wanted[part] += 1
    for left, number in zip(free, wanted, strict=True):
        chosen += [left[(2 * j + 1) * len(left) // (2 * number)] for j in range(number)]
    return sorted(chosen)


def _overlay(datasets: Mapping[str, PairDataset], labels: LabelSet | None, place: tuple[str, int]) -> Overlay | None:
    split, index = place
    try:
        sample = datasets[split][index]
    except PixelwiseError:
        return None
    picture = small_image(sample.image, SHEET_SIDE)
    found: tuple[int, ...] = ()
    target = sample.targets.get("labels")
    mask = datasets[split].pairs[index].mask
    if isinstance(mask, FullMask):
        found = (mask.value,)
    elif labels is not None and target is not None:
        classes = small_classes(target, SHEET_SIDE)
        numbers, areas = np.unique(classes, return_counts=True)
        found = tuple(int(c) for c in numbers[np.argsort(-areas, kind="stable")] if c != labels.void)
        picture = overlay(picture, classes, labels, opacity=0.45)
    exact = max(sample.size) <= TINY
    return Overlay(sample.name, split, thumbnail_uri(picture, exact, SHEET_BYTES), exact, found)


def extent_of(sizes: Sequence[tuple[int, int, int]]) -> list[tuple[int, int]]:
    """(height, width) of the smallest, the median and the largest picture, by area."""
    if not sizes:
        return []
    ordered = sorted(sizes, key=lambda size: (size[0] * size[1], size))
    middle, passed = sum(number for _, _, number in ordered) / 2, 0
    median = ordered[-1]
    for size in ordered:
        passed += size[2]
        if passed >= middle:
            median = size
            break
    return [size[:2] for size in (ordered[0], median, ordered[-1])]


def ratio_of(sizes: Sequence[tuple[int, int, int]]) -> float:
    """Width / height of the contact sheet's fields: the median picture's, within what looks well."""
    extent = extent_of(sizes)
    return round(min(max(extent[1][1] / extent[1][0], 0.75), 2.0), 4) if extent else 1.0
