"""The networks: one file a paper, one line each in `MODELS`.

Every network is a `torch.nn.Module` with
- `heads(images)`, a dict of `Head`, the prediction first;
- `forward(images)`, (N, C, H, W) → (N, K, H, W) float32, for every H and W from 1 up, every N, and both modes.
"""

import difflib
import inspect
from collections.abc import Callable
from typing import Any

from pixelwise.caffe.network import CaffeNetwork, caffe_network_of
from pixelwise.errors import BadOption, unknown_name
from pixelwise.models.bayesian_segnet import bayesian_segnet
from pixelwise.models.convolutional_classifier import ConvolutionalClassifier, convolutional_classifier
from pixelwise.models.crfrnn import CRFRNN, crfrnn_fcn8s
from pixelwise.models.deeplab_v1 import (
    DeepLab,
    LargeFOV,
    MScLargeFOV,
    deeplab_4x4,
    deeplab_4x4_rate8,
    deeplab_7x7,
    deeplab_largefov,
    deeplab_msc_largefov,
)
from pixelwise.models.deeplab_v2 import (
    DeepLabV2,
    deeplab_v2_resnet101_aspp,
    deeplab_v2_resnet101_largefov,
    deeplab_v2_vgg16_aspp_l,
    deeplab_v2_vgg16_aspp_s,
    deeplab_v2_vgg16_largefov,
)
from pixelwise.models.deeplab_v3 import (
    DeepLabV3,
    DeepLabV3Cascade,
    deeplab_v3_cascade_resnet50,
    deeplab_v3_cascade_resnet101,
    deeplab_v3_resnet50,
    deeplab_v3_resnet101,
)
from pixelwise.models.dilation import Dilation, dilation7, dilation8, dilation10, dilation_frontend
from pixelwise.models.fcn import (
    FCN8s,
    FCN16s,
    FCN32s,
    Pool4Alone,
    fcn8s_atonce_vgg16,
    fcn8s_vgg16,
    fcn16s_vgg16,
    fcn32s_alexnet,
    fcn32s_googlenet,
    fcn32s_vgg16,
)
from pixelwise.models.fcn_nyud import FCN16sTowers, FCN32sTowers, fcn16s_rgb_hha, fcn32s_rgb_hha, fcn32s_rgbd
from pixelwise.models.fcn_sift_flow import (
    FCN8sTwoHeaded,
    FCN16sTwoHeaded,
    FCN32sTwoHeaded,
    fcn8s_two_headed,
    fcn16s_two_headed,
    fcn32s_two_headed,
)
from pixelwise.models.gcn import GCN, gcn_resnet50, gcn_resnet101, gcn_resnet152
from pixelwise.models.pspnet import PSPNet, pspnet_resnet50, pspnet_resnet101
from pixelwise.models.refinenet import RefineNet, refinenet_resnet50, refinenet_resnet101, refinenet_resnet152
from pixelwise.models.segnet import SegNet, segnet, segnet_basic
from pixelwise.models.torchvision import (
    TorchvisionSegmentation,
    torchvision_deeplab_v3_resnet50,
    torchvision_deeplab_v3_resnet101,
    torchvision_fcn_resnet50,
    torchvision_fcn_resnet101,
)
from pixelwise.models.unet import UNet, UNetValid, unet, unet_valid

# for annotations; there is no base class
Network = (
    (FCN32s | FCN16s | FCN8s | Pool4Alone)
    | (FCN32sTowers | FCN16sTowers | FCN32sTwoHeaded | FCN16sTwoHeaded | FCN8sTwoHeaded)
    | (UNet | UNetValid | SegNet)
    | (Dilation | RefineNet | PSPNet | GCN)
    | (DeepLab | LargeFOV | MScLargeFOV | CRFRNN)
    | (DeepLabV2 | DeepLabV3 | DeepLabV3Cascade | TorchvisionSegmentation)
    | (ConvolutionalClassifier | CaffeNetwork)
)

MODELS: dict[str, Callable[..., Network]] = {
    # 2015
    "fcn32s_alexnet": fcn32s_alexnet,
    "fcn32s_googlenet": fcn32s_googlenet,
    "fcn32s_vgg16": fcn32s_vgg16,
    "fcn16s_vgg16": fcn16s_vgg16,
    "fcn8s_vgg16": fcn8s_vgg16,
    "fcn8s_atonce_vgg16": fcn8s_atonce_vgg16,
    "fcn32s_rgbd": fcn32s_rgbd,
    "fcn32s_rgb_hha": fcn32s_rgb_hha,
    "fcn16s_rgb_hha": fcn16s_rgb_hha,
    "fcn32s_two_headed": fcn32s_two_headed,
    "fcn16s_two_headed": fcn16s_two_headed,
    "fcn8s_two_headed": fcn8s_two_headed,
    "unet_valid": unet_valid,
    "unet": unet,
    "segnet": segnet,
    "segnet_basic": segnet_basic,
    "bayesian_segnet": bayesian_segnet,
    "deeplab_7x7": deeplab_7x7,
    "deeplab_4x4": deeplab_4x4,
    "deeplab_4x4_rate8": deeplab_4x4_rate8,
    "deeplab_largefov": deeplab_largefov,
    "deeplab_msc_largefov": deeplab_msc_largefov,
    "crfrnn_fcn8s": crfrnn_fcn8s,
    # 2016
    "dilation_frontend": dilation_frontend,
    "dilation7": dilation7,
    "dilation8": dilation8,
    "dilation10": dilation10,
    "deeplab_v2_vgg16_largefov": deeplab_v2_vgg16_largefov,
    "deeplab_v2_vgg16_aspp_s": deeplab_v2_vgg16_aspp_s,
    "deeplab_v2_vgg16_aspp_l": deeplab_v2_vgg16_aspp_l,
    "deeplab_v2_resnet101_largefov": deeplab_v2_resnet101_largefov,
    "deeplab_v2_resnet101_aspp": deeplab_v2_resnet101_aspp,
    # 2017
    "deeplab_v3_resnet50": deeplab_v3_resnet50,
    "deeplab_v3_resnet101": deeplab_v3_resnet101,
    "deeplab_v3_cascade_resnet50": deeplab_v3_cascade_resnet50,
    "deeplab_v3_cascade_resnet101": deeplab_v3_cascade_resnet101,
    "refinenet_resnet50": refinenet_resnet50,
    "refinenet_resnet101": refinenet_resnet101,
    "refinenet_resnet152": refinenet_resnet152,
    "pspnet_resnet50": pspnet_resnet50,
    "pspnet_resnet101": pspnet_resnet101,
    "gcn_resnet50": gcn_resnet50,
    "gcn_resnet101": gcn_resnet101,
    "gcn_resnet152": gcn_resnet152,
    # 2019
    "torchvision_fcn_resnet50": torchvision_fcn_resnet50,
    "torchvision_fcn_resnet101": torchvision_fcn_resnet101,
    "torchvision_deeplab_v3_resnet50": torchvision_deeplab_v3_resnet50,
    "torchvision_deeplab_v3_resnet101": torchvision_deeplab_v3_resnet101,
}
"""{name that `build` takes: the network's builder}, by year."""

# `build` makes these, too, for model files; they are no paper's segmenters, and not listed
CONVERTED: dict[str, Callable[..., Network]] = {
    "convolutional_classifier": convolutional_classifier,
    "caffe_network": caffe_network_of,
}


def list_models() -> list[str]:
    """The names that `build` takes, oldest first."""
    return list(MODELS)


def takes_levels(name: str) -> bool:
    """Whether a network compares colors in levels of 0–255, so that its normalization must have deviation 1.

    >>> takes_levels("crfrnn_fcn8s"), takes_levels("unet")
    (True, False)
    """
    builder = MODELS.get(name)
    return builder is not None and getattr(inspect.signature(builder).return_annotation, "takes_levels", False)


def build(name: str, **options: Any) -> Network:
    """A new network by name, with its paper's initialization.

    Args:
        name: a key of `MODELS` or of `CONVERTED`.
        options: what the builder of that name takes: `num_classes`, `in_channels`, `width`, and its own.

    Raises:
        UnknownName: there is no such model; names the nearest.
        BadOption: the builder does not take an option, misses one, or refuses its value.

    >>> sum(p.numel() for p in build("unet", num_classes=2, width=0.25).parameters())
    1942594
    """
    if name not in MODELS and name not in CONVERTED:
        raise unknown_name("model", name, MODELS)
    builder = CONVERTED[name] if name in CONVERTED else MODELS[name]
    signature = inspect.signature(builder)
    shown = str(signature).rpartition(" -> ")[0]
    passes_on = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in signature.parameters.values())
    for option, value in options.items():
        if option not in signature.parameters:
            if passes_on:
                continue
            near = difflib.get_close_matches(option, signature.parameters, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else "."
            raise BadOption(f"{name} has no option {option!r}{hint} It takes {shown}")
        if isinstance(signature.parameters[option].default, bool) and not isinstance(value, bool):
            raise BadOption(f"{name}: {option} must be True or False, got {value!r}. It takes {shown}")
    try:
        signature.bind(**options)
    except TypeError as error:
        raise BadOption(f"{name}: {error}. It takes {shown}") from None
    return builder(**options)
