"""What `predict` writes of all pictures together: areas.csv and coco.json, and how they come through a kill.

A table is written whole, at the end. Until then each picture's part stands in a journal, one line for each, which is
added when the picture's own files are there. A kill leaves at worst half a line at its end, which is not counted: that
picture is done again. A run that goes on reads the journal, and the tables of a run that came to its end; so it writes
the same tables as one that was never stopped.
"""

import csv
import io
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO

from pixelwise.errors import DataError
from pixelwise.files import write_text
from pixelwise.inference.coco import categories
from pixelwise.labels import LabelSet

AREAS, COCO = "areas", "coco"
FILES = {AREAS: "areas.csv", COCO: "coco.json"}
JOURNAL = ".pixelwise-done"
_HEADER = ["picture", "class", "pixels", "share"]


@dataclass(frozen=True)
class Entry:
    """One picture's part of the tables.

    Attributes:
        name: of its results.
        file: what coco.json calls it.
        size: (height, width).
        areas: {class: pixels}; None where not asked for.
        annotations: in COCO's form; None where not asked for.
    """

    name: str
    file: str
    size: tuple[int, int]
    areas: Mapping[str, int] | None
    annotations: list[dict[str, Any]] | None

    def to_line(self) -> str:
        """A line of the journal."""
        fields = [self.name, self.file, list(self.size), self.areas, self.annotations]
        return json.dumps(fields, ensure_ascii=False, separators=(",", ":")) + "\n"

    @classmethod
    def from_line(cls, line: str) -> Self | None:
        """What `to_line` wrote; None of half a line."""
        try:
            name, file, (height, width), areas, annotations = json.loads(line)
        except ValueError:
            return None
        return cls(name, file, (height, width), areas, annotations)


class Tables:
    """The tables that were asked for, of the pictures that are done.

    Args:
        kinds: of `FILES`; none at all, and nothing is written.
        resume: begin with what earlier runs left, else remove their journal.
        rank: of this process, which has a journal of its own.
    """

    def __init__(self, out: Path, kinds: Iterable[str], labels: LabelSet, *, resume: bool, rank: int = 0) -> None:
        self._out, self._labels = out, labels
        self.paths = {kind: out / FILES[kind] for kind in FILES if kind in kinds}
        self.entries: dict[str, Entry] = self._earlier() if resume else {}
        self._journal = out / (JOURNAL if rank == 0 else f"{JOURNAL}.{rank}")
        self._file: TextIO | None = None
        self._added: list[str] = []
        if not resume and rank == 0:
            self._remove_journals()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()

    def has(self, name: str, *, large: bool = False) -> bool:
        """Whether a picture's part of all tables is there; large ones have none of coco.json."""
        entry = self.entries.get(name)
        areas = AREAS not in self.paths or (entry is not None and entry.areas is not None)
        return areas and (large or COCO not in self.paths or (entry is not None and entry.annotations is not None))

    def add(self, entries: Iterable[Entry]) -> None:
        """The parts of a picture whose own files are there, or of all frames of a video."""
        if not self.paths:
            return
        lines = []
        for entry in entries:
            self.entries[entry.name] = entry
            self._added.append(entry.name)
            lines.append(entry.to_line())
        if self._file is None:
            self._out.mkdir(parents=True, exist_ok=True)
            self._file = self._journal.open("a", encoding="utf-8")
            if self._journal.stat().st_size:
                self._file.write("\n")  # a kill may have left half a line
        self._file.write("".join(lines))
        self._file.flush()

    def added(self) -> list[Entry]:
        """The parts that this process added."""
        return [self.entries[name] for name in self._added]

    def write(self, order: Iterable[str], others: Iterable[Entry] = ()) -> None:
        """Write the tables, pictures in this order; those of earlier runs that are not in it stand before.

        Args:
            order: names; a video's stands for its frames.
            others: what further processes added.
        """
        if not self.paths:
            return
        self.entries |= {entry.name: entry for entry in others}
        place = {name: i for i, name in enumerate(order)}
        entries = sorted(self.entries.values(), key=lambda e: place.get(e.name, place.get(video_of(e.name), -1)))
        if AREAS in self.paths:
            write_text(self._areas(entries), self.paths[AREAS])
        if COCO in self.paths:
            write_text(self._coco(entries), self.paths[COCO])
        self._remove_journals()

    def _areas(self, entries: list[Entry]) -> str:
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        table.writerow(_HEADER)
        for entry in entries:
            total = entry.size[0] * entry.size[1]
            for name, pixels in (entry.areas or {}).items():
                table.writerow([entry.name, name, pixels, round(pixels / total, 6)])
        return text.getvalue()

    def _coco(self, entries: list[Entry]) -> str:
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for entry in entries:
            if entry.annotations is None:
                continue
            height, width = entry.size
            number = len(images) + 1
            images.append({"id": number, "file_name": entry.file, "width": width, "height": height, "name": entry.name})
            for annotation in entry.annotations:
                annotations.append({"id": len(annotations) + 1, "image_id": number, **annotation})
        record = {"images": images, "annotations": annotations, "categories": categories(self._labels)}
        return json.dumps(record, ensure_ascii=False)

    def _earlier(self) -> dict[str, Entry]:
        """What the tables and the journals of earlier runs hold."""
        found: dict[str, Entry] = {}
        if all(path.exists() for path in self.paths.values()):
            areas = _read_areas(self.paths[AREAS]) if AREAS in self.paths else None
            images = _read_coco(self.paths[COCO]) if COCO in self.paths else None
            for name in areas if areas is not None else images or ():
                mine = (areas or {}).get(name)
                file, size, annotations = (images or {}).get(name, (name, (1, sum((mine or {}).values())), None))
                found[name] = Entry(name, file, size, mine, annotations)
        for journal in sorted(self._out.glob(f"{JOURNAL}*")):
            for line in journal.read_text(encoding="utf-8", errors="replace").splitlines():
                if (entry := Entry.from_line(line)) is not None:
                    found[entry.name] = entry
        return found

    def _remove_journals(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
        for journal in self._out.glob(f"{JOURNAL}*"):
            journal.unlink(missing_ok=True)


def frame_name(video: str, number: int) -> str:
    """What a video's frame is called, from 0.

    >>> frame_name("clip", 12), video_of("clip/000012")
    ('clip/000012', 'clip')
    """
    return f"{video}/{number:06}"


def video_of(frame: str) -> str:
    """The video of a frame's name."""
    return frame.rpartition("/")[0]


def _read_areas(path: Path) -> dict[str, dict[str, int]]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.reader(file))
        if rows[:1] != [_HEADER]:
            raise ValueError(f"its columns are not {', '.join(_HEADER)}")
        found: dict[str, dict[str, int]] = {}
        for picture, name, pixels, _ in rows[1:]:
            found.setdefault(picture, {})[name] = int(pixels)
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error
    return found


def _read_coco(path: Path) -> dict[str, tuple[str, tuple[int, int], list[dict[str, Any]]]]:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        parts: dict[int, list[dict[str, Any]]] = {image["id"]: [] for image in record["images"]}
        for annotation in record["annotations"]:
            parts[annotation["image_id"]].append(
                {key: value for key, value in annotation.items() if key not in ("id", "image_id")}
            )
        return {
            image["name"]: (image["file_name"], (image["height"], image["width"]), parts[image["id"]])
            for image in record["images"]
        }
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> DataError:
    return DataError(
        f"{path} cannot be gone on with ({type(error).__name__}: {error}); remove it and the results beside it, or use "
        "--overwrite"
    )
