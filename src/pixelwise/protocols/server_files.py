"""Result files as the test servers of VOC and Cityscapes take them.

    OUT/results/VOC2012/Segmentation/comp6_test_cls/<id>.png           indexed, classes 0–20, VOC's colors
    OUT/<city>_<seq>_<frame>_leftImg8bit.png                           label ids 0–33, 1024 × 2048

comp5 is for models trained on VOC's pictures alone, comp6 for all others. Cityscapes' script finds a result by the
beginning <city>_<seq>_<frame> of its name, which must be there once.
Source: VOC devkit, §9 of its documentation and VOCinit; cityscapesScripts; specification §2.1, §2.5, §3.2.
"""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pixelwise.errors import BadOption, DataError, LabelError, ShapeError
from pixelwise.files import replacing
from pixelwise.labels import voc_color
from pixelwise.protocols.cityscapes import IDS, to_ids

Results = Iterable[tuple[str, NDArray[Any]]]
"""(name of the picture, predicted classes (H, W) at the picture's own size)"""

Competition = Literal["comp5", "comp6"]
"""Of VOC's server; see this module's first lines."""

VOC_CLASSES = 21
CITYSCAPES_SIZE = (1024, 2048)

_FRAME = re.compile(r"[A-Za-z-]+_\d{6}_\d{6}")
_LEFT = "_leftImg8bit"


def write_voc_results(
    results: Results,
    out: Path | str,
    *,
    competition: Competition = "comp6",
    split: str = "test",
    year: int = 2012,
) -> Path:
    """Write indexed PNG for VOC's server; the folder `results` in `out` is what is packed and sent.

    Args:
        results: (name, classes (H, W)); names are VOC's ids, as 2008_000001; classes 0–20, at the pictures' own sizes.
        competition: "comp5" for a model trained on VOC alone, else "comp6".
        split, year: what the server calls the pictures.

    Returns:
        The folder of the files.

    Raises:
        BadOption: there is no such competition.
        LabelError: a prediction is no class; void is none.
        DataError: there is no result, or a name stands twice or is a path.
    """
    if competition not in ("comp5", "comp6"):
        raise BadOption(f"VOC's segmentation competitions are comp5 and comp6, got {competition!r}")
    folder = Path(out) / "results" / f"VOC{year}" / "Segmentation" / f"{competition}_{split}_cls"
    palette = [value for index in range(256) for value in voc_color(index)]
    done: set[str] = set()
    for name, labels in results:
        _check_name(name, done)
        labels = _checked(labels, name, VOC_CLASSES)
        picture = Image.fromarray(labels)
        picture.putpalette(palette)
        with replacing(folder / f"{name}.png") as beside:
            picture.save(beside, format="PNG")
    _check_any(done)
    return folder


def write_cityscapes_results(
    results: Results,
    out: Path | str,
    *,
    values: Literal["train_ids", "ids"] = "train_ids",
    size: tuple[int, int] | None = CITYSCAPES_SIZE,
) -> Path:
    """Write gray PNG of label ids for Cityscapes' server.

    Args:
        results: (name, classes (H, W)); names are <city>_<seq>_<frame>, with or without _leftImg8bit.
        values: what the predictions hold; trainIds 0–18 are mapped to ids.
        size: (height, width) that every prediction must have; None for any.

    Returns:
        The folder of the files.

    Raises:
        LabelError: a prediction is no class; void is none.
        ShapeError: a prediction has another size.
        DataError: there is no result, a name is not a frame's, or stands twice.
    """
    folder = Path(out)
    done: set[str] = set()
    for name, labels in results:
        frame = name.removesuffix(_LEFT)
        if not _FRAME.fullmatch(frame):
            raise DataError(
                f"expected names as frankfurt_000000_000294, got {name!r}: name the pictures as Cityscapes does"
            )
        _check_name(frame, done)
        labels = _checked(labels, name, 19 if values == "train_ids" else IDS)
        if size is not None and labels.shape != size:
            raise ShapeError(
                f"{name}: prediction is {labels.shape}, expected {size}; predict at the picture's own size"
            )
        ids = to_ids(labels) if values == "train_ids" else labels
        with replacing(folder / f"{frame}{_LEFT}.png") as beside:
            Image.fromarray(ids).save(beside, format="PNG")
    _check_any(done)
    return folder


def _checked(labels: NDArray[Any], name: str, classes: int) -> NDArray[np.uint8]:
    labels = np.asarray(labels)
    if labels.ndim != 2:
        raise ShapeError(f"{name}: expected classes (height, width), got shape {labels.shape}")
    wrong = (labels < 0) | (labels >= classes)
    if wrong.any():
        row, column = (int(i) for i in np.argwhere(wrong)[0])
        raise LabelError(
            f"{name} holds {int(labels[row, column])} at row {row}, column {column}; the server takes 0–{classes - 1}: "
            "every pixel needs a class"
        )
    return np.ascontiguousarray(labels, np.uint8)


def _check_name(name: str, done: set[str]) -> None:
    if not name or name != Path(name).name:
        raise DataError(f"expected the picture's id, got {name!r}: leave folders out")
    if name in done:
        raise DataError(f"{name} stands twice among the results; the server takes one of each")
    done.add(name)


def _check_any(done: set[str]) -> None:
    if not done:
        raise DataError("there are no results to write: predict the test set first")
