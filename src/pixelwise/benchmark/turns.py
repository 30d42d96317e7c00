"""Two ways to the same answer, timed in turn; and what is told of them."""

import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Ratio:
    """What one way of pixelwise and its peer took.

    Attributes:
        name: of the comparison.
        case: what both did.
        way: of pixelwise, where it has several: an engine, a number of threads.
        peer: with its version.
        seconds: of pixelwise, the median of its turns.
        peer_seconds: of the peer.
        ratio: median over the turns of peer / pixelwise: above 1 pixelwise is faster.
        lowest: of the turns.
        highest: of the turns.
        turns: that were counted.
        equal: the answers are the same, within what `answers` tells.
        answers: how they compare.
    """

    name: str
    case: str
    way: str
    peer: str
    seconds: float
    peer_seconds: float
    ratio: float
    lowest: float
    highest: float
    turns: int
    equal: bool
    answers: str

    def to_record(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    @property
    def told(self) -> str:
        """One line."""
        way = f", {self.way}" if self.way else ""
        return (
            f"{self.case}{way}: {milliseconds(self.seconds)}, {self.peer} {milliseconds(self.peer_seconds)}: "
            f"{times(self.ratio)} ({times(self.lowest)} to {times(self.highest)}), {self.answers}"
        )


@dataclass(frozen=True)
class Missing:
    """A peer or an engine that is not installed, and the command that installs it."""

    name: str
    what: str
    install: str

    def to_record(self) -> dict[str, str]:
        """For JSON."""
        return asdict(self)

    @property
    def told(self) -> str:
        """One line."""
        return f"{self.what} is not installed: {self.install}"


def take_turns(
    ways: Mapping[str, Callable[[], T]], turns: int, clock: Callable[[], float] = time.perf_counter
) -> tuple[dict[str, T], dict[str, list[float]]]:
    """What each way gave last, and its seconds in each turn; a turn before them, which compiles and warms, is not told.

    >>> found, seconds = take_turns({"ours": lambda: 1, "peer": lambda: 2}, 3)
    >>> found, [len(each) for each in seconds.values()]
    ({'ours': 1, 'peer': 2}, [3, 3])
    """
    found: dict[str, T] = {}
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    for turn in range(turns + 1):
        for way, work in ways.items():
            start = clock()
            found[way] = work()
            spent = clock() - start
            if turn:
                seconds[way].append(spent)
    return found, seconds


def ratio_of(
    name: str,
    case: str,
    peer: str,
    seconds: Sequence[float],
    peer_seconds: Sequence[float],
    *,
    equal: bool,
    answers: str,
    way: str = "",
) -> Ratio:
    """The medians, and the median of the ratios turn by turn.

    >>> ratio_of("sum", "ten numbers", "numpy", [1, 2, 1], [3, 4, 4], equal=True, answers="equal sums").ratio
    3.0
    """
    ratios = [theirs / ours for ours, theirs in zip(seconds, peer_seconds, strict=True)]
    return Ratio(
        name,
        case,
        way,
        peer,
        statistics.median(seconds),
        statistics.median(peer_seconds),
        statistics.median(ratios),
        min(ratios),
        max(ratios),
        len(ratios),
        equal,
        answers,
    )


def print_all(found: Iterable[Ratio | Missing]) -> None:
    """A line for each as it is measured; what a script of `benchmarks/` does.

    Raises:
        SystemExit: two answers differ.
    """
    for one in found:
        print(one.told, flush=True)
        if isinstance(one, Ratio) and not one.equal:
            raise SystemExit("the answers differ")


def versioned(name: str, package: str | None = None) -> str:
    """A library's name and its version: "torch 2.13.0".

    Args:
        package: its name where it is installed from, if another.
    """
    try:
        return f"{name} {version(package or name)}"
    except PackageNotFoundError:
        return name


def share(equal: float) -> str:
    """A share of equal labels in percent; 100 % is all of them.

    >>> share(1.0), share(0.9999964)
    ('100 %', '99.9996 %')
    """
    return "100 %" if equal == 1 else f"{min(100 * equal, 99.9999):.4f} %"


def milliseconds(seconds: float) -> str:
    """Milliseconds with three digits that matter, or seconds from ten on.

    >>> milliseconds(0.00234), milliseconds(0.4283), milliseconds(12.3)
    ('2.34 ms', '428 ms', '12.3 s')
    """
    if seconds >= 10:
        return f"{seconds:.1f} s"
    value = seconds * 1e3
    return f"{value:.2f} ms" if value < 10 else f"{value:.1f} ms" if value < 100 else f"{value:.0f} ms"


def times(ratio: float) -> str:
    """A ratio with digits as they matter.

    >>> times(56.83), times(4.65), times(0.98)
    ('56.8×', '4.65×', '0.98×')
    """
    return f"{ratio:.1f}×" if ratio >= 10 else f"{ratio:.2f}×"
