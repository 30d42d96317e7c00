"""What became of the files that `predict` was given."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal


@dataclass(frozen=True)
class Outcome:
    """What became of one file.

    Attributes:
        file: the picture or video.
        name: of its results.
        outcome: "skipped" where its results were there already.
        size: (height, width), where it was written.
        frames: of a video, where it was written.
        notes: what a person may not expect, whole sentences without the file's name.
        error: one line, where it failed; it names the file.
        results: {kind: file or, of a video's frames, folder}.
    """

    file: Path
    name: str
    outcome: Literal["written", "skipped", "failed"]
    size: tuple[int, int] | None = None
    frames: int | None = None
    notes: tuple[str, ...] = ()
    error: str | None = None
    results: Mapping[str, Path] = field(default_factory=dict)

    def to_record(self) -> dict[str, Any]:
        """What --json prints; what is not known is left out."""
        record: dict[str, Any] = {"file": str(self.file), "outcome": self.outcome}
        if self.size is not None:
            record |= {"height": self.size[0], "width": self.size[1]}
        if self.frames is not None:
            record["frames"] = self.frames
        if self.notes:
            record["notes"] = list(self.notes)
        if self.error is not None:
            record["error"] = self.error
        if self.results:
            record["results"] = {kind: str(path) for kind, path in self.results.items()}
        return record


@dataclass(frozen=True)
class Predicted:
    """What became of all files, in their order, and the tables of all of them."""

    outcomes: tuple[Outcome, ...]
    tables: Mapping[str, Path] = field(default_factory=dict)

    @property
    def written(self) -> int:
        """How many files have results now that had none before."""
        return sum(outcome.outcome == "written" for outcome in self.outcomes)

    @property
    def skipped(self) -> int:
        """How many had theirs already."""
        return sum(outcome.outcome == "skipped" for outcome in self.outcomes)

    @property
    def faults(self) -> tuple[str, ...]:
        """A line for each file that could not be read, or not to its end."""
        return tuple(outcome.error for outcome in self.outcomes if outcome.error is not None)

    def to_record(self) -> dict[str, Any]:
        """What --json prints."""
        return {
            "written": self.written,
            "skipped": self.skipped,
            "failed": sum(outcome.outcome == "failed" for outcome in self.outcomes),
            "files": [outcome.to_record() for outcome in self.outcomes],
            "tables": {kind: str(path) for kind, path in self.tables.items()},
        }
