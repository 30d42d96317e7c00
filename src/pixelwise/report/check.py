"""What `check` found in a folder, as one page: faults with thumbnails, classes, a contact sheet, sizes, how to go on.

Few files are decoded, whatever the folder holds: those of the contact sheet and of the faults that are shown with a
picture. The page stays below 6 MB: pictures have a budget of bytes, and long lists end with their count.
"""

import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixelwise.data.archive import archive_stem, is_archive
from pixelwise.data.folder import PairDataset
from pixelwise.data.sample import MaskSource, Pair
from pixelwise.labels import LabelSet
from pixelwise.report import MARK
from pixelwise.report.check_classes import class_rows
from pixelwise.report.check_faults import Album, fault_groups
from pixelwise.report.contact_sheet import contact_sheet, extent_of, ratio_of
from pixelwise.report.html import count, render, write_page
from pixelwise.report.plots import size_plot
from pixelwise.report.thumbnails import standing_out
from pixelwise.version import VERSION

ROWS = 40  # classes shown before "and n more"


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
    album = Album(labels, everything)
    rows, absent, void = class_rows(record, labels, splits)
    by_folder = record.get("labels_from") == "folders"
    sizes = [(int(h), int(w), int(n)) for h, w, n in record.get("sizes") or ()]
    sheet = contact_sheet(datasets, labels, mask_counts or {}, sizes)
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
        errors=fault_groups(errors, root, album, by_folder),
        warnings=fault_groups(warnings, root, album, by_folder),
        wrong=standing_out(labels) if labels is not None else None,
        rows=rows,
        num_rows=ROWS,
        absent=absent,
        void=void,
        sheet=sheet,
        ratio=ratio_of(sizes),
        labels=labels,
        by_folder=by_folder,
        legend=[row for row in rows if row.share] if labels is not None and len(rows) <= 24 and not by_folder else [],
        stretched=_stretched(record),
        sizes=sizes,
        extent=extent_of(sizes),
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
