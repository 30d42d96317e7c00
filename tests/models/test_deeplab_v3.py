import logging

import pytest
import torch
from torch.nn import functional

from pixelwise.errors import BadOption
from pixelwise.layers import small_batch
from pixelwise.models.deeplab_v3 import (
    CascadedResNet,
    deeplab_v3_cascade_resnet50,
    deeplab_v3_cascade_resnet101,
    deeplab_v3_resnet50,
    deeplab_v3_resnet101,
)
from pixelwise.surgery import set_output_stride


def dilations(stage):
    return [unit.conv2.dilation[0] for unit in stage]


@pytest.mark.parametrize(
    ("output_stride", "layer3", "layer4", "rates"),
    [
        (32, [1] * 6, [1, 2, 4], [3, 6, 9]),
        (16, [1] * 6, [2, 4, 8], [6, 12, 18]),
        (8, [2] * 6, [4, 8, 16], [12, 24, 36]),
        (4, [4] * 6, [8, 16, 32], [24, 48, 72]),
        (2, [8] * 6, [16, 32, 64], [48, 96, 144]),
    ],
)
def test_rates_of_the_paper(output_stride, layer3, layer4, rates):
    """§4.2: base rate 2 in block4 at 16; 2 in block3 and 4 in block4 at 8; times the multi-grid; ASPP doubled at 8."""
    with torch.device("meta"):
        network = deeplab_v3_resnet50(num_classes=21, output_stride=output_stride)
        scores = network.heads(torch.empty(1, 3, 513, 321))["logits"].scores
    assert dilations(network.backbone.layer3) == layer3
    assert dilations(network.backbone.layer4) == layer4
    assert [branch[0].dilation[0] for branch in network.aspp.rates] == rates
    assert [branch[0].padding[0] for branch in network.aspp.rates] == rates
    assert scores.shape[-2:] == (512 // output_stride + 1, 320 // output_stride + 1)


def test_resnet101_has_23_units_and_other_grids():
    with torch.device("meta"):
        network = deeplab_v3_resnet101(num_classes=2, multi_grid=(1, 2, 1), rates=(6, 12, 18, 24))
    assert len(network.backbone.layer3) == 23
    assert dilations(network.backbone.layer4) == [2, 4, 2]
    assert network.aspp.projection[0].in_channels == 6 * 256


def test_pyramid_is_figure_5():
    """Image pooling, 1 x 1 and three dilated branches side by side, projected; pooling upsampled bilinearly."""
    network = deeplab_v3_resnet50(num_classes=4, width=1 / 16, rates=(1, 2, 3)).eval()
    features = torch.randn(2, 128, 7, 9)
    aspp = network.aspp
    pooled = aspp.image_pooling(functional.adaptive_avg_pool2d(features, 1))
    pooled = functional.interpolate(pooled, (7, 9), mode="bilinear", align_corners=True)
    branches = [pooled, aspp.aspp0(features), *(branch(features) for branch in aspp.rates)]
    torch.testing.assert_close(aspp(features), aspp.projection(torch.cat(branches, 1)))


def test_pyramid_without_image_pooling():
    """Table 5's first four rows."""
    network = deeplab_v3_resnet50(num_classes=4, width=1 / 16, image_pooling=False).eval()
    aspp = network.aspp
    features = torch.randn(2, 128, 7, 9)
    branches = [aspp.aspp0(features), *(branch(features) for branch in aspp.rates)]
    assert len(branches) == 4
    torch.testing.assert_close(aspp(features), aspp.projection(torch.cat(branches, 1)))
    assert not any("image_pooling" in key for key in network.state_dict())


@pytest.mark.parametrize("build", [deeplab_v3_resnet50, deeplab_v3_cascade_resnet50])
@pytest.mark.parametrize("output_stride", [32, 16, 8, 4, 2])
def test_upsampling_is_align_corners_on_whole_strides_plus_one(build, output_stride):
    network = build(num_classes=4, width=1 / 32, output_stride=output_stride).eval()
    images = torch.randn(1, 3, 33, 65)
    scores = network.heads(images)["logits"].scores
    assert scores.shape[-2:] == (32 // output_stride + 1, 64 // output_stride + 1)
    expected = functional.interpolate(scores, (33, 65), mode="bilinear", align_corners=True)
    torch.testing.assert_close(network(images), expected)


@pytest.mark.parametrize("build", [deeplab_v3_resnet50, deeplab_v3_cascade_resnet50])
def test_cells_stay_in_place_on_other_sizes(build):
    """A cell's score stands at its pixel, with 1/16 of the next cell's added from pixel to pixel."""
    network = build(num_classes=4, width=1 / 32).eval()
    images = torch.randn(1, 3, 50, 47)
    scores, full = network.heads(images)["logits"].scores, network(images)
    assert scores.shape[-2:] == (4, 3)
    torch.testing.assert_close(full[..., ::16, ::16], scores)
    torch.testing.assert_close(full[..., 0, 19], (13 * scores[..., 0, 1] + 3 * scores[..., 0, 2]) / 16)
    torch.testing.assert_close(full[..., 48:, 32:], scores[..., 3:, 2:].expand(-1, -1, 2, 15))  # behind the last cell


@pytest.mark.parametrize(
    ("output_stride", "base"),
    [  # of block4 to block7; §3.2: "doubled" from where the output stride is reached
        (256, [1, 1, 1, 1]),
        (128, [1, 1, 1, 2]),
        (64, [1, 1, 2, 4]),
        (32, [1, 2, 4, 8]),
        (16, [2, 4, 8, 16]),
        (8, [4, 8, 16, 32]),
        (4, [8, 16, 32, 64]),
        (2, [16, 32, 64, 128]),
    ],
)
def test_rates_of_the_cascade(output_stride, base):
    with torch.device("meta"):
        network = deeplab_v3_cascade_resnet50(num_classes=21, output_stride=output_stride)
        scores = network.heads(torch.empty(1, 3, 513, 257))["logits"].scores
    for block, rate in zip((4, 5, 6, 7), base, strict=True):
        stage = getattr(network.backbone, f"layer{block}")
        assert dilations(stage) == [rate, 2 * rate, rate]
        assert [unit.conv2.padding[0] for unit in stage] == [rate, 2 * rate, rate]
        assert all(unit.conv1.dilation == unit.conv3.dilation == (1, 1) for unit in stage)
    assert dilations(network.backbone.layer3) == [max(1, 16 // output_stride)] * 6
    assert scores.shape[-2:] == (512 // output_stride + 1, 256 // output_stride + 1)


def test_one_block_more_has_the_parameters_of_three_units():
    def count(blocks):
        with torch.device("meta"):
            network = deeplab_v3_cascade_resnet101(num_classes=21, blocks=blocks)
        return sum(p.numel() for p in network.parameters())

    unit = 2048 * 512 + 512 * 512 * 9 + 512 * 2048 + 2 * (512 + 512 + 2048)
    assert 3 * unit == 13_387_776
    assert [count(blocks) for blocks in (4, 5, 6, 7)] == [
        42_500_160 + 2048 * 21 + 21 + extra * 13_387_776 for extra in range(4)
    ]
    assert count(7) == 82_706_517


@pytest.mark.parametrize(
    ("build", "options", "expected"),
    [
        (deeplab_v3_resnet50, {}, 39_048_533),
        (deeplab_v3_resnet101, {}, 58_040_661),
        (deeplab_v3_resnet101, {"deep_stem": True}, 58_164_437),
        (deeplab_v3_cascade_resnet50, {}, 63_714_389),
        (deeplab_v3_cascade_resnet50, {"deep_stem": True}, 63_714_389 + 123_776),
    ],
)
def test_parameters(build, options, expected):
    with torch.device("meta"):
        network = build(num_classes=21, **options)
    assert sum(p.numel() for p in network.parameters()) == expected


def test_cascade_from_its_layers():
    """Three bottlenecks a block, behind one another; a shortcut with a stride takes every other cell."""
    network = deeplab_v3_cascade_resnet50(num_classes=4, width=1 / 32, output_stride=64, blocks=6).eval()
    images = torch.randn(2, 3, 100, 161)
    values = network.backbone.stages(images).res5
    for block, stride, base in ((network.backbone.layer5, 2, 1), (network.backbone.layer6, 1, 2)):
        for index, unit in enumerate(block):
            here, dilation = (stride if index == 0 else 1), base * (1, 2, 1)[index]
            shortcut = values[..., ::here, ::here]
            inner = functional.relu(unit.bn1(functional.conv2d(values, unit.conv1.weight)))
            inner = functional.conv2d(inner, unit.conv2.weight, None, here, dilation, dilation)
            inner = functional.conv2d(functional.relu(unit.bn2(inner)), unit.conv3.weight)
            values = functional.relu(unit.bn3(inner) + shortcut)
    assert values.shape[-2:] == (2, 3)
    torch.testing.assert_close(network.heads(images)["logits"].scores, network.logits(values))


def test_dilating_the_blocks_exactly_keeps_the_values():
    coarse, dense = (CascadedResNet((1, 1, 1, 2), copies=3, width=1 / 32).double().eval() for _ in range(2))
    dense.load_state_dict(coarse.state_dict())
    set_output_stride(dense, 16, first_unit="exact")
    assert dilations(dense.layer7) == [8, 16]
    images = torch.randn(1, 3, 300, 513, dtype=torch.float64)
    with torch.no_grad():
        expected = coarse(images)
        assert expected.shape[-2:] == (2, 3)
        torch.testing.assert_close(dense(images)[..., ::16, ::16], expected, rtol=1e-9, atol=1e-9)


def test_one_picture_in_training_is_said_once(caplog):
    small_batch.warn_once.cache_clear()
    network = deeplab_v3_resnet50(num_classes=4, width=1 / 16).train()
    before = network.aspp.image_pooling[1].running_mean.clone()
    with caplog.at_level(logging.WARNING, logger="pixelwise"):
        network(torch.randn(1, 3, 40, 40))
        network(torch.randn(1, 3, 1, 1))
    assert [record.message for record in caplog.records] == [
        "a batch norm saw one value per channel in training and used its running statistics; "
        "a batch of at least 2 pictures, or larger pictures, avoids this"
    ]
    assert torch.equal(network.aspp.image_pooling[1].running_mean, before)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"output_stride": 12}, "an output stride of 12 is not possible; this network can have 32, 16, 8, 4, 2"),
        ({"multi_grid": (1, 2)}, r"a multi-grid needs one number for each of the 3 units, got \(1, 2\)"),
        ({"multi_grid": (1, 0, 2)}, r"a multi-grid holds whole numbers from 1 up, got \(1, 0, 2\)"),
        ({"rates": (6, 0)}, r"rates must be a list of whole numbers from 1 up, got \(6, 0\)"),
        ({"rates": 6}, "rates must be a list of whole numbers from 1 up, got 6"),
        ({"multi_grid": 2}, "a multi-grid holds whole numbers from 1 up, got 2"),
        ({"rates": (6, 5), "output_stride": 32}, r"times 0.5, which \(6, 5\) does not allow; choose multiples of 2"),
    ],
)
def test_impossible_options(options, message):
    with torch.device("meta"), pytest.raises(BadOption, match=message):
        deeplab_v3_resnet50(num_classes=2, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"blocks": 8}, "blocks must be 4, 5, 6 or 7, the number of the last one, got 8"),
        ({"blocks": 5.0}, "blocks must be 4, 5, 6 or 7, the number of the last one, got 5.0"),
        ({"blocks": 5, "output_stride": 128}, "128 is not possible; this network can have 64, 32, 16, 8, 4, 2, 1"),
        ({"output_stride": 3}, "3 is not possible; this network can have 256, 128, 64, 32, 16, 8, 4, 2, 1"),
        ({"multi_grid": (1, 2)}, r"a multi-grid needs one number for each of the 3 units, got \(1, 2\)"),
    ],
)
def test_impossible_options_of_the_cascade(options, message):
    with torch.device("meta"), pytest.raises(BadOption, match=message):
        deeplab_v3_cascade_resnet50(num_classes=2, **options)


@pytest.mark.parametrize(("crop", "output_stride", "cells"), [(513, 16, 33), (513, 8, 65), (769, 16, 49), (769, 8, 97)])
def test_grids_of_the_papers_crops(crop, output_stride, cells):
    with torch.device("meta"):
        network = deeplab_v3_resnet50(num_classes=2, width=1 / 16, output_stride=output_stride).eval()
        head = network.heads(torch.empty(1, 3, crop, crop))["logits"]
    assert head.scores.shape[-2:] == (cells, cells)
