"""What the readers of some pages have before they begin: drawn pictures under the names that the page uses."""

import shutil
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from scipy.io import savemat

import pixelwise as pw
from pixelwise.flow.demo import CLASSES, PALETTE, draw_demo, draw_new_pictures
from pixelwise.labels import LabelSet
from pixelwise.layers.normalization import Normalization
from pixelwise.segmenter import Segmenter

MODEL = Path("runs/cells/model.safetensors")


def tiny_model(path, labels=None, builder="unet", seed=0, **options):
    """A model file of a narrow network with random weights."""
    labels = labels or LabelSet(CLASSES, PALETTE)
    torch.manual_seed(seed)
    options = {"num_classes": labels.num_classes, "width": 1 / 16} | options
    network = pw.build(builder, **options).eval()
    for parameter in network.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, 0, 0.3)
    path.parent.mkdir(parents=True, exist_ok=True)
    record = {"builder": builder, "options": options}
    Segmenter(network, Normalization((120.0,) * 3, (60.0,) * 3), labels, record).save(path)


def draw_common(folder):
    """cells/ with masks, new-pictures/ without, photo.jpg, new.jpg, and a model of cells/."""
    draw_demo(folder / "cells", count=8, size=(48, 64))
    draw_new_pictures(folder / "new-pictures", count=2, size=(40, 60))
    for name in ("photo.jpg", "new.jpg"):
        shutil.copy(folder / "new-pictures/new_000.jpg", folder / name)
    tiny_model(folder / MODEL, depth=2)


def write_pets(folder, masks=False):
    """Red cats and blue dogs: a folder for each, or images/ and masks/."""
    rng = np.random.default_rng(0)
    for name, color in (("cats", (200, 60, 40)), ("dogs", (40, 80, 210))):
        for number in range(4):
            picture = np.clip(rng.normal(color, 25, (40, 44, 3)), 0, 255).astype(np.uint8)
            place = folder / ("images" if masks else name)
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(place / f"{name}{number}.png")
            if masks:
                (folder / "masks").mkdir(exist_ok=True)
                mask = np.full((40, 44), int(name == "dogs"), np.uint8)
                Image.fromarray(mask).save(folder / "masks" / f"{name}{number}.png")
    if masks:
        (folder / "classes.txt").write_text("cats\ndogs\n")


def save_picture(path, seed, size=(40, 44)):
    """Noise."""
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(path)


def draw_camvid(root):
    """CamVid's packaging, with two pictures a split."""
    for split in ("train", "val", "test"):
        lines = []
        for part in (split, f"{split}annot"):
            (root / part).mkdir(parents=True)
        for i in range(2):
            save_picture(root / split / f"{split}{i}.png", i, (24, 32))
            mask = np.broadcast_to(np.arange(32, dtype=np.uint8) % 12, (24, 32))
            Image.fromarray(np.ascontiguousarray(mask)).save(root / f"{split}annot" / f"{split}{i}.png")
            lines.append(f"/SegNet/CamVid/{split}/{split}{i}.png /SegNet/CamVid/{split}annot/{split}{i}.png")
        (root / f"{split}.txt").write_text("\n".join(lines) + "\n")


def draw_sbd(root):
    """SBD with two pictures to train on, and one to validate."""
    home, random = root / "benchmark_RELEASE/dataset", np.random.default_rng(0)
    for part in ("img", "cls"):
        (home / part).mkdir(parents=True)
    for split, names in (("train", ("a", "b")), ("val", ("c",))):
        (home / f"{split}.txt").write_text("".join(f"{name}\n" for name in names))
        for name in names:
            save_picture(home / f"img/{name}.jpg", ord(name), (30, 40))
            classes = random.integers(0, 21, (30, 40)).astype(np.uint8)
            savemat(home / f"cls/{name}.mat", {"GTcls": {"Segmentation": classes}})


def draw_voc(devkit, year=2012):
    """VOC with two pictures to train on, four to validate, two to test; as VOCdevkit/VOC2012."""
    home, random = devkit / f"VOC{year}", np.random.default_rng(0)
    for part in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (home / part).mkdir(parents=True)
    names = [f"2008_{i:06}" for i in range(8)]
    for i, name in enumerate(names):
        save_picture(home / "JPEGImages" / f"{name}.jpg", i, (30, 40))
        if i < 6:
            mask = random.integers(0, 21, (6, 8)).repeat(5, 0).repeat(5, 1).astype(np.uint8)
            mask[::7] = 255
            Image.fromarray(mask).save(home / "SegmentationClass" / f"{name}.png")
    for split, some in (("val", names[:4]), ("train", names[4:6]), ("trainval", names[:6]), ("test", names[6:])):
        (home / "ImageSets/Segmentation" / f"{split}.txt").write_text("\n".join(some) + "\n")
