"""Lists: files of text that name pairs, or ids, one a line, for each split.

A list is a *.txt, *.csv, *.lst or *.tsv whose name is a split or a word for all (train, val, valid, test, trainval,
all, pairs, list, files, …), alone or together (train_list, list-val, train2017), in the folder or up to two below.

**Lists of pairs.** Each line holds a picture and a mask, parted by a tab, comma, semicolon, | or spaces, quoted or not;
a path may hold what does not part it. Comments (#), empty lines and a header (image,mask) do not count; a header may
name more columns, and a column `split`. Backslashes are slashes. A path is taken by its longest end that is a file
beside the list or above it, since most paths are those of another machine; only then as it stands. Only what is listed
is taken. Where there are lists of train, val or test, those of trainval or all are passed over. With several lists of
one split the one whose name says nothing else counts.

**Lists of ids** (train.txt with img_001, or img_001.png, or images/img_001.png on a line) select the splits of a folder
whose pairs are found otherwise and that names no splits. At least half of a list's lines must lead to a picture. What
no list names is for training, unless there is a list for training; then it is left out.

Lists are UTF-8, with or without byte order mark, with any line ends; another encoding is refused, since a wrong letter
would only make its file missing.
"""

import csv
import os
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from pixelwise.data.answers import NOTHING, Answers
from pixelwise.data.decode import IMAGE_EXTENSIONS, MASK_EXTENSIONS
from pixelwise.data.layout import Fault, Layout, directories, files_below, normal, read_text
from pixelwise.data.sample import Pair, path_of
from pixelwise.data.words import IMAGE_WORDS, MASK_WORDS, SPLIT_WORDS
from pixelwise.errors import DataError

_EXTENSIONS = (".txt", ".csv", ".lst", ".tsv")
_ALL = frozenset("all trainval full default total".split())
_LIST_WORDS = frozenset(
    "list lists pair pairs file files filelist filenames names image images img imgs set sets split splits data "
    "dataset id ids index indices samples paths seg segmentation".split()
)
_IMAGE_COLUMNS = IMAGE_WORDS | frozenset("file files filename filenames path paths".split())
_SEPARATORS = ("\t", ";", "|", ",", " ")
_ORDER = ("train", "val", "test", "all")


@dataclass(frozen=True)
class Entry:
    """One line of a list of pairs."""

    number: int
    image: str
    mask: str
    split: str | None = None  # where a column says it


def split_of_list(path: Path) -> str | None:
    """The split that a list's name tells ("all" for all), or None where it is no list by its name.

    >>> [split_of_list(Path(f"{name}.txt")) for name in ("train", "list-Val", "train2017", "pairs", "train.orig", "a")]
    ['train', 'val', 'train', 'all', None, None]
    """
    if path.suffix.lower() not in _EXTENSIONS:
        return None
    words = [word for word in re.split(r"[_\-. ]+|\d+", normal(path.stem).lower()) if word]
    splits = set()
    for word in words:
        ends = {word} | {word.removesuffix(end) for end in ("list", "set", "pairs", "ids", "files")}
        found = {SPLIT_WORDS[end] for end in ends if end in SPLIT_WORDS} | {"all" for end in ends if end in _ALL}
        if not found and word not in _LIST_WORDS:
            return None
        splits |= found
    return splits.pop() if len(splits) == 1 else "all" if words and not splits else None


def lists_in(directory: Path) -> dict[str, list[Path]]:
    """{split: the files that are lists by their names}, those with the plainest names first; then train, val, test."""
    found: dict[str, list[Path]] = {}
    for file in _files(directory):
        split = split_of_list(file)
        if split is not None:
            found.setdefault(split, []).append(file)
    return {
        split: sorted(found[split], key=lambda file: (len(file.stem), file.name)) for split in _ORDER if split in found
    }


def list_home(root: Path) -> Path | None:
    """The nearest folder, `root` or up to two below, that holds a list of pairs."""
    return next((home for home in directories(root, 2) if _pair_lists(home)), None)


def list_layout(root: Path, answers: Answers = NOTHING) -> Layout | None:
    """The layout of a folder with lists of pairs; None where there are none.

    Raises:
        DataError: no line of the lists leads to a picture and its mask.
    """
    home = list_home(root)
    if home is None:
        return None
    found = _pair_lists(home)
    if found.keys() - {"all"}:
        found.pop("all", None)
    splits: dict[str, tuple[Pair, ...]] = {}
    faults: list[Fault] = []
    for split, path in found.items():
        pairs, missing = listed_pairs(path, root)
        for name, part in pairs.items():
            splits[name or split] = (*splits.get(name or split, ()), *part)
        faults += missing
    splits = {split: splits[split] for split in _ORDER if splits.get(split)}
    faults += _listed_twice(splits)
    if not splits:
        raise DataError(f"none of the pairs listed in {home} has both files: {faults[0].message}")
    notes = []
    without = [path.name for split, paths in lists_in(home).items() for path in paths if split not in found]
    if without and found.keys() != {"all"}:
        notes.append(f"{', '.join(without)} beside the lists {'are' if len(without) > 1 else 'is'} passed over")
    top = os.path.commonpath([home, *(path_of(pair.image) for pairs in splits.values() for pair in pairs)])
    return Layout(
        root=Path(top),
        name="lists of pairs (" + ", ".join(path.name for path in found.values()) + ")",
        rule="each line of a list names a picture and its mask; the paths are taken by their ends",
        splits=splits,
        faults=tuple(faults),
        notes=tuple(notes),
    )


def _listed_twice(splits: Mapping[str, tuple[Pair, ...]]) -> list[Fault]:
    """An error for every two splits that have pictures in common."""
    found = []
    names = [(split, {path_of(pair.image) for pair in pairs}) for split, pairs in splits.items()]
    for i, (one, mine) in enumerate(names):
        for other, theirs in names[i + 1 :]:
            both = sorted(mine & theirs)
            if both:
                reason = f"{len(both)} pictures, as {both[0]}, are in the lists for {one} and for {other}"
                found.append(Fault("warning", "duplicate", both[0], reason, "take their lines out of one of the lists"))
    return found


def listed_pairs(path: Path, root: Path) -> tuple[dict[str | None, tuple[Pair, ...]], list[Fault]]:
    """{split that a column tells, or None: the pairs of a list}, and an error for each line that leads nowhere.

    Args:
        path: the list.
        root: how far up from the list files are looked for.

    Raises:
        DataError: it is no list of pairs.
    """
    entries, wrong = read_pairs(path)
    if not entries:
        raise DataError(f"{path} is empty or not a list of pairs; expected a picture and a mask on every line")
    bases = [base for base in (path.parent, *path.parent.parents) if base == root or root in base.parents]
    found: dict[str | None, list[tuple[Path, Path]]] = {}
    faults = []
    for number, line in wrong:
        reason = f"{path}, line {number}, is {line[:80]!r}, expected a picture and its mask"
        faults.append(Fault("error", "missing", path, reason, "correct the line or take it out"))
    for entry in entries:
        image, mask = (file_ending_in(bases, word) for word in (entry.image, entry.mask))
        if image is None or mask is None:
            word = entry.image if image is None else entry.mask
            reason = f"{path}, line {entry.number}, lists {word}, but there is no such file under {bases[-1]}"
            faults.append(Fault("error", "missing", path, reason, "add it or take the line out"))
        else:
            found.setdefault(entry.split, []).append((image, mask))
    counts = Counter(normal(image.stem) for pairs in found.values() for image, _ in pairs)
    named: dict[str | None, tuple[Pair, ...]] = {}
    for split, pairs in found.items():
        named[split] = tuple(Pair(image, mask, _name(image, root, counts)) for image, mask in pairs)
    return named, faults


def read_pairs(path: Path) -> tuple[list[Entry], list[tuple[int, str]]]:
    """The lines of a list of pairs, and (number, line) of those that are none; nothing where most lines are none."""
    lines = [(number, line.strip()) for number, line in enumerate(read_text(path).splitlines(), 1)]
    lines = [(number, line) for number, line in lines if line and not line.startswith("#")]
    if not lines:
        return [], []
    table = _table(lines)
    if table is not None:
        return table, []
    if _two_paths(lines[0][1]) is None and _is_header(lines[0][1]):
        lines = lines[1:]
    entries, wrong = [], []
    for number, line in lines:
        words = _two_paths(line)
        if words is None:
            wrong.append((number, line))
        else:
            entries.append(Entry(number, *words))
        if len(wrong) > 20 and len(wrong) > len(entries):
            return [], []
    return (entries, wrong) if len(entries) > len(wrong) else ([], [])


def read_ids(path: Path) -> list[tuple[int, str]]:
    """(number, id) of each line of a list: without quotes, comments and a picture's extension, slashes forward."""
    found = []
    for number, line in enumerate(read_text(path).splitlines(), 1):
        line = line.strip()
        if line and not line.startswith("#"):
            found.append((number, _without_extension(normal(_plain(line)))))
    return found


@dataclass(frozen=True)
class FilesById:
    """The files of a folder by their ids: paths below it, without extensions."""

    folder: Path
    files: Mapping[str, Path]


def files_by_id(folder: Path, extensions: Collection[str] = IMAGE_EXTENSIONS) -> FilesById:
    """The files below a folder; none where there is no such folder.

    Raises:
        DataError: two files have one id, as 1.jpg and 1.png.
    """
    found: dict[str, Path] = {}
    if folder.is_dir():
        for files in files_below(folder, extensions).values():
            for file in files:
                name = normal(file.relative_to(folder).with_suffix("").as_posix())
                if name in found:
                    raise DataError(
                        f"{folder} holds two files for {name}, {found[name].name} and {file.name}; expected one: "
                        "take the wrong one out"
                    )
                found[name] = file
    return FilesById(folder, found)


def pairs_by_id(
    path: Path, images: FilesById, masks: FilesById, start: str = ""
) -> tuple[tuple[Pair, ...], list[Fault]]:
    """The pairs of a list, and an error for each line that misses a file.

    A line is an id; or, as DeepLab's lists have it, paths of the picture and the mask that end in it.

    Args:
        path: the list.
        images, masks: the files.
        start: what the files' names begin with and the ids do not.
    """
    pairs, faults = [], []
    for number, line in read_ids(path):
        name = start + (line.split()[-1] if "/" in line and line not in masks.files else line)
        while name not in masks.files and name not in images.files and "/" in name:
            name = name.split("/", 1)[1]
        for found in (images, masks):
            if name not in found.files:
                reason = f"{path}, line {number}, lists {line}, but {found.folder} has no such file"
                faults.append(Fault("error", "missing", found.folder, reason, "add it or take the line out"))
                break
        else:
            pairs.append(Pair(images.files[name], masks.files[name], name.replace("/", "_")))
    return tuple(pairs), faults


def pairs_by_lists(
    lists: Mapping[str, Path], images: FilesById, masks: FilesById, start: str = ""
) -> tuple[dict[str, tuple[Pair, ...]], list[Fault]]:
    """{split: pairs} of a known data set's lists, and their faults; without lists all that has both files, as "all".

    A list of which nothing is there is left out (the test set's masks are often not published), unless all are so.

    Raises:
        DataError: no picture has a mask.
    """
    splits: dict[str, tuple[Pair, ...]] = {}
    faults: list[Fault] = []
    if lists.keys() & {"train", "val"}:
        lists = {split: path for split, path in lists.items() if split != "all"}
    for split, path in lists.items():
        pairs, missing = pairs_by_id(path, images, masks, start)
        if pairs:
            splits[split] = pairs
        if pairs or split != "test":
            faults += missing
    if not lists:
        both = [name for name in images.files if name in masks.files]
        splits = {"all": tuple(Pair(images.files[n], masks.files[n], n.replace("/", "_")) for n in both)}
    if not any(splits.values()):
        where = f": {faults[0].message}" if faults else "; expected the same names on both sides: put them there"
        raise DataError(f"no picture of {images.folder} has a mask in {masks.folder}{where}")
    return splits, faults


def told_lists(lists: Mapping[str, Path]) -> str:
    """The lists as the end of a rule in words."""
    return f", ids of {', '.join(path.name for path in lists.values())}" if lists else ""


def split_by_ids(layout: Layout) -> Layout:
    """The layout with the splits that lists of ids tell, where it has none of its own and there are such lists."""
    if layout.splits.keys() != {"all"}:
        return layout
    pairs = layout.splits["all"]
    for home in directories(layout.root, 2):
        found: dict[str, tuple[Path, list[Pair], list[tuple[int, str]]]] = {}
        for split, paths in lists_in(home).items():
            for path in paths:
                chosen, missing = _chosen(read_ids(path), pairs)
                if split != "all" and chosen and len(chosen) >= len(missing):
                    found[split] = (path, chosen, missing)
                    break
        if found:
            return _selected(layout, found)
    return layout


def file_ending_in(bases: Iterable[Path], written: str) -> Path | None:
    """The file under one of `bases` whose path is the longest possible end of the written one, which may be foreign.

    The nearest base counts first. Only where there is none, the written path itself.
    """
    parts = [part for part in _plain(written).split("/") if part not in ("", ".", "..")]
    bases = list(bases)
    for start in range(len(parts)):
        for base in bases:
            candidate = base.joinpath(*parts[start:])
            if candidate.is_file():
                return candidate
    whole = Path(_plain(written))
    return whole if whole.is_absolute() and whole.is_file() else None


def _files(directory: Path) -> list[Path]:
    with os.scandir(directory) as entries:
        names = [
            e.name
            for e in entries
            if e.name.lower().endswith(_EXTENSIONS) and not e.name.startswith(".") and e.is_file()
        ]
    return [directory / name for name in sorted(names)]


def _pair_lists(home: Path) -> dict[str, Path]:
    """{split: the list of pairs that counts}."""
    found = {}
    for split, paths in lists_in(home).items():
        path = next((path for path in paths if read_pairs(path)[0]), None)
        if path is not None:
            found[split] = path
    return found


def _two_paths(line: str) -> tuple[str, str] | None:
    """(picture, mask) on a line: the first place where it parts into two paths of pictures."""
    for separator in _SEPARATORS:
        at = line.find(separator)
        while at >= 0:
            image, mask = _plain(line[:at]), _plain(line[at + 1 :])
            if _extension(image) in IMAGE_EXTENSIONS and _extension(mask) in MASK_EXTENSIONS:
                return image, mask
            at = line.find(separator, at + 1)
    return None


def _table(lines: list[tuple[int, str]]) -> list[Entry] | None:
    """The lines under a header that names the columns of pictures and masks; None where there is no such header."""
    head = lines[0][1]
    separator = next((mark for mark in ("\t", ";", "|", ",") if mark in head), None)
    if separator is None or not _is_header(head):
        return None
    columns = [cell.strip().lower() for cell in next(csv.reader([head], delimiter=separator))]
    image = next(
        (
            i
            for words in (IMAGE_WORDS, _IMAGE_COLUMNS)
            for i, cell in enumerate(columns)
            if _says(cell, words) and not _says(cell, MASK_WORDS)
        ),
        -1,
    )
    mask = next((i for i, cell in enumerate(columns) if _says(cell, MASK_WORDS)), -1)
    split = next((i for i, cell in enumerate(columns) if cell in ("split", "subset", "set", "fold")), -1)
    if image < 0 or mask < 0:
        return None
    entries = []
    for number, line in lines[1:]:
        cells = [cell.strip() for cell in next(csv.reader([line], delimiter=separator, skipinitialspace=True))]
        if len(cells) <= max(image, mask, split):
            return None
        if not (_extension(cells[image]) in IMAGE_EXTENSIONS and _extension(cells[mask]) in MASK_EXTENSIONS):
            return None
        named = SPLIT_WORDS.get(cells[split].lower()) if split >= 0 else None
        entries.append(Entry(number, _plain(cells[image]), _plain(cells[mask]), named))
    return entries


def _is_header(line: str) -> bool:
    cells = [_plain(cell).lower() for cell in re.split(r"[\t;|, ]+", line)]
    return any(_says(cell, _IMAGE_COLUMNS) for cell in cells) and not any(_extension(cell) for cell in cells)


def _says(cell: str, words: frozenset[str]) -> bool:
    return any(word in words for word in re.split(r"[^a-z]+", cell))


def _plain(written: str) -> str:
    written = written.strip()
    if len(written) >= 2 and written[0] == written[-1] and written[0] in "\"'":
        written = written[1:-1].strip()
    return written.replace("\\", "/")


def _extension(written: str) -> str:
    return PurePosixPath(written).suffix.lower() if not written.endswith(("/", '"', "'")) else ""


def _without_extension(name: str) -> str:
    extension = _extension(name)
    return name[: -len(extension)] if extension in MASK_EXTENSIONS else name


def _name(image: Path, root: Path, counts: Counter[str]) -> str:
    stem = normal(image.stem)
    if counts[stem] == 1 or not image.is_relative_to(root):
        return stem
    return normal("_".join(image.relative_to(root).with_suffix("").parts))


def _chosen(ids: list[tuple[int, str]], pairs: Iterable[Pair]) -> tuple[list[Pair], list[tuple[int, str]]]:
    """The pairs that a list's lines mean, and the lines that mean none: by the end of the picture's or mask's path."""
    by_stem: dict[str, list[tuple[str, Pair]]] = {}
    for pair in pairs:
        files = {path_of(pair.image)} | ({path_of(pair.mask)} if pair.mask is not None else set())
        for file in files:
            whole = "/" + normal(_without_extension(file.as_posix()))
            by_stem.setdefault(whole.rsplit("/", 1)[1], []).append((whole, pair))
    chosen: dict[int, Pair] = {}
    missing = []
    for number, written in ids:
        parts = [part for part in written.split("/") if part not in ("", ".", "..")]
        fits = {id(pair): (whole, pair) for whole, pair in by_stem.get(parts[-1] if parts else "", ())}
        for start in range(len(parts)):
            if len(fits) > 1:
                end = "/" + "/".join(parts[start:])
                fits = {key: fit for key, fit in fits.items() if fit[0].endswith(end)} or fits
        if len(fits) == 1:
            ((_, pair),) = fits.values()
            chosen[id(pair)] = pair
        else:
            missing.append((number, written))
    return list(chosen.values()), missing


def _selected(layout: Layout, found: dict[str, tuple[Path, list[Pair], list[tuple[int, str]]]]) -> Layout:
    splits = {split: tuple(chosen) for split, (_, chosen, _) in found.items()}
    faults = list(layout.faults)
    for path, _, missing in found.values():
        for number, written in missing:
            reason = f"{path}, line {number}, lists {written}, but no picture of that name has a mask"
            faults.append(Fault("error", "missing", path, reason, "add the files or take the line out"))
    used = {id(pair) for pairs in splits.values() for pair in pairs}
    rest = tuple(pair for pair in layout.splits["all"] if id(pair) not in used)
    names = ", ".join(path.name for path, _, _ in found.values())
    notes = list(layout.notes)
    if rest and "train" in splits:
        notes.append(f"{len(rest)} pairs that {names} {'do' if len(found) > 1 else 'does'} not list are left out")
    elif rest:
        splits["train"] = rest
        notes.append(f"{len(rest)} pairs that {names} {'do' if len(found) > 1 else 'does'} not list are for training")
    return replace(
        layout,
        name=f"{layout.name}, with {', '.join(split for split in _ORDER if split in splits)} as {names} "
        f"{'say' if len(found) > 1 else 'says'}",
        splits={split: splits[split] for split in _ORDER if split in splits},
        faults=tuple(faults),
        notes=tuple(notes),
    )
