"""How the tensors of one layer become those of another: shapes, channels of pictures, classes by name, thinning out."""

import math
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from pixelwise.errors import BadOption, ShapeError, unknown_name
from pixelwise.surgery.transplant_layers import Layer, holds, written

NewChannels = Literal["mean", "copy", "start"]
COLORS = 3  # channels that are reversed between RGB and BGR


@dataclass(frozen=True)
class Fit:
    """How one layer gets the tensors of another; `values` are made when they are called for."""

    how: str
    exact: bool
    values: dict[str, Callable[[], Tensor]]


@dataclass(frozen=True)
class Classes:
    """The classes of both networks, and which are the same."""

    source: tuple[str, ...]
    target: tuple[str, ...]

    @classmethod
    def of(cls, source: Sequence[str] | None, target: Sequence[str] | None) -> "Classes | None":
        """From the names of both networks; None where neither has any."""
        if source is None and target is None:
            return None
        if source is None or target is None:
            lacking = "source_classes" if source is None else "target_classes"
            raise BadOption(f"classes are matched by name where both networks' are given; {lacking} is missing")
        for name, names in (("source_classes", source), ("target_classes", target)):
            if isinstance(names, str) or not names:
                raise BadOption(f"{name} must be a list of names, got {names!r}")
            twice = [one for one, count in Counter(map(_plain, names)).items() if count > 1]
            if twice:
                raise BadOption(f"{name} names {twice[0]!r} twice (upper and lower case are alike)")
        return cls(tuple(source), tuple(target))

    @property
    def same(self) -> bool:
        """Whether both have the same classes in the same order."""
        return [*map(_plain, self.source)] == [*map(_plain, self.target)]

    def told(self) -> str:
        """How many classes both have, and which only the target."""
        mine = {place for place, _ in self.places}
        lacking = [name for place, name in enumerate(self.target) if place not in mine]
        told = f"{len(mine)} of {len(self.target)} classes by name"
        return told + (f", at start: {', '.join(lacking[:8])}{', …' if len(lacking) > 8 else ''}" if lacking else "")

    @property
    def places(self) -> list[tuple[int, int]]:
        """(index in the target, index in the source) of each class that both have."""
        index = {_plain(name): place for place, name in enumerate(self.source)}
        return [(place, index[_plain(name)]) for place, name in enumerate(self.target) if _plain(name) in index]


@dataclass(frozen=True)
class Rows:
    """Outputs of a layer of the target, and those of the source's that they take."""

    ours: Sequence[int]
    theirs: Sequence[int]
    how: str


@dataclass
class Fitting:
    """Decides how one layer fits another."""

    theirs: dict[str, Layer]
    ours: dict[str, Layer]
    new_channels: NewChannels
    reverse_channels: bool
    classes: Classes | None
    decimate: bool
    scores: set[str] | None = None  # paths in the target; None while every layer of fitting size may be one

    def __post_init__(self) -> None:
        convolutions = {path: layer for path, layer in self.ours.items() if layer.convolution}
        self.known: dict[Hashable, int] = {}
        self.pictures = next(iter(convolutions.values())).channels()[0] if convolutions else 0
        given = {layer.channels()[1] for layer in self.ours.values()}
        self.readers = {
            path
            for place, (path, layer) in enumerate(convolutions.items())
            if not layer.transposed and layer.channels()[0] == self.pictures and not (place and self.pictures in given)
        }

    def find_score_layers(self, pairs: Mapping[str, str | None], named: Sequence[str] | None) -> None:
        """Set `scores` to the layers named, or to those that give as many channels as there are classes."""
        if isinstance(named, str):
            raise BadOption(f"score_layers must be a list of paths, got {named!r}")
        for path in named or ():
            if not any(holds(path, layer) for layer in self.ours):
                raise unknown_name("layer of the target", path, self.ours)
        self.scores = {layer for layer in self.ours if any(holds(path, layer) for path in named or ())}
        if self.classes is None:
            return
        counts = len(self.classes.source), len(self.classes.target)
        for which, count, layers in zip(("source", "target"), counts, (self.theirs, self.ours), strict=True):
            if not any(count in (layer.channels()[1], *_outer(layer)) for layer in layers.values()):
                raise BadOption(
                    f"{which}_classes holds {count} names, but no layer of the {which} gives {count} channels"
                )
        if named is not None or self.classes.same:
            return
        found = [path for path, of in pairs.items() if of is not None and self._gives(path, of) == counts]
        features = [
            path for path, layer in self.ours.items() if path not in self.readers and _goes_on(layer, counts[1])
        ]
        if found and features and counts[0] == counts[1]:
            raise BadOption(
                f"{len(found)} layers give {counts[1]} channels, as many as there are classes, and {features[0]} makes "
                f"other features of so many: say in score_layers which score classes, of {', '.join(found[:4])}"
                f"{', …' if len(found) > 4 else ''}"
            )
        self.scores = set(found)

    def worth(self, theirs: Layer, ours: Layer) -> int:
        """How well two layers fit before the score layers are known: 0 not at all, 3 with equal shapes, else 2."""
        pair = theirs.kind, ours.kind, ours.path in self.readers
        if pair not in self.known:
            fit = self.fit(theirs, ours)
            self.known[pair] = 0 if isinstance(fit, str) else 3 if fit.exact else 2
        return self.known[pair]

    def fit(self, theirs: Layer, ours: Layer) -> Fit | str:
        """How `ours` gets the tensors of `theirs`, or why it does not."""
        common = [name for name in ours.tensors if name in theirs.tensors]
        if not common:
            return f"the source's holds {', '.join(theirs.tensors)}, this {', '.join(ours.tensors)}"
        if theirs.module is not None and theirs.convolution and ours.convolution:
            if theirs.transposed != ours.transposed:
                return f"the source's is {type(theirs.module).__name__}, this {type(ours.module).__name__}"
        if theirs.module is not None and theirs.groups != ours.groups and not (theirs.depthwise and ours.depthwise):
            return f"has {ours.groups} groups, the source's {theirs.groups}"
        rows = self._rows(theirs, ours)
        if isinstance(rows, str):
            return rows
        notes = [rows.how] if rows is not None else []
        values: dict[str, Callable[[], Tensor]] = {}
        for name in common:
            given, start = theirs.tensors[name], ours.tensors[name]
            if name == "weight" and min(given.dim(), start.dim()) > 1:
                fitted = self._weight(theirs, ours, rows, notes)
            else:
                fitted = _vector(name, given, start, rows, self._gives(ours.path, theirs.path))
            if isinstance(fitted, str):
                return fitted
            values[name] = fitted
        exact = not notes
        notes = notes or ["same shape"]
        lacking = [name for name in ours.tensors if name not in theirs.tensors]
        dropped = [name for name in theirs.tensors if name not in ours.tensors]
        notes += [f"{name} at start" for name in lacking] + [f"the source's {name} unused" for name in dropped]
        return Fit("; ".join(notes), exact, values)

    def _rows(self, theirs: Layer, ours: Layer) -> "Rows | str | None":
        """Which outputs of one layer the other's take; None for all in their order."""
        given, wanted = gives = self._gives(ours.path, theirs.path)
        if self._by_class(ours, gives):
            if ours.groups > 1 and not ours.depthwise:
                return f"gives classes in {ours.groups} groups"
            return self._class_rows() or "no class of the source has one of its names"
        if given == wanted:
            return None
        if not self._thins_out(theirs, ours):
            return f"gives {wanted} channels, the source's {given}"
        return Rows(range(wanted), _even(given, wanted), f"{wanted} of {given} filters")

    def _weight(self, theirs: Layer, ours: Layer, rows: "Rows | None", notes: list[str]) -> Callable[[], Tensor] | str:
        given, start = theirs.tensors["weight"], ours.tensors["weight"]
        swapped = ours.transposed and ours.groups == 1 and given.dim() > 2
        wanted = start.transpose(0, 1) if swapped else start
        shape = given.transpose(0, 1).shape if swapped else given.shape
        windows = self._windows(theirs, ours, shape, wanted.shape)
        if windows is None:
            return f"takes {written(wanted.shape[1:])} inputs, the source's {written(shape[1:])}"
        for layer, matrix, as_window in ((theirs, shape, windows[0]), (ours, wanted.shape, windows[1])):
            channels = layer.before.channels()[1] if layer.before is not None else 0
            if len(matrix) == 2 < len(as_window) and channels not in (0, as_window[1]) and matrix[1] % channels == 0:
                whose = "the source's" if layer is theirs else "its"
                return f"{whose} {matrix[1]} inputs are cells of {channels} channels, not of {as_window[1]}"
        seen, view = windows
        if len(shape) != wanted.dim():
            flat, window = (shape[1], seen[1:]) if len(shape) == 2 else (wanted.shape[1], view[1:])
            notes.append(f"{flat} inputs {'as' if len(shape) == 2 else 'from'} {written(window)}")
        reads = ours.path in self.readers
        reverse = reads and self.reverse_channels
        if reverse:
            if seen[1] < COLORS:
                return f"the source's reads {seen[1]} channels, of which no {COLORS} can be reversed"
            notes.append("channels reversed")
        columns = None
        takes = theirs.channels(ours)[0], ours.channels()[0]
        between = ours.transposed or takes[0] != takes[1] or (ours.before and ours.before.path in (self.scores or ()))
        if between and ours.groups == 1 and self._by_class(ours, takes):
            columns = self._class_rows()
            notes += [columns.how] if columns is not None and rows is None else []
        thin = seen[1]
        if seen[1] != view[1] and columns is None:
            if reads and ours.groups == 1:
                notes.append(self._new_channels(seen[1], view[1]))
            elif not self.decimate or ours.groups > 1 or seen[1] < view[1]:
                return f"takes {view[1]} channels, the source's {seen[1]}"
            else:
                thin = view[1]
                notes.append(f"{view[1]} of {seen[1]} inputs")
        if seen[2:] != view[2:]:
            if not self.decimate or any(many < few for many, few in zip(seen[2:], view[2:], strict=True)):
                return f"has {written(view[2:])} taps, the source's {written(seen[2:])}"
            notes.append(f"{written(view[2:])} of {written(seen[2:])} taps")
        if not notes:
            return lambda: given

        def value() -> Tensor:
            weight = given.detach().to(start.device)
            weight = (weight.transpose(0, 1) if swapped else weight).reshape(seen)
            if reverse:
                weight = torch.cat([weight[:, :COLORS].flip(1), weight[:, COLORS:]], 1)
            outputs: Sequence[int] = range(view[0])
            if rows is not None:
                weight, outputs = weight[[*rows.theirs]], rows.ours
            weight = decimate(weight, taps=view[2:], filters=weight.shape[0], inputs=thin)
            inputs: Sequence[int] = range(view[1])
            if columns is not None:
                weight, inputs = weight[:, [*columns.theirs]], columns.ours
            elif weight.shape[1] != view[1]:
                weight = _widened(weight, view[1], self.new_channels)
                inputs = inputs[: weight.shape[1]]
            placed = wanted.detach().reshape(view).clone()
            placed[torch.tensor(outputs)[:, None], torch.tensor(inputs)] = weight.to(placed.dtype)
            placed = placed.reshape(wanted.shape)
            return placed.transpose(0, 1) if swapped else placed

        return value

    def _windows(
        self, theirs: Layer, ours: Layer, given: torch.Size, wanted: torch.Size
    ) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
        """Both weights as (O, C, *taps), of the same rank; None where that cannot be."""
        if len(given) == len(wanted) > 2 or given[1:] == wanted[1:]:
            return tuple(given), tuple(wanted)
        if min(len(given), len(wanted)) > 2 or ours.groups > 1 or ours.transposed:
            return None
        if len(wanted) > 2 and given[1] == math.prod(wanted[1:]):
            return (given[0], *wanted[1:]), tuple(wanted)
        if len(given) > 2 and wanted[1] == math.prod(given[1:]):
            return tuple(given), (wanted[0], *given[1:])
        if not self.decimate:
            return None
        seen, view = _window(theirs, given, wanted), _window(ours, wanted, given)
        return (seen, view) if seen is not None and view is not None else None

    def _gives(self, ours: str, theirs: str) -> tuple[int, int]:
        """The channels that a layer of the source gives, and one of the target."""
        return self.theirs[theirs].channels(self.ours[ours])[1], self.ours[ours].channels()[1]

    def _by_class(self, ours: Layer, channels: tuple[int, int]) -> bool:
        """Whether these channels of a layer, of the source's and of the target's, are the classes."""
        if self.classes is None or self.classes.same or not (self.scores is None or ours.path in self.scores):
            return False
        return channels == (len(self.classes.source), len(self.classes.target))

    def _class_rows(self) -> "Rows | None":
        assert self.classes is not None
        mine, other = [place for place, _ in self.classes.places], [place for _, place in self.classes.places]
        return Rows(mine, other, self.classes.told()) if mine else None

    def _thins_out(self, theirs: Layer, ours: Layer) -> bool:
        """Whether fewer channels are fewer filters, and not other classes: the next layers take them."""
        given, wanted = self._gives(ours.path, theirs.path)
        if not self.decimate or given < wanted or ours.path in (self.scores or ()):
            return False
        if (ours.groups > 1 and not ours.depthwise) or ours.after is None or ours.after.transposed:
            return False
        if ours.after.channels()[0] == self.pictures:
            return False
        return _takes(ours.after, wanted) and (theirs.after is None or _takes(theirs.after, given))

    def _new_channels(self, given: int, wanted: int) -> str:
        if wanted == 1:
            return f"the sum of {given} channels"
        if wanted < given:
            return f"the first {wanted} of {given} channels"
        what = {"mean": "the mean", "copy": "copies", "start": "at start"}[self.new_channels]
        return f"{given} channels to {wanted}, the new ones {what}"


def _vector(
    name: str, given: Tensor, start: Tensor, rows: Rows | None, gives: tuple[int, int]
) -> Callable[[], Tensor] | str:
    """A bias, a running statistic, or anything else that is no weight of several axes.

    Args:
        gives: how many channels the source's layer gives, and the target's.
    """
    other = f"{name} holds {written(start.shape)}, the source's {written(given.shape)}"
    if rows is None or start.dim() == 0:
        return (lambda: given) if given.shape == start.shape else other
    if given.dim() != start.dim() or gives != (len(given), len(start)):
        return other

    def value() -> Tensor:
        placed = start.detach().clone()
        placed[[*rows.ours]] = given.detach().to(placed.device, placed.dtype)[[*rows.theirs]]
        return placed

    return value


def _window(layer: Layer, shape: torch.Size, like: torch.Size) -> tuple[int, ...] | None:
    """A weight as (O, C, side, side); a flat one has C from the layer before, or from the other network's."""
    if len(shape) > 2:
        return tuple(shape)
    before = [layer.before.channels()[1]] if layer.before is not None else []
    for channels in [*before, *([like[1]] if len(like) > 2 else [])]:
        cells, rest = divmod(shape[1], channels)
        if not rest and math.isqrt(cells) ** 2 == cells:
            return shape[0], channels, math.isqrt(cells), math.isqrt(cells)
    return None


def _widened(weight: Tensor, channels: int, new_channels: NewChannels) -> Tensor:
    """(O, C, …) → (O, `channels`, …); C channels where the new ones are to stay as they are."""
    given = weight.shape[1]
    if channels == 1:
        return weight.sum(1, keepdim=True)
    if channels < given or new_channels == "copy":
        return weight[:, [place % given for place in range(channels)]]
    if new_channels == "start":
        return weight
    return torch.cat([weight, *[weight.mean(1, keepdim=True)] * (channels - given)], 1)


def decimate(weight: Tensor, *, taps: int | tuple[int, ...], filters: int, inputs: int | None = None) -> Tensor:
    """Evenly spaced taps, filters and inputs of a convolution: (O, I, k, k) → (filters, inputs, taps, taps).

    So VGG-16's fc6 becomes that of DeepLab. Of n, m are kept at the rounded places 0, (n−1)/(m−1), …, n−1; as the
    places depend on n and m alone, inputs thinned out like the filters before them are those filters' own.

    Args:
        taps: on each axis; one number for all.
        inputs: I if left out.

    Raises:
        ShapeError: more are wanted than there are.

    Source: Chen et al. 2015, §3.2, where fc6 is thinned out; which taps and filters were kept is UNVERIFIED.

    >>> decimate(torch.arange(49.0).reshape(1, 1, 7, 7), taps=3, filters=1)[0, 0]
    tensor([[ 0.,  3.,  6.],
            [21., 24., 27.],
            [42., 45., 48.]])
    """
    sides = (taps,) * (weight.dim() - 2) if isinstance(taps, int) else taps
    wanted = (filters, weight.shape[1] if inputs is None else inputs, *sides)
    if len(wanted) != weight.dim() or not all(0 < few <= many for few, many in zip(wanted, weight.shape, strict=True)):
        raise ShapeError(
            f"of {written(weight.shape)} numbers {written(wanted)} are wanted; each must be from 1 up, and no more"
        )
    for axis, few in enumerate(wanted):
        if few < weight.shape[axis]:
            weight = weight.index_select(axis, torch.tensor(_even(weight.shape[axis], few), device=weight.device))
    return weight


def _even(many: int, few: int) -> list[int]:
    """`few` evenly spaced of the places 0 … many − 1; the first of one."""
    return [round(place * (many - 1) / max(few - 1, 1)) for place in range(few)]


def _goes_on(layer: Layer, channels: int) -> bool:
    """The layer takes so many channels and gives another number."""
    takes, gives = layer.channels()
    return takes == channels != gives


def _takes(layer: Layer, channels: int) -> bool:
    inputs = layer.channels()[0]
    return inputs == channels or (layer.flat and inputs % channels == 0)


def _outer(layer: Layer) -> tuple[int, ...]:
    """What a weight of a file, of an unknown kind, may give."""
    return tuple(layer.weight.shape[:2]) if layer.module is None and layer.weight is not None else ()


def _plain(name: str) -> str:
    return name.strip().casefold()
