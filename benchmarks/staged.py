"""FCN-8s in the paper's stages against FCN-8s at once: the same pictures, recipe and number of steps.

    python benchmarks/staged.py [--steps 600] [--width 0.125] [--seed 0]

Draws the demo's pictures into a temporary folder, fits `fcn8s_vgg16 --staged` and `fcn8s_vgg16` from random weights,
and prints the best mean IoU on the validation part of each stage. One run each says little about a few hundredths.
"""

import argparse
import json
import logging
import tempfile
from pathlib import Path

import pixelwise as pw
from pixelwise.flow.demo import draw_demo


def best(run: Path) -> tuple[int, float]:
    """(steps made, best validation mean IoU) of a run folder."""
    events = [json.loads(line) for line in (run / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    steps = max(event["step"] for event in events if "step" in event)
    return steps, max(event["mean_iou"] for event in events if event["event"] == "validation")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--width", type=float, default=0.125)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    logging.getLogger("pixelwise").setLevel(logging.ERROR)
    settings = {"model_options": {"width": asked.width, "padding": "same"}, "patience": 0}
    with tempfile.TemporaryDirectory() as folder:
        data, runs = Path(folder) / "data", Path(folder)
        draw_demo(data)
        for staged in (True, False):
            run = runs / ("staged" if staged else "at-once")
            pw.fit(
                data,
                out=run,
                steps=asked.steps,
                model="fcn8s_vgg16",
                staged=staged,
                seed=asked.seed,
                settings=settings,
            )
            stages = [run / "stages" / name for name in ("fcn32s_vgg16", "fcn16s_vgg16")] if staged else []
            for part in (*stages, run):
                steps, score = best(part)
                name = part.name if part != run else "fcn8s_vgg16" if staged else "fcn8s_vgg16 at once"
                print(f"{name}: {steps} steps, best mean IoU on validation {score:.3f}", flush=True)


if __name__ == "__main__":
    main()
