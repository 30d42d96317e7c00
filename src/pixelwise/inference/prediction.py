"""What is predicted for one picture, and the files that it is written to."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from pixelwise.files import write_text
from pixelwise.inference.pictures import (
    confidence_png,
    entropy_png,
    overlay,
    palette_png,
    polygons,
    uncertainty_png,
    write_picture,
)
from pixelwise.labels import LabelSet


@dataclass(frozen=True)
class Prediction:
    """The classes of one picture.

    Attributes:
        labels: (H, W) uint8 classes, or uint16 with more than 255.
        confidence: (H, W) float32, probability 0–1 of the chosen class; None where it was not asked for.
        image: (H, W, C) the picture itself, for the overlay.
        label_set: names and colors.
        name: the file's stem, or "image".
        entropy: (H, W) float32 of the probabilities, 0–1, 1 where all are equal; None where it was not asked for.
        uncertainty: (H, W) float32, the variance of Monte-Carlo samples averaged over classes; None without samples.
    """

    labels: NDArray[Any]
    confidence: NDArray[np.float32] | None
    image: NDArray[Any]
    label_set: LabelSet
    name: str = "image"
    entropy: NDArray[np.float32] | None = None
    uncertainty: NDArray[np.float32] | None = None

    @property
    def heads(self) -> dict[str, NDArray[Any]]:
        """Classes per head; networks with one head have "labels" alone."""
        return {"labels": self.labels}

    def overlay(self, opacity: float = 0.5) -> PillowImage.Image:
        """The picture (H, W, 3) with its classes in color; `opacity` of the colors, 0–1."""
        return PillowImage.fromarray(overlay(self.image, self.labels, self.label_set, opacity=opacity))

    def areas(self) -> dict[str, int]:
        """Pixels of each class."""
        counts = np.bincount(self.labels.ravel(), minlength=self.label_set.num_classes)
        return {name: int(count) for name, count in zip(self.label_set.names, counts, strict=False)}

    def polygons(self) -> dict[str, Any]:
        """A GeoJSON FeatureCollection in pixel coordinates."""
        return polygons(self.labels, self.label_set)

    def save(self, path: str | Path) -> Path:
        """Write the classes as a PNG with the label set's colors (16-bit above 255 classes)."""
        path = Path(path)
        write_picture(palette_png(self.labels, self.label_set), path)
        return path

    def save_as(self, kind: str, path: Path) -> None:
        """Write a kind: "mask", "overlay"; "confidence", "entropy", "uncertainty" (grey); or "polygons" (GeoJSON)."""
        if kind == "mask":
            self.save(path)
        elif kind == "overlay":
            write_picture(self.overlay(), path)
        elif kind == "confidence":
            assert self.confidence is not None
            write_picture(confidence_png(self.confidence), path)
        elif kind == "entropy":
            assert self.entropy is not None
            write_picture(entropy_png(self.entropy, self.label_set.num_classes), path)
        elif kind == "uncertainty":
            assert self.uncertainty is not None
            write_picture(uncertainty_png(self.uncertainty, self.label_set.num_classes), path)
        else:
            write_text(json.dumps(self.polygons()), path)
