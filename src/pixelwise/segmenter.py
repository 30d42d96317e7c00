"""Segmenter: a network with everything that is needed to use it, in one file.

The file is a `.safetensors`: the weights, and in its header, under the key "pixelwise", a JSON record with the
architecture, classes and colors, normalization, recipe and scores. No pickle is read or written.
"""

import difflib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image as PillowImage
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialize
from torch import nn

from pixelwise.data.decode import decode_image
from pixelwise.data.sample import Dataset
from pixelwise.errors import BadOption, CheckpointError, LabelError, ShapeError, UnknownName
from pixelwise.files import replacing, write_text
from pixelwise.inference.evaluate import Evaluation, evaluate_network, usual_protocol
from pixelwise.inference.heatmap import class_heatmap
from pixelwise.inference.pictures import confidence_png, overlay, palette_png, polygons, write_picture
from pixelwise.inference.predict import DensePrediction, Precision, predict_image
from pixelwise.inference.refine import Refinement, preset_for
from pixelwise.inference.views import Scales, views_of
from pixelwise.labels import LabelSet
from pixelwise.layers.normalization import Normalization
from pixelwise.models import build
from pixelwise.protocols import Protocol, ProtocolScores
from pixelwise.protocols import protocol as protocol_called
from pixelwise.protocols.server_files import Results
from pixelwise.version import VERSION

FORMAT = 1
KEY = "pixelwise"
LISTED = 30  # classes that an error lists
_SHORT = 12  # classes up to which an error lists those of two sides


@dataclass(frozen=True)
class Prediction:
    """The classes of one picture.

    Attributes:
        labels: (H, W) uint8 classes, or uint16 with more than 255.
        confidence: (H, W) float32, probability 0–1 of the chosen class; None where it was not asked for.
        image: (H, W, C) the picture itself, for the overlay.
        label_set: names and colors.
        name: the file's stem, or "image".
    """

    labels: NDArray[Any]
    confidence: NDArray[np.float32] | None
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
            assert self.confidence is not None
            write_picture(confidence_png(self.confidence), path)
        else:
            write_text(json.dumps(self.polygons()), path)


class Seen:
    """Pictures that a network was trained on: by their bytes, and by name alone where these are not known.

    Attributes:
        digests: of files.
        names: of the pictures without one.
    """

    def __init__(self, pictures: Iterable[tuple[str, str]]) -> None:
        pictures = list(pictures)
        self.digests = {digest for _, digest in pictures if digest}
        self.names = {name for name, digest in pictures if not digest}


@dataclass
class Segmenter:
    """A network, its normalization and its classes, with the record of how it was built.

    Attributes:
        architecture: {"builder": name in MODELS or CONVERTED, "options": {…}}.
        recipe: how it was trained; empty when unknown.
        scores: what it reached, with "split" and "protocol"; empty when unmeasured.
        precision: what `predict` uses: "bf16" only where validation showed nearly the same labels.
        trained_on: names of the pictures it was trained on, so that an evaluation can leave them out.
        digests: of their files' bytes, in the same order; "" where unknown, empty in files of older versions.
        refinement: a dense CRF behind the network, used wherever it predicts; it is stored because it helped.

    Raises:
        BadOption: the network takes levels of 0–255 (CRF-RNN), and the normalization divides them.
    """

    network: nn.Module
    normalization: Normalization
    labels: LabelSet
    architecture: Mapping[str, Any]
    recipe: Mapping[str, Any] = field(default_factory=dict)
    scores: Mapping[str, Any] = field(default_factory=dict)
    precision: Precision = "fp32"
    trained_on: tuple[str, ...] = ()
    digests: tuple[str, ...] = ()
    refinement: Refinement | None = None

    def __post_init__(self) -> None:
        fixed = not self.normalization.per_picture and set(self.normalization.deviation) == {1.0}
        if self.ends_in_crf and not fixed:
            raise BadOption(
                f"{type(self.network).__name__} compares colors in levels of 0–255: its normalization must have "
                f"deviation 1 and not be per picture, got deviation {self.normalization.deviation}"
                f"{', per picture' if self.normalization.per_picture else ''}"
            )

    @property
    def trained_pictures(self) -> tuple[tuple[str, str], ...]:
        """(name, digest) of each picture it was trained on; "" for a digest that is not known."""
        return tuple(zip_longest(self.trained_on, self.digests[: len(self.trained_on)], fillvalue=""))

    @property
    def ends_in_crf(self) -> bool:
        """Whether the network has a CRF as its last layers, which takes levels of 0–255 (CRF-RNN)."""
        return bool(getattr(self.network, "takes_levels", False))

    def refinement_for(self, crf: bool | None) -> Refinement | None:
        """The CRF behind the network.

        Args:
            crf: None for the model's own, or none where it has none; True for its own, or the preset of its network
                (`inference.refine.preset_for`) where it has none; False for none.

        Raises:
            BadOption: one is wanted behind a network that ends in one, or was trained on class folders.
        """
        if crf is None:
            return self.refinement
        if crf and self.ends_in_crf:
            raise BadOption(f"{self.architecture['builder']} ends in a CRF of its own; leave out crf (--crf)")
        if crf and self.scores.get("counted") == "pictures":
            raise BadOption(
                "the model was trained on class folders, and its coarse maps have no edges to refine; leave out crf "
                "(--crf)"
            )
        return (self.refinement or preset_for(str(self.architecture["builder"]))) if crf else None

    def predict(
        self,
        image: str | Path | NDArray[Any],
        *,
        precision: Precision | None = None,
        scales: Scales = None,
        flip: bool = False,
        confidence: bool = True,
        crf: bool | None = None,
    ) -> Prediction:
        """The classes of a picture: a path, or an array (H, W, C) or (H, W) as the training pictures were.

        Args:
            precision: "fp32" or "bf16"; the model's own if left out.
            scales: of the picture, as (0.5, 1, 1.5), whose probabilities are averaged; or "deeplab_v3" and other names
                in `inference.views.PAPERS`, for what a paper does; or `Views`.
            flip: average the probabilities with those of the mirrored picture.
            confidence: give the probabilities, too; without them it is quicker. Behind a CRF these are its marginals.
            crf: see `refinement_for`.

        Raises:
            DataError: the file cannot be read.
            ShapeError: its channels are not the network's.
            BadOption: there is a CRF, and its widths are too narrow for the range of the picture's levels.
        """
        name, pixels = _opened(image)
        dense = self.predict_dense(
            pixels, precision=precision, scales=scales, flip=flip, confidence=confidence, crf=crf, name=name
        )
        return Prediction(dense.labels, dense.confidence, pixels, self.labels, name)

    def predict_dense(
        self,
        pixels: NDArray[Any],
        *,
        precision: Precision | None = None,
        scales: Scales = None,
        flip: bool = False,
        confidence: bool = False,
        crf: bool | None = None,
        name: str = "image",
    ) -> DensePrediction:
        """Labels (H, W) of an array (H, W, C), and the confidence only where asked for: the fast path."""
        self.network.eval()
        return predict_image(
            self.network,
            self.normalization,
            pixels,
            precision=precision or self.precision,
            views=views_of(scales, flip=flip),
            confidence=confidence,
            refinement=self.refinement_for(crf),
            name=name,
        )

    def heatmap(
        self, image: str | Path | NDArray[Any], name: str, *, precision: Precision | None = None
    ) -> NDArray[np.float32]:
        """The probability 0–1 of a class at every pixel, (H, W), by the network alone, without a CRF.

        Args:
            image: as for `predict`.
            name: of the class.
            precision: "fp32" or "bf16"; the model's own if left out.

        Raises:
            UnknownName: there is no such class; names the nearest.
            DataError: the file cannot be read.
            ShapeError: its channels are not the network's.
        """
        index = self.class_index(name)
        stem, pixels = _opened(image)
        self.network.eval()
        return class_heatmap(
            self.network, self.normalization, pixels, index, precision=precision or self.precision, name=stem
        ).probability

    def class_index(self, name: str) -> int:
        """The class of a name, 0…K−1, in capitals or not where that leaves one.

        Raises:
            UnknownName: there is no such class; names the nearest.
        """
        names = self.labels.names
        if name in names:
            return names.index(name)
        plain = [known.casefold() for known in names]
        if plain.count(name.casefold()) == 1:
            return plain.index(name.casefold())
        near = difflib.get_close_matches(name.casefold(), plain, n=1)
        hint = f"; did you mean {names[plain.index(near[0])]!r}?" if near else "."
        more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
        raise UnknownName(f"no class is called {name!r}{hint} The model knows: {', '.join(names[:LISTED])}{more}")

    @property
    def parameters(self) -> int:
        """Number of weights."""
        return sum(p.numel() for p in self.network.parameters())

    def save(self, path: str | Path) -> Path:
        """Write the one file that `pixelwise.load` needs; the same segmenter gives the same bytes.

        Raises:
            OSError: it cannot be written; a file that was there stays.
        """
        path = Path(path)
        record = {
            "format": FORMAT,
            "architecture": dict(self.architecture),
            "labels": self.labels.to_record(),
            "normalization": self.normalization.to_record(),
            "recipe": dict(self.recipe),
            "scores": dict(self.scores),
            "precision": self.precision,
            "trained_on": list(self.trained_on),
            "digests": list(self.digests),
            "versions": _versions(),
        }
        if self.refinement is not None:
            record["crf"] = self.refinement.to_record()
        tensors = {name: t.detach().cpu().contiguous() for name, t in self.network.state_dict().items()}
        content = serialize(tensors, metadata={KEY: json.dumps(record, sort_keys=True)})
        with replacing(path) as beside:
            beside.write_bytes(content)
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
        version = record.get("format") if isinstance(record, dict) else None
        if not isinstance(version, int) or version > FORMAT:
            raise CheckpointError(
                f"{path} has format {version!r}, this pixelwise reads up to {FORMAT}; upgrade pixelwise"
            )
        try:
            architecture = record["architecture"]
            network = build(architecture["builder"], **architecture["options"])
            network.load_state_dict(tensors)
            network.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # as in training
            return cls(
                network,
                Normalization.from_record(record["normalization"]),
                LabelSet.from_record(record["labels"]),
                architecture,
                record["recipe"],
                record["scores"],
                record["precision"],
                tuple(record["trained_on"]),
                tuple(record.get("digests", ())),
                _refinement_of(record["crf"], path) if "crf" in record else None,
            )
        except (KeyError, TypeError, ValueError, AttributeError, RuntimeError, LookupError, OverflowError) as error:
            what = " ".join(str(error).split())[:300]
            raise CheckpointError(
                f"{path} does not fit its own record ({type(error).__name__}: {what}); copy it again"
            ) from error


def _refinement_of(record: Any, path: Path) -> Refinement:
    """The CRF of a file's record; people edit it by hand."""
    try:
        return Refinement.from_record(record)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        what = " ".join(str(error).split())[:300]
        raise CheckpointError(
            f"{path} does not fit its own record: its CRF is damaged ({type(error).__name__}: {what}); correct the "
            "entry 'crf', or copy it again"
        ) from error


def load(path: str | Path) -> Segmenter:
    """The segmenter of a model file.

    Raises:
        CheckpointError: there is no such file, it is truncated, not ours, or from a newer pixelwise.
    """
    return Segmenter.load(path)


def evaluate(
    segmenter: Segmenter,
    dataset: Dataset,
    *,
    protocol: str | Protocol | None = None,
    scales: Scales = None,
    flip: bool = False,
    crf: bool | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> ProtocolScores:
    """The scores of a segmenter on a data set, from one confusion matrix at the masks' own sizes.

    Args:
        protocol: a name in `pixelwise.protocols.PROTOCOLS`; if left out the papers' for this data set, or fcn's.
        scales, flip: see `Segmenter.predict`.
        crf: see `Segmenter.refinement_for`.

    Raises:
        DataError: the data set is empty.
        LabelError: its classes are not the segmenter's, or not those of the protocol.
        UnknownName: there is no such protocol.
    """
    return evaluate_pictures(
        segmenter, dataset, protocol=protocol, scales=scales, flip=flip, crf=crf, progress=progress
    ).scores


def evaluate_pictures(
    segmenter: Segmenter,
    dataset: Dataset,
    *,
    protocol: str | Protocol | None = None,
    measures: Sequence[str] = (),
    scales: Scales = None,
    flip: bool = False,
    crf: bool | None = None,
    sink: Callable[[Results], object] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """The same with each picture's own score, an interval, and further measures.

    Args:
        measures: names in `inference.measures.MEASURES`.
        sink: takes (name, classes) of every picture; those without a mask are then not counted.
    """
    names = dataset.labels["labels"].names
    if names != segmenter.labels.names:
        raise LabelError(
            f"{_difference(segmenter.labels.names, names)}; evaluate on data with the same classes in the same order"
        )
    if isinstance(protocol, str):
        protocol = protocol_called(protocol)
    segmenter.network.eval()
    return evaluate_network(
        segmenter.network,
        segmenter.normalization,
        dataset,
        precision=segmenter.precision,
        views=views_of(scales, flip=flip),
        refinement=segmenter.refinement_for(crf),
        protocol=protocol or usual_protocol(dataset),
        measures=measures,
        sink=sink,
        progress=progress,
    )


def _difference(model: Sequence[str], data: Sequence[str]) -> str:
    """How two lists of classes differ: both where they are short, else the first difference."""
    if max(len(model), len(data)) <= _SHORT:
        return f"the model has the classes {', '.join(model)}, the data {', '.join(data)}"
    place = next(
        (i for i, (one, other) in enumerate(zip(model, data, strict=False)) if one != other),
        min(len(model), len(data)),
    )
    mine, theirs = (repr(names[place]) if place < len(names) else "none" for names in (model, data))
    return (
        f"the model has {len(model)} classes, the data {len(data)}; the first that differs is class {place}, {mine} "
        f"of the model, {theirs} of the data"
    )


def _opened(image: str | Path | NDArray[Any]) -> tuple[str, NDArray[Any]]:
    """The name of a picture, and its pixels (H, W, C)."""
    if isinstance(image, str | Path):
        return Path(image).stem, decode_image(Path(image))
    pixels = np.asarray(image)
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    if pixels.ndim != 3 or pixels.size == 0:
        raise ShapeError(f"an image is (H, W, C) or (H, W) and not empty, got {pixels.shape}")
    return "image", pixels


def _versions() -> dict[str, str]:
    return {"pixelwise": VERSION, "torch": torch.__version__, "numpy": np.__version__}
