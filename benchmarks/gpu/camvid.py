"""SegNet-Basic's row of the SegNet paper on CamVid, and then the best network of the package on the same pictures.

    python benchmarks/gpu/camvid.py CAMVID [--out RUNS]

CAMVID is the folder of SegNet's packing: 367 training and 233 test pictures of 480 × 360. Two trainings from random
weights and the training part alone, evaluated on the test part as SegNet's script counts:

1. the recipe `segnet_basic_camvid` as published, 10 000 steps of 4 pictures. The paper has global 82.7, class average
   62.0 and mean IoU 47.7 (Badrinarayanan et al. 2017, Table 1, median frequency).
2. `--model`, by default DeepLab v3 on ResNet-50 with a schedule of ours: half of the crop's area, scales 0.5–2, AdamW.
   It should clearly beat the first.

On a CPU the whole takes days; `--steps 4 --other-steps 4 --crop 90 120` tries every line.
"""

import argparse
import time
from pathlib import Path
from typing import Any

import torch

from pixelwise.data.augmentation import Augmentation
from pixelwise.flow.recipe_result import TrainResult
from pixelwise.flow.train_recipe import train_recipe
from pixelwise.recipes import published_recipe
from pixelwise.recipes.published import PublishedRecipe
from pixelwise.training.recipe import Recipe

PAPER = {"pixel_accuracy": 82.7, "mean_accuracy": 62.0, "mean_iou": 47.7}


def other(model: str, steps: int, crop: tuple[int, int]) -> PublishedRecipe:
    """Our own training of another network on the same data, normalization and protocol."""
    first = published_recipe("segnet_basic_camvid")
    recipe = Recipe(
        model=model,
        crop_size=crop,
        batch_size=8,
        steps=steps,
        optimizer="adamw",
        rate=1e-3,
        weight_decay=1e-2,
        schedule="poly",
        warmup=min(200, steps // 4),
        class_weights=tuple(weight**0.5 for weight in first.stages[0].recipe.class_weights or ()) or None,
        augmentation=Augmentation(scale=(0.5, 2.0), contrast=1.3, brightness=0.2, color=0.1, overhang=0),
        average=0.999,
        precision="bf16" if torch.cuda.is_available() and torch.cuda.is_bf16_supported() else "fp32",
        validate_every=max(steps // 10, min(steps, 4)),
        log_every=max(steps // 100, 1),
    )
    stage = first.stages[0].model_copy(update={"name": model, "recipe": recipe, "weights": ()})
    return first.model_copy(
        update={"name": f"{model} on CamVid", "paper": "pixelwise's own", "expected": None, "stages": (stage,)}
    )


def told(result: TrainResult, seconds: float) -> None:
    """One line of scores."""
    if result.evaluation is None:
        raise SystemExit(f"{result.recipe.name}: {result.outcome} before it was evaluated")
    scores = result.evaluation.scores
    found = (100 * value for value in (scores.pixel_accuracy, scores.mean_accuracy, scores.mean_iou))
    print(f"{result.recipe.name}: {row(*found)} on {scores.pictures} pictures, by {scores.protocol}; {seconds:.0f} s")


def row(pixel_accuracy: float, mean_accuracy: float, mean_iou: float) -> str:
    """The paper's three figures, in percent."""
    return f"global {pixel_accuracy:.1f}, class average {mean_accuracy:.1f}, mean IoU {mean_iou:.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("camvid", type=Path)
    parser.add_argument("--out", type=Path, default=Path("runs/camvid-table"))
    parser.add_argument("--steps", type=int, default=10_000, help="of SegNet-Basic")
    parser.add_argument("--other-steps", type=int, default=6_000)
    parser.add_argument("--model", default="deeplab_v3_resnet50")
    parser.add_argument(
        "--crop", type=int, nargs=2, metavar=("H", "W"), help="of both; else whole pictures, and 256 × 352 of the other"
    )
    asked = parser.parse_args()

    print(f"{torch.cuda.get_device_name() if torch.cuda.is_available() else 'CPU'}; torch {torch.__version__}")
    print(f"the paper: {row(**PAPER)}", flush=True)
    settings: dict[str, Any] = {
        "steps": asked.steps,
        "validate_every": max(asked.steps // 10, min(asked.steps, 4)),
        "log_every": max(asked.steps // 100, 1),
        "recompute": min(asked.steps, 94),
    }
    if asked.crop is not None:
        settings["crop_size"] = tuple(asked.crop)
    first = published_recipe("segnet_basic_camvid").with_settings(settings)
    for name, recipe in (
        ("segnet-basic", first),
        ("other", other(asked.model, asked.other_steps, tuple(asked.crop or (256, 352)))),
    ):
        began = time.monotonic()
        told(train_recipe(recipe, asked.camvid, out=asked.out / name), time.monotonic() - began)


if __name__ == "__main__":
    main()
