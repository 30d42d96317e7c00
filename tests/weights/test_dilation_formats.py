"""Dilation under its released names: networks-2014-2016 §4.1, §4.2, §4.4.

Narrow files are run by OpenCV in `tests/oracles/test_weights_dilation.py`.
"""

import pytest
import torch

from pixelwise.errors import WeightsError
from pixelwise.models.dilation import dilation7, dilation8, dilation10, dilation_frontend
from pixelwise.weights.all_formats import WEIGHT_FORMATS
from pixelwise.weights.importing import foreign_tensors, load_weights

from .full_size import meta, options_of, shapes

K, WIDTH = 5, 1 / 16


def test_a_trained_upsampling_is_refused():
    format = WEIGHT_FORMATS["dilation10_cityscapes"]
    network = dilation10(num_classes=K, width=WIDTH)
    tensors = foreign_tensors(network, format)
    assert tensors["ctx_upsample.weight"].shape == (K, 1, 16, 16)
    tensors["ctx_upsample.weight"][2, 0, 3, 3] += 0.01
    with pytest.raises(WeightsError, match="ctx_upsample .*caffe_network"):
        load_weights(dilation10(num_classes=K, width=WIDTH), tensors, format)


def test_full_size_shapes_are_those_of_the_tables():
    voc = shapes(meta(dilation8, num_classes=21), "dilation8_voc")
    assert voc["fc6"] == [(4096, 512, 7, 7), (4096,)]
    assert voc["fc-final"] == [(21, 4096, 1, 1), (21,)]
    channels = {"ct_conv1_1": 42, "ct_conv1_2": 42, "ct_conv2_1": 84, "ct_conv3_1": 168, "ct_conv4_1": 336}
    for layer, given in (channels | {"ct_conv5_1": 672, "ct_fc1": 672, "ct_final": 21}).items():
        assert voc[layer][1] == (given,)
    camvid = shapes(meta(dilation8, num_classes=11, context="basic"), "dilation8_camvid")
    assert camvid["final"] == [(11, 4096, 1, 1), (11,)]
    assert camvid["ctx_conv5_1"] == [(11, 11, 3, 3), (11,)]
    kitti = shapes(meta(dilation7, num_classes=11), "dilation7_kitti")
    assert "ctx_conv5_1" not in kitti
    assert kitti["ctx_fc1"] == [(11, 11, 3, 3), (11,)]
    cityscapes = shapes(meta(dilation10, num_classes=19), "dilation10_cityscapes")
    assert cityscapes["ctx_conv7_1"] == [(19, 19, 3, 3), (19,)]
    assert shapes(meta(dilation_frontend, num_classes=21), "dilation_frontend_voc")["fc-final"][0][:2] == (21, 4096)


def test_camvid_s_file_has_the_basic_context_and_the_means_are_the_files():
    assert options_of("dilation8_camvid", ctx_final=torch.zeros(11, 11, 1, 1)) == {
        "num_classes": 11,
        "context": "basic",
    }
    means = {
        "dilation8_voc": (116.52, 111.36, 102.93),
        "dilation10_cityscapes": (73.16, 82.91, 72.39),
        "dilation8_camvid": (105.41212523, 108.77808759, 110.70313206),
        "dilation7_kitti": (91.34692262, 95.55136972, 96.19429688),
    }
    for name, mean in means.items():
        assert WEIGHT_FORMATS[name].normalization.mean == mean
