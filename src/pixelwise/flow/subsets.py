"""The training pictures of a learning curve: nested subsets, and who learned which picture.

A repeat is an order of all training pictures; its subset of a size is that many of the first. So a larger subset of a
repeat contains every smaller one. The pictures that the largest true subset leaves out differ from repeat to repeat:
with the sizes of `default_sizes` each picture is left out of it once, and one model that never saw the picture can
judge its labels.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pixelwise.errors import BadOption

MOST_SIZES = 4  # chosen by ourselves; each costs as many trainings as there are repeats
LEAST = 2  # pictures of the smallest subset that we choose


def default_sizes(count: int, repeats: int) -> tuple[int, ...]:
    """Sizes for `count` training pictures: all of them, all but a repeat's share, and halves of that.

    >>> default_sizes(34, 3), default_sizes(40, 5), default_sizes(6, 3)
    ((5, 11, 22, 34), (8, 16, 32, 40), (2, 4, 6))
    """
    size = count - max(-(-count // repeats) if repeats > 1 else count // 2, 1)
    sizes = [count]
    while size >= LEAST and len(sizes) < MOST_SIZES:
        sizes.append(size)
        size //= 2
    return tuple(reversed(sizes))


def checked_sizes(asked: Sequence[int], count: int, held_out: int) -> tuple[int, ...]:
    """The sizes that were asked for, in order.

    Raises:
        BadOption: one is not between 1 and `count`, or stands twice.
    """
    for size in asked:
        if size < 1 or list(asked).count(size) > 1:
            raise BadOption(f"--sizes are different numbers of pictures from 1, got {','.join(map(str, asked))}")
        if size > count:
            raise BadOption(
                f"--sizes has {size}, but there are {count} pictures to train on, as {held_out} others measure the "
                f"models; give sizes up to {count}"
            )
    return tuple(sorted(asked))


def nested_orders(
    presence: NDArray[np.bool_], alike: Sequence[int], sizes: Sequence[int], repeats: int, seed: int
) -> list[list[int]]:
    """An order of the pictures for each repeat; the first s of it are its subset of s pictures.

    Each class stays in the pictures of every subset as far as these suffice: the rarest first. Apart from that the
    subsets are drawn by chance. Pictures that look the same stay together where a repeat leaves pictures out.

    Args:
        presence: (n, K), which picture has which class.
        alike: for each picture a number; those of one number look the same.
        sizes: of the subsets.
    """
    n = len(presence)
    most = max((size for size in sizes if size < n), default=n)
    runs = runs_of(alike, max((n - most) // 2, 1))
    times = np.zeros(n, np.int64)  # that a picture was left out
    orders = []
    for repeat in range(repeats):
        random = np.random.default_rng((seed, 5, repeat))
        out = _left_out(presence, runs, times, n - most, random)
        times[out] += 1
        inside = random.permutation([i for i in range(n) if i not in set(out)]).tolist()
        first = _cover(presence, inside)
        orders.append([*first, *(i for i in inside if i not in set(first)), *random.permutation(out).tolist()])
    return orders


def judges(
    orders: Sequence[Sequence[int]], alike: Sequence[int], sizes: Sequence[int]
) -> dict[tuple[int, int], list[int]]:
    """{(size, repeat): pictures that this model judges}: each picture once, if some model did not learn it.

    The judge of a picture is the model with the most pictures of those that learned neither it nor one that looks the
    same; of equals the first repeat's.
    """
    n = len(orders[0])
    found: dict[tuple[int, int], list[int]] = {}
    for picture in range(n):
        for size, repeat in sorted(
            ((size, repeat) for size in sizes if size < n for repeat in range(len(orders))), key=lambda m: (-m[0], m[1])
        ):
            if alike[picture] not in {alike[i] for i in orders[repeat][:size]}:
                found.setdefault((size, repeat), []).append(picture)
                break
    return found


def runs_of(alike: Sequence[int], longest: int) -> list[list[int]]:
    """Pictures that look the same, in order; more than `longest` of them are cut into runs."""
    members: dict[int, list[int]] = {}
    for index, number in enumerate(alike):
        members.setdefault(number, []).append(index)
    return [m[i : i + longest] for m in members.values() for i in range(0, len(m), longest)]


def _left_out(
    presence: NDArray[np.bool_],
    runs: list[list[int]],
    times: NDArray[np.int64],
    wanted: int,
    random: np.random.Generator,
) -> list[int]:
    """`wanted` pictures, those first that were left out least often, and no class's last picture if others are left."""
    kept = presence.sum(0)
    out: list[int] = []
    mixed = [runs[i] for i in random.permutation(len(runs))]
    mixed.sort(key=lambda run: int(times[run].sum()) / len(run))
    singles = [[i] for run in mixed for i in run]
    for candidates, careful in ((mixed, True), (singles, True), (singles, False)):
        for run in candidates:
            without = kept - presence[run].sum(0)
            lost = bool(((without == 0) & (kept > 0)).any())
            if set(run) & set(out) or len(out) + len(run) > wanted or (careful and lost):
                continue
            out += run
            kept = without
    return out


def _cover(presence: NDArray[np.bool_], inside: list[int]) -> list[int]:
    """The first pictures of `inside` that have each class, beginning with the class that the fewest have."""
    chosen: list[int] = []
    counts = presence[inside].sum(0)
    for index in np.argsort(counts, kind="stable").tolist():
        if counts[index] and not presence[chosen, index].any():
            chosen.append(next(i for i in inside if presence[i, index]))
    return chosen
