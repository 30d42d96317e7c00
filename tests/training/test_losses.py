"""Losses against loops over pixels."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pixelwise.layers.head import Head
from pixelwise.layers.resample import Resampling
from pixelwise.training.losses import cross_entropy, loss_named, soft_dice


def case(seed, void_share, k=3):
    g = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, k, 4, 5, generator=g) * 3
    target = torch.randint(0, k, (2, 4, 5), generator=g)
    target[torch.rand(2, 4, 5, generator=g) < void_share] = 255
    return logits, target


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 999), void_share=st.sampled_from([0.0, 0.4, 0.9]), weighted=st.booleans())
def test_cross_entropy_is_its_sum_over_pixels(seed, void_share, weighted):
    logits, target = case(seed, void_share)
    weights = [0.5, 2.0, 1.0] if weighted else [1.0, 1.0, 1.0]
    total = mass = 0.0
    for n in range(2):
        for y in range(4):
            for x in range(5):
                t = int(target[n, y, x])
                if t == 255:
                    continue
                p = [math.exp(float(v)) for v in logits[n, :, y, x]]
                total -= weights[t] * math.log(p[t] / sum(p))
                mass += weights[t]
    expected = total / mass if mass else 0.0
    given_weights = torch.tensor(weights) if weighted else None
    found = cross_entropy(logits, target, void=255, class_weights=given_weights)
    assert float(found) == pytest.approx(expected, rel=1e-4, abs=1e-6)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 999), void_share=st.sampled_from([0.0, 0.4, 0.9]))
def test_soft_dice_is_its_formula(seed, void_share):
    logits, target = case(seed, void_share)
    p = logits.double().softmax(1)
    terms = []
    for c in range(3):
        overlap = probability = truth = 0.0
        for n in range(2):
            for y in range(4):
                for x in range(5):
                    t = int(target[n, y, x])
                    if t == 255:
                        continue
                    overlap += float(p[n, c, y, x]) * (t == c)
                    probability += float(p[n, c, y, x])
                    truth += t == c
        if truth:
            terms.append(1 - 2 * overlap / (probability + truth))
    expected = sum(terms) / len(terms) if terms else 0.0
    assert float(soft_dice(logits, target, void=255)) == pytest.approx(expected, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("name", ["cross_entropy", "cross_entropy_dice"])
@pytest.mark.parametrize("weights", [None, torch.tensor([0.0, 1.0, 2.0])])
def test_an_all_void_batch_has_loss_zero_and_finite_gradients(name, weights):
    logits = torch.randn(1, 3, 4, 4, requires_grad=True)
    head = Head(logits, Resampling.identity((4, 4)))
    loss = loss_named(name, void=255, class_weights=weights)(head, torch.full((1, 4, 4), 255))
    loss.backward()
    assert loss == 0
    assert torch.equal(logits.grad, torch.zeros_like(logits))


def test_a_coarse_head_is_judged_on_the_pictures_grid():
    scores = torch.randn(1, 3, 2, 2)
    resampling = Resampling.half_pixel((2, 2), (6, 6))
    target = torch.randint(0, 3, (1, 6, 6))
    found = loss_named("cross_entropy", void=255)(Head(scores, resampling), target)
    torch.testing.assert_close(found, cross_entropy(resampling.apply(scores), target, void=255))
