"""GCN's recipes: one picture a step with momentum 0.99, on ever cleaner data.

Peng, Zhang, Yu, Luo, Sun, CVPR 2017 (arXiv 1703.02719), §4. Source: spec, networks 2015–2017 §1.4.2–1.4.3, from notes
on the paper; there is no code of the authors.

SGD, batch 1, momentum 0.99, weight decay 5e-4, pictures less their mean, mirrored or not.

**Differences** and what is UNVERIFIED, of all:
- the rate and the number of steps were not read: a sum over pixels at the fixed rate 1e-10, as FCN's heavy learning,
  and 100 000 steps a stage. All of it is UNVERIFIED.
- whether batch norms are trained with one picture a step is UNVERIFIED; here they are frozen.
"""

from pixelwise.data.augmentation import PAPER_AUGMENTATIONS
from pixelwise.recipes.published import Data, PublishedRecipe, Score, Stage, caffe_sgd, less
from pixelwise.training.recipe import Recipe

MEAN = less(104.0, 116.7, 122.7)
RESNET152 = ("resnet152_msra",)
UNREAD = "rate, schedule, loss and length were not read: UNVERIFIED"


def _recipe(crop: int, kernel: int) -> Recipe:
    return caffe_sgd(
        "gcn_resnet152",
        rate=1e-10,
        steps=100_000,
        crop_size=crop,
        momentum=0.99,
        loss_normalization="sum",
        model_options={"kernel": kernel},
        augmentation=PAPER_AUGMENTATIONS["deeplab_v1"],
        batch_norm="frozen",
    )


def gcn_resnet152_voc() -> PublishedRecipe:
    """Kernel 15, boundary refinement, three stages: COCO, SBD and VOC, SBD and VOC, VOC; mean IoU 80.3 on VOC 2012 val.

    pixelwise train gcn_resnet152_voc --data ROOT
    """
    voc, both = Data(dataset="voc2012", split="train"), Data(dataset="voc2012_trainaug", split="train")
    coco, val = Data(dataset="coco,classes=voc", split="train"), Data(dataset="voc2012", split="val")
    stages = (
        Stage(name="coco", recipe=_recipe(640, 15), train=(coco, both), weights=RESNET152),
        Stage(name="sbd", recipe=_recipe(512, 15), train=(both,), after=("coco",)),
        Stage(name="voc", recipe=_recipe(512, 15), train=(voc,), after=("sbd",)),
    )
    return PublishedRecipe(
        name="gcn_resnet152_voc",
        paper="Peng et al. 2017, stage 3, GCN and BR",
        expected=Score(mean_iou=80.3, source="stage 3, GCN and BR, one scale, VOC 2012 val"),
        notes=(UNREAD, "the first stage has 109 892 pictures in the paper"),
        normalization=MEAN,
        stages=stages,
        validation=val,
        evaluation=val,
        protocol="voc",
    )


def gcn_resnet152_cityscapes() -> PublishedRecipe:
    """Kernel 25, coarse masks first, then fine; mean IoU 76.9 on Cityscapes val.

    pixelwise train gcn_resnet152_cityscapes --data ROOT
    """
    fine, val = Data(dataset="cityscapes", split="train"), Data(dataset="cityscapes", split="val")
    coarse = Data(dataset="cityscapes,masks=coarse", split="train_extra")
    stages = (
        Stage(name="coarse", recipe=_recipe(800, 25), train=(coarse, fine), weights=RESNET152),
        Stage(name="fine", recipe=_recipe(800, 25), train=(fine,), after=("coarse",)),
    )
    return PublishedRecipe(
        name="gcn_resnet152_cityscapes",
        paper="Peng et al. 2017, Cityscapes",
        expected=Score(mean_iou=76.9, source="Cityscapes val"),
        notes=(UNREAD,),
        normalization=MEAN,
        stages=stages,
        validation=val,
        evaluation=val,
        protocol="cityscapes",
        views="gcn_cityscapes",
    )
