"""Protobuf's wire format: fields in order, groups left out, and each break named with its byte."""

import random

import numpy as np
import pytest

from pixelwise.caffe import wire
from pixelwise.caffe.wire import Wire
from pixelwise.errors import WeightsError

from .messages import content, float4, float8, group, number, varint


def read(data):
    return list(Wire(data, "file").fields(0, len(data)))


@pytest.mark.parametrize(
    ("data", "value"),
    [
        ("00", 0),
        ("01", 1),
        ("7f", 127),
        ("9601", 150),  # the example of protobuf's documentation
        ("8000", 0),  # longer than needed
        ("feffffffffffffffff01", 2**64 - 2),
        ("ffffffffffffffffff7f", 2**64 - 1),  # what is beyond 64 bits is dropped
    ],
)
def test_a_varint_is_seven_bits_a_byte_the_lowest_first(data, value):
    bytes_ = bytes.fromhex(data)
    assert Wire(bytes_, "file").varint(0, len(bytes_)) == (value, len(bytes_))


def test_a_written_varint_reads_back():
    for value in [0, 1, 127, 128, 300, 2**31, 2**63, 2**64 - 1]:
        assert wire.written_varint(value) == varint(value)
        assert Wire(varint(value), "file").varint(0, 10) == (value, len(varint(value)))


def test_negative_numbers_are_twos_complement():
    assert wire.signed(2**64 - 5) == -5
    assert wire.signed(2**64 - 5, bits=32) == -5
    assert wire.signed(5) == 5
    assert wire.signed(2**32 + 7, bits=32) == 7


def test_fields_come_in_the_order_of_the_file():
    rng = random.Random(0)
    for _ in range(200):
        parts, expected, size = [], [], 0
        for _ in range(rng.randrange(8)):
            field, value = rng.randrange(1, 3000) * 2 + len(parts) % 2, rng.getrandbits(rng.randrange(1, 64))
            part, wire_type = rng.choice(
                [
                    (number(field, value), 0),
                    (float8(field, 0.5), 1),
                    (content(field, bytes(value % 300)), 2),
                    (group(field, number(1, value), content(2, "in it")), 3),
                    (float4(field, 0.5), 5),
                ]
            )
            parts.append(part)
            size += len(part)
            if wire_type != 3:
                expected.append((field, wire_type, size, value if wire_type == 0 else 0))
        found = [(one.number, one.wire_type, one.end, one.value) for one in read(b"".join(parts))]
        assert found == expected


def test_numbers_that_are_not_packed_are_one_field():
    for count in [1, 2, 64, 65, 66, 1000]:
        row = b"".join(float4(5, one) for one in range(count))
        for behind in [b"", float4(6, 1), number(1, 5), b"\x2a\x00"]:
            first, *others = read(row + behind)
            assert (first.repeats, first.end, len(others)) == (count, len(row), 1 if behind else 0)


def test_a_row_ends_with_its_message():
    inner = float4(5, 1) + float4(5, 2)
    data = content(1, inner) + float4(5, 3)
    outer = read(data)[0]
    [row] = Wire(data, "file").fields(outer.start, outer.end)
    assert row.repeats == 2


def test_a_row_of_a_longer_tag_is_read_one_by_one():
    assert [one.repeats for one in read(float4(100, 1) * 3)] == [1, 1, 1]


def test_groups_are_left_out_with_what_is_in_them():
    inner = group(8, number(1, 2), content(2, "text"), float4(3, 1), float8(4, 1), group(5), group(8, number(1, 1)))
    fields = read(number(1, 7) + group(3, inner) + number(2, 9))
    assert [(one.number, one.value) for one in fields] == [(1, 7), (2, 9)]


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"\x08", "byte 1: expected a varint, found the end of the file after 0 bytes of it"),
        (b"\x08\x80\x80", "byte 1: expected a varint, found the end of the file after 2 bytes"),
        (b"\x08" + b"\xff" * 11, "byte 1: expected a varint of at most 10 bytes, found a longer one"),
        (b"\x0a\x05abc", "byte 0: expected at most 3 more bytes, for the file ends there; field 1 declares 5"),
        (b"\x0a" + varint(2**63) + b"abc", "expected at most 3 more bytes, .*; field 1 declares 9223372036854775808"),
        (b"\x0d\x00\x00", "byte 0: expected 4 bytes for field 1, found 2 before the file ends"),
        (b"\x09" + bytes(7), "byte 0: expected 8 bytes for field 1, found 7 before the file ends"),
        (b"\x00\x01", "byte 0: expected a field number from 1 to 536870911, found 0"),
        (varint(1 << 32) + b"\x00", "byte 0: expected a field number from 1 to 536870911, found 536870912"),
        (b"\x08\x01\x0e", "byte 2: expected a wire type from 0 to 5, found 6 .field 1."),
        (b"\x0f\x01", "byte 0: expected a wire type from 0 to 5, found 7"),
        (b"\x0c", "byte 0: expected a field, found the end of group 1, which was never started"),
        (b"\x0b\x08\x01", "byte 0: expected the end of group 1, found the end of the file"),
        (b"\x0b\x14", "byte 1: expected the end of group 1, found the end of group 2"),
        (b"\x0b" * 101, "byte 100: expected at most 100 groups in each other, found more"),
    ],
)
def test_what_is_no_message_is_refused_with_its_byte(data, error):
    with pytest.raises(WeightsError, match=f"^file, {error}|^file, .*{error}"):
        read(data)


def test_a_length_beyond_the_message_around_it_is_refused():
    data = content(1, b"\x0a\x09abc") + bytes(100)
    outer = Wire(data, "file")._field(0, len(data))
    with pytest.raises(
        WeightsError, match="byte 2: expected at most 3 more bytes, for the message around it ends there"
    ):
        list(Wire(data, "file").fields(outer.start, outer.end))


def test_a_hundred_groups_in_each_other_are_read():
    assert read(b"\x0b" * 100 + b"\x0c" * 100) == []


def test_the_number_of_fields_is_bounded(monkeypatch):
    monkeypatch.setattr(wire, "MOST_FIELDS", 50)
    assert len(read(number(1, 1) * 50)) == 50
    with pytest.raises(WeightsError, match="byte 100: expected at most 50 fields, found more"):
        read(number(1, 1) * 51)
    with pytest.raises(WeightsError, match="at most 50 fields"):
        read(group(1, number(1, 1) * 60))
    assert read(float4(1, 1.0) * 1000)[0].repeats == 1000  # a row counts once


def test_a_row_gives_its_numbers_wherever_it_starts():
    numbers = np.arange(37, dtype="<f4")
    for before in range(5):
        data = content(1, bytes(before)) + b"".join(float4(5, one) for one in numbers)
        row = read(data)[1]
        records = np.frombuffer(data, [("tag", "u1"), ("value", "<f4")], row.repeats, row.tag)
        assert np.array_equal(records["value"], numbers)
