"""The recipe `segnet_basic_camvid` on smaller pictures and in fewer steps: how far its curve comes on a CPU.

    python benchmarks/segnet_basic_curve.py CAMVID [--size 180 240] [--steps 1000] [--batch 4] [--out FOLDER]

CAMVID is the folder of SegNet's packing. Its pictures are brought to the size by area and its masks by nearest, of all
parts. The recipe is otherwise as published: SGD at 0.1, momentum 0.9, median-frequency weights, statistics computed
anew before each of ten validations. FOLDER gets curve.csv (step, loss, rate, mean IoU, pixel accuracy), curve.svg and
the run itself. Printed are the validations, and the scores of the test part beside the paper's. `--resume` goes on.

**Differences from the paper's row:** smaller pictures, scored at their own size, and a tenth of the steps. The row
itself is `benchmarks/gpu/camvid.py`.
"""

import argparse
import shutil
import time
from pathlib import Path

from PIL import Image

import pixelwise as pw
from pixelwise.flow.events import FitEvent
from pixelwise.flow.train_recipe import train_recipe
from pixelwise.metrics import Scores
from pixelwise.protocols.plot import write_plot
from pixelwise.recipes import published_recipe
from pixelwise.training.loop import StepLogged, Validated

PARTS = ("train", "val", "test")


def smaller(camvid: Path, to: Path, size: tuple[int, int]) -> None:
    """Write the packing with pictures and masks of a size (height, width)."""
    for part in PARTS:
        for folder, filter_ in ((part, Image.Resampling.BOX), (f"{part}annot", Image.Resampling.NEAREST)):
            (to / folder).mkdir(parents=True, exist_ok=True)
            for path in sorted((camvid / folder).iterdir()):
                Image.open(path).resize(size[::-1], filter_).save(to / folder / path.name, quality=95)
        shutil.copy(camvid / f"{part}.txt", to)


def draw(run: Path, out: Path) -> None:
    """Copy the run's own table, and draw it."""
    rows = [line.split(",") for line in (run / "log.csv").read_text(encoding="utf-8").splitlines()]
    head = {name: i for i, name in enumerate(rows[0])}
    shutil.copy(run / "log.csv", out / "curve.csv")

    def curve(name: str) -> list[tuple[float, float]]:
        return [(int(row[head["step"]]), float(row[head[name]])) for row in rows[1:] if row[head[name]]]

    curves = {"training loss": curve("loss"), "mean IoU": curve("mean_iou"), "pixel accuracy": curve("pixel_accuracy")}
    write_plot(curves, out / "curve.svg", title="SegNet-Basic on smaller CamVid", across="steps", up="value")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("camvid", type=Path)
    parser.add_argument("--size", type=int, nargs=2, default=(180, 240), metavar=("H", "W"))
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--out", type=Path, default=Path("runs/segnet-basic-curve"))
    parser.add_argument("--resume", action="store_true")
    asked = parser.parse_args()

    data, run = asked.out / "camvid", asked.out / "run"
    if not asked.resume:
        smaller(asked.camvid, data, tuple(asked.size))
    pictures = len(pw.open_dataset("camvid", data, "train"))
    settings = {
        "crop_size": tuple(asked.size),
        "steps": asked.steps,
        "batch_size": asked.batch,
        "recompute": -(-pictures // asked.batch),
        "validate_every": max(asked.steps // 10, 1),
        "log_every": max(min(asked.steps // 10, 20), 1),
    }
    recipe = published_recipe("segnet_basic_camvid").with_settings(settings)

    def tell(event: FitEvent) -> None:
        if isinstance(event, StepLogged):
            shown.append(event.images_per_second)
        elif isinstance(event, Validated) and isinstance(event.scores, Scores):
            accuracy, iou = 100 * event.scores.pixel_accuracy, 100 * event.scores.mean_iou
            speed = f"{sum(shown) / len(shown):.1f} pictures/s, {event.seconds:.0f} s"
            print(f"step {event.step}: global {accuracy:.1f}, mean IoU {iou:.1f} on val; {speed}", flush=True)

    shown: list[float] = []
    began = time.monotonic()
    result = train_recipe(recipe, data, out=run, resume=asked.resume, tell=tell)
    if result.evaluation is None:
        raise SystemExit(f"{result.outcome}; go on with --resume")
    found = ", ".join(f"{name} {ours:.1f} (paper {paper:g})" for name, (ours, paper) in result.compared.items())
    print(f"test part, {result.evaluation.protocol}: {found}; {time.monotonic() - began:.0f} s")
    draw(run, asked.out)
    print(f"{asked.out / 'curve.csv'}\n{asked.out / 'curve.svg'}")


if __name__ == "__main__":
    main()
