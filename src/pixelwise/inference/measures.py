"""Measures beside the scores of one confusion matrix, by the names that `--protocol` takes after a protocol's own.

trimap_void      scores within bands around void, over their widths: DeepLab's (`protocols.boundaries`)
trimap_labels    the same around changes of the label, for masks without rings of void
boundary_segnet  boundary F with outlines matched one to one: SegNet's (`protocols.boundary_f`); needs SciPy
boundary_davis   boundary F with outlines matched by dilation
upper_bound      the best mean IoU of predictions that are coarse by a factor, of the masks alone
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from numpy.typing import NDArray

from pixelwise.errors import BadOption, unknown_name
from pixelwise.protocols import PROTOCOLS, Protocol
from pixelwise.protocols.accumulate import Classes
from pixelwise.protocols.boundaries import TrimapAccumulator, TrimapCurve
from pixelwise.protocols.boundary_f import BoundaryFAccumulator, BoundaryScores
from pixelwise.protocols.upper_bound import UpperBound, UpperBounds

Measured = TrimapCurve | BoundaryScores | tuple[UpperBound, ...]

PLAIN = replace(PROTOCOLS["fcn"], counts="void pixels are not counted", strange_targets="refused")
"""fcn's scores, where a target that is neither a class nor void is an error: what is measured by, unless asked."""


@dataclass(frozen=True)
class Measure:
    """A measure while it is counted.

    Attributes:
        update: takes (prediction (H, W), target (H, W), name of the picture).
        result: what was counted so far.
    """

    update: Callable[[NDArray[Any], NDArray[Any], str], None]
    result: Callable[[], Measured]


def _trimap_void(classes: Classes, protocol: Protocol) -> Measure:
    counter = TrimapAccumulator(classes, around="void", protocol=protocol)
    return Measure(lambda p, t, name: counter.update(p, t, name=name), counter.curve)


def _trimap_labels(classes: Classes, protocol: Protocol) -> Measure:
    counter = TrimapAccumulator(classes, around="labels", protocol=protocol)
    return Measure(lambda p, t, name: counter.update(p, t, name=name), counter.curve)


def _boundary_segnet(classes: Classes, protocol: Protocol) -> Measure:
    counter = BoundaryFAccumulator(classes, variant="segnet", protocol=_in_classes(protocol))
    return Measure(lambda p, t, name: counter.update(p, t, name=name), counter.scores)


def _boundary_davis(classes: Classes, protocol: Protocol) -> Measure:
    counter = BoundaryFAccumulator(classes, variant="davis", protocol=_in_classes(protocol))
    return Measure(lambda p, t, name: counter.update(p, t, name=name), counter.scores)


def _upper_bound(classes: Classes, protocol: Protocol) -> Measure:
    counter = UpperBounds(classes, protocol=replace(protocol, heads=()))
    return Measure(lambda p, t, name: counter.update(t, name=name), lambda: tuple(counter.bounds()))


def _in_classes(protocol: Protocol) -> Protocol:
    """A protocol that counts the data set's own classes, as Cityscapes' label ids are none."""
    return PLAIN if protocol.accumulator_type is PROTOCOLS["cityscapes"].accumulator_type else protocol


MEASURES: dict[str, Callable[[Classes, Protocol], Measure]] = {
    "trimap_void": _trimap_void,
    "trimap_labels": _trimap_labels,
    "boundary_segnet": _boundary_segnet,
    "boundary_davis": _boundary_davis,
    "upper_bound": _upper_bound,
}
"""{name: function(classes, protocol) that begins to count}"""


def protocols_of(text: str | None) -> tuple[Protocol | None, tuple[str, ...]]:
    """(protocol, names of measures) of names separated by commas; no protocol where none is named.

    >>> found, measures = protocols_of("voc,trimap_void")
    >>> found.name, measures
    ('voc', ('trimap_void',))

    Raises:
        UnknownName: a name is neither.
        BadOption: two protocols are named.
    """
    protocol: Protocol | None = None
    measures: list[str] = []
    for name in (part.strip() for part in (text or "").split(",")):
        if name in PROTOCOLS:
            if protocol is not None:
                raise BadOption(f"one protocol at a time, got {protocol.name} and {name}: evaluate once by each")
            protocol = PROTOCOLS[name]
        elif name in MEASURES:
            measures.append(name)
        elif name:
            raise unknown_name("protocol", name, [*PROTOCOLS, *MEASURES])
    return protocol, tuple(dict.fromkeys(measures))
