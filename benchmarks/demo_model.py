"""The small model that `pixelwise serve` offers when it is given none: a narrow U-Net on the demo's drawn pictures.

    python benchmarks/demo_model.py [--out FILE] [--steps N] [--pictures N]
    python benchmarks/demo_model.py --examples FOLDER

draws the pictures, trains by `pixelwise fit` with every setting that touches the bits fixed, one thread among them,
and writes the model file, by default src/pixelwise/server/demo_model.safetensors. No clock decides anything: the same
torch on the same type of machine writes the same bytes. It takes some minutes, and needs no GPU.
With `--examples` it draws the page's example pictures (src/pixelwise/server/page/examples) instead.
"""

import argparse
import hashlib
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

PLACE = Path(__file__).parents[1] / "src" / "pixelwise" / "server" / "demo_model.safetensors"
PICTURES, STEPS = 160, 1000
SIZE = (192, 256)
WIDTH = 8 / 64  # 8 channels at the top: 122 thousand weights
EXAMPLE = 2  # a stream of random numbers of their own
EXAMPLES = ((4, (420, 560)), (5, (420, 560)), (7, (560, 420)), (10, (420, 560)))  # (seed, (height, width))
SETTINGS = {
    "model_options": {"width": WIDTH, "depth": 4},
    "crop_size": [112, 112],
    "batch_size": 8,
    "precision": "fp32",
    "threads": 1,
    "validate_every": 500,
    "patience": 0,
    "crf_pictures": 0,
}


def make(out: Path, *, pictures: int = PICTURES, steps: int = STEPS, size: tuple[int, int] = SIZE) -> tuple[float, str]:
    """Train the model and write it to `out`; gives its mean IoU on the validation pictures and the file's SHA-256."""
    from pixelwise.flow.demo import draw_demo
    from pixelwise.flow.fit import fit

    with tempfile.TemporaryDirectory() as folder:
        data, run = Path(folder) / "data", Path(folder) / "run"
        draw_demo(data, count=pictures, size=size, seed=11)
        result = fit(data, out=run, steps=steps, model="unet", seed=0, pretrained=False, settings=dict(SETTINGS))
        assert result.scores is not None
        beside = out.with_name(out.name + ".partial")
        shutil.copyfile(run / "model.safetensors", beside)
        beside.replace(out)
    return float(result.scores.mean_iou), hashlib.sha256(out.read_bytes()).hexdigest()


def draw_examples(folder: Path, examples: Sequence[tuple[int, tuple[int, int]]] = EXAMPLES) -> None:
    """Draw the page's example pictures, garden-N.jpg: none of them is among those that the model learns from."""
    import numpy as np
    from PIL import Image

    from pixelwise.flow.demo import draw_scene

    folder.mkdir(parents=True, exist_ok=True)
    for number, (seed, size) in enumerate(examples, 1):
        image, _ = draw_scene(np.random.default_rng([EXAMPLE, seed]), size)
        Image.fromarray(image).save(folder / f"garden-{number}.jpg", quality=86, optimize=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=PLACE)
    parser.add_argument("--pictures", type=int, default=PICTURES)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--examples", type=Path, metavar="FOLDER")
    given = parser.parse_args()
    if given.examples is not None:
        draw_examples(given.examples)
        raise SystemExit
    os.environ["CUDA_VISIBLE_DEVICES"] = ""  # before torch is imported: the file is a CPU's
    mean_iou, digest = make(given.out, pictures=given.pictures, steps=given.steps)
    print(f"{given.out}: {given.out.stat().st_size} bytes, mean IoU {mean_iou:.3f}, sha256 {digest}")
