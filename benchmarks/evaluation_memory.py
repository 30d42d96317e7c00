"""Memory of an evaluation: 150 classes, a picture of 2048 × 4096, beside that of the network's own forward.

    python benchmarks/evaluation_memory.py [--network deeplab_v3_resnet50] [--size 2048 4096] [--classes 150] [--flip]

Both run in processes of their own, with the same tiles, and keep the picture. Peak memory is the largest resident set.
The limit is 64 MiB beyond the network (PERFORMANCE.md); full-size float32 scores would be 4.7 GiB.
"""

import argparse
import multiprocessing
import resource
import sys
from typing import Any

import numpy as np

LIMIT = 64.0  # MiB


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="deeplab_v3_resnet50")
    parser.add_argument("--size", type=int, nargs=2, default=(2048, 4096), metavar=("H", "W"))
    parser.add_argument("--classes", type=int, default=150)
    parser.add_argument("--flip", action="store_true", help="the evaluation also sees the mirrored picture")
    arguments = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    peaks = {}
    for part in ("network", "evaluation"):
        told: Any = context.Queue()
        process = context.Process(target=run, args=(part, vars(arguments), told))
        process.start()
        peaks[part] = told.get()
        process.join()
        print(f"{part:12s} {peaks[part]:8.0f} MiB", flush=True)
    more = peaks["evaluation"] - peaks["network"]
    full = 4 * arguments.classes * arguments.size[0] * arguments.size[1] / 2**20
    print(f"{'more':12s} {more:8.0f} MiB (limit {LIMIT:.0f}; full-size scores {full:.0f})")
    if more > LIMIT:
        sys.exit(1)


def run(part: str, options: dict[str, Any], told: Any) -> None:
    """Tell the peak of one part, in MiB."""
    import torch

    from pixelwise.data.sample import Sample
    from pixelwise.inference.evaluate import evaluate_network
    from pixelwise.inference.folding import folded
    from pixelwise.inference.tiles import plan_of
    from pixelwise.labels import LabelSet
    from pixelwise.layers.normalization import IMAGENET_DEVIATION, IMAGENET_MEAN, Normalization
    from pixelwise.models import build

    height, width = options["size"]
    classes = options["classes"]
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (height, width, 3), np.uint8)
    engine = folded(build(options["network"], num_classes=classes).eval())
    normalization = Normalization(IMAGENET_MEAN, IMAGENET_DEVIATION)
    if part == "network":
        for window, _, _ in plan_of(engine, normalization, (height, width)).tiles:
            engine.heads(normalization(image[window][None]))
    else:
        names = LabelSet(tuple(f"class {number}" for number in range(classes)))

        class One:
            labels = {"labels": names}  # noqa: RUF012

            def __len__(self) -> int:
                return 1

            def __getitem__(self, index: int) -> Sample:
                return Sample(image, {"labels": image[..., 0] % classes}, "noise")

        evaluate_network(engine, normalization, One(), flip=options["flip"], rank_pictures=False)  # type: ignore[arg-type]  # as much of a data set as is read
    told.put(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10)


if __name__ == "__main__":
    main()
