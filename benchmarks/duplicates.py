"""What the likeness of two pictures is worth: of copies, of different pictures, and of neighboring frames of a video.

    PIXELWISE_DATA=… python benchmarks/duplicates.py

For each set, up to 120 pictures: the lowest likeness of a picture to its copy, for each way to copy it, and the highest
to another picture. `pixelwise.data.duplicates.LIKENESS` stands between. Needs the real data.
"""

import io
import os
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pixelwise.data.decode import decode_image
from pixelwise.data.duplicates import LIKENESS
from pixelwise.data.scan import thumbnail

SETS = {
    "cracks": "science/cracks/images",
    "nuclei": "science/nuclei/images",
    "em-membranes": "science/em-membranes/images",
    "VOC": "voc-mini/VOCdevkit/VOC2012/JPEGImages",
    "COCO": "coco-stuff-mini/images/train2017",
    "camvid (video)": "camvid/CamVid/train",
}


def jpeg(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Quality 30."""
    stream = io.BytesIO()
    Image.fromarray(image[..., 0] if image.shape[2] == 1 else image).save(stream, "JPEG", quality=30)
    array = np.asarray(Image.open(stream))
    return array.reshape(*array.shape[:2], -1)


def half(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Half the size."""
    small = cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    return small.reshape(*small.shape[:2], -1)


COPIES: dict[str, Callable[[NDArray[np.uint8]], NDArray[np.uint8]]] = {
    "JPEG 30": jpeg,
    "half": half,
    "brighter": lambda image: np.clip(image * 0.7 + 60, 0, 255).astype(np.uint8),
    "gray": lambda image: image.mean(2, keepdims=True).astype(np.uint8),
    "2 % cropped": lambda image: image[image.shape[0] // 50 :, image.shape[1] // 50 :],
}


def units(images: list[NDArray[np.uint8]]) -> NDArray[np.float64]:
    """Thumbnails of mean 0 and length 1."""
    flat = np.stack([thumbnail(image).ravel() for image in images]).astype(float)
    flat -= flat.mean(1, keepdims=True)
    return flat / np.linalg.norm(flat, axis=1, keepdims=True)


def main() -> None:
    """Run and print."""
    root = Path(os.environ["PIXELWISE_DATA"])
    print(f"threshold {LIKENESS}")
    for name, place in SETS.items():
        images = [decode_image(file) for file in sorted((root / place).iterdir())[:120]]
        own = units(images)
        others = own @ own.T - 2 * np.eye(len(own))
        copies = {kind: (own * units([copy(image) for image in images])).sum(1).min() for kind, copy in COPIES.items()}
        told = ", ".join(f"{kind} {value:.3f}" for kind, value in copies.items())
        print(f"{name}: copies at least {told}; another picture at most {others.max():.3f}", flush=True)


if __name__ == "__main__":
    main()
