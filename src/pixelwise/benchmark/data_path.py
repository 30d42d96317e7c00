"""The data path on one core: JPEG and palette PNG to augmented, normalized tensors.

Against the same work by Pillow, NumPy and torch, and by albumentations where it is installed. Each decodes a picture
and its mask, scales them by one of seven factors from 0.5 to 2, pads with mean and void, cuts a random crop of 321 ×
321, mirrors every second one, normalizes by ImageNet's numbers, and gives batches of 8: images (8, 3, 321, 321) float32
and targets (8, 321, 321) int64. Pillow and albumentations run as people write them: the whole picture is resized, then
cut.

Before the clock runs, all must agree on a central crop, mirrored and not, at the factors 1 and 3: masks in every pixel;
images, in levels of 255, within 0.5 on average and 4 at the 99.9th percentile (at 1: a hundredth). At 3 they are not
equal, since each rounds weights and padded edges in its own way. A crop that is one pixel aside differs by more than 1
level on average. At other factors the grids differ by a part of a pixel, and Pillow averages where it reduces, so they
are not compared. Times are those of the processor, on one core.
"""

import itertools
import os
import random
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image, ImageOps

from pixelwise.benchmark.turns import Missing, Ratio, ratio_of, take_turns, versioned
from pixelwise.data import open_dataset
from pixelwise.data.augmentation import Augmentation
from pixelwise.data.batch import Batches
from pixelwise.data.folder import PairDataset
from pixelwise.labels import voc_color
from pixelwise.layers.normalization import IMAGENET_DEVIATION, IMAGENET_MEAN, Normalization

NAME = "data"
SIZE = (375, 500)  # of drawn pictures
CROP, BATCH, VOID = 321, 8, 255
FACTORS = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0)
COLOR = tuple(round(value) for value in IMAGENET_MEAN)
MEAN, DEVIATION = (np.array(values, np.float32) for values in (IMAGENET_MEAN, IMAGENET_DEVIATION))
APART = {1: (0.01, 0.01), 3: (0.5, 4.0)}
"""{factor: (mean, 99.9th percentile)} that images may differ by, in levels of 255"""
COMPARED = 6  # pictures, before the clock runs
PEER = "albumentations"

Tensors = tuple[torch.Tensor, torch.Tensor]
Files = tuple[Path, Path]


def draw(root: Path, pairs: int) -> None:
    """JPEG pictures with texture and palette masks with round objects, as photographs have."""
    rng = np.random.default_rng(0)
    palette = [c for i in range(256) for c in voc_color(i)]
    for part in ("images", "masks"):
        (root / part).mkdir(parents=True)
    for i in range(pairs):
        small = rng.integers(0, 256, (12, 16, 3)).astype(np.uint8)
        picture = cv2.resize(small, SIZE[::-1], interpolation=cv2.INTER_CUBIC).astype(np.int16)
        picture = np.clip(picture + rng.normal(0, 12, picture.shape), 0, 255).astype(np.uint8)
        mask = np.zeros(SIZE, np.uint8)
        for cls in rng.integers(1, 21, 5).tolist():
            center = (int(rng.integers(500)), int(rng.integers(375)))
            axes = (int(rng.integers(10, 120)), int(rng.integers(10, 120)))
            cv2.ellipse(mask, center, axes, float(rng.integers(180)), 0, 360, cls, -1)
        Image.fromarray(picture).save(root / "images" / f"{i:05}.jpg", quality=90)
        image = Image.fromarray(mask)
        image.putpalette(palette)
        image.save(root / "masks" / f"{i:05}.png")


def by_pillow(files: Files, factor: float, place: tuple[float, float], mirror: bool, crop: tuple[int, int]) -> Tensors:
    """One picture and its target; `place` is where the crop lies in what room there is, 0–1 (y, x)."""
    image: Image.Image = Image.open(files[0]).convert("RGB")
    mask: Image.Image = Image.open(files[1])
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

    transform: Any = albumentations.Compose(
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
        samples = [transform(image=_read_by_opencv(image), mask=np.array(Image.open(mask))) for image, mask in pairs]
        return torch.stack([s["image"] for s in samples]), torch.stack([s["mask"] for s in samples]).long()

    return batch


def _read_by_opencv(file: Path) -> Any:
    """(H, W, 3) as the documentation of albumentations reads it."""
    read: Any = cv2.imread(str(file))
    return cv2.cvtColor(read, cv2.COLOR_BGR2RGB)


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


def difference(data: PairDataset, files: Mapping[str, Files], *, peer: bool) -> str | None:
    """Where the ways do not give the same though nothing is drawn; None where they do.

    Args:
        peer: compare with albumentations, too.
    """
    normalization = Normalization(IMAGENET_MEAN, IMAGENET_DEVIATION)
    deviation = torch.from_numpy(DEVIATION)[:, None, None]
    classes = np.full(256, VOID)  # of a value in a file: a folder's classes are those that it holds
    for value, cls in data.labels["labels"].table.items():
        if isinstance(value, int):
            classes[value] = cls
    for factor in APART:
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
                    others[PEER] = (images[0], targets[0])
                for other, (their_image, their_target) in others.items():
                    if not torch.equal(turned[1], torch.from_numpy(classes)[their_target]):
                        return f"{name}, factor {factor}: the mask differs from that of {other}"
                    apart = ((turned[0] - their_image).abs() * deviation).numpy()
                    found = float(apart.mean()), float(np.percentile(apart, 99.9))
                    if any(here > most for here, most in zip(found, APART[factor], strict=True)):
                        return (
                            f"{name}, factor {factor}: the picture differs from {other}'s by {found[0]:.2f} levels on "
                            f"average and {found[1]:.2f} at the 99.9th percentile; at most {APART[factor][0]:g} and "
                            f"{APART[factor][1]:g} are allowed"
                        )
    return None


@contextmanager
def one_core() -> Iterator[None]:
    """This process on one core, where the system can bind it to one, and libraries with one thread."""
    threads = cv2.getNumThreads(), torch.get_num_threads()
    bound = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    if bound is not None:
        os.sched_setaffinity(0, {max(bound)})
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    try:
        yield
    finally:
        if bound is not None:
            os.sched_setaffinity(0, bound)
        cv2.setNumThreads(threads[0])
        torch.set_num_threads(threads[1])


def measure(
    *, quick: bool = False, pairs: int = 48, turns: int = 9, voc: Path | None = None
) -> Iterator[Ratio | Missing]:
    """Ratios to Pillow and to albumentations; seconds are those of one picture.

    Args:
        quick: eight pairs and three turns.
        pairs: that are drawn.
        turns: that are counted.
        voc: a folder with VOC 2012, whose split trainval is read instead.
    """
    pairs, turns = (BATCH, 3) if quick else (pairs, turns)
    peer = find_spec(PEER) is not None
    if not peer:
        yield Missing(NAME, PEER, f"pip install {PEER}")
    with tempfile.TemporaryDirectory() as scratch, one_core():
        if voc is None:
            draw(Path(scratch), pairs)
        data = open_dataset("folder", scratch) if voc is None else open_dataset("voc2012", voc, "trainval")
        files = {pair.name: (Path(str(pair.image)), Path(str(pair.mask))) for pair in data.pairs}
        first = dict(list(files.items())[: 2 if quick else COMPARED])
        differs = difference(data.subset(range(len(first))), first, peer=peer)
        ours = our_batches(data, Augmentation(scales=FACTORS, overhang=0), (CROP, CROP))
        rng, every, batches = random.Random(0), list(files.values()), max(len(files) // BATCH, 1)

        def batch_of(k: int) -> list[Files]:
            return [every[(k * BATCH + j) % len(every)] for j in range(BATCH)]

        makers: dict[str, Callable[[int], Tensors]] = {
            "ours": ours,
            "pillow": lambda k: pillow_batch(batch_of(k), rng),
        }
        if peer:
            transform = albumentations_batch(FACTORS, (CROP, CROP), 0.5, False)
            makers[PEER] = lambda k: transform(batch_of(k))
        ways = {way: partial(_batches, make, batches, itertools.count()) for way, make in makers.items()}
        _, seconds = take_turns(ways, turns, clock=time.process_time)
    each = {way: [spent / (batches * BATCH) for spent in found] for way, found in seconds.items()}
    for way in ways:
        if way == "ours":
            continue
        yield ratio_of(
            NAME,
            f"a picture of {'VOC' if voc else f'{SIZE[0]} × {SIZE[1]}'} to a crop of {CROP} × {CROP}, one core",
            versioned("Pillow" if way == "pillow" else way, way),
            each["ours"],
            each[way],
            equal=differs is None,
            answers=differs or "masks equal, images alike",
        )


def _batches(make: Callable[[int], Tensors], batches: int, numbers: Iterator[int]) -> None:
    """So many batches, and on from there the next time."""
    for k in itertools.islice(numbers, batches):
        images, targets = make(k)
        assert images.shape == (BATCH, 3, CROP, CROP) and targets.shape == (BATCH, CROP, CROP)
        assert images.dtype == torch.float32 and targets.dtype == torch.int64
