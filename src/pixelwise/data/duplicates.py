"""The same picture twice: files with the same bytes, and pictures that look the same.

Two pictures look the same when their thumbnails (`scan.thumbnail`: 16 × 16 gray means) correlate with 0.97 or more.
Measured on photographs, micrographs and video (`benchmarks/duplicates.py`): copies that were compressed as JPEG of
quality 30, halved, brightened or made gray reach 0.978 to 1, different pictures 0.90 at most, neighboring frames of a
video up to 0.997. Copies that were mirrored, turned, or cropped by more than a hundredth are not found.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pixelwise.data.scan import ImageStatistics

LIKENESS = 0.97
_BLOCK = 2048


class Alike(NamedTuple):
    """Two pictures, by their places in the order asked for, and their correlation; 2 for the same bytes."""

    first: int
    second: int
    likeness: float

    @property
    def identical(self) -> bool:
        """The files hold the same bytes."""
        return self.likeness == 2


def find_alike(pictures: list[ImageStatistics]) -> list[Alike]:
    """All pairs of pictures that are, or look, the same; first < second, in ascending order."""
    units = np.stack([_unit(picture.thumbnail) for picture in pictures]) if pictures else np.zeros((0, 1), np.float32)
    found: dict[tuple[int, int], float] = {}
    for start in range(0, len(units), _BLOCK):
        block = units[start : start + _BLOCK] @ units[start:].T  # pictures from `start` on: each pair once
        rows, columns = np.nonzero(block >= LIKENESS)
        keep = columns > rows
        for row, column in zip(rows[keep].tolist(), columns[keep].tolist(), strict=True):
            found[start + row, start + column] = float(block[row, column])
    first_with: dict[str, int] = {}
    for index, picture in enumerate(pictures):
        before = first_with.setdefault(picture.digest, index)
        if before != index:
            found[before, index] = 2.0
    return [Alike(first, second, likeness) for (first, second), likeness in sorted(found.items())]


def groups_of(count: int, alike: list[Alike]) -> NDArray[np.int64]:
    """(count,) the group of each picture: pictures alike, directly or through others, have the same number."""
    parent = list(range(count))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    for first, second, _ in alike:
        a, b = sorted((root(first), root(second)))
        parent[b] = a
    return np.array([root(index) for index in range(count)], np.int64)


def _unit(thumbnail: NDArray[np.uint8]) -> NDArray[np.float32]:
    """A thumbnail as a vector of mean 0 and length 1; zeros for a picture of one color, which is like no other."""
    flat = thumbnail.astype(np.float32).ravel()
    flat -= flat.mean()
    length = float(np.linalg.norm(flat))
    return flat / length if length else flat
