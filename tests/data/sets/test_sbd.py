"""SBD: VOC's classes without void, in MATLAB files."""

import numpy as np
import pytest
from PIL import Image
from scipy.io import loadmat, savemat
from scipy.sparse import csc_matrix

from pixelwise.data import open_dataset
from pixelwise.data.find import find_layout
from pixelwise.data.sets.sbd import LABELS
from pixelwise.errors import DataError, LabelError
from pixelwise.flow.check import look_at


def write_sbd(root, size=(6, 8), **lists):
    """{id: mask}, from files with the structure that SBD's have."""
    random = np.random.default_rng(1)
    home = root / "benchmark_RELEASE/dataset"
    for folder in ("img", "cls", "inst"):
        (home / folder).mkdir(parents=True, exist_ok=True)
    held = {}
    for split, ids in lists.items():
        (home / f"{split}.txt").write_text("".join(f"{name}\n" for name in ids))
        for name in ids:
            held[name] = random.integers(0, 21, size).astype(np.uint8)
            Image.fromarray(random.integers(0, 256, (*size, 3)).astype(np.uint8)).save(home / f"img/{name}.jpg")
            boundaries = np.empty((20, 1), object)
            for i in range(20):
                boundaries[i, 0] = csc_matrix(held[name] == i + 1)
            present = np.unique(held[name][held[name] > 0])[:, None]
            of_classes = {"Boundaries": boundaries, "Segmentation": held[name], "CategoriesPresent": present}
            savemat(home / f"cls/{name}.mat", {"GTcls": of_classes}, do_compression=True)
            savemat(home / f"inst/{name}.mat", {"GTinst": {"Segmentation": held[name] * 2}})
    return held


def sbd(root, lists=None):
    home = root / "benchmark_RELEASE" / "dataset"
    for i in "abc":
        for place in (f"img/{i}.jpg", f"cls/{i}.mat", f"inst/{i}.mat"):
            (home / place).parent.mkdir(parents=True, exist_ok=True)
            (home / place).write_bytes(b"x")
    for name, ids in (lists or {}).items():
        (home / f"{name}.txt").write_text("\n".join(ids))
    return home


@pytest.mark.parametrize("start", [".", "benchmark_RELEASE", "benchmark_RELEASE/dataset"])
def test_lists_decide(tmp_path, start):
    home = sbd(tmp_path, {"train": "ab", "val": "c"})
    layout = find_layout(tmp_path / start)
    assert {split: [p.name for p in pairs] for split, pairs in layout.splits.items()} == {
        "train": ["a", "b"],
        "val": ["c"],
    }
    assert layout.splits["val"][0].mask == home / "cls/c.mat" and layout.name.startswith("SBD") and not layout.faults
    (labels,) = layout.labels
    assert labels.names[15] == "person" and labels.table == {i: i for i in range(21)}


def test_without_lists(tmp_path):
    sbd(tmp_path)
    assert [p.name for p in find_layout(tmp_path).splits["all"]] == ["a", "b", "c"]


def test_what_is_missing(tmp_path):
    home = sbd(tmp_path, {"train": "abx"})
    (fault,) = find_layout(tmp_path).faults
    assert "train.txt, line 3, lists x, but" in fault.message and "img has no such file" in fault.message
    (home / "train.txt").write_text("x")
    with pytest.raises(DataError, match=r"no picture of .*img has a mask in .*cls: .*line 1, lists x"):
        find_layout(tmp_path)


@pytest.mark.parametrize("start", [".", "benchmark_RELEASE", "benchmark_RELEASE/dataset"])
def test_the_structures_are_read_id_for_id(tmp_path, start):
    held = write_sbd(tmp_path, train="abc", val="de", train_noval="ac")
    assert [len(open_dataset("sbd", tmp_path / start, split)) for split in ("train", "val", "train_noval")] == [3, 2, 2]
    data = open_dataset("sbd", tmp_path / start, "trainval")
    assert [pair.name for pair in data.pairs] == list("abcde") and data.labels == {"labels": LABELS}
    for i, name in enumerate("abcde"):
        assert (data[i].targets["labels"] == held[name]).all()
    assert "trainval of SBD in" in data.describe() and "officially 11355" in data.describe()
    assert not look_at(tmp_path, dataset="sbd").errors


def test_there_is_no_void(tmp_path):
    write_sbd(tmp_path, train="a")
    savemat(
        tmp_path / "benchmark_RELEASE/dataset/cls/a.mat", {"GTcls": {"Segmentation": np.full((6, 8), 255, np.uint8)}}
    )
    with pytest.raises(LabelError, match=r"a\.mat holds the value 255 at row 0, column 0"):
        open_dataset("sbd", tmp_path)[0]


def test_what_is_missing_or_damaged_is_told(tmp_path):
    with pytest.raises(DataError, match=r"no img with cls under .* or up to two folders below; pass .*benchmark\.tgz"):
        open_dataset("sbd", tmp_path)
    write_sbd(tmp_path, train="ab")
    home = tmp_path / "benchmark_RELEASE/dataset"
    with pytest.raises(DataError, match=r"there is no file .*val\.txt; there are lists for train: pass one of them"):
        open_dataset("sbd", tmp_path, "val")
    mat = home / "cls/a.mat"
    mat.write_bytes(mat.read_bytes()[:200])
    with pytest.raises(DataError, match=r"a\.mat is truncated or damaged"):
        open_dataset("sbd", tmp_path)[0]
    mat.unlink()
    with pytest.raises(DataError, match=r"train\.txt, line 1, lists a, but .*cls has no such file"):
        open_dataset("sbd", tmp_path)


@pytest.mark.real
def test_the_real_one(real_data):
    layout = find_layout(real_data / "sbd-mini")
    assert {split: len(pairs) for split, pairs in layout.splits.items()} == {"train": 24, "val": 8}
    assert not layout.faults


@pytest.mark.real
def test_the_real_ones_are_read_id_for_id(real_data):
    data = open_dataset("sbd", real_data / "sbd-mini", "trainval")
    assert len(data) == 32
    for i in range(len(data)):
        held = loadmat(data.pairs[i].mask)["GTcls"][0]["Segmentation"][0]
        assert (data[i].targets["labels"] == held).all()
        gray = real_data / f"voc-mini/VOCdevkit/VOC2012/SegmentationClassAug/{data[i].name}.png"
        with Image.open(gray) as file:
            assert (np.array(file) == held).all()
