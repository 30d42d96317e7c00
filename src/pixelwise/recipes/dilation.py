"""Dilation's recipes: the front end first, the context module on its scores, and both together.

Yu, Koltun, ICLR 2016 (arXiv 1511.07122), §4–5, appendix A; fyu/dilation, `docs/training.md`, `train.py`. Source: spec,
networks 2014–2016 §4.4–4.5.

SGD, weight decay 5e-4, biases twice the rate without decay, random crop and mirror, a mean over the counted pixels. A
cell of the scores is judged by pixel 8i of the crop.

**Differences** and what is UNVERIFIED, of all:
- the papers' crops are cut from the mirrored picture, 186 pixels of border included; here a crop is mirrored by the
  network itself. So a crop has 372 pixels less than the paper's, and as many cells; what lies around it is its own
  mirror image, where the paper's crops see the picture.
- the context module is trained on stored scores of the front end; here these are computed anew, with the front end
  fixed (rate 0).
- the solver's template divides the rate by 10 every 100 000 steps, which only VOC's longest run reaches.
- KITTI is no data set here, so its recipe is left out.
"""

from typing import Any

from pixelwise.data.augmentation import PAPER_AUGMENTATIONS
from pixelwise.recipes.published import BIASES, Data, Levels, PublishedRecipe, Score, Stage, caffe_sgd, less
from pixelwise.training.recipe import HeadLoss, Rate, Recipe

GRID = {"logits": HeadLoss(grid="own", stride=8)}
FIXED_FRONT_END = (Rate(parameters="frontend.*", rate=0), BIASES)
BORDER = 372  # what the front end takes away

VGG16 = ("vgg16_ilsvrc", "vgg16_imagenet")
VOC_MEAN = less(102.93, 111.36, 116.52)
CITYSCAPES_MEAN = less(72.39, 82.91, 73.16)
CAMVID_MEAN = less(110.70313206, 108.77808759, 105.41212523)

VOC, VOC_VAL = Data(dataset="voc2012_trainaug", split="train"), Data(dataset="voc2012_trainaug", split="val")
COCO = Data(dataset="coco,classes=voc", split="train")
CITYSCAPES, CITYSCAPES_VAL = Data(dataset="cityscapes", split="train"), Data(dataset="cityscapes", split="val")
CAMVID, CAMVID_VAL, CAMVID_TEST = (Data(dataset="camvid", split=split) for split in ("train", "val", "test"))


def _recipe(model: str, rate: float, steps: int, padded: int | None, batch_size: int, **settings: Any) -> Recipe:
    plain: dict[str, Any] = {"heads": GRID, "augmentation": PAPER_AUGMENTATIONS["dilation"]}
    crop = None if padded is None else padded - BORDER
    size, accumulate = (1, batch_size) if crop is None else (batch_size, 1)
    return caffe_sgd(
        model, rate=rate, steps=steps, crop_size=crop, batch_size=size, accumulate=accumulate, **(plain | settings)
    )


def _published(
    name: str,
    place: str,
    expected: Score | None,
    mean: Levels,
    stages: tuple[Stage, ...],
    validation: Data,
    evaluation: Data,
    protocol: str,
    *notes: str,
) -> PublishedRecipe:
    return PublishedRecipe(
        name=name,
        paper=f"Yu, Koltun 2016, {place}",
        expected=expected,
        notes=notes,
        normalization=mean,
        stages=stages,
        validation=validation,
        evaluation=evaluation,
        protocol=protocol,
    )


def _joined(first: Stage, *recipes: tuple[str, Recipe]) -> tuple[Stage, ...]:
    made = [first]
    for name, recipe in recipes:
        made.append(Stage(name=name, recipe=recipe, train=(first.train[-1],), after=(made[-1].name,)))
    return tuple(made)


_TRAINAUG = "that VOC with SBD means the 10 582 pictures of trainaug is UNVERIFIED"
_SMALLER = "the paper's pictures have 640 × 480 pixels, SegNet's packaging has 480 × 360"
_NO_LENGTH = "the length of the context module's training on VOC was not read: 60 000 steps are UNVERIFIED"


def dilation_frontend_voc() -> PublishedRecipe:
    """The front end on VOC 2012 and SBD: §4; mean IoU 67.6 on the test set of VOC 2012.

    The paper's rate is 1e-3, that of the repository's page 1e-4.

    pixelwise train dilation_frontend_voc --data ROOT
    """
    stage = Stage(
        name="frontend", recipe=_recipe("dilation_frontend", 1e-3, 60_000, 500, 14), train=(VOC,), weights=VGG16
    )
    expected = Score(mean_iou=67.6, source="Table 2, test set of VOC 2012; that of the validation part was not read")
    return _published("dilation_frontend_voc", "§4", expected, VOC_MEAN, (stage,), VOC_VAL, VOC_VAL, "voc", _TRAINAUG)


def dilation8_voc() -> PublishedRecipe:
    """Front end, large context, and both together on VOC 2012 and SBD; the score without COCO was not read: UNVERIFIED.

    pixelwise train dilation8_voc --data ROOT
    """
    stages = _joined(
        Stage(name="frontend", recipe=_recipe("dilation_frontend", 1e-3, 60_000, 500, 14), train=(VOC,), weights=VGG16),
        ("context", _recipe("dilation8", 1e-3, 60_000, 900, 60, rates=FIXED_FRONT_END)),
        ("joint", _recipe("dilation8", 1e-5, 60_000, 500, 14)),
    )
    notes = (_TRAINAUG, _NO_LENGTH, "the same holds for that of both together, which brought no gain")
    return _published("dilation8_voc", "§4", None, VOC_MEAN, stages, VOC_VAL, VOC_VAL, "voc", *notes)


def dilation8_voc_coco() -> PublishedRecipe:
    """Front end on VOC, SBD and COCO, then on VOC, and the large context: §5; mean IoU 72.1 on VOC 2012 val.

    pixelwise train dilation8_voc_coco --data ROOT
    """
    both = (VOC, COCO)
    front = "dilation_frontend"
    stages = (
        Stage(name="coco", recipe=_recipe(front, 1e-3, 100_000, 500, 14), train=both, weights=VGG16),
        Stage(name="coco_slow", recipe=_recipe(front, 1e-4, 40_000, 500, 14), train=both, after=("coco",)),
        Stage(name="frontend", recipe=_recipe(front, 1e-5, 50_000, 500, 14), train=(VOC,), after=("coco_slow",)),
        Stage(
            name="context",
            recipe=_recipe("dilation8", 1e-3, 60_000, 900, 60, rates=FIXED_FRONT_END),
            train=(VOC,),
            after=("frontend",),
        ),
    )
    expected = Score(mean_iou=72.1, source="Table 3, front end and large context, VOC 2012 val; 69.8 without context")
    notes = (_TRAINAUG, _NO_LENGTH, "the crop of the front end's training with COCO was not read: UNVERIFIED")
    return _published("dilation8_voc_coco", "§5", expected, VOC_MEAN, stages, VOC_VAL, VOC_VAL, "voc", *notes)


def _urban(steps: int, data: Data, batch_size: int = 8) -> Stage:
    recipe = _recipe("dilation_frontend", 1e-4, steps, 628, batch_size, momentum=0.99)
    return Stage(name="frontend", recipe=recipe, train=(data,), weights=VGG16)


def dilation_frontend_camvid() -> PublishedRecipe:
    """The front end on CamVid: appendix A; its score was not read: UNVERIFIED.

    pixelwise train dilation_frontend_camvid --data ROOT
    """
    return _published(
        "dilation_frontend_camvid",
        "appendix A",
        None,
        CAMVID_MEAN,
        (_urban(20_000, CAMVID),),
        CAMVID_VAL,
        CAMVID_TEST,
        "camvid_segnet",
        _SMALLER,
    )


def dilation8_camvid() -> PublishedRecipe:
    """Front end, then front end and basic context together: appendix A.1; mean IoU 65.3 on CamVid's test part.

    pixelwise train dilation8_camvid --data ROOT
    """
    basic = {"context": "basic"}
    stages = _joined(
        _urban(20_000, CAMVID), ("joint", _recipe("dilation8", 1e-5, 20_000, None, 1, model_options=basic))
    )
    expected = Score(mean_iou=65.3, source="appendix A.1, CamVid test")
    notes = (_SMALLER, "the length of the joint training was not read: 20 000 steps are UNVERIFIED")
    return _published(
        "dilation8_camvid",
        "appendix A.1",
        expected,
        CAMVID_MEAN,
        stages,
        CAMVID_VAL,
        CAMVID_TEST,
        "camvid_segnet",
        *notes,
    )


def dilation10_cityscapes() -> PublishedRecipe:
    """Front end, context on whole pictures, and both together: appendix A.3; mean IoU 68.7 on Cityscapes val.

    pixelwise train dilation10_cityscapes --data ROOT
    """
    stages = _joined(
        _urban(40_000, CITYSCAPES),
        (
            "context",
            _recipe("dilation10", 1e-4, 24_000, None, 100, momentum=0.99, rates=FIXED_FRONT_END),
        ),
        ("joint", _recipe("dilation10", 1e-5, 60_000, 1396, 1, momentum=0.99)),
    )
    expected = Score(mean_iou=68.7, source="appendix A.3, Cityscapes val; 67.1 on its test set")
    return _published(
        "dilation10_cityscapes",
        "appendix A.3",
        expected,
        CITYSCAPES_MEAN,
        stages,
        CITYSCAPES_VAL,
        CITYSCAPES_VAL,
        "cityscapes",
    )
