"""Folding: a network for prediction alone, its batch norms computed into the weights of the layers before them.

A batch norm in evaluation is γ·(x − μ)/√(σ² + ε) + β with numbers that stand still. Behind a convolution, a transposed
one or a linear layer it is the same layer with weights γ/√(σ² + ε) times as large, and another bias.

Which layer a batch norm follows is not read off names: the network is run on the meta device, and a pair is folded
where the norm is all that ever takes the layer's output. Where a network cannot be run so nothing is folded.
"""

import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvTransposeNd
from torch.overrides import TorchFunctionMode

from pixelwise.errors import PixelwiseError
from pixelwise.inference.engine import Precision, TorchEngine
from pixelwise.surgery.graph import first_channels
from pixelwise.surgery.receptive_field import on_meta

SIZE = (97, 131)  # of the picture that the network is followed with
Pair = tuple[str, str]
"""Paths of a layer and of the batch norm behind it."""

_LAYERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d, nn.Linear)
_GETTERS = ("__get__", "size", "dim", "numel")  # what only asks about a tensor


def folded(network: nn.Module, precision: Precision = "fp32", channels: int | None = None) -> TorchEngine:
    """An engine of a copy for prediction alone: batch norms folded, channels last, in evaluation.

    The network stays as it is. Weights that are not changed are shared with it; one that is trained further needs a
    new engine.

    Args:
        precision: with "bf16" the copy's convolutions and linear layers hold their weights in bfloat16.
        channels: of the pictures it takes; those of its first convolution if left out.
    """
    shared = {id(held): held for held in (*network.parameters(), *network.buffers())}
    twin = copy.deepcopy(network, dict(shared)).eval()  # the memo: tensors are not copied
    for layer_path, norm_path in pairs(twin, channels):
        _fold(twin, layer_path, norm_path)
    for layer in twin.modules():
        if isinstance(layer, _LAYERS) and _is_plain(layer):
            _lay_out(layer, precision)
    return TorchEngine(twin, precision)


def pairs(network: nn.Module, channels: int | None = None) -> list[Pair]:
    """The layers that are followed by a batch norm alone, with it; none where the network cannot be followed.

    Args:
        channels: see `folded`.
    """
    paths = {id(module): path for path, module in network.named_modules()}
    holders: dict[int, int] = {}
    for module in network.modules():
        for held in module._parameters.values():
            if held is not None:
                holders[id(held)] = holders.get(id(held), 0) + 1
    if not any(isinstance(module, _BatchNorm) for module in network.modules()):
        return []
    try:
        takers = _takers(network, channels or first_channels(network))
    except (PixelwiseError, RuntimeError, TypeError, ValueError, AttributeError, NotImplementedError):
        return []  # it needs the values of pictures, as a CRF among its layers does
    before: dict[str, set[str]] = {}
    for path, found in takers.items():
        for taker in found:
            before.setdefault(taker, set()).add(path)
    result = []
    for layer_path, found in takers.items():
        if len(found) != 1 or before[next(iter(found))] != {layer_path}:
            continue
        (norm_path,) = found
        if norm_path not in paths.values():
            continue
        layer, norm = network.get_submodule(layer_path), network.get_submodule(norm_path)
        alone = all(holders[id(held)] == 1 for held in layer._parameters.values() if held is not None)
        if alone and isinstance(norm, _BatchNorm) and norm.running_mean is not None and norm.running_var is not None:
            result.append((layer_path, norm_path))
    return result


def _is_plain(layer: nn.Module) -> bool:
    """Torch's own way of computing, with weights of its own: no hooks that make them anew, no parametrization."""
    own = any(type(layer).forward is known.forward for known in _LAYERS)
    return own and not layer._forward_pre_hooks and not layer._forward_hooks and not hasattr(layer, "parametrizations")


def _takers(network: nn.Module, channels: int) -> dict[str, set[str]]:
    """{path of a layer: paths of the batch norms that take its output, and "" for anything else}."""
    twin = on_meta(network).eval()
    found: dict[str, set[str]] = {}
    watch = _Watch(found)
    hooks = list(_hooked(twin, watch))
    try:
        with torch.no_grad(), watch:
            heads = twin.heads(torch.empty(1, channels, *SIZE, device="meta"))  # type: ignore[operator]  # nn.Module says Tensor | Module
    finally:
        for hook in hooks:
            hook.remove()
    for head in heads.values():
        watch.take(head.scores, "")
    return found


def _hooked(network: nn.Module, watch: "_Watch") -> Iterator[Any]:
    for path, module in network.named_modules():
        if isinstance(module, _LAYERS) and _is_plain(module):
            yield module.register_forward_hook(lambda _, inputs, output, path=path: watch.give(output, path))
        elif isinstance(module, _BatchNorm):
            yield module.register_forward_pre_hook(lambda _, inputs, path=path: watch.enter(inputs[0], path))
            yield module.register_forward_hook(lambda _, inputs, output: watch.leave())


class _Watch(TorchFunctionMode):
    """Notes what takes the outputs of layers while a network runs."""

    def __init__(self, found: dict[str, set[str]]) -> None:
        super().__init__()
        self.found = found
        self.made: dict[int, tuple[Tensor, str]] = {}  # the tensors are held, so that no id comes again
        self.within: str | None = None

    def give(self, output: Tensor, path: str) -> None:
        """A layer gave this."""
        self.made[id(output)] = (output, path)
        self.found.setdefault(path, set())

    def enter(self, values: Tensor, path: str) -> None:
        """A batch norm takes this."""
        self.within = path
        self.take(values, path)

    def leave(self) -> None:
        """It is done."""
        self.within = None

    def take(self, values: Any, by: str) -> None:
        """Something takes a tensor, or things that may hold one."""
        if isinstance(values, Tensor):
            if id(values) in self.made:
                self.found[self.made[id(values)][1]].add(by)
        elif isinstance(values, list | tuple):
            for value in values:
                self.take(value, by)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if self.within is None and getattr(func, "__name__", "") not in _GETTERS:
            self.take((*args, *kwargs.values()), "")
        return func(*args, **kwargs)


def _fold(network: nn.Module, layer_path: str, norm_path: str) -> None:
    """Give a layer the weights of itself and its batch norm, which goes."""
    layer, norm = network.get_submodule(layer_path), network.get_submodule(norm_path)
    assert isinstance(norm, _BatchNorm) and norm.running_mean is not None and norm.running_var is not None
    weight, bias = layer.weight, layer.bias
    assert isinstance(weight, Tensor) and (bias is None or isinstance(bias, Tensor))
    with torch.no_grad():
        factor = (norm.running_var.double() + norm.eps).rsqrt()
        if norm.weight is not None:
            factor = factor * norm.weight.double()
        shift = -norm.running_mean.double() if bias is None else bias.double() - norm.running_mean.double()
        shift = shift * factor + (0 if norm.bias is None else norm.bias.double())
        if isinstance(layer, _ConvTransposeNd):  # (C, C′/groups, …): the outputs of a group in one run of inputs
            inputs, outputs = weight.shape[:2]
            per_input = factor.view(layer.groups, 1, outputs).expand(-1, inputs // layer.groups, -1)
            scaled = weight.double() * per_input.reshape(inputs, outputs, *[1] * (weight.ndim - 2))
        else:
            scaled = weight.double() * factor.view(-1, *[1] * (weight.ndim - 1))
    layer.weight = nn.Parameter(scaled.to(weight.dtype), requires_grad=False)
    layer.bias = nn.Parameter(shift.to(weight.dtype), requires_grad=False)
    owner, _, name = norm_path.rpartition(".")
    setattr(network.get_submodule(owner), name, nn.Identity())


def _lay_out(layer: nn.Module, precision: Precision) -> None:
    """Channels last, and in bfloat16 where that is wanted; tensors that have it already stay the same ones."""
    for name in ("weight", "bias"):
        held = getattr(layer, name)
        if held is None:
            continue
        values = held.detach().to(torch.bfloat16) if precision == "bf16" else held.detach()
        if values.ndim == 4:
            values = values.contiguous(memory_format=torch.channels_last)
        if values.data_ptr() != held.data_ptr():
            setattr(layer, name, nn.Parameter(values, requires_grad=False))
