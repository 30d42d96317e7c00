"""`pixelwise serve` as a process: it says where it is, answers, and ends cleanly."""

import os
import re
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest

from pixelwise.errors import BadOption, DataError
from pixelwise.server import settings as served
from pixelwise.server.models import finite, open_models
from pixelwise.server.settings import Settings, check_installed


def test_it_serves_until_sigterm_and_ends_with_0(toy, http, pixels, tmp_path):
    """The how-tos' own command, at a free port."""
    (tmp_path / "runs" / "cells").mkdir(parents=True)
    toy.save(tmp_path / "runs" / "cells" / "model.safetensors")
    given = "pixelwise serve runs/cells/model.safetensors --port 0 --read-only --threads 1"
    command = [sys.executable, "-m", *given.split()]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", "COLUMNS": "200"}
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, cwd=tmp_path
    )
    killer = threading.Timer(120, process.kill)
    killer.start()
    try:
        lines = []
        for line in process.stdout:
            lines.append(line)
            if found := re.search(r"Open (http://127\.0\.0\.1:\d+)/", line):
                break
        assert "cells: background, disk, bar\n" in lines
        assert "Corrections are not saved (--read-only).\n" in lines
        answer = http.send(f"{found[1]}/v1/segment", http.encoded(pixels), timeout=60)
        assert np.array_equal(answer.pixels, toy.predict(pixels, confidence=False).labels)
        body, kind = b"no form", "multipart/form-data; boundary=x"  # its parser has a line of its own to say
        assert http.send(f"{found[1]}/v1/segment", body, kind).code == "bad_request"
        process.send_signal(signal.SIGTERM)
        rest, log = process.communicate(timeout=60)
    finally:
        killer.cancel()
        process.kill()
        process.wait()
    assert (process.returncode, rest) == (0, "")
    lines = re.findall(r"^\S+ \S+ (.*?)(?: \(.*\))?$", log, re.M)
    assert sorted(lines) == [  # a request's line comes after its answer
        "127.0.0.1 POST /v1/segment 200",
        "127.0.0.1 POST /v1/segment 400 bad_request: the body is no multipart form; send one, or the picture's bytes",
        "SIGTERM: finishing what is here, then ending",
    ]


def test_a_port_in_use_is_one_line(toy):
    from pixelwise.server.running import bound

    with bound(Settings(), port=0) as taken:
        taken.listen()
        with pytest.raises(DataError, match=r"127\.0\.0\.1:\d+ cannot be listened at .*give another --port or --host"):
            bound(Settings(port=taken.getsockname()[1]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"queue": 0}, "--queue is a whole number from 1 up, got 0"),
        ({"timeout": 0}, "--timeout is a number of seconds above 0, got 0"),
        ({"port": 70_000}, "--port is 0–65535, got 70000"),
        ({"token": "é"}, "--token is printable ASCII"),
    ],
)
def test_impossible_settings_are_refused(options, message):
    with pytest.raises(BadOption, match=message):
        Settings(**options)


def test_without_the_extra_it_is_named(monkeypatch):
    monkeypatch.setattr(served, "NEEDED", ("fastapi", "no_such_package"))
    with pytest.raises(BadOption, match=r"serving needs no_such_package; .*pip install 'pixelwise\[serve\]'"):
        check_installed()


def test_without_a_demo_model_one_is_asked_for(monkeypatch, tmp_path):
    monkeypatch.setattr("pixelwise.server.models.DEMO", tmp_path / "none.safetensors")
    with pytest.raises(DataError, match="no demo model; name a model: pixelwise serve runs/cells/model.safetensors"):
        open_models([])


def test_numbers_that_are_none_become_null():
    assert finite({"a": (float("inf"), np.float64(2)), 3: object}) == {"a": [None, 2.0], "3": str(object)}
