"""What comes in and goes out: numpy's arrays and torch's tensors alike, without importing torch."""

import sys
from typing import Any

import numpy as np


def is_tensor(given: object) -> bool:
    """Whether it is one; where it is, torch has been imported."""
    return isinstance(given, getattr(sys.modules.get("torch"), "Tensor", ()))


def array_of(given: Any) -> Any:
    """A tensor as it is, without its gradient; anything else as numpy's array."""
    return given.detach() if is_tensor(given) else np.asarray(given)


def kind_of(array: Any) -> str:
    """The letter of numpy's `dtype.kind`: f for floats, i or u for whole numbers, others for what is no number."""
    if not is_tensor(array):
        return str(array.dtype.kind)
    if array.is_floating_point():
        return "f"
    torch = sys.modules["torch"]
    return "i" if not (array.dtype == torch.bool or array.is_complex()) else "o"


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
