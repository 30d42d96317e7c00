"""torchvision's files: VGG-16, the ResNets, and its FCN and DeepLab v3 on ResNet.

Names are those of torchvision 0.3 to 0.28 (spec, networks 2015–2017, §1.5.6). Its ResNets and segmenters are ours key
for key. Pictures are RGB/255 less .485 .456 .406, by .229 .224 .225, so nothing is flipped.

A classifier's format serves its trunk, too, and a segmenter that holds the trunk as `backbone`: the file's last layer
then is not needed, and `partial` leaves the segmenter's own layers as they are. ResNets of another flavor (strides in
the 1 × 1, a deep stem) are refused: all shapes would fit, and the features be wrong (§0.1).

**Not here**, as they are other networks than ours of the same name: `alexnet` (64, 192, 384, 256, 256 filters, no
groups, no response normalization; ours is CaffeNet), `googlenet` (batch norms, 3 × 3 in place of 5 × 5), `vgg16_bn`.
"""

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from pixelwise.backbones.resnet import Bottleneck, ResNetStages
from pixelwise.errors import WeightsError
from pixelwise.layers.normalization import IMAGENET_DEVIATION, IMAGENET_MEAN, Normalization
from pixelwise.weights.formats import Tensors, WeightFormat, by_leaf, by_path, classes_of, filters_of, layer_paths

NORMALIZATION = Normalization(IMAGENET_MEAN, IMAGENET_DEVIATION)

VGG16 = {
    "conv1_1": "features.0",
    "conv1_2": "features.2",
    "conv2_1": "features.5",
    "conv2_2": "features.7",
    "conv3_1": "features.10",
    "conv3_2": "features.12",
    "conv3_3": "features.14",
    "conv4_1": "features.17",
    "conv4_2": "features.19",
    "conv4_3": "features.21",
    "conv5_1": "features.24",
    "conv5_2": "features.26",
    "conv5_3": "features.28",
    "fc6": "classifier.0",
    "fc7": "classifier.3",
    "fc8": "classifier.6",
}
"""{our layer: torchvision's}; the numbers between are ReLUs, pools and dropouts."""


def trunk_of(network: nn.Module) -> nn.Module:
    """The network's `backbone`, or itself where it has none."""
    trunk = getattr(network, "backbone", network)
    return trunk if isinstance(trunk, nn.Module) else network


def refuse_other_strides(network: nn.Module) -> None:
    """Refuse a ResNet of bottlenecks whose strides stand in the 1 × 1: weights trained in the 3 × 3 fit its shapes.

    Raises:
        WeightsError: naming the option.
    """
    for path, unit in trunk_of(network).named_modules():
        if isinstance(unit, Bottleneck) and unit.conv1.stride != (1, 1):
            raise WeightsError(
                f"the file's ResNet has its strides in the 3 × 3 convolutions, this one in the 1 × 1 ({path}.conv1); "
                'its weights would fit and give wrong features; build it with stride_in="3x3" if it takes that option'
            )


def _resnet_layers(network: nn.Module) -> Mapping[str, str]:
    trunk = trunk_of(network)
    if isinstance(trunk, ResNetStages) and isinstance(trunk.conv1, nn.Sequential):
        raise WeightsError("torchvision's ResNets have a stem of one 7 × 7, this network has three 3 × 3 (deep_stem)")
    refuse_other_strides(network)
    return {path: path.removeprefix("backbone.") for path in layer_paths(network)}


def _segmenter_options(tensors: Tensors) -> dict[str, Any]:
    auxiliary = any(name.startswith("aux_classifier.") for name in tensors)
    return {"num_classes": filters_of(tensors, "classifier.4"), "auxiliary": auxiliary}


def _classifier(model: str, layers: Callable[[nn.Module], Mapping[str, str]], last: str) -> WeightFormat:
    return WeightFormat(
        f"torchvision_{model}",
        model,
        f"torchvision.models.{model}",
        layers,
        kind="torch",
        reverse_channels=False,
        ignore=(last,),  # a trunk has no such layer
        normalization=NORMALIZATION,
        options=classes_of(last),
    )


def _segmenter(model: str, name: str) -> WeightFormat:
    return WeightFormat(
        model,
        model,
        f"torchvision.models.segmentation.{name}; spec, networks 2015–2017, §1.5.6",
        by_path(str),
        kind="torch",
        reverse_channels=False,
        ignore=("aux_classifier.*",),
        normalization=NORMALIZATION,
        labels="voc2012",
        options=_segmenter_options,
    )


FORMATS: dict[str, WeightFormat] = {
    "torchvision_vgg16": _classifier("vgg16", by_leaf(VGG16), "classifier.6"),
    "torchvision_resnet18": _classifier("resnet18", _resnet_layers, "fc"),
    "torchvision_resnet34": _classifier("resnet34", _resnet_layers, "fc"),
    "torchvision_resnet50": _classifier("resnet50", _resnet_layers, "fc"),
    "torchvision_resnet101": _classifier("resnet101", _resnet_layers, "fc"),
    "torchvision_resnet152": _classifier("resnet152", _resnet_layers, "fc"),
    "torchvision_fcn_resnet50": _segmenter("torchvision_fcn_resnet50", "fcn_resnet50"),
    "torchvision_fcn_resnet101": _segmenter("torchvision_fcn_resnet101", "fcn_resnet101"),
    "torchvision_deeplab_v3_resnet50": _segmenter("torchvision_deeplab_v3_resnet50", "deeplabv3_resnet50"),
    "torchvision_deeplab_v3_resnet101": _segmenter("torchvision_deeplab_v3_resnet101", "deeplabv3_resnet101"),
}
