"""DeepLab's released Caffe files, v1 and v2.

v1 is of the old kind (`layers`), which `pixelwise.caffe` reads as the new. Its files name the score layer after the
experiment, `fc8_voc12`, and `fc8_pascal` in the first networks. Its side branches are called after what they read, as
in the release's `DeepLab-MSc-LargeFOV` (a copy in TheLegendAli/DeepLab-Context, `config/`): `data_conv`, `data_fc`,
`data_ms`; `pool1_conv` … `pool4_ms`. Its test file has these branches at stride 1 and zooms each score by itself; the
training file has them at strides 8, 4, 2, 1, 1, as our network has: the scores are the same at each eighth pixel, and
ours are linear between them. To run the test file as it is, take `caffe_network`.

v2's ResNet-101 file is of three towers with the same weights; the copies, with `_res05` and `_res075` in their names,
must be equal to the first and are left out. `…_msc` is that file, for a network of `multi_scale=True`; the other format
is of a file of the first tower alone.

UNVERIFIED, since no file of theirs was seen: the names of `deeplab_7x7` and `deeplab_4x4_rate8` (as v1's other files),
of v2's VGG-16 (`fc6_1` … `fc8_voc12_4`, from a generator written after it), and of v2's ResNet-101 LargeFOV
(`fc1_voc12`). LargeFOV of v1 and v2 have the same names, so have ASPP-S and ASPP-L: nothing in a file tells rates.

Source: spec, networks 2014–2016, §5.1–5.6, §8.2, §8.3; means §5.4 (BGR there).
"""

from collections.abc import Callable
from typing import Any

import torch

from pixelwise.errors import WeightsError
from pixelwise.weights.fcn_formats import less
from pixelwise.weights.formats import Tensors, WeightFormat, by_leaf, by_path, classes_of, filters_of
from pixelwise.weights.resnet_layers import joined_scales, msra_layers, split_scales

MEAN = (122.675, 116.669, 104.008)  # RGB
SPEC = "networks-2014-2016"
TOWERS = ("_res075", "_res05")  # of the picture at 0.75 and 0.5
BRANCH_LAYERS = {"conv1": "conv", "conv2": "fc", "score": "ms"}


def side_branch_name(path: str) -> str:
    """The names of MSc: `image_branch.conv1` is `data_conv`, all that is in no branch has its last word.

    >>> side_branch_name("pool4_branch.score"), side_branch_name("backbone.conv1.conv1_1")
    ('pool4_ms', 'conv1_1')
    """
    before, _, leaf = path.rpartition(".")
    if not before.endswith("_branch"):
        return leaf
    read = before.removesuffix("_branch")
    return f"{'data' if read == 'image' else read}_{BRANCH_LAYERS[leaf]}"


def first_tower(tensors: Tensors) -> Tensors:
    """The batch norms of one tower, whole.

    Raises:
        WeightsError: the file has three towers.
    """
    copies = [name for name in tensors if _original(name) != name]
    if copies:
        raise WeightsError(
            f"the file has towers for three scales ({copies[0]}), this format has one: use the format that ends in _msc"
        )
    return joined_scales(tensors)


def three_towers(tensors: Tensors) -> Tensors:
    """The same of a file of three towers, without the copies.

    Raises:
        WeightsError: there are no copies, or one is not equal to its original.
    """
    kept = {name: tensor for name, tensor in tensors.items() if _original(name) == name}
    if len(kept) == len(tensors):
        raise WeightsError("the file has one tower, this format three: use the format without _msc")
    for name, tensor in tensors.items():
        original = kept.get(_original(name))
        if original is None or original.shape != tensor.shape or not (tensor.is_meta or torch.equal(original, tensor)):
            raise WeightsError(
                f"{name} is no copy of {_original(name)}, whose weights it must share; to run the file as it is, give "
                "its deploy.prototxt, too (caffe_network)"
            )
    return joined_scales(kept)


def three_copies(tensors: Tensors) -> Tensors:
    """The inverse of `three_towers`."""
    split = split_scales(tensors)
    return split | {_copy(name, tower): tensor for tower in TOWERS for name, tensor in split.items()}


def _original(name: str) -> str:
    for tower in TOWERS:
        name = name.replace(tower, "")
    return name


def _copy(name: str, tower: str) -> str:
    """`fc1_voc12_c0` is copied as `fc1_voc12_res05_c0`, all else with the tower at its end."""
    layer, _, part = name.rpartition(".")
    if layer.startswith("fc1_voc12"):
        return f"fc1_voc12{tower}{layer.removeprefix('fc1_voc12')}.{part}"
    return f"{layer}{tower}.{part}"


def _multi_scale(layer: str) -> Callable[[Tensors], dict[str, Any]]:
    def options(tensors: Tensors) -> dict[str, Any]:
        return {"num_classes": filters_of(tensors, layer), "multi_scale": True}

    return options


def _vgg16(name: str, source: str, score: str) -> WeightFormat:
    return WeightFormat(
        name,
        name,
        f"Chen et al., {source}",
        by_leaf(),
        normalization=less(*MEAN),
        labels="voc2012",
        options=classes_of(score),
    )


def _resnet101(head: str, source: str, score: str, *, msc: bool) -> WeightFormat:
    return WeightFormat(
        f"deeplab_v2_resnet101_{head}{'_msc' if msc else ''}",
        f"deeplab_v2_resnet101_{head}",
        f"Chen et al., {source}",
        msra_layers,
        prepare=three_towers if msc else first_tower,
        restore=three_copies if msc else split_scales,
        normalization=less(*MEAN),
        labels="voc2012",
        options=_multi_scale(score) if msc else classes_of(score),
    )


_ASPP = f"DeepLab v2, ResNet-101; {SPEC} §5.6, §8.2"
_LARGEFOV = f"DeepLab v2, ResNet-101 LargeFOV, the score layer's name UNVERIFIED; {SPEC} §5.6"
_FORMATS = (
    _vgg16("deeplab_4x4", f"DeepLab (vgg128_noup); {SPEC} §5.2", "fc8_pascal"),
    _vgg16("deeplab_4x4_rate8", f"DeepLab-4x4, names UNVERIFIED; {SPEC} §5.2", "fc8_pascal"),
    _vgg16("deeplab_7x7", f"DeepLab-7x7, names UNVERIFIED; {SPEC} §5.2", "fc8_pascal"),
    _vgg16("deeplab_largefov", f"DeepLab-LargeFOV; {SPEC} §5.1", "fc8_voc12"),
    WeightFormat(
        "deeplab_msc_largefov",
        "deeplab_msc_largefov",
        f"Chen et al., DeepLab-MSc-LargeFOV, between every eighth pixel its test file is finer; {SPEC} §5.3 (names "
        "UNVERIFIED there; from a copy of the release)",
        by_path(side_branch_name),
        normalization=less(*MEAN),
        labels="voc2012",
        options=classes_of("fc8_voc12"),
    ),
    _vgg16("deeplab_v2_vgg16_largefov", f"DeepLab v2, VGG-16 LargeFOV, names UNVERIFIED; {SPEC} §5.5", "fc8_voc12"),
    _vgg16("deeplab_v2_vgg16_aspp_s", f"DeepLab v2, VGG-16 ASPP-S, names UNVERIFIED; {SPEC} §5.5", "fc8_voc12_1"),
    _vgg16("deeplab_v2_vgg16_aspp_l", f"DeepLab v2, VGG-16 ASPP-L, names UNVERIFIED; {SPEC} §5.5", "fc8_voc12_1"),
    _resnet101("largefov", _LARGEFOV, "fc1_voc12", msc=False),
    _resnet101("largefov", _LARGEFOV, "fc1_voc12", msc=True),
    _resnet101("aspp", _ASPP, "fc1_voc12_c0", msc=False),
    _resnet101("aspp", _ASPP, "fc1_voc12_c0", msc=True),
)
FORMATS: dict[str, WeightFormat] = {format.name: format for format in _FORMATS}
