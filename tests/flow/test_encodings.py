"""The same data in many encodings: the same classes, the same trained network, the same mean IoU."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import tifffile
from PIL import Image

from pixelwise.flow.fit import fit


def saved(suffix, change=lambda mask: mask, **options):
    """Masks as pictures of another kind."""
    return lambda path, mask: Image.fromarray(change(mask)).save(path.with_suffix(suffix), **options)


def palette(path: Path, mask: np.ndarray) -> None:
    image = Image.fromarray((mask > 0).astype(np.uint8))
    image.putpalette([0, 0, 0, 200, 30, 60])
    image.save(path.with_suffix(".png"))


def rgba(mask: np.ndarray) -> np.ndarray:
    """The object white and opaque, all else transparent."""
    return np.stack([mask] * 4, -1)


FILES = {
    "0 and 255": saved(".png"),
    "0 and 1": saved(".png", lambda mask: mask // 255),
    "1 bit": saved(".png", lambda mask: mask > 0),
    "a palette": palette,
    "RGB": saved(".png", lambda mask: np.stack([mask] * 3, -1)),
    "RGBA with transparency": saved(".png", rgba),
    "16 bits": saved(".png", lambda mask: mask.astype(np.uint16) * 257),
    "BMP": saved(".bmp"),
    "GIF": saved(".gif"),
    "TIFF": lambda path, mask: tifffile.imwrite(path.with_suffix(".tif"), mask, compression="zlib"),
    "MATLAB": lambda path, mask: scipy.io.savemat(path.with_suffix(".mat"), {"segmentation": mask // 255}),
    "NumPy": lambda path, mask: np.save(path.with_suffix(".npy"), mask),
}


def corners(mask: np.ndarray) -> list[tuple[int, int, int, int]]:
    """(left, top, right, bottom) of the one square, in pixels from the corner."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return [(int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)]


def labelme(root: Path, masks: dict[str, np.ndarray]) -> None:
    for name, mask in masks.items():
        shapes = [
            {"label": "foreground", "shape_type": "polygon", "points": [[x, y], [r, y], [r, b], [x, b]]}
            for x, y, r, b in corners(mask)
        ]
        record = {"shapes": shapes, "imagePath": f"{name}.png", "imageHeight": 32, "imageWidth": 40, "imageData": None}
        (root / "images" / f"{name}.json").write_text(json.dumps(record))


def coco(root: Path, masks: dict[str, np.ndarray]) -> None:
    record = {"images": [], "annotations": [], "categories": [{"id": 7, "name": "foreground"}]}
    for i, (name, mask) in enumerate(masks.items()):
        record["images"].append({"id": i, "file_name": f"{name}.png", "height": 32, "width": 40})
        for x, y, r, b in corners(mask):
            outline = [[x, y, r, y, r, b, x, b]]
            record["annotations"].append(
                {"id": i, "image_id": i, "category_id": 7, "iscrowd": 0, "segmentation": outline}
            )
    (root / "annotations.json").write_text(json.dumps(record))


def objects(root: Path, masks: dict[str, np.ndarray]) -> None:
    for name, mask in masks.items():
        (root / "masks" / name).mkdir(parents=True)
        (x, y, r, b), half = corners(mask)[0], np.zeros_like(mask)
        half[y : y + (b - y) // 2, x:r] = 255
        Image.fromarray(half).save(root / "masks" / name / "0.png")
        Image.fromarray(mask - half).save(root / "masks" / name / "1.png")


def written(root: Path, source: Path, encoding: str) -> Path:
    """The folder with its masks written anew."""
    masks = {file.stem: np.asarray(Image.open(file)) for file in sorted((source / "masks").iterdir())}
    shutil.copytree(source / "images", root / "images")
    if encoding in FILES:
        (root / "masks").mkdir()
        for name, mask in masks.items():
            FILES[encoding](root / "masks" / name, mask)
    else:
        {"LabelMe": labelme, "COCO": coco, "objects": objects}[encoding](root, masks)
    return root


@pytest.fixture(scope="module")
def squares(tmp_path_factory, make_folder):
    """Six pictures, masks 0 and 255."""
    return make_folder(tmp_path_factory.mktemp("squares"))


@pytest.fixture(scope="module")
def first(squares, tiny, tmp_path_factory):
    """The fit on 0 and 255."""
    return fit(squares, out=tmp_path_factory.mktemp("first") / "run", steps=4, settings=tiny)


@pytest.mark.parametrize("encoding", [*FILES, "LabelMe", "COCO", "objects"])
def test_the_same_classes_and_mean_iou(squares, tiny, tmp_path, first, encoding):
    other = fit(written(tmp_path / "other", squares, encoding), out=tmp_path / "run", steps=4, settings=tiny)
    assert other.segmenter.labels.names == first.segmenter.labels.names == ("background", "foreground")
    assert other.scores.mean_iou == first.scores.mean_iou
    ours, theirs = first.segmenter.network.state_dict(), other.segmenter.network.state_dict()
    assert all((ours[key] == theirs[key]).all() for key in ours)
