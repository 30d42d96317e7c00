"""NYUDv2 in its two packagings."""

import pytest

from pixelwise.data.answers import Answers
from pixelwise.data.find import find_layout
from pixelwise.data.sets.nyud import NAMES
from pixelwise.errors import DataError


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")


def nyud(root, test="5003"):
    for i in (5001, 5002, 5003):
        touch(root, *(f"data/{part}/img_{i}.png" for part in ("images", "depth", "hha")), f"segmentation/img_{i}.mat")
    (root / "train.txt").write_text("5001\n")
    (root / "val.txt").write_text("5002\n")
    (root / "test.txt").write_text(f"{test}\n")


@pytest.mark.parametrize("start", [".", "nyud"])
def test_fcn(tmp_path, start):
    nyud(tmp_path / "nyud")
    layout = find_layout(tmp_path / start)
    assert {split: [p.name for p in pairs] for split, pairs in layout.splits.items()} == {
        "train": ["img_5001"],
        "val": ["img_5002"],
        "test": ["img_5003"],
    }
    (labels,) = layout.labels
    assert labels.names == NAMES and len(NAMES) == 40
    assert (labels.table[0], labels.table[1], labels.table[40]) == (255, 0, 39) and not layout.faults
    assert layout.splits["train"][0].image == tmp_path / "nyud/data/images/img_5001.png"
    other = find_layout(tmp_path / start, Answers.of(["images=hha"]))
    assert other.splits["train"][0].image == tmp_path / "nyud/data/hha/img_5001.png"
    with pytest.raises(DataError, match=r"no pictures rgb in .*; there are images, hha, depth: answer with one"):
        find_layout(tmp_path, Answers.of(["images=rgb"]))


def test_names_of_the_file_and_a_list_twice(tmp_path):
    nyud(tmp_path, test="5002")
    (tmp_path / "classes.txt").write_text("\n".join(f"c{i}" for i in range(40)) + "\n\nand 0 is void\n")
    layout = find_layout(tmp_path)
    assert layout.labels[0].names[39] == "c39" and list(layout.splits) == ["train", "val"]
    assert "test.txt lists the same as val.txt and is passed over" in layout.notes


def test_side_by_side(tmp_path):
    home = tmp_path / "some_nyud"
    touch(home, "000001.png", "000001_mask.png")
    layout = find_layout(home)
    assert layout.labels[0].names == NAMES and layout.labels[0].table[39] == 39 and layout.labels[0].table[255] == 255
    assert "since the folder is called so" in layout.notes[0]
    (home / "classes.txt").write_text("a\nb\n")
    assert not find_layout(home).labels
    touch(tmp_path, "other/000001_rgb.png", "other/000001_labels40.png", "other/000001_depth.png")
    assert find_layout(tmp_path / "other").labels[0].names == NAMES
    nyud(tmp_path / "nyud")
    with pytest.raises(DataError, match=r"holds 3 sets, nyud, other, some_nyud; which one is meant\? Pass its folder"):
        find_layout(tmp_path)


@pytest.mark.real
def test_the_real_ones(real_data):
    with pytest.raises(DataError, match=r"holds 3 sets, drsleep_625x468, drsleep_640x480, nyud; which one"):
        find_layout(real_data / "nyud-mini")
    for name, splits in (
        ("nyud", {"train": 2, "val": 1}),
        ("drsleep_625x468", {"all": 5}),
        ("drsleep_640x480", {"all": 2}),
    ):
        layout = find_layout(real_data / "nyud-mini" / name)
        assert {split: len(pairs) for split, pairs in layout.splits.items()} == splits
        assert layout.labels[0].names == NAMES and not layout.faults
