"""Predict files: pictures, videos, folders or globs → results beside each other, with the files' own names.

Reading, the network and writing overlap (`flow.predicting.overlap`). What goes wrong with one file stops no other.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from pixelwise.errors import BadOption, DataError, LabelError
from pixelwise.flow.machine import this_machine
from pixelwise.flow.predicting.inputs import KINDS, Picture
from pixelwise.flow.predicting.inputs import find_pictures as find_pictures
from pixelwise.flow.predicting.predicted import Predicted
from pixelwise.flow.predicting.resume import check_same, fingerprint, remove_remains, write_settings
from pixelwise.flow.predicting.segmenting import Job, Run
from pixelwise.flow.predicting.tables import FILES, JOURNAL, Tables
from pixelwise.inference.engine import Wanted
from pixelwise.inference.views import Scales, views_of
from pixelwise.processes import current
from pixelwise.segmenter import Segmenter

PICTURE_KINDS = ("mask", "overlay")  # where nothing is asked for
VIDEO_KINDS = ("overlay",)


def predict_files(
    segmenter: Segmenter,
    pictures: Sequence[Picture],
    out: Path,
    *,
    kinds: str | None = None,
    overwrite: bool = False,
    resume: bool = False,
    precision: Wanted = None,
    engine: str = "torch",
    scales: Scales = None,
    flip: bool = False,
    crf: bool | None = None,
    samples: int | None = None,
    tile: int | None = None,
    max_pixels: int | None = None,
    others: Sequence[Segmenter] = (),
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Predicted:
    """Segment files into OUT/mask/NAME.png, OUT/overlay/NAME.png …, OUT/areas.csv and OUT/coco.json.

    Several processes (`pixelwise.processes`) each take a part of the files.

    A file that cannot be read does not stop the others; it is named in `Predicted.faults`.

    Args:
        kinds: any of `KINDS`, areas and coco, separated by commas; mask and overlay if left out, of videos overlay.
            A video's overlay is a video; its other kinds are folders with a file for each frame.
        overwrite: replace what exists; without it nothing is written when some result exists.
        resume: leave out files whose results all exist; the settings must be those of the results that are there, as
            far as a record tells them.
        engine: see `Segmenter.predict`, as precision, scales, flip, crf and tile.
        samples: of Monte-Carlo dropout, for uncertainty.
        max_pixels: refuse larger pictures; `data.decoding.files.MAX_PIXELS` if left out.
        others: models whose probabilities are averaged with the segmenter's; they have the same classes.
        progress: called with pictures, frames and tiles that are done, and all.

    Raises:
        BadOption: a kind, a scale or an engine is unknown, or uncertainty is asked for without samples or dropout.
        LabelError: the classes of the models differ.
        DataError: a result exists already, or was made with other settings; or the disk is full.
    """
    asked = PICTURE_KINDS if kinds is None else _asked(kinds)
    _check_samples(segmenter, asked, samples, others)
    for other in others:
        _check_classes(segmenter, other)
    processes = current()
    jobs = [_job(picture, VIDEO_KINDS if kinds is None and picture.video else asked, out) for picture in pictures]
    tabled = [kind for kind in asked if kind in FILES]
    existing = [f for job in jobs for f in job.files.values() if f.exists()]
    existing += [out / FILES[kind] for kind in tabled if (out / FILES[kind]).exists()]
    if processes.leads and (overwrite or resume):
        remove_remains(out, KINDS, FILES.values())
    existing = processes.told(existing)  # before one of them writes
    if existing and not (overwrite or resume):
        raise DataError(f"{existing[0]} exists already; choose another --out, or --overwrite or --resume")
    for one in (segmenter, *others):
        one.network.to(this_machine().device)
    views = views_of(scales, flip=flip)
    own = segmenter.refinement_for(crf)
    settings = {
        "precision": segmenter.precision_for(precision, engine),
        "views": views.to_record(),
        "crf": None if own is None else own.to_record(),
        "models": [fingerprint(one) for one in (segmenter, *others)],
        "engine": engine,
        "samples": samples,
        "tile": tile,
    }
    going_on = resume and bool(existing or list(out.glob(f"{JOURNAL}*")))
    if going_on:
        check_same(settings, out)
    options: dict[str, Any] = {"precision": precision, "scales": views, "crf": crf}
    extras = {"engine": engine, "samples": samples, "tile": tile, "others": tuple(others)}
    options |= {name: value for name, value in extras.items() if value not in (None, (), "torch")}
    if engine != "torch" or others:
        _try(segmenter, options)
    if processes.leads and not going_on:
        write_settings(settings, out)
    with Tables(out, tabled, segmenter.labels, resume=resume, rank=processes.rank) as tables:
        run = Run(segmenter, options, asked, tables, overwrite=overwrite, max_pixels=max_pixels, progress=progress)
        outcomes = run.outcomes(jobs[processes.share(len(jobs))], resume=resume)
        added = processes.gathered(tables.added())
        if processes.leads:
            tables.write([picture.name for picture in pictures], itertools.chain.from_iterable(added))
    return Predicted(tuple(itertools.chain.from_iterable(processes.gathered(outcomes))), tables.paths)


def _asked(kinds: str) -> tuple[str, ...]:
    """The kinds of results, each once."""
    asked = tuple(dict.fromkeys(kind.strip() for kind in kinds.split(",") if kind.strip()))
    known = (*KINDS, *FILES)
    if not asked or not set(asked) <= set(known):
        raise BadOption(f"--save takes {', '.join(known)}, separated by commas; got {kinds!r}")
    return asked


def _check_samples(
    segmenter: Segmenter, asked: Sequence[str], samples: int | None, others: Sequence[Segmenter]
) -> None:
    """Uncertainty comes from samples, and samples from dropout."""
    if "uncertainty" in asked and samples is None:
        raise BadOption("--save uncertainty needs samples of Monte-Carlo dropout; say how many, as --samples 40")
    if samples is None:
        return
    if samples < 2:
        raise BadOption(f"--samples is at least 2, got {samples}")
    if others:
        raise BadOption("--samples is for one model; leave out --with, or the samples")
    if not any(isinstance(module, nn.Dropout) for module in segmenter.network.modules()):
        raise BadOption(
            f"{segmenter.architecture['builder']} has no dropout to sample; leave out --samples and uncertainty, or "
            "train a network with dropout, as bayesian_segnet"
        )


def _check_classes(one: Segmenter, other: Segmenter) -> None:
    """Models are averaged class by class."""
    mine, theirs = one.labels.names, other.labels.names
    if mine != theirs:
        place = next((i for i, (a, b) in enumerate(zip(mine, theirs, strict=False)) if a != b), None)
        differ = (
            f"{len(mine)} and {len(theirs)} classes"
            if place is None
            else f"{mine[place]!r} and {theirs[place]!r} as class {place}"
        )
        raise LabelError(f"the models have {differ}; only models of the same classes, in one order, can be averaged")


def _job(picture: Picture, asked: Sequence[str], out: Path) -> Job:
    """A file's results."""
    wanted = [kind for kind in asked if kind in KINDS]
    if picture.video:
        files = {kind: out / kind / picture.name for kind in wanted}
        if "overlay" in files:
            files["overlay"] = out / "overlay" / f"{picture.name}{picture.path.suffix.lower()}"
        return Job(picture, files)
    if _is_streamed(picture.path):
        from pixelwise.flow.predicting.large import SUFFIXES

        left_out = tuple(kind for kind in asked if kind not in SUFFIXES and kind != "areas")
        files = {kind: out / kind / f"{picture.name}{SUFFIXES[kind]}" for kind in wanted if kind in SUFFIXES}
        return Job(picture, files, large=True, left_out=left_out)
    return Job(picture, {kind: out / kind / f"{picture.name}{KINDS[kind]}" for kind in wanted})


def _is_streamed(path: Path) -> bool:
    if path.suffix.lower() not in (".tif", ".tiff"):
        return False
    from pixelwise.flow.predicting.large import streams

    return streams(path)


def _try(segmenter: Segmenter, options: Mapping[str, Any]) -> None:
    """Predict a small picture, so that an engine that cannot run is no fault of the first file."""
    pixels = np.zeros((64, 64, segmenter.normalization.channels), np.uint8)
    segmenter.predict(pixels, confidence=False, **{**options, "crf": False})
