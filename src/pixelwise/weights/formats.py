"""WeightFormat: how a family of released files names and stores the weights of one of our networks.

A file's tensors are `Tensors`, by "<layer>.<part>": weight, bias, running_mean, running_var; blobs of a layer that we
do not know are blob0, blob1, …. A format says which of its layers is which of ours, for every layer that has tensors,
and what is done to the tensors before they are copied.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor, nn

from pixelwise.errors import WeightsError
from pixelwise.layers.normalization import Normalization

Tensors = dict[str, Tensor]
Kind = Literal["caffe", "torch"]


def unchanged(tensors: Tensors) -> Tensors:
    """The tensors as they are."""
    return tensors


def no_options(tensors: Tensors) -> dict[str, Any]:
    """No builder option is read off the file."""
    return {}


def no_doubt(network: nn.Module) -> str:
    """Nothing in the weights says that they are not for use."""
    return ""


def nothing_fixed(network: nn.Module) -> Tensors:
    """The file holds nothing that the network does without a parameter."""
    return {}


@dataclass(frozen=True)
class WeightFormat:
    """How a family of released files names and stores the weights of one of our networks.

    Attributes:
        name: of the format, a key of `WEIGHT_FORMATS`: "berkeley_fcn8s_vgg16".
        model: a name in `pixelwise.models.MODELS`, or in `pixelwise.backbones.CLASSIFIERS`.
        source: who released it, and the section of the specification.
        layers: {path of our layer: their layer} of a network of `model`; every layer that has tensors, no other.
        kind: "caffe" for a .caffemodel, "torch" for a .pth, .pt or .safetensors.
        prepare: from the file's tensors to those that `layers` names.
        restore: the inverse of `prepare`, for the way back; None where there is none. Not asked for where `prepare`
            leaves the tensors unchanged.
        reverse_channels: the file reads BGR, our network RGB: the convolutions that read the picture are flipped.
        fixed: the tensors, by their names, that the file may hold and our network does without a parameter: bilinear
            deconvolutions. Where the file holds them they must be these, to 1e-5; the way back writes them.
        ignore: patterns (`fnmatch`) of their layers that may stay unused: losses, auxiliary classifiers. One from
            as many channels to as many, or each by itself, with more than one tap must be a bilinear deconvolution.
        normalization: of our network, in its own channel order: RGB where flipped. None where it must be given.
        labels: the data set whose classes these are, a name in `pixelwise.data.DATASETS`. None where classes must be
            given.
        options: the builder's options as the file tells them, from the prepared tensors: `num_classes`. A
            `WeightsError` or KeyError says that the file is not of this format.
        note: what nothing in a file tells, and whoever imports it should know; one line, "" for nothing.
        doubt: why the weights that a network has now may not be for use, "" where nothing says so.
    """

    name: str
    model: str
    source: str
    layers: Callable[[nn.Module], Mapping[str, str]]
    kind: Kind = "caffe"
    prepare: Callable[[Tensors], Tensors] = unchanged
    restore: Callable[[Tensors], Tensors] | None = None
    reverse_channels: bool = True
    fixed: Callable[[nn.Module], Tensors] = nothing_fixed
    ignore: tuple[str, ...] = ()
    normalization: Normalization | None = None
    labels: str | None = None
    options: Callable[[Tensors], dict[str, Any]] = no_options
    note: str = ""
    doubt: Callable[[nn.Module], str] = no_doubt


def layer_paths(network: nn.Module) -> list[str]:
    """The paths of the layers of a network that have tensors of their own, in its order."""
    return list(dict.fromkeys(name.rpartition(".")[0] for name in network.state_dict(keep_vars=True)))


def by_leaf(renamed: Mapping[str, str] | None = None) -> Callable[[nn.Module], dict[str, str]]:
    """`layers` of a format whose names are the last words of our paths: `backbone.conv1.conv1_1` is `conv1_1`.

    Args:
        renamed: {our last word: their layer} where they differ.

    >>> by_leaf({"score": "score-fr"})(nn.ModuleDict({"conv1": nn.Linear(1, 1), "score": nn.Linear(1, 1)}))
    {'conv1': 'conv1', 'score': 'score-fr'}
    """
    names = dict(renamed or {})

    def layers(network: nn.Module) -> dict[str, str]:
        leaves = {path: path.rpartition(".")[2] for path in layer_paths(network)}
        return {path: names.get(leaf, leaf) for path, leaf in leaves.items()}

    return layers


def by_path(rename: Callable[[str], str]) -> Callable[[nn.Module], dict[str, str]]:
    """`layers` of a format whose names follow from our whole paths, one by one."""

    def layers(network: nn.Module) -> dict[str, str]:
        return {path: rename(path) for path in layer_paths(network)}

    return layers


def classes_of(layer: str) -> Callable[[Tensors], dict[str, Any]]:
    """`options` of a network whose classes are the filters of their layer.

    >>> import torch
    >>> classes_of("score_fr")({"score_fr.weight": torch.zeros(21, 4096, 1, 1)})
    {'num_classes': 21}
    """

    def options(tensors: Tensors) -> dict[str, Any]:
        return {"num_classes": filters_of(tensors, layer)}

    return options


def filters_of(tensors: Tensors, layer: str) -> int:
    """How many channels their layer gives.

    Raises:
        WeightsError: the file holds no such layer.
    """
    weight = tensors.get(f"{layer}.weight")
    if weight is None or not weight.dim():
        raise WeightsError(f"the file holds no layer {layer!r}, which tells the number of classes")
    return int(weight.shape[0])
