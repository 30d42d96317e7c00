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
from fractions import Fraction
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from pixelwise.errors import PixelwiseError, SurgeryError

VALUE = "val"  # the key in a node's `meta`: its value for one picture, tensors on the meta device
CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
FAR = 2**7 * 3**2 * 5 * 7  # pixels; all strides that networks have divide it


def trace(network: nn.Module, size: tuple[int, int], *, in_channels: int | None = None) -> fx.GraphModule:
    """The graph of a network in evaluation mode, for pictures (1, C, *size); each node's value is `value(node)`.

    Torch's own layers, and classes made from them, are nodes; all else is followed into. The modules are the network's
    own, under their names; the mode of the graph is the network's. Checks of sizes are decided and gone; dropout by a
    function becomes a layer, so that it follows the mode.

    Args:
        in_channels: C; those of the first convolution if left out.

    Raises:
        SurgeryError: the network decides by the values of pictures, hides what it does from Python, or does not take
            pictures of this size.
    """
    tracer = _Tracer(torch.empty(1, in_channels or first_channels(network), *size, device="meta"))
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        with torch.no_grad():
            graph = tracer.trace(network)
    except PixelwiseError:
        raise
    except (fx.proxy.TraceError, RuntimeError, TypeError, ValueError, AttributeError, IndexError, KeyError) as error:
        what = " ".join(str(error).split())[:300]
        raise SurgeryError(
            f"{type(network).__name__} cannot be followed on a picture {tuple(tracer.images.shape)} "
            f"({type(error).__name__}: {what}); pass another size, or the part of it that makes the map"
        ) from error
    finally:
        for module, training in modes.items():
            module.training = training
    graph.eliminate_dead_code(is_impure_node=lambda node: node.op == "placeholder" or _holds_tensor(value(node)))
    traced = fx.GraphModule(tracer.root, graph, type(network).__name__)
    for path, module in traced.named_modules():  # fx makes the ones that hold the layers anew
        module.training = network.get_submodule(path).training
    _dropout_layers(traced, network.training)
    return traced


def value(node: fx.Node) -> Any:
    """What a node gives for one picture at the size of the trace: a tensor on the meta device, a size, a tuple."""
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
    """Pixels from a cell to the next, (down, right), of every map (N, C, H, W) that the graph can give at any size."""
    (images,) = (node for node in traced.graph.nodes if node.op == "placeholder")
    near = value(images)
    far = torch.empty(*near.shape[:2], near.shape[2] + FAR, near.shape[3] + FAR, device="meta")
    values: dict[fx.Node, Any] = {}
    found = {}
    for node in traced.graph.nodes:
        if not all(source in values for source in node.all_input_nodes):
            continue
        try:
            values[node] = _computed(node, traced, values, far)
        except (RuntimeError, TypeError, ValueError, IndexError, AssertionError):
            continue  # only at the size of the trace
        if isinstance(values[node], Tensor) and values[node].ndim == 4:
            more = [
                far_side - side for far_side, side in zip(values[node].shape[2:], value(node).shape[2:], strict=True)
            ]
            if all(cells > 0 for cells in more):
                found[node] = (Fraction(FAR, more[0]), Fraction(FAR, more[1]))
    return found


def first_channels(network: nn.Module) -> int:
    """The channels that the first convolution takes; 3 where there is none."""
    return next((module.in_channels for module in network.modules() if isinstance(module, nn.Conv2d)), 3)


class _Known(fx.Proxy):
    """A proxy whose value is known where Python needs it: a truth, a length, an index."""

    def __getattr__(self, name: str) -> "_KnownAttribute":
        return _KnownAttribute(self, name)

    @property
    def value(self) -> Any:
        return value(self.node)

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


class _KnownAttribute(_Known, fx.proxy.Attribute):
    """An attribute of a proxy, or a method that is about to be called."""


class _Tracer(fx.Tracer):
    """Records a network's steps, and computes each on the meta device."""

    def __init__(self, images: Tensor) -> None:
        super().__init__(autowrap_functions=(math.ceil, math.floor, math.sqrt))
        self.images = images
        self.computing = False
        self.record_module_stack = True

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Layers of torch, and classes made from one, whatever they do in it."""
        return not isinstance(m, CONTAINERS) and any(
            base.__module__.startswith("torch.nn") and base is not nn.Module and issubclass(base, nn.Module)
            for base in type(m).__mro__
        )

    def proxy(self, node: fx.Node) -> fx.Proxy:
        return _Known(node, self)

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
            node.meta[VALUE] = _computed(node, self.root, values, self.images)
        finally:
            self.computing = False
        return node


def _computed(node: fx.Node, root: nn.Module, values: dict[fx.Node, Any], images: Tensor) -> Any:
    args, kwargs = fx.node.map_arg((node.args, node.kwargs), lambda source: values[source])
    if node.op == "placeholder":
        default = node.args[0] if node.args else inspect.Parameter.empty
        return images if default is inspect.Parameter.empty else default
    if node.op == "get_attr":
        held = operator.attrgetter(str(node.target))(root)
        return held.to("meta") if isinstance(held, Tensor) else held
    if node.op == "output":
        return args[0]
    if node.op == "call_module":
        layer = root.get_submodule(str(node.target))
        with torch.no_grad():
            state = {name: t.to("meta") for name, t in [*layer.named_parameters(), *layer.named_buffers()]}
            return torch.func.functional_call(layer, state, args, kwargs)
    if node.op == "call_method":
        return getattr(args[0], str(node.target))(*args[1:], **kwargs)
    assert callable(node.target)
    return node.target(*args, **kwargs)


def _holds_tensor(held: Any) -> bool:
    if isinstance(held, list | tuple):
        return any(_holds_tensor(one) for one in held)
    return isinstance(held, Tensor)


def _dropout_layers(traced: fx.GraphModule, training: bool) -> None:
    """Layers for the calls of functions that were given the network's mode, which tells evaluation in the trace."""
    layers = {F.dropout: nn.Dropout, F.dropout1d: nn.Dropout1d, F.dropout2d: nn.Dropout2d, F.dropout3d: nn.Dropout3d}
    for node in list(traced.graph.nodes):
        if node.op != "call_function" or node.target not in layers:
            continue
        given = inspect.signature(node.target).bind(*node.args, **node.kwargs)
        given.apply_defaults()
        if given.arguments["training"] is not False:
            continue
        name = add_layer(traced, "dropout", layers[node.target](given.arguments["p"]).train(training))
        with traced.graph.inserting_after(node):
            layer = traced.graph.call_module(name, (given.arguments["input"],))
        layer.meta = dict(node.meta)
        node.replace_all_uses_with(layer)
        traced.graph.erase_node(node)
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
