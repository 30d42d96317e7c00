"""What `check` found in a folder, as one page: faults with thumbnails, classes, a contact sheet, sizes, how to go on.

Few files are decoded, whatever the folder holds: those of the contact sheet and of the faults that are shown with a
picture. The page stays below 6 MB: pictures have a budget of bytes, and long lists end with their count.
"""

import shlex
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixelwise.data.archive import archive_stem, is_archive
from pixelwise.data.decode import IMAGE_EXTENSIONS, read_image, read_mask
from pixelwise.data.folder import PairDataset
from pixelwise.data.formats.class_folders import FullMask
from pixelwise.data.sample import ImageSource, MaskSource, Pair, files_of, path_of
from pixelwise.errors import PixelwiseError
from pixelwise.inference.pictures import overlay
from pixelwise.labels import VOID, LabelSet, unpack_color, voc_color
from pixelwise.report import MARK
from pixelwise.report.html import count, render, write_page
from pixelwise.report.plots import size_plot
from pixelwise.report.thumbnails import (
    colored_values,
    drawing_uri,
    photo_uri,
    small_classes,
    small_image,
    standing_out,
)
from pixelwise.version import VERSION

SHEET = 24  # overlays of the contact sheet
SHEET_SIDE, FAULT_SIDE = 480, 260  # pixels of a thumbnail's longer side
TINY = 128  # pixels up to which a picture is shown with its pixels to be seen, and kept exact
SHEET_PIXELS, FAULT_PIXELS = 150_000_000, 120_000_000  # to decode at most, about
SHEET_BYTES, FAULT_BYTES = 90_000, 30_000  # of a thumbnail, at most
ALL_FAULT_BYTES = 1_600_000  # of the page, for thumbnails of faults
SHOWN = {"error": 12, "warning": 6}  # faults of a kind with thumbnails
LISTED = 400  # further ones in a list
ROWS = 40  # classes shown before "and n more"
VISIBLE = 0.004  # share of a picture from which a class is easily seen

TITLES = {
    "orphan": "Without a partner",
    "twin": "Two files with one name",
    "missing": "Listed, but not there",
    "unreadable": "Cannot be read",
    "size": "Picture and mask differ in size",
    "value": "Values that no class has",
    "blended": "Blended values",
    "kind": "Unlike the other pictures",
    "void": "Nothing that counts",
    "classes": "Classes",
    "duplicate": "The same picture twice",
    "object": "Outlines that cannot be drawn",
}

FOLDER_TITLES = {
    "orphan": "In no class folder",
    "empty": "Empty class folders",
    "value": "Values that are no numbers",
}


@dataclass(frozen=True)
class Tile:
    """A thumbnail beside a fault: `uri`, or a `word` where there is no picture; its size is the file's."""

    what: str
    height: int
    width: int
    uri: str | None = None
    word: str = ""

    @property
    def exact(self) -> bool:
        """So small that its pixels are to be seen."""
        return max(self.height, self.width) <= TINY


@dataclass(frozen=True)
class ShownFault:
    """A fault as the page says it: `file` is below the folder, and `reason` goes on after it if it began with it."""

    file: str
    reason: str
    remedy: str
    tiles: tuple[Tile, ...] = ()
    wrong: bool = False

    @property
    def goes_on(self) -> bool:
        """The reason is the rest of a sentence that the file begins."""
        return self.reason.startswith((" ", ":", ","))


@dataclass(frozen=True)
class FaultGroup:
    """The faults of one kind; `remedy` if all have the same."""

    kind: str
    title: str
    number: int
    remedy: str
    shown: tuple[ShownFault, ...]
    listed: tuple[ShownFault, ...]


@dataclass(frozen=True)
class ClassRow:
    """One class, or void: what the table says of it."""

    name: str
    color: tuple[int, int, int]
    values: str
    share: float
    pictures: int | None
    splits: tuple[int, ...] = ()


@dataclass(frozen=True)
class Overlay:
    """One picture of the contact sheet."""

    name: str
    split: str
    uri: str
    exact: bool
    classes: tuple[int, ...]


def write_check(
    record: Mapping[str, Any],
    datasets: Mapping[str, PairDataset],
    path: Path,
    *,
    mask_counts: Mapping[MaskSource, NDArray[np.int64]] | None = None,
    pairs: Iterable[Pair] = (),
    folder: str | Path | None = None,
    key: str = "",
) -> Path:
    """Write the page, and return its path.

    Args:
        record: `Understanding.to_record()`.
        datasets: {split: its pairs without fault}.
        path: the page's file.
        mask_counts: {mask: pixels of each class in it, (K,)}; with them the contact sheet shows rare classes.
        pairs: the pairs with a fault, so that a faulty mask is shown beside its picture.
        folder: the folder or archive as it was named, for the title and the commands; the record's root if left out.
        key: is written into the page's head, to tell what it was made from.

    Raises:
        DataError: the page cannot be written.
    """
    labels = LabelSet.from_record(record["labels"]) if record.get("labels") else None
    splits: Mapping[str, int] = record.get("splits") or {split: len(data) for split, data in datasets.items()}
    faults: list[Mapping[str, Any]] = list(record.get("faults") or ())
    errors = [fault for fault in faults if fault.get("severity") == "error"]
    warnings = [fault for fault in faults if fault.get("severity") != "error"]
    root = str(record.get("root", ""))
    named = Path(folder if folder is not None else root)
    name = (archive_stem(named) if is_archive(named) else named.resolve().name) or root
    everything = [*pairs, *(pair for data in datasets.values() for pair in data.pairs)]
    album = _Album(labels, everything)
    rows, absent, void = _class_rows(record, labels, splits)
    by_folder = record.get("labels_from") == "folders"
    sizes = [(int(h), int(w), int(n)) for h, w, n in record.get("sizes") or ()]
    sheet = _sheet(datasets, labels, mask_counts or {}, sizes)
    page = render(
        "check.html",
        mark=MARK,
        key=key,
        name=name,
        root=root,
        version=VERSION,
        told=record.get("told") or _told(record),
        verdict=_verdict(sum(splits.values()), labels),
        splits=splits,
        num_errors=len(errors),
        num_warnings=len(warnings),
        errors=_groups(errors, root, album, by_folder),
        warnings=_groups(warnings, root, album, by_folder),
        wrong=standing_out(labels) if labels is not None else None,
        rows=rows,
        num_rows=ROWS,
        absent=absent,
        void=void,
        sheet=sheet,
        ratio=_ratio(sizes),
        labels=labels,
        by_folder=by_folder,
        legend=[row for row in rows if row.share] if labels is not None and len(rows) <= 24 and not by_folder else [],
        stretched=_stretched(record),
        sizes=sizes,
        extent=_extent(sizes),
        plot=size_plot(sizes),
        record=record,
        commands=_commands(str(named), name, record, bool(errors), by_folder),
    )
    write_page(page, path)
    return path


def _verdict(pictures: int, labels: LabelSet | None) -> str:
    classes = 0 if labels is None else labels.num_classes
    return f"{count(pictures)} picture{'s' * (pictures != 1)}, " + (
        f"{count(classes)} class{'es' * (classes != 1)}" if classes else "no masks"
    )


def _told(record: Mapping[str, Any]) -> str:
    """Layout, rule and encoding, one sentence each."""
    said = (str(record.get(key) or "") for key in ("layout", "rule", "encoding"))
    return " ".join(f"{text[0].upper()}{text[1:].rstrip('.')}." for text in said if text)


def _commands(folder: str, name: str, record: Mapping[str, Any], faulty: bool, by_folder: bool) -> dict[str, str]:
    """What to type next, with the answers that were given."""
    if by_folder:
        this = f"{shlex.quote(folder)} --labels folders"
        return dict.fromkeys(("fix", "write", "edited"), "") | {
            "fit": f"pixelwise fit {this}",
            "check": f"pixelwise check {this}",
        }
    given = "".join(f" --as {shlex.quote(str(word))}" for word in record.get("read_as") or ())
    classes = record.get("classes_file")
    this = shlex.quote(folder) + given
    same = this + (f" --classes {shlex.quote(str(classes))}" if classes else "")
    return {
        "fit": f"pixelwise fit {same}",
        "check": f"pixelwise check {same}",
        "fix": f"pixelwise check {same} --fix {shlex.quote(f'{name}-clean')}" if faulty else "",
        "write": f"pixelwise check {same} --write-classes classes.yaml",
        "edited": f"pixelwise check {this} --classes classes.yaml",
    }


# classes


def _class_rows(
    record: Mapping[str, Any], labels: LabelSet | None, splits: Mapping[str, int]
) -> tuple[list[ClassRow], list[ClassRow], ClassRow | None]:
    """The classes that occur, those that do not, and void."""
    if labels is None:
        return [], [], None
    pixels = [int(n) for n in record.get("pixel_counts") or [0] * labels.num_classes]
    pictures = [int(n) for n in record.get("image_counts") or [0] * labels.num_classes]
    per_split: Mapping[str, Sequence[int]] = record.get("class_splits") or {}
    unlabeled = int(record.get("void_pixels") or 0)
    total = max(sum(pixels) + unlabeled, 1)
    values = _values_of(labels)
    rows = [
        ClassRow(
            labels.names[i],
            labels.palette[i],
            values.get(i, "–"),
            pixels[i] / total,
            pictures[i],
            tuple(int(per_split[split][i]) for split in splits if split in per_split) if len(splits) > 1 else (),
        )
        for i in range(labels.num_classes)
    ]
    void_value = values.get(labels.void)
    void = None
    if unlabeled or void_value:
        void = ClassRow("void", voc_color(VOID), void_value or "–", unlabeled / total, None)
    return [row for row in rows if row.share], [row for row in rows if not row.share], void


def _values_of(labels: LabelSet) -> dict[int, str]:
    """{class or void: its values in the files, in words}."""
    values: dict[int, list[int]] = {}
    for value, cls in sorted(labels.table.items()):
        values.setdefault(cls, []).append(value)
    return {cls: _colors_told(found) if labels.colors else ranges(found) for cls, found in values.items()}


def _colors_told(values: list[int]) -> str:
    told = [" ".join(str(part) for part in unpack_color(value)) for value in values]
    return ", ".join(told[:4]) + (f" and {len(told) - 4} more" if len(told) > 4 else "")


def ranges(values: Sequence[int]) -> str:
    """Ascending whole numbers with runs drawn together.

    >>> ranges([-1, 0, 1, 2, 7, 9, 10])
    '−1–2, 7, 9, 10'
    """
    runs: list[list[int]] = []
    for value in values:
        if runs and value == runs[-1][-1] + 1:
            runs[-1].append(value)
        else:
            runs.append([value])
    pieces = [f"{run[0]}–{run[-1]}" if len(run) > 2 else ", ".join(str(value) for value in run) for run in runs]
    told = ", ".join(pieces[:8]) + (f" and {len(pieces) - 8} more" if len(pieces) > 8 else "")
    return told.replace("-", "−")


# the contact sheet


def _sheet(
    datasets: Mapping[str, PairDataset],
    labels: LabelSet | None,
    mask_counts: Mapping[MaskSource, NDArray[np.int64]],
    sizes: Sequence[tuple[int, int, int]],
) -> list[Overlay]:
    """Overlays of some pictures, in the order of the splits; broken ones are skipped."""
    listed = [(split, index) for split, data in datasets.items() for index in range(len(data))]
    extent = _extent(sizes)
    typical = extent[1][0] * extent[1][1] if extent else 1
    most = min(max(SHEET_PIXELS // max(typical, 1), 6), SHEET)
    shares = _shares(datasets, mask_counts) if labels is not None else None
    chosen = choose([len(data) for data in datasets.values()], shares, most)
    draw = partial(_overlay, datasets, labels)
    with ThreadPoolExecutor(2) as pool:  # decoders let go of the interpreter
        drawn = list(pool.map(draw, (listed[i] for i in chosen)))
    return [one for one in drawn if one is not None]


def _shares(
    datasets: Mapping[str, PairDataset], mask_counts: Mapping[MaskSource, NDArray[np.int64]]
) -> NDArray[np.float64] | None:
    """(pictures, K) share of each class in each picture; None where it is not known."""
    masks = [pair.mask for data in datasets.values() for pair in data.pairs]
    if not masks or not all(mask is not None and mask in mask_counts for mask in masks):
        return None
    counts = np.stack([mask_counts[mask] for mask in masks if mask is not None]).astype(np.float64)
    shares: NDArray[np.float64] = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    return shares


def choose(lengths: Sequence[int], shares: NDArray[np.float64] | None, most: int) -> list[int]:
    """Which pictures to show, ascending: every class is seen if so many can do it, the rest is evenly spread.

    First, one after another, the picture that shows most of what no other does: a class counts in full where it covers
    VISIBLE of the picture, or as much as it ever does. Then each part of the data is filled up to its share.

    Args:
        lengths: pictures in each part; the indices run through all of them.
        shares: (pictures, K) share of each class in each; None if unknown.
        most: how many at most.

    >>> choose([6, 6], None, 4)
    [1, 4, 7, 10]
    """
    total = sum(lengths)
    if total <= most:
        return list(range(total))
    chosen: list[int] = []
    if shares is not None:
        enough = np.minimum(shares.max(0), VISIBLE)
        visible = np.minimum(shares, enough) / np.where(enough > 0, enough, 1)
        seen = np.zeros(shares.shape[1])
        while len(chosen) < most:
            gain = np.maximum(visible - seen, 0).sum(1)
            best = int(gain.argmax())
            if gain[best] < 0.5:  # every class is seen at least by half
                break
            chosen.append(best)
            seen = np.maximum(seen, visible[best])
    starts = np.cumsum([0, *lengths])
    free = [[i for i in range(a, b) if i not in chosen] for a, b in pairwise(starts)]
    filled = [length - len(left) for length, left in zip(lengths, free, strict=True)]
    wanted = [0] * len(lengths)
    for _ in range(most - len(chosen)):
        part = min((p for p in range(len(lengths)) if wanted[p] < len(free[p])), key=lambda p: filled[p] + wanted[p])
        wanted[part] += 1
    for left, number in zip(free, wanted, strict=True):
        chosen += [left[(2 * j + 1) * len(left) // (2 * number)] for j in range(number)]
    return sorted(chosen)


def _overlay(datasets: Mapping[str, PairDataset], labels: LabelSet | None, place: tuple[str, int]) -> Overlay | None:
    split, index = place
    try:
        sample = datasets[split][index]
    except PixelwiseError:
        return None
    picture = small_image(sample.image, SHEET_SIDE)
    found: tuple[int, ...] = ()
    target = sample.targets.get("labels")
    mask = datasets[split].pairs[index].mask
    if isinstance(mask, FullMask):
        found = (mask.value,)
    elif labels is not None and target is not None:
        classes = small_classes(target, SHEET_SIDE)
        numbers, areas = np.unique(classes, return_counts=True)
        found = tuple(int(c) for c in numbers[np.argsort(-areas, kind="stable")] if c != labels.void)
        picture = overlay(picture, classes, labels, opacity=0.45)
    exact = max(sample.size) <= TINY
    return Overlay(sample.name, split, _uri(picture, exact, SHEET_BYTES), exact, found)


def _uri(picture: NDArray[np.uint8], exact: bool, most: int) -> str:
    return drawing_uri(picture, most) if exact else photo_uri(picture, most)


def _stretched(record: Mapping[str, Any]) -> str:
    """How pictures that no screen can show are shown, in a sentence; empty for ordinary ones."""
    channels, dtype = int(record.get("channels") or 0), record.get("dtype")
    told = []
    if channels == 2 or channels > 3:
        names = [str(name) for name in record.get("channel_names") or ()]
        first = "first channel" if channels == 2 else "first three channels as red, green and blue"
        listed = ", ".join(names[: 1 if channels == 2 else 3])
        told.append(f"of {channels} channels, the {first}" + (f" ({listed})" if listed else ""))
    if dtype and dtype != "uint8":
        told.append(f"{dtype} values stretched from each picture's darkest to its brightest")
    return f"Shown are {'; '.join(told)}." if told else ""


# sizes


def _extent(sizes: Sequence[tuple[int, int, int]]) -> list[tuple[int, int]]:
    """(height, width) of the smallest, the median and the largest picture, by area."""
    if not sizes:
        return []
    ordered = sorted(sizes, key=lambda size: (size[0] * size[1], size))
    middle, passed = sum(number for _, _, number in ordered) / 2, 0
    median = ordered[-1]
    for size in ordered:
        passed += size[2]
        if passed >= middle:
            median = size
            break
    return [size[:2] for size in (ordered[0], median, ordered[-1])]


def _ratio(sizes: Sequence[tuple[int, int, int]]) -> float:
    """Width / height of the contact sheet's fields: the median picture's, within what looks well."""
    extent = _extent(sizes)
    return round(min(max(extent[1][1] / extent[1][0], 0.75), 2.0), 4) if extent else 1.0


# faults


def _groups(
    faults: Sequence[Mapping[str, Any]], root: str, album: "_Album", by_folder: bool = False
) -> list[FaultGroup]:
    """Faults by kind, the most frequent first; the first ones of each with thumbnails."""
    kinds: dict[str, list[Mapping[str, Any]]] = {}
    for fault in faults:
        kind = str(fault.get("kind") or "")
        kinds.setdefault("empty" if by_folder and kind == "classes" and fault.get("path") else kind, []).append(fault)
    titles = TITLES | FOLDER_TITLES if by_folder else TITLES
    groups = []
    for kind, alike in sorted(kinds.items(), key=lambda item: (-len(item[1]), item[0])):
        remedies = {str(fault.get("remedy") or "") for fault in alike}
        most = SHOWN.get(str(alike[0].get("severity")), min(SHOWN.values()))
        groups.append(
            FaultGroup(
                kind,
                titles.get(kind, kind.capitalize() or "Other"),
                len(alike),
                next(iter(remedies)) if len(remedies) == 1 and len(alike) > 1 else "",
                tuple(_shown(fault, root, *album.tiles(fault)) for fault in alike[:most]),
                tuple(_shown(fault, root) for fault in alike[most : most + LISTED]),
            )
        )
    return groups


def _shown(fault: Mapping[str, Any], root: str, tiles: tuple[Tile, ...] = (), wrong: bool = False) -> ShownFault:
    """A fault in words, the folder's own path taken out of them: it is the same in all."""
    inside = root.rstrip("/") + "/"

    def short(text: object) -> str:
        return str(text or "").replace(inside, "") if len(inside) > 1 else str(text or "")

    file, reason = short(fault.get("path")), short(fault.get("reason") or fault.get("message"))
    if file and reason.startswith(f"{file} "):
        reason = reason[len(file) :]
    elif not file or file == root:
        file = ""
    together = reason.replace(" × ", "\u00a0×\u00a0")
    return ShownFault(file, together, short(fault.get("remedy")), tiles, wrong)


class _Album:
    """Gives the thumbnails of faults, as long as there is room for more."""

    def __init__(self, labels: LabelSet | None, pairs: Sequence[Pair]) -> None:
        self.labels = labels
        self.pairs: dict[Path, Pair | None] = {}  # None where several pairs have the file
        for pair in pairs:
            sides = {*files_of(pair.image), *(() if pair.mask is None else files_of(pair.mask))}
            for file in sides:
                known = self.pairs.setdefault(file, pair)
                self.pairs[file] = pair if known == pair else None
        self.images = {file: pair.image for pair in pairs for file in files_of(pair.image)}
        self.image_folders = {file.parent for file in self.images}
        self.mask_folders = {path_of(pair.mask).parent for pair in pairs if pair.mask is not None}
        self.bytes_left = ALL_FAULT_BYTES
        self.pixels_left = FAULT_PIXELS

    def tiles(self, fault: Mapping[str, Any]) -> tuple[tuple[Tile, ...], bool]:
        """The pictures that a fault is about, and whether wrong values are marked in one; none if there are none."""
        if not fault.get("path") or self.bytes_left <= 0 or self.pixels_left <= 0:
            return (), False
        path, kind = Path(str(fault["path"])), fault.get("kind")
        wrong = False
        if kind in ("duplicate", "twin"):
            tiles = self._named(path, str(fault.get("reason") or ""))
        elif (pair := self.pairs.get(path)) is None:
            tiles = self._lone(path)
        elif pair.mask is None or isinstance(pair.mask, FullMask):
            tiles = [self._image(pair.image)]
        else:
            mask, wrong = self._mask(pair.mask)
            tiles = [self._image(pair.image), mask]
        # what has no size of its own takes its neighbor's
        height, width = next(((tile.height, tile.width) for tile in tiles if tile.width), (3, 4))
        same = (tile if tile.width else Tile(tile.what, height, width, word=tile.word) for tile in tiles)
        return tuple(same), wrong and kind == "value"

    def _named(self, path: Path, reason: str) -> list[Tile]:
        """The two pictures that a sentence is about."""
        named = sorted(file for file in self.images if file == path or str(file) in reason)
        return [self._image(self.images[file]) for file in named[:2]]

    def _lone(self, path: Path) -> list[Tile]:
        """A file without partner; whether it is a picture or a mask is told by the files beside it."""
        if path.suffix.lower() not in IMAGE_EXTENSIONS or path in self.pairs or not path.is_file():
            return []
        among_images, among_masks = path.parent in self.image_folders, path.parent in self.mask_folders
        if among_masks and not among_images:
            return [Tile("picture", 0, 0, word="no picture"), self._mask(path)[0]]
        if among_images and not among_masks and self.mask_folders:
            return [self._image(path), Tile("mask", 0, 0, word="no mask")]
        return [self._image(path)]

    def _image(self, source: ImageSource) -> Tile:
        try:
            image = read_image(source)
        except PixelwiseError:
            return Tile("picture", 0, 0, word=_why_not(source))
        picture = small_image(image, FAULT_SIDE)
        return self._tile("picture", image.shape, _uri(picture, max(image.shape[:2]) <= TINY, FAULT_BYTES))

    def _mask(self, source: MaskSource) -> tuple[Tile, bool]:
        try:
            values = read_mask(source, lossy=True)
        except PixelwiseError:
            return Tile("mask", 0, 0, word=_why_not(source)), False
        if self.labels is None:
            gray = small_image(values.astype(np.float32)[..., None], FAULT_SIDE)
            return self._tile("mask", values.shape, drawing_uri(gray, FAULT_BYTES)), False
        picture, wrong = colored_values(values, self.labels, FAULT_SIDE)
        return self._tile("mask", values.shape, drawing_uri(picture, FAULT_BYTES)), wrong

    def _tile(self, what: str, shape: tuple[int, ...], uri: str) -> Tile:
        self.bytes_left -= len(uri)
        self.pixels_left -= shape[0] * shape[1]
        return Tile(what, int(shape[0]), int(shape[1]), uri)


def _why_not(source: ImageSource | MaskSource) -> str:
    return "cannot be read" if all(file.exists() for file in files_of(source)) else "not there"
