"""What `check` shows, and a fit before its plan: what a folder is understood to be, its classes and its faults."""

from collections import Counter
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from pixelwise.data.layout import Fault
    from pixelwise.flow.understanding import Understanding

MOST_CLASSES = 40  # rows of the table of classes


def print_understanding(console: Console, understanding: "Understanding", *, short: bool = False) -> None:
    """What was found in a paragraph, a summary of the faults, the classes, notes, and the faults one by one."""
    u = understanding
    console.print(escape(u.told))
    if u.faults:
        console.print(f"[bold]{escape(fault_summary(u))}[/bold]")
    elif not short:
        console.print("No faults found.")
    _print_classes(console, u)
    for note in u.notes:
        console.print(f"Note: {escape(note)}", soft_wrap=True)
    faults = u.faults if not short else [f for f in u.faults if f.severity == "warning"]
    limit = 20 if not short else 5
    for fault in faults[:limit]:
        style = "bold red" if fault.severity == "error" else "yellow"
        console.print(f"[{style}]{fault.severity}[/{style}]: {escape(fault.message)}", soft_wrap=True)
    if len(faults) > limit:
        console.print(f"… and {len(faults) - limit} more", style="dim")


_KINDS = {
    "orphan": "without partner",
    "twin": "same name twice",
    "missing": "listed but missing",
    "unreadable": "cannot be read",
    "size": "size differs",
    "value": "wrong values",
    "blended": "smoothed edges",
    "kind": "other channels or bits",
    "void": "void",
    "classes": "classes missing or rare",
    "duplicate": "duplicates",
    "object": "outlines",
}
_FOLDER_KINDS = {
    "orphan": "in no class folder",
    "empty": "empty class folder",
    "value": "values that are no numbers",
}


def _kind_told(fault: "Fault", by_folder: bool) -> str:
    if not by_folder:
        return _KINDS[fault.kind]
    kind = "empty" if fault.kind == "classes" and fault.path is not None else fault.kind
    return _FOLDER_KINDS.get(kind, _KINDS.get(kind, kind))


def fault_summary(understanding: "Understanding") -> str:
    """How many errors and warnings of which kinds: "2 errors (size differs: 1, cannot be read: 1) and 1 warning …"."""
    parts = []
    for severity in ("error", "warning"):
        by_folder = understanding.labels_from == "folders"
        kinds = Counter(_kind_told(fault, by_folder) for fault in understanding.faults if fault.severity == severity)
        if kinds:
            total = kinds.total()
            listed = ", ".join(f"{kind}: {count}" for kind, count in kinds.most_common())
            parts.append(f"{total} {severity}{'s' if total != 1 else ''} ({listed})")
    return " and ".join(parts)


def _print_classes(console: Console, u: "Understanding") -> None:
    if u.labels_from == "folders":
        _print_folders(console, u)
        return
    total = max(int(u.pixel_counts.sum()), 1)
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("")
    table.add_column("class")
    table.add_column("in the masks", justify="right")
    table.add_column("pixels", justify="right")
    table.add_column("pictures", justify="right")
    shown = sorted(sorted(range(u.labels.num_classes), key=lambda i: -int(u.pixel_counts[i]))[:MOST_CLASSES])
    for i in shown:
        red, green, blue = u.labels.palette[i]
        share = u.pixel_counts[i] / total
        table.add_row(
            Text("  ", style=f"on rgb({red},{green},{blue})"),
            escape(u.labels.names[i]),
            u.labels.values_of(i),
            percent(share),
            str(int(u.image_counts[i])),
        )
    if u.void_pixels:
        share = u.void_pixels / (total + u.void_pixels)
        table.add_row("", "void (not counted)", u.labels.values_of(u.labels.void), percent(share), "", style="dim")
    console.print(table)
    if u.labels.num_classes > len(shown):
        console.print(f"… and {u.labels.num_classes - len(shown)} classes with fewer pixels", style="dim")


def _print_folders(console: Console, u: "Understanding") -> None:
    """The classes of class folders, with the pictures of each in each part."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("")
    table.add_column("class")
    parts = list(u.class_splits) if len(u.class_splits) > 1 else []
    for name in ("pictures", *parts):
        table.add_column(name, justify="right")
    shown = sorted(sorted(range(u.labels.num_classes), key=lambda i: -int(u.image_counts[i]))[:MOST_CLASSES])
    for i in shown:
        red, green, blue = u.labels.palette[i]
        counts = (u.image_counts, *(u.class_splits[part] for part in parts))
        swatch = Text("  ", style=f"on rgb({red},{green},{blue})")
        table.add_row(swatch, escape(u.labels.names[i]), *(str(int(count[i])) for count in counts))
    console.print(table)
    if u.labels.num_classes > len(shown):
        console.print(f"… and {u.labels.num_classes - len(shown)} classes with fewer pictures", style="dim")


def percent(share: float) -> str:
    """A share in percent, with two digits that matter."""
    if share == 0:
        return "0"
    return f"{share:.1%}" if share >= 0.001 else f"{share * 100:.2g}%"
