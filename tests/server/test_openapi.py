"""The OpenAPI description says what the server does: schemathesis finds no difference."""

import io

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from PIL import Image

schemathesis = pytest.importorskip("schemathesis")

from pixelwise.server.app import create_app  # noqa: E402 – after what may be missing
from pixelwise.server.models import ServedModel  # noqa: E402
from pixelwise.server.running import background  # noqa: E402
from pixelwise.server.settings import Settings  # noqa: E402

EXAMPLES = 12


def pictures(kind, most=9, least=1):
    """Small pictures of a format."""

    def drawn(height, width, level):
        stream = io.BytesIO()
        Image.fromarray(np.full((height, width), level, np.uint8)).save(stream, kind)
        return stream.getvalue()

    return st.builds(drawn, st.integers(least, most), st.integers(least, most), st.integers(0, 2))


def test_every_route_answers_as_described(toy, tmp_path):
    settings = Settings(corrections=tmp_path / "corrections", threads=1)
    app = create_app([ServedModel("toy", toy)], settings)
    with background(app) as url:
        check(app.openapi(), url)


def check(description, url):
    """Ask all of it of a server."""
    for kind in ("JPEG", "PNG", "GIF", "WebP", "BMP", "TIFF"):
        schemathesis.openapi.media_type(f"image/{kind.lower()}", pictures(kind))
    schemathesis.openapi.media_type("application/octet-stream", pictures("PNG"))
    schemathesis.openapi.format("binary", pictures("PNG", 6, 6))  # a picture and its mask have one size
    schema = schemathesis.openapi.from_dict(description)
    tried = set()
    for found in schema.get_all_operations():
        operation = found.ok()
        tried.add(operation.label)

        @hypothesis.settings(
            max_examples=EXAMPLES,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(hypothesis.HealthCheck),
        )
        @hypothesis.given(case=operation.as_strategy())
        def answers(case):
            response = case.call(base_url=url, timeout=120)  # the papers' tests enlarge much
            assert response.status_code < 500
            case.validate_response(response)

        answers()
    assert tried == {
        "GET /healthz",
        "GET /readyz",
        "GET /metrics",
        "GET /v1/models",
        "POST /v1/segment",
        "POST /v1/corrections",
    }
