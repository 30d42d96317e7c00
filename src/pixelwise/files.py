"""Files appear whole or not at all: each is written beside its place, flushed to the disk, and renamed.

What can be made again, or downloaded again, is kept in one folder: `cache_folder`.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_UMASK = os.umask(0o022)
os.umask(_UMASK)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path beside `path` to write to; renamed to `path` when the block ends well, removed when it does not.

    A kill at any moment leaves the old file, or none, at `path`. A link stays one: the file that it points to is new.
    """
    path = Path(os.path.realpath(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield beside
        with beside.open("rb+") as file:
            os.fsync(file.fileno())
        beside.chmod(0o666 & ~_UMASK)  # some writers make files that only their owner can read
        beside.replace(path)
    except OSError as error:
        if error.errno is not None:  # the system's, not one of ours
            error.filename = error.filename or str(path)  # a full disk names none
        raise
    finally:
        beside.unlink(missing_ok=True)


def write_text(text: str, path: Path) -> None:
    """Write a text in UTF-8, whole or not at all."""
    with replacing(path) as beside:
        beside.write_text(text, encoding="utf-8")


def cache_folder() -> Path:
    """Where things are kept that can be made again: PIXELWISE_CACHE, or ~/.cache/pixelwise."""
    return Path(os.environ.get("PIXELWISE_CACHE") or Path("~/.cache/pixelwise").expanduser())
