"""The names and sizes of Berkeley's files and of CRF-RNN's: networks-2014-2016 §2.2, §7, §8.3.

Narrow files are run by OpenCV in `tests/oracles/test_weights_fcn.py`.
"""

import pytest
import torch

from pixelwise.models import build
from pixelwise.weights.all_formats import WEIGHT_FORMATS
from pixelwise.weights.detection import Unfilled
from pixelwise.weights.fcn_formats import FORMATS
from pixelwise.weights.importing import foreign_tensors

NUMBERS = {  # {format: (classes, numbers that are trained, numbers that are fixed)}; §2.2, §7.2
    "berkeley_fcn32s_alexnet": (21, 56_954_261, 1_750_329),
    "berkeley_fcn32s_vgg16": (21, 134_346_581, 1_806_336),
    "berkeley_fcn16s_vgg16": (21, 134_357_354, 458_640),
    "berkeley_fcn8s_vgg16": (21, 134_362_751, 127_008),
    "berkeley_fcn8s_atonce_vgg16": (21, 134_362_751, 127_776),
    "berkeley_nyud_color": (40, 134_424_424, 6_553_600),
    "berkeley_nyud_hha": (40, 134_424_424, 6_553_600),
    "berkeley_nyud_color_d": (40, 134_425_000, 6_553_600),
    "berkeley_nyud_color_hha": (40, 268_848_848, 6_553_600),
    "berkeley_sift_flow_32s": (33, 134_408_036, 4_497_408),
    "berkeley_sift_flow_16s": (33, 134_426_504, 1_141_920),
    "berkeley_sift_flow_8s": (33, 134_435_756, 316_224),
    "berkeley_context_32s": (60, 134_506_364, 14_745_600),
    "berkeley_context_16s": (60, 134_537_144, 3_744_000),
    "berkeley_context_8s": (60, 134_552_564, 1_036_800),
    "crfrnn_fcn8s": (21, 134_362_751 + 127_029 - 112_896 + 1323, 112_896),
}


def full_size(name, **options):
    with torch.device("meta"), Unfilled():
        return build(FORMATS[name].model, **options)


def test_there_are_numbers_for_each_format():
    assert NUMBERS.keys() == FORMATS.keys() <= WEIGHT_FORMATS.keys()


@pytest.mark.parametrize("name", NUMBERS)
def test_a_whole_file_has_as_many_numbers_as_the_published_one(name):
    format, (classes, trained, fixed) = FORMATS[name], NUMBERS[name]
    network = full_size(name, num_classes=classes)
    tensors = foreign_tensors(network, format)
    kernels = {
        key for key in tensors if key in format.fixed(network) or key in ("scale_pool4.weight", "scale_pool3.weight")
    }
    assert sum(tensors[key].numel() for key in kernels) == fixed
    assert sum(tensor.numel() for key, tensor in tensors.items() if key not in kernels) == trained
    assert format.options(format.prepare(tensors))["num_classes"] == classes


TRUNK = {
    "conv1_1": (64, 3, 3, 3),
    "conv1_2": (64, 64, 3, 3),
    "conv2_1": (128, 64, 3, 3),
    "conv2_2": (128, 128, 3, 3),
    "conv3_1": (256, 128, 3, 3),
    "conv3_2": (256, 256, 3, 3),
    "conv3_3": (256, 256, 3, 3),
    "conv4_1": (512, 256, 3, 3),
    "conv4_2": (512, 512, 3, 3),
    "conv4_3": (512, 512, 3, 3),
    "conv5_1": (512, 512, 3, 3),
    "conv5_2": (512, 512, 3, 3),
    "conv5_3": (512, 512, 3, 3),
    "fc6": (4096, 512, 7, 7),
    "fc7": (4096, 4096, 1, 1),
}


def with_biases(weights):
    return {
        f"{name}.{part}": s for name, shape in weights.items() for part, s in (("weight", shape), ("bias", shape[:1]))
    }


def test_the_blobs_of_fcn_8s_are_those_of_the_published_file():
    tensors = foreign_tensors(full_size("berkeley_fcn8s_vgg16", num_classes=21), FORMATS["berkeley_fcn8s_vgg16"])
    scores = {"score_fr": (21, 4096, 1, 1), "score_pool4": (21, 512, 1, 1), "score_pool3": (21, 256, 1, 1)}
    deconvolutions = {
        "upscore2.weight": (21, 21, 4, 4),
        "upscore_pool4.weight": (21, 21, 4, 4),
        "upscore8.weight": (21, 21, 16, 16),
    }
    expected = with_biases(TRUNK | scores) | deconvolutions
    assert {name: tuple(tensor.shape) for name, tensor in tensors.items()} == expected


def test_the_blobs_of_at_once_and_of_alexnet_are_those_of_the_published_files():
    at_once = foreign_tensors(
        full_size("berkeley_fcn8s_atonce_vgg16", num_classes=21), FORMATS["berkeley_fcn8s_atonce_vgg16"]
    )
    assert at_once["scale_pool4.weight"].shape == (512,) and at_once["scale_pool3.weight"].shape == (256,)
    alexnet = foreign_tensors(full_size("berkeley_fcn32s_alexnet", num_classes=21), FORMATS["berkeley_fcn32s_alexnet"])
    shapes = {
        "conv2.weight": (256, 48, 5, 5),
        "conv4.weight": (384, 192, 3, 3),
        "conv5.weight": (256, 192, 3, 3),
        "upscore.weight": (21, 21, 63, 63),
    }
    assert {name: tuple(alexnet[name].shape) for name in shapes} == shapes


def test_crf_rnn_has_its_layers_names_and_the_shapes_of_its_matrices():
    tensors = foreign_tensors(full_size("crfrnn_fcn8s", num_classes=21), FORMATS["crfrnn_fcn8s"])
    names = {name.rpartition(".")[0] for name in tensors}
    assert names == {
        *TRUNK,
        *("score-fr", "score2", "score-pool4", "score4", "score-pool3", "upsample", "inference1"),
    }
    assert [tuple(tensors[f"inference1.blob{i}"].shape) for i in range(3)] == [(1, 1, 21, 21)] * 3
