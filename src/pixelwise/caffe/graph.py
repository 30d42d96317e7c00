"""The layers of a prototxt in one spelling, in order, for the phase TEST; and the network's inputs.

The three ages of prototxts: `layer { type: "Convolution" }`, `layers { type: CONVOLUTION }` (V1), and
`layers { layer { type: "conv" num_output: … } }` (V0), whose fields have no messages of their own.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from pixelwise.caffe.layers import LAYERS, REFUSED, gives_data, is_for_training, type_of
from pixelwise.caffe.layers_text import MOST, SHOWN, SHOWN_AXES, LayerText, Shape
from pixelwise.caffe.prototxt import Entry, Message, Value, read_prototxt, shown
from pixelwise.errors import WeightsError

_V0_FIELDS = {"kernelsize": "kernel_size", "biasterm": "bias_term"}
_V0_PARAMS = (
    "convolution_param",
    "pooling_param",
    "inner_product_param",
    "lrn_param",
    "dropout_param",
    "concat_param",
)
MOST_LAYERS = 5_000  # ENet has 320, ResNet-152 has 670
# their tops are no views, and autograd does not need them
_WRITABLE = {"Convolution", "Deconvolution", "BN", "BatchNorm", "Scale", "InnerProduct"}
_PICTURES = ("data", "image", "color", "colour", "rgb", "depth", "hha")  # in names of further tops of a data layer


@dataclass(frozen=True)
class Input:
    """A blob that is given.

    Attributes:
        shape: as the prototxt has it; () where it does not say.
    """

    name: str
    shape: Shape


@dataclass(frozen=True)
class Graph:
    """What a prototxt says of a network in the phase TEST.

    Attributes:
        inputs: those that a layer reads, in the order of the text.
        layers: those that are run, each after those that it reads.
    """

    inputs: tuple[Input, ...]
    layers: tuple[LayerText, ...]


def read_graph(text: str, where: str) -> Graph:
    """The layers of a prototxt that are run, and its inputs.

    Left out are the layers of the phase TRAIN, losses, measures and data layers, and what reads a label.

    Raises:
        WeightsError: it is no prototxt, has no layers or no input, a layer of an unknown type, or one that reads what
            no layer before it gives.
    """
    net = read_prototxt(text, where)
    inputs = {given.name: given for given in _declared(net)}
    labels: set[str] = set()
    layers: list[LayerText] = []
    for count, layer in enumerate(_layers(net), 1):
        if count > MOST_LAYERS:
            raise layer.refused(f"is layer {count}; expected at most {MOST_LAYERS}")
        if gives_data(layer):
            _add_inputs(layer, inputs, labels)
        elif _is_tested(layer) and not is_for_training(layer.type):
            layers.append(layer)
    kept = _checked(layers, set(inputs), labels)
    if not kept:
        raise WeightsError(f"{where}: expected the layers of a network, found none that is run")
    read = {bottom for layer in kept for bottom in layer.bottoms}
    used = tuple(given for given in inputs.values() if given.name in read)
    if not used:
        raise WeightsError(f'{where}: expected an input, found none; add input: "data" and input_shape {{ dim: … }}')
    return Graph(used, kept)


def _declared(net: Message) -> Iterator[Input]:
    """`input: "data"` with its four `input_dim`, or its `input_shape`."""
    names, dims, shapes = _names(net, "input"), net.all("input_dim"), net.messages("input_shape")
    if len(dims) not in (0, 4 * len(names)) or len(shapes) not in (0, len(names)):
        raise WeightsError(
            f"{net.where}: expected four input_dim or one input_shape for each of {len(names)} inputs, found "
            f"{len(dims)} and {len(shapes)}"
        )
    for place, name in enumerate(names):
        given = shapes[place].all("dim") if shapes else dims[4 * place : 4 * place + 4]
        yield Input(name, _shape(net, name, given))


def _shape(net: Message, name: str, dims: tuple[Value, ...]) -> Shape:
    lengths = tuple(dim for dim in dims if type(dim) is int and 0 < dim < MOST)
    if len(lengths) != len(dims):
        raise WeightsError(
            f"{net.where}: expected whole numbers from 1 for the shape of {name[:SHOWN]!r}, found "
            f"{', '.join(map(shown, dims[:SHOWN_AXES]))}"
        )
    return lengths


def _layers(net: Message) -> Iterator[LayerText]:
    """All layers of the text, as the newest format has them."""
    for message in sorted((*net.messages("layer"), *net.messages("layers")), key=lambda message: message.line):
        oldest = message.messages("layer")
        if oldest:
            message = _upgraded(message, oldest[0])
        yield LayerText(
            message.get("name", ""),
            type_of(message),
            _names(message, "bottom"),
            _names(message, "top"),
            message,
        )


def _names(message: Message, field: str) -> tuple[str, ...]:
    """The names of a layer's bottoms or tops, or of the inputs.

    Raises:
        WeightsError: one is no text.
    """
    names = message.all(field)
    for name in names:
        if not isinstance(name, str):
            raise WeightsError(f"{message.where}:{message.line}: expected a string for {field}, found {shown(name)}")
    return tuple(map(str, names))


def _upgraded(message: Message, inner: Message) -> Message:
    """A V0 layer: its own fields are the settings, whatever its type."""
    fields = tuple(Entry(_V0_FIELDS.get(entry.name, entry.name), entry.value, entry.line) for entry in inner)
    settings = Message(fields, inner.line, inner.where)
    entries = [entry for entry in message if entry.name != "layer"]
    entries += [entry for entry in inner if entry.name in ("name", "type")]
    entries += [Entry(name, settings, inner.line) for name in _V0_PARAMS]
    return Message(tuple(entries), message.line, message.where)


def _is_tested(layer: LayerText) -> bool:
    """Whether a layer belongs to the phase TEST, without stages, at level 0."""
    phase = layer.message.get("phase")
    if phase is not None:
        return str(phase) in ("TEST", "1")
    included, excluded = layer.message.messages("include"), layer.message.messages("exclude")
    if included:
        return any(_meets(rule) for rule in included)
    return not any(_meets(rule) for rule in excluded)


def _meets(rule: Message) -> bool:
    phase = rule.get("phase")
    return (
        (phase is None or str(phase) in ("TEST", "1"))
        and rule.get("min_level", 0) <= 0 <= rule.get("max_level", 0)
        and not rule.all("stage")
    )


def _add_inputs(layer: LayerText, inputs: dict[str, Input], labels: set[str]) -> None:
    """The tops of a data layer: the first is the pictures, further ones are unless they are labels."""
    shapes = layer.param("input_param").messages("shape")
    for place, top in enumerate(layer.tops):
        if layer.type == "Input":
            if not shapes:
                raise layer.refused("has no input_param { shape { dim: … } }")
            dims = shapes[min(place, len(shapes) - 1)].all("dim")
            inputs[top] = Input(top, _shape(layer.message, top, dims))
        elif place and (top.endswith("_dim") or not any(word in top for word in _PICTURES)):
            labels.add(top)
        elif top not in inputs:
            size = layer.param("transform_param").get("crop_size", 0)
            inputs[top] = Input(top, (1, 0, size, size) if 0 < size < MOST else ())


def _checked(layers: list[LayerText], known: set[str], labels: set[str]) -> tuple[LayerText, ...]:
    """The layers without those that read labels.

    Raises:
        WeightsError: a type is unknown, or a layer reads what no layer before it gives.
    """
    kept = []
    for number, layer in enumerate(layers, 1):
        if any(bottom in labels for bottom in layer.bottoms):
            labels.update(layer.tops)
            continue
        if layer.type in REFUSED:
            raise layer.refused(REFUSED[layer.type])
        if layer.type not in LAYERS:
            raise layer.refused(
                f"is layer {number} of {len(layers)}, of a type that is not run here; known are {', '.join(LAYERS)}"
            )
        if not layer.bottoms or not layer.tops:
            raise layer.refused("has no bottom or no top")
        for bottom in layer.bottoms:
            if bottom not in known:
                later = next((other.name for other in layers[number - 1 :] if bottom in other.tops), None)
                why = f"layer {later[:SHOWN]!r} gives it only later" if later is not None else "no layer gives it"
                raise layer.refused(f"reads {bottom[:SHOWN]!r}, and {why}")
        if len(set(layer.tops)) < len(layer.tops):
            raise layer.refused("has the same top twice")
        known.update(layer.tops)
        kept.append(layer)
    return tuple(kept)


def in_place_layers(graph: Graph) -> set[int]:
    """The layers that may write over their bottom: Caffe's do, and nobody else reads it."""
    maker: dict[str, int] = {}  # of the blob as it is now
    readers: dict[int, list[int]] = {}
    for number, layer in enumerate(graph.layers):
        for bottom in layer.bottoms:
            if bottom in maker:
                readers.setdefault(maker[bottom], []).append(number)
        maker.update(dict.fromkeys(layer.tops, number))
    return {
        read[0]
        for made, read in readers.items()
        if len(read) == 1
        and graph.layers[made].type in _WRITABLE
        and graph.layers[read[0]].bottoms == graph.layers[read[0]].tops
    }


def unread_blobs(graph: Graph) -> tuple[str, ...]:
    """The blobs that nobody reads, in the order of their layers."""
    unread: dict[str, None] = {}
    for layer in graph.layers:
        for bottom in layer.bottoms:
            unread.pop(bottom, None)
        for top in layer.tops:
            unread.pop(top, None)
            unread[top] = None
    return tuple(unread)
