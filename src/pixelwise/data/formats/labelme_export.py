"""What labelme_export_dataset (labelme_json_to_dataset) writes: a folder for each picture.

    <name>_json/img.png  label.png  label_names.txt  label_viz.png

label.png holds numbers, label_names.txt their names, one a line from 0; label_viz.png is for the eye. Each folder is
numbered by itself, so that folders with different names cannot be read together.
"""

from pathlib import Path

from pixelwise.data.answers import NOTHING, Answers
from pixelwise.data.formats.finding import into_splits, is_background, split_of_directory
from pixelwise.data.layout import Fault, Layout, normal, pictures_below, read_text
from pixelwise.data.sample import Pair
from pixelwise.errors import DataError, LabelError
from pixelwise.labels import LabelSet


def labelme_export_layout(root: Path, answers: Answers = NOTHING) -> Layout | None:
    """The layout of such folders; None where there are none, or where an answer says what the masks are.

    Raises:
        DataError: the folders number their classes differently.
    """
    if answers.masks is not None or answers.images is not None:
        return None
    listed: list[tuple[str | None, Pair]] = []
    names: dict[Path, tuple[str, ...]] = {}
    faults = []
    for directory, files in pictures_below(root).items():
        if not directory.name.lower().endswith("_json"):
            continue
        by_name = {file.name.lower(): file for file in files}
        image, mask = by_name.get("img.png"), by_name.get("label.png")
        if image is None:
            continue
        if mask is None:
            faults.append(
                Fault("warning", "orphan", image, f"{image} has no label.png and is left out", "export it again")
            )
            continue
        listed.append((split_of_directory(image, root), Pair(image, mask, normal(directory.name)[: -len("_json")])))
        told = directory / "label_names.txt"
        if told.is_file():
            names[told] = tuple(line.strip() for line in read_text(told).splitlines() if line.strip())
    if not listed:
        return None
    return Layout(
        root=root,
        name="LabelMe's export (a folder <name>_json for each picture)",
        rule="img.png with label.png of the same folder",
        splits=into_splits(listed, root),
        faults=tuple(faults),
        labels=_labels(names),
    )


def _labels(names: dict[Path, tuple[str, ...]]) -> tuple[LabelSet, ...]:
    if not names:
        return ()
    first = next(iter(names))
    for other, found in names.items():
        if found != names[first]:
            raise DataError(
                f"{first} and {other} name different classes, so that a number means two things; "
                "keep the folder of LabelMe's JSON files instead, or export all with the same labels"
            )
    try:
        return (LabelSet(tuple("background" if is_background(name) else name for name in names[first])),)
    except LabelError as error:
        raise DataError(f"{first}: {error}") from error
