"""What `predict` is given: the files that paths, folders and globs name, and the names of their results."""

import glob
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image as PillowImage

from pixelwise.data.decode import IMAGE_EXTENSIONS
from pixelwise.data.decoding.files import ImageInfo
from pixelwise.errors import DataError

KINDS = {
    "mask": ".png",
    "overlay": ".png",
    "confidence": ".png",
    "entropy": ".png",
    "uncertainty": ".png",
    "polygons": ".geojson",
}
"""The kinds of results that each picture has for itself, and the extensions of their files."""

VIDEOS = frozenset((".mp4", ".avi", ".mov", ".mkv", ".webm"))
_CHUNKS = 1 << 12  # bytes of a PNG in which an animation says that it is one
SMALL = 16  # pixels of a side below which a picture is said to be tiny


@dataclass(frozen=True)
class Picture:
    """A file to segment, and the name of its results: its path below the folder that was given, without suffix."""

    path: Path
    name: str

    @property
    def video(self) -> bool:
        """Whether it is a video, by its extension."""
        return self.path.suffix.lower() in VIDEOS


def find_pictures(inputs: Sequence[str], out: Path | None = None) -> list[Picture]:
    """The pictures and videos that paths, folders and globs name, each once, in order.

    Folders and globs do not find the results of an earlier prediction into `out`, such as OUT/mask/a.png.

    Two with the same stem keep their suffix in the name: a.jpg and a.png become a.jpg and a.png, not a and a.

    Raises:
        DataError: an input names nothing; names it.
    """
    results = {out.resolve() / kind for kind in KINDS} if out is not None else set()
    found: dict[Path, Path] = {}
    for text in inputs:
        path = Path(text)
        if path.is_dir():
            relative = {f: f.relative_to(path) for f in sorted(path.rglob("*")) if _known(f)}
        elif path.is_file():
            relative = {path: Path(path.name)}
        else:
            matched = sorted(Path(m) for m in glob.glob(text, recursive=True))  # noqa: PTH207 – absolute globs, too
            relative = {m: Path(m.name) for m in matched if m.is_file() and _known(m)}
        if results and not path.is_file():
            relative = {f: name for f, name in relative.items() if results.isdisjoint(f.resolve().parents)}
        if not relative:
            kind = "folder holds no pictures" if path.is_dir() else "there is no such file, folder or match"
            raise DataError(f"{text}: {kind} ({', '.join(sorted(IMAGE_EXTENSIONS | VIDEOS))})")
        for file, name in relative.items():
            found.setdefault(file, name)
    stems = Counter(name.with_suffix("") for name in found.values())
    names = {f: name.with_suffix("") if stems[name.with_suffix("")] == 1 else name for f, name in found.items()}
    double = [str(name) for name, count in Counter(names.values()).items() if count > 1]
    if double:
        raise DataError(f"two pictures are both called {double[0]}; segment their folders one after the other")
    return [Picture(file, name.as_posix()) for file, name in names.items()]


def _known(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_EXTENSIONS | VIDEOS and not path.name.startswith(".")


def notes_of(path: Path, info: ImageInfo) -> Iterator[str]:
    """What a person may not expect of how a file is read: animated, CMYK, 16 bits, tiny."""
    frames = _frames_of(path, info.format)
    if frames > 1:
        yield f"it is animated: the first of {frames} frames is read"
    if info.mode in ("CMYK", "SEPARATED"):
        yield "its CMYK is read as RGB"
    if info.dtype != "uint8":
        yield f"its {'16 bits a channel' if info.dtype == 'uint16' else 'numbers'} are read on the scale of 0–255"
    if min(info.size) < SMALL:
        yield f"it is tiny: {info.size[1]} × {info.size[0]} pixels"


def _frames_of(path: Path, kind: str) -> int:
    """Frames of an animation, 1 of a still picture."""
    if kind == "PNG":
        with path.open("rb") as file:
            start = file.read(_CHUNKS)
        place = start.find(b"acTL")
        return int.from_bytes(start[place + 4 : place + 8], "big") if place >= 0 else 1
    if kind not in ("GIF", "WEBP"):
        return 1
    with PillowImage.open(path) as image:
        return int(getattr(image, "n_frames", 1))
