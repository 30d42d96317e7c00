"""From a picture's file to a PNG of labels: `Segmenter.predict` on each engine, against the same network eager."""

import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from pixelwise.benchmark.turns import Missing, Ratio, ratio_of, share, take_turns, versioned
from pixelwise.data.decode import decode_mask
from pixelwise.labels import LabelSet
from pixelwise.layers.normalization import IMAGENET_DEVIATION, IMAGENET_MEAN, Normalization
from pixelwise.models import build
from pixelwise.segmenter import Segmenter

NAME = "predict"
MODEL, CLASSES = "deeplab_v3_resnet50", 21
SIZE, QUICK_SIZE, QUICK_WIDTH = (500, 500), (256, 256), 0.25
MEAN, DEVIATION = (torch.tensor(values)[:, None, None] / 255 for values in (IMAGENET_MEAN, IMAGENET_DEVIATION))
NEEDED = {"openvino": ("openvino", "onnx", "onnxscript"), "onnxruntime": ("onnxruntime", "onnx", "onnxscript")}
"""{engine: what its extra installs}"""
LEAST_EQUAL = 0.999  # each engine sums in its own order, and random weights leave many pixels undecided

Scores = Callable[[Tensor], Tensor]
"""Normalized pictures (N, 3, H, W) to scores of their size."""


def drawn_picture(height: int, width: int) -> NDArray[np.uint8]:
    """Round spots on a smooth ground, with some noise, (H, W, 3)."""
    random = np.random.default_rng(0)
    whole = np.asarray(cv2.resize(random.integers(0, 256, (12, 20, 3)).astype(np.uint8), (width, height)), np.uint8)
    for _ in range(60):
        place = int(random.integers(width)), int(random.integers(height))
        color = tuple(int(c) for c in random.integers(0, 256, 3))
        cv2.circle(whole, place, int(random.integers(4, height // 8)), color, -1)
    return np.clip(whole + random.normal(0, 6, whole.shape), 0, 255).astype(np.uint8)


def calibrated(network: nn.Module, picture: NDArray[np.uint8]) -> nn.Module:
    """Random weights, batch norm with the statistics of a picture, so that scores are of a usual size."""
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = None
        norm.reset_running_stats()
    small = cv2.resize(picture, (256, 256), interpolation=cv2.INTER_AREA)
    images = Normalization(IMAGENET_MEAN, IMAGENET_DEVIATION)(np.stack([small, small[::-1]]))
    network.train()
    for module in network.modules():
        if isinstance(module, nn.Dropout | nn.Dropout2d):
            module.eval()
    with torch.no_grad():
        network.heads(images)  # type: ignore[operator]  # nn.Module says Tensor | Module
    for norm in norms:
        norm.momentum = 0.1
    return network.eval()


def plain(scores: Scores, file: Path, out: Path) -> None:
    """The peer: Pillow, torch, argmax over the full-size scores, Pillow."""
    picture = torch.from_numpy(np.array(Image.open(file).convert("RGB"))).permute(2, 0, 1).float() / 255
    with torch.inference_mode():
        found = scores(((picture - MEAN) / DEVIATION)[None])
        labels = found.argmax(1)[0].to(torch.uint8)
    Image.fromarray(labels.numpy()).save(out)


def segmenter_of(network: nn.Module) -> Segmenter:
    """A network with ImageNet's normalization and classes that have numbers for names."""
    labels = LabelSet(tuple(f"class {i}" for i in range(CLASSES)))
    return Segmenter(network, Normalization(IMAGENET_MEAN, IMAGENET_DEVIATION), labels, {"builder": "", "options": {}})


def measure(*, quick: bool = False) -> Iterator[Ratio | Missing]:
    """A ratio for each engine that is installed; float32 on both sides."""
    height, width = QUICK_SIZE if quick else SIZE
    picture = drawn_picture(height, width)
    torch.manual_seed(0)
    network = calibrated(build(MODEL, num_classes=CLASSES, width=QUICK_WIDTH if quick else 1.0), picture)
    segmenter = segmenter_of(network)
    case = f"{MODEL}{f' at width {QUICK_WIDTH:g}' if quick else ''}, {height} × {width}, file to PNG"
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "picture.jpg")
        Image.fromarray(picture).save(file, quality=92)
        out = {way: Path(folder, f"{way}.png") for way in ("peer", "torch", *NEEDED)}

        def predict(engine: str) -> None:
            segmenter.predict(file, engine=engine, precision="fp32", confidence=False).save(out[engine])

        ways: dict[str, Callable[[], None]] = {"peer": partial(plain, network, file, out["peer"])}
        for engine in ("torch", *NEEDED):
            lacking = [package for package in NEEDED.get(engine, ()) if find_spec(package) is None]
            if lacking:
                yield Missing(NAME, engine, f"pip install {' '.join(lacking)}")
            else:
                ways[engine] = partial(predict, engine)
        _, seconds = take_turns(ways, 3)
        expected = decode_mask(out["peer"])
        for engine in ways:
            if engine == "peer":
                continue
            equal = float((decode_mask(out[engine]) == expected).mean())
            yield ratio_of(
                NAME,
                case,
                f"{versioned('torch')}: eager",
                seconds[engine],
                seconds["peer"],
                way=f"engine {versioned(engine)}",
                equal=equal >= LEAST_EQUAL,
                answers=f"{share(equal)} equal labels",
            )
