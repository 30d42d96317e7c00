"""Protobuf's text format: a typed tree, and errors with line and column."""

import math
import re

import pytest

from pixelwise.caffe import Message, Symbol, prototxt, prototxt_text, read_prototxt
from pixelwise.errors import WeightsError


def value(text):
    [entry] = read_prototxt(f"a: {text}").entries
    return entry.value


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("3", 3),
        ("-1", -1),
        ("- 1", -1),
        ("0", 0),
        ("-0", 0),
        ("0x1F", 31),
        ("-0Xff", -255),
        ("017", 15),
        ("18446744073709551615", 2**64 - 1),
        ("0.5", 0.5),
        ("-.5", -0.5),
        ("5.", 5.0),
        ("1e-3", 1e-3),
        ("1E+3", 1e3),
        ("2f", 2.0),
        ("0.1F", 0.1),
        ("1e999", math.inf),
        ("inf", math.inf),
        ("-Infinity", -math.inf),
        ("true", True),
        ("True", True),
        ("false", False),
        ("MAX", Symbol("MAX")),
        ("_x9", Symbol("_x9")),
        ('"Convolution"', "Convolution"),
        ("'Convolution'", "Convolution"),
        ('"it\'s"', "it's"),
        ("'a' \"b\"\n 'c'", "abc"),
        ('""', ""),
        (r'"\n\r\t\a\b\f\v\\\'\"\?"', "\n\r\t\a\b\f\v\\'\"?"),
        (r'"\101\60\x41\x4a\u00e4\U0001F600"', "A0AJä😀"),
        (r'"\303\244"', "ä"),  # bytes of UTF-8
        (r'"\377"', "\ufffd"),
        ('"# no comment { } : ä"', "# no comment { } : ä"),
    ],
)
def test_a_scalars_type_is_seen_from_its_spelling(text, expected):
    found = value(text)
    assert type(found) is type(expected)
    assert found == expected


def test_nan_is_a_number():
    assert math.isnan(value("nan")) and math.isnan(value("-NaN"))


CONVOLUTION = """
name: "net"  # the network's name
layer {
  name: "conv1" type: "Convolution"
  convolution_param { num_output: 4; kernel_size: 3, kernel_size: 5 }
}
"""


def test_fields_keep_their_order_and_lines():
    net = read_prototxt(CONVOLUTION)
    assert [(one.name, one.line) for one in net] == [("name", 2), ("layer", 3)]
    [layer] = net.messages("layer")
    assert layer.line == 3
    assert [(one.name, one.line) for one in layer] == [("name", 4), ("type", 4), ("convolution_param", 5)]
    param = layer.message("convolution_param")
    assert [(one.name, one.value) for one in param] == [("num_output", 4), ("kernel_size", 3), ("kernel_size", 5)]
    assert param.line == 5
    assert "num_output" in param and "stride" not in param


@pytest.mark.parametrize(
    "text",
    [
        "p { a: 1 a: 2 b { c: 3 } b { c: 4 } }",
        "p: { a: 1, a: 2; b: { c: 3 }; b { c: 4 }, }",
        "p < a: [1, 2] b: [{ c: 3 }, < c: 4 >] >",
        "p{a:[1,2]b[{c:3},{c:4}]}",
        "p # {\n{a #:\n:#1\n1 a:2 b # {\n {c:3} b{c:4} } # }",
        "\ufeffp\r\n{\r\n\ta:1\f\va:2 x: [] ; x [] , b{c:3}b{c:4}}\r\n",
    ],
)
def test_every_spelling_of_a_message_reads_the_same(text):
    net = read_prototxt(text).message("p")
    assert net.all("a") == (1, 2)
    assert [one.get("c", 0) for one in net.messages("b")] == [3, 4]
    assert len(net.entries) == 4


def test_the_old_spelling_reads_as_fields():
    inputs = 'input: "data" input_dim: 1 input_dim: 3 '
    net = read_prototxt(inputs + 'layers { layer { name: "a" type: "conv" } } layers { type: CONVOLUTION }')
    assert net.all("input_dim") == (1, 3)
    first, second = net.messages("layers")
    assert first.message("layer").get("type", "") == "conv"
    assert second.get("type") == Symbol("CONVOLUTION")
    assert second.get("type", "") == "CONVOLUTION"


def test_an_empty_text_has_no_fields():
    for text in ["", " \n ", "# only a comment", "\ufeff"]:
        assert read_prototxt(text) == Message()


# asking


def test_a_value_has_the_type_of_the_default():
    net = read_prototxt("whole: 2 part: 0.5 yes: true one: 1 word: MAX text: 'MAX'")
    assert net.get("whole", 1) == 2 and net.get("missing", 1) == 1
    assert net.get("missing") is None and net.get("whole") == 2
    whole = net.get("whole", 1.0)
    assert (whole, type(whole)) == (2.0, float)
    assert net.get("yes", False) is True and net.get("one", False) is True
    assert net.get("word", Symbol("AVE")) == "MAX" and net.get("word", "") == "MAX"
    assert net.get("one", Symbol("MAX")) == "1"  # an enumeration may be given by its number
    assert net.get("text", "") == "MAX"


@pytest.mark.parametrize(
    ("name", "default", "error"),
    [
        ("part", 1, "expected a whole number for part, found 0.5"),
        ("yes", 1, "expected a whole number for yes, found true"),
        ("text", 1.0, "expected a number for text, found 'MAX'"),
        ("whole", True, "expected true or false for whole, found 2"),
        ("whole", "", "expected a string for whole, found 2"),
        ("text", Symbol("AVE"), "expected a word for text, found 'MAX'"),
        ("word", 1, "expected a whole number for word, found MAX"),
        ("deep", 1, "expected a whole number for deep, found a message { … }"),
        ("long", 1, "expected a whole number for long, found 'x{38}…$"),
    ],
)
def test_a_value_of_another_type_is_refused_with_its_line(name, default, error):
    text = f"\nwhole: 2 part: 0.5 yes: true word: MAX text: 'MAX' deep {{ }} long: '{'x' * 99}'"
    with pytest.raises(WeightsError, match=f"^net.prototxt:2: {error}"):
        read_prototxt(text, "net.prototxt").get(name, default)


def test_a_field_that_stands_twice_is_not_guessed_at():
    net = read_prototxt("a: 1\na: 2\n")
    with pytest.raises(WeightsError, match="prototxt:2: expected a once, found it 2 times; the first is in line 1"):
        net.get("a", 0)
    assert net.all("a") == (1, 2) and net.all("b") == ()


def test_a_message_that_is_missing_is_empty_and_a_scalar_is_none():
    net = read_prototxt("a { b: 1 }\nc: 3\nc { }")
    assert net.message("x") == Message()
    with pytest.raises(WeightsError, match=r"prototxt:1: expected b \{ … \}, found b: 1"):
        net.message("a").message("b")
    with pytest.raises(WeightsError, match=r"prototxt:2: expected c \{ … \}, found c: 3"):
        net.messages("c")


# errors


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (
            "layer {\n  name: 'a'\n",
            "3:1: expected the name of a field or the '}' of the message from line 1, found the end of the text",
        ),
        ("a: 1\n  }", "2:3: expected the name of a field, found '}'"),
        ("a { b: 1 >", "1:10: expected the name of a field or the '}' of the message from line 1, found '>'"),
        ("a 1", "1:3: expected ':' or '{' after a, found '1'"),
        ("a:", "1:3: expected a value for a, found the end of the text"),
        ("a: }", "1:4: expected a value for a, found '}'"),
        ("a: - b", "1:6: expected a number after '-', found 'b'"),
        ("a: -'b'", "1:5: expected a number after '-', found \"'b'\""),
        ("a: [1 2]", "1:7: expected ',' or ']' in the list of a, found '2'"),
        ("a: [1,]", "1:7: expected a value for a, found ']'"),
        ("a: [1", "1:6: expected ',' or ']' in the list of a, found the end of the text"),
        ("a: [[1]]", "1:5: expected a value for a, found '['"),
        ("a: 'b\nc'", '1:4: expected a string that ends in its line, found "\'b"'),
        ('a: "b\\', "1:4: expected a string that ends in its line"),
        ("\n a: 12ab", "2:5: expected a name, a number, a string or a mark, found '12ab'"),
        ("a: 1.2.3", "1:4: expected a name, a number, a string or a mark, found '1.2.3'"),
        ("a: 09", "1:4: expected an octal number after a leading 0, found '09'"),
        ("a: 18446744073709551616", "1:4: expected a whole number of at most 64 bits, found '18446744073709551616'"),
        ("a: " + "9" * 5000, "1:4: expected a number of at most 400 characters, found one of 5000"),
        ("a: 0x" + "f" * 5000, "1:4: expected a number of at most 400 characters, found one of 5002"),
        (r"a: 'b\q'", r"1:4: expected an escape of protobuf's text format, found '\\q'"),
        (r"a: '\777'", r"1:4: expected an escape of protobuf's text format, found '\\777'"),
        (r"a: '\U00110000'", r"1:4: expected an escape of protobuf's text format, found '\\U00110000'"),
        ("[a.b]: 1", "1:1: expected the name of a field, found '['"),
        ("a: 1 ; ; b: 2", "1:8: expected the name of a field, found ';'"),
        ("ä: 1", "1:1: expected a name, a number, a string or a mark, found 'ä: 1'"),
        ("{", "1:1: expected the name of a field, found '{'"),
    ],
)
def test_what_is_no_text_format_is_refused_with_line_and_column(text, error):
    with pytest.raises(WeightsError, match=f"^net.prototxt:{re.escape(error)}") as caught:
        read_prototxt(text, "net.prototxt")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 200


def test_the_depth_is_bounded():
    assert read_prototxt("a{" * 64 + "}" * 64)
    with pytest.raises(WeightsError, match="prototxt:1:130: expected at most 64 messages in each other, found more"):
        read_prototxt("a{" * 65 + "}" * 65)


def test_the_length_is_bounded(monkeypatch, tmp_path):
    monkeypatch.setattr(prototxt, "LONGEST_TEXT", 100)
    path = tmp_path / "net.prototxt"
    path.write_text("a: 1" * 25)
    assert prototxt_text(path) == "a: 1" * 25
    path.write_text("a: 1" * 26)
    with pytest.raises(WeightsError, match="net.prototxt: expected a .prototxt of at most 100 bytes, found more"):
        prototxt_text(path)
    with pytest.raises(WeightsError, match="prototxt: expected at most 100 characters, found 104"):
        read_prototxt("a: 1" * 26)


def test_a_comment_in_another_encoding_does_no_harm(tmp_path):
    path = tmp_path / "net.prototxt"
    path.write_bytes("# 卷积\nname: 'a'".encode("gbk"))
    assert read_prototxt(prototxt_text(path)).get("name") == "a"


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (
            "version https://git-lfs.github.com/spec/v1\noid sha256:12",
            "the pointer of a file in Git LFS: run `git lfs pull`",
        ),
        ("<!DOCTYPE html>\n<html>", "a page of HTML or XML: the download gave a web page"),
        ("\n\x05LeNet\ufffd\x06P\n\x05mnist", "binary, as a .caffemodel, which holds the weights"),
    ],
)
def test_another_file_given_as_a_network_is_called_what_it_is(text, error):
    with pytest.raises(WeightsError, match=f"^net: expected a .prototxt, but the file seems to be {error}"):
        read_prototxt(text, "net")


@pytest.mark.real
def test_every_real_network_reads(real_data):
    layers = {
        path.name: len(read_prototxt(prototxt_text(path), path.name).messages("layer"))
        for path in real_data.glob("caffe/**/*.prototxt")
    }
    assert layers == {
        "enet_deploy.prototxt": 320,
        "enet_deploy_final.prototxt": 210,
        "lenet.prototxt": 9,
        "mnet-deconv-0517.prototxt": 210,
        "det1.prototxt": 10,
        "det2.prototxt": 13,
        "det3.prototxt": 18,
        "RFB-320.prototxt": 111,
        "scale2.0x_model.prototxt": 63,
    }
