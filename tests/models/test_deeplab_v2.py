"""DeepLab v2 from its prototxts' tables (§5.1, §5.5, §5.6 of the specification), and its three scales by hand."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from pixelwise.backbones.resnet import resnet101
from pixelwise.models.deeplab_v1 import deeplab_largefov
from pixelwise.models.deeplab_v2 import (
    deeplab_v2_resnet101_aspp,
    deeplab_v2_resnet101_largefov,
    deeplab_v2_vgg16_aspp_l,
    deeplab_v2_vgg16_aspp_s,
    deeplab_v2_vgg16_largefov,
)

NARROW = {"num_classes": 4, "width": 1 / 32}
VGG = [deeplab_v2_vgg16_largefov, deeplab_v2_vgg16_aspp_s, deeplab_v2_vgg16_aspp_l]
RESNET = [deeplab_v2_resnet101_largefov, deeplab_v2_resnet101_aspp]
EVERY = VGG + RESNET


def settled(network):
    """In evaluation; batch norms have statistics that are not the initial ones, scores are not all but zero."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.3)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.normal_(module.bias, std=0.3)
    for branch in network.aspp.values():
        score = branch if isinstance(branch, nn.Conv2d) else branch[-1]
        nn.init.normal_(score.weight, std=0.3)
    return network.eval()


def leaf_names(module):
    return [name.rpartition(".")[2] for name, leaf in module.named_modules() if not list(leaf.children())]


@pytest.mark.parametrize(
    ("builder", "expected"),
    [
        (deeplab_v2_vgg16_largefov, 20_505_429),
        (deeplab_v2_vgg16_aspp_s, 37_877_652),
        (deeplab_v2_vgg16_aspp_l, 37_877_652),
        (deeplab_v2_resnet101_largefov, 42_394_816 + 105_344 + 2048 * 9 * 21 + 21),
        (deeplab_v2_resnet101_aspp, 44_048_532),
    ],
)
def test_parameters(builder, expected):
    with torch.device("meta"):
        networks = [builder(num_classes=21, multi_scale=multi_scale) for multi_scale in (False, True)]
    assert [sum(p.numel() for p in network.parameters()) for network in networks] == [expected, expected]
    assert list(networks[0].state_dict()) == list(networks[1].state_dict())  # one file serves both


def test_parameters_of_the_resnet_in_parts():
    """§5.6: convolutions and head are learned, scales and shifts of the batch norms are frozen by the recipe."""
    with torch.device("meta"):
        network = deeplab_v2_resnet101_aspp(num_classes=21)
    norms = sum(p.numel() for m in network.modules() if isinstance(m, nn.BatchNorm2d) for p in m.parameters())
    moments = sum(b.numel() for m in network.modules() if isinstance(m, nn.BatchNorm2d) for b in list(m.buffers())[:2])
    head = sum(p.numel() for p in network.aspp.parameters())
    trunk = sum(p.numel() for p in network.backbone.parameters()) - norms
    assert (trunk, head, trunk + head, norms, moments) == (42_394_816, 1_548_372, 43_943_188, 105_344, 105_344)


@pytest.mark.parametrize(
    ("builder", "rates"), [(deeplab_v2_vgg16_aspp_s, (2, 4, 8, 12)), (deeplab_v2_vgg16_aspp_l, (6, 12, 18, 24))]
)
def test_vgg_layers_are_the_table(builder, rates):
    with torch.device("meta"):
        network = builder(num_classes=21)
    names = [
        f"{kind}_{i}" for i in range(1, 5) for kind in ("fc6", "relu6", "drop6", "fc7", "relu7", "drop7", "fc8_voc12")
    ]
    assert leaf_names(network.aspp) == names
    leaves = {name.rpartition(".")[2]: leaf for name, leaf in network.named_modules()}
    for index, rate in enumerate(rates, 1):
        fc6, fc7, fc8 = (leaves[f"{name}_{index}"] for name in ("fc6", "fc7", "fc8_voc12"))
        assert (fc6.weight.shape, fc6.dilation, fc6.padding) == ((1024, 512, 3, 3), (rate, rate), (rate, rate))
        assert (fc7.weight.shape, fc8.weight.shape) == ((1024, 1024, 1, 1), (21, 1024, 1, 1))
        assert leaves[f"drop6_{index}"].p == leaves[f"drop7_{index}"].p == 0.5
    assert not any(isinstance(module, nn.AvgPool2d) for module in network.modules())


def test_vgg_largefov_is_that_of_the_first_paper():
    old, new = deeplab_largefov(**NARROW).eval(), deeplab_v2_vgg16_largefov(**NARROW).eval()
    names = {key.rpartition(".")[0].rpartition(".")[2] for key in old.state_dict()}
    assert names == {key.rpartition(".")[0].rpartition(".")[2] for key in new.state_dict()}
    new.load_state_dict(dict(zip(new.state_dict(), old.state_dict().values(), strict=True)))
    images = torch.randn(2, 3, 50, 41)
    torch.testing.assert_close(new(images), old(images))


def test_resnet_layers_are_the_table():
    with torch.device("meta"):
        network = deeplab_v2_resnet101_aspp(num_classes=21)
    trunk = network.backbone
    assert (trunk.conv1.kernel_size, trunk.conv1.stride, trunk.conv1.bias) == ((7, 7), (2, 2), None)
    assert (trunk.maxpool.kernel_size, trunk.maxpool.stride, trunk.maxpool.padding) == (3, 2, 1)
    assert trunk.maxpool.ceil_mode
    table = ((trunk.layer1, 3, 1, 1), (trunk.layer2, 4, 2, 1), (trunk.layer3, 23, 1, 2), (trunk.layer4, 3, 1, 4))
    for stage, units, stride, dilation in table:
        assert len(stage) == units
        assert {unit.conv2.dilation for unit in stage} == {unit.conv2.padding for unit in stage}
        assert {unit.conv2.dilation for unit in stage} == {(dilation, dilation)}
        assert {unit.conv2.stride for unit in stage} == {(1, 1)}
        assert stage[0].conv1.stride == stage[0].downsample[0].stride == (stride, stride)
    heads = dict(network.aspp.named_children())
    assert list(heads) == ["fc1_voc12_c0", "fc1_voc12_c1", "fc1_voc12_c2", "fc1_voc12_c3"]
    assert [head.dilation[0] for head in heads.values()] == [head.padding[0] for head in heads.values()]
    assert [head.dilation[0] for head in heads.values()] == [6, 12, 18, 24]
    assert all(head.weight.shape == (21, 2048, 3, 3) and head.bias.shape == (21,) for head in heads.values())


def test_resnet_largefov_is_one_convolution():
    with torch.device("meta"):
        network = deeplab_v2_resnet101_largefov(num_classes=21)
    (head,) = network.aspp.values()
    assert (head.weight.shape, head.dilation, head.padding) == ((21, 2048, 3, 3), (12, 12), (12, 12))


def test_score_layers_start_at_a_gaussian():
    network = deeplab_v2_resnet101_aspp(num_classes=21, width=1 / 8)
    for head in network.aspp.values():
        assert head.weight.std().item() == pytest.approx(0.01, rel=0.02)
        assert not head.bias.any()
    score = deeplab_v2_vgg16_aspp_l(num_classes=200, width=1 / 4).aspp["branch1"][-1]
    assert score.weight.std().item() == pytest.approx(0.01, rel=0.02)


def test_the_resnet_is_exact():
    """Each fourth cell is that of the network which ImageNet's weights were trained in."""
    network = settled(deeplab_v2_resnet101_aspp(**NARROW)).double()
    plain = resnet101(width=1 / 32, stride_in="1x1", stem_pool="padded_ceil").double().eval()
    plain.load_state_dict(network.backbone.state_dict())
    images = torch.randn(1, 3, 70, 97, dtype=torch.float64)
    with torch.no_grad():
        dense, coarse = network.backbone(images).res5, plain(images).res5
    torch.testing.assert_close(dense[..., ::4, ::4], coarse, rtol=1e-9, atol=1e-9)


def test_pyramid_of_the_resnet_by_hand():
    network = settled(deeplab_v2_resnet101_aspp(**NARROW))
    features = torch.randn(2, 64, 7, 5)
    state = network.aspp.state_dict()
    expected = 0
    for index, rate in enumerate((6, 12, 18, 24)):
        weight, bias = state[f"fc1_voc12_c{index}.weight"], state[f"fc1_voc12_c{index}.bias"]
        expected = expected + functional.conv2d(features, weight, bias, padding=rate, dilation=rate)
    torch.testing.assert_close(network.aspp(features), expected)


def test_pyramid_of_vgg_by_hand():
    network = settled(deeplab_v2_vgg16_aspp_s(**NARROW))
    features = torch.randn(2, 16, 7, 5)
    state = {key.partition(".")[2]: value for key, value in network.aspp.state_dict().items()}
    expected = 0
    for index, rate in enumerate((2, 4, 8, 12), 1):
        layer = {k: (state[f"{k}_{index}.weight"], state[f"{k}_{index}.bias"]) for k in ("fc6", "fc7", "fc8_voc12")}
        values = functional.relu(functional.conv2d(features, *layer["fc6"], padding=rate, dilation=rate))
        values = functional.relu(functional.conv2d(values, *layer["fc7"]))
        expected = expected + functional.conv2d(values, *layer["fc8_voc12"])
    torch.testing.assert_close(network.aspp(features), expected)


@pytest.mark.parametrize("builder", EVERY)
def test_upsampling_is_interp_on_8k_plus_1(builder):
    network = settled(builder(**NARROW))
    images = torch.randn(1, 3, 41, 25)
    scores = network.heads(images)["logits"].scores
    assert scores.shape[-2:] == (6, 4)
    expected = functional.interpolate(scores, (41, 25), mode="bilinear", align_corners=True)
    torch.testing.assert_close(network(images), expected)


@pytest.mark.parametrize("builder", [deeplab_v2_vgg16_aspp_l, deeplab_v2_resnet101_aspp])
@pytest.mark.parametrize(("size", "grids"), [(321, (41, 31, 21)), (513, (65, 49, 33))])
def test_grids_of_the_scales(builder, size, grids):
    """§5.6: 321 → 241, 161 → 41, 31, 21; 513 → 385, 257 → 65, 49, 33."""
    with torch.device("meta"):
        network = builder(num_classes=21, multi_scale=True)
        sizes = []
        network.backbone.register_forward_pre_hook(lambda _, inputs: sizes.append(tuple(inputs[0].shape[-2:])))
        heads = network.heads(torch.empty(1, 3, size, size))
    assert [side for side, _ in sizes] == {321: [321, 241, 161], 513: [513, 385, 257]}[size]
    assert list(heads) == ["logits", "scale_1", "scale_0.75", "scale_0.5"]
    assert [head.scores.shape[-2:] for head in heads.values()] == [(grids[0],) * 2, *((grid,) * 2 for grid in grids)]
    assert {head.resampling.image_size for head in heads.values()} == {(size, size)}


def near(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4 * expected.abs().max().item())


def resized(values, size):
    return functional.interpolate(values, size, mode="bilinear", align_corners=True)


@pytest.mark.parametrize("builder", EVERY)
def test_three_scales_are_three_runs(builder):
    """On sizes 32k + 1, as all of the paper's are, with torch's own resizing."""
    network, plain = settled(builder(multi_scale=True, **NARROW)), builder(**NARROW).eval()
    plain.load_state_dict(network.state_dict())
    images = torch.randn(2, 3, 65, 97)
    whole = plain.heads(images)["logits"].scores
    three_quarters = plain.heads(resized(images, (49, 73)))["logits"].scores
    half = plain.heads(resized(images, (33, 49)))["logits"].scores
    assert (whole.shape[-2:], three_quarters.shape[-2:], half.shape[-2:]) == ((9, 13), (7, 10), (5, 7))
    fused = torch.stack([whole, resized(three_quarters, (9, 13)), resized(half, (9, 13))]).amax(0)
    heads = network.heads(images)
    for name, scores in (("logits", fused), ("scale_1", whole), ("scale_0.75", three_quarters), ("scale_0.5", half)):
        near(heads[name].scores, scores)
        near(heads[name].full_size(), resized(scores, (65, 97)))
    assert torch.equal(network(images), heads["logits"].full_size())
    parts = [(whole, (9, 13)), (three_quarters, (9, 13)), (half, (9, 13))]
    assert all(torch.isclose(fused, resized(part, size)).any() for part, size in parts)  # each is somewhere the largest


@pytest.mark.parametrize(("builder", "cells"), [(deeplab_v2_vgg16_aspp_s, (7, 9)), (deeplab_v2_resnet101_aspp, (6, 8))])
def test_scales_meet_at_the_pixels_of_their_cells(builder, cells):
    """44 × 58 → 31 × 43 and 22 × 29: what a pixel of the picture, and a cell of its grid, reads in each scale."""
    network = settled(builder(multi_scale=True, **NARROW))
    heads = network.heads(torch.randn(1, 3, 44, 58))
    fused = heads["scale_1"].scores
    assert fused.shape[-2:] == cells
    for name, height, width in (("scale_0.75", 31, 43), ("scale_0.5", 22, 29)):
        scores = heads[name].scores
        rows, columns = torch.arange(44) * (height - 1) / 43, torch.arange(58) * (width - 1) / 57
        near(heads[name].full_size(), interpolated(scores, rows / 8, columns / 8))
        rows, columns = torch.arange(cells[0]) * (height - 1) / 43, torch.arange(cells[1]) * (width - 1) / 57
        fused = torch.maximum(fused, interpolated(scores, rows, columns))
    near(heads["logits"].scores, fused)


def interpolated(scores, rows, columns):
    """Linear between cells, the last one's value behind it."""
    for axis, places in ((2, rows), (3, columns)):
        places = places.clamp(max=scores.shape[axis] - 1)
        below = places.floor().long()
        above = (below + 1).clamp(max=scores.shape[axis] - 1)
        part = (places - below).reshape((-1, 1) if axis == 2 else (-1,))
        scores = scores.index_select(axis, below) * (1 - part) + scores.index_select(axis, above) * part
    return scores


@pytest.mark.parametrize("builder", [deeplab_v2_vgg16_largefov, deeplab_v2_resnet101_aspp])
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_three_scales_of_every_size(builder, training):
    network = builder(multi_scale=True, **NARROW).train(training)
    for size in [(1, 1), (2, 3), (4, 5), (17, 30), (9, 64)]:
        heads = network.heads(torch.randn(2, 3, *size))
        for head in heads.values():
            assert head.full_size().shape == (2, 4, *size)
            assert head.full_size().isfinite().all()


@pytest.mark.parametrize("builder", [deeplab_v2_vgg16_aspp_l, deeplab_v2_resnet101_aspp])
def test_three_scales_train_with_the_same_bits(builder):
    torch.manual_seed(2)
    network = settled(builder(multi_scale=True, num_classes=4, width=1 / 16))
    images = torch.randn(2, 3, 40, 33)
    gradients = []
    torch.use_deterministic_algorithms(True)
    try:
        for _ in range(2):
            network.zero_grad()
            with torch.autocast("cpu", dtype=torch.bfloat16):
                sum(head.full_size().square().mean() for head in network.heads(images).values()).backward()
            gradients.append([p.grad.clone() for p in network.parameters()])
    finally:
        torch.use_deterministic_algorithms(False)
    assert all(torch.equal(one, other) for one, other in zip(*gradients, strict=True))
    assert all(gradient.isfinite().all() and gradient.any() for gradient in gradients[0])
