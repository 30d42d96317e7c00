"""FCN's Figure 5 on CamVid: training on whole pictures against sampling half and a quarter of the loss's positions.

    python benchmarks/loss_sampling.py CAMVID [--steps 300] [--size 180 240] [--width 0.25] [--out figure.svg]

CAMVID is the folder of SegNet's packing, with train/ and trainannot/. FCN-32s with `padding="same"` and a fraction of
VGG-16's channels starts from random weights three times, from the same ones: with batches of 2 whole pictures, of 4 of
which half of the positions count, and of 8 of which a quarter do (Long, Shelhamer, Darrell 2015, §3.4, §4.3: "sampling
does not have a significant effect on convergence rate", "but takes significantly more time due to the larger number of
images"). Printed are the loss on 32 pictures of the validation part after each tenth of the steps, the time, and mean
IoU at the end; the figure shows the loss over steps and over time.

**Differences:** random start, other data, and a validation loss in place of the training loss.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

import pixelwise as pw
from pixelwise.data.augmentation import Augmentation
from pixelwise.data.batch import Batches, MemoryDataset
from pixelwise.data.sample import spread
from pixelwise.inference.evaluate import evaluate_network
from pixelwise.layers.normalization import Normalization
from pixelwise.metrics import Scores
from pixelwise.protocols.plot import write_plot
from pixelwise.training.loop import Validated, train
from pixelwise.training.losses import cross_entropy
from pixelwise.training.recipe import Recipe

NORMALIZATION = Normalization((104.0, 107.0, 109.0), (75.0, 77.0, 76.0))
KEPT = {"whole pictures": (1.0, 2), "half of the loss": (0.5, 4), "a quarter": (0.25, 8)}
"""{name: (probability that a position counts, pictures in a batch)}"""


class Measure:
    """The mean cross-entropy on crops of the validation part, each time the same."""

    def __init__(self, batches: Batches, count: int) -> None:
        self.batches = [batches[k] for k in range(count)]
        self.void = batches.void

    def __call__(self, network: nn.Module) -> float:
        """Of a network in evaluation mode."""
        total = 0.0
        with torch.inference_mode():
            for batch in self.batches:
                scores = network(NORMALIZATION.of_crops(batch.crops))
                total += float(cross_entropy(scores, torch.from_numpy(batch.targets), void=self.void))
        return total / len(self.batches)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("camvid", type=Path)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--size", type=int, nargs=2, default=(180, 240), metavar=("H", "W"))
    parser.add_argument("--width", type=float, default=0.25)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()

    data = MemoryDataset(pw.open_dataset("camvid", asked.camvid, "train"), limit_bytes=2**30)
    held = MemoryDataset(pw.open_dataset("camvid", asked.camvid, "val"), limit_bytes=2**30)
    held = held.subset(spread(len(held), 32))
    height = data[0].size[0]
    still = Augmentation(scale=(asked.size[0] / height,) * 2, flip_horizontal=False, overhang=0)
    by_steps: dict[str, list[tuple[float, float]]] = {}
    by_seconds: dict[str, list[tuple[float, float]]] = {}
    for name, (keep, batch_size) in KEPT.items():
        recipe = Recipe(
            model="fcn32s_vgg16",
            model_options={"num_classes": 11, "width": asked.width, "padding": "same"},
            crop_size=tuple(asked.size),
            batch_size=batch_size,
            steps=asked.steps,
            optimizer="adamw",
            rate=3e-4,
            schedule="fixed",
            warmup=min(asked.steps, 20),
            keep=keep,
            augmentation=still,
            validate_every=max(asked.steps // 10, 1),
            log_every=asked.steps,
            threads=torch.get_num_threads(),
        )
        torch.manual_seed(0)
        network = pw.build(recipe.model, **recipe.model_options)

        def batches(of: MemoryDataset, size: int, recipe: Recipe = recipe) -> Batches:
            return Batches(
                of,
                crop_size=recipe.crop_size,
                batch_size=size,
                augmentation=still,
                fill=NORMALIZATION.fill,
                seed=0,
            )

        measure = Measure(batches(held, 8), 4)
        points = [(0, 0.0, measure(network.eval()))]
        measuring = 0.0

        def validate(shown: nn.Module) -> Scores:
            return evaluate_network(shown, NORMALIZATION, held.subset(range(1)), rank_pictures=False).scores

        with tempfile.TemporaryDirectory() as folder:
            events = train(
                network,
                NORMALIZATION,
                batches(data, batch_size),
                recipe,
                validate=validate,
                state_file=Path(folder) / "state.pt",
            )
            for event in events:
                if isinstance(event, Validated):
                    began = time.monotonic()
                    points.append((event.step, event.seconds - measuring, measure(event.network)))
                    network.train()
                    measuring += time.monotonic() - began
        scores = evaluate_network(network.eval(), NORMALIZATION, held, rank_pictures=False).scores
        by_steps[name] = [(step, loss) for step, _, loss in points]
        by_seconds[name] = [(seconds, loss) for _, seconds, loss in points]
        print(f"{name:<18} batches of {batch_size}: loss {' '.join(f'{loss:.3f}' for *_, loss in points)}", flush=True)
        print(f"{'':<18} {points[-1][1]:.0f} s, mean IoU {scores.mean_iou:.3f} on {len(held)} pictures", flush=True)
    first, *others = (np.array([loss for _, loss in by_steps[name]]) for name in KEPT)
    for name, other in zip([*KEPT][1:], others, strict=True):
        ratio = by_seconds[name][-1][0] / by_seconds["whole pictures"][-1][0]
        print(f"{name}: loss differs by {np.abs(other - first)[1:].mean():.3f} on average; {ratio:.2f} times the time")
    if asked.out is not None:
        steps, seconds = (asked.out.with_name(f"{asked.out.stem}-{kind}.svg") for kind in ("steps", "seconds"))
        title = "FCN-32s on CamVid: sampled losses (Long et al., Figure 5)"
        write_plot(by_steps, steps, title=title, across="steps", up="loss on validation pictures")
        write_plot(by_seconds, seconds, title=title, across="seconds", up="loss on validation pictures")
        print(f"{steps}\n{seconds}")


if __name__ == "__main__":
    main()
