"""The loops of `Lattice`, compiled by numba at first use and cached.

A vertex of the D-dimensional lattice has D + 1 whole coordinates that add up to 0, so D of them name it. Its *key* is
their product with fixed multipliers, one int64; moving along axis i adds a constant to the key. A table with open
addressing maps keys to rows: a slot holds a row, or −1 where it is empty, and the rows' keys stand in an array beside
it. Vertices near each other have near rows, so their keys are mostly in the cache.

Simplices are computed in float32 in the order of operations of the authors' code, which is pydensecrf's, so that
points near a simplex's face fall on the same side.
"""

import numpy as np
from numpy.typing import NDArray

from pixelwise.crf.vectors import (
    WIDTH,
    add,
    below,
    compiled,
    fetch_add,
    fill,
    load,
    multiply,
    multiply_add,
    nearest,
    prefetch,
    store,
    subtract,
    zeros,
)

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Rows = NDArray[np.int32]
Keys = NDArray[np.int64]

BLOCK = 64  # points between two marks in `reach`, a multiple of WIDTH; see `vectors.py` on changing it
LONGEST_SUM = 256  # points that add to one row: float32 sums of thousands move marginals by 2e-4 in ten steps
AHEAD = 8  # entries between a prefetch and its use
ONE_REGISTER = (0,)
_GOLDEN = -7046029254386353131  # 2^64 / golden ratio: spreads neighboring keys


@compiled
def _slot(key: int, bits: int) -> int:
    """Where the search for the key begins in a table of 2^bits slots."""
    return ((key * _GOLDEN) >> (64 - bits)) & ((1 << bits) - 1)


@compiled
def _find(table: Rows, keys: Keys, key: int, bits: int) -> int:
    """The slot that holds the row of the key, or the empty one where it belongs."""
    slot = _slot(key, bits)
    while table[slot] >= 0 and keys[table[slot]] != key:
        slot = (slot + 1) & ((1 << bits) - 1)
    return slot


@compiled
def table_of(keys: Keys, count: int, bits: int) -> Rows:
    """A table of 2^bits slots that maps keys[m] to m for m from 0 to count − 1; of equal keys to the first's."""
    table = np.empty(1 << bits, np.int32)
    for i in range(len(table)):
        table[i] = -1
    for m in range(count):
        slot = _find(table, keys, keys[m], bits)
        if table[slot] < 0:
            table[slot] = m
    return table


@compiled
def _locate(
    features: Floats, scale: Floats, first: int, elevated: Floats, corner: Floats, rest: Floats, rank: Floats
) -> None:
    """Find the simplices of eight points, as arrays (D + 1, 8), flat.

    Args:
        features: (D, N).
        scale: (D,) the diagonal part of the elevation.
        first: the first of the points; those behind the last are the last again.
        elevated: filled with the points on the plane of D + 1 coordinates that add up to 0.
        corner: filled with the vertex of remainder 0 of each simplex, whose coordinates are multiples of D + 1.
        rest: filled with (elevated − corner)/(D + 1).
        rank: filled with 0 for the largest rest, … D for the smallest.
    """
    dimensions, num_points = features.shape
    corners = dimensions + 1
    like = zeros(ONE_REGISTER)
    nothing = zeros(ONE_REGISTER)
    one = fill(np.float32(1), like)
    size = fill(np.float32(corners), like)
    down = fill(np.float32(1) / np.float32(corners), like)
    source, start, stride = features, first, num_points
    if first + WIDTH > num_points:
        source, start, stride = np.empty((dimensions, WIDTH), np.float32), 0, WIDTH
        for i in range(dimensions):
            for q in range(WIDTH):
                source[i, q] = features[i, min(first + q, num_points - 1)]

    total = nothing
    for j in range(dimensions, 0, -1):
        feature = multiply(load(source, (j - 1) * stride + start, like), fill(scale[j - 1], like))
        store(elevated, j * WIDTH, subtract(total, multiply(fill(np.float32(j), like), feature)))
        total = add(total, feature)
    store(elevated, 0, total)

    total = nothing  # of the rounded coordinates; 0 where the rounded point lies on the plane
    for i in range(corners):
        coordinate = load(elevated, i * WIDTH, like)
        rounded = nearest(multiply(down, coordinate))
        total = add(total, rounded)
        store(corner, i * WIDTH, multiply(rounded, size))
        store(rest, i * WIDTH, subtract(coordinate, multiply(rounded, size)))
        store(rank, i * WIDTH, nothing)
    for i in range(dimensions):
        own = load(rest, i * WIDTH, like)
        own_rank = load(rank, i * WIDTH, like)
        for j in range(i + 1, corners):
            smaller = below(own, load(rest, j * WIDTH, like))
            own_rank = add(own_rank, smaller)
            store(rank, j * WIDTH, add(load(rank, j * WIDTH, like), subtract(one, smaller)))
        store(rank, i * WIDTH, own_rank)
    for i in range(corners):
        place = add(load(rank, i * WIDTH, like), total)
        behind = subtract(one, below(place, size))  # 1 where place ≥ D + 1
        move = multiply(size, subtract(below(place, nothing), behind))
        moved = add(load(corner, i * WIDTH, like), move)
        store(rank, i * WIDTH, add(place, move))
        store(corner, i * WIDTH, moved)
        store(rest, i * WIDTH, multiply(subtract(load(elevated, i * WIDTH, like), moved), down))


@compiled
def simplices(
    features: Floats,
    scale: Floats,
    multipliers: Keys,
    steps: Keys,
    offsets: Rows,
    weights: Floats,
    reach: Rows,
    start: int,
    stop: int,
) -> tuple[Rows, int, Keys, int, Rows]:
    """Find the simplex and barycentric weights of points start…stop − 1, start a multiple of BLOCK.

    A vertex gets another row, a copy, whenever LONGEST_SUM points have used its last one.

    Args:
        features: (D, N).
        scale: (D,) the diagonal part of the elevation.
        multipliers: (D,) of the keys.
        steps: (D + 1,) what a move along each axis adds to a key.
        offsets: (N, D + 1), filled with rows, numbered from 0 in order of first use.
        weights: (N, D + 1), filled.
        reach: (⌈N/BLOCK⌉ + 1,); entry b is set to the number of rows that blocks before b use.

    Returns:
        The table of first rows, its bits, the rows' keys (longer than needed), the number of rows, and (2, copies):
        the copies and the first rows of their vertices.
    """
    dimensions = len(features)
    corners = dimensions + 1
    bits = 8
    while (1 << bits) < (stop - start) // 2:
        bits += 1
    keys = np.empty(1 << bits >> 1, np.int64)
    newest = np.empty(1 << bits >> 1, np.int32)  # of a first row: the last copy
    uses = np.empty(1 << bits >> 1, np.int32)
    table = table_of(keys, 0, bits)
    count = 0
    copies = np.empty((2, (stop - start) * corners // LONGEST_SUM), np.int32)
    num_copies = 0

    elevated = np.empty(corners * WIDTH, np.float32)
    corner = np.empty(corners * WIDTH, np.float32)
    rest = np.empty(corners * WIDTH, np.float32)
    rank = np.empty(corners * WIDTH, np.float32)
    by_rank = np.empty(corners, np.float32)
    axis_of_rank = np.empty(corners, np.int64)
    key = np.empty((WIDTH, corners), np.int64)
    last_key = np.empty(corners, np.int64)
    last_row = np.empty(corners, np.int32)
    for r in range(corners):
        last_row[r] = -1

    for p in range(start, stop, WIDTH):
        if p % BLOCK == 0:
            reach[p // BLOCK] = count
        _locate(features, scale, p, elevated, corner, rest, rank)
        points = min(WIDTH, stop - p)
        for q in range(points):
            own_key = 0
            for i in range(corners):
                r = int(rank[i * WIDTH + q])
                by_rank[r] = rest[i * WIDTH + q]
                axis_of_rank[r] = i
                if i < dimensions:
                    own_key += int(corner[i * WIDTH + q]) * multipliers[i]
            weights[p + q, 0] = by_rank[dimensions] + (np.float32(1) - by_rank[0])
            key[q, 0] = own_key
            for r in range(1, corners):  # from vertex to vertex along the axis of the next smallest rest
                weights[p + q, r] = by_rank[dimensions - r] - by_rank[corners - r]
                own_key += steps[axis_of_rank[corners - r]]
                key[q, r] = own_key
            for r in range(corners):
                prefetch(table, _slot(key[q, r], bits))

        if 2 * (count + WIDTH * corners) > (1 << bits):
            while 2 * (count + WIDTH * corners) > (1 << bits):
                bits += 1
            more_keys = np.empty(1 << bits >> 1, np.int64)
            more_newest = np.empty(1 << bits >> 1, np.int32)
            more_uses = np.empty(1 << bits >> 1, np.int32)
            for m in range(count):  # not by slices: numba takes 5 s to compile one
                more_keys[m] = keys[m]
                more_newest[m] = newest[m]
                more_uses[m] = uses[m]
            keys, newest, uses = more_keys, more_newest, more_uses
            table = table_of(keys, count, bits)
        for q in range(points):
            for r in range(corners):
                row = last_row[r]
                if row < 0 or key[q, r] != last_key[r] or uses[row] == LONGEST_SUM:
                    slot = _find(table, keys, key[q, r], bits)
                    first = table[slot]
                    row = newest[first] if first >= 0 else count
                    if first < 0:
                        first = count
                        table[slot] = first
                    elif uses[row] == LONGEST_SUM:
                        row = count
                        copies[0, num_copies] = row
                        copies[1, num_copies] = first
                        num_copies += 1
                    if row == count:
                        keys[row] = key[q, r]
                        uses[row] = 0
                        newest[first] = row
                        count += 1
                    last_key[r] = key[q, r]
                    last_row[r] = row
                uses[row] += 1
                offsets[p + q, r] = row
    return table, bits, keys, count, copies[:, :num_copies].copy()


@compiled
def merge(table: Rows, bits: int, keys: Keys, first: int, last: int, shared: Rows, num_shared: int) -> int:
    """Enter the vertices of a later band, rows first…last − 1, into the table, which has room for them.

    Args:
        keys: of all rows.
        shared: (2, …); from `num_shared` on it is filled with rows whose vertex has an earlier row, and that row.

    Returns:
        How many are shared now.
    """
    for row in range(first, last):
        if row + AHEAD < last:
            prefetch(table, _slot(keys[row + AHEAD], bits))
        slot = _find(table, keys, keys[row], bits)
        if table[slot] < 0:
            table[slot] = row
        else:
            shared[0, num_shared] = row
            shared[1, num_shared] = table[slot]
            num_shared += 1
    return num_shared


@compiled
def axis_chains(table: Rows, bits: int, keys: Keys, copies: Rows, step: int) -> Rows:
    """The rows of neighbors along one axis, one after the other, each chain's last row r written as −1 − r.

    Vertices without neighbors are left out: the blur does not change them.

    Args:
        keys: of all rows.
        copies: rows that are not a vertex's first.
        step: what a move along the axis adds to a key.
    """
    num_rows = len(keys)
    following = np.empty(num_rows, np.int32)
    follows = np.zeros(num_rows, np.bool_)
    copied = np.zeros(num_rows, np.bool_)
    for row in copies:
        copied[row] = True
    for row in range(num_rows):
        if row + AHEAD < num_rows:
            prefetch(table, _slot(keys[row + AHEAD] + step, bits))
        neighbor = -1 if copied[row] else table[_find(table, keys, keys[row] + step, bits)]
        following[row] = neighbor
        if neighbor >= 0:
            follows[neighbor] = True
    chains = np.empty(num_rows, np.int32)
    count = 0
    for row in range(num_rows):
        if following[row] >= 0 and not follows[row]:
            at = np.int32(row)
            while following[at] >= 0:
                chains[count] = at
                count += 1
                at = following[at]
            chains[count] = -1 - at
            count += 1
    return chains[:count]


@compiled
def splat(values: Floats, offsets: Rows, weights: Floats, lattice: Floats, width: int, start: int, stop: int) -> None:
    """Add the values of points start…stop − 1, (N·width,), times their weights to their rows of (rows·width,)."""
    like = zeros(ONE_REGISTER)
    for p in range(start, stop):
        for r in range(offsets.shape[1]):
            row = np.int64(offsets[p, r]) * width
            weight = fill(weights[p, r], like)
            for column in range(0, width, WIDTH):
                value = load(values, p * width + column, like)
                store(lattice, row + column, multiply_add(weight, value, load(lattice, row + column, like)))


@compiled
def slice_(values: Floats, offsets: Rows, weights: Floats, lattice: Floats, width: int, start: int, stop: int) -> None:
    """Set the values of points start…stop − 1, (N·width,), to the weighted sums of their rows of (rows·width,)."""
    like = zeros(ONE_REGISTER)
    for p in range(start, stop):
        for column in range(0, width, WIDTH):
            value = zeros(ONE_REGISTER)
            for r in range(offsets.shape[1]):
                row = np.int64(offsets[p, r]) * width
                value = multiply_add(fill(weights[p, r], like), load(lattice, row + column, like), value)
            store(values, p * width + column, value)


@compiled
def blur(
    lattice: Floats,
    width: int,
    chains: Rows,
    copies: Rows,
    originals: Rows,
    cuts: Keys,
    registers: tuple[int, ...],
    progress: Keys,
) -> None:
    """Add up the copies, filter along all axes, and set the copies; threads that call this together share the work.

    Each thread takes the next part of a phase until none is left, and waits for those that others have taken.

    Args:
        lattice: (rows·width,).
        chains: of all axes, see `axis_chains`.
        copies: (n,) rows that are not a vertex's first.
        originals: (n,) the first rows of their vertices.
        cuts: (D + 3, parts + 1) where the parts begin: of the copies, of each axis' chains, and of the copies again.
        progress: (2·(D + 3),) zeros: how many parts of each phase are taken, and how many are done.
    """
    phases, parts = len(cuts), cuts.shape[1] - 1
    for phase in range(phases):
        part = fetch_add(progress, phase, 1)
        while part < parts:
            start, stop = cuts[phase, part], cuts[phase, part + 1]
            if phase == 0:
                add_rows(lattice, width, copies, originals, start, stop)
            elif phase == phases - 1:
                copy_rows(lattice, width, originals, copies, start, stop)
            else:
                _blur_axis(lattice, width, chains, registers, start, stop)
            fetch_add(progress, phases + phase, 1)
            part = fetch_add(progress, phase, 1)
        while fetch_add(progress, phases + phase, 0) < parts:
            pass


@compiled
def _blur_axis(lattice: Floats, width: int, chains: Rows, registers: tuple[int, ...], start: int, stop: int) -> None:
    """Filter rows along chains[start:stop] with (½, 1, ½), in place; vertices that are not there count as 0.

    Args:
        width: floats in a row, a multiple of `len(registers)` · 8.
        chains: see `axis_chains`; start and stop lie between chains.
    """
    like = zeros(registers)
    half = fill(np.float32(0.5), like)
    columns = len(registers) * WIDTH
    if start == stop:
        return
    for column in range(0, width, columns):
        before = zeros(registers)
        row = np.int64(chains[start]) * width + column
        current = load(lattice, row, like)
        for i in range(start, stop):
            ahead = chains[min(i + AHEAD, stop - 1)]
            ahead_row = np.int64(ahead ^ (ahead >> 31)) * width + column  # −1 − r where negative
            for line in range(0, columns, 16):
                prefetch(lattice, ahead_row + line)
            follows = fill(np.float32(0) if chains[i] < 0 else np.float32(1), like)
            after = chains[min(i + 1, stop - 1)]
            after_row = np.int64(after ^ (after >> 31)) * width + column
            following = load(lattice, after_row, like)
            neighbors = add(before, multiply(follows, following))
            store(lattice, row, multiply_add(half, neighbors, current))
            before = multiply(follows, current)
            current = following
            row = after_row


@compiled
def add_rows(lattice: Floats, width: int, sources: Rows, targets: Rows, start: int, stop: int) -> None:
    """Add row sources[i] to row targets[i] for i from start to stop − 1."""
    like = zeros(ONE_REGISTER)
    for i in range(start, stop):
        source, target = np.int64(sources[i]) * width, np.int64(targets[i]) * width
        for column in range(0, width, WIDTH):
            value = add(load(lattice, target + column, like), load(lattice, source + column, like))
            store(lattice, target + column, value)


@compiled
def copy_rows(lattice: Floats, width: int, sources: Rows, targets: Rows, start: int, stop: int) -> None:
    """Copy row sources[i] to row targets[i] for i from start to stop − 1."""
    like = zeros(ONE_REGISTER)
    for i in range(start, stop):
        source, target = np.int64(sources[i]) * width, np.int64(targets[i]) * width
        for column in range(0, width, WIDTH):
            store(lattice, target + column, load(lattice, source + column, like))


@compiled
def masses(offsets: Rows, weights: Floats, lattice: Doubles, out: Doubles, splats: bool, start: int, stop: int) -> None:
    """`splat` of ones into rows of one float64, or else `slice_` of them into out (N,)."""
    for p in range(start, stop):
        value = 0.0
        for r in range(offsets.shape[1]):
            if splats:
                lattice[offsets[p, r]] += weights[p, r]
            else:
                value += weights[p, r] * lattice[offsets[p, r]]
        if not splats:
            out[p] = value


@compiled
def blur_masses(lattice: Doubles, chains: Rows) -> None:
    """The blur along one axis of rows of one float64."""
    before = 0.0
    for i in range(len(chains)):
        row = chains[i]
        if row >= 0:
            after = chains[i + 1]
            current = lattice[row]
            lattice[row] = current + 0.5 * (before + lattice[after if after >= 0 else -1 - after])
            before = current
        else:
            lattice[-1 - row] += 0.5 * before
            before = 0.0
