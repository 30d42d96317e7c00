"""SegNet under its released names: networks-2014-2016 §3.1–3.4.

Narrow files are run by OpenCV in `tests/oracles/test_weights_segnet.py`.
"""

import pytest
import torch

from pixelwise.errors import BadOption, WeightsError
from pixelwise.models import MODELS
from pixelwise.models.bayesian_segnet import bayesian_segnet
from pixelwise.models.segnet import segnet, segnet_basic
from pixelwise.weights.all_formats import WEIGHT_FORMATS
from pixelwise.weights.importing import foreign_tensors, load_weights
from pixelwise.weights.segnet_formats import FORMATS, with_statistics

from .full_size import meta, options_of, shapes

K, WIDTH = 5, 1 / 16


def as_training_leaves_it(network):
    """A file's tensors: no statistics."""
    tensors = {}
    for path, parameter in network.named_parameters():
        layer, _, part = path.rpartition(".")
        tensors[f"{layer.rpartition('.')[2]}.{part}"] = parameter.detach().clone()
    return tensors


TRAINED = {"segnet_training": {}, "segnet_basic_training": {}, "bayesian_segnet_training": {"release": "tutorial"}}
TRAINED |= {"bayesian_segnet_basic_training": {"release": "basic"}}


@pytest.mark.parametrize("name", TRAINED)
def test_of_what_training_leaves_the_statistics_are_missing(name):
    format = WEIGHT_FORMATS[name]
    build = MODELS[format.model]
    tensors = as_training_leaves_it(build(num_classes=K, width=WIDTH, **TRAINED[name]))
    network = build(num_classes=K, width=WIDTH, **TRAINED[name])
    before = {path: tensor.clone() for path, tensor in network.state_dict().items()}
    with pytest.raises(WeightsError, match=r"_bn.running_mean, encoder.0.conv1(_1)?_bn.running_var, .*partial=True"):
        load_weights(network, tensors, format)
    for path, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[path]), path
    report = load_weights(network, tensors, format, partial=True)
    assert report.complete
    assert "running_mean at start" in str(report)
    first = next(iter(tensors))  # a convolution of the picture
    assert torch.equal(network.state_dict()[f"encoder.0.{first}"], tensors[first].flip(1))
    assert "means and variances of the batch norms are missing" in format.source
    with pytest.raises(BadOption, match="cannot be undone"):
        foreign_tensors(network, format)


def test_a_file_that_training_left_is_doubted():
    """The first BN of what is folded gives values near 1; without statistics it scales raw convolutions of levels."""
    format = WEIGHT_FORMATS["segnet_camvid"]
    network = segnet(num_classes=K, width=WIDTH)
    tensors = as_training_leaves_it(network)  # gamma 1, beta 0
    load_weights(network, tensors, format)
    doubt = format.doubt(network)
    assert doubt.startswith("layer 'encoder.0.conv1_1_bn' (BN) gives values near ±")
    assert "without the statistics of the training set" in doubt and "\n" not in doubt and network.training
    folded = {name: tensor / 100 if name.startswith("conv1_1_bn") else tensor for name, tensor in tensors.items()}
    load_weights(network, folded, format)
    assert format.doubt(network) == ""
    assert WEIGHT_FORMATS["segnet_training"].doubt(network) == ""


def test_folded_statistics_are_mean_0_and_variance_1():
    whole = with_statistics({"conv1_bn.weight": torch.full((3,), 2.0), "conv1_bn.bias": torch.ones(3)})
    norm = torch.nn.BatchNorm2d(3, eps=1e-9).eval()
    norm.load_state_dict({name.removeprefix("conv1_bn."): value for name, value in whole.items()}, strict=False)
    values = torch.randn(2, 3, 4, 5)
    assert torch.equal(norm(values), 2 * values + 1)


def test_full_size_shapes_are_those_of_the_tables():
    full = shapes(meta(segnet, num_classes=11), "segnet_camvid")
    assert full["conv1_1"] == [(64, 3, 3, 3), (64,)]
    assert full["conv1_1_bn"] == [(64,)] * 4
    assert full["conv5_3_D"][0] == (512, 512, 3, 3)
    assert full["conv4_1_D"][0] == (256, 512, 3, 3)
    assert full["conv3_1_D"][0] == (128, 256, 3, 3)
    assert full["conv2_1_D"][0] == (64, 128, 3, 3)
    assert full["conv1_1_D"] == [(11, 64, 3, 3), (11,)]
    assert len(full) == 26 + 25
    basic = shapes(meta(segnet_basic, num_classes=11), "segnet_basic_camvid")
    assert basic["conv1"][0] == (64, 3, 7, 7)
    assert basic["conv_decode1"][0] == (64, 64, 7, 7)
    assert basic["conv_classifier"] == [(11, 64, 1, 1), (11,)]
    camvid = shapes(meta(bayesian_segnet, num_classes=11, release="camvid"), "bayesian_segnet_camvid")
    assert camvid["conv1_1_D"][0] == (64, 64, 3, 3)
    assert camvid["camvid"] == [(11, 64, 3, 3), (11,)]


@pytest.mark.parametrize("name", FORMATS)
def test_nothing_is_taken_away_from_the_picture(name):
    assert WEIGHT_FORMATS[name].normalization.mean == (0, 0, 0)
    assert WEIGHT_FORMATS[name].reverse_channels


def test_the_release_and_the_classes_are_read_off_the_file():
    scores = torch.zeros(38, 64, 3, 3)
    assert options_of("segnet", conv1_1_D=scores) == {"num_classes": 38}
    assert options_of("bayesian_segnet", conv1_1_D=scores) == {"num_classes": 38, "release": "tutorial"}
    assert options_of("bayesian_segnet_camvid", camvid=scores) == {"num_classes": 38, "release": "camvid"}
    with pytest.raises(WeightsError, match="no layer 'camvid'"):
        options_of("bayesian_segnet_camvid", conv1_1_D=scores)
