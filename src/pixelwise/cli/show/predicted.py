"""What `predict` shows: what became of the files."""

from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

if TYPE_CHECKING:
    from pixelwise.flow.predicting.predicted import Predicted

LISTED = 10  # files of which the same is said, before the rest is counted


def print_predicted(console: Console, done: "Predicted", out: Path, *, crf: bool) -> None:
    """How many files were segmented, and a line for each of which there is something to say, up to `LISTED` the same.

    Args:
        crf: the model's own CRF was used.
    """
    noted: dict[str, list[Path]] = {}
    for outcome in done.outcomes:
        if outcome.notes:
            noted.setdefault(f"{outcome.outcome}; {'; '.join(outcome.notes)}", []).append(outcome.file)
    for told, files in noted.items():
        more = [f"{len(files) - LISTED} more files"] if len(files) > LISTED + 1 else []
        for file in [*files[: LISTED if more else None], *more]:
            console.print(f"{file}: {told}", markup=False, soft_wrap=True)
    written = [outcome for outcome in done.outcomes if outcome.outcome == "written"]
    videos = sum(outcome.frames is not None for outcome in written)
    counts = [
        f"{count} {what}{'s' if count != 1 else ''}"
        for count, what in ((len(written) - videos, "picture"), (videos, "video"))
        if count or (what == "picture" and not videos)
    ]
    own = " with the model's CRF" if crf else ""
    skipped = f", {done.skipped} were there already" if done.skipped else ""
    failed = sum(outcome.outcome == "failed" for outcome in done.outcomes)
    lost = f", {failed} could not be read" if failed else ""
    console.print(
        f"{' and '.join(counts)} segmented{own} into {out}/{skipped}{lost}",
        markup=False,
        soft_wrap=True,
    )
    for path in done.tables.values():
        console.print(f"{path}", markup=False, soft_wrap=True)
