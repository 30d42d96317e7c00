"""PASCAL-Person-Part, and the parts that it was made of."""

import numpy as np
import pytest
from PIL import Image
from scipy.io import loadmat, savemat

from pixelwise.data import open_dataset
from pixelwise.data.find import find_layout
from pixelwise.data.sample import files_of
from pixelwise.data.sets.person_part import LABELS
from pixelwise.errors import BadOption, DataError
from pixelwise.flow.check import look_at

NAMES = ("background", "head", "torso", "upper arms", "lower arms", "upper legs", "lower legs")


HEAD = "head leye reye lear rear lebrow rebrow nose mouth hair neck"
OF_CLASS = {1: HEAD, 2: "torso", 3: "luarm ruarm", 4: "llarm rlarm lhand rhand", 5: "luleg ruleg"} | {
    6: "llleg rlleg lfoot rfoot"
}
FINE = "torso neck luleg ruleg llleg rlleg lfoot rfoot luarm ruarm llarm rlarm lhand rhand".split()  # and then the head


def structures(rows, *fields):
    """MATLAB's array of structures (1, n); (0, 0) of none, as PASCAL-Part has it."""
    array = np.empty((1, len(rows)) if rows else (0, 0), [(field, object) for field in fields])
    for i, row in enumerate(rows):
        array[0, i] = row
    return array


def write_parts(path, objects, name="2008_000001"):
    """A file of PASCAL-Part.

    Args:
        objects: (class, mask (H, W), [(part, mask)]) each.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [
        (
            cls,
            np.uint8(1),
            mask.astype(np.uint8),
            structures([(n, m.astype(np.uint8)) for n, m in parts], "part_name", "mask"),
        )
        for cls, mask, parts in objects
    ]
    anno = {"imname": name, "objects": structures(rows, "class", "class_ind", "mask", "parts")}
    savemat(path, {"anno": anno}, do_compression=True)


def naive(objects, size, neck=1, coarse=True):
    """The definition: pixel by pixel, what is painted last."""
    merged = np.zeros(size, np.uint8)
    cls_of = {name: cls for cls, names in OF_CLASS.items() for name in names.split()} | {"neck": neck}
    for row in range(size[0]):
        for column in range(size[1]):
            for kind, _, parts in objects:
                inside = [name for name, mask in parts if mask[row, column]]
                if kind == "person" and inside:
                    last = max(inside, key=lambda n: FINE.index(n) if n in FINE else 99) if coarse else inside[-1]
                    merged[row, column] = cls_of[last]
    return merged


def random_people(seed, size=(7, 9)):
    """Two people with overlapping parts, in the order of the official files; one without parts; and a dog."""
    random = np.random.default_rng(seed)
    objects = []
    for kind in ("person", "dog", "person", "person"):
        names = "head lear nose hair torso neck llarm luarm lhand rlarm ruarm rhand llleg luleg lfoot rfoot".split()
        chosen = [name for name in names if random.random() < 0.7] if len(objects) < 3 else []
        parts = [(name, random.random(size) < 0.1) for name in chosen]
        objects.append((kind, random.random(size) < 0.5, parts))
    return objects


def write_set(root, count=3, size=(7, 9)):
    """{id: objects} of PASCAL-Part with VOC 2010's pictures and the authors' lists."""
    held = {}
    pictures = root / "VOCdevkit/VOC2010/JPEGImages"
    lists = root / "pascal_person_part_trainval_list"
    for folder in (pictures, lists):
        folder.mkdir(parents=True)
    for i in range(count):
        name = f"2008_{i:06}"
        held[name] = random_people(i, size)
        write_parts(root / f"Annotations_Part/{name}.mat", held[name], name)
        Image.new("RGB", size[::-1]).save(pictures / f"{name}.jpg")
    (lists / "train.txt").write_text("\n".join([*held][1:]))
    (lists / "val.txt").write_text(next(iter(held)))
    return held


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")


def person_part(root):
    touch(root, *(f"JPEGImages/{i}.jpg" for i in "abc"), *(f"pascal_person_part_gt/{i}.png" for i in "abc"))
    lists = root / "pascal_person_part_trainval_list"
    lists.mkdir()
    (lists / "train.txt").write_text("a\nb\n")
    (lists / "val.txt").write_text("JPEGImages/c.jpg pascal_person_part_gt/c.png\n")


@pytest.mark.parametrize("start", [".", "set"])
def test_lists_decide(tmp_path, start):
    person_part(tmp_path / "set")
    layout = find_layout(tmp_path / start)
    assert {split: [p.name for p in pairs] for split, pairs in layout.splits.items()} == {
        "train": ["a", "b"],
        "val": ["c"],
    }
    assert layout.labels[0].names == NAMES and not layout.faults


def test_single_parts_are_no_masks(tmp_path):
    touch(tmp_path, "parts/Annotations_Part/a.mat", "parts/JPEGImages/a.jpg")
    with pytest.raises(
        DataError, match=r"Annotations_Part holds PASCAL-Part's masks of single objects and parts, not one"
    ):
        find_layout(tmp_path)
    person_part(tmp_path / "set")
    layout = find_layout(tmp_path)
    assert layout.labels[0].names == NAMES and "single objects and parts and is passed over" in layout.notes[0]


def test_without_pictures(tmp_path):
    touch(tmp_path, "pascal_person_part_gt/a.png")
    with pytest.raises(DataError, match=r"no JPEGImages with VOC 2010's pictures under .*; pass the folder"):
        find_layout(tmp_path)


@pytest.mark.parametrize("neck", ["head", "torso"])
@pytest.mark.parametrize("paint", ["coarse_first", "as_stored"])
def test_parts_are_merged_by_the_definition(tmp_path, neck, paint):
    held = write_set(tmp_path)
    data = open_dataset("person_part", tmp_path, "trainval", neck=neck, paint=paint)
    assert data.labels == {"labels": LABELS} and LABELS.names == NAMES
    assert [pair.name for pair in data.pairs] == [*[*held][1:], next(iter(held))]
    seen = set()
    for i in range(len(data)):
        target = data[i].targets["labels"]
        expected = naive(held[data[i].name], (7, 9), 1 if neck == "head" else 2, paint == "coarse_first")
        assert (target == expected).all()
        seen |= {*np.unique(target).tolist()}
    assert seen == {*range(7)}
    assert f"the neck in the {neck}, painted {paint.replace('_', ' ')}" in data.describe()


def test_each_way_of_merging_is_remembered_by_itself(tmp_path):
    write_set(tmp_path, 1)
    ways = [
        open_dataset("person_part", tmp_path, "val", neck=neck, paint=paint).pairs[0].mask
        for neck in ("head", "torso")
        for paint in ("coarse_first", "as_stored")
    ]
    assert len({mask.key for mask in ways}) == 4 and len({str(mask) for mask in ways}) == 1
    assert [file.suffix for file in files_of(ways[0])] == [".mat", ".jpg"]


def test_nobody_and_people_without_parts_are_background(tmp_path):
    write_set(tmp_path, 2)
    write_parts(tmp_path / "Annotations_Part/2008_000000.mat", [])
    write_parts(tmp_path / "Annotations_Part/2008_000001.mat", [("person", np.ones((7, 9)), [])])
    data = open_dataset("person_part", tmp_path, "trainval")
    for i in range(2):
        assert data[i].targets["labels"].shape == (7, 9) and not data[i].targets["labels"].any()


def test_without_lists_all_are_one_split(tmp_path):
    held = write_set(tmp_path)
    for path in (tmp_path / "pascal_person_part_trainval_list").iterdir():
        path.unlink()
    with pytest.raises(
        DataError, match=r"no train\.txt in pascal_person_part_trainval_list under .*, or take the split all"
    ):
        open_dataset("person_part", tmp_path)
    assert [pair.name for pair in open_dataset("person_part", tmp_path, "all").pairs] == [*held]
    (tmp_path / "VOCdevkit/VOC2010/JPEGImages/2008_000001.jpg").unlink()
    data = open_dataset("person_part", tmp_path, "all")
    assert len(data) == 2 and "1 masks without a picture in" in data.describe()


def png_form(root):
    values = np.arange(63).reshape(7, 9) % 7
    home = root / "pascal_person_part"
    for folder in ("JPEGImages", "pascal_person_part_gt", "pascal_person_part_trainval_list"):
        (home / folder).mkdir(parents=True)
    for name in "ab":
        Image.new("RGB", (9, 7)).save(home / f"JPEGImages/{name}.jpg")
        mask = Image.fromarray(values.astype(np.uint8)).convert("P")
        mask.putpalette([255] * 768)
        mask.putdata(values.ravel().tolist())
        mask.save(home / f"pascal_person_part_gt/{name}.png")
    (home / "pascal_person_part_trainval_list/train.txt").write_text("a\n")
    (home / "pascal_person_part_trainval_list/val.txt").write_text("b\n")
    return values


def test_published_masks_are_taken_as_they_are(tmp_path):
    values = png_form(tmp_path)
    for split in ("train", "val", "trainval"):
        data = open_dataset("person_part", tmp_path, split)
        assert (data[0].targets["labels"] == values).all()
    assert "officially 1817" in open_dataset("person_part", tmp_path, "val").describe()
    with pytest.raises(
        BadOption, match=r"pascal_person_part_gt holds masks that are merged already; neck='torso' needs"
    ):
        open_dataset("person_part", tmp_path, neck="torso")
    with pytest.raises(BadOption, match=r"neck is head or torso, got 'arm'"):
        open_dataset("person_part", tmp_path, neck="arm")
    with pytest.raises(BadOption, match=r"paint is coarse_first or as_stored, got 'fine'"):
        open_dataset("person_part", tmp_path, paint="fine")
    touch(tmp_path, "pascal_part/Annotations_Part/c.mat")
    assert "Annotations_Part is passed over; neck and paint" in open_dataset("person_part", tmp_path).describe()


@pytest.mark.parametrize("count, told", [(1716, False), (1717, False), (1715, True)])
def test_both_published_numbers_are_official(tmp_path, count, told):
    ids = [f"2008_{i:06}" for i in range(count)]
    for folder, end in (("JPEGImages", "jpg"), ("pascal_person_part_gt", "png")):
        (tmp_path / folder).mkdir()
        for name in ids:
            (tmp_path / folder / f"{name}.{end}").touch()
    (tmp_path / "train.txt").write_text("\n".join(ids))
    data = open_dataset("person_part", tmp_path)
    assert len(data) == count and ("officially 1716" in data.describe()) == told


def test_a_missing_mask_of_val_is_an_error_though_train_opens(tmp_path):
    png_form(tmp_path)
    assert list(look_at(tmp_path, dataset="person_part").splits) == ["train", "val"]
    (tmp_path / "pascal_person_part/pascal_person_part_gt/b.png").unlink()
    with pytest.raises(DataError, match=r"val\.txt, line 1, lists b, but .*pascal_person_part_gt has no such file"):
        look_at(tmp_path, dataset="person_part")


def test_what_is_missing_or_damaged_is_told(tmp_path):
    with pytest.raises(DataError, match=r"no pascal_person_part_gt and no Annotations_Part under .*trainval\.tar\.gz"):
        open_dataset("person_part", tmp_path)
    write_set(tmp_path, 1)
    path = tmp_path / "Annotations_Part/2008_000000.mat"
    whole = path.read_bytes()
    for objects, told in (
        (
            [("person", np.ones((7, 9)), [("tail", np.ones((7, 9)))])],
            r"holds a person's part 'tail'; expected torso, neck",
        ),
        ([("person", np.ones((7, 9)), [("head", np.ones((6, 9)))])], r"a mask of 6 × 9 for head, others of 7 × 9"),
    ):
        write_parts(path, objects)
        with pytest.raises(DataError, match=rf"2008_000000\.mat holds .*{told.removeprefix('holds ')}"):
            open_dataset("person_part", tmp_path, "val")[0]
    for held, told in (
        ({"mask": np.ones((7, 9))}, r"holds mask; expected PASCAL-Part's structure anno"),
        ({"anno": {"imname": "a"}}, r"lacks the field objects"),
        ({"anno": {"objects": np.ones((2, 2))}}, r"holds no structures in objects"),
        (
            {"anno": {"objects": {"class": "person", "mask": np.ones(3)[None, :, None], "parts": []}}},
            r"no \(H, W\) array",
        ),
    ):
        savemat(path, held)
        with pytest.raises(DataError, match=rf"2008_000000\.mat .*{told}"):
            open_dataset("person_part", tmp_path, "val")[0]
    path.write_bytes(whole[:300])
    with pytest.raises(DataError, match=r"2008_000000\.mat is truncated or damaged"):
        open_dataset("person_part", tmp_path, "val")[0]
    path.unlink()
    with pytest.raises(
        DataError, match=r"val\.txt, line 1, lists 2008_000000, but .*Annotations_Part has no such file"
    ):
        open_dataset("person_part", tmp_path, "val")
    (tmp_path / "VOCdevkit/VOC2010").rename(tmp_path / "VOCdevkit/VOC2007")
    with pytest.raises(DataError, match=r"no JPEGImages with VOC 2010's pictures under .* \(there is VOC2007\)"):
        open_dataset("person_part", tmp_path, "val")


def test_the_doctor_merges_parts_that_are_named(tmp_path):
    write_set(tmp_path)
    found = look_at(tmp_path, dataset="person_part")
    assert found.labels == LABELS and {split: len(pairs) for split, pairs in found.splits.items()} == {
        "train": 2,
        "val": 1,
    }
    assert not found.errors


@pytest.mark.real
@pytest.mark.parametrize("start", ["personpart-mini", "personpart-mini/pascal_person_part"])
def test_the_real_one(real_data, start):
    layout = find_layout(real_data / start)
    assert {split: len(pairs) for split, pairs in layout.splits.items()} == {"train": 2, "val": 2}
    assert layout.labels[0].names == NAMES and not layout.faults


@pytest.mark.real
def test_the_real_published_masks_are_read_id_for_id(real_data):
    for start in ("personpart-mini", "personpart-mini/pascal_person_part"):
        data = open_dataset("person_part", real_data / start, "trainval")
        assert len(data) == 4
        for i in range(4):
            with Image.open(data.pairs[i].mask) as file:
                assert (data[i].targets["labels"] == np.array(file)).all() and file.mode == "P"


@pytest.mark.real
def test_the_real_parts_are_merged_by_the_definition(real_data):
    """None of these pictures is among the published masks' four, so VOC's and SBD's people are compared."""
    data = open_dataset("person_part", real_data / "personpart-mini/pascal_part", "all")
    stored = open_dataset(
        "person_part", real_data / "personpart-mini/pascal_part", "all", paint="as_stored", neck="torso"
    )
    assert len(data) == 18
    people, agreeing = 0, []
    cls_of = {name: cls for cls, names in OF_CLASS.items() for name in names.split()}
    for i in range(len(data)):
        target = data[i].targets["labels"]
        assert target.shape == data[i].image.shape[:2]
        objects = loadmat(files_of(data.pairs[i].mask)[0])["anno"][0, 0]["objects"][0]
        merged, other = np.zeros_like(target), np.zeros_like(target)
        for held in objects:
            if held["class"][0] != "person":
                continue
            people += 1
            parts = [(str(p["part_name"][0]), p["mask"] > 0) for p in held["parts"].ravel()]
            for name, mask in parts:
                other[mask] = 2 if name == "neck" else cls_of[name]
            for wanted in (*FINE, *HEAD.split()[:-1]):
                for name, mask in parts:
                    if name == wanted:
                        merged[mask] = cls_of[name]
                        assert (held["mask"][mask] == 1).all()
        assert (target == merged).all() and (stored[i].targets["labels"] == other).all()
        assert ((merged > 0) == (other > 0)).all()
        gray = real_data / f"voc-mini/VOCdevkit/VOC2012/SegmentationClassAug/{data[i].name}.png"
        if gray.is_file() and merged.any():
            with Image.open(gray) as file:
                of_voc = np.array(file)
            agreeing.append(np.isin(of_voc[merged > 0], (15, 255)).mean())
    assert people == 19 and len(agreeing) == 8
    assert np.sum(np.array(agreeing) > 0.97) == 5  # in the others SBD's masks lack people that are there
