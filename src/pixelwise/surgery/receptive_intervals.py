"""What the cells of a map see of the picture, as intervals; `receptive_field` is made of them."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

WHOLE = 0.1  # share of the picture
MOST = 50_000_000  # numbers in an array; rows times columns of an attention matrix are more

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Seen:
    """What the cells of a tensor see along one axis of the picture.

    Attributes:
        bounds: the first pixel and minus the last, so that the smaller is the wider of both; ∞ where nothing is seen.
            (2, *shape), where shape has the tensor's rank and 1 in each dimension along which nothing changes.
        picture: its length.
        whole: the whole picture is seen besides.
    """

    bounds: Array
    picture: int
    whole: bool = False

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Seen) and self.whole == other.whole and np.array_equal(self.bounds, other.bounds)

    def moved(self, change: Callable[[Array], Array]) -> "Seen":
        """With other bounds."""
        return replace(self, bounds=change(self.bounds))

    def over(self, dims: Iterable[int]) -> "Seen":
        """Each cell sees what all cells along these dimensions see; they stay, with length 1."""
        axes = tuple(1 + d for d in dims if self.bounds.shape[1 + d] > 1)
        if not axes:
            return self
        bounds = self.bounds.min(axis=axes, keepdims=True)
        wide = -bounds[1] - bounds[0] > WHOLE * self.picture  # −∞ where nothing is seen
        if not wide.any():
            return replace(self, bounds=bounds)
        return replace(self, bounds=np.where(wide, np.inf, bounds), whole=True)

    def all_along(self, dim: int) -> "Seen":
        """Every cell sees all along the dimension and so the picture, and has no place in it."""
        if self.bounds.shape[1 + dim] == 1:
            return self
        return replace(self, bounds=np.full_like(self.bounds.min(axis=1 + dim, keepdims=True), np.inf), whole=True)

    def taking(self, dim: int, cells: NDArray[np.int64]) -> "Seen":
        """Output i along the dimension sees what `cells[i]` see, (out, taps); −1 is outside the map."""
        axis = dim + 1
        if self.bounds.shape[axis] == 1:
            return self
        shape = list(self.bounds.shape)
        shape[axis] = 1
        padded = np.concatenate([self.bounds, np.full(shape, np.inf)], axis)  # −1 is its last
        return replace(self, bounds=padded.take(cells, axis).min(axis + 1))


Field = tuple[Seen, Seen]


def union(seen: Iterable[Seen], rank: int) -> Seen:
    """What several tensors of broadcastable shapes see together."""
    result: Seen | None = None
    for one in seen:
        lead = rank + 1 - one.bounds.ndim
        bounds = one.bounds.reshape(2, *(1,) * lead, *one.bounds.shape[1:])
        one = replace(one, bounds=bounds)
        if result is None:
            result = one
            continue
        if math.prod(np.broadcast_shapes(result.bounds.shape, bounds.shape)) > MOST:
            result, one = result.over(range(rank)), one.over(range(rank))
        result = Seen(np.minimum(result.bounds, one.bounds), result.picture, result.whole or one.whole)
    assert result is not None
    return result


def reshape(bounds: Array, old: Sequence[int], new: Sequence[int]) -> Array:
    """The bounds after a view: what changes along a group of dimensions that are split or merged is written out."""
    full: list[int] = []
    shape: list[int] = []
    i = j = 0
    while i < len(old) or j < len(new):
        i0, j0 = i, j
        i, j = min(i + 1, len(old)), min(j + 1, len(new))
        while (before := math.prod(old[i0:i])) != (after := math.prod(new[j0:j])):
            if before < after:
                i += 1
            else:
                j += 1
        constant = all(bounds.shape[1 + d] == 1 for d in range(i0, i))
        full += [1] * (i - i0) if constant else old[i0:i]
        shape += [1] * (j - j0) if constant else new[j0:j]
    result = np.broadcast_to(bounds, (2, *full)).reshape(2, *shape)
    for axis in range(1, result.ndim):
        head = result.take([0], axis)
        if result.shape[axis] > 1 and (result == head).all():
            result = head
    return result
