"""Predict: a picture of any size → classes, with confidence, entropy and uncertainty where they are asked for.

A picture that fits goes through the network whole. A larger one goes in overlapping tiles (`inference.tiles`), so
memory is bounded by the tile and not by the picture. A CRF works on the same tiles, and so do several views of a
picture (`inference.views`). Where the normalization has a size, the picture is brought to it whole, and its scores are
brought back to the picture's pixels linearly. Several networks and samples of dropouts are averaged as probabilities
(`inference.fusion`).
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pixelwise.data.sample import adapt_channels
from pixelwise.errors import BadOption, DataError, WeightsError
from pixelwise.inference.engine import Predictor, engine_of, engines_of
from pixelwise.inference.fusion import BAND, Look, Sampling, Seen, Voice, scores_of, see
from pixelwise.inference.refine import Refinement, refine
from pixelwise.inference.tiles import MARGIN, TILE, WHOLE, Plan, Window, blended, plan_of, tiles, tiling
from pixelwise.inference.views import ONCE, Views, resized
from pixelwise.labels import VOID
from pixelwise.layers.head import Head
from pixelwise.layers.normalization import Normalization
from pixelwise.layers.resample import Resampling

REFINED = 2**27  # probabilities that a CRF gets at a time, 512 MiB; it works with about six times as much
LARGEST_SCALE = 2.0  # up to here a tile goes through the network at its whole size


@dataclass(frozen=True)
class DensePrediction:
    """What a network says of every pixel of one picture.

    Attributes:
        labels: (H, W) uint8 classes, or uint16 with more than 255.
        confidence: (H, W) float32 probability 0–1 of that class, behind a CRF its marginal; or None where it was not
            asked for.
        more: {head: (H, W) classes} of further heads that were asked for.
        entropy: (H, W) float32 of the same probabilities, −Σ p ln p / ln K: 0 for a sure pixel, 1 where all K classes
            are as likely; or None where it was not asked for.
        uncertainty: (H, W) float32 variance over samples of the dropouts, averaged over the classes; 0 where all
            samples say the same, always below 1/K; or None without samples. A CRF does not change it.
    """

    labels: NDArray[Any]
    confidence: NDArray[np.float32] | None
    more: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    entropy: NDArray[np.float32] | None = None
    uncertainty: NDArray[np.float32] | None = None


def predict_image(
    predictor: Predictor | Sequence[Predictor],
    normalization: Normalization | Sequence[Normalization],
    image: NDArray[Any],
    *,
    flip: bool = False,
    views: Views = ONCE,
    confidence: bool = False,
    entropy: bool = False,
    sampling: Sampling | None = None,
    tile: int | None = None,
    refinement: Refinement | None = None,
    more: Sequence[str] = (),
    name: str = "image",
) -> DensePrediction:
    """The classes of a picture (H, W, C) at its own size.

    A CRF sees each tile for itself. Of pixels farther away than the tile's margin, 128 pixels or the network's own, a
    pixel near the border of the kept part may receive nothing; with σα below the margin that is little.

    Args:
        predictor: an engine, or a network in evaluation mode; or several, whose probabilities are averaged.
        normalization: of the network; one for all, or one for each.
        flip: average the probabilities with those of the mirrored picture.
        views: scales, mirrored pictures and windows whose scores or probabilities are fused; with windows a picture is
            only cut into tiles where its probabilities are more than 2²⁷.
        confidence: give the probability of the chosen class, too.
        entropy: give the entropy of the probabilities, too.
        sampling: Monte-Carlo dropout: classes, confidence and entropy are of the mean over the samples, and their
            variance is given as uncertainty.
        tile: pictures with more than tile² pixels are cut into tiles of this size; if left out, those of more than
            `WHOLE`, as `tiling` says.
        refinement: a CRF behind the network; the labels are those of the largest marginals. With so many classes that
            a tile has more than 2²⁷ probabilities it works on smaller ones.
        more: names of further heads of the network whose classes are wanted, without the CRF.
        name: of the picture, for errors.

    Raises:
        ShapeError: the picture's channels are not the network's.
        DataError: there is a CRF, and a pixel is no number.
        WeightsError: there is a CRF, and the network gives probabilities that are no numbers.
        BadOption: there is a CRF, and its widths are too narrow for the range of the picture's levels; or networks of
            other numbers of classes are to be averaged; or a network to be sampled has no dropout.
    """
    engines = engines_of(predictor)
    given = [normalization] * len(engines) if isinstance(normalization, Normalization) else list(normalization)
    image = adapt_channels(image, given[0].channels, name=name)
    if refinement is not None and not np.isfinite(image).all():
        raise DataError(
            f"{name} has pixels that are no numbers, whose colors a CRF cannot compare; mend it, or leave the CRF out "
            "with --no-crf (crf=False)"
        )
    # a tile is seen in the light of its picture
    voices = [Voice(engine, own.of(image)) for engine, own in zip(engines, given, strict=True)]
    views = replace(views, flip=True) if flip and not views.flip else views
    height, width = image.shape[:2]
    plan = plan_for(voices, (height, width), tile, views, sampling)
    answer = Answer((height, width), confidence, entropy)
    tell(
        answer,
        plan,
        voices,
        lambda window: image[window],
        views=views,
        sampling=sampling,
        refinement=refinement,
        more=more,
        name=name,
    )
    return answer.result()


def tell(
    answer: "Answer",
    plan: Plan,
    voices: Sequence[Voice],
    read: Callable[[Window], NDArray[Any]],
    *,
    views: Views,
    sampling: Sampling | None = None,
    refinement: Refinement | None = None,
    more: Sequence[str] = (),
    name: str = "image",
    reached: Callable[[int, int], None] = lambda row, number: None,
) -> None:
    """Fill an answer with what voices say of a picture, tile by tile.

    Args:
        read: the pixels (h, w, C) of a window.
        reached: called before each tile, with the row above which all is told, and the tile's number.
    """
    numbers = iter(range(len(plan.tiles)))
    before = plan.ramp // 2

    def seen(window: Window) -> tuple[Seen, NDArray[Any]]:
        number = next(numbers)
        reached(max(plan.tiles[number][2][0].start - before, 0), number)
        image = read(window)
        found = see(voices, image, views, more=more, sampling=sampling)
        answer.open(found)
        return found, image

    if len(plan.tiles) > 1 and plan.ramp and refinement is None:
        for place, values in blended(plan, lambda window: seen(window)[0]):
            answer.put(values, place)
        return
    for window, inner, place in plan.tiles:
        found, image = seen(window)
        look = found.alone
        if look is not None and not (answer.graded or refinement):
            _classes_alone(look, answer, inner, place)
            continue
        low, columns = inner[0].start - place[0].start, inner[1]
        if refinement is None or more or found.uncertainty:
            for rows, values in found.bands(inner[0].start, inner[0].stop):
                where = slice(rows.start - low, rows.stop - low), place[1]
                answer.put(values[:, :, columns], where)
        if refinement is not None:
            for probabilities, part, kept, own in _full(found, name):
                marginals = _marginals(probabilities, image[part], refinement, name)
                answer.refine(marginals, kept, own, (inner, place))


def plan_for(
    voices: Sequence[Voice], size: tuple[int, int], tile: int | None, views: Views, sampling: Sampling | None
) -> Plan:
    """The tiles of a picture that is seen in some way; of several views the fused values must fit, too."""
    if views.once and len(voices) == 1 and sampling is None:
        return plan_of(*voices[0], size, tile)
    plans = [_plan_of_views(voice, size, tile, views) for voice in voices]
    return max(plans, key=lambda plan: (len(plan.tiles), plan.ramp))


def _plan_of_views(voice: Voice, size: tuple[int, int], tile: int | None, views: Views) -> Plan:
    engine, normalization = voice
    whole = Plan(size, tuple(tiles(size, max(size), 0)))
    if normalization.size is not None:
        return whole
    own, shrunk = None if engine.tiling is None else engine.tiling[0], min(1.0, LARGEST_SCALE / views.growth)
    side = int((tile or own or TILE) * shrunk)
    largest = side**2 if tile or own else int(WHOLE * shrunk**2)  # pixels up to which it is not cut
    if views.window is not None and tile is None:
        side, largest = max(size), math.prod(size)
    pixels, margin = math.prod(size), MARGIN if engine.tiling is None else engine.tiling[1]
    if pixels * VOID > REFINED:
        heads = engine.heads(torch.zeros(1, normalization.channels, 64, 64))
        count = sum(head.scores.shape[1] for head in heads.values())
        if count * min(pixels, largest) > REFINED:
            side = max(math.isqrt(REFINED // count), 4 * margin)
            largest = side**2
    if pixels <= largest:
        return whole
    chosen = tiling(engine)
    margin = min(chosen.margin, side // 4)
    cut = tiles(size, side, margin, chosen.step, chosen.extra)
    return Plan(size, tuple(cut), min(chosen.ramp, margin))


class Answer:
    """What is told of a picture, filled place by place."""

    def __init__(self, size: tuple[int, int], confidence: bool, entropy: bool) -> None:
        self.size = size
        self.classes: dict[str, int] = {}
        self.labels: dict[str, NDArray[Any]] = {}
        self.confidence = np.empty(size, np.float32) if confidence else None
        self.entropy = np.empty(size, np.float32) if entropy else None
        self.uncertainty: NDArray[np.float32] | None = None
        self.graded = confidence or entropy  # more than classes is wanted

    def open(self, seen: Seen) -> None:
        """Make place for what is seen, once."""
        if not self.classes:
            self.classes = dict(seen.classes)
            self.labels = {name: np.empty(self.size, label_type(count)) for name, count in self.classes.items()}
            self.uncertainty = np.empty(self.size, np.float32) if seen.uncertainty else None

    def put(self, values: Tensor, place: Window) -> None:
        """Values (C, h, w) as `Seen.bands` has them."""
        first = 0
        for name, count in self.classes.items():
            self._put(name, values[first : first + count], place)
            first += count
        if self.uncertainty is not None:
            self.uncertainty[place] = values[first].cpu().numpy()

    def refine(self, marginals: Tensor, kept: Window, own: Window, tile: tuple[Window, Window]) -> None:
        """A CRF's marginals of a window of a tile, of which a part is kept, which lies at `own` in the tile."""
        inner, place = tile
        spans = []
        for mine, at, wanted, there in zip(kept, own, inner, place, strict=True):
            low, high = max(at.start, wanted.start), min(at.stop, wanted.stop)
            if low >= high:
                return
            source = slice(mine.start + low - at.start, mine.start + high - at.start)
            spans.append((source, slice(there.start + low - wanted.start, there.start + high - wanted.start)))
        (rows, down), (columns, across) = spans
        self._put("labels", marginals[:, rows, columns], (down, across))

    def _put(self, name: str, values: Tensor, place: Window) -> None:
        best = values.max(0)
        self.labels[name][place] = best.indices.cpu().numpy()
        if name != "labels":
            return
        if self.confidence is not None:
            self.confidence[place] = best.values.cpu().numpy()
        if self.entropy is not None:
            self.entropy[place] = entropy_of(values).cpu().numpy()

    def result(self) -> DensePrediction:
        """All of it."""
        more = {name: labels for name, labels in self.labels.items() if name != "labels"}
        return DensePrediction(self.labels["labels"], self.confidence, more, self.entropy, self.uncertainty)


def entropy_of(probabilities: Tensor) -> Tensor:
    """(K, …) → (…): −Σ p ln p / ln K, from 0, where one class has all, to 1, where all have as much."""
    count = probabilities.shape[0]
    if count == 1:
        return torch.zeros_like(probabilities[0])
    entropy: Tensor = torch.special.entr(probabilities).sum(0) / math.log(count)
    return entropy.clamp(0, 1)


def _classes_alone(look: Look, answer: Answer, inner: Window, place: Window) -> None:
    """The classes by scores alone, without probabilities."""
    for name, head in look.heads.items():
        labels = answer.labels[name]
        if look.back is None:
            labels[place] = head.resampling.argmax(head.scores)[0].cpu().numpy()[inner]
            continue
        low = inner[0].start - place[0].start
        for top in range(inner[0].start, inner[0].stop, BAND):
            rows = slice(top, min(top + BAND, inner[0].stop))
            with torch.inference_mode():
                best = scores_of(head, rows, look.back)[0].argmax(0)
            labels[rows.start - low : rows.stop - low, place[1]] = best.cpu().numpy()[:, inner[1]]


def predict_head(predictor: Predictor, normalization: Normalization, image: NDArray[Any]) -> Head:
    """The first head for one picture (H, W, C), scores (1, K, h, w)."""
    return _first(predict_heads(predictor, normalization, image))


def predict_heads(predictor: Predictor, normalization: Normalization, image: NDArray[Any]) -> Mapping[str, Head]:
    """All heads for one picture (H, W, C), scores (1, K, h, w) each."""
    own = image.shape[0], image.shape[1]
    size = normalization.size_of(*own)
    images = (
        normalization(image[None]) if size == own else normalization.of(image).normalize(resized(image, size)[None])
    )
    heads = engine_of(predictor).heads(images)
    with torch.inference_mode():
        return heads if size == own else {name: _brought_to(head, own) for name, head in heads.items()}


def _brought_to(head: Head, size: tuple[int, int]) -> Head:
    """The same scores with a resampling to a picture of another size."""
    at = head.resampling.image_size
    return Head(head.full_size(), Resampling.half_pixel(at, size), head.kind)


def _first(heads: Mapping[str, Head]) -> Head:
    return next(iter(heads.values()))


def label_type(num_classes: int) -> type[np.uint8] | type[np.uint16]:
    """The smallest type that holds the classes and void."""
    return np.uint8 if num_classes <= VOID else np.uint16


def _marginals(probabilities: Tensor, image: NDArray[Any], refinement: Refinement, name: str) -> Tensor:
    try:
        return refine(probabilities, image, refinement)
    except BadOption as error:  # the widths of the Gaussians and the picture
        raise BadOption(f"{name} cannot be refined: {error}; or leave the CRF out with --no-crf (crf=False)") from error


def _check_finite(probabilities: Tensor, name: str) -> None:
    if not bool(probabilities.isfinite().all()):
        raise WeightsError(
            f"the network gives probabilities of {name} that are no numbers: its weights are broken, or it was "
            "trained on pictures of other values; train it again"
        )


def full_probabilities(
    head: Head, mirrored: Head | None = None, *, name: str = "image"
) -> Iterator[tuple[Tensor, Window, Window, Window]]:
    """((K, h, w) probabilities, window, kept part in it, its place) for a CRF; one window if 2²⁷ values hold it.

    They are float32 and stay on the head's device.

    Args:
        mirrored: of the mirrored picture, to average with.
        name: of the picture, for errors.

    Raises:
        WeightsError: a probability is no number.
    """
    found = Seen(head.resampling.image_size, {"labels": head.scores.shape[1]}, ONCE, False)
    found.keep([Look({"labels": head}, None if mirrored is None else {"labels": mirrored})])
    yield from _full(found, name)


def _full(found: Seen, name: str) -> Iterator[tuple[Tensor, Window, Window, Window]]:
    """The same of what was seen."""
    size, count = found.size, found.classes["labels"]
    side = max(size) if count * math.prod(size) <= REFINED else max(math.isqrt(REFINED // count), 4 * MARGIN)
    for window, inner, place in tiles(size, side, MARGIN):
        rows, columns = window
        probabilities: Tensor | None = None
        for band, values in found.bands(rows.start, rows.stop):
            if probabilities is None:
                shape = count, rows.stop - rows.start, columns.stop - columns.start
                probabilities = torch.empty(shape, device=values.device)
            probabilities[:, band.start - rows.start : band.stop - rows.start] = values[:count, :, columns]
        assert probabilities is not None
        _check_finite(probabilities, name)
        yield probabilities, window, inner, place
