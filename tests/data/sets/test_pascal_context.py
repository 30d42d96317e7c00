"""PASCAL-Context: 459 classes or 59, and the question which; 60, 59, 33 and 459 from files in the authors' format."""

import numpy as np
import pytest
from PIL import Image
from scipy.io import loadmat, savemat

from pixelwise.data import open_dataset
from pixelwise.data.answers import Answers
from pixelwise.data.find import find_layout
from pixelwise.data.sets.pascal_context import LABELS, NAMES_33
from pixelwise.errors import BadOption, DataError, DataQuestion
from pixelwise.flow.check import look_at

NAMES_59 = (
    "aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse motorbike person pottedplant sheep "
    "sofa train tvmonitor bag bed bench book building cabinet ceiling clothes computer cup door fence floor flower "
    "food grass ground keyboard light mountain mouse curtain platform sign plate road rock shelves sidewalk sky snow "
    "bedcloth track tree truck wall water window wood"
).split()
OF_33 = "sky grass ground road building tree water mountain wall floor track keyboard ceiling".split()
RENAMED = {"diningtable": "table", "bedcloth": "bedclothes", "clothes": "cloth"}


def names_459():
    """{number: name} in an order of its own: the 59 among 400 others, from the last to the first."""
    named = [RENAMED.get(name, name) for name in NAMES_59]
    others = [f"thing {i}" for i in range(400)]
    return {459 - i: name for i, name in enumerate([*others[:150], *named, *others[150:]])}


def write(root, train=("2008_000002", "2010_000003"), val=("2009_000001",), year=2010, size=(9, 60)):
    """{id: LabelMap}; labels.txt has a space after some names, as the authors' has."""
    random = np.random.default_rng(0)
    voc, home = root / f"VOCdevkit/VOC{year}", root / "pascal-context"
    for folder in (voc / "JPEGImages", voc / "ImageSets/Main", home / "trainval"):
        folder.mkdir(parents=True, exist_ok=True)
    (home / "labels.txt").write_text("".join(f"{i}: {name} \n" for i, name in sorted(names_459().items())))
    held = {}
    for split, ids in (("train", train), ("val", val)):
        (voc / f"ImageSets/Main/{split}.txt").write_text("".join(f"{name}\n" for name in ids))
        for name in ids:
            held[name] = random.permutation(np.arange(size[0] * size[1]) % 459 + 1).reshape(size).astype(np.uint16)
            Image.fromarray(random.integers(0, 256, (*size, 3)).astype(np.uint8)).save(voc / f"JPEGImages/{name}.jpg")
            savemat(home / f"trainval/{name}.mat", {"LabelMap": held[name]}, do_compression=True)
    return held


def as_fcn(label_map, names=NAMES_59):
    """The layer of FCN's authors: 0, and 1… where the name of the 459 is one of `names`."""
    label = np.zeros_like(label_map, dtype=np.uint8)
    for number, name in names_459().items():
        for i, wanted in enumerate(names):
            if name == RENAMED.get(wanted, wanted):
                label[label_map == number] = i + 1
    return label


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


def test_the_60_classes_are_as_fcn_reads_them(tmp_path):
    held = write(tmp_path)
    data = open_dataset("pascal_context", tmp_path, "trainval")
    assert data.labels == {"labels": data.labels["labels"]}
    assert data.labels["labels"].names == ("background", *NAMES_59) == LABELS.names
    assert [pair.name for pair in data.pairs] == list(held)
    for i in range(len(data)):
        assert (data[i].targets["labels"] == as_fcn(held[data[i].name])).all()
    assert "trainval of PASCAL-Context in" in data.describe() and "officially 10103" in data.describe()
    assert [len(open_dataset("pascal_context", tmp_path, split)) for split in ("train", "val")] == [2, 1]


@pytest.mark.parametrize(("classes", "names"), [(59, NAMES_59), (33, [*NAMES_59[:20], *OF_33])])
def test_of_59_and_33_all_others_are_void(tmp_path, classes, names):
    held = write(tmp_path)
    data = open_dataset("pascal_context", tmp_path, classes=classes)
    assert list(data.labels["labels"].names) == names
    for i in range(len(data)):
        expected = as_fcn(held[data[i].name], names)
        assert (data[i].targets["labels"] == expected - np.uint8(1)).all()  # 0 wraps around to 255
        assert (data[i].targets["labels"] == 255).any()


def test_the_459_stay_what_they_are(tmp_path):
    held = write(tmp_path)
    data = open_dataset("pascal_context", tmp_path, "val", classes=459)
    target = data[0].targets["labels"]
    assert target.dtype == np.uint16 and (target == held["2009_000001"] - 1).all() and len(np.unique(target)) == 459
    assert data.labels["labels"].names[458] == "thing 0" and data.labels["labels"].void == 65_535


@pytest.mark.parametrize("classes", [60, 59, 33])
def test_masks_of_59_classes_give_the_same(tmp_path, classes):
    held = write(tmp_path)
    from_459 = open_dataset("pascal_context", tmp_path, "trainval", classes=classes)
    before = [from_459[i].targets["labels"] for i in range(3)]
    home = tmp_path / "pascal-context"
    (home / "59_class_png").mkdir()
    for name, label_map in held.items():
        (home / f"trainval/{name}.mat").unlink()
        Image.fromarray(as_fcn(label_map)).save(home / f"59_class_png/{name}.png")
    for listed in (False, True):
        if listed:
            lines = (f"{i}: {name}\n" for i, name in enumerate(["background", *NAMES_59]))
            (home / "59_labels.txt").write_text("".join(lines))
        data = open_dataset("pascal_context", tmp_path, "trainval", classes=classes)
        assert data.labels["labels"].names == from_459.labels["labels"].names
        for i in range(3):
            assert (data[i].targets["labels"] == before[i]).all()
    with pytest.raises(
        BadOption, match=r"classes=459 are in trainval/\*\.mat alone, which .* lacks; choose 60, 59 or 33"
    ):
        open_dataset("pascal_context", tmp_path, classes=459)


def test_what_is_missing_is_told(tmp_path):
    with pytest.raises(DataError, match=r"no trainval/\*\.mat with labels\.txt and no 59_class_png under .*download: "):
        open_dataset("pascal_context", tmp_path)
    write(tmp_path, year=2012)
    with pytest.raises(DataError, match=r"no JPEGImages with VOC 2010's pictures under .* \(there is VOC2012\)"):
        open_dataset("pascal_context", tmp_path)
    (tmp_path / "VOCdevkit/VOC2012").rename(tmp_path / "VOCdevkit/VOC2010")
    with pytest.raises(DataError, match=r"pascal_context has no split 'test'; it has train, val, trainval"):
        open_dataset("pascal_context", tmp_path, "test")
    with pytest.raises(BadOption, match=r"classes is 60, 59, 33 or 459, got 61"):
        open_dataset("pascal_context", tmp_path, classes=61)
    names = tmp_path / "pascal-context/labels.txt"
    whole = names.read_text()
    names.write_text(whole.replace(": cloth ", ": fabric "))
    with pytest.raises(DataError, match=r"the list of classes lacks clothes, by which the 60 classes are found"):
        open_dataset("pascal_context", tmp_path)
    assert len(NAMES_33) == 33 and len(open_dataset("pascal_context", tmp_path, classes=33)) == 2
    names.write_text(whole)
    (tmp_path / "pascal-context/trainval/2010_000003.mat").unlink()
    with pytest.raises(DataError, match=r"train\.txt, line 2, lists 2010_000003, but .*trainval has no such file"):
        open_dataset("pascal_context", tmp_path)
    (tmp_path / "VOCdevkit/VOC2010/ImageSets/Main/train.txt").unlink()
    with pytest.raises(DataError, match=r"no train\.txt in .*Main, the list of VOC 2010's pictures"):
        open_dataset("pascal_context", tmp_path)


def test_the_doctor_takes_it_by_name(tmp_path):
    write(tmp_path)
    found = look_at(tmp_path, dataset="pascal_context")
    assert found.labels.names == LABELS.names and not found.errors


@pytest.mark.real
def test_the_real_one(real_data):
    with pytest.raises(DataQuestion):
        find_layout(real_data / "context-mini")
    layout = find_layout(real_data / "context-mini", Answers.of(["masks=trainval"]))
    assert {split: len(pairs) for split, pairs in layout.splits.items()} == {"train": 2, "val": 2}
    assert layout.labels[0].names[1] == "aeroplane" and not layout.faults


@pytest.mark.real
def test_the_real_ones_are_read_id_for_id(real_data):
    root = real_data / "context-mini"
    data = open_dataset("pascal_context", root, "trainval")
    only = open_dataset("pascal_context", root, "trainval", classes=59)
    full = open_dataset("pascal_context", root, "trainval", classes=459)
    names = full.labels["labels"].names
    assert len(data) == 4 and (len(names), names[396], names[18], names[79]) == (459, "table", "bedclothes", "cloth")
    for i in range(4):
        target = data[i].targets["labels"]
        with Image.open(root / f"pascal-context/59_class_png/{data[i].name}.png") as file:
            assert (target == np.array(file)).all()
        assert (only[i].targets["labels"] == target - np.uint8(1)).all()
        label_map = loadmat(data.pairs[i].mask)["LabelMap"]
        assert label_map.dtype == np.uint16
        assert (full[i].targets["labels"] == np.where(label_map == 0, 65_535, label_map - 1)).all()
