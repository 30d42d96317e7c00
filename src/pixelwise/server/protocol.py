"""Protocol: one connection of HTTP/1.1. Beyond uvicorn's, slow clients are closed.

A request's headers must be there within `Settings.header_timeout` of a connection's begin, or of their first byte; a
client that reads nothing of an answer is closed after `send_timeout`; and beyond `connections` open ones, new ones are.
Bodies are timed in `uploads`.
"""

import asyncio
import json
import logging
from typing import Any, Literal

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from pixelwise.server.settings import Settings

logger = logging.getLogger("pixelwise.server")


def protocol_of(settings: Settings) -> type[H11Protocol]:
    """The protocol with these times and limits; uvicorn makes the instances."""
    return type("GuardedProtocol", (GuardedProtocol,), {"settings": settings})


class GuardedProtocol(H11Protocol):
    """A connection."""

    settings = Settings()

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._slow_headers: asyncio.TimerHandle | None = None
        self._slow_reader: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvicorn's own
        """Begin, with a clock for the first request."""
        super().connection_made(transport)
        if len(self.connections) > self.settings.connections:
            self._refuse(503, "too_many_connections", "too many connections are open; try again later")
            return
        self._watch_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._stop("_slow_headers")
        self._stop("_slow_reader")
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take some bytes; those of headers run against the clock."""
        if self.transport.is_closing():
            return
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._stop("_slow_headers")
        elif not self.transport.is_closing():
            self._watch_headers()

    def on_response_complete(self) -> None:
        """Close what nobody reads."""
        super().on_response_complete()
        if self.transport.is_closing() and self.transport.get_write_buffer_size():
            self.loop.call_later(self.settings.send_timeout, self.transport.abort)

    def pause_writing(self) -> None:
        """The client does not read what is there for it."""
        super().pause_writing()
        self._slow_reader = self.loop.call_later(self.settings.send_timeout, self._abort_reader)

    def resume_writing(self) -> None:
        """It does again."""
        self._stop("_slow_reader")
        super().resume_writing()

    def timeout_keep_alive_handler(self) -> None:
        """Close an idle connection; its clock for headers ends, too."""
        self._stop("_slow_headers")
        super().timeout_keep_alive_handler()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP."""
        self._refuse(400, "bad_request", msg)

    def _watch_headers(self) -> None:
        if self._slow_headers is None:
            self._slow_headers = self.loop.call_later(self.settings.header_timeout, self._abort_headers)

    def _abort_headers(self) -> None:
        self._slow_headers = None
        seconds = f"{self.settings.header_timeout:g} seconds"
        self._refuse(408, "header_timeout", f"the headers of a request were not here within {seconds}")

    def _abort_reader(self) -> None:
        self._slow_reader = None
        logger.warning(
            "%s closed: send_timeout: nothing was read for %g seconds", self._who(), self.settings.send_timeout
        )
        self.transport.abort()

    def _refuse(self, status: int, code: str, message: str) -> None:
        """Say why, in a line of log as well, and close."""
        logger.warning("%s closed: %d %s: %s", self._who(), status, code, message)
        self._stop("_slow_headers")
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True  # the application is told, and what it sends is dropped
            self.cycle.message_event.set()
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE) and not self.transport.is_closing():
            body = json.dumps({"error": {"code": code, "message": message}}).encode()
            reason = {400: "Bad Request", 408: "Request Timeout", 503: "Service Unavailable"}[status]
            head = (
                f"HTTP/1.1 {status} {reason}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
                "Connection: close\r\n" + ("Retry-After: 5\r\n" if status == 503 else "") + "\r\n"
            )
            self.transport.write(head.encode() + body)
        self.transport.close()
        if self.transport.get_write_buffer_size():
            self.loop.call_later(1, self.transport.abort)

    def _stop(self, clock: Literal["_slow_headers", "_slow_reader"]) -> None:
        timer: asyncio.TimerHandle | None = getattr(self, clock)
        if timer is not None:
            timer.cancel()
        setattr(self, clock, None)

    def _who(self) -> str:
        return self.client[0] if self.client else "?"
