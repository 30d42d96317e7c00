"""Answers: what is sent back of a prediction, as PNG and JSON."""

import base64
import io
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from pixelwise.inference.pictures import confidence_png, palette_png
from pixelwise.inference.pictures import overlay as drawn_overlay
from pixelwise.inference.prediction import Prediction
from pixelwise.server.refusals import Refusal

QUICK = 1  # zlib's level for pictures of many colors: four times as quick as 6, a tenth larger


def png(prediction: Prediction, kind: str, *, opacity: float = 0.5) -> bytes:
    """A picture of a prediction.

    Args:
        kind: "mask", class numbers with the colors as a palette, 16-bit gray above 255 classes; "overlay";
            "confidence", gray 0–255; or "indices", see `indices`.
        opacity: 0–1, of an overlay's colors.
    """
    if kind == "mask":
        return _pillow(palette_png(prediction.labels, prediction.label_set))
    if kind == "confidence":
        assert prediction.confidence is not None
        return _pillow(confidence_png(prediction.confidence))
    if kind == "overlay":
        return _color(drawn_overlay(prediction.image, prediction.labels, prediction.label_set, opacity=opacity))
    return _color(indices(prediction))


def indices(prediction: Prediction) -> NDArray[np.uint8]:
    """(H, W, 3) with the class as red + 256 · green and the confidence as blue / 255, for a canvas in a browser."""
    labels = prediction.labels.astype(np.uint16)
    sure = np.zeros(labels.shape, np.float32) if prediction.confidence is None else prediction.confidence
    blue = (sure * 255 + 0.5).clip(0, 255)
    return np.stack([labels & 255, labels >> 8, blue], axis=2).astype(np.uint8)


def record(prediction: Prediction, model: str, included: Sequence[str], *, opacity: float = 0.5) -> dict[str, Any]:
    """The JSON of a prediction but for its times: shares, mean confidence, and what is included."""
    labels, label_set = prediction.labels, prediction.label_set
    height, width = labels.shape
    counts = np.bincount(labels.ravel(), minlength=label_set.num_classes)[: label_set.num_classes]
    sums = None
    if prediction.confidence is not None:
        sums = np.bincount(labels.ravel(), prediction.confidence.ravel(), minlength=label_set.num_classes)
    found: dict[str, Any] = {
        "model": model,
        "width": width,
        "height": height,
        "classes": [
            {
                "index": index,
                "name": name,
                "color": list(color),
                "pixels": int(count),
                "share": round(int(count) / labels.size, 6),
                "confidence": None if sums is None or not count else round(float(sums[index]) / int(count), 4),
            }
            for index, (name, color, count) in enumerate(zip(label_set.names, label_set.palette, counts, strict=True))
        ],
        "confidence": None if sums is None else round(float(sums.sum()) / labels.size, 4),
    }
    for name in included:
        if name == "polygons":
            found[name] = prediction.polygons()
        else:
            key = "confidence_map" if name == "confidence" else name
            found[key] = base64.b64encode(png(prediction, name, opacity=opacity)).decode()
    return found


def _pillow(picture: PillowImage.Image) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, "PNG", compress_level=QUICK)
    return stream.getvalue()


def _color(picture: NDArray[np.uint8]) -> bytes:
    """RGB (H, W, 3) as PNG by OpenCV, which is quicker than Pillow."""
    done, content = cv2.imencode(".png", picture[:, :, ::-1], [cv2.IMWRITE_PNG_COMPRESSION, QUICK])
    if not done:
        raise Refusal("no_memory", "the picture of the answer cannot be made", retry_after=5)
    return content.tobytes()
