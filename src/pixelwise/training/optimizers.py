"""Optimizers and rate schedules."""

import math

import torch
from torch import nn

from pixelwise.training.recipe import Recipe


def make_optimizer(network: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """The recipe's optimizer; weight decay is for weights of two and more dimensions, not biases and norms."""
    trained = [p for p in network.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": recipe.weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=recipe.rate, betas=(recipe.momentum, 0.999), foreach=True)
    return torch.optim.SGD(groups, lr=recipe.rate, momentum=recipe.momentum, nesterov=recipe.momentum > 0, foreach=True)


def rate_at(recipe: Recipe, step: int) -> float:
    """The rate of step 0, 1, …: linear warm-up, then cosine or poly with power 0.9 to zero at `steps`."""
    if step < recipe.warmup:
        return recipe.rate * (step + 1) / recipe.warmup
    done = min((step - recipe.warmup) / max(recipe.steps - recipe.warmup, 1), 1.0)
    if recipe.schedule == "cosine":
        return recipe.rate * (1 + math.cos(math.pi * done)) / 2
    return recipe.rate * float((1 - done) ** 0.9)  # spec, networks-2015-2017 §0.4
