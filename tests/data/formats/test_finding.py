"""Files are found below a folder by what others write of them."""

from pathlib import Path

import pytest

from pixelwise.data.formats.finding import (
    Pictures,
    fault_of,
    files_ending,
    into_splits,
    read_json,
    shape_fault,
    split_of,
    unique_names,
)
from pixelwise.data.sample import Pair
from pixelwise.errors import DataError


def touch(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def test_files_by_their_ends(tmp_path):
    touch(tmp_path, "b/a_seg.PNG", "a_seg.png", "a.png", ".c_seg.png", "__MACOSX/a_seg.png", "d.json")
    assert [f.relative_to(tmp_path).as_posix() for f in files_ending(tmp_path, "_seg.png")] == [
        "a_seg.png",
        "b/a_seg.PNG",
    ]


@pytest.mark.parametrize(
    "path, split",
    [
        ("train2017/a.jpg", "train"),
        ("annotations/instances_val2014.json", "val"),
        ("valid/_annotations.coco.json", "val"),
        ("Test/images/x.json", "test"),
        ("train/val/x.json", "val"),
        ("a.json", None),
        ("trains/latest.json", None),
    ],
)
def test_splits_in_names(tmp_path, path, split):
    assert split_of(tmp_path / path, tmp_path) == split


def test_pictures_by_what_is_written(tmp_path):
    touch(tmp_path, "images/train/a.jpg", "images/val/a.jpg", "images/B.JPG", "x/c.png", "y/c.png")
    pictures = Pictures(tmp_path)
    near = tmp_path / "json" / "z.json"
    assert pictures.written("..\\images\\val\\a.jpg", near) == tmp_path / "images/val/a.jpg"
    assert pictures.written("C:\\data\\train\\a.jpg", near) == tmp_path / "images/train/a.jpg"
    assert pictures.written("a.jpg", near, "val") == tmp_path / "images/val/a.jpg"
    assert pictures.written("b.jpg", near) == tmp_path / "images/B.JPG"
    assert pictures.written("q.jpg", near) is None and pictures.written("", near) is None
    assert pictures.named("c", tmp_path / "y" / "c.json") == tmp_path / "y/c.png"
    with pytest.raises(DataError, match=r"z\.json could mean .*c\.png or .*c\.png, which have one name; rename one"):
        pictures.written("c.png", near)
    assert pictures.left_over([tmp_path / "x/c.png", tmp_path / "images/train/a.jpg"]) == []


def test_names_and_splits(tmp_path):
    paths = [tmp_path / "a/1.png", tmp_path / "b/1.png", tmp_path / "b/2.png"]
    assert list(unique_names(paths, tmp_path).values()) == ["a_1", "b_1", "2"]
    pairs = [Pair(path, None, path.stem) for path in paths]
    assert list(into_splits(zip(["val", "train", "train"], pairs, strict=True), tmp_path)) == ["train", "val"]
    with pytest.raises(DataError, match=r"has pictures in train and others outside, as .*2\.png"):
        into_splits(zip(["train", "train", None], pairs, strict=True), tmp_path)


def test_json_with_its_place(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('{"a": 1,\n "b": }', encoding="utf-8")
    with pytest.raises(DataError, match=r"a\.json is damaged: no JSON from line 2, column 7 .*; copy or export"):
        read_json(path)
    path.write_text('{"a": [1,', encoding="utf-8")
    with pytest.raises(DataError, match=r"a\.json is cut off: no JSON from line 1, column 10"):
        read_json(path)
    path.write_text("[" * 200_000, encoding="utf-8")
    with pytest.raises(DataError, match=r"a\.json (nests|is cut off)"):
        read_json(path)
    path.write_bytes(b"\xef\xbb\xbf[1]")
    assert read_json(path) == [1]


def test_errors_become_faults():
    fault = fault_of(DataError("a is bad; mend it"), Path("a"))
    assert (fault.reason, fault.remedy, fault.kind) == ("a is bad", "mend it", "unreadable")
    assert fault_of(DataError("a is bad"), Path("a")).remedy == "correct or remove it"


def test_a_shape_that_is_lost_spoils_its_picture():
    lost = shape_fault(Path("a.json"), "a.json, shape 1", "has 2 points; expected at least 3", Path("x/a.jpg"))
    assert (lost.severity, lost.kind, lost.picture) == ("error", "object", Path("x/a.jpg"))
    assert lost.reason == "a.json, shape 1, has 2 points (expected at least 3), so that a.jpg is left out"
    unseen = shape_fault(Path("a.json"), "a.json, shape 1", "has no area")
    assert (unseen.severity, unseen.kind, unseen.picture) == ("warning", "object", None)
    assert unseen.reason == "a.json, shape 1, has no area, and is left out"
