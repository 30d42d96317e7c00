"""VOC 2011 and 2012, and the sets that are made of VOC and SBD, from files in their authors' formats."""

import shutil

import numpy as np
import pytest
from PIL import Image
from scipy.io import loadmat, savemat

from pixelwise.data import open_dataset
from pixelwise.data.sets.voc import LABELS, SPLITS
from pixelwise.errors import BadOption, DataError
from pixelwise.flow.check import look_at
from pixelwise.labels import voc_color

LISTS = {"train": "ab", "val": "cd"}
PALETTE = [value for i in range(256) for value in voc_color(i)]


def write_voc(root, year, lists, bare=(), size=(6, 8), seed=0):
    """{id: mask}; the ids of `bare` have a picture alone."""
    random = np.random.default_rng(seed)
    home = root / "VOCdevkit" / f"VOC{year}"
    for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (home / folder).mkdir(parents=True, exist_ok=True)
    held = {}
    for split, ids in lists.items():
        (home / f"ImageSets/Segmentation/{split}.txt").write_text("".join(f"{name}\n" for name in ids))
        for name in (*ids, *bare):
            picture = Image.fromarray(random.integers(0, 256, (*size, 3)).astype(np.uint8))
            picture.save(home / f"JPEGImages/{name}.jpg")
            if name not in bare:
                held[name] = random.choice([*range(21), 255], size).astype(np.uint8)
                mask = Image.fromarray(held[name], "L").copy()
                mask.putpalette(PALETTE)
                mask.save(home / f"SegmentationClass/{name}.png")
    return held


def write_sbd(root, size=(6, 8), **lists):
    """{id: mask}, in MATLAB's structures."""
    random = np.random.default_rng(1)
    home = root / "benchmark_RELEASE/dataset"
    for folder in ("img", "cls"):
        (home / folder).mkdir(parents=True, exist_ok=True)
    held = {}
    for split, ids in lists.items():
        (home / f"{split}.txt").write_text("".join(f"{name}\n" for name in ids))
        for name in ids:
            held[name] = random.integers(0, 21, size).astype(np.uint8)
            Image.fromarray(random.integers(0, 256, (*size, 3)).astype(np.uint8)).save(home / f"img/{name}.jpg")
            savemat(home / f"cls/{name}.mat", {"GTcls": {"Segmentation": held[name]}})
    return held


def write_aug(home, masks):
    (home / "SegmentationClassAug").mkdir(parents=True, exist_ok=True)
    for name, mask in masks.items():
        Image.fromarray(mask).save(home / f"SegmentationClassAug/{name}.png")


def names(data):
    return [pair.name for pair in data.pairs]


@pytest.mark.parametrize(("dataset", "year"), [("voc2011", 2011), ("voc2012", 2012)])
@pytest.mark.parametrize("start", [".", "TrainVal", "TrainVal/VOCdevkit"])
def test_a_year_is_read_id_for_id(tmp_path, dataset, year, start):
    other = 4023 - year
    held = write_voc(tmp_path / "TrainVal", year, {"train": "ab", "val": "c", "trainval": "abc"})
    write_voc(tmp_path / "TrainVal", other, {"train": "xy", "val": "z"}, seed=1)
    assert names(open_dataset(dataset, tmp_path / start)) == ["a", "b"]
    data = open_dataset(dataset, tmp_path / start, "trainval")
    assert data.labels == {"labels": LABELS} and LABELS.palette[20] == (0, 64, 128) and LABELS.names[20] == "tvmonitor"
    for i, name in enumerate("abc"):
        assert data[i].name == name and (data[i].targets["labels"] == held[name]).all()


def test_another_year_is_not_taken_for_it(tmp_path):
    write_voc(tmp_path, 2010, {"train": "a"})
    with pytest.raises(
        DataError,
        match=r"no VOC2011 with JPEGImages and ImageSets/Segmentation under .* \(there is VOC2010\); .*May-2011\.tar",
    ):
        open_dataset("voc2011", tmp_path)
    (tmp_path / "VOCdevkit/VOC2010").rename(tmp_path / "VOCdevkit/mine")
    assert names(open_dataset("voc2011", tmp_path)) == ["a"]


def test_pictures_of_the_test_split_have_no_targets(tmp_path):
    write_voc(tmp_path, 2012, {"train": "a", "test": "xy"}, bare="xy")
    data = open_dataset("voc2012", tmp_path, "test")
    assert len(data) == 2 and data[1].name == "y" and data[1].targets == {} and data[1].size == (6, 8)
    assert "2 from" in data.describe() and "without masks" in data.describe()
    assert "the masks of the test set are not published" in data.describe()
    (tmp_path / "VOCdevkit/VOC2012/ImageSets/Segmentation/test.txt").write_text("/JPEGImages/y.jpg\n")  # DeepLab's
    assert names(open_dataset("voc2012", tmp_path, "test")) == ["y"]
    (tmp_path / "VOCdevkit/VOC2012/JPEGImages/y.jpg").unlink()
    with pytest.raises(DataError, match=r"test\.txt, line 1, lists .*y, but .*JPEGImages has no such file"):
        open_dataset("voc2012", tmp_path, "test")


def test_other_numbers_than_the_official_ones_are_told(tmp_path, caplog):
    write_voc(tmp_path, 2012, {"train": "ab", "mine": "a"})
    data = open_dataset("voc2012", tmp_path)
    assert "train of voc2012 in" in data.describe() and "has 2 pictures here, officially 1464" in data.describe()
    assert len(caplog.records) == 1 and "officially 1464" in caplog.text
    assert "officially" not in open_dataset("voc2012", tmp_path, "mine").describe()


@pytest.mark.parametrize(
    ("written", "told"),
    [
        (b"", r"train\.txt is empty; expected one id a line"),
        (b"a\n\xff\xfe\n", r"train\.txt is no UTF-8 text .*; save it as UTF-8"),
        (b"a\nb\na\n", r"train\.txt lists a, which is listed before; expected each picture once: take the line out"),
        (b"a\nc\n", r"train\.txt, line 2, lists c, but .*JPEGImages has no such file; add it or take the line out"),
    ],
)
def test_a_bad_list_is_refused_in_one_line(tmp_path, written, told):
    write_voc(tmp_path, 2012, {"train": "ab"})
    (tmp_path / "VOCdevkit/VOC2012/ImageSets/Segmentation/train.txt").write_bytes(written)
    with pytest.raises(DataError, match=told) as refused:
        open_dataset("voc2012", tmp_path)
    assert "\n" not in str(refused.value)


def test_a_list_that_is_not_there(tmp_path):
    write_voc(tmp_path, 2012, {"train": "a", "val": "b"})
    with pytest.raises(DataError, match=r"no file .*test\.txt; there are lists for train, val: .* a download of its"):
        open_dataset("voc2012", tmp_path, "test")
    assert names(open_dataset("voc2012", tmp_path, "trainval")) == ["a", "b"]


def test_two_files_of_one_name_are_refused_by_both_names(tmp_path):
    write_voc(tmp_path, 2012, {"train": "a", "val": "b"})
    picture = next(tmp_path.rglob("JPEGImages/a.*"))
    picture.with_suffix(".png").write_bytes(picture.read_bytes())
    with pytest.raises(DataError, match=r"JPEGImages holds two files for a, a\.jpg and a\.png; expected one"):
        open_dataset("voc2012", tmp_path)


def touch(folder, ids, end):
    folder.mkdir(parents=True, exist_ok=True)
    for name in ids:
        (folder / f"{name}{end}").touch()


class TestReduced:
    def test_the_official_number_of_seg11valid(self, tmp_path, caplog):
        val = [f"2011_{i:06}" for i in range(1111)]
        home = tmp_path / "VOCdevkit/VOC2011"
        touch(home / "JPEGImages", val, ".jpg")
        touch(home / "SegmentationClass", val, ".png")
        touch(home / "ImageSets/Segmentation", [], "")
        (home / "ImageSets/Segmentation/val.txt").write_text("\n".join(val))
        trained = [*val[::3][:371], *val[1:12:3], "2008_000001"]
        sbd = tmp_path / "benchmark_RELEASE/dataset"
        touch(sbd / "cls", [], "")
        (sbd / "train.txt").write_text("\n".join(trained))
        data = open_dataset("seg11valid", tmp_path)
        assert len(data) == 736 and names(data) == [name for name in val if name not in trained]
        assert "officially" not in data.describe() and not caplog.records
        assert f"val.txt that {sbd / 'train.txt'} does not list" in data.describe()

    @pytest.mark.parametrize(
        ("dataset", "year", "split"), [("seg11valid", 2011, "val"), ("voc2012", 2012, "seg12valid")]
    )
    def test_what_sbd_trains_on_is_left_out(self, tmp_path, dataset, year, split):
        held = write_voc(tmp_path / "voc", year, {"train": "ab", "val": "cdef"})
        write_sbd(tmp_path / "else", train="adx", val="ce")
        data = open_dataset(dataset, tmp_path / "voc", split, sbd=tmp_path / "else")
        assert names(data) == ["c", "e", "f"] and (data[1].targets["labels"] == held["e"]).all()
        with pytest.raises(DataError, match=r"no SBD, a folder with train\.txt and cls, in a folder sbd or benchmark_"):
            open_dataset(dataset, tmp_path / "voc", split)
        (tmp_path / "else/benchmark_RELEASE").rename(tmp_path / "benchmark_RELEASE")
        assert names(open_dataset(dataset, tmp_path / "voc", split)) == ["c", "e", "f"]
        lists = tmp_path / f"voc/VOCdevkit/VOC{year}/ImageSets/Segmentation"
        (lists / f"seg{year - 2000}valid.txt").write_text("f\nc\n")  # FCN's file
        assert names(open_dataset(dataset, tmp_path / "voc", split)) == ["f", "c"]
        assert len(open_dataset(dataset, tmp_path / "voc", split, sbd=tmp_path)) == 3

    def test_fcns_list_selects_from_voc_2012_and_says_so(self, tmp_path):
        write_voc(tmp_path, 2012, {"train": "ab", "val": "cd"})
        with pytest.raises(DataError, match=r"no VOC2011"):
            open_dataset("seg11valid", tmp_path)
        (tmp_path / "VOCdevkit/VOC2012/ImageSets/Segmentation/seg11valid.txt").write_text("d\nb\n")
        data = open_dataset("seg11valid", tmp_path)
        assert names(data) == ["d", "b"] and "the masks are VOC 2012's" in data.describe()

    def test_refused(self, tmp_path):
        write_voc(tmp_path, 2012, {"train": "ab", "val": "cd"})
        with pytest.raises(BadOption, match=r"sbd is for the split seg12valid, got it for val"):
            open_dataset("voc2012", tmp_path, "val", sbd=tmp_path)
        with pytest.raises(DataError, match=r"seg11valid has no split 'train'; it has val"):
            open_dataset("seg11valid", tmp_path, "train")
        with pytest.raises(
            DataError, match=r"no SBD, a folder with train\.txt and cls, in .*; download it .*seg12valid"
        ):
            open_dataset("voc2012", tmp_path, "seg12valid", sbd=tmp_path)


class TestTrainaug:
    def expected(self, voc, sbd):
        """The definition: VOC's masks where VOC has one, void and all."""
        ids = ({*LISTS["train"]} | {*sbd}) - {*LISTS["val"]}
        return {name: voc.get(name, sbd.get(name)) for name in ids}

    def test_from_sbds_files(self, tmp_path):
        voc = write_voc(tmp_path, 2012, LISTS, bare="ef")
        sbd = write_sbd(tmp_path, train="bce", val="fg", size=(6, 8))
        data = open_dataset("voc2012_trainaug", tmp_path)
        wanted = self.expected(voc, sbd)
        assert sorted(names(data)) == sorted(wanted) == ["a", "b", "e", "f", "g"]
        for i in range(len(data)):
            assert (data[i].targets["labels"] == wanted[data[i].name]).all()
        assert (voc["b"] == 255).any() and "officially 10582" in data.describe()
        assert data.pairs[-1].image.parent.name == "img"  # VOC 2012 has no such picture here
        assert names(open_dataset("voc2012_trainaug", tmp_path, "val")) == ["c", "d"]
        both = open_dataset("voc2012_trainaug", tmp_path, "trainval")
        assert sorted(names(both)) == sorted("abefgcd") and "officially 12031" in both.describe()
        assert SPLITS["voc2012_trainaug"]["trainval"] == 10_582 + 1449

    def test_from_the_folder_of_gray_masks(self, tmp_path):
        voc = write_voc(tmp_path, 2012, LISTS, bare="ef")
        random = np.random.default_rng(2)
        added = {name: random.integers(0, 21, (6, 8)).astype(np.uint8) for name in "ef"}
        home = tmp_path / "VOCdevkit/VOC2012"
        write_aug(home, {**voc, **added, "b": np.zeros((6, 8), np.uint8)})
        data = open_dataset("voc2012_trainaug", tmp_path)
        wanted = self.expected(voc, added)
        assert sorted(names(data)) == sorted(wanted)
        for i in range(len(data)):
            assert (data[i].targets["labels"] == wanted[data[i].name]).all()
        shutil.rmtree(home / "SegmentationClass")  # many have only the other; VOC's masks are in it, too
        data = open_dataset("voc2012_trainaug", tmp_path)
        assert (data[names(data).index("a")].targets["labels"] == voc["a"]).all()

    @pytest.mark.parametrize("place", ["ImageSets/Segmentation", "ImageSets/SegmentationAug", "list"])
    @pytest.mark.parametrize("name", ["train_aug", "trainaug"])
    def test_lists_with_ids_or_deeplabs_paths(self, tmp_path, place, name):
        voc = write_voc(tmp_path, 2012, LISTS, bare="ef")
        home = tmp_path / "VOCdevkit/VOC2012"
        write_aug(home, {**voc, "e": np.full((6, 8), 3, np.uint8), "f": np.full((6, 8), 4, np.uint8)})
        (home / place).mkdir(exist_ok=True)
        (home / place / f"{name}.txt").write_text("/JPEGImages/e.jpg /SegmentationClassAug/e.png\n")
        (home / place / "trainval_aug.txt").write_text("a\n")
        data = open_dataset("voc2012_trainaug", tmp_path)
        assert names(data) == ["e"] and (data[0].targets["labels"] == 3).all()
        assert f"ids of {home / place / name}.txt" in data.describe()
        (home / place / f"{name}.txt").write_text("f\na\n")
        assert names(open_dataset("voc2012_trainaug", tmp_path)) == ["f", "a"]

    def test_a_picture_for_validation_in_the_list_for_training(self, tmp_path):
        voc = write_voc(tmp_path, 2012, LISTS)
        home = tmp_path / "VOCdevkit/VOC2012"
        write_aug(home, voc)
        (home / "ImageSets/Segmentation/train_aug.txt").write_text("a\nd\n")
        with pytest.raises(DataError, match=r"val\.txt lists d, which is listed before"):
            open_dataset("voc2012_trainaug", tmp_path, "trainval")

    def test_what_is_missing(self, tmp_path):
        write_voc(tmp_path, 2012, LISTS)
        with pytest.raises(DataError, match=r"no SBD, .* in .*; download it .*or put SegmentationClassAug with"):
            open_dataset("voc2012_trainaug", tmp_path)
        write_sbd(tmp_path, train="e", val="f")
        with pytest.raises(DataError, match=r"has no split 'train_aug'; it has train, val, trainval, test"):
            open_dataset("voc2012_trainaug", tmp_path, "train_aug")
        (tmp_path / "benchmark_RELEASE/dataset/cls/f.mat").unlink()
        with pytest.raises(DataError, match=r"cls has no file for f; unpack the data set again, whole"):
            open_dataset("voc2012_trainaug", tmp_path)


def test_the_doctor_takes_it_by_name(tmp_path):
    write_voc(tmp_path, 2012, {"train": "ab", "val": "cd"}, bare="e")
    write_sbd(tmp_path, train="e", val="e", size=(6, 8))
    found = look_at(tmp_path, dataset="voc2012_trainaug")
    assert {split: len(pairs) for split, pairs in found.splits.items()} == {"train": 3, "val": 2}
    assert found.labels == LABELS and not found.errors


@pytest.mark.real
def test_the_real_masks_are_read_id_for_id(real_data):
    root = real_data / "voc-mini"
    data = open_dataset("voc2012", root, "trainval")
    assert len(data) == 16
    for i in range(len(data)):
        with Image.open(data.pairs[i].mask) as file:
            values = np.array(file)
        assert (data[i].targets["labels"] == values).all()
        with Image.open(root / f"VOCdevkit/VOC2012/SegmentationClassAug/{data[i].name}.png") as file:
            assert (np.array(file) == values).all()


@pytest.mark.real
def test_the_real_trainaug_is_the_same_from_gray_masks_and_from_sbd(real_data, tmp_path):
    gray = open_dataset("voc2012_trainaug", real_data / "voc-mini")
    mats = open_dataset("voc2012_trainaug", real_data / "voc-mini", sbd=real_data / "sbd-mini")
    assert names(gray) == names(mats) and len(gray) == 40
    home = tmp_path / "VOCdevkit/VOC2012"  # the same without the list: computed
    shutil.copytree(real_data / "voc-mini/VOCdevkit/VOC2012", home, ignore=shutil.ignore_patterns("*_aug.txt"))
    assert sorted(names(open_dataset("voc2012_trainaug", tmp_path))) == sorted(names(gray))
    assert sorted(names(open_dataset("voc2012_trainaug", tmp_path, sbd=real_data / "sbd-mini"))) == sorted(names(gray))
    voids = 0
    for i in range(len(gray)):
        target = gray[i].targets["labels"]
        assert (target == mats[i].targets["labels"]).all()
        if mats.pairs[i].mask.suffix == ".mat":
            held = loadmat(mats.pairs[i].mask)["GTcls"][0]["Segmentation"][0]
            assert (target == held).all() and target.max() <= 20
        else:
            voids += (target == 255).any()
    assert voids == 8
