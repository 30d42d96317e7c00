"""Class folders are read as whole pictures of one class, in parts or not; what cannot be meant so is refused."""

import numpy as np
import pytest
from PIL import Image

from pixelwise.data.folder import PairDataset
from pixelwise.data.formats.class_folders import FullMask, class_folders, class_folders_layout
from pixelwise.errors import DataError
from pixelwise.labels import voc_color


def save(path, size=(5, 7)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((*size, 3), np.uint8)).save(path)
    return path


def content(layout):
    """{split: [(name, class's name), …]}."""
    names = layout.labels[0].names
    return {s: [(p.name, names[p.mask.value]) for p in pairs] for s, pairs in layout.splits.items()}


def test_a_picture_is_of_the_folder_it_lies_in(tmp_path):
    for file in ("dogs/a.jpg", "cats/c.png", "cats/b.jpg", "Bees/z.jpg", ".hidden/x.jpg", "__MACOSX/y.jpg"):
        save(tmp_path / file)
    layout = class_folders_layout(tmp_path)
    assert layout.labels[0].names == ("Bees", "cats", "dogs")
    assert content(layout) == {"all": [("a", "dogs"), ("b", "cats"), ("c", "cats"), ("z", "Bees")]}
    assert layout.faults == () and layout.notes == ()
    assert layout.root == tmp_path


def test_the_target_is_full_of_the_class_at_the_pictures_own_size(tmp_path):
    save(tmp_path / "cats" / "a.png", (4, 9))
    save(tmp_path / "dogs" / "b.png", (6, 3))
    turned = Image.new("RGB", (9, 4))
    exif = turned.getexif()
    exif[0x0112] = 6  # a quarter turn
    turned.save(tmp_path / "dogs" / "c.jpg", exif=exif)
    layout = class_folders_layout(tmp_path)
    data = PairDataset(layout.splits["all"], layout.labels[0], tmp_path, "all")
    found = {sample.name: sample.targets["labels"] for sample in data}
    assert found["a"].shape == (4, 9) and (found["a"] == 0).all()
    assert found["b"].shape == (6, 3) and (found["b"] == 1).all()
    assert found["c"].shape == (9, 4)
    assert found["a"].dtype == np.uint8


def test_many_classes_need_sixteen_bits_and_a_new_class_is_a_new_mask(tmp_path):
    file = save(tmp_path / "a.png")
    assert FullMask(file, (file,), 7, 255).draw()[0].dtype == np.uint8
    values, shared = FullMask(file, (file,), 299, 300).draw()
    assert values.dtype == np.uint16 and (values == 299).all() and shared == 0
    keys = {FullMask(file, (file,), value, of).key for value, of in ((0, 2), (1, 2), (1, 3))}
    assert len(keys) == 3


def test_parts_above_the_classes(tmp_path):
    for part, files in {
        "Train": ("cats/a.jpg", "dogs/b.jpg"),
        "valid": ("cats/c.jpg", "dogs/a.jpg"),
        "test_set": ("dogs/e.jpg",),
    }.items():
        for file in files:
            save(tmp_path / part / file)
    (tmp_path / "test_set" / "cats").mkdir()
    layout = class_folders_layout(tmp_path)
    assert content(layout) == {
        "train": [("Train_cats_a", "cats"), ("b", "dogs")],
        "val": [("c", "cats"), ("valid_dogs_a", "dogs")],
        "test": [("e", "dogs")],
    }
    assert layout.faults == ()  # that a part lacks a class, the doctor says


def test_a_class_may_be_called_train(tmp_path):
    for file in ("train/a.jpg", "plane/b.jpg"):
        save(tmp_path / file)
    assert class_folders_layout(tmp_path).labels[0].names == ("plane", "train")


def test_deeper_folders_belong_to_their_class_and_a_wrapping_folder_is_passed(tmp_path):
    for file in ("set/all/cats/siamese/a.jpg", "set/all/cats/b.jpg", "set/all/dogs/c.jpg"):
        save(tmp_path / file)
    layout = class_folders_layout(tmp_path)
    assert layout.root == tmp_path / "set" / "all"
    assert content(layout) == {"all": [("a", "cats"), ("b", "cats"), ("c", "dogs")]}
    (note,) = layout.notes
    assert "siamese" in note


def test_a_part_is_not_taken_for_a_wrapping_folder(tmp_path):
    for file in ("train/cats/a.jpg", "train/dogs/b.jpg"):
        save(tmp_path / file)
    assert list(class_folders_layout(tmp_path).splits) == ["train"]


def test_colors_tell_all_classes_and_black_is_for_background(tmp_path):
    for name in ("apple", "background", "pear"):
        save(tmp_path / name / f"{name}.jpg")
    palette = class_folders_layout(tmp_path).labels[0].palette
    assert palette == (voc_color(1), (0, 0, 0), voc_color(3))


@pytest.mark.parametrize("part", [(), ("train",)])
def test_an_empty_class_folder_is_left_out_and_named_but_unreadable_pictures_are_an_error(tmp_path, part):
    home = tmp_path.joinpath(*part)
    for file in ("cats/a.jpg", "dogs/b.jpg"):
        save(home / file)
    (home / "birds").mkdir()
    (fault,) = class_folders_layout(tmp_path).faults
    assert (fault.severity, fault.kind, fault.path) == ("warning", "classes", home / "birds")
    assert fault.message == (
        f"the class folder {home / 'birds'} holds no picture, and is left out; add pictures of the class, or remove "
        "the folder"
    )
    assert class_folders_layout(tmp_path).labels[0].names == ("cats", "dogs")
    (home / "birds" / "x.heic").write_bytes(b"0")
    (fault,) = class_folders_layout(tmp_path).faults
    assert fault.severity == "error"
    assert "holds no picture that can be read (1 of kind HEIC, as x.heic" in fault.reason


def test_runs_beside_the_classes_are_no_class(tmp_path):
    for file in ("cats/a.jpg", "dogs/b.jpg", "runs/pets/pictures/best.jpg", "run/pictures/best.jpg"):
        save(tmp_path / file)
    (tmp_path / "runs" / "pets" / "plan.yaml").touch()
    (tmp_path / "run" / ".lock").touch()
    layout = class_folders_layout(tmp_path)
    assert layout.labels[0].names == ("cats", "dogs") and layout.faults == ()
    assert len(layout.splits["all"]) == 2


def test_pictures_in_no_class_folder_are_told(tmp_path):
    for file in ("cats/a.jpg", "dogs/b.jpg", "x.jpg", "y.jpg"):
        save(tmp_path / file)
    layout = class_folders_layout(tmp_path)
    (fault,) = layout.faults
    assert (fault.severity, fault.path) == ("warning", tmp_path)
    assert f"2 pictures in {tmp_path}, as x.jpg, lie in no class folder, and are left out" in fault.reason
    assert {name for name, _ in content(layout)["all"]} == {"a", "b"}


def test_a_test_part_without_classes_is_left_out(tmp_path):
    """As competitions give it: train/ sorted, test/ not."""
    for file in ("train/cats/a.jpg", "train/dogs/b.jpg", "train/loose.jpg", "test/1.jpg"):
        save(tmp_path / file)
    layout = class_folders_layout(tmp_path)
    assert list(layout.splits) == ["train"]
    assert [(fault.severity, fault.path.name) for fault in layout.faults] == [("warning", "train"), ("warning", "test")]
    assert "1 picture in" in layout.faults[1].reason and "lies in no class folder, and is left out" in (
        layout.faults[1].reason
    )


def test_folders_beside_the_parts_are_a_question(tmp_path):
    for file in ("train/cats/a.jpg", "train/dogs/b.jpg", "more/c.jpg"):
        save(tmp_path / file)
    with pytest.raises(DataError, match=r"has class folders in train/ and pictures beside, in more/; which are they"):
        class_folders_layout(tmp_path)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ((), "no pictures in .*expected two class folders or more, as cats/ and dogs/"),
        (("a.jpg", "b.jpg"), "holds 2 pictures but no class folders; .*: sort them so"),
        (("cats/a.jpg", "cats/b.jpg"), "has one class folder with pictures only, cats/; .*: add the others"),
        (("images/a.jpg", "masks/a.png"), "has images/ and masks/, which are pictures and their masks, no classes"),
        (("train/images/a.jpg", "train/masks/a.png"), "leave out --labels folders"),
    ],
)
def test_what_holds_no_classes_is_refused(tmp_path, files, message):
    for file in files:
        save(tmp_path / file)
    with pytest.raises(DataError, match=message):
        class_folders_layout(tmp_path)


def test_pictures_that_cannot_be_read_are_told_where_there_are_no_others(tmp_path):
    (tmp_path / "cats").mkdir()
    (tmp_path / "cats" / "a.heic").write_bytes(b"0")
    with pytest.raises(DataError, match="no pictures in .*; 1 of kind HEIC, as a.heic, cannot be read: export them"):
        class_folders_layout(tmp_path)


def test_one_class_will_do_to_measure_on(tmp_path):
    save(tmp_path / "cats" / "a.jpg")
    assert class_folders_layout(tmp_path, fewest=1).labels[0].names == ("cats",)


def test_what_may_be_class_folders(tmp_path):
    for file in ("a/cats/1.jpg", "a/dogs/1.jpg", "b/images/1.jpg", "b/masks/1.png", "c/scene1/images/1.jpg"):
        save(tmp_path / file)
    for file in (
        "c/scene1/masks/1.png",
        "c/scene2/my_labels/1.png",
        "d/cats/1.jpg",
        "e/train/kiwi/1.jpg",
        "e/train/lime/1.jpg",
    ):
        save(tmp_path / file)
    found = {name: class_folders(tmp_path / name) for name in "abcde"}
    assert found == {"a": ("cats", "dogs"), "b": (), "c": (), "d": (), "e": ("kiwi", "lime")}
