"""SegNet's recipes on CamVid, and those of Bayesian SegNet.

Badrinarayanan, Kendall, Cipolla, PAMI 2017 (arXiv 1511.00561), §3, Table 1; alexgkendall/SegNet-Tutorial,
`Models/*_solver.prototxt`. Source: spec, networks 2014–2016 §3.4–3.7.

SGD at a fixed rate, momentum 0.9, weight decay 5e-4, four pictures of 480 × 360 a step, shuffled in each pass, not
varied; the loss is divided by the number of counted pixels, whatever they weigh. Statistics of batch norms are
computed anew over one pass of the training pictures before each validation, 94 batches of 4, as the release does once
at the end.

**Differences:**
- while training, caffe-segnet takes the statistics of each batch as PyTorch does, but its variances are biased ones.
- a network is the best on the validation part; how the authors chose the step is UNVERIFIED.
- Table 1's study has batches of 12 "until converged"; here the release's solver counts, 4 a step and 10 000 steps.
"""

from typing import Any

from pixelwise.data.augmentation import PAPER_AUGMENTATIONS
from pixelwise.recipes.published import BIASES, Data, PublishedRecipe, Score, Stage, caffe_sgd, less
from pixelwise.training.recipe import Rate, Recipe

CLASS_WEIGHTS = (0.2595, 0.1826, 4.5640, 0.1417, 0.9051, 0.3826, 9.6446, 1.8418, 0.6823, 6.2478, 7.3614)
"""Median frequency over the class's own, of CamVid's classes in SegNet's order."""

TRAIN, VAL, TEST = (Data(dataset="camvid", split=split) for split in ("train", "val", "test"))
BATCHES_OF_A_PASS = 94  # of 367 pictures, four each, as the release counts them

# the files' multipliers: the shifts of batch norms are no biases of convolutions
NORMS = (Rate(parameters="*_bn.bias", decay=0), Rate(parameters="*_bn.weight"))
NORMS_OF_BASIC = (Rate(parameters="*_bn.*"),)  # no `param` in the file


def _segnet(model: str, rate: float, steps: int, norms: tuple[Rate, ...], **settings: Any) -> Recipe:
    plain: dict[str, Any] = {
        "class_weights": CLASS_WEIGHTS,
        "augmentation": PAPER_AUGMENTATIONS["segnet"],
        "recompute": BATCHES_OF_A_PASS,
    }
    return caffe_sgd(
        model, rate=rate, steps=steps, crop_size=(360, 480), batch_size=4, rates=(*norms, BIASES), **(plain | settings)
    )


def _camvid(
    name: str, paper: str, recipe: Recipe, expected: Score | None, *notes: str, weights: tuple[str, ...] = ()
) -> PublishedRecipe:
    return PublishedRecipe(
        name=name,
        paper=paper,
        expected=expected,
        notes=notes,
        normalization=less(0.0, 0.0, 0.0),
        stages=(Stage(name=recipe.model, recipe=recipe, train=(TRAIN,), weights=weights),),
        validation=VAL,
        evaluation=TEST,
        protocol="camvid_segnet",
        choose="best",
    )


_PAPER = "Badrinarayanan et al. 2017"
_BAYESIAN = "Kendall et al. 2015"
_UNREAD = "the paper's figures for the 367 training pictures were not read: UNVERIFIED"
_VGG16 = ("vgg16_ilsvrc", "vgg16_imagenet")


def segnet_basic_camvid() -> PublishedRecipe:
    """SegNet-Basic, median-frequency weights: Table 1; global 82.7, class average 62.0, mean IoU 47.7 on the test part.

    pixelwise train segnet_basic_camvid --data ROOT
    """
    expected = Score(
        pixel_accuracy=82.7, mean_accuracy=62.0, mean_iou=47.7, source="Table 1, SegNet-Basic, median frequency"
    )
    recipe = _segnet("segnet_basic", 0.1, 10_000, NORMS_OF_BASIC)
    return _camvid("segnet_basic_camvid", f"{_PAPER}, Table 1", recipe, expected)


def segnet_basic_camvid_natural() -> PublishedRecipe:
    """SegNet-Basic without class weights: Table 1, natural frequency; mean IoU 46.3 on the test part.

    pixelwise train segnet_basic_camvid_natural --data ROOT
    """
    expected = Score(
        pixel_accuracy=84.0, mean_accuracy=54.6, mean_iou=46.3, source="Table 1, SegNet-Basic, natural frequency"
    )
    recipe = _segnet("segnet_basic", 0.1, 10_000, NORMS_OF_BASIC, class_weights=None)
    return _camvid("segnet_basic_camvid_natural", f"{_PAPER}, Table 1", recipe, expected)


def segnet_camvid() -> PublishedRecipe:
    """SegNet, encoder from VGG-16: `segnet_solver.prototxt`; its score with 367 pictures was not read: UNVERIFIED.

    pixelwise train segnet_camvid --data ROOT
    """
    recipe = _segnet("segnet", 1e-3, 40_000, NORMS)
    note = "the paper's row (mean IoU 60.1 after 140 000 steps) has 3 433 training pictures of several sets"
    return _camvid("segnet_camvid", f"{_PAPER}, the release's solver", recipe, None, _UNREAD, note, weights=_VGG16)


def bayesian_segnet_camvid() -> PublishedRecipe:
    """Bayesian SegNet: `bayesian_segnet_solver.prototxt`; its score was not read: UNVERIFIED.

    pixelwise train bayesian_segnet_camvid --data ROOT
    """
    recipe = _segnet("bayesian_segnet", 1e-3, 60_000, NORMS)
    paper = f"{_BAYESIAN}, the release's solver"
    return _camvid("bayesian_segnet_camvid", paper, recipe, None, _UNREAD, weights=_VGG16)


def bayesian_segnet_basic_camvid() -> PublishedRecipe:
    """Bayesian SegNet-Basic: its release's solver; its score was not read: UNVERIFIED.

    pixelwise train bayesian_segnet_basic_camvid --data ROOT
    """
    recipe = _segnet("bayesian_segnet", 0.1, 10_000, NORMS_OF_BASIC, model_options={"release": "basic"})
    return _camvid("bayesian_segnet_basic_camvid", f"{_BAYESIAN}, the release's solver", recipe, None, _UNREAD)
