"""Video files in and out, by OpenCV: frames in their order, and an overlay with the same size and rate.

OpenCV reads and writes pictures alone, so that sound is not copied. A video with a changing rate becomes one with its
mean rate.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # it prints what is wrong with a file; we say it

import cv2
import numpy as np
from numpy.typing import NDArray

from pixelwise.errors import DataError
from pixelwise.files import replacing

CODECS = {".mp4": "mp4v", ".mov": "mp4v", ".mkv": "mp4v", ".avi": "MJPG", ".webm": "VP80"}
"""What each kind of file is written with: those of OpenCV's packages, which have no H.264."""

RATE = 25.0  # frames a second where a file does not tell


class Video:
    """The frames of a video file, RGB, upright.

    Attributes:
        rate: frames a second, and whether the file tells.
        announced: how many frames its header says; 0 where it does not. Some formats only estimate it.
        size: (height, width) of the first frame.

    Raises:
        DataError: it cannot be opened, or not one frame can be read.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise DataError(f"there is no file {path}; check the path")
        with _quiet():
            self._capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
            there, frame = self._capture.read() if self._capture.isOpened() else (False, None)
        if not there or frame is None:
            self._capture.release()
            what = "is empty (0 bytes)" if path.stat().st_size == 0 else "is no video that can be read, or is damaged"
            raise DataError(f"{path} {what}; copy it again, or convert it to .mp4 with H.264 or MPEG-4")
        self._first: NDArray[Any] | None = frame
        rate = float(self._capture.get(cv2.CAP_PROP_FPS))
        self.tells_rate = bool(np.isfinite(rate) and 0 < rate < 1000)
        self.rate = rate if self.tells_rate else RATE
        self.announced = max(0, int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT)))
        self.size = int(frame.shape[0]), int(frame.shape[1])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._capture.release()

    def read(self) -> NDArray[np.uint8] | None:
        """The next frame, (H, W, 3) RGB; None behind the last one."""
        frame, self._first = self._first, None
        if frame is None:
            with _quiet():
                there, frame = self._capture.read()
            if not there or frame is None:
                return None
        color: NDArray[Any] = cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
        return color


@dataclass
class VideoWriter:
    """Writes frames (H, W, 3) RGB, one after the other; as `writing` opens it.

    Attributes:
        size: (height, width) that the codec takes: even numbers.
    """

    size: tuple[int, int]
    _writer: Any

    def write(self, frame: NDArray[np.uint8]) -> None:
        """Add a frame; the last row or column is left out where the size is odd."""
        height, width = self.size
        self._writer.write(cv2.cvtColor(np.ascontiguousarray(frame[:height, :width]), cv2.COLOR_RGB2BGR))


@contextmanager
def writing(path: Path, rate: float, size: tuple[int, int]) -> Iterator[VideoWriter]:
    """A video file that is there, whole, when the block ends well, and not at all when it does not.

    Args:
        rate: frames a second.
        size: (height, width) of the frames.

    Raises:
        DataError: this OpenCV cannot write such a file.
    """
    even = size[0] // 2 * 2, size[1] // 2 * 2
    if not min(even):
        raise DataError(f"{path}: a video of {size[1]} × {size[0]} pixels cannot be written; two are the least")
    with replacing(path) as beside:
        named = beside.with_name(f"{beside.name}{path.suffix}")  # OpenCV takes the format from the extension
        try:
            with _quiet(), _unheard() if path.suffix == ".webm" else nullcontext():
                writer = cv2.VideoWriter(
                    str(named), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*CODECS[path.suffix]), rate, even[::-1]
                )
            if not writer.isOpened():
                raise DataError(f"{path} cannot be written: this OpenCV has no codec for it; ask for mask frames alone")
            try:
                yield VideoWriter(even, writer)
            finally:
                writer.release()
            named.replace(beside)
        finally:
            named.unlink(missing_ok=True)


@contextmanager
def filling(path: Path) -> Iterator[Path]:
    """A folder beside `path` to write frames to; renamed to `path` when the block ends well, else removed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir()
    try:
        yield beside
        if path.exists():
            shutil.rmtree(path)
        beside.replace(path)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


@contextmanager
def _quiet() -> Iterator[None]:
    """OpenCV's own log, which goes to the terminal, is off."""
    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        cv2.utils.logging.setLogLevel(level)


@contextmanager
def _unheard() -> Iterator[None]:
    """What the process writes to its error stream is lost: of a WebM's codec OpenCV says there what is not so."""
    kept = os.dup(2)
    with open(os.devnull, "wb") as nothing:  # noqa: PTH123 – no file
        os.dup2(nothing.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
