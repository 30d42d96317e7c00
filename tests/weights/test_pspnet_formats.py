"""PSPNet under its released names: networks-2015-2017 §1.3.1.

Narrow files are run by OpenCV in `tests/oracles/test_weights_pspnet.py`.
"""

import pytest
import torch

from pixelwise.errors import WeightsError
from pixelwise.models.pspnet import pspnet_resnet50, pspnet_resnet101
from pixelwise.weights.all_formats import WEIGHT_FORMATS
from pixelwise.weights.importing import foreign_tensors, load_weights
from pixelwise.weights.pspnet_formats import FORMATS

from .full_size import meta, options_of, shapes

K, WIDTH = 5, 1 / 16


def test_full_size_shapes_are_those_of_the_prototxts():
    ade = shapes(meta(pspnet_resnet50, num_classes=150), "pspnet_resnet50_ade20k")
    assert ade["conv1_1_3x3_s2"] == [(64, 3, 3, 3)]  # no bias
    assert ade["conv1_3_3x3"] == [(128, 64, 3, 3)]
    assert ade["conv1_3_3x3/bn"] == [(128,)] * 4
    assert ade["conv2_1_1x1_proj"] == [(256, 128, 1, 1)]
    assert ade["conv3_1_1x1_reduce"] == [(128, 256, 1, 1)]
    assert ade["conv4_6_3x3"] == [(256, 256, 3, 3)]
    assert ade["conv5_3_1x1_increase/bn"] == [(2048,)] * 4
    for bins in (1, 2, 3, 6):
        assert ade[f"conv5_3_pool{bins}_conv"] == [(512, 2048, 1, 1)]
    assert ade["conv5_4"] == [(512, 4096, 3, 3)]
    assert ade["conv6"] == [(150, 512, 1, 1), (150,)]
    convolutions = 3 + 3 * 16 + 4 + 4 + 1
    assert len(ade) == 2 * convolutions + 1
    voc = shapes(meta(pspnet_resnet101, num_classes=21), "pspnet_resnet101_voc")
    assert voc["conv4_23_1x1_increase"] == [(1024, 256, 1, 1)]
    assert len(voc) == len(ade) + 2 * 3 * 17
    assert shapes(meta(pspnet_resnet101, num_classes=21), "pspnet_resnet101_cityscapes") == voc


@pytest.mark.parametrize("name", FORMATS)
def test_the_mean_is_taken_away_in_rgb_and_the_classes_are_counted(name):
    assert WEIGHT_FORMATS[name].normalization.mean == (123.68, 116.779, 103.939)
    assert options_of(name, conv6=torch.zeros(19, 512, 1, 1)) == {"num_classes": 19}


def test_a_network_written_in_the_release_s_names_loads_again():
    format = WEIGHT_FORMATS["pspnet_resnet50_ade20k"]
    network = pspnet_resnet50(num_classes=K, width=WIDTH)
    again = pspnet_resnet50(num_classes=K, width=WIDTH)
    load_weights(again, foreign_tensors(network, format), format)
    for (path, ours), theirs in zip(network.state_dict().items(), again.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs), path


@pytest.mark.parametrize(
    ("name", "network", "message"),
    [
        ("pspnet_resnet50_ade20k", {"stride_in": "3x3"}, r"strides in the 1 × 1 convolutions, this one in the 3 × 3"),
        ("pspnet_resnet50_ade20k", {"bins": (6, 3, 2, 1)}, r"concatenates bins 1, 2, 3, 6, the file 6, 3, 2, 1; build"),
    ],
)
def test_a_network_that_all_weights_would_fit_and_be_wrong_in_is_refused(name, network, message):
    with pytest.raises(WeightsError, match=message):
        WEIGHT_FORMATS[name].layers(meta(pspnet_resnet50, num_classes=21, **network))


def test_pspnet_101_has_its_strides_in_the_3x3_and_50_in_the_1x1():
    with pytest.raises(WeightsError, match="strides in the 3 × 3 convolutions, this one in the 1 × 1"):
        WEIGHT_FORMATS["pspnet_resnet101_voc"].layers(meta(pspnet_resnet50, num_classes=21))
    with pytest.raises(WeightsError, match="strides in the 1 × 1 convolutions, this one in the 3 × 3"):
        WEIGHT_FORMATS["pspnet_resnet50_ade20k"].layers(meta(pspnet_resnet101, num_classes=21))


def test_an_auxiliary_branch_stays_at_its_start():
    format = WEIGHT_FORMATS["pspnet_resnet50_ade20k"]
    tensors = foreign_tensors(pspnet_resnet50(num_classes=K, width=WIDTH), format)
    network = pspnet_resnet50(num_classes=K, width=WIDTH, auxiliary=True)
    with pytest.raises(WeightsError, match=r"missing from the file: auxiliary.0, auxiliary.1, auxiliary.4"):
        load_weights(network, tensors, format)
    report = load_weights(network, tensors, format, partial=True)
    assert [entry.target for entry in report.left] == ["auxiliary.0", "auxiliary.1", "auxiliary.4"]
