"""Optimizers and rate schedules."""

import math
from collections.abc import Mapping
from fnmatch import fnmatchcase

import torch
from torch import nn

from pixelwise.errors import BadOption
from pixelwise.training.recipe import Rate, Recipe


def make_optimizer(network: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """The recipe's optimizer; each of its groups holds "rate", the multiplier of the recipe's rate.

    Weight decay is for weights of two and more dimensions, not biases and norms, but where `recipe.rates` says more.
    Parameters with a multiplier of 0 require no gradient from then on. SGD is torch's, which multiplies by the rate
    outside of the momentum's buffer; Caffe's does so inside, which differs while a rate falls (spec,
    networks-2014-2016 §1.4).

    Raises:
        BadOption: a pattern of `recipe.rates` fits no parameter.
    """
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        if not parameter.requires_grad:
            continue
        rule = _rule_of(name, recipe)
        rate, decay = (1.0, float(parameter.ndim > 1)) if rule is None else (rule.rate, rule.decay)
        if rate == 0:
            parameter.requires_grad_(False)
        else:
            groups.setdefault((rate, decay), []).append(parameter)
    _check_patterns(dict(network.named_parameters()), recipe)
    options = [
        {"params": parameters, "weight_decay": decay * recipe.weight_decay, "rate": rate}
        for (rate, decay), parameters in groups.items()
    ]
    if not options:
        raise BadOption("rates: every parameter has the rate 0, and nothing is left to train")
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(options, lr=recipe.rate, betas=(recipe.momentum, 0.999), foreach=True)
    nesterov = recipe.nesterov and recipe.momentum > 0
    return torch.optim.SGD(options, lr=recipe.rate, momentum=recipe.momentum, nesterov=nesterov, foreach=True)


def set_rate(optimizer: torch.optim.Optimizer, recipe: Recipe, step: int) -> None:
    """Give each group the rate of step 0, 1, …, times its own multiplier."""
    rate = rate_at(recipe, step)
    for group in optimizer.param_groups:
        group["lr"] = rate * group["rate"]


def rate_at(recipe: Recipe, step: int) -> float:
    """The rate of step 0, 1, …: linear warm-up, then as the schedule says.

    With s steps since the warm-up of S that remain after it: cosine (1 + cos πs/S)/2, poly (1 − s/S)^power (spec,
    networks-2015-2017 §0.4), step drop^⌊s/drop_every⌋, fixed 1.
    """
    if step < recipe.warmup:
        return recipe.rate * (step + 1) / recipe.warmup
    since = step - recipe.warmup
    done = min(since / max(recipe.steps - recipe.warmup, 1), 1.0)
    factor = {
        "cosine": lambda: (1 + math.cos(math.pi * done)) / 2,
        "poly": lambda: float((1 - done) ** recipe.power),
        "step": lambda: float(recipe.drop ** (since // recipe.drop_every)),
        "fixed": lambda: 1.0,
    }
    return recipe.rate * factor[recipe.schedule]()


def _rule_of(name: str, recipe: Recipe) -> Rate | None:
    return next((rule for rule in recipe.rates if fnmatchcase(name, rule.parameters)), None)


def _check_patterns(parameters: Mapping[str, nn.Parameter], recipe: Recipe) -> None:
    for rule in recipe.rates:
        if not any(fnmatchcase(name, rule.parameters) for name in parameters):
            raise BadOption(
                f"rates: no parameter of {recipe.model} is called {rule.parameters!r}; they are called "
                f"{', '.join([*parameters][:4])}, …"
            )
