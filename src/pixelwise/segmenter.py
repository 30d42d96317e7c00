"""Segmenter: a network with everything that is needed to use it, in one file.

The file is a `.safetensors`: the weights, and in its header, under the key "pixelwise", a JSON record with the
architecture, classes and colors, normalization, recipe and scores. No pickle is read or written.
"""

import difflib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialize
from torch import nn

from pixelwise.data.decode import decode_image
from pixelwise.data.sample import Dataset
from pixelwise.errors import BadOption, CheckpointError, LabelError, ShapeError, UnknownName
from pixelwise.files import replacing
from pixelwise.inference.engine import Engine, Precision, Wanted, fast_bfloat16
from pixelwise.inference.engines import Engines
from pixelwise.inference.evaluate import Evaluation, evaluate_network, usual_protocol
from pixelwise.inference.fusion import Sampling
from pixelwise.inference.heatmap import class_heatmap
from pixelwise.inference.predict import DensePrediction, predict_image
from pixelwise.inference.prediction import Prediction
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
SAME_LABELS = 0.995  # share of equal labels from which a model is predicted in bfloat16
LISTED = 30  # classes that an error lists
_SHORT = 12  # classes up to which an error lists those of two sides


@dataclass
class Segmenter:
    """A network, its normalization and its classes, with the record of how it was built.

    Attributes:
        architecture: {"builder": name in MODELS or CONVERTED, "options": {…}}.
        recipe: how it was trained; empty when unknown.
        scores: what it reached, with "split" and "protocol"; empty when unmeasured.
        precision: what it may be predicted in: "bf16" only where validation showed nearly the same labels.
        trained_on: names of the pictures it was trained on, so that an evaluation can leave them out.
        digests: of their files' bytes, in the same order; "" where unknown, empty in files of older versions.
        refinement: a dense CRF behind the network, used wherever it predicts; it is stored because it helped.
        same_labels: share of labels of its own validation that are the same in bfloat16 as in float32; None where it
            was not measured.

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
    same_labels: float | None = None
    _engines: Engines = field(default_factory=Engines, init=False, repr=False, compare=False)

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

    def engine(self, precision: Wanted = None, engine: str = "torch") -> Engine:
        """What predicts with this network, which is put into evaluation mode.

        It is made once: a copy for prediction alone. A network whose weights have changed since, by an optimizer, by
        loading or by moving to another device, gets a new one; changes through `.data` are not seen.

        Args:
            precision: "fp32" or "bf16"; if left out, or "auto", `settled_precision`.
            engine: "torch", "openvino" (extra `openvino`) or "onnxruntime" (extra `export`).

        Raises:
            BadOption: a name is unknown, the extra is not installed, or the engine has not this precision.
            SurgeryError: the network cannot be exported; says why.
        """
        self.network.eval()
        precision = self.precision_for(precision, engine)
        return self._engines.of(self.network, engine, precision, self.normalization.channels)

    @property
    def settled_precision(self) -> Precision:
        """bfloat16 where the machine computes it, and validation found as good as the same labels in it."""
        same = self.same_labels is not None and self.same_labels >= SAME_LABELS
        device = next(self.network.parameters()).device
        return "bf16" if same and self.precision == "bf16" and fast_bfloat16(device) else "fp32"

    def precision_for(self, wanted: Wanted, engine: str = "torch") -> Precision:
        """The precision of an engine, float32 where it has no other.

        Args:
            wanted: "fp32", "bf16"; "auto" and None are `settled_precision`.

        Raises:
            BadOption: there is no such precision.
        """
        if wanted not in (None, "auto", "fp32", "bf16"):
            raise BadOption(f"precision is auto, fp32 or bf16, got {wanted!r}")
        if wanted is None or wanted == "auto":
            return "fp32" if engine == "onnxruntime" else self.settled_precision
        return wanted

    def predict(
        self,
        image: str | Path | NDArray[Any],
        *,
        precision: Wanted = None,
        scales: Scales = None,
        flip: bool = False,
        confidence: bool = True,
        entropy: bool = False,
        crf: bool | None = None,
        samples: int | None = None,
        seed: int = 0,
        others: Sequence["Segmenter"] = (),
        tile: int | None = None,
        engine: str = "torch",
        name: str | None = None,
    ) -> Prediction:
        """The classes of a picture: a path, or an array (H, W, C) or (H, W) as the training pictures were.

        Args:
            precision: "fp32" or "bf16"; see `engine` if left out, or "auto".
            scales: of the picture, as (0.5, 1, 1.5), whose probabilities are averaged; or "deeplab_v3" and other names
                in `inference.views.PAPERS`, for what a paper does; or `Views`.
            flip: average the probabilities with those of the mirrored picture.
            confidence: give the probabilities, too; without them it is quicker. Behind a CRF these are its marginals.
            entropy: give it, too: 0 for a sure pixel, 1 where all classes are as likely.
            crf: see `refinement_for`.
            samples: of Monte-Carlo dropout, whose mean is taken, and whose variance is the uncertainty; the network
                has dropouts.
            seed: of the samples.
            others: models of the same classes, whose probabilities are averaged with these; each with its own
                normalization, and the CRF is this one's.
            tile: side of the tiles of large pictures; the network's own if left out.
            engine: "torch", "openvino" or "onnxruntime".
            name: of the picture, for errors; the file's stem if left out.

        Raises:
            DataError: the file cannot be read.
            ShapeError: its channels are not the network's.
            BadOption: there is a CRF, and its widths are too narrow for the range of the picture's levels; or an
                option is impossible, or its extra is not installed.
            LabelError: another model has other classes.
        """
        stem, pixels = _opened(image)
        name = name or stem
        dense = self.predict_dense(
            pixels,
            precision=precision,
            scales=scales,
            flip=flip,
            confidence=confidence,
            entropy=entropy,
            crf=crf,
            samples=samples,
            seed=seed,
            others=others,
            tile=tile,
            engine=engine,
            name=name,
        )
        return Prediction(dense.labels, dense.confidence, pixels, self.labels, name, dense.entropy, dense.uncertainty)

    def predict_dense(
        self,
        pixels: NDArray[Any],
        *,
        precision: Wanted = None,
        scales: Scales = None,
        flip: bool = False,
        confidence: bool = False,
        entropy: bool = False,
        crf: bool | None = None,
        samples: int | None = None,
        seed: int = 0,
        others: Sequence["Segmenter"] = (),
        tile: int | None = None,
        engine: str = "torch",
        name: str = "image",
    ) -> DensePrediction:
        """Labels (H, W) of pixels (H, W, C), and the confidence only where asked for: the fast path.

        Options as for `predict`.
        """
        for other in others:
            if other.labels.names != self.labels.names:
                raise LabelError(
                    f"{other.architecture['builder']} cannot be averaged with {self.architecture['builder']}: "
                    + _difference(self.labels.names, other.labels.names, "the other")
                )
        members = (self, *others)
        return predict_image(
            [member.engine(precision, engine) for member in members],
            [member.normalization for member in members],
            pixels,
            views=views_of(scales, flip=flip),
            confidence=confidence,
            entropy=entropy,
            sampling=None if samples is None else Sampling(samples, seed),
            tile=tile,
            refinement=self.refinement_for(crf),
            name=name,
        )

    def heatmap(self, image: str | Path | NDArray[Any], name: str, *, precision: Wanted = None) -> NDArray[np.float32]:
        """The probability 0–1 of a class at every pixel, (H, W), by the network alone, without a CRF.

        Args:
            image: as for `predict`.
            name: of the class.
            precision: as for `predict`.

        Raises:
            UnknownName: there is no such class; names the nearest.
            DataError: the file cannot be read.
            ShapeError: its channels are not the network's.
        """
        index = self.class_index(name)
        stem, pixels = _opened(image)
        return class_heatmap(self.engine(precision), self.normalization, pixels, index, name=stem).probability

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
        if self.same_labels is not None:
            record["same_labels"] = self.same_labels
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
                _share(record.get("same_labels")),
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


def _share(value: Any) -> float | None:
    """A share 0–1, or None."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise ValueError(f"same_labels is {value!r}, which is no share")
    return float(value)


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
    precision: Wanted = None,
    engine: str = "torch",
    progress: Callable[[int, int], None] | None = None,
) -> ProtocolScores:
    """The scores of a segmenter on a data set, from one confusion matrix at the masks' own sizes.

    Args:
        protocol: a name in `pixelwise.protocols.PROTOCOLS`; if left out the papers' for this data set, or fcn's.
        scales, flip: see `Segmenter.predict`.
        crf: see `Segmenter.refinement_for`.
        precision, engine: see `Segmenter.engine`.

    Raises:
        DataError: the data set is empty.
        LabelError: its classes are not the segmenter's, or not those of the protocol.
        UnknownName: there is no such protocol.
    """
    return evaluate_pictures(
        segmenter,
        dataset,
        protocol=protocol,
        scales=scales,
        flip=flip,
        crf=crf,
        precision=precision,
        engine=engine,
        progress=progress,
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
    precision: Wanted = None,
    engine: str = "torch",
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
    made = segmenter.engine(precision, engine)
    evaluation = evaluate_network(
        made,
        segmenter.normalization,
        dataset,
        views=views_of(scales, flip=flip),
        refinement=segmenter.refinement_for(crf),
        protocol=protocol or usual_protocol(dataset),
        measures=measures,
        sink=sink,
        progress=progress,
    )
    used = getattr(made, "precision", "fp32")
    if engine == "torch" and used == "fp32":
        return evaluation
    told = f"computed by {engine}" + (" in bfloat16" if used == "bf16" else "")
    return replace(evaluation, note="; ".join(part for part in (evaluation.note, told) if part))


def _difference(model: Sequence[str], data: Sequence[str], other: str = "the data") -> str:
    """How two lists of classes differ: both where they are short, else the first difference."""
    if max(len(model), len(data)) <= _SHORT:
        return f"the model has the classes {', '.join(model)}, {other} {', '.join(data)}"
    place = next(
        (i for i, (one, other) in enumerate(zip(model, data, strict=False)) if one != other),
        min(len(model), len(data)),
    )
    mine, theirs = (repr(names[place]) if place < len(names) else "none" for names in (model, data))
    return (
        f"the model has {len(model)} classes, {other} {len(data)}; the first that differs is class {place}, {mine} "
        f"of the model, {theirs} of {other}"
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
