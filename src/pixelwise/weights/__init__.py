"""Released weights: Caffe's and PyTorch's files put into our networks, and the catalogue of those that are published.

The public names below are loaded when first used, so that the catalogue is listed without torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pixelwise.caffe.caffemodel import read_binaryproto as read_binaryproto
    from pixelwise.caffe.caffemodel import read_caffemodel as read_caffemodel
    from pixelwise.caffe.prototxt import read_prototxt as read_prototxt
    from pixelwise.weights.all_formats import WEIGHT_FORMATS as WEIGHT_FORMATS
    from pixelwise.weights.cache import fetch as fetch
    from pixelwise.weights.catalogue import CATALOGUE as CATALOGUE
    from pixelwise.weights.catalogue import list_weights as list_weights
    from pixelwise.weights.export import export_caffemodel as export_caffemodel
    from pixelwise.weights.import_files import caffe_network as caffe_network
    from pixelwise.weights.import_files import import_weights as import_weights
    from pixelwise.weights.opening import load as load
    from pixelwise.weights.opening import open_model as open_model
    from pixelwise.weights.timm_networks import TimmTrunk as TimmTrunk
    from pixelwise.weights.timm_networks import timm_classifier as timm_classifier

_HOME = {
    "read_binaryproto": "pixelwise.caffe.caffemodel",
    "read_caffemodel": "pixelwise.caffe.caffemodel",
    "read_prototxt": "pixelwise.caffe.prototxt",
    "caffe_network": "pixelwise.weights.import_files",
    "import_weights": "pixelwise.weights.import_files",
    "export_caffemodel": "pixelwise.weights.export",
    "WEIGHT_FORMATS": "pixelwise.weights.all_formats",
    "CATALOGUE": "pixelwise.weights.catalogue",
    "list_weights": "pixelwise.weights.catalogue",
    "fetch": "pixelwise.weights.cache",
    "load": "pixelwise.weights.opening",
    "open_model": "pixelwise.weights.opening",
    "timm_classifier": "pixelwise.weights.timm_networks",
    "TimmTrunk": "pixelwise.weights.timm_networks",
}

__all__ = [*_HOME]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'pixelwise.weights' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
