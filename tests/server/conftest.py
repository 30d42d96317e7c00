"""A tiny model behind a real server on a free port."""

import io
import json
import urllib.error
import urllib.request
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip("fastapi", reason="needs pixelwise[serve]")

from pixelwise.labels import LabelSet
from pixelwise.layers.normalization import Normalization
from pixelwise.models import build
from pixelwise.segmenter import Segmenter
from pixelwise.server.app import create_app
from pixelwise.server.models import ServedModel
from pixelwise.server.running import background
from pixelwise.server.settings import Settings

OPTIONS = {"num_classes": 3, "width": 0.0625, "depth": 2}


@dataclass
class Answer:
    """An HTTP answer."""

    status: int
    headers: dict
    content: bytes

    @property
    def json(self):
        return json.loads(self.content)

    @property
    def code(self):
        return self.json["error"]["code"]

    @property
    def pixels(self):
        with Image.open(io.BytesIO(self.content)) as picture:
            return np.array(picture)


def send(url, body=None, content_type="application/octet-stream", method=None, timeout=30, **headers):
    """One request; headers with underscores for dashes."""
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    if body is not None:
        given["Content-Type"] = content_type
    request = urllib.request.Request(url, body, given, method=method)
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            return Answer(answer.status, {k.lower(): v for k, v in answer.headers.items()}, answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return Answer(error.code, {k.lower(): v for k, v in error.headers.items()}, error.read())


def form(*parts):
    """(body, content type) of (name, file name or None, content, content type or None)."""
    body = b""
    for name, filename, content, kind in parts:
        head = f'Content-Disposition: form-data; name="{name}"'
        head += f'; filename="{filename}"' if filename is not None else ""
        head += f"\r\nContent-Type: {kind}" if kind else ""
        body += b"--frontier\r\n" + head.encode() + b"\r\n\r\n" + content + b"\r\n"
    return body + b"--frontier--\r\n", "multipart/form-data; boundary=frontier"


def encoded(pixels, kind="PNG", **options):
    """An array as a picture's bytes."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind, **options)
    return stream.getvalue()


@pytest.fixture(scope="session")
def toy():
    torch.manual_seed(0)
    labels = LabelSet(("background", "disk", "bar"), ((0, 0, 0), (200, 30, 30), (30, 90, 200)))
    architecture = {"builder": "unet", "options": OPTIONS}
    segmenter = Segmenter(build("unet", **OPTIONS), Normalization((120.0,) * 3, (60.0,) * 3), labels, architecture)
    segmenter.predict(np.zeros((8, 8, 3), np.uint8))  # what torch imports at a first prediction
    return segmenter


@pytest.fixture(scope="session")
def http():
    """What tests talk with."""
    return SimpleNamespace(send=send, form=form, encoded=encoded)


@pytest.fixture(scope="session")
def pixels():
    """A picture of few colors, smooth, so that labels have areas."""
    rows, columns = np.mgrid[:40, :56]
    return np.stack([rows * 5, columns * 4, (rows + columns) * 2], axis=2).astype(np.uint8)


@pytest.fixture
def serving(toy):
    """`with serving(queue=2) as url`: a server with these settings."""

    def run(*segmenters, **settings):
        settings.setdefault("read_only", "corrections" not in settings)
        models = [ServedModel(f"toy{i or ''}", one) for i, one in enumerate(segmenters or (toy,))]
        return background(create_app(models, Settings(threads=1, **settings)))

    return run


@pytest.fixture(scope="module")
def url(toy, tmp_path_factory):
    """One server for a file of tests; its limits are low so that attacks are small."""
    settings = Settings(
        corrections=tmp_path_factory.mktemp("served") / "corrections",
        max_bytes=300_000,
        max_pixels=250_000,
        threads=1,
    )
    with background(create_app([ServedModel("toy", toy)], settings)) as address:
        yield address


@pytest.fixture(scope="module")
def hasty(toy):
    """A server that gives clients little time."""
    settings = Settings(read_only=True, threads=1, header_timeout=0.4, body_timeout=0.4, send_timeout=1.0)
    with background(create_app([ServedModel("toy", toy)], settings)) as address:
        yield address
