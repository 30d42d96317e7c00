"""DeepLab v3's recipes: two phases, the second denser and with frozen statistics; scores are upsampled for the loss.

Chen, Papandreou, Schroff, Adam, 2017 (arXiv 1706.05587), §4, Tables 4, 5 and 6; TensorFlow models,
`research/deeplab`. Source: spec, networks 2015–2017 §1.5.4–1.5.5.

SGD, poly of power 0.9, 16 crops of 513 a step (769 on Cityscapes), scales 0.5–2 and mirror. Phase 1: output stride 16,
rate 0.007, 30 000 steps on trainaug, batch norms trained. Phase 2: output stride 8, rate 0.001, 30 000 steps on
trainval, statistics frozen. The decay of batch norms is 0.9997, 0.0003 as torch counts: after a short run their
statistics are still those that they began with. The tables' scores on VOC 2012 val are of phase 1.

**Differences** and what is UNVERIFIED, of all:
- momentum 0.9, weight decay 1e-4 and the doubled rate of biases are the release's; that the paper's are the same is
  UNVERIFIED. Here the decay spares norms, and their shifts learn as their scales do.
- whether scales and shifts of frozen batch norms learn on is UNVERIFIED; here they do, as the release's option does not
  exclude them.
- the networks begin with torchvision's ImageNet weights, whose flavor of ResNet they have.
- Table 6's steps at test time: of six scales and mirrored pictures, `pixelwise evaluate --scales deeplab_v3`.
"""

from typing import Any

from pixelwise.data.augmentation import PAPER_AUGMENTATIONS
from pixelwise.recipes.published import Data, Levels, PublishedRecipe, Score, Stage, caffe_sgd
from pixelwise.training.recipe import Rate, Recipe

IMAGENET = Levels(mean=(123.675, 116.28, 103.53), deviation=(58.395, 57.12, 57.375), channel_order="rgb")
RESNET101 = ("resnet101_imagenet",)
VOC, VOC_VAL = Data(dataset="voc2012_trainaug", split="train"), Data(dataset="voc2012_trainaug", split="val")
VOC_TRAINVAL = Data(dataset="voc2012", split="trainval")
CITYSCAPES, CITYSCAPES_VAL = Data(dataset="cityscapes", split="train"), Data(dataset="cityscapes", split="val")
RATES = (Rate(parameters="logits.bias", rate=2, decay=0),)  # no other convolution has a bias


def _recipe(model: str, *, rate: float = 0.007, steps: int = 30_000, crop: int = 513, **settings: Any) -> Recipe:
    plain: dict[str, Any] = {
        "schedule": "poly",
        "weight_decay": 1e-4,
        "batch_norm_momentum": 0.0003,
        "augmentation": PAPER_AUGMENTATIONS["deeplab_v3"],
    }
    return caffe_sgd(model, rate=rate, steps=steps, crop_size=crop, batch_size=16, rates=RATES, **(plain | settings))


def _published(
    name: str, place: str, expected: Score | None, validation: Data, protocol: str, *stages: Stage, notes: Any = ()
) -> PublishedRecipe:
    return PublishedRecipe(
        name=name,
        paper=f"Chen et al. 2017, {place}",
        expected=expected,
        notes=notes,
        normalization=IMAGENET,
        stages=stages,
        validation=validation,
        evaluation=validation,
        protocol=protocol,
    )


def deeplab_v3_resnet101_voc() -> PublishedRecipe:
    """The pyramid with image pooling at output stride 16, phase 1: Table 5; mean IoU 77.21 on VOC 2012 val.

    pixelwise train deeplab_v3_resnet101_voc --data ROOT
    """
    stage = Stage(name="phase1", recipe=_recipe("deeplab_v3_resnet101"), train=(VOC,), weights=RESNET101)
    expected = Score(mean_iou=77.21, source="Table 5, MG (1, 2, 4), rates 6, 12, 18, image pooling, VOC 2012 val")
    return _published("deeplab_v3_resnet101_voc", "Table 5", expected, VOC_VAL, "voc", stage)


def deeplab_v3_resnet101_voc_two_phases() -> PublishedRecipe:
    """Both phases, as for the test set: §4; the test set has 85.7 with COCO between, without it a score was not read.

    The second phase has seen the pictures that it is evaluated on.

    pixelwise train deeplab_v3_resnet101_voc_two_phases --data ROOT
    """
    first = Stage(name="phase1", recipe=_recipe("deeplab_v3_resnet101"), train=(VOC,), weights=RESNET101)
    second = Stage(
        name="phase2",
        recipe=_recipe(
            "deeplab_v3_resnet101",
            rate=0.001,
            batch_norm="affine",
            model_options={"output_stride": 8},
        ),
        train=(VOC_TRAINVAL,),
        after=("phase1",),
    )
    notes = ("the final score is on pictures that were trained on",)
    name = "deeplab_v3_resnet101_voc_two_phases"
    return _published(name, "§4", None, VOC_VAL, "voc", first, second, notes=notes)


def deeplab_v3_cascade_resnet101_voc() -> PublishedRecipe:
    """The cascade up to block7, multi-grid (1, 2, 1), output stride 16: Table 4; mean IoU 76.66 on VOC 2012 val.

    pixelwise train deeplab_v3_cascade_resnet101_voc --data ROOT
    """
    stage = Stage(name="phase1", recipe=_recipe("deeplab_v3_cascade_resnet101"), train=(VOC,), weights=RESNET101)
    expected = Score(mean_iou=76.66, source="Table 4, output stride 16, VOC 2012 val")
    return _published("deeplab_v3_cascade_resnet101_voc", "Table 4", expected, VOC_VAL, "voc", stage)


def deeplab_v3_resnet101_cityscapes() -> PublishedRecipe:
    """The pyramid on Cityscapes, crops of 769, 90 000 steps; mean IoU 77.23 on val at output stride 16.

    pixelwise train deeplab_v3_resnet101_cityscapes --data ROOT
    """
    recipe = _recipe("deeplab_v3_resnet101", steps=90_000, crop=769)
    stage = Stage(name="phase1", recipe=recipe, train=(CITYSCAPES,), weights=RESNET101)
    expected = Score(mean_iou=77.23, source="Cityscapes val, output stride 16")
    notes = ("that the rate is VOC's is UNVERIFIED",)
    name = "deeplab_v3_resnet101_cityscapes"
    return _published(name, "Cityscapes", expected, CITYSCAPES_VAL, "cityscapes", stage, notes=notes)
