"""PSPNet's recipes: 16 crops a step, poly, an auxiliary loss of weight 0.4 behind layer3.

Zhao, Shi, Qi, Wang, Jia, CVPR 2017 (arXiv 1612.01105), §4–5; hszhao/PSPNet (README, prototxts), hszhao/semseg. Source:
spec, networks 2015–2017 §1.3.3–1.3.5.

SGD, momentum 0.9, weight decay 1e-4, rate 0.01, poly of power 0.9; new layers ten-fold, their biases twenty-fold.
Scales 0.5–2, mirror, on ADE20K and VOC ±10° and blur. Batch norms are trained, with the release's 0.95 of what they
know and 0.05 of each batch.

**Differences** and what is UNVERIFIED, of all:
- the losses are on the grid of 1/8, each cell judged by pixel 8i, "largely" as in the paper by what semseg's page says.
- the networks' deep stem fits no ImageNet weights of the catalogue: without the authors' own (`--set weights=FILE`) the
  network starts from random weights, and will not reach the table.
- the authors synchronize statistics over GPUs; so are they here with several GPUs, and not with several CPUs.
"""

from pixelwise.data.augmentation import PAPER_AUGMENTATIONS
from pixelwise.recipes.published import Data, PublishedRecipe, Score, Stage, caffe_sgd, less
from pixelwise.training.recipe import HeadLoss, Rate

MEAN = less(103.939, 116.779, 123.68)
CELLS = HeadLoss(grid="own", stride=8)
HEADS = {"logits": CELLS, "auxiliary": CELLS.model_copy(update={"weight": 0.4})}
NEW = (
    Rate(parameters="pyramid_pooling.levels.*.0.weight", rate=10),
    Rate(parameters="conv5_4.0.weight", rate=10),
    Rate(parameters="conv6.weight", rate=10),
    Rate(parameters="conv6.bias", rate=20, decay=0),
    Rate(parameters="auxiliary.[04].weight", rate=10),
    Rate(parameters="auxiliary.4.bias", rate=20, decay=0),
)
NO_WEIGHTS = "no ImageNet weights of the catalogue fit the deep stem: random ones, or yours with --set weights=FILE"


def _published(
    name: str,
    model: str,
    steps: int,
    train: Data,
    val: Data,
    protocol: str,
    expected: Score,
    *notes: str,
    crop: int = 473,
    varied: str = "pspnet",
    views: str = "",
) -> PublishedRecipe:
    recipe = caffe_sgd(
        model,
        rate=0.01,
        steps=steps,
        crop_size=crop,
        batch_size=16,
        schedule="poly",
        weight_decay=1e-4,
        batch_norm_momentum=0.05,
        rates=NEW,
        heads=HEADS,
        model_options={"auxiliary": True},
        augmentation=PAPER_AUGMENTATIONS[varied],
    )
    return PublishedRecipe(
        name=name,
        paper=f"Zhao et al. 2017, {expected.source}",
        expected=expected,
        notes=(NO_WEIGHTS, *notes),
        normalization=MEAN,
        stages=(Stage(name=model, recipe=recipe, train=(train,)),),
        validation=val,
        evaluation=val,
        protocol=protocol,
        views=views,
    )


ADE20K, ADE20K_VAL = Data(dataset="ade20k", split="train"), Data(dataset="ade20k", split="val")
VOC, VOC_VAL = Data(dataset="voc2012_trainaug", split="train"), Data(dataset="voc2012_trainaug", split="val")
CITYSCAPES, CITYSCAPES_VAL = Data(dataset="cityscapes", split="train"), Data(dataset="cityscapes", split="val")


def pspnet_resnet50_ade20k() -> PublishedRecipe:
    """ResNet-50 on ADE20K, 150 000 steps; mean IoU 41.68, pixel accuracy 80.04 on val.

    pixelwise train pspnet_resnet50_ade20k --data ROOT
    """
    expected = Score(mean_iou=41.68, pixel_accuracy=80.04, source="ADE20K val, ResNet-50, one scale")
    return _published("pspnet_resnet50_ade20k", "pspnet_resnet50", 150_000, ADE20K, ADE20K_VAL, "ade20k", expected)


def pspnet_resnet101_ade20k() -> PublishedRecipe:
    """ResNet-101 on ADE20K; mean IoU 43.10, pixel accuracy 81.07 on val by semseg's training of 100 passes.

    pixelwise train pspnet_resnet101_ade20k --data ROOT
    """
    expected = Score(mean_iou=43.10, pixel_accuracy=81.07, mean_accuracy=53.75, source="semseg's README, ADE20K val")
    note = "the score is semseg's, whose length is 100 passes and whose losses are at the pictures' size"
    return _published(
        "pspnet_resnet101_ade20k", "pspnet_resnet101", 150_000, ADE20K, ADE20K_VAL, "ade20k", expected, note
    )


def pspnet_resnet101_voc() -> PublishedRecipe:
    """ResNet-101 on VOC 2012 with SBD, 30 000 steps; mean IoU 82.6 on the test set, without COCO.

    pixelwise train pspnet_resnet101_voc --data ROOT
    """
    expected = Score(mean_iou=82.6, source="test set of VOC 2012, six scales, without COCO; that of val was not read")
    name = "pspnet_resnet101_voc"
    return _published(name, "pspnet_resnet101", 30_000, VOC, VOC_VAL, "voc", expected, views="pspnet")


def pspnet_resnet101_cityscapes() -> PublishedRecipe:
    """ResNet-101 on Cityscapes, crops of 713, 90 000 steps; mean IoU 79.70, pixel accuracy 96.38 on val.

    pixelwise train pspnet_resnet101_cityscapes --data ROOT
    """
    expected = Score(mean_iou=79.70, pixel_accuracy=96.38, source="README of hszhao/PSPNet, Cityscapes val, one scale")
    return _published(
        "pspnet_resnet101_cityscapes",
        "pspnet_resnet101",
        90_000,
        CITYSCAPES,
        CITYSCAPES_VAL,
        "cityscapes",
        expected,
        crop=713,
        varied="pspnet_cityscapes",
    )
