"""One process's files, one after another: pictures, videos, and TIFFs that are streamed."""

import contextlib
import errno
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pixelwise.data.decode import IMAGE_EXTENSIONS, decode_image, image_info
from pixelwise.data.decoding.files import ImageInfo
from pixelwise.errors import BadOption, DataError, PixelwiseError
from pixelwise.flow.predicting.inputs import KINDS, VIDEOS, Picture, notes_of
from pixelwise.flow.predicting.overlap import BYTES, Overlapped
from pixelwise.flow.predicting.predicted import Outcome
from pixelwise.flow.predicting.tables import AREAS, COCO, Entry, Tables, frame_name
from pixelwise.flow.predicting.video import Video, filling, writing
from pixelwise.inference.coco import annotations
from pixelwise.inference.prediction import Prediction
from pixelwise.segmenter import Segmenter

SMALL = 2**18
"""Pixels of a picture up to which several are segmented at once, as many as there are cores, `AT_ONCE` at most.

A network's threads wait for each other at the end of each of many short layers, the longer if one has lost its core to
a file that is written; a core for each picture never waits (`benchmarks/predict_folder.py`).
"""
AT_ONCE = 4  # each takes a network's memory
MAPS = ("confidence", "entropy", "uncertainty")
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)  # what no other file will get over either
_CUT = 0.95  # of the announced frames, below which a video is said to be cut short; Matroska only estimates them


@dataclass(frozen=True)
class Job:
    """A file and its results: {kind: file}, of a video's frames {kind: folder}.

    Attributes:
        large: it is a TIFF that is streamed.
        left_out: kinds that are not made of it.
    """

    picture: Picture
    files: Mapping[str, Path]
    large: bool = False
    left_out: tuple[str, ...] = ()


class Run:
    """The files of one process, one after another.

    Args:
        options: of `Segmenter.predict`.
        asked: kinds.
        max_pixels: of a picture; None for the decoder's own limit.
        progress: called with pictures, frames and tiles that are done, and all.
    """

    def __init__(
        self,
        segmenter: Segmenter,
        options: Mapping[str, Any],
        asked: Sequence[str],
        tables: Tables,
        *,
        overwrite: bool,
        max_pixels: int | None,
        progress: Callable[[int, int], None],
    ) -> None:
        self._segmenter, self._options, self._asked, self._tables = segmenter, options, asked, tables
        self._overwrite, self._max_pixels, self._progress = overwrite, max_pixels, progress
        self._infos: dict[Picture, ImageInfo] = {}
        self._done = self._total = 0

    def outcomes(self, jobs: Sequence[Job], *, resume: bool) -> list[Outcome]:
        """What became of each, in their order."""
        todo = [job for job in jobs if not (resume and self._is_done(job))]
        self._lengths = {job.picture: _frames(job.picture.path) if job.picture.video else 1 for job in todo}
        self._done = len(jobs) - len(todo)
        self._total = self._done + sum(self._lengths.values())
        self._count(0)
        found: dict[Picture, Outcome] = {}
        for alone, group in itertools.groupby(todo, lambda job: job.large or job.picture.video):
            for outcome in self._alone(group) if alone else self._pictures(list(group)):
                found[Picture(outcome.file, outcome.name)] = outcome
        return [
            found.get(job.picture) or Outcome(job.picture.path, job.picture.name, "skipped", results=job.files)
            for job in jobs
        ]

    def _is_done(self, job: Job) -> bool:
        name = frame_name(job.picture.name, 0) if job.picture.video else job.picture.name
        return all(file.exists() for file in job.files.values()) and self._tables.has(name, large=job.large)

    def _count(self, done: int, more: int = 0) -> None:
        self._done += done
        self._total += more
        self._progress(self._done, max(self._total, self._done))

    def _pictures(self, jobs: Sequence[Job]) -> Iterator[Outcome]:
        def work(job: Job, pixels: NDArray[Any]) -> Prediction:
            return self._predict(pixels, job.picture.path.stem)

        cores = torch.get_num_threads()
        several: dict[str, Any] = {}
        if cores > 1 and self._splits:
            threads = min(cores, AT_ONCE)
            several = {
                "threads": threads,
                "small": lambda pixels: pixels.shape[0] * pixels.shape[1] <= SMALL,
                "begin": partial(torch.set_num_threads, cores // threads),
            }
        try:
            for job, found in Overlapped(self._weigh, self._read, work, self._write, **several).outcomes(jobs):
                if isinstance(found, Exception):
                    outcome = _failed(job, found)
                else:
                    entry, notes = found
                    self._tables.add([entry])
                    outcome = Outcome(
                        job.picture.path, job.picture.name, "written", entry.size, notes=notes, results=job.files
                    )
                self._count(1)
                yield outcome
        finally:
            torch.set_num_threads(cores)  # threads to come have those of who asked last

    @property
    def _splits(self) -> bool:
        """Whether several pictures may be segmented at once: each is a forward on a processor, and nothing is drawn."""
        device = next(self._segmenter.network.parameters()).device.type
        options = self._options
        refined = self._segmenter.refinement_for(options.get("crf")) is not None
        return (
            device == "cpu" and not refined and not options.get("samples") and options.get("engine", "torch") == "torch"
        )

    def _weigh(self, job: Job) -> int:
        """Bytes of the picture, its labels and its maps."""
        try:
            info = image_info(job.picture.path)
        except DataError:
            if self._max_pixels is None:
                raise
            return BYTES  # it may be larger than the usual limit
        self._infos[job.picture] = info
        height, width = info.size
        maps = 4 * sum(kind in self._asked for kind in MAPS)
        return height * width * (info.channels * np.dtype(info.dtype).itemsize + 4 + maps)

    def _read(self, job: Job) -> NDArray[Any]:
        limit = {} if self._max_pixels is None else {"max_pixels": self._max_pixels}
        return decode_image(job.picture.path, **limit)

    def _predict(self, pixels: NDArray[Any], name: str) -> Prediction:
        maps: dict[str, Any] = {"entropy": True} if "entropy" in self._asked else {}
        return self._segmenter.predict(
            pixels, name=name, confidence="confidence" in self._asked, **maps, **self._options
        )

    def _write(self, job: Job, prediction: Prediction) -> tuple[Entry, tuple[str, ...]]:
        for kind, file in job.files.items():
            if self._overwrite or not file.exists():
                prediction.save_as(kind, file)
        path, name = job.picture.path, job.picture.name
        file_name = name if name.endswith(path.suffix) else f"{name}{path.suffix}"
        info = self._infos.pop(job.picture, None)
        return self._entry(prediction, name, file_name), () if info is None else tuple(notes_of(path, info))

    def _entry(self, prediction: Prediction, name: str, file_name: str) -> Entry:
        """What the tables need of a picture."""
        height, width = prediction.labels.shape
        return Entry(
            name,
            file_name,
            (int(height), int(width)),
            prediction.areas() if AREAS in self._asked else None,
            annotations(prediction.labels, prediction.label_set) if COCO in self._asked else None,
        )

    def _alone(self, jobs: Iterator[Job]) -> Iterator[Outcome]:
        """Videos and streamed TIFFs."""
        for job in jobs:
            done, rest = self._done, self._total - self._lengths[job.picture]
            try:
                yield self._video(job) if job.picture.video else self._streamed(job)
            except Exception as error:
                yield _failed(job, error)
            self._done = max(self._done, done + 1)  # it failed at its beginning
            self._total = rest + self._done - done  # what was announced may be wrong
            self._count(0)

    def _video(self, job: Job) -> Outcome:
        path, name = job.picture.path, job.picture.name
        files = {kind: file for kind, file in job.files.items() if self._overwrite or not file.exists()}
        entries: list[Entry] = []
        with Video(path) as video, ExitStack() as stack:
            film = (
                stack.enter_context(writing(files["overlay"], video.rate, video.size)) if "overlay" in files else None
            )
            folders = {kind: stack.enter_context(filling(file)) for kind, file in files.items() if kind != "overlay"}

            def read(number: int) -> NDArray[np.uint8] | None:
                frame = video.read()
                if frame is not None and frame.shape[:2] != video.size:
                    raise DataError(
                        f"{path} changes its size at frame {number}, from {video.size} to {frame.shape[:2]}; expected "
                        "frames of one size: convert it"
                    )
                return frame

            def work(number: int, frame: NDArray[np.uint8] | None) -> Prediction | None:
                return None if frame is None else self._predict(frame, f"{path.stem}, frame {number},")

            def write(number: int, prediction: Prediction | None) -> Entry | None:
                if prediction is None:
                    return None
                if film is not None:
                    film.write(np.asarray(prediction.overlay()))
                own = frame_name(name, number)
                for kind, folder in folders.items():
                    prediction.save_as(kind, folder / f"{number:06}{KINDS[kind]}")
                return self._entry(prediction, own, f"{own}.png")

            weight = video.size[0] * video.size[1] * (3 + 4 + 4 * sum(kind in self._asked for kind in MAPS))
            stages = Overlapped(lambda number: weight, read, work, write, threads=1)
            with contextlib.closing(stages.outcomes(itertools.count())) as outcomes:
                for _, found in outcomes:
                    if isinstance(found, Exception):
                        raise found
                    if found is None:
                        break
                    entries.append(found)
                    self._count(1)
        self._tables.add(entries)
        notes = [f"{len(entries)} frames at {video.rate:g} a second, without sound"]
        if not video.tells_rate:
            notes.append(f"the file does not tell its rate: {video.rate:g} frames a second are taken")
        if film is not None and film.size != video.size:
            notes.append(f"the overlay is {film.size[1]} × {film.size[0]}, since a video's sides are even")
        error = None
        if len(entries) < _CUT * video.announced - 1:
            error = (
                f"{path} ends after {len(entries)} of {video.announced} frames: it may be damaged; copy it "
                "again, or use what there is"
            )
        return Outcome(path, name, "written", video.size, len(entries), tuple(notes), error, job.files)

    def _streamed(self, job: Job) -> Outcome:
        from pixelwise.flow.predicting.large import predict_large

        picture = job.picture
        if not job.files and AREAS not in self._asked:
            raise BadOption(f"{picture.path} is streamed in tiles, of which no {' or '.join(job.left_out)} can be made")
        files = {kind: file for kind, file in job.files.items() if self._overwrite or not file.exists()}
        told = 0

        def progress(done: int, total: int) -> None:
            nonlocal told
            self._count(done - told, total - 1 if told == 0 else 0)
            told = done

        found = predict_large(self._segmenter, picture.path, files, progress=progress, **self._options)
        areas = found.areas if AREAS in self._asked else None
        self._tables.add([Entry(picture.name, picture.path.name, found.size, areas, None)])
        notes = found.notes
        if job.left_out:
            notes += (f"it is streamed in tiles, of which no {' or '.join(job.left_out)} can be made",)
        return Outcome(picture.path, picture.name, "written", found.size, notes=notes, results=job.files)


def _frames(path: Path) -> int:
    """How many frames a video announces, at least 1."""
    try:
        with Video(path) as video:
            return max(video.announced, 1)
    except DataError:
        return 1


def _failed(job: Job, error: Exception) -> Outcome:
    """The outcome of a file of which nothing could be made.

    Raises:
        DataError: nothing will be made of any other file, either: the disk is full.
        Exception: it is a fault of ours.
    """
    path, line = job.picture.path, " ".join(str(error).split())
    if isinstance(error, PixelwiseError):
        if path.suffix.lower() not in IMAGE_EXTENSIONS and "no picture of a known kind" in line:
            line += f"; videos are {', '.join(sorted(VIDEOS))}"
    elif isinstance(error, OSError):
        if error.errno in _FULL:
            raise DataError(
                f"{error.filename or 'a result'} cannot be written ({error.strerror}); make room, and go on with "
                "--resume"
            ) from error
        line = f"{error.filename or path}: {error.strerror or line}"
    elif isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and "memory" in line):
        line = f"{path} is too large for the memory of this machine; give a smaller --tile, or cut it"
    else:
        raise error
    if str(path) not in line:
        line = f"{path}: {line}"
    return Outcome(path, job.picture.name, "failed", error=line)
