"""Weights of one network put into another, layer by layer, with a report of what became of each.

A layer is what stands under one module path: weight, bias, running statistics. Layers are paired by name, or by order
and shape; a pair of other shapes is fitted where the papers say how:

| the source's layer       | the target's layer           | what it gets                                             |
| ------------------------ | ---------------------------- | -------------------------------------------------------- |
| fully connected          | a convolution, or the reverse | the same numbers, (O, C·h·w) as (O, C, h, w)            |
| first, 3 channels        | first, more channels         | their mean, copies, or what it starts with (FCN, §5)     |
| first, N channels        | first, 1 channel             | their sum, which answers a gray picture as before        |
| scores of named classes  | scores of other named classes | each class that both have, by its name                  |
| k × k taps, O filters    | fewer taps, inputs, filters  | evenly spaced ones, if asked (DeepLab, §3.2)             |

Everything else stays as it starts, and the report says why. Long, Shelhamer, Darrell, arXiv 1411.4038, §3.1, §4.2, §5;
Chen et al., arXiv 1412.7062, §3.2.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from pixelwise.errors import BadOption, WeightsError
from pixelwise.surgery.transplant_fits import Classes, Fitting, NewChannels, decimate
from pixelwise.surgery.transplant_layers import Layer, layers_of, written
from pixelwise.surgery.transplant_pairs import Pairs, pair_by_name, pair_by_order, renamed
from pixelwise.surgery.transplant_report import Entry, Transplant

__all__ = ["transplant", "Transplant", "Entry", "decimate"]


def transplant(
    source: nn.Module | Mapping[str, Tensor],
    target: nn.Module,
    *,
    rename: Mapping[str, str | None] | None = None,
    match: Literal["name", "shape"] = "name",
    new_channels: NewChannels = "mean",
    reverse_channels: bool = False,
    source_classes: Sequence[str] | None = None,
    target_classes: Sequence[str] | None = None,
    score_layers: Sequence[str] | None = None,
    decimate: bool = False,
    quiet: bool = False,
) -> Transplant:
    """Give `target`, in place, the weights of `source` that fit, and tell (print, unless `quiet`) what became of each.

    Layers are paired by `rename` first, then by equal paths, then by the ends of their paths, where these belong
    together in one way alone: `classifier.fc6` and `backbone.fc6`. What requires a gradient, dtypes and devices stay
    the target's.

    Args:
        source: a network, or tensors by name, as a file holds them; "module." before all names is dropped.
        rename: {path in the target: path in the source}, of layers or of modules that hold them; None for a layer that
            stays as it is.
        match: "shape" pairs what names leave over in the order of the layers, where kinds and shapes fit; numbers,
            as `features.0`, then are no names.
        new_channels: of the first convolution, where the target's reads more channels than the source's: the "mean" of
            the source's, a "copy" of them in turn, or what they "start" with.
        reverse_channels: one network reads RGB and the other BGR; the first three channels of the first convolution
            change places. What holds for it holds for others that take as many channels, if no layer gives so many:
            they read the picture, too.
        source_classes, target_classes: the classes' names, in order, upper and lower case alike. With both, layers
            that score classes take each class by its name; others stay as they start. Without, a layer of another
            number of classes stays as it starts.
        score_layers: paths in the target of the layers that give scores of classes, or of modules that hold them; what
            one of them takes from another are the classes, too. If left out, those that give as many channels as there
            are classes.
        decimate: a layer with fewer taps, inputs or filters than the source's gets evenly spaced ones.

    Raises:
        BadOption: an option names what is not there, or does not say which layers are meant.
        WeightsError: nothing of the source fits.

    Source: Long et al. 2015, §3.1, §4.2, §5; Chen et al. 2015, §3.2.

    >>> report = transplant({"fc6.weight": torch.ones(4, 18)}, nn.ModuleDict({"fc6": nn.Conv2d(2, 4, 3, bias=False)}))
    0 copied, 1 reshaped, 0 left at start, 0 unused
    reshaped       fc6  18 inputs as 2 × 3 × 3
    """
    if match not in ("name", "shape"):
        raise BadOption(f'match must be "name" or "shape", got {match!r}')
    if new_channels not in ("mean", "copy", "start"):
        raise BadOption(f'new_channels must be "mean", "copy" or "start", got {new_channels!r}')
    theirs, ours = layers_of(source, "source"), layers_of(target, "target")
    classes = Classes.of(source_classes, target_classes)
    fitting = Fitting(theirs, ours, new_channels, reverse_channels, classes, decimate)
    pairs = renamed(theirs, ours, rename or {})
    doubtful = pair_by_name(theirs, ours, pairs, None if match == "name" else fitting)
    if match == "shape":
        pair_by_order(theirs, ours, pairs, fitting)
    fitting.find_score_layers(pairs, score_layers)
    report, values = _planned(theirs, ours, pairs, doubtful, fitting)
    if not values:
        raise WeightsError(_nothing_fits(theirs, ours, match, report))
    for which, layers, other in (("source", theirs, ours), ("target", ours, theirs)):
        if _meta(layers) and not _meta(other):
            raise BadOption(f"the {which} is on the meta device and has no numbers; make or load it on another")
    with torch.no_grad():
        for tensor, value in values:
            tensor.copy_(value())
    if not quiet:
        print(report)
    return report


def _planned(
    theirs: dict[str, Layer], ours: dict[str, Layer], pairs: Pairs, doubtful: dict[str, str], fitting: Fitting
) -> tuple[Transplant, list[tuple[Tensor, Callable[[], Tensor]]]]:
    """The report, and what is to be copied."""
    copied: list[Entry] = []
    reshaped: list[Entry] = []
    left: list[Entry] = []
    values = []
    for path, layer in ours.items():
        other = pairs.get(path)
        if other is None:
            how = "the source has no such layer"
            if path in pairs:
                how = "kept, as rename says"
            elif path in doubtful:
                how = f"{doubtful[path]} of the source and others could be meant; say which in rename"
            left.append(Entry(path, "", how))
            continue
        fit = fitting.fit(theirs[other], layer)
        if isinstance(fit, str):
            left.append(Entry(path, other, fit))
            continue
        (copied if fit.exact else reshaped).append(Entry(path, other, fit.how))
        values += [(layer.tensors[name], value) for name, value in fit.values.items()]
    used = set(pairs.values())
    unused = [Entry("", path, "no layer of the target was paired with it") for path in theirs if path not in used]
    return Transplant(tuple(copied), tuple(reshaped), tuple(left), tuple(unused)), values


def _meta(layers: dict[str, Layer]) -> bool:
    return any(tensor.is_meta for layer in layers.values() for tensor in layer.tensors.values())


def _nothing_fits(theirs: dict[str, Layer], ours: dict[str, Layer], match: str, report: Transplant) -> str:
    first = [
        f"{path or 'the network itself'} ({', '.join(f'{n} {written(t.shape)}' for n, t in layer.tensors.items())})"
        for layers in (theirs, ours)
        for path, layer in [*layers.items()][:1]
    ]
    if len(first) < 2:
        return f"nothing to copy: the {'target' if theirs else 'source'} has no weights"
    advice = "name the pairs in rename" if match == "shape" else 'name the pairs in rename, or try match="shape"'
    reason = report.left[0]
    return (
        f"no layer of the source fits one of the target: it begins with {first[0]}, the target with {first[1]}; "
        f"{reason.target}: {reason.how}; {advice}"
    )
