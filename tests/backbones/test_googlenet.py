import pytest
import torch

from pixelwise.backbones.googlenet import GoogLeNet, Inception, googlenet_classifier
from pixelwise.errors import BadOption, ShapeError
from pixelwise.layers.resample import Resampling


def test_layers_are_the_prototxts():
    """Spec, networks-2014-2016 §2.1 and §2.2: Caffe's names and channels, and 5 973 552 parameters."""
    with torch.device("meta"):
        network = GoogLeNet()
    convolutions = {
        name.rsplit(".", 1)[-1]: layer for name, layer in network.named_modules() if isinstance(layer, torch.nn.Conv2d)
    }
    assert sum(p.numel() for p in network.parameters()) == 5_973_552
    assert network.channels == (1024,)
    assert len(convolutions) == 3 + 9 * 6
    assert list(convolutions)[:9] == [
        *("conv1_7x7_s2", "conv2_3x3_reduce", "conv2_3x3"),
        *("inception_3a_1x1", "inception_3a_3x3_reduce", "inception_3a_3x3", "inception_3a_5x5_reduce"),
        *("inception_3a_5x5", "inception_3a_pool_proj"),
    ]
    parts = ("1x1", "3x3", "5x5", "pool_proj")
    outputs = {
        letter: sum(convolutions[f"inception_{letter}_{part}"].out_channels for part in parts)
        for letter in ("3a", "3b", "4a", "4b", "4c", "4d", "4e", "5a", "5b")
    }
    assert list(outputs.values()) == [256, 480, 512, 512, 512, 528, 832, 832, 1024]
    assert [convolutions[f"inception_4d_{part}"].weight.shape[:2] for part in ("3x3_reduce", "3x3", "5x5")] == [
        (144, 512),
        (288, 144),
        (64, 32),
    ]
    names = [name.rsplit(".", 1)[-1] for name, layer in network.named_modules() if not list(layer.children())]
    assert names[:10] == [
        *("conv1_7x7_s2", "conv1_relu_7x7", "pool1_3x3_s2", "pool1_norm1"),
        *("conv2_3x3_reduce", "conv2_relu_3x3_reduce", "conv2_3x3", "conv2_relu_3x3"),
        *("conv2_norm2", "pool2_3x3_s2"),
    ]
    assert [name for name in names if name.startswith("pool")] == [
        *("pool1_3x3_s2", "pool1_norm1", "pool2_3x3_s2", "pool3_3x3_s2", "pool4_3x3_s2")
    ]
    assert len(names) == len(set(names))


def test_map_sizes():
    """Szegedy et al., Table 1, for 224 × 224."""
    with torch.device("meta"):
        network = GoogLeNet()
        values = torch.empty(1, 3, 224, 224)
        shapes = []
        for group in network.children():
            values = group(values)
            shapes.append(tuple(values.shape[1:]))
    assert shapes == [(64, 56, 56), (192, 28, 28), (480, 14, 14), (832, 7, 7), (1024, 7, 7)]


def test_inception_is_figure_2b():
    inception = Inception("inception_3a", 6, [4, 3, 5, 2, 3, 4]).eval()
    layer = {name.rsplit(".", 1)[-1].removeprefix("inception_3a_"): m for name, m in inception.named_modules()}
    values = torch.randn(2, 6, 5, 7)
    three = layer["3x3"](layer["3x3_reduce"](values).relu()).relu()
    five = layer["5x5"](layer["5x5_reduce"](values).relu()).relu()
    pool = torch.full_like(values, -torch.inf)
    for i in range(5):
        for j in range(7):
            pool[..., i, j] = values[..., max(i - 1, 0) : i + 2, max(j - 1, 0) : j + 2].amax((-2, -1))
    expected = torch.cat([layer["1x1"](values).relu(), three, five, layer["pool_proj"](pool).relu()], 1)
    torch.testing.assert_close(inception(values.clone()), expected)
    assert inception.channels == expected.shape[1] == 4 + 5 + 3 + 4


def test_every_size_gives_a_grid_for_fcn():
    """Kernel 63, stride 32, offset 1 (spec, networks-2014-2016 §2.1) covers every picture."""
    with torch.device("meta"):
        network = GoogLeNet(in_channels=1, width=1 / 64)
        sizes = {size: network(torch.empty(1, 1, size, 1)).inception_5b.shape[2:] for size in range(1, 98)}
    for size, (rows, columns) in sizes.items():
        assert rows == max(1, (size + 6 - 5) // 32)
        assert columns == 1
        resampling = Resampling.deconvolution((rows, columns), (size, 1), factor=32, offset=1, kernel=63)
        assert resampling.image_size == (size, 1)


def test_a_tiny_picture_is_mirrored_at_the_bottom_and_the_right():
    network = GoogLeNet(width=1 / 64).eval()
    images = torch.randn(1, 3, 20, 31)
    mirrored = torch.cat([images, images[:, :, 8:19].flip(2)], 2)
    assert mirrored.shape == (1, 3, 31, 31)
    torch.testing.assert_close(network(images).inception_5b, network(mirrored).inception_5b)


def test_filters_behind_a_relu_add_up_to_zero():
    """So that the positive maps do not decide each filter's sign: nearly all channels live, whatever the picture."""
    network = GoogLeNet(width=1 / 4)
    network(torch.randn(2, 3, 96, 96)).inception_5b.square().sum().backward()
    dead = channels = 0
    for name, layer in network.named_modules():
        if isinstance(layer, torch.nn.Conv2d):
            sums = layer.weight.sum((1, 2, 3)).abs()
            assert (sums.max() > 0.1) if name == "conv1.conv1_7x7_s2" else (sums.max() < 1e-4)
            variance = 2 / layer.weight[0].numel()
            assert layer.weight.var(correction=0).item() == pytest.approx(variance, rel=0.35)
            dead += int((layer.bias.grad == 0).sum())
            channels += layer.out_channels
    assert dead / channels < 0.05


def test_another_padding():
    with torch.device("meta"):
        network = GoogLeNet(width=1 / 64, padding=100)
        assert network(torch.empty(1, 3, 1, 30)).inception_5b.shape[2:] == (6, 7)


def test_classifier_is_trunk_average_and_linear():
    network = googlenet_classifier(num_classes=5, width=1 / 32).eval()
    images = torch.randn(2, 3, 224, 224)
    with torch.no_grad():
        mean = network.backbone(images).inception_5b.mean((2, 3))
        expected = mean @ network.loss3_classifier.weight.T + network.loss3_classifier.bias
        torch.testing.assert_close(network(images), expected)
    assert network.pool5_drop_7x7_s1.p == 0.4


def test_classifier_takes_its_size_alone():
    network = googlenet_classifier(num_classes=7, width=1 / 64).eval()
    for size in (223, 254):
        assert network(torch.randn(1, 3, size, 224)).shape == (1, 7)
    with pytest.raises(ShapeError, match=r"takes a map of 1 × 1, got 1 × 2; .* 224 × 224 \(sides of 223 to 254 do\)"):
        network(torch.randn(1, 3, 224, 255))
    with pytest.raises(ShapeError, match="averages 7 × 7 cells, which pictures from 223 × 223 up give, got 222 × 300"):
        network(torch.randn(1, 3, 222, 300))
    with pytest.raises(BadOption, match="num_classes must be a whole number from 1 up, got -1"):
        googlenet_classifier(num_classes=-1)
