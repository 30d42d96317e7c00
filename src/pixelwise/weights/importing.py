"""Released weights put into our networks by a format, all of them or none; and the way back."""

import copy
from collections.abc import Mapping
from dataclasses import replace
from fnmatch import fnmatchcase

from torch import Tensor, nn

from pixelwise.errors import BadOption, WeightsError
from pixelwise.surgery.transplant import Entry, Transplant, transplant
from pixelwise.weights.fixed import TOLERANCE, bilinear_kernel, is_near
from pixelwise.weights.formats import Tensors, WeightFormat, layer_paths, unchanged

LISTED = 8  # names that an error lists
COUNTERS = ("num_batches_tracked",)  # no weights: Caffe has none, and nothing depends on them


def load_weights(
    network: nn.Module, tensors: Mapping[str, Tensor], format: WeightFormat, *, partial: bool = False
) -> Transplant:
    """Give a network of `format.model`, in place, a file's tensors, and tell what became of each layer.

    Args:
        network: of any width that the tensors fit.
        tensors: of the file, as `pixelwise.weights.files` reads them.
        partial: take what fits where the file or the network has more. Nothing is changed otherwise.

    Returns:
        What became of each layer; `left` are our layers for which the file has nothing, `unused` theirs.

    Raises:
        WeightsError: layers are missing, left over or of other shapes, and `partial` is not set; a fixed
            deconvolution of the file is not the bilinear one; nothing fits.
    """
    theirs = format.prepare(dict(tensors))
    layers = format.layers(network)
    spare = _spare(network, theirs, layers, format)
    taken = {name: tensor for name, tensor in theirs.items() if _layer(name) not in spare}
    there = {_layer(name) for name in taken}
    rename = {path: layers[path] if layers.get(path) in there else None for path in layer_paths(network)}
    if all(other is None for other in rename.values()):
        raise WeightsError(
            f"the file holds none of the layers of {format.name}: expected {_listed(list(layers.values()))}, found "
            f"{_listed(sorted(there))}"
        )

    def put(target: nn.Module, source: Mapping[str, Tensor]) -> Transplant:
        return transplant(source, target, rename=rename, reverse_channels=format.reverse_channels, quiet=True)

    if not partial:
        meta = {name: tensor.to("meta") for name, tensor in taken.items()}
        _refuse_partial(put(_skeleton(network), meta), network, taken, rename, format)
    done = put(network, taken)
    left = tuple(
        replace(entry, how="the file has no such layer") if rename[entry.target] is None else entry
        for entry in done.left
    )
    return Transplant(
        done.copied, done.reshaped, left, done.unused + tuple(Entry("", name, how) for name, how in spare.items())
    )


def foreign_tensors(network: nn.Module, format: WeightFormat) -> Tensors:
    """The tensors of a network of `format.model` under the format's names and in its order of channels.

    Raises:
        BadOption: what `prepare` does has no inverse.
    """
    if format.prepare is not unchanged and format.restore is None:
        raise BadOption(f"weights cannot be written as {format.name}: what reading does to them cannot be undone")
    layers = format.layers(network)
    state = network.state_dict()
    if format.reverse_channels:
        mirror = _empty_like(network)
        transplant(network, mirror, rename={path: path for path in layers}, reverse_channels=True, quiet=True)
        state = mirror.state_dict()
    named = {
        f"{layers[_layer(name)]}.{name.rpartition('.')[2]}": tensor.detach().clone()
        for name, tensor in state.items()
        if name.rpartition(".")[2] not in COUNTERS or format.kind == "torch"
    }
    restored = format.restore(named) if format.restore is not None else named
    # what the release has fixed, but for what this network has learned
    return restored | {name: tensor for name, tensor in format.fixed(network).items() if name not in restored}


def _spare(network: nn.Module, tensors: Tensors, layers: Mapping[str, str], format: WeightFormat) -> dict[str, str]:
    """{their layer: why it is not needed} of those that the format fixes or ignores.

    Raises:
        WeightsError: one is no bilinear deconvolution as the network has it.
    """
    mapped, spare = set(layers.values()), dict[str, str]()
    fixed = format.fixed(network)
    deconvolutions = {_layer(name) for name in fixed}
    for name, tensor in tensors.items():
        layer = _layer(name)
        if layer in mapped:
            continue
        if name in fixed:
            if tensor.shape != fixed[name].shape or not is_near(tensor, fixed[name]):
                raise _not_fixed(name, tensor, f"the bilinear one of shape {tuple(fixed[name].shape)}")
            spare[layer] = "fixed in the network, too: checked"
        elif layer in deconvolutions:
            if tensor.is_meta or tensor.abs().max() > TOLERANCE:
                raise _not_fixed(name, tensor, "none")
        elif any(fnmatchcase(layer, pattern) for pattern in format.ignore):
            if tensor.dim() == 4 and max(tensor.shape[2:]) > 1 and tensor.shape[1] in (1, tensor.shape[0]):
                if not is_near(tensor, bilinear_kernel(tensor.shape, tensor.device)):
                    raise _not_fixed(name, tensor, "a bilinear one")
            spare.setdefault(layer, "not needed")
    return spare


def _not_fixed(name: str, tensor: Tensor, expected: str) -> WeightsError:
    return WeightsError(
        f"{name.removesuffix('.weight')} of the file, {tuple(tensor.shape)}, is not the fixed deconvolution of our "
        f"network: expected {expected}; to run the file as it is, give its deploy.prototxt, too (caffe_network)"
    )


def _refuse_partial(
    report: Transplant,
    network: nn.Module,
    tensors: Mapping[str, Tensor],
    rename: Mapping[str, str | None],
    format: WeightFormat,
) -> None:
    """Refuse what would not be taken whole, with one line.

    Raises:
        WeightsError: listing what is missing, unused, or of another shape.
    """
    missing = [entry.target for entry in report.left if not entry.source]
    unfit = [f"{entry.target} ({entry.how})" for entry in report.left if entry.source]
    unused = [entry.source for entry in report.unused]
    ours, theirs = _parts(network.state_dict(keep_vars=True)), _parts(tensors)
    stays = {entry.target for entry in report.left}
    for path, other in rename.items():
        if other is None or path in stays:
            continue
        mine, given = ours[path], theirs[other]
        missing += [f"{path}.{part}".strip(".") for part in mine if part not in given]
        unused += [f"{other}.{part}" for part in given if part not in mine]
    parts = [
        f"{len(names)} {what}: {_listed(names)}"
        for what, names in (
            ("of our layers are missing from the file", missing),
            ("have other shapes", unfit),
            ("of its layers would be unused", unused),
        )
        if names
    ]
    if parts:
        raise WeightsError(
            f"the file does not fit {format.model} as {format.name}: {'; '.join(parts)}. To take what fits, "
            "give partial=True (--partial)"
        )


def _skeleton(network: nn.Module) -> nn.Module:
    """A copy without numbers, on the meta device."""
    memo: dict[int, object] = {}
    for tensor in network.state_dict(keep_vars=True).values():
        empty = tensor.detach().to("meta")
        memo[id(tensor)] = nn.Parameter(empty, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else empty
    return copy.deepcopy(network, memo)


def _empty_like(network: nn.Module) -> nn.Module:
    """A copy with memory of its own, whose numbers mean nothing yet."""
    return copy.deepcopy(network)


def _parts(tensors: Mapping[str, Tensor]) -> dict[str, list[str]]:
    """{layer: what it holds, but for counters}."""
    parts: dict[str, list[str]] = {}
    for name in tensors:
        layer, _, part = name.rpartition(".")
        parts.setdefault(layer, []).extend([part] if part not in COUNTERS else [])
    return parts


def _layer(name: str) -> str:
    return name.rpartition(".")[0]


def _listed(names: list[str]) -> str:
    return ", ".join(names[:LISTED]) + (f", … ({len(names)} in all)" if len(names) > LISTED else "")
