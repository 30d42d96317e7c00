import pytest
import torch
from torch import nn
from torch.nn import functional

from pixelwise.errors import BadOption
from pixelwise.layers.small_batch import BatchNorm2d
from pixelwise.models.pspnet import PyramidPooling, average_bins, max_bins, pspnet_resnet50, pspnet_resnet101

NARROW = {"num_classes": 4, "width": 1 / 32}


def count(module):
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(
    ("builder", "num_classes", "deployed", "trained"),
    [
        (pspnet_resnet50, 150, 46_782_550, 49_180_908),
        (pspnet_resnet50, 21, 46_716_373, 49_081_578),
        (pspnet_resnet101, 21, 65_708_501, 68_073_706),
        (pspnet_resnet101, 19, 65_707_475, 68_072_166),
    ],
)
def test_parameters_with_and_without_the_auxiliary_branch(builder, num_classes, deployed, trained):
    """The head is four levels, conv5_4 and conv6: 4(2048·512 + 2·512) + 9·4096·512 + 2·512 + 513 K."""
    with torch.device("meta"):
        network = builder(num_classes=num_classes)
        auxiliary = builder(num_classes=num_classes, auxiliary=True)
    assert count(network) == deployed
    assert count(auxiliary) == trained
    head = 4 * (2048 * 512 + 2 * 512) + 9 * 4096 * 512 + 2 * 512 + 513 * num_classes
    assert count(network) - count(network.backbone) == head
    assert trained - deployed == 9 * 1024 * 256 + 2 * 256 + 257 * num_classes


@pytest.mark.parametrize(("builder", "strides"), [(pspnet_resnet50, (2, 1)), (pspnet_resnet101, (1, 2))])
def test_strides_and_dilations_of_the_prototxts(builder, strides):
    with torch.device("meta"):
        trunk = builder(num_classes=2).backbone
    unit = trunk.layer2[0]
    assert (unit.conv1.stride[0], unit.conv2.stride[0]) == strides
    for stage, dilation in ((trunk.layer1, 1), (trunk.layer2, 1), (trunk.layer3, 2), (trunk.layer4, 4)):
        assert {unit.conv2.dilation for unit in stage} == {(dilation, dilation)}
        assert {unit.conv2.padding for unit in stage} == {(dilation, dilation)}
    assert [trunk.conv1[i].out_channels for i in (0, 3, 6)] == [64, 64, 128]


@pytest.mark.parametrize(("crop", "grid"), [(473, 60), (713, 90)])
def test_grids_of_the_published_crops(crop, grid):
    with torch.device("meta"):
        network = pspnet_resnet50(num_classes=19).eval()
        head = network.heads(torch.empty(1, 3, crop, crop))["logits"]
    assert head.scores.shape == (1, 19, grid, grid)
    assert head.resampling.image_size == (crop, crop)


@pytest.mark.parametrize("size", [60, 90])
@pytest.mark.parametrize("number", [1, 2, 3, 6])
def test_bins_are_the_fixed_kernels_of_the_release(size, number):
    values = torch.randn(2, 3, size, size)
    torch.testing.assert_close(average_bins(values, number), functional.avg_pool2d(values, size // number))
    assert torch.equal(max_bins(values, number), functional.max_pool2d(values, size // number))


@pytest.mark.parametrize("size", [(1, 1), (2, 5), (7, 9), (13, 6), (20, 31)])
@pytest.mark.parametrize("number", [1, 2, 3, 6])
def test_bins_are_adaptive_poolings(size, number):
    """At every size, smaller ones than the number of bins included; so are the gradients."""
    for ours, theirs in (
        (average_bins, functional.adaptive_avg_pool2d),
        (max_bins, functional.adaptive_max_pool2d),
    ):
        one, other = (torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(1)) for _ in range(2))
        found, expected = ours(one.requires_grad_(), number), theirs(other.requires_grad_(), number)
        torch.testing.assert_close(found, expected)
        weights = torch.randn(found.shape)
        (found * weights).sum().backward()
        (expected * weights).sum().backward()
        torch.testing.assert_close(one.grad, other.grad)


def pyramid(module, features, order):
    """Figure 3, with torch's own functions."""
    maps = [features]
    for number in order:
        pooled = module.levels[f"pool{number}"](functional.adaptive_avg_pool2d(features, number))
        maps.append(functional.interpolate(pooled, features.shape[-2:], mode="bilinear", align_corners=True))
    return torch.cat(maps, 1)


def test_pyramid_pooling_is_figure_3():
    module = PyramidPooling(16, (1, 2, 3, 6)).eval()
    features = torch.randn(2, 16, 11, 7)
    torch.testing.assert_close(module(features), pyramid(module, features, (6, 3, 2, 1)))
    assert module.channels == 32


def test_semsegs_order_is_a_permutation_of_conv5_4():
    network = pspnet_resnet50(**NARROW).eval()
    module, conv5_4 = network.pyramid_pooling, network.conv5_4[0]
    features = torch.randn(1, 64, 6, 8)
    start, *levels = conv5_4.weight.split([64, 16, 16, 16, 16], 1)
    weight = torch.cat([start, *reversed(levels)], 1)
    semseg = functional.conv2d(pyramid(module, features, (1, 2, 3, 6)), weight, padding=1)
    torch.testing.assert_close(conv5_4(module(features)), semseg)


def test_ablations_of_the_pyramid():
    with torch.device("meta"):
        alone = pspnet_resnet50(num_classes=150, bins=(1,))
        baseline = pspnet_resnet50(num_classes=150, bins=())
    assert alone.pyramid_pooling.levels["pool1"][0].out_channels == 2048
    assert alone.conv5_4[0].in_channels == 4096
    assert baseline.conv5_4[0].in_channels == 2048
    network = pspnet_resnet50(**NARROW, pooling="max", bins=(2, 5)).eval()
    features = torch.randn(1, 64, 9, 7)
    level = network.pyramid_pooling.levels["pool5"]
    interp = functional.interpolate(level(functional.adaptive_max_pool2d(features, 5)), (9, 7), mode="bilinear",
                                    align_corners=True)  # fmt: skip
    torch.testing.assert_close(network.pyramid_pooling(features)[:, 64:96], interp)


def test_last_upsampling_is_a_zoom_by_8():
    """Corners to corners at 8k + 1; elsewhere the same grid, cropped."""
    network = pspnet_resnet50(**NARROW).eval()
    head = network.heads(torch.randn(1, 3, 65, 41))["logits"]
    expected = functional.interpolate(head.scores, (65, 41), mode="bilinear", align_corners=True)
    torch.testing.assert_close(head.full_size(), expected)
    other = network.heads(torch.randn(1, 3, 60, 39))["logits"]
    zoomed = functional.interpolate(other.scores, (57, 33), mode="bilinear", align_corners=True)
    torch.testing.assert_close(other.full_size()[..., :57, :33], zoomed)


@pytest.mark.parametrize("builder", [pspnet_resnet50, pspnet_resnet101])
def test_auxiliary_branch_serves_training_alone(builder):
    network = builder(**NARROW, auxiliary=True)
    images = torch.randn(2, 3, 33, 41)
    assert list(network.eval().heads(images)) == ["logits"]
    heads = network.train().heads(images)
    assert list(heads) == ["logits", "auxiliary"]
    assert heads["auxiliary"].full_size().shape == (2, 4, 33, 41)
    heads["auxiliary"].full_size().square().sum().backward()
    assert all(p.grad.any() for p in network.auxiliary.parameters())
    assert network.backbone.layer3[-1].conv3.weight.grad.any()
    assert network.backbone.layer4[0].conv1.weight.grad is None  # the branch leaves before layer4
    assert list(builder(**NARROW).train().heads(images)) == ["logits"]


def test_dropout_in_training_alone():
    network = pspnet_resnet50(**NARROW, auxiliary=True).train()
    for module in network.modules():
        if isinstance(module, BatchNorm2d):
            module.eval()
    images = torch.randn(8, 3, 33, 33)  # enough maps that one of them is dropped
    one, other = network.heads(images), network.heads(images)
    assert all(not torch.equal(one[key].scores, other[key].scores) for key in one)
    network.eval()
    assert torch.equal(network(images), network(images))
    assert (network.conv5_4[3].p, network.auxiliary[3].p) == (0.1, 0.1)
    assert isinstance(network.auxiliary[3], nn.Dropout2d)


def test_initialization_is_msra():
    network = pspnet_resnet50(num_classes=21, width=1 / 8)
    for conv in (network.conv5_4[0], network.backbone.layer4[0].conv3, network.pyramid_pooling.levels["pool2"][0]):
        fan_in = conv.weight[0].numel()
        assert conv.weight.std().item() == pytest.approx((2 / fan_in) ** 0.5, rel=0.05)


def test_every_small_size_comes_back():
    network = pspnet_resnet50(num_classes=3, width=1 / 64).eval()
    with torch.inference_mode():
        for size in range(1, 41):
            assert network(torch.randn(1, 3, size, 41 - size)).shape == (1, 3, size, 41 - size)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bins": (1, 0)}, r"bins must be a list of whole numbers from 1 up, got \(1, 0\)"),
        ({"bins": (2, 2)}, r"the bins of a pyramid differ, got \(2, 2\)"),
        ({"pooling": "mean"}, 'pooling must be "average" or "max", got \'mean\''),
    ],
)
def test_impossible_options(options, message):
    with torch.device("meta"), pytest.raises(BadOption, match=message):
        pspnet_resnet101(num_classes=2, **options)
