"""COCO-Stuff's pixel maps."""

import numpy as np
import pytest
from PIL import Image

from pixelwise.data import open_dataset
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


@pytest.mark.real
def test_real_numbers_are_kept(real_data):
    for split in ("train", "val"):
        data = open_dataset("folder", real_data / "coco-stuff-mini", split)
        table = data.labels["labels"].table
        for i in range(len(data)):
            numbers = np.asarray(Image.open(data.pairs[i].mask))
            back = {to: value for value, to in table.items()}
            classes = data[i].targets["labels"]
            np.testing.assert_array_equal(np.array([back.get(c, -1) for c in range(256)])[classes], numbers)
