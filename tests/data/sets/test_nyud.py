"""NYUDv2: the labelled file in MATLAB's format, and the other packagings."""

import functools
import io
import logging
import shutil
import sys
import types

import h5py
import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from pixelwise.cli.main import main
from pixelwise.data import open_dataset
from pixelwise.data.answers import Answers
from pixelwise.data.find import find_layout
from pixelwise.data.hha import hha
from pixelwise.data.sets import nyud_pictures as module
from pixelwise.data.sets.nyud import NAMES, NAMES_4, NAMES_13, label_set
from pixelwise.data.sets.nyud_pictures import COLOR_CAMERA
from pixelwise.errors import BadOption, DataError, LabelError
from pixelwise.flow.check import look_at
from pixelwise.flow.convert import convert


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")


def nyud(root, test="5003"):
    for i in (5001, 5002, 5003):
        touch(root, *(f"data/{part}/img_{i}.png" for part in ("images", "depth", "hha")), f"segmentation/img_{i}.mat")
    (root / "train.txt").write_text("5001\n")
    (root / "val.txt").write_text("5002\n")
    (root / "test.txt").write_text(f"{test}\n")


@pytest.mark.parametrize("start", [".", "nyud"])
def test_fcn(tmp_path, start):
    nyud(tmp_path / "nyud")
    layout = find_layout(tmp_path / start)
    assert {split: [p.name for p in pairs] for split, pairs in layout.splits.items()} == {
        "train": ["img_5001"],
        "val": ["img_5002"],
        "test": ["img_5003"],
    }
    (labels,) = layout.labels
    assert labels.names == NAMES and len(NAMES) == 40
    assert (labels.table[0], labels.table[1], labels.table[40]) == (255, 0, 39) and not layout.faults
    assert layout.splits["train"][0].image == tmp_path / "nyud/data/images/img_5001.png"
    other = find_layout(tmp_path / start, Answers.of(["images=hha"]))
    assert other.splits["train"][0].image == tmp_path / "nyud/data/hha/img_5001.png"
    with pytest.raises(DataError, match=r"no pictures rgb in .*; there are images, hha, depth: answer with one"):
        find_layout(tmp_path, Answers.of(["images=rgb"]))


def test_names_of_the_file_and_a_list_twice(tmp_path):
    nyud(tmp_path, test="5002")
    (tmp_path / "classes.txt").write_text("\n".join(f"c{i}" for i in range(40)) + "\n\nand 0 is void\n")
    layout = find_layout(tmp_path)
    assert layout.labels[0].names[39] == "c39" and list(layout.splits) == ["train", "val"]
    assert "test.txt lists the same as val.txt and is passed over" in layout.notes


def test_side_by_side(tmp_path):
    home = tmp_path / "some_nyud"
    touch(home, "000001.png", "000001_mask.png")
    layout = find_layout(home)
    assert layout.labels[0].names == NAMES and layout.labels[0].table[39] == 39 and layout.labels[0].table[255] == 255
    assert "since the folder is called so" in layout.notes[0]
    (home / "classes.txt").write_text("a\nb\n")
    assert not find_layout(home).labels
    touch(tmp_path, "other/000001_rgb.png", "other/000001_labels40.png", "other/000001_depth.png")
    assert find_layout(tmp_path / "other").labels[0].names == NAMES
    nyud(tmp_path / "nyud")
    with pytest.raises(DataError, match=r"holds 3 sets, nyud, other, some_nyud; which one is meant\? Pass its folder"):
        find_layout(tmp_path)


# (number among 894, class among 40 from 1): the first ten as Gupta's mapClass has them, and others of each list
MAPPED = dict(zip(range(1, 11), (40, 40, 3, 22, 5, 40, 12, 38, 40, 40), strict=True))
MAPPED |= {21: 1, 11: 2, 331: 31, 55: 37, 25: 38, 874: 38, 43: 39, 892: 39, 894: 40}


NO_NAMES = types.MappingProxyType({})


def letters(name):
    return np.array([[ord(letter)] for letter in name], np.uint16)


@functools.cache
def names_alone():
    """The bytes of a file of MATLAB 7.3 with the 894 names, each a cell."""
    table = label_set(40).table
    memory = io.BytesIO()
    with h5py.File(memory, "w", userblock_size=512) as file:
        references = np.empty((1, 894), h5py.ref_dtype)
        for i in range(894):
            single = NAMES[table[i + 1]] if table[i + 1] < 37 else "cone" if i == 5 else f"thing {i + 1}"
            file[f"#refs#/c{i}"] = letters(single)
            references[0, i] = file[f"#refs#/c{i}"].ref
        file["names"] = references
    header = b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\0\2IM"
    return header + memory.getvalue()[len(header) :]


def write_labeled(root, size=(6, 5), count=3, *, names=NO_NAMES, with_names=True, **changed):
    """nyu_depth_v2_labeled.mat and splits.mat as MATLAB writes them; {variable: array in MATLAB's axes}."""
    random = np.random.default_rng(0)
    height, width = size
    arrays = {
        "images": random.integers(0, 256, (height, width, 3, count)).astype(np.uint8),
        "depths": random.uniform(0.7, 9, (height, width, count)).astype(np.float32),
        "labels": random.choice([0, *MAPPED], (height, width, count)).astype(np.uint16),
    }
    arrays["rawDepths"] = np.where(random.random((height, width, count)) < 0.2, 0, arrays["depths"]).astype(np.float32)
    arrays |= changed
    root.mkdir(parents=True, exist_ok=True)
    path = root / "nyu_depth_v2_labeled.mat"
    path.write_bytes(names_alone())
    with h5py.File(path, "r+") as file:
        for name, array in arrays.items():
            if array is not None:
                file[name] = array.T
        for number, name in names.items():
            file["#refs#"].create_dataset(f"other{number}", data=letters(name))
            references = file["names"][()]
            references[0, number - 1] = file[f"#refs#/other{number}"].ref
            file["names"][...] = references
        if not with_names:
            del file["names"]
    savemat(root / "splits.mat", {"trainNdxs": np.array([[3], [1]]), "testNdxs": np.array([[2]])})
    return arrays


class TestTheLabelledFile:
    def test_pictures_and_labels_are_upright_and_in_their_classes(self, tmp_path):
        arrays = write_labeled(tmp_path / "nyu")
        data = open_dataset("nyud_v2", tmp_path)
        assert [data[i].name for i in range(len(data))] == ["img_5003", "img_5001"]
        for i, place in enumerate((2, 0)):
            sample = data[i]
            assert (sample.image == arrays["images"][..., place]).all() and sample.image.dtype == np.uint8
            expected = [[MAPPED.get(v, 256) - 1 for v in row] for row in arrays["labels"][..., place].tolist()]
            assert sample.targets["labels"].tolist() == expected
        assert data.labels["labels"].names == NAMES
        assert [p.name for p in open_dataset("nyud_v2", tmp_path / "nyu", "test").pairs] == ["img_5002"]
        assert [p.name for p in open_dataset("nyud_v2", tmp_path, "trainval").pairs] == ["img_5003", "img_5001"]
        whole = open_dataset("nyud_v2", tmp_path / "nyu/nyu_depth_v2_labeled.mat", "all")
        assert [p.name for p in whole.pairs] == ["img_5001", "img_5002", "img_5003"]

    def test_other_counts_than_the_official_are_told_and_logged(self, tmp_path, caplog):
        write_labeled(tmp_path)
        with caplog.at_level(logging.WARNING, "pixelwise"):
            data = open_dataset("nyud_v2", tmp_path, channels="depth")
        assert "train of NYUDv2 in" in caplog.text and "has 2 pictures here, officially 795" in caplog.text
        assert "officially 795" in data.describe() and "depth in millimeters" in data.describe()

    def test_channels(self, tmp_path):
        arrays = write_labeled(tmp_path)
        color, depth = arrays["images"][..., 2], arrays["depths"][..., 2]
        found = {c: open_dataset("nyud_v2", tmp_path, channels=c)[0].image for c in ("depth", "hha", "rgbd", "rgb_hha")}
        assert found["depth"].dtype == np.uint16 and found["depth"].shape == (6, 5, 1)
        assert (found["depth"][..., 0] == np.rint(depth.astype(float) * 1000)).all()
        encoded = hha(depth, COLOR_CAMERA, missing=arrays["rawDepths"][..., 2] == 0)
        assert (found["hha"] == encoded).all()
        assert (found["rgb_hha"] == np.concatenate([color, encoded], 2)).all()
        assert found["rgbd"].dtype == np.float32
        levels = found["rgbd"] * np.float32(255)  # what a normalization sees
        assert levels[..., :3] == pytest.approx(color, abs=1e-4)
        assert levels[..., 3] == pytest.approx(np.log(np.rint(depth * 1000)), abs=1e-5)

    def test_hha_is_made_once_and_kept(self, tmp_path, monkeypatch):
        write_labeled(tmp_path)
        data = open_dataset("nyud_v2", tmp_path, "all", channels="hha")
        first = data[1].image
        monkeypatch.setattr(module, "hha", None)
        assert (data[1].image == first).all()
        with pytest.raises(TypeError):
            data[0]

    def test_missing_depth_is_zero_in_every_kind(self, tmp_path):
        write_labeled(tmp_path, depths=np.zeros((6, 5, 3), np.float32))
        assert (open_dataset("nyud_v2", tmp_path, channels="depth")[0].image == 0).all()
        assert (open_dataset("nyud_v2", tmp_path, channels="rgbd")[0].image[..., 3] == 0).all()

    def test_fewer_classes_and_all(self, tmp_path):
        arrays = write_labeled(tmp_path)
        names = {}
        for classes in (40, 13, 4, 894):
            data = open_dataset("nyud_v2", tmp_path, classes=classes)
            labels = data.labels["labels"]
            assert labels.num_classes == classes
            names[classes] = [*labels.names, *["void"] * (labels.void + 1 - classes)]
            names[classes] = [names[classes][v] for v in data[0].targets["labels"].ravel()]
        raw = arrays["labels"][..., 2].ravel()
        assert names[894] == [
            "void" if v == 0 else NAMES[MAPPED[v] - 1] if MAPPED[v] < 38 else "cone" if v == 6 else f"thing {v}"
            for v in raw.tolist()
        ]
        merged = {  # some of the 40 among 13 and 4
            "wall": ("wall", "structure"),
            "floor": ("floor", "floor"),
            "cabinet": ("furniture", "furniture"),
            "chair": ("chair", "furniture"),
            "ceiling": ("ceiling", "structure"),
            "void": ("void", "void"),
        }
        for forty, thirteen, four in zip(names[40], names[13], names[4], strict=True):
            assert merged.get(forty, (thirteen, four)) == (thirteen, four)

    def test_crop_is_the_frame_of_gupta(self, tmp_path):
        random = np.random.default_rng(1)
        depths = np.full((480, 640, 1), 2.0, np.float32)
        images = random.integers(0, 256, (480, 640, 3, 1)).astype(np.uint8)
        labels = random.integers(0, 895, (480, 640, 1)).astype(np.uint16)
        write_labeled(tmp_path, (480, 640), 1, images=images, labels=labels, depths=depths)
        data = open_dataset("nyud_v2", tmp_path, "all", crop=True)
        sample = data[0]
        assert sample.size == (425, 560) and (sample.image == images[45:470, 40:600, :, 0]).all()
        assert (sample.targets["labels"] == label_set(40).to_classes(labels[45:470, 40:600, 0])).all()
        encoded = open_dataset("nyud_v2", tmp_path, "all", crop=True, channels="hha")[0].image
        assert encoded.shape == (425, 560, 3) and (encoded[..., 0] == 155).all()

    def test_the_doctor_knows_it(self, tmp_path, caplog):
        write_labeled(tmp_path, (40, 30))
        understanding = look_at(tmp_path)
        assert {split: [p.name for p in pairs] for split, pairs in understanding.splits.items()} == {
            "train": ["img_5003", "img_5001"],
            "test": ["img_5002"],
        }
        assert understanding.labels == label_set(40) and not understanding.errors and not caplog.records
        (tmp_path / "splits.mat").unlink()
        layout = find_layout(tmp_path)
        assert list(layout.splits) == ["all"] and "splits.mat" in layout.notes[0]

    def test_it_is_checked_and_written_as_a_plain_folder(self, tmp_path):
        arrays = write_labeled(tmp_path / "nyu", (40, 30))
        understanding = look_at(tmp_path / "nyu", dataset="nyud_v2")
        convert(understanding, tmp_path / "out")
        written = np.array(Image.open(tmp_path / "out/images/train/img_5003.png"))
        assert (written == arrays["images"][..., 2]).all()
        mask = np.array(Image.open(tmp_path / "out/masks/test/img_5002.png"))
        assert (mask == label_set(40).to_classes(arrays["labels"][..., 1])).all()

    def test_refused(self, tmp_path, monkeypatch):
        for channels, classes, message in (
            ("bgr", 40, r"channels is one of rgb, depth, hha, rgbd, rgb_hha, got 'bgr'"),
            ("rgb", 37, r"classes is 40, 13, 4 or 894, got 37"),
        ):
            with pytest.raises(BadOption, match=message):
                open_dataset("nyud_v2", tmp_path, channels=channels, classes=classes)
        with pytest.raises(BadOption, match=r"nyud_v2 has no option 'channel'; it takes channels, classes, crop"):
            open_dataset("nyud_v2", tmp_path, channel="rgb")
        with pytest.raises(DataError, match=r"no nyu_depth_v2_labeled\.mat, no data/images .*; pass the folder"):
            open_dataset("nyud_v2", tmp_path)
        write_labeled(tmp_path)
        path = tmp_path / "nyu_depth_v2_labeled.mat"
        with pytest.raises(DataError, match=r"has no split 'val'; it has train, test and all: pass one of them"):
            open_dataset("nyud_v2", tmp_path, "val")
        with pytest.raises(
            DataError, match=r"only pictures of 480 × 640 are cropped, these are 6 × 5; take crop=False"
        ):
            open_dataset("nyud_v2", tmp_path, crop=True)[0]
        savemat(tmp_path / "splits.mat", {"trainNdxs": [[1], [4]]})
        with pytest.raises(
            DataError, match=r"splits\.mat names picture 4 in trainNdxs, but .* holds 1–3; download both"
        ):
            open_dataset("nyud_v2", tmp_path)
        for numbers, told in ([[1], [2], [1]], "picture 1 twice"), (np.zeros((0, 0)), "no picture"):
            savemat(tmp_path / "splits.mat", {"trainNdxs": numbers})
            with pytest.raises(DataError, match=rf"splits\.mat names {told} in trainNdxs; expected each picture once"):
                open_dataset("nyud_v2", tmp_path)
        with pytest.raises(DataError, match=r"splits\.mat holds no testNdxs; expected trainNdxs and testNdxs"):
            open_dataset("nyud_v2", tmp_path, "test")
        (tmp_path / "splits.mat").write_bytes((tmp_path / "splits.mat").read_bytes()[:150])
        with pytest.raises(DataError, match=r"splits\.mat is truncated or damaged"):
            open_dataset("nyud_v2", tmp_path)
        (tmp_path / "splits.mat").unlink()
        with pytest.raises(
            DataError, match=r"no splits\.mat beside .*labeled\.mat; download it .* or take the split all"
        ):
            open_dataset("nyud_v2", tmp_path)
        assert len(open_dataset("nyud_v2", tmp_path, "all")) == 3
        path.write_bytes(path.read_bytes()[:3000])
        with pytest.raises(DataError, match=r"labeled\.mat is truncated or damaged, or of a version before 7\.3"):
            open_dataset("nyud_v2", tmp_path, "all")
        write_labeled(tmp_path, names={5: "stool"})
        with pytest.raises(
            DataError, match=r"calls class 5 'stool', expected 'chair'; its classes are numbered otherwise"
        ):
            open_dataset("nyud_v2", tmp_path)
        write_labeled(tmp_path, with_names=False)
        assert len(open_dataset("nyud_v2", tmp_path)) == 2
        with pytest.raises(DataError, match=r"labeled\.mat holds 0 names, expected 894"):
            open_dataset("nyud_v2", tmp_path, classes=894)
        write_labeled(tmp_path, rawDepths=None)
        with pytest.raises(
            DataError, match=r"holds 3 labels, expected as many rawDepths, found none; download it again"
        ):
            open_dataset("nyud_v2", tmp_path, channels="hha")
        write_labeled(tmp_path, labels=np.full((6, 5, 3), 895, np.uint16))
        with pytest.raises(LabelError, match=r"labeled\.mat \(labels 3\) holds the value 895 at row 0, column 0"):
            open_dataset("nyud_v2", tmp_path)[0]
        write_labeled(tmp_path, labels=None)
        with pytest.raises(DataError, match=r"holds depths, images, names, rawDepths; expected images, depths, labels"):
            open_dataset("nyud_v2", tmp_path)
        monkeypatch.setitem(sys.modules, "h5py", None)
        with pytest.raises(DataError, match=r"which h5py reads; install it: pip install 'pixelwise\[datasets\]'"):
            open_dataset("nyud_v2", tmp_path)


def test_the_tables_hold_every_number_once():
    table = label_set(40).table
    assert len(table) == 895 and table[0] == 255
    counts = np.bincount([table[i] for i in range(1, 895)])
    assert counts.tolist() == [1] * 37 + [68, 82, 707]
    assert {number: cls + 1 for number, cls in table.items() if number in MAPPED} == MAPPED
    thirteen, four = label_set(13, first=1), label_set(4, first=1)
    assert thirteen.names == NAMES_13 and four.names == NAMES_4
    told = {NAMES[i - 1]: (NAMES_13[thirteen.table[i]], NAMES_4[four.table[i]]) for i in range(1, 41)}
    assert told["television"] == ("tv", "prop") and told["bed"] == ("bed", "furniture")
    assert told["books"] == ("books", "prop") and told["window"] == ("window", "structure")
    assert set(thirteen.table.values()) == {*range(13), 255} and set(four.table.values()) == {*range(4), 255}


class TestTheOtherPackagings:
    @pytest.fixture
    def fcn(self, tmp_path):
        """Three pictures as FCN packs them."""
        random = np.random.default_rng(3)
        for part in ("images", "depth", "hha"):
            (tmp_path / "nyud/data" / part).mkdir(parents=True)
        (tmp_path / "nyud/segmentation").mkdir()
        for i in (5001, 5002, 5003):
            for part in ("images", "hha"):
                color = random.integers(0, 256, (4, 6, 3)).astype(np.uint8)
                Image.fromarray(color).save(tmp_path / f"nyud/data/{part}/img_{i}.png")
            depth = random.integers(700, 9000, (4, 6)).astype(np.uint16)
            Image.fromarray(depth).save(tmp_path / f"nyud/data/depth/img_{i}.png")
            labels = random.integers(0, 41, (4, 6)).astype(np.uint8)
            savemat(tmp_path / f"nyud/segmentation/img_{i}.mat", {"segmentation": labels})
        for split, ids in {"train": "5001", "val": "5002", "test": "5003"}.items():
            (tmp_path / f"nyud/{split}.txt").write_text(f"{ids}\n")
        return tmp_path

    def test_every_kind_of_channels(self, fcn):
        files = {p: np.array(Image.open(fcn / f"nyud/data/{p}/img_5003.png")) for p in ("images", "depth", "hha")}
        found = {
            c: open_dataset("nyud_v2", fcn, "test", channels=c)[0] for c in ("rgb", "depth", "hha", "rgbd", "rgb_hha")
        }
        assert (found["rgb"].image == files["images"]).all() and (found["hha"].image == files["hha"]).all()
        assert (found["depth"].image[..., 0] == files["depth"]).all() and found["depth"].image.dtype == np.uint16
        assert (found["rgb_hha"].image == np.concatenate([files["images"], files["hha"]], 2)).all()
        assert found["rgbd"].image[..., 3] * 255 == pytest.approx(np.log(files["depth"]), abs=1e-5)
        assert {sample.targets["labels"].tobytes() for sample in found.values()} == {
            found["rgb"].targets["labels"].tobytes()
        }

    def test_trainval_is_train_and_val_where_no_list_says_it(self, fcn):
        assert [p.name for p in open_dataset("nyud_v2", fcn / "nyud", "trainval").pairs] == ["img_5001", "img_5002"]
        (fcn / "nyud/trainval.txt").write_text("5002\n")
        assert [p.name for p in open_dataset("nyud_v2", fcn, "trainval").pairs] == ["img_5002"]

    def test_hha_is_made_of_depth_where_there_is_none(self, fcn):
        shutil.rmtree(fcn / "nyud/data/hha")
        depth = np.array(Image.open(fcn / "nyud/data/depth/img_5003.png"))
        expected = hha(depth * 0.001, COLOR_CAMERA.cropped(45, 40))
        data = open_dataset("nyud_v2", fcn, "test", channels="hha")
        assert (data[0].image == expected).all()
        assert "which does not tell where depth was filled in" in data.describe()
        both = open_dataset("nyud_v2", fcn, "test", channels="rgb_hha")[0].image
        color = np.array(Image.open(fcn / "nyud/data/images/img_5003.png"))
        assert (both == np.concatenate([color, expected], 2)).all()
        Image.new("RGB", (5, 4)).save(fcn / "nyud/data/images/img_5003.png")
        with pytest.raises(DataError, match=r"img_5003\.png is 4 × 6, .* is 4 × 5 × 3; expected depth of"):
            open_dataset("nyud_v2", fcn, "test", channels="rgb_hha")[0]
        Image.new("RGB", (6, 4)).save(fcn / "nyud/data/depth/img_5003.png")
        with pytest.raises(DataError, match=r"img_5003\.png has 3 channels; expected depth in one"):
            open_dataset("nyud_v2", fcn, "test", channels="hha")[0]

    @pytest.mark.parametrize("form", ["fcn", "labelled"])
    def test_convert_writes_hha(self, fcn, form, capsys):
        """As `docs/reference/datasets.md` says, with a bar."""
        if form == "fcn":
            shutil.rmtree(fcn / "nyud/data/hha")
            root, options, name, split = fcn / "nyud", "channels=hha", "img_5002", "val"
            depth, missing = np.array(Image.open(root / "data/depth/img_5002.png")) * 0.001, None
        else:
            arrays = write_labeled(fcn / "labelled", (480, 640))
            root, options = fcn / "labelled", "channels=hha,crop=true"
            name, split = "img_5002", "test"
            depth, raw = (arrays[key][45:470, 40:600, 1] for key in ("depths", "rawDepths"))
            missing = raw == 0
        with pytest.raises(SystemExit) as ended:
            main(["convert", str(root), str(fcn / "out"), "--dataset", f"nyud_v2,{options}"])
        assert ended.value.code == 0, capsys.readouterr()
        written = np.array(Image.open(fcn / "out/images" / split / f"{name}.png"))
        assert (written == hha(depth, COLOR_CAMERA.cropped(45, 40), missing=missing)).all()
        assert (fcn / "out/masks" / split / f"{name}.png").is_file()

    def test_refused(self, fcn):
        with pytest.raises(BadOption, match=r"classes=894 are in nyu_depth_v2_labeled\.mat alone, which is not under"):
            open_dataset("nyud_v2", fcn, classes=894)
        with pytest.raises(DataError, match=r"there is no .*all\.txt; expected a list with the number of a picture"):
            open_dataset("nyud_v2", fcn, "all")
        (fcn / "nyud/data/hha/img_5001.png").unlink()
        with pytest.raises(DataError, match=r"there is no .*hha/img_5001\.png for .*; make them with .*encode_folder"):
            open_dataset("nyud_v2", fcn, channels="rgb_hha")
        Image.fromarray(np.ones((4, 5), np.uint16)).save(fcn / "nyud/data/depth/img_5001.png")
        with pytest.raises(
            DataError, match=r"img_5001\.png is 4 × 5 × 1, .* is 4 × 6 × 3; expected depth in one channel"
        ):
            open_dataset("nyud_v2", fcn, channels="rgbd")[0]
        (fcn / "nyud/train.txt").write_text("5001\n5009\n")
        with pytest.raises(DataError, match=r"train\.txt, line 2, lists 5009, but .*images has no such file"):
            open_dataset("nyud_v2", fcn)

    def test_files_side_by_side(self, tmp_path):
        Image.new("RGB", (5, 4)).save(tmp_path / "000001_rgb.png")
        Image.fromarray(np.array([[0, 1, 2, 39, 255]] * 4, np.uint8)).save(tmp_path / "000001_labels40.png")
        data = open_dataset("nyud_v2", tmp_path, "all", classes=4)
        assert [data.labels["labels"].names[v] if v < 4 else v for v in data[0].targets["labels"][0]] == [
            "structure",
            "floor",
            "furniture",
            "prop",
            255,
        ]
        with pytest.raises(DataError, match=r"has no split 'train'; it has all: pass one of them"):
            open_dataset("nyud_v2", tmp_path)
        with pytest.raises(BadOption, match=r"holds files side by side, .* not channels='depth'"):
            open_dataset("nyud_v2", tmp_path, "all", channels="depth")


@pytest.mark.real
def test_the_real_ones(real_data):
    with pytest.raises(DataError, match=r"holds 3 sets, drsleep_625x468, drsleep_640x480, nyud; which one"):
        find_layout(real_data / "nyud-mini")
    for name, splits in (
        ("nyud", {"train": 2, "val": 1}),
        ("drsleep_625x468", {"all": 5}),
        ("drsleep_640x480", {"all": 2}),
    ):
        layout = find_layout(real_data / "nyud-mini" / name)
        assert {split: len(pairs) for split, pairs in layout.splits.items()} == splits
        assert layout.labels[0].names == NAMES and not layout.faults


@pytest.mark.real
def test_the_real_ones_open_id_for_id(real_data):
    home = real_data / "nyud-mini/nyud"
    from scipy.io import loadmat

    for split, numbers in {"train": (5017, 5034), "test": (5041,), "trainval": (5017, 5034, 5041)}.items():
        data = open_dataset("nyud_v2", home.parent / "nyud", split, channels="rgb_hha")
        for i, number in enumerate(numbers):
            values = loadmat(home / f"segmentation/img_{number}.mat")["segmentation"].astype(np.uint8)
            assert (data[i].targets["labels"] == values - np.uint8(1)).all()  # as FCN's layer does it: 0 wraps to 255
            assert data[i].image.shape == (425, 560, 6) and data[i].name == f"img_{number}"
    data = open_dataset("nyud_v2", real_data / "nyud-mini/drsleep_640x480", "all")
    assert (data[0].targets["labels"] == np.array(Image.open(data.root / "000433_labels40.png"))).all()
