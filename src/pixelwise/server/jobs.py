"""Jobs: a bounded queue, one thread that decodes and one that predicts.

Pictures wait as the bytes that came. The first thread takes one at a time, with those that wait behind it and can share
its pass through the network, and decodes them while the second predicts what came before. Few are decoded at a time:
until an answer is made, a picture that was taken counts, and no more are taken than `ahead`.
"""

import math
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import torch
from numpy.typing import NDArray

from pixelwise.errors import BadOption, PixelwiseError
from pixelwise.inference.prediction import Prediction
from pixelwise.server.models import ServedModel
from pixelwise.server.options import Options
from pixelwise.server.pictures import decode
from pixelwise.server.refusals import Refusal


@dataclass(eq=False)
class Job:
    """A picture that is to be segmented.

    Attributes:
        key: jobs with equal keys may go through the network together; None for one that goes alone.
        confidence: the probabilities are wanted.
        seconds: what it took: "wait", "decode", "predict".
        taken: it left the queue.
    """

    data: bytes
    model: ServedModel
    options: Options
    key: Hashable | None
    confidence: bool
    future: "Future[Prediction]" = field(default_factory=Future)
    seconds: dict[str, float] = field(default_factory=dict)
    entered: float = field(default_factory=time.perf_counter)
    taken: bool = False


Predict = Callable[[Sequence[Job], Sequence[NDArray[Any]]], list[Prediction]]


class Jobs:
    """The queue and its threads.

    Args:
        predict: what gives the predictions of jobs with one key.
        size: jobs that may wait.
        batch: jobs that may share a pass.
        threads: that torch computes with.
        told: called with the number of jobs of each pass, and its seconds.
    """

    def __init__(
        self,
        predict: Predict,
        *,
        size: int,
        batch: int = 1,
        threads: int | None = None,
        told: Callable[[int, float], None] = lambda count, seconds: None,
    ) -> None:
        self.size, self.batch, self.threads = size, batch, threads
        self.ahead = 2 * batch + 2
        self._predict, self._told = predict, told
        self._waiting: deque[Job] = deque()
        self._out = 0
        self._mean = 0.1  # seconds a job
        self._changed = threading.Condition()
        self._closed = False
        self._decoded: queue.Queue[tuple[list[Job], list[NDArray[Any]]] | None] = queue.Queue(maxsize=1)
        self._workers = [
            threading.Thread(target=self._decode_all, name="decode", daemon=True),
            threading.Thread(target=self._predict_all, name="predict", daemon=True),
        ]
        for worker in self._workers:
            worker.start()

    @property
    def waiting(self) -> int:
        """Jobs in the queue."""
        return len(self._waiting)

    @property
    def busy(self) -> int:
        """Jobs in the queue and those taken from it that have not left."""
        return len(self._waiting) + self._out

    def enter(self, job: Job) -> None:
        """Put a job into the queue; `leave` must follow, whatever becomes of it.

        Raises:
            Refusal: queue_full, with the seconds after which there should be place; or shutting_down.
        """
        with self._changed:
            if self._closed:
                raise Refusal("shutting_down", "the server is shutting down; try another, or later", retry_after=5)
            if len(self._waiting) >= self.size:
                raise Refusal(
                    "queue_full",
                    f"{len(self._waiting)} pictures wait already; try again later",
                    retry_after=max(1, math.ceil(self._mean * len(self._waiting))),
                )
            self._waiting.append(job)
            self._changed.notify_all()

    def leave(self, job: Job) -> None:
        """Its answer is made, or no longer wanted: a job that waits is dropped."""
        job.future.cancel()
        with self._changed:
            if job.taken:
                job.taken = False
                self._out -= 1
            elif job in self._waiting:
                self._waiting.remove(job)
            self._changed.notify_all()

    def close(self, timeout: float | None = None) -> None:
        """Take no more jobs, do those that are there, and end."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for worker in self._workers:
            worker.join(timeout)

    def _take(self) -> list[Job]:
        """The next jobs, empty at the end."""
        with self._changed:
            while not self._waiting or self._out >= self.ahead:
                if self._closed and not self._waiting:
                    return []
                self._changed.wait()
            taken = [self._waiting.popleft()]
            if taken[0].key is not None:
                alike = [job for job in self._waiting if job.key == taken[0].key][: self.batch - 1]
                for job in alike:
                    self._waiting.remove(job)
                taken += alike
            for job in taken:
                job.taken = True
                self._out += 1
            return taken

    def _decode_all(self) -> None:
        while self._decode(self._take()):
            pass
        self._decoded.put(None)

    def _decode(self, taken: Sequence[Job]) -> bool:
        """Hand on the pictures of some jobs; False where there are none. Nothing is held when it is done."""
        jobs, pictures = [], []
        for job in taken:
            if not job.future.set_running_or_notify_cancel():
                continue
            begun = time.perf_counter()
            job.seconds["wait"] = begun - job.entered
            try:
                picture = decode(job.data)
            except Exception as error:
                job.future.set_exception(error)
                continue
            job.data = b""
            job.seconds["decode"] = time.perf_counter() - begun
            jobs.append(job)
            pictures.append(picture)
        if jobs:
            self._decoded.put((jobs, pictures))
        return bool(taken)

    def _predict_all(self) -> None:
        if self.threads is not None:
            torch.set_num_threads(self.threads)
        while self._run(self._decoded.get()):
            pass

    def _run(self, decoded: tuple[list[Job], list[NDArray[Any]]] | None) -> bool:
        """Predict; False at the end."""
        if decoded is None:
            return False
        jobs, pictures = decoded
        begun = time.perf_counter()
        try:
            predictions = self._predict(jobs, pictures)
        except Exception as error:
            for job in jobs:
                job.future.set_exception(refusal_of(error))
            return True
        seconds = time.perf_counter() - begun
        self._mean += 0.2 * (seconds / len(jobs) - self._mean)
        self._told(len(jobs), seconds)
        for job, prediction in zip(jobs, predictions, strict=True):
            job.seconds["predict"] = seconds
            job.future.set_result(prediction)
        return True


def refusal_of(error: Exception) -> Exception:
    """What a client is told of an error at predicting; those of our own code stay what they are."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError) or "alloc" in str(error).lower():
        return Refusal("no_memory", "there is no memory for this picture; send a smaller one", retry_after=5)
    if isinstance(error, PixelwiseError):
        return Refusal("bad_option" if isinstance(error, BadOption) else "bad_picture", " ".join(str(error).split()))
    return error
