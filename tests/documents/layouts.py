"""One small data set in each layout that people have: four drawn pictures with two classes, in folders by name."""

import json
import shutil
from pathlib import Path

import numpy as np
from PIL import Image

SIZE = 40, 56  # height, width
CLASSES = ("background", "cell")
OUTLINE = [[8, 6], [44, 10], [40, 32], [12, 30]]  # x, y
COUNT = 4


def picture(number):
    """A bright shape on a dark ground, with noise."""
    random = np.random.default_rng(number)
    pixels = random.normal(60, 12, (*SIZE, 3))
    pixels[mask(number) > 0] += 110
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def mask(number):
    """1 inside the shape, whose right side depends on the number."""
    target = np.zeros(SIZE, np.uint8)
    target[8:30, 10 : 30 + 3 * number] = 1
    return target


def save(image, path):
    """Write a picture or a mask into a folder that need not be there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(path)


def draw_layouts(home):
    """All of them, below `home`."""
    for number in range(COUNT):
        name, part = f"img_{number}", "train" if number < 3 else "val"
        image, target = picture(number), mask(number)
        save(image, home / f"plain/images/{name}.png")
        save(target, home / f"plain/masks/{name}.png")
        save(image, home / f"parts/{part}/images/{name}.jpg")
        save(target, home / f"parts/{part}/masks/{name}.png")
        save(image, home / f"beside/{name}.jpg")
        save(target * 255, home / f"beside/{name}_mask.png")
        save(image, home / f"listed/photos/{name}.jpg")
        save(target, home / f"listed/drawings/{number}.png")
        save(image, home / f"objects/images/{name}.png")
        halves = target.copy(), target.copy()
        halves[0][:, 20:], halves[1][:, :20] = 0, 0
        for i, half in enumerate(halves):
            save(half * 255, home / f"objects/masks/{name}/{i}.png")
        save(image, home / f"by-class/images/{name}.png")
        for kind, half in zip(("cell", "debris"), halves, strict=True):
            save(half * 255, home / f"by-class/masks/{kind}/{name}.png")
        save(image, home / f"nnunet/imagesTr/{name}_0000.png")
        save(target, home / f"nnunet/labelsTr/{name}.png")
        save(image, home / f"voc/JPEGImages/{name}.jpg")
        color = Image.fromarray(target).convert("P")
        color.putpalette([0, 0, 0, 128, 0, 0])
        save(color, home / f"voc/SegmentationClass/{name}.png")
        save(image, home / f"labelme/{name}.jpg")
        shape = {"label": "cell", "points": OUTLINE, "shape_type": "polygon"}
        record = {"shapes": [shape], "imagePath": f"{name}.jpg", "imageHeight": SIZE[0], "imageWidth": SIZE[1]}
        (home / f"labelme/{name}.json").write_text(json.dumps(record | {"imageData": None, "version": "5.0"}))
        save(image, home / f"yolo/images/{part}/{name}.jpg")
        numbers = " ".join(f"{x / SIZE[1]:.4f} {y / SIZE[0]:.4f}" for x, y in OUTLINE)
        label = home / f"yolo/labels/{part}/{name}.txt"
        label.parent.mkdir(parents=True, exist_ok=True)
        label.write_text(f"0 {numbers}\n")
        save(image, home / f"coco/images/{name}.jpg")
    listed = "".join(f"photos/img_{i}.jpg,drawings/{i}.png\n" for i in range(COUNT))
    (home / "listed/pairs.csv").write_text("image,mask\n" + listed)
    (home / "yolo/data.yaml").write_text("train: images/train\nval: images/val\nnames: [cell]\n")
    sets = home / "voc/ImageSets/Segmentation"
    sets.mkdir(parents=True)
    (sets / "train.txt").write_text("img_0\nimg_1\nimg_2\n")
    (sets / "val.txt").write_text("img_3\n")
    (home / "voc/labelmap.txt").write_text("# label:color_rgb:parts:actions\nbackground:0,0,0::\ncell:128,0,0::\n")
    nnunet = {"channel_names": {"0": "R", "1": "G", "2": "B"}, "labels": {"background": 0, "cell": 1}}
    (home / "nnunet/dataset.json").write_text(json.dumps(nnunet | {"numTraining": COUNT, "file_ending": ".png"}))
    (home / "coco/annotations.json").write_text(json.dumps(coco_record()))
    shutil.make_archive(str(home / "export"), "zip", home / "plain")


def coco_record():
    """COCO's JSON of four pictures with an outline each."""
    flat = [number for point in OUTLINE for number in point]
    return {
        "images": [{"id": i, "file_name": f"img_{i}.jpg", "height": SIZE[0], "width": SIZE[1]} for i in range(COUNT)],
        "categories": [{"id": 1, "name": "cell"}],
        "annotations": [
            {"id": i, "image_id": i, "category_id": 1, "iscrowd": 0, "bbox": [8, 6, 36, 26], "area": 800}
            | {"segmentation": [flat]}
            for i in range(COUNT)
        ],
    }


if __name__ == "__main__":
    draw_layouts(Path("layouts"))
