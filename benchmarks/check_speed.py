"""`pixelwise check` on a thousand pairs of 500 × 375, the first and the second time, against a loop with Pillow.

The loop does what people write by hand: open each picture and mask, compare the sizes, count the values of the mask.
`check` does that and more: it compares all pictures with each other for duplicates, looks at the masks' edges, and
writes its page. Both count the same pixels, or the script fails.

    python benchmarks/check_speed.py [--pairs 1000]
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

from pixelwise.benchmark.data_path import draw


def by_hand(root: Path) -> Counter[int]:
    """Pixels of each value, with Pillow and NumPy."""
    counts: Counter[int] = Counter()
    for file in sorted((root / "images").iterdir()):
        picture = np.asarray(Image.open(file).convert("RGB"))
        mask = np.asarray(Image.open(root / "masks" / f"{file.stem}.png"))
        assert picture.shape[:2] == mask.shape
        values, here = np.unique(mask, return_counts=True)
        counts.update(dict(zip(values.tolist(), here.tolist(), strict=True)))
    return counts


def check(root: Path, box: Path) -> tuple[float, Counter[int], float]:
    """(seconds, pixels of each value, MB at most) of the command."""
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "pixelwise", "check", root, "--json", "--page", box / "page.html"],
        capture_output=True,
        env=os.environ | {"PIXELWISE_CACHE": str(box / "cache")},
        check=True,
    )
    seconds = time.perf_counter() - start
    record = json.loads(done.stdout)
    values = {cls: value for value, cls in record["labels"]["table"]}
    counts = Counter({values[cls]: n for cls, n in enumerate(record["pixel_counts"])})
    return seconds, counts, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=1000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        box = Path(folder)
        draw(box / "set", options.pairs)
        start = time.perf_counter()
        expected = by_hand(box / "set")
        theirs = time.perf_counter() - start
        first, counts, megabytes = check(box / "set", box)
        second, again, _ = check(box / "set", box)
        assert counts == again == expected, "the counts differ"
        print(
            f"{options.pairs} pairs: check {first:.1f} s the first time, {second:.2f} s the second, "
            f"{megabytes:.0f} MB; the loop with Pillow {theirs:.1f} s; ratio {theirs / first:.2f} and "
            f"{theirs / second:.1f}"
        )


if __name__ == "__main__":
    main()
