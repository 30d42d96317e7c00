"""nnU-Net's raw folders are read with their labels and channels."""

import json

import numpy as np
import pytest
from PIL import Image

from pixelwise.data.formats.nnunet import nnunet_layout
from pixelwise.data.sample import Channels
from pixelwise.errors import DataError
from pixelwise.labels import LabelSet

V2 = {"channel_names": {"0": "red", "1": "infrared"}, "labels": {"background": 0, "leaf": 1, "ignore": 2}}


def save(path, array=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((5, 6), np.uint8) if array is None else array).save(path)


def describe(home, record, ending=".png"):
    home.mkdir(parents=True, exist_ok=True)
    (home / "dataset.json").write_text(json.dumps(record | {"numTraining": 1, "file_ending": ending}), encoding="utf-8")


@pytest.mark.parametrize("ending", [".png", ".tif", ".bmp"])
def test_channels_in_files(tmp_path, ending):
    home = tmp_path / "nnUNet_raw" / "Dataset001_Leaves"
    describe(home, V2, ending)
    mask = np.array([[0, 1, 2]], np.uint8)
    for case in ("leaf_01", "leaf_02"):
        save(home / f"labelsTr/{case}{ending}", mask)
        for channel in range(2):
            save(home / f"imagesTr/{case}_{channel:04d}{ending}")
    save(home / f"labelsTs/t{ending}", mask)
    save(home / f"imagesTs/t_0000{ending}")
    save(home / f"imagesTs/t_0001{ending}")
    layout = nnunet_layout(tmp_path)
    assert layout.root == home and not layout.faults and layout.channel_names == ("red", "infrared")
    assert {s: [p.name for p in pairs] for s, pairs in layout.splits.items()} == {
        "train": ["leaf_01", "leaf_02"],
        "test": ["t"],
    }
    pair = layout.splits["train"][1]
    assert isinstance(pair.image, Channels)
    assert [file.name for file in pair.image.files] == [f"leaf_02_0000{ending}", f"leaf_02_0001{ending}"]
    assert layout.labels == (LabelSet(("background", "leaf"), table={0: 0, 1: 1, 2: 255}),)
    assert layout.labels[0].to_classes(mask).tolist() == [[0, 1, 255]]


def test_version_1_and_a_color_picture(tmp_path):
    record = {"modality": {"0": "R", "1": "G", "2": "B"}, "labels": {"0": "background", "10": "cell", "3": "wall"}}
    describe(tmp_path, record)
    save(tmp_path / "labelsTr/a.png")
    save(tmp_path / "imagesTr/a_0000.png", np.zeros((5, 6, 3), np.uint8))
    save(tmp_path / "imagesTs/b_0000.png")  # a test set without masks
    layout = nnunet_layout(tmp_path)
    assert [p.image for p in layout.splits["all"]] == [tmp_path / "imagesTr/a_0000.png"]
    assert layout.labels[0].names == ("background", "wall", "cell")
    assert layout.labels[0].table == {0: 0, 3: 1, 10: 2} and layout.channel_names == ("R", "G", "B")
    assert not layout.faults


def test_regions(tmp_path):
    labels = {"background": 0, "whole": [1, 2, 3, 4], "core": [2, 3], "inner": [3], "ignore": 5}
    describe(tmp_path, {"channel_names": {"0": "x"}, "labels": labels, "regions_class_order": [1, 2, 3]})
    save(tmp_path / "labelsTr/a.png")
    save(tmp_path / "imagesTr/a_0000.png")
    layout = nnunet_layout(tmp_path)
    assert layout.labels[0].names == ("background", "whole (1)", "core", "inner", "whole (4)")
    assert layout.labels[0].table == {0: 0, 1: 1, 2: 2, 3: 3, 4: 4, 5: 255}
    assert layout.notes == (
        "the labels are regions that hold each other; each value is called by the smallest: "
        "0 is background, 1 is whole (1), 2 is core, 3 is inner, 4 is whole (4)",
    )


def test_files_that_are_missing(tmp_path):
    describe(tmp_path, V2)
    for case in ("a", "b", "c"):
        save(tmp_path / f"labelsTr/{case}.png")
    for name in ("a_0000", "a_0001", "b_0000", "d_0000", "d_0001"):
        save(tmp_path / f"imagesTr/{name}.png")
    layout = nnunet_layout(tmp_path)
    assert [p.name for p in layout.splits["all"]] == ["a"]
    assert [(f.severity, f.kind, f.path.name) for f in layout.faults] == [
        ("error", "missing", "b.png"),
        ("error", "missing", "c.png"),
        ("warning", "orphan", "d_0000.png"),
    ]
    assert "b.png lacks the channel b_0001 in" in layout.faults[0].message


def test_refused(tmp_path):
    assert nnunet_layout(tmp_path) is None
    describe(tmp_path, V2, ".nii.gz")
    assert nnunet_layout(tmp_path) is None  # no pictures
    (tmp_path / "imagesTr").mkdir()
    with pytest.raises(DataError, match=r"holds volumes \(\*\.nii\.gz\), .*; expected PNG.*: export their slices"):
        nnunet_layout(tmp_path)
    (tmp_path / "imagesTr/a_0000.nii.gz").write_bytes(b"x")
    describe(tmp_path, V2, "")
    with pytest.raises(DataError, match=r"holds volumes \(a_0000\.nii\.gz\)"):
        nnunet_layout(tmp_path)
    (tmp_path / "imagesTr/a_0000.nii.gz").unlink()
    describe(tmp_path, V2)
    with pytest.raises(
        DataError, match=r"no case of .* has a picture in imagesTr and a mask in labelsTr: both folders"
    ):
        nnunet_layout(tmp_path)
    describe(tmp_path, {"labels": {"cell": "one"}})
    with pytest.raises(DataError, match=r"gives 'cell' the value 'one'; expected whole numbers from 0"):
        nnunet_layout(tmp_path)
    describe(tmp_path, {"labels": {"ignore": 1}})
    with pytest.raises(DataError, match=r"names no label besides ignore"):
        nnunet_layout(tmp_path)
    describe(tmp_path, {"labels": []})
    with pytest.raises(DataError, match=r'dataset\.json has no "labels"; expected'):
        nnunet_layout(tmp_path)


def test_two_sets(tmp_path):
    for name in ("Dataset001_A", "Dataset002_B"):
        describe(tmp_path / name, V2)
        (tmp_path / name / "imagesTr").mkdir()
    with pytest.raises(DataError, match=r"holds 2 sets of nnU-Net, Dataset001_A and Dataset002_B; which one is meant"):
        nnunet_layout(tmp_path)
