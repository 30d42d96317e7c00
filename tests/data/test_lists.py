"""Lists of pairs and of ids, in every form that people write them."""

from pathlib import Path

import pytest

from pixelwise.data.find import find_layout
from pixelwise.data.lists import file_ending_in, read_pairs, split_of_list
from pixelwise.errors import DataError


def touch(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def names(layout):
    return {split: [pair.name for pair in pairs] for split, pairs in layout.splits.items()}


@pytest.mark.parametrize(
    "name, split",
    [
        *[(name, "train") for name in ("train.txt", "TRAIN.TXT", "train.csv", "train_list.lst", "list-train.txt")],
        *[(name, "train") for name in ("trainlist.txt", "train_pairs.tsv", "training.txt", "train2017.txt")],
        *[(name, "val") for name in ("val.txt", "valid.txt", "validation_images.txt", "val_ids.txt")],
        ("test.txt", "test"),
        *[(name, "all") for name in ("trainval.txt", "all.csv", "pairs.csv", "list.txt", "files.txt", "default.txt")],
        *[
            (name, None)
            for name in ("train.orig.txt", "classes.txt", "train.jpg", "notes.txt", "train_val.txt", "1.txt")
        ],
    ],
)
def test_names_of_lists(name, split):
    assert split_of_list(Path(name)) == split


class TestPairs:
    @pytest.mark.parametrize(
        "line",
        [
            "i/a.jpg m/a.png",
            "i/a.jpg   m/a.png",
            "i/a.jpg\tm/a.png",
            "i/a.jpg,m/a.png",
            "i/a.jpg;m/a.png",
            "i/a.jpg | m/a.png",
            "'i/a.jpg', 'm/a.png'",
            '"i/a.jpg","m/a.png"',
            "i\\a.jpg,m\\a.png",
            ".\\i\\a.jpg m\\a.png",
            "/home/someone/i/a.jpg /home/someone/m/a.png",
            "C:\\data\\i\\a.jpg;C:\\data\\m\\a.png",
        ],
    )
    @pytest.mark.parametrize("ending", ["\n", "\r\n"])
    @pytest.mark.parametrize("mark", ["", "\ufeff"])
    def test_forms_of_a_line(self, tmp_path, line, ending, mark):
        touch(tmp_path, "i/a.jpg", "m/a.png", "i/b.jpg", "m/b.png")
        text = mark + ending.join(["# a remark", "", line, line.replace("a.", "b."), ""])
        (tmp_path / "train.txt").write_bytes(text.encode())
        layout = find_layout(tmp_path)
        assert names(layout) == {"train": ["a", "b"]} and not layout.faults
        assert layout.splits["train"][0].mask == tmp_path / "m/a.png"

    @pytest.mark.parametrize("separator", ["\t", ",", ";", "|", " "])
    def test_spaces_in_paths(self, tmp_path, separator):
        touch(tmp_path, "my set/a b.jpg", "my set/a b.png")
        (tmp_path / "pairs.txt").write_text(f"my set/a b.jpg{separator}my set/a b.png\n")
        assert names(find_layout(tmp_path)) == {"all": ["a b"]}

    @pytest.mark.parametrize(
        "text",
        [
            "image,mask\ni/a.jpg,m/a.png\n",
            "Image Path;Label Path\ni/a.jpg;m/a.png\n",
            "mask,image\nm/a.png,i/a.jpg\n",
            "id,image,width,mask\n1,i/a.jpg,5,m/a.png\n",
            '"image","mask"\n"i/a.jpg","m/a.png"\n',
            "image mask\ni/a.jpg m/a.png\n",
        ],
    )
    def test_headers(self, tmp_path, text):
        touch(tmp_path, "i/a.jpg", "m/a.png")
        (tmp_path / "all.csv").write_text(text)
        (pair,) = find_layout(tmp_path).splits["all"]
        assert (pair.image, pair.mask) == (tmp_path / "i/a.jpg", tmp_path / "m/a.png")

    def test_a_column_for_splits(self, tmp_path):
        touch(tmp_path, *(f"{part}/{name}.png" for part in "im" for name in "abc"))
        rows = ["image,mask,split", "i/a.png,m/a.png,valid", "i/b.png,m/b.png,train", "i/c.png,m/c.png,train"]
        (tmp_path / "list.csv").write_text("\n".join(rows))
        assert names(find_layout(tmp_path)) == {"train": ["b", "c"], "val": ["a"]}

    def test_the_plainest_name_counts(self, tmp_path):
        touch(tmp_path, *(f"{part}/{name}.png" for part in "im" for name in "ab"))
        (tmp_path / "train.txt").write_text("i/a.png m/a.png\n")
        (tmp_path / "train_list.txt").write_text("i/b.png m/b.png\n")
        (tmp_path / "train.orig.txt").write_text("i/b.png m/b.png\n")
        (tmp_path / "trainval.txt").write_text("i/a.png m/a.png\ni/b.png m/b.png\n")
        assert names(find_layout(tmp_path)) == {"train": ["a"]}

    def test_lists_in_a_folder_of_their_own(self, tmp_path):
        touch(tmp_path, "i/a.jpg", "m/a.mat")
        (tmp_path / "lists/seg").mkdir(parents=True)
        (tmp_path / "lists/seg/val.lst").write_text("i/a.jpg m/a.mat\n")
        layout = find_layout(tmp_path)
        assert names(layout) == {"val": ["a"]} and layout.root == tmp_path

    def test_a_test_list_without_masks(self, tmp_path):
        touch(tmp_path, "i/a.jpg", "m/a.png", "i/b.jpg")
        (tmp_path / "train.txt").write_text("i/a.jpg m/a.png\n")
        (tmp_path / "test.txt").write_text("i/b.jpg\n")
        layout = find_layout(tmp_path)
        assert names(layout) == {"train": ["a"]} and not layout.faults
        assert layout.notes == ("test.txt beside the lists is passed over",)

    def test_equal_stems_get_their_folders_names(self, tmp_path):
        touch(tmp_path, *(f"{place}/{part}/1.png" for place in ("bonn", "ulm") for part in "im"))
        lines = [f"{place}/i/1.png {place}/m/1.png" for place in ("bonn", "ulm")]
        (tmp_path / "train.txt").write_text("\n".join(lines))
        assert names(find_layout(tmp_path)) == {"train": ["bonn_i_1", "ulm_i_1"]}

    def test_a_line_that_is_no_pair(self, tmp_path):
        touch(tmp_path, *(f"{part}/{name}.png" for part in "im" for name in "ab"))
        (tmp_path / "train.txt").write_text("i/a.png m/a.png\ni/b.png\ni/b.png m/b.png\n")
        (fault,) = find_layout(tmp_path).faults
        assert fault.severity == "error" and fault.kind == "missing"
        assert "train.txt, line 2, is 'i/b.png', expected a picture and its mask; correct the line" in fault.message

    def test_text_that_is_no_list(self, tmp_path):
        path = tmp_path / "train.txt"
        path.write_text("learning rate 0.1\nsaved a.jpg b.png\nthe end\n")
        assert read_pairs(path) == ([], [])

    def test_another_encoding_is_refused(self, tmp_path):
        touch(tmp_path, "i/ä.jpg", "m/ä.png")
        (tmp_path / "train.txt").write_bytes("i/ä.jpg m/ä.png\n".encode("latin-1"))
        with pytest.raises(DataError, match=r"train\.txt is no UTF-8 text .*; save it as UTF-8"):
            find_layout(tmp_path)

    def test_files_by_the_ends_of_paths(self, tmp_path):
        touch(tmp_path, "set/a.png", "a.png", "elsewhere/b.png")
        bases = [tmp_path / "set", tmp_path]
        assert file_ending_in(bases, "/x/y/a.png") == tmp_path / "set/a.png"
        assert file_ending_in(bases, "x\\set\\a.png") == tmp_path / "set/a.png"
        assert file_ending_in([tmp_path / "set"], str(tmp_path / "elsewhere/b.png")) == tmp_path / "elsewhere/b.png"
        assert file_ending_in(bases, "c.png") is None


class TestIds:
    def folder(self, root, **lists):
        touch(root, *(f"{part}/img_{i}.{end}" for part, end in (("images", "jpg"), ("masks", "png")) for i in range(4)))
        for name, lines in lists.items():
            (root / f"{name}.txt").write_text("\n".join(lines))

    @pytest.mark.parametrize(
        "form", ["img_{}", "img_{}.jpg", "images/img_{}.jpg", "D:\\x\\images\\img_{}.jpg", '"img_{}"']
    )
    def test_lists_select_splits(self, tmp_path, form):
        self.folder(tmp_path, train=[form.format(0), form.format(2)], val=[form.format(1)])
        layout = find_layout(tmp_path)
        assert names(layout) == {"train": ["img_0", "img_2"], "val": ["img_1"]} and not layout.faults
        assert layout.name == "pictures in images/, masks in masks/, with train, val as train.txt, val.txt say"
        assert layout.notes == ("1 pairs that train.txt, val.txt do not list are left out",)

    def test_what_no_list_names_is_for_training(self, tmp_path):
        self.folder(tmp_path, valid=["img_3.jpg"])
        layout = find_layout(tmp_path)
        assert names(layout) == {"train": ["img_0", "img_1", "img_2"], "val": ["img_3"]}
        assert layout.notes == ("3 pairs that valid.txt does not list are for training",)

    def test_in_sub_folders(self, tmp_path):
        touch(tmp_path, *(f"{part}/{city}/1.png" for part in ("images", "masks") for city in ("bonn", "ulm")))
        (tmp_path / "splits").mkdir()
        (tmp_path / "splits/train.txt").write_text("bonn/1\n")
        (tmp_path / "splits/test.txt").write_text("ulm/1\n")
        assert names(find_layout(tmp_path)) == {"train": ["bonn_1"], "test": ["ulm_1"]}

    def test_a_line_that_leads_nowhere(self, tmp_path):
        self.folder(tmp_path, train=["img_0", "img_1", "img_9"])
        (fault,) = find_layout(tmp_path).faults
        assert fault.severity == "error" and fault.kind == "missing"
        assert "train.txt, line 3, lists img_9, but no picture of that name has a mask" in fault.message

    def test_other_texts_select_nothing(self, tmp_path):
        self.folder(tmp_path, train=["epoch 1", "epoch 2"], all=["img_0"], classes=["img_0"])
        assert list(find_layout(tmp_path).splits) == ["all"]

    def test_splits_of_folders_come_first(self, tmp_path):
        touch(tmp_path, "images/train/a.jpg", "masks/train/a.png", "images/val/b.jpg", "masks/val/b.png")
        (tmp_path / "train.txt").write_text("a\nb\n")
        assert names(find_layout(tmp_path)) == {"train": ["a"], "val": ["b"]}
