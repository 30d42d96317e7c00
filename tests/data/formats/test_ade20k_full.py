"""ADE20K's full set: classes from the colors, names from what lies beside."""

import json

import numpy as np
import pytest
from PIL import Image

from pixelwise.data.formats.ade20k_full import ade20k_full_layout
from pixelwise.errors import DataError


def scene(home, name, classes, instances):
    """A picture and its *_seg.png: red and green are the class, blue the instance."""
    home.mkdir(parents=True, exist_ok=True)
    classes = np.array(classes)
    Image.fromarray(np.zeros((*classes.shape, 3), np.uint8)).save(home / f"{name}.jpg")
    colors = np.stack([classes // 256 * 10, classes % 256, np.array(instances)], 2).astype(np.uint8)
    Image.fromarray(colors).save(home / f"{name}_seg.png")
    Image.fromarray(colors).save(home / f"{name}_parts_1.png")


def describe(path, *things):
    objects = [
        {"id": i, "name": name, "name_ndx": number, "parts": {"part_level": level}}
        for i, (number, name, level) in enumerate(things)
    ]
    path.write_text(json.dumps({"annotation": {"filename": "x", "object": objects}}), encoding="utf-8")


def test_names_from_json(tmp_path):
    """As of 2021: a JSON for each picture, and a folder of instances that does not matter."""
    home = tmp_path / "ADE20K_2021_17_01/images/ADE"
    train, val = home / "training/urban/street", home / "validation/urban/street"
    scene(train, "ADE_train_00000001", [[0, 2420], [976, 976]], [[0, 1], [2, 3]])
    scene(val, "ADE_val_00000001", [[2420, 2420]], [[1, 1]])
    describe(train / "ADE_train_00000001.json", (2420, "sky", 0), (976, "door", 0), (55, "knob", 1))
    describe(val / "ADE_val_00000001.json", (2420, "sky", 0), (977, "door", 0))
    (train / "ADE_train_00000001").mkdir()
    Image.fromarray(np.zeros((2, 2), np.uint8)).save(train / "ADE_train_00000001/instance_000_x.png")
    layout = ade20k_full_layout(tmp_path)
    assert not layout.faults and list(layout.splits) == ["train", "val"]
    labels = layout.labels[0]
    assert labels.names == ("door (976)", "door (977)", "sky")
    assert labels.table == {976: 0, 977: 1, 2420: 2, 0: 255}
    values, shared = layout.splits["train"][0].mask.draw()
    assert values.dtype == np.uint16 and values.tolist() == [[0, 2420], [976, 976]] and shared == 0
    assert labels.to_classes(values).tolist() == [[255, 2], [0, 0]]
    assert layout.notes[0] == "3 classes occur; what is unlabelled is void"


def test_names_from_text(tmp_path):
    """As of 2016: instances with names; the color links them to classes."""
    home = tmp_path / "images/training/a/abbey"
    scene(home, "ADE_train_00000970", [[0, 300], [7, 9]], [[0, 1], [2, 3]])
    (home / "ADE_train_00000970_atr.txt").write_text(
        '001 # 0 # 0 # sky # sky # ""\n002 # 0 # 1 # wall # wall # ""\n002 # 1 # 0 # brick # brick # ""\n',
        encoding="utf-8",
    )
    layout = ade20k_full_layout(tmp_path)
    assert layout.labels[0].names == ("wall", "class 9", "sky")
    assert "1 class has no name in a JSON or text beside the pictures" in layout.notes


def test_more_than_255_classes(tmp_path):
    numbers = np.arange(0, 3200, 10).reshape(16, 20)
    scene(tmp_path, "ADE_train_00000001", numbers, np.zeros_like(numbers))
    layout = ade20k_full_layout(tmp_path)
    labels = layout.labels[0]
    assert labels.num_classes == 319 and labels.void == 65_535
    classes = labels.to_classes(layout.splits["train"][0].mask.draw()[0])
    assert classes.ravel().tolist() == [65_535, *range(319)]


def test_faults(tmp_path):
    scene(tmp_path, "ADE_train_1", [[5, 6]], [[1, 2]])
    scene(tmp_path, "ADE_train_2", [[5, 7]], [[1, 2]])
    scene(tmp_path, "ADE_train_3", [[5, 7]], [[1, 2]])
    scene(tmp_path, "ADE_train_4", [[5, 7]], [[1, 2]])
    (tmp_path / "ADE_train_2.json").write_text('{"annotation":', encoding="utf-8")
    (tmp_path / "ADE_train_3_seg.png").unlink()
    (tmp_path / "ADE_train_4.jpg").unlink()
    layout = ade20k_full_layout(tmp_path)
    assert [(f.severity, f.kind, f.path.name) for f in layout.faults] == [
        ("warning", "orphan", "ADE_train_3.jpg"),
        ("warning", "orphan", "ADE_train_4_seg.png"),
        ("warning", "unreadable", "ADE_train_2.json"),
    ]
    assert layout.labels[0].names == ("class 5", "class 6", "class 7")


def test_refused(tmp_path):
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "a_seg.png")
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "a.jpg")
    assert ade20k_full_layout(tmp_path) is None  # a plain folder
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "ADE_val_1_seg.png")
    with pytest.raises(DataError, match=r"ADE_val_1_seg\.png has no picture beside it; expected ADE_val_1\.jpg"):
        ade20k_full_layout(tmp_path)
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "ADE_val_1.jpg")
    with pytest.raises(DataError, match=r"none of the 1 mask holds a class"):
        ade20k_full_layout(tmp_path)
    describe(tmp_path / "ADE_val_1.json", (5, "sky", 0))
    mask = ade20k_full_layout(tmp_path).splits["val"][0].mask
    with pytest.raises(DataError, match=r"ADE_val_1_seg\.png holds no colors; expected class and instance"):
        mask.draw()
