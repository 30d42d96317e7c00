"""The queue is bounded, drops what nobody waits for, shares passes between alike pictures, and ends cleanly."""

import io
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from urllib.parse import urlsplit

import numpy as np
import pytest
import torch
from PIL import Image

from pixelwise.errors import ShapeError
from pixelwise.inference.refine import preset_for
from pixelwise.segmenter import Segmenter
from pixelwise.server import service
from pixelwise.server.app import create_app, service_of
from pixelwise.server.batches import fit_together, predict_together
from pixelwise.server.jobs import Job, Jobs, refusal_of
from pixelwise.server.models import ServedModel
from pixelwise.server.options import Options
from pixelwise.server.refusals import Refusal
from pixelwise.server.running import Server, background, bound
from pixelwise.server.settings import Settings


@pytest.fixture
def data():
    stream = io.BytesIO()
    Image.new("RGB", (4, 3)).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture
def gate(monkeypatch):
    """Predictions wait until it is opened."""
    opened = threading.Event()
    passes = []
    before = service._predict

    def predict(jobs, pictures):
        passes.append(len(jobs))
        assert opened.wait(20)
        return before(jobs, pictures)

    monkeypatch.setattr(service, "_predict", predict)
    yield SimpleNamespace(open=opened.set, passes=passes)
    opened.set()


def eventually(claim):
    """Whether something becomes true soon."""
    until = time.monotonic() + 15
    while not claim():
        if time.monotonic() > until:
            return False
        time.sleep(0.002)
    return True


def job(data, key=None):
    return Job(data, SimpleNamespace(name="toy"), Options(), key, confidence=False)


def test_jobs_with_one_key_share_a_pass_in_the_order_that_they_came(data):
    first, passes = threading.Event(), []

    def predict(jobs, pictures):
        assert first.wait(20)
        passes.append([one.key for one in jobs])
        assert [picture.shape for picture in pictures] == [(3, 4, 3)] * len(jobs)
        return list(range(len(jobs)))

    jobs = Jobs(predict, size=20, batch=3)
    blocker = job(data, "first")
    jobs.enter(blocker)
    assert eventually(lambda: jobs.waiting == 0)
    others = [job(data, key) for key in ("x", "a", "b", "a", None, "a", "a", None)]
    for one in others:
        jobs.enter(one)
    first.set()
    for one in (blocker, *others):
        one.future.result(20)
        jobs.leave(one)
    jobs.close(20)
    assert passes == [["first"], ["x"], ["a", "a", "a"], ["b"], [None], ["a"], [None]]
    assert jobs.busy == 0


def test_a_full_queue_says_when_to_come_back(data):
    opened = threading.Event()
    jobs = Jobs(lambda jobs, pictures: opened.wait(20) and [0] * len(jobs), size=2)
    entered = []
    with pytest.raises(Refusal, match="2 pictures wait already; try again later") as refused:
        for _ in range(20):
            entered.append(job(data))
            jobs.enter(entered[-1])
            eventually(lambda: jobs.waiting == 0 or jobs.busy > 3)
    assert refused.value.code == "queue_full"
    assert refused.value.retry_after >= 1
    entered.pop()
    assert len(entered) == 3 + 2  # one predicts, two are decoded
    gone = entered[-1]
    jobs.leave(gone)
    assert (gone.future.cancelled(), jobs.waiting) == (True, 1)
    opened.set()
    for one in entered[:-1]:
        one.future.result(20)
        jobs.leave(one)
    jobs.close(20)
    with pytest.raises(Refusal, match="shutting down"):
        jobs.enter(job(data))


def test_a_picture_that_cannot_be_decoded_or_predicted_harms_no_other(data):
    def predict(jobs, pictures):
        if jobs[0].key == "bad":
            raise ShapeError("the network takes 4 channels")
        return [0] * len(jobs)

    jobs = Jobs(predict, size=9)
    entered = [job(data), job(b"\x89PNG\r\n\x1a\nno"), job(data, "bad"), job(data)]
    for one in entered:
        jobs.enter(one)
    assert [entered[0].future.result(20), entered[3].future.result(20)] == [0, 0]
    for one, what in ((entered[1], "damaged"), (entered[2], "takes 4 channels")):
        with pytest.raises(Refusal, match=what):
            one.future.result(20)
    jobs.close(20)


def test_no_memory_is_a_refusal_and_an_error_of_ours_is_none():
    assert refusal_of(MemoryError()).code == "no_memory"
    assert refusal_of(RuntimeError("DefaultCPUAllocator: can't allocate memory")).code == "no_memory"
    assert refusal_of(ShapeError("no")).code == "bad_picture"
    assert isinstance(refusal_of(KeyError("x")), KeyError)


@pytest.mark.parametrize("crf", [None, True])
@pytest.mark.parametrize("per_picture", [False, True])
def test_pictures_that_go_together_have_the_labels_that_they_have_alone(toy, crf, per_picture):
    from dataclasses import replace

    normalization = replace(toy.normalization, per_picture=per_picture)
    segmenter = Segmenter(toy.network, normalization, toy.labels, toy.architecture, refinement=preset_for("unet"))
    random = np.random.default_rng(0)
    pictures = [random.integers(0, 255, (20, 30, 3)).astype(np.uint8) for _ in range(3)]
    together = predict_together(segmenter, pictures, crf=crf)
    for found, picture in zip(together, pictures, strict=True):
        alone = segmenter.predict(picture, crf=crf)
        assert np.array_equal(found.labels, alone.labels)
        torch.testing.assert_close(torch.tensor(found.confidence), torch.tensor(alone.confidence))
    assert fit_together(segmenter, (20, 30))
    assert not fit_together(segmenter, (3000, 3000))


def test_equal_sizes_go_together_behind_a_busy_network(http, toy, gate):
    random = np.random.default_rng(0)
    pictures = [random.integers(0, 255, (20, 30, 3)).astype(np.uint8) for _ in range(6)]
    app = create_app([ServedModel("toy", toy)], Settings(batch=4, read_only=True, threads=1))
    jobs = service_of(app).jobs
    with background(app) as url, ThreadPoolExecutor(6) as pool:
        answers = []
        for count, picture in enumerate(pictures, 1):
            answers.append(pool.submit(http.send, f"{url}/v1/segment", http.encoded(picture)))
            assert eventually(lambda count=count: jobs.busy == count)
        gate.open()
        for picture, answer in zip(pictures, answers, strict=True):
            assert np.array_equal(answer.result(20).pixels, toy.predict(picture, confidence=False).labels)
    assert sum(gate.passes) == 6
    assert max(gate.passes) > 1


def test_429_says_when_to_try_again_and_a_client_that_leaves_gives_up_its_place(toy, http, pixels, gate):
    body = http.encoded(pixels)
    app = create_app([ServedModel("toy", toy)], Settings(queue=1, read_only=True, threads=1))
    jobs = service_of(app).jobs
    with background(app) as url:
        parts = urlsplit(url)
        head = f"POST /v1/segment HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        waiting = []
        for count in range(1, 5):  # one predicts, two are decoded, one waits
            waiting.append(socket.create_connection((parts.hostname, parts.port)))
            waiting[-1].sendall(head + body)
            assert eventually(lambda count=count: jobs.busy == count and jobs.waiting == count // 4)
        refused = http.send(f"{url}/v1/segment", body)
        assert (refused.status, refused.code) == (429, "queue_full")
        assert int(refused.headers["retry-after"]) >= 1
        waiting.pop().close()
        assert eventually(lambda: b"pixelwise_clients_left_total 1.0" in http.send(f"{url}/metrics").content)
        assert b"pixelwise_queue_waiting 0.0" in http.send(f"{url}/metrics").content
        gate.open()
        for sock in waiting:
            assert sock.recv(100).startswith(b"HTTP/1.1 200")
            sock.close()


def test_a_picture_that_takes_too_long_is_a_deliberate_503(serving, http, pixels, gate):
    with serving(timeout=0.2) as url:
        answer = http.send(f"{url}/v1/segment", http.encoded(pixels))
        assert (answer.status, answer.code, answer.headers["retry-after"]) == (503, "timed_out", "5")
        gate.open()
        assert eventually(lambda: http.send(f"{url}/v1/segment", http.encoded(pixels)).status == 200)


def test_an_end_finishes_what_runs_and_refuses_what_comes(toy, http, pixels, gate):
    app = create_app([ServedModel("toy", toy)], Settings(read_only=True, threads=1))
    sock = bound(Settings(), port=0)
    server = Server(app)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]})
    thread.start()
    url = f"http://127.0.0.1:{sock.getsockname()[1]}"
    assert eventually(lambda: server.started)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(http.send, f"{url}/v1/segment", http.encoded(pixels))
        assert eventually(lambda: gate.passes == [1])
        server.handle_exit(15, None)
        assert http.send(f"{url}/readyz").code == "shutting_down"
        assert http.send(f"{url}/healthz").status == 200
        assert http.send(f"{url}/v1/segment", http.encoded(pixels)).code == "shutting_down"
        assert service_of(app).active == 1
        gate.open()
        assert np.array_equal(running.result(20).pixels, toy.predict(pixels, confidence=False).labels)
    thread.join(20)
    assert not thread.is_alive()
