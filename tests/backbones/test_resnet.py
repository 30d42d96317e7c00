import pytest
import torch

from pixelwise.backbones.resnet import (
    BasicBlock,
    Bottleneck,
    ResNetClassifier,
    resnet18,
    resnet34,
    resnet50,
    resnet101,
    resnet152,
)
from pixelwise.errors import BadOption

# spec, networks-2015-2017 §0.1: units per stage and parameters without the classifier
PUBLISHED = [
    (resnet50, (3, 4, 6, 3), 23_508_032),
    (resnet101, (3, 4, 23, 3), 42_500_160),
    (resnet152, (3, 8, 36, 3), 58_143_808),
]


@pytest.mark.parametrize(("make", "units", "parameters"), PUBLISHED)
def test_units_parameters_and_maps(make, units, parameters):
    with torch.device("meta"):
        network = make()
        features = network(torch.empty(1, 3, 224, 321))
    assert tuple(len(s) for s in (network.layer1, network.layer2, network.layer3, network.layer4)) == units
    assert sum(p.numel() for p in network.parameters()) == parameters
    assert features._fields == network.channels._fields == ("res2", "res3", "res4", "res5")
    assert [f.shape[1] for f in features] == list(network.channels) == [256, 512, 1024, 2048]
    assert [tuple(f.shape[2:]) for f in features] == [(56, 81), (28, 41), (14, 21), (7, 11)]


def test_names_are_torchvisions():
    with torch.device("meta"):
        names = set(resnet50().state_dict())
    for name in (
        "conv1.weight",
        "bn1.running_var",
        "layer1.0.conv2.weight",
        "layer1.0.downsample.0.weight",
        "layer3.5.bn3.num_batches_tracked",
        "layer4.0.downsample.1.bias",
    ):
        assert name in names
    assert "layer1.1.downsample.0.weight" not in names
    assert len(names) == 318  # torchvision's 320 without fc.weight and fc.bias


def test_stride_stands_in_conv2():
    network = resnet50(width=1 / 16)
    for stage in (network.layer2, network.layer3, network.layer4):
        assert stage[0].conv1.stride == (1, 1)
        assert stage[0].conv2.stride == stage[0].downsample[0].stride == (2, 2)


def test_bottleneck_is_figure_5():
    unit = Bottleneck(6, 4, stride=2).eval()
    values = torch.randn(2, 6, 9, 8)
    residual = unit.bn1(unit.conv1(values)).relu()
    residual = unit.bn2(unit.conv2(residual)).relu()
    expected = (unit.bn3(unit.conv3(residual)) + unit.downsample(values)).relu()
    torch.testing.assert_close(unit(values.clone()), expected)


def test_input_is_not_changed():
    network = resnet50(width=1 / 16).train()
    images = torch.randn(1, 3, 32, 32)
    before = images.clone()
    res2 = network(images).res2
    assert torch.equal(images, before)
    assert (res2 >= 0).all()


# spec, networks-2015-2017 §0.1 (50, 101, 152); torchvision's published counts less the classifier (18, 34)
FLAVORS = [
    (resnet18, {}, 11_176_512),
    (resnet34, {}, 21_284_672),
    (resnet50, {"deep_stem": True}, 23_631_808),
    (resnet101, {"deep_stem": True}, 42_623_936),
    (resnet152, {"deep_stem": True}, 58_267_584),
    (resnet101, {"stride_in": "1x1", "stem_pool": "padded_ceil"}, 42_500_160),
]


@pytest.mark.parametrize(("make", "options", "parameters"), FLAVORS)
def test_flavors(make, options, parameters):
    with torch.device("meta"):
        network = make(**options)
        features = network(torch.empty(1, 3, 224, 321))
    assert sum(p.numel() for p in network.parameters()) == parameters
    assert [f.shape[1] for f in features] == list(network.channels)
    if "stem_pool" not in options:
        assert [tuple(f.shape[2:]) for f in features] == [(56, 81), (28, 41), (14, 21), (7, 11)]


def test_stride_in_1x1_is_the_first_releases():
    network = resnet50(width=1 / 16, stride_in="1x1")
    for stage in (network.layer2, network.layer3, network.layer4):
        assert stage[0].conv1.stride == stage[0].downsample[0].stride == (2, 2)
        assert stage[0].conv2.stride == (1, 1)
    assert network.layer1[0].conv1.stride == network.layer2[1].conv1.stride == (1, 1)
    with pytest.raises(BadOption, match='stride_in must be "1x1" or "3x3", got "2x2"'.replace('"2x2"', "'2x2'")):
        resnet50(width=1 / 16, stride_in="2x2")
    with pytest.raises(BadOption, match="units of two 3 × 3 convolutions have no 1 × 1"):
        BasicBlock(4, 4, stride_in="1x1")


def test_unpadded_pool_is_the_first_releases():
    """Windows 2j … 2j + 2 of the stem's map, the last one cut where it reaches over the edge."""
    network = resnet50(width=1 / 16, stem_pool="unpadded").eval()
    images = torch.randn(1, 3, 40, 30)
    stem = network.bn1(network.conv1(images)).relu()  # 20 x 15
    windows = [[stem[..., 2 * y : 2 * y + 3, 2 * x : 2 * x + 3].amax((-2, -1)) for x in range(7)] for y in range(10)]
    pooled = torch.stack([torch.stack(row, -1) for row in windows], -2)
    torch.testing.assert_close(network(images).res2, network.layer1(pooled))
    for size in ((1, 1), (2, 5), (3, 1)):
        assert network(torch.randn(1, 3, *size)).res5.shape[-2:] == (1, 1)
    with pytest.raises(BadOption, match='stem_pool must be "padded", "padded_ceil" or "unpadded", got True'):
        resnet50(width=1 / 16, stem_pool=True)


def test_padded_ceil_pool_is_caffes():
    """Spec, networks-2014-2016 §5.6 and §9: 321 -> 161 -> 81, and 160 -> 81, too, where torch's pool gives 80."""
    with torch.device("meta"):
        for stem_pool, cells in (("padded_ceil", 81), ("padded", 80)):
            res2 = resnet50(stem_pool=stem_pool)(torch.empty(1, 3, 320, 321)).res2
            assert tuple(res2.shape[2:]) == (cells, 81)


def test_basic_block_is_figure_5():
    unit = BasicBlock(6, 4, stride=2).eval()
    values = torch.randn(2, 6, 9, 8)
    residual = unit.bn2(unit.conv2(unit.bn1(unit.conv1(values)).relu()))
    torch.testing.assert_close(unit(values.clone()), (residual + unit.downsample(values)).relu())


def test_classifier_has_torchvisions_names_and_counts():
    with torch.device("meta"):
        network = ResNetClassifier(Bottleneck, (3, 4, 6, 3))
    assert len(network.state_dict()) == 320
    assert sum(p.numel() for p in network.parameters()) == 25_557_032
    narrow = ResNetClassifier(Bottleneck, (3, 4, 6, 3), num_classes=7, width=1 / 16).eval()
    images = torch.randn(2, 3, 65, 40)
    assert narrow(images).shape == (2, 7)
    assert narrow(torch.randn(1, 3, 1, 1)).shape == (1, 7)
