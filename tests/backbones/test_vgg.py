import pytest
import torch

from pixelwise.backbones.vgg import VGG16
from pixelwise.errors import ShapeError


def test_layers_are_column_d():
    """Spec, networks-2014-2016 §2.1: parameters of each convolution, biases included."""
    with torch.device("meta"):
        network = VGG16()
    counts = {}
    for name, parameter in network.named_parameters():
        leaf = name.rsplit(".", 2)[-2]
        counts[leaf] = counts.get(leaf, 0) + parameter.numel()
    assert counts == {
        "conv1_1": 1_792,
        "conv1_2": 36_928,
        "conv2_1": 73_856,
        "conv2_2": 147_584,
        "conv3_1": 295_168,
        "conv3_2": 590_080,
        "conv3_3": 590_080,
        "conv4_1": 1_180_160,
        "conv4_2": 2_359_808,
        "conv4_3": 2_359_808,
        "conv5_1": 2_359_808,
        "conv5_2": 2_359_808,
        "conv5_3": 2_359_808,
        "fc6": 102_764_544,
        "fc7": 16_781_312,
    }
    assert sum(counts.values()) == 134_260_544
    assert tuple(network.channels) == (256, 512, 4096)


def test_a_classifiers_picture_gives_one_cell():
    network = VGG16(width=1 / 32, padding=1).eval()
    features = network(torch.randn(1, 3, 224, 224))
    assert features.fc7.shape == (1, 128, 1, 1)
    assert features.pool3.shape == (1, 8, 28, 28)


def test_fc6_is_the_linear_layer_on_the_flattened_map():
    network = VGG16(width=1 / 32)
    values = torch.randn(2, 16, 7, 7)
    weight = network.fc6.weight.flatten(1)
    torch.testing.assert_close(network.fc6(values).flatten(1), values.flatten(1) @ weight.T + network.fc6.bias)


def test_too_small_without_the_padding():
    network = VGG16(width=1 / 64, padding=1)
    with pytest.raises(ShapeError, match=r"at least 7 × 7, a picture of \(192, 300\) gives \(6, 10\); use padding=100"):
        network(torch.randn(1, 3, 192, 300))
    assert network(torch.randn(1, 3, 193, 193)).fc7.shape[-2:] == (1, 1)


def test_padding_of_fc6_makes_every_size_possible():
    network = VGG16(width=1 / 64, padding=1, fc6_padding=3).eval()
    for size in [(1, 1), (2, 33), (65, 40)]:
        features = network(torch.randn(1, 3, *size))
        for values, stride in zip(features, (8, 16, 32), strict=True):
            assert values.shape[-2:] == tuple(-(-n // stride) for n in size)


def test_pool5_at_stride_1_keeps_the_stride_of_pool4():
    network = VGG16(width=1 / 64, padding=1, fc6_padding=6, pool5_stride=1).eval()
    assert network.fc6.kernel_size == (14, 14)
    for size in [(1, 1), (2, 33), (65, 40)]:
        features = network(torch.randn(1, 3, *size))
        assert features.fc7.shape[-2:] == features.pool4.shape[-2:]
    with pytest.raises(ShapeError, match=r"at least 14 × 14, a picture of \(64, 64\) gives \(5, 5\)"):
        VGG16(width=1 / 64, padding=1, pool5_stride=1)(torch.randn(1, 3, 64, 64))
