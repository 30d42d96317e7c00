"""Another number of classes: new scoring layers at a network's end, all else as it was.

The layers are found by the graph, from the scores backwards: what works on each class by itself (activations, pools,
sums, crops, upsampling, flattening) is passed, and the first layer with weights on each way is the scoring layer. FCN
has three, whose scores are summed; all are replaced.
"""

import copy
import operator
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import permutations
from typing import Any, TypeVar

import torch
from torch import Tensor, fx, nn

from pixelwise.errors import BadOption, PixelwiseError, SurgeryError
from pixelwise.surgery.graph import described, module_of, trace, value

Network = TypeVar("Network", bound=nn.Module)
Scoring = nn.Linear | nn.Conv2d | nn.ConvTranspose2d
Normalizing = nn.BatchNorm1d | nn.BatchNorm2d | nn.InstanceNorm2d
LINEAR = (  # steps on the way of scores that are added up at one size
    *(operator.add, operator.iadd, operator.mul, operator.getitem, torch.add, nn.functional.interpolate),
    *("add", "add_", "mul", "index_select", "to", "float"),
)
SIZES = (224, 227, 299, 97, 64, 32, 28, 8)  # pixels a side, tried where none is given


def replace_classifier(
    network: Network,
    classes: int | Sequence[str],
    *,
    size: int | tuple[int, int] | None = None,
    in_channels: int | None = None,
) -> Network:
    """The network, changed in place, with new scoring layers for other classes.

    New layers have their old names, devices and precisions, and start as torch initializes them; they can be trained
    even where the old ones were frozen. The rest keeps its weights. So do layers behind the scores that hold one
    filter for each class and no filter between classes (FCN's learned upsampling as it starts): each new class gets
    the mean of the filters. Batch norms of scores start anew.

    Where scores are refined by convolutions from all classes to all (Dilation's context, GCN's boundary refinement),
    the last on each way is the scoring layer, and the ones before it keep their width and weights.

    A network with `heads` is followed through these: all heads with as many classes as the first are replaced
    (auxiliary ones in training, too), others stay (FCN's geometric classes). So are the outputs of a network that gives
    several, the scores first; features beside them stay, even if they are as many as the classes.

    Args:
        classes: how many, from 1 up, or their names.
        size: of pictures that the network takes, (height, width) or a side; a few are tried if left out.
        in_channels: of pictures; those of the first convolution if left out.

    Raises:
        BadOption: classes are no number from 1 up and no list of different names.
        SurgeryError: the scores do not come from layers that can be replaced; the network is as it was.

    >>> network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 1000))
    >>> replace_classifier(network, ["cat", "dog"])[3]
    Linear(in_features=8, out_features=2, bias=True)
    """
    number = _number(classes)
    if isinstance(network, nn.DataParallel | nn.parallel.DistributedDataParallel):
        raise SurgeryError(
            f"{type(network).__name__} holds copies of the network; pass network.module, and wrap it anew"
        )
    sizes = [(side, side) for side in SIZES] if size is None else [(size, size) if isinstance(size, int) else size]
    traced, at = _traced(network, sizes, in_channels)
    graphs = [traced]
    unseen = _unseen(network, traced)
    if unseen:
        try:
            graphs.append(_trace(network, at, in_channels, training=True))
        except PixelwiseError as error:
            raise SurgeryError(
                f"layer {unseen[0]} has as many outputs as there are classes, and is reached in training alone, if at "
                f"all; {error}"
            ) from error
    new = {}
    for path, (takes, gives) in _changes(graphs).items():
        layer = network.get_submodule(path)
        new[layer] = _new_layer(path, layer, takes, gives, number)
    _put(network, new)
    try:
        for graph, training in zip(graphs, (False, True), strict=False):
            _check(graph, _trace(network, at, in_channels, training=training), number)
    except PixelwiseError as error:
        _put(network, {layer: old for old, layer in new.items()})
        raise SurgeryError(
            f"{type(network).__name__} does not work with {number} classes by new scoring layers alone: {error}"
        ) from error
    return network


def _number(classes: int | Sequence[str]) -> int:
    if isinstance(classes, int) and not isinstance(classes, bool) and classes > 0:
        return classes
    if isinstance(classes, Sequence) and not isinstance(classes, str):
        names = [name for name in classes if isinstance(name, str)]
        if names and len(names) == len(classes) == len(set(names)):
            return len(names)
    raise BadOption(f"classes must be a number from 1 up, or a list of different names, got {classes!r}")


class _Scores(nn.Module):
    """All that a network gives, the prediction first; of heads, the scores on their own grids."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.training = network.training

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        heads = getattr(self.network, "heads", None)
        given = tuple(_tensors(heads(images) if callable(heads) else self.network(images)))
        if not given:
            raise SurgeryError(f"{type(self.network).__name__} gives no scores (N, K) or (N, K, h, w)")
        return given


PREFIX = "network."


def _tensors(given: Any) -> Iterator[Any]:
    if isinstance(given, Tensor | fx.Proxy):
        yield given
    elif isinstance(given, Mapping):
        yield from _tensors(list(given.values()))
    elif isinstance(given, list | tuple):
        for one in given:
            yield from _tensors(one)
    elif hasattr(given, "scores"):
        yield given.scores


def _trace(network: nn.Module, size: tuple[int, int], in_channels: int | None, *, training: bool) -> fx.GraphModule:
    scores = _Scores(network)
    try:
        return trace(scores, size, in_channels=in_channels, fixed_size=True, training=training)
    except SurgeryError as error:
        raise SurgeryError(str(error).replace(type(scores).__name__, type(network).__name__, 1)) from error


def _traced(
    network: nn.Module, sizes: Sequence[tuple[int, int]], in_channels: int | None
) -> tuple[fx.GraphModule, tuple[int, int]]:
    """The graph at the first size that the network takes."""
    errors = []
    for size in sizes:
        try:
            return _trace(network, size, in_channels, training=False), size
        except PixelwiseError as error:
            errors.append(error)
    if len(sizes) == 1:
        raise errors[0]
    sides = ", ".join(str(side) for side, _ in sizes)
    raise SurgeryError(
        f"{type(network).__name__} cannot be followed on pictures of {sides} pixels a side; pass size (and "
        f"in_channels). At the first: {errors[0]}"
    ) from errors[0]


def _given(traced: fx.GraphModule) -> tuple[fx.Node, ...]:
    """The nodes of all outputs."""
    (output,) = (node for node in traced.graph.nodes if node.op == "output")
    given: tuple[fx.Node, ...] = output.args[0]
    return given


def _outputs(traced: fx.GraphModule) -> list[fx.Node]:
    """The nodes of the scores: the first output, and those with as many classes.

    What the scoring layers of the first read are features, even if they are as many.
    """
    first, *others = _given(traced)
    if _classes(first) is None:
        raise SurgeryError(f"the network gives {_shown(first)} first, not scores (N, K) or (N, K, h, w)")
    alike = [node for node in others if _classes(node) == _classes(first)]
    if not alike:
        return [first]
    read = _before_all(_scoring(_scores([first])))
    return [first, *(node for node in alike if node not in read)]


def _classes(node: fx.Node) -> int | None:
    """The length of a tensor's second dimension; None where there is none."""
    held = value(node)
    return held.shape[1] if isinstance(held, Tensor) and held.ndim > 1 else None


def _unseen(network: nn.Module, traced: fx.GraphModule) -> list[str]:
    """Layers with as many outputs as there are classes that the graph never calls."""
    classes = _classes(_outputs(traced)[0])
    seen = {module_of(node) for node in traced.graph.nodes}
    return [
        path
        for path, layer in network.named_modules()
        if isinstance(layer, nn.Linear | nn.Conv2d) and layer not in seen and _widths(layer)[1] == classes
    ]


def _changes(graphs: Iterable[fx.GraphModule]) -> dict[str, tuple[bool, bool]]:
    """Of each layer to be replaced, by its path: whether it takes scores, and whether it gives scores."""
    uses: dict[str, tuple[bool, bool]] = {}
    for traced in graphs:
        outputs = _outputs(traced)
        scores = _scores(outputs)
        _check_ends(traced, scores)
        for node in traced.graph.nodes:
            if not isinstance(module_of(node), Scoring | Normalizing):
                continue
            use = any(source in scores for source in node.all_input_nodes), node in scores
            if uses.setdefault(node.target, use) != use:
                raise SurgeryError(f"{_named(node)} is called for the scores and for other maps; it cannot be replaced")
    if "network" in uses:
        raise SurgeryError("the network is its scoring layer, which cannot be replaced in place; make a new one")
    return {path.removeprefix(PREFIX): use for path, use in uses.items() if any(use)}


def _scores(outputs: Iterable[fx.Node]) -> set[fx.Node]:
    """All tensors whose second dimension is that of the classes, from the outputs to the scoring layers."""
    found: set[fx.Node] = set()
    waiting = list(outputs)
    while waiting:
        node = waiting.pop()
        if node not in found:
            found.add(node)
            waiting += [*_before(node), *_behind(node)]
    return found


def _before(node: fx.Node) -> list[fx.Node]:
    """The scores that these are made from; none where they come from a scoring layer."""
    layer, classes = module_of(node), _classes(node)
    if isinstance(layer, Scoring) and not _class_wise(layer):
        if isinstance(layer, nn.Linear) and value(node).ndim != 2:
            raise SurgeryError(f"{_named(node)} gives scores {tuple(value(node).shape)}, not (N, K)")
        return []
    sources = [source for source in node.all_input_nodes if _classes(source) == classes]
    if node.op in ("placeholder", "get_attr") or not sources:
        raise SurgeryError(
            f"the scores come from {_named(node)}, which is no linear layer, convolution or transposed convolution; "
            "only these can be replaced"
        )
    own = [] if layer is None or isinstance(layer, Scoring | Normalizing) else [*layer.parameters(), *layer.buffers()]
    if any(tensor.numel() > 1 for tensor in own):
        raise SurgeryError(f"{_named(node)} works on the scores with weights of its own, of which there is no rule")
    return sources


def _behind(node: fx.Node) -> list[fx.Node]:
    """The scores that are made from these."""
    found = []
    for user in node.users:
        layer = module_of(user)
        if user.op == "output" or (isinstance(layer, Scoring) and not _class_wise(layer)):
            continue
        if _classes(user) != _classes(node):
            raise SurgeryError(
                f"{_named(user)} makes {_shown(user)} of scores {_shown(node)}, and there is no rule for how it goes "
                "with another number of classes"
            )
        found.append(user)
    return found


def _class_wise(layer: nn.Module) -> bool:
    """From scores to scores: an upsampling of each class, or a filter for each."""
    if isinstance(layer, nn.ConvTranspose2d):
        return layer.in_channels == layer.out_channels
    return isinstance(layer, nn.Conv2d) and 1 < layer.groups == layer.in_channels == layer.out_channels


def _scoring(scores: Iterable[fx.Node]) -> list[fx.Node]:
    """The scoring layers among the nodes of scores."""
    layers = ((node, module_of(node)) for node in scores)
    return [node for node, layer in layers if isinstance(layer, Scoring) and not _class_wise(layer)]


def _before_all(nodes: Iterable[fx.Node]) -> set[fx.Node]:
    """All that these are made from."""
    found: set[fx.Node] = set()
    waiting = list(nodes)
    while waiting:
        sources = [source for source in waiting.pop().all_input_nodes if source not in found]
        found.update(sources)
        waiting += sources
    return found


def _check_ends(traced: fx.GraphModule, scores: set[fx.Node]) -> None:
    """What the scoring layers give must be scores, and not features that are as many.

    It is doubtful where another output, or another scoring layer, is made from it by a layer's weights. One kind of
    network is known to do so: residual refinement (GCN) adds to the scores what convolutions make from them. There no
    activation is on the way, as it is on that of features.
    """
    ends = _scoring(node for node in traced.graph.nodes if node in scores)
    before = {node: _before_all([node]) for node in {*scores, *_given(traced)}}
    for output in _given(traced):
        made_from = [end for end in ends if end in before[output]]
        if output not in scores and made_from:
            raise SurgeryError(
                f"{_named(made_from[0])} gives the network's first output, from which {_named(output)} makes another: "
                "features, not scores; pass a network whose first output are the scores"
            )
    for other, end in permutations(ends, 2):
        if other not in before[end]:
            continue
        between = [node for node in scores & before[end] if other in before[node]]
        if not scores.isdisjoint(end.all_input_nodes) or not all(map(_sums_or_resamples, between)):
            raise SurgeryError(
                f"{_named(end)} reads what {_named(other)} gives, and both have {_classes(end)} outputs, so that it "
                "cannot be told which are scores and which are features; replace the layer by hand"
            )


def _sums_or_resamples(node: fx.Node) -> bool:
    layer = module_of(node)
    return node.target in LINEAR if layer is None else isinstance(layer, Scoring | nn.Upsample | nn.Identity)


def _named(node: fx.Node) -> str:
    if node.op == "placeholder":
        return "the pictures"
    if node.op == "get_attr":
        return f"the tensor {str(node.target).removeprefix(PREFIX)}"
    return described(node).replace(PREFIX, "", 1)


def _shown(node: fx.Node) -> str:
    held = value(node)
    return str(tuple(held.shape)) if isinstance(held, Tensor) else type(held).__name__


def _widths(layer: nn.Linear | nn.Conv2d | nn.ConvTranspose2d) -> tuple[int, int]:
    if isinstance(layer, nn.Linear):
        return layer.in_features, layer.out_features
    return layer.in_channels, layer.out_channels


def _new_layer(path: str, old: nn.Module, takes: bool, gives: bool, number: int) -> nn.Module:
    """The layer for another number of classes where it takes, where it gives scores."""
    if set(dict(old.named_parameters())) - {"weight", "bias"}:
        raise SurgeryError(f"layer {path} has a weight made from others; remove its parametrization first")
    new = copy.deepcopy(old)
    if isinstance(new, Normalizing):
        new.num_features = number
        for name, tensor in [*new.named_parameters(), *new.named_buffers()]:
            if tensor.ndim:
                _resize(new, name, (number,))
        new.reset_parameters()
        return new
    assert isinstance(old, Scoring) and isinstance(new, Scoring)
    inputs, outputs = (
        number if changed else width for changed, width in zip((takes, gives), _widths(old), strict=True)
    )
    if isinstance(new, nn.Linear):
        new.in_features, new.out_features = inputs, outputs
        _resize(new, "weight", (outputs, inputs))
    else:
        if new.groups > 1 and _class_wise(new) and new.groups == new.in_channels:
            new.groups = number
        if inputs % new.groups or outputs % new.groups:
            raise SurgeryError(f"layer {path} has {new.groups} groups, into which {number} classes do not go")
        new.in_channels, new.out_channels = inputs, outputs
        first, second = (outputs, inputs) if isinstance(new, nn.Conv2d) else (inputs, outputs)
        _resize(new, "weight", (first, second // new.groups, *new.kernel_size))
    if new.bias is not None:
        _resize(new, "bias", (outputs,))
    new.reset_parameters()
    kernel = _class_kernel(old)
    if kernel is not None:
        assert not isinstance(new, nn.Linear)
        with torch.no_grad():
            (new.weight.zero_().diagonal().movedim(-1, 0) if new.groups == 1 else new.weight[:, 0]).copy_(kernel)
            if new.bias is not None:
                new.bias.zero_()
        for name, parameter in new.named_parameters():
            parameter.requires_grad_(old.get_parameter(name).requires_grad)
    return new


def _class_kernel(layer: nn.Module) -> Tensor | None:
    """The mean (h, w) of the filters of a layer that has one for each class, and none between classes."""
    if not _class_wise(layer):
        return None
    assert isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)
    weight = layer.weight.detach()
    own = weight[:, 0] if layer.groups > 1 else weight.diagonal().movedim(-1, 0)
    if own.count_nonzero() != weight.count_nonzero():
        return None
    return own[0] if (own == own[0]).all() else own.mean(0)


def _resize(layer: nn.Module, name: str, shape: tuple[int, ...]) -> None:
    """Put an empty tensor of another shape in a tensor's place."""
    tensor = layer.get_parameter(name) if name in dict(layer.named_parameters()) else layer.get_buffer(name)
    empty = tensor.detach().new_empty(shape)
    setattr(layer, name, nn.Parameter(empty) if isinstance(tensor, nn.Parameter) else empty)


def _put(network: nn.Module, layers: Mapping[nn.Module, nn.Module]) -> None:
    """Each layer in another's place, under all its names."""
    for path, layer in list(network.named_modules(remove_duplicate=False)):
        if layer in layers:
            network.set_submodule(path, layers[layer])


def _check(before: fx.GraphModule, after: fx.GraphModule, number: int) -> None:
    """All outputs have the shapes they had, but the scores have the new classes."""
    changed = _outputs(before)
    for old, new in zip(_given(before), _given(after), strict=True):
        expected = list(value(old).shape)
        if old in changed:
            expected[1] = number
        if list(value(new).shape) != expected:
            raise SurgeryError(f"scores of shape {tuple(value(new).shape)} came out, not {tuple(expected)}")
