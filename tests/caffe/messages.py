"""Protobuf messages written byte by byte: the other side of what `pixelwise.caffe` reads."""

import struct
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float32] | NDArray[np.float64]


def varint(value: int) -> bytes:
    """Negative numbers are written as 64 bits, as protobuf does."""
    value &= (1 << 64) - 1
    low = []
    while value > 127:
        low.append(value & 127 | 128)
        value >>= 7
    return bytes([*low, value])


def number(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value)


def content(field: int, *parts: bytes | str) -> bytes:
    """A field with a length: a string, a message or packed numbers."""
    whole = b"".join(part.encode() if isinstance(part, str) else part for part in parts)
    return varint(field << 3 | 2) + varint(len(whole)) + whole


def float4(field: int, value: float) -> bytes:
    return varint(field << 3 | 5) + struct.pack("<f", value)


def float8(field: int, value: float) -> bytes:
    return varint(field << 3 | 1) + struct.pack("<d", value)


def group(field: int, *parts: bytes) -> bytes:
    return varint(field << 3 | 3) + b"".join(parts) + varint(field << 3 | 4)


def shape(lengths: Iterable[int], *, packed: bool = True) -> bytes:
    """The field `shape` of a BlobProto."""
    if packed:
        return content(7, content(1, *map(varint, lengths)))
    return content(7, *(number(1, length) for length in lengths))


def legacy(lengths: Sequence[int]) -> bytes:
    """The fields num, channels, height, width of a BlobProto; left out where 0, which is their default."""
    return b"".join(number(i, length) for i, length in enumerate(lengths, 1) if length)


def values(numbers: Values, *, packed: bool = True) -> bytes:
    """The field `data` of a BlobProto, or `double_data`."""
    double = numbers.dtype == np.float64
    if packed:
        return content(8 if double else 5, numbers.tobytes())
    return b"".join(float8(8, one) if double else float4(5, one) for one in numbers.ravel())


def blob(numbers: Values) -> bytes:
    """A BlobProto as Caffe writes it today."""
    return values(numbers) + shape(numbers.shape)


def layer(name: str, kind: str, *blobs: bytes) -> bytes:
    """A LayerParameter in a NetParameter."""
    return content(100, content(1, name), content(2, kind), *(content(7, one) for one in blobs))


def v1_layer(name: str, kind: int, *blobs: bytes) -> bytes:
    return content(2, content(2, "data"), content(4, name), number(5, kind), *(content(6, one) for one in blobs))


def v0_layer(name: str, kind: str, *blobs: bytes) -> bytes:
    inner = content(1, content(1, name), content(2, kind), *(content(50, one) for one in blobs))
    return content(2, inner, content(2, "data"), content(3, name))
