"""What each operation of a graph needs when the maps that it takes become denser.

A map that becomes denser by f holds the original cells at 0, f, 2f …, and new cells between them. Of n cells at least
(n − 1)·f + 1 and at most n·f come; each rule keeps that, and so what lies beyond a border stays beyond it:

- a convolution, a pool, a border of zeros: windows take each f-th cell and borders are f times as wide; the stride is
  what is left between the grid before it and the one behind it;
- cell by cell, and along other dimensions than rows and columns: nothing;
- what joins maps: they may come by ways whose borders differ, so that a map of n cells has others between its last and
  the end than its twin; the longer one is cropped, which takes no original cell;
- all else has no rule, and is refused.

How long a map is, is known up to the picture's size: (a root, cells more than it). A window of stride 1 only adds
cells; with a stride it makes a new root.
"""

import inspect
import operator
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from math import prod
from typing import Any, NamedTuple, NoReturn

import torch
from torch import Tensor, fx, nn

from pixelwise.errors import SurgeryError
from pixelwise.surgery.dilated_pools import DilatedAvgPool2d, DilatedMaxPool2d, pair
from pixelwise.surgery.graph import Step, described, module_of, value

Pair = tuple[int, int]  # for rows and columns
Settings = dict[str, Any]  # attributes of a layer, with their new values


class Side(NamedTuple):
    """One dimension of a tensor."""

    factor: int  # from an original cell to the next
    length: tuple[Hashable, int]


class Window(NamedTuple):
    """Numbers of a convolution or a pool, for rows and columns; `after` is the border behind the map."""

    kernel: Pair
    stride: Pair
    padding: Pair
    dilation: Pair
    after: Pair


class Change(NamedTuple):
    """A call that stands in place of a node: of a function, or of a new layer."""

    target: Callable[..., Any] | nn.Module
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


class Rules:
    """Follows a graph node by node, and holds what must change; the network is left as it is.

    Args:
        traced: the graph.
        wanted: how much denser each map (N, C, H, W) becomes.
        dilate_first: whether convolutions that lose a stride are dilated by it.

    Raises:
        SurgeryError: an operation has no rule.
    """

    def __init__(self, traced: fx.GraphModule, wanted: Mapping[fx.Node, Pair], *, dilate_first: bool) -> None:
        self.wanted, self.dilate_first = wanted, dilate_first
        self.sides: dict[fx.Node, tuple[Side, ...]] = {}
        self.sizes: dict[fx.Node, Side | None] = {}  # of what becomes denser; None for other numbers made of them
        self.settings: dict[fx.Node, Settings] = {}  # of each call of a layer that has any
        self.changes: dict[fx.Node, Change] = {}
        self.crops: dict[fx.Node, list[int]] = {}  # joins, with the dimensions in which maps differ
        for node in traced.graph.nodes:
            self._follow(node)

    def _follow(self, node: fx.Node) -> None:
        if node.op == "output" or isinstance(node.target, type):  # a named tuple of maps
            return
        shape = _shape(node)
        denser = any(side.factor > 1 for source in node.all_input_nodes for side in self._of(source))
        sized = any(source in self.sizes for source in node.all_input_nodes)
        if shape is None:
            side = self._size(node)
            if (denser or sized) and (side is None or side.factor > 1):
                self.sizes[node] = side
            return
        self.sides[node] = _fresh(node)
        if node.op in ("placeholder", "get_attr"):
            return
        rule = _rule(node)
        goal = self.wanted.get(node, (1, 1))
        if not (denser or sized or goal != (1, 1)):
            if rule in FOLLOWED:
                self._follow_length(node, rule)
            return
        if rule is None or (sized and rule not in (Rules._reshape, Rules._index, Rules._pool2d)):
            _refuse(node)
        sides = rule(self, node)
        if len(sides) != len(shape) or (node in self.wanted and (sides[2].factor, sides[3].factor) != goal):
            _refuse(node)
        self.sides[node] = sides

    def _follow_length(self, node: fx.Node, rule: "Rule") -> None:
        """Of a map that stays as it is; without a rule it gets a root of its own."""
        try:
            sides = rule(self, node)
        except SurgeryError:
            return
        if len(sides) == len(self.sides[node]):
            self.sides[node] = sides

    def _size(self, node: fx.Node) -> Side | None:
        """What values.shape[1] or values.size(1) is the size of."""
        source, *index = node.args
        shape = source.args[0] if isinstance(source, fx.Node) and _name(node) == "getitem" and source.args else source
        sides = self._of(shape)
        return sides[index[0]] if len(index) == 1 and type(index[0]) is int and sides else None

    # windows

    def _convolution(self, node: fx.Node) -> tuple[Side, ...]:
        layer = module_of(node)
        assert isinstance(layer, nn.Conv2d)
        options = {name: getattr(layer, name) for name in ("stride", "padding", "dilation")}
        settings, sides = self._convolved(node, node.args[0], layer.kernel_size, options, self.dilate_first)
        if settings and not _is_torchs(layer, nn.Conv2d, "forward", "_conv_forward"):
            exact, _ = self._convolved(node, node.args[0], layer.kernel_size, options, False)
            self._try(node, layer, exact)
        self.settings[node] = settings
        return sides

    def _conv2d(self, node: fx.Node) -> tuple[Side, ...]:
        call = _arguments(node, ("input", "weight", "bias", "stride", "padding", "dilation", "groups"))
        options = {name: call.get(name, default) for name, default in (("stride", 1), ("padding", 0), ("dilation", 1))}
        kernel = _shape(call["weight"])
        if kernel is None or _holds_node(options):
            _refuse(node)
        settings, sides = self._convolved(node, call["input"], kernel[2:], options, self.dilate_first)
        if settings:
            settings.pop(BORDER)
            assert callable(node.target)
            self.changes[node] = Change(node.target, (), call | settings)
        return sides

    def _convolved(
        self, node: fx.Node, source: Any, kernel: Sequence[int], options: Settings, dilate_first: bool
    ) -> tuple[Settings, tuple[Side, ...]]:
        sizes, dilation = pair(tuple(kernel)), pair(options["dilation"])
        given = options["padding"]
        spans = (dilation[0] * (sizes[0] - 1), dilation[1] * (sizes[1] - 1))
        if given == "same":
            padding = spans[0] // 2, spans[1] // 2
            after = spans[0] - padding[0], spans[1] - padding[1]
        else:
            padding = after = (0, 0) if given == "valid" else pair(given)
        window = Window(sizes, pair(options["stride"]), padding, dilation, after)
        new, sides = self._window(node, source, window, dilate_first)
        if new == window:
            return {}, sides
        if padding != after and (new.padding, new.after) != (padding, after):
            _refuse(node, 'pads "same" with an even kernel, which torch cannot do for a denser map')
        (top, left), (below, behind) = new.padding, new.after
        settings = {"stride": new.stride, "dilation": new.dilation, BORDER: [left, behind, top, below]}
        return settings | ({} if isinstance(given, str) else {"padding": new.padding}), sides

    def _window(
        self, node: fx.Node, source: Any, window: Window, dilate_first: bool = False
    ) -> tuple[Window, tuple[Side, ...]]:
        """The window on the denser maps, and what comes of it."""
        sides = self.sides.get(source, ()) if isinstance(source, fx.Node) else ()
        if len(sides) != 4 or sides[0].factor > 1 or sides[1].factor > 1 or node not in self.wanted:
            _refuse(node)
        axes, grown = [], []
        for side, goal, kernel, stride, padding, dilation, after in zip(
            sides[2:], self.wanted[node], *window, strict=True
        ):
            left, rest = divmod(side.factor * stride, goal)
            if rest:
                _refuse(node)
            spread = goal if dilate_first and left < stride and kernel > 1 else side.factor
            dilation = dilation * spread if kernel > 1 else dilation
            axes.append((kernel, left, padding * spread, dilation, after * spread))
            more = (padding + after) * spread - dilation * (kernel - 1)
            grown.append(Side(goal, _length(side, more, left)))
        down, right = axes
        return Window(*zip(down, right, strict=True)), (*sides[:1], Side(1, (node, 1)), *grown)

    def _pool(self, node: fx.Node) -> tuple[Side, ...]:
        layer = module_of(node)
        assert isinstance(layer, nn.MaxPool2d | nn.AvgPool2d)
        self.settings[node], sides = self._pooled(node, node.args[0], layer)
        return sides

    def _pool2d(self, node: fx.Node) -> tuple[Side, ...]:
        kind = nn.MaxPool2d if "max" in _name(node) else nn.AvgPool2d
        names = [name for name in inspect.signature(kind).parameters if name != "return_indices"]
        call = _arguments(node, ("input", *names))
        source = call.pop("input")
        if call.pop("return_indices", False):
            _refuse(node, "gives indices, which belong to one grid")
        if _holds_node(call):
            _refuse(node, WHOLE)
        layer = kind(**call)
        settings, sides = self._pooled(node, source, layer)
        if settings:
            self.changes[node] = Change(changed_copy(layer, settings), (source,), {})
        return sides

    def _pooled(
        self, node: fx.Node, source: Any, layer: nn.MaxPool2d | nn.AvgPool2d
    ) -> tuple[Settings, tuple[Side, ...]]:
        kind, own = (
            (nn.MaxPool2d, DilatedMaxPool2d) if isinstance(layer, nn.MaxPool2d) else (nn.AvgPool2d, DilatedAvgPool2d)
        )
        if not (isinstance(layer, own) or _is_torchs(layer, kind, "forward")):
            _refuse(node)
        if getattr(layer, "return_indices", False):
            _refuse(node, "gives indices, which belong to one grid")
        kernel, stride, padding = pair(layer.kernel_size), pair(layer.stride), pair(layer.padding)
        dilation = pair(getattr(layer, "dilation", 1))
        extra: Pair = getattr(layer, "extra", (0, 0))
        if layer.ceil_mode:  # the last window may be cut by the border, and begins in the map
            down, right = (
                min(s - 1, d * (k - 1) - p) for k, s, p, d in zip(kernel, stride, padding, dilation, strict=True)
            )
            extra = max(down, 0), max(right, 0)
        after = padding[0] + extra[0], padding[1] + extra[1]
        window = Window(kernel, stride, padding, dilation, after)
        new, sides = self._window(node, source, window)
        if new == window:
            return {}, sides
        wide = any(2 * border > k for border, k in zip(new.padding, kernel, strict=True))
        holes = kind is nn.AvgPool2d and (new.dilation != (1, 1) or new.padding != padding)
        settings: Settings = {"stride": _short(new.stride), "padding": _short(new.padding)}
        if kind is nn.MaxPool2d or holes:
            settings["dilation"] = _short(new.dilation)
        if isinstance(layer, own) or layer.ceil_mode or wide or holes:
            extra = new.after[0] - new.padding[0], new.after[1] - new.padding[1]
            settings |= {"__class__": own, "dilation": new.dilation, "extra": extra, "ceil_mode": False}
        return settings, sides

    def _try(self, node: fx.Node, layer: nn.Conv2d, settings: Settings) -> None:
        """A convolution with a forward of its own must follow its stride, padding and dilation."""
        source = node.args[0]
        assert isinstance(source, fx.Node)
        down, right = (side.factor for side in self.sides[source][2:])
        below, behind = self.wanted[node]
        if layer.weight.is_meta:
            _refuse(node, "has a forward of its own, which cannot be tried on the meta device; pass it with weights")
        dense = changed_copy(layer, settings)
        modes = {module: module.training for module in layer.modules()}
        layer.eval()
        try:
            for more in range(2):
                sides = [
                    4 * s + d * (k - 1) + more
                    for k, s, d in zip(layer.kernel_size, layer.stride, layer.dilation, strict=True)
                ]
                few = torch.linspace(0, 50, layer.in_channels * prod(sides)).sin().to(layer.weight)
                few = few.reshape(1, layer.in_channels, *sides)
                many = few.new_zeros(1, layer.in_channels, sides[0] * down, sides[1] * right)
                many[..., ::down, ::right] = few
                with torch.no_grad():
                    expected, found = layer(few), dense(many)[..., ::below, ::behind]
                if found.shape != expected.shape or not torch.allclose(found, expected, rtol=1e-3, atol=1e-3):
                    _refuse(node, "has a forward of its own that does not follow its stride, padding and dilation")
        finally:
            for module, training in modes.items():
                module.training = training

    # borders

    def _pad_layer(self, node: fx.Node) -> tuple[Side, ...]:
        layer: Any = module_of(node)
        borders, sides = self._padded(node.args[0], list(layer.padding))
        self.settings[node] = {} if borders == list(layer.padding) else {"padding": tuple(borders)}
        return sides

    def _pad(self, node: fx.Node) -> tuple[Side, ...]:
        call = _arguments(node, ("input", "pad", "mode", "value"))
        if _holds_node(call["pad"]):
            _refuse(node)
        borders, sides = self._padded(call["input"], list(call["pad"]))
        if borders != list(call["pad"]):
            assert callable(node.target)
            self.changes[node] = Change(node.target, (), call | {"pad": borders})
        return sides

    def _padded(self, source: Any, borders: list[int]) -> tuple[list[int], tuple[Side, ...]]:
        sides = list(self._of(source))
        for place in range(0, len(borders), 2):
            dim = len(sides) - 1 - place // 2
            factor, (root, cells) = sides[dim]
            borders[place : place + 2] = [factor * border for border in borders[place : place + 2]]
            sides[dim] = Side(factor, (root, cells + sum(borders[place : place + 2])))
        return borders, tuple(sides)

    def _index(self, node: fx.Node) -> tuple[Side, ...]:
        """values[…, 1:-1, ::2]; an element of a tuple."""
        source, index = node.args
        assert isinstance(source, fx.Node)
        given = value(source)
        if not isinstance(given, Tensor):
            return self._element(node)
        items = list(index) if isinstance(index, tuple) else [index]
        if any(isinstance(item, fx.Node | list) for item in items):
            _refuse(node)
        missing = given.ndim - sum(item is not None and item is not ... for item in items)
        place = next((place for place, item in enumerate(items) if item is ...), len(items))
        items[place : place + 1] = [slice(None)] * missing
        goals = dict(zip((2, 3), self.wanted.get(node, ()), strict=False))
        sides: list[Side] = []
        rest = iter(self._of(source))
        for place, item in enumerate(items):
            if item is None:
                sides.append(Side(1, (node, len(sides))))
                continue
            side = next(rest)
            if item == slice(None):
                sides.append(side)
            elif isinstance(item, slice):
                goal = goals.get(len(sides), side.factor)
                like = self.sizes.get(item.stop) if isinstance(item.stop, fx.Node) else None
                if like is not None and (item.start, item.step, side.factor) == (None, None, like.factor):
                    sides.append(Side(side.factor, (frozenset((side.length, like.length)), 0)))
                    continue
                items[place], length = _denser_slice(node, item, side, goal)
                sides.append(Side(goal, length))
            elif side.factor > 1:
                _refuse(node)
        before = [slice(None), *(index if isinstance(index, tuple) else [index])]
        if any(item not in before for item in items):
            self.changes[node] = Change(operator.getitem, (source, tuple(items)), {})
        return tuple(sides)

    def _element(self, node: fx.Node) -> tuple[Side, ...]:
        """Of a tuple that an operation gave, or that was made of maps."""
        source = node.args[0]
        assert isinstance(source, fx.Node)
        if isinstance(value(source), Tensor):  # values.T, values.real
            _refuse(node)
        if source in self.sides:
            return self.sides[source]
        return next((self._of(part) for part in source.all_input_nodes if value(part) is value(node)), ())

    # cell by cell, and along other dimensions

    def _of(self, source: Any) -> tuple[Side, ...]:
        return self.sides.get(source, ()) if isinstance(source, fx.Node) else ()

    def _same(self, node: fx.Node) -> tuple[Side, ...]:
        return self._of(node.args[0] if node.args else next(iter(node.kwargs.values())))

    def _batch_norm(self, node: fx.Node) -> tuple[Side, ...]:
        layer: Any = module_of(node)
        own = layer.running_mean is None if layer else _arguments(node, ("input", "mean")).get("mean") is None
        return self._along(node, range(len(self._of(node.args[0]))) if own else (), STATISTICS)

    def _along(self, node: fx.Node, dims: Iterable[int], reason: str = "") -> tuple[Side, ...]:
        """Works along these dimensions, which must be no rows and columns of a denser map."""
        sides = self._same(node)
        if any(sides[dim].factor > 1 for dim in dims):
            _refuse(node, reason)
        return sides

    def _along_dim(self, node: fx.Node) -> tuple[Side, ...]:
        layer: Any = module_of(node)
        if layer is None:
            position = {"normalize": 2}.get(_name(node), 1)
            default = {"normalize": 1, "glu": -1}.get(_name(node))
            dim = _arguments(node, [*map(str, range(position)), "dim"]).get("dim", default)
        else:
            dim = layer.dim
        return self._along(node, _dims(node, dim, len(self._same(node))))

    def _last(self, node: fx.Node) -> tuple[Side, ...]:
        """A layer norm, a linear layer."""
        layer: Any = module_of(node)
        norm = "norm" in _name(node)
        shape = (layer.normalized_shape if layer else _arguments(node, ("input", "shape"))["shape"]) if norm else (1,)
        return self._along(node, range(-len(shape), 0), STATISTICS if norm else WHOLE)

    def _reduce(self, node: fx.Node) -> tuple[Side, ...]:
        """mean, sum, max … over dimensions, which stay or go."""
        call = _arguments(node, ("input", "p", "dim") if _name(node) == "norm" else ("input", "dim"))
        if isinstance(call.get("dim", call.get("other")), fx.Node):
            return self._join(node)
        sides = self._of(call["input"])
        dims = _dims(node, call.get("dim"), len(sides))
        if any(sides[dim].factor > 1 for dim in dims):
            _refuse(node, WHOLE)
        if len(_shape(node) or ()) == len(sides):
            return sides
        return tuple(side for dim, side in enumerate(sides) if dim not in dims)

    def _split(self, node: fx.Node) -> tuple[Side, ...]:
        """chunk, split, unbind: tuples, whose elements have the sides of the node."""
        unbind = _name(node) == "unbind"
        call = _arguments(node, ("input", "dim") if unbind else ("input", "sizes", "dim"))
        sides = self._of(call["input"])
        (dim,) = _dims(node, call.get("dim", 0), len(sides))
        if sides[dim].factor > 1:
            _refuse(node)
        return (*sides[:dim], *([] if unbind else [Side(1, (node, dim))]), *sides[dim + 1 :])

    def _permute(self, node: fx.Node) -> tuple[Side, ...]:
        """permute, transpose …: tried on a tensor whose sizes tell its dimensions."""
        source, *args = node.args
        sides = self._of(source)
        name, sizes = _name(node), range(2, 2 + len(sides))
        moved: Tensor = getattr(torch.empty(*sizes, device="meta"), name)(*args, **node.kwargs)
        return tuple(sides[size - 2] for size in moved.shape)

    def _reshape(self, node: fx.Node) -> tuple[Side, ...]:
        """view, reshape, flatten, squeeze …: denser dimensions stay, the others may be made new."""
        source = node.args[0]
        sides, before, after = self._of(source), _shape(source), _shape(node)
        assert before is not None and after is not None
        given: Any = None
        if _name(node) in ("view", "reshape"):
            given = [*node.args[1:], *node.kwargs.values()]
            given = given[0] if len(given) == 1 and isinstance(given[0], fx.Node | list | tuple) else given
        found = [Side(1, (node, dim)) for dim in range(len(after))]
        for dim, side in enumerate(sides):
            fits = [
                other
                for other in range(len(after))
                if prod(before[:dim]) == prod(after[:other]) and after[other] == before[dim] > 1
            ]
            if side.factor == 1 and not fits:
                continue
            if not fits:
                _refuse(node, WHOLE)
            if side.factor > 1 and given is not None:
                size = given if isinstance(given, fx.Node) else given[fits[0]]
                if size != -1 and size not in self.sizes:
                    _refuse(node, "asks for the size that a map has now")
            found[fits[0]] = side
        return tuple(found)

    # joins

    def _join(self, node: fx.Node) -> tuple[Side, ...]:
        """Cell by cell from several tensors, which may be spread along dimensions where they have one cell."""
        return self._joined(node, node.all_input_nodes, None)

    def _cat(self, node: fx.Node) -> tuple[Side, ...]:
        call = _arguments(node, ("tensors", "dim"))
        (dim,) = _dims(node, call.get("dim", call.get("axis", 0)), len(_shape(node) or ()))
        return self._joined(node, call["tensors"], dim)

    def _stack(self, node: fx.Node) -> tuple[Side, ...]:
        call = _arguments(node, ("tensors", "dim"))
        (dim,) = _dims(node, call.get("dim", 0), len(_shape(node) or ()))
        sides = [*self._joined(node, call["tensors"], None, len(_shape(node) or ()) - 1)]
        sides.insert(dim, Side(1, (node, dim)))
        return tuple(sides)

    def _joined(
        self, node: fx.Node, parts: Sequence[Any], along: int | None, ndim: int | None = None
    ) -> tuple[Side, ...]:
        ndim = len(_shape(node) or ()) if ndim is None else ndim
        sides = []
        for dim in range(-ndim, 0):
            met = [
                self.sides[part][dim]
                for part in parts
                if part in self.sides and len(self.sides[part]) >= -dim and not self._spreads(part, dim)
            ]
            factors = {side.factor for side in met} or {1}
            if len(factors) > 1 or (along == ndim + dim and factors != {1}):
                _refuse(node, "joins a map that would become denser with one that would not")
            if along == ndim + dim or not met:
                sides.append(Side(1, (node, dim)))
            elif factors != {1} and len(set(met)) > 1:
                self.crops.setdefault(node, []).append(dim)
                sides.append(Side(met[0].factor, ((node, dim), 0)))
            else:
                sides.append(met[0])
        return tuple(sides)

    def _crop(self, node: fx.Node) -> tuple[Side, ...]:
        layer = module_of(node)
        assert isinstance(layer, Cropped)
        sides = list(self._same(node))
        for dim in layer.dims:
            lengths = frozenset(self._of(part)[dim].length for part in node.all_input_nodes)
            sides[dim] = Side(sides[dim].factor, (lengths, 0))
        return tuple(sides)

    def _spreads(self, part: fx.Node, dim: int) -> bool:
        """Has one cell there, which torch spreads over the other's."""
        return self.sides[part][dim].factor == 1 and (_shape(part) or ())[dim] == 1


class Cropped(Step):
    """The first cells of a tensor, along some dimensions as many as the shortest of all tensors has."""

    def __init__(self, dims: Sequence[int]) -> None:
        super().__init__()
        self.dims = tuple(dims)

    def forward(self, values: Tensor, *others: Tensor) -> Tensor:
        """The cells of `values`."""
        for dim in self.dims:
            values = values.narrow(dim, 0, min(one.shape[dim] for one in (values, *others)))
        return values


Rule = Callable[[Rules, fx.Node], tuple[Side, ...]]

BORDER = "_reversed_padding_repeated_twice"  # torch's border of a convolution that does not pad by zeros
GRID = "makes a grid of its own from a map that would become denser; pass the part before it"
WHOLE = (
    "takes a map that would become denser as a whole; make the network convolutional first (convolutionalize), or "
    "pass the part before it"
)
STATISTICS = "takes its statistics from all cells of a map that would become denser"

LAYERS: list[tuple[tuple[type[nn.Module], ...], Rule]] = [
    ((nn.Conv2d,), Rules._convolution),
    ((nn.MaxPool2d, nn.AvgPool2d), Rules._pool),
    (
        (nn.ConstantPad2d, nn.ReflectionPad2d, nn.ReplicationPad2d, nn.CircularPad2d),
        Rules._pad_layer,
    ),
    ((nn.BatchNorm2d, nn.SyncBatchNorm), Rules._batch_norm),
    ((nn.LayerNorm, nn.RMSNorm, nn.Linear), Rules._last),
    ((nn.Softmax, nn.LogSoftmax, nn.Softmin, nn.GLU), Rules._along_dim),
    ((nn.Flatten, nn.Unflatten), Rules._reshape),
    ((Cropped,), Rules._crop),
    (
        (
            *(nn.Identity, nn.PReLU, nn.Softmax2d, nn.LocalResponseNorm, nn.CrossMapLRN2d, nn.ChannelShuffle),
            *(nn.Dropout, nn.Dropout2d, nn.AlphaDropout, nn.FeatureAlphaDropout),
            *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.RReLU, nn.ELU, nn.CELU, nn.SELU, nn.GELU, nn.SiLU, nn.Mish),
            *(nn.Sigmoid, nn.LogSigmoid, nn.Hardsigmoid, nn.Hardswish, nn.Hardtanh, nn.Hardshrink, nn.Softshrink),
            *(nn.Tanh, nn.Tanhshrink, nn.Softplus, nn.Softsign, nn.Threshold),
        ),
        Rules._same,
    ),
]
REASONS: list[tuple[tuple[type[nn.Module], ...], str]] = [
    (
        (
            *(nn.ConvTranspose2d, nn.Upsample, nn.PixelShuffle, nn.PixelUnshuffle, nn.MaxUnpool2d, nn.Fold),
            nn.Unfold,
        ),
        GRID,
    ),
    ((nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d), WHOLE),
    ((nn.GroupNorm, nn.InstanceNorm2d), STATISTICS),
]

FUNCTIONS: dict[str, Rule] = {
    "conv2d": Rules._conv2d,
    **dict.fromkeys(("max_pool2d", "avg_pool2d"), Rules._pool2d),
    "pad": Rules._pad,
    "getitem": Rules._index,
    "getattr": Rules._element,
    "batch_norm": Rules._batch_norm,
    **dict.fromkeys(("layer_norm", "rms_norm", "linear"), Rules._last),
    **dict.fromkeys(
        ("softmax", "log_softmax", "softmin", "cumsum", "cumprod", "logcumsumexp", "glu", "normalize"),
        Rules._along_dim,
    ),
    **dict.fromkeys(
        ("mean", "sum", "prod", "amax", "amin", "max", "min", "argmax", "argmin", "std", "var", "logsumexp", "norm"),
        Rules._reduce,
    ),
    **dict.fromkeys(("chunk", "split", "tensor_split", "unbind"), Rules._split),
    **dict.fromkeys(("permute", "transpose", "swapaxes", "swapdims", "movedim", "moveaxis"), Rules._permute),
    **dict.fromkeys(("view", "reshape", "flatten", "unflatten", "squeeze", "unsqueeze"), Rules._reshape),
    **dict.fromkeys(("cat", "concat", "concatenate"), Rules._cat),
    "stack": Rules._stack,
    **dict.fromkeys(
        (
            *("dropout", "dropout2d", "alpha_dropout", "feature_alpha_dropout", "feature_dropout", "stochastic_depth"),
            *("relu", "relu6", "leaky_relu", "rrelu", "prelu", "elu", "celu", "selu", "gelu", "silu", "mish"),
            *("sigmoid", "logsigmoid", "hardsigmoid", "hardswish", "hardtanh", "hardshrink", "softshrink"),
            *("tanh", "tanhshrink", "softplus", "softsign", "threshold", "local_response_norm", "channel_shuffle"),
            *("exp", "expm1", "log", "log1p", "log2", "log10", "sqrt", "rsqrt", "square", "reciprocal", "erf"),
            *("sin", "cos", "abs", "absolute", "neg", "negative", "pos", "sign", "floor", "ceil", "round"),
            *("isnan", "isinf", "isfinite", "nan_to_num", "logical_not", "invert", "bitwise_not"),
            *("contiguous", "clone", "detach", "to", "float", "half", "bfloat16", "double", "type", "type_as", "cpu"),
            *("zeros_like", "ones_like", "full_like", "rand_like", "randn_like", "empty_like", "requires_grad"),
        ),
        Rules._same,
    ),
    **dict.fromkeys(
        (
            *("add", "iadd", "sub", "isub", "subtract", "rsub", "mul", "imul", "multiply", "div", "divide"),
            *("truediv", "itruediv", "floordiv", "mod", "remainder", "fmod", "pow", "ipow", "float_power"),
            *("maximum", "minimum", "fmax", "fmin", "clamp", "clip", "clamp_min", "clamp_max", "where", "lerp"),
            *("eq", "ne", "lt", "le", "gt", "ge", "and", "or", "xor", "logical_and", "logical_or", "logical_xor"),
            *("addcmul", "addcdiv", "masked_fill", "atan2", "hypot", "copysign"),
        ),
        Rules._join,
    ),
}
FOLLOWED = (  # where nothing becomes denser: so that maps which join later are known to be of one length
    *(Rules._convolution, Rules._conv2d, Rules._pool, Rules._pool2d, Rules._pad_layer, Rules._pad),
    *(Rules._batch_norm, Rules._same, Rules._join, Rules._cat, Rules._element, Rules._crop),
)
FUNCTION_REASONS = {
    **dict.fromkeys(
        (
            *("conv_transpose2d", "interpolate", "upsample", "pixel_shuffle", "pixel_unshuffle", "max_unpool2d"),
            *("grid_sample", "fold", "unfold"),
        ),
        GRID,
    ),
    **dict.fromkeys(("adaptive_avg_pool2d", "adaptive_max_pool2d"), WHOLE),
    **dict.fromkeys(("group_norm", "instance_norm"), STATISTICS),
}


def _rule(node: fx.Node) -> Rule | None:
    if node.op == "call_module":
        layer = module_of(node)
        rule = next((rule for kinds, rule in LAYERS if isinstance(layer, kinds)), None)
        own = layer is not None and not type(layer).forward.__module__.startswith("torch.")
        return None if own and rule is Rules._same else rule
    return FUNCTIONS.get(_name(node))


def _refuse(node: fx.Node, reason: str = "") -> NoReturn:
    if not reason and node.op == "call_module":
        layer = module_of(node)
        reason = next((reason for kinds, reason in REASONS if isinstance(layer, kinds)), "")
    reason = reason or FUNCTION_REASONS.get(_name(node), "has no rule for a denser map; pass the part before it")
    raise SurgeryError(f"the output stride cannot be changed: {described(node)} {reason}")


def _name(node: fx.Node) -> str:
    """Of a function, a method or a layer's class, without the mark of those that work in place."""
    if node.op == "call_module":
        return type(module_of(node)).__name__.lower()
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
    return name.rstrip("_")


def _shape(node: Any) -> tuple[int, ...] | None:
    """Of a tensor, or of the first in a tuple; None of what holds none."""
    held = value(node) if isinstance(node, fx.Node) else None
    while isinstance(held, list | tuple) and not isinstance(held, torch.Size) and held:
        held = held[0]
    return tuple(held.shape) if isinstance(held, Tensor) else None


def _fresh(node: fx.Node) -> tuple[Side, ...]:
    return tuple(Side(1, ((node, dim), 0)) for dim in range(len(_shape(node) or ())))


def _arguments(node: fx.Node, names: Sequence[str]) -> dict[str, Any]:
    return dict(zip(names, node.args, strict=False)) | dict(node.kwargs)


def _dims(node: fx.Node, dim: Any, ndim: int) -> list[int]:
    """Dimensions as an operation is given them, from 0; all for None."""
    if _holds_node(dim):
        _refuse(node)
    if dim is None:
        return [*range(ndim)]
    return [one % ndim for one in (dim if isinstance(dim, list | tuple) else [dim])]


def _holds_node(given: Any) -> bool:
    found: list[fx.Node] = []
    fx.node.map_arg(given, found.append)
    return bool(found)


def _denser_slice(node: fx.Node, taken: slice, side: Side, goal: int) -> tuple[slice, tuple[Hashable, int]]:
    """The slice of a denser dimension, and its length."""
    if side.factor == goal == 1:
        return taken, ((side.length, str(taken)), 0)
    start, stop, step = taken.start or 0, taken.stop, taken.step or 1
    if _holds_node([start, stop, step]):
        _refuse(node, "cuts a map that would become denser at a computed row or column")
    left, rest = divmod(side.factor * step, goal)
    if rest or start < 0 or (stop is not None and stop >= 0):
        _refuse(node, "cuts a map that would become denser at a fixed row or column")
    start, stop = start * side.factor, None if stop is None else stop * side.factor
    return slice(start, stop, left), _length(side, -start + (stop or 0), left)


def _length(side: Side, more: int, step: int) -> tuple[Hashable, int]:
    """Of each step-th of as many cells and `more`."""
    root, cells = side.length
    return (root, cells + more) if step == 1 else ((root, cells + more - 1, step), 0)


def _short(both: Pair) -> int | Pair:
    return both[0] if both[0] == both[1] else both


def _is_torchs(layer: nn.Module, kind: type[nn.Module], *methods: str) -> bool:
    return all(getattr(type(layer), method) is getattr(kind, method) for method in methods)


def changed(layer: nn.Module, settings: Settings) -> None:
    """Give a layer new settings, in place."""
    for name, setting in settings.items():
        setattr(layer, name, setting)


def changed_copy(layer: nn.Module, settings: Settings) -> nn.Module:
    """A layer with the same weights and other settings."""
    other = layer.__class__.__new__(layer.__class__)  # copy.copy refuses layers with parametrizations
    other.__dict__ = layer.__dict__.copy()
    changed(other, settings)
    return other
