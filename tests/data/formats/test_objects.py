"""Several black-and-white files for one picture are put together into one mask."""

import numpy as np
import pytest
from PIL import Image

from pixelwise.data.answers import Answers
from pixelwise.data.formats.objects import object_pixels, objects_layout
from pixelwise.errors import DataError

SIZE = (12, 16)


def blob(top, left, bottom, right, value=255, size=SIZE):
    mask = np.zeros(size, np.uint8)
    mask[top:bottom, left:right] = value
    return mask


def save(path, array=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((*SIZE, 3), 90, np.uint8) if array is None else array).save(path)


ONE, TWO = blob(0, 0, 4, 4), blob(6, 6, 9, 12, 1)


class TestLayouts:
    def test_data_science_bowl(self, tmp_path):
        ids = ["00ae65c1c6631ae6", "0a7d30b252359a10"]
        for name in ids:
            save(tmp_path / f"stage1_train/{name}/images/{name}.png")
        save(tmp_path / f"stage1_train/{ids[0]}/masks/07a9bf1d7594af2e.png", ONE)
        save(tmp_path / f"stage1_train/{ids[0]}/masks/0e548d0af63ab451.png", TWO)
        save(tmp_path / f"stage1_train/{ids[1]}/masks/fe1cdedbedbedbed.png", TWO)
        save(tmp_path / "stage1_train/x/images/x.png")
        layout = objects_layout(tmp_path)
        assert layout.labels[0].names == ("background", "foreground")
        assert [p.name for p in layout.splits["train"]] == ids
        values, shared = layout.splits["train"][0].mask.draw()
        np.testing.assert_array_equal(values, (ONE > 0) | (TWO > 0))
        assert shared == 0 and values.dtype == np.uint8
        assert layout.notes == ("3 mask files for 2 pictures: objects of one class",)
        assert [(f.kind, f.path.name) for f in layout.faults] == [("orphan", "x.png")]

    def test_a_folder_for_each_picture(self, tmp_path):
        for split in ("train", "val"):
            save(tmp_path / f"{split}/images/{split}_img.jpg")
            save(tmp_path / f"{split}/masks/{split}_img/0.png", ONE)
            save(tmp_path / f"{split}/masks/{split}_img/1.png", TWO)
        layout = objects_layout(tmp_path)
        assert list(layout.splits) == ["train", "val"] and not layout.faults
        np.testing.assert_array_equal(layout.splits["val"][0].mask.draw()[0], (ONE > 0) | (TWO > 0))

    @pytest.mark.parametrize(
        "mask", ["masks/{}_{}.png", "masks/{}_mask_{}.png", "{}_mask_{}.png", "masks/{}-obj{}.png"]
    )
    def test_numbered_files(self, tmp_path, mask):
        home = "images/" if "/" in mask else ""
        for name in ("a", "a_1b"):  # one stem begins with the other
            save(tmp_path / f"{home}{name}.jpg")
            for number, array in enumerate((ONE, TWO)):
                save(tmp_path / mask.format(name, number), array)
        layout = objects_layout(tmp_path)
        assert [p.name for p in layout.splits["all"]] == ["a", "a_1b"] and not layout.faults
        assert [len(p.mask.files) for p in layout.splits["all"]] == [2, 2]
        assert layout.labels[0].names == ("background", "foreground")

    @pytest.mark.parametrize(
        "mask", ["masks/{1}/{0}.png", "masks/{0}_{1}.png", "masks/{0}_{1}_1.png", "masks/{0}/{1}.png"]
    )
    def test_classes_in_names(self, tmp_path, mask):
        for name in "ab":
            save(tmp_path / f"images/{name}.jpg")
            save(tmp_path / mask.format(name, "vessel"), blob(0, 0, 6, 6))
            save(tmp_path / mask.format(name, "cup"), blob(3, 3, 9, 9))
        layout = objects_layout(tmp_path)
        assert layout.labels[0].names == ("background", "cup", "vessel") and not layout.faults
        expected = np.zeros(SIZE, int)
        expected[3:9, 3:9] = 1
        expected[:6, :6] = 2
        values, shared = layout.splits["all"][0].mask.draw()
        np.testing.assert_array_equal(values, expected)
        assert shared == 9
        assert layout.notes == ("4 mask files for 2 pictures: the classes cup, vessel",)

    def test_several_objects_of_classes(self, tmp_path):
        save(tmp_path / "images/a.png")
        for name, array in (("a_cat_1", ONE), ("a_cat_2", TWO), ("a_dog_1", blob(10, 0, 12, 16))):
            save(tmp_path / f"masks/{name}.png", array)
        save(tmp_path / "masks/gone_cat_1.png", ONE)
        layout = objects_layout(tmp_path)
        assert layout.labels[0].names == ("background", "cat", "dog")
        assert [(f.severity, f.path.name) for f in layout.faults] == [("warning", "gone_cat_1.png")]
        assert np.bincount(layout.splits["all"][0].mask.draw()[0].ravel()).tolist() == [192 - 16 - 18 - 32, 34, 32]


class TestPlainFoldersStay:
    @pytest.mark.parametrize(
        "files",
        [
            ["images/a.png", "masks/a.png"],
            ["images/a.png", "masks/a_mask.png", "images/b.png", "masks/b_mask.png"],
            ["a.png", "a_mask.png", "b.png", "b_mask.png"],
            ["images/1.png", "masks/1.png", "images/1_2.png", "masks/1_2.png"],
            ["images/1.png", "masks/1_m.png", "images/1_2.png", "masks/1_2_m.png"],
            ["images/bonn/1.png", "masks/bonn/1.png", "images/ulm/1.png", "masks/ulm/1.png"],
            ["images/train/1.png", "masks/train/1.png", "images/val/1.png", "masks/val/1.png"],
            ["train/images/a.png", "train/masks/a.png", "val/images/b.png", "val/masks/b.png"],
            ["images/a.png", "masks/one/a.png", "images/b.png", "masks/two/b.png"],
        ],
    )
    def test_by_names(self, tmp_path, files):
        for file in files:
            save(tmp_path / file, ONE)
        assert objects_layout(tmp_path) is None

    @pytest.mark.parametrize("mask", ["masks/a_{}.png", "masks/{}/a.png", "masks/a/{}.png"])
    def test_variants_of_one_mask(self, tmp_path, mask):
        """labelIds and colors of all classes are not objects."""
        save(tmp_path / "images/a.png")
        save(tmp_path / mask.format("ids"), ONE + blob(8, 8, 12, 12, 7))
        save(tmp_path / mask.format("color"), np.stack([ONE, TWO, ONE + TWO], 2))
        assert objects_layout(tmp_path) is None

    def test_answers(self, tmp_path):
        save(tmp_path / "images/a.png")
        save(tmp_path / "masks/a_1.png", ONE)
        save(tmp_path / "masks/a_2.png", TWO)
        save(tmp_path / "labels/a.png", ONE)
        assert objects_layout(tmp_path, Answers.of(["masks=labels"])) is None
        assert objects_layout(tmp_path, Answers.of(["masks=masks"])) is not None


class TestFiles:
    def test_what_is_the_object(self, tmp_path):
        path = tmp_path / "a.png"
        for array in (ONE, TWO, ONE > 0, np.stack([ONE] * 3, 2), np.where(ONE, 200, 30).astype(np.uint8)):
            save(path, array)
            np.testing.assert_array_equal(object_pixels(path), array.reshape(*SIZE, -1)[:, :, 0] == array.max())
        opaque = np.stack([ONE * 0 + 9] * 3 + [ONE], 2)
        save(path, opaque)
        np.testing.assert_array_equal(object_pixels(path), ONE > 0)
        save(path, ONE * 0)
        assert not object_pixels(path).any()
        save(path, ONE * 0 + 255)
        assert object_pixels(path).all()

    def test_refused_when_drawn(self, tmp_path):
        for name in "abcd":
            save(tmp_path / f"images/{name}.png")
            save(tmp_path / f"masks/{name}_1.png", ONE)
            save(tmp_path / f"masks/{name}_2.png", TWO)
        save(tmp_path / "masks/c_2.png", ONE + TWO)
        save(tmp_path / "masks/d_2.png", blob(0, 0, 3, 3, size=(5, 5)))
        pairs = objects_layout(tmp_path).splits["all"]
        with pytest.raises(DataError, match=r"c_2\.png holds 0, 255 and 1 \(at row 6, column 6\); expected black and"):
            pairs[2].mask.draw()
        with pytest.raises(DataError, match=r"d_2\.png is 5 × 5, .*d_1\.png is 12 × 16; the files of one picture"):
            pairs[3].mask.draw()


def test_class_folders_of_few_pictures_are_not_the_whole_folder(tmp_path):
    for name in ("a", "b", "c", "d", "e"):
        path = tmp_path / "images" / f"{name}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(np.zeros((4, 4), np.uint8)).save(path)
    for name in ("a", "b"):
        for part in ("cat", "dog"):
            path = tmp_path / "masks" / part / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.eye(4, dtype=np.uint8) * 255).save(path)
    assert objects_layout(tmp_path) is None
