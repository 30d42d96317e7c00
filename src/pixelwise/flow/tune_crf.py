"""Tune a dense CRF behind a model on pictures with masks, and store it in the model file where it helps."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from pixelwise.data.answers import NOTHING, Answers
from pixelwise.errors import BadOption, DataError, LabelError
from pixelwise.flow.evaluate import open_part, trained_with
from pixelwise.flow.machine import this_machine
from pixelwise.inference.crf_search import PAPER_GRID, CRFSearch, Grid, search_crf
from pixelwise.inference.refine import Refinement
from pixelwise.segmenter import load

ORDER = ("val", "all", "train", "test")
"""The parts of a folder, in the order in which a search looks for one; test is last, as it is there to be measured on.
Of "all" and "train" the pictures that the model was trained on are left out, which leaves those that fit held back."""

MEASURED = "; measured before a CRF was tuned for the model"


@dataclass(frozen=True)
class Tuned:
    """What a search found, and what became of it.

    Attributes:
        part: what the pictures are of, and which of it were left out.
        stored: the model file that has the CRF now; None where it did not help, and nothing was written.
        earlier: the CRF that the model had before; where nothing was stored it has it still.
        seconds: of the whole search.
    """

    part: str
    search: CRFSearch
    stored: Path | None
    earlier: Refinement | None
    seconds: float

    def to_record(self) -> dict[str, Any]:
        """What `--json` prints."""
        return {
            "split": self.part,
            **self.search.to_record(),
            "stored": None if self.stored is None else str(self.stored),
            "earlier": None if self.earlier is None else self.earlier.to_record(),
            "seconds": round(self.seconds, 1),
        }


def tune_crf(
    model: Path,
    folder: Path,
    *,
    dataset: str | None = None,
    split: str | None = None,
    pictures: int = 100,
    answers: Answers = NOTHING,
    classes: Path | None = None,
    out: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Tuned:
    """Search the CRF's settings for a model on pictures that it was not trained on, and keep them if they help.

    It helps where the 95 % interval of the gain in mean IoU, measured on pictures that the settings were not chosen
    on, lies above 0. Then the model file is written anew, whole or not at all, with the CRF in its record; the rest
    stays as it was. Else nothing is written.

    Args:
        model: a model file.
        folder: pictures with masks, read as `open_part` reads them.
        split: which part; the first of `ORDER` that the folder has, if left out.
        pictures: at most so many of it.
        out: a new model file; `model` itself if left out.
        progress: called with (done, all).

    Raises:
        CheckpointError: `model` is no model file.
        BadOption: fewer than 2 pictures are asked for, or `out` exists already.
        DataError: the model was trained on class folders, or on all these pictures; some have no masks; the file
            cannot be written, or was changed meanwhile.
        LabelError, ShapeError: see `open_part`.
    """
    if pictures < 2:
        raise BadOption(
            f"--pictures must be 2 or more, as settings are chosen on some and measured on others: {pictures}"
        )
    state = _state(model)
    segmenter = load(model)
    target = model if out is None else out
    _check_target(target, is_new=out is not None)
    if trained_with(segmenter) == "folders":
        raise DataError(
            f"{model} was trained on class folders, without masks, and its coarse maps have no edges to refine; "
            "give a model that was trained on masks"
        )
    if segmenter.ends_in_crf:
        raise DataError(
            f"the network of {model} ends in a CRF of its own, which is trained with it; there is none to tune"
        )
    opened = open_part(segmenter, folder, dataset=dataset, split=split, order=ORDER, answers=answers, classes=classes)
    if opened.trained_on:
        raise DataError(
            f"the model was trained on all {len(opened.data)} pictures of {folder}, on which a CRF cannot be judged; "
            f"give others, or take them all the same with --split {opened.split}"
        )
    bare = [pair.name for pair in opened.data.pairs if pair.mask is None]
    if bare:
        raise DataError(f"{bare[0]} in {folder} has no mask; a CRF is tuned on pictures with masks")
    names = opened.data.labels["labels"].names
    if names != segmenter.labels.names:
        raise LabelError(
            f"the model has the classes {', '.join(segmenter.labels.names)}, the data {', '.join(names)}; "
            "tune on data with the same classes in the same order"
        )
    machine = this_machine()
    segmenter.network.to(machine.device).eval()
    began = time.monotonic()
    search = search_crf(
        segmenter.network,
        segmenter.normalization,
        opened.data,
        pictures=pictures,
        grid=_grid_with(segmenter.refinement),
        precision=segmenter.precision,
        memory_bytes=machine.memory_bytes // 4,
        progress=progress,
    )
    seconds = time.monotonic() - began
    earlier = segmenter.refinement
    if search.helped:
        told = opened.split if opened.name == opened.split else f"{opened.split} that the model was not trained on"
        segmenter.refinement = search.refinement(told)
        if earlier is None and "protocol" in segmenter.scores:
            segmenter.scores = {**segmenter.scores, "protocol": f"{segmenter.scores['protocol']}{MEASURED}"}
        if target == model and _state(model) != state:
            raise DataError(f"{model} was written anew while its CRF was tuned, and stays so; tune it again")
        segmenter.save(target)
    return Tuned(opened.name, search, target if search.helped else None, earlier, seconds)


def _grid_with(earlier: Refinement | None) -> Grid:
    """The paper's grid, and the settings that the model has, so that a search does not end with worse ones."""
    if earlier is None:
        return PAPER_GRID
    p = earlier.parameters
    own = (p.bilateral_weight, p.bilateral_sigma_pixels, p.bilateral_sigma_color)
    return Grid(*(tuple(sorted({*axis, value})) for axis, value in zip(PAPER_GRID.axes, own, strict=True)))


def _state(path: Path) -> tuple[int, int] | None:
    """What tells a file from one that replaced it."""
    found = path.stat() if path.exists() else None
    return None if found is None else (found.st_mtime_ns, found.st_size)


def _check_target(path: Path, *, is_new: bool) -> None:
    """Refuse before the search what could not be written after it."""
    if is_new and path.exists():
        raise BadOption(f"{path} exists already; choose another --out, or leave it out to store the CRF in the model")
    place = next(folder for folder in path.absolute().parents if folder.exists())
    try:
        with TemporaryFile(dir=place):
            pass
    except OSError as error:
        raise DataError(
            f"no file can be written into {place} ({error.strerror}); give a new model file elsewhere with --out"
        ) from error
