"""What is taken from timm and what is told of its errors, with a stand-in, as timm needs a torchvision that fits."""

import sys
from types import ModuleType

import pytest
import torch
from torch import nn

from pixelwise.errors import BadOption, ShapeError, UnknownName, WeightsError
from pixelwise.weights import TimmTrunk, timm_classifier


class Network(nn.Module):
    """As timm's are called."""

    num_features = 2

    def __init__(self, features):
        super().__init__()
        self.pretrained_cfg = {"mean": (0.5, 0.25, 0.0), "std": (1.0, 0.5, 0.25), "input_size": (3, 32, 48)}
        self.features = features

    def forward_features(self, images):
        return self.features(images)


@pytest.fixture
def timm(monkeypatch):
    """A module that knows "tiny" alone."""
    module = ModuleType("timm")
    module.is_model = lambda name: name == "tiny"
    module.list_models = lambda: ["tiny"]
    module.create_model = lambda name, *, pretrained: Network(nn.Conv2d(3, 2, 1)).train()
    monkeypatch.setitem(sys.modules, "timm", module)
    return module


def test_a_classifier_comes_with_its_normalization_and_size_in_evaluation_mode(timm):
    network, normalization, size = timm_classifier("tiny.a1_in1k")
    assert not network.training and size == (32, 48)
    assert normalization.mean == (127.5, 63.75, 0.0) and normalization.deviation == (255.0, 127.5, 63.75)
    trunk = TimmTrunk(network)
    assert trunk.channels == 2 and trunk(torch.zeros(1, 3, 4, 5)).shape == (1, 2, 4, 5)


def test_features_that_are_no_map_are_refused_with_their_shape():
    trunk = TimmTrunk(Network(nn.Flatten()))
    with pytest.raises(ShapeError, match=r"Network gives features \(1, 12\); expected a map \(N, 2, h, w\)"):
        trunk(torch.zeros(1, 3, 2, 2))


def test_wrong_names_and_options_are_told_with_the_nearest(timm):
    with pytest.raises(UnknownName, match="no timm model is called 'tony'; did you mean 'tiny'"):
        timm_classifier("tony")
    with pytest.raises(BadOption, match="tiny: .*no_such_option"):
        timm_classifier("tiny", no_such_option=1)


def test_weights_that_cannot_be_had_are_told_and_other_errors_left_as_they_are(timm):
    def offline(*arguments, **options):
        raise OSError("no\nnetwork")

    timm.create_model = offline
    with pytest.raises(WeightsError, match=r"the weights of timm's tiny cannot be had \(no network\); give pretrained"):
        timm_classifier("tiny")
    with pytest.raises(OSError, match="no\nnetwork"):
        timm_classifier("tiny", pretrained=False)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (
            ModuleNotFoundError("No module named 'yaml'", name="yaml"),
            "timm cannot be imported .*'yaml'.*; install what",
        ),
        (RuntimeError("operator nms does not exist"), "imports torchvision, which does not fit torch .*nms does not"),
    ],
)
def test_a_timm_that_cannot_be_imported_is_told_with_its_reason(monkeypatch, error, told):
    def fails(name):
        raise error

    monkeypatch.setattr("pixelwise.weights.timm_networks.importlib.import_module", fails)
    with pytest.raises(BadOption, match=told):
        timm_classifier("tiny")
