"""What a recipe adds up: heads, grids, weights, positions."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pixelwise.errors import BadOption
from pixelwise.layers.head import Head
from pixelwise.layers.resample import Resampling
from pixelwise.training import losses
from pixelwise.training.losses import cross_entropy, hardest, lovasz_softmax, sampled, soft_dice
from pixelwise.training.objective import PARTS, Targets, objective_of, on_grid
from pixelwise.training.recipe import HeadLoss, Recipe


def recipe(**changes):
    return Recipe(
        **(
            {"model": "unet", "crop_size": (8, 8), "batch_size": 1, "steps": 1, "rate": 1, "validate_every": 1}
            | changes
        )
    )


def head(k=3, coarse=(4, 5), size=(8, 10), seed=0, kind="logits"):
    scores = torch.randn(2, k, *coarse, generator=torch.Generator().manual_seed(seed))
    return Head(scores.softmax(1) if kind == "probabilities" else scores, Resampling.half_pixel(coarse, size), kind)


def labels(k=3, size=(8, 10), seed=1):
    g = torch.Generator().manual_seed(seed)
    found = torch.randint(0, k, (2, *size), generator=g)
    found[torch.rand(found.shape, generator=g) < 0.2] = 255
    return found


def targets(**more):
    every = {"labels": labels(), **more}
    return Targets(every, dict.fromkeys(every, 255))


def test_without_heads_the_first_is_judged_on_the_picture_s_grid():
    heads = {"logits": head(), "auxiliary": head(seed=5)}
    expected = cross_entropy(heads["logits"].full_size(), labels(), void=255)
    torch.testing.assert_close(objective_of(recipe())(heads, targets()), expected)


def test_heads_are_added_with_their_weights_on_their_grids():
    """As DeepLab v2 and PSPNet do: labels sampled at 0, 2, 4, … for one head, scores enlarged for the other."""
    heads = {"logits": head(), "auxiliary": head(seed=5)}
    plan = recipe(heads={"logits": {"grid": "own", "stride": 2}, "auxiliary": {"weight": 0.4}})
    expected = cross_entropy(heads["logits"].scores, labels()[:, ::2, ::2], void=255)
    expected = expected + 0.4 * cross_entropy(heads["auxiliary"].full_size(), labels(), void=255)
    torch.testing.assert_close(objective_of(plan)(heads, targets()), expected)


def test_a_head_with_a_target_of_its_name_is_judged_by_it_and_by_no_class_weights():
    heads = {"logits": head(), "geometric": head(k=2, seed=7)}
    plan = recipe(heads={"logits": {}, "geometric": {}})
    other, weights = labels(k=2, seed=9), torch.tensor([1.0, 2.0, 3.0])
    expected = cross_entropy(heads["logits"].full_size(), labels(), void=255, class_weights=weights)
    expected = expected + cross_entropy(heads["geometric"].full_size(), other, void=255)
    torch.testing.assert_close(objective_of(plan, weights)(heads, targets(geometric=other)), expected)


def test_a_head_that_is_not_there_is_named():
    with pytest.raises(BadOption, match="gives logits in training, the recipe weighs 'auxiliary'"):
        objective_of(recipe(heads={"auxiliary": {}}))({"logits": head()}, targets())


@settings(max_examples=40, deadline=None)
@given(
    size=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    cells=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    stride=st.one_of(st.none(), st.integers(1, 4)),
    offset=st.integers(-2, 4),
)
def test_labels_on_a_grid_are_read_off_one_by_one(size, cells, stride, offset):
    target = torch.arange(2 * size[0] * size[1]).reshape(2, *size)
    found = on_grid(target, cells, HeadLoss(grid="own", stride=stride, offset=offset), fill=-1)

    def place(i, length, count):
        if stride is None:
            return int(np.floor((i + 0.5) * length / count + 1e-9))
        p = offset + i * stride
        return p if 0 <= p < length else None

    for n, i, j in np.ndindex(2, *cells):
        y, x = place(i, size[0], cells[0]), place(j, size[1], cells[1])
        assert found[n, i, j] == (-1 if y is None or x is None else target[n, y, x])


def test_positions_are_sampled_by_the_generator():
    plan, seed = recipe(keep=0.5), torch.Generator().manual_seed(3)
    every = Targets({"labels": labels()}, {"labels": 255}, None, seed)
    kept = sampled(labels(), 0.5, void=255, generator=torch.Generator().manual_seed(3))
    expected = cross_entropy(head().full_size(), kept, void=255)
    torch.testing.assert_close(objective_of(plan)({"logits": head()}, every), expected)


def test_only_the_hardest_count_and_their_number_divides():
    plan = recipe(hard_share=0.25, hard_probability=0.1)
    scores, target = head().full_size(), labels()
    surprise = torch.nn.functional.cross_entropy(scores, target, ignore_index=255, reduction="none")
    kept = hardest(surprise, target != 255, 0.25, 0.1)
    expected = surprise[kept].mean()
    torch.testing.assert_close(objective_of(plan)({"logits": head()}, targets()), expected)


def test_weights_of_pixels_reach_the_first_target_alone():
    weights = torch.rand(2, 8, 10)
    heads = {"logits": head(), "geometric": head(k=2, seed=7)}
    every = Targets({"labels": labels(), "geometric": labels(k=2)}, {"labels": 255, "geometric": 255}, weights)
    plan = recipe(heads={"logits": {"grid": "own", "stride": 2}, "geometric": {}})
    expected = cross_entropy(heads["logits"].scores, labels()[:, ::2, ::2], void=255, weights=weights[:, ::2, ::2])
    expected = expected + cross_entropy(heads["geometric"].full_size(), labels(k=2), void=255)
    torch.testing.assert_close(objective_of(plan)(heads, every), expected)


def test_probabilities_are_judged_by_their_logarithms():
    logits = head()
    probabilities = Head(logits.full_size().softmax(1), Resampling.identity((8, 10)), "probabilities")
    found = [objective_of(recipe())({"logits": h}, targets()) for h in (logits, probabilities)]
    torch.testing.assert_close(*found)


def test_two_losses_are_added():
    scores = head().full_size()
    parts = {"dice": soft_dice, "lovasz": lovasz_softmax, "cross_entropy": cross_entropy, "focal": losses.focal}
    for name, used in PARTS.items():
        expected = sum(parts[part](scores, labels(), void=255) for part in used)
        torch.testing.assert_close(objective_of(recipe(loss=name))({"logits": head()}, targets()), expected)


@pytest.mark.parametrize("name", [*PARTS])
def test_a_batch_of_nothing_but_void_has_loss_zero(name):
    scores = torch.randn(1, 3, 4, 4, requires_grad=True)
    void = Targets({"labels": torch.full((1, 4, 4), 255)}, {"labels": 255})
    loss = objective_of(recipe(loss=name))({"logits": Head(scores, Resampling.identity((4, 4)))}, void)
    loss.backward()
    assert loss == 0 and torch.equal(scores.grad, torch.zeros_like(scores))
