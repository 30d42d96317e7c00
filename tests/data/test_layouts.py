"""Folders are recognized and their files paired; what is left over or doubtful is told by name."""

import os
import unicodedata

import numpy as np
import pytest
from PIL import Image

from pixelwise.data import DATASETS, list_datasets, open_dataset
from pixelwise.data.answers import Answers
from pixelwise.data.find import find_layout
from pixelwise.data.folder import PairDataset
from pixelwise.data.layout import pictures_below
from pixelwise.data.sample import Pair
from pixelwise.errors import DataError, DataQuestion, LabelError, ShapeError, UnknownName
from pixelwise.labels import LabelSet, pack_color


def touch(root, *names):
    """Files that only have names; layouts decode nothing."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def save(path, array, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **options)


def paired(layout, split="all"):
    root = layout.root
    return {p.image.relative_to(root).as_posix(): p.mask.relative_to(root).as_posix() for p in layout.splits[split]}


class TestPlainFolders:
    @pytest.mark.parametrize("images", ["images", "Images", "imgs", "image", "img", "JPEGImages", "input", "raw", "x"])
    @pytest.mark.parametrize("masks", ["masks", "Labels", "annotations", "gt", "Ground_Truth", "segmentation", "y"])
    def test_usual_names(self, tmp_path, images, masks):
        touch(tmp_path, f"{images}/a.jpg", f"{masks}/a.png", f"{images}/b.JPG", f"{masks}/b.PNG")
        layout = find_layout(tmp_path)
        assert paired(layout) == {f"{images}/a.jpg": f"{masks}/a.png", f"{images}/b.JPG": f"{masks}/b.PNG"}
        assert not layout.faults and layout.name.startswith("pictures in ")
        assert layout.rule == "a picture and its mask have the same name"

    @pytest.mark.parametrize(
        "images, masks",
        [
            ("{split}/images", "{split}/masks"),
            ("images/{split}", "masks/{split}"),
            ("{split}_images", "{split}_masks"),
            ("images-{split}", "labels-{split}"),
            ("{split}", "{split}annot"),
            ("{split}", "{split}_masks"),
            ("x_{split}", "y_{split}"),
            ("set/{split}/images", "set/{split}/masks"),
            ("{split}2017", "annotations/{split}2017"),
            ("images/{split}2017", "annotations/{split}2017"),
            ("{split} set/images", "{split} set/masks"),
            ("a/b/Images/{split}", "a/b/Masks/{split}"),
            ("{split}/images_png", "{split}/masks_png"),
            ("{split}_data/image", "{split}_data/label"),
        ],
    )
    @pytest.mark.parametrize("valid", ["val", "valid", "validation"])
    def test_splits_above_below_or_within_a_name(self, tmp_path, images, masks, valid):
        for split in ("train", valid, "test"):
            touch(tmp_path, f"{images.format(split=split)}/{split}1.jpg", f"{masks.format(split=split)}/{split}1.png")
        layout = find_layout(tmp_path)
        assert list(layout.splits) == ["train", "val", "test"]
        assert [layout.splits[s][0].name for s in layout.splits] == ["train1", f"{valid}1", "test1"]
        assert not layout.faults

    def test_a_wrapper_does_not_matter(self, tmp_path):
        touch(tmp_path, "download/set1/images/a.jpg", "download/set1/masks/a.png")
        assert find_layout(tmp_path).splits["all"][0].name == "a"

    def test_equal_stems_in_sub_folders_stay_apart(self, tmp_path):
        for city in ("bonn", "ulm"):
            touch(tmp_path, f"images/{city}/1.jpg", f"masks/{city}/1.png")
        layout = find_layout(tmp_path)
        assert [p.name for p in layout.splits["all"]] == ["bonn_1", "ulm_1"]
        assert paired(layout)["images/ulm/1.jpg"] == "masks/ulm/1.png"

    def test_other_folders_do_not_confuse(self, tmp_path):
        touch(tmp_path, "images/a.png", "masks/a.png", "instances16/a.png", "unet_reference/a.png", "groundTruth/a.mat")
        assert paired(find_layout(tmp_path)) == {"images/a.png": "masks/a.png"}

    def test_junk_of_systems_is_passed_over(self, tmp_path):
        touch(tmp_path, "images/a.jpg", "images/._a.jpg", "images/Thumbs.db", "masks/a.png", "__MACOSX/images/b.jpg")
        layout = find_layout(tmp_path)
        assert paired(layout) == {"images/a.jpg": "masks/a.png"} and not layout.faults

    def test_pictures_right_in_the_folder(self, tmp_path):
        touch(tmp_path, "a.jpg", "b.jpg", "masks/a.png", "masks/b.png")
        layout = find_layout(tmp_path)
        assert paired(layout) == {"a.jpg": "masks/a.png", "b.jpg": "masks/b.png"}
        assert layout.name == "pictures in the folder itself, masks in masks/"

    def test_pictures_in_a_folder_with_its_own_name(self, tmp_path):
        touch(tmp_path, "holiday/a.jpg", "masks/a.png")
        assert paired(find_layout(tmp_path)) == {"holiday/a.jpg": "masks/a.png"}

    def test_a_link_in_a_circle_ends(self, tmp_path):
        touch(tmp_path, "images/a.jpg", "masks/a.png")
        (tmp_path / "images" / "again").symlink_to(tmp_path)
        assert len(pictures_below(tmp_path)) == 2

    def test_a_linked_folder_is_read(self, tmp_path):
        touch(tmp_path, "elsewhere/a.jpg", "set/masks/a.png")
        (tmp_path / "set" / "images").symlink_to(tmp_path / "elsewhere")
        assert paired(find_layout(tmp_path / "set")) == {"images/a.jpg": "masks/a.png"}


class TestAnswers:
    def question(self, root, key):
        with pytest.raises(DataQuestion, match=r"which are meant\? Answer with --as ") as caught:
            find_layout(root)
        assert {answer.partition("=")[0] for answer in caught.value.answers} == {key}
        return [answer.partition("=")[2] for answer in caught.value.answers]

    @pytest.mark.parametrize(
        "names",
        [
            ("masks", "labels"),
            ("Masks", "Ground_Truth"),
            ("auto/labels", "manual/labels"),
            ("masks/train", "labels/train"),
            ("train_masks", "train_labels"),
            ("auto/train/labels", "manual/train/labels"),
        ],
    )
    def test_each_answer_to_which_masks(self, tmp_path, names):
        image = "images/a.jpg" if "train" not in names[0] else "images/train/a.jpg"
        touch(tmp_path, image, *(f"{name}/a.png" for name in names))
        chosen = set()
        for answer in self.question(tmp_path, "masks"):
            layout = find_layout(tmp_path, Answers.of([f"masks={answer}"]))
            (pair,) = layout.splits["train" if "train" in names[0] else "all"]
            assert pair.image == tmp_path / image
            chosen.add(pair.mask.parent.relative_to(tmp_path).as_posix())
        assert chosen == set(names)

    def test_each_answer_to_which_pictures(self, tmp_path):
        touch(tmp_path, "images/a.jpg", "raw/a.jpg", "masks/a.png")
        for answer in self.question(tmp_path, "images"):
            assert paired(find_layout(tmp_path, Answers.of([f"images={answer}"]))) == {f"{answer}/a.jpg": "masks/a.png"}

    @pytest.mark.parametrize("name", ["instances16", "INSTANCES16", "more/instances16", "more\\instances16", "more"])
    def test_any_directory_can_be_named(self, tmp_path, name):
        touch(tmp_path, "images/train/a.png", "masks/train/a.png", "more/instances16/train/a.png")
        layout = find_layout(tmp_path, Answers.of([f"masks={name}"]))
        if name == "more":  # what stands below a named directory is a folder of its own
            assert len(layout.splits["train"]) == 1
        else:
            assert paired(layout, "train") == {"images/train/a.png": "more/instances16/train/a.png"}

    def test_a_name_with_its_split(self, tmp_path):
        touch(tmp_path, "train/a.jpg", "trainannot/a.png", "trainlabels/a.png", "val/b.jpg", "valannot/b.png")
        layout = find_layout(tmp_path, Answers.of(["masks=annot"]))
        assert paired(layout, "val") == {"val/b.jpg": "valannot/b.png"} and list(layout.splits) == ["train", "val"]

    def test_a_wrong_name(self, tmp_path):
        touch(tmp_path, "images/a.jpg", "masks/a.png", "labels/a.png")
        with pytest.raises(DataError, match=r"masks=mask names no directory .* there are images, labels, masks: name"):
            find_layout(tmp_path, Answers.of(["masks=mask"]))


class TestArrays:
    @pytest.mark.parametrize("extension", [".mat", ".npy", ".MAT"])
    def test_masks_can_be_arrays(self, tmp_path, extension):
        touch(tmp_path, "images/a.jpg", f"masks/a{extension}")
        assert paired(find_layout(tmp_path)) == {"images/a.jpg": f"masks/a{extension}"}

    def test_pictures_cannot(self, tmp_path):
        touch(tmp_path, "images/a.npy", "images/b.jpg", "masks/b.npy")
        layout = find_layout(tmp_path)
        assert paired(layout) == {"images/b.jpg": "masks/b.npy"} and not layout.faults

    def test_pictures_come_first(self, tmp_path):
        touch(tmp_path, "images/a.jpg", "masks/a.png", "groundTruth/a.mat")
        layout = find_layout(tmp_path)
        assert paired(layout) == {"images/a.jpg": "masks/a.png"}
        assert layout.notes == (
            "groundtruth/ holds .mat or .npy masks of the same names; --as masks=groundtruth takes them",
        )
        other = find_layout(tmp_path, Answers.of(["masks=groundtruth"]))
        assert paired(other) == {"images/a.jpg": "groundTruth/a.mat"}

    def test_pictures_come_first_in_one_directory(self, tmp_path):
        touch(tmp_path, "images/a.jpg", "masks/a.png", "masks/a.npy")
        layout = find_layout(tmp_path)
        assert paired(layout) == {"images/a.jpg": "masks/a.png"} and not layout.faults
        assert layout.notes == ("1 .mat or .npy files beside masks of the same names are passed over",)


class TestSeveralSets:
    def test_sets_beside_each_other(self, tmp_path):
        touch(tmp_path, *(f"{name}/{part}" for name in ("cells", "cracks") for part in ("images/a.jpg", "masks/a.png")))
        with pytest.raises(
            DataError, match=r"holds 2 sets, cells, cracks; which one is meant\? Pass its folder, or put"
        ):
            find_layout(tmp_path)
        (chosen,) = find_layout(tmp_path, Answers.of(["masks=cracks/masks"])).splits["all"]
        assert chosen.image == tmp_path / "cracks/images/a.jpg"

    @pytest.mark.parametrize("names", [("scene1", "scene2"), ("fold_01", "fold_12"), ("0a3f42bc", "71ddee90")])
    def test_numbered_folders_are_one_set(self, tmp_path, names):
        touch(tmp_path, *(f"{name}/{part}" for name in names for part in ("images/a.jpg", "masks/a.png")))
        assert [p.name for p in find_layout(tmp_path).splits["all"]] == [f"{name}_a" for name in names]

    def test_known_sets_beside_each_other(self, tmp_path):
        voc(tmp_path / "one")
        cityscapes(tmp_path / "two")
        touch(tmp_path, "three/images/a.jpg", "three/masks/a.png", "four/notes.txt")
        with pytest.raises(DataError, match=r"holds 3 sets, one, three, two; which one is meant\? Pass its folder"):
            find_layout(tmp_path)

    def test_any_depth(self, tmp_path):
        voc(tmp_path / "a/b/c")
        assert find_layout(tmp_path).name == "PASCAL VOC devkit (VOC2012)"


class TestOtherKinds:
    @pytest.mark.parametrize(
        "file, kind",
        [
            ("a.HEIC", "HEIC"),
            ("a.dcm", "DICOM"),
            ("a.nii.gz", "volume"),
            ("a.psd", "layered picture"),
            ("a.CR2", "camera RAW"),
        ],
    )
    def test_pictures_that_are_not_read(self, tmp_path, file, kind):
        touch(tmp_path, f"images/{file}")
        with pytest.raises(DataError, match=rf"no pictures in .*; 1 of kind {kind}, as {file}, cannot be read: \w+"):
            find_layout(tmp_path)
        touch(tmp_path, "masks/a.png")
        with pytest.raises(DataError, match=rf"1 masks in .*; 1 of kind {kind}, as {file}, cannot be read: \w+"):
            find_layout(tmp_path)

    def test_mixed_extensions_and_cases(self, tmp_path):
        touch(tmp_path, "images/a.JPG", "images/b.Png", "images/c.tiff", "masks/a.PNG", "masks/b.TIF", "masks/c.bmp")
        assert len(find_layout(tmp_path).splits["all"]) == 3


class TestLooseNames:
    @pytest.mark.parametrize("name", ["my_masks", "coloredLabels", "1st_gt", "SegmentationClassNew"])
    def test_a_word_for_masks_among_others(self, tmp_path, name):
        touch(tmp_path, "images/a.jpg", f"{name}/a.png")
        assert paired(find_layout(tmp_path)) == {"images/a.jpg": f"{name}/a.png"}

    def test_beside_a_plain_word_it_is_asked(self, tmp_path):
        touch(tmp_path, "images/a.jpg", "my_masks/a.png", "masks/a.png")
        with pytest.raises(DataQuestion) as caught:
            find_layout(tmp_path)
        assert caught.value.answers == ("masks=masks", "masks=my_masks")

    def test_beside_a_plain_word_they_are_told_where_fewer_fit(self, tmp_path):
        touch(tmp_path, "images/a.jpg", "images/b.jpg", "my_masks/a.png", "masks/a.png", "masks/b.png")
        layout = find_layout(tmp_path)
        assert paired(layout) == {"images/a.jpg": "masks/a.png", "images/b.jpg": "masks/b.png"}
        assert layout.notes == ("masks in my_masks/ fit, too, but fewer; --as masks=my_masks takes them",)


def asked(root):
    """Every answer that is offered, and what comes of it."""
    with pytest.raises(DataQuestion) as caught:
        find_layout(root)
    return {answer: find_layout(root, Answers.of([answer])) for answer in caught.value.answers}


class TestRivals:
    def test_drive(self, tmp_path):
        for split, numbers in (("training", range(21, 27)), ("test", range(1, 5))):
            for i in numbers:
                touch(tmp_path, f"{split}/images/{i:02d}_{split}.tif", f"{split}/mask/{i:02d}_{split}_mask.gif")
                touch(tmp_path, f"{split}/1st_manual/{i:02d}_manual1.gif")
                if split == "test":
                    touch(tmp_path, f"{split}/2nd_manual/{i:02d}_manual2.gif")
        layouts = asked(tmp_path)
        assert layouts.keys() == {"masks=1st_manual", "masks=mask"}
        first = layouts["masks=1st_manual"]
        assert paired(first, "train")["training/images/21_training.tif"] == "training/1st_manual/21_manual1.gif"
        assert paired(first, "test")["test/images/01_test.tif"] == "test/1st_manual/01_manual1.gif"
        assert not first.faults
        assert [note.partition(" fit,")[0] for note in first.notes] == ["4 files in 2nd_manual/", "10 files in mask/"]
        second = find_layout(tmp_path, Answers.of(["masks=2nd_manual"]))
        assert len(second.splits["test"]) == 4 and "the 6 pictures of train" in second.faults[0].reason

    @pytest.mark.parametrize(
        "image, mask",
        [
            ("{0}/{0}-org-img/{1}.jpg", "{0}/{0}-label-img/{1}_lab.png"),
            ("uavid_{0}/seq1/Images/{1}.png", "uavid_{0}/seq1/Labels/{1}.png"),
            ("{0}_img/{1}.jpg", "{0}_lab/{1}.png"),
            ("crack-{0}/photos/{1}.jpg", "crack-{0}/Category_masks_v2/{1}.png"),
        ],
    )
    def test_a_split_among_other_words(self, tmp_path, image, mask):
        pairs = {s: {image.format(s, f"{s}{i}"): mask.format(s, f"{s}{i}") for i in "abc"} for s in ("train", "val")}
        for part in pairs.values():
            touch(tmp_path, *part, *part.values())
        layout = find_layout(tmp_path)
        assert {split: paired(layout, split) for split in layout.splits} == pairs
        assert not layout.faults

    def test_short_splits(self, tmp_path):
        for s in ("TR", "TE"):
            touch(tmp_path, *(f"DUTS-{s}/DUTS-{s}-{name}" for name in ("Image/a.jpg", "Mask/a.png")))
        layout = find_layout(tmp_path)
        assert paired(layout, "train") == {"DUTS-TR/DUTS-TR-Image/a.jpg": "DUTS-TR/DUTS-TR-Mask/a.png"}
        assert paired(layout, "test") == {"DUTS-TE/DUTS-TE-Image/a.jpg": "DUTS-TE/DUTS-TE-Mask/a.png"}

    def test_a_split_word_is_no_split_where_others_have_none(self, tmp_path):
        touch(
            tmp_path, *(f"{kind}/{place}/a.png" for kind in ("images", "masks") for place in ("train_hall", "harbor"))
        )
        assert len(find_layout(tmp_path).splits["all"]) == 2

    def test_two_objects_of_one_picture(self, tmp_path):
        touch(tmp_path, "CXR/a.png", "ManualMask/leftMask/a.png", "ManualMask/rightMask/a.png")
        layouts = asked(tmp_path)
        assert layouts.keys() == {"masks=leftmask", "masks=rightmask"}
        assert layouts["masks=leftmask"].notes[0].startswith("1 files in rightmask/ fit, too, and are left out")

    @pytest.mark.parametrize(
        "image, mask, second",
        [
            ("2_Ortho_RGB", "labels", ["1_DSM"]),
            ("rgb", "GT_color", ["depth_gray", "nir_gray"]),
            ("seg/images", "seg/labels", ["seg/color_labels"]),
            ("image_2", "semantic", ["semantic_rgb"]),
        ],
    )
    def test_by_products_come_second(self, tmp_path, image, mask, second):
        touch(tmp_path, f"{image}/a.png", f"{mask}/a.png", *(f"{name}/a.png" for name in second))
        layout = find_layout(tmp_path)
        assert paired(layout) == {f"{image}/a.png".removeprefix("seg/"): f"{mask}/a.png".removeprefix("seg/")} or (
            paired(layout) == {f"{image}/a.png": f"{mask}/a.png"}
        )
        for name in second:
            told = name.removeprefix("seg/")
            (note,) = [note for note in layout.notes if note.startswith(f"{told}/ fits as well")]
            answer = note.partition("--as ")[2].partition(" ")[0]
            other = find_layout(tmp_path, Answers.of([answer]))
            assert any(name in (p.image.parent.as_posix() + p.mask.parent.as_posix()) for p in other.splits["all"])

    def test_as_well_is_not_fewer(self, tmp_path):
        touch(tmp_path, "set/original_images/a.jpg", "set/label_images/a.png", "color_image_masks/a.png")
        layout = find_layout(tmp_path)
        assert paired(layout) == {"set/original_images/a.jpg": "set/label_images/a.png"}
        assert layout.notes == ("masks in color_image_masks/ fit, too; --as masks=color_image_masks takes them",)
        other = find_layout(tmp_path, Answers.of(["masks=color_image_masks"]))
        assert paired(other) == {"set/original_images/a.jpg": "color_image_masks/a.png"}

    def test_valid_areas_are_not_taken_unasked(self, tmp_path):
        touch(tmp_path, *(f"{name}/a.png" for name in ("field_images/rgb", "field_images/nir", "boundaries", "masks")))
        touch(tmp_path, "field_labels/weeds/a.png", "field_labels/water/a.png")
        layouts = asked(tmp_path)
        assert layouts.keys() == {"masks=masks", "masks=field_labels/weeds", "masks=field_labels/water"}
        for answer, layout in layouts.items():
            assert paired(layout) == {"field_images/rgb/a.png": f"{answer.partition('=')[2]}/a.png"}


class TestNoNameSaysMask:
    def test_the_same_names_are_asked_about(self, tmp_path):
        for s in ("train", "test"):
            touch(tmp_path, *(f"{s}/{s}_{part}/{i}.png" for part in "AB" for i in (1, 2)))
        layouts = asked(tmp_path)
        assert layouts.keys() == {"masks=A", "masks=B"}
        assert paired(layouts["masks=B"], "train") == {
            f"train/train_A/{i}.png": f"train/train_B/{i}.png" for i in (1, 2)
        }

    def test_beside_pictures(self, tmp_path):
        touch(tmp_path, *(f"{name}/a.png" for name in ("Images", "Category_ids", "Human_ids")))
        layouts = asked(tmp_path)
        assert layouts.keys() == {"masks=Category_ids", "masks=Human_ids"}
        assert paired(layouts["masks=Category_ids"]) == {"Images/a.png": "Category_ids/a.png"}
        assert "1 files in Human_ids/ fit, too" in layouts["masks=Category_ids"].notes[0]

    def test_a_folder_of_masks_for_each_class(self, tmp_path):
        touch(tmp_path, *(f"1. Original Images/a. Training Set/p_{i}.jpg" for i in (1, 2)))
        for part in ("1. MA", "2. HE"):
            touch(tmp_path, *(f"2. All Groundtruths/a. Training Set/{part}/p_{i}_{part[3:]}.tif" for i in (1, 2)))
        layouts = asked(tmp_path)
        assert layouts.keys() == {"masks=1. MA", "masks=2. HE"}
        assert len(layouts["masks=2. HE"].splits["train"]) == 2

    def test_side_by_side(self, tmp_path):
        touch(tmp_path, *(f"p_{i}{end}" for i in "ab" for end in (".jpg", "_1stHO.png", "_2ndHO.png")))
        with pytest.raises(DataError, match=r"perhaps \*_1stHO or \*_2ndHO are the masks: rename those that are meant"):
            find_layout(tmp_path)

    @pytest.mark.parametrize("end", ["anno", "label_ground-truth", "lab"])
    def test_more_words_for_masks(self, tmp_path, end):
        touch(tmp_path, *(f"p_{i}{rest}" for i in "ab" for rest in (".bmp", f"_{end}.bmp")))
        assert paired(find_layout(tmp_path)) == {f"p_{i}.bmp": f"p_{i}_{end}.bmp" for i in "ab"}

    def test_masks_drawn_again_in_colors(self, tmp_path):
        for i in "ab":
            touch(tmp_path, f"{i}.jpg", f"{i}_mask.png", f"{i}_color_mask.png", f"{i}_watershed_mask.png")
        layout = find_layout(tmp_path)
        assert paired(layout) == {"a.jpg": "a_mask.png", "b.jpg": "b_mask.png"}
        assert not layout.faults and len(layout.notes) == 1

    def test_only_colored_masks(self, tmp_path):
        touch(tmp_path, *(f"p{i}{rest}" for i in "ab" for rest in (".jpg", "_color_mask.png")))
        assert paired(find_layout(tmp_path)) == {f"p{i}.jpg": f"p{i}_color_mask.png" for i in "ab"}

    @pytest.mark.parametrize(
        "name, text, told",
        [
            ("annotations.xml", "<annotations/>", r"found 1 \.xml file \(annotations.xml\), which is not read: export"),
            ("via.json", "{}", r"found 1 \.json file"),
            ("train.csv", "ImageId,EncodedPixels\na.jpg,1 3\n", r"found 1 \.csv file \(train.csv\)"),
        ],
    )
    def test_annotations_that_are_not_read_are_named(self, tmp_path, name, text, told):
        touch(tmp_path, "images/a.jpg", "images/b.jpg")
        (tmp_path / name).write_text(text)
        with pytest.raises(DataError, match=told):
            find_layout(tmp_path)

    def test_masks_that_lie_elsewhere(self, tmp_path):
        touch(tmp_path, "train/good/0.png", "test/broken/0.png", "ground_truth/broken/0_mask.png")
        with pytest.raises(DataError, match=r"has the name of .* but no mask lies where its picture does; expected"):
            find_layout(tmp_path)


class TestByProducts:
    def test_twins_are_told_once(self, tmp_path):
        touch(tmp_path, "images/a.jpg", "images/a.png", "masks/a.png", "images/b.jpg", "masks/b.png")
        layout = find_layout(tmp_path)
        assert [fault.kind for fault in layout.faults] == ["twin"] and not layout.notes

    def test_masks_of_single_classes_below(self, tmp_path):
        for i in range(4):
            touch(tmp_path, f"train_val/images/{i}.jpg", f"train_val/masks/{i}.bmp")
            save(tmp_path / f"TEST/images/t{i}.png", np.zeros((8, 8), np.uint8))
            for part in ("", "RI/", "FV/"):
                save(tmp_path / f"TEST/masks/{part}t{i}.png", np.eye(8, dtype=np.uint8) * 255)
        layout = find_layout(tmp_path)
        assert {split: len(pairs) for split, pairs in layout.splits.items()} == {"train": 4, "test": 4}
        assert not layout.faults and "8 masks in TEST/masks/FV, TEST/masks/RI" in layout.notes[0]

    def test_listed_for_two_splits(self, tmp_path):
        touch(tmp_path, *(f"{d}/{i}.png" for d in ("images", "masks") for i in "abc"))
        for split, names in (("train", "ab"), ("val", "bc")):
            (tmp_path / f"{split}.csv").write_text(
                "filename,label\n" + "".join(f"images/{i}.png,masks/{i}.png\n" for i in names)
            )
        (fault,) = find_layout(tmp_path).faults
        assert "1 pictures, as" in fault.reason and fault.remedy == "take their lines out of one of the lists"


class TestPairing:
    @pytest.mark.parametrize(
        "image, mask",
        [
            ("img_{}", "mask_{}"),
            ("{}", "{}_mask"),
            ("{}", "{}.label"),
            ("{}_image", "{}-gt"),
            ("IMG{}", "SEG{}"),
            ("{}_sat", "{}_mask"),
            ("scan{}_t1", "scan{}_manual"),
            ("P{}", "p{}"),
        ],
    )
    def test_learned_rules(self, tmp_path, image, mask):
        numbers = [f"{i:02d}" for i in range(1, 13)]
        for number in numbers:
            touch(tmp_path, f"images/{image.format(number)}.jpg", f"masks/{mask.format(number)}.png")
        layout = find_layout(tmp_path)
        expected = {f"images/{image.format(n)}.jpg": f"masks/{mask.format(n)}.png" for n in numbers}
        assert paired(layout) == expected
        assert not layout.faults
        assert layout.rule != "a picture and its mask have the same name"

    def test_a_rule_holds_with_masks_missing(self, tmp_path):
        touch(tmp_path, *(f"images/img_{i:02d}.jpg" for i in range(1, 13)))
        touch(tmp_path, *(f"masks/mask_{i:02d}.png" for i in range(1, 10)))
        layout = find_layout(tmp_path)
        assert len(layout.splits["all"]) == 9
        assert {f.severity for f in layout.faults} == {"warning"}
        assert layout.notes == ("3 pictures have no mask and are left out",)

    def test_the_listing_order_never_pairs(self, tmp_path):
        touch(tmp_path, *(f"images/{name}.jpg" for name in "abc"), *(f"masks/{name}.png" for name in "xyz"))
        with pytest.raises(
            DataError, match=r"none of the 3 pictures .* among the 3 .* as x\.png; expected for a\.jpg a mask a\.png or"
        ):
            find_layout(tmp_path)

    def test_unicode_forms_are_one(self, tmp_path):
        composed, split = (unicodedata.normalize(form, "Zürich_é") for form in ("NFC", "NFD"))
        touch(tmp_path, f"images/{composed}.jpg", f"masks/{split}.png")
        assert len(find_layout(tmp_path).splits["all"]) == 1

    def test_side_by_side(self, tmp_path):
        touch(tmp_path, "a.jpg", "a_mask.png", "b.jpg", "b_mask.png")
        layout = find_layout(tmp_path)
        assert paired(layout) == {"a.jpg": "a_mask.png", "b.jpg": "b_mask.png"}
        assert layout.name == "pictures and masks side by side"

    @pytest.mark.parametrize("mask", ["{}_label", "{}_gt", "{}_seg", "{}-mask", "mask_{}"])
    def test_side_by_side_words(self, tmp_path, mask):
        for split in ("train", "val"):
            touch(tmp_path, f"{split}/{split}7.png", f"{split}/{mask.format(split + '7')}.png")
        layout = find_layout(tmp_path)
        assert paired(layout, "val") == {"val/val7.png": f"val/{mask.format('val7')}.png"}

    def test_depth_is_neither(self, tmp_path):
        for i in ("000433", "000464"):
            touch(tmp_path, f"{i}_rgb.png", f"{i}_labels40.png", f"{i}_depth_x5000.png", f"{i}_pred.png")
        layout = find_layout(tmp_path)
        assert paired(layout) == {f"{i}_rgb.png": f"{i}_labels40.png" for i in ("000433", "000464")}
        assert not layout.faults and "4 files that are neither by their names, as 000433_depth_x5000" in layout.notes[0]

    def test_a_test_folder_without_masks_is_one_warning(self, tmp_path):
        touch(tmp_path, "train/images/a.jpg", "train/masks/a.png", *(f"test/images/{i}.jpg" for i in range(5)))
        (fault,) = find_layout(tmp_path).faults
        assert fault.severity == "warning" and fault.path == tmp_path / "test/images"
        assert "the 5 pictures of test, as " in fault.message and "have no masks and are left out" in fault.message

    def test_jpeg_beside_png(self, tmp_path):
        touch(tmp_path, "a.jpg", "a.png", "b.jpg", "b.png")
        assert paired(find_layout(tmp_path)) == {"a.jpg": "a.png", "b.jpg": "b.png"}

    def test_twins_are_errors(self, tmp_path):
        touch(tmp_path, "images/a.jpg", "images/a.png", "images/b.jpg", "masks/a.png", "masks/b.png")
        layout = find_layout(tmp_path)
        assert paired(layout) == {"images/b.jpg": "masks/b.png"}
        messages = [f.message for f in layout.faults if f.severity == "error"]
        assert len(messages) == 1
        assert "a.jpg and" in messages[0] and "a.png have the same name, so that their pair is in doubt" in messages[0]

    def test_what_is_left_over_on_one_side_is_a_warning(self, tmp_path):
        touch(tmp_path, *(f"images/{i}.jpg" for i in range(4)), *(f"masks/{i}.png" for i in range(5)))
        layout = find_layout(tmp_path)
        (fault,) = layout.faults
        assert fault.severity == "warning"
        assert fault.message == f"{tmp_path}/masks/4.png has no picture and is left out; add the picture"
        assert str(fault).startswith("warning: ")

    def test_what_is_left_over_on_both_sides_is_an_error(self, tmp_path):
        touch(tmp_path, *(f"images/{i}.jpg" for i in "abcd"), *(f"masks/{i}.png" for i in "abce"))
        faults = find_layout(tmp_path).faults
        assert [f.severity for f in faults] == ["error", "error"]
        assert "d.jpg has no mask, and there are also files left over on the other side" in faults[0].message
        assert "e.png has no picture, and" in faults[1].message


class TestRefusedFolders:
    def test_missing_file_or_empty(self, tmp_path):
        with pytest.raises(DataError, match=r"there is no folder .*/nowhere; check the path"):
            open_dataset("folder", tmp_path / "nowhere")
        touch(tmp_path, "a.txt")
        with pytest.raises(DataError, match=r"a\.txt is a file; expected a folder"):
            open_dataset("folder", tmp_path / "a.txt")
        with pytest.raises(DataError, match=r"no pictures in .*; expected images/ and masks/"):
            find_layout(tmp_path)

    def test_pictures_only(self, tmp_path):
        touch(tmp_path, "images/a.jpg", "images/b.jpg")
        with pytest.raises(DataError, match=r"2 pictures but no masks under .*; expected a folder masks/"):
            find_layout(tmp_path)

    def test_an_empty_folder_of_masks(self, tmp_path):
        touch(tmp_path, "images/a.jpg")
        (tmp_path / "masks").mkdir()
        with pytest.raises(DataError, match=r"/masks holds no masks that can be read; expected PNG"):
            find_layout(tmp_path)

    def test_masks_only(self, tmp_path):
        touch(tmp_path, "masks/a.png", "masks/b.png")
        with pytest.raises(DataError, match=r"2 masks in .*/masks, but no pictures for them under"):
            find_layout(tmp_path)
        (tmp_path / "other").mkdir()
        touch(tmp_path / "other", "a_mask.png")
        with pytest.raises(DataError, match=r"all 1 files under .* are masks by their names, as a_mask\.png"):
            find_layout(tmp_path / "other")

    def test_two_folders_of_masks_that_fit(self, tmp_path):
        touch(tmp_path, "images/a.jpg", "masks/a.png", "labels/a.png")
        with pytest.raises(
            DataError, match=r"has masks in masks and in labels, .*; which are meant\?|labels and in masks"
        ):
            find_layout(tmp_path)

    def test_of_two_folders_of_masks_the_one_that_fits(self, tmp_path):
        touch(tmp_path, "images/a.jpg", "masks/a.png", "labels/other.png")
        assert paired(find_layout(tmp_path)) == {"images/a.jpg": "masks/a.png"}

    def test_two_folders_of_pictures_that_fit(self, tmp_path):
        touch(tmp_path, "images/a.jpg", "raw/a.jpg", "masks/a.png")
        with pytest.raises(DataError, match=r"has pictures in images and in raw, and both fit .*; which are meant\?"):
            find_layout(tmp_path)

    def test_two_ways_to_pair(self, tmp_path, monkeypatch):
        from pixelwise.data import plain_pairs

        rules = [
            plain_pairs.Rule("same", str, str),
            plain_pairs.Rule("first", lambda s: s[0], lambda s: s[0]),
            plain_pairs.Rule("last", lambda s: s[-1], lambda s: s[-1]),
        ]
        monkeypatch.setattr(plain_pairs, "rules_for", lambda images, masks: rules)
        touch(tmp_path, "images/1i2.jpg", "images/2i1.jpg", "masks/1m1.png", "masks/2m2.png")
        with pytest.raises(DataError, match=r"paired in two ways: 1i2\.jpg with 1m1\.png or with 2m2\.png; which one"):
            find_layout(tmp_path)

    def test_files_beside_splits(self, tmp_path):
        touch(tmp_path, "images/train/a.jpg", "images/b.jpg", "masks/train/a.png", "masks/b.png")
        with pytest.raises(
            DataError, match=r"has pictures in train and others outside, as .*b\.jpg; which are they for"
        ):
            find_layout(tmp_path)


def voc(root, name="VOC2012", lists=None):
    lists = {"train": ["a", "b"], "val": ["c"]} if lists is None else lists
    home = root / "VOCdevkit" / name
    for i in "abcd":
        save(home / "JPEGImages" / f"{i}.jpg", np.zeros((4, 5, 3), np.uint8))
        save(home / "SegmentationClass" / f"{i}.png", np.array([[0, 15, 20, 255, 0]] * 4, np.uint8))
        touch(home, f"SegmentationObject/{i}.png", f"SegmentationClassAug/{i}.png")
    (home / "ImageSets/Segmentation").mkdir(parents=True)
    for split, ids in lists.items():
        (home / f"ImageSets/Segmentation/{split}.txt").write_text("\n".join(ids) + "\n")
    return home


class TestVOC:
    @pytest.mark.parametrize("start", [".", "VOCdevkit", "VOCdevkit/VOC2012"])
    def test_lists_decide(self, tmp_path, start):
        home = voc(tmp_path)
        layout = find_layout(tmp_path / start)
        assert layout.root == home and layout.name == "PASCAL VOC devkit (VOC2012)"
        assert paired(layout, "train") == {f"JPEGImages/{i}.jpg": f"SegmentationClass/{i}.png" for i in "ab"}
        assert [p.name for p in layout.splits["val"]] == ["c"]
        data = open_dataset("voc2012", tmp_path / start, "val")
        assert data.labels["labels"].names[15] == "person" and data.labels["labels"].num_classes == 21
        assert data[0].targets["labels"][0].tolist() == [0, 15, 20, 255, 0]
        assert len(open_dataset("voc2012", tmp_path)) == 2

    def test_aug(self, tmp_path):
        home = voc(tmp_path, lists={"train": ["a"], "val": ["c"], "train_aug": ["a", "b"], "trainval": ["a", "c"]})
        layout = find_layout(tmp_path)
        assert paired(layout, "train") == {"JPEGImages/a.jpg": "SegmentationClass/a.png"}
        assert layout.notes == (
            "SegmentationClassAug holds 4 masks, too; --as masks=SegmentationClassAug takes them instead",
        )
        (home / "SegmentationClassAug/c.png").unlink()
        layout = find_layout(tmp_path, Answers.of(["masks=segmentationclassaug"]))
        assert paired(layout, "train") == {f"JPEGImages/{i}.jpg": f"SegmentationClassAug/{i}.png" for i in "ab"}
        assert paired(layout, "val") == {"JPEGImages/c.jpg": "SegmentationClass/c.png"}  # what SBD lacks
        assert layout.notes == ("train_aug.txt is the list for training",)
        with pytest.raises(DataError, match=r"no folder of masks Class in .*; there are SegmentationClass, Segment"):
            find_layout(tmp_path, Answers.of(["masks=Class"]))

    def test_deeplab_lists(self, tmp_path):
        home = voc(tmp_path, lists={})
        line = "/JPEGImages/a.jpg /SegmentationClass/a.png\n"
        (home / "ImageSets/Segmentation/train.txt").write_text(line)
        assert paired(find_layout(tmp_path), "train") == {"JPEGImages/a.jpg": "SegmentationClass/a.png"}

    @pytest.mark.parametrize("images", ["JPEGImages", "images", "JPEGImages/sub", None])
    def test_cvat(self, tmp_path, images):
        sub = "sub/" if images == "JPEGImages/sub" else ""
        for name in "ab":
            touch(tmp_path, f"SegmentationClass/{sub}{name}.png", f"SegmentationObject/{sub}{name}.png")
            touch(tmp_path, *([f"{images}/{name}.jpg"] if images else []))
        touch(tmp_path, "ImageSets/Segmentation/default.txt")
        (tmp_path / "ImageSets/Segmentation/default.txt").write_text(f"{sub}a\n{sub}b\n")
        (tmp_path / "labelmap.txt").write_text("# label:color_rgb:parts:actions\nbackground:0,0,0::\ncar:1,2,3::\n")
        if images is None:
            with pytest.raises(DataError, match=r"holds 2 masks but no pictures for them; .*CVAT: 'save images'"):
                find_layout(tmp_path)
            return
        layout = find_layout(tmp_path)
        assert paired(layout) == {f"{images}/{i}.jpg": f"SegmentationClass/{sub}{i}.png" for i in "ab"}
        assert layout.name.startswith("VOC's layout with labelmap.txt, as CVAT exports it") and not layout.labels

    def test_trainval_alone(self, tmp_path):
        voc(tmp_path, lists={"trainval": "abc"})
        assert list(find_layout(tmp_path).splits) == ["all"]

    def test_an_unpublished_test_list_is_no_fault(self, tmp_path):
        voc(tmp_path, lists={"train": "a", "val": "b", "test": "xyz"})
        layout = find_layout(tmp_path)
        assert list(layout.splits) == ["train", "val"] and not layout.faults

    def test_a_listed_mask_that_is_missing(self, tmp_path):
        home = voc(tmp_path)
        (home / "SegmentationClass/b.png").unlink()
        (fault,) = find_layout(tmp_path).faults
        assert fault.severity == "error"
        assert (
            "train.txt, line 2, lists b, but" in fault.message and "SegmentationClass has no such file" in fault.message
        )
        with pytest.raises(DataError, match=r"line 2, lists b"):
            open_dataset("voc2012", tmp_path)

    def test_refused(self, tmp_path):
        with pytest.raises(DataError, match=r"no VOC2012 with JPEGImages and ImageSets/Segmentation under"):
            open_dataset("voc2012", tmp_path)
        home = voc(tmp_path)
        with pytest.raises(DataError, match=r"there is no file .*trainaug\.txt"):
            open_dataset("voc2012", tmp_path, "trainaug")
        voc(tmp_path, "VOC2007")
        with pytest.raises(DataError, match=r"holds 2 sets in VOC's layout, VOC2007 and VOC2012; which one is meant\?"):
            find_layout(tmp_path)
        (home / "ImageSets/Segmentation/train.txt").unlink()
        (home / "ImageSets/Segmentation/val.txt").rename(home / "ImageSets/Segmentation/cat.txt")
        with pytest.raises(DataError, match=r"no train\.txt, val\.txt or trainval\.txt in"):
            find_layout(home)

    def test_nothing_listed_exists(self, tmp_path):
        voc(tmp_path, lists={"train": "xy"})
        with pytest.raises(DataError, match=r"none of the pictures listed in .* has both files: .*line 1, lists x"):
            find_layout(tmp_path)

    def test_no_masks(self, tmp_path):
        home = voc(tmp_path)
        for name in ("SegmentationClass", "SegmentationClassAug"):
            (home / name).rename(home / f"{name}Gone")
        with pytest.raises(DataError, match=r"no SegmentationClass in .*; expected a mask <id>\.png"):
            find_layout(tmp_path)


def segnet(root, separator=" ", ending="\n", mark=""):
    home = root / "CamVid"
    for split in ("train", "val", "test"):
        lines = []
        for i in range(2):
            save(home / split / f"{split}{i}.png", np.zeros((3, 4, 3), np.uint8))
            save(home / f"{split}annot" / f"{split}{i}.png", np.array([[0, 4, 10, 11]] * 3, np.uint8))
            prefix = f"/SegNet/CamVid/{split}"
            lines.append(f"{prefix}/{split}{i}.png{separator}{prefix}annot/{split}{i}.png")
        save(home / split / "unlisted.png", np.zeros((3, 4, 3), np.uint8))
        (home / f"{split}.txt").write_bytes((mark + ending.join(lines) + ending).encode())
    return home


class TestLists:
    @pytest.mark.parametrize("separator", [" ", "\t", ",", ";", ", "])
    @pytest.mark.parametrize("ending", ["\n", "\r\n"])
    @pytest.mark.parametrize("mark", ["", "\ufeff"])
    def test_foreign_prefixes_and_only_what_is_listed(self, tmp_path, separator, ending, mark):
        home = segnet(tmp_path, separator, ending, mark)
        for start in (tmp_path, home):
            layout = find_layout(start)
            assert {split: len(pairs) for split, pairs in layout.splits.items()} == {"train": 2, "val": 2, "test": 2}
            assert paired(layout, "val")["val/val1.png"] == "valannot/val1.png"
            assert not layout.faults and layout.name.startswith("lists of pairs")

    def test_camvid(self, tmp_path):
        segnet(tmp_path)
        data = open_dataset("camvid", tmp_path, "test")
        names = "Sky Building Pole Road Pavement Tree SignSymbol Fence Car Pedestrian Bicyclist"
        assert data.labels["labels"].names == tuple(names.split())
        assert data[1].targets["labels"][0].tolist() == [0, 4, 10, 255]
        with pytest.raises(DataError, match=r"no file .*trainval\.txt; there are lists for train, val, test: pass one"):
            open_dataset("camvid", tmp_path, "trainval")

    def test_a_line_that_leads_nowhere(self, tmp_path):
        home = segnet(tmp_path)
        (home / "valannot/val1.png").unlink()
        (fault,) = find_layout(tmp_path).faults
        assert fault.severity == "error"
        assert "val.txt, line 2, lists /SegNet/CamVid/valannot/val1.png, but there is no such file" in fault.message
        with pytest.raises(DataError, match=r"val\.txt, line 2, lists"):
            open_dataset("camvid", tmp_path, "val")
        for path in (*home.glob("*annot/*.png"),):
            path.unlink()
        with pytest.raises(DataError, match=r"none of the pairs listed in .* has both files"):
            find_layout(tmp_path)
        (home / "val.txt").write_text("")
        with pytest.raises(DataError, match=r"val\.txt is empty or not a list of pairs"):
            open_dataset("camvid", home, "val")

    def test_another_train_txt_is_no_list_of_pairs(self, tmp_path):
        touch(tmp_path, "images/a.jpg", "masks/a.png")
        (tmp_path / "train.txt").write_text("learning rate 0.1\n")
        assert paired(find_layout(tmp_path)) == {"images/a.jpg": "masks/a.png"}


def cityscapes(root, kinds=("labelIds", "instanceIds", "color"), splits=("train", "val")):
    for split in splits:
        name = f"bonn_{split}_000019"
        save(root / "leftImg8bit" / split / "bonn" / f"{name}_leftImg8bit.png", np.zeros((3, 6, 3), np.uint8))
        for kind in kinds:
            values = {"labelIds": [0, 7, 33, 29, 8, 26], "labelTrainIds": [255, 0, 18, 255, 1, 13]}.get(kind, [0] * 6)
            save(root / "gtFine" / split / "bonn" / f"{name}_gtFine_{kind}.png", np.array([values] * 3, np.uint8))


class TestCityscapes:
    @pytest.mark.parametrize("kind", ["labelIds", "labelTrainIds"])
    def test_ids_become_the_19_classes(self, tmp_path, kind):
        cityscapes(tmp_path / "cs", (kind, "instanceIds"))
        for start in (tmp_path, tmp_path / "cs"):
            layout = find_layout(start)
            assert {split: len(pairs) for split, pairs in layout.splits.items()} == {"train": 1, "val": 1}
            assert layout.splits["train"][0].name == "bonn_train_000019"
            data = open_dataset("cityscapes", start, "val")
            assert data.labels["labels"].num_classes == 19 and data.labels["labels"].names[13] == "car"
            assert data[0].targets["labels"][0].tolist() == [255, 0, 18, 255, 1, 13]

    def test_a_missing_mask_is_an_error(self, tmp_path):
        cityscapes(tmp_path)
        next((tmp_path / "gtFine/val").rglob("*labelIds.png")).unlink()
        (fault,) = find_layout(tmp_path).faults
        assert fault.severity == "error"
        assert "bonn_val_000019_leftImg8bit.png has no mask bonn_val_000019_gtFine_labelIds.png" in fault.message

    def test_colors_alone(self, tmp_path):
        cityscapes(tmp_path, ("color", "instanceIds"))
        layout = find_layout(tmp_path)
        (labels,) = layout.labels
        assert labels.colors and labels.num_classes == 19 and "only the colors" in layout.notes[0]
        assert labels.table[pack_color((128, 64, 128))] == 0 and labels.table[pack_color((0, 0, 142))] == 13
        assert labels.table[pack_color((0, 0, 90))] == labels.table[0] == 255  # caravan, unlabeled

    def test_coarse(self, tmp_path):
        cityscapes(tmp_path)
        (tmp_path / "gtFine").rename(tmp_path / "gtCoarse")
        for file in [*(tmp_path / "gtCoarse").rglob("*.png")]:
            file.rename(file.with_name(file.name.replace("gtFine", "gtCoarse")))
        touch(
            tmp_path,
            "leftImg8bit/train_extra/ulm/u_leftImg8bit.png",
            "gtCoarse/train_extra/ulm/u_gtCoarse_labelIds.png",
        )
        layout = find_layout(tmp_path)
        assert [pair.name for pair in layout.splits["train"]] == ["bonn_train_000019", "u"] and not layout.faults
        cityscapes(tmp_path)
        layout = find_layout(tmp_path)
        assert layout.name == "Cityscapes (leftImg8bit and gtFine)"
        assert layout.notes == ("gtCoarse is there, too; --as masks=gtCoarse takes it",)
        assert find_layout(tmp_path, Answers.of(["masks=gtCoarse"])).name == "Cityscapes (leftImg8bit and gtCoarse)"

    def test_a_test_set_without_masks_is_no_fault(self, tmp_path):
        cityscapes(tmp_path)
        touch(tmp_path, "leftImg8bit/test/ulm/u_leftImg8bit.png")
        layout = find_layout(tmp_path)
        assert not layout.faults and layout.notes == ("the 1 pictures of test have no masks and are left out",)

    def test_refused(self, tmp_path):
        with pytest.raises(DataError, match=r"no leftImg8bit/train with gtFine/train under .*; pass the folder"):
            open_dataset("cityscapes", tmp_path)
        cityscapes(tmp_path, ("instanceIds",))
        with pytest.raises(DataError, match=r"no picture of .*leftImg8bit has a mask \*_gtFine_labelIds\.png"):
            find_layout(tmp_path)


class TestPairDataset:
    LABELS = LabelSet(("background", "cell"), table={0: 0, 9: 1, 7: 255})

    def pair(self, root, image, mask):
        save(root / "a.png", image)
        save(root / "m.png", mask)
        return Pair(root / "a.png", root / "m.png", "a")

    def test_a_sample(self, tmp_path):
        image = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
        pair = self.pair(tmp_path, image, np.array([[0, 9, 7, 0]] * 2, np.uint8))
        data = PairDataset([pair, Pair(pair.image, None, "b")], self.LABELS, tmp_path, "train")
        assert len(data) == 2 and data.labels["labels"] is self.LABELS
        sample = data[0]
        np.testing.assert_array_equal(sample.image, image)
        assert sample.targets["labels"].tolist() == [[0, 1, 255, 0]] * 2
        assert (sample.name, sample.size) == ("a", (2, 4))
        assert data[1].targets == {}
        assert [p.name for p in data.subset([1, 0]).pairs] == ["b", "a"]
        assert f"train of {tmp_path}: 2 pictures, 2 classes" in data.describe()
        assert f"1 from {tmp_path} without masks" in data.describe()

    def test_opening_decodes_nothing(self, tmp_path):
        touch(tmp_path, "a.png", "m.png")
        assert len(PairDataset([Pair(tmp_path / "a.png", tmp_path / "m.png", "a")], self.LABELS, tmp_path, "all")) == 1

    def test_gray_among_color(self, tmp_path):
        gray = np.arange(8, dtype=np.uint8).reshape(2, 4)
        pair = self.pair(tmp_path, gray, np.zeros((2, 4), np.uint8))
        image = PairDataset([pair], self.LABELS, tmp_path, "all", channels=3)[0].image
        np.testing.assert_array_equal(image, np.stack([gray] * 3, axis=2))
        with pytest.raises(ShapeError, match=r"a\.png has 1 channels"):
            PairDataset([pair], self.LABELS, tmp_path, "all", channels=4)[0]

    def test_a_size_that_differs(self, tmp_path):
        pair = self.pair(tmp_path, np.zeros((3, 4, 3), np.uint8), np.zeros((2, 4), np.uint8))
        with pytest.raises(ShapeError, match=r"m\.png is 2 × 4 but .*a\.png is 3 × 4 \(height × width\); .*export"):
            PairDataset([pair], self.LABELS, tmp_path, "all")[0]

    def test_a_value_that_is_no_class(self, tmp_path):
        mask = np.zeros((2, 4), np.uint8)
        mask[1, 2] = 34
        pair = self.pair(tmp_path, np.zeros((2, 4, 3), np.uint8), mask)
        with pytest.raises(LabelError, match=r"m\.png holds the value 34 at row 1, column 2"):
            PairDataset([pair], self.LABELS, tmp_path, "all")[0]

    def test_a_gray_128_does_not_pass_for_a_packed_blue(self, tmp_path):
        blue = LabelSet(("no", "yes"), table={0: 0, pack_color((0, 0, 128)): 1}, colors=True)
        pair = self.pair(tmp_path, np.zeros((2, 4, 3), np.uint8), np.full((2, 4), 128, np.uint8))
        with pytest.raises(LabelError, match=r"m\.png holds numbers, the classes are told by colors; save all masks"):
            PairDataset([pair], blue, tmp_path, "all")[0]


class TestOpening:
    def test_names(self):
        assert list_datasets() == sorted(DATASETS)
        assert {"camvid", "cityscapes", "folder", "nyud_v2", "sift_flow", "voc2012"} <= {*DATASETS}
        with pytest.raises(UnknownName, match=r"no data set is called 'camvit'; did you mean 'camvid'\?"):
            open_dataset("camvit", ".")

    def test_a_plain_folder(self, tmp_path):
        for split in ("train", "val"):
            save(tmp_path / split / "images" / "a.jpg", np.zeros((4, 4, 3), np.uint8))
            save(tmp_path / split / "masks" / "a.png", np.array([[0, 0, 255, 255]] * 4, np.uint8))
        data = open_dataset("folder", tmp_path, "val")
        assert data[0].targets["labels"][0].tolist() == [0, 0, 1, 1]
        with pytest.raises(DataError, match=r"no split was named; it has train, val: pass one of them"):
            open_dataset("folder", tmp_path)
        with pytest.raises(DataError, match=r"has no split 'test'; it has train, val"):
            open_dataset("folder", tmp_path, "test")
        (tmp_path / "val/masks/a.png").write_bytes(b"")
        os.utime(tmp_path / "val/masks/a.png")
        with pytest.raises(DataError, match=r"a\.png is empty"):
            open_dataset("folder", tmp_path, "val")
