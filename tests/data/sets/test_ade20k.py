"""ADE20K of the scene parsing challenge."""

import pytest

from pixelwise.data.find import find_layout
from pixelwise.data.sets.ade20k import LABELS, NAMES


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


def test_names_of_the_file(tmp_path):
    ade20k(tmp_path)
    rows = [f"{i}\t0.1\t1\t1\tthing {i}, object" for i in range(1, 149)] + ["149\t0\t1\t1\tx, y", "150\t0\t1\t1\tx, z"]
    (tmp_path / "objectInfo150.txt").write_text("Idx\tRatio\tTrain\tVal\tName\n" + "\n".join(rows) + "\n")
    (labels,) = find_layout(tmp_path).labels
    assert labels.names[0] == "thing 1" and labels.names[148:] == ("x, y", "x, z")
    (tmp_path / "objectInfo150.txt").write_text("Idx\tRatio\tTrain\tVal\tName\n" + "\n".join(rows[:7]))
    assert find_layout(tmp_path).labels == (LABELS,)


def test_other_names_are_no_challenge(tmp_path):
    ade20k(tmp_path)
    (tmp_path / "images/training/b.jpg").write_bytes(b"x")
    (tmp_path / "annotations/training/b.png").write_bytes(b"x")
    assert not find_layout(tmp_path).labels


@pytest.mark.real
def test_the_real_one(real_data):
    layout = find_layout(real_data / "ade20k-mini")
    assert {split: len(pairs) for split, pairs in layout.splits.items()} == {"val": 3}
    assert layout.labels[0].names[:2] == ("wall", "building") and not layout.faults
