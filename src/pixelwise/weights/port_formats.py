"""Ports of the papers' networks to PyTorch, whose files are around more than Caffe's.

| files of                           | network                        | pictures                           |
| ---------------------------------- | ------------------------------ | ---------------------------------- |
| wkentaro/pytorch-fcn               | the FCNs on VGG-16             | BGR, 0–255 less Berkeley's mean    |
| isht7/pytorch-deeplab-resnet       | DeepLab v2 on ResNet-101       | BGR, 0–255 less 104.008, …         |
| kazuto1011/deeplab-pytorch         | DeepLab v2 on ResNet-101       | BGR, 0–255 less 104.008, …         |
| hszhao/semseg                      | PSPNet, and its ResNets        | RGB/255, torchvision's             |
| DrSleep/refinenet-pytorch          | RefineNet on ResNet-101        | RGB; what is taken away UNVERIFIED |

Files that read BGR are flipped in their first convolution. What differs from ours without a parameter stands at each
format. Spec, networks 2014–2016, §1 (who is who), §2, §5.6; networks 2015–2017, §1.2.2, §1.3.2.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from pixelwise.errors import WeightsError
from pixelwise.weights.fcn_formats import UPSCORE_8S, UPSCORE_16S, UPSCORE_32S, VOC_MEAN, kernels, less
from pixelwise.weights.formats import Tensors, WeightFormat, by_leaf, by_path, classes_of, filters_of, layer_paths
from pixelwise.weights.torchvision_formats import NORMALIZATION, refuse_other_strides

DEEPLAB_MEAN = (122.675, 116.669, 104.008)  # RGB


# wkentaro/pytorch-fcn: Berkeley's names; the factors of "at once" stand in its forward pass and not in its files

AT_ONCE = {"scale_pool4": ("score_pool4", 0.01), "scale_pool3": ("score_pool3", 0.0001)}


def with_factors(tensors: Tensors) -> Tensors:
    """The tensors with the factors, one a channel of the layer behind them."""
    factors = {
        f"{name}.weight": torch.full((tensors[f"{score}.weight"].shape[1],), factor)
        for name, (score, factor) in AT_ONCE.items()
        if f"{score}.weight" in tensors
    }
    return tensors | factors


def without_factors(tensors: Tensors) -> Tensors:
    """The tensors without them; factors that are others, as training changes them, go into the layer behind."""
    kept = {name: tensor for name, tensor in tensors.items() if name.rpartition(".")[0] not in AT_ONCE}
    for name, (score, factor) in AT_ONCE.items():
        ratio = tensors[f"{name}.weight"] / factor
        kept[f"{score}.weight"] = kept[f"{score}.weight"] * ratio[:, None, None]
    return kept


def _fcn(model: str, taps: Mapping[str, int], **more: Any) -> WeightFormat:
    return WeightFormat(
        f"wkentaro_{model}",
        model,
        "wkentaro/pytorch-fcn; networks-2014-2016 §2",
        by_leaf(),
        kind="torch",
        fixed=kernels(taps),
        normalization=less(*VOC_MEAN),
        labels="voc2012",
        options=classes_of("score_fr"),
        **more,
    )


# isht7 and kazuto1011: DeepLab v2 on ResNet-101 at three scales; both resize the smaller pictures and the scores in
# their own way, so that only the scores of one scale are quite the same

_UNIT = re.compile(r"layer(\d)\.(\d+)\.(?:(conv|bn)(\d)|downsample\.(\d))")
_BRANCH = re.compile(r"aspp\.fc1_voc12_c(\d)")


def isht7_layer(path: str) -> str:
    """The port's name of a layer of ours.

    >>> isht7_layer("backbone.layer2.0.conv1"), isht7_layer("aspp.fc1_voc12_c3")
    ('Scale.layer2.0.conv1', 'Scale.layer5.conv2d_list.3')
    """
    branch = _BRANCH.fullmatch(path)
    return f"Scale.layer5.conv2d_list.{branch[1]}" if branch else f"Scale.{path.removeprefix('backbone.')}"


def kazuto1011_layer(path: str) -> str:
    """The port's name of a layer of ours, since 2019.

    >>> kazuto1011_layer("backbone.layer2.0.bn3"), kazuto1011_layer("backbone.layer1.0.downsample.0")
    ('base.layer3.block1.increase.bn', 'base.layer2.block1.shortcut.conv')
    """
    path = path.removeprefix("backbone.")
    if path in ("conv1", "bn1"):
        return f"base.layer1.conv1.{path[:-1]}"
    branch = _BRANCH.fullmatch(path)
    if branch:
        return f"base.aspp.c{branch[1]}"
    unit = _UNIT.fullmatch(path)
    assert unit is not None, f"{path} is no layer of DeepLab v2"
    stage, index, kind, number, projection = unit.groups()
    step = "shortcut" if kind is None else ("reduce", "conv3x3", "increase")[int(number) - 1]
    return f"base.layer{int(stage) + 1}.block{int(index) + 1}.{step}.{kind or ('conv', 'bn')[int(projection)]}"


def kazuto1011_layer_2018(path: str) -> str:
    """The same in the files of 2018.

    >>> kazuto1011_layer_2018("aspp.fc1_voc12_c0"), kazuto1011_layer_2018("backbone.layer1.0.downsample.0")
    ('scale.aspp.stages.c0', 'scale.layer2.block1.proj.conv')
    """
    name = kazuto1011_layer(path).replace("base.", "scale.", 1)
    return name.replace(".aspp.", ".aspp.stages.").replace(".shortcut.", ".proj.")


def _deeplab(name: str, source: str, rename: Callable[[str], str]) -> WeightFormat:
    return WeightFormat(
        name,
        "deeplab_v2_resnet101_aspp",
        f"{source}; networks-2014-2016 §5.6",
        by_path(rename),
        kind="torch",
        normalization=less(*DEEPLAB_MEAN),
        labels="voc2012",
        options=lambda tensors: {
            "num_classes": filters_of(tensors, rename("aspp.fc1_voc12_c0")),
            "multi_scale": True,
        },
    )


# hszhao/semseg: a ResNet with its strides in the 3 × 3 and a deep stem; the pyramid is concatenated bins 1, 2, 3, 6

SEMSEG_STEM = {
    "conv1.conv1_1": "0",
    "conv1.bn1_1": "1",
    "conv1.conv1_2": "3",
    "conv1.bn1_2": "4",
    "conv1.conv1_3": "6",
    "bn1": "7",
}
SEMSEG_RESNET_STEM = {
    "conv1.conv1_1": "conv1",
    "conv1.bn1_1": "bn1",
    "conv1.conv1_2": "conv2",
    "conv1.bn1_2": "bn2",
    "conv1.conv1_3": "conv3",
    "bn1": "bn3",
}
SEMSEG_LEVEL = re.compile(r"ppm\.features\.(\d+)\.1\.weight")


def semseg_layers(network: nn.Module) -> dict[str, str]:
    """{our layer: semseg's} of a PSPNet.

    Raises:
        WeightsError: the network has its strides or its bins elsewhere, and would take all weights all the same.
    """
    refuse_other_strides(network)
    bins = tuple(getattr(network.pyramid_pooling, "bins", ()))
    if list(bins) != sorted(bins, reverse=True):
        raise WeightsError(
            f"the network concatenates bins {', '.join(map(str, bins))}; semseg's weights are put into the order of "
            "the prototxts, the finest first: build it with bins in rising order, (1, 2, 3, 6)"
        )
    levels = {
        f"pyramid_pooling.levels.pool{bin}.{part}": (place, part)
        for place, bin in enumerate(bins[::-1])
        for part in (0, 1)
    }
    layers = {}
    for path in layer_paths(network):
        within = path.removeprefix("backbone.")
        if within in SEMSEG_STEM:
            layers[path] = f"layer0.{SEMSEG_STEM[within]}"
        elif path in levels:
            place, part = levels[path]
            layers[path] = f"ppm.features.{place}.{part + 1}"
        elif path.startswith("conv5_4."):
            layers[path] = path.replace("conv5_4.", "cls.")
        elif path == "conv6":
            layers[path] = "cls.4"
        elif path.startswith("auxiliary."):
            layers[path] = path.replace("auxiliary.", "aux.")
        else:
            layers[path] = within
    return layers


def semseg_resnet_layers(network: nn.Module) -> dict[str, str]:
    """{our layer: semseg's} of a ResNet, or of a segmenter that holds one as `backbone`."""
    refuse_other_strides(network)
    paths = {path: path.removeprefix("backbone.") for path in layer_paths(network)}
    return {path: SEMSEG_RESNET_STEM.get(within, within) for path, within in paths.items()}


def turned_pyramid(tensors: Tensors) -> Tensors:
    """The tensors with the levels of the pyramid in reverse among the inputs of `cls.0`; its own inverse.

    Raises:
        WeightsError: there is no room for them.
    """
    weight = tensors.get("cls.0.weight")
    levels = sum(1 for name in tensors if SEMSEG_LEVEL.fullmatch(name))
    if weight is None or not levels:
        return tensors
    reduced = filters_of(tensors, "ppm.features.0.1")
    features = weight.shape[1] - levels * reduced if weight.dim() == 4 else -1
    if features < 0:
        raise WeightsError(f"cls.0 is {tuple(weight.shape)}, too small for {levels} levels of {reduced} channels")
    parts = torch.split(weight, [features, *[reduced] * levels], 1)
    return tensors | {"cls.0.weight": torch.cat([parts[0], *parts[:0:-1]], 1)}


def _semseg_options(tensors: Tensors) -> dict[str, Any]:
    auxiliary = any(name.startswith("aux.") for name in tensors)
    return {"num_classes": filters_of(tensors, "cls.4"), "auxiliary": auxiliary}


def _semseg(model: str, **options: Any) -> WeightFormat:
    return WeightFormat(
        f"semseg_{model}",
        model,
        "hszhao/semseg; networks-2015-2017 §1.3.2",
        semseg_layers,
        kind="torch",
        prepare=turned_pyramid,
        restore=turned_pyramid,
        reverse_channels=False,
        ignore=("aux.*",),
        normalization=NORMALIZATION,
        options=lambda tensors: _semseg_options(tensors) | options,
    )


def _semseg_resnet(model: str) -> WeightFormat:
    return WeightFormat(
        f"semseg_{model}",
        model,
        "hszhao/semseg, `initmodel`; networks-2015-2017 §1.3.2",
        semseg_resnet_layers,
        kind="torch",
        reverse_channels=False,
        ignore=("fc",),  # a trunk has no such layer
        normalization=NORMALIZATION,
        options=lambda tensors: {"num_classes": filters_of(tensors, "fc"), "deep_stem": True},
    )


# DrSleep/refinenet-pytorch: the table of names is that of `pixelwise.models.refinenet`. The port runs the file on
# torchvision's flavor of ResNet, and so does this; its normalization stands in no file that we have seen, and must be
# given

_REFINE = re.compile(r"refine\.(\d)\.(.+)")


def drsleep_layer(path: str) -> str:
    """The port's name of a layer of ours.

    >>> drsleep_layer("refine.1.adapt.0.2.conv"), drsleep_layer("refine.1.fusion.joint_varout_dimred.0")
    ('adapt_stage2_b.0.2_conv', 'mflow_conv_g1_b3_joint_varout_dimred')
    >>> drsleep_layer("refine.0.output.0.conv_relu_varout_dimred"), drsleep_layer("backbone.layer1.0.bn1")
    ('mflow_conv_g1_b.0.1_conv_relu_varout_dimred', 'layer1.0.bn1')
    """
    block = _REFINE.fullmatch(path)
    if block is None:
        return path.removeprefix("backbone.")
    number, words = int(block[1]) + 1, block[2].split(".")
    if words[0] == "adapt":
        return (
            f"p_ims1d2_outl{number}_dimred"
            if words[2] == "dimred"
            else f"adapt_stage{number}_b.0.{words[2]}_{words[3]}"
        )
    if words[0] == "fusion":
        coarse = words[2] == "0"
        start = f"mflow_conv_g{number - 1}_b3" if coarse else f"adapt_stage{number}_b2"
        return f"{start}_joint_varout_dimred"
    if words[0] == "pooling":
        return f"mflow_conv_g{number}_pool.0.{int(words[2]) + 1}_outvar_dimred"
    return f"mflow_conv_g{number}_b.0.{int(words[1]) + 1}_{words[2]}"


FORMATS: dict[str, WeightFormat] = {
    "wkentaro_fcn32s_vgg16": _fcn("fcn32s_vgg16", UPSCORE_32S),
    "wkentaro_fcn16s_vgg16": _fcn("fcn16s_vgg16", UPSCORE_16S),
    "wkentaro_fcn8s_vgg16": _fcn("fcn8s_vgg16", UPSCORE_8S),
    "wkentaro_fcn8s_atonce_vgg16": _fcn(
        "fcn8s_atonce_vgg16", UPSCORE_8S, prepare=with_factors, restore=without_factors
    ),
    "isht7_deeplab_v2_resnet101": _deeplab("isht7_deeplab_v2_resnet101", "isht7/pytorch-deeplab-resnet", isht7_layer),
    "kazuto1011_deeplab_v2_resnet101": _deeplab(
        "kazuto1011_deeplab_v2_resnet101", "kazuto1011/deeplab-pytorch", kazuto1011_layer
    ),
    "kazuto1011_2018_deeplab_v2_resnet101": _deeplab(
        "kazuto1011_2018_deeplab_v2_resnet101", "kazuto1011/deeplab-pytorch of 2018", kazuto1011_layer_2018
    ),
    "semseg_pspnet_resnet50": _semseg("pspnet_resnet50", stride_in="3x3"),
    "semseg_pspnet_resnet101": _semseg("pspnet_resnet101"),
    "semseg_resnet50": _semseg_resnet("resnet50"),
    "semseg_resnet101": _semseg_resnet("resnet101"),
    "semseg_resnet152": _semseg_resnet("resnet152"),
    "drsleep_refinenet_resnet101": WeightFormat(
        "drsleep_refinenet_resnet101",
        "refinenet_resnet101",
        "DrSleep/refinenet-pytorch; networks-2015-2017 §1.2.2",
        by_path(drsleep_layer),
        kind="torch",
        reverse_channels=False,
        labels="voc2012",
        options=lambda tensors: {
            "num_classes": filters_of(tensors, "clf_conv"),
            "stride_in": "3x3",
            "stem_pool": "padded",
        },
    ),
}
