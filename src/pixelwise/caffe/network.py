"""A network of a prototxt, run as it is: its layers in Caffe's order, with Caffe's sizes, in Caffe's channel order.

`CaffeNetwork` is built from the prototxt alone; `load_caffemodel` fills it. Pictures are what the prototxt calls its
data: Caffe's networks take blue, green, red, less the mean that their authors subtracted; several inputs (color and
HHA) come as one tensor, one behind the other along the channels.

**Differences** from Caffe: layers for training are left out, and weights without file are zero where their filler is
random. Dropout does nothing in evaluation, also where SegNet's fork was told to sample. An empty last window of a pool
is left out (`layers_maps`).
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from pixelwise.caffe.bn_doubt import drawn_picture, stray
from pixelwise.caffe.caffemodel import CaffeWeights
from pixelwise.caffe.graph import Graph, Input, in_place_layers, read_graph, unread_blobs
from pixelwise.caffe.layers import LAYERS, UNPOOLING, check_bottoms
from pixelwise.caffe.layers_blobs import InferenceBN
from pixelwise.caffe.layers_maps import unpooled_size
from pixelwise.caffe.layers_text import SHOWN, Blob, Grid, LayerText, times
from pixelwise.caffe.prototxt import Message
from pixelwise.errors import BadOption, ShapeError, WeightsError, unknown_name
from pixelwise.layers.head import Head
from pixelwise.layers.resample import Resampling, Taps

MOST_WEIGHTS = 1 << 29  # a .caffemodel has less than 2 GiB
MOST_VALUES = 1 << 29  # of a blob, for one picture; VGG-16's largest on 2048 × 1024 has 1 << 27
MOST_PLACE = 1 << 48  # of the numbers that say where cells lie; beyond, nobody can tell
USUAL = (3, 224, 224)  # of pictures where the prototxt does not say
LISTED = 12  # names in an error
DOUBTED = (8, 256)  # layers within which, and largest side of the picture on which, a first BN is doubted


class CaffeFit(NamedTuple):
    """What `load_caffemodel` did.

    Attributes:
        copied: layers whose blobs were copied.
        missing: layers of the network without blobs in the file.
        unused: layers of the file that the network has not.
        doubt: why the weights may not be for use, "" where nothing says so.
    """

    copied: tuple[str, ...]
    missing: tuple[str, ...]
    unused: tuple[str, ...]
    doubt: str = ""

    def __str__(self) -> str:
        """One line."""
        return (
            f"{len(self.copied)} layers copied, {len(self.missing)} missing{_listed(self.missing)}, "
            f"{len(self.unused)} of the file unused{_listed(self.unused)}{self.doubt and '; '}{self.doubt}"
        )


@dataclass(frozen=True)
class Step:
    """A layer of the network.

    Attributes:
        keys: its modules in `CaffeNetwork.layers`, one after the other.
        blobs, load: see `Built`; of the last module.
    """

    text: LayerText
    keys: tuple[str, ...]
    blobs: tuple[str, ...]
    load: Callable[[Sequence[Tensor]], Sequence[Tensor]] | None


def caffe_network_of(
    prototxt: str,
    *,
    output: str | None = None,
    size: Sequence[int] | None = None,
    in_channels: int | None = None,
    where: str = "prototxt",
) -> "CaffeNetwork":
    """The network of a prototxt, its weights as their fillers say where that is no random number, else zero.

    Args:
        prototxt: the text itself.
        output: the blob that is the prediction; the last one that is a map and that no layer reads if left out.
        size: (height, width) of pictures, where the prototxt has none (data layers) or one that does not fit.
        in_channels: of the pictures, where the prototxt has none; 3 if left out.
        where: what errors call the text.

    Raises:
        WeightsError: it is no prototxt, or holds a layer that cannot be run; the message has layer and line.
        UnknownName: it has no such output.
        BadOption: a size or a number of channels that no picture has.

    >>> network = caffe_network_of('input: "data" input_dim: [1, 3, 8, 8] layer { name: "up" type: "Interp" '
    ...                            'bottom: "data" top: "up" interp_param { zoom_factor: 2 } }')
    >>> network.run(torch.zeros(1, 3, 5, 7))["up"].shape
    torch.Size([1, 3, 9, 13])
    """
    if size is not None and (len(size) != 2 or any(type(side) is not int or side < 1 for side in size)):
        raise BadOption(f"size is the height and width of pictures, whole numbers from 1, got {size!r}")
    if in_channels is not None and (type(in_channels) is not int or in_channels < 1):
        raise BadOption(f"in_channels is a whole number from 1, got {in_channels!r}")
    graph = read_graph(prototxt, where)
    inputs = tuple(_sized(given, size, in_channels, where) for given in graph.inputs)
    first = inputs[0].shape
    other = next((one for one in inputs if (one.shape[0], *one.shape[2:]) != (first[0], *first[2:])), None)
    if other is not None:
        raise WeightsError(
            f"{where}: the inputs come as one tensor, but {inputs[0].name[:SHOWN]!r} is {times(first)} and "
            f"{other.name[:SHOWN]!r} {times(other.shape)}; expected the same but for the channels"
        )
    return CaffeNetwork(Graph(inputs, graph.layers), output=output)


def _sized(given: Input, size: Sequence[int] | None, in_channels: int | None, where: str) -> Input:
    """An input with all four lengths."""
    if len(given.shape) not in (0, 4):
        raise WeightsError(
            f"{where}: expected pictures (N, C, H, W) for the input {given.name!r}, found {times(given.shape)}"
        )
    n, channels, height, width = given.shape or (1, 0, 0, 0)
    if not channels:
        channels = in_channels or (1 if "depth" in given.name else USUAL[0])
    height, width = size or (height or USUAL[1], width or USUAL[2])
    return Input(given.name, (n, channels, height, width))


class CaffeNetwork(nn.Module):
    """A prototxt's layers, one after the other: (N, C, H, W) → every blob that nobody reads, or the prediction.

    Attributes:
        inputs: name and shape of each input; the pictures hold their channels one behind the other.
        outputs: names of the blobs that no layer reads.
        output: the one that is the prediction.
        in_channels: C.
        input_size: (H, W) that the prototxt names.
        num_classes: channels of the prediction.
    """

    def __init__(self, graph: Graph, *, output: str | None = None) -> None:
        super().__init__()
        self.inputs = graph.inputs
        self.in_channels = sum(given.shape[1] for given in graph.inputs)
        self.input_size = graph.inputs[0].shape[2:]
        self.layers = nn.Module()
        device = torch.get_default_device()
        with torch.device("meta"), torch.no_grad():
            self.steps, blobs = self._built(graph)
        self._allocate(device)
        self.outputs = unread_blobs(graph)
        self.output = self._output(output, blobs)
        self.num_classes = blobs[self.output].shape[1]
        self._is_map = len(blobs[self.output].shape) == 4
        self._grid = blobs[self.output].grid
        self._head_plan = self._plan({self.output})

    def forward(self, images: Tensor) -> Tensor:
        """The prediction: a map at the pictures' size, (N, C, H, W) → (N, K, H, W); (N, K) of a classifier.

        Raises:
            ShapeError: a layer cannot take pictures of this size; names it.
        """
        if not self._is_map:
            return self._walk(images, self._head_plan)[self.output]
        return self.heads(images)["logits"].full_size()

    def heads(self, images: Tensor) -> dict[str, Head]:
        """The prediction, with the upsampling that the prototxt has.

        Where it is not of the pictures' size, its cells lie on their pixels as the layers' strides and borders say
        (spec networks-2014-2016 §2.3); where these do not say it (Interp to a fixed size), corner to corner. A softmax
        at the end gives probabilities; an ArgMax at the end is left out.
        """
        scores = self._walk(images, self._head_plan)[self.output]
        if not self._is_map:
            raise ShapeError(
                f"{self.output!r} is {times(scores.shape)} and no map (N, K, h, w); make the classifier convolutional "
                "with pixelwise.surgery.convolutionalize"
            )
        resampling = self._resampling(scores, images)
        if self._kind(self.output) == "Softmax":
            return {"logits": Head(scores, resampling, "probabilities")}
        return {"logits": Head(scores, resampling)}

    def run(self, images: Tensor, tops: Iterable[str] = ()) -> dict[str, Tensor]:
        """What Caffe's `forward` gives: {name: blob} of all blobs that no layer reads.

        Args:
            tops: further blobs, as they are at the end.

        Raises:
            ShapeError: a layer cannot take pictures of this size; names it.
            UnknownName: there is no such blob.
        """
        wanted = {*self.outputs, *tops}
        for name in sorted(wanted - self._names()):
            raise unknown_name("blob", name, self._names())
        blobs = self._walk(images, self._plan(wanted))
        return {name: blob for name, blob in blobs.items() if name in wanted}

    def load_caffemodel(self, weights: CaffeWeights, *, partial: bool = False) -> CaffeFit:
        """Copy weights by the layers' names, as Caffe does: as many blobs, of the same sizes.

        Args:
            partial: take a file that lacks layers of the network; these keep what they have.

        Raises:
            WeightsError: blobs do not fit, or layers are missing.
        """
        steps = [step for step in self.steps if step.blobs]
        names, given = dict.fromkeys(step.text.name for step in steps), weights.by_name
        missing = tuple(name for name in names if name not in given)
        fit = CaffeFit(
            tuple(name for name in names if name in given), missing, tuple(name for name in given if name not in names)
        )
        if missing and not partial:
            raise WeightsError(
                f"the weights ({weights.name or 'a caffemodel'}) are not of this prototxt: {fit}; pass the prototxt "
                "that belongs to them, or partial=True to leave these layers as they are"
            )
        with torch.no_grad():
            for step in steps:
                if step.text.name in given:
                    self._load(step, given[step.text.name].blobs)
        return fit._replace(doubt=self._doubt())

    def accepts(self, height: int, width: int) -> bool:
        """Whether all layers that the prediction needs take pictures of this size."""
        held = [*self.named_parameters(remove_duplicate=False), *self.named_buffers(remove_duplicate=False)]
        state = {name: tensor.detach().to("meta") for name, tensor in held}
        pictures = torch.empty(self.inputs[0].shape[0], self.in_channels, height, width, device="meta")
        try:
            with torch.no_grad():
                torch.func.functional_call(self, state, (pictures,), tie_weights=False)
        except (ShapeError, RuntimeError):
            return False
        return True

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """As of every module, weights that layers share once."""
        state = super().state_dict(*args, **kwargs)
        for alias in self._shared:
            state.pop(f"{kwargs.get('prefix', '')}{alias}", None)
        return state

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *args: Any) -> None:
        for alias, owner in self._shared.items():
            if f"{prefix}{owner}" in state_dict:
                state_dict[f"{prefix}{alias}"] = state_dict[f"{prefix}{owner}"]
        super()._load_from_state_dict(state_dict, prefix, *args)

    def _built(self, graph: Graph) -> tuple[tuple[Step, ...], dict[str, Blob]]:
        """The layers' modules, put under their keys, and what is known of each blob at the end."""
        values = {given.name: _drawn_up(given) for given in graph.inputs}
        blobs = {given.name: Blob(given.shape, Grid("")) for given in graph.inputs}
        pictures, taken = graph.inputs[0].shape[0], dict[str, int]()
        in_place = in_place_layers(graph)
        steps, fills = [], {}
        for number, text in enumerate(graph.layers):
            bottoms = [blobs[name] for name in text.bottoms]
            try:
                check_bottoms(text, [values[name].dtype == torch.int64 for name in text.bottoms])
                built = LAYERS[text.type](text, bottoms)
                modules = [module for module in (built.flatten, built.module) if module is not None]
                given: Any = [values[name] for name in text.bottoms]
                if built.alike:  # not run: on the meta device a sum needs torch._dynamo, whose import takes a second
                    given = given[:1]
                for module in [] if built.alike else modules:
                    given = module.eval()(*given)
                    given = list(given) if isinstance(given, tuple) else [given]
            except WeightsError:
                raise
            except (RuntimeError, TypeError, ValueError, OverflowError, IndexError) as error:
                sizes = ", ".join(times(bottom.shape) for bottom in bottoms)
                raise text.refused(f"cannot take {sizes}: {_one_line(error)}") from error
            if len(given) != len(text.tops):
                raise text.refused(f"gives {len(given)} tops here, and has {len(text.tops)}")
            if number in in_place and isinstance(built.module, nn.ReLU | nn.LeakyReLU):
                built.module.inplace = True
            key = _key(text.name, self.layers, taken)
            keys = (key,) if built.flatten is None else (_key(f"{text.name}_flatten", self.layers, taken), key)
            for name, module in zip(keys, modules, strict=True):
                self.layers.add_module(name, module)
            steps.append(Step(text, keys, built.blobs, built.load))
            fills[key] = built.fill or {}
            lost = Grid(text.name or f"layer {number + 1}")
            grid = bottoms[0].grid.then(built.moves) if built.moves else lost
            grid = grid if grid.most < MOST_PLACE else lost
            for top, value in zip(text.tops, given, strict=True):
                if value.numel() > MOST_VALUES * pictures:
                    raise text.refused(
                        f"gives {times(value.shape)}, more than {MOST_VALUES} values for a picture; expected a "
                        "smaller input, padding or zoom"
                    )
                values[top] = value
                blobs[top] = Blob(tuple(value.shape), grid)
        self._fills = fills
        return tuple(steps), blobs

    def _allocate(self, device: torch.device) -> None:
        """Memory for the weights, filled; layers that share a name of `param` share the weight."""
        count = sum(tensor.numel() for tensor in (*self.parameters(), *self.buffers()))
        if count > MOST_WEIGHTS:
            raise WeightsError(
                f"the prototxt has {count} weights; a .caffemodel holds at most {MOST_WEIGHTS}. Is a num_output wrong?"
            )
        self._apply(lambda tensor: torch.zeros_like(tensor, device=device))  # type: ignore[no-untyped-call]  # untyped in torch
        for key, fills in self._fills.items():
            for name, value in fills.items():
                tensor = getattr(getattr(self.layers, key), name)
                if tensor is None:
                    continue
                if value == "bilinear" and tensor.ndim != 4:
                    raise WeightsError(
                        f"layer {key[:SHOWN]!r} has a bilinear filler for {name}, which is {times(tensor.shape)}; it "
                        "is for the weight of a Convolution or a Deconvolution"
                    )
                with torch.no_grad():
                    tensor.copy_(_bilinear(tensor)) if value == "bilinear" else tensor.fill_(value)
        del self._fills
        self._shared: dict[str, str] = {}
        owners: dict[str, str] = {}
        for step in self.steps:
            for name, wanted in zip(step.blobs, _shared_names(step.text), strict=False):
                here = f"layers.{step.keys[-1]}.{name}"
                if not wanted or not name or owners.setdefault(wanted, here) == here:
                    continue
                owner = getattr(
                    self.get_submodule(owners[wanted].rpartition(".")[0]), owners[wanted].rpartition(".")[2]
                )
                module = getattr(self.layers, step.keys[-1])
                if owner.shape != getattr(module, name).shape:
                    raise step.text.refused(
                        f"shares {wanted!r} with {owners[wanted]}, of {times(owner.shape)}, and needs "
                        f"{times(getattr(module, name).shape)}"
                    )
                setattr(module, name, owner)
                self._shared[here] = owners[wanted]

    def _output(self, wanted: str | None, blobs: Mapping[str, Blob]) -> str:
        """The blob that is the prediction."""
        if wanted is not None and wanted not in self._names():
            raise unknown_name("blob", wanted, self._names())
        maps = [name for name in self.outputs if len(blobs[name].shape) == 4]
        name = wanted or (maps or list(self.outputs))[-1]
        if self._kind(name) == "ArgMax":
            name = next(step.text.bottoms[0] for step in reversed(self.steps) if name in step.text.tops)
            if name not in self._names():
                raise WeightsError(f"the output is an ArgMax of the input {name!r}; expected layers that give scores")
        if len(blobs[name].shape) < 2:
            raise WeightsError(f"the output {name!r} is {times(blobs[name].shape)}; expected classes along axis 1")
        return name

    def _names(self) -> set[str]:
        return {top for step in self.steps for top in step.text.tops}

    def _kind(self, name: str) -> str:
        """The type of the layer that gives a blob last."""
        return next((step.text.type for step in reversed(self.steps) if name in step.text.tops), "Input")

    def _plan(self, wanted: set[str]) -> tuple[tuple[Step, tuple[str, ...]], ...]:
        """The steps that these blobs need, each with the blobs that nobody reads after it."""
        needed, steps = set(wanted), []
        for step in reversed(self.steps):
            if not needed.isdisjoint(step.text.tops):
                needed.difference_update(step.text.tops)
                needed.update(step.text.bottoms)
                steps.append(step)
        plan, later = [], set(wanted)
        for step in steps:
            names = {*step.text.bottoms, *step.text.tops}
            plan.append((step, tuple(sorted(names - later))))
            later |= names
        return tuple(reversed(plan))

    def _walk(self, images: Tensor, plan: Sequence[tuple[Step, tuple[str, ...]]]) -> dict[str, Tensor]:
        """The blobs that are left after these steps."""
        blobs = self._split(images)
        pooled: dict[str, Sequence[int]] = {}  # {mask: the size of the map that its pool read}
        for step, dead in plan:
            values = [blobs[name] for name in step.text.bottoms]
            for name in dead:
                blobs.pop(name, None)
            try:
                if step.text.type in UNPOOLING:
                    self._check_unpooled(step, values[0], pooled.get(step.text.bottoms[1]), images)
                tops = self._called(step, values)
                if step.text.type == "Pooling" and len(tops) > 1:
                    pooled[step.text.tops[1]] = values[0].shape[2:]
            except ShapeError as error:
                raise self._refused(step, images, error) from error
            except RuntimeError as error:
                sized = len(images) == self.inputs[0].shape[0]
                if not images.is_meta and sized and self.accepts(*images.shape[2:]):
                    raise  # it is not the size
                raise self._refused(step, images, error) from error
            blobs.update((name, value) for name, value in zip(step.text.tops, tops, strict=True) if name not in dead)
        return blobs

    def _split(self, images: Tensor) -> dict[str, Tensor]:
        """The inputs, which lie one behind the other in the channels."""
        if images.ndim != 4 or images.shape[1] != self.in_channels:
            raise ShapeError(
                f"the prototxt takes pictures (N, {self.in_channels}, H, W), got {times(tuple(images.shape))}"
            )
        if len(self.inputs) == 1:
            return {self.inputs[0].name: images}
        parts = torch.split(images, [given.shape[1] for given in self.inputs], 1)
        return {given.name: part for given, part in zip(self.inputs, parts, strict=True)}

    def _called(self, step: Step, values: Sequence[Tensor]) -> Sequence[Tensor]:
        for key in step.keys[:-1]:
            values = (getattr(self.layers, key)(*values),)
        tops = getattr(self.layers, step.keys[-1])(*values)
        return tops if isinstance(tops, tuple) else (tops,)

    def _check_unpooled(self, step: Step, values: Tensor, pooled: Sequence[int] | None, images: Tensor) -> None:
        """Whether the places of a mask are those of the map that is made by it.

        Caffe stops at a place beyond the map. Where the map has other columns than the pool's bottom, values get to
        wrong places; Caffe does that, and so does this at the size that the prototxt is written for.

        Raises:
            ShapeError: they are not.
        """
        if pooled is None:
            return
        size = unpooled_size(values, **getattr(self.layers, step.keys[-1]).settings)
        written_for = tuple(images.shape[2:]) == tuple(self.input_size)
        if math.prod(size) < math.prod(pooled) or (not written_for and (size[0] < pooled[0] or size[1] != pooled[1])):
            raise ShapeError(f"its map is {times(size)}, and the mask is of a pool of {times(pooled)}")

    def _refused(self, step: Step, images: Tensor, error: Exception) -> ShapeError:
        (height, width), count = images.shape[2:], self.inputs[0].shape[0]
        what = f"pictures of {height} × {width}"
        advice = f"the prototxt is written for {times(self.input_size)}: resize to that"
        if len(images) != count and self.accepts(height, width):
            what = f"{len(images)} {'picture' if len(images) == 1 else 'pictures'} at once"
            advice = f"the prototxt is written for {count}"
        return ShapeError(
            f"layer {step.text.name!r} ({step.text.type}) cannot take {what}: {_one_line(error)}; {advice}"
        )

    def _resampling(self, scores: Tensor, images: Tensor) -> Resampling:
        coarse, size = scores.shape[2:], images.shape[2:]
        if tuple(coarse) == tuple(size):
            return Resampling.identity((size[0], size[1]))
        if self._grid.root:
            return Resampling.align_corners((coarse[0], coarse[1]), (size[0], size[1]))
        axes = zip(self._grid.moves, size, coarse, strict=True)
        return Resampling(
            *(Taps.at(float(scale) * np.arange(n) + float(shift), cells) for (scale, shift), n, cells in axes)
        )

    def _load(self, step: Step, blobs: Sequence[Any]) -> None:
        """Copy a layer's blobs into its module."""
        module = getattr(self.layers, step.keys[-1])
        if len(blobs) != len(step.blobs):
            raise step.text.refused(f"has {len(step.blobs)} blobs, and the weights have {len(blobs)} for it")
        values: Sequence[Tensor] = [torch.from_numpy(np.array(blob)) for blob in blobs]
        values = step.load(values) if step.load else values
        for place, (name, value) in enumerate(zip(step.blobs, values, strict=True)):
            if name:
                tensor = getattr(module, name)
                if not _fits(tuple(value.shape), tuple(tensor.shape)):
                    raise step.text.refused(
                        f"needs {times(tensor.shape)} for blob {place}, and the weights have {times(value.shape)}"
                    )
                tensor.copy_(value.reshape(tensor.shape))

    def _doubt(self) -> str:
        """Whether SegNet's first BN gives, for a drawn picture of levels 0–255, what no trained one does."""
        first, side = DOUBTED
        until: list[Step] = []
        for step in self.steps[:first]:
            until.append(step)
            if isinstance(getattr(self.layers, step.keys[-1]), InferenceBN):
                break
        else:
            return ""
        height, width = (min(length, side) for length in self.input_size)
        picture = drawn_picture(self.in_channels, height, width).to(next(self.parameters()).device)
        try:
            with torch.no_grad():
                top = self._walk(picture, [(one, ()) for one in until])[step.text.tops[0]]
        except (ShapeError, RuntimeError):
            return ""  # a layer before it takes pictures of the one size alone
        return stray(step.text.name, top)


def _drawn_up(given: Input) -> Tensor:
    """An input without numbers.

    Raises:
        WeightsError: no picture has so many.
    """
    if math.prod(given.shape[1:]) > MOST_VALUES or math.prod(given.shape) >= 1 << 60:
        raise WeightsError(
            f"the input {given.name[:SHOWN]!r} is {times(given.shape)}, more than {MOST_VALUES} values for a picture"
        )
    return torch.empty(given.shape)


def _key(name: str, layers: nn.Module, taken: dict[str, int]) -> str:
    """The name of a layer's module: no dots and slashes, and nothing that a module has.

    Args:
        taken: {name: the number that the last layer of this name got}, kept here.
    """
    key = name.replace(".", "_").replace("/", "_") or "layer"
    number = taken.get(key, 0) + 1
    while hasattr(layers, free := key if number == 1 else f"{key}_{number}"):
        number += 1
    taken[key] = number
    return free


def _shared_names(layer: LayerText) -> list[str]:
    """The names under which a layer's blobs are shared; "" for those that are its own."""
    names = []
    for value in layer.message.all("param"):
        names.append(value.get("name", "") if isinstance(value, Message) else str(value))
    return names


def _bilinear(weight: Tensor) -> Tensor:
    """Caffe's filler: (1 − |x/f − c|)(1 − |y/f − c|), f = ⌈k/2⌉, c = (k − 1)/(2f) of the columns, in every channel.

    Source: spec networks-2014-2016 §1.5 (CAFFE `filler.hpp`).
    """
    rows, columns = weight.shape[2:]
    factor = (columns + 1) // 2
    center = (columns - 1) / (2 * factor)
    down, right = (
        1 - (torch.arange(length, dtype=torch.float64) / factor - center).abs() for length in (rows, columns)
    )
    return (down[:, None] * right).expand(weight.shape)


def _fits(given: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    """Whether a blob is a weight's: of the same shape but for leading ones, or a matrix of the same rows."""
    one, other = _stripped(given), _stripped(wanted)
    same_rows = math.prod(one) == math.prod(other) and one[:1] == other[:1] and min(len(one), len(other)) <= 2
    return one == other or same_rows


def _stripped(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Without leading ones, as old files have them."""
    return tuple(shape[next((i for i, length in enumerate(shape) if length != 1), len(shape)) :])


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def _listed(names: Sequence[str]) -> str:
    if not names:
        return ""
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return f" ({', '.join(names[:LISTED])}{more})"
