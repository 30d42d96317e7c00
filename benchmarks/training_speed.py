"""A training step of ours against the plain eager loop that people write: images a second, the same losses.

    python benchmarks/training_speed.py [--size 180 240] [--batch 4] [--rounds 5] [--precision fp32]

The plain loop has the same network with the same weights in torch's usual memory format: forward, scores enlarged by
`F.interpolate` where the network ends on a coarser grid, `F.cross_entropy` at the crop's size, backward, SGD with
momentum. Ours is `train_step`, with channels last, its own resampling, gradients clipped at 10⁶, and bfloat16 where it
is asked for. Both get the same drawn batch, already decoded; ours normalizes it anew in each step. Before the clock
runs, the losses of two steps must agree to 1 % (10 % in bfloat16). Ratios are medians over alternating rounds.
"""

import argparse
import copy
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

import pixelwise as pw
from pixelwise.data.augmentation import Augmentation
from pixelwise.data.batch import Batches
from pixelwise.data.sample import Sample
from pixelwise.labels import LabelSet
from pixelwise.layers.normalization import IMAGENET_DEVIATION, IMAGENET_MEAN, Normalization
from pixelwise.training.loop import Judge, set_training, train_step
from pixelwise.training.objective import objective_of
from pixelwise.training.optimizers import make_optimizer
from pixelwise.training.recipe import Recipe

CLASSES, STEPS = 11, 3
NORMALIZATION = Normalization(IMAGENET_MEAN, IMAGENET_DEVIATION)
NETWORKS = {"deeplab_v3_resnet50": {"output_stride": 16}, "unet": {"width": 0.5}}


class Drawn:
    """Pictures of noise with labels in blocks."""

    def __init__(self, count: int, size: tuple[int, int]) -> None:
        random = np.random.default_rng(0)
        self.labels = {"labels": LabelSet(tuple(f"class {k}" for k in range(CLASSES)))}
        self.samples = []
        for number in range(count):
            blocks = random.integers(0, CLASSES, (size[0] // 20 + 1, size[1] // 20 + 1))
            target = np.kron(blocks, np.ones((20, 20))).astype(np.uint8)[: size[0], : size[1]]
            image = (random.integers(0, 60, (*size, 3)) + 15 * target[..., None]).astype(np.uint8)
            self.samples.append(Sample(image, {"labels": target}, str(number)))

    def __len__(self) -> int:
        """So many."""
        return len(self.samples)

    def __getitem__(self, index: int) -> Sample:
        """One of them."""
        return self.samples[index]

    def describe(self) -> str:
        """What it is."""
        return "drawn"


def plain(network: nn.Module, batches: Batches, recipe: Recipe) -> Callable[[], float]:
    """A step as it is usually written."""
    network.train()
    optimizer = torch.optim.SGD(network.parameters(), lr=recipe.rate, momentum=recipe.momentum)
    batch = batches[0]
    images = NORMALIZATION.of_crops(batch.crops).contiguous()
    target = torch.from_numpy(batch.targets)

    def step() -> float:
        torch.manual_seed(0)
        scores = next(iter(network.heads(images).values())).scores  # type: ignore[operator]  # nn.Module says Tensor | Module
        if scores.shape[-2:] != target.shape[-2:]:
            scores = F.interpolate(scores, target.shape[-2:], mode="bilinear", align_corners=False)
        loss = F.cross_entropy(scores, target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    return step


def ours(network: nn.Module, batches: Batches, recipe: Recipe) -> Callable[[], float]:
    """The same by `train_step`."""
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # no such overload in its stubs
    set_training(network, recipe)
    optimizer = make_optimizer(network, recipe)
    judge, batch = Judge(network, objective_of(recipe)), batches[0]
    return lambda: train_step(judge, NORMALIZATION, optimizer, [batch], recipe, 0, batches.voids)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, nargs=2, default=(180, 240), metavar=("H", "W"))
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    asked = parser.parse_args()
    size = (asked.size[0], asked.size[1])
    for name, options in NETWORKS.items():
        recipe = Recipe(
            model=name,
            model_options=options | {"num_classes": CLASSES},
            crop_size=size,
            batch_size=asked.batch,
            steps=1,
            optimizer="sgd",
            nesterov=False,
            rate=1e-3,
            schedule="fixed",
            clip=1e6,
            precision=asked.precision,
            validate_every=1,
        )
        batches = Batches(
            Drawn(asked.batch, size),
            crop_size=size,
            batch_size=asked.batch,
            augmentation=Augmentation(flip_horizontal=False, overhang=0),
            fill=NORMALIZATION.fill,
            seed=0,
        )
        torch.manual_seed(0)
        network = pw.build(name, **recipe.model_options)
        steps = {"plain": plain(copy.deepcopy(network), batches, recipe), "ours": ours(network, batches, recipe)}
        for _ in range(2):
            usual, found = (step() for step in steps.values())
            near = 0.1 if asked.precision == "bf16" else 0.01
            if abs(found - usual) > near * usual:
                raise SystemExit(f"{name}: the losses differ, {usual} and {found}")
        seconds: dict[str, list[float]] = {key: [] for key in steps}
        for _ in range(asked.rounds):
            for key, step in steps.items():
                start = time.perf_counter()
                for _ in range(STEPS):
                    step()
                seconds[key].append((time.perf_counter() - start) / STEPS)
        ratio = statistics.median(a / b for a, b in zip(seconds["plain"], seconds["ours"], strict=True))
        speeds = ", ".join(f"{key} {asked.batch / statistics.median(s):.2f} images/s" for key, s in seconds.items())
        print(f"{name}, {size[0]} × {size[1]}, {asked.precision}: {speeds}; ours is {ratio:.2f}×", flush=True)


if __name__ == "__main__":
    main()
