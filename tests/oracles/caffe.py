"""The two files of a Caffe network, written in memory: layers as text (prototxt), weights as protobuf (caffemodel).

Each function that is named after a layer gives that layer's text; its top is its name, and ReLU works in place.
"""

import struct
from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

Blobs = Sequence[NDArray[np.float32]]


# prototxt


def layer(
    kind: str,
    name: str,
    bottom: str | Sequence[str],
    param: str = "",
    *,
    top: str | Sequence[str] = "",
    **fields: object,
) -> str:
    bottoms, tops = _listed(bottom), _listed(top or name)
    lines = [f'name: "{name}" type: "{kind}"', *(f'bottom: "{b}"' for b in bottoms), *(f'top: "{t}"' for t in tops)]
    if param:
        lines.append(f"{param} {{ {' '.join(_field_text(*field) for field in fields.items())} }}")
    return f"layer {{ {' '.join(lines)} }}\n"


def _listed(names: str | Sequence[str]) -> Sequence[str]:
    return [names] if isinstance(names, str) else names


def _field_text(key: str, value: object) -> str:
    if isinstance(value, list):
        return " ".join(_field_text(key, one) for one in value)
    return f"{key}: {str(value).lower() if isinstance(value, bool) else value}"


def conv(name: str, bottom: str, num_output: int, kernel_size: int, **fields: object) -> str:
    return layer(
        "Convolution", name, bottom, "convolution_param", num_output=num_output, kernel_size=kernel_size, **fields
    )


def deconv(name: str, bottom: str, num_output: int, kernel_size: int, **fields: object) -> str:
    numbers = {"num_output": num_output, "kernel_size": kernel_size, "bias_term": False}
    return layer("Deconvolution", name, bottom, "convolution_param", **numbers, **fields)


def relu(bottom: str) -> str:
    return layer("ReLU", f"relu_{bottom}", bottom, top=bottom)


def conv_relu(name: str, bottom: str, num_output: int, kernel_size: int, **fields: object) -> str:
    return conv(name, bottom, num_output, kernel_size, **fields) + relu(name)


def convs(group: str, number: int, bottom: str, num_output: int, kernel_size: int, **fields: object) -> str:
    """`group`_1, `group`_2 … one after the other."""
    names = [f"{group}_{i}" for i in range(1, number + 1)]
    bottoms = [bottom, *names]
    return "".join(conv_relu(n, b, num_output, kernel_size, **fields) for n, b in zip(names, bottoms, strict=False))


def pool(name: str, bottom: str, kernel_size: int, *, pool: str = "MAX", **fields: object) -> str:
    return layer("Pooling", name, bottom, "pooling_param", pool=pool, kernel_size=kernel_size, **fields)


def lrn(name: str, bottom: str, local_size: int, alpha: float, beta: float) -> str:
    return layer("LRN", name, bottom, "lrn_param", local_size=local_size, alpha=alpha, beta=beta)


def batch_norm(name: str, bottom: str, *, top: str = "", eps: float = 1e-5) -> str:
    return layer("BatchNorm", name, bottom, "batch_norm_param", top=top, use_global_stats=True, eps=eps)


def scale(name: str, bottom: str, *, top: str = "", bias_term: bool) -> str:
    return layer("Scale", name, bottom, "scale_param", top=top, bias_term=bias_term)


def crop(name: str, bottom: str, like: str, offset: int) -> str:
    return layer("Crop", name, [bottom, like], "crop_param", axis=2, offset=offset)


def add(name: str, *bottoms: str, **fields: object) -> str:
    return layer("Eltwise", name, bottoms, "eltwise_param", operation="SUM", **fields)


def concat(name: str, *bottoms: str) -> str:
    return layer("Concat", name, bottoms, "concat_param", axis=1)


def zoom(name: str, bottom: str, zoom_factor: int) -> str:
    return layer("Interp", name, bottom, "interp_param", zoom_factor=zoom_factor)


# caffemodel: a tag is field · 8 + wire type, and all that is written here has type 2, a length and that many bytes


def caffemodel(weights: Mapping[str, Blobs]) -> bytes:
    """NetParameter with a `layer` (100) for each name (1), its blobs (7), their data (5) and shape (7, dim 1)."""
    return b"".join(
        _field(100, _field(1, name.encode()) + b"".join(_field(7, _blob(blob)) for blob in blobs))
        for name, blobs in weights.items()
    )


def _blob(values: NDArray[np.float32]) -> bytes:
    shape = _field(1, b"".join(_varint(length) for length in values.shape))
    return _field(5, struct.pack(f"<{values.size}f", *values.ravel())) + _field(7, shape)


def _field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    start = b""
    while value > 127:
        start, value = start + bytes([value & 127 | 128]), value >> 7
    return start + bytes([value])


# OpenCV


def run(layers: str, weights: Mapping[str, Blobs], images: NDArray[np.float32], name: str) -> NDArray[np.float32]:
    """What OpenCV gives for the layer `name`; a ReLU in place is a layer of its own."""
    sizes = " ".join(f"input_dim: {length}" for length in images.shape)
    text = f'input: "data" {sizes}\n{layers}'.encode()
    net = cv2.dnn.readNetFromCaffe(np.frombuffer(text, np.uint8), np.frombuffer(caffemodel(weights), np.uint8))
    net.enableWinograd(False)  # its sums are less exact
    net.setInput(images)
    return net.forward(name)
