"""Evaluate: a network against the masks of a data set, at the masks' own size, by a protocol."""

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixelwise.data.sample import Dataset, adapt_channels
from pixelwise.errors import BadOption, DataError, LabelError
from pixelwise.inference.engine import Engine, Predictor, engines_of
from pixelwise.inference.measures import MEASURES, PLAIN, Measured
from pixelwise.inference.predict import predict_heads, predict_image
from pixelwise.inference.refine import Refinement, picture_digest
from pixelwise.inference.views import ONCE, Views
from pixelwise.labels import LabelSet
from pixelwise.layers.normalization import Normalization
from pixelwise.metrics import mean_iou_of_picture
from pixelwise.processes import current
from pixelwise.protocols import PROTOCOLS, Accumulator, Protocol, ProtocolScores
from pixelwise.protocols.cityscapes import CityscapesAccumulator
from pixelwise.protocols.intervals import Interval, score_difference, score_interval
from pixelwise.protocols.rules import USUAL
from pixelwise.protocols.server_files import Results

MOST_STATES = 2**27  # numbers of all pictures' states, 1 GiB, up to which intervals are computed


@dataclass(frozen=True)
class PictureScore:
    """How one picture of an evaluation went.

    Attributes:
        mean_iou: over the classes that are in the picture or predicted in it; for ranking, not the set's score.
    """

    index: int
    name: str
    mean_iou: float


@dataclass(frozen=True)
class Evaluation:
    """Scores of a whole set, how each picture did, and the time per million pixels in seconds.

    Attributes:
        accumulator: what counted, with the sums of each picture.
        pictures: that have a mask.
        views: scales, mirrored pictures and windows.
        note: what else the protocol has to say, as which classes do not count.
        refinement: the CRF behind the network.
        measures: {name in `MEASURES`: what was found}.
    """

    scores: ProtocolScores
    accumulator: Accumulator = field(repr=False, compare=False)
    pictures: tuple[PictureScore, ...]
    seconds_per_megapixel: float
    views: Views = ONCE
    note: str = ""
    refinement: Refinement | None = None
    measures: Mapping[str, Measured] = field(default_factory=dict, compare=False)

    @property
    def protocol(self) -> str:
        """What the numbers mean, in one sentence."""
        seen = self.views.describe()
        if self.views == Views(flip=True):
            seen = "probabilities are averaged with those of the mirrored pictures"
        refined = f"labels are those of {self.refinement.describe()}" if self.refinement is not None else ""
        counted = f"{len(self.pictures)} picture{'s' if len(self.pictures) != 1 else ''}"
        parts = (
            f"one confusion matrix over {counted} at the masks' own sizes, scored by {self.scores.note}",
            seen,
            refined,
            self.note,
        )
        return "; ".join(part for part in parts if part)

    @cached_property
    def interval(self) -> Interval | None:
        """The 95 % bootstrap interval of mean IoU over pictures; None of fewer than two, or of too many classes."""
        if len(self.pictures) < 2 or len(self.pictures) * self.accumulator.state_size > MOST_STATES:
            return None
        return score_interval(self.accumulator)

    def to_record(self) -> dict[str, Any]:
        """All but the single pictures, as JSON can hold it."""
        return self.scores.to_record() | {
            "protocol_name": self.scores.protocol,
            "protocol": self.protocol,
            "pictures": len(self.pictures),
            "mean_iou_interval": None if self.interval is None else self.interval.to_record(),
            "views": self.views.to_record(),
            "crf": None if self.refinement is None else self.refinement.to_record(),
            "measures": {name: _record(found) for name, found in self.measures.items()},
        }


def difference(first: Evaluation, second: Evaluation) -> Interval | None:
    """Mean IoU of the second less that of the first on the same pictures, with its paired bootstrap interval.

    None where there are fewer than two pictures or too many classes for intervals.

    Raises:
        BadOption, DataError: they are not of the same pictures, by the same protocol.
    """
    if first.interval is None or second.interval is None:
        return None
    return score_difference(first.accumulator, second.accumulator)


def usual_protocol(dataset: Dataset) -> Protocol:
    """The protocol by which the papers score a data set, or fcn's where they have none of its own.

    Where the usual one has no score if a class occurs nowhere, as on a part of VOC, it is fcn's: on whole sets both
    give the same.
    """
    name = getattr(dataset, "name", "")
    names = ("context60", "context59", "context33") if name == "pascal_context" else (USUAL.get(name, ""),)
    for candidate in (PROTOCOLS[name] for name in names if name in PROTOCOLS):
        if candidate.absent == "not a number" or candidate.name == "fcn":
            continue
        try:
            candidate.accumulator(dataset.labels)
        except LabelError:  # other classes than the usual ones were chosen
            continue
        return candidate
    return PLAIN


def evaluate_network(
    predictor: Predictor | Sequence[Predictor],
    normalization: Normalization,
    dataset: Dataset,
    *,
    flip: bool = False,
    views: Views = ONCE,
    refinement: Refinement | None = None,
    protocol: Protocol = PLAIN,
    measures: Sequence[str] = (),
    sink: Callable[[Results], object] | None = None,
    progress: Callable[[int, int], None] | None = None,
    rank_pictures: bool = True,
) -> Evaluation:
    """Predict every picture of a data set and count it against its mask.

    Several processes (`pixelwise.processes`) each take a part of the pictures, and all have the scores of all.

    Args:
        predictor: an engine, or a network in evaluation mode; or several, whose probabilities are averaged.
        flip: average the probabilities with those of the mirrored pictures.
        views: scales, mirrored pictures and windows, as `predict_image` takes them.
        refinement: a CRF behind the network.
        protocol: how it is scored. Heads that it counts and the network or the data do not have are left out.
        measures: names in `MEASURES`.
        sink: takes (name, classes (H, W)) of every picture, as it is predicted; pictures need no masks then, and those
            without are not counted.
        progress: called with (done, all) after each picture.
        rank_pictures: give each picture's own mean IoU, too.

    Raises:
        DataError: the data set is empty or has no masks; or the protocol is Cityscapes', and only some of its pictures
            have instances.
        LabelError: the protocol is for other classes.
        BadOption: there are several processes, and measures or a sink.
    """
    if len(dataset) == 0:
        raise DataError("there is nothing to evaluate on: the data set has no pictures")
    processes = current()
    if processes.count > 1 and (measures or sink is not None):
        raise BadOption(
            "several processes count pictures by a protocol alone; for further measures and result files run one: "
            "leave out torchrun"
        )
    engines = engines_of(predictor)
    views = replace(views, flip=True) if flip and not views.flip else views
    protocol, notes = _with_heads(protocol, engines[0], normalization, dataset)
    accumulator = protocol.accumulator(dataset.labels)
    labels = dataset.labels["labels"]
    instances, told = _instances(dataset, accumulator)
    notes += told
    more = tuple(head for head, _ in protocol.heads)
    counting = {name: MEASURES[name](dataset.labels, protocol) for name in measures}
    pictures: list[PictureScore] = []
    tuned_on = frozenset(() if refinement is None else refinement.tuned_on)
    known = 0  # pictures that the CRF's settings were chosen on
    seconds = 0.0
    pixels = 0
    own_part = range(len(dataset))[processes.share(len(dataset))]

    def results() -> Iterator[tuple[str, NDArray[Any]]]:
        nonlocal known, seconds, pixels
        for done, index in enumerate(own_part, 1):
            sample = dataset[index]
            target = sample.targets.get("labels")
            if target is None and sink is None:
                raise DataError(
                    f"{sample.name} has no mask; evaluation needs one for every picture: choose another --split, or "
                    "write files for a test server with --save-results"
                )
            start = time.perf_counter()
            found = predict_image(
                engines,
                normalization,
                sample.image,
                views=views,
                refinement=refinement,
                more=more,
                name=sample.name,
            )
            seconds += time.perf_counter() - start
            pixels += found.labels.size
            if target is not None:
                if tuned_on:
                    known += picture_digest(adapt_channels(sample.image, normalization.channels)) in tuned_on
                heads = {"labels": found.labels, **found.more}
                own = {} if instances is None else {"instances": instances(index)}
                accumulator.update(heads, sample.targets, name=sample.name, **own)
                for measure in counting.values():
                    measure.update(found.labels, target, sample.name)
                score = _of_picture(found.labels, target, labels, protocol) if rank_pictures else float("nan")
                pictures.append(PictureScore(index, sample.name, score))
            yield sample.name, found.labels
            if progress is not None:
                progress(done, len(own_part))

    if sink is not None:
        sink(results())
    else:
        deque(results(), maxlen=0)
    if processes.count > 1:
        merged = protocol.accumulator(dataset.labels)
        for part in processes.gathered(accumulator):
            merged.merge(part)
        accumulator = merged
        pictures = [picture for part in processes.gathered(pictures) for picture in part]
        known, pixels = (sum(processes.gathered(number)) for number in (known, pixels))
        seconds = sum(processes.gathered(seconds))
    if known:
        which = "these same pictures" if known == len(pictures) else f"{known} of these pictures"
        notes += (f"the CRF's settings were chosen on {which}, so that these scores flatter it a little",)
    return Evaluation(
        accumulator.scores(),
        accumulator,
        tuple(pictures),
        seconds / max(pixels, 1) * 1e6,
        views,
        "; ".join(notes),
        refinement,
        {name: measure.result() for name, measure in counting.items()} if pictures else {},
    )


def _with_heads(
    protocol: Protocol, engine: Engine, normalization: Normalization, dataset: Dataset
) -> tuple[Protocol, tuple[str, ...]]:
    """The protocol without the heads that the network or the data set does not have, and what to say of them."""
    if not protocol.heads:
        return protocol, ()
    given = predict_heads(engine, normalization, np.zeros((32, 32, normalization.channels), np.uint8))
    missing = {
        head: "the network" if head not in given else "the data set"
        for head, _ in protocol.heads
        if head not in given or head not in dataset.labels
    }
    kept = tuple((head, count) for head, count in protocol.heads if head not in missing)
    notes = tuple(f"the head {head} is not scored, as {who} has none" for head, who in missing.items())
    return replace(protocol, heads=kept), notes


def _instances(
    dataset: Dataset, accumulator: Accumulator
) -> tuple[Callable[[int], NDArray[np.int32]] | None, tuple[str, ...]]:
    """What gives the instances of a picture where the protocol takes them, and what to say where there are none."""
    if not isinstance(accumulator, CityscapesAccumulator):
        return None, ()
    found: Callable[[int], NDArray[np.int32]] | None = getattr(dataset, "instances", None)
    if found is not None:
        try:
            found(0)
        except DataError:
            found = None
    return found, () if found is not None else ("no instances are there, so that none are weighted (no iIoU)",)


def _of_picture(prediction: NDArray[Any], target: NDArray[Any], labels: LabelSet, protocol: Protocol) -> float:
    if protocol.strange_targets == "dropped":
        target = np.where(target < labels.num_classes, target, labels.void)
    return mean_iou_of_picture(prediction, target, labels.num_classes, labels.void)


def _record(found: Measured) -> Any:
    if not isinstance(found, tuple):
        return found.to_record()
    return {
        "note": found[0].one_line.partition("; ")[2] if found else "",
        "mean_iou": {str(bound.factor): bound.scores.to_record()["mean_iou"] for bound in found},
    }
