"""Losses against loops over pixels."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pixelwise.training.losses import (
    NORMALIZATIONS,
    cross_entropy,
    focal,
    hardest,
    lovasz_softmax,
    pixel_weights,
    sampled,
    soft_dice,
)


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


def surprises(logits, target):
    """{(n, y, x): −log p of the true class} of the counted pixels, in float64."""
    logarithms = logits.double().log_softmax(1)
    return {
        place: -float(logarithms[place[0], int(target[place]), place[1], place[2]])
        for place in np.ndindex(*target.shape)
        if target[place] != 255
    }


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 999),
    void_share=st.sampled_from([0.0, 0.4]),
    name=st.sampled_from([*NORMALIZATIONS]),
    by_class=st.booleans(),
    by_pixel=st.booleans(),
)
def test_each_normalization_divides_by_what_it_says(seed, void_share, name, by_class, by_pixel):
    logits, target = case(seed, void_share)
    classes = torch.tensor([0.5, 2.0, 0.0]) if by_class else torch.ones(3)
    pixels = torch.rand(target.shape, generator=torch.Generator().manual_seed(seed)) + 0.1
    pixels = pixels if by_pixel else torch.ones(target.shape)
    weight = {place: float(classes[int(target[place])] * pixels[place]) for place in surprises(logits, target)}
    total = sum(weight[place] * value for place, value in surprises(logits, target).items())
    by = {"weights": sum(weight.values()), "counted": len(weight), "pixels": target.numel(), "images": 2, "sum": 1}
    found = cross_entropy(
        logits,
        target,
        void=255,
        class_weights=classes if by_class else None,
        weights=pixels if by_pixel else None,
        normalization=name,
    )
    assert float(found) == pytest.approx(total / by[name] if by[name] else 0.0, rel=1e-4, abs=1e-5)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 999), void_share=st.sampled_from([0.0, 0.4, 1.0]), gamma=st.sampled_from([0.0, 0.5, 2.0]))
def test_focal_loss_is_its_formula(seed, void_share, gamma):
    logits, target = case(seed, void_share)
    terms = [(1 - math.exp(-value)) ** gamma * value for value in surprises(logits, target).values()]
    expected = sum(terms) / len(terms) if terms else 0.0
    assert float(focal(logits, target, void=255, gamma=gamma)) == pytest.approx(expected, rel=1e-3, abs=1e-6)
    if terms and gamma == 0:
        assert expected == pytest.approx(float(cross_entropy(logits, target, void=255)), rel=1e-4)


def jaccard_loss(wrong, truth):
    """1 − IoU of a class where the pixels in `wrong` are wrong and all others right."""
    predicted = truth ^ wrong
    union = (truth | predicted).sum()
    return 1 - (truth & predicted).sum() / union if union else 0.0


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 999), void_share=st.sampled_from([0.0, 0.4, 1.0]))
def test_lovasz_is_the_extension_of_the_jaccard_loss(seed, void_share):
    """Σ over ranks of the sorted errors of error · (loss of the set with the rank − without it)."""
    logits, target = case(seed, void_share)
    counted = (target != 255).numpy()
    p = logits.double().softmax(1).permute(0, 2, 3, 1).numpy()[counted]
    truth = target.numpy()[counted]
    losses = []
    for c in np.unique(truth):
        mine = truth == c
        errors = np.where(mine, 1 - p[:, c], p[:, c])
        wrong, before, loss = np.zeros(len(mine), bool), 0.0, 0.0
        for place in np.argsort(-errors, kind="stable"):
            wrong[place] = True
            now = jaccard_loss(wrong, mine)
            loss, before = loss + errors[place] * (now - before), now
        losses.append(loss)
    expected = float(np.mean(losses)) if losses else 0.0
    assert float(lovasz_softmax(logits, target, void=255)) == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_lovasz_of_a_hard_prediction_is_one_minus_the_mean_iou_of_the_classes_there():
    target = torch.tensor([[[0, 0, 1, 1, 255, 2]]])
    prediction = torch.tensor([[[0, 1, 1, 1, 2, 0]]])
    logits = torch.nn.functional.one_hot(prediction, 3).permute(0, 3, 1, 2) * 100.0
    ious = [1 / 3, 2 / 3, 0 / 1]  # void's prediction counts nowhere
    assert float(lovasz_softmax(logits, target, void=255)) == pytest.approx(1 - sum(ious) / 3, abs=1e-5)


def test_sampled_positions_are_a_share_of_all_and_follow_the_generator():
    target = torch.randint(0, 3, (4, 100, 100))
    target[0, :50] = 255
    draws = [sampled(target, 0.25, void=255, generator=torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)]
    assert torch.equal(draws[0], draws[1]) and not torch.equal(draws[0], draws[2])
    assert ((draws[0] == target) | (draws[0] == 255)).all()
    kept = (draws[0] != 255).sum() / (target != 255).sum()
    assert float(kept) == pytest.approx(0.25, abs=0.02)


@pytest.mark.parametrize(("share", "probability"), [(0.25, 0.0), (0.0, 0.6), (0.1, 0.5), (1.0, 0.0)])
def test_the_hardest_pixels_are_the_first_of_a_sorted_list(share, probability):
    logits, target = case(3, 0.3)
    found = surprises(logits, target)
    ranked = sorted(found, key=found.get, reverse=True)
    expected = set(ranked[: math.ceil(share * len(ranked))])
    expected |= {place for place, value in found.items() if math.exp(-value) < probability}
    surprise = torch.nn.functional.cross_entropy(logits, target, ignore_index=255, reduction="none")
    kept = hardest(surprise, target != 255, share, probability)
    assert {tuple(place) for place in kept.nonzero().tolist()} == expected


@pytest.mark.parametrize("loss", [cross_entropy, focal, soft_dice, lovasz_softmax])
def test_nothing_but_void_has_loss_zero_and_no_gradient(loss):
    logits = torch.randn(1, 3, 4, 4, requires_grad=True)
    found = loss(logits, torch.full((1, 4, 4), 255), void=255)
    found.backward()
    assert found == 0
    assert torch.equal(logits.grad, torch.zeros_like(logits))


@pytest.mark.parametrize("loss", [cross_entropy, focal, soft_dice, lovasz_softmax])
def test_gradients_are_those_of_finite_differences(loss):
    logits, target = case(5, 0.2)
    logits = logits[:1, :, :2, :3].double().requires_grad_()
    target = target[:1, :2, :3]
    if loss is lovasz_softmax:  # it computes in float32; the steps must be larger
        torch.autograd.gradcheck(lambda x: loss(x, target, void=255), logits, eps=1e-2, atol=2e-2)
    else:
        torch.autograd.gradcheck(lambda x: loss(x, target, void=255), logits, atol=1e-3, eps=1e-5)


def test_pixel_weights_are_products_and_zero_at_void():
    target = torch.tensor([[[0, 1, 255]]])
    found = pixel_weights(
        target, void=255, class_weights=torch.tensor([2.0, 3.0]), weights=torch.tensor([[[1.0, 0.5, 4.0]]])
    )
    assert found.tolist() == [[[2.0, 1.5, 0.0]]]
