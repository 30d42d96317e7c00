"""Pictures a second of every network on a GPU: sizes, batches, precisions, with a CUDA graph and without.

    python benchmarks/gpu/predict.py [--names deeplab_v3_resnet101,unet] [--batches 1,4,16]
    python benchmarks/gpu/predict.py --device cpu --width 0.125 --sizes 64x64 --batches 1,2 --names unet

Each network, 21 classes, random weights, runs as `predict` runs it – batch norms folded, channels last – from
normalized pictures on the GPU to labels on the GPU, upsampling and argmax included, at 500 × 500 and 1024 × 2048. A
CUDA graph replays the kernels of one batch; it is recorded once for a size, and its labels are compared with those
without it. A network whose memory does not suffice, or that no graph can record, says so in its line. The DeepLab v2
paper gives 8 pictures a second on a Titan X, before the CRF. The second line checks the script itself, without graphs.
"""

import argparse
import inspect
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from pixelwise.inference.engine import Engine
from pixelwise.inference.folding import folded
from pixelwise.models import MODELS, build

ROUNDS = 12


def labels_of(engine: Engine, images: Tensor) -> Tensor:
    """(N, H, W) the classes of normalized pictures (N, C, H, W)."""
    head = next(iter(engine.heads(images).values()))
    return head.resampling.argmax(head.scores)


def seconds(work: Callable[[], object], device: torch.device) -> float:
    """Median time of some calls; the first two warm."""
    times = []
    for turn in range(ROUNDS):
        start = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize()
        if turn > 1:
            times.append(time.perf_counter() - start)
    return statistics.median(times)


def recorded(engine: Engine, images: Tensor) -> tuple[Callable[[], None], Tensor]:
    """What replays the kernels of one batch, and where the labels will lie."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):  # what is set up at first use cannot be recorded
        for _ in range(3):
            labels_of(engine, images)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        labels = labels_of(engine, images)
    return graph.replay, labels


def measured(name: str, device: torch.device, width: float, size: tuple[int, int], batch: int, precision: str) -> str:
    """A line on one network, size, batch and precision."""
    torch.manual_seed(0)
    network = build(name, num_classes=21, width=width).eval().to(device)
    channels = inspect.signature(MODELS[name]).parameters["in_channels"].default
    images = torch.randn(batch, channels, *size).to(device, memory_format=torch.channels_last)
    engine = folded(network, precision)
    eager = seconds(lambda: labels_of(engine, images), device)
    line = f"{batch / eager:.1f} pictures/s, {eager / batch * 1e3:.2f} ms each"
    if device.type != "cuda":
        return line
    line += f", {torch.cuda.max_memory_allocated() / 2**30:.2f} GiB"
    try:
        replay, there = recorded(engine, images)
    except RuntimeError as error:
        return f"{line}; no CUDA graph: {str(error).splitlines()[0]}"
    replay()
    same = float((there == labels_of(engine, images)).double().mean())
    replayed = seconds(replay, device)
    return f"{line}; by CUDA graph {batch / replayed:.1f} pictures/s, {eager / replayed:.2f}×, {same:.4%} equal labels"


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--names", help="some networks, separated by commas; all if left out")
    parser.add_argument("--sizes", default="500x500,1024x2048")
    parser.add_argument("--batches", default="1,4,16")
    parser.add_argument("--precisions", default="fp32,bf16")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--width", type=float, default=1.0)
    options = parser.parse_args()
    device = torch.device(options.device)
    print(torch.cuda.get_device_name() if device.type == "cuda" else "CPU", torch.__version__)
    for name in options.names.split(",") if options.names else MODELS:
        for size in options.sizes.split(","):
            height, width = (int(side) for side in size.split("x"))
            for precision in options.precisions.split(","):
                for batch in options.batches.split(","):
                    case = f"{name} {height} × {width}, {precision}, batch {batch}"
                    try:
                        found = measured(name, device, options.width, (height, width), int(batch), precision)
                    except torch.OutOfMemoryError:
                        found = "the memory does not suffice"
                    print(f"{case}: {found}", flush=True)
                    if device.type == "cuda":
                        torch.cuda.empty_cache()
                        torch.cuda.reset_peak_memory_stats()


if __name__ == "__main__":
    main()
