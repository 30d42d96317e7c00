"""What all classifiers have in common, and VGG-16's."""

import pytest
import torch
from torch import nn

from pixelwise.backbones import CLASSIFIERS
from pixelwise.backbones.vgg import VGG16, vgg16_classifier
from pixelwise.errors import BadOption, ShapeError

# the published picture, and the parameters for 1000 classes: BVLC's files (GoogLeNet: the last classifier alone),
# VGG's and torchvision's
PUBLISHED = {
    "alexnet": (227, 60_965_224),
    "vgg16": (224, 138_357_544),
    "googlenet": (224, 6_998_552),
    "resnet18": (224, 11_689_512),
    "resnet34": (224, 21_797_672),
    "resnet50": (224, 25_557_032),
    "resnet101": (224, 44_549_160),
    "resnet152": (224, 60_192_808),
}
NAMES = pytest.mark.parametrize("name", PUBLISHED)


def test_the_list_is_complete():
    assert list(CLASSIFIERS) == list(PUBLISHED)


@NAMES
def test_published_parameters_and_logits(name):
    size, parameters = PUBLISHED[name]
    with torch.device("meta"):
        network = CLASSIFIERS[name]()
        logits = network(torch.empty(2, 3, size, size))
    assert sum(p.numel() for p in network.parameters()) == parameters
    assert logits.shape == (2, 1000)


@NAMES
def test_a_batch_is_its_pictures_one_by_one(name):
    network = CLASSIFIERS[name](num_classes=5, in_channels=2, width=1 / 32).eval()
    size, _ = PUBLISHED[name]
    images = torch.randn(2, 2, size, size)
    with torch.no_grad():
        logits = network(images)
        assert logits.shape == (2, 5)
        torch.testing.assert_close(logits, torch.cat([network(images[:1]), network(images[1:])]))
        assert (logits[0] - logits[1]).abs().max() > 1e-3  # the pictures reach the logits


@NAMES
def test_every_parameter_gets_a_gradient(name):
    network = CLASSIFIERS[name](num_classes=3, width=1 / 16).train()
    size, _ = PUBLISHED[name]
    nn.functional.cross_entropy(network(torch.randn(2, 3, size, size)), torch.tensor([0, 2])).backward()
    gradients = {name: parameter.grad for name, parameter in network.named_parameters()}
    assert [name for name, gradient in gradients.items() if gradient is None or gradient.count_nonzero() == 0] == []
    assert all(gradient.isfinite().all() for gradient in gradients.values())


@NAMES
def test_options_are_checked(name):
    with torch.device("meta"):
        for option in ("num_classes", "in_channels"):
            with pytest.raises(BadOption, match=f"{option} must be a whole number from 1 up, got 0"):
                CLASSIFIERS[name](**{option: 0})
        with pytest.raises(BadOption, match="width must be a number above 0"):
            CLASSIFIERS[name](width=-1)


def test_resnets_flavors():
    with torch.device("meta"):
        deep = CLASSIFIERS["resnet50"](deep_stem=True, stride_in="1x1", stem_pool="padded_ceil")
        assert sum(p.numel() for p in deep.parameters()) == 23_631_808 + 2_049_000
    assert deep.layer2[0].conv1.stride == (2, 2)
    assert deep.maxpool.ceil_mode
    assert list(deep.conv1._modules) == ["conv1_1", "bn1_1", "relu1_1", "conv1_2", "bn1_2", "relu1_2", "conv1_3"]


def test_vggs_classifier_and_trunk_are_the_same_sums():
    classifier = vgg16_classifier(num_classes=5, width=1 / 64).eval()
    trunk = VGG16(width=1 / 64, padding=1).eval()
    full = classifier.classifier
    own = {name: values for name, values in classifier.state_dict().items() if not name.startswith("classifier.")}
    missing, unexpected = trunk.load_state_dict(own, strict=False)
    assert sorted(missing) == ["fc6.bias", "fc6.weight", "fc7.bias", "fc7.weight"]
    assert unexpected == []
    with torch.no_grad():
        trunk.fc6.weight.copy_(full.fc6.weight.view_as(trunk.fc6.weight))
        trunk.fc7.weight.copy_(full.fc7.weight.view_as(trunk.fc7.weight))
        images = torch.randn(2, 3, 224, 224)
        torch.testing.assert_close(classifier(images), full.fc8(trunk(images).fc7.flatten(1)))


def test_vggs_classifier_takes_its_size_alone():
    network = vgg16_classifier(num_classes=7, width=1 / 64)
    for size in (193, 224):
        assert network(torch.randn(1, 3, size, 224)).shape == (1, 7)
    for size, cells in ((1, 1), (192, 6), (225, 8)):
        message = rf"map of 7 × 7, got {cells} × 7; .* pictures to 224 × 224 \(sides of 193 to 224 do\)"
        with pytest.raises(ShapeError, match=message):
            network(torch.randn(1, 3, size, 224))
