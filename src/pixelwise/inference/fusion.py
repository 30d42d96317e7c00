"""Fusion: what engines say of a picture in all its views, as probabilities of a few rows at a time.

Each voice – an engine, or one sample of its dropouts – gives one distribution at every pixel; `inference.views` has how
its views are fused. Of several voices the mean p is taken. Over samples p₁…p_T the uncertainty is the variance's mean
over the classes (Kendall et al.: Bayesian SegNet, BMVC 2017):

    u = 1/K Σₖ 1/T Σₜ (pₜₖ − pₖ)²

Memory: the scores of every view are kept on the network's own grid, and are resampled, turned into probabilities and
fused in bands of at most `BAND` rows and `VALUES` values, so that values of all classes at the picture's size are never
there. Where the kept scores would take more than those, as of many scales with a network that ends at the picture's own
size, the views are added up at the picture's size one after the other. The smaller of the two is held.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from itertools import chain, groupby, product
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.dropout import _DropoutNd

from pixelwise.errors import BadOption
from pixelwise.inference.engine import Engine, TorchEngine, name_of
from pixelwise.inference.views import Span, Views, resized, spans
from pixelwise.layers.head import Head
from pixelwise.layers.normalization import Normalization
from pixelwise.layers.resample import Resampling, Size, Taps

BAND = 128  # rows whose probabilities are held at a time, at most
VALUES = 2**21  # probabilities that are held at a time, 8 MiB; at least those of a row


class Voice(NamedTuple):
    """An engine with the fixed normalization of the picture."""

    engine: Engine
    normalization: Normalization


@dataclass(frozen=True)
class Sampling:
    """Monte-Carlo dropout.

    Attributes:
        count: samples T.
        seed: of all of them; the same seed gives the same samples on the same machine.

    Raises:
        BadOption: there is not at least one sample.
    """

    count: int
    seed: int = 0

    def __post_init__(self) -> None:
        if isinstance(self.count, bool) or not isinstance(self.count, int) or self.count < 1:
            raise BadOption(f"samples is {self.count!r}: expected a whole number from 1 up")


class Look(NamedTuple):
    """What an engine said of one window of one scaled picture.

    Attributes:
        heads: those that are wanted, the prediction as "labels"; scores (1, K, h, w).
        mirrored: the same of the mirrored window.
        rows, columns: what the window gives to the picture; None where it is the picture, seen once and whole.
        back: from the picture as the network takes it to the picture, where it is seen once and they differ.
        scale: which of the scales.
    """

    heads: Mapping[str, Head]
    mirrored: Mapping[str, Head] | None = None
    rows: Span | None = None
    columns: Span | None = None
    back: Resampling | None = None
    scale: int = 0

    def of_rows(self, rows: slice) -> "Look":
        """What some rows of the picture need of a look at the whole; a copy."""
        back = None if self.back is None else self.back.band(rows)[1]

        def of(heads: Mapping[str, Head]) -> dict[str, Head]:
            parts = {name: _rows_of(head, rows, self.back)[0] for name, head in heads.items()}
            return {name: Head(part.scores.clone(), part.resampling, part.kind) for name, part in parts.items()}

        return self._replace(
            heads=of(self.heads), mirrored=None if self.mirrored is None else of(self.mirrored), back=back
        )

    @property
    def bytes(self) -> int:
        """What its scores take."""
        heads = (*self.heads.values(), *(self.mirrored or {}).values())
        return sum(head.scores.numel() * head.scores.element_size() for head in heads)


class Seen:
    """What voices say of a picture.

    Attributes:
        size: (H, W) of the picture.
        classes: {head: K}, the prediction first, under "labels".
        uncertainty: whether `bands` have it.
    """

    def __init__(self, size: Size, classes: Mapping[str, int], views: Views, uncertainty: bool) -> None:
        self.size, self.classes, self.uncertainty = size, classes, uncertainty
        self._views = views
        self._kept: list[list[Look]] = []
        self._mean: _Mean | None = None  # of whole pictures, where views are added up

    @property
    def alone(self) -> Look | None:
        """The only look there is, whose scores tell the classes without any probabilities; else None."""
        looks = self._kept[0] if len(self._kept) == 1 and not self.uncertainty else []
        return looks[0] if self._views.once and looks and looks[0].mirrored is None else None

    def bands(self, first: int = 0, last: int | None = None) -> Iterator[tuple[slice, Tensor]]:
        """(rows, values (C, rows, W) float32), from row `first` to the one before `last`.

        C are the probabilities of all heads, one head after the other as in `classes`; and the uncertainty of the
        first, where it was asked for.
        """
        for rows in self._cut(first, self.size[0] if last is None else last):
            yield rows, self.values(rows)

    def edge(self, first: int, last: int) -> Callable[[slice], Tensor]:
        """From rows, counted from row `first`, to their values (C, rows, W) as of `bands`.

        It holds no more than the rows to the one before `last` need: scores on the network's grid where that is all
        there is, else the values.
        """
        rows = slice(first, last)
        if self._mean is None and self._views.once:
            part = Seen((last - first, self.size[1]), self.classes, self._views, self.uncertainty)
            part._kept = [[look.of_rows(rows) for look in looks] for looks in self._kept]
            return part.values
        held = torch.cat([values for _, values in self.bands(first, last)], 1)
        return lambda wanted: held[:, wanted]

    def values(self, rows: slice) -> Tensor:
        """(C, rows, W) float32, as in `bands`."""
        with torch.inference_mode():
            return self._of_kept(rows) if self._mean is None else self._mean.rows(rows)

    @property
    def channels(self) -> int:
        """C of `bands`."""
        return sum(self.classes.values()) + self.uncertainty

    def keep(self, looks: Iterable[Look]) -> None:
        """Take in a voice, and keep the scores of all its looks."""
        self._kept.append(list(looks))

    def add(self, looks: Iterable[Look]) -> None:
        """Take in a voice, and add up what it says at the picture's size."""
        with torch.inference_mode():
            found = list(looks) if self._views.once else self._summed(looks)
            if isinstance(found, Tensor) and self._mean is None and not self.uncertainty:
                self._mean = _Mean(found, None, 1)
                return
            for rows in self._cut(0, self.size[0]):
                part = found[:, rows] if isinstance(found, Tensor) else self._distribution(found, rows)
                if self._mean is None:
                    whole = part.new_zeros((part.shape[0], *self.size))
                    self._mean = _Mean(whole, part.new_zeros(self.size) if self.uncertainty else None, 0)
                self._mean.part(rows).take(part, self.classes["labels"])
            assert self._mean is not None
            self._mean.count += 1

    def _cut(self, first: int, last: int) -> Iterator[slice]:
        step = max(1, min(BAND, VALUES // (sum(self.classes.values()) * self.size[1])))
        for top in range(first, last, step):
            yield slice(top, min(top + step, last))

    def _of_kept(self, rows: slice) -> Tensor:
        """The mean of the voices in some rows, and the uncertainty."""
        first = self._distribution(self._kept[0], rows)
        if len(self._kept) == 1 and not self.uncertainty:
            return first
        mean = _Mean(first, first.new_zeros(first.shape[1:]) if self.uncertainty else None, 1)
        for looks in self._kept[1:]:
            mean.take(self._distribution(looks, rows).to(first.device), self.classes["labels"])
            mean.count += 1
        return mean.rows(slice(None))

    def _distribution(self, looks: Sequence[Look], rows: slice) -> Tensor:
        """(C, rows, W): the probabilities of a voice in some rows, adding up to 1."""
        if self._views.once:
            (look,) = looks
            return _one([_seen_once(look, name, rows) for name in self.classes])
        fused: Tensor | None = None
        for _, group in groupby(looks, lambda look: look.scale):
            seen = self._nothing(rows, next(iter(looks[0].heads.values())).scores.device)
            for look in group:
                self._add_look(seen, look, rows)
            fused = seen if fused is None else self._with_scale(fused, seen)
        assert fused is not None
        return self._normalized(fused)

    def _summed(self, looks: Iterable[Look]) -> Tensor:
        """The same for all rows, of looks that come one by one."""
        fused: Tensor | None = None
        everything = slice(0, self.size[0])
        for _, group in groupby(looks, lambda look: look.scale):
            seen: Tensor | None = None
            for look in group:
                if seen is None:  # a mean needs one array, the largest of scales a second
                    whole = fused is None or self._views.fusion == "max"
                    device = look.heads["labels"].scores.device
                    seen = self._nothing(everything, device) if whole else fused
                assert seen is not None and look.rows is not None
                for rows in self._cut(look.rows.place.start, look.rows.place.stop):
                    self._add_look(seen[:, rows], look, rows)
            assert seen is not None
            fused = torch.maximum(fused, seen, out=fused) if fused is not None and self._views.fusion == "max" else seen
        assert fused is not None
        for rows in self._cut(0, self.size[0]):
            fused[:, rows] = self._normalized(fused[:, rows])
        return fused

    def _nothing(self, rows: slice, device: torch.device) -> Tensor:
        return torch.zeros((sum(self.classes.values()), rows.stop - rows.start, self.size[1]), device=device)

    def _with_scale(self, fused: Tensor, seen: Tensor) -> Tensor:
        return torch.maximum(fused, seen) if self._views.fusion == "max" else fused.add_(seen)

    def _normalized(self, fused: Tensor) -> Tensor:
        """Sums of probabilities, or largest scores, as probabilities that add up to 1."""
        parts = torch.split(fused, list(self.classes.values()))
        return _one([part.softmax(0) if self._views.fusion == "max" else part / part.sum(0) for part in parts])

    def _add_look(self, seen: Tensor, look: Look, rows: slice) -> None:
        """Add what a window gives to some of the picture's rows, (C, rows, W)."""
        assert look.rows is not None and look.columns is not None
        place, taps = look.rows.place, look.rows.taps
        low, high = max(rows.start, place.start), min(rows.stop, place.stop)
        if low >= high:
            return
        band = slice(low - place.start, high - place.start)
        top, bottom = int(taps.first[band].min()), int(taps.second()[band].max()) + 1
        part = Resampling(Taps(bottom - top, taps.first[band] - top, taps.weights[band]), look.columns.taps)
        values = _one([_values(look, name, slice(top, bottom), self._views)[0] for name in self.classes])
        seen[:, low - rows.start : high - rows.start, look.columns.place] += part.apply(values[None])[0]


@dataclass
class _Mean:
    """The mean of distributions (C, …), and the sum over classes of their squared differences from it.

    Both are carried on from one distribution to the next (Welford): no difference of large numbers.
    """

    values: Tensor
    squares: Tensor | None
    count: int

    def take(self, distribution: Tensor, classes: int) -> None:
        """Take one more in; `count` is the caller's to raise."""
        before = distribution - self.values
        self.values += before / (self.count + 1)
        if self.squares is not None:
            self.squares += (before[:classes] * (distribution - self.values)[:classes]).sum(0) / classes

    def part(self, rows: slice) -> "_Mean":
        """The same memory, some rows."""
        return _Mean(self.values[:, rows], None if self.squares is None else self.squares[rows], self.count)

    def rows(self, rows: slice) -> Tensor:
        """(C, rows, W), and the uncertainty as one more channel where there is one."""
        if self.squares is None:
            return self.values[:, rows]
        return torch.cat([self.values[:, rows], self.squares[None, rows] / self.count])


def see(
    voices: Sequence[Voice],
    image: NDArray[Any],
    views: Views,
    *,
    more: Sequence[str] = (),
    sampling: Sampling | None = None,
) -> Seen:
    """What voices say of a picture, in all views.

    Args:
        voices: whose probabilities are averaged.
        image: (H, W, C) with the networks' channels.
        more: names of further heads.
        sampling: each engine is heard so many times, with its dropouts on.

    Raises:
        BadOption: the engines' classes are not as many; or there is sampling, and one has no dropout to sample.
    """
    size = image.shape[0], image.shape[1]
    names = ("labels", *more)
    seen: Seen | None = None
    keeps = True
    for voice in voices:
        with nullcontext() if sampling is None else _sampled(voice.engine, sampling.seed):
            for _ in range(1 if sampling is None else sampling.count):
                looks = _looks(voice, image, views, names)
                first = next(looks)
                classes = {name: head.scores.shape[1] for name, head in first.heads.items()}
                if seen is None:
                    seen = Seen(size, classes, views, sampling is not None)
                    count = len(voices) * (1 if sampling is None else sampling.count)
                    keeps = _keeps(first, sum(classes.values()), size, views, voice.normalization, count)
                if classes != seen.classes:
                    raise BadOption(
                        f"{name_of(voices[0].engine)} has {_told(seen.classes)}, {name_of(voice.engine)} "
                        f"{_told(classes)}: only networks of the same classes can be averaged"
                    )
                (seen.keep if keeps else seen.add)(chain([first], looks))
                del first
    assert seen is not None
    return seen


def _told(classes: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {'classes' if name == 'labels' else name}" for name, count in classes.items())


def _keeps(first: Look, channels: int, size: Size, views: Views, normalization: Normalization, voices: int) -> bool:
    """Whether the kept scores of all views take less than adding them up at the picture's size."""
    if first.rows is None or first.columns is None:
        looks = 1.0
    else:
        wanted = normalization.size_of(*size)
        area = 0
        for scale in views.scales:
            scaled = views.size_of(wanted, scale)
            axes = _axes(scaled, views.resampling(scaled, size), views)
            area += int(np.prod([sum(span.stop - span.start for span in axis) for axis in axes]))
        looks = area / ((first.rows.stop - first.rows.start) * (first.columns.stop - first.columns.start))
    arrays = 1 + (voices > 1 and not views.once) + (views.fusion == "max")
    return first.bytes * looks * voices <= 4 * channels * size[0] * size[1] * arrays + first.bytes


def _looks(voice: Voice, image: NDArray[Any], views: Views, names: Sequence[str]) -> Iterator[Look]:
    """What an engine says of each window of each scale, one by one."""
    engine, normalization = voice
    size = image.shape[0], image.shape[1]
    wanted = normalization.size_of(*size)
    if views.once:
        same = wanted == size
        images = normalization(image[None]) if same else normalization.normalize(resized(image, wanted)[None])
        yield Look(
            _heads(engine, images, names),
            _heads(engine, images.flip(-1), names) if views.flip else None,
            back=None if same else Resampling.half_pixel(wanted, size),
        )
        return
    levels = torch.from_numpy(resized(image, wanted)).permute(2, 0, 1)[None]
    for number, scale in enumerate(views.scales):
        scaled = views.size_of(wanted, scale)
        picture = levels if scaled == wanted else views.resampling(wanted, scaled).apply(levels)
        for rows, columns in product(*_axes(scaled, views.resampling(scaled, size), views)):
            part = _window(picture, rows, columns, normalization)
            images = normalization.normalize(part.permute(0, 2, 3, 1).contiguous().numpy())
            mirrored = _heads(engine, images.flip(-1), names) if views.flip else None
            yield Look(_heads(engine, images, names), mirrored, rows, columns, scale=number)


def _heads(engine: Engine, images: Tensor, names: Sequence[str]) -> dict[str, Head]:
    """The heads that are wanted; the first as "labels"."""
    found = engine.heads(images)
    return {name: next(iter(found.values())) if name == "labels" else found[name] for name in names}


def _axes(scaled: Size, back: Resampling, views: Views) -> tuple[list[Span], list[Span]]:
    """The windows along both axes of a scaled picture."""
    height, width = views.window or (None, None)
    return (
        spans(scaled[0], back.rows, height, views.stride, views.padding),
        spans(scaled[1], back.columns, width, views.stride, views.padding),
    )


def _window(levels: Tensor, rows: Span, columns: Span, normalization: Normalization) -> Tensor:
    """A window of a scaled picture, filled with the mean beyond its ends."""
    height, width = levels.shape[-2:]
    part = levels[:, :, max(rows.start, 0) : rows.stop, max(columns.start, 0) : columns.stop]
    above, left = max(-rows.start, 0), max(-columns.start, 0)
    below, right = max(rows.stop - height, 0), max(columns.stop - width, 0)
    if not (above or left or below or right):
        return part
    padded = [
        functional.pad(channel, (left, right, above, below), value=value)
        for channel, value in zip(part.unbind(1), normalization.fill or (), strict=True)
    ]
    return torch.stack(padded, 1)


@contextmanager
def _sampled(engine: Engine, seed: int) -> Iterator[None]:
    """Within it the engine's dropouts drop, drawn from a seed; afterwards all is as it was."""
    network = engine.network if isinstance(engine, TorchEngine) else nn.Identity()
    dropouts = [module for module in network.modules() if isinstance(module, _DropoutNd)]
    if not dropouts:
        what = "has no dropout" if isinstance(engine, TorchEngine) else "is a graph, which holds no dropout"
        raise BadOption(
            f"{name_of(engine)} {what}: its samples would all be the same; leave out samples (--samples), or take a "
            "network with dropout in torch, as bayesian_segnet"
        )
    modes = [dropout.training for dropout in dropouts]
    try:
        for dropout in dropouts:
            dropout.train()
        with torch.random.fork_rng(range(torch.cuda.device_count())):  # manual_seed seeds them all
            torch.manual_seed(seed)
            yield
    finally:
        for dropout, mode in zip(dropouts, modes, strict=True):
            dropout.train(mode)


def _one(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def scores_of(head: Head, rows: slice, back: Resampling | None = None) -> Tensor:
    """(1, K, rows, W): a head's scores in some rows of the picture.

    Args:
        back: from the picture that the head was made of to this one.
    """
    part, again = _rows_of(head, rows, back)
    found = part.resampling.apply(part.scores)
    return found if again is None else again.apply(found)


def _rows_of(head: Head, rows: slice, back: Resampling | None) -> tuple[Head, Resampling | None]:
    """What some rows of the picture need of a head's scores, which are a view, and of the way back to it."""
    if back is not None:
        needed, back = back.band(rows)
        return _rows_of(head, needed, None)[0], back
    if head.resampling.is_identity:
        size = rows.stop - rows.start, head.scores.shape[3]
        return Head(head.scores[:, :, rows], Resampling.identity(size), head.kind), None
    needed, band = head.resampling.band(rows)
    return Head(head.scores[:, :, needed], band, head.kind), None


def probabilities_of(head: Head, rows: slice, back: Resampling | None = None) -> Tensor:
    """The same as probabilities."""
    with torch.inference_mode():
        scores = scores_of(head, rows, back)
        return scores.softmax(1) if head.kind == "logits" else scores


def _seen_once(look: Look, name: str, rows: slice) -> Tensor:
    """(K, rows, W): the probabilities of a picture that is seen at its own size, or the mean with the mirrored one."""
    head = look.heads[name]
    values = probabilities_of(head, rows, look.back)
    if look.mirrored is not None:
        values = (values + probabilities_of(look.mirrored[name], rows, look.back).flip(-1)) / 2
    if head.kind == "probabilities":  # rounded to bfloat16, or single taps at a border: not quite 1 together
        values = values / values.sum(1, keepdim=True)
    return values[0]


def _values(look: Look, name: str, rows: slice, views: Views) -> Tensor:
    """(1, K, rows, w): scores or probabilities in some rows of a window, of a mirrored pair as one."""
    head = look.heads[name]
    mirrored = None if look.mirrored is None else look.mirrored[name]
    if views.fusion == "mean" and (mirrored is None or views.mirrored == "mean"):
        values = probabilities_of(head, rows)
        return values if mirrored is None else (values + probabilities_of(mirrored, rows).flip(-1)) / 2
    values = _logits(head, rows)
    if mirrored is None:
        return values
    other = _logits(mirrored, rows).flip(-1)
    return torch.maximum(values, other) if views.fusion == "max" else (values + other).softmax(1)


def _logits(head: Head, rows: slice) -> Tensor:
    """Scores before the softmax: logits, or logarithms of probabilities."""
    scores = scores_of(head, rows)
    return scores if head.kind == "logits" else scores.clamp_min(torch.finfo(scores.dtype).tiny).log()
