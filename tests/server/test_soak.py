"""Many clients with good, broken, huge, slow and aborted uploads: the good ones right, and none harmed.

`PIXELWISE_SOAK=1` sends 10 000 requests and compares the memory at the end with that after the first tenth.
"""

import gc
import os
import random
import socket
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest

SOAK = os.environ.get("PIXELWISE_SOAK") == "1"
REQUESTS = 10_000 if SOAK else 320
CLIENTS = 16


@pytest.fixture(scope="module")
def good(toy, http):
    """(bytes, labels) of pictures of a few sizes."""
    random = np.random.default_rng(0)
    pictures = [random.integers(0, 255, (20 + 7 * (i % 3), 30, 3)).astype(np.uint8) for i in range(6)]
    return [(http.encoded(picture), toy.predict(picture, confidence=False).labels) for picture in pictures]


def aborted(url, body):
    """A client that leaves in the middle, or right after it has sent all."""
    parts = urlsplit(url)
    head = f"POST /v1/segment HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
    with socket.create_connection((parts.hostname, parts.port), timeout=30) as sock:
        sock.sendall(head.encode() + body[: random.choice((0, len(body) // 2, len(body)))])
    return 0


def slow(url, body):
    """A client that sends in small pieces, and arrives."""
    parts = urlsplit(url)
    head = f"POST /v1/segment HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
    with socket.create_connection((parts.hostname, parts.port), timeout=60) as sock:
        for place in range(0, len(body), 1000):
            sock.sendall((head.encode() if not place else b"") + body[place : place + 1000])
            time.sleep(0.01)
        answer = b""
        while data := sock.recv(65_536):
            answer += data
    return int(answer.split()[1])


def resident():
    """Bytes of this process that lie in memory."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_many_clients_do_no_harm(url, http, good):
    broken, huge = good[0][0][:-9], b"\x89PNG\r\n\x1a\n" + bytes(400_000)
    expected = {"broken": {422}, "huge": {413}, "slow": {200, 429}, "aborted": {0}, "good": {200, 429}}

    def one(number):
        body, labels = good[number % len(good)]
        kind = ("good", "good", "good", "broken", "good", "huge", "good", "aborted", "good", "slow")[number % 10]
        if kind in ("aborted", "slow"):
            return kind, (aborted if kind == "aborted" else slow)(url, body), None
        answer = http.send(f"{url}/v1/segment", {"broken": broken, "huge": huge}.get(kind, body), timeout=120)
        right = answer.status != 200 or np.array_equal(answer.pixels, labels)
        return kind, answer.status, right

    with ThreadPoolExecutor(CLIENTS) as pool:
        outcomes = list(pool.map(one, range(REQUESTS // 10)))
        begun = resident()
        outcomes += pool.map(one, range(REQUESTS // 10, REQUESTS))
    for kind, status, right in outcomes:
        assert status in expected[kind] | {503}, kind
        assert right in (True, None)
    assert sum(status == 200 for _, status, _ in outcomes) > REQUESTS // 2
    assert http.send(f"{url}/readyz").status == 200
    if SOAK:
        ended, statuses = resident(), Counter(f"{kind} {status}" for kind, status, _ in outcomes)
        print(f"{REQUESTS} requests, {begun / 1e6:.1f} MB after the first tenth, {ended / 1e6:.1f} MB at the end")
        print(", ".join(f"{count} {what}" for what, count in sorted(statuses.items())))
        assert ended < begun * 1.1
