"""Start: a new network takes the weights of a model file, as far as their layers fit."""

import inspect
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pixelwise.errors import BadOption, TrainingError, WeightsError
from pixelwise.files import replacing, write_text
from pixelwise.flow.class_folders import BUILDER
from pixelwise.flow.plan import Plan
from pixelwise.flow.trained_pictures import TrainedPictures
from pixelwise.layers.normalization import Normalization
from pixelwise.models import CONVERTED, MODELS, build
from pixelwise.segmenter import Segmenter
from pixelwise.surgery.transplant import Entry, Transplant, transplant
from pixelwise.training.recipe import FIXED_BY_DATA

START, START_RECORD = "start.safetensors", "start.json"


@dataclass(frozen=True)
class Begun:
    """What a network got from a model file.

    Attributes:
        file: the model file, as it was named.
        model: the network in it, a name in MODELS.
        trained_on: (name, digest) of the pictures it was trained on, as `Segmenter.trained_pictures`.
    """

    file: str
    model: str
    trained_on: tuple[tuple[str, str], ...]
    transplant: Transplant

    def __str__(self) -> str:
        """One line: how many layers, and from where."""
        return f"{self.file} ({self.model}): {counted(self.transplant)}"

    def save(self, path: Path) -> None:
        """Write start.json, which the report shows."""
        record = {"file": self.file, "model": self.model} | {
            kind: [asdict(entry) for entry in entries] for kind, entries in _kinds(self.transplant).items()
        }
        write_text(json.dumps(record, ensure_ascii=False, indent=1), path)


def counted(done: Transplant) -> str:
    """How many layers were copied, reshaped, left at start, and unused.

    >>> counted(Transplant((), (), (), ()))
    '0 layers copied, 0 reshaped, 0 left at start, 0 unused'
    """
    counts = {kind: len(entries) for kind, entries in _kinds(done).items()}
    return (
        f"{counts['copied']} layers copied, {counts['reshaped']} reshaped, {counts['left']} left at start, "
        f"{counts['unused']} unused"
    )


def _kinds(done: Transplant) -> dict[str, tuple[Entry, ...]]:
    return {"copied": done.copied, "reshaped": done.reshaped, "left": done.left, "unused": done.unused}


def load_start(path: str | Path) -> Segmenter:
    """The model file to start from, or a stage that has ended.

    Raises:
        CheckpointError: there is no such file, or it is none of ours.
    """
    return Segmenter.load(path)


def begin_from(network: nn.Module, source: Segmenter, plan: Plan, file: str) -> Begun:
    """Give a network the layers of a trained one: by name, and its classes by theirs.

    Args:
        network: changed in place; what does not fit stays as it is.
        file: what to call the source.

    Raises:
        WeightsError: nothing of it fits; names the file.
    """
    recipe = plan.recipe
    by_name: dict[str, Any] = {}
    if source.labels.names != plan.labels.names:
        by_name = {
            "source_classes": source.labels.names,
            "target_classes": plan.labels.names,
            "score_layers": score_layers(recipe.model, recipe.model_options),
        }
    reverse = source.normalization.channel_order != plan.normalization.channel_order
    try:
        done = transplant(source.network, network, reverse_channels=reverse, quiet=True, **by_name)
    except WeightsError as error:
        raise WeightsError(_nothing_fits(recipe.model, recipe.model_options, source, file)) from error
    except BadOption as error:
        raise WeightsError(f"{recipe.model} cannot start from {file}: {error}") from error
    if _takes_levels(plan.normalization) != _takes_levels(source.normalization):
        _rescale(network, done, source.normalization.deviation, plan.normalization.deviation, reverse=reverse)
    return Begun(file, str(source.architecture["builder"]), source.trained_pictures, done)


def _takes_levels(normalization: Normalization) -> bool:
    """Whether pictures go in as levels less a mean, as Caffe's networks take them; else divided by a deviation."""
    return not normalization.per_picture and set(normalization.deviation) == {1.0}


def _rescale(
    network: nn.Module, done: Transplant, theirs: Sequence[float], ours: Sequence[float], *, reverse: bool
) -> None:
    """The same features of pictures that are divided by other deviations: the first convolution's weights change.

    Exact between fixed normalizations; a picture's own deviation is taken to be that of its set.
    """
    path, first = next((path, layer) for path, layer in network.named_modules() if isinstance(layer, nn.Conv2d))
    if path not in {entry.target for entry in (*done.copied, *done.reshaped)} or len(theirs) != len(ours):
        return
    given = (*theirs[2::-1], *theirs[3:]) if reverse else theirs
    factors = first.weight.new_tensor([own / other for own, other in zip(ours, given, strict=True)])
    with torch.no_grad():
        first.weight *= factors[:, None, None]


def _nothing_fits(model: str, options: Mapping[str, Any], source: Segmenter, file: str) -> str:
    """Which network is asked for, which one the file has, and what a person can do about it."""
    theirs = source.architecture["options"]
    ours, other = _network(model, options), network_of(source)
    told = f"{_titled(ours, options)} cannot start from {file}, as no layer of it fits: the file's is "
    told += f"{_titled(other, theirs)}; "
    known = _taken_by(model)
    differing = {
        key: value
        for key, value in theirs.items()
        if key in known and key not in (*FIXED_BY_DATA, "classifier") and options.get(key, known[key]) != value
    }
    if ours == other and differing:
        shown = " ".join(f"--set model_options.{key}={json.dumps(value)}" for key, value in differing.items())
        return f"{told}leave out --model or take {shown}"
    if model == BUILDER and source.architecture["builder"] != BUILDER:
        return f"{told}start from a model that was trained with --labels folders, or leave out --start"
    return f"{told}leave out --model to take the file's, or leave out --start"


def network_of(source: Segmenter) -> str:
    """The name of a model file's network; of a converted classifier, the classifier's."""
    return _network(source.architecture["builder"], source.architecture["options"])


def _network(model: str, options: Mapping[str, Any]) -> str:
    return str(options.get("classifier", model))


def _titled(name: str, options: Mapping[str, Any]) -> str:
    return f"{name} at width {options['width']}" if "width" in options else name


def score_layers(model: str, options: dict[str, Any]) -> list[str]:
    """The layers of a network whose sizes follow the number of classes.

    >>> score_layers("fcn16s_vgg16", {"num_classes": 2, "width": 0.1})
    ['score_fr', 'score_pool4']
    """
    with torch.device("meta"):
        few, more = (
            {name: tensor.shape for name, tensor in build(model, **options | {"num_classes": k}).state_dict().items()}
            for k in (options["num_classes"], options["num_classes"] + 1)
        )
    return list(dict.fromkeys(name.rpartition(".")[0] for name in few if few[name] != more[name]))


def adopted(source: Segmenter, model: str) -> dict[str, Any]:
    """The options of a source's network that another's builder takes, too, but for classes and channels."""
    known = _taken_by(model)
    same = source.architecture["builder"] == model
    return {
        key: value
        for key, value in source.architecture["options"].items()
        if (same or key in known) and key not in FIXED_BY_DATA
    }


def adopted_by_classifier(source: Segmenter, classifier: str) -> dict[str, Any]:
    """The same for a classifier that is made convolutional: all of its own, or another's width."""
    if source.architecture["builder"] != BUILDER:
        return {}
    options = {key: value for key, value in adopted(source, BUILDER).items() if key != "classifier"}
    same = network_of(source) == classifier
    return {key: value for key, value in options.items() if same or key == "width"}


def _taken_by(model: str) -> dict[str, Any]:
    """{option of a network's builder: its default}."""
    builder = (MODELS | CONVERTED).get(model)
    parameters = {} if builder is None else inspect.signature(builder).parameters
    return {name: parameter.default for name, parameter in parameters.items()}


def with_start_options(settings: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
    """Settings with the options of the source's network, so that its layers fit; what was set by hand stays."""
    given = settings.get("model_options", {})
    if not isinstance(given, dict):
        return settings  # the recipe refuses it
    return {"model_options": options | given} | {k: v for k, v in settings.items() if k != "model_options"}


def keep_start(source: Path, run: Path) -> None:
    """Copy the model file into the run, which from then on does not need the original.

    Raises:
        TrainingError: the disk is full.
    """
    if source.resolve() == (run / START).resolve():
        return
    try:
        with replacing(run / START) as beside:
            shutil.copyfile(source, beside)
    except OSError as error:
        raise TrainingError(f"{source} could not be copied to {run / START} ({error.strerror or error})") from error


def seen_before(begun: Begun, part: str, pictures: Sequence[tuple[str, str]]) -> str:
    """A warning where the source was trained on pictures that the scores are measured on.

    Args:
        part: what they are called.
        pictures: (name, digest) of each.
    """
    seen = TrainedPictures(begun.trained_on)
    same, named = sum(digest in seen.digests for _, digest in pictures), sum(name in seen.names for name, _ in pictures)
    told = ""
    if same:
        told += f"; it was trained on {same} of the {len(pictures)} {part} pictures, so that the scores are too good"
    if named:
        told += (
            f"; {named} of the {len(pictures)} {part} pictures have names that it was trained on: if they are the same "
            "pictures, the scores are too good"
        )
    return told
