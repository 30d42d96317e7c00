"""What the names on the way to a file of a plain folder say: picture or mask, its split, and where it stands."""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from pixelwise.data.answers import Answers
from pixelwise.data.layout import normal
from pixelwise.data.words import place_of, split_aside, words_in, words_of

_HOW = frozenset("manual manuals semantic semantics".split())  # say how masks were made, and so that they are some


class Key(NamedTuple):
    """Where a file stands, apart from being a picture or a mask: two files of one pair have the same."""

    split: str | None
    below: str  # other directories on the way, joined by /
    stem: str


@dataclass(frozen=True)
class Directory:
    """What the names on the way to a directory say."""

    role: str | None  # "image", "mask"
    word: str  # the directory's name that said so, lower case
    split: str | None
    below: str
    home: str  # what of `below` stands above all words for pictures, masks and splits
    chosen: bool = False  # by an answer
    deeper: bool = False  # chosen by a name above another word for the same


def read_directory(root: Path, directory: Path, answers: Answers, apart: bool = False) -> Directory:
    """What the names between `root` and a directory say; an answer decides, else the deepest word.

    Args:
        apart: words for splits count among other words, too; where two contradict each other, the split is "".
    """
    parts = directory.relative_to(root).parts
    named = _named_part(parts, "mask", answers.masks) or _named_part(parts, "image", answers.images)
    if named is not None:
        after = [part_role for part in parts[named[1].stop :] if (part_role := words_of(part)[0]) is not None]
        if after and after[-1] != named[0]:
            named = None
    deeper = named is not None and any(words_of(part)[0] for part in parts[named[1].stop :])
    role, word, split, below, home = None, "", None, list[str](), None
    for i, part in enumerate(parts):
        part_role, part_split = words_of(part)
        if words_in(part) & _HOW and any(words_of(later)[0] for later in parts[i + 1 :]):
            part_role = None  # manual/labels beside auto/labels
        if named is not None and i in named[1]:
            split = part_split or (split_aside(part)[0] if apart else None) or split
            role, word = named[0], _path_word(parts, named[1])
        elif part_role is None and part_split is None:
            aside, rest = split_aside(part)
            if apart and aside is not None:
                split = aside if split in (None, aside) else ""
                part = rest
            if part:
                below.append(normal(part))
            continue
        else:
            if part_role is not None and (named is None or i < min(named[1])):
                role, word = part_role, place_of(part)
            if part_split is not None:
                split = part_split if not apart or split in (None, part_split) else ""
        if home is None:
            home = "/".join(below)
    if named is not None:
        role, word = named[0], _path_word(parts, named[1])
    elif (role == "mask" and answers.masks is not None) or (role == "image" and answers.images is not None):
        role, word = "left out", word
    return Directory(role, word, split, "/".join(below), home or "", named is not None, deeper)


def _named_part(parts: tuple[str, ...], role: str, name: str | None) -> tuple[str, range] | None:
    """(role, which of a path's parts an answer names): its words in a row, the last perhaps without its split."""
    if name is None:
        return None
    wanted = tuple(part for part in normal(name).lower().replace("\\", "/").split("/") if part not in ("", "."))
    if not wanted:
        return (role, range(0)) if not parts else None
    lowered = tuple(normal(part).lower() for part in parts)
    for start in range(len(parts) - len(wanted) + 1):
        if lowered[start : start + len(wanted)] == wanted:
            return role, range(start, start + len(wanted))
    plain = tuple(place_of(part) for part in parts)
    if len(wanted) > 1:  # home/word, with a split between them
        ends = [i for i, part in enumerate(plain) if part == wanted[-1] and words_of(parts[i])[0]]
        if ends and "/".join(p for p in lowered[: ends[-1]] if words_of(p) == (None, None)) == "/".join(wanted[:-1]):
            return role, range(ends[-1], ends[-1] + 1)
        return _without_split_words(parts, role, wanted)
    for start, part in enumerate(plain):
        if part == wanted[0] and words_of(parts[start])[0] is not None:
            return role, range(start, start + 1)
    return _without_split_words(parts, role, wanted)


def _without_split_words(parts: tuple[str, ...], role: str, wanted: tuple[str, ...]) -> tuple[str, range] | None:
    """As `_named_part`, where the names hold words for splits among others: uavid/labels is uavid_train/labels."""
    rests = [(i, rest.lower()) for i, part in enumerate(parts) if (rest := split_aside(part)[1])]
    if len(rests) == len(parts) and all(rest == normal(parts[i]).lower() for i, rest in rests):
        return None
    for start in range(len(rests) - len(wanted) + 1):
        if tuple(rest for _, rest in rests[start : start + len(wanted)]) == wanted:
            return role, range(rests[start][0], rests[start + len(wanted) - 1][0] + 1)
    return None


def _path_word(parts: tuple[str, ...], span: range) -> str:
    if not span:
        return "."
    last = place_of(parts[span[-1]])
    if words_of(parts[span[-1]]) == (None, None):
        last = split_aside(parts[span[-1]])[1].lower() or last
    return "/".join([*(normal(parts[i]).lower() for i in span[:-1]), last])


def key_of(about: Directory, file: Path) -> Key:
    """Where a file of a directory stands."""
    return Key(about.split, about.below, normal(file.stem))
