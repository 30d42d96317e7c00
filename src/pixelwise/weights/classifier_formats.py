"""Classifiers of ImageNet as Caffe's zoo has them: VGG-16, CaffeNet, GoogLeNet, and the first ResNets.

| format              | file                             | our classifier | fully connected as |
| ------------------- | -------------------------------- | -------------- | ------------------ |
| `ilsvrc_vgg16`      | VGG_ILSVRC_16_layers             | `vgg16`        | fc6, fc7, fc8      |
| `bvlc_caffenet`     | bvlc_reference_caffenet          | `alexnet`      | fc6, fc7, fc8      |
| `bvlc_googlenet`    | bvlc_googlenet                   | `googlenet`    | loss3/classifier   |
| `msra_resnet50` …   | ResNet-50-model, -101, -152      | `resnet50` …   | fc1000             |

Each map names the layers of any network of ours that is built on that classifier's trunk, too: with `partial=True` the
file is the start of FCN, DeepLab, Dilation, SegNet (VGG-16), of FCN-AlexNet and FCN-GoogLeNet, of RefineNet, GCN and
DeepLab v2 (ResNets). fc6 and fc7 fit where they are convolutions of the same taps; DeepLab's thinner fc6 stays at its
start (`transplant(…, decimate=True)` thins out).

BVLC's other file, bvlc_alexnet, has the names and shapes of CaffeNet, but norms before pools: nothing in it tells, and
`bvlc_caffenet` would run it wrongly.

The means are those that the files were trained with, as far as known: CaffeNet's is the mean of its mean picture, which
FCN takes (spec, networks 2014–2016, §2.5); VGG's and GoogLeNet's are those of their pages; the ResNets' mean picture is
not stored here, and 104.0, 116.7, 122.7 stands for it (spec, networks 2015–2017, §0.1).

Source: spec, networks 2014–2016, §1.3, §2.1, §8.3; 2015–2017, §0.1.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from pixelwise.weights.fcn_formats import less
from pixelwise.weights.formats import Tensors, WeightFormat, by_leaf, classes_of, filters_of, layer_paths
from pixelwise.weights.resnet_layers import joined_scales, msra_layers, split_scales

VGG_MEAN = (123.68, 116.779, 103.939)  # RGB, as all means here
CAFFENET_MEAN = (122.679, 116.669, 104.007)
GOOGLENET_MEAN = (123.0, 117.0, 104.0)
RESNET_MEAN = (122.7, 116.7, 104.0)


def googlenet_layers(network: nn.Module) -> dict[str, str]:
    """Our last words with the `/` that Caffe's names have after the first part.

    >>> googlenet_layers(nn.ModuleDict({"inception_3a_5x5_reduce": nn.Linear(1, 1), "score_fr": nn.Linear(1, 1)}))
    {'inception_3a_5x5_reduce': 'inception_3a/5x5_reduce', 'score_fr': 'score_fr'}
    """
    return {path: _googlenet_name(path.rpartition(".")[2]) for path in layer_paths(network)}


def _googlenet_name(leaf: str) -> str:
    first, _, rest = leaf.partition("_")
    if first == "inception":
        number, _, rest = rest.partition("_")
        return f"inception_{number}/{rest}"
    return f"{first}/{rest}" if first in ("conv1", "conv2", "loss3") else leaf


def prepared_resnet(tensors: Tensors) -> Tensors:
    """BatchNorms with their Scales; conv1's bias, which ResNet-50's file has, is taken off the mean behind it."""
    joined = joined_scales(tensors)
    bias = joined.pop("conv1.bias", None)
    if bias is not None and "bn_conv1.running_mean" in joined:
        joined["bn_conv1.running_mean"] = joined["bn_conv1.running_mean"] - bias
    return joined


def restored_resnet50(tensors: Tensors) -> Tensors:
    """The inverse, with a bias of zeros in conv1, which the deploy file asks for."""
    split = split_scales(tensors)
    return split | {"conv1.bias": torch.zeros(len(split["conv1.weight"]))}


def resnet_options(tensors: Tensors) -> dict[str, Any]:
    """Strides in the first 1 × 1 and a pool that pads nothing, as the release has them."""
    return {"num_classes": filters_of(tensors, "fc1000"), "stride_in": "1x1", "stem_pool": "unpadded"}


def fc1000(network: nn.Module) -> dict[str, str]:
    """`msra_layers`, and the last layer by its name there."""
    return {path: "fc1000" if path == "fc" else name for path, name in msra_layers(network).items()}


def _resnet(depth: int, restore: Callable[[Tensors], Tensors] = split_scales) -> WeightFormat:
    return WeightFormat(
        name=f"msra_resnet{depth}",
        model=f"resnet{depth}",
        source=f"He et al. 2016, ResNet-{depth}-deploy; networks-2015-2017 §0.1",
        layers=fc1000,
        prepare=prepared_resnet,
        restore=restore,
        normalization=less(*RESNET_MEAN),
        options=resnet_options,
    )


FORMATS: dict[str, WeightFormat] = {
    "ilsvrc_vgg16": WeightFormat(
        name="ilsvrc_vgg16",
        model="vgg16",
        source="Simonyan and Zisserman 2014, VGG_ILSVRC_16_layers; networks-2014-2016 §1.3, §2.1",
        layers=by_leaf(),
        normalization=less(*VGG_MEAN),
        options=classes_of("fc8"),
    ),
    "bvlc_caffenet": WeightFormat(
        name="bvlc_caffenet",
        model="alexnet",
        source="BVLC, bvlc_reference_caffenet (not bvlc_alexnet, whose norms come first); networks-2014-2016 §2.1",
        layers=by_leaf(),
        normalization=less(*CAFFENET_MEAN),
        options=classes_of("fc8"),
        note=(
            "bvlc_alexnet has the same layers, and runs wrongly as this: its norms come before its pools. If this file "
            "is that one, import it with its deploy.prototxt"
        ),
    ),
    "bvlc_googlenet": WeightFormat(
        name="bvlc_googlenet",
        model="googlenet",
        source="BVLC, bvlc_googlenet; networks-2014-2016 §2.1",
        layers=googlenet_layers,
        ignore=("loss1/*", "loss2/*"),
        normalization=less(*GOOGLENET_MEAN),
        options=classes_of("loss3/classifier"),
    ),
    "msra_resnet50": _resnet(50, restored_resnet50),
    "msra_resnet101": _resnet(101),
    "msra_resnet152": _resnet(152),
}
