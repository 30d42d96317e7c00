"""The graph of a classifier slid over a picture, while `convolutionalize` writes it.

A value of the classifier, for one window, stands in the slid network as one of these:

| form   | in the classifier                                  | in the slid network                                   |
| ------ | -------------------------------------------------- | ----------------------------------------------------- |
| Map    | (N, C, h, w), also permuted, or C in several axes  | the same, larger                                      |
| Window | a map whose places were flattened, (N, C·h·w), …   | the map (N, C, H, W), whose h × w windows are meant   |
| Cell   | values without places, (N, F), (N, F, 1), …        | the same with two axes more, (N, F, H, W), …          |
| Fixed  | weights, numbers, sizes                            | the same                                              |

so that flattening is nothing, a linear layer on a window is a convolution, and whatever is done to cells is done at
each place.
"""

import math
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from torch import Tensor, fx, nn

from pixelwise.errors import SurgeryError
from pixelwise.surgery.graph import VALUE, add_layer, computed, described, value

Factor = tuple[str, int]  # "n", "c", "h" or "w" and a size
Axis = tuple[Factor, ...]
Axes = tuple[Axis, ...]
Pair = tuple[int, int]

BATCH: Axis = (("n", 1),)  # as long as the graph is followed
FAILURES = (RuntimeError, TypeError, ValueError, IndexError, AssertionError, AttributeError)


@dataclass(frozen=True)
class Map:
    """Rows and columns are axes of their own; `node` has the same axes."""

    node: fx.Node
    axes: Axes

    @property
    def window(self) -> Pair:
        """(rows, columns) of the classifier's map."""
        sizes = {axis[0][0]: axis[0][1] for axis in self.axes if axis}
        return sizes["h"], sizes["w"]

    @property
    def letters(self) -> str:
        """One for each axis: "nchw" as layers take it; "1" for an axis of nothing."""
        return "".join(axis[0][0] if axis else "1" for axis in self.axes)


@dataclass(frozen=True)
class Window:
    """Rows and columns are flattened; `node` is the map (N, C, H, W)."""

    node: fx.Node
    axes: Axes


@dataclass(frozen=True)
class Cell:
    """No rows and columns; `node` has them as its last two axes, behind those of `shape`."""

    node: fx.Node
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Fixed:
    """No picture in it: a node of the slid network, or a number, a size."""

    held: Any


@dataclass(frozen=True)
class Several:
    """A tuple; None for what has no form."""

    items: tuple["Form | None", ...]


Form = Map | Window | Cell | Fixed | Several


class Slide:
    """A slid network in the making.

    Args:
        traced: the classifier's graph; layers are exchanged and added in it.
        layers: its layers by their paths, as they were.
        grid: pixels from a cell to the next, (down, right), that all cells shall have; None to find out what they have.
        more: pixels that all strides divide.

    Attributes:
        entries: the strides, down and right, at which windows became cells.
        fills: what gives the new layers their weights.
    """

    def __init__(
        self, traced: fx.GraphModule, layers: dict[str, nn.Module], grid: tuple[Fraction, Fraction] | None, more: int
    ) -> None:
        self.traced, self.layers, self.grid = traced, layers, grid
        (images,) = (value(node) for node in traced.graph.nodes if node.op == "placeholder" and _is_picture(node))
        self.near = images
        self.more = more
        self.far = self._larger(self.more)
        self.graph = fx.Graph()
        self.forms: dict[fx.Node, Form] = {}
        self.entries: tuple[set[Fraction], set[Fraction]] = (set(), set())
        self.fills: list[Callable[[], None]] = []
        self.names: dict[str, dict[Hashable, str]] = {}
        self.added: list[str] = []
        self._far: dict[fx.Node, Any] = {}
        self._grown: dict[int, dict[fx.Node, Any]] = {}

    def _larger(self, more: int) -> Tensor:
        larger: Tensor = self.near.new_empty(*self.near.shape[:2], self.near.shape[2] + more, self.near.shape[3] + more)
        return larger

    def put(self, source: fx.Node, op: str, target: Any, *args: Any, **kwargs: Any) -> fx.Node:
        """A step of the slid network for the classifier's `source`.

        Raises:
            SurgeryError: it cannot be done on a larger picture.
        """
        node = self.graph.create_node(op, target, args, kwargs)
        node.meta = {key: held for key, held in source.meta.items() if key in ("nn_module_stack", "stack_trace")}
        nears = {before: value(before) for before in node.all_input_nodes}
        fars = {before: self._far[before] for before in node.all_input_nodes}
        try:
            node.meta[VALUE] = computed(node, self.traced, nears, self.near)
            self._far[node] = computed(node, self.traced, fars, self.far)
        except FAILURES as error:
            what = " ".join(str(error).split())[:200]
            raise SurgeryError(
                f"{described(source)} works on pictures of {self.near.shape[2]} × {self.near.shape[3]} alone: at "
                f"{self.far.shape[2]} × {self.far.shape[3]} {type(error).__name__}: {what}; compute its sizes from "
                "its input, or convert the part of the network behind or before it"
            ) from error
        return node

    def method(self, source: fx.Node, name: str, *args: Any, **kwargs: Any) -> fx.Node:
        """A step that calls a method of its first argument."""
        return self.put(source, "call_method", name, *args, **kwargs)

    def layer_of(self, source: fx.Node) -> nn.Module | None:
        """The classifier's layer that a step calls, also where another already stands at its path."""
        return self.layers[str(source.target)] if source.op == "call_module" else None

    def layer(self, source: fx.Node, key: Hashable, made: nn.Module | None, *args: Any, **kwargs: Any) -> fx.Node:
        """A step that calls the layer of `source`, or the one made of it, at its path.

        A layer that is called several times, and is made into several layers, has the first at its path.

        Args:
            key: equal for equal layers made of it.
            made: None if it stays as it is.
        """
        path = str(source.target)
        names = self.names.setdefault(path, {})
        if key not in names:
            stays = made is None
            layer = self.layers[path] if made is None else made.train(self.layers[path].training)
            if names and any(True for _ in layer.parameters()):
                raise SurgeryError(
                    f"{described(source)} is called on windows of different sizes or strides, and one convolution "
                    "cannot be both; give each call a layer of its own"
                )
            if not names:
                names[key] = path
                if not stays or self.traced.get_submodule(path) is not layer:
                    self.traced.set_submodule(path, layer)
            else:
                names[key] = self._add(path.replace(".", "_"), layer)
        return self.put(source, "call_module", names[key], *args, **kwargs)

    def new_layer(self, source: fx.Node, name: str, made: nn.Module, *args: Any) -> fx.Node:
        """A step that calls a layer where the classifier has a function."""
        return self.put(source, "call_module", self._add(name, made), *args)

    def _add(self, name: str, layer: nn.Module) -> str:
        added = add_layer(self.traced, name, layer)
        self.added.append(added)
        return added

    def stride(self, node: fx.Node, axes: Pair = (-2, -1)) -> tuple[Fraction, Fraction]:
        """Pixels from a row to the next, and from a column to the next."""
        near, far = value(node).shape, self._far[node].shape
        return Fraction(self.more, far[axes[0]] - near[axes[0]]), Fraction(self.more, far[axes[1]] - near[axes[1]])

    def grows(self, node: fx.Node, axes: Pair = (-2, -1)) -> bool:
        """Whether a larger picture gives more rows and columns."""
        return all(self._far[node].shape[axis] > value(node).shape[axis] for axis in axes)

    def far_value(self, node: fx.Node) -> Any:
        """A value of the slid network in a picture that is far larger: where a copy is no view by chance."""
        return self._far[node]

    def at(self, held: Any, more: int) -> Any:
        """A value of the slid network, or an argument that holds some, in a picture that is `more` pixels larger."""
        values = self._grown.setdefault(more, {})
        needed: set[fx.Node] = set()
        fx.node.map_arg(held, needed.add)
        queue = list(needed)
        while queue:
            new = [before for before in queue.pop().all_input_nodes if before not in needed and before not in values]
            needed.update(new)
            queue += new
        for node in self.graph.nodes:
            if node in needed and node not in values:
                values[node] = computed(node, self.traced, values, self._larger(more))
        return fx.node.map_arg(held, lambda node: values[node])

    def growths(self, node: fx.Node, axes: Pair = (-2, -1)) -> list[int]:
        """Pixels by which a picture can be larger so that a map has whole rows and columns more; no two much alike."""
        down, right = self.stride(node, axes)
        return [math.lcm(down.numerator, right.numerator) * times for times in (1, 2, 3, 5, 7)]

    def steps(self, source: fx.Node, node: fx.Node, kernel: Pair) -> Pair:
        """The steps of windows of `kernel` on a map (N, C, H, W): those that make a cell of it fall on the grid.

        Raises:
            SurgeryError: the grid has no whole number of its rows or columns.
        """
        steps = [1, 1]
        for axis, (rows, taps, stride) in enumerate(
            zip(value(node).shape[-2:], kernel, self.stride(node), strict=True)
        ):
            if rows == taps:
                self.entries[axis].add(stride)
                if self.grid is not None:
                    step = self.grid[axis] / stride
                    if step.denominator != 1:
                        raise SurgeryError(
                            f"{described(source)} joins what lies {stride} pixels apart with what lies "
                            f"{self.grid[axis]} pixels apart, and no step is a whole number of both"
                        )
                    steps[axis] = int(step)
        return steps[0], steps[1]

    def sampled(self, source: fx.Node, node: fx.Node, steps: Pair) -> fx.Node:
        """Each steps-th row and column of the last two axes."""
        if steps == (1, 1):
            return node
        index = (Ellipsis, slice(None, None, steps[0]), slice(None, None, steps[1]))
        return self.put(source, "call_method", "__getitem__", node, index)

    def aligned(self, source: fx.Node, nodes: list[fx.Node]) -> list[fx.Node]:
        """The nodes, with rows and columns as their last axes, on the coarsest of their grids.

        Those of windows on different maps are cut to the same size: where one map rounds up or pads, it may have a
        cell more than the other.
        """
        strides = [self.stride(node) for node in nodes]
        down, right = (common({stride[axis] for stride in strides}) for axis in (0, 1))
        maps = [_maps_before(node) for node in nodes]
        nodes = [
            self.sampled(source, node, (int(down / own[0]), int(right / own[1])))
            for node, own in zip(nodes, strides, strict=True)
        ]
        cut = []
        for node, before in zip(nodes, maps, strict=True):
            others = {other for other, its in zip(nodes, maps, strict=True) if its != before}
            for other in [o for o in nodes if o in others]:
                rows, columns = (self.method(source, "size", other, axis) for axis in (-2, -1))
                node = self.method(source, "__getitem__", node, (Ellipsis, slice(None, rows), slice(None, columns)))
            cut.append(node)
        return cut

    def pooled(self, source: fx.Node, node: fx.Node, kernel: Pair, how: str) -> fx.Node:
        """The mean, the sum or the maximum of each window of a map (N, C, H, W)."""
        steps = self.steps(source, node, kernel)
        if kernel == (1, 1):
            return self.sampled(source, node, steps)
        made: nn.Module = nn.MaxPool2d(kernel, steps)
        if how != "max":
            made = nn.AvgPool2d(kernel, steps, divisor_override=1 if how == "sum" else None)
        if source.op == "call_module":
            return self.layer(source, (kernel, steps), made, node)
        return self.new_layer(source, "pool", made, node)

    def canonical(self, source: fx.Node, form: Map | Window) -> tuple[fx.Node, str]:
        """The map as (N, C, H, W), and the order in which the classifier has "c", "h" and "w".

        Raises:
            SurgeryError: the batch is not the first axis, or channels stand on both sides of places.
        """
        if isinstance(form, Window):
            return form.node, _order(form.axes)
        if form.letters == "nchw":
            return form.node, "chw"
        order = _order(form.axes)
        if not form.letters.startswith("n") or sorted(order) != ["c", "h", "w"]:
            raise SurgeryError(
                f"{described(source)} flattens a map whose axes are ordered as {form.letters}; bring the batch first "
                "and the channels side by side"
            )
        places = [form.letters.index("h"), form.letters.index("w")]
        channels = [axis for axis in range(1, len(form.axes)) if axis not in places]
        node = self.method(source, "permute", form.node, 0, *channels, *places)
        return (node if len(channels) == 1 else self.method(source, "flatten", node, 1, len(channels))), order

    def as_cell(self, source: fx.Node, form: Form) -> Cell:
        """Values that lie at each place: a cell itself, a map of one place, or all values of a window.

        Raises:
            SurgeryError: a map of several places.
        """
        if isinstance(form, Cell):
            return form
        assert isinstance(form, Map | Window)
        if isinstance(form, Map) and form.window != (1, 1):
            raise SurgeryError(
                f"{described(source)} mixes the {form.window[0]} × {form.window[1]} places of a map, or ties values "
                "to them; a slid classifier can treat places alike alone"
            )
        shape = tuple(math.prod(size for _, size in axis) for axis in form.axes)
        node, order = self.canonical(source, form)
        kernel = tuple(value(node).shape[-2:])
        steps = self.steps(source, node, kernel)
        if kernel == (1, 1):
            node = self.sampled(source, node, steps)
        else:
            node = self.method(source, "unfold", node, 2, kernel[0], steps[0])
            node = self.method(source, "unfold", node, 3, kernel[1], steps[1])  # N, C, H, W, h, w
            node = self.method(
                source, "permute", node, 0, *({"c": 1, "h": 4, "w": 5}[letter] for letter in order), 2, 3
            )
        return self.reshaped_cell(source, node, shape)

    def reshaped_cell(self, source: fx.Node, node: fx.Node, shape: tuple[int, ...]) -> Cell:
        """A node (N, …, H, W) as (N, *shape[1:], H, W)."""
        if tuple(value(node).shape[1:-2]) != shape[1:]:
            places = (self.method(source, "size", node, -2), self.method(source, "size", node, -1))
            node = self.method(source, "reshape", node, -1, *shape[1:], *places)
        return Cell(node, shape)

    def reshaped(self, source: fx.Node, form: Form, shape: tuple[int, ...]) -> Form:
        """The form of the classifier's values when they are reshaped.

        Raises:
            SurgeryError: the batch, or rows and columns, are torn.
        """
        if not shape or shape[0] != value(self._first_input(source)).shape[0]:
            raise SurgeryError(
                f"{described(source)} takes the batch away or adds to it; flatten from axis 1 on, squeeze named axes"
            )
        if isinstance(form, Map | Window) and _places(form) != (1, 1):
            axes = regrouped([factor for axis in form.axes for factor in axis], shape)
            if axes is None:
                raise SurgeryError(
                    f"{described(source)} takes rows or columns of a map apart; only all can be flattened"
                )
            return self.classified(source, form, axes)
        if isinstance(form, Map) and shape == tuple(value(form.node).shape):
            return form
        if isinstance(form, Map | Window):
            node, _ = self.canonical(source, form)
            form = Cell(self.sampled(source, node, self.steps(source, node, (1, 1))), tuple(value(node).shape[:2]))
        assert isinstance(form, Cell)
        if len(shape) == 4 and shape[2:] == (1, 1):
            node = self.reshaped_cell(source, form.node, shape[:2]).node
            return Map(node, (BATCH, (("c", shape[1]),), (("h", 1),), (("w", 1),)))
        return self.reshaped_cell(source, form.node, shape)

    def classified(self, source: fx.Node, form: Map | Window, axes: Axes) -> Map | Window:
        """A map or window with its values grouped to other axes."""
        if () in axes and not any(letter == "c" for axis in axes for letter, _ in axis):
            place = axes.index(())
            axes = (*axes[:place], (("c", 1),), *axes[place + 1 :])
        letters = [axis[0][0] if len(axis) == 1 else "?" if axis else "1" for axis in axes]
        if "h" not in letters or "w" not in letters or "?" in letters:
            node, _ = self.canonical(source, form)
            return Window(node, axes)
        if isinstance(form, Window):
            if sorted(letters) != ["c", "h", "n", "w"]:
                raise SurgeryError(f"{described(source)} makes a map of a flattened one in an order that has no rule")
            if letters == ["n", "c", "h", "w"]:
                return Map(form.node, axes)
            return Map(self.method(source, "permute", form.node, *("nchw".index(letter) for letter in letters)), axes)
        sizes: list[Any] = [-1]
        for letter, axis in zip(letters[1:], axes[1:], strict=True):
            places = letter in "hw"
            sizes.append(self.method(source, "size", form.node, form.letters.index(letter)) if places else _size(axis))
        return Map(self.method(source, "reshape", form.node, *sizes), axes)

    @staticmethod
    def _first_input(source: fx.Node) -> fx.Node:
        return source.all_input_nodes[0]


def common(strides: set[Fraction]) -> Fraction:
    """The least common multiple: the coarsest grid."""
    return Fraction(math.lcm(*(s.numerator for s in strides)), math.gcd(*(s.denominator for s in strides)))


def regrouped(factors: list[Factor], shape: tuple[int, ...]) -> Axes | None:
    """The factors, in their order, as the axes of a shape; None where rows, columns or the batch would be torn.

    >>> regrouped([("n", 1), ("c", 6), ("h", 2), ("w", 3)], (1, 36))
    ((('n', 1),), (('c', 6), ('h', 2), ('w', 3)))
    >>> regrouped([("n", 1), ("c", 6), ("h", 2), ("w", 3)], (1, 2, 3, 2, 3))
    ((('n', 1),), (('c', 2),), (('c', 3),), (('h', 2),), (('w', 3),))
    """
    rest = list(factors)
    axes: list[Axis] = []
    for side in shape:
        axis: list[Factor] = []
        left = side
        while rest and (left > 1 or (not axis and rest[0][1] == 1)):
            letter, size = rest[0]
            if left % size == 0:
                taken = rest.pop(0)
            elif letter == "c" and size % left == 0:
                taken, rest[0] = ("c", left), ("c", size // left)
            else:
                return None
            left //= taken[1]
            if axis and axis[-1][0] == letter == "c":
                taken = ("c", axis.pop()[1] * taken[1])
            axis.append(taken)
        if left != 1:
            return None
        axes.append(tuple(axis))
    if any(size > 1 for _, size in rest):
        return None
    axes[-1] += tuple(rest)
    return tuple(axes) if axes[0] == BATCH else None


def _maps_before(node: fx.Node) -> set[fx.Node]:
    """The maps of several places whose windows a cell is computed from."""
    found: set[fx.Node] = set()
    queue, seen = [node], {node}
    while queue:
        here = queue.pop()
        held = value(here)
        if isinstance(held, Tensor) and held.ndim >= 4 and tuple(held.shape[-2:]) != (1, 1) and here.op != "get_attr":
            found.add(here)
            continue
        if here.op == "placeholder":
            found.add(here)
        new = [before for before in here.all_input_nodes if before not in seen]
        seen.update(new)
        queue += new
    return found


def _places(form: Map | Window) -> Pair:
    sizes = {letter: size for axis in form.axes for letter, size in axis}
    return sizes["h"], sizes["w"]


def _size(axis: Axis) -> int:
    return math.prod(size for _, size in axis)


def _order(axes: Axes) -> str:
    """The letters behind the batch, neighboring "c" as one."""
    order = ""
    for axis in axes[1:]:
        for letter, _ in axis:
            if not (letter == "c" and order.endswith("c")):
                order += letter
    return order


def _is_picture(node: fx.Node) -> bool:
    return isinstance(value(node), Tensor) and not node.args
