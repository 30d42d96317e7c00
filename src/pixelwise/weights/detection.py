"""Which format a file of weights has: by the names and the shapes of its layers."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from pixelwise.backbones import CLASSIFIERS
from pixelwise.errors import BadOption, WeightsError, unknown_name
from pixelwise.models import MODELS, build
from pixelwise.weights.all_formats import WEIGHT_FORMATS
from pixelwise.weights.formats import Kind, Tensors, WeightFormat
from pixelwise.weights.importing import load_weights
from pixelwise.weights.label_sets import LABEL_SETS

LISTED = 8  # layers or formats that an error lists


class Unfilled(TorchFunctionMode):
    """While it is on, new layers are not filled with random numbers, which takes half the time on the meta device."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__module__", "") == "torch.nn.init":
            return args[0] if args else kwargs["tensor"]
        return func(*args, **(kwargs or {}))


def network_of(model: str, **options: Any) -> nn.Module:
    """A new network of a format's model: one of `MODELS`, or of `CLASSIFIERS`."""
    builder: Callable[..., nn.Module] = CLASSIFIERS[model] if model in CLASSIFIERS else lambda **o: build(model, **o)
    return builder(**options)


def find_format(tensors: Tensors, kind: Kind, *, model: str | None = None, name: str | None = None) -> WeightFormat:
    """The format of a file's tensors.

    Args:
        model: only formats of this network; all if left out.
        name: of the format, where it is known.

    Raises:
        UnknownName: there is no such format, or no such network.
        WeightsError: no format has these layers; several have, and the message lists them; the format that was named
            is of another network or kind of file.
    """
    if model is not None and model not in MODELS and model not in CLASSIFIERS:
        raise unknown_name("model", model, [*MODELS, *CLASSIFIERS])
    if name is not None:
        return _named(name, kind, model)
    formats = [format for format in WEIGHT_FORMATS.values() if format.kind == kind and model in (None, format.model)]
    if not formats:
        raise WeightsError(f"no format of {kind} files is known for {model}; known: {', '.join(_models(kind))}")
    meta = {name: tensor.to("meta") for name, tensor in tensors.items()}
    tried = {format.name: _fit(format, meta) for format in formats}
    fitting = [format for format in formats if tried[format.name] is True]
    if not fitting:
        raise WeightsError(_none_fits(tensors, tried, model))
    if len({format.model for format in fitting}) == 1:  # the classes tell data sets, and not networks
        fitting = [format for format in fitting if _has_its_classes(format, tensors)] or fitting
    if len(fitting) > 1:
        listed = [f"{format.name} ({format.source.partition(';')[0]})" for format in fitting]
        raise WeightsError(
            f"the file's layers are those of {len(fitting)} formats alike: {'; '.join(listed[:LISTED])}"
            f"{'; …' if len(listed) > LISTED else ''}. Which is it? Give format={fitting[0].name!r} "
            f"(--format {fitting[0].name}) or another"
        )
    return fitting[0]


def _named(name: str, kind: Kind, model: str | None) -> WeightFormat:
    if name not in WEIGHT_FORMATS:
        raise unknown_name("weight format", name, WEIGHT_FORMATS)
    format = WEIGHT_FORMATS[name]
    if model not in (None, format.model):
        raise WeightsError(f"{name} is a format of {format.model}, not of {model}; leave out the model")
    if format.kind != kind:
        files = {"caffe": ".caffemodel", "torch": ".pth, .pt or .safetensors"}
        raise WeightsError(f"{name} is a format of {files[format.kind]} files, this is a {files[kind]}")
    return format


def _fit(format: WeightFormat, tensors: Tensors) -> bool | int:
    """Whether the tensors fit the format's network whole; else how many of its layers the file holds.

    Args:
        tensors: on the meta device.
    """
    try:
        prepared = format.prepare(dict(tensors))
        options = format.options(prepared)
    except (WeightsError, KeyError):
        return 0  # a layer that tells the classes is not there
    try:
        with torch.device("meta"), Unfilled():
            network = network_of(format.model, **options)
    except BadOption:
        return 0  # classes that no network has: none
    held = {name.rpartition(".")[0] for name in prepared}
    named = format.layers(network).values()
    count = sum(layer in held for layer in named)
    if count < len(named):
        return count
    try:
        load_weights(network, tensors, format)
    except WeightsError:
        return count
    return True


def _has_its_classes(format: WeightFormat, tensors: Tensors) -> bool:
    if format.labels is None:
        return False
    classes = format.options(format.prepare(dict(tensors))).get("num_classes")
    return classes == LABEL_SETS[format.labels].num_classes


def _none_fits(tensors: Tensors, tried: dict[str, bool | int], model: str | None) -> str:
    layers = list(dict.fromkeys(name.rpartition(".")[0] for name in tensors))
    shown = ", ".join(layers[:LISTED]) + (f", … ({len(layers)} in all)" if len(layers) > LISTED else "")
    nearest = max(tried, key=lambda name: tried[name])
    hint = (
        f"nearest is {nearest}: give format={nearest!r} (--format {nearest}) to see what it lacks, or"
        if tried[nearest]
        else "give"
    )
    return (
        f"the file's layers are of no format{f' of {model}' if model else ''} that is known: {shown}; {hint} a Caffe "
        "network's deploy.prototxt, too, to run it as it is"
    )


def _models(kind: Kind) -> list[str]:
    return list(dict.fromkeys(format.model for format in WEIGHT_FORMATS.values() if format.kind == kind))
