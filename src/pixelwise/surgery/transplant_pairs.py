"""Which layer of one network is which of another: as the caller says, by name, or by order and shape."""

from collections import Counter
from collections.abc import Mapping
from itertools import groupby

from pixelwise.errors import unknown_name
from pixelwise.surgery.transplant_fits import Fitting
from pixelwise.surgery.transplant_layers import Layer, holds, moved

Pairs = dict[str, str | None]  # path in the target: path in the source, or none for a layer that stays
Move = tuple[tuple[str, str, tuple[str, ...]], str, str]


def renamed(theirs: dict[str, Layer], ours: dict[str, Layer], rename: Mapping[str, str | None]) -> Pairs:
    """The pairs that the caller names; the longest path that holds a layer counts."""
    pairs: Pairs = {}
    for path, other in sorted(rename.items(), key=lambda item: -len(item[0])):
        below = [layer for layer in ours if holds(path, layer)]
        if not below:
            raise unknown_name("layer of the target", path, ours)
        if other is not None and not any(holds(other, layer) for layer in theirs):
            raise unknown_name("layer of the source", other, theirs)
        for layer in below:
            named = None if other is None else f"{other}.{layer[len(path) :].strip('.')}".strip(".")
            if layer not in pairs and (named is None or named in theirs):
                pairs[layer] = named
    return pairs


def pair_by_name(
    theirs: dict[str, Layer], ours: dict[str, Layer], pairs: Pairs, fitting: Fitting | None
) -> dict[str, str]:
    """Pair equal paths, then the ends of paths: first where most layers moved from and to the same place.

    Args:
        fitting: pair only what fits, and only layers whose own names are words.

    Returns:
        {path in the target: one of the source} where there are several ways.
    """
    used = set(pairs.values())
    free = [path for path in theirs if path not in used]

    def may(mine: str, other: str) -> bool:
        if fitting is None:
            return True
        return not _leaf(mine).isdecimal() and fitting.worth(theirs[other], ours[mine]) > 0

    equal = {path for path in free if path in ours and path not in pairs and may(path, path)}
    pairs.update({path: path for path in ours if path in equal})
    free = [path for path in free if path not in equal]
    by_leaf: dict[str, list[str]] = {}
    for path in free:
        by_leaf.setdefault(_leaf(path), []).append(path)
    moves = [
        (moved(mine, other), mine, other)
        for mine in ours
        if mine not in pairs
        for other in by_leaf.get(_leaf(mine), ())
        if may(mine, other)
    ]
    moves = [move for move in moves if any(not word.isdecimal() for word in move[0][2])]
    votes = Counter((to, of) for (to, of, _), _, _ in moves)
    doubtful: dict[str, str] = {}
    taken: set[str] = set()

    def rank(move: Move) -> tuple[int, int]:
        to, of, end = move[0]
        return -votes[to, of], -len(end)

    for _, alike in groupby(sorted(moves, key=rank), key=rank):
        here = [(mine, other) for _, mine, other in alike if mine not in pairs | doubtful and other not in taken]
        mines, others = Counter(mine for mine, _ in here), Counter(other for _, other in here)
        for mine, other in here:
            taken.add(other)
            if mines[mine] == others[other] == 1:
                pairs[mine] = other
            else:
                doubtful[mine] = other
    return doubtful


def pair_by_order(theirs: dict[str, Layer], ours: dict[str, Layer], pairs: Pairs, fitting: Fitting) -> None:
    """Pair what is left, both networks in order: as many layers as possible, of them most with equal shapes."""
    used = set(pairs.values())
    free = [layer for path, layer in theirs.items() if path not in used]
    wanting = [layer for path, layer in ours.items() if path not in pairs]
    worth = [[fitting.worth(other, mine) for other in free] for mine in wanting]
    best = [[0] * (len(free) + 1) for _ in range(len(wanting) + 1)]
    for i in reversed(range(len(wanting))):
        for j in reversed(range(len(free))):
            pair = worth[i][j] + best[i + 1][j + 1] if worth[i][j] else 0
            best[i][j] = max(pair, best[i + 1][j], best[i][j + 1])
    i = j = 0
    while i < len(wanting) and j < len(free):
        if worth[i][j] and best[i][j] == worth[i][j] + best[i + 1][j + 1]:
            pairs[wanting[i].path] = free[j].path
            i, j = i + 1, j + 1
        elif best[i][j] == best[i + 1][j]:
            i += 1
        else:
            j += 1


def _leaf(path: str) -> str:
    return path.rpartition(".")[2]
