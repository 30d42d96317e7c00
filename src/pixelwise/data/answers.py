"""Answers to what a folder leaves open: the words that `--as` takes.

masks=NAME, images=NAME    which directory holds the masks, the pictures (a path below the folder, or its last part)
255=void, 255=class        whether a value of the masks is a class; any value
numbers, colors            which of the two counts, where palettes disagree; or that all of them count, as classes
palette=NAME               whose colors these are: voc, cityscapes, camvid, ade20k, or none of them
objects                    each number is an object, not a class: 0 is background, all others foreground
inverted                   of two values, 0 is the object and the other the background
snap                       values between the classes, and lossy masks, are taken for the nearest class
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, Self

from pixelwise.errors import BadOption

PALETTES = ("voc", "cityscapes", "camvid", "ade20k", "none")
_WORDS = ("numbers", "colors", "objects", "inverted", "snap")
_VALUE = re.compile(r"(-?\d+)=(void|class)")


@dataclass(frozen=True)
class Answers:
    """What was answered; nothing, most often.

    Attributes:
        words: as they were given.
        masks, images: a directory's path below the folder, or its last part.
        values: {value in the masks: "void" or "class"}.
        counts: "numbers" or "colors".
        palette: one of `PALETTES`.
        objects, inverted, snap: whether these were said.
    """

    words: tuple[str, ...] = ()
    masks: str | None = None
    images: str | None = None
    values: Mapping[int, Literal["void", "class"]] = field(default_factory=dict)
    counts: Literal["numbers", "colors"] | None = None
    palette: str | None = None
    objects: bool = False
    inverted: bool = False
    snap: bool = False

    @classmethod
    def of(cls, words: Iterable[str]) -> Self:
        """The answers in these words.

        Raises:
            BadOption: a word is none of those above, or two contradict each other.
        """
        words = tuple(words)
        places: dict[str, str] = {}
        values: dict[int, Literal["void", "class"]] = {}
        for word in words:
            key, _, place = word.partition("=")
            if key in ("masks", "images", "palette") and place:
                if places.setdefault(key, place) != place:
                    raise BadOption(f"--as {key}= was given twice, as {places[key]} and {place}; give one")
            elif match := _VALUE.fullmatch(word):
                says: Literal["void", "class"] = "void" if match[2] == "void" else "class"
                if values.setdefault(int(match[1]), says) != says:
                    raise BadOption(f"--as says of the value {match[1]} that it is void and a class; give one")
            elif word not in _WORDS:
                raise BadOption(
                    f"--as takes masks=NAME, images=NAME, palette=NAME, VALUE=void, VALUE=class, "
                    f"{', '.join(_WORDS)}; got {word!r}"
                )
        if places.get("palette", "none") not in PALETTES:
            raise BadOption(f"--as palette= takes {', '.join(PALETTES)}; got {places['palette']!r}")
        if {"numbers", "colors"} <= set(words):
            raise BadOption("--as says both numbers and colors; give one")
        return cls(
            words,
            places.get("masks"),
            places.get("images"),
            values,
            "numbers" if "numbers" in words else "colors" if "colors" in words else None,
            places.get("palette"),
            *(word in words for word in ("objects", "inverted", "snap")),
        )


NOTHING = Answers()
"""No answer to anything."""


class Asked:
    """The answers, and which of them were of use."""

    def __init__(self, answers: Answers) -> None:
        self.answers = answers
        self._used: set[str] = set()

    def value(self, value: int) -> Literal["void", "class"] | None:
        """What was answered about a value that the masks hold."""
        said = self.answers.values.get(value)
        self._used.add(f"{value}={said}")
        return said

    def use(self, *words: str) -> None:
        """Remember that these words have settled something."""
        self._used.update(words)

    def notes(self) -> tuple[str, ...]:
        """The words that settled nothing; those about places are for the layout."""
        return tuple(
            f"--as {word} does not apply: nothing in these masks leaves that open"
            for word in dict.fromkeys(self.answers.words)
            if word not in self._used and not word.startswith(("masks=", "images="))
        )
