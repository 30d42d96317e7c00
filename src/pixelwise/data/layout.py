"""What a folder is: its pictures by directory, the splits of pairs that a layout finds in it, and its faults."""

import os
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pixelwise.data.decode import IMAGE_EXTENSIONS
from pixelwise.data.sample import Pair
from pixelwise.errors import DataError
from pixelwise.labels import LabelSet

_JUNK = frozenset(("__macosx", "@eadir", "lost+found"))


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong with a folder: expected – found – do this.

    Attributes:
        severity: an "error" stops a fit; a "warning" does not.
        path: the file or folder it is about, if one.
        message: one line, naming the file.
    """

    severity: Literal["error", "warning"]
    path: Path | None
    message: str

    def __str__(self) -> str:
        return f"{self.severity}: {self.message}"


@dataclass(frozen=True)
class Layout:
    """The pairs of a folder, from names alone; no file has been decoded.

    Attributes:
        root: the folder that the layout starts at.
        name: the layout in a phrase.
        rule: how the files were paired, in a sentence.
        splits: {"train", "val", "test", or "all" where the folder names none: pairs}.
        faults: files that found no partner, twins, entries of lists that lead nowhere.
        notes: what else a person would want to know.
        labels: the label sets that this layout is known to come with, the likeliest first; the first that fits every
            value of the masks is taken. Empty where the folder is nobody's known data set.
    """

    root: Path
    name: str
    rule: str
    splits: Mapping[str, tuple[Pair, ...]]
    faults: tuple[Fault, ...] = ()
    notes: tuple[str, ...] = ()
    labels: tuple[LabelSet, ...] = ()


def checked_folder(folder: str | Path) -> Path:
    """The folder as a path, once it is known to be one.

    Raises:
        DataError: it is missing or a file.
    """
    path = Path(folder)
    if not path.exists():
        raise DataError(f"there is no folder {path}; check the path")
    if not path.is_dir():
        raise DataError(f"{path} is a file; expected a folder with pictures and masks: pass the folder that holds it")
    return path


def pictures_below(root: Path) -> dict[Path, tuple[Path, ...]]:
    """{directory: its picture files by name}, for `root` and all below; what systems leave lying about is passed over.

    Links are followed, each directory once.
    """
    found: dict[Path, tuple[Path, ...]] = {}
    seen: set[str] = set()
    for directory, below, files in os.walk(root, followlinks=True):
        real = os.path.realpath(directory)
        if real in seen:
            below.clear()
            continue
        seen.add(real)
        below[:] = sorted(name for name in below if not name.startswith(".") and name.lower() not in _JUNK)
        pictures = sorted(
            name for name in files if not name.startswith(".") and Path(name).suffix.lower() in IMAGE_EXTENSIONS
        )
        if pictures:
            found[Path(directory)] = tuple(Path(directory, name) for name in pictures)
    return found


def directories(root: Path, depth: int) -> list[Path]:
    """`root` and the directories below it down to `depth`, without hidden ones, nearest first."""
    level, found = [root], [root]
    for _ in range(depth):
        level = [
            child
            for parent in level
            for child in sorted(parent.iterdir())
            if not child.name.startswith(".") and child.name.lower() not in _JUNK and child.is_dir()
        ]
        found += level
    return found


def normal(name: str) -> str:
    """A name in Unicode's composed form, so that macOS's ü is everyone's ü."""
    return unicodedata.normalize("NFC", name)


def read_text(path: Path) -> str:
    """A text file in UTF-8, with or without a byte order mark.

    Raises:
        DataError: it is missing or in another encoding.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise DataError(f"there is no file {path}; check the path") from error
    except (UnicodeDecodeError, OSError) as error:
        raise DataError(f"{path} is no UTF-8 text ({error}); save it as UTF-8") from error
