"""RUN/log.csv: what a training measured, a row for each logged step and each validation.

No column is of the clock, so that a run that was killed and resumed leaves the bytes of one that was not; `log.jsonl`
has what happened when, and how often. Rows come one by one. A resume first cuts those that its state does not know of.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from pixelwise.flow.run import explained_write
from pixelwise.training.recipe import Recipe
from pixelwise.training.state import write_or_explain

TABLE = "log.csv"
OF_PIXELS = ("mean_iou", "pixel_accuracy")
OF_PICTURES = ("mean_picture_accuracy", "picture_accuracy", "mean_probability")


@contextmanager
def table_file(
    path: Path, recipe: Recipe, *, resume: bool, measures: Sequence[str] = OF_PIXELS
) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """What takes the log's records of steps and validations, and ignores others.

    Args:
        recipe: whose validations are rows; those of an early end are not, since a longer run does not make them.
        resume: rows before the first record stay; else the table is new.
        measures: columns of a validation.

    Raises:
        TrainingError: the disk is full; what was written before stays.
    """
    columns = ("step", "loss", "rate", *measures, "best")
    file: IO[bytes] | None = None

    def add(record: Mapping[str, Any]) -> None:
        nonlocal file
        if record["event"] not in ("step", "validation"):
            return
        if file is None:
            head = ",".join(columns)
            kept = _rows_before(record, path, head) if resume else []
            write_or_explain(path, "".join(f"{row}\n" for row in (head, *kept)).encode(), "the table of the run")
            file = path.open("ab", buffering=0)
        if record["event"] == "step" or _is_due(record["step"], recipe):
            explained_write(file, ",".join(_cell(record.get(name)) for name in columns) + "\n", path)

    try:
        yield add
    finally:
        if file is not None:
            file.close()


def _rows_before(record: Mapping[str, Any], path: Path, head: str) -> list[str]:
    """The whole rows of a table that come before a record; none where the table is another one."""
    if not path.exists():
        return []
    *lines, _ = path.read_bytes().decode("utf-8", "replace").split("\n")  # what follows the last line feed is torn
    if not lines or lines[0] != head:
        return []
    kept = []
    place = (record["step"], record["event"] == "validation")
    for line in lines[1:]:
        step, loss, *_ = line.split(",")
        if not step.isdigit() or (int(step), loss == "") >= place:
            break
        kept.append(line)
    return kept


def _is_due(step: int, recipe: Recipe) -> bool:
    return step % recipe.validate_every == 0 or step == recipe.steps


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return str(int(value)) if isinstance(value, bool) else repr(value)
