"""Rates of steps and of parameters."""

import math

import pytest
import torch
from torch import nn

from pixelwise.errors import BadOption
from pixelwise.training.optimizers import make_optimizer, rate_at, set_rate
from pixelwise.training.recipe import Recipe


def recipe(**changes):
    return Recipe(
        **(
            {"model": "unet", "crop_size": (8, 8), "batch_size": 1, "steps": 10, "rate": 2, "validate_every": 1}
            | changes
        )
    )


@pytest.mark.parametrize(
    ("settings", "rates"),
    [
        ({"schedule": "fixed"}, [2] * 10),
        ({"schedule": "step", "drop_every": 4, "drop": 0.1}, [2] * 4 + [0.2] * 4 + [0.02] * 2),
        ({"schedule": "poly", "power": 0.9}, [2 * (1 - i / 10) ** 0.9 for i in range(10)]),
        ({"schedule": "poly", "power": 2}, [2 * (1 - i / 10) ** 2 for i in range(10)]),
        ({"schedule": "cosine"}, [1 + math.cos(math.pi * i / 10) for i in range(10)]),
        ({"schedule": "fixed", "warmup": 4}, [0.5, 1, 1.5, 2] + [2] * 6),
        ({"schedule": "step", "warmup": 2, "drop_every": 4, "drop": 0.5}, [1, 2] + [2] * 4 + [1] * 4),
    ],
)
def test_the_rate_of_each_step(settings, rates):
    assert [rate_at(recipe(**settings), step) for step in range(10)] == pytest.approx(rates)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
        self.score = nn.Conv2d(4, 2, 1)


def of(optimizer, network):
    """{name: (rate, decay)} of what is trained."""
    names = {parameter: name for name, parameter in network.named_parameters()}
    return {
        names[parameter]: (group["lr"], group["weight_decay"])
        for group in optimizer.param_groups
        for parameter in group["params"]
    }


def test_decay_spares_biases_and_norms():
    network = Net()
    found = of(make_optimizer(network, recipe(weight_decay=0.1)), network)
    assert {name for name, (_, decay) in found.items() if decay} == {"backbone.0.weight", "score.weight"}
    assert len(found) == 6


def test_the_first_pattern_that_fits_gives_rate_and_decay():
    """DeepLab: the classifier learns ten times as fast, its bias twenty times and without decay."""
    network = Net()
    rates = [
        {"parameters": "score.bias", "rate": 20, "decay": 0},
        {"parameters": "score.*", "rate": 10},
        {"parameters": "*.1.*", "rate": 0},
        {"parameters": "*.bias", "rate": 2, "decay": 1},
    ]
    plan = recipe(optimizer="sgd", weight_decay=0.5, rates=rates, schedule="fixed")
    optimizer = make_optimizer(network, plan)
    set_rate(optimizer, plan, 3)
    assert of(optimizer, network) == {
        "score.bias": (40, 0),
        "score.weight": (20, 0.5),
        "backbone.0.weight": (2, 0.5),
        "backbone.0.bias": (4, 0.5),
    }
    assert [name for name, p in network.named_parameters() if not p.requires_grad] == [
        "backbone.1.weight",
        "backbone.1.bias",
    ]


def test_a_pattern_that_fits_nothing_and_a_network_without_a_rate_are_refused():
    with pytest.raises(BadOption, match=r"no parameter of unet is called 'scores\.\*'"):
        make_optimizer(Net(), recipe(rates=[{"parameters": "scores.*"}]))
    with pytest.raises(BadOption, match="nothing is left to train"):
        make_optimizer(Net(), recipe(rates=[{"parameters": "*", "rate": 0}]))


@pytest.mark.parametrize("nesterov", [True, False])
def test_sgd_is_its_formula(nesterov):
    network = nn.Linear(1, 1, bias=False)
    plan = recipe(optimizer="sgd", momentum=0.9, nesterov=nesterov, weight_decay=0.1, schedule="fixed", rate=0.01)
    optimizer = make_optimizer(network, plan)
    weight, velocity = float(network.weight.detach()), 0.0
    for step, gradient in enumerate([1.0, -2.0, 0.5]):
        network.weight.grad = torch.full((1, 1), gradient)
        set_rate(optimizer, plan, step)
        optimizer.step()
        full = gradient + 0.1 * weight
        velocity = 0.9 * velocity + full
        weight -= 0.01 * (full + 0.9 * velocity if nesterov else velocity)
        assert float(network.weight.detach()) == pytest.approx(weight, rel=1e-5)
