"""Time and multiply-adds of every network at 500 × 500, and the papers' own relations between networks.

    python benchmarks/networks.py [--names fcn8s_vgg16,unet] [--size 500] [--threads 2] [--repeats 3]

Prints, for each network at full width with 21 classes, the multiply-adds of its convolutions, the median time of a
forward pass in float32 (one picture, scores at its own size) and their ratio. Then the relations:

- FCN's Table 1, forward at 500 × 500 on a Tesla K40c with Caffe: AlexNet 50 ms, VGG-16 210 ms, GoogLeNet 59 ms;
- DeepLab v2's Table 1, training images a second on crops of 321: 7 × 7 1.44, 4 × 4 2.90 (both rates), LargeFOV 4.84.

Papers measured on GPUs: what should agree is the order and the rough size. Times of one process beside nothing else.
"""

import argparse
import inspect
import statistics
import time

import torch
import torch.nn.functional as F

from pixelwise.models import MODELS, build
from pixelwise.models.facts import stored

FCN_TABLE_1 = {"fcn32s_alexnet": 50, "fcn32s_vgg16": 210, "fcn32s_googlenet": 59}  # milliseconds
DEEPLAB_TABLE_1 = {  # training images a second
    "deeplab_7x7": 1.44,
    "deeplab_4x4": 2.90,
    "deeplab_4x4_rate8": 2.90,
    "deeplab_largefov": 4.84,
}
CROP = 321


def forward_seconds(name: str, size: int, repeats: int) -> float:
    """Median over the repeats, after one pass to warm up."""
    torch.manual_seed(0)
    network = build(name, num_classes=21).eval()
    images = torch.randn(1, inspect.signature(MODELS[name]).parameters["in_channels"].default, size, size)
    times = []
    with torch.inference_mode():
        for turn in range(repeats + 1):
            start = time.perf_counter()
            network(images)
            if turn:
                times.append(time.perf_counter() - start)
    return statistics.median(times)


def step_seconds(name: str, repeats: int) -> float:
    """Median of forward and backward, one crop of 321, with the loss on the grid of the scores as in the release."""
    torch.manual_seed(0)
    network = build(name, num_classes=21).train()
    images = torch.randn(1, 3, CROP, CROP)
    times = []
    for turn in range(repeats + 1):
        network.zero_grad()
        start = time.perf_counter()
        scores = network.heads(images)["logits"].scores
        F.cross_entropy(scores, torch.zeros(1, *scores.shape[-2:], dtype=torch.int64)).backward()
        if turn:
            times.append(time.perf_counter() - start)
    return statistics.median(times)


def relation(values: dict[str, float]) -> str:
    """Each divided by the first."""
    first = next(iter(values.values()))
    return " : ".join(f"{value / first:.2f}" for value in values.values())


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--names", help="some networks, separated by commas; all if left out")
    parser.add_argument("--size", type=int, default=500)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    multiply_adds = {facts.name: facts.multiply_adds for facts in stored()}  # at 500 × 500
    print(f"torch {torch.__version__}, {options.threads} threads, {options.size} × {options.size}, float32")
    seconds = {}
    for name in options.names.split(",") if options.names else MODELS:
        seconds[name] = forward_seconds(name, options.size, options.repeats)
        line = f"{name}: {seconds[name] * 1e3:.0f} ms"
        if options.size == 500:
            giga = multiply_adds[name] / 1e9
            line += f", {giga:.1f} G multiply-adds, {giga / seconds[name]:.0f} G a second"
        print(line, flush=True)
    if seconds.keys() >= FCN_TABLE_1.keys():
        print("AlexNet : VGG-16 : GoogLeNet")
        print(f"  time here      {relation({name: seconds[name] for name in FCN_TABLE_1})}")
        print(f"  multiply-adds  {relation({name: multiply_adds[name] for name in FCN_TABLE_1})}")
        print(f"  in the paper   {relation(FCN_TABLE_1)}")
    if seconds.keys() >= DEEPLAB_TABLE_1.keys():
        steps = {name: step_seconds(name, options.repeats) for name in DEEPLAB_TABLE_1}
        print("7 × 7 : 4 × 4 : 4 × 4 at rate 8 : LargeFOV, training images a second")
        print(f"  here           {relation({name: 1 / value for name, value in steps.items()})}")
        print(f"  multiply-adds  {relation({name: 1 / multiply_adds[name] for name in DEEPLAB_TABLE_1})} (inverse)")
        print(f"  in the paper   {relation(DEEPLAB_TABLE_1)}")


if __name__ == "__main__":
    main()
