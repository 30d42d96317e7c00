"""Running: the process of a server, from its first line to a clean end.

At the first SIGTERM or Ctrl-C /readyz says 503 and nothing new is taken; pictures that are here are finished and sent;
then the process ends with code 0. A second signal ends it at once.
"""

import contextlib
import logging
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType

import uvicorn
from fastapi import FastAPI

from pixelwise.errors import DataError
from pixelwise.server.app import service_of
from pixelwise.server.protocol import protocol_of
from pixelwise.server.settings import Settings

HEADERS = 16 * 2**10  # bytes of a request's line and headers
LOOK = 0.05  # seconds between looks whether all is done


class Server(uvicorn.Server):
    """uvicorn's, ending in two steps."""

    def __init__(self, app: FastAPI, listening: Callable[[], None] = lambda: None) -> None:
        self.service, self._listening = service_of(app), listening
        settings = self.service.settings
        super().__init__(
            uvicorn.Config(
                app,
                http=protocol_of(settings),
                ws="none",
                loop="asyncio",
                lifespan="on",
                log_config=None,
                access_log=False,
                log_level=logging.ERROR,
                server_header=False,
                proxy_headers=False,
                h11_max_incomplete_event_size=HEADERS,
                timeout_keep_alive=5,
                timeout_graceful_shutdown=int(settings.timeout) + 10,
                backlog=128,
            )
        )

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and say so."""
        await super().startup(sockets)
        if self.started:
            self._listening()

    def drain(self) -> None:
        """Take nothing new, and end when what is here is done."""
        self.service.draining = True
        threading.Thread(target=self._end_when_idle, name="drain", daemon=True).start()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A signal: end cleanly at the first one, at once at the second."""
        if self.service.draining:
            self.should_exit = self.force_exit = True
        else:
            logging.getLogger("pixelwise.server").info(
                "%s: finishing what is here, then ending", signal.Signals(sig).name
            )
            self.drain()

    def _end_when_idle(self) -> None:
        while self.service.active and not self.should_exit:
            time.sleep(LOOK)
        self.should_exit = True


def serve(app: FastAPI, listening: Callable[[str], None] = lambda url: None) -> None:
    """Serve until a signal comes.

    Args:
        listening: called with the address once it can be reached.

    Raises:
        DataError: the port is in use, or the host none of this machine.
    """
    settings = service_of(app).settings
    sock = bound(settings)
    service_of(app).warm()
    Server(app, lambda: listening(url_of(settings, sock))).run(sockets=[sock])


@contextlib.contextmanager
def background(app: FastAPI) -> Iterator[str]:
    """The address of a server that runs in a thread meanwhile, on a free port."""
    settings = service_of(app).settings
    sock = bound(settings, port=0)
    service_of(app).warm()
    server = Server(app)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]}, name="serve", daemon=True)
    thread.start()
    try:
        while not server.started and thread.is_alive():
            time.sleep(0.005)
        yield url_of(settings, sock)
    finally:
        server.drain()
        thread.join(settings.timeout + 15)


def bound(settings: Settings, port: int | None = None) -> socket.socket:
    """A socket at the settings' address.

    Raises:
        DataError: it cannot be had; says why.
    """
    port = settings.port if port is None else port
    try:
        family, kind, number, _, address = socket.getaddrinfo(settings.host, port, type=socket.SOCK_STREAM)[0]
        sock = socket.socket(family, kind, number)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind(address)
        except OSError:
            sock.close()
            raise
    except OSError as error:
        raise DataError(
            f"{settings.host}:{port} cannot be listened at ({error.strerror or error}); give another --port or --host"
        ) from error
    return sock


def url_of(settings: Settings, sock: socket.socket) -> str:
    """The address for a browser on this machine."""
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(settings.host, settings.host)
    host = f"[{host}]" if ":" in host and not host.startswith("[") else host
    return f"http://{host}:{sock.getsockname()[1]}"
