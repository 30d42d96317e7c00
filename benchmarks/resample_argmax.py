"""Upsampling with argmax in one pass, against `torch.nn.functional.interpolate(...).argmax(1)`.

    python benchmarks/resample_argmax.py

Prints, for each case, the median time of both, their ratio, and the share of equal labels (ties may differ).
"""

import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F

from pixelwise.layers.resample import Resampling


def timed(work: Callable[[], torch.Tensor]) -> tuple[torch.Tensor, float]:
    """The result and the seconds of one call."""
    start = time.perf_counter()
    result = work()
    return result, time.perf_counter() - start


def main() -> None:
    """Run and print."""
    torch.manual_seed(0)
    for classes, image, stride in ((21, (1024, 2048), 8), (150, (1024, 2048), 8), (21, (500, 500), 8)):
        coarse = (-(-image[0] // stride), -(-image[1] // stride))
        scores = torch.randn(1, classes, *coarse)
        resampling = Resampling.half_pixel(coarse, image)
        ours, theirs = [], []
        for turn in range(8):
            mine, seconds = timed(lambda r=resampling, s=scores: r.argmax(s))
            other, peer = timed(lambda s=scores, i=image: F.interpolate(s, i, mode="bilinear").argmax(1))
            if turn:  # the first compiles
                ours.append(seconds)
                theirs.append(peer)
        ratio = statistics.median(b / a for a, b in zip(ours, theirs, strict=True))
        equal = float((mine == other).double().mean())
        print(
            f"{classes} classes, {image[0]} × {image[1]}: {statistics.median(ours) * 1e3:.1f} ms, "
            f"interpolate + argmax {statistics.median(theirs) * 1e3:.1f} ms: {ratio:.1f}×, {equal:.4%} equal"
        )
        if equal < 0.9999:
            raise SystemExit("the labels differ")


if __name__ == "__main__":
    main()
