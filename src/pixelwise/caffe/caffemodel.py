"""Caffe's files of weights (`.caffemodel`, `.binaryproto`), read and written without Caffe and without protobuf.

A `.caffemodel` is one message, NetParameter. Its layers stand in field 100 (`layer`), in field 2 (`layers`) of the
older format V1, or in field 1 of those (`layer`), the oldest, V0. Only names, types and blobs are read: the forks of
Caffe gave the same numbers to different other fields.

| message | name | type | blobs |
| --- | --- | --- | --- |
| LayerParameter | 1 | 2, a string | 7 |
| V1LayerParameter | 4 | 5, a number | 6 |
| V0LayerParameter | 1 | 2, a string of its own | 50 |

A blob (BlobProto) has its values in field 5 (float) or 8 (double), packed or not, and its shape in field 7 or, as older
files do, in four numbers: num 1, channels 2, height 3, width 4. Fields 6 and 9 are gradients, and skipped.

Source: BVLC Caffe, `src/caffe/proto/caffe.proto`, `src/caffe/blob.cpp`; spec networks-2014-2016 §8.
"""

import math
import mmap
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixelwise.caffe.foreign import LOOKED_AT, looks_like
from pixelwise.caffe.wire import (
    EIGHT_BYTES,
    FOUR_BYTES,
    LENGTH,
    VARINT,
    Field,
    Wire,
    signed,
    written_tag,
    written_varint,
)
from pixelwise.errors import DataError, WeightsError
from pixelwise.files import replacing

Blob = NDArray[np.float32] | NDArray[np.float64]

MOST_AXES = 32  # Caffe's own limit
LONGEST_FILE = 2**31 - 1  # protobuf's readers take no more


@dataclass(frozen=True, slots=True)
class CaffeLayer:
    """A layer's name, its type in the spelling of the newest format ("Convolution"), and its blobs in Caffe's order.

    Blobs keep the shape of the file: in old files four axes, a bias 1×1×1×N and an inner product 1×1×O×I. They may be
    views of the file: not writable, and not aligned to 4 bytes; `torch.tensor(blob)` and `numpy.array(blob)` copy them.
    """

    name: str
    type: str
    blobs: tuple[Blob, ...]


@dataclass(frozen=True)
class CaffeWeights:
    """The layers of a `.caffemodel`, in the order of the file, and the network's name ("" where it has none)."""

    name: str
    layers: tuple[CaffeLayer, ...]

    @cached_property
    def by_name(self) -> dict[str, CaffeLayer]:
        """The layers that have blobs; of two with the same name the last, as Caffe takes it."""
        return {layer.name: layer for layer in self.layers if layer.blobs}


def read_caffemodel(path: str | Path) -> CaffeWeights:
    """The weights of a `.caffemodel` of any age.

    The file is mapped, not read: blobs of packed floats, which is what Caffe writes, are views of it and take no memory
    until they are used. The file must stay as it is while they are.

    Raises:
        DataError: there is no such file.
        WeightsError: it is no `.caffemodel`, or a broken one; the message has file, byte offset, and what was expected.

    Source: spec networks-2014-2016 §8.
    """
    return weights_of(_mapped(Path(path)), str(path))


def weights_of(data: bytes | mmap.mmap, where: str) -> CaffeWeights:
    """What `read_caffemodel` gives, of bytes; `where` is what errors call them."""
    wire = Wire(data, where)
    try:
        weights = _Net(wire).read()
        if not weights.layers:
            raise WeightsError(
                f"{where}: expected a network's layers with their weights, found none in {len(data)} bytes"
            )
    except WeightsError as error:
        raise _explained(error, data, where, "a .caffemodel") from None
    return weights


def read_binaryproto(path: str | Path) -> Blob:
    """The mean image of a `.binaryproto`: (C, H, W), in the channel order of the file, which is BGR in Caffe.

    Raises:
        DataError: there is no such file.
        WeightsError: it is no `.binaryproto`, a broken one, or its blob is no single image.
    """
    return mean_of(_mapped(Path(path)), str(path))


def mean_of(data: bytes | mmap.mmap, where: str) -> Blob:
    """What `read_binaryproto` gives, of bytes; `where` is what errors call them."""
    try:
        blob = _blob(Wire(data, where), Field(0, LENGTH, 0, 0, len(data)), "the mean")
        if blob.ndim == 4 and blob.shape[0] == 1:
            blob = blob[0]
        if blob.ndim != 3:
            raise WeightsError(f"{where}: expected a mean image of (channels, height, width), found {blob.shape}")
    except WeightsError as error:
        raise _explained(error, data, where, "a .binaryproto") from None
    return blob


def write_caffemodel(path: str | Path, layers: Iterable[CaffeLayer], name: str = "") -> None:
    """Write the weights of layers for Caffe: the newest format, packed; float64 as doubles, which Caffe rounds.

    Raises:
        WeightsError: a blob is not of float32 or float64, has an axis of length 0, or the file would reach 2 GiB, which
            protobuf does not read.
    """
    parts: list[bytes | Blob] = [_field(1, name.encode())] if name else []
    for layer in layers:
        content: list[bytes | Blob] = [_field(1, layer.name.encode()), _field(2, layer.type.encode())]
        for i, blob in enumerate(layer.blobs):
            content += _blob_parts(blob, layer.name, i)
        parts += [written_tag(100, _size(content)), *content]
    size = _size(parts)
    if size > LONGEST_FILE:
        raise WeightsError(f"{path}: the weights take {size} bytes; Caffe reads files of at most {LONGEST_FILE}")
    with replacing(Path(path)) as beside, beside.open("wb") as file:
        for part in parts:
            file.write(part if isinstance(part, bytes) else np.ascontiguousarray(part).data)


# reading


class _Net:
    """NetParameter: its layers of all three ages, in the order of the file."""

    def __init__(self, wire: Wire) -> None:
        self.wire, self.name = wire, ""
        self.layers: list[CaffeLayer] = []

    def read(self) -> CaffeWeights:
        for field in self.wire.fields(0, len(self.wire.data)):
            if field.number == 1:
                self.name = self.wire.text(_of_type(self.wire, field, LENGTH, "the network's name"))
            elif field.number in (2, 100):
                layer = _of_type(self.wire, field, LENGTH, "a layer")
                self.layers.append(self.new_layer(layer) if field.number == 100 else self.old_layer(layer))
        return CaffeWeights(self.name, tuple(self.layers))

    def new_layer(self, layer: Field) -> CaffeLayer:
        name, kind = "", ""
        blobs: list[Blob] = []
        for field in self.wire.fields(layer.start, layer.end):
            if field.number == 1:
                name = self.wire.text(_of_type(self.wire, field, LENGTH, "a layer's name"))
            elif field.number == 2:
                kind = self.wire.text(_of_type(self.wire, field, LENGTH, "a layer's type"))
            elif field.number == 7:
                blobs.append(self.blob(field, len(blobs), name))
        return CaffeLayer(name, kind, tuple(blobs))

    def old_layer(self, layer: Field) -> CaffeLayer:
        """A V1LayerParameter, or the V0LayerParameter in it."""
        name, kind = "", ""
        blobs: list[Blob] = []
        for field in self.wire.fields(layer.start, layer.end):
            if field.number == 1:
                oldest = _of_type(self.wire, field, LENGTH, "a layer of format V0")
                for inner in self.wire.fields(oldest.start, oldest.end):
                    if inner.number == 1:
                        name = self.wire.text(_of_type(self.wire, inner, LENGTH, "a layer's name"))
                    elif inner.number == 2:
                        word = self.wire.text(_of_type(self.wire, inner, LENGTH, "a layer's type"))
                        kind = V0_TYPES.get(word, f"V0:{word}")
                    elif inner.number == 50:
                        blobs.append(self.blob(inner, len(blobs), name))
            elif field.number == 4:
                name = self.wire.text(_of_type(self.wire, field, LENGTH, "a layer's name"))
            elif field.number == 5:
                number = signed(_of_type(self.wire, field, VARINT, "a layer's type").value, bits=32)
                kind = V1_TYPES.get(number, f"V1:{number}")
            elif field.number == 6:
                blobs.append(self.blob(field, len(blobs), name))
        return CaffeLayer(name, kind, tuple(blobs))

    def blob(self, field: Field, index: int, layer: str) -> Blob:
        what = f"blob {index} of layer {layer[:80]!r}"
        return _blob(self.wire, _of_type(self.wire, field, LENGTH, what), what)


def _blob(wire: Wire, blob: Field, what: str) -> Blob:
    """A BlobProto."""
    legacy = [0, 0, 0, 0]
    shape: list[int] = []
    floats, doubles = _Values(wire, np.dtype("<f4")), _Values(wire, np.dtype("<f8"))
    for field in wire.fields(blob.start, blob.end):
        if 1 <= field.number <= 4:
            legacy[field.number - 1] = signed(_of_type(wire, field, VARINT, f"an axis of {what}").value, bits=32)
        elif field.number == 5:
            floats.add(field, FOUR_BYTES, what)
        elif field.number == 7:
            _add_axes(shape, wire, _of_type(wire, field, LENGTH, f"the shape of {what}"), what)
        elif field.number == 8:
            doubles.add(field, EIGHT_BYTES, what)
    axes = legacy if any(legacy) else shape
    values = doubles if doubles.count else floats
    if any(length < 1 for length in axes):
        raise wire.broken(blob.tag, f"lengths from 1 for the axes of {what}, found {_times(axes)}")
    if math.prod(axes) != values.count:
        raise wire.broken(
            blob.tag, f"{math.prod(axes)} values for {what}, whose shape is {_times(axes)}, found {values.count}"
        )
    return values.array(axes)


def _add_axes(shape: list[int], wire: Wire, message: Field, what: str) -> None:
    """Adds the lengths in a BlobShape: field 1, packed or not."""
    for field in wire.fields(message.start, message.end):
        if field.number != 1:
            continue
        start = field.start
        if field.wire_type != LENGTH:
            _of_type(wire, field, VARINT, f"an axis of {what}")
        while start < field.end:
            length, start = wire.varint(start, field.end)
            shape.append(signed(length))
            if len(shape) > MOST_AXES:
                raise wire.broken(field.tag, f"at most {MOST_AXES} axes for {what}, found more")


class _Values:
    """The numbers of a blob: where they are packed in one piece, a view of the file; else a copy."""

    def __init__(self, wire: Wire, kind: "np.dtype[Any]") -> None:
        self.wire, self.kind, self.count = wire, kind, 0
        self.offset: int | None = None  # of the piece
        self.copied = bytearray()

    def add(self, field: Field, width: int, what: str) -> None:
        size = self.kind.itemsize
        if field.wire_type == LENGTH:
            length = field.end - field.start
            if length % size:
                raise self.wire.broken(field.tag, f"values of {size} bytes for {what}, found {length} bytes of them")
            if length == 0:
                return
            if self.count == 0:
                self.offset, self.count = field.start, length // size
                return
            self.copy()
            self.copied += self.wire.data[field.start : field.end]
            self.count += length // size
            return
        _of_type(self.wire, field, width, f"the values of {what}")
        self.copy()
        if field.repeats == 1:
            self.copied += self.wire.data[field.start : field.end]
        else:
            row = np.dtype([("tag", "u1"), ("value", self.kind)])  # the tag of a row has one byte
            self.copied += np.frombuffer(self.wire.data, row, field.repeats, field.tag)["value"].tobytes()
        self.count += field.repeats

    def copy(self) -> None:
        if self.offset is not None:
            self.copied += self.wire.data[self.offset : self.offset + self.count * self.kind.itemsize]
            self.offset = None

    def array(self, axes: list[int]) -> Blob:
        """The numbers in this shape, not writable."""
        data, offset = (self.copied, 0) if self.offset is None else (self.wire.data, self.offset)
        values: Blob = np.ndarray(axes, self.kind, data, offset)
        values.setflags(write=False)
        return values


def _of_type(wire: Wire, field: Field, wire_type: int, what: str) -> Field:
    """The field, which must have this wire type."""
    if field.wire_type != wire_type:
        raise wire.broken(
            field.tag, f"{what} (field {field.number}) with wire type {wire_type}, found wire type {field.wire_type}"
        )
    return field


def _times(axes: list[int]) -> str:
    """A shape for errors.

    >>> _times([64, 3, 7, 7]), _times([])
    ('64×3×7×7', '() of one value')
    """
    return "×".join(map(str, axes)) or "() of one value"


def _mapped(path: Path) -> bytes | mmap.mmap:
    """The bytes of a file; it is never read as a whole."""
    try:
        with path.open("rb") as file:
            if path.stat().st_size == 0:
                return b""  # which cannot be mapped
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such file") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: expected a file that can be read, found: {error}") from None


def _explained(error: WeightsError, data: bytes | mmap.mmap, where: str, expected: str) -> WeightsError:
    """The error, or what the file is instead."""
    kind = looks_like(data[:LOOKED_AT])
    return WeightsError(f"{where}: expected {expected}, but the file seems to be {kind}") if kind else error


# writing


def _field(number: int, content: bytes) -> bytes:
    return written_tag(number, len(content)) + content


def _blob_parts(blob: Blob, layer: str, index: int) -> list[bytes | Blob]:
    """A field `blobs` of LayerParameter, its values as they are."""
    if blob.dtype not in (np.float32, np.float64) or blob.size == 0 or blob.ndim > MOST_AXES:
        raise WeightsError(
            f"blob {index} of layer {layer!r}: expected float32 or float64, at least one value and at most {MOST_AXES} "
            f"axes, found {blob.dtype} of shape {blob.shape}"
        )
    shape = _field(7, _field(1, b"".join(map(written_varint, blob.shape))) if blob.shape else b"")
    values = written_tag(5 if blob.dtype == np.float32 else 8, blob.nbytes)
    return [written_tag(7, len(shape) + len(values) + blob.nbytes), shape, values, blob]


def _size(parts: Iterable[bytes | Blob]) -> int:
    """Bytes of parts."""
    return sum(len(part) if isinstance(part, bytes) else part.nbytes for part in parts)


# LayerType of V1LayerParameter; 0 is "NONE". Forks go on from 39 or 40 with numbers of their own.
V1_TYPES = {
    1: "Accuracy",
    2: "BNLL",
    3: "Concat",
    4: "Convolution",
    5: "Data",
    6: "Dropout",
    7: "EuclideanLoss",
    8: "Flatten",
    9: "HDF5Data",
    10: "HDF5Output",
    11: "Im2col",
    12: "ImageData",
    13: "InfogainLoss",
    14: "InnerProduct",
    15: "LRN",
    16: "MultinomialLogisticLoss",
    17: "Pooling",
    18: "ReLU",
    19: "Sigmoid",
    20: "Softmax",
    21: "SoftmaxWithLoss",
    22: "Split",
    23: "TanH",
    24: "WindowData",
    25: "Eltwise",
    26: "Power",
    27: "SigmoidCrossEntropyLoss",
    28: "HingeLoss",
    29: "MemoryData",
    30: "ArgMax",
    31: "Threshold",
    32: "DummyData",
    33: "Slice",
    34: "MVN",
    35: "AbsVal",
    36: "Silence",
    37: "ContrastiveLoss",
    38: "Exp",
    39: "Deconvolution",
}

# the type strings of V0LayerParameter
V0_TYPES = {
    "accuracy": "Accuracy",
    "bnll": "BNLL",
    "concat": "Concat",
    "conv": "Convolution",
    "data": "Data",
    "dropout": "Dropout",
    "euclidean_loss": "EuclideanLoss",
    "flatten": "Flatten",
    "hdf5_data": "HDF5Data",
    "hdf5_output": "HDF5Output",
    "im2col": "Im2col",
    "images": "ImageData",
    "infogain_loss": "InfogainLoss",
    "innerproduct": "InnerProduct",
    "lrn": "LRN",
    "multinomial_logistic_loss": "MultinomialLogisticLoss",
    "pool": "Pooling",
    "relu": "ReLU",
    "sigmoid": "Sigmoid",
    "softmax": "Softmax",
    "softmax_loss": "SoftmaxWithLoss",
    "split": "Split",
    "tanh": "TanH",
    "window_data": "WindowData",
}
