"""DeepLab v1's recipes on VOC 2012 with SBD: 6 000 steps, the rate divided by 10 every 2 000.

Chen, Papandreou, Kokkinos, Murphy, Yuille, ICLR 2015 (arXiv 1412.7062), §4, Table 1 (a); the public release's
`train.prototxt` and `solver.prototxt`. Source: spec, networks 2014–2016 §5.1–5.8.

SGD, momentum 0.9, weight decay 5e-4, rate 1e-3, ten-fold in the classifier, batches of 20 random crops, mirrored or
not. The loss is a mean over the cells of the scores whose pixel counts; no CRF takes part in training.

**Differences** and what is UNVERIFIED, of all:
- the paper gives the rates and the batch; that 6 000 steps are its length is from v2's Table 2.
- fc6 begins with VGG's where its kernel has 7 × 7 taps, and with He's initialization where it has fewer: which taps and
  filters the authors keep is UNVERIFIED.
- pictures smaller than a crop lie anywhere in it; the release pads at right and bottom.
- the scores are of whole pictures at their own sizes; the release pads them to 513 (514).
"""

from typing import Any

from pixelwise.data.augmentation import PAPER_AUGMENTATIONS
from pixelwise.recipes.published import BIASES, Data, PublishedRecipe, Score, Stage, caffe_sgd, classifier, less
from pixelwise.training.recipe import HeadLoss, Rate, Recipe

MEAN = less(104.008, 116.669, 122.675)
VGG16 = ("vgg16_ilsvrc", "vgg16_imagenet")
VOC, VOC_VAL = Data(dataset="voc2012_trainaug", split="train"), Data(dataset="voc2012_trainaug", split="val")
TRAINVAL = Data(dataset="voc2012_trainaug", split="trainval")

GRID = {"logits": HeadLoss(grid="own", stride=8)}
# the first networks' cells lie at pixels 8j − 7, as the release cuts one label off before it takes every eighth
GRID_OF_OLD = {"logits": HeadLoss(grid="own", stride=8, offset=-7)}


def _recipe(model: str, steps: int = 6000, **settings: Any) -> Recipe:
    plain: dict[str, Any] = {
        "batch_size": 20,
        "crop_size": 321,
        "schedule": "step",
        "drop_every": 2000,
        "rates": classifier("fc8_voc12"),
        "heads": GRID,
        "augmentation": PAPER_AUGMENTATIONS["deeplab_v1"],
    }
    return caffe_sgd(model, rate=1e-3, steps=steps, **(plain | settings))


def _old(model: str) -> Recipe:
    return _recipe(model, crop_size=306, rates=classifier("fc8_pascal"), heads=GRID_OF_OLD)


def _published(
    name: str, row: str, mean_iou: float, *stages: Stage, table: str = "Table 1 (a)", notes: tuple[str, ...] = ()
) -> PublishedRecipe:
    return PublishedRecipe(
        name=name,
        paper=f"Chen et al. 2015, {table}, {row}",
        expected=Score(mean_iou=mean_iou, source=f"{table}, {row}, before the CRF, VOC 2012 val"),
        notes=notes,
        normalization=MEAN,
        stages=stages,
        validation=VOC_VAL,
        evaluation=VOC_VAL,
        protocol="voc",
    )


def _alone(recipe: Recipe) -> Stage:
    return Stage(name=recipe.model, recipe=recipe, train=(VOC,), weights=VGG16)


def deeplab_4x4_voc() -> PublishedRecipe:
    """DeepLab, fc6 of 4 × 4 at rate 4: Table 1 (a), DeepLab; mean IoU 59.80 on VOC 2012 val.

    pixelwise train deeplab_4x4_voc --data ROOT
    """
    return _published("deeplab_4x4_voc", "DeepLab", 59.80, _alone(_old("deeplab_4x4")))


def deeplab_4x4_rate8_voc() -> PublishedRecipe:
    """DeepLab-4x4, fc6 of 4 × 4 at rate 8: Table 2; mean IoU 63.41 on VOC 2012 val.

    pixelwise train deeplab_4x4_rate8_voc --data ROOT
    """
    notes = ("the padding of fc6 is UNVERIFIED",)
    old = _alone(_old("deeplab_4x4_rate8"))
    return _published("deeplab_4x4_rate8_voc", "DeepLab-4x4", 63.41, old, table="Table 2", notes=notes)


def deeplab_7x7_voc() -> PublishedRecipe:
    """DeepLab-7x7, fc6 of 7 × 7 at rate 4: Table 1 (a); mean IoU 64.38 on VOC 2012 val.

    pixelwise train deeplab_7x7_voc --data ROOT
    """
    notes = ("the padding of fc6 is UNVERIFIED",)
    return _published("deeplab_7x7_voc", "DeepLab-7x7", 64.38, _alone(_old("deeplab_7x7")), notes=notes)


def deeplab_largefov_voc() -> PublishedRecipe:
    """DeepLab-LargeFOV: Table 1 (a); mean IoU 62.25 on VOC 2012 val.

    pixelwise train deeplab_largefov_voc --data ROOT
    """
    return _published("deeplab_largefov_voc", "DeepLab-LargeFOV", 62.25, _alone(_recipe("deeplab_largefov")))


def deeplab_msc_largefov_voc() -> PublishedRecipe:
    """DeepLab-MSc-LargeFOV, the new branches alone after LargeFOV: Table 1 (a); mean IoU 64.21 on VOC 2012 val.

    pixelwise train deeplab_msc_largefov_voc --data ROOT
    """
    first = _alone(_recipe("deeplab_largefov"))
    rates = (
        *(Rate(parameters=pattern, rate=0) for pattern in ("backbone.*", "fc.*", "fc8_voc12.*")),
        Rate(parameters="*_branch.score.weight", rate=10),
        Rate(parameters="*_branch.score.bias", rate=20, decay=0),
        BIASES,
    )
    recipe = _recipe("deeplab_msc_largefov", rates=rates)
    second = Stage(name=recipe.model, recipe=recipe, train=(VOC,), after=(first.name,))
    notes = ("the rates and the length of the branches' training are UNVERIFIED",)
    return _published("deeplab_msc_largefov_voc", "DeepLab-MSc-LargeFOV", 64.21, first, second, notes=notes)


def deeplab_largefov_voc_release() -> PublishedRecipe:
    """DeepLab-LargeFOV as it was released: batches of 30, then 8 000 steps on trainval; its val score was not read.

    The second stage has seen the pictures that it is evaluated on; the paper's test set has 70.3, with the CRF.

    pixelwise train deeplab_largefov_voc_release --data ROOT
    """
    first = _alone(_recipe("deeplab_largefov", batch_size=30))
    recipe = _recipe("deeplab_largefov", steps=8000, batch_size=30)
    second = Stage(name="trainval", recipe=recipe, train=(TRAINVAL,), after=(first.name,))
    return PublishedRecipe(
        name="deeplab_largefov_voc_release",
        paper="Chen et al. 2015, the public release's solvers",
        expected=None,
        notes=("the final score is on pictures that were trained on",),
        normalization=MEAN,
        stages=(first, second),
        validation=VOC_VAL,
        evaluation=VOC_VAL,
        protocol="voc",
    )
