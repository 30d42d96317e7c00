"""The k-th batch is a function of (data, plan, seed, k)."""

import itertools

import numpy as np
import pytest

from pixelwise.data import batch as batch_module
from pixelwise.data.augmentation import Augmentation
from pixelwise.data.batch import Batches, MemoryDataset
from pixelwise.data.sample import Sample
from pixelwise.errors import BadOption, DataError, ShapeError
from pixelwise.labels import LabelSet


class Numbered:
    """Picture i is filled with i; class 2 is one pixel of picture 3 alone."""

    def __init__(self, count=7):
        self.labels = {"labels": LabelSet(("a", "b", "c"))}
        self.count = count
        self.decoded = 0

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        self.decoded += 1
        target = np.full((50, 60), index % 2, np.uint8)
        if index == 3:
            target[44, 55] = 2
        return Sample(np.full((50, 60, 3), index, np.uint8), {"labels": target}, f"p{index}")

    def describe(self):
        return ""


def batches(data, seed=0, **options):
    usual = {"crop_size": (16, 16), "batch_size": 3, "augmentation": Augmentation()}
    return Batches(data, fill=(0.0,) * 3, seed=seed, **(usual | options))


def test_any_order_of_asking_gives_the_same_batches():
    forward = [batches(Numbered())[k] for k in range(6)]
    shuffled = batches(Numbered())
    for k in (4, 0, 5, 1, 3, 2):
        assert (shuffled[k].images == forward[k].images).all()
        assert (shuffled[k].targets == forward[k].targets).all()
        assert shuffled[k].names == forward[k].names
    streamed = list(itertools.islice(batches(Numbered()).starting_at(2), 3))
    assert [b.names for b in streamed] == [b.names for b in forward[2:5]]


def test_a_pass_shows_every_picture_once():
    names = [name for k in range(7) for name in batches(Numbered())[k].names]
    for turn in range(3):
        assert sorted(names[turn * 7 : turn * 7 + 7]) == [f"p{i}" for i in range(7)]
    assert names[:7] != names[7:14]
    assert batches(Numbered(), seed=1)[0].names != batches(Numbered())[0].names or batches(Numbered(), seed=1)[1].names


def test_class_crops_find_the_rare_class():
    presence = np.array([[i % 2 == 0, i % 2 == 1, i == 3] for i in range(7)])
    plain = batches(Numbered())
    aware = batches(Numbered(), class_crops=1.0, class_shares=[0, 0, 1], presence=presence)
    assert all((aware[k].targets == 2).any(axis=(1, 2)).all() for k in range(5))
    assert sum((plain[k].targets == 2).any() for k in range(5)) < 3


def test_pictures_stay_in_memory_up_to_the_limit_and_subsets_share_them():
    data = Numbered()
    one = 50 * 60 * 4
    memory = MemoryDataset(data, limit_bytes=4 * one)
    for _ in range(2):
        for i in range(7):
            assert memory[i].name == f"p{i}"
    assert data.decoded == 7 + 3
    part = memory.subset([2, 0, 6])
    assert [part[i].name for i in range(3)] == ["p2", "p0", "p6"]
    assert data.decoded == 7 + 3 + 1
    assert len(part) == 3


def test_no_pictures_are_refused():
    with pytest.raises(DataError, match="at least one picture with a mask, got none"):
        batches(Numbered(0))


class TwoHeads(Numbered):
    """As `Numbered`, with a second head that is the first's class plus one; picture 5 has none."""

    def __init__(self):
        super().__init__()
        self.labels |= {"other": LabelSet(("x", "y", "z", "w"))}

    def __getitem__(self, index):
        sample = super().__getitem__(index)
        more = {} if index == 5 else {"other": sample.targets["labels"] + np.uint8(1)}
        return Sample(sample.image, {**sample.targets, **more}, sample.name)


def test_other_heads_move_along_and_change_nothing():
    for k in range(5):
        one, two = batches(Numbered())[k], batches(TwoHeads())[k]
        assert one.more == {} and (one.images == two.images).all() and (one.targets == two.targets).all()
        expected = np.where(two.targets == 255, 255, two.targets + 1)
        expected[[i for i, name in enumerate(two.names) if name == "p5"]] = 255
        assert two.more["other"].dtype == np.int64 and (two.more["other"] == expected).all()


def test_class_crops_by_picture_take_the_next_picture_and_a_class_of_it():
    by_picture = batches(Numbered(), class_crops=1.0, class_from="picture")
    plain = batches(Numbered())
    seen = []
    for k in range(40):
        batch = by_picture[k]
        assert batch.names == plain[k].names
        for name, target in zip(batch.names, batch.targets, strict=True):
            assert name != "p3" or (target != 0).any()
            seen += [bool((target == 2).any())] if name == "p3" else []
    assert 0.25 < np.mean(seen) < 0.85  # one of two classes; the other's crops hold it by chance


def weigh(sample):
    """A weight that tells where it comes from."""
    weigh.asked.append(sample.name)
    return np.arange(50 * 60, dtype=np.float32).reshape(50, 60) + 1


def test_weights_are_made_once_for_a_picture_and_move_along():
    weigh.asked = []
    weighted, plain = batches(Numbered(), weigh=weigh), batches(Numbered())
    for k in range(5):
        batch = weighted[k]
        assert plain[k].weights is None
        assert (batch.images == plain[k].images).all() and (batch.targets == plain[k].targets).all()
        assert batch.weights.shape == batch.targets.shape and batch.weights.dtype == np.float32
        assert ((batch.weights == 0) == (batch.targets == 255)).all()
        step = np.diff(batch.weights, axis=1)[(batch.weights[:, 1:] > 0) & (batch.weights[:, :-1] > 0)]
        assert (step == 60).all()
    assert sorted(weigh.asked) == [f"p{i}" for i in range(7)]


def test_weights_beyond_the_limit_are_made_each_time(monkeypatch):
    monkeypatch.setattr(batch_module, "WEIGHTS_BYTES", 3 * 50 * 60 * 4)
    weigh.asked = []
    weighted = batches(Numbered(), weigh=weigh)
    for k in range(7):
        assert weighted[k].weights.any()
    assert len(weigh.asked) == 3 + 3 * 4


def test_pictures_of_other_channels_are_refused():
    class Mixed(Numbered):
        def __getitem__(self, index):
            sample = super().__getitem__(index)
            return Sample(sample.image[..., :1], sample.targets, sample.name) if index == 4 else sample

    with pytest.raises(ShapeError, match="channels.*the pictures of a batch have the same"):
        [batches(Mixed())[k] for k in range(3)]


def test_drawn_pictures_are_those_of_the_seed_and_may_come_twice():
    drawn = [batches(Numbered(), order="drawn", batch_size=4)[k].names for k in range(8)]
    assert drawn == [batches(Numbered(), order="drawn", batch_size=4)[k].names for k in range(8)]
    assert any(len(set(names)) < 4 for names in drawn)
    assert {name for names in drawn for name in names} == {f"p{i}" for i in range(7)}


def test_parts_of_a_batch_are_the_batch():
    whole = batches(Numbered(), batch_size=5)[3]
    parts = [batches(Numbered(), batch_size=5, part=(i, 3))[3] for i in range(3)]
    assert [len(part.names) for part in parts] == [1, 2, 2]
    assert tuple(name for part in parts for name in part.names) == whole.names
    np.testing.assert_array_equal(np.concatenate([part.targets for part in parts]), whole.targets)
    np.testing.assert_array_equal(np.concatenate([part.images for part in parts]), whole.images)


def test_whole_pictures_have_their_own_sizes():
    class Growing(Numbered):
        def __getitem__(self, index):
            target = np.full((20 + index, 30), index % 2, np.uint8)
            return Sample(np.full((20 + index, 30, 3), index, np.uint8), {"labels": target}, f"p{index}")

    still = Augmentation(flip_horizontal=False, overhang=0, jitter=0)
    found = batches(Growing(), crop_size=None, batch_size=1, augmentation=still)
    for k in range(7):
        sample = Growing()[int(found[k].names[0][1:])]
        np.testing.assert_array_equal(found[k].targets[0], sample.targets["labels"])
        np.testing.assert_array_equal(found[k].images[0], sample.image)


def test_impossible_batches_are_refused():
    with pytest.raises(BadOption, match="set batch_size=1 and accumulate=2"):
        batches(Numbered(), crop_size=None, batch_size=2)
    with pytest.raises(BadOption, match="a batch of 2 has no part for each of 3 processes"):
        batches(Numbered(), batch_size=2, part=(0, 3))
