"""Pairs of files as a data set: several heads, notes, drawn pictures."""

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pixelwise.data import DATASETS, open_dataset
from pixelwise.data.folder import PairDataset, compare_counts
from pixelwise.data.sample import DrawnImage, Pair
from pixelwise.data.scan import scan
from pixelwise.errors import BadOption, LabelError, ShapeError
from pixelwise.labels import LabelSet

TWO = {"labels": LabelSet(("a", "b")), "geometric": LabelSet(("sky", "rest", "more"), table={0: 255, 1: 0, 2: 1, 3: 2})}


def save(path, array):
    Image.fromarray(np.asarray(array, np.uint8)).save(path)
    return path


@pytest.fixture
def pair(tmp_path):
    image = save(tmp_path / "a.png", np.arange(24).reshape(2, 4, 3))
    mask = save(tmp_path / "m.png", [[0, 1, 0, 255]] * 2)
    other = save(tmp_path / "g.png", [[0, 1, 2, 3]] * 2)
    return Pair(image, mask, "a", {"geometric": other})


class TestSeveralHeads:
    def test_each_head_has_its_own_mask_and_labels(self, tmp_path, pair):
        data = PairDataset([pair], TWO, tmp_path, "all")
        assert data.labels == TWO
        sample = data[0]
        assert {head: target.tolist() for head, target in sample.targets.items()} == {
            "labels": [[0, 1, 0, 255]] * 2,
            "geometric": [[255, 0, 1, 2]] * 2,
        }
        assert "1 picture, 2 classes (labels), 3 classes (geometric)" in data.describe()
        (name, _), (red, green, blue) = TWO["labels"].names, TWO["labels"].palette[0]
        assert f"\n  labels: {name} (#{red:02x}{green:02x}{blue:02x}), " in data.describe()

    def test_a_pair_may_lack_any_head(self, tmp_path, pair):
        data = PairDataset(
            [Pair(pair.image, None, "a", pair.more), Pair(pair.image, pair.mask, "b")], TWO, tmp_path, "all"
        )
        assert list(data[0].targets) == ["geometric"] and list(data[1].targets) == ["labels"]

    def test_a_second_mask_is_checked_like_the_first(self, tmp_path, pair):
        save(tmp_path / "g.png", [[0, 1, 2, 4]] * 2)
        with pytest.raises(LabelError, match=r"g\.png holds the value 4 at row 0, column 3"):
            PairDataset([pair], TWO, tmp_path, "all")[0]
        save(tmp_path / "g.png", [[0, 1, 2]] * 2)
        with pytest.raises(ShapeError, match=r"g\.png is 2 × 3 but .*a\.png is 2 × 4"):
            PairDataset([pair], TWO, tmp_path, "all")[0]

    def test_pairs_with_more_masks_can_still_be_told_apart_in_sets(self, tmp_path, pair):
        same = Pair(pair.image, pair.mask, "a", dict(pair.more))
        assert {pair, same} == {pair} and pair != Pair(pair.image, pair.mask, "a")

    def test_a_subset_keeps_everything(self, tmp_path, pair):
        options = {"channels": 3, "notes": ["told"], "absent": {"labels": ("b",)}}
        data = PairDataset([pair, pair], TWO, tmp_path, "test", **options).subset([1])
        assert (len(data), data.labels, data.channels, data.absent) == (1, TWO, 3, {"labels": ("b",)})
        assert data.describe().endswith("no picture has b (labels): left out of means over classes\n  told")


def test_of_many_classes_the_first_are_told_and_where_the_others_are(tmp_path):
    told = PairDataset([], LabelSet(tuple(f"c{i}" for i in range(150))), tmp_path, "val").describe()
    assert "0 pictures, 150 classes\n  labels: c0 (#000000), c1 (#800000)" in told
    assert told.endswith(", c11 (#c08000) and 138 more: labels['labels'].names, with their colors in .palette")


def test_other_counts_are_a_note_and_a_warning_but_no_error(caplog):
    with caplog.at_level(logging.WARNING, "pixelwise"):
        assert compare_counts("train of X", 5, 5) == () and not caplog.records
        (note,) = compare_counts("train of X", 4, 5)
    assert note == "train of X has 4 pictures here, officially 5: published scores are on all of them"
    assert [record.message for record in caplog.records] == [note]


@dataclass(frozen=True)
class Row(DrawnImage):
    """A picture that is one row of an array in a file."""

    path: Path
    files: tuple[Path, ...]
    place: int

    def draw(self):
        return np.load(self.path)[self.place][:, :, None]

    def __str__(self):
        return f"{self.path} (row {self.place})"


def test_a_drawn_picture_is_read_scanned_and_remembered_by_its_place(tmp_path):
    array = np.random.default_rng(0).integers(0, 4000, (2, 5, 6)).astype(np.uint16)
    path = tmp_path / "rows.npy"
    np.save(path, array)
    pairs = [Pair(Row(path, (path,), i), None, str(i)) for i in range(2)]
    data = PairDataset(pairs, LabelSet(("a",)), tmp_path, "all")
    assert all((data[i].image[..., 0] == array[i]).all() for i in range(2))
    found = [scan(pairs, tmp_path).images for _ in range(2)]
    first, second = (found[0][pair.image] for pair in pairs)
    assert first.digest != second.digest  # not that of the whole file
    assert (first.info.size, first.info.channels, first.info.dtype) == ((5, 6), 1, "uint16")
    assert [found[1][pair.image].digest for pair in pairs] == [first.digest, second.digest]


def test_options_reach_the_data_set_and_others_are_refused(tmp_path, monkeypatch):
    def opened(root, split="train", *, size=1):
        return PairDataset([], LabelSet(("a", "b")), root, split, channels=size)

    monkeypatch.setitem(DATASETS, "odd", opened)
    for given, expected in (({"size": 3}, ("train", 3)), ({"split": "val"}, ("val", 1))):
        found = open_dataset("odd", tmp_path, **given)
        assert (found.name, found.root, found.split, found.channels) == ("odd", tmp_path, *expected)
    with pytest.raises(BadOption, match=r"the data set odd has no option 'sice'; it takes size"):
        open_dataset("odd", tmp_path, sice=3)
    with pytest.raises(BadOption, match=r"the data set folder has no option 'size'; it takes none"):
        open_dataset("folder", tmp_path, size=3)
