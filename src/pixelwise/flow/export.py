"""Export a segmenter for programs without pixelwise: one graph from a picture's pixels to its classes, and its check.

The graph is written beside its place, read again and run, and compared with `Segmenter.predict` on drawn pictures of
three sizes and on real ones where a folder is given. Only where the labels agree is it put in place.
"""

import json
import platform
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pixelwise.data.decode import decode_image
from pixelwise.data.sample import adapt_channels, spread
from pixelwise.errors import BadOption, DataError, PixelwiseError
from pixelwise.files import replacing
from pixelwise.flow.demo import draw_scene
from pixelwise.flow.predicting.predict import find_pictures
from pixelwise.inference.export import TRACED, onnx_model, plain_copy, traced
from pixelwise.inference.export_files import (
    INPUT,
    Graph,
    check_format,
    read_graph,
    write_onnx,
    write_program,
)
from pixelwise.inference.export_int8 import CALIBRATION, quantized
from pixelwise.inference.export_picture import PIXELS, PictureClasses
from pixelwise.metrics import ConfusionMatrix
from pixelwise.segmenter import Segmenter
from pixelwise.version import VERSION

SIZES = ((96, 128), (97, 131), (45, 150))  # of the drawn pictures; (height, width)
LEAST = 0.999  # share of equal labels
LEAST_INT8 = 0.99
CHECKED = 20  # real pictures at most
BUNDLE = ("model.onnx", "classes.json", "predict.py", "README.txt")


@dataclass(frozen=True)
class Compared:
    """How a graph's labels agree with the segmenter's.

    Attributes:
        what: the pictures, for people.
        pictures: how many.
        equal: the share of pixels with the same label, 0–1.
    """

    what: str
    pictures: int
    equal: float


@dataclass(frozen=True)
class Exported:
    """A graph that was written.

    Attributes:
        out: the file, or the bundle's folder.
        size: its bytes, of all its files.
        compared: on pictures of each kind.
        notes: what the graph leaves out, a line each.
        mean_iou: (of the segmenter, of the graph in int8) on the calibration's folder, where that has masks.
    """

    out: Path
    size: int
    compared: tuple[Compared, ...]
    notes: tuple[str, ...]
    mean_iou: tuple[float, float] | None = None

    def to_record(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "out": str(self.out),
            "size": self.size,
            "compared": [asdict(one) for one in self.compared],
            "notes": list(self.notes),
            "mean_iou": None if self.mean_iou is None else dict(zip(("whole", "int8"), self.mean_iou, strict=True)),
        }


def export(
    segmenter: Segmenter,
    out: str | Path,
    *,
    confidence: bool = False,
    check: str | Path | None = None,
    bundle: bool = False,
    int8: bool = False,
    calibrate: str | Path | None = None,
    least_equal: float | None = None,
    overwrite: bool = False,
    bits: int = 8,
    source: str = "",
) -> Exported:
    """Write a segmenter as a graph: .onnx, .pt2 (`torch.export`), or .xml with .bin (OpenVINO); or a bundle's folder.

    The graph takes "picture", (N, H, W, C) uint8 or, with 16 bits, uint16, in the order of the training pictures, of
    any height and width, and gives "labels", (N, H, W) uint8, or int32 with more than 255 classes. Normalization, the
    size that pictures are brought to, the network, the resampling to the picture and the argmax are inside. Several
    views, tiles and a CRF are not.

    Args:
        confidence: a second output "confidence", (N, H, W) float32, the probability of the label.
        check: a folder of pictures that are compared, too.
        bundle: `out` is a folder with model.onnx, classes.json, predict.py and README.txt, which need no pixelwise.
        int8: convolutions in eight bits, with ranges measured on the pictures of `calibrate`; .onnx and .xml.
        calibrate: a folder of pictures as the model will see them, best with masks: then the loss of mean IoU is told.
        least_equal: the share of equal labels below which nothing is written; 0.999, and 0.99 with int8.
        overwrite: replace what an earlier export wrote.
        bits: of the pictures' values, 8 or 16; a network takes either, on the same scale, and a graph one of them.
        source: what the metadata name as the model's origin, such as its file.

    Raises:
        BadOption: an unknown format, or options that do not go together, or an extra is not installed.
        DataError: `out` exists, a folder holds no pictures, or the labels differ too much.
        SurgeryError: the network cannot be a graph; says why.
    """
    out = Path(out)
    suffix = ".onnx" if bundle else check_format(out)
    if bundle:
        check_format(Path("model.onnx"))
        if out.suffix.lower() in (".onnx", ".pt2", ".xml"):
            raise BadOption(f"a bundle is a folder; got {out}: leave out its extension, or --bundle")
    if int8 and suffix == ".pt2":
        raise BadOption("int8 is for .onnx and .xml; a .pt2 stays in float")
    if int8 != (calibrate is not None):
        raise BadOption("int8 needs a folder of pictures to measure ranges on: --int8 --calibrate FOLDER, both or none")
    if least_equal is not None and not 0 <= least_equal <= 1:
        raise BadOption(f"a share of equal labels is 0 to 1, got {least_equal}")
    if bits not in PIXELS:
        raise BadOption(f"a graph takes pictures of 8 or of 16 bits a channel, got {bits}")
    channels = segmenter.normalization.channels
    real = None if check is None else _Pictures.of(Path(check), channels, bits, CHECKED)
    measured = None if calibrate is None else _Pictures.of(Path(calibrate), channels, bits, CALIBRATION)
    _check_free(out, suffix, bundle, overwrite)
    limit = least_equal if least_equal is not None else LEAST_INT8 if int8 else LEAST
    outputs = ["labels", "confidence"] if confidence else ["labels"]
    facts = facts_of(segmenter, source, bits=bits)
    graph = PictureClasses(plain_copy(segmenter.network), segmenter.normalization, confidence=confidence, bits=bits)
    example = torch.zeros(*TRACED, channels, dtype=getattr(torch, PIXELS[bits]))
    program = traced(graph, example, sides=(1, 2))
    with _beside(out) as folder:
        file = folder / ("model.onnx" if bundle else out.name)
        if measured is None:
            write_program(program, file, outputs, facts)
        else:
            small = quantized(onnx_model(program, INPUT, outputs), measured)
            write_onnx(small, file, {**facts, "precision": "int8, first and last convolutions float32"})
        run = read_graph(file)
        compared = list(_compared(segmenter, run, bits, real, measured))
        for one in compared if measured is None else compared[1:]:
            if not one.equal >= limit:
                raise DataError(
                    f"{out} was not written: on {one.what} {one.equal:.3%} of the labels are the model's, at least "
                    f"{limit:.1%} were expected; "
                    + (
                        "calibrate on more pictures, leave out --int8, or lower --least-equal"
                        if int8
                        else "predict with pixelwise, or lower --least-equal if that is enough"
                    )
                )
        scores = None if calibrate is None else _mean_ious(segmenter, run, bits, Path(calibrate))
        if bundle:
            _write_bundle(folder, facts)
        size = sum(f.stat().st_size for f in folder.iterdir())
        _put(folder, out, bundle)
    return Exported(out, size, tuple(compared), _notes(segmenter), scores)


def facts_of(segmenter: Segmenter, source: str = "", *, bits: int = 8) -> dict[str, Any]:
    """What goes with a graph, for JSON."""
    labels = segmenter.labels
    return {
        "classes": list(labels.names),
        "palette": [list(color) for color in labels.palette],
        "void": labels.void,
        "channels": segmenter.normalization.channels,
        "bits": bits,
        "input": f"picture (N, H, W, C) {PIXELS[bits]}" + (", RGB" if segmenter.normalization.channels == 3 else ""),
        "normalization": {**segmenter.normalization.to_record(), "where": "inside the graph"},
        "architecture": {name: _plain(value) for name, value in segmenter.architecture.items()},
        "source": source,
        "versions": {"pixelwise": VERSION, "torch": torch.__version__, "python": platform.python_version()},
    }


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(value, default=str))


def _notes(segmenter: Segmenter) -> tuple[str, ...]:
    notes = []
    if segmenter.refinement is not None:
        notes.append(
            "The model's dense CRF is not in the graph: its labels are those of pixelwise predict --no-crf, and it was "
            "compared with these."
        )
    if segmenter.scores.get("counted") == "pictures":
        notes.append("The model was trained on class folders: its maps are coarse.")
    return tuple(notes)


@dataclass(frozen=True)
class _Pictures:
    """Some pictures of a folder, read when they are asked for."""

    folder: Path
    files: tuple[Path, ...]
    channels: int
    bits: int

    @classmethod
    def of(cls, folder: Path, channels: int, bits: int, most: int) -> "_Pictures":
        """Evenly spread ones.

        A folder that `pixelwise fit` understands has its pictures in images/; masks are no pictures.
        """
        if not folder.is_dir():
            raise DataError(f"{folder} is no folder of pictures")
        inside = folder / "images" if (folder / "images").is_dir() else folder
        found = [picture.path for picture in find_pictures([str(inside)])]
        return cls(folder, tuple(found[i] for i in spread(len(found), most)), channels, bits)

    def __iter__(self) -> Iterator[NDArray[Any]]:
        """(H, W, C) each, uint8 or uint16."""
        for path in self.files:
            yield in_bits(adapt_channels(decode_image(path), self.channels, name=str(path)), self.bits, str(path))


def in_bits(image: NDArray[Any], bits: int, name: str) -> NDArray[Any]:
    """A picture as a graph takes it: of 8 bits, or of 16, which 8 become by the factor 257.

    Raises:
        DataError: the picture has more bits than the graph takes, or is of floating point.
    """
    if image.dtype == PIXELS[bits]:
        return image
    if image.dtype == np.uint8:
        return image.astype(np.uint16) * np.uint16(257)
    more = "; --bits 16 makes a graph for such pictures" if image.dtype == np.uint16 else ": convert it first"
    raise DataError(f"{name} has pixels of {image.dtype}, the graph takes {PIXELS[bits]}{more}")


def _compared(
    segmenter: Segmenter, run: Graph, bits: int, real: _Pictures | None, measured: _Pictures | None
) -> Iterator[Compared]:
    yield _share(
        segmenter, run, list(_drawn(segmenter, bits)), "drawn pictures of " + ", ".join(f"{h} × {w}" for h, w in SIZES)
    )
    for pictures in (measured, real):
        if pictures is not None:
            count = len(pictures.files)
            yield _share(segmenter, run, pictures, f"{count} picture{'' if count == 1 else 's'} of {pictures.folder}")


def _drawn(segmenter: Segmenter, bits: int) -> Iterator[NDArray[Any]]:
    """A drawn scene of each size, with the model's number of channels."""
    channels = segmenter.normalization.channels
    for index, size in enumerate(SIZES):
        picture = draw_scene(np.random.default_rng(index), size)[0]
        tiled = np.ascontiguousarray(np.tile(picture, (1, 1, -(-channels // 3)))[..., :channels])
        yield in_bits(tiled, bits, "a drawn picture")


def _share(segmenter: Segmenter, run: Graph, pictures: Any, what: str) -> Compared:
    equal = pixels = count = 0
    for picture in pictures:
        expected = segmenter.predict_dense(picture, precision="fp32", crf=False).labels
        labels = run(picture[None])[0][0]
        equal += int((labels == expected).sum())
        pixels += expected.size
        count += 1
    return Compared(what, count, equal / pixels)


def _mean_ious(segmenter: Segmenter, run: Graph, bits: int, folder: Path) -> tuple[float, float] | None:
    """Mean IoU of the segmenter and of the graph, on at most 64 pictures with masks; None where there are no masks."""
    from pixelwise.flow.opened_part import open_part

    try:
        data = open_part(segmenter, folder).data
    except PixelwiseError:
        return None
    matrices = [ConfusionMatrix(segmenter.labels.num_classes) for _ in range(2)]
    for index in spread(len(data), CALIBRATION):
        sample = data[index]
        picture = adapt_channels(sample.image, segmenter.normalization.channels, name=sample.name)
        picture = in_bits(picture, bits, sample.name)
        target = next(iter(sample.targets.values()))
        whole = segmenter.predict_dense(picture, precision="fp32", crf=False).labels
        for matrix, labels in zip(matrices, (whole, run(picture[None])[0][0]), strict=True):
            matrix.update(labels, target)
    first, second = (matrix.scores().mean_iou for matrix in matrices)
    return first, second


def _check_free(out: Path, suffix: str, bundle: bool, overwrite: bool) -> None:
    """Refuse to touch what is there, but for an earlier export with `overwrite`."""
    if bundle:
        if out.is_dir():
            others = sorted(f.name for f in out.iterdir() if f.name not in BUNDLE)
            if others:
                raise DataError(f"{out} holds {others[0]}, which is of no bundle; choose another folder")
            if any(out.iterdir()) and not overwrite:
                raise DataError(f"{out} exists; choose another folder, or --overwrite")
        elif out.exists():
            raise DataError(f"{out} is a file; a bundle is a folder: choose another name")
        return
    for file in _files(out, suffix):
        if file.is_dir() or (file.exists() and not overwrite):
            raise DataError(f"{file} exists; choose another name" + ("" if file.is_dir() else ", or --overwrite"))


def _files(out: Path, suffix: str) -> list[Path]:
    return [out.with_suffix(".bin"), out] if suffix == ".xml" else [out]


@contextmanager
def _beside(out: Path) -> Iterator[Path]:
    """A new folder beside `out`, removed at the end."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def _put(folder: Path, out: Path, bundle: bool) -> None:
    """Rename what is complete: a bundle's folder, or the files, the .bin before the .xml that names it."""
    if bundle:
        whole = folder / "whole"
        whole.mkdir()
        for name in BUNDLE:
            (folder / name).rename(whole / name)
        if out.is_dir():
            out.rename(folder / "before")
        whole.rename(out)
        return
    for name in sorted((f.name for f in folder.iterdir()), key=lambda name: not name.endswith(".bin")):
        with replacing(out.with_name(name)) as beside:
            (folder / name).rename(beside)


README = """\
A segmenter of pixelwise {version}: model.onnx with its classes, to run without pixelwise and without torch.

    pip install numpy pillow onnxruntime
    python predict.py PICTURES --out masks

PICTURES are files and folders. Each gives masks/NAME.png, an indexed picture of its own size whose numbers are the
classes below, in their colors; with --overlay also NAME-overlay.png.

model.onnx takes "picture", (N, H, W, {channels}) {pixels}{order}, of any height and width, and gives "labels",
(N, H, W). The normalization is inside.

{classes}
"""


def _write_bundle(folder: Path, facts: Mapping[str, Any]) -> None:
    """classes.json, predict.py and README.txt beside model.onnx."""
    text = json.dumps(facts, indent=1, ensure_ascii=False)
    (folder / "classes.json").write_text(text + "\n", encoding="utf-8")
    shutil.copyfile(Path(__file__).with_name("bundle_predict.py"), folder / "predict.py")
    names: Sequence[str] = facts["classes"]
    readme = README.format(
        version=VERSION,
        channels=facts["channels"],
        pixels=PIXELS[facts["bits"]],
        order=" in the order red, green, blue" if facts["channels"] == 3 else "",
        classes="\n".join(f"{index:5}  {name}" for index, name in enumerate(names)),
    )
    (folder / "README.txt").write_text(readme, encoding="utf-8")
