"""Tune a dense CRF behind a model on pictures with masks, and store it in the model file where it helps."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from pixelwise.data.answers import NOTHING, Answers
from pixelwise.errors import BadOption, DataError, LabelError
from pixelwise.flow.machine import this_machine
from pixelwise.flow.opened_part import open_part, trained_with
from pixelwise.inference.crf_search import PAPER_GRID, CRFSearch, Grid, search_crf
from pixelwise.inference.refine import Refinement
from pixelwise.segmenter import Segmenter
from pixelwise.weights.catalogue import CATALOGUE
from pixelwise.weights.opening import load

ORDER = ("val", "all", "train", "test")
"""The parts of a folder, in the order in which a search looks for one; test is last, as it is there to be measured on.
Of "all" and "train" the pictures that the model was trained on are left out, which leaves those that fit held back."""

MEASURED = "; measured before a CRF was tuned for the model"


@dataclass(frozen=True)
class Tuned:
    """What a search found, and what became of it.

    Attributes:
        part: what the pictures are of, and which of it were left out.
        stored: the model file that has the CRF now; None where nothing was written.
        earlier: the CRF that the model had before; where nothing was stored it has it still.
        seconds: of the whole search.
        fault: why nothing was written though it helped; "" elsewhere.
    """

    part: str
    search: CRFSearch
    stored: Path | None
    earlier: Refinement | None
    seconds: float
    fault: str = ""

    def to_record(self) -> dict[str, Any]:
        """What `--json` prints."""
        return {
            "split": self.part,
            **self.search.to_record(),
            "stored": None if self.stored is None else str(self.stored),
            "earlier": None if self.earlier is None else self.earlier.to_record(),
            "seconds": round(self.seconds, 1),
            "fault": self.fault,
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
    on, lies above 0, which is judged from `LEAST_PICTURES` on. Then the model file is written anew, whole or not at
    all, with the CRF in its record; the rest stays as it was. Else nothing is written. A model file that cannot be
    written after the search, or was written anew meanwhile, costs no search: `Tuned.fault` says so.

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
        DataError: the model was trained on class folders, or on all these pictures; some have no masks, or none a
            labeled pixel; the file is write-protected, or its folder.
        LabelError, ShapeError: see `open_part`.
    """
    if pictures < 2:
        raise BadOption(
            f"--pictures must be 2 or more, as settings are chosen on some and measured on others: {pictures}"
        )
    if out is None and str(model) in CATALOGUE and not model.is_file():
        raise BadOption(f"{model} are published weights, which stay as they are; give a new model file with --out")
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
    segmenter.network.to(machine.device)
    began = time.monotonic()
    search = search_crf(
        segmenter.engine(),
        segmenter.normalization,
        opened.data,
        pictures=pictures,
        grid=_grid_with(segmenter.refinement),
        memory_bytes=machine.memory_bytes // 4,
        progress=progress,
    )
    seconds = time.monotonic() - began
    earlier = segmenter.refinement
    fault = ""
    if search.helped:
        told = "the folder" if opened.split == "all" else opened.split
        if opened.name != opened.split:
            told += ", without those that the model was trained on"
        segmenter.refinement = search.refinement(told)
        if earlier is None and "protocol" in segmenter.scores:
            segmenter.scores = {**segmenter.scores, "protocol": f"{segmenter.scores['protocol']}{MEASURED}"}
        fault = _save(segmenter, target, changed=target == model and _state(model) != state)
    return Tuned(opened.name, search, target if search.helped and not fault else None, earlier, seconds, fault)


def _save(segmenter: Segmenter, target: Path, *, changed: bool) -> str:
    """Write the model file; why that could not be, or nothing.

    Args:
        changed: the file is another one than before the search.
    """
    if changed:
        return (
            f"{target} was written anew while its CRF was tuned, and stays so: the CRF is not stored; tune it again, "
            "or give a new model file with --out"
        )
    try:
        segmenter.save(target)
    except OSError as error:
        return (
            f"the model with its CRF could not be written to {target} ({error.strerror or error}), where all is as it "
            "was; make room, or give a new model file elsewhere with --out"
        )
    return ""


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
    if path.exists() and not (path.stat().st_mode & 0o222 and os.access(path, os.W_OK)):  # root may write anything
        raise DataError(
            f"{path} is write-protected, so that no CRF is stored in it; give a new model file with --out, or make it "
            "writable"
        )
    place = next(folder for folder in path.resolve().parents if folder.exists())
    try:
        with TemporaryFile(dir=place):
            pass
    except OSError as error:
        raise DataError(
            f"no file can be written into {place} ({error.strerror}); give a new model file elsewhere with --out"
        ) from error
