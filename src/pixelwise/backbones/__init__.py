"""Classification networks under their papers' names: trunks and classifiers.

A trunk (`AlexNet`, `VGG16`, `GoogLeNet`, `ResNet`) gives the maps that a segmenter reads, as a named tuple, and has
`channels` of the same fields; AlexNet and VGG-16 are made convolutional already. A classifier gives (N, K) logits: it
is what the trunk came from, has the same layers under the same names, and is trained and imported as published.
`CLASSIFIERS` lists the classifiers' builders; the trunks stand in their files, `pixelwise.backbones.resnet` and so on.
"""

from collections.abc import Callable

from torch import nn

from pixelwise.backbones.alexnet import alexnet_classifier
from pixelwise.backbones.googlenet import googlenet_classifier
from pixelwise.backbones.resnet import (
    resnet18_classifier,
    resnet34_classifier,
    resnet50_classifier,
    resnet101_classifier,
    resnet152_classifier,
)
from pixelwise.backbones.vgg import vgg16_classifier

CLASSIFIERS: dict[str, Callable[..., nn.Module]] = {
    "alexnet": alexnet_classifier,  # 2012
    "vgg16": vgg16_classifier,  # 2014
    "googlenet": googlenet_classifier,
    "resnet18": resnet18_classifier,  # 2015
    "resnet34": resnet34_classifier,
    "resnet50": resnet50_classifier,
    "resnet101": resnet101_classifier,
    "resnet152": resnet152_classifier,
}
"""{name: the classifier's builder}, by year."""
