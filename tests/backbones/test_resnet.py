import pytest
import torch

from pixelwise.backbones.resnet import Bottleneck, resnet50, resnet101, resnet152

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
