"""Our weights as a file for Caffe, under the names of a released one: the way back of `import_weights`."""

from pathlib import Path

import numpy as np
from torch import nn

from pixelwise.caffe.caffemodel import Blob, CaffeLayer, write_caffemodel
from pixelwise.errors import BadOption, unknown_name
from pixelwise.segmenter import Segmenter
from pixelwise.weights.all_formats import WEIGHT_FORMATS
from pixelwise.weights.formats import Tensors, WeightFormat
from pixelwise.weights.importing import foreign_tensors


def export_caffemodel(source: Segmenter | nn.Module, format: str | WeightFormat, path: str | Path) -> Path:
    """Write a network's weights as a .caffemodel that Caffe loads by the names of a format.

    Caffe copies blobs by their layers' names and shapes; the prototxt is the released one, with the network's number
    of classes. The fixed deconvolutions are written, too.

    Args:
        source: whose weights.
        format: of Caffe, whose `model` the network is; or its name.

    Raises:
        UnknownName: there is no such format.
        BadOption: it is none of Caffe, not of this network, or has no way back.
        OSError: the file cannot be written.
    """
    if isinstance(format, str):
        if format not in WEIGHT_FORMATS:
            raise unknown_name("weight format", format, WEIGHT_FORMATS)
        format = WEIGHT_FORMATS[format]
    if format.kind != "caffe":
        raise BadOption(f"{format.name} is no format of Caffe; save the network's state_dict")
    network = source
    if isinstance(source, Segmenter):
        network, builder = source.network, source.architecture["builder"]
        if builder != format.model:
            raise BadOption(f"the model is {builder}; {format.name} is for {format.model}")
    assert isinstance(network, nn.Module)
    tensors = foreign_tensors(network, format)
    deconvolutions = {name.rpartition(".")[0] for name in format.fixed(network)}
    modules = dict(network.named_modules())
    deconvolutions |= {
        other for path, other in format.layers(network).items() if isinstance(modules.get(path), nn.ConvTranspose2d)
    }
    path = Path(path)
    write_caffemodel(path, caffe_layers(tensors, deconvolutions), format.model)
    return path


def caffe_layers(tensors: Tensors, deconvolutions: set[str]) -> list[CaffeLayer]:
    """Tensors by "<layer>.<part>" as Caffe's layers with blobs.

    >>> import torch
    >>> [layer] = caffe_layers({"bn.running_mean": torch.zeros(2), "bn.running_var": torch.ones(2)}, set())
    >>> layer.type, [blob.tolist() for blob in layer.blobs]
    ('BatchNorm', [[0.0, 0.0], [1.0, 1.0], [1.0]])
    """
    layers: dict[str, dict[str, Blob]] = {}
    for name, tensor in tensors.items():
        layer, _, part = name.rpartition(".")
        layers.setdefault(layer, {})[part] = tensor.detach().cpu().float().contiguous().numpy()
    return [_caffe_layer(name, parts, deconvolution=name in deconvolutions) for name, parts in layers.items()]


def _caffe_layer(name: str, parts: dict[str, Blob], *, deconvolution: bool) -> CaffeLayer:
    if set(parts) == {"running_mean", "running_var"}:
        factor = np.ones(1, np.float32)
        return CaffeLayer(name, "BatchNorm", (parts["running_mean"], parts["running_var"], factor))
    order = ("weight", "bias", "running_mean", "running_var", *sorted(part for part in parts if part[:4] == "blob"))
    blobs = tuple(parts[part] for part in order if part in parts)
    axes = parts["weight"].ndim if "weight" in parts else 0
    kind = {4: "Deconvolution" if deconvolution else "Convolution", 2: "InnerProduct", 1: "Scale"}.get(axes, "")
    return CaffeLayer(name, "BN" if "running_mean" in parts else kind, blobs)
