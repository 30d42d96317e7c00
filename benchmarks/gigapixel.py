"""A picture too large to hold, segmented: peak memory and seconds per megapixel.

    python benchmarks/gigapixel.py [--size 20000 20000] [--width 0.25] [--tile 1024] [--save mask,confidence]

Draws a tiled TIFF of RGB with a georeference (deflate, tiles of 256 × 256), and streams it through an untrained U-Net,
`--width 0.25` being one of 16 channels as `fit` chooses on a processor, in a process of its own. Peak memory is the
largest resident set of that process, with Python and torch in it; the drawing is not counted.
"""

import argparse
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

GEOREFERENCE = [
    (33550, 12, 3, (0.5, 0.5, 0.0), True),
    (33922, 12, 6, (0.0, 0.0, 0.0, 440_000.0, 5_400_000.0, 0.0), True),
    (34735, 3, 16, (1, 1, 0, 3, 1024, 0, 1, 1, 1025, 0, 1, 1, 3072, 0, 1, 32633), True),
]
SIDE = 256


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, nargs=2, default=(20_000, 20_000), metavar=("H", "W"))
    parser.add_argument("--network", default="unet")
    parser.add_argument("--width", type=float, default=0.25)
    parser.add_argument("--classes", type=int, default=5)
    parser.add_argument("--tile", type=int)
    parser.add_argument("--save", default="mask")
    parser.add_argument("--folder", type=Path, help="where the files are; a temporary one if left out")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        picture = Path(folder) / "picture.tif"
        height, width = arguments.size
        tifffile.imwrite(
            picture,
            drawn(height, width),
            shape=(height, width, 3),
            dtype=np.uint8,
            tile=(SIDE, SIDE),
            photometric="rgb",
            compression="zlib",
            bigtiff=height * width > 1_000_000_000,
            extratags=GEOREFERENCE,
            maxworkers=1,
        )
        megapixels = height * width / 1e6
        print(f"{height} × {width}: {megapixels:.0f} MP, {picture.stat().st_size / 2**20:.0f} MiB on disk")
        told = multiprocessing.get_context("spawn").Queue()
        process = multiprocessing.get_context("spawn").Process(target=segment, args=(picture, vars(arguments), told))
        process.start()
        process.join()
        base, peak, seconds, written = told.get(timeout=10)
        print(f"peak memory {peak / 2**20:.0f} MiB, {base / 2**20:.0f} MiB of it before the first tile")
        print(f"{seconds:.0f} s, {seconds / megapixels:.2f} s per megapixel; {written / 2**20:.0f} MiB written")


def drawn(height: int, width: int) -> Iterator[np.ndarray[Any, Any]]:
    """Tiles of a slow pattern with noise."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 40, (SIDE, SIDE, 3)).astype(np.uint8)
    for top in range(0, height, SIDE):
        rows = np.sin((top + np.arange(SIDE)) / 190)[:, None, None]
        for left in range(0, width, SIDE):
            columns = np.cos((left + np.arange(SIDE)) / 310)[None, :, None]
            yield (100 + 50 * rows * columns * np.array([1, -0.6, 0.8])).astype(np.uint8) + noise


def segment(picture: Path, options: dict[str, Any], told: Any) -> None:
    """In a process of its own: stream, and tell (memory before, peak memory, seconds, bytes written)."""
    import torch

    from pixelwise.inference.engine import TorchEngine
    from pixelwise.inference.large import predict_tiff
    from pixelwise.labels import LabelSet
    from pixelwise.layers.normalization import Normalization
    from pixelwise.models import build

    torch.manual_seed(0)
    network = build(options["network"], num_classes=options["classes"], width=options["width"]).eval()
    network.to(memory_format=torch.channels_last)
    labels = LabelSet(
        tuple(f"class {number}" for number in range(options["classes"])),
        tuple((number, 255 - number, 2 * number) for number in range(options["classes"])),
    )
    suffixes = {"overlay": ".png"}
    kinds = options["save"].split(",")
    files = {kind: picture.parent / f"{kind}{suffixes.get(kind, '.tif')}" for kind in kinds}
    base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    start = time.perf_counter()
    predict_tiff(
        [TorchEngine(network)],
        [Normalization((120.0,) * 3, (60.0,) * 3, per_picture=True)],
        picture,
        files,
        labels,
        tile=options["tile"],
        progress=lambda done, total: print(f"\r{done} of {total} tiles", end="", flush=True),
    )
    print()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    told.put((base, peak, time.perf_counter() - start, sum(file.stat().st_size for file in files.values())))


if __name__ == "__main__":
    main()
