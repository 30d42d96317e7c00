"""The layers of a network, or of a file, by the paths of their modules, as `transplant` sees them."""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor, nn

from pixelwise.errors import BadOption

WRAPPERS = ("module.", "_orig_mod.")  # what DataParallel and torch.compile put before every name
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


@dataclass(eq=False)
class Layer:
    """The tensors under one path of a network, and what stands around it there.

    Attributes:
        before, after: the next layers that are no mere factors, in the network's order.
    """

    path: str
    tensors: dict[str, Tensor]
    module: nn.Module | None = None
    before: "Layer | None" = None
    after: "Layer | None" = None

    @property
    def weight(self) -> Tensor | None:
        """Its tensor of this name."""
        return self.tensors.get("weight")

    @property
    def transposed(self) -> bool:
        """Whether its weight is (in, out, …); a file does not tell."""
        return isinstance(self.module, TRANSPOSED)

    @property
    def convolution(self) -> bool:
        """Whether its weight has taps; in a file, every weight of three axes or more."""
        known = self.module is None or hasattr(self.module, "kernel_size")
        return known and self.weight is not None and self.weight.dim() > 2

    @property
    def flat(self) -> bool:
        """Whether its weight is a matrix."""
        return self.weight is not None and self.weight.dim() == 2

    @property
    def groups(self) -> int:
        """Of a convolution; 1 in a file."""
        return int(getattr(self.module, "groups", 1))

    def channels(self, like: "Layer | None" = None) -> tuple[int, int]:
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
        """Whether it has one filter for each channel."""
        return self.weight is not None and 1 < self.groups == self.weight.shape[0] and self.weight.shape[1] == 1


def layers_of(network: nn.Module | Mapping[str, Tensor], which: str) -> dict[str, Layer]:
    """The layers of a network by path, in its order."""
    state = network.state_dict(keep_vars=True) if isinstance(network, nn.Module) else network
    if not isinstance(state, Mapping):
        raise BadOption(f"{which} must be a network or tensors by name, got {type(state).__name__}")
    modules = dict(network.named_modules()) if isinstance(network, nn.Module) else {}
    layers: dict[str, Layer] = {}
    for name, tensor in state.items():
        if name.rpartition(".")[2] == "_extra_state":
            continue
        if not isinstance(tensor, Tensor):
            raise BadOption(
                f"{which} holds {type(tensor).__name__} under {name!r}; pass the mapping of names to tensors"
            )
        path, _, leaf = name.rpartition(".")
        layers.setdefault(path, Layer(path, {}, modules.get(path))).tensors[leaf] = tensor
    for wrapper in WRAPPERS:
        if layers and all(f"{path}.".startswith(wrapper) for path in layers):
            layers = {f"{path}."[len(wrapper) :].rstrip("."): layer for path, layer in layers.items()}
    for path, layer in layers.items():
        layer.path = path
    _link(layers.values())
    _link(reversed(layers.values()), attribute="after")
    return layers


def _link(layers: Iterable[Layer], attribute: str = "before") -> None:
    nearest: Layer | None = None
    for layer in layers:
        setattr(layer, attribute, nearest)
        if layer.weight is not None and layer.weight.dim() > 1:
            nearest = layer


def holds(path: str, layer: str) -> bool:
    """Whether a layer's path is this one, or stands below it."""
    return not path or f"{layer}.".startswith(f"{path}.")


def moved(mine: str, other: str) -> tuple[str, str, tuple[str, ...]]:
    """What comes before the common end of two paths, in each, and the end."""
    ours, theirs = mine.split("."), other.split(".")
    common = 0
    while common < min(len(ours), len(theirs)) and ours[-1 - common] == theirs[-1 - common]:
        common += 1
    to, of = (".".join(words[: len(words) - common]) for words in (ours, theirs))
    return to, of, tuple(ours[len(ours) - common :])


def written(sizes: Sequence[int]) -> str:
    """A shape as people write it: 3 × 3."""
    return " × ".join(map(str, sizes)) or "one number"
