import re

import pytest
import torch
from torch import nn
from torch.nn import functional

from pixelwise.errors import BadOption
from pixelwise.layers.small_batch import BatchNorm2d
from pixelwise.models.refinenet import (
    ChainedResidualPooling,
    MultiResolutionFusion,
    ResidualConvUnit,
    refinenet_resnet50,
    refinenet_resnet101,
    refinenet_resnet152,
)

NARROW = {"num_classes": 4, "width": 1 / 32}


def count(module):
    return sum(p.numel() for p in module.parameters())


def lively(module):
    """Weights large enough that a forgotten term shows."""
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.2)
    return module


def resize(values, like):
    return functional.interpolate(values, like.shape[-2:], mode="bilinear", align_corners=True)


@pytest.mark.parametrize(
    ("builder", "total"),
    [(refinenet_resnet50, 99_060_309), (refinenet_resnet101, 118_052_437), (refinenet_resnet152, 133_696_085)],
)
def test_parameters(builder, total):
    with torch.device("meta"):
        network = builder(num_classes=21)
    assert count(network) == total
    assert count(network) - count(network.backbone) == 75_552_277


@pytest.mark.parametrize("blocks", [4, 2])
def test_decoder_has_the_closed_form(blocks):
    def unit(c):
        return 18 * c**2 + c

    adapt = 9 * 2048 * 512 + 9 * 256 * (1024 + 512 + 256) + 2 * unit(512) + 3 * 2 * unit(256)
    fusion = 9 * 256 * (512 + 256) + 2 * 2 * 9 * 256**2
    pooling = blocks * 9 * (512**2 + 3 * 256**2)
    output = 3 * unit(512) + 3 * 3 * unit(256)
    with torch.device("meta"):
        network = refinenet_resnet50(num_classes=21, pooling_blocks=blocks)
    assert count(network) - count(network.backbone) == adapt + fusion + pooling + output + 9 * 256 * 21 + 21


def test_trunk_is_msras():
    with torch.device("meta"):
        network = refinenet_resnet101(num_classes=2).eval()
        features = network.backbone(torch.empty(1, 3, 400, 600))
        scores = network.heads(torch.empty(1, 3, 400, 600))["logits"].scores
    units = [getattr(network.backbone, f"layer{i}")[0] for i in (2, 3, 4)]
    assert [(u.conv1.stride[0], u.conv2.stride[0]) for u in units] == [(2, 1)] * 3
    assert network.backbone.conv1.kernel_size == (7, 7)
    assert (network.backbone.maxpool.padding, network.backbone.maxpool.ceil_mode) == (0, True)
    assert [f.shape[-2:] for f in features] == [(100, 150), (50, 75), (25, 38), (13, 19)]
    assert scores.shape[-2:] == (100, 150)


def test_residual_conv_unit_is_figure_3b():
    unit = lively(ResidualConvUnit(6))
    values = torch.randn(2, 6, 5, 7)
    first = functional.conv2d(values.clamp(min=0), unit.conv.weight, unit.conv.bias, padding=1)
    second = functional.conv2d(first.clamp(min=0), unit.conv_relu_varout_dimred.weight, padding=1)
    torch.testing.assert_close(unit(values), values + second)
    assert unit.conv_relu_varout_dimred.bias is None


def test_multi_resolution_fusion_is_figure_3c():
    fusion = lively(MultiResolutionFusion([6, 4, 8]))
    coarse, middle, fine = torch.randn(2, 6, 2, 1), torch.randn(2, 4, 5, 3), torch.randn(2, 8, 9, 6)
    a, b, c = (
        functional.conv2d(values, conv.weight, padding=1)
        for values, conv in zip((coarse, middle, fine), fusion.joint_varout_dimred, strict=True)
    )
    torch.testing.assert_close(fusion([coarse, middle, fine]), resize(a, fine) + resize(b, fine) + c)
    assert fusion.channels == 4


def test_fusion_of_one_map_is_the_map():
    fusion = MultiResolutionFusion([6])
    values = torch.randn(1, 6, 3, 3)
    assert fusion([values]) is values
    assert count(fusion) == 0


@pytest.mark.parametrize("order", ["pool_conv", "conv_pool"])
@pytest.mark.parametrize("blocks", [2, 4])
def test_chained_residual_pooling_is_figure_3d(order, blocks):
    chain = lively(ChainedResidualPooling(6, blocks, order))
    values = torch.randn(2, 6, 8, 7)
    total = link = values.clamp(min=0)
    for conv in chain.outvar_dimred:
        if order == "pool_conv":
            link = functional.conv2d(functional.max_pool2d(link, 5, 1, 2), conv.weight, padding=1)
        else:
            link = functional.max_pool2d(functional.conv2d(link, conv.weight, padding=1), 5, 1, 2)
        total = total + link
    torch.testing.assert_close(chain(values), total)
    assert len(chain.outvar_dimred) == blocks


def ported_name(name):
    """The port's name of one of our parameters, after the table in the header."""
    if name.startswith("backbone."):
        return name.removeprefix("backbone.")
    tables = {
        r"refine\.(\d)\.adapt\.0\.dimred\.": lambda i: f"p_ims1d2_outl{i + 1}_dimred.",
        r"refine\.(\d)\.adapt\.0\.(\d)\.conv": lambda i, u: f"adapt_stage{i + 1}_b.0.{u}_conv",
        r"refine\.(\d)\.fusion\.joint_varout_dimred\.1\.": lambda i: f"adapt_stage{i + 1}_b2_joint_varout_dimred.",
        r"refine\.(\d)\.fusion\.joint_varout_dimred\.0\.": lambda i: f"mflow_conv_g{i}_b3_joint_varout_dimred.",
        r"refine\.(\d)\.pooling\.(outvar_dimred)\.(\d)": lambda i, leaf, n: (
            f"mflow_conv_g{i + 1}_pool.0.{n + 1}_{leaf}"
        ),
        r"refine\.(\d)\.output\.(\d)\.conv": lambda i, u: f"mflow_conv_g{i + 1}_b.0.{u + 1}_conv",
    }
    for ours, theirs in tables.items():
        if match := re.match(ours, name):
            return theirs(*(int(g) if g.isdigit() else g for g in match.groups())) + name[match.end() :]
    return name


def port(state, features):
    """The decoder in the port's order of operations and with its names."""

    def conv(values, name):
        return functional.conv2d(values, state[f"{name}.weight"], state.get(f"{name}.bias"), padding=1)

    def units(values, name, number):
        for u in range(1, number + 1):
            inner = conv(values.relu(), f"{name}.0.{u}_conv")
            values = values + conv(inner.relu(), f"{name}.0.{u}_conv_relu_varout_dimred")
        return values

    def pooling(values, name):
        top = values
        for n in range(1, 5):
            top = conv(functional.max_pool2d(top, 5, 1, 2), f"{name}.0.{n}_outvar_dimred")
            values = values + top
        return values

    path = None
    for i, skip in enumerate(reversed(features), 1):
        values = units(conv(skip, f"p_ims1d2_outl{i}_dimred"), f"adapt_stage{i}_b", 2)
        if path is not None:
            path = conv(path, f"mflow_conv_g{i - 1}_b3_joint_varout_dimred")
            values = conv(values, f"adapt_stage{i}_b2_joint_varout_dimred") + resize(path, skip)
        path = units(pooling(values.relu(), f"mflow_conv_g{i}_pool"), f"mflow_conv_g{i}_b", 3)
    return conv(path, "clf_conv")


def test_network_is_the_port():
    network = refinenet_resnet50(**NARROW).eval()
    lively(network.refine)
    images = torch.randn(1, 3, 70, 49)
    state = {ported_name(name): values for name, values in network.state_dict().items()}
    assert not [name for name in state if name.startswith("refine")]
    expected = port(state, network.backbone(images))
    torch.testing.assert_close(
        network.heads(images)["logits"].scores, expected, rtol=1e-4, atol=1e-5 * expected.abs().max().item()
    )


@pytest.mark.parametrize(("cascade", "inputs"), [(4, [1, 2, 2, 2]), (2, [2, 3]), (1, [4])])
def test_cascades(cascade, inputs):
    network = refinenet_resnet50(**NARROW, cascade=cascade)
    assert [max(1, len(block.fusion.joint_varout_dimred)) for block in network.refine] == inputs
    assert [block.channels for block in network.refine] == ([16, 8, 8, 8] if cascade == 4 else [8] * cascade)
    images = torch.randn(2, 3, 65, 48)
    network.train().heads(images)["logits"].full_size().square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in network.refine.parameters())


def test_single_block_takes_all_four_maps():
    network = refinenet_resnet50(**NARROW, cascade=1).eval()
    lively(network.refine)
    images = torch.randn(1, 3, 65, 48)
    (block,) = network.refine
    maps = [adapt(values) for adapt, values in zip(block.adapt, reversed(network.backbone(images)), strict=True)]
    fused = sum(resize(c(values), maps[-1]) for c, values in zip(block.fusion.joint_varout_dimred, maps, strict=True))
    expected = network.clf_conv(block.output(block.pooling(fused)))
    torch.testing.assert_close(network.heads(images)["logits"].scores, expected, rtol=1e-4, atol=1e-4)


def test_last_upsampling_puts_cell_j_at_4j_plus_2():
    network = refinenet_resnet50(**NARROW).eval()
    head = network.heads(torch.randn(1, 3, 65, 42))["logits"]
    full = head.full_size()
    assert head.scores.shape[-2:] == (16, 10)  # the pool of 33 x 21 is 16 x 10
    torch.testing.assert_close(full[..., 2:63:4, 2:39:4], head.scores)
    torch.testing.assert_close(full[..., 2:63, 2:39], resize(head.scores, torch.empty(61, 37)))
    assert torch.equal(full[..., :2, :], full[..., 2:3, :].expand(-1, -1, 2, -1))
    assert torch.equal(full[..., 39:], full[..., 38:39].expand(-1, -1, -1, 3))


def test_dropout_in_training_alone():
    network = refinenet_resnet50(**NARROW).train()
    for module in network.modules():
        if isinstance(module, BatchNorm2d):
            module.eval()
    images = torch.randn(1, 3, 33, 33)
    assert not torch.equal(network(images), network(images))
    network.eval()
    assert torch.equal(network(images), network(images))
    calls = []
    network.dropout.register_forward_hook(lambda module, inputs, output: calls.append(inputs[0].shape[1]))
    network(images)
    assert calls == [64, 32, 8]  # res5, res4, and the last path; 2048, 1024 and 256 at full width
    assert network.dropout.p == 0.5


def test_new_convolutions_start_small():
    network = refinenet_resnet50(num_classes=21, width=1 / 8)
    for module in (*network.refine.modules(), network.clf_conv):
        if isinstance(module, nn.Conv2d):
            assert module.weight.std().item() == pytest.approx(0.01, rel=0.1)
            assert module.bias is None or not module.bias.any()
    assert network.backbone.layer1[0].conv1.weight.std() > 0.1


def test_every_small_size_comes_back():
    network = refinenet_resnet50(num_classes=3, width=1 / 64).eval()
    with torch.inference_mode():
        for size in range(1, 41):
            assert network(torch.randn(1, 3, size, 41 - size)).shape == (1, 3, size, 41 - size)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cascade": 3}, "cascade must be 4, 2 or 1 blocks for the four maps, got 3"),
        ({"cascade": "4"}, "cascade must be a whole number from 1 up, got '4'"),
        ({"pooling_blocks": 0}, "pooling_blocks must be a whole number from 1 up, got 0"),
        ({"pooling_order": "conv"}, 'pooling_order must be "pool_conv" or "conv_pool", got \'conv\''),
    ],
)
def test_impossible_options(options, message):
    with torch.device("meta"), pytest.raises(BadOption, match=message):
        refinenet_resnet152(num_classes=2, **options)
