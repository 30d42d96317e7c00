"""What a folder is: its pictures by directory, the splits of pairs that a layout finds in it, and its faults."""

import os
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pixelwise.data.archive import is_archive, unpacked
from pixelwise.data.decode import IMAGE_EXTENSIONS, MASK_EXTENSIONS
from pixelwise.data.sample import Pair
from pixelwise.errors import DataError
from pixelwise.labels import LabelSet

_JUNK = frozenset(("__macosx", "@eadir", "lost+found"))

ARRAY_EXTENSIONS = MASK_EXTENSIONS - IMAGE_EXTENSIONS
"""The extensions of masks that are arrays, not pictures: .mat, .npy."""

_FOREIGN = {  # extension: (kind, what to do)
    **dict.fromkeys((".heic", ".heif", ".hif"), ("HEIC", "export them as JPEG")),
    ".avif": ("AVIF", "export them as JPEG or PNG"),
    **dict.fromkeys((".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf"), ("camera RAW", "develop them")),
    **dict.fromkeys((".dcm", ".dicom"), ("DICOM", "export the slices as 16-bit TIFF or PNG")),
    **dict.fromkeys((".nii", ".mha", ".nrrd"), ("volume", "export the slices as 16-bit TIFF or PNG")),
    **dict.fromkeys((".psd", ".xcf", ".kra"), ("layered picture", "export them as PNG")),
    **dict.fromkeys((".svg", ".pdf", ".eps"), ("vector drawing", "export them as PNG")),
    **dict.fromkeys((".czi", ".nd2", ".lif", ".svs", ".ndpi"), ("microscope file", "export them as TIFF")),
    **dict.fromkeys((".mp4", ".avi", ".mov", ".mkv"), ("film", "extract the frames as PNG")),
    **dict.fromkeys((".zip", ".tar", ".gz", ".7z", ".rar"), ("archive", "unpack them")),
}


FaultKind = Literal[
    "orphan",  # a picture without mask, or a mask without picture
    "twin",  # two files with one name
    "missing",  # a list names a file that is not there
    "unreadable",  # truncated, empty, foreign, of a kind that cannot be read
    "size",  # picture and mask differ
    "value",  # a mask holds what no class has
    "blended",  # smoothed edges, snapped
    "kind",  # channels or bits unlike the others'
    "void",  # nothing counts, or a rim that does not
    "classes",  # too few, too rare, or missing from a split
    "duplicate",  # the same picture twice
    "object",  # an outline that cannot be drawn as it stands
]


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong with a folder: expected – found – do this.

    Attributes:
        severity: an "error" stops a fit; a "warning" does not.
        kind: what sort of fault.
        path: the file or folder it is about, if one.
        reason: one line, naming the file.
        remedy: what to do.
        picture: of an error that a layout finds: the picture (its first file) whose pair cannot be used because of it.
    """

    severity: Literal["error", "warning"]
    kind: FaultKind
    path: Path | None
    reason: str
    remedy: str
    picture: Path | None = None

    @property
    def message(self) -> str:
        """Reason and remedy in one line."""
        return f"{self.reason}; {self.remedy}"

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
        channel_names: of the pictures' channels, where the layout tells them.
        values: {value in the masks: "void" or "class"}, where the layout tells no classes but this much.
    """

    root: Path
    name: str
    rule: str
    splits: Mapping[str, tuple[Pair, ...]]
    faults: tuple[Fault, ...] = ()
    notes: tuple[str, ...] = ()
    labels: tuple[LabelSet, ...] = ()
    channel_names: tuple[str, ...] = ()
    values: Mapping[int, Literal["void", "class"]] = field(default_factory=dict)


def checked_folder(folder: str | Path) -> Path:
    """The folder as a path, once it is known to be one; what is packed is unpacked (`data.archive`).

    Raises:
        DataError: it is missing, a file that is no archive, or an archive that cannot be unpacked.
    """
    path = Path(folder)
    if not path.exists():
        raise DataError(f"there is no folder {path}; check the path")
    if is_archive(path):
        return unpacked(path)
    if not path.is_dir():
        raise DataError(
            f"{path} is a file; expected a folder with pictures and masks, or a zip of one: pass the folder that "
            "holds it"
        )
    visible = [entry for entry in path.iterdir() if not entry.name.startswith(".")]
    if any(is_archive(entry) for entry in visible) and not any(
        entry.is_dir() or entry.suffix.lower() in IMAGE_EXTENSIONS for entry in visible
    ):
        return unpacked(path)
    return path


def pictures_below(root: Path) -> dict[Path, tuple[Path, ...]]:
    """{directory: its picture files by name}, for `root` and all below; what systems leave lying about is passed over.

    Links are followed, each directory once.
    """
    return files_below(root, IMAGE_EXTENSIONS)


def files_below(root: Path, extensions: Collection[str]) -> dict[Path, tuple[Path, ...]]:
    """As `pictures_below`, for files of any extensions (lower case)."""
    kept = {
        directory: tuple(file for extension, file in files if extension in extensions)
        for directory, files in _files(root).items()
    }
    return {directory: files for directory, files in kept.items() if files}


@contextmanager
def listed_once() -> Iterator[None]:
    """Within, each folder is listed once for all that look at it."""
    if _LISTED.get() is not None:
        yield
        return
    before = _LISTED.set({})
    try:
        yield
    finally:
        _LISTED.reset(before)


_Files = dict[Path, tuple[tuple[str, Path], ...]]
_LISTED: ContextVar[dict[Path, _Files] | None] = ContextVar("_LISTED", default=None)


def _files(root: Path) -> _Files:
    """{directory: (extension, file) of its visible files by name}, for `root` and all below."""
    remembered = _LISTED.get()
    if remembered is not None and root in remembered:
        return remembered[root]
    found: _Files = {}
    seen: set[str] = set()
    for directory, below, files in os.walk(root, followlinks=True):
        real = os.path.realpath(directory)
        if real in seen:
            below.clear()
            continue
        seen.add(real)
        below[:] = sorted(name for name in below if not _is_junk(name))
        visible = sorted(name for name in files if not name.startswith("."))
        place = Path(directory)
        found[place] = tuple(("." + name.rpartition(".")[2].lower(), place / name) for name in visible)
    if remembered is not None:
        remembered[root] = found
    return found


def foreign_files(root: Path) -> str:
    """What to do with the files under `root` that are pictures of a kind that is not read, in words; or nothing."""
    found = [file for files in files_below(root, _FOREIGN.keys() - IMAGE_EXTENSIONS).values() for file in files]
    if not found:
        return ""
    told = {file: _FOREIGN[".nii" if file.name.lower().endswith(".nii.gz") else file.suffix.lower()] for file in found}
    (kind, remedy), count = Counter(told.values()).most_common(1)[0]
    first = next(file.name for file in found if told[file][0] == kind)
    return f"{count} of kind {kind}, as {first}, cannot be read: {remedy}"


def foreign_annotations(root: Path) -> str:
    """The annotation files under `root` that no format took, and what to do, in words; or nothing."""
    below = sorted(files_below(root, (".xml", ".json", ".ndjson", ".csv")).values(), key=len, reverse=True)
    found = [file for files in below for file in files]
    found = [file for file in found if file.suffix.lower() != ".csv" or _has_runs(file)]
    if not found:
        return ""
    extension, count = Counter(file.suffix.lower() for file in found).most_common(1)[0]
    first = next(file.name for file in found if file.suffix.lower() == extension)
    what = f"{count} {extension} file{'s' if count > 1 else ''} ({'as ' if count > 1 else ''}{first})"
    verb = "are" if count > 1 else "is"
    runs = " (run lengths)" if extension == ".csv" else ""
    return f"found {what}{runs}, which {verb} not read: export as COCO JSON, LabelMe JSON or PNG masks"


def _has_runs(path: Path) -> bool:
    """Whether a table's header names a column of run lengths."""
    try:
        with path.open(encoding="utf-8-sig", errors="replace") as file:
            head = file.readline(4096).lower()
    except OSError:
        return False
    return any(word in head for word in ("encodedpixels", "rle", "encoding"))


def directories(root: Path, depth: int) -> list[Path]:
    """`root` and the directories below it down to `depth`, without hidden ones, nearest first."""
    level, found = [root], [root]
    for _ in range(depth):
        deeper = []
        for parent in level:
            try:
                with os.scandir(parent) as entries:
                    names = sorted(entry.name for entry in entries if entry.is_dir())
            except PermissionError:
                continue
            deeper += [parent / name for name in names if not _is_junk(name)]
        level = deeper
        found += level
    return found


def _is_junk(name: str) -> bool:
    return name.startswith(".") or name.lower() in _JUNK


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
