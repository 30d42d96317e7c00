"""Guard: what stands around every request, whatever its route.

It refuses hosts and origins that are not the server's own, so that no page elsewhere can use a server on one's machine;
adds the headers that keep the page to itself; turns an error of ours into the one shape; reads what is left of a
refused upload for a moment, so that the client sees why; and logs one line.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

from starlette.responses import JSONResponse

from pixelwise.server.metrics import Metrics
from pixelwise.server.refusals import Refusal
from pixelwise.server.settings import LOOPBACK, Settings

logger = logging.getLogger("pixelwise.server")

DRAIN = 0.5  # seconds for which a refused upload is read on

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-store",
}

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]


class Guard:
    """An ASGI application around another one."""

    def __init__(self, app: App, *, settings: Settings, metrics: Metrics, routes: Iterable[str]) -> None:
        self.app, self.settings, self.metrics, self.routes = app, settings, metrics, frozenset(routes)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        exchange = _Exchange(receive, send)
        begun = time.perf_counter()
        scope.setdefault("state", {})
        try:
            refusal = self._stranger(scope)
            if refusal is not None:
                await refuse(scope, refusal)(scope, exchange.receive, exchange.send)
            else:
                await self.app(scope, exchange.receive, exchange.send)
        except Exception:
            logger.exception("an error of the server at %s %s", scope["method"], shown(scope["path"]))
            if exchange.status:
                raise
            error = Refusal("internal", "an error of the server; tell who runs it")
            await refuse(scope, error)(scope, exchange.receive, exchange.send)
        finally:
            self._tell(scope, exchange.status, time.perf_counter() - begun)

    def _stranger(self, scope: Message) -> Refusal | None:
        """Why a request is not from here, or None."""
        headers = dict(scope["headers"])
        host = headers.get(b"host", b"").decode("latin-1")
        if self.settings.local and host and _name(host) not in (*LOOPBACK, self.settings.host):
            return Refusal("wrong_host", "this server answers to localhost and 127.0.0.1 alone")
        origin = headers.get(b"origin", b"").decode("latin-1")
        site = headers.get(b"sec-fetch-site", b"").decode("latin-1")
        if scope["method"] in ("GET", "HEAD", "OPTIONS"):
            return None
        own = origin.partition("://")[2].lower() == host.lower()
        if (origin and not own) or site in ("cross-site", "same-site"):
            return Refusal("cross_origin", "requests of other sites' pages are refused; use the server's own page")
        return None

    def _tell(self, scope: Message, status: int, seconds: float) -> None:
        """One line of log, and the numbers."""
        route = scope["path"] if scope["path"] in self.routes else "other"
        self.metrics.requests.labels(route, str(status)).inc()
        self.metrics.seconds.labels(route).observe(seconds)
        client = scope.get("client") or ("?", 0)
        refusal: Refusal | None = scope["state"].get("refusal")
        line = f"{client[0]} {scope['method']} {shown(scope['path'])} {status or 'left'}"
        if refusal is None:
            logger.info("%s (%.3f s)", line, seconds)
        else:
            self.metrics.refusals.labels(refusal.code).inc()
            logger.warning("%s %s: %s (%.3f s)", line, refusal.code, shown(refusal.message, 300), seconds)


class _Exchange:
    """One request's messages.

    Attributes:
        status: of the answer, once it has begun; 0 before.
    """

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive, self._send = receive, send
        self.status = 0
        self._more = True

    async def receive(self) -> Message:
        """The next one."""
        message = await self._receive()
        self._more = message["type"] == "http.request" and message.get("more_body", False)
        return message

    async def send(self, message: Message) -> None:
        """Send one; at the end of a refusal, read on for a moment."""
        unread = self._more and self.status >= 400
        if message["type"] == "http.response.start":
            self.status = message["status"]
            names = {key.lower() for key, _ in message["headers"]}
            added = [(k.encode(), v.encode()) for k, v in HEADERS.items() if k.encode() not in names]
            if self._more and self.status >= 400:
                added.append((b"connection", b"close"))
            message["headers"] = [*message["headers"], *added]
        elif unread and not message.get("more_body", False):
            await self._send({**message, "more_body": True})
            try:
                async with asyncio.timeout(DRAIN):
                    while self._more:
                        await self.receive()
            except TimeoutError:
                pass
            message = {"type": "http.response.body", "body": b"", "more_body": False}
        await self._send(message)


def refuse(scope: Message, refusal: Refusal) -> JSONResponse:
    """The answer that refuses a request, and the line of log."""
    scope.setdefault("state", {})["refusal"] = refusal
    return JSONResponse(refusal.record(), refusal.status, refusal.headers)


def shown(text: str, most: int = 100) -> str:
    r"""A client's text in a line of log: on one line, and short.

    >>> shown("/a\nb")
    '/a?b'
    """
    plain = "".join(letter if letter.isprintable() else "?" for letter in text)
    return plain if len(plain) <= most else plain[:most] + "…"


def _name(host: str) -> str:
    """A Host without its port and brackets."""
    host = host.strip().lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]
