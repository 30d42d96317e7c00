"""What comes in and goes out: numpy's arrays and torch's tensors alike, without importing torch; and numbers."""

import math
import numbers
import reprlib
import sys
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

from pixelwise.errors import BadOption, ShapeError


def is_tensor(given: object) -> bool:
    """Whether it is one; where it is, torch has been imported."""
    return isinstance(given, getattr(sys.modules.get("torch"), "Tensor", ()))


def array_of(given: Any) -> Any:
    """A tensor as it is, without its gradient; anything else as numpy's array.

    Raises:
        ShapeError: a tensor is sparse, or lists are of different lengths.
    """
    if is_tensor(given):
        if given.layout is not sys.modules["torch"].strided:
            raise ShapeError(f"a tensor has the layout {given.layout}: expected a dense one; call to_dense()")
        return given.detach()
    try:
        return np.asarray(given)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ShapeError(f"{shown(given)} is no array: {' '.join(str(error).split())}") from None


def kind_of(array: Any) -> str:
    """The letter of numpy's `dtype.kind`: f for floats, i or u for whole numbers, others for what is no number."""
    if not is_tensor(array):
        return str(array.dtype.kind)
    if array.is_floating_point():
        return "f"
    torch = sys.modules["torch"]
    return "i" if not (array.dtype == torch.bool or array.is_complex() or array.is_quantized) else "o"


def resolution(array: Any) -> float:
    """The distance from 1 to the next float of the array's type."""
    return float((sys.modules["torch"] if is_tensor(array) else np).finfo(array.dtype).eps)


def described(array: Any) -> str:
    """Shape and type, for messages."""
    return f"{tuple(array.shape)} of {str(array.dtype).removeprefix('torch.')}"


def is_empty(array: Any) -> bool:
    """Whether it has no elements."""
    return 0 in array.shape


def place_of(array: Any) -> Any:
    """The device of a tensor, None of numpy's array: where `given_back` puts a result."""
    return array.device if is_tensor(array) else None


def given_back(result: Any, place: Any) -> Any:
    """The result as a tensor on a device, or as numpy's array where the place is None."""
    if place is None:
        return result.cpu().numpy() if is_tensor(result) else result
    return (result if is_tensor(result) else sys.modules["torch"].from_numpy(result)).to(place)


def address(array: Any) -> int:
    """Where its first element lies."""
    return int(array.data_ptr() if is_tensor(array) else array.ctypes.data)


def is_real(value: object) -> TypeGuard[float]:
    """Whether it is a finite number of Python's or numpy's, and no bool, that a float can hold."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def is_whole(value: object) -> TypeGuard[int]:
    """Whether it is a whole number of Python's or numpy's, and no bool."""
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def doubles(given: Any, name: str, expected: str) -> NDArray[np.float64]:
    """A number or an array of numbers as float64.

    Raises:
        BadOption: it is none, such as a string, bools, or lists of different lengths.
    """
    try:
        array = array_of(given)
        if kind_of(array) in "fiu":
            return np.asarray(array.cpu().double() if is_tensor(array) else array, np.float64)
    except (ShapeError, RuntimeError):  # RuntimeError: a tensor on the device meta
        pass
    raise BadOption(f"{name} is {shown(given)}: expected {expected}")


def shown(value: object) -> str:
    """Its `repr` in one line, shortened where it is long, for messages."""
    return " ".join(reprlib.repr(value).split())
