"""SBD: VOC's classes without void, in MATLAB files."""

import pytest

from pixelwise.data.find import find_layout
from pixelwise.errors import DataError


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


@pytest.mark.real
def test_the_real_one(real_data):
    layout = find_layout(real_data / "sbd-mini")
    assert {split: len(pairs) for split, pairs in layout.splits.items()} == {"train": 24, "val": 8}
    assert not layout.faults
