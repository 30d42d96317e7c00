"""The flow of `pixelwise check`: look at a folder, write its page, the table of its classes, and a clean copy."""

import hashlib
import json
import os
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pixelwise.data.answers import Answers
from pixelwise.data.archive import archive_stem, is_archive
from pixelwise.data.layout import checked_folder
from pixelwise.data.values.classnames import write_classes as write_table
from pixelwise.errors import BadOption, DataError
from pixelwise.flow.convert import Conversion, convert
from pixelwise.flow.data_sets import layout_of
from pixelwise.flow.doctor import understand
from pixelwise.flow.understanding import LabelsFrom, Understanding
from pixelwise.report import MARK
from pixelwise.version import VERSION


@dataclass(frozen=True)
class Checked:
    """What was found and written.

    Attributes:
        page, classes: files that were written.
        copy: the clean copy, if one was asked for.
        lost: why there is no page, where none could be written beside the user.
    """

    understanding: Understanding
    page: Path | None
    classes: Path | None
    copy: Conversion | None
    lost: str = ""

    @property
    def written(self) -> list[str]:
        """What was written, a line each, for people."""
        lines = []
        if self.copy is not None:
            count = sum(self.copy.splits.values())
            lines.append(f"Clean copy: {self.copy.out}/ with {count} pictures and masks; what was changed:")
            shown = self.copy.changes[:20]
            lines += [f"  {change}" for change in shown] or ["  nothing"]
            if len(self.copy.changes) > len(shown):
                lines.append(f"  … and {len(self.copy.changes) - len(shown)} more, in {self.copy.out / 'CHANGES.txt'}")
        if self.classes is not None:
            quoted = shlex.quote(str(self.classes))
            lines.append(f"Classes: {self.classes}; edit it, then use it with --classes {quoted}")
        if self.page is not None:
            lines.append(f"Page: {self.page}")
        elif self.lost:
            lines.append(f"No page: {self.lost}")
        return lines

    def to_record(self) -> dict[str, Any]:
        """All of it as JSON can hold it."""
        copy = self.copy
        return self.understanding.to_record() | {
            "page": None if self.page is None else str(self.page),
            "classes": None if self.classes is None else str(self.classes),
            "fixed": None
            if copy is None
            else {"out": str(copy.out), "splits": copy.splits, "changes": list(copy.changes)},
        }


def look_at(
    folder: str | Path,
    *,
    dataset: str | None = None,
    read_as: Sequence[str] = (),
    classes: str | Path | None = None,
    labels: LabelsFrom = "masks",
    progress: Callable[[int, int], None] | None = None,
) -> Understanding:
    """What a folder holds; as `understand`, with the options as people give them.

    Args:
        dataset: a name in DATASETS, whose own reader is used, with options as NAME,key=value; found if left out.
        read_as: answers, as `--as` takes them.
        labels: "folders" where the pictures have no masks, but lie in a folder for each class.

    Raises:
        BadOption, UnknownName: an answer or a name is none.
        DataError: the folder is not understood.
    """
    answers = Answers.of(read_as)
    layout = None if dataset is None or dataset == "folder" else layout_of(dataset, checked_folder(folder))
    return understand(
        folder,
        answers=answers,
        classes=classes,
        layout=layout,
        labels_from=labels,
        workers=os.cpu_count() or 2,
        progress=progress,
    )


def check_folder(
    folder: str | Path,
    *,
    dataset: str | None = None,
    read_as: Sequence[str] = (),
    classes: str | Path | None = None,
    labels: LabelsFrom = "masks",
    write_classes: str | Path | None = None,
    fix: str | Path | None = None,
    page: str | Path | None = None,
    make_page: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> Checked:
    """Look at a folder and write what was asked for.

    Args:
        labels: "folders" where the pictures have no masks, but lie in a folder for each class.
        write_classes: a new file for the table of classes.
        fix: a new folder for a clean copy.
        page: the HTML page; NAME-check.html in the current folder if left out. An older page is replaced, another
            file never.
        make_page: whether there is a page.

    Raises:
        BadOption: a file or folder that was named exists.
        DataError: the folder is not understood.
    """
    folder = Path(folder)
    if labels == "folders" and (write_classes is not None or fix is not None):
        raise BadOption("a table of classes and a clean copy are of masks, which class folders have none of")
    for asked in (write_classes, fix):
        if asked is not None and Path(asked).exists():
            raise BadOption(f"{asked} exists already; choose a new name, so that nothing is overwritten")
    place, lost = _page_place(folder, page) if make_page else None, ""
    understanding = look_at(folder, dataset=dataset, read_as=read_as, classes=classes, labels=labels, progress=progress)
    copy = convert(understanding, fix, repair=True) if fix is not None else None
    if write_classes is not None:
        write_table(understanding.labels, Path(write_classes), drawn=understanding.drawn)
    if place is not None:
        key = _key(understanding, folder)
        if key not in _head(place):
            from pixelwise.report.check import write_check  # its templates take longer than a second look

            try:
                write_check(
                    understanding.to_record(),
                    understanding.datasets(),
                    place,
                    mask_counts=understanding.mask_counts,
                    pairs=[pair for pairs in understanding.broken.values() for pair in pairs],
                    folder=folder,
                    key=key,
                )
            except DataError as error:
                if page is not None:
                    raise
                lost, place = f"{error}; name another place with --page, or none with --no-page", None
    return Checked(understanding, place, None if write_classes is None else Path(write_classes), copy, lost)


def _page_place(folder: Path, page: str | Path | None) -> Path:
    """Where the page goes: a new file, or an older page."""
    if page is not None:
        if not _is_page(Path(page)):
            raise BadOption(f"{page} exists already and is no page of check; choose another --page")
        return Path(page)
    name = (archive_stem(folder) if is_archive(folder) else folder.resolve().name) or "folder"
    for number in range(1, 1000):
        place = Path(f"{name}-check.html" if number == 1 else f"{name}-check-{number}.html")
        if _is_page(place):
            return place
    raise BadOption(f"{name}-check.html and 998 more are taken; name one with --page")


def _is_page(path: Path) -> bool:
    """Whether a page may be written there: nothing is there, or a page of check."""
    return not path.exists() or MARK in _head(path)


def _head(path: Path) -> str:
    """The beginning of a file, or nothing."""
    try:
        with path.open("rb") as file:
            return file.read(2000).decode(errors="replace")
    except OSError:
        return ""


def _key(understanding: Understanding, folder: Path) -> str:
    """What a page is made from: the same for the same files, understood in the same way by this version."""
    record = json.dumps(understanding.to_record(), sort_keys=True)
    digest = hashlib.blake2b(f"{VERSION} {folder} {record}".encode(errors="surrogateescape"), digest_size=16)
    for picture in understanding.images.values():
        digest.update(picture.digest.encode())
    for mask, counts in understanding.mask_counts.items():
        digest.update(f"{mask}".encode(errors="surrogateescape") + counts.tobytes())
    return digest.hexdigest()
