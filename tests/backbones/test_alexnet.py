import pytest
import torch
from torch.nn import functional

from pixelwise.backbones.alexnet import AlexNet, AlexNetClassifier, AlexNetConvolutions, alexnet_classifier
from pixelwise.errors import BadOption, ShapeError


def test_layers_are_caffenets():
    """Spec, networks-2014-2016 §2.1: parameters of each layer; §8.3: the shapes of the groups' weights."""
    with torch.device("meta"):
        network = AlexNet()
    counts = {}
    for name, parameter in network.named_parameters():
        leaf = name.rsplit(".", 2)[-2]
        counts[leaf] = counts.get(leaf, 0) + parameter.numel()
    assert counts == {
        "conv1": 34_944,
        "conv2": 307_456,
        "conv3": 885_120,
        "conv4": 663_936,
        "conv5": 442_624,
        "fc6": 37_752_832,
        "fc7": 16_781_312,
    }
    assert sum(counts.values()) == 56_868_224 == 56_954_261 - 86_037  # FCN-AlexNet-32s less its score_fr
    assert network.channels == (4096,)
    convolutions = network.convolutions
    shapes = [tuple(layer.weight.shape) for layer in (convolutions.conv2, convolutions.conv4, convolutions.conv5)]
    assert shapes == [(256, 48, 5, 5), (384, 192, 3, 3), (256, 192, 3, 3)]


def test_order_is_convolution_relu_pool_norm():
    assert [name for name, _ in AlexNetConvolutions(3, width=1 / 48, padding=0).named_children()] == [
        *("conv1", "relu1", "pool1", "norm1", "conv2", "relu2", "pool2", "norm2"),
        *("conv3", "relu3", "conv4", "relu4", "conv5", "relu5", "pool5"),
    ]


@pytest.mark.parametrize(
    ("size", "padding", "cells"),
    [
        # spec, networks-2014-2016 §2.4
        (500, 100, {"conv1": 173, "pool1": 86, "pool2": 43, "pool5": 21}),
        (227, 100, {"conv1": 105, "pool1": 52, "pool2": 26, "pool5": 13}),
        # the classifier's: Krizhevsky et al., Figure 2
        (227, 0, {"conv1": 55, "pool1": 27, "pool2": 13, "conv5": 13, "pool5": 6}),
    ],
)
def test_map_sizes(size, padding, cells):
    with torch.device("meta"):
        network = AlexNet(padding=padding)
        values = torch.empty(1, 3, size, size + 32)
        assert network(values).fc7.shape == (1, 4096, cells["pool5"] - 5, cells["pool5"] - 4)
        for name, layer in network.convolutions.named_children():
            values = layer(values)
            if name in cells:
                assert values.shape[-2] == cells[name]
    assert network.convolutions.pool5 is layer


def test_rows_of_pool5_are_the_formula():
    with torch.device("meta"):
        network = AlexNetConvolutions(1, width=1 / 48, padding=100)
        for size in range(1, 80):
            pool5 = network(torch.empty(1, 1, size, 1))
            assert pool5.shape[2:] == ((size + 200 - 7) // 32, 6)


def test_a_group_is_half_the_channels():
    network = AlexNetConvolutions(3, width=1 / 12, padding=0)
    for layer in (network.conv2, network.conv4, network.conv5):
        values = torch.randn(2, layer.in_channels, 5, 6)
        half, out = layer.in_channels // 2, layer.out_channels // 2
        expected = [
            functional.conv2d(values[:, :half], layer.weight[:out], layer.bias[:out], padding=layer.padding),
            functional.conv2d(values[:, half:], layer.weight[out:], layer.bias[out:], padding=layer.padding),
        ]
        torch.testing.assert_close(layer(values), torch.cat(expected, 1))


@pytest.mark.parametrize("width", [1 / 96, 1 / 64, 0.37, 1.3])
def test_every_width_has_even_channels(width):
    with torch.device("meta"):
        network = AlexNetConvolutions(3, width=width, padding=0)
    assert network.channels == network.conv5.out_channels
    for layer in (network.conv2, network.conv4, network.conv5):
        assert layer.in_channels % 2 == layer.out_channels % 2 == 0


def test_fcns_padding_takes_every_picture():
    network = AlexNet(in_channels=4, width=1 / 64).eval()
    for size in ((1, 1), (1, 40), (37, 2), (65, 64)):
        assert min(network(torch.randn(1, 4, *size)).fc7.shape) >= 1


def test_too_small_without_the_padding():
    network = AlexNet(width=1 / 64, padding=0)
    assert network(torch.randn(1, 3, 199, 231)).fc7.shape == (1, 64, 1, 2)
    message = r"at least 6 × 6, which pictures from 199 × 199 up give, got 198 × 300; use larger pictures, or"
    with pytest.raises(ShapeError, match=message):
        network(torch.randn(1, 3, 198, 300))
    with pytest.raises(ShapeError, match="from 159 × 159 up give, got 300 × 1;"):
        AlexNet(width=1 / 64, padding=20)(torch.randn(1, 3, 300, 1))


def test_classifier_and_trunk_are_the_same_sums():
    """fc6 and fc7 as convolutions, with the classifier's numbers, are the linear layers on the flattened map."""
    classifier = alexnet_classifier(num_classes=5, width=1 / 64).eval()
    trunk = AlexNet(width=1 / 64, padding=0).eval()
    trunk.convolutions.load_state_dict(classifier.convolutions.state_dict())
    full = classifier.classifier
    with torch.no_grad():
        trunk.fc6.weight.copy_(full.fc6.weight.view_as(trunk.fc6.weight))
        trunk.fc7.weight.copy_(full.fc7.weight.view_as(trunk.fc7.weight))
        images = torch.randn(2, 3, 227, 227)
        torch.testing.assert_close(classifier(images), full.fc8(trunk(images).fc7.flatten(1)))


def test_classifier_takes_its_size_alone():
    network = alexnet_classifier(num_classes=7, width=1 / 64)
    for size in (199, 227, 230):
        assert network(torch.randn(1, 3, size, 227)).shape == (1, 7)
    message = r"takes a map of 6 × 6, got 6 × 7; crop or resize the pictures to 227 × 227 \(sides of 199 to 230 do\)"
    with pytest.raises(ShapeError, match=message):
        network(torch.randn(1, 3, 227, 231))
    with pytest.raises(ShapeError, match="at least 6 × 6, which pictures from 199 × 199 up give, got 3 × 227"):
        network(torch.randn(1, 3, 3, 227))


def test_options():
    with pytest.raises(BadOption, match="num_classes must be a whole number from 1 up, got 0"):
        AlexNetClassifier(0)
    with pytest.raises(BadOption, match="in_channels must be a whole number from 1 up, got 0"):
        AlexNet(in_channels=0)
