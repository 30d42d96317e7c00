"""DeepLab v2's recipes: step or poly, VGG-16 or ResNet-101, on VOC, Context, Person-Part and Cityscapes.

Chen, Papandreou, Kokkinos, Murphy, Yuille, 2016 (arXiv 1606.00915; PAMI 2018), §4, Tables 2, 3, 4, 6, 7 and 9; the
ports of its release (isht7, DrSleep, kazuto1011). Source: spec, networks 2014–2016 §5.4–5.8.

SGD, momentum 0.9, weight decay 5e-4, crops of 321, 10 pictures a step for 20 000 steps, poly of power 0.9; the rate is
1e-3 with VGG-16 and 2.5e-4 with the ResNet, ten-fold in the classifier. With the ResNet batch norms are frozen, and
there is a loss at the scales 1, 0.75 and 0.5 and one after fusion.

**Differences** and what is UNVERIFIED, of all:
- the paper gives no rate for the ResNet; it is the ports'. That Context, Person-Part and Cityscapes have the rate, the
  length and the crop of VOC is UNVERIFIED.
- the steps with COCO are UNVERIFIED: as many as afterwards here.
- the loss at 0.75 is on the pixels of the crop here; on its own grid in one port, on that of the whole in another:
  UNVERIFIED.
- which rows of the tables for Context, Person-Part and Cityscapes have several scales, COCO and random scales is
  UNVERIFIED, as the marks were lost; here they are as in `notes`.
- random scales are one of five factors, as in the ports.
- fc6 of VGG-16 begins with He's initialization; see `recipes/deeplab_v1.py`.
- scores are of the network alone, before the CRF; with several scales it fuses them itself.
"""

from typing import Any

from pixelwise.data.augmentation import PAPER_AUGMENTATIONS
from pixelwise.recipes.published import Data, Levels, PublishedRecipe, Score, Stage, caffe_sgd, classifier, less
from pixelwise.training.recipe import HeadLoss, Recipe

MEAN = less(104.008, 116.669, 122.675)
VGG16 = ("vgg16_ilsvrc", "vgg16_imagenet")
RESNET101 = ("resnet101_msra",)
VOC, VOC_VAL = Data(dataset="voc2012_trainaug", split="train"), Data(dataset="voc2012_trainaug", split="val")
COCO = Data(dataset="coco,classes=voc", split="train")
CONTEXT, CONTEXT_VAL = Data(dataset="pascal_context", split="train"), Data(dataset="pascal_context", split="val")
PERSON_PART, PERSON_PART_VAL = Data(dataset="person_part", split="train"), Data(dataset="person_part", split="val")
CITYSCAPES, CITYSCAPES_VAL = Data(dataset="cityscapes", split="train"), Data(dataset="cityscapes", split="val")

OWN = HeadLoss(grid="own", stride=8)
ONE_SCALE = {"logits": OWN}
SCALES = {
    "logits": OWN,
    "scale_1": OWN,
    "scale_0.75": HeadLoss(),  # its cells lie 10 2/3 pixels apart, so its scores are brought to the picture
    "scale_0.5": HeadLoss(grid="own", stride=16),
}

MIRROR = PAPER_AUGMENTATIONS["deeplab_v1"]
RANDOM_SCALE = PAPER_AUGMENTATIONS["deeplab_v2"]


def vgg16(model: str, *, score: str = "aspp.*fc8_voc12*", **settings: Any) -> Recipe:
    """A network on VGG-16, Table 2's last row unless settings say otherwise."""
    plain: dict[str, Any] = {
        "steps": 20_000,
        "batch_size": 10,
        "crop_size": 321,
        "schedule": "poly",
        "rates": classifier(score),
        "heads": ONE_SCALE,
        "augmentation": MIRROR,
    }
    return caffe_sgd(model, rate=1e-3, **(plain | settings))


def resnet101(model: str, *, multi_scale: bool = True, varied: bool = True, steps: int = 20_000) -> Recipe:
    """A network on ResNet-101, with three scales in training and test, and with pictures at random scales."""
    return caffe_sgd(
        model,
        rate=2.5e-4,
        steps=steps,
        batch_size=10,
        crop_size=321,
        schedule="poly",
        rates=classifier("aspp.*"),
        heads=SCALES if multi_scale else ONE_SCALE,
        model_options={"multi_scale": True} if multi_scale else {},
        augmentation=RANDOM_SCALE if varied else MIRROR,
        batch_norm="frozen",
    )


def _published(
    name: str,
    place: str,
    mean_iou: float | None,
    validation: Data,
    protocol: str,
    *stages: Stage,
    notes: tuple[str, ...] = (),
    normalization: Levels = MEAN,
) -> PublishedRecipe:
    source = f"{place}, before the CRF, {validation}"
    return PublishedRecipe(
        name=name,
        paper=f"Chen et al. 2016, {place}",
        expected=None if mean_iou is None else Score(mean_iou=mean_iou, source=source),
        notes=notes,
        normalization=normalization,
        stages=stages,
        validation=validation,
        evaluation=validation,
        protocol=protocol,
    )


def _alone(recipe: Recipe, data: Data, weights: tuple[str, ...]) -> Stage:
    return Stage(name=recipe.model, recipe=recipe, train=(data,), weights=weights)


def _coco_first(recipe: Recipe, data: Data) -> tuple[Stage, Stage]:
    coco = Stage(name="coco", recipe=recipe, train=(COCO,), weights=RESNET101, validation=VOC_VAL)
    return coco, Stage(name=recipe.model, recipe=recipe, train=(data,), after=("coco",))


def _table2(row: str, mean_iou: float, **settings: Any) -> PublishedRecipe:
    recipe = vgg16("deeplab_v2_vgg16_largefov", **settings)
    name = f"deeplab_v2_vgg16_largefov_voc_{row}"
    told = row.replace("_", ", ")
    return _published(name, f"Table 2, {told}", mean_iou, VOC_VAL, "voc", _alone(recipe, VOC, VGG16))


def deeplab_v2_vgg16_largefov_voc_step_30_6k() -> PublishedRecipe:
    """LargeFOV, step, batches of 30, 6 000 steps: Table 2, first row; mean IoU 62.25 on VOC 2012 val.

    pixelwise train deeplab_v2_vgg16_largefov_voc_step_30_6k --data ROOT
    """
    return _table2("step_30_6k", 62.25, schedule="step", drop_every=2000, batch_size=30, steps=6000)


def deeplab_v2_vgg16_largefov_voc_poly_30_6k() -> PublishedRecipe:
    """LargeFOV, poly, batches of 30, 6 000 steps: Table 2, second row; mean IoU 63.42 on VOC 2012 val.

    pixelwise train deeplab_v2_vgg16_largefov_voc_poly_30_6k --data ROOT
    """
    return _table2("poly_30_6k", 63.42, batch_size=30, steps=6000)


def deeplab_v2_vgg16_largefov_voc_poly_30_10k() -> PublishedRecipe:
    """LargeFOV, poly, batches of 30, 10 000 steps: Table 2, third row; mean IoU 64.90 on VOC 2012 val.

    pixelwise train deeplab_v2_vgg16_largefov_voc_poly_30_10k --data ROOT
    """
    return _table2("poly_30_10k", 64.90, batch_size=30, steps=10_000)


def deeplab_v2_vgg16_largefov_voc_poly_10_10k() -> PublishedRecipe:
    """LargeFOV, poly, batches of 10, 10 000 steps: Table 2, fourth row; mean IoU 64.71 on VOC 2012 val.

    pixelwise train deeplab_v2_vgg16_largefov_voc_poly_10_10k --data ROOT
    """
    return _table2("poly_10_10k", 64.71, batch_size=10, steps=10_000)


def deeplab_v2_vgg16_largefov_voc_poly_10_20k() -> PublishedRecipe:
    """LargeFOV, poly, batches of 10, 20 000 steps: Table 2, last row; mean IoU 65.88 on VOC 2012 val (67.7 test).

    pixelwise train deeplab_v2_vgg16_largefov_voc_poly_10_20k --data ROOT
    """
    return _table2("poly_10_20k", 65.88)


def deeplab_v2_vgg16_aspp_s_voc() -> PublishedRecipe:
    """ASPP-S on VGG-16, rates 2, 4, 8, 12: Table 3; mean IoU 66.98 on VOC 2012 val.

    pixelwise train deeplab_v2_vgg16_aspp_s_voc --data ROOT
    """
    stage = _alone(vgg16("deeplab_v2_vgg16_aspp_s"), VOC, VGG16)
    return _published("deeplab_v2_vgg16_aspp_s_voc", "Table 3, ASPP-S", 66.98, VOC_VAL, "voc", stage)


def deeplab_v2_vgg16_aspp_l_voc() -> PublishedRecipe:
    """ASPP-L on VGG-16, rates 6, 12, 18, 24: Table 3; mean IoU 68.96 on VOC 2012 val.

    pixelwise train deeplab_v2_vgg16_aspp_l_voc --data ROOT
    """
    stage = _alone(vgg16("deeplab_v2_vgg16_aspp_l"), VOC, VGG16)
    return _published("deeplab_v2_vgg16_aspp_l_voc", "Table 3, ASPP-L", 68.96, VOC_VAL, "voc", stage)


def deeplab_v2_resnet101_largefov_voc() -> PublishedRecipe:
    """LargeFOV on ResNet-101, three scales, COCO first, random scales: Table 4; mean IoU 75.54 on VOC 2012 val.

    pixelwise train deeplab_v2_resnet101_largefov_voc --data ROOT
    """
    stages = _coco_first(resnet101("deeplab_v2_resnet101_largefov"), VOC)
    place = "Table 4, MSC, COCO, Aug, LargeFOV"
    return _published("deeplab_v2_resnet101_largefov_voc", place, 75.54, VOC_VAL, "voc", *stages)


def deeplab_v2_resnet101_aspp_voc() -> PublishedRecipe:
    """ASPP on ResNet-101, three scales, COCO first, random scales: Table 4; mean IoU 76.35 on VOC 2012 val.

    pixelwise train deeplab_v2_resnet101_aspp_voc --data ROOT
    """
    stages = _coco_first(resnet101("deeplab_v2_resnet101_aspp"), VOC)
    place = "Table 4, MSC, COCO, Aug, ASPP"
    return _published("deeplab_v2_resnet101_aspp_voc", place, 76.35, VOC_VAL, "voc", *stages)


def deeplab_v2_resnet101_aspp_voc_without_coco() -> PublishedRecipe:
    """ASPP on ResNet-101, three scales, random scales, from ImageNet at once; its score was not read: UNVERIFIED.

    pixelwise train deeplab_v2_resnet101_aspp_voc_without_coco --data ROOT
    """
    stage = _alone(resnet101("deeplab_v2_resnet101_aspp"), VOC, RESNET101)
    return _published("deeplab_v2_resnet101_aspp_voc_without_coco", "Table 4 without COCO", None, VOC_VAL, "voc", stage)


def deeplab_v2_vgg16_largefov_context() -> PublishedRecipe:
    """LargeFOV on VGG-16, PASCAL-Context: Table 6; mean IoU 37.6 over 60 classes.

    pixelwise train deeplab_v2_vgg16_largefov_context --data ROOT
    """
    stage = _alone(vgg16("deeplab_v2_vgg16_largefov"), CONTEXT, VGG16)
    place = "Table 6, VGG-16 LargeFOV"
    return _published("deeplab_v2_vgg16_largefov_context", place, 37.6, CONTEXT_VAL, "context60", stage)


_WITH_ALL = ("with three scales, COCO first and random scales: UNVERIFIED for this row",)


def deeplab_v2_resnet101_largefov_context() -> PublishedRecipe:
    """LargeFOV on ResNet-101, PASCAL-Context: Table 6; mean IoU 43.5 over 60 classes.

    pixelwise train deeplab_v2_resnet101_largefov_context --data ROOT
    """
    stages = _coco_first(resnet101("deeplab_v2_resnet101_largefov"), CONTEXT)
    name = "deeplab_v2_resnet101_largefov_context"
    return _published(name, "Table 6, LargeFOV", 43.5, CONTEXT_VAL, "context60", *stages, notes=_WITH_ALL)


def deeplab_v2_resnet101_aspp_context() -> PublishedRecipe:
    """ASPP on ResNet-101, PASCAL-Context: Table 6; mean IoU 44.7 over 60 classes.

    pixelwise train deeplab_v2_resnet101_aspp_context --data ROOT
    """
    stages = _coco_first(resnet101("deeplab_v2_resnet101_aspp"), CONTEXT)
    name = "deeplab_v2_resnet101_aspp_context"
    return _published(name, "Table 6, ASPP", 44.7, CONTEXT_VAL, "context60", *stages, notes=_WITH_ALL)


def deeplab_v2_resnet101_largefov_person_part() -> PublishedRecipe:
    """LargeFOV on ResNet-101, PASCAL-Person-Part: Table 7; mean IoU 62.18.

    pixelwise train deeplab_v2_resnet101_largefov_person_part --data ROOT
    """
    stages = _coco_first(resnet101("deeplab_v2_resnet101_largefov"), PERSON_PART)
    name = "deeplab_v2_resnet101_largefov_person_part"
    return _published(name, "Table 7, LargeFOV", 62.18, PERSON_PART_VAL, "voc", *stages, notes=_WITH_ALL)


def deeplab_v2_resnet101_aspp_person_part() -> PublishedRecipe:
    """ASPP on ResNet-101, PASCAL-Person-Part: Table 7; mean IoU 62.76.

    pixelwise train deeplab_v2_resnet101_aspp_person_part --data ROOT
    """
    stages = _coco_first(resnet101("deeplab_v2_resnet101_aspp"), PERSON_PART)
    name = "deeplab_v2_resnet101_aspp_person_part"
    return _published(name, "Table 7, ASPP", 62.76, PERSON_PART_VAL, "voc", *stages, notes=_WITH_ALL)


HALF = MIRROR.model_copy(update={"scale": (0.5, 0.5)})
HALF_SIZE = MEAN.model_copy(update={"size": (512, 1024)})  # of pictures of 1024 × 2048


def deeplab_v2_vgg16_largefov_cityscapes_half() -> PublishedRecipe:
    """LargeFOV on VGG-16, Cityscapes at 1024 × 512: Table 9; mean IoU 62.97 on val.

    pixelwise train deeplab_v2_vgg16_largefov_cityscapes_half --data ROOT
    """
    stage = _alone(vgg16("deeplab_v2_vgg16_largefov", augmentation=HALF), CITYSCAPES, VGG16)
    return _published(
        "deeplab_v2_vgg16_largefov_cityscapes_half",
        "Table 9, VGG-16 LargeFOV, half resolution",
        62.97,
        CITYSCAPES_VAL,
        "cityscapes",
        stage,
        normalization=HALF_SIZE,
    )


def deeplab_v2_vgg16_largefov_cityscapes() -> PublishedRecipe:
    """LargeFOV on VGG-16, Cityscapes at 2048 × 1024: Table 9; mean IoU 64.89 on val.

    pixelwise train deeplab_v2_vgg16_largefov_cityscapes --data ROOT
    """
    stage = _alone(vgg16("deeplab_v2_vgg16_largefov"), CITYSCAPES, VGG16)
    place = "Table 9, VGG-16 LargeFOV, full resolution"
    return _published("deeplab_v2_vgg16_largefov_cityscapes", place, 64.89, CITYSCAPES_VAL, "cityscapes", stage)


def _cityscapes(name: str, head: str, mean_iou: float, *, varied: bool) -> PublishedRecipe:
    recipe = resnet101(f"deeplab_v2_resnet101_{head}", multi_scale=False, varied=varied)
    place = f"Table 9, ResNet-101 {head}{', Aug' if varied else ''}, full resolution"
    notes = ("with one scale and without COCO: UNVERIFIED",)
    stage = _alone(recipe, CITYSCAPES, RESNET101)
    return _published(name, place, mean_iou, CITYSCAPES_VAL, "cityscapes", stage, notes=notes)


def deeplab_v2_resnet101_largefov_cityscapes() -> PublishedRecipe:
    """LargeFOV on ResNet-101, Cityscapes at 2048 × 1024: Table 9; mean IoU 69.2 on val.

    pixelwise train deeplab_v2_resnet101_largefov_cityscapes --data ROOT
    """
    return _cityscapes("deeplab_v2_resnet101_largefov_cityscapes", "largefov", 69.2, varied=False)


def deeplab_v2_resnet101_aspp_cityscapes() -> PublishedRecipe:
    """ASPP on ResNet-101, Cityscapes at 2048 × 1024: Table 9; mean IoU 70.4 on val.

    pixelwise train deeplab_v2_resnet101_aspp_cityscapes --data ROOT
    """
    return _cityscapes("deeplab_v2_resnet101_aspp_cityscapes", "aspp", 70.4, varied=False)


def deeplab_v2_resnet101_aspp_cityscapes_varied() -> PublishedRecipe:
    """The same with random scales: Table 9, Aug; mean IoU 71.0 on val.

    pixelwise train deeplab_v2_resnet101_aspp_cityscapes_varied --data ROOT
    """
    return _cityscapes("deeplab_v2_resnet101_aspp_cityscapes_varied", "aspp", 71.0, varied=True)
