"""The pictures of a published recipe: named splits opened, joined, and without what is left out."""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import accumulate
from pathlib import Path

from pixelwise.data.folder import PairDataset
from pixelwise.data.sample import Sample
from pixelwise.errors import DataError, LabelError
from pixelwise.flow.data_sets import open_named
from pixelwise.labels import LabelSet
from pixelwise.recipes.published import Data


def open_data(data: Data, root: Path, channels: int) -> PairDataset:
    """The pictures of a split that have masks.

    Args:
        channels: that the network takes; gray pictures are repeated where they are three.

    Raises:
        DataError: the folder does not hold the data set or the split, or nothing of it is left.
        UnknownName, BadOption: there is no such data set or option.
    """
    opened = open_named(data.dataset, root, data.split)
    left_out: set[str] = set()
    if data.without is not None:
        left_out = {pair.name for pair in open_named(data.without[0], root, data.without[1]).pairs}
    kept = [i for i, pair in enumerate(opened.pairs) if pair.mask is not None and pair.name not in left_out]
    if not kept:
        raise DataError(f"{data} in {root} has no picture with a mask; pass the folder that holds them, too")
    found = opened if len(kept) == len(opened) else opened.subset(kept)
    if found.channels is None:
        found.channels = channels
    return found


class JoinedDataset:
    """Several data sets of the same classes, one after the other.

    Raises:
        LabelError: their classes differ.
    """

    def __init__(self, parts: Sequence[PairDataset]) -> None:
        first, *others = parts
        for other in others:
            for head, labels in first.labels.items():
                if head not in other.labels or other.labels[head].names != labels.names:
                    raise LabelError(
                        f"{other.name} {other.split} has other classes than {first.name} {first.split}; train on data "
                        "sets of the same classes"
                    )
        self.parts = tuple(parts)
        self._ends = list(accumulate(len(part) for part in parts))

    @property
    def labels(self) -> Mapping[str, LabelSet]:
        """Those of the first."""
        return self.parts[0].labels

    @property
    def names(self) -> tuple[str, ...]:
        """Of all pictures."""
        return tuple(pair.name for part in self.parts for pair in part.pairs)

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, index: int, /) -> Sample:
        part = bisect_right(self._ends, index)
        return self.parts[part][index - (self._ends[part - 1] if part else 0)]

    def describe(self) -> str:
        """What each says."""
        return "\n".join(part.describe() for part in self.parts)
