"""Masks in MATLAB files: the one array of class numbers among what such a file holds.

Two kinds are read: those up to version 7 by SciPy, those of version 7.3, which are HDF5, by h5py. Structures and cells
are searched, too. Of the arrays of whole numbers with two axes, the one with a name that masks have (`NAMES`) is taken;
where none has such a name, the only one that is larger than 1 × 1.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixelwise.errors import DataError

NAMES = frozenset(
    (
        "segmentation segmentations segm seg labelmap labels label mask masks groundtruth gt gtcls annotation "
        "annotations s classmap"
    ).split()
)
"""Names of arrays, lower case, without _ and -."""

_HDF5 = b"\x89HDF\r\n\x1a\n"
INSTALL = "pip install 'pixelwise[datasets]'"
_DEPTH = 6  # structures within structures


def is_matlab(path: Path, start: bytes) -> bool:
    """Whether a file is MATLAB's, from its first bytes; the oldest kind, version 4, only from its name."""
    return start.startswith((b"MATLAB ", _HDF5)) or path.suffix.lower() == ".mat"


def matlab_variables(path: Path) -> dict[str, Any]:
    """{name: variable} of a MATLAB file up to version 7, as SciPy reads them: structures are arrays with named fields.

    Raises:
        DataError: SciPy is missing, or the file is missing, damaged, or of version 7.3.
    """
    try:
        from scipy.io import loadmat
    except ImportError as error:
        raise DataError(f"{path} is a MATLAB file, which SciPy reads; install it: {INSTALL}") from error
    try:
        held = loadmat(str(path))
    except FileNotFoundError as error:
        raise DataError(f"there is no file {path}; check the path") from error
    except MemoryError:
        raise
    except Exception as error:  # SciPy raises of every kind where a file is damaged
        raise DataError(f"{path} is truncated or damaged ({error}); copy or export it again") from error
    return {name: value for name, value in held.items() if not name.startswith("__")}


def matlab_mask(path: Path, max_pixels: int) -> NDArray[Any]:
    """The mask of a MATLAB file, (H, W), as it stands there.

    Args:
        max_pixels: more are refused.

    Raises:
        DataError: SciPy or h5py is missing, no array is a mask, or several could be.
    """
    with path.open("rb") as file:
        head = file.read(520)
    arrays = dict(_hdf5(path, max_pixels) if _HDF5 in (head[:8], head[512:]) else _matrices(path))
    found = {name: array for name, array in arrays.items() if array.ndim == 2 and array.size > 1}
    named = {name: array for name, array in found.items() if _plain(name) in NAMES} or found
    if not named:
        held = ", ".join(f"{name} {_shape(array)}" for name, array in list(arrays.items())[:6]) or "no numbers"
        raise DataError(
            f"{path} holds {held}; expected a mask, one array of whole numbers with two axes: save the masks as PNG"
        )
    if len(named) > 1:
        shown = ", ".join(f"{name} {_shape(array)}" for name, array in list(named.items())[:6])
        more = f" and {len(named) - 6} more" if len(named) > 6 else ""
        raise DataError(f"{path} holds {shown}{more}; which one is the mask? Save that one alone, or the masks as PNG")
    (array,) = named.values()
    if array.size > max_pixels:
        raise DataError(f"{path} holds {array.size:,} pixels; at most {max_pixels:,} are read: cut it into tiles")
    return array


def _plain(name: str) -> str:
    """The last part of a name without case, number of a cell, and separators."""
    return name.rpartition(".")[2].partition("{")[0].lower().replace("_", "").replace("-", "")


def _shape(array: NDArray[Any]) -> str:
    return "(" + " × ".join(str(n) for n in array.shape) + ")"


def _matrices(path: Path) -> Iterator[tuple[str, NDArray[Any]]]:
    """(name, array of numbers) of a file up to version 7; within a structure the name is struct.field."""
    for name, value in matlab_variables(path).items():
        yield from _within(name, value, _DEPTH)


def _within(name: str, value: Any, depth: int) -> Iterator[tuple[str, NDArray[Any]]]:
    if not isinstance(value, np.ndarray) or depth == 0:
        return
    if value.dtype.names is not None or value.dtype == object:
        several = value.size > 1
        for i, item in enumerate(value.ravel()):
            part = f"{name}{{{i + 1}}}" if several else name
            if value.dtype.names is None:
                yield from _within(part, item, depth - 1)
            else:
                for field in value.dtype.names:
                    yield from _within(f"{part}.{field}", item[field], depth - 1)
    elif value.dtype.kind in "uibf":
        yield name, value


def _hdf5(path: Path, max_pixels: int) -> Iterator[tuple[str, NDArray[Any]]]:
    """(name, array of numbers) of a file of version 7.3, whose axes are stored in reverse."""
    try:
        import h5py
    except ImportError as error:
        raise DataError(f"{path} is a MATLAB file of version 7.3, which h5py reads; install it: {INSTALL}") from error

    def within(name: str, item: Any, depth: int) -> Iterator[tuple[str, NDArray[Any]]]:
        if depth == 0 or "MATLAB_sparse" in item.attrs or item.attrs.get("MATLAB_class") in (b"char", "char"):
            return
        if isinstance(item, h5py.Group):
            for key in item:
                if not key.startswith("#"):  # where cells' contents lie
                    yield from within(f"{name}.{key}" if name else key, item[key], depth - 1)
        elif item.dtype.kind in "uibf":
            if item.size > max_pixels and item.ndim == 2:
                raise DataError(
                    f"{path} holds {item.size:,} pixels; at most {max_pixels:,} are read: cut it into tiles"
                )
            if not item.attrs.get("MATLAB_empty"):
                # of what is no mask in any case, only the shape is asked for
                yield name, item[()].T if item.ndim == 2 else np.broadcast_to(np.uint8(0), item.shape[::-1])
        elif item.dtype == object:
            references = np.asarray(item[()]).ravel()
            for i, reference in enumerate(references):
                part = f"{name}{{{i + 1}}}" if len(references) > 1 else name
                yield from within(part, file[reference], depth - 1)

    with h5py.File(path, "r") as file:
        yield from within("", file, _DEPTH)
