"""ADE20K of the scene parsing challenge."""

import numpy as np
import pytest
from PIL import Image

from pixelwise.data import open_dataset
from pixelwise.data.find import find_layout
from pixelwise.data.sets.ade20k import LABELS, NAMES
from pixelwise.errors import DataError, LabelError
from pixelwise.flow.check import look_at


def write(root, count=2, size=(12, 15)):
    """{name: values}, real files; one of the pictures is gray."""
    random = np.random.default_rng(0)
    held = {}
    for split, short in (("training", "train"), ("validation", "val")):
        for part in ("images", "annotations"):
            (root / part / split).mkdir(parents=True)
        for i in range(count):
            name = f"ADE_{short}_{i + 1:08}"
            shape = size if i else (*size, 3)
            held[name] = random.permutation(np.arange(size[0] * size[1]) % 151).reshape(size).astype(np.uint8)
            picture = Image.fromarray(random.integers(0, 256, shape).astype(np.uint8))
            picture.save(root / f"images/{split}/{name}.jpg")
            Image.fromarray(held[name]).save(root / f"annotations/{split}/{name}.png")
    return held


def ade20k(root):
    for split, short in (("training", "train"), ("validation", "val")):
        for part, end in (("images", "jpg"), ("annotations", "png")):
            file = root / part / split / f"ADE_{short}_00000001.{end}"
            file.parent.mkdir(parents=True)
            file.write_bytes(b"x")


def test_the_challenge(tmp_path):
    ade20k(tmp_path)
    layout = find_layout(tmp_path)
    assert list(layout.splits) == ["train", "val"] and layout.labels == (LABELS,)
    assert len(set(NAMES)) == 150 and (NAMES[0], NAMES[149]) == ("wall", "flag")
    assert (LABELS.table[0], LABELS.table[1], LABELS.table[150]) == (255, 0, 149)
    assert LABELS.palette[0] == (120, 120, 120) and LABELS.palette[149] == (92, 0, 255)


def test_a_file_of_other_names_changes_no_class(tmp_path):
    ade20k(tmp_path)
    rows = [f"{i}\t0.1\t1\t1\tthing {i}, object" for i in range(1, 151)]
    (tmp_path / "objectInfo150.txt").write_text("Idx\tRatio\tTrain\tVal\tName\n" + "\n".join(rows) + "\n")
    assert find_layout(tmp_path).labels == (LABELS,)
    assert open_dataset("ade20k", tmp_path, "val").labels == {"labels": LABELS}


def test_other_names_are_no_challenge(tmp_path):
    ade20k(tmp_path)
    (tmp_path / "images/training/b.jpg").write_bytes(b"x")
    (tmp_path / "annotations/training/b.png").write_bytes(b"x")
    assert not find_layout(tmp_path).labels


@pytest.mark.parametrize("start", [".", "ADEChallengeData2016"])
def test_zero_is_void_and_the_rest_one_less(tmp_path, start):
    held = write(tmp_path / "ADEChallengeData2016")
    for split in ("train", "val"):
        data = open_dataset("ade20k", tmp_path / start, split)
        assert data.labels == {"labels": LABELS} and len(data) == 2
        for i in range(2):
            assert (data[i].targets["labels"] == held[data[i].name] - np.uint8(1)).all()  # 0 wraps around to 255
            assert data[i].image.shape == (12, 15, 3)
    assert "val of ADE20K in" in data.describe() and "officially 2000" in data.describe()
    found = look_at(tmp_path, dataset="ade20k")
    assert found.labels == LABELS and {fault.kind for fault in found.faults} <= {"classes"}


@pytest.mark.parametrize("place", ["release_test/testing", "images/testing"])
@pytest.mark.parametrize(("count", "told"), [(3, True), (2000, False), (3352, False)])
def test_the_test_split_has_no_targets_and_one_of_two_sizes(tmp_path, place, count, told):
    folder = tmp_path / place
    folder.mkdir(parents=True)
    for i in range(count):
        (folder / f"ADE_test_{i + 1:08}.jpg").touch()
    Image.new("RGB", (5, 4)).save(folder / "ADE_test_00000001.jpg")
    data = open_dataset("ade20k", tmp_path, "test")
    assert len(data) == count and ("officially 3352" in data.describe()) == told
    assert data[0].targets == {} and data[0].size == (4, 5)


def test_what_is_missing_is_told(tmp_path):
    with pytest.raises(
        DataError, match=r"no images/training with annotations/training under .*ADEChallengeData2016\.zip"
    ):
        open_dataset("ade20k", tmp_path)
    with pytest.raises(DataError, match=r"no images/testing or .* under .*release_test\.zip"):
        open_dataset("ade20k", tmp_path, "test")
    with pytest.raises(DataError, match=r"ade20k has no split 'trainval'; it has train, val, test"):
        open_dataset("ade20k", tmp_path, "trainval")
    write(tmp_path)
    mask = tmp_path / "annotations/validation/ADE_val_00000002.png"
    Image.fromarray(np.full((12, 15), 151, np.uint8)).save(mask)
    with pytest.raises(LabelError, match=r"ADE_val_00000002\.png holds the value 151 at row 0, column 0"):
        open_dataset("ade20k", tmp_path, "val")[1]
    mask.unlink()
    with pytest.raises(DataError, match=r"validation has no ADE_val_00000002\.png for .*jpg; unpack"):
        open_dataset("ade20k", tmp_path, "val")
    for file in (tmp_path / "images/training").iterdir():
        file.unlink()
    with pytest.raises(DataError, match=r"images/training holds no pictures; unpack the data set again"):
        open_dataset("ade20k", tmp_path)


@pytest.mark.real
def test_the_real_one(real_data):
    layout = find_layout(real_data / "ade20k-mini")
    assert {split: len(pairs) for split, pairs in layout.splits.items()} == {"val": 3}
    assert layout.labels[0].names[:2] == ("wall", "building") and not layout.faults


@pytest.mark.real
def test_the_real_ones_are_read_id_for_id(real_data):
    data = open_dataset("ade20k", real_data / "ade20k-mini", "val")
    assert len(data) == 3 and data.labels["labels"].names[149] == "flag"
    for i in range(3):
        with Image.open(data.pairs[i].mask) as file:
            values = np.array(file)
        assert file.mode == "L" and (data[i].targets["labels"] == values - np.uint8(1)).all()
