"""Packed folders: a .zip or .tar file, or a folder that holds nothing but such files, is unpacked into the cache.

The copy lies in PIXELWISE_CACHE/unpacked (or ~/.cache/pixelwise/unpacked), one for each packed file and its state (size
and time); older ones are removed. It appears whole or not at all, whoever else unpacks the same. Archives inside are
unpacked where they lie, each into a folder of its own name. What would lie outside the folder, links, and what systems
leave lying about is passed over. Folders that hold nothing but one folder are gone through.
"""

import hashlib
import os
import shutil
import tarfile
import threading
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import IO

from pixelwise.errors import DataError
from pixelwise.files import cache_folder

ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
MAX_RATIO = 200
"""A file that would grow by more than this, to more than a gigabyte, is taken for a decompression bomb."""

_JUNK = frozenset(("__macosx", ".ds_store", "thumbs.db", "desktop.ini"))
_DEPTH = 3  # of archives in archives


def is_archive(path: Path) -> bool:
    """Whether a file's name says that it is packed."""
    return path.name.lower().endswith(ARCHIVES) and path.is_file()


def unpacked(path: Path) -> Path:
    """The folder that an archive holds; what is unpacked already is not unpacked again.

    Args:
        path: a packed file, or a folder with packed files.

    Raises:
        DataError: it is damaged, encrypted, or too large for the disk; or the cache cannot be written.
    """
    sources = [path] if path.is_file() else sorted(file for file in path.iterdir() if is_archive(file))
    home = cache_folder() / "unpacked" / _digest(str(path.resolve()))
    state = _digest(str([(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in sources]))
    inside = home / state / path.name
    if inside.is_dir():
        return _descended(inside)
    beside = home / f"{state}.{os.getpid()}.{threading.get_ident()}.part"
    try:
        (beside / path.name).mkdir(parents=True)
        for file in sources:
            into = beside / path.name
            _unpack(file, into if path.is_file() else into / archive_stem(file), _DEPTH)
        older = [folder for folder in home.iterdir() if folder.suffix != ".part"]
        try:
            beside.rename(home / state)
        except OSError:
            if not inside.is_dir():  # else another process was faster, with the same
                raise
        for folder in older:
            if folder.name != state:
                shutil.rmtree(folder, ignore_errors=True)
    except OSError as error:
        if isinstance(error, DataError):
            raise
        raise DataError(
            f"{path} cannot be unpacked into {home} ({error.strerror}); unpack it yourself and pass the folder"
        ) from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return _descended(inside)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:16]


def _descended(folder: Path) -> Path:
    """The folder itself, or the only folder in it, and so on; a folder beside nothing but text files counts as one."""
    while True:
        entries = [entry for entry in folder.iterdir() if not entry.name.startswith(".")]
        if len(entries) != 1 or not entries[0].is_dir():
            return folder
        folder = entries[0]


def _unpack(path: Path, into: Path, depth: int) -> None:
    try:
        if path.name.lower().endswith(".zip"):
            _unzip(path, into)
        else:
            _untar(path, into)
    except (
        zipfile.BadZipFile,
        tarfile.TarError,
        zlib.error,
        EOFError,
        ValueError,
        NotImplementedError,
        RuntimeError,
    ) as error:
        what = "is encrypted" if "encrypted" in str(error) else f"is damaged or no archive ({error})"
        raise DataError(f"{path} {what}; expected a zip or tar file: unpack it yourself and pass the folder") from error
    if depth > 1:
        for nested in sorted(file for file in into.rglob("*") if is_archive(file)):
            _unpack(nested, nested.with_name(archive_stem(nested)), depth - 1)
            nested.unlink()


def _unzip(path: Path, into: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        files = [info for info in archive.infolist() if not info.is_dir()]
        _check_room(path, sum(info.file_size for info in files), into)
        for info in files:
            place = _place(info.filename.replace("\\", "/"), into)
            if place is not None:
                with archive.open(info) as source:
                    _write(source, place)


def _untar(path: Path, into: Path) -> None:
    with tarfile.open(path) as archive:
        files = [member for member in archive.getmembers() if member.isfile()]
        _check_room(path, sum(member.size for member in files), into)
        for member in files:
            place, source = _place(member.name, into), archive.extractfile(member)
            if place is not None and source is not None:
                with source:
                    _write(source, place)


def _place(name: str, into: Path) -> Path | None:
    """Where a file of an archive goes; nowhere if it is junk or would leave the folder."""
    parts = [part for part in PurePosixPath(name).parts if part not in ("/", ".")]
    if not parts or ".." in parts or any(part.lower() in _JUNK or part.startswith("._") for part in parts):
        return None
    return into.joinpath(*parts)


def _write(source: IO[bytes], place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    with place.open("wb") as target:
        shutil.copyfileobj(source, target, 1 << 20)


def _check_room(path: Path, size: int, into: Path) -> None:
    packed = path.stat().st_size
    if size > 1 << 30 and size > MAX_RATIO * packed:
        raise DataError(
            f"{path} has {packed / 1e6:.1f} MB and announces {size / 1e9:.1f} GB; such a file may be a decompression "
            "bomb: check where it comes from, and unpack it yourself"
        )
    into.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(into).free
    if size > 0.95 * free:
        raise DataError(
            f"{path} needs {size / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free for {into}; make room, set "
            "PIXELWISE_CACHE to another disk, or unpack it yourself and pass the folder"
        )


def archive_stem(path: Path) -> str:
    """An archive's name without its ending."""
    name = path.name
    for ending in sorted(ARCHIVES, key=len, reverse=True):
        if name.lower().endswith(ending):
            return name[: -len(ending)]
    return name
