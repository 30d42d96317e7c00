"""What a prediction looks like on disk: palette PNG, overlay, grey maps, polygons."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL.PngImagePlugin import PngInfo

from pixelwise.files import replacing
from pixelwise.labels import LabelSet


def palette_png(labels: NDArray[Any], label_set: LabelSet) -> PillowImage.Image:
    """Classes (H, W) as an indexed PNG with the label set's colors; 16-bit grey above 255 classes."""
    if labels.dtype == np.uint16:
        return PillowImage.fromarray(labels)
    picture = PillowImage.fromarray(labels.astype(np.uint8), "L")
    picture.putpalette(_palette(label_set))
    return picture


def _palette(label_set: LabelSet) -> list[int]:
    index = np.arange(256)
    known = (index < label_set.num_classes) | (index == label_set.void)
    colors = np.zeros((256, 3), np.uint8)
    colors[known] = label_set.colored(index[known])
    flat: list[int] = colors.ravel().tolist()
    return flat


def displayable(image: NDArray[Any]) -> NDArray[np.uint8]:
    """Any image (H, W, C) as RGB (H, W, 3) uint8 for the eye.

    One channel is repeated; of more than three the first three are shown; anything but uint8 is stretched to its own
    range.
    """
    if image.shape[2] < 3:
        image = np.repeat(image[..., :1], 3, axis=2)
    image = image[..., :3]
    if image.dtype == np.uint8:
        return np.ascontiguousarray(image)
    low, high = float(np.nanmin(image)), float(np.nanmax(image))
    stretched = (image.astype(np.float32) - low) * (255 / max(high - low, 1e-12))
    shown: NDArray[np.uint8] = np.nan_to_num(stretched).clip(0, 255).astype(np.uint8)
    return shown


def overlay(
    image: NDArray[Any], labels: NDArray[Any], label_set: LabelSet, *, opacity: float = 0.5
) -> NDArray[np.uint8]:
    """The picture with its classes in color, (H, W, 3) uint8: tinted areas with a full-color outline.

    Void, a class called background and a class drawn in black are left as they are.
    """
    base = displayable(image)
    plain = [
        i
        for i, (name, color) in enumerate(zip(label_set.names, label_set.palette, strict=True))
        if is_background(name) or color == (0, 0, 0)
    ]
    shown = ~np.isin(labels, [label_set.void, *plain])
    colors = label_set.colored(labels)
    mixed = base * np.float32(1 - opacity) + colors * np.float32(opacity)
    out = np.where(shown[..., None], mixed, base).astype(np.uint8)
    edge = np.zeros(labels.shape, bool)
    edge[:-1] |= labels[:-1] != labels[1:]
    edge[:, :-1] |= labels[:, :-1] != labels[:, 1:]
    outline = edge & shown
    out[outline] = colors[outline]
    return out


def errors_picture(image: NDArray[Any], labels: NDArray[Any], target: NDArray[Any], void: int) -> NDArray[np.uint8]:
    """Where a prediction is wrong: a greyed picture with wrong pixels in red, (H, W, 3) uint8."""
    grey = displayable(image).mean(axis=2, keepdims=True) * 0.5 + 110
    out = np.repeat(grey, 3, axis=2).clip(0, 255).astype(np.uint8)
    out[(labels != target) & (target != void)] = (220, 30, 40)
    return out


def confidence_png(confidence: NDArray[np.float32]) -> PillowImage.Image:
    """Probability 0–1 as grey 0–255."""
    return _grey(confidence, 1.0, "probability of the chosen class: 0 is 0, 255 is 1")


def entropy_png(entropy: NDArray[np.float32], num_classes: int) -> PillowImage.Image:
    """Entropy, as a share of the most that K classes can have, as grey: 0 is none, 255 is ln K nats."""
    return _grey(entropy, 1.0, f"entropy: 0 is 0, 255 is ln {num_classes} = {math.log(num_classes):.4f} nats")


def uncertainty_png(uncertainty: NDArray[np.float32], num_classes: int) -> PillowImage.Image:
    """The variance of Monte-Carlo samples, averaged over K classes, by its square root as grey.

    255 is the most that there can be, a variance of (K − 1) / K²: each sample is sure, and all classes come equally
    often. The square root is taken since most variances are far below that.
    """
    most = math.sqrt(max(num_classes - 1, 1)) / num_classes
    return _grey(
        np.sqrt(uncertainty.clip(0)), most, f"root of the mean variance of the probabilities: 0 is 0, 255 is {most:.4f}"
    )


def _grey(values: NDArray[np.float32], most: float, scale: str) -> PillowImage.Image:
    """Values 0…most as grey 0–255; the scale is stored as the PNG's description."""
    picture = PillowImage.fromarray((values * (255 / most) + 0.5).clip(0, 255).astype(np.uint8), "L")
    picture.info["Description"] = scale
    return picture


def polygons(labels: NDArray[Any], label_set: LabelSet) -> dict[str, Any]:
    """The areas of each class as a GeoJSON FeatureCollection in pixel coordinates (x right, y down).

    Each feature is one connected area (pixels that touch by a corner belong together) with its holes. Rings run along
    the pixels' edges, so the area of a feature is its number of pixels. A class called background is left out.
    """
    features = [
        {
            "type": "Feature",
            "properties": {"class": label_set.names[index], "class_index": index},
            "geometry": {"type": "Polygon", "coordinates": rings},
        }
        for index, rings in outlines(labels, label_set)
    ]
    return {"type": "FeatureCollection", "features": features}


def outlines(labels: NDArray[Any], label_set: LabelSet) -> Iterator[tuple[int, list[list[list[int]]]]]:
    """(class, rings) of each connected area as in `polygons`: closed rings of corners (x, y), the outer one first."""
    counts = np.bincount(labels.ravel(), minlength=label_set.num_classes)
    for index, name in enumerate(label_set.names):
        if not counts[index] or is_background(name):
            continue
        # in twice the size, the outermost half pixels are the edges: 2i → i, 2i + 1 → i + 1
        mask = (labels == index).astype(np.uint8).repeat(2, 0).repeat(2, 1)
        found, tree = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
        for i, (_, _, child, parent) in enumerate(tree[0]):
            if parent >= 0:
                continue
            rings = [_ring(found[i])]
            while child >= 0:
                rings.append(_ring(found[child]))
                child = tree[0][child][0]
            yield index, rings


def _ring(contour: NDArray[Any]) -> list[list[int]]:
    """A closed ring of pixel corners from a contour in twice the size, without repeated points."""
    corners: list[list[int]] = ((contour.reshape(-1, 2) + 1) // 2).tolist()
    ring = [p for p, before in zip(corners, [corners[-1], *corners], strict=False) if p != before]
    return [*ring, ring[0]]


def is_background(name: str) -> bool:
    """A class that stands for "nothing here"."""
    return name.strip("_ ").lower() in ("background", "bg")


def write_picture(picture: PillowImage.Image | NDArray[np.uint8], path: Path, **options: Any) -> None:
    """Write a picture as JPEG or PNG, by its name, whole or not at all; a PNG with its description, if it has one."""
    if isinstance(picture, np.ndarray):
        picture = PillowImage.fromarray(picture)
    jpeg = path.suffix.lower() in (".jpg", ".jpeg")
    if not jpeg and "Description" in picture.info:
        told = PngInfo()
        told.add_text("Description", picture.info["Description"])
        options = {"pnginfo": told, **options}
    with replacing(path) as beside:
        picture.save(beside, format="JPEG" if jpeg else "PNG", **options)
