"""PSPNet's released Caffe files.

Convolutions are called after what they do, `conv3_1_1x1_reduce`, `conv3_1_3x3`, `conv3_1_1x1_increase`,
`conv3_1_1x1_proj`, and each batch norm after its convolution, `conv3_1_3x3/bn`. Two forms of batch norm are read: the
authors' BN of four blobs (slope, bias, mean, variance), and BatchNorm with a Scale behind it, as forks without that
layer have it, under the names `…/bn` and `…/scale` (UNVERIFIED: no such file was seen).

`conv5_4` reads [conv5_3, bins 6, 3, 2, 1], as ours does; a network that concatenates its bins in another order is
refused. Files of the order 1, 2, 3, 6 are semseg's (`port_formats`). PSPNet-50 has its strides in the 1 × 1
convolutions, PSPNet-101 in the 3 × 3; a network that has them elsewhere is refused, too.

The deploy files have no auxiliary branch. Source: spec, networks 2015–2017, §1.3.1, §0.1; the names from
`evaluation/prototxt` of hszhao/PSPNet.
"""

import re
from collections.abc import Callable

from torch import nn

from pixelwise.errors import WeightsError
from pixelwise.weights.fcn_formats import less
from pixelwise.weights.formats import Tensors, WeightFormat, classes_of, layer_paths, unchanged
from pixelwise.weights.resnet_layers import joined_scales, refuse_strides_in_3x3
from pixelwise.weights.torchvision_formats import refuse_other_strides

MEAN = (123.68, 116.779, 103.939)  # RGB

STEM = {
    "conv1_1": "conv1_1_3x3_s2",
    "bn1_1": "conv1_1_3x3_s2/bn",
    "conv1_2": "conv1_2_3x3",
    "bn1_2": "conv1_2_3x3/bn",
    "conv1_3": "conv1_3_3x3",
    "bn1": "conv1_3_3x3/bn",
}
UNIT = {
    "conv1": "1x1_reduce",
    "bn1": "1x1_reduce/bn",
    "conv2": "3x3",
    "bn2": "3x3/bn",
    "conv3": "1x1_increase",
    "bn3": "1x1_increase/bn",
    "downsample.0": "1x1_proj",
    "downsample.1": "1x1_proj/bn",
}


def layer_name(path: str) -> str:
    """The name of one of our layers in the files.

    >>> layer_name("backbone.layer2.0.downsample.1"), layer_name("pyramid_pooling.levels.pool6.0")
    ('conv3_1_1x1_proj/bn', 'conv5_3_pool6_conv')
    """
    if unit := re.search(r"layer([1-4])\.(\d+)\.(.+)$", path):
        return f"conv{int(unit[1]) + 1}_{int(unit[2]) + 1}_{UNIT[unit[3]]}"
    if level := re.search(r"levels\.(pool\d+)\.([01])$", path):
        return f"conv5_3_{level[1]}_conv{'/bn' if level[2] == '1' else ''}"
    if path.startswith("conv5_4."):
        return "conv5_4" if path.endswith("0") else "conv5_4/bn"
    leaf = path.rpartition(".")[2]
    return STEM.get(leaf, leaf)


def layers_where(refuse_strides: Callable[[nn.Module], None]) -> Callable[[nn.Module], dict[str, str]]:
    """`layers` of a PSPNet whose strides stand where the file has them; no auxiliary branch is in the files.

    Args:
        refuse_strides: raises a WeightsError where they stand elsewhere.
    """

    def layers(network: nn.Module) -> dict[str, str]:
        refuse_strides(network)
        levels = network.get_submodule("pyramid_pooling.levels").named_children()
        bins = [int(name.removeprefix("pool")) for name, _ in levels]
        if bins != sorted(bins, reverse=True):
            raise WeightsError(
                f"the network concatenates bins {', '.join(map(str, bins))}, the file 6, 3, 2, 1; build it with bins "
                "in rising order, (1, 2, 3, 6)"
            )
        return {path: layer_name(path) for path in layer_paths(network) if not path.startswith("auxiliary.")}

    return layers


def norms_with_scales(tensors: Tensors) -> Tensors:
    """Batch norms of both forms, each as one layer `…/bn`."""
    return joined_scales(tensors, lambda norm: f"{norm.removesuffix('/bn')}/scale")


def _format(name: str, model: str, file: str, labels: str, refuse_strides: Callable[[nn.Module], None]) -> WeightFormat:
    return WeightFormat(
        name,
        model,
        f"hszhao/PSPNet, {file}; networks-2015-2017 §1.3.1",
        layers_where(refuse_strides),
        prepare=norms_with_scales,
        restore=unchanged,
        normalization=less(*MEAN),
        labels=labels,
        options=classes_of("conv6"),
    )


_FORMATS = (
    _format("pspnet_resnet50_ade20k", "pspnet_resnet50", "pspnet50_ADE20K", "ade20k", refuse_strides_in_3x3),
    _format("pspnet_resnet101_voc", "pspnet_resnet101", "pspnet101_VOC2012", "voc2012", refuse_other_strides),
    _format(
        "pspnet_resnet101_cityscapes", "pspnet_resnet101", "pspnet101_cityscapes", "cityscapes", refuse_other_strides
    ),
)
FORMATS: dict[str, WeightFormat] = {format.name: format for format in _FORMATS}
