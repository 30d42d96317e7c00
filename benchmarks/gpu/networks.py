"""All networks on a GPU: same labels as on the CPU, deterministic steps, milliseconds at 500 × 500, and the argmax.

    python benchmarks/gpu/networks.py [--names fcn8s_vgg16,unet] [--device cpu] [--width 0.125] [--size 128]

On `--device cpu` it runs at small size and checks the script itself. The times stand beside the FCN paper's Table 1
(Tesla K40c, Caffe): AlexNet 50 ms, VGG-16 210 ms, GoogLeNet 59 ms.
"""

import argparse
import inspect
import os
import statistics
import time
import warnings

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pixelwise.layers.resample import Resampling
from pixelwise.models import MODELS, build

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it no matrix product is deterministic
TABLE_1 = {"fcn32s_alexnet": 50, "fcn32s_vgg16": 210, "fcn32s_googlenet": 59}


def pictures(name: str, batch: int, height: int, width: int) -> Tensor:
    """Noise with the network's own number of channels."""
    channels = inspect.signature(MODELS[name]).parameters["in_channels"].default
    return torch.randn(batch, channels, height, width)


def awake(network: nn.Module) -> nn.Module:
    """The network with what starts at zero made random: zero scores would be the same everywhere."""
    for parameter in network.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.1)
    return network


def same_labels(name: str, device: torch.device, width: float, size: int) -> float:
    """Share of equal labels of a network in float32 on both devices."""
    torch.manual_seed(0)
    network = awake(build(name, num_classes=21, width=width)).eval()
    image = pictures(name, 1, size, size + 7)
    with torch.inference_mode():
        here = network(image).argmax(1)
        there = network.to(device)(image.to(device)).argmax(1).cpu()
    return float((here == there).double().mean())


def steadiness(name: str, device: torch.device, width: float, size: int) -> str:
    """Whether torch takes a training step for deterministic, and whether its gradients are the same bits twice."""
    try:
        with warnings.catch_warnings(action="error"):
            torch.use_deterministic_algorithms(True)
            same = same_gradients(name, device, width, size)
    except RuntimeError as error:  # names the operation
        torch.use_deterministic_algorithms(False)
        same = same_gradients(name, device, width, size)
        return f"the same bits twice: {same}; torch: {str(error).splitlines()[0]}"
    finally:
        torch.use_deterministic_algorithms(False)
    return f"the same bits twice: {same}"


def same_gradients(name: str, device: torch.device, width: float, size: int) -> bool:
    """Whether the gradients of a training step are the same bits twice."""
    gradients = []
    for _ in range(2):
        torch.manual_seed(0)
        network = awake(build(name, num_classes=5, width=width)).to(device)
        image = pictures(name, 2, size, size).to(device)
        target = torch.randint(0, 5, (2, size, size), device=device)
        F.nll_loss(network(image).log_softmax(1).flatten(2), target.flatten(1)).backward()
        gradients.append([p.grad.clone() for p in network.parameters() if p.grad is not None])
    return all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


def milliseconds(name: str, device: torch.device, width: float, size: int) -> float:
    """Median time of a forward pass over one square picture, scores at its own size."""
    network = build(name, num_classes=21, width=width).eval().to(device)
    image = pictures(name, 1, size, size).to(device)
    times = []
    with torch.inference_mode():
        for turn in range(8):
            start = time.perf_counter()
            network(image)
            if device.type == "cuda":
                torch.cuda.synchronize()
            if turn > 1:
                times.append(time.perf_counter() - start)
    return statistics.median(times) * 1e3


def argmax_ratio(device: torch.device) -> str:
    """Times of both ways and their ratio, 1024 × 2048 from 1/8."""
    lines = []
    for classes in (21, 150):
        scores = torch.randn(1, classes, 128, 256, device=device)
        resampling = Resampling.half_pixel((128, 256), (1024, 2048))
        ours, theirs = [], []
        for turn in range(12):
            for times, work in (
                (ours, lambda s=scores, r=resampling: r.argmax(s)),
                (theirs, lambda s=scores: F.interpolate(s, (1024, 2048), mode="bilinear").argmax(1)),
            ):
                start = time.perf_counter()
                work()
                if device.type == "cuda":
                    torch.cuda.synchronize()
                if turn > 1:
                    times.append(time.perf_counter() - start)
        ratio = statistics.median(b / a for a, b in zip(ours, theirs, strict=True))
        lines.append(f"{classes} classes: {statistics.median(ours) * 1e3:.2f} ms, {ratio:.2f}× interpolate + argmax")
    return "; ".join(lines)


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--names", help="some networks, separated by commas; all if left out")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--size", type=int, default=500)
    options = parser.parse_args()
    device = torch.device(options.device)
    print(torch.cuda.get_device_name() if device.type == "cuda" else "CPU", torch.__version__)
    times = {}
    for name in options.names.split(",") if options.names else MODELS:
        same = same_labels(name, device, options.width, options.size)
        steady = steadiness(name, device, options.width, min(options.size, 160))
        times[name] = milliseconds(name, device, options.width, options.size)
        print(
            f"{name}: {same:.4%} equal labels, a step gives {steady}, {times[name]:.1f} ms",
            flush=True,
        )
    if times.keys() >= TABLE_1.keys():
        here = " : ".join(f"{times[name] / times['fcn32s_alexnet']:.2f}" for name in TABLE_1)
        paper = " : ".join(f"{TABLE_1[name] / TABLE_1['fcn32s_alexnet']:.2f}" for name in TABLE_1)
        print(f"AlexNet : VGG-16 : GoogLeNet = {here}; in the paper {paper}")
    print(argmax_ratio(device))


if __name__ == "__main__":
    main()
