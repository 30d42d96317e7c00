"""Where all pixels of a picture have one cell's scores, the loss is that of the scores at every pixel."""

import numpy as np
import pytest
import torch

from pixelwise.layers.head import Head
from pixelwise.layers.resample import Resampling
from pixelwise.training import losses, objective
from pixelwise.training.losses import cross_entropy, cross_entropy_of_cell
from pixelwise.training.objective import Targets, objective_of
from pixelwise.training.recipe import Recipe

VOID = 255


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(3, 4, 1, 1, generator=generator)
    target = torch.randint(0, 4, (3, 5, 6), generator=generator)
    target[0, :2] = VOID
    target[1] = VOID
    return logits, target


@pytest.mark.parametrize("weights", [None, torch.tensor([0.5, 2.0, 0.0, 1.0])])
def test_it_is_the_loss_of_the_scores_at_every_pixel(batch, weights):
    logits, target = batch
    gradients = []
    values = []
    for one_cell in (True, False):
        own = logits.clone().requires_grad_()
        if one_cell:
            loss = cross_entropy_of_cell(own, target, void=VOID, class_weights=weights)
        else:
            loss = cross_entropy(own.expand(3, 4, 5, 6), target, void=VOID, class_weights=weights)
        loss.backward()
        values.append(float(loss.detach()))
        gradients.append(own.grad)
    assert values[0] == pytest.approx(values[1], rel=1e-5)
    torch.testing.assert_close(*gradients)
    assert (gradients[0][1] == 0).all()


def test_nothing_but_void_is_no_loss_and_no_gradient(batch):
    own = batch[0].clone().requires_grad_()
    loss = cross_entropy_of_cell(own, torch.full((3, 5, 6), VOID), void=VOID)
    loss.backward()
    assert float(loss.detach()) == 0 and (own.grad == 0).all()


@pytest.mark.parametrize(
    ("resampling", "name", "taken"),
    [
        (Resampling.half_pixel((1, 1), (5, 6)), "cross_entropy", True),
        (Resampling.half_pixel((1, 1), (5, 6)), "cross_entropy_dice", False),
        (Resampling.half_pixel((1, 2), (5, 6)), "cross_entropy", False),
        (Resampling.half_pixel((2, 1), (5, 6)), "cross_entropy", False),
        (Resampling.deconvolution((1, 1), (5, 6), factor=8, offset=0), "cross_entropy", False),
    ],
)
def test_it_is_taken_where_one_cell_is_every_pixel_and_changes_nothing(resampling, name, taken, monkeypatch):
    scores = torch.from_numpy(np.random.default_rng(0).normal(size=(2, 3, *resampling.coarse_size))).float()
    target = torch.from_numpy(np.random.default_rng(1).integers(0, 3, (2, 5, 6)))
    head = Head(scores, resampling)
    calls = []

    def counted(*args, **kwargs):
        calls.append(1)
        return cross_entropy_of_cell(*args, **kwargs)

    monkeypatch.setattr(objective, "cross_entropy_of_cell", counted)
    recipe = Recipe(model="unet", crop_size=(5, 6), batch_size=2, steps=1, rate=1, validate_every=1, loss=name)
    found = objective_of(recipe)({"logits": head}, Targets({"labels": target}, {"labels": VOID}))
    expected = cross_entropy(head.full_size(), target, void=VOID)
    if name == "cross_entropy_dice":
        expected = expected + losses.soft_dice(head.full_size(), target, void=VOID)
    assert float(found) == pytest.approx(float(expected), rel=1e-5)
    assert bool(calls) is taken
