"""PASCAL-Person-Part, and the parts that it was made of."""

import pytest

from pixelwise.data.find import find_layout
from pixelwise.errors import DataError

NAMES = ("background", "head", "torso", "upper arms", "lower arms", "upper legs", "lower legs")


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")


def person_part(root):
    touch(root, *(f"JPEGImages/{i}.jpg" for i in "abc"), *(f"pascal_person_part_gt/{i}.png" for i in "abc"))
    lists = root / "pascal_person_part_trainval_list"
    lists.mkdir()
    (lists / "train.txt").write_text("a\nb\n")
    (lists / "val.txt").write_text("JPEGImages/c.jpg pascal_person_part_gt/c.png\n")


@pytest.mark.parametrize("start", [".", "set"])
def test_lists_decide(tmp_path, start):
    person_part(tmp_path / "set")
    layout = find_layout(tmp_path / start)
    assert {split: [p.name for p in pairs] for split, pairs in layout.splits.items()} == {
        "train": ["a", "b"],
        "val": ["c"],
    }
    assert layout.labels[0].names == NAMES and not layout.faults


def test_single_parts_are_no_masks(tmp_path):
    touch(tmp_path, "parts/Annotations_Part/a.mat", "parts/JPEGImages/a.jpg")
    with pytest.raises(
        DataError, match=r"Annotations_Part holds PASCAL-Part's masks of single objects and parts, not one"
    ):
        find_layout(tmp_path)
    person_part(tmp_path / "set")
    layout = find_layout(tmp_path)
    assert layout.labels[0].names == NAMES and "single objects and parts and is passed over" in layout.notes[0]


def test_without_pictures(tmp_path):
    touch(tmp_path, "pascal_person_part_gt/a.png")
    with pytest.raises(DataError, match=r"no JPEGImages with VOC 2010's pictures under .*; pass the folder"):
        find_layout(tmp_path)


@pytest.mark.real
@pytest.mark.parametrize("start", ["personpart-mini", "personpart-mini/pascal_person_part"])
def test_the_real_one(real_data, start):
    layout = find_layout(real_data / start)
    assert {split: len(pairs) for split, pairs in layout.splits.items()} == {"train": 2, "val": 2}
    assert layout.labels[0].names == NAMES and not layout.faults
