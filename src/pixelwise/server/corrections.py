"""Corrections: pictures with the masks that people painted, in a folder that `pixelwise fit` reads.

    FOLDER/classes.yaml                the model's classes, by their numbers; void is never counted
    FOLDER/images/NAME.png             pixels alone: whatever else was in the upload is gone
    FOLDER/masks/NAME.png

Names are the server's: the time, and a number. With several models each has a folder of its name below FOLDER.
"""

import shlex
import shutil
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tifffile
from numpy.typing import NDArray

from pixelwise.data.values.classnames import read_class_names, write_classes
from pixelwise.errors import DataError
from pixelwise.files import replacing
from pixelwise.inference.pictures import palette_png, write_picture
from pixelwise.labels import ClassMap, LabelSet
from pixelwise.server.models import ServedModel
from pixelwise.server.pictures import decode, decode_numbers, inspect
from pixelwise.server.refusals import Refusal

SPARE = 256 * 2**20  # bytes that stay free on the disk


@dataclass(frozen=True)
class Saved:
    """A pair that was saved; paths are relative to the folder of corrections."""

    name: str
    image: str
    mask: str
    pairs: int
    command: str


class Corrections:
    """The folder; nothing is made before the first pair.

    Args:
        local: only people of this machine are told where its files lie; others, their last names.

    Raises:
        DataError: the folder has a classes.yaml of other classes than the model's.
    """

    def __init__(self, folder: Path, models: Sequence[ServedModel], *, local: bool) -> None:
        alone = len(models) == 1
        self._folders = {model.name: folder if alone else folder / model.name for model in models}
        self._root, self._local = folder, local
        self._lock, self._number = threading.Lock(), 0
        for model in models:
            _check_classes(self._folders[model.name] / "classes.yaml", plain(model.segmenter.labels))

    def save(self, model: ServedModel, image: bytes, mask: bytes, max_pixels: int, types: tuple[str, str]) -> Saved:
        """Write a pair.

        Args:
            image: of the formats of `screening`.
            mask: of the picture's size: class numbers, or a color picture of red + 256 · green.
            types: the media types of both, as the client gives them.

        Raises:
            Refusal: a file is none, or damaged; the mask holds other numbers; or the disk is full.
        """
        inspect(image, types[0], max_pixels)
        inspect(mask, types[1], max_pixels, what="mask")
        labels = plain(model.segmenter.labels)
        numbers = decode_numbers(mask)
        pixels = decode(image)
        if numbers.shape != pixels.shape[:2]:
            raise Refusal(
                "bad_mask",
                f"the mask is {numbers.shape[1]} × {numbers.shape[0]}, the picture {pixels.shape[1]} × "
                f"{pixels.shape[0]}; send a mask of the picture's size, after its EXIF rotation",
            )
        classes = classes_of(numbers, labels)
        if (classes == labels.void).all():
            raise Refusal("bad_mask", "the mask holds no class, only unlabeled pixels; paint something")
        folder = self._folders[model.name]
        try:
            return self._write(folder, model, pixels, classes, labels)
        except OSError as error:
            raise Refusal(
                "no_space", "the correction cannot be written; tell who runs the server", retry_after=60
            ) from error

    def _write(
        self, folder: Path, model: ServedModel, pixels: NDArray[Any], classes: ClassMap, labels: LabelSet
    ) -> Saved:
        with self._lock:
            self._number += 1
            name = f"{time.strftime('%Y%m%d-%H%M%S')}-{self._number}"
            while any(folder.glob(f"images/{name}.*")):
                self._number += 1
                name = f"{time.strftime('%Y%m%d-%H%M%S')}-{self._number}"
            (folder / "images").mkdir(parents=True, exist_ok=True)
            if shutil.disk_usage(folder).free < SPARE:
                raise OSError("the disk is full")
            if not (folder / "classes.yaml").exists():
                write_classes(labels, folder / "classes.yaml")
            mask = folder / "masks" / f"{name}.png"
            write_picture(palette_png(classes, labels), mask)
            image = folder / "images" / f"{name}{_suffix(pixels)}"
            _write_pixels(pixels, image)  # last: a mask alone is told by `check`, and is no pair
            pairs = sum(1 for file in (folder / "images").iterdir() if not file.name.startswith("."))
        return Saved(
            name,
            image.relative_to(self._root).as_posix(),
            mask.relative_to(self._root).as_posix(),
            pairs,
            self._command(folder, model),
        )

    def _command(self, folder: Path, model: ServedModel) -> str:
        """What goes on from the pairs."""
        start = Path("MODEL") if model.path is None else model.path
        if not self._local:
            folder = Path(self._root.absolute().name) / folder.relative_to(self._root)
            start = Path(*start.parts[-2:]) if start.name == "model.safetensors" else Path(start.name)
        return shlex.join(["pixelwise", "fit", str(folder), "--start", str(start)])


def plain(labels: LabelSet) -> LabelSet:
    """The same classes, by their numbers in the file."""
    return LabelSet(labels.names, labels.palette)


def classes_of(numbers: NDArray[Any], labels: LabelSet) -> ClassMap:
    """The classes (H, W) in the numbers of a mask as `decode_mask` gives them.

    Raises:
        Refusal: bad_mask, with the value and its place.
    """
    if numbers.dtype == np.uint32:  # colors, packed
        blue = numbers & 255
        if blue.any():
            row, column = (int(i) for i in np.argwhere(blue)[0])
            raise Refusal(
                "bad_mask",
                f"the mask has blue {int(blue[row, column])} at row {row}, column {column}; expected class numbers, or "
                "in a color picture red + 256 · green and no blue",
            )
        numbers = (numbers >> 16).astype(np.int64) + 256 * (numbers >> 8 & 255)
    wrong = ((numbers < 0) | (numbers >= labels.num_classes)) & (numbers != labels.void)
    if wrong.any():
        row, column = (int(i) for i in np.argwhere(wrong)[0])
        raise Refusal(
            "bad_mask",
            f"the mask holds {int(numbers[row, column])} at row {row}, column {column}; expected classes "
            f"0–{labels.num_classes - 1}, or {labels.void} where it is unlabeled",
        )
    classes: Any = numbers.astype(labels.dtype)
    found: ClassMap = classes
    return found


def _check_classes(path: Path, labels: LabelSet) -> None:
    if not path.exists():
        return
    found = read_class_names(path).labels
    if found is None or found.names != labels.names or dict(found.table) != dict(labels.table):
        names = "none" if found is None else ", ".join(found.names)
        raise DataError(
            f"{path} has the classes {names}, the model {', '.join(labels.names)}; give another folder with "
            "--corrections"
        )


def _suffix(pixels: NDArray[Any]) -> str:
    return ".png" if pixels.dtype in (np.uint8, np.uint16) and pixels.shape[2] in (1, 3) else ".tif"


def _write_pixels(pixels: NDArray[Any], path: Path) -> None:
    with replacing(path) as beside:
        if path.suffix == ".tif":
            color = "rgb" if pixels.shape[2] == 3 else "minisblack"
            tifffile.imwrite(
                beside, pixels, compression="zlib", metadata=None, planarconfig="contig", photometric=color
            )
            return
        done, content = cv2.imencode(".png", pixels[:, :, ::-1] if pixels.shape[2] == 3 else pixels)
        if not done:
            raise OSError("the picture cannot be written")
        beside.write_bytes(content.tobytes())
