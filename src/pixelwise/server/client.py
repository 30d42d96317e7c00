"""Client: pictures sent to a server, labels back; it needs neither torch nor the extra `serve`.

from pixelwise.server.client import Client

client = Client("http://127.0.0.1:8000")
labels = client.segment("photo.jpg").labels
"""

import base64
import io
import json
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from pixelwise.errors import DataError

AGAIN = (429, 503)  # statuses after which one may try again

Picture = str | Path | bytes | NDArray[np.uint8]
"""A file, its bytes, or pixels (H, W, 3) or (H, W) uint8, which are sent as PNG."""


class ServerError(DataError):
    """A server refuses a request, or cannot be reached; the message says which.

    Attributes:
        status: of HTTP; 0 where there is no answer.
        code: the server's own word for it, or "".
    """

    def __init__(self, message: str, *, status: int = 0, code: str = "") -> None:
        super().__init__(message)
        self.status, self.code = status, code


@dataclass(frozen=True)
class Segmented:
    """A segmented picture.

    Attributes:
        labels: (H, W) uint8 classes, or uint16 with more than 255.
        shares: {class: share of the pixels, 0–1}.
        polygons: GeoJSON in pixels, or None where it was not asked for.
        confidence: (H, W) uint8, probability 0–1 of the chosen class as 0–255, or None where it was not asked for.
        record: all that the server tells.
    """

    labels: NDArray[Any]
    shares: dict[str, float]
    polygons: dict[str, Any] | None
    confidence: NDArray[np.uint8] | None
    record: Mapping[str, Any]


class Client:
    """A server of `pixelwise serve`.

    Args:
        url: its address.
        token: where it wants one.
        timeout: seconds for one request.
        patience: seconds for which a request that finds no place is tried again, as the server says.
    """

    def __init__(
        self,
        url: str = "http://127.0.0.1:8000",
        *,
        token: str | None = None,
        timeout: float = 120.0,
        patience: float = 60.0,
    ) -> None:
        self.url, self.token, self.timeout, self.patience = url.rstrip("/"), token, timeout, patience

    def segment(
        self,
        picture: Picture,
        *,
        model: str | None = None,
        scales: str | Sequence[float] | None = None,
        flip: bool = False,
        crf: bool | None = None,
        precision: str = "auto",
        polygons: bool = False,
        confidence: bool = False,
    ) -> Segmented:
        """The classes of a picture, equal to `Segmenter.predict` there.

        Args:
            picture: a file, its bytes, or pixels (H, W, 3) or (H, W).
            model: a name in `models`; the first if left out.
            scales, flip, crf, precision: as `Segmenter.predict`.
            polygons, confidence: to be sent, too.

        Raises:
            ServerError: the server refuses it, or cannot be reached.
            OSError: the file cannot be read.
        """
        included = ["mask", *(["polygons"] if polygons else []), *(["confidence"] if confidence else [])]
        options = {
            "output": "json",
            "include": ",".join(included),
            "model": model,
            "scales": ",".join(str(s) for s in scales) if isinstance(scales, list | tuple) else scales,
            "flip": "true" if flip else None,
            "crf": None if crf is None else str(crf).lower(),
            "precision": None if precision == "auto" else precision,
        }
        query = urlencode({key: value for key, value in options.items() if value is not None})
        record = json.loads(self._send(f"/v1/segment?{query}", _bytes_of(picture), "application/octet-stream"))
        return Segmented(
            _pixels(record.pop("mask")),
            {row["name"]: row["share"] for row in record["classes"]},
            record.pop("polygons", None),
            _pixels(record.pop("confidence_map")) if confidence else None,
            record,
        )

    def models(self) -> list[dict[str, Any]]:
        """What is served: names, classes with colors, scores."""
        found: list[dict[str, Any]] = json.loads(self._send("/v1/models"))["models"]
        return found

    def ready(self) -> bool:
        """Whether the server is there and takes pictures."""
        try:
            self._once(urllib.request.Request(f"{self.url}/readyz"))
        except ServerError:
            return False
        return True

    def correct(self, picture: Picture, mask: Picture, *, model: str | None = None) -> dict[str, Any]:
        """Save a picture with its right mask at the server, for `pixelwise fit`.

        Args:
            mask: a PNG of class numbers, or these, (H, W) uint8, of the picture's size; void where it is unlabeled.
            model: whose classes they are; the first if left out.

        Raises:
            ServerError: the server refuses it, or cannot be reached.
        """
        boundary = uuid.uuid4().hex
        parts = [("image", _bytes_of(picture), "; filename=image"), ("mask", _bytes_of(mask), "; filename=mask")]
        if model is not None:
            parts.append(("model", model.encode(), ""))
        body = b"".join(
            f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'.encode() + content + b"\r\n"
            for name, content, file in parts
        )
        form = f"multipart/form-data; boundary={boundary}"
        saved: dict[str, Any] = json.loads(self._send("/v1/corrections", body + f"--{boundary}--\r\n".encode(), form))
        return saved

    def _send(self, path: str, body: bytes | None = None, content_type: str = "") -> bytes:
        """An answer; waits and tries again where the server says so."""
        headers = {"Content-Type": content_type} if body is not None else {}
        if self.token is not None:
            headers["Authorization"] = f"Bearer {self.token}"
        until = time.monotonic() + self.patience
        while True:
            try:
                return self._once(urllib.request.Request(self.url + path, body, headers))
            except _TryAgain as later:
                if time.monotonic() + later.seconds > until:
                    raise later.error from None
                time.sleep(later.seconds)

    def _once(self, request: urllib.request.Request) -> bytes:
        if not request.full_url.startswith(("http://", "https://")):
            raise ServerError(f"{self.url} is no address of a server; give one as http://127.0.0.1:8000")
        try:
            with urllib.request.urlopen(request, timeout=self.timeout) as answer:
                content: bytes = answer.read()
                return content
        except urllib.error.HTTPError as error:
            with error:
                refused = _refused(error.code, error.read())
                after = error.headers.get("Retry-After", "")
            if error.code in AGAIN and after.isdecimal():
                raise _TryAgain(refused, int(after)) from None
            raise refused from None
        except (OSError, ValueError) as error:
            reason = getattr(error, "reason", error)
            raise ServerError(
                f"{self.url} cannot be reached ({reason}); start it with: pixelwise serve MODEL"
            ) from error


class _TryAgain(ServerError):
    def __init__(self, error: ServerError, seconds: int) -> None:
        super().__init__(str(error), status=error.status, code=error.code)
        self.error, self.seconds = error, seconds


def _refused(status: int, content: bytes) -> ServerError:
    try:
        problem = json.loads(content)["error"]
        return ServerError(str(problem["message"]), status=status, code=str(problem["code"]))
    except (ValueError, KeyError, TypeError):
        return ServerError(f"the server answered {status}; is it `pixelwise serve`?", status=status)


def _bytes_of(picture: Picture) -> bytes:
    if isinstance(picture, bytes):
        return picture
    if isinstance(picture, np.ndarray):
        stream = io.BytesIO()
        PillowImage.fromarray(picture).save(stream, "PNG", compress_level=1)
        return stream.getvalue()
    return Path(picture).read_bytes()


def _pixels(text: str) -> NDArray[Any]:
    with PillowImage.open(io.BytesIO(base64.b64decode(text))) as picture:
        pixels = np.array(picture)
    return pixels.astype(np.uint16) if pixels.dtype == np.int32 else pixels
