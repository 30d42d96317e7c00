"""What a layer of a prototxt says, and what is made of it: the forms that the tables of layers share."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from torch import Tensor, nn

from pixelwise.caffe.prototxt import Message
from pixelwise.errors import WeightsError

Pair = tuple[int, int]  # of rows, of columns
Shape = tuple[int, ...]
Affine = tuple[Fraction, Fraction]  # (scale, shift): x → scale·x + shift
Moves = tuple[Affine, Affine]  # of rows, of columns

SAME: Moves = ((Fraction(1), Fraction(0)), (Fraction(1), Fraction(0)))
LARGEST_FLOAT = 3.4028234663852886e38  # of 32 bits
MOST = 1 << 31  # of a size, a kernel, a number of channels
SHOWN, SHOWN_AXES, SHOWN_REASON = 80, 8, 900  # characters of a name, lengths of a shape, characters of a reason


@dataclass(frozen=True)
class Grid:
    """Where the cells of a map lie: cell = scale·x + shift for the cell x of another map, its root.

    Attributes:
        root: "" for the network's pictures; else the layer from which on no such relation holds.

    Source: spec networks-2014-2016 §2.3 (CAFFE `python/caffe/coord_map.py`).
    """

    root: str
    moves: Moves = SAME

    def then(self, moves: Moves) -> "Grid":
        """The grid of a layer's top, this being its bottom's."""
        rows, columns = (
            (scale * before, scale * place + shift)
            for (before, place), (scale, shift) in zip(self.moves, moves, strict=True)
        )
        return Grid(self.root, (rows, columns))

    @property
    def most(self) -> int:
        """The largest number in it."""
        numbers = (number for axis in self.moves for number in axis)
        return max(max(abs(number.numerator), number.denominator) for number in numbers)


@dataclass(frozen=True)
class Blob:
    """What is known of a bottom before there are pictures."""

    shape: Shape
    grid: Grid


@dataclass(frozen=True)
class LayerText:
    """A layer as the prototxt has it, in the spelling of the newest format."""

    name: str
    type: str
    bottoms: tuple[str, ...]
    tops: tuple[str, ...]
    message: Message

    def param(self, name: str) -> Message:
        """Its settings: `convolution_param` and the like; an empty message where there are none."""
        return self.message.message(name)

    def refused(self, reason: str) -> WeightsError:
        """The error that says what is wrong with it, with its place."""
        name, kind = (text if len(text) <= SHOWN else f"{text[: SHOWN - 1]}…" for text in (self.name, self.type))
        reason = reason if len(reason) <= SHOWN_REASON else f"{reason[: SHOWN_REASON - 1]}…"
        return WeightsError(f"{self.message.where}:{self.message.line}: layer {name!r} ({kind}) {reason}")

    def whole(self, param: Message, name: str, default: int, *, least: int = 0) -> int:
        """A whole number of its settings."""
        return self._checked(name, param.get(name, default), least)

    def wholes(self, param: Message, name: str, *, least: int = 0) -> tuple[int, ...]:
        """All whole numbers of this name."""
        return tuple(self._checked(name, value, least) for value in param.all(name))

    def pair(self, param: Message, names: Sequence[str], default: int | None, *, least: int = 0) -> Pair:
        """A length for rows and one for columns.

        Args:
            names: of the field that holds one or both, of the rows' field, and of the columns' (`kernel_size`,
                `kernel_h`, `kernel_w`).
            default: None where it must be given.
        """
        both, rows, columns = names
        given = self.wholes(param, both, least=least)
        if len(given) > 2:
            raise self.refused(f"has {len(given)} values of {both}; only maps with two axes are run here")
        if rows in param or columns in param:
            if given:
                raise self.refused(f"has both {both} and {rows}, {columns}; Caffe takes one of them")
            if default is None and not (rows in param and columns in param):
                raise self.refused(f"has one of {rows} and {columns}; expected both, or {both}")
            return tuple(self.whole(param, name, default or 0, least=least) for name in (rows, columns))  # type: ignore[return-value]  # a pair
        if given:
            return given[0], given[-1]
        if default is None:
            raise self.refused(f"needs a {both}, or {rows} and {columns}")
        return default, default

    def axis(self, param: Message, name: str, default: int, axes: int) -> int:
        """An axis of a blob with so many, counted from the front."""
        given = param.get(name, default)
        if not -axes <= given < axes:
            raise self.refused(f"has {name}: {given}, and its bottom has {axes} axes")
        return given % axes

    def eps(self, param: Message) -> float:
        """What a batch norm adds to the variance."""
        eps = param.get("eps", 1e-5)
        if not eps >= 0:
            raise self.refused(f"needs a number from 0 for eps, got {eps:g}")
        return eps

    def _checked(self, name: str, value: object, least: int) -> int:
        if type(value) is not int or not least <= value < MOST:
            raise self.refused(f"needs a whole number from {least} for {name}, got {value}")
        return value


@dataclass(frozen=True)
class Built:
    """A layer as it is run.

    Attributes:
        module: takes the bottoms, gives the top, or a tuple of the tops.
        blobs: the names of the module's tensors, in the order of the file's blobs; "" for one that is not used.
        load: from a file's values to the module's, blob by blob; None where they are the same.
        fill: {tensor of the module: its value before weights are loaded, a number or "bilinear"}; zero if left out.
        moves: how the top's cells lie on the first bottom's; None where that cannot be said.
        flatten: a module to run first.
        alike: whether the top has the shape of the first bottom.
    """

    module: nn.Module
    blobs: tuple[str, ...] = ()
    load: Callable[[Sequence[Tensor]], Sequence[Tensor]] | None = None
    fill: dict[str, float | str] | None = None
    moves: Moves | None = None
    flatten: nn.Module | None = None
    alike: bool = False


Builder = Callable[[LayerText, Sequence[Blob]], Built]


class Stateless(nn.Module):
    """A layer without weights: a function of its bottoms, with its settings."""

    def __init__(self, function: Callable[..., Any], **settings: Any) -> None:
        super().__init__()
        self.function, self.settings = function, settings

    def forward(self, *bottoms: Tensor) -> Any:
        """The top, or a tuple of the tops."""
        return self.function(*bottoms, **self.settings)

    def extra_repr(self) -> str:
        """What `print(network)` shows."""
        return ", ".join([self.function.__name__, *(f"{name}={value}" for name, value in self.settings.items())])


def filled(param: Message, name: str, default: float = 0.0) -> float | str:
    """The value of a filler that is the same at each call: a constant, or "bilinear"; zero for random ones.

    Raises:
        WeightsError: no float32 is so large.
    """
    if name not in param:
        return default
    filler = param.message(name)
    kind = filler.get("type", "constant")
    if kind == "constant":
        value = filler.get("value", 0.0)
        if math.isfinite(value) and abs(value) > LARGEST_FLOAT:
            raise WeightsError(
                f"{filler.where}:{filler.line}: expected a number of 32 bits for {name}, found {value:g}"
            )
        return value
    return "bilinear" if kind == "bilinear" else 0.0


def times(shape: Sequence[int]) -> str:
    """Lengths as people write them: 3 × 4."""
    return " × ".join([*map(str, shape[:SHOWN_AXES]), *["…"][: max(0, len(shape) - SHOWN_AXES)]])


def check_map(layer: LayerText, bottom: Blob) -> None:
    """Whether a bottom is a map (N, C, H, W)."""
    if len(bottom.shape) != 4:
        raise layer.refused(f"takes a map (N, C, H, W), and its bottom is {times(bottom.shape)}")
