"""The papers' trainings, as records: one file a paper, one function a recipe, one line each in `RECIPES`.

Each function's docstring names the paper's table, the score that it has, and the command. Facts are those of the
specification; what it does not have is marked UNVERIFIED. Nothing here imports torch.
"""

from collections.abc import Callable

from pixelwise.errors import unknown_name
from pixelwise.recipes import (
    crfrnn,
    deeplab_v1,
    deeplab_v2,
    deeplab_v3,
    dilation,
    fcn,
    gcn,
    pspnet,
    refinenet,
    segnet,
    unet,
)
from pixelwise.recipes.published import PublishedRecipe as PublishedRecipe

RECIPES: dict[str, Callable[[], PublishedRecipe]] = {
    # FCN, 2015
    "fcn32s_alexnet_voc2011": fcn.fcn32s_alexnet_voc2011,
    "fcn32s_vgg16_voc2011": fcn.fcn32s_vgg16_voc2011,
    "fcn32s_googlenet_voc2011": fcn.fcn32s_googlenet_voc2011,
    "fcn32s_fixed_vgg16_voc": fcn.fcn32s_fixed_vgg16_voc,
    "fcn32s_vgg16_voc": fcn.fcn32s_vgg16_voc,
    "fcn16s_vgg16_voc": fcn.fcn16s_vgg16_voc,
    "fcn8s_vgg16_voc": fcn.fcn8s_vgg16_voc,
    "fcn32s_vgg16_nyud": fcn.fcn32s_vgg16_nyud,
    "fcn32s_vgg16_nyud_hha": fcn.fcn32s_vgg16_nyud_hha,
    "fcn32s_rgbd_nyud": fcn.fcn32s_rgbd_nyud,
    "fcn32s_rgb_hha_nyud": fcn.fcn32s_rgb_hha_nyud,
    "fcn16s_rgb_hha_nyud": fcn.fcn16s_rgb_hha_nyud,
    "fcn16s_two_headed_sift_flow": fcn.fcn16s_two_headed_sift_flow,
    "fcn32s_vgg16_context": fcn.fcn32s_vgg16_context,
    "fcn16s_vgg16_context": fcn.fcn16s_vgg16_context,
    "fcn8s_vgg16_context": fcn.fcn8s_vgg16_context,
    "fcn32s_alexnet_voc_heavy": fcn.fcn32s_alexnet_voc_heavy,
    "fcn32s_vgg16_voc_heavy": fcn.fcn32s_vgg16_voc_heavy,
    "fcn16s_vgg16_voc_heavy": fcn.fcn16s_vgg16_voc_heavy,
    "fcn8s_vgg16_voc_heavy": fcn.fcn8s_vgg16_voc_heavy,
    "fcn8s_atonce_vgg16_voc_heavy": fcn.fcn8s_atonce_vgg16_voc_heavy,
    "fcn32s_vgg16_nyud_heavy": fcn.fcn32s_vgg16_nyud_heavy,
    "fcn32s_vgg16_nyud_hha_heavy": fcn.fcn32s_vgg16_nyud_hha_heavy,
    "fcn32s_rgbd_nyud_heavy": fcn.fcn32s_rgbd_nyud_heavy,
    "fcn32s_rgb_hha_nyud_heavy": fcn.fcn32s_rgb_hha_nyud_heavy,
    "fcn32s_two_headed_sift_flow_heavy": fcn.fcn32s_two_headed_sift_flow_heavy,
    "fcn16s_two_headed_sift_flow_heavy": fcn.fcn16s_two_headed_sift_flow_heavy,
    "fcn8s_two_headed_sift_flow_heavy": fcn.fcn8s_two_headed_sift_flow_heavy,
    "fcn32s_vgg16_context_heavy": fcn.fcn32s_vgg16_context_heavy,
    "fcn16s_vgg16_context_heavy": fcn.fcn16s_vgg16_context_heavy,
    "fcn8s_vgg16_context_heavy": fcn.fcn8s_vgg16_context_heavy,
    # U-Net, 2015
    "unet_valid_folder": unet.unet_valid_folder,
    # SegNet, 2015
    "segnet_basic_camvid": segnet.segnet_basic_camvid,
    "segnet_basic_camvid_natural": segnet.segnet_basic_camvid_natural,
    "segnet_camvid": segnet.segnet_camvid,
    "bayesian_segnet_basic_camvid": segnet.bayesian_segnet_basic_camvid,
    "bayesian_segnet_camvid": segnet.bayesian_segnet_camvid,
    # DeepLab v1, 2015
    "deeplab_4x4_voc": deeplab_v1.deeplab_4x4_voc,
    "deeplab_4x4_rate8_voc": deeplab_v1.deeplab_4x4_rate8_voc,
    "deeplab_7x7_voc": deeplab_v1.deeplab_7x7_voc,
    "deeplab_largefov_voc": deeplab_v1.deeplab_largefov_voc,
    "deeplab_largefov_voc_release": deeplab_v1.deeplab_largefov_voc_release,
    "deeplab_msc_largefov_voc": deeplab_v1.deeplab_msc_largefov_voc,
    # CRF-RNN, 2015
    "crfrnn_fcn8s_voc": crfrnn.crfrnn_fcn8s_voc,
    # Dilation, 2016
    "dilation_frontend_voc": dilation.dilation_frontend_voc,
    "dilation8_voc": dilation.dilation8_voc,
    "dilation8_voc_coco": dilation.dilation8_voc_coco,
    "dilation_frontend_camvid": dilation.dilation_frontend_camvid,
    "dilation8_camvid": dilation.dilation8_camvid,
    "dilation10_cityscapes": dilation.dilation10_cityscapes,
    # DeepLab v2, 2016
    "deeplab_v2_vgg16_largefov_voc_step_30_6k": deeplab_v2.deeplab_v2_vgg16_largefov_voc_step_30_6k,
    "deeplab_v2_vgg16_largefov_voc_poly_30_6k": deeplab_v2.deeplab_v2_vgg16_largefov_voc_poly_30_6k,
    "deeplab_v2_vgg16_largefov_voc_poly_30_10k": deeplab_v2.deeplab_v2_vgg16_largefov_voc_poly_30_10k,
    "deeplab_v2_vgg16_largefov_voc_poly_10_10k": deeplab_v2.deeplab_v2_vgg16_largefov_voc_poly_10_10k,
    "deeplab_v2_vgg16_largefov_voc_poly_10_20k": deeplab_v2.deeplab_v2_vgg16_largefov_voc_poly_10_20k,
    "deeplab_v2_vgg16_aspp_s_voc": deeplab_v2.deeplab_v2_vgg16_aspp_s_voc,
    "deeplab_v2_vgg16_aspp_l_voc": deeplab_v2.deeplab_v2_vgg16_aspp_l_voc,
    "deeplab_v2_resnet101_largefov_voc": deeplab_v2.deeplab_v2_resnet101_largefov_voc,
    "deeplab_v2_resnet101_aspp_voc": deeplab_v2.deeplab_v2_resnet101_aspp_voc,
    "deeplab_v2_resnet101_aspp_voc_without_coco": deeplab_v2.deeplab_v2_resnet101_aspp_voc_without_coco,
    "deeplab_v2_vgg16_largefov_context": deeplab_v2.deeplab_v2_vgg16_largefov_context,
    "deeplab_v2_resnet101_largefov_context": deeplab_v2.deeplab_v2_resnet101_largefov_context,
    "deeplab_v2_resnet101_aspp_context": deeplab_v2.deeplab_v2_resnet101_aspp_context,
    "deeplab_v2_resnet101_largefov_person_part": deeplab_v2.deeplab_v2_resnet101_largefov_person_part,
    "deeplab_v2_resnet101_aspp_person_part": deeplab_v2.deeplab_v2_resnet101_aspp_person_part,
    "deeplab_v2_vgg16_largefov_cityscapes_half": deeplab_v2.deeplab_v2_vgg16_largefov_cityscapes_half,
    "deeplab_v2_vgg16_largefov_cityscapes": deeplab_v2.deeplab_v2_vgg16_largefov_cityscapes,
    "deeplab_v2_resnet101_largefov_cityscapes": deeplab_v2.deeplab_v2_resnet101_largefov_cityscapes,
    "deeplab_v2_resnet101_aspp_cityscapes": deeplab_v2.deeplab_v2_resnet101_aspp_cityscapes,
    "deeplab_v2_resnet101_aspp_cityscapes_varied": deeplab_v2.deeplab_v2_resnet101_aspp_cityscapes_varied,
    # RefineNet, PSPNet, GCN, DeepLab v3, 2017
    "refinenet_resnet50_voc": refinenet.refinenet_resnet50_voc,
    "refinenet_resnet152_nyud": refinenet.refinenet_resnet152_nyud,
    "refinenet_resnet101_cityscapes": refinenet.refinenet_resnet101_cityscapes,
    "refinenet_resnet101_context": refinenet.refinenet_resnet101_context,
    "pspnet_resnet50_ade20k": pspnet.pspnet_resnet50_ade20k,
    "pspnet_resnet101_ade20k": pspnet.pspnet_resnet101_ade20k,
    "pspnet_resnet101_voc": pspnet.pspnet_resnet101_voc,
    "pspnet_resnet101_cityscapes": pspnet.pspnet_resnet101_cityscapes,
    "gcn_resnet152_voc": gcn.gcn_resnet152_voc,
    "gcn_resnet152_cityscapes": gcn.gcn_resnet152_cityscapes,
    "deeplab_v3_resnet101_voc": deeplab_v3.deeplab_v3_resnet101_voc,
    "deeplab_v3_resnet101_voc_two_phases": deeplab_v3.deeplab_v3_resnet101_voc_two_phases,
    "deeplab_v3_cascade_resnet101_voc": deeplab_v3.deeplab_v3_cascade_resnet101_voc,
    "deeplab_v3_resnet101_cityscapes": deeplab_v3.deeplab_v3_resnet101_cityscapes,
}
"""{name that `pixelwise train` takes: its function}"""


def list_recipes() -> list[str]:
    """The names that `pixelwise train` takes, by paper, oldest first."""
    return list(RECIPES)


def published_recipe(name: str) -> PublishedRecipe:
    """A paper's recipe by name.

    Raises:
        UnknownName: there is none; names the nearest.
    """
    if name not in RECIPES:
        raise unknown_name("recipe", name, RECIPES)
    return RECIPES[name]()
