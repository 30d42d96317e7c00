"""Subsets of a learning curve: nested, with every class, and each picture left out for one judge."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pixelwise.errors import BadOption
from pixelwise.flow.subsets import checked_sizes, default_sizes, judges, nested_orders


@given(st.integers(4, 60), st.integers(1, 5), st.integers(0, 10))
@settings(max_examples=60, deadline=None)
def test_each_order_is_of_all_pictures_and_with_our_sizes_each_picture_is_judged_once(count, repeats, seed):
    sizes = default_sizes(count, repeats)
    assert sizes[-1] == count
    presence = np.ones((count, 3), bool)
    orders = nested_orders(presence, range(count), sizes, repeats, seed)
    assert all(sorted(order) == list(range(count)) for order in orders)
    judged = judges(orders, range(count), sizes)
    pictures = [picture for own in judged.values() for picture in own]
    assert len(pictures) == len(set(pictures))
    for (size, repeat), own in judged.items():
        assert not set(own) & set(orders[repeat][:size])  # none was learned
    if repeats > 1:
        assert sorted(pictures) == list(range(count))
        assert {size for size, _ in judged} == {sizes[-2]}


def test_the_smallest_subset_has_every_class_where_its_pictures_suffice():
    random = np.random.default_rng(0)
    presence = np.zeros((30, 4), bool)
    presence[:, 0] = True
    for k, pictures in enumerate((10, 4, 2), 1):
        presence[random.permutation(30)[:pictures], k] = True
    for order in nested_orders(presence, range(30), (5, 10, 20, 30), 3, 0):
        for size in (5, 10, 20):
            assert presence[order[:size]].any(0).all()


def test_the_only_picture_of_a_class_is_never_left_out_and_never_judged():
    presence = np.ones((12, 2), bool)
    presence[:, 1] = False
    presence[7, 1] = True
    sizes = default_sizes(12, 3)
    orders = nested_orders(presence, range(12), sizes, 3, 0)
    assert all(7 in order[: sizes[0]] for order in orders)
    assert 7 not in [picture for own in judges(orders, range(12), sizes).values() for picture in own]


def test_pictures_that_look_the_same_are_left_out_together():
    alike = [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    orders = nested_orders(np.ones((12, 1), bool), alike, (4, 8, 12), 3, 0)
    for order in orders:
        out = {alike[i] for i in order[8:]}
        assert not out & {alike[i] for i in order[:8]}
    assert sorted(p for own in judges(orders, alike, (4, 8, 12)).values() for p in own) == list(range(12))


def test_the_same_seed_gives_the_same_orders_and_another_one_others():
    presence = np.ones((20, 1), bool)
    one, same, other = (nested_orders(presence, range(20), (10, 20), 2, seed) for seed in (3, 3, 4))
    assert one == same
    assert one != other


def test_sizes_that_make_no_sense_are_refused():
    assert checked_sizes([20, 5], 34, 6) == (5, 20)
    with pytest.raises(BadOption, match="--sizes has 40, but there are 34 pictures to train on, as 6 others measure"):
        checked_sizes([5, 40], 34, 6)
    with pytest.raises(BadOption, match="different numbers of pictures from 1, got 5,5"):
        checked_sizes([5, 5], 34, 6)
    with pytest.raises(BadOption, match="got 0,5"):
        checked_sizes([0, 5], 34, 6)
