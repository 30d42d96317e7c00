"""COCO-Stuff's pixel maps."""

import pytest

from pixelwise.data.find import find_layout


def coco_stuff(root):
    for split in ("train2017", "val2017"):
        for part, end in (("images", "jpg"), ("annotations", "png")):
            file = root / part / split / f"000000000139.{end}"
            file.parent.mkdir(parents=True)
            file.write_bytes(b"x")


def test_void_is_known(tmp_path):
    coco_stuff(tmp_path)
    layout = find_layout(tmp_path)
    assert list(layout.splits) == ["train", "val"] and layout.values == {255: "void"} and not layout.labels
    assert layout.name.startswith("COCO-Stuff")


def test_names_of_the_file(tmp_path):
    coco_stuff(tmp_path)
    (tmp_path / "labels.txt").write_text("0: unlabeled\n1: person\n2: bicycle\n182: wood\n")
    (labels,) = find_layout(tmp_path).labels
    assert labels.names == ("person", "bicycle", "wood") and labels.table == {0: 0, 1: 1, 181: 2, 255: 255}


def test_other_stems(tmp_path):
    coco_stuff(tmp_path)
    for file in [*tmp_path.rglob("*139.*")]:
        file.rename(file.with_stem("139"))
    assert not find_layout(tmp_path).values


@pytest.mark.real
def test_the_real_one(real_data):
    layout = find_layout(real_data / "coco-stuff-mini")
    assert {split: len(pairs) for split, pairs in layout.splits.items()} == {"train": 13, "val": 8}
    assert layout.values == {255: "void"} and not layout.faults
