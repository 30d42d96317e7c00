"""What the tests that run over all networks share."""

import inspect
from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from pixelwise.models import MODELS

NARROW = {"num_classes": 5, "width": 1 / 16}
SIZES = [(1, 1), (2, 3), (17, 33), (64, 64)]


def channels_of(name):
    """3, but 4 for RGB-D and 6 for RGB with HHA."""
    return inspect.signature(MODELS[name]).parameters["in_channels"].default


def pictures(name, batch, height, width):
    return torch.randn(batch, channels_of(name), height, width)


def awake(network):
    """The network with what starts at zero made random: a zero score layer would hide everything before it."""
    for parameter in network.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.1)
    return network


def loss_of(network, images):
    """The sum over all heads, as every parameter serves one of them; over a list of pixels, as `UNSTEADY` asks."""
    target = torch.arange(images.shape[0] * images.shape[2] * images.shape[3])
    scores = [head.full_size().movedim(1, -1).flatten(0, -2) for head in network.heads(images).values()]
    return sum(functional.cross_entropy(full, target % full.shape[1]) for full in scores)


class Recorded(TorchDispatchMode):
    """Keeps the names of all operations of torch, forward and backward."""

    def __init__(self):
        super().__init__()
        self.names = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.add(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


# Operations that have no deterministic form on a GPU: torch.use_deterministic_algorithms, "will throw a RuntimeError".
UNSTEADY = {
    "adaptive_max_pool2d_backward",
    "_adaptive_avg_pool2d_backward",
    "avg_pool3d_backward",
    "bincount",
    "cumsum",
    "fractional_max_pool2d_backward",
    "grid_sampler_2d_backward",
    "histc",
    "max_pool3d_with_indices_backward",
    "max_unpool2d",
    "median",
    "nll_loss2d_backward",
    "nll_loss2d_forward",
    "put_",
    "reflection_pad2d_backward",
    "replication_pad2d_backward",
    "scatter_reduce",
    "upsample_bicubic2d_backward",
    "upsample_bilinear2d_backward",
    "upsample_linear1d_backward",
}


def untouched(network):
    """The parameters that no gradient reaches; in a convolution's bias a millionth of its weights' is rounding."""
    names = []
    for name, parameter in network.named_parameters():
        layer, _, leaf = name.rpartition(".")
        least = 0.0
        module = network.get_submodule(layer)
        if leaf == "bias" and isinstance(module, nn.Conv2d) and parameter.grad is not None:
            least = 1e-6 * module.weight.grad.abs().max()
        if parameter.grad is None or parameter.grad.abs().max() <= least:
            names.append(name)
    return names


def centered(network):
    """The biases before a batch norm, which takes them away again: SegNet's, as its files have them."""
    names = []
    for path, module in network.named_modules():
        for (name, layer), (_, behind) in pairwise(module.named_children()):
            if isinstance(behind, nn.BatchNorm2d) and getattr(layer, "bias", None) is not None:
                names.append(f"{path}.{name}.bias")
    return names
