"""RefineNet's recipes: one crop a step, around a pixel of a class that the picture has; moments frozen.

Lin, Milan, Shen, Reid, CVPR 2017 (arXiv 1611.06612), §4; guosheng/refinenet, the authors' training scripts. Source:
spec, networks 2015–2017 §1.2.4–1.2.5.

SGD, momentum 0.9, weight decay 5e-4, rate 5e-4, a tenth of it in the pretrained layers; crops of 400 (600 on
Cityscapes), scales 0.7–1.3, mirror. The loss is a mean over the cells of 1/4, each judged by the nearest pixel.

**Differences** and what is UNVERIFIED, of all:
- the authors divide the rate by 10 by hand when validation stops improving. How long they train was not read: here
  150 passes, and a tenth of the rate after two thirds. UNVERIFIED.
- pictures have their own size; the authors enlarge them by 1.2 first.
- pictures are drawn in passes; the authors also draw them by class.
- the authors' test has five scales: `views` is "refinenet" for the rows that have it.
"""

from typing import Any

from pixelwise.data.augmentation import PAPER_AUGMENTATIONS
from pixelwise.recipes.published import Data, PublishedRecipe, Score, Stage, caffe_sgd, less
from pixelwise.training.recipe import HeadLoss, Rate, Recipe

MEAN = less(128.0, 128.0, 128.0, channel_order="rgb")
PASSES = 150
TRUNK = (Rate(parameters="backbone.*", rate=0.1),)


def _recipe(model: str, pictures: int, crop: int = 400) -> Recipe:
    steps = PASSES * pictures
    return caffe_sgd(
        model,
        rate=5e-4,
        steps=steps,
        crop_size=crop,
        schedule="step",
        drop_every=2 * steps // 3,
        rates=TRUNK,
        heads={"logits": HeadLoss(grid="own")},
        class_crops=1.0,
        augmentation=PAPER_AUGMENTATIONS["refinenet"],
        batch_norm="affine",
    )


def _published(
    name: str, depth: int, pictures: int, train: Data, test: Data, expected: Score, *notes: str, **more: Any
) -> PublishedRecipe:
    recipe = _recipe(f"refinenet_resnet{depth}", pictures, more.pop("crop", 400))
    stage = Stage(
        name=recipe.model, recipe=recipe, train=(train,), weights=(f"resnet{depth}_msra",), class_from="picture"
    )
    return PublishedRecipe(
        name=name,
        paper=f"Lin et al. 2017, {expected.source}",
        expected=expected,
        notes=notes,
        normalization=MEAN,
        stages=(stage,),
        validation=test,
        evaluation=test,
        protocol="refinenet",
        **more,
    )


def refinenet_resnet50_voc() -> PublishedRecipe:
    """ResNet-50 on VOC 2012's 1 464 training pictures: the demo of the release; mean IoU 69.1 on val.

    pixelwise train refinenet_resnet50_voc --data ROOT
    """
    train, val = Data(dataset="voc2012", split="train"), Data(dataset="voc2012", split="val")
    expected = Score(mean_iou=69.1, source="log of the release's demo, VOC 2012 val")
    return _published("refinenet_resnet50_voc", 50, 1464, train, val, expected)


def refinenet_resnet152_nyud() -> PublishedRecipe:
    """ResNet-152 on NYUDv2, 40 classes; mean IoU 46.5 on its test part.

    pixelwise train refinenet_resnet152_nyud --data ROOT
    """
    name = "nyud_v2,crop=true"
    train, test = Data(dataset=name, split="trainval"), Data(dataset=name, split="test")
    expected = Score(mean_iou=46.5, source="NYUDv2 test, as collected elsewhere")
    return _published("refinenet_resnet152_nyud", 152, 795, train, test, expected, views="refinenet")


def refinenet_resnet101_cityscapes() -> PublishedRecipe:
    """ResNet-101 on Cityscapes, crops of 600; mean IoU 73.6 on its test set.

    pixelwise train refinenet_resnet101_cityscapes --data ROOT
    """
    train, val = Data(dataset="cityscapes", split="train"), Data(dataset="cityscapes", split="val")
    expected = Score(mean_iou=73.6, source="Cityscapes test set, as collected elsewhere; that of val was not read")
    name = "refinenet_resnet101_cityscapes"
    return _published(name, 101, 2975, train, val, expected, crop=600, views="refinenet")


def refinenet_resnet101_context() -> PublishedRecipe:
    """ResNet-101 on PASCAL-Context, 60 classes; mean IoU 47.1 on val, UNVERIFIED.

    pixelwise train refinenet_resnet101_context --data ROOT
    """
    train, val = Data(dataset="pascal_context", split="train"), Data(dataset="pascal_context", split="val")
    expected = Score(mean_iou=47.1, source="PASCAL-Context val, 60 classes: UNVERIFIED")
    return _published("refinenet_resnet101_context", 101, 4998, train, val, expected, views="refinenet")
