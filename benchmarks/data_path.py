"""The data path on one core: JPEG and palette PNG to augmented, normalized tensors, in images a second.

Against the same work by Pillow, NumPy and torch, and by albumentations where it is installed:

    python benchmarks/data_path.py [--pairs 48] [--rounds 9] [--data ROOT_OF_VOC]

Each decodes a picture and its mask, scales them by one of seven factors from 0.5 to 2, pads with mean and void, cuts a
random crop of 321 × 321, mirrors every second one, normalizes by ImageNet's numbers, and gives batches of 8: images
(8, 3, 321, 321) float32 and targets (8, 321, 321) int64. Pillow and albumentations run as people write them: the whole
picture is resized, then cut.

Before the clock runs, all must agree on a central crop, mirrored and not, of six pictures at the factors 1 and 3: masks
in every pixel; images, in levels of 255, within 0.5 on average and 4 at the 99.9th percentile (at 1: a hundredth). At 3
they are not equal, since each rounds weights and padded edges in its own way. A crop that is one pixel aside
differs by more than 1 level on average. At other factors the grids differ by a part of a pixel, and Pillow averages
where it reduces, so they are not compared. Times are those of the processor, on one core; the ratios are medians over
alternating rounds.
"""

import argparse
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from check_speed import draw
from PIL import Image, ImageOps

import pixelwise as pw
from pixelwise.data.augment import Augmentation
from pixelwise.data.batch import Batches
from pixelwise.data.folder import PairDataset
from pixelwise.layers.normalization import IMAGENET_DEVIATION, IMAGENET_MEAN, Normalization

CROP, BATCH, VOID = 321, 8, 255
FACTORS = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0)
COLOR = tuple(round(value) for value in IMAGENET_MEAN)
MEAN, DEVIATION = (np.array(values, np.float32) for values in (IMAGENET_MEAN, IMAGENET_DEVIATION))
APART = {1: (0.01, 0.01), 3: (0.5, 4.0)}
"""{factor: (mean, 99.9th percentile)} that images may differ by, in levels of 255"""

Tensors = tuple[torch.Tensor, torch.Tensor]
Files = tuple[Path, Path]


def by_pillow(files: Files, factor: float, place: tuple[float, float], mirror: bool, crop: tuple[int, int]) -> Tensors:
    """One picture and its target; `place` is where the crop lies in what room there is, 0–1 (y, x)."""
    image, mask = Image.open(files[0]).convert("RGB"), Image.open(files[1])
    width, height = round(image.width * factor), round(image.height * factor)
    image = image.resize((width, height), Image.Resampling.BILINEAR)
    mask = mask.resize((width, height), Image.Resampling.NEAREST)
    below, right = max(crop[0] - height, 0), max(crop[1] - width, 0)
    if below or right:
        border = (right // 2, below // 2, right - right // 2, below - below // 2)
        image = ImageOps.expand(image, border, COLOR)
        indices = Image.frombytes("L", mask.size, mask.tobytes())  # padding a palette would look for a color
        mask = ImageOps.expand(indices, border, VOID)
    top, left = round(place[0] * (image.height - crop[0])), round(place[1] * (image.width - crop[1]))
    box = (left, top, left + crop[1], top + crop[0])
    image, mask = image.crop(box), mask.crop(box)
    if mirror:
        image, mask = ImageOps.mirror(image), ImageOps.mirror(mask)
    levels = (np.asarray(image, np.float32) - MEAN) / DEVIATION
    return torch.from_numpy(levels.transpose(2, 0, 1).copy()), torch.from_numpy(np.asarray(mask, np.int64))


def pillow_batch(pairs: list[Files], rng: random.Random) -> Tensors:
    """A random batch, as a loop with a collating loader gives it."""
    samples = [
        by_pillow(files, rng.choice(FACTORS), (rng.random(), rng.random()), rng.random() < 0.5, (CROP, CROP))
        for files in pairs
    ]
    return torch.stack([image for image, _ in samples]), torch.stack([target for _, target in samples])


def albumentations_batch(
    factors: tuple[float, ...], crop: tuple[int, int], mirror: float, central: bool
) -> Callable[[list[Files]], Tensors]:
    """The transform of albumentations, as its documentation composes one.

    Raises:
        ImportError: it is not installed.
    """
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
    import albumentations
    from albumentations.pytorch import ToTensorV2

    transform = albumentations.Compose(
        [
            albumentations.OneOf(
                [albumentations.RandomScale((factor - 1, factor - 1), p=1) for factor in factors], p=1
            ),
            albumentations.PadIfNeeded(*crop, border_mode=cv2.BORDER_CONSTANT, fill=COLOR, fill_mask=VOID),
            (albumentations.CenterCrop if central else albumentations.RandomCrop)(*crop),
            albumentations.HorizontalFlip(p=mirror),
            albumentations.Normalize(),
            ToTensorV2(),
        ],
        seed=0,
    )

    def batch(pairs: list[Files]) -> Tensors:
        samples = [
            transform(image=cv2.cvtColor(cv2.imread(str(image)), cv2.COLOR_BGR2RGB), mask=np.array(Image.open(mask)))
            for image, mask in pairs
        ]
        return torch.stack([s["image"] for s in samples]), torch.stack([s["mask"] for s in samples]).long()

    return batch


def our_batches(data: PairDataset, augmentation: Augmentation, crop: tuple[int, int]) -> Callable[[int], Tensors]:
    """{k: the k-th batch} of training."""
    normalization = Normalization(IMAGENET_MEAN, IMAGENET_DEVIATION)
    batches = Batches(
        data, crop_size=crop, batch_size=BATCH, augmentation=augmentation, fill=normalization.fill, seed=0
    )

    def batch(k: int) -> Tensors:
        found = batches[k]
        return normalization.of_crops(found.crops), torch.from_numpy(found.targets)

    return batch


def check(data: PairDataset, files: dict[str, Files], peer: bool) -> None:
    """All three give the same where nothing is drawn."""
    normalization = Normalization(IMAGENET_MEAN, IMAGENET_DEVIATION)
    deviation = torch.from_numpy(DEVIATION)[:, None, None]
    classes = np.full(256, VOID)  # of a value in a file: a folder's classes are those that it holds
    for value, cls in data.labels["labels"].table.items():
        classes[value] = cls
    for factor in (1, 3):
        still = Augmentation(flip_horizontal=False, scales=(factor,), jitter=0)
        for index, (name, pair) in enumerate(files.items()):
            height, width = data[index].size
            # as odd or even as the picture, so that its middle lies on whole pixels
            crop = (CROP - (CROP - height * factor) % 2, CROP - (CROP - width * factor) % 2)
            batches = Batches(
                data.subset([index]), crop_size=crop, batch_size=1, augmentation=still, fill=COLOR, seed=0
            )
            ours = batches[0]
            image, target = normalization.of_crops(ours.crops)[0], torch.from_numpy(ours.targets[0])
            for mirror in (False, True):
                turned = (image.flip(2), target.flip(1)) if mirror else (image, target)
                others = {"Pillow": by_pillow(pair, factor, (0.5, 0.5), mirror, crop)}
                if peer:
                    images, targets = albumentations_batch((factor,), crop, float(mirror), True)([pair])
                    others["albumentations"] = (images[0], targets[0])
                for other, (their_image, their_target) in others.items():
                    if not torch.equal(turned[1], torch.from_numpy(classes)[their_target]):
                        raise SystemExit(f"{name}, factor {factor}: the mask differs from that of {other}")
                    apart = ((turned[0] - their_image).abs() * deviation).numpy()
                    found = float(apart.mean()), float(np.percentile(apart, 99.9))
                    if any(here > most for here, most in zip(found, APART[factor], strict=True)):
                        raise SystemExit(
                            f"{name}, factor {factor}: the picture differs from {other}'s by {found[0]:.2f} levels on "
                            f"average and {found[1]:.2f} at the 99.9th percentile; at most {APART[factor][0]:g} and "
                            f"{APART[factor][1]:g} are allowed"
                        )


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=48, help="of 500 × 375 that are drawn")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--data", type=Path, help="a folder with VOC 2012, whose split trainval is read instead")
    arguments = parser.parse_args()
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        if arguments.data:
            data = pw.open_dataset("voc2012", arguments.data, "trainval")
        else:
            draw(Path(scratch), arguments.pairs)
            data = pw.open_dataset("folder", scratch)
        files = {pair.name: (Path(str(pair.image)), Path(str(pair.mask))) for pair in data.pairs}
        try:
            peer = albumentations_batch(FACTORS, (CROP, CROP), 0.5, False)
        except ImportError:
            peer = None
        check(data.subset(range(min(len(data), 6))), dict(list(files.items())[:6]), peer is not None)
        ours = our_batches(data, Augmentation(scales=FACTORS, overhang=0), (CROP, CROP))
        rng, every = random.Random(0), list(files.values())
        runs: dict[str, Callable[[int], Tensors]] = {
            "ours": ours,
            "Pillow": lambda k: pillow_batch([every[(k * BATCH + j) % len(every)] for j in range(BATCH)], rng),
        }
        if peer is not None:
            runs["albumentations"] = lambda k: peer([every[(k * BATCH + j) % len(every)] for j in range(BATCH)])
        count = max(len(every) // BATCH, 1)
        times: dict[str, list[float]] = {name: [] for name in runs}
        for round_ in range(arguments.rounds + 1):  # the first warms
            for name, run in runs.items():
                start = time.process_time()
                for k in range(count):
                    images, targets = run(round_ * count + k)
                    assert images.shape == (BATCH, 3, CROP, CROP) and targets.shape == (BATCH, CROP, CROP)
                    assert images.dtype == torch.float32 and targets.dtype == torch.int64
                if round_:
                    times[name].append((time.process_time() - start) / (count * BATCH))
        for name, each in times.items():
            ratio = statistics.median(b / a for a, b in zip(times["ours"], each, strict=True))
            line = f"{name:15} {statistics.median(each) * 1e3:6.2f} ms {1 / statistics.median(each):7.0f} images/s"
            print(line + (f"   ours is {ratio:.2f}×" if name != "ours" else "   masks equal, images alike"))
        if peer is None:
            print("albumentations is not installed")


if __name__ == "__main__":
    main()
