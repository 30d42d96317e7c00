"""Finding files below a folder: by their kind, their split, the picture that a file names; and reading JSON.

What the readers of outlines do with an object that cannot be drawn: where its region is lost – no outline, a broken
one, a class that nobody lists – the picture would hold it as background, so that this is an error which names the
picture, and the pair is not used (`Fault.picture`). An object that would draw nothing anyway, being without area or
outside the picture, is a warning, and the picture is used without it.
"""

import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pixelwise.data.layout import Fault, FaultKind, files_below, normal, pictures_below, read_text
from pixelwise.data.sample import Pair
from pixelwise.data.values.classnames import VOID_NAMES
from pixelwise.data.words import SPLIT_WORDS
from pixelwise.errors import DataError

_BACKGROUND_NAMES = frozenset(("background", "_background_", "__background__"))
_HEAD = 1 << 16


def files_ending(root: Path, ending: str) -> list[Path]:
    """All files below `root` whose names end so (lower case, with the dot), without hidden ones, sorted."""
    extension = "." + ending.rpartition(".")[2]
    found = [file for files in files_below(root, (extension,)).values() for file in files]
    return sorted(file for file in found if file.name.lower().endswith(ending))


def head(path: Path) -> bytes:
    """The first 64 KiB of a file; nothing where it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(_HEAD)
    except OSError:
        return b""


def read_json(path: Path) -> Any:
    """What a JSON file holds.

    Raises:
        DataError: it is no JSON, with line and column; or no UTF-8.
    """
    text = read_text(path)
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        where = "is cut off" if error.pos >= len(text.rstrip()) else "is damaged"
        raise DataError(
            f"{path} {where}: no JSON from line {error.lineno}, column {error.colno} ({error.msg}); "
            "copy or export it again"
        ) from error
    except RecursionError as error:
        raise DataError(f"{path} nests lists deeper than any annotation; expected LabelMe's or COCO's JSON") from error


def split_of(path: Path, root: Path) -> str | None:
    """The split that the names between `root` and a file tell, the deepest one; digits and other words do not matter.

    >>> split_of(Path("set/train2017/a.jpg"), Path("set")), split_of(Path("set/instances_valid.json"), Path("set"))
    ('train', 'val')
    """
    parts = path.relative_to(root).parts if path.is_relative_to(root) else ()
    for part in reversed(parts):
        for word in re.findall(r"[a-z]+", Path(part).stem.lower() if part == path.name else part.lower()):
            if word in SPLIT_WORDS:
                return SPLIT_WORDS[word]
    return None


def split_of_directory(path: Path, root: Path) -> str | None:
    """As `split_of`, but the file's own name tells nothing: a picture may be called test_1.jpg."""
    return None if path.parent == root else split_of(path.parent, root)


def unique_names(paths: Iterable[Path], root: Path) -> dict[Path, str]:
    """{file: its stem, or where two have the same, its path below `root` with _ between}."""
    paths = list(paths)
    stems = Counter(normal(path.stem) for path in paths)
    names: dict[Path, str] = {}
    taken: Counter[str] = Counter()
    for path in paths:
        name = normal(path.stem)
        if stems[name] > 1 and path.is_relative_to(root):
            name = normal("_".join(path.relative_to(root).with_suffix("").parts))
        taken[name] += 1
        names[path] = name if taken[name] == 1 else f"{name}_{taken[name]}"
    return names


def into_splits(found: Iterable[tuple[str | None, Pair]], root: Path) -> dict[str, tuple[Pair, ...]]:
    """{"train", "val", "test", or "all" where no split is named: pairs by name}.

    Raises:
        DataError: some are in a split and others in none.
    """
    splits: dict[str, list[Pair]] = {}
    for split, pair in found:
        splits.setdefault(split or "all", []).append(pair)
    if "all" in splits and len(splits) > 1:
        named = ", ".join(split for split in ("train", "val", "test") if split in splits)
        raise DataError(
            f"{root} has pictures in {named} and others outside, as {splits['all'][0].image}; "
            "which are they for? Move them into train, val or test"
        )
    return {
        split: tuple(sorted(splits[split], key=lambda pair: pair.name))
        for split in ("train", "val", "test", "all")
        if split in splits
    }


def fault_of(error: DataError, path: Path, kind: FaultKind = "unreadable") -> Fault:
    """An error about one file as a fault of its folder."""
    message = str(error)
    reason, _, remedy = message.rpartition("; ")
    if not reason:
        reason, _, remedy = message.rpartition(": ")
    return Fault("error", kind, path, reason or message, remedy if reason else "correct or remove it")


def shape_fault(path: Path, told: str, problem: str, picture: Path | None = None) -> Fault:
    """The fault that one shape of a file cannot be drawn.

    Args:
        told: the file and the place of the shape.
        problem: the end of the sentence, as `pixelwise.data.formats.shapes` gives it.
        picture: where the shape's region is lost: the picture that cannot be used for it. Else the shape draws nothing.
    """
    what, _, expected = problem.partition("; ")
    reason = f"{told}, {what}" + (f" ({expected})" if expected else "")
    if picture is None:
        return Fault("warning", "object", path, f"{reason}, and is left out", "draw it again")
    reason = f"{reason}, so that {picture.name} is left out"
    return Fault("error", "object", path, reason, "draw it again, or remove it if nothing is there", picture)


class Pictures:
    """The pictures below a folder, found by what other files write of them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.by_directory = pictures_below(root)
        self._by_name: dict[str, list[Path]] = {}
        self._by_stem: dict[str, list[Path]] = {}
        for files in self.by_directory.values():
            for file in files:
                self._by_name.setdefault(normal(file.name).lower(), []).append(file)
                self._by_stem.setdefault(normal(file.stem).lower(), []).append(file)

    def written(self, path: str, near: Path, split: str | None = None) -> Path | None:
        """The picture that a path means which is written in the file `near`, perhaps on another machine.

        Raises:
            DataError: several are as likely.
        """
        parts = [part for part in path.replace("\\", "/").split("/") if part not in ("", ".")]
        if not parts:
            return None
        return self._best(self._by_name.get(normal(parts[-1]).lower(), []), parts, near, split)

    def named(self, stem: str, near: Path, split: str | None = None) -> Path | None:
        """The picture with a stem, for the file `near`.

        Raises:
            DataError: several are as likely.
        """
        return self._best(self._by_stem.get(normal(stem).lower(), []), [], near, split)

    def left_over(self, used: Iterable[Path]) -> list[Path]:
        """The pictures that stand in one directory with a used one, and are not used."""
        taken = set(used)
        homes = {path.parent for path in taken}
        return [file for home in sorted(homes) for file in self.by_directory.get(home, ()) if file not in taken]

    def _best(self, files: list[Path], parts: list[str], near: Path, split: str | None) -> Path | None:
        if len(files) <= 1:
            return files[0] if files else None
        target = os.path.normpath(near.parent.joinpath(*parts)) if parts else ""

        def worth(file: Path) -> tuple[bool, int, bool, int, bool]:
            mine = [normal(part) for part in file.parts]
            same_end = 0
            for one, other in zip(reversed(mine), reversed([normal(part) for part in parts]), strict=False):
                if one != other:
                    break
                same_end += 1
            common = len(os.path.commonpath([file.parent, near.parent]))
            return (
                os.path.normpath(file) == target,
                same_end,
                split is not None and split_of_directory(file, self.root) == split,
                common,
                file.parent == near.parent,
            )

        ranked = sorted(files, key=worth, reverse=True)
        if worth(ranked[0]) == worth(ranked[1]):
            raise DataError(
                f"{near} could mean {ranked[0]} or {ranked[1]}, which have one name; rename one, or remove it"
            )
        return ranked[0]


def is_background(name: str) -> bool:
    """Whether a class of this name is what no object covers."""
    return name.strip().lower() in _BACKGROUND_NAMES


def is_void(name: str) -> bool:
    """Whether what has this name is never counted."""
    return name.strip().lower() in VOID_NAMES


def size_of(record: Mapping[str, Any], height: str, width: str) -> tuple[int, int] | None:
    """(height, width) from what a JSON says under these keys; None where they are not whole and above 0."""
    numbers = record.get(height), record.get(width)
    if any(isinstance(n, bool) or not isinstance(n, int | float) or not n > 0 or n > 1e9 or n % 1 for n in numbers):
        return None
    return int(numbers[0] or 0), int(numbers[1] or 0)


def counted(number: int, one: str, many: str | None = None) -> str:
    """A number with its noun.

    >>> counted(1, "picture"), counted(2, "picture")
    ('1 picture', '2 pictures')
    """
    return f"{number} {one if number == 1 else many or one + 's'}"
