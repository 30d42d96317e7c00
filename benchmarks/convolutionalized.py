"""The paper's headline: a classifier made convolutional against the same patches, one by one in a batch.

    python benchmarks/convolutionalized.py [--width 1] [--threads 2] [--repeats 3] [--patches 10]

AlexNet for 227 × 227 pixels on 500 × 500 gives 10 × 10 scores; the same hundred windows are cut out (the picture is
extended by zeros to 515, as its last row and column of windows reach beyond it) and given to the classifier in one
batch. Long et al. 2015, §3.1: "more than 5 times faster", and the same for the backward pass.

Prints the median times of forward, and of forward and backward, and their ratios; checks the sizes; then shows that
both compute the same where nothing pads: on a twin without paddings, whose windows are 355 × 355 pixels, the scores
are equal to float rounding. Times of one process beside nothing else.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pixelwise.backbones.alexnet import alexnet_classifier
from pixelwise.surgery import convolutionalize

WINDOW, STRIDE, PICTURE, PATCHES = 227, 32, 500, 10


def windows(images: Tensor, size: int, stride: int, patches: int) -> Tensor:
    """(1, C, H, W) → (patches², C, size, size), by rows; zeros beyond the picture."""
    side = (patches - 1) * stride + size
    extended = F.pad(images, (0, max(0, side - images.shape[3]), 0, max(0, side - images.shape[2])))
    cut = extended.unfold(2, size, stride).unfold(3, size, stride)[:, :, :patches, :patches]
    return cut[0].permute(1, 2, 0, 3, 4).reshape(-1, images.shape[1], size, size)


def median_seconds(call: Callable[[], object], repeats: int) -> float:
    """After one call to warm up."""
    call()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def forward(network: nn.Module, images: Tensor) -> Tensor:
    with torch.no_grad():
        scores: Tensor = network(images)
    return scores


def forward_backward(network: nn.Module, images: Tensor) -> None:
    network.zero_grad()
    network(images).sum().backward()


def without_paddings(width: float) -> nn.Module:
    """The same layers, none of which pads; pools whose last window ends with the map at its size."""
    twin = alexnet_classifier(num_classes=21, width=width)
    for layer in twin.modules():
        if isinstance(layer, nn.Conv2d):
            layer.padding = (0, 0)
    return twin.eval()


def least_side(twin: nn.Module) -> int:
    """The least side of the pictures that the twin takes: the window of a score, in which no pool rounds up."""
    convolutions = twin.get_submodule("convolutions")
    side = 6
    for layer in reversed(list(convolutions.children())):
        if isinstance(layer, nn.Conv2d | nn.MaxPool2d):
            kernel = layer.kernel_size if isinstance(layer.kernel_size, int) else layer.kernel_size[0]
            stride = layer.stride if isinstance(layer.stride, int) else layer.stride[0]
            side = (side - 1) * stride + kernel
    return side


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--patches", type=int, default=PATCHES, help="on a side; fewer for a trial")
    parser.add_argument("--twin", type=int, default=2, help="patches on a side of the twin")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    classifier = alexnet_classifier(width=options.width).eval()  # 1000 classes; no dropout, which would differ
    dense = convolutionalize(classifier, WINDOW)
    side = PICTURE - (PATCHES - options.patches) * STRIDE
    images = torch.randn(1, 3, side, side)
    patches = windows(images, WINDOW, STRIDE, options.patches)
    assert patches.shape[0] == options.patches**2
    assert forward(dense, images).shape == (1, 1000, options.patches, options.patches)
    assert forward(classifier, patches).shape == (options.patches**2, 1000)
    print(f"torch {torch.__version__}, {options.threads} threads, float32, AlexNet at width {options.width:g}")
    print(f"{side} × {side} → {options.patches} × {options.patches} against {len(patches)} patches in one batch")
    for name, call in (("forward", forward), ("forward and backward", forward_backward)):
        whole = median_seconds(lambda call=call: call(dense, images), options.repeats)  # type: ignore[misc]
        cut = median_seconds(lambda call=call: call(classifier, patches), options.repeats)  # type: ignore[misc]
        print(f"{name}: {whole * 1e3:.0f} ms against {cut * 1e3:.0f} ms, {cut / whole:.1f} times as fast", flush=True)
    padded = forward(classifier, patches).T.reshape(1000, options.patches, options.patches)
    inner = options.patches - 1  # the last row and column of windows reach beyond the picture
    difference = (forward(dense, images)[0] - padded)[:, :inner, :inner]
    print(
        f"with AlexNet's paddings: largest difference {difference.abs().max() / padded.abs().max():.3f} of the scores"
    )
    twin = without_paddings(options.width)
    size = least_side(twin)
    images = torch.randn(1, 3, size + (options.twin - 1) * STRIDE, size + (options.twin - 1) * STRIDE)
    scores = forward(convolutionalize(twin, size), images)
    crops = forward(twin, windows(images, size, STRIDE, options.twin)).T.reshape(scores.shape)
    error = float((scores - crops).abs().max() / crops.abs().max())
    assert error < 1e-4, error
    print(f"without paddings, windows of {size} × {size}: largest difference {error:.1e} of the scores")


if __name__ == "__main__":
    main()
