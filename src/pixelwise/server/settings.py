"""Settings: what a server allows, and what it needs."""

import importlib.util
from dataclasses import dataclass
from pathlib import Path

from pixelwise.errors import BadOption

NEEDED = ("fastapi", "uvicorn", "python_multipart", "prometheus_client")
LOOPBACK = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True)
class Settings:
    """Addresses, limits and times of a server.

    Attributes:
        host, port: where it listens; port 0 takes a free one.
        token: what clients must show; None for none.
        read_only: corrections are refused.
        corrections: the folder that they go to, made with the first one.
        max_bytes: of an upload.
        max_pixels: height × width of a picture, and of the largest view of it.
        queue: pictures that wait; above, clients are told to come back.
        timeout: seconds from the end of the upload until a picture is segmented.
        batch: pictures of one size that go through the network together; None for what suits the device.
        threads: that the network computes with; None for all cores.
        header_timeout: seconds within which a request's headers are there, and an idle connection says something.
        body_timeout: seconds that an upload may be behind `slowest`, or silent.
        slowest: bytes a second that an upload must have.
        send_timeout: seconds within which a client reads something of an answer.
        connections: open at a time.

    Raises:
        BadOption: a value is impossible.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    token: str | None = None
    read_only: bool = False
    corrections: Path = Path("corrections")
    max_bytes: int = 32 * 2**20
    max_pixels: int = 25_000_000
    queue: int = 32
    timeout: float = 60.0
    batch: int | None = None
    threads: int | None = None
    header_timeout: float = 10.0
    body_timeout: float = 10.0
    slowest: int = 16 * 2**10
    send_timeout: float = 30.0
    connections: int = 256

    def __post_init__(self) -> None:
        counts = {
            "--max-bytes": self.max_bytes,
            "--max-pixels": self.max_pixels,
            "--queue": self.queue,
            "--threads": self.threads,
            "--batch": self.batch,
        }
        for option, count in counts.items():
            if count is not None and count < 1:
                raise BadOption(f"{option} is a whole number from 1 up, got {count}")
        if self.timeout <= 0:
            raise BadOption(f"--timeout is a number of seconds above 0, got {self.timeout:g}")
        if not 0 <= self.port <= 65_535:
            raise BadOption(f"--port is 0–65535, got {self.port}")
        if self.token is not None and not (self.token.isascii() and self.token.isprintable() and self.token.strip()):
            raise BadOption("--token is printable ASCII and not empty; make one with: openssl rand -hex 16")

    @property
    def local(self) -> bool:
        """Whether only this machine can reach it."""
        return self.host in LOOPBACK or self.host.startswith("127.")


def check_installed() -> None:
    """See whether the extra is there.

    Raises:
        BadOption: it is not.
    """
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise BadOption(f"serving needs {', '.join(missing)}; install them with: pip install 'pixelwise[serve]'")
