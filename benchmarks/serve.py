"""`pixelwise serve` against its own engine: pictures a second of 8 clients at once, and what a request adds to one.

    throughput = pictures/s of 8 clients / pictures/s of `Segmenter.predict_dense` on pixels; wanted: at least 0.90
    overhead   = milliseconds of a request, one at a time, less those of `Segmenter.predict` of the same file and the
                 making of the same PNG, in this process and without a server; wanted: under 10

500 × 500 as JPEG, 4 classes. The throughput is that of a U-Net of half width; the overhead is measured at one of an
eighth, whose own time varies less than what is looked for. Server and engine take turns; the best turn counts for
throughput, the median over all requests for the overhead. Clients are threads of another process.

    python benchmarks/serve.py [--turns 3] [--pictures 16]
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time

import cv2
import numpy as np

from pixelwise.labels import LabelSet
from pixelwise.layers.normalization import Normalization
from pixelwise.models import build
from pixelwise.segmenter import Segmenter
from pixelwise.server.answers import png
from pixelwise.server.app import create_app
from pixelwise.server.models import ServedModel
from pixelwise.server.running import background
from pixelwise.server.settings import Settings

CLIENTS = 8
REQUESTS = 32  # one at a time, of each turn
SIDE = 500
CLIENT = """
import http.client, sys, time
from concurrent.futures import ThreadPoolExecutor
host, port, clients, pictures, model, file = sys.argv[1], *map(int, sys.argv[2:5]), *sys.argv[5:]
body = open(file, "rb").read()
def client(count):
    connection = http.client.HTTPConnection(host, port)
    seconds = []
    for _ in range(count):
        begun = time.perf_counter()
        connection.request("POST", "/v1/segment?model=" + model, body, {"Content-Type": "image/jpeg"})
        answer = connection.getresponse()
        assert answer.status == 200, answer.read()
        answer.read()
        seconds.append(time.perf_counter() - begun)
    return seconds
begun = time.perf_counter()
with ThreadPoolExecutor(clients) as pool:
    seconds = sum(pool.map(client, [pictures // clients] * clients), [])
print(time.perf_counter() - begun, *seconds)
"""


def served(name: str, width: float) -> ServedModel:
    """A U-Net of random weights."""
    options = {"num_classes": 4, "width": width}
    labels = LabelSet(("background", "a", "b", "c"))
    normalization = Normalization((120.0,) * 3, (60.0,) * 3)
    return ServedModel(
        name, Segmenter(build("unet", **options), normalization, labels, {"builder": "unet", "options": options})
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--pictures", type=int, default=16, help="a turn; a multiple of 8")
    options = parser.parse_args()
    models = [served("half", 0.5), served("eighth", 0.125)]
    half, eighth = (model.segmenter for model in models)
    small = np.random.default_rng(0).integers(0, 256, (20, 20, 3)).astype(np.uint8)
    pixels = cv2.resize(small, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    jpeg = cv2.imencode(".jpg", pixels)[1].tobytes()
    with tempfile.NamedTemporaryFile(suffix=".jpg") as stored:
        stored.write(jpeg)
        stored.flush()
        own, many, alone, asked = [], [], [], []
        with background(create_app(models, Settings(read_only=True))) as url:
            host, port = url.removeprefix("http://").split(":")

            def ask(clients: int, pictures: int, model: str) -> list[float]:
                command = [sys.executable, "-c", CLIENT, host, port, str(clients), str(pictures), model, stored.name]
                done = subprocess.run(command, check=True, capture_output=True, text=True)
                return [float(text) for text in done.stdout.split()]

            for model, segmenter in (("half", half), ("eighth", eighth)):
                segmenter.predict_dense(pixels)
                ask(1, 1, model)
            for _ in range(options.turns):
                begun = time.perf_counter()
                for _ in range(options.pictures):
                    half.predict_dense(pixels)
                own.append(options.pictures / (time.perf_counter() - begun))
                many.append(options.pictures / ask(CLIENTS, options.pictures, "half")[0])
                for _ in range(REQUESTS):
                    begun = time.perf_counter()
                    png(eighth.predict(stored.name, confidence=False), "mask")
                    alone.append(time.perf_counter() - begun)
                asked += ask(1, REQUESTS, "eighth")[1:]
    print(f"engine {max(own):.2f} pictures/s; {CLIENTS} clients {max(many):.2f}; ratio {max(many) / max(own):.3f}")
    with_it, without = 1000 * statistics.median(asked), 1000 * statistics.median(alone)
    print(
        f"a request {with_it:.1f} ms, predicting and encoding alone {without:.1f}: overhead {with_it - without:.1f} ms"
    )


if __name__ == "__main__":
    main()
