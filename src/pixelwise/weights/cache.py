"""The files of the catalogue, on this machine: each downloaded once, checked, and kept in the cache.

They lie in PIXELWISE_CACHE/weights (or ~/.cache/pixelwise/weights) under the names that they were published with, or
the catalogue gives them, so that a folder of them serves as a mirror. A file that a person puts there is as good as a
downloaded one: it is checked, too. Two processes download a file once: the second waits. A download that was
interrupted goes on where it ended, in whichever process asks next.

- PIXELWISE_OFFLINE=1: no address is asked.
- PIXELWISE_MIRROR=https://host/folder/: asked before a file's own addresses, with the file's name behind it.
"""

import errno
import hashlib
import os
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from pixelwise.errors import BadOption, DataError, WeightsError, unknown_name
from pixelwise.files import cache_folder
from pixelwise.weights.catalogue import CATALOGUE, PublishedWeights, megabytes
from pixelwise.weights.download import NotSent, Patience, Progress, answers, checked_address, download, forget

if sys.platform != "win32":
    import fcntl
else:
    import msvcrt

LOOK_EVERY = 0.1  # seconds, while another process downloads


class NotHere(DataError):
    """A file of the catalogue is neither on this machine nor can it be downloaded; says which to bring, and where."""


def record_of(name: str) -> PublishedWeights:
    """The catalogue's record of a name.

    Raises:
        UnknownName: there is none; names the nearest.
    """
    if name not in CATALOGUE:
        raise unknown_name("published weights", name, CATALOGUE)
    return CATALOGUE[name]


def place_of(record: PublishedWeights) -> Path:
    """Where the cache keeps the file, whether it is there or not."""
    return cache_folder() / "weights" / record.file


def is_offline(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether PIXELWISE_OFFLINE forbids the network: any value but nothing, 0, no and false.

    >>> is_offline({"PIXELWISE_OFFLINE": "1"}), is_offline({"PIXELWISE_OFFLINE": "0"}), is_offline({})
    (True, False, False)
    """
    return environment.get("PIXELWISE_OFFLINE", "").strip().casefold() not in ("", "0", "no", "false")


def fetch(
    name: str,
    *,
    file: str | Path | None = None,
    offline: bool | None = None,
    mirror: str | None = None,
    patience: Patience | None = None,
    progress: Progress | None = None,
) -> Path:
    """The file of published weights: from the cache, or downloaded into it.

    Args:
        name: in `CATALOGUE`.
        file: the same file, which a person already has; it is checked and stays where it is.
        offline: ask no address; PIXELWISE_OFFLINE if left out.
        mirror: an address of a folder that is asked first; PIXELWISE_MIRROR if left out.
        patience: with slow servers.
        progress: called with the bytes so far and of the whole file, 0 where nobody knows.

    Raises:
        UnknownName: the catalogue has no such name.
        DataError: `file` is not there.
        BadOption: the mirror's address is not of http or https.
        NotHere: the file is not in the cache and cannot be downloaded; says which to bring, and where to put it.
        WeightsError: the file is another one than was published: its checksum or size differs.
    """
    record = record_of(name)
    if file is not None:
        file = Path(file)
        if not file.is_file():
            raise DataError(f"no file at {file}; {name} is {_described(record)}")
        check(file, record)
        return file
    place = place_of(record)
    if place.is_file():
        check(place, record)
        return place
    addresses = addresses_of(record, mirror)
    if is_offline() if offline is None else offline:
        raise not_here(record, "the network is not used (PIXELWISE_OFFLINE)" if addresses else "")
    if not addresses:
        raise not_here(record, "")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with _alone(place):
            if not place.is_file():  # else another process brought it meanwhile
                _bring(record, addresses, place, patience or Patience(), progress)
            else:
                check(place, record)
    except OSError as error:
        if isinstance(error, DataError):
            raise
        raise _unwritable(record, place, error) from error
    return place


def addresses_of(record: PublishedWeights, mirror: str | None = None) -> tuple[str, ...]:
    """Where the file is asked for, in this order: the mirror, then its own addresses.

    Raises:
        BadOption: the mirror's address is not of http or https.
    """
    mirror = mirror or os.environ.get("PIXELWISE_MIRROR") or None
    if mirror is None:
        return record.addresses
    try:
        checked_address(mirror)
    except BadOption as error:
        raise BadOption(f"the mirror (PIXELWISE_MIRROR) is the address of a folder: {error}") from None
    return (f"{mirror.rstrip('/')}/{record.file}", *record.addresses)


def is_to_be_had(record: PublishedWeights, seconds: float = 3.0) -> str:
    """Why the file cannot be had now: "" where it is in the cache, or one of its addresses answers in the time."""
    if place_of(record).is_file():
        return ""
    if is_offline():
        return "the network is not used (PIXELWISE_OFFLINE)"
    addresses = addresses_of(record)
    if not addresses:
        return "nobody offers it for download"
    until = time.monotonic() + seconds
    fault = ""
    for address in addresses:
        left = until - time.monotonic()
        if left <= 0:
            break
        try:
            answers(address, left)
            return ""
        except NotSent as error:
            fault = f"{address}: {error}"
    return fault or f"nothing answered within {seconds:g} s"


def check(path: Path, record: PublishedWeights) -> None:
    """Compare a file with what was published: its checksum, else its size; where neither is known, nothing.

    Raises:
        WeightsError: they differ.
    """
    fault = _fault(path, record)
    if fault:
        raise WeightsError(
            f"{path} is not the published file of {record.name}: {fault}. Remove it and bring the right one"
        )


def _fault(path: Path, record: PublishedWeights) -> str:
    """How a file differs from what was published; "" where it does not."""
    length = path.stat().st_size
    if record.digest is None:
        if record.size is not None and abs(length - record.size) > record.size_error:
            return f"it has {length:,} bytes, expected {record.size:,}"
        return ""
    algorithm, _, expected = record.digest.partition(":")
    with path.open("rb") as file:
        found = hashlib.file_digest(file, lambda: hashlib.new(algorithm, usedforsecurity=False)).hexdigest()
    if found.startswith(expected):
        return ""
    begins = "" if len(expected) == len(found) else " to begin with"
    shown = found if not begins else f"{found[: len(expected)]}…"
    return f"its {_spelled(algorithm)} is {shown}, expected{begins} {expected} ({length:,} bytes)"


def not_here(record: PublishedWeights, why: str) -> NotHere:
    """The one line that says which file to bring, from where, and where to put it."""
    source = record.addresses[0] if record.addresses else record.page or "whoever has it"
    if why.rpartition("; ")[2].startswith(source):
        source = "there"
    return NotHere(
        f"{record.name} is not on this machine{': ' + why if why else ''}; bring {_described(record)} from {source} "
        f"and put it at {place_of(record)}"
    )


def _described(record: PublishedWeights) -> str:
    """A file's name, size and checksum, as far as they are known."""
    facts = []
    if record.size is not None:
        facts.append(f"{megabytes(record.size)} MB")
    if record.digest is not None:
        algorithm, _, digits = record.digest.partition(":")
        partly = len(digits) < 2 * hashlib.new(algorithm, usedforsecurity=False).digest_size
        facts.append(f"{_spelled(algorithm)} {digits}{'…' if partly else ''}")
    return record.file + (f" ({', '.join(facts)})" if facts else "")


def _spelled(algorithm: str) -> str:
    return {"sha256": "SHA-256", "sha1": "SHA-1", "md5": "MD5"}[algorithm]


def _bring(
    record: PublishedWeights, addresses: tuple[str, ...], place: Path, patience: Patience, progress: Progress | None
) -> None:
    """Download from the first address that gives the right file."""
    part = place.with_name(f".{place.name}.part")
    if record.size is not None:
        free = shutil.disk_usage(place.parent).free
        if record.size > free:
            raise OSError(errno.ENOSPC, f"{megabytes(record.size)} MB are needed, {megabytes(free)} MB are free")
    faults = []
    for address in addresses:
        fault = ""
        for again in (False, True):
            resumed = part.exists()
            try:
                download(address, part, size=record.size, patience=patience, progress=progress)
            except NotSent as error:
                fault = str(error)
                break
            fault = _fault(part, record)
            if not fault:
                _settle(part, place)
                return
            forget(part)
            if again or not resumed:  # else the part that was there may have been of an older file
                break
        faults.append(f"{address}: {fault}")
    raise not_here(record, "; ".join(faults))


def _settle(part: Path, place: Path) -> None:
    """Give a whole and checked file its name."""
    with part.open("rb+") as file:
        os.fsync(file.fileno())
    part.replace(place)
    forget(part)


@contextmanager
def _alone(place: Path) -> Iterator[None]:
    """Hold a file's place against other processes; waits for one that holds it. The lock of a dead one is free."""
    with place.with_name(f".{place.name}.lock").open("a+b") as lock:
        while not _locked(lock):
            time.sleep(LOOK_EVERY)
        yield


def _locked(lock: IO[bytes]) -> bool:
    """Take a lock that the system lets go of when the process ends, however it ends."""
    try:
        if sys.platform != "win32":
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        else:
            lock.seek(0)
            msvcrt.locking(lock.fileno(), msvcrt.LK_NBLCK, 1)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EAGAIN, errno.EDEADLK):
            return False
        if error.errno in (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP):
            return True  # a disk without locks: two processes then download twice, and the later one is kept
        raise
    return True


def _unwritable(record: PublishedWeights, place: Path, error: OSError) -> NotHere:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        remedy = "make room there, or let PIXELWISE_CACHE name a folder on another disk"
    else:
        remedy = "let PIXELWISE_CACHE name a folder that can be written"
    return NotHere(
        f"{record.name} is not on this machine, and the cache {place.parent} cannot be written "
        f"({error.strerror or error}); {remedy}"
    )
