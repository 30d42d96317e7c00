"""The pictures of NYUDv2 that stand in no file of their own: the labelled file's, depth beside color, and as HHA."""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pixelwise.data.decode import decode_image
from pixelwise.data.hha import Camera, hha, write_hha
from pixelwise.data.matlab import INSTALL
from pixelwise.data.sample import DrawnImage, DrawnMask, Image
from pixelwise.errors import DataError
from pixelwise.files import cache_folder

_TOP, _LEFT = 45, 40
_CROP = (slice(_TOP, 470), slice(_LEFT, 600))  # Gupta's: rows 46–470, columns 41–600, counted from 1
FIRST = 5001  # the number that the first picture of the labelled file has in FCN's names
LABELED = "nyu_depth_v2_labeled.mat"
Kind = Literal["rgb", "depth", "hha", "rgbd", "rgb_hha"]
COLOR_CAMERA = Camera(518.85790117450188, 519.46961112127485, 325.58244941119034, 253.73616633400465)
"""The camera of the pictures of 480 × 640, and of depth that is projected on them."""


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """The labelled file, open.

    Raises:
        DataError: h5py is missing, or the file is damaged or another.
    """
    try:
        import h5py
    except ImportError as error:
        raise DataError(f"{path} is a MATLAB file of version 7.3, which h5py reads; install it: {INSTALL}") from error
    try:
        with h5py.File(path, "r") as file:
            if "labels" not in file:
                held = ", ".join(sorted(key for key in file if not key.startswith("#"))) or "nothing"
                raise DataError(f"{path} holds {held}; expected images, depths, labels, names: pass {LABELED}")
            yield file
    except DataError:
        raise
    except OSError as error:
        raise DataError(
            f"{path} is truncated or damaged, or of a version before 7.3 ({error}); download it again"
        ) from error


@dataclass(frozen=True)
class LabeledMask(DrawnMask):
    """The labels of one picture of the labelled file: 0 void, 1–894.

    Args:
        place: of the picture, from 0.
        crop: take the 425 × 560 pixels within the frame.
    """

    path: Path
    files: tuple[Path, ...]
    place: int
    crop: bool

    def draw(self) -> tuple[NDArray[Any], int]:
        """(H, W) uint16, and nothing shared."""
        with opened(self.path) as file:
            return _cropped(file["labels"][self.place].T, self.crop), 0

    @property
    def key(self) -> str:
        """The file, the place in it, and whether it is cropped."""
        return str(self)

    def __str__(self) -> str:
        return f"{self.path} (labels {self.place + 1}{', cropped' * self.crop})"


@dataclass(frozen=True)
class LabeledPicture(DrawnImage):
    """One picture of the labelled file.

    Args:
        place: of the picture, from 0.
        channels: see `nyud_v2`.
        crop: take the 425 × 560 pixels within the frame.
    """

    path: Path
    files: tuple[Path, ...]
    place: int
    channels: Kind
    crop: bool

    def draw(self) -> Image:
        """(H, W, C) as `nyud_v2` says."""
        if self.channels == "rgb":
            return np.asarray(self._array("images"), np.uint8)
        if self.channels == "hha":
            return self._hha()
        if self.channels == "rgb_hha":
            return np.concatenate([self._array("images"), self._hha()], axis=2)
        meters = np.nan_to_num(self._array("depths")).astype(np.float64)
        millimeters: NDArray[np.uint16] = np.clip(np.rint(meters * 1000), 0, 65_535).astype(np.uint16)
        if self.channels == "depth":
            return millimeters[:, :, None]
        return color_and_depth(self._array("images"), millimeters)

    def _array(self, name: str) -> NDArray[Any]:
        """(H, W, …) of this picture."""
        with opened(self.path) as file:
            return _cropped(file[name][self.place].T, self.crop)  # MATLAB's axes are stored in reverse

    def _hha(self) -> NDArray[np.uint8]:
        """HHA from the cache, where it is put when it is asked for the first time."""

        def make() -> NDArray[np.uint8]:
            camera = COLOR_CAMERA.cropped(_TOP, _LEFT) if self.crop else COLOR_CAMERA
            return hha(self._array("depths"), camera, missing=self._array("rawDepths") == 0)

        return _kept(self.path, f"{self.crop}", f"img_{self.place + FIRST}.png", make)

    def __str__(self) -> str:
        return f"{self.path} (picture {self.place + 1}, {self.channels}{', cropped' * self.crop})"


@dataclass(frozen=True)
class ColorAndDepth(DrawnImage):
    """A color picture and its depth in millimeters, from two files, as one of four channels.

    Args:
        files: color and depth.
    """

    path: Path
    files: tuple[Path, ...]

    def draw(self) -> Image:
        """(H, W, 4) float32, see `color_and_depth`."""
        color, depth = (decode_image(file) for file in self.files)
        if color.shape[:2] != depth.shape[:2] or color.shape[2] != 3 or depth.shape[2] != 1:
            raise DataError(
                f"{self.files[1]} is {' × '.join(map(str, depth.shape))}, {self.files[0]} is "
                f"{' × '.join(map(str, color.shape))}; expected depth in one channel, of the picture's size"
            )
        return color_and_depth(color, depth[:, :, 0])

    def __str__(self) -> str:
        return f"{self.files[0]} with {self.files[1]}"


@dataclass(frozen=True)
class EncodedDepth(DrawnImage):
    """HHA of a file of FCN's packaging with depth in millimeters; with two files, color in front of it.

    Args:
        path: the depth.
        files: depth, or color and depth.
    """

    path: Path
    files: tuple[Path, ...]

    def draw(self) -> Image:
        """(H, W, 3) or (H, W, 6) uint8."""
        encoded = _kept(self.path, "", self.path.name, self._made)
        if len(self.files) == 1:
            return encoded
        color = decode_image(self.files[0])
        if color.shape != encoded.shape:
            raise DataError(
                f"{self.path} is {' × '.join(map(str, encoded.shape[:2]))}, {self.files[0]} is "
                f"{' × '.join(map(str, color.shape))}; expected depth of the picture's size"
            )
        return np.concatenate([color, encoded], axis=2)

    def _made(self) -> NDArray[np.uint8]:
        depth = decode_image(self.path)
        if depth.shape[2] != 1:
            raise DataError(f"{self.path} has {depth.shape[2]} channels; expected depth in one: export it so")
        return hha(depth[:, :, 0] * 0.001, COLOR_CAMERA.cropped(_TOP, _LEFT))

    def __str__(self) -> str:
        return f"{self.path} (HHA{' behind color' * (len(self.files) - 1)})"


def _kept(source: Path, how: str, name: str, make: Callable[[], NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """HHA from the cache, or made and put there; `name` is that of the picture of a file."""
    status = source.stat()
    stamp = f"{source.resolve()} {status.st_size} {status.st_mtime_ns} {how}"
    digest = hashlib.sha256(stamp.encode(errors="surrogateescape")).hexdigest()[:24]
    kept = cache_folder() / "hha" / digest / name
    if kept.is_file():
        try:
            return np.asarray(decode_image(kept), np.uint8)
        except DataError:
            pass  # damaged: made again
    encoded = make()
    try:
        write_hha(encoded, kept)
    except OSError:  # a full disk, or none to write on: nothing is lost but time
        pass
    return encoded


def color_and_depth(color: NDArray[Any], millimeters: NDArray[Any]) -> NDArray[np.float32]:
    """(H, W, 3) 0–255 and (H, W) → (H, W, 4) float32: color / 255, ln(millimeters) / 255, 0 where nothing is known.

    Source: Long et al. 2015, RGB-D; fcn.berkeleyvision.org, nyud_layers.py.
    """
    logarithm = np.log(np.maximum(millimeters, 1).astype(np.float32))
    joined: NDArray[np.float32] = np.concatenate([color.astype(np.float32), logarithm[:, :, None]], axis=2)
    return joined / np.float32(255)


def _cropped(array: NDArray[Any], crop: bool) -> NDArray[Any]:
    """(H, W, …) of the file; of its 480 × 640 pixels those within the frame."""
    if not crop:
        return np.ascontiguousarray(array)
    if array.shape[:2] != (480, 640):
        raise DataError(
            f"only pictures of 480 × 640 are cropped, these are {array.shape[0]} × {array.shape[1]}; take crop=False"
        )
    return np.ascontiguousarray(array[_CROP])
