"""Named data sets in `check` and `convert`: pictures without masks are told, and every set is written as it is read."""

import importlib.util
import logging
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from pixelwise.cli.main import main
from pixelwise.data import open_dataset
from pixelwise.errors import BadOption, DataError, UnknownName
from pixelwise.flow.check import look_at
from pixelwise.flow.convert import convert
from pixelwise.flow.data_sets import evaluated_split, facts, layout_of, open_named
from pixelwise.flow.doctor import understand

ROOT = Path(__file__).parents[2]
SIFT = "spatial_envelope_256x256_static_8outdoorcategories"


@pytest.fixture(autouse=True)
def quiet(caplog):
    """Parts of data sets warn of their counts."""
    caplog.set_level(logging.ERROR, "pixelwise")


def save(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def write_voc(root):
    """VOC's layout: two pictures to validate, three to test, without masks."""
    home, random = root / "VOCdevkit/VOC2012", np.random.default_rng(0)
    (home / "ImageSets/Segmentation").mkdir(parents=True)
    names = [f"2008_{i:06}" for i in range(5)]
    for name in names:
        save(home / "JPEGImages" / f"{name}.jpg", random.integers(0, 255, (24, 30, 3)).astype(np.uint8))
    for name in names[:2]:
        mask = random.choice(np.array([0, 3, 20, 255], np.uint8), (6, 6)).repeat(4, 0).repeat(5, 1)
        save(home / "SegmentationClass" / f"{name}.png", mask)
    for split, listed in (("val", names[:2]), ("test", names[2:])):
        (home / "ImageSets/Segmentation" / f"{split}.txt").write_text("\n".join(listed) + "\n")
    return root


def write_sift(root):
    random = np.random.default_rng(0)
    for part in ("Images", "SemanticLabels", "GeoLabels"):
        (root / part / SIFT).mkdir(parents=True)
    for name in ("coast_a", "forest_b", "highway_c"):
        save(root / "Images" / SIFT / f"{name}.png", random.integers(0, 256, (24, 24, 3)).astype(np.uint8))
        savemat(
            root / "SemanticLabels" / SIFT / f"{name}.mat", {"S": random.integers(0, 34, (24, 24)).astype(np.uint8)}
        )
        savemat(root / "GeoLabels" / SIFT / f"{name}.mat", {"S": random.choice([-1.0, 1.0, 2.0, 3.0], (24, 24))})
    (root / "test.txt").write_text("forest_b\n")
    return root


def same_samples(text, root, written, head="labels"):
    """Every picture with a mask is in the folder that was written, class for class."""
    official = layout_of(text, root).splits
    expected = {}
    for split in official:
        data = open_named(text, root, split)
        for sample in (data[i] for i, pair in enumerate(data.pairs) if pair.mask is not None):
            names = np.array([*data.labels[head].names, "void"])
            expected[sample.name] = names[np.minimum(sample.targets[head], len(names) - 1)]
    found = understand(written).datasets()
    assert sum(map(len, found.values())) == sum(map(len, official.values()))
    for data in found.values():
        for sample in data:
            names = np.array([*data.labels["labels"].names, "void"])
            name = sample.name.removeprefix("val_").removeprefix("test_")  # a name that stands in two splits
            assert (names[np.minimum(sample.targets["labels"], len(names) - 1)] == expected[name]).all()


def test_pictures_without_masks_are_told_and_left_out(tmp_path, capsys):
    root = write_voc(tmp_path / "data")
    found = look_at(root, dataset="voc2012")
    assert {split: len(pairs) for split, pairs in found.splits.items()} == {"val": 2}
    assert "test: 3 pictures have no masks and are left out" in found.notes
    with pytest.raises(SystemExit) as ended:
        main(["check", str(root), "--dataset", "voc2012", "--no-page"])
    assert ended.value.code == 0
    assert "Note: test: 3 pictures have no masks and are left out" in capsys.readouterr().out


VAL = "VOCdevkit/VOC2012/ImageSets/Segmentation/val.txt"


def write_both(root):
    """VOC with a list to train on, too."""
    write_voc(root)
    (root / VAL).with_name("train.txt").write_text("2008_000001\n")
    (root / VAL).write_text("2008_000000\n")
    return root


@pytest.mark.parametrize(
    ("written", "told"),
    [
        (b"", r"val\.txt is empty; expected one id a line"),
        (b"2008_000000\n2008_000000\n", r"val\.txt lists 2008_000000, which is listed before"),
        (b"2008_\xff\n", r"val\.txt"),
        (b"2008_000009\n", r"val\.txt, line 1, lists 2008_000009, but"),
    ],
)
def test_a_split_that_is_there_but_wrong_is_an_error_though_another_opens(tmp_path, written, told):
    root = write_both(tmp_path)
    assert list(layout_of("voc2012", root).splits) == ["train", "val"]
    (root / VAL).write_bytes(written)
    with pytest.raises(DataError, match=told):
        layout_of("voc2012", root)


def test_a_missing_mask_of_one_split_is_an_error_though_another_opens(tmp_path):
    root = write_both(tmp_path)
    (root / "VOCdevkit/VOC2012/SegmentationClass/2008_000000.png").unlink()
    with pytest.raises(SystemExit) as ended:
        main(["check", str(root), "--dataset", "voc2012", "--no-page"])
    assert ended.value.code != 0


def test_a_split_without_a_list_is_left_out_with_a_note(tmp_path):
    root = write_both(tmp_path)
    (root / VAL).unlink()
    found = layout_of("voc2012", root)
    assert list(found.splits) == ["train"]
    assert found.notes[0] == f"val is left out: there is no file {root / VAL}"


def write_cityscapes(root, truth, splits):
    for split in splits:
        for folder, end, shape in (("leftImg8bit", "leftImg8bit", (8, 9, 3)), (truth, f"{truth}_labelIds", (8, 9))):
            save(root / folder / split / "ulm" / f"ulm_{split}_000019_{end}.png", np.full(shape, 7, np.uint8))
    return root


def test_a_missing_mask_of_cityscapes_is_an_error_though_train_opens(tmp_path):
    root = write_cityscapes(tmp_path, "gtFine", ("train", "val"))
    assert layout_of("cityscapes", root).notes[0].startswith("test is left out: no leftImg8bit/test under ")
    shutil.rmtree(root / "gtFine/val/ulm")
    with pytest.raises(DataError, match="no picture of val has a mask in"):
        layout_of("cityscapes", root)
    shutil.rmtree(root / "gtFine/val")
    with pytest.raises(DataError, match="no leftImg8bit/val with gtFine/val under"):
        layout_of("cityscapes", root)


def test_the_coarse_train_extra_is_part_of_train(tmp_path):
    root = write_cityscapes(tmp_path, "gtCoarse", ("train", "val", "train_extra"))
    found = layout_of("cityscapes,masks=coarse", root)
    assert {split: len(pairs) for split, pairs in found.splits.items()} == {"train": 2, "val": 1}
    assert "train_extra is there, too: its pictures (1) are part of train" in found.notes


def test_a_truncated_splits_mat_does_not_merge_train_and_test(tmp_path):
    arrays = {"images": (2, 3, 6, 5), "depths": (2, 6, 5), "labels": (2, 6, 5)}
    with h5py.File(tmp_path / "nyu_depth_v2_labeled.mat", "w") as file:
        for name, shape in arrays.items():
            file[name] = np.ones(shape, np.uint8)
    assert list(layout_of("nyud_v2", tmp_path).splits) == ["all"]
    path = tmp_path / "splits.mat"
    savemat(path, {"trainNdxs": [[1]], "testNdxs": [[2]]})
    assert list(layout_of("nyud_v2", tmp_path).splits) == ["train", "test"]
    path.write_bytes(path.read_bytes()[:150])
    with pytest.raises(DataError, match=r"splits\.mat is truncated or damaged"):
        layout_of("nyud_v2", tmp_path)


def test_a_data_set_without_any_mask_is_refused(tmp_path):
    root = write_voc(tmp_path)
    (root / "VOCdevkit/VOC2012/ImageSets/Segmentation/val.txt").unlink()
    with pytest.raises(DataError, match="no picture of voc2012 in .* has a mask; pass the folder that holds the masks"):
        look_at(root, dataset="voc2012")


@pytest.mark.parametrize("to", ["folder", "voc"])
def test_each_head_of_a_set_with_two_is_written_by_itself(tmp_path, to):
    root = write_sift(tmp_path / "sift")
    layout = layout_of("sift_flow", root)
    assert layout.notes == ("geometric is there, too; --dataset sift_flow,head=geometric takes it",)
    for head in ("labels", "geometric"):
        text = f"sift_flow,head={head}"
        convert(look_at(root, dataset=text), tmp_path / head, to=to)
        same_samples(text, root, tmp_path / head, head)
    with pytest.raises(BadOption, match="the data set sift_flow has no head 'depth'; it has labels, geometric"):
        layout_of("sift_flow,head=depth", root)


def test_facts_are_those_of_the_code():
    with pytest.raises(UnknownName, match="no data set is called 'voc'; did you mean"):
        facts("voc")
    assert facts("folder") is None
    voc = facts("voc2012")
    assert list(voc.splits) == ["train", "val", "trainval", "test", "seg12valid"]
    assert "SegmentationClass/<id>.png" in voc.layout
    assert facts("nyud_v2").options["classes"] == ("40", "13", "4", "894")
    with pytest.raises(BadOption, match="classes is 40, 13, 4 or 894, got 5"):
        open_named("nyud_v2,classes=5", ".")
    assert [evaluated_split(name) for name in ("voc2012", "sift_flow", "nyud_v2", "folder", "seg11valid")] == [
        "val",
        "test",
        "test",
        "val",
        "val",
    ]


def test_the_page_of_the_documentation_is_that_of_the_code():
    place = importlib.util.spec_from_file_location("datasets_table", ROOT / "docs" / "generate" / "datasets_table.py")
    table = importlib.util.module_from_spec(place)
    place.loader.exec_module(table)
    written = (ROOT / "docs" / "reference" / "datasets.md").read_text(encoding="utf-8")
    assert table.page(table.all_facts()) == written, "run `python docs/generate/datasets_table.py`"


@pytest.mark.real
@pytest.mark.parametrize(
    ("text", "place", "to"),
    [
        ("voc2012", "voc-mini", "folder"),
        ("sbd", "sbd-mini", "voc"),
        ("pascal_context", "context-mini", "folder"),
        ("pascal_context,classes=459", "context-mini", "voc"),
        ("person_part", "personpart-mini", "voc"),
        ("nyud_v2", "nyud-mini", "folder"),
        ("ade20k", "ade20k-mini", "voc"),
    ],
)
def test_real_sets_are_written_class_for_class(real_data, tmp_path, text, place, to):
    root = real_data / place
    convert(look_at(root, dataset=text), tmp_path / "out", to=to)
    same_samples(text, root, tmp_path / "out")


@pytest.mark.real
def test_a_real_set_is_opened_under_its_name(real_data):
    assert open_dataset("voc2012", real_data / "voc-mini", "val").name == "voc2012"
    assert open_dataset("voc2012", real_data / "voc-mini", "val").subset([0]).name == "voc2012"
