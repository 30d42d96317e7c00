import pytest
import torch
from torch import nn

from pixelwise.errors import BadOption
from pixelwise.models.fcn import fcn16s_vgg16, fcn32s_vgg16
from pixelwise.models.fcn_nyud import (
    fcn16s_rgb_hha,
    fcn32s_rgb_hha,
    fcn32s_rgbd,
    start_from_color,
    start_from_towers,
)
from pixelwise.models.fcn_streams import ALIGNMENTS

NARROW = {"num_classes": 3, "width": 1 / 16}


def awake(network):
    """In eval mode, with score layers that say something."""
    for name, module in network.named_children():
        if name.startswith("score"):
            nn.init.normal_(module.weight, std=0.2)
            nn.init.normal_(module.bias)
    return network.eval()


def test_early_fusion_adds_one_channel_to_the_first_layer():
    """Spec, networks-2014-2016 §2.2: 576 more than color or HHA alone, for 40 classes; the same deconvolution."""
    with torch.device("meta"):
        color, early = fcn32s_vgg16(num_classes=40), fcn32s_rgbd(num_classes=40)
    counts = [sum(p.numel() for p in network.parameters()) for network in (color, early)]
    assert counts == [134_424_424, 134_425_000]
    names = [[name for name, _ in network.named_parameters()] for network in (color, early)]
    assert [name.replace("conv1_1", "conv1_1_bgrd") for name in names[0]] == names[1]
    assert 40**2 * (2 * early.upscore.factor) ** 2 == 6_553_600


def test_early_fusion_starts_from_color():
    color, early = fcn32s_vgg16(**NARROW), fcn32s_rgbd(**NARROW)
    nn.init.normal_(color.backbone.conv1.conv1_1.bias)
    start_from_color(early, color.backbone)
    layer = early.backbone.conv1.conv1_1_bgrd
    picture, depth = torch.randn(1, 3, 20, 21), torch.randn(1, 1, 20, 21)
    first = color.backbone.conv1.conv1_1
    gray = first(depth.expand(1, 3, 20, 21) / 3) - first(torch.zeros(1, 3, 20, 21))  # the mean over its channels
    found = layer(torch.cat([picture, depth], 1))
    torch.testing.assert_close(found, first(picture) + gray, rtol=1e-4, atol=1e-5)
    without = torch.cat([picture, torch.zeros(1, 1, 20, 21)], 1)
    for ours, theirs in zip(early.eval().backbone(without), color.eval().backbone(picture), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    assert not early.score_fr.weight.any()


def test_late_fusion_is_the_average_of_two_networks():
    color, hha, late = awake(fcn32s_vgg16(**NARROW)), awake(fcn32s_vgg16(**NARROW)), fcn32s_rgb_hha(**NARROW).eval()
    assert not late(torch.randn(1, 6, 9, 9)).any()
    start_from_towers(late, color, hha)
    images = torch.randn(2, 6, 33, 20)
    expected = (color(images[:, :3]) + hha(images[:, 3:])) / 2
    torch.testing.assert_close(late(images), expected, rtol=1e-4, atol=1e-5)


def test_late_fusion_at_16s_is_the_average_of_two_networks():
    color, hha, late = awake(fcn16s_vgg16(**NARROW)), awake(fcn16s_vgg16(**NARROW)), fcn16s_rgb_hha(**NARROW).eval()
    start_from_towers(late, color, hha)
    late.score_pool4color.load_state_dict(color.score_pool4.state_dict())
    late.score_pool4hha.load_state_dict(hha.score_pool4.state_dict())
    images = torch.randn(2, 6, 33, 20)
    expected = (color(images[:, :3]) + hha(images[:, 3:])) / 2
    torch.testing.assert_close(late(images), expected, rtol=1e-4, atol=1e-5)


def test_16s_starts_as_32s():
    coarse, fine = awake(fcn32s_rgb_hha(**NARROW)), fcn16s_rgb_hha(**NARROW).eval()
    left = fine.load_state_dict(coarse.state_dict(), strict=False)
    assert left.missing_keys == [
        f"score_pool4{tower}.{kind}" for tower in ("color", "hha") for kind in ("weight", "bias")
    ]
    images = torch.randn(1, 6, 25, 40)
    expected = fine.upscore2(coarse.heads(images)["logits"].scores)
    assert torch.equal(fine.heads(images)["logits"].scores, expected)


def test_counts_of_two_towers():
    with torch.device("meta"):
        counts = [
            sum(p.numel() for p in builder(num_classes=40).parameters()) for builder in (fcn32s_rgb_hha, fcn16s_rgb_hha)
        ]
    assert counts == [2 * 134_424_424, 2 * (134_424_424 + 512 * 40 + 40)]
    assert 40**2 * (2 * ALIGNMENTS["released"].upscore.factor) ** 2 == 6_553_600


@pytest.mark.parametrize(
    ("builder", "message"),
    [
        (fcn32s_rgbd, r"in_channels must be 4 here \(blue, green, red, depth\), got 3"),
        (fcn32s_rgb_hha, r"in_channels must be 6 here \(blue, .*, angle\), got 3"),
        (fcn16s_rgb_hha, r"in_channels must be 6 here \(blue, .*, angle\), got 3"),
    ],
)
def test_other_channels_are_refused(builder, message):
    with pytest.raises(BadOption, match=message):
        builder(num_classes=2, in_channels=3, width=1 / 64)
