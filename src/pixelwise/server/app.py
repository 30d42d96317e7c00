"""App: the routes of the server and their description."""

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from pixelwise.server.answers import png, record
from pixelwise.server.guard import Guard, refuse
from pixelwise.server.metrics import CONTENT_TYPE
from pixelwise.server.models import ServedModel, ticket_opens
from pixelwise.server.options import Options, refused
from pixelwise.server.page_files import page_files
from pixelwise.server.records import Models, Refused, SavedPair, Segmented, State
from pixelwise.server.refusals import STATUS, Refusal
from pixelwise.server.screening import TYPES
from pixelwise.server.service import Service, fits
from pixelwise.server.settings import Settings
from pixelwise.version import VERSION

COUNTED = ("/", "/healthz", "/readyz", "/metrics", "/v1/models", "/v1/segment", "/v1/corrections")
"""Routes that have numbers of their own."""

LEFT = 499  # nobody receives it: the client has left
REPORT_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:; font-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; sandbox allow-scripts allow-popups"
)
BINARY = {"type": "string", "format": "binary"}
ABOUT = """Semantic segmentation by REST.

    curl -F image=@photo.jpg 'http://127.0.0.1:8000/v1/segment' > mask.png
    curl -F image=@photo.jpg 'http://127.0.0.1:8000/v1/segment?output=json'

Errors have one shape: `{"error": {"code": "too_large", "message": "…"}}`. With 429 and 503 the header Retry-After
tells after how many seconds to try again.
"""


def create_app(models: Sequence[ServedModel], settings: Settings | None = None) -> FastAPI:
    """The application that serves some models, the first of them by default.

    Raises:
        DataError: the folder of corrections has other classes than a model.
    """
    settings = settings or Settings()
    service = Service(models, settings)

    @asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        yield
        await service.talk(service.jobs.close, settings.timeout)
        service.close()

    app = FastAPI(
        title="pixelwise",
        version=VERSION,
        description=ABOUT,
        docs_url=None,
        redoc_url=None,
        lifespan=life,
        redirect_slashes=False,
        responses=_refusals("wrong_host"),
    )
    app.state.service = service
    app.include_router(_health(service))
    app.include_router(_v1(service))
    app.include_router(_page())
    app.add_middleware(Guard, settings=settings, metrics=service.metrics, routes=COUNTED)

    @app.exception_handler(Refusal)
    async def refusal(request: Request, error: Refusal) -> Response:
        return refuse(request.scope, error)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        return refuse(request.scope, refused(error.errors()))

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> Response:
        code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "bad_request")
        message = {404: "there is nothing here", 405: "this address takes other methods"}.get(
            error.status_code, str(error.detail)
        )
        answer = refuse(request.scope, Refusal(code, message))
        answer.headers.update(error.headers or {})
        return answer

    @app.exception_handler(ClientDisconnect)
    async def left(request: Request, error: ClientDisconnect) -> Response:
        return Response(status_code=LEFT)

    app.openapi = lambda: _description(app, settings, [model.name for model in models])  # type: ignore[method-assign]  # FastAPI's documented way
    return app


def service_of(app: FastAPI) -> Service:
    """What `create_app` put behind an application."""
    service: Service = app.state.service
    return service


def _refusals(*codes: str) -> dict[int | str, dict[str, Any]]:
    """The refusals of a route, for its description."""
    found: dict[int | str, dict[str, Any]] = {}
    for code in codes:
        before = found.get(STATUS[code], {}).get("description")
        found[STATUS[code]] = {"model": Refused, "description": f"{before}, {code}" if before else code}
    return found


def _health(service: Service) -> APIRouter:
    router = APIRouter(tags=["state"])

    @router.get("/healthz", response_model=State, summary="Whether the process lives")
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @router.get(
        "/readyz", response_model=State, summary="Whether it takes requests", responses=_refusals("shutting_down")
    )
    async def readyz() -> dict[str, str]:
        if service.draining:
            raise Refusal("shutting_down", "the server is shutting down", retry_after=5)
        return {"status": "ready"}

    @router.get(
        "/metrics",
        response_class=Response,
        summary="Numbers for Prometheus",
        dependencies=[Depends(_shown_token)],
        responses=_refusals("unauthorized") | {200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
    )
    async def metrics() -> Response:
        return Response(service.metrics.text(), media_type=CONTENT_TYPE)

    return router


async def _shown_token(request: Request) -> None:
    service_of(request.app).check_token(request.headers.get("authorization"))


def _v1(service: Service) -> APIRouter:
    router = APIRouter(prefix="/v1", tags=["v1"])
    settings = service.settings

    @router.get(
        "/models",
        response_model=Models,
        summary="Models, classes, limits",
        dependencies=[Depends(_shown_token)],
        responses=_refusals("unauthorized"),
    )
    async def models() -> dict[str, Any]:
        return {
            "version": VERSION,
            "corrections": service.corrections is not None,
            "limits": {
                "bytes": settings.max_bytes,
                "pixels": settings.max_pixels,
                "queue": settings.queue,
                "timeout_seconds": settings.timeout,
            },
            "models": [
                model.record(default=model is service.default, token=settings.token)
                for model in service.models.values()
            ],
        }

    @router.get("/models/{name}/report", include_in_schema=False)
    async def report(request: Request, name: str, ticket: str = "") -> Response:
        if settings.token is None or not ticket_opens(name, ticket, settings.token):
            service.check_token(request.headers.get("authorization"))
        path = service.model(name).report
        try:
            content = None if path is None else await service.talk(path.read_bytes)
        except OSError:  # it went away
            content = None
        if content is None:
            raise Refusal("not_found", "this model has no report")
        return Response(
            content, media_type="text/html; charset=utf-8", headers={"Content-Security-Policy": REPORT_POLICY}
        )

    @router.post(
        "/segment",
        response_class=Response,
        summary="Segment a picture",
        dependencies=[Depends(_shown_token)],
        openapi_extra={"requestBody": _segment_body()},
        responses=_refusals(*BODY, "unknown_model", "bad_option", "bad_picture", "queue_full", "timed_out", "no_memory")
        | {
            200: {
                "model": Segmented,
                "description": "A PNG, or JSON; see `output`.",
                "content": {"image/png": {"schema": BINARY}},
            }
        },
    )
    async def segment(request: Request, options: Annotated[Options, Query()]) -> Response:
        with service.working(), service.budget.body() as held:
            if options.model is not None:
                service.model(options.model)
            parts = await service.upload(request, held)
            part = _taken(parts, "image")
            options = options.with_fields(_texts(parts))
            model = service.model(options.model)
            fits(model, options)
            output = options.output or _negotiated(request)
            confidence = output in ("confidence", "json")
            job = await service.segment(request, part, model, options, confidence)
            try:
                return await service.talk(_answer, service, job, output)
            finally:
                service.jobs.leave(job)

    @router.post(
        "/corrections",
        status_code=201,
        response_model=SavedPair,
        summary="Save a picture with its corrected mask",
        dependencies=[Depends(_shown_token)],
        openapi_extra={"requestBody": _corrections_body()},
        responses=_refusals(
            *BODY, "read_only", "unknown_model", "bad_option", "bad_picture", "bad_mask", "queue_full", "no_space"
        ),
    )
    async def correct(request: Request) -> Any:
        if service.corrections is None:
            raise Refusal("read_only", "this server saves no corrections (--read-only)")
        with service.working(), service.budget.body() as held:
            parts = await service.upload(request, held)
            image, mask = _taken(parts, "image"), _taken(parts, "mask")
            fields = _texts(parts)
            name = fields.pop("model", None)
            if fields:
                raise Refusal("bad_option", f"{min(fields)[:60]}: there is no such field")
            model = service.model(name)
            saved = await service.talk(
                service.corrections.save,
                model,
                bytes(image.content),
                bytes(mask.content),
                settings.max_pixels,
                (image.content_type, mask.content_type),
            )
            service.metrics.corrections.labels(model.name).inc()
            return vars(saved)

    return router


BODY = (
    "bad_request",
    "unauthorized",
    "cross_origin",
    "body_timeout",
    "too_large",
    "unsupported_media",
    "shutting_down",
)
"""Refusals of every upload."""


def _page() -> APIRouter:
    router = APIRouter()
    files = page_files()

    def answer(name: str) -> Response:
        if name not in files:
            raise Refusal("not_found", "there is nothing here")
        content, media_type = files[name]
        return Response(content, media_type=media_type, headers={"Cache-Control": "no-cache"})

    @router.get("/", include_in_schema=False)
    async def index() -> Response:
        return answer("index.html")

    @router.get("/page/{name:path}", include_in_schema=False)
    async def page(name: str) -> Response:
        return answer(name)

    return router


def _taken(parts: dict[str, Any], name: str) -> Any:
    """A file of a form, taken out of it."""
    if name not in parts:
        raise Refusal("bad_request", f"the form has no {name!r}; send the file under this name")
    return parts.pop(name)


def _texts(parts: dict[str, Any]) -> dict[str, str]:
    """The other fields."""
    try:
        return {name: part.content.decode("utf-8") for name, part in parts.items()}
    except UnicodeDecodeError:
        raise Refusal("bad_option", "a field of the form is no UTF-8") from None


def _negotiated(request: Request) -> str:
    """What the header Accept asks for: JSON where it is named, and before PNG."""
    kinds = [part.partition(";")[0].strip().lower() for part in request.headers.get("accept", "").split(",")]
    named = [kind for kind in kinds if kind in ("application/json", "image/png", "image/*")]
    return "json" if named[:1] == ["application/json"] else "mask"


def _answer(service: Service, job: Any, output: str) -> Response:
    """The answer of a job that is done."""
    prediction, options = job.future.result(), job.options
    begun = time.perf_counter()
    service.metrics.pixels.labels(job.model.name).inc(prediction.labels.size)
    if output == "json":
        content: dict[str, Any] = record(prediction, job.model.name, options.included, opacity=options.opacity)
        seconds = job.seconds | {"encode": time.perf_counter() - begun}
        content["seconds"] = {name: round(value, 5) for name, value in seconds.items()}
        return Response(
            Segmented.model_validate(content).model_dump_json(exclude_unset=True), media_type="application/json"
        )
    picture = png(prediction, output, opacity=options.opacity)
    seconds = job.seconds | {"encode": time.perf_counter() - begun}
    timing = ", ".join(f"{name};dur={1000 * value:.1f}" for name, value in seconds.items())
    return Response(picture, media_type="image/png", headers={"Server-Timing": timing})


def _segment_body() -> dict[str, Any]:
    """The request's body: a picture's bytes, or a form."""
    options = Options.model_json_schema()["properties"]
    texts = {name: {"type": "string"} | {"description": option["description"]} for name, option in options.items()}
    form = {
        "type": "object",
        "required": ["image"],
        "properties": {"image": BINARY | {"description": "The picture's file."}},
        "additionalProperties": False,
        "description": f"The file under 'image', and any of {', '.join(texts)} as further fields.",
    }
    kinds = ["application/octet-stream", *(kinds[0] for kinds in TYPES.values())]
    return {
        "required": True,
        "content": {kind: {"schema": BINARY} for kind in kinds} | {"multipart/form-data": {"schema": form}},
    }


def _corrections_body() -> dict[str, Any]:
    form = {
        "type": "object",
        "required": ["image", "mask"],
        "properties": {
            "image": BINARY | {"description": "The picture's file."},
            "mask": BINARY
            | {
                "description": "A PNG of the picture's size: class numbers as gray or palette, or a color picture with "
                "class = red + 256 · green; void where it is unlabeled."
            },
        },
        "additionalProperties": False,
        "description": "The two files; and the field 'model', a name of /v1/models, where there are several.",
    }
    return {"required": True, "content": {"multipart/form-data": {"schema": form}}}


def _description(app: FastAPI, settings: Settings, models: Sequence[str]) -> dict[str, Any]:
    """OpenAPI's, once; with the names of the models that are served, and the token where there is one."""
    if app.openapi_schema is None:
        schema = get_openapi(title=app.title, version=app.version, description=ABOUT, routes=app.routes)
        schemas = schema["components"]["schemas"]
        for name in ("HTTPValidationError", "ValidationError"):
            schemas.pop(name, None)
        for parameter in schema["paths"]["/v1/segment"]["post"]["parameters"]:
            if parameter["name"] == "model":
                parameter["schema"] = {"type": "string", "enum": list(models)}
        if settings.token is not None:
            schema["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
            for path, methods in schema["paths"].items():
                if path.startswith("/v1/") or path == "/metrics":
                    for operation in methods.values():
                        operation["security"] = [{"token": []}]
        app.openapi_schema = schema
    return app.openapi_schema
