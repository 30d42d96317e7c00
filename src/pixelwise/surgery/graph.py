"""The graph of a network, followed by torch.fx at one size of pictures.

Why torch.fx, not torch.export: its graph keeps the modules with their names, weights and both modes, so that a changed
network is still one that can be trained, saved and read, and the sizes of maps stay expressions, so that it takes any
size. torch.export has neither: its graph is made of aten operations of one mode, for one size or for ranges that it
must prove. What torch.fx alone cannot follow are decisions by sizes (`if min(x.shape[-2:]) < 7: raise …`) and loops
over them; here each step of the graph is computed on the meta device while it is recorded, so that a decision has an
answer: that of the size it is followed at.
"""

import inspect
import math
import operator
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from fractions import Fraction
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.overrides import TorchFunctionMode

from pixelwise.errors import PixelwiseError, SurgeryError

VALUE = "val"  # the key in a node's `meta`: its value for one picture, tensors on the meta device
CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
FOLLOWED = (nn.Identity, nn.LayerNorm, nn.Dropout, nn.Dropout2d)  # and activations, with a forward of their own
FAR = 2**8 * 3**2 * 5 * 7  # pixels on the meta device; nearly all strides that networks have divide it
LARGEST, LARGEST_DENOMINATOR = 2048, 16  # of strides as fractions
LISTED = 8  # parts that an error lists
_ARRAY = "__array_struct__"  # what NumPy asks for first of all that is no array
ROUNDS = 4  # in which other strides are found
EMPTY_FAR = 2**8 * 3**2  # where a network may fill memory with something of the map's size, in a batch of no pictures


def trace(
    network: nn.Module,
    size: tuple[int, int],
    *,
    in_channels: int | None = None,
    fixed_size: bool = False,
    training: bool = False,
    empty: bool = False,
) -> fx.GraphModule:
    """The graph of a network in evaluation mode, for pictures (1, C, *size); each node's value is `value(node)`.

    Torch's own layers, and classes made from them, are nodes; all else is followed into. The modules are the network's
    own, under their names; the mode of the graph is the network's. Checks of sizes are decided and gone. Dropout by a
    function that was given `self.training` becomes a layer, so that it follows the mode; what else a network decides
    by its mode is decided for evaluation. Arguments of `forward` behind the pictures have their defaults.

    Args:
        in_channels: C; those of the first convolution if left out.
        fixed_size: sizes are numbers, not steps of the graph, which then holds for this size alone. Code that hands
            sizes to other libraries can be followed so.
        training: in training mode, with what the network gives in training alone.
        empty: with a batch of no pictures on the network's own device. That is quicker, and spares the second or two in
            which torch imports what the meta device needs; but a batch of none cannot be flattened by a view.

    Raises:
        SurgeryError: the network decides by the values of pictures, hides what it does from Python, or does not take
            pictures of this size.
    """
    channels = in_channels or first_channels(network)
    held = next((held for held in network.parameters() if held.is_floating_point()), torch.empty(0))
    images = held.new_empty(0 if empty else 1, channels, *size, device=held.device if empty else "meta")
    tracer = _Tracer(images, fixed_size)
    modes = {module: module.training for module in network.modules()}
    network.train(training)
    for module in network.modules():
        if not _is_leaf(module):
            module.training = _Mode(training)  # type: ignore[assignment]  # a number that is known again
    try:
        with torch.no_grad(), on_device_of(images, network):
            graph = tracer.trace(network)
    except PixelwiseError:
        raise
    except (fx.proxy.TraceError, RuntimeError, TypeError, ValueError, AttributeError, IndexError, KeyError) as error:
        what = " ".join(str(error).split())[:300]
        raise SurgeryError(
            f"{type(network).__name__} cannot be followed on a picture {tuple(tracer.images.shape)} "
            f"({type(error).__name__}: {what}); pass another size or in_channels, or the part of it that makes the map"
        ) from error
    finally:
        for module, training in modes.items():
            module.training = training
    graph.eliminate_dead_code(is_impure_node=lambda node: node.op == "placeholder" or _holds_tensor(value(node)))
    graph._tracer_cls = None  # which a saved graph would need to be read
    traced = fx.GraphModule(tracer.root, graph, type(network).__name__)
    for path, module in traced.named_modules():  # fx makes the ones that hold the layers anew
        module.training = network.get_submodule(path).training
    _settle_modes(traced, network.training)
    return traced


def value(node: fx.Node) -> Any:
    """What a node gives for one picture at the size of the trace: a tensor without data, a size, a tuple."""
    return node.meta.get(VALUE)


def module_of(node: fx.Node) -> nn.Module | None:
    """The layer that a node calls; None for a function, a method, a weight."""
    if node.op != "call_module":
        return None
    owner = node.graph.owning_module
    assert owner is not None and isinstance(node.target, str)
    return owner.get_submodule(node.target)


def described(node: fx.Node) -> str:
    """How an error names a node: the layer's path, or the function and where it is called."""
    if node.op == "call_module":
        return f"layer {node.target} ({type(module_of(node)).__name__})"
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", str(node.target))
    stack = node.meta.get("nn_module_stack") or {}
    paths = [str(path) for path, _ in stack.values() if path]
    return f"{name}()" + (f" in {paths[-1]}" if paths else "")


def strides(traced: fx.GraphModule) -> dict[fx.Node, tuple[Fraction, Fraction]]:
    """Pixels from a cell to the next, (down, right), of every map (N, C, H, W) that the graph can give at any size.

    Raises:
        SurgeryError: they cannot be told; for a trace with no pictures, some do not divide 2304 pixels.
    """
    return _measured(traced)[1]


def far_of(traced: fx.GraphModule) -> int:
    """Pixels that all strides of a graph divide; at least as many as any window is wide."""
    return _measured(traced)[0]


def _measured(traced: fx.GraphModule) -> tuple[int, dict[fx.Node, tuple[Fraction, Fraction]]]:
    near = value(next(iter(traced.graph.nodes)))
    more = FAR if near.is_meta else EMPTY_FAR
    for _ in range(ROUNDS):
        found = _strides_over(traced, more)
        inexact = {round(stride) for both in found.values() for stride in both if not _is_exact(stride, near.is_meta)}
        if not inexact:
            return more, found
        if not near.is_meta:
            break
        more = math.lcm(more, *inexact)
    raise SurgeryError(
        f"the strides of the maps cannot be told from {more} pixels; pass the part of the network with whole ones"
    )


def _is_exact(stride: Fraction, with_fractions: bool) -> bool:
    """Whether it is one that networks have: pixels to a cell, cells to a pixel, or few of both."""
    if stride.numerator == 1 or stride.denominator == 1:
        return stride.numerator <= LARGEST
    return with_fractions and stride.numerator <= LARGEST and stride.denominator <= LARGEST_DENOMINATOR


def _strides_over(traced: fx.GraphModule, more: int) -> dict[fx.Node, tuple[Fraction, Fraction]]:
    """As measured by pictures that are `more` pixels larger."""
    near = value(next(iter(traced.graph.nodes)))
    far = near.new_empty(*near.shape[:2], near.shape[2] + more, near.shape[3] + more)
    values: dict[fx.Node, Any] = {}
    found = {}
    with torch.no_grad(), on_device_of(near, traced):
        for node in traced.graph.nodes:
            if not all(source in values for source in node.all_input_nodes):
                continue
            try:
                values[node] = computed(node, traced, values, far)
            except (RuntimeError, TypeError, ValueError, IndexError, AssertionError):
                continue  # only at the size of the trace
    for node in values:
        if isinstance(values[node], Tensor) and values[node].ndim == 4 == value(node).ndim:
            cells = [
                far_side - side for far_side, side in zip(values[node].shape[2:], value(node).shape[2:], strict=True)
            ]
            if all(count > 0 for count in cells):
                found[node] = (Fraction(more, cells[0]), Fraction(more, cells[1]))
    return found


def first_channels(network: nn.Module) -> int:
    """The channels that the first convolution takes; 3 where there is none."""
    return next((module.in_channels for module in network.modules() if isinstance(module, nn.Conv2d)), 3)


class _Known(fx.Proxy):
    """A proxy whose value is known where Python needs it: a truth, a length, an index."""

    def __getattr__(self, name: str) -> "_KnownAttribute":
        if name == _ARRAY:
            raise _of_numpy(self)
        return _KnownAttribute(self, name)

    @property
    def value(self) -> Any:
        held = value(self.node)
        if isinstance(held, Tensor) and not held.is_meta:
            raise RuntimeError("it decides by the values of pictures, and there are none")
        return held

    def __bool__(self) -> bool:
        return bool(self.value)

    def __len__(self) -> int:
        return len(self.value)

    def __iter__(self) -> Iterator[Any]:
        proxy: Any = self  # whose operators torch adds when it is imported
        return (proxy[index] for index in range(len(self.value)))

    def __index__(self) -> int:
        return operator.index(self.value)

    def __int__(self) -> int:
        return int(self.value)

    def __float__(self) -> float:
        return float(self.value)


def _of_numpy(proxy: _Known) -> SurgeryError:
    """Why a value that NumPy was given cannot be followed."""
    assert isinstance(proxy.tracer, _Tracer)
    network = proxy.tracer.root
    parts = [name for name, _ in network.named_children()]
    more = f" and {len(parts) - LISTED} more" if len(parts) > LISTED else ""
    return SurgeryError(
        f"{type(network).__name__} cannot be followed: expected steps of torch alone, found that it hands "
        f"{'a tensor' if isinstance(value(proxy.node), Tensor) else 'the size of a map'} to NumPy; pass the part of it "
        f"that makes the map (its parts: {', '.join(parts[:LISTED])}{more})"
    )


class _KnownAttribute(_Known, fx.proxy.Attribute):
    """An attribute of a proxy, or a method that is about to be called."""


class _Fixed(_Known):
    """A proxy whose sizes are numbers."""

    def __getattr__(self, name: str) -> Any:
        held = getattr(value(self.node), name)
        return super().__getattr__(name) if callable(held) or isinstance(held, Tensor) else held


class _Tracer(fx.Tracer):
    """Records a network's steps, and computes each on the meta device."""

    def __init__(self, images: Tensor, fixed_size: bool) -> None:
        super().__init__(autowrap_functions=(math.ceil, math.floor, math.sqrt))
        self.images = images
        self.fixed_size = fixed_size
        self.computing = False
        self.record_module_stack = True

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Layers of torch, and classes made from one."""
        return _is_leaf(m)

    def create_args_for_root(
        self, root_fn: Callable[..., Any], is_module: bool, concrete_args: Any = None
    ) -> tuple[Callable[..., Any], list[Any]]:
        """The network itself and its pictures; what else `forward` takes has its default."""
        _, *names = inspect.signature(root_fn).parameters
        pictures = names[0] if names else "images"
        return root_fn, [self.root, self.create_proxy("placeholder", pictures, (), {})]

    def proxy(self, node: fx.Node) -> fx.Proxy:
        return _Fixed(node, self) if self.fixed_size else _Known(node, self)

    def create_proxy(self, *args: Any, **kwargs: Any) -> Any:
        proxy = super().create_proxy(*args, **kwargs)
        if self.fixed_size and not _holds_tensor(value(proxy.node)):
            return value(proxy.node)
        return proxy

    def call_module(self, m: nn.Module, forward: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        if self.computing:
            return forward(*args, **kwargs)
        return super().call_module(m, forward, args, kwargs)

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        if self.computing:
            return attr_val
        return super().getattr(attr, attr_val, parameter_proxy_cache)

    def create_node(self, *args: Any, **kwargs: Any) -> fx.Node:
        node = super().create_node(*args, **kwargs)
        self.computing = True
        try:
            values = {source: value(source) for source in node.all_input_nodes}
            node.meta[VALUE] = computed(node, self.root, values, self.images)
        finally:
            self.computing = False
        return node


def _of_torch(module: nn.Module) -> bool:
    return not isinstance(module, CONTAINERS) and any(
        base.__module__.startswith("torch.nn") and base is not nn.Module and issubclass(base, nn.Module)
        for base in type(module).__mro__
    )


def _is_leaf(module: nn.Module) -> bool:
    """Whether a module is one step of the graph: a class made from an activation or a norm may do anything."""
    if isinstance(module, Step) or not _of_torch(module):
        return isinstance(module, Step)
    own = not str(type(module).forward.__module__).startswith("torch.nn")
    return not (own and (isinstance(module, FOLLOWED) or _is_activation(module)))


class Step(nn.Module):
    """A layer of our own that is one step of a graph."""


def _is_activation(module: nn.Module) -> bool:
    return any(base.__module__ == "torch.nn.modules.activation" for base in type(module).__mro__)


class _Mode(int):
    """False or True as the mode of a network, told from every other."""


def computed(node: fx.Node, root: nn.Module, values: dict[fx.Node, Any], images: Tensor) -> Any:
    """What a node gives on the meta device, from the values of the nodes before it; inside `meta_layers(root)`."""
    args, kwargs = fx.node.map_aggregate((node.args, node.kwargs), lambda given: _plain(given, values))
    if node.op == "placeholder":
        return images
    if node.op == "get_attr":
        held = operator.attrgetter(str(node.target))(root)
        return held.to(images.device) if isinstance(held, Tensor) else held
    if node.op == "output":
        return args[0]
    if node.op == "call_module":
        with _Shortcut():
            return root.get_submodule(str(node.target))(*args, **kwargs)
    if node.op == "call_method":
        return getattr(args[0], str(node.target))(*args[1:], **kwargs)
    assert callable(node.target)
    return node.target(*args, **kwargs)


def on_device_of(images: Tensor, network: nn.Module) -> AbstractContextManager[None]:
    """While it lasts, the network's layers can be called with these pictures: on the meta device, or where they are."""
    return meta_layers(network) if images.is_meta else nullcontext()


@contextmanager
def meta_layers(network: nn.Module) -> Iterator[None]:
    """While it lasts, the network's layers of torch hold tensors of the meta device."""
    layers = [layer for module in network.modules() if _of_torch(module) for layer in module.modules()]
    slots: list[dict[str, Any]] = [held for layer in layers for held in (layer._parameters, layer._buffers)]
    owned = [dict(held) for held in slots]
    plain = [{name: held for name, held in vars(layer).items() if isinstance(held, Tensor)} for layer in layers]
    twins: dict[int, Tensor] = {}  # tensors that layers share stay one
    try:
        for held, own in zip(slots, owned, strict=True):
            for name, tensor in own.items():
                if tensor is None:
                    continue
                if id(tensor) not in twins:
                    twin = torch.empty_like(tensor, device="meta")
                    twins[id(tensor)] = nn.Parameter(twin, False) if isinstance(tensor, nn.Parameter) else twin
                held[name] = twins[id(tensor)]
        yield
    finally:
        for held, own in zip(slots, owned, strict=True):
            held.update(own)
        for layer, attributes in zip(layers, plain, strict=True):
            vars(layer).update(attributes)  # that a hook has computed anew


class _Shortcut(TorchFunctionMode):
    """Sizes alone, where torch does more for tensors without data.

    A batch norm on the meta device is a dozen operations; a dilated convolution of no pictures gets the memory of one.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is F.batch_norm and args[0].is_meta and args[1] is not None and len(args[1]) == args[0].shape[1]:
            return args[0]
        if func is F.conv2d and len(args[0]) == 0:
            return _convolved(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def _convolved(
    images: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    """What F.conv2d gives for no pictures (0, C, H, W)."""
    stride, dilation = ((value, value) if isinstance(value, int) else value for value in (stride, dilation))
    spans = [step * (side - 1) for step, side in zip(dilation, weight.shape[2:], strict=True)]
    if isinstance(padding, str):
        added = spans if padding == "same" else [0, 0]
    else:
        added = [2 * border for border in ((padding, padding) if isinstance(padding, int) else padding)]
    free = [side + more - span for side, more, span in zip(images.shape[2:], added, spans, strict=True)]
    if images.shape[1] != weight.shape[1] * groups or min(free) < 1:
        raise RuntimeError(f"a convolution {tuple(weight.shape)} of {groups} groups cannot take {tuple(images.shape)}")
    return images.new_empty(
        0, len(weight), *((cells - 1) // step + 1 for cells, step in zip(free, stride, strict=True))
    )


def _plain(given: Any, values: dict[fx.Node, Any]) -> Any:
    """An argument of a node as it is computed with."""
    if isinstance(given, fx.Node):
        return values[given]
    return bool(given) if isinstance(given, _Mode) else given


def _holds_tensor(held: Any) -> bool:
    if isinstance(held, list | tuple):
        return any(_holds_tensor(one) for one in held)
    return isinstance(held, Tensor)


def _settle_modes(traced: fx.GraphModule, training: bool) -> None:
    """Layers for the calls of dropout that were given the network's mode; what else was given it keeps that of now."""
    layers = {F.dropout: nn.Dropout, F.dropout1d: nn.Dropout1d, F.dropout2d: nn.Dropout2d, F.dropout3d: nn.Dropout3d}
    for node in list(traced.graph.nodes):
        if node.op != "call_function" or node.target not in layers:
            continue
        given = inspect.signature(node.target).bind(*node.args, **node.kwargs)
        given.apply_defaults()
        if not isinstance(given.arguments["training"], _Mode):
            continue
        name = add_layer(traced, "dropout", layers[node.target](given.arguments["p"], given.arguments["inplace"]))
        traced.get_submodule(name).training = training
        with traced.graph.inserting_after(node):
            layer = traced.graph.call_module(name, (given.arguments["input"],))
        layer.meta = dict(node.meta)
        node.replace_all_uses_with(layer)
        traced.graph.erase_node(node)
    for node in traced.graph.nodes:
        node.args, node.kwargs = fx.node.map_aggregate(
            (node.args, node.kwargs), lambda given: bool(given) if isinstance(given, _Mode) else given
        )
    traced.recompile()


def add_layer(traced: fx.GraphModule, name: str, layer: nn.Module) -> str:
    """Put a layer at the top of a graph's modules, under the name or the next free `name_1`, …; the name it got."""
    free = name
    number = 0
    while hasattr(traced, free):
        number += 1
        free = f"{name}_{number}"
    traced.add_module(free, layer)
    return free
