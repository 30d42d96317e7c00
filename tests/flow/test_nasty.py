"""Nasty folders, each with what must come of it: understood with these classes, faults told, or one line that refuses.

Every case runs `pixelwise check` as a person would, and none may end in a traceback.
"""

import base64
import io
import json
import struct
import unicodedata
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
import scipy.io
import tifffile
from PIL import Image, ImageFilter

from pixelwise.cli.main import main
from pixelwise.data.sets.ade20k import LABELS as ADE20K
from pixelwise.data.sets.camvid import LABELS as CAMVID
from pixelwise.data.sets.cityscapes import TRAIN_ID_LABELS as CITYSCAPES
from pixelwise.data.sets.voc import LABELS as VOC
from pixelwise.labels import voc_color

SIZE = (48, 64)


@dataclass(frozen=True)
class Case:
    """A folder and what comes of it.

    Attributes:
        build: fills a new folder; may return another path to check.
        names: the classes; None where the folder is refused.
        code: of the command.
        faults: (severity, kind) of each, in any order; None where it does not matter.
        says: parts of the output, all of which are there.
        answers: given with --as.
        pictures: how many are used.
    """

    build: Callable[[Path], Path | None]
    names: tuple[str, ...] | None = ("background", "foreground")
    code: int = 0
    faults: tuple[tuple[str, str], ...] | None = ()
    says: tuple[str, ...] = ()
    answers: tuple[str, ...] = ()
    pictures: int = 4


def refused(build: Callable[[Path], Path | None], *says: str, answers: tuple[str, ...] = ()) -> Case:
    return Case(build, None, 1, None, says, answers)


def noise(seed: int, size: tuple[int, int] = SIZE, channels: int = 3) -> np.ndarray:
    """A picture unlike those of other seeds."""
    random = np.random.default_rng(seed)
    small = random.integers(0, 256, (6, 8, channels)).astype(np.uint8)
    return cv2.resize(small, size[::-1], interpolation=cv2.INTER_NEAREST).reshape(*size, channels)


def blocks(values, seed: int = 0, size: tuple[int, int] = SIZE, dtype=np.uint8) -> np.ndarray:
    """Solid blocks; the first value covers most."""
    grid = np.full(12, values[0], dtype)
    grid[: len(values)] = values
    grid = np.random.default_rng(seed).permutation(grid).reshape(3, 4)
    return np.repeat(np.repeat(grid, size[0] // 3, 0), size[1] // 4, 1)


def save(path: Path, array: np.ndarray, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    Image.fromarray(array).save(path, **options)
    return path


def plain(
    root: Path,
    values=(0, 255),
    count: int = 4,
    image: str = "images/{}.png",
    mask: str = "masks/{}.png",
    start: int = 0,
) -> Path:
    """A sound folder to spoil."""
    for i in range(start, start + count):
        save(root / image.format(i), noise(i))
        save(root / mask.format(i), blocks(values, i))
    return root


def made(change: Callable[[Path], object], *arguments, **options) -> Callable[[Path], Path | None]:
    """A plain folder, then changed."""

    def build(root: Path) -> None:
        plain(root, *arguments, **options)
        change(root)

    return build


def masks_as(write: Callable[[Path, np.ndarray], object], values=(0, 255)) -> Callable[[Path], None]:
    """A plain folder whose masks are written by `write(path without suffix, values)`."""

    def build(root: Path) -> None:
        plain(root, values)
        for file in sorted((root / "masks").iterdir()):
            array = np.asarray(Image.open(file))
            file.unlink()
            write(file.with_suffix(""), array)

    return build


def images_as(write: Callable[[Path, np.ndarray], object]) -> Callable[[Path], None]:
    """A plain folder whose pictures are written by `write(path without suffix, RGB)`."""

    def build(root: Path) -> None:
        plain(root)
        for file in sorted((root / "images").iterdir()):
            array = np.asarray(Image.open(file))
            file.unlink()
            write(file.with_suffix(""), array)

    return build


def colored(palette) -> Callable[[Path, np.ndarray], object]:
    """Masks as RGB PNG in these colors."""
    table = np.zeros((256, 3), np.uint8)
    table[: len(palette)] = palette
    table[255] = voc_color(255)
    return lambda path, ids: save(path.with_suffix(".png"), table[ids])


def indexed(path: Path, ids: np.ndarray) -> None:
    image = Image.fromarray(ids)
    image.putpalette([c for i in range(256) for c in voc_color(i)])
    image.save(path.with_suffix(".png"))


def smoothed(path: Path, ids: np.ndarray) -> None:
    big = Image.fromarray(np.kron(ids, np.ones((4, 4), np.uint8))).filter(ImageFilter.GaussianBlur(2))
    big.resize(ids.shape[::-1], Image.Resampling.BOX).save(path.with_suffix(".png"))


def smoothed_colors(path: Path, ids: np.ndarray) -> None:
    colors = np.array([(0, 0, 0), (255, 0, 0), (0, 0, 255)], np.uint8)[ids]
    big = Image.fromarray(np.repeat(np.repeat(colors, 4, 0), 4, 1)).filter(ImageFilter.GaussianBlur(2))
    big.resize(ids.shape[::-1], Image.Resampling.BOX).save(path.with_suffix(".png"))


def once_jpeg(path: Path, ids: np.ndarray) -> None:
    stream = io.BytesIO()
    colors = np.array([(0, 0, 0), (255, 0, 0), (0, 160, 60)], np.uint8)[ids]
    noisy = colors + np.random.default_rng(0).integers(0, 3, colors.shape).astype(np.uint8)
    Image.fromarray(noisy).save(stream, "JPEG", quality=30)
    Image.open(stream).save(path.with_suffix(".png"))


def transparent(path: Path, ids: np.ndarray) -> None:
    rgba = np.full((*ids.shape, 4), 255, np.uint8)
    rgba[ids == 0] = 0
    save(path.with_suffix(".png"), rgba)


def zipped(root: Path, name: str = "set.zip", prefix: str = "") -> Path:
    """The folder's content as a zip beside it."""
    path = root.with_name(name)
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(root.rglob("*")):
            if file.is_file():
                archive.write(file, prefix + file.relative_to(root).as_posix())
    return path


def in_a_zip(prefix: str) -> Callable[[Path], Path]:
    return lambda root: zipped(plain(root), prefix=prefix)


def zip_in_zip(root: Path) -> Path:
    inner = zipped(plain(root), "inner.zip")
    with zipfile.ZipFile(root.with_name("outer.zip"), "w") as archive:
        archive.write(inner, "download/inner.zip")
    return root.with_name("outer.zip")


def zips_in_a_folder(root: Path) -> Path:
    plain(root)
    home = root.with_name("downloads")
    home.mkdir()
    for part in ("images", "masks"):
        zipped(root / part, f"{part}.zip").rename(home / f"{part}.zip")
    return home


def listed(separator: str, *, encoding: str = "utf-8", ending: str = "\n", header: str = "", name: str = "train.txt"):
    def build(root: Path) -> None:
        plain(root, image="pics/x{}.png", mask="truth/y{}.png")
        lines = [f"pics/x{i}.png{separator}truth/y{i}.png" for i in range(4)]
        text = ending.join([*([header] if header else []), *lines, ""])
        (root / name).write_bytes(text.encode(encoding))

    return build


def one_file_per_object(root: Path) -> None:
    for i in range(4):
        home = root / f"case{i}"
        save(home / "images" / f"case{i}.png", noise(i))
        for k in range(3):
            part = np.zeros(SIZE, np.uint8)
            part[8 + 8 * k : 20 + 8 * k, 10:30] = 255  # neighbors overlap by four rows
            save(home / "masks" / f"{k}.png", part)


def labelme(root: Path) -> None:
    shapes = [
        {"label": "cell", "shape_type": "polygon", "points": [[4, 4], [20, 4], [20, 20], [4, 20]]},
        {"label": "cell", "shape_type": "rectangle", "points": [[40, 40], [30, 30]]},
        {"label": "cell", "shape_type": "circle", "points": [[50, 12], [54, 12]]},
        {"label": "line", "shape_type": "line", "points": [[2, 44], [20, 44]]},
        {"label": "line", "shape_type": "linestrip", "points": [[30, 4], [30, 20], [40, 20]]},
        {"label": "line", "shape_type": "point", "points": [[60, 40]]},
    ]
    for i in range(4):
        save(root / f"{i}.png", noise(i))
        record = {"version": "5", "flags": {}, "shapes": shapes, "imagePath": f"C:\\photos\\{i}.png", "imageData": None}
        record |= {"imageHeight": SIZE[0], "imageWidth": SIZE[1]}
        (root / f"{i}.json").write_text(json.dumps(record))


def labelme_patch(root: Path) -> None:
    stream = io.BytesIO()
    Image.fromarray(np.full((5, 6), 255, np.uint8)).convert("1").save(stream, "PNG")
    mask = base64.b64encode(stream.getvalue()).decode()
    for i in range(4):
        save(root / f"{i}.png", noise(i))
        shape = {"label": "cell", "shape_type": "mask", "points": [[10, 10], [15, 14]], "mask": mask}
        record = {"shapes": [shape], "imagePath": f"{i}.png", "imageHeight": SIZE[0], "imageWidth": SIZE[1]}
        (root / f"{i}.json").write_text(json.dumps(record))


def coco(segmentation, *, crowd: int = 0) -> Callable[[Path], None]:
    def build(root: Path) -> None:
        record = {"images": [], "annotations": [], "categories": [{"id": 3, "name": "cat"}, {"id": 90, "name": "dog"}]}
        for i in range(4):
            save(root / "train2017" / f"{i:012}.png", noise(i))
            record["images"].append({"id": 7 * i, "file_name": f"{i:012}.png", "height": SIZE[0], "width": SIZE[1]})
            for number, category in enumerate((3, 90)):
                record["annotations"].append(
                    {"id": 10 * i + number, "image_id": 7 * i, "category_id": category, "iscrowd": crowd}
                    | ({"segmentation": segmentation(number)} if segmentation else {"bbox": [1, 1, 9, 9]})
                )
        (root / "annotations").mkdir()
        (root / "annotations" / "instances_train2017.json").write_text(json.dumps(record))

    return build


def runs(number: int) -> dict:
    """Column-major runs of a block."""
    block = np.zeros(SIZE, np.uint8)
    block[5:20, 5 + 30 * number : 25 + 30 * number] = 1
    flat = block.T.ravel()
    edges = np.flatnonzero(np.diff(flat)) + 1
    return {"size": list(SIZE), "counts": np.diff([0, *edges, flat.size]).tolist()}


def cvat(root: Path) -> Path:
    names = {"background": (0, 0, 0), "cat": (250, 50, 83), "dog": (51, 221, 255)}
    for i in range(4):
        save(root / "JPEGImages" / f"{i}.jpg", noise(i))
        colored(list(names.values()))(root / "SegmentationClass" / str(i), blocks((0, 1, 2), i))
        colored([(0, 0, 0), (9, 9, 9), (8, 8, 8)])(root / "SegmentationObject" / str(i), blocks((0, 1, 2), i))
    (root / "ImageSets" / "Segmentation").mkdir(parents=True)
    (root / "ImageSets" / "Segmentation" / "default.txt").write_text("0\n1\n2\n3\n")
    lines = ["# label:color_rgb:parts:actions", *(f"{n}:{r},{g},{b}::" for n, (r, g, b) in names.items())]
    (root / "labelmap.txt").write_text("\n".join(lines))
    return zipped(root, "task_1.zip")


def nnunet(channels: int) -> Callable[[Path], None]:
    def build(root: Path) -> None:
        for i in range(4):
            for c in range(channels):
                save(root / "imagesTr" / f"case_{i:03}_{c:04}.png", noise(10 * i + c, channels=1))
            save(root / "labelsTr" / f"case_{i:03}.png", blocks((0, 1, 2), i))
        names = {str(c): f"stain {c}" for c in range(channels)}
        record = {"channel_names": names, "labels": {"background": 0, "core": 1, "rim": 2}, "numTraining": 4}
        (root / "dataset.json").write_text(json.dumps(record | {"file_ending": ".png"}))

    return build


def ade20k_full(root: Path) -> None:
    home = root / "images" / "ADE" / "training" / "nature" / "lake"
    for i in range(4):
        stem = f"ADE_train_{i:08}"
        save(home / f"{stem}.jpg", noise(i))
        ids = blocks((0, 300, 1200), i, dtype=np.int64)
        seg = np.stack([ids // 256 * 10, ids % 256, (ids > 0).astype(np.int64)], -1).astype(np.uint8)
        save(home / f"{stem}_seg.png", seg)
        objects = [{"id": k, "name": n, "name_ndx": v} for k, (n, v) in enumerate({"tree": 300, "water": 1200}.items())]
        (home / f"{stem}.json").write_text(json.dumps({"annotation": {"filename": f"{stem}.jpg", "object": objects}}))


def yolo(line: str) -> Callable[[Path], None]:
    def build(root: Path) -> None:
        for split, start in (("train", 0), ("val", 4)):
            for i in range(start, start + 4 - start // 2):
                save(root / "images" / split / f"{i}.png", noise(i))
                (root / "labels" / split).mkdir(parents=True, exist_ok=True)
                (root / "labels" / split / f"{i}.txt").write_text(line)
        (root / "data.yaml").write_text("path: .\ntrain: images/train\nval: images/val\nnames: [cat, dog]\n")

    return build


def bomb(root: Path) -> None:
    """A PNG of 32 gigapixels by its header."""
    plain(root)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 180_000, 180_000, 8, 2, 0, 0, 0)
    data = (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    )
    (root / "images" / "0.png").write_bytes(data)


def two_names_one_stem(root: Path) -> None:
    save(root / "images" / "0.bmp", noise(50))


def unicode_forms(root: Path) -> None:
    for i, name in enumerate(("Zürich", "Málaga", "Łódź é", "Ångström")):
        save(root / "images" / (unicodedata.normalize("NFC", name) + ".png"), noise(i))
        save(root / "masks" / (unicodedata.normalize("NFD", name) + ".png"), blocks((0, 255), i))


def junk(root: Path) -> None:
    for name in (".DS_Store", "Thumbs.db", "desktop.ini", "._0.png", "notes.docx"):
        (root / "images" / name).write_bytes(b"\0junk")
        (root / "masks" / name).write_bytes(b"\0junk")
    (root / "__MACOSX" / "images").mkdir(parents=True)
    (root / "__MACOSX" / "images" / "._0.png").write_bytes(b"\0junk")


def split_by(root: Path, values: dict[str, tuple[int, ...]], count: int = 4) -> None:
    for number, (split, held) in enumerate(values.items()):
        for i in range(count):
            save(root / split / "images" / f"{split}{i}.png", noise(100 * number + i))
            save(root / split / "masks" / f"{split}{i}.png", blocks(held, i))


def same_in_two_parts(near: bool) -> Callable[[Path], None]:
    def build(root: Path) -> None:
        split_by(root, {"train": (0, 255), "test": (0, 255)}, 2)
        source = root / "train" / "images" / "train0.png"
        target = root / "test" / "images" / "test1.png"
        target.unlink()
        if near:
            Image.open(source).save(target.with_suffix(".jpg"), quality=60)
        else:
            target.write_bytes(source.read_bytes())

    return build


def rare(root: Path) -> None:
    plain(root, (0, 1), 40)
    first = root / "masks" / "0.png"
    ids = np.asarray(Image.open(first)).copy()
    ids[10:12, 10:12] = 2
    save(first, ids)


def rim(root: Path) -> None:
    for file in sorted((root / "masks").iterdir()):
        ids = np.asarray(Image.open(file)).copy()
        ids[[0, -1]] = ids[:, [0, -1]] = 255
        save(file, ids)


def replaced(part: str, data: bytes | Callable[[Path], object]) -> Callable[[Path], object]:
    """Change the file of one picture or mask."""

    def change(root: Path) -> None:
        file = next((root / part).glob("0.*"))
        if isinstance(data, bytes):
            file.write_bytes(data)
        else:
            data(file)

    return change


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-60])


def flipped_bits(file: Path) -> None:
    data = bytearray(file.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 8] = bytes(255 - b for b in data[middle : middle + 8])
    file.write_bytes(data)


def exif(number: int) -> Callable[[Path, np.ndarray], object]:
    def write(path: Path, rgb: np.ndarray) -> None:
        tag = Image.Exif()
        tag[274] = number
        raw = rgb.swapaxes(0, 1) if number >= 5 else rgb
        save(path.with_suffix(".jpg"), np.ascontiguousarray(raw), exif=tag)

    return write


def convert_to(mode: str, suffix: str, **options) -> Callable[[Path, np.ndarray], object]:
    return lambda path, rgb: Image.fromarray(rgb).convert(mode).save(path.with_suffix(suffix), **options)


def sized(height: int, width: int) -> Callable[[Path], None]:
    def build(root: Path) -> None:
        for i in range(2):
            save(root / "images" / f"{i}.png", np.full((height, width, 3), 60 * i, np.uint8))
            ids = np.zeros((height, width), np.uint8)
            ids[: max(height // 2, i)] = 255
            save(root / "masks" / f"{i}.png", ids)

    return build


ERROR, WARNING = "error", "warning"
ABC = ("class 0", "class 1", "class 2")

CASES: dict[str, Case] = {
    # layouts
    "images and masks": Case(plain),
    "labels beside images": Case(lambda root: plain(root, mask="labels/{}.png")),
    "annotations, other words": Case(lambda root: plain(root, image="imgs/{}.jpg", mask="ground_truth/{}_mask.png")),
    "side by side": Case(lambda root: plain(root, image="{}.jpg", mask="{}_mask.png")),
    "splits above": Case(lambda root: split_by(root, {"train": (0, 255), "val": (0, 255)}, 2)),
    "splits below": Case(
        lambda root: (
            [
                plain(root, count=2, start=i, image=f"images/{s}/{{}}.png", mask=f"masks/{s}/{{}}.png")
                for i, s in ((0, "train"), (2, "val"))
            ]
            and None
        )
    ),
    "deeply nested": Case(lambda root: plain(root / "a" / "b" / "c")),
    "a zip": Case(in_a_zip("")),
    "a zip with folders in folders": Case(in_a_zip("export/2026/cells/")),
    "a zip in a zip": Case(zip_in_zip),
    "a folder of zips": Case(zips_in_a_folder),
    "mixed extensions and cases": Case(
        lambda root: (
            [
                (root / "images" / "0.png").rename(root / "images" / "0.PNG"),
                save(root / "images" / "1.JPG", noise(1)),
                (root / "images" / "1.png").unlink(),
                save(root / "images" / "2.Jpeg", noise(2)),
                (root / "images" / "2.png").unlink(),
            ]
            and None
            if plain(root)
            else None
        )
    ),
    "a list with tabs": Case(listed("\t")),
    "a list with commas, BOM and CRLF": Case(listed(",", encoding="utf-8-sig", ending="\r\n")),
    "a CSV with a header": Case(listed(",", header="image,mask", name="train.csv")),
    "a list with semicolons": Case(listed("; ")),
    "a list that names a missing file": Case(
        lambda root: [listed(" ")(root), (root / "truth" / "y3.png").unlink()] and None,
        code=1,
        faults=((ERROR, "missing"),),
        says=("train.txt, line 4, lists truth/y3.png",),
        pictures=3,
    ),
    "one mask file per object": Case(
        one_file_per_object, says=("objects overlap: they share 640 pixels in 4 of 4 masks",)
    ),
    "LabelMe, all kinds of shapes": Case(labelme, ("background", "cell", "line")),
    "LabelMe, a patch": Case(labelme_patch, ("background", "cell")),
    "COCO polygons": Case(
        coco(lambda k: [[5 + 30 * k, 5, 25 + 30 * k, 5, 25 + 30 * k, 20]]), ("background", "cat", "dog")
    ),
    "COCO runs and crowds": Case(coco(runs, crowd=1), ("background", "cat", "dog")),
    "COCO boxes only": refused(coco(None), "box"),
    "CVAT's zip with labelmap.txt": Case(cvat, ("background", "cat", "dog")),
    "nnU-Net": Case(nnunet(1), ("background", "core", "rim")),
    "nnU-Net with five channels": Case(nnunet(5), ("background", "core", "rim"), says=("5-channel", "stain 4")),
    "ADE20K's full set": Case(ade20k_full, ("tree", "water")),
    "YOLO polygons": Case(
        yolo("0 0.1 0.1 0.5 0.1 0.5 0.5\n1 0.6 0.6 0.9 0.6 0.9 0.9 0.6 0.9\n"), ("background", "cat", "dog"), pictures=6
    ),
    "YOLO boxes": refused(yolo("0 0.5 0.5 0.2 0.2\n"), "boxes"),
    # encodings
    "ids": Case(lambda root: plain(root, (0, 1, 2)), ABC),
    "0 and 1": Case(lambda root: plain(root, (0, 1))),
    "ids and 255": Case(lambda root: plain(root, (0, 1, 2, 255)), ABC),
    "ids and 254": Case(lambda root: plain(root, (0, 1, 2, 254)), ABC),
    "minus one": Case(
        masks_as(lambda p, ids: tifffile.imwrite(p.with_suffix(".tif"), ids.astype(np.int16) - 1), (1, 2, 3, 0)),
        ABC,
    ),
    "1 bit": Case(masks_as(lambda p, ids: Image.fromarray(ids > 0).save(p.with_suffix(".png")))),
    "gray palette": Case(
        lambda root: plain(root, (0, 85, 170, 255)), ("class 0", "class 85", "class 170", "class 255")
    ),
    "color palette": Case(masks_as(indexed, (0, 1, 2)), ABC),
    "VOC's colors": Case(masks_as(colored(VOC.palette), (0, 1, 8, 15, 255)), VOC.names),
    "Cityscapes' colors": Case(masks_as(colored(CITYSCAPES.palette), (0, 1, 2, 10)), CITYSCAPES.names),
    "CamVid's colors": Case(masks_as(colored(CAMVID.palette), (0, 1, 4, 10)), CAMVID.names),
    "ADE20K's colors": Case(masks_as(colored([ADE20K.palette[i] for i in (0, 2, 4, 12)]), (0, 1, 2, 3)), ADE20K.names),
    "own colors": Case(masks_as(colored([(0, 0, 0), (1, 2, 3), (200, 9, 9)]), (0, 1, 2)), ABC),
    "gray as RGB": Case(masks_as(lambda p, ids: save(p.with_suffix(".png"), np.stack([ids] * 3, -1)))),
    "RGBA": Case(
        masks_as(lambda p, ids: save(p.with_suffix(".png"), np.stack([ids, ids, ids, np.full_like(ids, 255)], -1)))
    ),
    "a transparent background": Case(masks_as(transparent)),
    "16 bits": Case(masks_as(lambda p, ids: save(p.with_suffix(".png"), ids.astype(np.uint16) * 257))),
    "GIF": Case(masks_as(lambda p, ids: save(p.with_suffix(".gif"), ids)), faults=None),
    "TIFF": Case(masks_as(lambda p, ids: tifffile.imwrite(p.with_suffix(".tif"), ids))),
    "MATLAB": Case(
        masks_as(lambda p, ids: scipy.io.savemat(p.with_suffix(".mat"), {"segmentation": ids}), (0, 1, 2)), ABC
    ),
    "NumPy": Case(masks_as(lambda p, ids: np.save(p.with_suffix(".npy"), ids), (0, 1, 2)), ABC),
    "smoothed edges": Case(masks_as(smoothed), faults=((WARNING, "blended"),)),
    "smoothed edges of colors": Case(masks_as(smoothed_colors, (0, 1, 2)), ABC, faults=((WARNING, "blended"),)),
    "JPEG masks": refused(masks_as(lambda p, ids: save(p.with_suffix(".jpg"), ids)), "lossy", "export", "snap"),
    "JPEG masks, snapped": Case(
        masks_as(lambda p, ids: save(p.with_suffix(".jpg"), ids)), answers=("snap",), faults=None
    ),
    "masks that were JPEG once": refused(masks_as(once_jpeg, (0, 1, 2)), "export"),
    "0 is the object": Case(lambda root: plain(root, (255, 0)), says=("inverted",)),
    "0 is the object, said": Case(lambda root: plain(root, (255, 0)), answers=("inverted",)),
    "255 in doubt": refused(lambda root: plain(root, (0, 100, 255)), "255=void", "255=class"),
    "255 in doubt, answered": Case(
        lambda root: plain(root, (0, 100, 255)), ("class 0", "class 100", "class 255"), answers=("255=class",)
    ),
    "numbers of objects": Case(
        lambda root: plain(root, tuple(range(11))), answers=("objects",), names=("background", "foreground")
    ),
    "classes.yaml merges": Case(
        made(
            lambda root: (root / "classes.yaml").write_text(
                "classes:\n- {name: ground, values: [0]}\n- {name: plant, values: [1, 2]}\nvoid: [255]\n"
            ),
            (0, 1, 2, 255),
        ),
        ("ground", "plant"),
    ),
    "a value that classes.txt does not list": refused(
        made(lambda root: (root / "classes.txt").write_text("0 a\n1 b\n"), (0, 1, 9)), "9", "row"
    ),
    "numbers and colors mixed": refused(made(replaced("masks", lambda file: save(file, noise(0)))), "two encodings"),
    # pictures
    **{f"EXIF orientation {i}": Case(images_as(exif(i))) for i in range(1, 9)},
    "CMYK": Case(images_as(convert_to("CMYK", ".jpg"))),
    "gray and alpha": Case(images_as(convert_to("LA", ".png"))),
    "color and alpha": Case(images_as(convert_to("RGBA", ".png"))),
    "palette photographs": Case(images_as(convert_to("P", ".png"))),
    "palette photographs as GIF": Case(images_as(convert_to("P", ".gif"))),
    "16-bit pictures": Case(
        images_as(lambda p, rgb: cv2.imwrite(f"{p}.png", rgb.astype(np.uint16) * 257)), says=("16 bits",)
    ),
    "12 bits in 16": Case(images_as(lambda p, rgb: tifffile.imwrite(f"{p}.tif", rgb[..., 0].astype(np.uint16) * 16))),
    "floats": Case(
        images_as(lambda p, rgb: tifffile.imwrite(f"{p}.tif", rgb[..., 0] / 255)), says=("floating",), faults=None
    ),
    "floats with NaN": Case(
        images_as(
            lambda p, rgb: tifffile.imwrite(
                f"{p}.tif", np.where((np.indices(SIZE).sum(0) == 0) & (p.name == "0"), np.nan, rgb[..., 0]).astype("f4")
            )
        ),
        code=1,
        faults=((ERROR, "value"),),
        says=("row 0, column 0",),
        pictures=3,
    ),
    "WebP": Case(images_as(convert_to("RGB", ".webp"))),
    "BMP": Case(images_as(convert_to("RGB", ".bmp"))),
    "progressive JPEG": Case(images_as(convert_to("RGB", ".jpg", progressive=True))),
    "TIFF of several pages": Case(
        images_as(lambda p, rgb: tifffile.imwrite(f"{p}.tif", np.stack([rgb[..., 0]] * 4), photometric="minisblack")),
        says=("4-channel", "band 4"),
    ),
    "TIFF of seven bands": Case(
        images_as(
            lambda p, rgb: tifffile.imwrite(
                f"{p}.tif",
                np.concatenate([rgb, rgb, rgb[..., :1]], 2).astype(np.uint16),
                planarconfig="contig",
                photometric="minisblack",
            )
        ),
        says=("7-channel", "16 bits"),
    ),
    "one pixel": Case(
        lambda root: (
            [
                (
                    save(root / "images" / f"{i}.png", np.full((1, 1, 3), i, np.uint8)),
                    save(root / "masks" / f"{i}.png", np.full((1, 1), i, np.uint8)),
                )
                for i in range(2)
            ]
            and None
        ),
        pictures=2,
    ),
    "24 megapixels": Case(sized(4000, 6000), pictures=2),
    "a decompression bomb": Case(
        bomb, code=1, faults=((ERROR, "unreadable"),), says=("32,400,000,000 pixels", "bomb"), pictures=3
    ),
    # faults
    "a picture without mask": Case(
        made(lambda root: (root / "masks" / "0.png").unlink()), faults=((WARNING, "orphan"),), pictures=3
    ),
    "a mask without picture": Case(
        made(lambda root: (root / "images" / "0.png").unlink()), faults=((WARNING, "orphan"),), pictures=3
    ),
    "both": Case(
        made(lambda root: (root / "images" / "0.png").rename(root / "images" / "zero.png")),
        code=1,
        faults=((ERROR, "orphan"), (ERROR, "orphan")),
        pictures=3,
    ),
    "two pictures of one name": Case(made(two_names_one_stem), code=1, faults=None, says=("twin",), pictures=3),
    "Unicode in two forms": Case(unicode_forms),
    "half the size": Case(
        made(replaced("masks", lambda f: save(f, blocks((0, 255), 0, (24, 32))))),
        code=1,
        faults=((ERROR, "size"),),
        says=("half the size",),
        pictures=3,
    ),
    "off by one": Case(
        made(replaced("masks", lambda f: save(f, blocks((0, 255), 0)[:-1]))),
        code=1,
        faults=((ERROR, "size"),),
        says=("off by one",),
        pictures=3,
    ),
    "transposed": Case(
        made(replaced("masks", lambda f: save(f, blocks((0, 255), 0).T.copy()))),
        code=1,
        faults=((ERROR, "size"),),
        says=("height and width are swapped",),
        pictures=3,
    ),
    "truncated": Case(
        made(replaced("images", cut)), code=1, faults=((ERROR, "unreadable"),), says=("truncated",), pictures=3
    ),
    "damaged inside": Case(made(replaced("images", flipped_bits)), code=1, faults=((ERROR, "unreadable"),), pictures=3),
    "an empty picture": Case(
        made(replaced("images", b"")), code=1, faults=((ERROR, "unreadable"),), says=("empty (0 bytes)",), pictures=3
    ),
    "an empty mask file": Case(
        made(replaced("masks", b"")), code=1, faults=((ERROR, "unreadable"),), says=("empty (0 bytes)",), pictures=3
    ),
    "a text called png": Case(
        made(replaced("images", b"hello, I am no picture at all")),
        code=1,
        faults=((ERROR, "unreadable"),),
        says=("no picture of a known kind",),
        pictures=3,
    ),
    "empty masks": Case(
        made(replaced("masks", lambda f: save(f, np.zeros(SIZE, np.uint8)))), says=("nothing but background",)
    ),
    "a mask that is all void": Case(
        made(replaced("masks", lambda f: save(f, np.full(SIZE, 255, np.uint8))), (0, 1, 2, 255)),
        ABC,
        faults=((WARNING, "void"),),
    ),
    "all masks empty": Case(lambda root: plain(root, (0,)), ("background",), 1, ((ERROR, "classes"),)),
    "the same picture to train and to test": Case(
        same_in_two_parts(False), faults=((WARNING, "duplicate"),), says=("are the same picture",)
    ),
    "nearly the same picture to train and to test": Case(
        same_in_two_parts(True), faults=((WARNING, "duplicate"),), says=("nearly the same picture",)
    ),
    "a class that validation misses": Case(
        lambda root: split_by(root, {"train": (0, 1, 2), "val": (0, 1)}, 2),
        ABC,
        faults=((WARNING, "classes"),),
        says=("class 2 is in no picture of the val part",),
    ),
    "a class that is too rare": Case(
        rare,
        ABC,
        faults=((WARNING, "classes"),),
        says=("too rare to be learned: class 2 (4 pixels in 1 picture)",),
        pictures=40,
    ),
    "a rim of void": Case(made(rim, (0, 1, 2)), ABC, faults=((WARNING, "void"),), says=("one pixel wide",)),
    "junk of operating systems": Case(made(junk)),
    "8 and 16 bits mixed": Case(
        made(replaced("images", lambda f: cv2.imwrite(str(f), noise(0).astype(np.uint16) * 257))),
        code=1,
        faults=((ERROR, "kind"),),
        pictures=3,
    ),
    "an empty folder": refused(lambda root: root.mkdir(exist_ok=True), "no pictures in"),
    "pictures alone": refused(lambda root: [save(root / f"{i}.jpg", noise(i)) for i in range(3)] and None, "no masks"),
    "unlike names": refused(
        lambda root: (
            [
                (
                    save(root / "images" / f"{chr(97 + i)}.png", noise(i)),
                    save(root / "masks" / f"{i}.png", blocks((0, 255))),
                )
                for i in range(4)
            ]
            and None
        ),
        "has a mask by its name",
    ),
}


def test_there_are_enough_of_them():
    assert len(CASES) >= 60


@pytest.mark.parametrize("name", CASES)
def test_nasty(tmp_path, capsys, monkeypatch, name):
    case = CASES[name]
    root = tmp_path / "set"
    root.mkdir()
    path = case.build(root) or root
    monkeypatch.chdir(tmp_path)
    words = [word for answer in case.answers for word in ("--as", answer)]
    with pytest.raises(SystemExit) as ended:
        main(["check", str(path), "--json", "--page", str(tmp_path / "page.html"), *words])
    out, err = capsys.readouterr()
    record = json.loads(out)
    said = json.dumps(record, ensure_ascii=False)
    assert ended.value.code == case.code, said
    for part in case.says:
        assert part in said
    if case.names is None:
        assert "\n" not in record["error"] and record["error"] in err.replace("pixelwise: ", "")
        return
    assert tuple(record["labels"]["names"]) == case.names, record["encoding"]
    assert sum(record["splits"].values()) == case.pictures
    if case.faults is not None:
        found = sorted((fault["severity"], fault["kind"]) for fault in record["faults"])
        assert found == sorted(case.faults), [fault["message"] for fault in record["faults"]]
    assert (tmp_path / "page.html").stat().st_size > 1000
