"""Service: what the routes share – models, the queue, limits – and a picture's way through it."""

import asyncio
import hmac
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from starlette.requests import ClientDisconnect, Request

from pixelwise.data.decoding.files import ImageInfo
from pixelwise.errors import PixelwiseError
from pixelwise.flow.machine import this_machine
from pixelwise.inference.engine import Precision
from pixelwise.inference.prediction import Prediction
from pixelwise.server.batches import fit_together, predict_together
from pixelwise.server.corrections import Corrections
from pixelwise.server.jobs import Job, Jobs
from pixelwise.server.metrics import Metrics
from pixelwise.server.models import ServedModel
from pixelwise.server.options import Options
from pixelwise.server.pictures import inspect
from pixelwise.server.refusals import Refusal
from pixelwise.server.settings import Settings
from pixelwise.server.uploads import FORM, TOGETHER, Budget, Held, Part, media_type, parts_of, read_body

TALKERS = 2  # threads that read headers and make answers
GPU_BATCH = 8

Value = TypeVar("Value")


class Service:
    """The state of one server.

    Attributes:
        draining: it is about to end.
        active: requests under way that it ends only after.

    Raises:
        DataError: the folder of corrections has other classes.
    """

    def __init__(self, models: Sequence[ServedModel], settings: Settings) -> None:
        self.settings = settings
        self.models = {model.name: model for model in models}
        self.default = models[0]
        self.corrections = (
            None if settings.read_only else Corrections(settings.corrections, models, local=settings.local)
        )
        device = this_machine().device
        for model in models:
            model.segmenter.network.to(device).eval()
        batch = settings.batch or (GPU_BATCH if device.type == "cuda" else 1)
        self.jobs = Jobs(_predict, size=settings.queue, batch=batch, threads=settings.threads, told=self._passed)
        self.metrics = Metrics(lambda: self.jobs.waiting)
        self.budget = Budget(TOGETHER * settings.max_bytes)
        self.draining = False
        self.active = 0
        self._talkers = ThreadPoolExecutor(TALKERS, thread_name_prefix="talk")

    def warm(self) -> None:
        """Predict once with each model, so that no client waits for what the first picture needs."""
        for model in self.models.values():
            shape = (64, 64, model.segmenter.normalization.channels)
            model.segmenter.predict(np.zeros(shape, np.uint8))

    def close(self) -> None:
        """Finish what waits, and end the threads."""
        self.jobs.close(self.settings.timeout)
        self._talkers.shutdown(wait=True, cancel_futures=True)

    def check_token(self, header: str | None) -> None:
        """Refuse who does not show the token, in a time that tells nothing of it."""
        if self.settings.token is None:
            return
        scheme, _, shown = (header or "").partition(" ")
        right = hmac.compare_digest(shown.strip().encode("utf-8", "replace"), self.settings.token.encode())
        if not right or scheme.lower() != "bearer":
            raise Refusal("unauthorized", "this server wants a token: send Authorization: Bearer TOKEN")

    def model(self, name: str | None) -> ServedModel:
        """The model of a name, the first for None."""
        if name is None:
            return self.default
        if name not in self.models:
            raise Refusal("unknown_model", f"no model has this name; there are {', '.join(self.models)}")
        return self.models[name]

    @contextmanager
    def working(self) -> Iterator[None]:
        """A request under way."""
        if self.draining:
            raise Refusal("shutting_down", "the server is shutting down; try another, or later", retry_after=5)
        self.active += 1
        try:
            yield
        finally:
            self.active -= 1

    async def talk(self, function: Callable[..., Value], *arguments: Any) -> Value:
        """What a function gives, called beside the loop."""
        return await asyncio.get_running_loop().run_in_executor(self._talkers, function, *arguments)

    async def upload(self, request: Request, held: Held) -> dict[str, Part]:
        """The parts of a form; of other bodies one part, called image."""
        content_type, parameters = media_type(request.headers.get("content-type"))
        form = content_type == FORM
        if content_type and not form and not content_type.startswith("image/") and "octet-stream" not in content_type:
            raise Refusal(
                "unsupported_media",
                f"the Content-Type is {content_type[:60]!r}; send a picture's bytes as image/… or "
                "application/octet-stream, or a multipart/form-data with the file in 'image'",
            )
        body = await read_body(request.stream(), request.headers.get("content-length"), self.settings, held, form=form)
        if form:
            return await self.talk(parts_of, body, parameters.get("boundary", ""), self.settings)
        return {"image": Part("image", body, content_type)}

    async def segment(
        self, request: Request, part: Part, model: ServedModel, options: Options, confidence: bool
    ) -> Job:
        """A job that is done; `jobs.leave` must follow.

        Raises:
            Refusal: the picture, its options, or there is no place or time.
            ClientDisconnect: the client left.
        """
        data = bytes(part.content)
        part.content.clear()
        info = await self.talk(inspect, data, part.content_type, self.settings.max_pixels)
        options.check(info.size, self.settings.max_pixels)
        job = Job(data, model, options, self._key(model, options, info, confidence), confidence)
        del data  # the job drops it when it is decoded
        self.jobs.enter(job)
        try:
            await self._done(job, request)
        except BaseException:
            self.jobs.leave(job)
            raise
        return job

    async def _done(self, job: Job, request: Request) -> None:
        """Wait for a job, as long as there is time and the client is there."""
        done = asyncio.wrap_future(job.future)
        gone = asyncio.ensure_future(_left(request.receive))
        try:
            both: set[asyncio.Future[Any]] = {done, gone}
            await asyncio.wait(both, timeout=self.settings.timeout, return_when=asyncio.FIRST_COMPLETED)
            if done.done():
                done.result()
            elif gone.done():
                self.metrics.left.inc()
                raise ClientDisconnect
            else:
                raise Refusal(
                    "timed_out",
                    f"the picture was not segmented within {self.settings.timeout:g} seconds; try a smaller one, or "
                    "later",
                    retry_after=5,
                )
        finally:
            gone.cancel()
            if not done.done():
                done.cancel()

    def _key(self, model: ServedModel, options: Options, info: ImageInfo, confidence: bool) -> tuple[Any, ...] | None:
        """What jobs must have in common for one pass; None for those that go alone."""
        views = options.views
        if self.jobs.batch == 1 or not views.once or views.flip:
            return None
        size = info.size
        if not fit_together(model.segmenter, size):
            return None
        return model.name, options.precision, options.crf, confidence, size, info.channels, info.dtype

    def _passed(self, count: int, seconds: float) -> None:
        self.metrics.passed(count, seconds)


def _predict(jobs: Sequence[Job], pictures: Sequence[NDArray[Any]]) -> list[Prediction]:
    """The predictions of jobs with one key, in the thread that predicts."""
    first = jobs[0]
    options, segmenter = first.options, first.model.segmenter
    precision: Precision | None = None if options.precision == "auto" else options.precision
    if len(jobs) > 1:
        alike = len({(picture.shape, picture.dtype) for picture in pictures}) == 1
        if alike:
            return predict_together(
                segmenter, pictures, precision=precision, confidence=first.confidence, crf=options.crf
            )
    return [
        segmenter.predict(
            picture,
            precision=precision,
            scales=options.views,
            confidence=first.confidence,
            crf=options.crf,
        )
        for picture in pictures
    ]


async def _left(receive: Callable[[], Awaitable[Any]]) -> None:
    """Return when the client is gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


def fits(model: ServedModel, options: Options) -> None:
    """Refuse options that the model cannot do, before the picture waits."""
    try:
        model.segmenter.refinement_for(options.crf)
    except PixelwiseError as error:
        raise Refusal("bad_option", " ".join(str(error).split())) from None
