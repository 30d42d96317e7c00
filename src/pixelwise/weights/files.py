"""The tensors of a file of weights, by "<layer>.<part>": .caffemodel, .safetensors, .pth.

What Caffe stores as blobs gets torch's names:

| layer of Caffe                           | blobs                       | parts                                   |
| ---------------------------------------- | --------------------------- | --------------------------------------- |
| Convolution, Deconvolution, InnerProduct | weight, bias                | weight, bias                            |
| BatchNorm                                | sums, their factor          | running_mean, running_var               |
| Scale, PReLU                             | one a channel, Scale's bias | weight, bias                            |
| BN of SegNet's and ENet's forks          | scale, shift                | weight, bias                            |
| BN of PSPNet's fork                      | slope, bias, mean, variance | weight, bias, running_mean, running_var |
| any other                                |                             | blob0, blob1, …                         |

Numbers of layer types differ between Caffe's forks, so old files are judged by how many blobs a layer has. Shapes of
old files have four axes: a bias is (1, 1, 1, N), a fully connected weight (1, 1, O, I); they become (N) and (O, I).
Spec, networks 2014–2016, §1.3, §8; networks 2015–2017, §1.5.
"""

import hashlib
import pickle
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from pixelwise.caffe.caffemodel import CaffeLayer, CaffeWeights, read_caffemodel
from pixelwise.errors import DataError, WeightsError
from pixelwise.surgery.transplant_layers import WRAPPERS
from pixelwise.weights.formats import Kind, Tensors

SUFFIXES: dict[str, Kind] = {".caffemodel": "caffe", ".pth": "torch", ".pt": "torch", ".safetensors": "torch"}
INNER = ("state_dict", "model_state_dict", "model_state", "model")  # where programs that train put the weights

_PARTS = {
    "BatchNorm": ("running_mean", "running_var"),
    "Scale": ("weight", "bias"),
    "PReLU": ("weight",),
    "BN": ("weight", "bias", "running_mean", "running_var"),
}
_MATRICES = ("Convolution", "Deconvolution", "InnerProduct")


def read_tensors(path: str | Path) -> Tensors:
    """The tensors of a file, by name.

    Raises:
        DataError: there is no such file.
        WeightsError: it is of no kind that is read, is damaged, or holds more than tensors.
    """
    path = Path(path)
    kind = kind_of(path)
    if not path.is_file():
        raise DataError(f"no file of weights at {path}")
    if kind == "caffe":
        return caffe_tensors(read_caffemodel(path))
    return _safetensors(path) if path.suffix.lower() == ".safetensors" else _pickled(path)


def kind_of(path: Path) -> Kind:
    """Whose file it is, by its suffix.

    Raises:
        WeightsError: the suffix is of no file of weights.
    """
    kind = SUFFIXES.get(path.suffix.lower())
    if kind is None:
        raise WeightsError(f"{path} is no file of weights that is read: expected {', '.join(SUFFIXES)}")
    return kind


def digest_of(path: str | Path) -> str:
    """The SHA-256 of a file, in hexadecimal.

    Raises:
        DataError: there is no such file.
    """
    try:
        with Path(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError as error:
        raise DataError(f"no file of weights at {path}") from error


def caffe_tensors(weights: CaffeWeights) -> Tensors:
    """The blobs of all layers under torch's names.

    Raises:
        WeightsError: a BatchNorm's factor is no single number.
    """
    tensors: Tensors = {}
    for name, layer in weights.by_name.items():
        tensors |= {f"{name}.{part}": tensor for part, tensor in _parts(layer).items()}
    return tensors


def _parts(layer: CaffeLayer) -> Tensors:
    blobs = [torch.tensor(blob) for blob in layer.blobs]
    kind = layer.type
    sums = len(blobs) == 3 and blobs[2].numel() == 1 and blobs[0].shape == blobs[1].shape
    if kind == "BatchNorm" or (sums and kind not in _PARTS and kind not in _MATRICES):
        if not sums:
            raise WeightsError(
                f"BatchNorm {layer.name} has blobs of {', '.join(str(tuple(b.shape)) for b in blobs)}; expected means, "
                "variances and one factor"
            )
        factor = float(blobs[2])
        return {
            part: _vector(blob) / factor if factor else torch.zeros_like(_vector(blob))
            for part, blob in zip(_PARTS["BatchNorm"], blobs, strict=False)
        }
    if kind in _PARTS and len(blobs) <= len(_PARTS[kind]):
        return {part: _vector(blob) for part, blob in zip(_PARTS[kind], blobs, strict=False)}
    if len(blobs) == 4 and len({blob.numel() for blob in blobs}) == 1:
        return {part: _vector(blob) for part, blob in zip(_PARTS["BN"], blobs, strict=True)}
    if kind in _MATRICES or len(blobs) <= 2:
        weight, bias = blobs[0], [_vector(blob) for blob in blobs[1:2]]
        flat = kind == "InnerProduct" or (
            kind not in _MATRICES and bool(bias) and bias[0].numel() == weight.shape[-2:][0]
        )
        if weight.dim() == 4 and weight.shape[:2] == (1, 1) and flat:
            weight = weight[0, 0]
        elif kind not in _MATRICES:
            weight = _vector(weight)
        return dict(zip(("weight", "bias"), (weight, *bias), strict=False))
    return {f"blob{place}": blob for place, blob in enumerate(blobs)}


def _vector(blob: Tensor) -> Tensor:
    """One axis, where no more than one is longer than 1."""
    return blob.reshape(-1) if blob.numel() == max(blob.shape, default=1) else blob


def _safetensors(path: Path) -> Tensors:
    try:
        with safe_open(path, "pt") as file:
            return without_wrapper({name: file.get_tensor(name) for name in file.keys()})
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path} is no readable .safetensors file ({error}); copy it again") from error


def _pickled(path: Path) -> Tensors:
    """A .pth or .pt, of which nothing but tensors, numbers and names is read: no pickle is executed."""
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Detected pickle protocol")  # what cannot be read is an error, below
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"{path} holds more than tensors by name, and is not opened, since that would run its code; where you "
            "trust it, save its state_dict() alone with torch.save"
        ) from error
    except (RuntimeError, EOFError, ValueError, KeyError, IndexError, AttributeError, TypeError, OSError) as error:
        what = " ".join(str(error).split())[:200]
        raise WeightsError(f"{path} is no readable file of torch.save ({what}); copy it again") from error
    return without_wrapper(_state(content, path))


def _state(content: object, path: Path) -> Tensors:
    """The mapping of names to tensors, which may lie in another one."""
    if isinstance(content, Mapping):
        if content and all(isinstance(value, Tensor) for value in content.values()):
            return {str(name): value for name, value in content.items()}
        for key in INNER:
            if isinstance(content.get(key), Mapping):
                return _state(content[key], path)
    held = f"a mapping of {_listed([*map(str, content)])}" if isinstance(content, Mapping) else type(content).__name__
    raise WeightsError(f"{path} holds {held}; expected tensors by name, or these under {', '.join(INNER)}")


def without_wrapper(tensors: Tensors) -> Tensors:
    """The tensors without what a wrapper puts before all names."""
    for wrapper in WRAPPERS:
        if tensors and all(name.startswith(wrapper) for name in tensors):
            return without_wrapper({name[len(wrapper) :]: tensor for name, tensor in tensors.items()})
    return tensors


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:4]) + (", …" if len(names) > 4 else "") if names else "nothing"
