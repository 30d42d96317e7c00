"""Broken and hostile files give a result or one WeightsError, in steps and memory that the file's size bounds.

`make soak` reads 100 000 of them.
"""

import os
import random
import sys
import tracemalloc
from contextlib import suppress

import numpy as np
import pytest

from pixelwise.caffe import CaffeWeights, Message, Symbol, read_caffemodel, read_prototxt
from pixelwise.caffe.caffemodel import weights_of
from pixelwise.caffe.wire import written_varint as varint
from pixelwise.errors import WeightsError

from . import messages
from .messages import blob, content, float4, float8, group, layer, legacy, number, v0_layer, v1_layer

SOAK = bool(os.environ.get("PIXELWISE_SOAK"))
WEIGHTS_PER_SEED, NETWORKS_PER_SEED, SEEDS = (3000, 2000, 20) if SOAK else (150, 100, 2)


class CountedBytes(bytes):
    """Bytes that count how many of them were looked at one by one or in slices."""

    touched = 0

    def __getitem__(self, key):
        found = super().__getitem__(key)
        self.touched += len(found) if isinstance(key, slice) else 1
        return found


def read_weights(data):
    """The result or the error; never another exception, too many steps, or values that the file does not hold."""
    data = CountedBytes(data)
    try:
        weights = weights_of(data, "file")
    except WeightsError as error:
        assert len(str(error)) < 2000 and "\n" not in str(error)
        weights = error
    else:
        assert isinstance(weights, CaffeWeights) and weights.layers
        blobs = [one for layer in weights.layers for one in layer.blobs]
        assert sum(one.nbytes for one in blobs) <= len(data)
        assert all(one.size > 0 and not one.flags.writeable for one in blobs)
    assert data.touched <= 5 * len(data) + 100
    return weights


def written(message):
    """A tree as text again."""
    return "".join(
        f"{one.name} {{\n{written(one.value)}}}\n"
        if isinstance(one.value, Message)
        else f"{one.name}: {scalar(one.value)}\n"
        for one in message
    )


def scalar(value):
    if isinstance(value, Symbol) or not isinstance(value, str):
        return str(value).lower() if isinstance(value, bool) else str(value)
    return '"' + "".join(f"\\{byte:03o}" for byte in value.encode()) + '"'


def read_network(text):
    try:
        net = read_prototxt(text, "file")
    except WeightsError as error:
        assert len(str(error)) < 500 and "\n" not in str(error)
        return error
    again = written(net)
    assert written(read_prototxt(again)) == again
    return net


# inputs

NUMBERS = np.arange(24, dtype=np.float32)
SMALL, LONG = NUMBERS.reshape(2, 3, 2, 2), NUMBERS.astype(np.float64)
PIECES = messages.values(NUMBERS[:9], packed=False) + messages.shape([24], packed=False) + messages.values(NUMBERS[9:])
MODELS = [
    content(1, "net") + layer("conv1", "Convolution", blob(SMALL), blob(LONG)) + layer("relu1", "ReLU"),
    layer("a", "BatchNorm", PIECES, legacy([1, 1, 4, 6]) + messages.values(LONG, packed=False)),
    v1_layer("conv1", 4, legacy([2, 3, 2, 2]) + messages.values(SMALL)) + v1_layer("fc", 14, blob(SMALL)),
    v0_layer("conv1", "conv", legacy([2, 3, 2, 2]) + messages.values(SMALL, packed=False)),
    content(1, "net") + group(9, number(1, 5), group(2, float4(1, 1))) + layer("bn", "BN", blob(SMALL) + number(45, 1)),
]
BLOBS = [blob(SMALL), blob(LONG), PIECES, legacy([1, 1, 4, 6]) + messages.values(LONG, packed=False)]
NETWORKS = [
    'name: "net" input: "data" input_dim: 1\nlayer { name: "c" type: \'Convolution\' bottom: "data" top: "c"\n'
    "convolution_param { num_output: 4 kernel_size: [3, 5] bias_term: false weight_filler: < std: -1.5e-3 > } }\n",
    'layers { name: "p" type: POOLING pooling_param: { pool: MAX, stride: 0x2; } }  # a comment\na: true\n',
    "a: \"\\n\\101\\x41\\u00e4\" 'joined' b: [{ c: inf }, { c: -nan }] d: 017 e: .5f f: [] g { h { i { j: -1 } } }\n",
]


def broken(rng, data, others, odd, joined):
    """A change of one to four places of text or bytes; `odd` gives a piece that is wrong somewhere."""
    for _ in range(rng.choice([1, 1, 1, 2, 3, 4])):
        i, j = sorted(rng.randrange(len(data) + 1) for _ in range(2))
        start, middle, end = data[:i], data[i:j], data[j:]
        new = {
            "replaced": odd(rng),
            "put before": odd(rng) + middle,
            "cut out": middle[:0],
            "repeated": middle * rng.randrange(2, 20),
            "another": rng.choice(others),
            "shuffled": joined(rng.sample(list(middle), j - i)),
            "one place": odd(rng) + middle[1:],
        }
        way = rng.choice(["cut off", "without start", *new])
        data = start if way == "cut off" else end if way == "without start" else start + new[way] + end
    return data


def broken_weights(rng):
    """A file that is broken somewhere, or one whose lengths are right around a broken blob or layer."""
    where = rng.choice(["file", "layer", "old layer", "blob", "shape"])
    if where == "file":
        return broken(rng, rng.choice(MODELS), MODELS, odd_bytes, bytes)
    if where == "layer":
        return content(100, broken(rng, content(1, "a") + content(7, blob(SMALL)), BLOBS, odd_bytes, bytes))
    if where == "old layer":
        return content(
            2, broken(rng, content(4, "a") + number(5, 4) + content(6, blob(SMALL)), BLOBS, odd_bytes, bytes)
        )
    if where == "blob":
        return layer("a", "Bias", broken(rng, rng.choice(BLOBS), BLOBS, odd_bytes, bytes))
    lengths = broken(rng, bytes([2, 3, 2, 2]), [bytes([1, 1]), varint(2**40)], odd_bytes, bytes)
    return layer("a", "Bias", messages.values(NUMBERS) + content(7, content(1, lengths)))


def odd_bytes(rng):
    return rng.choice(
        [
            lambda: bytes([rng.randrange(256)]),
            lambda: rng.choice([b"\x00", b"\x7f", b"\x80", b"\xff"]),
            lambda: rng.randbytes(rng.randrange(1, 12)),
            lambda: varint(rng.choice([2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**63, 2**64 - 1])),
            lambda: varint(rng.choice([1, 2, 4, 5, 6, 7, 8, 9, 50, 100]) << 3 | rng.randrange(8)),
            lambda: varint(rng.choice([5, 7, 8, 100]) << 3 | 2) + varint(1 << rng.randrange(64)),
            lambda: b"\x0b" * rng.randrange(1, 200),
            lambda: b"\xff" * rng.randrange(1, 20),
        ]
    )()


def odd_text(rng):
    return rng.choice(
        [
            lambda: rng.choice("{}<>[]:;,-+.#\"'\\\n\r\t \0\x7fä\ufffd\ud800😀0xeEfFlayer"),
            lambda: chr(rng.choice([rng.randrange(128), rng.randrange(0x110000)])),
            lambda: rng.choice("{<[:'\"9\\#") * rng.randrange(1, 200),
            lambda: rng.choice(
                [": ", " { ", " } ", ": [", "]", "a: ", "a { ", "# ", "\\", "\\x", "\\777", "0x", "1e", "- "]
            ),
            lambda: rng.choice(["inf", "nan", "true", "1e999", "9" * 5000, "0." + "1" * 500, "00", "08", "-0"]),
        ]
    )()


@pytest.fixture
def traced():
    tracemalloc.start()
    yield
    tracemalloc.stop()


def peak_of(read, data):
    """The most memory that reading takes, in bytes."""
    tracemalloc.reset_peak()
    before = tracemalloc.get_traced_memory()[0]
    with suppress(WeightsError):
        read(data, "file")
    return tracemalloc.get_traced_memory()[1] - before


def steps_of(read, data):
    """The calls that reading makes, of Python's functions and of C's."""
    steps = 0

    def count(frame, event, argument):
        nonlocal steps
        steps += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        with suppress(WeightsError):
            read(data, "file")
    finally:
        sys.setprofile(before)
    return steps


@pytest.mark.parametrize("seed", range(SEEDS))
def test_broken_weights_give_a_result_or_one_line(seed, traced):
    rng = random.Random(seed)
    results = 0
    for _ in range(WEIGHTS_PER_SEED):
        data = broken_weights(rng)
        assert peak_of(weights_of, data) <= 100 * len(data) + 20_000, data
        results += isinstance(read_weights(data), CaffeWeights)
    assert 0.02 < results / WEIGHTS_PER_SEED < 0.98  # both happen


@pytest.mark.parametrize("seed", range(SEEDS))
def test_broken_networks_give_a_tree_or_one_line(seed, traced):
    rng = random.Random(seed)
    results = 0
    for _ in range(NETWORKS_PER_SEED):
        text = broken(rng, rng.choice(NETWORKS), NETWORKS, odd_text, "".join)
        assert peak_of(read_prototxt, text) <= 100 * len(text) + 20_000, text
        results += isinstance(read_network(text), Message)
    assert 0.02 < results / NETWORKS_PER_SEED < 0.98


@pytest.mark.parametrize("model", range(len(MODELS)))
def test_weights_cut_off_at_any_byte(model):
    data = MODELS[model]
    whole = read_weights(data)
    assert isinstance(whole, CaffeWeights)
    for length in range(len(data)):
        cut = read_weights(data[:length])
        if isinstance(cut, CaffeWeights):  # between two layers
            assert 0 < len(cut.layers) < len(whole.layers) or length >= len(data) - 20


@pytest.mark.parametrize("network", range(len(NETWORKS)))
def test_networks_cut_off_at_any_character(network):
    text = NETWORKS[network]
    whole = read_network(text)
    assert isinstance(whole, Message)
    for length in range(len(text)):
        cut = read_network(text[:length])
        if isinstance(cut, Message):
            assert len(cut.entries) <= len(whole.entries)


def test_weights_with_any_byte_changed_in_any_way():
    """One small file, every byte of its frame, every value."""
    data = layer("a", "B", blob(NUMBERS[:2]), legacy([1, 1, 1, 1]) + float4(5, 1))
    for i in range(len(data)):
        for value in range(256) if SOAK else (0, 1, 8, 0x2A, 0x2D, 0x3A, 0x7F, 0x80, 0xFF):
            read_weights(data[:i] + bytes([value]) + data[i + 1 :])


def test_a_broken_file_on_the_disk(tmp_path):
    """The same through the map of a file."""
    path = tmp_path / "net.caffemodel"
    rng = random.Random(0)
    for _ in range(1000 if SOAK else 50):
        data = broken_weights(rng)
        path.write_bytes(data)
        expected = read_weights(data)
        try:
            found = read_caffemodel(path)
        except WeightsError as error:
            assert str(error) == str(expected).replace("file", str(path), 1)
        else:
            assert [one.name for one in found.layers] == [one.name for one in expected.layers]


def in_each_other(depth):
    """A message whose only field is a message, and so on."""
    data = b""
    for _ in range(depth):
        data = content(100, data)
    return data


HOSTILE_WEIGHTS = {  # by what they are; of any size
    "layers of nothing": lambda n: b"\xa2\x06\x00" * n,
    "old layers of nothing": lambda n: b"\x12\x00" * n,
    "oldest layers of nothing": lambda n: content(2, b"\x0a\x00" * n),
    "names of nothing": lambda n: content(100, b"\x0a\x00" * n),
    "blobs of one value": lambda n: content(100, content(7, float4(5, 1)) * n),
    "blobs of one packed value": lambda n: content(100, content(7, b"\x2a\x04abcd") * n),
    "rows of two and a gap": lambda n: layer("a", "B", (float4(5, 1) * 2 + b"\x2a\x00") * n + messages.shape([2 * n])),
    "rows of nearly a tag": lambda n: layer("a", "B", (float4(5, 1) + float4(6, 1)) * n + messages.shape([n])),
    "values with a long tag": lambda n: layer("a", "B", b"\xad\x00abcd" * n + messages.shape([n])),
    "packed values one by one": lambda n: layer("a", "B", b"\x2a\x04abcd" * n + messages.shape([n])),
    "one long row": lambda n: layer("a", "B", float8(8, 1) * n + messages.shape([n])),
    "shapes of nothing": lambda n: layer("a", "B", b"\x3a\x00" * n + float4(5, 1)),
    "axes": lambda n: layer("a", "B", messages.shape([1] * n) + float4(5, 1)),
    "axes of huge length": lambda n: layer("a", "B", messages.shape([2**62] * n) + float4(5, 1)),
    "numbers": lambda n: b"\x08\x01" * n,
    "numbers of nine bytes too many": lambda n: b"\x20" + b"\x80" * n,
    "groups in each other": lambda n: b"\x0b" * n + b"\x0c" * n,
    "groups side by side": lambda n: b"\x0b\x0c" * n,
    "messages in each other": in_each_other,
    "huge lengths": lambda n: (b"\xa2\x06" + varint(2**63 - 1)) * n,
    "a long name and many blobs": lambda n: content(100, content(1, "n" * 8 * n), content(7, float4(5, 1)) * n),
    "a long name in an error": lambda n: content(100, content(1, "\n" * n), content(7)),
    "nothing": lambda n: bytes(n),
    "ones": lambda n: b"\xff" * n,
}

HOSTILE_NETWORKS = {
    "scalars": lambda n: "a:1 " * n,
    "words": lambda n: "a:b " * n,
    "names": lambda n: "".join(f"a{i}:1 " for i in range(n)),
    "messages side by side": lambda n: "a{}" * n,
    "messages in each other": lambda n: "a{" * n + "}" * n,
    "a list of messages": lambda n: "a:[" + "{}," * n + "{}]",
    "a list of numbers": lambda n: "a:[" + "1," * n + "1]",
    "empty lists": lambda n: "a[]" * n,
    "lists in each other": lambda n: "a:" + "[" * n,
    "a string in many pieces": lambda n: "a:" + '""' * n,
    "escapes": lambda n: 'a:"' + "\\n" * n + '"',
    "wrong escapes": lambda n: "a:'\\q' " * n,
    "a string without an end": lambda n: 'a:"' + "\\n" * n,
    "strings without an end": lambda n: "a:'\n" * n,
    "a word": lambda n: "a" * n,
    "digits": lambda n: "a:" + "1" * n,
    "digits and dots": lambda n: "a:" + "1." * n,
    "zeros": lambda n: "a:0x" + "0" * n,
    "an exponent": lambda n: "a:1e" + "9" * n,
    "minus": lambda n: "a:" + "-" * n,
    "comments": lambda n: "#\n" * n,
    "a comment": lambda n: "#" * n,
    "spaces": lambda n: " \t" * n,
    "newlines": lambda n: "\n" * n + "a:1\n" * n + "}",
    "nothing": lambda n: "\0" * n,
    "not a character": lambda n: "\ud800" * n,
}


FOUND = {  # what a soak has found, with what is said now
    # was read, and could not be stored in a model file
    'name: "Con\ud800volution"': "file: expected text, found half a character at 10",
    # the steps for the error were more than the text's share
    "a:0x" + "0" * 1200: "file:1:3: expected a number of at most 400 characters, found one of 1202",
    "a:1e" + "9" * 1200: "file:1:3: expected a number of at most 400 characters, found one of 1202",
}


@pytest.mark.parametrize("text", FOUND)
def test_what_a_soak_has_found_is_refused(text):
    assert str(read_network(text)) == FOUND[text]


def grows_with_its_size(read, of_size):
    """Four times the size takes four times the steps, and memory is at most a hundred times the size."""
    small, large = (of_size(2000), of_size(8000)) if SOAK else (of_size(100), of_size(400))
    assert steps_of(read, large) <= 1.1 * len(large) / len(small) * (steps_of(read, small) + 100)
    tracemalloc.start()
    try:
        assert peak_of(read, large) <= 100 * len(large) + 20_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("kind", HOSTILE_WEIGHTS)
def test_steps_and_memory_grow_no_faster_than_hostile_weights(kind):
    grows_with_its_size(weights_of, HOSTILE_WEIGHTS[kind])
    read_weights(HOSTILE_WEIGHTS[kind](100))


@pytest.mark.parametrize("kind", HOSTILE_NETWORKS)
def test_steps_and_memory_grow_no_faster_than_hostile_networks(kind):
    grows_with_its_size(read_prototxt, HOSTILE_NETWORKS[kind])
    read_network(HOSTILE_NETWORKS[kind](100))
