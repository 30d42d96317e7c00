"""Released files made into a Segmenter, with a record of what was taken from them."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch

from pixelwise.backbones import CLASSIFIERS
from pixelwise.caffe.caffemodel import read_caffemodel
from pixelwise.caffe.network import CaffeNetwork, caffe_network_of
from pixelwise.caffe.prototxt import read_prototxt
from pixelwise.errors import BadOption, DataError, WeightsError
from pixelwise.layers.normalization import Normalization
from pixelwise.models.convolutional_classifier import ConvolutionalClassifier
from pixelwise.segmenter import Segmenter
from pixelwise.surgery.convolutional import convolutionalize
from pixelwise.surgery.transplant import Entry, Transplant
from pixelwise.weights.detection import find_format, network_of
from pixelwise.weights.files import digest_of, kind_of, read_tensors
from pixelwise.weights.formats import WeightFormat
from pixelwise.weights.importing import load_weights
from pixelwise.weights.label_sets import Classes, label_set_of

_log = logging.getLogger(__name__)

ChannelOrder = Literal["rgb", "bgr"]

WINDOWS = {"alexnet": (227, 227)}  # of classifiers that were not trained on 224 × 224
WINDOW = (224, 224)
COLORS = 3


def import_weights(
    *files: str | Path,
    model: str | None = None,
    format: str | None = None,
    classes: Classes = None,
    mean: Sequence[float] | None = None,
    scale: float | None = None,
    channel_order: ChannelOrder | None = None,
    size: tuple[int, int] | None = None,
    partial: bool = False,
) -> tuple[Segmenter, Transplant]:
    """A segmenter of released weights, and what became of each layer; both are stored in `recipe["imported"]`.

    What nothing in the file tells, and what makes its weights doubtful, stands there under "notes".

    A .prototxt with its .caffemodel is run as it is, in Caffe's order of channels (`caffe_network`). A .caffemodel,
    .pth, .pt or .safetensors alone is put into one of our networks by a format, found by the names of its layers.

    Args:
        files: the file of weights; a Caffe network's deploy.prototxt, too.
        model: the network, in `MODELS` or `CLASSIFIERS`; found by the format if left out. A classifier comes out made
            convolutional.
        format: a name in `WEIGHT_FORMATS`.
        classes: names; a file of names; a data set's name; or "a,b,c". The data set's own if left out.
        mean: taken from the pictures, 0–255: red, green, blue, whatever order the network reads; or one for all. The
            format's, or the prototxt's, if left out.
        scale: by which pictures are multiplied then, as Caffe's `scale`; the format's, or the prototxt's, or 1.
        channel_order: that a Caffe network reads, "bgr" if left out.
        size: (height, width) to which pictures are resized; for a classifier its window.
        partial: take what fits, where the file or our network has more.

    Raises:
        DataError: a file is not there.
        WeightsError: a file cannot be read, or does not fit; classes or mean are not known.
        UnknownName: there is no such model or format.
        BadOption: options or files that do not go together.
    """
    texts = [Path(file) for file in files if Path(file).suffix.lower() == ".prototxt"]
    others = [Path(file) for file in files if Path(file).suffix.lower() != ".prototxt"]
    if len(others) != 1 or len(texts) > 1:
        raise BadOption(
            f"expected one file of weights, and at most one .prototxt, got {', '.join(map(str, files)) or 'none'}"
        )
    for path in (*texts, *others):
        if not path.is_file():
            raise DataError(f"no file at {path}")
    given = Given(classes, None if mean is None else tuple(mean), scale, size, partial)
    if texts:
        if model is not None or format is not None:
            raise BadOption(
                "with a .prototxt the network is run as it is; leave out model and format, or the .prototxt"
            )
        segmenter, report = _as_it_is(texts[0], others[0], given, channel_order or "bgr")
    else:
        if channel_order is not None:
            raise BadOption("our networks read RGB, and a format knows what its files read; leave out channel_order")
        segmenter, report = _by_format(others[0], model, format, given)
    segmenter.network.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # as in training
    return segmenter, report


def caffe_network(prototxt: str | Path, caffemodel: str | Path) -> CaffeNetwork:
    """A published Caffe network, its prototxt with the weights of its caffemodel, run as it is.

    It reads what Caffe's does, mostly BGR. What makes the weights doubtful is logged.

    Raises:
        DataError: a file is not there.
        WeightsError: a file cannot be read, a layer is unknown, or the weights do not fit.
    """
    network = caffe_network_of(_text(Path(prototxt)))
    fit = network.load_caffemodel(read_caffemodel(caffemodel))
    if fit.doubt:
        _log.warning("%s: %s", caffemodel, fit.doubt)
    return network.eval()


@dataclass(frozen=True)
class Given:
    """What the caller says of the pictures and the classes; see `import_weights`."""

    classes: Classes
    mean: tuple[float, ...] | None
    scale: float | None
    size: tuple[int, int] | None
    partial: bool


def _by_format(path: Path, model: str | None, name: str | None, given: Given) -> tuple[Segmenter, Transplant]:
    """One of our networks with the weights of a file that has our layers under other names."""
    tensors = read_tensors(path)
    try:
        format = find_format(tensors, kind_of(path), model=model, name=name)
        options = format.options(format.prepare(dict(tensors)))
        labels = label_set_of(given.classes, options["num_classes"], data_set=format.labels)
        normalization = _normalization(format, given, options)
        network = network_of(format.model, **options)
        report = load_weights(network, tensors, format, partial=given.partial)
        doubt = format.doubt(network)
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from error
    architecture: dict[str, Any] = {"builder": format.model, "options": options}
    if format.model in CLASSIFIERS:
        window = given.size or WINDOWS.get(format.model, WINDOW)
        channels = normalization.channels
        network = ConvolutionalClassifier(
            convolutionalize(network, window, in_channels=channels), window, in_channels=channels
        )
        own = {"classifier": format.model, "input_size": list(window), "in_channels": channels}
        architecture = {"builder": "convolutional_classifier", "options": own | options}
    elif given.size is not None:
        normalization = replace(normalization, size=given.size)
    record = _record([path], format.name, report, format.note, doubt)
    return Segmenter(network, normalization, labels, architecture, {"imported": record}), report


def _as_it_is(text_path: Path, path: Path, given: Given, channel_order: ChannelOrder) -> tuple[Segmenter, Transplant]:
    """The network of a prototxt with its weights."""
    if kind_of(path) != "caffe":
        raise BadOption(f"a .prototxt goes with a .caffemodel, got {path}")
    text = _text(text_path)
    network = caffe_network_of(text, where=str(text_path))
    fit = network.load_caffemodel(read_caffemodel(path), partial=given.partial)
    channels = network.in_channels
    _check_map(network, text_path)
    labels = label_set_of(given.classes, network.num_classes)
    told = told_normalization(text, str(text_path))
    if given.mean is None and told.mean is None:
        raise WeightsError(
            f"{text_path} does not say which mean its pictures are less; give mean as red, green, blue "
            "(--mean R,G,B), or 0 (--mean 0) for none"
        )
    # a prototxt has its numbers in the order that the network reads
    mean = told.mean if given.mean is None else _in_order(given.mean, channels, channel_order)
    scale = told.scale if given.scale is None else given.scale
    height, width = network.input_size
    size = given.size or (None if _takes_any_size(network) else (height, width))
    normalization = replace(_normalized(mean or (), scale, channels, channel_order), size=size)
    report = Transplant(
        tuple(Entry(name, name, "as it is") for name in fit.copied),
        (),
        tuple(Entry(name, "", "the file has no such layer") for name in fit.missing),
        tuple(Entry("", name, "the prototxt has no such layer") for name in fit.unused),
    )
    architecture = {"builder": "caffe_network", "options": {"prototxt": text}}
    record = _record([text_path, path], "caffe_network", report, fit.doubt)
    return Segmenter(network, normalization, labels, architecture, {"imported": record}), report


@dataclass(frozen=True)
class Told:
    """What a prototxt says of its pictures: the mean in the network's order of channels, None where it does not."""

    mean: tuple[float, ...] | None
    scale: float


def told_normalization(text: str, where: str = "prototxt") -> Told:
    """The `transform_param` of a prototxt's data layers.

    Raises:
        WeightsError: it is no prototxt, or its data layers differ.

    >>> told_normalization('layer { name: "data" transform_param { scale: 0.5 mean_value: 104 mean_value: 117 } }')
    Told(mean=(104.0, 117.0), scale=0.5)
    """
    net = read_prototxt(text, where)
    told = []
    for layer in (*net.messages("layer"), *net.messages("layers")):
        if "transform_param" in layer:
            param = layer.message("transform_param")
            mean = tuple(float(value) for value in param.all("mean_value") if isinstance(value, int | float))
            told.append(Told(mean or None, param.get("scale", 1.0)))
    if len(set(told)) > 1:
        raise WeightsError(f"the data layers of {where} differ in mean or scale; give mean and scale (--mean, --scale)")
    return told[0] if told else Told(None, 1.0)


def _normalized(mean: Sequence[float], scale: float, channels: int, channel_order: ChannelOrder) -> Normalization:
    """(x − mean) · scale, as Caffe has it."""
    if scale <= 0:
        raise BadOption(f"scale must be above 0, got {scale:g}")
    mean = tuple(mean) * (channels if len(mean) == 1 else 1)
    if len(mean) != channels:
        raise BadOption(f"the network reads {channels} channels, but the mean has {len(mean)}: {_numbers(mean)}")
    order: ChannelOrder = channel_order if channels >= COLORS else "rgb"
    return Normalization(tuple(map(float, mean)), (1 / scale,) * channels, order)


def _in_order(mean: Sequence[float], channels: int, channel_order: ChannelOrder) -> tuple[float, ...]:
    """Red, green, blue and what follows, in the network's order."""
    values = tuple(mean)
    if channel_order == "bgr" and len(values) == channels >= COLORS:
        return (*values[COLORS - 1 :: -1], *values[COLORS:])
    return values


def _normalization(format: WeightFormat, given: Given, options: Mapping[str, Any]) -> Normalization:
    """The format's, or as the caller says."""
    known = format.normalization
    if known is None and given.mean is None:
        raise WeightsError(f"the mean of {format.name} is not known; give it as red, green, blue (--mean R,G,B)")
    if known is not None and given.mean is None and given.scale is None:
        return known
    mean = given.mean if given.mean is not None else known.mean if known is not None else ()
    channels = known.channels if known is not None else int(options.get("in_channels", COLORS))
    made = _normalized(mean, 1.0 if given.scale is None else given.scale, channels, "rgb")
    if known is None:
        return made
    return replace(made, deviation=made.deviation if given.scale is not None else known.deviation, size=known.size)


def _check_map(network: CaffeNetwork, where: Path) -> None:
    """Refuse a network that gives no map of scores.

    Raises:
        WeightsError: naming what it gives.
    """
    state = {name: tensor.to("meta") for name, tensor in network.state_dict(keep_vars=True).items()}
    pictures = torch.empty(1, network.in_channels, *network.input_size, device="meta")
    with torch.no_grad():
        scores = torch.func.functional_call(network.eval(), state, (pictures,))
    if scores.ndim != 4:
        raise WeightsError(
            f"{where} is a classifier: it gives one row of scores for a picture, no map. Open it with "
            "pixelwise.weights.caffe_network and make it convolutional with pixelwise.surgery.convolutionalize"
        )


def _takes_any_size(network: CaffeNetwork) -> bool:
    """Whether pictures of odd sizes go through, small and large ones."""
    height, width = network.input_size
    return all(network.accepts(height + more, width + more + 2) for more in (1, 6, 37, 101))


def _record(files: Sequence[Path], format: str, report: Transplant, *notes: str) -> dict[str, Any]:
    """What is stored of an import in the model's file; "notes" where there are any."""
    return {
        "files": {path.name: digest_of(path) for path in files},
        "format": format,
        "copied": [_told(entry) for entry in report.copied],
        "reshaped": [f"{_told(entry)}: {entry.how}" for entry in report.reshaped],
        "missing": [f"{entry.target}: {entry.how}" for entry in report.left],
        "unused": [f"{entry.source}: {entry.how}" for entry in report.unused],
    } | ({"notes": [note for note in notes if note]} if any(notes) else {})


def _told(entry: Entry) -> str:
    return entry.target if entry.target == entry.source else f"{entry.target} ← {entry.source}"


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise DataError(f"no file at {path}") from error
    except UnicodeDecodeError as error:
        raise WeightsError(f"{path} is no text ({error}); expected a .prototxt") from error


def _numbers(values: Sequence[float]) -> str:
    return ", ".join(f"{value:g}" for value in values)
