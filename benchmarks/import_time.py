"""How long `import pixelwise` and `pixelwise --help` take, against `import torch` alone, in fresh processes.

python benchmarks/import_time.py

The same as `pixelwise benchmark --only import`.
"""

from pixelwise.benchmark import imports
from pixelwise.benchmark.turns import print_all

if __name__ == "__main__":
    print_all(imports.measure())
