"""How many channels a layer has: the options `num_classes`, `in_channels` and `width` that every builder takes."""

import math
from collections.abc import Sequence

from pixelwise.errors import BadOption


def scaled(channels: int, width: float) -> int:
    """The published number of channels times `width`, rounded, at least 1.

    >>> scaled(64, 1.0), scaled(64, 0.25), scaled(48, 0.01)
    (64, 16, 1)
    """
    return max(1, round(channels * width))


def check_channels(*, num_classes: int = 1, in_channels: int = 3, width: float = 1.0) -> None:
    """Refuse what no network can be built with.

    Raises:
        BadOption: a count is not a whole number from 1 up, or the width not a finite number above 0.
    """
    check_count("num_classes", num_classes)
    check_count("in_channels", in_channels)
    if isinstance(width, bool) or not isinstance(width, int | float) or not (math.isfinite(width) and width > 0):
        raise BadOption(f"width must be a number above 0 (1 is the published network), got {width!r}")


def check_counts(name: str, values: Sequence[int], *, least: int = 0) -> None:
    """Refuse what is no sequence of whole numbers from 1 up.

    Args:
        least: how many there are at least.

    Raises:
        BadOption: naming the option and its value.
    """
    whole = isinstance(values, Sequence) and all(type(value) is int and value >= 1 for value in values)
    if not whole or len(values) < least:
        raise BadOption(f"{name} must be a list of whole numbers from 1 up, got {values!r}")


def check_count(name: str, value: int) -> None:
    """Refuse a count that is not a whole number from 1 up.

    Raises:
        BadOption: naming the option and its value.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise BadOption(f"{name} must be a whole number from 1 up, got {value!r}")
