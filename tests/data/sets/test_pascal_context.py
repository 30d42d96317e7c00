"""PASCAL-Context: 459 classes or 59, and the question which."""

import pytest

from pixelwise.data.answers import Answers
from pixelwise.data.find import find_layout
from pixelwise.errors import DataError, DataQuestion


def context(root, folders=("59_class_png", "trainval")):
    for i in "ab":
        names = {"59_class_png": f"{i}.png", "trainval": f"{i}.mat"}
        for place in ("VOCdevkit/VOC2010/JPEGImages", *(f"pascal-context/{name}" for name in folders)):
            file = root / place / names.get(place.split("/")[-1], f"{i}.jpg")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(b"x")
    lists = root / "VOCdevkit/VOC2010/ImageSets/Main"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("a\n")
    (lists / "val.txt").write_text("b\n")
    (lists / "aeroplane_train.txt").write_text("a -1\n")
    (root / "pascal-context/labels.txt").write_text("".join(f"{i}: thing {i}\n" for i in range(1, 460)))


def test_the_question(tmp_path):
    context(tmp_path)
    with pytest.raises(
        DataQuestion, match=r"59_class_png with 59 classes and .*trainval with 459.* which are meant\?"
    ) as c:
        find_layout(tmp_path)
    assert c.value.answers == ("masks=59_class_png", "masks=trainval")
    small = find_layout(tmp_path, Answers.of(["masks=59_class_png"]))
    assert small.labels[0].names[:2] == ("background", "aeroplane") and small.labels[0].names[59] == "wood"
    assert small.labels[0].table[0] == 0 and small.splits["train"][0].mask.name == "a.png"
    large = find_layout(tmp_path, Answers.of(["masks=trainval"]))
    assert large.labels[0].num_classes == 459 and large.labels[0].table[459] == 458
    assert large.labels[0].table[0] == 65_535 and large.splits["val"][0].mask.name == "b.mat"
    with pytest.raises(DataError, match=r"no folder of masks other in .*; there are 59_class_png, trainval"):
        find_layout(tmp_path, Answers.of(["masks=other"]))


@pytest.mark.parametrize("folder, count", [("59_class_png", 60), ("trainval", 459)])
def test_one_of_them(tmp_path, folder, count):
    context(tmp_path, (folder,))
    layout = find_layout(tmp_path)
    assert layout.labels[0].num_classes == count and {s: len(p) for s, p in layout.splits.items()} == {
        "train": 1,
        "val": 1,
    }


def test_without_pictures(tmp_path):
    context(tmp_path)
    with pytest.raises(DataError, match=r"no JPEGImages with VOC 2010's pictures under .*; pass the folder that holds"):
        find_layout(tmp_path / "pascal-context")


@pytest.mark.real
def test_the_real_one(real_data):
    with pytest.raises(DataQuestion):
        find_layout(real_data / "context-mini")
    layout = find_layout(real_data / "context-mini", Answers.of(["masks=trainval"]))
    assert {split: len(pairs) for split, pairs in layout.splits.items()} == {"train": 2, "val": 2}
    assert layout.labels[0].names[1] == "aeroplane" and not layout.faults
