"""Weights of one network put into another, layer by layer, with a report of what became of each.

A layer is what stands under one module path: weight, bias, running statistics. Layers are paired by name, or by order
and shape; a pair of other shapes is fitted where the papers say how:

| the source's layer       | the target's layer           | what it gets                                             |
| ------------------------ | ---------------------------- | -------------------------------------------------------- |
| fully connected          | a convolution, or the reverse | the same numbers, (O, C·h·w) as (O, C, h, w)            |
| first, 3 channels        | first, more channels         | their mean, copies, or what it starts with (FCN, §5)     |
| first, N channels        | first, 1 channel             | their sum, which answers a gray picture as before        |
| scores of named classes  | scores of other named classes | each class that both have, by its name                  |
| k × k taps, O filters    | fewer taps, inputs, filters  | evenly spaced ones, if asked (DeepLab, §3.2)             |

Everything else stays as it starts, and the report says why. Long, Shelhamer, Darrell, arXiv 1411.4038, §3.1, §4.2, §5;
Chen et al., arXiv 1412.7062, §3.2.
"""

import math
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import Literal

import torch
from torch import Tensor, nn

from pixelwise.errors import BadOption, ShapeError, WeightsError, unknown_name

NewChannels = Literal["mean", "copy", "start"]
WRAPPERS = ("module.", "_orig_mod.")  # what DataParallel and torch.compile put before every name
WIDTH = 60  # of a report's column; longer names push their line to the right
COLORS = 3  # channels that are reversed between RGB and BGR
Pairs = dict[str, str | None]  # path in the target: path in the source, or none for a layer that stays
Move = tuple[tuple[str, str, tuple[str, ...]], str, str]
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


@dataclass(frozen=True)
class Entry:
    """One layer of a report.

    Attributes:
        target: its path in the target; "" for a layer of the source that nothing took.
        source: the path of the layer that it was paired with; "" for none.
        how: what was done, or why nothing.
    """

    target: str
    source: str
    how: str


@dataclass(frozen=True)
class Transplant:
    """What became of each layer: of the target in `copied`, `reshaped` and `left`, of the source in `unused`.

    Attributes:
        copied: has the source's numbers in the same places.
        reshaped: has them in another shape or order, or some of them; `how` says which.
        left: stays as it was; `source` names the layer that did not fit, if there was one.
        unused: layers of the source that no layer of the target was paired with.
    """

    copied: tuple[Entry, ...]
    reshaped: tuple[Entry, ...]
    left: tuple[Entry, ...]
    unused: tuple[Entry, ...]

    @property
    def complete(self) -> bool:
        """No layer of the target stayed as it was."""
        return not self.left

    def __str__(self) -> str:
        """A table; neighbors with one fate share a line."""
        parts = {"copied": self.copied, "reshaped": self.reshaped, "left at start": self.left, "unused": self.unused}
        lines = [", ".join(f"{len(entries)} {name}" for name, entries in parts.items())]
        rows = [(name, *row) for name, entries in parts.items() for row in _rows(entries)]
        width = max((len(where) for _, where, _ in rows if len(where) <= WIDTH), default=0)
        lines += [f"{name:<13}  {where:<{width}}  {how}" for name, where, how in rows]
        return "\n".join(lines)


def transplant(
    source: nn.Module | Mapping[str, Tensor],
    target: nn.Module,
    *,
    rename: Mapping[str, str | None] | None = None,
    match: Literal["name", "shape"] = "name",
    new_channels: NewChannels = "mean",
    reverse_channels: bool = False,
    source_classes: Sequence[str] | None = None,
    target_classes: Sequence[str] | None = None,
    score_layers: Sequence[str] | None = None,
    decimate: bool = False,
    quiet: bool = False,
) -> Transplant:
    """Give `target`, in place, the weights of `source` that fit, and tell (print, unless `quiet`) what became of each.

    Layers are paired by `rename` first, then by equal paths, then by the ends of their paths, where these belong
    together in one way alone: `classifier.fc6` and `backbone.fc6`. What requires a gradient, dtypes and devices stay
    the target's.

    Args:
        source: a network, or tensors by name, as a file holds them; "module." before all names is dropped.
        rename: {path in the target: path in the source}, of layers or of modules that hold them; None for a layer that
            stays as it is.
        match: "shape" pairs what names leave over in the order of the layers, where kinds and shapes fit; numbers,
            as `features.0`, then are no names.
        new_channels: of the first convolution, where the target's reads more channels than the source's: the "mean" of
            the source's, a "copy" of them in turn, or what they "start" with.
        reverse_channels: one network reads RGB and the other BGR; the first three channels of the first convolution
            change places. What holds for it holds for others that take as many channels, if no layer gives so many:
            they read the picture, too.
        source_classes, target_classes: the classes' names, in order, upper and lower case alike. With both, layers
            that score classes take each class by its name; others stay as they start. Without, a layer of another
            number of classes stays as it starts.
        score_layers: paths in the target of the layers that give scores of classes, or of modules that hold them; what
            one of them takes from another are the classes, too. If left out, those that give as many channels as there
            are classes.
        decimate: a layer with fewer taps, inputs or filters than the source's gets evenly spaced ones.

    Raises:
        BadOption: an option names what is not there, or does not say which layers are meant.
        WeightsError: nothing of the source fits.

    Source: Long et al. 2015, §3.1, §4.2, §5; Chen et al. 2015, §3.2.

    >>> report = transplant({"fc6.weight": torch.ones(4, 18)}, nn.ModuleDict({"fc6": nn.Conv2d(2, 4, 3, bias=False)}))
    0 copied, 1 reshaped, 0 left at start, 0 unused
    reshaped       fc6  18 inputs as 2 × 3 × 3
    """
    if match not in ("name", "shape"):
        raise BadOption(f'match must be "name" or "shape", got {match!r}')
    if new_channels not in ("mean", "copy", "start"):
        raise BadOption(f'new_channels must be "mean", "copy" or "start", got {new_channels!r}')
    theirs, ours = _layers(source, "source"), _layers(target, "target")
    classes = _Classes.of(source_classes, target_classes)
    fitting = _Fitting(theirs, ours, new_channels, reverse_channels, classes, decimate)
    pairs = _renamed(theirs, ours, rename or {})
    doubtful = _pair_by_name(theirs, ours, pairs, None if match == "name" else fitting)
    if match == "shape":
        _pair_by_order(theirs, ours, pairs, fitting)
    fitting.find_score_layers(pairs, score_layers)
    report, values = _planned(theirs, ours, pairs, doubtful, fitting)
    if not values:
        raise WeightsError(_nothing_fits(theirs, ours, match, report))
    for which, layers, other in (("source", theirs, ours), ("target", ours, theirs)):
        if _meta(layers) and not _meta(other):
            raise BadOption(f"the {which} is on the meta device and has no numbers; make or load it on another")
    with torch.no_grad():
        for tensor, value in values:
            tensor.copy_(value())
    if not quiet:
        print(report)
    return report


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
            f"of {_sizes(weight.shape)} numbers {_sizes(wanted)} are wanted; each must be from 1 up, and no more"
        )
    for axis, few in enumerate(wanted):
        if few < weight.shape[axis]:
            weight = weight.index_select(axis, torch.tensor(_even(weight.shape[axis], few), device=weight.device))
    return weight


@dataclass(eq=False)
class _Layer:
    """The tensors under one path of a network, and what stands around it there.

    Attributes:
        before, after: the next layers that are no mere factors, in the network's order.
    """

    path: str
    tensors: dict[str, Tensor]
    module: nn.Module | None = None
    before: "_Layer | None" = None
    after: "_Layer | None" = None

    @property
    def weight(self) -> Tensor | None:
        return self.tensors.get("weight")

    @property
    def transposed(self) -> bool:
        return isinstance(self.module, TRANSPOSED)

    @property
    def convolution(self) -> bool:
        known = self.module is None or hasattr(self.module, "kernel_size")
        return known and self.weight is not None and self.weight.dim() > 2

    @property
    def flat(self) -> bool:
        return self.weight is not None and self.weight.dim() == 2

    @property
    def groups(self) -> int:
        return int(getattr(self.module, "groups", 1))

    def channels(self, like: "_Layer | None" = None) -> tuple[int, int]:
        """What the layer takes and gives, (0, 0) without a weight; tensors of a file are of the kind of `like`."""
        weight, kind = self.weight, self if like is None or self.module is not None else like
        if weight is None or not weight.dim():
            return 0, 0
        if weight.dim() == 1 or (kind.depthwise and weight.shape[1] == 1):
            return weight.shape[0], weight.shape[0]
        if kind.transposed and weight.dim() > 2:
            return weight.shape[0], weight.shape[1] * kind.groups
        return weight.shape[1] * kind.groups, weight.shape[0]

    @cached_property
    def kind(self) -> Hashable:
        """All that counts for what fits: equal for layers of equal sizes between layers of equal sizes."""
        shapes = tuple((name, tensor.shape) for name, tensor in self.tensors.items())
        around = tuple(
            layer and (layer.channels(), layer.flat, layer.transposed) for layer in (self.before, self.after)
        )
        return shapes, self.module is None, self.convolution, self.transposed, self.groups, around

    @property
    def depthwise(self) -> bool:
        return self.weight is not None and 1 < self.groups == self.weight.shape[0] and self.weight.shape[1] == 1


@dataclass(frozen=True)
class _Fit:
    """How one layer gets the tensors of another; `values` are made when they are called for."""

    how: str
    exact: bool
    values: dict[str, Callable[[], Tensor]]


@dataclass(frozen=True)
class _Classes:
    """The classes of both networks, and which are the same."""

    source: tuple[str, ...]
    target: tuple[str, ...]

    @classmethod
    def of(cls, source: Sequence[str] | None, target: Sequence[str] | None) -> "_Classes | None":
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
class _Rows:
    """Outputs of a layer of the target, and those of the source's that they take."""

    ours: Sequence[int]
    theirs: Sequence[int]
    how: str


@dataclass
class _Fitting:
    """Decides how one layer fits another."""

    theirs: dict[str, _Layer]
    ours: dict[str, _Layer]
    new_channels: NewChannels
    reverse_channels: bool
    classes: _Classes | None
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

    def find_score_layers(self, pairs: Pairs, named: Sequence[str] | None) -> None:
        """Set `scores` to the layers named, or to those that give as many channels as there are classes."""
        if isinstance(named, str):
            raise BadOption(f"score_layers must be a list of paths, got {named!r}")
        for path in named or ():
            if not any(_holds(path, layer) for layer in self.ours):
                raise unknown_name("layer of the target", path, self.ours)
        self.scores = {layer for layer in self.ours if any(_holds(path, layer) for path in named or ())}
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

    def worth(self, theirs: _Layer, ours: _Layer) -> int:
        """How well two layers fit before the score layers are known: 0 not at all, 3 with equal shapes, else 2."""
        pair = theirs.kind, ours.kind, ours.path in self.readers
        if pair not in self.known:
            fit = self.fit(theirs, ours)
            self.known[pair] = 0 if isinstance(fit, str) else 3 if fit.exact else 2
        return self.known[pair]

    def fit(self, theirs: _Layer, ours: _Layer) -> _Fit | str:
        """How `ours` gets the tensors of `theirs`, or why it does not."""
        common = [name for name in ours.tensors if name in theirs.tensors]
        if not common:
            return f"the source's holds {', '.join(theirs.tensors)}, this {', '.join(ours.tensors)}"
        if theirs.module is not None and theirs.convolution and ours.convolution:
            if theirs.transposed != ours.transposed:
                return f"the source's is {type(theirs.module).__name__}, this {type(ours.module).__name__}"
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
        return _Fit("; ".join(notes), exact, values)

    def _rows(self, theirs: _Layer, ours: _Layer) -> "_Rows | str | None":
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
        return _Rows(range(wanted), _even(given, wanted), f"{wanted} of {given} filters")

    def _weight(
        self, theirs: _Layer, ours: _Layer, rows: "_Rows | None", notes: list[str]
    ) -> Callable[[], Tensor] | str:
        given, start = theirs.tensors["weight"], ours.tensors["weight"]
        swapped = ours.transposed and ours.groups == 1 and given.dim() > 2
        wanted = start.transpose(0, 1) if swapped else start
        shape = given.transpose(0, 1).shape if swapped else given.shape
        windows = self._windows(theirs, ours, shape, wanted.shape)
        if windows is None:
            return f"takes {_sizes(wanted.shape[1:])} inputs, the source's {_sizes(shape[1:])}"
        seen, view = windows
        if len(shape) != wanted.dim():
            flat, window = (shape[1], seen[1:]) if len(shape) == 2 else (wanted.shape[1], view[1:])
            notes.append(f"{flat} inputs {'as' if len(shape) == 2 else 'from'} {_sizes(window)}")
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
                return f"has {_sizes(view[2:])} taps, the source's {_sizes(seen[2:])}"
            notes.append(f"{_sizes(view[2:])} of {_sizes(seen[2:])} taps")
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
        self, theirs: _Layer, ours: _Layer, given: torch.Size, wanted: torch.Size
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

    def _by_class(self, ours: _Layer, channels: tuple[int, int]) -> bool:
        """Whether these channels of a layer, of the source's and of the target's, are the classes."""
        if self.classes is None or self.classes.same or not (self.scores is None or ours.path in self.scores):
            return False
        return channels == (len(self.classes.source), len(self.classes.target))

    def _class_rows(self) -> "_Rows | None":
        assert self.classes is not None
        mine, other = [place for place, _ in self.classes.places], [place for _, place in self.classes.places]
        return _Rows(mine, other, self.classes.told()) if mine else None

    def _thins_out(self, theirs: _Layer, ours: _Layer) -> bool:
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


def _layers(network: nn.Module | Mapping[str, Tensor], which: str) -> dict[str, _Layer]:
    """The layers of a network by path, in its order."""
    state = network.state_dict(keep_vars=True) if isinstance(network, nn.Module) else network
    if not isinstance(state, Mapping):
        raise BadOption(f"{which} must be a network or tensors by name, got {type(state).__name__}")
    modules = dict(network.named_modules()) if isinstance(network, nn.Module) else {}
    layers: dict[str, _Layer] = {}
    for name, tensor in state.items():
        if name.rpartition(".")[2] == "_extra_state":
            continue
        if not isinstance(tensor, Tensor):
            raise BadOption(
                f"{which} holds {type(tensor).__name__} under {name!r}; pass the mapping of names to tensors"
            )
        path, _, leaf = name.rpartition(".")
        layers.setdefault(path, _Layer(path, {}, modules.get(path))).tensors[leaf] = tensor
    for wrapper in WRAPPERS:
        if layers and all(f"{path}.".startswith(wrapper) for path in layers):
            layers = {f"{path}."[len(wrapper) :].rstrip("."): layer for path, layer in layers.items()}
    for path, layer in layers.items():
        layer.path = path
    _link(layers.values())
    _link(reversed(layers.values()), attribute="after")
    return layers


def _link(layers: Iterable[_Layer], attribute: str = "before") -> None:
    nearest: _Layer | None = None
    for layer in layers:
        setattr(layer, attribute, nearest)
        if layer.weight is not None and layer.weight.dim() > 1:
            nearest = layer


def _renamed(theirs: dict[str, _Layer], ours: dict[str, _Layer], rename: Mapping[str, str | None]) -> Pairs:
    """The pairs that the caller names; the longest path that holds a layer counts."""
    pairs: Pairs = {}
    for path, other in sorted(rename.items(), key=lambda item: -len(item[0])):
        below = [layer for layer in ours if _holds(path, layer)]
        if not below:
            raise unknown_name("layer of the target", path, ours)
        if other is not None and not any(_holds(other, layer) for layer in theirs):
            raise unknown_name("layer of the source", other, theirs)
        for layer in below:
            named = None if other is None else f"{other}.{layer[len(path) :].strip('.')}".strip(".")
            if layer not in pairs and (named is None or named in theirs):
                pairs[layer] = named
    return pairs


def _pair_by_name(
    theirs: dict[str, _Layer], ours: dict[str, _Layer], pairs: Pairs, fitting: _Fitting | None
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
        (_moved(mine, other), mine, other)
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


def _pair_by_order(theirs: dict[str, _Layer], ours: dict[str, _Layer], pairs: Pairs, fitting: _Fitting) -> None:
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


def _planned(
    theirs: dict[str, _Layer], ours: dict[str, _Layer], pairs: Pairs, doubtful: dict[str, str], fitting: _Fitting
) -> tuple[Transplant, list[tuple[Tensor, Callable[[], Tensor]]]]:
    """The report, and what is to be copied."""
    copied: list[Entry] = []
    reshaped: list[Entry] = []
    left: list[Entry] = []
    values = []
    for path, layer in ours.items():
        other = pairs.get(path)
        if other is None:
            how = "the source has no such layer"
            if path in pairs:
                how = "kept, as rename says"
            elif path in doubtful:
                how = f"{doubtful[path]} of the source and others could be meant; say which in rename"
            left.append(Entry(path, "", how))
            continue
        fit = fitting.fit(theirs[other], layer)
        if isinstance(fit, str):
            left.append(Entry(path, other, fit))
            continue
        (copied if fit.exact else reshaped).append(Entry(path, other, fit.how))
        values += [(layer.tensors[name], value) for name, value in fit.values.items()]
    used = set(pairs.values())
    unused = [Entry("", path, "no layer of the target was paired with it") for path in theirs if path not in used]
    return Transplant(tuple(copied), tuple(reshaped), tuple(left), tuple(unused)), values


def _vector(
    name: str, given: Tensor, start: Tensor, rows: _Rows | None, gives: tuple[int, int]
) -> Callable[[], Tensor] | str:
    """A bias, a running statistic, or anything else that is no weight of several axes.

    Args:
        gives: how many channels the source's layer gives, and the target's.
    """
    other = f"{name} holds {_sizes(start.shape)}, the source's {_sizes(given.shape)}"
    if rows is None or start.dim() == 0:
        return (lambda: given) if given.shape == start.shape else other
    if given.dim() != start.dim() or gives != (len(given), len(start)):
        return other

    def value() -> Tensor:
        placed = start.detach().clone()
        placed[[*rows.ours]] = given.detach().to(placed.device, placed.dtype)[[*rows.theirs]]
        return placed

    return value


def _window(layer: _Layer, shape: torch.Size, like: torch.Size) -> tuple[int, ...] | None:
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


def _goes_on(layer: _Layer, channels: int) -> bool:
    """The layer takes so many channels and gives another number."""
    takes, gives = layer.channels()
    return takes == channels != gives


def _takes(layer: _Layer, channels: int) -> bool:
    inputs = layer.channels()[0]
    return inputs == channels or (layer.flat and inputs % channels == 0)


def _outer(layer: _Layer) -> tuple[int, ...]:
    """What a weight of a file, of an unknown kind, may give."""
    return tuple(layer.weight.shape[:2]) if layer.module is None and layer.weight is not None else ()


def _even(many: int, few: int) -> list[int]:
    """`few` evenly spaced of the places 0 … many − 1; the first of one."""
    return [round(place * (many - 1) / max(few - 1, 1)) for place in range(few)]


def _plain(name: str) -> str:
    return name.strip().casefold()


def _leaf(path: str) -> str:
    return path.rpartition(".")[2]


def _holds(path: str, layer: str) -> bool:
    return not path or f"{layer}.".startswith(f"{path}.")


def _moved(mine: str, other: str) -> tuple[str, str, tuple[str, ...]]:
    """What comes before the common end of two paths, in each, and the end."""
    ours, theirs = mine.split("."), other.split(".")
    common = 0
    while common < min(len(ours), len(theirs)) and ours[-1 - common] == theirs[-1 - common]:
        common += 1
    to, of = (".".join(words[: len(words) - common]) for words in (ours, theirs))
    return to, of, tuple(ours[len(ours) - common :])


def _sizes(sizes: Sequence[int]) -> str:
    return " × ".join(map(str, sizes)) or "one number"


def _rows(entries: Sequence[Entry]) -> list[tuple[str, str]]:
    """(where, how) of neighbors that have all but their names in common."""

    def fate(entry: Entry) -> tuple[str, ...]:
        return (entry.how, *(_moved(entry.target, entry.source)[:2] if entry.target and entry.source else ()))

    rows = []
    for _, alike in groupby(entries, key=fate):
        group = [*alike]
        ours, theirs = (_span([name for name in names if name]) for names in zip(*_names(group), strict=True))
        where = ours if ours == theirs or not theirs else f"{ours} ← {theirs}" if ours else theirs
        rows.append((f"{where} ({len(group)} layers)" if len(group) > 1 else where, group[0].how))
    return rows


def _names(group: Sequence[Entry]) -> list[tuple[str, str]]:
    return [(entry.target, entry.source) for entry in group]


def _span(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} … {names[-1]}" if names else ""


def _meta(layers: dict[str, _Layer]) -> bool:
    return any(tensor.is_meta for layer in layers.values() for tensor in layer.tensors.values())


def _nothing_fits(theirs: dict[str, _Layer], ours: dict[str, _Layer], match: str, report: Transplant) -> str:
    first = [
        f"{path or 'the network itself'} ({', '.join(f'{n} {_sizes(t.shape)}' for n, t in layer.tensors.items())})"
        for layers in (theirs, ours)
        for path, layer in [*layers.items()][:1]
    ]
    if len(first) < 2:
        return f"nothing to copy: the {'target' if theirs else 'source'} has no weights"
    advice = "name the pairs in rename" if match == "shape" else 'name the pairs in rename, or try match="shape"'
    reason = report.left[0]
    return (
        f"no layer of the source fits one of the target: it begins with {first[0]}, the target with {first[1]}; "
        f"{reason.target}: {reason.how}; {advice}"
    )
