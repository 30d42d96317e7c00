"""CRF-RNN's recipe: FCN-8s first, then FCN-8s and the mean field together.

Zheng et al., ICCV 2015 (arXiv 1502.03240), §6–7; torrvision/caffe, the solver of its example. Source: spec, networks
2014–2016 §7.2, §7.4.

One picture a step, a sum over its pixels, momentum 0.99, weight decay 5e-4, the fixed rate 1e-13; the filters' weights
learn 10 000 times as fast, the compatibility 1 000 times.

**Differences** and what is UNVERIFIED:
- FCN-8s is trained by FCN's heavy learning on the same pictures; how the authors train it is UNVERIFIED.
- the length of the last stage was not read: 100 000 steps are UNVERIFIED.
- that the 11 685 pictures are trainaug and val of VOC 2012 without the 346 of the reduced validation set follows from
  their number.
- pictures have their own size, where the release fills them up to 500 × 500.
"""

from pixelwise.recipes.fcn import fcn8s_stages, heavy
from pixelwise.recipes.published import BIASES, Data, PublishedRecipe, Score, Stage, less
from pixelwise.training.recipe import Rate

TRAIN = Data(dataset="voc2012_trainaug", split="trainval", without=("voc2012", "seg12valid"))
REDUCED = Data(dataset="voc2012", split="seg12valid")
MEAN = less(103.939, 116.779, 123.68)


def crfrnn_fcn8s_voc() -> PublishedRecipe:
    """CRF-RNN after FCN-8s, end to end, 5 steps of mean field: §7; mean IoU 69.6 on VOC 2012's reduced validation set.

    pixelwise train crfrnn_fcn8s_voc --data ROOT
    """
    rates = (
        Rate(parameters="mean_field.spatial", rate=1e4),
        Rate(parameters="mean_field.bilateral", rate=1e4),
        Rate(parameters="mean_field.compatibility", rate=1e3),
        BIASES,
    )
    last = Stage(
        name="crfrnn_fcn8s",
        recipe=heavy("crfrnn_fcn8s", 1e-13, rates=rates),
        train=(TRAIN,),
        after=("fcn8s_vgg16",),
    )
    return PublishedRecipe(
        name="crfrnn_fcn8s_voc",
        paper="Zheng et al. 2015, §7, without COCO",
        expected=Score(mean_iou=69.6, source="reduced VOC 2012 val (346), end to end, without COCO"),
        notes=("how FCN-8s is trained first, and the length of the last stage, are UNVERIFIED",),
        normalization=MEAN,
        stages=(*fcn8s_stages(TRAIN), last),
        validation=REDUCED,
        evaluation=REDUCED,
        protocol="fcn",
    )
