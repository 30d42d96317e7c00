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

import cv2
import numpy as np
from PIL import Image

from pixelwise.labels import voc_color

SIZE = (375, 500)


def draw(root: Path, pairs: int) -> None:
    """JPEG pictures with texture and palette masks with round objects, as photographs have."""
    random = np.random.default_rng(0)
    palette = [c for i in range(256) for c in voc_color(i)]
    for part in ("images", "masks"):
        (root / part).mkdir(parents=True)
    for i in range(pairs):
        small = random.integers(0, 256, (12, 16, 3)).astype(np.uint8)
        picture = cv2.resize(small, SIZE[::-1], interpolation=cv2.INTER_CUBIC).astype(np.int16)
        picture = np.clip(picture + random.normal(0, 12, picture.shape), 0, 255).astype(np.uint8)
        mask = np.zeros(SIZE, np.uint8)
        for cls in random.integers(1, 21, 5).tolist():
            center = (int(random.integers(500)), int(random.integers(375)))
            axes = (int(random.integers(10, 120)), int(random.integers(10, 120)))
            cv2.ellipse(mask, center, axes, float(random.integers(180)), 0, 360, cls, -1)
        Image.fromarray(picture).save(root / "images" / f"{i:05}.jpg", quality=90)
        image = Image.fromarray(mask)
        image.putpalette(palette)
        image.save(root / "masks" / f"{i:05}.png")


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
