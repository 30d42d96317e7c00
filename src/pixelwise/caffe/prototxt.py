"""The text format of protobuf, in which Caffe's networks are written (`.prototxt`), read into a typed tree.

No schema is known here: a name is a field, whatever it means, so that the old spelling (`layers { type: CONVOLUTION }`,
`input_dim: 3`) and the fields of any fork read alike. What a scalar is can be seen from its spelling:

| spelling | type |
| --- | --- |
| `3`, `-1`, `0x1F`, `017` | int |
| `0.5`, `1e-3`, `2f`, `inf` | float |
| `true`, `false` | bool |
| `"Convolution"`, `'a' "b"` | str (neighbours are joined) |
| `MAX` | `Symbol` |

Source: Protocol Buffers, "Text Format Language Specification". Not read: names of extensions and of `Any` (`[a.b]`).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar, overload

from pixelwise.caffe.foreign import LOOKED_AT, STARTS, looks_like
from pixelwise.errors import DataError, WeightsError

DEEPEST = 64  # messages in each other; Caffe's networks have 4
LONGEST_TEXT = 2 << 20  # characters; ENet's 320 layers take 69 000
_LONGEST_NUMBER = 400  # characters


class Symbol(str):
    """A word without quotes that is not `true` or `false`: the value of an enumeration, as `MAX`."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


@dataclass(frozen=True, slots=True)
class Entry:
    """A field: name, value, and the line of the name, from 1."""

    name: str
    value: "Value"
    line: int


T = TypeVar("T", bool, int, float, str, Symbol)


@dataclass(frozen=True, slots=True)
class Message:
    """Fields in the order of the text; a name may stand several times.

    Attributes:
        line: of the message's name, from 1; 0 for the whole text.
        where: what errors call the text.
    """

    entries: tuple[Entry, ...] = ()
    line: int = 0
    where: str = field(default="prototxt", compare=False)

    def __contains__(self, name: str) -> bool:
        return any(entry.name == name for entry in self.entries)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self.entries)

    @overload
    def get(self, name: str, default: None = None) -> "Value | None": ...
    @overload
    def get(self, name: str, default: T) -> T: ...
    def get(self, name: str, default: object = None) -> object:
        """The field's value, or `default`; the value has the type of the default.

        A float may be written as an int, a bool as 0 or 1, a str as a symbol; a symbol may be a number, which is given
        as that number's digits.

        Raises:
            WeightsError: the field stands there several times (`all` gives them), or its type is another one.
        """
        found = [entry for entry in self.entries if entry.name == name]
        if not found:
            return default
        if len(found) > 1:
            raise WeightsError(
                f"{self.where}:{found[1].line}: expected {name} once, found it {len(found)} times; "
                f"the first is in line {found[0].line}"
            )
        return found[0].value if default is None else self._typed(found[0], default)

    def all(self, name: str) -> "tuple[Value, ...]":
        """The values of all fields of this name, in order."""
        return tuple(entry.value for entry in self.entries if entry.name == name)

    def message(self, name: str) -> "Message":
        """The message of this name; an empty one where there is none.

        Raises:
            WeightsError: the field stands there several times, or is no message.
        """
        value = self.get(name)
        if value is None:
            return Message(line=self.line, where=self.where)
        if not isinstance(value, Message):
            raise WeightsError(
                f"{self.where}:{self._line(name)}: expected {name} {{ … }}, found {name}: {shown(value)}"
            )
        return value

    def messages(self, name: str) -> "tuple[Message, ...]":
        """All messages of this name, in order.

        Raises:
            WeightsError: one of the fields is no message.
        """
        for entry in self.entries:
            if entry.name == name and not isinstance(entry.value, Message):
                raise WeightsError(
                    f"{self.where}:{entry.line}: expected {name} {{ … }}, found {name}: {shown(entry.value)}"
                )
        return tuple(value for value in self.all(name) if isinstance(value, Message))

    def _line(self, name: str) -> int:
        return next(entry.line for entry in self.entries if entry.name == name)

    def _typed(self, entry: Entry, default: object) -> object:
        value, kind = entry.value, type(default)
        if type(value) is kind:
            return value
        if kind is float and type(value) is int:
            return float(value)
        if kind is bool and type(value) is int and value in (0, 1):
            return bool(value)
        if kind is str and isinstance(value, Symbol):
            return value
        if kind is Symbol and type(value) is int:
            return Symbol(value)
        raise WeightsError(f"{self.where}:{entry.line}: expected {_KINDS[kind]} for {entry.name}, found {shown(value)}")


Value = bool | int | float | str | Symbol | Message

_KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a string", Symbol: "a word"}


def shown(value: Value) -> str:
    """A value as it stands in the text, cut to 40 characters; for errors."""
    if isinstance(value, Message):
        return "a message { … }"
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= 40 else text[:39] + "…"


def read_prototxt(text: str, where: str = "prototxt") -> Message:
    """The tree of a text.

    Args:
        where: what errors call the text: its path.

    Raises:
        WeightsError: it is not protobuf's text format (the message has line and column), longer than 2 MiB, or nests
            deeper than 64 messages.

    >>> net = read_prototxt('layer { name: "pool1" pooling_param { pool: MAX kernel_size: 2 pad: 0 } }  # a comment')
    >>> param = net.messages("layer")[0].message("pooling_param")
    >>> param.get("pool"), param.get("kernel_size", 1), param.get("stride", 1)
    (MAX, 2, 1)
    """
    if len(text) > LONGEST_TEXT:
        raise WeightsError(f"{where}: expected at most {LONGEST_TEXT} characters, found {len(text)}")
    try:
        text.encode()
    except UnicodeEncodeError as error:  # it would fail later, when the text is stored
        raise WeightsError(f"{where}: expected text, found half a character at {error.start}") from None
    try:
        return _Reader(text, where).read()
    except WeightsError:
        start = text[:LOOKED_AT].encode()
        if min(start, default=9) < 9:  # no text has such characters
            kind = "binary, as a .caffemodel, which holds the weights"
        elif not start.lstrip().startswith(tuple(STARTS)):
            raise
        else:
            kind = looks_like(start)
        raise WeightsError(f"{where}: expected a .prototxt, but the file seems to be {kind}") from None


def prototxt_text(path: str | Path) -> str:
    """The text of a `.prototxt`. Bytes that are not UTF-8 are replaced, for they stand in comments.

    Raises:
        DataError: there is no such file.
        WeightsError: it is longer than 2 MiB.
    """
    try:
        with Path(path).open("rb") as file:
            text = file.read(LONGEST_TEXT + 1)
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such file") from None
    except OSError as error:
        raise DataError(f"{path}: expected a file that can be read, found: {error}") from None
    if len(text) > LONGEST_TEXT:
        raise WeightsError(f"{path}: expected a .prototxt of at most {LONGEST_TEXT} bytes, found more")
    return text.decode("utf-8", errors="replace")


_SKIPPED = re.compile(r"(?:[ \t\r\n\f\v]++|#[^\n]*+)*+")
_TOKEN = re.compile(
    r"""
    (?P<word>[A-Za-z_][A-Za-z0-9_]*+)
  | (?P<number>(?:0[xX][0-9a-fA-F]++|(?:[0-9]++\.?[0-9]*+|\.[0-9]++)(?:[eE][-+]?[0-9]++)?[fF]?)(?![A-Za-z0-9_.]))
  | (?P<string>"(?:[^"\\\n]|\\[^\n])*+"|'(?:[^'\\\n]|\\[^\n])*+')
  | (?P<mark>[]{}<>[:;,-])
    """,
    re.VERBOSE,
)
_ESCAPE = re.compile(r"\\(?:([0-7]{1,3})|[xX]([0-9a-fA-F]{1,2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.))")
_PLAIN = {"n": "\n", "r": "\r", "t": "\t", "a": "\a", "b": "\b", "f": "\f", "v": "\v", **{c: c for c in "\\'\"?"}}
_CLOSES = {"{": "}", "<": ">"}
_FLOATS = {"inf", "infinity", "nan"}
_BOOLS = {"true": True, "True": True, "false": False, "False": False}


@dataclass(slots=True)
class _Open:
    """A message that is being read."""

    closer: str  # "" at the top
    line: int
    entries: list[Entry] = field(default_factory=list)
    name: str = ""  # of the field whose value comes next, with the line of this name
    name_line: int = 0
    listing: bool = False  # between "[" and "]"


class _Reader:
    """One token ahead: its kind ("word", "number", "string", "mark", or "" at the end), its spelling and offset."""

    def __init__(self, text: str, where: str) -> None:
        self.text, self.where = text, where
        self.kind, self.token, self.at = "", "", 0
        self.behind = 1 if text.startswith("\ufeff") else 0  # a byte order mark
        self.line, self.counted = 1, 0  # newlines are counted up to here
        self.names: dict[str, str] = {}  # each kept once
        self.advance()

    def read(self) -> Message:
        """The whole text; messages in messages are kept on a list, not on Python's stack."""
        stack = [_Open("", 0)]
        while True:
            top = stack[-1]
            if not top.listing:
                if top.closer and self.took(top.closer):
                    stack.pop()
                    self.add(stack[-1], Message(tuple(top.entries), top.line, self.where))
                    continue
                if not top.closer and not self.kind:
                    return Message(tuple(top.entries), 0, self.where)
                if not self.started(top):
                    continue
            if self.kind == "mark" and self.token in _CLOSES:
                if len(stack) > DEEPEST:
                    raise self.wrong(f"at most {DEEPEST} messages in each other", "more")
                stack.append(_Open(_CLOSES[self.token], top.name_line))
                self.advance()
            else:
                self.add(top, self.scalar(top.name))

    def started(self, top: _Open) -> bool:
        """Reads a field's name, its colon and the "[" of a list; false where the list is empty and no value follows."""
        if self.kind != "word":
            closing = f" or the {top.closer!r} of the message from line {top.line}" if top.closer else ""
            raise self.wrong(f"the name of a field{closing}")
        top.name, top.name_line = self.token, self.line
        self.advance()
        colon = self.took(":")
        top.listing = self.took("[")
        if top.listing and self.took("]"):
            top.listing = False
            self.separator()
            return False
        if not colon and not top.listing and not (self.kind == "mark" and self.token in _CLOSES):
            raise self.wrong(f"':' or '{{' after {top.name[:40]}")
        return True

    def add(self, top: _Open, value: Value) -> None:
        """Keeps a value, and reads what stands between it and the next."""
        top.entries.append(Entry(self.names.setdefault(top.name, top.name), value, top.name_line))
        if top.listing:
            if self.took(","):
                return
            if not self.took("]"):
                raise self.wrong(f"',' or ']' in the list of {top.name[:40]}")
            top.listing = False
        self.separator()

    def separator(self) -> None:
        if not self.took(","):
            self.took(";")

    def scalar(self, name: str) -> Value:
        minus = self.took("-")
        if self.kind == "number":
            value = self.number()
            self.advance()
            return -value if minus else value
        if self.kind == "word" and self.token.lower() in _FLOATS:
            value = float(self.token)
            self.advance()
            return -value if minus else value
        if minus:
            raise self.wrong("a number after '-'")
        if self.kind == "word":
            word = self.token
            self.advance()
            return _BOOLS[word] if word in _BOOLS else Symbol(word)
        if self.kind == "string":
            parts = []
            while self.kind == "string":
                parts.append(self.string())
                self.advance()
            return "".join(parts)
        raise self.wrong(f"a value for {name[:40]}")

    def number(self) -> int | float:
        token = self.token
        if len(token) > _LONGEST_NUMBER:
            raise self.wrong(f"a number of at most {_LONGEST_NUMBER} characters", f"one of {len(token)}")
        if token[:2] in ("0x", "0X"):
            value = int(token, 16)
        elif token.isdigit():
            if token[0] == "0" and token.strip("01234567"):
                raise self.wrong("an octal number after a leading 0")
            value = int(token, 8 if token[0] == "0" else 10)
        else:
            return float(token.rstrip("fF"))
        if value >= 1 << 64:
            raise self.wrong("a whole number of at most 64 bits")
        return value

    def string(self) -> str:
        inside = self.token[1:-1]
        if "\\" not in inside:
            return inside
        # octal and hexadecimal escapes are bytes of UTF-8
        parts, start = bytearray(), 0
        for escape in _ESCAPE.finditer(inside):
            parts += inside[start : escape.start()].encode()
            octal, hexadecimal, short, long, plain = escape.groups()
            code = int(short or long or "0", 16)
            if not (plain is None or plain in _PLAIN) or code > 0x10FFFF or int(octal or "0", 8) > 255:
                raise self.wrong("an escape of protobuf's text format", repr(escape[0]))
            if octal or hexadecimal:
                parts.append(int(octal, 8) if octal else int(hexadecimal, 16))
            else:
                parts += (_PLAIN[plain] if plain else chr(code)).encode(errors="replace")
            start = escape.end()
        parts += inside[start:].encode()
        return parts.decode(errors="replace")

    def took(self, mark: str) -> bool:
        """Whether the token is this mark; if so, the next token is read."""
        if self.kind != "mark" or self.token != mark:
            return False
        self.advance()
        return True

    def advance(self) -> None:
        """Reads the next token."""
        skipped = _SKIPPED.match(self.text, self.behind)
        assert skipped is not None  # it may be empty
        self.at = skipped.end()
        self.line += self.text.count("\n", self.counted, self.at)
        self.counted = self.at
        token = _TOKEN.match(self.text, self.at)
        if token is not None:
            self.kind, self.token, self.behind = str(token.lastgroup), token[0], token.end()
        elif self.at == len(self.text):
            self.kind, self.token, self.behind = "", "", self.at
        else:
            self.kind, self.token = "", ""
            raise self.wrong(self.readable())

    def readable(self) -> str:
        """What was expected of characters that are no token."""
        return (
            "a string that ends in its line" if self.text[self.at] in "\"'" else "a name, a number, a string or a mark"
        )

    def wrong(self, expected: str, found: str = "") -> WeightsError:
        """The error for the token."""
        column = self.at - self.text.rfind("\n", 0, self.at)
        if not found:
            rest = self.token or self.text[self.at : self.at + 20].split("\n")[0]
            found = repr(rest[:20]) if rest else "the end of the text"
        return WeightsError(f"{self.where}:{self.line}:{column}: expected {expected}, found {found}")
