"""DeepLab v1 and v2 under their released names: networks-2014-2016 §5.1–5.6, §8.2, §8.3.

Narrow files are run by OpenCV in `tests/oracles/test_weights_deeplab.py`.
"""

import pytest
import torch

from pixelwise.errors import WeightsError
from pixelwise.models import MODELS
from pixelwise.models.deeplab_v1 import deeplab_4x4, deeplab_7x7, deeplab_largefov, deeplab_msc_largefov
from pixelwise.models.deeplab_v2 import (
    deeplab_v2_resnet101_aspp,
    deeplab_v2_resnet101_largefov,
    deeplab_v2_vgg16_aspp_l,
)
from pixelwise.weights.all_formats import WEIGHT_FORMATS
from pixelwise.weights.deeplab_formats import three_copies, three_towers
from pixelwise.weights.importing import foreign_tensors, load_weights

from .full_size import meta, options_of, shapes

K, WIDTH = 5, 1 / 16


def towers():
    """A file of three towers with one layer."""
    names = ("fc1_voc12_c0", "fc1_voc12_res075_c0", "fc1_voc12_res05_c0")
    return {f"{name}.weight": torch.ones(5, 2, 3, 3) for name in names}


def test_a_copy_that_differs_is_refused():
    tensors = towers() | {"fc1_voc12_res05_c0.weight": torch.zeros(5, 2, 3, 3)}
    with pytest.raises(WeightsError, match=r"fc1_voc12_res05_c0.weight is no copy of fc1_voc12_c0.weight.*caffe_net"):
        three_towers(tensors)


def test_a_file_of_one_tower_is_none_of_three_and_the_reverse():
    one, three = WEIGHT_FORMATS["deeplab_v2_resnet101_aspp"], WEIGHT_FORMATS["deeplab_v2_resnet101_aspp_msc"]
    with pytest.raises(WeightsError, match="three scales .fc1_voc12_res075_c0.weight., this format has one: .* _msc"):
        one.prepare(towers())
    with pytest.raises(WeightsError, match="has one tower, this format three: use the format without _msc"):
        three.prepare({"fc1_voc12_c0.weight": torch.ones(1)})


def test_the_copies_come_back_under_their_names():
    parts = ("bn_conv1{}.running_mean", "bn_conv1{}.running_var", "scale_conv1{}.weight", "scale_conv1{}.bias")
    bn = {part.format(tower): torch.ones(1) for part in parts for tower in ("", "_res075", "_res05")}
    tensors = towers() | bn
    assert three_copies(three_towers(tensors)).keys() == tensors.keys()


@pytest.mark.parametrize("name", ["deeplab_msc_largefov", "deeplab_v2_resnet101_aspp_msc"])
def test_weights_written_in_the_release_s_names_load_again(name):
    format = WEIGHT_FORMATS[name]
    build = MODELS[format.model]
    network = build(num_classes=K, width=WIDTH)
    again = build(num_classes=K, width=WIDTH)
    load_weights(again, foreign_tensors(network, format), format)
    for (path, ours), theirs in zip(network.state_dict().items(), again.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs), path


def test_full_size_shapes_are_those_of_the_tables():
    largefov = shapes(meta(deeplab_largefov, num_classes=21), "deeplab_largefov")
    assert largefov["fc6"] == [(1024, 512, 3, 3), (1024,)]
    assert largefov["fc7"] == [(1024, 1024, 1, 1), (1024,)]
    assert largefov["fc8_voc12"] == [(21, 1024, 1, 1), (21,)]
    assert largefov["conv1_1"] == [(64, 3, 3, 3), (64,)]
    assert len(largefov) == 16
    assert shapes(meta(deeplab_4x4, num_classes=21), "deeplab_4x4")["fc6"][0] == (4096, 512, 4, 4)
    assert shapes(meta(deeplab_7x7, num_classes=21), "deeplab_7x7")["fc6"][0] == (4096, 512, 7, 7)
    msc = shapes(meta(deeplab_msc_largefov, num_classes=21), "deeplab_msc_largefov")
    assert msc["data_conv"] == [(128, 3, 3, 3), (128,)]
    assert msc["pool3_conv"][0] == (128, 256, 3, 3)
    assert msc["pool4_ms"] == [(21, 128, 1, 1), (21,)]
    aspp = shapes(meta(deeplab_v2_vgg16_aspp_l, num_classes=21), "deeplab_v2_vgg16_aspp_l")
    assert aspp["fc6_4"][0] == (1024, 512, 3, 3)
    assert len(aspp) == 13 + 12


def test_full_size_resnet101_has_the_release_s_layers():
    found = shapes(meta(deeplab_v2_resnet101_aspp, num_classes=21), "deeplab_v2_resnet101_aspp")
    assert found["conv1"] == [(64, 3, 7, 7)]  # no bias
    assert found["bn_conv1"] == [(64,)] * 4  # of BatchNorm and Scale
    assert found["res2a_branch1"] == [(256, 64, 1, 1)]
    assert found["res3b3_branch2b"] == [(128, 128, 3, 3)]
    assert found["bn4b22_branch2c"] == [(1024,)] * 4
    assert found["res5c_branch2a"] == [(512, 2048, 1, 1)]
    assert found["fc1_voc12_c3"] == [(21, 2048, 3, 3), (21,)]
    convolutions = 1 + 3 * 33 + 4
    assert len(found) == 2 * convolutions + 4
    largefov = meta(deeplab_v2_resnet101_largefov, num_classes=21)
    assert shapes(largefov, "deeplab_v2_resnet101_largefov")["fc1_voc12"][0] == (21, 2048, 3, 3)


@pytest.mark.parametrize("name", [name for name in WEIGHT_FORMATS if name.startswith("deeplab")])
def test_each_takes_voc_s_mean_away_in_rgb(name):
    format = WEIGHT_FORMATS[name]
    assert format.normalization.mean == (122.675, 116.669, 104.008)
    assert format.normalization.deviation == (1, 1, 1)
    assert format.reverse_channels
    assert format.labels == "voc2012"


def test_classes_are_counted_in_the_score_layer():
    assert options_of("deeplab_largefov", fc8_voc12=torch.zeros(7, 4, 1, 1)) == {"num_classes": 7}
    assert options_of("deeplab_v2_vgg16_aspp_s", fc8_voc12_1=torch.zeros(7, 4, 1, 1)) == {"num_classes": 7}
