"""The faults on the page of `check`, by kind: in words, and the first of each kind with thumbnails.

Thumbnails have a budget of bytes and of pixels to decode; long lists end with their count.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pixelwise.data.decode import IMAGE_EXTENSIONS, read_image, read_mask
from pixelwise.data.formats.class_folders import FullMask
from pixelwise.data.sample import ImageSource, MaskSource, Pair, files_of, path_of
from pixelwise.errors import PixelwiseError
from pixelwise.labels import LabelSet
from pixelwise.report.thumbnails import TINY, colored_values, drawing_uri, small_image, thumbnail_uri

FAULT_SIDE = 260  # pixels of a thumbnail's longer side
FAULT_PIXELS = 120_000_000  # to decode at most, about
FAULT_BYTES = 30_000  # of a thumbnail, at most
ALL_FAULT_BYTES = 1_600_000  # of the page, for thumbnails of faults
SHOWN = {"error": 12, "warning": 6}  # faults of a kind with thumbnails
LISTED = 400  # further ones in a list

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


class Album:
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
        return self._tile("picture", image.shape, thumbnail_uri(picture, max(image.shape[:2]) <= TINY, FAULT_BYTES))

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


def fault_groups(
    faults: Sequence[Mapping[str, Any]], root: str, album: Album, by_folder: bool = False
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


def _why_not(source: ImageSource | MaskSource) -> str:
    return "cannot be read" if all(file.exists() for file in files_of(source)) else "not there"
