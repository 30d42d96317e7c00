"""U-Net's recipe, for a folder of microscope pictures: one large tile a step, borders between cells weighted.

Ronneberger, Fischer, Brox, MICCAI 2015 (arXiv 1505.04597), §3. Source: spec, networks 2015–2017 §1.1.3.

**Differences** and what is UNVERIFIED:
- the paper's learning rate was not read: 0.001 for a mean over the pixels' weights, for 20 000 steps, is UNVERIFIED.
- how far pictures turn and how gray values vary is UNVERIFIED, see `PAPER_AUGMENTATIONS`; so is the form of dropout,
  which is the release's.
- objects that touch are cut apart by morphology in the paper; here masks of one class must have a gap between them.
- the weights do not balance classes: w_c is 1, where the paper has it from the classes' frequencies.
- the paper's scores are of challenges with their own measures: warping error 0.000353 on ISBI's EM stack, IoU 0.9203 on
  PhC-U373 and 0.7756 on DIC-HeLa; mean IoU as counted here is none of them.
"""

from pixelwise.data.augmentation import PAPER_AUGMENTATIONS
from pixelwise.recipes.published import Data, Levels, PublishedRecipe, Stage, caffe_sgd


def unet_valid_folder() -> PublishedRecipe:
    """U-Net as printed on your folder of gray pictures with train and val: §3; its challenges' scores are no mean IoU.

    pixelwise train unet_valid_folder --data ROOT
    """
    recipe = caffe_sgd(
        "unet_valid",
        rate=1e-3,
        steps=20_000,
        crop_size=388,
        rates=(),
        momentum=0.99,
        weight_decay=0.0,
        loss_normalization="weights",
        model_options={"released": True},
        augmentation=PAPER_AUGMENTATIONS["unet"],
    )
    stage = Stage(name="unet_valid", recipe=recipe, train=(Data(dataset="folder", split="train"),), border_weights=True)
    val = Data(dataset="folder", split="val")
    return PublishedRecipe(
        name="unet_valid_folder",
        paper="Ronneberger et al. 2015, §3",
        notes=("rate, length and weight decay were not read: UNVERIFIED",),
        normalization=Levels(mean=(128.0,), deviation=(64.0,), channel_order="rgb", per_picture=True),
        stages=(stage,),
        validation=val,
        evaluation=val,
        protocol="fcn",
        choose="best",
    )
