"""File to label PNG: `Segmenter.predict` on each engine against a plain eager loop with the same weights.

    python benchmarks/predict_speed.py [deeplab_v3 fcn8s pspnet unet smp_unet] [--sizes 500x500 1024x2048]
        [--engines torch openvino onnxruntime] [--precisions fp32 bf16 int8] [--rounds 3] [--picture FILE]
    python benchmarks/predict_speed.py --trained MODEL FOLDER [--calibrate FOLDER] [--precisions fp32 int8]

The peer opens the file with Pillow, normalizes with torch, runs the network as its authors do (contiguous, not folded),
brings its scores to the picture's size, takes the argmax, and saves a PNG with Pillow. For `deeplab_v3` it is
torchvision's own DeepLab v3 on ResNet-50 at output stride 16, for `smp_unet` segmentation_models.pytorch's U-Net on
ResNet-34, each where it is installed; for the others it is the same network of ours, run so. torchvision does not
import beside the CPU build of torch, so its missing operators are declared first.

Weights are random, batch norm's statistics measured on the picture, so that scores are of a usual size. Rounds
alternate, ratios are medians of the rounds' ratios, times include everything from file to file; labels are compared.

With `--trained`, labels of each engine and precision on the pictures of FOLDER are compared with float32 in torch.

`int8` is what `pixelwise export --int8` writes, run by OpenVINO or ONNX Runtime on what Pillow reads and saves; its
ranges are measured on the pictures of `--calibrate`, or on the picture itself.
"""

import argparse
import functools
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

import pixelwise as pw
from pixelwise.backbones.resnet import resnet50
from pixelwise.benchmark.predict import CLASSES, Scores, calibrated, drawn_picture, plain, segmenter_of
from pixelwise.data.decode import decode_image, decode_mask
from pixelwise.errors import BadOption, PixelwiseError
from pixelwise.flow.export import export
from pixelwise.layers.head import Head
from pixelwise.layers.resample import Resampling
from pixelwise.models import build
from pixelwise.surgery import set_output_stride


class Foreign(nn.Module):
    """Somebody else's network, which ends at the picture's size, as one of ours."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def heads(self, images: Tensor) -> dict[str, Head]:
        """Its scores, on the picture's own grid."""
        return {"logits": Head(self.network(images), Resampling.identity((images.shape[-2], images.shape[-1])))}


@functools.cache
def declare_missing_operators() -> torch.library.Library:
    """The operators of torchvision whose library does not load here, declared as long as somebody holds this."""
    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return library


def networks(picture: np.ndarray, name: str) -> tuple[nn.Module, Scores, str]:
    """(ours, the peer's scores, the peer's name) with the same weights.

    Raises:
        ImportError: the peer is not installed.
    """
    torch.manual_seed(0)
    if name == "deeplab_v3":
        declare_missing_operators()
        from torchvision.models import resnet50 as their_resnet50
        from torchvision.models._utils import IntermediateLayerGetter
        from torchvision.models.segmentation.deeplabv3 import DeepLabHead, DeepLabV3

        ours = build("torchvision_deeplab_v3_resnet50", num_classes=CLASSES, auxiliary=False)
        ours.backbone = set_output_stride(resnet50(in_channels=3, width=1.0), 16, first_unit="exact")
        calibrated(ours, picture)
        trunk = their_resnet50(weights=None, replace_stride_with_dilation=[False, False, True])
        theirs = DeepLabV3(IntermediateLayerGetter(trunk, {"layer4": "out"}), DeepLabHead(2048, CLASSES))
        theirs.load_state_dict(ours.state_dict())
        theirs.eval()
        return ours, lambda images: theirs(images)["out"], "torchvision"
    if name == "smp_unet":
        declare_missing_operators()
        import segmentation_models_pytorch

        theirs = segmentation_models_pytorch.Unet("resnet34", encoder_weights=None, classes=CLASSES)
        return calibrated(Foreign(theirs), picture), theirs, "segmentation_models.pytorch"
    full = {"fcn8s": "fcn8s_vgg16", "pspnet": "pspnet_resnet50", "unet": "unet"}[name]
    ours = calibrated(build(full, num_classes=CLASSES), picture)

    def eager(images: Tensor) -> Tensor:
        return next(iter(ours.heads(images).values())).full_size()  # type: ignore[operator]  # nn.Module says Tensor | Module

    return ours, eager, "eager loop"


def in_int8(segmenter: pw.Segmenter, pictures: Path, engine: str, scratch: Path) -> Callable[[Path], np.ndarray]:
    """From a file to the labels (H, W) of the segmenter's graph in int8."""
    graph = scratch / "int8.onnx"
    if engine not in ("openvino", "onnxruntime"):
        raise BadOption(f"{engine} has no int8")
    export(segmenter, graph, int8=True, calibrate=pictures, least_equal=0, overwrite=True)
    if engine == "onnxruntime":
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        session = onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
        return lambda file: session.run(None, {"picture": decode_image(file)[None]})[0][0]
    import openvino

    hints = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": torch.get_num_threads()}
    compiled = openvino.Core().compile_model(str(graph), "CPU", hints)
    return lambda file: compiled([decode_image(file)[None]])[0][0]


def timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def compare(name: str, file: Path, scratch: Path, asked: argparse.Namespace) -> None:
    """One network at one size: a line for each engine and precision."""
    picture = decode_image(file)
    try:
        ours, scores, peer = networks(picture, name)
    except ImportError as error:
        print(f"{name:12} skipped: {error}")
        return
    segmenter = segmenter_of(ours)
    size = f"{picture.shape[0]} × {picture.shape[1]}"
    plain(scores, file, scratch / "peer.png")
    expected = decode_mask(scratch / "peer.png")
    ways: dict[str, Callable[[], object]] = {}
    equal: dict[str, float] = {}
    for engine in asked.engines:
        for precision in asked.precisions:
            out = scratch / f"{engine}-{precision}.png"

            def work(engine: str = engine, precision: str = precision, out: Path = out) -> None:
                segmenter.predict(file, engine=engine, precision=precision, confidence=False).save(out)

            try:
                if precision == "int8":
                    seen = in_int8(segmenter, asked.calibrate or small_twin(file, scratch), engine, scratch)

                    def work(seen: Callable[[Path], np.ndarray] = seen, out: Path = out) -> None:
                        Image.fromarray(seen(file)).save(out)

                work()  # prepares the engine
            except (PixelwiseError, ImportError) as error:
                print(f"{name:12} {size:>11} {engine} {precision}: {error}")
                continue
            equal[f"{engine} {precision}"] = float((decode_mask(out) == expected).mean())
            ways[f"{engine} {precision}"] = work
    times: dict[str, list[float]] = {way: [] for way in ("peer", *ways)}
    for _ in range(asked.rounds):
        times["peer"].append(timed(lambda: plain(scores, file, scratch / "peer.png")))
        for way, work in ways.items():
            times[way].append(timed(work))
    for way in ways:
        ratio = statistics.median(a / b for a, b in zip(times["peer"], times[way], strict=True))
        own, other = (statistics.median(times[key]) * 1e3 for key in (way, "peer"))
        told = f"{name:12} {size:>11} {way:18} {own:7.0f} ms  {peer} {other:7.0f} ms  {ratio:5.2f}×"
        print(f"{told}  {100 * equal[way]:.4f} % equal labels", flush=True)


def small_twin(file: Path, scratch: Path) -> Path:
    """A folder with the picture, 512 pixels high at most."""
    folder = scratch / "twin"
    folder.mkdir(exist_ok=True)
    with Image.open(file) as image:
        image.thumbnail((10_000, 512))
        image.save(folder / "picture.png")
    return folder


def agreement(model: Path, folder: Path, asked: argparse.Namespace) -> None:
    """How many labels each engine and precision has in common with float32 in torch."""
    segmenter = pw.load(model)
    files = sorted(f for f in folder.iterdir() if f.suffix.lower() in (".jpg", ".png"))
    expected = [segmenter.predict(f, engine="torch", precision="fp32", confidence=False, crf=False) for f in files]
    for engine in asked.engines:
        for precision in asked.precisions:
            try:
                if precision == "int8":
                    with tempfile.TemporaryDirectory() as scratch:
                        seen = in_int8(segmenter, asked.calibrate or folder, engine, Path(scratch))
                        found = [seen(f) for f in files]
                else:
                    found = [
                        segmenter.predict(f, engine=engine, precision=precision, confidence=False, crf=False).labels
                        for f in files
                    ]
            except (PixelwiseError, ImportError) as error:
                print(f"{engine} {precision}: {error}")
                continue
            share = statistics.mean(float((one == e.labels).mean()) for one, e in zip(found, expected, strict=True))
            print(f"{engine:12} {precision}: {100 * share:.3f} % equal labels on {len(files)} pictures")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", default=["deeplab_v3"])
    parser.add_argument("--sizes", nargs="+", default=["500x500", "1024x2048"])
    parser.add_argument("--engines", nargs="+", default=["torch", "openvino", "onnxruntime"])
    parser.add_argument("--precisions", nargs="+", default=["fp32"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--picture", type=Path, help="resized to the sizes; a drawn one if left out")
    parser.add_argument(
        "--calibrate", type=Path, metavar="FOLDER", help="of pictures that int8's ranges are measured on"
    )
    parser.add_argument("--trained", type=Path, nargs=2, metavar=("MODEL", "FOLDER"))
    asked = parser.parse_args()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}")
    if asked.trained:
        agreement(*asked.trained, asked)
        return
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        for size in asked.sizes:
            height, width = (int(n) for n in size.split("x"))
            if asked.picture is not None:
                whole = decode_image(asked.picture)
            else:
                whole = drawn_picture(height, width)
            whole = cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA)
            Image.fromarray(whole).save(scratch / f"{size}.jpg", quality=92)
            for name in asked.networks:
                compare(name, scratch / f"{size}.jpg", scratch, asked)


if __name__ == "__main__":
    main()
