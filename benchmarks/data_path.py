"""The data path on one core: JPEG and palette PNG to augmented, normalized tensors, against Pillow and albumentations.

    python benchmarks/data_path.py [--pairs 48] [--rounds 9] [--data ROOT_OF_VOC]

What each does, and how they are compared before the clock runs, `pixelwise.benchmark.data_path` says; on drawn pictures
it is `pixelwise benchmark --only data`.
"""

import argparse
from pathlib import Path

from pixelwise.benchmark import data_path
from pixelwise.benchmark.turns import print_all

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=48, help="of 500 × 375 that are drawn")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--data", type=Path, help="a folder with VOC 2012, whose split trainval is read instead")
    asked = parser.parse_args()
    print_all(data_path.measure(pairs=asked.pairs, turns=asked.rounds, voc=asked.data))
