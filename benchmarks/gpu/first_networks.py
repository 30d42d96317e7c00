"""The first networks on a GPU: same labels as on the CPU, deterministic steps, and the speed of the argmax.

    python benchmarks/gpu/first_networks.py [--device cpu] [--width 0.125] [--size 128]

On `--device cpu` it runs at small size and checks the script itself.
"""

import argparse
import statistics
import time

import torch
import torch.nn.functional as F

from pixelwise.layers.resample import Resampling
from pixelwise.models import MODELS, build


def same_labels(name: str, device: torch.device, width: float, size: int) -> float:
    """Share of equal labels of a network in float32 on both devices."""
    torch.manual_seed(0)
    network = build(name, num_classes=21, width=width).eval()
    image = torch.randn(1, 3, size, size + 7)
    with torch.inference_mode():
        here = network(image).argmax(1)
        there = network.to(device)(image.to(device)).argmax(1).cpu()
    return float((here == there).double().mean())


def deterministic_step(name: str, device: torch.device, width: float, size: int) -> bool:
    """Whether the gradients of a training step are the same bits twice."""
    gradients = []
    for _ in range(2):
        torch.manual_seed(0)
        network = build(name, num_classes=5, width=width).to(device)
        image = torch.randn(2, 3, size, size, device=device)
        target = torch.randint(0, 5, (2, size, size), device=device)
        F.nll_loss(network(image).log_softmax(1).flatten(2), target.flatten(1)).backward()
        gradients.append([p.grad.clone() for p in network.parameters() if p.grad is not None])
    return all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


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
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--size", type=int, default=480)
    options = parser.parse_args()
    device = torch.device(options.device)
    print(torch.cuda.get_device_name() if device.type == "cuda" else "CPU", torch.__version__)
    torch.use_deterministic_algorithms(False)
    for name in MODELS:
        same = same_labels(name, device, options.width, options.size)
        stable = deterministic_step(name, device, options.width, min(options.size, 160))
        print(f"{name}: {same:.4%} equal labels, step {'deterministic' if stable else 'NOT deterministic'}")
    print(argmax_ratio(device))


if __name__ == "__main__":
    main()
