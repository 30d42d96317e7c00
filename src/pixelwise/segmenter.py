"""Segmenter: a network with everything that is needed to use it, in one file.

The file is a `.safetensors`: the weights, and in its header, under the key "pixelwise", a JSON record with the
architecture, classes and colors, normalization, recipe and scores. No pickle is read or written.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image as PillowImage
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from pixelwise.data.decode import decode_image
from pixelwise.data.sample import Dataset
from pixelwise.errors import CheckpointError, LabelError, ShapeError
from pixelwise.files import replacing, write_text
from pixelwise.inference.evaluate import Evaluation, evaluate_network
from pixelwise.inference.pictures import confidence_png, overlay, palette_png, polygons, write_picture
from pixelwise.inference.predict import DensePrediction, Precision, predict_image
from pixelwise.labels import LabelSet
from pixelwise.layers.normalization import Normalization
from pixelwise.metrics import Scores
from pixelwise.models import build
from pixelwise.version import VERSION

FORMAT = 1
KEY = "pixelwise"


@dataclass(frozen=True)
class Prediction:
    """The classes of one picture.

    Attributes:
        labels: (H, W) uint8 classes, or uint16 with more than 255.
        confidence: (H, W) float32, probability 0–1 of the chosen class.
        image: (H, W, C) the picture itself, for the overlay.
        label_set: names and colors.
        name: the file's stem, or "image".
    """

    labels: NDArray[Any]
    confidence: NDArray[np.float32]
    image: NDArray[Any]
    label_set: LabelSet
    name: str = "image"

    @property
    def heads(self) -> dict[str, NDArray[Any]]:
        """Classes per head; networks with one head have "labels" alone."""
        return {"labels": self.labels}

    def overlay(self, opacity: float = 0.5) -> PillowImage.Image:
        """The picture with its classes in color."""
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
        """Write one of the kinds "mask", "overlay", "confidence" (grey PNG), "polygons" (GeoJSON)."""
        if kind == "mask":
            self.save(path)
        elif kind == "overlay":
            write_picture(self.overlay(), path)
        elif kind == "confidence":
            write_picture(confidence_png(self.confidence), path)
        else:
            write_text(json.dumps(self.polygons()), path)


@dataclass
class Segmenter:
    """A network, its normalization and its classes, with the record of how it was built.

    Attributes:
        architecture: {"builder": name in MODELS, "options": {…}}.
        recipe: how it was trained; empty when unknown.
        scores: what it reached, with "split" and "protocol"; empty when unmeasured.
        precision: what `predict` uses: "bf16" only where validation showed nearly the same labels.
        flip: whether `predict` averages with the mirrored picture.
    """

    network: nn.Module
    normalization: Normalization
    labels: LabelSet
    architecture: Mapping[str, Any]
    recipe: Mapping[str, Any] = field(default_factory=dict)
    scores: Mapping[str, Any] = field(default_factory=dict)
    precision: Precision = "fp32"
    flip: bool = False

    def predict(
        self, image: str | Path | NDArray[Any], *, precision: Precision | None = None, flip: bool | None = None
    ) -> Prediction:
        """The classes of a picture: a path, or an array (H, W, C) or (H, W) as the training pictures were.

        Raises:
            DataError: the file cannot be read.
            ShapeError: its channels are not the network's.
        """
        if isinstance(image, str | Path):
            name, pixels = Path(image).stem, decode_image(Path(image))
        else:
            name, pixels = "image", np.asarray(image)
            if pixels.ndim == 2:
                pixels = pixels[..., None]
            if pixels.ndim != 3:
                raise ShapeError(f"an image is (H, W, C) or (H, W), got {pixels.shape}")
        dense = self.predict_dense(pixels, precision=precision, flip=flip, confidence=True, name=name)
        assert dense.confidence is not None
        return Prediction(dense.labels, dense.confidence, pixels, self.labels, name)

    def predict_dense(
        self,
        pixels: NDArray[Any],
        *,
        precision: Precision | None = None,
        flip: bool | None = None,
        confidence: bool = False,
        name: str = "image",
    ) -> DensePrediction:
        """Labels (H, W) of an array (H, W, C), and the confidence only where asked for: the fast path."""
        self.network.eval()
        return predict_image(
            self.network,
            self.normalization,
            pixels,
            precision=precision or self.precision,
            flip=self.flip if flip is None else flip,
            confidence=confidence,
            name=name,
        )

    @property
    def parameters(self) -> int:
        """Number of weights."""
        return sum(p.numel() for p in self.network.parameters())

    def save(self, path: str | Path) -> Path:
        """Write the one file that `pixelwise.load` needs; the same segmenter gives the same bytes."""
        path = Path(path)
        record = {
            "format": FORMAT,
            "architecture": dict(self.architecture),
            "labels": self.labels.to_record(),
            "normalization": self.normalization.to_record(),
            "recipe": dict(self.recipe),
            "scores": dict(self.scores),
            "precision": self.precision,
            "flip": self.flip,
            "versions": _versions(),
        }
        tensors = {name: t.detach().cpu().contiguous() for name, t in self.network.state_dict().items()}
        with replacing(path) as beside:
            save_file(tensors, beside, metadata={KEY: json.dumps(record, sort_keys=True)})
        return path

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a file that `save` wrote.

        Raises:
            CheckpointError: there is no such file, it is truncated, not ours, or from a newer pixelwise.
        """
        path = Path(path)
        if not path.is_file():
            raise CheckpointError(f"no model file at {path}; give the path of a model.safetensors")
        try:
            with safe_open(path, "pt") as file:
                metadata = file.metadata() or {}
                record = json.loads(metadata[KEY]) if KEY in metadata else None
                tensors = {name: file.get_tensor(name) for name in file.keys()}
        except (SafetensorError, json.JSONDecodeError, OSError) as error:
            raise CheckpointError(f"{path} is no readable .safetensors file ({error}); copy it again") from error
        if record is None:
            raise CheckpointError(f"{path} holds weights but no pixelwise record; it was not saved by pixelwise")
        if record["format"] > FORMAT:
            raise CheckpointError(
                f"{path} has format {record['format']}, this pixelwise reads up to {FORMAT}; upgrade pixelwise"
            )
        architecture = record["architecture"]
        network = build(architecture["builder"], **architecture["options"])
        missing = network.state_dict().keys() ^ tensors.keys()
        if missing:
            raise CheckpointError(f"{path} does not fit its own architecture, first at {sorted(missing)[0]}")
        network.load_state_dict(tensors)
        network.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return cls(
            network,
            Normalization.from_record(record["normalization"]),
            LabelSet.from_record(record["labels"]),
            architecture,
            record["recipe"],
            record["scores"],
            record["precision"],
            record["flip"],
        )


def load(path: str | Path) -> Segmenter:
    """The segmenter of a model file.

    Raises:
        CheckpointError: there is no such file, it is truncated, not ours, or from a newer pixelwise.
    """
    return Segmenter.load(path)


def evaluate(segmenter: Segmenter, dataset: Dataset, *, progress: Callable[[int, int], None] | None = None) -> Scores:
    """The scores of a segmenter on a data set, from one confusion matrix at the masks' own sizes.

    Raises:
        DataError: the data set is empty.
        LabelError: its classes are not the segmenter's.
    """
    return evaluate_pictures(segmenter, dataset, progress=progress).scores


def evaluate_pictures(
    segmenter: Segmenter, dataset: Dataset, *, progress: Callable[[int, int], None] | None = None
) -> Evaluation:
    """The same with each picture's own score."""
    names = dataset.labels["labels"].names
    if names != segmenter.labels.names:
        raise LabelError(
            f"the model has the classes {', '.join(segmenter.labels.names)}, the data {', '.join(names)}; "
            "evaluate on data with the same classes in the same order"
        )
    segmenter.network.eval()
    return evaluate_network(
        segmenter.network,
        segmenter.normalization,
        dataset,
        precision=segmenter.precision,
        flip=segmenter.flip,
        progress=progress,
    )


def _versions() -> dict[str, str]:
    return {"pixelwise": VERSION, "torch": torch.__version__, "numpy": np.__version__}
