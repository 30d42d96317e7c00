"""What each of the two ways to a dense map costs: shift and stitch, and taking strides (filter rarefaction).

    python benchmarks/shift_and_stitch.py [--size 500] [--step 8] [--width 1.0] [--threads 2] [--repeats 3]

VGG-16's classifier made convolutional, at stride 32, on one picture in float32. Both ways give its scores at every
`step`-th pixel: (32/step)² passes of the network, or one pass of the network at output stride `step`. Prints the
median time of each after one pass to warm up, their ratio, and how far the two maps differ where no window reaches over
the picture's border; FCN §3.2 says that they are the same there. Ends with an error if they differ by more than 1e-4
of the largest score.
"""

import argparse
import copy
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from pixelwise.backbones.vgg import vgg16_classifier
from pixelwise.surgery import convolutionalize, receptive_field, set_output_stride, shift_and_stitch

STRIDE = 32


def timed(work: Callable[[], Tensor], repeats: int) -> tuple[Tensor, float]:
    """The result, and the median of the seconds after the first call."""
    times = []
    for turn in range(repeats + 1):
        start = time.perf_counter()
        result = work()
        if turn:
            times.append(time.perf_counter() - start)
    return result, statistics.median(times)


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=500)
    parser.add_argument("--step", type=int, default=8)
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    size, step = options.size, options.step
    classifier = vgg16_classifier(num_classes=options.classes, width=options.width).eval()
    network = convolutionalize(classifier, 224)
    rarefied = set_output_stride(copy.deepcopy(network), step, size=(size, size))
    images = torch.randn(1, 3, size, size)
    with torch.inference_mode():
        coarse, once = timed(lambda: network(images), options.repeats)
        stitched, shifting = timed(lambda: shift_and_stitch(network, images, STRIDE, step=step), options.repeats)
        dense, rarefying = timed(lambda: rarefied(images), options.repeats)
    field = receptive_field(network).height
    assert field.size is not None and field.start is not None
    # cell i sees the pixels from start + step·i on
    first, last = -(int(field.start) // step), (size - field.size - int(field.start)) // step
    print(
        f"torch {torch.__version__}, {options.threads} threads, VGG-16 at width {options.width}, {size} × {size}: "
        f"{tuple(coarse.shape[-2:])} scores at stride {STRIDE} in {once:.2f} s"
    )
    print(f"shift and stitch to {step}: {(STRIDE // step) ** 2} passes, {tuple(stitched.shape[-2:])}, {shifting:.2f} s")
    print(
        f"rarefied to {step}: 1 pass, {tuple(dense.shape[-2:])}, {rarefying:.2f} s: {shifting / rarefying:.1f}× faster"
    )
    if last < first:
        raise SystemExit(f"no window of {field.size} pixels lies in {size}; take a larger size to compare the maps")
    inside = (..., slice(first, last + 1), slice(first, last + 1))
    difference = float((stitched[inside] - dense[inside]).abs().max() / dense[inside].abs().max())
    rows, columns = (min(sides) for sides in zip(stitched.shape[-2:], dense.shape[-2:], strict=True))
    border = float((stitched[..., :rows, :columns] - dense[..., :rows, :columns]).abs().max() / dense.abs().max())
    print(
        f"largest difference over the largest score: {difference:.1e} in the {last + 1 - first} × {last + 1 - first} "
        f"cells whose windows lie in the picture, {border:.1e} anywhere"
    )
    if difference > 1e-4:
        raise SystemExit("the maps differ")


if __name__ == "__main__":
    main()
