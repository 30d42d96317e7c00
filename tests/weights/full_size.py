"""Networks of full size without numbers, and what a format says of them."""

import torch

from pixelwise.weights.all_formats import WEIGHT_FORMATS
from pixelwise.weights.detection import Unfilled


def meta(build, **options):
    """A network of full size without numbers."""
    with torch.device("meta"), Unfilled():
        return build(**options)


def shapes(network, name):
    """{their layer: shapes of its tensors}, of a network of full size, as the format names them."""
    layers = WEIGHT_FORMATS[name].layers(network)
    state = network.state_dict()
    found = {}
    for path, layer in layers.items():
        parts = ("weight", "bias", "running_mean", "running_var")
        found[layer] = [tuple(state[f"{path}.{part}"].shape) for part in parts if f"{path}.{part}" in state]
    assert len(found) == len(layers)  # no two of ours from one of theirs
    return found


def options_of(name, **weights):
    """What a format reads off a file with these weights."""
    tensors = {f"{layer}.weight": weight for layer, weight in weights.items()}
    return WEIGHT_FORMATS[name].options(tensors)
