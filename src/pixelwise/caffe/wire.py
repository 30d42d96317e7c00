"""Protobuf's wire format: the fields of a message, read one after the other from a file's bytes.

A message is a row of fields. A field is a tag (field number · 8 + wire type, as a varint) and a value:

| wire type | value |
| --- | --- |
| 0 | a varint: 7 bits a byte, the lowest first, the top bit says that more follow; at most 10 bytes |
| 1, 5 | 8 or 4 bytes, little-endian |
| 2 | a length (varint) and that many bytes: a string, a message, or a row of numbers ("packed") |
| 3, 4 | start and end of a group, a message without a length |

Nothing is allocated by a length that the file declares, nothing recurses, and the number of fields is bounded; so no
file takes long, whatever it says.

Source: Protocol Buffers, "Encoding".
"""

import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from pixelwise.errors import WeightsError

VARINT, EIGHT_BYTES, LENGTH, GROUP, END_OF_GROUP, FOUR_BYTES = range(6)
DEEPEST_GROUP = 100  # as protobuf's own readers
MOST_FIELDS = 300_000  # of a file, a row of numbers counted once; ENet's 348 layers have 4 215
_WIDTH = {EIGHT_BYTES: 8, FOUR_BYTES: 4}


class Field(NamedTuple):
    """One field of a message, or a row of `repeats` fields with the same tag, each with 4 or 8 bytes.

    Numbers that are not packed are such a row; it is one field here, so that they need no step each.
    """

    number: int
    wire_type: int
    tag: int  # byte offset of the tag
    start: int  # the value lies in bytes `start` to `end`; of a row, the first value's start and the last one's end
    end: int
    value: int = 0  # of a varint, 0–2⁶⁴−1
    repeats: int = 1


@dataclass
class Wire:
    """The bytes of a file, what to call it in errors, and how many of its fields have been read."""

    data: bytes | mmap.mmap
    where: str
    read: int = 0

    def fields(self, start: int, end: int) -> Iterator[Field]:
        """The fields of the message in bytes `start` to `end`, in order; groups are left out.

        Raises:
            WeightsError: the bytes are not a message, or a value reaches beyond `end`.
        """
        while start < end:
            field = self._field(start, end)
            start = field.end
            if field.wire_type == GROUP:
                start = self._end_of_group(field, end)
            elif field.wire_type == END_OF_GROUP:
                raise self.broken(field.tag, f"a field, found the end of group {field.number}, which was never started")
            elif field.wire_type in _WIDTH:
                field = self._row(field, end)
                start = field.end
                yield field
            else:
                yield field

    def varint(self, start: int, end: int) -> tuple[int, int]:
        """The varint at byte `start`, 0–2⁶⁴−1, and the offset behind it."""
        value = 0
        for i in range(10):
            if start + i >= end:
                raise self.broken(start, f"a varint, found the end of {self._parent(end)} after {i} bytes of it")
            byte = self.data[start + i]
            value |= (byte & 127) << 7 * i
            if byte < 128:
                return value & (1 << 64) - 1, start + i + 1
        raise self.broken(start, "a varint of at most 10 bytes, found a longer one")

    def text(self, field: Field) -> str:
        """The string of a field; bytes that are not UTF-8 are replaced."""
        return self.data[field.start : field.end].decode("utf-8", errors="replace")

    def broken(self, offset: int, expected: str) -> WeightsError:
        """The error for what was found at a byte offset."""
        return WeightsError(f"{self.where}, byte {offset}: expected {expected}. The file is broken or cut off")

    def _field(self, tag: int, end: int) -> Field:
        self.read += 1
        if self.read > MOST_FIELDS:
            raise self.broken(tag, f"at most {MOST_FIELDS} fields, found more")
        key, start = self.varint(tag, end)
        number, wire_type = key >> 3, key & 7
        if not 0 < number < 1 << 29:
            raise self.broken(tag, f"a field number from 1 to 536870911, found {number}")
        if wire_type == VARINT:
            value, behind = self.varint(start, end)
            return Field(number, wire_type, tag, start, behind, value)
        if wire_type == LENGTH:
            length, start = self.varint(start, end)
            if length > end - start:
                raise self.broken(
                    tag,
                    f"at most {end - start} more bytes, for {self._parent(end)} ends there; "
                    f"field {number} declares {length}",
                )
            return Field(number, wire_type, tag, start, start + length)
        if wire_type in _WIDTH:
            behind = start + _WIDTH[wire_type]
            if behind > end:
                width = _WIDTH[wire_type]
                raise self.broken(
                    tag, f"{width} bytes for field {number}, found {end - start} before {self._parent(end)} ends"
                )
            return Field(number, wire_type, tag, start, behind)
        if wire_type in (GROUP, END_OF_GROUP):
            return Field(number, wire_type, tag, start, start)
        raise self.broken(tag, f"a wire type from 0 to 5, found {wire_type} (field {number})")

    def _row(self, field: Field, end: int) -> Field:
        """The field, and those with the same tag that follow it without a gap.

        Their tags are compared in windows of doubling length, so that a short row costs little.
        """
        stride = field.end - field.tag
        if field.start - field.tag != 1:
            return field
        tag, most = self.data[field.tag], (end - field.tag) // stride
        count, window = 1, 64
        while count < most and self.data[field.tag + count * stride] == tag:
            length = min(window, most - count)
            tags = np.frombuffer(self.data, np.uint8, (length - 1) * stride + 1, field.tag + count * stride)[::stride]
            others = np.flatnonzero(tags != tag)
            if len(others):
                count += int(others[0])
                break
            count, window = count + length, 2 * window
        return field._replace(end=field.tag + count * stride, repeats=count)

    def _end_of_group(self, group: Field, end: int) -> int:
        """The offset behind a group that is skipped, with the groups in it."""
        open_groups, start = [group.number], group.end
        while open_groups:
            if start >= end:
                raise self.broken(
                    group.tag, f"the end of group {open_groups[-1]}, found the end of {self._parent(end)}"
                )
            field = self._field(start, end)
            if field.wire_type == GROUP:
                open_groups.append(field.number)
                if len(open_groups) > DEEPEST_GROUP:
                    raise self.broken(field.tag, f"at most {DEEPEST_GROUP} groups in each other, found more")
            elif field.wire_type == END_OF_GROUP:
                last = open_groups.pop()
                if field.number != last:
                    raise self.broken(field.tag, f"the end of group {last}, found the end of group {field.number}")
            start = field.end
        return start

    def _parent(self, end: int) -> str:
        return "the file" if end == len(self.data) else "the message around it"


def signed(value: int, bits: int = 64) -> int:
    """A varint as protobuf's int32 or int64, which keep negative numbers as two's complement.

    >>> signed(2**64 - 1), signed(3, bits=32)
    (-1, 3)
    """
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


def written_varint(value: int) -> bytes:
    """The bytes of a varint.

    >>> written_varint(300).hex()
    'ac02'
    """
    low = bytearray()
    while value > 127:
        low.append(value & 127 | 128)
        value >>= 7
    return bytes([*low, value])


def written_tag(number: int, length: int) -> bytes:
    """What stands before the `length` bytes of a field of wire type 2."""
    return written_varint(number << 3 | LENGTH) + written_varint(length)
