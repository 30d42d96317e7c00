"""What padding does to a classifier that is slid: its map against the same windows cut out, one by one.

    python benchmarks/window_borders.py [--width 0.125]

VGG-16 for 224 × 224 pixels on 384 × 384, and AlexNet for 227 × 227 on 500 × 500, with random weights on smooth noise.
Prints how much the scores differ, and by how much each cell of a window's last map does: cells whose receptive field
lies inside the window are equal, the others see zeros in the classifier and their neighbors in the slid network.
"""

import argparse
from itertools import product

import torch
from torch import Tensor, nn
from torch.nn import functional

from pixelwise.backbones import CLASSIFIERS
from pixelwise.surgery import convolutionalize

CLASSES, STRIDE = 100, 32
CASES = (("vgg16", 224, 384, 7), ("alexnet", 227, 500, 6))  # of the last map: its side


def smooth_noise(side: int) -> Tensor:
    """(1, 3, side, side)."""
    noise = functional.pad(torch.randn(1, 3, side, side), (4, 4, 4, 4))
    return functional.avg_pool2d(noise, 9, 1) * 9


def one_by_one(classifier: nn.Module, images: Tensor, size: int) -> Tensor:
    """(1, K, n, n), the scores of all windows that lie in the picture."""
    count = (images.shape[-1] - size) // STRIDE + 1
    rows = torch.empty(1, CLASSES, count, count)
    for i, j in product(range(count), repeat=2):
        window = images[..., i * STRIDE : i * STRIDE + size, j * STRIDE : j * STRIDE + size]
        rows[..., i, j] = classifier(window)
    return rows


def rms(values: Tensor) -> float:
    return float(values.square().mean().sqrt())


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=float, default=0.125)
    width = parser.parse_args().width
    for name, size, larger, side in CASES:
        torch.manual_seed(0)
        classifier = CLASSIFIERS[name](num_classes=CLASSES, width=width).eval()
        images = smooth_noise(larger)
        whole = convolutionalize(classifier, size)(images)
        windows = one_by_one(classifier, images, size)
        count = windows.shape[-1]
        slid = whole[..., :count, :count]
        print(
            f"{name}: {size} on {larger} gives {whole.shape[-2]} × {whole.shape[-1]}, {count} × {count} windows inside"
        )
        print(f"  rms of the difference / rms of the windows' scores {rms(slid - windows) / rms(windows):.2f}")
        print(f"  correlation {float(torch.corrcoef(torch.stack([slid.flatten(), windows.flatten()]))[0, 1]):.3f}")
        print(f"  same first class of {CLASSES}: {float((slid.argmax(1) == windows.argmax(1)).float().mean()):.0%}")
        children = dict(classifier.named_children())
        trunk = [part for key, part in children.items() if key.startswith("conv")]
        maps = nn.Sequential(*trunk)
        middle = count // 2
        start = middle * STRIDE
        own = maps(images[..., start : start + size, start : start + size])
        there = maps(images)[..., middle : middle + side, middle : middle + side]
        each = (there - own).square().mean(1).sqrt()[0] / rms(own)
        print(f"  difference of the last map, window ({middle}, {middle}), by cell, of its rms:")
        for row in each.tolist():
            print("   ", " ".join(f"{cell:.2f}" for cell in row))


if __name__ == "__main__":
    main()
