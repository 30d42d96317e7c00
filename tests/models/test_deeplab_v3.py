import logging

import pytest
import torch
from torch.nn import functional

from pixelwise.errors import BadOption
from pixelwise.layers import small_batch
from pixelwise.models.deeplab_v3 import deeplab_v3_resnet50, deeplab_v3_resnet101


def dilations(stage):
    return [unit.conv2.dilation[0] for unit in stage]


@pytest.mark.parametrize(
    ("output_stride", "layer3", "layer4", "rates"),
    [
        (32, [1] * 6, [1, 2, 4], [3, 6, 9]),
        (16, [1] * 6, [2, 4, 8], [6, 12, 18]),
        (8, [2] * 6, [4, 8, 16], [12, 24, 36]),
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


def test_upsampling_is_align_corners():
    network = deeplab_v3_resnet50(num_classes=4, width=1 / 16).eval()
    images = torch.randn(1, 3, 65, 50)
    scores = network.heads(images)["logits"].scores
    expected = functional.interpolate(scores, (65, 50), mode="bilinear", align_corners=True)
    torch.testing.assert_close(network(images), expected)


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
        ({"output_stride": 12}, "an output stride of 12 is not possible; this network can have 32, 16, 8, 4"),
        ({"multi_grid": (1, 2)}, r"a multi-grid needs one number for each of the 3 units, got \(1, 2\)"),
        ({"multi_grid": (1, 0, 2)}, r"a multi-grid holds whole numbers from 1 up, got \(1, 0, 2\)"),
        ({"rates": (6, 0)}, "each of rates must be a whole number from 1 up, got 0"),
    ],
)
def test_impossible_options(options, message):
    with torch.device("meta"), pytest.raises(BadOption, match=message):
        deeplab_v3_resnet50(num_classes=2, **options)
